// SPDX-License-Identifier: GPL-2.0
//! One open of the device, what it can tell, and the handles in it.

use std::{
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::{open, Mode, OFlags};
use rustix::io::Errno;

use crate::sys::uapi::*;
use crate::sys::{self, Argument, Command};
use crate::{Buffer, BufferOptions, Channel, ChannelOptions, Error, Listener, Op, Result, Timeout};

/// Where the device is.
pub const DEVICE: &str = "/dev/dmaplane";

/// One open of the device. Clones are the same one; it is closed when the last
/// clone and the last object made from it are gone.
#[derive(Debug, Clone)]
pub struct Context {
    fd: Arc<OwnedFd>,
}

impl Context {
    /// Opens [`DEVICE`].
    pub fn open() -> Result<Self> {
        Self::open_at(DEVICE)
    }

    /// Opens the device at another path. `EPROTO` if the module's ABI is not
    /// [`Info::ABI`].
    pub fn open_at(path: impl AsRef<Path>) -> Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let fd = open(path.as_ref(), flags, Mode::empty()).map_err(|e| Error::new(Op::Open, e))?;
        let context = Context { fd: Arc::new(fd) };
        match context.info()?.abi {
            Info::ABI => Ok(context),
            _ => Err(Error::new(Op::Open, Errno::PROTO)),
        }
    }

    /// What the module offers and its limits.
    pub fn info(&self) -> Result<Info> {
        let mut raw = dmaplane_info::sized();
        sys::INFO.call(self, &mut raw)?;
        Ok(Info {
            abi: raw.abi,
            page_size: raw.page_size,
            features: raw.features,
            max_buffer: raw.max_buffer,
            max_transfer: raw.max_transfer,
            max_objects: raw.max_objects,
            max_ring_entries: raw.max_ring_entries,
            max_depth: raw.max_depth,
            nr_nodes: raw.nr_nodes,
            max_memory: limit(raw.max_memory),
            max_context_memory: limit(raw.max_context_memory),
        })
    }

    /// What this context holds now.
    pub fn stats(&self) -> Result<Stats> {
        let mut raw = dmaplane_stats::sized();
        sys::STATS.call(self, &mut raw)?;
        Ok(Stats {
            buffers: raw.buffers,
            regions: raw.regions,
            endpoints: raw.endpoints,
            channels: raw.channels,
            buffer_bytes: raw.buffer_bytes,
            submitted: raw.submitted,
            completed: raw.completed,
            received: raw.received,
        })
    }

    /// The RDMA devices in this process's network namespace.
    pub fn fabrics(&self) -> Result<Vec<Fabric>> {
        let mut raw = vec![dmaplane_fabric::default(); 8];
        loop {
            let count = sys::fabric_list(self, &mut raw)?;
            if count <= raw.len() {
                raw.truncate(count);
                return Ok(raw.iter().map(Fabric::decode).collect());
            }
            raw.resize(count, dmaplane_fabric::default());
        }
    }

    /// A buffer of at least `length` zeroed bytes, on any node.
    pub fn buffer(&self, length: u64) -> Result<Buffer> {
        Buffer::create(self, length, BufferOptions::default())
    }

    /// A channel; both sizes are powers of two.
    pub fn channel(&self, sq_entries: u32, cq_entries: u32) -> Result<Channel> {
        self.channel_with(ChannelOptions::new(sq_entries, cq_entries))
    }

    /// A channel that is more than its sizes.
    pub fn channel_with(&self, options: ChannelOptions) -> Result<Channel> {
        Channel::create(self, options)
    }

    /// Listens at `address`, keeping up to `backlog` requests; port 0 chooses one.
    pub fn listen(&self, address: SocketAddr, backlog: u32) -> Result<Listener> {
        Listener::listen(self, address, backlog)
    }

    /// Waits until a channel of this context has completions to take, or is
    /// poisoned. Neither is set when the time passed or a signal arrived.
    pub fn poll(&self, timeout: Timeout) -> Result<Readiness> {
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        let mut fds = [PollFd::new(self, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Readiness::default()),
            Err(e) => return Err(Error::new(Op::Poll, e)),
        }
        let events = fds[0].revents();
        Ok(Readiness {
            completions: events.contains(PollFlags::IN),
            poisoned: events.contains(PollFlags::ERR),
        })
    }

    pub(crate) fn object(&self, handle: u32, close: &'static Command<dmaplane_handle>) -> Object {
        Object {
            context: self.clone(),
            handle,
            close,
        }
    }
}

