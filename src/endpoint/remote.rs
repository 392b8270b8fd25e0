// SPDX-License-Identifier: GPL-2.0

//! What an entry moves between memory here and the peer's, or sends: checked, and made into work
//! requests.
//!
//! An entry is one range or a list of them, and takes as few work requests as the device allows: one
//! for each place at the peer where the bytes go on elsewhere or a segment of the lease ends, or when
//! the pieces here are as many as a request can have. It is built in parts if there are more than
//! fit the send queue.
//!
//! Ownership: a [`Remote`] holds its region; a list is charged to who submitted it.
//! Locking: none of its own; checked and built under the endpoint's lock.
//! Teardown: none.

use super::{
    lease::{
        PeerLease,
        PeerLeases, //
    },
    Inner, //
};
use crate::{
    fabric::Fabric,
    pure::{
        carve::{
            self,
            Part, //
        },
        wire::Data, //
    },
    region::{
        check_range,
        RegionUse, //
    }, //
};
use dmakit::{
    errno::{
        EKEYREVOKED,
        EMSGSIZE,
        ENOKEY,
        EOPNOTSUPP, //
    },
    mm::pages::Charge,
    rdma::chain::{
        Chain,
        Verb, //
    },
    uapi, //
};
use kernel::{
    alloc::KVVec,
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc, //
};

/// Ranges of the region, and where they are in the lease, in the order in which they are moved.
pub(crate) enum Parts {
    One(Part),
    Many { list: KVVec<Part>, _charge: Charge },
}

impl Parts {
    /// For a list of so many. `EDQUOT` if the caller may not have the memory.
    pub(crate) fn with_capacity(count: usize) -> Result<Self> {
        let bytes = count.saturating_mul(size_of::<Part>());
        Ok(Self::Many {
            _charge: Charge::new(bytes.div_ceil(PAGE_SIZE))?,
            list: KVVec::with_capacity(count, GFP_KERNEL_ACCOUNT)?,
        })
    }

    /// Adds one, as part of the last one if it goes on there.
    pub(crate) fn push(&mut self, part: Part) -> Result {
        let Self::Many { list, .. } = self else {
            return Err(EINVAL);
        };
        if let Some(last) = list.last_mut() {
            if let Some(both) = last.join(&part) {
                *last = both;
                return Ok(());
            }
        }
        list.push_within_capacity(part).map_err(|_| EINVAL)
    }

    /// Has them counted from the beginning of the region, of which `length` bytes from `offset` on may
    /// be used.
    pub(crate) fn shift(&mut self, offset: u64, length: u64) -> Result {
        let parts = match self {
            Self::One(part) => core::slice::from_mut(part),
            Self::Many { list, .. } => list.as_mut_slice(),
        };
        for part in parts {
            check_range(part.local, part.length.into(), length)?;
            part.local = part.local.checked_add(offset).ok_or(EOVERFLOW)?;
        }
        Ok(())
    }

    fn as_slice(&self) -> &[Part] {
        match self {
            Self::One(part) => core::slice::from_ref(part),
            Self::Many { list, .. } => list,
        }
    }
}

/// How far an entry has been built.
#[derive(Clone, Copy, Default)]
pub(super) struct Cursor {
    part: usize,
    done: u32,
}

/// What is done with the bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Write,
    Read,
    /// To an entry of the peer's.
    Send,
}

/// A read or write of the peer's memory, or a message, as asked for.
pub(crate) struct Remote {
    pub(crate) action: Action,
    /// Where the bytes come from or go to; `None` if there are none.
    pub(crate) region: Option<RegionUse>,
    /// Number of the peer's lease.
    pub(crate) lease: u32,
    pub(crate) parts: Parts,
    /// Bytes in all parts.
    pub(crate) length: u32,
    /// What the peer is told when a write is done, in host order.
    pub(crate) imm: Option<u32>,
    /// It waits for the reads before it.
    pub(crate) fence: bool,
}

/// What one message may take.
pub(super) struct Room {
    /// Work requests.
    pub(super) requests: u32,
    /// Pieces of each.
    pub(super) pieces: u32,
}

impl Remote {
    /// A write without bytes.
    pub(crate) fn empty(imm: u32) -> Self {
        Self {
            action: Action::Write,
            region: None,
            lease: 0,
            parts: Parts::One(Part {
                local: 0,
                remote: 0,
                length: 0,
            }),
            length: 0,
            imm: Some(imm),
            fence: false,
        }
    }

    /// Whether it takes a receive of the peer's.
    pub(super) fn is_message(&self) -> bool {
        self.imm.is_some() || self.action == Action::Send
    }

    pub(super) fn reads(&self) -> bool {
        self.action == Action::Read
    }

    /// Whether its work requests are writes or messages. A read of nothing is as done as a write of
    /// nothing.
    pub(super) fn posts_writes(&self) -> bool {
        !self.reads() || self.length == 0
    }

