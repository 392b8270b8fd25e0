// SPDX-License-Identifier: GPL-2.0
//! What the main thread does: signals for those who wait, an eye on those who wait
//! too long, the end of children, progress.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{bail, Result};
use rand::Rng;

use crate::kcov::Coverage;
use crate::memory::errno;
use crate::world::{lock, Log, Shared};

/// What module and buffers may take: all of the fuzzer's memory limit, of which there is little.
const MEMLOCK: u64 = 48 << 20;
const CAP_IPC_LOCK: u32 = 14;

extern "C" fn interrupted(_: libc::c_int) {}

/// Signals that interrupt, and limits that hold for root, too: no request for memory may
/// take all there is.
pub fn limits() -> Result<()> {
    // SAFETY: an action without flags, a handler that does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = interrupted as extern "C" fn(libc::c_int) as usize;
        if libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) != 0 {
            bail!("sigaction: {}", errno());
        }
    }
    let limit = libc::rlimit { rlim_cur: MEMLOCK, rlim_max: MEMLOCK };
    // struct __user_cap_header_struct: version 3, this thread; two sets of 32 bits.
    let mut header = [0x2008_0522u32, 0];
    let mut sets = [0u32; 6];
    // SAFETY: the structures are as large as version 3 has them.
    unsafe {
        if libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) != 0
            || libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) != 0
        {
            bail!("limits: {}", errno());
        }
        sets[0] &= !(1 << CAP_IPC_LOCK);
        sets[1] &= !(1 << CAP_IPC_LOCK);
        if libc::syscall(libc::SYS_capset, header.as_mut_ptr(), sets.as_ptr()) != 0 {
            bail!("capset: {}", errno());
        }
    }
    Ok(())
}

fn signal(log: &Log) {
    // SAFETY: plain call; a thread that is gone is an error and nothing else.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), log.tid, libc::SIGUSR1) };
}

fn reap_children(shared: &Shared, kill: bool) {
    lock(&shared.children).retain(|pid| {
        // SAFETY: children of ours.
        unsafe {
            if kill {
                libc::kill(*pid, libc::SIGKILL);
            }
            libc::waitpid(*pid, std::ptr::null_mut(), libc::WNOHANG) == 0
        }
    });
}

pub fn progress(shared: &Shared, begin: Instant) {
    let (seen, all) = shared.coverage.as_ref().map_or((0, 0), Coverage::count);
    let sum = |counts: &[std::sync::atomic::AtomicU32]| -> u32 {
        counts.iter().map(|c| c.load(Ordering::Relaxed)).sum()
    };
    println!(
        "# {} s: {} inputs, {} commands succeeded, {} failed, {} inputs kept, {seen} of {all} places",
        begin.elapsed().as_secs(),
        shared.programs.load(Ordering::Relaxed),
        sum(&shared.successes),
        sum(&shared.failures),
        shared.corpus.len(),
    );
}

/// Watches until `done`.
pub fn until(shared: &Shared, begin: Instant, rng: &mut impl Rng, done: impl Fn() -> bool) {
    let patient = Duration::from_millis(200) * shared.slow;
    let stuck = Duration::from_secs(20) * shared.slow;
    let mut shown = Instant::now();
    while !done() {
        std::thread::sleep(Duration::from_millis(rng.random_range(2..40)));
        reap_children(shared, false);
        let logs: Vec<_> = lock(&shared.logs).iter().filter_map(|log| log.upgrade()).collect();
        for log in &logs {
            let busy = log.busy_for();
            if busy > stuck {
                show_stuck(shared, &logs);
            }
            // Who waits for ever is to be interrupted; others are, now and then.
            if shared.touring.load(Ordering::Relaxed) > 0 {
                continue;
            }
            if busy > patient || !busy.is_zero() && rng.random_ratio(1, 64 * shared.slow) {
                signal(log);
            }
        }
        if shown.elapsed() > Duration::from_secs(10) {
            shown = Instant::now();
            progress(shared, begin);
        }
    }
}

/// A system call does not end: says where all are, and ends the program.
fn show_stuck(shared: &Shared, logs: &[std::sync::Arc<Log>]) -> ! {
    for log in logs {
        println!("# {} is {:.1} s in a system call", log.name, log.busy_for().as_secs_f64());
        log.lines().iter().for_each(|line| println!("#     {line}"));
        let stack =
            fs::read_to_string(format!("/proc/self/task/{}/stack", log.tid)).unwrap_or_default();
        stack.lines().for_each(|line| println!("#   {line}"));
    }
    reap_children(shared, true);
    println!("not ok 1 no call takes for ever");
    std::process::exit(1);
}

/// The children's end, then that of all objects; what is left of them.
pub fn end(shared: &Shared) -> Vec<String> {
    // All contexts but new ones are closed.
    shared.contexts.iter().for_each(|context| drop(lock(context)));
    let end = Instant::now() + Duration::from_secs(5) * shared.slow;
    loop {
        reap_children(shared, true);
        let objects = match fs::read_to_string("/sys/kernel/debug/dmaplane/objects") {
            Ok(objects) => objects,
            Err(e) => return vec![format!("/sys/kernel/debug/dmaplane/objects: {e}")],
        };
        let count = shared.contexts.len();
        let left: Vec<_> = objects
            .lines()
            .filter(|l| !l.starts_with("fabrics ") && !l.ends_with(" 0"))
            .filter(|l| *l != format!("contexts {count}"))
            // The test's runner looks at these.
            .filter(|l| !l.starts_with("abandoned "))
            .map(str::to_owned)
            .collect();
        if left.is_empty() || Instant::now() > end {
            return left;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
