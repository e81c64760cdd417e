//! A program that the library came to by linking, or by the system's own list, is left alone until it asks; one that was
//! preloaded is not. `AXIO` outranks both.

mod built;

use built::{Program, library};
use std::path::Path;
use std::process::Command;

/// Bytes of twenty exchanges of 64, one direction.
const BYTES: u64 = 20 * 64;

/// Runs the command in both modes of upgrading; whether its connection was accelerated, as both ends say.
fn is_accelerated(command: &mut Command) -> bool {
    let mut answers = ["evidence", "eager"].map(|upgrade| {
        let output = command
            .env("AXIO_UPGRADE", upgrade)
            .output()
            .expect("the program runs");
        let (said, complaint) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{:?}: {complaint}", output.status);
        assert_eq!(said.lines().count(), 2, "{said}");
        let mut ends = said.lines().map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| words[at].parse::<u64>().expect("a number");
            assert_eq!(number(2) + number(4), BYTES, "received: {said}");
            assert_eq!(number(3) + number(5), BYTES, "sent: {said}");
            match (words[0], number(1), number(2), number(3)) {
                ("none", 1, ring_in, ring_out) if ring_in > 0 && ring_out > 0 => true,
                ("not_opted_in", 0, 0, 0) => false,
                _ => panic!("neither: {said}"),
            }
        });
        let (client, server) = (ends.next(), ends.next());
        assert_eq!(client, server, "{said}");
        client.expect("an end")
    });
    answers.sort_unstable();
    assert_eq!(answers[0], answers[1], "on evidence and eagerly");
    answers[0]
}

fn command(program: &Path, word: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    command.arg(word).env_clear();
    for (name, value) in variables {
        command.env(name, value);
    }
    command
}

#[test]
fn a_linked_program_that_does_not_ask_is_left_alone() {
    let program = Program::linked("twenty_exchanges.c", &library());
    let accelerated =
        |word, variables: &[_]| is_accelerated(&mut command(&program.0, word, variables));
    assert!(!accelerated("quiet", &[]));
    assert!(!accelerated("quiet", &[("AXIO", "optin")]));
    assert!(accelerated("quiet", &[("AXIO", "on")]));
    assert!(accelerated("ask", &[]));
    assert!(accelerated("ask", &[("AXIO", "on")]));
    // Another library is preloaded, or none.
    assert!(!accelerated("quiet", &[("LD_PRELOAD", "")]));
}

#[test]
fn a_preloaded_program_need_not_ask_unless_it_is_told_to() {
    let program = Program::of("twenty_exchanges.c");
    let library = library();
    let preload = ("LD_PRELOAD", library.to_str().expect("a path in UTF-8"));
    let accelerated =
        |word, variables: &[_]| is_accelerated(&mut command(&program.0, word, variables));
    assert!(accelerated("quiet", &[preload]));
    assert!(accelerated("ask", &[preload]));
    assert!(!accelerated("quiet", &[preload, ("AXIO", "optin")]));
    assert!(accelerated("ask", &[preload, ("AXIO", "optin")]));
}

/// As by `/etc/ld.so.preload`: the loader was told, and no variable says so.
#[test]
fn a_program_that_the_loader_alone_preloads_for_is_left_alone() {
    let loader = if cfg!(target_arch = "aarch64") {
        "/lib/ld-linux-aarch64.so.1"
    } else {
        "/lib64/ld-linux-x86-64.so.2"
    };
    let (program, library) = (Program::of("twenty_exchanges.c"), library());
    let accelerated = |word: &str, variables: &[_]| {
        let mut command = command(Path::new(loader), "--preload", variables);
        command.arg(&library).arg(&program.0).arg(word);
        is_accelerated(&mut command)
    };
    assert!(!accelerated("quiet", &[]));
    assert!(accelerated("quiet", &[("AXIO", "on")]));
    assert!(accelerated("ask", &[]));
}
