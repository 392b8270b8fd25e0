// SPDX-License-Identifier: GPL-2.0
//! Submission entries.

use crate::sys::uapi::*;
use crate::{Buffer, Counter, Endpoint, Lease, Region, Span};

/// A submission entry, made from one of the types that say what it does.
///
/// Entries begin in the order in which they were pushed and complete in any; the methods say
/// more about their order. What they name, buffers aside, must stay until they completed.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Entry(dmaplane_sqe);

impl Entry {
    #[inline]
    fn new(opcode: u32) -> Self {
        Entry(dmaplane_sqe {
            opcode: opcode as u8,
            ..Default::default()
        })
    }

    #[inline]
    pub(crate) fn raw(self) -> dmaplane_sqe {
        self.0
    }

    #[cfg(test)]
    pub(crate) fn from_raw(raw: dmaplane_sqe) -> Self {
        Entry(raw)
    }

    /// Tells of its success.
    pub(crate) fn told(mut self) -> Self {
        self.0.flags &= !(DMAPLANE_SQE_CQE_SKIP_SUCCESS as u8);
        self
    }

    /// What fails in its place and has its flags.
    pub(crate) fn refused(&self) -> Self {
        let mut entry = Entry::new(DMAPLANE_OP_NOP);
        (entry.0.flags, entry.0.user_data) = (self.0.flags, self.0.user_data);
        // Not a member that it uses.
        entry.0.imm = 1;
        entry
    }

    /// Whether the next entry belongs to its chain.
    pub(crate) fn is_linked(&self) -> bool {
        u32::from(self.0.flags) & DMAPLANE_SQE_LINK != 0
    }

    #[inline]
    fn flag(mut self, flag: u32) -> Self {
        self.0.flags |= flag as u8;
        self
    }

    /// Returned in the completion.
    #[inline]
    pub fn user_data(mut self, user_data: u64) -> Self {
        self.0.user_data = user_data;
        self
    }

    /// The next entry pushed begins when this one has succeeded, and is canceled if it fails.
    pub fn link(self) -> Self {
        self.flag(DMAPLANE_SQE_LINK)
    }

    /// Begins when all entries pushed before are complete; those after it wait for it.
    pub fn drain(self) -> Self {
        self.flag(DMAPLANE_SQE_DRAIN)
    }

    /// There is no completion if it succeeds.
    pub fn skip_success(self) -> Self {
        self.flag(DMAPLANE_SQE_CQE_SKIP_SUCCESS)
    }

    /// Has it move what a list says: `kind` is SEGMENTS, or PAGES of so many bytes each.
    pub(crate) fn list(mut self, kind: u32, length: u32, at: (&Buffer, u64), count: u32) -> Self {
        self.0.flags &= !((DMAPLANE_SQE_SEGMENTS | DMAPLANE_SQE_PAGES) as u8);
        self.0.length = length;
        (self.0.list, self.0.list_offset) = (at.0.id(), at.1);
        self.0.list_count = count;
        self.flag(kind)
    }
}

/// What all kinds of entries have.
macro_rules! entries {
    ($($kind:ident),*) => {
        $(
            impl From<$kind> for Entry {
                #[inline]
                fn from(entry: $kind) -> Self {
                    entry.0
                }
            }

            impl $kind {
                /// Returned in the completion.
                #[inline]
                pub fn user_data(self, user_data: u64) -> Self {
                    $kind(self.0.user_data(user_data))
                }

                /// See [`Entry::link`].
                pub fn link(self) -> Entry {
                    self.0.link()
                }

                /// See [`Entry::drain`].
                pub fn drain(self) -> Entry {
                    self.0.drain()
                }

                /// See [`Entry::skip_success`].
                pub fn skip_success(self) -> Entry {
                    self.0.skip_success()
                }
            }
        )*
    };
}

entries!(
    WriteImm,
    ImmOnly,
    BufCopy,
    BufFill,
    Migrate,
    Cancel,
    CounterWait,
    Write,
    Read,
    Invalidate,
    SendMessage,
    RecvMessage
);

