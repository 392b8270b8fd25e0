// SPDX-License-Identifier: GPL-2.0

//! Tests of pages, and of moving them.

use super::*;
use crate::mm::{
    migrate::Migration,
    node_online,
    nr_nodes,
    shared::Shared,
    shown::Shown,
    space::Space, //
};

#[kunit_tests(dmakit_pages)]
mod suite {
    use super::*;

    fn some_node() -> Option<i32> {
        (0..nr_nodes())
            .filter_map(|node| i32::try_from(node).ok())
            .find(|node| node_online(*node))
    }

    fn on_online_nodes(pages: &Pages) -> Result<u64> {
        let mut counts = [0; 64];
        pages.count_nodes(&mut counts)?;
        let online = |&(node, _): &(i32, &u64)| node_online(node);
        Ok((0..)
            .zip(&counts)
            .filter(online)
            .map(|(_, count)| count)
            .sum())
    }

    #[test]
    fn as_many_as_asked_for() -> Result {
        for count in [0, 1, 2, 9, 511, 1025] {
            let pages = Pages::new(count, Placement::Any)?;
            assert_eq!(pages.count(), count);
            assert_eq!(pages.len(), count as u64 * PAGE_SIZE as u64);
            assert_eq!(pages.is_empty(), count == 0);
            assert_eq!(on_online_nodes(&pages)?, count as u64);
        }
        Ok(())
    }

    #[test]
    fn each_is_another_page() -> Result {
        let pages = Pages::new(529, Placement::Any)?;
        let pinned = Pages::pin(&pages);
        let list = pinned.as_ptrs();
        for (i, page) in list.iter().enumerate() {
            assert!(!page.is_null());
            assert!(!list.iter().skip(i + 1).any(|other| other == page));
        }
        Ok(())
    }

    #[test]
    fn on_the_node_that_was_named() -> Result {
        let node = some_node().ok_or(ENODEV)?;
        for placement in [Placement::Strict(node), Placement::Prefer(node)] {
            let pages = Pages::new(8, placement)?;
            let mut counts = [0; 64];
            pages.count_nodes(&mut counts)?;
            assert_eq!(counts.get(node as usize), Some(&8));
        }
        Ok(())
    }

    #[test]
    fn blocks_are_counted_as_they_are() -> Result {
        for (count, blocks) in [
            (1030, Blocks::May),
            (1030, Blocks::Never),
            (1024, Blocks::Must),
        ] {
            let pages = Pages::in_blocks(count, Placement::Any, blocks)?;
            let (mut nodes, mut orders) = ([0; 64], [0; ORDERS]);
            assert_eq!(pages.survey(&mut nodes, &mut orders), Ok(0));
            assert_eq!(nodes.iter().sum::<u64>(), count as u64);
            let sizes = (0..).zip(&orders).map(|(order, n)| u64::from(*n) << order);
            assert_eq!(sizes.sum::<u64>(), count as u64);
            if blocks == Blocks::Must {
                assert_eq!(orders[BLOCK_ORDER as usize], 2);
            }
            assert_eq!(pages.survey(&mut [], &mut orders), Err(EIO));
        }
        Ok(())
    }

    #[test]
    fn turns_go_round() {
        assert_eq!(next_turn(0b1010, None), 1);
        assert_eq!(next_turn(0b1010, Some(1)), 3);
        assert_eq!(next_turn(0b1010, Some(3)), 1);
        assert_eq!(next_turn(1, Some(0)), 0);
        assert_eq!(next_turn(1 << 63 | 1, Some(0)), 63);
        assert_eq!(next_turn(1 << 63 | 1, Some(63)), 0);
    }

