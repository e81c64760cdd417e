//! A process parts from its relatives again and again while its other threads take and give back endpoints, hold their
//! locks and are inside the kernel: nothing that they do is lost with the old memory.
#![allow(unsafe_code, reason = "fork")]

use fastpath::endpoint::Endpoint;
use fastpath::family;
use fastpath::kernel_call;
use fastpath::lock::{Locked, Owner};
use fastpath::stream::Stream;
use fastpath::stream::sleep::Armed;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const WATCHDOG: Duration = Duration::from_secs(600);
/// Partings at least, and as long as that.
const PARTINGS: u32 = 60;
const TIME: Duration = Duration::from_secs(3);
const RELATIVES: u32 = 2;
/// Blocks that are copied behind those in use: the longer it lasts, the more happens meanwhile.
const COPIED: u32 = 3000;

fn me() -> Owner {
    Owner {
        thread: kernel_call::thread_id(),
        process_slot: family::process_place().expect("a place"),
    }
}

fn generation_of(endpoint: &Endpoint) -> u32 {
    endpoint.generation.load(fastpath::sync::Ordering::Acquire)
}

/// Which endpoints a process has at this moment, by index.
fn nobodys() -> Vec<AtomicBool> {
    (0..family::ENDPOINTS)
        .map(|_| AtomicBool::new(false))
        .collect()
}

/// As a connection that comes and goes: the index, held by nobody else meanwhile.
fn come_and_go(taken: &[AtomicBool]) {
    let own = me().process_slot;
    let begin = |index: u32, endpoint: &Endpoint| {
        endpoint.role.set(index + 1);
        std::thread::yield_now();
        endpoint.kin.set(index + 2);
    };
    let Some((index, endpoint)) = family::begin_endpoint(own, begin) else {
        panic!("no endpoint");
    };
    let was_taken = taken[index as usize].swap(true, Ordering::AcqRel);
    assert!(!was_taken, "{index} has been given out twice");
    std::thread::sleep(Duration::from_millis(1));
    let stream = Stream::new(endpoint, generation_of(endpoint), -1, me());
    for lock in [&endpoint.rx_lock, &endpoint.tx_lock] {
        assert_eq!(lock.lock(me(), family::is_owner_alive), Locked::Taken);
        std::thread::yield_now();
        lock.unlock(me());
    }
    let began_with = (endpoint.role.get(), endpoint.kin.get());
    assert_eq!(began_with, (index + 1, index + 2), "what it began with");
    assert!(endpoint.add_numbers(own, 1));
    assert!(!endpoint.remove_number_unbound(own));
    std::thread::sleep(Duration::from_millis(1));
    assert!(endpoint.remove_number_unbound(own), "a number too many");
    assert!(stream.retire());
    assert!(endpoint.holder(own).is_none(), "a number that was closed");
    taken[index as usize].store(false, Ordering::Release);
    family::free_endpoint(index);
}

/// What both locks guard counts every step.
fn step_under_locks(endpoint: &'static Endpoint) {
    for (lock, word) in [
        (&endpoint.rx_lock, &endpoint.rx_head),
        (&endpoint.tx_lock, &endpoint.tx_tail),
    ] {
        assert_ne!(lock.lock(me(), family::is_owner_alive), Locked::OwnThread);
        word.add(1);
        lock.unlock(me());
    }
}

/// In and out of the kernel.
fn go_inside(endpoint: &'static Endpoint) {
    let stream = Stream::new(endpoint, generation_of(endpoint), -1, me());
    endpoint.irx.enter();
    endpoint.itx.enter();
    stream.count_sleeper();
    assert!(endpoint.has_sleepers(), "a sleeper is missing");
    // As dup and close of another thread.
    let own = me().process_slot;
    assert!(endpoint.add_numbers(own, 1));
    std::thread::yield_now();
    assert!(!endpoint.remove_number(own), "a number is missing");
    stream.finish_sleep(Armed::Counted);
    stream.kernel_sent(0);
    stream.kernel_received(0);
}

/// A fork is prepared, and given up: nobody else has the place meanwhile.
fn reserve() {
    let name = family::reserve_child_place().expect("a place");
    std::thread::sleep(Duration::from_millis(1));
    assert!(family::is_process_alive_now(name), "a place is lost");
    family::release_child_place(Some(name));
    std::thread::sleep(Duration::from_millis(1));
    assert!(!family::is_process_alive_now(name), "a place is left");
}

/// As well as the main thread, from relatives that are born meanwhile.
fn part_as_well() {
    std::thread::sleep(Duration::from_millis(3));
    assert!(family::part());
}

/// A relative that does the same in the memory it was born with, until it is killed.
fn relative() -> i32 {
    let name = family::reserve_child_place().expect("a place");
    // SAFETY: the child makes no call that another thread's lock could hold up.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: plain numbers.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        assert!(family::become_child(Some(name)));
        let taken = nobodys();
        loop {
            come_and_go(&taken);
        }
    }
    assert!(child > 0);
    family::name_child(Some(name), child as u32);
    child
}

#[test]
fn what_other_threads_do_while_a_process_parts_is_not_lost() {
    std::thread::spawn(|| {
        std::thread::sleep(WATCHDOG);
        eprintln!("a lock, or the gate, is waited for in vain");
        std::process::abort();
    });
    family::ensure().expect("family memory");
    let taken = nobodys();
    let held: Vec<&'static Endpoint> = (0..8)
        .map(|_| {
            let (index, endpoint) = family::allocate_endpoint().expect("endpoint");
            taken[index as usize].store(true, Ordering::Release);
            assert!(endpoint.add_numbers(me().process_slot, 1));
            endpoint
        })
        .collect();
    for _ in 0..COPIED {
        let (index, _) = family::allocate_endpoint().expect("endpoint");
        taken[index as usize].store(true, Ordering::Release);
    }
    let (is_over, steps) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut partings = 0;
    std::thread::scope(|scope| {
        for which in 0..8 {
            let (held, taken, steps, is_over) = (&held, &taken, &steps, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Acquire) {
                    for endpoint in held {
                        match which {
                            0..3 => come_and_go(taken),
                            3 => go_inside(endpoint),
                            4 => reserve(),
                            5 => part_as_well(),
                            _ => {
                                step_under_locks(endpoint);
                                steps.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                }
            });
        }
        let began = Instant::now();
        while partings < PARTINGS || began.elapsed() < TIME {
            let relatives: Vec<i32> = (0..RELATIVES).map(|_| relative()).collect();
            std::thread::sleep(Duration::from_millis(2));
            assert!(family::part());
            partings += 1;
            for child in relatives {
                // SAFETY: plain numbers; no status is asked for.
                unsafe {
                    libc::kill(child, libc::SIGKILL);
                    libc::waitpid(child, std::ptr::null_mut(), 0);
                }
            }
        }
        is_over.store(true, Ordering::Release);
    });
    let moved =
        |word: fn(&Endpoint) -> u64| held.iter().map(|endpoint| word(endpoint)).sum::<u64>();
    let steps = steps.load(Ordering::Relaxed);
    assert_eq!(moved(|endpoint| endpoint.rx_head.get()), steps);
    assert_eq!(moved(|endpoint| endpoint.tx_tail.get()), steps);
    for endpoint in held {
        assert!(!endpoint.has_sleepers() && !endpoint.irx.any() && !endpoint.itx.any());
        assert!(endpoint.rx_lock.owner().is_none() && endpoint.tx_lock.owner().is_none());
        assert!(
            endpoint.remove_number(me().process_slot),
            "a number too many"
        );
    }
}
