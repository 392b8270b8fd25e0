// SPDX-License-Identifier: GPL-2.0

//! A buffer's pages on their way to another node, batch by batch; `BUF_MIGRATE`.
//!
//! Ownership: a [`Move`] holds its buffer.
//! Locking: none of its own; pages are locked for a batch, whoever uses them meanwhile waits for that.
//! Teardown: none; what was moved stays there.

use super::{
    rekey,
    Buffer, //
};
use crate::{
    context::Context,
    device::Device, //
};
use dmakit::{
    errno::EOPNOTSUPP,
    mm::{
        self,
        migrate::{
            Migration,
            Used, //
        }, //
    },
    uapi, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// A buffer being moved.
pub(crate) struct Move {
    device: Arc<Device>,
    buffer: Arc<Buffer>,
    node: i32,
    migration: Migration,
}

impl Move {
    /// `EINVAL` for unknown flags, `EOPNOTSUPP` for memory of another driver, `ENXIO` for a node that is not
    /// there, `EACCES` for one that the caller may have no memory of: who moves the pages would be given it; and without the
    /// right to write, as all who have the memory wait while it moves.
    pub(crate) fn new(
        context: &Context,
        handle: u32,
        node: impl TryInto<i32>,
        flags: u32,
    ) -> Result<Self> {
        if flags & !uapi::DMAPLANE_MIGRATE_STRICT != 0 {
            return Err(EINVAL);
        }
        let buffer = context.get::<Buffer>(handle)?;
        if buffer.is_imported() {
            return Err(EOPNOTSUPP.into());
        }
        buffer.check_rights(uapi::DMAPLANE_SHARE_WRITE)?;
        let node = node.try_into().map_err(|_| ENXIO)?;
        if !mm::node_online(node) {
            return Err(ENXIO);
        }
        if !mm::node_allowed(node) {
            return Err(EACCES);
        }
        let strict = flags & uapi::DMAPLANE_MIGRATE_STRICT != 0;
        Ok(Self {
            device: context.device().clone(),
            buffer,
            node,
            migration: Migration::new(node, strict),
        })
    }

    /// Where they go.
    pub(crate) fn node(&self) -> i32 {
        self.node
    }

    /// Moves the next batch, or some, if others have to wait for that; whether there are more.
    pub(crate) fn step(&mut self) -> Result<bool> {
        match rekey::has_parts(&self.buffer) {
            true => rekey::step(self),
            false => self.batch(),
        }
    }

    /// The module's state.
    pub(super) fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// What is moved.
    pub(super) fn buffer(&self) -> &Arc<Buffer> {
        &self.buffer
    }

    /// Whether there is anything left to move.
    pub(super) fn is_wanted(&mut self) -> Result<bool> {
        self.migration.is_wanted(self.buffer.pages())
    }

    /// Moves the next batch; whether there are more.
    pub(super) fn batch(&mut self) -> Result<bool> {
        let more = self.buffer.migrate(&mut self.migration);
        mm::cond_resched();
        more
    }

    /// Pages moved so far.
    pub(crate) fn moved(&self) -> usize {
        self.migration.moved()
    }

    /// What has copied them.
    pub(crate) fn used(&self) -> Used {
        self.migration.used()
    }

    /// All are where they shall be.
    pub(crate) fn arrived(&self) {
        self.buffer.set_node(self.node);
    }
}

/// `BUF_MIGRATE`
pub(crate) fn migrate(context: &Context, arg: &mut uapi::dmaplane_buf_migrate) -> Result {
    let mut moving = Move::new(context, arg.handle, arg.node, arg.flags)?;
    let began = Instant::<Monotonic>::now();
    let passed = || u64::try_from(began.elapsed().as_nanos()).unwrap_or(0);
    arg.first_ns = 0;
    loop {
        let more = moving.step()?;
        if arg.first_ns == 0 && moving.moved() > 0 {
            arg.first_ns = passed();
        }
        if !more {
            break;
        }
        // Who calls again gets on in any case.
        let interrupted = moving.moved() > 0 && kernel::current!().signal_pending();
        if interrupted || mm::is_being_killed() {
            return Err(EINTR);
        }
    }
    moving.arrived();
    arg.moved = moving.moved() as u64;
    arg.total_ns = passed();
    let used = moving.used();
    arg.engines = used.engines;
    arg.threads = used.threads;
    Ok(())
}
