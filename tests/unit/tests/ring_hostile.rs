// SPDX-License-Identifier: GPL-2.0

//! Tests of `src/pure/ring.rs`: rings of all sizes that a channel can have, across the wrap of the
//! indices, and in the hands of a user that writes anything.

mod common;

use dmaplane_unit::pure::ring::{distance, Completions, Corrupt};
use proptest::prelude::*;

use common::config;

/// `max_ring_entries` is 1 << 15.
const SHIFTS: std::ops::RangeInclusive<u32> = 0..=15;

#[test]
fn distances_of_all_sizes() {
    for entries in SHIFTS.map(|shift| 1u32 << shift) {
        for head in [0, 1, 1 << 31, entries, 0u32.wrapping_sub(entries), u32::MAX] {
            for way in [0, 1, entries - 1, entries, entries + 1, 1 << 31, u32::MAX] {
                let expected = if way <= entries {
                    Ok(way)
                } else {
                    Err(Corrupt)
                };
                assert_eq!(distance(head, head.wrapping_add(way), entries), expected);
            }
        }
    }
}

/// Fills and empties a ring, the second half before the first is reaped.
fn around(entries: u32, origin: u32) {
    let mut ring = Completions::with_origin(entries, origin);
    let mut head = origin;
    for n in 0..3 * u64::from(entries) {
        if ring.room(head) == Ok(0) {
            assert_eq!(ring.reserve_up_to(head, u32::MAX), Ok(0));
            assert_eq!(ring.available(head), Ok(entries));
            head = head.wrapping_add(entries.div_ceil(2));
        }
        let room = ring.room(head).unwrap();
        // One at a time, or all that there is.
        let wanted = if n % 3 == 0 { u32::MAX } else { 1 };
        let reserved = ring.reserve_up_to(head, wanted).unwrap();
        assert_eq!(reserved, wanted.min(room));
        assert_eq!(ring.room(head), Ok(room - reserved));
        ring.release(reserved - 1);
        let index = origin.wrapping_add(n as u32);
        assert_eq!(ring.tail(), index);
        assert_eq!(ring.push(), index % entries);
        assert_eq!(ring.available(head), Ok(ring.tail().wrapping_sub(head)));
        assert_eq!(ring.room(head), Ok(room - 1));
    }
}

#[test]
fn all_sizes_across_the_wrap() {
    for entries in SHIFTS.map(|shift| 1u32 << shift) {
        for back in [0, 1, entries / 2, entries, 2 * entries + 1] {
            around(entries, 0u32.wrapping_sub(back));
            around(entries, (1u32 << 31).wrapping_sub(back));
        }
    }
}

/// An index that the user writes: what it should be (0), less, more, or anything.
#[derive(Clone, Copy, Debug)]
enum Claim {
    Off(i32),
    /// Back by so many 256ths of the ring.
    Back(u32),
    Any(u32),
}

impl Claim {
    fn of(self, index: u32, entries: u32) -> u32 {
        match self {
            Claim::Off(by) => index.wrapping_add_signed(by),
            Claim::Back(part) => index.wrapping_sub((entries * part) >> 8),
            Claim::Any(value) => value,
        }
    }
}

fn claim() -> impl Strategy<Value = Claim> {
    prop_oneof![
        Just(Claim::Off(0)),
        (-40..40i32).prop_map(Claim::Off),
        (0..=257u32).prop_map(Claim::Back),
        any::<u32>().prop_map(Claim::Any),
    ]
}

/// What the kernel does, and what the user has written by then.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// ENTER for so many entries; the tail claimed is one of as many as fit.
    Enter(u32, Claim, Claim),
    /// An endpoint wants places for receives.
    Reserve(u32, Claim),
    /// It gives some back.
    Release(u32),
    /// Something completes.
    Push(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let count = || prop_oneof![4 => 0..40u32, 1 => Just(u32::MAX), 1 => any::<u32>()];
    prop_oneof![
        4 => (count(), claim(), claim()).prop_map(|(n, tail, head)| Step::Enter(n, tail, head)),
        2 => (count(), claim()).prop_map(|(n, head)| Step::Reserve(n, head)),
        1 => (0..40u32).prop_map(Step::Release),
        4 => (0..40u32).prop_map(Step::Push),
        1 => Just(Step::Push(u32::MAX)),
    ]
}

/// The kernel's account of both rings, and what it should be.
struct Kernel {
    sq_entries: u32,
    cq_entries: u32,
    sq_head: u32,
    completions: Completions,
    /// Places promised and not yet filled.
    owed: u32,
    cq_tail: u32,
}

impl Kernel {
    fn new(sq_entries: u32, cq_entries: u32, sq_origin: u32, cq_origin: u32) -> Self {
        Kernel {
            sq_entries,
            cq_entries,
            sq_head: sq_origin,
            completions: Completions::with_origin(cq_entries, cq_origin),
            owed: 0,
            cq_tail: cq_origin,
        }
    }

