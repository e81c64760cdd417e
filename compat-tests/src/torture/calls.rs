//! The libc calls the torture programs make, as thin safe functions: values in, the call's result or errno out.
//!
//! They go through the C library's symbols on purpose, so that a preloaded shim sees exactly what a C program would
//! have asked for. Nothing here retries or hides an error.
#![expect(unsafe_code, reason = "calls into the C library")]

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::AtomicU64;

/// The call's value, or its errno.
pub type Outcome<T> = Result<T, i32>;

/// The calling thread's errno.
#[must_use]
pub fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// The usual name of an errno value.
#[must_use]
pub fn errno_text(code: i32) -> String {
    std::io::Error::from_raw_os_error(code).to_string()
}

fn count(result: isize) -> Outcome<usize> {
    usize::try_from(result).map_err(|_| errno())
}

fn number(result: i32) -> Outcome<i32> {
    if result < 0 { Err(errno()) } else { Ok(result) }
}

fn done(result: i32) -> Outcome<()> {
    number(result).map(|_| ())
}

// ---- sockets

/// A socket address in the form the kernel takes.
struct Address {
    storage: libc::sockaddr_storage,
    length: libc::socklen_t,
}

impl Address {
    fn from_socket(address: &SocketAddr) -> Self {
        // SAFETY: all zeros is a valid sockaddr_storage.
        let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        let length = match address {
            SocketAddr::V4(v4) => {
                let name = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from(*v4.ip()).to_be(),
                    },
                    sin_zero: [0; 8],
                };
                // SAFETY: sockaddr_storage is large and aligned enough for every address family.
                unsafe { std::ptr::write((&raw mut storage).cast(), name) };
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let name = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr {
                        s6_addr: v6.ip().octets(),
                    },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { std::ptr::write((&raw mut storage).cast(), name) };
                size_of::<libc::sockaddr_in6>()
            }
        };
        Address {
            storage,
            length: length as libc::socklen_t,
        }
    }

    fn pointer(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }
}

/// `socket(family, SOCK_STREAM | type_flags, 0)`.
pub fn stream_socket(address: &SocketAddr, type_flags: i32) -> Outcome<i32> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    // SAFETY: no pointers.
    number(unsafe { libc::socket(family, libc::SOCK_STREAM | type_flags, 0) })
}

/// A listening stream socket bound to the address, with its port.
pub fn listen_on(address: &SocketAddr, type_flags: i32, backlog: i32) -> Outcome<(i32, u16)> {
    let listener = stream_socket(address, type_flags)?;
    set_option(listener, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    let name = Address::from_socket(address);
    // SAFETY: the address lives through the call and its length is its own.
    done(unsafe { libc::bind(listener, name.pointer(), name.length) })?;
    // SAFETY: no pointers.
    done(unsafe { libc::listen(listener, backlog) })?;
    // SAFETY: all zeros is a valid sockaddr_in6, which is larger than sockaddr_in.
    let mut bound: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    // SAFETY: the buffer has the length named; both families keep the port at the same place.
    done(unsafe { libc::getsockname(listener, (&raw mut bound).cast(), &raw mut length) })?;
    Ok((listener, u16::from_be(bound.sin6_port)))
}

/// `connect`.
pub fn connect(descriptor: i32, address: &SocketAddr) -> Outcome<()> {
    let name = Address::from_socket(address);
    // SAFETY: the address lives through the call and its length is its own.
    done(unsafe { libc::connect(descriptor, name.pointer(), name.length) })
}

/// `accept4` without asking for the address.
pub fn accept(listener: i32, type_flags: i32) -> Outcome<i32> {
    // SAFETY: null asks for no address.
    number(unsafe {
        libc::accept4(
            listener,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            type_flags,
        )
    })
}

/// `setsockopt` with an `int`.
pub fn set_option(descriptor: i32, level: i32, option: i32, value: i32) -> Outcome<()> {
    // SAFETY: the value lives through the call and its length is its own.
    done(unsafe {
        libc::setsockopt(
            descriptor,
            level,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    })
}

/// `SO_RCVTIMEO` or `SO_SNDTIMEO` in milliseconds.
pub fn set_timeout(descriptor: i32, option: i32, timeout_ms: u64) -> Outcome<()> {
    let value = libc::timeval {
        tv_sec: (timeout_ms / 1000) as libc::time_t,
        tv_usec: (timeout_ms % 1000 * 1000) as libc::suseconds_t,
    };
    // SAFETY: the value lives through the call and its length is its own.
    done(unsafe {
        libc::setsockopt(
            descriptor,
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            size_of::<libc::timeval>() as libc::socklen_t,
        )
    })
}

/// `shutdown`.
pub fn shutdown(descriptor: i32, how: i32) -> Outcome<()> {
    // SAFETY: no pointers.
    done(unsafe { libc::shutdown(descriptor, how) })
}

/// `close`.
pub fn close(descriptor: i32) -> Outcome<()> {
    // SAFETY: no pointers; the callers own their descriptors by convention.
    done(unsafe { libc::close(descriptor) })
}

/// Sets or clears `O_NONBLOCK` by `fcntl`.
pub fn set_nonblocking(descriptor: i32, nonblocking: bool) -> Outcome<()> {
    // SAFETY: no pointers.
    let flags = number(unsafe { libc::fcntl(descriptor, libc::F_GETFL) })?;
    let wanted = if nonblocking {
        flags | libc::O_NONBLOCK
    } else {
        flags & !libc::O_NONBLOCK
    };
    // SAFETY: no pointers.
    done(unsafe { libc::fcntl(descriptor, libc::F_SETFL, wanted) })
}

/// Clears `FD_CLOEXEC`, so that an exec'd program inherits the descriptor.
pub fn keep_over_exec(descriptor: i32) -> Outcome<()> {
    // SAFETY: no pointers.
    done(unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) })
}

