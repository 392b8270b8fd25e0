// SPDX-License-Identifier: GPL-2.0

//! Memory that a user is charged for.
//!
//! C header: [`include/linux/sched/user.h`](srctree/include/linux/sched/user.h)
//!
//! Ownership: a [`Charge`] holds a reference to the user.
//! Locking: none, the count is atomic.
//! Teardown: dropping it takes it back, from any context.

use crate::{
    bindings,
    errno::EDQUOT, //
};
use core::ptr::NonNull;
use kernel::prelude::*;
#[cfg(all(dmaplane_test, CONFIG_KUNIT = "y"))]
use kernel::sync::atomic::{
    ordering::Relaxed,
    Atomic, //
};

/// Pages accounted to a user's `RLIMIT_MEMLOCK`.
///
/// # Invariants
///
/// `user` is a counted reference whose `locked_vm` contains `pages` on our behalf.
pub struct Charge {
    user: NonNull<bindings::user_struct>,
    pages: usize,
}

// SAFETY: a `user_struct` reference is not bound to a task, its counters are atomic.
unsafe impl Send for Charge {}
// SAFETY: as above.
unsafe impl Sync for Charge {}

impl Charge {
    /// Charges the current user. `EDQUOT` if the limit is exceeded (and the caller lacks
    /// `CAP_IPC_LOCK`).
    pub fn new(pages: usize) -> Result<Self> {
        // SAFETY: called in process context; the helper takes the reference itself.
        let user = unsafe { bindings::dk_charge_pages(pages) };
        // INVARIANT: the helper returned a counted reference and has added `pages`.
        Ok(Self {
            user: NonNull::new(user).ok_or(EDQUOT)?,
            pages,
        })
    }

    /// Charges the same user, who still is the current one, for more. `EDQUOT` as above.
    pub(super) fn grow(&mut self, pages: usize) -> Result {
        if pages == 0 {
            return Ok(());
        }
        // SAFETY: by the invariant there is a reference to the user.
        if !unsafe { bindings::dk_charge_more(self.user.as_ptr(), pages) } {
            return Err(EDQUOT.into());
        }
        // INVARIANT: the helper has added `pages`.
        self.pages = self.pages.saturating_add(pages);
        Ok(())
    }

    /// Pages charged.
    pub(super) fn pages(&self) -> usize {
        self.pages
    }

    /// Pages that the user is charged for.
    #[cfg(all(dmaplane_test, CONFIG_KUNIT = "y"))]
    pub(super) fn locked(&self) -> i64 {
        // SAFETY: by the invariant there is a reference to the user.
        let counter = unsafe { &raw mut (*self.user.as_ptr()).locked_vm.counter };
        // SAFETY: C accesses the counter atomically as well.
        unsafe { Atomic::from_ptr(counter) }.load(Relaxed)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        // SAFETY: by the invariant we own the reference and the charge.
        unsafe { bindings::dk_uncharge_pages(self.user.as_ptr(), self.pages) };
    }
}
