// SPDX-License-Identifier: GPL-2.0

//! What a program sends with `SEND`: this header, then its bytes.
//!
//! | bytes  |                              |
//! |--------|------------------------------|
//! | 0..4   | magic                        |
//! | 4..6   | version                      |
//! | 6..8   | kind: 3                      |
//! | 8..12  | immediate, 0 if there is none|
//! | 12..14 | 1 if there is one, else 0    |
//! | 14..16 | the program's bytes          |

use super::{
    Reader,
    WireError,
    Writer,
    MAGIC,
    VERSION, //
};

/// Bytes of the header.
pub const DATA_HEADER: usize = 16;

const KIND: u16 = 3;

/// A message between programs, but for its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data {
    /// The immediate.
    pub imm: Option<u32>,
    /// The program's bytes, which follow.
    pub length: u16,
}

impl Data {
    /// Writes the header.
    pub fn encode(&self) -> [u8; DATA_HEADER] {
        let mut out = [0; DATA_HEADER];
        let mut writer = Writer::new(&mut out);
        writer.u32(MAGIC);
        writer.u16(VERSION);
        writer.u16(KIND);
        writer.u32(self.imm.unwrap_or(0));
        writer.u16(u16::from(self.imm.is_some()));
        writer.u16(self.length);
        out
    }

    /// Reads it from the beginning of a message of `total` bytes; [`None`] if that is of another kind.
    pub fn decode(bytes: &[u8], total: u32) -> Result<Option<Data>, WireError> {
        let mut reader = Reader(bytes);
        let begins = (reader.u32(), reader.u16(), reader.u16());
        if begins != (Some(MAGIC), Some(VERSION), Some(KIND)) {
            return Ok(None);
        }
        let imm = reader.u32().ok_or(WireError::Malformed)?;
        let imm = match reader.u16() {
            Some(0) if imm == 0 => None,
            Some(1) => Some(imm),
            _ => return Err(WireError::Malformed),
        };
        let length = reader.u16().ok_or(WireError::Malformed)?;
        let expected = usize::from(length).checked_add(DATA_HEADER);
        match expected.is_some() && expected == usize::try_from(total).ok() {
            true => Ok(Some(Data { imm, length })),
            false => Err(WireError::Malformed),
        }
    }
}
