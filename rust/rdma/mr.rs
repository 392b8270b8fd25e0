// SPDX-License-Identifier: GPL-2.0

//! Memory that a device and its peers can reach: fast registration, in segments.
//!
//! C header: [`include/rdma/ib_verbs.h`](srctree/include/rdma/ib_verbs.h)
//!
//! Ownership: [`Region`] owns memory regions and mapping, and holds the pages, which stay where
//! they are, and the device. A registration in flight holds the region.
//! Locking: none, a segment's state is atomic.
//! Teardown: the keys die first, then the mapping, then the pages may go.

use super::{
    chain::Sge,
    device::Domain, //
};
use crate::{
    bindings,
    mm::pages::{
        Pages,
        Pinned, //
    }, //
};
use core::{
    mem::ManuallyDrop,
    ops::BitOr, //
};
use kernel::{
    alloc::KVVec,
    error::{
        from_err_ptr,
        to_result, //
    },
    page::{
        PAGE_MASK,
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::{
        atomic::{
            ordering::{
                Acquire,
                Release, //
            },
            Atomic, //
        },
        Arc, //
    }, //
};

/// What a registered segment may be used for, beside being read locally.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Access(u32);

impl Access {
    /// Nothing more.
    pub const NONE: Self = Self(0);
    /// Be written locally.
    pub const LOCAL_WRITE: Self = Self(bindings::ib_access_flags_IB_ACCESS_LOCAL_WRITE);
    /// Be written by the peer, which implies locally.
    pub const REMOTE_WRITE: Self =
        Self(bindings::ib_access_flags_IB_ACCESS_REMOTE_WRITE | Self::LOCAL_WRITE.0);
    /// Be read by the peer.
    pub const REMOTE_READ: Self = Self(bindings::ib_access_flags_IB_ACCESS_REMOTE_READ);

    pub(super) fn bits(self) -> i32 {
        self.0 as i32
    }

    /// Whether all of `other` is allowed.
    #[cfg(dmaplane_test)]
    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Access {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// How a segment is named in work requests: keys, first address and length.
///
/// The address says nothing about where the memory is: it is the segment's number.
#[derive(Clone, Copy)]
pub struct SegmentKey {
    lkey: u32,
    rkey: u32,
    addr: u64,
    length: u32,
}

impl SegmentKey {
    /// The key for the peer.
    pub fn rkey(&self) -> u32 {
        self.rkey
    }

    /// The address of the first byte, for the peer and for [`Self::sge`].
    pub fn addr(&self) -> u64 {
        self.addr
    }

    /// Bytes in the segment.
    pub fn length(&self) -> u32 {
        self.length
    }

    /// Names a part of the segment in a local work request. [`None`] if it is not inside.
    pub fn sge(&self, offset: u32, length: u32) -> Option<Sge> {
        if offset.checked_add(length)? > self.length {
            return None;
        }
        let addr = self.addr.checked_add(offset.into())?;
        Some(Sge::new(addr, length, self.lkey))
    }
}

// States of a segment.
const IDLE: u32 = 0;
const POSTED: u32 = 1;
const REGISTERED: u32 = 2;

/// Pages mapped for a device.
///
/// # Invariants
///
/// `table` is mapped for the device of `domain`.
struct Mapping {
    table: bindings::sg_table,
    domain: Arc<Domain>,
    // Note: the pages are let go of after `drop` unmapped them.
    _pages: Pinned,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by the invariant.
        unsafe { bindings::dk_sg_unmap(self.domain.raw(), &mut self.table) };
    }
}

/// One key's part of a region. Each has a list of its own, so that a key ends where a list does:
/// devices differ in how they stop in the middle of an element.
///
/// # Invariants
///
/// `mr` is a memory region of ours, mapped to `mapping`. `mapping` is dropped after `mr` is gone.
struct Segment {
    mr: *mut bindings::ib_mr,
    key: SegmentKey,
    state: Atomic<u32>,
    mapping: ManuallyDrop<Mapping>,
}

impl Segment {
    /// Maps `length` bytes of `pages` from page `first` on, and makes a key that answers to
    /// `iova`.
    fn new(
        domain: &Arc<Domain>,
        pages: &Pinned,
        first: usize,
        length: u64,
        iova: u64,
    ) -> Result<Self> {
        let count = usize::try_from(length.div_ceil(PAGE_SIZE as u64))?;
        let last = first.checked_add(count).ok_or(EINVAL)?;
        let list = pages.as_ptrs().get(first..last).ok_or(EINVAL)?;
        let count = u32::try_from(list.len())?;
        let mut table = bindings::sg_table::default();
        // SAFETY: the device is there, and `pages` holds what is listed; C does not write to
        // the list.
        to_result(unsafe {
            bindings::dk_sg_map_pages(
                domain.raw(),
                &mut table,
                list.as_ptr().cast_mut(),
                count,
                usize::try_from(length)?,
            )
        })?;
        // INVARIANT: mapped above.
        let mapping = Mapping {
            table,
            domain: domain.clone(),
            _pages: pages.clone(),
        };
        let mem_reg = bindings::ib_mr_type_IB_MR_TYPE_MEM_REG;
        // SAFETY: the domain is there while the device is.
        let mr = from_err_ptr(unsafe { bindings::ib_alloc_mr(domain.pd(), mem_reg, count) })?;
        let mut key = bindings::dk_mr_key::default();
        let nents = mapping.table.nents as i32;
        // SAFETY: `mr` was just made, the list has `nents` mapped elements.
        let used = unsafe { bindings::dk_ib_map_mr(mr, mapping.table.sgl, nents, iova, &mut key) };
        if used != nents || key.length != length {
            // SAFETY: ours, and nobody has seen it.
            unsafe { bindings::dk_ib_dereg_mr(mr) };
            to_result(used)?;
            return Err(EIO);
        }
        // INVARIANT: just made and mapped.
        let segment = Self {
            mr,
            key: SegmentKey {
                lkey: key.lkey,
                rkey: key.rkey,
                addr: key.addr,
                length: u32::try_from(key.length)?,
            },
            state: Atomic::new(IDLE),
            mapping: ManuallyDrop::new(mapping),
        };
        #[cfg(dmaplane_test)]
        super::mock::learn(domain, segment.key, pages, first)?;
        Ok(segment)
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        #[cfg(dmaplane_test)]
        super::mock::forget(&self.mapping.domain, &self.key);
        // SAFETY: ours by the invariant; no registration is in flight, it would hold the region.
        if unsafe { bindings::dk_ib_dereg_mr(self.mr) } != 0 {
            // The device may still write there. Losing the memory, and the device for ever, is
            // the lesser evil.
            pr_err!("a memory region could not be deregistered, its pages are lost\n");
            return;
        }
        // SAFETY: dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.mapping) };
    }
}

/// A part of some pages that is mapped for a device and can be registered.
pub struct Region {
    // Note: the drop order is relevant: the segments before the domain.
    segments: KVVec<Segment>,
    domain: Arc<Domain>,
    length: u64,
    segment_bytes: u64,
}

// SAFETY: the C objects are not bound to a task.
unsafe impl Send for Region {}
// SAFETY: everything but the atomic states is immutable.
unsafe impl Sync for Region {}

impl Region {
    /// Maps `length` bytes from `offset` on, which is a multiple of the page size.
    ///
    /// Each segment is to be registered with [`Transport::post_reg`] before its key is used.
    ///
    /// [`Transport::post_reg`]: super::transport::Transport::post_reg
    pub fn new(
        domain: &Arc<Domain>,
        pages: Arc<Pages>,
        offset: u64,
        length: u64,
    ) -> Result<Arc<Self>> {
        let end = offset.checked_add(length).ok_or(EINVAL)?;
        if length == 0 || offset & !(PAGE_MASK as u64) != 0 || end > pages.len() {
            return Err(EINVAL);
        }
        let pages = Pages::pin(&pages);
        let device = domain.device();
        let segment_bytes = u64::from(device.max_segment_pages()) * PAGE_SIZE as u64;

        let mut segments = KVVec::new();
        let mut done = 0;
        while done < length {
            let first = usize::try_from((offset + done) >> PAGE_SHIFT)?;
            let bytes = segment_bytes.min(length - done);
            let iova = (segments.len() as u64 + 1) << 32;
            let segment = Segment::new(domain, &pages, first, bytes, iova)?;
            segments.push(segment, GFP_KERNEL_ACCOUNT)?;
            done += bytes;
        }
        let region = Self {
            segments,
            domain: domain.clone(),
            length,
            segment_bytes,
        };
        Ok(Arc::new(region, GFP_KERNEL_ACCOUNT)?)
    }

    /// The domain that the keys are of.
    pub fn domain(&self) -> &Arc<Domain> {
        &self.domain
    }

    /// Bytes in all segments.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes in every segment but the last, which may be shorter.
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Number of segments.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// How a segment is named. The key works once the segment is registered.
    pub fn key(&self, segment: usize) -> Option<SegmentKey> {
        Some(self.segments.get(segment)?.key)
    }

    /// Whether a segment's registration completed with success.
    pub fn is_registered(&self, segment: usize) -> bool {
        self.segments
            .get(segment)
            .is_some_and(|s| s.state.load(Acquire) == REGISTERED)
    }

    /// Begins the registration of a segment; `EBUSY` if it is registered or being so.
    pub(super) fn begin(&self, segment: usize) -> Result<(*mut bindings::ib_mr, SegmentKey)> {
        let segment = self.segments.get(segment).ok_or(EINVAL)?;
        segment
            .state
            .cmpxchg(IDLE, POSTED, Acquire)
            .map_err(|_| EBUSY)?;
        Ok((segment.mr, segment.key))
    }

    /// The registration that was begun ended, or was not posted.
    pub(super) fn finish(&self, segment: usize, success: bool) {
        if let Some(segment) = self.segments.get(segment) {
            let state = if success { REGISTERED } else { IDLE };
            segment.state.store(state, Release);
        }
    }
}

impl SegmentKey {
    /// The key that a registration sets.
    pub(super) fn key(&self) -> u32 {
        self.rkey
    }

    /// The key in local work requests.
    #[cfg(dmaplane_test)]
    pub(super) fn lkey(&self) -> u32 {
        self.lkey
    }
}
