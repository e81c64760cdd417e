//! Results as pictures: the distribution of latencies of each workload, and all ratios with their floors.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::result_tables;

use super::results::{Results, WorkloadResults};
use super::sample::Latencies;
use super::side::Side;

const KERNEL: RGBColor = RGBColor(120, 120, 120);
const AXIO: RGBColor = RGBColor(0, 90, 181);
const FLOOR: RGBColor = RGBColor(220, 50, 32);
const SIZE: (u32, u32) = (900, 520);
const TEXT: (&str, u32) = ("sans-serif", 16);

/// Draws everything into a folder; returns the files.
pub fn draw(results: &Results, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for result in &results.workloads {
        if let (Some(kernel), Some(axio)) =
            (result.latencies(Side::Kernel), result.latencies(Side::Axio))
        {
            let file = folder.join(format!("latency-{}.svg", result.workload.name));
            distribution(&file, result, &kernel, &axio).map_err(|error| drawing(&file, &error))?;
            files.push(file);
        }
    }
    if !results.workloads.is_empty() {
        let file = folder.join("ratios.svg");
        ratios(&file, results).map_err(|error| drawing(&file, &error))?;
        files.push(file);
    }
    Ok(files)
}

type Failure = Box<dyn std::error::Error>;

fn drawing(file: &Path, error: &Failure) -> anyhow::Error {
    anyhow!("{}: {error}", file.display())
}

/// Part of the exchanges that took at most so long, both sides.
fn distribution(
    file: &Path,
    result: &WorkloadResults,
    kernel: &Latencies,
    axio: &Latencies,
) -> Result<(), Failure> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let least = kernel.min().min(axio.min()).max(1) as f64 * 0.8;
    // The slowest in a thousand would leave the rest no room.
    let most = kernel
        .value_at_quantile(0.999)
        .max(axio.value_at_quantile(0.999)) as f64
        * 1.25;
    let mut chart = ChartBuilder::on(&area)
        .caption(
            format!("{}: {}", result.workload.name, result.workload.sentence),
            TEXT,
        )
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d((least / 1e3..most / 1e3).log_scale(), 0.0..1.0f64)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("time of an exchange, µs")
        .y_desc("part of the exchanges")
        .x_label_formatter(&|value| format!("{value}"))
        .draw()?;
    for (latencies, side, color) in [(kernel, Side::Kernel, KERNEL), (axio, Side::Axio, AXIO)] {
        let points = points(latencies)
            .into_iter()
            .filter(|(time, _)| *time <= most / 1e3);
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(side.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    let box_style = WHITE.mix(0.8);
    chart
        .configure_series_labels()
        .background_style(box_style)
        .border_style(BLACK)
        .label_font(TEXT)
        .draw()?;
    area.present()?;
    Ok(())
}

/// Microseconds and the part of the exchanges that took no longer.
fn points(latencies: &Latencies) -> Vec<(f64, f64)> {
    let total = latencies.len().max(1) as f64;
    let mut so_far = 0;
    let step = |step: hdrhistogram::iterators::IterationValue<u64>| {
        so_far += step.count_at_value();
        (step.value_iterated_to() as f64 / 1e3, so_far as f64 / total)
    };
    latencies.iter_recorded().map(step).collect()
}

/// One bar a workload, from 1 upwards or downwards, with the spread and the floor.
fn ratios(file: &Path, results: &Results) -> Result<(), Failure> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let of = |value: fn(&WorkloadResults) -> f64| {
        results
            .workloads
            .iter()
            .map(value)
            .filter(|ratio| ratio.is_finite())
    };
    let most = of(|result| {
        result
            .summary
            .figure
            .greatest_ratio
            .max(result.workload.floor)
    })
    .fold(1.0, f64::max)
        * 1.3;
    let least = of(|result| result.summary.figure.least_ratio.min(result.workload.floor))
        .fold(1.0, f64::min)
        / 1.3;
    let least = least.max(1e-3);
    let count = results.workloads.len();
    let mut chart = ChartBuilder::on(&area)
        .caption(
            "times faster than the bare kernel, with spread; red: floor",
            TEXT,
        )
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..count as f64, (least..most).log_scale())?;
    let name = |place: &f64| {
        let is_middle = (place.fract() - 0.5).abs() < 1e-6;
        let result = if is_middle {
            results.workloads.get(place.floor() as usize)
        } else {
            None
        };
        result.map_or_else(String::new, |result| result.workload.name.to_string())
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(2 * count + 1)
        .x_label_formatter(&name)
        .y_label_formatter(&|value| format!("{value}×"))
        .draw()?;
    for (place, result) in results.workloads.iter().enumerate() {
        let (place, summary) = (place as f64, &result.summary);
        let floor = result.workload.floor;
        chart.draw_series([Rectangle::new(
            [(place + 0.2, 1.0), (place + 0.8, summary.figure.ratio)],
            AXIO.filled(),
        )])?;
        let middle = place + 0.5;
        chart.draw_series([
            PathElement::new(
                [
                    (middle, summary.figure.least_ratio),
                    (middle, summary.figure.greatest_ratio),
                ],
                BLACK.stroke_width(2),
            ),
            PathElement::new(
                [(place + 0.1, floor), (place + 0.9, floor)],
                FLOOR.stroke_width(2),
            ),
        ])?;
    }
    let label = |(place, result): (usize, &WorkloadResults)| {
        let top = result.summary.figure.greatest_ratio.max(1.0) * 1.06;
        let style = TEXT
            .into_font()
            .color(&BLACK)
            .pos(Pos::new(HPos::Center, VPos::Bottom));
        Text::new(
            result_tables::times(result.summary.figure.ratio),
            (place as f64 + 0.5, top),
            style,
        )
    };
    chart.draw_series(results.workloads.iter().enumerate().map(label))?;
    chart.draw_series([PathElement::new(
        [(0.0, 1.0), (count as f64, 1.0)],
        BLACK.stroke_width(1),
    )])?;
    area.present()?;
    Ok(())
}
