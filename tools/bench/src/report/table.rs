// SPDX-License-Identifier: GPL-2.0
//! The table for people.

use comfy_table::{presets::UTF8_HORIZONTAL_ONLY, CellAlignment, Table};

use super::rows::{Row, Verdict};
use crate::sample::{Better, Mode};

/// The rows, and what they come to.
pub fn of(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header([
        "what", "mode", "unit", "ours", "theirs", "ratio", "95 %", "target", "verdict",
    ]);
    for row in rows {
        let interval = match (row.ci_low, row.ci_high) {
            (Some(low), Some(high)) => format!("{low:.3} – {high:.3}"),
            _ => String::new(),
        };
        let target = match (row.target, row.better) {
            (Some(target), Some(Better::Higher)) => format!("≥ {target}"),
            (Some(target), Some(Better::Lower)) => format!("≤ {target}"),
            _ => String::new(),
        };
        let verdict = match (row.verdict, row.gate, &row.why) {
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
            number(row.ours),
            number(row.theirs),
            row.ratio
                .map_or(String::new(), |ratio| format!("{ratio:.3}")),
            interval,
            target,
            verdict,
        ]);
    }
    for column in 3..=5 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let count = |verdict, gate| {
        let these = rows
            .iter()
            .filter(|r| r.verdict == verdict && r.gate == gate);
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
