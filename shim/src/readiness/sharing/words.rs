//! What the processes of a family share of a set: a word in a small mapping, inherited by fork, that says whether a second
//! one has begun to use it (READINESS.md 8).
//!
//! W1. A word has holders, by their names in the family: the process that made the set, and each fork child from before
//! the fork. A holder names another only while it is one itself.
//! W2. It is given to another set when every holder has ended the set or is gone. Who takes it does so in the first place
//! for a holder, and then finds the other places as it saw them before: a holder named meanwhile keeps the word.
//! W3. A word with more holders than can be named is never given away.
//!
//! Without a word, which none may be free, a set that is there at a fork counts as one that two processes use.
#![expect(
    unsafe_code,
    reason = "refers to the mapping, which is made of atomics"
)]

use crate::readiness::tables;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use fastpath::backoff::Backoff;
use fastpath::family;
use fastpath::lock::LockWord;
use rustix::mm::MapFlags;

/// Sets of a family that are told apart.
const WORDS: usize = 1024;
/// Processes of one set that are named.
const HOLDERS: usize = 11;
/// Index of no word.
const NONE: u32 = u32::MAX;
/// Times that parting from relatives finds another thread inside, with a millisecond between: they are not inside for long.
const TRIES: u32 = 1000;

/// What the processes of a family share of one set.
#[repr(C)]
pub struct FamilyWord {
    /// Held around what they change in the kernel's set.
    pub lock: LockWord,
    /// Counts those changes; 0 while one process uses the set.
    pub changes: AtomicU32,
    /// 1 once the owner has given the kernel the program's own events back.
    pub given_back: AtomicU32,
    /// 1 once there was no place for one more holder.
    crowded: AtomicU32,
    /// Names of its holders, plus one; 0 = none.
    holders: [AtomicU32; HOLDERS],
}

const _: () = assert!(size_of::<FamilyWord>() == 64);

type Words = [FamilyWord; WORDS];

static FAMILY: AtomicPtr<Words> = AtomicPtr::new(core::ptr::null_mut());

/// Maps the words if they are not there; false without memory.
pub fn ensure() -> bool {
    tables::publish(&FAMILY, MapFlags::SHARED)
}

fn words() -> &'static [FamilyWord] {
    // SAFETY: null or the shared mapping, zero-filled, never unmapped, made of atomics.
    match unsafe { FAMILY.load(Ordering::Acquire).as_ref() } {
        Some(words) => words,
        None => &[],
    }
}

/// The word at an index.
#[inline]
#[must_use]
pub fn at(index: u32) -> Option<&'static FamilyWord> {
    words().get(index as usize)
}

/// Takes a word for a new set of this process; its index.
#[must_use]
pub fn take() -> u32 {
    let Some(own) = family::process_place() else {
        return NONE;
    };
    // Asking who is alive is a system call for each name.
    let nobody = |_| true;
    let taken = take_if(own, nobody).or_else(|| take_if(own, family::is_process_alive_now));
    taken.unwrap_or(NONE)
}

fn take_if(own: u32, is_alive: impl Fn(u32) -> bool) -> Option<u32> {
    let index = words().iter().position(|word| word.take(own, &is_alive))?;
    Some(index as u32)
}

/// This process has ended the set, or a child that was named to it was not born.
pub fn give_back(index: u32, holder: u32) {
    if let Some(word) = at(index) {
        word.rename(holder + 1, 0);
    }
}

/// Before a fork: the child is a holder, too. Of one without a name it is not known when it is gone.
pub fn share_with(index: u32, child: Option<u32>) {
    if let Some(word) = at(index)
        && !child.is_some_and(|child| word.add_holder(child))
    {
        word.crowded.store(1, Ordering::Release);
    }
}

/// This process has another name; the index of the word, if it was not taken for gone.
#[must_use]
pub fn under_new_name(index: u32, before: u32, now: u32) -> u32 {
    let keeps = at(index).is_some_and(|word| word.rename(before + 1, now + 1));
    if keeps { index } else { NONE }
}

