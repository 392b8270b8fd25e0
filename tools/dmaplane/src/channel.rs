// SPDX-License-Identifier: GPL-2.0
//! Channels: entries in, completions out.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::fs::{seek, SeekFrom};
use rustix::io::Errno;

use crate::context::Object;
use crate::list::{self, Lists};
use crate::map::Map;
use crate::ring::{Offsets, Ring};
use crate::sys::uapi::*;
use crate::sys::{self, timeout_ns, Argument};
use crate::{Context, Entry, Error, Op, Pages, Result, Segment, Timeout};

/// What a channel and its endpoints share.
#[derive(Debug)]
pub struct Shared {
    // Unmapped first, then closed.
    _map: Map,
    file: OwnedFd,
    object: Object,
}

impl Shared {
    /// The channel's handle.
    pub(crate) fn id(&self) -> u32 {
        self.object.handle()
    }
}

pub(crate) mod sealed {
    use super::{Arc, Shared};

    /// Has what a channel and its endpoints share.
    pub trait Shares {
        fn shared(&self) -> Arc<Shared>;
    }
}

/// Where an endpoint delivers: a [`Channel`], or an [`AsyncChannel`](crate::AsyncChannel).
pub trait Delivers: sealed::Shares {}

impl Delivers for Channel {}

impl sealed::Shares for Channel {
    fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

/// What a channel shall be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct ChannelOptions {
    sq_entries: u32,
    cq_entries: u32,
    times: bool,
    sqpoll: Option<Duration>,
}

impl ChannelOptions {
    /// With these sizes, which are powers of two, and nothing else.
    pub fn new(sq_entries: u32, cq_entries: u32) -> Self {
        ChannelOptions {
            sq_entries,
            cq_entries,
            times: false,
            sqpoll: None,
        }
    }

    /// Whether its completions say [when](Completions::timed). Each takes a little longer then.
    pub fn times(mut self, times: bool) -> Self {
        self.times = times;
        self
    }

    /// Has a thread of the kernel's take entries as they are pushed. When there were none for `idle`
    /// ([zero](Duration::ZERO): for as long as the kernel thinks right) it sleeps; until then it takes
    /// the time of a processor. `EINVAL` if that is more than a minute.
    pub fn sqpoll(mut self, idle: Duration) -> Self {
        self.sqpoll = Some(idle);
        self
    }

    /// Flags, and milliseconds.
    fn raw(self) -> (u32, u32) {
        let times = if self.times {
            DMAPLANE_CHANNEL_TIMES
        } else {
            0
        };
        match self.sqpoll {
            None => (times, 0),
            Some(idle) => {
                let ms = idle.as_nanos().div_ceil(1_000_000);
                let ms = u32::try_from(ms).unwrap_or(u32::MAX);
                (times | DMAPLANE_CHANNEL_SQPOLL, ms)
            }
        }
    }
}

/// A submission and a completion ring.
///
/// Entries are [pushed](Channel::push), [submitted](Channel::submit) together
/// and complete once each, in any order: see [`Entry`] for how to say which. Receives of the endpoints that deliver
/// here arrive as completions as well. Dropping it while an endpoint still
/// delivers defers its end to that of the endpoint.
///
/// With [`ChannelOptions::sqpoll`] the kernel takes entries as they are pushed, and submitting is a
/// call only when its thread sleeps. The thread takes all that there is room for in the completion
/// ring, which is told of by [`submit`](Channel::submit) or [`wait`](Channel::wait) after
/// completions were taken. A place in the submission ring may become free a moment after the entry
/// has completed.
#[derive(Debug)]
pub struct Channel {
    ring: Ring,
    /// A thread takes the entries.
    polled: bool,
    /// Where the submission ring ended when it was last seen that the thread is awake.
    seen: u32,
    shared: Arc<Shared>,
    // Made when one is pushed.
    lists: Option<Lists>,
}

