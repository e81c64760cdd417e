//! epoll, level-triggered and in general: what is registered, what is reported, and what is refused (POSIX.md rows 11, 12
//! and 17).

use crate::calls::epoll::{self, Change, Wait};
use crate::calls::{connection, files, signals, transfer};
use crate::case;
use crate::case::{Case, Proof, Start, TWO_KINDS};
use crate::cases::forks::talk;
use crate::content;
use crate::side::Side;
use crate::side::sets::events::{ERR, EXCLUSIVE, HUP, IN, ONESHOT, OUT, PRI, RDHUP};
use crate::side::sets::{LONG_MS, SHORT_MS, Set, more_connections, shown};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("epoll_wait", level_triggered_events_last_until_all_is_read).rows(&[13]),
    case!("epoll_wait", a_sleeping_epoll_wait_is_woken_by_bytes).rows(&[14]),
    case!("epoll_wait", epoll_reports_only_the_programs_own_data)
        .rows(&[17])
        .kinds(TWO_KINDS),
    case!(
        "epoll_wait",
        epoll_waits_for_space_while_the_peer_does_not_read
    )
    .rows(&[11])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(4096)),
    case!("epoll_wait", space_and_bytes_are_told_apart)
        .rows(&[11, 12])
        .kinds(TWO_KINDS),
    case!("epoll_wait", events_along_the_ends_of_a_stream)
        .rows(&[5, 33])
        .kinds(TWO_KINDS),
    case!(
        "epoll_wait",
        a_registration_without_events_hears_only_the_end
    )
    .rows(&[5, 33])
    .kinds(TWO_KINDS),
    case!("epoll_wait", bytes_and_then_a_close_are_reported_together)
        .rows(&[33])
        .kinds(TWO_KINDS),
    case!("epoll_wait", bytes_and_then_a_reset_are_reported_together)
        .rows(&[33])
        .kinds(TWO_KINDS),
    case!("epoll_wait", a_sleeping_epoll_wait_is_woken_by_each_end)
        .rows(&[5, 33])
        .kinds(TWO_KINDS)
        .proof(Proof::BeganOnRing("nothing is sent")),
    case!("epoll_wait", a_sleeping_epoll_wait_is_woken_by_a_reset)
        .rows(&[33])
        .kinds(TWO_KINDS)
        .proof(Proof::BeganOnRing("nothing is sent")),
    case!(
        "epoll_wait",
        a_sleeping_epoll_wait_is_woken_by_the_peers_death
    )
    .rows(&[33])
    .kinds(TWO_KINDS)
    .far_dies()
    .proof(Proof::BeganOnRing("nothing is sent")),
    case!("epoll_wait", a_sleeping_epoll_wait_is_woken_by_space)
        .rows(&[11])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(4096)),
    case!("epoll_wait", at_most_as_many_events_as_asked_for_take_turns)
        .rows(&[13])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(1)),
    case!("epoll_wait", two_registrations_may_have_the_same_data)
        .rows(&[17])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(5)),
    case!("epoll_wait", a_set_mixed_with_a_pipe_a_timer_and_a_counter)
        .rows(&[17])
        .kinds(TWO_KINDS),
    case!(
        "epoll_wait",
        other_descriptors_wake_a_set_of_a_quiet_connection
    )
    .rows(&[17])
    .kinds(TWO_KINDS),
    case!("epoll_wait", time_outs_of_every_form)
        .rows(&[23])
        .kinds(TWO_KINDS),
    case!(
        "epoll_wait",
        a_signal_interrupts_epoll_wait_whatever_its_flags
    )
    .rows(&[22, 23])
    .kinds(TWO_KINDS),
    case!("epoll_pwait", a_signal_admitted_only_while_waiting)
        .rows(&[22, 23])
        .kinds(TWO_KINDS),
    case!("epoll_ctl", one_shot_registrations_report_once)
        .rows(&[13])
        .kinds(TWO_KINDS),
    case!(
        "epoll_ctl",
        a_spent_one_shot_registration_hides_even_the_end
    )
    .rows(&[13])
    .kinds(TWO_KINDS),
    case!("epoll_ctl", exclusive_registrations_report_like_others)
        .rows(&[3])
        .kinds(TWO_KINDS),
    case!("epoll_ctl", changes_that_are_refused).kinds(TWO_KINDS),
    case!("epoll_ctl", a_removed_registration_is_silent).kinds(TWO_KINDS),
    case!("epoll_ctl", mod_changes_events_and_data)
        .rows(&[12])
        .kinds(TWO_KINDS),
    case!("epoll_ctl", registered_before_the_connection_is_made)
        .rows(&[20])
        .start(Start::Empty)
        .proof(Proof::AtLeast(400)),
    case!("epoll_ctl", registered_before_the_first_byte)
        .rows(&[20])
        .start(Start::Connected)
        .proof(Proof::AtLeast(400)),
    case!("epoll_create", every_way_of_making_a_set).kinds(TWO_KINDS),
];

