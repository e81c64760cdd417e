//! Axio's two requests on a plain descriptor, as a program makes them.

use super::calls::Outcome;
use crate::calls::options;
use kmod_interface::ioctl::Status;
use kmod_interface::reason::Reason;

/// State of the status request: a direction is on the ring.
pub const STATE_ACCELERATED: u32 = 4;

/// What Axio tells of a socket; without the shim the kernel's own error (ENOTTY).
pub fn status(descriptor: i32) -> Outcome<Status> {
    options::status(descriptor).map_err(|errno| errno.0)
}

/// Asks for the fast path (true) or the kernel (false); the code of the reason that holds afterwards.
pub fn accelerate(descriptor: i32, enable: bool) -> Outcome<u32> {
    options::accelerate(descriptor, enable).map_err(|errno| errno.0)
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
