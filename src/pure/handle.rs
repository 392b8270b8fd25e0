// SPDX-License-Identifier: GPL-2.0

//! Handles that notice when they are stale.
//!
//! A handle is 32 bits: the generation of a slot in the upper half, whose highest bit is 0, as those
//! that have it are of another kind ([`bulk`](super::bulk)); the number of the slot plus one
//! in the lower, so that no handle is 0. Freeing a slot raises its generation. A slot whose
//! generation has reached its end is retired instead, so that no handle is ever issued twice and a
//! stale one never means another object.
//!
//! A table without memory for its slots is useful to nobody, but this file knows no allocator:
//! [`Slots`] is the vector that the user of a [`Table`] brings.

use core::marker::PhantomData;

/// The largest number of slots, retired ones included.
pub const MAX_SLOTS: u32 = 0xffff;

/// The last generation of a slot.
pub const MAX_GENERATION: u16 = 0x7fff;

/// One place in a [`Table`].
#[derive(Debug)]
pub struct Slot<T> {
    generation: u16,
    content: Content<T>,
}

#[derive(Debug)]
enum Content<T> {
    /// An object with a handle.
    Used(T),
    /// Nothing; `next` is the next free slot plus one, or 0.
    Free { next: u16 },
    /// Nothing ever again.
    Retired,
}

impl<T> Slot<T> {
    fn value(&self, generation: u16) -> Option<&T> {
        match &self.content {
            Content::Used(value) if self.generation == generation => Some(value),
            _ => None,
        }
    }

    fn value_mut(&mut self, generation: u16) -> Option<&mut T> {
        match &mut self.content {
            Content::Used(value) if self.generation == generation => Some(value),
            _ => None,
        }
    }
}

/// The memory of a [`Table`]: a vector of slots that can grow.
pub trait Slots<T> {
    /// All slots pushed, in order.
    fn slots(&self) -> &[Slot<T>];

    /// All slots pushed, in order.
    fn slots_mut(&mut self) -> &mut [Slot<T>];

    /// Appends a slot, or returns it if there is no memory.
    fn push(&mut self, slot: Slot<T>) -> Result<(), Slot<T>>;
}

/// Why a [`Table`] did not take an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// It holds as many objects as it may, or has issued every handle there is.
    Full,
    /// There is no memory for another slot.
    NoMemory,
}

/// Objects by handle.
///
/// # Invariants
///
/// - `free` and the `next` of free slots form a list of all free slots.
/// - `len` slots are used, and none of the first `lowest`.
#[derive(Debug)]
pub struct Table<T, S: Slots<T>> {
    slots: S,
    limit: u32,
    len: u32,
    free: u16,
    lowest: u16,
    _objects: PhantomData<T>,
}

impl<T, S: Slots<T>> Table<T, S> {
    /// Creates a table in `slots`, which are empty, for at most `limit` objects at a time.
    pub const fn new(slots: S, limit: u32) -> Self {
        Self {
            slots,
            limit,
            len: 0,
            free: 0,
            lowest: 0,
            _objects: PhantomData,
        }
    }

    /// Objects held.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether no object is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it never holds any.
    pub fn is_closed(&self) -> bool {
        self.limit == 0
    }

    /// Takes `value` and returns its handle, or gives it back.
    pub fn insert(&mut self, value: T) -> Result<u32, (InsertError, T)> {
        if self.len >= self.limit {
            return Err((InsertError::Full, value));
        }
        if self.free == 0 {
            if let Err(error) = self.grow() {
                return Err((error, value));
            }
        }
        let position = self.free;
        let Some(slot) = slot_mut(self.slots.slots_mut(), position) else {
            return Err((InsertError::NoMemory, value));
        };
        let Content::Free { next } = slot.content else {
            return Err((InsertError::NoMemory, value));
        };
        slot.content = Content::Used(value);
        self.free = next;
        self.len = self.len.saturating_add(1);
        self.lowest = self.lowest.min(position.saturating_sub(1));
        Ok(join(slot.generation, position))
    }

