//! Time-outs of every form of epoll_wait, and signals.

use crate::calls::epoll::Wait;
use crate::calls::signals;
use crate::case;
use crate::case::{Case, TWO_KINDS};
use crate::cases::forks::talk;
use crate::side::sets::events::IN;
use crate::side::sets::{LONG_MS, SHORT_MS, Set, watching};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
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
];

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
    stage.woken_by(b"wake", |near| {
        let set = Set::new(near);
        set.add(near, IN, 1);
        set.waits(near, Wait::Nanoseconds(None));
        near.receives(4);
    });
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
    let set = watching(stage, IN, 1);
    stage.near(|near| {
        near.must(signals::count_signals(libc::SIGUSR1, false));
        near.must(signals::block(libc::SIGUSR1, true));
        near.must(signals::raise(libc::SIGUSR1));
        set.waits(near, Wait::Plain(SHORT_MS));
        near.say(&format!("handled {}", signals::caught()));
        set.waits(near, Wait::AdmittingAll(LONG_MS));
        near.say(&format!("handled {}", signals::caught()));
    });
    stage.far(|far| {
        let _ = far.send(b"data", 0);
    });
    stage.near(|near| {
        near.arrived(4);
        near.must(signals::raise(libc::SIGUSR1));
        // What is ready comes before the signal, which stays for later.
        set.waits(near, Wait::AdmittingAll(LONG_MS));
        near.receives(4);
        near.must(signals::block(libc::SIGUSR1, false));
        near.say(&format!("handled {}", signals::caught()));
    });
    talk(stage);
}
