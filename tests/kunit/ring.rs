// SPDX-License-Identifier: GPL-2.0

//! Rings whose indices pass 2^32, and whose user writes anything into them.

use kernel::prelude::*;

#[kunit_tests(dmaplane_ring)]
mod tests {
    use crate::pure::ring::*;

    const ORIGIN: u32 = u32::MAX - 2;

    #[test]
    fn distances_past_the_end_of_the_indices() {
        assert_eq!(distance(ORIGIN, ORIGIN, 8), Ok(0));
        assert_eq!(distance(ORIGIN, 5, 8), Ok(8));
        assert_eq!(distance(ORIGIN, 6, 8), Err(Corrupt));
        assert_eq!(distance(5, ORIGIN, 8), Err(Corrupt));
        assert_eq!(distance(0, 1 << 31, 1 << 31), Ok(1 << 31));
        assert_eq!(distance(1, 0, u32::MAX), Ok(u32::MAX));
    }

    #[test]
    fn completions_past_the_end_of_the_indices() {
        let mut ring = Completions::with_origin(8, ORIGIN);
        let mut head = ORIGIN;
        for round in 0..5 {
            assert_eq!(ring.reserve_up_to(head, u32::MAX), Ok(8));
            assert_eq!(ring.reserve_up_to(head, 1), Ok(0));
            for i in 0..8 {
                assert_eq!(ring.push(), (ORIGIN % 8 + i) % 8);
            }
            assert_eq!(ring.reserved(), 0);
            assert_eq!(ring.available(head), Ok(8));
            // Published entries take room until they are reaped.
            assert_eq!(ring.room(head), Ok(0));
            head = ring.tail();
            assert_eq!(head, ORIGIN.wrapping_add(8 * (round + 1)));
            assert_eq!(ring.room(head), Ok(8));
        }
    }

    #[test]
    fn heads_that_cannot_be() {
        let mut ring = Completions::with_origin(8, ORIGIN);
        assert_eq!(ring.reserve_up_to(ORIGIN, 3), Ok(3));
        ring.push();
        for head in [
            ORIGIN.wrapping_add(2),
            ORIGIN.wrapping_sub(8),
            ORIGIN ^ 1 << 31,
        ] {
            assert_eq!(ring.available(head), Err(Corrupt));
            assert_eq!(ring.room(head), Err(Corrupt));
            assert_eq!(ring.reserve_up_to(head, 1), Err(Corrupt));
            assert_eq!(ring.reserved(), 2);
        }
        assert_eq!(ring.room(ORIGIN), Ok(5));
    }

    #[test]
    fn more_given_back_than_was_taken() {
        let mut ring = Completions::with_origin(8, ORIGIN);
        assert_eq!(ring.reserve_up_to(ORIGIN, 1), Ok(1));
        ring.release(u32::MAX);
        assert_eq!(ring.reserved(), 0);
        assert_eq!(ring.reserve_up_to(ORIGIN, u32::MAX), Ok(8));
        ring.release(3);
        assert_eq!(ring.room(ORIGIN), Ok(3));
    }
}
