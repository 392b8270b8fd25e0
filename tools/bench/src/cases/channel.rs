// SPDX-License-Identifier: GPL-2.0
//! What a channel spares those who wait: calls, wake-ups and processor time.

use super::{limited, ours, row, serve, Case, Machine, ADDRESS};
use crate::sample::{Metric, Mode};

/// All of them.
pub fn all(cases: &mut Vec<Case>, mode: Mode) {
    counted(cases, mode);
    sleeper(cases, mode);
}

/// A receiver that wants to know when 1,024 chunks are there, with eight places for them in its
/// completion ring, and one that is told of each. Who sleeps in `ENTER` of the channel that the
/// endpoint delivers to is woken by the adapter, in a worker's place: that is only told.
fn counted(cases: &mut Vec<Case>, mode: Mode) {
    let (size, chunks) = (4 << 10, 1024);
    // To count calls the kernel's code is changed, which is for a machine of one processor.
    let calls = u8::from(mode == Mode::Icount);
    for (name, way, most) in [
        ("counted.1024", "poll", Some(1.0)),
        ("counted.1024.apart", "apart", Some(1.0)),
        ("counted.1024.enter", "enter", None),
    ] {
        let mut rows = vec![limited(Metric::Wakes, most)];
        if calls > 0 {
            rows.push(limited(Metric::Calls, Some(2.0)));
        }
        rows.push(limited(Metric::UsPerOp, None));
        cases.push(Case {
            name: name.into(),
            group: "channel",
            mode,
            machine: Machine::Plain,
            ours: ours(&format!("counted {ADDRESS} {size} {chunks} {way} {calls}")),
            theirs: serve(&format!("reap_each {size} {chunks} {calls}")),
            rows,
            heavy: 1,
            beside: None,
        });
    }
}

/// A receiver to which nothing is sent for ten seconds, and perftest's `ib_write_lat`, which looks
/// again and again. That takes all of a processor however long it is, so one second will do.
fn sleeper(cases: &mut Vec<Case>, mode: Mode) {
    let rows = [Metric::CpuShare, Metric::OwnShare].map(|metric| row(metric, 0.005));
    cases.push(Case {
        name: "sleeper.10s".into(),
        group: "channel",
        mode,
        machine: Machine::Plain,
        ours: ours(&format!("idle {ADDRESS} 10")),
        theirs: serve(&format!("lat_waiter {ADDRESS} 1")),
        rows: rows.concat(),
        heavy: 1,
        beside: None,
    });
}
