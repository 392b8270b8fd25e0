// SPDX-License-Identifier: GPL-2.0
//! The two rings in shared memory, by the header's ordering contract.
//!
//! The user writes `sq_tail` and `cq_head`, the kernel `sq_head`, `cq_tail` and
//! `flags`. Indices count without bound modulo 2^32 and are masked on look-up.

mod memory;
#[cfg(test)]
mod model;

use std::{ptr::NonNull, sync::atomic::Ordering};

use crate::sys::uapi::{
    dmaplane_cqe, dmaplane_ring, dmaplane_sqe, dmaplane_times, DMAPLANE_RING_NEED_WAKEUP,
};
use memory::{Mapping, Memory, Word};

/// Where entries are in a mapping, and the times of completions, if there are such.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offsets {
    pub(crate) sqes: u32,
    pub(crate) cqes: u32,
    pub(crate) times: Option<u32>,
}

/// This side's view of the rings.
///
/// # Invariants
///
/// `memory` has `sq_entries` and `cq_entries` entries; both are powers of two.
#[derive(Debug)]
pub(crate) struct Ring<M = Mapping> {
    memory: M,
    sq_entries: u32,
    cq_entries: u32,
    sq_tail: u32,
    cq_head: u32,
}

impl Ring {
    /// Whether all of it lies within `length` bytes.
    pub(crate) fn fits(length: u64, at: Offsets, sq: u32, cq: u32) -> bool {
        let end = |offset: u32, count: u32, size: usize| {
            let end = u64::from(offset) + u64::from(count) * size as u64;
            offset % 8 == 0 && offset as usize >= size_of::<dmaplane_ring>() && end <= length
        };
        sq.is_power_of_two()
            && cq.is_power_of_two()
            && end(at.sqes, sq, size_of::<dmaplane_sqe>())
            && end(at.cqes, cq, size_of::<dmaplane_cqe>())
            && at
                .times
                .is_none_or(|times| end(times, cq, size_of::<dmaplane_times>()))
    }

    /// The rings at `base`.
    ///
    /// # Safety
    ///
    /// `base` is page-aligned, [`Ring::fits`] for the bytes that are mapped there
    /// for as long as the ring is used, and no other `Ring` has them.
    pub(crate) unsafe fn new(base: NonNull<u8>, at: Offsets, sq: u32, cq: u32) -> Self {
        // SAFETY: by the caller's promise.
        Ring::over(unsafe { Mapping::new(base, at) }, sq, cq)
    }
}

impl<M: Memory> Ring<M> {
    /// The rings in `memory`, which has so many entries.
    fn over(memory: M, sq: u32, cq: u32) -> Self {
        let sq_tail = memory.load(Word::SqTail, Ordering::Relaxed);
        let cq_head = memory.load(Word::CqHead, Ordering::Relaxed);
        // INVARIANT: by the caller's promise.
        Ring {
            memory,
            sq_entries: sq,
            cq_entries: cq,
            sq_tail,
            cq_head,
        }
    }

    /// Submission entries that the kernel has not taken.
    pub(crate) fn pending(&self) -> u32 {
        let head = self.memory.load(Word::SqHead, Ordering::Acquire);
        self.sq_tail.wrapping_sub(head)
    }

    /// Room for submission entries.
    pub(crate) fn room(&self) -> u32 {
        self.sq_entries.saturating_sub(self.pending())
    }

    /// Where the next submission entry goes; counts without bound.
    pub(crate) fn sq_tail(&self) -> u32 {
        self.sq_tail
    }

    pub(crate) fn sq_entries(&self) -> u32 {
        self.sq_entries
    }

    pub(crate) fn cq_entries(&self) -> u32 {
        self.cq_entries
    }

