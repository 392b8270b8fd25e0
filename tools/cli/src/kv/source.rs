// SPDX-License-Identifier: GPL-2.0
//! The safetensors file to send.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    ops::Range,
    path::Path,
};

use memmap2::Mmap;
use safetensors::SafeTensors;

use super::layers::layer_of;
use super::layout::Layout;
use super::manifest::{Manifest, Tensor};
use super::wire::{Hello, MAX_TENSORS};
use crate::failure::Failure;

/// A file and what its transfer will consist of.
pub struct Source {
    file: Mmap,
    places: HashMap<String, Range<usize>>,
    /// What it holds, in the order of the payload.
    pub manifest: Manifest,
    /// The manifest as it travels.
    pub json: Vec<u8>,
    /// Where its layers and chunks are.
    pub layout: Layout,
    /// What the sender announces.
    pub hello: Hello,
}

impl Source {
    /// Reads the file's header and the CRCs of its tensors.
    pub fn open(path: &Path, chunk: u32) -> Result<Self, Failure> {
        let error = |why: String| Failure::file(path, why);
        let file = File::open(path).map_err(|e| error(e.to_string()))?;
        if !file.metadata().is_ok_and(|m| m.is_file()) {
            return Err(error("not a regular file".to_owned()));
        }
        // SAFETY: the mapping is private and only read. Whoever changes the file
        // meanwhile changes what is sent, which the CRCs show at the receiver.
        let file = unsafe { Mmap::map(&file) }.map_err(|e| error(e.to_string()))?;
        let not = |e| error(format!("not a safetensors file: {e}"));
        let (header, info) = SafeTensors::read_metadata(&file).map_err(not)?;
        let data = header + 8;

        let mut tensors = Vec::new();
        let mut places = HashMap::new();
        let mut infos: Vec<_> = info.tensors().into_iter().collect();
        infos.sort_by_key(|(name, info)| (info.data_offsets, name.clone()));
        for (name, info) in infos {
            let place = data + info.data_offsets.0..data + info.data_offsets.1;
            let bytes = file.get(place.clone()).unwrap_or_default();
            tensors.push(Tensor {
                name: name.clone(),
                dtype: info.dtype,
                shape: info.shape.clone(),
                offset: 0,
                length: bytes.len() as u64,
                layer: layer_of(&name),
                crc32: crc32fast::hash(bytes),
            });
            places.insert(name, place);
        }
        if tensors.is_empty() || tensors.len() > MAX_TENSORS as usize {
            let count = tensors.len();
            return Err(error(format!(
                "has {count} tensors: one to {MAX_TENSORS} can be sent"
            )));
        }
        let metadata = info.metadata().as_ref();
        let metadata = metadata.map(|m| m.clone().into_iter().collect::<BTreeMap<_, _>>());
        let manifest = Manifest::new(metadata, tensors);
        manifest.check().map_err(|e| error(e.to_string()))?;
        let json = manifest.encode().map_err(|e| error(e.to_string()))?;
        let layout = Layout::new(&manifest, chunk);
        let hello = Hello {
            payload: manifest.payload(),
            manifest: u32::try_from(json.len()).unwrap_or(u32::MAX),
            chunk,
            tensors: manifest.tensors.len() as u32,
            chunks: u32::try_from(layout.chunks()).unwrap_or(u32::MAX),
        };
        hello.check().map_err(|e| {
            error(format!(
                "cannot be sent in chunks of {chunk} bytes: {e}; choose another --chunk"
            ))
        })?;
        Ok(Source {
            file,
            places,
            manifest,
            json,
            layout,
            hello,
        })
    }

    /// Every tensor's place in the payload and its bytes.
    pub fn tensors(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.manifest.tensors.iter().map(|t| {
            let place = self.places.get(&t.name).cloned().unwrap_or_default();
            (t.offset, self.file.get(place).unwrap_or_default())
        })
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
