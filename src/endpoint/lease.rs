// SPDX-License-Identifier: GPL-2.0

//! Leases: what the peer may write to or read here, and we at the peer.
//!
//! The keys of a region travel in messages between the kernels, in parts if there are many.
//! Neither program sees them.

use super::{
    hold::{
        Granted,
        Hold, //
    },
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
    region::{
        Readiness,
        RegionUse,
        Registration, //
    },
    view::Span,
    wait::Patience, //
};
use dmakit::{
    errno::{
        ENOTCONN, //
        EPROTO,
    },
    mm::pages::Pages,
    rdma::mr,
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
    registration: Arc<Registration>,
    /// Until all is told for the first time, the region cannot be deregistered.
    region: Option<RegionUse>,
    /// Segments of it before those of the lease.
    before: u32,
    next: u32,
}

impl Offer {
    /// Tells of a lease again, whose keys have changed.
    pub(super) fn again(terms: LeaseTerms, before: u32, registration: Arc<Registration>) -> Self {
        Self {
            terms,
            registration,
            region: None,
            before,
            next: 0,
        }
    }

    /// Number of the lease.
    pub(super) fn lease(&self) -> u32 {
        self.terms.lease
    }

    /// Whether the next part can be told: what has begun goes on even if the keys shall not be used.
    pub(super) fn is_due(&self) -> bool {
        self.has_begun() || self.registration.readiness() == Readiness::Ready
    }

    /// Whether the peer knows of some keys, and not yet of all.
    pub(super) fn has_begun(&self) -> bool {
        self.next > 0
    }

    /// Whether there is nothing left that could be told.
    pub(super) fn is_dead(&self) -> bool {
        self.registration.readiness() == Readiness::Gone
    }

    /// Whether it is of one of these keys.
    pub(super) fn is_of(&self, list: &[Arc<Registration>]) -> bool {
        list.iter().any(|one| Arc::ptr_eq(one, &self.registration))
    }

    /// Whether the peer knows of the lease.
    pub(super) fn is_known(&self) -> bool {
        self.region.is_none()
    }

    /// The keys that the next part is about.
    pub(super) fn keys(&self) -> Result<Arc<mr::Region>> {
        self.registration.keys()
    }

    /// Writes the next part; returns its length and whether it is the last.
    pub(super) fn encode(
        &mut self,
        region: &mr::Region,
        header: wire::CtrlHeader,
        out: &mut [u8; wire::CTRL_MAX],
    ) -> Result<(usize, bool)> {
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
    pub(super) hold: Hold,
}

impl PeerLease {
    pub(super) fn terms(&self) -> &LeaseTerms {
        &self.terms
    }

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

    pub(super) fn is_complete(&self) -> bool {
        self.keys.len() == self.terms.total as usize
    }

    /// Takes a part of its new keys, which come in order as well.
    fn renew(&mut self, part: &LeasePart<'_>) -> Result {
        let done = match self.hold {
            Hold::Asked { .. } | Hold::Held => 0,
            Hold::Renewed(done) => done,
            Hold::Free | Hold::Ended => return Err(EPROTO.into()),
        };
        let first = part.first as usize;
        let end = first.saturating_add(part.keys.count() as usize);
        let Some(keys) = self.keys.get_mut(first..end) else {
            return Err(EPROTO.into());
        };
        if self.terms != part.terms || first != done as usize {
            return Err(EPROTO.into());
        }
        for (key, other) in keys.iter_mut().zip(part.keys.iter()) {
            *key = other;
        }
        self.hold = match end == self.keys.len() {
            true => Hold::Free,
            false => Hold::Renewed(u32::try_from(end)?),
        };
        Ok(())
    }
}

/// What the peer granted.
pub(super) struct PeerLeases {
    pub(super) list: KVec<PeerLease>,
    /// Some may not be used, now or any more.
    pub(super) restless: bool,
}

impl PeerLeases {
    /// Nothing yet.
    pub(super) const fn new() -> Self {
        Self {
            list: KVec::new(),
            restless: false,
        }
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
            let mut known = self.list.iter_mut();
            if let Some(known) = known.find(|lease| lease.terms.lease == part.terms.lease) {
                known.renew(part)?;
                self.look();
                return Ok(());
            }
            if part.terms.lease == 0
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
                hold: Hold::Free,
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
    let registration = region.registration().clone();
    if !registration.is_there() {
        return Err(registration.keys().err().unwrap_or(ENODEV));
    }
    let segment = registration.segment_bytes();
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
    let lease = u32::try_from(link.granted.len().saturating_add(1))?;
    if lease > MAX_LEASES || granted_keys > MAX_KEYS {
        return Err(EMFILE);
    }
    // Its keys allow what the region's access says, whatever the view's does.
    let peers_read = region.allows(uapi::DMAPLANE_ACCESS_REMOTE_READ);
    if peers_read && fabric.rdma().quirks().sends_after_key {
        // There is room for one each.
        let pinned = Pages::pin(region.buffer().pages());
        link.lent
            .push_within_capacity((pinned, region.buffer().clone()))
            .map_err(|_| EMFILE)?;
    }
    let terms = LeaseTerms {
        lease,
        tag: arg.tag,
        length: bounds.length,
        segment,
        skip,
        total,
        rights,
    };
    // There is room for that many as well.
    let granted = Granted::new(terms, before, registration.number());
    link.granted
        .push_within_capacity(granted)
        .map_err(|_| EMFILE)?;
    link.granted_keys = granted_keys;
    arg.lease = lease;
    let offer = Offer {
        terms,
        registration,
        region: Some(span.region),
        before,
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
