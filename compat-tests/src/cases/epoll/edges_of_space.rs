//! Edges of space: only after a refusal, and never by a bell (POSIX.md rows 12 and 13).

use crate::calls::epoll::{self, Wait};
use crate::calls::{options, transfer};
use crate::case;
use crate::case::{Case, Proof, TWO_KINDS};
use crate::cases::forks::talk;
use crate::side::sets::events::{ET, IN, OUT};
use crate::side::sets::{LONG_MS, Set, watching};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[
    case!("epoll edge", space_comes_as_an_edge_only_after_a_refusal)
        .rows(&[12, 13])
        .kinds(TWO_KINDS)
        .proof(Proof::AtLeast(4096)),
    case!(
        "epoll edge",
        arriving_bytes_are_no_edge_for_who_asks_for_space
    )
    .rows(&[12])
    .kinds(TWO_KINDS),
    case!("epoll edge", wakes_for_bytes_bring_no_edge_of_space)
        .rows(&[12])
        .kinds(TWO_KINDS),
    case!("epoll edge", room_that_comes_with_a_ring_is_an_edge)
        .rows(&[12])
        .kinds(TWO_KINDS)
        .proof(Proof::BeganOnRing(
            "the kernel is filled, and the ring comes back behind it",
        )),
];

fn space_comes_as_an_edge_only_after_a_refusal(stage: &mut Stage) {
    let set = watching(stage, OUT | ET, 1);
    stage.near(|near| {
        set.reports(near);
        let _ = near.send(b"not full", 0);
    });
    stage.far(|far| far.receives(8));
    let sent = stage.near_says(|near| {
        // Nobody was refused, so no room was missed.
        set.reports_nothing(near);
        let sent = near.fill(311);
        set.reports_nothing(near);
        sent as i64
    });
    stage.together(
        |near| {
            set.reports(near);
        },
        |far| {
            far.other_asleep();
            far.receives_stream(311, 0, sent as usize);
        },
    );
    stage.near(|near| {
        set.reports_nothing(near);
        let _ = near.send(b"again", 0);
        set.reports_nothing(near);
    });
    stage.far(|far| far.receives(5));
}

fn arriving_bytes_are_no_edge_for_who_asks_for_space(stage: &mut Stage) {
    let set = watching(stage, OUT | ET, 1);
    stage.near(|near| {
        set.reports(near);
    });
    stage.together(
        |near| set.reports_nothing(near),
        |far| {
            far.nap_ms(15);
            let _ = far.send(b"x", 0);
        },
    );
    stage.near(|near| {
        near.arrived(1);
        set.reports_nothing(near);
        near.receives(1);
        set.reports_nothing(near);
    });
    talk(stage);
}

fn room_that_comes_with_a_ring_is_an_edge(stage: &mut Stage) {
    let set = watching(stage, OUT | ET, 1);
    let sent = stage.near_says(|near| {
        set.reports(near);
        let _ = options::accelerate(near.fd, false);
        let sent = near.fill(311);
        let _ = options::accelerate(near.fd, true);
        sent as i64
    });
    stage.far(|far| far.receives_stream(311, 0, sent as usize));
    // A receive that comes to a rest moves a direction in which nothing is sent; nobody has asked the set meanwhile.
    for _ in 0..4 {
        stage.far(|far| {
            let _ = transfer::recv(far.fd, &mut [0; 8], libc::MSG_DONTWAIT);
            far.send_all(b"x");
        });
        stage.near(|near| {
            near.arrived(1);
            near.receives(1);
            let _ = transfer::recv(near.fd, &mut [0; 8], libc::MSG_DONTWAIT);
        });
    }
    stage.near(|near| {
        set.reports(near);
        set.reports_nothing(near);
    });
    talk(stage);
}

fn wakes_for_bytes_bring_no_edge_of_space(stage: &mut Stage) {
    const ROUNDS: usize = 100;
    stage.together(
        |near| {
            let set = Set::new(near);
            set.add(near, IN | OUT | ET, 1);
            set.reports(near);
            // Every wait that returns has bytes to show for it: none is for space alone, and none is empty.
            let (mut strange, mut received) = (0, 0);
            while received < ROUNDS {
                match epoll::wait(set.fd, 4, Wait::Plain(LONG_MS)) {
                    Ok(found) => strange += usize::from(found != [(1, IN | OUT)]),
                    Err(errno) => near.fail(&format!("epoll_wait: {errno}")),
                }
                let mut buffer = [0; 64];
                while let Ok(count @ 1..) = transfer::recv(near.fd, &mut buffer, libc::MSG_DONTWAIT)
                {
                    received += count;
                }
                // The next byte comes when this one has been taken: one that came in between would be an edge whose
                // byte is gone when it is reported.
                near.send_all(b"k");
            }
            near.say(&format!("{received} bytes, {strange} strange waits"));
        },
        |far| {
            for round in 0..ROUNDS {
                if round % 20 == 0 {
                    far.other_asleep();
                } else if round % 3 == 0 {
                    far.nap_ms(1);
                }
                far.send_all(b"x");
                let _ = far.receive_all(1);
            }
        },
    );
    talk(stage);
}
