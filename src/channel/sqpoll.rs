// SPDX-License-Identifier: GPL-2.0

//! A thread that takes entries as soon as they are in the ring, so that submitting is no call.
//!
//! It does what `ENTER` does, some entries at a time. When there are none it looks for them for a while
//! and then sleeps, as it does when the completion ring has no place for the next one.
//!
//! Ownership: the channel has the [`Submitter`] and with it the thread. That holds the queue, and the
//! context, whose objects entries name. It is a circle, since the context's table holds the channel: it
//! ends when the channel is stopped, by `CHANNEL_CLOSE` or when the context's file is released, which
//! the thread does not hold.
//! Locking: `thread` is held until that has ended, so it is outside of all that the thread takes.
//! Teardown: stopping the channel joins the thread, before what has not begun is completed. It is
//! in the midst of [`TURN`] entries at most then. By itself it ends when the ring is poisoned or
//! retired.

use super::queue::Queue;
use crate::{
    context::Context,
    counters::{
        Live,
        Tally, //
    }, //
};
use dmakit::{
    kthread::{
        self,
        Job,
        Me,
        Thread,
        Waker, //
    },
    worker::Worker, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// Entries taken before it is seen whether the thread shall stop.
const TURN: u32 = 256;

/// How long to look for entries, if nobody says.
const IDLE_MS: u32 = 1000;

/// A channel's thread.
#[pin_data]
pub(super) struct Submitter {
    #[pin]
    thread: Mutex<Option<Thread<Polling>>>,
    _tally: Tally,
}

impl Submitter {
    /// Has a thread take the entries of `queue`. It sleeps on the waker that the ring has. `EAGAIN` if
    /// there are too many.
    pub(super) fn start(
        queue: &Arc<Worker<Queue>>,
        context: Arc<Context>,
        waker: Arc<Waker>,
        idle_ms: u32,
    ) -> Result<Pin<KBox<Self>>> {
        let idle_ms = match idle_ms {
            0 => IDLE_MS,
            idle_ms => idle_ms,
        };
        let polling = Polling {
            queue: queue.clone(),
            context: context.clone(),
            waker,
            idle_ms: idle_ms.into(),
        };
        let tally = Tally::one(context.counters(), Live::Threads);
        if !kthread::may_be(context.counters().live_in_all(Live::Threads)) {
            return Err(EAGAIN);
        }
        let thread = Thread::new(c"dmaplane-sq", Arc::new(polling, GFP_KERNEL_ACCOUNT)?)?;
        KBox::pin_init(
            pin_init!(Self {
                thread <- new_mutex!(Some(thread)),
                _tally: tally,
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Ends the thread. Whoever else does waits for its end, too.
    pub(super) fn stop(&self) {
        *self.thread.lock() = None;
    }
}

/// What the thread works with.
struct Polling {
    queue: Arc<Worker<Queue>>,
    context: Arc<Context>,
    waker: Arc<Waker>,
    idle_ms: i64,
}

impl Polling {
    /// Sleeps until there may be something to do.
    fn sleep(&self, me: &Me<'_>, head: u32, stuck: bool) -> Result {
        let ring = self.queue.ring();
        if ring.may_sleep(head, stuck)? {
            me.sleep(&self.waker);
        }
        ring.woke_up();
        Ok(())
    }
}

impl Job for Polling {
    fn run(&self, me: &Me<'_>) {
        let ring = self.queue.ring();
        // Nobody else takes any.
        let mut head = 0u32;
        let mut last = Instant::<Monotonic>::now();
        while !me.should_stop() && ring.check().is_ok() {
            let mut stuck = false;
            if ring.has_submitted(head) {
                me.renew_nodes();
                match Queue::submit(&self.queue, &self.context, TURN) {
                    Ok((taken, _)) => {
                        head = head.wrapping_add(taken);
                        last = Instant::now();
                        me.relax();
                        continue;
                    }
                    Err(EBUSY) => stuck = true,
                    Err(_) => return,
                }
            } else if last.elapsed().as_millis() < self.idle_ms {
                me.relax();
                continue;
            }
            if self.sleep(me, head, stuck).is_err() {
                return;
            }
        }
    }
}
