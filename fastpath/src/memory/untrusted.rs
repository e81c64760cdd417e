//! Bytes that another process may change at any moment.
//!
//! U1. They are copied out once, word by word, and checked in the copy; nothing looks at the original twice.
//! U2. Every access is one atomic load, so a change in the middle gives a mixture of old and new bytes, never more.
#![expect(unsafe_code, reason = "loads words of memory another process writes")]

use crate::sync::{FarWord32, Ordering, OwnWord32, Word32};

/// Copies `WORDS` words out of memory the far side writes.
///
/// # Safety
/// `source` is 4-aligned and mapped for `WORDS` words as long as the call lasts.
#[must_use]
pub unsafe fn copy_out<const WORDS: usize>(source: *mut u8) -> [u32; WORDS] {
    core::array::from_fn(|index| {
        // SAFETY: inside the mapping the caller vouches for; alignment follows from the source's.
        FarWord32::new(unsafe { Word32::at(source.add(index * 4)) }).load(Ordering::Relaxed)
    })
}

/// Writes `WORDS` words into memory the far side reads.
///
/// # Safety
/// `target` is 4-aligned and mapped writable for `WORDS` words as long as the call lasts.
pub unsafe fn copy_in<const WORDS: usize>(target: *mut u8, words: [u32; WORDS]) {
    for (index, word) in words.into_iter().enumerate() {
        // SAFETY: inside the mapping the caller vouches for; alignment follows from the target's.
        OwnWord32::new(unsafe { Word32::at(target.add(index * 4)) }).store(word, Ordering::Relaxed);
    }
}
