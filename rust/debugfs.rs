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

#[cfg(dmaplane_test)]
#[kunit_tests(dmakit_debugfs)]
mod tests {
    use super::*;
    use kernel::{
        fmt::Display,
        sync::{
            atomic::{
                ordering::Relaxed,
                Atomic, //
            },
            Arc, //
        },
        types::Opaque, //
    };

    /// Shows a number that changes.
    struct Number(Arc<Atomic<u32>>);

    impl Display for Number {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "the number is {}", self.0.load(Relaxed))
        }
    }

    fn number(value: u32) -> Result<Arc<Atomic<u32>>> {
        Ok(Arc::new(Atomic::new(value), GFP_KERNEL)?)
    }

    fn is_there(dir: &CStr) -> bool {
        // SAFETY: the name is a C string, and without a parent it is looked up at the top.
        let dentry = unsafe { bindings::debugfs_lookup(dir.as_char_ptr(), ptr::null_mut()) };
        if dentry.is_null() {
            return false;
        }
        // SAFETY: the lookup returned a reference, which is ours.
        unsafe { bindings::dput(dentry) };
        true
    }

    /// Reads as a reader of the file does, into `buffer`; returns the bytes read.
    fn read<'a>(file: &TextFile<Number>, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
        let seq = Opaque::new(bindings::seq_file {
            buf: buffer.as_mut_ptr().cast(),
            size: buffer.len(),
            ..Default::default()
        });
        let show = file._shown.show.ok_or(EINVAL)?;
        // SAFETY: `seq` has a buffer, and `text` is what the file shows as long as it lives.
        let status = unsafe { show(seq.get(), file._shown.text) };
        kernel::error::to_result(status)?;
        // SAFETY: initialised above, and nobody else has it.
        let count = unsafe { (*seq.get()).count };
        buffer.get(..count).ok_or(ERANGE)
    }

    #[test]
    fn shows_its_source_as_it_is_now() -> Result {
        let shared = number(1)?;
        let file = TextFile::new(c"dmakit-kunit", c"number", Number(shared.clone()))?;
        let mut buffer = [0; 64];
        assert_eq!(read(&file, &mut buffer)?, b"the number is 1");
        shared.store(4_000_000_000, Relaxed);
        assert_eq!(read(&file, &mut buffer)?, b"the number is 4000000000");
        Ok(())
    }

    #[test]
    fn there_until_it_is_dropped() -> Result {
        let shared = number(1)?;
        assert!(!is_there(c"dmakit-kunit"));
        let file = TextFile::new(c"dmakit-kunit", c"number", Number(shared.clone()))?;
        assert!(is_there(c"dmakit-kunit"));
        drop(file);
        assert!(!is_there(c"dmakit-kunit"));
        // And so is what it showed.
        assert!(Arc::into_unique_or_drop(shared).is_some());
        Ok(())
    }

    #[test]
    fn a_name_that_is_taken_stays_with_its_owner() -> Result {
        let first = TextFile::new(c"dmakit-kunit", c"number", Number(number(1)?))?;
        let second = TextFile::new(c"dmakit-kunit", c"number", Number(number(2)?))?;
        assert!(second.dir.is_none());
        drop(second);
        assert!(is_there(c"dmakit-kunit"));
        drop(first);
        assert!(!is_there(c"dmakit-kunit"));
        Ok(())
    }
}
