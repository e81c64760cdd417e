//! Features of the kernel that a ring cannot imitate, switched on before anybody managed the socket; transfers that the C
//! library makes by itself; arguments of raw calls that cannot be written (POSIX.md R10, R13).

mod built;

use built::{Program, library};
use std::process::{Command, Stdio};

fn runs(program: &Program, what: &str) {
    let output = Command::new(&program.0)
        .arg(what)
        .env_clear()
        .env("LD_PRELOAD", library())
        .output()
        .expect("the program runs");
    assert!(
        output.status.success(),
        "{what}: {:?}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_feature_switched_on_before_connect_or_inherited_keeps_the_connection_in_the_kernel() {
    let program = Program::of("kernel_features.c");
    for what in [
        "nothing",
        "async",
        "zerocopy",
        "timestamp",
        "timestamp_new",
        "peek_offset",
        "filter",
        "inherited_timestamp",
        "inherited_inq",
    ] {
        runs(&program, what);
    }
}

#[test]
fn transfers_of_the_c_library_s_own_threads_find_the_bytes() {
    runs(&Program::of("kernel_features.c"), "aio");
}

#[test]
fn receiving_without_copying_says_that_bytes_are_to_be_copied() {
    runs(&Program::of("kernel_features.c"), "zerocopy_receive");
}

#[test]
fn a_raw_call_with_a_constant_or_a_wild_argument_answers_as_the_kernel_does() {
    let program = Program::of("kernel_features.c");
    runs(&program, "constants_without_sockets");
    runs(&program, "constants");
}

#[test]
fn a_reader_of_standard_error_that_has_gone_costs_no_program() {
    let program = Program::of("kernel_features.c");
    let (reads, writes) = std::io::pipe().expect("a pipe");
    drop(reads);
    let status = Command::new(&program.0)
        .arg("nothing")
        .env_clear()
        .env("LD_PRELOAD", library())
        .env("AXIO_LOG", "info")
        .stderr(Stdio::from(writes))
        .status()
        .expect("the program runs");
    assert!(status.success(), "{status:?}");
}
