// SPDX-License-Identifier: GPL-2.0

//! What a submission entry asks for: parsed from a private copy, checked, then handed on as a
//! typed command. An entry that is wrong gets its completion here.

use super::{
    ring::{
        Batch,
        Told, //
    },
    CompletionRing, //
};
use crate::{
    context::Context,
    endpoint::{
        send::{
            Write,
            BATCH, //
        },
        Endpoint, //
    },
    info::MAX_TRANSFER, //
};
use dmakit::{
    errno::EOPNOTSUPP,
    uapi, //
};
use kernel::{
    error::Error,
    prelude::*,
    sync::Arc, //
};

/// An accepted entry: it has a place in the completion ring, and is completed exactly once.
pub(crate) struct Ticket {
    ring: Arc<CompletionRing>,
    user_data: u64,
    endpoint: u32,
    opcode: u8,
    done: bool,
}

impl Ticket {
    /// Completes the entry with a number of bytes.
    pub(crate) fn succeed(mut self, bytes: u32) {
        self.finish(i32::try_from(bytes).unwrap_or(i32::MAX), 0);
    }

    /// Completes the entry with an error, and the status of the adapter if it gave one.
    pub(crate) fn fail(mut self, error: Error, status: u32) {
        self.finish(error.to_errno(), status);
    }

    fn finish(&mut self, res: i32, status: u32) {
        self.done = true;
        self.ring.complete(&uapi::dmaplane_cqe {
            user_data: self.user_data,
            res,
            endpoint: self.endpoint,
            imm: 0,
            opcode: self.opcode,
            wc_status: u8::try_from(status).unwrap_or(u8::MAX),
            pad0: 0,
            pad1: 0,
        });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.done {
            self.finish(EIO.to_errno(), 0);
        }
    }
}

/// Holds entries for one endpoint back for a moment, so that they are sent together.
#[derive(Default)]
pub(super) struct Plug {
    endpoint: Option<Arc<Endpoint>>,
    count: u32,
}

impl Plug {
    fn submit(&mut self, endpoint: Arc<Endpoint>, write: Write, ticket: Ticket) {
        let same = self
            .endpoint
            .as_ref()
            .is_some_and(|held| Arc::ptr_eq(held, &endpoint));
        if !same || self.count >= BATCH {
            self.send();
        }
        endpoint.submit(write, ticket);
        self.count = self.count.saturating_add(1);
        self.endpoint = Some(endpoint);
    }

    #[inline]
    fn send(&mut self) {
        self.count = 0;
        if let Some(endpoint) = self.endpoint.take() {
            endpoint.send();
        }
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        self.send();
    }
}

/// Does what an entry asks for. Its completion has a place reserved in `ring`.
pub(super) fn issue(
    context: &Context,
    ring: &Arc<CompletionRing>,
    sqe: &uapi::dmaplane_sqe,
    done: &mut Batch<'_>,
    plug: &mut Plug,
) {
    let result = match u32::from(sqe.opcode) {
        uapi::DMAPLANE_OP_NOP => nop(sqe),
        uapi::DMAPLANE_OP_WRITE_IMM => match write_imm(context, sqe, done.tell()) {
            Ok((endpoint, write)) => {
                let ticket = Ticket {
                    ring: ring.clone(),
                    user_data: sqe.user_data,
                    endpoint: sqe.endpoint,
                    opcode: sqe.opcode,
                    done: false,
                };
                return plug.submit(endpoint, write, ticket);
            }
            Err(error) => Err(error),
        },
        _ => Err(EOPNOTSUPP.into()),
    };
    done.push(&uapi::dmaplane_cqe {
        user_data: sqe.user_data,
        res: result.map_or_else(Error::to_errno, |()| 0),
        endpoint: sqe.endpoint,
        opcode: sqe.opcode,
        ..Default::default()
    });
}

/// Nothing but `user_data` is set.
fn nop(sqe: &uapi::dmaplane_sqe) -> Result {
    let small = u32::from(sqe.flags) | u32::from(sqe.pad0) | sqe.endpoint | sqe.region;
    let large = sqe.local_offset | sqe.remote_offset | sqe.pad1[0] | sqe.pad1[1];
    match (small | sqe.lease | sqe.length | sqe.imm, large) {
        (0, 0) => Ok(()),
        _ => Err(EINVAL),
    }
}

/// What was done before has been told: looking for objects may sleep.
fn write_imm(
    context: &Context,
    sqe: &uapi::dmaplane_sqe,
    _: Told,
) -> Result<(Arc<Endpoint>, Write)> {
    if sqe.flags != 0 || sqe.pad0 != 0 || sqe.pad1 != [0; 2] {
        return Err(EINVAL);
    }
    if sqe.length > MAX_TRANSFER {
        return Err(EFBIG);
    }
    let endpoint = context.get::<Endpoint>(sqe.endpoint)?;
    let region = match (sqe.length, sqe.region) {
        (0, 0) => None,
        (_, handle) => Some(context.use_region(handle)?),
    };
    let write = Write {
        region,
        lease: sqe.lease,
        local: sqe.local_offset,
        remote: sqe.remote_offset,
        length: sqe.length,
        imm: sqe.imm,
    };
    Ok((endpoint, write))
}
