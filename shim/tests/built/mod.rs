//! What the tests of the library run: the library itself, and small C programs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Features that the library is built with, as this test is.
const FEATURES: &[&str] = if cfg!(feature = "readiness-faults") {
    &["--features", "readiness-faults"]
} else {
    &[]
};

/// The library, built as this test was. (Cargo does not build a cdylib for the tests of its package.)
pub fn library() -> PathBuf {
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
            "--features",
            if cfg!(feature = "without-knock") {
                "without-knock"
            } else {
                ""
            },
            "--target-dir",
        ])
        .arg(folder.parent().expect("the target folder"))
        .args(FEATURES)
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

/// The program made of `tests/c/SOURCE`; its file is removed with the value.
pub struct Program(pub PathBuf);

impl Program {
    pub fn of(source: &str) -> Program {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        // Tests run at a time, and one removes its program while another still runs it.
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = source.replace(['/', '.'], "_");
        let program = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{name}_{}_{number}", std::process::id()));
        let output = Command::new("cc")
            .args([
                "-std=gnu11",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-O1",
                "-pthread",
                "-I",
            ])
            .arg(here.join("../kmod-interface/include"))
            .arg("-o")
            .arg(&program)
            .arg(here.join("tests/c").join(source))
            .output()
            .expect("cc is needed for this test");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Program(program)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
