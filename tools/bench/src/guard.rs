// SPDX-License-Identifier: GPL-2.0
//! Whether operations take as many instructions as they did, by numbers kept in the tree.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{ensure, Context as _, Result};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::{
    report,
    sample::{Metric, Mode, Side},
    stats,
};

/// What is compared with what.
#[derive(Debug, Args)]
pub struct Guard {
    /// Samples of `guest --guard`
    samples: PathBuf,
    /// The numbers kept
    #[arg(long)]
    numbers: PathBuf,
    /// The kernel that was run
    #[arg(long)]
    kernel: String,
    /// Keep what was measured now
    #[arg(long)]
    update: bool,
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Numbers {
    kernel: String,
    /// Instructions for an operation, both sides' and the kernel's.
    instructions: BTreeMap<String, f64>,
}

/// What may be more or less: by this, or, since another kernel's own part is another, by that.
const TOLERANCE: f64 = 0.03;
const OTHER_KERNEL: f64 = 0.15;

impl Guard {
    /// Prints a line for each case, and how many passed.
    pub fn run(&self) -> Result<()> {
        let samples = report::read(std::slice::from_ref(&self.samples))?;
        let mut each = BTreeMap::<String, Vec<f64>>::new();
        for sample in samples.iter().filter(|sample| sample.side == Side::Ours) {
            ensure!(
                sample.mode == Mode::Icount,
                "only icount counts instructions"
            );
            let value = Metric::NsPerOp.of(&sample.block);
            each.entry(sample.case.clone()).or_default().extend(value);
        }
        let now: BTreeMap<String, f64> = each
            .into_iter()
            .filter_map(|(name, values)| Some((name, stats::median(&values)?)))
            .collect();
        if self.update {
            let numbers = Numbers {
                kernel: self.kernel.clone(),
                instructions: now.into_iter().map(|(name, n)| (name, n.round())).collect(),
            };
            let text = serde_json::to_string_pretty(&numbers)? + "\n";
            fs::write(&self.numbers, text)?;
            println!("kept in {}", self.numbers.display());
            return Ok(());
        }
        let text = fs::read_to_string(&self.numbers)
            .with_context(|| self.numbers.display().to_string())?;
        let kept: Numbers = serde_json::from_str(&text)?;
        let tolerance = match kept.kernel == self.kernel {
            true => TOLERANCE,
            false => {
                println!(
                    "these numbers are of {}, this is {}: what the kernel does is another, {} % \
                     are allowed; new ones: UPDATE=1 make bench-guard",
                    kept.kernel,
                    self.kernel,
                    OTHER_KERNEL * 100.0
                );
                OTHER_KERNEL
            }
        };
        let lines = compare(&kept.instructions, &now, tolerance);
        let failed = lines.iter().filter(|(good, _)| !good).count();
        for (_, line) in &lines {
            println!("{line}");
        }
        println!(
            "dmaplane: {} passed, {failed} failed, 0 skipped",
            lines.len() - failed
        );
        ensure!(
            failed == 0,
            "if that is as it should be: UPDATE=1 make bench-guard"
        );
        Ok(())
    }
}

/// A line for each case in either.
fn compare(
    kept: &BTreeMap<String, f64>,
    now: &BTreeMap<String, f64>,
    tolerance: f64,
) -> Vec<(bool, String)> {
    let mut names: Vec<&String> = kept.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    let line = |name: &String| match (kept.get(name), now.get(name)) {
        (Some(kept), Some(now)) => {
            let change = now / kept - 1.0;
            let good = change.abs() <= tolerance;
            let verdict = match (good, change > 0.0) {
                (true, _) => "as before",
                (false, true) => "SLOWER than before",
                (false, false) => "FASTER than before: keep that",
            };
            let percent = change * 100.0;
            (
                good,
                format!("{name:24} {now:10.0} instructions, {percent:+.1} %: {verdict}"),
            )
        }
        (Some(_), None) => (false, format!("{name:24} was NOT MEASURED")),
        _ => (false, format!("{name:24} has NO NUMBER")),
    };
    names.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, f64)]) -> BTreeMap<String, f64> {
        pairs
            .iter()
            .map(|(name, n)| ((*name).to_owned(), *n))
            .collect()
    }

    #[test]
    fn three_percent() {
        let kept = of(&[("a", 1000.0), ("b", 1000.0), ("c", 1000.0), ("d", 1000.0)]);
        let now = of(&[("a", 1029.0), ("b", 1031.0), ("c", 971.0), ("d", 969.0)]);
        let good: Vec<bool> = compare(&kept, &now, 0.03).iter().map(|l| l.0).collect();
        assert_eq!(good, [true, false, true, false]);
    }

    #[test]
    fn nothing_is_left_out() {
        let lines = compare(&of(&[("a", 1.0)]), &of(&[("b", 1.0)]), 0.03);
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|(good, _)| !good));
    }
}
