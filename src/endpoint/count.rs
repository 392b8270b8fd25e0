// SPDX-License-Identifier: GPL-2.0

//! Counters: messages that are counted, rather than told of one by one.
//!
//! Ownership: the endpoint has its [`Counts`], and in them the entries that wait. A handle's
//! [`Counter`] holds the endpoint and names one count, which goes when the handle does. Entries that
//! wait hold their queue, which may keep a [`Counter`] for others that have not begun: that circle is
//! broken when the queue is stopped, or the counter or the endpoint ends.
//! Locking: the endpoint's.
//! Teardown: entries that wait are complete when their counter has ended, or when no message can
//! come any more: the endpoint failed, and what had arrived before has been counted.

use super::{
    Ending,
    Endpoint,
    Inner,
    Owned, //
};
use crate::{
    channel::Ticket,
    context::{
        Context,
        Object, //
    },
    counters::{
        Live,
        Tally, //
    },
    ioctl::Created, //
};
use core::cmp::Reverse;
use dmakit::{
    errno::ECANCELED,
    uapi, //
};
use kernel::{
    alloc::KVVec,
    error::Error,
    prelude::*,
    sync::Arc, //
};

/// Different masks of one endpoint's counters, each of which is looked for in every message.
const MAX_MASKS: usize = 16;

/// What is counted: messages whose immediate has `imm` where `mask` has bits.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Pattern {
    mask: u32,
    imm: u32,
}

impl Pattern {
    /// That of the counters with this mask which a message belongs to.
    fn of(imm: u32, mask: u32) -> Self {
        Self {
            mask,
            imm: imm & mask,
        }
    }

    /// Those that say more come first.
    fn rank(&self) -> (Reverse<u32>, u32, u32) {
        (Reverse(self.mask.count_ones()), self.mask, self.imm)
    }
}

/// An entry that waits until so many messages were counted.
struct Waiting {
    value: u64,
    ticket: Ticket,
}

struct Count {
    pattern: Pattern,
    id: u64,
    value: u64,
    /// In the order of their values, the least one last; of equal ones the first one.
    waiting: KVVec<Waiting>,
}

impl Count {
    /// Completes the entries that have waited long enough.
    fn tell(&mut self) {
        while self
            .waiting
            .last()
            .is_some_and(|entry| entry.value <= self.value)
        {
            if let Some(entry) = self.waiting.pop() {
                entry.ticket.succeed(0);
            }
        }
    }

    /// Keeps an entry, or gives it back if there is no memory.
    fn wait(&mut self, entry: Waiting) -> Result<(), (Error, Waiting)> {
        if let Err(error) = self.waiting.reserve(1, GFP_KERNEL_ACCOUNT) {
            return Err((error.into(), entry));
        }
        let position = self
            .waiting
            .partition_point(|other| other.value > entry.value);
        // There is room.
        let _ = self.waiting.insert_within_capacity(position, entry);
        Ok(())
    }

    /// Cancels entries that are `meant`, the oldest one of the least value or `all`.
    fn cancel(&mut self, all: bool, meant: &dyn Fn(&Ticket) -> bool) -> u32 {
        let mut found = 0u32;
        for position in (0..self.waiting.len()).rev() {
            if found > 0 && !all {
                break;
            }
            let entry = self.waiting.get(position);
            if !entry.is_some_and(|entry| meant(&entry.ticket)) {
                continue;
            }
            if let Ok(entry) = self.waiting.remove(position) {
                entry.ticket.fail(ECANCELED.into(), 0);
                found = found.saturating_add(1);
            }
        }
        found
    }

    fn end(&mut self, error: Error) {
        while let Some(entry) = self.waiting.pop() {
            entry.ticket.fail(error, 0);
        }
    }
}

/// The counters of an endpoint.
pub(super) struct Counts {
    /// In the order of their patterns.
    list: KVVec<Count>,
    /// All masks in `list`, in its order.
    masks: KVec<u32>,
    last: u64,
    /// No message will come any more, for this reason.
    ended: Option<Error>,
    /// Heartbeats since the endpoint failed.
    pub(super) late: u32,
}

impl Counts {
    /// None yet.
    pub(super) const fn new() -> Self {
        Self {
            list: KVVec::new(),
            masks: KVec::new(),
            last: 0,
            ended: None,
            late: 0,
        }
    }

    fn position(&self, pattern: Pattern) -> Result<usize, usize> {
        self.list
            .binary_search_by_key(&pattern.rank(), |count| count.pattern.rank())
    }

    fn find(&mut self, counter: &Counter) -> Option<&mut Count> {
        let position = self.position(counter.pattern).ok()?;
        let count = self.list.get_mut(position)?;
        (count.id == counter.id).then_some(count)
    }

    fn next_id(&mut self) -> u64 {
        self.last = self.last.wrapping_add(1);
        self.last
    }

    /// Adds a counter. `EEXIST` if there is one of the same pattern, `ENOSPC` if there are too many
    /// masks.
    fn add(&mut self, counter: &Counter) -> Result {
        let pattern = counter.pattern;
        let Err(position) = self.position(pattern) else {
            return Err(EEXIST);
        };
        let rank = |mask: u32| Pattern::of(0, mask).rank();
        let masks = &mut self.masks;
        let new_mask = masks.binary_search_by_key(&rank(pattern.mask), |mask| rank(*mask));
        if new_mask.is_err() && masks.len() >= MAX_MASKS {
            return Err(ENOSPC);
        }
        masks.reserve(1, GFP_KERNEL_ACCOUNT)?;
        self.list.reserve(1, GFP_KERNEL_ACCOUNT)?;
        let count = Count {
            pattern,
            id: counter.id,
            value: 0,
            waiting: KVVec::new(),
        };
        let inserted = self.list.insert_within_capacity(position, count);
        inserted.map_err(|_| ENOMEM)?;
        if let Err(position) = new_mask {
            // There is room.
            let _ = masks.insert_within_capacity(position, pattern.mask);
        }
        Ok(())
    }

