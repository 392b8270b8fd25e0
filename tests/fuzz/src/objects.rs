// SPDX-License-Identifier: GPL-2.0
//! Buffers, channels, regions, leases: makes them, and looks whether they are as they must be.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use crate::abi::{uapi::*, Argument, Cmd};
use crate::call::{Outcome, Use};
use crate::choice::{Call, Pick};
use crate::exec::{no_use, Worker};
use crate::memory::{Map, PAGE};
use crate::world::{lock, Context, Kind, Object, Ring, SPANS};

impl Worker {
    pub fn create_buffer(&self, call: &Call, length: u64, node: u8, how: u8) {
        let context = self.context(call.context);
        if self.make_room(&context, Kind::Buffer) {
            return;
        }
        let huge = match how {
            0..=9 => DMAPLANE_BUF_HUGE,
            10..=69 => DMAPLANE_BUF_NO_HUGE,
            _ => 0,
        };
        let arg = match how % 4 {
            0 => dmaplane_buf_create {
                length,
                flags: huge | DMAPLANE_BUF_INTERLEAVE | u32::from(node & 1),
                node: DMAPLANE_NODE_ANY,
                nodes: u64::from(node),
                ..Argument::sized()
            },
            _ => dmaplane_buf_create {
                length,
                flags: huge,
                node: if node < 200 { DMAPLANE_NODE_ANY } else { i32::from(node % 3) },
                ..Argument::sized()
            },
        };
        self.make_buffer(&context, call, arg);
    }

    /// BUF_CREATE; what is in new memory is looked at.
    pub fn make_buffer(
        &self,
        context: &Context,
        call: &Call,
        arg: dmaplane_buf_create,
    ) -> Option<u32> {
        let Outcome { result, arg, .. } =
            self.caller.call(context, Cmd::BufCreate, call, arg, no_use);
        result.ok()?;
        let object = Object {
            length: arg.length.next_multiple_of(match arg.flags & DMAPLANE_BUF_HUGE {
                0 => PAGE as u64,
                _ => u64::from(DMAPLANE_HUGE_SIZE),
            }),
            mmap_offset: arg.mmap_offset,
            ..Object::new(Kind::Buffer, arg.handle)
        };
        self.add(context, object);
        if context.strict {
            let len = (arg.length as usize).next_multiple_of(PAGE).min(8 * PAGE);
            let prot = libc::PROT_READ | libc::PROT_WRITE;
            match Map::new(context.fd(), arg.mmap_offset, len, prot, libc::MAP_SHARED) {
                Ok(map) => {
                    let dirty =
                        (0..len / 8).find(|at| map.long(at * 8).load(Ordering::Relaxed) != 0);
                    if let Some(at) = dirty {
                        self.caller
                            .violation(format!("a new buffer is not zero at byte {}", at * 8));
                    }
                    // Whoever gets the memory next must not see it.
                    (0..len / 8).for_each(|at| map.long(at * 8).store(!0, Ordering::Relaxed));
                }
                Err(libc::ENOMEM) => {}
                Err(e) => self.caller.violation(format!("a new buffer cannot be mapped: {e}")),
            }
        }
        Some(arg.handle)
    }

    /// BUF_PIN, of memory that nothing else is in; the buffer may outlive the mapping.
    pub fn pin_buffer(&mut self, call: &Call, first: u8, pages: u8, how: u8) {
        let context = self.context(call.context);
        if self.make_room(&context, Kind::Buffer) {
            return;
        }
        let len = usize::from(pages % 64 + 1) * PAGE;
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let Ok(map) = Map::new(-1, 0, len, prot, flags) else {
            return;
        };
        let (odd, less) = match first {
            0..=15 => (usize::from(first), 0),
            16..=31 => (0, usize::from(first)),
            _ => (0, 0),
        };
        let arg = dmaplane_buf_pin {
            flags: if how & 1 == 0 { 0 } else { DMAPLANE_PIN_RDONLY },
            addr: (map.start() + odd) as u64,
            length: (len - less) as u64,
            ..Argument::sized()
        };
        // Other memory of this program must not be written to.
        let call = call.sparing(8, 24);
        if call.place().is_contended() {
            return;
        }
        let Outcome { result, arg, .. } =
            self.caller.call(&context, Cmd::BufPin, &call, arg, no_use);
        if result.is_ok() {
            let object = Object { length: arg.length, ..Object::new(Kind::Buffer, arg.handle) };
            self.add(&context, object);
        }
        if how & 2 == 0 {
            self.keep(vec![map]);
        }
    }

