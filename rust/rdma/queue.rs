// SPDX-License-Identifier: GPL-2.0

//! A queue pair with completion queues of its own, and what is in flight on it.
//!
//! C header: [`include/rdma/ib_verbs.h`](srctree/include/rdma/ib_verbs.h)
//!
//! Ownership: a connection owns its [`Queues`]; a registration in flight holds its region.
//! Locking: `send` and `recv` are leaf spinlocks, held while work is posted, so that closing
//! them is a fence against posters. No handler is called under them.
//! Teardown: [`Queues::close`], then [`Queues::drain`] (every completion was handled when it
//! returns), then [`Queues::destroy`], then drop, when nobody can find them any more.

pub use super::buffers::{
    MAX_MESSAGE,
    MESSAGE_BYTES, //
};

use super::{
    buffers::Buffers,
    chain::HEADER_BYTES,
    device::Domain,
    event::Handler,
    mr::Region,
    outcome,
    poller::Poller,
    slot::{
        Slot,
        Slots, //
    }, //
};
use crate::bindings;
use core::{
    pin::Pin,
    ptr, //
};
use kernel::{
    alloc::KVVec,
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Arc,
        SpinLock, //
    },
    types::Opaque, //
};

mod done;
mod post;

/// How much can be in flight.
#[derive(Clone, Copy)]
pub struct Caps {
    /// Work requests on the send queue: writes of all chains, messages, registrations.
    pub send_wr: u32,
    /// Receives.
    pub recv_slots: u32,
    /// Messages sent.
    pub ctrl_slots: u32,
    /// Chains of writes.
    pub write_slots: u32,
    /// Registrations.
    pub reg_slots: u32,
    /// Local pieces that one request gathers; what the device has, if that is less.
    pub max_sge: u32,
    /// Bytes of the longest message that is received, [`MESSAGE_BYTES`] to [`MAX_MESSAGE`].
    pub message: usize,
}

/// The end of something that was posted.
pub struct Completion<'a> {
    /// What it was.
    pub kind: Kind<'a>,
    /// The `ib_wc_status`; zero is success.
    pub status: u32,
}

impl Completion<'_> {
    /// Whether it succeeded.
    pub fn is_ok(&self) -> bool {
        self.status == bindings::ib_wc_status_IB_WC_SUCCESS
    }

    /// Whether it was not done because the queue was in error or shut down.
    pub fn is_flush(&self) -> bool {
        self.status == bindings::ib_wc_status_IB_WC_WR_FLUSH_ERR
    }
}

/// What completed. The slot is free again.
pub enum Kind<'a> {
    /// A receive.
    Recv {
        /// Its slot.
        slot: u32,
        /// The immediate value, if there is one.
        imm: Option<u32>,
        /// Bytes received or written.
        bytes: u32,
        /// The message's first bytes, [`MESSAGE_BYTES`] at most; empty for a write. The others can be
        /// had by [`Transport::read_message`](super::transport::Transport::read_message).
        data: &'a [u8],
    },
    /// A message was sent.
    Ctrl {
        /// Its slot.
        slot: u32,
    },
    /// A chain of writes ended; the status is of the first that failed.
    Write {
        /// Its slot.
        slot: u32,
        /// Writes that succeeded, which are the first of the chain.
        good: u32,
    },
    /// A segment was registered.
    Reg {
        /// Its slot.
        slot: u32,
    },
}

/// A region and its segment that a registration in flight is of.
type Held = (Arc<Region>, usize);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Not connected yet.
    Idle,
    Open,
    /// A chain was posted in part; only draining helps.
    Broken,
    Closed,
}

struct SendGate {
    phase: Phase,
    /// Work requests posted and not known to be complete.
    used: u32,
}

