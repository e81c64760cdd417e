//! What others see: the statistics page, the status of a socket, the report at exit.
#![expect(unsafe_code, reason = "writes words of the mapped statistics page")]

use crate::discovery::private::{Kept, PrivateDescriptor};
use crate::process;
use core::ffi::c_int;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use fastpath::endpoint::{Endpoint, binding};
use fastpath::family;
use fastpath::memory::descriptor::Descriptor;
use fastpath::statistics::{self, row_value32, row_value64, set_row32};
use fastpath::stream::Stream;
use kmod_interface::ioctl::Status;
use kmod_interface::reason::Reason;
use kmod_interface::statistics::{
    Counter, MAGIC, PAGE_BYTES, ROW_BYTES, ROWS, ROWS_OFFSET, VERSION, header, row,
};
use rustix::fd::{AsFd, IntoRawFd, OwnedFd};

/// The page's descriptor: `axio stat` finds it under /proc/PID/fd.
static DESCRIPTOR: Kept = Kept::empty();
/// 1 while a thread makes it.
static MAKING: AtomicU32 = AtomicU32::new(0);
/// Sockets that came by.
static ASKED: AtomicU32 = AtomicU32::new(0);
/// Each so many sockets it is tried again to make the page, and looked whether the program has closed the descriptor.
const TURNS: u32 = 64;

/// Makes the page at the first matching socket. Failure leaves counters private and rows absent until a later one.
pub fn ensure_page() {
    let is_turn = ASKED.fetch_add(1, Ordering::Relaxed).is_multiple_of(TURNS);
    if !is_turn || MAKING.swap(1, Ordering::Acquire) != 0 {
        return;
    }
    let page = statistics::page();
    if page.is_null() {
        if let Some(page) = make_page() {
            // SAFETY: the mapping is never unmapped.
            unsafe { statistics::set_page(page) };
        }
    } else {
        show_again(page);
    }
    MAKING.store(0, Ordering::Release);
}

/// A program that closes all descriptors it does not know closes that of the page, too, without which nobody finds it: the
/// page moves to a new file.
fn show_again(page: *mut u8) {
    let kept = DESCRIPTOR.take();
    if !kept.is_some() || kept.get().is_some() {
        DESCRIPTOR.put(kept);
        return;
    }
    let Some(memfd) = make_file() else {
        return;
    };
    // What others count while the page is copied is lost.
    // SAFETY: the page was mapped with that length and is never unmapped; made of atomics.
    let moved = unsafe {
        family::copy_over(
            page,
            used_bytes(page),
            PAGE_BYTES,
            Some(memfd.as_fd()),
            |_| {},
        )
    };
    if moved {
        keep(memfd);
    }
}

/// A file for the page, of its size.
fn make_file() -> Option<OwnedFd> {
    use rustix::fs::MemfdFlags;
    if !fits_file_size(PAGE_BYTES as u64) {
        return None;
    }
    let memfd =
        rustix::fs::memfd_create("axio", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).ok()?;
    rustix::fs::ftruncate(&memfd, PAGE_BYTES as u64).ok()?;
    Some(memfd)
}

/// Nobody but this process may write the file, which is mapped; its descriptor goes to a high number, as programs expect
/// low ones for themselves. The page stays mapped without it.
fn keep(memfd: OwnedFd) {
    use rustix::fs::SealFlags;
    let _ = rustix::fs::fcntl_add_seals(
        &memfd,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL,
    );
    let fresh = Descriptor::from_number(memfd.into_raw_fd());
    if let Ok(kept) = PrivateDescriptor::keep(fresh) {
        DESCRIPTOR.put(kept);
    }
}

/// What of a page was ever written.
fn used_bytes(page: *mut u8) -> usize {
    // SAFETY: an aligned word of the header.
    let rows =
        unsafe { (*page.add(header::ROWS_USED).cast::<AtomicU32>()).load(Ordering::Acquire) };
    ROWS_OFFSET + (rows as usize).min(ROWS) * ROW_BYTES
}

