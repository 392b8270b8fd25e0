// SPDX-License-Identifier: GPL-2.0

//! The files of `src/pure`, compiled on the host so that `tests/` can test them.
//!
//! The lints are the kernel's, and those that keep the rules of `src/pure`: it must not panic,
//! whatever the input. `cargo clippy` checks them.

#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs, unreachable_pub, rust_2018_idioms)]
#![deny(
    clippy::all,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]

#[path = "../../../src/pure/mod.rs"]
pub mod pure;
