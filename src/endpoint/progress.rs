// SPDX-License-Identifier: GPL-2.0

//! Once a second each connection is looked after: an idle one asks whether the peer is there, one
//! that stands still is ended.
//!
//! An adapter ought to end a connection by itself when the peer does not answer. Soft-RoCE can
//! forget to: its timer is armed only while something sent is not acknowledged (rxe_comp.c:
//! reset_retry_timer()), not while a request has yet to be sent again. Any adapter may lose a
//! completion. So what is in flight has its time, counted in ticks rather than by a clock: a
//! machine that was stopped itself has nothing to say about its peers.
//!
//! Ownership, locking and teardown are told in [`endpoint`](super).

use super::{
    link::{
        Link,
        Turn, //
    },
    Endpoint,
    Inner, //
};
use dmakit::{
    errno::ECONNRESET,
    rdma::transport::{
        Connection,
        Transport, //
    }, //
};
use kernel::{
    error::Error,
    prelude::*, //
};

/// Ticks for which something may be in flight and nothing of it be done. Adapters give up after 4
/// to 8 seconds without an answer (five retries), and theirs is the better error: this is for those
/// that do not. An instrumented kernel is slower by a factor of ten; a mebibyte in that time is
/// slower than any link by more.
const STANDSTILL: u32 = 30;

/// Bytes of an entry for which there is a tick more: only the end of an entry shows that it moved.
/// A connection with less than 256 KiB a second and entries of many megabytes is taken for dead.
const BYTES_PER_TICK: u32 = 1 << 18;

/// Ticks before the peer's first message, if that has to come before ours.
const SILENCE: u32 = 30;

/// As above, unless a test has less patience.
fn standstill() -> u32 {
    #[cfg(dmaplane_test)]
    if let Some(ticks) = dmakit::rdma::mock::patience() {
        return ticks;
    }
    STANDSTILL
}

impl Endpoint {
    /// Sees to it that a peer that vanished is noticed although nothing is sent to it, and that
    /// what is sent ends.
    pub(crate) fn tick(&self) {
        let mut inner = self.inner.lock();
        if inner.stands_still() {
            if !inner.fail(ECONNRESET.into()) {
                // It failed as long ago, and was flushed, but these were not told of.
                inner.abandon();
            }
            inner.fail_queued();
            let conn = inner.conn.clone();
            drop(inner);
            return self.flush(conn);
        }
        let result = match inner.established() {
            Ok((conn, link)) => link.heartbeat(conn),
            Err(_) => return,
        };
        drop(inner);
        match result {
            Ok(()) | Err(EAGAIN) => {}
            Err(error) => self.fail(error),
        }
    }
}

impl Inner {
    fn stands_still(&mut self) -> bool {
        let failed = self.error.is_some();
        let link = self.link.as_mut();
        link.is_some_and(|link| link.stands_still(failed))
    }

    /// Completes all entries of an endpoint that failed, also those whose own completions did not
    /// come. The queue pair is drained, or was told to go into error long ago.
    pub(super) fn abandon(&mut self) {
        if let (Some(error), Some(link)) = (self.error, &mut self.link) {
            link.abandon(error);
        }
        self.fail_queued();
    }
}

impl Link {
    /// Something on the send queue is done: an entry, which many were posted before, or something
    /// else. Entries are done in their order, so once a completion is lost no later one counts, nor
    /// does anything else while there are entries.
    pub(super) fn moved(&mut self, order: Option<u64>) {
        match order {
            Some(order) if order == self.done => self.done = order.wrapping_add(1),
            None if self.writes == 0 => {}
            _ => return,
        }
        self.waited = 0;
    }

    /// Counts a tick. Whether the send queue made no progress for too many.
    fn stands_still(&mut self, failed: bool) -> bool {
        if self.abandoned || !self.is_busy() {
            self.waited = 0;
            return false;
        }
        let waited = self.waited;
        self.waited = waited.saturating_add(1);
        let limit = standstill();
        if waited < limit {
            return false;
        }
        // What is flushed does not take longer for being long.
        if !failed {
            let entries = self.in_flight.iter().flatten();
            let longest = entries.map(|entry| entry.length).max().unwrap_or(0);
            if waited < limit.saturating_add(longest / BYTES_PER_TICK) {
                return false;
            }
        }
        self.waited = 0;
        true
    }

    /// Completes the entries in flight, in their order. What the adapter says of them later finds
    /// nothing any more.
    fn abandon(&mut self, error: Error) {
        self.abandoned = true;
        loop {
            let entries = self.in_flight.iter_mut().filter(|entry| entry.is_some());
            let oldest = entries.min_by_key(|entry| entry.as_ref().map(|entry| entry.order));
            let Some(entry) = oldest.and_then(Option::take) else {
                break;
            };
            entry.fail(error);
        }
        self.writes = 0;
    }

    /// Asks the peer's adapter whether it is there, if nothing else in flight does: a write of
    /// nothing, which its program does not see.
    fn heartbeat(&mut self, conn: &Connection<Endpoint>) -> Result {
        if self.turn == Turn::Peers {
            // Nothing may be sent that would show whether it is there, so its time is limited.
            self.silent = self.silent.saturating_add(1);
            return match self.silent > SILENCE {
                true => Err(ECONNRESET.into()),
                false => Ok(()),
            };
        }
        if self.beating || self.writes > 0 {
            return Ok(());
        }
        self.chain.clear();
        self.chain.push(0, 0, &[])?;
        conn.post_write(self.send_depth, &mut self.chain, None)?;
        self.beating = true;
        Ok(())
    }
}
