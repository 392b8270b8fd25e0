// SPDX-License-Identifier: GPL-2.0
//! Buffers: from nothing to ready, registered and exported, how they are mapped and unmapped, where
//! they are, and moved elsewhere.
//!
//! A program that has "dmaplane" as an argument is ours, and theirs with another one: where a loop
//! or a driver is the same for both, so is the program.

use super::{limited, ours, row, serve, Arm, Case, Machine, Row, ADDRESS};
use crate::sample::{Metric, Mode};

const SIZE: u64 = 64 << 20;

/// All of them.
pub fn all(cases: &mut Vec<Case>, mode: Mode) {
    ready(cases, mode);
    exported(cases, mode);
    registered(cases, mode);
    carved(cases, mode);
    placed(cases, mode);
    // What is counted is the same in any time.
    if mode == Mode::Icount {
        mapped(cases);
    }
    fragmented(cases, mode);
}

fn case(name: &str, mode: Mode, arms: (Arm, Arm), rows: Vec<Row>) -> Case {
    let (ours, theirs) = arms;
    Case {
        name: name.into(),
        group: "buffers",
        mode,
        machine: Machine::Plain,
        ours,
        theirs,
        rows,
        heavy: 3,
        beside: None,
    }
}

fn from_nothing(register: u8, export: u8) -> Arm {
    ours(&format!("ready {ADDRESS} {SIZE} {register} {export}"))
}

fn ready(cases: &mut Vec<Case>, mode: Mode) {
    for (name, register, theirs, floor) in [
        ("ready.heap", 0, "ready heap", 0.9),
        ("ready.udmabuf", 0, "ready udmabuf", 0.6),
        // Of a dma-buf's mapping a user can register nothing on Soft-RoCE, of a memfd's he can.
        ("registered.memfd", 1, "ready memfd", 0.6),
    ] {
        let arms = (
            from_nothing(register, 0),
            serve(&format!("{theirs} {SIZE} {register}")),
        );
        let name = format!("buffer.64M.{name}");
        cases.push(case(&name, mode, arms, row(Metric::MsPerOp, floor)));
    }
}

/// From nothing to a dma-buf that is mapped here and, where theirs can be, registered, and another
/// driver's import of one.
fn exported(cases: &mut Vec<Case>, mode: Mode) {
    for (name, register, theirs, export, floor) in [
        ("exported.udmabuf", 1, "memfd-lazy", 1, 0.3),
        ("exported.heap", 0, "heap", 0, 0.95),
    ] {
        let arms = (
            from_nothing(register, 1),
            serve(&format!("ready {theirs} {SIZE} {register} {export}")),
        );
        cases.push(case(name, mode, arms, row(Metric::MsPerOp, floor)));
    }
    let arm = |kind| serve(&format!("imported {kind} {SIZE} 4"));
    let arms = (arm("dmaplane"), arm("memfd"));
    cases.push(case("export.64M", mode, arms, row(Metric::UsPerOp, 0.9)));
}

/// What needs no registration any more: a piece of a pool, in place of all that is done for a buffer, and
/// views of a region.
fn carved(cases: &mut Vec<Case>, mode: Mode) {
    let arms = (
        ours(&format!("pooled {ADDRESS} {SIZE} 1000")),
        serve(&format!("ready memfd-lazy {SIZE} 1 1")),
    );
    cases.push(case(
        "buffer.64M.pool",
        mode,
        arms,
        row(Metric::MsPerOp, 0.01),
    ));
    let (size, count) = (200 << 10, 10_000);
    let arms = (
        ours(&format!("views {ADDRESS} {size} {count}")),
        serve(&format!("reg_mr {size} {count}")),
    );
    cases.push(case("views.10000", mode, arms, row(Metric::UsPerOp, 0.01)));
}

fn registered(cases: &mut Vec<Case>, mode: Mode) {
    for (name, size, count) in [("register.200K", 200 << 10, 400), ("register.64M", SIZE, 2)] {
        let arms = (
            ours(&format!("register {ADDRESS} {size} {count}")),
            serve(&format!("reg_mr {size} {count}")),
        );
        cases.push(case(name, mode, arms, row(Metric::UsPerOp, 1.2)));
    }
}

/// Where pages are, and that they are elsewhere afterwards.
fn placed(cases: &mut Vec<Case>, mode: Mode) {
    for (name, size, machine, floor) in [
        ("where.256M", 256u64 << 20, Machine::Plain, 0.02),
        ("where.1G", 1 << 30, Machine::Words, 0.005),
    ] {
        if (mode, machine) == (Mode::Wall, Machine::Words) {
            continue;
        }
        let arms = (
            ours(&format!("where {size}")),
            serve(&format!("where {size}")),
        );
        cases.push(Case {
            machine,
            ..case(name, mode, arms, row(Metric::UsPerOp, floor))
        });
    }
    if mode == Mode::Wall {
        return;
    }
    // By bytes it is told: zeroing and copying a page are 8,192 instructions then, on either side.
    for (name, machine, floor) in [
        ("migrate.64M", Machine::Words, Some(3.0)),
        ("migrate.64M.bytes", Machine::Numa, None),
    ] {
        let arms = (
            ours(&format!("migrate {SIZE}")),
            serve(&format!("migrate {SIZE}")),
        );
        let rows = vec![Row {
            metric: Metric::MibPerS,
            floor,
            limit: None,
        }];
        cases.push(Case {
            machine,
            ..case(name, mode, arms, rows)
        });
    }
}

/// A mapping's first use and its end, of memory that is there.
fn mapped(cases: &mut Vec<Case>) {
    let arm = |kind| serve(&format!("sweep {kind} {SIZE}"));
    let mut rows = row(Metric::UsPerOp, 0.5);
    rows.push(limited(Metric::Faults, Some(32.0)));
    let arms = (arm("dmaplane"), arm("udmabuf"));
    cases.push(case("sweep.64M", Mode::Icount, arms, rows));
    // With another thread, on a processor of its own, that uses the same mappings.
    let arm = |kind| serve(&format!("unmapped {kind} {}", 512 << 20));
    let arms = (arm("dmaplane"), arm("memfd"));
    cases.push(Case {
        machine: Machine::Smp,
        ..case(
            "unmapped.512M",
            Mode::Icount,
            arms,
            row(Metric::FlushesPerGib, 0.01),
        )
    });
}

/// In how many pieces memory is when others have used the machine for a while.
fn fragmented(cases: &mut Vec<Case>, mode: Mode) {
    let arm = |kind| serve(&format!("runs {kind} {SIZE}"));
    let arms = (arm("dmaplane-huge"), arm("memfd"));
    cases.push(Case {
        beside: Some("fragment"),
        ..case("fragmented.64M", mode, arms, row(Metric::Runs, 1.0 / 512.0))
    });
}
