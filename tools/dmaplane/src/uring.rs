// SPDX-License-Identifier: GPL-2.0
//! Entries by io_uring: for programs that have a loop of that kind, and want no second one.
//!
//! An [`Entry`] is submitted as the command of a large submission entry to the channel's file, and
//! completes there. It takes no place in the rings of the [`Channel`](crate::Channel), which may be as small
//! as they can; what the channel's endpoints receive arrives in those as before. With the crate
//! `io-uring`, and with those that are built on it:
//!
//! ```text
//! let mut ring: IoUring<squeue::Entry128, cqueue::Entry32> = IoUring::builder().build(64)?;
//! let file = types::Fd(channel.as_fd().as_raw_fd());
//! let entry = opcode::UringCmd80::new(file, uring::SUBMIT)
//!     .cmd(uring::command(BufCopy::new((&from, 0), (&to, 0), 4096)))
//!     .build()
//!     .user_data(1);
//! ```
//!
//! [`Entry::link`], [`Entry::drain`] and [`Entry::skip_success`] are `EINVAL` there, as io_uring has flags
//! of its own; an entry with a list goes to the channel's ring. The `user_data` of the [`Entry`] is what [`Cancel`](crate::Cancel) knows it by; io_uring's
//! own cancellation does not find it.

use std::mem::offset_of;

use crate::sys::uapi::*;
use crate::{Completion, Entry, Result};

/// The `cmd_op` of such a command.
pub const SUBMIT: u32 = DMAPLANE_URING_CMD_SUBMIT;

/// The command that submits an entry.
pub fn command(entry: impl Into<Entry>) -> [u8; 80] {
    let raw = entry.into().raw();
    // In the order of the header, which leaves no holes; the rest is zero.
    let members: [&[u8]; 13] = [
        &[raw.opcode, raw.flags],
        &raw.pad0.to_ne_bytes(),
        &raw.endpoint.to_ne_bytes(),
        &raw.user_data.to_ne_bytes(),
        &raw.region.to_ne_bytes(),
        &raw.lease.to_ne_bytes(),
        &raw.local_offset.to_ne_bytes(),
        &raw.remote_offset.to_ne_bytes(),
        &raw.length.to_ne_bytes(),
        &raw.imm.to_ne_bytes(),
        &raw.list.to_ne_bytes(),
        &raw.list_count.to_ne_bytes(),
        &raw.list_offset.to_ne_bytes(),
    ];
    let mut command = [0; 80];
    for (to, from) in command.iter_mut().zip(members.into_iter().flatten()) {
        *to = *from;
    }
    command
}

/// What the `res` of a completion means.
pub fn result(res: i32) -> Result<u32> {
    completion(0, res, [0; 2]).result()
}

/// A completion of 32 bytes (`Entry32`), by its `user_data`, its `res` and what is beyond these. Its
/// endpoint is not told.
pub fn completion(user_data: u64, res: i32, big_cqe: [u64; 2]) -> Completion {
    const {
        assert!(offset_of!(dmaplane_cqe, imm) == 16);
        assert!(offset_of!(dmaplane_cqe, opcode) == 20);
        assert!(offset_of!(dmaplane_cqe, wc_status) == 21);
        assert!(offset_of!(dmaplane_cqe, flags) == 22);
    }
    let [a, b, c, d, opcode, wc_status, e, f] = big_cqe[0].to_ne_bytes();
    Completion::decode(&dmaplane_cqe {
        user_data,
        res,
        imm: u32::from_ne_bytes([a, b, c, d]),
        opcode,
        wc_status,
        flags: u16::from_ne_bytes([e, f]),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cancel, Errno, Kind, Nop};

    #[test]
    fn a_command_is_an_entry_and_zeros() {
        let command = command(Cancel::one(None, u64::MAX).user_data(0x0102));
        let mut expected = [0; 80];
        expected[0] = DMAPLANE_OP_CANCEL as u8;
        expected[8..16].copy_from_slice(&0x0102u64.to_ne_bytes());
        expected[24..32].fill(0xff);
        assert_eq!(command, expected);
        assert_eq!(super::command(Nop { user_data: 0 }), [0; 80]);
    }

    #[test]
    fn a_large_completion_says_more() {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&77u32.to_ne_bytes());
        bytes[4] = DMAPLANE_OP_RECV as u8;
        bytes[5] = 12;
        let got = completion(5, 100, [u64::from_ne_bytes(bytes), 0]);
        assert_eq!(
            (got.user_data, got.kind, got.endpoint, got.imm),
            (5, Kind::Recv, 0, 77)
        );
        assert_eq!((got.result(), result(100)), (Ok(100), Ok(100)));
        let got = completion(5, -Errno::CANCELED.raw_os_error(), [0, 0]);
        assert_eq!(got.kind, Kind::Nop);
        assert_eq!(got.result().map_err(|e| e.errno()), Err(Errno::CANCELED));
        assert_eq!(
            result(-Errno::INVAL.raw_os_error()).map_err(|e| e.errno()),
            Err(Errno::INVAL)
        );
    }
}
