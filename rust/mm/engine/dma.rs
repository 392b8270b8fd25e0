// SPDX-License-Identifier: GPL-2.0

//! A channel of a DMA engine of the machine's.
//!
//! C header: [`include/linux/dmaengine.h`](srctree/include/linux/dmaengine.h)
//!
//! Ownership: nobody else uses a [`Channel`]. What it copies is mapped for its device meanwhile.
//! Locking: none.
//! Teardown: dropping releases it; in process context.

use super::{
    Bad,
    Batch,
    Engine,
    Failure, //
};
use crate::{
    bindings,
    uapi, //
};
use core::{
    mem::forget,
    ptr::NonNull, //
};
use kernel::prelude::*;

/// A channel that copies memory.
///
/// # Invariants
///
/// It is ours, and nothing is in flight in it; unless it hangs, and then it is not dropped.
pub(super) struct Channel(NonNull<bindings::dk_dma>);

// SAFETY: a channel is not bound to a task.
unsafe impl Send for Channel {}
// SAFETY: a shared reference does nothing.
unsafe impl Sync for Channel {}

impl Channel {
    /// One that is free, if there is one and the module's parameter allows it. May sleep.
    pub(super) fn get() -> Option<Self> {
        // SAFETY: this is process context.
        // INVARIANT: it is given to us.
        NonNull::new(unsafe { bindings::dk_dma_get() }).map(Self)
    }

    /// It hangs.
    pub(super) fn abandon(self) {
        forget(self);
    }
}

impl Engine for Channel {
    const BIT: u32 = uapi::DMAPLANE_ENGINE_DMA;

    fn copy(&mut self, batch: &Batch<'_>, _bad: &mut Bad) -> Result<u32, Failure> {
        let (to, from, count) = (batch.to.as_ptr(), batch.from.as_ptr(), batch.to.len());
        // SAFETY: it is ours; by the invariant of a batch these are as many pages that may be copied.
        match unsafe { bindings::dk_dma_copy(self.0.as_ptr(), to, from, count) } {
            0 => Ok(0),
            error if error == EBUSY.to_errno() => Err(Failure::Hangs),
            _ => Err(Failure::Ended),
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: by the invariant it is ours, and nothing is in flight.
        unsafe { bindings::dk_dma_put(self.0.as_ptr()) };
    }
}
