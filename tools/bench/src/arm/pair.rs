// SPDX-License-Identifier: GPL-2.0
//! Two connected endpoints in this process, each with a context of its own.

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{anyhow, bail, Context as _, Result};
use dmaplane::{
    Access, Buffer, Channel, ConnectOptions, Context, Endpoint, Entry, Lease, Region, Timeout,
};

use super::{tally, Work};
use crate::sample::Block;

/// Limit of what must happen; nothing is measured by it.
pub const PATIENCE: Timeout = Some(Duration::from_secs(60));

/// One side.
pub struct Side {
    // Dropped in this order: an endpoint ends before its channel.
    pub endpoint: Endpoint,
    pub channel: Channel,
    pub context: Context,
}

/// One side of several connections, over one channel.
pub struct Hub {
    // As in `Side`.
    pub endpoints: Vec<Endpoint>,
    pub channel: Channel,
    pub context: Context,
}

impl Hub {
    fn only(mut self) -> Result<Side> {
        Ok(Side {
            endpoint: self.endpoints.pop().context("no connection")?,
            channel: self.channel,
            context: self.context,
        })
    }
}

/// Messages that may be under way where theirs is perftest, or has a receive for each: perftest's
/// own number.
pub const RECEIVES: u32 = 512;

/// Connects two sides over the address's device. Each may have `depth` work requests in
/// flight, `receives` messages under way to it, and rings of `entries`.
pub fn connect(address: Ipv4Addr, depth: u32, receives: u32, entries: u32) -> Result<(Side, Side)> {
    connect_with(address, entries, &options(depth, receives))
}

/// The same, as `options` say.
pub fn connect_with(
    address: Ipv4Addr,
    entries: u32,
    options: &ConnectOptions,
) -> Result<(Side, Side)> {
    let (from, to) = connect_many(address, 1, entries, options)?;
    Ok((from.only()?, to.only()?))
}

/// Work requests in flight, and messages under way to each side.
pub fn options(depth: u32, receives: u32) -> ConnectOptions {
    ConnectOptions {
        send_depth: depth,
        recv_depth: receives,
        timeout: PATIENCE,
        ..ConnectOptions::default()
    }
}

/// As [`connect_with`], `count` times.
pub fn connect_many(
    address: Ipv4Addr,
    count: u32,
    entries: u32,
    options: &ConnectOptions,
) -> Result<(Hub, Hub)> {
    let options = *options;
    let entries = entries.next_power_of_two();
    let cq_entries = (entries + options.recv_depth * count).next_power_of_two();
    let server = Context::open()?;
    let listener = server.listen(SocketAddr::from((address, 0)), 8)?;
    let to = listener.address().context("no address")?;
    let accepting = thread::spawn(move || -> dmaplane::Result<Hub> {
        let channel = server.channel(entries, cq_entries)?;
        let accept = |_| listener.request(PATIENCE)?.accept(&channel, &options);
        Ok(Hub {
            endpoints: (0..count).map(accept).collect::<dmaplane::Result<_>>()?,
            channel,
            context: server,
        })
    });
    let context = Context::open()?;
    let channel = context.channel(entries, cq_entries)?;
    let connect = |_| -> dmaplane::Result<Endpoint> {
        let resolved = Endpoint::address(&context, to, None, PATIENCE)?;
        Ok(resolved.connect(&channel, &options)?.0)
    };
    let endpoints = (0..count).map(connect).collect::<dmaplane::Result<_>>()?;
    let accepted = accepting
        .join()
        .map_err(|_| anyhow!("a thread panicked"))??;
    let connected = Hub {
        endpoints,
        channel,
        context,
    };
    Ok((connected, accepted))
}

/// Sends `count` entries, `depth` of them in flight, until all are completed.
pub fn send<E: Into<Entry>>(
    channel: &mut Channel,
    depth: u32,
    count: u32,
    entry: impl Fn(u32) -> E,
) -> Result<()> {
    let (mut posted, mut done) = (0, 0);
    while done < count {
        let room = (depth - (posted - done)).min(count - posted);
        for _ in 0..room {
            channel.push(entry(posted))?;
            posted += 1;
        }
        channel.wait(1, PATIENCE)?;
        for completion in channel.completions() {
            completion.result()?;
            done += 1;
        }
    }
    Ok(())
}

/// A receiver to which nothing is sent for a while.
pub struct Idle {
    side: Side,
    _peer: Side,
    time: Duration,
}

impl Idle {
    pub fn new(address: Ipv4Addr, seconds: u64) -> Result<Self> {
        let (peer, side) = connect(address, 8, 8, 8)?;
        Ok(Idle {
            side,
            _peer: peer,
            time: Duration::from_secs(seconds),
        })
    }
}

impl Work for Idle {
    fn block(&mut self, _verify: bool) -> Result<Block> {
        let (begin, before) = (Instant::now(), tally::own_ns()?);
        match self.side.channel.wait(1, Some(self.time)) {
            Err(error) if error.is_timeout() => Ok(Block {
                own_ns: Some(tally::own_ns()? - before),
                ..Block::since(begin, 1, 0)
            }),
            Err(error) => Err(error.into()),
            Ok(_) => bail!("something came"),
        }
    }
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
        self.lend(peer, bytes, Access::REMOTE_WRITE)
    }

    /// A buffer that `peer` may reach, and its lease there.
    pub fn lend(&self, peer: &Side, bytes: u64, access: Access) -> Result<(Buffer, Region, Lease)> {
        let (buffer, region) = self.memory(bytes, access)?;
        self.endpoint.grant(&region, 0)?;
        let lease = peer.endpoint.wait_lease(PATIENCE)?;
        Ok((buffer, region, lease))
    }
}
