//! What is true of a byte ring.
//!
//! ```text
//!   position p (u64, free running)          byte p lives at offset p & (bytes-1)
//!   head  <=  tail  <=  head + bytes        head: first unread, tail: first unwritten
//! ```
//!
//! Positions never wrap in practice (2^64 bytes); only their low bits address memory.

use crate::limits::{POOL_PAGE_BYTES, RING_BYTES_LARGE, RING_BYTES_SMALL};

/// True when `bytes` may be the length of a ring.
#[must_use]
pub const fn is_ring_length(bytes: u32) -> bool {
    bytes.is_power_of_two() && bytes >= RING_BYTES_SMALL && bytes <= RING_BYTES_LARGE
}

/// True when a ring of `bytes` at `offset` lies page aligned inside a pool of `pool_bytes` that starts at
/// `pool_offset` of the region. The receiver asks this of the sender's words, which may be lies.
#[must_use]
pub const fn is_inside_pool(offset: u32, bytes: u32, pool_offset: u32, pool_bytes: u32) -> bool {
    if !is_ring_length(bytes) || !offset.is_multiple_of(POOL_PAGE_BYTES) || offset < pool_offset {
        return false;
    }
    let start = (offset - pool_offset) as u64;
    start + bytes as u64 <= pool_bytes as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_must_lie_inside_the_pool() {
        assert!(is_inside_pool(16384, 4096, 16384, 8192));
        assert!(is_inside_pool(20480, 4096, 16384, 8192));
        assert!(!is_inside_pool(24576, 4096, 16384, 8192));
        assert!(!is_inside_pool(12288, 4096, 16384, 8192));
        assert!(!is_inside_pool(16384, 4095, 16384, 8192));
        assert!(!is_inside_pool(16385, 4096, 16384, 8192));
        assert!(!is_inside_pool(u32::MAX - 4095, 4096, 16384, 1 << 20));
    }
}
