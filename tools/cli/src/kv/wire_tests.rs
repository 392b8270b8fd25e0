// SPDX-License-Identifier: GPL-2.0
//! Tests of the wire formats: round trips, limits, and arbitrary bytes.

use super::*;
use proptest::prelude::*;

const HELLO: Hello = Hello {
    payload: 4 << 20,
    manifest: 2000,
    chunk: 65536,
    tensors: 16,
    chunks: 64,
};

#[test]
fn immediates_pack_and_unpack() {
    for n in [0, 1, 63, 64, 1 << 24, Imm::LIMIT - 1] {
        for imm in [
            Imm::Manifest(n),
            Imm::Chunk(n),
            Imm::End(n),
            Imm::Verdict(n),
        ] {
            assert_eq!(Imm::unpack(imm.pack()), Ok(imm));
        }
    }
    for raw in [0, 5, 0xa000_0000, u32::MAX] {
        assert_eq!(Imm::unpack(raw), Err(Bad::Imm(raw)));
    }
}

#[test]
fn hello_survives_and_others_are_refused() {
    let good = HELLO.encode();
    assert_eq!(Hello::decode(&good), Ok(HELLO));
    assert_eq!(Hello::decode(&[]), Err(Bad::Protocol));
    assert_eq!(Hello::decode(b"GET / HTTP/1.1"), Err(Bad::Protocol));
    assert_eq!(Hello::decode(&good[..31]), Err(Bad::Protocol));
    let with = |at: usize, byte: u8| {
        let mut bytes = good;
        bytes[at] = byte;
        Hello::decode(&bytes)
    };
    assert_eq!(with(3, 9), Err(Bad::Version(9)));
    assert_eq!(with(5, 1), Err(Bad::Flags(256)));
    assert!(matches!(
        with(15, 0xff),
        Err(Bad::Range("payload size", ..))
    ));
    assert!(matches!(
        with(19, 0xff),
        Err(Bad::Range("manifest size", ..))
    ));
    assert!(matches!(with(23, 0xff), Err(Bad::Range("chunk size", ..))));
    assert!(matches!(
        with(27, 0xff),
        Err(Bad::Range("number of tensors", ..))
    ));
    assert!(matches!(
        with(31, 0xff),
        Err(Bad::Range("number of chunks", ..))
    ));
}

#[test]
fn more_chunks_than_an_immediate_can_number() {
    let hello = Hello {
        payload: u64::from(Imm::LIMIT) * 512,
        chunk: 512,
        chunks: Imm::LIMIT - 1,
        ..HELLO
    };
    assert_eq!(hello.check(), Ok(()));
    let chunks = Imm::LIMIT;
    assert!(Hello { chunks, ..hello }.check().is_err());
}

#[test]
fn trailer_agrees_with_the_hello() {
    let trailer = Trailer {
        chunks: 64,
        payload: 4 << 20,
        p50: 1,
        p99: 2,
        max: 3,
        stalls: 4,
        stall_ns: 5,
    };
    let mut bytes = trailer.encode();
    assert_eq!(Trailer::decode(&bytes, &HELLO), Ok(trailer));
    bytes[4] ^= 1;
    assert!(Trailer::decode(&bytes, &HELLO).is_err());
}

#[test]
fn verdicts_survive() {
    let equal = Verdict {
        status: Status::Equal,
        crcs: vec![1, u32::MAX, 3],
        reason: String::new(),
    };
    assert_eq!(Verdict::decode(&equal.encode(), 3), Ok(equal.clone()));
    assert!(Verdict::decode(&equal.encode(), 4).is_err());

    let refused = Verdict {
        status: Status::Refused,
        crcs: vec![],
        reason: "é".repeat(200),
    };
    let decoded = Verdict::decode(&refused.encode(), 3).unwrap();
    assert_eq!(decoded.reason, "é".repeat(120));
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Hello::decode(&bytes);
        let _ = Verdict::decode(&bytes, 7);
    }

    #[test]
    fn any_hello_that_is_taken_is_in_range(mut bytes in any::<[u8; 32]>(), small: bool) {
        bytes[..8].copy_from_slice(&HELLO.encode()[..8]);
        if small {
            for at in [12, 13, 14, 15, 19, 22, 23, 26, 27, 30, 31] {
                bytes[at] = 0;
            }
        }
        if let Ok(hello) = Hello::decode(&bytes) {
            prop_assert!(hello.check().is_ok());
            prop_assert_eq!(hello.encode(), bytes);
        }
    }

    #[test]
    fn any_verdict_head_is_decoded_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 256..300)) {
        bytes[..4].copy_from_slice(&ANSWER);
        bytes[4] %= 4;
        bytes[5..8].fill(0);
        if let Ok(verdict) = Verdict::decode(&bytes, 3) {
            prop_assert!(verdict.crcs.len() <= 3);
        }
    }
}
