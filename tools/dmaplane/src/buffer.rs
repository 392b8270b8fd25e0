// SPDX-License-Identifier: GPL-2.0
//! Buffers near a NUMA node, and mappings of them.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    ptr::NonNull,
    sync::Arc,
    time::Duration,
};

use crate::context::Object;
use crate::map::Map;
use crate::sys::uapi::*;
use crate::sys::{self, Argument};
use crate::{Context, Error, Op, Result};

/// Where a buffer's pages shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BufferOptions {
    /// The NUMA node preferred, if any.
    pub node: Option<u32>,
    /// Fail rather than take a page from another node.
    pub strict: bool,
    /// Instead of one node: a bit for each of those that pages lie on by turns, [`HUGE_SIZE`] bytes at a
    /// time.
    pub interleave: u64,
    /// How much blocks of [`HUGE_SIZE`] matter.
    pub huge: Huge,
}

/// The largest blocks that memory is taken in, in bytes.
pub const HUGE_SIZE: u64 = DMAPLANE_HUGE_SIZE as u64;

/// How much blocks of [`HUGE_SIZE`] matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Huge {
    /// As far as there are some at hand.
    #[default]
    IfThere,
    /// Fail rather than take anything smaller.
    Always,
    /// Take smaller ones.
    Never,
}

impl BufferOptions {
    fn flags(&self) -> u32 {
        let huge = match self.huge {
            Huge::IfThere => 0,
            Huge::Always => DMAPLANE_BUF_HUGE,
            Huge::Never => DMAPLANE_BUF_NO_HUGE,
        };
        let strict = if self.strict {
            DMAPLANE_BUF_NODE_STRICT
        } else {
            0
        };
        let turns = if self.interleave != 0 {
            DMAPLANE_BUF_INTERLEAVE
        } else {
            0
        };
        huge | strict | turns
    }

    fn of(raw: &dmaplane_buf_query) -> Self {
        let has = |flag| raw.create_flags & flag != 0;
        BufferOptions {
            node: u32::try_from(raw.node).ok(),
            strict: has(DMAPLANE_BUF_NODE_STRICT),
            interleave: raw.nodes,
            huge: match (has(DMAPLANE_BUF_HUGE), has(DMAPLANE_BUF_NO_HUGE)) {
                (true, _) => Huge::Always,
                (_, true) => Huge::Never,
                _ => Huge::IfThere,
            },
        }
    }
}

/// What a dma-buf of a buffer is: all of it, to read and write, unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExportOptions {
    /// Its first byte in the buffer, a multiple of the page size.
    pub offset: u64,
    /// Its length in bytes, a multiple of the page size; without it, up to the buffer's end.
    pub length: Option<u64>,
    /// Whoever gets it can read the memory, and not write to it.
    pub read_only: bool,
}

/// Zeroed pages that can be mapped here and reached by RDMA, or memory that this program or a driver has.
#[derive(Debug, Clone)]
pub struct Buffer {
    object: Arc<Object>,
    /// If it can be mapped.
    mmap_offset: Option<u64>,
    length: u64,
}

impl Buffer {
    /// Allocates `length` bytes, rounded up to whole pages.
    pub fn create(context: &Context, length: u64, options: BufferOptions) -> Result<Self> {
        let node = match options.node {
            None => DMAPLANE_NODE_ANY,
            Some(node) => i32::try_from(node)
                .map_err(|_| Error::new(Op::BufCreate, rustix::io::Errno::NXIO))?,
        };
        let mut create = dmaplane_buf_create {
            flags: options.flags(),
            length,
            node,
            nodes: options.interleave,
            ..Argument::sized()
        };
        sys::BUF_CREATE.call(context, &mut create)?;
        let object = Arc::new(context.object(create.handle, &sys::BUF_DESTROY));
        let buffer = Buffer {
            object,
            mmap_offset: Some(create.mmap_offset),
            length: 0,
        };
        let length = buffer.query()?.length;
        Ok(Buffer { length, ..buffer })
    }

