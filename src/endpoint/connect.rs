// SPDX-License-Identifier: GPL-2.0

//! `ENDPOINT_ADDRESS`, `ENDPOINT_CONNECT`, `ENDPOINT_ACCEPT`: the way to an established endpoint.
//!
//! Each side's [`Hello`] travels in the private data of the connection manager: the version of the
//! protocol, the receives posted so far as the first credits, the program's own bytes. All receives
//! are posted before the peer can learn of them.

use super::{
    address,
    link::{
        Link,
        Sizes, //
    },
    Endpoint,
    Inner,
    Private, //
};
use crate::{
    channel::Channel,
    context::Context,
    info::MAX_DEPTH,
    ioctl::{
        Created,
        Outcome, //
    },
    pure::{
        state::{
            Event,
            State, //
        },
        wire::{
            Hello,
            DATA_HEADER, //
        }, //
    },
    wait::Patience, //
};
use dmakit::{
    errno::{
        EADDRNOTAVAIL,
        ECANCELED,
        EHOSTUNREACH,
        EISCONN,
        ETIME, //
    },
    rdma::transport::{
        Connection,
        Transport, //
    },
    uapi, //
};
use kernel::{
    error::{
        code::{
            EMSGSIZE,
            ERESTARTSYS,
            ETIMEDOUT, //
        },
        Error, //
    },
    prelude::*,
    sync::Arc, //
};

/// The connection manager looks for an answer of the network only when its timeout has passed, so
/// it is asked often, with a short one. The caller's own timeout may end the wait before.
const RESOLVE_MS: u32 = 200;
const RESOLVE_ATTEMPTS: u32 = 15;

/// On InfiniBand a route is asked of the subnet manager.
const ROUTE_MS: u32 = 3000;

/// `ENDPOINT_ADDRESS`
pub(crate) fn address(
    context: &Context,
    arg: &mut uapi::dmaplane_endpoint_address,
) -> Result<Created> {
    if arg.flags != 0 {
        return Err(EINVAL);
    }
    let dst = address::from_user(&arg.dst)?.ok_or(EINVAL)?;
    let src = address::from_user(&arg.src)?;
    let mut patience = Patience::new(arg.timeout_ns);

    let owned = Endpoint::new(context.device(), context.counters(), State::Resolving)?;
    let endpoint = owned.shared();
    let conn = Arc::new(Connection::new(endpoint.clone())?, GFP_KERNEL_ACCOUNT)?;
    {
        let mut inner = endpoint.inner.lock();
        inner.peer = Some(dst);
        inner.conn = Some(conn.clone());
    }

    let mut attempts = 1..RESOLVE_ATTEMPTS;
    loop {
        conn.resolve_addr(src.as_ref(), &dst, RESOLVE_MS)?;
        match endpoint.resolved(&mut patience, |inner| inner.has_address)? {
            Err(error) if error == EHOSTUNREACH && attempts.next().is_some() => {}
            resolved => break resolved?,
        }
    }
    conn.resolve_route(ROUTE_MS)?;
    endpoint.resolved(&mut patience, |inner| inner.state == State::Resolved)??;
    let fabric = context.device().fabric_of(&conn.device().ok_or(ENODEV)?)?;
    arg.fabric = fabric.number();
    endpoint.inner.lock().fabric = Some(fabric);

    arg.handle = Endpoint::publish(owned, context).map_err(|(error, _)| error)?;
    Ok(Created(arg.handle))
}

/// The connection stands, and fails if its user cannot be told.
pub(crate) struct Joined(Arc<Endpoint>);

impl Outcome for Joined {
    fn undo(self, _context: &Context) {
        self.0.fail(EFAULT);
    }
}

/// `ENDPOINT_CONNECT`
pub(crate) fn connect(
    context: &Context,
    arg: &mut uapi::dmaplane_endpoint_connect,
) -> Result<Joined> {
    let endpoint = start(context, arg, State::Resolved, |conn, hello| {
        conn.connect(hello)
    })?;
    let answer = finish(&endpoint, arg)?;
    arg.private_data = answer.to_user();
    Ok(Joined(endpoint))
}

/// `ENDPOINT_ACCEPT`
pub(crate) fn accept(
    context: &Context,
    arg: &mut uapi::dmaplane_endpoint_connect,
) -> Result<Joined> {
    let endpoint = start(context, arg, State::Requested, |conn, hello| {
        conn.accept(hello)
    })?;
    finish(&endpoint, arg)?;
    Ok(Joined(endpoint))
}

