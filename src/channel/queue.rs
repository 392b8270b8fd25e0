// SPDX-License-Identifier: GPL-2.0

//! The submission side of a channel: entries are taken, begun in their order, or kept until they can
//! begin.
//!
//! Ownership: the channel and the [`Ticket`] of each entry in flight hold the [`Queue`], which holds
//! its completion ring and the entries that have not begun. A queued worker holds it, too. What
//! holds it in turn, by what it keeps, is let go of by [`Queue::stop`].
//! Locking: `taken` serialises submission and is held while entries are begun, so it is outside of
//! the context table and endpoints. `ready` is a leaf: chains are told of completions anywhere.
//! Teardown: after [`Queue::stop`] nothing begins any more, and whatever has not is complete;
//! [`Queue::finish`] waits for the copy under way.

use super::{
    order::{
        Order,
        Token, //
    },
    request::{
        Plug,
        Request,
        Ticket,
        Work, //
    },
    ring::{
        Batch,
        CompletionRing, //
    },
    submit,
    times::Began,
    transfer::Long, //
};
use crate::{
    context::Context,
    fifo::Fifo, //
};
use dmakit::{
    errno::ECANCELED,
    mm,
    uapi,
    worker::{
        Job,
        Worker, //
    }, //
};
use kernel::{
    new_mutex,
    new_spinlock,
    prelude::*,
    sync::{
        lock::{
            mutex::MutexBackend,
            Guard, //
        },
        Arc,
        Mutex,
        SpinLock, //
    }, //
};

/// A submission queue and what goes on behind it.
#[pin_data]
pub(crate) struct Queue {
    ring: Arc<CompletionRing>,
    #[pin]
    taken: Mutex<Taken>,
    /// Chains to go on with, the last one first.
    #[pin]
    ready: SpinLock<Option<KBox<Token>>>,
}

/// What was taken from the ring.
pub(super) struct Taken {
    /// Index of the next entry to take, the kernel's own.
    head: u32,
    pub(super) order: Order,
    /// Copies for the worker, and what else takes some time.
    pub(super) copies: Fifo<Copy>,
    /// The one that has begun there.
    current: Option<Copy>,
    pub(super) stopped: bool,
}

/// A copy that takes some time, or another thing that does.
pub(super) struct Copy {
    /// `None` while the worker has it.
    work: Option<Long>,
    ticket: Ticket,
    /// The worker shall not go on with it.
    cancelled: bool,
}

impl Copy {
    /// Whose it is.
    pub(super) fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// The worker has got to it.
    fn begin(mut self) -> Self {
        self.ticket.posted();
        self
    }

    /// Ends it before it is done.
    pub(super) fn cancel(self) {
        drop(self.work);
        self.ticket.fail(ECANCELED.into(), 0);
    }

    fn finish(self) {
        match self.work {
            Some(work) => work.finish(self.ticket),
            None => self.ticket.fail(EIO, 0),
        }
    }
}

impl Taken {
    /// Ends the copy under way if it is `meant`, at once or when the worker sees it; whether it was.
    pub(super) fn cancel_current(&mut self, meant: impl Fn(&Ticket) -> bool) -> bool {
        match &mut self.current {
            Some(copy) if !copy.cancelled && meant(&copy.ticket) => copy.cancelled = true,
            _ => return false,
        }
        if let Some(copy) = self.current.take_if(|copy| copy.work.is_some()) {
            copy.cancel();
        }
        true
    }
}

impl Queue {
    pub(super) fn new(ring: Arc<CompletionRing>) -> Result<Arc<Worker<Self>>> {
        let taken = Taken {
            head: 0,
            order: Order::new(ring.is_timed())?,
            copies: Fifo::new(0)?,
            current: None,
            stopped: false,
        };
        Worker::new(pin_init!(Self {
            ring,
            taken <- new_mutex!(taken),
            ready <- new_spinlock!(None),
        }))
    }

    /// Where completions go.
    pub(super) fn ring(&self) -> &Arc<CompletionRing> {
        &self.ring
    }

    /// Takes up to `count` entries. Returns how many, and how many completions can be reaped, or
    /// fewer; `EBUSY` if the first has no room for its completion.
    pub(super) fn submit(
        this: &Arc<Worker<Self>>,
        context: &Context,
        count: u32,
    ) -> Result<(u32, u32)> {
        let ring = &this.ring;
        let mut taken = this.taken.lock();
        let (accepted, mut done) = ring.accept(taken.head, count)?;
        let mut left = accepted;
        let idle = taken.order.is_idle();
        while idle && left > 0 {
            let words = ring.submission(taken.head);
            let Some((user_data, right)) = words.bare() else {
                // It is copied again when it is taken.
                break;
            };
            done.push(user_data, if right { Ok(()) } else { Err(EINVAL) });
            taken.head = taken.head.wrapping_add(1);
            left = left.wrapping_sub(1);
        }
        if left > 0 || !idle {
            Self::take(this, context, &mut taken, left, &mut done);
        }
        let available = done.finish();
        ring.publish_sq_head(taken.head);
        Ok((accepted, available))
    }

