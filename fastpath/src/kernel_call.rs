//! The one door to the kernel for what `rustix` has no function for: socket options and requests by number.
//!
//! Inline system calls like rustix's `linux_raw` backend: they never pass through the C library, so they cannot re-enter
//! an interposed call, they take no lock and leave `errno` alone. Errors are positive errno values.
#![expect(unsafe_code, reason = "inline system calls")]

use core::ffi::c_int;

/// A positive errno value.
pub type Errno = i32;

/// System call numbers used here.
#[cfg(target_arch = "x86_64")]
mod number {
    pub const IOCTL: usize = 16;
    pub const GETSOCKOPT: usize = 55;
    pub const SETSOCKOPT: usize = 54;
    pub const SENDTO: usize = 44;
    pub const RECVFROM: usize = 45;
    pub const FCNTL: usize = 72;
    pub const CONNECT: usize = 42;
    pub const SHUTDOWN: usize = 48;
    pub const PPOLL: usize = 271;
    pub const GETTID: usize = 186;
    pub const KILL: usize = 62;
    pub const TGKILL: usize = 234;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const GETPID: usize = 39;
    pub const RT_SIGPENDING: usize = 127;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const RT_SIGACTION: usize = 13;
    pub const GETSOCKNAME: usize = 51;
    pub const CLOSE: usize = 3;
    pub const EXIT_GROUP: usize = 231;
    pub const GETPEERNAME: usize = 52;
    pub const PRLIMIT: usize = 302;
    pub const WAITID: usize = 247;
    pub const PIDFD_OPEN: usize = 434;
    pub const PREADV2: usize = 327;
}
/// System call numbers used here.
#[cfg(target_arch = "aarch64")]
mod number {
    pub const IOCTL: usize = 29;
    pub const GETSOCKOPT: usize = 209;
    pub const SETSOCKOPT: usize = 208;
    pub const SENDTO: usize = 206;
    pub const RECVFROM: usize = 207;
    pub const FCNTL: usize = 25;
    pub const CONNECT: usize = 203;
    pub const SHUTDOWN: usize = 210;
    pub const PPOLL: usize = 73;
    pub const GETTID: usize = 178;
    pub const KILL: usize = 129;
    pub const TGKILL: usize = 131;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const GETPID: usize = 172;
    pub const RT_SIGPENDING: usize = 136;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const RT_SIGACTION: usize = 134;
    pub const GETSOCKNAME: usize = 204;
    pub const CLOSE: usize = 57;
    pub const EXIT_GROUP: usize = 94;
    pub const GETPEERNAME: usize = 205;
    pub const PRLIMIT: usize = 261;
    pub const WAITID: usize = 95;
    pub const PIDFD_OPEN: usize = 434;
    pub const PREADV2: usize = 286;
}

/// One system call; the kernel's own return value, errors as negative errno.
///
/// # Safety
/// The arguments are what the kernel expects for `number`; pointers are valid for what the call reads or writes.
#[inline(always)]
pub unsafe fn system_call(number: usize, arguments: [usize; 6]) -> isize {
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller vouches for the arguments; the clobbers are those of the SYSCALL instruction.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") number as isize => result,
            in("rdi") arguments[0], in("rsi") arguments[1], in("rdx") arguments[2],
            in("r10") arguments[3], in("r8") arguments[4], in("r9") arguments[5],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the caller vouches for the arguments.
    unsafe {
        core::arch::asm!("svc 0", in("x8") number, inlateout("x0") arguments[0] as isize => result,
            in("x1") arguments[1], in("x2") arguments[2], in("x3") arguments[3],
            in("x4") arguments[4], in("x5") arguments[5], options(nostack));
    }
    result
}

#[inline(always)]
fn checked(result: isize) -> Result<usize, Errno> {
    if result < 0 {
        Err(-result as Errno)
    } else {
        Ok(result as usize)
    }
}