fn level_triggered_events_last_until_all_is_read(stage: &mut Stage) {
    let mut set = None;
    stage.near(|near| {
        let new = Set::new(near);
        new.add(near, IN, 7);
        new.reports_nothing(near);
        set = Some(new);
    });
    stage.far(|far| {
        let _ = far.send(b"abcdef", 0);
    });
    stage.near(|near| {
        near.arrived(6);
        if let Some(set) = set {
            set.reports(near);
            set.reports(near);
            near.receives(4);
            set.reports(near);
            near.receives(2);
            set.reports_nothing(near);
        }
    });
    talk(stage);
}

fn a_sleeping_epoll_wait_is_woken_by_bytes(stage: &mut Stage) {
    const ROUNDS: u64 = 12;
    stage.together(
        |near| {
            let set = Set::new(near);
            set.add(near, IN | RDHUP, 1);
            for round in 0..ROUNDS {
                set.reports(near);
                let bytes = near.receive_all(10);
                let wrong = content::first_difference(301, round * 10, &bytes);
                near.say(&format!("wrong at {wrong:?}"));
            }
            set.close();
        },
        |far| {
            for round in 0..ROUNDS {
                far.other_asleep();
                far.send_all(&content::bytes_from(301, round * 10, 10));
            }
        },
    );
    talk(stage);
}

fn epoll_reports_only_the_programs_own_data(stage: &mut Stage) {
    const ROUNDS: usize = 300;
    const OWN: u64 = u64::MAX;
    stage.together(
        |near| {
            let set = Set::new(near);
            let (hears, tells) = near.must(files::pipe(libc::O_NONBLOCK));
            set.add(near, IN, OWN);
            set.control(near, Change::Add, hears, IN, 0);
            let (mut strange, mut empty, mut received) = (0, 0, 0);
            while received < ROUNDS {
                match epoll::wait(set.fd, 8, Wait::Plain(LONG_MS)) {
                    Ok(found) => {
                        empty += usize::from(found.is_empty());
                        strange += found
                            .iter()
                            .filter(|(data, events)| *events != IN || (*data != OWN && *data != 0))
                            .count();
                        if found.iter().any(|(data, _)| *data == OWN) {
                            let mut byte = [0; 4];
                            received +=
                                transfer::recv(near.fd, &mut byte, libc::MSG_DONTWAIT).unwrap_or(0);
                            if received % 7 == 0 {
                                let _ = transfer::write(tells, b"p");
                            }
                        }
                        if found.iter().any(|(data, _)| *data == 0) {
                            let _ = transfer::read(hears, &mut [0; 8]);
                        }
                    }
                    Err(errno) => near.fail(&format!("epoll_wait: {errno}")),
                }
            }
            near.say(&format!(
                "{received} bytes, {strange} strange events, {empty} waits without one"
            ));
        },
        |far| {
            for round in 0..ROUNDS {
                if round % 50 == 0 {
                    far.other_asleep();
                } else if round % 5 == 0 {
                    far.nap_ms(1);
                }
                far.send_all(b"x");
            }
        },
    );
}

/// Fills the connection until nothing more fits; what was sent of the stream named by `seed`.
fn fill(near: &mut Side, seed: u64) -> u64 {
    let (mut sent, mut refusals) = (0u64, 0);
    while refusals < 40 && sent < 64 << 20 {
        let length = if refusals % 2 == 0 { 65536 } else { 1 };
        let bytes = content::bytes_from(seed, sent, length);
        match transfer::send(near.fd, &bytes, libc::MSG_DONTWAIT) {
            Ok(count) => {
                sent += count as u64;
                refusals = 0;
            }
            Err(errno) if errno.0 == libc::EAGAIN => {
                refusals += 1;
                near.nap_ms(2);
            }
            Err(errno) => near.fail(&format!("send: {errno}")),
        }
    }
    sent
}

