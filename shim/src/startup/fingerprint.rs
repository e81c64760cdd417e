//! A number for the text of the headers that the trampolines and the Rust side share, worked out by the build script for
//! the one and by the compiler for the other.

/// FNV-1a over all parts, each ended by a zero byte.
#[expect(
    clippy::indexing_slicing,
    reason = "runs in the compiler and in the build script only"
)]
pub const fn of(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut part = 0;
    while part < parts.len() {
        let mut at = 0;
        while at <= parts[part].len() {
            let byte = if at < parts[part].len() {
                parts[part][at]
            } else {
                0
            };
            hash = (hash ^ byte as u64).wrapping_mul(0x100_0000_01b3);
            at += 1;
        }
        part += 1;
    }
    hash
}