/// preadv2(2) of what is in memory already (RWF_NOWAIT): EAGAIN when none is, EOPNOTSUPP where the file system cannot tell.
///
/// # Safety
/// Each piece is writable memory of this process that nobody else reads or writes meanwhile.
pub unsafe fn read_cached(
    descriptor: c_int,
    pieces: [(*mut u8, usize); 2],
    position: i64,
) -> Result<usize, Errno> {
    const RWF_NOWAIT: usize = 8;
    // As `struct iovec` has it.
    let vector = pieces.map(|(base, bytes)| [base as usize, bytes]);
    // SAFETY: a local vector of two; the caller vouches for what it names. The position fits one register; the other half
    // is ignored on 64 bits.
    let result = unsafe {
        system_call(
            number::PREADV2,
            [
                descriptor as usize,
                vector.as_ptr() as usize,
                vector.len(),
                position as usize,
                0,
                RWF_NOWAIT,
            ],
        )
    };
    checked(result)
}

/// getsockopt(2) of a plain value; the length the kernel returned must be at least the value's.
pub fn socket_option<T: Copy + Default>(
    descriptor: c_int,
    level: c_int,
    name: c_int,
) -> Result<T, Errno> {
    #[cfg(all(feature = "test-paths", not(loom)))]
    crate::path::faulty::asked_kernel(descriptor);
    let mut value = T::default();
    let mut length: u32 = size_of::<T>() as u32;
    // SAFETY: value and length are local and of the stated size.
    let result = unsafe {
        system_call(
            number::GETSOCKOPT,
            [
                descriptor as usize,
                level as usize,
                name as usize,
                &raw mut value as usize,
                &raw mut length as usize,
                0,
            ],
        )
    };
    checked(result).map(|_| value)
}

/// getsockopt(2) into a buffer; returns the length the kernel wrote.
pub fn socket_option_bytes(
    descriptor: c_int,
    level: c_int,
    name: c_int,
    buffer: &mut [u8],
) -> Result<usize, Errno> {
    #[cfg(all(feature = "test-paths", not(loom)))]
    crate::path::faulty::asked_kernel(descriptor);
    let mut length: u32 = buffer.len().min(65535) as u32;
    // SAFETY: the buffer is writable for its length.
    let result = unsafe {
        system_call(
            number::GETSOCKOPT,
            [
                descriptor as usize,
                level as usize,
                name as usize,
                buffer.as_mut_ptr() as usize,
                &raw mut length as usize,
                0,
            ],
        )
    };
    checked(result).map(|_| length as usize)
}

/// setsockopt(2) of a plain value.
pub fn set_socket_option<T: Copy>(
    descriptor: c_int,
    level: c_int,
    name: c_int,
    value: T,
) -> Result<(), Errno> {
    // SAFETY: value is local and of the stated size.
    let result = unsafe {
        system_call(
            number::SETSOCKOPT,
            [
                descriptor as usize,
                level as usize,
                name as usize,
                &raw const value as usize,
                size_of::<T>(),
                0,
            ],
        )
    };
    checked(result).map(|_| ())
}

/// ioctl(2) that writes one int: FIONREAD, SIOCOUTQ, SIOCOUTQNSD.
pub fn request_int(descriptor: c_int, request: usize) -> Result<i32, Errno> {
    #[cfg(all(feature = "test-paths", not(loom)))]
    crate::path::faulty::asked_kernel(descriptor);
    let mut value: i32 = 0;
    // SAFETY: value is local; the requests named write one int.
    let result = unsafe {
        system_call(
            number::IOCTL,
            [
                descriptor as usize,
                request,
                &raw mut value as usize,
                0,
                0,
                0,
            ],
        )
    };
    checked(result).map(|_| value)
}

/// fcntl(2) with an integer argument.
pub fn file_control(descriptor: c_int, command: c_int, argument: usize) -> Result<usize, Errno> {
    // SAFETY: callers use commands whose argument is an integer.
    checked(unsafe {
        system_call(
            number::FCNTL,
            [descriptor as usize, command as usize, argument, 0, 0, 0],
        )
    })
}

/// send(2) from raw memory.
///
/// # Safety
/// `source` is readable for `bytes`, or the kernel may answer EFAULT.
pub unsafe fn send(
    descriptor: c_int,
    source: *const u8,
    bytes: usize,
    flags: c_int,
) -> Result<usize, Errno> {
    #[cfg(all(feature = "test-paths", not(loom)))]
    crate::path::faulty::gave_to_kernel(descriptor);
    // SAFETY: promised by the caller.
    checked(unsafe {
        system_call(
            number::SENDTO,
            [
                descriptor as usize,
                source as usize,
                bytes,
                flags as usize,
                0,
                0,
            ],
        )
    })
}

