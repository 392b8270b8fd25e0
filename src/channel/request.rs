// SPDX-License-Identifier: GPL-2.0

//! Entries that were accepted: what they ask for, and the promise that they complete.
//!
//! Ownership: a [`Request`] has what its entry needs, resolved from handles, and its [`Ticket`], which
//! whoever does the work takes on.
//! Locking: none. A ticket is completed with whatever held, but for a completion ring.
//! Teardown: dropping a ticket completes its entry, with `EIO`.

use super::{
    cancel::Target,
    migrate::Migrate,
    order::Token,
    queue::Queue,
    ring::CompletionRing,
    times::Began,
    transfer::Transfer,
    uring, //
};
use crate::{
    endpoint::{
        count::Counter,
        inbox::Receive,
        remote::Remote,
        send::BATCH,
        Endpoint, //
    },
    region::Region, //
};
use core::mem;
use dmakit::{
    errno::ECANCELED,
    uapi,
    uring::{
        Command,
        Key, //
    },
    worker::Worker, //
};
use kernel::{
    error::Error,
    prelude::*,
    sync::Arc, //
};

/// What an entry asks for.
pub(super) enum Work {
    Nop,
    /// Nothing that can be done.
    Wrong(Error),
    Remote(Arc<Endpoint>, Remote),
    Transfer(Transfer),
    Migrate(Migrate),
    Cancel(Target<'static>),
    /// Until so many messages were counted.
    Wait(Arc<Counter>, u64),
    Receive(Arc<Endpoint>, Receive),
    /// Takes keys away.
    Invalidate(Arc<Region>),
}

/// An entry that has not begun.
pub(super) struct Request {
    pub(super) work: Work,
    pub(super) ticket: Ticket,
}

impl Request {
    /// Ends it without it having begun.
    pub(super) fn cancel(self) {
        self.fail(ECANCELED.into());
    }

    /// As [`Self::cancel`], for another reason.
    pub(super) fn fail(self, error: Error) {
        // Whoever sees the completion may deregister the region.
        drop(self.work);
        self.ticket.fail(error, 0);
    }
}

/// Where the completion of an entry goes.
enum Sink {
    /// To its place in the completion ring.
    Ring,
    /// To io_uring, where it came from.
    Command(Command),
    /// There as well, but that was told that the entry has ended.
    Nobody,
}

/// An accepted entry: it has a place in the completion ring, or io_uring waits for it, and is
/// completed exactly once.
pub(crate) struct Ticket {
    queue: Arc<Worker<Queue>>,
    user_data: u64,
    endpoint: u32,
    opcode: u8,
    flags: u8,
    done: bool,
    began: Began,
    sink: Sink,
    /// The chain that goes on when this is complete.
    pub(super) token: Option<KBox<Token>>,
}

impl Ticket {
    pub(super) fn new(queue: &Arc<Worker<Queue>>, sqe: &uapi::dmaplane_sqe) -> Self {
        Self {
            queue: queue.clone(),
            user_data: sqe.user_data,
            endpoint: sqe.endpoint,
            opcode: sqe.opcode,
            flags: sqe.flags,
            done: false,
            began: Began::default(),
            sink: Sink::Ring,
            token: None,
        }
    }

    /// One of io_uring's.
    pub(super) fn of_command(
        queue: &Arc<Worker<Queue>>,
        sqe: &uapi::dmaplane_sqe,
        command: Command,
    ) -> Self {
        let mut ticket = Self::new(queue, sqe);
        ticket.sink = Sink::Command(command);
        ticket
    }

    /// Whose it is.
    pub(super) fn queue(&self) -> &Arc<Worker<Queue>> {
        &self.queue
    }

    /// Where its completion goes.
    pub(crate) fn ring(&self) -> &Arc<CompletionRing> {
        self.queue.ring()
    }

    /// What user space knows it by.
    pub(crate) fn user_data(&self) -> u64 {
        self.user_data
    }

    /// The endpoint that it named.
    pub(super) fn endpoint(&self) -> u32 {
        self.endpoint
    }

