// SPDX-License-Identifier: GPL-2.0

//! Messages between the kernels of an established connection.
//!
//! | bytes  | all                                  | lease only                   |
//! |--------|--------------------------------------|------------------------------|
//! | 0..4   | magic                                |                              |
//! | 4..6   | version                              |                              |
//! | 6..8   | kind: 1 acknowledgement, 2 lease,    |                              |
//! |        | 4 hold, 5 held, 6 end                |                              |
//! | 8..12  | data messages granted, cumulative    |                              |
//! | 12..16 | messages received, cumulative        |                              |
//! | 16..20 |                                      | number of the lease          |
//! | 20..24 |                                      | segments in all              |
//! | 24..32 |                                      | tag                          |
//! | 32..40 |                                      | length in bytes              |
//! | 40..48 |                                      | bytes per segment            |
//! | 48..52 |                                      | first segment in this part   |
//! | 52..54 |                                      | segments in this part        |
//! | 54..56 |                                      | rights: 1 write, 2 read      |
//! | 56..64 |                                      | where in segment 0 it begins |
//! | 64..   |                                      | rkey (4), address (8) of each|
//!
//! Every message carries the two counts; a credit update is an acknowledgement. A lease of more
//! segments than fit is sent in parts.
//!
//! When the memory of a lease moves, its keys change. Who granted it asks the peer to **hold** it, which
//! begins nothing there any more and says that it is **held** when nothing is under way. Then the lease is sent again
//! with its new keys and may be used; or it **ends**. These three have the number of the lease (16..20), and that
//! of the request to hold it (20..24).

use super::{
    Reader,
    Writer,
    MAGIC,
    VERSION, //
};

/// Bytes of the longest message.
pub const CTRL_MAX: usize = 256;

/// Keys that one message has room for.
pub const KEYS_PER_MESSAGE: usize = (CTRL_MAX - LEASE_LENGTH) / KEY_LENGTH;

/// Segments of a lease at most.
pub const MAX_SEGMENTS: u32 = 1 << 16;

/// Bytes per segment at least.
pub const MIN_SEGMENT: u64 = 4096;

const ACK_LENGTH: usize = 16;
const LEASE_LENGTH: usize = 64;
const KEY_LENGTH: usize = 12;
const KIND_ACK: u16 = 1;
const KIND_LEASE: u16 = 2;
const WORD_LENGTH: usize = 24;

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// Something else than dmaplane wrote it.
    NotOurs,
    /// It is of this other version.
    Version(u16),
    /// It contradicts its format.
    Malformed,
    /// It has the right format, and describes a lease that cannot be.
    Impossible,
}

/// The counts that every message carries, for [`credit`](crate::pure::credit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtrlHeader {
    /// Data messages granted, cumulative.
    pub credits: u32,
    /// Messages between kernels received, cumulative.
    pub ack: u32,
}

/// A message.
#[derive(Clone, Copy, Debug)]
pub struct Ctrl<'a> {
    /// The counts.
    pub header: CtrlHeader,
    /// What else it says.
    pub kind: CtrlKind<'a>,
}

/// What a message says beyond its counts.
#[derive(Clone, Copy, Debug)]
pub enum CtrlKind<'a> {
    /// Nothing.
    Ack,
    /// A lease, or a part of one.
    Lease(LeasePart<'a>),
    /// Something about a lease.
    Word(Word),
}

/// What is said about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// What is said.
    pub what: What,
    /// Number of the lease.
    pub lease: u32,
    /// Number of the request to hold it.
    pub turn: u32,
}

/// What can be said about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// By who granted it: it shall not be used.
    Hold,
    /// By who has it: it is not.
    Held,
    /// By who granted it: it cannot be used any more.
    End,
}

impl What {
    fn kind(self) -> u16 {
        match self {
            Self::Hold => 4,
            Self::Held => 5,
            Self::End => 6,
        }
    }

    fn decode(kind: u16) -> Option<Self> {
        let all = [Self::Hold, Self::Held, Self::End];
        all.into_iter().find(|what| what.kind() == kind)
    }
}

