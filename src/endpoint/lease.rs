// SPDX-License-Identifier: GPL-2.0

//! Leases: what the peer may write to or read here, and we at the peer.
//!
//! The keys of a region travel in messages between the kernels, in parts if there are many.
//! Neither program sees them.

use super::{
    link::MAX_LEASES,
    Endpoint, //
};
use crate::{
    context::Context,
    ioctl::Outcome,
    pure::{
        state::State,
        wire::{
            self,
            Key,
            LeasePart,
            LeaseTerms,
            Rights, //
        }, //
    },
    region::RegionUse,
    view::Span,
    wait::Patience, //
};
use dmakit::{
    errno::{
        ENOTCONN, //
        EPROTO,
    },
    uapi, //
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::Arc, //
};

/// Keys of all leases that one side may grant on a connection, so that a peer cannot make us keep
/// more.
const MAX_KEYS: u32 = 16384;

/// A lease being told to the peer.
pub(super) struct Offer {
    terms: LeaseTerms,
    /// Until all is told, the region cannot be deregistered.
    region: RegionUse,
    /// Segments of it before those of the lease.
    before: u32,
    next: u32,
}

impl Offer {
    /// Writes the next part; returns its length and whether it is the last.
    pub(super) fn encode(
        &mut self,
        header: wire::CtrlHeader,
        out: &mut [u8; wire::CTRL_MAX],
    ) -> Result<(usize, bool)> {
        let region = self.region.keys()?;
        let keys = (self.next..self.terms.total).map_while(|segment| {
            let key = region.key(self.before.checked_add(segment)? as usize)?;
            Some(Key {
                rkey: key.rkey(),
                addr: key.addr(),
            })
        });
        let sent =
            wire::encode_lease(header, &self.terms, self.next, keys, out).map_err(|_| EIO)?;
        self.next = self.next.saturating_add(sent.keys);
        Ok((sent.length, self.next >= self.terms.total))
    }
}

/// A lease of the peer's memory.
pub(super) struct PeerLease {
    terms: LeaseTerms,
    keys: KVVec<Key>,
    reported: bool,
}

impl PeerLease {
    /// Bytes.
    pub(super) fn length(&self) -> u64 {
        self.terms.length
    }

    /// What may be done there.
    pub(super) fn rights(&self) -> Rights {
        self.terms.rights
    }

    /// Where in the first key's segment it begins.
    pub(super) fn skip(&self) -> u64 {
        self.terms.skip
    }

    /// Bytes per key.
    pub(super) fn segment(&self) -> u64 {
        self.terms.segment
    }

    /// The key of a segment.
    pub(super) fn key(&self, segment: u32) -> Option<Key> {
        self.keys.get(segment as usize).copied()
    }

    fn is_complete(&self) -> bool {
        self.keys.len() == self.terms.total as usize
    }
}

/// What the peer granted.
pub(super) struct PeerLeases {
    list: KVec<PeerLease>,
}

impl PeerLeases {
    /// Nothing yet.
    pub(super) const fn new() -> Self {
        Self { list: KVec::new() }
    }

    /// The complete lease of this number.
    pub(super) fn find(&self, number: u32) -> Option<&PeerLease> {
        self.list
            .iter()
            .find(|lease| lease.terms.lease == number && lease.is_complete())
    }

