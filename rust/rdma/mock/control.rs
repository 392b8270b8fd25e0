// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/debug/dmaplane/mock`, for root: a command for each write, lines "name value" to
//! read.
//!
//! | command            | effect                                                         |
//! |--------------------|----------------------------------------------------------------|
//! | `on`, `off`        | whether queue pairs that are made from now on are mocked        |
//! | `seed N`           | everything begins anew, without faults; not while there are any |
//! | `rate FAULT N`     | how many of a thousand chances of a fault it takes              |
//! | `step N`           | up to that many steps, before the write returns                 |
//! | `patience N`       | heartbeats that users wait for progress, until the next `seed`  |
//!
//! Ownership: [`Control`] owns the file. It is there once, as the module is.
//! Locking: none of its own.
//! Teardown: removing the file waits for readers and writers; then what the fabric has is freed.

use super::fabric::{
    self,
    Fabric, //
};
use crate::bindings;
use core::ffi::c_void;
use kernel::{
    ffi,
    fmt,
    prelude::*,
    seq_file::SeqFile, //
};

/// The file; there can be one.
pub struct Control {
    dir: &'static CStr,
}

static CONTROL: bindings::dk_control = bindings::dk_control {
    show: Some(show),
    command: Some(write),
};

impl Control {
    /// Makes the file, in a directory of debugfs that is there. Without debugfs it does nothing.
    ///
    /// `EBUSY` if there was one before.
    pub fn new(dir: &'static CStr) -> Result<Self> {
        fabric::begin()?;
        // SAFETY: the names are strings and copied, the rest is static.
        unsafe { bindings::dk_control_create(dir.as_char_ptr(), NAME.as_char_ptr(), &CONTROL) };
        Ok(Self { dir })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // SAFETY: the names are strings. Waits for readers and writers.
        unsafe { bindings::dk_control_remove(self.dir.as_char_ptr(), NAME.as_char_ptr()) };
        fabric::end();
    }
}

const NAME: &CStr = c"mock";

/// # Safety
///
/// Called by a reader of the file.
unsafe extern "C" fn show(seq: *mut bindings::seq_file, _unused: *mut c_void) -> ffi::c_int {
    // SAFETY: valid for the time of the call.
    let seq = unsafe { SeqFile::from_raw(seq) };
    let status = fabric::with(|fabric| Status::new(fabric));
    kernel::seq_print!(seq, "{status}");
    0
}

/// # Safety
///
/// Called by a writer of the file with `len` bytes at `text`.
unsafe extern "C" fn write(text: *const u8, len: usize) -> ffi::c_int {
    // SAFETY: by the caller's promise.
    let text = unsafe { core::slice::from_raw_parts(text, len) };
    match obey(text) {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// Does what a command says. `EINVAL` if it says nothing that is known.
fn obey(text: &[u8]) -> Result {
    let text = core::str::from_utf8(text).map_err(|_| EINVAL)?;
    let mut words = text.split_ascii_whitespace();
    let command = [words.next(), words.next(), words.next(), words.next()];
    let number = |text: &str| text.parse::<u32>().map_err(|_| EINVAL);
    match command {
        [Some("on"), None, ..] => fabric::switch(true),
        [Some("off"), None, ..] => fabric::switch(false),
        [Some("seed"), Some(seed), None, _] => {
            let seed = seed.parse().map_err(|_| EINVAL)?;
            fabric::with(|fabric| fabric.reseed(seed))?;
        }
        [Some("step"), Some(limit), None, _] => fabric::step(number(limit)?),
        [Some("patience"), Some(ticks), None, _] => {
            let ticks = number(ticks)?;
            fabric::with(|fabric| fabric.patience = Some(ticks));
        }
        [Some("rate"), Some(fault), Some(rate), None] => {
            let rate = number(rate)?;
            fabric::with(|fabric| {
                let rates = &mut fabric.rates;
                *match fault {
                    "delay" => &mut rates.delay,
                    "error" => &mut rates.error,
                    "flush" => &mut rates.flush,
                    "duplicate" => &mut rates.duplicate,
                    "lose" => &mut rates.lose,
                    _ => return Err(EINVAL),
                } = rate;
                Ok(())
            })?;
        }
        _ => return Err(EINVAL),
    }
    Ok(())
}

/// What the file shows.
struct Status {
    seed: u64,
    trace: u64,
    idle: bool,
    ports: usize,
    /// Ports whose connection was ended.
    ending: usize,
    counts: fabric::Counts,
}

impl Status {
    fn new(fabric: &Fabric) -> Self {
        Self {
            seed: fabric.seed,
            trace: fabric.trace.digest(),
            idle: fabric.is_idle(),
            ports: fabric.ports.len(),
            ending: fabric.ports.iter().filter(|port| port.ending).count(),
            counts: fabric.counts,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        writeln!(f, "on {}", u32::from(fabric::is_on()))?;
        writeln!(f, "seed {}", self.seed)?;
        writeln!(f, "trace {}", self.trace)?;
        writeln!(f, "idle {}", u32::from(self.idle))?;
        writeln!(f, "ports {}", self.ports)?;
        writeln!(f, "ending {}", self.ending)?;
        for (name, count) in [
            ("steps", counts.steps),
            ("executed", counts.executed),
            ("delayed", counts.delayed),
            ("errors", counts.errors),
            ("flushes", counts.flushes),
            ("duplicated", counts.duplicated),
            ("lost", counts.lost),
            ("rnr", counts.rnr),
            ("overdrawn", counts.overdrawn),
            ("refused", counts.refused),
        ] {
            writeln!(f, "{name} {count}")?;
        }
        Ok(())
    }
}