/// What all parts of a lease have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTerms {
    /// Number of the lease.
    pub lease: u32,
    /// What the granting program gave with it.
    pub tag: u64,
    /// Bytes in all.
    pub length: u64,
    /// Bytes per segment: a power of two, [`MIN_SEGMENT`] at least. The last may be shorter.
    pub segment: u64,
    /// Bytes of the first segment before those of the lease.
    pub skip: u64,
    /// Segments in all.
    pub total: u32,
    /// What the peer may do with them: at least one of the two.
    pub rights: Rights,
}

/// What a lease allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// To write there.
    pub write: bool,
    /// To read there.
    pub read: bool,
}

impl Rights {
    fn encode(self) -> u16 {
        u16::from(self.write) | (u16::from(self.read) << 1)
    }

    fn decode(bits: u16) -> Option<Self> {
        let rights = Self {
            write: bits & 1 != 0,
            read: bits & 2 != 0,
        };
        (rights.encode() == bits).then_some(rights)
    }

    fn any(self) -> bool {
        self.write || self.read
    }
}

/// A part of a lease: some of its keys. Decoded ones are consistent with their terms.
#[derive(Clone, Copy, Debug)]
pub struct LeasePart<'a> {
    /// The lease.
    pub terms: LeaseTerms,
    /// The segment of the first key.
    pub first: u32,
    /// The keys of this and the following segments.
    pub keys: KeyList<'a>,
}

/// Access to one segment of the peer's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The remote key.
    pub rkey: u32,
    /// The address of the segment's first byte. Adding the segment's length does not overflow.
    pub addr: u64,
}

/// The keys in a message.
#[derive(Clone, Copy, Debug)]
pub struct KeyList<'a>(&'a [u8]);

impl<'a> KeyList<'a> {
    /// How many there are: 1 to [`KEYS_PER_MESSAGE`].
    pub fn count(&self) -> u32 {
        u32::try_from(self.0.len() / KEY_LENGTH).unwrap_or(u32::MAX)
    }

    /// The keys in order of their segments.
    pub fn iter(&self) -> impl Iterator<Item = Key> + 'a {
        self.0.chunks_exact(KEY_LENGTH).filter_map(|chunk| {
            let mut reader = Reader(chunk);
            let rkey = reader.u32()?;
            let addr = reader.u64()?;
            Some(Key { rkey, addr })
        })
    }
}

impl LeaseTerms {
    /// Whether the numbers fit together.
    fn possible(&self) -> bool {
        self.length > 0
            && self.rights.any()
            && self.segment.is_power_of_two()
            && self.segment >= MIN_SEGMENT
            && self.total <= MAX_SEGMENTS
            && self.skip < self.segment
            && self.end().map(|end| end.div_ceil(self.segment)) == Some(u64::from(self.total))
    }

    /// Bytes of all segments.
    fn end(&self) -> Option<u64> {
        self.skip.checked_add(self.length)
    }

    /// Whether keys for the segments from `first` can be these.
    fn possible_keys(&self, first: u32, keys: impl Iterator<Item = Key>) -> bool {
        (u64::from(first)..).zip(keys).all(|(segment, key)| {
            let before = segment.checked_mul(self.segment);
            let left = before.and_then(|before| self.end()?.checked_sub(before));
            match left {
                None | Some(0) => false,
                Some(left) => key.addr.checked_add(left.min(self.segment)).is_some(),
            }
        })
    }
}

/// Length of an encoded message, and how many keys it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Bytes.
    pub length: usize,
    /// Keys.
    pub keys: u32,
}

/// Writes a message that carries the counts only, and returns its length.
pub fn encode_ack(header: CtrlHeader, out: &mut [u8; CTRL_MAX]) -> usize {
    let mut writer = Writer::new(out);
    put_header(&mut writer, KIND_ACK, header);
    writer.written
}

/// Writes a message that says something about a lease, and returns its length.
pub fn encode_word(header: CtrlHeader, word: &Word, out: &mut [u8; CTRL_MAX]) -> usize {
    let mut writer = Writer::new(out);
    put_header(&mut writer, word.what.kind(), header);
    writer.u32(word.lease);
    writer.u32(word.turn);
    writer.written
}

