// SPDX-License-Identifier: GPL-2.0
//! What was measured: for programs as JSON, for people as tables.

use comfy_table::{presets::UTF8_FULL_CONDENSED, CellAlignment, Table};
use serde::{Deserialize, Serialize};

use super::spread::{number, Spread};
use crate::size;

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// That it was measured.
    pub ok: bool,
    /// Visits to each pair.
    pub runs: u32,
    /// How much memory was gone through.
    pub size: Size,
    /// The nodes that are online.
    pub nodes: Vec<Node>,
    /// The kernel's distances between them, in their order.
    pub distances: Vec<Vec<u32>>,
    /// Each node that has CPUs with each that has memory.
    pub pairs: Vec<Pair>,
    /// What to know before the figures are used.
    pub notes: Vec<String>,
    /// How long it took.
    pub seconds: f64,
}

/// Bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Size {
    /// That all threads together read; as much again is written.
    pub bandwidth_bytes: u64,
    /// That the chain for latency goes through.
    pub latency_bytes: u64,
    /// Of all last-level caches of a node, if sysfs tells.
    pub cache_of_node_bytes: Option<u64>,
    /// Of the largest one.
    pub largest_cache_bytes: Option<u64>,
    /// Whether free memory made it smaller than it should be.
    pub capped: bool,
}

/// A node that is online.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its number.
    pub node: u32,
    /// Its CPUs, of those that this process may use.
    pub cpus: Vec<u32>,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Whether it was measured.
    pub measured_memory: bool,
}

/// A node's CPUs with a node's memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Whose CPUs.
    pub cpu_node: u32,
    /// Whose memory.
    pub memory_node: u32,
    /// The kernel's distance.
    pub distance: u32,
    /// Threads that read, wrote and copied together.
    pub threads: usize,
    /// Where the buffers were.
    pub placement: Placed,
    /// GiB per second.
    pub read_gib_per_s: Spread,
    /// GiB per second.
    pub write_gib_per_s: Spread,
    /// GiB per second copied, which is as much read and as much written.
    pub copy_gib_per_s: Spread,
    /// Nanoseconds.
    pub latency_ns: Spread,
}

/// What the module says of all buffers of a pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Placed {
    /// Each buffer was looked at before it was used, and was where it should be.
    pub verified: bool,
    /// Pages on each node, by its number.
    pub pages_per_node: Vec<u64>,
}

/// A quantity that all pairs have.
pub struct Measure {
    /// What it is.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Whether less is better.
    pub less_is_better: bool,
    /// It, of a pair.
    pub of: fn(&Pair) -> &Spread,
}

/// All of them.
pub const MEASURES: [Measure; 4] = [
    Measure {
        name: "read",
        unit: "GiB/s",
        less_is_better: false,
        of: |pair| &pair.read_gib_per_s,
    },
    Measure {
        name: "write",
        unit: "GiB/s",
        less_is_better: false,
        of: |pair| &pair.write_gib_per_s,
    },
    Measure {
        name: "copy",
        unit: "GiB/s",
        less_is_better: false,
        of: |pair| &pair.copy_gib_per_s,
    },
    Measure {
        name: "latency",
        unit: "ns",
        less_is_better: true,
        of: |pair| &pair.latency_ns,
    },
];

impl Report {
    /// For programs, on one line.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// As people say it.
    pub fn runs_in_words(&self) -> String {
        match self.runs {
            1 => "1 run".to_owned(),
            n => format!("{n} runs"),
        }
    }

    /// Numbers of the nodes that have rows in a matrix.
    pub fn rows(&self) -> Vec<u32> {
        let nodes = self.nodes.iter().filter(|node| !node.cpus.is_empty());
        nodes.map(|node| node.node).collect()
    }

    /// And those that have columns.
    pub fn columns(&self) -> Vec<u32> {
        let nodes = self.nodes.iter().filter(|node| node.measured_memory);
        nodes.map(|node| node.node).collect()
    }

    /// The pair of a row and a column.
    pub fn pair(&self, row: u32, column: u32) -> Option<&Pair> {
        let mut pairs = self.pairs.iter();
        pairs.find(|pair| (pair.cpu_node, pair.memory_node) == (row, column))
    }

    /// For people: a matrix for each quantity, and the kernel's distances beside that of latency.
    pub fn table(&self) -> String {
        let mut text = format!(
            "bandwidth: {} gone through by the threads of a node, each on its CPU; copies count once\n\
             latency: a chain through {} in random order, by one thread\n\
             median of {}, and least to most\n",
            size::show(self.size.bandwidth_bytes),
            size::show(self.size.latency_bytes),
            self.runs_in_words()
        );
        for measure in &MEASURES {
            let matrix = self.matrix(|pair| {
                let Spread {
                    median, min, max, ..
                } = (measure.of)(pair);
                let spread = format!("{}–{}", number(*min), number(*max));
                format!("{}\n{spread}", number(*median))
            });
            let mut block = format!("{}, {}\n{matrix}", measure.name, measure.unit);
            if measure.less_is_better {
                let distances = self.matrix(|pair| format!("{}\n", pair.distance));
                block = beside(
                    &block,
                    &format!("distance, as the kernel says\n{distances}"),
                );
            }
            text += &format!("\n{block}\n");
        }
        let sum = |of: fn(&Pair) -> u64| self.pairs.iter().map(of).sum::<u64>();
        text += &format!(
            "\nplacement: {} pages in all, each verified to be on the node it was asked for",
            sum(|pair| pair.placement.pages_per_node.iter().sum())
        );
        for note in &self.notes {
            text += &format!("\nnote: {note}");
        }
        text
    }

