// SPDX-License-Identifier: GPL-2.0
//! The kernel copies an entry once, as eight words, and its user may write others meanwhile. What the
//! kernel takes such a copy for is tested with the module's own `rust/uapi.rs`.

use proptest::prelude::*;
use uapi::{dmaplane_sqe, SqeWords};

extern crate self as kernel;

/// What the module has from the kernel crate.
#[allow(missing_docs, clippy::missing_safety_doc)]
pub mod transmute {
    pub unsafe trait AsBytes {}
    pub unsafe trait FromBytes {}
}
pub use core::ffi;

#[allow(dead_code, non_upper_case_globals, unused_imports)]
#[path = "../../../rust/uapi.rs"]
mod uapi;

/// Where members are: the word and the bytes of it, as the header has them.
fn member(words: &[u64; 8], word: usize, from: usize, len: usize) -> u64 {
    let bytes = &words[word].to_le_bytes()[from..from + len];
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

fn expect(words: [u64; 8]) {
    let sqe = dmaplane_sqe::from(SqeWords::new(words));
    let members = [
        (u64::from(sqe.opcode), 0, 0, 1),
        (u64::from(sqe.flags), 0, 1, 1),
        (u64::from(sqe.pad0), 0, 2, 2),
        (u64::from(sqe.endpoint), 0, 4, 4),
        (sqe.user_data, 1, 0, 8),
        (u64::from(sqe.region), 2, 0, 4),
        (u64::from(sqe.lease), 2, 4, 4),
        (sqe.local_offset, 3, 0, 8),
        (sqe.remote_offset, 4, 0, 8),
        (u64::from(sqe.length), 5, 0, 4),
        (u64::from(sqe.imm), 5, 4, 4),
        (u64::from(sqe.list), 6, 0, 4),
        (u64::from(sqe.list_count), 6, 4, 4),
        (sqe.list_offset, 7, 0, 8),
    ];
    assert_eq!(members.iter().map(|member| member.3).sum::<usize>(), 64);
    for (value, word, from, len) in members {
        assert_eq!(value, member(&words, word, from, len));
    }
    // The short way for a NOP says of the same copy what the long one would.
    let begins = sqe.opcode == 0 && sqe.flags == 0 && sqe.pad0 == 0 && sqe.endpoint == 0;
    let small = sqe.region | sqe.lease | sqe.length | sqe.imm | sqe.list | sqe.list_count;
    let rest = u64::from(small) | sqe.local_offset | sqe.remote_offset | sqe.list_offset;
    let bare = begins.then_some((sqe.user_data, rest == 0));
    assert_eq!(SqeWords::new(words).bare(), bare);
}

fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        2 => Just(0),
        1 => (0..64u32).prop_map(|bit| 1 << bit),
        2 => any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn words_of_two_entries_are_what_they_say(
        one in prop::array::uniform8(word()),
        other in prop::array::uniform8(word()),
    ) {
        for mixture in 0..=u8::MAX {
            expect(std::array::from_fn(|word| match (mixture >> word) & 1 {
                0 => one[word],
                _ => other[word],
            }));
        }
    }
}

/// NOPs, and entries that are not, in one bit.
#[test]
fn each_bit_counts() {
    expect([0; 8]);
    for bit in 0..512 {
        let mut words = [0; 8];
        words[bit / 64] = 1 << (bit % 64);
        expect(words);
        words[1] |= 7;
        expect(words);
    }
}
