// SPDX-License-Identifier: GPL-2.0

//! Places for what endpoints receive.
//!
//! Ownership: an endpoint that delivers here holds the ring, and the ring nothing of it but a count.
//! Locking: `state`.
//! Teardown: an endpoint gives its places back with [`CompletionRing::detach`].

use super::CompletionRing;
use crate::{
    channel::times::Began,
    counters::Total, //
};
use dmakit::{
    mm::shared::Shared,
    uapi, //
};
use kernel::prelude::*;

impl CompletionRing {
    /// Reserves one place for a receive; if there is no room, user space is asked to come back.
    pub(crate) fn reserve_receive(&self) -> bool {
        if matches!(self.reserve_up_to(1), Ok(1)) {
            return true;
        }
        // Ask first, look again after: a user that reaps in between sees the request.
        self.set_flag(uapi::DMAPLANE_RING_NEED_ENTER, true);
        Shared::order();
        matches!(self.reserve_up_to(1), Ok(1))
    }

    /// Gives back reserved places.
    pub(crate) fn unreserve(&self, n: u32) {
        self.withdraw(&mut self.state.lock(), n);
    }

    /// Withdraws that request: all endpoints are about to look for room again, and so does the thread.
    pub(crate) fn unstarve(&self) {
        let mut state = self.state.lock();
        self.change_flag(&mut state, uapi::DMAPLANE_RING_NEED_ENTER, false);
        self.unstick(&mut state);
    }

    /// An endpoint will deliver here: reserves `receives` places or none (`EBUSY`).
    pub(crate) fn attach(&self, receives: u32) -> Result {
        let reserved = self.reserve_up_to(receives)?;
        let mut state = self.state.lock();
        if reserved < receives {
            self.withdraw(&mut state, reserved);
            return Err(EBUSY);
        }
        if state.retired {
            self.withdraw(&mut state, reserved);
            return Err(ENOENT);
        }
        state.endpoints = state.endpoints.saturating_add(1);
        Ok(())
    }

    /// An endpoint delivers here no more, and gives back places of receives that never came.
    pub(crate) fn detach(&self, receives: u32) {
        let mut state = self.state.lock();
        self.withdraw(&mut state, receives);
        state.endpoints = state.endpoints.saturating_sub(1);
    }

    /// Fills a reserved place with a message received.
    pub(crate) fn receive(&self, cqe: &uapi::dmaplane_cqe) {
        self.counters.count(Total::Received, 1);
        let mut state = self.state.lock();
        self.fill_timed(&mut state, cqe, Began::default());
        self.tell(state);
    }
}
