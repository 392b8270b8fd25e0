// SPDX-License-Identifier: GPL-2.0
//! Rows: a quantity on both sides, their ratio, how sure it is, and whether that will do.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    cases::{self, Case, MISSING},
    report::Plan,
    sample::{Better, Metric, Mode, Sample, Side},
    stats,
};

/// What is thought of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The bad end of the interval meets the target.
    Pass,
    /// It does not.
    Fail,
    /// It was not measured, or cannot be yet.
    Missing,
}

/// A line of the table.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub name: String,
    pub group: String,
    pub mode: Option<Mode>,
    pub unit: String,
    pub ours: Option<f64>,
    pub theirs: Option<f64>,
    /// Ours by theirs.
    pub ratio: Option<f64>,
    pub ci_low: Option<f64>,
    pub ci_high: Option<f64>,
    pub target: Option<f64>,
    /// Target and interval are of ours, not of the ratio.
    pub absolute: bool,
    pub better: Option<Better>,
    pub verdict: Verdict,
    /// Whether the verdict counts: wall clock is only told where icount has a meaning.
    pub gate: bool,
    pub pairs: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Row {
    /// Whether it is below its target and that counts.
    pub fn fails(&self) -> bool {
        self.gate && self.verdict == Verdict::Fail
    }

    /// Whether it could have been measured.
    pub fn was_left_out(&self, plans: &[Plan]) -> bool {
        let planned = |mode| plans.iter().any(|plan| plan.mode == mode);
        self.verdict == Verdict::Missing && self.mode.is_some_and(planned)
    }
}

/// Rows of everything that there is, measured or not, that is wanted.
pub fn of(samples: &[Sample], only: &[String], plans: &[Plan]) -> Vec<Row> {
    let mut rows = vec![];
    for case in cases::all() {
        let own: Vec<&Sample> = samples
            .iter()
            .filter(|sample| sample.case == case.name && sample.mode == case.mode)
            .collect();
        if cases::wanted(only, &case.name, case.group) {
            rows.extend(
                case.rows
                    .iter()
                    .map(|row| measured(&case, row, &own, plans)),
            );
        }
    }
    for &(name, group, over, by, floor) in cases::QUOTIENTS {
        let wanted = cases::wanted(only, name, group);
        for mode in [Mode::Icount, Mode::Wall].into_iter().filter(|_| wanted) {
            rows.push(quotient(
                name,
                group,
                (over, by),
                mode,
                floor,
                samples,
                plans,
            ));
        }
    }
    let missing = MISSING.iter();
    let missing = missing.filter(|(name, group, ..)| cases::wanted(only, name, group));
    rows.extend(missing.map(|&(name, group, unit, why)| Row {
        name: name.into(),
        group: group.into(),
        mode: None,
        unit: unit.into(),
        why: Some(why.into()),
        ..nothing()
    }));
    rows
}

fn nothing() -> Row {
    Row {
        name: String::new(),
        group: String::new(),
        mode: None,
        unit: String::new(),
        ours: None,
        theirs: None,
        ratio: None,
        ci_low: None,
        ci_high: None,
        target: None,
        absolute: false,
        better: None,
        verdict: Verdict::Missing,
        gate: false,
        pairs: 0,
        why: None,
    }
}

/// How many pairs of a case there must be.
fn expected(case: &Case, plans: &[Plan]) -> usize {
    let plan = plans.iter().find(|plan| plan.mode == case.mode);
    plan.map_or(1, |plan| {
        let boots = match (case.mode, case.machine) {
            (Mode::Icount, machine) if machine.is_told() => 1,
            _ => plan.boots,
        };
        (case.pairs(plan.pairs) * boots) as usize
    })
}

fn measured(case: &Case, row: &cases::Row, samples: &[&Sample], plans: &[Plan]) -> Row {
    let pairs = pairs(row.metric, samples);
    judged(
        Row {
            name: case.name.clone() + row.metric.suffix(),
            group: case.group.into(),
            mode: Some(case.mode),
            unit: row.metric.unit().into(),
            target: row.limit.or(row.floor),
            absolute: row.limit.is_some(),
            better: Some(row.metric.better()),
            // Nearly every case is run under icount; in some machines only once.
            gate: case.mode == Mode::Icount
                && !case.machine.is_told()
                && row.limit.or(row.floor).is_some(),
            ..nothing()
        },
        pairs,
        expected(case, plans),
    )
}

