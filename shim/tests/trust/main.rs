//! Who may be trusted with what, tried with the library in real processes: strangers and attackers at discovery, limits
//! and sandboxes, malformed offers, failures that are to be errors, a far side that lies, and more connections than slots (TRUST.md, CHANNEL.md).

#[path = "../built/mod.rs"]
mod built;
mod ending;
mod place;

mod limits;
mod lying_far_side;
mod slots;
mod storms;
mod strangers;
mod strict;
