// SPDX-License-Identifier: GPL-2.0
//! What is compared: cases, which are two arms that do the same work, and the rows that are
//! told of each. `Row::floor` is the ratio that the bad end of the interval must meet.

use crate::sample::{Metric, Mode};

/// One of the two sides of a case.
#[derive(Debug, Clone)]
pub enum Arm {
    /// A program that serves lines (see [`crate::arm`]), with arguments.
    Serve(Vec<String>),
    /// A program of perftest, with arguments but the peer's address, and how to read it.
    Perftest(Vec<String>, Perftest),
}

/// What a program of perftest reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Perftest {
    Bandwidth,
    Latency,
}

/// Two arms that do the same work.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    pub group: &'static str,
    pub mode: Mode,
    pub ours: Arm,
    pub theirs: Arm,
    pub rows: Vec<Row>,
    /// Pairs are this many times fewer, because a block takes that long.
    pub heavy: u32,
}

/// A quantity of a case.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub metric: Metric,
    /// None: it is only told.
    pub floor: Option<f64>,
}

const DEVICE: &str = "rxe0";
/// The address of the device that all of it runs on.
pub const ADDRESS: &str = "10.9.0.1";

fn ours(arguments: &str) -> Arm {
    serve(&format!("dmaplane-bench arm {arguments}"))
}

fn serve(command: &str) -> Arm {
    Arm::Serve(command.split(' ').map(str::to_owned).collect())
}

fn perftest(command: &str, report: Perftest) -> Arm {
    let command = format!("{command} -d {DEVICE} -x 1 -F");
    Arm::Perftest(command.split(' ').map(str::to_owned).collect(), report)
}

fn row(metric: Metric, floor: f64) -> Vec<Row> {
    vec![Row {
        metric,
        floor: Some(floor),
    }]
}

/// Bytes as people write them.
pub fn size_name(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 20 => format!("{}M", b >> 20),
        b if b >= 1 << 10 => format!("{}K", b >> 10),
        b => format!("{b}"),
    }
}

/// Sizes of the writes.
pub const SIZES: [u64; 7] = [64, 1 << 10, 4 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20];
/// Depths of the writes.
pub const DEPTHS: [u64; 4] = [1, 8, 32, 128];

/// Cases whose instructions are compared with those of before: see [`crate::guard`].
pub const GUARD: &[&str] = &[
    "ring.nop.batch1",
    "ring.nop.batch32",
    "write_imm.64.depth8",
    "write_imm.64K.depth8",
    "pingpong.64",
    "register.200K",
    "where.256M",
];

/// Whether a case is among those that were asked for: all, or by its group, its name or the
/// begin of that before a dot.
pub fn wanted(only: &[String], name: &str, group: &str) -> bool {
    let begins = |only: &str| {
        name.strip_prefix(only)
            .is_some_and(|rest| rest.starts_with('.'))
    };
    only.is_empty()
        || only
            .iter()
            .any(|only| only == group || only == name || begins(only))
}

/// All of them.
pub fn all() -> Vec<Case> {
    let mut cases = vec![];
    for mode in [Mode::Icount, Mode::Wall] {
        ring(&mut cases, mode);
        write(&mut cases, mode);
        cpu(&mut cases, mode);
        latency(&mut cases, mode);
        memory(&mut cases, mode);
        connect(&mut cases, mode);
    }
    cases
}

fn ring(cases: &mut Vec<Case>, mode: Mode) {
    for batch in [1u64, 8, 32, 128] {
        let ops = 8192;
        let (metric, floor) = match batch {
            1 => (Metric::NsPerOp, 1.2),
            _ => (Metric::OpsPerS, 0.7),
        };
        cases.push(Case {
            name: format!("ring.nop.batch{batch}"),
            group: "ring",
            mode,
            ours: ours(&format!("nop {batch} {ops}")),
            theirs: serve(&format!("uring_nop {batch} {ops}")),
            rows: row(metric, floor),
            heavy: 1,
        });
    }
}

