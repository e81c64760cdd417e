//! How much S makes for whom: size classes, and the memory itself.

use super::{NEGOTIATIONS, Wanted, handshake_tag};
use crate::discovery::private::PrivateDescriptor;
use crate::discovery::{failure, quota};
use fastpath::channel::{Role, table};
use fastpath::memory::region::OwnRegion;
use fastpath::path::shm;
use kmod_interface::channel_layout::{CLASSES, RegionLayout};
use kmod_interface::reason::Reason;
use rustix::fd::AsFd;

/// Slots one far process may have here.
pub(super) fn slots_max(wanted: Wanted) -> u32 {
    let class_max = wanted.class_max.min(CLASSES.len() as u32 - 1);
    RegionLayout::of_class(class_max).map_or(0, |layout| layout.slots)
}

/// The class that is wanted, or one up for each channel with the same far process that has no slot left. A process that
/// lies in a pid namespace we cannot see into is nobody in particular: what it has here only its claims can say.
///
/// # Errors
/// [`Reason::TooManySockets`]: that process has as many slots here as it may have.
pub(super) fn choose_class(user: u32, process: u32, wanted: Wanted) -> Result<u32, Reason> {
    // Handshakes under way count, too: a burst must not get past the limit.
    let mut slots: u32 = (0_u32..)
        .zip(CLASSES)
        .map(|(class, layout)| {
            let tag = handshake_tag(user, class);
            NEGOTIATIONS.count(|other| other == tag) as u32 * layout.slots
        })
        .sum();
    let mut full = 0;
    for channel in table::live() {
        let same = channel
            .far_side()
            .is_some_and(|side| process != 0 && side.user == user && side.process == process);
        if same && channel.role() == Role::Accepting {
            slots += channel.layout().slots;
            full += u32::from(!channel.may_have_free_slot());
        }
    }
    if slots >= slots_max(wanted) {
        return Err(Reason::TooManySockets);
    }
    Ok(full
        .max(wanted.class)
        .min(wanted.class_max)
        .min(CLASSES.len() as u32 - 1))
}

/// The memory of both sides.
pub(super) struct Memory {
    pub(super) own: OwnRegion,
    pub(super) own_memory: PrivateDescriptor,
    pub(super) given_memory: PrivateDescriptor,
}

pub(super) fn make_memory(user: u32, class: u32) -> Result<Memory, Reason> {
    let tagged = |class: u32| NEGOTIATIONS.count(|tag| tag == handshake_tag(user, class));
    let (mut channels, mut bytes) = (0, 0);
    for (other, layout) in (0_u32..).zip(CLASSES) {
        let count = tagged(other);
        channels += count as u32;
        bytes += count as u64 * u64::from(layout.region_bytes) * 2;
    }
    quota::may_make(user, class, (channels, bytes))?;
    let own_memory = shm::make_memfd(class).map_err(failure::of_blame)?;
    let given_memory = shm::make_memfd(class).map_err(failure::of_blame)?;
    shm::seal_size(given_memory.as_fd()).map_err(failure::of_blame)?;
    let own = OwnRegion::map_and_seal(own_memory.as_fd(), class).map_err(failure::of_blame)?;
    table::write_header(&own);
    let kept = PrivateDescriptor::keep(own_memory).and_then(|mut own_memory| {
        PrivateDescriptor::keep(given_memory)
            .map(|given_memory| Memory {
                own,
                own_memory,
                given_memory,
            })
            .inspect_err(|_| own_memory.close())
    });
    kept.inspect_err(|_| own.unmap())
}
