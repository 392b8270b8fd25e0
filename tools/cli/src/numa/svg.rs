// SPDX-License-Identifier: GPL-2.0
//! Heat maps, as one SVG that needs nothing else.

use std::fmt::Write;

use super::report::{Measure, Report, MEASURES};
use super::spread::{number, Spread};

/// Cividis, from dark to light: its lightness says the same as its colour, so that it serves
/// those who do not see all colours, and prints.
const SCALE: [[f64; 3]; 6] = [
    [0.0, 34.0, 78.0],
    [53.0, 69.0, 108.0],
    [102.0, 105.0, 112.0],
    [148.0, 142.0, 119.0],
    [200.0, 184.0, 102.0],
    [254.0, 232.0, 56.0],
];

/// Of a cell.
const WIDTH: usize = 112;
const HEIGHT: usize = 52;
/// What a matrix has to its left, above and below.
const LEFT: usize = 70;
const ABOVE: usize = 62;
const BELOW: usize = 58;
const MARGIN: usize = 20;

/// The colour of a place on the scale from 0 to 1.
fn colour(place: f64) -> [u8; 3] {
    let place = place.clamp(0.0, 1.0) * (SCALE.len() - 1) as f64;
    let below = (place.floor() as usize).min(SCALE.len() - 2);
    let weight = place - below as f64;
    let mix = |i: usize| SCALE[below][i] * (1.0 - weight) + SCALE[below + 1][i] * weight;
    [0, 1, 2].map(|i| mix(i).round() as u8)
}

/// How light a colour is (sRGB, WCAG).
fn luminance(colour: [u8; 3]) -> f64 {
    let [r, g, b] = colour.map(|c| {
        let c = f64::from(c) / 255.0;
        if c <= 0.04045 {
            c / 12.92
        } else {
            ((c + 0.055) / 1.055).powf(2.4)
        }
    });
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

/// Black or white, whichever can be read on it.
fn ink(colour: [u8; 3]) -> &'static str {
    if luminance(colour) > 0.18 {
        "#000"
    } else {
        "#fff"
    }
}

