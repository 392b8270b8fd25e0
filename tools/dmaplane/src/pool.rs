// SPDX-License-Identifier: GPL-2.0
//! Memory that is mapped and registered once, of which pieces are taken and to which they return.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use range_alloc::RangeAllocator;

use crate::{Access, Buffer, BufferOptions, Endpoint, Mapping, Region, Result};

/// Pieces begin at multiples of this, and have as many bytes: no two share a line of a cache.
pub const PIECE_ALIGN: u64 = 64;

/// A buffer that is mapped and registered, to take pieces of: that costs no call of the system.
///
/// Pages are cleared when the pool is made, so that nothing of another program is in it. A piece has what
/// was in it before, which is this program's, unless it is [filled](Piece::fill). Pools of one context, and
/// of several threads, are as good as one; there is none between programs.
///
/// ```no_run
/// # use dmaplane::{Access, Channel, Endpoint, Lease, Pool, WriteImm};
/// # fn send(channel: &mut Channel, endpoint: &Endpoint, lease: Lease, chunk: &[u8]) -> dmaplane::Result<()> {
/// let pool = Pool::new(endpoint, 64 << 20, Access::LOCAL, Default::default())?;
/// let mut piece = pool.take(chunk.len() as u64).expect("there is room");
/// piece.copy_in(0, chunk);
/// let entry = WriteImm::new(endpoint, piece.region(), lease);
/// channel.push(entry.range(piece.offset(), 0, chunk.len() as u32))?;
/// // Before the piece returns.
/// channel.wait(1, None)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Pool {
    slab: Arc<Slab>,
}

/// What a pool and its pieces have in common.
#[derive(Debug)]
struct Slab {
    free: Mutex<RangeAllocator<u64>>,
    mapping: Mapping,
    region: Region,
    buffer: Buffer,
}

impl Slab {
    /// Each change of it is one call, so that one which panicked leaves it as it was.
    fn free(&self) -> MutexGuard<'_, RangeAllocator<u64>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// Allocates, maps and registers `length` bytes, rounded up to whole pages, for `access` by the fabric
    /// of `endpoint`. A peer that gets a lease on its [region](Pool::region) reaches all pieces.
    pub fn new(
        endpoint: &Endpoint,
        length: u64,
        access: Access,
        options: BufferOptions,
    ) -> Result<Self> {
        let buffer = Buffer::create(endpoint.context(), length, options)?;
        let mapping = buffer.map()?;
        let region = endpoint.register(&buffer, 0, buffer.len(), access)?;
        let free = Mutex::new(RangeAllocator::new(0..buffer.len()));
        Ok(Pool {
            slab: Arc::new(Slab {
                free,
                mapping,
                region,
                buffer,
            }),
        })
    }

    /// `length` bytes, rounded up to a multiple of [`PIECE_ALIGN`]; `None` if there is no room for them in
    /// one place now, or if there are none.
    pub fn take(&self, length: u64) -> Option<Piece> {
        let room = length.checked_next_multiple_of(PIECE_ALIGN)?;
        if room == 0 {
            return None;
        }
        let range = self.slab.free().allocate_range(room).ok()?;
        Some(Piece {
            slab: Arc::clone(&self.slab),
            range,
            length,
        })
    }

    /// Its region, in which pieces have [offsets](Piece::offset).
    pub fn region(&self) -> &Region {
        &self.slab.region
    }

    /// Its buffer, of which that is all.
    pub fn buffer(&self) -> &Buffer {
        &self.slab.buffer
    }

    /// Bytes in it.
    pub fn len(&self) -> u64 {
        self.slab.buffer.len()
    }

    /// Whether there are none, which is not so of any pool.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that are free, perhaps not in one place.
    pub fn available(&self) -> u64 {
        self.slab.free().total_available()
    }
}

/// Some of a pool's memory, which returns when this is dropped.
///
/// Entries that use it should be complete by then: who takes the bytes next would see what they write, or
/// they would send what that one writes.
#[derive(Debug)]
pub struct Piece {
    slab: Arc<Slab>,
    range: Range<u64>,
    length: u64,
}

impl Piece {
    /// The pool's region.
    pub fn region(&self) -> &Region {
        &self.slab.region
    }

    /// Its first byte there, and in the pool's buffer.
    pub fn offset(&self) -> u64 {
        self.range.start
    }

    /// Its bytes, as many as were asked for.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there are none, which no piece has.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Where `length` bytes from `offset` on are in the mapping; panics if that is not inside.
    fn place(&self, offset: usize, length: usize) -> usize {
        let end = offset.checked_add(length);
        assert!(
            end.is_some_and(|end| end as u64 <= self.length),
            "{length} bytes at {offset} are beyond a piece of {}",
            self.length
        );
        // It is inside of the mapping, whose length is a usize.
        self.range.start as usize + offset
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Panics
    ///
    /// When they do not fit.
    #[inline]
    pub fn copy_in(&mut self, offset: usize, bytes: &[u8]) {
        let at = self.place(offset, bytes.len());
        // SAFETY: these bytes are this piece's, of which nobody else has a slice.
        unsafe { self.slab.mapping.copy_in_shared(at, bytes) };
    }

    /// Copies from `offset` to `bytes`.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    #[inline]
    pub fn copy_out(&self, offset: usize, bytes: &mut [u8]) {
        let at = self.place(offset, bytes.len());
        self.slab.mapping.copy_out(at, bytes);
    }

    /// Makes all bytes the same.
    pub fn fill(&mut self, byte: u8) {
        let bytes = [byte; 4096];
        let length = self.length as usize;
        for at in (0..length).step_by(bytes.len()) {
            self.copy_in(at, &bytes[..bytes.len().min(length - at)]);
        }
    }

    /// `length` bytes from `offset`, in place.
    ///
    /// # Safety
    ///
    /// As of [`Mapping::as_slice`].
    ///
    /// # Panics
    ///
    /// When there are fewer.
    pub unsafe fn as_slice(&self, offset: usize, length: usize) -> &[u8] {
        let at = self.place(offset, length);
        // SAFETY: the caller promises the same.
        unsafe { self.slab.mapping.as_slice(at, length) }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.slab.free().free_range(self.range.clone());
    }
}
