// SPDX-License-Identifier: GPL-2.0

//! Moving pages to another node while they are in use.
//!
//! It goes batch by batch: new pages are taken, the old ones vanish from all page tables, their
//! bytes are copied and the list names the new ones. Who touches a mapping meanwhile faults, and
//! waits for the list. Page tables, direct I/O and other drivers have references of their own to
//! pages: a batch is moved when there are none. References come from page tables, so that nobody
//! who has one later uses the bytes: what looks at pages without a lock (`gup_fast`, a scan of all
//! memory) may take one, sees that the entry of the page table is gone, and puts it back.
//!
//! Ownership: a [`Migration`] owns nothing but the new pages of a batch, and then the old ones.
//! Locking: that of where the pages are shown, and inside of it the list's for writing, while a batch is moved. Taken
//! inside of that: `i_mmap_rwsem`, page tables, and what mmu notifiers take. No page is allocated under it.
//! Teardown: none; what was moved stays.

pub use super::engine::Used;

use super::{
    cond_resched,
    engine::{
        Bad,
        Batch,
        Copier, //
    },
    list::{
        Blocks,
        List,
        BLOCK_PAGES, //
    },
    node_online,
    pages::Pages,
    shown::Shown, //
};
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    ffi,
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// Pages moved while the list is locked. Blocks begin at multiples of that, so that none is cut.
const BATCH: usize = BLOCK_PAGES;

/// Batches without anything to move before others get their turn.
const LOOKS: usize = 64;

/// How long to wait for others who have references, in milliseconds: system calls, `mmap(2)` and
/// `fork(2)` have some for a moment.
const PAUSES: [i64; 6] = [0, 1, 3, 10, 30, 50];

/// A memory cgroup that is charged for pages.
///
/// # Invariants
///
/// A counted reference to one, or none.
struct Memcg(Option<NonNull<ffi::c_void>>);

impl Memcg {
    fn raw(&self) -> *mut ffi::c_void {
        self.0.map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }
}

impl Drop for Memcg {
    fn drop(&mut self) {
        if let Some(memcg) = self.0 {
            // SAFETY: by the invariant it is ours.
            unsafe { bindings::dk_memcg_put(memcg.as_ptr()) };
        }
    }
}

/// Pages on their way to a node.
pub struct Migration {
    node: i32,
    strict: bool,
    next: usize,
    moved: usize,
    copier: Copier,
}

/// Pages that are elsewhere.
struct Elsewhere {
    count: usize,
    /// [`Pages::moves`] when they were counted.
    moves: u32,
    /// Who is charged for them.
    memcg: Memcg,
}

/// What became of a batch.
enum Turn {
    Done,
    /// Somebody has references.
    Busy,
    /// It is not what it was.
    Stale,
    /// Someone may go on writing to the others.
    Lost,
}

impl Migration {
    /// All pages to `node`, which is online. If there is no room for some they stay where they are; if
    /// it is `strict`, that is an error.
    pub fn new(node: i32, strict: bool) -> Self {
        Self {
            node,
            strict,
            next: 0,
            moved: 0,
            copier: Copier::default(),
        }
    }

    /// Pages moved.
    pub fn moved(&self) -> usize {
        self.moved
    }

    /// What has copied their bytes.
    pub fn used(&self) -> Used {
        self.copier.used()
    }

