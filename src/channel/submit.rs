// SPDX-License-Identifier: GPL-2.0

//! What a submission entry asks for: parsed from a private copy, checked, then handed on as a
//! typed command.

use super::{
    cancel::Target,
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
        send::Write,
        Endpoint, //
    },
    info::MAX_TRANSFER, //
};
use dmakit::{
    errno::EOPNOTSUPP,
    uapi, //
};
use kernel::prelude::*;

/// Flags that make an entry wait for others, or others for it.
pub(super) const ORDERED: u32 = uapi::DMAPLANE_SQE_LINK | uapi::DMAPLANE_SQE_DRAIN;
const FLAGS: u32 = ORDERED | uapi::DMAPLANE_SQE_CQE_SKIP_SUCCESS;

/// What an entry asks for. What was done before has been told: looking for objects may sleep.
pub(super) fn parse(context: &Context, sqe: &uapi::dmaplane_sqe, _: Told) -> Result<Work> {
    match u32::from(sqe.opcode) {
        uapi::DMAPLANE_OP_NOP => nop(sqe).map(|()| Work::Nop),
        uapi::DMAPLANE_OP_WRITE_IMM => write_imm(context, sqe),
        uapi::DMAPLANE_OP_IMM_ONLY => imm_only(context, sqe),
        uapi::DMAPLANE_OP_COPY => copy(context, sqe),
        uapi::DMAPLANE_OP_FILL => fill(context, sqe),
        uapi::DMAPLANE_OP_CANCEL => cancel(context, sqe),
        uapi::DMAPLANE_OP_COUNTER_WAIT => counter_wait(context, sqe),
        _ => Err(EOPNOTSUPP.into()),
    }
}

/// `EINVAL` if an entry has something in a member that no opcode uses, or in one of `unused`.
fn check(sqe: &uapi::dmaplane_sqe, unused: u64) -> Result {
    let reserved = (u32::from(sqe.flags) & !FLAGS) | u32::from(sqe.pad0);
    match (reserved, sqe.pad1[0] | sqe.pad1[1] | unused) {
        (0, 0) => Ok(()),
        _ => Err(EINVAL),
    }
}

fn nop(sqe: &uapi::dmaplane_sqe) -> Result {
    let small = sqe.endpoint | sqe.region | sqe.lease | sqe.length | sqe.imm;
    check(sqe, u64::from(small) | sqe.local_offset | sqe.remote_offset)
}

fn length(sqe: &uapi::dmaplane_sqe) -> Result<u32> {
    match sqe.length {
        length if length > MAX_TRANSFER => Err(EFBIG),
        length => Ok(length),
    }
}

fn write_imm(context: &Context, sqe: &uapi::dmaplane_sqe) -> Result<Work> {
    check(sqe, 0)?;
    let length = length(sqe)?;
    let endpoint = context.get::<Endpoint>(sqe.endpoint)?;
    let region = match (length, sqe.region) {
        (0, 0) => None,
        (_, handle) => Some(context.use_region(handle)?),
    };
    let write = Write {
        region,
        lease: sqe.lease,
        local: sqe.local_offset,
        remote: sqe.remote_offset,
        length,
        imm: sqe.imm,
    };
    Ok(Work::Write(endpoint, write))
}

fn imm_only(context: &Context, sqe: &uapi::dmaplane_sqe) -> Result<Work> {
    let small = sqe.region | sqe.lease | sqe.length;
    check(sqe, u64::from(small) | sqe.local_offset | sqe.remote_offset)?;
    let endpoint = context.get::<Endpoint>(sqe.endpoint)?;
    let write = Write {
        region: None,
        lease: 0,
        local: 0,
        remote: 0,
        length: 0,
        imm: sqe.imm,
    };
    Ok(Work::Write(endpoint, write))
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
