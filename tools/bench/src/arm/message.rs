// SPDX-License-Identifier: GPL-2.0
//! A stream of SEND entries.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Barrier},
    thread,
    time::Instant,
};

use anyhow::{ensure, Result};
use dmaplane::{Access, Buffer, Channel, ConnectOptions, RecvMessage, Region, SendMessage};

use super::{
    pair::{self, Side},
    pattern,
    write::receive,
    Work,
};
use crate::sample::Block;

/// `count` messages of `size` bytes with immediates, `depth` of them in flight, each to a place of
/// its own. This thread sends, another one receives.
pub struct Messages {
    from: Side,
    memory: (Buffer, Region),
    target: Buffer,
    turn: Arc<Barrier>,
    size: u32,
    depth: u32,
    count: u32,
}

impl Messages {
    pub fn new(address: Ipv4Addr, size: u32, depth: u32, count: u32) -> Result<Self> {
        let options = ConnectOptions {
            message_bytes: size,
            ..pair::options(depth, pair::RECEIVES)
        };
        let (from, to) = pair::connect_with(address, depth, &options)?;
        let memory = from.memory(size.into(), Access::LOCAL)?;
        let target = to.context.buffer(u64::from(size) * u64::from(count))?;
        let take = RecvMessage::new(&to.endpoint, &target, 0, size).multishot(count);
        let turn = Arc::new(Barrier::new(2));
        let receiver = (to.channel, turn.clone());
        thread::spawn(move || {
            let _kept = (to.endpoint, to.context);
            let (mut channel, turn) = receiver;
            loop {
                if let Err(error) = take_block(&mut channel, &turn, take, count) {
                    eprintln!("receiving: {error}");
                    std::process::exit(1);
                }
                turn.wait();
            }
        });
        Ok(Messages {
            from,
            memory,
            target,
            turn,
            size,
            depth,
            count,
        })
    }
}

fn take_block(channel: &mut Channel, turn: &Barrier, take: RecvMessage, count: u32) -> Result<()> {
    channel.push(take)?;
    channel.submit()?;
    turn.wait();
    receive(channel, count)
}

impl Work for Messages {
    fn block(&mut self, verify: bool) -> Result<Block> {
        let sent = pattern(if verify { self.size as usize } else { 0 });
        if verify {
            self.memory.0.map()?.copy_in(0, &sent);
        }
        self.turn.wait();
        let begin = Instant::now();
        let (_, region) = &self.memory;
        let send = SendMessage::new(&self.from.endpoint, region, 0, self.size);
        pair::send(&mut self.from.channel, self.depth, self.count, |n| {
            send.imm(n)
        })?;
        self.turn.wait();
        let bytes = u64::from(self.count) * u64::from(self.size);
        let block = Block::since(begin, self.count.into(), bytes);
        if verify {
            let mut arrived = vec![0; sent.len()];
            let map = self.target.map()?;
            for place in 0..self.count as usize {
                map.copy_out(place * sent.len(), &mut arrived);
                ensure!(arrived == sent, "other bytes arrived than were sent");
            }
        }
        Ok(block)
    }
}
