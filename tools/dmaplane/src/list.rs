// SPDX-License-Identifier: GPL-2.0
//! Lists of what one entry moves, and the memory where the kernel reads them.
//!
//! The kernel reads a list when it takes the entry, not when that is pushed. So a channel keeps
//! the lists of the entries that it has pushed, in a buffer of its own, and uses their places
//! again when nothing is pending any more.

use rustix::io::Errno;

use crate::sys::uapi::*;
use crate::{Buffer, Context, Error, Mapping, Op, Result};

/// One of the ranges that an entry moves; both offsets are added to those of its
/// [`range`](crate::Write::range).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Segment {
    /// First byte in the region.
    pub local: u64,
    /// First byte in the lease.
    pub remote: u64,
    /// Bytes.
    pub length: u32,
}

impl Segment {
    /// Segments as the kernel reads them, for a list in a buffer of the program's own.
    pub fn encode(segments: &[Segment]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size_of_val(segments));
        for segment in segments {
            bytes.extend(segment.local.to_ne_bytes());
            bytes.extend(segment.remote.to_ne_bytes());
            bytes.extend(segment.length.to_ne_bytes());
            bytes.extend([0; 4]);
        }
        bytes
    }
}

/// The pages that an entry moves, as one layer of a paged KV cache: page `local[i]` begins
/// `local[i] * local_stride` bytes behind the entry's [`range`](crate::Write::range) in the
/// region, and goes to or comes from page `remote[i]`, likewise in the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pages<'a> {
    /// Bytes of each page.
    pub length: u32,
    /// From one page to the next in the region.
    pub local_stride: u64,
    /// From one page to the next in the lease.
    pub remote_stride: u64,
    /// Pages of the region.
    pub local: &'a [u32],
    /// As many of the lease.
    pub remote: &'a [u32],
}

impl Pages<'_> {
    /// These as the kernel reads them, for a list in a buffer of the program's own. `EINVAL` if
    /// one side has more than the other.
    pub fn encode(&self) -> Result<Vec<u8>> {
        if self.local.len() != self.remote.len() {
            return Err(Error::new(Op::Push, Errno::INVAL));
        }
        let mut bytes = Vec::with_capacity(size_of::<dmaplane_pages>() + 8 * self.local.len());
        bytes.extend(self.local_stride.to_ne_bytes());
        bytes.extend(self.remote_stride.to_ne_bytes());
        for index in self.local.iter().chain(self.remote) {
            bytes.extend(index.to_ne_bytes());
        }
        Ok(bytes)
    }
}

/// How many entries a list has: `EINVAL` if none, `E2BIG` if more than an entry may have.
pub(crate) fn count(entries: usize) -> Result<u32> {
    match u32::try_from(entries) {
        Ok(0) => Err(Error::new(Op::Push, Errno::INVAL)),
        Ok(count) if count <= DMAPLANE_LIST_MAX => Ok(count),
        _ => Err(Error::new(Op::Push, Errno::TOOBIG)),
    }
}

/// Two of the longest lists.
const BYTES: usize = 2 * DMAPLANE_LIST_MAX as usize * size_of::<dmaplane_segment>();

/// Where lists are until the kernel has taken their entries.
#[derive(Debug)]
pub(crate) struct Lists {
    buffer: Buffer,
    mapping: Mapping,
    used: usize,
}

impl Lists {
    pub(crate) fn create(context: &Context) -> Result<Self> {
        let buffer = context.buffer(BYTES as u64)?;
        Ok(Lists {
            mapping: buffer.map()?,
            buffer,
            used: 0,
        })
    }

    pub(crate) fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Writes a list and returns its offset; none if there is no room until the kernel has taken
    /// what is `pending`.
    pub(crate) fn put(&mut self, list: &[u8], pending: bool) -> Option<u64> {
        let (at, used) = place(self.used, list.len(), self.mapping.len(), pending)?;
        self.mapping.copy_in(at, list);
        self.used = used;
        Some(at as u64)
    }
}

/// Where a list goes in memory of which so much is used, and how much is then.
fn place(used: usize, length: usize, room: usize, pending: bool) -> Option<(usize, usize)> {
    let at = if pending { used } else { 0 };
    let end = at.checked_add(length.checked_next_multiple_of(8)?)?;
    (end <= room).then_some((at, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_as_the_header_has_them() {
        let segments = [1, 2].map(|n| Segment {
            local: 0x10 * n,
            remote: 0x100 * n,
            length: n as u32,
        });
        let bytes = Segment::encode(&segments);
        assert_eq!(bytes.len(), 2 * size_of::<dmaplane_segment>());
        let second = &bytes[size_of::<dmaplane_segment>()..];
        let at = |offset: usize| second[offset..].iter().copied();
        let u64_at = |offset| at(offset).take(8).eq(0x20u64.to_ne_bytes());
        assert!(u64_at(std::mem::offset_of!(dmaplane_segment, local_offset)));
        let remote = std::mem::offset_of!(dmaplane_segment, remote_offset);
        assert!(at(remote).take(8).eq(0x200u64.to_ne_bytes()));
        let length = std::mem::offset_of!(dmaplane_segment, length);
        assert!(at(length).take(4).eq(2u32.to_ne_bytes()));
        assert!(at(std::mem::offset_of!(dmaplane_segment, pad))
            .take(4)
            .eq([0; 4]));
    }

    #[test]
    fn pages_are_as_the_header_has_them() {
        let mut pages = Pages {
            length: 7,
            local_stride: 0x0102,
            remote_stride: 0x0304,
            local: &[5, 6],
            remote: &[8, 9],
        };
        let bytes = pages.encode().unwrap();
        let strides = std::mem::offset_of!(dmaplane_pages, remote_stride);
        assert_eq!(bytes[strides..strides + 8], 0x0304u64.to_ne_bytes());
        let indices = &bytes[size_of::<dmaplane_pages>()..];
        let expected = [5u32, 6, 8, 9].map(u32::to_ne_bytes).concat();
        assert_eq!(indices, expected);
        pages.remote = &[8];
        assert_eq!(pages.encode().unwrap_err().errno(), Errno::INVAL);
    }

    #[test]
    fn lengths_of_lists() {
        assert_eq!(count(0).unwrap_err().errno(), Errno::INVAL);
        assert_eq!(count(4096), Ok(4096));
        let errors = [4097, usize::MAX].map(|n| count(n).unwrap_err().errno());
        assert_eq!(errors, [Errno::TOOBIG; 2]);
    }

    #[test]
    fn places_are_used_again_when_nothing_is_pending() {
        assert_eq!(place(0, 24, 64, true), Some((0, 24)));
        assert_eq!(place(24, 20, 64, true), Some((24, 48)));
        assert_eq!(place(48, 24, 64, true), None);
        assert_eq!(place(48, 16, 64, true), Some((48, 64)));
        assert_eq!(place(64, 24, 64, false), Some((0, 24)));
        assert_eq!(place(0, 65, 64, false), None);
        assert_eq!(place(8, usize::MAX, 64, true), None);
        // Two of the longest, whatever the page size.
        let longest = 4096 * size_of::<dmaplane_segment>();
        let (_, used) = place(0, longest, BYTES, true).unwrap();
        assert!(place(used, longest, BYTES, true).is_some());
    }
}
