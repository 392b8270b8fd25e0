// SPDX-License-Identifier: GPL-2.0

//! When entries were taken, posted and complete, for channels that ask for it.
//!
//! Ownership, locking, teardown: none. The clock can be read with any lock held.

use dmakit::uapi;
use kernel::time::{
    ClockSource,
    Monotonic, //
};

/// When an entry was taken and posted, 0 if it was not. Nothing but 0 if nobody wants to know.
#[derive(Clone, Copy, Default)]
pub(super) struct Began {
    submit: u64,
    post: u64,
}

impl Began {
    /// Entries are taken now.
    #[cold]
    pub(super) fn begin(&mut self) {
        self.submit = now_ns();
    }

    /// Whether somebody wants to know.
    pub(super) fn is_known(&self) -> bool {
        self.submit != 0
    }

    /// The entry was posted, or its work has begun.
    #[inline]
    pub(super) fn posted(&mut self) {
        if self.is_known() && self.post == 0 {
            self.post = now_ns();
        }
    }

    /// The entry is complete.
    pub(super) fn complete(self) -> uapi::dmaplane_times {
        uapi::dmaplane_times {
            submit_ns: self.submit,
            post_ns: self.post,
            complete_ns: now_ns(),
            pad: 0,
        }
    }
}

/// `CLOCK_MONOTONIC`
fn now_ns() -> u64 {
    u64::try_from(Monotonic::ktime_get()).unwrap_or(0)
}