/// Bytes waiting to be read: `ioctl(FIONREAD)`.
pub fn readable_bytes(descriptor: i32) -> Outcome<usize> {
    let mut bytes = 0i32;
    // SAFETY: FIONREAD writes one int.
    done(unsafe { libc::ioctl(descriptor, libc::FIONREAD, &raw mut bytes) })?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

// ---- data in

/// `read`.
pub fn read(descriptor: i32, buffer: &mut [u8]) -> Outcome<usize> {
    // SAFETY: the buffer is writable for its length.
    count(unsafe { libc::read(descriptor, buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// `recv`.
pub fn recv(descriptor: i32, buffer: &mut [u8], flags: i32) -> Outcome<usize> {
    // SAFETY: the buffer is writable for its length.
    count(unsafe { libc::recv(descriptor, buffer.as_mut_ptr().cast(), buffer.len(), flags) })
}

/// `recvfrom` without asking for the address.
pub fn recvfrom(descriptor: i32, buffer: &mut [u8], flags: i32) -> Outcome<usize> {
    // SAFETY: the buffer is writable for its length; null asks for no address.
    count(unsafe {
        libc::recvfrom(
            descriptor,
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            flags,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    })
}

/// The most pieces a scattered call here uses.
pub const PIECES: usize = 4;

/// Cuts a length into up to [`PIECES`] pieces at the given places (taken modulo what is left).
fn pieces(
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

/// `readv` into pieces of the buffer.
pub fn readv(descriptor: i32, buffer: &mut [u8], cuts: [usize; PIECES - 1]) -> Outcome<usize> {
    let (list, used) = pieces(buffer.as_mut_ptr(), buffer.len(), cuts);
    // SAFETY: the pieces lie in the buffer, which is writable for its length.
    count(unsafe { libc::readv(descriptor, list.as_ptr(), used as i32) })
}

fn message(list: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: all zeros is a valid msghdr without address, data and control.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = list.as_mut_ptr();
    header.msg_iovlen = list.len();
    header
}

/// `recvmsg` into pieces of the buffer.
pub fn recvmsg(
    descriptor: i32,
    buffer: &mut [u8],
    cuts: [usize; PIECES - 1],
    flags: i32,
) -> Outcome<usize> {
    let (mut list, used) = pieces(buffer.as_mut_ptr(), buffer.len(), cuts);
    let mut header = message(&mut list[..used]);
    // SAFETY: the pieces lie in the buffer, which is writable for its length.
    count(unsafe { libc::recvmsg(descriptor, &raw mut header, flags) })
}

/// `recvmmsg` of two messages that share the buffer at `cut`; the bytes come back moved together.
pub fn recvmmsg(descriptor: i32, buffer: &mut [u8], cut: usize, flags: i32) -> Outcome<usize> {
    let cut = match buffer.len() {
        0 | 1 => return recv(descriptor, buffer, flags & !libc::MSG_WAITFORONE),
        length => 1 + cut % (length - 1),
    };
    let base = buffer.as_mut_ptr();
    let mut first = [libc::iovec {
        iov_base: base.cast(),
        iov_len: cut,
    }];
    let mut second = [libc::iovec {
        iov_base: base.wrapping_add(cut).cast(),
        iov_len: buffer.len() - cut,
    }];
    let mut list = [
        libc::mmsghdr {
            msg_hdr: message(&mut first),
            msg_len: 0,
        },
        libc::mmsghdr {
            msg_hdr: message(&mut second),
            msg_len: 0,
        },
    ];
    // SAFETY: both messages lie in the buffer, which is writable for its length; null means no time-out.
    let received = number(unsafe {
        libc::recvmmsg(
            descriptor,
            list.as_mut_ptr(),
            2,
            flags as _,
            std::ptr::null_mut(),
        )
    })?;
    let first_bytes = list[0].msg_len as usize;
    if received < 2 {
        return Ok(first_bytes);
    }
    let second_bytes = list[1].msg_len as usize;
    buffer.copy_within(cut..cut + second_bytes, first_bytes);
    Ok(first_bytes + second_bytes)
}

/// A pipe: the end to read, the end to write.
pub fn pipe() -> Outcome<(i32, i32)> {
    let mut ends = [0i32; 2];
    // SAFETY: pipe2 writes two ints.
    done(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    Ok((ends[0], ends[1]))
}

/// `splice` from one descriptor to another without offsets.
pub fn splice(from: i32, to: i32, bytes: usize, flags: u32) -> Outcome<usize> {
    // SAFETY: null means the descriptors' own positions.
    count(unsafe {
        libc::splice(
            from,
            std::ptr::null_mut(),
            to,
            std::ptr::null_mut(),
            bytes,
            flags,
        )
    })
}

// ---- data out

/// `write`.
pub fn write(descriptor: i32, bytes: &[u8]) -> Outcome<usize> {
    // SAFETY: the bytes are readable for their length.
    count(unsafe { libc::write(descriptor, bytes.as_ptr().cast(), bytes.len()) })
}

/// `send`.
pub fn send(descriptor: i32, bytes: &[u8], flags: i32) -> Outcome<usize> {
    // SAFETY: the bytes are readable for their length.
    count(unsafe { libc::send(descriptor, bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// `writev` from pieces of the bytes.
pub fn writev(descriptor: i32, bytes: &[u8], cuts: [usize; PIECES - 1]) -> Outcome<usize> {
    let (list, used) = pieces(bytes.as_ptr().cast_mut(), bytes.len(), cuts);
    // SAFETY: the pieces lie in the bytes, which are only read.
    count(unsafe { libc::writev(descriptor, list.as_ptr(), used as i32) })
}

/// `sendmsg` from pieces of the bytes.
pub fn sendmsg(
    descriptor: i32,
    bytes: &[u8],
    cuts: [usize; PIECES - 1],
    flags: i32,
) -> Outcome<usize> {
    let (mut list, used) = pieces(bytes.as_ptr().cast_mut(), bytes.len(), cuts);
    let header = message(&mut list[..used]);
    // SAFETY: the pieces lie in the bytes, which are only read.
    count(unsafe { libc::sendmsg(descriptor, &raw const header, flags) })
}

/// `sendmmsg` of two messages cut at `cut`: the bytes taken from the front.
pub fn sendmmsg(descriptor: i32, bytes: &[u8], cut: usize, flags: i32) -> Outcome<usize> {
    // Neither message is empty: an empty one counts as sent even where there is no room for a byte.
    let cut = match bytes.len() {
        0 | 1 => return send(descriptor, bytes, flags),
        length => 1 + cut % (length - 1),
    };
    let base = bytes.as_ptr().cast_mut();
    let mut first = [libc::iovec {
        iov_base: base.cast(),
        iov_len: cut,
    }];
    let mut second = [libc::iovec {
        iov_base: base.wrapping_add(cut).cast(),
        iov_len: bytes.len() - cut,
    }];
    let mut list = [
        libc::mmsghdr {
            msg_hdr: message(&mut first),
            msg_len: 0,
        },
        libc::mmsghdr {
            msg_hdr: message(&mut second),
            msg_len: 0,
        },
    ];
    // SAFETY: both messages lie in the bytes, which are only read.
    let sent = number(unsafe { libc::sendmmsg(descriptor, list.as_mut_ptr(), 2, flags as _) })?;
    Ok(list[..sent as usize]
        .iter()
        .map(|message| message.msg_len as usize)
        .sum())
}

/// A memory file of its own, to be sent by [`sendfile`].
pub fn memory_file() -> Outcome<i32> {
    // SAFETY: the name ends with a zero byte.
    number(unsafe { libc::memfd_create(c"content".as_ptr(), libc::MFD_CLOEXEC) })
}

/// `pwrite`.
pub fn write_at(descriptor: i32, bytes: &[u8], offset: u64) -> Outcome<usize> {
    // SAFETY: the bytes are readable for their length.
    count(unsafe {
        libc::pwrite(
            descriptor,
            bytes.as_ptr().cast(),
            bytes.len(),
            offset as libc::off_t,
        )
    })
}

/// `sendfile` from an offset in a file.
pub fn sendfile(descriptor: i32, file: i32, offset: u64, bytes: usize) -> Outcome<usize> {
    let mut offset = offset as libc::off_t;
    // SAFETY: the offset lives through the call.
    count(unsafe { libc::sendfile(descriptor, file, &raw mut offset, bytes) })
}

// ---- readiness

/// What a readiness call is asked for and answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Data or end of stream.
    pub readable: bool,
    /// Room.
    pub writable: bool,
    /// An error or a hang-up was reported.
    pub trouble: bool,
}

/// `poll` on one descriptor and, for reading, a second one; time-out in milliseconds, -1 for ever.
pub fn poll(
    descriptor: i32,
    asked: Readiness,
    wake: Option<i32>,
    timeout_ms: i32,
    with_signal_mask: bool,
) -> Outcome<Readiness> {
    let mut events = 0;
    if asked.readable {
        events |= libc::POLLIN;
    }
    if asked.writable {
        events |= libc::POLLOUT;
    }
    let mut list = [
        libc::pollfd {
            fd: descriptor,
            events,
            revents: 0,
        },
        libc::pollfd {
            fd: wake.unwrap_or(-1),
            events: libc::POLLIN,
            revents: 0,
        },
    ];
    let result = if with_signal_mask {
        let limit = libc::timespec {
            tv_sec: libc::time_t::from(timeout_ms / 1000),
            tv_nsec: libc::c_long::from(timeout_ms % 1000) * 1_000_000,
        };
        let limit_pointer = if timeout_ms < 0 {
            std::ptr::null()
        } else {
            &raw const limit
        };
        // SAFETY: the list has two entries; a null mask changes nothing.
        unsafe { libc::ppoll(list.as_mut_ptr(), 2, limit_pointer, std::ptr::null()) }
    } else {
        // SAFETY: the list has two entries.
        unsafe { libc::poll(list.as_mut_ptr(), 2, timeout_ms) }
    };
    number(result)?;
    let answer = list[0].revents;
    Ok(Readiness {
        readable: answer & libc::POLLIN != 0,
        writable: answer & libc::POLLOUT != 0,
        trouble: answer & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0,
    })
}

/// `select` on one descriptor and, for reading, a second one. Descriptors must be below 1024.
pub fn select(
    descriptor: i32,
    asked: Readiness,
    wake: Option<i32>,
    timeout_ms: i32,
    with_signal_mask: bool,
) -> Outcome<Readiness> {
    // SAFETY: all zeros is a valid, empty set.
    let mut reading: libc::fd_set = unsafe { std::mem::zeroed() };
    // SAFETY: all zeros is a valid, empty set.
    let mut writing: libc::fd_set = unsafe { std::mem::zeroed() };
    let highest = descriptor.max(wake.unwrap_or(-1));
    if highest >= libc::FD_SETSIZE as i32 {
        return Err(libc::EINVAL);
    }
    // SAFETY: the numbers are below FD_SETSIZE.
    unsafe {
        if asked.readable {
            libc::FD_SET(descriptor, &raw mut reading);
        }
        if asked.writable {
            libc::FD_SET(descriptor, &raw mut writing);
        }
        if let Some(wake) = wake {
            libc::FD_SET(wake, &raw mut reading);
        }
    }
    let result = if with_signal_mask {
        let limit = libc::timespec {
            tv_sec: libc::time_t::from(timeout_ms / 1000),
            tv_nsec: libc::c_long::from(timeout_ms % 1000) * 1_000_000,
        };
        let limit_pointer = if timeout_ms < 0 {
            std::ptr::null()
        } else {
            &raw const limit
        };
        // SAFETY: the sets live through the call; null asks for no exceptions and keeps the mask.
        unsafe {
            libc::pselect(
                highest + 1,
                &raw mut reading,
                &raw mut writing,
                std::ptr::null_mut(),
                limit_pointer,
                std::ptr::null(),
            )
        }
    } else {
        let mut limit = libc::timeval {
            tv_sec: libc::time_t::from(timeout_ms / 1000),
            tv_usec: libc::suseconds_t::from(timeout_ms % 1000) * 1000,
        };
        let limit_pointer = if timeout_ms < 0 {
            std::ptr::null_mut()
        } else {
            &raw mut limit
        };
        // SAFETY: the sets live through the call; null asks for no exceptions.
        unsafe {
            libc::select(
                highest + 1,
                &raw mut reading,
                &raw mut writing,
                std::ptr::null_mut(),
                limit_pointer,
            )
        }
    };
    number(result)?;
    // SAFETY: the number is below FD_SETSIZE.
    unsafe {
        Ok(Readiness {
            readable: libc::FD_ISSET(descriptor, &raw const reading),
            writable: libc::FD_ISSET(descriptor, &raw const writing),
            trouble: false,
        })
    }
}

/// `epoll_create1(EPOLL_CLOEXEC)`.
pub fn epoll_create() -> Outcome<i32> {
    // SAFETY: no pointers.
    number(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}

/// `epoll_ctl` with an event mask and a cookie.
pub fn epoll_control(
    set: i32,
    operation: i32,
    descriptor: i32,
    events: u32,
    cookie: u64,
) -> Outcome<()> {
    let mut event = libc::epoll_event {
        events,
        u64: cookie,
    };
    // SAFETY: the event lives through the call.
    done(unsafe { libc::epoll_ctl(set, operation, descriptor, &raw mut event) })
}

/// Which of the three calls waits for epoll events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpollCall {
    /// `epoll_wait`
    Wait,
    /// `epoll_pwait` with an unchanged mask
    Pwait,
    /// `epoll_pwait2` with an unchanged mask
    Pwait2,
}

/// Waits for events; fills `answers` with (event bits, cookie) and returns how many.
pub fn epoll_wait(
    set: i32,
    answers: &mut [(u32, u64)],
    timeout_ms: i32,
    call: EpollCall,
) -> Outcome<usize> {
    const MOST: usize = 64;
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; MOST];
    let room = answers.len().min(MOST) as i32;
    let result = match call {
        // SAFETY: the array has at least `room` entries.
        EpollCall::Wait => unsafe { libc::epoll_wait(set, events.as_mut_ptr(), room, timeout_ms) },
        // SAFETY: as above; a null mask changes nothing.
        EpollCall::Pwait => unsafe {
            libc::epoll_pwait(set, events.as_mut_ptr(), room, timeout_ms, std::ptr::null())
        },
        EpollCall::Pwait2 => {
            let limit = libc::timespec {
                tv_sec: libc::time_t::from(timeout_ms / 1000),
                tv_nsec: libc::c_long::from(timeout_ms % 1000) * 1_000_000,
            };
            let limit_pointer = if timeout_ms < 0 {
                std::ptr::null()
            } else {
                &raw const limit
            };
            // SAFETY: as above.
            unsafe {
                libc::epoll_pwait2(
                    set,
                    events.as_mut_ptr(),
                    room,
                    limit_pointer,
                    std::ptr::null(),
                )
            }
        }
    };
    let found = number(result)? as usize;
    for (answer, event) in answers.iter_mut().zip(&events[..found]) {
        *answer = (event.events, event.u64);
    }
    Ok(found)
}

/// An eventfd, to end other threads' waits.
pub fn event_descriptor() -> Outcome<i32> {
    // SAFETY: no pointers.
    number(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
}

// ---- processes

/// `fork`: 0 in the child.
pub fn fork() -> Outcome<i32> {
    // SAFETY: the callers only go on in ways that do not depend on other threads of the parent.
    number(unsafe { libc::fork() })
}

/// Waits for a child: its exit code, or 128 + the signal that ended it.
pub fn wait_for(child: i32) -> Outcome<i32> {
    let mut status = 0;
    loop {
        // SAFETY: the status lives through the call.
        match number(unsafe { libc::waitpid(child, &raw mut status, 0) }) {
            Err(libc::EINTR) => {}
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    Ok(if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        128 + libc::WTERMSIG(status)
    })
}

/// Ends the process at once, without destructors of the program (the shim still hears of it).
pub fn exit_now(code: i32) -> ! {
    // SAFETY: no pointers; never returns.
    unsafe { libc::_exit(code) }
}

/// `kill`; a negative number names a process group.
pub fn signal_process(process: i32, signal: i32) -> Outcome<()> {
    // SAFETY: no pointers.
    done(unsafe { libc::kill(process, signal) })
}

/// `setpgid(0, 0)`: a process group of its own.
pub fn own_group() -> Outcome<()> {
    // SAFETY: no pointers.
    done(unsafe { libc::setpgid(0, 0) })
}

/// Ends this process when its parent dies.
pub fn die_with_parent() -> Outcome<()> {
    // SAFETY: no pointers.
    done(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })
}

/// `alarm`: the kernel ends this process when it takes longer, whatever it hangs in.
pub fn alarm(seconds: u32) {
    // SAFETY: no pointers.
    unsafe { libc::alarm(seconds) };
}

extern "C" fn only_interrupt(_signal: i32) {}

/// An empty handler for `SIGUSR1`, with or without `SA_RESTART`.
pub fn handle_interrupts(restart: bool) -> Outcome<()> {
    // SAFETY: all zeros is a valid sigaction, completed below.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = only_interrupt as extern "C" fn(i32) as usize;
    action.sa_flags = if restart { libc::SA_RESTART } else { 0 };
    // SAFETY: the handler does nothing, so it is safe in any context.
    done(unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) })
}

/// The process id.
#[must_use]
pub fn process_id() -> i32 {
    // SAFETY: no pointers.
    unsafe { libc::getpid() }
}

/// The thread id.
#[must_use]
pub fn thread_id() -> i32 {
    // SAFETY: no pointers.
    unsafe { libc::gettid() }
}

/// Sends a signal to one thread of this process, which must still exist.
pub fn signal_thread(thread: i32, signal: i32) -> Outcome<()> {
    // SAFETY: no pointers.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, process_id(), thread, signal) };
    if result < 0 { Err(errno()) } else { Ok(()) }
}

/// Raises the soft limit of open descriptors to at least `wanted`, and the hard one where that is allowed.
pub fn raise_descriptor_limit(wanted: u64) -> Outcome<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit lives through the call.
    done(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    if limit.rlim_cur < wanted {
        let raised = libc::rlimit {
            rlim_cur: wanted,
            rlim_max: limit.rlim_max.max(wanted),
        };
        // SAFETY: as above.
        done(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) })?;
        limit.rlim_cur = wanted;
    }
    Ok(limit.rlim_cur)
}

/// Zeroed words that stay shared with children made by `fork`; never given back.
pub fn shared_words(words: usize) -> Outcome<&'static [AtomicU64]> {
    // SAFETY: a new anonymous mapping at an address of the kernel's choice.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            words * size_of::<AtomicU64>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(errno());
    }
    // SAFETY: the mapping is page-aligned, zeroed, as long as asked for, and never unmapped.
    Ok(unsafe { std::slice::from_raw_parts(address.cast(), words) })
}

/// Words in a file, mapped shared: they outlive the process. The file is made and lengthened as needed.
pub fn shared_file_words(path: &Path, words: usize) -> Outcome<&'static [AtomicU64]> {
    let bytes = words * size_of::<AtomicU64>();
    let io = |error: std::io::Error| error.raw_os_error().unwrap_or(libc::EIO);
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(io)?;
    if file.metadata().map_err(io)?.len() < bytes as u64 {
        file.set_len(bytes as u64).map_err(io)?;
    }
    // SAFETY: a new mapping, at an address of the kernel's choice, of an open file that is long enough.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(errno());
    }
    // SAFETY: the mapping is page-aligned, as long as asked for, and never unmapped; the words are only used atomically.
    Ok(unsafe { std::slice::from_raw_parts(address.cast(), words) })
}
