// SPDX-License-Identifier: GPL-2.0

//! Connections: addresses and routes, listening, connecting, and the queues that come of it.
//!
//! C header: [`include/rdma/rdma_cm.h`](srctree/include/rdma/rdma_cm.h)
//!
//! Ownership: [`Connection`] owns the CM id, the queues and the handler.
//! Locking: the CM's own mutex orders the handler. `addressing` is outside of it and orders finding
//! addresses; `cm` and `setup` are inside of it and order connecting and ending, and making the
//! queues and ending them.
//! Over iWARP connecting makes the TCP connection before it returns, with the handler's mutex held,
//! and until the peer answered (siw: 10 s at most) neither disconnecting nor destroying the id
//! returns (iwcm.c: `connect_wait`). siw overlooks what arrives while it finishes accepting
//! (siw_cm_llp_data_ready(), `SIW_EPSTATE_RDMA_MODE`) until the peer sends more, if only a
//! heartbeat; and a refusal that arrives in one piece with the end of the TCP connection, so that
//! it is just a reset. A TCP connection that ends before siw accepted it takes the listener with it,
//! freed while in use (siw_cm_llp_state_change(): the child has the listener's `sk_user_data` still):
//! whoever can reach its port can do that, and so can a signal inside of connecting.
//! Teardown: disconnect, drain, destroy the queues, destroy the id (which waits for the
//! handler), free. A connection dropped inside a callback of its own is left to the reaper, which
//! unloading waits for.

use super::{
    addr::{
        self,
        Addr, //
    },
    chain::Chain,
    device::{
        Device,
        Domain, //
    },
    event::{
        cm_event,
        Handler,
        Incoming, //
    },
    mr::{
        Access,
        Region, //
    },
    outcome,
    poller::Poller,
    queue::{
        Caps,
        Queues, //
    },
    transport::Transport, //
};
use crate::{
    bindings,
    errno::ENOTCONN,
    mm::pages::Pages, //
};
use core::{
    ffi::c_void,
    mem::ManuallyDrop,
    pin::Pin,
    ptr, //
};
use kernel::{
    error::from_err_ptr,
    prelude::*,
    sync::{
        atomic::ordering::Relaxed,
        lock::mutex::MutexGuard,
        Arc, //
    }, //
};

mod inner;
pub(super) use inner::{
    wait_for_all,
    Inner, //
};

/// The address of one end.
///
/// # Safety
///
/// `id` is valid.
pub(super) unsafe fn addr(id: *mut bindings::rdma_cm_id, peer: bool) -> Option<Addr> {
    let mut bytes = [0; addr::MAX_BYTES];
    // SAFETY: `id` is valid by the caller's promise; there is room for either family.
    let len = unsafe { bindings::dk_rdma_addr(id, peer, bytes.as_mut_ptr()) };
    Addr::from_bytes(bytes.get(..len)?).ok()
}

/// A listener or a connection.
///
/// The methods may be called concurrently, inside the handler as well. Dropping it ends it: all
/// that was posted has completed when that is done. See [`Handler`] for where it must not be.
pub struct Connection<H: Handler> {
    inner: ManuallyDrop<Pin<KBox<Inner<H>>>>,
}

impl<H: Handler> Connection<H> {
    /// The connection of a heap part that has its id.
    pub(super) fn from_inner(inner: Pin<KBox<Inner<H>>>) -> Self {
        Self {
            inner: ManuallyDrop::new(inner),
        }
    }

    /// What C knows it by.
    pub(super) fn context(&self) -> *mut c_void {
        ptr::from_ref::<Inner<H>>(&self.inner).cast_mut().cast()
    }

    fn id(&self) -> *mut bindings::rdma_cm_id {
        self.inner.id()
    }

    /// `EINVAL` if that is too much to send along.
    fn param(&self, data: &[u8], max: u32) -> Result<bindings::dk_conn_param> {
        if data.len() > max as usize {
            return Err(EINVAL);
        }
        let ours = self.device().ok_or(ENODEV)?.read_depth();
        let theirs = self.inner.depth.copy().unwrap_or(ours);
        Ok(bindings::dk_conn_param {
            data: data.as_ptr().cast(),
            len: data.len() as u8,
            responder_resources: ours.0.min(theirs.0),
            initiator_depth: ours.1.min(theirs.1),
        })
    }

