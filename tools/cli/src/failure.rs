// SPDX-License-Identifier: GPL-2.0
//! How a command can fail, and the exit code of each way.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done; every tensor equal |
//! | 1 | a file here cannot be read or written |
//! | 2 | wrong usage |
//! | 3 | the device is missing, or the module refused |
//! | 4 | the peer refused, is gone, or did not answer in time |
//! | 5 | tensors arrived that differ from those sent |
//! | 6 | the peer broke the protocol |
//! | 130 | interrupted |

use std::{path::PathBuf, process::ExitCode};

use thiserror::Error;

/// Why a command did not do what it should.
#[derive(Debug, Error)]
#[allow(missing_docs)] // each says it itself
pub enum Failure {
    #[error("{}: {why}", path.display())]
    File { path: PathBuf, why: String },
    #[error("cannot write to the standard output: {0}")]
    Output(#[from] std::io::Error),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Device(#[from] dmaplane::Error),
    #[error("{0}")]
    Limit(String),
    #[error("{0} for {1} s without progress; see what the other side prints, or give a longer --timeout")]
    Timeout(&'static str, u64),
    #[error("the other side is no dmaplane KV peer or has another version: {0}")]
    Stranger(String),
    #[error("{0} of {1} tensors differ from those sent: see the table; send again, and check memory and links if it recurs")]
    Mismatch(usize, usize),
    #[error("the peer broke the protocol: {0}")]
    Protocol(String),
    #[error("refused the transfer from {0}: {1}")]
    Refused(String, String),
    #[error("the receiver ended the transfer: {0}")]
    Ended(String),
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// With the path that it is about.
    pub fn file(path: impl Into<PathBuf>, why: impl ToString) -> Self {
        Failure::File {
            path: path.into(),
            why: why.to_string(),
        }
    }

    /// The exit code, as the table above has it.
    pub fn code(&self) -> u8 {
        match self {
            Failure::File { .. } | Failure::Output(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Device(e) if e.is_connection() => 4,
            Failure::Device(_) | Failure::Limit(_) => 3,
            Failure::Timeout(..) => 4,
            Failure::Mismatch(..) => 5,
            Failure::Stranger(_) | Failure::Protocol(_) => 6,
            Failure::Refused(..) | Failure::Ended(_) => 6,
            Failure::Interrupted => 130,
        }
    }

    /// The same, for `main()`.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }
}