fn epoll_waits_for_space_while_the_peer_does_not_read(stage: &mut Stage) {
    let sent = stage.near_says(|near| {
        let set = Set::new(near);
        set.add(near, OUT, 1);
        set.reports(near);
        let sent = fill(near, 302);
        // Neither an event nor a wait that returns again and again without one.
        let mut returns = 0;
        let mut reported = 0;
        let started = std::time::Instant::now();
        while started.elapsed() < std::time::Duration::from_millis(100) {
            if let Ok(found) = epoll::wait(set.fd, 4, Wait::Plain(20)) {
                returns += 1;
                reported += found.len();
            }
        }
        near.note(&format!("{returns} returns"));
        near.say(&format!(
            "few returns: {}, {reported} events",
            returns <= 10
        ));
        set.modify(near, OUT | IN, 2);
        set.reports_nothing(near);
        set.close();
        sent as i64
    });
    stage.together(
        |near| {
            let set = Set::new(near);
            set.add(near, OUT, 3);
            set.reports(near);
            let _ = near.send(b"!", 0);
        },
        |far| {
            far.other_asleep();
            let bytes = far.receive_all(sent as usize);
            far.say(&format!(
                "wrong at {:?}",
                content::first_difference(302, 0, &bytes)
            ));
            far.receives(1);
        },
    );
    talk(stage);
}

fn space_and_bytes_are_told_apart(stage: &mut Stage) {
    let mut set = None;
    stage.near(|near| {
        let new = Set::new(near);
        new.add(near, OUT, 1);
        new.reports(near);
        new.modify(near, IN | OUT, 2);
        new.reports(near);
        new.modify(near, IN, 3);
        new.reports_nothing(near);
        new.modify(near, PRI, 4);
        new.reports_nothing(near);
        set = Some(new);
    });
    stage.far(|far| {
        let _ = far.send(b"x", 0);
    });
    stage.near(|near| {
        near.arrived(1);
        if let Some(set) = set {
            set.reports_nothing(near);
            set.modify(near, OUT, 5);
            set.reports(near);
            set.modify(near, IN | OUT, 6);
            set.reports(near);
            near.receives(1);
            set.reports(near);
        }
    });
    talk(stage);
}

fn events_along_the_ends_of_a_stream(stage: &mut Stage) {
    let mut set = None;
    stage.near(|near| {
        let new = Set::new(near);
        new.add(near, IN | OUT | RDHUP, 1);
        new.reports(near);
        set = Some(new);
    });
    stage.far(|far| {
        let _ = far.send(b"last", 0);
        let _ = far.shutdown(libc::SHUT_WR);
    });
    stage.near(|near| {
        near.end_arrived();
        if let Some(set) = set {
            set.reports(near);
            near.receives(4);
            set.reports(near);
            let _ = near.recv(1, 0);
            set.reports(near);
            let _ = near.send(b"answer", 0);
            let _ = near.shutdown(libc::SHUT_WR);
            near.tcp_state_becomes("CLOSE");
            set.reports(near);
            set.modify(near, 0, 2);
            set.reports(near);
        }
    });
    stage.far(|far| {
        far.receives(6);
        let _ = far.recv(1, 0);
    });
}

fn a_registration_without_events_hears_only_the_end(stage: &mut Stage) {
    let mut set = None;
    stage.near(|near| {
        let new = Set::new(near);
        new.add(near, 0, 1);
        set = Some(new);
    });
    stage.far(|far| {
        let _ = far.send(b"data", 0);
        let _ = far.shutdown(libc::SHUT_WR);
    });
    stage.near(|near| {
        near.end_arrived();
        if let Some(set) = set {
            set.reports_nothing(near);
            near.receives(4);
            let _ = near.shutdown(libc::SHUT_WR);
            set.reports(near);
        }
    });
}

fn bytes_and_then_a_close_are_reported_together(stage: &mut Stage) {
    let mut set = None;
    stage.near(|near| {
        let new = Set::new(near);
        new.add(near, RDHUP, 1);
        set = Some(new);
    });
    stage.far(|far| {
        let _ = far.send(b"data", 0);
        far.close();
    });
    stage.near(|near| {
        near.end_arrived();
        if let Some(set) = set {
            set.reports(near);
            set.modify(near, IN | RDHUP, 2);
            set.reports(near);
            near.receives(2);
            set.reports(near);
            near.receives(2);
            set.reports(near);
            let _ = near.recv(1, 0);
        }
    });
}

