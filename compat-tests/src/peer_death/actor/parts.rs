//! What the victim and the survivor do, pattern by pattern.

use super::{ALL_WRITTEN, Actor, Ended, NOTICE_BYTES, UNREAD_TURN_BYTES, fail, must};
use crate::peer_death::notes::Notes;
use crate::peer_death::pattern::Pattern;
use crate::torture::calls;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// Bytes of the long directions, where nobody dies.
const STREAM_BYTES: u64 = 3 << 20;
/// As many where the connection outgrows its channel: enough for several milliseconds of the kernel's path, in which a far
/// side is waited for that does not follow.
const OUTGROWING_BYTES: u64 = 32 << 20;
/// Bytes each end writes before it reads, in the pattern of that name.
const SPILL_BYTES: u64 = 2 << 20;
/// Bytes that the survivor writes where the victim leaves some unread: the ring has room for all of them.
const UNREAD_BYTES: u64 = 3600;
/// Rounds in which the victim reads a little of that, and what it writes in each.
const UNREAD_ROUNDS: u64 = 400;
const UNREAD_ANSWER_BYTES: u64 = 128;
/// Exchanges of a connection that is busy and quiet in turn, how many of them at a time, and for how long it is quiet: longer
/// than one with a slot may be.
const BUSY_TIMES: u64 = 6;
const BUSY_ROUNDS: u64 = 24;
const BUSY_BYTES: u64 = 300;
const QUIET: Duration = Duration::from_millis(300);
/// Bytes in the ring that the victim's child finds unread. Without a ring fewer fit, and nobody reads before the child is
/// there.
const CHILD_BYTES: u64 = 48 << 10;

impl Actor {
    pub(super) fn play_victim(&self) -> ! {
        self.warm_up(false);
        self.phase(1);
        match self.script.pattern {
            Pattern::PingPong | Pattern::PingPongPolling => {
                if self.script.pattern == Pattern::PingPongPolling {
                    must("fcntl", calls::set_nonblocking(self.descriptor, true));
                }
                self.ping_pong(300, 3000);
                self.end_direction(Ended::Enough);
                self.read_to_end(0);
            }
            Pattern::Stream => {
                let written = self.write_until(self.goal(STREAM_BYTES), 64);
                self.end_direction(written);
                self.read_to_end(0);
            }
            Pattern::Sink => {
                self.read_some(STREAM_BYTES, 64);
                // The survivor writes until it notices: this end simply goes.
                calls::exit_now(0);
            }
            Pattern::Unread => {
                // The survivor sends nothing after this one's death, then, and from here on bytes are unread at any moment.
                self.wait_until_all_is_written();
                self.phase(ALL_WRITTEN);
                for round in 0..UNREAD_ROUNDS {
                    self.write_until(self.goal(UNREAD_ANSWER_BYTES), 0);
                    self.read_some(UNREAD_TURN_BYTES, 0);
                    if round % 32 == 0 {
                        std::thread::sleep(Duration::from_micros(500));
                    }
                }
                calls::exit_now(0);
            }
            Pattern::Both | Pattern::Toggle | Pattern::ToggledByPeer => {
                self.both_directions(STREAM_BYTES, self.script.pattern == Pattern::Toggle);
            }
            Pattern::Spill => {
                let written = self.write_until(self.goal(SPILL_BYTES), 0);
                self.end_direction(written);
                self.read_to_end(0);
            }
            Pattern::Shutdown => {
                let written = self.write_until(self.goal(100_000), 0);
                self.end_direction(written);
                self.read_to_end(0);
            }
            Pattern::PeerShutdown => {
                std::thread::sleep(Duration::from_millis(5));
                let written = self.write_until(self.goal(STREAM_BYTES), 128);
                self.end_direction(written);
                self.read_to_end(0);
            }
            Pattern::Close => {
                self.write_until(self.goal(50_000), 0);
                self.phase(2);
                let _ = calls::close(self.descriptor);
            }
            Pattern::CloseUnread => {
                // Until the survivor has written and said `fin`.
                std::thread::sleep(Duration::from_millis(30));
                self.phase(2);
                let _ = calls::close(self.descriptor);
            }
            Pattern::Leave => {
                self.write_until(self.goal(50_000), 0);
                self.phase(2);
                self.leave();
            }
            Pattern::PeerLeaves | Pattern::PeerLeavesSmall => {
                // The first bytes wait in the ring when the survivor leaves; the others come after.
                let small = self.script.pattern == Pattern::PeerLeavesSmall;
                self.write_until(self.goal(if small { 60 << 10 } else { 24 << 10 }), 0);
                std::thread::sleep(Duration::from_millis(if small { 25 } else { 6 }));
                let written = self.write_until(self.goal(512 << 10), 0);
                self.end_direction(written);
                self.read_to_end(0);
            }
            Pattern::ChildDies => {
                self.write_what_fits(self.goal(CHILD_BYTES));
                self.let_child_wait();
                let written = self.write_until(self.goal(64 << 10), 0);
                self.end_direction(written);
                self.read_to_end(0);
            }
            Pattern::Evicted => {
                self.keep_company();
                for _ in 0..BUSY_TIMES {
                    self.exchange(true, BUSY_ROUNDS, BUSY_BYTES);
                    std::thread::sleep(QUIET);
                }
                self.end_direction(Ended::Enough);
                self.read_to_end(0);
            }
            Pattern::Outgrown | Pattern::OutgrownAlone => {
                self.take_ring_space();
                self.both_directions(OUTGROWING_BYTES, false);
            }
        }
        calls::exit_now(0)
    }

