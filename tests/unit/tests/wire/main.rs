// SPDX-License-Identifier: GPL-2.0

//! Tests of `src/pure/wire.rs`: the bytes of each format, and decoders against bytes that no
//! encoder wrote.

#[path = "../common/mod.rs"]
mod common;
mod formats;
mod fuzz;

use dmaplane_unit::pure::wire::{
    encode_ack, encode_lease, CtrlHeader, Hello, Key, LeaseTerms, Rights, Sent, WireError, CTRL_MAX,
};

const HEADER: CtrlHeader = CtrlHeader {
    credits: 0x0102_0304,
    ack: 0x0506_0708,
};

const TERMS: LeaseTerms = LeaseTerms {
    lease: 9,
    tag: 0x1112_1314_1516_1718,
    length: 10_000,
    segment: 4096,
    skip: 0,
    total: 3,
    rights: Rights {
        write: true,
        read: false,
    },
};

const KEYS: [Key; 2] = [
    Key {
        rkey: 0xa1a2_a3a4,
        addr: 0xb1b2_b3b4_b5b6_b7b8,
    },
    Key {
        rkey: 0xc1c2_c3c4,
        addr: 0xd1d2_d3d4_d5d6_d7d8,
    },
];

fn hello(credits: u32, message: u16, user: &[u8]) -> Vec<u8> {
    let mut out = [0xff; Hello::MAX];
    let hello = Hello {
        credits,
        message,
        user,
    };
    let length = hello.encode(&mut out).unwrap();
    assert!(out[length..].iter().all(|&byte| byte == 0));
    out[..length].to_vec()
}

fn ack() -> Vec<u8> {
    let mut out = [0xff; CTRL_MAX];
    let length = encode_ack(HEADER, &mut out);
    assert!(out[length..].iter().all(|&byte| byte == 0));
    out[..length].to_vec()
}

fn lease(terms: &LeaseTerms, first: u32, keys: &[Key]) -> Result<(Vec<u8>, u32), WireError> {
    let mut out = [0xff; CTRL_MAX];
    let Sent { length, keys } = encode_lease(HEADER, terms, first, keys.iter().copied(), &mut out)?;
    assert!(out[length..].iter().all(|&byte| byte == 0));
    Ok((out[..length].to_vec(), keys))
}