    /// Pins memory that this program has, and makes a buffer of it: the pages that are there now, for as
    /// long as the buffer lives. Its first byte and its length are multiples of the page size. It has no
    /// [mapping](Buffer::map) and cannot be [exported](Buffer::export). If it is `read_only` nothing writes
    /// to it.
    ///
    /// # Safety
    ///
    /// Unless it is `read_only`, entries and peers may change the bytes at any time, as another process
    /// would change memory that is shared, until this buffer, all regions of it, and all entries that name
    /// either are gone; if in doubt, until the context is. So long nobody may have references to them that
    /// do not allow that, and the memory must not be given back to an allocator, which would give it to
    /// others; it may be unmapped.
    pub unsafe fn pin(context: &Context, memory: NonNull<[u8]>, read_only: bool) -> Result<Self> {
        let mut pin = dmaplane_buf_pin {
            flags: if read_only { DMAPLANE_PIN_RDONLY } else { 0 },
            addr: memory.cast::<u8>().as_ptr() as u64,
            length: memory.len() as u64,
            ..Argument::sized()
        };
        sys::BUF_PIN.call(context, &mut pin)?;
        Ok(Buffer {
            object: Arc::new(context.object(pin.handle, &sys::BUF_DESTROY)),
            mmap_offset: None,
            length: pin.length,
        })
    }

    /// Makes a buffer of another driver's dma-buf, all of it, which it holds for as long as it lives; the
    /// descriptor may be closed. It has no [mapping](Buffer::map) and cannot be [exported](Buffer::export):
    /// the dma-buf can be mapped, and is there already. If it is `read_only` nothing writes to it, else the
    /// descriptor has to allow that.
    pub fn import(context: &Context, dmabuf: impl AsFd, read_only: bool) -> Result<Self> {
        let mut import = dmaplane_buf_import {
            flags: if read_only { DMAPLANE_IMPORT_RDONLY } else { 0 },
            fd: dmabuf.as_fd().as_raw_fd(),
            ..Argument::sized()
        };
        sys::BUF_IMPORT.call(context, &mut import)?;
        Ok(Buffer {
            object: Arc::new(context.object(import.handle, &sys::BUF_DESTROY)),
            mmap_offset: None,
            length: import.length,
        })
    }

    /// Its handle.
    pub fn id(&self) -> u32 {
        self.object.handle()
    }

    /// Bytes, in whole pages.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there are none, which no buffer is.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Where its pages are now.
    pub fn query(&self) -> Result<Placement> {
        let context = self.object.context();
        let mut nodes = vec![0u64; context.info()?.nr_nodes as usize];
        let raw = sys::buf_query(context, self.object.handle(), &mut nodes)?;
        nodes.truncate(raw.nr_nodes as usize);
        Ok(Placement {
            length: raw.length,
            pages: raw.pages,
            pages_per_node: nodes,
            options: BufferOptions::of(&raw),
            blocks: raw.blocks,
            mappings: raw.mappings,
            moves: raw.moves,
        })
    }

    /// Maps all of it.
    pub fn map(&self) -> Result<Mapping> {
        let offset = self
            .mmap_offset
            .ok_or_else(|| Error::new(Op::Mmap, rustix::io::Errno::OPNOTSUPP))?;
        let map = Map::new(self.object.context(), offset, self.length)?;
        Ok(Mapping { map })
    }

    /// Makes a dma-buf of it, or of a part: the same memory for other drivers and processes, which lives
    /// as long as any of them has it, with or without this buffer and its context. A buffer can be exported
    /// any number of times. While a dma-buf of it is mapped a [`Migrate`](crate::Migrate) fails.
    pub fn export(&self, options: ExportOptions) -> Result<OwnedFd> {
        // 0 says "up to the end".
        if options.length == Some(0) {
            return Err(Error::new(Op::BufExport, rustix::io::Errno::RANGE));
        }
        let export = dmaplane_buf_export {
            flags: if options.read_only {
                DMAPLANE_EXPORT_RDONLY
            } else {
                0
            },
            handle: self.id(),
            offset: options.offset,
            length: options.length.unwrap_or(0),
            ..Argument::sized()
        };
        sys::buf_export(self.object.context(), export)
    }