/// Before the process changes who it is: its words of the sets it shares with relatives are its own from now on. A set
/// that two such processes go on using in earnest is each one's by itself (TRUST.md row 17). False without memory.
#[must_use]
pub fn part() -> bool {
    let words = FAMILY.load(Ordering::Acquire);
    if words.is_null() {
        return true;
    }
    let own = family::process_place();
    let bytes = size_of::<Words>();
    let mut backoff = Backoff::yielding();
    for _ in 0..TRIES {
        // SAFETY: the mapping has that length, and is made of atomics.
        let parted = unsafe {
            family::copy_over(words.cast(), bytes, bytes, None, |copy| {
                (*copy.cast::<Words>())
                    .iter()
                    .all(|word| word.becomes_own(own))
            })
        };
        if parted {
            return true;
        }
        backoff.wait();
    }
    false
}

impl FamilyWord {
    fn take(&self, own: u32, is_alive: impl Fn(u32) -> bool) -> bool {
        // Acquire, partner: the release of `crowded` in `share_with`, which follows the full list.
        if self.crowded.load(Ordering::Acquire) != 0 {
            return false;
        }
        let seen = self
            .holders
            .each_ref()
            .map(|holder| holder.load(Ordering::Acquire));
        let is_held = |holder: &u32| holder.checked_sub(1).is_some_and(&is_alive);
        if seen.iter().any(is_held) {
            return false;
        }
        let mut places = self.holders.iter().zip(seen);
        let is_first = |(place, seen): (&AtomicU32, u32)| {
            place
                .compare_exchange(seen, own + 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        };
        if !places.next().is_some_and(is_first) {
            return false;
        }
        // W2: the process that a holder named just before its end.
        let is_free = places.all(|(place, seen)| {
            place
                .compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        });
        if !is_free || self.crowded.load(Ordering::Acquire) != 0 {
            self.rename(own + 1, 0);
            return false;
        }
        self.lock.reset();
        self.changes.store(0, Ordering::Relaxed);
        self.given_back.store(0, Ordering::Relaxed);
        true
    }

    /// False when there is no place.
    fn add_holder(&self, name: u32) -> bool {
        let is_own = |held: u32| Some(held) == family::process_place();
        let is_alive = |held: u32| is_own(held) || family::is_process_alive(held);
        self.holders.iter().any(|place| {
            let seen = place.load(Ordering::Acquire);
            let is_free = !seen.checked_sub(1).is_some_and(is_alive);
            is_free
                && place
                    .compare_exchange(seen, name + 1, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
        })
    }

    /// False when nobody of that name is a holder.
    fn rename(&self, before: u32, now: u32) -> bool {
        self.holders.iter().any(|place| {
            place
                .compare_exchange(before, now, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        })
    }

    /// In a copy that the relatives do not see. False while a thread of this process may be about to free the lock of
    /// either.
    fn becomes_own(&self, own: Option<u32>) -> bool {
        let lock_holder = self.lock.owner().map(|owner| owner.process_slot);
        if lock_holder != own {
            // Who holds it frees the one in the old memory.
            self.lock.reset();
        }
        for place in &self.holders {
            let name = place.load(Ordering::Relaxed).checked_sub(1);
            if name != own {
                place.store(0, Ordering::Relaxed);
            }
        }
        lock_holder.is_none() || lock_holder != own
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// The words are the process's, and the tests run beside each other.
    static ALONE: Mutex<()> = Mutex::new(());

    fn own() -> u32 {
        family::ensure().expect("family memory");
        assert!(ensure());
        family::process_place().expect("a place")
    }

    /// A relative that is alive as long as the value.
    struct Relative(u32, std::process::Child);

    impl Relative {
        fn new() -> Relative {
            let child = std::process::Command::new("sleep").arg("1000").spawn();
            let child = child.expect("a process");
            let name = family::reserve_child_place().expect("a place");
            family::name_child(Some(name), child.id());
            Relative(name, child)
        }

        fn dies(&mut self) {
            let _ = self.1.kill();
            let _ = self.1.wait();
        }
    }

    impl Drop for Relative {
        fn drop(&mut self) {
            // Its place is given out again, now that it is dead.
            self.dies();
        }
    }

    #[test]
    fn a_lasting_set_keeps_its_word_beside_many_short_ones() {
        let _alone = ALONE.lock();
        let own = own();
        let lasting = take();
        at(lasting)
            .expect("a word")
            .changes
            .store(7, Ordering::Relaxed);
        for _ in 0..3 * WORDS {
            let word = take();
            assert_ne!(word, lasting);
            at(word)
                .expect("a word")
                .changes
                .store(1, Ordering::Relaxed);
            give_back(word, own);
        }
        assert_eq!(
            at(lasting).expect("a word").changes.load(Ordering::Relaxed),
            7
        );
        give_back(lasting, own);
    }

    #[test]
    fn with_every_word_taken_there_is_none() {
        let _alone = ALONE.lock();
        let own = own();
        let taken: Vec<u32> = (0..WORDS)
            .map(|_| take())
            .take_while(|word| *word != NONE)
            .collect();
        assert!(taken.len() >= WORDS - 1);
        assert_eq!(take(), NONE);
        assert!(at(NONE).is_none());
        // Of none nothing is given back.
        give_back(NONE, own);
        share_with(NONE, None);
        give_back(taken[5], own);
        assert_eq!(take(), taken[5]);
        assert_eq!(
            at(taken[5])
                .expect("a word")
                .changes
                .load(Ordering::Relaxed),
            0
        );
        for word in taken {
            give_back(word, own);
        }
    }

    #[test]
    fn a_word_is_free_when_all_its_processes_are_gone() {
        let _alone = ALONE.lock();
        let own = own();
        let mut child = Relative::new();
        let index = take();
        let word = at(index).expect("a word");
        share_with(index, Some(child.0));
        give_back(index, own);
        assert!(
            !word.take(own, family::is_process_alive_now),
            "the child has the set"
        );
        child.dies();
        assert!(word.take(own, family::is_process_alive_now));
        assert!(!word.take(own, family::is_process_alive_now), "taken");
        give_back(index, own);
    }

    #[test]
    fn a_child_that_ends_its_set_leaves_the_word_to_its_parent() {
        let _alone = ALONE.lock();
        let own = own();
        let child = Relative::new();
        let index = take();
        let word = at(index).expect("a word");
        share_with(index, Some(child.0));
        give_back(index, child.0);
        assert!(!word.take(own, |_| true));
        give_back(index, own);
        assert!(word.take(own, |_| true));
        give_back(index, own);
    }

    #[test]
    fn a_word_with_more_holders_than_have_names_is_never_given_away() {
        let _alone = ALONE.lock();
        let own = own();
        let index = take();
        let word = at(index).expect("a word");
        // The dead make room, so that a server may fork as often as it likes.
        for _ in 0..2 * HOLDERS {
            let mut child = Relative::new();
            share_with(index, Some(child.0));
            child.dies();
        }
        assert_eq!(word.crowded.load(Ordering::Relaxed), 0);
        let children: Vec<Relative> = (0..HOLDERS).map(|_| Relative::new()).collect();
        for child in &children {
            share_with(index, Some(child.0));
        }
        drop(children);
        give_back(index, own);
        assert!(!word.take(own, family::is_process_alive_now));
        // For the other tests.
        word.crowded.store(0, Ordering::Relaxed);
    }

    #[test]
    fn a_process_under_a_new_name_keeps_the_words_that_nobody_has_taken() {
        let _alone = ALONE.lock();
        let own = own();
        let relative = Relative::new();
        let index = take();
        assert_eq!(under_new_name(index, own, relative.0), index);
        assert_eq!(under_new_name(index, own, relative.0), NONE);
        give_back(index, relative.0);
    }
}
