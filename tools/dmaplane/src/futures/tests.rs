// SPDX-License-Identifier: GPL-2.0
//! Futures over rings and a reactor that do what a test says.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    pin::pin,
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        Arc, Mutex, MutexGuard,
    },
    task::{Context, Poll, Wake, Waker},
};

use super::shared::{Awaited, Shared};
use super::state::{Completed, Rings};
use super::Reactor;
use crate::sys::uapi::*;
use crate::{Cancel, Completion, Entry, Errno, Error, Kind, Nop, Op, Result};

/// What the kernel would have. NOPs and what cancels are complete when they are taken, all else
/// when the test says so.
#[derive(Debug, Default)]
struct Kernel {
    sq: VecDeque<dmaplane_sqe>,
    cq: VecDeque<dmaplane_cqe>,
    in_flight: Vec<dmaplane_sqe>,
    /// All that were taken.
    taken: Vec<dmaplane_sqe>,
    enters: usize,
    needs_enter: bool,
    error: Option<Errno>,
}

const SQ: usize = 4;
const CQ: usize = 8;

impl Kernel {
    fn tell(&mut self, sqe: &dmaplane_sqe, res: i32) {
        self.cq.push_back(dmaplane_cqe {
            user_data: sqe.user_data,
            endpoint: sqe.endpoint,
            opcode: sqe.opcode,
            res,
            ..Default::default()
        });
    }

    fn take(&mut self, sqe: dmaplane_sqe) {
        self.taken.push(sqe);
        match u32::from(sqe.opcode) {
            DMAPLANE_OP_NOP => self.tell(&sqe, if sqe.imm == 0 { 0 } else { -22 }),
            DMAPLANE_OP_CANCEL => {
                let key = (sqe.endpoint, sqe.local_offset);
                let of = |e: &dmaplane_sqe| (e.endpoint, e.user_data) == key;
                match self.in_flight.iter().position(of) {
                    Some(found) => {
                        let canceled = self.in_flight.remove(found);
                        self.tell(&canceled, -Errno::CANCELED.raw_os_error());
                        assert_ne!(sqe.flags & DMAPLANE_SQE_CQE_SKIP_SUCCESS as u8, 0);
                    }
                    None => self.tell(&sqe, -Errno::NOENT.raw_os_error()),
                }
            }
            _ => self.in_flight.push(sqe),
        }
    }
}

/// Rings, and the reactor of whoever uses them: both sides' view.
#[derive(Clone, Debug, Default)]
struct Fake {
    kernel: Arc<Mutex<Kernel>>,
    waker: Arc<Mutex<Option<Waker>>>,
    readable: Arc<AtomicBool>,
    /// It says so again and again.
    hung_up: Arc<AtomicBool>,
    broken: Arc<AtomicBool>,
}

impl Fake {
    fn kernel(&self) -> MutexGuard<'_, Kernel> {
        self.kernel.lock().unwrap()
    }

    fn shared(&self) -> Arc<Shared<Fake>> {
        Shared::new(self.clone(), self.clone())
    }

    /// The reactor sees what the test has done to the kernel.
    fn news(&self) {
        self.readable.store(true, Ordering::Relaxed);
        let waker = self.waker.lock().unwrap().take();
        waker.into_iter().for_each(Waker::wake);
    }

    /// The `nth` entry in flight is complete.
    fn complete(&self, nth: usize, res: i32) {
        let mut kernel = self.kernel();
        let sqe = kernel.in_flight.remove(nth);
        kernel.tell(&sqe, res);
        drop(kernel);
        self.news();
    }

    fn receive(&self, imm: u32) {
        self.kernel().cq.push_back(dmaplane_cqe {
            opcode: DMAPLANE_OP_RECV as u8,
            // Whatever number it is, it is no entry's.
            user_data: 0,
            imm,
            ..Default::default()
        });
        self.news();
    }

    /// Numbers of the entries taken: what they are known by.
    fn taken(&self) -> Vec<u32> {
        self.kernel().taken.iter().map(|sqe| sqe.length).collect()
    }
}

impl Rings for Fake {
    fn cq_entries(&self) -> u32 {
        CQ as u32
    }

    fn push(&mut self, entry: Entry) -> bool {
        let mut kernel = self.kernel();
        let room = kernel.sq.len() < SQ;
        if room {
            kernel.sq.push_back(entry.raw());
        }
        room
    }

