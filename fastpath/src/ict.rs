//! Typed access to I/O Connection Table entries: which word lies where, and who may write it.
//!
//! Offsets are those of `kmod_interface::ict`. [`OwnEntry`] lies in this side's region, [`FarEntry`] in the far side's,
//! which is mapped read-only here; every load from it is untrusted.
#![expect(unsafe_code, reason = "computes word addresses inside a mapped entry")]

use crate::sync::{FarWord32, FarWord64, OwnWord32, OwnWord64, Word32, Word64};
use kmod_interface::ict::offset;

/// The entry of one slot in this side's region.
#[derive(Clone, Copy, Debug)]
pub struct OwnEntry(*mut u8);

/// The entry of the same slot in the far side's region.
#[derive(Clone, Copy, Debug)]
pub struct FarEntry(*mut u8);

macro_rules! words {
    ($entry:ident $kind32:ident $kind64:ident : $($name:ident $width:ident $offset:ident $doc:literal)*) => {
        impl $entry {
            /// The entry at `address`.
            ///
            /// # Safety
            /// `address` is the 64-aligned start of a mapped entry that stays mapped while the handle is used.
            #[must_use]
            pub const unsafe fn at(address: *mut u8) -> Self {
                Self(address)
            }
            /// Address of the entry, to be stored as a number in family memory.
            #[must_use]
            pub fn address(self) -> *mut u8 {
                self.0
            }
            $(words!(@one $kind32 $kind64 $name $width $offset $doc);)*
        }
    };
    (@one $kind32:ident $kind64:ident $name:ident u32 $offset:ident $doc:literal) => {
        #[doc = $doc]
        #[inline(always)]
        #[must_use]
        pub fn $name(self) -> $kind32 {
            // SAFETY: `at` promised a mapped entry; the offset is aligned and inside it.
            $kind32::new(unsafe { Word32::at(self.0.add(offset::$offset)) })
        }
    };
    (@one $kind32:ident $kind64:ident $name:ident u64 $offset:ident $doc:literal) => {
        #[doc = $doc]
        #[inline(always)]
        #[must_use]
        pub fn $name(self) -> $kind64 {
            // SAFETY: `at` promised a mapped entry; the offset is aligned and inside it.
            $kind64::new(unsafe { Word64::at(self.0.add(offset::$offset)) })
        }
    };
}

macro_rules! both_entries {
    ($($rest:tt)*) => {
        words!(OwnEntry OwnWord32 OwnWord64 : $($rest)*);
        words!(FarEntry FarWord32 FarWord64 : $($rest)*);
    };
}

both_entries! {
    tail u64 TAIL "bytes ever published by the writer of this entry"
    koff u64 KOFF "every kernel byte from the upgrade to here is a bell"
    kr u64 KR "kernel offset where the kernel carries again"
    ep u32 EP "switches made: odd = ring carries"
    fin u32 FIN "shutdown(WR) on the ring"
    ringing u32 RINGING "about to bell, switch or end"
    cpu u32 CPU "CPU of the last ringer"
    stamp u64 STAMP "time stamp of the last bell"
    head u64 HEAD "bytes ever taken by the writer of this entry"
    krx u64 KRX "bytes taken from the kernel stream"
    rx_ep u32 RX_EP "switches passed"
    grant u32 GRANT "upgrade granted for this ep"
    want u32 WANT "odd ep that should end"
    gone u32 GONE "this side has left"
    arm_rx u32 ARM_RX "epoch of sleeping readers"
    arm_tx u32 ARM_TX "epoch of sleeping writers"
    generation u32 GENERATION "which connection the slot belongs to"
    state u32 STATE "free or bound"
    leaving u32 LEAVING "generation that may be given up"
    ring_offset u32 RING_OFFSET "start of the sending ring in the writer's region"
    ring_bytes u32 RING_BYTES "length of the sending ring"
    waiter u32 WAITER "epoll set that watches the connection"
    watch u32 WATCH "kinds that are worth a bell"
    owner_process u32 OWNER_PROCESS "for people only"
    cookie u64 COOKIE "cookie of the writer's socket"
}
