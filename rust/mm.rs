// SPDX-License-Identifier: GPL-2.0

//! Memory: nodes, charged pages, memory shared with user space, mappings.

pub mod map;
pub mod pages;
pub mod shared;

use crate::bindings;

/// Lets others have the processor, if they wait for it.
pub fn cond_resched() {
    // SAFETY: has no conditions but that the caller may sleep, which it does with no lock that says
    // otherwise: lockdep and DEBUG_ATOMIC_SLEEP would tell.
    unsafe { bindings::dk_cond_resched() };
}

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
