//! The data area of a ring: raw copies in and out, nothing else.
//!
//! The far side may write (or have written) these bytes at any moment. They are copied, never referred to, and no
//! decision rests on their values, so a torn or repeated read is only a wrong byte for the program whose peer lies.
//!
//! Under the model checker each byte is a loom cell: an access that I3 of the ring does not order is reported as a data
//! race.
#![expect(unsafe_code, reason = "copies between a mapped ring and caller memory")]

/// Handle of a ring's bytes: base address and length, a power of two.
#[derive(Clone, Copy, Debug)]
pub struct RingBytes {
    #[cfg(not(loom))]
    base: *mut u8,
    #[cfg(loom)]
    base: &'static [crate::sync::ModelCell<u8>],
    ring_bytes: u32,
}

// SAFETY: a handle is an address; who may touch which bytes when is the contract of each unsafe method.
unsafe impl Send for RingBytes {}
// SAFETY: as above.
unsafe impl Sync for RingBytes {}

impl RingBytes {
    /// Handle of the ring at `base`.
    ///
    /// # Safety
    /// `ring_bytes` is a power of two; that many bytes at `base` stay mapped (readable, and writable for a producer) as
    /// long as the handle is used.
    #[cfg(not(loom))]
    #[inline(always)]
    #[must_use]
    pub const unsafe fn at(base: *mut u8, ring_bytes: u32) -> Self {
        Self { base, ring_bytes }
    }

    /// A fresh ring for the model checker.
    #[cfg(loom)]
    #[must_use]
    pub fn fresh(ring_bytes: u32) -> Self {
        let cells: Vec<_> = (0..ring_bytes)
            .map(|_| crate::sync::ModelCell::new(0))
            .collect();
        Self {
            base: Vec::leak(cells),
            ring_bytes,
        }
    }

    /// Address of the first byte, to be kept as a number in family memory.
    #[cfg(not(loom))]
    #[inline(always)]
    #[must_use]
    pub const fn base(self) -> *mut u8 {
        self.base
    }

    /// Length of the ring.
    #[inline(always)]
    #[must_use]
    pub const fn ring_bytes(self) -> u32 {
        self.ring_bytes
    }

    /// Where `position` lies, and how many bytes follow before the wrap.
    #[inline(always)]
    const fn place(self, position: u64) -> (usize, usize) {
        let offset = (position & (self.ring_bytes as u64).wrapping_sub(1)) as usize;
        (offset, (self.ring_bytes as usize).wrapping_sub(offset))
    }

    /// Copies `bytes` from `source` to the ring, starting at `position`; at most two pieces.
    ///
    /// # Safety
    /// `bytes <= ring_bytes`; `source` is readable for `bytes` and does not lie in the ring; the ring is writable and the
    /// span is free (I3).
    #[inline]
    pub unsafe fn copy_in(self, position: u64, source: *const u8, bytes: usize) {
        let (offset, until_wrap) = self.place(position);
        #[cfg(all(feature = "test-paths", not(loom)))]
        // SAFETY: the caller promised the source.
        unsafe {
            crate::path::faulty::stored_bytes(self, position, source, bytes);
        }
        #[cfg(not(loom))]
        // SAFETY: offset + until_wrap = ring_bytes, so both pieces stay inside the ring that `at` promised; the caller
        // promised the source.
        unsafe {
            if bytes <= until_wrap {
                copy(source, self.base.add(offset), bytes);
            } else {
                let rest = bytes.wrapping_sub(until_wrap);
                copy_two(
                    (source, self.base.add(offset), until_wrap),
                    (source.add(until_wrap), self.base, rest),
                );
            }
        }
        #[cfg(loom)]
        for index in 0..bytes {
            let _ = (offset, until_wrap);
            let (at, _) = self.place(position + index as u64);
            // SAFETY: the caller promised the source; the model checker watches the cell.
            self.base[at].with_mut(|cell| unsafe { *cell = *source.add(index) });
        }
    }

    /// Copies `bytes` from the ring, starting at `position`, to `target`; at most two pieces.
    ///
    /// # Safety
    /// `bytes <= ring_bytes`; `target` is writable for `bytes` and does not lie in the ring. Bytes that were not published
    /// have no defined value, but reading them is no fault.
    #[inline]
    pub unsafe fn copy_out(self, position: u64, target: *mut u8, bytes: usize) {
        let (offset, until_wrap) = self.place(position);
        #[cfg(not(loom))]
        // SAFETY: as in `copy_in`, with the caller's target.
        unsafe {
            if bytes <= until_wrap {
                copy(self.base.add(offset), target, bytes);
            } else {
                let rest = bytes.wrapping_sub(until_wrap);
                copy_two(
                    (self.base.add(offset), target, until_wrap),
                    (self.base, target.add(until_wrap), rest),
                );
            }
        }
        #[cfg(loom)]
        for index in 0..bytes {
            let _ = (offset, until_wrap);
            let (at, _) = self.place(position + index as u64);
            // SAFETY: the caller promised the target; the model checker watches the cell.
            self.base[at].with(|cell| unsafe { *target.add(index) = *cell });
        }
    }