impl Channel {
    pub(crate) fn create(context: &Context, options: ChannelOptions) -> Result<Self> {
        let (sq_entries, cq_entries) = (options.sq_entries, options.cq_entries);
        let (flags, sq_idle_ms) = options.raw();
        let mut create = dmaplane_channel_create {
            flags,
            sq_entries,
            cq_entries,
            sq_idle_ms,
            ..Argument::sized()
        };
        sys::CHANNEL_CREATE.call(context, &mut create)?;
        let object = context.object(create.handle, &sys::CHANNEL_CLOSE);
        let at = Offsets {
            sqes: create.sqes_offset,
            cqes: create.cqes_offset,
            times: options.times.then_some(create.times_offset),
        };
        if !Ring::fits(create.mmap_length, at, sq_entries, cq_entries) {
            return Err(Error::new(Op::ChannelCreate, Errno::PROTO));
        }
        let map = Map::new(context, create.mmap_offset, create.mmap_length)?;
        let file = sys::channel_file(context, create.handle)?;
        // SAFETY: `map` has `mmap_length` bytes, which fit as checked above; the
        // ring lies next to the `Arc` that keeps the mapping and is used through
        // this channel only.
        let ring = unsafe { Ring::new(map.base(), at, sq_entries, cq_entries) };
        Ok(Channel {
            ring,
            polled: options.sqpoll.is_some(),
            seen: 0,
            shared: Arc::new(Shared {
                _map: map,
                file,
                object,
            }),
            lists: None,
        })
    }

    /// Its handle.
    pub fn id(&self) -> u32 {
        self.shared.id()
    }

    /// Places in the submission ring.
    pub fn sq_entries(&self) -> u32 {
        self.ring.sq_entries()
    }

    /// Places in the completion ring.
    pub fn cq_entries(&self) -> u32 {
        self.ring.cq_entries()
    }

    /// Entries that can be pushed now.
    pub fn room(&self) -> u32 {
        self.ring.room()
    }

    /// Entries pushed that the kernel has not taken yet.
    #[inline]
    pub fn pending(&self) -> u32 {
        self.ring.pending()
    }

    /// Completions that can be taken now.
    #[inline]
    pub fn available(&self) -> u32 {
        self.ring.available()
    }

    /// Queues an entry for the next [`submit`](Channel::submit) or
    /// [`wait`](Channel::wait). `EBUSY` when the submission ring is full.
    #[inline]
    pub fn push(&mut self, entry: impl Into<Entry>) -> Result<()> {
        if self.ring.push(entry.into().raw()) {
            Ok(())
        } else {
            Err(Error::new(Op::Push, Errno::BUSY))
        }
    }

    /// Queues a [`WriteImm`](crate::WriteImm), [`Write`](crate::Write) or [`Read`](crate::Read) that
    /// moves all of these ranges, up to 4096. It is complete when all of them are moved; until the
    /// kernel takes it the channel keeps a copy of the list, whose memory counts against
    /// `RLIMIT_MEMLOCK`.
    ///
    /// `EBUSY` when the submission ring is full, or if there is no room for one more list before
    /// what is pending has been submitted.
    pub fn push_segments(&mut self, entry: impl Into<Entry>, segments: &[Segment]) -> Result<()> {
        let count = list::count(segments.len())?;
        let bytes = Segment::encode(segments);
        self.push_list(entry.into(), DMAPLANE_SQE_SEGMENTS, 0, &bytes, count)
    }

    /// As [`push_segments`](Channel::push_segments), for pages of the same length.
    pub fn push_pages(&mut self, entry: impl Into<Entry>, pages: &Pages<'_>) -> Result<()> {
        let count = list::count(pages.local.len())?;
        let bytes = pages.encode()?;
        self.push_list(
            entry.into(),
            DMAPLANE_SQE_PAGES,
            pages.length,
            &bytes,
            count,
        )
    }

    fn push_list(
        &mut self,
        entry: Entry,
        kind: u32,
        length: u32,
        list: &[u8],
        count: u32,
    ) -> Result<()> {
        let busy = Error::new(Op::Push, Errno::BUSY);
        if self.room() == 0 {
            return Err(busy);
        }
        let pending = self.pending() > 0;
        let lists = match &mut self.lists {
            Some(lists) => lists,
            none => none.insert(Lists::create(self.shared.object.context())?),
        };
        let at = lists.put(list, pending).ok_or(busy)?;
        let entry = entry.list(kind, length, (lists.buffer(), at), count);
        self.push(entry)
    }

    /// Whether a [thread](ChannelOptions::sqpoll) takes the entries.
    pub fn is_polled(&self) -> bool {
        self.polled
    }

    /// Hands the entries pushed to the kernel, without waiting. Returns how many
    /// it took: fewer when the completion ring has no room for more completions.
    ///
    /// With a [thread](ChannelOptions::sqpoll) that takes them, this wakes it if it sleeps, and returns
    /// how many were pushed since the last time.
    #[inline]
    pub fn submit(&mut self) -> Result<u32> {
        if self.polled {
            return self.see_to(0, Some(Duration::ZERO));
        }
        if self.pending() == 0 {
            return Ok(0);
        }
        self.enter(0, Some(Duration::ZERO))
    }

