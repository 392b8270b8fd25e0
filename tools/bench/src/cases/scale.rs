// SPDX-License-Identifier: GPL-2.0
//! What becomes of an operation's cost as there is more of something. Both arms are ours: many,
//! and the few that they are compared with.

use super::{ours, row, size_name, Arm, Case, Machine, Row, ADDRESS};
use crate::sample::{Metric, Mode};

/// What may be more, where the cost ought not to depend on it.
const FLAT: f64 = 1.1;

/// All of them; only under icount, where more work shows however small it is.
pub fn all(cases: &mut Vec<Case>) {
    for count in [8, 64] {
        let arm = |endpoints| ours(&format!("many {ADDRESS} {endpoints} 64 1024"));
        let name = format!("endpoints.{count}");
        cases.push(case(&name, Machine::Plain, arm(count), arm(1), flat()));
    }
    for count in [1_000, 100_000] {
        let arm = |handles| ours(&format!("handles {handles} 500"));
        let name = format!("handles.{count}");
        cases.push(case(&name, Machine::Plain, arm(count), arm(1), flat()));
    }
    // What is the same for each buffer, however small, is told.
    for (bytes, machine, floor) in [
        (4u64 << 10, Machine::Plain, None),
        (1 << 20, Machine::Plain, None),
        (1 << 30, Machine::Large, Some(FLAT)),
        (8 << 30, Machine::Large, Some(FLAT)),
    ] {
        let arm = |bytes: u64| ours(&format!("ready {ADDRESS} {bytes} 0"));
        let name = format!("buffer.{}", size_name(bytes));
        let metric = Metric::UsPerMib;
        let rows = vec![Row {
            metric,
            floor,
            limit: None,
        }];
        cases.push(case(&name, machine, arm(bytes), arm(64 << 20), rows));
    }
    for threads in [2, 4] {
        let arm = |threads| ours(&format!("nops {threads} 32 8192"));
        let name = format!("cpus.{threads}");
        cases.push(case(&name, Machine::Smp, arm(threads), arm(1), flat()));
    }
}

fn flat() -> Vec<Row> {
    row(Metric::NsPerOp, FLAT)
}

fn case(name: &str, machine: Machine, ours: Arm, theirs: Arm, rows: Vec<Row>) -> Case {
    Case {
        name: format!("scale.{name}"),
        group: "scale",
        mode: Mode::Icount,
        machine,
        ours,
        theirs,
        rows,
        heavy: match machine {
            Machine::Large => 7,
            _ => 3,
        },
        beside: None,
    }
}
