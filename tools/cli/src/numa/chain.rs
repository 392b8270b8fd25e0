// SPDX-License-Identifier: GPL-2.0
//! A chain through all lines in random order, so that no prefetcher knows the next one.

/// Of each line the one that comes after it: a random permutation that is one single cycle
/// (Sattolo), the same for the same number of lines.
pub fn cycle(lines: u32) -> Vec<u32> {
    let mut next: Vec<u32> = (0..lines).collect();
    let mut state = 0u64;
    for i in (1..next.len()).rev() {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // Below i, not i itself: that is what makes it one cycle.
        let other = (u128::from(z ^ (z >> 31)) * i as u128) >> 64;
        next.swap(i, other as usize);
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How many lines there are from line 0 until it comes again.
    fn round(next: &[u32]) -> usize {
        let (mut at, mut steps) = (0, 0);
        loop {
            at = next[at as usize];
            steps += 1;
            if at == 0 || steps > next.len() {
                return steps;
            }
        }
    }

    #[test]
    fn small_ones() {
        assert!(cycle(0).is_empty());
        assert_eq!(cycle(1), [0]);
        assert_eq!(cycle(2), [1, 0]);
    }

    #[test]
    fn neighbours_are_rare() {
        let next = cycle(1 << 16);
        let near = next
            .iter()
            .enumerate()
            .filter(|(i, &next)| next as usize == i + 1);
        assert!(near.count() < 16);
    }

    proptest! {
        #[test]
        fn one_cycle(lines in 1u32..5000) {
            prop_assert_eq!(round(&cycle(lines)), lines as usize);
        }
    }
}
