// SPDX-License-Identifier: GPL-2.0
//! Many endpoints of one context.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Barrier},
    thread,
    time::Instant,
};

use anyhow::{ensure, Result};
use dmaplane::{Access, Buffer, Channel, Context, Endpoint, Kind, Lease, Region, WriteImm};

use super::{
    pair::{self, PATIENCE},
    Work,
};
use crate::sample::Block;

/// In flight, over all endpoints together.
const DEPTH: u32 = 32;

/// `count` messages of `size` bytes to as many peers in turn, which are one other context.
/// One channel sends, another one takes what arrives.
pub struct Many {
    // Dropped in this order: an endpoint ends before its channel.
    peers: Vec<(Endpoint, Region, Lease)>,
    turn: Arc<Barrier>,
    size: u32,
    count: u32,
    channel: Channel,
    _kept: (Buffer, Context),
}

impl Many {
    pub fn new(address: Ipv4Addr, endpoints: u32, size: u32, count: u32) -> Result<Self> {
        let (from, to) =
            pair::connect_many(address, endpoints, DEPTH, &pair::options(DEPTH, DEPTH))?;
        let buffer = from.context.buffer(u64::from(size))?;
        let mut peers = vec![];
        let mut kept = vec![];
        for (one, other) in from.endpoints.into_iter().zip(to.endpoints) {
            let region = one.register(&buffer, 0, buffer.len(), Access::LOCAL)?;
            let target = to.context.buffer(u64::from(size))?;
            let there = other.register(&target, 0, target.len(), Access::REMOTE_WRITE)?;
            other.grant(&there, 0)?;
            let lease = one.wait_lease(PATIENCE)?;
            peers.push((one, region, lease));
            kept.push((other, target, there));
        }
        let turn = Arc::new(Barrier::new(2));
        let (mut channel, turns) = (to.channel, turn.clone());
        let context: Context = to.context;
        thread::spawn(move || {
            let _kept = (kept, context);
            loop {
                turns.wait();
                let mut seen = 0;
                while seen < count {
                    if let Err(error) = channel.wait(1, PATIENCE) {
                        eprintln!("receiving: {error}");
                        std::process::exit(1);
                    }
                    for completion in channel.completions() {
                        if completion.kind != Kind::Recv || completion.result().is_err() {
                            eprintln!("receiving: {completion:?}");
                            std::process::exit(1);
                        }
                        seen += 1;
                    }
                }
                turns.wait();
            }
        });
        Ok(Many {
            peers,
            turn,
            size,
            count,
            channel: from.channel,
            _kept: (buffer, from.context),
        })
    }
}

impl Work for Many {
    fn block(&mut self, _verify: bool) -> Result<Block> {
        ensure!(!self.peers.is_empty(), "no peers");
        self.turn.wait();
        let begin = Instant::now();
        let (peers, size) = (&self.peers, self.size);
        pair::send(&mut self.channel, DEPTH, self.count, |message| {
            let (endpoint, region, lease) = &peers[message as usize % peers.len()];
            let write = WriteImm::new(endpoint, region, *lease);
            write.range(0, 0, size).imm(message)
        })?;
        self.turn.wait();
        let bytes = u64::from(self.count) * u64::from(self.size);
        Ok(Block::since(begin, self.count.into(), bytes))
    }
}
