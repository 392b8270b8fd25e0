// SPDX-License-Identifier: GPL-2.0

//! What copies pages to others: processors, or a DMA channel if the machine has one.
//!
//! Ownership: a [`Copier`] has its channel for itself until it is dropped; a [`Batch`] borrows pages.
//! Locking: none; whoever has a batch sees to it that nobody else uses the pages.
//! Teardown: dropping gives the channel back. One whose device does not end is never given back, nor are
//! the pages that it may write to.

mod cpu;
mod dma;
#[cfg(all(dmaplane_test, CONFIG_KUNIT = "y"))]
mod tests;

use super::list::BLOCK_PAGES;
use crate::bindings;
use cpu::Threads;
use dma::Channel;

/// Most pages of a [`Batch`].
pub(super) const MOST: usize = BLOCK_PAGES;

/// Fewest pages that a channel is asked for, and told to copy: 256 KiB.
const WORTH: usize = 64;

/// Of which pages the memory is bad: bits, by their place among those that are replaced.
#[derive(Default)]
pub(super) struct Bad([usize; MOST.div_ceil(usize::BITS as usize)]);

impl Bad {
    pub(super) fn any(&self) -> bool {
        self.0.iter().any(|bits| *bits != 0)
    }

    /// [`MOST`] bits.
    pub(super) fn as_mut_ptr(&mut self) -> *mut usize {
        self.0.as_mut_ptr()
    }
}

/// Pages to copy, as many as there are others for them.
///
/// # Invariants
///
/// All pages are alive; nobody uses those in `to`, and nobody writes to those in `from`, until it is
/// dropped. Both are as many, at least one, and with `first` no more than [`MOST`].
pub(super) struct Batch<'a> {
    to: &'a [*mut bindings::page],
    from: &'a [*mut bindings::page],
    node: i32,
    first: usize,
}

impl<'a> Batch<'a> {
    /// Those in `to` are on `node`. The `first` has that place in [`Bad`]. None if there are none, too many,
    /// or not as many.
    ///
    /// # Safety
    ///
    /// All pages are alive; nobody uses those in `to`, and nobody writes to those in `from`, until it is
    /// dropped.
    pub(super) unsafe fn new(
        to: &'a [*mut bindings::page],
        from: &'a [*mut bindings::page],
        node: i32,
        first: usize,
    ) -> Option<Self> {
        let end = first.checked_add(to.len())?;
        // INVARIANT: as the caller says, and as is looked at here.
        (!to.is_empty() && to.len() == from.len() && end <= MOST).then_some(Self {
            to,
            from,
            node,
            first,
        })
    }
}

/// Why an engine has not copied all.
pub(super) enum Failure {
    /// It has ended, and any of the pages may have been written to.
    Ended,
    /// It has not, and may go on reading and writing them.
    Hangs,
}

/// Something that copies pages.
pub(super) trait Engine {
    /// `DMAPLANE_ENGINE_*`
    const BIT: u32;

    /// Copies all, or finds that memory is bad; with how many threads.
    fn copy(&mut self, batch: &Batch<'_>, bad: &mut Bad) -> Result<u32, Failure>;
}

/// What has copied pages.
#[derive(Clone, Copy, Default)]
pub struct Used {
    /// `DMAPLANE_ENGINE_*`
    pub engines: u32,
    /// Most processors that did so at a time.
    pub threads: u32,
}

/// Copies pages, by what is there.
#[derive(Default)]
pub(super) struct Copier {
    channel: Option<Channel>,
    asked: bool,
    /// The channel is only to be given back, which may take locks.
    failed: bool,
    used: Used,
}

impl Copier {
    /// There will be so many pages. May sleep.
    pub(super) fn prepare(&mut self, pages: usize) {
        if pages >= WORTH && !self.asked {
            self.asked = true;
            self.channel = Channel::get();
        }
    }

    /// What has copied.
    pub(super) fn used(&self) -> Used {
        self.used
    }

    /// Copies all but those whose memory is [`Bad`]. If it fails, something may go on reading and writing
    /// the pages, but not those of the next batch.
    pub(super) fn copy(&mut self, batch: &Batch<'_>, bad: &mut Bad) -> Result<(), Failure> {
        if batch.to.len() >= WORTH && !self.failed {
            if let Some(mut channel) = self.channel.take() {
                match self.by(&mut channel, batch, bad) {
                    // Not again: who failed once may take its time for that.
                    Err(Failure::Ended) => self.failed = true,
                    Err(Failure::Hangs) => {
                        channel.abandon();
                        return Err(Failure::Hangs);
                    }
                    Ok(()) => {
                        self.channel = Some(channel);
                        return Ok(());
                    }
                }
                self.channel = Some(channel);
            }
        }
        self.by(&mut Threads, batch, bad)
    }

    fn by<E: Engine>(
        &mut self,
        engine: &mut E,
        batch: &Batch<'_>,
        bad: &mut Bad,
    ) -> Result<(), Failure> {
        let threads = engine.copy(batch, bad)?;
        self.used.engines |= E::BIT;
        self.used.threads = self.used.threads.max(threads);
        Ok(())
    }
}
