//! Who may be trusted with what, tried with the library in real processes: strangers and attackers at discovery, limits
//! and sandboxes, malformed offers, failures that are to be errors, a far side that lies, more connections than slots, and
//! what a ring cannot follow (TRUST.md, CHANNEL.md).

#[path = "../built/mod.rs"]
mod built;
mod ending;
#[path = "../watched/in_time.rs"]
mod in_time;
mod place;

mod limits;
mod lying_far_side;
mod reasons;
mod slots;
mod storms;
mod strangers;
mod strict;