    /// Takes a counter out, and ends those who wait for it.
    fn remove(&mut self, counter: &Counter, reason: Error) {
        let Some(count) = self.find(counter) else {
            return;
        };
        count.end(reason);
        if let Ok(position) = self.position(counter.pattern) {
            let removed = self.list.remove(position);
            drop(removed);
        }
        let mask = counter.pattern.mask;
        if self.list.iter().all(|count| count.pattern.mask != mask) {
            self.masks.retain(|other| *other != mask);
        }
    }

    /// Counts a message, if there is a counter for it. The one whose mask has the most bits does.
    pub(super) fn count(&mut self, imm: u32) -> bool {
        for mask in self.masks.iter() {
            let Ok(position) = self.position(Pattern::of(imm, *mask)) else {
                continue;
            };
            let ended = self.ended.is_some();
            if let Some(count) = self.list.get_mut(position) {
                if !ended {
                    count.value = count.value.saturating_add(1);
                    count.tell();
                }
                return true;
            }
        }
        false
    }

    /// Cancels entries that wait and are `meant`: one, or `all`. Returns how many there were.
    pub(super) fn cancel(&mut self, all: bool, meant: &dyn Fn(&Ticket) -> bool) -> u32 {
        let mut found = 0u32;
        for count in self.list.iter_mut() {
            if all || found == 0 {
                found = found.saturating_add(count.cancel(all, meant));
            }
        }
        found
    }

    /// No message will come any more.
    pub(super) fn end(&mut self, error: Error) {
        if self.ended.is_none() {
            self.ended = Some(error);
            for count in self.list.iter_mut() {
                count.end(error);
            }
        }
    }
}

impl Inner {
    /// Ends what waits for messages, of an endpoint that failed, once what had arrived before was seen:
    /// the receives that nothing came for are flushed after that.
    pub(super) fn end_receiving(&mut self) {
        if self.link.as_ref().is_none_or(|link| !link.expects_messages) {
            self.no_more_messages();
        }
    }

    /// As above, if all that arrived was seen, or has to be taken for that.
    pub(super) fn no_more_messages(&mut self) {
        let Some(error) = self.error else {
            return;
        };
        self.counts.end(error);
        if let Some(link) = &mut self.link {
            link.inbox.end(error);
        }
    }
}

/// A counter, as its handle has it.
pub(crate) struct Counter {
    endpoint: Arc<Endpoint>,
    pattern: Pattern,
    id: u64,
    _tally: Tally,
}

impl Ending for Counter {
    fn end(&self, reason: Error) {
        self.endpoint.inner.lock().counts.remove(self, reason);
    }
}

impl Counter {
    /// Whether it counts messages of this endpoint.
    pub(crate) fn is_of(&self, endpoint: &Arc<Endpoint>) -> bool {
        Arc::ptr_eq(&self.endpoint, endpoint)
    }

    /// Completes an entry when `value` messages were counted, or cannot be any more.
    pub(crate) fn wait(&self, value: u64, ticket: Ticket) {
        let mut inner = self.endpoint.inner.lock();
        let ended = inner.counts.ended;
        let Some(count) = inner.counts.find(self) else {
            drop(inner);
            return ticket.fail(ECANCELED.into(), 0);
        };
        let entry = Waiting { value, ticket };
        let kept = match (count.value >= value, ended) {
            (true, _) => {
                drop(inner);
                return entry.ticket.succeed(0);
            }
            (false, Some(error)) => Err((error, entry)),
            (false, None) => count.wait(entry),
        };
        drop(inner);
        if let Err((error, entry)) = kept {
            entry.ticket.fail(error, 0);
        }
    }
}

/// `COUNTER_CREATE`
pub(crate) fn create(
    context: &Context,
    arg: &mut uapi::dmaplane_counter_create,
) -> Result<Created> {
    if arg.flags != 0 || arg.imm & !arg.mask != 0 {
        return Err(EINVAL);
    }
    let endpoint = context.get::<Endpoint>(arg.endpoint)?;
    let id = endpoint.inner.lock().counts.next_id();
    let counter = Arc::new(
        Counter {
            endpoint: endpoint.clone(),
            pattern: Pattern::of(arg.imm, arg.mask),
            id,
            _tally: Tally::one(context.counters(), Live::Counters),
        },
        GFP_KERNEL_ACCOUNT,
    )?;
    // From here on dropping `owned` takes it out of the endpoint.
    let owned = Owned(counter.clone());
    endpoint.inner.lock().counts.add(&counter)?;
    arg.handle = context.insert(Object::Counter(owned))?;
    Ok(Created(arg.handle))
}

/// `COUNTER_QUERY`
pub(crate) fn query(context: &Context, arg: &mut uapi::dmaplane_counter_query) -> Result {
    if arg.flags != 0 {
        return Err(EINVAL);
    }
    let counter = context.get::<Counter>(arg.counter)?;
    let mut inner = counter.endpoint.inner.lock();
    arg.error = super::query::errno(inner.counts.ended);
    arg.value = inner.counts.find(&counter).ok_or(ENOENT)?.value;
    Ok(())
}

/// `COUNTER_DESTROY`
pub(crate) fn destroy(context: &Context, arg: &uapi::dmaplane_handle) -> Result {
    if arg.flags != 0 || arg.pad != 0 {
        return Err(EINVAL);
    }
    let removed = context.remove::<Counter>(arg.handle)?;
    drop(removed);
    Ok(())
}
