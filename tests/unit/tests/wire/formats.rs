// SPDX-License-Identifier: GPL-2.0

//! The bytes of each format, and every way to be wrong.

use dmaplane_unit::pure::wire::{
    decode_ctrl, encode_word, CtrlKind, Data, Hello, HelloError, Key, LeaseTerms, RejectReason,
    What, WireError, Word, CTRL_MAX, DATA_HEADER, MAX_SEGMENTS, PRIVATE_MAX,
};

use crate::{ack, hello, lease, HEADER, KEYS, TERMS};

/// Writes big-endian `bytes` at `at`.
fn with(mut message: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    message[at..at + bytes.len()].copy_from_slice(bytes);
    message
}

#[test]
fn the_bytes_of_a_hello() {
    let expected = b"DMAP\0\x04\0\x10\x01\x02\x03\x04\0\x03\x0a\x0babc";
    assert_eq!(hello(0x0102_0304, 0x0a0b, b"abc"), expected);
    assert_eq!(hello(0, 0, &[7; PRIVATE_MAX]).len(), Hello::MAX);
}

#[test]
fn the_bytes_of_a_message_of_a_program() {
    let data = Data {
        imm: Some(0x0102_0304),
        length: 0x0506,
    };
    let expected = b"DMAP\0\x04\0\x03\x01\x02\x03\x04\0\x01\x05\x06";
    assert_eq!(&data.encode(), expected);
    // An immediate that is not there, a flag that is not known.
    for (at, byte) in [(13, 0), (12, 1), (13, 2)] {
        let bytes = with(expected.to_vec(), at, &[byte]);
        let total = 0x0506 + DATA_HEADER as u32;
        assert_eq!(Data::decode(&bytes, total), Err(WireError::Malformed));
    }
    assert_eq!(
        Data::decode(&expected[..15], 0x0516),
        Err(WireError::Malformed)
    );
}

#[test]
fn the_bytes_of_a_reject() {
    let reasons = [
        (RejectReason::Version, b"DMAP\0\x04\0\x01"),
        (RejectReason::Backlog, b"DMAP\0\x04\0\x02"),
        (RejectReason::Program, b"DMAP\0\x04\0\x03"),
    ];
    for (reason, bytes) in reasons {
        assert_eq!(&reason.encode(), bytes);
        assert_eq!(RejectReason::decode(bytes), Ok(reason));
        assert_eq!(
            RejectReason::decode(&[&bytes[..], &[0; 140]].concat()),
            Ok(reason)
        );
    }
}

#[test]
fn the_bytes_of_an_acknowledgement() {
    assert_eq!(ack(), b"DMAP\0\x04\0\x01\x01\x02\x03\x04\x05\x06\x07\x08");
}

#[test]
fn the_bytes_of_a_word_about_a_lease() {
    let all = [(What::Hold, 4), (What::Held, 5), (What::End, 6)];
    for (what, kind) in all {
        let word = Word {
            what,
            lease: 0x2122_2324,
            turn: 0x3132_3334,
        };
        let expected = [
            &b"DMAP\0\x04\0"[..],
            &[kind],
            b"\x01\x02\x03\x04\x05\x06\x07\x08\x21\x22\x23\x24\x31\x32\x33\x34",
        ];
        let mut out = [0xff; CTRL_MAX];
        let length = encode_word(HEADER, &word, &mut out);
        assert_eq!(out[..length], expected.concat());
        assert!(out[length..].iter().all(|&byte| byte == 0));
        let message = decode_ctrl(&out[..length]).unwrap();
        assert!(matches!(message.kind, CtrlKind::Word(got) if got == word));
        for wrong in [16, length - 1, length + 1] {
            assert!(decode_ctrl(&out[..wrong]).is_err());
        }
        let bytes = with(out[..length].to_vec(), 7, &[7]);
        assert_eq!(decode_ctrl(&bytes).err(), Some(WireError::Malformed));
    }
}

#[test]
fn the_bytes_of_a_lease() {
    let expected = [
        &b"DMAP\0\x04\0\x02\x01\x02\x03\x04\x05\x06\x07\x08"[..],
        b"\0\0\0\x09\0\0\0\x03\x11\x12\x13\x14\x15\x16\x17\x18",
        b"\0\0\0\0\0\0\x27\x10\0\0\0\0\0\0\x10\0",
        b"\0\0\0\x01\0\x02\0\x01",
        b"\0\0\0\0\0\0\x07\x08",
        b"\xa1\xa2\xa3\xa4\xb1\xb2\xb3\xb4\xb5\xb6\xb7\xb8",
        b"\xc1\xc2\xc3\xc4\xd1\xd2\xd3\xd4\xd5\xd6\xd7\xd8",
    ];
    let terms = LeaseTerms {
        skip: 0x0708,
        ..TERMS
    };
    assert_eq!(lease(&terms, 1, &KEYS), Ok((expected.concat(), 2)));
}

