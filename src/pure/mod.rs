// SPDX-License-Identifier: GPL-2.0

//! The algorithms of dmaplane that touch neither hardware nor kernel interfaces.
//!
//! Everything here uses `core` only, allocates nothing, locks nothing and cannot panic, whatever
//! numbers user space or a peer supplies. `tests/unit` compiles the same files on the host, where
//! they are tested against models.

pub mod bulk;
pub mod carve;
pub mod credit;
pub mod handle;
pub mod ring;
pub mod state;
pub mod wire;
