//! Medians, ratios, spread, floors.

use serde::Serialize;

use super::sample::Sample;
use super::side::Side;
use super::workload::{Metric, Workload};

/// Samples of a workload in a few numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Median of the metric on the bare kernel: nanoseconds or exchanges per second.
    pub kernel: f64,
    /// The same with the library.
    pub axio: f64,
    /// Ratio of the two; more than 1 is faster than the kernel.
    pub ratio: f64,
    /// Least ratio of a pair.
    pub least_ratio: f64,
    /// Greatest ratio of a pair.
    pub greatest_ratio: f64,
    /// CPU time of both ends per exchange on the bare kernel, median.
    pub kernel_cpu_ns: f64,
    /// The same with the library.
    pub axio_cpu_ns: f64,
    /// Bytes received by ring in all runs with the library.
    pub ring_bytes: u64,
    /// Bytes received through the kernel in them.
    pub kernel_bytes: u64,
    /// Whether the ratio reaches the floor.
    pub is_floor_met: bool,
    /// Greatest share of CPU time that others took during a run.
    pub others_cpu_share: f64,
}

impl Summary {
    /// Sums up.
    pub fn of(workload: &Workload, samples: &[Sample]) -> Summary {
        let side = |side| samples.iter().filter(move |sample| sample.side == side);
        let metric = |sample: &Sample| match workload.metric {
            Metric::MedianNanoseconds => sample.p50_ns as f64,
            Metric::PerSecond => sample.per_second,
        };
        let ratio = |kernel: f64, axio: f64| match workload.metric {
            Metric::MedianNanoseconds => kernel / axio.max(f64::MIN_POSITIVE),
            Metric::PerSecond => axio / kernel.max(f64::MIN_POSITIVE),
        };
        let of_side =
            |which, value: &dyn Fn(&Sample) -> f64| median(side(which).map(value).collect());
        let (kernel, axio) = (of_side(Side::Kernel, &metric), of_side(Side::Axio, &metric));
        let pairs = side(Side::Kernel).zip(side(Side::Axio));
        let ratios: Vec<f64> = pairs
            .map(|(kernel, axio)| ratio(metric(kernel), metric(axio)))
            .collect();
        let carried = || samples.iter().filter_map(|sample| sample.carried.as_ref());
        Summary {
            kernel,
            axio,
            ratio: ratio(kernel, axio),
            least_ratio: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            greatest_ratio: ratios.iter().copied().fold(0.0, f64::max),
            kernel_cpu_ns: of_side(Side::Kernel, &Sample::cpu_ns_per_exchange),
            axio_cpu_ns: of_side(Side::Axio, &Sample::cpu_ns_per_exchange),
            ring_bytes: carried().map(|carried| carried.ring_bytes).sum(),
            kernel_bytes: carried().map(|carried| carried.kernel_bytes).sum(),
            is_floor_met: ratio(kernel, axio) >= workload.floor,
            others_cpu_share: samples
                .iter()
                .map(|sample| sample.others_cpu_share)
                .fold(0.0, f64::max),
        }
    }

    /// Part of the bytes that went by ring.
    pub fn ring_share(&self) -> f64 {
        let total = self.ring_bytes.saturating_add(self.kernel_bytes);
        if total == 0 {
            0.0
        } else {
            self.ring_bytes as f64 / total as f64
        }
    }
}

/// The middle one, or the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match (values.get(half), values.len() % 2) {
        (None, _) => 0.0,
        (Some(upper), 0) => values
            .get(half.wrapping_sub(1))
            .map_or(*upper, |lower| (lower + upper) / 2.0),
        (Some(middle), _) => *middle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report_lines::Carried;
    use crate::bench::workload::WORKLOADS;

    fn sample(side: Side, pair: u32, p50_ns: u64, per_second: f64) -> Sample {
        let carried = Carried {
            ring_bytes: 99,
            kernel_bytes: 1,
            ..Carried::default()
        };
        Sample {
            side,
            pair,
            exchanges: 1000,
            seconds: 1.0,
            per_second,
            p50_ns,
            p99_ns: p50_ns * 2,
            p999_ns: None,
            client_cpu_seconds: 0.001,
            server_cpu_seconds: 0.003,
            others_cpu_share: 0.25,
            carried: (side == Side::Axio).then_some(carried),
            latencies: None,
        }
    }

    #[test]
    fn medians_are_those_of_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![]), 0.0);
    }

    #[test]
    fn more_than_one_is_faster_by_either_metric() {
        let samples = [
            sample(Side::Kernel, 0, 100, 10.0),
            sample(Side::Axio, 0, 4, 200.0),
            sample(Side::Kernel, 1, 120, 12.0),
            sample(Side::Axio, 1, 6, 300.0),
        ];
        let by_time = Summary::of(&WORKLOADS[0], &samples);
        assert_eq!(
            (by_time.kernel, by_time.axio, by_time.ratio),
            (110.0, 5.0, 22.0)
        );
        assert_eq!((by_time.least_ratio, by_time.greatest_ratio), (20.0, 25.0));
        assert!(by_time.is_floor_met, "22 is above the floor of 20");
        assert_eq!((by_time.ring_bytes, by_time.kernel_bytes), (198, 2));
        assert_eq!(by_time.kernel_cpu_ns, 4000.0);
        let workload = WORKLOADS
            .iter()
            .find(|workload| workload.metric == Metric::PerSecond)
            .expect("redis");
        let by_rate = Summary::of(workload, &samples);
        assert!((by_rate.ratio - 250.0 / 11.0).abs() < 1e-9);
        assert_eq!(by_rate.least_ratio, 20.0);
    }
}
