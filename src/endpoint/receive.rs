// SPDX-License-Identifier: GPL-2.0

//! Messages on their way in: those with immediate go to the completion ring, where a place was
//! reserved when their receive was posted, those of `SEND` to the inbox; those between the kernels are
//! read here.

use super::{
    link::Turn,
    Endpoint,
    Inner, //
};
use crate::{
    channel::CompletionRing,
    info::MAX_DEPTH,
    pure::{
        state::{
            Event,
            State, //
        },
        wire::{
            self,
            CtrlKind,
            Data, //
        }, //
    }, //
};
use dmakit::{
    errno::EPROTO,
    rdma::transport::Transport,
    uapi, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

impl Endpoint {
    /// A message with immediate arrived: its bytes are in place.
    pub(super) fn data_received(&self, slot: u32, imm: u32, bytes: u32) {
        self.received(|endpoint, inner| {
            let Inner {
                conn: Some(conn),
                link: Some(link),
                counts,
                state,
                stats,
                ..
            } = inner
            else {
                return Ok(());
            };
            if !link.receiver.received() {
                return Err(EPROTO.into());
            }
            stats.received = stats.received.saturating_add(1);
            if counts.count(imm) {
                if *state == State::Established {
                    // The place for its completion is there for the next one.
                    return link.post_receive(conn, slot);
                }
                link.ring.unreserve(1);
                link.idle.push(slot);
                return Ok(());
            }
            link.ring.receive(&uapi::dmaplane_cqe {
                user_data: link.recv_user_data,
                res: i32::try_from(bytes).unwrap_or(i32::MAX),
                endpoint: endpoint.handle(),
                imm,
                opcode: uapi::DMAPLANE_OP_RECV as u8,
                flags: uapi::DMAPLANE_CQE_F_IMM as u16,
                ..Default::default()
            });
            link.idle.push(slot);
            inner.post_receives()
        });
    }

    /// A message arrived, of the peer's kernel or its program: its first bytes, and how many there are.
    pub(super) fn message_received(&self, slot: u32, bytes: &[u8], total: u32) {
        self.received(|endpoint, inner| {
            if let Some(data) = Data::decode(bytes, total).map_err(|_| EPROTO)? {
                let Some(link) = &mut inner.link else {
                    return Ok(());
                };
                if !link.receiver.received() || u32::from(data.length) > link.longest {
                    return Err(EPROTO.into());
                }
                inner.stats.received = inner.stats.received.saturating_add(1);
                return inner.keep(slot, data, endpoint.handle());
            }
            let Inner {
                conn: Some(conn),
                link: Some(link),
                leases,
                stats,
                ..
            } = inner
            else {
                return Ok(());
            };
            // The peer may send the next one as soon as this one is acknowledged.
            conn.post_recv(slot)?;
            if usize::try_from(total)? != bytes.len() {
                return Err(EPROTO.into());
            }
            let message = wire::decode_ctrl(bytes).map_err(|_| EPROTO)?;
            link.ctrl.received(message.header.ack).map_err(|_| EPROTO)?;
            link.sender
                .grant(message.header.credits, MAX_DEPTH)
                .map_err(|_| EPROTO)?;
            stats.ctrl_received = stats.ctrl_received.saturating_add(1);
            match message.kind {
                CtrlKind::Ack => return Ok(()),
                CtrlKind::Lease(part) => leases.take(&part)?,
                CtrlKind::Word(word) => link.heard(leases, &word)?,
            }
            endpoint.changed.notify_all();
            Ok(())
        });
    }

    /// Posts receives that had no room in `ring`, if the endpoint delivers there.
    pub(crate) fn replenish(&self, ring: &Arc<CompletionRing>) {
        let mut inner = self.inner.lock();
        match &inner.link {
            Some(link) if Arc::ptr_eq(&link.ring, ring) => {}
            _ => return,
        }
        let result = inner.post_receives().and_then(|()| inner.pump());
        drop(inner);
        if let Err(error) = result {
            self.fail(error);
        }
    }

    /// Handles something received; what is against the protocol ends the connection.
    fn received(&self, handle: impl FnOnce(&Self, &mut Inner) -> Result) {
        let mut inner = self.inner.lock();
        // The peer's first message can overtake the event that completes what it asked for. If
        // we asked, its answer is in that event, and sending waits for it.
        if inner.state == State::Connecting && !inner.asked {
            inner.transition(Event::Established);
            self.changed.notify_all();
        }
        if let Some(link) = &mut inner.link {
            link.turn = Turn::Any;
        }
        let result = handle(self, &mut inner).and_then(|()| inner.pump());
        drop(inner);
        if let Err(error) = result {
            self.fail(error);
        }
    }
}

impl Inner {
    /// Posts the receives that have room in the completion ring.
    pub(super) fn post_receives(&mut self) -> Result {
        match (&self.conn, &mut self.link) {
            (Some(conn), Some(link)) if self.state == State::Established => {
                link.post_receives(conn)
            }
            _ => Ok(()),
        }
    }
}