#[test]
fn a_hello_that_is_not_one() {
    let good = hello(5, 0, b"abc");
    let decode = |bytes: &[u8]| Hello::decode(bytes).map(|_| ());
    assert_eq!(decode(&good), Ok(()));
    assert_eq!(decode(b""), Err(HelloError::NotOurs));
    assert_eq!(decode(&[0; 56]), Err(HelloError::NotOurs));
    assert_eq!(
        decode(&with(good.clone(), 0, b"d")),
        Err(HelloError::NotOurs)
    );
    assert_eq!(
        decode(&with(good.clone(), 4, &[0, 1])),
        Err(HelloError::Version(1))
    );
    // The version comes first: all else may differ there.
    assert_eq!(decode(b"DMAP\xff\xff"), Err(HelloError::Version(0xffff)));
    assert_eq!(
        decode(&with(good.clone(), 6, &[0, 17])),
        Err(HelloError::Malformed)
    );
    assert_eq!(
        decode(&with(good.clone(), 12, &[0, 4])),
        Err(HelloError::Malformed)
    );
    assert_eq!(
        decode(&with(good.clone(), 12, &[0, 2])),
        Err(HelloError::Malformed)
    );
    assert_eq!(
        decode(&with(good.clone(), 12, &[0, 33])),
        Err(HelloError::TooLong)
    );
    for length in 4..good.len() {
        assert_eq!(decode(&good[..length]), Err(HelloError::Malformed));
    }
    let long = Hello {
        credits: 1,
        message: 0,
        user: &[0; PRIVATE_MAX + 1],
    };
    assert_eq!(long.encode(&mut [0; Hello::MAX]), Err(HelloError::TooLong));
}

#[test]
fn a_reject_that_is_not_one() {
    let decode = RejectReason::decode;
    assert_eq!(decode(b"DMAP\0\x04\0\0"), Err(HelloError::Malformed));
    assert_eq!(decode(b"DMAP\0\x04\0\x04"), Err(HelloError::Malformed));
    assert_eq!(
        decode(b"DMAP\0\x04\0\x01\0\x01"),
        Err(HelloError::Malformed)
    );
    assert_eq!(decode(b"DMAP\0\x04\0"), Err(HelloError::Malformed));
    assert_eq!(decode(b"DMAP\0\x05\0\x01"), Err(HelloError::Version(5)));
    assert_eq!(decode(b"DMAX\0\x01\0\x01"), Err(HelloError::NotOurs));
    assert_eq!(decode(b""), Err(HelloError::NotOurs));
}

#[test]
fn a_message_that_is_not_one() {
    let decode = |bytes: &[u8]| decode_ctrl(bytes).map(|_| ());
    assert_eq!(decode(&ack()), Ok(()));
    assert_eq!(decode(b""), Err(WireError::NotOurs));
    assert_eq!(decode(&with(ack(), 3, b"p")), Err(WireError::NotOurs));
    assert_eq!(decode(&with(ack(), 4, &[0, 0])), Err(WireError::Version(0)));
    assert_eq!(decode(&with(ack(), 7, &[0])), Err(WireError::Malformed));
    assert_eq!(decode(&with(ack(), 7, &[3])), Err(WireError::Malformed));
    assert_eq!(
        decode(&[ack(), vec![0]].concat()),
        Err(WireError::Malformed)
    );

    let good = lease(&TERMS, 1, &KEYS).unwrap().0;
    assert_eq!(decode(&good), Ok(()));
    for whole in [&ack(), &good] {
        for length in 4..whole.len() {
            assert_eq!(decode(&whole[..length]), Err(WireError::Malformed));
        }
    }
    assert_eq!(
        decode(&[&good[..], &[0]].concat()),
        Err(WireError::Malformed)
    );
    assert_eq!(
        decode(&with(good.clone(), 53, &[0])),
        Err(WireError::Malformed)
    );
    assert_eq!(
        decode(&with(good.clone(), 53, &[1])),
        Err(WireError::Malformed)
    );
    assert_eq!(
        decode(&with(good.clone(), 53, &[3])),
        Err(WireError::Malformed)
    );
    // Rights: none, one that is not known.
    assert_eq!(
        decode(&with(good.clone(), 55, &[0])),
        Err(WireError::Impossible)
    );
    assert_eq!(decode(&with(good.clone(), 55, &[2])), Ok(()));
    assert_eq!(
        decode(&with(good.clone(), 55, &[4])),
        Err(WireError::Malformed)
    );
    assert_eq!(
        decode(&with(good.clone(), 54, &[1])),
        Err(WireError::Malformed)
    );
}

