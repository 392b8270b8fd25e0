// SPDX-License-Identifier: GPL-2.0

//! `MIGRATE`: a buffer that a worker moves.
//!
//! Ownership: a [`Migrate`] holds what moves, and that its buffer.
//! Locking: none of its own.
//! Teardown: none; what was moved stays there.

use super::request::Ticket;
use crate::{
    buffer::migrate::Move,
    context::Context, //
};
use dmakit::uapi;
use kernel::{
    error::Error,
    prelude::*, //
};

/// A buffer being moved.
pub(super) struct Migrate {
    moving: Move,
    error: Option<Error>,
}

impl Migrate {
    /// What an entry asks for. As of [`Move::new`].
    pub(super) fn new(context: &Context, sqe: &uapi::dmaplane_sqe) -> Result<Self> {
        Ok(Self {
            moving: Move::new(context, sqe.lease, sqe.remote_offset, sqe.imm)?,
            error: None,
        })
    }

    /// Where a worker had better be.
    pub(super) fn node(&self) -> i32 {
        self.moving.node()
    }

    /// Moves the next batch; whether there are more.
    pub(super) fn piece(&mut self) -> bool {
        self.moving.step().unwrap_or_else(|error| {
            self.error = Some(error);
            false
        })
    }

    /// All is where it shall be, or there was an error.
    pub(super) fn finish(self, ticket: Ticket) {
        let Self { moving, error } = self;
        let moved = u32::try_from(moving.moved()).unwrap_or(u32::MAX);
        if error.is_none() {
            moving.arrived();
        }
        // Whoever sees the completion may expect its memory to be free once destroyed.
        drop(moving);
        match error {
            Some(error) => ticket.fail(error, 0),
            None => ticket.succeed(moved),
        }
    }
}
