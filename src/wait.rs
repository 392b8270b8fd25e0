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
pub(crate) struct Patience(Option<Jiffies>);

impl Patience {
    /// From the ABI's `timeout_ns`.
    pub(crate) fn new(timeout_ns: u64) -> Self {
        // Jiffies end after some weeks; whoever waits longer waits for ever.
        let ms = u32::try_from(timeout_ns.div_ceil(NSEC_PER_MSEC));
        Self(match ms {
            Ok(0) => Some(0),
            // The tick that runs is partly over already.
            Ok(ms) if ms < i32::MAX as u32 => Some(msecs_to_jiffies(ms).saturating_add(1)),
            _ => None,
        })
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
