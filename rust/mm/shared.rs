// SPDX-License-Identifier: GPL-2.0

//! Memory that the kernel and others change at the same time.
//!
//! C header: [`include/linux/vmalloc.h`](srctree/include/linux/vmalloc.h)
//!
//! Ownership: [`Shared`] and what is found in it, [`Slots`], own a kernel mapping, and that its pages.
//! Locking: none. Single words are accessed once, blocks are copied word by word; there
//! is never a reference into the memory, so whatever user space does to it at any moment is
//! only ever a wrong value.
//! Teardown: dropping the last of them removes the kernel mapping, then puts the pages.

use crate::{
    bindings,
    mm::pages::{
        Pages,
        Pinned, //
    }, //
};
use core::{
    marker::PhantomData,
    mem::{
        size_of,
        MaybeUninit, //
    },
    ptr::NonNull, //
};
use kernel::{
    page::PAGE_SIZE,
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

/// A kernel mapping.
///
/// # Invariants
///
/// `base` is a kernel mapping of all of `pages`, page-aligned, that lives as long as `self`.
struct Mapping {
    base: NonNull<u8>,
    pages: Pinned,
}

// SAFETY: the mapping is global to the kernel, and only accessed atomically or by volatile words.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: by the invariant `base` is a mapping made by `vmap`, unmapped only here.
        unsafe { bindings::dk_vunmap(self.base.as_ptr().cast()) };
    }
}

/// Pages with a kernel mapping.
///
/// # Invariants
///
/// `base` is that of the mapping, and `length` how long it is in bytes: a page or more.
pub struct Shared {
    base: NonNull<u8>,
    length: usize,
    mapping: Arc<Mapping>,
}

