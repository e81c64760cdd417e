//! sendfile(2) and copy_file_range(2).

use std::os::fd::RawFd;
use std::time::Instant;

use crate::calls::answer::Errno;
use crate::calls::{connection, files, signals};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::content;
use crate::side::Side;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("sendfile", sendfile_moves_the_files_position),
    case!("sendfile", sendfile_at_an_offset_leaves_the_position),
    case!("sendfile", sendfile_stops_at_the_end_of_the_file),
    case!("sendfile", sendfile_of_a_large_file).proof(Proof::AtLeast(4096)),
    case!("sendfile", sendfile_of_a_large_file_in_pieces).proof(Proof::AtLeast(4096)),
    case!("sendfile", sendfile_refuses_what_is_no_file),
    case!("sendfile", sendfile_without_waiting_stops_when_full).proof(Proof::AtLeast(4096)),
    case!("sendfile", sendfile_into_a_full_stream_honours_its_timeout)
        .rows(&[23])
        .proof(Proof::AtLeast(4096)),
    case!(
        "sendfile",
        a_signal_interrupts_a_sendfile_into_a_full_stream
    )
    .rows(&[23])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(4096)),
    case!(
        "sendfile",
        a_restarting_signal_cuts_a_sendfile_that_has_begun
    )
    .rows(&[23])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(4096)),
    case!(
        "sendfile",
        a_restarting_signal_does_not_interrupt_a_sendfile_that_waits
    )
    .rows(&[23])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(4096)),
    case!("copy_file_range", copy_file_range_refuses_sockets),
];

fn sendfile_moves_the_files_position(stage: &mut Stage) {
    stage.near(|near| {
        let file = near.must(files::memory_file(b"abcdefghij"));
        let _ = near.sendfile(file, None, 4);
        let _ = near.sendfile(file, None, 4);
        let answer = files::sendfile64(near.fd, file, None, 2);
        near.count_sent(answer);
        let _ = near.observe("sendfile64(2)", answer);
    });
    stage.far(|far| far.receives(10));
}

fn sendfile_at_an_offset_leaves_the_position(stage: &mut Stage) {
    stage.near(|near| {
        let file = near.must(files::memory_file(b"abcdefghij"));
        let _ = near.sendfile(file, Some(3), 4);
        let _ = near.observe("position", files::lseek(file, 0, libc::SEEK_CUR));
        let _ = near.sendfile(file, Some(0), 2);
        let _ = near.sendfile(file, Some(-1), 2);
    });
    stage.far(|far| far.receives(6));
}

fn sendfile_stops_at_the_end_of_the_file(stage: &mut Stage) {
    stage.near(|near| {
        let file = near.must(files::memory_file(b"abcdefghij"));
        let _ = near.sendfile(file, Some(7), 100);
        let _ = near.sendfile(file, Some(10), 100);
        let _ = near.sendfile(file, Some(1000), 100);
        let _ = near.sendfile(file, Some(0), 0);
        let _ = near.sendfile(file, None, 100);
        let _ = near.sendfile(file, None, 100);
    });
    stage.far(|far| far.receives(13));
}

fn sendfile_of_a_large_file(stage: &mut Stage) {
    send_a_large_file(stage, usize::MAX);
}

fn sendfile_of_a_large_file_in_pieces(stage: &mut Stage) {
    send_a_large_file(stage, 30_000);
}

fn send_a_large_file(stage: &mut Stage, longest: usize) {
    const BYTES: usize = 5 << 20;
    stage.together(
        |near| {
            let file = near.must(files::memory_file(&content::bytes_from(61, 0, BYTES)));
            let mut sent = 0;
            while sent < BYTES {
                let answer = files::sendfile(near.fd, file, None, longest.min(BYTES - sent));
                near.count_sent(answer);
                match answer {
                    Ok(0) => near.fail("sendfile sent nothing before the end of the file"),
                    Ok(count) => sent += count,
                    Err(errno) => near.fail(&format!("sendfile: {errno}")),
                }
            }
            let _ = near.sendfile(file, None, 1);
        },
        |far| {
            far.receives_stream(61, 0, BYTES);
        },
    );
}