/// What one case comes to by another, on both sides.
fn quotient(
    name: &str,
    group: &str,
    (over, by): (&str, &str),
    mode: Mode,
    floor: f64,
    samples: &[Sample],
    plans: &[Plan],
) -> Row {
    let all = cases::all();
    let case = all
        .iter()
        .find(|case| case.name == over && case.mode == mode);
    let metric = case.and_then(|case| Some(case.rows.first()?.metric));
    let of = |case: &str| {
        let own: Vec<&Sample> = samples
            .iter()
            .filter(|sample| sample.case == case && sample.mode == mode)
            .collect();
        metric.map_or(vec![], |metric| pairs(metric, &own))
    };
    let (over, by) = (of(over), of(by));
    let pairs = over.iter().filter_map(|(number, (ours, theirs))| {
        let (_, (our_base, their_base)) = by.iter().find(|(other, _)| other == number)?;
        Some((*number, (ours / our_base, theirs / their_base)))
    });
    judged(
        Row {
            name: name.into(),
            group: group.into(),
            mode: Some(mode),
            unit: "ratio".into(),
            target: Some(floor),
            better: metric.map(Metric::better),
            gate: mode == Mode::Icount,
            ..nothing()
        },
        pairs.collect(),
        case.map_or(1, |case| expected(case, plans)),
    )
}

/// The row with what its pairs say, if none is missing.
fn judged(row: Row, pairs: Vec<((u32, u32), (f64, f64))>, expected: usize) -> Row {
    let mut boots = BTreeMap::<u32, Vec<f64>>::new();
    for ((seed, _), (ours, theirs)) in &pairs {
        let judged = match row.absolute {
            true => *ours,
            false => ours / theirs,
        };
        boots.entry(*seed).or_default().push(judged);
    }
    let boots: Vec<Vec<f64>> = boots.into_values().collect();
    let ratios: Vec<f64> = pairs.iter().map(|(_, pair)| pair.0 / pair.1).collect();
    let (ours, theirs): (Vec<f64>, Vec<f64>) = pairs.into_iter().map(|(_, pair)| pair).unzip();
    let interval = stats::interval(&boots);
    let verdict = match (interval, row.target) {
        _ if ratios.len() < expected => Verdict::Missing,
        (None, _) => Verdict::Missing,
        (Some(_), None) => Verdict::Pass,
        (Some((low, high)), Some(target)) => {
            let meets = match row.better {
                Some(Better::Higher) => low >= target,
                _ => high <= target,
            };
            match meets {
                true => Verdict::Pass,
                false => Verdict::Fail,
            }
        }
    };
    Row {
        ours: stats::median(&ours),
        theirs: stats::median(&theirs),
        ratio: stats::median(&ratios),
        ci_low: interval.map(|(low, _)| low),
        ci_high: interval.map(|(_, high)| high),
        verdict,
        pairs: ratios.len(),
        ..row
    }
}

