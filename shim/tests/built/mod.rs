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

/// Names a library to test instead. With one that has no code every test that is about acceleration must fail.
const LIBRARY_VARIABLE: &str = "SHIM_LIBRARY";

/// The library, built as this test was. (Cargo does not build a cdylib for the tests of its package.)
pub fn library() -> PathBuf {
    if let Some(named) = std::env::var_os(LIBRARY_VARIABLE) {
        return PathBuf::from(named);
    }
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
        Program::with(source, &[])
    }

    /// The same, linked with the library: `cc program.c -laxio`.
    #[allow(dead_code, reason = "not every test has such a program")]
    pub fn linked(source: &str, library: &Path) -> Program {
        let folder = library.parent().expect("the library's folder").display();
        // The only names that the program takes from the library are the C library's, too.
        let words = [
            "-Wl,--no-as-needed".to_string(),
            library.display().to_string(),
            format!("-Wl,-rpath,{folder}"),
        ];
        Program::with(source, &words)
    }

    fn with(source: &str, words: &[String]) -> Program {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        // Tests run at a time, and one removes its program while another still runs it.
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = source.replace(['/', '.'], "_");
        let program = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{name}_{}_{number}", std::process::id()));
        remove_what_is_beside(&program);
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
            .args(words)
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

/// What tests have written beside a program of the same name: in a container a process of the same number has made one
/// before, and was killed perhaps.
fn remove_what_is_beside(program: &Path) {
    let folder = program.parent().expect("the folder of programs");
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.with_extension("").with_extension("") == program {
            let _ = std::fs::remove_file(&path);
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
