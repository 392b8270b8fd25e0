// SPDX-License-Identifier: GPL-2.0

//! Memory that the kernel and others change at the same time.
//!
//! C header: [`include/linux/vmalloc.h`](srctree/include/linux/vmalloc.h)
//!
//! Ownership: [`Shared`] owns its pages and a kernel mapping of them.
//! Locking: none. Single words are accessed once, blocks are copied word by word; there
//! is never a reference into the memory, so whatever user space does to it at any moment is
//! only ever a wrong value.
//! Teardown: dropping removes the kernel mapping, then puts the pages.

use crate::{
    bindings,
    mm::pages::Pages, //
};
use core::{
    mem::size_of,
    ptr::NonNull, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            ordering::{
                Acquire,
                Release, //
            },
            Atomic, //
        },
        Arc, //
    },
    transmute::{
        AsBytes,
        FromBytes, //
    }, //
};

/// Pages with a kernel mapping.
///
/// # Invariants
///
/// `base` is a kernel mapping of all of `pages`, page-aligned, that lives as long as `self`;
/// `length` is their length in bytes.
pub struct Shared {
    base: NonNull<u8>,
    length: usize,
    pages: Arc<Pages>,
}

// SAFETY: the mapping is global to the kernel, and only accessed atomically or by volatile words.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Maps `pages` into the kernel.
    pub fn new(pages: Arc<Pages>) -> Result<Self> {
        let list = pages.as_ptrs();
        let count = u32::try_from(list.len())?;
        let length = usize::try_from(pages.len())?;
        // SAFETY: `list` holds `count` live pages; the helper does not modify the array.
        let base = unsafe { bindings::dk_vmap(list.as_ptr().cast_mut(), count) };
        // INVARIANT: the mapping exists until `drop`, and `pages` keeps the memory alive.
        Ok(Self {
            base: NonNull::new(base.cast()).ok_or(ENOMEM)?,
            length,
            pages,
        })
    }

    /// The memory, for mapping it elsewhere.
    pub fn pages(&self) -> &Arc<Pages> {
        &self.pages
    }

    /// Pointer to `len` bytes at `offset`: whole, aligned words inside the mapping.
    #[inline]
    fn at(&self, offset: usize, len: usize) -> Result<*mut u32> {
        let end = offset.checked_add(len).ok_or(ERANGE)?;
        if end > self.length || offset % size_of::<u32>() != 0 {
            return Err(ERANGE);
        }
        // SAFETY: `offset` is inside the mapping.
        Ok(unsafe { self.base.as_ptr().add(offset) }.cast())
    }

    #[inline]
    fn word(&self, offset: usize) -> Result<&Atomic<u32>> {
        let ptr = self.at(offset, size_of::<u32>())?;
        // SAFETY: the word is mapped while `self` lives, aligned, and accessed once by all of the
        // kernel; what user space does cannot be a data race in the kernel's model.
        Ok(unsafe { Atomic::from_ptr(ptr) })
    }

    /// Loads a word that pairs with a release store of the other side.
    #[inline]
    pub fn load_acquire(&self, offset: usize) -> Result<u32> {
        Ok(self.word(offset)?.load(Acquire))
    }

    /// Publishes everything written before by storing a word.
    #[inline]
    pub fn store_release(&self, offset: usize, value: u32) -> Result {
        self.word(offset)?.store(value, Release);
        Ok(())
    }

    /// Orders all accesses before, stores included, with all loads after.
    #[inline]
    pub fn order() {
        // SAFETY: a barrier has no conditions. The kernel crate's has changed its form.
        unsafe { bindings::dk_smp_mb() };
    }

    /// Copies a structure out, once: later changes by others do not affect the copy.
    #[inline]
    pub fn read<T: FromBytes + Copy + Default>(&self, offset: usize) -> Result<T> {
        const { assert!(size_of::<T>() % size_of::<u32>() == 0) };
        let from = self.at(offset, size_of::<T>())?;
        let mut value = T::default();
        let to = core::ptr::from_mut(&mut value);
        // SAFETY: `from` covers the size of `T` by `at`, and is aligned; any bytes make a `T` as
        // it is `FromBytes`.
        unsafe {
            match pairs::<T>(from) {
                true => load(from.cast::<u64>(), to.cast(), size_of::<T>() / 8),
                false => load(from, to.cast(), size_of::<T>() / 4),
            }
        }
        Ok(value)
    }

    /// Copies words of eight bytes out, once, from a place that is aligned for them.
    #[inline]
    pub fn read_words<const N: usize>(&self, offset: usize) -> Result<[u64; N]> {
        let from: *const u64 = self.at(offset, size_of::<[u64; N]>())?.cast();
        if !from.is_aligned() {
            return Err(ERANGE);
        }
        let mut words = [0; N];
        // SAFETY: `from` covers as many words by `at`, and is aligned.
        unsafe { load(from, words.as_mut_ptr(), N) };
        Ok(words)
    }

    /// Copies a structure in.
    #[inline]
    pub fn write<T: AsBytes>(&self, offset: usize, value: &T) -> Result {
        const { assert!(size_of::<T>() % size_of::<u32>() == 0) };
        let to = self.at(offset, size_of::<T>())?;
        let from = core::ptr::from_ref(value);
        // SAFETY: `to` covers the size of `T` by `at`, and is aligned; the bytes of `value` are
        // initialised as it is `AsBytes`.
        unsafe {
            match pairs::<T>(to) {
                true => store(from.cast(), to.cast::<u64>(), size_of::<T>() / 8),
                false => store(from.cast(), to, size_of::<T>() / 4),
            }
        }
        Ok(())
    }
}

