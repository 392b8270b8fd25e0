// SPDX-License-Identifier: GPL-2.0

//! A fabric that is not there, for tests: [`Transport`] in the kernel's memory.
//!
//! It finds devices and addresses and makes connections by the verbs and their connection manager,
//! and registers memory by them. While it is switched on (see [`control`]), what is posted on the
//! queue pairs made then is not given to the adapter: it waits in the [`fabric`] until a test asks
//! for a step. Each [`step`] makes one thing happen, and a seed decides which, and what goes wrong;
//! what the fabric keeps to and what not is told there. Queue pairs made while it is switched off
//! are what they are without it.
//!
//! The heartbeat of idle connections, which has the last slot, is refused with `EAGAIN`, as a full
//! send queue would, since a timer asks for it and not the test. How long users wait for progress
//! can be set ([`patience`]).
//!
//! Ownership: a mocked connection owns a real one, and a port in the fabric, which hold a
//! [`Relay`], which holds the handler.
//! Locking: told in [`fabric`]. The real connection is never called with the turn.
//! Teardown: the port is drained and taken out, then the real connection ends.

mod chance;
mod control;
mod fabric;
mod memory;
mod port;
mod step;

pub use control::Control;

use self::{
    memory::{
        Piece,
        Segment, //
    },
    port::{
        Deliver,
        Phase,
        Port,
        Posted,
        Use, //
    }, //
};
use super::{
    addr::Addr,
    chain::{
        Chain,
        Verb, //
    },
    conn,
    device::{
        Device,
        Domain, //
    },
    event::{
        AsyncEvent,
        CmEvent,
        CmKind,
        Handler,
        Incoming, //
    },
    mr::{
        Access,
        Region,
        SegmentKey, //
    },
    poller::Poller,
    queue::{
        Caps,
        Completion,
        MESSAGE_BYTES, //
    },
    transport::Transport, //
};
use crate::mm::pages::{
    Pages,
    Pinned, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Arc, //
    }, //
};

/// A domain as the fabric knows it: no two have the same keys.
fn number(domain: &Domain) -> usize {
    domain.pd().addr()
}

/// A segment's key was made, and means nothing until it is registered.
pub(super) fn learn(domain: &Domain, key: SegmentKey, pages: &Pinned, first: usize) -> Result {
    if !fabric::is_on() {
        return Ok(());
    }
    let segment = Segment {
        domain: number(domain),
        key,
        access: Access::NONE,
        pages: pages.clone(),
        first,
    };
    fabric::with(|fabric| fabric.memory.add(segment))
}

/// A segment's key is about to die.
pub(super) fn forget(domain: &Domain, key: &SegmentKey) {
    if fabric::is_made() {
        drop(fabric::with(|fabric| {
            fabric.memory.remove(number(domain), key.rkey())
        }));
    }
}

/// Heartbeats that whoever uses connections should wait for progress, if a test says how many; also
/// for those that are not mocked.
pub fn patience() -> Option<u32> {
    match fabric::is_made() {
        true => fabric::with(|fabric| fabric.patience),
        false => None,
    }
}

/// Between the real connection or the port, and the handler.
struct Relay<H: Handler> {
    handler: Arc<H>,
    /// The port's number; 0 if the connection is not mocked.
    port: Atomic<u32>,
}

impl<H: Handler> Relay<H> {
    fn new(handler: Arc<H>) -> Result<Arc<Self>> {
        let port = Atomic::new(0);
        Ok(Arc::new(Self { handler, port }, GFP_KERNEL_ACCOUNT)?)
    }

    fn port(&self) -> Option<u32> {
        match self.port.load(Relaxed) {
            0 => None,
            number => Some(number),
        }
    }

    /// The connection is there: sending may begin.
    fn open(&self) {
        let Some(number) = self.port() else { return };
        // A port that is closed already does not open.
        let _ = fabric::with_port(number, |fabric, index| {
            let port = fabric.port(index)?;
            if port.phase == Phase::Idle {
                port.phase = Phase::Open;
            }
            Ok(())
        });
    }
}

