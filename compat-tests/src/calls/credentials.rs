//! Calls that change who a process is or what it may see, each given what is so already.
#![expect(unsafe_code, reason = "calls libc")]

use std::ffi::{c_int, c_long};

use super::answer::{Answer, answer_int};

/// _LINUX_CAPABILITY_VERSION_3: two sets of 32 capabilities each.
const CAPABILITIES_BY_TWO_WORDS: u32 = 0x2008_0522;

/// `struct __user_cap_header_struct` of linux/capability.h.
#[repr(C)]
struct CapabilitiesOf {
    version: u32,
    process: c_int,
}

unsafe extern "C" {
    fn capset(of: *mut CapabilitiesOf, sets: *const [u32; 6]) -> c_int;
}

/// Which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// setegid(2) to the effective group.
    Setegid,
    /// setreuid(2) of nothing.
    Setreuid,
    /// setregid(2) of nothing.
    Setregid,
    /// setresuid(2) of nothing.
    Setresuid,
    /// setresgid(2) of nothing.
    Setresgid,
    /// setfsuid(2) to the effective user.
    Setfsuid,
    /// setfsgid(2) to the effective group.
    Setfsgid,
    /// initgroups(3) of the superuser.
    Initgroups,
    /// capset(2) to the capabilities there are.
    Capset,
    /// chroot(2) to `/`.
    Chroot,
    /// unshare(2) of nothing.
    Unshare,
    /// setns(2) into the namespace of names that the process is in.
    Setns,
}

/// Makes the call; what it answers where the process may not make it is the kernel's.
pub fn make(change: Change) -> Answer {
    const SAME: u32 = u32::MAX;
    // SAFETY: C strings; no other pointers but those of `set_same_capabilities`.
    unsafe {
        match change {
            Change::Setegid => answer_int(libc::setegid(libc::getegid())),
            Change::Setreuid => answer_int(libc::setreuid(SAME, SAME)),
            Change::Setregid => answer_int(libc::setregid(SAME, SAME)),
            Change::Setresuid => answer_int(libc::setresuid(SAME, SAME, SAME)),
            Change::Setresgid => answer_int(libc::setresgid(SAME, SAME, SAME)),
            Change::Setfsuid => answer_int(libc::setfsuid(libc::geteuid())),
            Change::Setfsgid => answer_int(libc::setfsgid(libc::getegid())),
            Change::Initgroups => answer_int(libc::initgroups(c"root".as_ptr(), 0)),
            Change::Capset => set_same_capabilities(),
            Change::Chroot => answer_int(libc::chroot(c"/".as_ptr())),
            Change::Unshare => answer_int(libc::unshare(0)),
            Change::Setns => enter_own_names(),
        }
    }
}

fn set_same_capabilities() -> Answer {
    let mut own = CapabilitiesOf {
        version: CAPABILITIES_BY_TWO_WORDS,
        process: 0,
    };
    let mut sets = [0u32; 6];
    // SAFETY: header and sets have the kernel's layout of this version, three words of two sets, and are writable. The
    // question goes by number because the C library has no header for it.
    unsafe {
        let asked: c_long = libc::syscall(libc::SYS_capget, &raw mut own, &raw mut sets);
        if asked != 0 {
            return Err(super::answer::last_errno());
        }
        answer_int(capset(&raw mut own, &raw const sets))
    }
}

fn enter_own_names() -> Answer {
    let place = super::files::open_to_read(c"/proc/self/ns/uts")? as c_int;
    // SAFETY: no pointers.
    let answer = answer_int(unsafe { libc::setns(place, libc::CLONE_NEWUTS) });
    super::connection::close(place)?;
    answer
}
