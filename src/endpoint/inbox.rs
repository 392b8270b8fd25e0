// SPDX-License-Identifier: GPL-2.0

//! Messages that programs send with `SEND`, and the entries that take them.
//!
//! A message stays where the adapter put it until an entry wants it, and the peer has one credit less
//! meanwhile. So it needs no entry to be there before, and the peer may be as fast as it likes.
//!
//! Ownership: the endpoint's link has the [`Inbox`]; entries in it hold the buffers that they fill.
//! Locking: the endpoint's.
//! Teardown: [`Inbox::end`], when no message can come any more. What came before can still be taken.

use super::{
    link::Link,
    Endpoint,
    Inner, //
};
use crate::{
    buffer::Buffer,
    channel::Ticket,
    fifo::Fifo,
    pure::wire::{
        Data,
        DATA_HEADER, //
    }, //
};
use dmakit::{
    errno::{
        ECANCELED,
        EMSGSIZE,
        ENOTCONN, //
    },
    rdma::transport::{
        Connection,
        Transport, //
    },
    uapi, //
};
use kernel::{
    error::Error,
    prelude::*,
    sync::Arc, //
};

/// A message that no entry has taken yet. Its place in the completion ring is kept, too.
struct Kept {
    slot: u32,
    data: Data,
}

/// Where messages go: one after the other, each has as much room.
pub(crate) struct Receive {
    pub(crate) to: Arc<Buffer>,
    pub(crate) offset: u64,
    pub(crate) each: u32,
    /// How many are still to come, at least one.
    pub(crate) left: u32,
}

/// An entry that waits for messages.
struct Waiting {
    receive: Receive,
    ticket: Ticket,
}

impl Waiting {
    fn fail(self, error: Error) {
        // Whoever sees the completion may expect the buffer's memory to be free once destroyed.
        drop(self.receive);
        self.ticket.fail(error, 0);
    }
}

/// Messages and those who want them; of one or the other there are none.
pub(super) struct Inbox {
    kept: Fifo<Kept>,
    waiting: Fifo<Waiting>,
    /// No message will come any more, for this reason.
    ended: Option<Error>,
}

impl Inbox {
    /// Empty, for as many messages as there are receives.
    pub(super) fn new(recv_depth: u32) -> Result<Self> {
        Ok(Self {
            kept: Fifo::new(usize::try_from(recv_depth)?)?,
            waiting: Fifo::new(0)?,
            ended: None,
        })
    }

    /// Messages that no entry has taken yet.
    pub(super) fn kept(&self) -> u32 {
        u32::try_from(self.kept.len()).unwrap_or(u32::MAX)
    }

    /// Cancels entries that are `meant`, one or `all`; returns how many there were.
    pub(super) fn cancel(&mut self, all: bool, meant: &dyn Fn(&Ticket) -> bool) -> u32 {
        self.waiting.take(
            all,
            |waiting| meant(&waiting.ticket),
            |waiting| waiting.fail(ECANCELED.into()),
        )
    }

    /// No message will come any more.
    pub(super) fn end(&mut self, error: Error) {
        self.ended.get_or_insert(error);
        while let Some(waiting) = self.waiting.pop() {
            waiting.fail(error);
        }
    }
}

impl Endpoint {
    /// Takes messages for an entry, those that are there and those that come.
    pub(crate) fn receive(&self, receive: Receive, ticket: Ticket) {
        let mut inner = self.inner.lock();
        let waiting = Waiting { receive, ticket };
        if let Err((error, waiting)) = inner.keep_waiting(waiting) {
            drop(inner);
            return waiting.fail(error);
        }
        let result = inner.deliver(self.handle()).and_then(|()| inner.pump());
        drop(inner);
        if let Err(error) = result {
            self.fail(error);
        }
    }
}

impl Inner {
    fn keep_waiting(&mut self, waiting: Waiting) -> Result<(), (Error, Waiting)> {
        let Some(link) = &mut self.link else {
            return Err((ENOTCONN.into(), waiting));
        };
        if !Arc::ptr_eq(waiting.ticket.ring(), &link.ring) {
            return Err((EXDEV, waiting));
        }
        let inbox = &mut link.inbox;
        match inbox.ended {
            Some(error) if inbox.kept.is_empty() => return Err((error, waiting)),
            _ => {}
        }
        if let Err(error) = inbox.waiting.grow() {
            return Err((error, waiting));
        }
        // There is room.
        inbox
            .waiting
            .push(waiting)
            .map_err(|waiting| (ENOMEM, waiting))
    }

    /// A message arrived, in a receive that has a place in the completion ring.
    pub(super) fn keep(&mut self, slot: u32, data: Data, handle: u32) -> Result {
        if let Some(link) = &mut self.link {
            // There is room: it has as many as there are receives.
            link.inbox.kept.push(Kept { slot, data }).map_err(|_| EIO)?;
        }
        self.deliver(handle)
    }

    /// Gives messages to entries.
    fn deliver(&mut self, handle: u32) -> Result {
        let established = self.state == super::State::Established;
        if let (Some(conn), Some(link)) = (&self.conn, &mut self.link) {
            link.deliver(conn, established, handle)?;
            if let Some(error) = link.inbox.ended {
                link.inbox.end(error);
            }
        }
        self.post_receives()
    }
}

impl Link {
    fn deliver(&mut self, conn: &Connection<Endpoint>, established: bool, handle: u32) -> Result {
        loop {
            let Inbox { kept, waiting, .. } = &mut self.inbox;
            let (Some(message), Some(front)) = (kept.get(0), waiting.front_mut()) else {
                return Ok(());
            };
            let (slot, Data { imm, length }) = (message.slot, message.data);
            let length = u32::from(length);
            let receive = &mut front.receive;
            if length > receive.each {
                // It remains for an entry that has room.
                if let Some(waiting) = waiting.pop() {
                    waiting.fail(EMSGSIZE.into());
                }
                continue;
            }
            let to = receive.to.pages();
            conn.read_message(slot, DATA_HEADER, to, receive.offset, length as usize)?;
            let _ = kept.pop();
            receive.left = receive.left.saturating_sub(1);
            receive.offset = receive.offset.saturating_add(receive.each.into());
            if receive.left > 0 {
                let mut cqe = completion(handle, imm, length);
                cqe.user_data = front.ticket.user_data();
                cqe.flags |= (uapi::DMAPLANE_CQE_F_MORE | uapi::DMAPLANE_CQE_F_ENTRY) as u16;
                self.ring.receive(&cqe);
                self.idle.push(slot);
                continue;
            }
            if let Some(Waiting { receive, ticket }) = waiting.pop() {
                drop(receive);
                ticket.complete(completion(handle, imm, length));
            }
            // The message's place in the ring is there for the next one.
            match established {
                true => self.post_receive(conn, slot)?,
                false => {
                    self.ring.unreserve(1);
                    self.idle.push(slot);
                }
            }
        }
    }
}

/// What the completion of a message says.
fn completion(handle: u32, imm: Option<u32>, length: u32) -> uapi::dmaplane_cqe {
    uapi::dmaplane_cqe {
        res: i32::try_from(length).unwrap_or(i32::MAX),
        endpoint: handle,
        imm: imm.unwrap_or(0),
        opcode: uapi::DMAPLANE_OP_RECV as u8,
        flags: imm.map_or(0, |_| uapi::DMAPLANE_CQE_F_IMM as u16),
        ..Default::default()
    }
}
