//! The oracle must notice a library that lies: a control for every way in which a run can fail. The liar is
//! `c/liar.c`; it claims that everything travels by ring and does one thing wrong.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Seconds after which a run that is not to hang is ended.
const WATCHDOG: &str = "60";

/// Compiles the liar once.
fn liar() -> &'static PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("libaxio-liar.so");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
            .arg(&library)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/c/liar.c"))
            .arg(concat!(
                "-I",
                env!("CARGO_MANIFEST_DIR"),
                "/../kmod-interface/include"
            ))
            .arg("-ldl")
            .status()
            .expect("a C compiler");
        assert!(status.success(), "the liar does not compile");
        library
    })
}

/// Plays one case under the liar: whether it passed, and what the oracle printed.
fn judged(way: &str, watchdog: &str) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_compat-tests"))
        .args([
            "--only",
            "=recv_without_waiting",
            "--kind",
            "tcp4-client",
            "--mode",
            "eager",
            "--watchdog",
            watchdog,
        ])
        .arg("--library")
        .arg(liar())
        .args(["--set", &format!("LIAR={way}")])
        .output()
        .expect("the oracle starts");
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

fn is_noticed(way: &str, words: &str) {
    is_noticed_under(way, words, WATCHDOG);
}

fn is_noticed_under(way: &str, words: &str, watchdog: &str) {
    let (passed, printed) = judged(way, watchdog);
    is_for(words, passed, &printed);
}

/// The run failed, for this reason.
fn is_for(words: &str, passed: bool, printed: &str) {
    assert!(!passed, "the liar passed:\n{printed}");
    assert!(
        printed.contains(words),
        "not for the right reason:\n{printed}"
    );
}

#[test]
fn a_library_that_does_nothing_wrong_passes() {
    let (passed, printed) = judged("nothing", WATCHDOG);
    assert!(passed, "{printed}");
}

#[test]
fn another_errno_is_noticed() {
    is_noticed("errno", "recv(10, DONTWAIT) = -1 EINTR");
}

#[test]
fn a_wrong_byte_is_noticed() {
    is_noticed("byte", "answers differ from the kernel's");
}

#[test]
fn a_hang_is_noticed_and_ended() {
    is_noticed_under("hang", "hang: not over after 5 s", "5");
}

#[test]
fn bytes_that_do_not_travel_by_ring_are_noticed() {
    is_noticed("idle", "of which only 0 travelled by ring");
}

#[test]
fn a_connection_that_needs_more_than_eight_exchanges_is_noticed() {
    let begin = Instant::now();
    let (passed, printed) = judged("late", WATCHDOG);
    // Where the warm-up took a second, which a handshake may last, more exchanges may have followed.
    let words = if begin.elapsed() < Duration::from_secs(1) {
        "fast path not reached after 8 exchanges"
    } else {
        "fast path not reached after "
    };
    is_for(words, passed, &printed);
}

#[test]
fn output_of_the_library_is_noticed() {
    is_noticed("chatter", "wrote to standard output");
}

#[test]
fn a_complaint_of_the_library_is_noticed() {
    is_noticed("complaint", "the library complains: axio: something failed");
}
