// SPDX-License-Identifier: GPL-2.0
//! The protocol of both sides under loom, which tries the orders in which their accesses can be
//! carried out and seen, and finds an entry that one side touches while the other may.

mod kernel;

use std::{
    collections::BTreeSet,
    sync::{Arc as StdArc, Mutex as StdMutex},
};

use loom::{
    cell::UnsafeCell,
    model::Builder,
    sync::{
        atomic::{fence, AtomicU32, Ordering},
        Arc,
    },
    thread,
};

use super::{Memory, Ring, Word};
use crate::sys::uapi::{
    dmaplane_cqe, dmaplane_sqe, DMAPLANE_RING_NEED_ENTER, DMAPLANE_RING_NEED_WAKEUP,
};
use kernel::Kernel;

const SQ_HEAD: usize = Word::SqHead as usize;
const SQ_TAIL: usize = Word::SqTail as usize;
const CQ_HEAD: usize = Word::CqHead as usize;
const CQ_TAIL: usize = Word::CqTail as usize;
const FLAGS: usize = Word::Flags as usize;

/// Where all indices begin: the second entry is the first after the wrap.
const ORIGIN: u32 = u32::MAX;

/// The words of a mapping, and its entries.
#[derive(Debug)]
struct Words {
    words: [AtomicU32; 5],
    sqes: Vec<UnsafeCell<dmaplane_sqe>>,
    cqes: Vec<UnsafeCell<dmaplane_cqe>>,
}

impl Memory for Arc<Words> {
    fn load(&self, word: Word, order: Ordering) -> u32 {
        self.words[word as usize].load(order)
    }

    fn store(&self, word: Word, value: u32, order: Ordering) {
        self.words[word as usize].store(value, order);
    }

    fn fence() {
        fence(Ordering::SeqCst);
    }

    unsafe fn write(&self, slot: u32, entry: dmaplane_sqe) {
        // SAFETY: written before loom lets others go on.
        self.sqes[slot as usize].with_mut(|place| unsafe { *place = entry });
    }

    unsafe fn read(&self, slot: u32) -> dmaplane_cqe {
        // SAFETY: read before loom lets others go on.
        self.cqes[slot as usize].with(|place| unsafe { *place })
    }
}

type User = Ring<Arc<Words>>;

/// What came of all the orders, which loom knows nothing of.
type Outcomes = StdArc<StdMutex<BTreeSet<(bool, bool)>>>;

/// Both sides of new rings.
fn sides(sq: u32, cq: u32) -> (Arc<Kernel>, User) {
    let memory = Arc::new(Words {
        words: [ORIGIN, ORIGIN, ORIGIN, ORIGIN, 0].map(AtomicU32::new),
        sqes: (0..sq).map(|_| UnsafeCell::default()).collect(),
        cqes: (0..cq).map(|_| UnsafeCell::default()).collect(),
    });
    let kernel = Arc::new(Kernel::new(memory.clone(), ORIGIN));
    (kernel, Ring::over(memory, sq, cq))
}

/// As many as there are.
const ALL: Option<usize> = None;

/// Tries all orders in which threads are interrupted no more than so many times while they could
/// go on.
fn check(interruptions: Option<usize>, scenario: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = interruptions;
    builder.check(scenario);
}

fn push(ring: &mut User, user_data: u64) {
    let entry = dmaplane_sqe {
        user_data,
        ..Default::default()
    };
    while !ring.push(entry) {
        thread::yield_now();
    }
}

/// Takes what there is, as `Completions` of a channel does.
fn reap(ring: &mut User) -> Vec<u64> {
    let available = ring.available();
    let seen = (0..available).map(|n| ring.peek(n).user_data).collect();
    if available > 0 {
        ring.advance(available);
    }
    seen
}

fn reap_all(ring: &mut User, count: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let more = reap(ring);
        if more.is_empty() {
            thread::yield_now();
        }
        seen.extend(more);
    }
    seen
}

/// Takes entries until there were `count`.
fn submit_all(kernel: &Kernel, count: usize) -> Vec<u64> {
    let mut head = ORIGIN;
    let mut taken = Vec::new();
    while taken.len() < count {
        let more = kernel.submit(&mut head, u32::MAX);
        if more.is_empty() {
            thread::yield_now();
        }
        taken.extend(more.iter().map(|sqe| sqe.user_data));
    }
    taken
}

fn reserve_all(kernel: &Kernel, count: u32) {
    let mut reserved = 0;
    while reserved < count {
        match kernel.reserve_up_to(1) {
            0 => thread::yield_now(),
            n => reserved += n,
        }
    }
}

/// Each entry is taken as it was written, in order, and its slot written again only then.
fn submissions(entries: u32) {
    let count = entries as usize + 1;
    check(Some(4), move || {
        let (kernel, mut ring) = sides(entries, 4);
        let taker = thread::spawn(move || submit_all(&kernel, count));
        (0..count as u64).for_each(|n| push(&mut ring, n));
        assert!(taker.join().unwrap().into_iter().eq(0..count as u64));
    });
}

#[test]
fn submissions_through_one_slot() {
    submissions(1);
}

#[test]
fn submissions_through_two_slots() {
    submissions(2);
}

