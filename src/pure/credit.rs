// SPDX-License-Identifier: GPL-2.0

//! Flow control between two kernels over one reliable connection.
//!
//! The receive queue of an endpoint is shared by two kinds of message, and a message that finds it
//! empty kills the connection (no retry on receiver-not-ready). So each kind has receives of its
//! own in that queue, and its sender never has more messages under way than those:
//!
//! - **Data** (writes with immediate): as many as the receiver posted and told the sender about.
//!   [`Sender`] counts at one end, [`Receiver`] at the other.
//! - **Messages between the kernels**, which carry grants and leases: [`CTRL_SLOTS`] each way,
//!   posted again as soon as the message was read. [`Ctrl`] counts both directions of one side.
//!
//! What is told to the peer is always a cumulative count modulo 2^32, never a difference, so that
//! any message can carry it and a later one supersedes an earlier one.
//!
//! # Rules for the user of these types
//!
//! 1. A receive is posted before it is counted, and counted before a message tells of it.
//! 2. Every message between kernels carries [`Receiver::cumulative`] (then
//!    [`Receiver::advertised`]) and the return value of [`Ctrl::sent`].
//! 3. A message that has something to say, a credit update ([`Receiver::should_advertise`])
//!    included, waits for [`Ctrl::can_send`]. Only if [`Ctrl::must_ack`] and nothing was sent
//!    otherwise, a pure acknowledgement goes out, which waits for [`Ctrl::can_ack`].
//! 4. Both are tried again whenever a message was received or receives were posted.
//!
//! # Why acknowledgements cannot deadlock
//!
//! Suppose that nothing is under way and neither side can send, so that both have all slots
//! unacknowledged: A its messages a1..a8 and B its b1..b8. A could send a8 only as a pure
//! acknowledgement, when it knew that all up to a0 had arrived: a message of B not later than b0
//! said so, since B says all it knows and A's last word is older than b1. Likewise B sent b8 as a
//! pure acknowledgement because at least four messages had come since b7, none of them later than
//! a0. So b7 acknowledged at most a(-4), yet b0 or an earlier one had acknowledged a0, and
//! acknowledgements never go backwards.

/// Receives reserved for messages between kernels, in each direction.
pub const CTRL_SLOTS: u32 = 8;

/// Slots that only pure acknowledgements may use. One would do; see the module's documentation.
const ACK_SLOTS: u32 = 2;

/// A counter from the peer that cannot be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonsense;

/// What this side may send as data: the peer's grants against what was sent, both cumulative.
#[derive(Clone, Debug)]
pub struct Sender {
    granted: u32,
    sent: u32,
}

impl Sender {
    /// Begins with the `initial` grant that came with the connection.
    pub const fn new(initial: u32) -> Self {
        Self::with_origin(initial, 0)
    }

    /// Like [`Sender::new`], for a connection whose counters begin at `origin` at both ends.
    pub const fn with_origin(initial: u32, origin: u32) -> Self {
        Self {
            granted: origin.wrapping_add(initial),
            sent: origin,
        }
    }

    /// Data messages that may be sent now.
    pub fn available(&self) -> u32 {
        self.granted.wrapping_sub(self.sent)
    }

    /// Takes one credit for a message about to be sent; `false` if there is none.
    pub fn take(&mut self) -> bool {
        if self.available() == 0 {
            return false;
        }
        self.sent = self.sent.wrapping_add(1);
        true
    }

    /// Takes the cumulative grant of a message; returns how many credits are new.
    ///
    /// A grant that goes backwards, or that would allow more than `max` messages, is nonsense and
    /// changes nothing.
    pub fn grant(&mut self, cumulative: u32, max: u32) -> Result<u32, Nonsense> {
        let new = cumulative.wrapping_sub(self.granted);
        match new.checked_add(self.available()) {
            Some(available) if available <= max => {
                self.granted = cumulative;
                Ok(new)
            }
            _ => Err(Nonsense),
        }
    }
}

/// What this side lets the peer send: receives posted, told of, and used; all cumulative.
///
/// # Invariants
///
/// Modulo 2^32, `received <= advertised <= posted <= received + depth`.
#[derive(Clone, Debug)]
pub struct Receiver {
    depth: u32,
    posted: u32,
    advertised: u32,
    received: u32,
}

