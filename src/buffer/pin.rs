// SPDX-License-Identifier: GPL-2.0

//! `BUF_PIN`: memory that the caller has, as a buffer.
//!
//! Ownership: the buffer holds pins of the pages, and nothing of the caller's address space.
//! Locking: none.
//! Teardown: the pins go with the buffer.

use super::Buffer;
use crate::{
    context::{
        Context,
        Object, //
    },
    counters::Tally,
    info::MAX_BUFFER,
    ioctl::Created, //
};
use dmakit::{
    mm::pages::Pages,
    uapi, //
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};

/// `BUF_PIN`
pub(crate) fn pin(context: &Context, arg: &mut uapi::dmaplane_buf_pin) -> Result<Created> {
    let page = PAGE_SIZE as u64;
    if arg.flags & !uapi::DMAPLANE_PIN_RDONLY != 0
        || arg.pad != 0
        || arg.length == 0
        || arg.addr % page != 0
        || arg.length % page != 0
    {
        return Err(EINVAL);
    }
    if arg.length > MAX_BUFFER {
        return Err(EFBIG);
    }
    arg.addr.checked_add(arg.length).ok_or(EOVERFLOW)?;
    let address = usize::try_from(arg.addr).map_err(|_| EFAULT)?;
    let count = usize::try_from(arg.length / page)?;
    let (write, flags) = match arg.flags & uapi::DMAPLANE_PIN_RDONLY {
        0 => (true, uapi::DMAPLANE_BUF_PINNED),
        _ => (false, uapi::DMAPLANE_BUF_PINNED | uapi::DMAPLANE_BUF_RDONLY),
    };
    let mut memory = Tally::memory(context.counters(), arg.length)?;
    let pages = Pages::of_user(address, count, write)?;
    memory.grow(pages.charged().saturating_sub(arg.length))?;
    let buffer = Buffer::new(pages, memory, (uapi::DMAPLANE_NODE_ANY, 0), flags, context)?;
    arg.handle = context.insert(Object::Buffer(buffer))?;
    Ok(Created(arg.handle))
}
