// SPDX-License-Identifier: GPL-2.0

//! The shared memory of a channel, and the kernel's account of its completion ring.
//!
//! A place in the ring is reserved before anything that will complete is started, so a completion
//! always has room. User space can write to all of this memory: the kernel's own indices are kept
//! here, and what is read from the memory is only ever compared with them.
//!
//! | file       | what                                                    |
//! |------------|---------------------------------------------------------|
//! | `layout`   | where things are in the memory                          |
//! | `batch`    | completions of what an `ENTER` does at once             |
//! | `receives` | places for what endpoints receive                       |
//! | `commands` | entries that came by io_uring                           |
//! | `wait`     | those who wait for completions                          |
//! | `event`    | an eventfd that is signalled                            |
//! | `flags`    | what is not as usual                                    |
//! | `polled`   | a thread that takes entries                             |
//!
//! The order in which the two sides access it is tested with loom, by a model of these files:
//! `tools/dmaplane/src/ring/model/kernel.rs`, which has to be kept alike.
//!
//! Ownership: see [`super`].
//! Locking: `state` is a spinlock, taken with anything else held, and outside of nothing but the lock
//! of an eventfd. `flags` is changed under it, so that user space's copy is the last one, and read
//! without.
//! Teardown: the memory goes with the last mapping, endpoint, entry and handle.

mod batch;
mod commands;
mod event;
mod flags;
mod layout;
mod polled;
mod receives;
mod wait;

pub(super) use self::{
    batch::{
        Batch,
        Told, //
    },
    layout::Layout,
    wait::Timeout, //
};

use super::{
    pollers::Pollers,
    times::Began, //
};
use crate::{
    counters::{
        Counters,
        Tally,
        Total, //
    },
    pure::ring::{
        self,
        Completions,
        Corrupt, //
    },
};
use core::mem::offset_of;
use dmakit::{
    eventfd::EventFd,
    kthread::Waker,
    mm::{
        map::Mappable,
        pages::{
            Pages,
            Placement, //
        },
        shared::{
            Shared,
            Slots, //
        }, //
    },
    rdma::poller::Poller,
    uapi, //
};
use kernel::{
    fs::File,
    new_spinlock,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        poll::PollTable,
        Arc,
        SpinLock,
        SpinLockGuard, //
    }, //
};

const SQ_HEAD: usize = offset_of!(uapi::dmaplane_ring, sq_head);
const SQ_TAIL: usize = offset_of!(uapi::dmaplane_ring, sq_tail);
const CQ_HEAD: usize = offset_of!(uapi::dmaplane_ring, cq_head);
const CQ_TAIL: usize = offset_of!(uapi::dmaplane_ring, cq_tail);

/// The memory of both rings, and the account of completions.
#[pin_data]
pub(crate) struct CompletionRing {
    layout: Layout,
    memory: Shared,
    sqes: Slots<[u64; 8]>,
    cqes: Slots<uapi::dmaplane_cqe>,
    /// When these were begun and complete, for who asked for it.
    times: Option<Slots<uapi::dmaplane_times>>,
    counters: Arc<Counters>,
    #[pin]
    state: SpinLock<State>,
    /// `DMAPLANE_RING_*`, or [`POLLED`](flags::POLLED): whatever is not as usual.
    flags: Atomic<u32>,
    poller: Arc<Poller>,
    /// Who polls the context's file.
    pollers: Arc<Pollers>,
    /// Who polls a file of the channel's own.
    own_pollers: Arc<Pollers>,
    /// What the thread that takes entries sleeps on, if there is one.
    waker: Option<Arc<Waker>>,
    // Note: dropped after the memory.
    _charge: Tally,
}

struct State {
    completions: Completions,
    /// Endpoints that deliver here.
    endpoints: u32,
    /// The handle is gone.
    retired: bool,
    /// Calls that wait for completions, and the least that one of them waits for.
    waiters: u32,
    wanted: u32,
    /// Entries accepted and not complete.
    outstanding: u32,
    /// Those of them that wait for all others.
    held: u32,
    /// Commands of io_uring under way.
    commands: u32,
    /// What a program has asked to be signalled.
    event: Option<EventFd>,
    /// The thread that takes entries found no place for a completion, and sleeps.
    stuck: bool,
}

