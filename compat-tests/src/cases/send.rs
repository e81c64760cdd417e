//! send(2), sendto(2) and their flags.

use crate::calls::answer::shown;
use crate::calls::connection::Address;
use crate::calls::{readiness, signals, transfer};
use crate::case;
use crate::case::{ALL_KINDS, Case, Proof};
use crate::content;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("send", sends_arrive_in_order).kinds(ALL_KINDS),
    case!("send", sending_nothing_sends_nothing)
        .rows(&[34])
        .proof(Proof::BeganOnRing("nothing is sent")),
    case!("send", harmless_flags_change_nothing),
    case!("send", message_more_is_completed_by_the_next_send).rows(&[2]),
    case!("send", message_more_alone_arrives_in_the_end).rows(&[2]),
    case!("send", broken_pipe_raises_sigpipe_unless_told_not_to)
        .rows(&[33])
        .proof(Proof::BeganOnRing("what is sent finds the peer gone")),
    case!("send", ignored_sigpipe_leaves_the_error).proof(Proof::BeganOnRing("nothing is sent")),
    case!("send", nonblocking_send_takes_what_fits)
        .rows(&[10])
        .proof(Proof::AtLeast(4096)),
    case!("send", dont_wait_send_takes_what_fits)
        .rows(&[10])
        .proof(Proof::AtLeast(4096)),
    case!("send", blocking_send_waits_for_the_reader).proof(Proof::AtLeast(4096)),
    case!("sendto", sendto_with_an_address_on_a_connection),
    case!("send", zero_copy_without_the_option_is_a_plain_send),
    case!("sendto", fast_open_on_a_connection_is_refused),
];

fn sends_arrive_in_order(stage: &mut Stage) {
    stage.near(|near| {
        for word in ["one", "two", "three", "four"] {
            let _ = near.send(word.as_bytes(), 0);
        }
    });
    stage.far(|far| {
        far.arrived(15);
        let _ = far.recv(100, 0);
        let _ = far.send(b"five", 0);
    });
    stage.near(|near| {
        let _ = near.recv(100, 0);
    });
}

fn sending_nothing_sends_nothing(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"", 0);
        let _ = near.send(b"", libc::MSG_DONTWAIT);
        let _ = near.send(b"", libc::MSG_MORE);
        let _ = near.sendto(b"", 0, None);
        let _ = near.sendmsg(&[], 0);
        let _ = near.sendmsg(&[b""], 0);
        let answer = transfer::at_address::send(near.fd, 0, 0, 0);
        let _ = near.observe("send(NULL, 0)", answer);
    });
    stage.far(|far| {
        far.nap_ms(20);
        let _ = far.recv(10, libc::MSG_DONTWAIT);
    });
    stage.near(|near| {
        let _ = near.shutdown(libc::SHUT_WR);
        let _ = near.send(b"", libc::MSG_NOSIGNAL);
        let _ = near.send(b"", libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT);
    });
}

fn harmless_flags_change_nothing(stage: &mut Stage) {
    let flags = [
        libc::MSG_EOR,
        libc::MSG_CONFIRM,
        libc::MSG_DONTROUTE,
        libc::MSG_NOSIGNAL,
        libc::MSG_DONTWAIT,
    ];
    stage.near(|near| {
        for flag in flags {
            let _ = near.send(b"flag ", flag);
        }
    });
    stage.far(|far| far.receives(25));
}

fn message_more_is_completed_by_the_next_send(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"head ", libc::MSG_MORE);
        let _ = near.send(b"body ", libc::MSG_MORE);
        let _ = near.send(b"tail", 0);
    });
    stage.far(|far| far.receives(14));
}

fn message_more_alone_arrives_in_the_end(stage: &mut Stage) {
    stage.together(
        |near| {
            near.other_asleep();
            let _ = near.send(b"patience", libc::MSG_MORE);
        },
        |far| far.receives(8),
    );
}

fn broken_pipe_raises_sigpipe_unless_told_not_to(stage: &mut Stage) {
    stage.far(|far| far.close());
    stage.near(|near| {
        near.must(signals::count_signals(libc::SIGPIPE, false));
        near.end_arrived();
        // The first send after the peer's close is answered by a reset; what comes later is a broken pipe.
        let _ = near.send(b"x", libc::MSG_NOSIGNAL);
        near.until_poll(libc::POLLERR | libc::POLLHUP);
        let _ = near.send(b"x", libc::MSG_NOSIGNAL);
        near.say(&format!("signals {}", signals::caught()));
        let _ = near.send(b"x", 0);
        near.say(&format!("signals {}", signals::caught()));
        let _ = near.write(b"x");
        near.say(&format!("signals {}", signals::caught()));
        let _ = near.sendmsg(&[b"x"], libc::MSG_NOSIGNAL);
        let _ = near.sendmsg(&[b"x"], 0);
        near.say(&format!("signals {}", signals::caught()));
    });
}

