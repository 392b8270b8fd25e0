// SPDX-License-Identifier: GPL-2.0

//! dmakit: safe abstractions over the parts of the kernel that the `kernel` crate lacks.
//!
//! All `unsafe` of the module is in this crate, and nothing here knows a dmaplane concept but
//! [`uapi`], which is generated from the header. Each file imitates one of `rust/kernel/`: it
//! names the C header it wraps and states the invariants that its `SAFETY` comments cite.

#![deny(missing_docs)]
#![deny(unsafe_op_in_unsafe_fn)]

const __LOG_PREFIX: &[u8] = b"dmaplane\0";

pub mod anonfile;
mod bindings;
pub mod chardev;
pub mod debugfs;
pub mod device;
pub mod dmabuf;
pub mod errno;
pub mod eventfd;
pub mod kthread;
pub mod mm;
pub mod param;
pub mod periodic;
pub mod rdma;
pub mod uapi;
pub mod uring;
pub mod worker;
