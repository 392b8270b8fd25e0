// SPDX-License-Identifier: GPL-2.0

//! Entries on their way out: checked, queued, posted when credits and depth allow, completed.
//!
//! An entry is posted as one or more work requests ([`remote`](super::remote)), all at once or, if
//! they are more than fit, in parts; then the next one waits until the last part is posted.

use super::{
    lease::PeerLeases,
    link::{
        Link,
        Turn, //
    },
    remote::{
        Cursor,
        Remote,
        Room, //
    },
    Endpoint,
    Inner, //
};
use crate::{
    channel::Ticket,
    pure::state::State,
    region::{
        Readiness,
        RegionUse, //
    }, //
};
use dmakit::{
    errno::{
        ECANCELED,
        ECONNRESET,
        ENOTCONN,
        EREMOTEIO, //
    },
    rdma::{
        queue::Completion,
        transport::Transport, //
    }, //
};
use kernel::{
    error::Error,
    prelude::*, //
};

/// Completion statuses (`enum ib_wc_status`) that mean something to the user.
mod status {
    pub(super) const LOCAL_OPERATION: u32 = 2;
    pub(super) const FLUSH: u32 = 5;
    pub(super) const REMOTE_INVALID_REQUEST: u32 = 9;
    pub(super) const REMOTE_ACCESS: u32 = 10;
    pub(super) const REMOTE_OPERATION: u32 = 11;
    pub(super) const RETRY_EXCEEDED: u32 = 12;
    pub(super) const RNR_RETRY_EXCEEDED: u32 = 13;
}

/// Entries that are posted together, as long as they are short: with one call, and with one
/// completion, which is most of what the adapter and we have to do for a short one.
pub(crate) const BATCH: u32 = 8;
const BATCH_BYTES: u32 = 1 << 14;

/// What was built to be posted together.
#[derive(Default)]
struct Batch {
    entries: u32,
    requests: u32,
    bytes: u32,
    /// How far the last one was built, if not to its end.
    rest: Option<Cursor>,
}

/// An entry that waits, as a whole or with its rest.
pub(super) struct Pending {
    pub(super) remote: Remote,
    ticket: Ticket,
    /// Part of it was posted, up to here.
    sent: Option<Cursor>,
    /// Work requests that were built of it.
    requests: u32,
}

impl Pending {
    pub(super) fn fail(self, error: Error) {
        // Whoever sees the completion may deregister the region.
        drop(self.remote);
        self.ticket.fail(error, 0);
    }

    /// As [`Self::fail`], with the adapter's status if some of it was sent.
    pub(super) fn fail_sent(self, error: Error, status: u32) {
        let status = self.sent.map_or(0, |_| status);
        drop(self.remote);
        self.ticket.fail(error, status);
    }

    /// Whether it takes a receive of the peer's.
    pub(super) fn is_message(&self) -> bool {
        self.remote.is_message()
    }
}

/// An entry that was posted, or part of one.
pub(super) struct InFlight {
    /// Its number among all posts.
    pub(super) order: u64,
    /// How many were posted with it, if it is the first of them.
    batch: u32,
    pub(super) length: u32,
    requests: u32,
    reads: bool,
    /// Number of the keys that it uses, and of the peer's lease.
    pub(super) region: u64,
    pub(super) lease: u32,
    /// The entry, if this is the end of it.
    pub(super) end: Option<End>,
    /// How it failed, if what was posted before it is not done.
    pub(super) failed: Option<(Error, u32)>,
}

impl InFlight {
    /// Whether it failed, and what was posted before it is not done.
    pub(super) fn waits(&self) -> bool {
        self.failed.is_some()
    }
}

/// What is to be completed when the end of an entry is.
pub(super) struct End {
    ticket: Ticket,
    region: Option<RegionUse>,
}

impl End {
    fn succeed(self, length: u32) {
        // Whoever sees the completion may deregister the region.
        drop(self.region);
        self.ticket.succeed(length);
    }

    pub(super) fn fail(self, error: Error, status: u32) {
        // Whoever sees the completion may deregister the region.
        drop(self.region);
        self.ticket.fail(error, status);
    }
}

