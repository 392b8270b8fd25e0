// SPDX-License-Identifier: GPL-2.0
//! Samples, made into rows with verdicts, a table, JSON and plots.

mod baseline;
mod plot;
mod rows;
mod table;

use std::{fs, path::PathBuf};

use anyhow::{ensure, Context as _, Result};
use clap::Args;

use crate::sample::{Mode, Sample};

/// All samples of some files.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Sample>> {
    let mut samples = vec![];
    for path in paths {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        for line in text.lines().filter(|line| line.starts_with('{')) {
            samples.push(serde_json::from_str(line).with_context(|| line.to_owned())?);
        }
    }
    Ok(samples)
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
}

impl Report {
    /// Writes everything; fails if a row's verdict is "fail".
    pub fn run(&self) -> Result<()> {
        let samples = read(&self.samples)?;
        let rows = rows::of(&samples, &self.only);
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
        let modes: Vec<Mode> = samples.iter().map(|sample| sample.mode).collect();
        let left = rows.iter().filter(|row| row.was_left_out(&modes)).count()
            + baseline
                .iter()
                .filter(|figure| figure.now.is_none())
                .count();
        ensure!(
            !modes.is_empty(),
            "nothing was measured: is there such a case?"
        );
        ensure!(
            left == 0,
            "{left} figures could have been measured and were not"
        );
        ensure!(failed == 0, "{failed} rows miss their targets");
        Ok(())
    }
}
