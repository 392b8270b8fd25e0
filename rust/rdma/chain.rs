// SPDX-License-Identifier: GPL-2.0

//! Chains of reads, writes and messages: what is posted at once and completes as one.
//!
//! C header: [`include/rdma/ib_verbs.h`](srctree/include/rdma/ib_verbs.h)
//!
//! Ownership: [`Chain`] owns the work requests; the queue copies them when it is posted.
//! Locking: none, `&mut` is enough.
//! Teardown: plain memory. The keys that a chain names may be dead by then.

use super::slot::Slot;
use crate::bindings;
use kernel::{
    alloc::KVVec,
    prelude::*, //
};

const SIGNALED: i32 = bindings::ib_send_flags_IB_SEND_SIGNALED;

/// Most bytes of one request, as InfiniBand has it.
const MAX_BYTES: u64 = 1 << 31;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// From here to the peer.
    Write,
    /// From the peer to here.
    Read,
}

/// Local memory that a work request reads or writes: part of a registered segment.
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

/// What a request says: key and address at the peer, local pieces, the value that it tells.
#[cfg(dmaplane_test)]
pub(super) struct Request<'a> {
    pub(super) verb: Verb,
    pub(super) rkey: u32,
    pub(super) addr: u64,
    pub(super) pieces: &'a [Sge],
    pub(super) imm: Option<u32>,
    /// It is a message, and begins with this; then the first piece is of no meaning.
    pub(super) header: Option<&'a [u8; HEADER_BYTES]>,
}

/// Bytes that a message begins with, before what it gathers.
pub const HEADER_BYTES: usize = 16;

/// What a message begins with: its number, which no other in flight has, and where the piece for it is.
struct Header {
    number: u32,
    piece: usize,
    bytes: [u8; HEADER_BYTES],
}

/// RDMA reads and writes, and messages, that are posted together.
///
/// # Invariants
///
/// - The `num_sge` of all `requests` add up to the length of `pieces`.
/// - No vector grows beyond the capacity it was made with.
pub struct Chain {
    requests: KVVec<bindings::ib_rdma_wr>,
    pieces: KVVec<Sge>,
    headers: KVVec<Header>,
    widest: usize,
    immediates: bool,
}

// SAFETY: the pointers inside are set when the chain is posted and not used later.
unsafe impl Send for Chain {}
// SAFETY: as above.
unsafe impl Sync for Chain {}

impl Chain {
    /// A chain with room for that many requests, and local pieces in all of them together.
    pub fn new(requests: usize, pieces: usize) -> Result<Self> {
        // INVARIANT: all are empty.
        Ok(Self {
            requests: KVVec::with_capacity(requests.max(1), GFP_KERNEL_ACCOUNT)?,
            pieces: KVVec::with_capacity(pieces, GFP_KERNEL_ACCOUNT)?,
            headers: KVVec::with_capacity(requests.max(1), GFP_KERNEL_ACCOUNT)?,
            widest: 0,
            immediates: false,
        })
    }

    /// Empties the chain.
    pub fn clear(&mut self) {
        self.requests.clear();
        self.pieces.clear();
        self.headers.clear();
        self.widest = 0;
        self.immediates = false;
    }

    /// Requests in the chain.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Adds a write of some local memory to a place of the peer's, or a read of that place.
    ///
    /// `ENOSPC` if there is no room, `EINVAL` if that is too much for one request.
    pub fn push(&mut self, verb: Verb, rkey: u32, remote_addr: u64, local: &[Sge]) -> Result {
        let opcode = match verb {
            Verb::Write => bindings::ib_wr_opcode_IB_WR_RDMA_WRITE,
            Verb::Read => bindings::ib_wr_opcode_IB_WR_RDMA_READ,
        };
        self.add(opcode, rkey, remote_addr, local)
    }

    /// Adds a message: a header, and after it local memory that is to be [gathered](Self::gather).
    ///
    /// `number` is less than the [`write_slots`](super::queue::Caps::write_slots) of the
    /// connection, and no other message that is not complete has it. Errors as for [`Self::push`].
    pub fn send(&mut self, number: u32, header: &[u8; HEADER_BYTES]) -> Result {
        if self.headers.len() >= self.headers.capacity() {
            return Err(ENOSPC);
        }
        let piece = self.pieces.len();
        // The address is known when it is posted.
        let sge = Sge::new(0, HEADER_BYTES as u32, 0);
        self.add(bindings::ib_wr_opcode_IB_WR_SEND, 0, 0, &[sge])?;
        let header = Header {
            number,
            piece,
            bytes: *header,
        };
        // INVARIANT: there is room, which was checked above.
        Ok(self.headers.push(header, GFP_KERNEL_ACCOUNT)?)
    }

