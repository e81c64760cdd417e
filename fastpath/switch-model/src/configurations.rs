//! The configurations of the model, reduced so far that each one's whole state graph fits into memory.

use crate::configuration::{Configuration, Departure};
use crate::thread::Role::{self, Giver, Leaver, Reader, Writer, WritesFirst};

/// What the others are variations of: each side writes and reads, both directions may upgrade once.
const BASE: Configuration = Configuration {
    name: "",
    about: "",
    threads: &[(0, Writer), (0, Reader), (1, Writer), (1, Reader)],
    bytes: [3, 1],
    ring_bytes: 2,
    kernel_bytes: 2,
    upgrades: [1, 1],
    retreats: [0, 0],
    asks: [0, 0],
    gives: [0, 0],
    takes_back: false,
    starts_on_ring: [false, false],
    interruptions: 0,
    killed: None,
    rewinder_dies: false,
    departure: Departure::Stays,
    spill: false,
    shutdown_read: false,
    early_fin: false,
};

const LEAVING: &[(u8, Role)] = &[
    (0, Writer),
    (0, Reader),
    (0, Leaver),
    (1, Writer),
    (1, Reader),
];
const TWO_READERS: &[(u8, Role)] = &[
    (0, Writer),
    (0, Reader),
    (1, Writer),
    (1, Reader),
    (1, Reader),
];

const GIVING: &[(u8, Role)] = &[(0, Writer), (0, Giver), (1, Reader), (1, Giver)];
const FOLLOWER_SENDS: &[(u8, Role)] = &[(0, Reader), (0, Giver), (1, Writer), (1, Giver)];

