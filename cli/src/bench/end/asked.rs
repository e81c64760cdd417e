//! What the library says of a connection when the program asks for it (`AXIO_SIOCSTATUS` of `axio.h`): the proof that it
//! is at work where it leaves a connection to the kernel and has nothing to report.
#![expect(unsafe_code, reason = "ioctl takes the address of an answer")]

use std::net::TcpStream;
use std::os::fd::AsRawFd;

use kmod_interface::ioctl::{AXIO_SIOCSTATUS, Status};
use nix::libc;

/// Code of the reason why `stream` is carried by what carries it; nothing where no library answers.
pub fn reason(stream: &TcpStream) -> Option<u32> {
    let mut status = Status::default();
    // By the C library's name, where Axio interposes: a raw system call would ask the kernel, which knows nothing.
    // SAFETY: the request is answered by writing one `Status`, or with ENOTTY by the kernel.
    let answer = unsafe { libc::ioctl(stream.as_raw_fd(), AXIO_SIOCSTATUS, &raw mut status) };
    (answer == 0).then_some(status.reason)
}
