// SPDX-License-Identifier: GPL-2.0

//! Tests of `src/pure/carve.rs`: ranges against one byte at a time.

mod common;

use dmaplane_unit::pure::carve::{check, count, cuts, pieces, Cut, Part, Piece, RangeError};
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

fn part(local: u64, remote: u64, length: u32) -> Part {
    Part {
        local,
        remote,
        length,
    }
}

#[test]
fn neighbours_are_joined() {
    let first = part(100, 5000, 20);
    assert_eq!(first.join(&part(120, 5020, 7)), Some(part(100, 5000, 27)));
    // At one side only, the wrong way round, with a gap, one over the other.
    assert_eq!(first.join(&part(120, 5021, 7)), None);
    assert_eq!(first.join(&part(121, 5020, 7)), None);
    assert_eq!(part(120, 5020, 7).join(&first), None);
    assert_eq!(first.join(&part(119, 5019, 7)), None);
    // Nothing goes on where it is.
    assert_eq!(part(1, 2, 0).join(&part(1, 2, 3)), Some(part(1, 2, 3)));
    assert_eq!(first.join(&part(120, 5020, 0)), Some(first));
}

#[test]
fn what_is_too_long_is_not_joined() {
    const HALF: u32 = 1 << 31;
    let (first, far) = (part(0, 0, HALF), u64::from(HALF));
    assert_eq!(
        first.join(&part(far, far, HALF - 1)),
        Some(part(0, 0, u32::MAX))
    );
    assert_eq!(first.join(&part(far, far, HALF)), None);
    // What ends beyond all numbers has no neighbour, at 0 least of all.
    let last = part(u64::MAX, 0, 1);
    assert_eq!(last.join(&part(0, 1, 1)), None);
    let last = part(0, u64::MAX, 1);
    assert_eq!(last.join(&part(1, 0, 1)), None);
    let last = part(u64::MAX - 1, u64::MAX - 1, 1);
    assert_eq!(
        last.join(&part(u64::MAX, u64::MAX, 1)),
        Some(part(u64::MAX - 1, u64::MAX - 1, 2))
    );
}

/// As an entry's list is made of them.
fn joined(parts: &[Part]) -> Vec<Part> {
    let mut list: Vec<Part> = Vec::new();
    for next in parts {
        match list.last().and_then(|last| last.join(next)) {
            Some(both) => *list.last_mut().unwrap() = both,
            None => list.push(*next),
        }
    }
    list
}

/// Numbers near where something ends.
fn edge() -> BoxedStrategy<u64> {
    let near = |edge: u64| (0..40u64).prop_map(move |n| edge.wrapping_add(n).wrapping_sub(20));
    prop_oneof![
        4 => 0..200u64,
        1 => near(1 << 31),
        1 => near(1 << 32),
        1 => near(0),
        1 => near(1 << 63),
        1 => any::<u64>(),
    ]
    .boxed()
}

fn length() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => 0..40u32,
        1 => (0..40u32).prop_map(|n| (1 << 31) - 20 + n),
        1 => (0..40u32).prop_map(|n| u32::MAX - n),
        1 => any::<u32>(),
    ]
}

/// Lists, most of whose parts go on where the one before ended, at both sides or at one of them.
fn lists(
    places: impl Strategy<Value = u64> + Clone,
    lengths: impl Strategy<Value = u32>,
) -> impl Strategy<Value = Vec<Part>> {
    let one = (0..8u32, places.clone(), places, lengths);
    prop::collection::vec(one, 1..40).prop_map(|all| {
        let (mut here, mut there) = (0u64, 0u64);
        all.into_iter()
            .map(|(how, local, remote, length)| {
                let local = if how < 6 { here } else { local };
                let remote = if how != 5 && how < 7 { there } else { remote };
                (here, there) = (
                    local.wrapping_add(length.into()),
                    remote.wrapping_add(length.into()),
                );
                part(local, remote, length)
            })
            .collect()
    })
}

/// What is moved from where to where, in order, with numbers that do not end: neighbours as one,
/// without what is nothing.
fn moves(parts: &[Part]) -> Vec<(u128, u128, u128)> {
    let mut all: Vec<(u128, u128, u128)> = Vec::new();
    for part in parts.iter().filter(|part| part.length > 0) {
        let (local, remote) = (u128::from(part.local), u128::from(part.remote));
        let length = u128::from(part.length);
        match all.last_mut() {
            Some(last) if (last.0 + last.2, last.1 + last.2) == (local, remote) => last.2 += length,
            _ => all.push((local, remote, length)),
        }
    }
    all
}

proptest! {
    #![proptest_config(config(2000))]

    /// A list that is joined moves the same bytes to the same places, in the same order; no two of
    /// what is left could be one, unless that were too long.
    #[test]
    fn joined_lists_move_the_same(parts in lists(edge(), length())) {
        let list = joined(&parts);
        prop_assert!(list.len() <= parts.len());
        prop_assert_eq!(moves(&list), moves(&parts));
        let bytes = |parts: &[Part]| parts.iter().map(|p| u64::from(p.length)).sum::<u64>();
        prop_assert_eq!(bytes(&list), bytes(&parts));
        for two in list.windows(2) {
            let neighbours = moves(two).len() < 2 && two.iter().all(|part| part.length > 0);
            let sum = u64::from(two[0].length) + u64::from(two[1].length);
            prop_assert!(!neighbours || sum > u64::from(u32::MAX));
        }
    }

    /// A joined list lies in a memory if all that was joined does.
    #[test]
    fn joined_lists_are_judged_alike(
        parts in lists(edge(), length()),
        limit in prop_oneof![edge(), Just(u64::MAX)],
    ) {
        let fits = |parts: &[Part]| {
            parts.iter().all(|part| {
                check(part.local, part.length.into(), limit).is_ok()
                    && check(part.remote, part.length.into(), limit).is_ok()
            })
        };
        prop_assert_eq!(fits(&joined(&parts)), fits(&parts));
    }

    /// Cut where segments end, byte by byte.
    #[test]
    fn joined_lists_are_cut_alike(
        parts in lists(0..200u64, 0..40u32),
        (here, there) in (1..70u64, 1..70u64),
    ) {
        let bytes = |parts: &[Part]| -> Vec<(u64, u64)> {
            let all = parts
                .iter()
                .flat_map(|part| cuts(part.local, here, part.remote, there, part.length));
            all.flat_map(|cut| {
                let local = u64::from(cut.local.segment) * here + cut.local.offset;
                let remote = u64::from(cut.remote.segment) * there + cut.remote.offset;
                (0..u64::from(cut.local.length)).map(move |byte| (local + byte, remote + byte))
            })
            .collect()
        };
        let expected: Vec<_> = parts
            .iter()
            .flat_map(|part| {
                let place = |byte| (part.local + byte, part.remote + byte);
                (0..u64::from(part.length)).map(place)
            })
            .collect();
        prop_assert_eq!(bytes(&parts), &expected[..]);
        prop_assert_eq!(bytes(&joined(&parts)), expected);
    }

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
