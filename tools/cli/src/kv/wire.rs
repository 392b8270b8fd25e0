// SPDX-License-Identifier: GPL-2.0
//! What travels besides manifest and payload: immediates, hello, trailer,
//! verdict. Everything that comes from a peer is checked when it is decoded.

use thiserror::Error;

/// Version of the protocol.
pub const VERSION: u8 = 1;
const MAGIC: [u8; 4] = [b'D', b'K', b'V', VERSION];

/// The receiver's private data when it accepts.
pub const ANSWER: [u8; 4] = MAGIC;
/// Tag of the lease on the receiver's buffer.
pub const TAG_DATA: u64 = u64::from_le_bytes(*b"DKV-DATA");
/// Tag of the lease on the sender's region for the verdict.
pub const TAG_VERDICT: u64 = u64::from_le_bytes(*b"DKV-VERD");

/// Largest manifest.
pub const MAX_MANIFEST: u32 = 16 << 20;
/// Most tensors.
pub const MAX_TENSORS: u32 = 1 << 16;
/// Smallest and largest chunk.
pub const CHUNK: std::ops::RangeInclusive<u32> = 512..=(1 << 30);

/// What a peer sent that this program cannot take.
#[derive(Debug, Error, PartialEq, Eq)]
#[allow(missing_docs)] // each says it itself
pub enum Bad {
    #[error("it is not a KV transfer: use `dmaplane kv` of the same version at both sides")]
    Protocol,
    #[error("it speaks version {0} of the KV protocol, this side {VERSION}: use the same version")]
    Version(u8),
    #[error("its {0} of {1} is outside {2} to {3}")]
    Range(&'static str, u64, u64, u64),
    #[error("its flags {0:#x} are unknown: use the same version at both sides")]
    Flags(u32),
    #[error("immediate {0:#010x} has no known kind")]
    Imm(u32),
    #[error("it repeats other figures than at the beginning: {0}")]
    Differs(&'static str),
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| *bytes.get(at + i).unwrap_or(&0)))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| *bytes.get(at + i).unwrap_or(&0)))
}

fn in_range(what: &'static str, value: u64, low: u64, high: u64) -> Result<(), Bad> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(Bad::Range(what, value, low, high))
    }
}

/// A write's immediate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imm {
    /// A piece of the manifest, by its number.
    Manifest(u32),
    /// A chunk, by its number in the whole transfer.
    Chunk(u32),
    /// The trailer; the number of chunks there were.
    End(u32),
    /// The verdict; its [`Status`].
    Verdict(u32),
}

impl Imm {
    /// Numbers are below this.
    pub const LIMIT: u32 = 1 << 29;

    /// As 32 bits.
    pub fn pack(self) -> u32 {
        let (kind, number) = match self {
            Imm::Manifest(n) => (1, n),
            Imm::Chunk(n) => (2, n),
            Imm::End(n) => (3, n),
            Imm::Verdict(n) => (4, n),
        };
        debug_assert!(number < Self::LIMIT);
        (kind << 29) | (number & (Self::LIMIT - 1))
    }

    /// From 32 bits.
    pub fn unpack(raw: u32) -> Result<Self, Bad> {
        let number = raw & (Self::LIMIT - 1);
        Ok(match raw >> 29 {
            1 => Imm::Manifest(number),
            2 => Imm::Chunk(number),
            3 => Imm::End(number),
            4 => Imm::Verdict(number),
            _ => return Err(Bad::Imm(raw)),
        })
    }
}

/// The sender's private data when it connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Bytes of the payload area.
    pub payload: u64,
    /// Bytes of the manifest.
    pub manifest: u32,
    /// Bytes of a chunk.
    pub chunk: u32,
    /// Tensors in all.
    pub tensors: u32,
    /// Chunks in all.
    pub chunks: u32,
}

impl Hello {
    /// Bytes on the wire.
    pub const LEN: usize = 32;

    /// For the wire: magic and version, flags (0), then the members.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[0..4].copy_from_slice(&MAGIC);
        out[8..16].copy_from_slice(&self.payload.to_le_bytes());
        out[16..20].copy_from_slice(&self.manifest.to_le_bytes());
        out[20..24].copy_from_slice(&self.chunk.to_le_bytes());
        out[24..28].copy_from_slice(&self.tensors.to_le_bytes());
        out[28..32].copy_from_slice(&self.chunks.to_le_bytes());
        out
    }

    /// From a peer.
    pub fn decode(bytes: &[u8]) -> Result<Self, Bad> {
        if bytes.len() < 4 || bytes[..3] != MAGIC[..3] {
            return Err(Bad::Protocol);
        }
        if bytes[3] != VERSION {
            return Err(Bad::Version(bytes[3]));
        }
        if bytes.len() != Self::LEN {
            return Err(Bad::Protocol);
        }
        if u32_at(bytes, 4) != 0 {
            return Err(Bad::Flags(u32_at(bytes, 4)));
        }
        let hello = Hello {
            payload: u64_at(bytes, 8),
            manifest: u32_at(bytes, 16),
            chunk: u32_at(bytes, 20),
            tensors: u32_at(bytes, 24),
            chunks: u32_at(bytes, 28),
        };
        hello.check()?;
        Ok(hello)
    }

    /// Whether the protocol can carry it.
    pub fn check(&self) -> Result<(), Bad> {
        let chunk = (u64::from(*CHUNK.start()), u64::from(*CHUNK.end()));
        in_range("chunk size", self.chunk.into(), chunk.0, chunk.1)?;
        in_range(
            "manifest size",
            self.manifest.into(),
            2,
            MAX_MANIFEST.into(),
        )?;
        in_range(
            "number of tensors",
            self.tensors.into(),
            1,
            MAX_TENSORS.into(),
        )?;
        // Keeps sums of sizes far from any overflow.
        in_range("payload size", self.payload, 0, 1 << 62)?;
        // Each layer has at least one tensor and may have one short chunk.
        let least = self.payload / u64::from(self.chunk);
        let most = (least + u64::from(self.tensors)).min(u64::from(Imm::LIMIT) - 1);
        let least = least.saturating_sub(u64::from(self.tensors));
        in_range("number of chunks", self.chunks.into(), least, most)
    }
}

