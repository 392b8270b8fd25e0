// SPDX-License-Identifier: GPL-2.0

//! Listeners, and the connection requests that wait in them.
//!
//! Ownership: the handle is an `Owned<Listener>`; the listener holds its connection manager id and
//! the other way round, a cycle that [`Listener::end`] breaks. Requests wait as owned endpoints, so
//! ending the listener rejects them.
//! Locking: `inner` is a leaf but for the endpoints made under it.

use super::{
    address,
    Ending,
    Endpoint,
    Owned,
    Private, //
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
    fifo::Fifo,
    info::MAX_DEPTH,
    ioctl::{
        Created,
        Outcome, //
    },
    pure::{
        state::State,
        wire::{
            Hello,
            RejectReason, //
        }, //
    },
    wait::Patience, //
};
use dmakit::{
    errno::EADDRNOTAVAIL,
    rdma::{
        addr::Addr,
        conn::Connection,
        event::{
            CmEvent,
            CmKind,
            Handler,
            Incoming, //
        },
        queue::Completion,
        transport::{
            self,
            Transport, //
        }, //
    },
    uapi, //
};
use kernel::{
    error::Error,
    new_condvar,
    new_mutex,
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc,
        CondVar,
        Mutex, //
    }, //
};

/// Requests kept at most.
const MAX_BACKLOG: u32 = 128;

/// An address that accepts connection requests.
#[pin_data]
pub(crate) struct Listener {
    device: Arc<Device>,
    counters: Arc<Counters>,
    #[pin]
    inner: Mutex<Inner>,
    #[pin]
    changed: CondVar,
    _tally: Tally,
}

struct Inner {
    conn: Option<Connection<Listener>>,
    addr: Option<Addr>,
    error: Option<Error>,
    requests: Fifo<Owned<Endpoint>>,
}

impl Listener {
    /// Refuses requests from now on; whoever drops the connection ends it.
    fn stop(&self, reason: Error) -> Option<Connection<Self>> {
        let mut inner = self.inner.lock();
        inner.error.get_or_insert(reason);
        let conn = inner.conn.take();
        drop(inner);
        self.changed.notify_all();
        conn
    }

    /// Waits for the next request.
    fn next(&self, patience: &mut Patience) -> Result<Owned<Endpoint>> {
        let mut inner = self.inner.lock();
        loop {
            if let Some(error) = inner.error {
                return Err(error);
            }
            if let Some(endpoint) = inner.requests.pop() {
                return Ok(endpoint);
            }
            patience.wait(&self.changed, &mut inner)?;
        }
    }

    /// Lets a request wait for a better moment, before the others.
    fn put_back(&self, request: Owned<Endpoint>) {
        let mut inner = self.inner.lock();
        let lost = match inner.error {
            None => inner.requests.push_front(request).err(),
            Some(_) => Some(request),
        };
        let stopped = inner.error.is_some();
        drop(inner);
        self.changed.notify_all();
        let Some(lost) = lost else { return };
        let conn = lost.shared().inner.lock().conn.clone();
        if let Some(conn) = conn.filter(|_| !stopped) {
            // Others took its place meanwhile. No program refused it, as its end would say.
            let _ = conn.reject(&RejectReason::Backlog.encode());
        }
    }

    /// The address it is bound to, and why it stopped, if it did.
    pub(super) fn status(&self) -> (Option<Addr>, Option<Error>) {
        let inner = self.inner.lock();
        (inner.addr, inner.error)
    }

    /// Makes an endpoint of a request, or says why not.
    fn admit(&self, request: Incoming<'_>) -> Result<Owned<Endpoint>, RejectReason> {
        let hello = match Hello::decode(request.private_data()) {
            Ok(hello) if (1..=MAX_DEPTH).contains(&hello.credits) => hello,
            _ => {
                request.reject(&RejectReason::Version.encode());
                return Err(RejectReason::Version);
            }
        };
        let (credits, message) = (hello.credits, hello.message);
        let private = Private::new(hello.user);
        let peer = request.peer_addr();
        let made = self.device.fabric_of(request.device()).and_then(|fabric| {
            let endpoint = Endpoint::new(&self.device, &self.counters, State::Requested)?;
            let mut inner = endpoint.shared().inner.lock();
            inner.fabric = Some(fabric);
            inner.peer = peer;
            inner.peer_credits = credits;
            inner.peer_message = super::events::longest(message);
            inner.peer_private = private;
            drop(inner);
            Ok(endpoint)
        });
        let Ok(endpoint) = made else {
            request.reject(&RejectReason::Backlog.encode());
            return Err(RejectReason::Backlog);
        };
        let conn = transport::Connection::adopt(request, endpoint.shared().clone())
            .and_then(|conn| Ok(Arc::new(conn, GFP_KERNEL_ACCOUNT)?));
        match conn {
            Ok(conn) => {
                endpoint.shared().inner.lock().conn = Some(conn);
                Ok(endpoint)
            }
            Err(_) => Err(RejectReason::Backlog),
        }
    }
}

