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
#[cfg(dmaplane_test)]
pub mod mock;
pub mod mr;
pub mod poller;
pub mod queue;
mod quirks;
mod slot;
pub mod transport;

use crate::errno::ENOBUFS;
use core::ffi::c_int;
use kernel::{
    error::{
        to_result,
        Error, //
    },
    prelude::*, //
};

/// What a call of the RDMA core or its connection manager returned.
fn outcome(ret: c_int) -> Result {
    to_result(ret).map_err(plain)
}

/// An error of the RDMA core. Sockets and routes, which it makes, have words of their own for want
/// of memory: `ENFILE` (`sock_alloc`) and `ENOBUFS` (`sk_alloc`, `dst_alloc`).
pub fn plain(error: Error) -> Error {
    match error {
        ENFILE => ENOMEM,
        error if error == ENOBUFS => ENOMEM,
        error => error,
    }
}