impl Endpoint {
    /// Takes an entry, to be sent by [`Self::send`] or later. The ticket is completed either way.
    pub(crate) fn submit(&self, remote: Remote, ticket: Ticket) {
        let mut inner = self.inner.lock();
        if let Err(error) = inner.check(&remote) {
            drop(inner);
            drop(remote);
            return ticket.fail(error, 0);
        }
        let pending = Pending {
            remote,
            ticket,
            sent: None,
            requests: 0,
        };
        let Some(link) = &mut inner.link else {
            return pending.fail(ENOTCONN.into());
        };
        // Each waiting entry has a place in its completion ring, so with one channel there is
        // room; entries from other channels may fill the queue, if only until some are sent.
        let Err(pending) = link.queue.push(pending) else {
            return;
        };
        if let Err(error) = inner.pump() {
            drop(inner);
            self.fail(error);
            return pending.fail(error);
        }
        let refused = match &mut inner.link {
            Some(link) => link.queue.push(pending).err(),
            None => Some(pending),
        };
        if let Some(pending) = refused {
            pending.fail(EAGAIN);
        }
    }

    /// Cancels entries that were not sent, or wait for messages, and are `meant`: one, or `all`.
    /// Returns how many there were, and whether one was sent already.
    pub(crate) fn call_back(&self, all: bool, meant: &dyn Fn(&Ticket) -> bool) -> (u32, bool) {
        let mut inner = self.inner.lock();
        let mut found = inner.counts.cancel(all, meant);
        let Some(link) = inner.link.as_mut().filter(|_| all || found == 0) else {
            return (found, false);
        };
        found = found.saturating_add(link.inbox.cancel(all, meant));
        if !all && found > 0 {
            return (found, false);
        }
        let queued = link.queue.take(
            all,
            |pending| pending.sent.is_none() && meant(&pending.ticket),
            |pending| pending.fail(ECANCELED.into()),
        );
        found = found.saturating_add(queued);
        let posted = link.in_flight.iter().flatten();
        let posted = posted.filter_map(|entry| Some(&entry.end.as_ref()?.ticket));
        let begun = link.queue.iter().filter(|pending| pending.sent.is_some());
        let begun = begun.map(|pending| &pending.ticket);
        let sent = Iterator::chain(posted, begun).any(meant);
        let pumped = inner.pump();
        drop(inner);
        if let Err(error) = pumped {
            self.fail(error);
        }
        (found, sent)
    }

    /// Ends the command of io_uring of an entry that was sent, or part of it, and is `meant`;
    /// whether there was one. The entry goes on.
    pub(crate) fn disown(&self, meant: &dyn Fn(&Ticket) -> bool) -> bool {
        let mut inner = self.inner.lock();
        let Some(link) = &mut inner.link else {
            return false;
        };
        let posted = link.in_flight.iter_mut().flatten();
        let posted = posted.filter_map(|entry| Some(&mut entry.end.as_mut()?.ticket));
        // Only the first one can be sent in part.
        let begun = link.queue.front_mut();
        let begun = begun.filter(|pending| pending.sent.is_some());
        let begun = begun.map(|pending| &mut pending.ticket);
        let entry = Iterator::chain(posted, begun).find(|ticket| meant(ticket));
        entry.map(Ticket::disown).is_some()
    }

    /// Sends what can be sent of what was submitted.
    pub(crate) fn send(&self) {
        let pumped = self.inner.lock().pump();
        if let Err(error) = pumped {
            self.fail(error);
        }
    }

