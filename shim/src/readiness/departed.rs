//! Which registrations have ceased to be a ring's, for events that were under way meanwhile.
//!
//! A thread that comes back from its sleep brings events which the kernel told at some moment of it. Of a registration that
//! a ring carries they are bells and ends, whoever is told of them, and however often it was told before: another thread may
//! have found the same at the ring, reported it, and served it, and by the time the sleeper has the lock the program has
//! closed the connection, or the kernel carries it again. On the kernel alone a one-shot or edge-triggered event is one
//! thread's, so the program may have freed what the data of the event mean.
//!
//! So the data of each registration that leaves the ring are noted, and counted. Who sleeps remembers the count; what it
//! brings for data noted since is not believed as it is.
//!
//! What leaves with the close of its last number goes on in the kernel's set until the kernel has closed it, and may be told
//! to who begins to sleep in between. That number is noted, too. Once it is closed the kernel tells nothing of it, so the
//! note need not be taken back; whoever registers the same data anew does so before there are events of that.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// As many are remembered. Beyond that everything brought is doubted.
const PLACES: usize = 128;
/// Words of bits that say which data may be among them, so that the events of other descriptors cost one look.
const WORDS: usize = 16;

/// The last registrations that ceased to be a ring's. Written under the lock of the instance, but for [`Self::comes`].
#[repr(C)]
pub struct Departed {
    count: AtomicU32,
    data: [AtomicU64; PLACES],
    /// Number that is closed with it, plus one; 0 = it goes on, or the data mean something new.
    closing: [AtomicU32; PLACES],
    /// A bit for each of the data, and for some that were forgotten lately.
    bits: [AtomicU64; WORDS],
}

impl Departed {
    /// Of a set that begins.
    pub fn clear(&self) {
        self.count.store(0, Ordering::Relaxed);
        for (closing, known) in self.places() {
            closing.store(0, Ordering::Relaxed);
            known.store(0, Ordering::Relaxed);
        }
        self.take_stock();
    }

    /// How many there were; wraps.
    #[inline]
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// One more.
    pub fn note(&self, data: u64) {
        let count = self.count();
        let place = count as usize % PLACES;
        if let (Some(known), Some(closing)) = (self.data.get(place), self.closing.get(place)) {
            closing.store(0, Ordering::Relaxed);
            known.store(data, Ordering::Relaxed);
        }
        if place == 0 {
            self.take_stock();
        } else if let (word, bit) = bit_of(data)
            && let Some(word) = self.bits.get(word)
        {
            word.fetch_or(bit, Ordering::Relaxed);
        }
        self.count.store(count.wrapping_add(1), Ordering::Relaxed);
    }

    /// The bits anew, of all that are remembered. No bit that stays is ever missing: [`Self::comes`] takes no lock.
    fn take_stock(&self) {
        let mut stock = [0u64; WORDS];
        for (_, known) in self.places() {
            let (word, bit) = bit_of(known.load(Ordering::Relaxed));
            if let Some(word) = stock.get_mut(word) {
                *word |= bit;
            }
        }
        for (word, bits) in self.bits.iter().zip(stock) {
            word.store(bits, Ordering::Relaxed);
        }
    }

