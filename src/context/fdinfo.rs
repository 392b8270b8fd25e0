// SPDX-License-Identifier: GPL-2.0

//! `/proc/PID/fdinfo/FD`: what a context holds, for whoever looks at the process.
//!
//! The header documents the lines. Where pages are is read from the pages, as `BUF_QUERY` does.
//!
//! Locking: the table's for a moment, then a buffer's pages for reading.

use super::Context;
use crate::{
    buffer::Buffer,
    counters::Live, //
};
use dmakit::mm;
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    seq_file::{
        seq_print,
        SeqFile, //
    }, //
};

/// The counts shown, and their names.
const COUNTS: [(&str, Live); 10] = [
    ("buffers", Live::Buffers),
    ("buffer-bytes", Live::BufferBytes),
    ("memory-bytes", Live::MemoryBytes),
    ("dmabufs", Live::DmaBufs),
    ("imports", Live::Imports),
    ("shares", Live::Shares),
    ("regions", Live::Regions),
    ("views", Live::Views),
    ("endpoints", Live::Endpoints),
    ("channels", Live::Channels),
];

/// Shows a context.
pub(super) fn show(context: &Context, seq: &SeqFile) {
    for (name, kind) in COUNTS {
        let count = context.counters().live(kind);
        seq_print!(seq, "dmaplane-{name}:\t{count}\n");
    }
    let (mut mappings, mut slot) = (0u64, 0usize);
    let nodes = usize::try_from(mm::nr_nodes()).unwrap_or(0);
    // Without memory for these lines the others are shown.
    let mut pages = KVec::from_elem(0u64, nodes, GFP_KERNEL).unwrap_or_default();
    while let Some((found, buffer)) = context.next::<Buffer>(slot) {
        mappings = mappings.saturating_add(buffer.mappings().into());
        if buffer.pages().count_nodes(&mut pages).is_err() {
            pages = KVec::new();
        }
        mm::cond_resched();
        if mm::is_being_killed() {
            return;
        }
        slot = found.saturating_add(1);
    }
    seq_print!(seq, "dmaplane-mappings:\t{mappings}\n");
    for (node, count) in pages.iter().enumerate().filter(|(_, count)| **count > 0) {
        let bytes = count.saturating_mul(PAGE_SIZE as u64);
        seq_print!(seq, "dmaplane-node{node}-bytes:\t{bytes}\n");
    }
}
