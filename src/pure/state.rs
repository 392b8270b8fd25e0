// SPDX-License-Identifier: GPL-2.0

//! The life of an endpoint as a table.
//!
//! ```text
//! Resolving --> Resolved --Connect--.
//!                                   +--> Connecting --> Established --> Error
//!               Requested --Accept--'
//! ```
//!
//! Every state can fail into `Error`, which only closing the handle ends. A closed endpoint has no
//! state. A listener is `Listening` until it fails.

/// Where an endpoint or listener is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its address and route are being looked up; it has no handle yet.
    Resolving,
    /// Its fabric and route are known; the peer was not asked yet.
    Resolved,
    /// A peer asked for it and was not answered yet.
    Requested,
    /// The peer was asked or answered, and the connection is not complete.
    Connecting,
    /// Work can be posted.
    Established,
    /// It failed or ended.
    Error,
    /// It is a listener.
    Listening,
}

/// What happens to an endpoint or listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The address and route were found.
    AddressResolved,
    /// The program connects.
    Connect,
    /// The program accepts.
    Accept,
    /// The connection is complete.
    Established,
    /// It was rejected, timed out, or lost its peer or device.
    Failed,
    /// The connection was ended by one of its sides.
    Disconnected,
}

impl State {
    /// The number that the UAPI has for it (`DMAPLANE_STATE_*`); 0 while there is no handle.
    pub const fn number(self) -> u32 {
        match self {
            State::Resolving => 0,
            State::Resolved => 1,
            State::Requested => 2,
            State::Connecting => 3,
            State::Established => 4,
            State::Error => 5,
            State::Listening => 6,
        }
    }
}

/// Returns the state after `event`; [`None`] if it is not possible in `state`.
///
/// What the program does can be refused, what happened on the wire cannot: a late event of the
/// connection manager leaves an endpoint in [`State::Error`] where it is.
pub fn next(state: State, event: Event) -> Option<State> {
    Some(match (state, event) {
        (State::Resolving, Event::AddressResolved) => State::Resolved,
        (State::Resolved, Event::Connect) => State::Connecting,
        (State::Requested, Event::Accept) => State::Connecting,
        (State::Connecting, Event::Established) => State::Established,

        // The peer's first message can be seen before the event that completes the connection.
        (State::Established, Event::Established) => State::Established,

        (_, Event::Failed) => State::Error,
        (
            State::Requested | State::Connecting | State::Established | State::Error,
            Event::Disconnected,
        ) => State::Error,
        (State::Error, Event::AddressResolved | Event::Established) => State::Error,

        _ => return None,
    })
}
