// SPDX-License-Identifier: GPL-2.0
//! Who waits for what, and what goes to the rings: no clock, no runtime, no lock.

use std::{
    collections::VecDeque,
    mem,
    task::{Poll, Waker},
    time::Duration,
};

use rustix::io::Errno;

use crate::{Cancel, Channel, Completion, Entry, Error, Result, Times};

/// A completion and its times.
pub(super) type Completed = (Completion, Option<Times>);

/// What is needed of a channel.
pub(super) trait Rings {
    /// Places in the completion ring.
    fn cq_entries(&self) -> u32;

    /// Queues an entry; false when the submission ring is full.
    fn push(&mut self, entry: Entry) -> bool;

    /// Entries that the kernel has not taken.
    fn pending(&self) -> u32;

    /// Completions that can be taken.
    fn available(&self) -> u32;

    /// The kernel waits to be entered, now that completions were taken.
    fn needs_enter(&self) -> bool;

    /// Enters without waiting; how many entries the kernel took.
    fn enter(&mut self) -> Result<u32>;

    /// Takes up to `most` of the completions that are there.
    fn reap(&mut self, most: usize, each: impl FnMut(Completed));
}

impl Rings for Channel {
    fn cq_entries(&self) -> u32 {
        Channel::cq_entries(self)
    }

    fn push(&mut self, entry: Entry) -> bool {
        Channel::push(self, entry).is_ok()
    }

    fn pending(&self) -> u32 {
        Channel::pending(self)
    }

    fn available(&self) -> u32 {
        Channel::available(self)
    }

    fn needs_enter(&self) -> bool {
        Channel::needs_enter(self)
    }

    fn enter(&mut self) -> Result<u32> {
        Channel::enter(self, 0, Some(Duration::ZERO))
    }

    fn reap(&mut self, most: usize, each: impl FnMut(Completed)) {
        self.completions().timed().take(most).for_each(each);
    }
}

/// Who an entry's completion is for.
#[derive(Debug)]
enum For {
    /// A future, which may not have been polled.
    Future(Option<Waker>),
    /// Whoever asks for the next one.
    Anybody,
    /// Nobody any more.
    Nobody,
}

/// A number that entries have as their `user_data`.
#[derive(Debug)]
enum Slot {
    Free,
    /// Its entry is not complete.
    Taken {
        whose: For,
        user_data: u64,
        endpoint: u32,
    },
    /// Until its future is told.
    Done(Completed),
}

/// The `user_data` of entries that cancel others, which nobody waits for.
const CANCELS: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct State<R> {
    rings: R,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Entries that had no room yet, in order.
    backlog: VecDeque<Entry>,
    /// Numbers of entries to cancel.
    cancels: VecDeque<usize>,
    /// The last entry pushed expects another of its chain.
    open: bool,
    /// Completions that are for anybody, in order, and how many there may be: if nobody takes them,
    /// the peer is to be slowed down.
    arrived: VecDeque<Completed>,
    most: usize,
    /// News of completions are not waited for.
    deaf: bool,
    /// Who waits for those.
    readers: Vec<Waker>,
    /// Nothing will complete any more.
    failed: Option<Error>,
    /// To be woken when nothing is locked.
    woken: Vec<Waker>,
}

impl<R: Rings> State<R> {
    pub(super) fn new(rings: R) -> Self {
        State {
            most: rings.cq_entries() as usize,
            rings,
            slots: Vec::new(),
            free: Vec::new(),
            backlog: VecDeque::new(),
            cancels: VecDeque::new(),
            open: false,
            arrived: VecDeque::new(),
            deaf: true,
            readers: Vec::new(),
            failed: None,
            woken: Vec::new(),
        }
    }

    pub(super) fn rings(&self) -> &R {
        &self.rings
    }