impl AsFd for Context {
    /// For `poll()` and `epoll`, as [`Context::poll`] describes.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A live handle, closed when dropped.
#[derive(Debug)]
pub(crate) struct Object {
    context: Context,
    handle: u32,
    close: &'static Command<dmaplane_handle>,
}

impl Object {
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn handle(&self) -> u32 {
        self.handle
    }

    /// Closes it now, to see the error; nothing happened if there is one.
    pub(crate) fn close(&mut self) -> Result<()> {
        self.close
            .call(&self.context, &mut sys::handle(self.handle))?;
        self.handle = 0;
        Ok(())
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        if self.handle != 0 {
            // What cannot be closed now ends with the context.
            let _ = self.close();
        }
    }
}

/// What the module offers and its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// Version of the ABI.
    pub abi: u32,
    /// Granularity of buffers and mappings, in bytes.
    pub page_size: u32,
    /// `DMAPLANE_FEATURE_*` as bits; see [`Info::feature_names`].
    pub features: u64,
    /// Largest length of one buffer.
    pub max_buffer: u64,
    /// Largest length of one entry's transfer.
    pub max_transfer: u64,
    /// Handles that one context may hold.
    pub max_objects: u32,
    /// Largest submission or completion ring.
    pub max_ring_entries: u32,
    /// Largest send or receive depth of an endpoint.
    pub max_depth: u32,
    /// NUMA node numbers are below this.
    pub nr_nodes: u32,
    /// Bytes that buffers and rings of all contexts may have together, if there is a limit.
    pub max_memory: Option<u64>,
    /// Bytes that those of one context may have, if there is a limit.
    pub max_context_memory: Option<u64>,
}

/// A limit, unless it says that there is none.
fn limit(bytes: u64) -> Option<u64> {
    (bytes < i64::MAX as u64).then_some(bytes)
}

impl Info {
    /// The version of the ABI that this library was built for.
    pub const ABI: u32 = DMAPLANE_ABI_VERSION;

    /// Names of the features; an unknown one is its bit number.
    pub fn feature_names(&self) -> Vec<String> {
        (0..u64::BITS)
            .filter(|bit| self.features & (1 << bit) != 0)
            .map(|bit| match 1u64 << bit {
                b if b == u64::from(DMAPLANE_FEATURE_WRITE_IMM) => "write-imm".to_owned(),
                b if b == u64::from(DMAPLANE_FEATURE_LEASE) => "lease".to_owned(),
                b if b == u64::from(DMAPLANE_FEATURE_COUNTER) => "counter".to_owned(),
                b if b == u64::from(DMAPLANE_FEATURE_SQPOLL) => "sqpoll".to_owned(),
                b if b == u64::from(DMAPLANE_FEATURE_TIMES) => "times".to_owned(),
                b if b == u64::from(DMAPLANE_FEATURE_READ) => "read".to_owned(),
                b if b == u64::from(DMAPLANE_FEATURE_LIST) => "list".to_owned(),
                b if b == u64::from(DMAPLANE_FEATURE_SEND) => "send".to_owned(),
                b if b == u64::from(DMAPLANE_FEATURE_URING) => "uring".to_owned(),
                b if b == u64::from(DMAPLANE_FEATURE_MIGRATE) => "migrate".to_owned(),
                b if b == u64::from(DMAPLANE_FEATURE_EXPORT) => "export".to_owned(),
                b if b == u64::from(DMAPLANE_FEATURE_PLACEMENT) => "placement".to_owned(),
                b if b == u64::from(DMAPLANE_FEATURE_PIN) => "pin".to_owned(),
                b if b == u64::from(DMAPLANE_FEATURE_IMPORT) => "import".to_owned(),
                b if b == u64::from(DMAPLANE_FEATURE_BUF_MIGRATE) => "buf-migrate".to_owned(),
                b if b == u64::from(DMAPLANE_FEATURE_VIEW) => "view".to_owned(),
                b if b == u64::from(DMAPLANE_FEATURE_SHARE) => "share".to_owned(),
                _ => format!("bit-{bit}"),
            })
            .collect()
    }
}