    /// Submits like [`submit`](Channel::submit), then sleeps until `min`
    /// completions can be taken. Returns how many can.
    ///
    /// Those are fewer than `min` when the time passed or a signal arrived after
    /// entries were submitted, or when entries must wait for completions to be
    /// taken first. With nothing submitted these are the errors `ETIME` and
    /// `EINTR`.
    ///
    /// Also tells the kernel to grant the peer credits again when receives had
    /// to wait for places in the completion ring.
    #[inline]
    pub fn wait(&mut self, min: u32, timeout: Timeout) -> Result<u32> {
        if self.polled {
            self.see_to(min, timeout)?;
            return Ok(self.available());
        }
        let idle = self.pending() == 0 && self.ring.flags() == 0;
        if idle && self.available() >= min {
            return Ok(self.available());
        }
        match self.enter(min, timeout) {
            Err(e) if e.errno() == Errno::BUSY && self.available() > 0 => Ok(self.available()),
            Err(e) => Err(e),
            Ok(_) => Ok(self.available()),
        }
    }

    /// Has `event`, which [`eventfd()`](rustix::event::eventfd) made, signalled when there are
    /// completions to take, and at once if there are; or nothing any more.
    pub fn signal(&self, event: Option<BorrowedFd<'_>>) -> Result<()> {
        let mut arg = dmaplane_channel_eventfd {
            channel: self.id(),
            fd: event.map_or(-1, |event| event.as_raw_fd()),
            ..Argument::sized()
        };
        sys::CHANNEL_EVENTFD.call(self.shared.object.context(), &mut arg)?;
        Ok(())
    }

    /// Sees that the thread is awake, and waits. How many entries were pushed since the last time.
    fn see_to(&mut self, min_complete: u32, timeout: Timeout) -> Result<u32> {
        let shown = self.ring.sq_tail().wrapping_sub(self.seen);
        self.seen = self.ring.sq_tail();
        if !self.ring.needs_call(min_complete) {
            return Ok(shown);
        }
        match self.enter(min_complete, timeout) {
            // What was pushed will be taken, as if the call had done it.
            Err(e) if shown == 0 || !(e.is_timeout() || e.is_interrupted()) => Err(e),
            _ => Ok(shown),
        }
    }

    /// How many entries the kernel took.
    #[inline]
    pub(crate) fn enter(&mut self, min_complete: u32, timeout: Timeout) -> Result<u32> {
        if timeout.is_some() && min_complete > 0 {
            return self.enter_for(min_complete, timeout);
        }
        let error = |e| Error::new(Op::ChannelEnter, e);
        let taken = seek(&self.shared.file, SeekFrom::Start(min_complete.into()));
        // The kernel counts them in as many bits.
        taken.map(|taken| taken as u32).map_err(error)
    }

    fn enter_for(&mut self, min_complete: u32, timeout: Timeout) -> Result<u32> {
        let mut enter = dmaplane_channel_enter {
            flags: if self.polled {
                DMAPLANE_ENTER_SQ_WAKEUP
            } else {
                0
            },
            channel: self.id(),
            to_submit: self.pending(),
            min_complete,
            timeout_ns: timeout_ns(timeout),
            ..Argument::sized()
        };
        sys::CHANNEL_ENTER.call(self.shared.object.context(), &mut enter)
    }

    /// The kernel waits for this side to take completions and call
    /// [`wait`](Channel::wait) before it lets the peer send more.
    pub fn needs_enter(&self) -> bool {
        self.ring.flags() & DMAPLANE_RING_NEED_ENTER != 0
    }

    /// The rings were corrupted; only closing is left.
    pub fn is_poisoned(&self) -> bool {
        self.ring.flags() & DMAPLANE_RING_POISONED != 0
    }

    /// Takes the completions that are there. Their places are free again when the
    /// iterator is dropped; those not iterated over stay.
    #[inline]
    pub fn completions(&mut self) -> Completions<'_> {
        let available = self.ring.available();
        Completions {
            ring: &mut self.ring,
            taken: 0,
            available,
        }
    }
}

impl AsFd for Channel {
    /// For `poll()` and `epoll`: readable while there are completions to take, with an error when
    /// the channel [is poisoned](Channel::is_poisoned).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.file.as_fd()
    }
}

