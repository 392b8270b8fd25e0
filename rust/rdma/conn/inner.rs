// SPDX-License-Identifier: GPL-2.0

//! The part of a connection that C knows: what its callbacks find.
//!
//! C header: [`include/rdma/rdma_cm.h`](srctree/include/rdma/rdma_cm.h)
//!
//! Ownership, locking and teardown are told in [`conn`](super).

use crate::{
    bindings,
    rdma::{
        client,
        device::Device,
        event::Handler,
        queue::Queues, //
    }, //
};
use core::{
    pin::Pin,
    ptr, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Arc,
        Mutex,
        SetOnce, //
    },
    task::Task,
    types::Opaque, //
};

/// The heap part of a connection, which C knows as the id's context.
///
/// # Invariants
///
/// - `id` is null until it is made or adopted, then valid until the connection ends.
/// - `queues` belong to `id`.
#[pin_data]
pub(in crate::rdma) struct Inner<H: Handler> {
    id: Atomic<*mut bindings::rdma_cm_id>,
    pub(super) handler: Arc<H>,
    pub(super) device: SetOnce<Arc<Device>>,
    pub(super) queues: SetOnce<Pin<KBox<Queues<H>>>>,
    /// Whether no more queues may be made, for those there were are drained.
    #[pin]
    pub(super) setup: Mutex<bool>,
    /// Orders the calls of the CM that make, accept and end a connection, which the CM does not.
    /// Inside the id's handler mutex. Says whether no connection may be begun any more.
    #[pin]
    pub(super) cm: Mutex<bool>,
    /// Orders the calls that find addresses. They may wait for the handler, so that it is outside
    /// of the handler's mutex, and never taken in the handler.
    #[pin]
    pub(super) addressing: Mutex<()>,
    /// Ends the connection if it was dropped where that cannot be done.
    #[pin]
    reap: Opaque<bindings::work_struct>,
    /// The task that runs the handler, as a number.
    running: Atomic<usize>,
    /// The handler was told that the connection stands.
    pub(in crate::rdma) established: Atomic<bool>,
    /// The connection was dropped inside the handler.
    pub(super) doomed: Atomic<bool>,
    /// Reads in flight that the peer allows: coming in, going out.
    pub(super) depth: SetOnce<(u8, u8)>,
    _alive: Alive,
}

/// How many heap parts there are.
static ALIVE: Atomic<i32> = Atomic::new(0);

/// Counts a heap part.
struct Alive;

impl Alive {
    fn new() -> Self {
        ALIVE.add(1, Relaxed);
        Self
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.add(-1, Relaxed);
    }
}

/// Waits until all connections are gone: those that a callback was the last to hold are ended by
/// the reaper, after the callback.
pub(in crate::rdma) fn wait_for_all() {
    while ALIVE.load(Relaxed) > 0 {
        // SAFETY: called in process context.
        unsafe { bindings::msleep(10) };
    }
}

// SAFETY: the C objects are not bound to a task.
unsafe impl<H: Handler> Send for Inner<H> {}
// SAFETY: what changes is atomic or behind a lock, here and in C.
unsafe impl<H: Handler> Sync for Inner<H> {}

