// SPDX-License-Identifier: GPL-2.0
//! The KV cache, and its file.
//!
//! A safetensors file with `model.layers.N.k` and `model.layers.N.v`, each F32
//! of shape [positions, KV heads, head dimensions], and one metadata entry
//! `kvdemo` that holds [`State`] as JSON: one entry only, since the order of
//! several is not defined and equal caches shall be equal files.

use std::{collections::HashMap, fs, path::Path};

use anyhow::{ensure, Context, Result};
use safetensors::tensor::{serialize, Dtype, TensorView};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use crate::model::{BOS, HEAD_DIM, KV_HEADS, KV_WIDTH, LAYERS};

const METADATA: &str = "kvdemo";
const VERSION: u32 = 1;

/// Keys and values of all positions so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Cache {
    /// Positions.
    pub positions: usize,
    /// Keys by layer.
    pub keys: Vec<Vec<f32>>,
    /// Values by layer.
    pub values: Vec<Vec<f32>>,
}

/// What decoding needs besides the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Version of this format.
    pub version: u32,
    /// Seed of the weights.
    pub seed: u64,
    /// Positions in the cache.
    pub positions: usize,
    /// The prompt's last token, which is not in the cache yet.
    pub next: u32,
}

impl State {
    /// The state after a prefill.
    pub fn new(seed: u64, positions: usize, next: u32) -> Self {
        State {
            version: VERSION,
            seed,
            positions,
            next,
        }
    }
}

impl Cache {
    /// An empty one, with room.
    pub fn new(positions: usize) -> Self {
        let layer = |_| Vec::with_capacity(positions * KV_WIDTH);
        let layers = || (0..LAYERS).map(layer).collect();
        Cache {
            positions: 0,
            keys: layers(),
            values: layers(),
        }
    }

    /// As the bytes of a safetensors file.
    pub fn to_bytes(&self, state: &State) -> Result<Vec<u8>> {
        let bytes = |v: &Vec<f32>| v.iter().flat_map(|f| f.to_le_bytes()).collect::<Vec<u8>>();
        let kinds = [("k", &self.keys), ("v", &self.values)];
        let tensors: Vec<(String, Vec<u8>)> = kinds
            .iter()
            .flat_map(|(kind, layers)| {
                let name = move |i| format!("model.layers.{i}.{kind}");
                let named = layers.iter().enumerate();
                named.map(move |(i, layer)| (name(i), bytes(layer)))
            })
            .collect();
        let shape = vec![self.positions, KV_HEADS, HEAD_DIM];
        let views = tensors
            .iter()
            .map(|(name, data)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), data)?)))
            .collect::<Result<Vec<_>>>()?;
        let metadata = HashMap::from([(METADATA.to_owned(), serde_json::to_string(state)?)]);
        Ok(serialize(views, Some(metadata))?)
    }

    /// Reads what [`Cache::to_bytes`] made.
    pub fn from_bytes(bytes: &[u8]) -> Result<(Self, State)> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let state: State = header
            .metadata()
            .as_ref()
            .and_then(|m| m.get(METADATA))
            .context("no `kvdemo` in its metadata: was it made by `kvdemo prefill`?")
            .and_then(|s| serde_json::from_str(s).context("bad `kvdemo` in its metadata"))?;
        ensure!(
            state.version == VERSION,
            "version {} is not {VERSION}",
            state.version
        );
        ensure!(state.next <= BOS, "token {} does not exist", state.next);

        let tensors = SafeTensors::deserialize(bytes)?;
        let shape = [state.positions, KV_HEADS, HEAD_DIM];
        let read = |kind: &str| {
            (0..LAYERS)
                .map(|i| {
                    let name = format!("model.layers.{i}.{kind}");
                    let view = tensors.tensor(&name)?;
                    ensure!(
                        view.dtype() == Dtype::F32 && view.shape() == shape,
                        "{name} is {:?} {:?} instead of F32 {shape:?}",
                        view.dtype(),
                        view.shape()
                    );
                    let floats = view.data().chunks_exact(4);
                    Ok(floats
                        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                        .collect())
                })
                .collect::<Result<Vec<Vec<f32>>>>()
        };
        let cache = Cache {
            positions: state.positions,
            keys: read("k")?,
            values: read("v")?,
        };
        Ok((cache, state))
    }

    /// Writes the file.
    pub fn save(&self, state: &State, path: &Path) -> Result<()> {
        fs::write(path, self.to_bytes(state)?)
            .with_context(|| format!("cannot write the cache {}", path.display()))
    }

    /// Reads the file.
    pub fn load(path: &Path) -> Result<(Self, State)> {
        let bytes =
            fs::read(path).with_context(|| format!("cannot read the cache {}", path.display()))?;
        Self::from_bytes(&bytes).with_context(|| format!("{} is not usable", path.display()))
    }
}