impl<H: Handler> Handler for Relay<H> {
    fn cm_event(&self, event: CmEvent<'_>) {
        match event.kind {
            CmKind::Established => self.open(),
            // The fabric tells when that is.
            CmKind::Disconnected if self.port().is_some() => return,
            _ => (),
        }
        self.handler.cm_event(event);
    }

    fn request(&self, request: Incoming<'_>) {
        self.handler.request(request);
    }

    fn completion(&self, completion: Completion<'_>) {
        self.handler.completion(completion);
    }

    fn async_event(&self, event: AsyncEvent) {
        self.handler.async_event(event);
    }
}

impl<H: Handler> Deliver for Relay<H> {
    fn completion(&self, completion: Completion<'_>) {
        self.handler.completion(completion);
    }

    fn disconnected(&self) {
        self.handler.cm_event(CmEvent {
            kind: CmKind::Disconnected,
            status: 0,
            private_data: &[],
        });
    }
}

/// A connection whose data path may be mocked.
pub struct Connection<H: Handler> {
    real: conn::Connection<Relay<H>>,
    relay: Arc<Relay<H>>,
}

impl<H: Handler> Connection<H> {
    /// Makes the port of a queue pair that was just made.
    fn mock(&self, domain: &Domain, caps: &Caps) -> Result {
        let local = self.real.local_addr().ok_or(EINVAL)?;
        let remote = self.real.peer_addr().ok_or(EINVAL)?;
        let port = Port::new(self.relay.clone(), local, remote, number(domain), caps)?;
        let number = fabric::with(|fabric| fabric.add(port))?;
        self.relay.port.store(number, Relaxed);
        Ok(())
    }

    /// Calls `mocked` for a port's number, `real` if there is no port.
    fn either<R>(
        &self,
        mocked: impl FnOnce(u32) -> R,
        real: impl FnOnce(&conn::Connection<Relay<H>>) -> R,
    ) -> R {
        match self.relay.port() {
            Some(number) => mocked(number),
            None => real(&self.real),
        }
    }

    /// Drains the port, unless we are told something by it just now.
    fn drain(&self) {
        if let (Some(number), false) = (self.relay.port(), fabric::is_telling()) {
            fabric::drain(number);
        }
    }
}

impl<H: Handler> Transport<H> for Connection<H> {
    fn new(handler: Arc<H>) -> Result<Self> {
        let relay = Relay::new(handler)?;
        let real = conn::Connection::new(relay.clone())?;
        Ok(Self { real, relay })
    }

    fn adopt(request: Incoming<'_>, handler: Arc<H>) -> Result<Self> {
        let relay = Relay::new(handler)?;
        let real = conn::Connection::adopt(request, relay.clone())?;
        Ok(Self { real, relay })
    }

    fn device(&self) -> Option<Arc<Device>> {
        self.real.device()
    }

    fn resolve_addr(&self, from: Option<&Addr>, to: &Addr, timeout_ms: u32) -> Result {
        self.real.resolve_addr(from, to, timeout_ms)
    }

    fn resolve_route(&self, timeout_ms: u32) -> Result {
        self.real.resolve_route(timeout_ms)
    }

    fn create_qp(&self, domain: &Arc<Domain>, poller: &Arc<Poller>, caps: &Caps) -> Result {
        self.real.create_qp(domain, poller, caps)?;
        match fabric::is_on() {
            true => self.mock(domain, caps),
            false => Ok(()),
        }
    }

    fn connect(&self, private_data: &[u8]) -> Result {
        self.real.connect(private_data)
    }

    fn accept(&self, private_data: &[u8]) -> Result {
        self.real.accept(private_data)?;
        self.relay.open();
        Ok(())
    }

    fn reject(&self, private_data: &[u8]) -> Result {
        self.real.reject(private_data)
    }

