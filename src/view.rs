// SPDX-License-Identifier: GPL-2.0

//! Views: parts of regions with handles of their own. Nothing is registered for one, and no adapter
//! asked: what uses it uses the region.
//!
//! Ownership: a context has one table of [`View`]s, which name their region by its handle, and keep
//! nothing alive. Handles of regions are never issued twice, so a view of one that is gone says so.
//! Locking: the table's lock, inside of that of the context's other objects. The table gets its
//! memory before it is locked. Whoever finds a view there lets go of the lock before looking for the region.
//! Teardown: the table is freed as a whole when the context is released.

use crate::{
    context::Context,
    counters::{
        Counters,
        Live,
        Tally, //
    },
    pure::{
        bulk::{
            self,
            Slot,
            Table, //
        },
        wire::Rights, //
    },
    region::{
        check_range,
        RegionUse,
        ACCESS, //
    }, //
};
use dmakit::uapi::{
    self,
    AsBytes, //
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::{
        lock::mutex::MutexGuard,
        Arc, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

pub(crate) use crate::pure::bulk::is_bulk as is_view;

const _: () = assert!(bulk::LIMIT == uapi::DMAPLANE_VIEW_MAX);

/// A part of a region.
#[derive(Clone, Copy)]
pub(crate) struct View {
    offset: u64,
    length: u64,
    region: u32,
    access: u32,
}

/// The views of a context.
pub(crate) struct Views {
    table: Table<View, KVVec<Slot<View>>>,
    tally: Tally,
}

impl Views {
    /// None.
    pub(crate) fn new(counters: &Arc<Counters>) -> Self {
        Self {
            table: Table::new(KVVec::new()),
            tally: Tally::many(counters, Live::Views, 0),
        }
    }

    /// Whether there is one of this handle.
    pub(crate) fn has(&self, handle: u32) -> bool {
        self.table.get(handle).is_some()
    }

    /// Takes those that are made of `list`, for which there are slots, and puts their handles there.
    fn insert(&mut self, bounds: &Bounds, list: &mut [uapi::dmaplane_view]) -> Result {
        for wanted in list {
            wanted.handle = self.table.insert(bounds.part(wanted)?).ok_or(EMFILE)?;
        }
        self.tally.set(self.table.len());
        Ok(())
    }

    fn remove(&mut self, handles: &[u32]) -> Result<(), usize> {
        let removed = self.table.remove_all(handles);
        self.tally.set(self.table.len());
        removed
    }
}

/// What the handle of a region, or of a view of one, means.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// First byte in the region.
    pub(crate) offset: u64,
    pub(crate) length: u64,
    access: u32,
    /// The region's.
    handle: u32,
}

/// The same with the region, which is in use until it is dropped.
pub(crate) struct Span {
    pub(crate) region: RegionUse,
    pub(crate) bounds: Bounds,
}

impl Span {
    /// Looks for it.
    pub(crate) fn of(context: &Context, handle: u32) -> Result<Self> {
        if !is_view(handle) {
            let region = context.use_region(handle)?;
            let bounds = Bounds {
                offset: 0,
                length: region.length(),
                access: region.access(),
                handle,
            };
            return Ok(Self { region, bounds });
        }
        let view = context.views().lock().table.get(handle).ok_or(ENOENT)?;
        Ok(Self {
            region: context.use_region(view.region)?,
            bounds: Bounds {
                offset: view.offset,
                length: view.length,
                access: view.access,
                handle: view.region,
            },
        })
    }
}

impl Bounds {
    /// Whether it may be used like that: one of `DMAPLANE_ACCESS_*`.
    pub(crate) fn allows(&self, access: u32) -> bool {
        self.access & access != 0
    }

    /// What a peer may be allowed to do.
    pub(crate) fn rights(&self) -> Rights {
        Rights {
            write: self.allows(uapi::DMAPLANE_ACCESS_REMOTE_WRITE),
            read: self.allows(uapi::DMAPLANE_ACCESS_REMOTE_READ),
        }
    }

    /// A part of it, with no other access.
    fn part(&self, wanted: &uapi::dmaplane_view) -> Result<View> {
        if wanted.length == 0 || wanted.access & !ACCESS != 0 {
            return Err(EINVAL);
        }
        check_range(wanted.offset, wanted.length, self.length)?;
        if wanted.access & !self.access != 0 {
            return Err(EACCES);
        }
        Ok(View {
            offset: self.offset.checked_add(wanted.offset).ok_or(EOVERFLOW)?,
            length: wanted.length,
            region: self.handle,
            access: wanted.access,
        })
    }
}

/// How many an argument says there are.
fn count(count: u32) -> Result<usize> {
    match count {
        0 => Err(EINVAL),
        count if count > uapi::DMAPLANE_VIEW_MAX => Err(E2BIG),
        count => Ok(usize::try_from(count)?),
    }
}

fn array(addr: u64, bytes: usize) -> Result<UserSlice> {
    let addr = usize::try_from(addr).map_err(|_| EFAULT)?;
    Ok(UserSlice::new(UserPtr::from_addr(addr), bytes))
}

/// The views, with slots for `count` more.
fn views_with_room(context: &Context, count: u32) -> Result<MutexGuard<'_, Views>> {
    let mut memory = None::<KVVec<_>>;
    loop {
        let mut views = context.views().lock();
        let wanted = views.table.wanted(count).ok_or(EMFILE)?;
        if wanted <= views.table.slots() {
            return Ok(views);
        }
        if let Some(memory) = memory.take().filter(|memory| memory.len() >= wanted) {
            drop(views.table.grow(memory));
            return Ok(views);
        }
        let doubled = views.table.slots().saturating_mul(2);
        drop(views);
        let slots = wanted.max(doubled.min(usize::try_from(bulk::MOST)?));
        memory = Some(KVVec::from_elem(Slot::NEW, slots, GFP_KERNEL_ACCOUNT)?);
    }
}

