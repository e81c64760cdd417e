//! The contract itself, P1 to P12, on two bare ends.

use crate::world::{Kind, soon, soon_true, tcp_pair};
use fastpath::kernel_call;
use fastpath::path::Path;
use fastpath::sync::{Ordering, full_fence};
use kmod_interface::channel_layout::CLASSES;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicU32;

/// An entry's place, where only the facts write.
const PLACE: usize = 64 << 10;
/// Another line.
const OTHER: usize = PLACE + 192;

fn words<End: Path>(end: &End) -> impl Iterator<Item = usize> {
    (0..end.own().layout().region_bytes as usize).step_by(4)
}

pub fn both_memories_have_the_size_of_their_class<K: Kind>() {
    for (class, layout) in (0..).zip(CLASSES) {
        let ends = K::pair(class);
        for end in &ends {
            assert_eq!((end.own().class(), end.far().class()), (class, class));
            assert_eq!((end.own().layout(), end.far().layout()), (layout, layout));
            let last = layout.region_bytes as usize - 8;
            end.own()
                .word64(last)
                .store(class.into(), Ordering::Release);
        }
        for end in &ends {
            let last = end.far().word64(layout.region_bytes as usize - 8);
            soon_true(|| last.load(Ordering::Acquire) == class.into());
        }
        ends.iter().for_each(Path::unmap);
    }
}

/// P10.
pub fn both_memories_are_zeros_before_the_first_store<K: Kind>() {
    let ends = K::pair(0);
    for end in &ends {
        for offset in words(end) {
            assert_eq!(end.own().word32(offset).load(Ordering::Relaxed), 0);
            assert_eq!(end.far().word32(offset).load(Ordering::Relaxed), 0);
        }
    }
    ends.iter().for_each(Path::unmap);
}

/// P1, P2.
pub fn a_store_appears_at_the_far_end_and_nowhere_else<K: Kind>() {
    let [near, far] = K::pair(0);
    let value = 0x0123_4567_89ab_cdef;
    near.own().word64(PLACE).store(value, Ordering::Release);
    far.own().word64(PLACE).store(!value, Ordering::Release);
    let seen = |end: &K::End| {
        soon(|| Some(end.far().word64(PLACE).load(Ordering::Acquire)).filter(|value| *value != 0))
    };
    assert_eq!((seen(&far), seen(&near)), (value, !value));
    for end in [&near, &far] {
        for offset in words(end).filter(|offset| !(PLACE..PLACE + 8).contains(offset)) {
            assert_eq!(end.own().word32(offset).load(Ordering::Relaxed), 0);
            assert_eq!(end.far().word32(offset).load(Ordering::Relaxed), 0);
        }
    }
    near.unmap();
    far.unmap();
}

/// P7.
pub fn a_side_reads_back_what_it_stored<K: Kind>() {
    let [near, far] = K::pair(0);
    for value in 1..1000 {
        near.own().word32(PLACE).store(value, Ordering::Relaxed);
        far.own().word32(PLACE).store(value + 7, Ordering::Relaxed);
        assert_eq!(near.own().word32(PLACE).load(Ordering::Relaxed), value);
        assert_eq!(far.own().word32(PLACE).load(Ordering::Relaxed), value + 7);
        let exchanged = near.own().word32(OTHER).compare_exchange(
            value - 1,
            value,
            Ordering::SeqCst,
            Ordering::Relaxed,
        );
        assert_eq!(exchanged, Ok(value - 1));
    }
    near.unmap();
    far.unmap();
}

/// P3.
pub fn stores_come_into_view_in_their_order_and_never_go_back<K: Kind>() {
    let [near, far] = K::pair(0);
    let (first, second) = (near.own().word64(PLACE), near.own().word32(OTHER));
    let (see_first, see_second) = (far.far().word64(PLACE), far.far().word32(OTHER));
    let (mut first_before, mut second_before) = (0, 0);
    for value in 1..20_000_u32 {
        first.store(value.into(), Ordering::Relaxed);
        second.store(value, Ordering::Release);
        let seen_second = see_second.load(Ordering::Acquire);
        let seen_first = see_first.load(Ordering::Acquire);
        assert!(
            seen_first >= seen_second.into(),
            "{seen_first} {seen_second}"
        );
        assert!(seen_first >= first_before && seen_second >= second_before);
        assert!(seen_first <= value.into(), "from the future");
        (first_before, second_before) = (seen_first, seen_second);
    }
    near.unmap();
    far.unmap();
}