impl Receiver {
    /// Begins with `initially_posted` receives, of which the connection request or its answer tells
    /// the peer. At most `depth` are ever posted at a time.
    pub const fn new(depth: u32, initially_posted: u32) -> Self {
        Self::with_origin(depth, initially_posted, 0)
    }

    /// Like [`Receiver::new`], for a connection whose counters begin at `origin` at both ends.
    pub const fn with_origin(depth: u32, initially_posted: u32, origin: u32) -> Self {
        let posted = origin.wrapping_add(initially_posted);
        Self {
            depth,
            posted,
            advertised: posted,
            received: origin,
        }
    }

    /// Receives posted and not used.
    pub fn outstanding(&self) -> u32 {
        self.posted.wrapping_sub(self.received)
    }

    /// Receives that may be posted now without exceeding the depth.
    pub fn missing(&self) -> u32 {
        self.depth.saturating_sub(self.outstanding())
    }

    /// Counts `n` receives posted, at most [`Receiver::missing`].
    pub fn posted(&mut self, n: u32) {
        self.posted = self.posted.wrapping_add(n.min(self.missing()));
    }

    /// The count to put into the next message to the peer.
    pub fn cumulative(&self) -> u32 {
        self.posted
    }

    /// Whether a message should be sent now, only to tell of new receives: when they are worth it,
    /// or when the peer has no others to go on with.
    pub fn should_advertise(&self) -> bool {
        let untold = self.posted.wrapping_sub(self.advertised);
        let peer_has = self.advertised.wrapping_sub(self.received);
        untold > 0 && (untold >= self.depth / 2 || peer_has == 0)
    }

    /// Notes that a message carrying [`Receiver::cumulative`] is sent.
    pub fn advertised(&mut self) {
        self.advertised = self.posted;
    }

    /// Counts one data message received; `false` if the peer had no credit for it.
    pub fn received(&mut self) -> bool {
        if self.advertised == self.received {
            return false;
        }
        self.received = self.received.wrapping_add(1);
        true
    }
}

/// One side's account of the messages between the kernels.
///
/// # Invariants
///
/// Modulo 2^32, `acked <= sent <= acked + CTRL_SLOTS` and
/// `told <= received <= told + CTRL_SLOTS`.
#[derive(Clone, Debug, Default)]
pub struct Ctrl {
    sent: u32,
    acked: u32,
    received: u32,
    told: u32,
}

impl Ctrl {
    /// Begins with nothing sent and nothing received.
    pub const fn new() -> Self {
        Self::with_origin(0)
    }

    /// Like [`Ctrl::new`], for a connection whose counters begin at `origin` at both ends.
    pub const fn with_origin(origin: u32) -> Self {
        Self {
            sent: origin,
            acked: origin,
            received: origin,
            told: origin,
        }
    }

    /// Messages sent whose receive the peer may not have posted again yet.
    pub fn outstanding(&self) -> u32 {
        self.sent.wrapping_sub(self.acked)
    }

    /// Whether a message that has something to say may be sent now.
    pub fn can_send(&self) -> bool {
        self.outstanding() < CTRL_SLOTS - ACK_SLOTS
    }

    /// Whether a pure acknowledgement may be sent now.
    pub fn can_ack(&self) -> bool {
        self.outstanding() < CTRL_SLOTS
    }

    /// Whether the peer needs to hear from this side to go on sending.
    pub fn must_ack(&self) -> bool {
        self.untold() >= CTRL_SLOTS / 2
    }

    /// Counts one message sent, and returns the acknowledgement to put into it.
    pub fn sent(&mut self) -> u32 {
        self.sent = self.sent.wrapping_add(1);
        self.told = self.received;
        self.received
    }

    /// Counts one message received, after its receive was posted again, and takes the peer's
    /// acknowledgement.
    ///
    /// An acknowledgement that goes backwards or is of messages never sent is nonsense, as is a
    /// message for which the peer had no slot. Nonsense changes nothing.
    pub fn received(&mut self, ack: u32) -> Result<(), Nonsense> {
        let newly_acked = ack.wrapping_sub(self.acked);
        if newly_acked > self.outstanding() || self.untold() >= CTRL_SLOTS {
            return Err(Nonsense);
        }
        self.acked = ack;
        self.received = self.received.wrapping_add(1);
        Ok(())
    }

    fn untold(&self) -> u32 {
        self.received.wrapping_sub(self.told)
    }
}