fn bytes_and_then_a_reset_are_reported_together(stage: &mut Stage) {
    let mut set = None;
    stage.near(|near| {
        let new = Set::new(near);
        new.add(near, IN | OUT | RDHUP, 1);
        let _ = near.send(b"never read", 0);
        set = Some(new);
    });
    stage.far(|far| {
        far.arrived(10);
        let _ = far.send(b"data", 0);
        far.close();
    });
    stage.near(|near| {
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        if let Some(set) = set {
            let found = set.reports(near);
            near.say(&format!(
                "{}",
                found.iter().all(|(_, events)| events & (ERR | HUP) != 0)
            ));
        }
    });
}

fn a_sleeping_epoll_wait_is_woken_by_each_end(stage: &mut Stage) {
    stage.together(
        |near| {
            let set = Set::new(near);
            set.add(near, IN | RDHUP, 1);
            set.reports(near);
            let _ = near.recv(1, 0);
            set.modify(near, 0, 2);
            let _ = near.shutdown(libc::SHUT_WR);
            set.reports(near);
        },
        |far| {
            far.other_asleep();
            let _ = far.shutdown(libc::SHUT_WR);
            let _ = far.recv(1, 0);
        },
    );
}

fn a_sleeping_epoll_wait_is_woken_by_a_reset(stage: &mut Stage) {
    stage.together(
        |near| {
            let set = Set::new(near);
            set.add(near, IN | RDHUP, 1);
            set.reports(near);
            let _ = near.recv(1, 0);
            near.pending_error();
        },
        |far| {
            far.other_asleep();
            let _ = crate::calls::options::set_linger(far.fd, true, 0);
            far.close();
        },
    );
}

fn a_sleeping_epoll_wait_is_woken_by_the_peers_death(stage: &mut Stage) {
    stage.far_waits_for_its_death(|near| {
        let set = Set::new(near);
        set.add(near, IN | RDHUP, 1);
        let other = near.other_process;
        let killer = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(80));
            crate::calls::processes::kill(other, libc::SIGKILL)
        });
        set.reports(near);
        let _ = killer.join();
        let _ = near.recv(1, 0);
    });
}

fn a_sleeping_epoll_wait_is_woken_by_space(stage: &mut Stage) {
    let sent = stage.near_says(|near| fill(near, 303) as i64);
    stage.together(
        |near| {
            let set = Set::new(near);
            set.add(near, OUT, 1);
            set.reports(near);
            let _ = near.send(b"!", 0);
        },
        |far| {
            far.other_asleep();
            let bytes = far.receive_all(sent as usize);
            far.say(&format!(
                "wrong at {:?}",
                content::first_difference(303, 0, &bytes)
            ));
            far.receives(1);
        },
    );
    talk(stage);
}

fn at_most_as_many_events_as_asked_for_take_turns(stage: &mut Stage) {
    let all = more_connections(stage, 3);
    stage.far(|far| {
        for fd in &all {
            far.fd = *fd;
            let _ = far.send(b"x", 0);
        }
        far.fd = all[0];
    });
    stage.near(|near| {
        let set = Set::new(near);
        for (index, fd) in all.iter().enumerate() {
            near.fd = *fd;
            near.arrived(1);
            set.control(near, Change::Add, *fd, IN, index as u64);
        }
        near.fd = all[0];
        let mut counts = [0; 4];
        let mut sizes = Vec::new();
        for _ in 0..12 {
            let found = epoll::wait(set.fd, 1, Wait::Plain(LONG_MS)).unwrap_or_default();
            sizes.push(found.len());
            for (data, _) in found {
                counts[data as usize % 4] += 1;
            }
        }
        near.say(&format!("sizes {sizes:?}, each in turn {counts:?}"));
        set.waits_for(near, 3, Wait::Plain(LONG_MS)).len();
    });
}

