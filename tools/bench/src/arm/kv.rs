// SPDX-License-Identifier: GPL-2.0
//! A key-value cache, handed over layer by layer.

use std::{
    net::Ipv4Addr,
    sync::{mpsc, Arc, Barrier},
    thread,
    time::Instant,
};

use anyhow::{ensure, Result};
use clap::ValueEnum;
use dmaplane::{Access, Buffer, Channel, Kind, Lease, Region, WriteImm};

use super::{
    pair::{self, Side, PATIENCE},
    pattern, Work,
};
use crate::sample::Block;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// All chunks of the first layer are with the receiver's program
    First,
    /// Those of all layers are
    Whole,
}

/// Chunks, each of which has a place of its own on both sides, and not the same one. This
/// thread sends, another one takes the immediates, which are the chunks' numbers.
pub struct Kv {
    from: Side,
    memory: (Buffer, Region),
    target: Buffer,
    lease: Lease,
    begin: Arc<Barrier>,
    /// When the first layer was there, and when all were.
    arrived: mpsc::Receiver<(Instant, Instant)>,
    count: u32,
    size: u32,
    depth: u32,
    until: Until,
}

impl Kv {
    pub fn new(
        address: Ipv4Addr,
        (layers, chunks, size): (u32, u32, u32),
        depth: u32,
        until: Until,
    ) -> Result<Self> {
        let count = layers * chunks;
        let bytes = u64::from(count) * u64::from(size);
        let (from, to) = pair::connect(address, depth, pair::RECEIVES, depth)?;
        let memory = from.memory(bytes, Access::LOCAL)?;
        let (target, region, lease) = to.target(&from, bytes)?;
        let begin = Arc::new(Barrier::new(2));
        let (tell, arrived) = mpsc::channel();
        let (mut channel, started) = (to.channel, begin.clone());
        thread::spawn(move || {
            let _kept = (to.endpoint, to.context, region);
            loop {
                started.wait();
                match receive(&mut channel, chunks, count) {
                    Ok(times) if tell.send(times).is_ok() => {}
                    Ok(_) => return,
                    Err(error) => {
                        eprintln!("receiving: {error}");
                        std::process::exit(1);
                    }
                }
            }
        });
        Ok(Kv {
            from,
            memory,
            target,
            lease,
            begin,
            arrived,
            count,
            size,
            depth,
            until,
        })
    }

    fn send(&mut self) -> Result<()> {
        let (last, size) = (self.count - 1, self.size);
        let write = WriteImm::new(&self.from.endpoint, &self.memory.1, self.lease);
        pair::send(&mut self.from.channel, self.depth, self.count, |chunk| {
            let (local, remote) = places(chunk, last, size);
            write.range(local, remote, size).imm(chunk)
        })
    }
}

/// First byte of a chunk, here and there.
fn places(chunk: u32, last: u32, size: u32) -> (u64, u64) {
    let at = |place: u32| u64::from(place) * u64::from(size);
    (at(chunk), at(last - chunk))
}

fn receive(channel: &mut Channel, first: u32, count: u32) -> Result<(Instant, Instant)> {
    let (mut next, mut layer) = (0, None);
    while next < count {
        channel.wait(1, PATIENCE)?;
        for completion in channel.completions() {
            completion.result()?;
            ensure!(completion.kind == Kind::Recv && completion.imm == next);
            next += 1;
        }
        if next >= first {
            layer.get_or_insert_with(Instant::now);
        }
    }
    let end = Instant::now();
    Ok((layer.unwrap_or(end), end))
}

impl Work for Kv {
    fn block(&mut self, verify: bool) -> Result<Block> {
        let bytes = u64::from(self.count) * u64::from(self.size);
        let sent = pattern(if verify { bytes as usize } else { 0 });
        if verify {
            self.memory.0.map()?.copy_in(0, &sent);
        }
        self.begin.wait();
        let begin = Instant::now();
        self.send()?;
        let (layer, whole) = self.arrived.recv()?;
        // The whole is also the sender's last completions.
        let end = match self.until {
            Until::First => layer,
            Until::Whole => whole.max(Instant::now()),
        };
        if verify {
            let mut arrived = vec![0; bytes as usize];
            self.target.map()?.copy_out(0, &mut arrived);
            for chunk in 0..self.count {
                let (here, there) = places(chunk, self.count - 1, self.size);
                let part = |all: &[u8], at: u64| all[at as usize..][..self.size as usize].to_vec();
                ensure!(part(&sent, here) == part(&arrived, there), "chunk {chunk}");
            }
        }
        Ok(Block {
            ops: 1,
            bytes,
            ns: end.duration_since(begin).as_nanos() as u64,
            ..Block::default()
        })
    }
}
