// SPDX-License-Identifier: GPL-2.0

//! Small messages that a connection sends and receives: memory that the device can reach.
//!
//! C header: [`include/rdma/ib_verbs.h`](srctree/include/rdma/ib_verbs.h)
//!
//! Ownership: [`Buffers`] owns memory and mapping, and keeps the device there.
//! Locking: none. The caller has a slot of the same number, and touches a message only while
//! the slot is his: claimed and not yet posted, or completed and not yet free.
//! Teardown: unmaps and frees; the queue was drained before.

use super::device::Domain;
use crate::{
    bindings,
    mm::pages::Pages, //
};
use core::ptr::NonNull;
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc, //
};

/// Bytes of a message between the users of connections at most, and of what a user sees of any.
pub const MESSAGE_BYTES: usize = 256;

/// Room for a message at most.
pub const MAX_MESSAGE: usize = PAGE_SIZE;

type Memory = [u8; PAGE_SIZE];

/// # Invariants
///
/// `memory` is a box that we own; `dma` is where the device sees all of it.
struct Chunk {
    memory: NonNull<Memory>,
    dma: u64,
}

/// Room for a number of messages of one direction.
pub(super) struct Buffers {
    chunks: KVec<Chunk>,
    /// Bytes of each, a power of two.
    size: usize,
    to_device: bool,
    domain: Arc<Domain>,
}

// SAFETY: memory and mapping are not bound to a task.
unsafe impl Send for Buffers {}
// SAFETY: the unsafe methods say who may touch which message.
unsafe impl Sync for Buffers {}

impl Buffers {
    /// For messages of up to `size` bytes, which is rounded up to a power of two. `EINVAL` if that is
    /// more than [`MAX_MESSAGE`].
    pub(super) fn new(
        domain: &Arc<Domain>,
        count: u32,
        size: usize,
        to_device: bool,
    ) -> Result<Self> {
        if size > MAX_MESSAGE {
            return Err(EINVAL);
        }
        let size = size.max(1).next_power_of_two();
        let mut buffers = Self {
            chunks: KVec::new(),
            size,
            to_device,
            domain: domain.clone(),
        };
        let chunks = (count as usize).saturating_mul(size).div_ceil(PAGE_SIZE);
        buffers.chunks.reserve(chunks, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..chunks {
            let memory =
                KBox::<Memory>::init(pin_init::init_zeroed::<Memory>(), GFP_KERNEL_ACCOUNT)?;
            let raw = KBox::into_raw(memory);
            // SAFETY: the device is there, `raw` is a page that we own.
            let dma =
                unsafe { bindings::dk_ib_dma_map(domain.raw(), raw.cast(), PAGE_SIZE, to_device) };
            if dma == u64::MAX {
                // SAFETY: it came from `into_raw` above, and nobody else has it.
                drop(unsafe { KBox::from_raw(raw) });
                return Err(ENOMEM);
            }
            let memory = NonNull::new(raw).ok_or(ENOMEM)?;
            // INVARIANT: just boxed and just mapped.
            buffers
                .chunks
                .push(Chunk { memory, dma }, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(buffers)
    }

    /// Where a message lies, for us and for the device.
    fn place(&self, slot: u32) -> Result<(NonNull<u8>, u64)> {
        // It is a power of two, and at most a page.
        let first = (slot as usize).saturating_mul(self.size);
        let (chunk, offset) = (first / PAGE_SIZE, first % PAGE_SIZE);
        let chunk = self.chunks.get(chunk).ok_or(EINVAL)?;
        // SAFETY: `offset` is less than `PAGE_SIZE`, the size of the memory.
        let memory = unsafe { chunk.memory.cast::<u8>().add(offset) };
        Ok((memory, chunk.dma.wrapping_add(offset as u64)))
    }

    /// Bytes of each.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The piece of a work request for `len` bytes of a message.
    pub(super) fn sge(&self, slot: u32, len: usize) -> Result<bindings::ib_sge> {
        Ok(bindings::ib_sge {
            addr: self.place(slot)?.1,
            length: len.min(self.size) as u32,
            lkey: self.domain.local_key(),
        })
    }

    /// Writes a message for the device to read.
    ///
    /// # Safety
    ///
    /// Nobody else reads or writes it meanwhile, but for the device: what that finds is a matter of the
    /// protocol.
    pub(super) unsafe fn write(&self, slot: u32, message: &[u8]) -> Result {
        let (memory, dma) = self.place(slot)?;
        let len = message.len().min(self.size);
        // SAFETY: the memory holds `size` bytes, and nobody else uses it by the caller's promise.
        unsafe { core::ptr::copy_nonoverlapping(message.as_ptr(), memory.as_ptr(), len) };
        // SAFETY: mapped by the invariant; the device is kept by `domain`.
        unsafe { bindings::dk_ib_dma_sync_for_device(self.domain.raw(), dma, self.size, true) };
        Ok(())
    }

    /// Lets the device write to a slot again that may have been read.
    pub(super) fn prepare(&self, slot: u32) -> Result {
        let (_, dma) = self.place(slot)?;
        // SAFETY: mapped by the invariant; the device is kept by `domain`.
        unsafe { bindings::dk_ib_dma_sync_for_device(self.domain.raw(), dma, self.size, false) };
        Ok(())
    }

    /// Reads the beginning of what the device wrote; returns how many bytes that is.
    ///
    /// # Safety
    ///
    /// The slot's request completed, and the slot is not free yet.
    pub(super) unsafe fn read(&self, slot: u32, len: u32, to: &mut [u8; MESSAGE_BYTES]) -> usize {
        let Ok((memory, dma)) = self.place(slot) else {
            return 0;
        };
        let len = (len as usize).min(MESSAGE_BYTES).min(self.size);
        // SAFETY: mapped by the invariant; the device is kept by `domain`.
        unsafe { bindings::dk_ib_dma_sync_for_cpu(self.domain.raw(), dma, self.size) };
        // SAFETY: the memory holds `size` bytes, and nobody else uses it by the caller's promise.
        unsafe { core::ptr::copy_nonoverlapping(memory.as_ptr(), to.as_mut_ptr(), len) };
        len
    }

    /// Copies `len` bytes from `offset` on of what the device wrote, to `to_offset` of `to`. `ERANGE`
    /// if they are not inside.
    ///
    /// # Safety
    ///
    /// The slot's request completed and was [read](Self::read), and the slot is the caller's.
    pub(super) unsafe fn copy_to(
        &self,
        slot: u32,
        offset: usize,
        to: &Pages,
        to_offset: u64,
        len: usize,
    ) -> Result {
        let (memory, _) = self.place(slot)?;
        match offset.checked_add(len) {
            Some(end) if end <= self.size => {}
            _ => return Err(ERANGE),
        }
        // SAFETY: inside of the memory, and nobody else uses it by the caller's promise.
        let bytes = unsafe { core::slice::from_raw_parts(memory.as_ptr().add(offset), len) };
        to.write(to_offset, bytes)
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        for chunk in &self.chunks {
            // SAFETY: mapped like that in `new`; the device is kept by `domain`.
            unsafe {
                bindings::dk_ib_dma_unmap(self.domain.raw(), chunk.dma, PAGE_SIZE, self.to_device)
            };
            // SAFETY: a box of ours by the invariant, which the device no longer reaches.
            drop(unsafe { KBox::from_raw(chunk.memory.as_ptr()) });
        }
    }
}