impl Handler for Listener {
    fn cm_event(&self, event: CmEvent<'_>) {
        if event.kind == CmKind::DeviceRemoval {
            // Requests that wait have the same event coming.
            drop(self.stop(ENODEV));
        }
    }

    fn request(&self, request: Incoming<'_>) {
        if self.inner.lock().requests.is_full() {
            return request.reject(&RejectReason::Backlog.encode());
        }
        let Ok(endpoint) = self.admit(request) else {
            return;
        };
        let rejected = {
            let mut inner = self.inner.lock();
            match inner.error {
                None => inner.requests.push(endpoint).err(),
                Some(_) => Some(endpoint),
            }
        };
        drop(rejected);
        self.changed.notify_all();
    }

    fn completion(&self, _completion: Completion<'_>) {}
}

impl Ending for Listener {
    fn end(&self, reason: Error) {
        // Waits for a request being admitted; none comes after.
        drop(self.stop(reason));
        loop {
            let request = self.inner.lock().requests.pop();
            if request.is_none() {
                return;
            }
        }
    }
}

/// `ENDPOINT_LISTEN`
pub(crate) fn listen(
    context: &Context,
    arg: &mut uapi::dmaplane_endpoint_listen,
) -> Result<Created> {
    if arg.flags != 0 || !(1..=MAX_BACKLOG).contains(&arg.backlog) {
        return Err(EINVAL);
    }
    let addr = address::from_user(&arg.addr)?.ok_or(EINVAL)?;
    let requests = Fifo::new(usize::try_from(arg.backlog)?)?;
    let counters = context.counters();
    let listener = Owned(Arc::pin_init(
        pin_init!(Listener {
            device: context.device().clone(),
            counters: counters.clone(),
            inner <- new_mutex!(Inner {
                conn: None,
                addr: None,
                error: None,
                requests,
            }),
            changed <- new_condvar!(),
            _tally: Tally::one(counters, Live::Endpoints),
        }),
        GFP_KERNEL_ACCOUNT,
    )?);

    let conn = Connection::new(listener.shared().clone())?;
    conn.bind(&addr).map_err(|error| match error {
        ENODEV => EADDRNOTAVAIL.into(),
        error => error,
    })?;
    let bound = conn.local_addr();
    // Ours is counted here, with an answer to whom it refuses; beyond theirs some are silent.
    conn.listen(MAX_BACKLOG)?;
    {
        let mut inner = listener.shared().inner.lock();
        inner.addr = bound;
        inner.conn = Some(conn);
        // The device may have left meanwhile, and waits for us to let go of it.
        if let Some(error) = inner.error {
            return Err(error);
        }
    }
    arg.addr = address::to_user(bound);
    arg.handle = context.insert(Object::Listener(listener))?;
    Ok(Created(arg.handle))
}

/// A request was taken from the listener and has this handle.
pub(crate) struct Taken(Arc<Listener>, u32);

impl Outcome for Taken {
    fn undo(self, context: &Context) {
        let Ok(Object::Endpoint(request)) = context.remove::<Endpoint>(self.1) else {
            return;
        };
        // Another thread may have guessed the handle. What it began to use has a queue pair, which
        // a device's removal looks for in the table only, so that it ends here.
        if request.shared().withdraw() {
            self.0.put_back(request);
        }
    }
}

impl Endpoint {
    /// Takes the handle of a request back: nobody can accept by it any more. Says whether nobody
    /// did.
    fn withdraw(&self) -> bool {
        let inner = self.inner.lock();
        self.handle.store(0, Relaxed);
        inner.state == State::Requested && inner.link.is_none()
    }
}

/// `ENDPOINT_REQUEST`
pub(crate) fn request(
    context: &Context,
    arg: &mut uapi::dmaplane_endpoint_request,
) -> Result<Taken> {
    if arg.flags != 0 || arg.pad != [0; 2] {
        return Err(EINVAL);
    }
    let listener = context.get::<Listener>(arg.listener)?;
    let mut patience = Patience::new(arg.timeout_ns);
    let owned = loop {
        let endpoint = listener.next(&mut patience)?;
        // One whose peer gave up meanwhile is of no use to anybody.
        if endpoint.shared().inner.lock().error.is_none() {
            break endpoint;
        }
    };
    {
        let inner = owned.shared().inner.lock();
        arg.fabric = inner.fabric.as_ref().map_or(0, |fabric| fabric.number());
        arg.peer = address::to_user(inner.peer);
        arg.private_data = inner.peer_private.to_user();
    }
    arg.handle = Endpoint::publish(owned, context).map_err(|(error, owned)| {
        listener.put_back(owned);
        error
    })?;
    Ok(Taken(listener, arg.handle))
}
