//! Descriptors sent to another process over an AF_UNIX socket (SCM_RIGHTS).
#![expect(unsafe_code, reason = "calls libc, reads and writes control messages")]

use std::os::fd::RawFd;

use super::answer::{Answer, Errno, answer, answer_int};

/// Room for one descriptor and its header, aligned as the header wants it.
#[repr(C, align(8))]
struct Room([u8; 64]);

/// socketpair(2) of streams.
pub fn pair(flags: i32) -> Result<(RawFd, RawFd), Errno> {
    let mut ends = [-1; 2];
    // SAFETY: room for two descriptors.
    answer_int(unsafe {
        libc::socketpair(
            libc::AF_UNIX,
            libc::SOCK_STREAM | flags,
            0,
            ends.as_mut_ptr(),
        )
    })?;
    Ok((ends[0], ends[1]))
}

/// Which call sends a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// sendmsg(2)
    Sendmsg,
    /// sendmmsg(2) of one message.
    Sendmmsg,
    /// sendmsg by `syscall()`.
    SystemCall,
    /// sendmsg(2) with a control message that claims to be shorter than its header.
    TooShort,
}

/// Sends a descriptor and one byte.
pub fn send_descriptor(line: RawFd, fd: RawFd, form: Form) -> Answer {
    let mut byte = [b'd'];
    let mut room = Room([0; 64]);
    let mut part = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    // SAFETY: the message names memory that lives here; the control room holds a header and one descriptor.
    answer(unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut room).cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as usize;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(fd);
        if form == Form::TooShort {
            (*header).cmsg_len = size_of::<RawFd>();
        }
        match form {
            Form::Sendmsg | Form::TooShort => {
                libc::sendmsg(line, &raw const message, libc::MSG_NOSIGNAL)
            }
            Form::SystemCall => libc::syscall(
                libc::SYS_sendmsg,
                line,
                &raw const message,
                libc::MSG_NOSIGNAL,
            ) as isize,
            Form::Sendmmsg => {
                let mut one = libc::mmsghdr {
                    msg_hdr: message,
                    msg_len: 0,
                };
                libc::sendmmsg(line, &raw mut one, 1, libc::MSG_NOSIGNAL) as isize
            }
        }
    })
}

/// Receives a descriptor and the byte that came with it.
pub fn receive_descriptor(line: RawFd) -> Result<RawFd, Errno> {
    let mut byte = [0u8];
    let mut room = Room([0; 64]);
    let mut part = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    // SAFETY: as above; the header is only read when the kernel wrote one.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut room).cast();
        message.msg_controllen = size_of::<Room>();
        answer(libc::recvmsg(line, &raw mut message, 0))?;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if header.is_null() || (*header).cmsg_type != libc::SCM_RIGHTS {
            return Err(Errno(libc::ENOENT));
        }
        Ok(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned())
    }
}
