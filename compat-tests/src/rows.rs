//! Every row of POSIX.md's table of hazards and the cases that cover it. A row without a case fails the oracle.
//!
//! A case names its rows itself (`Case::rows`). Here stands what each row is about, and the names of cases that a row
//! cannot do without: one that is not there is reported as missing.

use crate::cases;

/// A hazard of moving a live socket.
pub struct Row {
    /// Its number in POSIX.md.
    pub number: u8,
    /// The hazard in a few words.
    pub hazard: &'static str,
    /// Cases that must exist beside those that name the row themselves.
    pub wanted: &'static [&'static str],
}

const fn row(number: u8, hazard: &'static str) -> Row {
    Row {
        number,
        hazard,
        wanted: &[],
    }
}

impl Row {
    const fn wants(mut self, cases: &'static [&'static str]) -> Row {
        self.wanted = cases;
        self
    }
}

/// The table, in its own order.
pub const ROWS: &[Row] = &[
    row(1, "bell under Nagle after request and response"),
    row(2, "bell under TCP_CORK"),
    row(3, "bells left undrained, delayed acknowledgements"),
    row(4, "urgent data"),
    row(5, "half-close: the line is dead or readable for ever"),
    row(6, "SO_RCVLOWAT hides the bell"),
    row(
        7,
        "switch while a thread is inside a consuming kernel receive",
    ),
    row(8, "close with an unread bell"),
    row(9, "close while another process holds the descriptor")
        .wants(&["a_child_that_holds_the_descriptor_keeps_the_stream_open"]),
    row(10, "ring smaller than kernel buffering"),
    row(11, "EPOLLOUT, ring full, kernel writable")
        .wants(&["epoll_waits_for_space_while_the_peer_does_not_read"]),
    row(12, "EPOLL_CTL_MOD re-evaluates").wants(&["epoll_mod_reports_what_is_ready_again"]),
    row(13, "edge-triggered reference list")
        .wants(&["edge_triggered_events_come_once_per_arrival"]),
    row(14, "one bell, many ready connections, many threads")
        .wants(&["many_ready_connections_wake_many_epoll_threads"]),
    row(15, "peers that could clear each other's wake-ups")
        .wants(&["one_epoll_set_hears_two_peer_processes"]),
    row(16, "a wake-up line that blocks the waker"),
    row(17, "a private descriptor in the program's epoll set")
        .wants(&["epoll_reports_only_the_programs_own_data"]),
    row(18, "nested sets and foreign pollers").wants(&["nested_epoll_sets_see_arriving_bytes"]),
    row(19, "fork shares the interest list")
        .wants(&["a_forked_child_changes_the_parents_epoll_set"]),
    row(20, "registered number closed or reused")
        .wants(&["a_reused_number_is_a_new_epoll_registration"]),
    row(21, "event loops that use io_uring"),
    row(22, "a signal in the shim's own phase"),
    row(23, "EINTR, SA_RESTART and time-outs differ by call"),
    row(24, "several local sleepers, one bell"),
    row(25, "drain by number after the number was reused"),
    row(26, "thread cancellation in the sleep"),
    row(27, "fork copies private indices").wants(&["parent_and_child_read_one_stream_in_turn"]),
    row(28, "noticing fork, also vfork").wants(&["a_vfork_child_leaves_the_connection_alone"]),
    row(29, "exec with unread ring bytes")
        .wants(&["an_executed_program_reads_what_was_left_unread"]),
    row(30, "posix_spawn, adddup2, fclose")
        .wants(&["a_spawned_program_uses_the_connection_as_its_standard_input"]),
    row(31, "staleness of the descriptor table"),
    row(32, "bad user pointers"),
    row(33, "the peer's death, RST, order of what is shown"),
    row(34, "empty transfers and MSG_TRUNC"),
    row(35, "writers and readers the shim does not see"),
    row(36, "a process that confines itself with seccomp")
        .wants(&["a_confined_process_goes_on_with_its_connection"]),
];

/// Names of the cases that cover a row.
pub fn covering(row: &Row) -> impl Iterator<Item = &'static str> {
    let number = row.number;
    cases::all()
        .filter(move |case| case.rows.contains(&number))
        .map(|case| case.name)
}

/// Rows without a case, and wanted cases that do not exist or do not name their row.
#[must_use]
pub fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    for row in ROWS {
        if covering(row).next().is_none() {
            missing.push(format!(
                "row {} of POSIX.md ({}) has no case",
                row.number, row.hazard
            ));
        }
        for name in row.wanted {
            if !covering(row).any(|covering| covering == *name) {
                missing.push(format!("row {} wants the case {name}", row.number));
            }
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_numbered_one_to_thirty_six() {
        let numbers: Vec<u8> = ROWS.iter().map(|row| row.number).collect();
        assert_eq!(numbers, (1..=36).collect::<Vec<u8>>());
    }

    #[test]
    fn cases_name_rows_that_exist() {
        for case in cases::all() {
            for row in case.rows {
                assert!(
                    ROWS.iter().any(|known| known.number == *row),
                    "{} names row {row}",
                    case.name
                );
            }
        }
    }
}
