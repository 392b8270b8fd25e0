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

#[cfg(dmaplane_test)]
#[kunit_tests(dmakit_addr)]
mod tests {
    use super::*;

    /// A `sockaddr_in6` for port 0x1234, followed by what a `sockaddr_storage` has behind it.
    fn v6() -> [u8; 128] {
        let mut bytes = [0; 128];
        for (to, from) in bytes.iter_mut().zip(1..=128) {
            *to = from;
        }
        let [f0, f1] = (bindings::AF_INET6 as u16).to_ne_bytes();
        bytes[..4].copy_from_slice(&[f0, f1, 0x12, 0x34]);
        bytes
    }

    #[test]
    fn v4_is_a_sockaddr_in() -> Result {
        let addr = Addr::v4([10, 77, 0, 1], 0x1234);
        let bytes = addr.as_bytes();
        assert_eq!(bytes.len(), 16);
        assert_eq!(bytes.get(2..8), Some(&[0x12, 0x34, 10, 77, 0, 1][..]));
        assert!(bytes.iter().skip(8).all(|&byte| byte == 0));
        assert_eq!(addr.port(), 0x1234);
        assert!(Addr::from_bytes(bytes)? == addr);
        Ok(())
    }

    #[test]
    fn v6_is_a_sockaddr_in6() -> Result {
        let bytes = v6();
        let addr = Addr::from_bytes(&bytes)?;
        assert_eq!(addr.as_bytes(), &bytes[..28]);
        assert_eq!(addr.port(), 0x1234);
        assert!(Addr::from_bytes(addr.as_bytes())? == addr);
        Ok(())
    }

    #[test]
    fn what_follows_is_not_part_of_it() -> Result {
        let addr = Addr::v4([127, 0, 0, 1], 7471);
        let mut long = [0xff; 128];
        long[..16].copy_from_slice(addr.as_bytes());
        assert!(Addr::from_bytes(&long)? == addr);
        Ok(())
    }

    #[test]
    fn every_length_that_is_too_short() {
        let (four, six) = (Addr::v4([10, 77, 0, 1], 1), v6());
        for len in 0..16 {
            let bytes = four.as_bytes().get(..len).unwrap_or(&[]);
            assert_eq!(Addr::from_bytes(bytes).err(), Some(EINVAL));
        }
        for len in 0..28 {
            assert_eq!(Addr::from_bytes(&six[..len]).err(), Some(EINVAL));
        }
    }

    #[test]
    fn other_families() {
        for family in [0u16, 1, 9, 16, 27, 0x0200, 0xffff] {
            let mut bytes = v6();
            bytes[..2].copy_from_slice(&family.to_ne_bytes());
            for len in [2, 16, 28, 128] {
                let error = Addr::from_bytes(&bytes[..len]).err();
                assert!(error.is_some_and(|error| error == EAFNOSUPPORT));
            }
        }
    }
}
