//! The victim's fork child: it is killed at the step in the victim's place, which then goes on where the stream stands.
//!
//! The child sends nothing of its own and there is nothing to receive for it, so what the victim's calls have returned is
//! all that was sent, wherever the child dies.

use super::{Actor, must};
use crate::peer_death::notes::Notes;
use crate::torture::calls::{self, Readiness};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// It is there: the survivor may leave.
pub const WAITS: u64 = 1;
/// It lived.
pub const LIVED: u64 = 2;
/// It was killed.
pub const KILLED: u64 = 3;

/// How long it waits, and with it whatever else it does.
const WAITING: Duration = Duration::from_millis(60);
/// A survivor that has not heard of it by then goes on.
const PATIENCE: Duration = Duration::from_secs(60);

impl Actor {
    /// Forks the child and waits for its end.
    pub(super) fn let_child_wait(&self) {
        let child = must("fork", calls::fork());
        if child == 0 {
            let _ = calls::die_with_parent();
            self.wait_in_vain();
            calls::exit_now(0);
        }
        let status = must("waitpid", calls::wait_for(child));
        let ended = if status == 0 { LIVED } else { KILLED };
        self.notes.child().store(ended, SeqCst);
    }

    /// In the child: each look sends again what the survivor has left unread.
    fn wait_in_vain(&self) {
        let interest = Readiness {
            readable: true,
            ..Readiness::default()
        };
        self.notes.child().store(WAITS, SeqCst);
        let until = Instant::now() + WAITING;
        while Instant::now() < until {
            let _ = calls::poll(self.descriptor, interest, None, 2, false);
        }
    }

    /// In the survivor.
    pub(super) fn wait_for_child(&self) {
        let until = Instant::now() + PATIENCE;
        let notes = self.script.notes.as_path();
        let victim = must("notes", Notes::open(notes));
        while victim.child().load(SeqCst) == 0
            && self.notes.victim_is_dead().load(SeqCst) == 0
            && Instant::now() < until
        {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}
