// SPDX-License-Identifier: GPL-2.0
//! A stream of WRITE_IMM entries.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Barrier},
    thread,
    time::Instant,
};

use anyhow::{ensure, Result};
use dmaplane::{Access, Buffer, Channel, Kind, Lease, Region, WriteImm};

use super::{
    pair::{self, Side, PATIENCE},
    pattern, Work,
};
use crate::sample::Block;

/// `count` messages of `size` bytes, `depth` of them in flight. This thread sends, another
/// one takes the immediates.
pub struct Stream {
    from: Side,
    memory: (Buffer, Region),
    target: Buffer,
    lease: Lease,
    turn: Arc<Barrier>,
    size: u32,
    depth: u32,
    count: u32,
}

impl Stream {
    pub fn new(address: Ipv4Addr, size: u32, depth: u32, count: u32) -> Result<Self> {
        let segments = size.div_ceil(1 << 20).max(1);
        let (from, to) = pair::connect(address, depth * segments, pair::RECEIVES, depth)?;
        let memory = from.memory(size.into(), Access::LOCAL)?;
        let (target, region, lease) = to.target(&from, size.into())?;
        let turn = Arc::new(Barrier::new(2));
        let receiver = (to.channel, turn.clone());
        thread::spawn(move || {
            let _kept = (to.endpoint, to.context, region);
            let (mut channel, turn) = receiver;
            loop {
                turn.wait();
                if let Err(error) = receive(&mut channel, count) {
                    eprintln!("receiving: {error}");
                    std::process::exit(1);
                }
                turn.wait();
            }
        });
        Ok(Stream {
            from,
            memory,
            target,
            lease,
            turn,
            size,
            depth,
            count,
        })
    }

    fn send(&mut self) -> Result<()> {
        let (_, region) = &self.memory;
        let write = WriteImm::new(&self.from.endpoint, region, self.lease).range(0, 0, self.size);
        pair::send(&mut self.from.channel, self.depth, self.count, |n| {
            write.imm(n)
        })
    }
}

pub fn receive(channel: &mut Channel, count: u32) -> Result<()> {
    let mut next = 0;
    while next < count {
        channel.wait(1, PATIENCE)?;
        for completion in channel.completions() {
            completion.result()?;
            ensure!(completion.kind == Kind::Recv && completion.imm == next);
            next += 1;
        }
    }
    Ok(())
}

impl Work for Stream {
    fn block(&mut self, verify: bool) -> Result<Block> {
        let sent = pattern(if verify { self.size as usize } else { 0 });
        if verify {
            self.memory.0.map()?.copy_in(0, &sent);
        }
        self.turn.wait();
        let begin = Instant::now();
        self.send()?;
        self.turn.wait();
        let bytes = u64::from(self.count) * u64::from(self.size);
        let block = Block::since(begin, self.count.into(), bytes);
        if verify {
            let mut arrived = vec![0; sent.len()];
            self.target.map()?.copy_out(0, &mut arrived);
            ensure!(arrived == sent, "other bytes arrived than were sent");
        }
        Ok(block)
    }
}
