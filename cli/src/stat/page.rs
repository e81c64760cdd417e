//! The bytes of a page of statistics, each field checked. The process may be writing while we read, and may be lying:
//! a number is shown as it is, a code that does not exist as a number, a name without anything a terminal would obey.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use kmod_interface::handshake::{AddressPair, PAIR_BYTES};
use kmod_interface::reason::Reason;
use kmod_interface::statistics::{
    COUNTERS_OFFSET, Counter, MAGIC, REASONS_OFFSET, ROW_BYTES, ROWS, ROWS_OFFSET, VERSION, header,
    role, row,
};

use super::memfd::Memfd;

/// What a page said when it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Process id in the process's own namespace.
    pub process: u32,
    /// Start of the process in clock ticks since boot.
    pub start_time: u64,
    /// Name of the program, printable.
    pub program: String,
    /// Every counter that this version knows, without the sockets that are still open.
    pub counters: Vec<(Counter, u64)>,
    /// Sockets per reason, those that were closed.
    pub reasons: Vec<(Reason, u64)>,
    /// Sockets.
    pub rows: Vec<Row>,
}

/// One socket.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Descriptor number last seen.
    pub descriptor: i32,
    /// Path code.
    pub path: u32,
    /// State code.
    pub state: u32,
    /// Reason code.
    pub reason: u32,
    /// Role code.
    pub role: u32,
    /// End that connected.
    pub connecting: SocketAddr,
    /// End that accepted.
    pub accepting: SocketAddr,
    /// Bytes by way and direction.
    pub bytes: Traffic,
    /// Calls by way and direction.
    pub calls: Traffic,
    /// Moves to the ring, out and in.
    pub upgrades: [u32; 2],
    /// Moves back to the kernel, out and in.
    pub retreats: [u32; 2],
    /// Of those out, why.
    pub retreats_by_cause: RetreatsByCause,
    /// Doorbell bytes sent and consumed.
    pub bells: [u32; 2],
    /// Waits of calls on it that ended while spinning, and that spun in vain.
    pub spins: [u32; 2],
    /// Sleeps in the kernel of calls on it.
    pub kernel_sleeps: u32,
}

/// Moves of the sending direction back to the kernel, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetreatsByCause {
    /// The far side asked for it.
    pub asked: u32,
    /// The reader made no progress.
    pub spill: u32,
    /// Nobody could have been woken any more.
    pub dead_line: u32,
    /// A cause of the process itself.
    pub local: u32,
}

/// A quantity by way and direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Received through the kernel.
    pub kernel_in: u64,
    /// Sent through the kernel.
    pub kernel_out: u64,
    /// Received through the ring.
    pub ring_in: u64,
    /// Sent through the ring.
    pub ring_out: u64,
}

impl Traffic {
    /// Through the ring, both directions.
    pub fn by_ring(self) -> u64 {
        self.ring_in.saturating_add(self.ring_out)
    }

    /// Through the kernel, both directions.
    pub fn by_kernel(self) -> u64 {
        self.kernel_in.saturating_add(self.kernel_out)
    }
}

impl Page {
    /// Reads a page; nothing when the file is no page of a version that is known.
    pub fn read(memfd: &Memfd) -> Option<Page> {
        let mut head = vec![0u8; ROWS_OFFSET];
        memfd.read(&mut head, 0)?;
        let used = rows_used(&head)?;
        let mut rows = vec![0u8; used * ROW_BYTES];
        memfd.read(&mut rows, ROWS_OFFSET as u64)?;
        Page::from_bytes(&head, &rows)
    }

    /// A page of its first bytes and its rows.
    pub fn from_bytes(head: &[u8], rows: &[u8]) -> Option<Page> {
        rows_used(head)?;
        let counter = |counter: &Counter| {
            (
                *counter,
                word64(head, COUNTERS_OFFSET + *counter as usize * 8),
            )
        };
        let reason =
            |reason: &Reason| (*reason, word64(head, REASONS_OFFSET + *reason as usize * 8));
        Some(Page {
            process: word32(head, header::PROCESS),
            start_time: word64(head, header::START_TIME),
            program: printable(&bytes_at::<32>(head, header::PROGRAM)),
            counters: Counter::ALL.iter().map(counter).collect(),
            reasons: Reason::ALL.iter().map(reason).collect(),
            rows: rows
                .chunks_exact(ROW_BYTES)
                .filter_map(Row::from_bytes)
                .collect(),
        })
    }
}

impl Page {
    /// What the process counted, with the sockets that are still open: their bytes and calls are in their rows until
    /// they are closed. The report at exit adds them in the same way.
    pub fn counters_with_open(&self) -> impl Iterator<Item = (Counter, u64)> {
        self.counters.iter().map(|(counter, value)| {
            let of_row = |row: &Row| match counter {
                Counter::KernelBytesIn => row.bytes.kernel_in,
                Counter::KernelBytesOut => row.bytes.kernel_out,
                Counter::RingBytesIn => row.bytes.ring_in,
                Counter::RingBytesOut => row.bytes.ring_out,
                Counter::KernelCalls => row.calls.kernel_in.saturating_add(row.calls.kernel_out),
                Counter::RingCalls => row.calls.ring_in.saturating_add(row.calls.ring_out),
                _ => 0,
            };
            let open = self.rows.iter().map(of_row);
            (*counter, open.fold(*value, u64::saturating_add))
        })
    }

