// SPDX-License-Identifier: GPL-2.0

//! `LINK` and `DRAIN`: entries that begin when others are complete.
//!
//! A *chain* is what `LINK` makes: entries of which one is under way at a time. Its [`Token`] goes
//! with the ticket of that one, and comes back through the queue when that is complete. With
//! `DRAIN`, an entry and all after it are *held*, in order, until everything before it is complete.
//!
//! Ownership: [`Order`] has the entries that have not begun; it is part of its queue.
//! Locking: the queue's `taken`.
//! Teardown: [`Order::cancel_all`].

use super::{
    cancel::Target,
    queue::{
        Queue,
        Taken, //
    },
    request::{
        Plug,
        Request,
        Work, //
    }, //
};
use crate::fifo::Fifo;
use dmakit::{
    errno::ECANCELED,
    mm,
    uapi,
    worker::Worker, //
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::Arc, //
};

/// The right to go on with a chain.
pub(super) struct Token {
    chain: usize,
    /// How the entry ended that had it.
    pub(super) failed: bool,
    /// The next one of those that are ready.
    pub(super) after: Option<KBox<Token>>,
}

/// Entries that begin one after the other.
struct Chain {
    waiting: Fifo<Request>,
    /// While none is under way.
    token: Option<KBox<Token>>,
    /// The next entry belongs to it.
    open: bool,
    /// What is added from now on is cancelled.
    cut: bool,
}

impl Chain {
    /// Cancels what waits, from the entry on before which there are `first` others.
    fn cut(&mut self, first: usize) {
        self.cut = true;
        self.waiting.cut(first, Request::cancel);
    }

    fn is_over(&self) -> bool {
        !self.open && self.token.is_some() && self.waiting.is_empty()
    }
}

/// What the next entry belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    Chain(usize),
    /// A chain that could not be made.
    Lost,
}

/// An entry held until everything before it is complete, or behind one.
struct Held {
    request: Request,
    flags: u8,
}

/// An entry with `DRAIN` has begun, and was not seen to be complete.
const BARRIER: u8 = 1 << 0;
/// Of each entry is noted when it began.
const TIMED: u8 = 1 << 1;

/// Entries that wait for others.
pub(super) struct Order {
    held: Fifo<Held>,
    /// Why an entry is not complete as soon as it is taken. One test for all of them: NOPs feel it.
    gates: u8,
    chains: KVVec<Option<Chain>>,
    free: KVVec<usize>,
    open: Open,
}

impl Order {
    pub(super) fn new(timed: bool) -> Result<Self> {
        Ok(Self {
            held: Fifo::new(0)?,
            gates: if timed { TIMED } else { 0 },
            chains: KVVec::new(),
            free: KVVec::new(),
            open: Open::Nothing,
        })
    }