/// P4.
pub fn a_store_comes_into_view_by_looking_alone<K: Kind>() {
    let [near, far] = K::pair(0);
    for value in 1..500 {
        near.own().word32(PLACE).store(value, Ordering::Release);
        soon_true(|| far.far().word32(PLACE).load(Ordering::Acquire) == value);
    }
    near.unmap();
    far.unmap();
}

/// P5, in the order in which one thread runs both: who fenced first is seen by who fenced last.
pub fn of_two_sides_that_store_fence_and_load_one_sees_the_other<K: Kind>() {
    let [near, far] = K::pair(0);
    for value in 1..2000 {
        near.own().word32(PLACE).publish_and_fence(value);
        let seen_by_near = near.far().word32(PLACE).load(Ordering::Relaxed);
        far.own().word32(PLACE).publish_and_fence(value);
        let seen_by_far = far.far().word32(PLACE).load(Ordering::Relaxed);
        assert!(seen_by_near == value || seen_by_far == value);
        // All that lay before the fence, not the last word alone.
        near.own().word32(OTHER).store(value, Ordering::Relaxed);
        near.own().word32(PLACE).publish_and_fence(value);
        far.own().word32(OTHER).publish_and_fence(value);
        assert_eq!(far.far().word32(OTHER).load(Ordering::Relaxed), value);
    }
    near.unmap();
    far.unmap();
}

/// P5: ready bits rest on it.
pub fn a_locked_store_is_a_fence_too<K: Kind>() {
    let [near, far] = K::pair(0);
    for value in 1..2000 {
        near.own().word64(OTHER).store(value, Ordering::Relaxed);
        let exchanged = near.own().word64(PLACE).compare_exchange(
            value - 1,
            value,
            Ordering::SeqCst,
            Ordering::Relaxed,
        );
        assert_eq!(exchanged, Ok(value - 1));
        far.own().word64(PLACE).publish_and_fence(value);
        assert_eq!(far.far().word64(OTHER).load(Ordering::Relaxed), value);
        assert_eq!(far.far().word64(PLACE).load(Ordering::Relaxed), value);
    }
    near.unmap();
    far.unmap();
}

/// P5, with two threads on two processors.
pub fn of_two_threads_that_store_fence_and_load_one_sees_the_other<K: Kind>() {
    const ROUNDS: u32 = 20_000;
    let [near, far] = K::pair(0);
    let arrived = AtomicU32::new(0);
    let play = |end: K::End| {
        let arrived = &arrived;
        move || {
            let mut seen = Vec::new();
            for round in 1..=ROUNDS {
                arrived.fetch_add(1, Ordering::SeqCst);
                while arrived.load(Ordering::SeqCst) < 2 * round {
                    std::thread::yield_now();
                }
                end.own().word32(PLACE).publish_and_fence(round);
                seen.push(end.far().word32(PLACE).load(Ordering::Relaxed) >= round);
            }
            seen
        }
    };
    let (by_near, by_far) = std::thread::scope(|scope| {
        let (near, far) = (scope.spawn(play(near)), scope.spawn(play(far)));
        (near.join().unwrap(), far.join().unwrap())
    });
    let unseen = by_near
        .iter()
        .zip(&by_far)
        .filter(|(near, far)| !**near && !**far);
    assert_eq!(unseen.count(), 0);
    near.unmap();
    far.unmap();
}

/// P6.
pub fn what_was_given_to_the_kernel_is_behind_what_was_stored<K: Kind>() {
    let [near, far] = K::pair(0);
    let [near_socket, far_socket] = tcp_pair();
    for value in 1..300 {
        near.own().word32(PLACE).store(value, Ordering::Release);
        let mut byte = 0_u8;
        // SAFETY: one local byte each.
        unsafe {
            let sent = kernel_call::send(near_socket.as_raw_fd(), &raw const byte, 1, 0);
            let taken = kernel_call::receive(far_socket.as_raw_fd(), &raw mut byte, 1, 0);
            assert_eq!((sent, taken), (Ok(1), Ok(1)));
        }
        assert_eq!(far.far().word32(PLACE).load(Ordering::Acquire), value);
    }
    near.unmap();
    far.unmap();
}

