// SPDX-License-Identifier: GPL-2.0

//! Files without a name, which commands make for objects.
//!
//! C headers: [`include/linux/anon_inodes.h`](srctree/include/linux/anon_inodes.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h)
//!
//! Ownership: the file owns its `T`, and, through `fops.owner`, the module. A mapping holds its
//! file, and so does a command of io_uring that is not complete.
//! Locking: none; every callback takes `&T`.
//! Teardown: `release` drops the `T` when the last file descriptor, mapping and running call are
//! gone.

use crate::{
    bindings,
    chardev::Events,
    mm::map::NewMapping,
    uring::{
        self,
        Issue,
        Issued,
        Key, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    error::from_err_ptr,
    ffi,
    fs::{
        file::{
            FileDescriptorReservation,
            LocalFile, //
        },
        File, //
    },
    module::this_module,
    prelude::*,
    sync::{
        aref::ARef,
        poll::PollTable, //
    },
    types::ForeignOwnable,
    ModuleMetadata, //
};

/// The state behind such a file.
pub trait AnonFile: Sized + Send + Sync + 'static {
    /// The module that this code is in.
    type Module: ModuleMetadata;
    /// Name of the kind of file, in `/proc/PID/fd`.
    const NAME: &'static CStr;

    /// What can be done with it: a static of its own, by which such a file is known.
    fn operations() -> &'static Operations<Self>;
}

/// A file that more can be done with than to pass it on.
pub trait Calls: AnonFile {
    /// `lseek(2)`, the cheapest call that a file can take.
    fn seek(&self, offset: i64, whence: i32) -> Result<u32>;
    /// Readiness now; registers the caller for changes.
    fn poll(&self, file: &File, table: &PollTable<'_>) -> Events;
    /// A mapping is made.
    fn mmap(&self, mapping: NewMapping<'_>) -> Result;
    /// io_uring issues a command.
    fn command<'a>(&self, issue: Issue<'a>) -> Issued<'a>;
    /// io_uring wants a command to end that was kept, and asks until it has; whether there was one.
    fn revoke(&self, key: &Key) -> bool;
}

/// A file and a descriptor for it, which are not connected yet.
pub struct NewFile {
    descriptor: FileDescriptorReservation,
    file: ARef<File>,
}

impl NewFile {
    /// Makes a file. Its descriptor will be closed on `exec`.
    pub fn new<T: AnonFile>(state: KBox<T>) -> Result<Self> {
        let flags = bindings::O_RDWR | bindings::O_CLOEXEC;
        let descriptor = FileDescriptorReservation::get_unused_fd_flags(flags)?;
        let operations: &'static bindings::file_operations = &T::operations().table;
        let state = state.into_foreign();
        // With an inode of its own, so that security modules see it, as io_uring's has.
        // SAFETY: the operations expect a `KBox<T>` that the file owns, which is given to it; there
        // need not be another inode to take the security of.
        let file = from_err_ptr(unsafe {
            bindings::anon_inode_create_getfile(
                T::NAME.as_char_ptr(),
                operations,
                state.cast(),
                flags as ffi::c_int,
                ptr::null(),
            )
        });
        let file = file.and_then(|file| NonNull::new(file).ok_or(ENOMEM));
        let file = file.inspect_err(|_| {
            // SAFETY: there is no file, so that it is still ours.
            drop(unsafe { <KBox<T>>::from_foreign(state) });
        })?;
        // SAFETY: the reference to the new file is ours. What `fdget_pos` would protect is used by
        // nobody, by the invariant of `Operations`.
        let file = unsafe { ARef::from_raw(file.cast::<File>()) };
        Ok(Self { descriptor, file })
    }

    /// One that was made elsewhere.
    pub(crate) fn made(descriptor: FileDescriptorReservation, file: ARef<File>) -> Self {
        Self { descriptor, file }
    }

    /// The descriptor.
    pub fn descriptor(&self) -> u32 {
        self.descriptor.reserved_fd()
    }