    /// Moves its pages to a NUMA node, and waits for that, while all who use it go on. What has no room there
    /// stays where it is, or is an error if `strict`. `EINTR` after a signal: some were moved, and another call
    /// goes on. [`Migrate`](crate::Migrate) does it meanwhile.
    pub fn migrate(&self, node: u32, strict: bool) -> Result<Moved> {
        let mut migrate = dmaplane_buf_migrate {
            flags: if strict { DMAPLANE_MIGRATE_STRICT } else { 0 },
            handle: self.id(),
            node: i32::try_from(node)
                .map_err(|_| Error::new(Op::BufMigrate, rustix::io::Errno::NXIO))?,
            ..Argument::sized()
        };
        sys::BUF_MIGRATE.call(self.object.context(), &mut migrate)?;
        Ok(Moved {
            pages: migrate.moved,
            first: Duration::from_nanos(migrate.first_ns),
            total: Duration::from_nanos(migrate.total_ns),
            by_cpu: migrate.engines & DMAPLANE_ENGINE_CPU != 0,
            by_dma: migrate.engines & DMAPLANE_ENGINE_DMA != 0,
            threads: migrate.threads,
        })
    }

    /// Shares it: whoever is passed the result can open it in a context of its own, with these rights or fewer.
    /// `EACCES` for rights that this buffer was not opened with. The memory lives as long as any of them has it.
    pub fn share(&self, rights: Rights) -> Result<Share> {
        let fd = sys::buf_share(self.object.context(), self.id(), rights.raw())?;
        Ok(Share { fd })
    }

    pub(crate) fn object(&self) -> &Arc<Object> {
        &self.object
    }
}

/// What may be done with a shared buffer besides reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights {
    /// It may be written to, mapped ([`Buffer::map`]), and moved.
    pub write: bool,
    /// Regions of it may be reached by peers.
    pub remote: bool,
}

impl Rights {
    /// All there are.
    pub const ALL: Rights = Rights {
        write: true,
        remote: true,
    };

    fn raw(self) -> u32 {
        let write = if self.write { DMAPLANE_SHARE_WRITE } else { 0 };
        let remote = if self.remote {
            DMAPLANE_SHARE_REMOTE
        } else {
            0
        };
        DMAPLANE_SHARE_READ | write | remote
    }
}

/// A descriptor of a buffer that is shared, to be passed to another process.
#[derive(Debug)]
pub struct Share {
    fd: OwnedFd,
}

impl Share {
    /// Makes a buffer of the memory in `context`, as often as is wanted. `EACCES` for rights that were not given.
    pub fn open(&self, context: &Context, rights: Rights) -> Result<Buffer> {
        let mut open = dmaplane_buf_open {
            fd: self.fd.as_raw_fd(),
            rights: rights.raw(),
            ..Argument::sized()
        };
        sys::BUF_OPEN.call(context, &mut open)?;
        Ok(Buffer {
            object: Arc::new(context.object(open.handle, &sys::BUF_DESTROY)),
            mmap_offset: (open.mmap_offset != 0).then_some(open.mmap_offset),
            length: open.length,
        })
    }
}

impl From<OwnedFd> for Share {
    /// One that was passed on. What is something else cannot be opened.
    fn from(fd: OwnedFd) -> Self {
        Share { fd }
    }
}

impl From<Share> for OwnedFd {
    fn from(share: Share) -> Self {
        share.fd
    }
}

impl AsFd for Share {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What a [migration](Buffer::migrate) did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Pages that were elsewhere.
    pub pages: u64,
    /// Until the first of them were there; zero if there were none.
    pub first: Duration,
    /// Until all were.
    pub total: Duration,
    /// Whether processors copied some of them.
    pub by_cpu: bool,
    /// Whether a DMA engine of the machine's did.
    pub by_dma: bool,
    /// Most processors that copied at a time.
    pub threads: u32,
}

