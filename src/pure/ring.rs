// SPDX-License-Identifier: GPL-2.0

//! Index arithmetic of rings shared with user space.
//!
//! Indices count without bound, modulo 2^32, and are masked only to look up an entry. An index that
//! user space wrote is a claim: [`distance`] believes it only if it describes a possible ring.
//!
//! A completion must never be lost for want of room, so whatever may complete later reserves its
//! place in the completion ring first. [`Completions`] keeps that account.

/// An index written by user space that cannot be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// Returns how many entries lie between `head` and `tail` in a ring of `entries`.
pub fn distance(head: u32, tail: u32, entries: u32) -> Result<u32, Corrupt> {
    let distance = tail.wrapping_sub(head);
    if distance > entries {
        return Err(Corrupt);
    }
    Ok(distance)
}

/// The kernel's account of a completion ring: entries published and places promised.
///
/// # Invariants
///
/// As long as user space only moves its head forward, the entries not yet reaped and the
/// reservations together never exceed the size of the ring.
#[derive(Debug)]
pub struct Completions {
    entries: u32,
    tail: u32,
    reserved: u32,
}

impl Completions {
    /// Creates the account of an empty ring. `entries` is a power of two.
    pub const fn new(entries: u32) -> Self {
        Self::with_origin(entries, 0)
    }

    /// Like [`Completions::new`], for a ring whose two indices begin at `origin`.
    pub const fn with_origin(entries: u32, origin: u32) -> Self {
        Self {
            entries,
            tail: origin,
            reserved: 0,
        }
    }

    /// Reserves `n` places, or as many as there is room for; returns how many.
    pub fn reserve_up_to(&mut self, user_head: u32, n: u32) -> Result<u32, Corrupt> {
        let n = n.min(self.room(user_head)?);
        self.reserved = self.reserved.saturating_add(n);
        Ok(n)
    }

    /// Gives back `n` reservations that were not used.
    pub fn release(&mut self, n: u32) {
        self.reserved = self.reserved.saturating_sub(n);
    }

    /// Turns one reservation into an entry and returns the slot to fill. The caller fills it, then
    /// publishes [`Completions::tail`].
    pub fn push(&mut self) -> u32 {
        let slot = self.tail & self.entries.wrapping_sub(1);
        self.reserved = self.reserved.saturating_sub(1);
        self.tail = self.tail.wrapping_add(1);
        slot
    }

    /// The index one past the last entry pushed.
    pub fn tail(&self) -> u32 {
        self.tail
    }

    /// Reservations not yet turned into entries.
    pub fn reserved(&self) -> u32 {
        self.reserved
    }

    /// Completions that user space can reap now.
    pub fn available(&self, user_head: u32) -> Result<u32, Corrupt> {
        distance(user_head, self.tail, self.entries)
    }

    /// Places that can be reserved now.
    pub fn room(&self, user_head: u32) -> Result<u32, Corrupt> {
        let free = self.entries.saturating_sub(self.available(user_head)?);
        Ok(free.saturating_sub(self.reserved))
    }
}
