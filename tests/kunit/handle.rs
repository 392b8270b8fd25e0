// SPDX-License-Identifier: GPL-2.0

//! The table of handles in the memory that contexts give it.

use kernel::prelude::*;

#[kunit_tests(dmaplane_handle)]
mod tests {
    use super::*;
    use crate::{
        context::Memory,
        pure::handle::{
            InsertError,
            Table,
            MAX_GENERATION,
            MAX_SLOTS, //
        }, //
    };
    use kernel::{
        alloc::KVVec,
        sync::Arc, //
    };

    fn table<T>(limit: u32) -> Table<T, Memory<T>> {
        Table::new(Memory(KVVec::new()), limit)
    }

    #[test]
    fn found_again_however_the_memory_grew() -> Result {
        let mut table = table(5000);
        let mut handles = KVVec::new();
        for value in 0..5000u64 {
            let handle = table.insert(value).map_err(|_| ENOMEM)?;
            assert!(handle != 0);
            handles.push(handle, GFP_KERNEL)?;
        }
        for (handle, value) in handles.iter().zip(0..) {
            assert_eq!(table.get(*handle), Some(&value));
        }
        assert_eq!(table.insert(0), Err((InsertError::Full, 0)));
        for (taken, value) in handles.iter().zip(0..) {
            assert_eq!(table.remove(*taken), Some(value));
        }
        assert!(table.is_empty());
        Ok(())
    }

    #[test]
    fn every_slot_there_is() -> Result {
        let mut table = table(u32::MAX);
        for value in 0..MAX_SLOTS {
            assert!(table.insert(value).is_ok());
        }
        assert_eq!(table.insert(0), Err((InsertError::Full, 0)));
        assert_eq!(table.len(), MAX_SLOTS);
        let mut sum = 0;
        while let Some((_, value)) = table.take_any() {
            sum += u64::from(value);
        }
        assert_eq!(sum, u64::from(MAX_SLOTS) * u64::from(MAX_SLOTS - 1) / 2);
        assert!(table.is_empty());
        Ok(())
    }

    #[test]
    fn stale_from_the_moment_of_removal() {
        let mut table = table(4);
        let old = table.insert(1).unwrap_or(0);
        assert_eq!(table.remove(old), Some(1));
        assert_eq!(table.remove(old), None);
        let new = table.insert(2).unwrap_or(0);
        // The same slot, but another handle.
        assert!(new != old && new & 0xffff == old & 0xffff);
        assert_eq!(table.get(old), None);
        assert_eq!(table.get_mut(old), None);
        assert_eq!(table.get(new), Some(&2));
    }

    #[test]
    fn numbers_that_were_never_handles() {
        let mut table = table(4);
        let handle = table.insert(1).unwrap_or(0);
        for number in [0, 1 << 16, handle + 1, handle | 1 << 16, 0xffff, u32::MAX] {
            assert_eq!(table.get(number), None);
            assert_eq!(table.remove(number), None);
        }
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_slot_with_no_generation_left_is_not_used_again() {
        let mut table = table(4);
        let first = table.insert(0).unwrap_or(0);
        assert_eq!(table.remove(first), Some(0));
        let mut last = first;
        for generation in 1..=u32::from(MAX_GENERATION) {
            last = table.insert(generation).unwrap_or(0);
            assert_eq!(last, generation << 16 | first);
            assert_eq!(table.remove(last), Some(generation));
        }
        let next = table.insert(7).unwrap_or(0);
        assert_eq!(next, first + 1);
        assert_eq!(table.get(first), None);
        assert_eq!(table.get(last), None);
    }

    #[test]
    fn drops_what_it_holds() -> Result {
        let object = Arc::new(5u32, GFP_KERNEL)?;
        let mut table = table(64);
        let mut removed = 0;
        for _ in 0..64 {
            removed = table.insert(object.clone()).map_err(|_| ENOMEM)?;
        }
        drop(table.remove(removed));
        drop(table);
        assert!(Arc::into_unique_or_drop(object).is_some());
        Ok(())
    }
}
