// SPDX-License-Identifier: GPL-2.0

//! An eventfd that a program has signalled when there are completions to reap.
//!
//! Ownership: the ring holds the eventfd until another one takes its place, or the channel is closed.
//! Locking: `state`, outside of the eventfd's own. The last reference is given back without it.
//! Teardown: see [`CompletionRing::retire`].

use super::{
    CompletionRing,
    State, //
};
use dmakit::eventfd::EventFd;
use kernel::prelude::*;

impl State {
    pub(super) fn signal(&self) {
        if let Some(event) = &self.event {
            event.signal();
        }
    }
}

impl CompletionRing {
    /// Has `event` signalled from now on, and nothing else.
    pub(in crate::channel) fn set_event(&self, event: Option<EventFd>) -> Result {
        let mut state = self.state.lock();
        self.check()?;
        if state.retired {
            return Err(ENOENT);
        }
        let available = self.count_available(&mut state)?;
        let last = core::mem::replace(&mut state.event, event);
        if available > 0 {
            state.signal();
        }
        drop(state);
        drop(last);
        Ok(())
    }
}
