// SPDX-License-Identifier: GPL-2.0

//! Mapping pages into user space.
//!
//! C headers: [`include/linux/mm.h`](srctree/include/linux/mm.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h)
//!
//! Ownership: each vma made here owns an `Arc` of the object whose pages it shows, so the object
//! lives until the last `munmap`, whoever drops its other references.
//! Locking: `mmap_lock` is held for writing in `mmap`, and at least the vma is locked in `open`
//! and `close`; the object's callbacks must not take a lock that is held around a user copy.
//! Teardown: `close` of the vma drops the `Arc`.

use crate::{
    bindings,
    mm::pages::Pages, //
};
use core::marker::PhantomData;
use kernel::{
    error::to_result,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::Arc, //
};

/// An object whose pages can be mapped.
pub trait Mappable: Send + Sync + 'static {
    /// The pages shown.
    fn pages(&self) -> &Pages;
    /// A vma showing the pages came to be.
    fn mapped(&self) {}
    /// A vma showing the pages went away.
    fn unmapped(&self) {}
}

/// A mapping being made by `mmap(2)`.
///
/// # Invariants
///
/// `vma` is valid and under construction for `'a`, with `mmap_lock` held for writing.
pub struct NewMapping<'a> {
    vma: *mut bindings::vm_area_struct,
    _lifetime: PhantomData<&'a ()>,
}

impl<'a> NewMapping<'a> {
    /// # Safety
    ///
    /// `vma` is the argument of an `mmap` file operation that lasts for `'a`.
    pub(crate) unsafe fn from_raw(vma: *mut bindings::vm_area_struct) -> Self {
        // INVARIANT: by the safety requirement.
        Self {
            vma,
            _lifetime: PhantomData,
        }
    }

    /// The file offset asked for, in bytes.
    pub fn offset(&self) -> u64 {
        // SAFETY: by the type invariant.
        (unsafe { (*self.vma).vm_pgoff } as u64) << PAGE_SHIFT
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        // SAFETY: by the type invariant.
        let range = unsafe { (*self.vma).__bindgen_anon_1.__bindgen_anon_1 };
        range.vm_end - range.vm_start
    }

    /// Whether the mapping is empty; it never is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether changes are shared (`MAP_SHARED`).
    pub fn is_shared(&self) -> bool {
        // SAFETY: by the type invariant.
        unsafe { bindings::dk_vma_is_shared(self.vma) }
    }

    /// Shows the pages of `object` from `first` on. `ENXIO` if they do not reach.
    pub fn show<M: Mappable>(self, object: Arc<M>, first: usize) -> Result {
        let count = self.len() / PAGE_SIZE;
        let end = first.checked_add(count).ok_or(ENXIO)?;
        let pages = object.pages().as_ptrs().get(first..end).ok_or(ENXIO)?;
        // SAFETY: by the type invariant the vma's flags may be changed.
        unsafe { bindings::dk_vma_set_shared_map(self.vma) };
        // SAFETY: by the type invariant.
        let start = unsafe { (*self.vma).__bindgen_anon_1.__bindgen_anon_1.vm_start };
        let mut left = count;
        // SAFETY: the range is that of the vma, the vma allows mixed maps, the array has `left`
        // live order-0 pages and is not modified; each page gets a reference of its own.
        to_result(unsafe {
            bindings::vm_insert_pages(self.vma, start, pages.as_ptr().cast_mut(), &raw mut left)
        })?;
        object.mapped();
        let operations: &'static bindings::vm_operations_struct = &Operations::<M>::TABLE;
        // SAFETY: by the type invariant the vma is ours to set up; the private data is what
        // `VM_OPS::<M>` expects.
        unsafe {
            (*self.vma).vm_private_data = Arc::into_raw(object).cast_mut().cast();
            (*self.vma).vm_ops = operations;
        }
        Ok(())
    }
}

/// The vma operations of mappings that show an `M`.
///
/// # Invariants
///
/// In a vma that has these operations, `vm_private_data` owns an `Arc<M>`.
struct Operations<M>(PhantomData<M>);

impl<M: Mappable> Operations<M> {
    const TABLE: bindings::vm_operations_struct = bindings::vm_operations_struct {
        open: Some(Self::open),
        close: Some(Self::close),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the kernel on a vma that has these operations and was just copied.
    unsafe extern "C" fn open(vma: *mut bindings::vm_area_struct) {
        // SAFETY: by the type invariant the original's private data owns an `Arc<M>`; this
        // copy of the vma needs a reference of its own.
        let object = unsafe { Arc::<M>::from_raw((*vma).vm_private_data.cast()) };
        object.mapped();
        core::mem::forget(object.clone());
        core::mem::forget(object);
    }

    /// # Safety
    ///
    /// Called by the kernel, once, on a vma that has these operations.
    unsafe extern "C" fn close(vma: *mut bindings::vm_area_struct) {
        // SAFETY: by the type invariant the private data owns an `Arc<M>`, and the vma is gone
        // after this.
        let object = unsafe { Arc::<M>::from_raw((*vma).vm_private_data.cast()) };
        object.unmapped();
    }
}
