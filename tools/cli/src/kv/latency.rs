// SPDX-License-Identifier: GPL-2.0
//! Latencies of chunks: from just before the ENTER that submits one until its
//! completion is reaped, by the sender's monotonic clock.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::failure::Failure;

/// Longer ones count as this long.
const LONGEST: Duration = Duration::from_secs(3600);

/// A histogram with three significant digits.
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// An empty one.
    pub fn new() -> Result<Self, Failure> {
        let histogram = Histogram::new_with_max(nanoseconds(LONGEST), 3);
        Ok(Latencies(
            histogram.map_err(|e| Failure::Limit(e.to_string()))?,
        ))
    }

    /// Counts one.
    pub fn add(&mut self, latency: Duration) {
        self.0.saturating_record(nanoseconds(latency));
    }

    /// Nanoseconds that this part of all did not exceed.
    pub fn quantile(&self, part: f64) -> u64 {
        self.0.value_at_quantile(part)
    }

    /// The longest, in nanoseconds.
    pub fn max(&self) -> u64 {
        self.0.max()
    }
}

/// A duration in nanoseconds, at most 584 years.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let mut latencies = Latencies::new().unwrap();
        assert_eq!((latencies.quantile(0.5), latencies.max()), (0, 0));
        for ms in 1..=100 {
            latencies.add(Duration::from_millis(ms));
        }
        let near = |ns: u64, ms: u64| (ns as f64 / (ms as f64 * 1e6) - 1.0).abs() < 2e-3;
        assert!(near(latencies.quantile(0.5), 50));
        assert!(near(latencies.quantile(0.99), 99));
        assert!(near(latencies.max(), 100));
        latencies.add(Duration::MAX);
        assert!(near(latencies.max(), 3_600_000));
    }
}
