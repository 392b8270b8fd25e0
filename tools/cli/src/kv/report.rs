// SPDX-License-Identifier: GPL-2.0
//! What a transfer was: for programs as JSON, for people as tables. Both sides
//! make it from the same figures, except for the rate, which each takes by its
//! own clock (see the module's documentation).

use std::time::Duration;

use comfy_table::{presets::UTF8_FULL_CONDENSED, CellAlignment, Table};
use serde::Serialize;

use super::layout::Layout;
use super::manifest::Manifest;
use super::wire::Trailer;
use crate::size;

/// A transfer that reached its verdict.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether all tensors are equal.
    pub ok: bool,
    /// `send` or `recv`.
    pub role: &'static str,
    /// The other side.
    pub peer: String,
    /// Layers, the group of tensors without a number included.
    pub layers: usize,
    /// Tensors.
    pub tensors: usize,
    /// Chunks.
    pub chunks: u64,
    /// Bytes of a full chunk.
    pub chunk_bytes: u32,
    /// Bytes of payload.
    pub bytes: u64,
    /// Seconds on this side's clock.
    pub seconds: f64,
    /// Payload by those seconds.
    pub mib_per_s: f64,
    /// Latency per chunk in microseconds, measured by the sender.
    pub latency_us: Latency,
    /// Waits for credits, counted by the sender's kernel.
    pub credit_stalls: Stalls,
    /// Pages of this side's buffer on each NUMA node.
    pub pages_per_node: Vec<u64>,
    /// Tensors that differ.
    pub mismatched: usize,
    /// Every tensor.
    pub checks: Vec<Check>,
}

/// Latency per chunk in microseconds.
#[derive(Debug, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

/// Waits for credits.
#[derive(Debug, Serialize)]
pub struct Stalls {
    /// How many.
    pub count: u64,
    /// How long in all.
    pub seconds: f64,
}

/// A tensor at both sides.
#[derive(Debug, Serialize)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// Its layer.
    pub layer: Option<u32>,
    /// Its type.
    pub dtype: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its bytes.
    pub bytes: u64,
    /// CRC-32 at the sender.
    pub crc32_sent: String,
    /// CRC-32 at the receiver.
    pub crc32_received: String,
    /// Whether they are equal.
    pub ok: bool,
}

/// What a report is made from.
pub struct Facts<'a> {
    /// `send` or `recv`.
    pub role: &'static str,
    /// The other side.
    pub peer: String,
    /// What was sent.
    pub manifest: &'a Manifest,
    /// In which layers and chunks.
    pub layout: &'a Layout,
    /// Bytes of a full chunk.
    pub chunk: u32,
    /// CRCs at the receiver.
    pub received: &'a [u32],
    /// What the sender measured.
    pub trailer: &'a Trailer,
    /// On this side's clock.
    pub elapsed: Duration,
    /// Where this side's pages are.
    pub pages_per_node: Vec<u64>,
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

impl Report {
    /// Compares and counts.
    pub fn new(facts: Facts<'_>) -> Self {
        let checks: Vec<Check> = facts
            .manifest
            .tensors
            .iter()
            .enumerate()
            .map(|(i, t)| {
                let received = facts.received.get(i).copied();
                Check {
                    name: t.name.clone(),
                    layer: t.layer,
                    dtype: t.dtype.to_string(),
                    shape: t.shape.clone(),
                    bytes: t.length,
                    crc32_sent: format!("{:08x}", t.crc32),
                    crc32_received: received.map_or("-".to_owned(), |crc| format!("{crc:08x}")),
                    ok: received == Some(t.crc32),
                }
            })
            .collect();
        let mismatched = checks.iter().filter(|c| !c.ok).count();
        let bytes = facts.layout.bytes();
        let seconds = facts.elapsed.as_secs_f64();
        let mib = bytes as f64 / f64::from(1 << 20);
        Report {
            ok: mismatched == 0,
            role: facts.role,
            peer: facts.peer,
            layers: facts.layout.layers.len(),
            tensors: checks.len(),
            chunks: facts.layout.chunks(),
            chunk_bytes: facts.chunk,
            bytes,
            seconds,
            mib_per_s: if seconds > 0.0 { mib / seconds } else { 0.0 },
            latency_us: Latency {
                p50: us(facts.trailer.p50),
                p99: us(facts.trailer.p99),
                max: us(facts.trailer.max),
            },
            credit_stalls: Stalls {
                count: facts.trailer.stalls,
                seconds: facts.trailer.stall_ns as f64 / 1e9,
            },
            pages_per_node: facts.pages_per_node,
            mismatched,
            checks,
        }
    }

