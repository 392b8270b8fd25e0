// SPDX-License-Identifier: GPL-2.0

//! Memory: nodes, charged pages and moving them, memory shared with user space, mappings.

mod charge;
mod engine;
mod list;
pub mod map;
pub mod migrate;
pub mod pages;
mod rwsem;
pub mod shared;
pub mod shown;
pub mod space;

use crate::bindings;

/// Lets others have the processor, if they wait for it.
pub fn cond_resched() {
    // SAFETY: has no conditions but that the caller may sleep, which it does with no lock that says
    // otherwise: lockdep and DEBUG_ATOMIC_SLEEP would tell.
    unsafe { bindings::dk_cond_resched() };
}

/// Waits for all who do something without being interrupted to have done it. May sleep.
pub fn synchronize() {
    // SAFETY: has no conditions but that the caller may sleep, as above.
    unsafe { bindings::dk_synchronize_rcu() };
}

/// Whether the caller is being killed, and nobody waits for what it does.
pub fn is_being_killed() -> bool {
    // SAFETY: looks at the current task.
    unsafe { bindings::dk_fatal_signal_pending() }
}

/// Whether `node` exists, is online and has memory.
pub fn node_online(node: i32) -> bool {
    // SAFETY: the helper checks the range of `node` itself.
    unsafe { bindings::dk_node_online(node) }
}

/// Whether the caller may have memory on `node`, which is [online](node_online).
pub fn node_allowed(node: i32) -> bool {
    // SAFETY: reads what is the calling task's own.
    node_online(node) && unsafe { bindings::dk_node_allowed(node) }
}

/// Node numbers are below this.
pub fn nr_nodes() -> u32 {
    // SAFETY: reads a kernel variable that is constant after boot.
    unsafe { bindings::dk_nr_node_ids() }
}
