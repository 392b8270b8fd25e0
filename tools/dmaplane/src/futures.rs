// SPDX-License-Identifier: GPL-2.0
//! Channels whose completions are futures.
//!
//! Nobody has the task of looking after the rings: who polls a future does, and the [`Reactor`]
//! when it wakes the one waker that it is given, which is nobody's in particular. So a future that is dropped
//! takes nobody's wakeup with it.

mod shared;
mod state;
#[cfg(test)]
mod tests;
#[cfg(feature = "tokio")]
mod tokio;

use std::{
    future::{poll_fn, Future},
    io,
    pin::Pin,
    sync::Arc,
    task::{ready, Context, Poll},
};

use rustix::io::Errno;

use crate::channel::{self, sealed::Shares};
use crate::{Channel, Completion, Delivers, Entry, Error, Op, Result, Times};
use shared::{Awaited, Shared};

/// Says when a channel's file has become readable: what a runtime has for descriptors.
///
/// With the feature `tokio` there is [one](AsyncChannel::on_tokio) for that; for others it is a few
/// lines. With async-io, of a duplicate of the channel's descriptor
/// (`channel.as_fd().try_clone_to_owned()?`):
///
/// ```text
/// impl Reactor for Async<OwnedFd> {
///     fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
///         Async::poll_readable(self, cx)
///     }
/// }
/// ```
pub trait Reactor: Send + Sync + 'static {
    /// Ready if the file has become readable since this was ready last, or is readable still. If
    /// not, the waker of `cx` is woken when it becomes readable.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A channel whose entries are futures.
///
/// [`submit`](AsyncChannel::submit) makes a future of an entry. What arrives by itself, and the
/// completions of entries that were only [pushed](AsyncChannel::push), are taken by
/// [`next`](AsyncChannel::next). Entries begin in the order of these calls, as
/// [links and drains](Entry::link) expect, and wait here as long as the rings have no room. They are
/// submitted, many with one call into the kernel, when a future of the channel is polled.
///
/// All methods can be called by several tasks and threads at once. None blocks, but for what the
/// kernel does at once: a [`BufCopy`](crate::BufCopy) of up to 64 KiB for example.
/// [`Entry::skip_success`] means nothing here. Completions have the `user_data` of their entries, but the kernel
/// knows those by numbers of this channel: [`Cancel::one`](crate::Cancel::one) finds none, dropping a future does.
///
/// Whoever has an endpoint deliver to the channel has to take what arrives: as many completions as the
/// completion ring has places are kept for [`next`](AsyncChannel::next), and after that none is taken from
/// the ring, so that the peer is slowed down; submissions are not told either.
///
/// ```no_run
/// # #[cfg(feature = "tokio")]
/// # async fn example() -> dmaplane::Result<()> {
/// use dmaplane::{AsyncChannel, BufCopy, Context};
///
/// let context = Context::open()?;
/// let (from, to) = (context.buffer(1 << 20)?, context.buffer(1 << 20)?);
/// let channel = AsyncChannel::on_tokio(context.channel(64, 128)?)?;
/// let first = channel.submit(BufCopy::new((&from, 0), (&to, 0), 4096));
/// let second = channel.submit(BufCopy::new((&from, 4096), (&to, 4096), 4096));
/// // Both are submitted when the first one is polled.
/// assert_eq!((first.await?, second.await?), (4096, 4096));
/// # Ok(())
/// # }
/// ```
///
/// # Futures that are dropped
///
/// Any future of a channel may be dropped at any time, by a `select!` or a timeout: nothing that is meant for
/// others is lost. A [`Submission`] that is not complete then is canceled, as by
/// [`Cancel`](crate::Cancel): what was sent already, and a copy that is nearly done, goes on all the same, and
/// what is linked to it is canceled, too. Its memory may still be in use: [`Region`](crate::Region)s and
/// [`Buffer`](crate::Buffer)s live on until then, but what the bytes are is not known.
/// [`Submission::detach`] lets go of it without that.
///
/// Dropping the channel as well closes it, unless an endpoint still delivers to it, or futures are left.
#[derive(Debug)]
pub struct AsyncChannel {
    shared: Arc<Shared<Channel>>,
    channel: Arc<channel::Shared>,
}

impl AsyncChannel {
    /// The channel, with what says when its file is readable. Nothing else may take its
    /// completions. `EOPNOTSUPP` for a channel whose entries a thread takes: nobody is told when that has
    /// made room in the ring.
    pub fn new(channel: Channel, reactor: impl Reactor) -> Result<Self> {
        if channel.is_polled() {
            return Err(Error::new(Op::Poll, Errno::OPNOTSUPP));
        }
        Ok(AsyncChannel {
            channel: channel.shared(),
            shared: Shared::new(channel, reactor),
        })
    }

    /// The channel's handle.
    pub fn id(&self) -> u32 {
        self.channel.id()
    }

    /// Entries that the kernel has not taken, but for those that wait here for room.
    pub fn pending(&self) -> u32 {
        self.shared.state().rings().pending()
    }

    /// Queues an entry; the future is its result. Only polling, dropping or
    /// [detaching](Submission::detach) a future of this channel submits it.
    pub fn submit(&self, entry: impl Into<Entry>) -> Submission {
        Submission(Awaited::new(&self.shared, entry.into()))
    }

    /// Queues an entry whose completion [`next`](AsyncChannel::next) takes.
    pub fn push(&self, entry: impl Into<Entry>) {
        self.shared.state().add(entry.into(), false);
    }

    /// Submits, and takes the next message received or completion of an entry that was
    /// [pushed](AsyncChannel::push). Fails when the channel has ended or is poisoned.
    pub async fn next(&self) -> Result<Completion> {
        Ok(self.next_timed().await?.0)
    }

    /// As [`next`](AsyncChannel::next), with the times of a channel that was
    /// [asked](crate::ChannelOptions::times) for them.
    pub async fn next_timed(&self) -> Result<(Completion, Option<Times>)> {
        poll_fn(|cx| self.shared.poll_next(cx)).await
    }

    /// Submits, and waits until [`next`](AsyncChannel::next) can take `min` completions without
    /// waiting, which must not be more than the completion ring has places. Returns how many it can.
    pub async fn submit_and_wait(&self, min: usize) -> Result<usize> {
        self.shared.submit();
        poll_fn(|cx| {
            self.shared
                .poll(|state| state.poll_arrived(min, cx.waker()))
        })
        .await
    }
}

impl Delivers for AsyncChannel {}

impl Shares for AsyncChannel {
    fn shared(&self) -> Arc<channel::Shared> {
        Arc::clone(&self.channel)
    }
}

/// An entry: the future of its result. Dropping it before that
/// [cancels](AsyncChannel#futures-that-are-dropped) the entry.
#[derive(Debug)]
#[must_use = "dropping it cancels the entry"]
pub struct Submission(Awaited<Channel>);

impl Submission {
    /// The future of its completion and, if the channel was
    /// [asked](crate::ChannelOptions::times) for them, its times.
    pub fn timed(self) -> TimedSubmission {
        TimedSubmission(self.0)
    }

    /// Submits it, and lets it go on with nobody to be told how it ends.
    pub fn detach(mut self) {
        self.0.abandon(false);
    }
}

impl Future for Submission {
    type Output = Result<u32>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<u32>> {
        ready!(self.0.poll(cx))?.0.result().into()
    }
}

/// See [`Submission::timed`].
#[derive(Debug)]
#[must_use = "dropping it cancels the entry"]
pub struct TimedSubmission(Awaited<Channel>);

impl Future for TimedSubmission {
    type Output = Result<(Completion, Option<Times>)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx)
    }
}
