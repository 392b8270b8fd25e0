// SPDX-License-Identifier: GPL-2.0

//! What keys mean on the mock fabric: the adapter's tables of memory regions.
//!
//! Ownership: an entry holds the pages of a segment; it is made and forgotten with the segment, so
//! that a key dies when the region does.
//! Locking: the fabric's.

use crate::{
    bindings,
    mm::pages::Pinned,
    rdma::mr::{
        Access,
        SegmentKey, //
    }, //
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};

/// A registered segment.
pub(super) struct Segment {
    /// The protection domain, as a number.
    pub(super) domain: usize,
    pub(super) key: SegmentKey,
    pub(super) access: Access,
    pub(super) pages: Pinned,
    /// The page where it begins.
    pub(super) first: usize,
}

impl Segment {
    /// The offset in the pages of some bytes at an address; [`None`] if they are not inside.
    fn offset(&self, addr: u64, length: u32) -> Option<usize> {
        let offset = addr.checked_sub(self.key.addr())?;
        let end = offset.checked_add(length.into())?;
        if end > u64::from(self.key.length()) {
            return None;
        }
        let first = self.first.checked_mul(PAGE_SIZE)?;
        first.checked_add(usize::try_from(offset).ok()?)
    }

    fn page(&self, offset: usize) -> Option<*mut bindings::page> {
        self.pages.as_ptrs().get(offset / PAGE_SIZE).copied()
    }
}

/// A piece of a read or write: some bytes of a local segment, and a place in a remote one.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub(super) lkey: u32,
    pub(super) local: u64,
    pub(super) rkey: u32,
    pub(super) remote: u64,
    pub(super) length: u32,
}

/// Which side has no right to its memory.
pub(super) enum Refused {
    Local,
    Remote,
}

/// All registered segments.
pub(super) struct Memory(KVec<Segment>);

impl Memory {
    pub(super) const fn new() -> Self {
        Self(KVec::new())
    }

    pub(super) fn add(&mut self, segment: Segment) -> Result {
        Ok(self.0.push(segment, GFP_ATOMIC)?)
    }

    /// What a key may be used for from now on.
    pub(super) fn allow(&mut self, domain: usize, rkey: u32, access: Access) {
        for segment in &mut self.0 {
            if segment.domain == domain && segment.key.rkey() == rkey {
                segment.access = access;
            }
        }
    }

    /// Takes a segment out; the caller drops it where that may sleep.
    pub(super) fn remove(&mut self, domain: usize, rkey: u32) -> Option<Segment> {
        let at = |s: &Segment| s.domain == domain && s.key.rkey() == rkey;
        let index = self.0.iter().position(at)?;
        self.0.remove(index).ok()
    }

    fn find(&self, domain: usize, is: impl Fn(&SegmentKey) -> bool) -> Option<&Segment> {
        self.0.iter().find(|s| s.domain == domain && is(&s.key))
    }

    /// Adds a piece of a message that is sent from a domain.
    pub(super) fn read(
        &self,
        piece: &Piece,
        from: usize,
        to: &mut KVec<u8>,
    ) -> Result<(), Refused> {
        let local = self.find(from, |key| key.lkey() == piece.lkey);
        let local = local.ok_or(Refused::Local)?;
        let here = local.offset(piece.local, piece.length);
        let here = here.ok_or(Refused::Local)?;
        for at in (here..here.saturating_add(piece.length as usize)).step_by(32) {
            let end = here.saturating_add(piece.length as usize);
            let mut bytes = [0u8; 32];
            let length = end.saturating_sub(at).min(bytes.len());
            let bytes = bytes.get_mut(..length).ok_or(Refused::Local)?;
            let read = local.pages.read(at as u64, bytes);
            read.map_err(|_| Refused::Local)?;
            to.extend_from_slice(bytes, GFP_ATOMIC)
                .map_err(|_| Refused::Local)?;
        }
        Ok(())
    }

    /// Writes the bytes of a piece, which were fetched before, in a domain.
    pub(super) fn write(&self, piece: &Piece, bytes: &[u8], to: usize) -> Result<(), Refused> {
        let remote = self.find(to, |key| key.rkey() == piece.rkey);
        let remote = remote.filter(|segment| segment.access.has(Access::REMOTE_WRITE));
        let remote = remote.ok_or(Refused::Remote)?;
        let there = remote.offset(piece.remote, piece.length);
        let there = there.ok_or(Refused::Remote)? as u64;
        let written = remote.pages.write(there, bytes);
        written.map_err(|_| Refused::Remote)
    }

    /// Does what an adapter does for a piece of a write from one domain to another, or of a read.
    pub(super) fn copy(
        &self,
        piece: &Piece,
        from: usize,
        to: usize,
        reads: bool,
    ) -> Result<(), Refused> {
        let (ours, theirs) = match reads {
            true => (Access::LOCAL_WRITE, Access::REMOTE_READ),
            false => (Access::NONE, Access::REMOTE_WRITE),
        };
        let find = |domain, access, is: &dyn Fn(&SegmentKey) -> bool| {
            self.find(domain, is)
                .filter(|segment| segment.access.has(access))
        };
        let local = find(from, ours, &|key| key.lkey() == piece.lkey).ok_or(Refused::Local)?;
        let remote = find(to, theirs, &|key| key.rkey() == piece.rkey).ok_or(Refused::Remote)?;
        let here = local.offset(piece.local, piece.length);
        let here = here.ok_or(Refused::Local)?;
        let there = remote.offset(piece.remote, piece.length);
        let there = there.ok_or(Refused::Remote)?;
        let (source, mut read, target, mut write) = match reads {
            true => (remote, there, local, here),
            false => (local, here, remote, there),
        };

        let mut left = piece.length as usize;
        while left > 0 {
            let room = PAGE_SIZE.saturating_sub((read % PAGE_SIZE).max(write % PAGE_SIZE));
            let length = left.min(room);
            let source = source.page(read).ok_or(Refused::Local)?;
            let target = target.page(write).ok_or(Refused::Remote)?;
            // SAFETY: `Pinned` keeps the pages of both segments, and none of the two ranges
            // crosses the end of its page.
            unsafe {
                bindings::dk_copy_page(target, write % PAGE_SIZE, source, read % PAGE_SIZE, length)
            };
            read = read.saturating_add(length);
            write = write.saturating_add(length);
            left = left.saturating_sub(length);
        }
        Ok(())
    }
}
