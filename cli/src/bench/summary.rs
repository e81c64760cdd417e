//! Medians, ratios, spread, floors.

use serde::Serialize;

use super::sample::Sample;
use super::side::Side;
use super::workload::{Metric, Workload};

/// Samples of a workload in a few numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// By the workload's first metric.
    #[serde(flatten)]
    pub figure: Comparison,
    /// By its others, which must reach the floor as well.
    pub also: Vec<Comparison>,
    /// CPU time of both ends per exchange on the bare kernel, median.
    pub kernel_cpu_ns: f64,
    /// The same with the library.
    pub axio_cpu_ns: f64,
    /// Bytes received by ring in all runs with the library.
    pub ring_bytes: u64,
    /// Bytes received through the kernel in them.
    pub kernel_bytes: u64,
    /// Whether every ratio reaches the floor.
    pub is_floor_met: bool,
    /// Greatest share of CPU time that others took during a run.
    pub others_cpu_share: f64,
}

/// Both sides by one metric.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The metric.
    pub metric: Metric,
    /// Its median on the bare kernel: nanoseconds or exchanges per second.
    pub kernel: f64,
    /// The same with the library.
    pub axio: f64,
    /// Ratio of the two; more than 1 is faster than the kernel.
    pub ratio: f64,
    /// Least ratio of a pair.
    pub least_ratio: f64,
    /// Greatest ratio of a pair.
    pub greatest_ratio: f64,
}

impl Comparison {
    fn by(metric: Metric, samples: &[Sample]) -> Comparison {
        let side = |side| samples.iter().filter(move |sample| sample.side == side);
        let value = |sample: &Sample| match metric {
            Metric::MedianNanoseconds => sample.p50_ns as f64,
            Metric::PerSecond => sample.per_second,
        };
        let ratio = |kernel: f64, axio: f64| match metric {
            Metric::MedianNanoseconds => kernel / axio.max(f64::MIN_POSITIVE),
            Metric::PerSecond => axio / kernel.max(f64::MIN_POSITIVE),
        };
        let kernel = median(side(Side::Kernel).map(value).collect());
        let axio = median(side(Side::Axio).map(value).collect());
        let ratios: Vec<f64> = side(Side::Kernel)
            .zip(side(Side::Axio))
            .map(|(kernel, axio)| ratio(value(kernel), value(axio)))
            .collect();
        Comparison {
            metric,
            kernel,
            axio,
            ratio: ratio(kernel, axio),
            least_ratio: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            greatest_ratio: ratios.iter().copied().fold(0.0, f64::max),
        }
    }
}

impl Summary {
    /// Sums up.
    pub fn of(workload: &Workload, samples: &[Sample]) -> Summary {
        let figure = Comparison::by(workload.metric(), samples);
        let also: Vec<Comparison> = workload
            .metrics
            .iter()
            .skip(1)
            .map(|metric| Comparison::by(*metric, samples))
            .collect();
        let cpu_ns = |side| {
            let of_side = samples.iter().filter(|sample| sample.side == side);
            median(of_side.map(Sample::cpu_ns_per_exchange).collect())
        };
        let carried = || samples.iter().filter_map(|sample| sample.carried.as_ref());
        let is_floor_met = also
            .iter()
            .chain([&figure])
            .all(|comparison| comparison.ratio >= workload.floor);
        Summary {
            kernel_cpu_ns: cpu_ns(Side::Kernel),
            axio_cpu_ns: cpu_ns(Side::Axio),
            ring_bytes: carried().map(|carried| carried.ring_bytes).sum(),
            kernel_bytes: carried().map(|carried| carried.kernel_bytes).sum(),
            is_floor_met,
            others_cpu_share: samples
                .iter()
                .map(|sample| sample.others_cpu_share)
                .fold(0.0, f64::max),
            figure,
            also,
        }
    }

    /// CPU time on the bare kernel over that with the library; more than 1 is less work than by the kernel.
    pub fn cpu_ratio(&self) -> f64 {
        self.kernel_cpu_ns / self.axio_cpu_ns.max(f64::MIN_POSITIVE)
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
        let figure = &by_time.figure;
        assert_eq!(
            (figure.kernel, figure.axio, figure.ratio),
            (110.0, 5.0, 22.0)
        );
        assert_eq!((figure.least_ratio, figure.greatest_ratio), (20.0, 25.0));
        assert!(by_time.is_floor_met, "22 is above the floor of 20");
        assert_eq!((by_time.ring_bytes, by_time.kernel_bytes), (198, 2));
        assert_eq!(by_time.kernel_cpu_ns, 4000.0);
        let workload = WORKLOADS
            .iter()
            .find(|workload| workload.metric() == Metric::PerSecond)
            .expect("redis");
        let by_rate = Summary::of(workload, &samples);
        assert!((by_rate.figure.ratio - 250.0 / 11.0).abs() < 1e-9);
        assert_eq!(by_rate.figure.least_ratio, 20.0);
    }

    #[test]
    fn every_metric_must_reach_the_floor() {
        let workload = WORKLOADS
            .iter()
            .find(|workload| workload.name == "connect-close")
            .expect("connect-close");
        let met = |axio| {
            let samples = [sample(Side::Kernel, 0, 1000, 1000.0), axio];
            Summary::of(workload, &samples).is_floor_met
        };
        assert!(met(sample(Side::Axio, 0, 1020, 980.0)));
        assert!(!met(sample(Side::Axio, 0, 1020, 950.0)), "by rate");
        assert!(!met(sample(Side::Axio, 0, 1050, 980.0)), "by median time");
    }
}
