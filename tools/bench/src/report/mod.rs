// SPDX-License-Identifier: GPL-2.0
//! Samples, made into rows with verdicts, a table, JSON and plots.

mod baseline;
mod plot;
mod rows;
mod table;

use std::{fs, path::PathBuf, str::FromStr};

use anyhow::{ensure, Context as _, Result};
use clap::Args;

use crate::sample::{Mode, Sample};

/// All samples of some files. The last line of one whose machine died may be none.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Sample>> {
    let mut samples = vec![];
    for path in paths {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines().filter(|line| line.starts_with('{')) {
            samples.push(serde_json::from_str(line).with_context(|| line.to_owned())?);
        }
    }
    Ok(samples)
}

/// How often everything was to be measured in a mode.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub mode: Mode,
    /// Of each boot.
    pub pairs: u32,
    pub boots: u32,
}

impl FromStr for Plan {
    type Err = anyhow::Error;

    /// `MODE:PAIRSxBOOTS`
    fn from_str(text: &str) -> Result<Self> {
        let parts = || {
            let (mode, often) = text.split_once(':')?;
            let (pairs, boots) = often.split_once('x')?;
            Some((mode, pairs, boots))
        };
        let (mode, pairs, boots) = parts().context("want MODE:PAIRSxBOOTS")?;
        Ok(Plan {
            mode: crate::guest::mode(mode)?,
            pairs: pairs.parse()?,
            boots: boots.parse()?,
        })
    }
}

/// Where from and where to.
#[derive(Debug, Args)]
pub struct Report {
    /// Files of samples, a JSON line each
    samples: Vec<PathBuf>,
    /// Directory for bench.json and the plots
    #[arg(long)]
    out: PathBuf,
    /// What of it was run, as in `guest`
    #[arg(long)]
    only: Vec<String>,
    /// MODE:PAIRSxBOOTS, how often that was to be measured
    #[arg(long = "plan")]
    plans: Vec<Plan>,
}

impl Report {
    /// Writes everything; fails if a row's verdict is "fail".
    pub fn run(&self) -> Result<()> {
        let samples = read(&self.samples)?;
        let rows = rows::of(&samples, &self.only, &self.plans);
        fs::create_dir_all(&self.out)?;
        let baseline = baseline::of(&samples, &self.only);
        let json = serde_json::json!({ "rows": rows, "baseline": baseline });
        fs::write(
            self.out.join("bench.json"),
            serde_json::to_string_pretty(&json)? + "\n",
        )?;
        plot::all(&rows, &samples, &self.out)?;
        print!("{}{}", table::of(&rows), table::of_baseline(&baseline));
        let failed = rows.iter().filter(|row| row.fails()).count();
        let left = rows
            .iter()
            .filter(|row| row.was_left_out(&self.plans))
            .count()
            + baseline
                .iter()
                .filter(|figure| figure.now.is_none())
                .count();
        ensure!(
            left == 0,
            "{left} figures could have been measured, or more often, and were not"
        );
        ensure!(failed == 0, "{failed} rows miss their targets");
        Ok(())
    }
}
