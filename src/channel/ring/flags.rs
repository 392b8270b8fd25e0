// SPDX-License-Identifier: GPL-2.0

//! Flags of a ring, most of which are for user space: whatever is not as usual.
//!
//! Ownership: none.
//! Locking: changed with `state` locked, so that user space's copy is the last one, and read without.
//! Teardown: none.

use super::{
    CompletionRing,
    State, //
};
use core::mem::offset_of;
use dmakit::{
    errno::EBADFD,
    mm::shared::Shared,
    uapi, //
};
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};

const FLAGS: usize = offset_of!(uapi::dmaplane_ring, flags);

/// A thread takes entries, and nobody else. Not for user space.
pub(super) const POLLED: u32 = 1 << 31;

impl CompletionRing {
    /// Whether nothing is to be seen to before entries are taken: no [check](Self::check) fails, nobody
    /// [is starved](Self::is_starved), and there is no thread that takes them.
    #[inline]
    pub(in crate::channel) fn is_usual(&self) -> bool {
        // As below.
        Shared::order();
        self.flags.load(Relaxed) == 0
    }

    /// Whether an endpoint has receives to post and found no room.
    pub(in crate::channel) fn is_starved(&self) -> bool {
        // Pairs with that of `reserve_receive()`: whoever reaped before is seen there, or sees it.
        Shared::order();
        self.flags.load(Relaxed) & uapi::DMAPLANE_RING_NEED_ENTER != 0
    }

    /// `EBADFD` if user space broke the indices.
    pub(in crate::channel) fn check(&self) -> Result {
        match self.flags.load(Relaxed) & uapi::DMAPLANE_RING_POISONED {
            0 => Ok(()),
            _ => Err(EBADFD.into()),
        }
    }

    pub(super) fn poison(&self, state: &mut State) -> Error {
        if self.check().is_ok() {
            self.change_flag(state, uapi::DMAPLANE_RING_POISONED, true);
            state.signal();
        }
        self.poller.tell();
        self.notify_pollers();
        self.wake();
        EBADFD.into()
    }

    pub(super) fn set_flag(&self, flag: u32, on: bool) {
        self.change_flag(&mut self.state.lock(), flag, on);
    }

    pub(super) fn change_flag(&self, _locked: &mut State, flag: u32, on: bool) {
        let flags = match on {
            true => self.flags.load(Relaxed) | flag,
            false => self.flags.load(Relaxed) & !flag,
        };
        self.flags.store(flags, Relaxed);
        self.memory.store_release::<FLAGS>(flags & !POLLED);
    }
}
