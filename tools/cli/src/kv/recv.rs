// SPDX-License-Identifier: GPL-2.0
//! `dmaplane kv recv`.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::{Duration, Instant},
};

use dmaplane::{
    Access, Buffer, BufferOptions, ConnectOptions, Context, Info, Kind, Mapping, Private, Region,
    Request, Timeout, WriteImm,
};

use super::assemble::{Assembler, Event};
use super::check;
use super::layout::Areas;
use super::link::{channel, verdict_bytes, Link, Patience, Stop};
use super::progress;
use super::report::{Facts, Report};
use super::wire::{Hello, Imm, Status, Trailer, Verdict, ANSWER, TAG_DATA, TAG_VERDICT};
use super::PORT;
use crate::failure::Failure;
use crate::size;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDR:PORT",
          default_value_t = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT))]
    listen: SocketAddr,
    /// Write what arrived to this file; without it, it is only checked
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// End after one transfer, whatever becomes of it
    #[arg(long)]
    once: bool,
    /// NUMA node to have the buffer on
    #[arg(long, value_name = "N")]
    node: Option<u32>,
    /// Refuse transfers above this size
    #[arg(long, value_name = "SIZE", default_value = "4G", value_parser = size::parse)]
    max_bytes: u64,
    /// Messages that the sender may have under way: its credits
    #[arg(long, visible_alias = "window", value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=65536))]
    depth: u32,
    /// Seconds without progress after which to give a transfer up; 0: never
    #[arg(long, value_name = "S", default_value_t = 30)]
    timeout: u64,
    /// Seconds to wait for a sender; 0: for ever
    #[arg(long, value_name = "S", default_value_t = 0)]
    accept_timeout: u64,
    /// Print one JSON object for each transfer
    #[arg(long)]
    pub json: bool,
}