/// What the sender has measured; its last write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trailer {
    /// Chunks in all.
    pub chunks: u32,
    /// Bytes of the payload area.
    pub payload: u64,
    /// Latency per chunk in nanoseconds: median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Largest.
    pub max: u64,
    /// Credit stalls.
    pub stalls: u64,
    /// Nanoseconds in them.
    pub stall_ns: u64,
}

impl Trailer {
    /// Bytes on the wire.
    pub const LEN: usize = 64;

    /// For the wire.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[0..4].copy_from_slice(&MAGIC);
        out[4..8].copy_from_slice(&self.chunks.to_le_bytes());
        let words = [
            self.payload,
            self.p50,
            self.p99,
            self.max,
            self.stalls,
            self.stall_ns,
        ];
        for (slot, word) in out[8..].chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    /// From a peer that said `hello`.
    pub fn decode(bytes: &[u8; Self::LEN], hello: &Hello) -> Result<Self, Bad> {
        if bytes[..4] != MAGIC {
            return Err(Bad::Protocol);
        }
        let trailer = Trailer {
            chunks: u32_at(bytes, 4),
            payload: u64_at(bytes, 8),
            p50: u64_at(bytes, 16),
            p99: u64_at(bytes, 24),
            max: u64_at(bytes, 32),
            stalls: u64_at(bytes, 40),
            stall_ns: u64_at(bytes, 48),
        };
        if (trailer.chunks, trailer.payload) != (hello.chunks, hello.payload) {
            return Err(Bad::Differs("chunks or payload"));
        }
        Ok(trailer)
    }
}

/// How a transfer ended at the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Every tensor has the CRC that the manifest gives.
    Equal,
    /// Some have another.
    Mismatch,
    /// The sender broke the protocol; the verdict says how.
    Refused,
}

/// What the receiver found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How it ended.
    pub status: Status,
    /// CRC-32 of every tensor, in the manifest's order; none if refused.
    pub crcs: Vec<u32>,
    /// What was wrong, if refused.
    pub reason: String,
}

impl Verdict {
    const REASON: usize = 16;
    const REASON_MAX: usize = 240;
    const CRCS: usize = 256;

    /// Bytes on the wire for this many tensors.
    pub fn len(tensors: usize) -> usize {
        Self::CRCS + 4 * tensors
    }

    /// For the wire: magic, status, number of CRCs, length of the reason, reason,
    /// CRCs.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; Self::len(self.crcs.len())];
        let mut end = self.reason.len().min(Self::REASON_MAX);
        while !self.reason.is_char_boundary(end) {
            end -= 1;
        }
        let reason = &self.reason.as_bytes()[..end];
        out[0..4].copy_from_slice(&MAGIC);
        out[4..8].copy_from_slice(&(self.status as u32).to_le_bytes());
        out[8..12].copy_from_slice(&(self.crcs.len() as u32).to_le_bytes());
        out[12..16].copy_from_slice(&(end as u32).to_le_bytes());
        out[Self::REASON..Self::REASON + end].copy_from_slice(reason);
        for (slot, crc) in out[Self::CRCS..].chunks_exact_mut(4).zip(&self.crcs) {
            slot.copy_from_slice(&crc.to_le_bytes());
        }
        out
    }

    /// From the receiver of `tensors` tensors.
    pub fn decode(bytes: &[u8], tensors: usize) -> Result<Self, Bad> {
        if bytes.len() < Self::CRCS || bytes[..4] != MAGIC {
            return Err(Bad::Protocol);
        }
        let (count, reason) = (u32_at(bytes, 8) as usize, u32_at(bytes, 12) as usize);
        let status = match u32_at(bytes, 4) {
            0 => Status::Equal,
            1 => Status::Mismatch,
            2 => Status::Refused,
            other => return Err(Bad::Range("status", other.into(), 0, 2)),
        };
        let expected = if status == Status::Refused {
            0
        } else {
            tensors
        };
        if count != expected || bytes.len() < Self::len(count) || reason > Self::REASON_MAX {
            return Err(Bad::Differs("number of tensors"));
        }
        let crcs = bytes[Self::CRCS..].chunks_exact(4).take(count);
        let reason = String::from_utf8_lossy(&bytes[Self::REASON..][..reason]);
        Ok(Verdict {
            status,
            crcs: crcs.map(|b| u32_at(b, 0)).collect(),
            // It goes to a terminal.
            reason: reason.chars().filter(|c| !c.is_control()).collect(),
        })
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
