// SPDX-License-Identifier: GPL-2.0

//! Completions of what an ENTER does at once.
//!
//! Ownership: a [`Batch`] borrows its ring, for one ENTER.
//! Locking: it has the ring's `state` locked from being made until it has told of what there is, and
//! again from the next completion on.
//! Teardown: its drop tells of what there is.

use super::{
    CompletionRing,
    State, //
};
use crate::counters::Total;
use dmakit::uapi;
use kernel::{
    error::Error,
    prelude::*,
    sync::SpinLockGuard, //
};

/// Completions of submitted entries, told together: in the end, when many are there, or when asked
/// to. The ring is locked until then, so nothing may sleep meanwhile.
pub(in crate::channel) struct Batch<'a> {
    ring: &'a CompletionRing,
    state: Option<SpinLockGuard<'a, State>>,
    count: u32,
    available: u32,
}

/// The ring is not locked by a [`Batch`].
pub(in crate::channel) struct Told(());

impl Told {
    /// There is none.
    pub(super) fn nothing() -> Self {
        Self(())
    }
}

impl<'a> Batch<'a> {
    /// Completions that the ring is locked for.
    const MANY: u32 = 64;

    pub(super) fn new(ring: &'a CompletionRing, state: SpinLockGuard<'a, State>) -> Self {
        Self {
            ring,
            state: Some(state),
            count: 0,
            available: 0,
        }
    }

    /// Completes an entry without opcode, flags and endpoint.
    #[inline]
    pub(in crate::channel) fn push(&mut self, user_data: u64, result: Result) {
        let ring = self.ring;
        let state = self.state.get_or_insert_with(|| ring.state.lock());
        let cqe = uapi::dmaplane_cqe {
            user_data,
            res: result.map_or_else(Error::to_errno, |()| 0),
            ..Default::default()
        };
        ring.fill(state, &cqe);
        self.count = self.count.saturating_add(1);
        if self.count == Self::MANY {
            self.tell();
        }
    }

    /// Tells of what there is.
    pub(in crate::channel) fn tell(&mut self) -> Told {
        if let (Some(mut state), 1..) = (self.state.take(), self.count) {
            state.outstanding = state.outstanding.saturating_sub(self.count);
            self.ring.counters.count(Total::Completed, self.count);
            self.available = self.ring.tell(state);
        }
        self.count = 0;
        Told(())
    }

    /// Tells of what there is, and returns how many completions can be reaped, or fewer.
    pub(in crate::channel) fn finish(mut self) -> u32 {
        self.tell();
        self.available
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.tell();
    }
}