/// Completions being taken; see [`Channel::completions`].
#[derive(Debug)]
pub struct Completions<'a> {
    ring: &'a mut Ring,
    taken: u32,
    available: u32,
}

impl<'a> Completions<'a> {
    /// The same with their [`Times`]; none if the channel was not [asked](ChannelOptions::times)
    /// for them.
    pub fn timed(self) -> Timed<'a> {
        Timed(self)
    }

    /// The next one, and how many were taken before it.
    #[inline]
    fn step(&mut self) -> Option<(u32, Completion)> {
        if self.taken == self.available {
            return None;
        }
        let nth = self.taken;
        self.taken += 1;
        Some((nth, Completion::decode(&self.ring.peek(nth))))
    }
}

impl Iterator for Completions<'_> {
    type Item = Completion;

    #[inline]
    fn next(&mut self) -> Option<Completion> {
        self.step().map(|(_, completion)| completion)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.available - self.taken) as usize;
        (left, Some(left))
    }
}

impl Drop for Completions<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.taken > 0 {
            self.ring.advance(self.taken);
        }
    }
}

/// Completions being taken with their times; see [`Completions::timed`].
#[derive(Debug)]
pub struct Timed<'a>(Completions<'a>);

impl Iterator for Timed<'_> {
    type Item = (Completion, Option<Times>);

    fn next(&mut self) -> Option<Self::Item> {
        let (nth, completion) = self.0.step()?;
        let times = self.0.ring.times(nth).map(|raw| Times::decode(&raw));
        Some((completion, times))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

/// When an entry was taken, posted and complete, in the time of `CLOCK_MONOTONIC`: since the
/// machine was started, as a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When the kernel took it, together with all that it took then; none for a [`Kind::Recv`].
    pub submit: Option<Duration>,
    /// When its first work request had been given to the adapter, or a kernel thread began it (a
    /// [`BufCopy`](crate::BufCopy) or [`BufFill`](crate::BufFill) that is not short). None if
    /// neither was.
    pub post: Option<Duration>,
    /// When it was complete.
    pub complete: Duration,
}

impl Times {
    fn decode(raw: &dmaplane_times) -> Self {
        let known = |ns: u64| Some(Duration::from_nanos(ns)).filter(|time| !time.is_zero());
        Times {
            submit: known(raw.submit_ns),
            post: known(raw.post_ns),
            complete: Duration::from_nanos(raw.complete_ns),
        }
    }
}

/// What completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A [`Nop`](crate::Nop).
    Nop,
    /// A [`WriteImm`](crate::WriteImm) of this side; its bytes are readable at the peer.
    WriteImm,
    /// A write of the peer, whose bytes are readable here, or a [`RecvMessage`](crate::RecvMessage).
    Recv,
    /// A [`BufCopy`](crate::BufCopy).
    Copy,
    /// A [`BufFill`](crate::BufFill).
    Fill,
    /// An [`ImmOnly`](crate::ImmOnly) of this side.
    ImmOnly,
    /// A [`Cancel`](crate::Cancel).
    Cancel,
    /// A [`CounterWait`](crate::CounterWait).
    CounterWait,
    /// A [`Write`](crate::Write) of this side.
    Write,
    /// A [`Read`](crate::Read) of this side; its bytes are readable here.
    Read,
    /// An [`Invalidate`](crate::Invalidate).
    Invalidate,
    /// A [`SendMessage`](crate::SendMessage), with an immediate or without one.
    Send,
    /// A [`Migrate`](crate::Migrate).
    Migrate,
    /// An operation that this library does not know.
    Other(u8),
}

/// The end of an entry, or the arrival of a peer's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// From the entry, or [`recv_user_data`](crate::ConnectOptions::recv_user_data).
    pub user_data: u64,
    /// What completed.
    pub kind: Kind,
    /// [`Endpoint::id`](crate::Endpoint::id) of the endpoint concerned, 0 if none.
    pub endpoint: u32,
    /// The immediate received, 0 if none.
    pub imm: u32,
    res: i32,
    wc_status: u8,
    flags: u16,
}