    pub(super) fn play_survivor(&self) -> ! {
        self.warm_up(true);
        self.phase(1);
        let ended = match self.script.pattern {
            Pattern::PingPong | Pattern::PingPongPolling => {
                self.answer_pings();
                self.read_to_end(0)
            }
            Pattern::Stream | Pattern::Close | Pattern::Leave => self.read_to_end(64),
            Pattern::Shutdown => {
                let ended = self.read_to_end(64);
                self.write_until(self.goal(20_000), 0);
                ended
            }
            Pattern::PeerShutdown | Pattern::CloseUnread => {
                self.write_until(self.goal(20_000), 0);
                self.end_direction(Ended::Enough);
                self.read_to_end(64)
            }
            Pattern::Unread => {
                self.write_until(self.goal(UNREAD_BYTES), 0);
                self.phase(ALL_WRITTEN);
                self.read_to_end(0)
            }
            Pattern::Sink => {
                if self.write_until(self.goal(NOTICE_BYTES), 0) == Ended::Enough {
                    fail("wrote 256 MiB to nobody");
                }
                self.read_to_end(0)
            }
            Pattern::Both | Pattern::Toggle | Pattern::ToggledByPeer => {
                self.both_directions(STREAM_BYTES, self.script.pattern == Pattern::ToggledByPeer)
            }
            Pattern::Spill => {
                self.write_until(self.goal(SPILL_BYTES), 0);
                self.end_direction(Ended::Enough);
                self.read_to_end(0)
            }
            Pattern::PeerLeaves | Pattern::PeerLeavesSmall => {
                let small = self.script.pattern == Pattern::PeerLeavesSmall;
                std::thread::sleep(Duration::from_millis(if small { 15 } else { 3 }));
                self.leave();
            }
            Pattern::ChildDies => {
                self.wait_for_child();
                std::thread::sleep(Duration::from_millis(2));
                self.leave();
            }
            Pattern::Evicted => {
                self.keep_company();
                self.exchange(false, BUSY_TIMES * BUSY_ROUNDS, BUSY_BYTES);
                self.read_to_end(0)
            }
            Pattern::Outgrown | Pattern::OutgrownAlone => {
                self.take_ring_space();
                if self.script.pattern == Pattern::OutgrownAlone {
                    self.share_with_child();
                }
                self.both_directions(OUTGROWING_BYTES, false)
            }
        };
        self.conclude(ended)
    }
    /// In the victim. A survivor that hangs here is found by the driver.
    fn wait_until_all_is_written(&self) {
        let survivor = must(
            "notes",
            Notes::open(&self.script.notes.with_extension("survivor")),
        );
        while survivor.phase().load(SeqCst) != ALL_WRITTEN {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}
