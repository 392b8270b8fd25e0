// SPDX-License-Identifier: GPL-2.0

//! The places that work requests in flight occupy, and how a completion finds its own.
//!
//! C header: [`include/rdma/ib_verbs.h`](srctree/include/rdma/ib_verbs.h)
//!
//! Ownership: a queue owns its slots; the hardware holds addresses of their `cqe`s.
//! Locking: none, a slot is taken by a compare-and-exchange.
//! Teardown: with the queue, after it was drained.

use crate::bindings;
use core::mem::size_of;
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::atomic::{
        ordering::{
            Acquire,
            Relaxed,
            Release, //
        },
        Atomic, //
    },
    types::Opaque, //
};

/// What the RDMA core calls for a completed work request.
pub(super) type Done = unsafe extern "C" fn(*mut bindings::ib_cq, *mut bindings::ib_wc);

const SUCCESS: u32 = bindings::ib_wc_status_IB_WC_SUCCESS;
const FLUSH: u32 = bindings::ib_wc_status_IB_WC_WR_FLUSH_ERR;

/// One work request, or one chain of them.
pub(super) struct Slot {
    /// Of the request that completes the slot.
    cqe: Opaque<bindings::ib_cqe>,
    /// Of the requests before it, which complete only if they fail.
    part: Opaque<bindings::ib_cqe>,
    /// Requests in flight; zero if the slot is free.
    requests: Atomic<u32>,
    /// The first status of a part that was not success, and how many parts had one.
    status: Atomic<u32>,
    failed: Atomic<u32>,
}

impl Slot {
    pub(super) fn cqe(&self) -> *mut bindings::ib_cqe {
        self.cqe.get()
    }

    pub(super) fn part(&self) -> *mut bindings::ib_cqe {
        self.part.get()
    }

    /// Takes a free slot for that many requests. `EBUSY` if it is not free.
    pub(super) fn claim(&self, requests: u32) -> Result {
        self.requests
            .cmpxchg(0, requests, Acquire)
            .map_err(|_| EBUSY)?;
        self.status.store(SUCCESS, Relaxed);
        self.failed.store(0, Relaxed);
        Ok(())
    }

    /// Requests in flight.
    #[cfg(dmaplane_test)]
    pub(super) fn requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    /// Frees the slot and returns the requests it was taken for.
    pub(super) fn free(&self) -> u32 {
        let requests = self.requests.load(Relaxed);
        self.requests.store(0, Release);
        requests
    }

    /// Notes how a part of the chain ended: the first error stands, but one that is the
    /// consequence of another does not hide it.
    pub(super) fn note(&self, status: u32) {
        let failed = self.failed.load(Relaxed);
        self.failed.store(failed.saturating_add(1), Relaxed);
        let old = self.status.load(Relaxed);
        if old == SUCCESS || old == FLUSH {
            self.status.store(status, Relaxed);
        }
    }

    /// How many requests of the chain succeeded, given how the last one ended. As they are done in
    /// their order, these are the first.
    pub(super) fn good(&self, last: u32) -> u32 {
        let failed = self.failed.load(Relaxed);
        let failed = failed.saturating_add(u32::from(last != SUCCESS));
        self.requests.load(Relaxed).saturating_sub(failed)
    }

    /// How the whole chain ended, given how its last request did.
    pub(super) fn outcome(&self, last: u32) -> u32 {
        match self.status.load(Relaxed) {
            SUCCESS => last,
            FLUSH if last != SUCCESS => last,
            status => status,
        }
    }
}

/// Slots of one kind. They never move.
pub(super) struct Slots {
    list: KVVec<Slot>,
}

impl Slots {
    pub(super) fn new(count: u32, done: Done, part: Done) -> Result<Self> {
        let count = count as usize;
        let mut list = KVVec::with_capacity(count, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..count {
            list.push(
                Slot {
                    cqe: Opaque::new(bindings::ib_cqe { done: Some(done) }),
                    part: Opaque::new(bindings::ib_cqe { done: Some(part) }),
                    requests: Atomic::new(0),
                    status: Atomic::new(SUCCESS),
                    failed: Atomic::new(0),
                },
                GFP_KERNEL_ACCOUNT,
            )?;
        }
        Ok(Self { list })
    }

    /// `EINVAL` if there is no such slot.
    pub(super) fn get(&self, index: u32) -> Result<&Slot> {
        self.list.get(index as usize).ok_or(EINVAL)
    }

    /// The slot whose `cqe` or `part` that is, and its number.
    pub(super) fn find(&self, cqe: *mut bindings::ib_cqe) -> Option<(u32, &Slot)> {
        let distance = cqe.addr().checked_sub(self.list.as_ptr().addr())?;
        let index = distance.checked_div(size_of::<Slot>())?;
        let slot = self.list.get(index)?;
        Some((u32::try_from(index).ok()?, slot))
    }
}

#[cfg(dmaplane_test)]
#[kunit_tests(dmakit_slot)]
mod tests {
    use super::*;

