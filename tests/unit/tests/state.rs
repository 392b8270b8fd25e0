// SPDX-License-Identifier: GPL-2.0

//! Tests of `src/pure/state.rs`: the whole table, written a second time.

mod common;

use dmaplane_unit::pure::state::{next, Event, State};
use proptest::prelude::*;

use common::config;

const STATES: [State; 7] = [
    State::Resolving,
    State::Resolved,
    State::Requested,
    State::Connecting,
    State::Established,
    State::Error,
    State::Listening,
];

const EVENTS: [Event; 6] = [
    Event::AddressResolved,
    Event::Connect,
    Event::Accept,
    Event::Established,
    Event::Failed,
    Event::Disconnected,
];

/// Rows in the order of `STATES`, columns in the order of `EVENTS`; `-` is not possible.
const TABLE: [&str; 7] = [
    // address  connect     accept      established  failed disconnected
    "Resolved    -           -           -            Error  -",
    "-           Connecting  -           -            Error  -",
    "-           -           Connecting  -            Error  Error",
    "-           -           -           Established  Error  Error",
    "-           -           -           Established  Error  Error",
    "Error       -           -           Error        Error  Error",
    "-           -           -           -            Error  -",
];

#[test]
fn the_whole_table() {
    for (state, row) in STATES.into_iter().zip(TABLE) {
        let cells: Vec<_> = row.split_whitespace().collect();
        assert_eq!(cells.len(), EVENTS.len());
        for (event, cell) in EVENTS.into_iter().zip(cells) {
            let after = next(state, event).map_or("-".into(), |after| format!("{after:?}"));
            assert_eq!(after, cell, "{state:?} after {event:?}");
        }
    }
}

#[test]
fn the_numbers_of_the_uapi() {
    let header = include_str!("../../../include/uapi/dmaplane.h");
    for state in STATES
        .into_iter()
        .filter(|&state| state != State::Resolving)
    {
        let name = format!("DMAPLANE_STATE_{}", format!("{state:?}").to_uppercase());
        let number = header
            .lines()
            .filter_map(|line| line.strip_prefix("#define "))
            .filter_map(|line| line.split_once(char::is_whitespace))
            .find(|(define, _)| *define == name)
            .map(|(_, number)| number.trim().to_owned());
        assert_eq!(number, Some(state.number().to_string()), "{name}");
    }
    assert_eq!(State::Resolving.number(), 0);
}

proptest! {
    #![proptest_config(config(1000))]

    /// Only an established connection has gone through the program's decision, and what ended
    /// never comes back.
    #[test]
    fn lives(
        start in prop::sample::select(vec![State::Resolving, State::Requested, State::Listening]),
        events in prop::collection::vec(prop::sample::select(EVENTS.to_vec()), 0..30),
    ) {
        let mut state = start;
        let (mut decided, mut ended) = (false, false);
        for event in events {
            let Some(after) = next(state, event) else { continue };
            decided |= matches!(event, Event::Connect | Event::Accept);
            ended |= after == State::Error;
            state = after;
            prop_assert_eq!(ended, state == State::Error);
            if state == State::Established {
                prop_assert!(decided);
            }
            if start == State::Listening {
                prop_assert!(matches!(state, State::Listening | State::Error));
            }
        }
    }
}