    pub fn query_buffer(&self, call: &Call, buffer: Pick, room: u8) {
        let context = self.context(call.context);
        let mut nodes = vec![0u64; 1024];
        let arg = dmaplane_buf_query {
            handle: self.pick(&context, buffer, &[Kind::Buffer]),
            nr_nodes: if room < 32 { 0 } else { nodes.len() as u32 },
            node_pages: if room % 16 == 15 { 8 } else { nodes.as_mut_ptr() as u64 },
            ..Argument::sized()
        };
        // What is written through the pointer must stay in `nodes`.
        let call = call.sparing(12, 24);
        if call.place().is_contended() {
            return;
        }
        let uses: fn(&dmaplane_buf_query) -> Vec<Use> = |a| vec![(a.handle, &[Kind::Buffer])];
        let Outcome { result, arg, .. } =
            self.caller.call(&context, Cmd::BufQuery, &call, arg, uses);
        if result.is_ok() && context.strict {
            let sum: u64 = nodes.iter().sum();
            let length = lock(&context.objects).of(arg.handle).map(|object| object.length);
            let pages = |(order, &blocks): (usize, &u32)| u64::from(blocks) << order;
            if sum != arg.pages
                || Some(arg.length) != length
                || arg.length != sum * PAGE as u64
                || sum != arg.blocks.iter().enumerate().map(pages).sum::<u64>()
            {
                self.caller.violation(format!("{arg:?}: {sum} pages counted, length {length:?}"));
            }
        }
    }

    /// BUF_MIGRATE; there are few nodes, seldom two.
    pub fn migrate_buffer(&self, call: &Call, buffer: Pick, node: u8, how: u8) {
        let context = self.context(call.context);
        let arg = dmaplane_buf_migrate {
            flags: u32::from(how % 2),
            handle: self.pick(&context, buffer, &[Kind::Buffer]),
            node: if node < 240 { i32::from(node % 2) } else { i32::from(node) - 250 },
            ..Argument::sized()
        };
        let uses: fn(&dmaplane_buf_migrate) -> Vec<Use> = |a| vec![(a.handle, &[Kind::Buffer])];
        let Outcome { result, arg, .. } =
            self.caller.call(&context, Cmd::BufMigrate, call, arg, uses);
        if result.is_ok() && context.strict {
            let length = lock(&context.objects).of(arg.handle).map(|object| object.length);
            let moved = arg.moved * PAGE as u64;
            let times =
                if arg.moved == 0 { arg.first_ns == 0 } else { arg.first_ns <= arg.total_ns };
            let known = arg.engines & !(DMAPLANE_ENGINE_CPU | DMAPLANE_ENGINE_DMA) == 0;
            let by_cpu = arg.engines & DMAPLANE_ENGINE_CPU != 0;
            let engines = known
                && (arg.engines != 0) == (arg.moved != 0)
                && by_cpu == (arg.threads != 0)
                && arg.threads <= 8;
            if length.is_some_and(|length| moved > length) || !times || !engines {
                self.caller.violation(format!("{arg:?} of {length:?} bytes"));
            }
        }
    }