    #[test]
    fn by_turns_on_each_node() -> Result {
        let online = |node: &u32| node_online(*node as i32);
        let all: u64 = (0..nr_nodes().min(64)).filter(online).map(|n| 1 << n).sum();
        for (blocks, step) in [(Blocks::Never, 1), (Blocks::May, BLOCK_PAGES)] {
            let placement = Placement::Turns {
                nodes: all,
                strict: true,
            };
            let pages = Pages::in_blocks(3 * BLOCK_PAGES + 7, placement, blocks)?;
            let pinned = Pages::pin(&pages);
            let (mut turn, mut counts, mut orders) = (None, [0; 64], [0; ORDERS]);
            for part in pinned.as_ptrs().chunks(step) {
                turn = Some(next_turn(all, turn));
                // SAFETY: these pages are alive; the counts are as many as is said.
                assert!(unsafe {
                    bindings::dk_survey_pages(
                        part.as_ptr(),
                        part.len(),
                        false,
                        counts.as_mut_ptr(),
                        64,
                        orders.as_mut_ptr(),
                        BLOCK_ORDER,
                    )
                });
                let here = turn.and_then(|turn| counts.get_mut(turn as usize));
                assert_eq!(here.map(core::mem::take), Some(part.len() as u64));
            }
            assert!(counts.iter().all(|count| *count == 0));
        }
        Ok(())
    }

    #[test]
    fn blocks_stay_blocks_when_they_move() -> Result {
        let pages = Pages::in_blocks(2 * BLOCK_PAGES, Placement::Any, Blocks::Must)?;
        pages.fill(0, 0x5a, 2 * BLOCK_PAGES * PAGE_SIZE)?;
        for node in (0..nr_nodes()).filter_map(|node| i32::try_from(node).ok()) {
            if node_online(node) {
                move_all(&pages, node)?;
                let mut orders = [0; ORDERS];
                pages.survey(&mut [0; 64], &mut orders)?;
                assert_eq!(orders[BLOCK_ORDER as usize], 2);
                assert!(other_than(&pages, 0x5a)?.is_empty());
            }
        }
        Ok(())
    }

    #[test]
    fn nodes_that_are_not_there() {
        assert!(!node_online(-1));
        assert!(!node_online(i32::MAX));
        assert!(i32::try_from(nr_nodes()).is_ok_and(|end| !node_online(end)));
    }

    #[test]
    fn more_than_there_is() -> Result {
        let node = some_node().ok_or(ENODEV)?;
        let too_many = 1 << 40;
        let error = |placement| Pages::new(too_many, placement).err();
        assert_eq!(error(Placement::Any), Some(ENOMEM));
        assert_eq!(error(Placement::Prefer(node)), Some(ENOMEM));
        assert_eq!(error(Placement::Strict(node)), Some(ENOSPC));
        Ok(())
    }

    /// The bytes of `pages` that are not `value`, as ranges.
    fn other_than(pages: &Pages, value: u8) -> Result<KVec<(usize, u8)>> {
        let shared = Pages::new(1, Placement::Any)?;
        let window = Shared::new(shared.clone())?;
        let mut others = KVec::new();
        for page in 0..pages.count() {
            pages.copy_to((page * PAGE_SIZE) as u64, &shared, 0, PAGE_SIZE)?;
            for at in (0..PAGE_SIZE).step_by(4) {
                for (i, byte) in window
                    .read::<u32>(at)?
                    .to_le_bytes()
                    .into_iter()
                    .enumerate()
                {
                    if byte != value {
                        others.push((page * PAGE_SIZE + at + i, byte), GFP_KERNEL)?;
                    }
                }
            }
        }
        Ok(others)
    }

    #[test]
    fn bytes_filled_and_copied_across_pages() -> Result {
        let from = Pages::new(3, Placement::Any)?;
        let to = Pages::new(3, Placement::Any)?;
        let page = PAGE_SIZE as u64;
        from.fill(page - 1, 0x5a, 1)?;
        from.fill(page, 0xa5, 1)?;
        from.fill(2 * page - 1, 0x77, 2)?;
        assert_eq!(
            other_than(&from, 0)?[..],
            [
                (PAGE_SIZE - 1, 0x5a),
                (PAGE_SIZE, 0xa5),
                (2 * PAGE_SIZE - 1, 0x77),
                (2 * PAGE_SIZE, 0x77),
            ]
        );
        // From an offset in a page to another, so that the pieces are cut at both.
        from.copy_to(page - 1, &to, 5, PAGE_SIZE + 1)?;
        assert_eq!(
            other_than(&to, 0)?[..],
            [(5, 0x5a), (6, 0xa5), (PAGE_SIZE + 5, 0x77)]
        );
        Ok(())
    }