    /// Notes when it was taken.
    #[inline]
    pub(super) fn taken(mut self, began: Began) -> Self {
        self.began = began;
        self
    }

    /// What it asks for was given to an adapter, or is being done.
    #[inline]
    pub(crate) fn posted(&mut self) {
        self.began.posted();
    }

    /// Whether it has the command that io_uring asks for.
    pub(super) fn has(&self, key: &Key) -> bool {
        matches!(&self.sink, Sink::Command(command) if command.is(key))
    }

    /// Ends io_uring's command, and with it the program's wait for an entry that goes on.
    pub(crate) fn disown(&mut self) {
        self.end_command(&uapi::dmaplane_cqe {
            res: Error::from(ECANCELED).to_errno(),
            opcode: self.opcode,
            ..Default::default()
        });
    }

    /// Completes the entry with a number of bytes.
    pub(crate) fn succeed(mut self, bytes: u32) {
        self.finish(i32::try_from(bytes).unwrap_or(i32::MAX), 0);
    }

    /// Completes the entry with an error, and the status of the adapter if it gave one.
    pub(crate) fn fail(mut self, error: Error, status: u32) {
        self.finish(error.to_errno(), status);
    }

    /// Completes the entry with what else there is to say.
    pub(crate) fn complete(mut self, cqe: uapi::dmaplane_cqe) {
        self.tell(cqe);
    }

    fn finish(&mut self, res: i32, status: u32) {
        self.tell(uapi::dmaplane_cqe {
            res,
            endpoint: self.endpoint,
            opcode: self.opcode,
            wc_status: u8::try_from(status).unwrap_or(u8::MAX),
            ..Default::default()
        });
    }

    fn tell(&mut self, mut cqe: uapi::dmaplane_cqe) {
        self.done = true;
        if !matches!(self.sink, Sink::Ring) {
            self.queue.ring().complete_command(true);
            return self.end_command(&cqe);
        }
        cqe.user_data = self.user_data;
        if u32::from(self.opcode) == uapi::DMAPLANE_OP_RECV {
            cqe.flags |= uapi::DMAPLANE_CQE_F_ENTRY as u16;
        }
        let res = cqe.res;
        let silent = res >= 0 && is_silent(self.flags);
        let last = self.queue.ring().complete(&cqe, silent, self.began);
        if let Some(mut token) = self.token.take() {
            token.failed = res < 0;
            Queue::ready(&self.queue, token);
        } else if last {
            Worker::kick(&self.queue, uapi::DMAPLANE_NODE_ANY);
        }
    }

    /// Tells io_uring, if it has not been told.
    fn end_command(&mut self, cqe: &uapi::dmaplane_cqe) {
        match mem::replace(&mut self.sink, Sink::Nobody) {
            Sink::Command(command) => command.complete(cqe.res, uring::rest(cqe)),
            other => self.sink = other,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.done {
            self.finish(EIO.to_errno(), 0);
        }
    }
}

/// Whether success is not told.
fn is_silent(flags: u8) -> bool {
    u32::from(flags) & uapi::DMAPLANE_SQE_CQE_SKIP_SUCCESS != 0
}

/// Holds entries for one endpoint back for a moment, so that they are sent together.
#[derive(Default)]
pub(super) struct Plug {
    endpoint: Option<Arc<Endpoint>>,
    count: u32,
}

impl Plug {
    pub(super) fn submit(&mut self, endpoint: Arc<Endpoint>, remote: Remote, ticket: Ticket) {
        let same = self
            .endpoint
            .as_ref()
            .is_some_and(|held| Arc::ptr_eq(held, &endpoint));
        if !same || self.count >= BATCH {
            self.send();
        }
        endpoint.submit(remote, ticket);
        self.count = self.count.saturating_add(1);
        self.endpoint = Some(endpoint);
    }

    #[inline]
    pub(super) fn send(&mut self) {
        self.count = 0;
        if let Some(endpoint) = self.endpoint.take() {
            endpoint.send();
        }
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        self.send();
    }
}
