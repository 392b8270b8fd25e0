// SPDX-License-Identifier: GPL-2.0

//! Those who wait in `poll(2)`, for the channels of a context or for one.
//!
//! Ownership: a sleeping `poll(2)` keeps its file. That of the context keeps the context, but no
//! channel: its [`Pollers`] are shared by the context and its completion rings, those made later
//! included. That of a channel keeps the channel, whose completion ring has the [`Pollers`].
//! Locking: `room` orders the first use of the wait queue, and is taken with nothing else held.
//! Teardown: with the last of its holders, who may be in a completion's handler: its memory is freed
//! after a grace period that nobody waits for.

use kernel::{
    fs::File,
    new_mutex,
    prelude::*,
    static_lock_class,
    sync::{
        poll::{
            PollCondVarBox,
            PollTable, //
        },
        Arc,
        Mutex,
        SetOnce, //
    }, //
};

/// Who polls a file.
#[pin_data]
pub(crate) struct Pollers {
    /// `used` before it is: `poll` cannot say that there is no memory.
    #[pin]
    room: Mutex<Option<PollCondVarBox>>,
    /// A wait queue that somebody has used, so that there is something to wake.
    used: SetOnce<PollCondVarBox>,
}

impl Pollers {
    /// Nobody yet.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let room = PollCondVarBox::new(c"Pollers", static_lock_class!())?;
        Arc::pin_init(
            pin_init!(Self {
                room <- new_mutex!(Some(room)),
                used: SetOnce::new(),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Registers a poller for changes. To be called before their state is looked at.
    pub(crate) fn register(&self, file: &File, table: &PollTable<'_>) {
        if self.used.as_ref().is_none() {
            let mut room = self.room.lock();
            if let Some(condvar) = room.take() {
                self.used.populate(condvar);
            }
        }
        if let Some(condvar) = self.used.as_ref() {
            table.register_wait(file, condvar);
        }
    }

    /// Wakes all of them.
    pub(super) fn notify(&self) {
        if let Some(condvar) = self.used.as_ref() {
            condvar.notify_all();
        }
    }
}
