//! The cases, one file per family of calls. A new family is a new file and a line in [`FAMILIES`].
//!
//! Writing one: a case is a function `fn name_as_a_sentence(stage: &mut Stage)` and a line `case!("call", name)` in the
//! family's list. Make every observation certain before making it (`arrived`, `end_arrived`, `other_asleep`), say only
//! what every correct run must say, and let the kernel be the judge: a case has no expected values. A single call is
//! asked for no more than 4096 bytes, the smallest ring: a longer one may stop where one carrier ends and the other
//! begins, which POSIX allows; longer streams are received by as many calls as it takes.

pub mod accept;
pub mod cancel;
pub mod capacity;
pub mod close;
pub mod confined;
pub mod connect;
pub mod deaths;
pub mod duplicates;
pub mod epoll;
pub mod epoll_edges;
pub mod epoll_sets;
pub mod faults;
pub mod flags;
pub mod forks;
pub mod handed_over;
pub mod handlers;
pub mod interrupts;
pub mod low_water;
pub mod messages;
pub mod names;
pub mod numbers;
pub mod options;
pub mod peek;
pub mod programs;
pub mod queues;
pub mod raw_calls;
pub mod read_write;
pub mod receive;
pub mod requests;
pub mod resets;
pub mod send;
pub mod sendfile;
pub mod shutdown;
pub mod sleepers;
pub mod splice;
pub mod standard_streams;
pub mod timeouts;
pub mod urgent;
pub mod wait_all;
pub mod wakes;

use crate::case::Case;

/// All families.
const FAMILIES: &[&[Case]] = &[
    connect::CASES,
    accept::CASES,
    read_write::CASES,
    send::CASES,
    receive::CASES,
    messages::CASES,
    peek::CASES,
    wait_all::CASES,
    sendfile::CASES,
    splice::CASES,
    urgent::CASES,
    faults::CASES,
    interrupts::CASES,
    timeouts::CASES,
    low_water::CASES,
    queues::CASES,
    flags::CASES,
    options::CASES,
    names::CASES,
    shutdown::CASES,
    close::CASES,
    resets::CASES,
    deaths::CASES,
    capacity::CASES,
    sleepers::CASES,
    wakes::CASES,
    numbers::CASES,
    cancel::CASES,
    requests::CASES,
    forks::CASES,
    programs::CASES,
    standard_streams::CASES,
    handed_over::CASES,
    duplicates::CASES,
    confined::CASES,
    handlers::CASES,
    raw_calls::CASES,
    epoll::CASES,
    epoll_edges::CASES,
    epoll_sets::CASES,
];

/// Every case.
pub fn all() -> impl Iterator<Item = &'static Case> {
    FAMILIES.iter().flat_map(|family| family.iter())
}

/// Names are unique, and every case is played on some kind.
pub fn check_names() -> Result<(), String> {
    let mut seen = std::collections::HashSet::new();
    for case in all() {
        if !seen.insert(case.name) {
            return Err(format!("two cases are named {}", case.name));
        }
        if case.kinds.is_empty() {
            return Err(format!("{} is played on no kind of connection", case.name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_unique() {
        super::check_names().expect("names");
    }
}