    /// As `CompletionRing::reserve()`: what is granted has room beside what was promised before
    /// and what the user says it has not reaped; an impossible head is granted nothing.
    fn reserve(&mut self, cq_head: u32, n: u32) -> Result<u32, Corrupt> {
        let granted = self.completions.reserve_up_to(cq_head, n);
        let unread = self.cq_tail.wrapping_sub(cq_head);
        if unread > self.cq_entries {
            assert_eq!(granted, Err(Corrupt));
        } else {
            // The user may have taken back what it reaped: less than nothing is no room.
            let room = self.cq_entries.saturating_sub(unread + self.owed);
            assert_eq!(granted, Ok(n.min(room)));
        }
        self.owed += granted.unwrap_or(0);
        granted
    }

    /// As `CompletionRing::accept()` and what follows it in `Queue::submit()`.
    fn enter(&mut self, most: u32, sq_tail: u32, cq_head: u32) -> Result<u32, Corrupt> {
        let submitted = distance(self.sq_head, sq_tail, self.sq_entries)?;
        assert!(submitted <= self.sq_entries);
        let accepted = self.reserve(cq_head, most.min(submitted))?;
        assert!(accepted <= submitted && accepted <= most);
        self.sq_head = self.sq_head.wrapping_add(accepted);
        // What is left is what the user said, less what was taken.
        assert_eq!(
            distance(self.sq_head, sq_tail, self.sq_entries),
            Ok(submitted - accepted)
        );
        Ok(accepted)
    }

    fn release(&mut self, n: u32) {
        self.completions.release(n);
        self.owed -= n;
    }

    fn push(&mut self, n: u32) {
        for _ in 0..n {
            assert_eq!(
                self.completions.push(),
                self.cq_tail & (self.cq_entries - 1)
            );
            self.cq_tail = self.cq_tail.wrapping_add(1);
        }
        self.owed -= n;
    }

    /// No claim left a trace: the account is what was granted, given back and filled.
    fn check(&self) {
        assert!(self.owed <= self.cq_entries);
        assert_eq!(self.completions.reserved(), self.owed);
        assert_eq!(self.completions.tail(), self.cq_tail);
        assert_eq!(self.completions.available(self.cq_tail), Ok(0));
        assert_eq!(
            self.completions.room(self.cq_tail),
            Ok(self.cq_entries - self.owed)
        );
    }
}

fn origin() -> impl Strategy<Value = u32> {
    let near = |to: u32| (0..70_000u32).prop_map(move |back| to.wrapping_sub(back));
    prop_oneof![near(0), near(1 << 31), any::<u32>()]
}

proptest! {
    #![proptest_config(config(1000))]

    /// Whatever is written to the indices, the kernel promises no more places than there are,
    /// keeps each promise, and knows afterwards what it has promised.
    #[test]
    fn any_claims(
        sq_shift in SHIFTS,
        cq_shift in SHIFTS,
        origins in (origin(), origin()),
        steps in prop::collection::vec(step(), 0..100),
    ) {
        let mut kernel = Kernel::new(1 << sq_shift, 1 << cq_shift, origins.0, origins.1);
        for step in steps {
            let before = (kernel.sq_head, kernel.owed);
            match step {
                Step::Enter(most, tail, head) => {
                    let full = kernel.sq_head.wrapping_add(kernel.sq_entries);
                    let tail = tail.of(full, kernel.sq_entries);
                    let head = head.of(kernel.cq_tail, kernel.cq_entries);
                    if kernel.enter(most, tail, head) == Err(Corrupt) {
                        prop_assert_eq!(before, (kernel.sq_head, kernel.owed));
                    }
                }
                Step::Reserve(n, head) => {
                    let head = head.of(kernel.cq_tail, kernel.cq_entries);
                    if kernel.reserve(head, n) == Err(Corrupt) {
                        prop_assert_eq!(before, (kernel.sq_head, kernel.owed));
                    }
                }
                Step::Release(n) => kernel.release(n.min(kernel.owed)),
                Step::Push(n) => kernel.push(n.min(kernel.owed)),
            }
            kernel.check();
        }
        // All that was promised can be kept without the user, whatever it does.
        kernel.push(kernel.owed);
        kernel.check();
        prop_assert_eq!(kernel.completions.room(kernel.cq_tail), Ok(kernel.cq_entries));
    }

    /// The same of values that know nothing of the rings, which are small.
    #[test]
    fn any_words(
        entries in 0..3u32,
        words in prop::collection::vec((any::<u32>(), any::<u32>()), 0..50),
        small in any::<bool>(),
    ) {
        let mut kernel = Kernel::new(1 << entries, 1 << entries, 0, 0);
        for (tail, head) in words {
            let mask = if small { 7 } else { u32::MAX };
            let _ = kernel.enter(u32::MAX, tail & mask, head & mask);
            kernel.check();
            kernel.push(kernel.owed / 2);
            kernel.check();
        }
    }
}
