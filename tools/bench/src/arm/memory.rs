// SPDX-License-Identifier: GPL-2.0
//! Buffers and regions.

use std::{net::Ipv4Addr, ops::Range, os::fd::OwnedFd, time::Instant};

use anyhow::{ensure, Context as _, Result};
use dmaplane::{
    Access, Buffer, BufferOptions, Channel, Context, ExportOptions, Huge, Mapping, Migrate, Pool,
    Region,
};

use super::{
    pair::{self, Side},
    Work,
};
use crate::sample::Block;

const PAGE: usize = 4096;

/// A buffer, from nothing to every page touched, and its end.
pub struct Ready {
    // A registration needs a connection.
    pair: Option<(Side, Side)>,
    context: Context,
    bytes: u64,
    export: bool,
}

impl Ready {
    pub fn new(address: Ipv4Addr, bytes: u64, register: bool, export: bool) -> Result<Self> {
        let pair = match register {
            true => Some(pair::connect(address, 8, 8, 8)?),
            false => None,
        };
        let context = match &pair {
            Some((side, _)) => side.context.clone(),
            None => Context::open()?,
        };
        Ok(Ready {
            pair,
            context,
            bytes,
            export,
        })
    }
}

impl Work for Ready {
    fn block(&mut self, verify: bool) -> Result<Block> {
        let begin = Instant::now();
        let buffer = self.context.buffer(self.bytes)?;
        let mut map = buffer.map()?;
        for at in (0..map.len()).step_by(PAGE) {
            map.copy_in(at, &[1]);
        }
        let region = match &self.pair {
            Some((side, _)) => {
                let access = Access::REMOTE_WRITE;
                Some(side.endpoint.register(&buffer, 0, self.bytes, access)?)
            }
            None => None,
        };
        let dmabuf = match self.export {
            true => Some(buffer.export(ExportOptions::default())?),
            false => None,
        };
        let block = Block::since(begin, 1, self.bytes);
        if verify {
            let mut page = [0; PAGE];
            // Of a large one some are enough.
            let step = PAGE * (map.len() / (64 << 20)).max(1);
            for at in (0..map.len()).step_by(step) {
                map.copy_out(at, &mut page);
                ensure!(page[0] == 1 && page[1..].iter().all(|&b| b == 0));
            }
        }
        drop((region, dmabuf));
        Ok(block)
    }
}

/// Registrations of a buffer that is there, and their ends.
pub struct Register {
    pair: (Side, Side),
    buffer: Buffer,
    count: u32,
}

impl Register {
    pub fn new(address: Ipv4Addr, bytes: u64, count: u32) -> Result<Self> {
        let pair = pair::connect(address, 8, 8, 8)?;
        let buffer = pair.0.context.buffer(bytes)?;
        Ok(Register {
            pair,
            buffer,
            count,
        })
    }
}

impl Work for Register {
    fn block(&mut self, _verify: bool) -> Result<Block> {
        let (side, _) = &self.pair;
        let length = self.buffer.len();
        let begin = Instant::now();
        for _ in 0..self.count {
            let access = Access::REMOTE_WRITE;
            let region = side.endpoint.register(&self.buffer, 0, length, access)?;
            region.deregister().map_err(|(_, error)| error)?;
        }
        let count = u64::from(self.count);
        Ok(Block::since(begin, count, count * length))
    }
}

/// Views of a region, all by one call, and their end by another.
pub struct Views {
    // The region goes before the connection.
    region: Region,
    parts: Vec<Range<u64>>,
    _pair: (Side, Side),
}

impl Views {
    pub fn new(address: Ipv4Addr, bytes: u64, count: u32) -> Result<Self> {
        let pair = pair::connect(address, 8, 8, 8)?;
        let (all, access) = (2 * bytes, Access::REMOTE_WRITE);
        let buffer = pair.0.context.buffer(all)?;
        let region = pair.0.endpoint.register(&buffer, 0, all, access)?;
        // They may lie over each other.
        let part = |n: u64| n % bytes..n % bytes + bytes;
        let parts = (0..u64::from(count)).map(part).collect();
        Ok(Views {
            region,
            parts,
            _pair: pair,
        })
    }
}

impl Work for Views {
    fn block(&mut self, verify: bool) -> Result<Block> {
        let begin = Instant::now();
        let views = self.region.views(&self.parts, Access::REMOTE_WRITE)?;
        let count = views.len() as u64;
        let last = views.iter().map(|view| view.id()).max();
        drop(views);
        let block = Block::since(begin, count, 0);
        ensure!(!verify || count == self.parts.len() as u64 && last.is_some());
        Ok(block)
    }
}

