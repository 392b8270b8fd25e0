// SPDX-License-Identifier: GPL-2.0

//! Waiting with the ABI's rules: a timeout in nanoseconds, ended by signals.

use dmakit::errno::ETIME;
use kernel::{
    prelude::*,
    sync::{
        lock::{
            Backend,
            Guard, //
        },
        CondVar,
        CondVarTimeoutResult, //
    },
    time::{
        msecs_to_jiffies,
        Jiffies, //
    }, //
};

const NSEC_PER_MSEC: u64 = 1_000_000;

/// How long a call may still wait.
pub(crate) enum Patience {
    /// Until then, or a signal.
    Until(Jiffies),
    /// Until a signal.
    Endless,
    /// Whatever comes, for what ends by itself.
    Firm,
}

impl Patience {
    /// From the ABI's `timeout_ns`.
    pub(crate) fn new(timeout_ns: u64) -> Self {
        // Jiffies end after some weeks; whoever waits longer waits for ever.
        let ms = u32::try_from(timeout_ns.div_ceil(NSEC_PER_MSEC));
        match ms {
            Ok(0) => Self::Until(0),
            // The tick that runs is partly over already.
            Ok(ms) if ms < i32::MAX as u32 => Self::Until(msecs_to_jiffies(ms).saturating_add(1)),
            _ => Self::Endless,
        }
    }

    /// Waits until `condvar` is notified. `ETIME` when the time has passed, `EINTR` for a signal.
    pub(crate) fn wait<T: ?Sized, B: Backend>(
        &mut self,
        condvar: &CondVar,
        guard: &mut Guard<'_, T, B>,
    ) -> Result {
        let left = match self {
            Self::Until(left) => *left,
            Self::Endless => {
                return match condvar.wait_interruptible(guard) {
                    true => Err(EINTR),
                    false => Ok(()),
                };
            }
            Self::Firm => {
                condvar.wait(guard);
                return Ok(());
            }
        };
        if left == 0 {
            return Err(ETIME.into());
        }
        match condvar.wait_interruptible_timeout(guard, left) {
            CondVarTimeoutResult::Woken { jiffies } => {
                *self = Self::Until(jiffies);
                Ok(())
            }
            // What came with the last tick still counts: the caller looks once more.
            CondVarTimeoutResult::Timeout => {
                *self = Self::Until(0);
                Ok(())
            }
            CondVarTimeoutResult::Signal { .. } => Err(EINTR),
        }
    }
}
