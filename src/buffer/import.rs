// SPDX-License-Identifier: GPL-2.0

//! `BUF_IMPORT`: memory of another driver, as a buffer.
//!
//! Ownership: the buffer's pages hold the dma-buf, shown to the kernel, and nothing of its descriptor.
//! Locking: none.
//! Teardown: the dma-buf is let go of with the buffer, which sleeps.

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
    dmabuf::import::Foreign,
    errno::ELOOP,
    mm::pages::Pages,
    uapi, //
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};

/// `BUF_IMPORT`
pub(crate) fn import(context: &Context, arg: &mut uapi::dmaplane_buf_import) -> Result<Created> {
    if arg.flags & !uapi::DMAPLANE_IMPORT_RDONLY != 0 || arg.via != 0 || arg.pad != 0 {
        return Err(EINVAL);
    }
    let foreign = Foreign::from_descriptor(arg.fd)?;
    if foreign.is_of::<crate::Dmaplane>() {
        return Err(ELOOP.into());
    }
    let length = foreign.len();
    if length == 0 || length % (PAGE_SIZE as u64) != 0 {
        return Err(EINVAL);
    }
    if length > MAX_BUFFER {
        return Err(EFBIG);
    }
    if !foreign.is_readable() {
        return Err(EACCES);
    }
    let flags = match arg.flags & uapi::DMAPLANE_IMPORT_RDONLY {
        0 if !foreign.is_writable() => return Err(EACCES),
        0 => uapi::DMAPLANE_BUF_IMPORTED,
        _ => uapi::DMAPLANE_BUF_IMPORTED | uapi::DMAPLANE_BUF_RDONLY,
    };
    let memory = Tally::memory(context.counters(), length)?;
    let pages = Pages::of_dmabuf(foreign.show(context.node())?)?;
    let buffer = Buffer::new(pages, memory, (uapi::DMAPLANE_NODE_ANY, 0), flags, context)?;
    arg.length = length;
    arg.via = uapi::DMAPLANE_VIA_VMAP;
    arg.handle = context.insert(Object::Buffer(buffer))?;
    Ok(Created(arg.handle))
}
