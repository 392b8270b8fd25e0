// SPDX-License-Identifier: GPL-2.0

//! Bytes from a peer that is not trusted. A panic here would be the kernel's.

use kernel::prelude::*;

#[kunit_tests(dmaplane_wire)]
mod tests {
    use super::*;
    use crate::pure::wire::*;
    use dmakit::uapi;

    const HEADER: CtrlHeader = CtrlHeader {
        credits: u32::MAX,
        ack: 0x8000_0000,
    };
    const TERMS: LeaseTerms = LeaseTerms {
        lease: 7,
        tag: u64::MAX,
        length: 3 * MIN_SEGMENT,
        segment: MIN_SEGMENT,
        skip: 0,
        total: 3,
        rights: Rights {
            write: true,
            read: true,
        },
    };
    const KEY: Key = Key {
        rkey: 0xdead_beef,
        addr: u64::MAX - MIN_SEGMENT,
    };

    /// A lease of three segments as bytes, and how many they are.
    fn lease() -> Result<([u8; CTRL_MAX], usize)> {
        let mut bytes = [0xff; CTRL_MAX];
        let sent = encode_lease(HEADER, &TERMS, 0, [KEY; 3], &mut bytes).map_err(|_| EINVAL)?;
        Ok((bytes, sent.length))
    }

    /// What becomes of the lease if `change` is written at byte `at`.
    fn changed(at: usize, change: &[u8]) -> Result<Option<WireError>> {
        let (mut bytes, length) = lease()?;
        let end = at.checked_add(change.len()).ok_or(EINVAL)?;
        bytes
            .get_mut(at..end)
            .ok_or(EINVAL)?
            .copy_from_slice(change);
        Ok(decode_ctrl(bytes.get(..length).ok_or(EINVAL)?).err())
    }

    #[test]
    fn a_lease_arrives_as_it_was_sent() -> Result {
        let (bytes, length) = lease()?;
        let message = decode_ctrl(&bytes[..length]).map_err(|_| EINVAL)?;
        assert_eq!(message.header, HEADER);
        let CtrlKind::Lease(part) = message.kind else {
            return Err(EINVAL);
        };
        assert_eq!(part.terms, TERMS);
        assert_eq!(part.first, 0);
        assert!(part.keys.iter().eq([KEY; 3]));
        // Nothing that was in the buffer before goes to the peer.
        assert!(bytes.iter().skip(length).all(|&byte| byte == 0));
        Ok(())
    }

    #[test]
    fn every_other_length_is_refused() -> Result {
        let (bytes, length) = lease()?;
        for other in (0..CTRL_MAX).filter(|&other| other != length) {
            assert!(decode_ctrl(&bytes[..other]).is_err());
        }
        Ok(())
    }

    #[test]
    fn leases_that_cannot_be() -> Result {
        use WireError::*;
        assert_eq!(changed(0, b"DMAQ")?, Some(NotOurs));
        assert_eq!(changed(4, &[0, 1])?, Some(Version(1)));
        assert_eq!(changed(6, &[0, 7])?, Some(Malformed));
        // Segments in all.
        assert_eq!(changed(20, &[0xff; 4])?, Some(Impossible));
        // Length and bytes per segment.
        assert_eq!(changed(32, &[0xff; 8])?, Some(Impossible));
        assert_eq!(changed(32, &[0; 8])?, Some(Impossible));
        assert_eq!(changed(40, &[0; 8])?, Some(Impossible));
        assert_eq!(changed(40, &[0xff; 8])?, Some(Impossible));
        // The first segment, so that the last would begin at the end, and how many are here.
        assert_eq!(changed(48, &[0, 0, 0, 1])?, Some(Impossible));
        assert_eq!(changed(48, &[0xff; 4])?, Some(Impossible));
        assert_eq!(changed(52, &[0xff; 2])?, Some(Malformed));
        assert_eq!(changed(52, &[0, 0])?, Some(Malformed));
        // What it allows.
        assert_eq!(changed(54, &[0, 0])?, Some(Impossible));
        assert_eq!(changed(54, &[0, 4])?, Some(Malformed));
        // Where in the first segment it begins: then it would need another one.
        assert_eq!(changed(56, &[0, 0, 0, 0, 0, 0, 0, 1])?, Some(Impossible));
        assert_eq!(changed(56, &[0xff; 8])?, Some(Impossible));
        // The first key's address: its segment would end beyond 64 bits.
        assert_eq!(changed(68, &[0xff; 8])?, Some(Impossible));
        assert_eq!(changed(68, &[0; 8])?, None);
        Ok(())
    }

