// SPDX-License-Identifier: GPL-2.0

//! Waiting with the ABI's rules: a timeout in nanoseconds, ended by signals.

use dmakit::{
    errno::ETIME,
    uapi, //
};
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
pub(crate) struct Patience(Option<Jiffies>);

impl Patience {
    /// From the ABI's `timeout_ns`.
    pub(crate) fn new(timeout_ns: u64) -> Self {
        if timeout_ns == uapi::FOREVER {
            return Self(None);
        }
        Self(Some(msecs_to_jiffies(milliseconds(timeout_ns))))
    }

    /// Waits until `condvar` is notified. `ETIME` when the time has passed, `EINTR` for a signal.
    pub(crate) fn wait<T: ?Sized, B: Backend>(
        &mut self,
        condvar: &CondVar,
        guard: &mut Guard<'_, T, B>,
    ) -> Result {
        let Some(left) = self.0 else {
            return match condvar.wait_interruptible(guard) {
                true => Err(EINTR),
                false => Ok(()),
            };
        };
        if left == 0 {
            return Err(ETIME.into());
        }
        match condvar.wait_interruptible_timeout(guard, left) {
            CondVarTimeoutResult::Woken { jiffies } => {
                self.0 = Some(jiffies);
                Ok(())
            }
            // What came with the last tick still counts: the caller looks once more.
            CondVarTimeoutResult::Timeout => {
                self.0 = Some(0);
                Ok(())
            }
            CondVarTimeoutResult::Signal { .. } => Err(EINTR),
        }
    }
}

/// In milliseconds, rounded up, at most `i32::MAX`.
fn milliseconds(timeout_ns: u64) -> u32 {
    u32::try_from(timeout_ns.div_ceil(NSEC_PER_MSEC))
        .map_or(i32::MAX as u32, |ms| ms.min(i32::MAX as u32))
}
