// SPDX-License-Identifier: GPL-2.0

//! `CANCEL`: ends entries that are not done.
//!
//! Ownership: a [`Target`] holds the endpoint that it names.
//! Locking: called with the queue's `taken` held, takes the endpoint's.
//! Teardown: none.

use super::{
    queue::{
        Copy,
        Queue,
        Taken, //
    },
    request::Ticket, //
};
use crate::endpoint::Endpoint;
use dmakit::{
    uring::Key,
    worker::Worker, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Which entries are meant: those of an endpoint, or of none.
pub(super) struct Target<'a> {
    /// `None` as well if it is closed: entries that have not begun may still name it.
    pub(super) endpoint: Option<Arc<Endpoint>>,
    pub(super) handle: u32,
    pub(super) user_data: u64,
    /// All of them, whatever their `user_data`.
    pub(super) all: bool,
    /// Only that with this command of io_uring.
    pub(super) key: Option<&'a Key>,
}

impl Target<'_> {
    /// Whether this entry is meant.
    pub(super) fn means(&self, ticket: &Ticket) -> bool {
        match self.key {
            Some(key) => ticket.has(key),
            None => {
                ticket.endpoint() == self.handle
                    && (self.all || ticket.user_data() == self.user_data)
            }
        }
    }

    /// Whether another one is looked for.
    pub(super) fn wants_more(&self, found: u32) -> bool {
        self.all || found == 0
    }

    /// Returns how many there were. `ENOENT`, or `EALREADY` for what cannot be called back.
    pub(super) fn cancel(&self, queue: &Arc<Worker<Queue>>, taken: &mut Taken) -> Result<u32> {
        let mut found = u32::from(taken.cancel_current(|ticket| self.means(ticket)));
        if self.wants_more(found) {
            let more = taken
                .copies
                .take(self.all, |copy| self.means(copy.ticket()), Copy::cancel);
            found = found.saturating_add(more);
        }
        if self.wants_more(found) {
            found = taken.order.cancel(self, found);
            queue.note_held(taken);
        }
        let mut sent = false;
        if let Some(endpoint) = self.endpoint.as_ref().filter(|_| self.wants_more(found)) {
            let meant = |ticket: &Ticket| Arc::ptr_eq(ticket.queue(), queue) && self.means(ticket);
            let (more, some_sent) = endpoint.call_back(self.all, &meant);
            found = found.saturating_add(more);
            sent = some_sent;
        }
        match (found, sent) {
            (0, true) => Err(EALREADY),
            (0, false) => Err(ENOENT),
            (found, _) => Ok(found),
        }
    }
}
