// SPDX-License-Identifier: GPL-2.0

//! How properties are tested.

use proptest::test_runner::{Config, RngSeed};

/// A configuration that tests the same `cases` cases in every run. `PROPTEST_CASES` and
/// `PROPTEST_RNG_SEED` override it.
pub fn config(cases: u32) -> Config {
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(0x646d_6170);
    }
    config.failure_persistence = None;
    config
}