    fn matrix(&self, cell: impl Fn(&Pair) -> String) -> String {
        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED);
        let columns = self.columns();
        let names = columns.iter().map(|node| format!("memory {node}"));
        table.set_header(std::iter::once(String::new()).chain(names));
        for row in self.rows() {
            let threads = self.pairs.iter().find(|pair| pair.cpu_node == row);
            let threads = match threads.map_or(0, |pair| pair.threads) {
                1 => "1 thread".to_owned(),
                n => format!("{n} threads"),
            };
            let cells = columns.iter().map(|&column| {
                let pair = self.pair(row, column);
                pair.map_or("-".to_owned(), &cell)
            });
            table.add_row(std::iter::once(format!("CPUs {row}\n{threads}")).chain(cells));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }
}

/// Two blocks of lines, one to the right of the other.
fn beside(left: &str, right: &str) -> String {
    let width = left.lines().map(|l| l.chars().count()).max().unwrap_or(0);
    let (mut left, mut right) = (left.lines(), right.lines());
    let mut text = vec![];
    loop {
        let (l, r) = (left.next(), right.next());
        if l.is_none() && r.is_none() {
            return text.join("\n");
        }
        let line = format!(
            "{:width$}   {}",
            l.unwrap_or_default(),
            r.unwrap_or_default()
        );
        text.push(line.trim_end().to_owned());
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Nodes 0 and 2 with CPUs and memory, 3 with memory only.
    pub fn report() -> Report {
        let spread = |value: f64| Spread::new(vec![value, value * 1.5, value * 1.25]);
        let node = |node, cpus: &[u32]| Node {
            node,
            cpus: cpus.to_vec(),
            memory_bytes: 1 << 30,
            measured_memory: true,
        };
        let distances = vec![vec![10, 20, 32], vec![20, 10, 32], vec![32, 32, 10]];
        let nodes = vec![node(0, &[0, 1]), node(2, &[2]), node(3, &[])];
        let mut pairs = vec![];
        for (row, threads) in [(0, 2), (1, 1)] {
            for column in 0..3 {
                let mut pages_per_node = vec![0; 4];
                pages_per_node[nodes[column].node as usize] = 512;
                let distance: u32 = distances[row][column];
                pairs.push(Pair {
                    cpu_node: nodes[row].node,
                    memory_node: nodes[column].node,
                    distance,
                    threads,
                    placement: Placed {
                        verified: true,
                        pages_per_node,
                    },
                    read_gib_per_s: spread(400.0 / f64::from(distance)),
                    write_gib_per_s: spread(200.0 / f64::from(distance)),
                    copy_gib_per_s: spread(100.0 / f64::from(distance)),
                    latency_ns: spread(8.0 * f64::from(distance)),
                });
            }
        }
        Report {
            ok: true,
            runs: 3,
            size: Size {
                bandwidth_bytes: 256 << 20,
                latency_bytes: 64 << 20,
                cache_of_node_bytes: Some(64 << 20),
                largest_cache_bytes: None,
                capped: false,
            },
            nodes,
            distances,
            pairs,
            notes: vec!["one & only".to_owned()],
            seconds: 1.5,
        }
    }

    #[test]
    fn json_and_back() {
        let report = report();
        let json = report.json();
        assert!(!json.contains('\n'));
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["ok"], true);
        assert_eq!(json["pairs"][5]["memory_node"], 3);
        assert_eq!(json["pairs"][5]["latency_ns"]["median"], 320.0);
        assert_eq!(json["pairs"][5]["placement"]["pages_per_node"][3], 512);
        assert_eq!(json["size"]["largest_cache_bytes"], serde_json::Value::Null);
        assert_eq!(json["distances"][0][1], 20);
    }

    #[test]
    fn table_has_all_pairs_and_distances() {
        let table = report().table();
        for part in [
            "read, GiB/s",
            "copy, GiB/s",
            "50.0",
            "40.0–60.0",
            "distance, as",
            " 32 ",
            "CPUs 2",
            "1 thread ",
            "memory 3",
            "3072 pages",
            "note: one & only",
        ] {
            assert!(table.contains(part), "{part} is not in\n{table}");
        }
        assert!(!table.contains("CPUs 3"), "{table}");
        assert!(table.contains("median of 3 runs,"), "{table}");
    }
}
