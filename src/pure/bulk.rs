// SPDX-License-Identifier: GPL-2.0

//! Handles of small values, of which there are many.
//!
//! A handle is 32 bits: the highest one, which no handle of [`handle`](super::handle) has, the
//! generation of a slot (14), and its number (17). Slots are used for ever, so generations begin
//! again; but free slots are used in turn, and [`SPARE`] are always free, so that a handle is issued
//! again after 2^22 others at the earliest.
//!
//! A [`Table`] does not get memory: its user brings a larger slice when it has too little.

use core::{
    marker::PhantomData,
    ops::DerefMut, //
};

/// Values that a [`Table`] can hold.
pub const LIMIT: u32 = 65536;

/// Slots that are always free.
pub const SPARE: u32 = 256;

const KIND: u32 = 1 << 31;
const POSITION_BITS: u32 = 17;
const POSITION: u32 = (1 << POSITION_BITS) - 1;
const LAST_GENERATION: u32 = (1 << 14) - 1;

/// Slots that a table may have.
pub const MOST: u32 = LIMIT + SPARE;

const _: () = assert!(MOST <= POSITION);

/// Whether that is a handle of a [`Table`], stale or not.
pub const fn is_bulk(handle: u32) -> bool {
    handle & KIND != 0
}

/// One place in a [`Table`].
#[derive(Clone, Copy, Debug)]
pub struct Slot<T> {
    value: Option<T>,
    generation: u32,
    /// It is about to be freed; or, of a free one, the next free slot plus one, or 0.
    link: u32,
}

impl<T> Slot<T> {
    /// One that was never used.
    pub const NEW: Self = Self {
        value: None,
        generation: 0,
        link: 0,
    };
}

/// Values by handle.
///
/// # Invariants
///
/// - The slots from `fresh` on were never used.
/// - The free ones before it form a list, by their links, from `first` to `last`: their numbers plus
///   one, or 0 if there are none.
/// - `len` slots are used, and the link of each is 0.
#[derive(Debug)]
pub struct Table<T, S> {
    slots: S,
    len: u32,
    fresh: u32,
    first: u32,
    last: u32,
    _values: PhantomData<T>,
}

impl<T: Copy, S: DerefMut<Target = [Slot<T>]>> Table<T, S> {
    /// Creates a table in `slots`, which are [`Slot::NEW`].
    pub const fn new(slots: S) -> Self {
        Self {
            slots,
            len: 0,
            fresh: 0,
            first: 0,
            last: 0,
            _values: PhantomData,
        }
    }

    /// Values held.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether no value is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Slots there are.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Slots that are needed to take `count` more; [`None`] if those are too many values.
    pub fn wanted(&self, count: u32) -> Option<usize> {
        let len = self.len.checked_add(count).filter(|len| *len <= LIMIT)?;
        usize::try_from(len.checked_add(SPARE)?).ok()
    }

    /// Moves into `slots`, which are [`Slot::NEW`] and more than there are, and returns the old ones. Those
    /// past [`MOST`] are not used.
    pub fn grow(&mut self, mut slots: S) -> S {
        for (to, from) in slots.iter_mut().zip(self.slots.iter()) {
            *to = *from;
        }
        core::mem::replace(&mut self.slots, slots)
    }

    /// Takes `value` and returns its handle; [`None`] if there are fewer slots than
    /// [`wanted`](Self::wanted).
    pub fn insert(&mut self, value: T) -> Option<u32> {
        self.wanted(1).filter(|wanted| *wanted <= self.slots())?;
        let position = match self.slots.get(usize::try_from(self.fresh).ok()?) {
            Some(_) if self.fresh < MOST => {
                let position = self.fresh;
                self.fresh = position.checked_add(1)?;
                position
            }
            _ => {
                let position = self.first.checked_sub(1)?;
                let slot = slot_mut(&mut self.slots, position)?;
                self.first = core::mem::take(&mut slot.link);
                if self.first == 0 {
                    self.last = 0;
                }
                position
            }
        };
        let slot = slot_mut(&mut self.slots, position)?;
        slot.value = Some(value);
        self.len = self.len.saturating_add(1);
        Some(KIND | slot.generation.wrapping_shl(POSITION_BITS) | position)
    }

    /// The value of `handle`, if that is not stale.
    pub fn get(&self, handle: u32) -> Option<T> {
        let position = usize::try_from(handle & POSITION).ok()?;
        let slot = self.slots.get(position)?;
        slot.value.filter(|_| slot.is_of(handle))
    }

    /// Takes all of them out, or none: then it is the first that is stale, or occurs twice.
    pub fn remove_all(&mut self, handles: &[u32]) -> Result<(), usize> {
        let marked = handles
            .iter()
            .take_while(|handle| self.mark(**handle))
            .count();
        let all = marked == handles.len();
        for handle in handles.iter().take(marked) {
            self.unmark(*handle, all);
        }
        match all {
            true => Ok(()),
            false => Err(marked),
        }
    }

    fn mark(&mut self, handle: u32) -> bool {
        match self.slot_of(handle) {
            Some(slot) if slot.link == 0 => {
                slot.link = 1;
                true
            }
            _ => false,
        }
    }

    fn unmark(&mut self, handle: u32, free: bool) {
        let Some(slot) = self.slot_of(handle) else {
            return;
        };
        slot.link = 0;
        if !free {
            return;
        }
        slot.value = None;
        slot.generation = slot.generation.wrapping_add(1) & LAST_GENERATION;
        let number = (handle & POSITION).saturating_add(1);
        match self.last.checked_sub(1) {
            None => self.first = number,
            Some(last) => {
                if let Some(last) = slot_mut(&mut self.slots, last) {
                    last.link = number;
                }
            }
        }
        self.last = number;
        self.len = self.len.saturating_sub(1);
    }

    /// The slot of a handle that is not stale.
    fn slot_of(&mut self, handle: u32) -> Option<&mut Slot<T>> {
        let slot = slot_mut(&mut self.slots, handle & POSITION)?;
        (slot.value.is_some() && slot.is_of(handle)).then_some(slot)
    }
}

impl<T> Slot<T> {
    fn is_of(&self, handle: u32) -> bool {
        is_bulk(handle) && self.generation == (handle & !KIND).wrapping_shr(POSITION_BITS)
    }
}

fn slot_mut<T>(slots: &mut [Slot<T>], position: u32) -> Option<&mut Slot<T>> {
    slots.get_mut(usize::try_from(position).ok()?)
}
