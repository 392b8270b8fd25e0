// SPDX-License-Identifier: GPL-2.0
//! `dmaplane kv send`.

use std::{
    io::Write,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    path::PathBuf,
    time::{Duration, Instant},
};

use dmaplane::{
    Access, Buffer, BufferOptions, Completion, ConnectOptions, Context, Endpoint, Errno, Kind,
    Lease, Mapping, Private, Region, WriteImm,
};

use super::latency::{nanoseconds, Latencies};
use super::layout::{manifest_piece, manifest_pieces, Areas};
use super::link::{channel, check_answer, verdict_bytes, Link, Patience, Stop};
use super::progress;
use super::report::{Facts, Report};
use super::source::Source;
use super::wire::{Imm, Status, Trailer, Verdict, TAG_DATA, TAG_VERDICT};
use super::PORT;
use crate::failure::Failure;
use crate::size;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// The safetensors file
    file: PathBuf,
    /// The receiver: an address or a name, with :PORT unless it is 18515
    host: String,
    /// Bytes of a chunk
    #[arg(long, value_name = "SIZE", default_value = "64K", value_parser = size::parse)]
    chunk: u64,
    /// Chunks under way at most
    #[arg(long, visible_alias = "window", value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=65536))]
    depth: u32,
    /// Local address to send from
    #[arg(long, value_name = "ADDR")]
    source: Option<IpAddr>,
    /// NUMA node to have the buffer on
    #[arg(long, value_name = "N")]
    node: Option<u32>,
    /// Seconds without progress after which to give up; 0: never
    #[arg(long, value_name = "S", default_value_t = 30)]
    timeout: u64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Flip a bit of this byte of the payload after its CRC was taken, to see the
    /// receiver find it
    #[arg(long, value_name = "OFFSET", hide = true)]
    flip_byte: Option<u64>,
    /// Spoil the manifest, to see the receiver refuse it
    #[arg(long, hide = true)]
    spoil_manifest: bool,
}

/// Receives that the sender offers: the verdict, and room for a second message.
const RECEIVES: u32 = 4;

/// Runs it.
pub fn execute(args: &Args) -> Result<(), Failure> {
    let chunk = u32::try_from(args.chunk)
        .ok()
        .filter(|c| super::wire::CHUNK.contains(c))
        .ok_or_else(|| Failure::Usage("--chunk must be between 512 and 1G".to_owned()))?;
    let peer = resolve(&args.host)?;
    let stop = Stop::install()?;
    let source = Source::open(&args.file, chunk)?;
    let report = Sender::connect(args, &source, peer, &stop)?.run()?;
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

fn resolve(host: &str) -> Result<SocketAddr, Failure> {
    let wrong = |why: String| {
        Failure::Usage(format!(
            "cannot use {host:?} as the receiver: {why}; give ADDRESS, ADDRESS:PORT or [V6]:PORT"
        ))
    };
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, PORT));
    }
    let with_port = match host.rsplit_once(':') {
        Some(_) => host.to_owned(),
        None => format!("{host}:{PORT}"),
    };
    let mut found = with_port
        .to_socket_addrs()
        .map_err(|e| wrong(e.to_string()))?;
    found
        .next()
        .ok_or_else(|| wrong("it has no address".to_owned()))
}

/// A connection with everything that a transfer needs. The order of the members
/// is that of their end: connection, regions, buffers.
struct Sender<'a> {
    link: Link,
    args: &'a Args,
    source: &'a Source,
    areas: Areas,
    region: Region,
    _verdict_region: Region,
    lease: Lease,
    verdict_map: Mapping,
    map: Mapping,
    buffer: Buffer,
    latency: Latencies,
}

