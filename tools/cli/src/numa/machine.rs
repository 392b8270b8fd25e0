// SPDX-License-Identifier: GPL-2.0
//! What sysfs says of the machine: nodes, their CPUs and memory, distances, caches.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::failure::Failure;
use crate::size;

/// An online node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub number: u32,
    /// Its CPUs that this process may use, in the kernel's order.
    pub cpus: Vec<u32>,
    /// Whether buffers can be there: it has memory, and not only such as is kept for what
    /// can be moved.
    pub memory: bool,
    /// Bytes of memory, and those that are free.
    pub total: u64,
    /// Bytes free.
    pub free: u64,
}

/// The last level of caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cache {
    /// Bytes of all such caches of the node that has most.
    pub of_node: u64,
    /// Bytes of the largest one.
    pub largest: u64,
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The nodes that are online.
    pub nodes: Vec<Node>,
    /// The kernel's distance from each of them to each.
    pub distances: Vec<Vec<u32>>,
    /// None where sysfs does not tell.
    pub cache: Option<Cache>,
}

impl Machine {
    /// Reads it from `sysfs`; of CPUs those that are `usable`.
    pub fn read(sysfs: &Path, usable: impl Fn(u32) -> bool) -> Result<Self, Failure> {
        let system = sysfs.join("devices/system");
        let online = list_in(&system.join("node/online"))?;
        let with_memory = list_in(&system.join("node/has_normal_memory"))?;
        let (mut nodes, mut distances) = (vec![], vec![]);
        for &number in &online {
            let dir = system.join(format!("node/node{number}"));
            let mut cpus = list_in(&dir.join("cpulist"))?;
            cpus.retain(|&cpu| usable(cpu));
            let path = dir.join("distance");
            let row: Option<Vec<u32>> = read(&path)?
                .split_whitespace()
                .map(|n| n.parse().ok())
                .collect();
            let row = row
                .filter(|row| row.len() == online.len())
                .ok_or_else(|| Failure::file(&path, "not one distance for each online node"))?;
            distances.push(row);
            let path = dir.join("meminfo");
            let meminfo = read(&path)?;
            let bytes = |name: &str| {
                kib(&meminfo, name).ok_or_else(|| Failure::file(&path, format!("has no {name}")))
            };
            nodes.push(Node {
                number,
                cpus,
                memory: with_memory.contains(&number),
                total: bytes("MemTotal")?,
                free: bytes("MemFree")?,
            });
        }
        let cache = last_level(&system.join("cpu"), &nodes);
        Ok(Machine {
            nodes,
            distances,
            cache,
        })
    }

    /// Places of the nodes whose CPUs measure.
    pub fn cpu_nodes(&self) -> Vec<usize> {
        self.places(|node| !node.cpus.is_empty())
    }

    /// Places of the nodes whose memory is measured.
    pub fn memory_nodes(&self) -> Vec<usize> {
        self.places(|node| node.memory)
    }

    fn places(&self, is: impl Fn(&Node) -> bool) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|&i| is(&self.nodes[i]))
            .collect()
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|e| Failure::file(path, e))
}

fn list_in(path: &Path) -> Result<Vec<u32>, Failure> {
    let text = read(path)?;
    list(&text).ok_or_else(|| Failure::file(path, format!("`{}` is not a list", text.trim())))
}

/// Reads `0-2,5`, as sysfs has it.
fn list(text: &str) -> Option<Vec<u32>> {
    let mut numbers = vec![];
    for range in text.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        numbers.extend(first..=last);
    }
    Some(numbers)
}

/// The bytes of `Node 0 NAME: 123 kB`.
fn kib(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.split_once(&format!(" {name}:")))?;
    let number: u64 = line.1.split_whitespace().next()?.parse().ok()?;
    number.checked_mul(1024)
}

/// Of each CPU the cache of the highest level, once for all that share it.
fn last_level(cpus: &Path, nodes: &[Node]) -> Option<Cache> {
    let mut cache = Cache {
        of_node: 0,
        largest: 0,
    };
    for node in nodes {
        let each: BTreeMap<(u32, String), u64> = node
            .cpus
            .iter()
            .filter_map(|cpu| last_of(&cpus.join(format!("cpu{cpu}/cache"))))
            .collect();
        cache.of_node = cache.of_node.max(each.values().sum());
        cache.largest = cache.largest.max(each.into_values().max().unwrap_or(0));
    }
    (cache.largest > 0).then_some(cache)
}