    /// Entries that were posted together are done. The first `good` of their work requests
    /// succeeded.
    pub(super) fn write_done(&self, slot: u32, mut good: u32, completion: &Completion<'_>) {
        let mut inner = self.inner.lock();
        let Some(link) = &inner.link else { return };
        if slot == link.send_depth {
            drop(inner);
            return self.slot_done(completion, |link| link.beating = None);
        }
        let oldest = link.in_flight.get(slot as usize).and_then(Option::as_ref);
        let batch = oldest.map_or(0, |entry| entry.batch);
        let waits =
            !completion.is_ok() && oldest.is_some_and(|entry| link.is_preceded(entry.order));
        let (mut status, mut failed, mut first) = (completion.status, false, false);
        for n in 0..batch {
            let Some(mut entry) = inner.land(slot, n) else {
                continue;
            };
            if entry.requests <= good {
                good = good.saturating_sub(entry.requests);
                let Some(end) = entry.end else { continue };
                if !entry.reads {
                    inner.stats.sent = inner.stats.sent.saturating_add(1);
                    let bytes = inner.stats.sent_bytes.saturating_add(entry.length.into());
                    inner.stats.sent_bytes = bytes;
                }
                end.succeed(entry.length);
                continue;
            }
            good = 0;
            let failure = match status {
                status::FLUSH => inner.error.unwrap_or(ECONNRESET.into()),
                status => inner.meaning(status),
            };
            inner.note_status(completion);
            // The endpoint is in its final state before the program can learn of the failure.
            first |= inner.fail(failure);
            if waits {
                entry.failed = Some((failure, status));
                inner.put_back(slot, n, entry);
            } else if let Some(end) = entry.end {
                end.fail(failure, status);
            }
            failed = true;
            // Those behind it were not done for that.
            status = status::FLUSH;
        }
        inner.fail_waiting();
        inner.fail_queued();
        let pumped = inner.pump();
        let conn = inner.conn.clone().filter(|_| first);
        let waited_for = inner.link.as_ref().is_some_and(|link| link.registering > 0);
        drop(inner);
        if failed {
            return self.flush(conn);
        }
        if waited_for {
            self.changed.notify_all();
        }
        if let Err(error) = pumped {
            self.fail(error);
        }
    }
}

impl Inner {
    /// Checks an entry before it is taken.
    fn check(&self, remote: &Remote) -> Result {
        match (&self.link, &self.fabric) {
            (Some(_), Some(fabric)) if self.state == State::Established => {
                remote.check(self, fabric)
            }
            _ => Err(ENOTCONN.into()),
        }
    }

    /// Takes an entry out of flight, the `n`th of those posted together from `slot` on.
    fn land(&mut self, slot: u32, n: u32) -> Option<InFlight> {
        let link = self.link.as_mut()?;
        let place = link.place_after(slot, n);
        let entry = link.in_flight.get_mut(place as usize)?.take()?;
        link.writes = link.writes.saturating_sub(entry.requests);
        if entry.reads {
            link.reads = link.reads.saturating_sub(entry.requests);
        }
        Some(entry)
    }

    /// Puts an entry back into flight.
    fn put_back(&mut self, slot: u32, n: u32, entry: InFlight) {
        let Some(link) = self.link.as_mut() else {
            return;
        };
        let at = link.place_after(slot, n);
        if let Some(place) = link.in_flight.get_mut(at as usize) {
            link.writes = link.writes.saturating_add(entry.requests);
            if entry.reads {
                link.reads = link.reads.saturating_add(entry.requests);
            }
            *place = Some(entry);
        }
    }

    /// Completes entries that failed and waited for what was posted before them.
    fn fail_waiting(&mut self) {
        let failed = self.error.is_some();
        while let Some(slot) = self
            .link
            .as_ref()
            .filter(|_| failed)
            .and_then(Link::waiting)
        {
            let Some(entry) = self.land(slot, 0) else {
                return;
            };
            if let (Some(end), Some((error, status))) = (entry.end, entry.failed) {
                end.fail(error, status);
            }
        }
    }

    /// Sends whatever can be sent now.
    pub(super) fn pump(&mut self) -> Result {
        if self.state != State::Established {
            return Ok(());
        }
        let Self {
            conn: Some(conn),
            link: Some(link),
            leases,
            stats,
            ..
        } = self
        else {
            return Ok(());
        };
        if link.turn == Turn::Peers || link.registering > 0 {
            return Ok(());
        }
        link.send_messages(conn, leases, stats)?;
        loop {
            link.fail_dead(leases, stats);
            let batch = link.build_batch(leases)?;
            if batch.entries == 0 {
                break;
            }
            match conn.post_write(link.next, &mut link.chain) {
                Ok(()) => link.take_off(&batch)?,
                Err(EAGAIN) => break,
                Err(error) => return Err(error),
            }
        }
        match link.sender.available() == 0 && link.queue.get(0).is_some_and(Pending::is_message) {
            true => link.begin_stall(stats),
            false => link.end_stall(stats),
        }
        Ok(())
    }

    /// The errno of a failed work request.
    pub(super) fn meaning(&self, status: u32) -> Error {
        let fabric = self.fabric.as_ref();
        match status {
            status::REMOTE_INVALID_REQUEST | status::REMOTE_ACCESS | status::REMOTE_OPERATION => {
                EREMOTEIO.into()
            }
            status::RETRY_EXCEEDED | status::RNR_RETRY_EXCEEDED => ECONNRESET.into(),
            status::LOCAL_OPERATION if fabric.is_some_and(|f| f.rdma().quirks().blames_itself) => {
                ECONNRESET.into()
            }
            _ => EIO,
        }
    }

