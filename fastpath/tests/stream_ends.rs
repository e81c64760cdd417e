//! Ends of a stream at one chosen moment each: who leaves, closes and shuts down, and what the far side sees.
//! What must come of them is said in PROTOCOL.md §12.
#![allow(unsafe_code, reason = "descriptors and buffers of the test itself")]

mod channel_pair;
mod stream_pair;
mod traffic;

use fastpath::endpoint::binding;
use fastpath::stream::leave::Successor;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};
use stream_pair::{Pair, fill_kernel, is_bound_as, receive, send, wait_for_end};
use traffic::Side;

/// What becomes of a connection that is left while the far side stands still between announcing and ringing.
fn leave_beside_an_announcer(successor: Successor) -> u32 {
    let pair = Pair::on_ring();
    pair.own_entry(pair.s).ringing().store(1, Ordering::Release);
    assert!(pair.c.stream().leave(successor).left);
    is_bound_as(pair.c)
}

#[test]
fn a_leaver_resets_when_the_far_side_stops_between_announcing_and_ringing() {
    assert_eq!(
        leave_beside_an_announcer(Successor::Stranger),
        binding::CONDEMNED
    );
}

#[test]
fn who_closes_leaves_although_the_far_side_is_stopped() {
    assert_eq!(leave_beside_an_announcer(Successor::Nobody), binding::LEFT);
}

#[test]
fn who_leaves_for_itself_stays_while_it_could_only_reset_and_leaves_later() {
    let pair = Pair::on_ring();
    assert!(send(pair.s, 50));
    pair.s.stream().release();
    assert!(send(pair.s, 60));
    assert!(!pair.c.stream().leave(Successor::Ourselves).left);
    assert_eq!(is_bound_as(pair.c), binding::BOUND);
    let mut taken = 0;
    // What the kernel was given may come behind an acknowledgement.
    let until = Instant::now() + Duration::from_secs(60);
    while taken < 110 {
        taken += receive(pair.c, 200);
        assert!(Instant::now() < until, "{taken} bytes of 110");
    }
    assert_eq!(taken, 110);
    assert!(pair.c.stream().leave(Successor::Ourselves).left);
    assert_eq!(is_bound_as(pair.c), binding::LEFT);
}

#[test]
fn what_does_not_fit_the_kernel_any_more_is_a_reset_and_no_clean_end() {
    // Ring bytes that the far side has not read find no room when it has left.
    let without_room = || {
        let pair = Pair::on_ring();
        assert!(send(pair.c, 50));
        fill_kernel(pair.c);
        pair.own_entry(pair.s).gone().store(1, Ordering::Release);
        pair
    };
    // Both leave.
    let pair = without_room();
    assert!(pair.c.stream().leave(Successor::Nobody).left);
    assert_eq!(is_bound_as(pair.c), binding::CONDEMNED);

    // The same by shutdown, of a descriptor that must not block.
    let pair = without_room();
    pair.sockets[0].set_nonblocking(true).unwrap();
    assert!(!pair.c.stream().begin_shutdown());
    assert_eq!(is_bound_as(pair.c), binding::CONDEMNED);
}

/// Holds both locks of the connecting end of a pair in a LEAVE that waits for the far side, for as long as `meanwhile`
/// lasts. The far side is waited for a second at most: on a machine that stood still for so long, once more.
fn while_it_leaves<T: Send>(meanwhile: impl Fn(&Pair) -> T + Sync) -> T {
    for _ in 0..8 {
        let pair = Pair::on_ring();
        let began = Instant::now();
        let result = meanwhile_on(&pair, || meanwhile(&pair));
        if began.elapsed() < Duration::from_millis(900) {
            assert_eq!(is_bound_as(pair.c), binding::LEFT);
            return result;
        }
    }
    panic!("the machine is too busy");
}

fn meanwhile_on<T: Send>(pair: &Pair, meanwhile: impl Fn() -> T + Sync) -> T {
    let far = pair.own_entry(pair.s);
    far.ringing().store(1, Ordering::Release);
    thread::scope(|scope| {
        let leaver = scope.spawn(|| pair.c.stream().leave(Successor::Stranger).left);
        while pair.own_entry(pair.c).gone().load(Ordering::Acquire) == 0 {
            thread::yield_now();
        }
        let other = scope.spawn(&meanwhile);
        // It has found the connection bound, and waits for a lock.
        thread::sleep(Duration::from_millis(50));
        far.ringing().store(0, Ordering::Release);
        assert!(leaver.join().unwrap());
        other.join().unwrap()
    })
}

#[test]
fn a_poller_finds_a_connection_that_is_just_left_as_alive_as_it_is() {
    let ready = while_it_leaves(|pair| pair.c.stream().readiness(true));
    assert!(!ready.hung_up && !ready.read_ended && !ready.failed);
    assert!(ready.writable);
}

#[test]
fn fionread_of_a_connection_that_is_just_left_is_the_kernel_s() {
    assert_eq!(while_it_leaves(|pair| pair.c.stream().readable_bytes()), 0);
}

/// The process at `side` dies: its socket is closed, and nothing announces that.
fn dies(side: Side) {
    let nothing = std::fs::File::open("/dev/null").unwrap();
    // SAFETY: two descriptors of the test.
    assert!(unsafe { libc::dup2(nothing.as_raw_fd(), side.descriptor) } >= 0);
}

/// What a program that knows of no ring reads; waits for it.
fn reads_plainly(side: Side) -> Result<usize, Option<i32>> {
    let mut buffer = [0_u8; 64];
    // SAFETY: the buffer.
    let taken = unsafe { libc::recv(side.descriptor, buffer.as_mut_ptr().cast(), 64, 0) };
    usize::try_from(taken).map_err(|_| std::io::Error::last_os_error().raw_os_error())
}

#[test]
fn who_leaves_a_far_side_that_died_while_it_announced_leaves_the_kernel_s_end() {
    for (is_noticed, is_counted, is_sent) in [
        (false, false, false),
        (false, true, false),
        (false, true, true),
        (true, false, false),
        (true, true, false),
        (true, true, true),
    ] {
        let pair = Pair::on_ring();
        let far = pair.own_entry(pair.s);
        far.ringing().store(1, Ordering::Release);
        if is_counted {
            let counted = pair.s.endpoint.ktx.add(1);
            far.koff().store(counted, Ordering::Release);
            if is_sent {
                fastpath::stream::line::send_bell(pair.s.descriptor, counted - 1).unwrap();
            }
        }
        dies(pair.s);
        wait_for_end(pair.c);
        if is_noticed {
            assert!(pair.c.stream().readiness(false).read_ended);
        }
        assert!(pair.c.stream().leave(Successor::Stranger).left);
        let case = (is_noticed, is_counted, is_sent);
        assert_eq!(is_bound_as(pair.c), binding::LEFT, "{case:?}");
        assert_eq!(reads_plainly(pair.c), Ok(0), "{case:?}");
    }
    // With bytes of the leaver unread TCP shows a reset.
    let pair = Pair::on_ring();
    assert!(send(pair.c, 30));
    pair.own_entry(pair.s).ringing().store(1, Ordering::Release);
    dies(pair.s);
    wait_for_end(pair.c);
    assert!(pair.c.stream().leave(Successor::Stranger).left);
    assert_eq!(reads_plainly(pair.c), Err(Some(libc::ECONNRESET)));
    assert_eq!(reads_plainly(pair.c), Ok(0));
}
