// SPDX-License-Identifier: GPL-2.0

//! `BUF_SHARE`, `BUF_OPEN`: memory of one context as a descriptor, and that as a buffer of another one.
//!
//! Ownership: the descriptor's file holds the memory, and nothing of the context that it came from.
//! Locking: none.
//! Teardown: with the last descriptor; buffers that were opened by it stay.

use super::{
    Buffer,
    Memory,
    RIGHTS, //
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
    ioctl::Created, //
};
use dmakit::{
    anonfile::{
        self,
        AnonFile,
        NewFile,
        Operations, //
    },
    uapi, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// The state behind such a file.
struct Share {
    memory: Arc<Memory>,
    rights: u32,
    _tally: Tally,
}

impl AnonFile for Share {
    type Module = crate::Dmaplane;
    const NAME: &'static CStr = c"[dmaplane-share]";

    fn operations() -> &'static Operations<Self> {
        static NONE: Operations<Share> = Operations::NONE;
        &NONE
    }
}

/// Rights that somebody can have: whoever may do anything with memory may read it.
fn are_rights(rights: u32) -> bool {
    rights & !RIGHTS == 0 && rights & uapi::DMAPLANE_SHARE_READ != 0
}

/// `BUF_SHARE`
pub(crate) fn share(context: &Context, arg: &mut uapi::dmaplane_buf_share) -> Result<NewFile> {
    if arg.flags != 0 || arg.pad != 0 || !are_rights(arg.rights) {
        return Err(EINVAL);
    }
    let buffer = context.get::<Buffer>(arg.handle)?;
    buffer.check_rights(arg.rights)?;
    if arg.rights & uapi::DMAPLANE_SHARE_WRITE != 0 {
        buffer.check_writable()?;
    }
    let share = Share {
        memory: buffer.memory.clone(),
        rights: arg.rights,
        _tally: Tally::one(context.counters(), Live::Shares),
    };
    let file = NewFile::new(KBox::new(share, GFP_KERNEL_ACCOUNT)?)?;
    arg.fd = i32::try_from(file.descriptor())?;
    Ok(file)
}

/// `BUF_OPEN`
pub(crate) fn open(context: &Context, arg: &mut uapi::dmaplane_buf_open) -> Result<Created> {
    if arg.flags != 0 || arg.pad != 0 || !are_rights(arg.rights) {
        return Err(EINVAL);
    }
    let memory = anonfile::look(arg.fd, |share: &Share| match arg.rights & !share.rights {
        0 => Ok(share.memory.clone()),
        _ => Err(EACCES),
    })??;
    let buffer = Buffer::of(memory, arg.rights, context)?;
    let (length, own) = (buffer.pages().len(), buffer.check_own().is_ok());
    arg.handle = context.insert(Object::Buffer(buffer))?;
    arg.length = length;
    arg.mmap_offset = match own {
        true => Context::mmap_offset(arg.handle),
        false => 0,
    };
    Ok(Created(arg.handle))
}
