// SPDX-License-Identifier: GPL-2.0
//! Where instructions go. `profile/count.c` counts those of each block of code over a whole
//! boot; two boots that differ by nothing but some blocks of work tell what these took.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{ensure, Context as _, Result};
use clap::Args;
use comfy_table::{presets::UTF8_HORIZONTAL_ONLY, CellAlignment, Table};

use crate::sample::Block;

/// Both boots of both sides: files SIDE.COUNT.insns and SIDE.COUNT.said for each.
#[derive(Debug, Args)]
pub struct Profile {
    dir: PathBuf,
    /// Blocks of the two boots
    #[arg(num_args = 2)]
    counts: Vec<u32>,
    /// Rows to show
    #[arg(long, default_value_t = 40)]
    top: usize,
}

/// Instructions by symbol.
type Counts = BTreeMap<String, f64>;

/// What is not the work's: a machine waits so for its devices.
const NOT_WORK: [&str; 1] = ["delay_tsc"];

impl Profile {
    pub fn run(&self) -> Result<()> {
        let ours = self.side("ours")?;
        let theirs = self.side("theirs")?;
        let mut names: Vec<&String> = ours.keys().chain(theirs.keys()).collect();
        names.sort();
        names.dedup();
        let of = |side: &Counts, name: &str| side.get(name).copied().unwrap_or(0.0);
        // The dearest first, of whichever side.
        names.sort_by(|a, b| {
            let dear = |name: &str| of(&ours, name).max(of(&theirs, name));
            dear(b).total_cmp(&dear(a))
        });
        let mut table = Table::new();
        table
            .load_preset(UTF8_HORIZONTAL_ONLY)
            .set_header(["symbol", "ours", "theirs"]);
        let mut row = |name: &str, ours: f64, theirs: f64| {
            table.add_row([
                name.to_owned(),
                format!("{ours:.1}"),
                format!("{theirs:.1}"),
            ]);
        };
        row("(all)", ours.values().sum(), theirs.values().sum());
        for name in names.into_iter().take(self.top) {
            row(name, of(&ours, name), of(&theirs, name));
        }
        for column in 1..=2 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        println!("instructions for an operation\n{table}");
        Ok(())
    }

    /// What one operation takes.
    fn side(&self, side: &str) -> Result<Counts> {
        let (few, many) = (self.counts[0], self.counts[1]);
        ensure!(few < many, "the second count is the larger one");
        let read = |count: u32, what: &str| {
            let path = self.dir.join(format!("{side}.{count}.{what}"));
            fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let said = read(few, "said")?;
        let block = said.lines().find(|line| line.starts_with('{'));
        let block: Block = serde_json::from_str(block.context("no block")?)?;
        let symbols = symbols(&said);
        let before = count(&read(few, "insns")?, &symbols)?;
        let after = count(&read(many, "insns")?, &symbols)?;
        let ops = f64::from(many - few) * block.ops as f64;
        let each = after.into_iter().map(|(name, executed)| {
            let more = executed - before.get(&name).copied().unwrap_or(0.0);
            (name, more / ops)
        });
        Ok(each
            .filter(|(name, n)| *n >= 0.1 && !NOT_WORK.contains(&name.as_str()))
            .collect())
    }
}

/// The kernel's functions, in the order of their addresses.
fn symbols(kallsyms: &str) -> Vec<(u64, &str)> {
    let mut symbols: Vec<(u64, &str)> = kallsyms
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            let function = matches!(words.next()?, "t" | "T" | "w" | "W");
            function.then_some((address, words.next()?))
        })
        .collect();
    symbols.sort();
    symbols
}

/// Lines "address instructions", by symbol; programs are one.
fn count(lines: &str, symbols: &[(u64, &str)]) -> Result<Counts> {
    const USER_END: u64 = 1 << 47;
    let mut counts = Counts::new();
    for line in lines.lines() {
        let (address, executed) = line.split_once(' ').context("no two words")?;
        let address = u64::from_str_radix(address, 16)?;
        let place = symbols.partition_point(|(begin, _)| *begin <= address);
        let name = match place.checked_sub(1) {
            Some(place) if address >= USER_END => symbols[place].1,
            _ => "(programs)",
        };
        *counts.entry(name.to_owned()).or_default() += executed.parse::<f64>()?;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_symbol() {
        let text =
            "ffffffff81000000 T one\nffffffff81000040 t two\t[mod]\nffffffff81000020 d no\n{}\n";
        let symbols = symbols(text);
        assert_eq!(symbols.len(), 2);
        let lines = "ffffffff81000000 5\nffffffff81000039 6\nffffffff81000041 7\n401000 8\n";
        let counts = count(lines, &symbols).unwrap();
        let expected = [("(programs)", 8.0), ("one", 11.0), ("two", 7.0)];
        assert_eq!(
            counts,
            expected.map(|(name, n)| (name.to_owned(), n)).into()
        );
        assert!(count("what", &symbols).is_err());
    }
}
