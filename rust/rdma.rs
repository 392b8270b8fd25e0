// SPDX-License-Identifier: GPL-2.0

//! RDMA: devices come and go ([`client`], [`device`]), connections carry queues
//! ([`transport`], [`conn`], [`event`], [`queue`]), memory is made reachable in segments ([`mr`]).
//!
//! C headers: [`include/rdma/ib_verbs.h`](srctree/include/rdma/ib_verbs.h),
//! [`include/rdma/rdma_cm.h`](srctree/include/rdma/rdma_cm.h)
//!
//! Ownership: whatever uses a device's protection domain holds a
//! [`device::DeviceUse`] and drops it last; a device is given back when none is left.
//! Locking: the locks in here are leaves; no trait method is called under one.
//! Teardown: dropping a [`conn::Connection`] or a [`mr::Region`] ends it completely.

pub mod addr;
mod buffers;
pub mod chain;
pub mod client;
pub mod conn;
pub mod device;
pub mod event;
pub mod mr;
pub mod queue;
mod slot;
pub mod transport;

use crate::bindings;
use kernel::error::Error;

/// `EOPNOTSUPP`, which the kernel crate does not name.
fn unsupported() -> Error {
    Error::from_errno(-(bindings::EOPNOTSUPP as i32))
}
