// SPDX-License-Identifier: GPL-2.0
//! What is compared: cases, which are two arms that do the same work, and the rows that are
//! told of each.

pub mod baseline;
mod buffers;
mod channel;
mod missing;
mod scale;
mod streams;

pub use missing::MISSING;

use crate::sample::{Metric, Mode};

/// One of the two sides of a case.
#[derive(Debug, Clone)]
pub enum Arm {
    /// A program that serves lines (see [`crate::arm`]), with arguments.
    Serve(Vec<String>),
    /// A program of perftest, with arguments but the peer's address, and how to read it.
    Perftest(Vec<String>, Perftest),
    /// Nothing is compared.
    None,
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
    pub machine: Machine,
    pub ours: Arm,
    pub theirs: Arm,
    pub rows: Vec<Row>,
    /// Pairs are this many times fewer, because a block takes that long.
    pub heavy: u32,
    /// A program that has the machine in its state before the arms start, says so and stays; its argument
    /// is for how many seconds ([`crate::guest`]).
    pub beside: Option<&'static str>,
}

impl Case {
    /// How many pairs of those that a boot is asked for. What gates has them all.
    pub fn pairs(&self, asked: u32) -> u32 {
        match (self.mode, self.machine) {
            _ if self.rows.is_empty() => 1,
            (Mode::Icount, machine) if !machine.is_told() => asked,
            _ => (asked / self.heavy).max(1),
        }
    }
}

/// What it is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// As all others.
    Plain,
    /// With memory for a buffer of 8 GiB.
    Large,
    /// With four processors. Under icount they take turns, and time is the instructions of all.
    Smp,
    /// With four NUMA nodes of 1 GiB, the last three without a processor.
    Numa,
    /// The same, with a processor that has no fast string instructions: kernels move words then.
    Words,
}

impl Machine {
    /// Whether what is measured in it under icount is told only, and measured in one boot.
    pub fn is_told(self) -> bool {
        matches!(self, Machine::Large | Machine::Numa)
    }

    pub fn name(self) -> &'static str {
        match self {
            Machine::Plain => "plain",
            Machine::Large => "large",
            Machine::Smp => "smp",
            Machine::Numa => "numa",
            Machine::Words => "words",
        }
    }
}

/// A quantity of a case.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub metric: Metric,
    /// The ratio that the bad end of its interval must meet. None: it is only told.
    pub floor: Option<f64>,
    /// What ours must meet by itself, whatever theirs is.
    pub limit: Option<f64>,
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
        limit: None,
    }]
}

/// Of which ours may have a limit of its own; else it is only told.
fn limited(metric: Metric, limit: Option<f64>) -> Row {
    Row {
        metric,
        floor: None,
        limit,
    }
}

/// The average is looked at; what a few had to wait is only told.
fn times(floor: f64) -> Vec<Row> {
    let mut rows = row(Metric::UsPerOp, floor);
    rows.extend([Metric::P50, Metric::P99].map(|metric| limited(metric, None)));
    rows
}

