// SPDX-License-Identifier: GPL-2.0

//! `BUF_EXPORT`: a buffer, or a part of it, as a dma-buf.
//!
//! Ownership: the dma-buf owns an [`Export`], which holds the buffer and nothing of the context; neither
//! holds the dma-buf.
//! Locking: none.
//! Teardown: with the last descriptor, mapping and importer, which may be long after the context's.

use super::Buffer;
use crate::{
    context::Context,
    counters::{
        Live,
        Tally, //
    },
    region::check_range, //
};
use dmakit::{
    anonfile::NewFile,
    dmabuf::{
        self,
        Exported, //
    },
    mm::{
        map::Mappable,
        pages::Pages, //
    },
    uapi, //
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc, //
};

/// What a dma-buf shows.
struct Export {
    buffer: Arc<Buffer>,
    _tally: Tally,
}

impl Mappable for Export {
    fn pages(&self) -> &Arc<Pages> {
        self.buffer.pages()
    }

    fn mapped(&self) {
        self.buffer.mapped();
    }

    fn unmapped(&self) {
        self.buffer.unmapped();
    }
}

impl Exported for Export {
    type Module = crate::Dmaplane;
    const NAME: &'static CStr = c"dmaplane";
}

/// `BUF_EXPORT`
pub(crate) fn export(context: &Context, arg: &mut uapi::dmaplane_buf_export) -> Result<NewFile> {
    let page = PAGE_SIZE as u64;
    if arg.flags & !uapi::DMAPLANE_EXPORT_RDONLY != 0
        || arg.offset % page != 0
        || arg.length % page != 0
    {
        return Err(EINVAL);
    }
    let buffer = context.get::<Buffer>(arg.handle)?;
    buffer.check_own()?;
    let writable = arg.flags & uapi::DMAPLANE_EXPORT_RDONLY == 0;
    if writable {
        buffer.check_writable()?;
    }
    let size = buffer.pages().len();
    let length = match arg.length {
        0 => size.saturating_sub(arg.offset),
        length => length,
    };
    check_range(arg.offset, length, size)?;
    let first = usize::try_from(arg.offset / page)?;
    let count = usize::try_from(length / page)?;
    let export = Export {
        buffer,
        _tally: Tally::one(context.counters(), Live::DmaBufs),
    };
    let export = Arc::new(export, GFP_KERNEL_ACCOUNT)?;
    let file = dmabuf::export(export, first..first.saturating_add(count), writable)?;
    arg.fd = i32::try_from(file.descriptor())?;
    Ok(file)
}