    fn pending(&self) -> u32 {
        self.kernel().sq.len() as u32
    }

    fn available(&self) -> u32 {
        self.kernel().cq.len() as u32
    }

    fn needs_enter(&self) -> bool {
        self.kernel().needs_enter
    }

    fn enter(&mut self) -> Result<u32> {
        let mut kernel = self.kernel();
        kernel.enters += 1;
        kernel.needs_enter = false;
        if let Some(errno) = kernel.error {
            return Err(Error::new(Op::ChannelEnter, errno));
        }
        let room = CQ - kernel.in_flight.len() - kernel.cq.len();
        let count = room.min(kernel.sq.len());
        if count == 0 && !kernel.sq.is_empty() {
            return Err(Error::new(Op::ChannelEnter, Errno::BUSY));
        }
        for _ in 0..count {
            let sqe = kernel.sq.pop_front().unwrap();
            kernel.take(sqe);
        }
        Ok(count as u32)
    }

    fn reap(&mut self, most: usize, mut each: impl FnMut(Completed)) {
        let mut kernel = self.kernel();
        let count = most.min(kernel.cq.len());
        for cqe in kernel.cq.drain(..count) {
            each((Completion::decode(&cqe), None));
        }
    }
}

impl Reactor for Fake {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::Error::from_raw_os_error(5)));
        }
        if self.readable.swap(false, Ordering::Relaxed) || self.hung_up.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        *self.waker.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// A task that counts how often it is woken.