/// # Invariants
///
/// - `qp` and the two completion queues are null or valid, and made by us with `self` as
///   context and owner; they are set before `self` is shared and cleared by nobody but
///   [`Queues::destroy`] and drop.
/// - `id` is valid until [`Queues::destroy`] was called.
/// - At most `send_wr` requests are in flight on the send queue.
#[pin_data(PinnedDrop)]
pub(super) struct Queues<H: Handler> {
    id: *mut bindings::rdma_cm_id,
    qp: Atomic<*mut bindings::ib_qp>,
    poller: Arc<Poller>,
    #[pin]
    send_cq: Opaque<bindings::dk_cq>,
    #[pin]
    recv_cq: Opaque<bindings::dk_cq>,
    handler: Arc<H>,
    send_wr: u32,
    max_sge: u32,
    #[pin]
    send: SpinLock<SendGate>,
    /// Whether receives may be posted.
    #[pin]
    recv: SpinLock<bool>,
    recvs: Slots,
    ctrls: Slots,
    writes: Slots,
    regs: Slots,
    #[pin]
    regions: SpinLock<KVVec<Option<Held>>>,
    recv_buffers: Buffers,
    ctrl_buffers: Buffers,
    /// Written with `send` locked.
    headers: Buffers,
    // Note: dropped last, for all of the above needs the device.
    domain: Arc<Domain>,
}

// SAFETY: the C objects are not bound to a task.
unsafe impl<H: Handler> Send for Queues<H> {}
// SAFETY: posting may happen concurrently; the rest is atomic or behind the locks.
unsafe impl<H: Handler> Sync for Queues<H> {}

