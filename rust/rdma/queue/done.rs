// SPDX-License-Identifier: GPL-2.0

//! What the RDMA core calls when work completes.
//!
//! C header: [`include/rdma/ib_verbs.h`](srctree/include/rdma/ib_verbs.h)
//!
//! Everything here runs while the queues exist: they are drained, and their completion queues
//! freed, before they are dropped. Completions come one by one per poller, in process context;
//! events may come in atomic context.

use super::{
    Kind,
    Queues,
    MESSAGE_BYTES, //
};
use crate::{
    bindings,
    rdma::event::{
        AsyncEvent,
        Handler, //
    }, //
};
use core::ffi::c_void;

/// What a message of ours never has; with one of these its content is not shown to anybody.
const NOT_A_MESSAGE: u32 =
    bindings::ib_wc_flags_IB_WC_WITH_IMM | bindings::ib_wc_flags_IB_WC_WITH_INVALIDATE;

const SUCCESS: u32 = bindings::ib_wc_status_IB_WC_SUCCESS;

/// # Safety
///
/// The arguments are those of a completion on a queue that [`Queues::new`] made with this `H`.
unsafe fn parts<'a, H: Handler>(
    cq: *mut bindings::ib_cq,
    wc: *mut bindings::ib_wc,
) -> (&'a Queues<H>, &'a bindings::ib_wc) {
    // SAFETY: our completion queues name their `Queues`, which outlives them, as the owner.
    let queues = unsafe { &*(*bindings::dk_cq_of(cq)).owner.cast::<Queues<H>>() };
    // SAFETY: valid for the time of the callback.
    (queues, unsafe { &*wc })
}

/// Which request it was; a union of which we only ever set this member.
fn cqe(wc: &bindings::ib_wc) -> *mut bindings::ib_cqe {
    // SAFETY: any bits are a pointer, and it is only compared with addresses.
    unsafe { wc.__bindgen_anon_1.wr_cqe }
}

/// # Safety
///
/// To be called for the completion of a receive, see [`parts`].
pub(super) unsafe extern "C" fn recv<H: Handler>(
    cq: *mut bindings::ib_cq,
    wc: *mut bindings::ib_wc,
) {
    // SAFETY: by the caller's promise.
    let (queues, wc) = unsafe { parts::<H>(cq, wc) };
    let Some((slot, place)) = queues.recvs.find(cqe(wc)) else {
        return;
    };
    let mut message = [0; MESSAGE_BYTES];
    let (mut imm, mut bytes, mut len) = (None, 0, 0);
    // On failure nothing but the status and the request means anything.
    if wc.status == SUCCESS {
        bytes = wc.byte_len;
        let flags = wc.wc_flags as u32;
        if wc.opcode == bindings::ib_wc_opcode_IB_WC_RECV_RDMA_WITH_IMM {
            // SAFETY: the opcode says that this is the member in use.
            imm = Some(u32::from_be(unsafe { wc.ex.imm_data }));
        } else if flags & NOT_A_MESSAGE == 0 {
            // SAFETY: the receive completed, and the slot is not free yet.
            len = unsafe { queues.recv_buffers.read(slot, bytes, &mut message) };
        }
        // The peer may send before we are told that it is connected.
        queues.open();
    }
    place.free();
    let kind = Kind::Recv {
        slot,
        imm,
        bytes,
        data: message.get(..len).unwrap_or(&[]),
    };
    queues.tell(kind, wc.status);
}

/// # Safety
///
/// To be called for the completion of a message, see [`parts`].
pub(super) unsafe extern "C" fn ctrl<H: Handler>(
    cq: *mut bindings::ib_cq,
    wc: *mut bindings::ib_wc,
) {
    // SAFETY: by the caller's promise.
    let (queues, wc) = unsafe { parts::<H>(cq, wc) };
    let Some((slot, place)) = queues.ctrls.find(cqe(wc)) else {
        return;
    };
    queues.sent(place);
    queues.tell(Kind::Ctrl { slot }, wc.status);
}

/// # Safety
///
/// To be called for the completion of the last write of a chain, see [`parts`].
pub(super) unsafe extern "C" fn write<H: Handler>(
    cq: *mut bindings::ib_cq,
    wc: *mut bindings::ib_wc,
) {
    // SAFETY: by the caller's promise.
    let (queues, wc) = unsafe { parts::<H>(cq, wc) };
    let Some((slot, place)) = queues.writes.find(cqe(wc)) else {
        return;
    };
    let (status, good) = (place.outcome(wc.status), place.good(wc.status));
    queues.sent(place);
    queues.tell(Kind::Write { slot, good }, status);
}

/// # Safety
///
/// To be called for the completion of any other request of a chain, see [`parts`]. Some adapters have
/// one also if that succeeded.
pub(super) unsafe extern "C" fn part<H: Handler>(
    cq: *mut bindings::ib_cq,
    wc: *mut bindings::ib_wc,
) {
    // SAFETY: by the caller's promise.
    let (queues, wc) = unsafe { parts::<H>(cq, wc) };
    if let (Some((_, place)), true) = (queues.writes.find(cqe(wc)), wc.status != SUCCESS) {
        place.note(wc.status);
    }
}

/// # Safety
///
/// To be called for the completion of a registration, see [`parts`].
pub(super) unsafe extern "C" fn reg<H: Handler>(
    cq: *mut bindings::ib_cq,
    wc: *mut bindings::ib_wc,
) {
    // SAFETY: by the caller's promise.
    let (queues, wc) = unsafe { parts::<H>(cq, wc) };
    let Some((slot, place)) = queues.regs.find(cqe(wc)) else {
        return;
    };
    let held = queues.hold(slot, None);
    if let Some((region, segment)) = &held {
        region.finish(*segment, wc.status == SUCCESS);
    }
    // Who is told may drop the region, and rely on that.
    drop(held);
    queues.sent(place);
    queues.tell(Kind::Reg { slot }, wc.status);
}

/// # Safety
///
/// To be called for an event of a queue pair that [`Queues::new`] made with this `H`.
pub(super) unsafe extern "C" fn event<H: Handler>(
    event: *mut bindings::ib_event,
    context: *mut c_void,
) {
    // SAFETY: the context of our queue pairs is their `Queues`, which outlives them.
    let queues = unsafe { &*context.cast::<Queues<H>>() };
    // SAFETY: valid for the time of the callback.
    let kind = unsafe { (*event).event };
    queues.handler.async_event(match kind {
        bindings::ib_event_type_IB_EVENT_COMM_EST => {
            // SAFETY: `id` is valid while there is a queue pair; this may be called in any context.
            unsafe { bindings::rdma_notify(queues.id, kind) };
            AsyncEvent::Established
        }
        bindings::ib_event_type_IB_EVENT_QP_FATAL
        | bindings::ib_event_type_IB_EVENT_QP_REQ_ERR
        | bindings::ib_event_type_IB_EVENT_QP_ACCESS_ERR => AsyncEvent::Fatal(kind),
        _ => AsyncEvent::Other(kind),
    });
}
