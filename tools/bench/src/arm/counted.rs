// SPDX-License-Identifier: GPL-2.0
//! A receiver of many chunks that wants to know when the last one is there.

use std::{
    net::Ipv4Addr,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc, Arc, Barrier,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{ensure, Context as _, Result};
use clap::ValueEnum;
use dmaplane::{Access, Buffer, Channel, Counter, Immediates, Kind, Lease, Region, WriteImm};
use rustix::event::{poll, PollFd, PollFlags, Timespec};

use super::{
    pair::{self, Side, PATIENCE},
    pattern,
    tally::{self, Calls},
    Work,
};
use crate::sample::Block;

/// In flight, and places in the receiver's completion ring.
const DEPTH: u32 = 8;

/// How it sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// In `poll(2)`, having submitted that it waits.
    Poll,
    /// In `ENTER`, where it does the work of the adapter's events itself.
    Enter,
    /// In `ENTER` of a channel that the endpoint does not deliver to.
    Apart,
}

/// `count` messages of `size` bytes to a thread that waits for all of them. This one sends.
pub struct Counted {
    from: Side,
    memory: (Buffer, Region),
    target: Buffer,
    lease: Lease,
    turn: Arc<Barrier>,
    wakes: Arc<AtomicU64>,
    calls: Option<Calls>,
    size: u32,
    count: u32,
}

impl Counted {
    pub fn new(address: Ipv4Addr, size: u32, count: u32, way: Way, calls: bool) -> Result<Self> {
        let (from, to) = pair::connect(address, DEPTH, DEPTH, DEPTH)?;
        let memory = from.memory(size.into(), Access::LOCAL)?;
        let (target, region, lease) = to.target(&from, size.into())?;
        let counter = to.endpoint.counter(Immediates::ANY)?;
        let apart = match way {
            Way::Apart => Some(to.context.channel(1, 1)?),
            _ => None,
        };
        let turn = Arc::new(Barrier::new(2));
        let (tell, told) = mpsc::channel();
        let wakes = Arc::new(AtomicU64::new(0));
        let (turns, woken) = (turn.clone(), wakes.clone());
        thread::spawn(move || {
            let Side {
                endpoint,
                channel,
                context,
            } = to;
            // What it delivers to stays, whether it is waited there or not.
            let (mut channel, delivered) = match apart {
                Some(apart) => (apart, Some(channel)),
                None => (channel, None),
            };
            let _kept = (endpoint, delivered, context, region);
            let mut receive = || -> Result<()> {
                let wakes = tally::Wakes::open()?;
                tell.send(tally::own_id()?)?;
                for block in 1.. {
                    turns.wait();
                    let before = wakes.read()?;
                    wait(&mut channel, &counter, block * u64::from(count), way)?;
                    woken.store(wakes.read()? - before, Ordering::Relaxed);
                    turns.wait();
                }
                Ok(())
            };
            if let Err(error) = receive() {
                eprintln!("receiving: {error:#}");
                std::process::exit(1);
            }
        });
        let thread = told.recv().context("no receiver")?;
        Ok(Counted {
            from,
            memory,
            target,
            lease,
            turn,
            wakes,
            calls: calls.then(|| Calls::of(thread)),
            size,
            count,
        })
    }
}

/// Until `value` messages were counted in all.
fn wait(channel: &mut Channel, counter: &Counter, value: u64, way: Way) -> Result<()> {
    channel.push(counter.wait_for(value).user_data(value))?;
    if way == Way::Poll {
        channel.submit()?;
        let timeout = PATIENCE.map(Timespec::try_from).transpose()?;
        let there = poll(&mut [PollFd::new(channel, PollFlags::IN)], timeout.as_ref())?;
        ensure!(there == 1, "nothing came");
    } else {
        channel.wait(1, PATIENCE)?;
    }
    let mut completions = channel.completions();
    let told = completions.next().context("nothing came")?;
    told.result()?;
    ensure!(
        (told.kind, told.user_data) == (Kind::CounterWait, value) && completions.next().is_none()
    );
    Ok(())
}

impl Work for Counted {
    fn block(&mut self, verify: bool) -> Result<Block> {
        let sent = pattern(if verify { self.size as usize } else { 0 });
        if verify {
            self.memory.0.map()?.copy_in(0, &sent);
        }
        if let Some(calls) = &self.calls {
            calls.begin()?;
        }
        self.turn.wait();
        // It is asleep before the first one comes.
        thread::sleep(Duration::from_millis(2));
        let begin = Instant::now();
        let (_, region) = &self.memory;
        let write = WriteImm::new(&self.from.endpoint, region, self.lease).range(0, 0, self.size);
        pair::send(&mut self.from.channel, DEPTH, self.count, |n| write.imm(n))?;
        self.turn.wait();
        let bytes = u64::from(self.count) * u64::from(self.size);
        let mut block = Block::since(begin, self.count.into(), bytes);
        block.wakes = Some(self.wakes.load(Ordering::Relaxed));
        block.calls = self.calls.as_ref().map(Calls::end).transpose()?;
        if verify {
            let mut arrived = vec![0; sent.len()];
            self.target.map()?.copy_out(0, &mut arrived);
            ensure!(arrived == sent, "other bytes arrived than were sent");
        }
        Ok(block)
    }
}
