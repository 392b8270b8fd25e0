// SPDX-License-Identifier: GPL-2.0
//! `dmaplane numa`: what it costs to reach memory of a NUMA node from each other.
//!
//! # What is measured
//!
//! Every node that has CPUs is measured with every node that has memory. The memory is buffers
//! with strict placement, mapped; where their pages really are is asked (`BUF_QUERY`) each time
//! before anything is measured, and pages elsewhere end the measurement.
//!
//! - *read*, *write*, *copy*: a thread on each CPU of the node (or fewer: `--threads`) goes
//!   through a part of its own, from its begin to its end and again, line by line, with the
//!   vectors that each such CPU has (16 bytes on x86-64). Bytes of all threads by the time,
//!   0.1 s. A store first fetches its line, which is not counted; a copy counts its bytes once.
//! - *latency*: one thread follows a chain through all lines in random order, one load after
//!   the other. Half a round, or 0.1 s. Buffers are mapped by small pages, so that it has page
//!   walks in it, as every program has that uses them at random.
//!
//! All threads' parts together are four times all last-level caches of a node, the chain four
//! times the largest one, if the node with the least free memory has that. `--size` says
//! another one for both.
//!
//! Each of several runs visits all pairs, every other one from the last to the first, so that
//! what drifts (frequency, temperature, neighbours) is spread over all of them. Each visit has
//! new buffers. What is told is the median of the runs, the least and the most.

mod chain;
mod machine;
mod measure;
mod report;
mod sizing;
mod spread;
mod svg;

