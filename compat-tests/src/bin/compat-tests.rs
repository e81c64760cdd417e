//! The oracle on the command line: `compat-tests --only PATTERN --mode eager -v`.

use std::process::ExitCode;

use compat_tests::command;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    command::run(
        &words,
        &command::own_program().with_file_name("compat-case"),
    )
}