/// Makes the queue pair, posts the receives and asks, or answers, the peer.
fn start(
    context: &Context,
    arg: &uapi::dmaplane_endpoint_connect,
    from: State,
    ask: fn(&Connection<Endpoint>, &[u8]) -> Result,
) -> Result<Arc<Endpoint>> {
    let depths = 1..=MAX_DEPTH;
    if arg.flags != 0
        || arg.message_bytes > uapi::DMAPLANE_MESSAGE_MAX
        || !depths.contains(&arg.send_depth)
        || !depths.contains(&arg.recv_depth)
    {
        return Err(EINVAL);
    }
    let message = arg.message_bytes.max(uapi::DMAPLANE_MESSAGE_MIN);
    let private = Private::from_user(&arg.private_data)?;
    let endpoint = context.get::<Endpoint>(arg.endpoint)?;
    let channel = context.get::<Channel>(arg.channel)?;

    let domain = context.domain(&*endpoint.fabric()?)?;
    let mut inner = endpoint.inner.lock();
    // It may have been withdrawn since it was looked up.
    if endpoint.handle() != arg.endpoint {
        return Err(ENOENT);
    }
    let conn = inner.ready(from)?;
    let asked = from == State::Resolved;
    let mut link = Link::new(
        &conn,
        &domain,
        channel.ring().clone(),
        &Sizes {
            send_depth: arg.send_depth,
            recv_depth: arg.recv_depth,
            recv_user_data: arg.recv_user_data,
            peer_credits: inner.peer_credits,
            message: usize::try_from(message)?.saturating_add(DATA_HEADER),
        },
    )?;
    link.take_turns(&domain, asked);
    let opened = link.open(&conn);
    inner.link = Some(link);
    if let Err(error) = opened {
        // There are queues already, so there is no way back to where we were.
        drop(inner);
        return Err(endpoint.give_up(error));
    }
    inner.asked = asked;
    inner.expect_messages(true);
    inner.transition(match from {
        State::Requested => Event::Accept,
        _ => Event::Connect,
    });
    drop(inner);
    // Who is to stop would stop inside, where Soft-iWARP is not good at it.
    if kernel::current!().signal_pending() {
        return Err(endpoint.give_up_unasked(EINTR));
    }

    let hello = Hello {
        credits: arg.recv_depth,
        message: u16::try_from(message)?,
        user: private.bytes(),
    };
    let mut bytes = [0; Hello::MAX];
    let begun = hello
        .encode(&mut bytes)
        .map_err(|_| EMSGSIZE)
        .and_then(|length| ask(&conn, bytes.get(..length).ok_or(EMSGSIZE)?));
    match begun {
        Ok(()) => Ok(endpoint),
        // Over iWARP a TCP connection was tried here and now, and these are its errors.
        Err(ERESTARTSYS) => Err(endpoint.give_up_unasked(EINTR)),
        Err(ETIMEDOUT) => Err(endpoint.give_up_unasked(EHOSTUNREACH.into())),
        Err(EACCES) => Err(endpoint.give_up_unasked(EADDRNOTAVAIL.into())),
        Err(error) => Err(endpoint.give_up_unasked(error)),
    }
}

/// Waits until the connection stands; returns the peer's answer.
fn finish(endpoint: &Endpoint, arg: &uapi::dmaplane_endpoint_connect) -> Result<Private> {
    let mut patience = Patience::new(arg.timeout_ns);
    let waited = endpoint.wait_until(&mut patience, |inner| {
        (inner.state == State::Established).then_some(inner.peer_private)
    });
    waited.map_err(|error| endpoint.give_up(error))
}

impl Endpoint {
    /// Waits for the end of an attempt to resolve, and returns how it ended.
    fn resolved(
        &self,
        patience: &mut Patience,
        done: impl Fn(&Inner) -> bool,
    ) -> Result<Result<(), Error>> {
        self.wait_until(patience, |inner| match inner.unresolved.take() {
            Some(error) => Some(Err(error)),
            None => done(inner).then_some(Ok(())),
        })
    }

    /// As [`Self::give_up`], when the peer was not asked or answered.
    fn give_up_unasked(&self, error: Error) -> Error {
        self.inner.lock().expect_messages(false);
        self.give_up(error)
    }

    /// Fails the endpoint because a step of the way failed, with the error that came first. A signal
    /// and a time say how this call ended; to all others the endpoint was given up here, and whoever
    /// begins again after `EINTR` would never end.
    fn give_up(&self, error: Error) -> Error {
        let impatient = error == EINTR || error == ETIME;
        self.fail(match impatient {
            true => ECANCELED.into(),
            false => error,
        });
        match impatient {
            true => error,
            false => self.inner.lock().error.unwrap_or(error),
        }
    }
}

impl Inner {
    /// From now on messages can come, or none did.
    fn expect_messages(&mut self, expect: bool) {
        if let Some(link) = &mut self.link {
            link.expects_messages = expect;
        }
    }

    /// The connection, if the endpoint is in state `from`. `EISCONN` if not, or what it failed of.
    fn ready(&self, from: State) -> Result<Arc<Connection<Endpoint>>> {
        if let Some(error) = self.error {
            return Err(error);
        }
        match &self.conn {
            Some(conn) if self.state == from && self.link.is_none() => Ok(conn.clone()),
            _ => Err(EISCONN.into()),
        }
    }
}

impl Private {
    fn from_user(private: &uapi::dmaplane_private) -> Result<Self> {
        let len = usize::try_from(private.len)?;
        let bytes = private.data.get(..len).ok_or(EMSGSIZE)?;
        let rest = private.data.get(len..).unwrap_or(&[]);
        match rest.iter().all(|byte| *byte == 0) {
            true => Ok(Self::new(bytes)),
            false => Err(EINVAL),
        }
    }

    /// The bytes for user space.
    pub(super) fn to_user(self) -> uapi::dmaplane_private {
        uapi::dmaplane_private {
            len: self.len as u32,
            data: self.data,
        }
    }

    fn bytes(&self) -> &[u8] {
        self.data.get(..self.len).unwrap_or(&[])
    }
}
