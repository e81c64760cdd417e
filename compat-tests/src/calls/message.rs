//! sendmsg, recvmsg and their multiple forms.
#![expect(unsafe_code, reason = "calls libc")]

use std::os::fd::RawFd;

use super::answer::{Answer, answer, answer_int};
use super::connection::Address;
use super::transfer::Parts;

/// What recvmsg left in the message header.
pub struct Received {
    /// Return value.
    pub answer: Answer,
    /// The bytes, over all buffers.
    pub bytes: Vec<u8>,
    /// `msg_flags` afterwards.
    pub flags: i32,
    /// `msg_namelen` afterwards.
    pub name_length: u32,
    /// `msg_controllen` afterwards.
    pub control_length: usize,
}

fn header(parts: &mut Parts) -> libc::msghdr {
    // SAFETY: a msghdr of zeros is an empty message: null pointers with zero lengths.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts.pointer();
    message.msg_iovlen = parts.count();
    message
}

/// sendmsg(2) of these buffers, with an address or none and raw control bytes or none.
pub fn sendmsg(
    fd: RawFd,
    parts: &mut Parts,
    address: Option<&Address>,
    control: &mut [u64],
    flags: i32,
) -> Answer {
    let mut message = header(parts);
    if let Some(address) = address {
        message.msg_name = address.pointer().cast_mut().cast();
        message.msg_namelen = address.length;
    }
    if !control.is_empty() {
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(control);
    }
    // SAFETY: name, buffers and control are valid for the lengths named, and sendmsg writes to none of them.
    answer(unsafe { libc::sendmsg(fd, &raw const message, flags) })
}

/// recvmsg(2) into buffers of these sizes, with room for a name and for control bytes.
pub fn recvmsg(
    fd: RawFd,
    sizes: &[usize],
    name_room: u32,
    control_room: usize,
    flags: i32,
) -> Received {
    let mut parts = Parts::of_sizes(sizes);
    let mut name = Address::empty();
    let mut control = vec![0u64; control_room.div_ceil(8)];
    let mut message = header(&mut parts);
    if name_room > 0 {
        message.msg_name = name.pointer_mut().cast();
        message.msg_namelen = name_room.min(name.length);
    }
    if control_room > 0 {
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = control_room;
    }
    // A value that no kernel leaves there: shows whether msg_flags is written at all.
    message.msg_flags = 0x1000_0000;
    // SAFETY: name, buffers and control are writable for the lengths named.
    let answer = answer(unsafe { libc::recvmsg(fd, &raw mut message, flags) });
    Received {
        bytes: parts.joined(answer.unwrap_or(0)),
        answer,
        flags: message.msg_flags,
        name_length: message.msg_namelen,
        control_length: message.msg_controllen,
    }
}

/// One datagram-like part of a multiple call: its buffers, and `msg_len` afterwards.
pub struct Slot {
    /// The buffers.
    pub parts: Parts,
    /// `msg_len` afterwards.
    pub length: u32,
    /// `msg_flags` afterwards.
    pub flags: i32,
}

impl Slot {
    /// A slot of these buffers.
    #[must_use]
    pub fn of(parts: Parts) -> Slot {
        Slot {
            parts,
            length: 0,
            flags: 0,
        }
    }
}

fn headers(slots: &mut [Slot]) -> Vec<libc::mmsghdr> {
    slots
        .iter_mut()
        .map(|slot| libc::mmsghdr {
            msg_hdr: header(&mut slot.parts),
            msg_len: 0,
        })
        .collect()
}

fn take_back(slots: &mut [Slot], messages: &[libc::mmsghdr]) {
    for (slot, message) in slots.iter_mut().zip(messages) {
        slot.length = message.msg_len;
        slot.flags = message.msg_hdr.msg_flags;
    }
}

/// sendmmsg(2).
pub fn sendmmsg(fd: RawFd, slots: &mut [Slot], flags: i32) -> Answer {
    let mut messages = headers(slots);
    // SAFETY: each header names the buffers of its slot; sendmmsg writes msg_len only.
    let answer = answer_int(unsafe {
        libc::sendmmsg(fd, messages.as_mut_ptr(), messages.len() as u32, flags)
    });
    take_back(slots, &messages);
    answer
}

/// recvmmsg(2); `timeout_ms` absent means no time-out.
pub fn recvmmsg(fd: RawFd, slots: &mut [Slot], flags: i32, timeout_ms: Option<i64>) -> Answer {
    let mut timeout = timeout_ms.map(|ms| libc::timespec {
        tv_sec: ms / 1000,
        tv_nsec: ms % 1000 * 1_000_000,
    });
    recvmmsg_with(fd, slots, flags, timeout.as_mut())
}

/// recvmmsg(2) with a time-out, which is what is left of it afterwards.
pub fn recvmmsg_within(
    fd: RawFd,
    slots: &mut [Slot],
    flags: i32,
    timeout: &mut std::time::Duration,
) -> Answer {
    let mut left = libc::timespec {
        tv_sec: timeout.as_secs() as i64,
        tv_nsec: i64::from(timeout.subsec_nanos()),
    };
    let answer = recvmmsg_with(fd, slots, flags, Some(&mut left));
    *timeout = std::time::Duration::new(left.tv_sec as u64, left.tv_nsec as u32);
    answer
}

fn recvmmsg_with(
    fd: RawFd,
    slots: &mut [Slot],
    flags: i32,
    timeout: Option<&mut libc::timespec>,
) -> Answer {
    let mut messages = headers(slots);
    let pointer = timeout.map_or(std::ptr::null_mut(), std::ptr::from_mut);
    // SAFETY: each header names writable buffers of its slot; the time-out is null or writable.
    let answer = answer_int(unsafe {
        libc::recvmmsg(
            fd,
            messages.as_mut_ptr(),
            messages.len() as u32,
            flags,
            pointer,
        )
    });
    take_back(slots, &messages);
    answer
}

/// Control bytes of one message: level, type and 32-bit words of data, as `CMSG_DATA` lays them out.
#[must_use]
pub fn control_message(level: i32, kind: i32, words: &[i32]) -> Vec<u64> {
    let data_bytes = words.len() * 4;
    // SAFETY: CMSG_LEN and CMSG_SPACE only compute.
    let (length, space) = unsafe {
        (
            libc::CMSG_LEN(data_bytes as u32),
            libc::CMSG_SPACE(data_bytes as u32),
        )
    };
    let mut bytes = vec![0u8; space as usize];
    bytes[0..8].copy_from_slice(&(length as usize).to_ne_bytes());
    bytes[8..12].copy_from_slice(&level.to_ne_bytes());
    bytes[12..16].copy_from_slice(&kind.to_ne_bytes());
    for (index, word) in words.iter().enumerate() {
        bytes[16 + index * 4..20 + index * 4].copy_from_slice(&word.to_ne_bytes());
    }
    let mut control = vec![0u64; bytes.len().div_ceil(8)];
    for (index, byte) in bytes.iter().enumerate() {
        control[index / 8] |= u64::from(*byte) << (8 * (index % 8));
    }
    control
}
