//! What is told of one socket: its row in the statistics page, and the answer of the status ioctl.
#![expect(unsafe_code, reason = "writes words of the mapped statistics page")]

use core::ffi::c_int;
use core::sync::atomic::{AtomicU32, Ordering};
use fastpath::endpoint::{Endpoint, binding};
use fastpath::family;
use fastpath::statistics::{self, Row};
use fastpath::stream::Stream;
use kmod_interface::ioctl::{STATUS_VERSION, Status, path, state};
use kmod_interface::reason::Reason;
use kmod_interface::statistics::{Counter, ROW_BYTES, ROWS, ROWS_OFFSET, header, row};

/// Gives an endpoint a row. The caller keeps its life from ending, or has the block for itself.
pub fn open_row(endpoint: &Endpoint, index: u32, descriptor: c_int, role: u32) {
    let page = statistics::page();
    if page.is_null() || index as usize >= ROWS {
        return;
    }
    // SAFETY: the row lies inside the page.
    unsafe {
        let address = page.add(ROWS_OFFSET + index as usize * ROW_BYTES);
        // All of it: what was killed has closed no row.
        core::ptr::write_bytes(address, 0, ROW_BYTES);
        // Release, partner: the acquire in `Row::of`.
        endpoint.row.publish(address as u64);
        let used = &*page.add(header::ROWS_USED).cast::<AtomicU32>();
        if used.load(Ordering::Relaxed) <= index {
            used.fetch_max(index + 1, Ordering::AcqRel);
        }
    }
    let opened = Row::of(endpoint);
    opened.set32(row::DESCRIPTOR, descriptor as u32);
    opened.set32(row::ROLE, role);
    opened.set32(row::REASON, endpoint.reason.load(Ordering::Relaxed));
    opened.set32(row::IN_USE, 1);
}

/// Gives an endpoint the row that it could not have at first: no page could be made. No relative holds the endpoint, so
/// nobody sees a row in a page that it has not. True when it has one now and had none.
pub fn open_missing_row(stream: &Stream) -> bool {
    let endpoint = stream.endpoint;
    if endpoint.row.get() != 0 {
        return false;
    }
    let Some(index) = family::index_of(endpoint) else {
        return false;
    };
    // In another life the block may be a relative's, which has not this page.
    stream.while_it_lives(|| {
        if endpoint.row.get() == 0 {
            open_row(endpoint, index, stream.descriptor, endpoint.role.get());
        }
    }) && endpoint.row.get() != 0
}

/// A page was just made: sockets that were opened meanwhile get their rows now. (One that is not in the table yet gets it at
/// its first chance.)
pub(super) fn open_missing_rows() {
    let Some(place) = family::process_place() else {
        return;
    };
    crate::fd_table::for_each_stream(|stream| {
        if !stream.endpoint.has_other_holder(place) {
            open_missing_row(&stream);
        }
    });
}

/// Writes the address pair into the row, once it is known.
pub fn row_pair(stream: &Stream, pair: &kmod_interface::handshake::AddressPair) {
    let shown = Row::in_life(stream.endpoint, stream.generation);
    for (index, word) in pair.to_bytes().chunks_exact(4).enumerate() {
        let word = word.try_into().map_or(0, u32::from_ne_bytes);
        shown.set32(row::PAIR + 4 * index, word);
    }
}

/// Brings path, state and reason of the row up to date.
pub fn update_row(stream: &Stream) {
    let status = status_of(stream);
    let shown = Row::in_life(stream.endpoint, stream.generation);
    shown.set32(row::PATH, status.path);
    shown.set32(row::STATE, status.state);
    shown.set32(row::REASON, status.reason);
}

/// After a call that may have moved a direction from one carrier to the other: the row says so.
#[inline]
pub fn after_switch(stream: &Stream) {
    if stream.switched.get() {
        update_row(stream);
    }
}

/// What the endpoint adds to the process's counters. Bytes are its own count; it may have had no row for a while.
pub(super) fn totals(endpoint: &Endpoint, shown: Row) -> [(Counter, u64); 6] {
    let bytes = |word: &fastpath::sync::AtomicU64| word.load(Ordering::Relaxed);
    let ring_calls = endpoint.ring_calls_in.get() + endpoint.ring_calls_out.get();
    [
        (Counter::KernelBytesIn, bytes(&endpoint.kernel_bytes_in)),
        (Counter::KernelBytesOut, bytes(&endpoint.kernel_bytes_out)),
        (Counter::KernelCalls, shown.kernel_calls(endpoint)),
        (Counter::RingBytesIn, endpoint.bytes_in.get()),
        (Counter::RingBytesOut, endpoint.bytes_out.get()),
        (Counter::RingCalls, ring_calls),
    ]
}