fn seconds(seconds: u64) -> Timeout {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// Runs it.
pub fn execute(args: &Args) -> Result<(), Failure> {
    let stop = Stop::install()?;
    let context = Context::open()?;
    let listener = context.listen(args.listen, 16)?;
    let address = listener.address().unwrap_or(args.listen);
    // Scripts wait for this line before they start a sender.
    eprintln!("dmaplane: listening at {address}");
    loop {
        let mut patience = Patience::new(&stop, seconds(args.accept_timeout));
        let request = patience.until("waited for a sender", |t| listener.request(t))?;
        let result = transfer(args, &context, request, &stop);
        match result {
            result if args.once => return result,
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            Err(failure) => crate::complain(&failure, args.json),
            Ok(()) => {}
        }
    }
}

/// Whether the transfer can be taken, else why not.
fn admit(args: &Args, info: &Info, request: &Request) -> Result<Hello, String> {
    let hello = Hello::decode(request.private().bytes()).map_err(|e| e.to_string())?;
    let total = Areas::new(&hello).total;
    if total > args.max_bytes {
        return Err(format!(
            "it has {} and --max-bytes allows {}",
            size::show(total),
            size::show(args.max_bytes)
        ));
    }
    if total > info.max_buffer {
        return Err(format!(
            "it has {} and one buffer holds at most {}",
            size::show(total),
            size::show(info.max_buffer)
        ));
    }
    Ok(hello)
}

fn transfer(args: &Args, context: &Context, request: Request, stop: &Stop) -> Result<(), Failure> {
    let peer = request.peer().map_or("?".to_owned(), |p| p.to_string());
    let hello = match admit(args, &context.info()?, &request) {
        Ok(hello) => hello,
        Err(why) => {
            request.refuse()?;
            return Err(Failure::Refused(peer, why));
        }
    };
    let mut receiver = Receiver::accept(args, context, request, hello, stop)?;
    match receiver.receive() {
        Ok(trailer) => receiver.finish(args, &peer, &trailer),
        Err(failure) => {
            if let Failure::Protocol(reason) = &failure {
                // The failure is what counts; the sender may be gone already.
                let _ = receiver.send(&Verdict {
                    status: Status::Refused,
                    crcs: Vec::new(),
                    reason: reason.clone(),
                });
            }
            Err(failure)
        }
    }
}

/// A connection with everything that a transfer needs. The order of the members
/// is that of their end: connection, regions, buffers.
struct Receiver {
    link: Link,
    region: Option<Region>,
    verdict_region: Region,
    hello: Hello,
    areas: Areas,
    assembler: Assembler,
    verdict_map: Mapping,
    map: Mapping,
    buffer: Buffer,
    first: Option<Instant>,
    last: Option<Instant>,
    json: bool,
}

impl Receiver {
    fn accept(
        args: &Args,
        context: &Context,
        request: Request,
        hello: Hello,
        stop: &Stop,
    ) -> Result<Self, Failure> {
        let areas = Areas::new(&hello);
        let node = BufferOptions {
            node: args.node,
            ..BufferOptions::default()
        };
        let buffer = Buffer::create(context, areas.total, node)?;
        let map = buffer.map()?;
        let verdict_buffer = context.buffer(verdict_bytes(hello.tensors))?;
        let verdict_map = verdict_buffer.map()?;
        let depth = args.depth.min(context.info()?.max_depth);
        let channel = channel(context, 4, depth)?;
        let fabrics = context.fabrics()?;
        let fabric = fabrics.iter().find(|f| f.id == request.fabric());
        let segment = fabric.map_or(0, |f| f.max_segment);

        let patience = Patience::new(stop, seconds(args.timeout));
        let options = ConnectOptions {
            send_depth: 4,
            recv_depth: depth,
            timeout: patience.rest(),
            private: Private::new(&ANSWER).unwrap_or_default(),
            ..ConnectOptions::default()
        };
        let endpoint = request.accept(&channel, &options)?;
        let region = endpoint.register(&buffer, 0, areas.total, Access::REMOTE_WRITE)?;
        let length = verdict_bytes(hello.tensors);
        let verdict_region = endpoint.register(&verdict_buffer, 0, length, Access::LOCAL)?;
        endpoint.grant(&region, TAG_DATA)?;
        Ok(Receiver {
            region: Some(region),
            verdict_region,
            link: Link {
                endpoint,
                channel,
                patience,
            },
            hello,
            areas,
            assembler: Assembler::new(hello, segment),
            verdict_map,
            map,
            buffer,
            first: None,
            last: None,
            json: args.json,
        })
    }

    /// Takes messages until the trailer.
    fn receive(&mut self) -> Result<Trailer, Failure> {
        let bar = progress::bar(self.hello.payload, "receive", self.json);
        loop {
            let done = self.link.next("received nothing")?;
            let now = Instant::now();
            for completion in done.iter().filter(|c| c.kind == Kind::Recv) {
                let length = completion.result()?;
                self.first.get_or_insert(now);
                self.last = Some(now);
                let map = &self.map;
                let event = self
                    .assembler
                    .message(completion.imm, length, |offset, out| {
                        map.copy_out(offset as usize, out);
                    })
                    .map_err(|e| Failure::Protocol(e.to_string()))?;
                match event {
                    Event::Piece | Event::Manifest => {}
                    Event::Chunk(bytes) => bar.inc(bytes.into()),
                    Event::End(trailer) => {
                        bar.finish_and_clear();
                        return Ok(trailer);
                    }
                }
            }
        }
    }

    /// Compares, tells the sender, writes the file, prints.
    fn finish(mut self, args: &Args, peer: &str, trailer: &Trailer) -> Result<(), Failure> {
        if let Some(Err((_, error))) = self.region.take().map(Region::deregister) {
            return Err(error.into());
        }
        let payload = usize::try_from(self.areas.payload).unwrap_or(usize::MAX);
        let length = usize::try_from(self.hello.payload).unwrap_or(usize::MAX);
        let assembler = std::mem::replace(&mut self.assembler, Assembler::new(self.hello, 0));
        let Some((manifest, layout)) = assembler.into_parts() else {
            return Err(Failure::Protocol("there was no manifest".to_owned()));
        };
        let sent: Vec<u32> = manifest.tensors.iter().map(|t| t.crc32).collect();

        // SAFETY: the region was deregistered above, so the peer's key is invalid
        // and no adapter writes there; the buffer has no other mapping, and this
        // one is written to by nobody below.
        let payload = unsafe { self.map.as_slice(payload, length) };
        let received = check::crcs(&manifest, payload);
        let equal = received == sent;
        let written = match &args.out {
            Some(out) if equal => check::write(&manifest, payload, out),
            _ => Ok(()),
        };

        let verdict = Verdict {
            status: if equal {
                Status::Equal
            } else {
                Status::Mismatch
            },
            crcs: received,
            reason: String::new(),
        };
        self.send(&verdict)?;
        let elapsed = match (self.first, self.last) {
            (Some(first), Some(last)) => last - first,
            _ => Duration::ZERO,
        };
        let report = Report::new(Facts {
            role: "recv",
            peer: peer.to_owned(),
            manifest: &manifest,
            layout: &layout,
            chunk: self.hello.chunk,
            received: &verdict.crcs,
            trailer,
            elapsed,
            pages_per_node: self.buffer.query()?.pages_per_node,
        });
        written?;
        let text = if args.json {
            report.json()
        } else {
            report.table()
        };
        writeln!(std::io::stdout(), "{text}")?;
        match report.ok {
            true => Ok(()),
            false => Err(Failure::Mismatch(report.mismatched, report.tensors)),
        }
    }

    /// Writes the verdict to the sender's region.
    fn send(&mut self, verdict: &Verdict) -> Result<(), Failure> {
        let bytes = verdict.encode();
        self.verdict_map.copy_in(0, &bytes);
        let lease = self.link.lease(TAG_VERDICT, bytes.len() as u64)?;
        let write = WriteImm::new(&self.link.endpoint, &self.verdict_region, lease)
            .range(0, 0, bytes.len() as u32)
            .imm(Imm::Verdict(verdict.status as u32).pack());
        self.link.channel.push(write)?;
        loop {
            let done = self.link.next("sent the verdict, which did not complete")?;
            if let Some(write) = done.iter().find(|c| c.kind == Kind::WriteImm) {
                write.result()?;
                return Ok(());
            }
        }
    }
}