impl<'a> Sender<'a> {
    fn connect(
        args: &'a Args,
        source: &'a Source,
        peer: SocketAddr,
        stop: &Stop,
    ) -> Result<Self, Failure> {
        let context = Context::open()?;
        let info = context.info()?;
        let hello = &source.hello;
        if u64::from(hello.chunk) > info.max_transfer {
            let most = size::show(info.max_transfer);
            return Err(Failure::Limit(format!(
                "a chunk of {} is more than the {most} of one transfer: choose a smaller --chunk",
                size::show(hello.chunk.into())
            )));
        }
        let areas = Areas::new(hello);
        let node = BufferOptions {
            node: args.node,
            ..BufferOptions::default()
        };
        let buffer = Buffer::create(&context, areas.total, node)?;
        let mut map = buffer.map()?;
        fill(&mut map, source, &areas, args);
        let verdict_buffer = context.buffer(verdict_bytes(hello.tensors))?;
        let verdict_map = verdict_buffer.map()?;

        let limit = (args.timeout > 0).then(|| Duration::from_secs(args.timeout));
        let patience = Patience::new(stop, limit);
        let channel = channel(&context, args.depth, RECEIVES)?;
        let from = args.source.map(|ip| SocketAddr::new(ip, 0));
        let options = ConnectOptions {
            send_depth: args.depth.min(info.max_depth),
            recv_depth: RECEIVES.min(info.max_depth),
            timeout: patience.rest(),
            private: Private::new(&hello.encode()).unwrap_or_default(),
            ..ConnectOptions::default()
        };
        let (endpoint, answer) = Endpoint::address(&context, peer, from, patience.rest())?
            .connect(&channel, &options)?;
        check_answer(answer.bytes())?;
        let region = endpoint.register(&buffer, 0, areas.total, Access::LOCAL)?;
        let verdict_region = endpoint.register(
            &verdict_buffer,
            0,
            verdict_bytes(hello.tensors),
            Access::REMOTE_WRITE,
        )?;
        endpoint.grant(&verdict_region, TAG_VERDICT)?;
        let mut link = Link {
            endpoint,
            channel,
            patience,
        };
        let lease = link.lease(TAG_DATA, areas.total)?;
        let latency = Latencies::new()?;
        Ok(Sender {
            args,
            source,
            areas,
            region,
            _verdict_region: verdict_region,
            link,
            lease,
            verdict_map,
            map,
            buffer,
            latency,
        })
    }

    fn write(&self, offset: u64, length: u32, imm: Imm) -> WriteImm {
        WriteImm::new(&self.link.endpoint, &self.region, self.lease)
            .range(offset, offset, length)
            .imm(imm.pack())
    }

    fn run(mut self) -> Result<Report, Failure> {
        let (hello, begin) = (self.source.hello, Instant::now());
        let bar = progress::bar(self.source.layout.bytes(), "send", self.args.json);

        let mut next = 0;
        self.pump(false, &bar, |sender| {
            let piece = manifest_piece(&hello, next)?;
            next += 1;
            Some(sender.write(piece.offset, piece.length, Imm::Manifest(next - 1)))
        })?;
        debug_assert_eq!(next, manifest_pieces(&hello));

        let mut next = 0;
        self.pump(true, &bar, |sender| {
            let piece = sender.source.layout.chunk(next)?;
            let offset = sender.areas.payload + piece.offset;
            next += 1;
            Some(sender.write(offset, piece.length, Imm::Chunk(next - 1)))
        })?;

        let trailer = self.trailer()?;
        self.map
            .copy_in(self.areas.trailer as usize, &trailer.encode());
        let end = self.write(
            self.areas.trailer,
            Trailer::LEN as u32,
            Imm::End(hello.chunks),
        );
        let mut end = Some(end);
        let mut verdict = self.pump(false, &bar, |_| end.take())?;
        let verdict = loop {
            if let Some(verdict) = verdict {
                break verdict;
            }
            let done = self.link.next("waited for the receiver's verdict")?;
            verdict = self.take(&done)?;
        };
        let elapsed = begin.elapsed();
        bar.finish_and_clear();
        self.link.linger();

        Ok(Report::new(Facts {
            role: "send",
            peer: self.peer(),
            manifest: &self.source.manifest,
            layout: &self.source.layout,
            chunk: hello.chunk,
            received: &verdict.crcs,
            trailer: &trailer,
            elapsed,
            pages_per_node: self.buffer.query()?.pages_per_node,
        }))
    }

    fn peer(&self) -> String {
        let peer = self.link.endpoint.peer();
        peer.map_or("?".to_owned(), |p| p.to_string())
    }

    fn trailer(&self) -> Result<Trailer, Failure> {
        let status = self.link.endpoint.query()?;
        Ok(Trailer {
            chunks: self.source.hello.chunks,
            payload: self.source.hello.payload,
            p50: self.latency.quantile(0.5),
            p99: self.latency.quantile(0.99),
            max: self.latency.max(),
            stalls: status.stalls,
            stall_ns: nanoseconds(status.stall_time),
        })
    }

