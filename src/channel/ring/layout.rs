// SPDX-License-Identifier: GPL-2.0

//! Where things are in the memory of a channel.
//!
//! Ownership, locking, teardown: none.

use core::mem::size_of;
use dmakit::uapi;
use kernel::page::PAGE_SIZE;

/// Where things are in the mapping.
#[derive(Clone, Copy)]
pub(in crate::channel) struct Layout {
    pub(super) sq_entries: u32,
    pub(super) cq_entries: u32,
    /// Offset of the submission entries.
    pub(in crate::channel) sqes: u32,
    /// Offset of the completion entries.
    pub(in crate::channel) cqes: u32,
    /// Offset of the times of these, or 0 if there are no such.
    pub(in crate::channel) times: u32,
    /// Length in whole pages.
    pub(in crate::channel) length: u32,
}

impl Layout {
    /// For ring sizes within the limits, which keep all of this far from overflow.
    pub(in crate::channel) fn new(sq_entries: u32, cq_entries: u32, times: bool) -> Self {
        let sqes = size_of::<uapi::dmaplane_ring>() as u32;
        let cqes =
            sqes.saturating_add(sq_entries.saturating_mul(size_of::<uapi::dmaplane_sqe>() as u32));
        let end =
            cqes.saturating_add(cq_entries.saturating_mul(size_of::<uapi::dmaplane_cqe>() as u32));
        let all = cq_entries.saturating_mul(size_of::<uapi::dmaplane_times>() as u32);
        let (times, end) = match times {
            true => (end, end.saturating_add(all)),
            false => (0, end),
        };
        Self {
            sq_entries,
            cq_entries,
            sqes,
            cqes,
            times,
            length: end.next_multiple_of(PAGE_SIZE as u32),
        }
    }
}
