// SPDX-License-Identifier: GPL-2.0
//! Parts of regions that have handles of their own.

use std::marker::PhantomData;
use std::ops::Range;

use crate::sys::{self, uapi::dmaplane_view};
use crate::{Access, Context, Region, Result};

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::Region {}
    impl Sealed for super::View<'_> {}
}

/// What entries move bytes from and to, and peers get leases of: a [`Region`], or a [`View`] of one.
pub trait Span: sealed::Sealed {
    /// Its handle.
    fn handle(&self) -> u32;
}

impl Span for Region {
    #[inline]
    fn handle(&self) -> u32 {
        self.id()
    }
}

impl Span for View<'_> {
    #[inline]
    fn handle(&self) -> u32 {
        self.handle
    }
}

/// Parts of a region, made by [`Region::views`] and given back together when this is dropped.
///
/// They keep nothing alive: when the region is gone, their use fails with `ENOENT`.
#[derive(Debug)]
pub struct Views {
    context: Context,
    handles: Vec<u32>,
    lengths: Vec<u64>,
}

impl Views {
    pub(crate) fn create(
        context: &Context,
        of: &impl Span,
        parts: &[Range<u64>],
        access: Access,
    ) -> Result<Self> {
        let view = |part: &Range<u64>| dmaplane_view {
            offset: part.start,
            // One that ends before it begins has no bytes, which is EINVAL.
            length: part.end.saturating_sub(part.start),
            access: access.bits(),
            handle: 0,
        };
        let mut list: Vec<_> = parts.iter().map(view).collect();
        sys::view_create(context, of.handle(), &mut list)?;
        Ok(Views {
            context: context.clone(),
            handles: list.iter().map(|view| view.handle).collect(),
            lengths: list.iter().map(|view| view.length).collect(),
        })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    /// Whether there are none, which is never so.
    pub fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    /// That of the part with this index.
    pub fn get(&self, index: usize) -> Option<View<'_>> {
        Some(View {
            handle: *self.handles.get(index)?,
            length: *self.lengths.get(index)?,
            views: PhantomData,
        })
    }

    /// All of them, in the order of the parts.
    pub fn iter(&self) -> impl Iterator<Item = View<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl Drop for Views {
    fn drop(&mut self) {
        // What cannot be given back now ends with the context.
        let _ = sys::view_destroy(&self.context, &mut self.handles);
    }
}

/// A part of a region, which entries use like the whole: offsets are counted from where it begins.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    handle: u32,
    length: u64,
    views: PhantomData<&'a Views>,
}

impl View<'_> {
    /// Its handle.
    pub fn id(&self) -> u32 {
        self.handle
    }

    /// Bytes that it covers.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether it covers none, which no view does.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}
