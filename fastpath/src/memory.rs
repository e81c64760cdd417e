//! Memory that two processes share without trusting each other (TRUST.md, "Memory, credentials, storms").
//!
//! * [`descriptor`]: descriptors of ours, closed without the C library.
//! * [`region`]: one side's region as it is mapped here; [`crate::path::shm`] makes, seals and checks it.
//! * [`untrusted`]: copying bytes that another process may be changing.

pub mod descriptor;
pub mod region;
pub mod untrusted;
