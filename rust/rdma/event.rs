// SPDX-License-Identifier: GPL-2.0

//! What happens to connections, and who is told.
//!
//! C header: [`include/rdma/rdma_cm.h`](srctree/include/rdma/rdma_cm.h)
//!
//! Ownership: a connection owns its [`Handler`]; the handler must not own the connection.
//! Locking: the connection manager calls one handler at a time per connection, with a mutex
//! held that destroying the connection takes too.
//! Teardown: a connection that is dropped inside its own handler is ended when that returns.

use super::{
    addr::Addr,
    conn::{
        self,
        Connection,
        Inner, //
    },
    device::Device,
    queue::Completion, //
};
use crate::bindings;
use core::{
    cell::Cell,
    ffi::{
        c_int,
        c_void, //
    },
    slice, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::ordering::Relaxed,
        Arc, //
    }, //
};

/// Told of all that happens to a connection.
pub trait Handler: Send + Sync + Sized + 'static {
    /// Connection management. In process context, may sleep, one at a time.
    fn cm_event(&self, event: CmEvent<'_>);

    /// Someone wants to connect to this listener. In process context, may sleep, one at a time.
    ///
    /// The listener itself must not be dropped in here.
    fn request(&self, _request: Incoming<'_>) {}

    /// Something that was posted completed. In process context, that of a worker or of anybody who
    /// waits at the poller; may sleep; one at a time for all queues of a poller.
    ///
    /// The connection must neither be shut down nor dropped in here. Who clones an
    /// `Arc<Connection>` in here must see to it that this is not the last one: call
    /// [`shutdown`](super::transport::Transport::shutdown) first, then let go of the others. Nor
    /// may this wait for a [`Self::cm_event`], which may be waiting for completions: so no
    /// connect, no accept.
    fn completion(&self, completion: Completion<'_>);

    /// An event of the queue pair. Must not sleep.
    fn async_event(&self, _event: AsyncEvent) {}
}

/// An event of a queue pair.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AsyncEvent {
    /// Something arrived before the connection was known to be there.
    Established,
    /// The queue pair failed; the `ib_event_type`.
    Fatal(u32),
    /// Something else; the `ib_event_type`.
    Other(u32),
}

/// What kind of [`CmEvent`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum CmKind {
    /// There is a device that reaches the address.
    AddrResolved,
    /// There is none.
    AddrError,
    /// There is a route.
    RouteResolved,
    /// There is none.
    RouteError,
    /// The peer accepted, but the queue pair could not be set up.
    ConnectError,
    /// The peer does not answer.
    Unreachable,
    /// The peer said no; the status is the CM's reason, or what the peer's transport says.
    Rejected,
    /// Connected.
    Established,
    /// The peer, or we, ended the connection.
    Disconnected,
    /// The device is leaving: drop the connection, here or soon. The device waits for that.
    DeviceRemoval,
    /// The address moved to another device.
    AddrChange,
    /// The queue pair number may be used again.
    TimewaitExit,
    /// None of these.
    Other,
}

impl CmKind {
    fn new(event: bindings::rdma_cm_event_type) -> Self {
        match event {
            bindings::rdma_cm_event_type_RDMA_CM_EVENT_ADDR_RESOLVED => Self::AddrResolved,
            bindings::rdma_cm_event_type_RDMA_CM_EVENT_ADDR_ERROR => Self::AddrError,
            bindings::rdma_cm_event_type_RDMA_CM_EVENT_ROUTE_RESOLVED => Self::RouteResolved,
            bindings::rdma_cm_event_type_RDMA_CM_EVENT_ROUTE_ERROR => Self::RouteError,
            bindings::rdma_cm_event_type_RDMA_CM_EVENT_CONNECT_ERROR => Self::ConnectError,
            bindings::rdma_cm_event_type_RDMA_CM_EVENT_UNREACHABLE => Self::Unreachable,
            bindings::rdma_cm_event_type_RDMA_CM_EVENT_REJECTED => Self::Rejected,
            bindings::rdma_cm_event_type_RDMA_CM_EVENT_ESTABLISHED => Self::Established,
            bindings::rdma_cm_event_type_RDMA_CM_EVENT_DISCONNECTED => Self::Disconnected,
            bindings::rdma_cm_event_type_RDMA_CM_EVENT_DEVICE_REMOVAL => Self::DeviceRemoval,
            bindings::rdma_cm_event_type_RDMA_CM_EVENT_ADDR_CHANGE => Self::AddrChange,
            bindings::rdma_cm_event_type_RDMA_CM_EVENT_TIMEWAIT_EXIT => Self::TimewaitExit,
            _ => Self::Other,
        }
    }
}

/// Something happened to a connection.
pub struct CmEvent<'a> {
    /// What it was.
    pub kind: CmKind,
    /// Zero, an error number below zero, or for [`CmKind::Rejected`] the reason.
    pub status: i32,
    /// What the peer sent along with it, padded to a length that the CM decides.
    pub private_data: &'a [u8],
}

/// # Safety
///
/// `event` was filled in by `dk_rdma_event` and the result is not used after the callback.
unsafe fn private_data<'a>(event: &bindings::dk_cm_event) -> &'a [u8] {
    if event.data.is_null() {
        return &[];
    }
    // SAFETY: the CM hands out that many bytes for the time of the callback.
    unsafe { slice::from_raw_parts(event.data.cast(), event.len.into()) }
}

