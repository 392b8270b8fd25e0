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

/// Instructions by module and symbol.
type Counts = BTreeMap<(String, String), f64>;

/// What is of no module.
const PROGRAMS: &str = "(programs)";
const KERNEL: &str = "(kernel)";

/// What is not the work's: a machine waits so for its devices, and measures its clock as often as
/// it takes until nothing comes in between.
const NOT_WORK: [&str; 2] = ["delay_tsc", "hpet_alloc.cold"];

impl Profile {
    pub fn run(&self) -> Result<()> {
        let ours = self.side("ours")?;
        let theirs = self.side("theirs")?;
        println!("instructions for an operation");
        let all = (ours.values().sum(), theirs.values().sum());
        let mut modules = dearest(&by_module(&ours), &by_module(&theirs));
        modules.insert(0, ("(all)".to_owned(), all));
        let rows = modules.into_iter().map(|(module, n)| ([module], n));
        println!("{}", table(["module"], rows));
        let symbols = dearest(&ours, &theirs).into_iter();
        let symbols = symbols.filter(|(_, n)| n.0.max(n.1) >= 0.1).take(self.top);
        let rows = symbols.map(|((module, symbol), n)| ([symbol, module], n));
        println!("{}", table(["symbol", "module"], rows));
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
        let each = after.into_iter().map(|(place, executed)| {
            let more = executed - before.get(&place).copied().unwrap_or(0.0);
            (place, more / ops)
        });
        Ok(each
            .filter(|((_, symbol), _)| !NOT_WORK.contains(&symbol.as_str()))
            .collect())
    }
}

fn by_module(counts: &Counts) -> BTreeMap<String, f64> {
    let mut modules = BTreeMap::new();
    for ((module, _), n) in counts {
        *modules.entry(module.clone()).or_default() += n;
    }
    modules
}

/// Both sides of each, the dearest of whichever side first.
fn dearest<K: Ord + Clone>(
    ours: &BTreeMap<K, f64>,
    theirs: &BTreeMap<K, f64>,
) -> Vec<(K, (f64, f64))> {
    let mut both = BTreeMap::<K, (f64, f64)>::new();
    for (key, n) in ours {
        both.entry(key.clone()).or_default().0 = *n;
    }
    for (key, n) in theirs {
        both.entry(key.clone()).or_default().1 = *n;
    }
    let mut both: Vec<_> = both.into_iter().collect();
    both.sort_by(|(_, a), (_, b)| b.0.max(b.1).total_cmp(&a.0.max(a.1)));
    both
}

fn table<const N: usize>(
    header: [&str; N],
    rows: impl Iterator<Item = ([String; N], (f64, f64))>,
) -> Table {
    let mut table = Table::new();
    table
        .load_preset(UTF8_HORIZONTAL_ONLY)
        .set_header(header.into_iter().chain(["ours", "theirs"]));
    for (names, (ours, theirs)) in rows {
        let numbers = [ours, theirs].map(|n| format!("{n:.1}"));
        table.add_row(names.into_iter().chain(numbers));
    }
    for column in N..N + 2 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A function of the kernel's.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Symbol<'a> {
    begin: u64,
    name: &'a str,
    module: &'a str,
}

/// The kernel's functions, in the order of their addresses.
fn symbols(kallsyms: &str) -> Vec<Symbol<'_>> {
    let mut symbols: Vec<Symbol<'_>> = kallsyms
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let begin = u64::from_str_radix(words.next()?, 16).ok()?;
            let function = matches!(words.next()?, "t" | "T" | "w" | "W");
            let name = words.next()?;
            let module = words.next().and_then(|word| {
                let word = word.strip_prefix('[')?;
                word.strip_suffix(']')
            });
            function.then_some(Symbol {
                begin,
                name,
                module: module.unwrap_or(KERNEL),
            })
        })
        .collect();
    symbols.sort();
    symbols
}

/// Lines "address instructions", by symbol; programs are one.
fn count(lines: &str, symbols: &[Symbol<'_>]) -> Result<Counts> {
    const USER_END: u64 = 1 << 47;
    let mut counts = Counts::new();
    for line in lines.lines() {
        let (address, executed) = line.split_once(' ').context("no two words")?;
        let address = u64::from_str_radix(address, 16)?;
        let place = symbols.partition_point(|symbol| symbol.begin <= address);
        let (module, name) = match place.checked_sub(1) {
            Some(place) if address >= USER_END => (symbols[place].module, symbols[place].name),
            _ => (PROGRAMS, PROGRAMS),
        };
        let key = (module.to_owned(), name.to_owned());
        *counts.entry(key).or_default() += executed.parse::<f64>()?;
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
        let expected = [
            (PROGRAMS, PROGRAMS, 8.0),
            (KERNEL, "one", 11.0),
            ("mod", "two", 7.0),
        ];
        let expected = expected.map(|(module, name, n)| ((module.to_owned(), name.to_owned()), n));
        assert_eq!(counts, expected.into());
        assert_eq!(by_module(&counts)["mod"], 7.0);
        assert!(count("what", &symbols).is_err());
    }

    #[test]
    fn the_dearest_first() {
        let side = |counts: &[(&'static str, f64)]| counts.iter().copied().collect();
        let both = dearest(
            &side(&[("a", 1.0), ("b", 3.0)]),
            &side(&[("c", 2.0), ("a", 4.0)]),
        );
        let expected = [("a", (1.0, 4.0)), ("b", (3.0, 0.0)), ("c", (0.0, 2.0))];
        assert_eq!(both, expected);
    }
}