    /// The one or two pieces that hold `bytes` at `position`, for a kernel send straight from the ring (REWIND of
    /// SWITCH.md). `bytes` is cut to the ring's length; the second piece is empty when nothing wraps.
    #[cfg(not(loom))]
    #[inline]
    #[must_use]
    pub fn pieces(self, position: u64, bytes: usize) -> [(*const u8, usize); 2] {
        let (offset, until_wrap) = self.place(position);
        let bytes = bytes.min(self.ring_bytes as usize);
        let first = bytes.min(until_wrap);
        let base = self.base.cast_const();
        [
            (base.wrapping_add(offset), first),
            (base, bytes.wrapping_sub(first)),
        ]
    }
}

/// Longest copy that is done in line; beyond it the C library's copy wins.
#[cfg(not(loom))]
const INLINE_BYTES: usize = 64;

/// Copies the two pieces of a span that wraps: once in a ring length, so out of line.
///
/// # Safety
/// As for `copy_nonoverlapping`, for each piece (source, target, bytes).
#[cfg(not(loom))]
#[cold]
unsafe fn copy_two(first: (*const u8, *mut u8, usize), second: (*const u8, *mut u8, usize)) {
    // SAFETY: the caller's promise.
    unsafe {
        core::ptr::copy_nonoverlapping(first.0, first.1, first.2);
        core::ptr::copy_nonoverlapping(second.0, second.1, second.2);
    }
}

/// Copies without a call for the sizes that small messages have: overlapping loads from both ends, all loads before the
/// first store.
///
/// # Safety
/// `source` readable and `target` writable for `bytes`, not overlapping.
#[cfg(not(loom))]
#[inline(always)]
unsafe fn copy(source: *const u8, target: *mut u8, bytes: usize) {
    /// Two overlapping words cover `bytes`, which is between one and two words.
    ///
    /// # Safety
    /// As for `copy`, with `bytes >= size_of::<Word>()`.
    #[inline(always)]
    unsafe fn both_ends<Word: Copy>(source: *const u8, target: *mut u8, bytes: usize) {
        let last = bytes.wrapping_sub(size_of::<Word>());
        // SAFETY: a word at 0 and a word ending at `bytes` both lie inside.
        unsafe {
            let front = source.cast::<Word>().read_unaligned();
            let back = source.add(last).cast::<Word>().read_unaligned();
            target.cast::<Word>().write_unaligned(front);
            target.add(last).cast::<Word>().write_unaligned(back);
        }
    }
    // SAFETY: each arm copies exactly `bytes` within what the caller promised.
    unsafe {
        // Tested in this order by hand: a match is tested from the smallest size on, and 16..=64 is the usual one.
        if bytes > INLINE_BYTES {
            core::ptr::copy_nonoverlapping(source, target, bytes);
        } else if bytes >= 32 {
            both_ends::<[u128; 2]>(source, target, bytes);
        } else if bytes >= 16 {
            both_ends::<u128>(source, target, bytes);
        } else if bytes >= 8 {
            both_ends::<u64>(source, target, bytes);
        } else if bytes >= 4 {
            both_ends::<u32>(source, target, bytes);
        } else if bytes >= 2 {
            both_ends::<u16>(source, target, bytes);
        } else if bytes == 1 {
            target.write(source.read());
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_length_at_every_position_round_trips_and_touches_nothing_else() {
        const RING: usize = 256;
        const GUARD: usize = 16;
        let source: Vec<u8> = (0..RING).map(|index| (index * 7 + 1) as u8).collect();
        for position in [0u64, 1, 100, 191, 192, 255, u64::MAX - 40] {
            for bytes in 0..=RING {
                let mut memory = vec![0xEE_u8; RING + 2 * GUARD];
                // SAFETY: the ring lies inside `memory`, guards on both ends.
                let ring = unsafe { RingBytes::at(memory.as_mut_ptr().add(GUARD), RING as u32) };
                let mut target = vec![0xDD_u8; bytes + GUARD];
                // SAFETY: lengths as allocated.
                unsafe {
                    ring.copy_in(position, source.as_ptr(), bytes);
                    ring.copy_out(position, target.as_mut_ptr(), bytes);
                }
                assert_eq!(target[..bytes], source[..bytes]);
                assert!(target[bytes..].iter().all(|&byte| byte == 0xDD));
                assert!(memory[..GUARD].iter().all(|&byte| byte == 0xEE));
                assert!(memory[RING + GUARD..].iter().all(|&byte| byte == 0xEE));
                let written = memory[GUARD..RING + GUARD]
                    .iter()
                    .enumerate()
                    .filter(|&(offset, _)| {
                        let distance = (offset as u64).wrapping_sub(position) % RING as u64;
                        distance < bytes as u64
                    })
                    .count();
                assert_eq!(written, bytes);
                for (offset, &byte) in memory[GUARD..RING + GUARD].iter().enumerate() {
                    let distance = ((offset as u64).wrapping_sub(position) % RING as u64) as usize;
                    let expected = if distance < bytes {
                        source[distance]
                    } else {
                        0xEE
                    };
                    assert_eq!(byte, expected);
                }
            }
        }
    }

    #[test]
    fn pieces_cover_the_span_in_order_and_stay_inside() {
        let mut memory = vec![0u8; 64];
        let base = memory.as_mut_ptr();
        // SAFETY: `memory` outlives the handle.
        let ring = unsafe { RingBytes::at(base, 64) };
        let base = base.cast_const();
        assert_eq!(ring.pieces(60, 10), [(base.wrapping_add(60), 4), (base, 6)]);
        assert_eq!(ring.pieces(64, 64), [(base, 64), (base, 0)]);
        assert_eq!(
            ring.pieces(1, usize::MAX),
            [(base.wrapping_add(1), 63), (base, 1)]
        );
    }
}
