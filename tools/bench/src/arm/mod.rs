// SPDX-License-Identifier: GPL-2.0
//! Our side of each pair.
//!
//! An arm sets itself up, says `ready`, then carries out a block of work for each
//! line `go` it is sent and answers with a [`Block`]. `verify` asks for the same
//! work with a look at the data. It ends with its input. `theirs/arm.h` is the
//! same for the other side.

mod connect;
mod counted;
mod killed;
mod kv;
mod many;
mod memory;
mod message;
mod pair;
mod pingpong;
mod read;
mod ring;
mod tally;
mod write;

use std::{
    io::{stdin, stdout, BufRead, Write as _},
    net::Ipv4Addr,
};

use anyhow::Result;
use clap::Subcommand;

use crate::sample::Block;

/// Which.
#[derive(Debug, Subcommand)]
pub enum Arm {
    /// NOP entries, BATCH for each system call
    Nop { batch: u32, ops: u64 },
    /// The same, taken by a thread of the kernel's.
    NopSqpoll { batch: u32, ops: u64 },
    /// WRITE_IMM entries, DEPTH in flight
    Write {
        address: Ipv4Addr,
        size: u32,
        depth: u32,
        count: u32,
    },
    /// READ entries, DEPTH in flight
    Read {
        address: Ipv4Addr,
        size: u32,
        depth: u32,
        count: u32,
    },
    /// SEND entries, DEPTH in flight
    Send {
        address: Ipv4Addr,
        size: u32,
        depth: u32,
        count: u32,
    },
    /// One message there, one back
    Pingpong {
        address: Ipv4Addr,
        size: u32,
        rounds: u32,
    },
    /// A buffer, from nothing to every page touched, with REGISTER 1 also a region, with EXPORT 1 a dma-buf
    Ready {
        address: Ipv4Addr,
        bytes: u64,
        register: u8,
        #[arg(default_value_t = 0)]
        export: u8,
    },
    /// Regions, registered and deregistered
    Register {
        address: Ipv4Addr,
        bytes: u64,
        count: u32,
    },
    /// All of a pool, taken and given back
    Pooled {
        address: Ipv4Addr,
        bytes: u64,
        count: u32,
    },
    /// Views of a region, made and destroyed
    Views {
        address: Ipv4Addr,
        bytes: u64,
        count: u32,
    },
    /// Where a buffer's pages are
    Where { bytes: u64 },
    /// A buffer of single pages to another NUMA node, and back with the next block
    Migrate { bytes: u64 },
    /// WRITE_IMM entries to many peers in turn
    Many {
        address: Ipv4Addr,
        endpoints: u32,
        size: u32,
        count: u32,
    },
    /// Small buffers, made, looked at and destroyed while there are many handles
    Handles { handles: u32, count: u32 },
    /// NOP entries of several threads, each with a context of its own
    Nops { threads: u32, batch: u32, ops: u64 },
    /// A cache of LAYERS by CHUNKS chunks, DEPTH in flight, until the first layer or the whole is there
    Kv {
        address: Ipv4Addr,
        layers: u32,
        chunks: u32,
        size: u32,
        depth: u32,
        until: kv::Until,
    },
    /// WRITE_IMM entries to a receiver that waits for all of them, with CALLS 1 its system calls
    Counted {
        address: Ipv4Addr,
        size: u32,
        count: u32,
        way: counted::Way,
        calls: u8,
    },
    /// A receiver to which nothing is sent
    Idle { address: Ipv4Addr, seconds: u64 },
    /// The end of a process with so much memory and messages in flight
    Killed { address: Ipv4Addr, bytes: u64 },
    /// The process that Killed ends
    Hold { address: Ipv4Addr, bytes: u64 },
    /// Connections, from the address to the peer's first byte and the end
    Connect { address: Ipv4Addr, count: u32 },
}

impl Arm {
    /// Serves the lines of stdin.
    pub fn serve(self) -> Result<()> {
        match self {
            Arm::Nop { batch, ops } => serve(ring::Nop::new(batch, ops)?),
            Arm::NopSqpoll { batch, ops } => serve(ring::Polled::new(batch, ops)?),
            Arm::Write {
                address,
                size,
                depth,
                count,
            } => serve(write::Stream::new(address, size, depth, count)?),
            Arm::Read {
                address,
                size,
                depth,
                count,
            } => serve(read::Reads::new(address, size, depth, count)?),
            Arm::Send {
                address,
                size,
                depth,
                count,
            } => serve(message::Messages::new(address, size, depth, count)?),
            Arm::Pingpong {
                address,
                size,
                rounds,
            } => serve(pingpong::PingPong::new(address, size, rounds)?),
            Arm::Ready {
                address,
                bytes,
                register,
                export,
            } => serve(memory::Ready::new(
                address,
                bytes,
                register != 0,
                export != 0,
            )?),
            Arm::Register {
                address,
                bytes,
                count,
            } => serve(memory::Register::new(address, bytes, count)?),
            Arm::Many {
                address,
                endpoints,
                size,
                count,
            } => serve(many::Many::new(address, endpoints, size, count)?),
            Arm::Handles { handles, count } => serve(memory::Handles::new(handles, count)?),
            Arm::Nops {
                threads,
                batch,
                ops,
            } => serve(ring::Nops::new(threads, batch, ops)?),
            Arm::Kv {
                address,
                layers,
                chunks,
                size,
                depth,
                until,
            } => serve(kv::Kv::new(address, (layers, chunks, size), depth, until)?),
            Arm::Counted {
                address,
                size,
                count,
                way,
                calls,
            } => serve(counted::Counted::new(
                address,
                size,
                count,
                way,
                calls != 0,
            )?),
            Arm::Idle { address, seconds } => serve(pair::Idle::new(address, seconds)?),
            Arm::Killed { address, bytes } => serve(killed::Killed::new(address, bytes)),
            Arm::Hold { address, bytes } => killed::hold(address, bytes),
            Arm::Pooled {
                address,
                bytes,
                count,
            } => serve(memory::Pooled::new(address, bytes, count)?),
            Arm::Views {
                address,
                bytes,
                count,
            } => serve(memory::Views::new(address, bytes, count)?),
            Arm::Migrate { bytes } => serve(memory::Moved::new(bytes)?),
            Arm::Where { bytes } => serve(memory::Where::new(bytes)?),
            Arm::Connect { address, count } => serve(connect::Connect::new(address, count)?),
        }
    }
}

/// Work that can be repeated.
trait Work {
    /// One block; with `verify` its data is looked at.
    fn block(&mut self, verify: bool) -> Result<Block>;
}

fn serve(mut work: impl Work) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "ready")?;
    out.flush()?;
    for line in stdin().lock().lines() {
        let block = work.block(line? == "verify")?;
        writeln!(out, "{}", serde_json::to_string(&block)?)?;
        out.flush()?;
    }
    Ok(())
}

/// A pattern that differs between bytes, pages and segments.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|i| (i.wrapping_mul(7) + i / 4096 + (i >> 20) * 3 + 1) as u8)
        .collect()
}
