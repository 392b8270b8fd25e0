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
    send::InFlight,
    Endpoint,
    Inner, //
};
use dmakit::{
    errno::ECONNRESET,
    rdma::{
        chain::Verb,
        transport::{
            Connection,
            Transport, //
        }, //
    }, //
};
use kernel::{
    error::Error,
    prelude::*, //
};

/// Ticks for which the oldest of what is in flight may be that. Adapters give up after 4
/// to 8 seconds without an answer (five retries), and theirs is the better error: this is for those
/// that do not. An instrumented kernel is slower by a factor of ten; a mebibyte in that time is
/// slower than any link by more.
const STANDSTILL: u32 = 30;

/// Bytes of an entry for which there is a tick more: only the end of an entry shows that it moved.
/// A connection with less than 256 KiB a second and entries of many megabytes is taken for dead.
const BYTES_PER_TICK: u32 = 1 << 18;

/// Ticks for one that is not done although later ones failed.
const FORGOTTEN: u32 = 2;

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
        inner.hurry_receiving();
        if inner.stands_still() {
            if !inner.fail(ECONNRESET.into()) {
                // It failed as long ago, and was flushed, but these were not told of.
                self.abandon(&mut inner);
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
        // What waited for memory to have moved may not have been told.
        let result = match result {
            Ok(()) | Err(EAGAIN) => inner.pump(),
            error => error,
        };
        drop(inner);
        if let Err(error) = result {
            self.fail(error);
        }
    }

    /// Completes all entries of an endpoint that failed, also those whose own completions did not
    /// come. The queue pair is drained, or was told to go into error long ago.
    pub(super) fn abandon(&self, inner: &mut Inner) {
        if let (Some(error), Some(link)) = (inner.error, &mut inner.link) {
            // An adapter that works leaves none: who counts some knows that it does not, or we.
            self.device.counters().abandoned(link.abandon(error));
        }
        inner.fail_queued();
    }
}

impl Inner {
    /// Ends what waits for messages of an endpoint that failed and whose receives are not flushed.
    fn hurry_receiving(&mut self) {
        if self.error.is_some() {
            self.counts.late = self.counts.late.saturating_add(1);
            if self.counts.late > standstill() {
                self.no_more_messages();
            }
        }
    }

    fn stands_still(&mut self) -> bool {
        let failed = self.error.is_some();
        let link = self.link.as_mut();
        link.is_some_and(|link| link.stands_still(failed))
    }
}

impl Link {
    /// Number of the oldest post that is not done, and its length if it is an entry. What is
    /// posted is done in that order, so that once a completion is lost nothing later hides it.
    fn oldest(&self) -> Option<(u64, u32)> {
        let entries = self.in_flight.iter().flatten();
        let entries = entries.map(|entry| (entry.order, entry.length));
        let others = [
            self.messages.oldest(),
            self.registrations.oldest(),
            self.beating,
        ];
        let others = others.into_iter().flatten().map(|order| (order, 0));
        [entries.min(), others.min()].into_iter().flatten().min()
    }

    /// Whether an entry posted before that of this number is in flight. An adapter that forgets some
    /// may tell of others that they failed.
    pub(super) fn is_preceded(&self, order: u64) -> bool {
        let mut entries = self.in_flight.iter().flatten();
        entries.any(|entry| entry.order < order)
    }

    /// Where the oldest entry in flight is, if it is known to have failed.
    pub(super) fn waiting(&self) -> Option<u32> {
        let entries = self.in_flight.iter().zip(0u32..);
        let entries = entries.filter_map(|(entry, place)| Some((entry.as_ref()?, place)));
        let (oldest, place) = entries.min_by_key(|(entry, _)| entry.order)?;
        oldest.failed.map(|_| place)
    }

    /// Counts a tick. Whether the oldest post has been that for too many.
    fn stands_still(&mut self, failed: bool) -> bool {
        let oldest = self.oldest().filter(|_| !self.abandoned);
        let order = oldest.map(|(order, _)| order);
        if order.is_none() || order != self.watched {
            self.watched = order;
            self.waited = 0;
        }
        let Some((_, length)) = oldest else {
            return false;
        };
        let waited = self.waited;
        self.waited = waited.saturating_add(1);
        let limit = match failed {
            // What is told is told in order: this one has been forgotten.
            true if self.in_flight.iter().flatten().any(InFlight::waits) => FORGOTTEN,
            // What is flushed does not take longer for being long.
            true => standstill(),
            false => standstill().saturating_add(length / BYTES_PER_TICK),
        };
        if waited < limit {
            return false;
        }
        self.waited = 0;
        true
    }

    /// Completes the entries in flight, in their order, and says how many. What the adapter says of
    /// them later finds nothing any more.
    fn abandon(&mut self, error: Error) -> u32 {
        self.abandoned = true;
        let mut count = 0u32;
        loop {
            let entries = self.in_flight.iter_mut().filter(|entry| entry.is_some());
            let oldest = entries.min_by_key(|entry| entry.as_ref().map(|entry| entry.order));
            let Some(entry) = oldest.and_then(Option::take) else {
                break;
            };
            let Some(end) = entry.end else { continue };
            // Of what only waited for others the adapter has told.
            count = count.saturating_add(entry.failed.is_none().into());
            let (error, status) = entry.failed.unwrap_or((error, 0));
            end.fail(error, status);
        }
        self.writes = 0;
        self.reads = 0;
        count
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
        if self.oldest().is_some() || self.registering > 0 {
            return Ok(());
        }
        self.chain.clear();
        self.chain.push(Verb::Write, 0, 0, &[])?;
        conn.post_write(self.send_depth, &mut self.chain)?;
        self.beating = Some(self.number());
        Ok(())
    }
}
