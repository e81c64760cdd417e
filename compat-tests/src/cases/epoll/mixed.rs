//! Sets that hold pipes, timers and counters beside connections.

use crate::calls::epoll::{self, Change, Wait};
use crate::calls::{files, processes, readiness, transfer};
use crate::case;
use crate::case::{Case, TWO_KINDS};
use crate::cases::forks::talk;
use crate::side::Side;
use crate::side::sets::events::{IN, OUT, RDHUP};
use crate::side::sets::{LONG_MS, Set};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("epoll_wait", a_set_mixed_with_a_pipe_a_timer_and_a_counter)
        .rows(&[17])
        .kinds(TWO_KINDS),
    case!(
        "epoll_wait",
        other_descriptors_wake_a_set_of_a_quiet_connection
    )
    .rows(&[17])
    .kinds(TWO_KINDS),
];

fn a_set_mixed_with_a_pipe_a_timer_and_a_counter(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"data", 0);
    });
    stage.near(|near| {
        near.arrived(4);
        let set = Set::new(near);
        let (hears, tells) = near.must(files::pipe(0));
        let timer = near.must(epoll::timer_in_ms(1)) as i32;
        let counter = near.must(epoll::eventfd(3, 0)) as i32;
        set.add(near, IN, 1);
        set.control(near, Change::Add, hears, IN, 2);
        set.control(near, Change::Add, timer, IN, 3);
        set.control(near, Change::Add, counter, IN | OUT, 4);
        set.control(near, Change::Add, tells, OUT, 5);
        let _ = readiness::poll_one(timer, libc::POLLIN, LONG_MS);
        set.reports(near);
        near.must(transfer::write(tells, b"p"));
        // While a ring has events, a set asks the kernel for the others every 50 µs (READINESS.md 6).
        near.nap_ms(1);
        set.reports(near);
        near.receives(4);
        let _ = transfer::read(hears, &mut [0; 1]);
        let _ = transfer::read(timer, &mut [0; 8]);
        set.reports(near);
        // Fewer places than events: all are reached in turn.
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..8 {
            let found = epoll::wait(set.fd, 1, Wait::Plain(LONG_MS)).unwrap_or_default();
            seen.extend(found.iter().map(|(data, _)| *data));
        }
        near.say(&format!("{seen:?}"));
    });
    talk(stage);
}

fn other_descriptors_wake_a_set_of_a_quiet_connection(stage: &mut Stage) {
    stage.near(|near| {
        let set = Set::new(near);
        let (hears, tells) = near.must(files::pipe(0));
        set.add(near, IN | RDHUP, 1);
        set.control(near, Change::Add, hears, IN, 2);
        let own = processes::own_thread();
        for _ in 0..5 {
            let writer = std::thread::spawn(move || {
                Side::thread_asleep(own);
                transfer::write(tells, b"p")
            });
            set.waits(near, Wait::Plain(-1));
            let _ = writer.join();
            let _ = transfer::read(hears, &mut [0; 1]);
        }
        let timer = near.must(epoll::timer_in_ms(20)) as i32;
        set.control(near, Change::Add, timer, IN, 3);
        set.waits(near, Wait::Plain(-1));
        let _ = transfer::read(timer, &mut [0; 8]);
        set.reports_nothing(near);
    });
    talk(stage);
}
