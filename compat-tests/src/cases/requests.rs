//! Axio's own requests on a plain descriptor, and sockets that are not to be accelerated. What the requests answer on
//! a connection differs from the kernel by definition and is not in the transcript; what the stream does must not.

use crate::calls::{confinement, files, options, processes, transfer};
use crate::case;
use crate::case::{ALL_KINDS, Case, Proof, Start};
use crate::content;
use crate::settle::{is_accelerated, reason_name};
use crate::side::{FREE_NUMBER, Side};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("AXIO_SIOCSTATUS", requests_on_what_is_no_connection),
    case!("AXIO_SIOCACCEL", a_released_connection_goes_on_by_kernel)
        .kinds(ALL_KINDS)
        .proof(Proof::AtLeast(10)),
    case!(
        "AXIO_SIOCACCEL",
        a_release_with_bytes_queued_keeps_their_order
    )
    .proof(Proof::AtLeast(3)),
    case!(
        "AXIO_SIOCACCEL",
        a_stream_is_released_and_accelerated_again_and_again
    )
    .proof(Proof::AtLeast(4096)),
    case!("AXIO_SIOCACCEL", opting_in_accelerates)
        .start(Start::Connected)
        .environment(&[("AXIO", "optin")]),
    case!("AXIO_SIOCACCEL", without_opting_in_nothing_is_accelerated)
        .environment(&[("AXIO", "optin")])
        .proof(Proof::StaysOnKernel("not_opted_in")),
    case!("AXIO_RULES", a_rule_keeps_connections_on_the_kernel)
        .environment(&[("AXIO_RULES", "kernel * * *:*")])
        .proof(Proof::StaysOnKernel("rule")),
    case!("AXIO", switched_off_nothing_differs)
        .start(Start::Connected)
        .environment(&[("AXIO", "off")])
        .proof(Proof::Unproven("the library is off")),
    case!("io_uring", a_process_with_io_uring_stays_on_the_kernel)
        .rows(&[21])
        .start(Start::Empty)
        .proof(Proof::StaysOnKernel("io_uring")),
    case!("io_uring", an_io_uring_that_is_refused_changes_nothing)
        .rows(&[21])
        .proof(Proof::AtLeast(300)),
    case!("seccomp", asking_what_filters_there_are_confines_nobody)
        .rows(&[36])
        .proof(Proof::AtLeast(300)),
];

pub(super) fn chat(stage: &mut Stage, rounds: u8) {
    for round in 0..rounds {
        stage.near(|near| near.send_all(&[b'a' + round % 26; 20]));
        stage.far(|far| {
            far.receives(20);
            far.send_all(&[b'A' + round % 26; 10]);
        });
        stage.near(|near| near.receives(10));
    }
}

fn requests_on_what_is_no_connection(stage: &mut Stage) {
    stage.near(|near| {
        let file = near.must(files::memory_file(b"abc"));
        let (reading, _) = near.must(files::pipe(0));
        for (what, fd) in [
            ("nothing", -1),
            ("a free number", FREE_NUMBER),
            ("a file", file),
            ("a pipe", reading),
            ("/dev/null", 0),
        ] {
            near.say(&format!(
                "status of {what}: {:?}",
                options::status(fd).map(|status| status.state)
            ));
            near.say(&format!(
                "accelerate {what}: {:?}",
                options::accelerate(fd, true)
            ));
        }
        let _ = near.send(b"!", 0);
    });
    stage.far(|far| far.receives(1));
}

/// Asks for the kernel path; on a bare kernel there is nothing to ask.
pub(super) fn release(side: &mut Side) {
    if let Err(errno) = options::accelerate(side.fd, false)
        && errno.0 != libc::ENOTTY
    {
        side.complain(&format!("AXIO_SIOCACCEL 0: {errno}"));
    }
}

fn a_released_connection_goes_on_by_kernel(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"by ring ..", 0);
    });
    stage.far(|far| far.receives(10));
    stage.near(release);
    chat(stage, 6);
    stage.near(|near| {
        if let Ok(status) = options::status(near.fd)
            && (is_accelerated(&status) || reason_name(&status) != "released")
        {
            near.complain(&format!(
                "released, but state {} reason {}",
                status.state,
                reason_name(&status)
            ));
        }
    });
    stage.far(|far| {
        let _ = far.recv(1, libc::MSG_DONTWAIT);
    });
}

