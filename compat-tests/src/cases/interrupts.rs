//! Signals during calls that wait: EINTR, SA_RESTART, and the ways in which calls differ (POSIX.md rows 22 and 23).

use crate::calls::answer::{Answer, shown};
use crate::calls::transfer::{self, Vectored};
use crate::calls::{options, readiness, signals};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::content;
use crate::side::Side;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("signals", a_signal_interrupts_a_sleeping_recv).rows(&[22, 23]),
    case!("signals", a_signal_interrupts_each_receiving_call)
        .rows(&[23])
        .kinds(TWO_KINDS),
    case!("signals", a_restarting_signal_does_not_interrupt_recv).rows(&[23]),
    case!("signals", recv_with_a_timeout_is_never_restarted)
        .rows(&[23])
        .kinds(TWO_KINDS),
    case!("signals", poll_is_never_restarted)
        .rows(&[23])
        .kinds(TWO_KINDS),
    case!("signals", a_signal_interrupts_a_full_send)
        .rows(&[23])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(4096)),
    case!("signals", a_restarting_signal_cuts_a_send_that_has_begun)
        .rows(&[23])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(4096)),
    case!("signals", no_interruption_is_lost_in_a_storm)
        .rows(&[22])
        .kinds(TWO_KINDS),
    case!("signals", a_storm_of_restarting_signals_harms_no_exchange)
        .rows(&[22])
        .kinds(TWO_KINDS),
    case!("signals", a_blocked_signal_waits)
        .rows(&[22])
        .kinds(TWO_KINDS),
    case!("signals", data_beat_a_pending_signal)
        .rows(&[23])
        .kinds(TWO_KINDS),
];

/// Runs a call under an alarm that comes every 100 ms and writes down whether the handler ran.
fn under_alarm(side: &mut Side, restart: bool, act: impl FnOnce(&mut Side)) {
    side.must(signals::count_signals(libc::SIGALRM, restart));
    side.must(signals::alarm_every_us(100_000, 100_000));
    act(side);
    side.must(signals::alarm_every_us(0, 0));
    side.say(&format!("the handler ran: {}", signals::caught() > 0));
}

fn exchange_afterwards(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"after", 0);
    });
    stage.far(|far| {
        far.receives(5);
        let _ = far.send(b"wards", 0);
    });
    stage.near(|near| near.receives(5));
}

fn a_signal_interrupts_a_sleeping_recv(stage: &mut Stage) {
    stage.near(|near| {
        under_alarm(near, false, |near| {
            let _ = near.recv(10, 0);
        });
    });
    exchange_afterwards(stage);
}

fn a_signal_interrupts_each_receiving_call(stage: &mut Stage) {
    stage.near(|near| {
        under_alarm(near, false, |near| {
            let _ = near.read(10);
            let _ = near.readv(Vectored::Plain, &[5, 5]);
            let _ = near.recv(10, libc::MSG_PEEK);
            let _ = near.recv(10, libc::MSG_WAITALL);
            let _ = near.recv(0, 0);
            let _ = near.recvfrom(10, 0, 28);
            let _ = near.recvmsg(&[10], 28, 0, 0);
            let _ = near.recvmmsg(&[&[4], &[4]], 0, None);
            let _ = near.fills("__recv_chk(10)", 10, |fd, buffer| {
                transfer::recv_chk(fd, buffer, 0)
            });
        });
    });
    exchange_afterwards(stage);
}

fn a_restarting_signal_does_not_interrupt_recv(stage: &mut Stage) {
    stage.together(
        |near| {
            under_alarm(near, true, |near| {
                let _ = near.waits_at_least_ms(200, |near| near.recv(10, 0));
            });
        },
        |far| {
            far.other_asleep();
            far.nap_ms(250);
            let _ = far.send(b"patience", 0);
        },
    );
    exchange_afterwards(stage);
}

fn recv_with_a_timeout_is_never_restarted(stage: &mut Stage) {
    stage.near(|near| {
        near.set_timeout_ms("SO_RCVTIMEO", libc::SO_RCVTIMEO, 60_000);
        under_alarm(near, true, |near| {
            let _ = near.recv(10, 0);
            let _ = near.recvmsg(&[10], 0, 0, 0);
            let _ = near.recv(10, libc::MSG_WAITALL);
        });
        near.set_timeout_ms("SO_RCVTIMEO", libc::SO_RCVTIMEO, 0);
    });
    exchange_afterwards(stage);
}

fn poll_is_never_restarted(stage: &mut Stage) {
    stage.near(|near| {
        under_alarm(near, true, |near| {
            let (answer, events) = readiness::poll_one(near.fd, libc::POLLIN, 60_000);
            near.say(&format!("poll = {} {events:#x}", shown(answer)));
        });
    });
    exchange_afterwards(stage);
}

/// How a send into a full connection ended: what matters is whether it was cut, not where.
fn ending(answer: Answer, asked: usize) -> String {
    match answer {
        Ok(count) if count == asked => "all of it".into(),
        Ok(_) => "a part of it".into(),
        Err(errno) => format!("-1 {errno}"),
    }
}

