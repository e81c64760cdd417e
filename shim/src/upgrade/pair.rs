//! The address pair of a connection, and whether the socket is what it was taken for: asked of the kernel at the first
//! chance, not before.

use super::reasons::note;
use crate::calls::choosing;
use crate::calls::options;
use crate::status;
use fastpath::endpoint::{Endpoint, role};
use fastpath::kernel_call;
use fastpath::stream::Stream;
use fastpath::sync::Ordering;
use kmod_interface::handshake::{AddressPair, PAIR_BYTES};
use kmod_interface::reason::Reason;
use settings::{Choice, Role};

/// An address and a port.
type Name = ([u8; 16], u16);

/// The address pair, connecting side first; asked of the kernel once. It is told in the row, too.
pub(super) fn pair_of(stream: &Stream) -> Option<AddressPair> {
    let known = known_pair(stream.endpoint);
    let pair = known.or_else(|| ask_for_pair(stream))?;
    if status::open_missing_row(stream) || known.is_none() {
        status::row_pair(stream, &pair);
    }
    Some(pair)
}

fn ask_for_pair(stream: &Stream) -> Option<AddressPair> {
    let endpoint = stream.endpoint;
    let own = kernel_call::own_name(stream.descriptor)?;
    let far = kernel_call::far_name(stream.descriptor)?;
    let connects = endpoint.role.get() == role::CONNECTING;
    if !is_what_it_was_taken_for(stream, own, far) {
        return None;
    }
    let (connecting, accepting) = if connects { (own, far) } else { (far, own) };
    let pair = AddressPair {
        connect_address: connecting.0,
        accept_address: accepting.0,
        connect_port: connecting.1,
        accept_port: accepting.1,
    };
    for (word, bytes) in endpoint.pair.iter().zip(pair.to_bytes().chunks_exact(4)) {
        word.set(bytes.try_into().map_or(0, u32::from_ne_bytes));
    }
    endpoint.pair_known.set(1);
    Some(pair)
}

/// The address pair, once the kernel was asked for it.
#[must_use]
pub fn known_pair(endpoint: &Endpoint) -> Option<AddressPair> {
    if endpoint.pair_known.get() == 0 {
        return None;
    }
    let mut bytes = [0u8; PAIR_BYTES];
    for (word, place) in endpoint.pair.iter().zip(bytes.chunks_exact_mut(4)) {
        place.copy_from_slice(&word.get().to_ne_bytes());
    }
    Some(AddressPair::from_bytes(&bytes))
}

/// Whether the number means this stream's connection, asked of the kernel: for a vfork child, which may have moved
/// something else over it.
#[must_use]
pub fn is_connection(stream: &Stream) -> bool {
    let Some(pair) = known_pair(stream.endpoint) else {
        return false;
    };
    let own = kernel_call::own_name(stream.descriptor);
    let far = kernel_call::far_name(stream.descriptor);
    let connecting = Some((pair.connect_address, pair.connect_port));
    let accepting = Some((pair.accept_address, pair.accept_port));
    (own, far) == (connecting, accepting) || (own, far) == (accepting, connecting)
}

/// What was taken for granted when the socket was taken under management is asked of the kernel now.
fn is_what_it_was_taken_for(stream: &Stream, own: Name, far: Name) -> bool {
    let connects = stream.endpoint.role.get() == role::CONNECTING;
    let reason = if !choosing::is_tcp(stream.descriptor) {
        Reason::NotStreamSocket
    } else if options::uses_kernel_feature(stream.descriptor) {
        Reason::KernelFeature
    } else if !connects && choosing::choice(Role::Server, own.0, own.1) == Choice::Kernel
        // Another address may have been tried first.
        || connects && choosing::choice(Role::Client, far.0, far.1) == Choice::Kernel
    {
        Reason::Rule
    } else {
        return true;
    };
    stream.endpoint.wished.store(0, Ordering::Relaxed);
    note(stream, reason);
    false
}
