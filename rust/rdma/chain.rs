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

    /// The key and the first address.
    #[cfg(dmaplane_test)]
    pub(super) fn place(&self) -> (u32, u64) {
        (self.0.lkey, self.0.addr)
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
    immediates: bool,
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
            immediates: false,
        })
    }

    /// Empties the chain.
    pub fn clear(&mut self) {
        self.writes.clear();
        self.pieces.clear();
        self.widest = 0;
        self.immediates = false;
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
                opcode: bindings::ib_wr_opcode_IB_WR_RDMA_WRITE,
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

    /// Has the last write tell the peer a value when it is done, as all before it are by then.
    pub fn deliver(&mut self, imm: u32) -> Result {
        let wr = &mut self.writes.last_mut().ok_or(EINVAL)?.wr;
        wr.opcode = bindings::ib_wr_opcode_IB_WR_RDMA_WRITE_WITH_IMM;
        wr.ex.imm_data = imm.to_be();
        self.immediates = true;
        Ok(())
    }

    /// Whether a value is told to the peer.
    pub(super) fn has_immediates(&self) -> bool {
        self.immediates
    }

    /// Each write's key and address at the peer, its local pieces, and the value that it tells.
    #[cfg(dmaplane_test)]
    pub(super) fn writes(&self) -> impl Iterator<Item = (u32, u64, &[Sge], Option<u32>)> {
        let mut begin = 0usize;
        self.writes.iter().map(move |write| {
            let end = begin.saturating_add(write.wr.num_sge as usize);
            let pieces = self.pieces.get(begin..end).unwrap_or(&[]);
            begin = end;
            let tells = write.wr.opcode == bindings::ib_wr_opcode_IB_WR_RDMA_WRITE_WITH_IMM;
            // SAFETY: any bits are a number.
            let imm = u32::from_be(unsafe { write.wr.ex.imm_data });
            (write.rkey, write.remote_addr, pieces, tells.then_some(imm))
        })
    }

    /// Most pieces of one write.
    pub(super) fn widest(&self) -> usize {
        self.widest
    }

    /// Links the chain up to be posted for a slot: its last write is signalled, all others complete
    /// only if they fail.
    ///
    /// The result is valid until the chain is touched again.
    pub(super) fn link(&mut self, slot: &Slot) -> *mut bindings::ib_send_wr {
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
            if next.is_null() {
                wr.__bindgen_anon_1.wr_cqe = slot.cqe();
                wr.send_flags = SIGNALED;
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

#[cfg(dmaplane_test)]
#[kunit_tests(dmakit_chain)]
mod tests {
    use super::{
        super::slot::Slots,
        *, //
    };

    const FULL: u32 = 1 << 31;

    extern "C" fn done(_: *mut bindings::ib_cq, _: *mut bindings::ib_wc) {}

    fn piece(length: u32) -> Sge {
        Sge::new(0x1000, length, 7)
    }

    /// The requests of a chain in order, and the addresses that each reads.
    fn walk(
        mut wr: *mut bindings::ib_send_wr,
        mut each: impl FnMut(usize, &bindings::ib_rdma_wr, &[Sge]),
    ) -> usize {
        let mut count = 0;
        while !wr.is_null() {
            // SAFETY: linked up, so it begins an `ib_rdma_wr` of the chain, which is not touched.
            let write = unsafe { &*wr.cast::<bindings::ib_rdma_wr>() };
            // SAFETY: as above; the list has `num_sge` elements.
            let list = unsafe {
                core::slice::from_raw_parts(
                    write.wr.sg_list.cast::<Sge>(),
                    write.wr.num_sge as usize,
                )
            };
            each(count, write, list);
            wr = write.wr.next;
            count += 1;
        }
        count
    }

    #[test]
    fn room_for_as_many_writes_as_asked_for() -> Result {
        let mut chain = WriteChain::new(2, 8)?;
        assert!(chain.is_empty());
        chain.push(1, 0, &[piece(1)])?;
        chain.push(1, 0, &[])?;
        assert_eq!(chain.push(1, 0, &[piece(1)]), Err(ENOSPC));
        assert_eq!(chain.len(), 2);
        chain.clear();
        assert!(chain.is_empty());
        chain.push(1, 0, &[piece(1)])?;
        assert_eq!(chain.len(), 1);
        Ok(())
    }

    #[test]
    fn room_for_as_many_pieces_as_asked_for() -> Result {
        let mut chain = WriteChain::new(8, 3)?;
        chain.push(1, 0, &[piece(1), piece(1)])?;
        assert_eq!(chain.push(1, 0, &[piece(1), piece(1)]), Err(ENOSPC));
        chain.gather(piece(1))?;
        assert_eq!(chain.gather(piece(1)), Err(ENOSPC));
        assert_eq!(chain.push(1, 0, &[piece(1)]), Err(ENOSPC));
        assert_eq!(chain.len(), 1);
        assert_eq!(chain.widest(), 3);
        Ok(())
    }

    #[test]
    fn no_more_than_one_write_can_carry() -> Result {
        let mut chain = WriteChain::new(8, 8)?;
        assert_eq!(chain.gather(piece(1)), Err(EINVAL));
        assert_eq!(chain.push(1, 0, &[piece(FULL), piece(1)]), Err(EINVAL));
        // Their sum is more than 32 bits.
        assert_eq!(chain.push(1, 0, &[piece(u32::MAX), piece(1)]), Err(EINVAL));
        assert!(chain.is_empty());
        chain.push(1, 0, &[piece(FULL - 1)])?;
        assert_eq!(chain.gather(piece(2)), Err(EINVAL));
        assert_eq!(chain.gather(piece(u32::MAX)), Err(EINVAL));
        chain.gather(piece(1))?;
        assert_eq!(chain.gather(piece(1)), Err(EINVAL));
        // What came before is not the next one's.
        chain.push(1, 0, &[piece(FULL)])?;
        assert_eq!(chain.len(), 2);
        Ok(())
    }

    #[test]
    fn linked_in_order_with_one_signal_at_the_end() -> Result {
        let slots = Slots::new(1, done, done)?;
        let slot = slots.get(0)?;
        let mut chain = WriteChain::new(3, 4)?;
        chain.push(10, 1000, &[piece(1)])?;
        chain.push(11, 1001, &[piece(2), piece(3)])?;
        chain.gather(piece(4))?;
        chain.push(12, 1002, &[])?;
        chain.deliver(0x0102_0304)?;
        let lengths = [&[1][..], &[2, 3, 4], &[]];

        let mut right = 0;
        let count = walk(chain.link(slot), |i, write, list| {
            let last = i == 2;
            // SAFETY: the request has a completion entry.
            let cqe = unsafe { write.wr.__bindgen_anon_1.wr_cqe };
            // SAFETY: any bytes are a number.
            let imm = unsafe { write.wr.ex.imm_data };
            let ends_right = if last {
                cqe == slot.cqe()
                    && write.wr.send_flags == SIGNALED
                    && write.wr.opcode == bindings::ib_wr_opcode_IB_WR_RDMA_WRITE_WITH_IMM
                    && imm.to_ne_bytes() == [1, 2, 3, 4]
            } else {
                cqe == slot.part()
                    && write.wr.send_flags == 0
                    && write.wr.opcode == bindings::ib_wr_opcode_IB_WR_RDMA_WRITE
            };
            let named = (write.rkey, write.remote_addr) == (10 + i as u32, 1000 + i as u64);
            let read = list.iter().map(Sge::length).eq(lengths[i].iter().copied());
            right += usize::from(ends_right && named && read);
        });
        assert_eq!(count, 3);
        assert_eq!(right, 3);
        Ok(())
    }

    #[test]
    fn nothing_is_left_of_the_last_time() -> Result {
        let slots = Slots::new(1, done, done)?;
        let slot = slots.get(0)?;
        let mut chain = WriteChain::new(2, 2)?;
        assert!(chain.link(slot).is_null());
        assert_eq!(chain.deliver(1), Err(EINVAL));
        assert!(!chain.has_immediates());
        chain.push(1, 0, &[piece(1)])?;
        chain.deliver(1)?;
        assert_eq!(walk(chain.link(slot), |_, _, _| ()), 1);
        // What was the last is now the first; it tells its value, and is not signalled any more.
        chain.push(2, 0, &[piece(2)])?;
        let mut right = 0;
        let count = walk(chain.link(slot), |i, write, _| {
            let signaled = write.wr.send_flags == SIGNALED;
            let plain = write.wr.opcode == bindings::ib_wr_opcode_IB_WR_RDMA_WRITE;
            right += usize::from(plain == (i == 1) && signaled == (i == 1));
        });
        assert_eq!(count, 2);
        assert_eq!(right, 2);
        assert!(chain.has_immediates());
        chain.clear();
        assert_eq!(chain.widest(), 0);
        assert!(!chain.has_immediates());
        assert!(chain.link(slot).is_null());
        chain.push(3, 0, &[])?;
        walk(chain.link(slot), |_, write, _| {
            let plain = write.wr.opcode == bindings::ib_wr_opcode_IB_WR_RDMA_WRITE;
            right += usize::from(plain);
        });
        assert_eq!(right, 3);
        Ok(())
    }
}
