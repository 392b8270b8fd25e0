// SPDX-License-Identifier: GPL-2.0

//! dma-bufs: pages for the devices of other drivers, and for other processes.
//!
//! C headers: [`include/linux/dma-buf.h`](srctree/include/linux/dma-buf.h),
//! [`include/linux/dma-resv.h`](srctree/include/linux/dma-resv.h)
//!
//! Any device may attach, since this is ordinary memory: what it can reach, and in which pieces, counts when it
//! is mapped for it. Whoever maps the pages, be it a device, the kernel or a process, has them pinned. That
//! is where an importer that can be told of a move (`invalidate_mappings`) would be told instead, which
//! none is: to all of them this is an exporter whose memory stays. What the module's own entries do with the
//! memory adds no fences to the reservation object; those of others are the core's business.
//!
//! Ownership: the dma-buf owns its [`Export`], and, through `owner`, the module. The export holds the object.
//! Mappings hold the dma-buf's file, and so its importers do.
//! Locking: the reservation lock of a dma-buf is that of its [`Mapped`]. The core holds it in `map`, `unmap`,
//! `vmap` and `vunmap`. It is outside of the lock of pages; memory is allocated under it, as by all exporters.
//! Teardown: `release`, when the last descriptor, mapping and importer are gone: in process context, by
//! whichever task or worker, with no lock held.

pub mod import;
mod mapped;
#[cfg(all(dmaplane_test, CONFIG_KUNIT = "y"))]
mod tests;

use crate::{
    anonfile::NewFile,
    bindings,
    mm::{
        map::{
            Mappable,
            NewMapping, //
        },
        pages::{
            Pages,
            Pinned, //
        }, //
    }, //
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    ops::Range,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    error::from_err_ptr,
    ffi,
    fs::{
        file::FileDescriptorReservation,
        File, //
    },
    module::this_module,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
    types::ForeignOwnable,
    ModuleMetadata, //
};
use mapped::Mapped;

/// An object whose pages can be exported.
pub trait Exported: Mappable {
    /// The module that this code is in.
    type Module: ModuleMetadata;
    /// Who exports, in debugfs and `/proc/PID/fdinfo`.
    const NAME: &'static CStr;
}

/// Makes a dma-buf of the pages `part` of `object`, that others may write to or only read. `ERANGE` if there
/// are none, or not as many.
pub fn export<M: Exported>(object: Arc<M>, part: Range<usize>, writable: bool) -> Result<NewFile> {
    let descriptor = FileDescriptorReservation::get_unused_fd_flags(bindings::O_CLOEXEC)?;
    let file = file_of(object, part, writable)?;
    Ok(NewFile::made(descriptor, file))
}

/// The file of such a dma-buf, which is what holds it.
fn file_of<M: Exported>(object: Arc<M>, part: Range<usize>, writable: bool) -> Result<ARef<File>> {
    if part.is_empty() || part.end > object.pages().count() {
        return Err(ERANGE);
    }
    let (ops, flags): (&'static bindings::dma_buf_ops, _) = match writable {
        true => (&Operations::<M>::WRITABLE, bindings::O_RDWR),
        false => (&Operations::<M>::READABLE, bindings::O_RDONLY),
    };
    let size = part.len() * PAGE_SIZE;
    // INVARIANT: as checked above.
    let export = Export {
        object,
        part,
        writable,
        mapped: UnsafeCell::new(Mapped::new()),
    };
    let info = bindings::dma_buf_export_info {
        exp_name: M::NAME.as_char_ptr(),
        owner: this_module::<M::Module>().as_ptr(),
        ops,
        size,
        flags: flags as ffi::c_int,
        resv: ptr::null_mut(),
        priv_: KBox::new(export, GFP_KERNEL_ACCOUNT)?.into_foreign().cast(),
    };
    // SAFETY: the operations expect a `KBox` of this type, which is given to the dma-buf.
    let buffer = from_err_ptr(unsafe { bindings::dma_buf_export(&raw const info) });
    let file = buffer.and_then(|buffer| {
        // SAFETY: it is new, and has its file.
        NonNull::new(unsafe { (*buffer).file }).ok_or(ENOMEM)
    });
    let file = file.inspect_err(|_| {
        // SAFETY: there is no dma-buf, so that it is still ours.
        drop(unsafe { <KBox<Export<M>>>::from_foreign(info.priv_.cast()) });
    })?;
    // SAFETY: the reference to the new file, which is that to the dma-buf, is ours. What `fdget_pos` would
    // protect is used by nobody: a dma-buf's file has no position.
    Ok(unsafe { ARef::from_raw(file.cast::<File>()) })
}