fn hex([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// The four quantities, two beside each other.
pub fn draw(report: &Report) -> String {
    let (rows, columns) = (report.rows().len(), report.columns().len());
    // Wide enough for the text below.
    let width = (LEFT + columns * WIDTH).max(330) + MARGIN;
    let height = ABOVE + rows * HEIGHT + BELOW;
    let (all_width, all_height) = (2 * width + MARGIN, 2 * height + 36);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {all_width} {all_height}\" \
         width=\"{all_width}\" height=\"{all_height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>Memory bandwidth and latency between NUMA nodes</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (i, measure) in MEASURES.iter().enumerate() {
        let (x, y) = (MARGIN + i % 2 * width, 10 + i / 2 * height);
        let _ = writeln!(out, "<g transform=\"translate({x} {y})\">");
        matrix(&mut out, report, measure);
        out += "</g>\n";
    }
    let y = all_height - 18;
    let _ = writeln!(
        out,
        "<text x=\"{MARGIN}\" y=\"{y}\" fill=\"#444\">median of {}; below it least to most, and \
         the kernel's distance</text>\n</svg>",
        report.runs_in_words()
    );
    out
}

fn matrix(out: &mut String, report: &Report, measure: &Measure) {
    let medians = report.pairs.iter().map(|pair| (measure.of)(pair).median);
    let least = medians.clone().fold(f64::INFINITY, f64::min);
    let most = medians.fold(f64::NEG_INFINITY, f64::max);
    // Light is good.
    let place = |value: f64| match (value - least) / (most - least) {
        place if !place.is_finite() => 1.0,
        place if measure.less_is_better => 1.0 - place,
        place => place,
    };
    let Measure { name, unit, .. } = measure;
    let _ = writeln!(
        out,
        "<text y=\"18\" font-size=\"16\" font-weight=\"bold\">{name}, {unit}</text>"
    );
    let top = ABOVE - 8;
    for (column, node) in report.columns().into_iter().enumerate() {
        let x = LEFT + column * WIDTH + WIDTH / 2;
        let text = format!("memory {node}");
        let _ = writeln!(
            out,
            "<text x=\"{x}\" y=\"{top}\" text-anchor=\"middle\">{text}</text>"
        );
    }
    for (row, cpu_node) in report.rows().into_iter().enumerate() {
        let y = ABOVE + row * HEIGHT;
        let _ = writeln!(
            out,
            "<text y=\"{}\">CPUs {cpu_node}</text>",
            y + HEIGHT / 2 + 5
        );
        for (column, memory_node) in report.columns().into_iter().enumerate() {
            let Some(pair) = report.pair(cpu_node, memory_node) else {
                continue;
            };
            let Spread {
                median, min, max, ..
            } = (measure.of)(pair);
            let x = LEFT + column * WIDTH;
            let fill = colour(place(*median));
            let (fill, ink, middle) = (hex(fill), ink(fill), x + WIDTH / 2);
            let (median, min, max) = (number(*median), number(*min), number(*max));
            let _ = writeln!(
                out,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"{fill}\" \
                 stroke=\"#fff\" stroke-width=\"2\"/>\
                 <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" fill=\"{ink}\" \
                 font-weight=\"bold\">{median} {unit}</text>\
                 <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" fill=\"{ink}\" \
                 font-size=\"11\">{min}–{max}; {}</text>",
                y + 23,
                y + 40,
                pair.distance
            );
        }
    }
    // The scale, with what its ends are.
    let y = ABOVE + report.rows().len() * HEIGHT + 12;
    const STEPS: usize = 30;
    for step in 0..STEPS {
        let fill = hex(colour(step as f64 / (STEPS - 1) as f64));
        let x = LEFT + step * 4;
        let _ = write!(
            out,
            "<rect x=\"{x}\" y=\"{y}\" width=\"4.5\" height=\"12\" fill=\"{fill}\"/>"
        );
    }
    let (worst, best) = if measure.less_is_better {
        (most, least)
    } else {
        (least, most)
    };
    let (from, to, y) = (LEFT - 6, LEFT + STEPS * 4 + 6, y + 11);
    let _ = writeln!(
        out,
        "\n<text x=\"{from}\" y=\"{y}\" text-anchor=\"end\">{}</text>\
         <text x=\"{to}\" y=\"{y}\">{} {unit} (light is better)</text>",
        number(worst),
        number(best)
    );
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    /// Whether each element that is opened is closed, in order.
    fn balanced(svg: &str) -> bool {
        let mut open = vec![];
        for tag in svg.split('<').skip(1) {
            let Some((tag, _)) = tag.split_once('>') else {
                return false;
            };
            let name = tag.split_whitespace().next().unwrap_or_default();
            match name.strip_prefix('/') {
                Some(name) if open.pop() != Some(name) => return false,
                Some(_) => {}
                None if tag.ends_with('/') => {}
                None => open.push(name),
            }
        }
        open.is_empty()
    }

    #[test]
    fn all_cells_have_values_and_units() {
        let svg = draw(&report());
        assert!(balanced(&svg), "{svg}");
        // 6 pairs, 4 quantities; 4 scales; the ground.
        assert_eq!(svg.matches("stroke-width").count(), 24);
        assert_eq!(svg.matches("<rect").count(), 24 + 4 * 30 + 1);
        for text in [
            "latency, ns",
            "50.0 GiB/s</text>",
            "320 ns</text>",
            "256–384; 32</text>",
            "CPUs 2",
            "memory 3",
            "median of 3 runs",
        ] {
            assert!(svg.contains(text), "{text} is not in\n{svg}");
        }
        for outside in ["href", "url(", "<script", "<style", "NaN", "inf"] {
            assert!(!svg.contains(outside), "{outside}");
        }
    }

    #[test]
    fn best_is_light_and_worst_is_dark() {
        let svg = draw(&report());
        let cell = |value: &str| {
            let line = svg.lines().find(|line| line.contains(value)).unwrap();
            let fill = line.split("fill=\"").nth(1).unwrap();
            fill.split('"').next().unwrap().to_owned()
        };
        assert_eq!(cell("50.0 GiB/s</text>"), hex(colour(1.0)));
        assert_eq!(cell("100 ns</text>"), hex(colour(1.0)));
        assert_eq!(cell("320 ns</text>"), hex(colour(0.0)));
    }

    #[test]
    fn one_node_alone() {
        let mut report = report();
        report.nodes.truncate(1);
        report.pairs.truncate(1);
        let svg = draw(&report);
        assert!(balanced(&svg) && !svg.contains("NaN"), "{svg}");
        assert_eq!(svg.matches("stroke-width").count(), 4);
    }

    #[test]
    fn lighter_all_the_way_and_readable() {
        let steps: Vec<_> = (0..=100).map(|i| colour(f64::from(i) / 100.0)).collect();
        let lights = steps.iter().map(|&colour| luminance(colour));
        let lights: Vec<_> = lights.collect();
        assert!(lights.windows(2).all(|pair| pair[0] < pair[1]));
        for (&colour, light) in steps.iter().zip(&lights) {
            let ink = if ink(colour) == "#000" { 0.0 } else { 1.0 };
            let (high, low) = (light.max(ink), light.min(ink));
            let contrast = (high + 0.05) / (low + 0.05);
            assert!(contrast >= 4.5, "{contrast} on {colour:?}");
        }
    }
}
