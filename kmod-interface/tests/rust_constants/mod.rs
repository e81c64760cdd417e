//! Every public constant of this crate by name and value, for the tests that hold C headers and PROTOCOL.md to them.
//!
//! A list written by hand would fall behind; so the names are also read from the sources, for a test that compares.

use std::path::Path;

/// A constant as Rust, C and PROTOCOL.md know it.
pub struct Constant {
    /// Module and name, without the crate: `ict::offset::TAIL`.
    pub rust_name: &'static str,
    /// `AXIO_ENTRY_TAIL`.
    pub c_name: &'static str,
    pub value: u64,
}

macro_rules! constants {
    ($($($module:ident)::+ ($rust:literal) => $prefix:literal: $($name:ident)*;)*) => {
        /// Every integer constant of the crate.
        pub fn all() -> Vec<Constant> {
            let mut list = Vec::new();
            $({
                use kmod_interface::$($module)::+ as place;
                $(list.push(Constant {
                    rust_name: concat!($rust, "::", stringify!($name)),
                    c_name: concat!($prefix, stringify!($name)),
                    value: place::$name as u64,
                });)*
            })*
            list
        }
    };
}

constants! {
    limits ("limits") => "AXIO_":
        MAGIC VERSION FEATURES CACHE_LINE_BYTES POOL_PAGE_BYTES RING_BYTES_SMALL RING_BYTES_MIDDLE RING_BYTES_LARGE
        WAITERS CLAIMS CONTROL_EVENTS READY_KINDS SLOTS_MAX UNREAD_BELLS_MAX UNREAD_BELLS_LIMIT KNOCK_BITS HANDSHAKE_LIMIT_MS
        HANDSHAKE_LIMIT_CALLS BOXES_PER_PROCESS BOXES_PER_CONNECTION HANDSHAKES_PER_PROCESS CHANNELS_PER_PROCESS
        CHANNELS_PER_FOREIGN_USER FOREIGN_USER_BYTES FAILED_PROOFS REFUSAL_MS SPILL_AFTER_MS LEAVE_WAIT_MS
        LEAVE_PATIENCE_MS BELL_PATIENCE_MS UPGRADE_HOLD_MS SPURIOUS_WAKES USELESS_MARKS SWITCHES_PER_CALL
        READY_CHECKS_PER_WAIT;
    channel_layout::header ("channel_layout::header") => "AXIO_HEADER_":
        MAGIC VERSION FEATURES CLASS MAPPED KNOCK_VALUE KNOWN BOUND CLAIM_COUNTER ANSWER_COUNTER CONTROL_TAIL GONE BYTES;
    channel_layout::claim ("channel_layout::claim") => "AXIO_CLAIM_":
        SEQUENCE KNOCK_VALUE COOKIE PAIR ACKNOWLEDGED BYTES;
    channel_layout::claim::answer ("channel_layout::claim::answer") => "AXIO_ANSWER_":
        SEQUENCE SLOT GENERATION KNOCK_VALUE BOUND REFUSED BYTES;
    channel_layout::own_waiter ("channel_layout::own_waiter") => "AXIO_OWN_WAITER_":
        EPOCH ANSWER_SUMMARY ANSWER_WORDS;
    channel_layout::far_waiter ("channel_layout::far_waiter") => "AXIO_FAR_WAITER_":
        STAMP CPU SUMMARY READY_WORDS;
    control_event ("control_event") => "AXIO_CONTROL_EVENT_":
        BYTES KIND SLOT GENERATION CAUSE STAMP;
    ict ("ict") => "AXIO_":
        ENTRY_BYTES KIND_DATA KIND_SPACE SLOT_FREE SLOT_BOUND SLOT_SETTLED
        FIN_ON_RING FIN_ON_KERNEL;
    ict::offset ("ict::offset") => "AXIO_ENTRY_":
        TAIL KOFF KR EP FIN RINGING CPU STAMP HEAD KRX RX_EP GRANT WANT GONE ARM_RX ARM_TX GENERATION STATE LEAVING
        RING_OFFSET RING_BYTES WAITER WATCH OWNER_PROCESS COOKIE;
    handshake ("handshake") => "AXIO_":
        PAIR_BYTES NAME_BYTES OFFER_BYTES;
    ioctl ("ioctl") => "AXIO_":
        STATUS_VERSION;
    ioctl::path ("ioctl::path") => "AXIO_PATH_":
        KERNEL SHARED_MEMORY;
    ioctl::state ("ioctl::state") => "AXIO_STATE_":
        UNMANAGED WATCHING NEGOTIATING BOUND ACCELERATED RETREATED;
    ioctl ("ioctl") => "AXIO_IOCTL_":
        TYPE;
    ioctl ("ioctl") => "":
        AXIO_SIOCACCEL AXIO_SIOCSTATUS;
    statistics ("statistics") => "AXIO_STATISTICS_":
        MAGIC VERSION ROWS COUNTERS_OFFSET REASONS_OFFSET ROWS_OFFSET ROW_BYTES PAGE_BYTES;
    statistics::header ("statistics::header") => "AXIO_STATISTICS_HEADER_":
        MAGIC VERSION PROCESS ROWS_USED START_TIME PROGRAM;
    statistics::role ("statistics::role") => "AXIO_STATISTICS_ROLE_":
        CONNECTING ACCEPTING;
    statistics::row ("statistics::row") => "AXIO_STATISTICS_ROW_":
        IN_USE DESCRIPTOR PATH STATE REASON ROLE PAIR KERNEL_BYTES_IN KERNEL_BYTES_OUT RING_BYTES_IN RING_BYTES_OUT
        KERNEL_CALLS_IN KERNEL_CALLS_OUT RING_CALLS_IN RING_CALLS_OUT UPGRADES_OUT RETREATS_OUT UPGRADES_IN
        RETREATS_IN BELLS_SENT BELLS_RECEIVED SPINS_WON SPINS_LOST KERNEL_SLEEPS RETREATS_ASKED RETREATS_SPILL
        RETREATS_DEAD_LINE RETREATS_LOCAL;
}

