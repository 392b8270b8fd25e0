// SPDX-License-Identifier: GPL-2.0

//! Posting work.
//!
//! C header: [`include/rdma/ib_verbs.h`](srctree/include/rdma/ib_verbs.h)
//!
//! Every function takes a slot, fills in requests that name it, and posts them under the gate of
//! its side, which the drain has closed before it looks at the queue pair. If posting fails the
//! slot is free again.

use super::{
    Held,
    Phase,
    Queues,
    MESSAGE_BYTES, //
};
use crate::{
    bindings,
    errno::{
        ENOTCONN,
        EOPNOTSUPP, //
    },
    mm::pages::Pages,
    rdma::{
        chain::Chain,
        event::Handler,
        mr::{
            Access,
            Region, //
        },
        slot::Slot, //
    }, //
};
use core::ptr;
use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        atomic::ordering::Relaxed,
        Arc, //
    }, //
};

impl<H: Handler> Queues<H> {
    /// Posts requests that end with one that is signalled. Nothing is posted if this fails,
    /// but for `EIO`. Calls `first` with the gate locked, if something may be posted.
    ///
    /// # Safety
    ///
    /// What `first` returns begins a list of `count` requests which name our slots and live memory, and
    /// of which only the last is signalled.
    unsafe fn send(
        &self,
        count: u32,
        first: impl FnOnce() -> Result<*const bindings::ib_send_wr>,
    ) -> Result {
        let mut send = self.send.lock();
        match send.phase {
            Phase::Open => (),
            Phase::Broken => return Err(EIO),
            Phase::Idle | Phase::Closed => return Err(ENOTCONN.into()),
        }
        let used = send.used.checked_add(count).ok_or(EINVAL)?;
        if used > self.send_wr {
            return Err(EAGAIN);
        }
        let first = first()?;
        let mut bad = ptr::null();
        // SAFETY: while the phase is `Open` nobody has begun to drain, so the queue pair is
        // valid; `first` is what the provider expects by the caller's promise.
        let ret = unsafe { bindings::dk_ib_post_send(self.qp.load(Relaxed), first, &mut bad) };
        if ret != 0 {
            if !bad.is_null() && !ptr::eq(bad, first) {
                kernel::pr_warn_once!("a provider posted a chain in part ({ret})\n");
                send.phase = Phase::Broken;
                return Err(EIO);
            }
            return to_result(ret);
        }
        // INVARIANT: compared with `send_wr` above.
        send.used = used;
        Ok(())
    }

    /// Takes a slot, posts for it, and frees it if that fails.
    fn post(slot: &Slot, count: u32, post: impl FnOnce() -> Result) -> Result {
        slot.claim(count)?;
        post().inspect_err(|_| {
            slot.free();
        })
    }

    /// Posts a receive of a message or an immediate value.
    pub(in crate::rdma) fn post_recv(&self, number: u32) -> Result {
        let slot = self.recvs.get(number)?;
        let mut sge = self.recv_buffers.sge(number, self.recv_buffers.size())?;
        let mut wr = bindings::ib_recv_wr {
            sg_list: &mut sge,
            num_sge: 1,
            ..Default::default()
        };
        wr.__bindgen_anon_1.wr_cqe = slot.cqe();
        Self::post(slot, 1, || {
            self.recv_buffers.prepare(number)?;
            let open = self.recv.lock();
            if !*open {
                return Err(ENOTCONN.into());
            }
            // SAFETY: nobody has begun to drain, so the queue pair is valid; the request names
            // a slot of ours, which is claimed, and its buffer.
            to_result(unsafe { bindings::dk_ib_post_recv(self.qp.load(Relaxed), &wr) })
        })
    }

