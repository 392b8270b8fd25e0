// SPDX-License-Identifier: GPL-2.0

//! Private data of the connection manager's messages: request, answer and reject.
//!
//! | bytes | hello                              | reject           |
//! |-------|------------------------------------|------------------|
//! | 0..4  | magic                              | magic            |
//! | 4..6  | version                            | version          |
//! | 6..8  | length of this header, 16          | reason, 1 to 3   |
//! | 8..12 | data messages the peer may send    |                  |
//! | 12..14| length of the program's bytes      |                  |
//! | 14..16| bytes of the longest SEND taken     |                  |
//! | 16..  | the program's bytes, 32 at most    |                  |
//!
//! The connection manager pads with zeros, so zeros may follow.

use super::{
    Reader,
    Writer,
    MAGIC,
    VERSION, //
};

/// Bytes that the programs can send along (`DMAPLANE_PRIVATE_MAX`).
pub const PRIVATE_MAX: usize = 32;

const MAX: usize = 48;
const HEADER: u16 = 16;

/// What each side says first, in the connection request and in its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Data messages that the other side may send.
    pub credits: u32,
    /// Bytes of the longest message that the other program may send.
    pub message: u16,
    /// The program's bytes.
    pub user: &'a [u8],
}

/// Why private data is not a [`Hello`] or [`RejectReason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloError {
    /// Something else than dmaplane wrote it.
    NotOurs,
    /// It is of this other version.
    Version(u16),
    /// It contradicts its format.
    Malformed,
    /// The program's bytes are more than [`PRIVATE_MAX`].
    TooLong,
}

impl Hello<'_> {
    /// Bytes at most. A request has room for 56.
    pub const MAX: usize = MAX;

    /// Writes it and returns its length.
    pub fn encode(&self, out: &mut [u8; MAX]) -> Result<usize, HelloError> {
        if self.user.len() > PRIVATE_MAX {
            return Err(HelloError::TooLong);
        }
        let length = u16::try_from(self.user.len()).map_err(|_| HelloError::TooLong)?;
        let mut writer = Writer::new(out);
        writer.u32(MAGIC);
        writer.u16(VERSION);
        writer.u16(HEADER);
        writer.u32(self.credits);
        writer.u16(length);
        writer.u16(self.message);
        writer.bytes(self.user);
        Ok(writer.written)
    }

    /// Reads it from private data.
    pub fn decode(bytes: &[u8]) -> Result<Hello<'_>, HelloError> {
        let mut reader = Reader(bytes);
        begin(&mut reader)?;
        let header = reader.u16().ok_or(HelloError::Malformed)?;
        let credits = reader.u32().ok_or(HelloError::Malformed)?;
        let length = reader.u16().ok_or(HelloError::Malformed)?;
        let message = reader.u16().ok_or(HelloError::Malformed)?;
        if header != HEADER {
            return Err(HelloError::Malformed);
        }
        let length = usize::from(length);
        if length > PRIVATE_MAX {
            return Err(HelloError::TooLong);
        }
        let user = reader.bytes(length).ok_or(HelloError::Malformed)?;
        end(&reader)?;
        Ok(Hello {
            credits,
            message,
            user,
        })
    }
}

/// Why a connection request was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// The request was of another version, or not of dmaplane.
    Version,
    /// The listener's backlog is full.
    Backlog,
    /// The program refused.
    Program,
}

impl RejectReason {
    /// Bytes.
    pub const LENGTH: usize = 8;

    /// Returns it as bytes.
    pub fn encode(self) -> [u8; Self::LENGTH] {
        let reason = match self {
            RejectReason::Version => 1,
            RejectReason::Backlog => 2,
            RejectReason::Program => 3,
        };
        let mut out = [0; Self::LENGTH];
        let mut writer = Writer::new(&mut out);
        writer.u32(MAGIC);
        writer.u16(VERSION);
        writer.u16(reason);
        out
    }

    /// Reads it from private data. [`HelloError::Version`] means that a peer of another version
    /// rejected, whatever its reason.
    pub fn decode(bytes: &[u8]) -> Result<RejectReason, HelloError> {
        let mut reader = Reader(bytes);
        begin(&mut reader)?;
        let reason = match reader.u16() {
            Some(1) => RejectReason::Version,
            Some(2) => RejectReason::Backlog,
            Some(3) => RejectReason::Program,
            _ => return Err(HelloError::Malformed),
        };
        end(&reader)?;
        Ok(reason)
    }
}

fn begin(reader: &mut Reader<'_>) -> Result<(), HelloError> {
    if reader.u32() != Some(MAGIC) {
        return Err(HelloError::NotOurs);
    }
    match reader.u16() {
        Some(VERSION) => Ok(()),
        Some(other) => Err(HelloError::Version(other)),
        None => Err(HelloError::Malformed),
    }
}

fn end(reader: &Reader<'_>) -> Result<(), HelloError> {
    if reader.0.iter().any(|&byte| byte != 0) {
        return Err(HelloError::Malformed);
    }
    Ok(())
}
