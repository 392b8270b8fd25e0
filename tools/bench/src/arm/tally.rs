// SPDX-License-Identifier: GPL-2.0
//! What a thread of this process has of the kernel: calls, wake-ups, processor time.
//! `theirs/tally.h` is the same for the other side.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::time::{clock_gettime, ClockId};

const EVENT: &str = "/sys/kernel/tracing/events/raw_syscalls/sys_enter";

/// Calls of whoever measures: `pread64` reads [`Wakes`], `futex` waits for the other thread.
const NOT_WORK: [u64; 2] = [17, 202];

/// The number of the calling thread.
pub fn own_id() -> Result<u32> {
    let link = fs::read_link("/proc/thread-self")?;
    let name = link.file_name().and_then(|name| name.to_str());
    Ok(name.context("/proc/thread-self")?.parse()?)
}

/// Processor time of the calling thread so far.
pub fn own_ns() -> Result<u64> {
    let time = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime))?;
    Ok(u64::try_from(time.as_nanos())?)
}

/// How often the thread that opened this has slept: what `getrusage(2)` tells as `ru_nvcsw`.
pub struct Wakes(File);

impl Wakes {
    pub fn open() -> Result<Self> {
        Ok(Wakes(File::open("/proc/thread-self/status")?))
    }

    /// With one call.
    pub fn read(&self) -> Result<u64> {
        let mut text = [0; 8192];
        let length = self.0.read_at(&mut text, 0)?;
        slept(&String::from_utf8_lossy(&text[..length]))
    }
}

fn slept(status: &str) -> Result<u64> {
    let mut lines = status.lines();
    let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    Ok(count.context("no switches")?.trim().parse()?)
}

/// Counts the system calls of a thread, as the kernel's tracepoint sees them.
pub struct Calls(String);

impl Calls {
    pub fn of(thread: u32) -> Self {
        Calls(format!("hist:keys=id if common_pid=={thread}"))
    }

    pub fn begin(&self) -> Result<()> {
        self.set(&self.0)
    }

    /// How many there were since it began, but for those of whoever measures.
    pub fn end(&self) -> Result<u64> {
        let counts = fs::read_to_string(format!("{EVENT}/hist"))?;
        self.set(&format!("!{}", self.0))?;
        counted(&counts)
    }

    fn set(&self, trigger: &str) -> Result<()> {
        fs::write(format!("{EVENT}/trigger"), trigger).context("counting system calls")
    }
}

/// The sum of lines `{ id: 7 } hitcount: 1`.
fn counted(hist: &str) -> Result<u64> {
    let mut calls = 0;
    for line in hist.lines().filter(|line| line.starts_with('{')) {
        let mut numbers = line
            .split(|c: char| !c.is_ascii_digit())
            .filter(|n| !n.is_empty());
        let mut number = || -> Result<u64> { Ok(numbers.next().context("no number")?.parse()?) };
        let (id, count) = (number()?, number()?);
        if !NOT_WORK.contains(&id) {
            calls += count;
        }
    }
    Ok(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_others_do_not_count() {
        let hist = "\
# event histogram
#
# trigger info: hist:keys=id:vals=hitcount:sort=hitcount:size=2048 if common_pid==71 [active]
#

{ id:          7 } hitcount:          1
{ id:         17 } hitcount:          2
{ id:        202 } hitcount:          3
{ id:          8 } hitcount:         10

Totals:
    Hits: 16
";
        assert_eq!(counted(hist).unwrap(), 11);
        assert_eq!(counted("").unwrap(), 0);
        assert!(counted("{ id: 7 } what").is_err());
    }

    #[test]
    fn of_this_thread() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(slept(status).unwrap(), 12);
        assert!(slept("nonvoluntary_ctxt_switches:\t3\n").is_err());
        let wakes = Wakes::open().unwrap();
        let before = wakes.read().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert!(wakes.read().unwrap() > before);
        assert!(own_id().unwrap() > 0 && own_ns().unwrap() > 0);
    }
}
