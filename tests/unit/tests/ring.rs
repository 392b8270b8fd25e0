// SPDX-License-Identifier: GPL-2.0

//! Tests of `src/pure/ring.rs`: a completion ring against a queue.

mod common;

use std::collections::VecDeque;

use dmaplane_unit::pure::ring::{distance, Completions, Corrupt};
use proptest::prelude::*;

use common::config;

#[test]
fn distances() {
    assert_eq!(distance(0, 0, 8), Ok(0));
    assert_eq!(distance(0, 8, 8), Ok(8));
    assert_eq!(distance(0, 9, 8), Err(Corrupt));
    assert_eq!(distance(1, 0, 8), Err(Corrupt));
    assert_eq!(distance(u32::MAX, 3, 8), Ok(4));
    assert_eq!(distance(u32::MAX - 4, 4, 8), Err(Corrupt));
}

#[test]
fn a_full_ring_has_no_room() {
    let mut ring = Completions::new(2);
    assert_eq!(ring.reserve_up_to(0, 1), Ok(1));
    assert_eq!(ring.reserve_up_to(0, 1), Ok(1));
    assert_eq!(ring.reserve_up_to(0, 1), Ok(0));
    assert_eq!(ring.push(), 0);
    assert_eq!(ring.push(), 1);
    assert_eq!((ring.tail(), ring.reserved()), (2, 0));
    assert_eq!(ring.reserve_up_to(0, 1), Ok(0));
    assert_eq!(ring.available(0), Ok(2));
    assert_eq!(ring.reserve_up_to(1, 1), Ok(1));
    assert_eq!(ring.push(), 0);
}

#[test]
fn a_corrupt_head_reserves_nothing() {
    let mut ring = Completions::new(4);
    assert_eq!(ring.reserve_up_to(u32::MAX - 4, 1), Err(Corrupt));
    assert_eq!(ring.reserve_up_to(1, 1), Err(Corrupt));
    assert_eq!(ring.available(1), Err(Corrupt));
    assert_eq!(ring.reserved(), 0);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Reserve(u32),
    Release(u32),
    Push(u32),
    Reap(u32),
    /// User space writes its head anywhere, and sets it right again.
    Lie(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Reserve(1)),
        (0..20u32).prop_map(Step::Reserve),
        (0..6u32).prop_map(Step::Release),
        (0..12u32).prop_map(Step::Push),
        (0..12u32).prop_map(Step::Reap),
        any::<u32>().prop_map(Step::Lie),
        (0..80u32).prop_map(Step::Lie),
    ]
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn distance_is_what_is_missing(head: u32, tail: u32, entries in 0..=u32::MAX) {
        match distance(head, tail, entries) {
            Ok(n) => prop_assert!(n <= entries && head.wrapping_add(n) == tail),
            Err(Corrupt) => prop_assert!(tail.wrapping_sub(head) > entries),
        }
    }

    /// Entries come out as they went in, none is overwritten, and every reservation has a place.
    #[test]
    fn against_a_queue(
        shift in 0..7u32,
        back in prop_oneof![0..100u32, any::<u32>()],
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let entries = 1u32 << shift;
        let origin = 0u32.wrapping_sub(back);
        let mut ring = Completions::with_origin(entries, origin);
        let mut memory = vec![None; entries as usize];
        let mut queue = VecDeque::new();
        let (mut head, mut reserved, mut number) = (origin, 0, 0u32);
        for step in steps {
            let room = entries - queue.len() as u32 - reserved;
            match step {
                Step::Reserve(n) => {
                    prop_assert_eq!(ring.reserve_up_to(head, n), Ok(n.min(room)));
                    reserved += n.min(room);
                }
                Step::Release(n) => {
                    ring.release(n);
                    reserved -= n.min(reserved);
                }
                Step::Push(n) => {
                    for _ in 0..n.min(reserved) {
                        let slot = ring.push() as usize;
                        prop_assert_eq!(memory[slot].replace(number), None);
                        queue.push_back(number);
                        number += 1;
                        reserved -= 1;
                    }
                }
                Step::Reap(n) => {
                    for _ in 0..n.min(ring.available(head).unwrap()) {
                        let slot = (head & (entries - 1)) as usize;
                        prop_assert_eq!(memory[slot].take(), queue.pop_front());
                        head = head.wrapping_add(1);
                    }
                }
                Step::Lie(by) => {
                    let lie = head.wrapping_add(by);
                    let length = queue.len() as u32;
                    let expected = match length.checked_sub(by) {
                        Some(n) => Ok(n),
                        None if length.wrapping_sub(by) <= entries => Ok(length.wrapping_sub(by)),
                        None => Err(Corrupt),
                    };
                    prop_assert_eq!(ring.available(lie), expected);
                    prop_assert_eq!(ring.room(lie).is_err(), expected.is_err());
                }
            }
            prop_assert_eq!(ring.reserved(), reserved);
            prop_assert_eq!(ring.available(head), Ok(queue.len() as u32));
            prop_assert_eq!(ring.tail(), head.wrapping_add(queue.len() as u32));
            prop_assert_eq!(ring.room(head), Ok(entries - queue.len() as u32 - reserved));
        }
    }
}
