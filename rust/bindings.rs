// SPDX-License-Identifier: GPL-2.0

//! The C declarations that this crate is built on: those of the kernel crate, and those that
//! bindgen makes of `rust/helpers.h`. No type is declared twice.

#![allow(
    clippy::all,
    clippy::as_ptr_cast_mut,
    clippy::as_underscore,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    improper_ctypes
)]

mod raw {
    pub use kernel::bindings::*;
    use kernel::ffi;
    include!(concat!(env!("DMAKIT_GENERATED"), "/bindings_generated.rs"));
}

pub(crate) use raw::*;