fn make_page() -> Option<*mut u8> {
    use rustix::mm::{MapFlags, ProtFlags};
    let memfd = make_file()?;
    // SAFETY: a fresh mapping of a file of this size.
    let page = unsafe {
        rustix::mm::mmap(
            core::ptr::null_mut(),
            PAGE_BYTES,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            &memfd,
            0,
        )
    }
    .ok()?
    .cast::<u8>();
    let word32 = |offset: usize, value: u32| {
        // SAFETY: an aligned word inside the header.
        unsafe { (*page.add(offset).cast::<AtomicU32>()).store(value, Ordering::Release) };
    };
    word32(header::PROCESS, fastpath::kernel_call::process_id());
    word32(header::VERSION, VERSION);
    // With the id it tells the process that a page is about from a later one.
    let start = fastpath::life::own_start_seen_here();
    // SAFETY: an aligned word inside the header.
    unsafe {
        (*page.add(header::START_TIME).cast::<AtomicU64>()).store(start, Ordering::Release);
    }
    let name = program_name();
    // SAFETY: 32 bytes inside the header.
    unsafe { core::ptr::copy_nonoverlapping(name.as_ptr(), page.add(header::PROGRAM), 32) };
    word32(header::MAGIC, MAGIC);
    keep(memfd);
    Some(page)
}

/// What the kernel calls this program, ended by a zero.
fn program_name() -> [u8; 32] {
    let mut name = [0u8; 32];
    if let Ok(file) = rustix::fs::open(
        c"/proc/self/comm",
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    ) {
        let length = rustix::io::read(&file, &mut name).unwrap_or(0);
        if let Some(last) = name.get_mut(length.saturating_sub(1)) {
            *last = 0;
        }
    }
    name
}

/// Beyond RLIMIT_FSIZE the kernel would not only refuse to make a file grow, it would send SIGXFSZ to the program.
fn fits_file_size(bytes: u64) -> bool {
    const RLIMIT_FSIZE: usize = 1;
    fastpath::kernel_call::resource_limit(RLIMIT_FSIZE).is_ok_and(|limit| bytes <= limit)
}

/// Pages of ancestors, still mapped because rows of connections that came by fork lie there.
static ANCESTORS: [AtomicPtr<u8>; GENERATIONS] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; GENERATIONS];
/// More generations of forks, each with connections of its own, are hardly met.
const GENERATIONS: usize = 32;

/// In a fork child: the page is the parent's; the child makes its own at its next matching socket.
pub fn forget_page() {
    let page = statistics::page();
    // SAFETY: null is allowed.
    unsafe { statistics::set_page(core::ptr::null_mut()) };
    statistics::forget_counts();
    MAKING.store(0, Ordering::Release);
    ASKED.store(0, Ordering::Relaxed);
    if !page.is_null() {
        let free = ANCESTORS
            .iter()
            .find(|place| place.load(Ordering::Relaxed).is_null());
        if let Some(free) = free {
            free.store(page, Ordering::Relaxed);
        }
    }
    DESCRIPTOR.close_in_child();
}

/// Before the process changes who it is: what it counts from now on in rows of its ancestors' pages, they do not see.
/// False without memory.
#[must_use]
pub fn part_from_ancestors() -> bool {
    ANCESTORS
        .iter()
        .map(|place| place.swap(core::ptr::null_mut(), Ordering::Relaxed))
        .filter(|page| !page.is_null())
        // SAFETY: mapped as a page, for the rest of the process's life; made of atomics.
        .all(|page| unsafe { family::copy_over(page, used_bytes(page), PAGE_BYTES, None, |_| {}) })
}

/// Gives an endpoint a row.
pub fn open_row(endpoint: &Endpoint, index: u32, descriptor: c_int, role: u32) {
    let page = statistics::page();
    if page.is_null() || index as usize >= ROWS {
        return;
    }
    // SAFETY: the row lies inside the page.
    unsafe {
        let address = page.add(ROWS_OFFSET + index as usize * ROW_BYTES);
        core::ptr::write_bytes(address, 0, ROW_BYTES);
        endpoint.row.set(address as u64);
        let used = &*page.add(header::ROWS_USED).cast::<AtomicU32>();
        used.fetch_max(index + 1, Ordering::AcqRel);
    }
    set_row32(endpoint, row::DESCRIPTOR, descriptor as u32);
    set_row32(endpoint, row::ROLE, role);
    set_row32(
        endpoint,
        row::REASON,
        endpoint.reason.load(Ordering::Relaxed),
    );
    set_row32(endpoint, row::IN_USE, 1);
}