impl CompletionRing {
    pub(super) fn new(
        layout: Layout,
        counters: &Arc<Counters>,
        pollers: &Arc<Pollers>,
        waker: Option<Arc<Waker>>,
    ) -> Result<Arc<Self>> {
        let count = usize::try_from(layout.length)? / PAGE_SIZE;
        let charge = Tally::memory(counters, u64::from(layout.length))?;
        let pages = Pages::new(count, Placement::Any)?;
        let memory = Shared::new(pages)?;
        memory.write(
            0,
            &uapi::dmaplane_ring {
                sq_mask: layout.sq_entries.wrapping_sub(1),
                cq_mask: layout.cq_entries.wrapping_sub(1),
                ..Default::default()
            },
        )?;
        let sqes = Slots::new(&memory, layout.sqes as usize, layout.sq_entries)?;
        let cqes = Slots::new(&memory, layout.cqes as usize, layout.cq_entries)?;
        let times = match layout.times {
            0 => None,
            times => Some(Slots::new(&memory, times as usize, layout.cq_entries)?),
        };
        let flags = if waker.is_some() { flags::POLLED } else { 0 };
        let poller = Poller::new()?;
        let counters = counters.clone();
        let pollers = pollers.clone();
        let own_pollers = Pollers::new()?;
        Arc::pin_init(
            pin_init!(Self {
                layout,
                memory,
                sqes,
                cqes,
                times,
                counters,
                state <- new_spinlock!(State {
                    completions: Completions::new(layout.cq_entries),
                    endpoints: 0,
                    retired: false,
                    waiters: 0,
                    wanted: 0,
                    outstanding: 0,
                    held: 0,
                    commands: 0,
                    event: None,
                    stuck: false,
                }),
                flags: Atomic::new(flags),
                poller,
                pollers,
                own_pollers,
                waker,
                _charge: charge,
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Registers a poller of the channel's own file, before its state is looked at.
    pub(super) fn register_poll(&self, file: &File, table: &PollTable<'_>) {
        self.own_pollers.register(file, table);
    }

    fn notify_pollers(&self) {
        self.pollers.notify();
        self.own_pollers.notify();
    }

    /// Who waits does so there.
    pub(crate) fn poller(&self) -> &Arc<Poller> {
        &self.poller
    }

    /// Size of the completion ring.
    pub(crate) fn cq_entries(&self) -> u32 {
        self.layout.cq_entries
    }

    /// Whether completions say when.
    pub(super) fn is_timed(&self) -> bool {
        self.times.is_some()
    }

    /// Accepts up to `most` of the entries that user space has submitted past `head`: their
    /// completions have places then. Returns how many, and where completions go; `EBUSY` if the first
    /// has no place, `ENOENT` if the channel is closed.
    pub(super) fn accept(&self, head: u32, most: u32) -> Result<(u32, Batch<'_>)> {
        let mut state = self.state.lock();
        if state.retired {
            return Err(ENOENT);
        }
        let tail = self.memory.load_acquire::<SQ_TAIL>();
        let submitted = ring::distance(head, tail, self.layout.sq_entries)
            .map_err(|Corrupt| self.poison(&mut state))?;
        let wanted = most.min(submitted);
        let accepted = self.reserve(&mut state, wanted)?;
        if accepted == 0 && wanted > 0 {
            return Err(EBUSY);
        }
        state.outstanding = state.outstanding.saturating_add(accepted);
        self.counters.count(Total::Submitted, accepted);
        Ok((accepted, Batch::new(self, state)))
    }

    /// A copy of the submission entry at `index`.
    #[inline]
    pub(super) fn submission(&self, index: u32) -> uapi::SqeWords {
        uapi::SqeWords::new(self.sqes.read(index))
    }

    /// Tells user space which entries were taken.
    pub(super) fn publish_sq_head(&self, head: u32) {
        self.memory.store_release::<SQ_HEAD>(head);
    }

    /// Reserves up to `n` places, returns how many.
    fn reserve_up_to(&self, n: u32) -> Result<u32> {
        self.reserve(&mut self.state.lock(), n)
    }

    fn reserve(&self, state: &mut State, n: u32) -> Result<u32> {
        let head = self.memory.load_acquire::<CQ_HEAD>();
        let reserved = state.completions.reserve_up_to(head, n);
        reserved.map_err(|Corrupt| self.poison(state))
    }

    /// The handle goes away; `EBUSY` while endpoints deliver here.
    pub(super) fn retire(&self) -> Result {
        let mut state = self.state.lock();
        if state.endpoints > 0 {
            return Err(EBUSY);
        }
        state.retired = true;
        state.signal();
        let last = state.event.take();
        self.poller.tell();
        drop(state);
        drop(last);
        self.notify_pollers();
        Ok(())
    }

    /// Fills a reserved place with the completion of a submitted entry, or gives it back if that is
    /// not to be told. Whether all are complete but those that are held, if there are such.
    pub(super) fn complete(&self, cqe: &uapi::dmaplane_cqe, silent: bool, began: Began) -> bool {
        self.counters.count(Total::Completed, 1);
        let mut state = self.state.lock();
        state.outstanding = state.outstanding.saturating_sub(1);
        match silent {
            true => self.withdraw(&mut state, 1),
            false => self.fill_timed(&mut state, cqe, began),
        }
        let last = state.held > 0 && state.outstanding == state.held;
        match silent {
            true => drop(state),
            false => {
                self.tell(state);
            }
        }
        last
    }

    /// Gives places back that nothing will be told in.
    fn withdraw(&self, state: &mut State, n: u32) {
        self.release(state, n);
        // Somebody may sleep who would see this, had it a completion.
        if self.flags.load(Relaxed) & uapi::DMAPLANE_RING_NEED_ENTER != 0 {
            state.signal();
            self.poller.tell();
            self.notify_pollers();
        }
    }

    fn release(&self, state: &mut State, n: u32) {
        state.completions.release(n);
        self.unstick(state);
    }

    /// Notes how many entries are held; whether all others are complete, but for those that are
    /// `left` to be begun.
    pub(super) fn hold(&self, held: u32, left: u32) -> bool {
        let mut state = self.state.lock();
        state.held = held;
        state.outstanding == held.saturating_add(left)
    }

    /// Fills the next place, and says when if that is wanted.
    fn fill_timed(&self, state: &mut State, cqe: &uapi::dmaplane_cqe, began: Began) {
        let index = self.fill(state, cqe);
        if let Some(times) = &self.times {
            times.write(index, &began.complete());
        }
    }

    /// Fills the next place, and returns its index.
    #[inline(always)]
    fn fill(&self, state: &mut State, cqe: &uapi::dmaplane_cqe) -> u32 {
        let index = state.completions.tail();
        state.completions.push();
        self.cqes.write(index, cqe);
        index
    }

    /// Lets user space see what was filled in; returns how many completions it can reap.
    fn tell(&self, mut state: SpinLockGuard<'_, State>) -> u32 {
        self.memory
            .store_release::<CQ_TAIL>(state.completions.tail());
        let available = self.count_available(&mut state);
        // Whoever waits for more is left asleep.
        if state.waiters > 0 && available.map_or(true, |available| available >= state.wanted) {
            self.poller.tell();
        }
        state.signal();
        drop(state);
        self.notify_pollers();
        available.unwrap_or(0)
    }

    fn count_available(&self, state: &mut State) -> Result<u32> {
        let head = self.memory.load_acquire::<CQ_HEAD>();
        let available = state.completions.available(head);
        available.map_err(|Corrupt| self.poison(state))
    }
}

impl Mappable for CompletionRing {
    fn pages(&self) -> &Arc<Pages> {
        self.memory.pages()
    }
}
