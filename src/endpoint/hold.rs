// SPDX-License-Identifier: GPL-2.0

//! Memory that moves under leases: both sides stop using it, and go on with its new keys.
//!
//! The side whose memory moves ([`Endpoint::is_free_of`]) begins nothing there, asks the peer to hold the
//! leases of it, and waits until both have nothing under way; [`Endpoint::resume`] tells the new keys. At
//! the peer a lease that is held stops the queue at the first entry for it, so that order is kept.
//!
//! A peer that does not answer keeps pages from moving, and one that lies ends its connection: keys are
//! dead before a page moves, whoever uses them.
//!
//! Ownership, locking and teardown are told in [`endpoint`](super).

use super::{
    lease::{
        Offer,
        PeerLease,
        PeerLeases, //
    },
    link::Link,
    remote::Remote,
    send::Pending,
    Endpoint,
    Stats, //
};
use crate::{
    pure::wire::{
        LeaseTerms,
        What,
        Word, //
    },
    region::{
        Readiness,
        Registration, //
    }, //
};
use dmakit::{
    errno::{
        EKEYREVOKED,
        EPROTO, //
    },
    rdma::device::Domain, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Whether a lease of the peer's may be used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    Free,
    /// Not any more; the peer shall be told when nothing is under way.
    Asked {
        turn: u32,
    },
    /// The peer was told.
    Held,
    /// So many of its new keys have come.
    Renewed(u32),
    /// Never again.
    Ended,
}

/// Whether the peer uses a lease of ours.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// As it likes.
    No,
    /// It is to be asked not to.
    Due,
    /// It was asked.
    Yes,
    /// It does not.
    Held,
    /// It is to be told that it cannot any more.
    End,
    /// It was told.
    Ended,
}

/// A lease granted to the peer.
pub(super) struct Granted {
    terms: LeaseTerms,
    /// Segments of the region before those of the lease.
    before: u32,
    /// Number of the keys.
    registration: u64,
    /// The peer knows all of it.
    told: bool,
    asked: Asked,
    /// Requests to hold it.
    turn: u32,
}

impl Granted {
    /// One that the peer does not know of yet.
    pub(super) fn new(terms: LeaseTerms, before: u32, registration: u64) -> Self {
        Self {
            terms,
            before,
            registration,
            told: false,
            asked: Asked::No,
            turn: 0,
        }
    }
}

impl Endpoint {
    /// Whether its queue pair is in `domain`.
    pub(crate) fn is_in(&self, domain: &Arc<Domain>) -> bool {
        let inner = self.inner.lock();
        let link = inner.link.as_ref();
        link.is_some_and(|link| Arc::ptr_eq(&link.domain, domain))
    }

    /// Whether nothing is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        let inner = self.inner.lock();
        inner.link.as_ref().is_none_or(Link::is_quiet)
    }

    /// Whether neither side uses `moving`, which are held, on this connection. Asks the peer not to.
    pub(crate) fn is_free_of(&self, moving: &[Arc<Registration>]) -> bool {
        let mut inner = self.inner.lock();
        if let Some(link) = &mut inner.link {
            link.ask(moving);
        }
        let pumped = inner.pump();
        let alive = inner.established().is_ok();
        let link = inner.link.as_ref();
        let free = link.is_none_or(|link| link.is_free_of(moving, alive));
        drop(inner);
        if let Err(error) = pumped {
            self.fail(error);
        }
        free
    }

    /// Has both sides go on with `moved`, or tells the peer that it cannot.
    pub(crate) fn resume(&self, moved: &[Arc<Registration>]) {
        let mut inner = self.inner.lock();
        if let Some(link) = &mut inner.link {
            link.offer_again(moved);
        }
        let pumped = inner.pump();
        drop(inner);
        if let Err(error) = pumped {
            self.fail(error);
        }
    }
}

fn find(list: &[Arc<Registration>], number: u64) -> Option<&Arc<Registration>> {
    list.iter().find(|one| one.number() == number)
}

impl Link {
    /// Has the peer asked to hold what it may use of `moving`.
    fn ask(&mut self, moving: &[Arc<Registration>]) {
        let leases = self.granted.iter_mut();
        let leases = leases.filter(|lease| lease.told && lease.asked == Asked::No);
        for lease in leases.filter(|lease| find(moving, lease.registration).is_some()) {
            lease.turn = lease.turn.wrapping_add(1);
            lease.asked = Asked::Due;
        }
    }

    /// Whether nothing uses `moving`: no entry of ours, no message that is being told in parts, and the peer,
    /// if it is there, has said so.
    fn is_free_of(&self, moving: &[Arc<Registration>], alive: bool) -> bool {
        let mut entries = self.in_flight.iter().flatten();
        let used = entries.any(|entry| find(moving, entry.region).is_some());
        let meant = |lease: &&Granted| find(moving, lease.registration).is_some();
        let mut leases = self.granted.iter().filter(meant);
        let asked = leases.any(|lease| matches!(lease.asked, Asked::Due | Asked::Yes));
        let mut offers = self.offers.iter();
        let telling = offers.any(|offer| offer.has_begun() && offer.is_of(moving));
        !used && !(alive && (asked || telling))
    }

    /// Tells the peer of the leases that it was asked to hold, again.
    fn offer_again(&mut self, moved: &[Arc<Registration>]) {
        for lease in &mut self.granted {
            let Some(registration) = find(moved, lease.registration) else {
                continue;
            };
            match lease.asked {
                Asked::Due => lease.asked = Asked::No,
                // What it says of the last request holds until it is told.
                Asked::Yes | Asked::Held if lease.told => {
                    lease.told = false;
                    let offer = Offer::again(lease.terms, lease.before, registration.clone());
                    // There is room for one of each lease, and this one's was told of.
                    if self.offers.push(offer).is_err() {
                        lease.asked = Asked::End;
                    }
                }
                _ => {}
            }
        }
    }

