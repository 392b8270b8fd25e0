// SPDX-License-Identifier: GPL-2.0

//! How many objects of each kind are alive, per context and in all.
//!
//! Ownership: an object holds a [`Tally`]; dropping the object is what takes it off the count, so
//! the count cannot differ from what is alive.
//! Locking: none, the counters are atomic.

use dmakit::{
    errno::EDQUOT,
    param, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// Kinds of things that live.
#[derive(Clone, Copy)]
pub(crate) enum Live {
    Contexts,
    Buffers,
    BufferBytes,
    /// Of buffers and rings: what the limits are about.
    MemoryBytes,
    DmaBufs,
    Imports,
    Shares,
    Regions,
    Views,
    Endpoints,
    Channels,
    Counters,
    Fabrics,
    Threads,
}

/// Names of the kinds, in the order of [`Live`].
pub(crate) const LIVE_NAMES: [&str; 14] = [
    "contexts",
    "buffers",
    "buffer_bytes",
    "memory_bytes",
    "dmabufs",
    "imports",
    "shares",
    "regions",
    "views",
    "endpoints",
    "channels",
    "counters",
    "fabrics",
    "threads",
];

/// Things that happened since the context was opened.
#[derive(Clone, Copy)]
pub(crate) enum Total {
    Submitted,
    Completed,
    Received,
}

/// A set of counters; what is counted here is counted in the parent too.
pub(crate) struct Counters {
    parent: Option<Arc<Counters>>,
    live: [Atomic<i64>; LIVE_NAMES.len()],
    totals: [Atomic<i64>; 3],
    abandoned: Atomic<i64>,
}

impl Counters {
    /// Makes counters at zero.
    pub(crate) fn new(parent: Option<Arc<Counters>>) -> Result<Arc<Self>> {
        Ok(Arc::new(
            Self {
                parent,
                live: [const { Atomic::new(0) }; LIVE_NAMES.len()],
                totals: [const { Atomic::new(0) }; 3],
                abandoned: Atomic::new(0),
            },
            GFP_KERNEL_ACCOUNT,
        )?)
    }

    /// How many of a kind are alive.
    pub(crate) fn live(&self, kind: Live) -> u64 {
        let count = self.all_live().nth(kind as usize);
        count.map_or(0, |count| u64::try_from(count).unwrap_or(0))
    }

    /// How many of a kind are alive in all contexts.
    pub(crate) fn live_in_all(&self, kind: Live) -> u64 {
        match &self.parent {
            Some(parent) => parent.live_in_all(kind),
            None => self.live(kind),
        }
    }

    /// How many are alive, in the order of [`LIVE_NAMES`]; below zero would be a fault of ours.
    pub(crate) fn all_live(&self) -> impl Iterator<Item = i64> + '_ {
        self.live.iter().map(|count| count.load(Relaxed))
    }

    /// How often something happened.
    pub(crate) fn total(&self, kind: Total) -> u64 {
        self.totals
            .get(kind as usize)
            .map_or(0, |count| u64::try_from(count.load(Relaxed)).unwrap_or(0))
    }

    /// Notes that something happened so often.
    pub(crate) fn count(&self, kind: Total, times: u32) {
        if let Some(count) = self.totals.get(kind as usize) {
            count.add(times.into(), Relaxed);
        }
    }

    /// Notes that entries were completed of which the adapter did not tell.
    pub(crate) fn abandoned(&self, entries: u32) {
        self.abandoned.add(entries.into(), Relaxed);
    }

    /// How many there were.
    pub(crate) fn all_abandoned(&self) -> i64 {
        self.abandoned.load(Relaxed)
    }

    /// Counts memory, here and in the parent, unless it is more than there may be then.
    fn charge(&self, bytes: i64) -> Result {
        let limit = match &self.parent {
            Some(_) => param::max_context_memory(),
            None => param::max_memory(),
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let count = self.live.get(Live::MemoryBytes as usize).ok_or(EINVAL)?;
        let mut old = count.load(Relaxed);
        loop {
            let new = old.checked_add(bytes).filter(|new| *new <= limit);
            match count.cmpxchg(old, new.ok_or(EDQUOT)?, Relaxed) {
                Ok(_) => break,
                Err(now) => old = now,
            }
        }
        let Some(parent) = &self.parent else {
            return Ok(());
        };
        parent
            .charge(bytes)
            .inspect_err(|_| count.add(-bytes, Relaxed))
    }

    fn add(&self, kind: Live, amount: i64) {
        if let Some(count) = self.live.get(kind as usize) {
            count.add(amount, Relaxed);
        }
        if let Some(parent) = &self.parent {
            parent.add(kind, amount);
        }
    }
}

/// Something alive that is counted.
pub(crate) struct Tally {
    counters: Arc<Counters>,
    kind: Live,
    amount: i64,
}

impl Tally {
    /// Counts one object.
    pub(crate) fn one(counters: &Arc<Counters>, kind: Live) -> Self {
        Self::many(counters, kind, 1)
    }

    /// Counts memory that is about to be taken. `EDQUOT` if the context, or the module, has too much then.
    pub(crate) fn memory(counters: &Arc<Counters>, bytes: u64) -> Result<Self> {
        let amount = i64::try_from(bytes).map_err(|_| EDQUOT)?;
        counters.charge(amount)?;
        Ok(Self {
            counters: counters.clone(),
            kind: Live::MemoryBytes,
            amount,
        })
    }

    /// Counts memory on top of that. `EDQUOT` as above.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result {
        if bytes == 0 {
            return Ok(());
        }
        let amount = i64::try_from(bytes).map_err(|_| EDQUOT)?;
        self.counters.charge(amount)?;
        self.amount = self.amount.saturating_add(amount);
        Ok(())
    }

    /// Counts `amount` units from now on.
    pub(crate) fn set(&mut self, amount: u32) {
        let amount = i64::from(amount);
        self.counters
            .add(self.kind, amount.saturating_sub(self.amount));
        self.amount = amount;
    }

    /// Counts `amount` units.
    pub(crate) fn many(counters: &Arc<Counters>, kind: Live, amount: u64) -> Self {
        let amount = i64::try_from(amount).unwrap_or(i64::MAX);
        counters.add(kind, amount);
        Self {
            counters: counters.clone(),
            kind,
            amount,
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.counters.add(self.kind, -self.amount);
    }
}