fn write(cases: &mut Vec<Case>, mode: Mode) {
    for size in SIZES {
        for depth in DEPTHS {
            // Some 20 ms of work, twice the depth, 64 MiB at most, in that order.
            let count = (2 * depth).max((3 << 20) / (size + 3000));
            let count = count.min((64 << 20) / size).max(depth);
            let floor = match (size, depth) {
                (64, 1) => 1.3,
                (0..=4096, _) => 0.9,
                _ => 0.98,
            };
            let theirs = match mode {
                Mode::Icount => serve(&format!("verbs_write {size} {depth} {count}")),
                Mode::Wall => perftest(
                    &format!(
                        "ib_write_bw --write_with_imm -s {size} -t {depth} -r 512 -Q 1 -n {}",
                        count.max(5)
                    ),
                    Perftest::Bandwidth,
                ),
            };
            cases.push(Case {
                name: format!("write_imm.{}.depth{depth}", size_name(size)),
                group: "write",
                mode,
                ours: ours(&format!("write {ADDRESS} {size} {depth} {count}")),
                theirs,
                rows: row(Metric::MibPerS, floor),
                heavy: if count * size > 48 << 20 { 3 } else { 1 },
            });
        }
    }
}

/// Enough work that the hundredth of a second in which the kernel counts idle time is little.
fn cpu(cases: &mut Vec<Case>, mode: Mode) {
    for (size, depth) in [(64u64 << 10, 32u64), (1 << 20, 8)] {
        let count = (256 << 20) / size;
        cases.push(Case {
            name: format!("cpu.{}.depth{depth}", size_name(size)),
            group: "cpu",
            mode,
            ours: ours(&format!("write {ADDRESS} {size} {depth} {count}")),
            theirs: serve(&format!("verbs_write {size} {depth} {count}")),
            rows: row(Metric::CpuPerGib, 1.0),
            heavy: 3,
        });
    }
}

fn latency(cases: &mut Vec<Case>, mode: Mode) {
    for size in [64u64, 4 << 10, 64 << 10] {
        let rounds = 200;
        // On one processor those that spin only wait for each other.
        let spin = match mode {
            Mode::Icount => " -e",
            Mode::Wall => "",
        };
        cases.push(Case {
            name: format!("pingpong.{}", size_name(size)),
            group: "latency",
            mode,
            ours: ours(&format!("pingpong {ADDRESS} {size} {rounds}")),
            theirs: perftest(
                &format!("ib_send_lat -s {size} -n {rounds} -U{spin}"),
                Perftest::Latency,
            ),
            rows: row(
                Metric::UsPerOp,
                match mode {
                    Mode::Icount => 0.9,
                    Mode::Wall => 1.15,
                },
            ),
            heavy: 1,
        });
    }
}

fn memory(cases: &mut Vec<Case>, mode: Mode) {
    let bytes = 64 << 20;
    for (theirs, floor) in [("heap", 0.9), ("udmabuf", 0.6)] {
        for register in [0, 1] {
            let name = match (theirs, register) {
                (_, 0) => format!("buffer.64M.ready.{theirs}"),
                _ => "buffer.64M.registered.memfd".into(),
            };
            cases.push(Case {
                name,
                group: "buffer",
                mode,
                ours: ours(&format!("ready {ADDRESS} {bytes} {register}")),
                // A dma-buf's mapping cannot be registered by a user on Soft-RoCE, what it
                // is made from can.
                theirs: match (theirs, register) {
                    ("udmabuf", 1) => serve(&format!("ready memfd {bytes} 1")),
                    ("heap", 1) => continue,
                    _ => serve(&format!("ready {theirs} {bytes} {register}")),
                },
                rows: row(Metric::MsPerOp, floor),
                heavy: 1,
            });
        }
    }
    for (size, count, floor) in [(200 << 10, 50, 1.2), (64 << 20, 2, 1.2)] {
        cases.push(Case {
            name: format!("register.{}", size_name(size)),
            group: "buffer",
            mode,
            ours: ours(&format!("register {ADDRESS} {size} {count}")),
            theirs: serve(&format!("reg_mr {size} {count}")),
            rows: row(Metric::UsPerOp, floor),
            heavy: 1,
        });
    }
    cases.push(Case {
        name: "where.256M".into(),
        group: "buffer",
        mode,
        ours: ours("where 268435456"),
        theirs: serve("where 268435456"),
        rows: row(Metric::UsPerOp, 0.02),
        heavy: 1,
    });
}

