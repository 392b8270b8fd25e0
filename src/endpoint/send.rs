// SPDX-License-Identifier: GPL-2.0

//! Entries on their way out: checked, queued, posted when credits and depth allow, completed.
//!
//! An entry is one message with one immediate, and one or more work requests: as many as there are
//! segments at the peer that it touches.

use super::{
    lease::PeerLeases,
    link::Turn,
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
    ticket: Ticket,
    pub(super) length: u32,
    requests: u32,
    region: Option<RegionUse>,
}

impl InFlight {
    pub(super) fn fail(self, error: Error) {
        // Whoever sees the completion may deregister the region.
        drop(self.region);
        self.ticket.fail(error, 0);
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

/// Fills `chain` with the work requests of a message whose numbers were checked.
fn build(chain: &mut WriteChain, write: &Write, leases: &PeerLeases) -> Result {
    chain.clear();
    let Some(region) = write.region.as_ref().filter(|_| write.length > 0) else {
        return Ok(());
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
    Ok(())
}

impl Endpoint {
    /// Sends a message, now or when the peer can take it. The ticket is completed either way.
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
        // room; entries from other channels may fill the queue.
        if let Err(pending) = link.queue.push(pending) {
            return pending.fail(EAGAIN);
        }
        let pumped = inner.pump();
        drop(inner);
        if let Err(error) = pumped {
            self.fail(error);
        }
    }

    /// A work request of an entry is done, and with it the entry.
    pub(super) fn write_done(&self, slot: u32, completion: &Completion<'_>) {
        let mut inner = self.inner.lock();
        let error = inner.error;
        let Inner { link, stats, .. } = &mut *inner;
        let Some(link) = link else { return };
        if slot == link.send_depth {
            drop(inner);
            return self.slot_done(completion, |link| link.beating = None);
        }
        let entry = link.in_flight.get_mut(slot as usize).and_then(Option::take);
        let Some(entry) = entry else { return };
        link.writes = link.writes.saturating_sub(entry.requests);
        link.free.push(slot);
        if link.registering > 0 {
            self.changed.notify_all();
        }
        // Whoever sees the completion may deregister the region.
        drop(entry.region);
        if completion.is_ok() {
            stats.sent = stats.sent.saturating_add(1);
            stats.sent_bytes = stats.sent_bytes.saturating_add(u64::from(entry.length));
            entry.ticket.succeed(entry.length);
            inner.fail_queued();
            let pumped = inner.pump();
            drop(inner);
            if let Err(error) = pumped {
                self.fail(error);
            }
            return;
        }
        let failure = match completion.is_flush() {
            true => error.unwrap_or(ECONNRESET.into()),
            false => inner.meaning(completion.status),
        };
        inner.note_status(completion);
        // The endpoint is in its final state before the program can learn of the failure.
        let first = inner.fail(failure);
        entry.ticket.fail(failure, completion.status);
        inner.fail_queued();
        let conn = inner.conn.clone().filter(|_| first);
        drop(inner);
        self.flush(conn);
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
        while link.sender.available() > 0 {
            let Some(pending) = link.queue.front() else {
                break;
            };
            if link.writes.saturating_add(pending.requests) > link.send_depth {
                break;
            }
            let Some(slot) = link.free.pop() else { break };
            let posted = build(&mut link.chain, &pending.write, leases)
                .and_then(|()| conn.post_write(slot, &mut link.chain, Some(pending.write.imm)));
            if let Err(error) = posted {
                link.free.push(slot);
                match error {
                    EAGAIN => break,
                    error => return Err(error),
                }
            }
            link.sender.take();
            let Some(Pending {
                write,
                ticket,
                requests,
            }) = link.queue.pop()
            else {
                return Err(EIO);
            };
            link.writes = link.writes.saturating_add(requests);
            let order = link.number();
            if let Some(place) = link.in_flight.get_mut(slot as usize) {
                *place = Some(InFlight {
                    order,
                    ticket,
                    length: write.length,
                    requests,
                    region: write.region,
                });
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
