// SPDX-License-Identifier: GPL-2.0

//! Chains of RDMA writes: what is posted at once and completes as one.
//!
//! C header: [`include/rdma/ib_verbs.h`](srctree/include/rdma/ib_verbs.h)
//!
//! Ownership: [`WriteChain`] owns the work requests; the queue copies them when it is posted.
//! Locking: none, `&mut` is enough.
//! Teardown: plain memory. The keys that a chain names may be dead by then.

use super::slot::Slot;
use crate::bindings;
use kernel::{
    alloc::KVVec,
    prelude::*, //
};

const SIGNALED: i32 = bindings::ib_send_flags_IB_SEND_SIGNALED;

/// Most bytes of one write, as InfiniBand has it.
const MAX_WRITE: u64 = 1 << 31;

/// Local memory that a work request reads: part of a registered segment.
///
/// Only [`SegmentKey::sge`](super::mr::SegmentKey::sge) makes one, so it names memory that was
/// registered for the purpose; if that is gone, the key is dead and the request fails.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Sge(bindings::ib_sge);

impl Sge {
    pub(super) fn new(addr: u64, length: u32, lkey: u32) -> Self {
        Self(bindings::ib_sge { addr, length, lkey })
    }

    /// Bytes named.
    pub fn length(&self) -> u32 {
        self.0.length
    }
}

/// RDMA writes that are posted together.
///
/// # Invariants
///
/// - The `num_sge` of all `writes` add up to the length of `pieces`.
/// - Neither vector grows beyond the capacity it was made with.
pub struct WriteChain {
    writes: KVVec<bindings::ib_rdma_wr>,
    pieces: KVVec<Sge>,
    widest: usize,
}

// SAFETY: the pointers inside are set when the chain is posted and not used later.
unsafe impl Send for WriteChain {}
// SAFETY: as above.
unsafe impl Sync for WriteChain {}

impl WriteChain {
    /// A chain with room for that many writes, and local pieces in all of them together.
    pub fn new(writes: usize, pieces: usize) -> Result<Self> {
        // INVARIANT: both vectors are empty.
        Ok(Self {
            writes: KVVec::with_capacity(writes.max(1), GFP_KERNEL_ACCOUNT)?,
            pieces: KVVec::with_capacity(pieces, GFP_KERNEL_ACCOUNT)?,
            widest: 0,
        })
    }

    /// Empties the chain.
    pub fn clear(&mut self) {
        self.writes.clear();
        self.pieces.clear();
        self.widest = 0;
    }

    /// Writes in the chain.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Adds a write of some local memory to a place of the peer's.
    ///
    /// `ENOSPC` if there is no room, `EINVAL` if that is too much for one write.
    pub fn push(&mut self, rkey: u32, remote_addr: u64, local: &[Sge]) -> Result {
        let pieces = self.pieces.len().checked_add(local.len()).ok_or(ENOSPC)?;
        if pieces > self.pieces.capacity() || self.writes.len() >= self.writes.capacity() {
            return Err(ENOSPC);
        }
        let bytes = local
            .iter()
            .try_fold(0u64, |sum, piece| sum.checked_add(piece.length().into()));
        if bytes.ok_or(EINVAL)? > MAX_WRITE {
            return Err(EINVAL);
        }
        let write = bindings::ib_rdma_wr {
            wr: bindings::ib_send_wr {
                num_sge: i32::try_from(local.len()).map_err(|_| EINVAL)?,
                ..Default::default()
            },
            remote_addr,
            rkey,
        };
        // INVARIANT: there is room for both, which was checked above.
        self.pieces.extend_from_slice(local, GFP_KERNEL_ACCOUNT)?;
        self.writes.push(write, GFP_KERNEL_ACCOUNT)?;
        self.widest = self.widest.max(local.len());
        Ok(())
    }

    /// Adds a piece of local memory to the last write. Errors as for [`Self::push`].
    pub fn gather(&mut self, piece: Sge) -> Result {
        if self.pieces.len() >= self.pieces.capacity() {
            return Err(ENOSPC);
        }
        let write = self.writes.last_mut().ok_or(EINVAL)?;
        let count = usize::try_from(write.wr.num_sge).map_err(|_| EINVAL)?;
        let begin = self.pieces.len().checked_sub(count).ok_or(EINVAL)?;
        let bytes: u64 = self
            .pieces
            .iter()
            .skip(begin)
            .map(|piece| u64::from(piece.length()))
            .sum();
        if bytes.saturating_add(piece.length().into()) > MAX_WRITE {
            return Err(EINVAL);
        }
        // INVARIANT: there is room, which was checked above, and the write counts the piece.
        self.pieces.push(piece, GFP_KERNEL_ACCOUNT)?;
        let count = count.checked_add(1).ok_or(EINVAL)?;
        write.wr.num_sge = i32::try_from(count).map_err(|_| EINVAL)?;
        self.widest = self.widest.max(count);
        Ok(())
    }

    /// Most pieces of one write.
    pub(super) fn widest(&self) -> usize {
        self.widest
    }

    /// Links the chain up to be posted for a slot: its last write is signalled and may carry an
    /// immediate value, all others complete only if they fail.
    ///
    /// The result is valid until the chain is touched again.
    pub(super) fn link(&mut self, slot: &Slot, imm: Option<u32>) -> *mut bindings::ib_send_wr {
        let mut next: *mut bindings::ib_send_wr = core::ptr::null_mut();
        let mut end = self.pieces.len();
        let pieces = self.pieces.as_mut_ptr();
        for write in self.writes.iter_mut().rev() {
            let whole = core::ptr::from_mut(write);
            // SAFETY: C finds the whole request from this member, so its pointer is of the whole.
            let wr = unsafe { &mut (*whole).wr };
            end = end.saturating_sub(wr.num_sge as usize);
            // SAFETY: by the invariant `end` is within the pieces.
            wr.sg_list = unsafe { pieces.add(end) }.cast();
            wr.opcode = bindings::ib_wr_opcode_IB_WR_RDMA_WRITE;
            if next.is_null() {
                wr.__bindgen_anon_1.wr_cqe = slot.cqe();
                wr.send_flags = SIGNALED;
                if let Some(imm) = imm {
                    wr.opcode = bindings::ib_wr_opcode_IB_WR_RDMA_WRITE_WITH_IMM;
                    wr.ex.imm_data = imm.to_be();
                }
            } else {
                wr.__bindgen_anon_1.wr_cqe = slot.part();
                wr.send_flags = 0;
            }
            wr.next = next;
            next = whole.cast();
        }
        next
    }
}
