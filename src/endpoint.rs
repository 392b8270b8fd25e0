// SPDX-License-Identifier: GPL-2.0

//! Endpoints: connected queue pairs with flow control.
//!
//! | file      | what                                                              |
//! |-----------|-------------------------------------------------------------------|
//! | `connect` | `ADDRESS`, `CONNECT`, `ACCEPT`: the way to an established endpoint |
//! | `listen`  | listeners and the requests that wait in them                       |
//! | `events`  | what the connection manager and the adapter report                 |
//! | `link`    | credits, slots and queues of a connected endpoint                  |
//! | `send`    | entries, from submission to completion                             |
//! | `remote`  | what they read or write at the peer, as work requests              |
//! | `count`   | counters: messages that are counted rather than told of            |
//! | `receive` | messages received, credits granted                                 |
//! | `inbox`   | messages of `SEND`, and the entries that take them                 |
//! | `progress`| heartbeats, and the end of connections that stand still            |
//! | `register`| fast registrations of memory                                       |
//! | `lease`   | what the peer may write to, and we at the peer                     |
//! | `hold`    | the same while that memory moves                                   |
//! | `query`   | `QUERY` and `CLOSE`                                                |
//!
//! Ownership: the handle is an [`Owned`] endpoint. The endpoint holds its connection and the
//! connection, whose callbacks need it, holds the endpoint; [`Endpoint::end`] breaks that cycle,
//! and dropping the [`Owned`] calls it.
//! Locking: `inner` protects everything; work is posted under it, so entries keep their order. It is
//! taken outside of the context table and of completion rings. Calls of the connection manager
//! that wait for its callbacks are made without it.
//! Teardown: [`Endpoint::end`] fails what is queued, drains the queue pair (everything in flight is
//! completed through [`events`], and by [`progress`] what the adapter does not tell of), gives back
//! what was reserved, and drops the connection.

mod address;
pub(crate) mod connect;
pub(crate) mod count;
mod events;
mod hold;
pub(crate) mod inbox;
pub(crate) mod lease;
mod link;
pub(crate) mod listen;
mod progress;
pub(crate) mod query;
mod receive;
mod register;
pub(crate) mod remote;
pub(crate) mod send;

use self::{
    count::Counts,
    lease::PeerLeases,
    link::Link, //
};
use crate::{
    context::{
        Context,
        Object, //
    },
    counters::{
        Counters,
        Live,
        Tally, //
    },
    device::Device,
    fabric::Fabric,
    pure::{
        state::{
            self,
            Event,
            State, //
        },
        wire::{
            RejectReason,
            PRIVATE_MAX, //
        }, //
    },
    wait::Patience, //
};
use dmakit::{
    errno::{
        ECONNRESET,
        ENOTCONN, //
    },
    rdma::{
        addr::Addr,
        transport::{
            Connection,
            Transport, //
        }, //
    },
};
use kernel::{
    error::Error,
    new_condvar,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        CondVar,
        Mutex, //
    }, //
};

/// Something with connections that must be ended before its memory goes.
pub(crate) trait Ending {
    /// Ends it, for good, for this reason.
    fn end(&self, reason: Error);
}

/// The owner's reference: when it goes, the object ends.
pub(crate) struct Owned<T: Ending>(Arc<T>);

impl<T: Ending> Owned<T> {
    /// The object, for those who use it meanwhile.
    pub(crate) fn shared(&self) -> &Arc<T> {
        &self.0
    }
}

impl<T: Ending> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.end(dmakit::errno::ECANCELED.into());
    }
}

/// One side of a connection.
#[pin_data]
pub(crate) struct Endpoint {
    device: Arc<Device>,
    /// The handle, for completions; 0 while it has none.
    handle: Atomic<u32>,
    #[pin]
    inner: Mutex<Inner>,
    #[pin]
    changed: CondVar,
    _tally: Tally,
}

/// Bytes of the peer's program.
#[derive(Clone, Copy, Default)]
struct Private {
    len: usize,
    data: [u8; PRIVATE_MAX],
}

/// What an endpoint did, for `QUERY`.
#[derive(Default)]
struct Stats {
    stalls: u64,
    stall_ns: u64,
    sent: u64,
    sent_bytes: u64,
    received: u64,
    ctrl_sent: u64,
    ctrl_received: u64,
}

struct Inner {
    state: State,
    /// The address is resolved, the route not yet.
    has_address: bool,
    /// The last attempt to resolve failed.
    unresolved: Option<Error>,
    /// We asked for the connection, so that the peer answers.
    asked: bool,
    error: Option<Error>,
    wc_status: u32,
    conn: Option<Arc<Connection<Endpoint>>>,
    fabric: Option<Arc<Fabric>>,
    peer: Option<Addr>,
    /// What the peer said when it connected or answered.
    peer_credits: u32,
    peer_message: u32,
    peer_private: Private,
    link: Option<Link>,
    leases: PeerLeases,
    counts: Counts,
    stats: Stats,
}