    fn queues(&self) -> Result<&Queues<H>> {
        let queues = self.inner.queues.as_ref().ok_or(ENOTCONN)?;
        Ok(queues)
    }

    /// Excludes others who bind, listen or resolve. Not inside the handler (`EBUSY`), for which
    /// they may wait.
    fn addressing(&self) -> Result<MutexGuard<'_, ()>> {
        match self.inner.in_handler() {
            true => Err(EBUSY),
            false => Ok(self.inner.addressing.lock()),
        }
    }

    /// Binds to a local address; port 0 is for any that is free. A specific address binds to
    /// its device as well.
    pub fn bind(&self, addr: &Addr) -> Result {
        let _addressing = self.addressing()?;
        // SAFETY: `id` is valid by the invariant. C does not write to the address.
        outcome(unsafe { bindings::rdma_bind_addr(self.id(), addr.as_ptr().cast_mut()) })?;
        // SAFETY: bound just now, and `addressing` keeps others from binding it otherwise.
        unsafe { self.inner.learn_device() };
        Ok(())
    }

    /// Lets others connect: [`Handler::request`] is called for each.
    pub fn listen(&self, backlog: u32) -> Result {
        let backlog = i32::try_from(backlog)?;
        let _addressing = self.addressing()?;
        // SAFETY: `id` is valid by the invariant.
        outcome(unsafe { bindings::rdma_listen(self.id(), backlog) })
    }

    /// Our address.
    pub fn local_addr(&self) -> Option<Addr> {
        // SAFETY: `id` is valid by the invariant.
        unsafe { addr(self.id(), false) }
    }

    /// The peer's address.
    #[cfg(dmaplane_test)]
    pub(super) fn peer_addr(&self) -> Option<Addr> {
        // SAFETY: `id` is valid by the invariant.
        unsafe { addr(self.id(), true) }
    }

    /// Calls `f` with the handler's mutex held, unless the connection was shut down. Once, for who
    /// holds `cm` may be waiting for the handler of an answer to it.
    fn begin(&self, f: impl FnOnce(*mut bindings::rdma_cm_id) -> Result) -> Result {
        let id = self.id();
        let inside = self.inner.in_handler();
        if !inside {
            // SAFETY: `id` is valid by the invariant, and we are not its handler.
            unsafe { bindings::rdma_lock_handler(id) };
        }
        let result = {
            let ended = self.inner.cm.lock();
            match *ended {
                true => Err(ENOTCONN.into()),
                false => f(id),
            }
        };
        if !inside {
            // SAFETY: locked above.
            unsafe { bindings::rdma_unlock_handler(id) };
        }
        result
    }
}

impl<H: Handler> Transport<H> for Connection<H> {
    fn new(handler: Arc<H>) -> Result<Self> {
        let inner = Inner::new(handler)?;
        let context = ptr::from_ref::<Inner<H>>(&inner).cast_mut().cast();
        let event: bindings::rdma_cm_event_handler = Some(cm_event::<H>);
        // SAFETY: the context stays until the id is destroyed.
        let id = from_err_ptr(unsafe { bindings::dk_rdma_create_id(event, context) })?;
        inner.set_id(id);
        Ok(Self::from_inner(inner))
    }

    fn adopt(request: Incoming<'_>, handler: Arc<H>) -> Result<Self> {
        request.adopt(handler)
    }

    fn device(&self) -> Option<Arc<Device>> {
        self.inner.device.as_ref().cloned()
    }

    fn resolve_addr(&self, from: Option<&Addr>, to: &Addr, timeout_ms: u32) -> Result {
        let from = from.map_or(ptr::null(), Addr::as_ptr).cast_mut();
        let _addressing = self.addressing()?;
        // SAFETY: `id` is valid by the invariant. C does not write to the addresses.
        outcome(unsafe {
            bindings::rdma_resolve_addr(self.id(), from, to.as_ptr(), timeout_ms as usize)
        })
    }

    fn resolve_route(&self, timeout_ms: u32) -> Result {
        let _cm = self.inner.cm.lock();
        // SAFETY: `id` is valid by the invariant.
        outcome(unsafe { bindings::rdma_resolve_route(self.id(), timeout_ms as usize) })
    }

