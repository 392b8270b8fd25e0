// SPDX-License-Identifier: GPL-2.0

//! A character device whose module cannot be unloaded under an open file.
//!
//! C headers: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h)
//!
//! The kernel crate's `miscdevice` sets no `fops.owner`, has no `poll`, no data shared by all
//! opens and no say over `vm_ops`; this one does.
//!
//! Ownership: the [`Registration`] holds the shared data; each open file holds an `Arc` of its
//! own `T`, and, through `fops.owner`, the module. A mapping holds its file.
//! Locking: none; every callback takes `&T`.
//! Teardown: `release` runs when the last file descriptor, mapping and running call are gone.
//! Dropping the registration removes the node; no file is open then, as the registration lives
//! in the module, which the files hold.

use crate::{
    bindings,
    device::DeviceRef,
    mm::{
        map::NewMapping,
        space::Space, //
    }, //
};
use core::{
    marker::PhantomPinned,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    ffi,
    fs::File,
    prelude::*,
    seq_file::SeqFile,
    sync::{
        poll::PollTable,
        Arc,
        ArcBorrow, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};

/// What `poll` reports.
#[derive(Clone, Copy, Default)]
pub struct Events {
    /// There is something to read (`EPOLLIN`).
    pub readable: bool,
    /// The file is broken (`EPOLLERR`).
    pub error: bool,
    /// What the file was for is gone (`EPOLLHUP`).
    pub ended: bool,
}

impl Events {
    pub(crate) fn mask(self) -> bindings::__poll_t {
        let mut mask = 0;
        if self.readable {
            mask |= bindings::POLLIN | bindings::POLLRDNORM;
        }
        if self.error {
            mask |= bindings::POLLERR;
        }
        if self.ended {
            mask |= bindings::POLLHUP;
        }
        mask as bindings::__poll_t
    }
}

/// The state behind one open file.
pub trait CharDevice: Sized + Send + Sync + 'static {
    /// Data shared by all opens.
    type Shared: Send + Sync + 'static;

    /// The device, `node`, is opened. Mappings of the file are in `space`.
    fn open(shared: &Arc<Self::Shared>, node: DeviceRef, space: Arc<Space>) -> Result<Arc<Self>>;
    /// The last reference to the file is gone.
    fn release(this: Arc<Self>);
    /// A command on `file`; `arg` is as user space passed it.
    fn ioctl(this: ArcBorrow<'_, Self>, file: &File, command: u32, arg: usize) -> Result<isize>;
    /// Readiness now; registers the caller for changes.
    fn poll(&self, file: &File, table: &PollTable<'_>) -> Events;
    /// Somebody reads the file's lines in `/proc/PID/fdinfo`.
    fn show_fdinfo(&self, seq: &SeqFile);
    /// A mapping is made.
    fn mmap(&self, mapping: NewMapping<'_>) -> Result;
}

/// A registered character device.
///
/// # Invariants
///
/// `misc` is registered, its `fops` is `fops` of the same pinned object.
#[pin_data(PinnedDrop)]
pub struct Registration<T: CharDevice> {
    #[pin]
    misc: Opaque<bindings::miscdevice>,
    #[pin]
    fops: Opaque<bindings::file_operations>,
    shared: Arc<T::Shared>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: registering and deregistering may happen in different tasks.
unsafe impl<T: CharDevice> Send for Registration<T> {}
// SAFETY: there are no `&self` methods; the callbacks only read `shared`.
unsafe impl<T: CharDevice> Sync for Registration<T> {}

impl<T: CharDevice> Registration<T> {
    /// Makes `/dev/<name>`. The last step of a module's initialisation: from here on files can
    /// be opened.
    pub fn new(
        name: &'static CStr,
        module: &'static ThisModule,
        shared: Arc<T::Shared>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(&this in Self {
            fops <- Opaque::ffi_init(move |slot: *mut bindings::file_operations| {
                // SAFETY: the initialiser may write to its slot.
                unsafe { slot.write(Self::operations(module)) };
            }),
            shared,
            misc <- Opaque::try_ffi_init(move |slot: *mut bindings::miscdevice| {
                // SAFETY: `this` points to the object being initialised, whose `fops` is.
                let fops = unsafe { Opaque::cast_into(&raw const (*this.as_ptr()).fops) };
                // SAFETY: the initialiser may write to its slot; `fops` and `shared` of the
                // same pinned object are initialised and outlive the registration.
                unsafe {
                    slot.write(bindings::miscdevice {
                        minor: bindings::MISC_DYNAMIC_MINOR as ffi::c_int,
                        name: name.as_char_ptr(),
                        fops,
                        ..pin_init::zeroed()
                    });
                    to_result(bindings::misc_register(slot))
                }
            }),
            _pin: PhantomPinned,
        })
    }

    fn node(&self) -> Result<DeviceRef> {
        // SAFETY: by the type invariant it is registered, and has a device.
        let device = NonNull::new(unsafe { (*self.misc.get()).this_device }).ok_or(ENODEV)?;
        // SAFETY: valid, as above.
        Ok(unsafe { DeviceRef::new(device) })
    }

    fn operations(module: &'static ThisModule) -> bindings::file_operations {
        bindings::file_operations {
            owner: module.as_ptr(),
            open: Some(Self::open),
            release: Some(Self::release),
            unlocked_ioctl: Some(Self::ioctl),
            compat_ioctl: bindings::compat_ptr_ioctl,
            poll: Some(Self::poll),
            mmap: Some(Self::mmap),
            get_unmapped_area: Some(bindings::dk_get_unmapped_area),
            show_fdinfo: Some(Self::show_fdinfo),
            llseek: Some(bindings::noop_llseek),
            ..pin_init::zeroed()
        }
    }

    /// # Safety
    ///
    /// Called by `misc_open`: `file.private_data` is our `miscdevice`.
    unsafe extern "C" fn open(
        inode: *mut bindings::inode,
        file: *mut bindings::file,
    ) -> ffi::c_int {
        // SAFETY: `inode` and `file` are valid for the call.
        let ret = unsafe { bindings::nonseekable_open(inode, file) };
        if ret != 0 {
            return ret;
        }
        // SAFETY: `misc_open` has put the registered `miscdevice` there, which is embedded in a
        // `Self` by the type invariant; it is alive since the module is.
        let this = unsafe {
            let misc = Opaque::cast_from((*file).private_data.cast::<bindings::miscdevice>());
            &*kernel::container_of!(misc, Self, misc)
        };
        let opened = Space::new().and_then(|space| {
            let state = T::open(&this.shared, this.node()?, space.clone())?;
            Ok((state, space))
        });
        match opened {
            Ok((state, space)) => {
                // SAFETY: the file is being opened, and `release` detaches it.
                unsafe { Space::attach(&space, file) };
                // SAFETY: the file is ours to set up.
                unsafe { (*file).private_data = state.into_foreign().cast() };
                0
            }
            Err(error) => error.to_errno(),
        }
    }

    /// # Safety
    ///
    /// Called by the kernel once for each successful `open`.
    unsafe extern "C" fn release(
        _inode: *mut bindings::inode,
        file: *mut bindings::file,
    ) -> ffi::c_int {
        // SAFETY: `open` has put an `Arc<T>` there, and nobody uses it after this.
        T::release(unsafe { <Arc<T>>::from_foreign((*file).private_data.cast()) });
        // SAFETY: `open` has attached it.
        unsafe { Space::detach(file) };
        0
    }

    /// # Safety
    ///
    /// Called by the kernel on an open file of ours.
    unsafe extern "C" fn ioctl(
        file: *mut bindings::file,
        command: ffi::c_uint,
        arg: ffi::c_ulong,
    ) -> ffi::c_long {
        // SAFETY: `open` has put an `Arc<T>` there, which lives until `release`.
        let this = unsafe { <Arc<T>>::borrow((*file).private_data.cast()) };
        // SAFETY: the file is open for this call, and not in an `fdget_pos` section.
        let file = unsafe { File::from_raw_file(file) };
        match T::ioctl(this, file, command, arg) {
            Ok(value) => value as ffi::c_long,
            Err(error) => error.to_errno() as ffi::c_long,
        }
    }

    /// # Safety
    ///
    /// Called by the kernel on an open file of ours.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: `open` has put an `Arc<T>` there, which lives until `release`.
        let this = unsafe { <Arc<T>>::borrow((*file).private_data.cast()) };
        // SAFETY: the table is null or valid for this call.
        let table = unsafe { PollTable::from_raw(table) };
        // SAFETY: the file is open for this call, and not in an `fdget_pos` section of ours.
        this.poll(unsafe { File::from_raw_file(file) }, &table)
            .mask()
    }

    /// # Safety
    ///
    /// Called by the kernel on an open file of ours.
    unsafe extern "C" fn show_fdinfo(seq: *mut bindings::seq_file, file: *mut bindings::file) {
        // SAFETY: `open` has put an `Arc<T>` there, which lives until `release`.
        let this = unsafe { <Arc<T>>::borrow((*file).private_data.cast()) };
        // SAFETY: valid for the time of the call, and nobody else's meanwhile.
        this.show_fdinfo(unsafe { SeqFile::from_raw(seq) });
    }

    /// # Safety
    ///
    /// Called by the kernel on an open file of ours with a vma under construction.
    unsafe extern "C" fn mmap(
        file: *mut bindings::file,
        vma: *mut bindings::vm_area_struct,
    ) -> ffi::c_int {
        // SAFETY: `open` has put an `Arc<T>` there, which lives until `release`.
        let this = unsafe { <Arc<T>>::borrow((*file).private_data.cast()) };
        // SAFETY: `vma` is the argument of this call.
        let mapping = unsafe { NewMapping::from_raw(vma) };
        match this.mmap(mapping) {
            Ok(()) => 0,
            Err(error) => error.to_errno(),
        }
    }
}

#[pinned_drop]
impl<T: CharDevice> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: by the type invariant the device is registered; this happens once.
        unsafe { bindings::misc_deregister(self.misc.get()) };
    }
}
