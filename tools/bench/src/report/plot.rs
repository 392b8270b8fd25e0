// SPDX-License-Identifier: GPL-2.0
//! Plots, as SVG: bandwidth over size, latency over size, distributions of latency.

use std::{collections::BTreeMap, path::Path};

use anyhow::{anyhow, Result};
use plotters::prelude::*;

use super::rows::Row;
use crate::{
    cases::{size_name, DEPTHS, SIZES},
    sample::{Mode, Sample, Side},
    stats,
};

/// What the x axis has.
#[derive(Clone, Copy, PartialEq)]
enum Axis {
    Bytes,
    Microseconds,
}

/// A line of a plot: what it is, and its points.
type Line = (String, Vec<(f64, f64)>);

const PALETTE: [RGBColor; 8] = [
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0xff, 0x7f, 0x0e),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0xd6, 0x27, 0x28),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0x8c, 0x56, 0x4b),
    RGBColor(0xe3, 0x77, 0xc2),
    RGBColor(0x7f, 0x7f, 0x7f),
];

/// Writes those for which there is something to show.
pub fn all(rows: &[Row], samples: &[Sample], out: &Path) -> Result<()> {
    for mode in [Mode::Icount, Mode::Wall] {
        let of = |name: &str| {
            let found = rows.iter().find(|r| r.name == name && r.mode == Some(mode));
            found.and_then(|row| row.ours.zip(row.theirs))
        };
        let mut lines = vec![];
        for depth in DEPTHS {
            let points = SIZES.iter().filter_map(|&size| {
                let (ours, theirs) = of(&format!("write_imm.{}.depth{depth}", size_name(size)))?;
                Some((size as f64, ours, theirs))
            });
            lines.extend(two_lines(&format!("depth {depth}"), points));
        }
        let title = format!("WRITE WITH IMMEDIATE ({})", mode.name());
        let path = out.join(format!("bandwidth-{}.svg", mode.name()));
        draw(&path, &title, Axis::Bytes, "MiB/s", &lines)?;

        let points = SIZES.iter().filter_map(|&size| {
            let (ours, theirs) = of(&format!("pingpong.{}", size_name(size)))?;
            Some((size as f64, ours, theirs))
        });
        let title = format!("Half a round trip ({})", mode.name());
        let path = out.join(format!("latency-{}.svg", mode.name()));
        let lines = two_lines("ping-pong", points);
        draw(&path, &title, Axis::Bytes, "us", &lines)?;

        let mut lines = vec![];
        for ((case, side), each) in distributions(samples, mode) {
            let points = (0..=100).filter_map(|percent| {
                let part = f64::from(percent) / 100.0;
                Some((stats::quantile(&each, part)?, part * 100.0))
            });
            lines.push((format!("{case}, {side}"), points.collect()));
        }
        let title = format!("Half a round trip, distribution ({})", mode.name());
        let path = out.join(format!("cdf-{}.svg", mode.name()));
        draw(
            &path,
            &title,
            Axis::Microseconds,
            "% that take no longer",
            &lines,
        )?;
    }
    Ok(())
}

/// Ours and theirs of points that have both.
fn two_lines(name: &str, points: impl Iterator<Item = (f64, f64, f64)>) -> Vec<Line> {
    let points: Vec<_> = points.collect();
    let line = |side: &str, value: fn(&(f64, f64, f64)) -> f64| {
        let points = points.iter().map(|point| (point.0, value(point)));
        (format!("{name}, {side}"), points.collect())
    };
    vec![line("ours", |p| p.1), line("theirs", |p| p.2)]
}

/// Times of single operations in microseconds.
fn distributions(samples: &[Sample], mode: Mode) -> BTreeMap<(String, &'static str), Vec<f64>> {
    let mut all = BTreeMap::<_, Vec<f64>>::new();
    for sample in samples.iter().filter(|sample| sample.mode == mode) {
        let side = match sample.side {
            Side::Ours => "ours",
            Side::Theirs => "theirs",
        };
        let each = sample.block.each_ns.iter().map(|&ns| ns as f64 / 1e3);
        if !sample.block.each_ns.is_empty() {
            let key = (sample.case.clone(), side);
            all.entry(key).or_default().extend(each);
        }
    }
    all
}

/// One plot; the x axis is logarithmic. Nothing if there are no points.
fn draw(path: &Path, title: &str, axis: Axis, y: &str, lines: &[Line]) -> Result<()> {
    let points = || lines.iter().flat_map(|(_, points)| points.iter().copied());
    let (mut left, mut right, mut top) = (f64::INFINITY, 0.0f64, 0.0f64);
    for (x, y) in points() {
        (left, right, top) = (left.min(x), right.max(x), top.max(y));
    }
    if points().next().is_none() {
        return Ok(());
    }
    let (x, base, legend) = match axis {
        Axis::Bytes => ("bytes of a message", 4.0, SeriesLabelPosition::UpperLeft),
        Axis::Microseconds => ("us", 10.0, SeriesLabelPosition::LowerRight),
    };
    let failed = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", path.display());
    let area = SVGBackend::new(path, (900, 520)).into_drawing_area();
    area.fill(&WHITE).map_err(|e| failed(&e))?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(
            (left * 0.9..right * 1.1).log_scale().base(base),
            0.0..top * 1.05,
        )
        .map_err(|e| failed(&e))?;
    let label = |x: &f64| match axis {
        Axis::Bytes => size_name(*x as u64),
        Axis::Microseconds => format!("{x:.0}"),
    };
    let mut mesh = chart.configure_mesh();
    mesh.x_desc(x).y_desc(y);
    mesh.x_label_formatter(&label);
    mesh.draw().map_err(|e| failed(&e))?;
    for (i, (name, points)) in lines.iter().enumerate() {
        // The two sides of a pair have one colour; ours is thicker.
        let color = PALETTE[i / 2 % PALETTE.len()];
        let style = color.stroke_width(if i % 2 == 0 { 3 } else { 1 });
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))
            .map_err(|e| failed(&e))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
    }
    chart
        .configure_series_labels()
        .position(legend)
        .background_style(WHITE.mix(0.8))
        .draw()
        .map_err(|e| failed(&e))?;
    area.present().map_err(|e| failed(&e))
}
