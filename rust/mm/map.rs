// SPDX-License-Identifier: GPL-2.0

//! Mapping pages into user space.
//!
//! C headers: [`include/linux/mm.h`](srctree/include/linux/mm.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h)
//!
//! All pages are mapped at once. Those that are moved vanish from the page tables, and a fault maps
//! what is there instead.
//!
//! Ownership: each vma made here owns an `Arc` of the object whose pages it shows, so the object
//! lives until the last `munmap`, whoever drops its other references.
//! Locking: `mmap_lock` is held for writing in `mmap`, for reading in `fault` (there is no
//! `map_pages`, so no fault comes with only the vma locked), and at least the vma is locked in
//! `open` and `close`; the object's callbacks must not take a lock that is held around a user copy.
//! The pages' list is locked for reading in `mmap` and `fault`.
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
    fn pages(&self) -> &Arc<Pages>;
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

    /// Has it never be written to. `EACCES` if it is writable.
    pub(crate) fn forbid_writing(&mut self) -> Result {
        // SAFETY: by the type invariant the vma's flags may be changed.
        match unsafe { bindings::dk_vma_forbid_writing(self.vma) } {
            true => Ok(()),
            false => Err(EACCES),
        }
    }

    /// Shows the pages of `object` from `first` on. `ENXIO` if they do not reach, `EINTR` if the caller
    /// is being killed.
    pub fn show<M: Mappable>(self, object: Arc<M>, first: usize) -> Result {
        let pages = object.pages();
        let end = first.checked_add(self.len() / PAGE_SIZE).ok_or(ENXIO)?;
        if end > pages.count() {
            return Err(ENXIO);
        }
        // SAFETY: by the type invariant.
        let index = unsafe { (*self.vma).vm_pgoff };
        // SAFETY: by the type invariant the vma's flags may be changed.
        unsafe { bindings::dk_vma_set_shared_map(self.vma) };
        // SAFETY: by the type invariant.
        let mut at = unsafe { (*self.vma).__bindgen_anon_1.__bindgen_anon_1.vm_start };
        for next in (first..end).step_by(PIECE) {
            let list = pages.list().read_killable()?;
            let part = next..end.min(next.saturating_add(PIECE));
            let part = list.as_slice().get(part).ok_or(ENXIO)?;
            let mut left = part.len();
            // SAFETY: the range is inside of the vma, which allows mixed maps, the array has `left`
            // live order-0 pages and is not modified; each page gets a reference of its own.
            to_result(unsafe {
                bindings::vm_insert_pages(self.vma, at, part.as_ptr().cast_mut(), &raw mut left)
            })?;
            at += part.len() * PAGE_SIZE;
        }
        let view = View {
            index: index.wrapping_sub(first),
            object,
        };
        let view = Arc::new(view, GFP_KERNEL_ACCOUNT)?;
        view.object.mapped();
        let operations: &'static bindings::vm_operations_struct = &Operations::<M>::TABLE;
        // SAFETY: by the type invariant the vma is ours to set up; the private data is what
        // `VM_OPS::<M>` expects.
        unsafe {
            (*self.vma).vm_private_data = Arc::into_raw(view).cast_mut().cast();
            (*self.vma).vm_ops = operations;
        }
        Ok(())
    }
}

/// Pages mapped while the list is locked.
const PIECE: usize = 512;

/// What a vma shows, however it is cut and moved.
struct View<M> {
    /// The page of the file that is page 0 of the object.
    index: usize,
    object: Arc<M>,
}

/// The vma operations of mappings that show an `M`.
///
/// # Invariants
///
/// In a vma that has these operations, `vm_private_data` owns an `Arc<View<M>>`.
struct Operations<M>(PhantomData<M>);

impl<M: Mappable> Operations<M> {
    const TABLE: bindings::vm_operations_struct = bindings::vm_operations_struct {
        open: Some(Self::open),
        close: Some(Self::close),
        fault: Some(Self::fault),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the kernel on a vma that has these operations and was just copied.
    unsafe extern "C" fn open(vma: *mut bindings::vm_area_struct) {
        // SAFETY: by the type invariant the original's private data owns an `Arc`; this
        // copy of the vma needs a reference of its own.
        let view = unsafe { Arc::<View<M>>::from_raw((*vma).vm_private_data.cast()) };
        view.object.mapped();
        core::mem::forget(view.clone());
        core::mem::forget(view);
    }

    /// # Safety
    ///
    /// Called by the kernel, once, on a vma that has these operations.
    unsafe extern "C" fn close(vma: *mut bindings::vm_area_struct) {
        // SAFETY: by the type invariant the private data owns an `Arc`, and the vma is gone
        // after this.
        let view = unsafe { Arc::<View<M>>::from_raw((*vma).vm_private_data.cast()) };
        view.object.unmapped();
    }

    /// # Safety
    ///
    /// Called by the kernel for an address in a vma that has these operations.
    unsafe extern "C" fn fault(fault: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: by the type invariant the private data owns an `Arc`, which stays while the vma is
        // locked.
        let view = unsafe { &*bindings::dk_vmf_private(fault).cast::<View<M>>() };
        // SAFETY: the argument is valid for the call.
        let index = unsafe { bindings::dk_vmf_index(fault) }.wrapping_sub(view.index);
        let list = view.object.pages().list().read_killable();
        let page = list
            .as_ref()
            .ok()
            .and_then(|list| list.as_slice().get(index));
        match page {
            // SAFETY: as above; the vma allows mixed maps, and the page is a live one of order 0.
            Some(page) => unsafe { bindings::dk_vmf_insert(fault, *page) },
            // SAFETY: has no conditions.
            None => unsafe { bindings::dk_vmf_refuse() },
        }
    }
}
