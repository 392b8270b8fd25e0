// SPDX-License-Identifier: GPL-2.0
//! What was measured, and the units in which it is shown. All conversions are here.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::stats;

/// A block of work that an arm did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// Operations: entries, messages, connections.
    pub ops: u64,
    /// Bytes moved or covered.
    #[serde(default)]
    pub bytes: u64,
    /// Time from its begin to its end, CLOCK_MONOTONIC.
    pub ns: u64,
    /// Time that the machine's processors were not idle meanwhile, all of them together.
    #[serde(default)]
    pub busy_ns: u64,
    /// Processor time of the thread or process that waits, where that is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_ns: Option<u64>,
    /// System calls of the thread that receives, where they are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// How often that thread slept and was woken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wakes: Option<u64>,
    /// Page faults, where they are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faults: Option<u64>,
    /// How often another processor was interrupted to flush its TLB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flushes: Option<u64>,
    /// Of how many pieces that follow each other in memory the bytes are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<u64>,
    /// Times of single operations, where they are told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub each_ns: Vec<u64>,
}

impl Block {
    /// That began then and ends now.
    pub fn since(begin: Instant, ops: u64, bytes: u64) -> Self {
        Block {
            ops,
            bytes,
            ns: u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX),
            ..Block::default()
        }
    }
}

/// How time passes in the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One instruction is one nanosecond, one processor: repeatable.
    Icount,
    /// As it does on the host, two processors.
    Wall,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Icount => "icount",
            Mode::Wall => "wall",
        }
    }
}

/// Whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Ours,
    Theirs,
}

/// A line of a machine's output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub case: String,
    pub mode: Mode,
    /// Of the boot.
    pub seed: u32,
    /// Number of the pair, in this boot.
    pub pair: u32,
    pub side: Side,
    pub block: Block,
}

/// A quantity of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Time of an operation, in nanoseconds; under icount that is instructions.
    NsPerOp,
    /// Instructions of an operation, under icount.
    Instructions,
    /// Time of an operation, in microseconds.
    UsPerOp,
    /// Time of an operation, in milliseconds.
    MsPerOp,
    /// What half of the operations take at most, in microseconds.
    P50,
    /// What 99 of 100 operations take at most, in microseconds.
    P99,
    /// Bandwidth in MiB/s.
    MibPerS,
    /// Operations per second.
    OpsPerS,
    /// Busy time of the whole machine, seconds per GiB.
    CpuPerGib,
    /// Busy time of the whole machine, as a part of the time.
    CpuShare,
    /// Processor time of the one that waits, as a part of the time.
    OwnShare,
    /// System calls of the receiver in a block.
    Calls,
    /// How often the receiver slept and was woken in a block.
    Wakes,
    /// Page faults in a block.
    Faults,
    /// Interrupts of other processors to flush their TLBs, by GiB.
    FlushesPerGib,
    /// Pieces of memory.
    Runs,
    /// Time for a MiB, in microseconds.
    UsPerMib,
}

impl Metric {
    pub fn unit(self) -> &'static str {
        match self {
            Metric::NsPerOp => "ns",
            Metric::Instructions => "instr.",
            Metric::UsPerOp | Metric::P50 | Metric::P99 => "us",
            Metric::MsPerOp => "ms",
            Metric::MibPerS => "MiB/s",
            Metric::OpsPerS => "1/s",
            Metric::CpuPerGib => "cpu-s/GiB",
            Metric::CpuShare | Metric::OwnShare => "cpu-s/s",
            Metric::Calls => "calls",
            Metric::Wakes => "wakes",
            Metric::Faults => "faults",
            Metric::FlushesPerGib => "1/GiB",
            Metric::Runs => "runs",
            Metric::UsPerMib => "us/MiB",
        }
    }

    /// What of a case it is, where that is not said by the case's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Metric::P50 => ".p50",
            Metric::P99 => ".p99",
            Metric::Instructions => ".instructions",
            Metric::OwnShare => ".own",
            Metric::Calls => ".calls",
            Metric::Wakes => ".wakes",
            Metric::Faults => ".faults",
            _ => "",
        }
    }

    pub fn better(self) -> Better {
        match self {
            Metric::MibPerS | Metric::OpsPerS => Better::Higher,
            _ => Better::Lower,
        }
    }

    /// Of a block; none if the block does not tell.
    pub fn of(self, block: &Block) -> Option<f64> {
        let (ops, ns) = (block.ops as f64, block.ns as f64);
        let value = match self {
            Metric::NsPerOp | Metric::Instructions => ns / ops,
            Metric::UsPerOp => ns / ops / 1e3,
            Metric::MsPerOp => ns / ops / 1e6,
            Metric::P50 => each(block, 0.5)?,
            Metric::P99 => each(block, 0.99)?,
            Metric::MibPerS => block.bytes as f64 / MIB / (ns / 1e9),
            Metric::OpsPerS => ops / (ns / 1e9),
            Metric::CpuPerGib => block.busy_ns as f64 / 1e9 / (block.bytes as f64 / GIB),
            // Of these there may be none.
            Metric::CpuShare => return share(block.busy_ns, block.ns),
            Metric::OwnShare => return share(block.own_ns?, block.ns),
            Metric::Calls => return Some(block.calls? as f64),
            Metric::Wakes => return Some(block.wakes? as f64),
            Metric::Faults => return Some(block.faults? as f64),
            Metric::Runs => return Some(block.runs? as f64),
            Metric::FlushesPerGib => {
                let gib = block.bytes as f64 / GIB;
                return (gib > 0.0).then_some(block.flushes? as f64 / gib);
            }
            Metric::UsPerMib => ns / 1e3 / (block.bytes as f64 / MIB),
        };
        (value.is_finite() && value > 0.0).then_some(value)
    }
}