impl<H: Handler> Queues<H> {
    /// Makes the queue pair of a connection.
    ///
    /// # Safety
    ///
    /// `id` is a connection that is bound to the device, has no queue pair, and stays valid
    /// until [`Self::destroy`] was called or the result was dropped.
    pub(super) unsafe fn new(
        id: *mut bindings::rdma_cm_id,
        domain: Arc<Domain>,
        handler: Arc<H>,
        poller: Arc<Poller>,
        caps: &Caps,
    ) -> Result<Pin<KBox<Self>>> {
        let device = domain.device();
        // One more each for the request that a drain posts.
        let send = caps.send_wr.checked_add(1).ok_or(EINVAL)?;
        let recv = caps.recv_slots.checked_add(1).ok_or(EINVAL)?;
        let most = send.max(recv);
        if most > device.max_qp_wr() || most > device.max_cqe() {
            return Err(EINVAL);
        }
        let max_sge = caps.max_sge.min(device.max_sge()).max(1);
        let mut regions = KVVec::with_capacity(caps.reg_slots as usize, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..caps.reg_slots {
            regions.push(None, GFP_KERNEL_ACCOUNT)?;
        }
        let recvs = Slots::new(caps.recv_slots, done::recv::<H>, done::recv::<H>)?;
        let ctrls = Slots::new(caps.ctrl_slots, done::ctrl::<H>, done::ctrl::<H>)?;
        let writes = Slots::new(caps.write_slots, done::write::<H>, done::part::<H>)?;
        let regs = Slots::new(caps.reg_slots, done::reg::<H>, done::reg::<H>)?;
        let message = caps.message.max(MESSAGE_BYTES);
        let recv_buffers = Buffers::new(&domain, caps.recv_slots, message, false)?;
        let ctrl_buffers = Buffers::new(&domain, caps.ctrl_slots, MESSAGE_BYTES, true)?;
        let headers = Buffers::new(&domain, caps.write_slots, HEADER_BYTES, true)?;
        let send_wr = caps.send_wr;
        // INVARIANT: the queues are null, and nothing is in flight.
        let this = KBox::pin_init(
            pin_init!(Self {
                id,
                qp: Atomic::new(ptr::null_mut()),
                poller,
                send_cq: Opaque::zeroed(),
                recv_cq: Opaque::zeroed(),
                handler,
                send_wr,
                max_sge,
                send <- new_spinlock!(SendGate { phase: Phase::Idle, used: 0 }, "Queues::send"),
                recv <- new_spinlock!(true, "Queues::recv"),
                recvs,
                ctrls,
                writes,
                regs,
                regions <- new_spinlock!(regions, "Queues::regions"),
                recv_buffers,
                ctrl_buffers,
                headers,
                domain,
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )?;
        let context = ptr::from_ref::<Self>(&this).cast_mut().cast();
        let (raw, pd) = (this.domain.raw(), this.domain.pd());
        let poller = this.poller.raw();
        // INVARIANT: here and below, set before `this` is shared, with it as owner or context.
        for (cq, entries) in [(&this.send_cq, send), (&this.recv_cq, recv)] {
            // SAFETY: zeroed and pinned; the device is there, and the poller and `this` are until
            // the queue was destroyed, after which nothing comes of it.
            let ret = unsafe { bindings::dk_cq_create(cq.get(), raw, poller, context, entries) };
            kernel::error::to_result(ret)?;
        }
        // SAFETY: made just now, and nobody else knows them yet.
        let (send_cq, recv_cq) = unsafe { ((*this.send_cq.get()).cq, (*this.recv_cq.get()).cq) };
        let param = bindings::dk_qp_param {
            send_cq,
            recv_cq,
            event: Some(done::event::<H>),
            context,
            send_wr: send,
            recv_wr: recv,
            send_sge: max_sge,
        };
        // SAFETY: by the caller's promise `id` is bound to this device; the queue pair is
        // destroyed before the completion queues and `this`.
        outcome(unsafe { bindings::dk_rdma_create_qp(id, pd, &param) })?;
        // SAFETY: `id` is valid, and nobody else looks at its queue pair yet.
        this.qp.store(unsafe { (*id).qp }, Relaxed);
        Ok(this)
    }

    /// The connection is there: sending may begin.
    pub(super) fn open(&self) {
        let mut send = self.send.lock();
        if send.phase == Phase::Idle {
            send.phase = Phase::Open;
        }
    }

    /// Refuses whatever is posted from now on. Nobody is posting when this returns.
    pub(super) fn close(&self) {
        self.send.lock().phase = Phase::Closed;
        *self.recv.lock() = false;
    }

    /// Waits until all that was posted has completed and was handled.
    ///
    /// To be called once, after [`Self::close`], and not from a completion.
    pub(super) fn drain(&self) {
        // SAFETY: the queue pair is valid, has room for the drain, and nobody posts.
        unsafe { bindings::ib_drain_qp(self.qp.load(Relaxed)) };
    }

    /// Gives the queues back to the device.
    ///
    /// To be called after [`Self::drain`].
    pub(super) fn destroy(&self) {
        if !self.qp.xchg(ptr::null_mut(), Relaxed).is_null() {
            // SAFETY: `id` is valid and has this queue pair by the invariant.
            unsafe { bindings::rdma_destroy_qp(self.id) };
        }
        for cq in [&self.send_cq, &self.recv_cq] {
            // SAFETY: ours, zeroed or made, and the queue pair that used it is gone. We do not have
            // the turn: whoever has it leaves the end of the connection to the reaper.
            unsafe { bindings::dk_cq_destroy(cq.get()) };
        }
    }

    /// Tells the handler of a completion.
    fn tell(&self, kind: Kind<'_>, status: u32) {
        self.handler.completion(Completion { kind, status });
    }

    /// Whether the caller is the handler of a completion, which cannot wait for itself.
    pub(super) fn in_completion(&self) -> bool {
        self.poller.has_turn()
    }

    /// A slot of the send queue completed: its requests make room, and it is free.
    fn sent(&self, slot: &Slot) {
        let mut send = self.send.lock();
        send.used = send.used.saturating_sub(slot.free());
    }
}

#[pinned_drop]
impl<H: Handler> PinnedDrop for Queues<H> {
    fn drop(self: Pin<&mut Self>) {
        // Only if making them failed halfway is there something left.
        self.destroy();
    }
}
