// SPDX-License-Identifier: GPL-2.0
//! Fuzzes /dev/dmaplane: all commands, rings and mappings, from several threads on
//! several contexts, some of them shared. Prints KTAP.
//!
//! An input is a byte string; `action` makes actions of it, `exec` and what it calls
//! do them and look whether what must hold does (`call`, `rings`). On a kernel with
//! KCOV, inputs that reach new places of the module are kept and changed (`corpus`,
//! `kcov`); on others all are fresh.
//!
//! All that is random comes from the seed. The threads' timing does not, nor, with
//! coverage, which inputs are kept: a run with several threads is not repeated exactly.
//! `--threads 1 --seed S --steps N` is, on a kernel without KCOV, but for what the
//! network does; `--replay FILE` does the inputs that a failed run left in `--out`.
//!
//! Ends by itself: every wait is bounded, a thread that waits without bound is sent
//! signals, and one that is stuck in the kernel is shown and ends the run.

mod abi;
mod action;
mod call;
mod choice;
mod connect;
mod corpus;
mod entries;
mod exec;
mod files;
mod kcov;
mod memory;
mod objects;
mod rings;
mod system;
mod uring;
mod views;
mod watch;
mod world;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use corpus::Corpus;
use kcov::{Coverage, Trace};
use world::{lock, Shared};

/// Fuzzes /dev/dmaplane.
#[derive(Parser)]
struct Args {
    /// How long, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What all that is random is made of.
    #[arg(long)]
    seed: Option<u64>,
    #[arg(long, default_value_t = 4)]
    threads: usize,
    /// Contexts that all threads use, besides one of each thread's own.
    #[arg(long, default_value_t = 3)]
    contexts: usize,
    /// Inputs of each thread; 0: as many as there is time for.
    #[arg(long, default_value_t = 0)]
    steps: u64,
    /// Inputs to begin with, one a file.
    #[arg(long)]
    corpus: Option<PathBuf>,
    /// Inputs to do, in hexadecimal, one a line; nothing else is done.
    #[arg(long)]
    replay: Option<PathBuf>,
    /// Where coverage, inputs and the result go.
    #[arg(long)]
    out: Option<PathBuf>,
    /// The module's file; coverage is then asked for, and none is a failure.
    #[arg(long)]
    module: Option<PathBuf>,
}

