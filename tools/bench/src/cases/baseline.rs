// SPDX-License-Identifier: GPL-2.0
//! What the tools reached before there was anything of ours, by other scripts, under icount:
//! whether this harness measures what it says it does.

use super::{perftest, serve, size_name, Arm, Case, Machine, Perftest};
use crate::sample::{Metric, Mode};

/// What was measured, and where.
pub const WHEN: &str = "20 November 2026, Linux 7.2.12";

/// Case, what of theirs, how much it was, and by which part it may differ. Only where the work is
/// the same: that udmabuf was filled by touching its pages, here they are allocated at once.
pub const FIGURES: &[(&str, Metric, f64, f64)] = &[
    ("baseline.nop.batch1", Metric::NsPerOp, 1097.0, 0.03),
    ("baseline.nop.batch32", Metric::NsPerOp, 345.0, 0.03),
    // What sleeps is scheduled anew by each instruction more or less.
    ("pingpong.64", Metric::UsPerOp, 47.6, 0.15),
    ("pingpong.4K", Metric::UsPerOp, 49.1, 0.15),
    ("baseline.send.4K.depth8", Metric::MibPerS, 95.0, 0.15),
    ("baseline.send.4K.depth16", Metric::MibPerS, 100.0, 0.15),
    ("baseline.send.4K.depth32", Metric::MibPerS, 102.0, 0.15),
    ("baseline.send.64K.depth8", Metric::MibPerS, 125.0, 0.03),
    ("baseline.send.64K.depth16", Metric::MibPerS, 125.0, 0.03),
    ("baseline.send.64K.depth32", Metric::MibPerS, 125.0, 0.03),
    ("baseline.write.4K", Metric::MibPerS, 97.0, 0.05),
    ("baseline.write.64K", Metric::MibPerS, 150.0, 0.03),
    ("baseline.write.1M", Metric::MibPerS, 150.0, 0.03),
    ("register.200K", Metric::UsPerOp, 62.0, 0.03),
    ("buffer.64M.ready.heap", Metric::MsPerOp, 75.0, 0.03),
];

/// Those that are run for that alone: io_uring without its descriptor registered, `ib_send_bw` at a
/// path MTU of 1024, and `ib_write_bw`, which spins, and sees by its first messages, before the
/// other side takes its part of the one processor, up to twice of what it has in the long run.
pub fn all(cases: &mut Vec<Case>) {
    for batch in [1, 32] {
        let arm = serve(&format!("uring_nop {batch} 8192 unregistered"));
        cases.push(theirs(&format!("nop.batch{batch}"), arm));
    }
    for (size, count) in [(4u64 << 10, 1000u64), (64 << 10, 200)] {
        for depth in [8, 16, 32] {
            let command = format!("ib_send_bw -e -m 1024 -s {size} -t {depth} -n {count}");
            let name = format!("send.{}.depth{depth}", size_name(size));
            cases.push(theirs(&name, perftest(&command, Perftest::Bandwidth)));
        }
    }
    for (size, count) in [(4u64 << 10, 1000u64), (64 << 10, 5000), (1 << 20, 200)] {
        let command = format!("ib_write_bw -s {size} -t 32 -n {count}");
        let arm = perftest(&command, Perftest::Bandwidth);
        cases.push(theirs(&format!("write.{}", size_name(size)), arm));
    }
}

fn theirs(name: &str, theirs: Arm) -> Case {
    Case {
        name: format!("baseline.{name}"),
        group: "baseline",
        mode: Mode::Icount,
        machine: Machine::Plain,
        ours: Arm::None,
        theirs,
        rows: vec![],
        heavy: 1,
        beside: None,
    }
}