/// recv(2) into raw memory.
///
/// # Safety
/// `target` is writable for `bytes`, or the kernel may answer EFAULT.
pub unsafe fn receive(
    descriptor: c_int,
    target: *mut u8,
    bytes: usize,
    flags: c_int,
) -> Result<usize, Errno> {
    #[cfg(all(feature = "test-paths", not(loom)))]
    crate::path::faulty::asked_kernel(descriptor);
    // SAFETY: promised by the caller.
    checked(unsafe {
        system_call(
            number::RECVFROM,
            [
                descriptor as usize,
                target as usize,
                bytes,
                flags as usize,
                0,
                0,
            ],
        )
    })
}

/// Resets a TCP connection: connect(2) to AF_UNSPEC sends RST and drops both queues.
pub fn reset_connection(descriptor: c_int) {
    #[cfg(all(feature = "test-paths", not(loom)))]
    crate::path::faulty::gave_to_kernel(descriptor);
    let address: [u16; 8] = [0; 8];
    // SAFETY: sixteen readable bytes, family AF_UNSPEC.
    unsafe {
        system_call(
            number::CONNECT,
            [
                descriptor as usize,
                &raw const address as usize,
                16,
                0,
                0,
                0,
            ],
        )
    };
}

/// shutdown(SHUT_RDWR), which wakes whoever waits for an end, also of a socket that has none any more.
pub fn shut_both(descriptor: c_int) {
    #[cfg(all(feature = "test-paths", not(loom)))]
    crate::path::faulty::gave_to_kernel(descriptor);
    const SHUT_RDWR: usize = 2;
    // SAFETY: no memory.
    unsafe {
        system_call(
            number::SHUTDOWN,
            [descriptor as usize, SHUT_RDWR, 0, 0, 0, 0],
        )
    };
}

/// One entry of poll(2).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct PollEntry {
    /// Descriptor.
    pub descriptor: c_int,
    /// Events asked for.
    pub events: i16,
    /// Events that hold.
    pub returned: i16,
}

/// poll(2) of one descriptor for a number of milliseconds; the events that hold (0 on time-out or signal).
pub fn poll_one(descriptor: c_int, events: i16, timeout_ms: u64) -> i16 {
    #[cfg(all(feature = "test-paths", not(loom)))]
    crate::path::faulty::asked_kernel(descriptor);
    let mut entry = PollEntry {
        descriptor,
        events,
        returned: 0,
    };
    let timeout: [i64; 2] = [
        (timeout_ms / 1000) as i64,
        (timeout_ms % 1000 * 1_000_000) as i64,
    ];
    // SAFETY: one local entry, a local time-out, no signal mask.
    let result = unsafe {
        system_call(
            number::PPOLL,
            [
                &raw mut entry as usize,
                1,
                &raw const timeout as usize,
                0,
                8,
                0,
            ],
        )
    };
    if result > 0 { entry.returned } else { 0 }
}

/// poll(2) of many descriptors without waiting; the number of entries with something, 0 on any error.
///
/// # Safety
/// `entries` is readable and writable for `count` entries.
pub unsafe fn poll_now(entries: *mut PollEntry, count: usize) -> usize {
    let timeout: [i64; 2] = [0; 2];
    // SAFETY: as promised; a local time-out, no signal mask.
    let result = unsafe {
        system_call(
            number::PPOLL,
            [
                entries as usize,
                count,
                &raw const timeout as usize,
                0,
                8,
                0,
            ],
        )
    };
    result.max(0) as usize
}

/// Soft limit of a resource, getrlimit(2); no limit reads as the largest number.
pub fn resource_limit(resource: usize) -> Result<u64, Errno> {
    let mut limits: [u64; 2] = [0; 2];
    // SAFETY: process 0 is this one, nothing is set, two local words are written.
    let result = unsafe {
        system_call(
            number::PRLIMIT,
            [0, resource, 0, &raw mut limits as usize, 0, 0],
        )
    };
    checked(result).map(|_| limits[0])
}

/// Kernel id of the calling thread.
#[must_use]
pub fn thread_id() -> u32 {
    // SAFETY: no arguments.
    unsafe { system_call(number::GETTID, [0; 6]) as u32 }
}

