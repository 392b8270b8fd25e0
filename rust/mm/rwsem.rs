// SPDX-License-Identifier: GPL-2.0

//! A lock that many may have for reading.
//!
//! C header: [`include/linux/rwsem.h`](srctree/include/linux/rwsem.h)
//!
//! Ownership: the lock owns what it protects.
//! Locking: who wants to write is waited for by those who want to read after it. So nobody may take a
//! lock for reading that it has; two different ones are taken by [`RwSem::read_two`].
//! Teardown: none; guards borrow the lock.

use crate::bindings;
use core::{
    cell::UnsafeCell,
    ops::{
        Deref,
        DerefMut, //
    }, //
};
use kernel::{
    prelude::*,
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};

/// A value, and the lock that protects it.
#[pin_data]
pub(crate) struct RwSem<T> {
    #[pin]
    sem: Opaque<bindings::rw_semaphore>,
    value: UnsafeCell<T>,
}

// SAFETY: the C object is not bound to a task.
unsafe impl<T: Send> Send for RwSem<T> {}
// SAFETY: references to the value are handed out as the lock allows.
unsafe impl<T: Send + Sync> Sync for RwSem<T> {}

impl<T> RwSem<T> {
    pub(crate) fn new(value: T) -> impl PinInit<Self> {
        pin_init!(Self {
            sem <- Opaque::ffi_init(|sem| {
                // SAFETY: memory for one, and pinned.
                unsafe { bindings::dk_rwsem_init(sem) }
            }),
            value: UnsafeCell::new(value),
        })
    }

    pub(crate) fn read(&self) -> Read<'_, T> {
        // SAFETY: initialised; the caller may sleep.
        unsafe { bindings::down_read(self.sem.get()) };
        Read(self, NotThreadSafe)
    }

    /// `EINTR` if the caller is killed while it waits.
    pub(crate) fn read_killable(&self) -> Result<Read<'_, T>> {
        // SAFETY: initialised; the caller may sleep.
        match unsafe { bindings::down_read_killable(self.sem.get()) } {
            0 => Ok(Read(self, NotThreadSafe)),
            _ => Err(EINTR),
        }
    }

    /// Both, in the order of their addresses; the second is `None` if they are the same.
    pub(crate) fn read_two<'a>(
        one: &'a Self,
        other: &'a Self,
    ) -> (Read<'a, T>, Option<Read<'a, T>>) {
        if core::ptr::eq(one, other) {
            return (one.read(), None);
        }
        let (one_first, second) = match core::ptr::from_ref(one) < core::ptr::from_ref(other) {
            true => (true, other),
            false => (false, one),
        };
        let first = if one_first { one } else { other }.read();
        // SAFETY: initialised; the caller may sleep. All take the two in the same order.
        unsafe { bindings::dk_down_read_second(second.sem.get()) };
        let second = Read(second, NotThreadSafe);
        match one_first {
            true => (first, Some(second)),
            false => (second, Some(first)),
        }
    }

    pub(crate) fn write(&self) -> Write<'_, T> {
        // SAFETY: initialised; the caller may sleep.
        unsafe { bindings::down_write(self.sem.get()) };
        Write(self, NotThreadSafe)
    }

    /// The value, for who knows by other means that nobody writes to it.
    pub(crate) fn as_ptr(&self) -> *const T {
        self.value.get()
    }
}

/// The value, which nobody changes meanwhile.
pub(crate) struct Read<'a, T>(&'a RwSem<T>, NotThreadSafe);

impl<T> Deref for Read<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: while there is a guard for reading there is none for writing.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> Drop for Read<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the guard's task has it for reading.
        unsafe { bindings::up_read(self.0.sem.get()) };
    }
}

/// The value, which nobody else looks at meanwhile.
pub(crate) struct Write<'a, T>(&'a RwSem<T>, NotThreadSafe);

impl<T> Deref for Write<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: while there is a guard for writing there is no other.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Write<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Write<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the guard's task has it for writing.
        unsafe { bindings::up_write(self.0.sem.get()) };
    }
}
