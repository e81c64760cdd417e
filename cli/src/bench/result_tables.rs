//! Results as tables. What the workloads are is a table of its own (`--list`), so that the figures fit a terminal.

use comfy_table::{CellAlignment, Table};

use super::results::{Results, WorkloadResults};
use super::summary::Comparison;
use super::workload::{Carrier, Metric, Workload};
use crate::stat::words;
use crate::table::table;

/// What there is to measure.
pub fn workloads(list: &[Workload]) -> Table {
    let mut table = table(&["workload", "plan", "what", "floor"]);
    for workload in list {
        table.add_row([
            workload.name,
            workload.id,
            workload.sentence,
            &format!("{}×", workload.floor),
        ]);
    }
    table
}

/// The figures.
pub fn ratios(results: &Results) -> Table {
    let mut table = table(&[
        "workload",
        "bare kernel",
        "with Axio",
        "ratio (spread)",
        "floor",
        "by ring",
        "CPU per exchange",
    ]);
    for result in &results.workloads {
        table.add_row(row(result));
        for comparison in &result.summary.also {
            table.add_row(further_row(result, comparison));
        }
    }
    for column in 1..7 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn row(result: &WorkloadResults) -> [String; 7] {
    let (workload, summary) = (result.workload, &result.summary);
    let ring = match workload.carrier {
        Carrier::Ring => {
            let (ring, kernel) = (
                words::bytes(summary.ring_bytes),
                words::bytes(summary.kernel_bytes),
            );
            format!("{:.1} % ({ring} : {kernel})", summary.ring_share() * 100.0)
        }
        Carrier::Kernel | Carrier::Any => words::bytes(summary.ring_bytes),
    };
    let [kernel, axio, ratio, floor] = compared(result, &summary.figure);
    [
        workload.name.into(),
        kernel,
        axio,
        ratio,
        floor,
        ring,
        format!(
            "{} → {} ({})",
            time(summary.kernel_cpu_ns),
            time(summary.axio_cpu_ns),
            times(summary.cpu_ratio())
        ),
    ]
}

/// The same runs by another metric.
fn further_row(result: &WorkloadResults, comparison: &Comparison) -> [String; 7] {
    let what = match comparison.metric {
        Metric::MedianNanoseconds => "median time",
        Metric::PerSecond => "rate",
    };
    let [kernel, axio, ratio, floor] = compared(result, comparison);
    let none = String::new;
    [
        format!("  its {what}"),
        kernel,
        axio,
        ratio,
        floor,
        none(),
        none(),
    ]
}

fn compared(result: &WorkloadResults, comparison: &Comparison) -> [String; 4] {
    let value = |value: f64| match comparison.metric {
        Metric::MedianNanoseconds => time(value),
        Metric::PerSecond => format!("{}/s", thousands(value)),
    };
    let floor = result.workload.floor;
    let verdict = match (comparison.ratio >= floor, result.is_repeated) {
        _ if result.shares_one_cpu => "is for two CPUs",
        (true, false) => "met",
        (false, false) => "MISSED",
        (true, true) => "met, disturbed",
        (false, true) => "missed, disturbed",
    };
    [
        value(comparison.kernel),
        value(comparison.axio),
        format!(
            "{} ({}–{})",
            times(comparison.ratio),
            three_digits(comparison.least_ratio),
            three_digits(comparison.greatest_ratio)
        ),
        format!("{floor}× {verdict}"),
    ]
}

/// What the machine can do at best, and how quiet it was.
pub fn limits(results: &Results) -> Table {
    let limits = &results.limits;
    let mut table = table(&["this machine", "in this run"]);
    let mut add = |what: &str, value: Option<String>| {
        table.add_row([what.to_string(), value.unwrap_or_else(|| "-".into())]);
    };
    add(
        "processor, kernel",
        Some(format!(
            "{}, {}",
            results.machine.cpu, results.machine.kernel
        )),
    );
    add(
        "cache line between two CPUs, spun, there and back",
        limits.spun_line_round_trip_ns.map(time),
    );
    add(
        "kernel TCP 64 B, both ends spinning, there and back",
        limits.kernel_tcp_spun_round_trip_ns.map(time),
    );
    add(
        "futex, two CPUs, there and back",
        limits.futex_round_trip_ns.map(time),
    );
    add(
        "futex, one CPU, there and back",
        limits.futex_round_trip_one_cpu_ns.map(time),
    );
    add("futex wake of nobody", limits.futex_wake_ns.map(time));
    add("shortest system call", limits.null_system_call_ns.map(time));
    let speed = |value: f64| format!("{value:.1} GB/s");
    add(
        "copying 64 KiB",
        limits.copy_64_kib_gb_per_second.map(speed),
    );
    add("copying 1 MiB", limits.copy_1_mib_gb_per_second.map(speed));
    let others = results
        .workloads
        .iter()
        .map(|result| result.summary.others_cpu_share)
        .fold(0.0, f64::max);
    add(
        "most CPU that others took during a run",
        Some(format!("{:.0} %", others * 100.0)),
    );
    let optimised = if results.build.is_optimised {
        ""
    } else {
        ", debug build: for tests only"
    };
    let commit = results.build.commit.as_deref().unwrap_or("unknown");
    add("commit", Some(format!("{commit}{optimised}")));
    table
}

/// Three digits and a unit.
fn time(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        ns if ns < 999.5 => (ns, "ns"),
        ns if ns < 999_500.0 => (ns / 1e3, "µs"),
        ns if ns < 999_500_000.0 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

/// A ratio with its sign.
pub fn times(ratio: f64) -> String {
    format!("{}×", three_digits(ratio))
}

fn three_digits(value: f64) -> String {
    match value {
        value if value < 0.9995 => format!("{value:.3}"),
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

fn thousands(value: f64) -> String {
    if value < 9_999.5 {
        format!("{value:.0}")
    } else {
        format!("{} k", three_digits(value / 1e3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        let shown = [0.271, 12.34, 999.6, 85_400.0, 2.5e9].map(time);
        assert_eq!(
            shown,
            ["0.271 ns", "12.3 ns", "1.00 µs", "85.4 µs", "2.50 s"]
        );
        assert_eq!([0.987, 5.0, 152.3].map(times), ["0.987×", "5.00×", "152×"]);
        assert_eq!([950.0, 34_567.0].map(thousands), ["950", "34.6 k"]);
    }
}
