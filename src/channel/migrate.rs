// SPDX-License-Identifier: GPL-2.0

//! `MIGRATE`: a buffer's pages on their way to another node, batch by batch.
//!
//! Ownership: a [`Migrate`] holds its buffer.
//! Locking: none of its own; pages are locked for a batch, whoever uses them meanwhile waits for that.
//! Teardown: none; what was moved stays there.

use super::request::Ticket;
use crate::{
    buffer::Buffer,
    context::Context, //
};
use dmakit::{
    mm::{
        self,
        migrate::Migration, //
    },
    uapi, //
};
use kernel::{
    error::Error,
    prelude::*,
    sync::Arc, //
};

/// A buffer being moved.
pub(super) struct Migrate {
    buffer: Arc<Buffer>,
    /// Where its mappings begin in the context's file.
    offset: u64,
    node: i32,
    migration: Migration,
    error: Option<Error>,
}

impl Migrate {
    /// What an entry asks for. `ENXIO` for a node that is not there, `EACCES` for one that the
    /// caller may have no memory of: who moves the pages would be given it.
    pub(super) fn new(context: &Context, sqe: &uapi::dmaplane_sqe) -> Result<Self> {
        if sqe.imm & !uapi::DMAPLANE_MIGRATE_STRICT != 0 {
            return Err(EINVAL);
        }
        let buffer = context.get::<Buffer>(sqe.lease)?;
        let node = i32::try_from(sqe.remote_offset).map_err(|_| ENXIO)?;
        if !mm::node_online(node) {
            return Err(ENXIO);
        }
        if !mm::node_allowed(node) {
            return Err(EACCES);
        }
        let strict = sqe.imm & uapi::DMAPLANE_MIGRATE_STRICT != 0;
        Ok(Self {
            buffer,
            offset: Context::mmap_offset(sqe.lease),
            node,
            migration: Migration::new(node, strict),
            error: None,
        })
    }

    /// Where a worker had better be.
    pub(super) fn node(&self) -> i32 {
        self.node
    }

    /// Moves the next batch; whether there are more.
    pub(super) fn piece(&mut self) -> bool {
        let more = self.buffer.migrate(self.offset, &mut self.migration);
        mm::cond_resched();
        more.unwrap_or_else(|error| {
            self.error = Some(error);
            false
        })
    }

    /// All is where it shall be, or there was an error.
    pub(super) fn finish(self, ticket: Ticket) {
        let Self {
            buffer,
            node,
            migration,
            error,
            ..
        } = self;
        if error.is_none() {
            buffer.set_node(node);
        }
        // Whoever sees the completion may expect its memory to be free once destroyed.
        drop(buffer);
        match error {
            Some(error) => ticket.fail(error, 0),
            None => ticket.succeed(u32::try_from(migration.moved()).unwrap_or(u32::MAX)),
        }
    }
}
