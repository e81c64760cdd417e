//! Waits for bytes from the stream, and what ends them.

use super::show_pipe;
use crate::calls::{files, options, signals, transfer};
use crate::case;
use crate::case::{Case, TWO_KINDS};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("splice", splice_sleeps_until_data_come),
    case!("splice", splice_without_waiting),
    case!("splice", splice_nonblock_is_about_the_pipe_only),
    case!("splice", a_splice_of_a_silent_stream_honours_its_timeout).rows(&[23]),
    case!("splice", signals_and_a_splice_of_a_silent_stream)
        .rows(&[23])
        .kinds(TWO_KINDS),
];

fn splice_sleeps_until_data_come(stage: &mut Stage) {
    stage.woken_by(b"wake", |near| {
        let (reading, writing) = near.must(files::pipe(libc::O_NONBLOCK));
        let _ = near.waits_at_least_ms(20, |near| {
            let answer = files::splice(near.fd, writing, 100, 0);
            near.observe("splice(100)", answer)
        });
        show_pipe(near, reading);
    });
}

fn splice_without_waiting(stage: &mut Stage) {
    stage.near(|near| {
        let (_, writing) = near.must(files::pipe(0));
        near.set_nonblocking(true);
        let answer = files::splice(near.fd, writing, 100, 0);
        let _ = near.observe("splice(100) of a non-blocking socket", answer);
        let answer = files::splice(near.fd, writing, 100, libc::SPLICE_F_NONBLOCK);
        let _ = near.observe("splice(100, NONBLOCK) of a non-blocking socket", answer);
        near.set_nonblocking(false);
        let _ = near.send(b"!", 0);
    });
    stage.far(|far| far.receives(1));
}

fn splice_nonblock_is_about_the_pipe_only(stage: &mut Stage) {
    stage.woken_by(b"wake", |near| {
        let (reading, writing) = near.must(files::pipe(libc::O_NONBLOCK));
        let _ = near.waits_at_least_ms(20, |near| {
            let answer = files::splice(near.fd, writing, 100, libc::SPLICE_F_NONBLOCK);
            near.observe("splice(100, NONBLOCK) of a blocking socket", answer)
        });
        show_pipe(near, reading);
    });
}

fn a_splice_of_a_silent_stream_honours_its_timeout(stage: &mut Stage) {
    stage.near(|near| {
        let (reading, writing) = near.must(files::pipe(libc::O_NONBLOCK));
        near.set_timeout_ms("SO_RCVTIMEO", libc::SO_RCVTIMEO, 100);
        let _ = near.waits_at_least_ms(100, |near| {
            let answer = files::splice(near.fd, writing, 100, 0);
            near.observe("splice(100)", answer)
        });
        let left = options::ioctl_int(reading, libc::FIONREAD, 0);
        near.say(&format!("in the pipe: {left:?}"));
        near.set_timeout_ms("SO_RCVTIMEO", libc::SO_RCVTIMEO, 0);
        let _ = near.send(b"!", 0);
    });
    stage.far(|far| far.receives(1));
}

fn signals_and_a_splice_of_a_silent_stream(stage: &mut Stage) {
    stage.near(|near| {
        let (_, writing) = near.must(files::pipe(0));
        near.must(signals::count_signals(libc::SIGALRM, false));
        near.must(signals::alarm_every_us(100_000, 100_000));
        let answer = files::splice(near.fd, writing, 100, 0);
        let _ = near.observe("splice, handler without SA_RESTART", answer);
        near.must(signals::count_signals(libc::SIGALRM, true));
        near.set_timeout_ms("SO_RCVTIMEO", libc::SO_RCVTIMEO, 60_000);
        let answer = files::splice(near.fd, writing, 100, 0);
        let _ = near.observe("splice with a time-out, handler with SA_RESTART", answer);
        near.set_timeout_ms("SO_RCVTIMEO", libc::SO_RCVTIMEO, 0);
        near.must(signals::alarm_every_us(0, 0));
    });
    stage.together(
        |near| {
            let (reading, writing) = near.must(files::pipe(0));
            near.must(signals::count_signals(libc::SIGALRM, true));
            near.must(signals::alarm_every_us(50_000, 50_000));
            let _ = near.waits_at_least_ms(200, |near| {
                let answer = files::splice(near.fd, writing, 100, 0);
                near.observe("splice, handler with SA_RESTART", answer)
            });
            near.must(signals::alarm_every_us(0, 0));
            near.say(&format!("the handler ran: {}", signals::caught() > 0));
            let _ = near.fills("read of the pipe", 100, |_, buffer| {
                transfer::read(reading, buffer)
            });
        },
        |far| {
            far.other_asleep();
            far.nap_ms(200);
            let _ = far.send(b"patience", 0);
        },
    );
}
