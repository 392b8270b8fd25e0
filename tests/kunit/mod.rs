// SPDX-License-Identifier: GPL-2.0

//! KUnit suites of the crate `dmaplane`, in a test build only: what runs without user space or
//! hardware, on the kernel's own memory and under its instrumentation.
//!
//! They are outside of `src/` because the files of `src/pure` know no kernel. What can be tried on
//! the host is tried there, in `tests/unit`, and more thoroughly. The suites of `dmakit` are at the
//! ends of its files.

mod carve;
mod credit;
mod fifo;
mod handle;
mod ring;
mod state;
mod wire;
