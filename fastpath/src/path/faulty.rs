//! Faults as a path: any other path, seen through a view that is as late, as incomplete and as mendacious as the contract
//! allows. For tests of everything above; deterministic by its seed.
//!
//! ```text
//!   this end                                              far end
//!   own  ── stores, noted in order ──▶ unseen ──▶ view = far of the far end
//! ```
//!
//! What an end stores is noted at the one door to atomics ([`crate::sync`]) and at the ring's copies, word by word and copy
//! by copy, and is put into the far end's view later:
//!
//! * delay, truncate: each look brings some of the unseen stores into view, in their order (P3), sometimes none; so every
//!   load finds some earlier state of the writer, also one in the middle of a call. In the end all is seen (P4).
//! * a full fence of the reader brings what the writer has stored before its own last full fence into view (P5): no more
//!   than that, so that a reader may still find a writer in the middle of a call that has long returned.
//! * a look at the kernel socket brings what the writer stored before it last gave something to its own into view (P6).
//! * drop: what is stored for the waiters of the far side (ready bits, summaries) is lost, till [`Faulty::redeliver`].
//! * scribble: anything at all is written into the view ([`Faulty::scribble`]), as a lying far side would (P8).
//! * hurry: the far side acts before each single look of this end ([`Faulty::act_before_looks`]), as no two threads would.
//! * die: at a chosen store the writer's call ends by unwinding, and nothing it would have stored afterwards exists
//!   ([`Faulty::die_at_store`]); what it had stored is still seen (P9).
//!
//! Both ends are in one process and driven by one thread: what is noted belongs to the thread that made the pair, and of
//! P12 nothing is promised.

mod view;

pub(crate) use view::{
    about_to_store, asked_kernel, full_fence, gave_to_kernel, look, stored_bytes,
};

use super::Path;
use super::in_process::{make_twice, unmap_guarded};
use crate::error::Blame;
use crate::memory::region::{FarRegion, OwnRegion};

/// How a view follows what is stored.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Where the choices start.
    pub seed: u64,
    /// Of 256 looks, so many bring nothing into view; less than 256.
    pub idle_looks: u8,
    /// Most stores that one look brings into view.
    pub stores_a_look: u32,
}

impl Plan {
    /// All that was stored is seen at each look.
    pub const PROMPT: Plan = Plan {
        seed: 0,
        idle_looks: 0,
        stores_a_look: u32::MAX,
    };
    /// Three of four looks find nothing new, the others at most `stores_a_look` stores.
    #[must_use]
    pub const fn late(seed: u64, stores_a_look: u32) -> Plan {
        Plan {
            seed,
            idle_looks: 192,
            stores_a_look,
        }
    }
}

/// What a call unwinds with when its writer dies in the middle ([`Faulty::die_at_store`]).
#[derive(Clone, Copy, Debug)]
pub struct Died;

/// One end of a path with faults.
#[derive(Clone, Copy, Debug)]
pub struct Faulty<P> {
    inner: P,
    /// What this end sees of the far side.
    view: FarRegion,
    /// Where the faults write it.
    paint: OwnRegion,
}

impl<P: Path> Faulty<P> {
    /// Faults around both ends of a path. `plans` says how the first and the second see the other.
    ///
    /// # Errors
    /// [`Blame::Os`] without memory.
    pub fn pair(ends: [P; 2], plans: [Plan; 2]) -> Result<[Faulty<P>; 2], Blame> {
        let [first, second] = ends;
        Ok([
            Self::end(first, &second, plans[0])?,
            Self::end(second, &first, plans[1])?,
        ])
    }

    fn end(inner: P, far: &P, plan: Plan) -> Result<Faulty<P>, Blame> {
        let (paint, view) = make_twice(inner.far().class())?;
        view::begin(inner.own(), far.own(), (&view, &paint), plan);
        Ok(Faulty { inner, view, paint })
    }

    /// This end's socket of the connection, so that only what is given to the kernel there, and asked from it there, brings
    /// stores into view (P6). Without it any socket does.
    pub fn has_line(&self, descriptor: i32) {
        view::with_source(self.inner.own(), |link| link.source_line = Some(descriptor));
        view::with_view(&self.view, |link| link.view_line = Some(descriptor));
    }
    /// This end's socket ends without a call of ours, as at a death: what was stored is before that end (P6).
    pub fn socket_ends(&self) {
        view::with_source(self.inner.own(), view::Link::give_all);
    }
    /// Everything that the far side has stored comes into this end's view.
    pub fn see_all(&self) {
        view::with_view(&self.view, view::Link::see_all);
    }
    /// The far side is stopped where this end sees it (or goes on again): looks bring nothing into view, only what P5 and P6
    /// demand.
    pub fn stop_far(&self, is_stopped: bool) {
        view::with_view(&self.view, |link| link.is_stopped = is_stopped);
    }
    /// Stores of the far side that this end has not seen.
    #[must_use]
    pub fn unseen(&self) -> usize {
        view::with_view(&self.view, |link| link.unseen()).unwrap_or(0)
    }
    /// Stores this end has made.
    #[must_use]
    pub fn stores(&self) -> u64 {
        view::with_source(self.inner.own(), |link| link.stores).unwrap_or(0)
    }
    /// From now on this end sees no ready bit and no summary that the far side sets for its waiters.
    pub fn lose_notifications(&self) {
        view::with_view(&self.view, |link| link.loses = true);
    }
    /// The notifications that were lost come into view, and later ones as ever.
    pub fn redeliver(&self) {
        view::with_view(&self.view, view::Link::redeliver);
    }
    /// Writes bytes into what this end sees, as a lying far side would; cut off at the end of the region.
    pub fn scribble(&self, offset: usize, bytes: &[u8]) {
        view::with_view(&self.view, |link| link.paint(offset, bytes));
    }
    /// From now on the far side does this before each look of this end, for as long as the path lives: calls of its own, or
    /// stores into its own memory.
    pub fn act_before_looks(&self, act: impl FnMut() + 'static) {
        view::with_view(&self.view, |link| link.act = Some(Box::new(act)));
    }
    /// This end's call that would make the `store`th store from here unwinds with [`Died`] instead, and so does each later
    /// one.
    pub fn die_at_store(&self, store: u64) {
        view::with_source(self.inner.own(), |link| link.dies_in = Some(store));
    }
    /// Takes [`Faulty::die_at_store`] back: what is stored from now on exists again.
    pub fn live_again(&self) {
        view::with_source(self.inner.own(), |link| link.dies_in = None);
    }
}

impl<P: Path> Path for Faulty<P> {
    fn own(&self) -> &OwnRegion {
        self.inner.own()
    }
    fn far(&self) -> &FarRegion {
        &self.view
    }
    fn retire(&self) {
        view::end(self.inner.own(), &self.view);
        self.inner.retire();
        self.view.retire();
    }
    fn unmap(&self) {
        view::end(self.inner.own(), &self.view);
        self.inner.unmap();
        unmap_guarded(self.view.base(), self.view.layout());
        unmap_guarded(self.paint.base(), self.paint.layout());
    }
}