    /// Sends all that `next` yields with up to `depth` entries under way, and
    /// waits for the last completion. Returns a verdict if one came.
    fn pump(
        &mut self,
        measured: bool,
        bar: &indicatif::ProgressBar,
        mut next: impl FnMut(&Self) -> Option<WriteImm>,
    ) -> Result<Option<Verdict>, Failure> {
        // When each slot's entry was submitted; a slot's number is its user_data.
        let mut begun = vec![None; self.args.depth as usize];
        let mut free: Vec<usize> = (0..begun.len()).rev().collect();
        let mut fresh = Vec::new();
        let mut verdict = None;
        loop {
            while self.link.channel.room() > 0 && !free.is_empty() {
                let Some(entry) = next(self) else { break };
                let Some(slot) = free.pop() else { break };
                self.link.channel.push(entry.user_data(slot as u64))?;
                fresh.push(slot);
            }
            if free.len() == begun.len() {
                return Ok(verdict);
            }
            let now = Instant::now(); // just before ENTER
            for slot in fresh.drain(..) {
                begun[slot] = Some(now);
            }
            let done = self.link.next("sent, and nothing completed")?;
            let now = Instant::now();
            verdict = self.take(&done)?.or(verdict);
            for completion in done.iter().filter(|c| c.kind == Kind::WriteImm) {
                let slot = completion.user_data as usize;
                let Some(begin) = begun.get_mut(slot).and_then(Option::take) else {
                    continue;
                };
                free.push(slot);
                let bytes = completion.result().map_err(|e| self.explain(e))?;
                if measured {
                    self.latency.add(now - begin);
                    bar.inc(bytes.into());
                }
            }
        }
    }

    /// A verdict among the completions. An early one says why the receiver gave up.
    fn take(&self, done: &[Completion]) -> Result<Option<Verdict>, Failure> {
        let mut verdict = None;
        for completion in done.iter().filter(|c| c.kind == Kind::Recv) {
            completion.result()?;
            let imm = Imm::unpack(completion.imm).map_err(|e| Failure::Protocol(e.to_string()))?;
            if !matches!(imm, Imm::Verdict(_)) {
                return Err(Failure::Protocol(format!("it sent {imm:?}")));
            }
            let mut bytes = vec![0; Verdict::len(self.source.manifest.tensors.len())];
            self.verdict_map.copy_out(0, &mut bytes);
            let decoded = Verdict::decode(&bytes, self.source.manifest.tensors.len())
                .map_err(|e| Failure::Protocol(e.to_string()))?;
            if decoded.status == Status::Refused {
                return Err(Failure::Ended(decoded.reason));
            }
            verdict = Some(decoded);
        }
        Ok(verdict)
    }

    /// An entry failed. If it was cancelled, the connection knows the reason.
    fn explain(&self, error: dmaplane::Error) -> Failure {
        let generic = [Errno::CANCELED, Errno::CONNRESET].contains(&error.errno());
        let status = self.link.endpoint.query().ok();
        match status.and_then(|s| s.failure()).filter(|_| generic) {
            Some(reason) => reason.into(),
            None => error.into(),
        }
    }
}

fn fill(map: &mut Mapping, source: &Source, areas: &Areas, args: &Args) {
    map.copy_in(0, &source.json);
    for (offset, bytes) in source.tensors() {
        map.copy_in((areas.payload + offset) as usize, bytes);
    }
    if args.spoil_manifest {
        map.copy_in(0, b"!");
    }
    if let Some(offset) = args.flip_byte.filter(|&o| o < source.hello.payload) {
        let at = (areas.payload + offset) as usize;
        let mut byte = [0];
        map.copy_out(at, &mut byte);
        map.copy_in(at, &[byte[0] ^ 1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers() {
        let parse = |host| resolve(host).map(|a| a.to_string()).unwrap_or_default();
        assert_eq!(parse("10.0.0.2"), "10.0.0.2:18515");
        assert_eq!(parse("10.0.0.2:7"), "10.0.0.2:7");
        assert_eq!(parse("fe80::1"), "[fe80::1]:18515");
        assert_eq!(parse("[::1]:9"), "[::1]:9");
        assert!(resolve("10.0.0.2:99999").is_err());
        assert!(resolve("").is_err());
    }
}
