//! Warm-up exchanges, after which the fast path carries both directions.
//!
//! Eight exchanges are played in every mode, so that evidence mode has its evidence and the bare kernel the same
//! history. Under the shim they must be enough: a connection that is not on the ring in both directions after the eighth
//! is a failure, with the reasons both ends give. Nothing of this is in the transcript; how many exchanges were needed is
//! told to the director, and counted in the summary.
//!
//! Why eight are enough (TRUST.md, "Discovery and identity"; SWITCH.md §3): a connection's first turn is in its second
//! exchange at the latest, and a negotiation that begins with it is over at the accepting end's fifth receive. From there
//! on each direction needs one receive of its reader, which grants the switch, and the next send, which makes it. A
//! reader that is not back in its receive when that send is made costs one exchange more: seven at the most, eagerly one
//! less. All of it is counted in exchanges, so a busy machine changes nothing, with one exception: a negotiation may last
//! a second, and one that came to nothing for want of time is begun anew at the eighth turn, and once more at the 64th. So
//! where the eight took as long as that, eight more may follow, and where these did, too, as many as it takes to get
//! behind the 64th. The first negotiation may have begun when the connection was made.

use std::time::{Duration, Instant};

use kmod_interface::ioctl::Status;
use kmod_interface::limits::HANDSHAKE_LIMIT_MS;
use kmod_interface::reason::Reason;

use crate::calls::{options, transfer};
use crate::side::Side;
use crate::stage::{Role, Stage};

/// Exchanges played in every mode.
pub const WARM_UP_EXCHANGES: u32 = 8;

/// What may follow the eight exchanges of the warm-up.
pub struct Chances {
    /// So many times eight more, without a reason.
    pub more: u32,
    /// Exchanges that follow, each once, where any since the last of them took a second.
    pub later: &'static [u32],
}

/// A connection that has carried nothing before: to behind the eighth turn, and to behind the 64th.
pub const FROM_THE_FIRST_TURN: Chances = Chances {
    more: 0,
    later: &[8, 56],
};

/// One that has made nearly 64 turns that could lead to nothing: its 64th is among the exchanges, and they get to behind its
/// 512th where that was begun in vain.
pub const FROM_THE_64TH_TURN: Chances = Chances {
    more: 2,
    later: &[512],
};

/// Not both directions are on the ring.
const NOT_YET: i64 = 0;
/// Nobody answers the status request: there is no library.
const NO_STATUS: i64 = -1;

/// What an end says that is not where it should be.
pub const NOT_REACHED: &str = "fast path not reached";

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

/// Plays the exchanges and demands the fast path. `connected`: when the connection was made, if that is known.
pub fn settle(stage: &mut Stage, connected: Option<Instant>, chances: &Chances) {
    let mut played = 0;
    let mut start = connected.unwrap_or_else(Instant::now);
    let mut exchanges = WARM_UP_EXCHANGES;
    let mut retries = chances.later.iter();
    let mut more = chances.more;
    let mut was_late = false;
    loop {
        // The exchange after which this end had both directions on the ring.
        let mut on_ring_after = NOT_YET;
        stage.both(|side| {
            for _ in 0..exchanges {
                play(side);
                played += 1;
                on_ring_after = match options::status(side.fd) {
                    Err(_) => NO_STATUS,
                    Ok(status) if !is_accelerated(&status) => NOT_YET,
                    Ok(_) if on_ring_after == NOT_YET => played,
                    Ok(_) => on_ring_after,
                };
            }
        });
        let (own, other) = stage.both_say(|_| on_ring_after);
        if own == NO_STATUS || other == NO_STATUS {
            return;
        }
        if own != NOT_YET && other != NOT_YET {
            stage.near(|near| near.warmed_up(own.max(other)));
            return;
        }
        let took = start.elapsed();
        let (own, other) =
            stage.both_say(|_| i64::from(took >= Duration::from_millis(HANDSHAKE_LIMIT_MS)));
        start = Instant::now();
        was_late |= own + other > 0;
        if more > 0 {
            more -= 1;
        } else if was_late && let Some(later) = retries.next() {
            exchanges = *later;
            was_late = false;
        } else {
            stage.both(|side| complain(side, played));
            return;
        }
    }
}

/// The reason this end gives for not being where it should.
fn complain(side: &mut Side, played: i64) {
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
    side.complain(&format!("{NOT_REACHED} after {played} exchanges: {told}"));
}

/// Plays request and response this many times, in one step, so that both ends behave like programs that talk to each
/// other and not like ones that wait for a director.
pub fn exchange(stage: &mut Stage, times: u32) {
    stage.both(|side| {
        for _ in 0..times {
            play(side);
        }
    });
}

/// One request and its response, as this end plays them.
fn play(side: &mut Side) {
    match side.role {
        Role::Near => {
            say(side, PING);
            hear(side, PONG);
        }
        Role::Far => {
            hear(side, PING);
            say(side, PONG);
        }
    }
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
            // A time-out of the case is over, or a socket does not wait: the far side is not as fast as that.
            Err(errno) if errno.0 == libc::EAGAIN => {}
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
