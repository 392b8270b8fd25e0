// SPDX-License-Identifier: GPL-2.0

//! The queue that never allocates, in the kernel's memory.

use kernel::prelude::*;

#[kunit_tests(dmaplane_fifo)]
mod tests {
    use super::*;
    use crate::fifo::Fifo;
    use kernel::sync::Arc;

    #[test]
    fn in_order_round_and_round() -> Result {
        let mut fifo = Fifo::new(3)?;
        let mut next = 0;
        for item in 0..20 {
            assert_eq!(fifo.push(item), Ok(()));
            // One stays behind, so that the two ends pass the capacity at different times.
            if item > 0 {
                assert_eq!(fifo.get(0), Some(&next));
                assert_eq!(fifo.get(1), Some(&item));
                assert_eq!(fifo.get(2), None);
                assert_eq!(fifo.pop(), Some(next));
                next += 1;
            }
            assert_eq!(fifo.len(), 1);
        }
        assert_eq!(fifo.pop(), Some(19));
        assert_eq!(fifo.pop(), None);
        assert!(fifo.is_empty());
        Ok(())
    }

    #[test]
    fn full_at_both_ends() -> Result {
        let mut fifo = Fifo::new(3)?;
        assert_eq!(fifo.push(2), Ok(()));
        assert_eq!(fifo.push_front(1), Ok(()));
        assert!(!fifo.is_full());
        assert_eq!(fifo.push(3), Ok(()));
        assert!(fifo.is_full());
        assert_eq!(fifo.push(4), Err(4));
        assert_eq!(fifo.push_front(0), Err(0));
        if let Some(first) = fifo.front_mut() {
            *first = 7;
        }
        assert_eq!(fifo.pop(), Some(7));
        assert_eq!(fifo.pop(), Some(2));
        assert_eq!(fifo.pop(), Some(3));
        assert_eq!(fifo.pop(), None);
        Ok(())
    }

    #[test]
    fn without_room() -> Result {
        let mut fifo = Fifo::new(0)?;
        assert_eq!(fifo.push(1), Err(1));
        assert_eq!(fifo.push_front(1), Err(1));
        assert_eq!(fifo.pop(), None);
        assert_eq!(fifo.get(0), None);
        assert_eq!(fifo.get(usize::MAX), None);
        assert!(fifo.is_full() && fifo.is_empty());
        Ok(())
    }

    #[test]
    fn grows_when_it_is_full() -> Result {
        let mut fifo = Fifo::new(0)?;
        let mut next = 0;
        for item in 0..40 {
            fifo.grow()?;
            assert_eq!(fifo.push(item), Ok(()));
            // So that the oldest is anywhere when it grows.
            if item % 3 == 0 {
                assert_eq!(fifo.pop(), Some(next));
                next += 1;
            }
        }
        while let Some(item) = fifo.pop() {
            assert_eq!(item, next);
            next += 1;
        }
        assert_eq!(next, 40);
        Ok(())
    }

    #[test]
    fn takes_out_some() -> Result {
        let mut fifo = Fifo::new(7)?;
        for item in 0..5 {
            assert_eq!(fifo.push(item), Ok(()));
        }
        assert_eq!((fifo.pop(), fifo.pop()), (Some(0), Some(1)));
        for item in 5..9 {
            assert_eq!(fifo.push(item), Ok(()));
        }
        let mut out = KVec::new();
        let mut failed = false;
        let mut keep = |item| failed |= out.push(item, GFP_KERNEL).is_err();
        assert_eq!(fifo.take(true, |item| *item > 8, &mut keep), 0);
        assert_eq!(fifo.take(true, |item| item % 3 == 0, &mut keep), 2);
        assert_eq!(fifo.take(false, |item| item % 4 == 0, &mut keep), 1);
        assert!(fifo.iter().eq(&[2, 5, 7, 8]));
        fifo.cut(3, &mut keep);
        fifo.cut(7, &mut keep);
        assert!(!failed);
        assert_eq!(out[..], [3, 6, 4, 8]);
        for item in [2, 5, 7] {
            assert_eq!(fifo.pop(), Some(item));
        }
        assert!(fifo.is_empty());
        Ok(())
    }

    #[test]
    fn drops_what_it_holds() -> Result {
        let object = Arc::new(5u32, GFP_KERNEL)?;
        let mut fifo = Fifo::new(4)?;
        for _ in 0..4 {
            assert!(fifo.push(object.clone()).is_ok());
        }
        drop(fifo.pop());
        drop(fifo);
        assert!(Arc::into_unique_or_drop(object).is_some());
        Ok(())
    }
}
