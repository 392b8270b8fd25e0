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
    /// Posts the fast registrations of `keys` and waits until all took effect.
    pub(crate) fn register(&self, keys: &Arc<mr::Region>, remote_write: bool) -> Result {
        let access = match remote_write {
            true => mr::Access::LOCAL_WRITE | mr::Access::REMOTE_WRITE,
            false => mr::Access::NONE,
        };
        let mut inner = self.inner.lock();
        if !keys.domain().device().repeats_registrations() {
            return self.register_all(&mut inner, keys, access, false);
        }
        let (_, link) = inner.established()?;
        link.registering = link.registering.saturating_add(1);
        let result = self.register_all(&mut inner, keys, access, true);
        if let Some(link) = &mut inner.link {
            link.registering = link.registering.saturating_sub(1);
        }
        let pumped = inner.pump();
        drop(inner);
        if let Err(error) = pumped {
            self.fail(error);
        }
        result
    }

    /// With `alone` only what waits for nothing else in flight is posted.
    fn register_all(
        &self,
        inner: &mut MutexGuard<'_, Inner>,
        keys: &Arc<mr::Region>,
        access: mr::Access,
        alone: bool,
    ) -> Result {
        let mut posted = 0usize;
        let mut done = 0usize;
        let mut patience = Patience::new(uapi::FOREVER);
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
                let order = link.number();
                link.registrations.posted(slot, order);
                posted = posted.saturating_add(1);
            }
            while done < posted && keys.is_registered(done) {
                done = done.saturating_add(1);
            }
            if done == keys.segments() {
                return Ok(());
            }
            // A registration that fails breaks the connection, which ends the wait.
            patience.wait(&self.changed, inner)?;
        }
    }
}