/// Module, name and doc comment of every `pub const` item in the sources of this crate.
pub fn in_sources() -> Vec<(String, String, String)> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut list = Vec::new();
    for file in std::fs::read_dir(sources).expect("the sources of this crate") {
        let file = file.expect("a source file").path();
        let module = file
            .file_stem()
            .expect("a file name")
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read_to_string(&file).expect("a readable source file");
        list_constants(&module, &text, &mut list);
    }
    list
}

/// Appends what is in one source text, nested `pub mod`s included. Relies on rustfmt's layout.
fn list_constants(file_module: &str, text: &str, list: &mut Vec<(String, String, String)>) {
    let mut modules = vec![file_module];
    let mut doc = String::new();
    for line in text.lines() {
        let indent = (line.len() - line.trim_start().len()) / 4;
        let line = line.trim_start();
        if let Some(sentence) = line.strip_prefix("///") {
            doc += sentence.trim();
            doc.push(' ');
            continue;
        }
        if line.starts_with('}') && indent + 1 < modules.len() {
            modules.truncate(indent + 1);
        } else if let Some(module) = line
            .strip_prefix("pub mod ")
            .and_then(|rest| rest.strip_suffix(" {"))
        {
            modules.push(module);
        } else if let Some((name, _)) = line
            .strip_prefix("pub const ")
            .and_then(|rest| rest.split_once(':'))
            && name.chars().all(|letter| {
                letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_'
            })
        {
            list.push((modules.join("::"), name.to_owned(), doc.clone()));
        }
        doc.clear();
    }
}

/// Where each field of a message lies, found by encoding it once with the field all ones and once all zeros: the
/// encoder itself is the witness. Gives (C name, offset, width).
pub fn message_fields() -> Vec<(&'static str, usize, usize)> {
    use kmod_interface::handshake::{AddressPair, Offer};
    let offer = Offer {
        features: 0,
        connect_cookie: 0,
        accept_cookie: 0,
        class: 0,
        knock_value: 0,
        slot: 0,
        generation: 0,
    };
    let pair = AddressPair {
        connect_address: [0; 16],
        accept_address: [0; 16],
        connect_port: 0,
        accept_port: 0,
    };
    fn changed(before: &[u8], after: &[u8]) -> (usize, usize) {
        let differs: Vec<usize> = (0..before.len())
            .filter(|&at| before[at] != after[at])
            .collect();
        let (first, last) = (differs[0], differs[differs.len() - 1]);
        assert_eq!(
            differs.len(),
            last - first + 1,
            "a field is one run of bytes"
        );
        (first, differs.len())
    }
    macro_rules! fields {
        ($message:ident: $($c_name:literal $field:ident $ones:expr),*) => {
            [$({
                let mut other = $message;
                other.$field = $ones;
                let (offset, width) = changed(&$message.to_bytes(), &other.to_bytes());
                ($c_name, offset, width)
            }),*]
        };
    }
    let mut list = Vec::new();
    list.extend(fields!(offer:
        "AXIO_OFFER_FEATURES" features u64::MAX,
        "AXIO_OFFER_CONNECT_COOKIE" connect_cookie u64::MAX,
        "AXIO_OFFER_ACCEPT_COOKIE" accept_cookie u64::MAX,
        "AXIO_OFFER_CLASS" class u32::MAX,
        "AXIO_OFFER_KNOCK_VALUE" knock_value u32::MAX,
        "AXIO_OFFER_SLOT" slot u32::MAX,
        "AXIO_OFFER_GENERATION" generation u32::MAX));
    list.extend(fields!(pair:
        "AXIO_PAIR_CONNECT_ADDRESS" connect_address [0xff; 16],
        "AXIO_PAIR_ACCEPT_ADDRESS" accept_address [0xff; 16],
        "AXIO_PAIR_CONNECT_PORT" connect_port u16::MAX,
        "AXIO_PAIR_ACCEPT_PORT" accept_port u16::MAX));
    // The two words that every offer starts with.
    let bytes = offer.to_bytes();
    assert_eq!(bytes[0..4], kmod_interface::limits::MAGIC.to_le_bytes());
    assert_eq!(bytes[4..8], kmod_interface::limits::VERSION.to_le_bytes());
    list.push(("AXIO_OFFER_MAGIC", 0, 4));
    list.push(("AXIO_OFFER_VERSION", 4, 4));
    list
}
