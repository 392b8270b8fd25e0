// SPDX-License-Identifier: GPL-2.0

//! Zeroed pages on a NUMA node, or memory that a user has, charged to who asked for them; or those of a dma-buf.
//!
//! Ownership: [`Pages`] holds one reference to each page and the charge. Mappings take page
//! references of their own.
//! Locking: who looks at the list has it locked for reading, or has a [`Pinned`]. It is locked for
//! writing only while pages are replaced (`migrate`) and nobody has one. Faults take it, so that it is
//! never held around a user copy.
//! Teardown: dropping puts the pages, then drops the charge.

#[cfg(all(dmaplane_test, CONFIG_KUNIT = "y"))]
mod tests;

pub use super::{
    charge::Charge,
    list::{
        Blocks,
        BLOCK_ORDER,
        BLOCK_PAGES,
        ORDERS, //
    }, //
};

use super::{
    list::List,
    rwsem::RwSem, //
};
use crate::{
    bindings,
    dmabuf::import::Shown,
    errno::ENOBUFS, //
};
use kernel::{
    alloc::flags::*,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{
            ordering::{
                Acquire,
                Relaxed,
                Release, //
            },
            Atomic, //
        },
        Arc, //
    },
    transmute::FromBytes, //
};

/// How firmly a node is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Wherever the allocating task's policy says.
    Any,
    /// On this node if it has room.
    Prefer(i32),
    /// On this node or not at all.
    Strict(i32),
    /// On each of these nodes, bits, by turns: a block of [`BLOCK_ORDER`] at a time, or without such
    /// blocks a page.
    Turns {
        /// At least one.
        nodes: u64,
        /// There or not at all.
        strict: bool,
    },
}

impl Placement {
    fn is_strict(self) -> bool {
        match self {
            Self::Any | Self::Prefer(_) => false,
            Self::Strict(_) => true,
            Self::Turns { strict, .. } => strict,
        }
    }
}

/// The node whose turn it is after `last`.
fn next_turn(nodes: u64, last: Option<u32>) -> u32 {
    let after = last.map_or(0, |last| last.saturating_add(1));
    match nodes & u64::MAX.checked_shl(after).unwrap_or(0) {
        0 => nodes.trailing_zeros(),
        above => above.trailing_zeros(),
    }
}

/// Zeroed pages, or some that a user or another driver has.
#[pin_data]
pub struct Pages {
    // Note: the drop order is relevant: the pages before the charge.
    #[pin]
    list: RwSem<List>,
    count: usize,
    blocks: Blocks,
    /// How many [`Pinned`] there are, and one more for pages that are not ours. It becomes more than none
    /// only with the list locked.
    pins: Atomic<i32>,
    moves: Atomic<u32>,
    charge: Charge,
}

impl Pages {
    /// Allocates `count` zeroed pages, in blocks as there are.
    ///
    /// Fails with `EDQUOT` (memory limit), `ENOSPC` (a strict node is full), `ENOMEM`, or
    /// `EINTR` when the caller is being killed. The caller has checked that the node is online.
    pub fn new(count: usize, placement: Placement) -> Result<Arc<Self>> {
        Self::in_blocks(count, placement, Blocks::May)
    }

    /// As [`Pages::new`]. `ENOBUFS` if there must be blocks and are not; `count` is a multiple of
    /// [`BLOCK_PAGES`] then.
    pub fn in_blocks(count: usize, placement: Placement, blocks: Blocks) -> Result<Arc<Self>> {
        let charge = Charge::new(count)?;
        let full = match placement.is_strict() {
            true => ENOSPC,
            false => ENOMEM,
        };
        // SAFETY: reads statistics.
        if !unsafe { bindings::dk_pages_available(count) } {
            return Err(full);
        }
        let mut list = List::with_capacity(count)?;
        match placement {
            Placement::Any => list.fill(count, blocks, bindings::NUMA_NO_NODE, false)?,
            Placement::Prefer(node) => list.fill(count, blocks, node, false)?,
            Placement::Strict(node) => list.fill(count, blocks, node, true)?,
            Placement::Turns { nodes, strict } => {
                let (step, mut turn) = match blocks {
                    Blocks::Never => (1, None),
                    _ => (BLOCK_PAGES, None),
                };
                for start in (0..count).step_by(step) {
                    if list.as_slice().len() != start {
                        break;
                    }
                    let node = next_turn(nodes, turn);
                    let end = count.min(start.saturating_add(step));
                    list.fill(end, blocks, i32::try_from(node)?, strict)?;
                    turn = Some(node);
                }
            }
        }
        if list.as_slice().len() != count {
            return Err(match blocks {
                Blocks::Must => ENOBUFS.into(),
                _ => full,
            });
        }
        Self::of(list, blocks, 0, charge)
    }

