// SPDX-License-Identifier: GPL-2.0

//! Channels: submission and completion rings in memory shared with user space.
//!
//! Ownership: the handle holds the [`Channel`], as do its files; the channel, mappings, endpoints and
//! entries in flight hold its [`CompletionRing`], which holds nothing that holds it.
//! Locking: `sq` serialises submission and is held while entries are issued, so it is outside of the
//! context table and endpoints. No user copy happens under it: the rings are kernel memory.
//! Teardown: closing is refused while an endpoint delivers to the ring; after it nothing is taken
//! from the ring any more, whoever still has a file of the channel.

pub(crate) mod file;
mod pollers;
mod ring;
mod submit;

pub(crate) use self::{
    pollers::Pollers,
    ring::CompletionRing,
    submit::Ticket, //
};

use self::{
    ring::Layout,
    submit::Plug, //
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
use dmakit::uapi;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// A pair of rings.
#[pin_data]
pub(crate) struct Channel {
    ring: Arc<CompletionRing>,
    /// Index of the next entry to take, the kernel's own.
    #[pin]
    sq: Mutex<u32>,
    _tally: Tally,
}

impl Channel {
    /// Where completions go.
    pub(crate) fn ring(&self) -> &Arc<CompletionRing> {
        &self.ring
    }

    /// Takes up to `count` entries. Returns how many, and how many completions can be reaped, or
    /// fewer; `EBUSY` if the first has no room for its completion.
    fn submit(&self, context: &Context, count: u32) -> Result<(u32, u32)> {
        let mut head = self.sq.lock();
        let (taken, mut done) = self.ring.accept(*head, count)?;
        let mut plug = Plug::default();
        for _ in 0..taken {
            let sqe = self.ring.submission(*head);
            *head = head.wrapping_add(1);
            submit::issue(context, &self.ring, &sqe, &mut done, &mut plug);
        }
        let available = done.finish();
        drop(plug);
        self.ring.publish_sq_head(*head);
        Ok((taken, available))
    }

    /// Takes up to `count` entries and waits for `min` completions.
    fn enter(&self, context: &Context, count: u32, min: u32, timeout_ns: u64) -> Result<u32> {
        let ring = self.ring();
        if min > ring.cq_entries() {
            return Err(EINVAL);
        }
        ring.check()?;
        if ring.is_starved() {
            context.replenish(ring);
        }
        let (taken, available) = match count {
            0 => (0, 0),
            count => self.submit(context, count)?,
        };
        if taken > 0 && available >= min {
            return Ok(taken);
        }
        match ring.wait(min, timeout_ns) {
            // What was submitted must be told: the caller sees in the ring how the wait ended.
            Err(error) if taken == 0 => Err(error),
            _ => Ok(taken),
        }
    }
}

/// `CHANNEL_CREATE`
pub(crate) fn create(
    context: &Context,
    arg: &mut uapi::dmaplane_channel_create,
) -> Result<Created> {
    if arg.flags != 0
        || arg.pad != 0
        || !arg.sq_entries.is_power_of_two()
        || !arg.cq_entries.is_power_of_two()
    {
        return Err(EINVAL);
    }
    if arg.sq_entries > MAX_RING_ENTRIES || arg.cq_entries > MAX_RING_ENTRIES {
        return Err(EFBIG);
    }
    let layout = Layout::new(arg.sq_entries, arg.cq_entries);
    let ring = CompletionRing::new(layout, context.counters(), context.pollers())?;
    let channel = Arc::pin_init(
        pin_init!(Channel {
            ring,
            sq <- new_mutex!(0),
            _tally: Tally::one(context.counters(), Live::Channels),
        }),
        GFP_KERNEL_ACCOUNT,
    )?;
    arg.handle = context.insert(Object::Channel(channel))?;
    arg.sqes_offset = layout.sqes;
    arg.cqes_offset = layout.cqes;
    arg.mmap_offset = Context::mmap_offset(arg.handle);
    arg.mmap_length = u64::from(layout.length);
    Ok(Created(arg.handle))
}

/// `CHANNEL_ENTER`: how many entries were taken.
pub(crate) fn enter(context: &Context, arg: &uapi::dmaplane_channel_enter) -> Result<isize> {
    if arg.flags != 0 || arg.pad != 0 {
        return Err(EINVAL);
    }
    let channel = context.get::<Channel>(arg.channel)?;
    let taken = channel.enter(context, arg.to_submit, arg.min_complete, arg.timeout_ns)?;
    Ok(isize::try_from(taken)?)
}

/// `CHANNEL_CLOSE`
pub(crate) fn close(context: &Context, arg: &uapi::dmaplane_handle) -> Result {
    if arg.flags != 0 || arg.pad != 0 {
        return Err(EINVAL);
    }
    drop(context.remove_if::<Channel>(arg.handle, |channel| channel.ring.retire())?);
    Ok(())
}
