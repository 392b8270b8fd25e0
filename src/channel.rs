// SPDX-License-Identifier: GPL-2.0

//! Channels: submission and completion rings in memory shared with user space.
//!
//! | file       | what                                                                   |
//! |------------|------------------------------------------------------------------------|
//! | `ring`     | the shared memory, and the account of completions                      |
//! | `queue`    | entries taken and begun, and the worker that goes on with them         |
//! | `submit`   | what an entry asks for                                                 |
//! | `sqpoll`   | a thread that takes entries, so that nobody has to ask for it          |
//! | `request`  | the promise that it completes                                          |
//! | `order`    | `LINK` and `DRAIN`: entries that begin when others are complete        |
//! | `cancel`   | `CANCEL`                                                               |
//! | `list`     | entries that move several ranges                                       |
//! | `transfer` | `COPY` and `FILL`                                                      |
//! | `migrate`  | `MIGRATE`                                                              |
//! | `file`     | a file of the channel's own                                            |
//! | `uring`    | entries that come to that file by io_uring                             |
//! | `times`    | when entries were taken, posted and complete                           |
//! | `pollers`  | those who wait in `poll(2)`                                            |
//!
//! Ownership: the handle holds the [`Channel`], as do its files. The channel and entries in flight hold
//! its [`Queue`], and with it its [`CompletionRing`], as mappings and endpoints do; that holds nothing
//! that holds it. A thread that takes entries holds the queue, and the context: it is joined when the
//! channel is stopped, which comes before the end of either.
//! Locking: see [`queue`] and [`ring`]. No user copy happens under a lock: the rings are kernel memory.
//! Teardown: closing is refused while an endpoint delivers to the ring; after it nothing is taken
//! from the ring any more, whoever still has a file of the channel, and nothing begins.

mod cancel;
pub(crate) mod file;
mod list;
mod migrate;
mod order;
mod pollers;
mod queue;
mod request;
mod ring;
mod sqpoll;
mod submit;
mod times;
mod transfer;
mod uring;

pub(crate) use self::{
    pollers::Pollers,
    request::Ticket,
    ring::CompletionRing, //
};

use self::{
    queue::Queue,
    ring::{
        Layout,
        Timeout, //
    },
    sqpoll::Submitter, //
};
use crate::{
    context::{
        Context,
        Object, //
    },
    counters::{
        Live,
        Tally, //
    },
    info::MAX_RING_ENTRIES,
    ioctl::Created, //
};
use dmakit::{
    eventfd::EventFd,
    kthread::Waker,
    uapi,
    worker::Worker, //
};
use kernel::{
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    }, //
};

/// A pair of rings.
pub(crate) struct Channel {
    queue: Arc<Worker<Queue>>,
    /// What takes entries until the channel is stopped, if `ENTER` does not.
    submitter: Option<Pin<KBox<Submitter>>>,
    _tally: Tally,
}

impl Drop for Channel {
    /// It may never have had a handle, and yet have been used by who guessed it.
    fn drop(&mut self) {
        self.stop();
        self.finish();
    }
}

impl Channel {
    /// Where completions go.
    pub(crate) fn ring(&self) -> &Arc<CompletionRing> {
        self.queue.ring()
    }

    /// Lets nothing be taken by a thread nor begin any more, and completes what has not.
    pub(crate) fn stop(&self) {
        if let Some(submitter) = &self.submitter {
            submitter.stop();
            self.ring().deserted();
        }
        self.queue.stop();
    }

    /// Waits for what goes on after [`Self::stop`].
    pub(crate) fn finish(&self) {
        Queue::finish(&self.queue);
    }

    /// Where entries go.
    fn queue(&self) -> &Arc<Worker<Queue>> {
        &self.queue
    }

    /// Takes up to `count` entries and waits for `min` completions. If there is a thread that takes
    /// them, this takes none, and wakes it if it is so meant.
    fn enter(
        &self,
        context: &Context,
        count: u32,
        min: u32,
        timeout: Timeout,
        wakes: bool,
    ) -> Result<u32> {
        let ring = self.ring();
        if min > ring.cq_entries() {
            return Err(EINVAL);
        }
        let polled = !ring.is_usual() && self.see_to(context, wakes)?;
        let (taken, available) = match count {
            0 => (0, 0),
            _ if polled => (0, 0),
            count => Queue::submit(&self.queue, context, count)?,
        };
        if taken > 0 && available >= min {
            return Ok(taken);
        }
        match ring.wait(min, timeout, || context.replenish(ring)) {
            // What was submitted must be told: the caller sees in the ring how the wait ended.
            Err(error) if taken == 0 => Err(error),
            _ => Ok(taken),
        }
    }

