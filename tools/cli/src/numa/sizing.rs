// SPDX-License-Identifier: GPL-2.0
//! How much memory is read, written and copied: so much that caches do not help, if there is
//! as much.

use super::machine::Cache;
use super::LINE;
use crate::failure::Failure;
use crate::size;

/// How many times the last level of caches.
pub const TIMES: u64 = 4;
/// What is taken for it where nobody knows.
pub const UNKNOWN: Cache = Cache {
    of_node: 32 << 20,
    largest: 32 << 20,
};
/// Least of a buffer.
pub const LEAST: u64 = 4096;
/// A chain names its lines with 32 bits.
const LONGEST_CHAIN: u64 = (u32::MAX as u64) * LINE as u64;

/// Bytes of working sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// That all threads together read; as much again is written.
    pub bandwidth: u64,
    /// That the chain for latency goes through.
    pub latency: u64,
    /// Whether there was no room for more.
    pub capped: bool,
}

/// For the node that has the least free memory of those that are measured. What was asked for
/// is had or refused, with the reason.
pub fn sizes(cache: Option<Cache>, free: u64, asked: Option<u64>) -> Result<Sizes, Failure> {
    if let Some(asked) = asked {
        if asked < LEAST {
            let why = format!("--size must be at least {}", size::show(LEAST));
            return Err(Failure::Usage(why));
        }
        if asked.checked_mul(2).is_none_or(|both| both > free) || asked > LONGEST_CHAIN {
            let most = (free / 2).min(LONGEST_CHAIN);
            return Err(Failure::Limit(format!(
                "two buffers of {} are needed on each node, and one has {} free: give --size {}K \
                 or less, or free memory there",
                size::show(asked),
                size::show(free),
                most >> 10
            )));
        }
        return Ok(Sizes {
            bandwidth: asked,
            latency: asked,
            capped: false,
        });
    }
    // Others need memory there, too.
    let room = free / 4 * 3;
    let cache = cache.unwrap_or(UNKNOWN);
    let (bandwidth, latency) = (cache.of_node * TIMES, cache.largest * TIMES);
    let (most, longest) = (whole_pages(room / 2), whole_pages(room.min(LONGEST_CHAIN)));
    if most < LEAST {
        return Err(Failure::Limit(format!(
            "a node has only {} free: free memory there",
            size::show(free)
        )));
    }
    Ok(Sizes {
        bandwidth: bandwidth.min(most),
        latency: latency.min(longest),
        capped: bandwidth > most || latency > longest,
    })
}

fn whole_pages(bytes: u64) -> u64 {
    bytes - bytes % LEAST
}

/// Bytes of each thread's part, in whole pages.
pub fn part(bytes: u64, threads: usize) -> u64 {
    bytes
        .div_ceil(threads.max(1) as u64)
        .next_multiple_of(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CACHE: Cache = Cache {
        of_node: 64 << 20,
        largest: 16 << 20,
    };

    #[test]
    fn four_times_the_cache() {
        let sizes = sizes(Some(CACHE), 64 << 30, None).unwrap();
        assert_eq!((sizes.bandwidth, sizes.latency), (256 << 20, 64 << 20));
        assert!(!sizes.capped);
    }

    #[test]
    fn no_more_than_is_free() {
        let few = sizes(Some(CACHE), 400 << 20, None).unwrap();
        assert_eq!((few.bandwidth, few.latency), (150 << 20, 64 << 20));
        assert!(few.capped);
        assert!(sizes(Some(CACHE), 8 << 10, None).is_err());
        assert!(sizes(Some(CACHE), 0, None).is_err());
    }

    #[test]
    fn what_was_asked_for_or_why_not() {
        let asked = sizes(Some(CACHE), 400 << 20, Some(1 << 20)).unwrap();
        assert_eq!((asked.bandwidth, asked.latency), (1 << 20, 1 << 20));
        assert!(!asked.capped);
        let said = sizes(Some(CACHE), 400 << 20, Some(1 << 30)).unwrap_err();
        assert_eq!(said.code(), 3);
        let said = said.to_string();
        assert!(said.contains("--size 204800K or less"), "{said}");
        assert!(sizes(None, u64::MAX, Some(u64::MAX)).is_err());
        assert_eq!(sizes(None, 1 << 30, Some(4095)).unwrap_err().code(), 2);
    }

    #[test]
    fn unknown_caches() {
        assert_eq!(sizes(None, 8 << 30, None).unwrap().latency, 128 << 20);
    }

    proptest! {
        #[test]
        fn parts_are_all_of_it(bytes in 4096u64..1 << 40, threads in 1usize..1024) {
            let part = part(bytes, threads);
            prop_assert_eq!(part % LEAST, 0);
            prop_assert!(part * threads as u64 >= bytes);
            prop_assert!((part - LEAST) * (threads as u64) < bytes);
        }

        #[test]
        fn two_fit(free in 12u64 << 10..1 << 40, cache in 1u64 << 10..1 << 32) {
            let cache = Cache { of_node: cache, largest: cache };
            let sizes = sizes(Some(cache), free, None).unwrap();
            prop_assert!(sizes.bandwidth * 2 <= free && sizes.latency <= free);
        }
    }
}