    /// Takes `count` entries that were accepted, whatever they are, and goes on with what can.
    #[inline(never)]
    fn take(
        this: &Arc<Worker<Self>>,
        context: &Context,
        taken: &mut Taken,
        count: u32,
        done: &mut Batch<'_>,
    ) {
        // Dropped when all was told.
        let mut plug = Plug::default();
        let mut began = Began::default();
        for left in (1..=count).rev() {
            let words = this.ring.submission(taken.head);
            taken.head = taken.head.wrapping_add(1);
            let idle = taken.order.is_idle();
            if let Some((user_data, right)) = words.bare().filter(|_| idle) {
                done.push(user_data, if right { Ok(()) } else { Err(EINVAL) });
                continue;
            }
            if taken.order.is_timed() && !began.is_known() {
                began.begin();
            }
            let sqe = uapi::dmaplane_sqe::from(words);
            let work = submit::parse(context, &sqe, done.tell()).unwrap_or_else(Work::Wrong);
            let request = Request {
                work,
                ticket: Ticket::new(this, &sqe).taken(began),
            };
            // Each may have to look at all others, and some take a while.
            mm::cond_resched();
            // What ends others waits for none of them.
            let hurries = matches!(request.work, Work::Cancel(_)) && !taken.order.expects_more();
            let free = u32::from(sqe.flags) & submit::ORDERED == 0;
            match free && (idle || hurries) {
                true => this.begin(this, taken, request, &mut plug),
                false => this.admit(this, taken, request, sqe.flags, left, &mut plug),
            }
        }
        let _ = done.tell();
        if !taken.order.is_idle() {
            this.go_on(this, taken, &mut plug);
        }
    }

    /// Has the worker do what takes some time.
    fn defer(this: &Arc<Worker<Self>>, taken: &mut Taken, work: Long, ticket: Ticket) {
        if let Err(error) = taken.copies.grow() {
            drop(work);
            return ticket.fail(error, 0);
        }
        let node = work.node();
        // There is room.
        let refused = taken.copies.push(Copy {
            work: Some(work),
            ticket,
            cancelled: false,
        });
        drop(refused);
        Worker::kick(this, node);
    }

    /// What was taken, for those who have something to add, or to end.
    pub(super) fn taken(&self) -> Guard<'_, Taken, MutexBackend> {
        self.taken.lock()
    }

    /// Does what an entry asks for, or has it done.
    pub(super) fn begin(
        &self,
        this: &Arc<Worker<Self>>,
        taken: &mut Taken,
        request: Request,
        plug: &mut Plug,
    ) {
        if taken.stopped {
            return request.cancel();
        }
        let Request { work, ticket } = request;
        match work {
            Work::Nop => ticket.succeed(0),
            Work::Wrong(error) => ticket.fail(error, 0),
            Work::Remote(endpoint, remote) => plug.submit(endpoint, remote, ticket),
            Work::Transfer(transfer) if transfer.is_short() => transfer.all().succeed(ticket),
            Work::Transfer(transfer) => Self::defer(this, taken, Long::Transfer(transfer), ticket),
            Work::Migrate(migrate) => Self::defer(this, taken, Long::Migrate(migrate), ticket),
            Work::Cancel(target) => match target.cancel(this, taken) {
                Ok(found) => ticket.succeed(found),
                Err(error) => ticket.fail(error, 0),
            },
            Work::Wait(counter, value) => counter.wait(value, ticket),
            Work::Receive(endpoint, receive) => endpoint.receive(receive, ticket),
            Work::Invalidate(region) => {
                let done = region.invalidate();
                drop(region);
                match done {
                    Ok(()) => ticket.succeed(0),
                    Err(error) => ticket.fail(error, 0),
                }
            }
        }
    }

    /// A chain can go on. May be called from anywhere.
    pub(super) fn ready(this: &Arc<Worker<Self>>, mut token: KBox<Token>) {
        let mut ready = this.ready.lock();
        token.after = ready.take();
        *ready = Some(token);
        drop(ready);
        Worker::kick(this, uapi::DMAPLANE_NODE_ANY);
    }

    /// Chains that can go on, in the order in which they became ready.
    pub(super) fn take_ready(&self) -> Option<KBox<Token>> {
        let mut last = self.ready.lock().take();
        let mut first = None;
        while let Some(mut token) = last {
            last = token.after.take();
            token.after = first;
            first = Some(token);
        }
        first
    }

    /// Lets nothing begin any more, and completes what has not.
    pub(super) fn stop(&self) {
        let mut taken = self.taken.lock();
        taken.stopped = true;
        taken.cancel_current(|_| true);
        while let Some(copy) = taken.copies.pop() {
            copy.cancel();
        }
        taken.order.cancel_all();
        self.ring.hold(0, 0);
    }

    /// Waits for the copy that was under way when it was stopped.
    pub(super) fn finish(this: &Arc<Worker<Self>>) {
        Worker::finish(this);
    }
}

/// Pieces of a copy before others get their turn on the processor, of other channels as well.
const TURN: u32 = 4;

impl Job for Queue {
    /// Goes on with what waited for others to complete, and for some time with a copy.
    fn run(this: &Arc<Worker<Self>>) {
        let mut plug = Plug::default();
        let mut taken = this.taken.lock();
        this.go_on(this, &mut taken, &mut plug);
        for _ in 0..TURN {
            if taken.current.is_none() {
                taken.current = taken.copies.pop().map(Copy::begin);
            }
            let Some(work) = taken.current.as_mut().map(|copy| copy.work.take()) else {
                return;
            };
            drop(taken);
            plug.send();
            let (work, more) = work.map_or((None, false), Long::step);
            taken = this.taken.lock();
            if let Some(copy) = &mut taken.current {
                copy.work = work;
            }
            let over = |copy: &mut Copy| copy.cancelled || !more;
            match taken.current.take_if(over) {
                Some(copy) if more => copy.cancel(),
                Some(copy) => copy.finish(),
                None => {}
            }
            this.go_on(this, &mut taken, &mut plug);
        }
        let next = taken.current.as_ref().or(taken.copies.get(0));
        if let Some(work) = next.and_then(|copy| copy.work.as_ref()) {
            Worker::kick(this, work.node());
        }
    }
}
