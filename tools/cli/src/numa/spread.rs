// SPDX-License-Identifier: GPL-2.0
//! Medians, and how they are written.

use serde::{Deserialize, Serialize};

/// A median, and how far all runs are from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Half of the runs are not above it.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// Each run, in their order.
    pub runs: Vec<f64>,
}

impl Spread {
    /// Of these.
    pub fn new(runs: Vec<f64>) -> Self {
        let mut sorted = runs.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |i: usize| sorted.get(i).copied().unwrap_or(0.0);
        let (below, above) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
        Spread {
            median: (at(below) + at(above)) / 2.0,
            min: at(0),
            max: at(sorted.len().saturating_sub(1)),
            runs,
        }
    }
}

/// Three digits or more, no more than needed.
pub fn number(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        v if v >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spreads() {
        let spread = Spread::new(vec![3.0, 1.0, 2.0]);
        assert_eq!((spread.median, spread.min, spread.max), (2.0, 1.0, 3.0));
        assert_eq!(spread.runs, [3.0, 1.0, 2.0]);
        assert_eq!(Spread::new(vec![4.0, 1.0]).median, 2.5);
        assert_eq!(Spread::new(vec![7.0]).max, 7.0);
        assert_eq!(Spread::new(vec![]).median, 0.0);
    }

    #[test]
    fn numbers() {
        let said = [0.0123, 0.99951, 1.0, 9.999, 12.34, 99.96, 1234.5].map(number);
        assert_eq!(
            said,
            ["0.012", "1.00", "1.00", "10.0", "12.3", "100", "1234"]
        );
    }

    proptest! {
        #[test]
        fn half_are_on_each_side(runs in prop::collection::vec(0.0f64..1e9, 1..30)) {
            let spread = Spread::new(runs.clone());
            let below = runs.iter().filter(|&&run| run < spread.median).count();
            let above = runs.iter().filter(|&&run| run > spread.median).count();
            prop_assert!(below * 2 <= runs.len() && above * 2 <= runs.len());
            prop_assert!(spread.min <= spread.median && spread.median <= spread.max);
        }
    }
}
