// SPDX-License-Identifier: GPL-2.0
//! Arithmetic with one result on every machine: only IEEE add, multiply, divide
//! and square root, in a fixed order. No libm, whose results depend on the CPU
//! that it finds.

/// A small generator of numbers (SplitMix64).
pub struct Rng(u64);

impl Rng {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in -1 ≤ x < 1.
    pub fn symmetric(&mut self) -> f32 {
        let bits = (self.next_u64() >> 40) as u32; // 24 bits are exact in f32
        bits as f32 / (1u32 << 23) as f32 - 1.0
    }
}

/// Sum of products, in eight lanes that are added in a fixed order.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut lanes = [0.0f32; LANES];
    let (a, a_rest) = a.split_at(a.len() / LANES * LANES);
    let (b, b_rest) = b.split_at(a.len().min(b.len()));
    for (x, y) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
        for i in 0..LANES {
            lanes[i] += x[i] * y[i];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h)) + rest
}

/// `out += scale * x`.
pub fn add_scaled(out: &mut [f32], scale: f32, x: &[f32]) {
    for (o, v) in out.iter_mut().zip(x) {
        *o += scale * v;
    }
}

/// e to the power of `x`, within some units in the last place; clamped where
/// f32 would overflow.
pub fn exp(x: f32) -> f32 {
    // ln 2 in two parts, so that n * LN2_HIGH is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let y = x * std::f32::consts::LOG2_E;
    let n = (if y < 0.0 { y - 0.5 } else { y + 0.5 }) as i32;
    let r = (x - n as f32 * LN2_HIGH) - n as f32 * LN2_LOW;
    let mut p = 1.0 / 720.0;
    for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = p * r + c;
    }
    p * f32::from_bits(((n + 127) as u32) << 23)
}

/// Turns scores into weights that sum to 1.
pub fn softmax(scores: &mut [f32]) {
    let max = scores.iter().copied().fold(f32::MIN, f32::max);
    let mut sum = 0.0;
    for s in scores.iter_mut() {
        *s = exp(*s - max);
        sum += *s;
    }
    for s in scores.iter_mut() {
        *s /= sum;
    }
}

/// Sine and cosine of 0 ≤ `x` ≤ 1 by their series.
fn sin_cos(x: f64) -> (f64, f64) {
    let (mut sin, mut cos, mut term) = (0.0, 0.0, 1.0);
    for n in 0..24 {
        match n % 4 {
            0 => cos += term,
            1 => sin += term,
            2 => cos -= term,
            _ => sin -= term,
        }
        term = term * x / f64::from(n + 1);
    }
    (sin, cos)
}

/// Rotary position embedding: sine and cosine for each position and pair of
/// dimensions, by repeated rotation.
pub struct Rope {
    pairs: usize,
    table: Vec<(f32, f32)>,
}

impl Rope {
    /// For `positions` positions and heads of `head_dim` dimensions.
    pub fn new(positions: usize, head_dim: usize) -> Self {
        // Each pair turns slower than the one before; 16 pairs span about 10^4.
        const SLOWER: f64 = 0.5625;
        let pairs = head_dim / 2;
        let mut table = vec![(0.0, 1.0); positions * pairs];
        let mut frequency = 1.0;
        for pair in 0..pairs {
            let (sin1, cos1) = sin_cos(frequency);
            let (mut sin, mut cos) = (0.0, 1.0);
            for position in 0..positions {
                table[position * pairs + pair] = (sin as f32, cos as f32);
                (sin, cos) = (sin * cos1 + cos * sin1, cos * cos1 - sin * sin1);
            }
            frequency *= SLOWER;
        }
        Rope { pairs, table }
    }

    /// Turns every head in `x` to `position`.
    pub fn apply(&self, x: &mut [f32], position: usize) {
        let row = &self.table[position * self.pairs..][..self.pairs];
        for head in x.chunks_exact_mut(2 * self.pairs) {
            let (low, high) = head.split_at_mut(self.pairs);
            for ((a, b), &(sin, cos)) in low.iter_mut().zip(high).zip(row) {
                (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close() {
        for i in -870..880 {
            let x = i as f32 / 10.0;
            let (ours, theirs) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((ours / theirs - 1.0).abs() < 2e-6, "exp({x}) = {ours}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e30) > 0.0 && exp(1e30).is_finite());
    }

    #[test]
    fn rope_keeps_lengths_and_matches_libm() {
        let rope = Rope::new(600, 32);
        let mut x: Vec<f32> = (0..64).map(|i| i as f32).collect();
        let before = dot(&x, &x);
        rope.apply(&mut x, 599);
        assert!((dot(&x, &x) / before - 1.0).abs() < 1e-5);
        let (sin, cos) = rope.table[599 * 16];
        assert!((f64::from(sin) - 599f64.sin()).abs() < 1e-6);
        assert!((f64::from(cos) - 599f64.cos()).abs() < 1e-6);
    }

    #[test]
    fn dot_takes_all() {
        let a: Vec<f32> = (0..19).map(|i| i as f32).collect();
        assert_eq!(dot(&a, &a), 2109.0);
    }

    #[test]
    fn generator_is_the_published_one() {
        assert_eq!(Rng::new(0).next_u64(), 0xe220_a839_7b1d_cdaf);
        let mut rng = Rng::new(1);
        assert!((0..1000).all(|_| (-1.0..1.0).contains(&rng.symmetric())));
    }
}
