//! What was stored and is not seen yet, and how it comes into view.
#![expect(
    unsafe_code,
    reason = "copies stored bytes and writes views, both mapped memory"
)]

use super::{Died, Plan};
use crate::memory::region::{FarRegion, OwnRegion};
use crate::ring::RingBytes;
use core::cell::RefCell;
use core::ops::Range;
use kmod_interface::limits::WAITERS;
use std::collections::VecDeque;

/// Most stores that wait to be seen; one more brings the first of them into view, as a processor's store buffer does. Else
/// a side that stores more often than the other looks would be further behind each time.
const UNSEEN_MOST: usize = 128;

/// One store, or one copy into a ring.
struct Store {
    offset: usize,
    bytes: Vec<u8>,
}

/// What one end stores and the other sees.
pub(super) struct Link {
    /// Addresses that the writer stores to; empty once it was retired.
    source: Range<usize>,
    /// Addresses that the reader loads from; empty once it was retired.
    view: Range<usize>,
    /// Where `view` is written.
    paint: *mut u8,
    /// What is stored for the reader's waiters.
    notifications: Range<usize>,
    unseen: VecDeque<Store>,
    lost: Vec<Store>,
    plan: Plan,
    random: u64,
    /// Where the reader stores.
    reader_own: usize,
    /// So many of `unseen` lie before a full fence of the writer (P5).
    fenced: usize,
    /// So many of `unseen` lie before something the writer gave to the kernel (P6).
    given: usize,
    /// Sockets of the writer and of the reader; unknown means any.
    pub(super) source_line: Option<i32>,
    pub(super) view_line: Option<i32>,
    pub(super) loses: bool,
    /// Looks bring nothing into view.
    pub(super) is_stopped: bool,
    pub(super) stores: u64,
    /// Stores before the writer dies.
    pub(super) dies_in: Option<u64>,
    /// What the writer does before each look of the reader. Not there while it does it.
    pub(super) act: Option<Box<dyn FnMut()>>,
}

thread_local! {
    static LINKS: RefCell<Vec<Link>> = const { RefCell::new(Vec::new()) };
}

fn addresses(base: *mut u8, bytes: u32) -> Range<usize> {
    base as usize..base as usize + bytes as usize
}

pub(super) fn begin(
    reader: &OwnRegion,
    source: &OwnRegion,
    (view, paint): (&FarRegion, &OwnRegion),
    plan: Plan,
) {
    let layout = source.layout();
    // SAFETY: both are mapped for the bytes of the class, which is the same.
    unsafe {
        core::ptr::copy_nonoverlapping(source.base(), paint.base(), layout.region_bytes as usize);
    }
    let link = Link {
        source: addresses(source.base(), layout.region_bytes),
        view: addresses(view.base(), layout.region_bytes),
        paint: paint.base(),
        notifications: layout.far_waiter(0)
            ..layout.far_waiter(WAITERS - 1) + layout.far_waiter_bytes(),
        unseen: VecDeque::new(),
        lost: Vec::new(),
        plan,
        random: plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        reader_own: reader.base() as usize,
        fenced: 0,
        given: 0,
        source_line: None,
        view_line: None,
        loses: false,
        is_stopped: false,
        stores: 0,
        dies_in: None,
        act: None,
    };
    LINKS.with_borrow_mut(|links| links.push(link));
}

/// One end goes: what it stores is not noted any more, and nothing comes into what was its view.
pub(super) fn end(own: &OwnRegion, view: &FarRegion) {
    with_source(own, |link| link.source = 0..0);
    with_view(view, |link| {
        link.view = 0..0;
        link.unseen.clear();
    });
    LINKS.with_borrow_mut(|links| {
        links.retain(|link| !(link.view.is_empty() && link.source.is_empty()));
    });
}

fn with<T>(is_it: impl Fn(&Link) -> bool, act: impl FnOnce(&mut Link) -> T) -> Option<T> {
    LINKS.with_borrow_mut(|links| links.iter_mut().find(|link| is_it(link)).map(act))
}

pub(super) fn with_source<T>(own: &OwnRegion, act: impl FnOnce(&mut Link) -> T) -> Option<T> {
    let base = own.base() as usize;
    with(|link| link.source.contains(&base), act)
}

pub(super) fn with_view<T>(view: &FarRegion, act: impl FnOnce(&mut Link) -> T) -> Option<T> {
    let base = view.base() as usize;
    with(|link| link.view.contains(&base), act)
}

impl Link {
    pub(super) fn unseen(&self) -> usize {
        self.unseen.len()
    }

