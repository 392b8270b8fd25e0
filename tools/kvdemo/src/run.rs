// SPDX-License-Identifier: GPL-2.0
//! Prefill and decode: the two halves of a generation, and the whole.

use serde::Serialize;

use crate::cache::{Cache, State};
use crate::model::{Model, BOS};

/// What was generated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Output {
    /// Token numbers.
    pub tokens: Vec<u32>,
    /// CRC-32 over the bits of every score of every step: equal only if all
    /// arithmetic was, not just the winners.
    pub scores_crc32: String,
}

/// Begin-of-text and the prompt's first `max` bytes, as tokens.
pub fn tokenize(prompt: &[u8], max: usize) -> Vec<u32> {
    let bytes = prompt.iter().take(max).map(|&b| u32::from(b));
    std::iter::once(BOS).chain(bytes).collect()
}

/// Fills a cache with all tokens but the last, which the state keeps.
pub fn prefill(seed: u64, tokens: &[u32], mut progress: impl FnMut(usize)) -> (Cache, State) {
    let (&next, before) = tokens.split_last().unwrap_or((&BOS, &[]));
    let model = Model::new(seed, before.len());
    let mut cache = Cache::new(before.len());
    for (i, &token) in before.iter().enumerate() {
        model.absorb(token, &mut cache);
        progress(i + 1);
    }
    (cache, State::new(seed, before.len(), next))
}

/// Generates `count` tokens, each the one with the highest score.
pub fn decode(mut cache: Cache, state: &State, count: usize) -> Output {
    let model = Model::new(state.seed, cache.positions + count);
    let mut crc = crc32fast::Hasher::new();
    let mut token = state.next;
    let mut tokens = Vec::with_capacity(count);
    for _ in 0..count {
        let scores = model.forward(token, &mut cache);
        for score in &scores {
            crc.update(&score.to_bits().to_le_bytes());
        }
        let best = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        token = best.map_or(BOS, |(i, _)| i as u32);
        tokens.push(token);
    }
    Output {
        tokens,
        scores_crc32: format!("{:08x}", crc.finalize()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const SEED: u64 = 1;
    const TEXT: &[u8] = b"The kernel owns the buffers that move between hosts: it places \
        them, counts what arrives, and ends every lease before the memory is used again. \
        A cache that was computed here is read there, chunk by chunk and layer by layer.";

    fn filled(bytes: usize) -> (Cache, State) {
        prefill(SEED, &tokenize(TEXT, bytes), |_| {})
    }

    #[test]
    fn divided_equals_undivided() {
        let (cache, state) = filled(150);
        let whole = decode(cache.clone(), &state, 24);
        let bytes = cache.to_bytes(&state).unwrap();
        let (cache, state) = Cache::from_bytes(&bytes).unwrap();
        assert_eq!(decode(cache, &state, 24), whole);
    }

    #[test]
    fn equal_caches_are_equal_files() {
        let (cache, state) = filled(20);
        let (again, _) = filled(20);
        assert_eq!(
            cache.to_bytes(&state).unwrap(),
            again.to_bytes(&state).unwrap()
        );
    }

    #[test]
    fn one_path_for_absorbing_and_for_generating() {
        let tokens = tokenize(TEXT, 30);
        let (cache, _) = filled(30);
        let model = Model::new(SEED, tokens.len());
        let mut by_forward = Cache::new(0);
        for &token in &tokens[..tokens.len() - 1] {
            model.forward(token, &mut by_forward);
        }
        assert_eq!(by_forward, cache);
    }

    #[test]
    fn tokens_vary_with_position_and_prompt() {
        let (cache, state) = filled(200);
        let output = decode(cache, &state, 32);
        let different: HashSet<_> = output.tokens.iter().collect();
        assert!(different.len() >= 12, "{:?}", output.tokens);
        let (cache, state) = filled(199);
        assert_ne!(decode(cache, &state, 32).tokens, output.tokens);
    }

    #[test]
    fn flipped_bytes_change_the_tokens() {
        let (cache, state) = filled(150);
        let whole = decode(cache.clone(), &state, 24);
        let good = cache.to_bytes(&state).unwrap();
        let data = good.len() - 16 * 150 * 128 * 4;
        for part in 0..8 {
            // A run of flipped bytes in each eighth, as a lost chunk would leave.
            let mut bad = good.clone();
            let start = data + (good.len() - data) / 8 * part;
            bad[start..start + 8192].iter_mut().for_each(|b| *b ^= 0x5a);
            let (cache, state) = Cache::from_bytes(&bad).unwrap();
            let output = decode(cache, &state, 24);
            assert_ne!(output.tokens, whole.tokens, "eighth {part}");
        }
    }

    #[test]
    fn one_flipped_bit_changes_the_scores() {
        let (cache, state) = filled(100);
        let whole = decode(cache.clone(), &state, 4);
        for layer in 0..8 {
            let mut bad = cache.clone();
            let value = &mut bad.values[layer][50 * 128 + 7];
            *value = f32::from_bits(value.to_bits() ^ (1 << 22));
            let output = decode(bad, &state, 4);
            assert_ne!(output.scores_crc32, whole.scores_crc32, "layer {layer}");
        }
    }

    #[test]
    fn unusable_files_are_refused() {
        let (cache, state) = filled(5);
        let good = cache.to_bytes(&state).unwrap();
        assert!(Cache::from_bytes(&good[..good.len() - 1]).is_err());
        assert!(Cache::from_bytes(&[]).is_err());
        let wrong = State {
            positions: 4,
            ..state
        };
        assert!(Cache::from_bytes(&cache.to_bytes(&wrong).unwrap()).is_err());
        let wrong = State {
            version: 2,
            ..state
        };
        assert!(Cache::from_bytes(&cache.to_bytes(&wrong).unwrap()).is_err());
    }

    /// The arithmetic is the same everywhere and stays so.
    #[test]
    fn known_answer() {
        let (cache, state) = prefill(SEED, &tokenize(b"dmaplane", 8), |_| {});
        let output = decode(cache, &state, 4);
        assert_eq!(output.scores_crc32, "0a47451c");
    }
}