/// Bytes as people write them.
pub fn size_name(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 => format!("{}G", b >> 30),
        b if b >= 1 << 20 => format!("{}M", b >> 20),
        b if b >= 1 << 10 && b % (1 << 10) == 0 => format!("{}K", b >> 10),
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

/// What one case comes to by another, on each side: name, group, case, by which, target.
pub const QUOTIENTS: &[(&str, &str, &str, &str, f64)] = &[(
    "depth.4K.1by32",
    "write",
    "write_imm.4K.depth1",
    "write_imm.4K.depth32",
    0.95,
)];

/// Groups that come with another one.
const WITH: &[(&str, &str)] = &[("channel", "ring")];

/// Whether a case is among those that were asked for: all, or by its group, its name or the
/// begin of that before a dot.
pub fn wanted(only: &[String], name: &str, group: &str) -> bool {
    let begins = |only: &str| {
        name.strip_prefix(only)
            .is_some_and(|rest| rest.starts_with('.'))
    };
    let of = |only: &str| only == group || WITH.contains(&(only, group));
    only.is_empty()
        || only
            .iter()
            .any(|only| of(only) || only == name || begins(only))
}

/// Whether a case is to be run: it was asked for, or what it comes to by another was, or what
/// the tools came to before.
pub fn needed(only: &[String], case: &Case) -> bool {
    let part = |of: &str, by: &str| case.name == of || case.name == by;
    let mut figures = baseline::FIGURES.iter().map(|(name, ..)| *name);
    wanted(only, &case.name, case.group)
        || (case.mode == Mode::Icount
            && wanted(only, "", "baseline")
            && figures.any(|name| name == case.name))
        || QUOTIENTS
            .iter()
            .any(|(name, group, of, by, _)| part(of, by) && wanted(only, name, group))
}

/// All of them.
pub fn all() -> Vec<Case> {
    let mut cases = vec![];
    for mode in [Mode::Icount, Mode::Wall] {
        ring(&mut cases, mode);
        channel::all(&mut cases, mode);
        write(&mut cases, mode);
        streams::all(&mut cases, mode);
        cpu(&mut cases, mode);
        idle(&mut cases, mode);
        latency(&mut cases, mode);
        kv(&mut cases, mode);
        buffers::all(&mut cases, mode);
        connect(&mut cases, mode);
        killed(&mut cases, mode);
    }
    spinning(&mut cases);
    scale::all(&mut cases);
    baseline::all(&mut cases);
    cases
}

fn ring(cases: &mut Vec<Case>, mode: Mode) {
    for batch in [1u64, 8, 32, 128] {
        let ops = 8192;
        let mut rows = match batch {
            1 => row(Metric::NsPerOp, 1.2),
            32 => row(Metric::OpsPerS, 1.0),
            _ => row(Metric::OpsPerS, 0.7),
        };
        if mode == Mode::Icount && matches!(batch, 1 | 32) {
            rows.extend(row(Metric::Instructions, 0.8));
        }
        cases.push(Case {
            name: format!("ring.nop.batch{batch}"),
            group: "ring",
            mode,
            machine: Machine::Plain,
            ours: ours(&format!("nop {batch} {ops}")),
            theirs: serve(&format!("uring_nop {batch} {ops}")),
            rows,
            heavy: 1,
            beside: None,
        });
    }
    // Both sides of each look again and again, which is no comparison on one processor.
    if mode == Mode::Wall {
        cases.push(Case {
            name: "ring.nop.sqpoll".into(),
            group: "ring",
            mode,
            machine: Machine::Plain,
            ours: ours("nop-sqpoll 32 8192"),
            theirs: serve("uring_nop 32 8192 sqpoll-spin"),
            rows: row(Metric::OpsPerS, 0.8),
            heavy: 1,
            beside: None,
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
                machine: Machine::Plain,
                ours: ours(&format!("write {ADDRESS} {size} {depth} {count}")),
                theirs,
                rows: row(Metric::MibPerS, floor),
                heavy: if count * size > 48 << 20 { 3 } else { 1 },
                beside: None,
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
            machine: Machine::Plain,
            ours: ours(&format!("write {ADDRESS} {size} {depth} {count}")),
            theirs: serve(&format!("verbs_write {size} {depth} {count}")),
            rows: row(Metric::CpuPerGib, 1.0),
            heavy: 3,
            beside: None,
        });
    }
}

/// A receiver that waits takes nothing, one that looks again and again, as those do that want to
/// be quick, takes a processor.
fn idle(cases: &mut Vec<Case>, mode: Mode) {
    cases.push(Case {
        name: "idle.spinning".into(),
        group: "cpu",
        mode,
        machine: Machine::Plain,
        ours: ours(&format!("idle {ADDRESS} 2")),
        theirs: serve("poll_idle 2"),
        rows: row(Metric::CpuShare, 0.02),
        heavy: 3,
        beside: None,
    });
}

/// As [`cpu`], but the others spin, as perftest does; on one processor that is no comparison.
fn spinning(cases: &mut Vec<Case>) {
    let (size, depth) = (64 << 10, 32);
    let count = (256 << 20) / size;
    cases.push(Case {
        name: "cpu.64K.spinning".into(),
        group: "cpu",
        mode: Mode::Wall,
        machine: Machine::Plain,
        ours: ours(&format!("write {ADDRESS} {size} {depth} {count}")),
        theirs: serve(&format!("verbs_write {size} {depth} {count} spin")),
        rows: row(Metric::CpuPerGib, 0.8),
        heavy: 3,
        beside: None,
    });
}

/// A cache of 32 layers, four chunks each, from one scattered place to another.
fn kv(cases: &mut Vec<Case>, mode: Mode) {
    let (layers, chunks, size) = (32, 4, 256 << 10);
    let (count, depth) = (layers * chunks, 8);
    let case = |name: &str, ours, theirs, rows| Case {
        name: name.into(),
        group: "kv",
        mode,
        machine: Machine::Plain,
        ours,
        theirs,
        rows,
        heavy: 3,
        beside: None,
    };
    let arm = |until| {
        ours(&format!(
            "kv {ADDRESS} {layers} {chunks} {size} {depth} {until}"
        ))
    };
    cases.push(case(
        "kv.handoff",
        arm("whole"),
        serve(&format!("verbs_write {size} {depth} {count} scattered")),
        row(Metric::MibPerS, 0.9),
    ));
    // By the whole, ours as well.
    cases.push(case(
        "kv.first_layer",
        arm("first"),
        arm("whole"),
        row(Metric::UsPerOp, 1.0 / f64::from(layers) + 0.1),
    ));
}

fn latency(cases: &mut Vec<Case>, mode: Mode) {
    for (name, size, rounds) in [
        ("pingpong", 64u64, 200),
        ("pingpong", 4 << 10, 200),
        ("pingpong", 64 << 10, 200),
        ("handoff", 256 << 10, 100),
    ] {
        // On one processor those that spin only wait for each other.
        let spin = match mode {
            Mode::Icount => " -e",
            Mode::Wall => "",
        };
        cases.push(Case {
            name: format!("{name}.{}", size_name(size)),
            group: "latency",
            mode,
            machine: Machine::Plain,
            ours: ours(&format!("pingpong {ADDRESS} {size} {rounds}")),
            theirs: perftest(
                &format!("ib_send_lat -s {size} -n {rounds} -U{spin}"),
                Perftest::Latency,
            ),
            rows: times(match (name, mode) {
                ("handoff", _) => 1.1,
                (_, Mode::Icount) => 0.9,
                (_, Mode::Wall) => 1.15,
            }),
            heavy: 1,
            beside: None,
        });
    }
}

/// A process with 1 GiB registered and 128 messages in flight, from its end by a signal until
/// it is gone.
fn killed(cases: &mut Vec<Case>, mode: Mode) {
    cases.push(Case {
        name: "killed.1G".into(),
        group: "teardown",
        mode,
        machine: Machine::Large,
        ours: ours(&format!("killed {ADDRESS} {}", 1 << 30)),
        theirs: serve(&format!("killed {}", 1 << 30)),
        rows: row(Metric::MsPerOp, 1.5),
        heavy: 3,
        beside: None,
    });
}

fn connect(cases: &mut Vec<Case>, mode: Mode) {
    cases.push(Case {
        name: "connect.first_byte".into(),
        group: "connect",
        mode,
        machine: Machine::Plain,
        ours: ours(&format!("connect {ADDRESS} 4")),
        theirs: serve(&format!("cm_connect {ADDRESS} 4")),
        rows: row(Metric::UsPerOp, 0.8),
        heavy: 1,
        beside: None,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_in_a_mode() {
        let mut seen = HashSet::new();
        for case in all() {
            assert!(seen.insert((case.name.clone(), case.mode)), "{}", case.name);
            assert_eq!(case.rows.is_empty(), matches!(case.ours, Arm::None));
        }
        for (name, ..) in MISSING {
            assert!(!seen.iter().any(|(n, _)| n == name), "{name}");
        }
    }

    #[test]
    fn quotients_are_of_cases() {
        let all = all();
        let metric = |name: &str| {
            let case = all.iter().find(|case| case.name == name).unwrap();
            case.rows[0].metric
        };
        for (name, _, over, by, _) in QUOTIENTS {
            assert_eq!(metric(over), metric(by), "{name}");
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
        // What channels are to be has to do with their rings, not the other way round.
        assert!(wanted(&["channel".into()], "ring.nop.batch1", "ring"));
        assert!(!wanted(&["ring".into()], "counted.1024", "channel"));
    }

    #[test]
    fn sizes() {
        assert_eq!(size_name(64), "64");
        assert_eq!(size_name(4080), "4080");
        assert_eq!(size_name(4096), "4K");
        assert_eq!(size_name(4 << 20), "4M");
        assert_eq!(size_name(8 << 30), "8G");
    }
}
