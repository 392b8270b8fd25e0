// SPDX-License-Identifier: GPL-2.0

//! What happens on the mock fabric, one thing at a time.
//!
//! What it keeps to, as a reliable connection does: requests are carried out in the order they
//! were posted, completions of a queue come in that order, data is in place before its immediate
//! value is told, a queue in error flushes. What it does because it may: what comes after a read is
//! fetched before that is answered. What it does by chance: in which order the queues of
//! all ports make progress, how long one is held back, and the faults of
//! [`Rates`](super::fabric::Rates).
//!
//! Ownership, locking and teardown are told in [`fabric`](super::fabric).

use super::{
    fabric::Fabric,
    memory::Refused,
    port::{
        keep,
        Act,
        Deliver,
        Done,
        Posted,
        Use,
        SUCCESS, //
    }, //
};
use crate::bindings;
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// How a request fails by a fault, and whether that breaks the other side as well.
const FAILURES: [(u32, bool); 6] = [
    (bindings::ib_wc_status_IB_WC_LOC_PROT_ERR, false),
    (bindings::ib_wc_status_IB_WC_BAD_RESP_ERR, false),
    (bindings::ib_wc_status_IB_WC_REM_INV_REQ_ERR, true),
    (bindings::ib_wc_status_IB_WC_REM_ACCESS_ERR, true),
    (bindings::ib_wc_status_IB_WC_REM_OP_ERR, true),
    (RETRY, false),
];
const RETRY: u32 = bindings::ib_wc_status_IB_WC_RETRY_EXC_ERR;

/// Longest that an act is held back, in steps.
const LONGEST_HOLD: usize = 24;

/// Someone to be told of something.
pub(super) enum Told {
    Nobody,
    Completion(Arc<dyn Deliver>, Done, bool),
    Disconnected(Arc<dyn Deliver>),
}

impl Told {
    pub(super) fn tell(self) {
        match self {
            Self::Nobody => {}
            Self::Completion(to, done, twice) => {
                done.tell(&*to);
                if twice {
                    done.tell(&*to);
                }
            }
            Self::Disconnected(to) => to.disconnected(),
        }
    }
}

impl Fabric {
    /// The act of that number among those that are possible.
    fn nth(&self, mut n: usize) -> Option<(usize, Act)> {
        for (index, port) in self.ports.iter().enumerate() {
            for act in Act::ALL {
                if port.can(act) && port.held.get(act as usize) == Some(&0) {
                    if n == 0 {
                        return Some((index, act));
                    }
                    n = n.saturating_sub(1);
                }
            }
        }
        None
    }

    /// How many acts are possible: held back or not, and not.
    fn possible(&self) -> (usize, usize) {
        let mut count = (0usize, 0usize);
        for port in &self.ports {
            for (act, held) in Act::ALL.into_iter().zip(port.held) {
                if port.can(act) {
                    count.0 = count.0.saturating_add(1);
                    count.1 = count.1.saturating_add(usize::from(held == 0));
                }
            }
        }
        count
    }

    /// Whether nothing is left to happen.
    pub(super) fn is_idle(&self) -> bool {
        self.possible().0 == 0
    }

    /// One step; [`None`] if nothing is left to happen.
    pub(super) fn step(&mut self) -> Option<Told> {
        let (all, free) = self.possible();
        if all == 0 {
            return None;
        }
        self.counts.steps = self.counts.steps.saturating_add(1);
        for port in &mut self.ports {
            for held in &mut port.held {
                *held = held.saturating_sub(1);
            }
        }
        if free == 0 {
            return Some(Told::Nobody);
        }
        if self.chance.happens(self.rates.flush) {
            let index = self.chance.below(self.ports.len());
            self.counts.flushes = self.counts.flushes.saturating_add(1);
            self.trace.note(&[2, index as u32]);
            self.fail(index, true);
            return Some(Told::Nobody);
        }
        // What was held back until now may be chosen as well.
        let n = self.chance.below(self.possible().1);
        let (index, act) = self.nth(n)?;
        self.trace.note(&[3, index as u32, act as u32]);
        if self.chance.happens(self.rates.delay) {
            self.counts.delayed = self.counts.delayed.saturating_add(1);
            let steps = self.chance.below(LONGEST_HOLD).saturating_add(1);
            let port = self.ports.get_mut(index)?;
            *port.held.get_mut(act as usize)? = steps as u32;
            return Some(Told::Nobody);
        }
        match act {
            Act::Execute => {
                self.execute(index);
                Some(Told::Nobody)
            }
            Act::SendDone | Act::RecvDone => self.done(index, act),
            Act::Event => {
                let port = self.ports.get_mut(index)?;
                port.ended = true;
                Some(Told::Disconnected(port.to.clone()))
            }
        }
    }

    /// For a drain: the next completion of either side.
    pub(super) fn next_done(&mut self, index: usize) -> Option<Told> {
        let first = match self.chance.below(2) {
            0 => [Act::SendDone, Act::RecvDone],
            _ => [Act::RecvDone, Act::SendDone],
        };
        let port = self.ports.get(index)?;
        let act = first.into_iter().find(|act| port.can(*act))?;
        self.trace.note(&[4, index as u32, act as u32]);
        self.done(index, act)
    }

