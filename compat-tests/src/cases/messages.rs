//! sendmsg(2), recvmsg(2), sendmmsg(2) and recvmmsg(2).

use std::time::Duration;

use crate::calls::answer::Answer;
use crate::calls::transfer::Parts;
use crate::calls::{message, options, signals};
use crate::case;
use crate::case::{ALL_KINDS, Case, Proof, Start, TWO_KINDS};
use crate::cases::requests;
use crate::content;
use crate::side::Side;
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("sendmsg", sendmsg_gathers).kinds(ALL_KINDS),
    case!("recvmsg", recvmsg_scatters_and_fills_the_header).kinds(ALL_KINDS),
    case!("recvmsg", recvmsg_truncates_and_peeks).rows(&[34]),
    case!("recvmsg", recvmsg_of_many_sizes),
    case!("recvmsg", recvmsg_sleeps_until_data_come),
    case!("sendmsg", sendmsg_with_a_name_on_a_connection),
    case!("sendmsg", unknown_control_messages_are_judged_by_the_kernel).proof(Proof::BeganOnRing(
        "the call takes the connection back to the kernel",
    )),
    case!("sendmsg", malformed_control_is_refused).proof(Proof::BeganOnRing(
        "the call takes the connection back to the kernel",
    )),
    case!("sendmmsg", sendmmsg_counts_messages_and_bytes).kinds(ALL_KINDS),
    case!("sendmmsg", sendmmsg_of_nothing),
    case!("sendmmsg", sendmmsg_stops_when_full).proof(Proof::AtLeast(4096)),
    case!("sendmmsg", sendmmsg_into_a_full_stream_honours_its_timeout).proof(Proof::AtLeast(4096)),
    case!(
        "sendmmsg",
        a_restarting_signal_cuts_a_sendmmsg_that_has_begun
    )
    .rows(&[23])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(4096)),
    case!("recvmmsg", recvmmsg_fills_one_after_the_other),
    case!("recvmmsg", recvmmsg_waits_for_one),
    case!("recvmmsg", recvmmsg_waits_for_all),
    case!("recvmmsg", recvmmsg_looks_at_its_timeout_after_each_message),
    case!("recvmmsg", recvmmsg_tells_what_is_left_of_its_timeout),
    case!("recvmmsg", a_receive_timeout_cuts_a_recvmmsg),
    case!(
        "recvmmsg",
        a_restarting_signal_cuts_a_recvmmsg_that_has_begun
    )
    .rows(&[23])
    .kinds(TWO_KINDS),
    case!("recvmmsg", recvmmsg_at_the_end_of_the_stream),
    case!("recvmmsg", a_reset_behind_the_first_message_is_told_next)
        .rows(&[33])
        .kinds(TWO_KINDS),
    case!(
        "recvmmsg",
        a_reset_behind_the_first_message_of_a_released_connection
    )
    .rows(&[33])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(10)),
    case!(
        "recvmmsg",
        a_reset_behind_the_first_message_of_a_young_connection
    )
    .rows(&[33])
    .start(Start::Connected),
    case!(
        "recvmmsg",
        a_reset_behind_the_first_message_without_opting_in
    )
    .rows(&[33])
    .kinds(TWO_KINDS)
    .environment(&[("AXIO", "optin")])
    .proof(Proof::StaysOnKernel("not_opted_in")),
    case!(
        "recvmmsg",
        a_restarting_signal_cuts_a_recvmmsg_of_a_released_connection
    )
    .rows(&[23])
    .kinds(TWO_KINDS)
    .proof(Proof::AtLeast(10)),
];

fn sendmsg_gathers(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.sendmsg(&[b"one ", b"", b"two ", b"three"], 0);
        let _ = near.sendmsg(&[b" four"], libc::MSG_DONTWAIT);
    });
    stage.far(|far| far.receives(18));
}

fn recvmsg_scatters_and_fills_the_header(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"abcdefghijklmnop", 0);
    });
    stage.far(|far| {
        far.arrived(16);
        let _ = far.recvmsg(&[2, 0, 3], 128, 64, 0);
        let _ = far.recvmsg(&[1], 0, 0, 0);
        let _ = far.recvmsg(&[4, 100], 28, 0, libc::MSG_CMSG_CLOEXEC);
    });
}

fn recvmsg_truncates_and_peeks(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"abcdefghij", 0);
    });
    stage.far(|far| {
        far.arrived(10);
        let _ = far.recvmsg(&[2, 2], 28, 0, libc::MSG_PEEK);
        let got = message::recvmsg(far.fd, &[2, 2], 28, 0, libc::MSG_TRUNC);
        let _ = far.observe("recvmsg([2, 2], TRUNC)", got.answer);
        far.say(&format!("flags {:#x}, name {}", got.flags, got.name_length));
        let _ = far.recvmsg(&[100], 0, 0, libc::MSG_PEEK | libc::MSG_DONTWAIT);
        let _ = far.recvmsg(&[100], 0, 0, 0);
    });
}

