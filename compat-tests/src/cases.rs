//! The cases, one file per family of calls. A new family is a new file and a line in [`FAMILIES`].
//!
//! Writing one: a case is a function `fn name_as_a_sentence(stage: &mut Stage)` and a line `case!("call", name)` in the
//! family's list. Make every observation certain before making it (`arrived`, `end_arrived`, `other_asleep`), say only
//! what every correct run must say, and let the kernel be the judge: a case has no expected values. A single call is
//! asked for no more than 4096 bytes, the smallest ring: a longer one may stop where one carrier ends and the other
//! begins, which POSIX allows; longer streams are received by as many calls as it takes.

pub mod accept;
pub mod asynchronous;
pub mod cancel;
pub mod capacity;
pub mod close;
pub mod confined;
pub mod connect;
pub mod credentials;
pub mod deaths;
pub mod duplicates;
pub mod epoll;
pub mod faults;
pub mod flags;
pub mod forks;
pub mod half_closed_deaths;
pub mod handed_over;
pub mod handlers;
pub mod interrupts;
pub mod jumps;
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
pub mod second_names;
pub mod selects;
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
pub mod warming;

use crate::case::Case;

/// All families.
const FAMILIES: &[&[Case]] = &[
    connect::CASES,
    accept::CASES,
    read_write::CASES,
    second_names::CASES,
    asynchronous::CASES,
    selects::CASES,
    send::CASES,
    receive::CASES,
    messages::CASES,
    peek::CASES,
    wait_all::CASES,
    sendfile::CASES,
    splice::moves::CASES,
    splice::full_stream::CASES,
    splice::silent_stream::CASES,
    splice::pipe_waits::CASES,
    splice::refusals::CASES,
    urgent::CASES,
    faults::CASES,
    interrupts::CASES,
    timeouts::CASES,
    jumps::CASES,
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
    warming::CASES,
    numbers::CASES,
    cancel::CASES,
    requests::CASES,
    forks::holding::CASES,
    forks::sharing::CASES,
    forks::leaving::CASES,
    forks::ways::CASES,
    programs::executed::CASES,
    programs::not_inherited::CASES,
    programs::spawned::CASES,
    programs::vforked::CASES,
    programs::commands::CASES,
    programs::daemons::CASES,
    standard_streams::CASES,
    half_closed_deaths::CASES,
    handed_over::CASES,
    duplicates::CASES,
    confined::CASES,
    credentials::CASES,
    handlers::CASES,
    raw_calls::CASES,
    epoll::levels::CASES,
    epoll::space::CASES,
    epoll::ends::CASES,
    epoll::waiting::CASES,
    epoll::mixed::CASES,
    epoll::registrations::CASES,
    epoll::young::CASES,
    epoll::edges::CASES,
    epoll::edges_of_space::CASES,
    epoll::edge_streams::CASES,
    epoll::nested::CASES,
    epoll::numbers::CASES,
    epoll::shared::CASES,
    epoll::crowds::CASES,
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
    use crate::case::{Case, Proof, Start};

    fn names_of(wanted: impl Fn(&Case) -> bool) -> Vec<&'static str> {
        super::all()
            .filter(|case| wanted(case))
            .map(|case| case.name)
            .collect()
    }

    #[test]
    fn names_are_unique() {
        super::check_names().expect("names");
    }

    /// A transcript that was earned on the kernel path proves nothing; who asks for no byte by ring says why, and is
    /// about the kernel path. `compat-tests --prove` shows the same by playing every case without a ring.
    #[test]
    fn every_case_asks_for_the_ring_but_those_about_the_kernel_path() {
        let no_bytes = names_of(|case| case.proof == Proof::AtLeast(0));
        assert!(no_bytes.is_empty(), "at least 0 bytes: {no_bytes:?}");
        assert_eq!(
            names_of(|case| matches!(case.proof, Proof::Unproven(_))),
            ["switched_off_nothing_differs"]
        );
        let mut stay = names_of(|case| matches!(case.proof, Proof::StaysOnKernel(_)));
        stay.sort_unstable();
        assert_eq!(
            stay,
            [
                "a_process_with_io_uring_stays_on_the_kernel",
                "a_reset_behind_the_first_message_without_opting_in",
                "a_rule_keeps_connections_on_the_kernel",
                "an_urgent_byte_in_line",
                "peek_offset_set_before_the_first_byte",
                "without_opting_in_nothing_is_accelerated",
            ]
        );
    }

    /// Otherwise nobody has put it there.
    #[test]
    fn a_case_that_must_begin_on_the_ring_begins_settled() {
        let others = names_of(|case| {
            matches!(case.proof, Proof::BeganOnRing(_)) && case.start != Start::Settled
        });
        assert!(others.is_empty(), "{others:?}");
    }
}
