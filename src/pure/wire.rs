// SPDX-License-Identifier: GPL-2.0

//! What two kernels say to each other, as bytes.
//!
//! All formats are big-endian and begin with [`MAGIC`] and [`VERSION`]. What arrives was written by
//! a machine that is not trusted: a decoder checks everything that can be checked before it returns
//! anything, and its result borrows from the bytes.

mod ctrl;
mod data;
mod hello;

pub use self::ctrl::{
    decode_ctrl, encode_ack, encode_lease, encode_word, Ctrl, CtrlHeader, CtrlKind, Key, KeyList,
    LeasePart, LeaseTerms, Rights, Sent, What, WireError, Word, CTRL_MAX, KEYS_PER_MESSAGE,
    MAX_SEGMENTS, MIN_SEGMENT,
};
pub use self::data::{Data, DATA_HEADER};
pub use self::hello::{Hello, HelloError, RejectReason, PRIVATE_MAX};

/// First four bytes of everything: "DMAP".
pub const MAGIC: u32 = 0x444d_4150;

/// Version of these formats.
pub const VERSION: u16 = 4;

/// Takes numbers from the beginning of a slice.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }
}

/// Puts numbers at the beginning of a slice. What does not fit is dropped, but no format is longer
/// than its slice.
struct Writer<'a> {
    out: &'a mut [u8],
    written: usize,
}

impl<'a> Writer<'a> {
    /// Clears `out`, so that what is not written does not carry old bytes to the peer.
    fn new(out: &'a mut [u8]) -> Self {
        out.fill(0);
        Self { out, written: 0 }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for (to, from) in self.out.iter_mut().skip(self.written).zip(bytes) {
            *to = *from;
            self.written = self.written.saturating_add(1);
        }
    }

    fn u16(&mut self, number: u16) {
        self.bytes(&number.to_be_bytes());
    }

    fn u32(&mut self, number: u32) {
        self.bytes(&number.to_be_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.bytes(&number.to_be_bytes());
    }
}
