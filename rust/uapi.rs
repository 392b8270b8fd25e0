// SPDX-License-Identifier: GPL-2.0

//! The user-space ABI as Rust types, generated from `include/uapi/dmaplane.h`.
//!
//! The header is the only source; this file adds what bindgen cannot know: that the structures
//! may be read from and written to user memory as bytes.

#![allow(
    clippy::all,
    clippy::as_ptr_cast_mut,
    clippy::as_underscore,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    missing_docs,
    non_camel_case_types
)]

use kernel::ffi;

/// What may be written to and read from memory as bytes.
pub use kernel::transmute::{
    AsBytes,
    FromBytes, //
};

include!(concat!(env!("DMAKIT_GENERATED"), "/uapi_generated.rs"));

/// `DMAPLANE_FOREVER`, of which bindgen makes a signed number.
pub const FOREVER: u64 = DMAPLANE_FOREVER as i64 as u64;

/// Declares that a structure of the header consists of integers without holes, and how long it
/// is: the same number that the header asserts for C.
macro_rules! plain {
    ($($name:ident: $size:literal),* $(,)?) => {
        $(
            const _: () = assert!(core::mem::size_of::<$name>() == $size);
            // SAFETY: the header's rule is that structures hold integers only, so every bit
            // pattern is a value.
            unsafe impl FromBytes for $name {}
            // SAFETY: the header's rule is that padding is explicit (it is compiled with
            // `-Wpadded -Werror` by `make check`), so no byte is uninitialised.
            unsafe impl AsBytes for $name {}
        )*
    };
}

plain! {
    dmaplane_info: 72,
    dmaplane_stats: 56,
    dmaplane_buf_create: 40,
    dmaplane_buf_query: 104,
    dmaplane_buf_export: 32,
    dmaplane_buf_pin: 32,
    dmaplane_buf_import: 32,
    dmaplane_buf_migrate: 48,
    dmaplane_buf_share: 24,
    dmaplane_buf_open: 40,
    dmaplane_handle: 16,
    dmaplane_fabric: 88,
    dmaplane_fabric_list: 24,
    dmaplane_region_register: 40,
    dmaplane_view: 24,
    dmaplane_view_create: 24,
    dmaplane_view_destroy: 24,
    dmaplane_lease_grant: 32,
    dmaplane_lease_wait: 48,
    dmaplane_addr: 32,
    dmaplane_private: 36,
    dmaplane_endpoint_listen: 48,
    dmaplane_endpoint_request: 104,
    dmaplane_endpoint_address: 88,
    dmaplane_endpoint_connect: 80,
    dmaplane_endpoint_query: 136,
    dmaplane_channel_create: 56,
    dmaplane_ring: 256,
    dmaplane_segment: 24,
    dmaplane_pages: 16,
    dmaplane_sqe: 64,
    dmaplane_cqe: 32,
    dmaplane_times: 32,
    dmaplane_channel_enter: 32,
    dmaplane_channel_file: 16,
    dmaplane_channel_eventfd: 16,
    dmaplane_counter_create: 24,
    dmaplane_counter_query: 24,
}

/// A [`dmaplane_sqe`] as it is in memory. Taken apart into its members only when they are needed.
#[derive(Clone, Copy)]
pub struct SqeWords([u64; 8]);

impl SqeWords {
    /// What was read.
    #[inline]
    pub fn new(words: [u64; 8]) -> Self {
        Self(words)
    }

    /// The `user_data` of an entry whose opcode, flags and endpoint are 0, and whether everything else
    /// is, too.
    #[inline]
    pub fn bare(&self) -> Option<(u64, bool)> {
        const { assert!(core::mem::offset_of!(dmaplane_sqe, user_data) == 8) };
        let [first, user_data, rest @ ..] = self.0;
        (first == 0).then(|| (user_data, rest.iter().fold(0, |all, word| all | word) == 0))
    }
}

impl From<SqeWords> for dmaplane_sqe {
    fn from(words: SqeWords) -> Self {
        // SAFETY: by `plain!` it has this size, and any bytes make one.
        unsafe { core::mem::transmute(words.0) }
    }
}
