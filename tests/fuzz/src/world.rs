// SPDX-License-Identifier: GPL-2.0
//! What the threads know: contexts with their objects, and what they share.
//!
//! A context is used either by one thread, which then knows exactly what must be
//! (`strict`), or by all, and then what is known here is a guess.

use std::collections::{HashSet, VecDeque};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use crate::abi::uapi::dmaplane_addr;
use crate::abi::Cmd;
use crate::choice::{Choice, Pick};
use crate::corpus::Corpus;
use crate::kcov::Coverage;
use crate::memory::{Map, Scratch};

pub const DEVICE: &str = "/dev/dmaplane";

/// Locks; what a panicking thread left is as good as any.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// What entries and leases take.
pub const SPANS: &[Kind] = &[Kind::Region, Kind::View];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Buffer,
    Region,
    View,
    Listener,
    Endpoint,
    Channel,
    Counter,
}

/// A channel's rings, and what must be in them if only we write there.
pub struct Ring {
    pub map: Map,
    pub sq_entries: u32,
    pub cq_entries: u32,
    pub sqes: usize,
    pub cqes: usize,
    /// Where times are, if there are such.
    pub times: Option<usize>,
    /// A thread takes the entries.
    pub polled: bool,
    /// Nothing can be expected of it any more.
    pub vandalised: AtomicBool,
    pub model: Mutex<RingModel>,
}

#[derive(Default)]
pub struct RingModel {
    pub tail: u32,
    /// Where the kernel must be.
    pub taken: u32,
    pub reaped: u32,
    /// Not taken yet, in order; whether success is told.
    pub published: VecDeque<(u64, bool)>,
    /// Taken and not completed.
    pub pending: HashSet<u64>,
    /// As above, but those that are told of only if they fail.
    pub silent: HashSet<u64>,
}

#[derive(Clone)]
pub struct Object {
    pub kind: Kind,
    pub handle: u32,
    /// Of a buffer, a region or a view.
    pub length: u64,
    /// Of a view: the region.
    pub region: u32,
    /// Of a buffer or a channel.
    pub mmap_offset: u64,
    pub ring: Option<Arc<Ring>>,
    /// Of an endpoint: the peer's leases and their lengths.
    pub leases: Vec<(u32, u64)>,
}

impl Object {
    pub fn new(kind: Kind, handle: u32) -> Self {
        Self { kind, handle, length: 0, region: 0, mmap_offset: 0, ring: None, leases: Vec::new() }
    }
}

#[derive(Default)]
pub struct Objects {
    pub live: Vec<Object>,
    stale: VecDeque<u32>,
}

impl Objects {
    pub fn of(&self, handle: u32) -> Option<&Object> {
        self.live.iter().find(|object| object.handle == handle)
    }

    /// Whether it is a view of a region that is gone.
    pub fn is_orphan(&self, object: &Object) -> bool {
        object.kind == Kind::View && self.of(object.region).is_none()
    }

    pub fn remove(&mut self, handle: u32) {
        self.live.retain(|object| object.handle != handle);
        self.stale.push_back(handle);
        if self.stale.len() > 16 {
            self.stale.pop_front();
        }
    }

    pub fn count(&self, kind: Kind) -> usize {
        self.live.iter().filter(|object| object.kind == kind).count()
    }
}

/// One open of the device.
pub struct Context {
    fd: OwnedFd,
    pub strict: bool,
    pub objects: Mutex<Objects>,
    /// Entries taken, of all channels.
    pub submitted: AtomicU64,
    /// Threads have taken some, it is not known how many.
    pub polled: AtomicBool,
    /// Rings whose channel is closed.
    pub orphans: Mutex<Vec<Arc<Ring>>>,
    pub duplicates: Mutex<Vec<OwnedFd>>,
}

