// SPDX-License-Identifier: GPL-2.0
//! What a ring costs: entries that do nothing.

use std::{
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

use anyhow::{ensure, Result};
use dmaplane::{Channel, ChannelOptions, Context, Nop as Entry};

use super::Work;
use crate::sample::Block;

/// NOP entries in batches.
pub struct Nop {
    channel: Channel,
    batch: u32,
    ops: u64,
}

impl Nop {
    pub fn new(batch: u32, ops: u64) -> Result<Self> {
        let entries = batch.next_power_of_two();
        let channel = Context::open()?.channel(entries, entries)?;
        Ok(Nop {
            channel,
            batch,
            ops,
        })
    }
}

impl Work for Nop {
    fn block(&mut self, verify: bool) -> Result<Block> {
        let begin = Instant::now();
        let (mut next, mut seen) = (0, 0);
        while seen < self.ops {
            for _ in 0..self.batch {
                self.channel.push(Entry { user_data: next })?;
                next += 1;
            }
            self.channel.wait(self.batch, None)?;
            for completion in self.channel.completions() {
                completion.result()?;
                ensure!(!verify || completion.user_data == seen, "out of order");
                seen += 1;
            }
        }
        Ok(Block::since(begin, seen, 0))
    }
}

/// NOP entries in batches, that a thread of the kernel's takes; this one looks again and again.
pub struct Polled(Nop);

impl Polled {
    pub fn new(batch: u32, ops: u64) -> Result<Self> {
        // Its thread gives places back some time after it took what was there.
        let entries = 2 * batch.next_power_of_two();
        let options = ChannelOptions::new(entries, entries).sqpoll(Duration::from_secs(2));
        let channel = Context::open()?.channel_with(options)?;
        Ok(Polled(Nop {
            channel,
            batch,
            ops,
        }))
    }
}

impl Work for Polled {
    fn block(&mut self, verify: bool) -> Result<Block> {
        let Nop {
            channel,
            batch,
            ops,
        } = &mut self.0;
        let begin = Instant::now();
        let (mut next, mut seen) = (0, 0);
        while seen < *ops {
            for _ in 0..*batch {
                channel.push(Entry { user_data: next })?;
                next += 1;
            }
            channel.submit()?;
            // As theirs: QEMU would do other things at a pause.
            while channel.available() < *batch {}
            for completion in channel.completions() {
                completion.result()?;
                ensure!(!verify || completion.user_data == seen, "out of order");
                seen += 1;
            }
        }
        Ok(Block::since(begin, seen, 0))
    }
}

/// NOP entries in batches, by several threads that have nothing in common.
pub struct Nops {
    turn: Arc<Barrier>,
    ops: u64,
}

impl Nops {
    pub fn new(threads: u32, batch: u32, ops: u64) -> Result<Self> {
        let processors = thread::available_parallelism()?.get();
        ensure!(
            threads as usize <= processors,
            "only {processors} processors"
        );
        let turn = Arc::new(Barrier::new(threads as usize + 1));
        let each = ops / u64::from(threads.max(1));
        for _ in 0..threads {
            let mut nop = Nop::new(batch, each)?;
            let turn = turn.clone();
            thread::spawn(move || loop {
                turn.wait();
                if let Err(error) = nop.block(false) {
                    eprintln!("{error}");
                    std::process::exit(1);
                }
                turn.wait();
            });
        }
        let ops = each * u64::from(threads);
        Ok(Nops { turn, ops })
    }
}

impl Work for Nops {
    fn block(&mut self, _verify: bool) -> Result<Block> {
        self.turn.wait();
        let begin = Instant::now();
        self.turn.wait();
        Ok(Block::since(begin, self.ops, 0))
    }
}
