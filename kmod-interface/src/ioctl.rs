//! The opt-in requests on a plain socket descriptor, encoded with `_IOWR` so that no driver of a socket family owns
//! them, and outside 0x89E0-0x89FF (device private). Without the shim the kernel answers them with ENOTTY.

/// Type byte of Axio's requests.
pub const TYPE: u32 = 0xA8;

const fn iowr(number: u32, bytes: usize) -> u64 {
    (3 << 30) | ((bytes as u64) << 16) | ((TYPE as u64) << 8) | number as u64
}

/// `struct axio_acceleration`: accelerate (1) or release (0) a socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acceleration {
    /// In: 1 = accelerate as soon as possible, 0 = back to the kernel for good.
    pub enable: u32,
    /// Out: the reason code that holds now.
    pub reason: u32,
}

/// What [`Status::version`] says.
pub const STATUS_VERSION: u32 = 1;

/// Values of [`Status::path`]: what carries the bytes.
pub mod path {
    /// Both directions are in the kernel.
    pub const KERNEL: u32 = 0;
    /// At least one direction is on a ring in shared memory.
    pub const SHARED_MEMORY: u32 = 1;
}

/// Values of [`Status::state`]: how far a socket has come.
pub mod state {
    /// Nothing has happened that concerns Axio.
    pub const UNMANAGED: u32 = 0;
    /// Exchanges are counted, as evidence for an upgrade.
    pub const WATCHING: u32 = 1;
    /// The two processes are proving who they are.
    pub const NEGOTIATING: u32 = 2;
    /// Ring memory is agreed on, both directions are still in the kernel.
    pub const BOUND: u32 = 3;
    /// At least one direction is on the ring.
    pub const ACCELERATED: u32 = 4;
    /// Was accelerated, is back in the kernel.
    pub const RETREATED: u32 = 5;
}

/// `struct axio_status`: what `axio stat` shows of one socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// [`STATUS_VERSION`].
    pub version: u32,
    /// One of [`path`].
    pub path: u32,
    /// One of [`state`].
    pub state: u32,
    /// Reason code, see `reason`.
    pub reason: u32,
    /// Bytes received through the kernel.
    pub kernel_bytes_in: u64,
    /// Bytes sent through the kernel.
    pub kernel_bytes_out: u64,
    /// Bytes received through the ring.
    pub ring_bytes_in: u64,
    /// Bytes sent through the ring.
    pub ring_bytes_out: u64,
    /// Switches of the sending direction.
    pub switches_out: u32,
    /// Switches of the receiving direction.
    pub switches_in: u32,
    /// Reserved, zero.
    pub reserved: [u64; 2],
}

/// Accelerate or release: `ioctl(fd, AXIO_SIOCACCEL, struct axio_acceleration *)`.
pub const AXIO_SIOCACCEL: u64 = iowr(1, size_of::<Acceleration>());
/// Ask: `ioctl(fd, AXIO_SIOCSTATUS, struct axio_status *)`.
pub const AXIO_SIOCSTATUS: u64 = iowr(2, size_of::<Status>());

const _: () = {
    assert!(size_of::<Acceleration>() == 8);
    assert!(size_of::<Status>() == 72);
};
