// SPDX-License-Identifier: GPL-2.0

//! Tests of `src/pure/credit.rs`: its counters one by one, then the protocol that they make.

#[path = "../common/mod.rs"]
mod common;
mod counters;
mod model;
mod protocol;
