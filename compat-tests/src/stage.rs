//! Both processes run one script in lock-step.
//!
//! The script is the same function in both processes. `near(…)` runs its closure in the process that plays the near
//! end while the other one waits for it to finish, `far(…)` the other way round, and `together(…)` runs one closure in
//! each and then waits for both. What a closure says goes into the transcript under the number of its step, so the
//! transcript of a lock-step script does not depend on who was faster.

use std::time::Instant;

use crate::calls::connection::{self, Address};
use crate::calls::{processes, readiness};
use crate::case::{Family, Kind, Start};
use crate::control::Control;
use crate::settle::{self, Chances};
use crate::side::Side;

/// Which end this process plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The end under test.
    Near,
    /// The other end.
    Far,
}

/// The two ends, as seen from one of them.
pub struct Stage {
    /// How the ends are connected.
    pub kind: Kind,
    /// The end this process plays.
    pub role: Role,
    control: Control,
    side: Side,
    step: u32,
    settling: bool,
    /// When the connection that is not settled yet was made.
    connected: Option<Instant>,
    far_is_dead: bool,
}

impl Stage {
    /// The stage of a process that plays `role`; learns the other process's id.
    pub fn open(kind: Kind, role: Role, mut control: Control) -> Result<Stage, String> {
        let own = i64::from(std::process::id());
        control.tell(0, own)?;
        let other = control.hear(0)? as i32;
        Ok(Stage {
            kind,
            role,
            control,
            side: Side::new(role, other),
            step: 0,
            settling: false,
            connected: None,
            far_is_dead: false,
        })
    }

    /// Makes what the case wants to find.
    pub fn prepare(&mut self, start: Start, stays_on_kernel: bool) {
        match start {
            Start::Empty => {}
            Start::Connected => {
                self.connect();
                self.side.start_counting();
            }
            Start::Settled => {
                self.connect();
                if stays_on_kernel {
                    self.exchange_only()
                } else {
                    self.settle()
                }
            }
        }
    }

    /// The near end acts.
    pub fn near(&mut self, act: impl FnOnce(&mut Side)) {
        self.near_says(|side| {
            act(side);
            0
        });
    }

    /// The far end acts.
    pub fn far(&mut self, act: impl FnOnce(&mut Side)) {
        self.far_says(|side| {
            act(side);
            0
        });
    }

    /// The near end acts and both ends know the value it returns.
    pub fn near_says(&mut self, act: impl FnOnce(&mut Side) -> i64) -> i64 {
        self.one(Role::Near, act)
    }

    /// The far end acts and both ends know the value it returns.
    pub fn far_says(&mut self, act: impl FnOnce(&mut Side) -> i64) -> i64 {
        self.one(Role::Far, act)
    }

    /// The end that connects acts.
    pub fn connector(&mut self, act: impl FnOnce(&mut Side)) {
        if self.kind.near_connects {
            self.near(act)
        } else {
            self.far(act)
        }
    }

    /// The end that accepts acts.
    pub fn acceptor(&mut self, act: impl FnOnce(&mut Side)) {
        if self.kind.near_connects {
            self.far(act)
        } else {
            self.near(act)
        }
    }

    /// Both ends act at once.
    pub fn together(&mut self, near: impl FnOnce(&mut Side), far: impl FnOnce(&mut Side)) {
        let step = self.next_step();
        match self.role {
            Role::Near => near(&mut self.side),
            Role::Far => far(&mut self.side),
        }
        self.swap(step, 0);
    }

    /// The near end does something that sleeps; the far end sends as soon as it does.
    pub fn woken_by(&mut self, bytes: &[u8], near: impl FnOnce(&mut Side)) {
        self.together(near, |far| {
            far.other_asleep();
            let _ = far.send(bytes, 0);
        });
    }

