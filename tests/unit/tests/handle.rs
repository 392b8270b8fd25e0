// SPDX-License-Identifier: GPL-2.0

//! Tests of `src/pure/handle.rs`: a table against a map of all handles ever issued.

mod common;

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};

use dmaplane_unit::pure::bulk::is_bulk;
use dmaplane_unit::pure::handle::{InsertError, Slot, Slots, Table, MAX_GENERATION, MAX_SLOTS};
use proptest::prelude::*;

use common::config;

/// A vector whose memory ends after `room` slots.
#[derive(Debug)]
struct Memory<'a, T> {
    slots: Vec<Slot<T>>,
    room: &'a Room,
}

#[derive(Debug)]
struct Room {
    room: Cell<usize>,
    used: Cell<usize>,
}

impl Room {
    fn new(room: usize) -> Self {
        Self {
            room: Cell::new(room),
            used: Cell::new(0),
        }
    }
}

impl<T> Slots<T> for Memory<'_, T> {
    fn slots(&self) -> &[Slot<T>] {
        &self.slots
    }

    fn slots_mut(&mut self) -> &mut [Slot<T>] {
        &mut self.slots
    }

    fn push(&mut self, slot: Slot<T>) -> Result<(), Slot<T>> {
        if self.slots.len() >= self.room.room.get() {
            return Err(slot);
        }
        self.slots.push(slot);
        self.room.used.set(self.slots.len());
        Ok(())
    }
}

const fn table<T>(limit: u32, room: &Room) -> Table<T, Memory<'_, T>> {
    let slots = Vec::new();
    Table::new(Memory { slots, room }, limit)
}

#[test]
fn a_handle_is_never_zero_and_means_its_object() {
    let room = Room::new(4);
    let mut table = table(4, &room);
    let handle = table.insert("a").unwrap();
    assert_ne!(handle, 0);
    assert_eq!(table.get(handle), Some(&"a"));
    *table.get_mut(handle).unwrap() = "b";
    assert_eq!(table.remove(handle), Some("b"));
    assert_eq!(table.get(0), None);
    assert!(table.is_empty());
}

#[test]
fn a_stale_handle_means_nothing() {
    let room = Room::new(1);
    let mut table = table(1, &room);
    let stale = table.insert('a').unwrap();
    table.remove(stale);
    let live = table.insert('b').unwrap();
    assert_ne!(stale, live);
    assert_eq!(table.get(stale), None);
    assert_eq!(table.get_mut(stale), None);
    assert_eq!(table.remove(stale), None);
    assert_eq!(table.get(live), Some(&'b'));
}

#[test]
fn what_is_not_taken_is_given_back() {
    let room = Room::new(4);
    let mut full = table(1, &room);
    assert!(full.insert('a').is_ok());
    assert_eq!(full.insert('b'), Err((InsertError::Full, 'b')));

    let room = Room::new(1);
    let mut poor = table(4, &room);
    let handle = poor.insert('a').unwrap();
    assert_eq!(poor.insert('b'), Err((InsertError::NoMemory, 'b')));
    assert_eq!(poor.len(), 1);
    // Without memory, slots that are free again can still be used.
    poor.remove(handle);
    assert!(poor.insert('c').is_ok());
}

#[test]
fn a_slot_is_retired_before_a_handle_could_return() {
    let room = Room::new(2);
    let mut table = table(1, &room);
    let mut seen = HashSet::new();
    for _ in 0..2 * (u32::from(MAX_GENERATION) + 1) {
        let handle = table.insert(()).unwrap();
        assert!(seen.insert(handle) && !is_bulk(handle));
        assert_eq!(table.remove(handle), Some(()));
        assert_eq!(table.get(handle), None);
    }
    // Both slots are used up now.
    assert_eq!(table.insert(()), Err((InsertError::NoMemory, ())));
    assert!(seen.iter().all(|&handle| table.get(handle).is_none()));
}