    /// Has `place` put each header where the device finds it, and say where that is.
    pub(super) fn place_headers(
        &mut self,
        mut place: impl FnMut(u32, &[u8; HEADER_BYTES]) -> Result<bindings::ib_sge>,
    ) -> Result {
        for header in self.headers.iter() {
            if let Some(piece) = self.pieces.get_mut(header.piece) {
                *piece = Sge(place(header.number, &header.bytes)?);
            }
        }
        Ok(())
    }

    fn add(&mut self, opcode: u32, rkey: u32, remote_addr: u64, local: &[Sge]) -> Result {
        let pieces = self.pieces.len().checked_add(local.len()).ok_or(ENOSPC)?;
        if pieces > self.pieces.capacity() || self.requests.len() >= self.requests.capacity() {
            return Err(ENOSPC);
        }
        let bytes = local
            .iter()
            .try_fold(0u64, |sum, piece| sum.checked_add(piece.length().into()));
        if bytes.ok_or(EINVAL)? > MAX_BYTES {
            return Err(EINVAL);
        }
        let request = bindings::ib_rdma_wr {
            wr: bindings::ib_send_wr {
                num_sge: i32::try_from(local.len()).map_err(|_| EINVAL)?,
                opcode,
                ..Default::default()
            },
            remote_addr,
            rkey,
        };
        // INVARIANT: there is room for both, which was checked above.
        self.pieces.extend_from_slice(local, GFP_KERNEL_ACCOUNT)?;
        self.requests.push(request, GFP_KERNEL_ACCOUNT)?;
        self.widest = self.widest.max(local.len());
        Ok(())
    }

    /// Adds a piece of local memory to the last request. Errors as for [`Self::push`].
    pub fn gather(&mut self, piece: Sge) -> Result {
        if self.pieces.len() >= self.pieces.capacity() {
            return Err(ENOSPC);
        }
        let request = self.requests.last_mut().ok_or(EINVAL)?;
        let count = usize::try_from(request.wr.num_sge).map_err(|_| EINVAL)?;
        let begin = self.pieces.len().checked_sub(count).ok_or(EINVAL)?;
        let bytes: u64 = self
            .pieces
            .iter()
            .skip(begin)
            .map(|piece| u64::from(piece.length()))
            .sum();
        if bytes.saturating_add(piece.length().into()) > MAX_BYTES {
            return Err(EINVAL);
        }
        // INVARIANT: there is room, which was checked above, and the request counts the piece.
        self.pieces.push(piece, GFP_KERNEL_ACCOUNT)?;
        let count = count.checked_add(1).ok_or(EINVAL)?;
        request.wr.num_sge = i32::try_from(count).map_err(|_| EINVAL)?;
        self.widest = self.widest.max(count);
        Ok(())
    }

    /// Has the last request, a write, tell the peer a value when it is done, as all before it are by
    /// then.
    pub fn deliver(&mut self, imm: u32) -> Result {
        let wr = &mut self.requests.last_mut().ok_or(EINVAL)?.wr;
        if wr.opcode != bindings::ib_wr_opcode_IB_WR_RDMA_WRITE {
            return Err(EINVAL);
        }
        wr.opcode = bindings::ib_wr_opcode_IB_WR_RDMA_WRITE_WITH_IMM;
        wr.ex.imm_data = imm.to_be();
        self.immediates = true;
        Ok(())
    }

    /// Whether a value is told to the peer.
    pub(super) fn has_immediates(&self) -> bool {
        self.immediates
    }

