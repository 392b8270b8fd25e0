// SPDX-License-Identifier: GPL-2.0

//! Entries that came by io_uring: they have no place here, but are counted.
//!
//! Ownership: none.
//! Locking: `state`.
//! Teardown: none.

use super::{
    CompletionRing,
    Told, //
};
use crate::counters::Total;
use kernel::prelude::*;

impl CompletionRing {
    /// Accepts an entry that came by io_uring and takes no place here. `ENOENT` if the channel is
    /// closed.
    pub(in crate::channel) fn accept_command(&self) -> Result<Told> {
        match self.state.lock().retired {
            true => return Err(ENOENT),
            false => self.counters.count(Total::Submitted, 1),
        }
        Ok(Told::nothing())
    }

    /// Such an entry will take some time; `EBUSY` if as many do as there are places.
    pub(in crate::channel) fn keep_command(&self) -> Result {
        let mut state = self.state.lock();
        if state.commands >= self.layout.cq_entries {
            return Err(EBUSY);
        }
        state.commands = state.commands.saturating_add(1);
        Ok(())
    }

    /// Such an entry is complete, and was `kept` or not.
    pub(in crate::channel) fn complete_command(&self, kept: bool) {
        self.counters.count(Total::Completed, 1);
        if kept {
            let mut state = self.state.lock();
            state.commands = state.commands.saturating_sub(1);
        }
    }
}
