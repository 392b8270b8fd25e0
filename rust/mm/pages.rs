// SPDX-License-Identifier: GPL-2.0

//! Zeroed pages on a NUMA node, charged to the user who asked for them.
//!
//! C header: [`include/linux/gfp.h`](srctree/include/linux/gfp.h)
//!
//! Ownership: [`Pages`] holds one reference to each page and the charge. Mappings take page
//! references of their own.
//! Locking: none; the list never changes after creation.
//! Teardown: dropping puts the pages, then drops the charge.

use crate::{
    bindings,
    errno::EDQUOT, //
};
use core::ptr::NonNull;
use kernel::{
    alloc::{
        flags::*,
        KVVec, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};

/// Pages accounted to a user's `RLIMIT_MEMLOCK`.
///
/// # Invariants
///
/// `user` is a counted reference whose `locked_vm` contains `pages` on our behalf.
struct Charge {
    user: NonNull<bindings::user_struct>,
    pages: usize,
}

// SAFETY: a `user_struct` reference is not bound to a task, its counters are atomic.
unsafe impl Send for Charge {}
// SAFETY: as above; there are no `&self` methods.
unsafe impl Sync for Charge {}

impl Charge {
    /// `EDQUOT` if the limit is exceeded (and the caller lacks `CAP_IPC_LOCK`).
    fn new(pages: usize) -> Result<Self> {
        // SAFETY: called in process context; the helper takes the reference itself.
        let user = unsafe { bindings::dk_charge_pages(pages) };
        // INVARIANT: the helper returned a counted reference and has added `pages`.
        Ok(Self {
            user: NonNull::new(user).ok_or(EDQUOT)?,
            pages,
        })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        // SAFETY: by the invariant we own the reference and the charge.
        unsafe { bindings::dk_uncharge_pages(self.user.as_ptr(), self.pages) };
    }
}

/// How firmly a node is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Wherever the allocating task's policy says.
    Any,
    /// On this node if it has room.
    Prefer(i32),
    /// On this node or not at all.
    Strict(i32),
}

/// A list of order-0 pages.
///
/// # Invariants
///
/// Each pointer in `list` is a page that we hold a reference to.
pub struct Pages {
    list: KVVec<*mut bindings::page>,
    _charge: Charge,
}

// SAFETY: pages are not bound to a task; the list is immutable after creation.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    /// Allocates `count` zeroed pages.
    ///
    /// Fails with `EDQUOT` (memory limit), `ENOSPC` (a strict node is full), `ENOMEM`, or
    /// `EINTR` when the caller is being killed. The caller has checked that the node is online.
    pub fn new(count: usize, placement: Placement) -> Result<Self> {
        let charge = Charge::new(count)?;
        // SAFETY: reads statistics.
        if !unsafe { bindings::dk_pages_available(count) } {
            return Err(match placement {
                Placement::Strict(_) => ENOSPC,
                _ => ENOMEM,
            });
        }
        let mut list = KVVec::new();
        list.reserve(count, GFP_KERNEL_ACCOUNT)?;
        // INVARIANT: the list is empty.
        let mut pages = Self {
            list,
            _charge: charge,
        };
        let (node, strict, full) = match placement {
            Placement::Any => (bindings::NUMA_NO_NODE, false, ENOMEM),
            Placement::Prefer(node) => (node, false, ENOMEM),
            Placement::Strict(node) => (node, true, ENOSPC),
        };
        for i in 0..count {
            // SAFETY: called in process context.
            if i % 1024 == 1023 && unsafe { bindings::dk_fatal_signal_pending() } {
                return Err(EINTR);
            }
            // SAFETY: `node` is online or NUMA_NO_NODE, and the context may sleep.
            let page = unsafe { bindings::dk_alloc_page_node(node, strict) };
            if page.is_null() {
                return Err(full);
            }
            // INVARIANT: the page's initial reference is ours.
            if let Err(error) = pages.list.push(page, GFP_KERNEL_ACCOUNT) {
                // SAFETY: we own the reference to the page, which nobody else has seen.
                unsafe { bindings::__free_pages(page, 0) };
                return Err(error.into());
            }
        }
        Ok(pages)
    }

    /// Number of pages.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        (self.list.len() as u64) * (PAGE_SIZE as u64)
    }

    /// Whether there are no pages.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The node that each page lies on, read from the pages.
    pub fn nodes(&self) -> impl Iterator<Item = i32> + '_ {
        self.list
            .iter()
            // SAFETY: by the invariant the page is alive.
            .map(|page| unsafe { bindings::dk_page_to_nid(*page) })
    }

    /// The pages, for the abstractions of this crate.
    pub(crate) fn as_ptrs(&self) -> &[*mut bindings::page] {
        &self.list
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        for (i, page) in self.list.iter().enumerate() {
            if i % 1024 == 1023 {
                // SAFETY: pages are dropped in process context.
                unsafe { bindings::dk_cond_resched() };
            }
            // SAFETY: by the invariant we hold this reference; `__free_pages` drops it and
            // frees the page only if no mapping holds another.
            unsafe { bindings::__free_pages(*page, 0) };
        }
    }
}
