//! Warm-up exchanges until the fast path carries both directions.
//!
//! Eight exchanges are played in every mode, so that evidence mode has its evidence and the bare kernel the same
//! history. Under the shim more follow, with naps, until both ends report both directions on the ring; a connection
//! that does not get there within the bound is a failure, with the reasons both ends give. Nothing of this is in the
//! transcript.

use kmod_interface::ioctl::Status;
use kmod_interface::reason::Reason;

use crate::calls::{options, transfer};
use crate::side::Side;
use crate::stage::Stage;

/// Exchanges played in every mode.
pub const WARM_UP_EXCHANGES: u32 = 8;
/// Most exchanges under the shim.
const MOST_EXCHANGES: u32 = 64;
/// Nap between the extra exchanges.
const NAP_MS: u64 = 1;

const PING: &[u8] = b"ping";
const PONG: &[u8] = b"pong";

/// True when both directions of the socket are on the ring.
#[must_use]
pub fn is_accelerated(status: &Status) -> bool {
    status.state == 4 && status.switches_out % 2 == 1 && status.switches_in % 2 == 1
}

/// The name of the reason a status carries.
#[must_use]
pub fn reason_name(status: &Status) -> String {
    Reason::from_code(status.reason).map_or_else(
        || format!("unknown reason {}", status.reason),
        |reason| reason.name().to_owned(),
    )
}

/// Plays the exchanges and waits for the fast path.
pub fn settle(stage: &mut Stage) {
    let mut played = 0;
    exchange(stage, WARM_UP_EXCHANGES);
    played += WARM_UP_EXCHANGES;
    loop {
        // 0: not yet, 1: accelerated, 2: nobody answers the status request.
        let (own, other) = stage.both_say(|side| match options::status(side.fd) {
            Ok(status) => i64::from(is_accelerated(&status)),
            Err(_) => 2,
        });
        if own == 2 || other == 2 || (own == 1 && other == 1) {
            return;
        }
        if played >= MOST_EXCHANGES {
            stage.both(|side| {
                let told = match options::status(side.fd) {
                    Ok(status) => format!(
                        "state {}, reason {}, switches out {} in {}",
                        status.state,
                        reason_name(&status),
                        status.switches_out,
                        status.switches_in
                    ),
                    Err(errno) => format!("status: {errno}"),
                };
                side.complain(&format!(
                    "fast path not reached after {played} exchanges: {told}"
                ));
            });
            return;
        }
        stage.both(|side| side.nap_ms(NAP_MS));
        exchange(stage, 1);
        played += 1;
    }
}

/// Plays request and response this many times: one closure a side, so that both ends behave like programs that talk
/// to each other and not like ones that wait for a director.
pub fn exchange(stage: &mut Stage, times: u32) {
    stage.together(
        |near| {
            for _ in 0..times {
                say(near, PING);
                hear(near, PONG);
            }
        },
        |far| {
            for _ in 0..times {
                hear(far, PING);
                say(far, PONG);
            }
        },
    );
}

fn say(side: &mut Side, bytes: &[u8]) {
    match transfer::send(side.fd, bytes, libc::MSG_NOSIGNAL) {
        Ok(sent) if sent == bytes.len() => {}
        other => side.fail(&format!("warm-up: send answered {other:?}")),
    }
}

fn hear(side: &mut Side, expected: &[u8]) {
    let mut buffer = [0; 16];
    let mut filled = 0;
    while filled < expected.len() {
        match transfer::recv(side.fd, &mut buffer[filled..expected.len()], 0) {
            Ok(0) => side.fail("warm-up: the stream ended"),
            Ok(count) => filled += count,
            Err(errno) => side.fail(&format!("warm-up: recv answered {errno}")),
        }
    }
    if &buffer[..filled] != expected {
        side.fail(&format!(
            "warm-up: received {:?} instead of {expected:?}",
            &buffer[..filled]
        ));
    }
}
