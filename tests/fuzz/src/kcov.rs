// SPDX-License-Identifier: GPL-2.0
//! Coverage of the module by KCOV: which of its call sites of
//! `__sanitizer_cov_trace_pc` a thread's system calls passed. What the module does
//! in work queues and interrupts is not the thread's and is not seen.

use std::fmt::Write;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{bail, Context as _, Result};
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget};

use crate::memory::{errno, Map};

const ENTRIES: usize = 256 << 10;
// _IOR('c', 1, unsigned long), _IO('c', 100), _IO('c', 101): uapi/linux/kcov.h
const KCOV_INIT_TRACE: u64 = 0x8008_6301;
const KCOV_ENABLE: u64 = 0x6364;
const KCOV_TRACE_PC: u64 = 0;

/// A call of `__sanitizer_cov_trace_pc` returns 4 bytes after its relocation.
const CALL_REST: u64 = 4;

/// A section of the module with code that is instrumented.
struct Section {
    name: String,
    base: u64,
    /// Offsets of the return addresses, sorted.
    sites: Vec<u64>,
    /// A bit for each of them.
    seen: Vec<AtomicU64>,
}

/// The module's instrumented places, and which were seen.
pub struct Coverage {
    sections: Vec<Section>,
}

impl Coverage {
    /// Of the module loaded from this file. `None` if it or the kernel has no KCOV.
    pub fn new(module: &Path) -> Result<Option<Self>> {
        if !Path::new("/sys/kernel/debug/kcov").exists() {
            return Ok(None);
        }
        let data = fs::read(module).with_context(|| module.display().to_string())?;
        let file = object::File::parse(&*data)?;
        let mut sections = Vec::new();
        for section in file.sections() {
            let mut sites: Vec<u64> = section
                .relocations()
                .filter(|(_, relocation)| match relocation.target() {
                    RelocationTarget::Symbol(index) => {
                        let symbol = file.symbol_by_index(index);
                        symbol.and_then(|s| s.name()) == Ok("__sanitizer_cov_trace_pc")
                    }
                    _ => false,
                })
                .map(|(offset, _)| offset + CALL_REST)
                .collect();
            let name = section.name()?.to_owned();
            // What runs while loading and unloading only is not there any more, or not yet.
            if sites.is_empty() || name.starts_with(".init") || name.starts_with(".exit") {
                continue;
            }
            sites.sort_unstable();
            let path = Path::new("/sys/module/dmaplane/sections").join(&name);
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let base = u64::from_str_radix(text.trim().trim_start_matches("0x"), 16)?;
            let seen = (0..sites.len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
            sections.push(Section { name, base, sites, seen });
        }
        Ok((!sections.is_empty()).then_some(Self { sections }))
    }

    /// Marks a place; true if it is one and was not seen before.
    fn mark(&self, pc: u64) -> bool {
        for section in &self.sections {
            let Some(offset) = pc.checked_sub(section.base) else {
                continue;
            };
            if let Ok(index) = section.sites.binary_search(&offset) {
                let bit = 1 << (index % 64);
                return section.seen[index / 64].fetch_or(bit, Ordering::Relaxed) & bit == 0;
            }
        }
        false
    }

    /// Places seen, and in all.
    pub fn count(&self) -> (usize, usize) {
        let seen = self.sections.iter().flat_map(|s| &s.seen);
        (
            seen.map(|word| word.load(Ordering::Relaxed).count_ones() as usize).sum(),
            self.sections.iter().map(|s| s.sites.len()).sum(),
        )
    }

    /// Writes a line "SECTION OFFSET SEEN" for each place, to be read by scripts/coverage.sh. The
    /// offset is one inside of the call.
    pub fn write(&self, to: &Path) -> Result<()> {
        // At once: a directory shared with the host is slow to write to.
        let mut text = String::new();
        for section in &self.sections {
            for (index, site) in section.sites.iter().enumerate() {
                let word = section.seen[index / 64].load(Ordering::Relaxed);
                let seen = (word >> (index % 64)) & 1;
                writeln!(text, "{} {:#x} {seen}", section.name, site - 1)?;
            }
        }
        fs::write(to, text).with_context(|| to.display().to_string())
    }
}

/// What one thread passes. Made and used by that thread.
pub struct Trace {
    _file: OwnedFd,
    area: Map,
}

impl Trace {
    pub fn new() -> Result<Self> {
        let file: OwnedFd =
            fs::OpenOptions::new().read(true).write(true).open("/sys/kernel/debug/kcov")?.into();
        // SAFETY: takes a number.
        if unsafe { libc::ioctl(file.as_raw_fd(), KCOV_INIT_TRACE, ENTRIES) } != 0 {
            bail!("KCOV_INIT_TRACE: {}", errno());
        }
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let area = Map::new(file.as_raw_fd(), 0, ENTRIES * 8, prot, libc::MAP_SHARED)
            .map_err(|e| anyhow::anyhow!("mmap of kcov: {e}"))?;
        // SAFETY: takes a number.
        if unsafe { libc::ioctl(file.as_raw_fd(), KCOV_ENABLE, KCOV_TRACE_PC) } != 0 {
            bail!("KCOV_ENABLE: {}", errno());
        }
        Ok(Self { _file: file, area })
    }

    /// Adds what was passed since the last call to `all`; how much of it was new.
    pub fn collect(&self, all: &Coverage) -> usize {
        let count = self.area.long(0).load(Ordering::Relaxed) as usize;
        let new = (1..=count.min(ENTRIES - 1))
            .filter(|at| all.mark(self.area.long(at * 8).load(Ordering::Relaxed)))
            .count();
        self.area.long(0).store(0, Ordering::Relaxed);
        new
    }
}
