// SPDX-License-Identifier: GPL-2.0
//! Where everything lies: the areas of the buffer, layers in the payload,
//! chunks in the layers.

use super::manifest::Manifest;
use super::wire::{Hello, Trailer};

const PAGE: u64 = 4096;

/// The areas of both sides' buffers: manifest, payload, trailer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Areas {
    /// Where the payload begins.
    pub payload: u64,
    /// Where the trailer begins.
    pub trailer: u64,
    /// Bytes in all.
    pub total: u64,
}

impl Areas {
    /// For a hello that was checked, hence without overflow.
    pub fn new(hello: &Hello) -> Self {
        let payload = u64::from(hello.manifest).next_multiple_of(PAGE);
        let trailer = (payload + hello.payload).next_multiple_of(64);
        Areas {
            payload,
            trailer,
            total: trailer + Trailer::LEN as u64,
        }
    }
}

/// A piece of the manifest or of the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins.
    pub offset: u64,
    /// Its bytes.
    pub length: u32,
}

/// The `index`th piece of `length` bytes in pieces of `chunk`.
fn piece(length: u64, chunk: u32, index: u32) -> Option<Piece> {
    let offset = u64::from(index) * u64::from(chunk);
    let left = length.checked_sub(offset).filter(|&left| left > 0)?;
    Some(Piece {
        offset,
        length: left.min(chunk.into()) as u32,
    })
}

/// The pieces of the manifest.
pub fn manifest_pieces(hello: &Hello) -> u32 {
    hello.manifest.div_ceil(hello.chunk)
}

/// A piece of the manifest.
pub fn manifest_piece(hello: &Hello, index: u32) -> Option<Piece> {
    piece(hello.manifest.into(), hello.chunk, index)
}

/// A layer in the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its number; none for the tensors without a layer.
    pub number: Option<u32>,
    /// Where it begins in the payload.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
    /// Its tensors in the manifest.
    pub tensors: std::ops::Range<usize>,
    /// Its first chunk.
    pub first_chunk: u64,
    /// Its chunks.
    pub chunks: u64,
}

/// All layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// In the order of the payload.
    pub layers: Vec<Layer>,
    chunk: u32,
}

impl Layout {
    /// The layout of a manifest that was checked, in chunks of `chunk` bytes.
    pub fn new(manifest: &Manifest, chunk: u32) -> Self {
        let mut layers: Vec<Layer> = Vec::new();
        for (i, tensor) in manifest.tensors.iter().enumerate() {
            let end = tensor.offset + tensor.length;
            match layers.last_mut() {
                Some(layer) if layer.number == tensor.layer => {
                    layer.length = end - layer.offset;
                    layer.tensors.end = i + 1;
                }
                _ => layers.push(Layer {
                    number: tensor.layer,
                    offset: tensor.offset,
                    length: tensor.length,
                    tensors: i..i + 1,
                    first_chunk: 0,
                    chunks: 0,
                }),
            }
        }
        let mut first = 0;
        for layer in &mut layers {
            layer.first_chunk = first;
            layer.chunks = layer.length.div_ceil(chunk.into());
            first += layer.chunks;
        }
        Layout { layers, chunk }
    }

    /// Chunks in all.
    pub fn chunks(&self) -> u64 {
        self.layers.last().map_or(0, |l| l.first_chunk + l.chunks)
    }

    /// Bytes that the chunks carry.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|l| l.length).sum()
    }

    /// Where chunk `index` lies in the payload, if there is one.
    pub fn chunk(&self, index: u32) -> Option<Piece> {
        let after = |l: &Layer| l.first_chunk + l.chunks <= u64::from(index);
        let layer = self.layers.get(self.layers.partition_point(after))?;
        let within = u32::try_from(u64::from(index) - layer.first_chunk).ok()?;
        let piece = piece(layer.length, self.chunk, within)?;
        Some(Piece {
            offset: layer.offset + piece.offset,
            ..piece
        })
    }
}

