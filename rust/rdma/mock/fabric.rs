// SPDX-License-Identifier: GPL-2.0

//! The mock fabric: all ports, and what happens between them, one step at a time.
//!
//! A step takes the fabric's lock, decides what happens next, and lets go of the lock to tell
//! whoever has to be told. All decisions come from one seed, so that a single-threaded user who
//! does the same after the same seed sees the same.
//!
//! What can happen is in [`step`](super::step).
//!
//! Ownership: the fabric owns ports and keys.
//! Locking: `FABRIC` is a leaf spinlock; `TURN` is held by whoever tells, outside of all locks
//! that a handler takes, and orders steps and drains.
//! Teardown: [`end`], when no connection is left.

use super::{
    chance::{
        Chance,
        Trace, //
    },
    memory::Memory,
    port::{
        Phase,
        Port,
        Posted, //
    }, //
};
use crate::errno::ENOTCONN;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            ordering::{
                Acquire,
                Relaxed,
                Release, //
            },
            Atomic, //
        },
        global_lock, //
    },
    task::Task, //
};

/// How often each fault happens, in a thousand.
#[derive(Clone, Copy, Default)]
pub(super) struct Rates {
    /// An act is held back.
    pub(super) delay: u32,
    /// A request fails, or the receive that it meets.
    pub(super) error: u32,
    /// A queue pair goes into error without a reason.
    pub(super) flush: u32,
    /// A completion is told twice.
    pub(super) duplicate: u32,
    /// A completion is never told.
    pub(super) lose: u32,
}

impl Rates {
    const NONE: Self = Self {
        delay: 0,
        error: 0,
        flush: 0,
        duplicate: 0,
        lose: 0,
    };
}

/// What happened since the seed was set.
#[derive(Clone, Copy)]
pub(super) struct Counts {
    pub(super) steps: u32,
    pub(super) executed: u32,
    pub(super) delayed: u32,
    pub(super) errors: u32,
    pub(super) flushes: u32,
    pub(super) duplicated: u32,
    pub(super) lost: u32,
    /// A message found no receive.
    pub(super) rnr: u32,
    /// More was posted than the peer has receives for, which is the same fault earlier.
    pub(super) overdrawn: u32,
    /// A write named memory that it may not touch.
    pub(super) refused: u32,
}

impl Counts {
    const NONE: Self = Self {
        steps: 0,
        executed: 0,
        delayed: 0,
        errors: 0,
        flushes: 0,
        duplicated: 0,
        lost: 0,
        rnr: 0,
        overdrawn: 0,
        refused: 0,
    };
}

/// Everything.
pub(super) struct Fabric {
    pub(super) seed: u64,
    pub(super) chance: Chance,
    pub(super) trace: Trace,
    pub(super) rates: Rates,
    pub(super) counts: Counts,
    pub(super) ports: KVec<Port>,
    pub(super) memory: Memory,
    /// Heartbeats that users wait for progress, if not as many as they would.
    pub(super) patience: Option<u32>,
    /// Ports made since the seed was set.
    made: u32,
}

global_lock! {
    // SAFETY: initialized by `begin` before anybody can switch the mock on.
    unsafe(uninit) static FABRIC: SpinLock<Fabric> = Fabric::new();
}

global_lock! {
    // SAFETY: as above.
    unsafe(uninit) static TURN: Mutex<()> = ();
}

/// Whether the locks are initialized.
static BEGUN: Atomic<bool> = Atomic::new(false);

/// Whether queue pairs that are made now are mocked.
static ON: Atomic<bool> = Atomic::new(false);

/// The task that has the turn, as a number.
static TELLING: Atomic<usize> = Atomic::new(0);

/// Makes the locks. `EBUSY` the second time.
pub(super) fn begin() -> Result {
    if BEGUN.xchg(true, Relaxed) {
        return Err(EBUSY);
    }
    // SAFETY: called once, and before anybody could switch the mock on or ask for its state: that
    // takes what our caller makes afterwards.
    unsafe {
        FABRIC.init();
        TURN.init();
    }
    Ok(())
}

/// Frees everything. No connection is left.
pub(super) fn end() {
    ON.store(false, Relaxed);
    let old = with(|fabric| core::mem::replace(fabric, Fabric::new()));
    drop(old);
}

pub(super) fn switch(on: bool) {
    ON.store(on, Release);
}

pub(super) fn is_on() -> bool {
    ON.load(Acquire)
}

/// Whether there may be something in the fabric.
pub(super) fn is_made() -> bool {
    BEGUN.load(Relaxed)
}

/// Does something with the fabric. It does not sleep.
pub(super) fn with<R>(f: impl FnOnce(&mut Fabric) -> R) -> R {
    f(&mut FABRIC.lock())
}

/// Does something with a port. `ENOTCONN` if it is not there.
pub(super) fn with_port<R>(
    number: u32,
    f: impl FnOnce(&mut Fabric, usize) -> Result<R>,
) -> Result<R> {
    with(|fabric| {
        let index = fabric.index(number).ok_or(ENOTCONN)?;
        f(fabric, index)
    })
}

