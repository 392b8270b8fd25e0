// SPDX-License-Identifier: GPL-2.0
//! The tools' figures beside those of before.

use serde::Serialize;

use crate::{
    cases::{self, baseline::FIGURES, needed},
    sample::{Metric, Mode, Sample, Side},
    stats,
};

/// A figure of a tool, then and now.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    pub name: &'static str,
    pub unit: &'static str,
    pub then: f64,
    /// None: it was not measured, although its case was run.
    pub now: Option<f64>,
    /// Now by then.
    pub ratio: Option<f64>,
    pub tolerance: f64,
    pub within: bool,
}

/// Those whose cases are wanted.
pub fn of(samples: &[Sample], only: &[String]) -> Vec<Figure> {
    if !samples.iter().any(|sample| sample.mode == Mode::Icount) {
        return vec![];
    }
    let figures = FIGURES.iter();
    let figures = figures.filter_map(|&(name, metric, then, tolerance)| {
        let mut cases = cases::all().into_iter();
        cases.find(|c| (c.name.as_str(), c.mode) == (name, Mode::Icount) && needed(only, c))?;
        let now = stats::median(&theirs(samples, name, metric));
        let ratio = now.map(|now| now / then);
        Some(Figure {
            name,
            unit: metric.unit(),
            then,
            now,
            ratio,
            tolerance,
            within: ratio.is_some_and(|ratio| (ratio - 1.0).abs() <= tolerance),
        })
    });
    figures.collect()
}

fn theirs(samples: &[Sample], case: &str, metric: Metric) -> Vec<f64> {
    let theirs = samples.iter().filter(|sample| {
        (sample.side, sample.mode) == (Side::Theirs, Mode::Icount) && sample.case == case
    });
    theirs
        .filter_map(|sample| metric.of(&sample.block))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Block;

    #[test]
    fn figures_are_of_cases() {
        for (name, ..) in FIGURES {
            let mut all = cases::all().into_iter();
            let is = |case: cases::Case| (case.name.as_str(), case.mode) == (*name, Mode::Icount);
            assert!(all.any(is), "{name}");
        }
    }

    #[test]
    fn then_and_now() {
        let each = |pair, ns| Sample {
            case: FIGURES[0].0.into(),
            mode: Mode::Icount,
            seed: 1,
            pair,
            side: Side::Theirs,
            block: Block {
                ops: 10,
                ns,
                ..Block::default()
            },
        };
        let within = |ns| {
            let samples = [each(1, ns), each(2, ns), each(3, 7)];
            // What was not measured is told as well.
            let all = of(&samples, &[]);
            assert_eq!(all.len(), FIGURES.len());
            assert_eq!(
                all.iter().filter(|figure| figure.now.is_none()).count(),
                all.len() - 1
            );
            let found = of(&samples, &["baseline.nop.batch1".into()]);
            assert_eq!(found.len(), 1);
            found[0].within
        };
        assert!(within(10_970) && within(11_200) && !within(11_400) && !within(10_500));
    }
}