    /// The oldest completion of a queue is told, unless a fault has it otherwise.
    fn done(&mut self, index: usize, act: Act) -> Option<Told> {
        let port = self.ports.get_mut(index)?;
        let queue = match act {
            Act::SendDone => &mut port.send_done,
            _ => &mut port.recv_done,
        };
        let done = queue.remove(0).ok()?;
        self.trace.note(&[5, done.slot, done.status, done.bytes]);
        if self.chance.happens(self.rates.lose) {
            self.counts.lost = self.counts.lost.saturating_add(1);
            return Some(Told::Nobody);
        }
        let mut twice = false;
        if !done.again && self.chance.happens(self.rates.duplicate) {
            self.counts.duplicated = self.counts.duplicated.saturating_add(1);
            twice = self.chance.below(2) == 0;
            if let (false, Ok(again)) = (twice, done.again()) {
                keep(queue, again);
            }
        }
        port.release(&done);
        Some(Told::Completion(port.to.clone(), done, twice))
    }

    /// Carries out the oldest request of a send queue.
    fn execute(&mut self, index: usize) {
        let peer = self.peer(index);
        let Some(send) = self
            .ports
            .get_mut(index)
            .and_then(|p| p.sends.remove(0).ok())
        else {
            return;
        };
        self.counts.executed = self.counts.executed.saturating_add(1);
        if send.reads {
            self.fetch(index);
        }
        let mut status = SUCCESS;
        let mut breaks = false;
        if self.chance.happens(self.rates.error) {
            self.counts.errors = self.counts.errors.saturating_add(1);
            let which = self.chance.below(FAILURES.len());
            (status, breaks) = FAILURES.get(which).copied().unwrap_or((RETRY, false));
        }
        // If it is the acknowledgement that does not come, all was done.
        if status == SUCCESS || (status == RETRY && self.chance.happens(500)) {
            if let Err(error) = self.carry(index, peer, &send) {
                (status, breaks) = error;
            }
        }
        self.trace.note(&[6, status]);
        if let Some(port) = self.ports.get_mut(index) {
            port.carried_out(&send, status);
        }
        if status != SUCCESS {
            self.fail(index, false);
        }
        if let (true, Some(peer)) = (breaks, peer) {
            self.fail(peer, true);
        }
    }

    /// Has the bytes of all that is posted fetched, which a read before it does not hold back.
    fn fetch(&mut self, index: usize) {
        let Self { ports, memory, .. } = self;
        let Some(port) = ports.get_mut(index) else {
            return;
        };
        let (domain, sends) = (port.domain, port.sends.iter_mut());
        for send in sends.filter(|send| !send.reads && send.fetched.is_none()) {
            let mut bytes = KVec::new();
            let mut all = send.pieces.iter();
            // What it may not read it is refused in its turn.
            if all.all(|piece| memory.read(piece, domain, &mut bytes).is_ok()) {
                send.fetched = Some(bytes);
            }
        }
    }

    /// Does at the peer what a request asks for, or says how it fails and whether that breaks
    /// the peer.
    fn carry(
        &mut self,
        index: usize,
        peer: Option<usize>,
        send: &Posted,
    ) -> Result<(), (u32, bool)> {
        let lost = (RETRY, false);
        let from = self.ports.get(index).ok_or(lost)?.domain;
        let Self {
            ports,
            memory,
            counts,
            ..
        } = self;
        let peer = peer.and_then(|peer| ports.get_mut(peer)).ok_or(lost)?;
        if !peer.is_up() {
            return Err(lost);
        }
        let (pieces, parts) = match send.is_gathered() {
            true => (&[][..], &send.pieces[..]),
            false => (&send.pieces[..], &[][..]),
        };
        let mut fetched = send.fetched.as_deref();
        for piece in pieces {
            let bytes = fetched.and_then(|bytes| bytes.split_at_checked(piece.length as usize));
            fetched = bytes.map(|(_, rest)| rest);
            let copied = match bytes {
                Some((bytes, _)) => memory.write(piece, bytes, peer.domain),
                None => memory.copy(piece, from, peer.domain, send.reads),
            };
            copied.map_err(|refused| {
                counts.refused = counts.refused.saturating_add(1);
                match refused {
                    Refused::Local => (bindings::ib_wc_status_IB_WC_LOC_PROT_ERR, false),
                    Refused::Remote => (bindings::ib_wc_status_IB_WC_REM_ACCESS_ERR, true),
                }
            })?;
        }
        if !send.is_message() {
            return Ok(());
        }
        let mut message = KVec::new();
        if message
            .extend_from_slice(&send.message, GFP_ATOMIC)
            .is_err()
        {
            pr_err!("mock: a message is lost for want of memory\n");
        }
        for piece in parts.iter().filter(|_| send.fetched.is_none()) {
            memory.read(piece, from, &mut message).map_err(|_| {
                counts.refused = counts.refused.saturating_add(1);
                (bindings::ib_wc_status_IB_WC_LOC_PROT_ERR, false)
            })?;
        }
        if let (Some(bytes), true) = (&send.fetched, send.is_gathered()) {
            if message.extend_from_slice(bytes, GFP_ATOMIC).is_err() {
                pr_err!("mock: a message is lost for want of memory\n");
            }
        }
        let slot = peer.recvs.remove(0).map_err(|_| {
            counts.rnr = counts.rnr.saturating_add(1);
            (bindings::ib_wc_status_IB_WC_RNR_RETRY_EXC_ERR, false)
        })?;
        let mut done = Done::new(Use::Recv, slot, SUCCESS, 0);
        done.imm = send.imm;
        done.bytes = match message.len() {
            0 => send.bytes,
            length => length as u32,
        };
        done.message = message;
        keep(&mut peer.recv_done, done);
        Ok(())
    }
}
