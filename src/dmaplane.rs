// SPDX-License-Identifier: GPL-2.0

//! dmaplane: a kernel-level owner for the buffers that AI data paths move.
//!
//! One open of `/dev/dmaplane` is one [`context`]. It owns [`buffer`]s, [`region`]s registered for
//! RDMA, [`endpoint`]s (connected queue pairs with flow control) and [`channel`]s (submission and
//! completion rings in shared memory). `docs/architecture.md` describes how they belong together;
//! this crate is the policy. What only a promise to the compiler could make right is in `dmakit`,
//! and the build refuses it here.
//!
//! Lock order, outer to inner: device registries, channel submission, context table, endpoint,
//! completion ring.

#![deny(missing_docs)]

mod buffer;
mod channel;
mod context;
mod counters;
mod debug;
mod device;
mod endpoint;
mod fabric;
mod fifo;
mod info;
mod ioctl;
pub mod pure;
mod region;
#[cfg(dmaplane_test)]
#[path = "../tests/kunit/mod.rs"]
mod tests;
mod view;
mod wait;

use dmakit::{
    chardev,
    periodic::Periodic,
    rdma::client, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

module! {
    type: Dmaplane,
    name: "dmaplane",
    authors: ["The dmaplane authors"],
    description: "Buffers, channels and RDMA endpoints for AI data paths",
    license: "GPL",
    imports_ns: ["DMA_BUF"],
}

/// How often connections are looked after.
const HEARTBEAT_MS: u32 = 1000;

/// The module. Fields are dropped in this order: no new opens, then no more RDMA devices.
#[pin_data]
struct Dmaplane {
    #[pin]
    chardev: chardev::Registration<context::Context>,
    fabrics: client::Registration<fabric::Client>,
    heartbeat: Periodic<device::Device>,
    debug: debug::Debug,
    device: Arc<device::Device>,
}

impl kernel::InPlaceModule for Dmaplane {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            device: device::Device::new()?,
            debug: debug::Debug::new(device)?,
            heartbeat: Periodic::new(device.clone(), HEARTBEAT_MS)?,
            fabrics: client::Registration::new(c"dmaplane", fabric::Client::new(device.clone()))?,
            chardev <- chardev::Registration::new(c"dmaplane", module, device.clone()),
        })
    }
}
