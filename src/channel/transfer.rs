// SPDX-License-Identifier: GPL-2.0

//! `COPY` and `FILL`: bytes moved by a processor, piece by piece; and what a worker does in such
//! pieces.
//!
//! Ownership: a [`Transfer`] holds its buffers.
//! Locking: none. User space and adapters may change the bytes meanwhile.
//! Teardown: none; what was moved stays.

use super::{
    migrate::Migrate,
    request::Ticket, //
};
use crate::{
    buffer::Buffer,
    region::check_range, //
};
use dmakit::mm;
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// What is done at once, and not by a worker: that takes a few microseconds.
const SHORT: u32 = 1 << 16;

/// What is done before anything else gets its turn, cancelling included.
const PIECE: u32 = 1 << 20;

/// Where bytes come from.
pub(super) enum Source {
    Buffer(Arc<Buffer>, u64),
    Value(u8),
}

/// Bytes on their way.
pub(super) struct Transfer {
    source: Source,
    to: Arc<Buffer>,
    offset: u64,
    length: u32,
    done: u32,
}

impl Transfer {
    /// Checks that the bytes are there; `EINVAL` if they would be copied over each other.
    pub(super) fn new(source: Source, to: Arc<Buffer>, offset: u64, length: u32) -> Result<Self> {
        let bytes = u64::from(length);
        check_range(offset, bytes, to.pages().len())?;
        to.check_writable()?;
        if let Source::Buffer(from, first) = &source {
            check_range(*first, bytes, from.pages().len())?;
            if Arc::ptr_eq(from.pages(), to.pages()) && first.abs_diff(offset) < bytes {
                return Err(EINVAL);
            }
        }
        Ok(Self {
            source,
            to,
            offset,
            length,
            done: 0,
        })
    }

    /// Whether it is done at once.
    pub(super) fn is_short(&self) -> bool {
        self.length <= SHORT
    }

    /// How many bytes.
    pub(super) fn length(&self) -> u32 {
        self.length
    }

    /// Where a worker had better be.
    pub(super) fn node(&self) -> i32 {
        self.to.node()
    }

    /// Moves all of it.
    pub(super) fn all(self) -> Self {
        let mut transfer = self;
        while transfer.piece() {}
        transfer
    }

    fn piece(&mut self) -> bool {
        let piece = self.length.saturating_sub(self.done).min(PIECE);
        let length = piece as usize;
        let offset = self.offset.saturating_add(self.done.into());
        let pages = self.to.pages();
        let moved = match &self.source {
            Source::Value(value) => pages.fill(offset, *value, length),
            Source::Buffer(from, first) => {
                let first = first.saturating_add(self.done.into());
                from.pages().copy_to(first, pages, offset, length)
            }
        };
        // Both ranges were checked.
        debug_assert!(moved.is_ok());
        self.done = self.done.saturating_add(piece);
        mm::cond_resched();
        self.done < self.length
    }

    /// All was moved.
    pub(super) fn succeed(self, ticket: Ticket) {
        let length = self.length;
        // Whoever sees the completion may expect the buffers' memory to be free once destroyed.
        drop(self);
        ticket.succeed(length);
    }
}

/// What takes some time.
pub(super) enum Long {
    Transfer(Transfer),
    Migrate(Migrate),
}

impl Long {
    /// Where a worker had better be.
    pub(super) fn node(&self) -> i32 {
        match self {
            Self::Transfer(transfer) => transfer.node(),
            Self::Migrate(migrate) => migrate.node(),
        }
    }

    /// Does the next piece; whether there are more.
    pub(super) fn step(mut self) -> (Option<Self>, bool) {
        let more = match &mut self {
            Self::Transfer(transfer) => transfer.piece(),
            Self::Migrate(migrate) => migrate.piece(),
        };
        (Some(self), more)
    }

    /// There are no more.
    pub(super) fn finish(self, ticket: Ticket) {
        match self {
            Self::Transfer(transfer) => transfer.succeed(ticket),
            Self::Migrate(migrate) => migrate.finish(ticket),
        }
    }
}
