// SPDX-License-Identifier: GPL-2.0
//! Waiting: in slices, so that Ctrl-C, a peer that is gone and the end of
//! patience are all noticed; and the endpoint with its channel.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    time::{Duration, Instant},
};

use dmaplane::{Channel, Completion, Context, Endpoint, Lease, State, Timeout};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::wire::{Verdict, ANSWER};
use crate::failure::Failure;

/// A wait is cut into slices of this length.
const SLICE: Duration = Duration::from_millis(200);

/// Set by the first Ctrl-C; the second one ends the process.
#[derive(Clone)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Takes over SIGINT and SIGTERM.
    pub fn install() -> Result<Self, Failure> {
        let stop = Stop(Arc::default());
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag unset.
            signal_hook::flag::register_conditional_shutdown(signal, 130, stop.0.clone())?;
            signal_hook::flag::register(signal, stop.0.clone())?;
        }
        Ok(stop)
    }
}

/// How long to go on without progress.
pub struct Patience {
    stop: Stop,
    limit: Timeout,
    since: Instant,
}

impl Patience {
    /// For `limit` without progress; none is for ever.
    pub fn new(stop: &Stop, limit: Timeout) -> Self {
        Patience {
            stop: stop.clone(),
            limit,
            since: Instant::now(),
        }
    }

    /// There was progress.
    pub fn renew(&mut self) {
        self.since = Instant::now();
    }

    /// How long the next wait may take; fails if there is none.
    pub fn slice(&self, what: &'static str) -> Result<Timeout, Failure> {
        if self.stop.0.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted);
        }
        let Some(limit) = self.limit else {
            return Ok(Some(SLICE));
        };
        match limit.checked_sub(self.since.elapsed()) {
            Some(left) if !left.is_zero() => Ok(Some(left.min(SLICE))),
            _ => Err(Failure::Timeout(what, limit.as_secs())),
        }
    }

    /// Repeats `call` with a slice each until it is done.
    pub fn until<T>(
        &mut self,
        what: &'static str,
        mut call: impl FnMut(Timeout) -> dmaplane::Result<T>,
    ) -> Result<T, Failure> {
        loop {
            match call(self.slice(what)?) {
                Err(e) if e.is_timeout() || e.is_interrupted() => {}
                result => {
                    self.renew();
                    return Ok(result?);
                }
            }
        }
    }

    /// What is left at the moment, for calls that cannot be repeated.
    pub fn rest(&self) -> Timeout {
        self.limit
    }
}

/// A connection with its channel.
pub struct Link {
    /// The connection. Declared first: it ends before its channel.
    pub endpoint: Endpoint,
    /// Its rings.
    pub channel: Channel,
    /// How long to wait.
    pub patience: Patience,
}

impl Link {
    /// Submits what was pushed and sleeps until something completes. Fails when
    /// the connection has ended and nothing is left to take.
    pub fn next(&mut self, what: &'static str) -> Result<Vec<Completion>, Failure> {
        loop {
            match self.channel.wait(1, self.patience.slice(what)?) {
                Err(e) if !e.is_timeout() && !e.is_interrupted() => return Err(e.into()),
                _ => {}
            }
            let done: Vec<Completion> = self.channel.completions().collect();
            if !done.is_empty() {
                self.patience.renew();
                return Ok(done);
            }
            if let Some(error) = self.endpoint.query()?.failure() {
                let last: Vec<Completion> = self.channel.completions().collect();
                if last.is_empty() {
                    return Err(error.into());
                }
                return Ok(last);
            }
        }
    }

    /// The peer's lease, which must have this tag and at least this length.
    pub fn lease(&mut self, tag: u64, length: u64) -> Result<Lease, Failure> {
        let endpoint = &self.endpoint;
        let lease = self
            .patience
            .until("waited for the peer's lease", |t| endpoint.wait_lease(t))?;
        if lease.tag != tag || lease.length < length {
            return Err(Failure::Protocol(format!(
                "its lease has tag {:#x} and {} bytes instead of {tag:#x} and {length}",
                lease.tag, lease.length
            )));
        }
        Ok(lease)
    }

    /// Waits a moment for the peer to end the connection, so that its last
    /// completion is not lost.
    pub fn linger(&self) {
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until {
            match self.endpoint.query() {
                Ok(status) if status.state == State::Established => {}
                _ => return,
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A channel that can hold `depth` entries of ours and `receives` of the peer's.
pub fn channel(context: &Context, depth: u32, receives: u32) -> Result<Channel, Failure> {
    let limit = context.info()?.max_ring_entries;
    let (sq, cq) = (
        depth.max(1),
        depth.saturating_add(receives).saturating_add(4),
    );
    if sq > limit || cq > limit {
        return Err(Failure::Limit(format!(
            "a depth of {depth} needs rings of {cq} entries, and the module allows {limit}: \
             choose a smaller --depth"
        )));
    }
    Ok(context.channel(sq.next_power_of_two(), cq.next_power_of_two())?)
}

/// Checks what the receiver answered to the connection.
pub fn check_answer(bytes: &[u8]) -> Result<(), Failure> {
    if bytes == ANSWER {
        Ok(())
    } else {
        Err(Failure::Stranger(format!("it answered {bytes:02x?}")))
    }
}

/// Bytes of the region for a verdict.
pub fn verdict_bytes(tensors: u32) -> u64 {
    Verdict::len(tensors as usize) as u64
}