    /// Keeps the status of the first work request that failed by itself.
    pub(super) fn note_status(&mut self, completion: &Completion<'_>) {
        if self.wc_status == 0 && !completion.is_flush() {
            self.wc_status = completion.status;
        }
    }
}

impl Link {
    /// Builds what can be sent next, as far as it is sent together.
    fn build_batch(&mut self, leases: &PeerLeases) -> Result<Batch> {
        self.chain.clear();
        // Half of what is there at most, so that the adapter always has something to do.
        let queued = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
        let most = self.writes.saturating_add(queued).div_ceil(2).min(BATCH);
        let mut credits = self.sender.available();
        let mut reads = self.reads;
        let mut batch = Batch::default();
        while batch.entries < most && batch.rest.is_none() {
            let place = self.place_after(self.next, batch.entries);
            let free = self.in_flight.get(place as usize);
            let free = free.is_some_and(Option::is_none);
            let used = self.writes.saturating_add(batch.requests);
            let left = self.send_depth.saturating_sub(used);
            let reads_left = self.max_reads.saturating_sub(reads);
            let Some(pending) = self.queue.get_mut(batch.entries as usize) else {
                break;
            };
            let remote = &pending.remote;
            let bytes = batch.bytes.saturating_add(remote.length);
            let waits = remote.fence || (self.overtaken && remote.posts_writes());
            let message = u32::from(remote.is_message());
            if !free
                || left == 0
                || message > credits
                || (waits && reads > 0 && pending.sent.is_none())
                || (remote.reads() && reads_left == 0)
                || (batch.entries > 0 && bytes > BATCH_BYTES)
                || pending.readiness(leases) != Readiness::Ready
            {
                break;
            }
            let room = Room {
                // Half as well.
                requests: match remote.reads() {
                    false => left.min(self.send_depth.div_ceil(2)),
                    true => left.min(self.send_depth.div_ceil(2)).min(reads_left),
                },
                pieces: match remote.reads() {
                    false => self.max_sge,
                    true => self.max_sge_read,
                },
            };
            let mut at = pending.sent.unwrap_or_default();
            let before = self.chain.len();
            if !remote.build(&mut self.chain, &mut at, leases, &room, place)? {
                batch.rest = Some(at);
            }
            pending.requests = u32::try_from(self.chain.len().saturating_sub(before))?;
            credits = credits.saturating_sub(message);
            if remote.reads() {
                reads = reads.saturating_add(pending.requests);
            }
            batch.entries = batch.entries.saturating_add(1);
            batch.requests = batch.requests.saturating_add(pending.requests);
            batch.bytes = bytes;
        }
        Ok(batch)
    }

    /// What was built has been posted.
    fn take_off(&mut self, batch: &Batch) -> Result {
        for n in 0..batch.entries {
            let last = n.saturating_add(1) == batch.entries;
            let pending = self.queue.front_mut().ok_or(EIO)?;
            let (requests, length) = (pending.requests, pending.remote.length);
            let reads = pending.remote.reads();
            let region = pending.remote.region.as_ref();
            let region = region.map_or(0, |region| region.registration().number());
            let lease = pending.remote.lease;
            let message = pending.is_message();
            pending.ticket.posted();
            let end = match batch.rest.filter(|_| last) {
                Some(rest) => {
                    pending.sent = Some(rest);
                    None
                }
                None => {
                    let Pending { remote, ticket, .. } = self.queue.pop().ok_or(EIO)?;
                    if message {
                        self.sender.take();
                    }
                    let region = remote.region;
                    Some(End { ticket, region })
                }
            };
            self.writes = self.writes.saturating_add(requests);
            if reads {
                self.reads = self.reads.saturating_add(requests);
            }
            let entry = InFlight {
                order: self.number(),
                batch: if n == 0 { batch.entries } else { 0 },
                length,
                requests,
                reads,
                region,
                lease,
                end,
                failed: None,
            };
            if let Some(place) = self.in_flight.get_mut(self.next as usize) {
                *place = Some(entry);
            }
            self.next = self.place_after(self.next, 1);
        }
        Ok(())
    }
}