/// What those have that move bytes to or from a peer.
macro_rules! remote {
    ($($kind:ident $opcode:ident),*) => {
        $(
            impl $kind {
                /// One of nothing; the rest is set by the methods.
                #[inline]
                pub fn new(endpoint: &Endpoint, region: &impl Span, lease: Lease) -> Self {
                    let mut entry = Entry::new($opcode);
                    entry.0.endpoint = endpoint.id();
                    entry.0.region = region.handle();
                    entry.0.lease = lease.number;
                    $kind(entry)
                }

                /// `length` bytes at `local` in the region and `remote` in the lease.
                ///
                /// With a list, both offsets are added to those of each range, and the length is not
                /// used: see [`Channel::push_segments`](crate::Channel::push_segments).
                #[inline]
                pub fn range(mut self, local: u64, remote: u64, length: u32) -> Self {
                    let Entry(raw) = &mut self.0;
                    raw.local_offset = local;
                    raw.remote_offset = remote;
                    raw.length = length;
                    self
                }

                /// Is sent when all [`Read`]s for its endpoint that were pushed before are complete.
                pub fn fence(self) -> Self {
                    $kind(self.0.flag(DMAPLANE_SQE_FENCE))
                }

                /// Moves `count` [segments](crate::Segment::encode) that the program has put to
                /// `offset`, a multiple of 8, in `buffer`.
                ///
                /// The list must be there, unchanged, until the kernel has taken the entry, so that
                /// [`Channel::pending`](crate::Channel::pending) does not count it any more. If it
                /// is not, what it says then is moved, as far as region and lease allow.
                /// [`Channel::push_segments`](crate::Channel::push_segments) sees to that by itself.
                pub fn segments_in(self, buffer: &Buffer, offset: u64, count: u32) -> Self {
                    let at = (buffer, offset);
                    $kind(self.0.list(DMAPLANE_SQE_SEGMENTS, 0, at, count))
                }

                /// Moves `count` [pages](crate::Pages::encode) of `length` bytes; otherwise as
                /// [`segments_in`](Self::segments_in).
                pub fn pages_in(self, length: u32, buffer: &Buffer, offset: u64, count: u32) -> Self {
                    let at = (buffer, offset);
                    $kind(self.0.list(DMAPLANE_SQE_PAGES, length, at, count))
                }
            }
        )*
    };
}

remote!(
    WriteImm DMAPLANE_OP_WRITE_IMM,
    Write DMAPLANE_OP_WRITE,
    Read DMAPLANE_OP_READ
);

/// Does nothing but complete.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nop {
    /// Returned in the completion.
    pub user_data: u64,
}

impl From<Nop> for Entry {
    #[inline]
    fn from(nop: Nop) -> Self {
        Entry::new(DMAPLANE_OP_NOP).user_data(nop.user_data)
    }
}

/// Writes bytes of a local region to a peer's lease and delivers an immediate.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct WriteImm(Entry);

impl WriteImm {
    /// The immediate that the peer receives, 0 if none is set.
    #[inline]
    pub fn imm(mut self, imm: u32) -> Self {
        self.0 .0.imm = imm;
        self
    }
}

/// Writes bytes of a local region to a peer's lease, of which the peer's program is not told.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Write(Entry);

/// Reads bytes of a peer's lease into a local region, which has
/// [`LOCAL_WRITE`](crate::Access::LOCAL_WRITE).
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Read(Entry);

/// Takes a region's keys away: when it is complete, no peer reaches the region any more, and uses
/// of it fail with `EKEYREVOKED`.
///
/// It fails with `EBUSY` while entries use the region: see [`Entry::link`] and [`Entry::drain`].
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Invalidate(Entry);

impl Invalidate {
    /// The keys of `region`, whose handle stays.
    pub fn new(region: &Region) -> Self {
        let mut entry = Entry::new(DMAPLANE_OP_INVALIDATE);
        entry.0.region = region.id();
        Invalidate(entry)
    }
}

/// Sends a message to a [`RecvMessage`] of the peer's: at most
/// [`message_bytes`](crate::EndpointStatus::message_bytes), for more there is [`Write`].
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct SendMessage(Entry);

impl SendMessage {
    /// `length` bytes from `offset` in a region.
    pub fn new(endpoint: &Endpoint, region: &impl Span, offset: u64, length: u32) -> Self {
        let mut send = SendMessage::empty(endpoint);
        let Entry(raw) = &mut send.0;
        raw.region = region.handle();
        raw.local_offset = offset;
        raw.length = length;
        send
    }

    /// No bytes.
    pub fn empty(endpoint: &Endpoint) -> Self {
        let mut entry = Entry::new(DMAPLANE_OP_SEND);
        entry.0.endpoint = endpoint.id();
        SendMessage(entry)
    }

    /// With an immediate.
    pub fn imm(mut self, imm: u32) -> Self {
        let Entry(raw) = &mut self.0;
        raw.opcode = DMAPLANE_OP_SEND_IMM as u8;
        raw.imm = imm;
        self
    }
}

/// Takes a message that the peer [sent](SendMessage), to a buffer. The endpoint delivers to this channel.
///
/// Messages for which there is none wait, and hold back the peer when they are as many as
/// [`recv_depth`](crate::ConnectOptions::recv_depth). One that is longer fails it with `EMSGSIZE`,
/// and waits for the next.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct RecvMessage(Entry);

impl RecvMessage {
    /// One of up to `length` bytes, to `offset` in a buffer.
    pub fn new(endpoint: &Endpoint, buffer: &Buffer, offset: u64, length: u32) -> Self {
        let mut entry = Entry::new(DMAPLANE_OP_RECV);
        let Entry(raw) = &mut entry;
        raw.endpoint = endpoint.id();
        (raw.lease, raw.remote_offset) = (buffer.id(), offset);
        raw.length = length;
        RecvMessage(entry)
    }

    /// `count` of them, each to `length` bytes of its own, one after the other. Each has a
    /// completion; all but the last [have more](crate::Completion::has_more).
    pub fn multishot(self, count: u32) -> Self {
        let mut entry = self.0.flag(DMAPLANE_SQE_MULTISHOT);
        entry.0.imm = count;
        RecvMessage(entry)
    }
}