/// P8: the kernel refuses to write there, as the processor would.
pub fn the_far_memory_cannot_be_stored_to<K: Kind>() {
    let ends = K::pair(0);
    for end in &ends {
        let (from, mut to) = std::io::pipe().unwrap();
        to.write_all(b"scribbled").unwrap();
        let taken = |target: *mut u8| {
            // SAFETY: the kernel checks the target itself.
            unsafe { libc::read(from.as_raw_fd(), target.cast(), 4) }
        };
        assert_eq!(taken(end.far().base().wrapping_add(PLACE)), -1);
        assert_eq!(
            std::io::Error::last_os_error().raw_os_error(),
            Some(libc::EFAULT)
        );
        assert_eq!(taken(end.own().base().wrapping_add(PLACE)), 4);
    }
    ends.iter().for_each(Path::unmap);
}

/// P11.
pub fn retired_memory_is_zeros_and_stores_into_it_reach_nobody<K: Kind>() {
    let [near, far] = K::pair(0);
    near.own().word32(PLACE).publish_and_fence(1);
    far.own().word32(PLACE).publish_and_fence(2);
    let handles = (near.own().word32(PLACE), near.far().word32(PLACE));
    near.retire();
    for offset in words(&near) {
        assert_eq!(near.own().word32(offset).load(Ordering::Relaxed), 0);
        assert_eq!(near.far().word32(offset).load(Ordering::Relaxed), 0);
    }
    // A thread that was still on its way in.
    handles.0.store(3, Ordering::Release);
    full_fence();
    far.own().word32(PLACE).publish_and_fence(4);
    assert_eq!(handles.1.load(Ordering::Acquire), 0);
    for _ in 0..crate::world::SOME_LOOKS {
        assert_eq!(far.far().word32(PLACE).load(Ordering::Acquire), 1);
    }
    assert_eq!(far.own().word32(PLACE).load(Ordering::Relaxed), 4);
    near.unmap();
    far.unmap();
}

/// P9: also what was on its way only.
pub fn what_an_ended_side_had_stored_stays_readable<K: Kind>() {
    let [near, far] = K::pair(0);
    for index in 0..100 {
        near.own()
            .word32(PLACE + index * 4)
            .store(index as u32 + 1, Ordering::Release);
    }
    near.retire();
    near.unmap();
    for index in 0..100 {
        let word = far.far().word32(PLACE + index * 4);
        soon_true(|| word.load(Ordering::Acquire) == index as u32 + 1);
    }
    // What one has stored oneself is nobody else's to end.
    far.own().word32(PLACE).store(7, Ordering::Release);
    assert_eq!(far.own().word32(PLACE).load(Ordering::Relaxed), 7);
    far.unmap();
}

/// P12, P11.
pub fn a_fork_child_stores_for_its_side_and_its_end_is_its_own<K: Kind>() {
    let [near, far] = K::pair(0);
    far.own().word32(PLACE).store(5, Ordering::Release);
    // SAFETY: the child makes no call that could need a lock of another thread, and ends by _exit.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let sees = near.far().word32(PLACE).load(Ordering::Acquire) == 5;
        near.own().word32(PLACE).store(6, Ordering::Release);
        near.retire();
        let is_gone = near.far().word32(PLACE).load(Ordering::Acquire) == 0;
        // SAFETY: as above.
        unsafe { libc::_exit(i32::from(!(sees && is_gone))) };
    }
    let mut status = 0;
    // SAFETY: a local status.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "see the child's conditions");
    assert_eq!(far.far().word32(PLACE).load(Ordering::Acquire), 6);
    assert_eq!(near.own().word32(PLACE).load(Ordering::Acquire), 6);
    assert_eq!(near.far().word32(PLACE).load(Ordering::Acquire), 5);
    near.unmap();
    far.unmap();
}
