// SPDX-License-Identifier: GPL-2.0

//! `ENDPOINT_QUERY` and `ENDPOINT_CLOSE`, of endpoints and listeners.

use super::{
    address,
    listen::Listener,
    Ending,
    Endpoint, //
};
use crate::{
    context::Context,
    pure::state::State, //
};
use dmakit::{
    errno::ECANCELED,
    uapi, //
};
use kernel::{
    error::Error,
    prelude::*, //
};

/// `ENDPOINT_QUERY`
pub(crate) fn query(context: &Context, arg: &mut uapi::dmaplane_endpoint_query) -> Result {
    if arg.flags != 0 {
        return Err(EINVAL);
    }
    let mut out = uapi::dmaplane_endpoint_query {
        size: arg.size,
        endpoint: arg.endpoint,
        ..Default::default()
    };
    match context.get::<Endpoint>(arg.endpoint) {
        Ok(endpoint) => endpoint.describe(&mut out),
        Err(EBADF) => {
            let listener = context.get::<Listener>(arg.endpoint)?;
            let (addr, error) = listener.status();
            out.state = match error {
                Some(_) => State::Error.number(),
                None => State::Listening.number(),
            };
            out.error = errno(error);
            out.peer = address::to_user(addr);
        }
        Err(error) => return Err(error),
    }
    *arg = out;
    Ok(())
}

/// `ENDPOINT_CLOSE`
pub(crate) fn close(context: &Context, arg: &uapi::dmaplane_handle) -> Result {
    if arg.flags != 0 || arg.pad != 0 {
        return Err(EINVAL);
    }
    // It ends before the handle does: who moves memory finds all that may use it there.
    let ended = match context.get::<Endpoint>(arg.handle) {
        Ok(endpoint) => {
            endpoint.end(ECANCELED.into());
            context.remove::<Endpoint>(arg.handle)
        }
        Err(EBADF) => {
            context.get::<Listener>(arg.handle)?.end(ECANCELED.into());
            context.remove::<Listener>(arg.handle)
        }
        Err(error) => return Err(error),
    };
    ended.map(drop)
}

impl Endpoint {
    fn describe(&self, out: &mut uapi::dmaplane_endpoint_query) {
        let inner = self.inner.lock();
        out.state = inner.state.number();
        out.error = errno(inner.error);
        out.fabric = inner.fabric.as_ref().map_or(0, |fabric| fabric.number());
        out.wc_status = inner.wc_status;
        out.peer = address::to_user(inner.peer);
        out.stalls = inner.stats.stalls;
        out.stall_ns = inner.stats.stall_ns;
        out.sent = inner.stats.sent;
        out.sent_bytes = inner.stats.sent_bytes;
        out.received = inner.stats.received;
        out.ctrl_sent = inner.stats.ctrl_sent;
        out.ctrl_received = inner.stats.ctrl_received;
        out.message_bytes = inner.peer_message;
        if let Some(link) = &inner.link {
            out.credits = link.sender.available();
            out.unread = link.inbox.kept();
            out.in_flight = u32::try_from(link.in_flight()).unwrap_or(u32::MAX);
            out.queued = u32::try_from(link.queue.len()).unwrap_or(u32::MAX);
        }
    }
}

/// An error as the ABI stores it: positive, 0 for none.
pub(super) fn errno(error: Option<Error>) -> u32 {
    error.map_or(0, |error| error.to_errno().unsigned_abs())
}