    /// Copies bytes of a message that was received, and whose slot is not posted again.
    pub(in crate::rdma) fn read_message(
        &self,
        number: u32,
        offset: usize,
        to: &Pages,
        to_offset: u64,
        len: usize,
    ) -> Result {
        let slot = self.recvs.get(number)?;
        // Nobody can post it meanwhile.
        slot.claim(1)?;
        // SAFETY: the slot is claimed. If something was received there it was read.
        let copied = unsafe {
            self.recv_buffers
                .copy_to(number, offset, to, to_offset, len)
        };
        slot.free();
        copied
    }

    /// Sends a message.
    pub(in crate::rdma) fn post_ctrl(&self, number: u32, message: &[u8]) -> Result {
        if message.is_empty() || message.len() > MESSAGE_BYTES {
            return Err(EINVAL);
        }
        let slot = self.ctrls.get(number)?;
        let mut sge = self.ctrl_buffers.sge(number, message.len())?;
        let mut wr = bindings::ib_send_wr {
            sg_list: &mut sge,
            num_sge: 1,
            opcode: bindings::ib_wr_opcode_IB_WR_SEND,
            send_flags: bindings::ib_send_flags_IB_SEND_SIGNALED,
            ..Default::default()
        };
        wr.__bindgen_anon_1.wr_cqe = slot.cqe();
        Self::post(slot, 1, || {
            // SAFETY: the slot is claimed and not posted.
            unsafe { self.ctrl_buffers.write(number, message)? };
            // SAFETY: one signalled request of a slot of ours and its buffer.
            unsafe { self.send(1, || Ok(&raw const wr)) }
        })
    }

    /// Posts a chain, which completes as one.
    pub(in crate::rdma) fn post_write(&self, number: u32, chain: &mut Chain) -> Result {
        let slot = self.writes.get(number)?;
        if chain.has_immediates() && !self.domain.device().write_imm() {
            return Err(EOPNOTSUPP.into());
        }
        if chain.is_empty() || chain.widest() > self.max_sge as usize {
            return Err(EINVAL);
        }
        let count = u32::try_from(chain.len())?;
        Self::post(slot, count, || {
            let link = || {
                chain.place_headers(|number, bytes| {
                    // SAFETY: called with the gate locked: nobody else writes headers, or reads them.
                    unsafe { self.headers.write(number, bytes)? };
                    self.headers.sge(number, bytes.len())
                })?;
                let all = self.domain.device().quirks().borrows_unsignalled;
                Ok(chain.link(slot, all).cast_const())
            };
            // SAFETY: `count` requests of a slot of ours; what memory they name is for their
            // keys to decide.
            unsafe { self.send(count, link) }
        })
    }

    /// Posts the registration of a segment, which holds the region until it completes.
    pub(in crate::rdma) fn post_reg(
        &self,
        number: u32,
        region: &Arc<Region>,
        segment: usize,
        access: Access,
    ) -> Result {
        let slot = self.regs.get(number)?;
        if !Arc::ptr_eq(region.domain(), &self.domain) {
            return Err(EINVAL);
        }
        Self::post(slot, 1, || {
            let (mr, key) = region.begin(segment)?;
            let mut wr = bindings::ib_reg_wr {
                wr: bindings::ib_send_wr {
                    opcode: bindings::ib_wr_opcode_IB_WR_REG_MR,
                    send_flags: bindings::ib_send_flags_IB_SEND_SIGNALED,
                    ..Default::default()
                },
                mr,
                key: key.key(),
                access: access.bits(),
            };
            wr.wr.__bindgen_anon_1.wr_cqe = slot.cqe();
            self.hold(number, Some((region.clone(), segment)));
            // SAFETY: one signalled request of a slot of ours, whose memory region is held.
            unsafe { self.send(1, || Ok(&raw const wr.wr)) }.inspect_err(|_| {
                drop(self.hold(number, None));
                region.finish(segment, false);
            })
        })
    }

    /// Exchanges what a registration slot holds.
    pub(super) fn hold(&self, number: u32, new: Option<Held>) -> Option<Held> {
        let mut regions = self.regions.lock();
        match regions.get_mut(number as usize) {
            Some(place) => core::mem::replace(place, new),
            None => new,
        }
    }
}