use std::{
    fs,
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use dmaplane::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::thread::{sched_getaffinity, CpuSet};

use crate::failure::Failure;
use crate::size;
use machine::{Machine, Node};
use measure::Sample;
use report::{Pair, Placed, Report};
use spread::Spread;

/// Bytes that are moved at once, and that a step of the chain is from the next.
const LINE: usize = 64;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// Bytes to go through, instead of four times the last-level caches
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    size: Option<u64>,
    /// Threads that read, write and copy, at most; otherwise one on each CPU of the node
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// Visits to each pair of nodes
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Write heat maps to this file, as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Places of a pair's nodes in the list of all.
type Places = (usize, usize);

/// Runs it.
pub fn execute(args: &Args) -> Result<(), Failure> {
    let begin = Instant::now();
    if let Some(path) = &args.svg {
        // Before the long work, not after it.
        writable(path)?;
    }
    let allowed = sched_getaffinity(None).ok();
    let usable = |cpu: u32| {
        (cpu as usize) < CpuSet::MAX_CPU && allowed.is_none_or(|set| set.is_set(cpu as usize))
    };
    let machine = Machine::read(Path::new("/sys"), usable)?;
    let pairs = pairs(&machine)?;
    let nodes = machine.memory_nodes().into_iter();
    let free = nodes.map(|i| machine.nodes[i].free).min().unwrap_or(0);
    let sizes = sizing::sizes(machine.cache, free, args.size)?;
    let context = Context::open()?;

    let lines = u32::try_from(sizes.latency / LINE as u64).unwrap_or(u32::MAX);
    let next = chain::cycle(lines);
    let bar = bar(u64::from(args.runs) * pairs.len() as u64, args.json);
    let mut samples: Vec<Vec<Sample>> = vec![vec![]; pairs.len()];
    for run in 0..args.runs {
        for i in order(run, pairs.len()) {
            let (from, to) = (&machine.nodes[pairs[i].0], &machine.nodes[pairs[i].1]);
            bar.set_message(format!(
                "run {} of {}: memory {} from CPUs {}",
                run + 1,
                args.runs,
                to.number,
                from.number
            ));
            let cpus = cpus(from, args.threads);
            let sample = measure::pair(&context, cpus, to.number, sizes.bandwidth, &next)?;
            samples[i].push(sample);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();

    let report = Report {
        ok: true,
        runs: args.runs,
        size: report::Size {
            bandwidth_bytes: sizes.bandwidth,
            latency_bytes: sizes.latency,
            cache_of_node_bytes: machine.cache.map(|cache| cache.of_node),
            largest_cache_bytes: machine.cache.map(|cache| cache.largest),
            capped: sizes.capped,
        },
        notes: notes(&machine, &sizes, args.size),
        pairs: pairs
            .iter()
            .zip(&samples)
            .map(|(&pair, samples)| in_figures(&machine, pair, args.threads, samples))
            .collect(),
        nodes: machine.nodes.iter().map(in_report).collect(),
        distances: machine.distances,
        seconds: begin.elapsed().as_secs_f64(),
    };
    if let Some(path) = &args.svg {
        write(path, &svg::draw(&report))?;
    }
    let text = if args.json {
        report.json()
    } else {
        report.table()
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

/// Each node that has CPUs with each that has memory.
fn pairs(machine: &Machine) -> Result<Vec<Places>, Failure> {
    let (cpus, memory) = (machine.cpu_nodes(), machine.memory_nodes());
    if cpus.is_empty() {
        return Err(Failure::Limit(
            "no node has a CPU that this process may use: see `taskset -p $$`".to_owned(),
        ));
    }
    let pairs = cpus
        .iter()
        .flat_map(|&c| memory.iter().map(move |&m| (c, m)));
    Ok(pairs.collect())
}

/// In which order a run visits the pairs.
fn order(run: u32, pairs: usize) -> Vec<usize> {
    let forth = 0..pairs;
    if run % 2 == 0 {
        forth.collect()
    } else {
        forth.rev().collect()
    }
}

/// The CPUs of a node that measure.
fn cpus(node: &Node, threads: Option<u32>) -> &[u32] {
    let most = threads.map_or(usize::MAX, |threads| threads as usize);
    &node.cpus[..node.cpus.len().min(most)]
}

/// The bar on stderr; it shows nothing when stderr is no terminal or programs read the output.
fn bar(visits: u64, json: bool) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(visits), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar
}

fn in_report(node: &Node) -> report::Node {
    report::Node {
        node: node.number,
        cpus: node.cpus.clone(),
        memory_bytes: node.total,
        measured_memory: node.memory,
    }
}

fn in_figures(
    machine: &Machine,
    (from, to): Places,
    threads: Option<u32>,
    samples: &[Sample],
) -> Pair {
    const GIB: f64 = (1u64 << 30) as f64;
    let spread = |of: &dyn Fn(&Sample) -> f64| Spread::new(samples.iter().map(of).collect());
    let rate = |i: usize| spread(&|sample| sample.rates[i] / GIB);
    let mut pages_per_node = vec![];
    for sample in samples {
        measure::add(&mut pages_per_node, &sample.pages_per_node);
    }
    Pair {
        cpu_node: machine.nodes[from].number,
        memory_node: machine.nodes[to].number,
        distance: machine.distances[from][to],
        threads: cpus(&machine.nodes[from], threads).len(),
        placement: Placed {
            verified: true, // or there would be no sample
            pages_per_node,
        },
        read_gib_per_s: rate(0),
        write_gib_per_s: rate(1),
        copy_gib_per_s: rate(2),
        latency_ns: spread(&|sample| sample.latency_ns),
    }
}

/// What to know before the figures are used.
fn notes(machine: &Machine, sizes: &sizing::Sizes, asked: Option<u64>) -> Vec<String> {
    let mut notes = vec![];
    for node in &machine.nodes {
        if !node.memory && node.total > 0 {
            notes.push(format!(
                "node {} has only memory kept for what can be moved, in which buffers cannot be",
                node.number
            ));
        }
    }
    let Some(cache) = machine.cache else {
        if asked.is_none() {
            notes.push(format!(
                "sysfs does not tell the size of the caches; {} was assumed, --size says how much to \
                 go through",
                size::show(sizing::UNKNOWN.largest)
            ));
        }
        return notes;
    };
    let why = if sizes.capped {
        "there is no more free memory"
    } else {
        "as was asked for"
    };
    let few = [
        ("bandwidth", sizes.bandwidth, cache.of_node),
        ("latency", sizes.latency, cache.largest),
    ];
    for (what, bytes, cache) in few {
        if bytes < cache * sizing::TIMES {
            notes.push(format!(
                "{what}: {} is less than {} times the caches' {} ({why}), so that they take part",
                size::show(bytes),
                sizing::TIMES,
                size::show(cache)
            ));
        }
    }
    notes
}

/// Fails now if a file could not be put there later.
fn writable(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(Failure::file(path, "is a directory: name a file in it"));
    }
    let part = part_of(path);
    fs::write(&part, "").map_err(|e| Failure::file(path, e))?;
    fs::remove_file(&part).map_err(|e| Failure::file(part, e))
}

/// The file appears when it is complete, in place of one of that name.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let part = part_of(path);
    fs::write(&part, text)
        .and_then(|()| fs::rename(&part, path))
        .map_err(|e| Failure::file(path, e))
        .inspect_err(|_| {
            // Already failing: what is left of the file is of no use.
            let _ = fs::remove_file(&part);
        })
}

fn part_of(path: &Path) -> PathBuf {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    part.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_with_memory() {
        let sysfs = machine::tests::sysfs();
        let machine = Machine::read(sysfs.path(), |_| true).unwrap();
        let pairs = pairs(&machine).unwrap();
        assert_eq!(pairs.len(), 9);
        assert!(pairs.contains(&(3, 2)) && !pairs.iter().any(|p| p.0 == 2 || p.1 == 3));
        let none = Machine::read(sysfs.path(), |_| false).unwrap();
        let said = super::pairs(&none).unwrap_err();
        assert!(said.to_string().contains("taskset"), "{said}");
    }

    #[test]
    fn drift_is_spread() {
        assert_eq!(order(0, 3), [0, 1, 2]);
        assert_eq!(order(1, 3), [2, 1, 0]);
        assert_eq!(order(2, 3), [0, 1, 2]);
    }

    #[test]
    fn figures_of_a_pair() {
        let sysfs = machine::tests::sysfs();
        let machine = Machine::read(sysfs.path(), |_| true).unwrap();
        let sample = |gib: f64| Sample {
            rates: [gib, 2.0 * gib, 3.0 * gib].map(|rate| rate * f64::from(1 << 30)),
            latency_ns: 100.0 * gib,
            pages_per_node: vec![0, 0, 0, 7],
        };
        let samples = [sample(3.0), sample(1.0), sample(2.0)];
        let pair = in_figures(&machine, (1, 2), Some(1), &samples);
        assert_eq!((pair.cpu_node, pair.memory_node), (2, 3));
        assert_eq!((pair.distance, pair.threads), (30, 1));
        assert_eq!(pair.copy_gib_per_s.median, 6.0);
        assert_eq!(pair.latency_ns.max, 300.0);
        assert_eq!(pair.placement.pages_per_node, [0, 0, 0, 21]);
        let all = in_figures(&machine, (1, 2), Some(9), &samples);
        assert_eq!(all.threads, 2);
    }

    #[test]
    fn notes_are_said_when_they_are_due() {
        let sysfs = machine::tests::sysfs();
        let mut machine = Machine::read(sysfs.path(), |_| true).unwrap();
        let of = |machine: &Machine, free, asked| {
            let sizes = sizing::sizes(machine.cache, free, asked).unwrap();
            notes(machine, &sizes, asked).join("; ")
        };
        assert_eq!(of(&machine, 1 << 30, None), "");
        assert_eq!(of(&machine, 1 << 30, Some(64 << 20)), "");
        assert!(of(&machine, 1 << 30, Some(1 << 20)).contains("latency: 1 MiB is less than 4"));
        let capped = of(&machine, 64 << 20, None);
        assert!(capped.starts_with("bandwidth: 24 MiB") && capped.contains("no more free"));
        assert!(!capped.contains("latency"), "{capped}");
        machine.cache = None;
        assert!(of(&machine, 1 << 30, None).contains("32 MiB was assumed"));
        machine.nodes[3].total = 1 << 30;
        assert!(of(&machine, 1 << 30, Some(4096)).contains("node 4 has only"));
    }

    #[test]
    fn files_appear_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("heat.svg");
        writable(&path).unwrap();
        assert!(!path.exists());
        write(&path, "<svg/>").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "<svg/>");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(writable(dir.path()).unwrap_err().code(), 1);
        assert!(writable(&dir.path().join("no/heat.svg")).is_err());
    }
}