fn two_registrations_may_have_the_same_data(stage: &mut Stage) {
    let all = more_connections(stage, 1);
    stage.far(|far| {
        let _ = far.send(b"first", 0);
    });
    let mut set = None;
    stage.near(|near| {
        near.arrived(5);
        let new = Set::new(near);
        for fd in &all {
            new.control(near, Change::Add, *fd, IN, 42);
        }
        new.reports(near);
        set = Some(new);
    });
    stage.far(|far| {
        far.fd = all[1];
        let _ = far.send(b"second", 0);
        far.fd = all[0];
    });
    stage.near(|near| {
        near.fd = all[1];
        near.arrived(6);
        if let Some(set) = set {
            set.reports(near);
            near.receives(6);
            set.reports(near);
            near.fd = all[0];
            near.receives(5);
            set.reports_nothing(near);
        }
    });
}

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
        near.nap_ms(10);
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
        for _ in 0..5 {
            let writer = std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(15));
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

fn time_outs_of_every_form(stage: &mut Stage) {
    stage.near(|near| {
        let set = Set::new(near);
        set.add(near, IN, 1);
        for how in [
            Wait::Plain(0),
            Wait::AdmittingAll(0),
            Wait::WithoutMask(0),
            Wait::Nanoseconds(Some(0)),
            Wait::SystemCall(0),
        ] {
            set.waits(near, how);
        }
        for how in [
            Wait::Plain(60),
            Wait::AdmittingAll(60),
            Wait::WithoutMask(60),
            Wait::Nanoseconds(Some(60_000_000)),
            Wait::SystemCall(60),
        ] {
            near.waits_at_least_ms(60, |near| set.waits(near, how));
        }
        set.waits(near, Wait::Nanoseconds(Some(700_000)));
        set.waits(near, Wait::Nanoseconds(Some(1)));
        set.waits(near, Wait::Nanoseconds(Some(-1)));
    });
    stage.together(
        |near| {
            let set = Set::new(near);
            set.add(near, IN, 1);
            set.waits(near, Wait::Nanoseconds(None));
            near.receives(4);
        },
        |far| {
            far.other_asleep();
            let _ = far.send(b"wake", 0);
        },
    );
    talk(stage);
}

fn a_signal_interrupts_epoll_wait_whatever_its_flags(stage: &mut Stage) {
    stage.near(|near| {
        let set = Set::new(near);
        set.add(near, IN, 1);
        for restart in [false, true] {
            near.must(signals::count_signals(libc::SIGALRM, restart));
            near.must(signals::alarm_every_us(40_000, 40_000));
            set.waits(near, Wait::Plain(LONG_MS));
            set.waits(near, Wait::Nanoseconds(None));
            near.must(signals::alarm_every_us(0, 0));
            near.say(&format!("the handler ran: {}", signals::caught() > 0));
        }
    });
    talk(stage);
}

fn a_signal_admitted_only_while_waiting(stage: &mut Stage) {
    let mut set = None;
    stage.near(|near| {
        let new = Set::new(near);
        new.add(near, IN, 1);
        near.must(signals::count_signals(libc::SIGUSR1, false));
        near.must(signals::block(libc::SIGUSR1, true));
        near.must(signals::raise(libc::SIGUSR1));
        new.waits(near, Wait::Plain(SHORT_MS));
        near.say(&format!("handled {}", signals::caught()));
        new.waits(near, Wait::AdmittingAll(LONG_MS));
        near.say(&format!("handled {}", signals::caught()));
        set = Some(new);
    });
    stage.far(|far| {
        let _ = far.send(b"data", 0);
    });
    stage.near(|near| {
        near.arrived(4);
        near.must(signals::raise(libc::SIGUSR1));
        // What is ready comes before the signal, which stays for later.
        if let Some(set) = set {
            set.waits(near, Wait::AdmittingAll(LONG_MS));
            near.receives(4);
        }
        near.must(signals::block(libc::SIGUSR1, false));
        near.say(&format!("handled {}", signals::caught()));
    });
    talk(stage);
}

fn one_shot_registrations_report_once(stage: &mut Stage) {
    let mut set = None;
    stage.near(|near| {
        let new = Set::new(near);
        new.add(near, IN | ONESHOT, 1);
        set = Some(new);
    });
    stage.far(|far| {
        let _ = far.send(b"ab", 0);
    });
    stage.near(|near| {
        near.arrived(2);
        if let Some(set) = set {
            set.reports(near);
            set.reports_nothing(near);
        }
    });
    stage.far(|far| {
        let _ = far.send(b"c", 0);
    });
    stage.near(|near| {
        near.arrived(3);
        if let Some(set) = set {
            set.reports_nothing(near);
            set.modify(near, IN | ONESHOT, 2);
            set.reports(near);
            set.reports_nothing(near);
            near.receives(3);
            set.modify(near, IN | OUT | ONESHOT, 3);
            set.reports(near);
            set.reports_nothing(near);
        }
    });
    stage.together(
        |near| {
            if let Some(set) = set {
                set.modify(near, IN | ONESHOT, 4);
                set.reports(near);
                near.receives(1);
            }
        },
        |far| {
            far.other_asleep();
            let _ = far.send(b"d", 0);
        },
    );
    talk(stage);
}