fn ignored_sigpipe_leaves_the_error(stage: &mut Stage) {
    stage.near(|near| {
        near.must(signals::ignore(libc::SIGPIPE));
        let _ = near.shutdown(libc::SHUT_WR);
        let _ = near.send(b"x", 0);
        let _ = near.write(b"x");
        let _ = near.send(b"", 0);
        near.pending_error();
    });
}

/// Fills the connection without waiting; how much went in differs from run to run and is not told.
fn fill(stage: &mut Stage, flags: i32) {
    const SEED: u64 = 21;
    let filled = stage.near_says(|near| {
        let mut sent = 0u64;
        let block = 65536;
        // The kernel moves bytes on to the receiver's queue for a moment after it has said EAGAIN: a refusal counts when
        // poll, too, sees no room, and the last one's poll is what is told.
        let mut refusals = 0;
        let mut looks = 0;
        let mut space = (Ok(0), 0);
        while refusals < 40 && looks < 4000 && sent < 64 << 20 {
            let bytes = content::bytes_from(SEED, sent, block);
            match transfer::send(near.fd, &bytes, flags) {
                Ok(count) => {
                    sent += count as u64;
                    refusals = 0;
                }
                Err(errno) if errno.0 == libc::EAGAIN => {
                    space = readiness::poll_one(near.fd, libc::POLLOUT, 0);
                    refusals += u32::from(space.0 == Ok(0));
                    looks += 1;
                    near.nap_ms(2);
                }
                Err(errno) => near.fail(&format!("send: {errno}")),
            }
        }
        near.say(&format!("refused with EAGAIN: {}", refusals > 0));
        near.say(&format!("at least a mebibyte went in: {}", sent >= 1 << 20));
        let (answer, events) = space;
        near.say(&format!("poll for space = {} {events:#x}", shown(answer)));
        sent as i64
    });
    stage.together(
        |near| {
            near.until_poll(libc::POLLOUT);
            near.say("writable again");
        },
        |far| {
            far.receives_stream(SEED, 0, filled as usize);
            let _ = far.recv(1, libc::MSG_DONTWAIT);
        },
    );
    stage.near(|near| {
        let _ = near.send(b"goes on", flags);
    });
    stage.far(|far| far.receives(7));
}

fn nonblocking_send_takes_what_fits(stage: &mut Stage) {
    stage.near(|near| near.set_nonblocking(true));
    fill(stage, 0);
}

fn dont_wait_send_takes_what_fits(stage: &mut Stage) {
    fill(stage, libc::MSG_DONTWAIT);
}

fn blocking_send_waits_for_the_reader(stage: &mut Stage) {
    const BYTES: usize = 24 << 20;
    stage.together(
        |near| {
            let bytes = content::bytes_from(22, 0, BYTES);
            let answer = transfer::send(near.fd, &bytes, 0);
            near.count_sent(answer);
            let _ = near.observe("one send of 24 MiB", answer);
        },
        |far| {
            far.other_asleep();
            far.receives_stream(22, 0, BYTES);
        },
    );
}

fn sendto_with_an_address_on_a_connection(stage: &mut Stage) {
    let address = stage.listening_address();
    stage.near(|near| {
        let _ = near.sendto(b"no address ", 0, None);
        let _ = near.sendto(b"address", libc::MSG_NOSIGNAL, Some(&address));
        let _ = near.sendto(
            b"elsewhere",
            libc::MSG_NOSIGNAL,
            Some(&Address::ipv4([127, 0, 0, 2], 9)),
        );
        let _ = near.send(b"!", 0);
        let _ = near.shutdown(libc::SHUT_WR);
    });
    stage.far(|far| {
        far.receives_until_the_end();
    });
}

fn zero_copy_without_the_option_is_a_plain_send(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"copied all the same", libc::MSG_ZEROCOPY);
    });
    stage.far(|far| far.receives(19));
}

fn fast_open_on_a_connection_is_refused(stage: &mut Stage) {
    let address = stage.listening_address();
    stage.near(|near| {
        let _ = near.sendto(
            b"early",
            libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL,
            Some(&address),
        );
        let _ = near.send(b"on time", 0);
    });
    stage.far(|far| far.receives(7));
}