fn share(part: u64, ns: u64) -> Option<f64> {
    (ns > 0).then(|| part as f64 / ns as f64)
}

/// Of times of single operations, in microseconds.
fn each(block: &Block, part: f64) -> Option<f64> {
    let each: Vec<f64> = block.each_ns.iter().map(|&ns| ns as f64 / 1e3).collect();
    stats::quantile(&each, part)
}

/// Which way is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    Higher,
    Lower,
}

/// perftest's "MB" is this many bytes.
pub const MIB: f64 = 1048576.0;
const GIB: f64 = 1024.0 * MIB;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        let block = Block {
            ops: 2000,
            bytes: 512 << 20,
            ns: 2_000_000_000,
            busy_ns: 3_000_000_000,
            own_ns: Some(500_000_000),
            calls: Some(2),
            wakes: Some(0),
            faults: Some(32),
            flushes: Some(1),
            runs: Some(7),
            each_ns: vec![],
        };
        assert_eq!(Metric::NsPerOp.of(&block), Some(1e6));
        assert_eq!(Metric::Instructions.of(&block), Some(1e6));
        assert_eq!(Metric::UsPerOp.of(&block), Some(1e3));
        assert_eq!(Metric::MsPerOp.of(&block), Some(1.0));
        assert_eq!(Metric::MibPerS.of(&block), Some(256.0));
        assert_eq!(Metric::OpsPerS.of(&block), Some(1000.0));
        assert_eq!(Metric::CpuPerGib.of(&block), Some(6.0));
        assert_eq!(Metric::CpuShare.of(&block), Some(1.5));
        assert_eq!(Metric::OwnShare.of(&block), Some(0.25));
        assert_eq!(Metric::Calls.of(&block), Some(2.0));
        assert_eq!(Metric::Wakes.of(&block), Some(0.0));
        assert_eq!(Metric::Faults.of(&block), Some(32.0));
        assert_eq!(Metric::FlushesPerGib.of(&block), Some(2.0));
        assert_eq!(Metric::Runs.of(&block), Some(7.0));
        assert_eq!(Metric::UsPerMib.of(&block), Some(3906.25));
        let each_ns = (1..=101).map(|us| us * 1000).collect();
        let block = Block { each_ns, ..block };
        assert_eq!(Metric::P50.of(&block), Some(51.0));
        assert_eq!(Metric::P99.of(&block), Some(100.0));
    }

    #[test]
    fn what_is_not_told_is_none() {
        let block = Block {
            ops: 1,
            ns: 5,
            ..Block::default()
        };
        assert_eq!(Metric::MibPerS.of(&block), None);
        assert_eq!(Metric::CpuPerGib.of(&block), None);
        assert_eq!(Metric::P99.of(&block), None);
        assert_eq!(Metric::CpuShare.of(&block), Some(0.0));
        assert_eq!(Metric::CpuShare.of(&Block::default()), None);
        for metric in [
            Metric::OwnShare,
            Metric::Calls,
            Metric::Wakes,
            Metric::Faults,
            Metric::FlushesPerGib,
            Metric::Runs,
        ] {
            assert_eq!(metric.of(&block), None);
        }
        assert_eq!(Metric::NsPerOp.of(&Block::default()), None);
    }
}
