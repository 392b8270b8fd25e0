// SPDX-License-Identifier: GPL-2.0

//! The shared memory of a channel, and the kernel's account of its completion ring.
//!
//! A place in the ring is reserved before anything that will complete is started, so a completion
//! always has room. User space can write to all of this memory: the kernel's own indices are kept
//! here, and what is read from the memory is only ever compared with them.
//!
//! The order in which the two sides access it is tested with loom, by a model of this file:
//! `tools/dmaplane/src/ring/model/kernel.rs`, which has to be kept alike.
//!
//! Ownership: see [`super`].
//! Locking: `state` is a spinlock, taken with anything else held, and outside of nothing but the lock
//! of an eventfd. `flags` is changed under it,
//! so that user space's copy is the last one, and read without.
//! Teardown: the memory goes with the last mapping, endpoint, entry and handle.

mod batch;
mod polled;

pub(super) use self::batch::{
    Batch,
    Told, //
};

use super::{
    pollers::Pollers,
    times::Began, //
};
use crate::{
    counters::{
        Counters,
        Total, //
    },
    pure::ring::{
        self,
        Completions,
        Corrupt, //
    },
};
use core::mem::{
    offset_of,
    size_of, //
};
use dmakit::{
    errno::{
        EBADFD,
        ETIME, //
    },
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
    rdma::poller::{
        Deadline,
        Poller, //
    },
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
const FLAGS: usize = offset_of!(uapi::dmaplane_ring, flags);

/// A thread takes entries, and nobody else. Not for user space.
const POLLED: u32 = 1 << 31;

/// Where things are in the mapping.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    sq_entries: u32,
    cq_entries: u32,
    /// Offset of the submission entries.
    pub(super) sqes: u32,
    /// Offset of the completion entries.
    pub(super) cqes: u32,
    /// Offset of the times of these, or 0 if there are no such.
    pub(super) times: u32,
    /// Length in whole pages.
    pub(super) length: u32,
}

impl Layout {
    /// For ring sizes within the limits, which keep all of this far from overflow.
    pub(super) fn new(sq_entries: u32, cq_entries: u32, times: bool) -> Self {
        let sqes = size_of::<uapi::dmaplane_ring>() as u32;
        let cqes =
            sqes.saturating_add(sq_entries.saturating_mul(size_of::<uapi::dmaplane_sqe>() as u32));
        let end =
            cqes.saturating_add(cq_entries.saturating_mul(size_of::<uapi::dmaplane_cqe>() as u32));
        let all = cq_entries.saturating_mul(size_of::<uapi::dmaplane_times>() as u32);
        let (times, end) = match times {
            true => (end, end.saturating_add(all)),
            false => (0, end),
        };
        Self {
            sq_entries,
            cq_entries,
            sqes,
            cqes,
            times,
            length: end.next_multiple_of(PAGE_SIZE as u32),
        }
    }
}

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
    /// `DMAPLANE_RING_*`, or [`POLLED`]: whatever is not as usual.
    flags: Atomic<u32>,
    poller: Arc<Poller>,
    /// Who polls the context's file.
    pollers: Arc<Pollers>,
    /// Who polls a file of the channel's own.
    own_pollers: Arc<Pollers>,
    /// What the thread that takes entries sleeps on, if there is one.
    waker: Option<Arc<Waker>>,
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

impl State {
    fn signal(&self) {
        if let Some(event) = &self.event {
            event.signal();
        }
    }
}

/// How long to wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Timeout {
    /// Nanoseconds.
    For(u64),
    /// A time of `CLOCK_MONOTONIC`, in nanoseconds.
    Until(u64),
}

/// What a waiter wants to know.
pub(crate) struct Status {
    /// Completions can be reaped.
    pub(crate) available: bool,
    /// User space broke the indices.
    pub(crate) poisoned: bool,
    /// An endpoint has receives to post and found no room.
    pub(crate) starved: bool,
    /// The handle is gone.
    pub(crate) retired: bool,
}

