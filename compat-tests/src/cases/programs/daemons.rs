//! A process that becomes a daemon goes on with its connection.

use crate::calls::answer::shown;
use crate::calls::children::{Forked, Leaving};
use crate::calls::programs::{self};
use crate::calls::{files, transfer};
use crate::case;
use crate::case::{Case, Proof};
use crate::stage::Stage;

/// The family.
pub const CASES: &[Case] = &[case!("daemon", a_process_becomes_a_daemon_and_goes_on)
    .rows(&[28])
    .proof(Proof::AtLeast(16))];

fn a_process_becomes_a_daemon_and_goes_on(stage: &mut Stage) {
    stage.near(|near| {
        let (hears, tells) = near.must(files::pipe(0));
        // daemon() ends its caller, so a child calls it; what goes on is nobody's child.
        let mut child = near.fork_by(Forked::Fork, Leaving::AtOnce, |child, turns| {
            let _ = child.send(b"before, ", 0);
            turns.over();
            let answer = programs::daemon();
            let _ = transfer::read(hears, &mut [0; 1]);
            let _ = child.send(format!("daemon {}", shown(answer)).as_bytes(), 0);
            let _ = child.recv(4, libc::MSG_WAITALL);
            child.close();
        });
        child.turn(near);
        child.reap(near);
        near.close();
        near.must(transfer::write(tells, b"g"));
    });
    stage.far(|far| {
        far.receives(16);
        let _ = far.send(b"ends", 0);
        let _ = far.recv(1, 0);
    });
}