    #[test]
    fn numbers_read_across_pages() -> Result {
        let pages = Pages::new(2, Placement::Any)?;
        let page = PAGE_SIZE as u64;
        pages.write(page - 4, &[1, 1, 1, 1, 2, 2, 2, 2])?;
        let mut read = [9u32; 4];
        pages.read(page - 8, &mut read)?;
        assert_eq!(read, [0, 0x0101_0101, 0x0202_0202, 0]);
        pages.read(2 * page - 4, &mut read[..1])?;
        assert_eq!(read[0], 0);
        pages.read::<u32>(2 * page, &mut [])?;
        for (offset, count) in [
            (2 * page - 3, 1),
            (2 * page, 1),
            (u64::MAX, 1),
            (page, 1025),
        ] {
            let mut numbers = KVec::from_elem(7u32, count, GFP_KERNEL)?;
            assert_eq!(pages.read(offset, &mut numbers), Err(ERANGE));
            assert!(numbers.iter().all(|number| *number == 7));
            let bytes = KVec::from_elem(7u8, 4 * count, GFP_KERNEL)?;
            assert_eq!(pages.write(offset, &bytes), Err(ERANGE));
        }
        Ok(())
    }

    #[test]
    fn bytes_to_the_end_and_not_beyond() -> Result {
        let pages = Pages::new(2, Placement::Any)?;
        let end = 2 * PAGE_SIZE as u64;
        pages.fill(0, 1, 2 * PAGE_SIZE)?;
        pages.fill(end, 2, 0)?;
        for (offset, length) in [
            (end, 1),
            (end - 1, 2),
            (0, 2 * PAGE_SIZE + 1),
            (u64::MAX, 1),
        ] {
            assert_eq!(pages.fill(offset, 2, length), Err(ERANGE));
            assert_eq!(pages.copy_to(offset, &pages, 0, length), Err(ERANGE));
            assert_eq!(pages.copy_to(0, &pages, offset, length), Err(ERANGE));
        }
        assert!(other_than(&pages, 1)?.is_empty());
        Ok(())
    }

    fn move_all(pages: &Pages, node: i32) -> Result<usize> {
        let mut migration = Migration::new(node, true);
        let shown = Shown::nowhere()?;
        shown.add(&Space::new()?, 0)?;
        while migration.step(pages, &shown)? {}
        Ok(migration.moved())
    }

    #[test]
    fn moved_with_their_bytes() -> Result {
        let pages = Pages::new(1030, Placement::Any)?;
        pages.fill(0, 0x5a, 1030 * PAGE_SIZE)?;
        for node in (0..nr_nodes())
            .map(|node| node as i32)
            .filter(|node| node_online(*node))
        {
            let mut counts = [0; 64];
            pages.count_nodes(&mut counts)?;
            let elsewhere = 1030 - counts.get(node as usize).copied().unwrap_or(0) as usize;
            let (moves, some) = (pages.moves(), elsewhere > 0);
            assert_eq!(move_all(&pages, node), Ok(elsewhere));
            assert!((pages.moves() != moves) == some);
            assert_eq!(move_all(&pages, node), Ok(0));
            assert!(other_than(&pages, 0x5a)?.is_empty());
        }
        Ok(())
    }

    #[test]
    fn pinned_while_somebody_needs_it() -> Result {
        let node = some_node().ok_or(ENODEV)?;
        let pages = Pages::new(3, Placement::Strict(node))?;
        assert_eq!(move_all(&pages, node), Ok(0));
        let pin = Pages::pin(&pages);
        let (other, window) = (pin.clone(), Shared::new(pages.clone())?);
        drop(pin);
        assert_eq!(move_all(&pages, node), Err(EBUSY));
        drop(other);
        assert_eq!(move_all(&pages, node), Err(EBUSY));
        drop(window);
        assert_eq!(move_all(&pages, node), Ok(0));
        Ok(())
    }

    #[test]
    fn charged_while_they_live() -> Result {
        let watch = Charge::new(1)?;
        let before = watch.locked();
        assert!(before >= 1);
        let pages = Pages::new(5, Placement::Any)?;
        assert_eq!(watch.locked(), before + 5);
        drop(pages);
        assert_eq!(watch.locked(), before);
        assert!(Pages::new(1 << 40, Placement::Any).is_err());
        assert_eq!(watch.locked(), before);
        Ok(())
    }
}
