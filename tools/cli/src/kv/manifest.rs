// SPDX-License-Identifier: GPL-2.0
//! The manifest: what the payload consists of, as JSON.
//!
//! Tensors stand in the order of the payload: layer by layer, those without a
//! layer last, each at the first multiple of [`ALIGN`] after the one before.
//! Since that leaves no choice, a manifest whose tensors overlap or reach beyond
//! the payload cannot pass.

use std::collections::{BTreeMap, HashSet};

use safetensors::Dtype;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::wire::Hello;

/// Every tensor begins at a multiple of this.
pub const ALIGN: u64 = 64;
const VERSION: u32 = 1;

/// What is wrong with a manifest.
#[derive(Debug, Error)]
#[allow(missing_docs)] // each says it itself
pub enum Bad {
    #[error("the manifest is not readable: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the manifest has version {0}, this side knows {VERSION}")]
    Version(u32),
    #[error("the manifest lists {0} tensors instead of {1}")]
    Count(usize, u32),
    #[error("the manifest describes {0} bytes of payload instead of {1}")]
    Payload(u64, u64),
    #[error("tensor {0:?} appears twice, or has no usable name")]
    Name(String),
    #[error("tensor {0:?} has {1} bytes, which is not what its shape and type need")]
    Length(String, u64),
    #[error("tensor {0:?} lies at {1} instead of {2}")]
    Offset(String, u64, u64),
    #[error("tensor {0:?} is out of the order of layers")]
    Order(String),
}

/// A tensor in the payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// The type of its elements, as safetensors names it.
    pub dtype: Dtype,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Where it begins in the payload.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
    /// Its layer, if it has one.
    pub layer: Option<u32>,
    /// CRC-32 (as in zlib) of its bytes.
    pub crc32: u32,
}

impl Tensor {
    /// Bytes that shape and type need, if they can be counted.
    fn needs(&self) -> Option<u64> {
        let elements = self.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let bits = elements?.checked_mul(self.dtype.bitsize())?;
        (bits % 8 == 0).then_some(bits as u64 / 8)
    }

    /// By layer, those without one last.
    fn order(&self) -> (bool, Option<u32>) {
        (self.layer.is_none(), self.layer)
    }
}

/// What the payload consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    version: u32,
    /// `__metadata__` of the safetensors file.
    pub metadata: Option<BTreeMap<String, String>>,
    /// In the order of the payload.
    pub tensors: Vec<Tensor>,
}

impl Manifest {
    /// Orders `tensors` and gives each its place.
    pub fn new(metadata: Option<BTreeMap<String, String>>, mut tensors: Vec<Tensor>) -> Self {
        tensors.sort_by_key(Tensor::order); // stable: the file's order within a layer
        let mut end = 0u64;
        for tensor in &mut tensors {
            tensor.offset = end.next_multiple_of(ALIGN);
            end = tensor.offset + tensor.length;
        }
        Manifest {
            version: VERSION,
            metadata,
            tensors,
        }
    }

    /// Bytes of the payload.
    pub fn payload(&self) -> u64 {
        self.tensors.last().map_or(0, |t| t.offset + t.length)
    }

    /// As JSON.
    pub fn encode(&self) -> Result<Vec<u8>, Bad> {
        Ok(serde_json::to_vec(self)?)
    }

    /// From a peer that said `hello`.
    pub fn decode(json: &[u8], hello: &Hello) -> Result<Self, Bad> {
        let manifest: Manifest = serde_json::from_slice(json)?;
        if manifest.version != VERSION {
            return Err(Bad::Version(manifest.version));
        }
        manifest.check()?;
        if manifest.tensors.len() != hello.tensors as usize {
            return Err(Bad::Count(manifest.tensors.len(), hello.tensors));
        }
        if manifest.payload() != hello.payload {
            return Err(Bad::Payload(manifest.payload(), hello.payload));
        }
        Ok(manifest)
    }

    /// Whether it is as this side would have made it.
    pub fn check(&self) -> Result<(), Bad> {
        let mut names = HashSet::with_capacity(self.tensors.len());
        let mut order = None;
        let mut end = 0u64;
        for tensor in &self.tensors {
            let name = || tensor.name.clone();
            let usable = !tensor.name.is_empty() && tensor.name != "__metadata__";
            if !usable || !names.insert(&tensor.name) {
                return Err(Bad::Name(name()));
            }
            if tensor.needs() != Some(tensor.length) {
                return Err(Bad::Length(name(), tensor.length));
            }
            let place = end.checked_next_multiple_of(ALIGN);
            if place != Some(tensor.offset) {
                return Err(Bad::Offset(name(), tensor.offset, place.unwrap_or(end)));
            }
            end = tensor
                .offset
                .checked_add(tensor.length)
                .ok_or_else(|| Bad::Length(name(), tensor.length))?;
            if order.is_some_and(|before| tensor.order() < before) {
                return Err(Bad::Order(name()));
            }
            order = Some(tensor.order());
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
