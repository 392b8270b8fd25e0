// SPDX-License-Identifier: GPL-2.0

//! Those who wait for completions: in `ENTER`, where they sleep, or in `poll(2)`.
//!
//! Ownership: a waiter borrows the ring.
//! Locking: `state`, not while it sleeps.
//! Teardown: closing the channel wakes all of them.

use super::CompletionRing;
use dmakit::{
    errno::ETIME,
    rdma::poller::Deadline,
    uapi, //
};
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};

/// How long to wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::channel) enum Timeout {
    /// Nanoseconds.
    For(u64),
    /// A time of `CLOCK_MONOTONIC`, in nanoseconds.
    Until(u64),
}

/// What a waiter wants to know.
pub(crate) struct Status {
    /// Completions can be reaped.
    pub(crate) available: bool,
    /// User space broke the indices.
    pub(crate) poisoned: bool,
    /// An endpoint has receives to post and found no room.
    pub(crate) starved: bool,
    /// The handle is gone.
    pub(crate) retired: bool,
}

impl CompletionRing {
    /// Waits until `min` completions can be reaped. `ETIME` after the time, `EINTR` for a signal. Calls
    /// `starved` when an endpoint may have room now for the receives that it had none for.
    pub(in crate::channel) fn wait(
        &self,
        min: u32,
        timeout: Timeout,
        starved: impl Fn(),
    ) -> Result {
        let mut deadline = None;
        // Without any time nothing is waited for, nor done for others.
        let mut over = (timeout == Timeout::For(0)).then_some(ETIME.into());
        loop {
            let mut state = self.state.lock();
            self.check()?;
            if state.retired {
                return Err(ENOENT);
            }
            let available = self.count_available(&mut state)?;
            if available >= min {
                return Ok(());
            }
            if let Some(error) = over {
                return Err(error);
            }
            state.wanted = match state.waiters {
                0 => min,
                _ => state.wanted.min(min),
            };
            state.waiters = state.waiters.saturating_add(1);
            let news = self.poller.news();
            drop(state);
            // Room that comes later is news.
            if self.is_starved() {
                starved();
            }
            let deadline = deadline.get_or_insert_with(|| match timeout {
                Timeout::For(time) => Deadline::after(time),
                Timeout::Until(time) => Deadline::at(time),
            });
            let waited = self.poller.wait(news, deadline);
            let mut state = self.state.lock();
            state.waiters = state.waiters.saturating_sub(1);
            drop(state);
            // What came last still counts.
            over = waited.err();
        }
    }

    /// How things are.
    pub(crate) fn status(&self) -> Status {
        let mut state = self.state.lock();
        let available = matches!(self.count_available(&mut state), Ok(count) if count > 0);
        Status {
            available,
            poisoned: self.flags.load(Relaxed) & uapi::DMAPLANE_RING_POISONED != 0,
            starved: self.flags.load(Relaxed) & uapi::DMAPLANE_RING_NEED_ENTER != 0,
            retired: state.retired,
        }
    }
}
