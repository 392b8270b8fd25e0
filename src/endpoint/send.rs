// SPDX-License-Identifier: GPL-2.0

//! Entries on their way out: checked, queued, posted when credits and depth allow, completed.
//!
//! An entry is one message with one immediate, and one or more work requests: as many as there are
//! segments at the peer that it touches.

use super::{
    lease::PeerLeases,
    link::{
        Link,
        Turn, //
    },
    Endpoint,
    Inner, //
};
use crate::{
    channel::Ticket,
    pure::{
        carve,
        state::State, //
    },
    region::{
        check_range,
        RegionUse, //
    }, //
};
use dmakit::{
    errno::{
        ECANCELED,
        ECONNRESET,
        ENOKEY,
        ENOTCONN,
        EOPNOTSUPP,
        EREMOTEIO, //
    },
    rdma::{
        chain::WriteChain,
        queue::Completion,
        transport::Transport, //
    }, //
};
use kernel::{
    error::Error,
    prelude::*,
    sync::Arc, //
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

/// A write with immediate, as asked for.
pub(crate) struct Write {
    /// Where the bytes come from; `None` if there are none.
    pub(crate) region: Option<RegionUse>,
    /// Number of the peer's lease.
    pub(crate) lease: u32,
    /// First byte in the region.
    pub(crate) local: u64,
    /// First byte in the lease.
    pub(crate) remote: u64,
    /// Bytes.
    pub(crate) length: u32,
    /// The immediate, in host order.
    pub(crate) imm: u32,
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
}

/// An entry that waits.
pub(super) struct Pending {
    write: Write,
    ticket: Ticket,
    /// Work requests that it takes.
    requests: u32,
}

impl Pending {
    pub(super) fn fail(self, error: Error) {
        // Whoever sees the completion may deregister the region.
        drop(self.write);
        self.ticket.fail(error, 0);
    }
}

/// An entry that was posted.
pub(super) struct InFlight {
    /// Its number among all posts.
    pub(super) order: u64,
    /// How many were posted with it, if it is the first of them.
    batch: u32,
    ticket: Ticket,
    pub(super) length: u32,
    requests: u32,
    region: Option<RegionUse>,
}

impl InFlight {
    fn succeed(self) {
        // Whoever sees the completion may deregister the region.
        drop(self.region);
        self.ticket.succeed(self.length);
    }

    pub(super) fn fail(self, error: Error, status: u32) {
        // Whoever sees the completion may deregister the region.
        drop(self.region);
        self.ticket.fail(error, status);
    }
}

/// How many work requests a transfer takes, one for each segment of the lease that it touches, and
/// how many pieces the widest of them gathers, one for each segment of the region.
#[derive(Default)]
struct Requests {
    all: u32,
    widest: u32,
    width: u32,
    segment: Option<u32>,
}

impl Requests {
    fn count(&mut self, cut: &carve::Cut) {
        if self.segment != Some(cut.remote.segment) {
            self.segment = Some(cut.remote.segment);
            self.all = self.all.saturating_add(1);
            self.width = 0;
        }
        self.width = self.width.saturating_add(1);
        self.widest = self.widest.max(self.width);
    }
}

/// Adds the work requests of a message whose numbers were checked.
fn build(chain: &mut WriteChain, write: &Write, leases: &PeerLeases) -> Result {
    let Some(region) = write.region.as_ref().filter(|_| write.length > 0) else {
        chain.push(0, 0, &[])?;
        return chain.deliver(write.imm);
    };
    let keys = region.keys()?;
    let lease = leases.find(write.lease).ok_or(ENOKEY)?;
    let mut last = None;
    for cut in carve::cuts(
        write.local,
        keys.segment_bytes(),
        write.remote,
        lease.segment(),
        write.length,
    ) {
        let local = keys.key(cut.local.segment as usize).ok_or(EIO)?;
        let offset = u32::try_from(cut.local.offset)?;
        let sge = local.sge(offset, cut.remote.length).ok_or(EIO)?;
        if last == Some(cut.remote.segment) {
            chain.gather(sge)?;
            continue;
        }
        last = Some(cut.remote.segment);
        let remote = lease.key(cut.remote.segment).ok_or(EIO)?;
        let addr = remote.addr.checked_add(cut.remote.offset).ok_or(EIO)?;
        chain.push(remote.rkey, addr, &[sge])?;
    }
    chain.deliver(write.imm)
}

impl Endpoint {
    /// Takes a message, to be sent by [`Self::send`] or later. The ticket is completed either way.
    pub(crate) fn submit(&self, write: Write, ticket: Ticket) {
        let mut inner = self.inner.lock();
        let requests = match inner.check(&write) {
            Ok(requests) => requests,
            Err(error) => {
                drop(inner);
                drop(write);
                return ticket.fail(error, 0);
            }
        };
        let pending = Pending {
            write,
            ticket,
            requests,
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

    /// Cancels entries that were not sent, or wait for messages, and are `meant`: one, or `all`. Returns how many there were,
    /// and whether one was sent already.
    pub(crate) fn call_back(&self, all: bool, meant: &dyn Fn(&Ticket) -> bool) -> (u32, bool) {
        let mut inner = self.inner.lock();
        let mut found = inner.counts.cancel(all, meant);
        let Some(link) = inner.link.as_mut().filter(|_| all || found == 0) else {
            return (found, false);
        };
        let queued = link.queue.take(
            all,
            |pending| meant(&pending.ticket),
            |pending| pending.fail(ECANCELED.into()),
        );
        found = found.saturating_add(queued);
        let mut sent = link.in_flight.iter().flatten();
        let sent = sent.any(|entry| meant(&entry.ticket));
        let pumped = inner.pump();
        drop(inner);
        if let Err(error) = pumped {
            self.fail(error);
        }
        (found, sent)
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
        let (mut status, mut failed, mut first) = (completion.status, false, false);
        for n in 0..batch {
            let Some(entry) = inner.land(slot, n) else {
                continue;
            };
            if entry.requests <= good {
                good = good.saturating_sub(entry.requests);
                inner.stats.sent = inner.stats.sent.saturating_add(1);
                inner.stats.sent_bytes = inner.stats.sent_bytes.saturating_add(entry.length.into());
                entry.succeed();
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
            entry.fail(failure, status);
            failed = true;
            // Those behind it were not done for that.
            status = status::FLUSH;
        }
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
    /// Checks an entry against the region, the lease and the limits; returns how many work
    /// requests it takes.
    fn check(&self, write: &Write) -> Result<u32> {
        if self.state != State::Established {
            return Err(ENOTCONN.into());
        }
        let (Some(link), Some(fabric)) = (&self.link, &self.fabric) else {
            return Err(ENOTCONN.into());
        };
        let supported = |requests| match fabric.rdma().write_imm() {
            true => Ok(requests),
            false => Err(EOPNOTSUPP.into()),
        };
        let Some(region) = &write.region else {
            return match (write.lease, write.local, write.remote) {
                (0, 0, 0) => supported(1),
                _ => Err(EINVAL),
            };
        };
        if !Arc::ptr_eq(region.fabric(), fabric) {
            return Err(EXDEV);
        }
        let lease = self.leases.find(write.lease).ok_or(ENOKEY)?;
        let length = u64::from(write.length);
        check_range(write.local, length, region.length())?;
        check_range(write.remote, length, lease.length())?;
        let cuts = carve::cuts(
            write.local,
            region.keys()?.segment_bytes(),
            write.remote,
            lease.segment(),
            write.length,
        );
        let mut requests = Requests::default();
        for cut in cuts {
            requests.count(&cut);
            if requests.all > link.send_depth || requests.widest > link.max_sge {
                return Err(EMSGSIZE);
            }
        }
        supported(requests.all)
    }

    /// Takes an entry out of flight, the `n`th of those posted together from `slot` on.
    fn land(&mut self, slot: u32, n: u32) -> Option<InFlight> {
        let link = self.link.as_mut()?;
        let place = link.place_after(slot, n);
        let entry = link.in_flight.get_mut(place as usize)?.take()?;
        link.writes = link.writes.saturating_sub(entry.requests);
        Some(entry)
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
        link.send_messages(conn, stats)?;
        loop {
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
        match link.sender.available() == 0 && !link.queue.is_empty() {
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
            status::LOCAL_OPERATION if fabric.is_some_and(|f| f.rdma().blames_itself()) => {
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
        let half = self.writes.saturating_add(queued).div_ceil(2);
        let most = self.sender.available().min(half).min(BATCH);
        let mut batch = Batch::default();
        while batch.entries < most {
            let Some(pending) = self.queue.get(batch.entries as usize) else {
                break;
            };
            let bytes = batch.bytes.saturating_add(pending.write.length);
            let requests = batch.requests.saturating_add(pending.requests);
            let place = self.place_after(self.next, batch.entries);
            let taken = self
                .in_flight
                .get(place as usize)
                .is_none_or(Option::is_some);
            if taken
                || self.writes.saturating_add(requests) > self.send_depth
                || (batch.entries > 0 && bytes > BATCH_BYTES)
            {
                break;
            }
            build(&mut self.chain, &pending.write, leases)?;
            batch = Batch {
                entries: batch.entries.saturating_add(1),
                requests,
                bytes,
            };
        }
        Ok(batch)
    }

    /// What was built has been posted.
    fn take_off(&mut self, batch: &Batch) -> Result {
        for n in 0..batch.entries {
            let Pending {
                write,
                ticket,
                requests,
            } = self.queue.pop().ok_or(EIO)?;
            self.sender.take();
            self.writes = self.writes.saturating_add(requests);
            let entry = InFlight {
                order: self.number(),
                batch: if n == 0 { batch.entries } else { 0 },
                ticket,
                length: write.length,
                requests,
                region: write.region,
            };
            if let Some(place) = self.in_flight.get_mut(self.next as usize) {
                *place = Some(entry);
            }
            self.next = self.place_after(self.next, 1);
        }
        Ok(())
    }
}