fn recvmsg_of_many_sizes(stage: &mut Stage) {
    let bytes = content::bytes_from(31, 0, 4000);
    stage.near(|near| near.send_all(&bytes));
    stage.far(|far| {
        far.arrived(4000);
        let _ = far.recvmsg(&[1, 10, 100, 1000], 0, 0, 0);
        let _ = far.recvmsg(&[1024, 1024], 0, 0, 0);
        let _ = far.recvmsg(&[16384], 0, 0, 0);
    });
}

fn recvmsg_sleeps_until_data_come(stage: &mut Stage) {
    stage.together(
        |near| {
            let _ = near.waits_at_least_ms(20, |near| near.recvmsg(&[3, 100], 28, 0, 0));
        },
        |far| {
            far.other_asleep();
            let _ = far.sendmsg(&[b"wa", b"ke"], 0);
        },
    );
}

fn sendmsg_with_a_name_on_a_connection(stage: &mut Stage) {
    let address = stage.listening_address();
    stage.near(|near| {
        let answer = message::sendmsg(
            near.fd,
            &mut Parts::copies(&[b"named"]),
            Some(&address),
            &mut [],
            0,
        );
        near.count_sent(answer);
        let _ = near.observe("sendmsg with a name", answer);
        let _ = near.sendmsg(&[b"!"], 0);
        let _ = near.shutdown(libc::SHUT_WR);
    });
    stage.far(|far| {
        far.receives_until_the_end();
    });
}

fn unknown_control_messages_are_judged_by_the_kernel(stage: &mut Stage) {
    stage.near(|near| {
        let trials = [
            (
                "SOL_SOCKET 99",
                message::control_message(libc::SOL_SOCKET, 99, &[1]),
            ),
            (
                "SOL_IP 2",
                message::control_message(libc::IPPROTO_IP, 2, &[1]),
            ),
            (
                "SCM_RIGHTS",
                message::control_message(libc::SOL_SOCKET, libc::SCM_RIGHTS, &[0]),
            ),
        ];
        for (what, mut control) in trials {
            let answer =
                message::sendmsg(near.fd, &mut Parts::copies(&[b"x"]), None, &mut control, 0);
            near.count_sent(answer);
            let _ = near.observe(&format!("sendmsg with {what}"), answer);
        }
        let _ = near.send(b"!", 0);
        let _ = near.shutdown(libc::SHUT_WR);
    });
    stage.far(|far| {
        far.receives_until_the_end();
    });
}

fn malformed_control_is_refused(stage: &mut Stage) {
    stage.near(|near| {
        for length in [0u64, 8, 1 << 40] {
            let mut control = [length, 0, 0];
            let answer =
                message::sendmsg(near.fd, &mut Parts::copies(&[b"x"]), None, &mut control, 0);
            near.count_sent(answer);
            let _ = near.observe(
                &format!("sendmsg with a control message of length {length}"),
                answer,
            );
        }
        let _ = near.send(b"!", 0);
        let _ = near.shutdown(libc::SHUT_WR);
    });
    stage.far(|far| {
        far.receives_until_the_end();
    });
}

fn sendmmsg_counts_messages_and_bytes(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.sendmmsg(&[&[b"one ", b"two "], &[b"three "], &[], &[b"four"]], 0);
    });
    stage.far(|far| far.receives(18));
}

fn sendmmsg_of_nothing(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.sendmmsg(&[], 0);
        let _ = near.sendmmsg(&[&[b""]], 0);
        let _ = near.send(b"x", 0);
        let _ = near.shutdown(libc::SHUT_WR);
        let _ = near.sendmmsg(&[&[b"late"], &[b"later"]], libc::MSG_NOSIGNAL);
    });
    stage.far(|far| {
        far.receives(1);
        let _ = far.recv(1, 0);
    });
}