    /// The object of `handle`, if that is not stale.
    pub fn get(&self, handle: u32) -> Option<&T> {
        let (generation, position) = split(handle);
        let index = usize::from(position).checked_sub(1)?;
        self.slots.slots().get(index)?.value(generation)
    }

    /// The object of `handle`, if that is not stale.
    pub fn get_mut(&mut self, handle: u32) -> Option<&mut T> {
        let (generation, position) = split(handle);
        slot_mut(self.slots.slots_mut(), position)?.value_mut(generation)
    }

    /// Takes the object of `handle` out; the handle is stale from now on.
    pub fn remove(&mut self, handle: u32) -> Option<T> {
        let (generation, position) = split(handle);
        let slot = slot_mut(self.slots.slots_mut(), position)?;
        slot.value(generation)?;

        let raised = generation.checked_add(1);
        let (content, free) = match raised.filter(|raised| *raised <= MAX_GENERATION) {
            Some(raised) => {
                slot.generation = raised;
                (Content::Free { next: self.free }, position)
            }
            None => (Content::Retired, self.free),
        };
        let Content::Used(value) = core::mem::replace(&mut slot.content, content) else {
            return None;
        };
        self.free = free;
        self.len = self.len.saturating_sub(1);
        Some(value)
    }

    /// The first object at slot `from` or after it, and its slot. A loop that continues after that
    /// slot sees each object that stays in the table once, whatever else changes in between.
    pub fn next(&self, from: usize) -> Option<(usize, &T)> {
        let rest = self.slots.slots().get(from..)?;
        rest.iter()
            .enumerate()
            .find_map(|(offset, slot)| match &slot.content {
                Content::Used(value) => Some((from.checked_add(offset)?, value)),
                _ => None,
            })
    }

    /// All objects with their handles, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let numbered = (1..=u16::MAX).zip(self.slots.slots());
        numbered.filter_map(|(position, slot)| match &slot.content {
            Content::Used(value) => Some((join(slot.generation, position), value)),
            _ => None,
        })
    }

    /// Takes some object out; [`None`] if there is none. Emptying a table this way looks at each
    /// slot once.
    pub fn take_any(&mut self) -> Option<(u32, T)> {
        let position = self.lowest.checked_add(1)?;
        let rest = self.slots.slots().get(usize::from(self.lowest)..)?;
        let (position, slot) = (position..=u16::MAX)
            .zip(rest)
            .find(|(_, slot)| matches!(slot.content, Content::Used(_)))?;
        let handle = join(slot.generation, position);
        self.lowest = position;
        Some((handle, self.remove(handle)?))
    }

    /// Appends a slot to the free list, which is empty.
    fn grow(&mut self) -> Result<(), InsertError> {
        let position = match u16::try_from(self.slots.slots().len()) {
            Ok(count) => count.checked_add(1).ok_or(InsertError::Full)?,
            Err(_) => return Err(InsertError::Full),
        };
        let slot = Slot {
            generation: 0,
            content: Content::Free { next: 0 },
        };
        self.slots.push(slot).map_err(|_| InsertError::NoMemory)?;
        self.free = position;
        Ok(())
    }
}

fn join(generation: u16, position: u16) -> u32 {
    (u32::from(generation) << 16) | u32::from(position)
}

/// Returns generation and position; the latter is 0 for no slot.
fn split(handle: u32) -> (u16, u16) {
    let [g1, g0, p1, p0] = handle.to_be_bytes();
    (u16::from_be_bytes([g1, g0]), u16::from_be_bytes([p1, p0]))
}

fn slot_mut<T>(slots: &mut [Slot<T>], position: u16) -> Option<&mut Slot<T>> {
    slots.get_mut(usize::from(position).checked_sub(1)?)
}