    /// Takes a part that arrived. Parts of a lease come in order, and leases one after the other;
    /// anything else, or more than there is room for, is against the protocol.
    pub(super) fn take(&mut self, part: &LeasePart<'_>) -> Result {
        let kept: usize = self.list.iter().map(|lease| lease.keys.len()).sum();
        let incomplete = matches!(self.list.last(), Some(lease) if !lease.is_complete());
        if !incomplete {
            let known = self
                .list
                .iter()
                .any(|lease| lease.terms.lease == part.terms.lease);
            if known
                || part.terms.lease == 0
                || self.list.len() >= MAX_LEASES as usize
                || kept.saturating_add(part.terms.total as usize) > MAX_KEYS as usize
            {
                return Err(EPROTO.into());
            }
            let keys = KVVec::with_capacity(part.terms.total as usize, GFP_KERNEL_ACCOUNT)?;
            let lease = PeerLease {
                terms: part.terms,
                keys,
                reported: false,
            };
            self.list.push(lease, GFP_KERNEL_ACCOUNT)?;
        }
        let lease = self.list.last_mut().ok_or(EPROTO)?;
        let room = (lease.terms.total as usize).saturating_sub(lease.keys.len());
        if lease.terms != part.terms
            || lease.keys.len() != part.first as usize
            || part.keys.count() as usize > room
        {
            return Err(EPROTO.into());
        }
        for key in part.keys.iter() {
            lease.keys.push(key, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(())
    }

    /// The next complete lease that was not reported yet.
    fn report(&mut self) -> Option<LeaseTerms> {
        let lease = self.list.iter_mut().find(|lease| !lease.reported)?;
        if !lease.is_complete() {
            return None;
        }
        lease.reported = true;
        Some(lease.terms)
    }

    /// The report did not arrive.
    fn unreport(&mut self, number: u32) {
        let lease = self
            .list
            .iter_mut()
            .find(|lease| lease.terms.lease == number);
        if let Some(lease) = lease {
            lease.reported = false;
        }
    }
}

/// `LEASE_GRANT`
pub(crate) fn grant(context: &Context, arg: &mut uapi::dmaplane_lease_grant) -> Result {
    if arg.flags != 0 || arg.pad != 0 {
        return Err(EINVAL);
    }
    let endpoint = context.get::<Endpoint>(arg.endpoint)?;
    let span = Span::of(context, arg.region)?;
    let (region, bounds) = (&span.region, span.bounds);
    let rights = bounds.rights();
    if !rights.write && !rights.read {
        return Err(EACCES);
    }
    let keys = region.keys()?;
    let segment = keys.segment_bytes();
    let before = bounds.offset.checked_div(segment).ok_or(EIO)?;
    let skip = bounds.offset.checked_rem(segment).ok_or(EIO)?;
    let end = skip.checked_add(bounds.length).ok_or(EIO)?;
    let total = u32::try_from(end.div_ceil(segment))?;
    let before = u32::try_from(before)?;

    let mut inner = endpoint.inner.lock();
    let fabric = inner.fabric.clone().ok_or(ENOTCONN)?;
    let (_, link) = inner.established()?;
    if !Arc::ptr_eq(region.fabric(), &fabric) {
        return Err(EXDEV);
    }
    let granted_keys = link.granted_keys.saturating_add(total);
    if link.grants >= MAX_LEASES || granted_keys > MAX_KEYS {
        return Err(EMFILE);
    }
    // Its keys allow what the region's access says, whatever the view's does.
    let peers_read = region.allows(uapi::DMAPLANE_ACCESS_REMOTE_READ);
    if peers_read && fabric.rdma().quirks().sends_after_key {
        // There is room for one each.
        link.lent
            .push_within_capacity((keys.pages().ok_or(EIO)?, region.buffer().clone()))
            .map_err(|_| EMFILE)?;
    }
    link.granted_keys = granted_keys;
    link.grants = link.grants.saturating_add(1);
    arg.lease = link.grants;
    let offer = Offer {
        terms: LeaseTerms {
            lease: arg.lease,
            tag: arg.tag,
            length: bounds.length,
            segment,
            skip,
            total,
            rights,
        },
        before,
        region: span.region,
        next: 0,
    };
    link.offers.push(offer).map_err(|_| EMFILE)?;
    let pumped = inner.pump();
    drop(inner);
    pumped.inspect_err(|error| endpoint.fail(*error))
}

/// A lease was reported.
pub(crate) struct Reported(Arc<Endpoint>, u32);

impl Outcome for Reported {
    fn undo(self, _context: &Context) {
        self.0.inner.lock().leases.unreport(self.1);
        self.0.changed.notify_all();
    }
}

/// As the ABI has it.
fn access(rights: Rights) -> u32 {
    let write = if rights.write {
        uapi::DMAPLANE_ACCESS_REMOTE_WRITE
    } else {
        0
    };
    let read = if rights.read {
        uapi::DMAPLANE_ACCESS_REMOTE_READ
    } else {
        0
    };
    write | read
}

/// `LEASE_WAIT`
pub(crate) fn wait(context: &Context, arg: &mut uapi::dmaplane_lease_wait) -> Result<Reported> {
    if arg.flags != 0 || arg.pad != 0 {
        return Err(EINVAL);
    }
    let endpoint = context.get::<Endpoint>(arg.endpoint)?;
    let mut patience = Patience::new(arg.timeout_ns);
    let mut inner = endpoint.inner.lock();
    let terms = loop {
        if let Some(terms) = inner.leases.report() {
            break terms;
        }
        if inner.state != State::Established {
            return Err(ENOTCONN.into());
        }
        patience.wait(&endpoint.changed, &mut inner)?;
    };
    drop(inner);
    arg.lease = terms.lease;
    arg.length = terms.length;
    arg.tag = terms.tag;
    arg.access = access(terms.rights);
    Ok(Reported(endpoint, terms.lease))
}