/// One thread: does inputs until the time is over.
fn fuzz(
    shared: Arc<Shared>,
    number: usize,
    seed: u64,
    steps: u64,
    end: Instant,
    replay: Arc<Vec<Vec<u8>>>,
) {
    let name = format!("thread {number}");
    let mut rng =
        ChaCha8Rng::seed_from_u64(seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut worker = match exec::Worker::new(&shared, name) {
        Ok(worker) => worker,
        Err(e) => panic!("{}: {e}", world::DEVICE),
    };
    let trace = shared.coverage.as_ref().map(|_| Trace::new());
    let trace = match trace.transpose() {
        Ok(trace) => trace,
        Err(e) => {
            worker.caller.violation(format!("no coverage: {e}"));
            None
        }
    };
    if replay.is_empty() {
        worker.tour();
        shared.touring.fetch_sub(1, Ordering::Relaxed);
        while shared.touring.load(Ordering::Relaxed) > 0 && Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
    let mut recent: VecDeque<Vec<u8>> = VecDeque::new();
    let mut done = 0u64;
    let over = || shared.stop.load(Ordering::Relaxed) || Instant::now() >= end;
    while !over() && (steps == 0 || done < steps) {
        let input = match (replay.is_empty(), replay.get(done as usize)) {
            (true, _) => shared.corpus.next(&mut rng),
            (false, Some(input)) => input.clone(),
            (false, None) => break,
        };
        recent.push_back(input.clone());
        if recent.len() > 32 {
            recent.pop_front();
        }
        let mut new = 0;
        for action in action::parse(&input) {
            if over() {
                break;
            }
            worker.run(action);
            if let (Some(trace), Some(coverage)) = (&trace, &shared.coverage) {
                new += trace.collect(coverage);
            }
        }
        if new > 0 {
            shared.corpus.keep(&input);
        }
        done += 1;
        shared.programs.fetch_add(1, Ordering::Relaxed);
    }
    worker.drain(&worker.own);
    if let (Some(trace), Some(coverage)) = (&trace, &shared.coverage) {
        trace.collect(coverage);
    }
    if let (Some(out), false) = (&shared.out, lock(&shared.violations).is_empty()) {
        let hex = |input: &Vec<u8>| {
            let digits: Vec<_> = input.iter().map(|b| format!("{b:02x}")).collect();
            digits.concat()
                + "
"
        };
        let text: String = recent.iter().map(hex).collect();
        let _ = std::fs::write(out.join(format!("inputs.{number}")), text);
    }
}

fn read_replay(path: &Path) -> Result<Vec<Vec<u8>>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let byte = |pair: &[u8]| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    text.lines().map(|line| line.trim().as_bytes().chunks(2).map(byte).collect()).collect()
}

fn result(number: &mut u32, good: bool, name: &str) -> bool {
    *number += 1;
    println!("{} {number} {name}", if good { "ok" } else { "not ok" });
    good
}

fn run(args: &Args) -> Result<bool> {
    let seed = args.seed.unwrap_or_else(|| rand_seed().unwrap_or(1));
    println!("KTAP version 1\n1..{}", if args.module.is_some() { 5 } else { 4 });
    println!("# seed {seed}, {} threads, {} s", args.threads, args.seconds);
    watch::limits()?;
    let replay = args.replay.as_deref().map(read_replay).transpose()?.unwrap_or_default();
    let corpus = args.corpus.as_deref().map(Corpus::load).transpose()?.unwrap_or_default();
    let coverage = args.module.as_deref().map(Coverage::new).transpose()?.flatten();
    if let Some(out) = &args.out {
        std::fs::create_dir_all(out)?;
    }
    let shared = Shared::new(args.contexts, corpus, coverage, args.out.clone())?;
    let shared = Arc::new(shared);
    let begin = Instant::now();
    let end = begin + Duration::from_secs(args.seconds);
    let replay = Arc::new(replay);
    if replay.is_empty() {
        shared.touring.store(args.threads as u32, Ordering::Relaxed);
    }
    let threads: Vec<_> = (0..args.threads)
        .map(|number| {
            let (shared, replay, steps) = (shared.clone(), replay.clone(), args.steps);
            std::thread::spawn(move || fuzz(shared, number, seed, steps, end, replay))
        })
        .collect();
    let mut rng = ChaCha8Rng::seed_from_u64(!seed);
    watch::until(&shared, begin, &mut rng, || threads.iter().all(|t| t.is_finished()));
    let died = threads.into_iter().map(|t| t.join()).filter(Result::is_err).count();
    for context in &shared.contexts {
        *lock(context) = world::Context::open(false)?;
    }
    let left = watch::end(&shared);

    let mut number = 0;
    let programs = shared.programs.load(Ordering::Relaxed);
    watch::progress(&shared, begin);
    let mut good = result(&mut number, died == 0 && programs > 0, "it ran");
    let mut never = Vec::new();
    for cmd in abi::Cmd::ALL {
        let count =
            |counts: &[std::sync::atomic::AtomicU32]| counts[*cmd as usize].load(Ordering::Relaxed);
        let (successes, failures) = (count(&shared.successes), count(&shared.failures));
        println!("# {cmd:?}: {successes} succeeded, {failures} failed");
        if successes == 0 {
            never.push(cmd);
        }
    }
    if !never.is_empty() {
        println!("# never: {never:?}");
    }
    good &= result(&mut number, never.is_empty(), "every command succeeded");
    for violation in lock(&shared.violations).iter() {
        violation.lines().for_each(|line| println!("# {line}"));
    }
    let right = lock(&shared.violations).is_empty();
    if !right {
        println!("# again: --seed {seed} --threads {} --contexts {}", args.threads, args.contexts);
    }
    good &= result(&mut number, right, "nothing happened that must not");
    for line in &left {
        println!("# left: {line}");
    }
    good &= result(&mut number, left.is_empty(), "nothing is left");
    if args.module.is_some() {
        let (seen, all) = shared.coverage.as_ref().map_or((0, 0), Coverage::count);
        println!("# coverage: {seen} of {all} places, {} inputs kept", shared.corpus.len());
        good &= result(&mut number, seen > 0, "coverage was measured");
    }
    if let Some(out) = &args.out {
        write_results(&shared, out, seed, begin)?;
    }
    Ok(good)
}

fn write_results(shared: &Shared, out: &Path, seed: u64, begin: Instant) -> Result<()> {
    let (seen, all) = shared.coverage.as_ref().map_or((0, 0), Coverage::count);
    let count = |counts: &[std::sync::atomic::AtomicU32], cmd: &abi::Cmd| {
        counts[*cmd as usize].load(Ordering::Relaxed)
    };
    let commands: serde_json::Map<_, _> = abi::Cmd::ALL
        .iter()
        .map(|cmd| {
            let counts = [count(&shared.successes, cmd), count(&shared.failures, cmd)];
            (format!("{cmd:?}"), serde_json::json!(counts))
        })
        .collect();
    let result = serde_json::json!({
        "seed": seed,
        "seconds": begin.elapsed().as_secs_f64(),
        "inputs": shared.programs.load(Ordering::Relaxed),
        "kept": shared.corpus.len(),
        "places_seen": seen,
        "places": all,
        "commands": commands,
        "violations": *lock(&shared.violations),
    });
    std::fs::write(out.join("result.json"), serde_json::to_string_pretty(&result)? + "\n")?;
    if let Some(coverage) = &shared.coverage {
        coverage.write(&out.join("coverage"))?;
        shared.corpus.save(&out.join("corpus"))?;
    }
    Ok(())
}

fn rand_seed() -> Result<u64> {
    use std::io::Read;
    let mut bytes = [0; 4];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(ChaCha8Rng::seed_from_u64(u32::from_ne_bytes(bytes).into()).random::<u32>().into())
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            println!("# {e:#}");
            ExitCode::FAILURE
        }
    }
}