#[test]
fn a_lease_of_more_keys_than_fit() {
    let terms = LeaseTerms {
        length: 17 * 4096,
        total: 17,
        ..TERMS
    };
    let (bytes, count) = lease(&terms, 0, &[KEYS[0]; 17]).unwrap();
    assert_eq!((bytes.len(), count), (256, 16));
    assert!(decode_ctrl(&bytes).is_ok());
    let more = [with(bytes, 53, &[17]), vec![0; 12]].concat();
    assert_eq!(decode_ctrl(&more).unwrap_err(), WireError::Malformed);
}

#[test]
fn a_lease_that_cannot_be() {
    let impossible = |terms: LeaseTerms, first: u32, keys: &[Key]| {
        assert_eq!(lease(&terms, first, keys), Err(WireError::Impossible));
        // The decoder does not rely on the encoder.
        let count = keys.len() as u16;
        let rights = u8::from(terms.rights.write) + 2 * u8::from(terms.rights.read);
        let mut bytes = lease(&TERMS, 0, &KEYS).unwrap().0;
        bytes.truncate(20);
        bytes.extend(terms.total.to_be_bytes());
        bytes.extend(terms.tag.to_be_bytes());
        bytes.extend(terms.length.to_be_bytes());
        bytes.extend(terms.segment.to_be_bytes());
        bytes.extend(first.to_be_bytes());
        bytes.extend(count.to_be_bytes());
        bytes.extend([0, rights]);
        bytes.extend(terms.skip.to_be_bytes());
        for key in keys {
            bytes.extend(key.rkey.to_be_bytes());
            bytes.extend(key.addr.to_be_bytes());
        }
        let error = decode_ctrl(&bytes).map(|_| ()).unwrap_err();
        let expected = if count == 0 {
            WireError::Malformed
        } else {
            WireError::Impossible
        };
        assert_eq!(error, expected);
    };
    let terms = |length, segment, total| LeaseTerms {
        length,
        segment,
        total,
        ..TERMS
    };
    impossible(TERMS, 0, &[]);
    impossible(TERMS, 2, &KEYS);
    impossible(TERMS, u32::MAX, &KEYS);
    impossible(terms(8192, 4096, 2), 1, &KEYS);
    impossible(terms(10_000, 4096, 2), 0, &KEYS);
    impossible(terms(10_000, 4096, 4), 0, &KEYS);
    impossible(terms(0, 4096, 0), 0, &KEYS);
    impossible(terms(0, 4096, 1), 0, &KEYS);
    impossible(terms(10_000, 5000, 2), 0, &KEYS);
    impossible(terms(10_000, 2048, 5), 0, &KEYS);
    impossible(terms(10_000, 0, 3), 0, &KEYS);
    impossible(terms(4096 * 65_537, 4096, 65_537), 0, &KEYS);
    impossible(terms(u64::MAX, 1 << 63, 1), 0, &KEYS);

    let skip = |skip| LeaseTerms { skip, ..TERMS };
    impossible(skip(2289), 0, &KEYS);
    impossible(skip(4096), 0, &KEYS);
    impossible(skip(u64::MAX), 0, &KEYS);
    impossible(skip(u64::MAX - 9_999), 0, &KEYS);
    assert!(lease(&skip(2288), 0, &KEYS).is_ok());

    // The last segment is short, so only its bytes must have addresses.
    let top = |below: u64| {
        [Key {
            rkey: 1,
            addr: u64::MAX - below,
        }]
    };
    impossible(TERMS, 0, &top(4095));
    impossible(TERMS, 2, &top(1807));
    assert!(lease(&TERMS, 0, &top(4096)).is_ok());
    assert!(lease(&TERMS, 2, &top(1808)).is_ok());
    impossible(skip(100), 2, &top(1907));
    assert!(lease(&skip(100), 2, &top(1908)).is_ok());
    let most = terms(4096 * u64::from(MAX_SEGMENTS), 4096, MAX_SEGMENTS);
    assert!(lease(&most, MAX_SEGMENTS - 1, &top(4096)).is_ok());
}
