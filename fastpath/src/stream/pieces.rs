//! The program's buffers: an array of pieces and how far a call has come in it.
#![expect(unsafe_code, reason = "walks the caller's array of pieces")]

/// Same layout as `struct iovec`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Start; null means "count, but do not copy" (MSG_TRUNC).
    pub base: *mut u8,
    /// Length.
    pub bytes: usize,
}

/// A cursor over the pieces of one call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Pieces {
    first: *const Piece,
    count: usize,
    index: usize,
    offset: usize,
}

impl Pieces {
    /// No pieces.
    pub const NONE: Pieces = Pieces {
        first: core::ptr::null(),
        count: 0,
        index: 0,
        offset: 0,
    };

    /// A cursor at the start of `count` pieces.
    ///
    /// # Safety
    /// The array is readable while the cursor is used, and each piece may be accessed as the call demands.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(first: *const Piece, count: usize) -> Pieces {
        Pieces {
            first,
            count,
            index: 0,
            offset: 0,
        }
    }

    /// What is left of the present piece; empty pieces are passed over.
    #[inline(always)]
    pub fn present(&mut self) -> Option<(*mut u8, usize)> {
        while self.index < self.count {
            // SAFETY: index < count, and `new` promised a readable array.
            let piece = unsafe { self.first.add(self.index).read() };
            if self.offset < piece.bytes {
                return Some((
                    piece.base.wrapping_add(self.offset),
                    piece.bytes - self.offset,
                ));
            }
            self.index += 1;
            self.offset = 0;
        }
        None
    }

    /// Goes on by `bytes`, at most what [`Self::present`] returned.
    #[inline(always)]
    pub fn advance(&mut self, bytes: usize) {
        self.offset += bytes;
    }

    /// Bytes from here to the end; saturates.
    #[must_use]
    pub fn remaining(&self) -> usize {
        let mut total: usize = 0;
        let mut index = self.index;
        while index < self.count {
            // SAFETY: index < count, and `new` promised a readable array.
            total = total.saturating_add(unsafe { self.first.add(index).read() }.bytes);
            index += 1;
        }
        total.saturating_sub(self.offset)
    }
}