/// The endpoint has ended, by the caller's doing: its counts go to the process's.
pub fn close_row(endpoint: &Endpoint) {
    let closed = Row::of(endpoint);
    for (counter, value) in totals(endpoint, closed) {
        // Adding is a locked instruction, and most connections use one carrier.
        if value != 0 {
            statistics::count(counter, value);
        }
    }
    statistics::count_reason(reason_of(endpoint), 1);
    closed.set32(row::IN_USE, 0);
    endpoint.row.set(0);
}

/// Whether a direction is on its ring. What is sent behind a rewind is not, though that changes no epoch.
fn is_on_ring(endpoint: &Endpoint, bound: u32) -> bool {
    let receives = endpoint.rx_ep.get() & 1 == 1;
    let sends = endpoint.tx_ep.get() & 1 == 1 && endpoint.over.get() == 0;
    bound == binding::BOUND && (sends || receives)
}

/// The reason that is shown for the endpoint.
pub(super) fn reason_of(endpoint: &Endpoint) -> u32 {
    let bound = endpoint.binding.load(Ordering::Acquire);
    // Given up, a direction can still be on its ring until the far side makes its next call: the reason says why.
    let wished = endpoint.wished.load(Ordering::Relaxed) != 0;
    if is_on_ring(endpoint, bound) && wished && endpoint.over.get() == 0 {
        Reason::None as u32
    } else if bound == binding::NONE && endpoint.negotiation.load(Ordering::Relaxed) != 0 {
        Reason::Negotiating as u32
    } else {
        endpoint.reason.load(Ordering::Relaxed)
    }
}

/// What the status ioctl answers.
#[must_use]
pub fn status_of(stream: &Stream) -> Status {
    let endpoint = stream.endpoint;
    let shown = Row::in_life(endpoint, stream.generation);
    let bound = endpoint.binding.load(Ordering::Acquire);
    let on_ring = is_on_ring(endpoint, bound);
    let state = match bound {
        binding::BOUND if on_ring => state::ACCELERATED,
        binding::BOUND if endpoint.switches.get() > 0 => state::RETREATED,
        binding::BOUND => state::BOUND,
        binding::NONE if endpoint.negotiation.load(Ordering::Relaxed) != 0 => state::NEGOTIATING,
        binding::NONE => state::WATCHING,
        _ => state::RETREATED,
    };
    Status {
        version: STATUS_VERSION,
        path: if on_ring {
            path::SHARED_MEMORY
        } else {
            path::KERNEL
        },
        state,
        reason: reason_of(endpoint),
        kernel_bytes_in: endpoint.kernel_bytes_in.load(Ordering::Relaxed),
        kernel_bytes_out: endpoint.kernel_bytes_out.load(Ordering::Relaxed),
        ring_bytes_in: endpoint.bytes_in.get(),
        ring_bytes_out: endpoint.bytes_out.get(),
        switches_out: shown.value32(row::UPGRADES_OUT) + shown.value32(row::RETREATS_OUT),
        switches_in: shown.value32(row::UPGRADES_IN) + shown.value32(row::RETREATS_IN),
        reserved: [0; 2],
    }
}

#[cfg(test)]
mod tests {
    use super::{open_missing_row, open_row, update_row};
    use fastpath::family;
    use fastpath::statistics::{self, Row, count_in_life, count_sleep};
    use fastpath::stream::Stream;
    use fastpath::sync::Ordering;
    use kmod_interface::statistics::{Counter, PAGE_BYTES, row};

    #[test]
    fn a_call_of_a_life_that_has_ended_opens_no_row_and_writes_in_no_other_lifes() {
        family::ensure().expect("family memory");
        let place = family::process_place().expect("a place");
        let page = Vec::leak(vec![0u64; PAGE_BYTES / 8]).as_mut_ptr();
        // SAFETY: of that length, and never freed.
        unsafe { statistics::set_page(page.cast()) };
        let (index, endpoint) = family::begin_endpoint(place, |_, _| {}).expect("an endpoint");
        let life = endpoint.generation.load(Ordering::Acquire);
        let last = Stream::new(endpoint, life, -1, crate::boundary::me());
        assert!(open_missing_row(&last), "a page came late");
        assert!(!open_missing_row(&last), "it has one");
        let counts = || {
            [row::KERNEL_SLEEPS, row::SPINS_WON, row::STATE]
                .map(|offset| Row::of(endpoint).value32(offset))
        };
        let act = || {
            count_sleep(endpoint, life);
            count_in_life(endpoint, life, Counter::SpinsWon);
            update_row(&last);
        };
        act();
        let [sleeps, spins, state] = counts();
        assert!((sleeps, spins) == (1, 1) && state != 0);
        // Killed before it could close its row; and another process has the block.
        assert!(last.retire());
        endpoint.row.set(0);
        assert!(!open_missing_row(&last));
        assert_eq!(endpoint.row.get(), 0, "a row for another life");
        open_row(endpoint, index, -1, 0);
        assert_eq!(
            counts(),
            [0; 3],
            "a row begins with what another one has left"
        );
        act();
        assert_eq!(counts(), [0; 3], "a row of another life is written to");
        endpoint.remove_number(place);
        family::free_endpoint(index);
    }
}