/// What is behind a dma-buf.
///
/// # Invariants
///
/// `object` has the pages `part`, which are some.
struct Export<M> {
    object: Arc<M>,
    part: Range<usize>,
    writable: bool,
    /// Used with the reservation lock held.
    mapped: UnsafeCell<Mapped>,
}

/// What a process's mapping shows.
struct Held<M> {
    // Note: the drop order is relevant: the pages before the object that counts them.
    pinned: Pinned,
    object: Arc<M>,
}

impl<M: Mappable> Mappable for Held<M> {
    // A part may begin inside of a block, and addresses are not chosen for large entries.
    const WHOLE: bool = false;

    fn pages(&self) -> &Arc<Pages> {
        self.pinned.pages()
    }

    fn mapped(&self) {
        self.object.mapped();
    }

    fn unmapped(&self) {
        self.object.unmapped();
    }
}

impl<M: Exported> Export<M> {
    /// The pages, and that they stay.
    fn pin(&self) -> Pinned {
        Pages::pin(self.object.pages())
    }

    fn mmap(&self, mut mapping: NewMapping<'_>) -> Result {
        if !mapping.is_shared() {
            return Err(EINVAL);
        }
        if !self.writable {
            mapping.forbid_writing()?;
        }
        let inside = usize::try_from(mapping.offset())? / PAGE_SIZE;
        let first = inside.checked_add(self.part.start).ok_or(ENXIO)?;
        // The core has compared it with the size, too.
        if mapping.len() / PAGE_SIZE > self.part.end.saturating_sub(first) {
            return Err(ENXIO);
        }
        let held = Held {
            object: self.object.clone(),
            pinned: self.pin(),
        };
        mapping.show(Arc::new(held, GFP_KERNEL_ACCOUNT)?, first)
    }
}

/// The operations of dma-bufs of an `M`.
///
/// # Invariants
///
/// In a dma-buf that has these operations, `priv` owns a `KBox<Export<M>>`.
struct Operations<M>(PhantomData<M>);

impl<M: Exported> Operations<M> {
    const WRITABLE: bindings::dma_buf_ops = bindings::dma_buf_ops {
        vmap: Some(Self::vmap),
        vunmap: Some(Self::vunmap),
        ..Self::READABLE
    };