    /// Writes an entry and makes it visible; false when the ring is full.
    pub(crate) fn push(&mut self, entry: dmaplane_sqe) -> bool {
        if self.room() == 0 {
            return false;
        }
        let slot = self.sq_tail & (self.sq_entries - 1);
        // SAFETY: the slot is within the ring by the mask, and the kernel does not
        // read it before the store below.
        unsafe { self.memory.write(slot, entry) };
        self.sq_tail = self.sq_tail.wrapping_add(1);
        self.memory
            .store(Word::SqTail, self.sq_tail, Ordering::Release);
        true
    }

    /// Completions that can be taken.
    pub(crate) fn available(&self) -> u32 {
        let tail = self.memory.load(Word::CqTail, Ordering::Acquire);
        tail.wrapping_sub(self.cq_head).min(self.cq_entries)
    }

    /// Reads the completion `nth` after the head, which is below
    /// [`Ring::available`].
    pub(crate) fn peek(&self, nth: u32) -> dmaplane_cqe {
        let slot = self.cq_head.wrapping_add(nth) & (self.cq_entries - 1);
        // SAFETY: the slot is within the ring by the mask; the acquire load in
        // `available()` makes its contents visible.
        unsafe { self.memory.read(slot) }
    }

    /// The times of what [`Ring::peek`] reads, if there are such.
    pub(crate) fn times(&self, nth: u32) -> Option<dmaplane_times> {
        let slot = self.cq_head.wrapping_add(nth) & (self.cq_entries - 1);
        // SAFETY: as there.
        unsafe { self.memory.times(slot) }
    }

    /// Gives the places of `count` completions back.
    pub(crate) fn advance(&mut self, count: u32) {
        self.cq_head = self.cq_head.wrapping_add(count);
        self.memory
            .store(Word::CqHead, self.cq_head, Ordering::Release);
    }

    /// Whether there is something to call the kernel for that has a thread take the entries: to wake
    /// that, to tell of room, to wait for `min` completions, or to hear that all is broken.
    pub(crate) fn needs_call(&self, min: u32) -> bool {
        let mut flags = self.flags();
        if self.pending() == 0 {
            flags &= !DMAPLANE_RING_NEED_WAKEUP;
        }
        flags != 0 || self.available() < min
    }