/// Both sides of each pair that has both, by boot and number.
fn pairs(metric: Metric, samples: &[&Sample]) -> Vec<((u32, u32), (f64, f64))> {
    let ours = samples.iter().filter(|sample| sample.side == Side::Ours);
    ours.filter_map(|one| {
        let number = (one.seed, one.pair);
        let other = samples
            .iter()
            .find(|other| other.side == Side::Theirs && (other.seed, other.pair) == number)?;
        Some((number, (metric.of(&one.block)?, metric.of(&other.block)?)))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Block;

    fn samples(case: &str, ours: u64, theirs: u64) -> Vec<Sample> {
        let each = |pair, side, ns| Sample {
            case: case.into(),
            mode: Mode::Icount,
            seed: 1,
            pair,
            side,
            block: Block {
                ops: 1000,
                ns: ns + u64::from(pair),
                ..Block::default()
            },
        };
        (0..20)
            .flat_map(|pair| {
                [
                    each(pair, Side::Ours, ours),
                    each(pair, Side::Theirs, theirs),
                ]
            })
            .collect()
    }

    fn verdict(name: &str, ours: u64, theirs: u64) -> Verdict {
        let rows = of(&samples(name, ours, theirs), &[], &[]);
        let found = rows.iter().find(|row| row.name == name && row.gate);
        found.unwrap().verdict
    }

    #[test]
    fn lower_is_better_for_times() {
        // The target is 1.2.
        assert_eq!(
            verdict("ring.nop.batch1", 1_100_000, 1_000_000),
            Verdict::Pass
        );
        assert_eq!(
            verdict("ring.nop.batch1", 1_300_000, 1_000_000),
            Verdict::Fail
        );
    }

    #[test]
    fn higher_is_better_for_rates() {
        // The target is 0.7 of their rate.
        assert_eq!(
            verdict("ring.nop.batch8", 1_300_000, 1_000_000),
            Verdict::Pass
        );
        assert_eq!(
            verdict("ring.nop.batch8", 1_500_000, 1_000_000),
            Verdict::Fail
        );
    }

    #[test]
    fn nothing_is_dropped() {
        let rows = of(&samples("ring.nop.batch8", 1, 1), &[], &[]);
        let cases = cases::all();
        let all: usize = cases.iter().map(|case| case.rows.len()).sum();
        assert_eq!(rows.len(), all + 2 * cases::QUOTIENTS.len() + MISSING.len());
        let missing = rows.iter().filter(|row| row.verdict == Verdict::Missing);
        assert_eq!(missing.count(), rows.len() - 1);
    }

    #[test]
    fn limits_are_of_ours() {
        // The target is two calls, whatever theirs are.
        let verdict = |ours, theirs| {
            let mut both = samples("counted.1024", 1, 1);
            for sample in &mut both {
                sample.block.calls = Some(match sample.side {
                    Side::Ours => ours,
                    Side::Theirs => theirs,
                });
            }
            let rows = of(&both, &[], &[]);
            let row = rows.iter().find(|row| row.name == "counted.1024.calls");
            let row = row.unwrap();
            assert_eq!(row.ratio, Some(ours as f64 / theirs as f64));
            assert_eq!(row.ci_high, Some(ours as f64));
            (row.gate, row.verdict)
        };
        assert_eq!(verdict(2, 1), (true, Verdict::Pass));
        assert_eq!(verdict(3, 3000), (true, Verdict::Fail));
    }

    #[test]
    fn some_machines_are_only_told_of() {
        let rows = of(&[], &[], &[]);
        let gates = |name: &str| {
            let mut rows = rows.iter();
            let row = rows.find(|row| row.name == name && row.mode == Some(Mode::Icount));
            row.unwrap().gate
        };
        assert!(gates("migrate.64M") && gates("unmapped.512M"));
        assert!(!gates("migrate.64M.bytes") && !gates("killed.1G"));
    }

    #[test]
    fn quotients_by_pair() {
        let (_, _, over, by, _) = cases::QUOTIENTS[0];
        let mut both = samples(over, 4_000_000, 2_000_000);
        both.extend(samples(by, 1_000_000, 1_000_000));
        for sample in &mut both {
            sample.block.bytes = 1 << 20;
        }
        let rows = of(&both, &[], &[]);
        let row = rows.iter().find(|row| row.name == cases::QUOTIENTS[0].0);
        let row = row.unwrap();
        // A quarter of the bandwidth, where theirs is a half.
        let close = |value: Option<f64>, to: f64| (value.unwrap() - to).abs() < 0.001;
        assert!(close(row.ours, 0.25) && close(row.theirs, 0.5) && close(row.ratio, 0.5));
        assert_eq!(row.verdict, Verdict::Fail);
    }

    #[test]
    fn half_a_pair_is_none() {
        let mut some = samples("ring.nop.batch1", 5, 5);
        some.retain(|sample| sample.side == Side::Ours || sample.pair > 16);
        let of = |plan: &str| {
            let plans = [plan.parse().unwrap()];
            let rows = of(&some, &["ring.nop.batch1".into()], &plans);
            let row = rows.into_iter().find(|row| row.mode == Some(Mode::Icount));
            let row = row.unwrap();
            (row.pairs, row.verdict, row.was_left_out(&plans))
        };
        assert_eq!(of("icount:3x1"), (3, Verdict::Pass, false));
        // One of those that were to be is not.
        assert_eq!(of("icount:2x2"), (3, Verdict::Missing, true));
        assert_eq!(of("wall:1x1"), (3, Verdict::Pass, false));
    }
}
