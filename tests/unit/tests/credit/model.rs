// SPDX-License-Identifier: GPL-2.0

//! Two kernels, the wire between them, and their programs.
//!
//! Each side uses the types of `credit` by the rules in its documentation. The wire delivers in
//! order and after any time. A receive is used from the moment a message is sent, because it can
//! arrive at any time from then on, until it is posted again.

use std::collections::VecDeque;

use dmaplane_unit::pure::credit::{Ctrl, Receiver, Sender, CTRL_SLOTS};

/// Something on the wire.
#[derive(Clone, Copy, Debug)]
pub enum Message {
    Data,
    Ctrl { credits: u32, ack: u32 },
}

/// Something that can happen at one side.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// The program sends data, if there is a credit.
    Data,
    /// The kernel sends a message that says something else than counts, if it may.
    Say,
    /// The kernel tells of new receives, if it should and may.
    Advertise,
    /// The kernel acknowledges, if it must and may.
    Acknowledge,
    /// The oldest message on the wire to this side is received.
    Receive,
    /// The program makes room for so many receives, and they are posted.
    Post(u32),
}

/// One side, and the wire to it.
#[derive(Clone, Debug)]
pub struct Side {
    pub ctrl: Ctrl,
    pub sender: Sender,
    pub receiver: Receiver,
    /// Messages to this side, oldest first.
    pub wire: VecDeque<Message>,
    /// Receives in the receive queue.
    pub receives: u32,
    /// Receives that the program has not made room for yet.
    pub held: u32,
    /// Depth of the peer, which is what it may grant.
    peer_depth: u32,

    // The truth that the types know only modulo 2^32 or not at all.
    pub data_sent: u64,
    pub data_received: u64,
    pub posted: u64,
    pub ctrl_sent: u64,
    pub adverts: u64,
    /// Counted since this side's last message.
    pub untold_posts: u64,
    pub untold_messages: u64,
    /// The last acknowledgement and grant that came, as counts since the beginning.
    pub acked: u64,
    pub granted: u64,
}

#[derive(Clone, Debug)]
pub struct Pair {
    pub sides: [Side; 2],
    origin: u32,
}

impl Pair {
    /// A connection over which nothing was sent. All counters begin at `origin`.
    pub fn new(depths: [u32; 2], origin: u32) -> Self {
        let side = |i: usize| {
            let (own, peer) = (depths[i], depths[1 - i]);
            Side {
                ctrl: Ctrl::with_origin(origin),
                sender: Sender::with_origin(peer, origin),
                receiver: Receiver::with_origin(own, own, origin),
                wire: VecDeque::new(),
                receives: own + CTRL_SLOTS,
                held: 0,
                peer_depth: peer,
                data_sent: 0,
                data_received: 0,
                posted: own.into(),
                ctrl_sent: 0,
                adverts: 0,
                untold_posts: 0,
                untold_messages: 0,
                acked: 0,
                granted: peer.into(),
            }
        };
        Self {
            sides: [side(0), side(1)],
            origin,
        }
    }

    /// Does `action` at side `i`; `false` if it is not possible now.
    pub fn step(&mut self, i: usize, action: Action) -> bool {
        let unanswered = self.unanswered();
        let side = &mut self.sides[i];
        let done = match action {
            Action::Data => {
                let done = side.sender.take();
                if done {
                    side.data_sent += 1;
                    self.put(i, Message::Data);
                }
                done
            }
            Action::Say => side.ctrl.can_send() && self.send_ctrl(i),
            Action::Advertise => {
                let should = side.receiver.should_advertise() && side.ctrl.can_send();
                if should {
                    side.adverts += 1;
                    self.send_ctrl(i);
                }
                should
            }
            Action::Acknowledge => {
                let must = side.ctrl.must_ack() && side.ctrl.can_ack();
                if must {
                    self.send_ctrl(i);
                    assert!(self.unanswered() < unanswered, "acknowledging forever");
                }
                must
            }
            Action::Receive => self.receive(i),
            Action::Post(n) => {
                let n = n.min(side.held);
                side.held -= n;
                side.receives += n;
                side.receiver.posted(n);
                side.posted += u64::from(n);
                side.untold_posts += u64::from(n);
                n > 0
            }
        };
        self.check();
        done
    }

    /// Messages between kernels that no message answered yet, under way or received. Receiving does
    /// not change this number, so acknowledging ends if it makes it smaller.
    fn unanswered(&self) -> u64 {
        let wires = self.sides.iter().flat_map(|side| &side.wire);
        let under_way = wires.filter(|m| matches!(m, Message::Ctrl { .. })).count();
        let received: u64 = self.sides.iter().map(|side| side.untold_messages).sum();
        under_way as u64 + received
    }

