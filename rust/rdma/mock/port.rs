// SPDX-License-Identifier: GPL-2.0

//! One side of a mocked connection: what is posted, and what is to be told.
//!
//! Ownership: the fabric owns its ports; a port holds who is told.
//! Locking: the fabric's.
//! Teardown: a port is closed, told of all that is left, and taken out of the fabric, by its
//! connection.

use super::memory::Piece;
use crate::{
    bindings,
    errno::ENOTCONN,
    rdma::{
        addr::Addr,
        queue::{
            Caps,
            Completion,
            Kind,
            MESSAGE_BYTES, //
        },
        slot::Slots, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

pub(super) const SUCCESS: u32 = bindings::ib_wc_status_IB_WC_SUCCESS;
pub(super) const FLUSH: u32 = bindings::ib_wc_status_IB_WC_WR_FLUSH_ERR;

/// Who is told what happens at a port. In process context, with the turn held and no other lock.
pub(super) trait Deliver: Send + Sync {
    fn completion(&self, completion: Completion<'_>);
    fn disconnected(&self);
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not connected yet: it can receive.
    Idle,
    Open,
    /// Whatever is posted is flushed.
    Error,
    /// Nothing can be posted.
    Closed,
}

/// What can happen at a port next.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// The oldest request on the send queue is carried out.
    Execute,
    /// The oldest completion of that side is told.
    SendDone,
    RecvDone,
    /// The end of the connection is told.
    Event,
}

impl Act {
    pub(super) const ALL: [Self; 4] = [Self::Execute, Self::SendDone, Self::RecvDone, Self::Event];
}

/// Slots by what they are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Recv,
    Ctrl,
    Write,
}

/// Something on a send queue.
pub(super) struct Posted {
    pub(super) what: Use,
    pub(super) slot: u32,
    /// The bytes come from the peer.
    pub(super) reads: bool,
    pub(super) imm: Option<u32>,
    /// Bytes of the request, and of the receive that it takes.
    pub(super) bytes: u32,
    pub(super) message: KVec<u8>,
    pub(super) pieces: KVec<Piece>,
    /// Its bytes, if the adapter fetched them before its turn.
    pub(super) fetched: Option<KVec<u8>>,
    /// The last of those that complete as one.
    pub(super) signalled: bool,
}

impl Posted {
    /// A read or write of nothing yet.
    pub(super) fn request(slot: u32, reads: bool, imm: Option<u32>) -> Self {
        Self {
            what: Use::Write,
            slot,
            reads,
            imm,
            bytes: 0,
            message: KVec::new(),
            pieces: KVec::new(),
            fetched: None,
            signalled: false,
        }
    }

    /// Whether it takes a receive of the peer's.
    pub(super) fn is_message(&self) -> bool {
        self.imm.is_some() || !self.message.is_empty()
    }

    /// Whether its pieces are gathered into a message, rather than written somewhere.
    pub(super) fn is_gathered(&self) -> bool {
        self.is_message() && self.imm.is_none()
    }
}

/// A completion.
pub(super) struct Done {
    pub(super) what: Use,
    pub(super) slot: u32,
    pub(super) status: u32,
    pub(super) imm: Option<u32>,
    pub(super) bytes: u32,
    pub(super) message: KVec<u8>,
    /// Work requests that it gives back, and how many of them succeeded.
    pub(super) requests: u32,
    pub(super) good: u32,
    /// It was told before.
    pub(super) again: bool,
}

impl Done {
    pub(super) fn new(what: Use, slot: u32, status: u32, requests: u32) -> Self {
        Self {
            what,
            slot,
            status,
            imm: None,
            bytes: 0,
            message: KVec::new(),
            requests,
            good: if status == SUCCESS { requests } else { 0 },
            again: false,
        }
    }

    /// The same once more.
    pub(super) fn again(&self) -> Result<Self> {
        let mut message = KVec::new();
        message.extend_from_slice(&self.message, GFP_ATOMIC)?;
        Ok(Self {
            message,
            again: true,
            ..*self
        })
    }

    pub(super) fn tell(&self, to: &dyn Deliver) {
        let slot = self.slot;
        let kind = match self.what {
            Use::Ctrl => Kind::Ctrl { slot },
            Use::Write => Kind::Write {
                slot,
                good: self.good,
            },
            Use::Recv => Kind::Recv {
                slot,
                imm: self.imm,
                bytes: self.bytes,
                data: match self.message.get(..MESSAGE_BYTES) {
                    Some(head) => head,
                    None => &self.message,
                },
            },
        };
        to.completion(Completion {
            kind,
            status: self.status,
        });
    }
}

/// One side.
pub(super) struct Port {
    pub(super) number: u32,
    pub(super) to: Arc<dyn Deliver>,
    local: Addr,
    remote: Addr,
    /// The other side, once it was there.
    pub(super) peer: Option<u32>,
    /// The protection domain, as a number.
    pub(super) domain: usize,
    pub(super) phase: Phase,
    send_wr: u32,
    used: u32,
    recv_busy: KVec<bool>,
    ctrl_busy: KVec<bool>,
    write_slots: u32,
    writes: Slots,
    pub(super) recvs: KVec<u32>,
    pub(super) sends: KVec<Posted>,
    pub(super) send_done: KVec<Done>,
    pub(super) recv_done: KVec<Done>,
    /// What each slot received last.
    messages: KVec<KVec<u8>>,
    /// The end is to be told; it was told of.
    pub(super) ending: bool,
    pub(super) ended: bool,
    /// For how many steps each act is held back.
    pub(super) held: [u32; Act::ALL.len()],
}

impl Port {
    pub(super) fn new(
        to: Arc<dyn Deliver>,
        local: Addr,
        remote: Addr,
        domain: usize,
        caps: &Caps,
    ) -> Result<Self> {
        let free = |count: u32| KVec::from_elem(false, count as usize, GFP_KERNEL);
        let mut messages = KVec::with_capacity(caps.recv_slots as usize, GFP_KERNEL)?;
        for _ in 0..caps.recv_slots {
            messages.push(KVec::new(), GFP_KERNEL)?;
        }
        Ok(Self {
            number: 0,
            to,
            local,
            remote,
            peer: None,
            domain,
            phase: Phase::Idle,
            send_wr: caps.send_wr,
            used: 0,
            recv_busy: free(caps.recv_slots)?,
            ctrl_busy: free(caps.ctrl_slots)?,
            write_slots: caps.write_slots,
            writes: Slots::new(caps.write_slots, unused, unused)?,
            recvs: KVec::new(),
            sends: KVec::new(),
            send_done: KVec::new(),
            recv_done: KVec::new(),
            messages,
            ending: false,
            ended: false,
            held: [0; Act::ALL.len()],
        })
    }

    /// Whether `other` is the other side.
    pub(super) fn faces(&self, other: &Self) -> bool {
        same(&self.local, &other.remote) && same(&self.remote, &other.local)
    }

    /// Whether it takes part: it can receive, and what it sends is carried out.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Open)
    }

    /// Whether there is something of this kind to do.
    pub(super) fn can(&self, act: Act) -> bool {
        match act {
            Act::Execute => {
                self.phase == Phase::Open && self.peer.is_some() && !self.sends.is_empty()
            }
            Act::SendDone => !self.send_done.is_empty(),
            Act::RecvDone => !self.recv_done.is_empty(),
            Act::Event => self.ending && !self.ended,
        }
    }

    /// Takes a slot. `EBUSY` if it is not free.
    fn claim(&mut self, what: Use, slot: u32, requests: u32) -> Result {
        let busy = match what {
            Use::Recv => &mut self.recv_busy,
            Use::Ctrl => &mut self.ctrl_busy,
            Use::Write => return self.writes.get(slot)?.claim(requests),
        };
        let busy = busy.get_mut(slot as usize).ok_or(EINVAL)?;
        match core::mem::replace(busy, true) {
            false => Ok(()),
            true => Err(EBUSY),
        }
    }

    fn free(&mut self, what: Use, slot: u32) {
        let busy = match what {
            Use::Recv => &mut self.recv_busy,
            Use::Ctrl => &mut self.ctrl_busy,
            Use::Write => {
                if let Ok(slot) = self.writes.get(slot) {
                    slot.free();
                }
                return;
            }
        };
        if let Some(busy) = busy.get_mut(slot as usize) {
            *busy = false;
        }
    }

    /// What a slot that is free received. `EBUSY` if it is posted.
    pub(super) fn message(&self, slot: u32) -> Result<&[u8]> {
        match self.recv_busy.get(slot as usize).ok_or(EINVAL)? {
            true => Err(EBUSY),
            false => Ok(self.messages.get(slot as usize).ok_or(EINVAL)?),
        }
    }

    /// A completion is about to be told: its slot is free, its requests make room.
    pub(super) fn release(&mut self, done: &Done) {
        if let (Use::Recv, false) = (done.what, done.again) {
            if let Some(message) = self.messages.get_mut(done.slot as usize) {
                message.clear();
                if message
                    .extend_from_slice(&done.message, GFP_ATOMIC)
                    .is_err()
                {
                    pr_err!("mock: a message is lost for want of memory\n");
                }
            }
        }
        if !done.again {
            self.free(done.what, done.slot);
            self.used = self.used.saturating_sub(done.requests);
        }
    }

    pub(super) fn post_recv(&mut self, slot: u32) -> Result {
        if self.phase == Phase::Closed {
            return Err(ENOTCONN.into());
        }
        self.recvs.reserve(1, GFP_ATOMIC)?;
        self.recv_done.reserve(1, GFP_ATOMIC)?;
        self.claim(Use::Recv, slot, 1)?;
        if self.phase == Phase::Error {
            let done = Done::new(Use::Recv, slot, FLUSH, 0);
            self.recv_done.push(done, GFP_ATOMIC)?;
        } else {
            self.recvs.push(slot, GFP_ATOMIC)?;
        }
        Ok(())
    }

    /// Posts what completes as one, of one slot.
    pub(super) fn post_sends(&mut self, sends: KVec<Posted>) -> Result {
        if matches!(self.phase, Phase::Idle | Phase::Closed) {
            return Err(ENOTCONN.into());
        }
        let first = sends.first().ok_or(EINVAL)?;
        let (what, slot) = (first.what, first.slot);
        if what == Use::Write && slot.checked_add(1) == Some(self.write_slots) {
            return Err(EAGAIN);
        }
        let requests = u32::try_from(sends.len())?;
        let used = self.used.checked_add(requests).ok_or(EINVAL)?;
        if used > self.send_wr {
            return Err(EAGAIN);
        }
        self.sends.reserve(sends.len(), GFP_ATOMIC)?;
        self.send_done.reserve(1, GFP_ATOMIC)?;
        self.claim(what, slot, requests)?;
        self.used = used;
        for send in sends {
            match self.phase {
                Phase::Error => self.carried_out(&send, FLUSH),
                _ => self.sends.push(send, GFP_ATOMIC)?,
            }
        }
        Ok(())
    }

    /// Something on the send queue ended; who posted it is told at the end of what completes as one.
    pub(super) fn carried_out(&mut self, send: &Posted, status: u32) {
        let mut done = Done::new(send.what, send.slot, status, 1);
        if let (Use::Write, Ok(slot)) = (send.what, self.writes.get(send.slot)) {
            if status != SUCCESS && !send.signalled {
                slot.note(status);
            }
            done.status = slot.outcome(status);
            done.good = slot.good(status);
            done.requests = slot.requests();
        }
        if send.signalled {
            keep(&mut self.send_done, done);
        }
    }

    /// Goes into error: all that is posted is flushed, and so are the last `unheard` of the
    /// requests that were carried out, since their acknowledgement never comes.
    pub(super) fn fail(&mut self, unheard: usize) {
        if !self.is_up() {
            return;
        }
        self.phase = Phase::Error;
        for done in self.send_done.iter_mut().rev().take(unheard) {
            if !done.again && done.status == SUCCESS {
                done.status = FLUSH;
                done.good = 0;
            }
        }
        for send in core::mem::take(&mut self.sends) {
            self.carried_out(&send, FLUSH);
        }
        for slot in self.recvs.drain_all() {
            keep(&mut self.recv_done, Done::new(Use::Recv, slot, FLUSH, 0));
        }
    }
}

/// What slots have to name, and nobody calls here.
extern "C" fn unused(_: *mut bindings::ib_cq, _: *mut bindings::ib_wc) {}

/// Adds a completion that has to be told.
pub(super) fn keep(to: &mut KVec<Done>, done: Done) {
    if to.push(done, GFP_ATOMIC).is_err() {
        pr_err!("mock: a completion is lost for want of memory\n");
    }
}

/// Family, port and address are the same.
fn same(a: &Addr, b: &Addr) -> bool {
    fn parts(addr: &Addr) -> (Option<&[u8]>, Option<&[u8]>) {
        let bytes = addr.as_bytes();
        // A `sockaddr_in` has the address next to the port, a `sockaddr_in6` the flow between.
        match bytes.len() == bindings::DK_INET_BYTES as usize {
            true => (bytes.get(..8), None),
            false => (bytes.get(..4), bytes.get(8..24)),
        }
    }
    parts(a) == parts(b)
}
