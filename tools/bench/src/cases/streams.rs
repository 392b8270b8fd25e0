// SPDX-License-Identifier: GPL-2.0
//! Reads, and messages of programs: as the writes, with what the peer's program has to do with it.

use super::{ours, perftest, row, serve, size_name, Arm, Case, Machine, Perftest, ADDRESS};
use crate::sample::{Metric, Mode};

/// Depths of both.
const DEPTHS: [u64; 2] = [1, 32];

/// All of them. A message has at most 4,080 bytes.
pub fn all(cases: &mut Vec<Case>, mode: Mode) {
    for depth in DEPTHS {
        for size in [64, 4 << 10, 64 << 10, 1 << 20] {
            let count = count(size, depth);
            let floor = if size <= 4096 { 0.9 } else { 0.98 };
            let command = format!("{size} {depth} {count}");
            let theirs = match mode {
                Mode::Icount => serve(&format!("verbs_read {command}")),
                Mode::Wall => spinning("ib_read_bw", size, depth, count),
            };
            let ours = ours(&format!("read {ADDRESS} {command}"));
            cases.push(case("read", size, depth, mode, (ours, theirs), floor));
        }
        for size in [64, 1 << 10, 4080] {
            let count = count(size, depth);
            let command = format!("{size} {depth} {count}");
            let theirs = match mode {
                Mode::Icount => serve(&format!("verbs_write {command} send")),
                Mode::Wall => spinning("ib_send_bw -r 512", size, depth, count),
            };
            let ours = ours(&format!("send {ADDRESS} {command}"));
            cases.push(case("send", size, depth, mode, (ours, theirs), 0.9));
        }
    }
}

/// Some 20 ms of work, and twice the depth.
fn count(size: u64, depth: u64) -> u64 {
    (2 * depth).max((3 << 20) / (size + 3000)).max(5)
}

fn spinning(program: &str, size: u64, depth: u64, count: u64) -> Arm {
    let command = format!("{program} -s {size} -t {depth} -Q 1 -n {count}");
    perftest(&command, Perftest::Bandwidth)
}

fn case(
    kind: &str,
    size: u64,
    depth: u64,
    mode: Mode,
    (ours, theirs): (Arm, Arm),
    floor: f64,
) -> Case {
    Case {
        name: format!("{kind}.{}.depth{depth}", size_name(size)),
        group: "write",
        mode,
        machine: Machine::Plain,
        ours,
        theirs,
        rows: row(Metric::MibPerS, floor),
        heavy: 1,
        beside: None,
    }
}