    /// Sockets per reason, those that are still open among them.
    pub fn reasons_with_open(&self) -> impl Iterator<Item = (Reason, u64)> {
        self.reasons.iter().map(|(reason, value)| {
            let open = self.rows.iter().filter(|row| row.reason == *reason as u32);
            (*reason, value.saturating_add(open.count() as u64))
        })
    }
}

impl Row {
    fn from_bytes(bytes: &[u8]) -> Option<Row> {
        if word32(bytes, row::IN_USE) != 1 {
            return None;
        }
        let pair = AddressPair::from_bytes(&bytes_at::<PAIR_BYTES>(bytes, row::PAIR));
        let address = |bytes: [u8; 16], port| {
            SocketAddr::new(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical(), port)
        };
        Some(Row {
            descriptor: word32(bytes, row::DESCRIPTOR).cast_signed(),
            path: word32(bytes, row::PATH),
            state: word32(bytes, row::STATE),
            reason: word32(bytes, row::REASON),
            role: word32(bytes, row::ROLE),
            connecting: address(pair.connect_address, pair.connect_port),
            accepting: address(pair.accept_address, pair.accept_port),
            bytes: Traffic {
                kernel_in: word64(bytes, row::KERNEL_BYTES_IN),
                kernel_out: word64(bytes, row::KERNEL_BYTES_OUT),
                ring_in: word64(bytes, row::RING_BYTES_IN),
                ring_out: word64(bytes, row::RING_BYTES_OUT),
            },
            calls: Traffic {
                kernel_in: word64(bytes, row::KERNEL_CALLS_IN),
                kernel_out: word64(bytes, row::KERNEL_CALLS_OUT),
                ring_in: word64(bytes, row::RING_CALLS_IN),
                ring_out: word64(bytes, row::RING_CALLS_OUT),
            },
            upgrades: [
                word32(bytes, row::UPGRADES_OUT),
                word32(bytes, row::UPGRADES_IN),
            ],
            retreats: [
                word32(bytes, row::RETREATS_OUT),
                word32(bytes, row::RETREATS_IN),
            ],
            retreats_by_cause: RetreatsByCause {
                asked: word32(bytes, row::RETREATS_ASKED),
                spill: word32(bytes, row::RETREATS_SPILL),
                dead_line: word32(bytes, row::RETREATS_DEAD_LINE),
                local: word32(bytes, row::RETREATS_LOCAL),
            },
            bells: [
                word32(bytes, row::BELLS_SENT),
                word32(bytes, row::BELLS_RECEIVED),
            ],
            spins: [
                word32(bytes, row::SPINS_WON),
                word32(bytes, row::SPINS_LOST),
            ],
            kernel_sleeps: word32(bytes, row::KERNEL_SLEEPS),
        })
    }

    /// This side's address and the far one's; nothing before the connection's first chance, since nobody has asked for them.
    pub fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        if self.accepting.port() == 0 && self.connecting.port() == 0 {
            return None;
        }
        Some(match self.role {
            role::ACCEPTING => (self.accepting, self.connecting),
            _ => (self.connecting, self.accepting),
        })
    }
}

/// How many rows to read, if this is the beginning of a page at all.
fn rows_used(head: &[u8]) -> Option<usize> {
    let is_page = word32(head, header::MAGIC) == MAGIC && word32(head, header::VERSION) == VERSION;
    let used = usize::try_from(word32(head, header::ROWS_USED)).ok()?;
    is_page.then_some(used.min(ROWS))
}

/// A name up to its first zero byte, with nothing in it that a terminal would obey.
fn printable(bytes: &[u8]) -> String {
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let letter = |letter: char| if letter.is_control() { '?' } else { letter };
    String::from_utf8_lossy(name).chars().map(letter).collect()
}

fn bytes_at<const SIZE: usize>(bytes: &[u8], offset: usize) -> [u8; SIZE] {
    bytes
        .get(offset..offset + SIZE)
        .and_then(|part| part.try_into().ok())
        .unwrap_or([0; SIZE])
}

fn word32(bytes: &[u8], offset: usize) -> u32 {
    u32::from_ne_bytes(bytes_at(bytes, offset))
}

fn word64(bytes: &[u8], offset: usize) -> u64 {
    u64::from_ne_bytes(bytes_at(bytes, offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_page_is_refused_and_what_lies_is_bounded() {
        let mut head = vec![0xffu8; ROWS_OFFSET];
        assert_eq!(Page::from_bytes(&head, &[]), None);
        head[header::MAGIC..][..4].copy_from_slice(&MAGIC.to_ne_bytes());
        assert_eq!(Page::from_bytes(&head, &[]), None, "another version");
        head[header::VERSION..][..4].copy_from_slice(&VERSION.to_ne_bytes());
        assert_eq!(rows_used(&head), Some(ROWS));
        let page = Page::from_bytes(&head, &[0xff; ROW_BYTES * 2]).expect("a page");
        assert_eq!(page.rows, [], "0xffffffff is neither free nor in use");
        assert!(page.counters.contains(&(Counter::Upgrades, u64::MAX)));
        let mut rows = [0xffu8; ROW_BYTES + 7];
        rows[row::IN_USE..][..4].copy_from_slice(&1u32.to_ne_bytes());
        assert_eq!(
            Page::from_bytes(&head, &rows).expect("a page").rows.len(),
            1
        );
        assert_eq!(Page::from_bytes(&[], &[]), None);
    }

    #[test]
    fn a_name_cannot_speak_to_the_terminal() {
        assert_eq!(printable(b"redis\0rest"), "redis");
        assert_eq!(printable(b"\x1b[2Jx\xff\n"), "?[2Jx\u{fffd}?");
    }
}