    /// With times, and with a thread that takes entries, if it is said how long it looks for them.
    pub fn create_channel(
        &self,
        context: &Context,
        call: &Call,
        sq: u32,
        cq: u32,
        times: bool,
        idle_ms: Option<u32>,
    ) -> Option<u32> {
        if self.make_room(context, Kind::Channel) {
            return None;
        }
        let times = if times { DMAPLANE_CHANNEL_TIMES } else { 0 };
        let polled = if idle_ms.is_some() { DMAPLANE_CHANNEL_SQPOLL } else { 0 };
        let arg = dmaplane_channel_create {
            flags: times | polled,
            sq_entries: sq,
            cq_entries: cq,
            sq_idle_ms: idle_ms.unwrap_or(0),
            ..Argument::sized()
        };
        let Outcome { result, arg, .. } =
            self.caller.call(context, Cmd::ChannelCreate, call, arg, no_use);
        result.ok()?;
        // What was twisted, too.
        let polled = arg.flags & DMAPLANE_CHANNEL_SQPOLL != 0;
        if polled {
            context.polled.store(true, Ordering::Relaxed);
        }
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // What others wrote into the argument is no size.
        let sound = arg.mmap_length < 8 << 20 && arg.mmap_length >= PAGE as u64;
        let len = if sound { arg.mmap_length as usize } else { PAGE };
        let map = Map::new(context.fd(), arg.mmap_offset, len, prot, libc::MAP_SHARED);
        let ring = match map {
            Ok(map) => {
                let entries = |at| map.word(at).load(Ordering::Relaxed).wrapping_add(1);
                let (sq_entries, cq_entries) = (entries(4), entries(8));
                let fits = |first: u32, count: u32, each: u64| {
                    u64::from(first) + u64::from(count) * each <= map.len() as u64
                };
                let timed = arg.times_offset != 0;
                let sizes = fits(arg.sqes_offset, sq_entries, 64)
                    && fits(arg.cqes_offset, cq_entries, 32)
                    && (!timed || fits(arg.times_offset, cq_entries, 32));
                if context.strict && timed != (times != 0) {
                    self.caller.violation(format!("{arg:?} was asked for with times {times:#x}"));
                }
                if context.strict
                    && !(sizes && sq_entries == arg.sq_entries && cq_entries == arg.cq_entries)
                {
                    self.caller
                        .violation(format!("{arg:?} has {sq_entries} and {cq_entries} entries"));
                }
                sizes.then(|| {
                    Arc::new(Ring {
                        sq_entries,
                        cq_entries,
                        sqes: arg.sqes_offset as usize,
                        cqes: arg.cqes_offset as usize,
                        times: timed.then_some(arg.times_offset as usize),
                        polled,
                        vandalised: (!context.strict).into(),
                        model: Default::default(),
                        map,
                    })
                })
            }
            Err(e) => {
                if context.strict && e != libc::ENOMEM {
                    self.caller.violation(format!("a new channel cannot be mapped: {e}"));
                }
                None
            }
        };
        let object =
            Object { ring, mmap_offset: arg.mmap_offset, ..Object::new(Kind::Channel, arg.handle) };
        self.add(context, object);
        Some(arg.handle)
    }

    pub fn register(
        &self,
        context: &Context,
        call: &Call,
        arg: dmaplane_region_register,
    ) -> Option<u32> {
        if self.make_room(context, Kind::Region) {
            return None;
        }
        let uses: fn(&dmaplane_region_register) -> Vec<Use> =
            |a| vec![(a.endpoint, &[Kind::Endpoint]), (a.buffer, &[Kind::Buffer])];
        let Outcome { result, arg, .. } =
            self.caller.call(context, Cmd::RegionRegister, call, arg, uses);
        result.ok()?;
        self.add(context, Object { length: arg.length, ..Object::new(Kind::Region, arg.handle) });
        Some(arg.handle)
    }

    pub fn create_counter(
        &self,
        context: &Context,
        call: &Call,
        endpoint: u32,
        imm: u32,
        mask: u32,
    ) {
        if self.make_room(context, Kind::Counter) {
            return;
        }
        let arg = dmaplane_counter_create { endpoint, imm, mask, ..Argument::sized() };
        let Outcome { result, arg, .. } =
            self.caller.call(context, Cmd::CounterCreate, call, arg, |a| {
                vec![(a.endpoint, &[Kind::Endpoint])]
            });
        if result.is_ok() {
            self.add(context, Object::new(Kind::Counter, arg.handle));
        }
    }

    pub fn grant(&self, context: &Context, call: &Call, endpoint: u32, region: u32) {
        let arg = dmaplane_lease_grant { endpoint, region, tag: 7, ..Argument::sized() };
        let uses: fn(&dmaplane_lease_grant) -> Vec<Use> =
            |a| vec![(a.endpoint, &[Kind::Endpoint]), (a.region, SPANS)];
        self.caller.call(context, Cmd::LeaseGrant, call, arg, uses);
    }

    pub fn wait_lease(&self, context: &Context, call: &Call, endpoint: u32, timeout_ns: u64) {
        let arg = dmaplane_lease_wait { endpoint, timeout_ns, ..Argument::sized() };
        let uses: fn(&dmaplane_lease_wait) -> Vec<Use> = |a| vec![(a.endpoint, &[Kind::Endpoint])];
        let Outcome { result, arg, .. } =
            self.caller.call(context, Cmd::LeaseWait, call, arg, uses);
        if result.is_ok() {
            let mut objects = lock(&context.objects);
            if let Some(object) = objects.live.iter_mut().find(|o| o.handle == arg.endpoint) {
                object.leases.push((arg.lease, arg.length));
            }
        }
    }
}
