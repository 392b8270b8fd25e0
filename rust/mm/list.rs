// SPDX-License-Identifier: GPL-2.0

//! Lists of pages, single ones and blocks.
//!
//! C header: [`include/linux/gfp.h`](srctree/include/linux/gfp.h)
//!
//! Ownership: a [`List`] holds a reference to each of its pages.
//! Locking: none; who shares one sees to it.
//! Teardown: dropping it puts the pages, in process context.

use crate::bindings;
use kernel::{
    alloc::{
        flags::*,
        KVVec, //
    },
    prelude::*, //
};

/// The order of the largest blocks: 2 MiB. Each is a folio, its pages follow each other in the list.
pub const BLOCK_ORDER: u32 = bindings::DK_BLOCK_ORDER;

/// Orders that blocks have: 0 to [`BLOCK_ORDER`].
pub const ORDERS: usize = BLOCK_ORDER as usize + 1;

/// Pages of such a block.
pub const BLOCK_PAGES: usize = 1 << BLOCK_ORDER;

/// How much blocks of [`BLOCK_ORDER`] are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Blocks {
    /// Nothing smaller.
    Must,
    /// As long as there are some.
    May,
    /// Not at all.
    Never,
}

impl Blocks {
    /// Pages are taken in blocks of these orders, as long as there are some: the device's tables are
    /// shorter if pages follow each other, and fewer calls are needed. They are single pages after that.
    fn orders(self) -> &'static [u32] {
        match self {
            Self::Must => &[BLOCK_ORDER],
            Self::May => &[BLOCK_ORDER, 3, 0],
            Self::Never => &[3, 0],
        }
    }
}

/// A list of pages: single ones, and the pages of blocks.
///
/// # Invariants
///
/// Each pointer is a page that we hold a reference to.
pub(super) struct List(KVVec<*mut bindings::page>);

// SAFETY: pages are not bound to a task.
unsafe impl Send for List {}
// SAFETY: a shared reference changes nothing.
unsafe impl Sync for List {}

impl List {
    pub(super) fn with_capacity(count: usize) -> Result<Self> {
        let mut list = KVVec::new();
        list.reserve(count, GFP_KERNEL_ACCOUNT)?;
        // INVARIANT: the list is empty.
        Ok(Self(list))
    }

    pub(super) fn as_slice(&self) -> &[*mut bindings::page] {
        &self.0
    }

    /// Who changes it sees to it that the references move with the pointers.
    pub(super) fn as_mut_slice(&mut self) -> &mut [*mut bindings::page] {
        &mut self.0
    }

    /// Fills it up to `count`, for which there is room, or as far as there are pages. `allocate` takes a
    /// block of an order with a reference to each page, or returns null. `EINTR` when the caller is being killed.
    pub(super) fn take(
        &mut self,
        count: usize,
        blocks: Blocks,
        allocate: impl Fn(u32) -> *mut bindings::page,
    ) -> Result {
        let mut orders = blocks.orders();
        while let (Some(left @ 1..), [order, smaller @ ..]) =
            (count.checked_sub(self.0.len()), orders)
        {
            let block = 1usize << order;
            if left < block {
                orders = smaller;
                continue;
            }
            if self.0.len() % 1024 == 0 {
                // SAFETY: called in process context.
                unsafe { bindings::dk_cond_resched() };
                // SAFETY: as above.
                if unsafe { bindings::dk_fatal_signal_pending() } {
                    return Err(EINTR);
                }
            }
            let first = allocate(*order);
            if first.is_null() {
                orders = smaller;
                continue;
            }
            for i in 0..block {
                let page = first.wrapping_add(i);
                // INVARIANT: each page's initial reference is ours. There is room for `count`.
                if self.0.push_within_capacity(page).is_err() {
                    // SAFETY: we own the reference to the page.
                    unsafe { bindings::dk_put_pages(&page, 1) };
                }
            }
        }
        Ok(())
    }

    /// As [`List::take`], zeroed, on `node`, which is online, or where the task's policy says.
    pub(super) fn fill(&mut self, count: usize, blocks: Blocks, node: i32, strict: bool) -> Result {
        let hard = blocks == Blocks::Must;
        self.take(count, blocks, |order| {
            // SAFETY: `node` is online or NUMA_NO_NODE, and the context may sleep.
            unsafe { bindings::dk_alloc_pages_node(node, strict, order, hard) }
        })
    }
}

impl Drop for List {
    fn drop(&mut self) {
        for part in self.0.chunks(2 * BLOCK_PAGES) {
            // SAFETY: by the invariant we hold these references; pages are freed only if no mapping
            // holds another.
            unsafe { bindings::dk_put_pages(part.as_ptr(), part.len()) };
            // SAFETY: pages are dropped in process context.
            unsafe { bindings::dk_cond_resched() };
        }
    }
}