impl<H: Handler> Inner<H> {
    pub(in crate::rdma) fn new(handler: Arc<H>) -> Result<Pin<KBox<Self>>> {
        // INVARIANT: no id yet.
        KBox::pin_init(
            pin_init!(Self {
                id: Atomic::new(ptr::null_mut()),
                handler,
                device: SetOnce::new(),
                queues: SetOnce::new(),
                setup <- new_mutex!(false, "Connection::setup"),
                cm <- new_mutex!(false, "Connection::cm"),
                addressing <- new_mutex!((), "Connection::addressing"),
                reap <- Opaque::ffi_init(|work| {
                    // SAFETY: `work` is memory for a work item, and pinned.
                    unsafe { bindings::dk_init_work(work, Some(Self::reap)) }
                }),
                running: Atomic::new(0),
                established: Atomic::new(false),
                doomed: Atomic::new(false),
                depth: SetOnce::new(),
                _alive: Alive::new(),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Takes a new connection over, inside its first callback.
    pub(in crate::rdma) fn adopt(
        &self,
        id: *mut bindings::rdma_cm_id,
        device: Arc<Device>,
        depth: (u8, u8),
    ) {
        // INVARIANT: valid, unless we make the callback return an error.
        self.id.store(id, Relaxed);
        self.device.populate(device);
        self.depth.populate(depth);
        self.enter();
    }

    /// Takes the id that was made with us as its context.
    pub(super) fn set_id(&self, id: *mut bindings::rdma_cm_id) {
        // INVARIANT: just made.
        self.id.store(id, Relaxed);
    }

    pub(super) fn id(&self) -> *mut bindings::rdma_cm_id {
        self.id.load(Relaxed)
    }

    pub(in crate::rdma) fn handler(&self) -> &H {
        &self.handler
    }

    pub(in crate::rdma) fn open(&self) {
        if let Some(queues) = self.queues.as_ref() {
            queues.open();
        }
    }

    /// Looks up the device that the id is bound to.
    ///
    /// # Safety
    ///
    /// The id's device does not change meanwhile.
    pub(in crate::rdma) unsafe fn learn_device(&self) {
        // SAFETY: `id` is valid by the invariant, and by the caller's promise it can be read.
        let raw = unsafe { (&raw const (*self.id()).device).read_volatile() };
        if let Some(device) = client::find(raw) {
            self.device.populate(device);
        }
    }

    /// The current task begins to run the handler.
    pub(in crate::rdma) fn enter(&self) {
        self.running.store(Task::current_raw().addr(), Relaxed);
    }

    /// The current task ran the handler for a request.
    pub(in crate::rdma) fn leave_request(&self) {
        self.running.store(0, Relaxed);
        if self.doomed.load(Relaxed) {
            pr_err!("a listener was dropped in its own handler and is lost\n");
        }
    }

    /// The current task ran the handler. If the connection was dropped meanwhile, the reaper
    /// ends it: it waits until the CM is done with this callback.
    pub(in crate::rdma) fn leave(&self) {
        self.running.store(0, Relaxed);
        // Further events may come before the reaper is done. The CM runs one handler at a time.
        if self.doomed.xchg(false, Relaxed) {
            self.reap_later();
        }
    }

    /// Leaves the end of a dropped connection to the reaper.
    pub(super) fn reap_later(&self) {
        // SAFETY: initialised in `new`, and queued once, as a connection is dropped once.
        unsafe { bindings::dk_reap(self.reap.get()) };
    }

    /// # Safety
    ///
    /// Called by the reaper for the work of a dropped connection.
    unsafe extern "C" fn reap(work: *mut bindings::work_struct) {
        let work = Opaque::cast_from(work);
        // SAFETY: the work is embedded in the heap part of a connection, which nobody else ends.
        let this = unsafe { kernel::container_of!(work, Self, reap) }.cast_mut();
        // SAFETY: as above.
        let inner = unsafe { &*this };
        inner.end();
        // SAFETY: `id` is valid by the invariant and has no queues any more. This waits for the
        // handler; none runs after it.
        unsafe { bindings::rdma_destroy_id(inner.id()) };
        // SAFETY: the connection came from a box and has been dropped.
        drop(unsafe { KBox::from_raw(this) });
    }

    /// The current task ran the handler for the request that the connection is made of. Says
    /// whether the id is to be destroyed: then the connection was dropped meanwhile, and is
    /// freed here.
    ///
    /// # Safety
    ///
    /// `this` is the context of a connection whose handler's mutex is held.
    pub(in crate::rdma) unsafe fn leave_adopted(this: *mut Self) -> bool {
        // SAFETY: the connection is freed by us, or by those who wait for the mutex.
        let inner = unsafe { &*this };
        inner.running.store(0, Relaxed);
        if !inner.doomed.load(Relaxed) {
            return false;
        }
        inner.end();
        // SAFETY: the connection came from a box and has been dropped. The CM will destroy the
        // id without calling the handler again.
        drop(unsafe { KBox::from_raw(this) });
        true
    }

    /// Whether the caller is the handler of a completion, who would wait for himself.
    pub(super) fn in_completion(&self) -> bool {
        self.queues.as_ref().is_some_and(|q| q.in_completion())
    }

    /// Whether the caller is the handler.
    pub(super) fn in_handler(&self) -> bool {
        self.running.load(Relaxed) == Task::current_raw().addr()
    }

    /// Whether to disconnect would wait for the peer's answer. Its handler must not: who waits is
    /// woken after it has returned (iwcm.c: `connect_wait`).
    pub(super) fn must_wait(&self) -> bool {
        let waits = |device: &Arc<Device>| device.quirks().disconnect_waits;
        !self.established.load(Relaxed) && self.device.as_ref().is_some_and(waits)
    }

    /// Disconnects, and waits until all that was posted has completed. Once.
    pub(super) fn shutdown(&self) {
        let mut ended = self.setup.lock();
        if core::mem::replace(&mut *ended, true) {
            return;
        }
        if let Some(queues) = self.queues.as_ref() {
            queues.close();
            {
                let mut ended = self.cm.lock();
                *ended = true;
                // SAFETY: `id` is valid by the invariant. It fails if there was no connection.
                unsafe { bindings::rdma_disconnect(self.id()) };
            }
            queues.drain();
        }
    }

    /// Ends everything but the id.
    pub(super) fn end(&self) {
        self.shutdown();
        if let Some(queues) = self.queues.as_ref() {
            queues.destroy();
        }
    }
}