/// What a context holds now, and has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Buffers alive, also those only mappings, regions or dma-bufs hold.
    pub buffers: u32,
    /// Regions alive.
    pub regions: u32,
    /// Endpoints and listeners alive.
    pub endpoints: u32,
    /// Channels alive.
    pub channels: u32,
    /// Memory of the buffers alive.
    pub buffer_bytes: u64,
    /// Entries accepted.
    pub submitted: u64,
    /// Completions of those; the difference is in flight.
    pub completed: u64,
    /// Receive completions.
    pub received: u64,
}

/// An RDMA device that this process may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fabric {
    /// Its number, not reused while the module is loaded.
    pub id: u32,
    /// Its NUMA node, if known.
    pub node: Option<u32>,
    /// Its name, e.g. `rxe0`.
    pub name: String,
    /// Bytes that one memory key covers; larger regions use several.
    pub max_segment: u64,
    /// Path MTU of port 1 in bytes; none when the port is down.
    pub active_mtu: Option<u32>,
    /// Whether writes can carry an immediate (not over iWARP); without it none are sent at all.
    pub write_imm: bool,
}

impl Fabric {
    fn decode(raw: &dmaplane_fabric) -> Self {
        let name = raw.name.split(|&b| b == 0).next().unwrap_or_default();
        Fabric {
            id: raw.fabric,
            node: u32::try_from(raw.node).ok(),
            name: String::from_utf8_lossy(name).into_owned(),
            max_segment: raw.max_segment,
            active_mtu: Some(raw.active_mtu).filter(|&mtu| mtu != 0),
            write_imm: raw.flags & DMAPLANE_FABRIC_WRITE_IMM != 0,
        }
    }
}

/// What [`Context::poll`] saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readiness {
    /// A channel has completions to take.
    pub completions: bool,
    /// A channel is poisoned: its rings were corrupted.
    pub poisoned: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_device_is_explained() {
        let text = Context::open_at("/nonexistent/dmaplane")
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("ENOENT") && text.contains("load the module"),
            "{text}"
        );
    }

    #[test]
    fn fabric_names_end_at_the_first_zero() {
        let mut raw = dmaplane_fabric::default();
        raw.name[..6].copy_from_slice(b"rxe0\0x");
        raw.node = DMAPLANE_NODE_ANY;
        let fabric = Fabric::decode(&raw);
        assert_eq!((fabric.name.as_str(), fabric.node), ("rxe0", None));
        raw.name = [b'n'; 64];
        assert_eq!(Fabric::decode(&raw).name.len(), 64);
    }

    #[test]
    fn features_have_names() {
        let info = Info {
            abi: 1,
            page_size: 4096,
            features: 0x1ff | (1 << 40),
            max_buffer: 0,
            max_transfer: 0,
            max_objects: 0,
            max_ring_entries: 0,
            max_depth: 0,
            nr_nodes: 1,
            max_memory: None,
            max_context_memory: None,
        };
        assert_eq!(
            info.feature_names(),
            [
                "write-imm",
                "lease",
                "counter",
                "sqpoll",
                "uring",
                "times",
                "read",
                "list",
                "send",
                "bit-40"
            ]
        );
    }
}
