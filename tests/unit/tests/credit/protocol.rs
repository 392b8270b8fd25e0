// SPDX-License-Identifier: GPL-2.0

//! The proof of the protocol: every order of events for shallow queues, random ones for deep queues.
//!
//! The model asserts at every step that no receive queue can run empty, that every count the types
//! believe is true, and that acknowledging comes to an end. Here both sides come to rest in every
//! way they can, and must then be able to go on.

use std::collections::HashSet;

use proptest::prelude::*;

use crate::common::config;
use crate::model::{Action, Pair};

const ACTIONS: [Action; 6] = [
    Action::Data,
    Action::Say,
    Action::Advertise,
    Action::Acknowledge,
    Action::Receive,
    Action::Post(1),
];

/// Goes through everything that can happen; returns how many states there are.
fn explore(depths: [u32; 2]) -> usize {
    let start = Pair::new(depths, u32::MAX - 3);
    let mut seen = HashSet::from([start.key()]);
    let mut todo = vec![start];
    while let Some(pair) = todo.pop() {
        // Every state leads to a silent one, by receiving what is under way, so those tell whether
        // there is a deadlock.
        if pair.silent() {
            pair.clone().settle();
        }
        for i in [0, 1] {
            for action in ACTIONS {
                let mut next = pair.clone();
                if next.step(i, action) && seen.insert(next.key()) {
                    todo.push(next);
                }
            }
        }
    }
    seen.len()
}

#[test]
fn every_order_of_messages_without_data() {
    assert_eq!(explore([0, 0]), 40_074);
}

#[test]
fn every_order_with_data_one_way() {
    assert_eq!(explore([0, 1]), 369_606);
}

/// Takes a minute; run it after a change of `credit.rs`: `cargo test --release --features deep`.
#[cfg(feature = "deep")]
#[test]
fn every_order_with_data_both_ways_or_deeper() {
    assert_eq!(explore([1, 1]), 3_510_100);
    assert_eq!(explore([0, 2]), 1_939_853);
    assert_eq!(explore([0, 3]), 7_582_428);
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => Just(Action::Data),
        2 => Just(Action::Say),
        2 => Just(Action::Advertise),
        2 => Just(Action::Acknowledge),
        4 => Just(Action::Receive),
        2 => (1..40u32).prop_map(Action::Post),
    ]
}

/// Bursts of one action: they reach the ends of queues that evenly mixed actions never do.
fn bursts() -> impl Strategy<Value = Vec<(usize, Action, u32)>> {
    prop::collection::vec((0..2usize, action(), 1..24u32), 0..150)
}

/// Every action of both sides once, in some order.
fn turns() -> impl Strategy<Value = Vec<(usize, Action)>> {
    let all = [0, 1]
        .iter()
        .flat_map(|&i| ACTIONS.map(|action| (i, action)));
    Just(all.collect::<Vec<_>>()).prop_shuffle()
}

fn depths() -> impl Strategy<Value = [u32; 2]> {
    let depth = prop_oneof![0..4u32, 4..65u32];
    [depth.clone(), depth]
}

fn origin() -> impl Strategy<Value = u32> {
    prop_oneof![
        2 => (0..200u32).prop_map(|before| u32::MAX - before),
        1 => Just(0),
        1 => any::<u32>(),
    ]
}

proptest! {
    #![proptest_config(config(2000))]

    /// Both sides can go on after anything.
    #[test]
    fn any_order(depths in depths(), origin in origin(), bursts in bursts()) {
        let mut pair = Pair::new(depths, origin);
        for (i, action, times) in bursts {
            for _ in 0..times {
                if !pair.step(i, action) {
                    break;
                }
            }
        }
        pair.settle();
    }

    /// Everything gets across if each side does in turn what it can, in whatever order.
    #[test]
    fn all_is_delivered(
        depths in [1..20u32, 1..20u32],
        origin in origin(),
        mut data in [0..100u64, 0..100u64],
        mut words in [0..50u64, 0..50u64],
        round in turns(),
    ) {
        let mut pair = Pair::new(depths, origin);
        let wanted = data;
        for _ in 0..2_000 {
            for &(i, action) in &round {
                let left = match action {
                    Action::Data => &mut data[i],
                    Action::Say => &mut words[i],
                    _ => &mut 1,
                };
                if *left > 0 && pair.step(i, action) {
                    *left -= 1;
                }
            }
        }
        prop_assert_eq!((data, words), ([0, 0], [0, 0]));
        pair.settle();
        for i in [0, 1] {
            prop_assert_eq!(pair.sides[1 - i].data_received, wanted[i]);
        }
    }
}
