// SPDX-License-Identifier: GPL-2.0

//! What the mappings of one open file are found by.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)
//!
//! Ownership: an open file holds its [`Space`], as does whoever wants to take pages out of its
//! mappings.
//! Locking: the kernel's own (`i_mmap_rwsem`), which is inside of that of pages.
//! Teardown: the file lets go of it when it is released, and has no mappings any more.

use crate::bindings;
use kernel::{
    container_of,
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

/// The mappings of a file.
#[pin_data]
pub struct Space {
    #[pin]
    inner: Opaque<bindings::address_space>,
}

// SAFETY: the C object is not bound to a task.
unsafe impl Send for Space {}
// SAFETY: all that is done with it takes the locks that it has.
unsafe impl Sync for Space {}

impl Space {
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                inner <- Opaque::ffi_init(|inner| {
                    // SAFETY: memory for one, and pinned.
                    unsafe { bindings::dk_space_init(inner) }
                }),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    pub(super) fn raw(&self) -> *mut bindings::address_space {
        self.inner.get()
    }

    /// Has all mappings of `file` be in it.
    ///
    /// # Safety
    ///
    /// `file` is being opened. [`Self::detach`] is called when it is released.
    pub(crate) unsafe fn attach(this: &Arc<Self>, file: *mut bindings::file) {
        // The file has a reference of its own.
        let space = Arc::into_raw(this.clone());
        // SAFETY: valid by the line above; the file is the caller's to set up.
        unsafe { bindings::dk_space_attach((*space).raw(), file) };
    }

    /// Takes the file's reference back.
    ///
    /// # Safety
    ///
    /// `file` was attached to one, and is being released.
    pub(crate) unsafe fn detach(file: *mut bindings::file) {
        // SAFETY: by the requirement this is what `attach` has put there, inside of a `Self`.
        let space = unsafe {
            let inner = Opaque::cast_from(bindings::dk_space_detach(file));
            container_of!(inner, Self, inner)
        };
        // SAFETY: `attach` has given the reference to the file, which has no use for it any more.
        drop(unsafe { Arc::from_raw(space) });
    }
}