    fn create_qp(&self, domain: &Arc<Domain>, poller: &Arc<Poller>, caps: &Caps) -> Result {
        if !Arc::ptr_eq(&self.device().ok_or(ENODEV)?, domain.device()) {
            return Err(EINVAL);
        }
        let ended = self.inner.setup.lock();
        if *ended {
            return Err(ENOTCONN.into());
        }
        if self.inner.queues.as_ref().is_some() {
            return Err(EBUSY);
        }
        // SAFETY: `id` is valid until the queues are destroyed; `setup` keeps others from making
        // some. C compares the devices.
        let queues = unsafe {
            Queues::new(
                self.id(),
                domain.clone(),
                self.inner.handler.clone(),
                poller.clone(),
                caps,
            )?
        };
        // INVARIANT: the queues were made for `id`.
        self.inner.queues.populate(queues);
        Ok(())
    }

    fn connect(&self, private_data: &[u8]) -> Result {
        self.queues()?;
        let param = self.param(private_data, bindings::DK_CM_REQ_DATA)?;
        self.begin(|id| {
            // SAFETY: `id` is valid, and `begin` holds its mutex.
            outcome(unsafe { bindings::dk_rdma_connect(id, &param) })
        })
    }

    fn accept(&self, private_data: &[u8]) -> Result {
        self.queues()?;
        let param = self.param(private_data, bindings::DK_CM_REP_DATA)?;
        self.begin(|id| {
            // SAFETY: `id` is valid, and `begin` holds its mutex.
            outcome(unsafe { bindings::dk_rdma_accept(id, &param) })
        })?;
        self.inner.open();
        Ok(())
    }

    fn reject(&self, private_data: &[u8]) -> Result {
        if private_data.len() > bindings::DK_CM_REJ_DATA as usize {
            return Err(EINVAL);
        }
        let (data, len) = (private_data.as_ptr().cast(), private_data.len() as u8);
        let _cm = self.inner.cm.lock();
        // SAFETY: `id` is valid by the invariant; the data is copied.
        outcome(unsafe { bindings::dk_rdma_reject(self.id(), data, len) })
    }

    fn disconnect(&self) -> Result {
        self.queues()?;
        if self.inner.must_wait() {
            return Err(EBUSY);
        }
        let _cm = match self.inner.in_handler() {
            false => self.inner.cm.lock(),
            true => match self.inner.cm.try_lock() {
                Some(guard) => guard,
                // Somebody is disconnecting, and may wait for the handler to do so.
                None => return Ok(()),
            },
        };
        // SAFETY: `id` is valid by the invariant.
        outcome(unsafe { bindings::rdma_disconnect(self.id()) })
    }

    fn shutdown(&self) {
        if !self.inner.in_completion() {
            self.inner.shutdown();
        }
    }

    fn post_recv(&self, slot: u32) -> Result {
        self.queues()?.post_recv(slot)
    }

    fn read_message(
        &self,
        slot: u32,
        offset: usize,
        to: &Pages,
        to_offset: u64,
        len: usize,
    ) -> Result {
        self.queues()?
            .read_message(slot, offset, to, to_offset, len)
    }

    fn post_ctrl(&self, slot: u32, message: &[u8]) -> Result {
        self.queues()?.post_ctrl(slot, message)
    }

    fn post_write(&self, slot: u32, chain: &mut Chain) -> Result {
        self.queues()?.post_write(slot, chain)
    }

    fn post_reg(&self, slot: u32, region: &Arc<Region>, segment: usize, access: Access) -> Result {
        self.queues()?.post_reg(slot, region, segment, access)
    }
}

impl<H: Handler> Drop for Connection<H> {
    fn drop(&mut self) {
        if self.inner.in_handler() {
            // The end of the callback does the rest.
            self.inner.doomed.store(true, Relaxed);
            return;
        }
        if self.inner.in_completion() {
            self.inner.reap_later();
            return;
        }
        self.inner.end();
        // SAFETY: `id` is valid by the invariant, has no queues any more, and this is not its
        // handler. No handler runs after this.
        unsafe { bindings::rdma_destroy_id(self.id()) };
        // SAFETY: not used any more, neither by us nor by C.
        unsafe { ManuallyDrop::drop(&mut self.inner) };
    }
}
