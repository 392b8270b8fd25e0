// SPDX-License-Identifier: GPL-2.0
//! A Llama-like transformer: RMSNorm, rotary positions, grouped-query
//! attention, SwiGLU. Its weights are made from a seed, so it says nothing
//! sensible; what counts is that each token depends on all of the cache.
//!
//! Sizes are such that 512 positions make a cache of 4 MiB and cost about
//! 1.5 GFLOP, which an emulated CPU does in some tens of seconds.

use crate::cache::Cache;
use crate::math::{add_scaled, dot, exp, softmax, Rng, Rope};

/// Layers.
pub const LAYERS: usize = 8;
/// Width of the residual stream.
pub const WIDTH: usize = 64;
/// Query heads.
pub const HEADS: usize = 8;
/// Key and value heads, each shared by `HEADS / KV_HEADS` query heads.
pub const KV_HEADS: usize = 4;
/// Dimensions of a head.
pub const HEAD_DIM: usize = 32;
/// Floats that a position has in the keys (and the values) of one layer.
pub const KV_WIDTH: usize = KV_HEADS * HEAD_DIM;
/// One token for each byte.
pub const BYTES: usize = 256;
/// The token that begins a text.
pub const BOS: u32 = 256;

const Q_WIDTH: usize = HEADS * HEAD_DIM;
const HIDDEN: usize = 128;
const TOKENS: usize = BYTES + 1;

/// A matrix by rows.
struct Matrix {
    columns: usize,
    values: Vec<f32>,
}

impl Matrix {
    /// Uniform values such that a product with a vector of unit entries has
    /// entries of about `gain`.
    fn random(rng: &mut Rng, rows: usize, columns: usize, gain: f32) -> Self {
        let scale = gain * (3.0 / columns as f32).sqrt();
        let values = (0..rows * columns).map(|_| rng.symmetric() * scale);
        Matrix {
            columns,
            values: values.collect(),
        }
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.columns..][..self.columns]
    }

    fn times(&self, x: &[f32]) -> Vec<f32> {
        let rows = self.values.chunks_exact(self.columns);
        rows.map(|row| dot(row, x)).collect()
    }
}

struct Layer {
    query: Matrix,
    key: Matrix,
    value: Matrix,
    output: Matrix,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
}

/// The weights, and the positions they have been prepared for.
pub struct Model {
    embedding: Matrix,
    layers: Vec<Layer>,
    head: Matrix,
    rope: Rope,
}

impl Model {
    /// The model of this seed, for texts of up to `positions` tokens.
    pub fn new(seed: u64, positions: usize) -> Self {
        let mut rng = Rng::new(seed);
        let mut matrix = |rows, columns, gain: f32| Matrix::random(&mut rng, rows, columns, gain);
        // An embedding's row is a vector, not a factor: undo the scaling.
        let embedding = matrix(TOKENS, WIDTH, (WIDTH as f32).sqrt());
        let layers = (0..LAYERS)
            .map(|_| Layer {
                query: matrix(Q_WIDTH, WIDTH, 2.0), // sharper attention
                key: matrix(KV_WIDTH, WIDTH, 1.0),
                value: matrix(KV_WIDTH, WIDTH, 1.0),
                output: matrix(WIDTH, Q_WIDTH, 1.0),
                gate: matrix(HIDDEN, WIDTH, 1.0),
                up: matrix(HIDDEN, WIDTH, 1.0),
                down: matrix(WIDTH, HIDDEN, 1.0),
            })
            .collect();
        Model {
            embedding,
            layers,
            head: matrix(BYTES, WIDTH, 1.0),
            rope: Rope::new(positions, HEAD_DIM),
        }
    }

    /// Appends the keys and values of `token` to the cache, and no more: what
    /// prefill does with all but the last token.
    pub fn absorb(&self, token: u32, cache: &mut Cache) {
        let mut x = self.embed(token);
        for (i, layer) in self.layers.iter().enumerate() {
            let normed = norm(&x);
            let query = self.remember(layer, i, &normed, cache);
            if i + 1 < LAYERS {
                layer.rest(&mut x, &query, i, cache);
            }
        }
        cache.positions += 1;
    }

    /// Appends `token` to the cache; returns the scores of the next one.
    pub fn forward(&self, token: u32, cache: &mut Cache) -> Vec<f32> {
        let mut x = self.embed(token);
        for (i, layer) in self.layers.iter().enumerate() {
            let normed = norm(&x);
            let query = self.remember(layer, i, &normed, cache);
            layer.rest(&mut x, &query, i, cache);
        }
        cache.positions += 1;
        self.head.times(&norm(&x))
    }

    fn embed(&self, token: u32) -> Vec<f32> {
        self.embedding.row(token as usize % TOKENS).to_vec()
    }

    /// Appends key and value; returns the query.
    fn remember(&self, layer: &Layer, i: usize, x: &[f32], cache: &mut Cache) -> Vec<f32> {
        let position = cache.positions;
        let (mut query, mut key) = (layer.query.times(x), layer.key.times(x));
        self.rope.apply(&mut query, position);
        self.rope.apply(&mut key, position);
        cache.keys[i].extend_from_slice(&key);
        cache.values[i].extend_from_slice(&layer.value.times(x));
        query
    }
}

impl Layer {
    /// Attention over the cache, then the feed-forward part.
    fn rest(&self, x: &mut [f32], query: &[f32], i: usize, cache: &Cache) {
        let attended = attend(query, &cache.keys[i], &cache.values[i]);
        add_scaled(x, 1.0, &self.output.times(&attended));

        let normed = norm(x);
        let mut hidden = self.gate.times(&normed);
        for (h, u) in hidden.iter_mut().zip(self.up.times(&normed)) {
            *h = *h / (1.0 + exp(-*h)) * u;
        }
        add_scaled(x, 1.0, &self.down.times(&hidden));
    }
}

fn attend(query: &[f32], keys: &[f32], values: &[f32]) -> Vec<f32> {
    let scale = 1.0 / (HEAD_DIM as f32).sqrt();
    let mut out = vec![0.0; Q_WIDTH];
    let mut scores = Vec::with_capacity(keys.len() / KV_WIDTH);
    let heads = query
        .chunks_exact(HEAD_DIM)
        .zip(out.chunks_exact_mut(HEAD_DIM));
    for (head, (query, out)) in heads.enumerate() {
        let at = head / (HEADS / KV_HEADS) * HEAD_DIM;
        scores.clear();
        scores.extend(
            keys.chunks_exact(KV_WIDTH)
                .map(|key| dot(query, &key[at..at + HEAD_DIM]) * scale),
        );
        softmax(&mut scores);
        for (&score, value) in scores.iter().zip(values.chunks_exact(KV_WIDTH)) {
            add_scaled(out, score, &value[at..at + HEAD_DIM]);
        }
    }
    out
}

fn norm(x: &[f32]) -> Vec<f32> {
    let scale = 1.0 / (dot(x, x) / x.len() as f32 + 1e-6).sqrt();
    x.iter().map(|v| v * scale).collect()
}