    /// Whether the next entry may begin whatever went before, and need not be looked at more closely.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.held.is_empty() && self.gates == 0 && self.open == Open::Nothing
    }

    /// Whether it is noted when entries began.
    pub(super) fn is_timed(&self) -> bool {
        self.gates & TIMED != 0
    }

    fn has_barrier(&self) -> bool {
        self.gates & BARRIER != 0
    }

    fn set_barrier(&mut self, on: bool) {
        self.gates = (self.gates & !BARRIER) | if on { BARRIER } else { 0 };
    }

    /// Whether the next entry goes on with a chain.
    pub(super) fn expects_more(&self) -> bool {
        let last = self
            .held
            .len()
            .checked_sub(1)
            .and_then(|last| self.held.get(last));
        match last {
            Some(held) => is_linked(held.flags),
            None => self.open != Open::Nothing,
        }
    }

    /// Room for as many as can ever be held, so that none is lost later.
    fn make_room(&mut self, most: u32) -> Result {
        if self.held.is_full() {
            self.held = Fifo::new(usize::try_from(most)?)?;
        }
        Ok(())
    }

    fn new_chain(&mut self) -> Result<usize> {
        if self.free.is_empty() {
            self.chains.reserve(1, GFP_KERNEL_ACCOUNT)?;
            // So that giving one back cannot fail.
            self.free
                .reserve(self.chains.len().saturating_add(1), GFP_KERNEL_ACCOUNT)?;
        }
        let waiting = Fifo::new(0)?;
        let index = self.free.last().copied().unwrap_or(self.chains.len());
        let token = KBox::new(
            Token {
                chain: index,
                failed: false,
                after: None,
            },
            GFP_KERNEL_ACCOUNT,
        )?;
        let chain = Some(Chain {
            waiting,
            token: Some(token),
            open: true,
            cut: false,
        });
        match self.free.pop() {
            Some(_) => {
                if let Some(place) = self.chains.get_mut(index) {
                    *place = chain;
                }
            }
            // There is room.
            None => self.chains.push(chain, GFP_KERNEL_ACCOUNT)?,
        }
        Ok(index)
    }

    fn chain_at(&mut self, index: usize) -> Option<&mut Chain> {
        self.chains.get_mut(index)?.as_mut()
    }

    /// Lets go of a chain that nothing will happen to any more.
    fn reap(&mut self, index: usize) {
        if let Some(place) = self.chains.get_mut(index) {
            if place.take_if(|chain| chain.is_over()).is_some() {
                let _ = self.free.push_within_capacity(index);
            }
        }
    }

    /// Cancels everything.
    pub(super) fn cancel_all(&mut self) {
        self.held.cut(0, |held| held.request.cancel());
        for index in 0..self.chains.len() {
            if let Some(chain) = self.chain_at(index) {
                chain.cut(0);
            }
        }
    }

    /// Cancels those that are meant, after so many `found`; returns how many there are then.
    pub(super) fn cancel(&mut self, target: &Target<'_>, mut found: u32) -> u32 {
        for chain in self.chains.iter_mut().flatten() {
            let mut first = None;
            for (n, request) in chain.waiting.iter().enumerate() {
                if target.means(&request.ticket) && target.wants_more(found) {
                    found = found.saturating_add(1);
                    first = first.or(Some(n));
                }
            }
            if let Some(first) = first {
                chain.cut(first);
            }
            if !target.wants_more(found) {
                return found;
            }
        }
        let meant = |held: &Held| target.means(&held.request.ticket);
        if !self.held.iter().any(meant) {
            return found;
        }
        // One of a chain that is held keeps its place in it.
        let mut linked = self.open != Open::Nothing;
        for _ in 0..self.held.len() {
            let Some(mut held) = self.held.pop() else {
                break;
            };
            let alone = !linked && !is_linked(held.flags);
            linked = is_linked(held.flags);
            let pending = !matches!(held.request.work, Work::Wrong(error) if error == ECANCELED);
            if pending && meant(&held) && target.wants_more(found) {
                found = found.saturating_add(1);
                if alone {
                    held.request.cancel();
                    continue;
                }
                held.request.work = Work::Wrong(ECANCELED.into());
            }
            // There is room: it was there before.
            if let Err(held) = self.held.push(held) {
                held.request.cancel();
            }
        }
        found
    }
}

fn is_linked(flags: u8) -> bool {
    u32::from(flags) & uapi::DMAPLANE_SQE_LINK != 0
}

fn is_drain(flags: u8) -> bool {
    u32::from(flags) & uapi::DMAPLANE_SQE_DRAIN != 0
}

impl Queue {
    /// Begins an entry if it may begin, or keeps it. Those of this submission that come after it, and
    /// itself, are `left`.
    pub(super) fn admit(
        &self,
        this: &Arc<Worker<Self>>,
        taken: &mut Taken,
        mut request: Request,
        flags: u8,
        left: u32,
        plug: &mut Plug,
    ) {
        let order = &mut taken.order;
        if order.held.is_empty() && (order.has_barrier() || is_drain(flags)) {
            if self.ring().hold(0, left) {
                order.set_barrier(is_drain(flags));
            } else {
                match order.make_room(self.ring().cq_entries()) {
                    Ok(()) => return self.keep(taken, request, flags),
                    // It fails where it is in its chain.
                    Err(error) => request.work = Work::Wrong(error),
                }
            }
        }
        match taken.order.held.is_empty() {
            true => self.link(this, taken, request, flags, plug),
            false => self.keep(taken, request, flags),
        }
    }

