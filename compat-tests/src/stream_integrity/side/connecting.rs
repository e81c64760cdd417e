//! How an end comes to its connection: connected, accepted, or inherited over exec.

use super::{End, adopt, fail, must};
use crate::stream_integrity::plan::{ForkAt, Plan, SidePlan};
use crate::torture::calls::{self, Readiness};
use std::net::SocketAddr;
use std::sync::atomic::Ordering::SeqCst;

/// Runs one end of a plan to its end. Tells the driver the port (server) and the result on standard output.
pub fn run(plan: Plan, end: End, port: u16) -> ! {
    let listen: SocketAddr = format!("{}:0", plan.listen)
        .parse()
        .unwrap_or_else(bad_address);
    let own = &plan.sides[end as usize];
    let type_flags = if own.nonblocking {
        libc::SOCK_NONBLOCK
    } else {
        0
    };
    let descriptor = match end {
        End::Server => {
            let (listener, port) = must(None, "listen", calls::listen_on(&listen, 0, 1));
            set_buffers(own, listener);
            let _ = calls::write(1, format!("PORT {port}\n").as_bytes());
            let descriptor = must(None, "accept", calls::accept(listener, type_flags));
            let _ = calls::close(listener);
            descriptor
        }
        End::Client => {
            let mut address: SocketAddr = format!("{}:0", plan.connect)
                .parse()
                .unwrap_or_else(bad_address);
            address.set_port(port);
            let descriptor = must(None, "socket", calls::stream_socket(&address, type_flags));
            set_buffers(own, descriptor);
            match calls::connect(descriptor, &address) {
                Err(libc::EINPROGRESS) if own.nonblocking => {
                    let asked = Readiness {
                        writable: true,
                        ..Readiness::default()
                    };
                    must(
                        None,
                        "poll for connect",
                        calls::poll(descriptor, asked, None, -1, false),
                    );
                }
                other => must(None, "connect", other),
            }
            descriptor
        }
    };
    if own.no_delay {
        let option = calls::set_option(descriptor, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
        must(None, "TCP_NODELAY", option);
    }
    if own.timeout_ms != 0 {
        for option in [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO] {
            let outcome = calls::set_timeout(descriptor, option, own.timeout_ms);
            must(None, "time-out", outcome);
        }
    }
    let side = adopt(plan, end, descriptor);
    side.start();
    side.finish()
}

/// The part of a side that a program without the shim goes on with after the leave.
pub fn run_after_leaving(plan: Plan, end: End, descriptor: i32, before: [u64; 6]) -> ! {
    let [written, received, switches, toggles, forced_out, forced_in] = before;
    let mut plan = plan;
    let own = &mut plan.sides[end as usize];
    own.leave = None;
    own.controls = false;
    own.fork = ForkAt::Never;
    plan.warm_up_rounds = 0;
    plan.burst_bytes = 0;
    let side = adopt(plan, end, descriptor);
    side.board.written().store(written, SeqCst);
    side.board.received().store(received, SeqCst);
    side.board.switches().store(switches, SeqCst);
    side.board.toggles().store(toggles, SeqCst);
    side.board.forced_out().store(forced_out, SeqCst);
    side.board.forced_in().store(forced_in, SeqCst);
    side.start();
    side.finish()
}

fn bad_address<T>(error: std::net::AddrParseError) -> T {
    fail(None, &format!("address: {error}"))
}

fn set_buffers(own: &SidePlan, descriptor: i32) {
    for (option, bytes) in [
        (libc::SO_SNDBUF, own.send_buffer),
        (libc::SO_RCVBUF, own.receive_buffer),
    ] {
        if bytes != 0 {
            let outcome = calls::set_option(descriptor, libc::SOL_SOCKET, option, bytes);
            must(None, "buffer size", outcome);
        }
    }
}
