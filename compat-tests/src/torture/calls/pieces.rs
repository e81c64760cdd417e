//! Buffers cut into pieces for the scattering calls, and the headers around them.
#![expect(unsafe_code, reason = "calls into the C library")]

/// The most pieces a scattered call here uses.
pub const PIECES: usize = 4;

/// Cuts a length into up to [`PIECES`] pieces at the given places (taken modulo what is left).
pub(super) fn pieces(
    base: *mut u8,
    length: usize,
    cuts: [usize; PIECES - 1],
) -> ([libc::iovec; PIECES], usize) {
    let empty = libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    };
    let mut list = [empty; PIECES];
    let mut offset = 0;
    let mut used = 0;
    for cut in cuts {
        let rest = length - offset;
        let piece = if rest == 0 { 0 } else { cut % (rest + 1) };
        list[used] = libc::iovec {
            iov_base: base.wrapping_add(offset).cast(),
            iov_len: piece,
        };
        used += 1;
        offset += piece;
    }
    list[used] = libc::iovec {
        iov_base: base.wrapping_add(offset).cast(),
        iov_len: length - offset,
    };
    (list, used + 1)
}

pub(super) fn message(list: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: all zeros is a valid msghdr without address, data and control.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = list.as_mut_ptr();
    header.msg_iovlen = list.len();
    header
}

/// Cuts a length in two.
pub(super) fn halves(base: *mut u8, length: usize, cut: usize) -> [[libc::iovec; 1]; 2] {
    [
        [libc::iovec {
            iov_base: base.cast(),
            iov_len: cut,
        }],
        [libc::iovec {
            iov_base: base.wrapping_add(cut).cast(),
            iov_len: length - cut,
        }],
    ]
}

/// A message of each part.
pub(super) fn messages(parts: &mut [[libc::iovec; 1]; 2]) -> [libc::mmsghdr; 2] {
    parts.each_mut().map(|part| libc::mmsghdr {
        msg_hdr: message(part),
        msg_len: 0,
    })
}