    /// The peer knows a lease with these keys.
    pub(super) fn told(&mut self, offer: &Offer) {
        if let Some(lease) = self.lease_mut(offer.lease()) {
            lease.told = true;
            lease.asked = Asked::No;
        }
    }

    /// Forgets leases whose keys have gone. If the peer knows one it is told.
    pub(super) fn drop_dead_offers(&mut self) {
        while let Some(offer) = self.offers.front_mut().filter(|offer| offer.is_dead()) {
            let (number, known) = (offer.lease(), offer.is_known());
            if offer.has_begun() && !known {
                // The connection ends with it: what the peer knows of it can be of no use.
                return;
            }
            drop(self.offers.pop());
            if let Some(lease) = self.lease_mut(number).filter(|_| known) {
                lease.asked = Asked::End;
            }
        }
    }

    fn lease_mut(&mut self, number: u32) -> Option<&mut Granted> {
        let index = number.checked_sub(1)?;
        self.granted.get_mut(index as usize)
    }

    /// What is to be said of leases.
    pub(super) fn next_word(&self, leases: &PeerLeases) -> Option<Word> {
        let ours = self.granted.iter().find_map(|lease| {
            let what = match lease.asked {
                Asked::Due => What::Hold,
                Asked::End => What::End,
                _ => return None,
            };
            Some(Word {
                what,
                lease: lease.terms.lease,
                turn: lease.turn,
            })
        });
        if ours.is_some() || !leases.restless {
            return ours;
        }
        leases.list.iter().find_map(|lease| {
            let Hold::Asked { turn } = lease.hold else {
                return None;
            };
            let number = lease.number();
            let mut entries = self.in_flight.iter().flatten();
            let used = entries.any(|entry| entry.lease == number);
            (!used).then_some(Word {
                what: What::Held,
                lease: number,
                turn,
            })
        })
    }

    /// It was said.
    pub(super) fn said(&mut self, leases: &mut PeerLeases, word: &Word) {
        if word.what == What::Held {
            return leases.held(word.lease);
        }
        if let Some(lease) = self.lease_mut(word.lease) {
            lease.asked = match word.what {
                What::Hold => Asked::Yes,
                _ => Asked::Ended,
            };
        }
    }

    /// The peer said something of a lease.
    pub(super) fn heard(&mut self, leases: &mut PeerLeases, word: &Word) -> Result {
        if word.what != What::Held {
            return leases.heard(word);
        }
        let lease = self.lease_mut(word.lease).ok_or(EPROTO)?;
        // Who was not waited for any longer may answer late.
        if lease.asked == Asked::Yes && lease.turn == word.turn {
            lease.asked = Asked::Held;
        }
        Ok(())
    }

    /// Completes the first entries that wait if their memory, here or at the peer, is gone for good, after
    /// those that were sent before them.
    pub(super) fn fail_dead(&mut self, leases: &PeerLeases, stats: &mut Stats) {
        while self.writes == 0
            && self
                .queue
                .get(0)
                .is_some_and(|pending| pending.readiness(leases) == Readiness::Gone)
        {
            self.end_stall(stats);
            if let Some(pending) = self.queue.pop() {
                pending.fail(EKEYREVOKED.into());
            }
        }
    }
}

impl Pending {
    /// Whether its memory can be used, here and at the peer.
    pub(super) fn readiness(&self, leases: &PeerLeases) -> Readiness {
        self.remote.readiness(leases)
    }
}

impl Remote {
    fn readiness(&self, leases: &PeerLeases) -> Readiness {
        let here = match &self.region {
            Some(region) => region.registration().readiness(),
            None => return Readiness::Ready,
        };
        if here != Readiness::Ready || !leases.restless || self.lease == 0 {
            return here;
        }
        leases
            .find(self.lease)
            .map_or(Readiness::Gone, |lease| match lease.hold {
                Hold::Free => Readiness::Ready,
                Hold::Ended => Readiness::Gone,
                _ => Readiness::Held,
            })
    }
}

impl PeerLease {
    fn number(&self) -> u32 {
        self.terms().lease
    }

    /// `EKEYREVOKED` if it has ended.
    pub(super) fn check(&self) -> Result {
        match self.hold {
            Hold::Ended => Err(EKEYREVOKED.into()),
            _ => Ok(()),
        }
    }
}

impl PeerLeases {
    /// One has changed.
    pub(super) fn look(&mut self) {
        self.restless = self.list.iter().any(|lease| lease.hold != Hold::Free);
    }

    fn lease_mut(&mut self, number: u32) -> Option<&mut PeerLease> {
        let mut leases = self.list.iter_mut();
        leases.find(|lease| lease.number() == number && lease.is_complete())
    }

    /// The peer was told that one is not used.
    fn held(&mut self, number: u32) {
        if let Some(lease) = self.lease_mut(number) {
            lease.hold = Hold::Held;
        }
    }

    /// The peer asks to hold one, or ends it; neither of one that it did not grant, or in another order.
    fn heard(&mut self, word: &Word) -> Result {
        let lease = self.lease_mut(word.lease).ok_or(EPROTO)?;
        lease.hold = match (word.what, lease.hold) {
            (What::Hold, Hold::Free) => Hold::Asked { turn: word.turn },
            (What::End, Hold::Asked { .. } | Hold::Held | Hold::Renewed(_)) => Hold::Ended,
            _ => return Err(EPROTO.into()),
        };
        self.look();
        Ok(())
    }
}