    /// Without `vmap`: the core warns of one that fails, and importers write through it.
    const READABLE: bindings::dma_buf_ops = bindings::dma_buf_ops {
        map_dma_buf: Some(Self::map),
        unmap_dma_buf: Some(Self::unmap),
        begin_cpu_access: Some(Self::begin_cpu_access),
        end_cpu_access: Some(Self::end_cpu_access),
        mmap: Some(Self::mmap),
        release: Some(Self::release),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `buffer` has these operations, and lives for `'a`.
    unsafe fn export<'a>(buffer: *mut bindings::dma_buf) -> &'a Export<M> {
        // SAFETY: by the type invariant it came from `into_foreign`, and goes back in `release`.
        unsafe { <KBox<Export<M>>>::borrow((*buffer).priv_.cast()) }
    }

    /// # Safety
    ///
    /// As of [`Self::export`]; the reservation lock of `buffer` is held for `'a`, and this is called
    /// once for that.
    unsafe fn mapped<'a>(buffer: *mut bindings::dma_buf) -> &'a mut Mapped {
        // SAFETY: as the caller promises; only who holds the lock has a reference.
        unsafe { &mut *Self::export(buffer).mapped.get() }
    }

    /// # Safety
    ///
    /// Called by the core for a dma-buf that has these operations, with its reservation lock held.
    unsafe extern "C" fn map(
        attachment: *mut bindings::dma_buf_attachment,
        direction: bindings::dma_data_direction,
    ) -> *mut bindings::sg_table {
        // SAFETY: an attachment has a device and a dma-buf, which live as long as it.
        let (buffer, device) = unsafe { ((*attachment).dmabuf, (*attachment).dev) };
        // SAFETY: as the caller promises.
        let export = unsafe { Self::export(buffer) };
        // SAFETY: looks at its argument only. How the bindings name directions has changed.
        if !export.writable && unsafe { bindings::dk_dmabuf_writes(direction) } {
            return EACCES.to_ptr();
        }
        // SAFETY: as above.
        let direction = unsafe { bindings::dk_dmabuf_wider(direction) };
        // SAFETY: as the caller promises; an importer unmaps before it detaches.
        unsafe { Self::mapped(buffer).map(export.pin(), &export.part, device, direction) }
            .unwrap_or_else(Error::to_ptr)
    }

    /// # Safety
    ///
    /// As of [`Self::map`], which has returned `table`.
    unsafe extern "C" fn unmap(
        attachment: *mut bindings::dma_buf_attachment,
        table: *mut bindings::sg_table,
        _direction: bindings::dma_data_direction,
    ) {
        // SAFETY: as the caller promises.
        unsafe { Self::mapped((*attachment).dmabuf).unmap(table) };
    }

    /// # Safety
    ///
    /// Called by the core for a dma-buf that has these operations, without its reservation lock.
    unsafe extern "C" fn begin_cpu_access(
        buffer: *mut bindings::dma_buf,
        direction: bindings::dma_data_direction,
    ) -> ffi::c_int {
        // SAFETY: it is alive.
        let ret = unsafe { bindings::dk_dmabuf_lock_idle(buffer, direction) };
        if ret == 0 {
            // SAFETY: it is locked, and alive.
            unsafe {
                Self::mapped(buffer).for_cpu();
                bindings::dk_dmabuf_unlock(buffer);
            }
        }
        ret
    }

    /// # Safety
    ///
    /// As of [`Self::begin_cpu_access`].
    unsafe extern "C" fn end_cpu_access(
        buffer: *mut bindings::dma_buf,
        direction: bindings::dma_data_direction,
    ) -> ffi::c_int {
        // SAFETY: it is alive, and locked in between.
        unsafe {
            bindings::dk_dmabuf_lock(buffer);
            Self::mapped(buffer).for_device(direction);
            bindings::dk_dmabuf_unlock(buffer);
        }
        0
    }

    /// # Safety
    ///
    /// As of [`Self::map`]. There is no mapping for the kernel yet.
    unsafe extern "C" fn vmap(
        buffer: *mut bindings::dma_buf,
        map: *mut bindings::iosys_map,
    ) -> ffi::c_int {
        // SAFETY: as the caller promises.
        let (export, mapped) = unsafe { (Self::export(buffer), Self::mapped(buffer)) };
        match mapped.show(export.pin(), &export.part) {
            Ok(base) => {
                // SAFETY: it is to be written to.
                unsafe { bindings::dk_dmabuf_show(map, base.as_ptr()) };
                0
            }
            Err(error) => error.to_errno(),
        }
    }

    /// # Safety
    ///
    /// As of [`Self::map`]. Nobody in the kernel has the mapping any more: the core counts them.
    unsafe extern "C" fn vunmap(buffer: *mut bindings::dma_buf, _map: *mut bindings::iosys_map) {
        // SAFETY: as the caller promises.
        unsafe { Self::mapped(buffer) }.hide();
    }

    /// # Safety
    ///
    /// Called by the core for a dma-buf that has these operations, with a vma under construction of its
    /// file, whose offsets are those in the dma-buf.
    unsafe extern "C" fn mmap(
        buffer: *mut bindings::dma_buf,
        vma: *mut bindings::vm_area_struct,
    ) -> ffi::c_int {
        // SAFETY: as the caller promises.
        match unsafe { Self::export(buffer).mmap(NewMapping::from_raw(vma)) } {
            Ok(()) => 0,
            Err(error) => error.to_errno(),
        }
    }

    /// # Safety
    ///
    /// Called by the core once for a dma-buf that has these operations.
    unsafe extern "C" fn release(buffer: *mut bindings::dma_buf) {
        // SAFETY: by the type invariant, and nobody uses it after this.
        drop(unsafe { <KBox<Export<M>>>::from_foreign((*buffer).priv_.cast()) });
    }
}
