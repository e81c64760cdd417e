//! Plays one side of a case, lists the cases, or runs one with its transcript.
//!
//! ```text
//! compat-case list
//! compat-case run NAME [--kind KIND] [--mode bare|eager|evidence] …   same options as compat-tests
//! compat-case side NAME KIND near|far                                 used by the director
//! ```

use std::process::ExitCode;

use compat_tests::{actor, cases, command, library};

fn main() -> ExitCode {
    library::answer_if_asked();
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.split_first() {
        Some((first, rest)) if first == "side" => std::process::exit(actor::play(rest)),
        Some((first, _)) if first == "list" => {
            for case in cases::all() {
                println!("{:<18} {}", case.call, case.name);
            }
            ExitCode::SUCCESS
        }
        Some((first, rest)) if first == "run" && !rest.is_empty() => {
            let mut words = vec![
                "--only".to_owned(),
                format!("={}", rest[0]),
                "-v".to_owned(),
            ];
            words.extend_from_slice(&rest[1..]);
            command::run(&words, &command::own_program())
        }
        _ => {
            eprintln!("usage: compat-case list | run NAME [options] | side NAME KIND near|far");
            ExitCode::from(2)
        }
    }
}
