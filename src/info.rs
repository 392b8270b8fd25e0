// SPDX-License-Identifier: GPL-2.0

//! `INFO` and `STATS`: what the module offers, what a context holds.

use crate::{
    context::Context,
    counters::{
        Live,
        Total, //
    }, //
};
use dmakit::{
    mm,
    param,
    uapi, //
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};

/// Largest length of one buffer.
pub(crate) const MAX_BUFFER: u64 = 1 << 39;
/// Largest transfer of one ring entry.
pub(crate) const MAX_TRANSFER: u32 = 1 << 30;
/// Handles of one context.
pub(crate) const MAX_OBJECTS: u32 = 16384;
/// Largest ring.
pub(crate) const MAX_RING_ENTRIES: u32 = 32768;
/// Largest send or receive depth of an endpoint.
pub(crate) const MAX_DEPTH: u32 = 1024;

/// `INFO`
pub(crate) fn info(_context: &Context, arg: &mut uapi::dmaplane_info) -> Result {
    if arg.flags != 0 {
        return Err(EINVAL);
    }
    *arg = uapi::dmaplane_info {
        size: arg.size,
        flags: 0,
        abi: uapi::DMAPLANE_ABI_VERSION,
        page_size: PAGE_SIZE as u32,
        features: u64::from(
            uapi::DMAPLANE_FEATURE_WRITE_IMM
                | uapi::DMAPLANE_FEATURE_LEASE
                | uapi::DMAPLANE_FEATURE_COUNTER
                | uapi::DMAPLANE_FEATURE_SQPOLL
                | uapi::DMAPLANE_FEATURE_TIMES
                | uapi::DMAPLANE_FEATURE_READ
                | uapi::DMAPLANE_FEATURE_LIST
                | uapi::DMAPLANE_FEATURE_SEND
                | uapi::DMAPLANE_FEATURE_MIGRATE
                | uapi::DMAPLANE_FEATURE_EXPORT
                | uapi::DMAPLANE_FEATURE_PLACEMENT
                | uapi::DMAPLANE_FEATURE_PIN
                | uapi::DMAPLANE_FEATURE_IMPORT
                | uapi::DMAPLANE_FEATURE_BUF_MIGRATE
                | uapi::DMAPLANE_FEATURE_VIEW
                | uapi::DMAPLANE_FEATURE_SHARE
                | uapi::DMAPLANE_FEATURE_URING,
        ),
        max_buffer: MAX_BUFFER,
        max_transfer: u64::from(MAX_TRANSFER),
        max_objects: MAX_OBJECTS,
        max_ring_entries: MAX_RING_ENTRIES,
        max_depth: MAX_DEPTH,
        nr_nodes: mm::nr_nodes(),
        max_memory: param::max_memory(),
        max_context_memory: param::max_context_memory(),
    };
    Ok(())
}

/// `STATS`
pub(crate) fn stats(context: &Context, arg: &mut uapi::dmaplane_stats) -> Result {
    if arg.flags != 0 {
        return Err(EINVAL);
    }
    let counters = context.counters();
    // In this order, so that what is completed was submitted.
    let completed = counters.total(Total::Completed);
    let live = |kind| u32::try_from(counters.live(kind)).unwrap_or(u32::MAX);
    *arg = uapi::dmaplane_stats {
        size: arg.size,
        flags: 0,
        buffers: live(Live::Buffers),
        regions: live(Live::Regions),
        endpoints: live(Live::Endpoints),
        channels: live(Live::Channels),
        buffer_bytes: counters.live(Live::BufferBytes),
        submitted: counters.total(Total::Submitted),
        completed,
        received: counters.total(Total::Received),
    };
    Ok(())
}