    /// Adds the work requests of what comes next, as many as there is room for. Whether that was all.
    /// `place` is where it is in flight.
    pub(super) fn build(
        &self,
        chain: &mut Chain,
        at: &mut Cursor,
        leases: &PeerLeases,
        room: &Room,
        place: u32,
    ) -> Result<bool> {
        if self.action == Action::Send {
            self.build_message(chain, place)?;
            return Ok(true);
        }
        match self.region.as_ref().filter(|_| self.length > 0) {
            None => chain.push(Verb::Write, 0, 0, &[])?,
            Some(region) => {
                if !self.build_parts(region, chain, at, leases, room)? {
                    return Ok(false);
                }
            }
        }
        if let Some(imm) = self.imm {
            chain.deliver(imm)?;
        }
        Ok(true)
    }

    fn build_message(&self, chain: &mut Chain, place: u32) -> Result {
        let header = Data {
            imm: self.imm,
            length: u16::try_from(self.length)?,
        };
        chain.send(place, &header.encode())?;
        let (Some(region), [part]) = (&self.region, self.parts.as_slice()) else {
            return Ok(());
        };
        let keys = region.registration().keys()?;
        let pieces = carve::pieces(part.local, part.length, keys.segment_bytes());
        for piece in pieces.filter(|piece| piece.length > 0) {
            let key = keys.key(piece.segment as usize).ok_or(EIO)?;
            let sge = key.sge(u32::try_from(piece.offset)?, piece.length);
            chain.gather(sge.ok_or(EIO)?)?;
        }
        Ok(())
    }

    fn build_parts(
        &self,
        region: &RegionUse,
        chain: &mut Chain,
        at: &mut Cursor,
        leases: &PeerLeases,
        room: &Room,
    ) -> Result<bool> {
        let keys = region.registration().keys()?;
        let lease = leases.find(self.lease).ok_or(ENOKEY)?;
        let (mut requests, mut pieces, mut end) = (0u32, 0u32, None);
        while let Some(part) = self.parts.as_slice().get(at.part) {
            let left = part.length.saturating_sub(at.done);
            let done = u64::from(at.done);
            let cuts = carve::cuts(
                part.local.saturating_add(done),
                keys.segment_bytes(),
                part.remote
                    .saturating_add(done)
                    .saturating_add(lease.skip()),
                lease.segment(),
                left,
            );
            for cut in cuts.filter(|cut| cut.remote.length > 0) {
                let carve::Piece {
                    segment,
                    offset,
                    length,
                } = cut.remote;
                let local = keys.key(cut.local.segment as usize).ok_or(EIO)?;
                let sge = local.sge(u32::try_from(cut.local.offset)?, length);
                let sge = sge.ok_or(EIO)?;
                if end == Some((segment, offset)) && pieces < room.pieces {
                    chain.gather(sge)?;
                    pieces = pieces.saturating_add(1);
                } else if requests == room.requests {
                    return Ok(false);
                } else {
                    let remote = lease.key(segment).ok_or(EIO)?;
                    let addr = remote.addr.checked_add(offset).ok_or(EIO)?;
                    let verb = match self.reads() {
                        true => Verb::Read,
                        false => Verb::Write,
                    };
                    chain.push(verb, remote.rkey, addr, &[sge])?;
                    requests = requests.saturating_add(1);
                    pieces = 1;
                }
                end = Some((segment, offset.saturating_add(length.into())));
                at.done = at.done.saturating_add(length);
            }
            at.part = at.part.saturating_add(1);
            at.done = 0;
        }
        Ok(true)
    }

    /// Checks it against the region, the lease and the fabric.
    pub(super) fn check(&self, inner: &Inner, fabric: &Arc<Fabric>) -> Result {
        let plain = self.imm.is_none() || self.action == Action::Send;
        let supported = || match plain || fabric.rdma().write_imm() {
            true => Ok(()),
            false => Err(EOPNOTSUPP.into()),
        };
        let parts = self.parts.as_slice();
        if self.action == Action::Send && self.length > inner.peer_message {
            return Err(EMSGSIZE.into());
        }
        let most = inner.link.as_ref().map_or(0, |link| link.max_sge);
        let Some(region) = &self.region else {
            let zero = |part: &Part| part.local == 0 && part.remote == 0;
            return match self.lease == 0 && parts.iter().all(zero) {
                true => supported(),
                false => Err(EINVAL),
            };
        };
        if !Arc::ptr_eq(region.fabric(), fabric) {
            return Err(EXDEV);
        }
        let lease = match self.action {
            Action::Send => None,
            _ => Some(inner.leases.find(self.lease).ok_or(ENOKEY)?),
        };
        lease.map_or(Ok(()), PeerLease::check)?;
        if !region.registration().is_there() {
            return Err(EKEYREVOKED.into());
        }
        let rights = lease.map(PeerLease::rights);
        let allowed = rights.is_none_or(|rights| match self.reads() {
            false => rights.write,
            true => rights.read && region.allows(uapi::DMAPLANE_ACCESS_LOCAL_WRITE),
        });
        if !allowed {
            return Err(EACCES);
        }
        for part in parts {
            let length = u64::from(part.length);
            check_range(part.local, length, region.length())?;
            match lease {
                Some(lease) => check_range(part.remote, length, lease.length())?,
                None => {
                    let segment = region.registration().segment_bytes();
                    if carve::count(part.local, part.length, segment) > most {
                        return Err(EMSGSIZE.into());
                    }
                }
            }
        }
        supported()
    }
}
