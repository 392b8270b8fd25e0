// SPDX-License-Identifier: GPL-2.0

//! Parameters of the module that may change while it is loaded.
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)
//!
//! Those of the kernel crate's `module!` are read once, when the module is loaded.
//!
//! Ownership, teardown: they are the module's, and there as long as it is.
//! Locking: none; each is one word.

use crate::bindings;

/// `max_memory_mib`: bytes of memory that all open files together may have; `i64::MAX` if there is no
/// limit.
pub fn max_memory() -> u64 {
    // SAFETY: reads a word.
    unsafe { bindings::dk_max_memory() }
}

/// `max_context_mib`: the same of one open file.
pub fn max_context_memory() -> u64 {
    // SAFETY: reads a word.
    unsafe { bindings::dk_max_context_memory() }
}
