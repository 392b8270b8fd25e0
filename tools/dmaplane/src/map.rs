// SPDX-License-Identifier: GPL-2.0
//! A shared mapping of the device, and access to memory that others write.

use std::{ffi::c_void, os::fd::AsFd, ptr::NonNull};

use rustix::mm::{mmap, munmap, MapFlags, ProtFlags};

use crate::{Error, Op, Result};

/// A mapping, unmapped when dropped. The kernel keeps the memory behind it alive
/// for as long.
///
/// # Invariants
///
/// `base` is the start of `length` bytes mapped readable and writable, and
/// nothing else unmaps them.
#[derive(Debug)]
pub(crate) struct Map {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread.
unsafe impl Send for Map {}
// SAFETY: a shared `Map` only hands out the address and copies out.
unsafe impl Sync for Map {}

impl Map {
    /// Maps `length` bytes at `offset` of the device.
    pub(crate) fn new(fd: impl AsFd, offset: u64, length: u64) -> Result<Self> {
        let error = |e| Error::new(Op::Mmap, e);
        let length = usize::try_from(length).map_err(|_| error(rustix::io::Errno::NOMEM))?;
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no
        // memory that is in use.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                prot,
                MapFlags::SHARED,
                fd,
                offset,
            )
        }
        .map_err(error)?;
        let base = NonNull::new(base.cast()).ok_or(error(rustix::io::Errno::NOMEM))?;
        // INVARIANT: mmap() succeeded with this length and protection.
        Ok(Map { base, length })
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    #[inline]
    fn check(&self, offset: usize, length: usize) {
        let end = offset.checked_add(length);
        if end.is_none_or(|end| end > self.length) {
            self.beyond(offset, length);
        }
    }

    /// Apart, so that loops that copy do not carry it with them.
    #[cold]
    #[inline(never)]
    fn beyond(&self, offset: usize, length: usize) -> ! {
        panic!(
            "{length} bytes at {offset} are beyond a mapping of {}",
            self.length
        );
    }

    /// Copies `bytes` to `offset`. Panics when they do not fit.
    #[inline]
    pub(crate) fn copy_in(&mut self, offset: usize, bytes: &[u8]) {
        // SAFETY: no slice lives, as `self` is borrowed by nobody else.
        unsafe { self.copy_in_shared(offset, bytes) }
    }

    /// As [`Self::copy_in`].
    ///
    /// # Safety
    ///
    /// No slice of these bytes lives.
    #[inline]
    pub(crate) unsafe fn copy_in_shared(&self, offset: usize, bytes: &[u8]) {
        self.check(offset, bytes.len());
        // SAFETY: in range by the check, mapped by the type's invariant; `bytes`
        // is not in the mapping unless by `slice()`, whose callers promise that
        // nothing writes there meanwhile.
        unsafe {
            let to = self.base.as_ptr().add(offset);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }

    /// Copies from `offset` to `bytes`. Panics when there are too few.
    #[inline]
    pub(crate) fn copy_out(&self, offset: usize, bytes: &mut [u8]) {
        self.check(offset, bytes.len());
        // SAFETY: in range by the check, mapped by the type's invariant.
        unsafe {
            let from = self.base.as_ptr().add(offset);
            std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len());
        }
    }

    /// The bytes in place. Panics when there are too few.
    ///
    /// # Safety
    ///
    /// Nothing writes to them while the slice lives.
    pub(crate) unsafe fn slice(&self, offset: usize, length: usize) -> &[u8] {
        self.check(offset, length);
        // SAFETY: in range by the check, mapped for as long as `self` lives by
        // the type's invariant, unchanging by the caller's promise.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(offset), length) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: by the type's invariant; slices borrow `self`, and those who
        // took the address were told how long it holds.
        let _ = unsafe { munmap(self.base.as_ptr().cast::<c_void>(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(length: usize) -> Map {
        let file = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, length as u64).unwrap();
        Map::new(&file, 0, length as u64).unwrap()
    }

    #[test]
    fn copies_both_ways() {
        let mut map = map(4096);
        map.copy_in(4090, b"abcdef");
        let mut out = [0; 3];
        map.copy_out(4092, &mut out);
        assert_eq!(&out, b"cde");
        // SAFETY: nobody else knows of the mapping.
        assert_eq!(unsafe { map.slice(4090, 6) }, b"abcdef");
        map.copy_in(4096, b"");
    }

    #[test]
    #[should_panic(expected = "beyond a mapping")]
    fn too_far() {
        map(4096).copy_in(4090, &[0; 7]);
    }

    #[test]
    #[should_panic(expected = "beyond a mapping")]
    fn wraps() {
        map(4096).copy_out(usize::MAX, &mut [0; 2]);
    }
}