/// Makes up to `limit` steps; fewer if nothing is left to happen.
pub(super) fn step(limit: u32) {
    let _turn = TURN.lock();
    TELLING.store(Task::current_raw().addr(), Relaxed);
    for _ in 0..limit {
        let told = with(Fabric::step);
        match told {
            Some(told) => told.tell(),
            None => break,
        }
    }
    TELLING.store(0, Relaxed);
}

/// Whether the caller is being told of something, and cannot wait for that.
pub(super) fn is_telling() -> bool {
    TELLING.load(Relaxed) == Task::current_raw().addr()
}

/// Closes a port and tells of all that was posted there. Not to be called by who is told.
pub(super) fn drain(number: u32) {
    let _turn = TURN.lock();
    TELLING.store(Task::current_raw().addr(), Relaxed);
    let _ = with_port(number, |fabric, index| {
        fabric.close(index);
        Ok(())
    });
    loop {
        let told = with_port(number, |fabric, index| Ok(fabric.next_done(index)));
        match told {
            Ok(Some(told)) => told.tell(),
            _ => break,
        }
    }
    TELLING.store(0, Relaxed);
}

impl Fabric {
    const fn new() -> Self {
        Self {
            seed: 0,
            chance: Chance::new(0),
            trace: Trace::new(),
            rates: Rates::NONE,
            counts: Counts::NONE,
            ports: KVec::new(),
            memory: Memory::new(),
            patience: None,
            made: 0,
        }
    }

    /// Begins anew. `EBUSY` while there are ports, which would not.
    pub(super) fn reseed(&mut self, seed: u64) -> Result {
        if !self.ports.is_empty() {
            return Err(EBUSY);
        }
        self.seed = seed;
        self.chance = Chance::new(seed);
        self.trace = Trace::new();
        self.rates = Rates::NONE;
        self.counts = Counts::NONE;
        self.patience = None;
        self.made = 0;
        Ok(())
    }

    /// Adds a port, and lets it and its other side know each other.
    pub(super) fn add(&mut self, mut port: Port) -> Result<u32> {
        self.made = self.made.checked_add(1).ok_or(EOVERFLOW)?;
        port.number = self.made;
        if let Some(peer) = self.ports.iter_mut().find(|peer| peer.faces(&port)) {
            peer.peer = Some(port.number);
            port.peer = Some(peer.number);
        }
        self.ports.push(port, GFP_ATOMIC)?;
        Ok(self.made)
    }

    /// Takes a port out; the caller drops it where that may sleep.
    pub(super) fn remove(&mut self, number: u32) -> Option<Port> {
        let index = self.index(number)?;
        self.ports.remove(index).ok()
    }

    fn index(&self, number: u32) -> Option<usize> {
        self.ports.iter().position(|port| port.number == number)
    }

    pub(super) fn port(&mut self, index: usize) -> Result<&mut Port> {
        self.ports.get_mut(index).ok_or(ENOTCONN.into())
    }

    /// The other side, if it is there.
    pub(super) fn peer(&self, index: usize) -> Option<usize> {
        self.index(self.ports.get(index)?.peer?)
    }

    /// Posts to a send queue what completes as one.
    pub(super) fn post_sends(&mut self, index: usize, sends: KVec<Posted>) -> Result {
        let port = self.port(index)?;
        let number = port.number;
        let mut notes = KVec::new();
        for send in &sends {
            let imm = send.imm.unwrap_or(0);
            notes.push([0, number, send.what as u32, send.slot, imm], GFP_ATOMIC)?;
        }
        port.post_sends(sends)?;
        for note in &notes {
            self.trace.note(note);
        }
        // Credits promise this, whatever the order in which things happen from here on.
        if let Some(peer) = self.peer(index).and_then(|peer| self.ports.get(peer)) {
            let posted = self.ports.get(index).map_or(0, |port| {
                let messages = port.sends.iter().filter(|send| send.is_message());
                messages.count()
            });
            if peer.is_up() && posted > peer.recvs.len() {
                self.counts.overdrawn = self.counts.overdrawn.saturating_add(1);
            }
        }
        Ok(())
    }

    /// Posts to a receive queue.
    pub(super) fn post_recv(&mut self, index: usize, slot: u32) -> Result {
        let port = self.port(index)?;
        port.post_recv(slot)?;
        let number = port.number;
        self.trace.note(&[1, number, slot]);
        Ok(())
    }

    /// Ends a connection from one side: that one flushes, and both will be told.
    pub(super) fn disconnect(&mut self, index: usize) {
        let peer = self.peer(index);
        self.fail(index, true);
        for index in [Some(index), peer].into_iter().flatten() {
            if let Some(port) = self.ports.get_mut(index) {
                port.ending = true;
            }
        }
    }

    fn close(&mut self, index: usize) {
        self.disconnect(index);
        if let Some(port) = self.ports.get_mut(index) {
            port.phase = Phase::Closed;
        }
    }

    /// A side goes into error. If that is not for a request of its own, its last requests may
    /// have been carried out without its knowledge.
    pub(super) fn fail(&mut self, index: usize, unheard: bool) {
        let Some(port) = self.ports.get_mut(index) else {
            return;
        };
        let unheard = match unheard {
            true => self.chance.below(port.send_done.len().saturating_add(1)),
            false => 0,
        };
        port.fail(unheard);
    }
}
