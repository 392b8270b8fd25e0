// SPDX-License-Identifier: GPL-2.0

//! A device of the driver core, for those who are asked on whose behalf they do something.
//!
//! C header: [`include/linux/device.h`](srctree/include/linux/device.h)
//!
//! Ownership: a [`DeviceRef`] is a reference.
//! Locking: none.
//! Teardown: dropping gives it back. The device may be unregistered by then, but is not freed before.

use crate::bindings;
use core::ptr::NonNull;

/// A reference to a device. That of the kernel crate shows no pointer.
///
/// # Invariants
///
/// It is valid, and a reference to it is ours.
pub struct DeviceRef(NonNull<bindings::device>);

// SAFETY: references may be given back by any thread.
unsafe impl Send for DeviceRef {}
// SAFETY: a shared reference changes nothing but the count, which is atomic.
unsafe impl Sync for DeviceRef {}

impl DeviceRef {
    /// A further reference to a device.
    ///
    /// # Safety
    ///
    /// It is valid.
    pub(crate) unsafe fn new(device: NonNull<bindings::device>) -> Self {
        // SAFETY: as the caller promises.
        unsafe { bindings::get_device(device.as_ptr()) };
        // INVARIANT: counted above.
        Self(device)
    }

    /// The device for C; valid as long as `self`.
    pub(crate) fn as_ptr(&self) -> *mut bindings::device {
        self.0.as_ptr()
    }
}

impl Clone for DeviceRef {
    fn clone(&self) -> Self {
        // SAFETY: valid by the type invariant.
        unsafe { Self::new(self.0) }
    }
}

impl Drop for DeviceRef {
    fn drop(&mut self) {
        // SAFETY: by the type invariant the reference is ours.
        unsafe { bindings::put_device(self.0.as_ptr()) };
    }
}