fn a_spent_one_shot_registration_hides_even_the_end(stage: &mut Stage) {
    let mut set = None;
    stage.near(|near| {
        let new = Set::new(near);
        new.add(near, OUT | ONESHOT, 1);
        new.reports(near);
        set = Some(new);
    });
    stage.far(|far| {
        let _ = far.send(b"last", 0);
        far.close();
    });
    stage.near(|near| {
        near.end_arrived();
        let _ = near.shutdown(libc::SHUT_WR);
        if let Some(set) = set {
            set.reports_nothing(near);
            near.receives(4);
            set.reports_nothing(near);
            set.modify(near, RDHUP | ONESHOT, 2);
            set.reports(near);
            set.reports_nothing(near);
        }
    });
}

fn exclusive_registrations_report_like_others(stage: &mut Stage) {
    stage.together(
        |near| {
            let set = Set::new(near);
            set.add(near, IN | EXCLUSIVE, 1);
            set.reports_nothing(near);
            set.reports(near);
            near.receives(4);
            set.reports_nothing(near);
            set.modify(near, IN, 2);
            let fd = near.fd;
            set.control(near, Change::Del, fd, 0, 0);
            set.add(near, IN | OUT | EXCLUSIVE, 3);
            set.reports(near);
        },
        |far| {
            far.nap_ms(80);
            far.other_asleep();
            let _ = far.send(b"data", 0);
        },
    );
    talk(stage);
}

fn changes_that_are_refused(stage: &mut Stage) {
    stage.near(|near| {
        let fd = near.fd;
        let set = Set::new(near);
        let inner = Set::new(near);
        let file = near.must(files::memory_file(b"file"));
        set.control(near, Change::Mod, fd, IN, 1);
        set.control(near, Change::Del, fd, IN, 1);
        set.add(near, IN, 1);
        set.add(near, IN, 2);
        set.control(near, Change::Unknown, fd, IN, 3);
        set.control(near, Change::Add, 77, IN, 4);
        set.control(near, Change::Add, -1, IN, 4);
        set.control(near, Change::Add, file, IN, 5);
        set.control(near, Change::Add, set.fd, IN, 6);
        set.control(near, Change::Add, inner.fd, IN, 7);
        inner.control(near, Change::Add, set.fd, IN, 8);
        inner.control(near, Change::Add, fd, IN | ONESHOT | EXCLUSIVE, 9);
        set.control(near, Change::Mod, fd, IN | EXCLUSIVE, 10);
        Set { fd: file }.control(near, Change::Add, fd, IN, 11);
        Set { fd: 77 }.control(near, Change::Add, fd, IN, 12);
        Set { fd }.control(near, Change::Add, file, IN, 13);
        let answer = epoll::control_without_event(set.fd, Change::Mod, fd);
        let _ = near.observe("Mod without an event", answer);
        let answer = epoll::control_without_event(set.fd, Change::Del, fd);
        let _ = near.observe("Del without an event", answer);
        set.add(near, IN | OUT, 14);
        for maximum in [0, -1] {
            let found = epoll::wait(set.fd, maximum, Wait::Plain(0));
            near.say(&format!("{maximum} events = {}", shown(&found)));
        }
        let found = epoll::wait(fd, 1, Wait::Plain(0));
        near.say(&format!("on a socket = {}", shown(&found)));
        let found = epoll::wait(77, 1, Wait::Plain(0));
        near.say(&format!("on nothing = {}", shown(&found)));
        set.reports(near);
    });
    talk(stage);
}