    const PROTECTION: u32 = bindings::ib_wc_status_IB_WC_LOC_PROT_ERR;
    const ACCESS: u32 = bindings::ib_wc_status_IB_WC_REM_ACCESS_ERR;

    extern "C" fn done(_: *mut bindings::ib_cq, _: *mut bindings::ib_wc) {}
    extern "C" fn part(_: *mut bindings::ib_cq, _: *mut bindings::ib_wc) {}

    fn slots(count: u32) -> Result<Slots> {
        Slots::new(count, done, part)
    }

    #[test]
    fn one_user_at_a_time() -> Result {
        let slots = slots(2)?;
        let slot = slots.get(0)?;
        slot.claim(3)?;
        assert_eq!(slot.claim(1), Err(EBUSY));
        // The other one is another's.
        slots.get(1)?.claim(9)?;
        assert_eq!(slot.free(), 3);
        assert_eq!(slot.free(), 0);
        slot.claim(5)?;
        assert_eq!(slot.free(), 5);
        assert_eq!(slots.get(1)?.free(), 9);
        Ok(())
    }

    #[test]
    fn as_many_as_asked_for() -> Result {
        let slots = slots(3)?;
        assert!(slots.get(2).is_ok());
        assert_eq!(slots.get(3).err(), Some(EINVAL));
        assert_eq!(slots.get(u32::MAX).err(), Some(EINVAL));
        assert_eq!(super::Slots::new(0, done, part)?.get(0).err(), Some(EINVAL));
        Ok(())
    }

    #[test]
    fn found_by_both_addresses() -> Result {
        let slots = slots(3)?;
        for index in 0..3 {
            let slot = slots.get(index)?;
            for cqe in [slot.cqe(), slot.part()] {
                let found = slots.find(cqe);
                assert!(
                    found.is_some_and(|(number, it)| number == index && core::ptr::eq(it, slot))
                );
            }
        }
        Ok(())
    }

    #[test]
    fn addresses_of_others_are_not_found() -> Result {
        let (slots, first) = (slots(3)?, slots(1)?);
        let first = first.get(0)?;
        assert!(slots.find(first.cqe()).is_none());
        assert!(slots.find(core::ptr::null_mut()).is_none());
        let begin = slots.get(0)?.cqe();
        assert!(slots.find(begin.wrapping_byte_sub(1)).is_none());
        assert!(slots
            .find(begin.wrapping_byte_add(3 * size_of::<Slot>()))
            .is_none());
        Ok(())
    }

    #[test]
    fn a_cause_is_not_hidden_by_its_consequences() -> Result {
        let slots = slots(1)?;
        let slot = slots.get(0)?;
        // What the parts said, what the last request said, how the chain ended, and how many of
        // its four requests succeeded.
        for (parts, last, outcome, good) in [
            (&[][..], SUCCESS, SUCCESS, 4),
            (&[], ACCESS, ACCESS, 3),
            (&[], FLUSH, FLUSH, 3),
            (&[FLUSH], SUCCESS, FLUSH, 3),
            (&[FLUSH], ACCESS, ACCESS, 2),
            (&[FLUSH, PROTECTION], FLUSH, PROTECTION, 1),
            (&[PROTECTION, FLUSH], FLUSH, PROTECTION, 1),
            (&[PROTECTION, ACCESS], ACCESS, PROTECTION, 1),
            (&[PROTECTION], SUCCESS, PROTECTION, 3),
            (&[PROTECTION, FLUSH, FLUSH], FLUSH, PROTECTION, 0),
        ] {
            slot.claim(4)?;
            for status in parts {
                slot.note(*status);
            }
            assert_eq!(slot.outcome(last), outcome);
            assert_eq!(slot.good(last), good);
            slot.free();
        }
        Ok(())
    }
}
