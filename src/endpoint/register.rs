// SPDX-License-Identifier: GPL-2.0

//! Registering memory: fast registrations on the send queue of a connection.
//!
//! Ownership, locking and teardown are told in [`endpoint`](super).

use super::{
    Endpoint,
    Inner, //
};
use crate::wait::Patience;
use dmakit::{
    rdma::{
        mr,
        transport::Transport, //
    },
    uapi, //
};
use kernel::{
    prelude::*,
    sync::{
        lock::mutex::MutexGuard,
        Arc, //
    }, //
};

impl Endpoint {
    /// Posts the fast registrations of `keys` and waits until all took effect, and nothing but the caller has the
    /// keys: who drops them then may rely on their being dead.
    pub(crate) fn register(&self, keys: &Arc<mr::Region>, access: mr::Access) -> Result {
        self.register_with(Patience::new(uapi::FOREVER), keys, access)
    }

    /// Has nothing more sent, so that it becomes idle, and memory can be registered at once; whether that is possible.
    pub(crate) fn reserve(&self) -> bool {
        let mut inner = self.inner.lock();
        match inner.established() {
            Ok((_, link)) => {
                link.registering = link.registering.saturating_add(1);
                true
            }
            Err(_) => false,
        }
    }

    /// Ends that.
    pub(crate) fn unreserve(&self) {
        let mut inner = self.inner.lock();
        if let Some(link) = &mut inner.link {
            link.registering = link.registering.saturating_sub(1);
        }
        let pumped = inner.pump();
        drop(inner);
        if let Err(error) = pumped {
            self.fail(error);
        }
    }

    /// As [`Self::register`], for keys that must not be lost to a signal, when the endpoint is idle.
    pub(crate) fn register_again(&self, keys: &Arc<mr::Region>, access: mr::Access) -> Result {
        self.register_with(Patience::Firm, keys, access)
    }

    fn register_with(
        &self,
        mut patience: Patience,
        keys: &Arc<mr::Region>,
        access: mr::Access,
    ) -> Result {
        let last = self.post_registrations(&mut patience, keys, access)?;
        let mut done = 0usize;
        self.wait_until(&mut patience, |inner| {
            while done < keys.segments() && keys.is_registered(done) {
                done = done.saturating_add(1);
            }
            let all = done == keys.segments();
            match inner.established() {
                // A slot is given back when its registration has let go of the keys.
                Ok((_, link)) => {
                    let oldest = link.registrations.oldest();
                    let over = all && oldest.is_none_or(|oldest| oldest > last);
                    over.then_some(Ok(()))
                }
                // A registration that fails breaks the connection, which ends the wait.
                Err(error) => Some(if all { Ok(()) } else { Err(error) }),
            }
        })?
    }

    /// Where registrations are repeated, what is posted behind them does no harm: they are the
    /// oldest on the queue, and done before anything else begins. So others are held back only
    /// until the last one is posted, and have their turn before the next region. Returns its number.
    fn post_registrations(
        &self,
        patience: &mut Patience,
        keys: &Arc<mr::Region>,
        access: mr::Access,
    ) -> Result<u64> {
        let mut inner = self.inner.lock();
        if !keys.domain().device().quirks().repeats_registrations {
            return self.post_segments(&mut inner, patience, keys, access, false);
        }
        let (_, link) = inner.established()?;
        link.registering = link.registering.saturating_add(1);
        let posted = self.post_segments(&mut inner, patience, keys, access, true);
        if let Some(link) = &mut inner.link {
            link.registering = link.registering.saturating_sub(1);
        }
        let pumped = inner.pump();
        drop(inner);
        if let Err(error) = pumped {
            self.fail(error);
        }
        posted
    }

    /// With `alone` each waits until nothing but registrations is in flight. Returns the number of the last.
    fn post_segments(
        &self,
        inner: &mut MutexGuard<'_, Inner>,
        patience: &mut Patience,
        keys: &Arc<mr::Region>,
        access: mr::Access,
        alone: bool,
    ) -> Result<u64> {
        let (mut posted, mut last) = (0usize, 0u64);
        loop {
            let (conn, link) = inner.established()?;
            while posted < keys.segments() && (!alone || link.is_quiet()) {
                let Some(slot) = link.registrations.pop() else {
                    break;
                };
                if let Err(error) = conn.post_reg(slot, keys, posted, access) {
                    link.registrations.push(slot);
                    match error {
                        EAGAIN => break,
                        error => return Err(error),
                    }
                }
                last = link.number();
                link.registrations.posted(slot, last);
                posted = posted.saturating_add(1);
            }
            if posted == keys.segments() {
                return Ok(last);
            }
            patience.wait(&self.changed, inner)?;
        }
    }
}