/// Id of the calling process, from the kernel: right in fork and vfork children alike.
#[must_use]
pub fn process_id() -> u32 {
    // SAFETY: no arguments.
    unsafe { system_call(number::GETPID, [0; 6]) as u32 }
}

/// True when a process of this id exists, be it a zombie.
#[must_use]
pub fn process_exists(process: u32) -> bool {
    // SAFETY: signal 0 only asks.
    let result = unsafe { system_call(number::KILL, [process as usize, 0, 0, 0, 0, 0]) };
    result != -3 // ESRCH
}

/// Whether a child of this process has ended and was not reaped (waitid(2) that leaves it as it is); nothing when it is no
/// child, or was reaped.
#[must_use]
pub fn child_has_ended(process: u32) -> Option<bool> {
    const P_PID: usize = 1;
    const WNOHANG_EXITED_NOWAIT_ALL: usize = 1 | 4 | 0x0100_0000 | 0x4000_0000;
    // siginfo_t: the signal first, which stays 0 when there is nothing to tell.
    let mut told = [0i32; 32];
    // SAFETY: siginfo_t has 128 bytes, no usage is asked for.
    let result = unsafe {
        system_call(
            number::WAITID,
            [
                P_PID,
                process as usize,
                told.as_mut_ptr() as usize,
                WNOHANG_EXITED_NOWAIT_ALL,
                0,
                0,
            ],
        )
    };
    (result == 0).then_some(told[0] != 0)
}

/// True when a process of this id is known to have ended, by a pidfd (5.3) that is readable.
#[must_use]
pub fn process_has_ended(process: u32) -> bool {
    const POLLIN: i16 = 1;
    // SAFETY: plain numbers.
    let opened =
        checked(unsafe { system_call(number::PIDFD_OPEN, [process as usize, 0, 0, 0, 0, 0]) });
    let Ok(descriptor) = opened else {
        return false;
    };
    let ended = poll_one(descriptor as c_int, POLLIN, 0) & POLLIN != 0;
    // SAFETY: the descriptor made above.
    unsafe { system_call(number::CLOSE, [descriptor, 0, 0, 0, 0, 0]) };
    ended
}

/// Sends a signal to one thread of this process (SIGPIPE is the sender's own).
pub fn signal_this_thread(signal: c_int) {
    // SAFETY: plain numbers.
    unsafe {
        system_call(
            number::TGKILL,
            [
                process_id() as usize,
                thread_id() as usize,
                signal as usize,
                0,
                0,
                0,
            ],
        )
    };
}

/// Sets the thread's signal mask; returns the mask before.
pub fn set_signal_mask(mask: u64) -> u64 {
    const SIG_SETMASK: usize = 2;
    let mut before: u64 = 0;
    // SAFETY: two local masks of eight bytes.
    unsafe {
        system_call(
            number::RT_SIGPROCMASK,
            [
                SIG_SETMASK,
                &raw const mask as usize,
                &raw mut before as usize,
                8,
                0,
                0,
            ],
        )
    };
    before
}

/// True when a process has a thread of this id, be it a zombie.
#[must_use]
pub fn thread_exists(process: u32, thread: u32) -> bool {
    // SAFETY: signal 0 only asks.
    let result = unsafe {
        system_call(
            number::TGKILL,
            [process as usize, thread as usize, 0, 0, 0, 0],
        )
    };
    result != -3 // ESRCH
}

/// What a signal does when it is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Ignored, or the default action.
    None,
    /// A handler runs; `restart`: SA_RESTART is set.
    Handler {
        /// Interrupted calls are restarted.
        restart: bool,
    },
}

/// Signals that are pending for this thread or process, as a mask.
#[must_use]
pub fn pending_signals() -> u64 {
    let mut pending: u64 = 0;
    // SAFETY: one local mask of eight bytes.
    unsafe {
        system_call(
            number::RT_SIGPENDING,
            [&raw mut pending as usize, 8, 0, 0, 0, 0],
        )
    };
    pending
}

/// Takes a pending signal that is held back, without waiting for one (rt_sigtimedwait); this thread's own before the
/// process's.
pub fn take_signal(signal: c_int) {
    let set: u64 = signal_bit(signal);
    let no_time: [i64; 2] = [0; 2];
    // SAFETY: a local mask of eight bytes and a local time-out; nothing is written.
    unsafe {
        system_call(
            number::RT_SIGTIMEDWAIT,
            [
                &raw const set as usize,
                0,
                &raw const no_time as usize,
                8,
                0,
                0,
            ],
        )
    };
}