    /// What each request says.
    #[cfg(dmaplane_test)]
    pub(super) fn requests(&self) -> impl Iterator<Item = Request<'_>> {
        let mut begin = 0usize;
        self.requests.iter().map(move |request| {
            let end = begin.saturating_add(request.wr.num_sge as usize);
            let pieces = self.pieces.get(begin..end).unwrap_or(&[]);
            let header = self.headers.iter().find(|header| header.piece == begin);
            let header = header.filter(|_| request.wr.opcode == bindings::ib_wr_opcode_IB_WR_SEND);
            begin = end;
            let (verb, tells) = match request.wr.opcode {
                bindings::ib_wr_opcode_IB_WR_RDMA_READ => (Verb::Read, false),
                bindings::ib_wr_opcode_IB_WR_RDMA_WRITE_WITH_IMM => (Verb::Write, true),
                _ => (Verb::Write, false),
            };
            // SAFETY: any bits are a number.
            let imm = u32::from_be(unsafe { request.wr.ex.imm_data });
            Request {
                verb,
                rkey: request.rkey,
                addr: request.remote_addr,
                pieces,
                imm: tells.then_some(imm),
                header: header.map(|header| &header.bytes),
            }
        })
    }

    /// Most pieces of one request.
    pub(super) fn widest(&self) -> usize {
        self.widest
    }

    /// Links the chain up to be posted for a slot: its last request is signalled, all others are if
    /// `all`, or complete only if they fail.
    ///
    /// The result is valid until the chain is touched again.
    pub(super) fn link(&mut self, slot: &Slot, all: bool) -> *mut bindings::ib_send_wr {
        let mut next: *mut bindings::ib_send_wr = core::ptr::null_mut();
        let mut end = self.pieces.len();
        let pieces = self.pieces.as_mut_ptr();
        for request in self.requests.iter_mut().rev() {
            let whole = core::ptr::from_mut(request);
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
                wr.send_flags = if all { SIGNALED } else { 0 };
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
        let mut chain = Chain::new(2, 8)?;
        assert!(chain.is_empty());
        chain.push(Verb::Write, 1, 0, &[piece(1)])?;
        chain.push(Verb::Write, 1, 0, &[])?;
        assert_eq!(chain.push(Verb::Write, 1, 0, &[piece(1)]), Err(ENOSPC));
        assert_eq!(chain.len(), 2);
        chain.clear();
        assert!(chain.is_empty());
        chain.push(Verb::Write, 1, 0, &[piece(1)])?;
        assert_eq!(chain.len(), 1);
        Ok(())
    }

    #[test]
    fn room_for_as_many_pieces_as_asked_for() -> Result {
        let mut chain = Chain::new(8, 3)?;
        chain.push(Verb::Write, 1, 0, &[piece(1), piece(1)])?;
        assert_eq!(
            chain.push(Verb::Write, 1, 0, &[piece(1), piece(1)]),
            Err(ENOSPC)
        );
        chain.gather(piece(1))?;
        assert_eq!(chain.gather(piece(1)), Err(ENOSPC));
        assert_eq!(chain.push(Verb::Write, 1, 0, &[piece(1)]), Err(ENOSPC));
        assert_eq!(chain.len(), 1);
        assert_eq!(chain.widest(), 3);
        Ok(())
    }

    #[test]
    fn no_more_than_one_write_can_carry() -> Result {
        let mut chain = Chain::new(8, 8)?;
        assert_eq!(chain.gather(piece(1)), Err(EINVAL));
        assert_eq!(
            chain.push(Verb::Write, 1, 0, &[piece(FULL), piece(1)]),
            Err(EINVAL)
        );
        // Their sum is more than 32 bits.
        assert_eq!(
            chain.push(Verb::Write, 1, 0, &[piece(u32::MAX), piece(1)]),
            Err(EINVAL)
        );
        assert!(chain.is_empty());
        chain.push(Verb::Write, 1, 0, &[piece(FULL - 1)])?;
        assert_eq!(chain.gather(piece(2)), Err(EINVAL));
        assert_eq!(chain.gather(piece(u32::MAX)), Err(EINVAL));
        chain.gather(piece(1))?;
        assert_eq!(chain.gather(piece(1)), Err(EINVAL));
        // What came before is not the next one's.
        chain.push(Verb::Write, 1, 0, &[piece(FULL)])?;
        assert_eq!(chain.len(), 2);
        Ok(())
    }

    #[test]
    fn linked_in_order_with_one_signal_at_the_end() -> Result {
        let slots = Slots::new(1, done, done)?;
        let slot = slots.get(0)?;
        let mut chain = Chain::new(3, 4)?;
        chain.push(Verb::Write, 10, 1000, &[piece(1)])?;
        chain.push(Verb::Write, 11, 1001, &[piece(2), piece(3)])?;
        chain.gather(piece(4))?;
        chain.push(Verb::Write, 12, 1002, &[])?;
        chain.deliver(0x0102_0304)?;
        let lengths = [&[1][..], &[2, 3, 4], &[]];

        let mut right = 0;
        let count = walk(chain.link(slot, false), |i, write, list| {
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
    fn all_signalled_if_they_have_to_be() -> Result {
        let slots = Slots::new(1, done, done)?;
        let slot = slots.get(0)?;
        let mut chain = Chain::new(2, 2)?;
        chain.push(Verb::Write, 1, 0, &[piece(1)])?;
        chain.push(Verb::Write, 1, 1, &[piece(1)])?;
        let mut right = 0;
        walk(chain.link(slot, true), |i, request, _| {
            // SAFETY: the request has a completion entry.
            let cqe = unsafe { request.wr.__bindgen_anon_1.wr_cqe };
            let own = if i == 0 { slot.part() } else { slot.cqe() };
            right += usize::from(request.wr.send_flags == SIGNALED && cqe == own);
        });
        assert_eq!(right, 2);
        Ok(())
    }

    #[test]
    fn reads_tell_nothing() -> Result {
        let slots = Slots::new(1, done, done)?;
        let slot = slots.get(0)?;
        let mut chain = Chain::new(2, 2)?;
        chain.push(Verb::Read, 1, 0, &[piece(1)])?;
        assert_eq!(chain.deliver(1), Err(EINVAL));
        assert!(!chain.has_immediates());
        chain.push(Verb::Write, 2, 0, &[piece(1)])?;
        let mut right = 0;
        walk(chain.link(slot, false), |i, request, _| {
            let opcode = match i {
                0 => bindings::ib_wr_opcode_IB_WR_RDMA_READ,
                _ => bindings::ib_wr_opcode_IB_WR_RDMA_WRITE,
            };
            right += usize::from(request.wr.opcode == opcode);
        });
        assert_eq!(right, 2);
        Ok(())
    }

    #[test]
    fn messages_begin_with_their_headers() -> Result {
        let slots = Slots::new(1, done, done)?;
        let slot = slots.get(0)?;
        let mut chain = Chain::new(3, 4)?;
        chain.push(Verb::Write, 1, 0, &[piece(1)])?;
        chain.send(5, &[5; HEADER_BYTES])?;
        chain.gather(piece(2))?;
        chain.send(6, &[6; HEADER_BYTES])?;
        assert_eq!(chain.deliver(1), Err(EINVAL));
        let mut sum = 0;
        chain.place_headers(|number, bytes| {
            assert!(bytes.iter().all(|byte| u32::from(*byte) == number));
            sum += number;
            Ok(bindings::ib_sge {
                addr: number.into(),
                length: HEADER_BYTES as u32,
                lkey: 8,
            })
        })?;
        assert_eq!(sum, 11);
        assert_eq!(chain.place_headers(|_, _| Err(EIO)), Err(EIO));
        let mut right = 0;
        let count = walk(chain.link(slot, false), |i, request, list| {
            let sends = request.wr.opcode == bindings::ib_wr_opcode_IB_WR_SEND;
            let first = list.first().map(|sge| (sge.0.lkey, sge.0.addr));
            right += usize::from(match i {
                0 => !sends && list.len() == 1,
                1 => sends && list.len() == 2 && first == Some((8, 5)),
                _ => sends && list.len() == 1 && first == Some((8, 6)),
            });
        });
        assert_eq!((count, right), (3, 3));
        chain.clear();
        assert_eq!(chain.place_headers(|_, _| Err(EIO)), Ok(()));
        Ok(())
    }

    #[test]
    fn nothing_is_left_of_the_last_time() -> Result {
        let slots = Slots::new(1, done, done)?;
        let slot = slots.get(0)?;
        let mut chain = Chain::new(2, 2)?;
        assert!(chain.link(slot, false).is_null());
        assert_eq!(chain.deliver(1), Err(EINVAL));
        assert!(!chain.has_immediates());
        chain.push(Verb::Write, 1, 0, &[piece(1)])?;
        chain.deliver(1)?;
        assert_eq!(walk(chain.link(slot, false), |_, _, _| ()), 1);
        // What was the last is now the first; it tells its value, and is not signalled any more.
        chain.push(Verb::Write, 2, 0, &[piece(2)])?;
        let mut right = 0;
        let count = walk(chain.link(slot, false), |i, write, _| {
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
        assert!(chain.link(slot, false).is_null());
        chain.push(Verb::Write, 3, 0, &[])?;
        walk(chain.link(slot, false), |_, write, _| {
            let plain = write.wr.opcode == bindings::ib_wr_opcode_IB_WR_RDMA_WRITE;
            right += usize::from(plain);
        });
        assert_eq!(right, 3);
        Ok(())
    }
}
