//! A far side that writes what no far side may, between any two looks of this one: calls come back, and what was moved is
//! what they say. What must come of it is said in PROTOCOL.md §13.
//!
//! No two threads would meet as closely: where they share a processor, the far side acts between two calls only.

use crate::connection::Connection;
use crate::world::{Kind, OneProcess};
use fastpath::endpoint::{Endpoint, Plain32, pestered};
use fastpath::ict::{FarEntry, OwnEntry};
use fastpath::path::faulty::{Faulty, Plan};
use fastpath::path::in_process::InProcess;
use fastpath::sync::Ordering;
use kmod_interface::limits::SWITCHES_PER_CALL;
use std::cell::Cell;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::rc::Rc;

/// C is the victim, S lies.
fn on_ring() -> Connection<Faulty<InProcess>> {
    let paths = Faulty::pair(OneProcess::pair(0), [Plan::PROMPT; 2]).expect("memory");
    let mut connection = Connection::new(paths, 5);
    connection.upgrade();
    connection.is_honest = false;
    connection
}

/// The liar's entry, and what it sees of the victim's.
fn entries(connection: &Connection<Faulty<InProcess>>) -> (OwnEntry, FarEntry) {
    let liar = &connection.sides[1];
    let slot = liar.endpoint.slot.get();
    (
        liar.channel.own_entry(slot).expect("entry"),
        liar.channel.far_entry(slot).expect("entry"),
    )
}

/// One call notices a far side that switches without end, comes back, and has not switched often. `lie` says whether it
/// changed anything.
fn must_be_noticed(
    connection: &mut Connection<Faulty<InProcess>>,
    epoch: impl Fn(&Endpoint) -> &Plain32,
    mut lie: impl FnMut() -> bool + 'static,
    call: impl FnOnce(&mut Connection<Faulty<InProcess>>),
) {
    let victim = connection.sides[0].endpoint;
    let before = epoch(victim).get();
    // Far more than may be passed, so that a call that follows them to their end is seen, and ends.
    let lies = Rc::new(Cell::new(0));
    let told = lies.clone();
    connection.joined.paths[0].act_before_looks(move || {
        if told.get() < 100 * SWITCHES_PER_CALL && lie() {
            told.set(told.get() + 1);
        }
    });
    call(connection);
    let switches = epoch(victim).get().wrapping_sub(before);
    // To the ring and back again, each; and those that were under way.
    assert!(
        (SWITCHES_PER_CALL..=2 * SWITCHES_PER_CALL + 2).contains(&switches),
        "{switches} switches in one call, {} offered",
        lies.get()
    );
    assert_eq!(victim.pestered.load(Ordering::Acquire), pestered::NOTICED);
}

#[test]
fn a_receive_comes_back_from_a_far_side_that_switches_without_end() {
    let mut connection = on_ring();
    let (own, far) = entries(&connection);
    let lie = move || {
        // Both switches are made before the victim has passed the first of them, and no bell belongs to them.
        let passed = far.rx_ep().load(Ordering::Acquire);
        own.kr()
            .store(far.krx().load(Ordering::Acquire), Ordering::Relaxed);
        let ep = if passed & 1 == 0 {
            passed + 2
        } else {
            passed + 1
        };
        let changes = own.ep().load(Ordering::Relaxed) != ep;
        own.ep().store(ep, Ordering::Release);
        changes
    };
    must_be_noticed(
        &mut connection,
        |victim| &victim.rx_ep,
        lie,
        |connection| {
            connection.receive(0, 100, false);
        },
    );
}

#[test]
fn a_send_comes_back_from_a_far_side_that_takes_back_without_end() {
    let mut connection = on_ring();
    let (own, far) = entries(&connection);
    let victim = connection.sides[0].endpoint;
    let line = connection.sides[1].descriptor();
    let lie = move || {
        // Time passes, too: an upgrade may be tried again.
        victim.upgrade_after_ns.set(0);
        let ep = far.ep().load(Ordering::Acquire);
        own.want().store(ep | 1, Ordering::Relaxed);
        if ep & 1 == 1 {
            let mut drained = [0_u8; 4096];
            // SAFETY: the buffer.
            unsafe {
                let buffer = drained.as_mut_ptr().cast();
                libc::recv(line, buffer, drained.len(), libc::MSG_DONTWAIT);
            }
            return false;
        }
        own.head()
            .store(far.tail().load(Ordering::Acquire), Ordering::Relaxed);
        own.krx()
            .store(far.kr().load(Ordering::Acquire), Ordering::Relaxed);
        own.rx_ep().store(ep, Ordering::Release);
        let grants = own.grant().load(Ordering::Relaxed) != ep + 1;
        own.grant().store(ep + 1, Ordering::Release);
        grants
    };
    must_be_noticed(
        &mut connection,
        |victim| &victim.tx_ep,
        lie,
        |connection| {
            let stream = connection.sides[0].stream();
            // Nothing is sent by the kernel, so that what the far side says of its counts stays true.
            if stream.enter_kernel_send_if_even() {
                stream.kernel_sent(0);
            }
        },
    );
}

#[test]
fn a_file_that_was_sent_in_part_was_sent() {
    // A file on a disk, and in memory: this program.
    let file = File::open(std::env::current_exe().expect("own path")).expect("own program");
    let mut parts = 0;
    for honest_looks in 0..8 {
        let connection = on_ring();
        let (own, _) = entries(&connection);
        let victim = connection.sides[0].endpoint;
        let looks = Cell::new(0);
        connection.joined.paths[0].act_before_looks(move || {
            // The first looks find everything taken, the others a head that cannot be.
            let tail = victim.tx_tail.get();
            let is_honest = looks.get() < honest_looks;
            looks.set(looks.get() + 1);
            own.head().store(
                if is_honest { tail } else { tail + (1 << 40) },
                Ordering::Release,
            );
        });
        let ring_bytes = victim.tx_ring_bytes.get() as usize;
        let whole = ring_bytes * 3 / 2;
        let before = victim.tx_tail.get();
        let sent = connection.sides[0]
            .stream()
            .send_file_quickly(file.as_raw_fd(), 0, whole);
        let moved = (victim.tx_tail.get() - before) as usize;
        assert_eq!(sent.unwrap_or(0), moved, "{honest_looks}");
        parts += u32::from((1..whole).contains(&moved));
    }
    assert!(parts > 0, "no file was sent in part");
}
