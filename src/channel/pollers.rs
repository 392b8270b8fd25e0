// SPDX-License-Identifier: GPL-2.0

//! Those who wait in `poll(2)` for the channels of a context.
//!
//! Ownership: the context and its completion rings hold the [`Pollers`]. It is the context's and not
//! a ring's: a sleeping `poll(2)` keeps the file, and with it the context, but not a channel, and it
//! sees channels made later.
//! Locking: `room` orders the making of the wait queue, and is taken with nothing else held.
//! Teardown: with the last of its holders, after the file; waking is possible until then.

use core::mem::MaybeUninit;
use kernel::{
    fs::File,
    new_mutex,
    prelude::*,
    sync::{
        poll::{
            PollCondVar,
            PollTable, //
        },
        Arc,
        Mutex,
        SetOnce, //
    }, //
};

/// Who polls a context's file.
#[pin_data]
pub(crate) struct Pollers {
    /// Room for `condvar`: `poll` cannot say that there is no memory.
    #[pin]
    room: Mutex<Option<KBox<MaybeUninit<PollCondVar>>>>,
    /// Made for the first of them: its end waits for a grace period, which those who never poll
    /// need not.
    condvar: SetOnce<Pin<KBox<PollCondVar>>>,
}

impl Pollers {
    /// Nobody yet.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let room = KBox::new_uninit(GFP_KERNEL_ACCOUNT)?;
        Arc::pin_init(
            pin_init!(Self {
                room <- new_mutex!(Some(room)),
                condvar: SetOnce::new(),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Registers a poller for changes of any channel. To be called before their state is looked at.
    pub(crate) fn register(&self, file: &File, table: &PollTable<'_>) {
        if self.condvar.as_ref().is_none() {
            let mut room = self.room.lock();
            if let Some(room) = room.take() {
                let Ok(condvar) = room.write_pin_init(kernel::new_poll_condvar!());
                self.condvar.populate(condvar);
            }
        }
        if let Some(condvar) = self.condvar.as_ref() {
            table.register_wait(file, condvar);
        }
    }

    /// Wakes all of them.
    pub(super) fn notify(&self) {
        if let Some(condvar) = self.condvar.as_ref() {
            condvar.notify_all();
        }
    }
}
