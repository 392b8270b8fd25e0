// SPDX-License-Identifier: GPL-2.0

//! What carries an endpoint's work to its peer and tells what became of it.
//!
//! [`Transport`] is all that a user of connections may rely on. The verbs implement it as
//! [`conn::Connection`](super::conn::Connection), and in a test build the mock fabric as
//! `mock::Connection`; which type users get is decided when the module is built, so that it costs
//! nothing.
//!
//! Ownership, locking and teardown are those of [`conn`](super::conn).

use super::{
    addr::Addr,
    chain::Chain,
    device::{
        Device,
        Domain, //
    },
    event::{
        Handler,
        Incoming, //
    },
    mr::{
        Access,
        Region, //
    },
    poller::Poller,
    queue::Caps, //
};
use crate::mm::pages::Pages;
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// A connection as its user has it.
#[cfg(not(dmaplane_test))]
pub type Connection<H> = super::conn::Connection<H>;

/// A connection as its user has it.
#[cfg(dmaplane_test)]
pub type Connection<H> = super::mock::Connection<H>;

/// A connection that can be made, used and ended, and tells a [`Handler`] of what happens.
///
/// The methods may be called concurrently, inside the handler as well. Dropping it ends it: all
/// that was posted has completed when that is done. See [`Handler`] for where it must not be.
pub trait Transport<H: Handler>: Send + Sync + Sized {
    /// A connection that is not bound to an address, in the current task's network namespace.
    fn new(handler: Arc<H>) -> Result<Self>;

    /// Makes a connection of a request, which remains to be accepted or rejected.
    ///
    /// If this fails, or the connection is dropped before it is accepted, the peer is refused.
    fn adopt(request: Incoming<'_>, handler: Arc<H>) -> Result<Self>;

    /// The device, once there is one that we know.
    fn device(&self) -> Option<Arc<Device>>;

    /// Begins to look for a device that reaches an address.
    fn resolve_addr(&self, from: Option<&Addr>, to: &Addr, timeout_ms: u32) -> Result;

    /// Begins to look for a route, once there is a device.
    fn resolve_route(&self, timeout_ms: u32) -> Result;

    /// Makes the queues in a domain, once there is a device.
    ///
    /// Fails with `ENODEV` without a device, `EINVAL` if the domain is of another or beyond its
    /// limits, `EBUSY` if there are queues, `ENOTCONN` after [`Self::shutdown`].
    fn create_qp(&self, domain: &Arc<Domain>, poller: &Arc<Poller>, caps: &Caps) -> Result;

    /// Begins to connect, once there are a route and queues; once per connection. At most 56 bytes
    /// go along.
    fn connect(&self, private_data: &[u8]) -> Result;

    /// Accepts a request that was adopted and has queues, once. At most 196 bytes go along.
    fn accept(&self, private_data: &[u8]) -> Result;

    /// Refuses a request that was adopted. At most 148 bytes go along.
    fn reject(&self, private_data: &[u8]) -> Result;

    /// Begins to disconnect: what is posted is flushed, and so is what is posted later.
    ///
    /// `EBUSY` if that would have to wait for the peer: over iWARP a connection cannot be ended
    /// before the answer is there (or the adapter gave up), and [`Handler::cm_event`] tells when.
    fn disconnect(&self) -> Result;

    /// Refuses to post, disconnects, and returns when all that was posted has completed and was
    /// handled. Not to be called by [`Handler::completion`].
    fn shutdown(&self);

    /// Posts a receive, as soon as there are queues.
    fn post_recv(&self, slot: u32) -> Result;

    /// Copies `len` bytes from `offset` on of a message that was received in a slot, which was not
    /// posted again since, to `to_offset` of `to`. `EBUSY` if it was, `ERANGE` for bytes that are
    /// not there.
    fn read_message(
        &self,
        slot: u32,
        offset: usize,
        to: &Pages,
        to_offset: u64,
        len: usize,
    ) -> Result;

    /// Sends a message of 1 to [`MESSAGE_BYTES`](super::queue::MESSAGE_BYTES) bytes.
    ///
    /// This and the other functions that post do not sleep. When they fail, nothing was posted:
    /// with `ENOTCONN` if the connection is not there or was shut down, `EINVAL` for a slot or
    /// length out of range, `EBUSY` if the slot is in flight, `EAGAIN` if the send queue is
    /// full. After `EIO` the connection is of no use and must be dropped.
    fn post_ctrl(&self, slot: u32, message: &[u8]) -> Result;

    /// Posts a chain of reads, writes and messages, which complete as one, all of them or, but for
    /// `EIO`, none. `EOPNOTSUPP` if it tells values and the device cannot, `EINVAL` if it is empty.
    fn post_write(&self, slot: u32, chain: &mut Chain) -> Result;

    /// Registers a segment of a region of the same device. `EBUSY` if it is registered.
    fn post_reg(&self, slot: u32, region: &Arc<Region>, segment: usize, access: Access) -> Result;
}
