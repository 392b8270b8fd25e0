// SPDX-License-Identifier: GPL-2.0

//! A file of a channel's own: what can be done with one channel, by whoever has the descriptor.
//!
//! Ownership: the file holds the channel and, as mappings do, the context's file: the context is
//! not closed while a channel's file is open. Neither holds a channel's file.
//! Locking: none of its own.
//! Teardown: with the last descriptor, mapping or command of io_uring. The channel may have been
//! closed before: then the file says so.

use super::{
    ring::Timeout,
    uring,
    Channel, //
};
use crate::{
    context::Context,
    ioctl::Outcome, //
};
use dmakit::{
    anonfile::{
        AnonFile,
        Calls,
        NewFile,
        Operations, //
    },
    chardev::Events,
    mm::map::NewMapping,
    uapi,
    uring::{
        Issue,
        Issued,
        Key, //
    }, //
};
use kernel::{
    fs::File,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        poll::PollTable,
        Arc,
        ArcBorrow, //
    }, //
};

/// The state behind such a file.
struct ChannelFile {
    channel: Arc<Channel>,
    context: Arc<Context>,
    _context_file: ARef<File>,
}

impl AnonFile for ChannelFile {
    type Module = crate::Dmaplane;
    const NAME: &'static CStr = c"[dmaplane-channel]";

    fn operations() -> &'static Operations<Self> {
        static CALLS: Operations<ChannelFile> = Operations::CALLS;
        &CALLS
    }
}

impl Calls for ChannelFile {
    /// `ENTER` for all that was submitted, without a timeout. An `ioctl(2)` costs more than what a
    /// short entry does, most of it in security modules and for its argument.
    fn seek(&self, offset: i64, whence: i32) -> Result<u32> {
        if whence != 0 {
            return Err(EINVAL);
        }
        let min = u32::try_from(offset).map_err(|_| EINVAL)?;
        let timeout = Timeout::For(uapi::FOREVER);
        self.channel
            .enter(&self.context, u32::MAX, min, timeout, true)
    }

    fn poll(&self, file: &File, table: &PollTable<'_>) -> Events {
        let ring = self.channel.ring();
        ring.register_poll(file, table);
        let status = ring.status();
        if status.starved {
            self.context.replenish(ring);
        }
        Events {
            // Programs that only expect to read hear of it, too.
            readable: status.available || status.poisoned,
            error: status.poisoned,
            ended: status.retired,
        }
    }

    fn mmap(&self, mapping: NewMapping<'_>) -> Result {
        if !mapping.is_shared() {
            return Err(EINVAL);
        }
        let first = usize::try_from(mapping.offset())? / PAGE_SIZE;
        mapping.show(self.channel.ring().clone(), first)
    }

    fn command<'a>(&self, issue: Issue<'a>) -> Issued<'a> {
        uring::submit(self.channel.queue(), &self.context, issue)
    }

    fn revoke(&self, key: &Key) -> bool {
        uring::revoke(self.channel.queue(), &self.context, key)
    }
}

/// `CHANNEL_FILE`
pub(crate) fn make(
    context: ArcBorrow<'_, Context>,
    context_file: &File,
    arg: &mut uapi::dmaplane_channel_file,
) -> Result<NewFile> {
    if arg.flags != 0 {
        return Err(EINVAL);
    }
    let file = ChannelFile {
        channel: context.get::<Channel>(arg.channel)?,
        context: context.into(),
        _context_file: context_file.into(),
    };
    let file = NewFile::new(KBox::new(file, GFP_KERNEL_ACCOUNT)?)?;
    arg.fd = i32::try_from(file.descriptor())?;
    Ok(file)
}

impl Outcome for NewFile {
    fn undo(self, _context: &Context) {}

    fn keep(self) {
        self.install();
    }
}
