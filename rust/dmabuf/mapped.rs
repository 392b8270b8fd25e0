// SPDX-License-Identifier: GPL-2.0

//! What devices and the kernel have mapped of a dma-buf.
//!
//! C headers: [`include/linux/dma-mapping.h`](srctree/include/linux/dma-mapping.h),
//! [`include/linux/scatterlist.h`](srctree/include/linux/scatterlist.h)
//!
//! Ownership: each mapping has a [`Pinned`] of its own. A device's is with its importer.
//! Locking: the dma-buf's reservation lock, by whoever has a reference to [`Mapped`].
//! Teardown: importers give back what they have. What one has forgotten stays for ever, with its pages: a
//! device may be using it.

use crate::{
    bindings,
    mm::pages::Pinned, //
};
use core::{
    ops::Range,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    container_of,
    error::to_result,
    ffi,
    prelude::*,
    types::Opaque, //
};

/// Who has the pages mapped, processes aside.
///
/// # Invariants
///
/// `tables` are those that were given to importers and have not come back, each a [`KBox`] that was leaked.
pub(super) struct Mapped {
    tables: KVec<NonNull<Table>>,
    window: Option<Window>,
}

/// A mapping for a device.
///
/// # Invariants
///
/// `table` is mapped for `device` in `direction`, and consists of pages of `_pinned`.
struct Table {
    table: Opaque<bindings::sg_table>,
    device: *mut bindings::device,
    direction: bindings::dma_data_direction,
    _pinned: Pinned,
}

/// A mapping for the kernel.
///
/// # Invariants
///
/// `base` is one of pages of `_pinned` that `vmap` has made, and lives as long as `self`.
struct Window {
    base: NonNull<ffi::c_void>,
    _pinned: Pinned,
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: by the type invariant; it is unmapped only here.
        unsafe { bindings::dk_vunmap(self.base.as_ptr()) };
    }
}

/// The array of the pages `part`, and how many they are.
fn list(pinned: &Pinned, part: &Range<usize>) -> Result<(*mut *mut bindings::page, u32)> {
    let list = pinned.as_ptrs().get(part.clone()).ok_or(ERANGE)?;
    Ok((list.as_ptr().cast_mut(), u32::try_from(list.len())?))
}

impl Mapped {
    pub(super) const fn new() -> Self {
        // INVARIANT: there are none.
        Self {
            tables: KVec::new(),
            window: None,
        }
    }

    /// Maps the pages `part` for a device. `EOPNOTSUPP` if it is none that does DMA.
    ///
    /// # Safety
    ///
    /// `device` is there until `unmap` was called for what this returns.
    pub(super) unsafe fn map(
        &mut self,
        pinned: Pinned,
        part: &Range<usize>,
        device: *mut bindings::device,
        direction: bindings::dma_data_direction,
    ) -> Result<*mut bindings::sg_table> {
        let (pages, count) = list(&pinned, part)?;
        self.tables.reserve(1, GFP_KERNEL_ACCOUNT)?;
        let table = Table {
            table: Opaque::zeroed(),
            device,
            direction,
            _pinned: pinned,
        };
        let table = KBox::new(table, GFP_KERNEL_ACCOUNT)?;
        let inner = table.table.get();
        // SAFETY: the array has `count` live pages, which stay, and is not modified; the table is new, and the
        // device is there.
        to_result(unsafe { bindings::dk_dmabuf_map(device, inner, pages, count, direction) })?;
        // INVARIANT: it was mapped, and there is room for one more.
        let _ = self.tables.push_within_capacity(KBox::leak(table).into());
        Ok(inner)
    }

    /// # Safety
    ///
    /// `inner` is what `map` has returned, once for each time, and no device uses it any more.
    pub(super) unsafe fn unmap(&mut self, inner: *mut bindings::sg_table) {
        // SAFETY: by the requirement it is part of a `Table` that was leaked, and nobody else refers to that.
        let table = unsafe {
            let inner = Opaque::cast_from(inner);
            KBox::from_raw(container_of!(inner, Table, table).cast_mut())
        };
        self.tables
            .retain(|other| !ptr::eq(other.as_ptr(), &raw const *table));
        // SAFETY: by its invariant it is mapped like that. The pages stay until it is not.
        unsafe { bindings::dk_dmabuf_unmap(table.device, table.table.get(), table.direction) };
    }

    /// Maps the pages `part` into the kernel, which has no such mapping.
    pub(super) fn show(
        &mut self,
        pinned: Pinned,
        part: &Range<usize>,
    ) -> Result<NonNull<ffi::c_void>> {
        let (pages, count) = list(&pinned, part)?;
        // SAFETY: the array has `count` live pages; the helper does not modify it.
        let base = NonNull::new(unsafe { bindings::dk_vmap(pages, count) }).ok_or(ENOMEM)?;
        // INVARIANT: it was just made.
        self.window = Some(Window {
            base,
            _pinned: pinned,
        });
        Ok(base)
    }

    pub(super) fn hide(&mut self) {
        self.window = None;
    }

    fn tables(&self) -> impl Iterator<Item = &Table> {
        // SAFETY: by the type invariant it is there until it comes back, which changes `self`.
        self.tables.iter().map(|table| unsafe { table.as_ref() })
    }

    /// Has the CPU see what devices have written.
    pub(super) fn for_cpu(&self) {
        for table in self.tables() {
            let inner = table.table.get();
            // SAFETY: by its invariant it is mapped like that.
            unsafe { bindings::dk_dmabuf_for_cpu(table.device, inner, table.direction) };
        }
    }

    /// Has devices see what the CPU has written, if it has.
    pub(super) fn for_device(&self, touched: bindings::dma_data_direction) {
        for table in self.tables() {
            let (device, inner) = (table.device, table.table.get());
            // SAFETY: by its invariant it is mapped like that.
            unsafe { bindings::dk_dmabuf_for_device(device, inner, table.direction, touched) };
        }
    }
}
