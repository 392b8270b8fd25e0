// SPDX-License-Identifier: GPL-2.0

//! Memory: nodes, charged pages, memory shared with user space, mappings.

pub mod map;
pub mod pages;
pub mod shared;

use crate::bindings;

/// Whether `node` exists, is online and has memory.
pub fn node_online(node: i32) -> bool {
    // SAFETY: the helper checks the range of `node` itself.
    unsafe { bindings::dk_node_online(node) }
}

/// Node numbers are below this.
pub fn nr_nodes() -> u32 {
    // SAFETY: reads a kernel variable that is constant after boot.
    unsafe { bindings::dk_nr_node_ids() }
}
