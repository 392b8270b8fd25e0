// SPDX-License-Identifier: GPL-2.0
//! READ entries.

use std::{net::Ipv4Addr, time::Instant};

use anyhow::{ensure, Result};
use dmaplane::{Access, Buffer, Lease, Read, Region};

use super::{
    pair::{self, Side},
    pattern, Work,
};
use crate::sample::Block;

/// `count` reads of `size` bytes, `depth` of them in flight.
pub struct Reads {
    side: Side,
    memory: (Buffer, Region),
    source: (Buffer, Region),
    lease: Lease,
    _peer: Side,
    size: u32,
    depth: u32,
    count: u32,
}

impl Reads {
    pub fn new(address: Ipv4Addr, size: u32, depth: u32, count: u32) -> Result<Self> {
        let (side, peer) = pair::connect(address, depth, 8, depth)?;
        let memory = side.memory(size.into(), Access::LOCAL_WRITE)?;
        let (buffer, region, lease) = peer.lend(&side, size.into(), Access::REMOTE_READ)?;
        Ok(Reads {
            side,
            memory,
            source: (buffer, region),
            lease,
            _peer: peer,
            size,
            depth,
            count,
        })
    }
}

impl Work for Reads {
    fn block(&mut self, verify: bool) -> Result<Block> {
        let there = pattern(if verify { self.size as usize } else { 0 });
        if verify {
            self.source.0.map()?.copy_in(0, &there);
        }
        let begin = Instant::now();
        let (_, region) = &self.memory;
        let read = Read::new(&self.side.endpoint, region, self.lease).range(0, 0, self.size);
        pair::send(&mut self.side.channel, self.depth, self.count, |_| read)?;
        let bytes = u64::from(self.count) * u64::from(self.size);
        let block = Block::since(begin, self.count.into(), bytes);
        if verify {
            let mut here = vec![0; there.len()];
            self.memory.0.map()?.copy_out(0, &mut here);
            ensure!(here == there, "other bytes were read than are there");
        }
        Ok(block)
    }
}
