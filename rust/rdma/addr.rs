// SPDX-License-Identifier: GPL-2.0

//! Socket addresses, as bytes.
//!
//! C header: [`include/linux/socket.h`](srctree/include/linux/socket.h)
//!
//! Plain values: no ownership, no locks, no teardown.

use crate::{
    bindings,
    errno::EAFNOSUPPORT, //
};
use kernel::prelude::*;

const INET: usize = bindings::DK_INET_BYTES as usize;
const INET6: usize = bindings::DK_INET6_BYTES as usize;

/// Bytes that hold an address of any family we know.
pub(super) const MAX_BYTES: usize = INET6;

/// An IPv4 or IPv6 address and port: a `sockaddr_in` or a `sockaddr_in6`.
///
/// # Invariants
///
/// `bytes` begins with `AF_INET` or `AF_INET6`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Addr {
    bytes: [u8; MAX_BYTES],
}

impl Addr {
    /// Takes the bytes of a `sockaddr_in` or `sockaddr_in6`; what follows them is ignored.
    ///
    /// Fails with `EAFNOSUPPORT` for another family and with `EINVAL` if bytes are missing.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let family = bytes.first_chunk::<2>().ok_or(EINVAL)?;
        let len = match u32::from(u16::from_ne_bytes(*family)) {
            bindings::AF_INET => INET,
            bindings::AF_INET6 => INET6,
            _ => return Err(EAFNOSUPPORT.into()),
        };
        let mut to = [0; MAX_BYTES];
        to.get_mut(..len)
            .ok_or(EINVAL)?
            .copy_from_slice(bytes.get(..len).ok_or(EINVAL)?);
        // INVARIANT: the family was compared above.
        Ok(Self { bytes: to })
    }

    /// An IPv4 address.
    pub fn v4(ip: [u8; 4], port: u16) -> Self {
        let [f0, f1] = (bindings::AF_INET as u16).to_ne_bytes();
        let [p0, p1] = port.to_be_bytes();
        let mut bytes = [0; MAX_BYTES];
        for (to, from) in bytes
            .iter_mut()
            .zip([f0, f1, p0, p1, ip[0], ip[1], ip[2], ip[3]])
        {
            *to = from;
        }
        // INVARIANT: the family is `AF_INET`.
        Self { bytes }
    }

    /// The address as the C structure has it: 16 or 28 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        let [f0, f1, rest @ ..] = &self.bytes;
        let _ = rest;
        if u32::from(u16::from_ne_bytes([*f0, *f1])) == bindings::AF_INET {
            self.bytes.first_chunk::<INET>().map_or(&[], |b| &b[..])
        } else {
            &self.bytes
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        let [_, _, p0, p1, ..] = self.bytes;
        u16::from_be_bytes([p0, p1])
    }

    /// For C functions that read an address; they look at the family first.
    pub(super) fn as_ptr(&self) -> *const bindings::sockaddr {
        self.bytes.as_ptr().cast()
    }
}
