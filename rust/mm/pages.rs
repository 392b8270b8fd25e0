// SPDX-License-Identifier: GPL-2.0

//! Zeroed pages on a NUMA node, charged to the user who asked for them.
//!
//! C header: [`include/linux/gfp.h`](srctree/include/linux/gfp.h)
//!
//! Ownership: [`Pages`] holds one reference to each page and the charge. Mappings take page
//! references of their own.
//! Locking: who looks at the list has it locked for reading, or has a [`Pinned`]. It is locked for
//! writing only while pages are replaced (`migrate`) and nobody has one. Faults take it, so that it is
//! never held around a user copy.
//! Teardown: dropping puts the pages, then drops the charge.

use super::rwsem::RwSem;
use crate::{
    bindings,
    errno::{
        EDQUOT,
        ENOBUFS, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    alloc::{
        flags::*,
        KVVec, //
    },
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
// SAFETY: as above; there are no `&self` methods.
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

/// The node whose turn it is after `last`.
fn next_turn(nodes: u64, last: Option<u32>) -> u32 {
    let after = last.map_or(0, |last| last.saturating_add(1));
    match nodes & u64::MAX.checked_shl(after).unwrap_or(0) {
        0 => nodes.trailing_zeros(),
        above => above.trailing_zeros(),
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
}

impl List {
    /// As [`List::take`], zeroed, on `node`, which is online, or where the task's policy says.
    fn fill(&mut self, count: usize, blocks: Blocks, node: i32, strict: bool) -> Result {
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

/// Zeroed pages.
#[pin_data]
pub struct Pages {
    // Note: the drop order is relevant: the pages before the charge.
    #[pin]
    list: RwSem<List>,
    count: usize,
    blocks: Blocks,
    /// How many [`Pinned`] there are. It becomes more than none only with the list locked.
    pins: Atomic<i32>,
    moves: Atomic<u32>,
    _charge: Charge,
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
        Arc::pin_init(
            pin_init!(Self {
                list <- RwSem::new(list),
                count,
                blocks,
                pins: Atomic::new(0),
                moves: Atomic::new(0),
                _charge: charge,
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
        // SAFETY: by the invariant the pages are alive; the arrays are as long as is said, and there is a
        // count for each order up to that of a block.
        match unsafe {
            bindings::dk_survey_pages(
                pages.as_ptr(),
                pages.len(),
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

#[cfg(dmaplane_test)]
#[kunit_tests(dmakit_pages)]
mod tests {
    use super::*;
    use crate::mm::{
        migrate::{
            Migration,
            Shown, //
        },
        node_online,
        nr_nodes,
        shared::Shared,
        space::Space, //
    };
    /// Pages that the user of `charge` is charged for.
    fn locked(charge: &Charge) -> i64 {
        // SAFETY: by its invariant the charge holds a reference to the user.
        let counter = unsafe { &raw mut (*charge.user.as_ptr()).locked_vm.counter };
        // SAFETY: C accesses the counter atomically as well.
        unsafe { Atomic::from_ptr(counter) }.load(Relaxed)
    }

    fn some_node() -> Option<i32> {
        (0..nr_nodes())
            .filter_map(|node| i32::try_from(node).ok())
            .find(|node| node_online(*node))
    }

    fn on_online_nodes(pages: &Pages) -> Result<u64> {
        let mut counts = [0; 64];
        pages.count_nodes(&mut counts)?;
        let online = |&(node, _): &(i32, &u64)| node_online(node);
        Ok((0..)
            .zip(&counts)
            .filter(online)
            .map(|(_, count)| count)
            .sum())
    }

    #[test]
    fn as_many_as_asked_for() -> Result {
        for count in [0, 1, 2, 9, 511, 1025] {
            let pages = Pages::new(count, Placement::Any)?;
            assert_eq!(pages.count(), count);
            assert_eq!(pages.len(), count as u64 * PAGE_SIZE as u64);
            assert_eq!(pages.is_empty(), count == 0);
            assert_eq!(on_online_nodes(&pages)?, count as u64);
        }
        Ok(())
    }

    #[test]
    fn each_is_another_page() -> Result {
        let pages = Pages::new(529, Placement::Any)?;
        let pinned = Pages::pin(&pages);
        let list = pinned.as_ptrs();
        for (i, page) in list.iter().enumerate() {
            assert!(!page.is_null());
            assert!(!list.iter().skip(i + 1).any(|other| other == page));
        }
        Ok(())
    }

    #[test]
    fn on_the_node_that_was_named() -> Result {
        let node = some_node().ok_or(ENODEV)?;
        for placement in [Placement::Strict(node), Placement::Prefer(node)] {
            let pages = Pages::new(8, placement)?;
            let mut counts = [0; 64];
            pages.count_nodes(&mut counts)?;
            assert_eq!(counts.get(node as usize), Some(&8));
        }
        Ok(())
    }

    #[test]
    fn blocks_are_counted_as_they_are() -> Result {
        for (count, blocks) in [
            (1030, Blocks::May),
            (1030, Blocks::Never),
            (1024, Blocks::Must),
        ] {
            let pages = Pages::in_blocks(count, Placement::Any, blocks)?;
            let (mut nodes, mut orders) = ([0; 64], [0; ORDERS]);
            assert_eq!(pages.survey(&mut nodes, &mut orders), Ok(0));
            assert_eq!(nodes.iter().sum::<u64>(), count as u64);
            let sizes = (0..).zip(&orders).map(|(order, n)| u64::from(*n) << order);
            assert_eq!(sizes.sum::<u64>(), count as u64);
            if blocks == Blocks::Must {
                assert_eq!(orders[BLOCK_ORDER as usize], 2);
            }
            assert_eq!(pages.survey(&mut [], &mut orders), Err(EIO));
        }
        Ok(())
    }

    #[test]
    fn turns_go_round() {
        assert_eq!(next_turn(0b1010, None), 1);
        assert_eq!(next_turn(0b1010, Some(1)), 3);
        assert_eq!(next_turn(0b1010, Some(3)), 1);
        assert_eq!(next_turn(1, Some(0)), 0);
        assert_eq!(next_turn(1 << 63 | 1, Some(0)), 63);
        assert_eq!(next_turn(1 << 63 | 1, Some(63)), 0);
    }

    #[test]
    fn by_turns_on_each_node() -> Result {
        let online = |node: &u32| node_online(*node as i32);
        let all: u64 = (0..nr_nodes().min(64)).filter(online).map(|n| 1 << n).sum();
        for (blocks, step) in [(Blocks::Never, 1), (Blocks::May, BLOCK_PAGES)] {
            let placement = Placement::Turns {
                nodes: all,
                strict: true,
            };
            let pages = Pages::in_blocks(3 * BLOCK_PAGES + 7, placement, blocks)?;
            let pinned = Pages::pin(&pages);
            let (mut turn, mut counts, mut orders) = (None, [0; 64], [0; ORDERS]);
            for part in pinned.as_ptrs().chunks(step) {
                turn = Some(next_turn(all, turn));
                // SAFETY: these pages are alive; the counts are as many as is said.
                assert!(unsafe {
                    bindings::dk_survey_pages(
                        part.as_ptr(),
                        part.len(),
                        counts.as_mut_ptr(),
                        64,
                        orders.as_mut_ptr(),
                        BLOCK_ORDER,
                    )
                });
                let here = turn.and_then(|turn| counts.get_mut(turn as usize));
                assert_eq!(here.map(core::mem::take), Some(part.len() as u64));
            }
            assert!(counts.iter().all(|count| *count == 0));
        }
        Ok(())
    }

    #[test]
    fn blocks_stay_blocks_when_they_move() -> Result {
        let pages = Pages::in_blocks(2 * BLOCK_PAGES, Placement::Any, Blocks::Must)?;
        pages.fill(0, 0x5a, 2 * BLOCK_PAGES * PAGE_SIZE)?;
        for node in (0..nr_nodes()).filter_map(|node| i32::try_from(node).ok()) {
            if node_online(node) {
                move_all(&pages, node)?;
                let mut orders = [0; ORDERS];
                pages.survey(&mut [0; 64], &mut orders)?;
                assert_eq!(orders[BLOCK_ORDER as usize], 2);
                assert!(other_than(&pages, 0x5a)?.is_empty());
            }
        }
        Ok(())
    }

    #[test]
    fn nodes_that_are_not_there() {
        assert!(!node_online(-1));
        assert!(!node_online(i32::MAX));
        assert!(i32::try_from(nr_nodes()).is_ok_and(|end| !node_online(end)));
    }

    #[test]
    fn more_than_there_is() -> Result {
        let node = some_node().ok_or(ENODEV)?;
        let too_many = 1 << 40;
        let error = |placement| Pages::new(too_many, placement).err();
        assert_eq!(error(Placement::Any), Some(ENOMEM));
        assert_eq!(error(Placement::Prefer(node)), Some(ENOMEM));
        assert_eq!(error(Placement::Strict(node)), Some(ENOSPC));
        Ok(())
    }

    /// The bytes of `pages` that are not `value`, as ranges.
    fn other_than(pages: &Pages, value: u8) -> Result<KVec<(usize, u8)>> {
        let shared = Pages::new(1, Placement::Any)?;
        let window = Shared::new(shared.clone())?;
        let mut others = KVec::new();
        for page in 0..pages.count() {
            pages.copy_to((page * PAGE_SIZE) as u64, &shared, 0, PAGE_SIZE)?;
            for at in (0..PAGE_SIZE).step_by(4) {
                for (i, byte) in window
                    .read::<u32>(at)?
                    .to_le_bytes()
                    .into_iter()
                    .enumerate()
                {
                    if byte != value {
                        others.push((page * PAGE_SIZE + at + i, byte), GFP_KERNEL)?;
                    }
                }
            }
        }
        Ok(others)
    }

    #[test]
    fn bytes_filled_and_copied_across_pages() -> Result {
        let from = Pages::new(3, Placement::Any)?;
        let to = Pages::new(3, Placement::Any)?;
        let page = PAGE_SIZE as u64;
        from.fill(page - 1, 0x5a, 1)?;
        from.fill(page, 0xa5, 1)?;
        from.fill(2 * page - 1, 0x77, 2)?;
        assert_eq!(
            other_than(&from, 0)?[..],
            [
                (PAGE_SIZE - 1, 0x5a),
                (PAGE_SIZE, 0xa5),
                (2 * PAGE_SIZE - 1, 0x77),
                (2 * PAGE_SIZE, 0x77),
            ]
        );
        // From an offset in a page to another, so that the pieces are cut at both.
        from.copy_to(page - 1, &to, 5, PAGE_SIZE + 1)?;
        assert_eq!(
            other_than(&to, 0)?[..],
            [(5, 0x5a), (6, 0xa5), (PAGE_SIZE + 5, 0x77)]
        );
        Ok(())
    }

    #[test]
    fn numbers_read_across_pages() -> Result {
        let pages = Pages::new(2, Placement::Any)?;
        let page = PAGE_SIZE as u64;
        pages.write(page - 4, &[1, 1, 1, 1, 2, 2, 2, 2])?;
        let mut read = [9u32; 4];
        pages.read(page - 8, &mut read)?;
        assert_eq!(read, [0, 0x0101_0101, 0x0202_0202, 0]);
        pages.read(2 * page - 4, &mut read[..1])?;
        assert_eq!(read[0], 0);
        pages.read::<u32>(2 * page, &mut [])?;
        for (offset, count) in [
            (2 * page - 3, 1),
            (2 * page, 1),
            (u64::MAX, 1),
            (page, 1025),
        ] {
            let mut numbers = KVec::from_elem(7u32, count, GFP_KERNEL)?;
            assert_eq!(pages.read(offset, &mut numbers), Err(ERANGE));
            assert!(numbers.iter().all(|number| *number == 7));
            let bytes = KVec::from_elem(7u8, 4 * count, GFP_KERNEL)?;
            assert_eq!(pages.write(offset, &bytes), Err(ERANGE));
        }
        Ok(())
    }

    #[test]
    fn bytes_to_the_end_and_not_beyond() -> Result {
        let pages = Pages::new(2, Placement::Any)?;
        let end = 2 * PAGE_SIZE as u64;
        pages.fill(0, 1, 2 * PAGE_SIZE)?;
        pages.fill(end, 2, 0)?;
        for (offset, length) in [
            (end, 1),
            (end - 1, 2),
            (0, 2 * PAGE_SIZE + 1),
            (u64::MAX, 1),
        ] {
            assert_eq!(pages.fill(offset, 2, length), Err(ERANGE));
            assert_eq!(pages.copy_to(offset, &pages, 0, length), Err(ERANGE));
            assert_eq!(pages.copy_to(0, &pages, offset, length), Err(ERANGE));
        }
        assert!(other_than(&pages, 1)?.is_empty());
        Ok(())
    }

    fn move_all(pages: &Pages, node: i32) -> Result<usize> {
        let (space, mut migration) = (Space::new()?, Migration::new(node, true));
        let shown = Shown {
            space: &space,
            first: 0,
        };
        while migration.step(pages, &shown)? {}
        Ok(migration.moved())
    }

    #[test]
    fn moved_with_their_bytes() -> Result {
        let pages = Pages::new(1030, Placement::Any)?;
        pages.fill(0, 0x5a, 1030 * PAGE_SIZE)?;
        for node in (0..nr_nodes())
            .map(|node| node as i32)
            .filter(|node| node_online(*node))
        {
            let mut counts = [0; 64];
            pages.count_nodes(&mut counts)?;
            let elsewhere = 1030 - counts.get(node as usize).copied().unwrap_or(0) as usize;
            let (moves, some) = (pages.moves(), elsewhere > 0);
            assert_eq!(move_all(&pages, node), Ok(elsewhere));
            assert!((pages.moves() != moves) == some);
            assert_eq!(move_all(&pages, node), Ok(0));
            assert!(other_than(&pages, 0x5a)?.is_empty());
        }
        Ok(())
    }

    #[test]
    fn pinned_while_somebody_needs_it() -> Result {
        let node = some_node().ok_or(ENODEV)?;
        let pages = Pages::new(3, Placement::Strict(node))?;
        assert_eq!(move_all(&pages, node), Ok(0));
        let pin = Pages::pin(&pages);
        let (other, window) = (pin.clone(), Shared::new(pages.clone())?);
        drop(pin);
        assert_eq!(move_all(&pages, node), Err(EBUSY));
        drop(other);
        assert_eq!(move_all(&pages, node), Err(EBUSY));
        drop(window);
        assert_eq!(move_all(&pages, node), Ok(0));
        Ok(())
    }

    #[test]
    fn charged_while_they_live() -> Result {
        let watch = Charge::new(1)?;
        let before = locked(&watch);
        assert!(before >= 1);
        let pages = Pages::new(5, Placement::Any)?;
        assert_eq!(locked(&watch), before + 5);
        drop(pages);
        assert_eq!(locked(&watch), before);
        assert!(Pages::new(1 << 40, Placement::Any).is_err());
        assert_eq!(locked(&watch), before);
        Ok(())
    }
}