    #[test]
    fn noise_behind_a_good_header() -> Result {
        let (good, length) = lease()?;
        let (mut state, mut leases, mut refused) = (0x2545_f491_4f6c_dd1du64, 0, 0);
        for _ in 0..20_000 {
            let mut bytes = good;
            // xorshift: three bytes of the lease become others.
            for _ in 0..3 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let at = 8 + state as usize % (length - 8);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = (state >> 32) as u8;
                }
            }
            match decode_ctrl(&bytes[..length]).map(|message| message.kind) {
                Ok(CtrlKind::Lease(part)) => {
                    leases += 1;
                    let (terms, first) = (part.terms, part.first);
                    let end = terms.skip + terms.length;
                    assert_eq!(end.div_ceil(terms.segment), terms.total.into());
                    for (segment, key) in (first..).zip(part.keys.iter()) {
                        assert!(segment < terms.total);
                        let left = end - u64::from(segment) * terms.segment;
                        assert!(key.addr.checked_add(left.min(terms.segment)).is_some());
                    }
                }
                Ok(CtrlKind::Ack | CtrlKind::Word(_)) => return Err(EINVAL),
                Err(_) => refused += 1,
            }
        }
        assert!(leases > 0 && refused > 0);
        Ok(())
    }

    #[test]
    fn a_hello_with_all_that_fits() -> Result {
        assert_eq!(PRIVATE_MAX, uapi::DMAPLANE_PRIVATE_MAX as usize);
        let hello = Hello {
            credits: u32::MAX,
            message: u16::MAX,
            user: &[0xa5; PRIVATE_MAX],
        };
        // The connection manager pads with zeros.
        let mut padded = [0; 56];
        let mut bytes = [0; Hello::MAX];
        let length = hello.encode(&mut bytes).map_err(|_| EINVAL)?;
        padded[..length].copy_from_slice(&bytes[..length]);
        assert_eq!(Hello::decode(&padded), Ok(hello));
        for short in 0..length {
            assert!(Hello::decode(&padded[..short]).is_err());
        }
        padded[55] = 1;
        assert_eq!(Hello::decode(&padded), Err(HelloError::Malformed));
        let user = &[0; PRIVATE_MAX + 1];
        let long = Hello {
            credits: 1,
            message: 0,
            user,
        };
        assert_eq!(long.encode(&mut bytes), Err(HelloError::TooLong));
        Ok(())
    }

    #[test]
    fn a_message_of_a_program() -> Result {
        assert_eq!(
            uapi::DMAPLANE_MESSAGE_MAX as usize + DATA_HEADER,
            kernel::page::PAGE_SIZE
        );
        assert_eq!(uapi::DMAPLANE_MESSAGE_MIN as usize + DATA_HEADER, CTRL_MAX);
        for imm in [None, Some(0), Some(u32::MAX)] {
            let data = Data { imm, length: 5 };
            let bytes = data.encode();
            assert_eq!(Data::decode(&bytes, 21), Ok(Some(data)));
            for total in [0, 16, 20, 22, u32::MAX] {
                assert_eq!(Data::decode(&bytes, total), Err(WireError::Malformed));
            }
            assert!(decode_ctrl(&bytes).is_err());
        }
        // It is no message of the kernel's, nor the other way round.
        let (bytes, length) = lease()?;
        assert_eq!(Data::decode(&bytes, length as u32), Ok(None));
        Ok(())
    }

    #[test]
    fn a_hello_that_claims_more_than_it_brings() -> Result {
        let hello = Hello {
            credits: 1,
            message: 2,
            user: b"ab",
        };
        let mut bytes = [0; Hello::MAX];
        let length = hello.encode(&mut bytes).map_err(|_| EINVAL)?;
        for (claim, error) in [
            (3, HelloError::Malformed),
            (PRIVATE_MAX as u16, HelloError::Malformed),
            (PRIVATE_MAX as u16 + 1, HelloError::TooLong),
            (u16::MAX, HelloError::TooLong),
        ] {
            bytes[12..14].copy_from_slice(&claim.to_be_bytes());
            assert_eq!(Hello::decode(&bytes[..length]), Err(error));
        }
        Ok(())
    }
}