/// Delivers an immediate alone: it needs no memory on either side.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct ImmOnly(Entry);

impl ImmOnly {
    /// The immediate that the peer receives.
    pub fn new(endpoint: &Endpoint, imm: u32) -> Self {
        let mut entry = Entry::new(DMAPLANE_OP_IMM_ONLY);
        entry.0.endpoint = endpoint.id();
        entry.0.imm = imm;
        ImmOnly(entry)
    }
}

/// Copies bytes from one buffer to another, or within one, where they may not overlap.
///
/// More than 64 KiB are copied by a kernel thread near the memory that is written to, one
/// copy after the other for each channel.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct BufCopy(Entry);

impl BufCopy {
    /// `length` bytes from `from.1` in one buffer to `to.1` in the other.
    pub fn new(from: (&Buffer, u64), to: (&Buffer, u64), length: u32) -> Self {
        let mut entry = Entry::new(DMAPLANE_OP_COPY);
        let Entry(raw) = &mut entry;
        (raw.region, raw.local_offset) = (from.0.id(), from.1);
        (raw.lease, raw.remote_offset) = (to.0.id(), to.1);
        raw.length = length;
        BufCopy(entry)
    }
}

/// Sets bytes of a buffer to a value; done as a [`BufCopy`] is.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct BufFill(Entry);

impl BufFill {
    /// `length` bytes at `offset`.
    pub fn new(buffer: &Buffer, offset: u64, length: u32, value: u8) -> Self {
        let mut entry = Entry::new(DMAPLANE_OP_FILL);
        let Entry(raw) = &mut entry;
        (raw.lease, raw.remote_offset) = (buffer.id(), offset);
        raw.length = length;
        raw.imm = value.into();
        BufFill(entry)
    }
}

/// Moves the pages of a buffer to another NUMA node, while it is in use.
///
/// Its result is how many pages were moved. A buffer that is registered is `EBUSY`, as is one whose
/// pages another driver or a system call uses; what was moved before an error stays there.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Migrate(Entry);

impl Migrate {
    /// To `node`; pages that have no room there stay where they are.
    pub fn new(buffer: &Buffer, node: u32) -> Self {
        let mut entry = Entry::new(DMAPLANE_OP_MIGRATE);
        let Entry(raw) = &mut entry;
        (raw.lease, raw.remote_offset) = (buffer.id(), node.into());
        Migrate(entry)
    }

    /// If some have no room, fails with `ENOSPC`.
    pub fn strict(mut self) -> Self {
        self.0 .0.imm |= DMAPLANE_MIGRATE_STRICT;
        self
    }
}

/// Ends entries of the same channel that are not done: they complete with `ECANCELED`.
///
/// Its own result is how many it found; `ENOENT` if there were none, `EALREADY` if what it
/// found was sent already.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Cancel(Entry);

impl Cancel {
    /// One entry with this `user_data`, for this endpoint or for none.
    pub fn one(endpoint: Option<&Endpoint>, user_data: u64) -> Self {
        Cancel::of(endpoint.map_or(0, Endpoint::id), user_data)
    }

    /// The same by the endpoint's handle, 0 for none.
    pub(crate) fn of(endpoint: u32, user_data: u64) -> Self {
        let mut entry = Entry::new(DMAPLANE_OP_CANCEL);
        entry.0.endpoint = endpoint;
        entry.0.local_offset = user_data;
        Cancel(entry)
    }

    /// All entries for this endpoint, or all for none.
    pub fn all(endpoint: Option<&Endpoint>) -> Self {
        let mut cancel = Cancel::one(endpoint, 0);
        cancel.0 .0.imm = DMAPLANE_CANCEL_ALL;
        cancel
    }
}

/// Waits until a [`Counter`] has a value; completes with the reason if it cannot any more.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct CounterWait(Entry);

impl CounterWait {
    pub(crate) fn new(counter: &Counter, value: u64) -> Self {
        let mut entry = Entry::new(DMAPLANE_OP_COUNTER_WAIT);
        entry.0.endpoint = counter.endpoint();
        entry.0.region = counter.id();
        entry.0.local_offset = value;
        CounterWait(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nop_has_only_user_data() {
        let raw = Entry::from(Nop { user_data: 9 }).raw();
        assert_eq!((raw.user_data, raw.endpoint, raw.region), (9, 0, 0));
        assert_eq!((raw.opcode, raw.flags), (DMAPLANE_OP_NOP as u8, 0));
    }

    #[test]
    fn flags_add_up() {
        let raw = Cancel::one(None, 5).user_data(3).link().drain().raw();
        assert_eq!((raw.user_data, raw.local_offset, raw.imm), (3, 5, 0));
        assert_eq!(u32::from(raw.flags), DMAPLANE_SQE_LINK | DMAPLANE_SQE_DRAIN);
        let raw = Cancel::all(None).skip_success().raw();
        assert_eq!((raw.local_offset, raw.imm), (0, DMAPLANE_CANCEL_ALL));
        assert_eq!(u32::from(raw.flags), DMAPLANE_SQE_CQE_SKIP_SUCCESS);
    }
}
