// SPDX-License-Identifier: GPL-2.0

//! Tests of `src/pure/bulk.rs`: a table against a map of the handles that are alive.

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dmaplane_unit::pure::bulk::{is_bulk, Slot, Table, LIMIT, SPARE};
use proptest::prelude::*;

use common::config;

type Values = Table<u32, Vec<Slot<u32>>>;

fn table(slots: usize) -> Values {
    Table::new(vec![Slot::NEW; slots])
}

/// Gets memory if need be, and takes `value`.
fn insert(table: &mut Values, value: u32) -> u32 {
    let wanted = table.wanted(1).unwrap();
    if wanted > table.slots() {
        let old = table.slots();
        assert_eq!(table.grow(vec![Slot::NEW; wanted]).len(), old);
    }
    table.insert(value).unwrap()
}

#[test]
fn a_handle_means_its_value_until_it_is_removed() {
    let mut table = table(300);
    let handle = insert(&mut table, 5);
    assert!(is_bulk(handle));
    assert_eq!(table.get(handle), Some(5));
    // Without the bit that makes it one of these, or with another generation or place.
    for bit in 0..32 {
        assert_eq!(table.get(handle ^ (1 << bit)), None);
        assert_eq!(table.remove_all(&[handle ^ (1 << bit)]), Err(0));
    }
    assert_eq!(table.remove_all(&[handle]), Ok(()));
    assert_eq!(table.get(handle), None);
    assert_eq!(table.remove_all(&[handle]), Err(0));
    assert!(table.is_empty());
}

#[test]
fn without_slots_nothing_is_taken() {
    let mut table = table(0);
    assert_eq!(table.insert(1), None);
    assert_eq!(table.wanted(1), Some(1 + SPARE as usize));
    table.grow(vec![Slot::NEW; SPARE as usize]);
    assert_eq!(table.insert(1), None);
    table.grow(vec![Slot::NEW; 1 + SPARE as usize]);
    assert!(table.insert(1).is_some());
    assert_eq!(table.insert(2), None);
}

#[test]
fn the_largest_table() {
    let mut table = table((LIMIT + SPARE) as usize);
    let handles: Vec<_> = (0..LIMIT).map(|n| table.insert(n).unwrap()).collect();
    assert_eq!(table.wanted(1), None);
    assert_eq!(table.wanted(u32::MAX), None);
    assert_eq!(table.insert(0), None);
    assert!((0..).zip(&handles).all(|(n, &h)| table.get(h) == Some(n)));
    assert_eq!(handles.iter().collect::<BTreeSet<_>>().len(), handles.len());
    // All but the last are right.
    let wrong = [&handles[..], &handles[..1]].concat();
    assert_eq!(table.remove_all(&wrong), Err(handles.len()));
    assert_eq!(table.len(), LIMIT);
    assert_eq!(table.remove_all(&handles), Ok(()));
    assert!(table.is_empty());
}

/// More slots than handles can name are of no use, and do no harm.
#[test]
fn too_many_slots() {
    let mut table = table(2 * (LIMIT + SPARE) as usize);
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        let handles: Vec<_> = (0..LIMIT).map(|n| table.insert(n).unwrap()).collect();
        assert!(handles.iter().all(|handle| seen.insert(*handle)));
        assert!((0..).zip(&handles).all(|(n, &h)| table.get(h) == Some(n)));
        assert_eq!(table.remove_all(&handles), Ok(()));
    }
}

/// A full table is worst: only the spare slots are used, over and over.
#[test]
fn a_handle_returns_after_millions_of_others() {
    let mut table = table(0);
    for value in 0..100 {
        insert(&mut table, value);
    }
    let first = insert(&mut table, 7);
    assert_eq!(table.remove_all(&[first]), Ok(()));
    let mut others = 0u32;
    loop {
        let handle = insert(&mut table, 7);
        if handle == first {
            break;
        }
        assert_eq!(table.get(first), None);
        assert_eq!(table.remove_all(&[handle]), Ok(()));
        others += 1;
    }
    assert!(others >= 1 << 22);
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32),
    /// Of handles issued, alive or not.
    Remove(Vec<prop::sample::Index>),
    Look(u32),
    Grow(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..60u32).prop_map(Step::Insert),
        3 => prop::collection::vec(any::<prop::sample::Index>(), 1..40).prop_map(Step::Remove),
        1 => any::<u32>().prop_map(Step::Look),
        1 => (1..400usize).prop_map(Step::Grow),
    ]
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn against_a_map(steps in prop::collection::vec(step(), 0..100)) {
        let mut table = table(0);
        let mut live = BTreeMap::new();
        let mut issued = Vec::new();
        let mut value = 0;
        for step in steps {
            match step {
                Step::Insert(count) => {
                    for _ in 0..count {
                        value += 1;
                        let handle = insert(&mut table, value);
                        prop_assert!(!issued.contains(&handle));
                        issued.push(handle);
                        live.insert(handle, value);
                    }
                }
                Step::Remove(which) if !issued.is_empty() => {
                    let handles: Vec<u32> = which.iter().map(|index| *index.get(&issued)).collect();
                    let mut seen = HashMap::new();
                    let wrong = handles.iter().position(|handle| {
                        !live.contains_key(handle) || seen.insert(*handle, ()).is_some()
                    });
                    prop_assert_eq!(table.remove_all(&handles).err(), wrong);
                    if wrong.is_none() {
                        live.retain(|handle, _| !handles.contains(handle));
                    }
                }
                Step::Remove(_) => {}
                Step::Look(handle) => {
                    prop_assert_eq!(table.get(handle), live.get(&handle).copied());
                }
                Step::Grow(more) => {
                    table.grow(vec![Slot::NEW; table.slots() + more]);
                }
            }
            prop_assert_eq!(table.len() as usize, live.len());
            for handle in &issued {
                prop_assert_eq!(table.get(*handle), live.get(handle).copied());
            }
        }
    }
}
