// SPDX-License-Identifier: GPL-2.0
//! Socket addresses and private data as the ABI has them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::sys::uapi::{dmaplane_addr, dmaplane_private, DMAPLANE_PRIVATE_MAX};

// Kernel ABI of struct sockaddr_in and sockaddr_in6 (uapi/linux/in.h, in6.h).
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const LEN_INET: usize = 16;
const LEN_INET6: usize = 28;

/// `address` in the ABI's form; none is `len` 0.
pub(crate) fn encode(address: Option<SocketAddr>) -> dmaplane_addr {
    let mut out = dmaplane_addr::default();
    match address {
        None => {}
        Some(SocketAddr::V4(a)) => {
            out.len = LEN_INET as u32;
            out.data[0..2].copy_from_slice(&AF_INET.to_ne_bytes());
            out.data[2..4].copy_from_slice(&a.port().to_be_bytes());
            out.data[4..8].copy_from_slice(&a.ip().octets());
        }
        Some(SocketAddr::V6(a)) => {
            out.len = LEN_INET6 as u32;
            out.data[0..2].copy_from_slice(&AF_INET6.to_ne_bytes());
            out.data[2..4].copy_from_slice(&a.port().to_be_bytes());
            out.data[4..8].copy_from_slice(&a.flowinfo().to_ne_bytes());
            out.data[8..24].copy_from_slice(&a.ip().octets());
            out.data[24..28].copy_from_slice(&a.scope_id().to_ne_bytes());
        }
    }
    out
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes.get(at + i).copied().unwrap_or(0))
}

/// The address that the kernel wrote; none if it wrote none or an odd one.
pub(crate) fn decode(address: &dmaplane_addr) -> Option<SocketAddr> {
    let data = &address.data;
    let port = u16::from_be_bytes(array(data, 2));
    match (address.len as usize, u16::from_ne_bytes(array(data, 0))) {
        (LEN_INET, AF_INET) => {
            let ip = Ipv4Addr::from(array::<4>(data, 4));
            Some(SocketAddr::new(IpAddr::V4(ip), port))
        }
        (LEN_INET6, AF_INET6) => Some(SocketAddr::V6(SocketAddrV6::new(
            Ipv6Addr::from(array::<16>(data, 8)),
            port,
            u32::from_ne_bytes(array(data, 4)),
            u32::from_ne_bytes(array(data, 24)),
        ))),
        _ => None,
    }
}

/// Up to 32 bytes that travel with a connection request or its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Private {
    len: usize,
    data: [u8; Private::MAX],
}

impl Private {
    /// How many bytes there can be.
    pub const MAX: usize = DMAPLANE_PRIVATE_MAX as usize;

    /// Takes `bytes`; none if there are too many.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut private = Private {
            len: bytes.len(),
            ..Default::default()
        };
        private.data.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(private)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.data[..self.len]
    }

    pub(crate) fn encode(&self) -> dmaplane_private {
        dmaplane_private {
            len: self.len as u32,
            data: self.data,
        }
    }

    pub(crate) fn decode(raw: &dmaplane_private) -> Self {
        let len = (raw.len as usize).min(Self::MAX);
        Self::new(&raw.data[..len]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive() {
        for text in ["10.1.2.3:18515", "[fe80::1]:1", "[2001:db8::ff]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(decode(&encode(Some(address))), Some(address));
        }
        let scoped = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 7, 9, 3));
        assert_eq!(decode(&encode(Some(scoped))), Some(scoped));
        assert_eq!(decode(&encode(None)), None);
    }

    #[test]
    fn odd_addresses_are_none() {
        let mut raw = encode(Some("1.2.3.4:5".parse().unwrap()));
        raw.len = 28;
        assert_eq!(decode(&raw), None);
        raw.len = u32::MAX;
        assert_eq!(decode(&raw), None);
    }

    #[test]
    fn private_data() {
        assert_eq!(Private::new(&[0; 33]), None);
        let private = Private::new(b"abc").unwrap();
        let mut raw = private.encode();
        assert_eq!((raw.len, &raw.data[..4]), (3, &b"abc\0"[..]));
        assert_eq!(Private::decode(&raw), private);
        raw.len = 4000; // a kernel would not; still no panic
        assert_eq!(Private::decode(&raw).bytes().len(), 32);
    }
}
