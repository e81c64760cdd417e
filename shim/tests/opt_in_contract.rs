//! The contract of `axio.h`, asked by a C program of the library under each configuration that changes the answers.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The library, built as this test was. (Cargo does not build a cdylib for the tests of its package.)
fn library() -> PathBuf {
    let program = std::env::current_exe().expect("the path of this program");
    let folder = program.ancestors().nth(2).expect("target/PROFILE");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => panic!("{} has no name", folder.display()),
    };
    let output = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "-p",
            "shim",
            "--lib",
            "--profile",
            profile,
            "--target-dir",
        ])
        .arg(folder.parent().expect("the target folder"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    folder.join("libaxio.so")
}

fn program() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("opt_in_contract_{}", std::process::id()));
    let output = Command::new("cc")
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(here.join("../kmod-interface/include"))
        .arg("-o")
        .arg(&program)
        .arg(here.join("tests/c/opt_in_contract.c"))
        .output()
        .expect("cc is needed for this test");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    program
}

#[test]
fn the_requests_answer_as_the_header_says() {
    let (program, library) = (program(), library());
    for (configuration, variable, value) in [
        ("on", "AXIO", "on"),
        ("optin", "AXIO", "optin"),
        ("rule", "AXIO_RULES", "kernel * * *:*"),
        ("off", "AXIO", "off"),
    ] {
        let output = Command::new(&program)
            .arg(configuration)
            .env_clear()
            .env("LD_PRELOAD", &library)
            .env(variable, value)
            .output()
            .expect("the program runs");
        assert!(
            output.status.success(),
            "{configuration}: {:?}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    std::fs::remove_file(program).expect("the program is removed");
}