impl Endpoint {
    /// Makes an endpoint without a connection.
    fn new(device: &Arc<Device>, counters: &Arc<Counters>, state: State) -> Result<Owned<Self>> {
        let endpoint = Arc::pin_init(
            pin_init!(Self {
                device: device.clone(),
                handle: Atomic::new(0),
                inner <- new_mutex!(Inner {
                    state,
                    has_address: false,
                    unresolved: None,
                    asked: false,
                    error: None,
                    wc_status: 0,
                    conn: None,
                    fabric: None,
                    peer: None,
                    peer_credits: 0,
                    peer_message: 0,
                    peer_private: Private::default(),
                    link: None,
                    leases: PeerLeases::new(),
                    counts: Counts::new(),
                    stats: Stats::default(),
                }),
                changed <- new_condvar!(),
                _tally: Tally::one(counters, Live::Endpoints),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        Ok(Owned(endpoint))
    }

    fn handle(&self) -> u32 {
        self.handle.load(Relaxed)
    }

    /// Gives an endpoint a handle, or gives it back.
    fn publish(this: Owned<Self>, context: &Context) -> Result<u32, (Error, Owned<Self>)> {
        let endpoint = this.shared().clone();
        match context.try_insert(Object::Endpoint(this)) {
            Ok(handle) => {
                endpoint.handle.store(handle, Relaxed);
                Ok(handle)
            }
            Err((error, Object::Endpoint(this))) => Err((error, this)),
            // It gives back what it was given.
            Err((error, _)) => Err((error, Owned(endpoint))),
        }
    }

    /// The fabric; `ENOTCONN` before it is known.
    pub(crate) fn fabric(&self) -> Result<Arc<Fabric>> {
        Ok(self.inner.lock().fabric.clone().ok_or(ENOTCONN)?)
    }

    /// Whether it uses `fabric`.
    pub(crate) fn is_live_on(&self, fabric: &Arc<Fabric>) -> bool {
        let inner = self.inner.lock();
        inner.conn.is_some() && matches!(&inner.fabric, Some(own) if Arc::ptr_eq(own, fabric))
    }

    /// Waits until `ready` says so. An endpoint that failed ends the wait with its error.
    fn wait_until<R>(
        &self,
        patience: &mut Patience,
        mut ready: impl FnMut(&mut Inner) -> Option<R>,
    ) -> Result<R> {
        let mut inner = self.inner.lock();
        loop {
            if let Some(result) = ready(&mut inner) {
                return Ok(result);
            }
            if let Some(error) = inner.error {
                return Err(error);
            }
            patience.wait(&self.changed, &mut inner)?;
        }
    }

    /// Makes the endpoint fail: what is queued is completed, what is in flight will be.
    fn fail(&self, error: Error) {
        // Once the connection has ended, siw refuses work.
        let ended = error == ENOTCONN;
        let error = if ended { ECONNRESET.into() } else { error };
        let conn = {
            let mut inner = self.inner.lock();
            let first = inner.fail(error);
            inner.fail_queued();
            inner.conn.clone().filter(|_| first)
        };
        self.flush(conn);
    }

    /// Has the end begin, as far as nothing has to be waited for.
    pub(crate) fn hang_up(&self, reason: Error) {
        // A request is answered by `end`.
        if self.inner.lock().state != State::Requested {
            self.fail(reason);
        }
    }

    /// Tells everybody of a failure, and flushes what is posted if there is a connection.
    fn flush(&self, conn: Option<Arc<Connection<Self>>>) {
        self.changed.notify_all();
        if let Some(conn) = conn {
            // An endpoint that was never connected has nothing to flush.
            let _ = conn.disconnect();
        }
    }
}

impl Ending for Endpoint {
    fn end(&self, reason: Error) {
        let (conn, requested) = {
            let mut inner = self.inner.lock();
            let requested = inner.state == State::Requested;
            inner.fail(reason);
            inner.fail_queued();
            (inner.conn.clone(), requested)
        };
        self.changed.notify_all();
        let Some(conn) = conn else {
            return;
        };
        if requested {
            // The peer learns of it from its own timeout if this cannot be sent.
            let _ = conn.reject(&RejectReason::Program.encode());
        }
        conn.shutdown();
        let mut inner = self.inner.lock();
        self.abandon(&mut inner);
        // No message was missed: all were seen when it was drained.
        inner.no_more_messages();
        // Whoever finds no connection may rely on the ring being detached.
        drop(inner.link.take());
        let own = inner.conn.take();
        drop(inner);
        drop(own);
    }
}

impl Inner {
    /// Goes to the next state, or stays if the table has none.
    fn transition(&mut self, event: Event) -> bool {
        match state::next(self.state, event) {
            Some(state) => {
                self.state = state;
                true
            }
            None => false,
        }
    }

    /// What is needed to post, if the endpoint is established.
    fn established(&mut self) -> Result<(&Arc<Connection<Endpoint>>, &mut Link)> {
        if self.state != State::Established {
            return Err(ENOTCONN.into());
        }
        match (&self.conn, &mut self.link) {
            (Some(conn), Some(link)) => Ok((conn, link)),
            _ => Err(ENOTCONN.into()),
        }
    }

    /// Goes to the final state. Says whether it was not there before; its first error stays.
    fn fail(&mut self, error: Error) -> bool {
        self.transition(Event::Failed);
        let first = self.error.is_none();
        self.error.get_or_insert(error);
        if let (true, Some(link)) = (first, &mut self.link) {
            // What is in flight has as long again to be flushed.
            link.waited = 0;
        }
        // What the peer was not told of yet it will not be told, and the regions are free again.
        while self
            .link
            .as_mut()
            .and_then(|link| link.offers.pop())
            .is_some()
        {}
        self.end_receiving();
        first
    }

    /// Completes the entries that wait and will never be sent, after those that were sent before
    /// them.
    fn fail_queued(&mut self) {
        if let (Some(error), Some(link)) = (self.error, &mut self.link) {
            if link.writes == 0 {
                link.fail_queued(error, self.wc_status, &mut self.stats);
            }
        }
    }
}
