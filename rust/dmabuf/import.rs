// SPDX-License-Identifier: GPL-2.0

//! dma-bufs of others: their memory, where the kernel sees it.
//!
//! C headers: [`include/linux/dma-buf.h`](srctree/include/linux/dma-buf.h),
//! [`include/linux/iosys-map.h`](srctree/include/linux/iosys-map.h)
//!
//! The exporter is asked to show the memory to the kernel (`vmap`), and what is behind the addresses must be
//! ordinary pages. It has them pinned meanwhile, so that it need not tell when they move.
//!
//! Ownership: a [`Foreign`] holds the dma-buf. A [`Shown`] has it attached, pinned and mapped as well, and holds
//! the device that it is attached for.
//! Locking: the dma-buf's reservation lock, in between. Nothing that exporters could call is locked then.
//! Teardown: dropping, in process context, since exporters sleep: mapping, pin, attachment, dma-buf, device.

#[cfg(all(dmaplane_test, CONFIG_KUNIT = "y"))]
mod tests;

use crate::{
    bindings,
    device::DeviceRef,
    errno::{
        ENOSYS,
        EOPNOTSUPP, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    module::this_module,
    page::PAGE_SIZE,
    prelude::*,
    ModuleMetadata, //
};

/// A dma-buf.
///
/// # Invariants
///
/// It is valid, and a reference to it is ours.
pub struct Foreign(NonNull<bindings::dma_buf>);

// SAFETY: the reference may be given back by any thread.
unsafe impl Send for Foreign {}
// SAFETY: what is read of it does not change.
unsafe impl Sync for Foreign {}

impl Foreign {
    /// That of a descriptor of the calling program. `EBADF` if it is closed, `EINVAL` if it is of
    /// something else.
    pub fn from_descriptor(fd: i32) -> Result<Self> {
        // SAFETY: takes any number, and looks it up among the caller's descriptors.
        let buffer = from_err_ptr(unsafe { bindings::dma_buf_get(fd) });
        // INVARIANT: the reference that it returned is ours now.
        Ok(Self(NonNull::new(buffer?).ok_or(EINVAL)?))
    }

    /// Whether this module is its exporter.
    pub fn is_of<M: ModuleMetadata>(&self) -> bool {
        // SAFETY: valid by the type invariant, and it never has another owner.
        let owner = unsafe { (*self.0.as_ptr()).owner };
        core::ptr::eq(owner, this_module::<M>().as_ptr())
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        // SAFETY: valid by the type invariant, and its size never changes.
        unsafe { (*self.0.as_ptr()).size as u64 }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether who has this descriptor may read it.
    pub fn is_readable(&self) -> bool {
        // SAFETY: valid by the type invariant.
        unsafe { bindings::dk_dmabuf_readable(self.0.as_ptr()) }
    }

    /// Whether who has this descriptor may write to it.
    pub fn is_writable(&self) -> bool {
        // SAFETY: valid by the type invariant.
        unsafe { bindings::dk_dmabuf_writable(self.0.as_ptr()) }
    }

    /// Has it shown to the kernel, for `device`. `EOPNOTSUPP` if the exporter does not do so, or not for those
    /// who cannot be told to let go of it; `ENOMEM`, `EINTR`, and `EIO` if it fails otherwise.
    pub fn show(self, device: &DeviceRef) -> Result<Shown> {
        let mut import = bindings::dk_import {
            buf: self.0.as_ptr(),
            ..Default::default()
        };
        // SAFETY: the dma-buf is valid by the type invariant, and the device by that of its type.
        let done = to_result(unsafe { bindings::dk_import_begin(&mut import, device.as_ptr()) });
        done.map_err(known)?;
        // INVARIANT: just begun.
        Ok(Shown {
            import,
            foreign: self,
            _device: device.clone(),
        })
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // SAFETY: by the type invariant the reference is ours; it is not used after this.
        unsafe { bindings::dma_buf_put(self.0.as_ptr()) };
    }
}

/// What an exporter says may be anything: errors that the kernel keeps to itself, too.
fn known(error: Error) -> Error {
    match error {
        ENOMEM | EINTR => error,
        ERESTARTSYS => EINTR,
        _ if error == EOPNOTSUPP || error == ENOSYS => EOPNOTSUPP.into(),
        _ => EIO,
    }
}

/// One that the kernel sees.
///
/// # Invariants
///
/// `import` was begun with the dma-buf of `foreign`, for the device, and has not ended.
pub struct Shown {
    import: bindings::dk_import,
    // Note: the drop order is relevant: what it ends with needs both.
    foreign: Foreign,
    _device: DeviceRef,
}

// SAFETY: neither mapping nor attachment is bound to a task.
unsafe impl Send for Shown {}
// SAFETY: immutable.
unsafe impl Sync for Shown {}

impl Shown {
    /// Whole pages in it.
    pub(crate) fn count(&self) -> Result<usize> {
        Ok(usize::try_from(self.foreign.len())? / PAGE_SIZE)
    }

    /// The pages from `first` on. `EOPNOTSUPP` if they are not all ordinary memory.
    pub(crate) fn pages(&self, first: usize, to: &mut [*mut bindings::page]) -> Result {
        let count = self.count()?;
        match first.checked_add(to.len()) {
            Some(end) if end <= count => {}
            _ => return Err(ERANGE),
        }
        // SAFETY: by the type invariant the mapping is there, of all of the dma-buf; there is room for as many.
        match unsafe { bindings::dk_import_pages(&self.import, first, to.len(), to.as_mut_ptr()) } {
            true => Ok(()),
            false => Err(EOPNOTSUPP.into()),
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // SAFETY: by the type invariant; this happens once.
        unsafe { bindings::dk_import_end(&mut self.import) };
    }
}
