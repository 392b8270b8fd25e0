// SPDX-License-Identifier: GPL-2.0

//! Tests of `src/pure/carve.rs`: ranges against one byte at a time.

mod common;

use dmaplane_unit::pure::carve::{check, count, cuts, pieces, Cut, Piece, RangeError};
use proptest::prelude::*;

use common::config;

#[test]
fn ranges() {
    assert_eq!(check(0, 10, 10), Ok(()));
    assert_eq!(check(10, 0, 10), Ok(()));
    assert_eq!(check(11, 0, 10), Err(RangeError::Beyond));
    assert_eq!(check(1, 10, 10), Err(RangeError::Beyond));
    assert_eq!(check(u64::MAX, 1, u64::MAX), Err(RangeError::Overflow));
    assert_eq!(check(1, u64::MAX, 10), Err(RangeError::Overflow));
    assert_eq!(check(u64::MAX, 0, u64::MAX), Ok(()));
    assert_eq!(check(0, u64::MAX, u64::MAX), Ok(()));
}

fn piece(segment: u32, offset: u64, length: u32) -> Piece {
    Piece {
        segment,
        offset,
        length,
    }
}

#[test]
fn a_range_over_three_segments() {
    let all: Vec<_> = pieces(4095, 4098, 4096).collect();
    let expected = [piece(0, 4095, 1), piece(1, 0, 4096), piece(2, 0, 1)];
    assert_eq!(all, expected);
    assert_eq!(count(4095, 4098, 4096), 3);
}

#[test]
fn a_range_that_ends_at_a_boundary() {
    let all: Vec<_> = pieces(4096, 4096, 4096).collect();
    assert_eq!(all, [piece(1, 0, 4096)]);
}

#[test]
fn an_empty_range_has_a_segment() {
    let only = |offset| pieces(offset, 0, 4096).collect::<Vec<_>>();
    assert_eq!(only(0), [piece(0, 0, 0)]);
    assert_eq!(only(17), [piece(0, 17, 0)]);
    // At the end of a memory of two segments there is no third one.
    assert_eq!(only(8192), [piece(1, 4096, 0)]);
    assert_eq!(count(8192, 0, 4096), 1);
}

#[test]
fn an_iterator_that_ended_stays_ended() {
    let mut all = pieces(0, 1, 4096);
    assert!(all.next().is_some());
    assert_eq!(all.next(), None);
    assert_eq!(all.next(), None);
}

#[test]
fn extreme_numbers() {
    let far: Vec<_> = pieces(u64::MAX, u32::MAX, 1 << 32).collect();
    let lengths = far.iter().map(|piece| u64::from(piece.length));
    assert_eq!(lengths.sum::<u64>(), u64::from(u32::MAX));
    assert_eq!(far[0], piece(u32::MAX, (1 << 32) - 1, 1));
    assert_eq!(pieces(u64::MAX, 0, 1).next(), Some(piece(u32::MAX, 1, 0)));
    assert_eq!(count(0, u32::MAX, 1), u32::MAX);
    assert_eq!(count(u64::MAX, u32::MAX, u64::MAX), 1);
    assert_eq!(count(u64::MAX - 1, u32::MAX, u64::MAX), 2);

    let beyond = pieces(u64::from(u32::MAX) * 4096, 8192, 4096);
    assert!(beyond.map(|piece| piece.segment).eq([u32::MAX; 2]));

    let uncut: Vec<_> = pieces(7, u32::MAX, 0).collect();
    assert_eq!(uncut, [piece(0, 7, u32::MAX)]);
}

#[test]
fn an_empty_transfer_is_one_cut() {
    let only: Vec<_> = cuts(8, 4, 6, 4, 0).collect();
    let (local, remote) = (piece(1, 4, 0), piece(1, 2, 0));
    assert_eq!(only, [Cut { local, remote }]);
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn checked_against_wide_numbers(
        offset in prop_oneof![0..100u64, any::<u64>()],
        length in prop_oneof![0..100u64, any::<u64>()],
        limit in prop_oneof![0..200u64, any::<u64>(), Just(u64::MAX)],
    ) {
        let end = u128::from(offset) + u128::from(length);
        let expected = if end > u128::from(u64::MAX) {
            Err(RangeError::Overflow)
        } else if end > u128::from(limit) {
            Err(RangeError::Beyond)
        } else {
            Ok(())
        };
        prop_assert_eq!(check(offset, length, limit), expected);
    }

    /// Each byte is in the piece it belongs to, once, and a piece ends only where a segment does.
    #[test]
    fn byte_by_byte(offset in 0..200u64, length in 1..300u32, segment in 1..70u64) {
        let mut expected: Vec<Piece> = Vec::new();
        for byte in offset..offset + u64::from(length) {
            let number = (byte / segment) as u32;
            match expected.last_mut() {
                Some(last) if last.segment == number => last.length += 1,
                _ => expected.push(piece(number, byte % segment, 1)),
            }
        }
        let all: Vec<_> = pieces(offset, length, segment).collect();
        prop_assert_eq!(&all, &expected);
        prop_assert_eq!(count(offset, length, segment), expected.len() as u32);
    }

    /// Each byte goes from its place here to its place there, in order, and a cut is only where a
    /// segment ends.
    #[test]
    fn transfers_byte_by_byte(
        (local, remote) in (0..200u64, 0..200u64),
        (here, there) in (1..70u64, 1..70u64),
        length in 1..300u32,
    ) {
        let mut expected: Vec<Cut> = Vec::new();
        for byte in 0..u64::from(length) {
            let (from, to) = (local + byte, remote + byte);
            let (mine, theirs) = ((from / here) as u32, (to / there) as u32);
            match expected.last_mut() {
                Some(cut) if (cut.local.segment, cut.remote.segment) == (mine, theirs) => {
                    cut.local.length += 1;
                    cut.remote.length += 1;
                }
                _ => expected.push(Cut {
                    local: piece(mine, from % here, 1),
                    remote: piece(theirs, to % there, 1),
                }),
            }
        }
        let all: Vec<_> = cuts(local, here, remote, there, length).collect();
        prop_assert_eq!(all, expected);
    }

    /// Large ranges inside a memory: nothing is lost, and every piece is in a segment that exists.
    #[test]
    fn large_ranges(
        shift in 12..40u32,
        limit in 1..u64::MAX / 2,
        at in 0.0..=1.0f64,
        length: u32,
    ) {
        let segment = 1u64 << shift;
        let limit = limit.min(segment << 16);
        let offset = (limit as f64 * at) as u64;
        let offset = offset.min(limit);
        let length = u64::from(length).min(limit - offset) as u32;
        prop_assert_eq!(check(offset, length.into(), limit), Ok(()));

        let total = limit.div_ceil(segment);
        let (mut next, mut n) = (offset, 0u32);
        for piece in pieces(offset, length, segment) {
            prop_assert!(u64::from(piece.segment) < total);
            prop_assert_eq!(u64::from(piece.segment) * segment + piece.offset, next);
            prop_assert!(piece.offset + u64::from(piece.length) <= segment);
            prop_assert!(piece.length > 0 || length == 0);
            next += u64::from(piece.length);
            n += 1;
        }
        prop_assert_eq!(next, offset + u64::from(length));
        prop_assert_eq!(n, count(offset, length, segment));
    }

    #[test]
    fn any_numbers(offset: u64, length in 0..100_000u32, segment: u64) {
        let all = pieces(offset, length, segment);
        let (n, sum) = all.fold((0, 0), |(n, sum), piece| (n + 1, sum + piece.length));
        prop_assert_eq!((n, sum), (count(offset, length, segment), length));
    }
}