/// Writes the address pair into the row, once it is known.
pub fn row_pair(endpoint: &Endpoint, pair: &kmod_interface::handshake::AddressPair) {
    let address = endpoint.row.get() as *mut u8;
    if !address.is_null() {
        let bytes = pair.to_bytes();
        // SAFETY: the pair's place inside the row.
        unsafe {
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), address.add(row::PAIR), bytes.len())
        };
    }
}

/// Brings path, state and reason of the row up to date.
pub fn update_row(endpoint: &Endpoint) {
    let status = status_of(endpoint);
    set_row32(endpoint, row::PATH, status.path);
    set_row32(endpoint, row::STATE, status.state);
    set_row32(endpoint, row::REASON, status.reason);
}

/// After a call that may have moved a direction from one carrier to the other: the row says so.
#[inline]
pub fn after_switch(stream: &Stream) {
    if stream.switched.get() {
        update_row(stream.endpoint);
    }
}

/// Which words of a row are summed up in which counter of the process.
const ROW_TOTALS: [(usize, Counter); 8] = [
    (row::KERNEL_BYTES_IN, Counter::KernelBytesIn),
    (row::KERNEL_BYTES_OUT, Counter::KernelBytesOut),
    (row::RING_BYTES_IN, Counter::RingBytesIn),
    (row::RING_BYTES_OUT, Counter::RingBytesOut),
    (row::KERNEL_CALLS_IN, Counter::KernelCalls),
    (row::KERNEL_CALLS_OUT, Counter::KernelCalls),
    (row::RING_CALLS_IN, Counter::RingCalls),
    (row::RING_CALLS_OUT, Counter::RingCalls),
];

struct OpenSockets {
    counters: [u64; 64],
    reasons: [u64; 64],
}

/// Sums of the sockets that are still open here and nowhere else: those of several processes are the last one's to tell.
fn open_sockets() -> OpenSockets {
    let mut sums = OpenSockets {
        counters: [0; 64],
        reasons: [0; 64],
    };
    let Some(place) = fastpath::family::process_place() else {
        return sums;
    };
    for index in 0..fastpath::family::endpoints_used() {
        let Some(endpoint) = fastpath::family::endpoint(index) else {
            break;
        };
        // A row lies in a page of the process that opened the socket; whoever holds it has that page, too.
        let is_held = endpoint
            .holder(place)
            .is_some_and(|holder| holder.numbers.load(Ordering::Relaxed) != 0);
        if !is_held || endpoint.has_other_holder(place) {
            continue;
        }
        for (offset, counter) in ROW_TOTALS {
            if let Some(sum) = sums.counters.get_mut(counter as usize) {
                *sum += row_value64(endpoint, offset);
            }
        }
        if let Some(sum) = sums.reasons.get_mut(status_of(endpoint).reason as usize) {
            *sum += 1;
        }
    }
    sums
}

/// The endpoint has ended: its counts go to the process's.
pub fn close_row(endpoint: &Endpoint) {
    for (offset, counter) in ROW_TOTALS {
        let value = row_value64(endpoint, offset);
        // Adding is a locked instruction, and most connections use one carrier.
        if value != 0 {
            statistics::count(counter, value);
        }
    }
    statistics::count_reason(status_of(endpoint).reason, 1);
    set_row32(endpoint, row::IN_USE, 0);
    endpoint.row.set(0);
}

