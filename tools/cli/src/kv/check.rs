// SPDX-License-Identifier: GPL-2.0
//! Tensors as views over the received payload: their CRCs, and the file.

use std::{fs, path::Path};

use safetensors::tensor::{serialize_to_file, TensorView};

use super::manifest::{Manifest, Tensor};
use crate::failure::Failure;

/// The bytes of a tensor, in place. The manifest was checked against the
/// payload's length, and an empty slice stands for what could not be.
fn bytes<'a>(tensor: &Tensor, payload: &'a [u8]) -> &'a [u8] {
    let (at, length) = (tensor.offset as usize, tensor.length as usize);
    payload.get(at..at + length).unwrap_or_default()
}

/// CRC-32 of every tensor, in the manifest's order.
pub fn crcs(manifest: &Manifest, payload: &[u8]) -> Vec<u32> {
    let tensors = manifest.tensors.iter();
    tensors
        .map(|t| crc32fast::hash(bytes(t, payload)))
        .collect()
}

/// Writes the tensors as a safetensors file. The file appears when it is
/// complete, in place of one of that name.
pub fn write(manifest: &Manifest, payload: &[u8], path: &Path) -> Result<(), Failure> {
    let views = manifest
        .tensors
        .iter()
        .map(|t| {
            let view = TensorView::new(t.dtype, t.shape.clone(), bytes(t, payload));
            Ok((&t.name, view.map_err(|e| Failure::file(path, e))?))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let metadata = manifest.metadata.clone().map(|m| m.into_iter().collect());

    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    serialize_to_file(views, metadata, part)
        .map_err(|e| Failure::file(part, e))
        .and_then(|()| fs::rename(part, path).map_err(|e| Failure::file(path, e)))
        .inspect_err(|_| {
            // Already failing: what is left of the file is of no use.
            let _ = fs::remove_file(part);
        })
}