fn sendmmsg_stops_when_full(stage: &mut Stage) {
    const SEED: u64 = 32;
    let sent = stage.near_says(|near| {
        let mut sent = 0u64;
        let mut refusals = 0;
        while refusals < 20 && sent < 64 << 20 {
            // Lengths of a message that is cut short differ from run to run; the bytes must not.
            let bytes = content::bytes_from(SEED, sent, 4 * 30_000);
            let mut slots: Vec<message::Slot> = bytes
                .chunks(30_000)
                .map(|chunk| message::Slot::of(Parts::copies(&[chunk])))
                .collect();
            match message::sendmmsg(near.fd, &mut slots, libc::MSG_DONTWAIT) {
                Ok(count) => {
                    let lengths: Vec<u32> =
                        slots.iter().take(count).map(|slot| slot.length).collect();
                    sent += lengths.iter().map(|length| u64::from(*length)).sum::<u64>();
                    // Only the last message may be cut short, or what follows it would be out of order.
                    if lengths.iter().rev().skip(1).any(|length| *length < 30_000) {
                        near.fail(&format!(
                            "a message was cut short and others followed: {lengths:?}"
                        ));
                    }
                }
                Err(errno) if errno.0 == libc::EAGAIN => {
                    refusals += 1;
                    near.nap_ms(1);
                }
                Err(errno) => near.fail(&format!("sendmmsg: {errno}")),
            }
        }
        near.say(&format!("refused with EAGAIN: {}", refusals > 0));
        sent as i64
    });
    stage.far(|far| {
        far.receives_stream(SEED, 0, sent as usize);
    });
}

const MESSAGE_BYTES: usize = 50_000;

/// So many messages of a stream.
fn messages_of(seed: u64, sent: u64, messages: usize) -> Vec<message::Slot> {
    content::bytes_from(seed, sent, messages * MESSAGE_BYTES)
        .chunks(MESSAGE_BYTES)
        .map(|chunk| message::Slot::of(Parts::copies(&[chunk])))
        .collect()
}

/// One sendmmsg(2): what it answered, and the bytes it sent.
fn send_messages(side: &mut Side, mut slots: Vec<message::Slot>) -> (Answer, u64) {
    let answer = message::sendmmsg(side.fd, &mut slots, 0);
    let lengths = slots.iter().take(answer.unwrap_or(0));
    (answer, lengths.map(|slot| u64::from(slot.length)).sum())
}

fn sendmmsg_into_a_full_stream_honours_its_timeout(stage: &mut Stage) {
    let sent = stage.near_says(|near| {
        near.set_timeout_ms("SO_SNDTIMEO", libc::SO_SNDTIMEO, 100);
        let (sent, started) = near.sends_until_refused("sendmmsg", |near, sent| {
            send_messages(near, messages_of(33, sent, 4))
        });
        near.says_whether_it_waited_ms(100, started);
        sent as i64
    });
    stage.far(|far| far.receives_stream(33, 0, sent as usize));
}

fn a_restarting_signal_cuts_a_sendmmsg_that_has_begun(stage: &mut Stage) {
    // More than goes in without a reader.
    const MESSAGES: usize = 700;
    let sent = stage.near_says(|near| {
        let slots = messages_of(34, 0, MESSAGES);
        near.must(signals::count_signals(libc::SIGALRM, true));
        near.must(signals::alarm_every_us(200_000, 200_000));
        let (answer, sent) = send_messages(near, slots);
        near.must(signals::alarm_every_us(0, 0));
        if sent == (MESSAGES * MESSAGE_BYTES) as u64 {
            near.fail("all went in without a reader");
        }
        near.say(&format!("cut, not failed: {}", answer.is_ok()));
        near.say(&format!("the handler ran: {}", signals::caught() > 0));
        sent as i64
    });
    stage.far(|far| far.receives_stream(34, 0, sent as usize));
}

fn recvmmsg_fills_one_after_the_other(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"abcdefghij", 0);
    });
    stage.far(|far| {
        far.arrived(10);
        let _ = far.recvmmsg(&[&[2, 1], &[4], &[3]], 0, None);
    });
    stage.near(|near| {
        let _ = near.send(b"klm", 0);
    });
    stage.far(|far| {
        far.arrived(3);
        let _ = far.recvmmsg(&[&[2], &[2], &[2]], libc::MSG_DONTWAIT, None);
        let _ = far.recvmmsg(&[&[2], &[2]], libc::MSG_DONTWAIT, None);
        let _ = far.recvmmsg(&[], 0, None);
    });
}

fn recvmmsg_waits_for_one(stage: &mut Stage) {
    stage.woken_by(b"only", |near| {
        let _ = near.waits_at_least_ms(20, |near| {
            near.recvmmsg(&[&[4], &[4]], libc::MSG_WAITFORONE, None)
        });
    });
}

fn recvmmsg_waits_for_all(stage: &mut Stage) {
    stage.together(
        |near| {
            let _ = near.waits_at_least_ms(20, |near| near.recvmmsg(&[&[4], &[4]], 0, None));
        },
        |far| {
            far.other_asleep();
            let _ = far.send(b"one ", 0);
            far.other_asleep();
            let _ = far.send(b"two", 0);
        },
    );
}

