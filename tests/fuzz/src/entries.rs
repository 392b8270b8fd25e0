// SPDX-License-Identifier: GPL-2.0
//! Entries that may mean something, and what they may complete with.

use std::sync::Arc;

use crate::abi::{uapi::*, Plain};
use crate::action::Entry;
use crate::exec::Worker;
use crate::memory::Map;
use crate::world::{lock, Context, Kind, SPANS};

/// What the header lets an entry complete with.
pub const ENTRY_ERRNOS: &[i32] = &[
    libc::EINVAL,
    libc::EOPNOTSUPP,
    libc::ENOENT,
    libc::EBADF,
    libc::ENOKEY,
    libc::EOVERFLOW,
    libc::ERANGE,
    libc::EFBIG,
    libc::E2BIG,
    libc::EDQUOT,
    libc::EACCES,
    libc::EMSGSIZE,
    libc::EKEYREVOKED,
    libc::EBUSY,
    libc::ENXIO,
    libc::ENOSPC,
    libc::EXDEV,
    libc::ENOTCONN,
    libc::EAGAIN,
    libc::ENOMEM,
    libc::EALREADY,
    libc::ECANCELED,
    libc::ECONNRESET,
    libc::EREMOTEIO,
    libc::EPROTO,
    libc::ENODEV,
    libc::EIO,
];

/// What an endpoint can have failed of, besides: receives of it, and who waits for one, learn it.
pub const CONNECT_ERRNOS: &[i32] = &[
    libc::ECONNREFUSED,
    libc::EPROTONOSUPPORT,
    libc::EHOSTUNREACH,
    libc::ENETUNREACH,
    libc::EADDRINUSE,
    libc::EADDRNOTAVAIL,
    libc::EBADFD,
];

