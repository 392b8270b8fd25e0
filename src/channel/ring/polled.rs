// SPDX-License-Identifier: GPL-2.0

//! What the thread that takes entries of a ring and user space tell each other.
//!
//! Before the thread sleeps it says so in the ring's flags, and looks once more; user space stores an
//! index and looks at the flags. A full barrier is in between on both sides, so one of them sees the
//! other. Who gives places back in the kernel has `state` locked, and finds `stuck` there.
//!
//! Ownership: the ring holds what the thread sleeps on, not the thread.
//! Locking: `state`, as for all flags.
//! Teardown: none.

use super::{
    CompletionRing,
    State,
    CQ_HEAD,
    SQ_TAIL, //
};
use crate::pure::ring::Corrupt;
use dmakit::{
    mm::shared::Shared,
    uapi, //
};
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};

impl CompletionRing {
    /// Whether a thread takes entries, and nobody else.
    pub(in crate::channel) fn is_polled(&self) -> bool {
        self.waker.is_some()
    }

    /// Whether user space submitted something past `head`, or has broken `sq_tail`.
    #[inline]
    pub(in crate::channel) fn has_submitted(&self, head: u32) -> bool {
        self.memory.load_acquire::<SQ_TAIL>() != head
    }

    /// The thread has nothing to take past `head`, or found no place for a completion: tells so, and
    /// then whether that is still true. `EBADFD` if user space broke the indices.
    pub(in crate::channel) fn may_sleep(&self, head: u32, stuck: bool) -> Result<bool> {
        let flags = match stuck {
            true => uapi::DMAPLANE_RING_NEED_WAKEUP | uapi::DMAPLANE_RING_NEED_ENTER,
            false => uapi::DMAPLANE_RING_NEED_WAKEUP,
        };
        let mut state = self.state.lock();
        state.stuck = stuck;
        self.change_flag(&mut state, flags, true);
        Shared::order();
        if !stuck {
            return Ok(!self.has_submitted(head));
        }
        let head = self.memory.load_acquire::<CQ_HEAD>();
        let room = state.completions.room(head);
        Ok(room.map_err(|Corrupt| self.poison(&mut state))? == 0)
    }

    /// The thread is awake again. `NEED_ENTER` stays: it may be meant for endpoints.
    pub(in crate::channel) fn woke_up(&self) {
        let mut state = self.state.lock();
        state.stuck = false;
        self.change_flag(&mut state, uapi::DMAPLANE_RING_NEED_WAKEUP, false);
    }

    /// Wakes the thread if it sleeps, or is about to.
    pub(in crate::channel) fn wake_thread(&self) {
        // Pairs with that of `may_sleep()`.
        Shared::order();
        if self.flags.load(Relaxed) & uapi::DMAPLANE_RING_NEED_WAKEUP != 0 {
            self.wake();
        }
    }

    /// There may be a place for what the thread found none for.
    pub(super) fn unstick(&self, state: &mut State) {
        if core::mem::take(&mut state.stuck) {
            self.wake();
        }
    }

    /// The thread is gone: whoever submits still shall call, and be told so.
    pub(in crate::channel) fn deserted(&self) {
        let mut state = self.state.lock();
        self.change_flag(&mut state, uapi::DMAPLANE_RING_NEED_WAKEUP, true);
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }
}
