//! The report at exit (`AXIO_REPORT`): one line of JSON, what the process has counted and what its open sockets add to it.
//!
//! A line is written before exec, too, and exec can fail: further lines of a process tell what has come since, so that
//! the sum over lines is right.

use super::page::{fits_file_size, program_name};
use super::rows::{reason_of, totals};
use crate::process;
use core::sync::atomic::{AtomicU64, Ordering};
use fastpath::family;
use fastpath::statistics::{self, Row};
use fastpath::text::Text;
use kmod_interface::reason::Reason;
use kmod_interface::statistics::Counter;
use settings::PathText;

/// More than every counter and every reason take.
const LINE_BYTES: usize = 4096;

/// What lines of this process have told.
static TOLD: Sums<AtomicU64> = Sums {
    counters: [const { AtomicU64::new(0) }; 64],
    reasons: [const { AtomicU64::new(0) }; 64],
};

/// A number for each counter and each reason.
struct Sums<T> {
    counters: [T; 64],
    reasons: [T; 64],
}

/// In a fork child: the lines are its parent's.
pub(super) fn forget_lines() {
    for told in TOLD.counters.iter().chain(&TOLD.reasons) {
        told.store(0, Ordering::Relaxed);
    }
}

/// Appends the report line of `AXIO_REPORT` (TRUST.md row 23: regular file, no link followed, mode 0600). Of a process
/// that opened no matching socket there is none, unless it has used those of its parent; nor one that tells nothing.
pub fn report() {
    let path = &process::settings().report;
    if path.is_empty() {
        return;
    }
    let mut sums = open_sockets();
    let has_counts =
        statistics::has_private_counts() || sums.counters.iter().any(|count| *count != 0);
    if statistics::page().is_null() && !has_counts {
        return;
    }
    if !add_counts(&mut sums) {
        return;
    }
    let mut text = Text::<LINE_BYTES>::new();
    write_line(&mut text, &sums);
    append(path, text.bytes());
}

/// Adds what the process has counted, and takes off what a line has told; false when nothing is left.
fn add_counts(sums: &mut Sums<u64>) -> bool {
    let mut is_news = false;
    let mut add = |sum: Option<&mut u64>, counted: u64, told: Option<&AtomicU64>| {
        if let (Some(sum), Some(told)) = (sum, told) {
            let all = *sum + counted;
            *sum = all.saturating_sub(told.fetch_max(all, Ordering::Relaxed));
            is_news |= *sum != 0;
        }
    };
    for counter in Counter::ALL {
        let place = *counter as usize;
        let (sum, told) = (sums.counters.get_mut(place), TOLD.counters.get(place));
        add(sum, statistics::value(*counter), told);
    }
    for reason in Reason::ALL {
        let place = *reason as usize;
        let (sum, told) = (sums.reasons.get_mut(place), TOLD.reasons.get(place));
        add(sum, statistics::reason_value(*reason as u32), told);
    }
    is_news
}

fn write_line(text: &mut Text<LINE_BYTES>, sums: &Sums<u64>) {
    text.add(b"{\"program\":\"");
    for byte in program_name() {
        if byte == 0 {
            break;
        }
        text.add(if byte < 32 || byte == b'"' || byte == b'\\' {
            b"?"
        } else {
            core::slice::from_ref(&byte)
        });
    }
    text.add(b"\",\"pid\":");
    text.add_number(u64::from(fastpath::kernel_call::process_id()));
    for counter in Counter::ALL {
        let sum = sums.counters.get(*counter as usize).copied().unwrap_or(0);
        text.add(b",\"").add(counter.name().as_bytes());
        text.add(b"\":").add_number(sum);
    }
    text.add(b",\"reasons\":{");
    let mut first = true;
    for reason in Reason::ALL {
        let sum = sums.reasons.get(*reason as usize).copied().unwrap_or(0);
        if sum > 0 {
            text.add(if first { b"\"" } else { b",\"" });
            text.add(reason.name().as_bytes());
            text.add(b"\":").add_number(sum);
            first = false;
        }
    }
    text.add(b"}}\n");
}

fn append(path: &PathText, line: &[u8]) {
    use rustix::fs::{FileType, Mode, OFlags};
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(path.as_c_str(), flags, Mode::RUSR | Mode::WUSR) else {
        return;
    };
    let may_grow = rustix::fs::fstat(&file).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && fits_file_size((stat.st_size as u64).saturating_add(line.len() as u64))
    });
    if may_grow {
        let _ = rustix::io::write(&file, line);
    }
}

/// Sums of the sockets that are still open here and nowhere else: those of several processes are the last one's to tell.
fn open_sockets() -> Sums<u64> {
    let mut sums = Sums {
        counters: [0; 64],
        reasons: [0; 64],
    };
    let Some(place) = family::process_place() else {
        return sums;
    };
    for index in 0..family::endpoints_used() {
        let Some(endpoint) = family::endpoint(index) else {
            break;
        };
        // Of the life in which it is held here: another thread may close it at this moment.
        let generation = endpoint.generation.load(Ordering::Acquire);
        let is_held = endpoint
            .holder(place)
            .is_some_and(|holder| holder.numbers.load(Ordering::Relaxed) != 0);
        if !is_held || endpoint.has_other_holder(place) {
            continue;
        }
        for (counter, value) in totals(endpoint, Row::in_life(endpoint, generation)) {
            if let Some(sum) = sums.counters.get_mut(counter as usize) {
                *sum += value;
            }
        }
        if let Some(sum) = sums.reasons.get_mut(reason_of(endpoint) as usize) {
            *sum += 1;
        }
    }
    sums
}
