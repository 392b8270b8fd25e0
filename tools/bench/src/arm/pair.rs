// SPDX-License-Identifier: GPL-2.0
//! Two connected endpoints in this process, each with a context of its own.

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::Duration,
};

use anyhow::{anyhow, Result};
use dmaplane::{
    Access, Buffer, Channel, ConnectOptions, Context, Endpoint, Lease, Region, Timeout,
};

/// Limit of what must happen; nothing is measured by it.
pub const PATIENCE: Timeout = Some(Duration::from_secs(60));

/// One side.
pub struct Side {
    // Dropped in this order: an endpoint ends before its channel.
    pub endpoint: Endpoint,
    pub channel: Channel,
    pub context: Context,
}

/// Connects two sides over the address's device. Each may have `depth` work requests in
/// flight, `receives` messages under way to it, and rings of `entries`.
pub fn connect(address: Ipv4Addr, depth: u32, receives: u32, entries: u32) -> Result<(Side, Side)> {
    let options = ConnectOptions {
        send_depth: depth,
        recv_depth: receives,
        timeout: PATIENCE,
        ..ConnectOptions::default()
    };
    let entries = entries.next_power_of_two();
    let cq_entries = (entries + receives).next_power_of_two();
    let server = Context::open()?;
    let listener = server.listen(SocketAddr::from((address, 0)), 1)?;
    let to = listener.address().ok_or_else(|| anyhow!("no address"))?;
    let accepting = thread::spawn(move || -> dmaplane::Result<Side> {
        let channel = server.channel(entries, cq_entries)?;
        let endpoint = listener.request(PATIENCE)?.accept(&channel, &options)?;
        Ok(Side {
            endpoint,
            channel,
            context: server,
        })
    });
    let context = Context::open()?;
    let channel = context.channel(entries, cq_entries)?;
    let resolved = Endpoint::address(&context, to, None, PATIENCE)?;
    let (endpoint, _) = resolved.connect(&channel, &options)?;
    let accepted = accepting
        .join()
        .map_err(|_| anyhow!("a thread panicked"))??;
    let connected = Side {
        endpoint,
        channel,
        context,
    };
    Ok((connected, accepted))
}

impl Side {
    /// A buffer and a region of all of it.
    pub fn memory(&self, bytes: u64, access: Access) -> Result<(Buffer, Region)> {
        let buffer = self.context.buffer(bytes)?;
        let region = self.endpoint.register(&buffer, 0, buffer.len(), access)?;
        Ok((buffer, region))
    }

    /// A buffer that `peer` may write to, and its lease there.
    pub fn target(&self, peer: &Side, bytes: u64) -> Result<(Buffer, Region, Lease)> {
        let (buffer, region) = self.memory(bytes, Access::REMOTE_WRITE)?;
        self.endpoint.grant(&region, 0)?;
        let lease = peer.endpoint.wait_lease(PATIENCE)?;
        Ok((buffer, region, lease))
    }
}
