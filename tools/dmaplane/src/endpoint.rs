// SPDX-License-Identifier: GPL-2.0
//! Connections: listening, accepting, connecting, and what one can tell.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::channel::{Delivers, Shared};
use crate::context::Object;
use crate::net::{self, Private};
use crate::sys::uapi::*;
use crate::sys::{self, timeout_ns, Argument, Command};
use crate::{Access, Buffer, Context, Lease, Region, Result, Span, Timeout};
use crate::{Counter, Immediates};
use crate::{Errno, Error, Op};

/// Waits for peers to connect.
#[derive(Debug)]
pub struct Listener {
    object: Object,
    address: Option<SocketAddr>,
}

impl Listener {
    pub(crate) fn listen(context: &Context, address: SocketAddr, backlog: u32) -> Result<Self> {
        let mut listen = dmaplane_endpoint_listen {
            addr: net::encode(Some(address)),
            backlog,
            ..Argument::sized()
        };
        sys::ENDPOINT_LISTEN.call(context, &mut listen)?;
        Ok(Listener {
            object: context.object(listen.handle, &sys::ENDPOINT_CLOSE),
            address: net::decode(&listen.addr),
        })
    }

    /// The address it is bound to, with the port that was chosen.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The next peer that wants to connect.
    pub fn request(&self, timeout: Timeout) -> Result<Request> {
        let context = self.object.context();
        let mut request = dmaplane_endpoint_request {
            listener: self.object.handle(),
            timeout_ns: timeout_ns(timeout),
            ..Argument::sized()
        };
        sys::ENDPOINT_REQUEST.call(context, &mut request)?;
        Ok(Request {
            object: context.object(request.handle, &sys::ENDPOINT_CLOSE),
            fabric: request.fabric,
            peer: net::decode(&request.peer),
            private: Private::decode(&request.private_data),
        })
    }
}

/// A peer that wants to connect. Dropping it refuses: the peer sees `EACCES`.
#[derive(Debug)]
pub struct Request {
    object: Object,
    fabric: u32,
    peer: Option<SocketAddr>,
    private: Private,
}

impl Request {
    /// The fabric that it came in on.
    pub fn fabric(&self) -> u32 {
        self.fabric
    }

    /// The peer's address.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// As [`Endpoint::counter`], from the first message on.
    pub fn counter(&self, which: Immediates) -> Result<Counter> {
        Counter::create(&self.object, which)
    }

    /// What the peer's program sent along.
    pub fn private(&self) -> &Private {
        &self.private
    }

    /// Refuses the peer, as dropping does, and tells whether that worked.
    pub fn refuse(mut self) -> Result<()> {
        self.object.close()
    }

    /// Accepts the peer; completions go to `channel`.
    pub fn accept(self, channel: &impl Delivers, options: &ConnectOptions) -> Result<Endpoint> {
        let parts = (self.object, self.fabric, self.peer);
        Endpoint::establish(&sys::ENDPOINT_ACCEPT, parts, channel, options).map(|(e, _)| e)
    }
}

/// An endpoint that has a fabric and a route, and is not connected yet.
#[derive(Debug)]
pub struct Resolved {
    object: Object,
    fabric: u32,
    peer: SocketAddr,
}

impl Resolved {
    /// The fabric that leads to the peer.
    pub fn fabric(&self) -> u32 {
        self.fabric
    }

    /// Connects; completions go to `channel`. Also returns what the peer's
    /// program answered. The endpoint is closed when that fails.
    pub fn connect(
        self,
        channel: &impl Delivers,
        options: &ConnectOptions,
    ) -> Result<(Endpoint, Private)> {
        let parts = (self.object, self.fabric, Some(self.peer));
        Endpoint::establish(&sys::ENDPOINT_CONNECT, parts, channel, options)
    }
}

/// Bytes of a [`SendMessage`](crate::SendMessage) that every endpoint takes.
pub const MESSAGE_MIN: u32 = DMAPLANE_MESSAGE_MIN;
/// Bytes of the longest [`SendMessage`](crate::SendMessage).
pub const MESSAGE_MAX: u32 = DMAPLANE_MESSAGE_MAX;