#[derive(Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Task {
    fn poll<T>(self: &Arc<Self>, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        let waker = Waker::from(Arc::clone(self));
        poll(&mut Context::from_waker(&waker))
    }

    fn woken(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// An entry that takes its time, known by a number.
fn slow(number: u32) -> Entry {
    let buffer = dmaplane_sqe {
        opcode: DMAPLANE_OP_COPY as u8,
        user_data: 1000 + u64::from(number),
        length: number,
        ..Default::default()
    };
    Entry::from_raw(buffer)
}

type Future = Awaited<Fake>;

fn submit(shared: &Arc<Shared<Fake>>, entry: impl Into<Entry>) -> Future {
    Awaited::new(shared, entry.into())
}

/// What a completion says: its own `user_data`, and the result.
fn said(polled: Poll<Result<Completed>>) -> Option<(u64, Result<u32, Errno>)> {
    match polled {
        Poll::Pending => None,
        Poll::Ready(completed) => {
            let (completion, _) = completed.unwrap();
            let result = completion.result().map_err(|e| e.errno());
            Some((completion.user_data, result))
        }
    }
}

fn errno(polled: Poll<Result<Completed>>) -> Errno {
    match polled {
        Poll::Ready(Err(error)) => error.errno(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_done_at_once_is_ready_at_once() {
    let fake = Fake::default();
    let shared = fake.shared();
    let task = Arc::new(Task::default());
    let mut future = submit(&shared, Nop { user_data: 7 });
    assert_eq!(fake.kernel().enters, 0);
    assert_eq!(said(task.poll(|cx| future.poll(cx))), Some((7, Ok(0))));
    assert_eq!(fake.kernel().enters, 1);
}

#[test]
fn many_are_submitted_together() {
    let fake = Fake::default();
    let shared = fake.shared();
    let task = Arc::new(Task::default());
    let mut futures: Vec<_> = (0..4)
        .map(|n| submit(&shared, Nop { user_data: n }))
        .collect();
    for (n, future) in futures.iter_mut().enumerate() {
        let polled = said(task.poll(|cx| future.poll(cx)));
        assert_eq!(polled, Some((n as u64, Ok(0))));
    }
    assert_eq!(fake.kernel().enters, 1);
}

#[test]
fn who_waits_is_woken_and_nobody_else() {
    let fake = Fake::default();
    let shared = fake.shared();
    let tasks: Vec<_> = (0..3).map(|_| Arc::new(Task::default())).collect();
    let mut futures: Vec<_> = (0..3).map(|n| submit(&shared, slow(n))).collect();
    for (task, future) in tasks.iter().zip(&mut futures) {
        assert!(task.poll(|cx| future.poll(cx)).is_pending());
    }
    fake.complete(1, 11);
    let woken: Vec<_> = tasks.iter().map(|task| task.woken()).collect();
    assert_eq!(woken, [0, 1, 0]);
    let polled = said(tasks[1].poll(|cx| futures[1].poll(cx)));
    assert_eq!(polled, Some((1001, Ok(11))));
    fake.complete(1, -5);
    fake.complete(0, 10);
    assert_eq!(
        said(tasks[0].poll(|cx| futures[0].poll(cx))),
        Some((1000, Ok(10)))
    );
    assert_eq!(
        said(tasks[2].poll(|cx| futures[2].poll(cx))),
        Some((1002, Err(Errno::IO)))
    );
}

/// The task that polled last is gone, and with it its waker: the others are told all the same.
#[test]
fn a_dropped_future_takes_no_wakeup_with_it() {
    let fake = Fake::default();
    let shared = fake.shared();
    let (stays, goes) = (Arc::new(Task::default()), Arc::new(Task::default()));
    let mut first = submit(&shared, slow(1));
    let mut second = submit(&shared, slow(2));
    assert!(stays.poll(|cx| first.poll(cx)).is_pending());
    assert!(goes.poll(|cx| second.poll(cx)).is_pending());
    drop(second);
    fake.complete(0, 1);
    assert_eq!((stays.woken(), goes.woken()), (1, 0));
    assert_eq!(said(stays.poll(|cx| first.poll(cx))), Some((1001, Ok(1))));
}

#[test]
fn more_than_there_is_room_for() {
    let fake = Fake::default();
    let shared = fake.shared();
    let task = Arc::new(Task::default());
    let mut futures: Vec<_> = (0..30).map(|n| submit(&shared, slow(n))).collect();
    assert!(task.poll(|cx| futures[29].poll(cx)).is_pending());
    assert_eq!(fake.taken(), Vec::from_iter(0..8));
    for n in 0..30 {
        fake.complete(0, n);
    }
    assert_eq!(fake.taken(), Vec::from_iter(0..30));
    for (n, future) in futures.iter_mut().enumerate() {
        let polled = said(task.poll(|cx| future.poll(cx)));
        assert_eq!(polled, Some((1000 + n as u64, Ok(n as u32))));
    }
}

#[test]
fn dropped_ones_are_canceled() {
    let fake = Fake::default();
    let shared = fake.shared();
    let task = Arc::new(Task::default());
    let mut futures: Vec<_> = (0..3).map(|n| submit(&shared, slow(n))).collect();
    assert!(task.poll(|cx| futures[0].poll(cx)).is_pending());
    drop(futures.remove(1));
    let left: Vec<_> = fake.kernel().in_flight.iter().map(|e| e.length).collect();
    assert_eq!(left, [0, 2]);
    // Its number is another's now.
    let mut next = submit(&shared, slow(3));
    assert!(task.poll(|cx| next.poll(cx)).is_pending());
    for n in [0, 2, 3] {
        fake.complete(0, n);
    }
    let results = [(1000, Ok(0)), (1002, Ok(2)), (1003, Ok(3))];
    for (future, result) in futures.iter_mut().chain([&mut next]).zip(results) {
        assert_eq!(said(task.poll(|cx| future.poll(cx))), Some(result));
    }
    // One that was never polled: it had been queued.
    drop(submit(&shared, slow(4)));
    assert!(fake.kernel().in_flight.is_empty() && fake.kernel().cq.is_empty());
    // One that is complete, and one that was not sent in time to be canceled.
    let unread = submit(&shared, Nop::default());
    assert!(task.poll(|cx| shared.poll_next(cx)).is_pending());
    drop(unread);
    assert_eq!(fake.taken().len(), 8);
}

#[test]
fn detached_ones_go_on() {
    let fake = Fake::default();
    let shared = fake.shared();
    submit(&shared, slow(1)).abandon(false);
    assert_eq!(fake.kernel().in_flight.len(), 1);
    fake.complete(0, 1);
    assert!(fake.kernel().cq.is_empty());
}

#[test]
fn one_that_waits_for_room_is_refused_in_its_place() {
    let fake = Fake::default();
    let shared = fake.shared();
    let mut futures: Vec<_> = (0..12).map(|n| submit(&shared, slow(n))).collect();
    futures.push(submit(&shared, slow(12).link()));
    futures.push(submit(&shared, slow(13)));
    drop(futures.remove(12));
    assert!(!fake.taken().contains(&12));
    for _ in 0..12 {
        fake.complete(0, 0);
    }
    let kernel = fake.kernel();
    let refused = kernel.taken[12];
    assert_eq!((refused.opcode, refused.imm), (DMAPLANE_OP_NOP as u8, 1));
    assert_eq!(u32::from(refused.flags), DMAPLANE_SQE_LINK);
    assert_eq!(kernel.taken[13].length, 13);
    drop(kernel);
    fake.complete(0, 0);
}

/// What cancels must not become a part of the chain.
#[test]
fn cancels_wait_for_the_end_of_a_chain() {
    let fake = Fake::default();
    let shared = fake.shared();
    let task = Arc::new(Task::default());
    let victim = submit(&shared, slow(1));
    let mut first = submit(&shared, slow(2).link());
    assert!(task.poll(|cx| first.poll(cx)).is_pending());
    drop(victim);
    assert_eq!(fake.kernel().in_flight.len(), 2);
    let second = submit(&shared, slow(3));
    assert!(task.poll(|cx| first.poll(cx)).is_pending());
    assert_eq!(fake.taken(), [1, 2, 3, 0]);
    let left: Vec<_> = fake.kernel().in_flight.iter().map(|e| e.length).collect();
    assert_eq!(left, [2, 3]);
    drop((first, second));
    assert!(fake.kernel().in_flight.is_empty());
}

/// It was complete before it could be canceled, and its number is another's.
#[test]
fn a_number_is_not_canceled_for_another() {
    let fake = Fake::default();
    let shared = fake.shared();
    let task = Arc::new(Task::default());
    let victim = submit(&shared, slow(1));
    let mut first = submit(&shared, slow(2).link());
    assert!(task.poll(|cx| first.poll(cx)).is_pending());
    drop(victim);
    fake.complete(0, 0);
    let mut second = submit(&shared, slow(3));
    assert!(task.poll(|cx| second.poll(cx)).is_pending());
    assert_eq!(fake.taken(), [1, 2, 3]);
    fake.complete(1, 3);
    assert_eq!(said(task.poll(|cx| second.poll(cx))), Some((1003, Ok(3))));
}

/// Messages, and entries that have no future.
#[test]
fn what_is_for_anybody() {
    let fake = Fake::default();
    let shared = fake.shared();
    let (one, other) = (Arc::new(Task::default()), Arc::new(Task::default()));
    assert!(one.poll(|cx| shared.poll_next(cx)).is_pending());
    assert!(other.poll(|cx| shared.poll_next(cx)).is_pending());
    fake.receive(5);
    assert_eq!((one.woken(), other.woken()), (1, 1));
    let Poll::Ready(Ok((got, _))) = other.poll(|cx| shared.poll_next(cx)) else {
        panic!();
    };
    assert_eq!((got.kind, got.imm), (Kind::Recv, 5));
    assert!(one.poll(|cx| shared.poll_next(cx)).is_pending());
    shared.state().add(slow(9), false);
    shared.state().add(Nop { user_data: 3 }.into(), false);
    assert_eq!(said(one.poll(|cx| shared.poll_next(cx))), Some((3, Ok(0))));
    fake.complete(0, 9);
    assert_eq!(
        said(one.poll(|cx| shared.poll_next(cx))),
        Some((1009, Ok(9)))
    );
}

#[test]
fn so_many() {
    let fake = Fake::default();
    let shared = fake.shared();
    let task = Arc::new(Task::default());
    let mut wait = pin!(poll_fn(
        |cx| shared.poll(|state| state.poll_arrived(3, cx.waker()))
    ));
    use std::future::Future as _;
    for n in 0..3 {
        assert!(task.poll(|cx| wait.as_mut().poll(cx)).is_pending());
        fake.receive(n);
        assert_eq!(task.woken(), 1);
    }
    assert_eq!(task.poll(|cx| wait.as_mut().poll(cx)), Poll::Ready(Ok(3)));
}

/// Nothing is taken from a ring whose messages nobody takes from here.
#[test]
fn the_peer_is_slowed_down() {
    let fake = Fake::default();
    let shared = fake.shared();
    let task = Arc::new(Task::default());
    for n in 0..CQ as u32 + 3 {
        fake.receive(n);
    }
    assert_eq!(fake.kernel().cq.len(), 3);
    // The kernel asks for room.
    fake.kernel().needs_enter = true;
    let enters = fake.kernel().enters;
    for n in 0..CQ as u32 + 3 {
        let Poll::Ready(Ok((got, _))) = task.poll(|cx| shared.poll_next(cx)) else {
            panic!();
        };
        assert_eq!(got.imm, n);
    }
    assert!(fake.kernel().cq.is_empty());
    assert!(fake.kernel().enters > enters);
    // Exactly as many: then none is left that would say that there is room again.
    for n in 0..CQ as u32 {
        fake.receive(n);
    }
    for _ in 0..CQ {
        assert!(task.poll(|cx| shared.poll_next(cx)).is_ready());
    }
    assert!(task.poll(|cx| shared.poll_next(cx)).is_pending());
    fake.receive(1);
    assert_eq!(task.woken(), 1);
}

#[test]
fn the_kernel_is_entered_when_it_wants_to_be() {
    let fake = Fake::default();
    let shared = fake.shared();
    fake.kernel().needs_enter = true;
    let enters = fake.kernel().enters;
    fake.receive(1);
    assert_eq!(fake.kernel().enters, enters + 1);
    assert!(!shared.state().is_due());
}

#[test]
fn failures_are_for_all() {
    let fake = Fake::default();
    let shared = fake.shared();
    let task = Arc::new(Task::default());
    let mut waits = submit(&shared, slow(1));
    assert!(task.poll(|cx| waits.poll(cx)).is_pending());
    assert!(task.poll(|cx| shared.poll_next(cx)).is_pending());
    fake.kernel().error = Some(Errno::BADFD);
    let mut new = submit(&shared, slow(2));
    assert_eq!(errno(task.poll(|cx| new.poll(cx))), Errno::BADFD);
    assert!(task.woken() >= 2);
    assert_eq!(errno(task.poll(|cx| waits.poll(cx))), Errno::BADFD);
    assert_eq!(errno(task.poll(|cx| shared.poll_next(cx))), Errno::BADFD);
    let mut late = submit(&shared, slow(3));
    assert_eq!(errno(task.poll(|cx| late.poll(cx))), Errno::BADFD);
}

/// A file that is readable for good and has nothing: its channel has ended.
#[test]
fn an_end_is_seen() {
    let fake = Fake::default();
    let shared = fake.shared();
    let task = Arc::new(Task::default());
    assert!(task.poll(|cx| shared.poll_next(cx)).is_pending());
    fake.kernel().error = Some(Errno::NOENT);
    fake.hung_up.store(true, Ordering::Relaxed);
    fake.news();
    assert_eq!(task.woken(), 1);
    assert_eq!(errno(task.poll(|cx| shared.poll_next(cx))), Errno::NOENT);
}

#[test]
fn a_broken_reactor_is_told_of() {
    let fake = Fake::default();
    let shared = fake.shared();
    let task = Arc::new(Task::default());
    assert!(task.poll(|cx| shared.poll_next(cx)).is_pending());
    fake.broken.store(true, Ordering::Relaxed);
    fake.news();
    assert_eq!(task.woken(), 1);
    assert_eq!(errno(task.poll(|cx| shared.poll_next(cx))), Errno::IO);
}

/// The reactor, which the state has, does not keep the state.
#[test]
fn nothing_is_left() {
    let fake = Fake::default();
    let shared = fake.shared();
    let gone = Arc::downgrade(&shared);
    let future = submit(&shared, slow(1));
    drop(shared);
    assert!(gone.upgrade().is_some());
    drop(future);
    assert!(gone.upgrade().is_none());
    assert!(fake.kernel().in_flight.is_empty());
    fake.news();
}

#[test]
fn of_entries_that_are_not_told_of_all_are() {
    let fake = Fake::default();
    let shared = fake.shared();
    let task = Arc::new(Task::default());
    let mut future = submit(&shared, Cancel::one(None, 4).skip_success());
    assert!(task.poll(|cx| future.poll(cx)).is_ready());
    let flags = u32::from(fake.kernel().taken[0].flags);
    assert_eq!(flags & DMAPLANE_SQE_CQE_SKIP_SUCCESS, 0);
}
