//! Which bits a registration reports, and when: the rules of READINESS.md 6 as a function of plain values.

use super::kernel_set::{ERR, HUP, IN, OUT, PRI, RDHUP, RDNORM, WRNORM};
use fastpath::stream::look::Readiness;

/// Bits that a look at the writing side is needed for.
pub const WRITING: u32 = OUT | WRNORM;
/// Bits that bells for data serve.
pub const READING: u32 = IN | RDNORM | RDHUP;

/// What holds, as epoll bits.
#[inline]
#[must_use]
pub fn bits_of(ready: Readiness) -> u32 {
    let bit = |holds: bool, bits: u32| if holds { bits } else { 0 };
    bit(ready.readable, IN | RDNORM)
        | bit(ready.writable, OUT | WRNORM)
        | bit(ready.read_ended, RDHUP)
        | bit(ready.hung_up, HUP)
        | bit(ready.failed, ERR)
}

/// What makes an edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edges {
    /// Added or modified since the last look.
    pub fresh: bool,
    /// More was received than was seen last, or the kernel told of input.
    pub input: bool,
    /// A blocked sender has room again.
    pub room: bool,
    /// An end, an error, or room in the kernel, that the kernel has told of.
    pub other: bool,
}

/// The bits to report now; 0 = nothing, the registration leaves the list.
///
/// Level: what holds and is asked for. Edge: the same, but only if something has happened that one of these bits shows.
#[inline]
#[must_use]
pub fn report(reportable: u32, edge_triggered: bool, holds: u32, edges: Edges) -> u32 {
    let bits = holds & reportable;
    if !edge_triggered || bits == 0 {
        return bits;
    }
    let shows = |happened: bool, by: u32| happened && bits & by != 0;
    let edge = edges.fresh
        || shows(edges.input, IN | RDNORM | RDHUP | HUP | ERR)
        || shows(edges.room, OUT | WRNORM)
        || edges.other
        || bits & PRI != 0;
    if edge { bits } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_EDGE: Edges = Edges {
        fresh: false,
        input: false,
        room: false,
        other: false,
    };

    fn holds(readable: bool, writable: bool) -> u32 {
        bits_of(Readiness {
            readable,
            writable,
            ..Readiness::default()
        })
    }

    #[test]
    fn level_reports_what_holds_and_is_asked_for() {
        assert_eq!(
            report(IN | OUT, false, holds(true, true), NO_EDGE),
            IN | OUT
        );
        assert_eq!(report(IN, false, holds(true, true), NO_EDGE), IN);
        assert_eq!(report(OUT, false, holds(true, false), NO_EDGE), 0);
        assert_eq!(
            report(IN | RDNORM, false, holds(true, false), NO_EDGE),
            IN | RDNORM
        );
    }

    #[test]
    fn an_end_or_error_need_not_be_asked_for_but_the_half_close_must_be() {
        let ended = bits_of(Readiness {
            readable: true,
            read_ended: true,
            hung_up: true,
            failed: true,
            ..Readiness::default()
        });
        assert_eq!(report(ERR | HUP, false, ended, NO_EDGE), ERR | HUP);
        assert_eq!(
            report(IN | RDHUP | ERR | HUP, false, ended, NO_EDGE),
            IN | RDHUP | ERR | HUP
        );
    }

    #[test]
    fn edge_is_silent_without_an_event_and_tells_all_that_holds_with_one() {
        let both = holds(true, true);
        assert_eq!(report(IN | OUT, true, both, NO_EDGE), 0);
        let input = Edges {
            input: true,
            ..NO_EDGE
        };
        assert_eq!(report(IN | OUT, true, both, input), IN | OUT);
        // Drained before the wait: the arrival shows in no bit that still holds.
        assert_eq!(report(IN | OUT, true, holds(false, true), input), 0);
        let room = Edges {
            room: true,
            ..NO_EDGE
        };
        assert_eq!(report(IN | OUT, true, holds(false, true), room), OUT);
        assert_eq!(report(IN, true, holds(false, true), room), 0);
        let fresh = Edges {
            fresh: true,
            ..NO_EDGE
        };
        assert_eq!(report(IN | OUT, true, holds(false, true), fresh), OUT);
        assert_eq!(report(IN | OUT, true, holds(false, false), fresh), 0);
    }
}