fn sendfile_refuses_what_is_no_file(stage: &mut Stage) {
    let own = stage.own_descriptor();
    stage.far(|far| {
        let _ = far.send(b"waiting", 0);
    });
    stage.near(|near| {
        near.arrived(7);
        let file = near.must(files::memory_file(b"abcdefghij"));
        let _ = near.observe(
            "from the socket to itself",
            files::sendfile(own, own, None, 4),
        );
        let _ = near.observe(
            "from the socket to a file",
            files::sendfile(file, own, None, 4),
        );
        let _ = near.observe("from nothing", files::sendfile(own, -1, None, 4));
        let _ = near.observe("to nothing", files::sendfile(-1, file, None, 4));
        let (reading, writing) = near.must(files::pipe(0));
        near.must(crate::calls::transfer::write(writing, b"piped"));
        let answer = files::sendfile(own, reading, None, 5);
        near.count_sent(answer);
        let _ = near.observe("from a pipe", answer);
        near.must(connection::close(file));
        let _ = near.recv(10, 0);
        let _ = near.send(b"!", 0);
        let _ = near.shutdown(libc::SHUT_WR);
    });
    stage.far(|far| {
        far.receives_until_the_end();
    });
}

fn sendfile_without_waiting_stops_when_full(stage: &mut Stage) {
    const BYTES: usize = 32 << 20;
    let sent = stage.near_says(|near| {
        let file = near.must(files::memory_file(&content::bytes_from(62, 0, BYTES)));
        near.set_nonblocking(true);
        let mut sent = 0;
        let mut refusals = 0;
        while refusals < 20 && sent < BYTES {
            match files::sendfile(near.fd, file, None, 30_000) {
                Ok(count) => sent += count,
                Err(errno) if errno.0 == libc::EAGAIN => {
                    refusals += 1;
                    near.nap_ms(1);
                }
                Err(errno) => near.fail(&format!("sendfile: {errno}")),
            }
        }
        near.say(&format!("refused with EAGAIN: {}", refusals > 0));
        let position = files::lseek(file, 0, libc::SEEK_CUR);
        near.say(&format!(
            "the position is what was sent: {}",
            position == Ok(sent)
        ));
        sent as i64
    });
    stage.far(|far| {
        far.receives_stream(62, 0, sent as usize);
    });
}

/// Sends a file until a call moves nothing: what was sent, and why that one ended and when it began.
fn send_until_it_ends(side: &mut Side, file: RawFd) -> (usize, Errno, Instant) {
    let mut sent = 0;
    loop {
        let started = Instant::now();
        match files::sendfile(side.fd, file, None, 100_000) {
            Ok(0) => side.fail("the whole file went in without a reader"),
            Ok(count) => sent += count,
            Err(errno) => return (sent, errno, started),
        }
    }
}

fn says_whether_the_position_is(side: &mut Side, file: RawFd, sent: usize) {
    let position = files::lseek(file, 0, libc::SEEK_CUR);
    side.say(&format!(
        "the position is what was sent: {}",
        position == Ok(sent)
    ));
}

fn sendfile_into_a_full_stream_honours_its_timeout(stage: &mut Stage) {
    const BYTES: usize = 32 << 20;
    let sent = stage.near_says(|near| {
        let file = near.must(files::memory_file(&content::bytes_from(63, 0, BYTES)));
        near.set_timeout_ms("SO_SNDTIMEO", libc::SO_SNDTIMEO, 100);
        let (sent, errno, started) = send_until_it_ends(near, file);
        near.say(&format!("sendfile = -1 {errno}"));
        near.says_whether_it_waited_ms(100, started);
        says_whether_the_position_is(near, file, sent);
        // There may be room again by now.
        let mut offset = sent as i64;
        let answer = files::sendfile(near.fd, file, Some(&mut offset), 100_000);
        let sent = sent + answer.unwrap_or(0);
        near.say(&format!(
            "the offset is what was sent: {}",
            offset == sent as i64
        ));
        sent as i64
    });
    stage.far(|far| far.receives_stream(63, 0, sent as usize));
}

