//! A file of rules that cannot be taken as it is is said in one line, when the first socket could have matched, and the
//! program goes on without acceleration.

mod built;

use built::{Program, library};
use std::path::Path;
use std::process::Command;

const BYTES_MAX: usize = 64 * 1024;

fn complaint(program: &Path, file: &Path) -> String {
    let output = Command::new(program)
        .env_clear()
        .env("LD_PRELOAD", library())
        .env("AXIO_RULES_FILE", file)
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{:?}", output.status);
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn a_file_of_rules_that_is_too_long_or_no_file_is_said_in_one_line() {
    let program = Program::of("one_listener.c");
    let file = program.0.with_extension("rules");
    let rule = "kernel * * *:*\n";
    let of_size = |bytes: usize| {
        let comment = "#".repeat(bytes - rule.len());
        std::fs::write(&file, format!("{rule}{comment}")).expect("a file of rules");
        complaint(&program.0, &file)
    };
    assert_eq!(of_size(BYTES_MAX), "");
    for complaint in [
        of_size(BYTES_MAX + 1),
        of_size(3 * BYTES_MAX),
        complaint(&program.0, Path::new("/dev/null")),
        complaint(&program.0, Path::new("/dev/zero")),
        complaint(&program.0, Path::new("/")),
        complaint(&program.0, Path::new("/no/such/file")),
    ] {
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        assert!(complaint.contains("64 KiB"), "{complaint}");
    }
    let _ = std::fs::remove_file(&file);
}
