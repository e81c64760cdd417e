//! What the negotiations of both sides have in common: a step at a call on the connection, and one way to end.

use super::Progress;
use super::patience::Knocker;
use super::places::{Entered, Handle, Leave, Places};
use kmod_interface::reason::Reason;
use rustix::fd::BorrowedFd;

/// A negotiation of either side.
pub trait Negotiating: Copy {
    /// One step, at a call on the connection `tcp`. Never blocks.
    ///
    /// # Errors
    /// Why it came to nothing.
    fn step(&mut self, tcp: BorrowedFd<'_>) -> Result<Progress, Reason>;

    /// Everything of it goes. `restore` puts the socket's options back.
    fn end(&mut self, restore: impl FnOnce(&mut Knocker));
}

impl<T: Negotiating, const COUNT: usize> Places<T, COUNT> {
    /// One step. After `Bound` or `Failed` the negotiation has ended, the socket's options are as they were, and the handle
    /// finds nothing; `ending` is called before it finds nothing.
    pub fn advance(&self, handle: Handle, tcp: BorrowedFd<'_>, ending: impl FnOnce()) -> Progress {
        let entered = self.enter(handle, |negotiation| {
            let progress = match negotiation.step(tcp) {
                Ok(progress) => progress,
                Err(reason) => Progress::Failed(reason),
            };
            match progress {
                Progress::Pending => (progress, Leave::Keep),
                Progress::Bound(_) | Progress::Failed(_) => {
                    negotiation.end(|knocker| knocker.restore(tcp));
                    ending();
                    (progress, Leave::Free)
                }
            }
        });
        match entered {
            Entered::Inside(progress) => progress,
            Entered::Busy => Progress::Pending,
            Entered::Gone => Progress::Failed(Reason::TimedOut),
        }
    }

    /// Gives up: the socket's options are as they were, all descriptors closed.
    pub fn abandon(&self, handle: Handle, tcp: BorrowedFd<'_>) {
        self.enter(handle, |negotiation| {
            negotiation.end(|knocker| knocker.restore(tcp));
            ((), Leave::Free)
        });
    }

    /// Ends those that nobody is inside and that are of no use any more, as `is_useless` says.
    pub fn end_useless(&self, is_useless: impl Fn(&T) -> bool) {
        self.for_each_idle(|negotiation| {
            if !is_useless(negotiation) {
                return Leave::Keep;
            }
            negotiation.end(Knocker::restore_unasked);
            Leave::Free
        });
    }
}
