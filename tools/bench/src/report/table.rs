// SPDX-License-Identifier: GPL-2.0
//! The table for people.

use std::ops::RangeInclusive;

use comfy_table::{presets::UTF8_HORIZONTAL_ONLY, CellAlignment, Table};

use super::{
    baseline::Figure,
    rows::{Row, Verdict},
};
use crate::{
    cases::baseline::WHEN,
    sample::{Better, Mode},
};

/// The rows, and what they come to.
pub fn of(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header([
        "what", "mode", "unit", "pairs", "ours", "theirs", "ratio", "95 %", "target", "verdict",
    ]);
    for row in rows {
        let interval = match (row.ci_low, row.ci_high) {
            (Some(low), Some(high)) => format!("{low:.3} – {high:.3}"),
            _ => String::new(),
        };
        let of = if row.absolute { "ours " } else { "" };
        let target = match (row.target, row.better) {
            (Some(target), Some(Better::Higher)) => format!("{of}≥ {target}"),
            (Some(target), Some(Better::Lower)) => format!("{of}≤ {target}"),
            _ => String::new(),
        };
        let verdict = match (row.verdict, row.gate, &row.why) {
            (Verdict::Pass, ..) if row.target.is_none() => "told".to_owned(),
            (Verdict::Pass, true, _) => "pass".to_owned(),
            (Verdict::Fail, true, _) => "FAIL".to_owned(),
            (Verdict::Pass, false, _) => "(pass)".to_owned(),
            (Verdict::Fail, false, _) => "(fail)".to_owned(),
            (Verdict::Missing, _, Some(why)) => format!("missing: {why}"),
            (Verdict::Missing, _, None) => "missing: not run".to_owned(),
        };
        table.add_row([
            row.name.clone(),
            row.mode.map_or("", Mode::name).to_owned(),
            row.unit.clone(),
            row.pairs.to_string(),
            number(row.ours),
            number(row.theirs),
            row.ratio
                .map_or(String::new(), |ratio| format!("{ratio:.3}")),
            interval,
            target,
            verdict,
        ]);
    }
    to_the_right(&mut table, 3..=6);
    let count = |verdict, gate| {
        let these = rows
            .iter()
            .filter(|r| r.verdict == verdict && r.gate == gate)
            .filter(|r| r.target.is_some() || verdict == Verdict::Missing);
        these.count()
    };
    format!(
        "{table}\n\nicount gates: {} pass, {} fail. Wall clock, only told: {} pass, {} fail. {} missing.\n",
        count(Verdict::Pass, true),
        count(Verdict::Fail, true),
        count(Verdict::Pass, false),
        count(Verdict::Fail, false),
        count(Verdict::Missing, true) + count(Verdict::Missing, false),
    )
}

/// What the tools came to then, and come to now; nothing of nothing.
pub fn of_baseline(figures: &[Figure]) -> String {
    if figures.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table
        .load_preset(UTF8_HORIZONTAL_ONLY)
        .set_header(["theirs", "unit", "then", "now", "ratio", "within", ""]);
    for figure in figures {
        let verdict = match (figure.now, figure.within) {
            (None, _) => "missing: not run",
            (_, true) => "as then",
            (_, false) => "DIFFERS",
        };
        table.add_row([
            figure.name.to_owned(),
            figure.unit.to_owned(),
            number(Some(figure.then)),
            number(figure.now),
            figure
                .ratio
                .map_or(String::new(), |ratio| format!("{ratio:.3}")),
            format!("± {:.0} %", figure.tolerance * 100.0),
            verdict.to_owned(),
        ]);
    }
    to_the_right(&mut table, 2..=5);
    let within = figures.iter().filter(|figure| figure.within).count();
    let all = figures.len();
    format!("\nThe tools under icount, and what they were on {WHEN}:\n{table}\n\n{within} of {all} are as then.\n")
}

fn to_the_right(table: &mut Table, columns: RangeInclusive<usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// With four digits that mean something.
fn number(value: Option<f64>) -> String {
    let Some(value) = value else {
        return String::new();
    };
    let digits = 3 - value.abs().max(1e-9).log10().floor() as i32;
    let digits = usize::try_from(digits).unwrap_or(0).min(6);
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number(Some(123456.0)), "123456");
        assert_eq!(number(Some(12.3456)), "12.35");
        assert_eq!(number(Some(0.012361)), "0.01236");
        assert_eq!(number(None), "");
    }
}
