// SPDX-License-Identifier: GPL-2.0

//! A text file in debugfs that keeps the module while it is open.
//!
//! C headers: [`include/linux/debugfs.h`](srctree/include/linux/debugfs.h),
//! [`include/linux/seq_file.h`](srctree/include/linux/seq_file.h)
//!
//! The kernel crate's files have no owner, so that closing one after its module was unloaded calls
//! into what was freed.
//!
//! Ownership: [`TextFile`] owns the directory, the file and what it shows.
//! Locking: none; showing takes `&T`.
//! Teardown: dropping removes both, which waits for readers, then drops what they showed.

use crate::bindings;
use core::{
    ffi::c_void,
    marker::PhantomData,
    pin::Pin,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    error::from_err_ptr,
    ffi,
    fmt,
    prelude::*,
    seq_file::SeqFile, //
};

/// A directory with one file.
///
/// # Invariants
///
/// `dir` was made by us, and its file's private data is `shown`, whose `text` is `source`.
pub struct TextFile<T: fmt::Display + Send + Sync + 'static> {
    dir: Option<NonNull<bindings::dentry>>,
    _shown: Pin<KBox<bindings::dk_text>>,
    _source: Pin<KBox<T>>,
    _t: PhantomData<T>,
}

// SAFETY: a dentry is not bound to a task.
unsafe impl<T: fmt::Display + Send + Sync + 'static> Send for TextFile<T> {}
// SAFETY: there are no methods.
unsafe impl<T: fmt::Display + Send + Sync + 'static> Sync for TextFile<T> {}

impl<T: fmt::Display + Send + Sync + 'static> TextFile<T> {
    /// Makes `/sys/kernel/debug/<dir>/<file>`, which shows `source`. Without debugfs it does
    /// nothing.
    pub fn new(dir: &CStr, file: &CStr, source: T) -> Result<Self> {
        let source = KBox::pin(source, GFP_KERNEL)?;
        let text = ptr::from_ref::<T>(&source).cast_mut().cast();
        let shown = KBox::pin(
            bindings::dk_text {
                show: Some(Self::show),
                text,
            },
            GFP_KERNEL,
        )?;
        let data = ptr::from_ref::<bindings::dk_text>(&shown).cast_mut();
        // SAFETY: the names are copied; `shown` stays until the file is removed.
        let dir = from_err_ptr(unsafe {
            bindings::dk_debugfs_text(dir.as_char_ptr(), file.as_char_ptr(), data)
        });
        // INVARIANT: made above, or there is none.
        Ok(Self {
            dir: dir.ok().and_then(NonNull::new),
            _shown: shown,
            _source: source,
            _t: PhantomData,
        })
    }

    /// # Safety
    ///
    /// Called by a reader of the file.
    unsafe extern "C" fn show(seq: *mut bindings::seq_file, text: *mut c_void) -> ffi::c_int {
        // SAFETY: by the type invariant `text` is `source`, and removal waits for readers.
        let source = unsafe { &*text.cast::<T>() };
        // SAFETY: valid for the time of the call.
        let seq = unsafe { SeqFile::from_raw(seq) };
        kernel::seq_print!(seq, "{source}");
        0
    }
}

impl<T: fmt::Display + Send + Sync + 'static> Drop for TextFile<T> {
    fn drop(&mut self) {
        if let Some(dir) = self.dir {
            // SAFETY: ours by the invariant. Waits for readers.
            unsafe { bindings::dk_debugfs_remove(dir.as_ptr()) };
        }
    }
}
