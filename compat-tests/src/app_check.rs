//! Real programs, unchanged, as Debian packages them: the same answers on the bare kernel and under the shim.
//!
//! Servers and clients both run under the shim; answers are compared with those of the bare run, and each client's
//! own report (`AXIO_REPORT`) must say which way its bytes went: by ring where connections live long enough, by the kernel
//! where each has one request.
//!
//! * [`stage`]: one run: servers, clients, answers. [`proof`]: which way its bytes went.
//! * [`redis`], [`memcached`], [`nginx`], [`scripts`] (Python, socat): what is run.

pub mod memcached;
pub mod nginx;
pub mod proof;
pub mod redis;
pub mod scripts;
pub mod stage;

use stage::Stage;

/// One program's check.
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// Programs it needs.
    pub needs: &'static [&'static str],
    /// What it does.
    pub run: fn(&mut Stage) -> Result<(), String>,
    /// Least share of all bytes, of servers and clients, that the rings must carry, percent. For checks whose clients are
    /// ended by a signal and so report nothing; the others say more exactly what each client must show.
    pub least_ring_percent: u64,
}

/// Every check, in the order of running.
pub const CHECKS: &[Check] = &[
    Check {
        name: "redis values",
        needs: &["redis-server", "redis-cli"],
        run: redis::values,
        least_ring_percent: 1,
    },
    Check {
        name: "redis publish",
        needs: &["redis-server", "redis-cli"],
        run: redis::publish,
        least_ring_percent: 30,
    },
    Check {
        name: "redis benchmark",
        needs: &["redis-server", "redis-cli", "redis-benchmark"],
        run: redis::benchmark,
        least_ring_percent: 1,
    },
    Check {
        name: "memcached",
        needs: &["memcached", "memcslap", "memcstat"],
        run: memcached::check,
        least_ring_percent: 1,
    },
    Check {
        name: "nginx",
        needs: &["nginx", "wrk", "curl"],
        run: nginx::check,
        least_ring_percent: 1,
    },
    Check {
        name: "python http.server",
        needs: &["/usr/bin/python3", "curl"],
        run: scripts::http_server,
        least_ring_percent: 1,
    },
    Check {
        name: "python asyncio",
        needs: &["/usr/bin/python3"],
        run: scripts::asyncio,
        least_ring_percent: 1,
    },
    Check {
        name: "socat",
        needs: &["/usr/bin/python3", "socat"],
        run: scripts::socat,
        least_ring_percent: 1,
    },
];
