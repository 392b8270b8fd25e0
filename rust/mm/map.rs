// SPDX-License-Identifier: GPL-2.0

//! Mapping pages into user space.
//!
//! C headers: [`include/linux/mm.h`](srctree/include/linux/mm.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h)
//!
//! All pages are mapped at once, but for blocks where one entry can show all of them: a fault makes it.
//! Those that are moved vanish from the page tables, and a fault maps what is there instead, with all
//! others that the page table has room for. A child of `fork(2)` begins with nothing of a mapping
//! that has blocks, and faults.
//!
//! Ownership: each vma made here owns an `Arc` of the object whose pages it shows, so the object
//! lives until the last `munmap`, whoever drops its other references.
//! Locking: `mmap_lock` is held for writing in `mmap`, for reading in `fault` (there is no
//! `map_pages`, so that it does not come with only the vma locked; `huge_fault` may), and at least the
//! vma is locked in `open` and `close`; the object's callbacks must not take a lock that is held around a
//! user copy.
//! The pages' list is locked for reading in `mmap` and `fault`, and inside of that, in faults,
//! [`View::faulting`] of mappings that have blocks: the kernel forbids a page to be inserted where a
//! block has come to be.
//! Teardown: `close` of the vma drops the `Arc`.

use crate::{
    bindings,
    mm::pages::{
        Pages,
        BLOCK_ORDER,
        BLOCK_PAGES, //
    }, //
};
use core::marker::PhantomData;
use kernel::{
    error::to_result,
    ffi,
    new_mutex,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// An object whose pages can be mapped.
pub trait Mappable: Send + Sync + 'static {
    /// Whether blocks may be shown by one entry: page 0 of a mapping is one of a file of the device's.
    const WHOLE: bool = true;
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
    pub fn forbid_writing(&mut self) -> Result {
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
        let (mut next, mut huge) = (first, false);
        while next < end {
            let list = pages.list().read_killable()?;
            let whole = (next / PIECE + 1).saturating_mul(PIECE);
            let part = list.as_slice().get(next..end.min(whole)).ok_or(ENXIO)?;
            let (array, mut left) = (part.as_ptr(), part.len());
            // SAFETY: the array has `left` live pages.
            if M::WHOLE && unsafe { bindings::dk_vma_fits_block(self.vma, at, array, left) } {
                huge = true;
            } else {
                // SAFETY: the range is inside of the vma, which allows mixed maps, the array has `left`
                // live pages and is not modified; each page gets a reference of its own.
                to_result(unsafe {
                    bindings::vm_insert_pages(self.vma, at, array.cast_mut(), &raw mut left)
                })?;
            }
            at += part.len() * PAGE_SIZE;
            next += part.len();
        }
        if huge {
            // SAFETY: by the type invariant the vma's flags may be changed. What was inserted are pages
            // with references, and so will be what faults insert.
            unsafe { bindings::dk_vma_set_huge(self.vma) };
        }
        let view = pin_init!(View {
            index: index.wrapping_sub(first),
            object,
            faulting <- new_mutex!((), "View::faulting"),
        });
        let view = Arc::pin_init(view, GFP_KERNEL_ACCOUNT)?;
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

/// Pages mapped while the list is locked. Blocks begin at multiples of that.
const PIECE: usize = BLOCK_PAGES;

/// What a vma shows, however it is cut and moved.
#[pin_data]
struct View<M> {
    /// The page of the file that is page 0 of the object.
    index: usize,
    object: Arc<M>,
    /// Held while entries are made, which are of a block or of pages.
    #[pin]
    faulting: Mutex<()>,
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
        huge_fault: Some(Self::huge_fault),
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
        // SAFETY: as above.
        let before = unsafe { bindings::dk_vmf_in_table(fault) };
        let after = BLOCK_PAGES.saturating_sub(before);
        let list = view.object.pages().list().read_killable();
        let (first, wanted) = (index.saturating_sub(before), index.min(before));
        let piece = list
            .as_ref()
            .ok()
            .and_then(|list| list.as_slice().get(first..))
            .map(|rest| rest.get(..wanted.saturating_add(after)).unwrap_or(rest));
        // SAFETY: as above.
        let large = unsafe { bindings::dk_vmf_may_be_large(fault) };
        let _guard = large.then(|| view.faulting.lock());
        match piece {
            // SAFETY: as above, and the pages are alive.
            Some(piece) if wanted < piece.len() => unsafe {
                bindings::dk_vmf_insert(fault, piece.as_ptr(), piece.len(), wanted)
            },
            // SAFETY: has no conditions.
            _ => unsafe { bindings::dk_vmf_refuse() },
        }
    }

    /// # Safety
    ///
    /// Called by the kernel for an address in a vma that has these operations.
    unsafe extern "C" fn huge_fault(
        fault: *mut bindings::vm_fault,
        order: ffi::c_uint,
    ) -> bindings::vm_fault_t {
        // SAFETY: the argument is valid for the call.
        if order != BLOCK_ORDER || !unsafe { bindings::dk_vmf_may_be_large(fault) } {
            // SAFETY: has no conditions.
            return unsafe { bindings::dk_vmf_fallback() };
        }
        // SAFETY: as of `fault`.
        let view = unsafe { &*bindings::dk_vmf_private(fault).cast::<View<M>>() };
        // SAFETY: the argument is valid for the call.
        let index = unsafe { bindings::dk_vmf_index(fault) }.wrapping_sub(view.index);
        // SAFETY: as above.
        let first = index.checked_sub(unsafe { bindings::dk_vmf_in_table(fault) });
        let list = view.object.pages().list().read_killable();
        let block =
            list.as_ref().ok().zip(first).and_then(|(list, first)| {
                list.as_slice().get(first..first.checked_add(BLOCK_PAGES)?)
            });
        let _guard = view.faulting.lock();
        match block {
            // SAFETY: as above; these pages are alive.
            Some(block) => unsafe {
                bindings::dk_vmf_insert_block(fault, block.as_ptr(), block.len())
            },
            // SAFETY: has no conditions.
            _ => unsafe { bindings::dk_vmf_fallback() },
        }
    }
}