    /// Moves the next ones; whether there are more. `EBUSY` if they are pinned, or somebody else has
    /// references to them; `ENOSPC` if there is no room, `ENXIO` if the node has gone,
    /// `EIO` if the memory of some is bad.
    pub fn step(&mut self, pages: &Pages, shown: &Shown) -> Result<bool> {
        if !node_online(self.node) {
            return Err(ENXIO);
        }
        for _ in 0..LOOKS {
            let end = pages.count().min(self.next.saturating_add(BATCH));
            let found = self.look(pages, end)?;
            if found.count > 0 {
                return self.batch(pages, shown, end, &found);
            }
            self.next = end;
            if end == pages.count() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether any of them are elsewhere, pinned or not.
    pub fn is_wanted(&mut self, pages: &Pages) -> Result<bool> {
        while self.next < pages.count() {
            let end = pages.count().min(self.next.saturating_add(BATCH));
            let list = pages.list().read();
            let part = list.as_slice().get(self.next..end).ok_or(EINVAL)?;
            // SAFETY: these pages are alive.
            if unsafe { bindings::dk_pages_elsewhere(part.as_ptr(), part.len(), self.node) } > 0 {
                return Ok(true);
            }
            drop(list);
            cond_resched();
            self.next = end;
        }
        Ok(false)
    }

    /// Which of the next are elsewhere.
    fn look(&self, pages: &Pages, end: usize) -> Result<Elsewhere> {
        let list = pages.list().read();
        if pages.is_pinned() {
            return Err(EBUSY);
        }
        let part = list.as_slice().get(self.next..end).ok_or(EINVAL)?;
        // SAFETY: these pages are alive.
        let count = unsafe { bindings::dk_pages_elsewhere(part.as_ptr(), part.len(), self.node) };
        let memcg = part.first().and_then(|page| {
            // SAFETY: as above, and they are charged as long as we have a reference.
            NonNull::new(unsafe { bindings::dk_page_memcg(*page) })
        });
        Ok(Elsewhere {
            count,
            moves: pages.moves(),
            // INVARIANT: the helper has counted a reference.
            memcg: Memcg(memcg),
        })
    }

    fn batch(
        &mut self,
        pages: &Pages,
        shown: &Shown,
        end: usize,
        found: &Elsewhere,
    ) -> Result<bool> {
        let (count, memcg) = (found.count, found.memcg.raw());
        let hard = pages.blocks() == Blocks::Must;
        let mut others = List::with_capacity(count)?;
        others.take(count, pages.blocks(), |order| {
            // SAFETY: the node is online, and the context may sleep; there is a reference.
            unsafe { bindings::dk_alloc_pages_for(memcg, self.node, order, hard) }
        })?;
        let full = others.as_slice().len() < count;
        if full && self.strict {
            return Err(ENOSPC);
        }
        if others.as_slice().is_empty() {
            return Ok(false);
        }
        self.copier.prepare(others.as_slice().len());
        for pause in PAUSES {
            if pause > 0 {
                fsleep(Delta::from_millis(pause));
            }
            match self.exchange(pages, shown, end, found, &mut others)? {
                Turn::Done => return Ok(!full && self.next < pages.count()),
                Turn::Stale => return Ok(true),
                Turn::Lost => {
                    others.abandon();
                    return Ok(true);
                }
                Turn::Busy => {}
            }
        }
        Err(EBUSY)
    }

    /// Replaces as many of the next as there are others for; these are the old ones then. `found` is
    /// which were elsewhere when the others were taken.
    fn exchange(
        &mut self,
        pages: &Pages,
        shown: &Shown,
        end: usize,
        found: &Elsewhere,
        others: &mut List,
    ) -> Result<Turn> {
        let places = shown.places();
        let mut list = pages.list().write();
        if pages.is_pinned() {
            return Err(EBUSY);
        }
        let part = list.as_mut_slice().get_mut(self.next..end).ok_or(EINVAL)?;
        let (node, at, mut count) = (self.node, part.as_mut_ptr(), part.len());
        if pages.moves() != found.moves {
            // SAFETY: these pages are alive.
            let now = unsafe { bindings::dk_pages_elsewhere(at, count, node) };
            if now != found.count {
                // Another channel moves it, too. A block taken for more would not begin where it must.
                return Ok(Turn::Stale);
            }
        }
        let room = others.as_slice().len();
        if room < found.count {
            // SAFETY: as above.
            count = unsafe { bindings::dk_pages_fitting(at, count, node, room) };
        }
        for place in places.iter() {
            let index = place.page(self.next);
            // SAFETY: as above; the space is initialised.
            unsafe { bindings::dk_pages_unmap(place.space().raw(), index, at, count, node) };
        }
        let mut blocks = false;
        // SAFETY: as above.
        if !unsafe { bindings::dk_pages_ours(at, count, node, &mut blocks) } {
            return Ok(Turn::Busy);
        }
        let mut bad = Bad::default();
        let ours = part.get(..count).ok_or(EINVAL)?;
        // SAFETY: they are in no page table, and nobody else has a reference. While the list is locked
        // nobody gets one, and nobody knows the others.
        if !unsafe { self.copy(ours, others.as_slice(), &mut bad) }? {
            return Ok(Turn::Lost);
        }
        let (others, bits) = (others.as_mut_slice().as_mut_ptr(), bad.as_mut_ptr());
        // SAFETY: nobody else uses those that are replaced, nor does while the list is locked, and
        // `others` has as many as they are. It owns what it gets for them.
        let moved =
            unsafe { bindings::dk_pages_replace(at, count, node, blocks, others, bits, BATCH) };
        if moved > 0 {
            pages.has_moved();
        }
        self.next = self.next.saturating_add(count);
        self.moved = self.moved.saturating_add(moved);
        match bad.any() {
            true => Err(EIO),
            false => Ok(Turn::Done),
        }
    }

    /// Copies those that are elsewhere, each to the next of the others; whether nobody does so any more.
    /// `EINVAL` if there are too few.
    ///
    /// # Safety
    ///
    /// All are alive; nobody else uses any of them.
    unsafe fn copy(
        &mut self,
        mut pages: &[*mut bindings::page],
        others: &[*mut bindings::page],
        bad: &mut Bad,
    ) -> Result<bool> {
        let (node, mut done) = (self.node, 0usize);
        while !pages.is_empty() {
            // SAFETY: they are alive.
            let here = unsafe { bindings::dk_pages_run(pages.as_ptr(), pages.len(), node, true) };
            pages = pages.get(here..).ok_or(EINVAL)?;
            // SAFETY: as above.
            let run = unsafe { bindings::dk_pages_run(pages.as_ptr(), pages.len(), node, false) };
            if run == 0 {
                break;
            }
            let from = pages.get(..run).ok_or(EINVAL)?;
            let end = done.checked_add(run).ok_or(EINVAL)?;
            let to = others.get(done..end).ok_or(EINVAL)?;
            // SAFETY: as the caller says.
            let batch = unsafe { Batch::new(to, from, node, done) }.ok_or(EINVAL)?;
            if self.copier.copy(&batch, bad).is_err() {
                return Ok(false);
            }
            pages = pages.get(run..).ok_or(EINVAL)?;
            done = end;
        }
        Ok(true)
    }
}
