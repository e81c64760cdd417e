//! C's box: a listening socket named after the connection, at which S introduces itself (TRUST.md steps 1 and 4).
//!
//! B1. It refuses descriptors (`SO_PASSRIGHTS` 0) until the dialer is known: unread descriptors in a socket that is
//!     closed are closed by us, and that can be made to hang (TRUST.md row 1).
//! B2. Where the kernel lacks `SO_PASSRIGHTS` (before 6.16) only a dialer of our own user is received from.
//! B3. A dialer must hold the accepting side's name, and its user be that of the far socket, as far as both are known.

use super::look::{self, FarEnd};
use super::name::{self, PeerName};
use super::private::PrivateDescriptor;
use super::{failure, knock, quota};
use fastpath::kernel_call::{set_socket_option, socket_option_bytes};
use fastpath::memory::descriptor::Descriptor;
use fastpath::statistics::count;
use kmod_interface::handshake::{AddressPair, End};
use kmod_interface::reason::Reason;
use kmod_interface::statistics::Counter;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Since Linux 6.16: whether an AF_UNIX socket takes descriptors.
const SO_PASSRIGHTS: i32 = 83;
const BACKLOG: i32 = 16;
/// Dialers looked at per call.
const ACCEPTS_PER_CALL: u32 = 8;

/// A box and who is at its door.
#[derive(Clone, Copy, Debug)]
pub struct Mailbox {
    listener: PrivateDescriptor,
    /// A dialer without a name yet: S binds its own just after it has connected, so it gets one more call.
    unnamed: PrivateDescriptor,
    /// The dialer that passed.
    visitor: PrivateDescriptor,
    refuses_descriptors: bool,
}

/// User and process at the other end of an AF_UNIX connection, as SO_PEERCRED shows them; the process is 0 when it
/// lies in a pid namespace we cannot see into.
pub fn peer_credentials(socket: BorrowedFd<'_>) -> Option<(u32, u32)> {
    // struct ucred: pid, uid, gid.
    let mut bytes = [0_u8; 12];
    let raw = socket.as_raw_fd();
    socket_option_bytes(raw, libc::SOL_SOCKET, libc::SO_PEERCRED, &mut bytes).ok()?;
    let [p0, p1, p2, p3, u0, u1, u2, u3, ..] = bytes;
    Some((
        u32::from_ne_bytes([u0, u1, u2, u3]),
        u32::from_ne_bytes([p0, p1, p2, p3]),
    ))
}

impl Mailbox {
    /// No box.
    pub const NONE: Mailbox = Mailbox {
        listener: PrivateDescriptor::NONE,
        unnamed: PrivateDescriptor::NONE,
        visitor: PrivateDescriptor::NONE,
        refuses_descriptors: false,
    };

    /// Opens the box of a connection.
    ///
    /// # Errors
    /// [`Reason::NameTaken`], or why the kernel refused; nothing is tried again.
    pub fn open(pair: &AddressPair) -> Result<Mailbox, Reason> {
        let os = |errno: Errno| failure::of_errno(errno.raw_os_error());
        let listener: Descriptor = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )
        .map_err(os)?
        .into();
        let refuses_descriptors =
            set_socket_option(listener.number(), libc::SOL_SOCKET, SO_PASSRIGHTS, 0_i32).is_ok();
        match name::hold(listener.as_fd(), &name::address(pair, End::Connecting)) {
            Ok(()) => {}
            Err(libc::EADDRINUSE) => return Err(Reason::NameTaken),
            Err(errno) => return Err(failure::of_errno(errno)),
        }
        rustix::net::listen(&listener, BACKLOG).map_err(os)?;
        let listener = PrivateDescriptor::keep(listener)?;
        count(Counter::BoxesOpened, 1);
        Ok(Mailbox {
            listener,
            refuses_descriptors,
            ..Self::NONE
        })
    }

    /// True while there is a box.
    pub fn is_open(&self) -> bool {
        self.listener.is_some()
    }

    /// The connection of the dialer that passed.
    pub fn visitor(&self) -> Option<BorrowedFd<'static>> {
        self.visitor.get()
    }

    /// Looks who has dialled; on success the far end as it looked then. Nothing: nobody yet.
    ///
    /// # Errors
    /// The box is gone, or a dialer had the name and the user but must not be received from.
    pub fn admit(
        &mut self,
        tcp: BorrowedFd<'_>,
        pair: &AddressPair,
    ) -> Result<Option<FarEnd>, Reason> {
        let listener = self.listener.get().ok_or(Reason::Internal)?;
        let expected = name::address(pair, End::Accepting);
        if self.unnamed.is_some() {
            // Second and last chance.
            let mut waiting = core::mem::replace(&mut self.unnamed, PrivateDescriptor::NONE);
            let named = waiting
                .get()
                .is_some_and(|socket| name::peer(socket, &expected) == PeerName::Same);
            if !named {
                waiting.close();
            } else if let Some(far) = self.examine(waiting, tcp, pair)? {
                return Ok(Some(far));
            }
        }
        for _ in 0..ACCEPTS_PER_CALL {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let dialer: Descriptor = match rustix::net::accept_with(listener, flags) {
                Ok(dialer) => dialer.into(),
                Err(Errno::MFILE | Errno::NFILE) => return Err(Reason::OutOfDescriptors),
                Err(_) => return Ok(None),
            };
            match name::peer(dialer.as_fd(), &expected) {
                PeerName::None if knock::REQUIRED => {
                    self.unnamed = PrivateDescriptor::keep(dialer)?;
                    return Ok(None);
                }
                PeerName::Other if knock::REQUIRED => continue,
                _ => {}
            }
            let dialer = PrivateDescriptor::keep(dialer)?;
            if let Some(far) = self.examine(dialer, tcp, pair)? {
                return Ok(Some(far));
            }
        }
        Ok(None)
    }

    /// The dialer holds the name. Look, filter, and let descriptors in.
    fn examine(
        &mut self,
        mut dialer: PrivateDescriptor,
        tcp: BorrowedFd<'_>,
        pair: &AddressPair,
    ) -> Result<Option<FarEnd>, Reason> {
        let verdict = self.verdict(&dialer, tcp, pair);
        match verdict {
            Ok(Some(_)) => self.visitor = dialer,
            Ok(None) | Err(_) => dialer.close(),
        }
        verdict
    }

    fn verdict(
        &self,
        dialer: &PrivateDescriptor,
        tcp: BorrowedFd<'_>,
        pair: &AddressPair,
    ) -> Result<Option<FarEnd>, Reason> {
        let Some(socket) = dialer.get() else {
            return Ok(None);
        };
        let Some((user, _)) = peer_credentials(socket) else {
            return Ok(None);
        };
        let far = look::far_end(tcp, pair, End::Connecting)?;
        if !far.is_accepted || look::users_differ(user, far.user) {
            return Ok(None);
        }
        quota::may_prove(far.user)?;
        if self.refuses_descriptors {
            let allowed =
                set_socket_option(socket.as_raw_fd(), libc::SOL_SOCKET, SO_PASSRIGHTS, 1_i32);
            return Ok(allowed.is_ok().then_some(far));
        }
        if user == look::UNKNOWN_USER || user != rustix::process::geteuid().as_raw() {
            return Err(Reason::Unsupported);
        }
        Ok(Some(far))
    }

    /// Closes everything. The name is free again.
    pub fn close(&mut self) {
        self.visitor.close();
        self.unnamed.close();
        self.listener.close();
    }
}
