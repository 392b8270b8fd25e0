// SPDX-License-Identifier: GPL-2.0
//! The end of a process that had much.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::Ipv4Addr,
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use anyhow::{ensure, Context as _, Result};
use dmaplane::{Access, WriteImm};

use super::{pair, Work};
use crate::sample::Block;

const IN_FLIGHT: u32 = 128;
const MESSAGE: u32 = 1 << 20;

/// From a signal that ends another process until it is gone, and its objects with it.
pub struct Killed {
    address: Ipv4Addr,
    bytes: u64,
}

impl Killed {
    pub fn new(address: Ipv4Addr, bytes: u64) -> Self {
        Killed { address, bytes }
    }
}

/// That process: so much memory that a peer may write to, and messages in flight.
pub fn hold(address: Ipv4Addr, bytes: u64) -> Result<()> {
    let (mut from, to) = pair::connect(address, IN_FLIGHT, IN_FLIGHT, IN_FLIGHT)?;
    let (_buffer, region) = from.memory(bytes, Access::REMOTE_WRITE)?;
    let (_target, _there, lease) = to.target(&from, MESSAGE.into())?;
    let write = WriteImm::new(&from.endpoint, &region, lease).range(0, 0, MESSAGE);
    for imm in 0..IN_FLIGHT {
        from.channel.push(write.imm(imm))?;
    }
    from.channel.submit()?;
    println!("holding");
    loop {
        thread::park();
    }
}

impl Work for Killed {
    fn block(&mut self, verify: bool) -> Result<Block> {
        let mut child = Command::new(env::current_exe()?)
            .args(["arm", "hold"])
            .args([self.address.to_string(), self.bytes.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no pipe")?).read_line(&mut line)?;
        let begin = Instant::now();
        child.kill()?;
        child.wait()?;
        let block = Block::since(begin, 1, self.bytes);
        ensure!(line == "holding\n", "it said {line:?}");
        if verify {
            let left = fs::read_to_string("/sys/kernel/debug/dmaplane/objects")?;
            ensure!(left.contains("contexts 0\n"), "left: {left}");
        }
        Ok(block)
    }
}
