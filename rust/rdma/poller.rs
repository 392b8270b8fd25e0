// SPDX-License-Identifier: GPL-2.0

//! Completions that are handled by whoever waits for what they bring.
//!
//! Ownership: whoever waits and the queues share a [`Poller`].
//! Locking: the turn to poll is outside of everything that handlers of completions take, and they
//! never take it; it is waited for when a queue goes that had completions.
//! Teardown: queues leave before they go; dropping waits for the worker.

use crate::bindings;
use kernel::{
    error::to_result,
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

/// A place to wait at.
#[pin_data(PinnedDrop)]
pub struct Poller {
    #[pin]
    inner: Opaque<bindings::dk_poller>,
}

// SAFETY: the C object is not bound to a task.
unsafe impl Send for Poller {}
// SAFETY: all of its functions may be called concurrently.
unsafe impl Sync for Poller {}

impl Poller {
    /// Makes one.
    pub fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                inner <- Opaque::ffi_init(|inner| {
                    // SAFETY: memory for a poller, and pinned.
                    unsafe { bindings::dk_poller_init(inner) }
                }),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    pub(super) fn raw(&self) -> *mut bindings::dk_poller {
        self.inner.get()
    }

    /// What was told so far, as a number to compare.
    pub fn news(&self) -> u32 {
        // SAFETY: initialised.
        unsafe { bindings::dk_poller_news(self.raw()) }
    }

    /// Wakes those who wait.
    pub fn tell(&self) {
        // SAFETY: initialised.
        unsafe { bindings::dk_poller_tell(self.raw()) }
    }

    /// Whether the caller is a handler of completions, who has the turn.
    pub(super) fn has_turn(&self) -> bool {
        // SAFETY: initialised.
        unsafe { bindings::dk_poller_has_turn(self.raw()) }
    }

    /// Waits until there are completions, which it has handled, or something was told after `news`.
    /// `ETIME` when it is too late, `EINTR` for a signal.
    pub fn wait(&self, news: u32, deadline: &Deadline) -> Result {
        // SAFETY: initialised.
        let ret = unsafe { bindings::dk_poller_wait(self.raw(), news, deadline.0) };
        match to_result(ret) {
            Err(error) if error == ERESTARTSYS => Err(EINTR),
            result => result,
        }
    }
}

/// Until when to wait, to the nanosecond: a tick may come long before or after its time.
pub struct Deadline(bindings::ktime_t);

impl Deadline {
    /// So many nanoseconds from now; after some centuries, never.
    pub fn after(timeout_ns: u64) -> Self {
        // SAFETY: it only reads the clock.
        Self(unsafe { bindings::dk_deadline(timeout_ns) })
    }

    /// At a time of `CLOCK_MONOTONIC`; after some centuries, never.
    pub fn at(time_ns: u64) -> Self {
        Self(bindings::ktime_t::try_from(time_ns).unwrap_or(bindings::ktime_t::MAX))
    }
}

#[pinned_drop]
impl PinnedDrop for Poller {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: initialised, and no queue is left that could make it due.
        unsafe { bindings::dk_poller_end(self.raw()) }
    }
}