    /// Queues an entry behind all others; its number, for a future if it is `awaited`.
    pub(super) fn add(&mut self, entry: Entry, awaited: bool) -> usize {
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::Free);
            self.slots.len() - 1
        });
        let raw = entry.raw();
        self.slots[number] = Slot::Taken {
            whose: if awaited {
                For::Future(None)
            } else {
                For::Anybody
            },
            user_data: raw.user_data,
            endpoint: raw.endpoint,
        };
        // All are told of: somebody waits.
        self.backlog
            .push_back(entry.told().user_data(number as u64));
        self.fill();
        number
    }

    /// What has become of an entry; else `waker` is woken when it is complete.
    pub(super) fn poll(&mut self, number: usize, waker: &Waker) -> Poll<Result<Completed>> {
        match &mut self.slots[number] {
            Slot::Taken { whose, .. } => match self.failed {
                Some(error) => {
                    *whose = For::Nobody;
                    Poll::Ready(Err(error))
                }
                None => {
                    *whose = For::Future(Some(waker.clone()));
                    Poll::Pending
                }
            },
            slot => match mem::replace(slot, Slot::Free) {
                Slot::Done(completed) => {
                    self.free.push(number);
                    Poll::Ready(Ok(completed))
                }
                // Not for who has the number by right.
                _ => Poll::Pending,
            },
        }
    }

    /// Nobody waits for an entry any more, which is canceled if it shall be.
    pub(super) fn abandon(&mut self, number: usize, cancel: bool) {
        match &mut self.slots[number] {
            Slot::Taken { whose, .. } => {
                *whose = For::Nobody;
                if !cancel {
                    return;
                }
                // Not taken out: others may be linked to it.
                let is_it = |entry: &&mut Entry| entry.raw().user_data == number as u64;
                match self.backlog.iter_mut().find(is_it) {
                    Some(entry) => *entry = entry.refused(),
                    None => self.cancels.push_back(number),
                }
            }
            slot => {
                *slot = Slot::Free;
                self.free.push(number);
            }
        }
    }

    /// Whether there are `min` completions for anybody; else `waker` is woken when there are more.
    pub(super) fn poll_arrived(&mut self, min: usize, waker: &Waker) -> Poll<Result<usize>> {
        if self.arrived.len() >= min {
            return Poll::Ready(Ok(self.arrived.len()));
        }
        if let Some(error) = self.failed {
            return Poll::Ready(Err(error));
        }
        if !self.readers.iter().any(|reader| reader.will_wake(waker)) {
            self.readers.push(waker.clone());
        }
        Poll::Pending
    }

    /// Takes the first completion that is for anybody.
    pub(super) fn take_arrived(&mut self) -> Option<Completed> {
        self.arrived.pop_front()
    }

    /// Whether no completion is taken before one of those is that are for anybody.
    fn is_full(&self) -> bool {
        self.arrived.len() >= self.most
    }

    /// Whether news of completions would change anything; they are waited for then.
    pub(super) fn wants_news(&mut self) -> bool {
        self.deaf = self.failed.is_some() || self.is_full();
        !self.deaf
    }

    /// Whether [`State::turn`] has something to do now.
    pub(super) fn is_due(&self) -> bool {
        let unsent = self.rings.pending() > 0 || !self.backlog.is_empty();
        let untaken = (self.rings.available() > 0 || self.deaf) && !self.is_full();
        self.failed.is_none() && (unsent || untaken || !self.cancels.is_empty())
    }

    /// Submits what there is room for and takes completions, until neither is any; whether there
    /// were some.
    pub(super) fn turn(&mut self) -> bool {
        let mut any = false;
        let mut again = self.failed.is_none();
        while again {
            self.fill();
            let mut taken = 0;
            if self.rings.pending() > 0 || self.rings.needs_enter() {
                match self.rings.enter() {
                    Ok(count) => taken = count,
                    // Those in flight have the room.
                    Err(error) if error.errno() == Errno::BUSY => {}
                    Err(error) => {
                        self.fail(error);
                        break;
                    }
                }
            }
            // Taking completions makes room for entries, and for receives: then the kernel wants to
            // be entered.
            let more = taken > 0 && !(self.backlog.is_empty() && self.cancels.is_empty());
            let reaped = self.reap();
            any |= reaped;
            again = reaped || more;
        }
        any
    }

    /// Nothing came although something should have: perhaps the channel has ended.
    pub(super) fn probe(&mut self) {
        match self.rings.enter() {
            Err(error) if error.errno() != Errno::BUSY => self.fail(error),
            _ => {}
        }
    }

    /// Pushes what there is room for, what cancels before anything else.
    fn fill(&mut self) {
        while !self.open {
            let Some(&number) = self.cancels.front() else {
                break;
            };
            if let Slot::Taken { endpoint, .. } = self.slots[number] {
                let cancel = Cancel::of(endpoint, number as u64).user_data(CANCELS);
                if !self.rings.push(cancel.skip_success()) {
                    return;
                }
            }
            self.cancels.pop_front();
        }
        while let Some(entry) = self.backlog.front() {
            if !self.rings.push(*entry) {
                return;
            }
            self.open = entry.is_linked();
            self.backlog.pop_front();
        }
    }

    /// Hands completions to whom they are for; whether there were any.
    fn reap(&mut self) -> bool {
        let mut any = false;
        let mut completed = Vec::new();
        let room = self.most.saturating_sub(self.arrived.len());
        self.rings.reap(room, |one| completed.push(one));
        for (mut completion, times) in completed {
            any = true;
            if !completion.is_of_entry() {
                self.arrive((completion, times));
                continue;
            }
            let number = completion.user_data as usize;
            let Some(slot) = self.slots.get_mut(number) else {
                // What cancels, and has found nothing.
                continue;
            };
            if let (Slot::Taken { user_data, .. }, true) = (&*slot, completion.has_more()) {
                completion.user_data = *user_data;
                self.arrive((completion, times));
                continue;
            }
            let Slot::Taken {
                whose, user_data, ..
            } = mem::replace(slot, Slot::Free)
            else {
                continue;
            };
            completion.user_data = user_data;
            if let For::Future(waker) = whose {
                *slot = Slot::Done((completion, times));
                self.woken.extend(waker);
                continue;
            }
            self.free.push(number);
            // It is the next one's that gets the number.
            self.cancels.retain(|&canceled| canceled != number);
            if let For::Anybody = whose {
                self.arrive((completion, times));
            }
        }
        any
    }

    fn arrive(&mut self, completed: Completed) {
        self.arrived.push_back(completed);
        self.woken.append(&mut self.readers);
    }

    /// All who wait are told.
    pub(super) fn fail(&mut self, error: Error) {
        self.failed.get_or_insert(error);
        for slot in &mut self.slots {
            if let Slot::Taken {
                whose: For::Future(waker),
                ..
            } = slot
            {
                self.woken.extend(waker.take());
            }
        }
        self.woken.append(&mut self.readers);
    }

    /// Who has to be woken.
    pub(super) fn take_woken(&mut self) -> Vec<Waker> {
        mem::take(&mut self.woken)
    }
}
