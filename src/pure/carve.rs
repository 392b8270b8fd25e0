// SPDX-License-Identifier: GPL-2.0

//! Ranges of bytes: checking them against an end, joining them, and cutting them at segment
//! boundaries.
//!
//! A region may be larger than one memory key can cover. It is then cut into segments of equal
//! size, the last of which may be shorter, and a transfer is cut where it crosses from one to the
//! next.

use core::{
    iter::FusedIterator,
    num::NonZeroU64, //
};

/// Why a range is not inside a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeError {
    /// Offset plus length is not a 64-bit number.
    Overflow,
    /// The range ends beyond the memory's end.
    Beyond,
}

/// Checks that `length` bytes from `offset` lie in a memory of `limit` bytes. An empty range may
/// lie at its end.
pub fn check(offset: u64, length: u64, limit: u64) -> Result<(), RangeError> {
    match offset.checked_add(length) {
        None => Err(RangeError::Overflow),
        Some(end) if end > limit => Err(RangeError::Beyond),
        Some(_) => Ok(()),
    }
}

/// A range of bytes here, and where it is at the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// First byte here.
    pub local: u64,
    /// First byte at the peer.
    pub remote: u64,
    /// Bytes.
    pub length: u32,
}

impl Part {
    /// Both in one, if `next` goes on where this ends, at both sides.
    pub fn join(&self, next: &Self) -> Option<Self> {
        let length = u64::from(self.length);
        let goes_on = self.local.checked_add(length) == Some(next.local)
            && self.remote.checked_add(length) == Some(next.remote);
        let length = self.length.checked_add(next.length).filter(|_| goes_on)?;
        Some(Self { length, ..*self })
    }
}

/// The part of a range that lies in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Number of the segment.
    pub segment: u32,
    /// First byte, counted from the beginning of the segment.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
}

/// Iterator over the [`Piece`]s of a range; see [`pieces`].
#[derive(Clone, Debug)]
pub struct Pieces {
    next: Option<Piece>,
    left: u32,
    segment: u64,
}

/// Cuts `length` bytes from `offset`, in a memory of segments of `segment` bytes, into pieces.
///
/// An empty range is one empty piece. At a boundary that piece lies at the end of the segment
/// before, because at the memory's end there is no segment after.
///
/// A segment whose number does not fit is numbered `u32::MAX`; a range that was checked against a
/// memory of fewer segments has none. A memory of segments of 0 bytes counts as one segment.
pub fn pieces(offset: u64, length: u32, segment: u64) -> Pieces {
    let divisor = NonZeroU64::new(segment).unwrap_or(NonZeroU64::MAX);
    let segment = divisor.get();
    let mut number = offset / divisor;
    let mut inside = offset % divisor;
    if length == 0 && inside == 0 && number > 0 {
        number = number.saturating_sub(1);
        inside = segment;
    }
    let first = fit(length, segment.saturating_sub(inside));
    Pieces {
        next: Some(Piece {
            segment: u32::try_from(number).unwrap_or(u32::MAX),
            offset: inside,
            length: first,
        }),
        left: length.saturating_sub(first),
        segment,
    }
}

/// Returns how many pieces [`pieces`] yields.
pub fn count(offset: u64, length: u32, segment: u64) -> u32 {
    let Pieces { left, segment, .. } = pieces(offset, length, segment);
    let further = u64::from(left).div_ceil(segment);
    u32::try_from(further).unwrap_or(u32::MAX).saturating_add(1)
}

/// The smaller of the two.
fn fit(length: u32, room: u64) -> u32 {
    u32::try_from(room).map_or(length, |room| room.min(length))
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let piece = self.next?;
        self.next = (self.left > 0).then(|| Piece {
            segment: piece.segment.saturating_add(1),
            offset: 0,
            length: fit(self.left, self.segment),
        });
        let taken = self.next.map_or(0, |next| next.length);
        self.left = self.left.saturating_sub(taken);
        Some(piece)
    }
}

impl FusedIterator for Pieces {}

/// A part of a transfer that lies in one segment at both of its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Where it lies here.
    pub local: Piece,
    /// Where it lies at the peer; as many bytes.
    pub remote: Piece,
}

/// Cuts a transfer of `length` bytes wherever a segment ends, here or at the peer. Offsets and
/// segments are as in [`pieces`], and an empty transfer is one empty part.
pub fn cuts(
    local: u64,
    local_segment: u64,
    remote: u64,
    remote_segment: u64,
    length: u32,
) -> impl Iterator<Item = Cut> {
    let mut at = remote;
    pieces(local, length, local_segment).flat_map(move |mine| {
        let theirs = pieces(at, mine.length, remote_segment);
        at = at.saturating_add(u64::from(mine.length));
        let mut inside = mine.offset;
        theirs.map(move |remote| {
            let local = Piece {
                segment: mine.segment,
                offset: inside,
                length: remote.length,
            };
            inside = inside.saturating_add(u64::from(remote.length));
            Cut { local, remote }
        })
    })
}
