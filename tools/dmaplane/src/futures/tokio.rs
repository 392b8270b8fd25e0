// SPDX-License-Identifier: GPL-2.0
//! tokio's reactor.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    task::{ready, Context, Poll},
};

use rustix::io::Errno;
use tokio::io::{unix::AsyncFd, Interest};

use super::{AsyncChannel, Reactor};
use crate::{Channel, Error, Op, Result};

impl Reactor for AsyncFd<OwnedFd> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What became readable after this was seen is not cleared, but seen once more.
        ready!(self.poll_read_ready(cx))?.clear_ready();
        Poll::Ready(Ok(()))
    }
}

impl AsyncChannel {
    /// For tasks of the tokio runtime that this is called in, which has I/O enabled. It panics
    /// elsewhere.
    pub fn on_tokio(channel: Channel) -> Result<Self> {
        let fd = channel.as_fd().try_clone_to_owned();
        // SAFETY: an `OwnedFd` is one open descriptor for as long as it lives.
        let register = |fd| unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        let reactor = fd.and_then(|fd| register(fd).map_err(|e| e.into_parts().1));
        let errno = |e: io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
        let reactor = reactor.map_err(|e| Error::new(Op::Poll, errno(e)))?;
        AsyncChannel::new(channel, reactor)
    }
}
