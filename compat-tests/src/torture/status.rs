//! Axio's two requests on a plain descriptor, as a program makes them.
#![expect(unsafe_code, reason = "ioctl")]

use super::calls::{Outcome, errno};
use kmod_interface::ioctl::{AXIO_SIOCACCEL, AXIO_SIOCSTATUS, Acceleration, Status};
use kmod_interface::reason::Reason;

/// State of the status request: a direction is on the ring.
pub const STATE_ACCELERATED: u32 = 4;

/// What Axio tells of a socket; without the shim the kernel's own error (ENOTTY).
pub fn status(descriptor: i32) -> Outcome<Status> {
    let mut status = Status {
        version: 1,
        ..Status::default()
    };
    // SAFETY: the request's length is this structure's.
    let result = unsafe {
        libc::ioctl(
            descriptor,
            AXIO_SIOCSTATUS as libc::c_ulong,
            &raw mut status,
        )
    };
    if result < 0 { Err(errno()) } else { Ok(status) }
}

/// Asks for the fast path (true) or the kernel (false).
pub fn accelerate(descriptor: i32, enable: bool) -> Outcome<Acceleration> {
    let mut request = Acceleration {
        enable: u32::from(enable),
        reason: 0,
    };
    // SAFETY: the request's length is this structure's.
    let result = unsafe {
        libc::ioctl(
            descriptor,
            AXIO_SIOCACCEL as libc::c_ulong,
            &raw mut request,
        )
    };
    if result < 0 {
        Err(errno())
    } else {
        Ok(request)
    }
}

/// One line about a socket, for a failure's text.
#[must_use]
pub fn describe(descriptor: i32) -> String {
    match status(descriptor) {
        Err(code) => format!("no status (errno {code})"),
        Ok(s) => format!(
            "path {} state {} reason {} switches out {} in {}, ring bytes out {} in {}, kernel bytes out {} in {}",
            s.path,
            s.state,
            Reason::from_code(s.reason).map_or("?", Reason::name),
            s.switches_out,
            s.switches_in,
            s.ring_bytes_out,
            s.ring_bytes_in,
            s.kernel_bytes_out,
            s.kernel_bytes_in
        ),
    }
}