/// `VIEW_CREATE`
pub(crate) fn create(context: &Context, arg: &uapi::dmaplane_view_create) -> Result {
    if arg.flags != 0 {
        return Err(EINVAL);
    }
    let count = count(arg.count)?;
    let mut list = KVVec::from_elem(uapi::dmaplane_view::default(), count, GFP_KERNEL_ACCOUNT)?;
    let (mut reader, mut writer) = array(arg.views, size_of_val(list.as_slice()))?.reader_writer();
    let (_, mut probe) = array(arg.views, size_of_val(list.as_slice()))?.reader_writer();
    reader.read_slice(AsBytes::as_bytes_mut(list.as_mut_slice()))?;
    // Handles that cannot be written are found out before anything happens.
    probe.write_slice(AsBytes::as_bytes(list.as_slice()))?;

    // Views keep nothing alive: the region may go while they are made.
    let bounds = Span::of(context, arg.region)?.bounds;
    for wanted in list.iter() {
        bounds.part(wanted)?;
    }
    views_with_room(context, arg.count)?.insert(&bounds, &mut list)?;
    writer
        .write_slice(AsBytes::as_bytes(list.as_slice()))
        .inspect_err(|_| {
            // One by one: another thread may have guessed a handle, and destroyed it.
            for view in list.iter() {
                let _ = context.views().lock().remove(&[view.handle]);
            }
        })
}

/// `VIEW_DESTROY`
pub(crate) fn destroy(context: &Context, arg: &uapi::dmaplane_view_destroy) -> Result {
    if arg.flags != 0 || arg.pad != 0 {
        return Err(EINVAL);
    }
    let mut handles = KVVec::from_elem(0u32, count(arg.count)?, GFP_KERNEL_ACCOUNT)?;
    let mut reader = array(arg.handles, size_of_val(handles.as_slice()))?.reader();
    reader.read_slice(AsBytes::as_bytes_mut(handles.as_mut_slice()))?;
    let removed = context.views().lock().remove(&handles);
    removed.map_err(|wrong| match handles.get(wrong) {
        Some(handle) if !is_view(*handle) => context.no_view(*handle),
        _ => ENOENT,
    })
}
