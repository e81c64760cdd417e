//! The program that cases execute: it does one plain thing with descriptors it finds open, by calls of the C library or,
//! after `raw`, by instructions of its own, as static programs do.
//!
//! ```text
//! compat-helper [raw] take N FROM TO   moves N bytes, or all with N = all
//! compat-helper [raw] echo FD          sends back what comes, until the end
//! compat-helper [raw] tell FD TEXT     sends a text
//! compat-helper [raw] adopt LINE       receives a descriptor over an AF_UNIX socket, greets and echoes on it
//! compat-helper idle FD                reads FD until its end, holding whatever else it was given
//! ```

use std::process::ExitCode;

use compat_tests::calls::answer::Answer;
use compat_tests::calls::{raw, rights, transfer};

fn read(by_instruction: bool, fd: i32, buffer: &mut [u8]) -> Answer {
    if by_instruction {
        raw::read(fd, buffer)
    } else {
        transfer::read(fd, buffer)
    }
}

fn write_all(by_instruction: bool, fd: i32, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let answer = if by_instruction {
            raw::write(fd, bytes)
        } else {
            transfer::write(fd, bytes)
        };
        match answer {
            Ok(count) => bytes = &bytes[count..],
            Err(_) => return false,
        }
    }
    true
}

/// Moves up to `limit` bytes; true when the source ended or the limit was reached.
fn take(by_instruction: bool, limit: usize, from: i32, to: i32) -> bool {
    let mut buffer = [0; 4096];
    let mut left = limit;
    while left > 0 {
        let room = left.min(buffer.len());
        match read(by_instruction, from, &mut buffer[..room]) {
            Ok(0) => return limit == usize::MAX,
            Ok(count) => {
                left -= count;
                if !write_all(by_instruction, to, &buffer[..count]) {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    true
}

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let by_instruction = words.first().is_some_and(|word| word == "raw");
    if by_instruction {
        words.remove(0);
    }
    let number = |index: usize| {
        words
            .get(index)
            .and_then(|word| word.parse::<i32>().ok())
            .unwrap_or(-1)
    };
    let fine = match words.first().map(String::as_str) {
        Some("take") => {
            let limit = words[1].parse().unwrap_or(usize::MAX);
            take(by_instruction, limit, number(2), number(3))
        }
        Some("echo") => take(by_instruction, usize::MAX, number(1), number(1)),
        Some("tell") => write_all(by_instruction, number(1), words[2].as_bytes()),
        Some("adopt") => match rights::receive_descriptor(number(1)) {
            Ok(fd) => {
                write_all(by_instruction, fd, b"adopted ")
                    && take(by_instruction, usize::MAX, fd, fd)
            }
            Err(_) => false,
        },
        Some("idle") => {
            while read(false, number(1), &mut [0; 64]).is_ok_and(|count| count > 0) {}
            true
        }
        _ => return ExitCode::from(2),
    };
    ExitCode::from(u8::from(!fine))
}