fn a_signal_interrupts_a_full_send(stage: &mut Stage) {
    const BLOCK: usize = 1 << 20;
    let sent = stage.near_says(|near| {
        let mut sent = near.fill(81);
        under_alarm(near, false, |near| {
            // Room may still appear for a moment: the last of these sends finds none and is interrupted empty-handed.
            let mut answer = Ok(0);
            for _ in 0..20 {
                answer = transfer::send(near.fd, &content::bytes_from(81, sent, BLOCK), 0);
                match answer {
                    Ok(count) => sent += count as u64,
                    Err(_) => break,
                }
            }
            near.say(&format!("send = {}", ending(answer, BLOCK)));
        });
        sent as i64
    });
    stage.far(|far| {
        far.receives_stream(81, 0, sent as usize);
    });
    exchange_afterwards(stage);
}

fn a_restarting_signal_cuts_a_send_that_has_begun(stage: &mut Stage) {
    const BLOCK: usize = 16 << 20;
    // Something has gone out when the signal comes, so there is nothing to restart: the count says what was sent.
    let sent = stage.near_says(|near| {
        let mut sent = 0;
        under_alarm(near, true, |near| {
            let answer = transfer::send(near.fd, &content::bytes_from(82, 0, BLOCK), 0);
            near.say(&format!("send = {}", ending(answer, BLOCK)));
            sent = answer.unwrap_or(0);
        });
        sent as i64
    });
    stage.far(|far| {
        far.receives_stream(82, 0, sent as usize);
    });
    exchange_afterwards(stage);
}

fn no_interruption_is_lost_in_a_storm(stage: &mut Stage) {
    const INTERRUPTIONS: usize = 400;
    stage.near(|near| {
        near.must(signals::count_signals(libc::SIGALRM, false));
        near.must(signals::alarm_every_us(500, 500));
        let mut interrupted = 0;
        let mut others = Vec::new();
        // Nothing arrives: every recv ends by a signal or never. One that sleeps through its signal is ended by the
        // next, so what is checked is that signals go on ending calls and that nothing else does.
        while interrupted < INTERRUPTIONS && others.is_empty() {
            match transfer::recv(near.fd, &mut [0; 10], 0) {
                Err(errno) if errno.0 == libc::EINTR => interrupted += 1,
                other => others.push(other),
            }
        }
        near.must(signals::alarm_every_us(0, 0));
        near.say(&format!(
            "interrupted {interrupted} times, otherwise {others:?}"
        ));
        near.say(&format!(
            "at least as many signals: {}",
            signals::caught() >= interrupted
        ));
    });
    exchange_afterwards(stage);
}

fn a_storm_of_restarting_signals_harms_no_exchange(stage: &mut Stage) {
    const ROUNDS: u64 = 2000;
    stage.together(
        |near| {
            near.must(signals::count_signals(libc::SIGALRM, true));
            near.must(signals::alarm_every_us(300, 300));
            let mut wrong = 0;
            for round in 0..ROUNDS {
                near.send_all(&content::bytes_from(83, round * 16, 16));
                let back = near.receive_all(16);
                wrong += u64::from(content::first_difference(83, round * 16, &back).is_some());
            }
            near.must(signals::alarm_every_us(0, 0));
            near.say(&format!("{wrong} of {ROUNDS} answers wrong"));
            near.say(&format!("the handler ran: {}", signals::caught() > 0));
        },
        |far| {
            for _ in 0..ROUNDS {
                let bytes = far.receive_all(16);
                far.send_all(&bytes);
            }
        },
    );
}

fn a_blocked_signal_waits(stage: &mut Stage) {
    stage.woken_by(b"data", |near| {
        near.must(signals::count_signals(libc::SIGUSR1, false));
        near.must(signals::block(libc::SIGUSR1, true));
        near.must(signals::raise(libc::SIGUSR1));
        let _ = near.waits_at_least_ms(20, |near| near.recv(10, 0));
        near.say(&format!("handled {}", signals::caught()));
        near.must(signals::block(libc::SIGUSR1, false));
        near.say(&format!("handled {}", signals::caught()));
    });
    exchange_afterwards(stage);
}

fn data_beat_a_pending_signal(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"data", 0);
    });
    stage.near(|near| {
        near.arrived(4);
        near.must(signals::count_signals(libc::SIGUSR1, false));
        near.must(signals::block(libc::SIGUSR1, true));
        near.must(signals::raise(libc::SIGUSR1));
        let (answer, events) = readiness::ppoll_one_admitting_all(near.fd, libc::POLLIN, None);
        near.say(&format!(
            "ppoll with data = {} {events:#x}, handled {}",
            shown(answer),
            signals::caught()
        ));
        let _ = near.recv(10, 0);
        let (answer, events) = readiness::ppoll_one_admitting_all(near.fd, libc::POLLIN, Some(0));
        near.say(&format!(
            "ppoll without data = {} {events:#x}, handled {}",
            shown(answer),
            signals::caught()
        ));
        near.must(signals::block(libc::SIGUSR1, false));
        let _ = options::status(near.fd);
        near.say(&format!("handled {}", signals::caught()));
    });
    exchange_afterwards(stage);
}
