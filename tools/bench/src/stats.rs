// SPDX-License-Identifier: GPL-2.0
//! Medians, and how sure they are.

/// The median; none of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The value below which a part of all values lies, linear between two of them.
pub fn quantile(values: &[f64], part: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = part * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    let weight = place - place.floor();
    Some(sorted[below] * (1.0 - weight) + sorted[above] * weight)
}

/// The interval that has the median of what the values were drawn from, with 95 %: the
/// percentile bootstrap, which draws again and again, first boots, then values of each, since those
/// of a boot have more in common with each other than with those of the next one. Always the same
/// for the same values. No boot is without any.
pub fn interval(boots: &[Vec<f64>]) -> Option<(f64, f64)> {
    const DRAWS: usize = 4000;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut drawn = vec![];
    let mut medians = Vec::with_capacity(DRAWS);
    for _ in 0..DRAWS {
        drawn.clear();
        for _ in boots {
            let boot = &boots[random.below(boots.len())];
            drawn.extend(boot.iter().map(|_| boot[random.below(boot.len())]));
        }
        medians.push(median(&drawn)?);
    }
    Some((quantile(&medians, 0.025)?, quantile(&medians, 0.975)?))
}

/// splitmix64
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0]), Some(5.0));
        assert_eq!(median(&[5.0, 1.0, 9.0]), Some(5.0));
        assert_eq!(quantile(&[0.0, 10.0], 0.95), Some(9.5));
    }

    #[test]
    fn intervals_shrink_with_the_spread() {
        assert_eq!(interval(&[]), None);
        assert_eq!(interval(&[vec![2.0; 20]]), Some((2.0, 2.0)));
        let wide: Vec<f64> = (0..20).map(f64::from).collect();
        let (low, high) = interval(&[wide]).unwrap();
        assert!(
            low < 9.5 && 9.5 < high && 3.0 < low && high < 16.0,
            "{low} {high}"
        );
    }

    #[test]
    fn an_interval_has_the_median_nineteen_times_of_twenty() {
        // Of a uniform distribution, whose median is known.
        let mut random = Random(1);
        let hits = (0..300).filter(|_| {
            let drawn: Vec<f64> = (0..21).map(|_| random.below(1 << 20) as f64).collect();
            let (low, high) = interval(&[drawn]).unwrap();
            (low..=high).contains(&f64::from(1 << 19))
        });
        let hits = hits.count();
        assert!((270..=300).contains(&hits), "{hits} of 300");
    }

    #[test]
    fn boots_that_differ_are_in_it() {
        let boots = [vec![1.0; 7], vec![1.1; 7], vec![1.2; 7]];
        assert_eq!(interval(&boots), Some((1.0, 1.2)));
    }

    proptest! {
        #[test]
        fn within_the_values(values in prop::collection::vec(-1e6f64..1e6, 1..30)) {
            let (low, high) = interval(&[values.clone()]).unwrap();
            let middle = median(&values).unwrap();
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let close = 1e-6;
            prop_assert!(least - close <= low && low <= middle + close);
            prop_assert!(middle - close <= high && high <= most + close);
        }
    }
}
