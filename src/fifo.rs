// SPDX-License-Identifier: GPL-2.0

//! A queue of fixed capacity: pushing never allocates, growing does.

use kernel::{
    alloc::KVVec,
    prelude::*, //
};

/// First in, first out.
pub(crate) struct Fifo<T> {
    places: KVVec<Option<T>>,
    first: usize,
    len: usize,
}

impl<T> Fifo<T> {
    /// Makes an empty queue for `capacity` items.
    pub(crate) fn new(capacity: usize) -> Result<Self> {
        let mut places = KVVec::with_capacity(capacity, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..capacity {
            places.push(None, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(Self {
            places,
            first: 0,
            len: 0,
        })
    }

    /// Makes room for one more item.
    pub(crate) fn grow(&mut self) -> Result {
        if !self.is_full() {
            return Ok(());
        }
        let mut larger = Self::new(self.places.len().saturating_mul(2).max(4))?;
        while let Some(item) = self.pop() {
            // There is room.
            let _ = larger.push(item);
        }
        *self = larger;
        Ok(())
    }

    /// The items, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.len).filter_map(|index| self.get(index))
    }

    /// Takes out the first item that `wanted` holds for, or all; returns how many there were.
    pub(crate) fn take(
        &mut self,
        all: bool,
        wanted: impl Fn(&T) -> bool,
        mut each: impl FnMut(T),
    ) -> u32 {
        let mut count = 0u32;
        // Nothing is moved in vain.
        if !self.iter().any(&wanted) {
            return count;
        }
        for _ in 0..self.len {
            let Some(item) = self.pop() else { break };
            if (all || count == 0) && wanted(&item) {
                count = count.saturating_add(1);
                each(item);
            } else {
                // There is room: it was there before.
                let _ = self.push(item);
            }
        }
        count
    }

    /// Takes out all but the first items, as many as `keep`.
    pub(crate) fn cut(&mut self, keep: usize, mut each: impl FnMut(T)) {
        for index in 0..self.len {
            let Some(item) = self.pop() else { return };
            if index < keep {
                // As above.
                let _ = self.push(item);
            } else {
                each(item);
            }
        }
    }

    /// Items in the queue.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether there is room for none more.
    pub(crate) fn is_full(&self) -> bool {
        self.len == self.places.len()
    }

    /// The item before which there are `index` others.
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.places.get(self.place(index)?)?.as_ref()
    }

    fn place(&self, index: usize) -> Option<usize> {
        let place = self.first.checked_add(index).filter(|_| index < self.len)?;
        let wrapped = place.checked_sub(self.places.len());
        Some(wrapped.unwrap_or(place))
    }

    /// The next item, to change it.
    pub(crate) fn front_mut(&mut self) -> Option<&mut T> {
        self.get_mut(0)
    }

    /// As [`Self::get`], to change it.
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        let place = self.place(index)?;
        self.places.get_mut(place)?.as_mut()
    }

    /// Appends an item, or gives it back if the queue is full.
    pub(crate) fn push(&mut self, item: T) -> Result<(), T> {
        let capacity = self.places.len();
        let mut last = self.first.wrapping_add(self.len);
        if last >= capacity {
            last = last.wrapping_sub(capacity);
        }
        match self.places.get_mut(last) {
            Some(place) if self.len < capacity => {
                *place = Some(item);
                self.len = self.len.wrapping_add(1);
                Ok(())
            }
            _ => Err(item),
        }
    }

    /// Puts an item before all others, or gives it back if the queue is full.
    pub(crate) fn push_front(&mut self, item: T) -> Result<(), T> {
        let first = match self.first {
            0 => self.places.len(),
            first => first,
        };
        let first = first.wrapping_sub(1);
        match self.places.get_mut(first) {
            Some(place) if place.is_none() => {
                *place = Some(item);
                self.first = first;
                self.len = self.len.wrapping_add(1);
                Ok(())
            }
            _ => Err(item),
        }
    }

    /// Takes the next item.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let item = self.places.get_mut(self.first)?.take()?;
        self.first = self.first.wrapping_add(1);
        if self.first >= self.places.len() {
            self.first = 0;
        }
        self.len = self.len.saturating_sub(1);
        Some(item)
    }
}
