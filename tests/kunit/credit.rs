// SPDX-License-Identifier: GPL-2.0

//! Flow control while its counters pass 2^32, and against a peer that lies.

use kernel::prelude::*;

#[kunit_tests(dmaplane_credit)]
mod tests {
    use crate::pure::credit::*;

    /// Three counts before the counters are 0 again.
    const ORIGIN: u32 = u32::MAX - 2;

    #[test]
    fn data_flows_past_the_end_of_the_counters() {
        let depth = 4;
        let mut sender = Sender::with_origin(depth, ORIGIN);
        let mut receiver = Receiver::with_origin(depth, depth, ORIGIN);
        for _ in 0..5 {
            for left in (0..depth).rev() {
                assert!(sender.take());
                assert_eq!(sender.available(), left);
                assert!(receiver.received());
            }
            assert!(!sender.take());
            // The peer has no credit, so it cannot have sent.
            assert!(!receiver.received());
            assert_eq!(receiver.missing(), depth);
            receiver.posted(u32::MAX);
            assert_eq!(receiver.outstanding(), depth);
            assert!(receiver.should_advertise());
            assert_eq!(sender.grant(receiver.cumulative(), depth), Ok(depth));
            receiver.advertised();
            assert!(!receiver.should_advertise());
        }
    }

    #[test]
    fn grants_that_cannot_be() {
        let mut sender = Sender::with_origin(2, ORIGIN);
        assert!(sender.take());
        for lie in [
            ORIGIN,
            ORIGIN.wrapping_add(1),
            ORIGIN.wrapping_add(6),
            ORIGIN.wrapping_add(1 << 31),
        ] {
            assert_eq!(sender.grant(lie, 4), Err(Nonsense));
            assert_eq!(sender.available(), 1);
        }
        assert_eq!(sender.grant(ORIGIN.wrapping_add(5), 4), Ok(3));
        assert_eq!(sender.available(), 4);
        assert_eq!(sender.grant(ORIGIN.wrapping_add(5), 4), Ok(0));
    }

    #[test]
    fn messages_flow_past_the_end_of_the_counters() {
        let mut here = Ctrl::with_origin(ORIGIN);
        let mut there = Ctrl::with_origin(ORIGIN);
        for _ in 0..10 {
            assert!(here.can_send());
            assert_eq!(there.received(here.sent()), Ok(()));
            assert!(there.can_send());
            assert_eq!(here.received(there.sent()), Ok(()));
            assert_eq!(here.outstanding(), 0);
        }
    }

    #[test]
    fn the_last_slots_are_for_acknowledgements() {
        let mut ctrl = Ctrl::with_origin(ORIGIN);
        let mut said = 0;
        while ctrl.can_send() {
            ctrl.sent();
            said += 1;
        }
        assert!(said < CTRL_SLOTS);
        while ctrl.can_ack() {
            ctrl.sent();
            said += 1;
        }
        assert_eq!(said, CTRL_SLOTS);
    }

    #[test]
    fn a_peer_that_does_not_wait() {
        let mut ctrl = Ctrl::with_origin(ORIGIN);
        for _ in 0..CTRL_SLOTS {
            assert_eq!(ctrl.received(ORIGIN), Ok(()));
        }
        assert!(ctrl.must_ack());
        assert_eq!(ctrl.received(ORIGIN), Err(Nonsense));
        // It may go on when it was told.
        assert_eq!(ctrl.sent(), ORIGIN.wrapping_add(CTRL_SLOTS));
        assert!(!ctrl.must_ack());
        assert_eq!(ctrl.received(ORIGIN), Ok(()));
    }

    #[test]
    fn acknowledgements_that_cannot_be() {
        let mut ctrl = Ctrl::with_origin(ORIGIN);
        ctrl.sent();
        ctrl.sent();
        assert_eq!(ctrl.received(ORIGIN.wrapping_add(1)), Ok(()));
        for lie in [ORIGIN, ORIGIN.wrapping_add(3), ORIGIN.wrapping_add(1 << 31)] {
            assert_eq!(ctrl.received(lie), Err(Nonsense));
            assert_eq!(ctrl.outstanding(), 1);
        }
        assert_eq!(ctrl.received(ORIGIN.wrapping_add(2)), Ok(()));
        assert_eq!(ctrl.outstanding(), 0);
    }
}