/// A piece of a pool, of memory that is mapped, exported and registered already, and its return.
pub struct Pooled {
    // It goes before the connection.
    pool: Pool,
    _dmabuf: OwnedFd,
    bytes: u64,
    count: u32,
    _pair: (Side, Side),
}

impl Pooled {
    pub fn new(address: Ipv4Addr, bytes: u64, count: u32) -> Result<Self> {
        let pair = pair::connect(address, 8, 8, 8)?;
        let options = BufferOptions::default();
        let pool = Pool::new(&pair.0.endpoint, bytes, Access::REMOTE_WRITE, options)?;
        let dmabuf = pool.buffer().export(ExportOptions::default())?;
        Ok(Pooled {
            pool,
            _dmabuf: dmabuf,
            bytes,
            count,
            _pair: pair,
        })
    }
}

impl Work for Pooled {
    fn block(&mut self, verify: bool) -> Result<Block> {
        let begin = Instant::now();
        let mut taken = 0;
        for _ in 0..self.count {
            taken += self.pool.take(self.bytes).map_or(0, |piece| piece.len());
        }
        let block = Block::since(begin, self.count.into(), 0);
        ensure!(!verify || taken == self.bytes * u64::from(self.count));
        Ok(block)
    }
}

/// Small buffers that come and go while others stay.
pub struct Handles {
    contexts: Vec<Context>,
    _kept: Vec<Buffer>,
    count: u32,
}

impl Handles {
    pub fn new(handles: u32, count: u32) -> Result<Self> {
        // With room for one more.
        let most = Context::open()?.info()?.max_objects as usize - 1;
        let mut contexts = vec![];
        let mut kept = Vec::with_capacity(handles as usize);
        for number in 0..handles as usize {
            if number % most == 0 {
                contexts.push(Context::open()?);
            }
            kept.push(contexts[number / most].buffer(PAGE as u64)?);
        }
        Ok(Handles {
            contexts,
            _kept: kept,
            count,
        })
    }
}

impl Work for Handles {
    fn block(&mut self, _verify: bool) -> Result<Block> {
        let begin = Instant::now();
        for i in 0..self.count as usize {
            let buffer = self.contexts[i % self.contexts.len()].buffer(PAGE as u64)?;
            ensure!(buffer.query()?.pages == 1);
        }
        Ok(Block::since(begin, self.count.into(), 0))
    }
}

/// The nodes of a buffer's pages.
pub struct Where {
    buffer: Buffer,
}

impl Where {
    pub fn new(bytes: u64) -> Result<Self> {
        let buffer = Context::open()?.buffer(bytes)?;
        Ok(Where { buffer })
    }
}

impl Work for Where {
    fn block(&mut self, verify: bool) -> Result<Block> {
        let begin = Instant::now();
        let placement = self.buffer.query()?;
        let block = Block::since(begin, 1, placement.length);
        let told: u64 = placement.pages_per_node.iter().sum();
        ensure!(!verify || told == placement.pages);
        Ok(block)
    }
}

/// A buffer of single pages, moved from one node to the other and back.
pub struct Moved {
    channel: Channel,
    buffer: Buffer,
    // Programs that move have them mapped.
    map: Mapping,
    node: u32,
}

impl Moved {
    pub fn new(bytes: u64) -> Result<Self> {
        let context = Context::open()?;
        let options = BufferOptions {
            node: Some(1),
            strict: true,
            huge: Huge::Never,
            ..BufferOptions::default()
        };
        let buffer = Buffer::create(&context, bytes, options)?;
        let mut map = buffer.map()?;
        for at in (0..map.len()).step_by(PAGE) {
            map.copy_in(at, &(at as u64).to_ne_bytes());
        }
        Ok(Moved {
            channel: context.channel(8, 8)?,
            buffer,
            map,
            node: 1,
        })
    }
}

impl Work for Moved {
    fn block(&mut self, verify: bool) -> Result<Block> {
        self.node = 3 - self.node;
        let begin = Instant::now();
        let migrate = Migrate::new(&self.buffer, self.node).strict();
        self.channel.push(migrate)?;
        self.channel.wait(1, None)?;
        let completion = self.channel.completions().next().context("no completion")?;
        let moved = u64::from(completion.result()?);
        let block = Block::since(begin, 1, self.buffer.len());
        ensure!(
            moved * PAGE as u64 == self.buffer.len(),
            "moved {moved} pages"
        );
        if verify {
            let there = self.buffer.query()?.pages_per_node[self.node as usize];
            ensure!(there == moved, "{there} are there");
            let mut word = [0; 8];
            for at in (0..self.map.len()).step_by(PAGE) {
                self.map.copy_out(at, &mut word);
                ensure!(u64::from_ne_bytes(word) == at as u64);
            }
        }
        Ok(block)
    }
}