impl Worker {
    /// An entry that has a number of its own as its `user_data`.
    pub fn entry(&mut self, context: &Arc<Context>, entry: &Entry, number: u8) -> dmaplane_sqe {
        self.next_data += 1;
        let user_data = self.next_data;
        let number = u32::from(number);
        // Most of them alone; others as parts of chains that end somewhere.
        let flags = match entry.flags {
            0..=127 => 0,
            more => (more >> (number % 5)) & 7,
        };
        if let 200..=207 = entry.opcode {
            return dmaplane_sqe {
                opcode: DMAPLANE_OP_MIGRATE as u8,
                flags,
                user_data,
                lease: self.pick(context, entry.region, &[Kind::Buffer]),
                // Seldom one that there is none of.
                remote_offset: if entry.remote < 250 { u64::from(entry.remote % 2) } else { !0 },
                imm: u32::from(entry.local % 2),
                ..Default::default()
            };
        }
        if entry.opcode >= 200 {
            let opcode = if entry.opcode < 240 { DMAPLANE_OP_NOP as u8 } else { entry.opcode };
            return dmaplane_sqe { opcode, flags, user_data, ..Default::default() };
        }
        let endpoint = self.pick(context, entry.endpoint, &[Kind::Endpoint]);
        match entry.opcode {
            144..=159 => {
                return self.message(
                    context,
                    entry,
                    dmaplane_sqe { flags, endpoint, user_data, ..Default::default() },
                )
            }
            160..=179 => {
                return self.moving(
                    context,
                    entry,
                    dmaplane_sqe { flags, user_data, ..Default::default() },
                )
            }
            186..=189 => {
                return dmaplane_sqe {
                    opcode: DMAPLANE_OP_COUNTER_WAIT as u8,
                    flags,
                    endpoint,
                    user_data,
                    region: self.pick(context, entry.region, &[Kind::Counter]),
                    local_offset: u64::from(entry.local % 4),
                    ..Default::default()
                }
            }
            184..=185 => {
                return dmaplane_sqe {
                    opcode: DMAPLANE_OP_INVALIDATE as u8,
                    flags,
                    user_data,
                    region: self.pick(context, entry.region, &[Kind::Region]),
                    ..Default::default()
                }
            }
            180..=183 => {
                return dmaplane_sqe {
                    opcode: DMAPLANE_OP_IMM_ONLY as u8,
                    flags,
                    endpoint,
                    user_data,
                    imm: entry.imm,
                    ..Default::default()
                }
            }
            190..=199 => {
                let all = entry.local % 4 == 0;
                return dmaplane_sqe {
                    opcode: DMAPLANE_OP_CANCEL as u8,
                    flags,
                    endpoint: if entry.remote % 2 == 0 { endpoint } else { 0 },
                    user_data,
                    // One of the last ones.
                    local_offset: if all { 0 } else { user_data - u64::from(entry.length % 16) },
                    imm: u32::from(all),
                    ..Default::default()
                };
            }
            _ => {}
        }
        let region = self.pick(context, entry.region, SPANS);
        let objects = lock(&context.objects);
        let leases = objects.of(endpoint).map_or(&[][..], |object| &object.leases);
        let (lease, room) = match leases.len() {
            0 => (u32::from(entry.lease), 4096),
            len => leases[usize::from(entry.lease) % len],
        };
        let from = objects.of(region).map_or(4096, |object| object.length);
        let within = |size: u64, how: u8| match how {
            0..=199 => size * u64::from(how) / 400,
            200..=239 => size.wrapping_sub(u64::from(how % 8)),
            _ => u64::MAX - u64::from(how),
        };
        let length = match entry.length {
            0..=31 => 0,
            32..=199 => within(room.min(from), entry.length) as u32,
            200..=249 => u32::from(entry.length) * number,
            more => u32::MAX - u32::from(more),
        };
        let opcode = match entry.opcode % 4 {
            0 | 1 => DMAPLANE_OP_WRITE_IMM,
            2 => DMAPLANE_OP_WRITE,
            _ => DMAPLANE_OP_READ,
        };
        let fence = if entry.imm % 5 == 0 { DMAPLANE_SQE_FENCE as u8 } else { 0 };
        let sqe = dmaplane_sqe {
            opcode: opcode as u8,
            flags: flags | fence,
            endpoint,
            user_data,
            region: if length == 0 && entry.region.index % 2 == 0 { 0 } else { region },
            lease: if length == 0 && entry.region.index % 2 == 0 { 0 } else { lease },
            local_offset: if length == 0 { 0 } else { within(from, entry.local) },
            remote_offset: if length == 0 { 0 } else { within(room, entry.remote) },
            length,
            imm: if opcode == DMAPLANE_OP_WRITE_IMM { entry.imm } else { 0 },
            ..Default::default()
        };
        drop(objects);
        match entry.imm % 16 {
            0..=3 => self.listed(context, entry, sqe, DMAPLANE_SQE_SEGMENTS, from.min(room)),
            4..=7 => self.listed(context, entry, sqe, DMAPLANE_SQE_PAGES, from.min(room)),
            _ => sqe,
        }
    }

