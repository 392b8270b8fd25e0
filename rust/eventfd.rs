// SPDX-License-Identifier: GPL-2.0

//! Event counters that a program waits with and the kernel adds to.
//!
//! C header: [`include/linux/eventfd.h`](srctree/include/linux/eventfd.h)
//!
//! Ownership: an [`EventFd`] holds the counter, which lives on when the program has closed its
//! descriptor.
//! Locking: none of its own. [`EventFd::signal`] takes spinlocks with interrupts off, of the counter
//! and of those who wait for it, so it may be called with a spinlock held.
//! Teardown: dropping gives the counter back.

use crate::{
    bindings,
    errno::EPROTOTYPE, //
};
use core::ptr::NonNull;
use kernel::{
    error::from_err_ptr,
    prelude::*, //
};

/// A counter made by `eventfd(2)`.
///
/// # Invariants
///
/// The pointer is valid, and a reference to what it points to is ours.
pub struct EventFd(NonNull<bindings::eventfd_ctx>);

// SAFETY: the reference may be given back, and the counter be signalled, from any thread.
unsafe impl Send for EventFd {}
// SAFETY: the counter has a lock of its own.
unsafe impl Sync for EventFd {}

impl EventFd {
    /// That of a descriptor of the calling program. `EPROTOTYPE` if it is none.
    pub fn from_descriptor(fd: i32) -> Result<Self> {
        // SAFETY: takes any number, and looks it up among the caller's descriptors.
        let counter = from_err_ptr(unsafe { bindings::eventfd_ctx_fdget(fd) });
        let counter = counter.ok().and_then(NonNull::new).ok_or(EPROTOTYPE)?;
        // INVARIANT: the reference that it returned is ours now.
        Ok(Self(counter))
    }

    /// Adds one and wakes who waits. A counter that is full stays so, which wakes them as well.
    pub fn signal(&self) {
        // SAFETY: valid by the type invariant.
        unsafe { bindings::eventfd_signal_mask(self.0.as_ptr(), 0) };
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        // SAFETY: by the type invariant the reference is ours; it is not used after this.
        unsafe { bindings::eventfd_ctx_put(self.0.as_ptr()) };
    }
}