    pub(crate) fn flags(&self) -> u32 {
        // A flag about room must not be loaded before the head that made it was stored, nor that of
        // a thread that sleeps before the tail.
        M::fence();
        self.memory.load(Word::Flags, Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::uapi::{DMAPLANE_RING_NEED_ENTER, DMAPLANE_RING_POISONED};
    use std::sync::atomic::AtomicU32;

    const SQ: u32 = 4;
    const CQ: u32 = 8;
    const SQES: u32 = 256;
    const CQES: u32 = 512;
    const TIMES: u32 = 1024;
    const AT: Offsets = Offsets {
        sqes: SQES,
        cqes: CQES,
        times: Some(TIMES),
    };

    #[repr(align(4096))]
    struct Page([u8; 4096]);

    /// The kernel's side of a ring in plain memory.
    struct Fake {
        page: Box<Page>,
    }

    impl Fake {
        fn new(start: u32) -> (Fake, Ring) {
            let mut page = Box::new(Page([0; 4096]));
            for offset in [0, 64, 128, 192] {
                page.0[offset..offset + 4].copy_from_slice(&start.to_ne_bytes());
            }
            let base = NonNull::new(page.0.as_mut_ptr()).unwrap();
            assert!(Ring::fits(4096, AT, SQ, CQ));
            // SAFETY: the page outlives the test's ring.
            let ring = unsafe { Ring::new(base, AT, SQ, CQ) };
            (Fake { page }, ring)
        }

        fn add(&mut self, offset: usize, by: u32) {
            let p = self.page.0.as_mut_ptr();
            // SAFETY: in the page and aligned.
            let index = unsafe { AtomicU32::from_ptr(p.add(offset).cast()) };
            index.fetch_add(by, Ordering::Release);
        }

        fn complete(&mut self, at: u32, user_data: u64) {
            let slot = CQES as usize + (at & (CQ - 1)) as usize * 32;
            let p = self.page.0.as_mut_ptr();
            // SAFETY: in the page and aligned.
            unsafe { p.add(slot).cast::<u64>().write(user_data) };
            let slot = slot - CQES as usize + TIMES as usize + 16;
            // SAFETY: likewise.
            unsafe { p.add(slot).cast::<u64>().write(user_data * 2) };
            self.add(192, 1);
        }
    }

    #[test]
    fn full_then_taken_then_room_again_across_the_wrap() {
        let start = u32::MAX - 1;
        let (mut kernel, mut ring) = Fake::new(start);
        let entry = |n| dmaplane_sqe {
            user_data: n,
            ..Default::default()
        };
        for n in 0..4 {
            assert!(ring.push(entry(n)));
        }
        assert!(!ring.push(entry(4)));
        assert_eq!((ring.pending(), ring.room()), (4, 0));
        kernel.add(0, 3);
        assert_eq!((ring.pending(), ring.room()), (1, 3));
        assert!(ring.push(entry(4)));
        // Entry 4 went to the slot of entry 0.
        let slot = SQES as usize + (start & (SQ - 1)) as usize * 64 + 8;
        assert_eq!(kernel.page.0[slot], 4);
    }

    #[test]
    fn completions_in_order_across_the_wrap() {
        let start = u32::MAX - 2;
        let (mut kernel, mut ring) = Fake::new(start);
        assert_eq!(ring.available(), 0);
        for n in 0..6u32 {
            kernel.complete(start.wrapping_add(n), 100 + u64::from(n));
        }
        assert_eq!(ring.available(), 6);
        let seen: Vec<u64> = (0..6).map(|n| ring.peek(n).user_data).collect();
        assert_eq!(seen, [100, 101, 102, 103, 104, 105]);
        assert!((0..6).all(|n| ring.times(n).unwrap().complete_ns == 2 * (100 + u64::from(n))));
        ring.advance(4);
        assert_eq!(ring.available(), 2);
        assert_eq!(ring.peek(0).user_data, 104);
    }

    #[test]
    fn calls_while_a_thread_takes_entries() {
        const FLAGS: usize = 12;
        let (mut kernel, mut ring) = Fake::new(0);
        assert!(!ring.needs_call(0));
        assert!(ring.needs_call(1));
        assert!(ring.push(dmaplane_sqe::default()));
        assert!(!ring.needs_call(0));
        // It sleeps, and has something to take; then nothing any more.
        kernel.add(FLAGS, DMAPLANE_RING_NEED_WAKEUP);
        assert!(ring.needs_call(0));
        kernel.add(0, 1);
        assert!(!ring.needs_call(0));
        kernel.complete(0, 1);
        assert!(!ring.needs_call(1));
        assert!(ring.needs_call(2));
        for other in [DMAPLANE_RING_NEED_ENTER, DMAPLANE_RING_POISONED] {
            kernel.add(FLAGS, other);
            assert!(ring.needs_call(0));
            kernel.add(FLAGS, other.wrapping_neg());
        }
    }

    #[test]
    fn offsets_are_checked() {
        let at = |sqes, cqes, times| Offsets { sqes, cqes, times };
        let fits = |at| Ring::fits(4096, at, SQ, CQ);
        let last = 4096 - 8 * 32;
        assert!(fits(at(SQES, CQES, None)) && fits(at(SQES, CQES, Some(last))));
        assert!(!fits(at(255, CQES, None)));
        assert!(!fits(at(128, CQES, None)));
        assert!(!fits(at(SQES, last + 8, None)));
        assert!(!fits(at(SQES, CQES, Some(0))));
        assert!(!fits(at(SQES, CQES, Some(last + 8))));
        assert!(!Ring::fits(4096, at(SQES, CQES, None), 3, CQ));
        assert!(!Ring::fits(4096, at(SQES, u32::MAX - 7, None), SQ, 1 << 31));
    }
}
