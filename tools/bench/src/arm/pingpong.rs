// SPDX-License-Identifier: GPL-2.0
//! One message there, one back.

use std::{net::Ipv4Addr, thread, time::Instant};

use anyhow::{ensure, Result};
use dmaplane::{Access, Buffer, Kind, Lease, Region, WriteImm};

use super::{
    pair::{self, Side, PATIENCE},
    Work,
};
use crate::sample::Block;

struct Player {
    side: Side,
    size: u32,
    lease: Lease,
    region: Region,
    _memory: (Buffer, Buffer, Region),
}

/// Two threads, each of which sleeps until the other one's message is there.
pub struct PingPong {
    player: Player,
    rounds: u32,
}

impl Player {
    fn send(&mut self, imm: u32) -> Result<()> {
        let write = WriteImm::new(&self.side.endpoint, &self.region, self.lease);
        let write = write.range(0, 0, self.size).imm(imm);
        Ok(self.side.channel.push(write)?)
    }

    /// Submits what was pushed and waits for `n` completions; returns the immediate that came.
    fn wait(&mut self, n: u32) -> Result<Option<u32>> {
        let mut imm = None;
        let mut left = n;
        while left > 0 {
            self.side.channel.wait(left, PATIENCE)?;
            for completion in self.side.channel.completions() {
                completion.result()?;
                if completion.kind == Kind::Recv {
                    imm = Some(completion.imm);
                }
                left = left.saturating_sub(1);
            }
        }
        Ok(imm)
    }

    /// Answers everything.
    fn answer(&mut self) -> Result<()> {
        // Its message, then ours and its next one.
        let mut imm = self.wait(1)?;
        loop {
            self.send(imm.unwrap_or(0))?;
            imm = self.wait(2)?;
        }
    }
}

impl PingPong {
    pub fn new(address: Ipv4Addr, size: u32, rounds: u32) -> Result<Self> {
        let (one, other) = pair::connect(address, 8, pair::RECEIVES, 8)?;
        let (from_one, region_one) = one.memory(size.into(), Access::LOCAL)?;
        let (from_other, region_other) = other.memory(size.into(), Access::LOCAL)?;
        let (to_other, target_other, lease_one) = other.target(&one, size.into())?;
        let (to_one, target_one, lease_other) = one.target(&other, size.into())?;
        let player = Player {
            side: one,
            size,
            lease: lease_one,
            region: region_one,
            _memory: (from_one, to_one, target_one),
        };
        let mut peer = Player {
            side: other,
            size,
            lease: lease_other,
            region: region_other,
            _memory: (from_other, to_other, target_other),
        };
        thread::spawn(move || {
            if let Err(error) = peer.answer() {
                eprintln!("answering: {error}");
                std::process::exit(1);
            }
        });
        Ok(PingPong { player, rounds })
    }
}

impl Work for PingPong {
    fn block(&mut self, _verify: bool) -> Result<Block> {
        let mut each = Vec::with_capacity(self.rounds as usize);
        let begin = Instant::now();
        let mut last = 0;
        for round in 0..self.rounds {
            self.player.send(round)?;
            let answer = self.player.wait(2)?;
            ensure!(
                answer == Some(round),
                "{answer:?} came back, {round} was sent"
            );
            let now = begin.elapsed().as_nanos() as u64;
            each.push((now - last) / 2);
            last = now;
        }
        // Two messages each round.
        let messages = u64::from(self.rounds) * 2;
        let mut block = Block::since(begin, messages, messages * u64::from(self.player.size));
        block.each_ns = each;
        Ok(block)
    }
}