fn recvmmsg_looks_at_its_timeout_after_each_message(stage: &mut Stage) {
    stage.together(
        |near| {
            // The time-out is over when the first message comes, and only then it is looked at.
            let _ = near.waits_at_least_ms(100, |near| near.recvmmsg(&[&[4], &[4]], 0, Some(20)));
        },
        |far| {
            far.other_asleep();
            far.nap_ms(100);
            let _ = far.send(b"late", 0);
        },
    );
    stage.near(|near| {
        let _ = near.recvmmsg(&[&[4]], 0, Some(-1));
        let _ = near.recvmmsg(&[&[4]], libc::MSG_DONTWAIT, Some(1000));
    });
}

fn recvmmsg_tells_what_is_left_of_its_timeout(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"abcdefgh", 0);
    });
    stage.far(|far| {
        far.arrived(8);
        let mut slots = [4, 4].map(|bytes| message::Slot::of(Parts::of_sizes(&[bytes])));
        let mut left = Duration::from_secs(60);
        let answer = message::recvmmsg_within(far.fd, &mut slots, 0, &mut left);
        let _ = far.observe("recvmmsg", answer);
        far.say(&format!(
            "some time is left, and some is not: {} {}",
            left > Duration::ZERO,
            left < Duration::from_secs(60)
        ));
        // Nothing is told when nothing was received.
        let mut left = Duration::from_secs(60);
        let answer = message::recvmmsg_within(far.fd, &mut slots, libc::MSG_DONTWAIT, &mut left);
        let _ = far.observe("recvmmsg(DONTWAIT)", answer);
        far.say(&format!("left: {left:?}"));
    });
}

fn a_receive_timeout_cuts_a_recvmmsg(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"only", 0);
    });
    stage.far(|far| {
        far.arrived(4);
        far.set_timeout_ms("SO_RCVTIMEO", libc::SO_RCVTIMEO, 100);
        let _ = far.waits_at_least_ms(100, |far| far.recvmmsg(&[&[4], &[4]], 0, None));
        let _ = far.waits_at_least_ms(100, |far| far.recvmmsg(&[&[4], &[4]], 0, None));
    });
}

fn a_restarting_signal_cuts_a_recvmmsg_that_has_begun(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"only", 0);
    });
    stage.far(|far| {
        far.arrived(4);
        far.must(signals::count_signals(libc::SIGALRM, true));
        far.must(signals::alarm_every_us(100_000, 100_000));
        let _ = far.recvmmsg(&[&[4], &[4]], 0, None);
        far.must(signals::alarm_every_us(0, 0));
        far.say(&format!("the handler ran: {}", signals::caught() > 0));
    });
}

/// By ring first, then by kernel.
fn goes_back_to_the_kernel(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"by ring ..", 0);
    });
    stage.far(|far| far.receives(10));
    stage.near(requests::release);
    requests::chat(stage, 6);
}

fn a_restarting_signal_cuts_a_recvmmsg_of_a_released_connection(stage: &mut Stage) {
    goes_back_to_the_kernel(stage);
    a_restarting_signal_cuts_a_recvmmsg_that_has_begun(stage);
}

/// The reader sleeps for its second message when the reset comes.
fn a_reset_behind_the_first_message_is_told_next(stage: &mut Stage) {
    stage.together(
        |near| {
            let _ = near.recvmmsg(&[&[4], &[4], &[4]], 0, None);
            let _ = near.recv(10, 0);
            let _ = near.recv(10, 0);
        },
        |far| {
            // A reset throws away what waits for an acknowledgement of bytes sent before.
            let at_once = options::set(far.fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
            far.must(at_once);
            far.other_asleep();
            let _ = far.send(b"only", 0);
            far.other_asleep();
            far.must(options::set_linger(far.fd, true, 0));
            far.close();
        },
    );
}

fn a_reset_behind_the_first_message_of_a_released_connection(stage: &mut Stage) {
    goes_back_to_the_kernel(stage);
    a_reset_behind_the_first_message_is_told_next(stage);
}

/// A connecting end that looks for the far one at once does so when the reset comes: that one has received nothing. The
/// next connection goes by ring.
fn a_reset_behind_the_first_message_of_a_young_connection(stage: &mut Stage) {
    a_reset_behind_the_first_message_is_told_next(stage);
    stage.near(Side::close);
    stage.connect();
    stage.goes_on_by_ring();
}

fn a_reset_behind_the_first_message_without_opting_in(stage: &mut Stage) {
    // Why a connection that is over stays where it is, nobody can tell.
    stage.both(|side| side.take_status());
    a_reset_behind_the_first_message_is_told_next(stage);
}

fn recvmmsg_at_the_end_of_the_stream(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"abcdef", 0);
        let _ = near.shutdown(libc::SHUT_WR);
    });
    stage.far(|far| {
        far.end_arrived();
        far.arrived(6);
        let _ = far.recvmmsg(&[&[4], &[4], &[4]], 0, None);
        let _ = far.recvmmsg(&[&[4], &[4]], 0, None);
    });
}