/// Bytes in the work request that carries the immediate of a write: all, unless
/// the write crosses a multiple of `segment` in the lease.
pub fn last_part(piece: Piece, segment: u64) -> u32 {
    if segment == 0 || piece.length == 0 {
        return piece.length;
    }
    let last = piece.offset + u64::from(piece.length) - 1;
    let begin = (last / segment * segment).max(piece.offset);
    (last - begin + 1) as u32
}

#[cfg(test)]
mod tests {
    use super::super::manifest::Tensor;
    use super::*;
    use proptest::prelude::*;
    use safetensors::Dtype;

    fn manifest(tensors: &[(Option<u32>, u64)]) -> Manifest {
        let tensors = tensors
            .iter()
            .enumerate()
            .map(|(i, &(layer, length))| Tensor {
                name: format!("t{i}"),
                dtype: Dtype::U8,
                shape: vec![length as usize],
                offset: 0,
                length,
                layer,
                crc32: 0,
            });
        Manifest::new(None, tensors.collect())
    }

    #[test]
    fn chunks_do_not_span_layers() {
        let manifest = manifest(&[(Some(0), 600), (Some(0), 500), (Some(1), 512), (None, 1)]);
        let layout = Layout::new(&manifest, 512);
        let chunks: Vec<u64> = layout.layers.iter().map(|l| l.chunks).collect();
        assert_eq!(chunks, [3, 1, 1]);
        let piece = |offset, length| Some(Piece { offset, length });
        assert_eq!(layout.chunk(0), piece(0, 512));
        assert_eq!(layout.chunk(2), piece(1024, 116));
        assert_eq!(layout.chunk(3), piece(1152, 512));
        assert_eq!(layout.chunk(4), piece(1664, 1));
        assert_eq!(layout.chunk(5), None);
        assert_eq!(layout.chunk(u32::MAX), None);
    }

    #[test]
    fn empty_layers_have_no_chunks() {
        let layout = Layout::new(&manifest(&[(Some(0), 0), (Some(1), 9), (None, 0)]), 512);
        assert_eq!((layout.chunks(), layout.bytes()), (1, 9));
        assert_eq!(layout.chunk(0).map(|p| p.length), Some(9));
        assert_eq!(layout.chunk(1), None);
    }

    #[test]
    fn last_parts() {
        let part = |offset, length, segment| last_part(Piece { offset, length }, segment);
        assert_eq!(part(0, 100, 0), 100);
        assert_eq!(part(0, 100, 100), 100);
        assert_eq!(part(50, 100, 100), 50);
        assert_eq!(part(50, 250, 100), 100);
        assert_eq!(part(50, 0, 100), 0);
        assert_eq!(part((1 << 60) - 1, 10, 1 << 40), 9);
    }

    proptest! {
        #[test]
        fn chunks_cover_each_layer_once(
            sizes in proptest::collection::vec((proptest::option::of(0u32..4), 0u64..3000), 1..12),
            chunk in 512u32..2000,
        ) {
            let manifest = manifest(&sizes);
            prop_assert!(manifest.check().is_ok());
            let layout = Layout::new(&manifest, chunk);
            let mut covered = vec![0u8; manifest.payload() as usize];
            for i in 0..layout.chunks() as u32 {
                let piece = layout.chunk(i).unwrap();
                prop_assert!(piece.length > 0 && piece.length <= chunk);
                let at = piece.offset as usize;
                covered[at..at + piece.length as usize].iter_mut().for_each(|n| *n += 1);
            }
            prop_assert!(covered.iter().all(|&n| n <= 1));
            for tensor in &manifest.tensors {
                let at = tensor.offset as usize;
                prop_assert!(covered[at..at + tensor.length as usize].iter().all(|&n| n == 1));
            }
            let hello = Hello {
                payload: manifest.payload(),
                manifest: 2,
                chunk,
                tensors: sizes.len() as u32,
                chunks: layout.chunks() as u32,
            };
            prop_assert_eq!(hello.check(), Ok(()));
        }
    }
}
