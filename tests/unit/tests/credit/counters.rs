// SPDX-License-Identifier: GPL-2.0

//! The counters one by one, and what they make of a peer that does not follow the rules.

use dmaplane_unit::pure::credit::{Ctrl, Nonsense, Receiver, Sender, CTRL_SLOTS};
use proptest::prelude::*;

use crate::common::config;

#[test]
fn a_sender_sends_what_it_was_granted() {
    let mut sender = Sender::new(2);
    assert_eq!(sender.available(), 2);
    assert!(sender.take());
    assert!(sender.take());
    assert!(!sender.take());
    assert_eq!(sender.grant(5, 8), Ok(3));
    assert_eq!(sender.available(), 3);
    assert_eq!(sender.grant(5, 8), Ok(0));
}

#[test]
fn a_sender_believes_no_impossible_grant() {
    let mut sender = Sender::new(4);
    assert!(sender.take());
    // One of four was sent: up to 5 there are at most 4 under way.
    assert_eq!(sender.grant(6, 4), Err(Nonsense));
    assert_eq!(sender.grant(3, 4), Err(Nonsense));
    assert_eq!(sender.grant(0, 4), Err(Nonsense));
    assert_eq!(sender.available(), 3);
    assert_eq!(sender.grant(5, 4), Ok(1));
}

#[test]
fn a_receiver_counts_what_the_peer_may_send() {
    let mut receiver = Receiver::new(4, 2);
    assert_eq!(receiver.missing(), 2);
    assert!(receiver.received());
    assert!(receiver.received());
    assert!(!receiver.received());
    assert_eq!(receiver.missing(), 4);

    receiver.posted(1);
    assert_eq!(receiver.cumulative(), 3);
    // Posted, but the peer does not know.
    assert!(!receiver.received());
    receiver.advertised();
    assert!(receiver.received());
}

#[test]
fn a_receiver_never_posts_more_than_its_depth() {
    let mut receiver = Receiver::new(4, 0);
    receiver.posted(u32::MAX);
    assert_eq!(receiver.cumulative(), 4);
    assert_eq!(receiver.missing(), 0);
}

#[test]
fn a_receiver_advertises_when_it_is_worth_a_message() {
    let mut receiver = Receiver::new(8, 8);
    assert!(!receiver.should_advertise());
    for _ in 0..5 {
        assert!(receiver.received());
    }
    receiver.posted(3);
    assert!(!receiver.should_advertise(), "the peer has three left");
    receiver.posted(1);
    assert!(receiver.should_advertise(), "half of the depth");
    receiver.advertised();
    assert!(!receiver.should_advertise());
}

#[test]
fn a_receiver_advertises_when_the_peer_has_none_left() {
    let mut receiver = Receiver::new(8, 8);
    for _ in 0..8 {
        assert!(receiver.received());
    }
    assert!(!receiver.should_advertise(), "nothing to tell");
    receiver.posted(1);
    assert!(receiver.should_advertise());
}

#[test]
fn a_receiver_of_depth_one_advertises_each_receive() {
    let mut receiver = Receiver::new(1, 1);
    for _ in 0..3 {
        assert!(!receiver.should_advertise());
        assert!(receiver.received());
        receiver.posted(1);
        assert!(receiver.should_advertise());
        receiver.advertised();
    }
}

#[test]
fn the_last_slots_are_for_acknowledgements() {
    let mut ctrl = Ctrl::new();
    for sent in 0..CTRL_SLOTS {
        assert_eq!(ctrl.outstanding(), sent);
        assert_eq!(ctrl.can_send(), sent < CTRL_SLOTS - 2);
        assert!(ctrl.can_ack());
        assert_eq!(ctrl.sent(), 0);
    }
    assert!(!ctrl.can_send());
    assert!(!ctrl.can_ack());
    assert_eq!(ctrl.received(CTRL_SLOTS), Ok(()));
    assert!(ctrl.can_send());
}

#[test]
fn half_of_the_slots_must_be_acknowledged() {
    let mut ctrl = Ctrl::new();
    for _ in 0..CTRL_SLOTS / 2 {
        assert!(!ctrl.must_ack());
        assert_eq!(ctrl.received(0), Ok(()));
    }
    assert!(ctrl.must_ack());
    assert_eq!(ctrl.sent(), CTRL_SLOTS / 2);
    assert!(!ctrl.must_ack());
}

#[test]
fn impossible_acknowledgements_change_nothing() {
    let mut ctrl = Ctrl::with_origin(u32::MAX);
    assert_eq!(ctrl.sent(), u32::MAX);
    assert_eq!(ctrl.sent(), u32::MAX);
    assert_eq!(ctrl.received(2), Err(Nonsense), "never sent");
    assert_eq!(ctrl.received(0), Ok(()));
    assert_eq!(ctrl.received(u32::MAX), Err(Nonsense), "backwards");
    assert_eq!(ctrl.outstanding(), 1);
    assert_eq!(ctrl.sent(), 0, "one was received");
}

#[test]
fn a_peer_that_sends_without_a_slot_is_noticed() {
    let mut ctrl = Ctrl::new();
    for _ in 0..CTRL_SLOTS {
        assert_eq!(ctrl.received(0), Ok(()));
    }
    assert_eq!(ctrl.received(0), Err(Nonsense));
    assert_eq!(ctrl.sent(), CTRL_SLOTS);
    assert_eq!(ctrl.received(0), Ok(()));
}

proptest! {
    #![proptest_config(config(2000))]

    /// A grant is taken if and only if it lies between the last one and `max` messages from now.
    #[test]
    fn grants_against_unbounded_numbers(
        origin in any::<u32>(),
        initial in 0..100u32,
        steps in prop::collection::vec((0..20u32, -150..150i64, 0..120u32), 0..40),
    ) {
        let mut sender = Sender::with_origin(initial, origin);
        let (mut granted, mut sent) = (i64::from(initial), 0i64);
        for (takes, by, max) in steps {
            for _ in 0..takes {
                let may = sent < granted;
                prop_assert_eq!(sender.take(), may);
                sent += i64::from(may);
            }
            let to = granted + by;
            let expected = if to >= granted && to - sent <= i64::from(max) {
                granted = to;
                Ok(by as u32)
            } else {
                Err(Nonsense)
            };
            prop_assert_eq!(sender.grant(origin.wrapping_add(to as u32), max), expected);
            prop_assert_eq!(i64::from(sender.available()), granted - sent);
        }
    }

    /// Nothing that a peer says breaks the bounds that the types promise.
    #[test]
    fn any_numbers_from_the_peer(
        origin in any::<u32>(),
        steps in prop::collection::vec((0..3u8, any::<u32>(), -10..10i32), 0..100),
    ) {
        let mut ctrl = Ctrl::with_origin(origin);
        let mut sender = Sender::with_origin(3, origin);
        for (what, wild, near) in steps {
            let number = if what == 0 { wild } else { origin.wrapping_add_signed(near) };
            let _ = ctrl.received(number);
            let _ = sender.grant(number, 7);
            if wild % 3 == 0 && ctrl.can_ack() {
                ctrl.sent();
            }
            if wild % 5 == 0 {
                sender.take();
            }
            prop_assert!(ctrl.outstanding() <= CTRL_SLOTS);
            prop_assert!(sender.available() <= 7);
        }
    }
}
