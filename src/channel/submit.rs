// SPDX-License-Identifier: GPL-2.0

//! What a submission entry asks for: parsed from a private copy, checked, then handed on as a
//! typed command.

use super::{
    cancel::Target,
    list,
    migrate::Migrate,
    request::Work,
    ring::Told,
    transfer::{
        Source,
        Transfer, //
    }, //
};
use crate::{
    buffer::Buffer,
    context::Context,
    endpoint::{
        count::Counter,
        inbox::Receive,
        remote::{
            Action,
            Parts,
            Remote, //
        },
        Endpoint, //
    },
    info::MAX_TRANSFER,
    region::{
        check_range,
        Region,
        RegionUse, //
    },
    view::{
        is_view,
        Span, //
    }, //
};
use dmakit::{
    errno::EOPNOTSUPP,
    uapi, //
};
use kernel::prelude::*;

/// Flags that make an entry wait for others, or others for it.
pub(super) const ORDERED: u32 = uapi::DMAPLANE_SQE_LINK | uapi::DMAPLANE_SQE_DRAIN;
/// Those, and the one for the completion ring.
pub(super) const FLAGS: u32 = ORDERED | uapi::DMAPLANE_SQE_CQE_SKIP_SUCCESS;

/// Flags of entries that move bytes to or from a peer.
const REMOTE: u32 = uapi::DMAPLANE_SQE_FENCE | list::FLAGS;

/// What an entry asks for. What was done before has been told: looking for objects may sleep.
pub(super) fn parse(context: &Context, sqe: &uapi::dmaplane_sqe, _: Told) -> Result<Work> {
    match u32::from(sqe.opcode) {
        uapi::DMAPLANE_OP_NOP => nop(sqe).map(|()| Work::Nop),
        uapi::DMAPLANE_OP_WRITE_IMM => remote(context, sqe, Action::Write, true),
        uapi::DMAPLANE_OP_WRITE => remote(context, sqe, Action::Write, false),
        uapi::DMAPLANE_OP_READ => remote(context, sqe, Action::Read, false),
        uapi::DMAPLANE_OP_SEND => send(context, sqe, false),
        uapi::DMAPLANE_OP_SEND_IMM => send(context, sqe, true),
        uapi::DMAPLANE_OP_RECV => receive(context, sqe),
        uapi::DMAPLANE_OP_INVALIDATE => invalidate(context, sqe),
        uapi::DMAPLANE_OP_IMM_ONLY => imm_only(context, sqe),
        uapi::DMAPLANE_OP_COPY => copy(context, sqe),
        uapi::DMAPLANE_OP_FILL => fill(context, sqe),
        uapi::DMAPLANE_OP_MIGRATE => migrate(context, sqe),
        uapi::DMAPLANE_OP_CANCEL => cancel(context, sqe),
        uapi::DMAPLANE_OP_COUNTER_WAIT => counter_wait(context, sqe),
        _ => Err(EOPNOTSUPP.into()),
    }
}

/// `EINVAL` if an entry has something in a member that no opcode uses, or in one of `unused`.
fn check(sqe: &uapi::dmaplane_sqe, unused: u64) -> Result {
    let reserved = (u32::from(sqe.flags) & !FLAGS) | u32::from(sqe.pad0);
    let list = sqe.list | sqe.list_count;
    match (reserved | list, sqe.list_offset | unused) {
        (0, 0) => Ok(()),
        _ => Err(EINVAL),
    }
}

fn nop(sqe: &uapi::dmaplane_sqe) -> Result {
    let small = sqe.endpoint | sqe.region | sqe.lease | sqe.length | sqe.imm;
    check(sqe, u64::from(small) | sqe.local_offset | sqe.remote_offset)
}

/// How many bytes it moves, unless that is in a list. `EFBIG` if those are too many.
pub(super) fn length(sqe: &uapi::dmaplane_sqe) -> Result<u32> {
    match sqe.length {
        length if length > MAX_TRANSFER => Err(EFBIG),
        length => Ok(length),
    }
}

fn remote(
    context: &Context,
    sqe: &uapi::dmaplane_sqe,
    action: Action,
    tells: bool,
) -> Result<Work> {
    if u32::from(sqe.flags) & !(FLAGS | REMOTE) != 0 || sqe.pad0 != 0 || (sqe.imm != 0 && !tells) {
        return Err(EINVAL);
    }
    let (mut parts, length) = list::parts(context, sqe)?;
    let endpoint = context.get::<Endpoint>(sqe.endpoint)?;
    let region = match (length, sqe.region) {
        (0, 0) => None,
        (_, handle) if is_view(handle) => Some(through_view(context, handle, action, &mut parts)?),
        (_, handle) => Some(context.use_region(handle)?),
    };
    let remote = Remote {
        action,
        region,
        lease: sqe.lease,
        parts,
        length,
        imm: tells.then_some(sqe.imm),
        fence: u32::from(sqe.flags) & uapi::DMAPLANE_SQE_FENCE != 0,
    };
    Ok(Work::Remote(endpoint, remote))
}

/// The region of a view that an entry names. From here on `parts` are parts of that.
#[inline(never)]
fn through_view(
    context: &Context,
    handle: u32,
    action: Action,
    parts: &mut Parts,
) -> Result<RegionUse> {
    let span = Span::of(context, handle)?;
    let bounds = span.bounds;
    if action == Action::Read && !bounds.allows(uapi::DMAPLANE_ACCESS_LOCAL_WRITE) {
        return Err(EACCES);
    }
    parts.shift(bounds.offset, bounds.length)?;
    Ok(span.region)
}