/// Each completion is read as it was written, in order, and its slot written again only then.
fn completions(entries: u32) {
    let count = entries as usize + 1;
    check(Some(4), move || {
        let (kernel, mut ring) = sides(1, entries);
        let filler = thread::spawn(move || {
            for n in 0..count as u64 {
                reserve_all(&kernel, 1);
                kernel.receive(n);
            }
        });
        assert!(reap_all(&mut ring, count).into_iter().eq(0..count as u64));
        filler.join().unwrap();
    });
}

#[test]
fn completions_through_one_slot() {
    completions(1);
}

#[test]
fn completions_through_two_slots() {
    completions(2);
}

/// Who fills a place has not loaded the head that made it free, only who reserved it.
#[test]
fn a_place_is_reserved_by_one_and_filled_by_another() {
    let seen = Outcomes::default();
    let outcomes = seen.clone();
    check(ALL, move || {
        let (kernel, mut ring) = sides(1, 1);
        reserve_all(&kernel, 1);
        kernel.receive(1);
        let reserver = {
            let kernel = kernel.clone();
            thread::spawn(move || kernel.reserve_up_to(1) == 1)
        };
        let filler = thread::spawn(move || {
            let reserved = kernel.has_reserved();
            if reserved {
                kernel.receive(2);
            }
            reserved
        });
        assert_eq!(reap(&mut ring), [1]);
        let outcome = (reserver.join().unwrap(), filler.join().unwrap());
        assert_eq!(reap(&mut ring).as_slice(), &[2][..outcome.1.into()]);
        outcomes.lock().unwrap().insert(outcome);
    });
    assert!(seen.lock().unwrap().contains(&(true, true)));
}

#[test]
fn entries_become_completions() {
    check(Some(4), || {
        let (kernel, mut ring) = sides(1, 1);
        let taker = thread::spawn(move || submit_all(&kernel, 2));
        let mut seen = Vec::new();
        for n in 0..2 {
            push(&mut ring, n);
            seen.extend(reap(&mut ring));
        }
        let left = 2 - seen.len();
        seen.extend(reap_all(&mut ring, left));
        assert_eq!((seen, taker.join().unwrap()), (vec![0, 1], vec![0, 1]));
    });
}

/// The kernel looks for a place in a full ring of `entries`, while `free` makes one free and says
/// whether that side learned that it is waited for. If no place was found, it did; and both happen.
fn handshake(entries: u32, free: fn(&Kernel, User) -> bool) {
    let seen = Outcomes::default();
    let outcomes = seen.clone();
    check(ALL, move || {
        let (kernel, ring) = sides(1, entries);
        // One message to reap; the other place, if there is one, is that of an entry not complete.
        reserve_all(&kernel, entries);
        kernel.receive(1);
        let looking = {
            let kernel = kernel.clone();
            thread::spawn(move || kernel.reserve_receive())
        };
        let asked = free(&kernel, ring);
        let found = looking.join().unwrap();
        outcomes.lock().unwrap().insert((found, asked));
    });
    let seen = seen.lock().unwrap();
    assert!(!seen.contains(&(false, false)), "nobody will look again");
    assert!(seen.contains(&(true, false)) && seen.contains(&(false, true)));
}

/// The thread that takes entries finds none, or no place for a completion, and is about to sleep; the
/// user does what it waits for. If it sleeps, the user has seen that; and both happen.
fn falling_asleep(stuck: bool, awaited: fn(&mut User), flag: u32) {
    let seen = Outcomes::default();
    let outcomes = seen.clone();
    check(ALL, move || {
        let (kernel, mut ring) = sides(1, 1);
        reserve_all(&kernel, 1);
        kernel.receive(1);
        let thread = thread::spawn(move || !kernel.may_sleep(ORIGIN, stuck));
        awaited(&mut ring);
        let seen = ring.flags() & flag != 0;
        let awake = thread.join().unwrap();
        outcomes.lock().unwrap().insert((awake, seen));
    });
    let seen = seen.lock().unwrap();
    assert!(!seen.contains(&(false, false)), "nobody will wake it");
    assert!(seen.contains(&(true, false)) && seen.contains(&(false, true)));
}

#[test]
fn who_submits_sees_that_the_thread_sleeps() {
    falling_asleep(false, |ring| push(ring, 1), DMAPLANE_RING_NEED_WAKEUP);
}

#[test]
fn who_reaps_sees_that_the_thread_sleeps() {
    let reaps = |ring: &mut User| assert_eq!(reap(ring), [1]);
    falling_asleep(true, reaps, DMAPLANE_RING_NEED_ENTER);
}

#[test]
fn who_reaps_sees_that_it_is_waited_for() {
    handshake(1, |_, mut ring| {
        assert_eq!(reap(&mut ring), [1]);
        ring.flags() & DMAPLANE_RING_NEED_ENTER != 0
    });
}

/// Without a fence of its own: the kernel has one when it is called.
#[test]
fn who_reaps_and_enters_is_seen_to_have_made_room() {
    handshake(1, |kernel, mut ring| {
        assert_eq!(reap(&mut ring), [1]);
        kernel.is_starved()
    });
}

#[test]
fn who_completes_silently_sees_that_it_is_waited_for() {
    handshake(2, |kernel, _| kernel.withdraw());
}