    fn keep(&self, taken: &mut Taken, request: Request, flags: u8) {
        // There is room, as each has a place in the completion ring.
        if let Err(held) = taken.order.held.push(Held { request, flags }) {
            held.request.fail(ENOMEM);
        }
    }

    /// Adds an entry to the chain that it belongs to, or begins it.
    fn link(
        &self,
        this: &Arc<Worker<Self>>,
        taken: &mut Taken,
        mut request: Request,
        flags: u8,
        plug: &mut Plug,
    ) {
        let linked = is_linked(flags);
        let order = &mut taken.order;
        let open = match order.open {
            Open::Nothing if !linked => return self.begin(this, taken, request, plug),
            Open::Nothing => match order.new_chain() {
                Ok(index) => Open::Chain(index),
                Err(error) => {
                    order.open = Open::Lost;
                    return request.fail(error);
                }
            },
            open => open,
        };
        order.open = match linked {
            true => open,
            false => Open::Nothing,
        };
        let Open::Chain(index) = open else {
            return request.cancel();
        };
        let Some(chain) = order.chain_at(index) else {
            return request.cancel();
        };
        chain.open = linked;
        if chain.cut {
            request.cancel();
            return order.reap(index);
        }
        if let Some(token) = chain.token.take() {
            request.ticket.token = Some(token);
            return self.begin(this, taken, request, plug);
        }
        match chain.waiting.grow() {
            Ok(()) => {
                // There is room.
                let refused = chain.waiting.push(request);
                drop(refused);
            }
            Err(error) => {
                chain.cut = true;
                request.fail(error);
            }
        }
    }

    /// Begins what has waited for others that are complete.
    pub(super) fn go_on(&self, this: &Arc<Worker<Self>>, taken: &mut Taken, plug: &mut Plug) {
        loop {
            let mut tokens = self.take_ready();
            let none = tokens.is_none();
            while let Some(mut token) = tokens {
                mm::cond_resched();
                tokens = token.after.take();
                self.step(this, taken, token, plug);
            }
            if !self.release(this, taken, plug) && none {
                return;
            }
        }
    }

    /// An entry of a chain is complete.
    fn step(
        &self,
        this: &Arc<Worker<Self>>,
        taken: &mut Taken,
        token: KBox<Token>,
        plug: &mut Plug,
    ) {
        let index = token.chain;
        let Some(chain) = taken.order.chain_at(index) else {
            return;
        };
        if token.failed {
            chain.cut(0);
        }
        match chain.waiting.pop() {
            Some(mut request) => {
                request.ticket.token = Some(token);
                self.begin(this, taken, request, plug);
            }
            None => {
                chain.token = Some(token);
                taken.order.reap(index);
            }
        }
    }

    /// Tells the ring how many are held; whether everything else is complete.
    pub(super) fn note_held(&self, taken: &Taken) -> bool {
        let count = u32::try_from(taken.order.held.len()).unwrap_or(u32::MAX);
        self.ring().hold(count, 0)
    }

    /// Begins the held entries that may; whether there were any.
    fn release(&self, this: &Arc<Worker<Self>>, taken: &mut Taken, plug: &mut Plug) -> bool {
        let mut any = false;
        while let Some(front) = taken.order.held.get(0) {
            let drain = is_drain(front.flags);
            if (drain || taken.order.has_barrier()) && !self.note_held(taken) {
                break;
            }
            taken.order.set_barrier(drain);
            let Some(Held { request, flags }) = taken.order.held.pop() else {
                break;
            };
            any = true;
            mm::cond_resched();
            self.link(this, taken, request, flags, plug);
        }
        if any && taken.order.held.is_empty() {
            self.note_held(taken);
        }
        any
    }
}
