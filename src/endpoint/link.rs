// SPDX-License-Identifier: GPL-2.0

//! The state of a connected endpoint: credits both ways, slots, queues.
//!
//! Invariants, kept by `send` and `receive` under the endpoint's lock:
//! - messages in flight never exceed the credits that the peer granted;
//! - for each receive posted beyond those for control messages, and each message that is kept, a place
//!   is reserved in `ring`;
//! - entries in flight have consecutive places in `in_flight`, in their order, `next` being the next;
//!   those that were posted together complete together, and the slot of that is the first one's place.
//!
//! Teardown: dropping gives the reserved places back; the connection was drained before.

use super::{
    hold::Granted,
    inbox::Inbox,
    lease::{
        Offer,
        PeerLeases, //
    },
    send::{
        InFlight,
        Pending, //
    },
    Endpoint,
    Stats, //
};
use crate::{
    buffer::Buffer,
    channel::CompletionRing,
    fifo::Fifo,
    pure::{
        credit::{
            Ctrl,
            Receiver,
            Sender,
            CTRL_SLOTS, //
        },
        wire::{
            self,
            DATA_HEADER, //
        }, //
    }, //
};
use dmakit::{
    mm::pages::{
        Charge,
        Pinned, //
    },
    rdma::{
        chain::Chain,
        device::Domain,
        queue::{
            Caps,
            MESSAGE_BYTES, //
        },
        transport::{
            Connection,
            Transport, //
        }, //
    }, //
};
use kernel::{
    error::Error,
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// Fast registrations under way at a time.
const REGISTRATIONS: u32 = 8;

/// Pieces of local memory per work request. A segment is 2 MiB on the device with the smallest, and
/// at most 16 MiB on any, so that one range in a segment of the peer's touches no more than these.
const MAX_SGE: u32 = 9;

/// Heartbeats in flight; their slot comes after those of entries.
const HEARTBEATS: u32 = 1;

/// Leases that one side may grant on a connection.
pub(super) const MAX_LEASES: u32 = 64;

/// Numbers of free slots; never grows beyond its first size.
pub(super) struct FreeSlots(KVec<u32>);

impl FreeSlots {
    fn new(count: u32, all: bool) -> Result<Self> {
        let mut slots = KVec::with_capacity(usize::try_from(count)?, GFP_KERNEL_ACCOUNT)?;
        if all {
            for slot in (0..count).rev() {
                slots.push(slot, GFP_KERNEL_ACCOUNT)?;
            }
        }
        Ok(Self(slots))
    }

    /// Takes a slot.
    pub(super) fn pop(&mut self) -> Option<u32> {
        self.0.pop()
    }

    /// Gives a slot back.
    pub(super) fn push(&mut self, slot: u32) {
        // There is room for all slots, and none is given back twice.
        let _ = self.0.push_within_capacity(slot);
    }
}

/// Slots of one use of the send queue, and which number each post has that is not done.
pub(super) struct SendSlots {
    free: FreeSlots,
    orders: KVec<Option<u64>>,
}

impl SendSlots {
    fn new(count: u32) -> Result<Self> {
        let free = FreeSlots::new(count, true)?;
        let mut orders = KVec::with_capacity(usize::try_from(count)?, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..count {
            orders.push(None, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(Self { free, orders })
    }

    /// Takes a slot.
    pub(super) fn pop(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// What was posted for a slot has this number.
    pub(super) fn posted(&mut self, slot: u32, order: u64) {
        if let Some(place) = self.orders.get_mut(slot as usize) {
            *place = Some(order);
        }
    }

    /// Gives a slot back.
    pub(super) fn push(&mut self, slot: u32) {
        if let Some(place) = self.orders.get_mut(slot as usize) {
            *place = None;
        }
        self.free.push(slot);
    }

    /// The least number of a post that is not done.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.orders.iter().flatten().copied().min()
    }
}

/// Who sends first. Over iWARP that is the side that connects: what the other one sends could
/// overtake its own answer (RFC 5044, 7.1.2), and adapters take that for an error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It does not matter any more, or never did.
    Any,
    /// We do, at once, so that the peer may.
    Ours,
    /// The peer.
    Peers,
}

/// What a connected endpoint works with.
pub(super) struct Link {
    pub(super) ring: Arc<CompletionRing>,
    pub(super) recv_user_data: u64,
    pub(super) send_depth: u32,
    pub(super) turn: Turn,
    /// Heartbeats that were due when it was the peer's turn.
    pub(super) silent: u32,
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    pub(super) ctrl: Ctrl,

    /// Entries that wait for credits or depth.
    pub(super) queue: Fifo<Pending>,
    pub(super) in_flight: KVec<Option<InFlight>>,
    pub(super) next: u32,
    /// Posts on the send queue so far: their numbers are their order.
    pub(super) posted: u64,
    /// Work requests in flight, and those of them that read.
    pub(super) writes: u32,
    pub(super) reads: u32,
    /// Number of the heartbeat in flight.
    pub(super) beating: Option<u64>,
    /// Number of the oldest post at the last tick, and ticks since it was.
    pub(super) watched: Option<u64>,
    pub(super) waited: u32,
    /// What was in flight has been completed without the adapter.
    pub(super) abandoned: bool,
    pub(super) chain: Chain,
    /// Pieces that a work request gathers at most.
    pub(super) max_sge: u32,
    pub(super) max_sge_read: u32,
    /// Work requests that may read at a time.
    pub(super) max_reads: u32,
    /// What is posted behind a read could be told of before it.
    pub(super) overtaken: bool,
    pub(super) stalled: Option<Instant<Monotonic>>,

    pub(super) messages: SendSlots,
    pub(super) offers: Fifo<Offer>,
    /// What the peer may read stays where it is as long as there is a connection, whatever its key.
    pub(super) lent: KVec<(Pinned, Arc<Buffer>)>,
    /// Leases granted, by their numbers from 1 on, and keys in them.
    pub(super) granted: KVec<Granted>,
    pub(super) granted_keys: u32,
    /// Where the queue pair is.
    pub(super) domain: Arc<Domain>,
    pub(super) registrations: SendSlots,
    /// Those who have registrations to post while nothing else may be in flight: nothing is sent
    /// until they have.
    pub(super) registering: u32,
    /// Messages of programs, and the longest that is taken.
    pub(super) inbox: Inbox,
    pub(super) longest: u32,
    /// Receives not posted, for want of room in `ring`.
    pub(super) idle: FreeSlots,
    /// Messages can come, or have come unseen: until the first receive is flushed.
    pub(super) expects_messages: bool,
    /// For receives that are longer than they have to be.
    _charge: Option<Charge>,
}

/// What both sides said.
pub(super) struct Sizes {
    pub(super) send_depth: u32,
    pub(super) recv_depth: u32,
    pub(super) recv_user_data: u64,
    pub(super) peer_credits: u32,
    /// Bytes of the longest message, its header included.
    pub(super) message: usize,
}

impl Link {
    /// Makes the state and the queue pair of a connection. `EBUSY` if `ring` has no room for the
    /// receives.
    pub(super) fn new(
        conn: &Connection<Endpoint>,
        domain: &Arc<Domain>,
        ring: Arc<CompletionRing>,
        sizes: &Sizes,
    ) -> Result<Self> {
        let Sizes {
            send_depth,
            recv_depth,
            recv_user_data,
            peer_credits,
            message,
        } = *sizes;
        let depth = usize::try_from(send_depth)?;
        let recv_slots = recv_depth.saturating_add(CTRL_SLOTS);
        let mut in_flight = KVec::with_capacity(depth, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..depth {
            in_flight.push(None, GFP_KERNEL_ACCOUNT)?;
        }
        let queue = Fifo::new(usize::try_from(ring.cq_entries())?)?;
        let max_sge = domain.device().max_pieces().min(MAX_SGE);
        // A message has a header before them.
        let all_sge = max_sge.saturating_add(1).min(domain.device().max_sge());
        let pieces = depth.saturating_mul(all_sge as usize);
        let chain = Chain::new(depth, pieces)?;
        let messages = SendSlots::new(CTRL_SLOTS)?;
        let registrations = SendSlots::new(REGISTRATIONS)?;
        let idle = FreeSlots::new(recv_slots, false)?;
        let longer = message.next_power_of_two().saturating_sub(MESSAGE_BYTES);
        let longer = longer.saturating_mul(usize::try_from(recv_slots)?);
        let charge = match longer / PAGE_SIZE {
            0 => None,
            pages => Some(Charge::new(pages)?),
        };
        let offers = Fifo::new(MAX_LEASES as usize)?;

        let inbox = Inbox::new(recv_depth)?;
        let longest = u32::try_from(message.saturating_sub(DATA_HEADER))?;
        let lent = KVec::with_capacity(MAX_LEASES as usize, GFP_KERNEL_ACCOUNT)?;
        let granted = KVec::with_capacity(MAX_LEASES as usize, GFP_KERNEL_ACCOUNT)?;

        ring.attach(recv_depth)?;
        // From here on dropping `link` gives the places back.
        let link = Self {
            ring,
            recv_user_data,
            send_depth,
            turn: Turn::Any,
            silent: 0,
            sender: Sender::new(peer_credits),
            receiver: Receiver::new(recv_depth, recv_depth),
            ctrl: Ctrl::new(),
            queue,
            in_flight,
            next: 0,
            posted: 0,
            writes: 0,
            reads: 0,
            beating: None,
            watched: None,
            waited: 0,
            abandoned: false,
            chain,
            max_sge,
            max_sge_read: domain.device().max_sge_read().min(max_sge),
            max_reads: domain.device().max_reads(),
            overtaken: domain.device().quirks().reads_are_overtaken,
            stalled: None,
            messages,
            offers,
            lent,
            granted,
            granted_keys: 0,
            domain: domain.clone(),
            registrations,
            registering: 0,
            inbox,
            longest,
            idle,
            expects_messages: false,
            _charge: charge,
        };
        conn.create_qp(
            domain,
            link.ring.poller(),
            &Caps {
                send_wr: send_depth
                    .saturating_add(HEARTBEATS)
                    .saturating_add(CTRL_SLOTS)
                    .saturating_add(REGISTRATIONS),
                recv_slots,
                ctrl_slots: CTRL_SLOTS,
                write_slots: send_depth.saturating_add(HEARTBEATS),
                reg_slots: REGISTRATIONS,
                max_sge: all_sge,
                message,
            },
        )?;
        Ok(link)
    }

    /// Posts all receives, for the first time.
    pub(super) fn open(&self, conn: &Connection<Endpoint>) -> Result {
        let slots = self.receiver.outstanding().saturating_add(CTRL_SLOTS);
        (0..slots).try_for_each(|slot| conn.post_recv(slot))
    }

    /// Sees to it that the side that sends first is the one that asked, if that matters.
    pub(super) fn take_turns(&mut self, domain: &Domain, asked: bool) {
        self.turn = match (domain.device().connector_sends_first(), asked) {
            (false, _) => Turn::Any,
            (true, true) => Turn::Ours,
            (true, false) => Turn::Peers,
        };
    }

    /// A number for what was just posted on the send queue.
    pub(super) fn number(&mut self) -> u64 {
        let order = self.posted;
        self.posted = order.wrapping_add(1);
        order
    }

    /// Whether nothing is in flight but registrations.
    pub(super) fn is_quiet(&self) -> bool {
        self.writes == 0 && self.messages.oldest().is_none() && self.beating.is_none()
    }

    /// The place of the entry in flight that comes `n` after that at `place`; both are less than
    /// `send_depth`.
    pub(super) fn place_after(&self, place: u32, n: u32) -> u32 {
        let sum = place.saturating_add(n);
        sum.checked_sub(self.send_depth).unwrap_or(sum)
    }

    /// Entries posted and not completed.
    pub(super) fn in_flight(&self) -> usize {
        let ends = self.in_flight.iter().flatten();
        ends.filter(|entry| entry.end.is_some()).count()
    }

    /// Completes the entries that wait, as they will never be sent.
    /// `status` is that of the first work request that failed.
    pub(super) fn fail_queued(&mut self, error: Error, status: u32, stats: &mut Stats) {
        self.end_stall(stats);
        while let Some(pending) = self.queue.pop() {
            pending.fail_sent(error, status);
        }
    }

    /// Notes that entries wait for credits.
    pub(super) fn begin_stall(&mut self, stats: &mut Stats) {
        if self.stalled.is_none() {
            self.stalled = Some(Instant::now());
            stats.stalls = stats.stalls.saturating_add(1);
        }
    }

    /// Notes that they do not any more.
    pub(super) fn end_stall(&mut self, stats: &mut Stats) {
        if let Some(begin) = self.stalled.take() {
            let waited = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(0);
            stats.stall_ns = stats.stall_ns.saturating_add(waited);
        }
    }

    /// Posts receives for which `ring` has room; the peer learns of them with the next message.
    pub(super) fn post_receives(&mut self, conn: &Connection<Endpoint>) -> Result {
        while self.receiver.missing() > 0 {
            let Some(slot) = self.idle.pop() else {
                return Ok(());
            };
            if !self.ring.reserve_receive() {
                self.idle.push(slot);
                return Ok(());
            }
            self.post_receive(conn, slot)?;
        }
        Ok(())
    }

    /// Posts a receive that has a place in `ring`, or gives that back.
    pub(super) fn post_receive(&mut self, conn: &Connection<Endpoint>, slot: u32) -> Result {
        if let Err(error) = conn.post_recv(slot) {
            self.ring.unreserve(1);
            self.idle.push(slot);
            return Err(error);
        }
        self.receiver.posted(1);
        Ok(())
    }

    /// Sends what there is to say to the peer's kernel, as far as it can take it.
    pub(super) fn send_messages(
        &mut self,
        conn: &Connection<Endpoint>,
        leases: &mut PeerLeases,
        stats: &mut Stats,
    ) -> Result {
        loop {
            self.drop_dead_offers();
            let word = self.next_word(leases);
            let offer = self.offers.front_mut().filter(|offer| offer.is_due());
            let keys = match offer.map(|offer| (offer.is_known(), offer.keys())) {
                // They have gone since: that is told instead, when it comes round.
                Some((true, Err(_))) => None,
                Some((_, keys)) => Some(keys?),
                None => None,
            };
            let news = word.is_some()
                || keys.is_some()
                || self.receiver.should_advertise()
                || self.turn == Turn::Ours;
            let can_send = self.ctrl.can_send();
            let may = (news && can_send) || (self.ctrl.must_ack() && self.ctrl.can_ack());
            if !may {
                return Ok(());
            }
            let Some(slot) = self.messages.pop() else {
                return Ok(());
            };
            let mut bytes = [0; wire::CTRL_MAX];
            let header = wire::CtrlHeader {
                credits: self.receiver.cumulative(),
                ack: self.ctrl.sent(),
            };
            self.receiver.advertised();
            let word = word.filter(|_| can_send);
            let keys = keys.filter(|_| can_send);
            let (length, last) = match (&word, self.offers.front_mut().zip(keys)) {
                (Some(word), _) => (wire::encode_word(header, word, &mut bytes), false),
                (None, Some((offer, keys))) => offer.encode(&keys, header, &mut bytes)?,
                (None, None) => (wire::encode_ack(header, &mut bytes), false),
            };
            if let Some(offer) = last.then(|| self.offers.pop()).flatten() {
                self.told(&offer);
            }
            conn.post_ctrl(slot, bytes.get(..length).ok_or(EIO)?)?;
            if let Some(word) = &word {
                self.said(leases, word);
            }
            let order = self.number();
            self.messages.posted(slot, order);
            self.turn = Turn::Any;
            stats.ctrl_sent = stats.ctrl_sent.saturating_add(1);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let receives = self.receiver.outstanding();
        self.ring.detach(receives.saturating_add(self.inbox.kept()));
    }
}