fn a_removed_registration_is_silent(stage: &mut Stage) {
    let mut set = None;
    stage.near(|near| {
        let new = Set::new(near);
        new.add(near, IN, 1);
        let fd = near.fd;
        new.control(near, Change::Del, fd, 0, 0);
        set = Some(new);
    });
    stage.far(|far| {
        let _ = far.send(b"data", 0);
    });
    stage.near(|near| {
        near.arrived(4);
        if let Some(set) = set {
            set.reports_nothing(near);
            set.add(near, IN, 2);
            set.reports(near);
            let fd = near.fd;
            set.control(near, Change::Del, fd, 0, 0);
            set.reports_nothing(near);
            set.add(near, IN, 3);
            near.receives(4);
        }
    });
    talk(stage);
    stage.near(|near| {
        // The last number of a registered connection is closed: nothing is left to report.
        near.close();
        if let Some(set) = set {
            set.reports_nothing(near);
        }
    });
}

fn mod_changes_events_and_data(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"data", 0);
    });
    stage.near(|near| {
        near.arrived(4);
        let set = Set::new(near);
        set.add(near, IN, 1);
        set.reports(near);
        set.modify(near, IN, 0xFFFF_FFFF_0000_0002);
        set.reports(near);
        set.modify(near, OUT, 3);
        set.reports(near);
        set.modify(near, 0, 4);
        set.reports_nothing(near);
        set.modify(near, IN | OUT | RDHUP | PRI, 5);
        set.reports(near);
        near.receives(4);
        set.reports(near);
    });
    talk(stage);
}

/// Exchanges that one end plays by its set, level-triggered, from the first byte on.
fn play_by_set(near: &mut Side, set: Set, rounds: u64) {
    let mut strange = 0;
    for round in 0..rounds {
        let found = epoll::wait(set.fd, 4, Wait::Plain(LONG_MS));
        strange += usize::from(found != Ok(vec![(5, IN)]));
        let bytes = near.receive_all(10);
        let wrong = content::first_difference(304, round * 10, &bytes);
        if wrong.is_some() {
            near.say(&format!("wrong at {wrong:?}"));
        }
        near.send_all(b"k");
    }
    near.say(&format!("{rounds} rounds, {strange} strange waits"));
}

fn play_against(far: &mut Side, rounds: u64) {
    for round in 0..rounds {
        far.send_all(&content::bytes_from(304, round * 10, 10));
        let _ = far.receive_all(1);
    }
}

fn registered_before_the_connection_is_made(stage: &mut Stage) {
    let mut set = None;
    stage.listen(|_| {});
    let address = stage.listening_address();
    let family = stage.family();
    stage.connector(|side| {
        side.open_socket(family);
        side.set_nonblocking(true);
        let new = Set::new(side);
        new.add(side, OUT | IN, 1);
        new.waits(side, Wait::Plain(0));
        let answer = connection::connect(side.fd, &address);
        let _ = side.observe("connect", answer);
        new.modify(side, OUT, 3);
        new.reports(side);
        new.modify(side, IN, 5);
        side.set_nonblocking(false);
        set = Some(new);
    });
    stage.acceptor(|side| {
        side.accepts();
        if set.is_none() {
            let new = Set::new(side);
            new.add(side, IN, 5);
            set = Some(new);
        }
    });
    stage.both(|side| side.start_counting());
    stage.together(
        |near| {
            if let Some(set) = set {
                play_by_set(near, set, 150);
            }
        },
        |far| play_against(far, 150),
    );
    talk(stage);
}

fn registered_before_the_first_byte(stage: &mut Stage) {
    stage.together(
        |near| {
            let set = Set::new(near);
            set.add(near, IN, 5);
            play_by_set(near, set, 150);
        },
        |far| play_against(far, 150),
    );
    talk(stage);
}

fn every_way_of_making_a_set(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"data", 0);
    });
    stage.near(|near| {
        near.arrived(4);
        for answer in [
            epoll::create(0),
            epoll::create(libc::EPOLL_CLOEXEC),
            epoll::create_sized(1),
        ] {
            let set = Set {
                fd: near.must(answer) as i32,
            };
            let flags = files::fcntl(set.fd, libc::F_GETFD, 0);
            let _ = near.observe("F_GETFD of the set", flags);
            set.add(near, IN, 1);
            set.reports(near);
            // A second number of the set means the same one.
            let copy = Set {
                fd: near.must(files::dup(set.fd)) as i32,
            };
            copy.reports(near);
            set.close();
            copy.modify(near, IN | OUT, 2);
            copy.reports(near);
            copy.close();
        }
        let _ = near.observe("epoll_create(0)", epoll::create_sized(0));
        let _ = near.observe("epoll_create1 with odd flags", epoll::create(0x100));
        near.receives(4);
    });
    talk(stage);
}