/// Writes a message with as many of `keys` as it has room for. `keys` begin with the one of segment
/// `first`. The caller sends the next part from segment `first + keys` on until all are sent.
///
/// [`WireError::Impossible`] if the peer's kernel would not believe it.
pub fn encode_lease(
    header: CtrlHeader,
    terms: &LeaseTerms,
    first: u32,
    keys: impl IntoIterator<Item = Key>,
    out: &mut [u8; CTRL_MAX],
) -> Result<Sent, WireError> {
    let mut list = [0; CTRL_MAX - LEASE_LENGTH];
    let mut listed = Writer::new(&mut list);
    let mut count = 0u16;
    for key in keys.into_iter().take(KEYS_PER_MESSAGE) {
        listed.u32(key.rkey);
        listed.u64(key.addr);
        count = count.saturating_add(1);
    }
    let length = listed.written;
    let list = KeyList(list.get(..length).ok_or(WireError::Impossible)?);
    if count == 0 || !terms.possible() || !terms.possible_keys(first, list.iter()) {
        return Err(WireError::Impossible);
    }

    let mut writer = Writer::new(out);
    put_header(&mut writer, KIND_LEASE, header);
    writer.u32(terms.lease);
    writer.u32(terms.total);
    writer.u64(terms.tag);
    writer.u64(terms.length);
    writer.u64(terms.segment);
    writer.u32(first);
    writer.u16(count);
    writer.u16(terms.rights.encode());
    writer.u64(terms.skip);
    writer.bytes(list.0);
    Ok(Sent {
        length: writer.written,
        keys: u32::from(count),
    })
}

/// Reads a message of exactly `bytes`.
pub fn decode_ctrl(bytes: &[u8]) -> Result<Ctrl<'_>, WireError> {
    let mut reader = Reader(bytes);
    if reader.u32() != Some(MAGIC) {
        return Err(WireError::NotOurs);
    }
    let version = reader.u16().ok_or(WireError::Malformed)?;
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    let (kind, header) = take_header(&mut reader).ok_or(WireError::Malformed)?;
    let kind = match kind {
        KIND_ACK if bytes.len() == ACK_LENGTH => CtrlKind::Ack,
        KIND_LEASE => {
            let part = take_lease(&mut reader).ok_or(WireError::Malformed)?;
            if !part.terms.possible() || !part.terms.possible_keys(part.first, part.keys.iter()) {
                return Err(WireError::Impossible);
            }
            CtrlKind::Lease(part)
        }
        kind if bytes.len() == WORD_LENGTH => {
            let what = What::decode(kind).ok_or(WireError::Malformed)?;
            let lease = reader.u32().ok_or(WireError::Malformed)?;
            let turn = reader.u32().ok_or(WireError::Malformed)?;
            CtrlKind::Word(Word { what, lease, turn })
        }
        _ => return Err(WireError::Malformed),
    };
    Ok(Ctrl { header, kind })
}

fn put_header(writer: &mut Writer<'_>, kind: u16, header: CtrlHeader) {
    writer.u32(MAGIC);
    writer.u16(VERSION);
    writer.u16(kind);
    writer.u32(header.credits);
    writer.u32(header.ack);
}

fn take_header(reader: &mut Reader<'_>) -> Option<(u16, CtrlHeader)> {
    let kind = reader.u16()?;
    let credits = reader.u32()?;
    let ack = reader.u32()?;
    Some((kind, CtrlHeader { credits, ack }))
}

/// Takes a lease that is well-formed, possible or not.
fn take_lease<'a>(reader: &mut Reader<'a>) -> Option<LeasePart<'a>> {
    let lease = reader.u32()?;
    let total = reader.u32()?;
    let tag = reader.u64()?;
    let length = reader.u64()?;
    let segment = reader.u64()?;
    let first = reader.u32()?;
    let count = usize::from(reader.u16()?);
    let rights = Rights::decode(reader.u16()?)?;
    let skip = reader.u64()?;
    if count == 0 || count > KEYS_PER_MESSAGE {
        return None;
    }
    let keys = KeyList(reader.bytes(count.checked_mul(KEY_LENGTH)?)?);
    if !reader.0.is_empty() {
        return None;
    }
    let terms = LeaseTerms {
        lease,
        tag,
        length,
        segment,
        skip,
        total,
        rights,
    };
    Some(LeasePart { terms, first, keys })
}
