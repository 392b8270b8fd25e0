// SPDX-License-Identifier: GPL-2.0

//! Decisions that a seed determines, and a digest of all that was decided and done.
//!
//! Plain data; the fabric owns both.

/// Numbers that a seed determines: SplitMix64.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 if that is 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        let high = self.next() >> 32;
        (high.wrapping_mul(n as u64) >> 32) as usize
    }

    /// Whether something happens that does so in one of so many of a thousand cases.
    pub(super) fn happens(&mut self, permille: u32) -> bool {
        permille > 0 && self.below(1000) < permille as usize
    }
}

/// A digest of what happened, in order: FNV-1a.
pub(super) struct Trace(u64);

impl Trace {
    pub(super) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(super) fn note(&mut self, what: &[u32]) {
        for byte in what.iter().flat_map(|word| word.to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    pub(super) fn digest(&self) -> u64 {
        self.0
    }
}