    fn disconnect(&self) -> Result {
        self.either(
            |number| {
                fabric::with_port(number, |fabric, index| {
                    fabric.disconnect(index);
                    Ok(())
                })
            },
            |real| real.disconnect(),
        )
    }

    fn shutdown(&self) {
        self.drain();
        self.real.shutdown();
    }

    fn post_recv(&self, slot: u32) -> Result {
        self.either(
            |number| fabric::with_port(number, |fabric, index| fabric.post_recv(index, slot)),
            |real| real.post_recv(slot),
        )
    }

    fn read_message(
        &self,
        slot: u32,
        offset: usize,
        to: &Pages,
        to_offset: u64,
        len: usize,
    ) -> Result {
        let Some(number) = self.relay.port() else {
            let real = &self.real;
            return real.read_message(slot, offset, to, to_offset, len);
        };
        let mut copy = KVec::new();
        fabric::with_port(number, |fabric, index| {
            let message = fabric.port(index)?.message(slot)?;
            let end = offset.checked_add(len).ok_or(ERANGE)?;
            let bytes = message.get(offset..end).ok_or(ERANGE)?;
            Ok(copy.extend_from_slice(bytes, GFP_ATOMIC)?)
        })?;
        to.write(to_offset, &copy)
    }

    fn post_ctrl(&self, slot: u32, message: &[u8]) -> Result {
        if message.is_empty() || message.len() > MESSAGE_BYTES {
            return Err(EINVAL);
        }
        self.either(
            |number| {
                let mut copy = KVec::new();
                copy.extend_from_slice(message, GFP_ATOMIC)?;
                let send = Posted {
                    what: Use::Ctrl,
                    slot,
                    reads: false,
                    imm: None,
                    bytes: message.len() as u32,
                    message: copy,
                    pieces: KVec::new(),
                    fetched: None,
                    signalled: true,
                };
                let mut sends = KVec::new();
                sends.push(send, GFP_ATOMIC)?;
                fabric::with_port(number, |fabric, index| fabric.post_sends(index, sends))
            },
            |real| real.post_ctrl(slot, message),
        )
    }

    fn post_write(&self, slot: u32, chain: &mut Chain) -> Result {
        let Some(number) = self.relay.port() else {
            return self.real.post_write(slot, chain);
        };
        let mut sends = KVec::new();
        for request in chain.requests() {
            let mut send = Posted::request(slot, request.verb == Verb::Read, request.imm);
            let mut remote = request.addr;
            if let Some(header) = request.header {
                send.message.extend_from_slice(header, GFP_ATOMIC)?;
            }
            let headers = usize::from(request.header.is_some());
            for sge in request.pieces.iter().skip(headers) {
                let (lkey, local) = sge.place();
                let length = sge.length();
                let piece = Piece {
                    lkey,
                    local,
                    rkey: request.rkey,
                    remote,
                    length,
                };
                send.pieces.push(piece, GFP_ATOMIC)?;
                send.bytes = send.bytes.saturating_add(length);
                remote = remote.checked_add(length.into()).ok_or(EINVAL)?;
            }
            sends.push(send, GFP_ATOMIC)?;
        }
        sends.last_mut().ok_or(EINVAL)?.signalled = true;
        fabric::with_port(number, |fabric, index| fabric.post_sends(index, sends))
    }

    fn post_reg(&self, slot: u32, region: &Arc<Region>, segment: usize, access: Access) -> Result {
        self.real.post_reg(slot, region, segment, access)?;
        if let (Some(_), Some(key)) = (self.relay.port(), region.key(segment)) {
            fabric::with(|fabric| {
                let domain = number(region.domain());
                fabric.memory.allow(domain, key.rkey(), access);
            });
        }
        Ok(())
    }
}

impl<H: Handler> Drop for Connection<H> {
    fn drop(&mut self) {
        self.drain();
        if let Some(number) = self.relay.port() {
            drop(fabric::with(|fabric| fabric.remove(number)));
        }
    }
}