/// Level, sharers and bytes of a CPU's last cache.
fn last_of(dir: &Path) -> Option<((u32, String), u64)> {
    let one = |dir: PathBuf| {
        let value = |name: &str| {
            let text = fs::read_to_string(dir.join(name)).ok()?;
            Some(text.trim().to_owned())
        };
        let level: u32 = value("level")?.parse().ok()?;
        let bytes = size::parse(&value("size")?).ok()?;
        let data = value("type")? != "Instruction" && bytes > 0;
        data.then_some(((level, value("shared_cpu_list")?), bytes))
    };
    let entries = fs::read_dir(dir).ok()?.flatten();
    entries.filter_map(|entry| one(entry.path())).max()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Nodes 0 and 2 with two CPUs and a cache for both, 3 with memory only, 4 without; 1 is
    /// offline.
    pub fn sysfs() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let system = dir.path().join("devices/system");
        write(system.join("node/online"), "0,2-4\n");
        write(system.join("node/has_normal_memory"), "0,2-3\n");
        let node = |number: u32, cpus: &str, distance: &str, free: u32| {
            let dir = system.join(format!("node/node{number}"));
            write(dir.join("cpulist"), &format!("{cpus}\n"));
            write(dir.join("distance"), &format!("{distance}\n"));
            let meminfo = format!(
                "Node {number} MemTotal:       {} kB\nNode {number} MemFree:   {free} kB\n\
                 Node {number} MemUsed:      1 kB\n",
                free * 2
            );
            write(dir.join("meminfo"), &meminfo);
        };
        node(0, "0-1", "10 20 30 40", 2000);
        node(2, "2-3", "20 10 30 40", 1000);
        node(3, "", "30 30 10 40", 500);
        node(4, "4", "40 40 40 10", 0);
        let cache = |cpu: u32, index: u32, level: u32, kind: &str, bytes: &str, shared: &str| {
            let dir = system.join(format!("cpu/cpu{cpu}/cache/index{index}"));
            write(dir.join("level"), &format!("{level}\n"));
            write(dir.join("type"), kind);
            write(dir.join("size"), bytes);
            write(dir.join("shared_cpu_list"), shared);
        };
        for cpu in 0..5 {
            cache(cpu, 0, 1, "Data", "32K\n", &cpu.to_string());
            cache(cpu, 1, 1, "Instruction", "64K\n", &cpu.to_string());
        }
        for cpu in 0..2 {
            cache(cpu, 2, 3, "Unified", "8192K\n", "0-1");
        }
        for cpu in 2..4 {
            cache(cpu, 2, 3, "Unified", "6144K\n", &cpu.to_string());
        }
        dir
    }

    #[test]
    fn nodes_and_distances() {
        let sysfs = sysfs();
        let machine = Machine::read(sysfs.path(), |cpu| cpu != 1).unwrap();
        let numbers: Vec<_> = machine.nodes.iter().map(|n| n.number).collect();
        assert_eq!(numbers, [0, 2, 3, 4]);
        assert_eq!(machine.nodes[0].cpus, [0]);
        assert_eq!(machine.nodes[1].free, 1000 << 10);
        assert_eq!(machine.nodes[1].total, 2000 << 10);
        assert_eq!(machine.cpu_nodes(), [0, 1, 3]);
        assert_eq!(machine.memory_nodes(), [0, 1, 2]);
        assert_eq!(machine.distances[2], [30, 30, 10, 40]);
    }

    #[test]
    fn caches_count_once_for_all_that_share_them() {
        let sysfs = sysfs();
        let cache = |usable: fn(u32) -> bool| Machine::read(sysfs.path(), usable).unwrap().cache;
        let expected = Cache {
            of_node: 12 << 20,
            largest: 8 << 20,
        };
        assert_eq!(cache(|_| true), Some(expected));
        // One that has no third level: its second or first.
        assert_eq!(cache(|cpu| cpu == 4).unwrap().largest, 32 << 10);
        fs::remove_dir_all(sysfs.path().join("devices/system/cpu")).unwrap();
        assert_eq!(cache(|_| true), None);
    }

    #[test]
    fn lists() {
        assert_eq!(list("\n"), Some(vec![]));
        assert_eq!(list("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(list("0-"), None);
        assert_eq!(list("x"), None);
    }

    #[test]
    fn says_which_file_is_wrong() {
        let sysfs = sysfs();
        let path = sysfs.path().join("devices/system/node/node3/distance");
        fs::write(&path, "10 20\n").unwrap();
        let said = Machine::read(sysfs.path(), |_| true).unwrap_err();
        assert!(said.to_string().contains("node3/distance"), "{said}");
        fs::remove_file(path).unwrap();
        assert_eq!(Machine::read(sysfs.path(), |_| true).unwrap_err().code(), 1);
    }
}