/// How to connect or accept.
#[derive(Debug, Clone, Copy)]
pub struct ConnectOptions {
    /// Work requests in flight.
    pub send_depth: u32,
    /// Messages that the peer may have under way; each holds one place in the
    /// channel's completion ring.
    pub recv_depth: u32,
    /// `user_data` of receive completions.
    pub recv_user_data: u64,
    /// Bytes of the longest [`SendMessage`](crate::SendMessage) that the peer may send; [`MESSAGE_MIN`] at least,
    /// [`MESSAGE_MAX`] at most.
    pub message_bytes: u32,
    /// How long to wait for the peer.
    pub timeout: Timeout,
    /// For the peer's program.
    pub private: Private,
}

impl Default for ConnectOptions {
    /// Depths of 64, messages as short as can be, 10 seconds, no private data.
    fn default() -> Self {
        ConnectOptions {
            send_depth: 64,
            recv_depth: 64,
            recv_user_data: 0,
            message_bytes: MESSAGE_MIN,
            timeout: Some(Duration::from_secs(10)),
            private: Private::default(),
        }
    }
}

/// A connection. Dropping it ends it; entries in flight complete before.
#[derive(Debug)]
pub struct Endpoint {
    object: Object,
    fabric: u32,
    peer: Option<SocketAddr>,
    // Dropped after the endpoint: a channel that is delivered to cannot close.
    _channel: Arc<Shared>,
}

impl Endpoint {
    /// Finds the fabric and the route to `dst`, from `src` if given.
    pub fn address(
        context: &Context,
        dst: SocketAddr,
        src: Option<SocketAddr>,
        timeout: Timeout,
    ) -> Result<Resolved> {
        let mut address = dmaplane_endpoint_address {
            dst: net::encode(Some(dst)),
            src: net::encode(src),
            timeout_ns: timeout_ns(timeout),
            ..Argument::sized()
        };
        sys::ENDPOINT_ADDRESS.call(context, &mut address)?;
        Ok(Resolved {
            object: context.object(address.handle, &sys::ENDPOINT_CLOSE),
            fabric: address.fabric,
            peer: dst,
        })
    }

    fn establish(
        command: &Command<dmaplane_endpoint_connect>,
        (object, fabric, peer): (Object, u32, Option<SocketAddr>),
        channel: &impl Delivers,
        options: &ConnectOptions,
    ) -> Result<(Self, Private)> {
        let mut connect = dmaplane_endpoint_connect {
            endpoint: object.handle(),
            channel: channel.shared().id(),
            send_depth: options.send_depth,
            recv_depth: options.recv_depth,
            recv_user_data: options.recv_user_data,
            message_bytes: options.message_bytes,
            timeout_ns: timeout_ns(options.timeout),
            private_data: options.private.encode(),
            ..Argument::sized()
        };
        command.call(object.context(), &mut connect)?;
        let endpoint = Endpoint {
            object,
            fabric,
            peer,
            _channel: channel.shared(),
        };
        Ok((endpoint, Private::decode(&connect.private_data)))
    }

    /// Its handle, as completions name it.
    pub fn id(&self) -> u32 {
        self.object.handle()
    }

    /// Its fabric.
    pub fn fabric(&self) -> u32 {
        self.fabric
    }