/// What became of a request.
#[derive(Clone, Copy)]
enum Fate {
    Open,
    Refused,
    /// Adopted; whoever knows its type says whether it was dropped again.
    Adopted(unsafe fn(*mut c_void) -> bool, *mut c_void),
}

/// A request for a connection. Unless it is adopted it is refused.
pub struct Incoming<'a> {
    id: *mut bindings::rdma_cm_id,
    data: &'a [u8],
    depth: (u8, u8),
    device: Arc<Device>,
    fate: &'a Cell<Fate>,
}

impl Incoming<'_> {
    /// What the peer sent along, padded to a length that the CM decides.
    pub fn private_data(&self) -> &[u8] {
        self.data
    }

    /// The peer's address.
    pub fn peer_addr(&self) -> Option<Addr> {
        // SAFETY: the id is valid while `self` exists.
        unsafe { conn::addr(self.id, true) }
    }

    /// The device that the request came by.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Makes a connection of it, which remains to be accepted or rejected.
    ///
    /// If this fails, or the connection is dropped before it is accepted, the peer is refused.
    pub(super) fn adopt<H: Handler>(self, handler: Arc<H>) -> Result<Connection<H>> {
        let inner = Inner::new(handler)?;
        inner.adopt(self.id, self.device.clone(), self.depth);
        let connection = Connection::from_inner(inner);
        let context = connection.context();
        // SAFETY: we are in the handler of `id`, so that nobody calls these meanwhile.
        unsafe {
            (*self.id).context = context;
            (*self.id).event_handler = Some(cm_event::<H>);
        }
        self.fate.set(Fate::Adopted(leave::<H>, context));
        Ok(connection)
    }

    /// Refuses, with a word to the peer (at most 148 bytes of it).
    pub fn reject(self, private_data: &[u8]) {
        let len = private_data.len().min(bindings::DK_CM_REJ_DATA as usize);
        // SAFETY: the id is valid while `self` exists; the data is copied. Should this fail,
        // the peer is refused without it.
        unsafe { bindings::dk_rdma_reject(self.id, private_data.as_ptr().cast(), len as u8) };
        self.fate.set(Fate::Refused);
    }
}

/// Ends a callback: see [`Inner::leave_adopted`].
///
/// # Safety
///
/// `context` is that of a connection with this `H`, whose handler's mutex is held.
unsafe fn leave<H: Handler>(context: *mut c_void) -> bool {
    // SAFETY: by the caller's promise.
    unsafe { Inner::<H>::leave_adopted(context.cast()) }
}

/// The event handler of every connection: a result that is not zero destroys `id`.
///
/// # Safety
///
/// To be called by the CM for an id whose context is an `Inner<H>`, or for a request to a
/// listener of that kind.
pub(super) unsafe extern "C" fn cm_event<H: Handler>(
    id: *mut bindings::rdma_cm_id,
    event: *mut bindings::rdma_cm_event,
) -> c_int {
    // SAFETY: valid for the time of the callback.
    let context = unsafe { (*id).context }.cast::<Inner<H>>();
    let mut copy = bindings::dk_cm_event::default();
    // SAFETY: both are valid for the time of the callback.
    unsafe { bindings::dk_rdma_event(id, event, &mut copy) };
    if copy.event == bindings::rdma_cm_event_type_RDMA_CM_EVENT_CONNECT_REQUEST {
        // SAFETY: the context of a request is the listener's; the rest as above.
        return unsafe { request::<H>(context, id, &copy) };
    }
    // SAFETY: the connection waits for us before it frees its context.
    let inner = unsafe { &*context };
    let event = CmEvent {
        kind: CmKind::new(copy.event),
        status: copy.status,
        // SAFETY: used for the time of the callback.
        private_data: unsafe { private_data(&copy) },
    };
    match event.kind {
        // SAFETY: we are in the handler of `id`.
        CmKind::AddrResolved => unsafe { inner.learn_device() },
        CmKind::Established => {
            inner.established.store(true, Relaxed);
            inner.open();
        }
        _ => (),
    }
    inner.enter();
    inner.handler().cm_event(event);
    inner.leave();
    // Only a request may be answered with an error: after other events the CM itself may not be
    // ready to destroy the id.
    0
}

/// # Safety
///
/// `listener` is a listener's context, `id` a new connection, `event` what the CM says of it.
unsafe fn request<H: Handler>(
    listener: *mut Inner<H>,
    id: *mut bindings::rdma_cm_id,
    event: &bindings::dk_cm_event,
) -> c_int {
    // SAFETY: a new connection is bound to a device.
    let Some(device) = super::client::find(unsafe { (*id).device }) else {
        // The device is leaving.
        return 1;
    };
    let fate = Cell::new(Fate::Open);
    // SAFETY: the listener waits for us before it frees its context.
    let inner = unsafe { &*listener };
    inner.enter();
    inner.handler().request(Incoming {
        id,
        // SAFETY: used for the time of the callback.
        data: unsafe { private_data(event) },
        depth: (event.responder_resources, event.initiator_depth),
        device,
        fate: &fate,
    });
    inner.leave_request();
    match fate.get() {
        // SAFETY: `adopt` set both; the new connection's handler is not run by anybody else.
        Fate::Adopted(leave, context) => unsafe { leave(context) }.into(),
        Fate::Open | Fate::Refused => 1,
    }
}
