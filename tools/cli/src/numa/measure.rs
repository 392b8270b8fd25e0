// SPDX-License-Identifier: GPL-2.0
//! The measured loops, and the threads that run them.
//!
//! A thread pins itself to its CPU, makes its buffers on the memory node, asks where their
//! pages are, maps them (which makes page tables near the CPU), and goes over them once before
//! time counts. All threads begin together and end together, when the time is over.
//!
//! The compiler cannot remove the loops. What is read ends in a `black_box`, and came from a
//! mapping made by a system call, of whose contents the compiler knows nothing. What is written
//! can be seen by whoever has the mapping, which `black_box` is shown after each block.

use std::{
    hint::{black_box, spin_loop},
    ops::Range,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use dmaplane::{Buffer, BufferOptions, Context, Errno, Mapping, Placement};
use rustix::thread::{sched_setaffinity, CpuSet};

use super::sizing::part;
use super::LINE;
use crate::failure::Failure;
use crate::size;

/// How long each loop runs, at least.
const TIME: Duration = Duration::from_millis(100);
/// After so many bytes it looks at the clock.
const BLOCK: usize = 64 << 10;

/// What one visit to a pair of nodes measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Bytes per second that were read, written and copied, of all threads.
    pub rates: [f64; 3],
    /// Nanoseconds from a load to the next one that needs it.
    pub latency_ns: f64,
    /// Pages of all its buffers on each node, as the module counted them.
    pub pages_per_node: Vec<u64>,
}

/// What a thread measured, and pages of its buffers on each node. None if another one failed.
type Measured<T> = Result<Option<(T, Vec<u64>)>, Failure>;

/// Measures memory of `node` from `cpus`, of which latency takes the first. `next` is the chain.
pub fn pair(
    context: &Context,
    cpus: &[u32],
    node: u32,
    bytes: u64,
    next: &[u32],
) -> Result<Sample, Failure> {
    let length = part(bytes, cpus.len());
    let each = on_each(cpus, |gate| stream(context, node, length, gate))?;
    let first = cpus.get(..1).unwrap_or_default();
    let chased = on_each(first, |_| chase_chain(context, node, next))?;
    let mut sample = Sample {
        rates: [0.0; 3],
        latency_ns: 0.0,
        pages_per_node: vec![],
    };
    for (rates, pages) in each {
        (0..3).for_each(|i| sample.rates[i] += rates[i]);
        add(&mut sample.pages_per_node, &pages);
    }
    for (latency, pages) in chased {
        sample.latency_ns = latency;
        add(&mut sample.pages_per_node, &pages);
    }
    Ok(sample)
}

/// Adds up pages per node.
pub fn add(sum: &mut Vec<u64>, pages: &[u64]) {
    sum.resize(sum.len().max(pages.len()), 0);
    sum.iter_mut().zip(pages).for_each(|(sum, n)| *sum += n);
}

// ---- Threads ---------------------------------------------------------------

/// Where threads wait for each other. They spin, so that all go on at the same time; the
/// failure of one lets the others go, too.
struct Gate {
    threads: usize,
    arrived: AtomicUsize,
    broken: AtomicBool,
}

impl Gate {
    /// Waits until all have arrived for the `round`th time; false if one never will.
    fn pass(&self, round: usize) -> bool {
        self.arrived.fetch_add(1, Ordering::AcqRel);
        let mut spins = 0u32;
        while self.arrived.load(Ordering::Acquire) < self.threads * round {
            if self.broken.load(Ordering::Acquire) {
                return false;
            }
            // Should there be fewer CPUs than threads.
            spins = spins.wrapping_add(1);
            if spins % 1024 == 0 {
                thread::yield_now();
            }
            spin_loop();
        }
        true
    }
}

