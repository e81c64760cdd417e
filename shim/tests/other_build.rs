//! A library whose C objects and whose Rust side were compiled with different headers: it says so in one line, and every
//! call passes through.

mod built;
#[path = "../src/startup/fingerprint.rs"]
mod fingerprint;

use built::{Program, library};
use std::path::Path;
use std::process::{Command, Output};

/// Of the headers that both sides share, in the order of the build script.
fn headers() -> u64 {
    let header = |name: &str| {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("c").join(name)).expect(name)
    };
    let headers = [
        "call.h",
        "descriptor_sets.h",
        "early_sleepers.h",
        "readiness.h",
    ]
    .map(header);
    fingerprint::of(&headers.each_ref().map(Vec::as_slice))
}

/// The program listens on a socket of its own; both what it says and how it ends are its own.
fn listens(program: &Path, library: &Path) -> Output {
    Command::new(program)
        .env_clear()
        .env("LD_PRELOAD", library)
        .env("AXIO_LOG", "error")
        .output()
        .expect("the program runs")
}

#[test]
fn a_library_put_together_from_two_builds_switches_itself_off() {
    let sound = std::fs::read(library()).expect("the library");
    let number = headers().to_ne_bytes();
    let places: Vec<usize> = (0..sound.len() - number.len())
        .filter(|place| sound[*place..].starts_with(&number))
        .collect();
    // One is the constant of the C objects, the others are what the Rust side compares it with.
    assert!(places.len() >= 2, "{places:?}");
    let program = Program::of("one_listener.c");
    let folder = program.0.with_extension("other_build");
    std::fs::create_dir(&folder).expect("a folder");
    let file = folder.join("libaxio.so");
    let mut said = Vec::new();
    for place in places.into_iter().map(Some).chain([None]) {
        let mut bytes = sound.clone();
        if let Some(place) = place {
            bytes[place] ^= 1;
        }
        std::fs::write(&file, bytes).expect("a library");
        said.push((place, listens(&program.0, &file)));
    }
    let _ = std::fs::remove_dir_all(&folder);
    for (place, output) in said {
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{place:?}: {output:?}");
        let lines = usize::from(place.is_some());
        assert_eq!(complaint.lines().count(), lines, "{place:?}: {complaint}");
        assert_eq!(
            complaint.contains("objects of different builds"),
            place.is_some(),
            "{place:?}: {complaint}"
        );
    }
}
