// SPDX-License-Identifier: GPL-2.0
//! Where the rings are.

use std::{
    ptr::{addr_of_mut, NonNull},
    sync::atomic::{fence, AtomicU32, Ordering},
};

use super::Offsets;
use crate::sys::uapi::{dmaplane_cqe, dmaplane_ring, dmaplane_sqe, dmaplane_times};

/// A word of `dmaplane_ring`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Word {
    SqHead,
    SqTail,
    CqHead,
    CqTail,
    Flags,
}

/// Memory that is shared with the kernel. The rings of a channel are in a [`Mapping`]; tests run the
/// same protocol over a model of memory.
pub(crate) trait Memory {
    fn load(&self, word: Word, order: Ordering) -> u32;

    fn store(&self, word: Word, value: u32, order: Ordering);

    /// Orders all accesses before, stores included, with all loads after.
    fn fence();

    /// Writes a submission entry.
    ///
    /// # Safety
    ///
    /// `slot` is within the ring, and the kernel does not read it meanwhile.
    unsafe fn write(&self, slot: u32, entry: dmaplane_sqe);

    /// Reads a completion entry.
    ///
    /// # Safety
    ///
    /// `slot` is within the ring, and the kernel does not write it meanwhile.
    unsafe fn read(&self, slot: u32) -> dmaplane_cqe;

    /// Reads the times of a completion entry, if there are such.
    ///
    /// # Safety
    ///
    /// As of [`Memory::read`].
    unsafe fn times(&self, _slot: u32) -> Option<dmaplane_times> {
        None
    }
}

/// The rings in memory that is mapped.
///
/// # Invariants
///
/// `ring` points to a `dmaplane_ring`, `sqes` and `cqes` to the entries of its rings, `times`
/// to as many as `cqes`, aligned, in memory shared with the kernel. No other code of this process touches them.
#[derive(Debug)]
pub(crate) struct Mapping {
    ring: NonNull<dmaplane_ring>,
    sqes: NonNull<dmaplane_sqe>,
    cqes: NonNull<dmaplane_cqe>,
    times: Option<NonNull<dmaplane_times>>,
}

// SAFETY: the memory belongs to the process, and one thread at a time has the
// `&mut` of the ring that changes it.
unsafe impl Send for Mapping {}

impl Mapping {
    /// The rings at `base`, their entries at these offsets.
    ///
    /// # Safety
    ///
    /// `base` is page-aligned. Ring and entries lie within what is mapped there for as
    /// long as this is used, aligned, and no other `Mapping` has them.
    pub(super) unsafe fn new(base: NonNull<u8>, at: Offsets) -> Self {
        // SAFETY: within the mapping by the caller's promise.
        let place = |offset: u32| unsafe { base.add(offset as usize) };
        // INVARIANT: by the caller's promise.
        Mapping {
            ring: base.cast(),
            sqes: place(at.sqes).cast(),
            cqes: place(at.cqes).cast(),
            times: at.times.map(|times| place(times).cast()),
        }
    }

    fn word(&self, which: Word) -> &AtomicU32 {
        let ring = self.ring.as_ptr();
        // SAFETY: by the type's invariant the field is there, aligned, and
        // changed by atomic accesses only.
        unsafe {
            AtomicU32::from_ptr(match which {
                Word::SqHead => addr_of_mut!((*ring).sq_head),
                Word::SqTail => addr_of_mut!((*ring).sq_tail),
                Word::CqHead => addr_of_mut!((*ring).cq_head),
                Word::CqTail => addr_of_mut!((*ring).cq_tail),
                Word::Flags => addr_of_mut!((*ring).flags),
            })
        }
    }
}

impl Memory for Mapping {
    #[inline(always)]
    fn load(&self, word: Word, order: Ordering) -> u32 {
        self.word(word).load(order)
    }

    #[inline(always)]
    fn store(&self, word: Word, value: u32, order: Ordering) {
        self.word(word).store(value, order);
    }

    #[inline(always)]
    fn fence() {
        fence(Ordering::SeqCst);
    }

    #[inline(always)]
    unsafe fn write(&self, slot: u32, entry: dmaplane_sqe) {
        // SAFETY: by the caller's promise and the type's invariant.
        unsafe { self.sqes.add(slot as usize).write(entry) };
    }

    #[inline(always)]
    unsafe fn read(&self, slot: u32) -> dmaplane_cqe {
        // SAFETY: by the caller's promise and the type's invariant.
        unsafe { self.cqes.add(slot as usize).read() }
    }

    unsafe fn times(&self, slot: u32) -> Option<dmaplane_times> {
        self.times.map(|times| {
            // SAFETY: by the caller's promise and the type's invariant.
            unsafe { times.add(slot as usize).read() }
        })
    }
}