/// Where the pages of a buffer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Bytes, in whole pages.
    pub length: u64,
    /// Pages in all.
    pub pages: u64,
    /// Pages on each NUMA node, by its number.
    pub pages_per_node: Vec<u64>,
    /// What was asked for, the node last by a [`Migrate`](crate::Migrate) that succeeded.
    pub options: BufferOptions,
    /// Of how many blocks of `1 << i` pages it consists: those that follow each other in memory, as large as
    /// is possible.
    pub blocks: [u32; DMAPLANE_BLOCK_ORDERS as usize],
    /// Mappings alive now.
    pub mappings: u32,
    /// How often pages were moved, modulo 2³²: as long as it is the same, each page is where it was.
    pub moves: u32,
}

/// A view of a buffer's memory; it keeps that memory alive even after the
/// [`Buffer`] is gone.
///
/// The memory is shared: a peer with a lease may write to it at any time, as may
/// another mapping. So the safe way is to copy, which yields whatever bytes are
/// there. [`Mapping::as_slice`] is for memory that is known to rest, as a region
/// is after its last immediate arrived.
#[derive(Debug)]
pub struct Mapping {
    map: Map,
}

impl Mapping {
    /// Bytes mapped.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are none, which no mapping is.
    pub fn is_empty(&self) -> bool {
        self.map.len() == 0
    }

    /// Its first byte. Valid for [`Mapping::len`] bytes while `self` lives.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.map.base()
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Panics
    ///
    /// When they do not fit.
    #[inline]
    pub fn copy_in(&mut self, offset: usize, bytes: &[u8]) {
        self.map.copy_in(offset, bytes);
    }

    /// As [`Mapping::copy_in`].
    ///
    /// # Safety
    ///
    /// No slice of these bytes lives.
    #[inline]
    pub(crate) unsafe fn copy_in_shared(&self, offset: usize, bytes: &[u8]) {
        // SAFETY: the caller promises the same.
        unsafe { self.map.copy_in_shared(offset, bytes) };
    }

    /// Copies from `offset` to `bytes`.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    #[inline]
    pub fn copy_out(&self, offset: usize, bytes: &mut [u8]) {
        self.map.copy_out(offset, bytes);
    }

    /// `length` bytes from `offset`, in place.
    ///
    /// # Safety
    ///
    /// While the slice lives nothing writes to these bytes: no other mapping of
    /// the buffer in any process, and no peer. A peer that was granted a lease on
    /// them could, so either its connection is closed or the region deregistered,
    /// or it is trusted not to write there after the immediate that ended its
    /// transfer.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    pub unsafe fn as_slice(&self, offset: usize, length: usize) -> &[u8] {
        // SAFETY: the caller promises the same.
        unsafe { self.map.slice(offset, length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_bits_and_reading_is_always_one() {
        let none = Rights::default();
        assert_eq!(none.raw(), DMAPLANE_SHARE_READ);
        let write = Rights {
            write: true,
            ..none
        };
        assert_eq!(write.raw(), DMAPLANE_SHARE_READ | DMAPLANE_SHARE_WRITE);
        assert_eq!(Rights::ALL.raw(), write.raw() | DMAPLANE_SHARE_REMOTE);
    }

    #[test]
    fn options_are_what_is_told_of_them() {
        for strict in [false, true] {
            for huge in [Huge::IfThere, Huge::Always, Huge::Never] {
                for (node, interleave) in [(None, 0), (Some(3), 0), (None, 5)] {
                    let options = BufferOptions {
                        node,
                        strict,
                        interleave,
                        huge,
                    };
                    let raw = dmaplane_buf_query {
                        node: node.map_or(DMAPLANE_NODE_ANY, |node| node as i32),
                        nodes: interleave,
                        create_flags: options.flags(),
                        ..Argument::sized()
                    };
                    assert_eq!(BufferOptions::of(&raw), options);
                }
            }
        }
    }
}