    /// The same with a list, in some buffer, of ranges in the first bytes of both sides, as a rule.
    fn listed(
        &self,
        context: &Arc<Context>,
        entry: &Entry,
        sqe: dmaplane_sqe,
        kind: u32,
        room: u64,
    ) -> dmaplane_sqe {
        let [_, how, at, odd] = entry.imm.to_ne_bytes();
        let list = self.pick(context, entry.endpoint, &[Kind::Buffer]);
        let count = match how {
            0..=199 => u32::from(how % 32) + 1,
            200..=239 => (u32::from(how) - 200) * 105 + 1, // up to 4096
            240..=251 => 4097,
            more => u32::from(more) - 252,
        };
        let offset = u64::from(at) * if at < 240 { 8 } else { 3 };
        let each = (room / u64::from(count + 1) / 2) as u32;
        let mut bytes = Vec::new();
        if kind == DMAPLANE_SQE_SEGMENTS {
            for n in 0..count {
                let mut segment = dmaplane_segment {
                    local_offset: u64::from(n * each),
                    remote_offset: u64::from((count - n) * each),
                    length: each.min(1 << (n % 12)),
                    pad: 0,
                };
                match odd {
                    0..=191 => {}
                    192..=207 => segment.remote_offset = segment.local_offset,
                    208..=239 if n % 32 == u32::from(odd % 32) => segment.local_offset = !0 << odd,
                    240..=249 => segment.length = u32::from(odd) << 24,
                    more => segment.pad = u32::from(more == 250),
                }
                bytes.extend(segment.bytes());
            }
        } else {
            let stride = u64::from(each) << (odd & 1);
            let strides = dmaplane_pages {
                local_stride: if odd < 224 { stride } else { !0 >> (odd % 64) },
                remote_stride: stride,
            };
            bytes.extend(strides.bytes());
            (0..count).for_each(|n| bytes.extend(n.to_ne_bytes()));
            let last = |n: u32| if odd > 200 && n == 7 { u32::MAX } else { count - n };
            (0..count).for_each(|n| bytes.extend(last(n).to_ne_bytes()));
        }
        // What does not fit is not written: there is something else then.
        let place = lock(&context.objects).of(list).map(|o| (o.mmap_offset, o.length as usize));
        let mapped = |(offset, len): &(u64, usize)| *offset != 0 && *len < 4 << 20;
        if let Some((mmap_offset, len)) = place.filter(mapped) {
            let prot = libc::PROT_READ | libc::PROT_WRITE;
            let map = Map::new(context.fd(), mmap_offset, len, prot, libc::MAP_SHARED);
            if let (Ok(map), true) = (map, offset as usize + bytes.len() <= len) {
                map.write(offset as usize, &bytes);
            }
        }
        let pages = kind == DMAPLANE_SQE_PAGES;
        dmaplane_sqe {
            flags: sqe.flags | kind as u8,
            length: if pages { each.min(512) } else { sqe.length & u32::from(odd == 0) },
            list,
            list_count: count,
            list_offset: offset,
            ..sqe
        }
    }

    /// A SEND or RECV.
    fn message(
        &mut self,
        context: &Arc<Context>,
        entry: &Entry,
        sqe: dmaplane_sqe,
    ) -> dmaplane_sqe {
        let length = match entry.length {
            0..=239 => u32::from(entry.length) * 2,
            more => u32::from(more) * 17,
        };
        if entry.opcode % 2 == 0 {
            let tells = entry.imm % 2 == 0;
            let region = self.pick(context, entry.region, SPANS);
            return dmaplane_sqe {
                opcode: if tells { DMAPLANE_OP_SEND_IMM } else { DMAPLANE_OP_SEND } as u8,
                region: if length == 0 { 0 } else { region },
                local_offset: if length == 0 { 0 } else { u64::from(entry.local) * 9 },
                length,
                imm: if tells { entry.imm } else { 0 },
                ..sqe
            };
        }
        let several = entry.remote % 3 == 0;
        let flag = if several { DMAPLANE_SQE_MULTISHOT as u8 } else { 0 };
        dmaplane_sqe {
            opcode: DMAPLANE_OP_RECV as u8,
            flags: sqe.flags | flag,
            lease: self.pick(context, entry.region, &[Kind::Buffer]),
            remote_offset: u64::from(entry.local) * 5,
            length,
            imm: if several { u32::from(entry.remote % 8) } else { 0 },
            ..sqe
        }
    }

    /// A copy, or a fill.
    fn moving(&mut self, context: &Arc<Context>, entry: &Entry, sqe: dmaplane_sqe) -> dmaplane_sqe {
        let from = self.pick(context, entry.region, &[Kind::Buffer]);
        let to = self.pick(context, entry.endpoint, &[Kind::Buffer]);
        let objects = lock(&context.objects);
        let room = |handle| objects.of(handle).map_or(4096, |object| object.length);
        let part = |size: u64, how: u8| size * u64::from(how) / 300;
        let copies = entry.opcode % 2 == 0;
        let most = if copies { room(from).min(room(to)) } else { room(to) };
        dmaplane_sqe {
            opcode: if copies { DMAPLANE_OP_COPY } else { DMAPLANE_OP_FILL } as u8,
            region: if copies { from } else { 0 },
            lease: to,
            local_offset: if copies { part(room(from), entry.local) } else { 0 },
            remote_offset: part(room(to), entry.remote),
            length: part(most, entry.length) as u32,
            imm: if copies { 0 } else { entry.imm % 257 },
            ..sqe
        }
    }
}