fn a_signal_interrupts_a_sendfile_into_a_full_stream(stage: &mut Stage) {
    const BYTES: usize = 32 << 20;
    let sent = stage.near_says(|near| {
        let file = near.must(files::memory_file(&content::bytes_from(64, 0, BYTES)));
        near.must(signals::count_signals(libc::SIGALRM, false));
        near.must(signals::alarm_every_us(100_000, 100_000));
        let (sent, errno, _) = send_until_it_ends(near, file);
        near.must(signals::alarm_every_us(0, 0));
        near.say(&format!("sendfile = -1 {errno}"));
        near.say(&format!("the handler ran: {}", signals::caught() > 0));
        says_whether_the_position_is(near, file, sent);
        sent as i64
    });
    stage.far(|far| far.receives_stream(64, 0, sent as usize));
}

fn a_restarting_signal_cuts_a_sendfile_that_has_begun(stage: &mut Stage) {
    const BYTES: usize = 32 << 20;
    let sent = stage.near_says(|near| {
        let file = near.must(files::memory_file(&content::bytes_from(65, 0, BYTES)));
        near.must(signals::count_signals(libc::SIGALRM, true));
        near.must(signals::alarm_every_us(200_000, 200_000));
        let answer = files::sendfile(near.fd, file, None, BYTES);
        near.must(signals::alarm_every_us(0, 0));
        let part = answer.is_ok_and(|count| count > 0 && count < BYTES);
        near.say(&format!("a part was sent: {part}"));
        let sent = answer.unwrap_or(0);
        says_whether_the_position_is(near, file, sent);
        sent as i64
    });
    stage.far(|far| far.receives_stream(65, 0, sent as usize));
}

fn a_restarting_signal_does_not_interrupt_a_sendfile_that_waits(stage: &mut Stage) {
    const BYTES: usize = 1 << 20;
    let filled = stage.near_says(|near| near.fill(66) as i64);
    let all = filled as usize + BYTES;
    stage.together(
        |near| {
            let bytes = content::bytes_from(66, filled as u64, BYTES);
            let file = near.must(files::memory_file(&bytes));
            near.must(signals::count_signals(libc::SIGALRM, true));
            near.must(signals::alarm_every_us(50_000, 50_000));
            let (mut sent, mut failed) = (0, None);
            while sent < BYTES && failed.is_none() {
                match files::sendfile(near.fd, file, None, BYTES - sent) {
                    Ok(count) => sent += count,
                    Err(errno) => failed = Some(errno),
                }
            }
            near.must(signals::alarm_every_us(0, 0));
            near.say(&format!("failed: {failed:?}"));
            near.say(&format!("the handler ran: {}", signals::caught() > 0));
        },
        |far| {
            far.other_asleep();
            far.nap_ms(300);
            far.receives_stream(66, 0, all);
        },
    );
}

fn copy_file_range_refuses_sockets(stage: &mut Stage) {
    stage.far(|far| {
        let _ = far.send(b"waiting", 0);
    });
    stage.near(|near| {
        near.arrived(7);
        let file = near.must(files::memory_file(b"abcdefghij"));
        let _ = near.observe("from the socket", files::copy_file_range(near.fd, file, 4));
        let _ = near.observe("to the socket", files::copy_file_range(file, near.fd, 4));
        let _ = near.recv(10, 0);
        let _ = near.send(b"!", 0);
    });
    stage.far(|far| far.receives(1));
}