    fn put(&mut self, from: usize, message: Message) {
        self.sides[1 - from].wire.push_back(message);
    }

    fn send_ctrl(&mut self, i: usize) -> bool {
        let side = &mut self.sides[i];
        let credits = side.receiver.cumulative();
        side.receiver.advertised();
        let ack = side.ctrl.sent();
        side.ctrl_sent += 1;
        side.untold_posts = 0;
        side.untold_messages = 0;
        self.put(i, Message::Ctrl { credits, ack });
        true
    }

    fn receive(&mut self, i: usize) -> bool {
        let origin = self.origin;
        let side = &mut self.sides[i];
        match side.wire.pop_front() {
            None => return false,
            Some(Message::Data) => {
                assert!(side.receiver.received(), "data without a credit");
                side.receives -= 1;
                side.held += 1;
                side.data_received += 1;
                assert_eq!(side.receiver.missing(), side.held);
            }
            Some(Message::Ctrl { credits, ack }) => {
                // Its receive is posted again at once.
                side.ctrl.received(ack).expect("an acknowledgement");
                let before = side.sender.available();
                let new = side.sender.grant(credits, side.peer_depth);
                let new = new.expect("a grant");
                assert_eq!(side.sender.available(), before + new);
                side.untold_messages += 1;
                side.granted += u64::from(new);
                side.acked += u64::from(ack.wrapping_sub(origin.wrapping_add(side.acked as u32)));
            }
        }
        true
    }

    /// What must hold at any time.
    fn check(&self) {
        for (side, peer) in [(0, 1), (1, 0)].map(|(i, j)| (&self.sides[i], &self.sides[j])) {
            let wire = side.wire.len() as u32;
            assert!(wire <= side.receives, "receives can run out");

            let data = side.wire.iter();
            let data = data.filter(|m| matches!(m, Message::Data)).count() as u32;
            assert!(data <= side.receives - CTRL_SLOTS);
            assert!(wire - data <= CTRL_SLOTS);

            assert_eq!(
                u64::from(side.sender.available()),
                side.granted - side.data_sent
            );
            assert!(side.granted <= peer.posted);
            assert_eq!(
                u64::from(side.ctrl.outstanding()),
                side.ctrl_sent - side.acked
            );

            let reposted = side.posted - u64::from(peer.peer_depth);
            assert!(side.adverts <= reposted, "advertising forever");
        }
    }

    /// Whether nothing is under way.
    pub fn silent(&self) -> bool {
        self.sides.iter().all(|side| side.wire.is_empty())
    }

    /// Lets both sides do what they owe each other, all receives posted, until nothing happens.
    pub fn settle(&mut self) {
        let mut steps = 0;
        loop {
            let mut busy = false;
            for i in [0, 1] {
                busy |= self.step(i, Action::Post(u32::MAX));
                busy |= self.step(i, Action::Advertise);
                busy |= self.step(i, Action::Acknowledge);
                busy |= self.step(i, Action::Receive);
            }
            if !busy {
                break;
            }
            steps += 1;
            assert!(steps < 10_000, "never quiet");
        }
        for (side, peer) in [(0, 1), (1, 0)].map(|(i, j)| (&self.sides[i], &self.sides[j])) {
            assert!(side.ctrl.can_send(), "deadlock of messages");
            assert!(
                side.sender.available() > 0 || side.peer_depth == 0,
                "deadlock of data"
            );
            assert_eq!(side.receives, peer.peer_depth + CTRL_SLOTS);
            assert_eq!(side.data_received, peer.data_sent);
            assert_eq!(side.ctrl.outstanding(), peer.untold_messages as u32);
        }
    }

    /// What the future of this pair depends on, which is the same for pairs of equal futures: all
    /// counts are relative.
    pub fn key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(64);
        let mut push = |n: u64| key.push(u8::try_from(n).expect("a small number"));
        for (side, peer) in [(0, 1), (1, 0)].map(|(i, j)| (&self.sides[i], &self.sides[j])) {
            push(side.ctrl.outstanding().into());
            push(side.untold_messages);
            push(side.sender.available().into());
            push(side.untold_posts);
            push(peer.data_sent - side.data_received);
            push(side.held.into());
            push(side.receives.into());
            let granted = self.origin.wrapping_add(side.granted as u32);
            let acked = self.origin.wrapping_add(side.acked as u32);
            for message in &side.wire {
                match message {
                    Message::Data => push(0xff),
                    Message::Ctrl { credits, ack } => {
                        push(credits.wrapping_sub(granted).into());
                        push(ack.wrapping_sub(acked).into());
                    }
                }
            }
            push(0xfe);
        }
        key
    }
}
