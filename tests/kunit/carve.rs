// SPDX-License-Identifier: GPL-2.0

//! Ranges at the ends of 64 and 32 bits, where the kernel's overflow checks would strike.

use kernel::prelude::*;

#[kunit_tests(dmaplane_carve)]
mod tests {
    use crate::pure::carve::*;

    const PAGE: u64 = 4096;

    fn piece(segment: u32, offset: u64, length: u32) -> Piece {
        Piece {
            segment,
            offset,
            length,
        }
    }

    #[test]
    fn inside_or_not() {
        assert_eq!(check(0, PAGE, PAGE), Ok(()));
        assert_eq!(check(PAGE, 0, PAGE), Ok(()));
        assert_eq!(check(1, PAGE, PAGE), Err(RangeError::Beyond));
        assert_eq!(check(u64::MAX, 0, u64::MAX), Ok(()));
        assert_eq!(check(u64::MAX, 1, u64::MAX), Err(RangeError::Overflow));
        assert_eq!(check(2, u64::MAX - 1, u64::MAX), Err(RangeError::Overflow));
    }

    #[test]
    fn cut_where_segments_end() {
        let expected = [piece(0, 4095, 1), piece(1, 0, 4096), piece(2, 0, 1)];
        assert!(pieces(4095, 4098, PAGE).eq(expected));
        assert_eq!(count(4095, 4098, PAGE), 3);
        // An empty range belongs to the segment before, for there may be none after.
        assert!(pieces(2 * PAGE, 0, PAGE).eq([piece(1, PAGE, 0)]));
        assert!(pieces(0, 0, PAGE).eq([piece(0, 0, 0)]));
        assert!(pieces(0, 7, 0).eq([piece(0, 0, 7)]));
    }

    #[test]
    fn the_largest_numbers() {
        let segment = 1 << 20;
        let (mut parts, mut bytes) = (0, 0);
        for piece in pieces(u64::MAX, u32::MAX, segment) {
            assert_eq!(piece.segment, u32::MAX);
            assert!(piece.offset + u64::from(piece.length) <= segment);
            parts += 1;
            bytes += u64::from(piece.length);
        }
        assert_eq!(bytes, u64::from(u32::MAX));
        assert_eq!(parts, count(u64::MAX, u32::MAX, segment));
        assert_eq!(count(u64::MAX, u32::MAX, 1), u32::MAX);
    }

    #[test]
    fn cut_at_both_ends() {
        let (local, remote, length) = (100, 8000, 20_000);
        let mut done = 0;
        for cut in cuts(local, PAGE, remote, 2 * PAGE, length) {
            let part = u64::from(cut.local.length);
            assert!(part > 0);
            assert_eq!(cut.local.length, cut.remote.length);
            assert!(cut.local.offset + part <= PAGE);
            assert!(cut.remote.offset + part <= 2 * PAGE);
            let here = u64::from(cut.local.segment) * PAGE + cut.local.offset;
            let there = u64::from(cut.remote.segment) * 2 * PAGE + cut.remote.offset;
            assert_eq!(here, local + done);
            assert_eq!(there, remote + done);
            done += part;
        }
        assert_eq!(done, u64::from(length));
    }
}
