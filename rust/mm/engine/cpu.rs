// SPDX-License-Identifier: GPL-2.0

//! The caller, and processors near the pages that help if there is much to do.
//!
//! Ownership, teardown: what helpers have is the caller's; none is left when a call ends.
//! Locking: none.

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

/// Threads of the kernel's. They survive memory that is found to be bad.
pub(super) struct Threads;

impl Engine for Threads {
    const BIT: u32 = uapi::DMAPLANE_ENGINE_CPU;

    fn copy(&mut self, batch: &Batch<'_>, bad: &mut Bad) -> Result<u32, Failure> {
        // SAFETY: by the invariant of a batch these are as many pages that may be copied, and there is a
        // bit for each.
        Ok(unsafe {
            bindings::dk_copy_by_threads(
                batch.to.as_ptr(),
                batch.from.as_ptr(),
                batch.to.len(),
                batch.node,
                bad.as_mut_ptr(),
                batch.first,
            )
        })
    }
}
