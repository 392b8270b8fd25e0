// SPDX-License-Identifier: GPL-2.0

//! What was encoded comes back, and what an encoder could not have written is refused.

use dmaplane_unit::pure::wire::{
    decode_ctrl, encode_ack, encode_lease, encode_word, CtrlHeader, CtrlKind, Data, Hello, Key,
    LeaseTerms, RejectReason, Rights, WireError, CTRL_MAX, DATA_HEADER, KEYS_PER_MESSAGE, MAGIC,
    PRIVATE_MAX, VERSION,
};
use proptest::prelude::*;

use crate::common::config;
use crate::{ack, hello, lease, HEADER};

fn key() -> impl Strategy<Value = Key> {
    (any::<u32>(), 0..1u64 << 63).prop_map(|(rkey, addr)| Key { rkey, addr })
}

/// Possible terms with all their keys, and the segment to begin with.
fn whole_lease() -> impl Strategy<Value = (LeaseTerms, Vec<Key>)> {
    let numbers = (
        any::<u32>(),
        any::<u64>(),
        12..40u32,
        1..4096u64,
        any::<u64>(),
    );
    (numbers, prop::collection::vec(key(), 1..70)).prop_map(
        |((lease, tag, shift, last, skip), keys)| {
            let segment = 1 << shift;
            let total = keys.len() as u32;
            // Of one segment, the lease has at least a byte.
            let skip = skip % if total > 1 { segment } else { last };
            let terms = LeaseTerms {
                lease,
                tag,
                length: u64::from(total - 1) * segment + last - skip,
                segment,
                skip,
                total,
                rights: Rights {
                    write: last % 3 != 0,
                    read: last % 3 != 1,
                },
            };
            (terms, keys)
        },
    )
}

fn valid_message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => Just(ack()),
        4 => whole_lease().prop_map(|(terms, keys)| lease(&terms, 0, &keys).unwrap().0),
    ]
}

/// Bytes that a decoder must look at closely: a little wrong, or all wrong.
fn nearly(valid: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    let changes = prop::collection::vec(change, 0..4);
    let cut = prop::option::weighted(0.2, any::<prop::sample::Index>());
    let more = prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..8);
    (valid, changes, cut, more).prop_map(|(mut bytes, changes, cut, more)| {
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        } else if more.len() > 4 {
            bytes.extend(more);
        }
        bytes
    })
}

fn wild() -> impl Strategy<Value = Vec<u8>> {
    let begin = prop_oneof![
        Just(Vec::new()),
        Just([&MAGIC.to_be_bytes()[..], &VERSION.to_be_bytes()].concat()),
        Just([&MAGIC.to_be_bytes()[..], &VERSION.to_be_bytes(), &[0, 2]].concat()),
    ];
    (begin, prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(mut begin, rest)| {
        begin.extend(rest);
        begin
    })
}

/// What is accepted is exactly what an encoder writes.
fn check_message(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(message) = decode_ctrl(bytes) else {
        return Ok(());
    };
    let mut out = [0; CTRL_MAX];
    let length = match message.kind {
        CtrlKind::Ack => encode_ack(message.header, &mut out),
        CtrlKind::Word(word) => encode_word(message.header, &word, &mut out),
        CtrlKind::Lease(part) => {
            let count = part.keys.count();
            prop_assert!(count >= 1 && count as usize <= KEYS_PER_MESSAGE);
            prop_assert_eq!(part.keys.iter().count(), count as usize);
            prop_assert!(part.first.checked_add(count).unwrap() <= part.terms.total);
            let keys = part.keys.iter();
            let sent = encode_lease(message.header, &part.terms, part.first, keys, &mut out);
            sent.unwrap().length
        }
    };
    prop_assert_eq!(&out[..length], bytes);
    Ok(())
}

fn check_hello(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(read) = Hello::decode(bytes) {
        let again = hello(read.credits, read.message, read.user);
        let (head, tail) = bytes.split_at(again.len());
        prop_assert_eq!(head, again);
        prop_assert!(tail.iter().all(|&byte| byte == 0));
    }
    if let Ok(reason) = RejectReason::decode(bytes) {
        prop_assert_eq!(&bytes[..RejectReason::LENGTH], reason.encode());
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(10_000))]

    #[test]
    fn hellos_come_back(
        credits: u32,
        message: u16,
        user in prop::collection::vec(any::<u8>(), 0..=PRIVATE_MAX),
        padding in 0..200usize,
    ) {
        let bytes = [hello(credits, message, &user), vec![0; padding]].concat();
        prop_assert_eq!(Hello::decode(&bytes), Ok(Hello { credits, message, user: &user }));
    }

    #[test]
    fn messages_of_programs_come_back(imm: Option<u32>, length: u16, more: Vec<u8>) {
        let data = Data { imm, length };
        let total = u32::from(length) + DATA_HEADER as u32;
        let bytes = [&data.encode()[..], &more].concat();
        prop_assert_eq!(Data::decode(&bytes, total), Ok(Some(data)));
        prop_assert_eq!(Data::decode(&bytes, total + 1), Err(WireError::Malformed));
    }

    #[test]
    fn any_bytes_are_a_message_that_encodes_to_them_or_none(
        bytes in nearly(any::<(Option<u32>, u16)>().prop_map(|(imm, length)| {
            Data { imm, length }.encode().to_vec()
        })),
        total: u32,
    ) {
        if let Ok(Some(data)) = Data::decode(&bytes, total) {
            prop_assert_eq!(&data.encode()[..], &bytes[..DATA_HEADER]);
            prop_assert_eq!(u32::from(data.length) + DATA_HEADER as u32, total);
        }
    }

    #[test]
    fn acknowledgements_come_back(credits: u32, ack: u32) {
        let header = CtrlHeader { credits, ack };
        let mut out = [0; CTRL_MAX];
        let length = encode_ack(header, &mut out);
        let message = decode_ctrl(&out[..length]).unwrap();
        prop_assert_eq!(message.header, header);
        prop_assert!(matches!(message.kind, CtrlKind::Ack));
    }

    #[test]
    fn leases_come_back_in_parts((terms, keys) in whole_lease()) {
        let mut got = Vec::new();
        while got.len() < keys.len() {
            let first = got.len() as u32;
            let (bytes, count) = lease(&terms, first, &keys[got.len()..]).unwrap();
            let message = decode_ctrl(&bytes).unwrap();
            prop_assert_eq!(message.header, HEADER);
            let CtrlKind::Lease(part) = message.kind else {
                return Err(TestCaseError::fail("not a lease"));
            };
            prop_assert_eq!((part.terms, part.first, part.keys.count()), (terms, first, count));
            prop_assert_eq!(count as usize, KEYS_PER_MESSAGE.min(keys.len() - got.len()));
            got.extend(part.keys.iter());
        }
        prop_assert_eq!(got, keys);
    }

    #[test]
    fn nearly_messages(bytes in nearly(valid_message())) {
        check_message(&bytes)?;
    }

    #[test]
    fn nearly_hellos(
        bytes in nearly(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..=PRIVATE_MAX).prop_map(|user| hello(7, 7, &user)),
            Just(RejectReason::Backlog.encode().to_vec()),
        ])
    ) {
        check_hello(&bytes)?;
    }

    #[test]
    fn wild_bytes(bytes in wild()) {
        check_message(&bytes)?;
        check_hello(&bytes)?;
    }
}