    /// Does what is to be done first; whether there is a thread that takes entries.
    #[cold]
    fn see_to(&self, context: &Context, wakes: bool) -> Result<bool> {
        let ring = self.ring();
        ring.check()?;
        if ring.is_starved() {
            context.replenish(ring);
        }
        if ring.is_polled() && wakes {
            ring.wake_thread();
        }
        Ok(ring.is_polled())
    }
}

const CHANNEL_FLAGS: u32 = uapi::DMAPLANE_CHANNEL_SQPOLL | uapi::DMAPLANE_CHANNEL_TIMES;
const ENTER_FLAGS: u32 = uapi::DMAPLANE_ENTER_ABSTIME | uapi::DMAPLANE_ENTER_SQ_WAKEUP;

/// `CHANNEL_CREATE`
pub(crate) fn create(
    context: ArcBorrow<'_, Context>,
    arg: &mut uapi::dmaplane_channel_create,
) -> Result<Created> {
    let polled = arg.flags & uapi::DMAPLANE_CHANNEL_SQPOLL != 0;
    let times = arg.flags & uapi::DMAPLANE_CHANNEL_TIMES != 0;
    if arg.flags & !CHANNEL_FLAGS != 0
        || arg.pad2 != 0
        || arg.sq_idle_ms > uapi::DMAPLANE_SQ_IDLE_MAX
        || (arg.sq_idle_ms != 0 && !polled)
        || !arg.sq_entries.is_power_of_two()
        || !arg.cq_entries.is_power_of_two()
    {
        return Err(EINVAL);
    }
    if arg.sq_entries > MAX_RING_ENTRIES || arg.cq_entries > MAX_RING_ENTRIES {
        return Err(EFBIG);
    }
    let layout = Layout::new(arg.sq_entries, arg.cq_entries, times);
    let (counters, pollers) = (context.counters(), context.pollers());
    let waker = polled.then(Waker::new).transpose()?;
    let ring = CompletionRing::new(layout, counters, pollers, waker.clone())?;
    let queue = Queue::new(ring)?;
    let tally = Tally::one(counters, Live::Channels);
    let submitter = match waker {
        Some(waker) => Some(Submitter::start(
            &queue,
            context.into(),
            waker,
            arg.sq_idle_ms,
        )?),
        None => None,
    };
    let channel = Channel {
        queue,
        submitter,
        _tally: tally,
    };
    let channel = Arc::new(channel, GFP_KERNEL_ACCOUNT)?;
    arg.handle = context.insert(Object::Channel(channel))?;
    arg.sqes_offset = layout.sqes;
    arg.cqes_offset = layout.cqes;
    arg.mmap_offset = Context::mmap_offset(arg.handle);
    arg.mmap_length = u64::from(layout.length);
    arg.times_offset = layout.times;
    Ok(Created(arg.handle))
}

/// `CHANNEL_ENTER`: how many entries were taken.
pub(crate) fn enter(context: &Context, arg: &uapi::dmaplane_channel_enter) -> Result<isize> {
    if arg.flags & !ENTER_FLAGS != 0 || arg.pad != 0 {
        return Err(EINVAL);
    }
    let timeout = match arg.flags & uapi::DMAPLANE_ENTER_ABSTIME {
        0 => Timeout::For(arg.timeout_ns),
        _ => Timeout::Until(arg.timeout_ns),
    };
    let channel = context.get::<Channel>(arg.channel)?;
    let wakes = arg.flags & uapi::DMAPLANE_ENTER_SQ_WAKEUP != 0;
    if wakes && !channel.ring().is_polled() {
        return Err(EINVAL);
    }
    let taken = channel.enter(context, arg.to_submit, arg.min_complete, timeout, wakes)?;
    Ok(isize::try_from(taken)?)
}

/// `CHANNEL_EVENTFD`
pub(crate) fn set_event(context: &Context, arg: &uapi::dmaplane_channel_eventfd) -> Result {
    if arg.flags != 0 {
        return Err(EINVAL);
    }
    let channel = context.get::<Channel>(arg.channel)?;
    let event = match arg.fd {
        -1 => None,
        fd => Some(EventFd::from_descriptor(fd)?),
    };
    channel.ring().set_event(event)
}

/// `CHANNEL_CLOSE`
pub(crate) fn close(context: &Context, arg: &uapi::dmaplane_handle) -> Result {
    if arg.flags != 0 || arg.pad != 0 {
        return Err(EINVAL);
    }
    let object = context.remove_if::<Channel>(arg.handle, |channel| channel.ring().retire())?;
    if let Object::Channel(channel) = &object {
        channel.stop();
        channel.finish();
    }
    drop(object);
    Ok(())
}