/// A signal's bit in a mask.
#[must_use]
pub fn signal_bit(signal: c_int) -> u64 {
    1u64.checked_shl((signal as u32).wrapping_sub(1))
        .unwrap_or(0)
}

/// What a signal would do (rt_sigaction with nothing to set).
#[must_use]
pub fn signal_disposition(signal: c_int) -> Disposition {
    const SA_RESTART: u64 = 0x1000_0000;
    // struct kernel_sigaction: handler, flags, (restorer,) mask.
    let mut action: [u64; 4] = [0; 4];
    // SAFETY: a local structure of the kernel's size.
    unsafe {
        system_call(
            number::RT_SIGACTION,
            [signal as usize, 0, &raw mut action as usize, 8, 0, 0],
        )
    };
    if action[0] <= 1 {
        Disposition::None
    } else {
        Disposition::Handler {
            restart: action[1] & SA_RESTART != 0,
        }
    }
}

/// getsockname(2) or getpeername(2) into a buffer of a `sockaddr_in6`; the length the kernel wrote.
fn socket_name(call: usize, descriptor: c_int, buffer: &mut [u8; 28]) -> Result<usize, Errno> {
    let mut length: u32 = 28;
    // SAFETY: buffer and length are local and of the stated size.
    let result = unsafe {
        system_call(
            call,
            [
                descriptor as usize,
                buffer.as_mut_ptr() as usize,
                &raw mut length as usize,
                0,
                0,
                0,
            ],
        )
    };
    checked(result).map(|_| length as usize)
}

/// An internet address as 16 bytes (IPv4 mapped) and a port in host order; nothing for other families.
pub type InternetName = Option<([u8; 16], u16)>;

/// Reads a `sockaddr` of either internet family.
#[must_use]
pub fn internet_name(bytes: &[u8]) -> InternetName {
    let family = u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]);
    let port = u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]);
    let mut address = [0u8; 16];
    match family {
        2 => {
            address[10] = 255;
            address[11] = 255;
            address[12..16].copy_from_slice(bytes.get(4..8)?);
        }
        10 => address.copy_from_slice(bytes.get(8..24)?),
        _ => return None,
    }
    Some((address, port))
}

/// The socket's own address.
#[must_use]
pub fn own_name(descriptor: c_int) -> InternetName {
    let mut buffer = [0u8; 28];
    let length = socket_name(number::GETSOCKNAME, descriptor, &mut buffer).ok()?;
    internet_name(buffer.get(..length.min(28))?)
}

/// The address family of a socket that has no local address or port: it was never bound, or the kernel took them away (a
/// port that the program had chosen by bind() is left to it).
#[must_use]
pub fn forgotten_name_family(descriptor: c_int) -> Option<u16> {
    let mut buffer = [0u8; 28];
    let length = socket_name(number::GETSOCKNAME, descriptor, &mut buffer).ok()?;
    let family = u16::from_ne_bytes([buffer[0], buffer[1]]);
    let address = match family {
        2 => 4..8,
        10 => 8..24,
        _ => return None,
    };
    let is_unspecified =
        |part: Option<&[u8]>| part.is_some_and(|part| part.iter().all(|byte| *byte == 0));
    let is_forgotten = is_unspecified(buffer.get(2..4)) || is_unspecified(buffer.get(address));
    (length >= 16 && is_forgotten).then_some(family)
}

/// The far end's address.
#[must_use]
pub fn far_name(descriptor: c_int) -> InternetName {
    let mut buffer = [0u8; 28];
    let length = socket_name(number::GETPEERNAME, descriptor, &mut buffer).ok()?;
    internet_name(buffer.get(..length.min(28))?)
}

/// close(2) of a private descriptor.
pub fn close(descriptor: c_int) {
    // SAFETY: a plain number; callers own it.
    unsafe { system_call(number::CLOSE, [descriptor as usize, 0, 0, 0, 0, 0]) };
}

/// Ends the process at start, before `main` (strict mode only).
pub fn exit_process(status: c_int) -> ! {
    loop {
        // SAFETY: does not return.
        unsafe { system_call(number::EXIT_GROUP, [status as usize, 0, 0, 0, 0, 0]) };
    }
}