// SAFETY: as of `Mapping`.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Maps `pages` into the kernel.
    pub fn new(pages: Arc<Pages>) -> Result<Self> {
        let length = usize::try_from(pages.len())?;
        let pages = Pages::pin(&pages);
        let list = pages.as_ptrs();
        let count = u32::try_from(list.len())?;
        if length < PAGE_SIZE {
            return Err(EINVAL);
        }
        // SAFETY: `list` holds `count` live pages; the helper does not modify the array.
        let base = unsafe { bindings::dk_vmap(list.as_ptr().cast_mut(), count) };
        let base = NonNull::new(base.cast()).ok_or(ENOMEM)?;
        // INVARIANT: the mapping exists until `drop`, and `pages` keeps the memory alive and there.
        let mapping = Mapping { base, pages };
        // INVARIANT: as checked above.
        Ok(Self {
            base,
            length,
            mapping: Arc::new(mapping, GFP_KERNEL_ACCOUNT)?,
        })
    }

    /// The memory, for mapping it elsewhere.
    pub fn pages(&self) -> &Arc<Pages> {
        self.mapping.pages.pages()
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
    fn word<const OFFSET: usize>(&self) -> &Atomic<u32> {
        const { assert!(OFFSET % size_of::<u32>() == 0 && OFFSET < PAGE_SIZE) };
        // SAFETY: in the first page, which is mapped while `self` lives, and aligned. It is accessed
        // once by all of the kernel; what user space does cannot be a data race in its model.
        unsafe { Atomic::from_ptr(self.base.as_ptr().add(OFFSET).cast()) }
    }

    /// Loads a word of the first page that pairs with a release store of the other side.
    #[inline]
    pub fn load_acquire<const OFFSET: usize>(&self) -> u32 {
        self.word::<OFFSET>().load(Acquire)
    }

    /// Publishes everything written before by storing a word of the first page.
    #[inline]
    pub fn store_release<const OFFSET: usize>(&self, value: u32) {
        self.word::<OFFSET>().store(value, Release);
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
        unsafe { load(from, to.cast(), size_of::<T>() / size_of::<u32>()) };
        Ok(value)
    }

    /// Copies a structure in.
    #[inline]
    pub fn write<T: AsBytes>(&self, offset: usize, value: &T) -> Result {
        const { assert!(size_of::<T>() % size_of::<u32>() == 0) };
        let to = self.at(offset, size_of::<T>())?;
        let from = core::ptr::from_ref(value);
        // SAFETY: `to` covers the size of `T` by `at`, and is aligned; the bytes of `value` are
        // initialised as it is `AsBytes`.
        unsafe { store(from.cast(), to, size_of::<T>() / size_of::<u32>()) };
        Ok(())
    }
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

/// Structures in a row, of which one is found by its index modulo their number.
///
/// # Invariants
///
/// `first` is in the mapping, aligned for a `u64`, and `mask + 1` structures follow there.
pub struct Slots<T> {
    first: NonNull<u8>,
    mask: u32,
    _mapping: Arc<Mapping>,
    _type: PhantomData<T>,
}

// SAFETY: as of `Mapping`; there is no `T` in it, but bytes that make one.
unsafe impl<T> Send for Slots<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Slots<T> {}

impl<T> Slots<T> {
    const WORDS: usize = size_of::<T>() / size_of::<u64>();

    /// `count` of them at `offset`, a power of two.
    pub fn new(memory: &Shared, offset: usize, count: u32) -> Result<Self> {
        const { assert!(size_of::<T>() % size_of::<u64>() == 0) };
        let length = usize::try_from(count)?.checked_mul(size_of::<T>());
        let first = memory.at(offset, length.ok_or(ERANGE)?)?;
        if !count.is_power_of_two() || !first.cast::<u64>().is_aligned() {
            return Err(EINVAL);
        }
        // INVARIANT: as checked here and by `at`.
        Ok(Self {
            first: NonNull::new(first.cast()).ok_or(EINVAL)?,
            mask: count.wrapping_sub(1),
            _mapping: memory.mapping.clone(),
            _type: PhantomData,
        })
    }

    #[inline(always)]
    fn at(&self, index: u32) -> *mut u64 {
        let slot = (index & self.mask) as usize;
        // SAFETY: there are more than `mask` of them by the type invariant.
        unsafe { self.first.as_ptr().cast::<T>().add(slot).cast() }
    }

    /// Copies one out, once: later changes by others do not affect the copy.
    #[inline(always)]
    pub fn read(&self, index: u32) -> T
    where
        T: FromBytes + Copy,
    {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: as many words are there by the type invariant, and in `value`, which is whole
        // then: any bytes make a `T` as it is `FromBytes`.
        unsafe {
            load(self.at(index), value.as_mut_ptr().cast(), Self::WORDS);
            value.assume_init()
        }
    }

    /// Copies one in.
    #[inline(always)]
    pub fn write(&self, index: u32, value: &T)
    where
        T: AsBytes,
    {
        let from = core::ptr::from_ref(value).cast();
        // SAFETY: as many words are there by the type invariant; the bytes of `value` are
        // initialised as it is `AsBytes`.
        unsafe { store(from, self.at(index), Self::WORDS) };
    }
}

#[cfg(dmaplane_test)]
#[kunit_tests(dmakit_shared)]
mod tests {
    use super::*;
    use crate::mm::pages::Placement;

    const END: usize = 2 * PAGE_SIZE;

    fn two_pages() -> Result<Shared> {
        Shared::new(Pages::new(2, Placement::Any)?)
    }

    fn words(shared: &Shared) -> impl Iterator<Item = Result<u32>> + '_ {
        (0..END).step_by(4).map(|at| shared.read::<u32>(at))
    }

    #[test]
    fn zero_even_if_the_pages_were_used_before() -> Result {
        for _ in 0..32 {
            let shared = two_pages()?;
            assert!(words(&shared).all(|word| word == Ok(0)));
            for at in (0..END).step_by(4) {
                shared.write(at, &u32::MAX)?;
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
        assert_eq!(shared.read::<u32>(PAGE_SIZE - 4)?, 2);
        assert_eq!(shared.read::<u32>(PAGE_SIZE)?, 3);
        // Nothing beside it.
        assert_eq!(shared.read::<u32>(PAGE_SIZE - 12)?, 0);
        assert_eq!(shared.read::<u32>(PAGE_SIZE + 8)?, 0);
        Ok(())
    }

    #[test]
    fn words_of_the_first_page() -> Result {
        let shared = two_pages()?;
        shared.store_release::<8>(1);
        shared.store_release::<{ PAGE_SIZE - 4 }>(2);
        assert_eq!(shared.read::<u32>(8), Ok(1));
        assert_eq!(shared.load_acquire::<8>(), 1);
        assert_eq!(shared.load_acquire::<{ PAGE_SIZE - 4 }>(), 2);
        assert_eq!(shared.load_acquire::<12>(), 0);
        Ok(())
    }

    #[test]
    fn slots_by_index() -> Result {
        let shared = two_pages()?;
        let slots = Slots::<[u32; 2]>::new(&shared, END - 32, 4)?;
        for n in 0..6u32 {
            slots.write(n.wrapping_sub(2), &[n, n + 1]);
        }
        // The last two went to where the first two were.
        for (at, n) in [(END - 32, 2), (END - 24, 3), (END - 16, 4), (END - 8, 5)] {
            assert_eq!(shared.read::<[u32; 2]>(at), Ok([n, n + 1]));
        }
        assert_eq!(slots.read(u32::MAX), [5, 6]);
        assert_eq!(shared.read::<u64>(END - 40), Ok(0));
        drop(shared);
        assert_eq!(slots.read(0), [2, 3]);
        Ok(())
    }

    #[test]
    fn slots_that_fit() -> Result {
        let shared = two_pages()?;
        let slots = |offset, count| Slots::<u64>::new(&shared, offset, count).err();
        let all = (END / 8) as u32;
        assert_eq!(slots(0, all), None);
        assert_eq!(slots(END - 8, 1), None);
        for (offset, count) in [(8, all), (0, 2 * all), (END, 1), (END - 8, 2), (2, 1)] {
            assert_eq!(slots(offset, count), Some(ERANGE));
        }
        for (offset, count) in [(0, 0), (0, 3), (4, 1)] {
            assert_eq!(slots(offset, count), Some(EINVAL));
        }
        assert_eq!(slots(usize::MAX - 7, u32::MAX), Some(ERANGE));
        Ok(())
    }

    #[test]
    fn two_mappings_see_the_same_memory() -> Result {
        let one = two_pages()?;
        let other = Shared::new(one.pages().clone())?;
        one.write(PAGE_SIZE, &0x1234_5678)?;
        assert_eq!(other.read::<u32>(PAGE_SIZE)?, 0x1234_5678);
        drop(one);
        other.write(0, &7)?;
        assert_eq!(other.read::<u64>(0)?, 7);
        Ok(())
    }

    #[test]
    fn up_to_the_end_and_not_beyond() -> Result {
        let shared = two_pages()?;
        shared.write(END - 4, &1)?;
        assert_eq!(shared.read::<u32>(END - 4), Ok(1));
        assert_eq!(shared.read::<u64>(END - 8), Ok(1 << 32));
        for at in [END - 4, END, END + 4, usize::MAX - 3] {
            assert_eq!(shared.read::<u64>(at), Err(ERANGE));
            assert_eq!(shared.write(at, &u64::MAX), Err(ERANGE));
        }
        // What was refused was not begun.
        assert_eq!(shared.read::<u32>(END - 4), Ok(1));
        Ok(())
    }

    #[test]
    fn whole_words_only() -> Result {
        let shared = two_pages()?;
        for at in [1, 2, 3, END - 3] {
            assert_eq!(shared.read::<u32>(at), Err(ERANGE));
            assert_eq!(shared.write(at, &1u32), Err(ERANGE));
        }
        assert!(words(&shared).all(|word| word == Ok(0)));
        Ok(())
    }
}
