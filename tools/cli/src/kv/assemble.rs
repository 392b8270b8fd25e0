// SPDX-License-Identifier: GPL-2.0
//! The receiver's account of what arrived. It knows no device: immediates go
//! in, and it says what they mean or how the sender broke the protocol.

use thiserror::Error;

use super::layout::{last_part, manifest_piece, manifest_pieces, Areas, Layout, Piece};
use super::manifest::{self, Manifest};
use super::wire::{self, Hello, Imm, Trailer};

/// How a sender broke the protocol.
#[derive(Debug, Error)]
#[allow(missing_docs)] // each says it itself
pub enum Violation {
    #[error("{0}")]
    Wire(#[from] wire::Bad),
    #[error("{0}")]
    Manifest(#[from] manifest::Bad),
    #[error("the layers make {0} chunks instead of the {1} announced")]
    Chunks(u64, u32),
    #[error("{0} {1} arrived twice")]
    Duplicate(&'static str, u32),
    #[error("{0} {1} is out of range, there are {2}")]
    OutOfRange(&'static str, u32, u32),
    #[error("{0} {1} arrived with {2} bytes instead of {3}")]
    Length(&'static str, u32, u32, u32),
    #[error("{0} arrived before {1}")]
    Early(&'static str, &'static str),
    #[error("{count} of {of} chunks did not arrive: {first}")]
    Missing { count: u32, of: u32, first: String },
    #[error("a verdict arrived at the receiver")]
    Verdict,
}

/// Which of some numbered things have been seen.
#[derive(Debug)]
struct Seen {
    what: &'static str,
    words: Vec<u64>,
    len: u32,
    count: u32,
}

impl Seen {
    fn new(what: &'static str, len: u32) -> Self {
        Seen {
            what,
            words: vec![0; len.div_ceil(64) as usize],
            len,
            count: 0,
        }
    }

    fn add(&mut self, index: u32) -> Result<(), Violation> {
        if index >= self.len {
            return Err(Violation::OutOfRange(self.what, index, self.len));
        }
        let (word, bit) = (&mut self.words[index as usize / 64], 1 << (index % 64));
        if *word & bit != 0 {
            return Err(Violation::Duplicate(self.what, index));
        }
        *word |= bit;
        self.count += 1;
        Ok(())
    }

    fn all(&self) -> bool {
        self.count == self.len
    }

    /// The missing ones as ranges, the first few of them.
    fn missing(&self) -> String {
        const SHOWN: usize = 6;
        let seen = |i: u32| (self.words[i as usize / 64] >> (i % 64)) & 1 == 1;
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for i in (0..self.len).filter(|&i| !seen(i)) {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == i => *last = i,
                _ => ranges.push((i, i)),
            }
            if ranges.len() > SHOWN {
                break;
            }
        }
        let shown = ranges.iter().take(SHOWN).map(|&(a, b)| match a == b {
            true => a.to_string(),
            false => format!("{a}-{b}"),
        });
        let more = if ranges.len() > SHOWN { ", …" } else { "" };
        shown.collect::<Vec<_>>().join(", ") + more
    }
}

/// What a message meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A piece of the manifest, not the last.
    Piece,
    /// The manifest is complete.
    Manifest,
    /// A chunk of this many bytes.
    Chunk(u32),
    /// All has arrived.
    End(Trailer),
}

/// A transfer on its way in.
#[derive(Debug)]
pub struct Assembler {
    hello: Hello,
    areas: Areas,
    segment: u64,
    pieces: Seen,
    chunks: Seen,
    parsed: Option<(Manifest, Layout)>,
}

impl Assembler {
    /// For a sender that said `hello`, over memory keys of `segment` bytes.
    pub fn new(hello: Hello, segment: u64) -> Self {
        Assembler {
            hello,
            areas: Areas::new(&hello),
            segment,
            pieces: Seen::new("manifest piece", manifest_pieces(&hello)),
            chunks: Seen::new("chunk", hello.chunks),
            parsed: None,
        }
    }

    /// A message with this immediate arrived, `length` bytes in its last work
    /// request; `read` copies from the buffer.
    pub fn message(
        &mut self,
        imm: u32,
        length: u32,
        read: impl Fn(u64, &mut [u8]),
    ) -> Result<Event, Violation> {
        match Imm::unpack(imm)? {
            Imm::Manifest(index) => {
                self.pieces.add(index)?;
                let piece = manifest_piece(&self.hello, index);
                self.check(self.pieces.what, index, piece, 0, length)?;
                if !self.pieces.all() {
                    return Ok(Event::Piece);
                }
                // A copy: the sender could still write to the original.
                let mut json = vec![0; self.hello.manifest as usize];
                read(0, &mut json);
                self.parse(&json)?;
                Ok(Event::Manifest)
            }
            Imm::Chunk(index) => {
                let Some((_, layout)) = &self.parsed else {
                    return Err(Violation::Early("a chunk", "the manifest"));
                };
                let piece = layout.chunk(index);
                self.chunks.add(index)?;
                self.check(self.chunks.what, index, piece, self.areas.payload, length)?;
                Ok(Event::Chunk(piece.map_or(0, |p| p.length)))
            }
            Imm::End(count) => {
                if self.parsed.is_none() {
                    return Err(Violation::Early("the end", "the manifest"));
                }
                if count != self.hello.chunks {
                    return Err(wire::Bad::Differs("chunks").into());
                }
                if !self.chunks.all() {
                    return Err(Violation::Missing {
                        count: self.chunks.len - self.chunks.count,
                        of: self.chunks.len,
                        first: self.chunks.missing(),
                    });
                }
                let piece = Piece {
                    offset: 0,
                    length: Trailer::LEN as u32,
                };
                self.check("trailer", 0, Some(piece), self.areas.trailer, length)?;
                let mut bytes = [0; Trailer::LEN];
                read(self.areas.trailer, &mut bytes);
                Ok(Event::End(Trailer::decode(&bytes, &self.hello)?))
            }
            Imm::Verdict(_) => Err(Violation::Verdict),
        }
    }

    fn check(
        &self,
        what: &'static str,
        index: u32,
        piece: Option<Piece>,
        area: u64,
        length: u32,
    ) -> Result<(), Violation> {
        let piece = piece.ok_or(Violation::OutOfRange(what, index, self.chunks.len))?;
        let offset = area + piece.offset;
        let expected = last_part(Piece { offset, ..piece }, self.segment);
        if length == expected {
            Ok(())
        } else {
            Err(Violation::Length(what, index, length, expected))
        }
    }

    fn parse(&mut self, json: &[u8]) -> Result<(), Violation> {
        let manifest = Manifest::decode(json, &self.hello)?;
        let layout = Layout::new(&manifest, self.hello.chunk);
        if layout.chunks() != u64::from(self.hello.chunks) {
            return Err(Violation::Chunks(layout.chunks(), self.hello.chunks));
        }
        self.parsed = Some((manifest, layout));
        Ok(())
    }

    /// The manifest and the layout, once they are known.
    pub fn into_parts(self) -> Option<(Manifest, Layout)> {
        self.parsed
    }
}