/// What the status ioctl answers.
#[must_use]
pub fn status_of(endpoint: &Endpoint) -> Status {
    let bound = endpoint.binding.load(Ordering::Acquire);
    let on_ring = bound == binding::BOUND && (endpoint.tx_ep.get() | endpoint.rx_ep.get()) & 1 == 1;
    let state = match bound {
        binding::BOUND if on_ring => 4,
        binding::BOUND if endpoint.switches.get() > 0 => 5,
        binding::BOUND => 3,
        binding::NONE if endpoint.negotiation.load(Ordering::Relaxed) != 0 => 2,
        binding::NONE => 1,
        _ => 5,
    };
    // Given up, a direction can still be on its ring until the far side makes its next call: the reason says why.
    let wished = endpoint.wished.load(Ordering::Relaxed) != 0;
    let reason = if on_ring && wished && endpoint.over.get() == 0 {
        Reason::None as u32
    } else if state == 2 {
        Reason::Negotiating as u32
    } else {
        endpoint.reason.load(Ordering::Relaxed)
    };
    Status {
        version: 1,
        path: u32::from(on_ring),
        state,
        reason,
        kernel_bytes_in: row_value64(endpoint, row::KERNEL_BYTES_IN),
        kernel_bytes_out: row_value64(endpoint, row::KERNEL_BYTES_OUT),
        ring_bytes_in: row_value64(endpoint, row::RING_BYTES_IN),
        ring_bytes_out: row_value64(endpoint, row::RING_BYTES_OUT),
        switches_out: row_value32(endpoint, row::UPGRADES_OUT)
            + row_value32(endpoint, row::RETREATS_OUT),
        switches_in: row_value32(endpoint, row::UPGRADES_IN)
            + row_value32(endpoint, row::RETREATS_IN),
        reserved: [0; 2],
    }
}

/// Appends the report line of `AXIO_REPORT` (TRUST.md row 23: regular file, no link followed, mode 0600). Of a process
/// that opened no matching socket there is none, unless it has used those of its parent.
pub fn report() {
    let path = &process::settings().report;
    if path.is_empty() {
        return;
    }
    let open = open_sockets();
    let has_counts =
        statistics::has_private_counts() || open.counters.iter().any(|count| *count != 0);
    if statistics::page().is_null() && !has_counts {
        return;
    }
    let mut text = Text {
        bytes: [0; 4096],
        length: 0,
    };
    text.push(b"{\"program\":\"");
    for byte in program_name() {
        if byte == 0 {
            break;
        }
        text.push(if byte < 32 || byte == b'"' || byte == b'\\' {
            b"?"
        } else {
            core::slice::from_ref(&byte)
        });
    }
    text.push(b"\",\"pid\":");
    text.number(u64::from(fastpath::kernel_call::process_id()));
    for counter in Counter::ALL {
        text.push(b",\"");
        text.push(counter.name().as_bytes());
        text.push(b"\":");
        text.number(
            statistics::value(*counter)
                + open.counters.get(*counter as usize).copied().unwrap_or(0),
        );
    }
    text.push(b",\"reasons\":{");
    let mut first = true;
    for reason in Reason::ALL {
        let value = statistics::reason_value(*reason as u32)
            + open.reasons.get(*reason as usize).copied().unwrap_or(0);
        if value > 0 {
            text.push(if first { b"\"" } else { b",\"" });
            text.push(reason.name().as_bytes());
            text.push(b"\":");
            text.number(value);
            first = false;
        }
    }
    text.push(b"}}\n");
    use rustix::fs::{FileType, Mode, OFlags};
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(path.as_c_str(), flags, Mode::RUSR | Mode::WUSR) else {
        return;
    };
    let may_grow = rustix::fs::fstat(&file).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && fits_file_size((stat.st_size as u64).saturating_add(text.length as u64))
    });
    if may_grow {
        let _ = rustix::io::write(&file, text.bytes.get(..text.length).unwrap_or(&[]));
    }
}

struct Text {
    bytes: [u8; 4096],
    length: usize,
}

impl Text {
    fn push(&mut self, part: &[u8]) {
        for byte in part {
            if let Some(place) = self.bytes.get_mut(self.length) {
                *place = *byte;
                self.length += 1;
            }
        }
    }
    fn number(&mut self, mut value: u64) {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        loop {
            at = at.saturating_sub(1);
            if let Some(place) = digits.get_mut(at) {
                *place = b'0' + (value % 10) as u8;
            }
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.push(digits.get(at..).unwrap_or(&[]));
    }
}
