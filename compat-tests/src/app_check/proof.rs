//! Which way a program's bytes went, by the library's own report, and which way they must go.

use crate::torture::report::Report;

/// Which way a client's bytes must have gone.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// At least this share by ring, percent. For clients whose connections live long enough: the first exchanges of
    /// each stay on the kernel by design.
    Ring(u64),
    /// At least so many by ring, whatever went by the kernel.
    RingBytes(u64),
    /// Either: where the only chance of a connection lies in the midst of one long transfer.
    Either,
    /// Each connection has one request: not one byte by ring, unless connections move at once.
    KernelUnlessEager,
}

/// What the report of a client, or of a server's process, says of its bytes, and what it has to say.
pub struct Proof {
    /// Which one.
    pub label: String,
    /// Bytes by ring, both directions.
    pub ring_bytes: u64,
    /// Bytes by the kernel, both directions.
    pub kernel_bytes: u64,
    /// What is wanted.
    pub way: Way,
}

impl Proof {
    /// By a report of the library.
    #[must_use]
    pub fn of_report(label: &str, report: &Report, way: Way) -> Proof {
        let sum = |path: &str| {
            report.sum(&format!("{path}_bytes_in")) + report.sum(&format!("{path}_bytes_out"))
        };
        Proof {
            label: label.to_owned(),
            ring_bytes: sum("ring"),
            kernel_bytes: sum("kernel"),
            way,
        }
    }

    /// Share of the ring, percent.
    #[must_use]
    pub fn percent(&self) -> u64 {
        (self.ring_bytes * 100)
            .checked_div(self.ring_bytes + self.kernel_bytes)
            .unwrap_or(0)
    }

    /// What is missing, if anything.
    #[must_use]
    pub fn complaint(&self, is_eager: bool) -> Option<String> {
        let (label, percent) = (&self.label, self.percent());
        match self.way {
            Way::Ring(least) if percent < least => Some(format!(
                "{label}: {percent} % of its bytes travelled by ring, at least {least} wanted"
            )),
            Way::KernelUnlessEager if !is_eager && self.ring_bytes > 0 => Some(format!(
                "{label}: {} bytes travelled by ring, although each connection has one request",
                self.ring_bytes
            )),
            Way::RingBytes(least) if self.ring_bytes < least => Some(format!(
                "{label}: {} bytes travelled by ring, at least {least} wanted",
                self.ring_bytes
            )),
            _ if self.ring_bytes + self.kernel_bytes == 0 => {
                Some(format!("{label}: the library counted no bytes"))
            }
            _ => None,
        }
    }
}
