//! Bytes that are a function of their position, and how a transcript shows bytes.

use crate::torture::content::Content;

/// Longest run of bytes that a transcript shows as text.
const SHOWN_BYTES: usize = 48;

/// The stream of a seed is one direction of the torture programs' content.
fn stream(seed: u64) -> Content {
    Content::new(seed, 0)
}

/// The byte at a position: a lost, doubled or moved byte changes what follows it.
#[must_use]
pub fn byte_at(seed: u64, position: u64) -> u8 {
    let mut byte = [0];
    stream(seed).fill(position, &mut byte);
    byte[0]
}

/// `length` bytes of the stream from `position` on.
#[must_use]
pub fn bytes_from(seed: u64, position: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream(seed).fill(position, &mut bytes);
    bytes
}

/// The first position at which the bytes are not those of the stream.
#[must_use]
pub fn first_difference(seed: u64, position: u64, bytes: &[u8]) -> Option<u64> {
    stream(seed)
        .mismatch(position, bytes)
        .map(|index| position + index as u64)
}

/// FNV-1a: short, and enough to tell two runs apart.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3)
    })
}

/// Bytes as a transcript shows them: short text as it is, all else by its hash.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    let plain = bytes.iter().all(|byte| (b' '..=b'~').contains(byte));
    if bytes.len() <= SHOWN_BYTES && plain {
        format!("\"{}\"", String::from_utf8_lossy(bytes))
    } else {
        format!("{} bytes #{:016x}", bytes.len(), hash(bytes))
    }
}

/// Small steps of pseudo-random numbers, the same in every run.
pub struct Dice(u64);

impl Dice {
    /// The sequence of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Dice {
        Dice(seed | 1)
    }

    /// A number from 1 to `most`.
    pub fn up_to(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % most.max(1) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_byte_is_found_at_its_position() {
        let mut bytes = bytes_from(7, 1000, 100);
        assert_eq!(first_difference(7, 1000, &bytes), None);
        bytes.remove(40);
        let found = first_difference(7, 1000, &bytes);
        assert!(found.is_some_and(|position| (1040..1046).contains(&position)));
    }

    #[test]
    fn any_piece_of_the_stream_is_the_same_stream() {
        let whole = bytes_from(7, 0, 100);
        for start in 0..20 {
            assert_eq!(bytes_from(7, start as u64, 50), whole[start..start + 50]);
            assert_eq!(byte_at(7, start as u64), whole[start]);
        }
    }

    #[test]
    fn streams_of_two_seeds_differ() {
        assert_ne!(bytes_from(1, 0, 16), bytes_from(2, 0, 16));
    }
}
