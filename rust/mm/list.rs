// SPDX-License-Identifier: GPL-2.0

//! Lists of pages, single ones and blocks.
//!
//! C headers: [`include/linux/gfp.h`](srctree/include/linux/gfp.h),
//! [`include/linux/mm.h`](srctree/include/linux/mm.h)
//!
//! Ownership: a [`List`] holds a reference to each of its pages, or a pin if they are a user's, or the dma-buf
//! that they are of.
//! Locking: none; who shares one sees to it.
//! Teardown: dropping it puts the pages, in process context.

use crate::{
    bindings,
    dmabuf::import::Shown,
    mm, //
};
use kernel::{
    alloc::{
        flags::*,
        KVVec, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};

/// The order of the largest blocks: 2 MiB. Each is a folio, its pages follow each other in the list.
pub const BLOCK_ORDER: u32 = bindings::DK_BLOCK_ORDER;

/// Orders that blocks have: 0 to [`BLOCK_ORDER`].
pub const ORDERS: usize = BLOCK_ORDER as usize + 1;

/// Pages of such a block.
pub const BLOCK_PAGES: usize = 1 << BLOCK_ORDER;

/// Pages pinned by one call.
const AT_ONCE: usize = 64;

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

/// How a list holds its pages.
enum Hold {
    /// By a reference to each.
    Reference,
    /// By a pin of each, as they are memory of a user's. `write`: it may have changed.
    Pin { write: bool },
    /// By the dma-buf of which they are all.
    Dmabuf { _shown: Shown },
}

/// A list of pages: single ones, and the pages of blocks.
///
/// # Invariants
///
/// Each pointer is a page that we hold, as `hold` says. If that is by references, the pages of a block
/// follow each other from its first to its last.
pub(super) struct List {
    pages: KVVec<*mut bindings::page>,
    hold: Hold,
}

// SAFETY: pages are not bound to a task.
unsafe impl Send for List {}
// SAFETY: a shared reference changes nothing.
unsafe impl Sync for List {}

impl List {
    /// Whether the pages of each block are there, from its first to its last.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.hold, Hold::Reference)
    }

    /// Room for `count` pages, each with a reference.
    pub(super) fn with_capacity(count: usize) -> Result<Self> {
        Self::holding(count, Hold::Reference)
    }

    fn holding(count: usize, hold: Hold) -> Result<Self> {
        let mut pages = KVVec::new();
        pages.reserve(count, GFP_KERNEL_ACCOUNT)?;
        // INVARIANT: the list is empty.
        Ok(Self { pages, hold })
    }

    /// Pins `count` pages of the caller's memory from `address` on, for as long as the list is there;
    /// to be written to, if `write`. `EFAULT` if it is not mapped, not allowed that, or cannot be
    /// pinned, `ENOMEM`, `EINTR` when the caller is being killed.
    pub(super) fn of_user(address: usize, count: usize, write: bool) -> Result<Self> {
        let mut list = Self::holding(count, Hold::Pin { write })?;
        while let Some(left @ 1..) = count.checked_sub(list.pages.len()) {
            mm::cond_resched();
            if mm::is_being_killed() {
                return Err(EINTR);
            }
            let mut some = [core::ptr::null_mut(); AT_ONCE];
            let wanted = left.min(AT_ONCE);
            let done = list.pages.len().checked_mul(PAGE_SIZE);
            let at = done
                .and_then(|done| address.checked_add(done))
                .ok_or(EFAULT)?;
            // SAFETY: there is room for as many; any address may be asked for, in process context.
            let got =
                unsafe { bindings::dk_pin_pages(at, wanted as u32, write, some.as_mut_ptr()) };
            let got = match usize::try_from(got) {
                Ok(got) => got,
                Err(_) if got == (ENOMEM.to_errno() as isize) => return Err(ENOMEM),
                Err(_) if got == (EINTR.to_errno() as isize) => return Err(EINTR),
                Err(_) => return Err(EFAULT),
            };
            for page in some.iter().take(got) {
                let mut one = *page;
                // INVARIANT: each was pinned. There is room for `count`.
                if list.pages.push_within_capacity(one).is_err() {
                    // SAFETY: the pin is ours.
                    unsafe { bindings::dk_unpin_pages(&raw mut one, 1, write) };
                }
            }
        }
        Ok(list)
    }

    /// The pages of a dma-buf, for as long as the list is there. `EOPNOTSUPP` if they are not all ordinary memory,
    /// `ENOMEM`, `EINTR` when the caller is being killed.
    pub(super) fn of_dmabuf(shown: Shown) -> Result<Self> {
        let count = shown.count()?;
        let mut pages = KVVec::new();
        pages.resize(count, core::ptr::null_mut(), GFP_KERNEL_ACCOUNT)?;
        for (part, some) in pages.chunks_mut(BLOCK_PAGES).enumerate() {
            mm::cond_resched();
            if mm::is_being_killed() {
                return Err(EINTR);
            }
            shown.pages(part.saturating_mul(BLOCK_PAGES), some)?;
        }
        // INVARIANT: all of them are of the dma-buf, which is shown and pinned.
        Ok(Self {
            pages,
            hold: Hold::Dmabuf { _shown: shown },
        })
    }

    pub(super) fn as_slice(&self) -> &[*mut bindings::page] {
        &self.pages
    }

    /// Nobody has the pages any more, and nobody gets them: a device may write to them.
    pub(super) fn abandon(mut self) {
        self.pages.clear();
    }

    /// Who changes it sees to it that the references move with the pointers.
    pub(super) fn as_mut_slice(&mut self) -> &mut [*mut bindings::page] {
        &mut self.pages
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
            (count.checked_sub(self.pages.len()), orders)
        {
            let block = 1usize << order;
            if left < block {
                orders = smaller;
                continue;
            }
            if self.pages.len() % 1024 == 0 {
                mm::cond_resched();
                if mm::is_being_killed() {
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
                if self.pages.push_within_capacity(page).is_err() {
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
        for part in self.pages.chunks_mut(2 * BLOCK_PAGES) {
            match &self.hold {
                // SAFETY: by the invariant we hold these references; pages are freed only if no
                // mapping holds another.
                Hold::Reference => unsafe { bindings::dk_put_pages(part.as_ptr(), part.len()) },
                // SAFETY: by the invariant these pins are ours, and this is process context.
                Hold::Pin { write } => unsafe {
                    bindings::dk_unpin_pages(part.as_mut_ptr(), part.len(), *write)
                },
                // They go with it, after this.
                Hold::Dmabuf { .. } => return,
            }
            // SAFETY: pages are dropped in process context.
            unsafe { bindings::dk_cond_resched() };
        }
    }
}