    /// Pins `count` pages of the caller's own memory from `address` on, a multiple of their size; they
    /// stay where they are, and what they are. Of larger folios all is charged, as all of them stays.
    /// As of [`List::of_user`], and `EDQUOT`.
    pub fn of_user(address: usize, count: usize, write: bool) -> Result<Arc<Self>> {
        let mut charge = Charge::new(count)?;
        let list = List::of_user(address, count, write)?;
        let pages = list.as_slice();
        // SAFETY: these pages are alive.
        let kept = unsafe { bindings::dk_kept_pages(pages.as_ptr(), pages.len()) };
        charge.grow(kept.saturating_sub(count))?;
        Self::of(list, Blocks::May, 1, charge)
    }

    /// All pages of a dma-buf, which stay where they are, and are charged therefore. As of
    /// [`List::of_dmabuf`], and `EDQUOT`.
    pub fn of_dmabuf(shown: Shown) -> Result<Arc<Self>> {
        let charge = Charge::new(shown.count()?)?;
        Self::of(List::of_dmabuf(shown)?, Blocks::May, 1, charge)
    }

    fn of(list: List, blocks: Blocks, pins: i32, charge: Charge) -> Result<Arc<Self>> {
        let count = list.as_slice().len();
        Arc::pin_init(
            pin_init!(Self {
                list <- RwSem::new(list),
                count,
                blocks,
                pins: Atomic::new(pins),
                moves: Atomic::new(0),
                charge,
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Number of pages.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> u64 {
        (self.count as u64) * (PAGE_SIZE as u64)
    }

    /// Bytes charged: at least [`Pages::len`].
    pub fn charged(&self) -> u64 {
        (self.charge.pages() as u64).saturating_mul(PAGE_SIZE as u64)
    }

    /// Whether there are no pages.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How much blocks were wanted.
    pub(super) fn blocks(&self) -> Blocks {
        self.blocks
    }

    /// The list, which changes when pages are moved.
    pub(super) fn list(&self) -> &RwSem<List> {
        &self.list
    }

    /// Has the pages stay where they are.
    pub fn pin(this: &Arc<Self>) -> Pinned {
        let list = this.list.read();
        this.pins.add(1, Relaxed);
        drop(list);
        // INVARIANT: it was counted while nobody replaced pages.
        Pinned(this.clone())
    }

    /// Whether somebody needs them where they are. Nobody comes to do so while the list is locked
    /// for writing.
    pub(super) fn is_pinned(&self) -> bool {
        self.pins.load(Acquire) != 0
    }

    /// How many there are who need them where they are, or were a moment ago.
    pub fn pins(&self) -> usize {
        usize::try_from(self.pins.load(Acquire)).unwrap_or(usize::MAX)
    }

    /// Some were moved. The list is locked for writing.
    pub(super) fn has_moved(&self) {
        self.moves.add(1, Relaxed);
    }

    /// How often some were moved, modulo 2^32.
    pub fn moves(&self) -> u32 {
        self.moves.load(Relaxed)
    }

    /// Adds how many pages lie on each node, and how many blocks of each order there are, all read from
    /// the pages; returns [`Pages::moves`] for which that holds. `EIO` if a page lies on none of the nodes.
    pub fn survey(&self, nodes: &mut [u64], orders: &mut [u32; ORDERS]) -> Result<u32> {
        let nr_nodes = u32::try_from(nodes.len())?;
        let list = self.list.read();
        let pages = list.as_slice();
        // SAFETY: by the invariant the pages are alive, and blocks whole if that is said; the arrays are as
        // long as is said, and there is a count for each order up to that of a block.
        match unsafe {
            bindings::dk_survey_pages(
                pages.as_ptr(),
                pages.len(),
                list.is_whole(),
                nodes.as_mut_ptr(),
                nr_nodes,
                orders.as_mut_ptr(),
                BLOCK_ORDER,
            )
        } {
            true => Ok(self.moves()),
            false => Err(EIO),
        }
    }

    /// As [`Pages::survey`], of the nodes alone.
    pub fn count_nodes(&self, counts: &mut [u64]) -> Result {
        self.survey(counts, &mut [0; ORDERS]).map(|_| ())
    }

    /// Copies `length` bytes from `offset` on to `to_offset` of `to`, where user space and devices
    /// may change both meanwhile. `ERANGE` beyond the end of either.
    pub fn copy_to(&self, offset: u64, to: &Pages, to_offset: u64, length: usize) -> Result {
        self.check(offset, length)?;
        to.check(to_offset, length)?;
        let (list, other) = RwSem::read_two(&self.list, &to.list);
        let from_list = list.as_slice();
        let to_list = other.as_deref().map_or(from_list, List::as_slice);
        // SAFETY: both ranges are inside, and by the invariant the pages are alive.
        unsafe {
            bindings::dk_copy_pages(
                to_list.as_ptr(),
                usize::try_from(to_offset)?,
                from_list.as_ptr(),
                usize::try_from(offset)?,
                length,
            )
        };
        Ok(())
    }

    /// Copies what is at `offset`, where user space and devices may change it meanwhile. `ERANGE`
    /// beyond the end.
    pub fn read<T: FromBytes>(&self, offset: u64, to: &mut [T]) -> Result {
        self.read_from(&self.list.read(), offset, to)
    }

    fn read_from<T: FromBytes>(&self, list: &List, offset: u64, to: &mut [T]) -> Result {
        let list = list.as_slice();
        let length = core::mem::size_of_val(to);
        self.check(offset, length)?;
        let offset = usize::try_from(offset)?;
        // SAFETY: the range is inside, and by the invariant the pages are alive. `to` is as long as is
        // said, and any bytes are values of its type.
        unsafe { bindings::dk_read_pages(to.as_mut_ptr().cast(), list.as_ptr(), offset, length) };
        Ok(())
    }

    /// Copies bytes to `offset`, where user space and devices may change them meanwhile. `ERANGE`
    /// beyond the end.
    pub fn write(&self, offset: u64, from: &[u8]) -> Result {
        self.write_to(&self.list.read(), offset, from)
    }

    fn write_to(&self, list: &List, offset: u64, from: &[u8]) -> Result {
        self.check(offset, from.len())?;
        let offset = usize::try_from(offset)?;
        let (to, bytes) = (list.as_slice().as_ptr(), from.as_ptr().cast());
        // SAFETY: the range is inside, and by the invariant the pages are alive.
        unsafe { bindings::dk_write_pages(to, offset, bytes, from.len()) };
        Ok(())
    }

    /// Sets `length` bytes from `offset` on to `value`. `ERANGE` beyond the end.
    pub fn fill(&self, offset: u64, value: u8, length: usize) -> Result {
        self.check(offset, length)?;
        let offset = usize::try_from(offset)?;
        let list = self.list.read();
        let to = list.as_slice().as_ptr();
        // SAFETY: the range is inside, and by the invariant the pages are alive.
        unsafe { bindings::dk_fill_pages(to, offset, value, length) };
        Ok(())
    }

    fn check(&self, offset: u64, length: usize) -> Result {
        match offset.checked_add(u64::try_from(length)?) {
            Some(end) if end <= self.len() => Ok(()),
            _ => Err(ERANGE),
        }
    }
}

/// Pages that stay where they are.
///
/// # Invariants
///
/// It is one of `pins`, and so no page is replaced.
pub struct Pinned(Arc<Pages>);

impl Pinned {
    /// The pages, for those who need not know that they stay.
    pub fn pages(&self) -> &Arc<Pages> {
        &self.0
    }

    fn list(&self) -> &List {
        // SAFETY: by the invariant nobody changes it. Who did had done so before the pin was
        // counted, with the list locked.
        unsafe { &*self.0.list.as_ptr() }
    }

    /// The pages, for the abstractions of this crate.
    pub(crate) fn as_ptrs(&self) -> &[*mut bindings::page] {
        self.list().as_slice()
    }

    /// As [`Pages::read`], but does not sleep.
    #[cfg(dmaplane_test)]
    pub(crate) fn read<T: FromBytes>(&self, offset: u64, to: &mut [T]) -> Result {
        self.0.read_from(self.list(), offset, to)
    }

    /// As [`Pages::write`], but does not sleep.
    #[cfg(dmaplane_test)]
    pub(crate) fn write(&self, offset: u64, from: &[u8]) -> Result {
        self.0.write_to(self.list(), offset, from)
    }
}

impl Clone for Pinned {
    fn clone(&self) -> Self {
        // INVARIANT: nobody replaces pages, as there is one.
        self.0.pins.add(1, Relaxed);
        Self(self.0.clone())
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // What was read of the list was read before.
        let _ = self.0.pins.fetch_sub(1, Release);
    }
}
