// SPDX-License-Identifier: GPL-2.0
//! What tasks have together: the state, and how it goes on.

use std::{
    fmt,
    sync::{
        atomic::{AtomicUsize, Ordering},
        Arc, Mutex, MutexGuard, Weak,
    },
    task::{ready, Context, Poll, Wake, Waker},
};

use rustix::io::Errno;

use super::state::{Completed, Rings, State};
use super::Reactor;
use crate::{Entry, Error, Op, Result};

pub(super) struct Shared<R> {
    state: Mutex<State<R>>,
    reactor: Box<dyn Reactor>,
    /// What the reactor wakes.
    waker: Waker,
    /// Calls of [`Shared::drive`] since there was nothing to do.
    calls: AtomicUsize,
}

/// Has a channel looked after, if it is still there.
struct Poke<R>(Weak<Shared<R>>);

impl<R: Rings + Send + 'static> Wake for Poke<R> {
    fn wake(self: Arc<Self>) {
        if let Some(shared) = self.0.upgrade() {
            shared.drive();
        }
    }
}

/// Has the next caller do it, where a waker or a reactor panicked.
struct Unwound<'a>(&'a AtomicUsize);

impl Drop for Unwound<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(0, Ordering::Release);
        }
    }
}

impl<R: Rings + Send + 'static> Shared<R> {
    pub(super) fn new(rings: R, reactor: impl Reactor) -> Arc<Self> {
        let shared = Arc::new_cyclic(|shared| Shared {
            state: Mutex::new(State::new(rings)),
            reactor: Box::new(reactor),
            waker: Arc::new(Poke(Weak::clone(shared))).into(),
            calls: AtomicUsize::new(0),
        });
        // The reactor knows from now on whom to wake.
        shared.drive();
        shared
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Submits, takes completions, and has the reactor say when there are more. By one caller at a
    /// time, who does it again for all that come meanwhile: a reactor or a future may be one.
    pub(super) fn drive(&self) {
        if self.calls.fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        let _unwound = Unwound(&self.calls);
        let mut seen = 1;
        loop {
            self.turn();
            let over = self
                .calls
                .compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Acquire);
            match over {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Submits what there is.
    pub(super) fn submit(&self) {
        let due = self.state().is_due();
        if due {
            self.drive();
        }
    }

    fn turn(&self) {
        let mut fruitless = 0;
        loop {
            let mut state = self.state();
            fruitless = if state.turn() { 0 } else { fruitless + 1 };
            // At first nothing is expected, then what was there before may have been news.
            if fruitless > 2 {
                state.probe();
            }
            let (woken, wants_news) = (state.take_woken(), state.wants_news());
            drop(state);
            woken.into_iter().for_each(Waker::wake);
            if !wants_news {
                return;
            }
            let mut cx = Context::from_waker(&self.waker);
            match self.reactor.poll_readable(&mut cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                    self.state().fail(Error::new(Op::Poll, errno));
                }
            }
        }
    }

    /// What `poll` says, after all was done that there is to do if it is not ready at once.
    pub(super) fn poll<T>(&self, mut poll: impl FnMut(&mut State<R>) -> Poll<T>) -> Poll<T> {
        let mut state = self.state();
        let polled = poll(&mut state);
        if polled.is_ready() || !state.is_due() {
            return polled;
        }
        drop(state);
        self.drive();
        poll(&mut self.state())
    }

    /// The first completion that is for anybody.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Result<Completed>> {
        let mut first = None;
        let there = self.poll(|state| {
            let there = state.poll_arrived(1, cx.waker());
            first = state.take_arrived();
            there
        });
        ready!(there)?;
        // There may be room now for what comes next.
        self.submit();
        first.map_or(Poll::Pending, |first| Poll::Ready(Ok(first)))
    }
}

impl<R: fmt::Debug> fmt::Debug for Shared<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shared").field(&self.state).finish()
    }
}

/// An entry whose completion is waited for. Dropping it cancels the entry.
#[derive(Debug)]
pub(super) struct Awaited<R: Rings + Send + 'static> {
    /// Until it is complete.
    shared: Option<Arc<Shared<R>>>,
    number: usize,
}

impl<R: Rings + Send + 'static> Awaited<R> {
    /// Queues the entry.
    pub(super) fn new(shared: &Arc<Shared<R>>, entry: Entry) -> Self {
        Awaited {
            number: shared.state().add(entry, true),
            shared: Some(Arc::clone(shared)),
        }
    }

    /// Nobody waits for it any more, which cancels it or does not.
    pub(super) fn abandon(&mut self, cancel: bool) {
        if let Some(shared) = self.shared.take() {
            shared.state().abandon(self.number, cancel);
            shared.submit();
        }
    }

    /// Its completion, once.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Completed>> {
        let Some(shared) = &self.shared else {
            panic!("a future is polled that was ready");
        };
        let completed = ready!(shared.poll(|state| state.poll(self.number, cx.waker())));
        self.shared = None;
        Poll::Ready(completed)
    }
}

impl<R: Rings + Send + 'static> Drop for Awaited<R> {
    fn drop(&mut self) {
        self.abandon(true);
    }
}