impl Completion {
    #[inline]
    pub(crate) fn decode(raw: &dmaplane_cqe) -> Self {
        Completion {
            user_data: raw.user_data,
            kind: match u32::from(raw.opcode) {
                DMAPLANE_OP_NOP => Kind::Nop,
                DMAPLANE_OP_WRITE_IMM => Kind::WriteImm,
                DMAPLANE_OP_RECV => Kind::Recv,
                DMAPLANE_OP_COPY => Kind::Copy,
                DMAPLANE_OP_FILL => Kind::Fill,
                DMAPLANE_OP_IMM_ONLY => Kind::ImmOnly,
                DMAPLANE_OP_CANCEL => Kind::Cancel,
                DMAPLANE_OP_COUNTER_WAIT => Kind::CounterWait,
                DMAPLANE_OP_WRITE => Kind::Write,
                DMAPLANE_OP_READ => Kind::Read,
                DMAPLANE_OP_INVALIDATE => Kind::Invalidate,
                DMAPLANE_OP_SEND | DMAPLANE_OP_SEND_IMM => Kind::Send,
                DMAPLANE_OP_MIGRATE => Kind::Migrate,
                _ => Kind::Other(raw.opcode),
            },
            endpoint: raw.endpoint,
            imm: raw.imm,
            res: raw.res,
            wc_status: raw.wc_status,
            flags: raw.flags,
        }
    }

    /// Whether its entry has further completions: a [multishot](crate::RecvMessage::multishot) one.
    #[inline]
    pub fn has_more(&self) -> bool {
        u32::from(self.flags) & DMAPLANE_CQE_F_MORE != 0
    }

    /// Whether it is of an entry, and not of what a peer wrote, for which there is none.
    #[inline]
    pub fn is_of_entry(&self) -> bool {
        self.kind != Kind::Recv || u32::from(self.flags) & DMAPLANE_CQE_F_ENTRY != 0
    }

    /// The immediate that the peer sent, if it sent one.
    #[inline]
    pub fn immediate(&self) -> Option<u32> {
        let sent = u32::from(self.flags) & DMAPLANE_CQE_F_IMM != 0;
        sent.then_some(self.imm)
    }

    /// Bytes transferred, of a [`Cancel`](crate::Cancel) entries found, or why not. Of a receive: bytes in the work request
    /// that carried the immediate, which is all of the transfer unless that
    /// crosses a multiple of the fabric's `max_segment`.
    #[inline]
    pub fn result(&self) -> Result<u32> {
        u32::try_from(self.res).map_err(|_| {
            Error::entry(
                Errno::from_raw_os_error(self.res.saturating_neg()),
                self.wc_status,
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let mut raw = dmaplane_times {
            complete_ns: 7,
            ..Default::default()
        };
        let mut expected = Times {
            submit: None,
            post: None,
            complete: Duration::from_nanos(7),
        };
        assert_eq!(Times::decode(&raw), expected);
        (raw.submit_ns, raw.post_ns) = (3, 5);
        expected.submit = Some(Duration::from_nanos(3));
        expected.post = Some(Duration::from_nanos(5));
        assert_eq!(Times::decode(&raw), expected);
    }

    #[test]
    fn options() {
        let options = ChannelOptions::new(8, 16);
        let raw = |idle| options.sqpoll(idle).raw();
        assert_eq!(options.raw(), (0, 0));
        assert_eq!(options.times(true).raw(), (DMAPLANE_CHANNEL_TIMES, 0));
        assert_eq!(raw(Duration::ZERO), (DMAPLANE_CHANNEL_SQPOLL, 0));
        // Never less than asked for, nor what would mean something else.
        assert_eq!(raw(Duration::from_nanos(1)), (DMAPLANE_CHANNEL_SQPOLL, 1));
        assert_eq!(raw(Duration::from_millis(7)), (DMAPLANE_CHANNEL_SQPOLL, 7));
        assert_eq!(raw(Duration::MAX), (DMAPLANE_CHANNEL_SQPOLL, u32::MAX));
    }

    #[test]
    fn results() {
        let mut raw = dmaplane_cqe {
            res: 4096,
            opcode: DMAPLANE_OP_RECV as u8,
            ..Default::default()
        };
        let completion = Completion::decode(&raw);
        assert_eq!(
            (completion.kind, completion.result()),
            (Kind::Recv, Ok(4096))
        );
        raw.res = -Errno::CONNRESET.raw_os_error();
        raw.opcode = 77;
        let completion = Completion::decode(&raw);
        assert_eq!(completion.kind, Kind::Other(77));
        let error = completion.result().unwrap_err();
        assert_eq!((error.op(), error.errno()), (Op::Entry, Errno::CONNRESET));
    }
}
