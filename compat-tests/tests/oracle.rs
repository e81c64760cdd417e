//! All cases in all modes, compared with the bare kernel. Options go into `COMPAT_ARGUMENTS`, for example
//! `COMPAT_ARGUMENTS="--only recvmsg --mode eager -v" cargo test -p compat-tests --test oracle`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Test runners ask harness-less programs for a list of their tests first.
    if std::env::args().any(|word| word == "--list") {
        if !std::env::args().any(|word| word == "--ignored") {
            println!("oracle: test");
        }
        return ExitCode::SUCCESS;
    }
    let words: Vec<String> = std::env::var("COMPAT_ARGUMENTS")
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    compat_tests::command::run(&words, Path::new(env!("CARGO_BIN_EXE_compat-case")))
}
