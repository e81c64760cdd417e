//! Very many connections between one client and one server, a few of them busy: all work, the busy ones get the rings.
//!
//! * [`server`]: one thread, one epoll set, sends back what it gets.
//! * [`client`]: opens all, exchanges with all, keeps some busy, looks at where their bytes travel.
//! * [`driver`]: starts both, judges, prints.

pub mod client;
pub mod driver;
pub mod server;