fn a_release_with_bytes_queued_keeps_their_order(stage: &mut Stage) {
    stage.near(|near| {
        let _ = near.send(b"one ", 0);
        release(near);
        let _ = near.send(b"two ", 0);
    });
    stage.far(|far| {
        let _ = far.send(b"uno ", 0);
    });
    stage.near(|near| {
        near.arrived(4);
        let _ = near.send(b"three", 0);
        let _ = near.recv(100, 0);
    });
    stage.far(|far| {
        far.receives(13);
        let _ = far.recv(1, libc::MSG_DONTWAIT);
        far.close();
    });
    stage.near(|near| {
        near.end_arrived();
        let _ = near.recv(1, 0);
    });
}

fn a_stream_is_released_and_accelerated_again_and_again(stage: &mut Stage) {
    const TOTAL: usize = 600_000;
    const PIECE: usize = 3000;
    stage.both(|side| {
        let fd = side.fd;
        let seed = if side.role == crate::stage::Role::Near {
            (151, 152)
        } else {
            (152, 151)
        };
        let received = std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let mut wrong = None;
                let mut received = 0;
                let mut buffer = vec![0; 5000];
                while received < TOTAL {
                    let room = (TOTAL - received).min(buffer.len());
                    match transfer::recv(fd, &mut buffer[..room], 0) {
                        Ok(count) if count > 0 => {
                            wrong = wrong.or(content::first_difference(
                                seed.1,
                                received as u64,
                                &buffer[..count],
                            ));
                            received += count;
                        }
                        other => return format!("recv = {other:?} after {received} bytes"),
                    }
                }
                format!("wrong at {wrong:?}")
            });
            for piece in 0..TOTAL / PIECE {
                side.send_all(&content::bytes_from(seed.0, (piece * PIECE) as u64, PIECE));
                if piece % 10 == 4 {
                    release(side);
                }
                if piece % 10 == 9 {
                    let _ = options::accelerate(fd, true);
                }
                if piece % 4 == 0 {
                    side.nap_ms(1);
                }
            }
            reader.join()
        });
        side.say(&received.unwrap_or("the reader panicked".into()));
    });
}

fn opting_in_accelerates(stage: &mut Stage) {
    stage.both(|side| {
        if let Err(errno) = options::accelerate(side.fd, true)
            && errno.0 != libc::ENOTTY
        {
            side.complain(&format!("AXIO_SIOCACCEL 1: {errno}"));
        }
    });
    stage.settle();
    chat(stage, 4);
}

fn without_opting_in_nothing_is_accelerated(stage: &mut Stage) {
    chat(stage, 12);
}

fn a_rule_keeps_connections_on_the_kernel(stage: &mut Stage) {
    chat(stage, 12);
}

fn switched_off_nothing_differs(stage: &mut Stage) {
    chat(stage, 12);
    stage.near(|near| {
        near.say(&format!(
            "status: {:?}",
            options::status(near.fd).map(|status| status.state)
        ));
        near.say(&format!(
            "accelerate: {:?}",
            options::accelerate(near.fd, true)
        ));
    });
}

fn a_process_with_io_uring_stays_on_the_kernel(stage: &mut Stage) {
    // Until then its connections were as good as any.
    stage.connect();
    stage.settle();
    stage.near(|near| {
        let answer = processes::syscall_io_uring_setup();
        near.say(&format!(
            "io_uring_setup: {}",
            if answer.is_ok() { "done" } else { "refused" }
        ));
        if let Err(errno) = answer {
            near.note(&format!("io_uring_setup: {errno}"));
        }
    });
    chat(stage, 2);
    stage.both(Side::close);
    stage.connect();
    stage.exchange_only();
    chat(stage, 12);
}

fn an_io_uring_that_is_refused_changes_nothing(stage: &mut Stage) {
    stage.both(|side| {
        let _ = side.observe(
            "io_uring_setup",
            processes::syscall_io_uring_setup_refused(),
        );
    });
    chat(stage, 12);
}

fn asking_what_filters_there_are_confines_nobody(stage: &mut Stage) {
    stage.both(|side| {
        for (what, answer) in confinement::questions() {
            let _ = side.observe(what, answer);
        }
    });
    chat(stage, 12);
}