    /// The far end sends and ends its direction; both have arrived.
    pub fn far_sends_and_ends(&mut self, bytes: &[u8]) {
        self.far(|far| {
            let _ = far.send(bytes, 0);
            let _ = far.shutdown(libc::SHUT_WR);
        });
        self.near(|near| {
            near.arrived(bytes.len() as i32);
            near.end_arrived();
        });
    }

    /// Both ends do the same at once.
    pub fn both(&mut self, act: impl FnOnce(&mut Side)) {
        let step = self.next_step();
        act(&mut self.side);
        self.swap(step, 0);
    }

    /// Both ends do the same at once, and each learns what the other one's closure returned.
    pub fn both_say(&mut self, act: impl FnOnce(&mut Side) -> i64) -> (i64, i64) {
        let step = self.next_step();
        let own = act(&mut self.side);
        (own, self.swap(step, own))
    }

    /// The near end kills the far process with SIGKILL; from here on only the near end acts.
    pub fn kill_far(&mut self) {
        self.far_waits_for_its_death(|near| {
            if let Err(errno) = processes::kill(near.other_process, libc::SIGKILL) {
                near.fail(&format!("the far process cannot be killed: {errno}"));
            }
        });
    }

    /// The far process waits to be killed by something that the near end does; from here on only the near end acts.
    pub fn far_waits_for_its_death(&mut self, act: impl FnOnce(&mut Side)) {
        let step = self.next_step();
        match self.role {
            Role::Far => {
                // A process that is killed cannot read what the library left for it, and a bell unread is a reset.
                let _ = readiness::poll_one(self.side.fd, libc::POLLIN, 0);
                self.side.finish();
                let told = self.control.tell(step, 0);
                self.side.must(told);
                processes::sleep_for_ever()
            }
            Role::Near => {
                let heard = self.control.hear(step);
                self.side.must(heard);
                act(&mut self.side);
                self.control.hear_the_end();
                // The control line is one of the first that a dying process closes.
                let far = self.side.other_process;
                self.side.until_gone(far);
                self.far_is_dead = true;
            }
        }
    }

    /// Connects the two ends and closes the listening socket.
    pub fn connect(&mut self) {
        self.connect_prepared(|_| {});
    }

    /// The same, with a chance to set options on the connecting and on the listening socket before they are used.
    pub fn connect_prepared(&mut self, prepare: impl Fn(&mut Side) + Copy) {
        self.listen(prepare);
        self.connected = Some(Instant::now());
        let (kind, port) = (self.kind, self.side.listening_port);
        self.connector(|side| {
            side.open_socket(family_of(kind, side.role));
            prepare(side);
            let address = address_of(kind, side.role, port);
            let answer = connection::connect(side.fd, &address);
            side.must(answer.map_err(|errno| format!("connect: {errno}")));
        });
        self.acceptor(|side| {
            let answer = connection::accept(side.listener, None);
            side.fd = side.must(answer.map_err(|errno| format!("accept: {errno}"))) as i32;
            let _ = connection::close(side.listener);
            side.listener = -1;
        });
    }

    /// Makes the accepting end listen; both ends know the port.
    pub fn listen(&mut self, prepare: impl Fn(&mut Side)) {
        let kind = self.kind;
        let act = |side: &mut Side| {
            side.open_socket(family_of(kind, side.role));
            prepare(side);
            side.listener = side.fd;
            side.fd = -1;
            let address = address_of(kind, side.role, 0);
            let answer = connection::bind(side.listener, &address);
            side.must(answer.map_err(|errno| format!("bind: {errno}")));
            let answer = connection::listen(side.listener, 16);
            side.must(answer.map_err(|errno| format!("listen: {errno}")));
            let name = connection::getsockname(side.listener, 128);
            i64::from(
                side.must(name.map_err(|errno| format!("getsockname: {errno}")))
                    .port(),
            )
        };
        let port = if kind.near_connects {
            self.far_says(act)
        } else {
            self.near_says(act)
        };
        self.side.listening_port = port as u16;
    }