/// All configurations.
pub const ALL: &[Configuration] = &[
    // The switch in one direction.
    Configuration {
        name: "one-way",
        about: "one writer, one reader",
        threads: &[(0, Writer), (1, Reader)],
        bytes: [4, 0],
        ..BASE
    },
    Configuration {
        name: "one-way-two-readers",
        about: "one writer, two readers of the same socket",
        threads: &[(0, Writer), (1, Reader), (1, Reader)],
        bytes: [4, 0],
        ..BASE
    },
    Configuration {
        name: "one-way-both-serve",
        about: "bytes one way, but both sides have a writer and a reader",
        bytes: [4, 0],
        ..BASE
    },
    Configuration {
        name: "upgrade-three-times",
        about: "three upgrades, two retreats, an interruption",
        threads: &[(0, Writer), (1, Reader)],
        bytes: [5, 0],
        upgrades: [3, 0],
        retreats: [2, 0],
        interruptions: 1,
        ..BASE
    },
    Configuration {
        name: "upgrade-twice-two-readers",
        about: "two upgrades, a retreat, two readers",
        threads: &[(0, Writer), (1, Reader), (1, Reader)],
        bytes: [4, 0],
        ring_bytes: 1,
        kernel_bytes: 1,
        upgrades: [2, 0],
        retreats: [1, 0],
        ..BASE
    },
    Configuration {
        name: "two-writers",
        about: "two writers of one socket",
        threads: &[
            (0, Writer),
            (0, Writer),
            (0, Reader),
            (1, Writer),
            (1, Reader),
        ],
        bytes: [3, 0],
        ring_bytes: 1,
        kernel_bytes: 1,
        retreats: [1, 0],
        ..BASE
    },
    // Both directions.
    Configuration {
        name: "base",
        about: "both directions, one retreat",
        retreats: [1, 0],
        ..BASE
    },
    Configuration {
        name: "early-fin",
        about: "FINs as early as they come",
        bytes: [2, 1],
        ring_bytes: 1,
        kernel_bytes: 1,
        early_fin: true,
        ..BASE
    },
    Configuration {
        name: "interrupted",
        about: "both directions, one retreat, an interruption",
        bytes: [2, 1],
        ring_bytes: 1,
        kernel_bytes: 1,
        retreats: [1, 0],
        interruptions: 1,
        ..BASE
    },
    Configuration {
        name: "two-readers",
        about: "two readers, both directions",
        threads: TWO_READERS,
        ..BASE
    },
    Configuration {
        name: "two-readers-retreat",
        about: "two readers and a retreat",
        threads: TWO_READERS,
        bytes: [3, 0],
        ring_bytes: 1,
        kernel_bytes: 1,
        upgrades: [1, 0],
        retreats: [1, 0],
        starts_on_ring: [true, true],
        ..BASE
    },
    Configuration {
        name: "two-readers-interrupted",
        about: "two readers, one may be interrupted and never come back",
        threads: TWO_READERS,
        bytes: [3, 0],
        ring_bytes: 1,
        kernel_bytes: 1,
        interruptions: 1,
        ..BASE
    },
    Configuration {
        name: "two-writers-two-readers",
        about: "two writers, two readers, a retreat",
        threads: &[
            (0, Writer),
            (0, Writer),
            (0, Reader),
            (1, Writer),
            (1, Reader),
            (1, Reader),
        ],
        bytes: [2, 0],
        ring_bytes: 1,
        kernel_bytes: 1,
        upgrades: [1, 0],
        retreats: [1, 0],
        starts_on_ring: [true, true],
        ..BASE
    },
    Configuration {
        name: "upgrade-twice",
        about: "two upgrades of one direction, one of the other",
        ring_bytes: 1,
        kernel_bytes: 1,
        upgrades: [2, 1],
        retreats: [1, 0],
        ..BASE
    },
    Configuration {
        name: "retreat-and-upgrade",
        about: "from the ring to the kernel and back",
        ring_bytes: 1,
        kernel_bytes: 1,
        retreats: [1, 0],
        starts_on_ring: [true, false],
        ..BASE
    },
    Configuration {
        name: "retreat-idle",
        about: "the direction that carries least retreats",
        ring_bytes: 1,
        kernel_bytes: 1,
        retreats: [0, 1],
        ..BASE
    },
    Configuration {
        name: "retreat-asked-for",
        about: "both sides may ask for a retreat",
        ring_bytes: 1,
        kernel_bytes: 1,
        asks: [1, 1],
        ..BASE
    },
    Configuration {
        name: "retreat-both",
        about: "both directions retreat",
        bytes: [2, 1],
        ring_bytes: 1,
        kernel_bytes: 1,
        retreats: [1, 1],
        starts_on_ring: [true, true],
        ..BASE
    },
    // Full rings.
    Configuration {
        name: "write-first",
        about: "both sides write all before they read: the rings must spill",
        threads: &[(0, WritesFirst), (1, WritesFirst)],
        bytes: [3, 3],
        ring_bytes: 1,
        kernel_bytes: 3,
        upgrades: [0, 0],
        spill: true,
        starts_on_ring: [true, true],
        ..BASE
    },
    Configuration {
        name: "write-first-longer",
        about: "the same with longer rings, and upgrades afterwards",
        threads: &[(0, WritesFirst), (1, WritesFirst)],
        bytes: [4, 4],
        kernel_bytes: 4,
        spill: true,
        starts_on_ring: [true, true],
        ..BASE
    },
    Configuration {
        name: "spill",
        about: "a writer may give up waiting at any time",
        bytes: [4, 1],
        ring_bytes: 1,
        kernel_bytes: 1,
        spill: true,
        starts_on_ring: [true, true],
        ..BASE
    },
    Configuration {
        name: "shutdown-read",
        about: "side 0 shuts down reading",
        bytes: [4, 0],
        ring_bytes: 1,
        kernel_bytes: 1,
        shutdown_read: true,
        starts_on_ring: [true, true],
        ..BASE
    },
    // Sudden death.
    Configuration {
        name: "kill-writer",
        about: "the side that writes most is killed",
        retreats: [1, 0],
        killed: Some(0),
        early_fin: true,
        ..BASE
    },
    Configuration {
        name: "kill-reader",
        about: "the side that reads most is killed",
        bytes: [2, 1],
        ring_bytes: 1,
        kernel_bytes: 1,
        retreats: [1, 0],
        killed: Some(1),
        early_fin: true,
        starts_on_ring: [true, true],
        ..BASE
    },
    Configuration {
        name: "kill-writer-two-readers",
        about: "the writing side is killed, the survivor has two readers",
        threads: TWO_READERS,
        bytes: [3, 0],
        ring_bytes: 1,
        retreats: [1, 0],
        killed: Some(0),
        early_fin: true,
        ..BASE
    },
    // Leaving.
    Configuration {
        name: "close",
        about: "side 0 closes after writing",
        threads: &[(0, Writer), (0, Leaver), (1, Writer), (1, Reader)],
        bytes: [3, 0],
        ring_bytes: 1,
        retreats: [1, 0],
        departure: Departure::Close,
        early_fin: true,
        starts_on_ring: [false, true],
        ..BASE
    },
    Configuration {
        name: "close-while-reading",
        about: "side 0 closes while it has a reader, and a bell may be due",
        threads: LEAVING,
        bytes: [2, 1],
        ring_bytes: 1,
        retreats: [0, 1],
        departure: Departure::Close,
        early_fin: true,
        starts_on_ring: [true, true],
        ..BASE
    },
    Configuration {
        name: "leave",
        about: "side 0 leaves at any time, both directions on the ring",
        threads: LEAVING,
        bytes: [1, 3],
        upgrades: [0, 0],
        departure: Departure::Stranger,
        starts_on_ring: [true, true],
        ..BASE
    },
    Configuration {
        name: "leave-early-fin",
        about: "the same, FINs as early as they come",
        threads: LEAVING,
        bytes: [1, 2],
        upgrades: [0, 0],
        departure: Departure::Stranger,
        early_fin: true,
        starts_on_ring: [true, true],
        ..BASE
    },
    Configuration {
        name: "leave-mixed",
        about: "leaving with one direction on the kernel",
        threads: LEAVING,
        bytes: [1, 2],
        upgrades: [0, 0],
        departure: Departure::Stranger,
        starts_on_ring: [false, true],
        ..BASE
    },
    Configuration {
        name: "leave-upgrading",
        about: "leaving while the direction towards the leaver upgrades",
        threads: LEAVING,
        bytes: [1, 3],
        upgrades: [0, 1],
        departure: Departure::Stranger,
        starts_on_ring: [true, false],
        ..BASE
    },
    Configuration {
        name: "leave-retreating",
        about: "leaving while the direction towards the leaver retreats",
        threads: LEAVING,
        bytes: [1, 3],
        ring_bytes: 1,
        kernel_bytes: 3,
        upgrades: [0, 0],
        retreats: [0, 1],
        departure: Departure::Stranger,
        starts_on_ring: [true, true],
        ..BASE
    },
    Configuration {
        name: "leave-kernel-full",
        about: "leaving with more in the ring than the kernel takes",
        threads: LEAVING,
        bytes: [1, 4],
        ring_bytes: 3,
        kernel_bytes: 1,
        upgrades: [0, 0],
        departure: Departure::Stranger,
        starts_on_ring: [true, true],
        ..BASE
    },
    Configuration {
        name: "leave-rewinder-dies",
        about: "one of two writers is killed while it sends again, the other goes on",
        threads: &[
            (0, Writer),
            (0, Reader),
            (0, Leaver),
            (1, Writer),
            (1, Writer),
            (1, Reader),
        ],
        bytes: [0, 3],
        ring_bytes: 2,
        kernel_bytes: 1,
        upgrades: [0, 0],
        rewinder_dies: true,
        departure: Departure::Stranger,
        starts_on_ring: [true, true],
        ..BASE
    },
    Configuration {
        name: "leave-siblings",
        about: "one thread of side 0 leaves at any time, the others go on",
        threads: LEAVING,
        bytes: [1, 2],
        ring_bytes: 2,
        kernel_bytes: 1,
        upgrades: [0, 0],
        departure: Departure::Siblings,
        starts_on_ring: [true, true],
        ..BASE
    },
    Configuration {
        name: "leave-siblings-retreating",
        about: "the same while the direction towards the leaver retreats",
        threads: LEAVING,
        bytes: [1, 2],
        ring_bytes: 1,
        kernel_bytes: 1,
        upgrades: [0, 0],
        retreats: [0, 1],
        departure: Departure::Siblings,
        starts_on_ring: [true, true],
        ..BASE
    },
    Configuration {
        name: "leave-siblings-upgrading",
        about: "the same while the direction towards the leaver upgrades",
        threads: LEAVING,
        bytes: [1, 2],
        ring_bytes: 1,
        kernel_bytes: 1,
        upgrades: [0, 1],
        departure: Departure::Siblings,
        starts_on_ring: [true, false],
        ..BASE
    },
    // Giving a slot up.
    Configuration {
        name: "give-up",
        about: "bytes one way; side 0 gives the slot up, side 1 follows, another connection takes it",
        threads: GIVING,
        bytes: [2, 0],
        ring_bytes: 1,
        kernel_bytes: 1,
        upgrades: [1, 0],
        gives: [1, 0],
        starts_on_ring: [true, true],
        ..BASE
    },
    Configuration {
        name: "give-up-quiet",
        about: "the same with hardly any bytes",
        threads: GIVING,
        bytes: [1, 0],
        ring_bytes: 1,
        kernel_bytes: 1,
        upgrades: [0, 0],
        gives: [1, 0],
        starts_on_ring: [false, true],
        ..BASE
    },
    Configuration {
        name: "give-up-follower-sends",
        about: "bytes the other way, in the direction of who follows, which may upgrade meanwhile",
        threads: FOLLOWER_SENDS,
        bytes: [0, 2],
        ring_bytes: 1,
        kernel_bytes: 1,
        upgrades: [0, 1],
        gives: [1, 0],
        starts_on_ring: [true, false],
        ..BASE
    },
    Configuration {
        name: "give-up-two-readers",
        about: "side 0 gives the slot up, side 1 has two readers",
        threads: &[
            (0, Writer),
            (0, Giver),
            (1, Reader),
            (1, Reader),
            (1, Giver),
        ],
        bytes: [1, 0],
        ring_bytes: 1,
        kernel_bytes: 1,
        upgrades: [0, 0],
        gives: [1, 0],
        starts_on_ring: [true, true],
        ..BASE
    },
    Configuration {
        name: "give-up-both-ways",
        about: "both directions carry bytes",
        threads: &[
            (0, Writer),
            (0, Reader),
            (0, Giver),
            (1, Writer),
            (1, Reader),
            (1, Giver),
        ],
        bytes: [1, 1],
        ring_bytes: 1,
        kernel_bytes: 1,
        upgrades: [0, 0],
        gives: [1, 0],
        starts_on_ring: [true, true],
        ..BASE
    },
    Configuration {
        name: "give-up-taken-back",
        about: "who has begun to give the slot up may think better of it",
        threads: GIVING,
        bytes: [1, 0],
        ring_bytes: 1,
        kernel_bytes: 1,
        upgrades: [1, 0],
        gives: [1, 1],
        takes_back: true,
        starts_on_ring: [true, true],
        ..BASE
    },
    Configuration {
        name: "give-up-killed-writer",
        about: "the writing side is killed while the slot is given up",
        threads: GIVING,
        bytes: [2, 0],
        ring_bytes: 1,
        kernel_bytes: 1,
        upgrades: [0, 0],
        gives: [1, 0],
        killed: Some(0),
        early_fin: true,
        starts_on_ring: [true, true],
        ..BASE
    },
    Configuration {
        name: "give-up-killed-reader",
        about: "the reading side is killed while the slot is given up",
        threads: GIVING,
        bytes: [2, 0],
        ring_bytes: 1,
        kernel_bytes: 1,
        upgrades: [0, 0],
        gives: [1, 0],
        killed: Some(1),
        early_fin: true,
        starts_on_ring: [true, true],
        ..BASE
    },
];

/// The configuration called `name`.
pub fn find(name: &str) -> Option<Configuration> {
    ALL.iter()
        .copied()
        .find(|configuration| configuration.name == name)
}