    /// Writes into the view, cut off at its end.
    pub(super) fn paint(&mut self, offset: usize, bytes: &[u8]) {
        let length = bytes.len().min(self.view.len().saturating_sub(offset));
        let target = self.paint.wrapping_add(offset);
        // SAFETY: inside the mapping of `paint`, which is as long as the view and stays till both are unmapped; no
        // reference points there.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), target, length) };
    }

    fn see(&mut self, most: u32) {
        for _ in 0..most {
            let Some(store) = self.unseen.pop_front() else {
                return;
            };
            self.fenced = self.fenced.saturating_sub(1);
            self.given = self.given.saturating_sub(1);
            if self.loses && self.notifications.contains(&store.offset) {
                self.lost.push(store);
            } else {
                self.paint(store.offset, &store.bytes);
            }
        }
    }

    pub(super) fn see_all(&mut self) {
        self.see(u32::MAX);
    }

    pub(super) fn give_all(&mut self) {
        self.given = self.unseen.len();
    }

    pub(super) fn redeliver(&mut self) {
        self.loses = false;
        for store in core::mem::take(&mut self.lost) {
            self.paint(store.offset, &store.bytes);
        }
    }

    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 16
    }

    fn look(&mut self) {
        if self.unseen.is_empty() || self.is_stopped {
            return;
        }
        let chance = self.next_random();
        if chance as u8 >= self.plan.idle_looks {
            let most = (chance >> 8) as u32 % self.plan.stores_a_look.max(1);
            self.see(most.saturating_add(1));
        }
    }

    /// False: the writer dies here.
    fn note(&mut self, offset: usize, bytes: &[u8]) -> bool {
        match &mut self.dies_in {
            Some(0) => return false,
            Some(left) => *left -= 1,
            None => {}
        }
        self.stores += 1;
        let bytes = bytes.to_vec();
        self.unseen.push_back(Store { offset, bytes });
        if self.unseen.len() > UNSEEN_MOST {
            self.see(1);
        }
        true
    }
}

/// From the one door: `bytes` are about to be stored at an address.
pub(crate) fn about_to_store(address: usize, bytes: &[u8]) {
    let noted = with(
        |link| link.source.contains(&address),
        |link| link.note(address - link.source.start, bytes),
    );
    if noted == Some(false) {
        std::panic::resume_unwind(Box::new(Died));
    }
}

/// From the ring: `bytes` at `source` are about to be copied to a position of a ring.
///
/// # Safety
/// `source` is readable for `bytes`.
pub(crate) unsafe fn stored_bytes(ring: RingBytes, position: u64, source: *const u8, bytes: usize) {
    let mut done = 0;
    for (target, length) in ring.pieces(position, bytes) {
        if length > 0 {
            // SAFETY: the pieces cover `bytes` in order, as the caller promised for the source.
            let piece = unsafe { core::slice::from_raw_parts(source.add(done), length) };
            about_to_store(target as usize, piece);
            done += length;
        }
    }
}

/// From the one door: a word of the far side is about to be loaded.
pub(crate) fn look(address: usize) {
    let is_it = |link: &Link| link.view.contains(&address);
    // It looks and stores itself, so no link is borrowed meanwhile.
    if let Some(mut act) = with(is_it, |link| link.act.take()).flatten() {
        act();
        with(is_it, |link| link.act = Some(act));
    }
    with(is_it, Link::look);
}

/// From the one door: a full fence. Behind a store of ours (its address): what we stored will be seen behind the next
/// fence of the far side, and what the far side has fenced is seen here. Of nobody in particular: of all.
pub(crate) fn full_fence(behind: Option<usize>) {
    LINKS.with_borrow_mut(|links| {
        let Some(address) = behind else {
            return links.iter_mut().for_each(Link::see_all);
        };
        let Some(ours) = links.iter_mut().find(|link| link.source.contains(&address)) else {
            return;
        };
        ours.fenced = ours.unseen.len();
        let own = ours.source.start;
        for link in links.iter_mut().filter(|link| link.reader_own == own) {
            link.see(link.fenced as u32);
        }
    });
}

/// Something is given to the kernel socket, bytes or an end.
pub(crate) fn gave_to_kernel(descriptor: i32) {
    LINKS.with_borrow_mut(|links| {
        for link in links {
            if link.source_line.is_none_or(|line| line == descriptor) {
                link.give_all();
            }
        }
    });
}

/// The kernel socket is asked for bytes, or for what there is.
pub(crate) fn asked_kernel(descriptor: i32) {
    LINKS.with_borrow_mut(|links| {
        for link in links {
            if link.view_line.is_none_or(|line| line == descriptor) {
                link.see(link.given as u32);
            }
        }
    });
}
