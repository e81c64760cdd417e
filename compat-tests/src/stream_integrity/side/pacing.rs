//! How fast a side writes, so that switches fall among its bytes.

use super::{Side, WANTED_SWITCHES};
use crate::stream_integrity::controller::LAST_TOGGLE_PERCENT;
use crate::torture::random::Random;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

impl Side {
    pub(super) fn pause(&self, random: &mut Random) {
        let own = self.own();
        if own.pause_every != 0 && random.one_in(own.pause_every) {
            std::thread::sleep(Duration::from_micros(random.below(own.pause_us)));
        }
    }

    /// Holds the stream back to small pieces where as many switches have happened as its position asks for, so that
    /// they fall among its bytes and not behind them. Returns the longest chunk to write: none goes past the place of
    /// the next switch.
    pub(super) fn pace(&self, random: &mut Random) -> usize {
        if self.board.paced().load(SeqCst) == 0 {
            return usize::MAX;
        }
        if self.plan.is_large {
            return self.pace_large(random);
        }
        let own = self.own();
        let position = self.board.written().load(SeqCst);
        // What was written before anything was read had no part in it.
        let first = self.plan.burst_bytes;
        let paced_bytes = if self.plan.end_after_receipt {
            // A leave comes behind the last forced switch. Some time has to pass between them, and some traffic.
            if position > own.bytes / 100 * LAST_TOGGLE_PERCENT {
                return self.pace_before_leave(position, random);
            }
            own.bytes / 100 * (LAST_TOGGLE_PERCENT - 10)
        } else {
            (own.bytes - first) / 100 * 60
        };
        let every = (paced_bytes / (WANTED_SWITCHES + 8)).max(1);
        let due = (position.saturating_sub(first) / every).min(WANTED_SWITCHES + 4);
        let seen = self.switches_seen();
        if seen >= WANTED_SWITCHES + 4 {
            return usize::MAX;
        }
        if seen >= due {
            let next = first + (seen + 1) * every;
            return next.saturating_sub(position).max(1) as usize;
        }
        std::thread::sleep(Duration::from_micros(random.between(50, 300)));
        if seen + 4 < due {
            std::thread::sleep(Duration::from_millis(1));
        }
        random.between(1, 600) as usize
    }

    /// Switches that count for the pace: forced ones, where this side forces. And where both directions have bytes, twice
    /// those of the direction that has fewer, but only for a time: who has spilled stays on the kernel for longer each time.
    fn switches_seen(&self) -> u64 {
        let board = &self.board;
        let forced = [board.forced_out(), board.forced_in()].map(|count| count.load(SeqCst));
        let (seen, fewer) = if self.own().controls {
            (forced.iter().sum(), forced[0].min(forced[1]))
        } else {
            // Some are nobody's wish: the first upgrades, spills and what follows from them.
            let less = |switches: u64, unforced| switches.saturating_sub(unforced);
            (
                less(board.switches().load(SeqCst), 12),
                less(board.fewer_switches().load(SeqCst), 3),
            )
        };
        let is_held_enough = board.holds().load(SeqCst) > self.plan.most_holds;
        if !self.plan.is_two_way() || 2 * fewer >= seen || is_held_enough {
            return seen;
        }
        board.holds().fetch_add(1, SeqCst);
        2 * fewer
    }

    /// A long stream goes as fast as it can, but for the moments when its side has asked for the ring: an upgrade needs
    /// an instant at which nothing is unread in the kernel. A ring that does not come is not waited for for ever; one that
    /// has come begins the count anew.
    fn pace_large(&self, random: &mut Random) -> usize {
        const MOST_HOLDS: u64 = 20_000;
        let board = &self.board;
        if board.wanting().load(SeqCst) == 0 || board.holds().fetch_add(1, SeqCst) > MOST_HOLDS {
            return usize::MAX;
        }
        std::thread::sleep(Duration::from_micros(random.between(100, 300)));
        random.between(1, 600) as usize
    }

    /// Slowly, and never far ahead of the other direction: a reader that has to stop early because the far side is
    /// through with its bytes would make the ring's writer give up on it, and the leave a reset.
    pub(super) fn pace_before_leave(&self, position: u64, random: &mut Random) -> usize {
        let thousandths = |part: u64, whole: u64| part * 1000 / whole.max(1);
        let written = thousandths(position, self.own().bytes);
        let received = thousandths(self.board.received().load(SeqCst), self.incoming());
        if written > received + 60 {
            std::thread::sleep(Duration::from_millis(1));
            return random.between(1, 300) as usize;
        }
        std::thread::sleep(Duration::from_micros(random.between(200, 500)));
        random.between(1, 1500) as usize
    }
}