    /// The address that the connecting end has to use.
    #[must_use]
    pub fn listening_address(&self) -> Address {
        let connector = if self.kind.near_connects {
            Role::Near
        } else {
            Role::Far
        };
        address_of(self.kind, connector, self.side.listening_port)
    }

    /// The descriptor under test in this process.
    #[must_use]
    pub fn own_descriptor(&self) -> i32 {
        self.side.fd
    }

    /// The address family of this end's socket.
    #[must_use]
    pub fn family(&self) -> i32 {
        family_of(self.kind, self.role)
    }

    /// Warm-up exchanges, after which the fast path carries both directions (see [`settle`]); counting starts here.
    pub fn settle(&mut self) {
        self.settle_after(&settle::FROM_THE_FIRST_TURN);
    }

    /// The same where the eight of the warm-up need not be enough, or come behind other turns.
    pub fn settle_after(&mut self, chances: &Chances) {
        self.settling = true;
        // Of turns behind those of the warm-up, only what comes from here on says whether one was begun in vain.
        let connected = self.connected.take().filter(|_| chances.more == 0);
        settle::settle(self, connected, chances);
        self.settling = false;
        self.side.start_counting();
    }

    /// What was done to a young connection keeps it neither from the ring nor from carrying bytes there; those that count
    /// are the ones sent here.
    pub fn goes_on_by_ring(&mut self) {
        self.settle();
        self.near(|near| {
            let _ = near.send(b"by ring", 0);
        });
        self.far(|far| {
            far.receives(7);
            let _ = far.send(b"and back", 0);
        });
        self.near(|near| near.receives(8));
    }

    /// The warm-up exchanges of a connection that is expected to stay on the kernel.
    pub fn exchange_only(&mut self) {
        self.settling = true;
        settle::exchange(self, settle::WARM_UP_EXCHANGES);
        self.settling = false;
        self.side.start_counting();
    }

    /// Ends the play: last counts are written down.
    pub fn finish(&mut self) {
        self.side.finish();
    }

    fn one(&mut self, actor: Role, act: impl FnOnce(&mut Side) -> i64) -> i64 {
        let step = self.next_step();
        if self.role == actor {
            let value = act(&mut self.side);
            if !self.far_is_dead {
                let told = self.control.tell(step, value);
                self.side.must(told);
            }
            value
        } else {
            if self.far_is_dead {
                self.side.fail("the script asks a dead side to act");
            }
            let heard = self.control.hear(step);
            self.side.must(heard)
        }
    }

    fn swap(&mut self, step: u32, value: i64) -> i64 {
        let told = self.control.tell(step, value);
        self.side.must(told);
        let heard = self.control.hear(step);
        self.side.must(heard)
    }

    fn next_step(&mut self) -> u32 {
        self.step += 1;
        // How many exchanges it takes to warm up differs from mode to mode; the numbers in the transcript must not.
        if !self.settling {
            self.side.step += 1;
        }
        self.step
    }
}

fn family_of(kind: Kind, role: Role) -> i32 {
    match (kind.family, role) {
        (Family::Ipv4, _) | (Family::Mapped, Role::Far) => libc::AF_INET,
        (Family::Ipv6, _) | (Family::Mapped, Role::Near) => libc::AF_INET6,
    }
}

/// The loopback address as an end of this role has to spell it.
fn address_of(kind: Kind, role: Role, port: u16) -> Address {
    const MAPPED_LOOPBACK: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 127, 0, 0, 1];
    const LOOPBACK6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    match (kind.family, role) {
        (Family::Ipv4, _) | (Family::Mapped, Role::Far) => Address::ipv4([127, 0, 0, 1], port),
        (Family::Ipv6, _) => Address::ipv6(LOOPBACK6, port),
        (Family::Mapped, Role::Near) => Address::ipv6(MAPPED_LOOPBACK, port),
    }
}
