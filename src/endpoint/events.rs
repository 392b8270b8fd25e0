// SPDX-License-Identifier: GPL-2.0

//! What the connection manager and the adapter report, turned into state.

use super::{
    Endpoint,
    Private, //
};
use crate::{
    info::MAX_DEPTH,
    pure::{
        state::{
            Event,
            State, //
        },
        wire::{
            Hello,
            HelloError,
            RejectReason, //
        }, //
    }, //
};
use dmakit::{
    errno::{
        ECONNREFUSED,
        ECONNRESET,
        EHOSTUNREACH,
        ENETUNREACH,
        EPROTONOSUPPORT, //
    },
    rdma::{
        self,
        event::{
            AsyncEvent,
            CmEvent,
            CmKind,
            Handler, //
        },
        queue::{
            Completion,
            Kind, //
        }, //
    },
    uapi::DMAPLANE_MESSAGE_MAX, //
};
use kernel::{
    error::{
        code::ETIMEDOUT,
        Error, //
    },
    prelude::*, //
};

/// Reject reasons of the connection manager (`enum ib_cm_rej_reason`).
const REJECT_CONSUMER_DEFINED: i32 = 28;
/// Over iWARP it is an error number.
const REJECT_RESET: i32 = -104;

impl Handler for Endpoint {
    fn cm_event(&self, event: CmEvent<'_>) {
        match event.kind {
            CmKind::AddrResolved => self.note(|inner| inner.has_address = true),
            CmKind::RouteResolved => self.note(|inner| {
                inner.transition(Event::AddressResolved);
            }),
            CmKind::AddrError | CmKind::RouteError => {
                self.note(|inner| inner.unresolved = Some(resolve_error(event.status)))
            }
            CmKind::Established => self.established(event.private_data),
            CmKind::Rejected => self.fail(reject_error(&event)),
            CmKind::ConnectError | CmKind::Unreachable => self.fail(EHOSTUNREACH.into()),
            CmKind::Disconnected => self.fail(ECONNRESET.into()),
            CmKind::DeviceRemoval => self.removed(),
            CmKind::AddrChange | CmKind::TimewaitExit | CmKind::Other => {}
        }
    }

    fn completion(&self, completion: Completion<'_>) {
        match completion.kind {
            Kind::Write { slot, good } => self.write_done(slot, good, &completion),
            Kind::Ctrl { slot } => self.slot_done(&completion, |link| link.messages.push(slot)),
            Kind::Reg { slot } => self.slot_done(&completion, |link| link.registrations.push(slot)),
            // A receive ends unused when the connection does; its slot is of no use any more.
            Kind::Recv { .. } if !completion.is_ok() => {
                self.slot_done(&completion, |link| link.expects_messages = false)
            }
            Kind::Recv {
                slot,
                imm: Some(imm),
                bytes,
                ..
            } => self.data_received(slot, imm, bytes),
            Kind::Recv {
                slot,
                imm: None,
                bytes,
                data,
            } => self.message_received(slot, data, bytes),
        }
    }

    fn async_event(&self, _event: AsyncEvent) {
        // A fatal error of the queue pair flushes it, and the completions tell.
    }
}

impl Endpoint {
    fn note(&self, change: impl FnOnce(&mut super::Inner)) {
        change(&mut self.inner.lock());
        self.changed.notify_all();
    }

    /// The connection stands. `private` is the peer's answer if we asked.
    fn established(&self, private: &[u8]) {
        let mut inner = self.inner.lock();
        if inner.error.is_some() {
            // We gave up before, when the peer could not be told yet.
            let conn = inner.conn.clone();
            drop(inner);
            return self.flush(conn);
        }
        if inner.asked {
            match Hello::decode(private) {
                Ok(hello) if (1..=MAX_DEPTH).contains(&hello.credits) => {
                    inner.peer_private = Private::new(hello.user);
                    inner.peer_message = longest(hello.message);
                    if let Some(link) = &mut inner.link {
                        // A message that overtook this told of more; then this is no news.
                        let _ = link.sender.grant(hello.credits, MAX_DEPTH);
                    }
                }
                _ => {
                    drop(inner);
                    return self.fail(EPROTONOSUPPORT.into());
                }
            }
        }
        inner.transition(Event::Established);
        let result = inner.post_receives().and_then(|()| inner.pump());
        drop(inner);
        self.changed.notify_all();
        if let Err(error) = result {
            self.fail(error);
        }
    }

    /// A work request that is not an entry's is done.
    pub(super) fn slot_done(
        &self,
        completion: &Completion<'_>,
        free: impl FnOnce(&mut super::link::Link),
    ) {
        let mut inner = self.inner.lock();
        if let Some(link) = &mut inner.link {
            free(link);
        }
        inner.note_status(completion);
        let result = match completion.is_ok() {
            true => inner.pump(),
            // The connection manager flushes before it says why the peer refused.
            false if completion.is_flush() && inner.state == State::Connecting => Ok(()),
            false if completion.is_flush() => Err(ECONNRESET.into()),
            false => Err(inner.meaning(completion.status)),
        };
        drop(inner);
        self.changed.notify_all();
        if let Err(error) = result {
            self.fail(error);
        }
    }

    /// The adapter goes away. With a queue pair, `Client::revoke` ends the endpoint; without one,
    /// the connection manager waits for this.
    fn removed(&self) {
        self.fail(ENODEV);
        let mut inner = self.inner.lock();
        let conn = match inner.link {
            Some(_) => None,
            None => inner.conn.take(),
        };
        drop(inner);
        drop(conn);
    }
}

/// Bytes of a message that the peer takes, as far as we send any.
pub(super) fn longest(claim: u16) -> u32 {
    u32::from(claim).min(DMAPLANE_MESSAGE_MAX)
}

/// Why an address or a route could not be resolved.
fn resolve_error(status: i32) -> Error {
    match rdma::plain(Error::from_errno(status.clamp(-4095, -1))) {
        ETIMEDOUT => EHOSTUNREACH.into(),
        error if error == EINVAL => ENETUNREACH.into(),
        error => error,
    }
}

/// Why the peer did not want us.
fn reject_error(event: &CmEvent<'_>) -> Error {
    match RejectReason::decode(event.private_data) {
        Ok(RejectReason::Version) | Err(HelloError::Version(_)) => EPROTONOSUPPORT.into(),
        Ok(RejectReason::Backlog) => ECONNREFUSED.into(),
        Ok(RejectReason::Program) => EACCES,
        // Without data it was the connection manager: the peer ended before it answered.
        Err(_) if event.private_data.iter().all(|byte| *byte == 0) => match event.status {
            REJECT_CONSUMER_DEFINED | REJECT_RESET => ECONNRESET.into(),
            _ => ECONNREFUSED.into(),
        },
        Err(_) => EPROTONOSUPPORT.into(),
    }
}

impl Private {
    /// Bytes of a decoded hello, which are at most as many as there is room for.
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut private = Self::default();
        for (to, from) in private.data.iter_mut().zip(bytes) {
            *to = *from;
        }
        private.len = bytes.len().min(private.data.len());
        private
    }
}