/// Runs `work` in a thread on each CPU; none of what they measured if one failed.
fn on_each<T: Send>(
    cpus: &[u32],
    work: impl Fn(&Gate) -> Result<Option<T>, Failure> + Sync,
) -> Result<Vec<T>, Failure> {
    let gate = Gate {
        threads: cpus.len(),
        arrived: AtomicUsize::new(0),
        broken: AtomicBool::new(false),
    };
    let breaks = |_: &Failure| gate.broken.store(true, Ordering::Release);
    let one = |cpu| pin(cpu).and_then(|()| work(&gate)).inspect_err(breaks);
    let all = thread::scope(|scope| {
        let threads: Vec<_> = cpus
            .iter()
            .map(|&cpu| {
                let thread = thread::Builder::new().spawn_scoped(scope, move || one(cpu));
                thread
                    .map_err(|e| Failure::Limit(format!("cannot start a thread: {e}")))
                    .inspect_err(breaks)
            })
            .collect();
        let ends = threads.into_iter().map(|thread| match thread?.join() {
            Ok(end) => end,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        // All of them, so that a failure is found rather than what was let go because of it.
        ends.collect::<Vec<_>>()
    });
    let all: Vec<Option<T>> = all.into_iter().collect::<Result<_, _>>()?;
    Ok(all.into_iter().flatten().collect())
}

/// Keeps the thread that calls on one CPU.
fn pin(cpu: u32) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    set.set(cpu as usize);
    sched_setaffinity(None, &set).map_err(|e| {
        Failure::Limit(format!(
            "no thread can run on CPU {cpu} ({e}): see `taskset -p $$` and whether it is online"
        ))
    })
}

// ---- Memory ----------------------------------------------------------------

/// A buffer on a node, and a view of it.
struct Area {
    map: Mapping,
    pages_per_node: Vec<u64>,
}

impl Area {
    /// Fails unless all pages are on `node`.
    fn new(context: &Context, node: u32, length: u64) -> Result<Self, Failure> {
        let options = BufferOptions {
            node: Some(node),
            strict: true,
            ..BufferOptions::default()
        };
        let buffer = Buffer::create(context, length, options).map_err(|e| match e.errno() {
            Errno::NOSPC => Failure::Limit(format!(
                "node {node} has no room for a buffer of {}: give a smaller --size, or free memory \
                 there",
                size::show(length)
            )),
            _ => e.into(),
        })?;
        let placement = buffer.query()?;
        verify(&placement, node)?;
        // The mapping keeps the memory when the buffer goes.
        Ok(Area {
            map: buffer.map()?,
            pages_per_node: placement.pages_per_node,
        })
    }
}

/// Whether all pages are where they were asked for.
fn verify(placement: &Placement, node: u32) -> Result<(), Failure> {
    let per_node = &placement.pages_per_node;
    let there = per_node.get(node as usize).copied().unwrap_or(0);
    if there == placement.pages && per_node.iter().sum::<u64>() == there {
        return Ok(());
    }
    Err(Failure::Limit(format!(
        "of the {} pages of a buffer only {there} are on node {node}, which was asked for (pages per \
         node: {per_node:?}): nothing was measured; the module must not do that, so report it",
        placement.pages
    )))
}

// ---- Loops -----------------------------------------------------------------

/// Calls `each` with one block after the other, over and over again until the time is over, or
/// once. Bytes per second.
fn blocks(length: usize, time: Option<Duration>, mut each: impl FnMut(Range<usize>)) -> f64 {
    let begin = Instant::now();
    let mut bytes = 0u64;
    loop {
        for start in (0..length).step_by(BLOCK) {
            let end = (start + BLOCK).min(length);
            each(start..end);
            bytes += (end - start) as u64;
            if time.is_some_and(|time| begin.elapsed() >= time) {
                return bytes as f64 / begin.elapsed().as_secs_f64();
            }
        }
        if time.is_none() {
            return 0.0;
        }
    }
}

/// Loads each byte, in vectors.
fn read(map: &Mapping, block: Range<usize>) {
    let mut sum = [0u64; LINE / 8];
    for at in block.step_by(LINE) {
        let mut line = [0; LINE];
        map.copy_out(at, &mut line);
        for (sum, word) in sum.iter_mut().zip(line.chunks_exact(8)) {
            *sum ^= u64::from_ne_bytes(word.try_into().unwrap_or_default());
        }
    }
    black_box(sum);
}

/// Stores each byte.
fn write(map: &mut Mapping, block: Range<usize>) {
    let line = black_box([0x5a; LINE]);
    for at in block.step_by(LINE) {
        map.copy_in(at, &line);
    }
    black_box(map);
}

/// Loads each byte and stores it elsewhere.
fn copy(from: &Mapping, to: &mut Mapping, block: Range<usize>) {
    for at in block.step_by(LINE) {
        let mut line = [0; LINE];
        from.copy_out(at, &mut line);
        to.copy_in(at, &line);
    }
    black_box(to);
}

/// Bytes per second of each loop.
fn stream(context: &Context, node: u32, length: u64, gate: &Gate) -> Measured<[f64; 3]> {
    let from = Area::new(context, node, length)?;
    let mut to = Area::new(context, node, length)?;
    let length = from.map.len();
    let mut rates = [0.0; 3];
    for (i, rate) in rates.iter_mut().enumerate() {
        let mut each = |block| match i {
            0 => read(&from.map, block),
            1 => write(&mut to.map, block),
            _ => copy(&from.map, &mut to.map, block),
        };
        blocks(length, None, &mut each);
        if !gate.pass(i + 1) {
            return Ok(None);
        }
        *rate = blocks(length, Some(TIME), each);
    }
    let mut pages = from.pages_per_node;
    add(&mut pages, &to.pages_per_node);
    Ok(Some((rates, pages)))
}

/// Each load says where the next one is. The copy of eight bytes is one load.
fn chase(map: &Mapping, mut at: usize, steps: usize) -> usize {
    for _ in 0..steps {
        let mut next = [0; 8];
        map.copy_out(at, &mut next);
        at = u64::from_ne_bytes(next) as usize;
    }
    black_box(at)
}

/// Nanoseconds per step. Half a round is not timed: it takes the place of what
/// writing the chain left in caches.
fn chase_chain(context: &Context, node: u32, next: &[u32]) -> Measured<f64> {
    let mut area = Area::new(context, node, (next.len() * LINE) as u64)?;
    for (line, &next) in next.iter().enumerate() {
        let place = u64::from(next) * LINE as u64;
        area.map.copy_in(line * LINE, &place.to_ne_bytes());
    }
    let half = next.len().div_ceil(2);
    let mut at = chase(&area.map, 0, half);
    let (begin, mut steps) = (Instant::now(), 0u64);
    while steps == 0 || begin.elapsed() < TIME {
        at = chase(&area.map, at, half);
        steps += half as u64;
    }
    let nanoseconds = begin.elapsed().as_secs_f64() * 1e9;
    Ok(Some((nanoseconds / steps as f64, area.pages_per_node)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(pages_per_node: &[u64]) -> Placement {
        Placement {
            length: 8 * 4096,
            pages: 8,
            pages_per_node: pages_per_node.to_vec(),
            options: BufferOptions {
                node: Some(1),
                strict: true,
                ..BufferOptions::default()
            },
            blocks: [0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
            mappings: 0,
            moves: 0,
        }
    }

    #[test]
    fn pages_elsewhere_are_refused() {
        assert!(verify(&placement(&[0, 8]), 1).is_ok());
        for wrong in [&[1, 7][..], &[0, 7], &[1, 8], &[8], &[]] {
            let said = verify(&placement(wrong), 1).unwrap_err();
            assert_eq!(said.code(), 3);
            assert!(said.to_string().contains(&format!("{wrong:?}")), "{said}");
        }
    }

    #[test]
    fn once_is_all_of_it_and_time_ends_the_rest() {
        let mut seen = vec![];
        blocks(BLOCK * 2 + LINE, None, |block| seen.push(block));
        assert_eq!(
            seen,
            [0..BLOCK, BLOCK..2 * BLOCK, 2 * BLOCK..2 * BLOCK + LINE]
        );
        let mut calls = 0;
        let rate = blocks(LINE, Some(Duration::from_millis(5)), |_| calls += 1);
        assert!(calls > 0 && rate > 0.0);
    }

    #[test]
    fn a_failure_lets_the_others_go() {
        let allowed = rustix::thread::sched_getaffinity(None).unwrap();
        let cpu = (0..1024).find(|&cpu| allowed.is_set(cpu as usize)).unwrap();
        let cpus = [cpu; 3];
        let numbers = AtomicUsize::new(0);
        let all = on_each(&cpus, |gate| {
            let number = numbers.fetch_add(1, Ordering::Relaxed);
            if number == 1 {
                return Err(Failure::Limit("no room".to_owned()));
            }
            Ok(gate.pass(1).then_some(number))
        });
        assert_eq!(all.unwrap_err().to_string(), "no room");
        let all = on_each(
            &cpus,
            |gate| Ok((gate.pass(1) && gate.pass(2)).then_some(1)),
        );
        assert_eq!(all.unwrap(), [1, 1, 1]);
    }

    #[test]
    fn no_such_processor() {
        let said = on_each(&[1023], |_| Ok(Some(()))).unwrap_err().to_string();
        assert!(said.contains("CPU 1023"), "{said}");
    }
}