    /// For programs, on one line.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut tensors = Table::new();
        tensors.load_preset(UTF8_FULL_CONDENSED);
        tensors.set_header([
            "layer",
            "tensor",
            "type",
            "shape",
            "bytes",
            "CRC sent",
            "CRC received",
            "",
        ]);
        for c in &self.checks {
            tensors.add_row([
                c.layer.map_or("other".to_owned(), |l| l.to_string()),
                // A peer's words, on a terminal.
                c.name.chars().filter(|c| !c.is_control()).collect(),
                c.dtype.clone(),
                format!("{:?}", c.shape),
                c.bytes.to_string(),
                c.crc32_sent.clone(),
                c.crc32_received.clone(),
                if c.ok { "equal" } else { "DIFFERS" }.to_owned(),
            ]);
        }
        if let Some(column) = tensors.column_mut(4) {
            column.set_cell_alignment(CellAlignment::Right);
        }

        let clock = match self.role {
            "send" => "first submission to verdict, sender's clock",
            _ => "first to last immediate, receiver's clock",
        };
        let mut sum = Table::new();
        sum.load_preset(UTF8_FULL_CONDENSED);
        let mut row = |name: &str, value: String| {
            sum.add_row([name.to_owned(), value]);
        };
        row("layers", self.layers.to_string());
        let chunk = size::show(self.chunk_bytes.into());
        row("chunks", format!("{} of {chunk}", self.chunks));
        row(
            "bytes",
            format!("{} ({})", self.bytes, size::show(self.bytes)),
        );
        row(
            "MiB/s",
            format!("{:.2} ({:.3} s, {clock})", self.mib_per_s, self.seconds),
        );
        row(
            "latency per chunk",
            format!(
                "p50 {:.1} us, p99 {:.1} us, max {:.1} us (submission to completion, sender's clock)",
                self.latency_us.p50, self.latency_us.p99, self.latency_us.max
            ),
        );
        row(
            "credit stalls",
            format!(
                "{}, {:.3} s in all (at the sender)",
                self.credit_stalls.count, self.credit_stalls.seconds
            ),
        );
        row("pages per node", format!("{:?}", self.pages_per_node));
        row(
            "tensors",
            format!("{}, {} differ", self.tensors, self.mismatched),
        );
        format!("{tensors}\n{sum}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::Tensor;
    use super::*;
    use safetensors::Dtype;

    fn report(received: &[u32]) -> Report {
        let tensor = |name: &str, layer, crc32| Tensor {
            name: name.to_owned(),
            dtype: Dtype::F32,
            shape: vec![4, 64],
            offset: 0,
            length: 1024,
            layer,
            crc32,
        };
        let tensors = vec![tensor("l.0.k", Some(0), 1), tensor("odd\x1b[2J", None, 2)];
        let manifest = Manifest::new(None, tensors);
        Report::new(Facts {
            role: "send",
            peer: "10.0.0.2:18515".to_owned(),
            manifest: &manifest,
            layout: &Layout::new(&manifest, 512),
            chunk: 512,
            received,
            trailer: &Trailer {
                p50: 1500,
                stalls: 2,
                ..Trailer::default()
            },
            elapsed: Duration::from_millis(500),
            pages_per_node: vec![3],
        })
    }

    #[test]
    fn equal_and_different() {
        let good = report(&[1, 2]);
        assert!(good.ok && good.mismatched == 0);
        assert_eq!((good.layers, good.chunks, good.bytes), (2, 4, 2048));
        let bad = report(&[1, 3]);
        assert!(!bad.ok && bad.mismatched == 1);
        assert!(bad.table().contains("DIFFERS"));
        assert_eq!(report(&[]).mismatched, 2);
    }

    #[test]
    fn both_forms() {
        let json: serde_json::Value = serde_json::from_str(&report(&[1, 2]).json()).unwrap();
        assert_eq!(json["latency_us"]["p50"], 1.5);
        assert_eq!(json["credit_stalls"]["count"], 2);
        assert_eq!(json["checks"][0]["crc32_received"], "00000001");
        let table = report(&[1, 2]).table();
        assert!(
            table.contains("p50 1.5 us") && table.contains("4 of 512 bytes"),
            "{table}"
        );
        assert!(!table.contains('\x1b'));
    }
}