#[test]
fn the_largest_table() {
    let room = Room::new(usize::MAX);
    let mut table = table(u32::MAX, &room);
    let handles: Vec<_> = (0..MAX_SLOTS).map(|n| table.insert(n).unwrap()).collect();
    assert_eq!(table.insert(0), Err((InsertError::Full, 0)));
    assert!((0..).zip(&handles).all(|(n, &h)| table.get(h) == Some(&n)));
    assert_eq!(table.iter().count(), handles.len());

    let mut left: HashSet<_> = handles.into_iter().collect();
    while let Some((handle, _)) = table.take_any() {
        assert!(left.remove(&handle));
    }
    assert!(left.is_empty() && table.is_empty());
    assert!(table.insert(0).is_ok());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert,
    /// Of handles issued, alive or not.
    Remove(prop::sample::Index),
    Change(prop::sample::Index),
    TakeAny,
    Look(u32),
    /// So much memory from now on.
    Room(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Insert),
        3 => any::<prop::sample::Index>().prop_map(Step::Remove),
        1 => any::<prop::sample::Index>().prop_map(Step::Change),
        1 => Just(Step::TakeAny),
        1 => any::<u32>().prop_map(Step::Look),
        1 => (0..4u32, 0..20u32).prop_map(|(high, low)| Step::Look((high << 16) | low)),
        1 => (0..12usize).prop_map(Step::Room),
    ]
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn against_a_map(limit in 0..10u32, steps in prop::collection::vec(step(), 0..200)) {
        let room = Room::new(8);
        let mut table = table(limit, &room);
        let mut live = BTreeMap::new();
        let mut issued: Vec<u32> = Vec::new();
        let mut most = 0;
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Insert => match table.insert(number) {
                    Ok(handle) => {
                        prop_assert_ne!(handle, 0);
                        prop_assert!(!issued.contains(&handle));
                        issued.push(handle);
                        live.insert(handle, number);
                        prop_assert!(live.len() as u32 <= limit);
                    }
                    Err((InsertError::Full, back)) => {
                        prop_assert_eq!((back, live.len() as u32), (number, limit));
                    }
                    Err((InsertError::NoMemory, back)) => {
                        prop_assert_eq!(back, number);
                        prop_assert!((live.len() as u32) < limit);
                    }
                },
                Step::Remove(index) if !issued.is_empty() => {
                    let handle = *index.get(&issued);
                    prop_assert_eq!(table.remove(handle), live.remove(&handle));
                }
                Step::Change(index) if !issued.is_empty() => {
                    let handle = *index.get(&issued);
                    let (ours, theirs) = (table.get_mut(handle), live.get_mut(&handle));
                    prop_assert_eq!(&ours, &theirs);
                    if let (Some(ours), Some(theirs)) = (ours, theirs) {
                        *ours += 1000;
                        *theirs += 1000;
                    }
                }
                Step::TakeAny => match table.take_any() {
                    Some((handle, value)) => prop_assert_eq!(live.remove(&handle), Some(value)),
                    None => prop_assert!(live.is_empty()),
                },
                Step::Look(handle) => prop_assert_eq!(table.get(handle), live.get(&handle)),
                Step::Room(slots) => room.room.set(slots),
                Step::Remove(_) | Step::Change(_) => {}
            }
            most = most.max(live.len());
            prop_assert_eq!(room.used.get(), most, "free slots are used first");
            prop_assert_eq!(table.len() as usize, live.len());
            let all: BTreeMap<_, _> = table.iter().map(|(handle, &value)| (handle, value)).collect();

            let mut walked = Vec::new();
            let mut slot = 0;
            while let Some((found, &value)) = table.next(slot) {
                walked.push(value);
                slot = found + 1;
            }
            prop_assert_eq!(walked, table.iter().map(|(_, &value)| value).collect::<Vec<_>>());
            prop_assert_eq!(&all, &live);
        }
        while let Some((handle, value)) = table.take_any() {
            prop_assert_eq!(live.remove(&handle), Some(value));
        }
        prop_assert!(live.is_empty());
    }
}
