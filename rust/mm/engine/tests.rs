// SPDX-License-Identifier: GPL-2.0

//! Tests of copying pages, and of what becomes of those that are bad.

use super::*;
use crate::mm::{
    list::{
        Blocks,
        List, //
    },
    pages::{
        Pages,
        Placement, //
    },
    rwsem::RwSem, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

#[kunit_tests(dmakit_engine)]
mod suite {
    use super::*;

    /// No page is on it.
    const NOWHERE: i32 = -1;

    /// Single pages, of which each is told apart.
    fn pages(count: usize, begin: u8) -> Result<Arc<Pages>> {
        let pages = Pages::in_blocks(count, Placement::Any, Blocks::Never)?;
        for i in 0..count {
            pages.write(i as u64 * 4096 + i as u64, &[begin.wrapping_add(i as u8)])?;
        }
        Ok(pages)
    }

    fn byte(pages: &Pages, i: usize) -> Result<u8> {
        let mut byte = [0];
        pages.read(i as u64 * 4096 + i as u64, &mut byte)?;
        Ok(byte[0])
    }

    fn list(count: usize) -> Result<List> {
        let mut list = List::with_capacity(count)?;
        list.fill(count, Blocks::Never, bindings::NUMA_NO_NODE, false)?;
        assert_eq!(list.as_slice().len(), count);
        Ok(list)
    }

    #[test]
    fn each_once() -> Result {
        let mut most = 0;
        for count in [1, 31, 33, 127, 256, 300, 511, MOST] {
            let (from, to) = (pages(count, 7)?, pages(count, 99)?);
            let (mut copier, mut bad) = (Copier::default(), Bad::default());
            {
                let (from, to) = RwSem::read_two(from.list(), to.list());
                let to = to.ok_or(EINVAL)?;
                // SAFETY: nobody else knows the pages.
                let batch = unsafe { Batch::new(to.as_slice(), from.as_slice(), 0, 0) };
                let batch = batch.ok_or(EINVAL)?;
                assert!(copier.copy(&batch, &mut bad).is_ok());
            }
            assert!(!bad.any());
            assert_eq!(copier.used().engines, crate::uapi::DMAPLANE_ENGINE_CPU);
            for i in 0..count {
                assert_eq!(byte(&to, i)?, 7u8.wrapping_add(i as u8));
            }
            assert!(copier.used().threads >= 1);
            assert!(count >= 256 || copier.used().threads == 1);
            most = most.max(copier.used().threads);
        }
        assert!(most <= 8);
        Ok(())
    }

    #[test]
    fn as_many_on_either_side() -> Result {
        let (few, many) = (list(8)?, list(9)?);
        let (few, many) = (few.as_slice(), many.as_slice());
        // SAFETY: nobody else knows the pages, and they are not copied.
        let batch = |to, from, first| unsafe { Batch::new(to, from, 0, first) };
        assert!(batch(few, few, 0).is_some());
        assert!(batch(few, few, MOST - 8).is_some());
        assert!(batch(few, few, MOST - 7).is_none());
        assert!(batch(few, few, usize::MAX).is_none());
        assert!(batch(&[], &[], 0).is_none());
        assert!(batch(few, many, 0).is_none());
        assert!(batch(many, few, 0).is_none());
        Ok(())
    }

    /// Those that are bad stay, and so do their others; of blocks all do.
    #[test]
    fn bad_ones_stay() -> Result {
        for (blocks, moved) in [(false, 6), (true, 0)] {
            let (mut pages, mut others, mut bad) = (list(8)?, list(8)?, Bad::default());
            let (mut old, mut new) = ([core::ptr::null_mut(); 8], [core::ptr::null_mut(); 8]);
            old.copy_from_slice(pages.as_slice());
            new.copy_from_slice(others.as_slice());
            bad.0[0] = 0b1000_0001;
            // SAFETY: nobody else uses any of them, they are as many, and there is a bit for each.
            let done = unsafe {
                bindings::dk_pages_replace(
                    pages.as_mut_slice().as_mut_ptr(),
                    8,
                    NOWHERE,
                    blocks,
                    others.as_mut_slice().as_mut_ptr(),
                    bad.as_mut_ptr(),
                    MOST,
                )
            };
            assert_eq!(done, moved);
            for i in 0..8 {
                let stays = blocks || i == 0 || i == 7;
                assert!((pages.as_slice()[i] == old[i]) == stays);
                assert!((others.as_slice()[i] == new[i]) == stays);
                assert!((pages.as_slice()[i] == new[i]) != stays);
            }
        }
        Ok(())
    }
}
