//! Stream content that is a function of the position, so that any piece of a stream proves where it belongs.
//!
//! ```text
//!   position   0        8        16
//!              | word 0 | word 1 | ...      word(i) = (i + 1 + salt) * odd constant
//! ```
//!
//! The constant is odd, so the product can be undone: fifteen bytes from anywhere hold one whole word, and the word
//! tells its index. That is how chunks read by competing threads, whose order is unknown, find their place.

const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// Inverse of the multiplier modulo 2^64 (Newton's iteration doubles the correct bits each time).
const INVERSE: u64 = {
    let mut inverse = 1u64;
    let mut round = 0;
    while round < 6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(MULTIPLIER.wrapping_mul(inverse)));
        round += 1;
    }
    inverse
};

/// Chunks of at least this many bytes hold a whole word at any alignment.
pub const LOCATABLE_BYTES: usize = 15;

/// The content of one direction of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    salt: u64,
}

impl Content {
    /// Content of direction `direction` in the run with this seed. Different directions never look alike.
    #[must_use]
    pub fn new(seed: u64, direction: u64) -> Self {
        Content {
            salt: (seed.wrapping_mul(2).wrapping_add(direction)) << 40,
        }
    }

    fn word(&self, index: u64) -> [u8; 8] {
        index
            .wrapping_add(1)
            .wrapping_add(self.salt)
            .wrapping_mul(MULTIPLIER)
            .to_le_bytes()
    }

    /// Writes the bytes that belong at `position`.
    pub fn fill(&self, position: u64, buffer: &mut [u8]) {
        let skip = (position % 8) as usize;
        let mut index = position / 8;
        let mut rest = buffer;
        if skip != 0 {
            let head = rest.len().min(8 - skip);
            rest[..head].copy_from_slice(&self.word(index)[skip..skip + head]);
            rest = &mut rest[head..];
            index += 1;
        }
        for piece in rest.chunks_mut(8) {
            piece.copy_from_slice(&self.word(index)[..piece.len()]);
            index += 1;
        }
    }

    /// The first byte of `bytes` that does not belong at `position` + its index, if any.
    #[must_use]
    pub fn mismatch(&self, position: u64, bytes: &[u8]) -> Option<usize> {
        let mut offset = 0;
        while offset < bytes.len() {
            let skip = ((position + offset as u64) % 8) as usize;
            let word = self.word((position + offset as u64) / 8);
            let length = (8 - skip).min(bytes.len() - offset);
            if bytes[offset..offset + length] != word[skip..skip + length] {
                let wrong = (0..length).find(|&i| bytes[offset + i] != word[skip + i]);
                return Some(offset + wrong.unwrap_or(0));
            }
            offset += length;
        }
        None
    }

    /// Where in the first `limit` bytes of the stream this chunk belongs, or nothing when it is no piece of it.
    #[must_use]
    pub fn locate(&self, bytes: &[u8], limit: u64) -> Option<u64> {
        if bytes.len() < LOCATABLE_BYTES {
            return None;
        }
        (0..8usize).find_map(|skip| {
            let word: [u8; 8] = bytes[skip..skip + 8].try_into().ok()?;
            let index = u64::from_le_bytes(word)
                .wrapping_mul(INVERSE)
                .wrapping_sub(1)
                .wrapping_sub(self.salt);
            let position = index.checked_mul(8)?.checked_sub(skip as u64)?;
            let fits = position.checked_add(bytes.len() as u64)? <= limit;
            (fits && self.mismatch(position, bytes).is_none()).then_some(position)
        })
    }

    /// For a failure's text: what the bytes look like at and around the first wrong one.
    #[must_use]
    pub fn describe_mismatch(&self, position: u64, bytes: &[u8], wrong: usize) -> String {
        let from = wrong.saturating_sub(4);
        let to = (wrong + 12).min(bytes.len());
        let mut wanted = vec![0; to - from];
        self.fill(position + from as u64, &mut wanted);
        let tail = &bytes[wrong..];
        let elsewhere = (0..tail.len().min(64)).find_map(|skip| {
            let piece = &tail[skip..tail.len().min(skip + 64)];
            self.locate(piece, u64::MAX / 16).map(|p| (skip, p))
        });
        format!(
            "chunk of {} bytes at position {position}: byte {wrong} is wrong (stream position {}); got {:02x?}, wanted {:02x?}; {}",
            bytes.len(),
            position + wrong as u64,
            &bytes[from..to],
            wanted,
            match elsewhere {
                Some((skip, p)) => format!(
                    "{skip} bytes later comes what belongs at {p} ({} bytes away)",
                    p as i64 - (position + (wrong + skip) as u64) as i64
                ),
                None => "what follows is no piece of this stream".to_owned(),
            }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_piece_is_found_at_its_place() {
        let content = Content::new(77, 1);
        let mut whole = vec![0; 4096];
        content.fill(0, &mut whole);
        for start in 0..64 {
            for length in [0, 1, 7, 8, 9, 15, 16, 31, 100] {
                let mut piece = vec![0; length];
                content.fill(start as u64, &mut piece);
                assert_eq!(piece, whole[start..start + length]);
                assert_eq!(content.mismatch(start as u64, &piece), None);
                if length >= LOCATABLE_BYTES {
                    assert_eq!(content.locate(&piece, 4096), Some(start as u64));
                    assert_eq!(content.locate(&piece, (start + length) as u64 - 1), None);
                }
            }
        }
    }

    #[test]
    fn a_foreign_byte_is_seen() {
        let content = Content::new(3, 0);
        let mut piece = vec![0; 100];
        content.fill(1000, &mut piece);
        piece[37] ^= 1;
        assert_eq!(content.mismatch(1000, &piece), Some(37));
        assert_eq!(content.locate(&piece, 1 << 30), None);
        assert_eq!(Content::new(3, 1).locate(&piece[40..], 1 << 30), None);
    }
}