    /// False for data that are not remembered.
    #[inline]
    fn may_have(&self, data: u64) -> bool {
        let (word, bit) = bit_of(data);
        self.bits
            .get(word)
            .is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// The one noted last is about to be closed by the kernel, which knows it by `number`.
    pub fn closes(&self, number: u32) {
        let place = self.count().wrapping_sub(1) as usize % PLACES;
        if let Some(closing) = self.closing.get(place) {
            closing.store(number.wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// Something is about to be registered with these data: they mean it, whatever was closed with them before.
    pub fn comes(&self, data: u64) {
        if !self.may_have(data) {
            return;
        }
        for (closing, known) in self.places() {
            if known.load(Ordering::Relaxed) == data && closing.load(Ordering::Relaxed) != 0 {
                closing.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Other processes hold what is being closed.
    pub fn forget_closing(&self) {
        for closing in &self.closing {
            closing.store(0, Ordering::Relaxed);
        }
    }

    /// True when an event with these data may be of one that has left since `since` was the count.
    #[inline]
    #[must_use]
    pub fn may_mean(&self, data: u64, since: u32) -> bool {
        let newer = self.count().wrapping_sub(since);
        newer != 0 && self.is_among(data, newer)
    }

    fn is_among(&self, data: u64, newer: u32) -> bool {
        let count = self.count();
        newer as usize > PLACES
            || (self.may_have(data)
                && (1..=newer).any(|back| {
                    self.data
                        .get(count.wrapping_sub(back) as usize % PLACES)
                        .is_some_and(|known| known.load(Ordering::Relaxed) == data)
                }))
    }

    /// True when one with these data is remembered.
    #[must_use]
    pub fn has(&self, data: u64) -> bool {
        self.may_have(data)
            && self
                .places()
                .any(|(_, known)| known.load(Ordering::Relaxed) == data)
    }

    /// True when one with these data may still be in the kernel's set although its number, `number` if given, was closed.
    #[must_use]
    #[inline]
    pub fn is_closing(&self, data: u64, number: Option<u32>) -> bool {
        self.may_have(data)
            && self.places().any(|(closing, known)| {
                let noted = closing.load(Ordering::Relaxed);
                noted != 0
                    && known.load(Ordering::Relaxed) == data
                    && number.is_none_or(|number| noted == number.wrapping_add(1))
            })
    }

    fn places(&self) -> impl Iterator<Item = (&AtomicU32, &AtomicU64)> {
        self.closing.iter().zip(&self.data)
    }
}

/// Word and bit of data.
#[inline]
fn bit_of(data: u64) -> (usize, u64) {
    // Multiplicative hashing: descriptor numbers and addresses differ in few bits.
    let hash = data.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54;
    (hash as usize / 64, 1 << (hash % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty(count: u32) -> Departed {
        Departed {
            count: AtomicU32::new(count),
            data: [const { AtomicU64::new(0) }; PLACES],
            closing: [const { AtomicU32::new(0) }; PLACES],
            bits: [const { AtomicU64::new(0) }; WORDS],
        }
    }

    #[test]
    fn only_what_left_since_then_is_doubted() {
        for start in [0, u32::MAX - 1] {
            let departed = empty(start);
            departed.note(7);
            let since = departed.count();
            assert!(departed.may_mean(7, start));
            assert!(!departed.may_mean(7, since));
            departed.note(8);
            assert!(departed.may_mean(8, since));
            assert!(!departed.may_mean(7, since));
            assert!(!departed.may_mean(9, start));
        }
    }

    #[test]
    fn with_more_than_are_remembered_everything_is_doubted() {
        let departed = empty(0);
        for data in 0..PLACES as u64 {
            departed.note(data);
        }
        assert!(!departed.may_mean(999, 0));
        departed.note(PLACES as u64);
        assert!(departed.may_mean(999, 0));
        assert!(!departed.may_mean(999, 1));
        assert!(departed.may_mean(1, 1));
    }

    #[test]
    fn what_is_remembered_is_found_however_many_came_before() {
        let departed = empty(0);
        for data in 0..5 * PLACES as u64 {
            departed.note(data);
            for known in data.saturating_sub(PLACES as u64 - 1)..=data {
                assert!(departed.has(known), "{known} behind {data}");
            }
            assert!(!departed.has(data + 1));
        }
        departed.clear();
        assert!(!departed.has(5 * PLACES as u64 - 1));
    }

    #[test]
    fn what_is_being_closed_is_so_until_its_data_come_again() {
        let departed = empty(0);
        for number in [3, 4, 5] {
            departed.note(u64::from(number) + 100);
            departed.closes(number);
        }
        departed.note(106);
        assert!(departed.is_closing(103, None) && departed.is_closing(103, Some(3)));
        assert!(!departed.is_closing(103, Some(4)) && !departed.is_closing(106, None));
        assert!(departed.has(106) && !departed.has(107));
        departed.comes(3);
        departed.comes(104);
        assert!(departed.is_closing(103, None) && !departed.is_closing(104, None));
        assert!(departed.is_closing(105, Some(5)));
        for _ in 0..PLACES {
            departed.note(1);
        }
        assert!(!departed.is_closing(105, None));
    }
}
