// SPDX-License-Identifier: GPL-2.0
//! Connections, one after the other.

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::Instant,
};

use anyhow::{anyhow, ensure, Result};
use dmaplane::{Channel, ConnectOptions, Context, Endpoint, Kind, Listener};

use super::{pair::PATIENCE, Work};
use crate::sample::Block;

/// From the address to the peer's first immediate, which the accepting side sends, and the
/// end. A thread listens, accepts and sends.
pub struct Connect {
    context: Context,
    to: SocketAddr,
    count: u32,
}

fn options() -> ConnectOptions {
    ConnectOptions {
        send_depth: 8,
        recv_depth: 8,
        timeout: PATIENCE,
        ..ConnectOptions::default()
    }
}

impl Connect {
    pub fn new(address: Ipv4Addr, count: u32) -> Result<Self> {
        let server = Context::open()?;
        let listener = server.listen(SocketAddr::from((address, 0)), 8)?;
        let to = listener.address().ok_or_else(|| anyhow!("no address"))?;
        thread::spawn(move || {
            if let Err(error) = accept_all(&server, &listener) {
                eprintln!("accepting: {error}");
                std::process::exit(1);
            }
        });
        let context = Context::open()?;
        Ok(Connect { context, to, count })
    }

    fn connect(&self) -> Result<()> {
        let mut channel = self.context.channel(8, 16)?;
        let resolved = Endpoint::address(&self.context, self.to, None, PATIENCE)?;
        let (_endpoint, _) = resolved.connect(&channel, &options())?;
        channel.wait(1, PATIENCE)?;
        let first = channel.completions().next();
        ensure!(matches!(first, Some(c) if c.kind == Kind::Recv && c.result().is_ok()));
        Ok(())
    }
}

fn accept_all(server: &Context, listener: &Listener) -> Result<()> {
    // One that ends before its peer has seen that it stands would be an error there.
    let mut _last: Option<(Endpoint, Channel)> = None;
    loop {
        let mut channel = server.channel(8, 16)?;
        let endpoint = listener.request(None)?.accept(&channel, &options())?;
        channel.push(dmaplane::ImmOnly::new(&endpoint, 7))?;
        channel.wait(1, PATIENCE)?;
        for completion in channel.completions() {
            completion.result()?;
        }
        _last = Some((endpoint, channel));
    }
}

impl Work for Connect {
    fn block(&mut self, _verify: bool) -> Result<Block> {
        let begin = Instant::now();
        for _ in 0..self.count {
            self.connect()?;
        }
        Ok(Block::since(begin, self.count.into(), 0))
    }
}
