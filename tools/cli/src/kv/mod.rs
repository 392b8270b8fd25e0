// SPDX-License-Identifier: GPL-2.0
//! KV caches from host to host: `dmaplane kv send` and `dmaplane kv recv`.
//!
//! # Protocol, version 1
//!
//! All of it travels over dmaplane. Integers are little-endian.
//!
//! 1. The sender connects; its private data is a [`wire::Hello`]: version, sizes
//!    of payload and manifest, chunk size, numbers of tensors and of chunks. The
//!    receiver checks it against its limits, and refuses or accepts with a
//!    [`wire::ANSWER`].
//! 2. The receiver makes a buffer with three areas, at places that both sides
//!    derive from the hello ([`layout::Areas`]): manifest, payload, trailer. It
//!    registers it for remote write and grants a lease with
//!    [`wire::TAG_DATA`]. The sender likewise grants a lease on a small region,
//!    with [`wire::TAG_VERDICT`].
//! 3. The sender writes the [manifest](manifest::Manifest) in pieces of the
//!    chunk size, then layer by layer each layer's bytes in chunks, then, when
//!    all of those have completed, the [`wire::Trailer`]. Every write carries an
//!    [immediate](wire::Imm): kind in bits 31 to 29, number in bits 28 to 0. The
//!    number of a chunk counts on from layer to layer, up to 2^29 in all. A chunk
//!    never spans two layers; a layer's last one may be shorter.
//! 4. The receiver notes each immediate ([`assemble::Assembler`]): one that
//!    is unknown, out of range, repeated, of the wrong length or missing ends the
//!    transfer. After the trailer it deregisters its region, so that nothing can
//!    change any more, and takes the CRC-32 of every tensor in place.
//! 5. It writes a [`wire::Verdict`] with its CRCs, or with what was wrong, to the
//!    sender's region. Both sides print the same table. The receiver then closes
//!    the connection, for which the sender waits a moment.
//!
//! # What is measured
//!
//! - *latency per chunk*: `CLOCK_MONOTONIC` of the sender, from just before the
//!   ENTER that submits the chunk until its completion is reaped. It contains
//!   the time in queues and for credits. The trailer tells the receiver.
//! - *rate at the sender*: payload bytes by the time from its first submission to
//!   the arrival of the verdict. It contains the receiver's CRCs.
//! - *rate at the receiver*: payload bytes by the time from its first immediate
//!   to its last, on its own clock.
//! - *credit stalls*: how often and how long entries waited for credits, as the
//!   sender's kernel counts (`ENDPOINT_QUERY`).

pub mod assemble;
mod check;
mod latency;
pub mod layers;
pub mod layout;
mod link;
pub mod manifest;
mod progress;
mod recv;
mod report;
mod send;
mod source;
pub mod wire;

use clap::Subcommand;

use crate::failure::Failure;

/// `dmaplane kv …`
#[derive(Subcommand)]
pub enum Command {
    /// Receive KV caches, check them and write them as safetensors
    Recv(recv::Args),
    /// Send the KV cache in a safetensors file
    Send(send::Args),
}

impl Command {
    /// Whether programs read the output.
    pub fn json(&self) -> bool {
        match self {
            Command::Recv(args) => args.json,
            Command::Send(args) => args.json,
        }
    }

    /// Runs it.
    pub fn execute(&self) -> Result<(), Failure> {
        match self {
            Command::Recv(args) => recv::execute(args),
            Command::Send(args) => send::execute(args),
        }
    }
}

/// The port that `recv` listens at and `send` connects to unless told otherwise.
pub const PORT: u16 = 18515;