    /// The peer's address.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    pub(crate) fn context(&self) -> &Context {
        self.object.context()
    }

    /// Makes part of `buffer` known to the fabric; `offset` is a multiple of the
    /// page size.
    pub fn register(
        &self,
        buffer: &Buffer,
        offset: u64,
        length: u64,
        access: Access,
    ) -> Result<Region> {
        Region::register(self, buffer, offset, length, access)
    }

    /// Counts the messages that come in from now on and are meant.
    pub fn counter(&self, which: Immediates) -> Result<Counter> {
        Counter::create(&self.object, which)
    }

    /// Lets the peer use `region` as its [`Access`] says; its program sees `tag`. Returns the
    /// number that the lease has at the peer.
    pub fn grant(&self, region: &impl Span, tag: u64) -> Result<u32> {
        let mut grant = dmaplane_lease_grant {
            endpoint: self.id(),
            region: region.handle(),
            tag,
            ..Argument::sized()
        };
        sys::LEASE_GRANT.call(self.object.context(), &mut grant)?;
        Ok(grant.lease)
    }

    /// The next lease that the peer grants; each is returned once.
    pub fn wait_lease(&self, timeout: Timeout) -> Result<Lease> {
        let mut wait = dmaplane_lease_wait {
            endpoint: self.id(),
            timeout_ns: timeout_ns(timeout),
            ..Argument::sized()
        };
        sys::LEASE_WAIT.call(self.object.context(), &mut wait)?;
        Ok(Lease {
            number: wait.lease,
            length: wait.length,
            access: Access::from_bits(wait.access),
            tag: wait.tag,
        })
    }

    /// Its state and counters.
    pub fn query(&self) -> Result<EndpointStatus> {
        let mut raw = dmaplane_endpoint_query {
            endpoint: self.id(),
            ..Argument::sized()
        };
        sys::ENDPOINT_QUERY.call(self.object.context(), &mut raw)?;
        Ok(EndpointStatus {
            state: State::decode(raw.state),
            error: raw.error,
            credits: raw.credits,
            in_flight: raw.in_flight,
            queued: raw.queued,
            wc_status: raw.wc_status,
            stalls: raw.stalls,
            stall_time: Duration::from_nanos(raw.stall_ns),
            sent: raw.sent,
            sent_bytes: raw.sent_bytes,
            received: raw.received,
            ctrl_sent: raw.ctrl_sent,
            ctrl_received: raw.ctrl_received,
            message_bytes: raw.message_bytes,
            unread: raw.unread,
        })
    }

    /// Ends the connection, as dropping does, and tells whether that worked.
    pub fn close(mut self) -> Result<()> {
        self.object.close()
    }
}

/// What a connection is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Has a route.
    Resolved,
    /// Was requested by a peer.
    Requested,
    /// Waits for the peer's answer.
    Connecting,
    /// Can carry entries.
    Established,
    /// Ended; see [`EndpointStatus::error`].
    Error,
    /// Is a listener.
    Listening,
    /// A state of a newer module.
    Other(u32),
}

impl State {
    fn decode(raw: u32) -> Self {
        match raw {
            DMAPLANE_STATE_RESOLVED => State::Resolved,
            DMAPLANE_STATE_REQUESTED => State::Requested,
            DMAPLANE_STATE_CONNECTING => State::Connecting,
            DMAPLANE_STATE_ESTABLISHED => State::Established,
            DMAPLANE_STATE_ERROR => State::Error,
            DMAPLANE_STATE_LISTENING => State::Listening,
            other => State::Other(other),
        }
    }
}

/// State and counters of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointStatus {
    /// What it is at.
    pub state: State,
    /// In state [`State::Error`], the errno that says why.
    pub error: u32,
    /// Messages that the peer can take now.
    pub credits: u32,
    /// Entries posted and not completed.
    pub in_flight: u32,
    /// Entries that wait for credits or depth.
    pub queued: u32,
    /// `ib_wc_status` of the first work request that failed.
    pub wc_status: u32,
    /// Times that an entry began to wait for credits when none was waiting.
    pub stalls: u64,
    /// Time during which entries waited for credits.
    pub stall_time: Duration,
    /// Messages and [`Write`](crate::Write)s sent with success.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Messages received.
    pub received: u64,
    /// Messages between the kernels sent.
    pub ctrl_sent: u64,
    /// Messages between the kernels received.
    pub ctrl_received: u64,
    /// Bytes of the longest [`SendMessage`](crate::SendMessage) that the peer takes; 0 before it said.
    pub message_bytes: u32,
    /// Messages that no [`RecvMessage`](crate::RecvMessage) has taken yet.
    pub unread: u32,
}

impl EndpointStatus {
    /// Why it is not established, if it is not.
    pub fn failure(&self) -> Option<Error> {
        match self.state {
            State::Established => None,
            State::Error => {
                let errno = i32::try_from(self.error).unwrap_or(0);
                let errno = Errno::from_raw_os_error(errno);
                Some(Error::new(Op::Connection, errno))
            }
            _ => Some(Error::new(Op::Connection, Errno::NOTCONN)),
        }
    }
}
