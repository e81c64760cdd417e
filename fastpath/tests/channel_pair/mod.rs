//! Both ends of a channel in one process, made as a handshake makes them.

use fastpath::channel::{Channel, FarSide, Role, table};
use fastpath::memory::region::{FarRegion, OwnRegion};
use fastpath::path::shm::{self, Shm};
use rustix::fd::AsFd;

/// The two ends: C, then S.
pub struct Ends {
    pub connecting: &'static Channel,
    pub accepting: &'static Channel,
}

#[allow(dead_code, reason = "not every test file asks")]
pub fn far_side(port: u16) -> FarSide {
    FarSide {
        user: 0,
        process: 0,
        accept_address: [0; 16],
        accept_port: port,
    }
}

pub fn channel_pair(class: u32, port: u16) -> Ends {
    let from_s = shm::make_memfd(class).expect("memory");
    let from_c = shm::make_memfd(class).expect("memory");
    let s_own = OwnRegion::map_and_seal(from_s.as_fd(), class).expect("own region of S");
    shm::seal_size(from_c.as_fd()).expect("size of the region of C");
    let (c_own, c_far) = shm::take_offered(from_s.as_fd(), from_c.as_fd(), class).expect("offer");
    FarRegion::check_returned(from_c.as_fd(), class).expect("region of C, returned");
    let s_far = FarRegion::map_checked(from_c.as_fd(), class).expect("far region of S");
    Ends {
        connecting: table::insert(Role::Connecting, Shm::new(c_own, c_far), far_side(port))
            .expect("channel"),
        accepting: table::insert(Role::Accepting, Shm::new(s_own, s_far), far_side(port))
            .expect("channel"),
    }
}