impl CompletionRing {
    pub(super) fn new(
        layout: Layout,
        counters: &Arc<Counters>,
        pollers: &Arc<Pollers>,
        waker: Option<Arc<Waker>>,
    ) -> Result<Arc<Self>> {
        let count = usize::try_from(layout.length)? / PAGE_SIZE;
        let pages = Arc::new(Pages::new(count, Placement::Any)?, GFP_KERNEL_ACCOUNT)?;
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
        let flags = if waker.is_some() { POLLED } else { 0 };
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
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Registers a poller of the channel's own file, before its state is looked at.
    pub(super) fn register_poll(&self, file: &File, table: &PollTable<'_>) {
        self.own_pollers.register(file, table);
    }

    /// Has `event` signalled from now on, and nothing else.
    pub(super) fn set_event(&self, event: Option<EventFd>) -> Result {
        let mut state = self.state.lock();
        self.check()?;
        if state.retired {
            return Err(ENOENT);
        }
        let available = self.count_available(&mut state)?;
        let last = core::mem::replace(&mut state.event, event);
        if available > 0 {
            state.signal();
        }
        drop(state);
        drop(last);
        Ok(())
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

    /// Reserves one place for a receive; if there is no room, user space is asked to come back.
    pub(crate) fn reserve_receive(&self) -> bool {
        if matches!(self.reserve_up_to(1), Ok(1)) {
            return true;
        }
        // Ask first, look again after: a user that reaps in between sees the request.
        self.set_flag(uapi::DMAPLANE_RING_NEED_ENTER, true);
        Shared::order();
        matches!(self.reserve_up_to(1), Ok(1))
    }

    /// Gives back reserved places.
    pub(crate) fn unreserve(&self, n: u32) {
        self.withdraw(&mut self.state.lock(), n);
    }

    /// Withdraws that request: all endpoints are about to look for room again, and so does the thread.
    pub(crate) fn unstarve(&self) {
        let mut state = self.state.lock();
        self.change_flag(&mut state, uapi::DMAPLANE_RING_NEED_ENTER, false);
        self.unstick(&mut state);
    }

    /// An endpoint will deliver here: reserves `receives` places or none (`EBUSY`).
    pub(crate) fn attach(&self, receives: u32) -> Result {
        let reserved = self.reserve_up_to(receives)?;
        let mut state = self.state.lock();
        if reserved < receives {
            self.release(&mut state, reserved);
            return Err(EBUSY);
        }
        if state.retired {
            self.release(&mut state, reserved);
            return Err(ENOENT);
        }
        state.endpoints = state.endpoints.saturating_add(1);
        Ok(())
    }

    /// An endpoint delivers here no more, and gives back places of receives that never came.
    pub(crate) fn detach(&self, receives: u32) {
        let mut state = self.state.lock();
        self.release(&mut state, receives);
        state.endpoints = state.endpoints.saturating_sub(1);
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

    /// Accepts an entry that came by io_uring and takes no place here. `ENOENT` if the channel is
    /// closed.
    pub(super) fn accept_command(&self) -> Result<Told> {
        match self.state.lock().retired {
            true => return Err(ENOENT),
            false => self.counters.count(Total::Submitted, 1),
        }
        Ok(Told::nothing())
    }

    /// Such an entry will take some time; `EBUSY` if as many do as there are places.
    pub(super) fn keep_command(&self) -> Result {
        let mut state = self.state.lock();
        if state.commands >= self.layout.cq_entries {
            return Err(EBUSY);
        }
        state.commands = state.commands.saturating_add(1);
        Ok(())
    }

    /// Such an entry is complete, and was `kept` or not.
    pub(super) fn complete_command(&self, kept: bool) {
        self.counters.count(Total::Completed, 1);
        if kept {
            let mut state = self.state.lock();
            state.commands = state.commands.saturating_sub(1);
        }
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

    /// Fills a reserved place with a message received.
    pub(crate) fn receive(&self, cqe: &uapi::dmaplane_cqe) {
        self.counters.count(Total::Received, 1);
        let mut state = self.state.lock();
        self.fill_timed(&mut state, cqe, Began::default());
        self.tell(state);
    }

    /// The same, and says when if that is wanted.
    fn fill_timed(&self, state: &mut State, cqe: &uapi::dmaplane_cqe, began: Began) {
        let index = self.fill(state, cqe);
        if let Some(times) = &self.times {
            times.write(index, &began.complete());
        }
    }

    /// Fills the next place, and returns which one that is.
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

    /// Waits until `min` completions can be reaped. `ETIME` after the time, `EINTR` for a signal. Calls
    /// `starved` when an endpoint may have room now for the receives that it had none for.
    pub(super) fn wait(&self, min: u32, timeout: Timeout, starved: impl Fn()) -> Result {
        let mut deadline = None;
        // Without any time nothing is waited for, nor done for others.
        let mut over = (timeout == Timeout::For(0)).then_some(ETIME.into());
        loop {
            let mut state = self.state.lock();
            self.check()?;
            if state.retired {
                return Err(ENOENT);
            }
            let available = self.count_available(&mut state)?;
            if available >= min {
                return Ok(());
            }
            if let Some(error) = over {
                return Err(error);
            }
            state.wanted = match state.waiters {
                0 => min,
                _ => state.wanted.min(min),
            };
            state.waiters = state.waiters.saturating_add(1);
            let news = self.poller.news();
            drop(state);
            // Room that comes later is news.
            if self.is_starved() {
                starved();
            }
            let deadline = deadline.get_or_insert_with(|| match timeout {
                Timeout::For(time) => Deadline::after(time),
                Timeout::Until(time) => Deadline::at(time),
            });
            let waited = self.poller.wait(news, deadline);
            let mut state = self.state.lock();
            state.waiters = state.waiters.saturating_sub(1);
            drop(state);
            // What came last still counts.
            over = waited.err();
        }
    }

    fn count_available(&self, state: &mut State) -> Result<u32> {
        let head = self.memory.load_acquire::<CQ_HEAD>();
        let available = state.completions.available(head);
        available.map_err(|Corrupt| self.poison(state))
    }

    /// How things are.
    pub(crate) fn status(&self) -> Status {
        let mut state = self.state.lock();
        let available = matches!(self.count_available(&mut state), Ok(count) if count > 0);
        Status {
            available,
            poisoned: self.flags.load(Relaxed) & uapi::DMAPLANE_RING_POISONED != 0,
            starved: self.flags.load(Relaxed) & uapi::DMAPLANE_RING_NEED_ENTER != 0,
            retired: state.retired,
        }
    }

    /// Whether nothing is to be seen to before entries are taken: no [check](Self::check) fails, nobody
    /// [is starved](Self::is_starved), and there is no thread that takes them.
    #[inline]
    pub(super) fn is_usual(&self) -> bool {
        // As below.
        Shared::order();
        self.flags.load(Relaxed) == 0
    }

    /// Whether an endpoint has receives to post and found no room.
    pub(super) fn is_starved(&self) -> bool {
        // Pairs with that of `reserve_receive()`: whoever reaped before is seen there, or sees it.
        Shared::order();
        self.flags.load(Relaxed) & uapi::DMAPLANE_RING_NEED_ENTER != 0
    }

    /// `EBADFD` if user space broke the indices.
    pub(super) fn check(&self) -> Result {
        match self.flags.load(Relaxed) & uapi::DMAPLANE_RING_POISONED {
            0 => Ok(()),
            _ => Err(EBADFD.into()),
        }
    }

    fn poison(&self, state: &mut State) -> Error {
        if self.check().is_ok() {
            self.change_flag(state, uapi::DMAPLANE_RING_POISONED, true);
            state.signal();
        }
        self.poller.tell();
        self.notify_pollers();
        EBADFD.into()
    }

    fn set_flag(&self, flag: u32, on: bool) {
        self.change_flag(&mut self.state.lock(), flag, on);
    }

    fn change_flag(&self, _locked: &mut State, flag: u32, on: bool) {
        let flags = match on {
            true => self.flags.load(Relaxed) | flag,
            false => self.flags.load(Relaxed) & !flag,
        };
        self.flags.store(flags, Relaxed);
        self.memory.store_release::<FLAGS>(flags & !POLLED);
    }
}

impl Mappable for CompletionRing {
    fn pages(&self) -> &Pages {
        self.memory.pages()
    }
}
