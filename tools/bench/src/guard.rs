// SPDX-License-Identifier: GPL-2.0
//! Whether operations take as many instructions as they did, by numbers kept in the tree.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{ensure, Context as _, Result};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::{
    report,
    sample::{Metric, Mode, Side},
};

/// What is compared with what.
#[derive(Debug, Args)]
pub struct Guard {
    /// Samples of `guest --guard`
    samples: PathBuf,
    /// The numbers kept
    #[arg(long)]
    numbers: PathBuf,
    /// What was measured with: kernel, compilers, emulator
    #[arg(long)]
    system: String,
    /// Keep what was measured now
    #[arg(long)]
    update: bool,
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Numbers {
    system: String,
    /// Instructions for an operation, both sides' and the kernel's.
    instructions: BTreeMap<String, f64>,
}

/// What may be more or less. On another system, whose part in it is another, nothing is said of
/// what is between the two.
const TOLERANCE: f64 = 0.03;
const OTHER_SYSTEM: f64 = 0.15;

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
        // Not the median: what varies is when the allocator's work is done, its sum is steady.
        let now: BTreeMap<String, f64> = each
            .into_iter()
            .map(|(name, values)| (name, values.iter().sum::<f64>() / values.len() as f64))
            .collect();
        if self.update {
            let numbers = Numbers {
                system: self.system.clone(),
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
        let same = kept.system == self.system;
        if !same {
            println!(
                "these numbers are of {}; this is {}. Keep those of this one: UPDATE=1 make \
                 bench-guard",
                kept.system, self.system
            );
        }
        let lines = compare(&kept.instructions, &now, same);
        let count = |wanted| {
            lines
                .iter()
                .filter(|(verdict, _)| *verdict == wanted)
                .count()
        };
        for (_, line) in &lines {
            println!("{line}");
        }
        println!(
            "dmaplane: {} passed, {} failed, {} skipped",
            count(Verdict::AsBefore),
            count(Verdict::Changed),
            count(Verdict::Unknown)
        );
        ensure!(
            count(Verdict::Changed) == 0,
            "if that is as it should be: UPDATE=1 make bench-guard"
        );
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    AsBefore,
    Changed,
    /// The other system may be why.
    Unknown,
}

/// A line for each case in either.
fn compare(
    kept: &BTreeMap<String, f64>,
    now: &BTreeMap<String, f64>,
    same_system: bool,
) -> Vec<(Verdict, String)> {
    let mut names: Vec<&String> = kept.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    let line = |name: &String| match (kept.get(name), now.get(name)) {
        (Some(kept), Some(now)) => {
            let change = now / kept - 1.0;
            let (verdict, text) = match (change.abs(), change > 0.0) {
                (c, _) if c <= TOLERANCE => (Verdict::AsBefore, "as before"),
                (c, _) if c <= OTHER_SYSTEM && !same_system => {
                    (Verdict::Unknown, "may be the system's")
                }
                (_, true) => (Verdict::Changed, "SLOWER than before"),
                (_, false) => (Verdict::Changed, "FASTER than before: keep that"),
            };
            let percent = change * 100.0;
            let line = format!("{name:24} {now:10.0} instructions, {percent:+.1} %: {text}");
            (verdict, line)
        }
        (Some(_), None) => (Verdict::Changed, format!("{name:24} was NOT MEASURED")),
        _ => (Verdict::Changed, format!("{name:24} has NO NUMBER")),
    };
    names.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::Verdict::{AsBefore, Changed, Unknown};
    use super::*;

    fn of(pairs: &[(&str, f64)]) -> BTreeMap<String, f64> {
        pairs
            .iter()
            .map(|(name, n)| ((*name).to_owned(), *n))
            .collect()
    }

    fn verdicts(now: &[f64], same_system: bool) -> Vec<Verdict> {
        let names = ["a", "b", "c", "d", "e"];
        let kept = of(&names.map(|name| (name, 1000.0)));
        let now: Vec<(&str, f64)> = names.into_iter().zip(now.iter().copied()).collect();
        let lines = compare(&kept, &of(&now), same_system);
        lines.iter().map(|(verdict, _)| *verdict).collect()
    }

    #[test]
    fn three_percent() {
        let now = [1029.0, 1031.0, 971.0, 969.0, 1200.0];
        assert_eq!(
            verdicts(&now, true),
            [AsBefore, Changed, AsBefore, Changed, Changed]
        );
        assert_eq!(
            verdicts(&now, false),
            [AsBefore, Unknown, AsBefore, Unknown, Changed]
        );
    }

    #[test]
    fn nothing_is_left_out() {
        let lines = compare(&of(&[("a", 1.0)]), &of(&[("b", 1.0)]), false);
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|(verdict, _)| *verdict == Changed));
    }
}