fn send(context: &Context, sqe: &uapi::dmaplane_sqe, tells: bool) -> Result<Work> {
    let lease = sqe.lease != 0 || sqe.remote_offset != 0;
    if lease || u32::from(sqe.flags) & list::FLAGS != 0 {
        return Err(EINVAL);
    }
    remote(context, sqe, Action::Send, tells)
}

fn receive(context: &Context, sqe: &uapi::dmaplane_sqe) -> Result<Work> {
    let flags = u32::from(sqe.flags);
    let plain = uapi::dmaplane_sqe {
        flags: (flags & !uapi::DMAPLANE_SQE_MULTISHOT) as u8,
        ..*sqe
    };
    check(&plain, u64::from(sqe.region) | sqe.local_offset)?;
    let left = match (flags & uapi::DMAPLANE_SQE_MULTISHOT, sqe.imm) {
        (0, 0) => 1,
        (0, _) | (_, 0) => return Err(EINVAL),
        _ if flags & uapi::DMAPLANE_SQE_CQE_SKIP_SUCCESS != 0 => return Err(EINVAL),
        (_, count) => count,
    };
    let each = length(sqe)?;
    let endpoint = context.get::<Endpoint>(sqe.endpoint)?;
    let to = context.get::<Buffer>(sqe.lease)?;
    let bytes = u64::from(each).saturating_mul(left.into());
    check_range(sqe.remote_offset, bytes, to.pages().len())?;
    to.check_writable()?;
    let receive = Receive {
        to,
        offset: sqe.remote_offset,
        each,
        left,
    };
    Ok(Work::Receive(endpoint, receive))
}

fn imm_only(context: &Context, sqe: &uapi::dmaplane_sqe) -> Result<Work> {
    let small = sqe.region | sqe.lease | sqe.length;
    check(sqe, u64::from(small) | sqe.local_offset | sqe.remote_offset)?;
    let endpoint = context.get::<Endpoint>(sqe.endpoint)?;
    Ok(Work::Remote(endpoint, Remote::empty(sqe.imm)))
}

fn invalidate(context: &Context, sqe: &uapi::dmaplane_sqe) -> Result<Work> {
    let small = sqe.endpoint | sqe.lease | sqe.length | sqe.imm;
    check(sqe, u64::from(small) | sqe.local_offset | sqe.remote_offset)?;
    context.get::<Region>(sqe.region).map(Work::Invalidate)
}

fn copy(context: &Context, sqe: &uapi::dmaplane_sqe) -> Result<Work> {
    check(sqe, u64::from(sqe.endpoint | sqe.imm))?;
    let length = length(sqe)?;
    let from = context.get::<Buffer>(sqe.region)?;
    let to = context.get::<Buffer>(sqe.lease)?;
    let source = Source::Buffer(from, sqe.local_offset);
    Transfer::new(source, to, sqe.remote_offset, length).map(Work::Transfer)
}

fn fill(context: &Context, sqe: &uapi::dmaplane_sqe) -> Result<Work> {
    check(sqe, u64::from(sqe.endpoint | sqe.region) | sqe.local_offset)?;
    let value = u8::try_from(sqe.imm).map_err(|_| EINVAL)?;
    let length = length(sqe)?;
    let to = context.get::<Buffer>(sqe.lease)?;
    let source = Source::Value(value);
    Transfer::new(source, to, sqe.remote_offset, length).map(Work::Transfer)
}

fn migrate(context: &Context, sqe: &uapi::dmaplane_sqe) -> Result<Work> {
    let small = sqe.endpoint | sqe.region | sqe.length;
    check(sqe, u64::from(small) | sqe.local_offset)?;
    Migrate::new(context, sqe).map(Work::Migrate)
}

fn cancel(context: &Context, sqe: &uapi::dmaplane_sqe) -> Result<Work> {
    let small = sqe.region | sqe.lease | sqe.length;
    check(sqe, u64::from(small) | sqe.remote_offset)?;
    let all = sqe.imm & uapi::DMAPLANE_CANCEL_ALL != 0;
    if sqe.imm & !uapi::DMAPLANE_CANCEL_ALL != 0 || (all && sqe.local_offset != 0) {
        return Err(EINVAL);
    }
    let endpoint = match context.get::<Endpoint>(sqe.endpoint) {
        Ok(endpoint) => Some(endpoint),
        Err(ENOENT) => None,
        Err(error) => return Err(error),
    };
    Ok(Work::Cancel(Target {
        endpoint,
        handle: sqe.endpoint,
        user_data: sqe.local_offset,
        all,
        key: None,
    }))
}

fn counter_wait(context: &Context, sqe: &uapi::dmaplane_sqe) -> Result<Work> {
    let small = sqe.lease | sqe.length | sqe.imm;
    check(sqe, u64::from(small) | sqe.remote_offset)?;
    let endpoint = context.get::<Endpoint>(sqe.endpoint)?;
    let counter = context.get::<Counter>(sqe.region)?;
    match counter.is_of(&endpoint) {
        true => Ok(Work::Wait(counter, sqe.local_offset)),
        false => Err(EXDEV),
    }
}