/// Whether words can be taken two at a time.
#[inline]
fn pairs<T>(at: *const u32) -> bool {
    size_of::<T>() % size_of::<u64>() == 0 && at.cast::<u64>().is_aligned()
}

/// Copies words that others may change. A volatile access of a word is `READ_ONCE()` or
/// `WRITE_ONCE()`, which the kernel's memory model has for that; the kernel crate's atomics call a
/// function for each.
///
/// # Safety
///
/// Both are valid for `count` words, `from` is aligned.
#[inline(always)]
unsafe fn load<W: Copy>(from: *const W, to: *mut W, count: usize) {
    for i in 0..count {
        // SAFETY: `i` is less than `count`.
        unsafe { to.add(i).write_unaligned(from.add(i).read_volatile()) };
    }
}

/// As [`load`], the other way.
///
/// # Safety
///
/// Both are valid for `count` words, `to` is aligned.
#[inline(always)]
unsafe fn store<W: Copy>(from: *const W, to: *mut W, count: usize) {
    for i in 0..count {
        // SAFETY: `i` is less than `count`.
        unsafe { to.add(i).write_volatile(from.add(i).read_unaligned()) };
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: by the invariant `base` is a mapping made by `vmap`, unmapped only here.
        unsafe { bindings::dk_vunmap(self.base.as_ptr().cast()) };
    }
}

#[cfg(dmaplane_test)]
#[kunit_tests(dmakit_shared)]
mod tests {
    use super::*;
    use crate::mm::pages::Placement;
    use kernel::page::PAGE_SIZE;

    const END: usize = 2 * PAGE_SIZE;

    fn two_pages() -> Result<Shared> {
        let pages = Pages::new(2, Placement::Any)?;
        Shared::new(Arc::new(pages, GFP_KERNEL)?)
    }

    fn words(shared: &Shared) -> impl Iterator<Item = Result<u32>> + '_ {
        (0..END).step_by(4).map(|at| shared.load_acquire(at))
    }

    #[test]
    fn zero_even_if_the_pages_were_used_before() -> Result {
        for _ in 0..32 {
            let shared = two_pages()?;
            assert!(words(&shared).all(|word| word == Ok(0)));
            for at in (0..END).step_by(4) {
                shared.store_release(at, u32::MAX)?;
            }
            assert!(words(&shared).all(|word| word == Ok(u32::MAX)));
        }
        Ok(())
    }

    #[test]
    fn a_structure_across_the_pages_boundary() -> Result {
        let shared = two_pages()?;
        let sent = [1u32, 2, 3, 4];
        shared.write(PAGE_SIZE - 8, &sent)?;
        assert_eq!(shared.read::<[u32; 4]>(PAGE_SIZE - 8)?, sent);
        assert_eq!(shared.load_acquire(PAGE_SIZE - 4)?, 2);
        assert_eq!(shared.load_acquire(PAGE_SIZE)?, 3);
        // Nothing beside it.
        assert_eq!(shared.load_acquire(PAGE_SIZE - 12)?, 0);
        assert_eq!(shared.load_acquire(PAGE_SIZE + 8)?, 0);
        Ok(())
    }

    #[test]
    fn words_where_they_are_aligned() -> Result {
        let shared = two_pages()?;
        shared.write(PAGE_SIZE - 8, &[1u32, 2, 3, 4])?;
        assert_eq!(
            shared.read_words::<2>(PAGE_SIZE - 8)?,
            [(2 << 32) | 1, (4 << 32) | 3]
        );
        assert_eq!(shared.read_words::<1>(END - 8), Ok([0]));
        for at in [4, END - 4, PAGE_SIZE - 4, END, usize::MAX - 7] {
            assert_eq!(shared.read_words::<1>(at), Err(ERANGE));
        }
        assert_eq!(shared.read_words::<2>(END - 8), Err(ERANGE));
        Ok(())
    }

    #[test]
    fn two_mappings_see_the_same_memory() -> Result {
        let one = two_pages()?;
        let other = Shared::new(one.pages().clone())?;
        one.store_release(PAGE_SIZE, 0x1234_5678)?;
        assert_eq!(other.load_acquire(PAGE_SIZE)?, 0x1234_5678);
        drop(one);
        other.store_release(0, 7)?;
        assert_eq!(other.read::<u64>(0)?, 7);
        Ok(())
    }

    #[test]
    fn up_to_the_end_and_not_beyond() -> Result {
        let shared = two_pages()?;
        shared.store_release(END - 4, 1)?;
        assert_eq!(shared.read::<u32>(END - 4), Ok(1));
        assert_eq!(shared.read::<u64>(END - 8), Ok(1 << 32));
        for at in [END - 4, END, END + 4, usize::MAX - 3] {
            assert_eq!(shared.read::<u64>(at), Err(ERANGE));
            assert_eq!(shared.write(at, &u64::MAX), Err(ERANGE));
        }
        for at in [END, usize::MAX - 3] {
            assert_eq!(shared.load_acquire(at), Err(ERANGE));
            assert_eq!(shared.store_release(at, u32::MAX), Err(ERANGE));
        }
        // What was refused was not begun.
        assert_eq!(shared.load_acquire(END - 4), Ok(1));
        Ok(())
    }

    #[test]
    fn whole_words_only() -> Result {
        let shared = two_pages()?;
        for at in [1, 2, 3, END - 3] {
            assert_eq!(shared.load_acquire(at), Err(ERANGE));
            assert_eq!(shared.store_release(at, 1), Err(ERANGE));
            assert_eq!(shared.read::<u32>(at), Err(ERANGE));
            assert_eq!(shared.write(at, &1u32), Err(ERANGE));
        }
        assert!(words(&shared).all(|word| word == Ok(0)));
        Ok(())
    }
}