impl Context {
    pub fn open(strict: bool) -> std::io::Result<Arc<Self>> {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(DEVICE)?;
        Ok(Arc::new(Self {
            fd: file.into(),
            strict,
            objects: Mutex::default(),
            submitted: AtomicU64::new(0),
            polled: AtomicBool::new(false),
            orphans: Mutex::default(),
            duplicates: Mutex::default(),
        }))
    }

    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub fn duplicate(&self) -> std::io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// The handle that is meant, given another context for foreign ones.
    pub fn pick(&self, pick: Pick, kinds: &[Kind], other: &Context) -> u32 {
        let index = usize::from(pick.index);
        let choose = |handles: Vec<u32>| match handles.len() {
            0 => None,
            len => Some(handles[index % len]),
        };
        let of_kind = |context: &Context, right: bool| {
            let objects = lock(&context.objects);
            let matching = objects.live.iter().filter(|o| kinds.contains(&o.kind) == right);
            choose(matching.map(|object| object.handle).collect())
        };
        let mutated = || of_kind(self, true).map(|handle| handle ^ (1 << (pick.index % 32)));
        let found = match pick.choice() {
            Choice::Right => of_kind(self, true),
            Choice::OtherKind => of_kind(self, false),
            Choice::Stale => choose(lock(&self.objects).stale.iter().copied().collect()),
            Choice::Mutated => mutated(),
            Choice::Foreign => of_kind(other, true),
            Choice::Boundary => None,
        };
        let edges = [0, 1, 2, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
        found.unwrap_or(edges[index % edges.len()])
    }
}

/// What one thread did last, and what it does now.
pub struct Log {
    pub name: String,
    pub tid: i32,
    lines: Mutex<VecDeque<String>>,
    since: Mutex<Option<Instant>>,
    pub calls: AtomicU64,
}

impl Log {
    pub fn new(name: String) -> Arc<Self> {
        Arc::new(Self {
            name,
            // SAFETY: plain call.
            tid: unsafe { libc::gettid() },
            lines: Mutex::default(),
            since: Mutex::new(None),
            calls: AtomicU64::new(0),
        })
    }

    pub fn say(&self, line: String) {
        let mut lines = lock(&self.lines);
        if lines.len() >= 48 {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// A system call begins or ends.
    pub fn busy(&self, busy: bool) {
        *lock(&self.since) = busy.then(Instant::now);
        self.calls.fetch_add(u64::from(busy), Ordering::Relaxed);
    }

    pub fn busy_for(&self) -> Duration {
        lock(&self.since).map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub fn lines(&self) -> Vec<String> {
        lock(&self.lines).iter().cloned().collect()
    }
}

/// What all threads share.
pub struct Shared {
    pub contexts: Vec<Mutex<Arc<Context>>>,
    /// Where somebody listened.
    pub addresses: Mutex<VecDeque<dmaplane_addr>>,
    /// Arguments that others write to.
    pub arena: Scratch,
    pub logs: Mutex<Vec<Weak<Log>>>,
    pub violations: Mutex<Vec<String>>,
    pub stop: AtomicBool,
    /// Threads that have not begun yet: what each does first is not to be disturbed.
    pub touring: AtomicU32,
    pub corpus: Corpus,
    pub coverage: Option<Coverage>,
    pub successes: Vec<AtomicU32>,
    pub failures: Vec<AtomicU32>,
    pub programs: AtomicU64,
    pub children: Mutex<Vec<i32>>,
    pub out: Option<PathBuf>,
    /// How much slower than usual this kernel is.
    pub slow: u32,
}

impl Shared {
    pub fn new(
        contexts: usize,
        corpus: Corpus,
        coverage: Option<Coverage>,
        out: Option<PathBuf>,
    ) -> std::io::Result<Self> {
        let contexts = (0..contexts).map(|_| Ok(Mutex::new(Context::open(false)?)));
        let zeroes = || Cmd::ALL.iter().map(|_| AtomicU32::new(0)).collect();
        Ok(Self {
            contexts: contexts.collect::<std::io::Result<_>>()?,
            addresses: Mutex::default(),
            arena: Scratch::new(),
            logs: Mutex::default(),
            violations: Mutex::default(),
            stop: AtomicBool::new(false),
            touring: AtomicU32::new(0),
            corpus,
            coverage,
            successes: zeroes(),
            failures: zeroes(),
            programs: AtomicU64::new(0),
            children: Mutex::default(),
            out,
            slow: if std::path::Path::new("/sys/kernel/debug/kmemleak").exists() { 4 } else { 1 },
        })
    }

    /// Makes a log that the watchdog sees.
    pub fn log(&self, name: String) -> Arc<Log> {
        let log = Log::new(name);
        let mut logs = lock(&self.logs);
        logs.retain(|log| log.strong_count() > 0);
        logs.push(Arc::downgrade(&log));
        log
    }

    /// Something is not as it must be. The run goes on, so that it says all there is, and fails.
    pub fn violation(&self, log: &Log, what: String) {
        let mut violations = lock(&self.violations);
        // What differs in numbers only is the same.
        let key = |text: &str| {
            let line = text.lines().next().unwrap_or_default();
            line.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default().to_owned()
        };
        if violations.iter().any(|other| key(other) == key(&what)) {
            return;
        }
        let did = log.lines().join("\n    ");
        violations.push(format!("{what}\n  {} did, last:\n    {did}", log.name));
        if violations.len() >= 12 {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}