fn connect(cases: &mut Vec<Case>, mode: Mode) {
    cases.push(Case {
        name: "connect.first_byte".into(),
        group: "connect",
        mode,
        ours: ours(&format!("connect {ADDRESS} 4")),
        theirs: serve(&format!("cm_connect {ADDRESS} 4")),
        rows: row(Metric::UsPerOp, 0.8),
        heavy: 1,
    });
}

/// Rows of the plan that cannot be measured yet: name, group, unit, what is to come first.
pub const MISSING: &[(&str, &str, &str, &str)] = &[
    (
        "ring.nop.sqpoll",
        "ring",
        "1/s",
        "a kernel thread that takes entries (P3)",
    ),
    (
        "pingpong.kernel.64",
        "latency",
        "us",
        "an answer from the completion's callback (P6)",
    ),
    ("read", "write", "MiB/s", "the READ opcode (P8)"),
    ("send", "write", "MiB/s", "the SEND opcode (P8)"),
    ("idle.receiver.cpu", "cpu", "cpu-s", "its arm (P10)"),
    (
        "cpu.64K.spinning",
        "cpu",
        "cpu-s/GiB",
        "busy time of perftest's two processes (P9)",
    ),
    ("handoff.256K", "latency", "us", "its arm (P12)"),
    ("counted.1024", "write", "wakes", "counters (P13)"),
    ("buffer.64M.dmabuf", "buffer", "ms", "dma-buf export (P14)"),
    ("buffer.64M.pool", "buffer", "ms", "recycled buffers (P15)"),
    ("views.10000", "buffer", "us", "views (P16)"),
    ("export.1000", "buffer", "us", "dma-buf export (P17)"),
    ("buffer.64M.faults", "buffer", "1", "huge folios (P18)"),
    ("buffer.64M.sg", "buffer", "1", "dma-buf export (P19)"),
    ("migrate.256M", "buffer", "MiB/s", "MIGRATE (P21)"),
    ("oversubscribed.10min", "write", "MiB/s", "its arm (P22)"),
    ("write_imm.loss1", "write", "MiB/s", "its arm (P23)"),
    ("killed.1G", "teardown", "ms", "its arm (P24)"),
    ("trace.off", "trace", "ratio", "tracepoints (P26)"),
    ("connect.pooled", "connect", "us", "pooled endpoints (P27)"),
    ("kv.handoff", "kv", "MiB/s", "its arm (P28)"),
    ("kv.first_layer", "kv", "ratio", "its arm (P28)"),
    ("lease.1M", "write", "ratio", "LEASE_REVOKE (P29)"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_in_a_mode() {
        let mut seen = HashSet::new();
        for case in all() {
            assert!(seen.insert((case.name.clone(), case.mode)), "{}", case.name);
            assert!(!case.rows.is_empty());
        }
        for (name, ..) in MISSING {
            assert!(!seen.iter().any(|(n, _)| n == name), "{name}");
        }
    }

    #[test]
    fn what_is_guarded_exists() {
        for name in GUARD {
            assert!(all().iter().any(|case| case.name == *name), "{name}");
        }
    }

    #[test]
    fn wanted_by_name_or_group() {
        let is = |only: &str| wanted(&[only.into()], "write_imm.64.depth8", "write");
        assert!(is("write") && is("write_imm") && is("write_imm.64") && is("write_imm.64.depth8"));
        assert!(!is("write_imm.6") && !is("ring") && !is("write_imm.64.depth"));
        assert!(wanted(&[], "x", "y"));
    }

    #[test]
    fn sizes() {
        assert_eq!(size_name(64), "64");
        assert_eq!(size_name(4096), "4K");
        assert_eq!(size_name(4 << 20), "4M");
    }
}
