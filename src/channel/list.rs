// SPDX-License-Identifier: GPL-2.0

//! Lists of what an entry moves: segments, or pages.
//!
//! A list is in a buffer, so that it can be read wherever an entry is taken, and is read once: what
//! user space writes there later changes nothing.
//!
//! Ownership: the result owns a copy, charged to who submits.
//! Locking: none of its own. Memory of buffers is the kernel's, so no user copy happens.
//! Teardown: none.

use super::submit;
use crate::{
    buffer::Buffer,
    context::Context,
    endpoint::remote::Parts,
    info::MAX_TRANSFER,
    pure::carve::Part,
    region::check_range, //
};
use dmakit::{
    mm::{
        self,
        pages::Pages, //
    },
    uapi, //
};
use kernel::prelude::*;

/// How an entry says what it moves.
pub(super) const FLAGS: u32 = uapi::DMAPLANE_SQE_SEGMENTS | uapi::DMAPLANE_SQE_PAGES;

/// Numbers read at a time.
const CHUNK: usize = 32;

/// What an entry moves, and how many bytes that is.
pub(super) fn parts(context: &Context, sqe: &uapi::dmaplane_sqe) -> Result<(Parts, u32)> {
    match u32::from(sqe.flags) & FLAGS {
        0 => one(sqe),
        uapi::DMAPLANE_SQE_SEGMENTS => segments(context, sqe),
        uapi::DMAPLANE_SQE_PAGES => pages(context, sqe),
        _ => Err(EINVAL),
    }
}

fn one(sqe: &uapi::dmaplane_sqe) -> Result<(Parts, u32)> {
    if sqe.list != 0 || sqe.list_count != 0 || sqe.list_offset != 0 {
        return Err(EINVAL);
    }
    let part = Part {
        local: sqe.local_offset,
        remote: sqe.remote_offset,
        length: sqe.length,
    };
    Ok((Parts::One(part), submit::length(sqe)?))
}

/// A list being made of an entry's.
struct List {
    parts: Parts,
    bytes: u32,
    local: u64,
    remote: u64,
}

impl List {
    /// Checks how many there are. `E2BIG` if there are too many.
    fn new(sqe: &uapi::dmaplane_sqe) -> Result<Self> {
        match sqe.list_count {
            0 => return Err(EINVAL),
            count if count > uapi::DMAPLANE_LIST_MAX => return Err(E2BIG),
            _ if sqe.list_offset % 8 != 0 => return Err(EINVAL),
            _ => {}
        }
        Ok(Self {
            parts: Parts::with_capacity(usize::try_from(sqe.list_count)?)?,
            bytes: 0,
            local: sqe.local_offset,
            remote: sqe.remote_offset,
        })
    }

    /// Adds a range, told from where the entry's begin.
    fn push(&mut self, local: u64, remote: u64, length: u32) -> Result {
        let bytes = self.bytes.checked_add(length);
        self.bytes = bytes.filter(|bytes| *bytes <= MAX_TRANSFER).ok_or(EFBIG)?;
        self.parts.push(Part {
            local: self.local.checked_add(local).ok_or(EOVERFLOW)?,
            remote: self.remote.checked_add(remote).ok_or(EOVERFLOW)?,
            length,
        })
    }

    fn finish(self) -> (Parts, u32) {
        (self.parts, self.bytes)
    }
}

/// Calls `each` for every one of `count` numbers or structures from `offset` on.
fn read<T: uapi::FromBytes + Copy>(
    pages: &Pages,
    offset: u64,
    count: usize,
    zero: T,
    mut each: impl FnMut(usize, T) -> Result,
) -> Result {
    let mut chunk = [zero; CHUNK];
    let (mut done, mut offset) = (0usize, offset);
    while let Some(left @ 1..) = count.checked_sub(done) {
        let chunk = chunk.get_mut(..left.min(CHUNK)).ok_or(EIO)?;
        pages.read(offset, chunk)?;
        for value in chunk.iter() {
            each(done, *value)?;
            done = done.saturating_add(1);
        }
        offset = offset.saturating_add(core::mem::size_of_val(chunk) as u64);
        mm::cond_resched();
    }
    Ok(())
}

fn segments(context: &Context, sqe: &uapi::dmaplane_sqe) -> Result<(Parts, u32)> {
    if sqe.length != 0 {
        return Err(EINVAL);
    }
    let buffer = context.get::<Buffer>(sqe.list)?;
    let mut list = List::new(sqe)?;
    let length =
        u64::from(sqe.list_count).saturating_mul(size_of::<uapi::dmaplane_segment>() as u64);
    check_range(sqe.list_offset, length, buffer.pages().len())?;
    let (count, zero) = (usize::try_from(sqe.list_count)?, Default::default());
    let each = |_, segment: uapi::dmaplane_segment| match segment.pad {
        0 => list.push(segment.local_offset, segment.remote_offset, segment.length),
        _ => Err(EINVAL),
    };
    read(buffer.pages(), sqe.list_offset, count, zero, each)?;
    Ok(list.finish())
}

fn pages(context: &Context, sqe: &uapi::dmaplane_sqe) -> Result<(Parts, u32)> {
    let buffer = context.get::<Buffer>(sqe.list)?;
    let mut list = List::new(sqe)?;
    let head = size_of::<uapi::dmaplane_pages>() as u64;
    let indices = u64::from(sqe.list_count).saturating_mul(size_of::<u32>() as u64);
    let length = head.saturating_add(indices).saturating_add(indices);
    check_range(sqe.list_offset, length, buffer.pages().len())?;
    let mut strides = [uapi::dmaplane_pages::default()];
    buffer.pages().read(sqe.list_offset, &mut strides)?;
    let [strides] = strides;
    let first = sqe.list_offset.saturating_add(head);
    let second = first.saturating_add(indices);
    let mut remote = [0u32; CHUNK];
    let each = |n: usize, local: u32| {
        let place = n % CHUNK;
        if place == 0 {
            // As many as of the others were read.
            let left = usize::try_from(sqe.list_count)?.saturating_sub(n);
            let chunk = remote.get_mut(..left.min(CHUNK)).ok_or(EIO)?;
            let offset = (n as u64).saturating_mul(size_of::<u32>() as u64);
            buffer.pages().read(second.saturating_add(offset), chunk)?;
        }
        let remote = remote.get(place).copied().ok_or(EIO)?;
        let at = |index: u32, stride: u64| u64::from(index).checked_mul(stride).ok_or(EOVERFLOW);
        let local = at(local, strides.local_stride)?;
        list.push(local, at(remote, strides.remote_stride)?, sqe.length)
    };
    read(
        buffer.pages(),
        first,
        usize::try_from(sqe.list_count)?,
        0u32,
        each,
    )?;
    Ok(list.finish())
}