    /// From here on the program can use the descriptor.
    pub fn install(self) {
        self.descriptor.fd_install(self.file);
    }
}

/// Looks at the state behind a descriptor of the calling program. `EBADF` if it is closed, `EINVAL` if the file is
/// another kind of file.
pub fn look<T: AnonFile, R>(fd: i32, look: impl FnOnce(&T) -> R) -> Result<R> {
    let file = LocalFile::fget(u32::try_from(fd).map_err(|_| EBADF)?)?;
    // SAFETY: the file is there, and its operations never change.
    let operations = unsafe { (*file.as_ptr()).f_op };
    if !ptr::eq(operations, &T::operations().table) {
        return Err(EINVAL);
    }
    // SAFETY: it has these operations, which no other type has, and lives for as long as `file` does.
    Ok(look(unsafe { Operations::<T>::state(file.as_ptr()) }))
}

/// The operations of files with a `T`.
///
/// # Invariants
///
/// In a file that has these operations, `private_data` owns a `KBox<T>`. None of them uses the
/// position (`f_pos`), which a call of `lseek` on the file may be holding without its lock.
pub struct Operations<T> {
    table: bindings::file_operations,
    _state: PhantomData<fn(T)>,
}

// SAFETY: it is never changed, and the callbacks may be called by any thread.
unsafe impl<T> Sync for Operations<T> {}

// So that a reference to one which lives for ever is to a static, whose address is its own: a constant could be
// promoted to one, and that be merged with one of another type which has the same bytes.
impl<T> Drop for Operations<T> {
    fn drop(&mut self) {}
}

impl<T: AnonFile> Operations<T> {
    /// It can be passed on, and closed.
    pub const NONE: Self = Self {
        table: bindings::file_operations {
            owner: this_module::<T::Module>().as_ptr(),
            release: Some(Self::release),
            ..pin_init::zeroed()
        },
        _state: PhantomData,
    };

    /// # Safety
    ///
    /// `file` has these operations, and lives for `'a`.
    unsafe fn state<'a>(file: *mut bindings::file) -> &'a T {
        // SAFETY: by the type invariant, until `release`.
        unsafe { <KBox<T>>::borrow((*file).private_data.cast()) }
    }

    /// # Safety
    ///
    /// Called by the kernel once on a file that has these operations.
    unsafe extern "C" fn release(
        _inode: *mut bindings::inode,
        file: *mut bindings::file,
    ) -> ffi::c_int {
        // SAFETY: by the type invariant, and nobody uses it after this.
        drop(unsafe { <KBox<T>>::from_foreign((*file).private_data.cast()) });
        0
    }
}

impl<T: Calls> Operations<T> {
    /// All of [`Calls`].
    pub const CALLS: Self = Self {
        table: bindings::file_operations {
            owner: this_module::<T::Module>().as_ptr(),
            release: Some(Self::release),
            llseek: Some(Self::llseek),
            poll: Some(Self::poll),
            mmap: Some(Self::mmap),
            uring_cmd: Some(Self::uring_cmd),
            ..pin_init::zeroed()
        },
        _state: PhantomData,
    };

    /// # Safety
    ///
    /// Called by the kernel on a file that has these operations.
    unsafe extern "C" fn llseek(
        file: *mut bindings::file,
        offset: bindings::loff_t,
        whence: ffi::c_int,
    ) -> bindings::loff_t {
        // SAFETY: as the caller promises.
        match unsafe { Self::state(file) }.seek(offset, whence) {
            Ok(value) => value.into(),
            Err(error) => error.to_errno().into(),
        }
    }

    /// # Safety
    ///
    /// Called by the kernel on a file that has these operations.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: as the caller promises; the table is null or valid for this call, and by the type
        // invariant what `fdget_pos` protects is used by nobody.
        unsafe {
            let table = PollTable::from_raw(table);
            let events = Self::state(file).poll(File::from_raw_file(file), &table);
            events.mask()
        }
    }

    /// # Safety
    ///
    /// Called by the kernel on a file that has these operations, with a vma under construction.
    unsafe extern "C" fn mmap(
        file: *mut bindings::file,
        vma: *mut bindings::vm_area_struct,
    ) -> ffi::c_int {
        // SAFETY: as the caller promises.
        match unsafe { Self::state(file).mmap(NewMapping::from_raw(vma)) } {
            Ok(()) => 0,
            Err(error) => error.to_errno(),
        }
    }

    /// # Safety
    ///
    /// Called by io_uring for a command to a file that has these operations.
    unsafe extern "C" fn uring_cmd(
        cmd: *mut bindings::io_uring_cmd,
        flags: ffi::c_uint,
    ) -> ffi::c_int {
        let Some(cmd) = NonNull::new(cmd) else {
            return EINVAL.to_errno();
        };
        // SAFETY: as the caller promises. The command keeps its file, and is there until this call has
        // returned, even if it is complete before: whoever frees it needs the lock that is held, or,
        // for io-wq, its reference.
        let state = unsafe { Self::state(uring::file_of(cmd)) };
        if uring::is_cancel(flags) {
            // SAFETY: io_uring asks for the end of what was marked when it was kept.
            let key = unsafe { Key::from_raw(cmd) };
            if !state.revoke(&key) {
                key.in_vain();
            }
            return 0;
        }
        // SAFETY: it is issued, in this call.
        state.command(unsafe { Issue::from_raw(cmd, flags) }).code()
    }
}
