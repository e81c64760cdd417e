//! What is measured, as data. Identifiers and floors are those of the benchmark plan; a floor is what a release must
//! reach, not what it should.

use serde::Serialize;

/// What kind of programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Kind {
    /// One connection, one message of 64 bytes there and back, blocking calls.
    PingPong,
    /// A connection for each exchange; the server closes it.
    ConnectClose,
    /// redis-server and redis-benchmark GET.
    Redis {
        /// Connections of the client.
        connections: u32,
    },
    /// nginx with a file of 64 KiB, and wrk.
    Nginx {
        /// Connections of the client.
        connections: u32,
        /// Whether nginx lets the kernel copy the file, or copies it itself.
        by_sendfile: bool,
    },
}

/// Which CPUs the two ends run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// One each.
    TwoCpus,
    /// Both on the same.
    OneCpu,
}

/// What must have carried the bytes of a run with the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Carrier {
    /// Rings: a run without bytes on a ring proves nothing.
    Ring,
    /// The kernel: a run with bytes on a ring disobeyed.
    Kernel,
    /// Whatever the library chose.
    Any,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Median time of an exchange in nanoseconds; less is better.
    MedianNanoseconds,
    /// Exchanges per second; more is better.
    PerSecond,
}

/// One workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Workload {
    /// Name on the command line.
    pub name: &'static str,
    /// Number in the benchmark plan.
    pub id: &'static str,
    /// One line for people.
    pub sentence: &'static str,
    /// Programs.
    #[serde(flatten)]
    pub kind: Kind,
    /// CPUs.
    pub placement: Placement,
    /// Options of the runs with the library.
    pub options: &'static [(&'static str, &'static str)],
    /// Proof.
    pub carrier: Carrier,
    /// Comparison: the first is the figure of the workload, and each must reach the floor.
    pub metrics: &'static [Metric],
    /// Least ratio to the bare kernel.
    pub floor: f64,
    /// Into how many shorter pairs each pair is divided. Where the two sides are close to each other, many short runs in
    /// alternation tell them apart better than few long ones, for a machine drifts by more than their difference.
    pub divided_by: u32,
}

impl Workload {
    /// What is shown as the figure.
    pub fn metric(&self) -> Metric {
        self.metrics.first().copied().unwrap_or(Metric::PerSecond)
    }
}

/// Every workload, in the order of the table.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "ping-pong",
        id: "W1",
        sentence: "64 B there and back, blocking, two CPUs",
        kind: Kind::PingPong,
        placement: Placement::TwoCpus,
        options: &[],
        carrier: Carrier::Ring,
        metrics: &[Metric::MedianNanoseconds],
        floor: 20.0,
        divided_by: 1,
    },
    Workload {
        name: "ping-pong-sleep",
        id: "W4",
        sentence: "the same, spinning switched off",
        kind: Kind::PingPong,
        placement: Placement::TwoCpus,
        options: &[("AXIO_SPIN_US", "0")],
        carrier: Carrier::Ring,
        metrics: &[Metric::MedianNanoseconds],
        floor: 0.9,
        divided_by: 1,
    },
    Workload {
        name: "ping-pong-one-cpu",
        id: "W5",
        sentence: "the same, both ends on one CPU",
        kind: Kind::PingPong,
        placement: Placement::OneCpu,
        options: &[],
        carrier: Carrier::Ring,
        metrics: &[Metric::MedianNanoseconds],
        floor: 0.9,
        divided_by: 1,
    },
    Workload {
        name: "redis-get-50",
        id: "W6",
        sentence: "redis GET, 50 connections",
        kind: Kind::Redis { connections: 50 },
        placement: Placement::TwoCpus,
        options: &[],
        carrier: Carrier::Ring,
        metrics: &[Metric::PerSecond],
        floor: 5.0,
        divided_by: 1,
    },
    Workload {
        name: "redis-get-1",
        id: "W6",
        sentence: "redis GET, 1 connection",
        kind: Kind::Redis { connections: 1 },
        placement: Placement::TwoCpus,
        options: &[],
        carrier: Carrier::Ring,
        metrics: &[Metric::PerSecond],
        floor: 4.0,
        divided_by: 1,
    },
    Workload {
        name: "nginx-64k",
        id: "W7",
        sentence: "nginx, a file of 64 KiB by sendfile, 16 connections",
        kind: Kind::Nginx {
            connections: 16,
            by_sendfile: true,
        },
        placement: Placement::TwoCpus,
        options: &[],
        carrier: Carrier::Any,
        metrics: &[Metric::PerSecond],
        floor: 1.0,
        divided_by: 1,
    },
    Workload {
        name: "nginx-64k-copied",
        id: "W7",
        sentence: "the same, copied by nginx itself",
        kind: Kind::Nginx {
            connections: 16,
            by_sendfile: false,
        },
        placement: Placement::TwoCpus,
        options: &[],
        carrier: Carrier::Any,
        metrics: &[Metric::PerSecond],
        floor: 1.0,
        divided_by: 1,
    },
    Workload {
        name: "connect-close",
        id: "W12",
        sentence: "connect, one request, close; one CPU",
        kind: Kind::ConnectClose,
        placement: Placement::OneCpu,
        options: &[],
        carrier: Carrier::Any,
        metrics: &[Metric::MedianNanoseconds, Metric::PerSecond],
        floor: 0.97,
        divided_by: 5,
    },
    Workload {
        name: "rule-kernel",
        id: "W15",
        sentence: "ping-pong under the rule `kernel`; one CPU",
        kind: Kind::PingPong,
        placement: Placement::OneCpu,
        options: &[("AXIO_RULES", "kernel * * *:*")],
        carrier: Carrier::Kernel,
        metrics: &[Metric::MedianNanoseconds],
        floor: 0.99,
        divided_by: 5,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    #[test]
    fn names_are_unique_and_options_are_options() {
        for workload in WORKLOADS {
            assert_eq!(
                WORKLOADS
                    .iter()
                    .filter(|other| other.name == workload.name)
                    .count(),
                1
            );
            let options = workload
                .options
                .iter()
                .map(|(name, value)| (OsString::from(name), OsString::from(value)));
            let environment =
                crate::run::environment::Environment::new(options.collect(), Vec::new());
            assert!(
                environment.settings().errors.is_empty(),
                "{}",
                workload.name
            );
        }
    }
}
