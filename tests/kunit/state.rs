// SPDX-License-Identifier: GPL-2.0

//! The life of an endpoint, and the numbers that user space knows its states by.

use kernel::prelude::*;

#[kunit_tests(dmaplane_state)]
mod tests {
    use crate::pure::state::{
        next,
        Event::{
            self,
            *, //
        },
        State, //
    };
    use dmakit::uapi;

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
        AddressResolved,
        Connect,
        Accept,
        Established,
        Failed,
        Disconnected,
    ];

    /// The last state of a life that begins in `state`.
    fn live(state: State, events: &[Event]) -> Option<State> {
        let mut events = events.iter();
        events.try_fold(state, |state, event| next(state, *event))
    }

    #[test]
    fn whole_lives() {
        let connects = [AddressResolved, Connect, Established, Disconnected];
        assert_eq!(live(State::Resolving, &connects), Some(State::Error));
        assert_eq!(
            live(State::Resolving, &connects[..3]),
            Some(State::Established)
        );
        let accepts = [Accept, Established, Established];
        assert_eq!(live(State::Requested, &accepts), Some(State::Established));
    }

    #[test]
    fn whatever_fails_has_failed_for_good() {
        for state in STATES {
            assert_eq!(next(state, Failed), Some(State::Error));
        }
        for event in EVENTS {
            assert!(next(State::Error, event).is_none_or(|after| after == State::Error));
        }
    }

    #[test]
    fn what_a_program_may_do_and_when() {
        for state in STATES {
            assert_eq!(next(state, Connect).is_some(), state == State::Resolved);
            assert_eq!(next(state, Accept).is_some(), state == State::Requested);
        }
    }

    #[test]
    fn only_one_way_leads_to_a_connection() {
        for state in STATES {
            for event in EVENTS {
                let leads = next(state, event) == Some(State::Established);
                let may = matches!(state, State::Connecting | State::Established);
                assert_eq!(leads, (may && event == Established));
            }
        }
    }

    #[test]
    fn the_numbers_of_the_header() {
        for (state, number) in [
            (State::Resolving, 0),
            (State::Resolved, uapi::DMAPLANE_STATE_RESOLVED),
            (State::Requested, uapi::DMAPLANE_STATE_REQUESTED),
            (State::Connecting, uapi::DMAPLANE_STATE_CONNECTING),
            (State::Established, uapi::DMAPLANE_STATE_ESTABLISHED),
            (State::Error, uapi::DMAPLANE_STATE_ERROR),
            (State::Listening, uapi::DMAPLANE_STATE_LISTENING),
        ] {
            assert_eq!(state.number(), number);
        }
    }
}
