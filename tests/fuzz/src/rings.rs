// SPDX-License-Identifier: GPL-2.0
//! Rings: entries that may mean something, memory that means nothing, and, where
//! only we write, that each entry taken is completed once.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{fence, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::abi::{name, uapi::*, Argument, Cmd, Plain};
use crate::action::Entry;
use crate::call::{Outcome, Use};
use crate::choice::{Call, Pick, Place, Value, Where};
use crate::exec::Worker;
use crate::memory::{errno, Map, PAGE};
use crate::world::{lock, Context, Kind, Ring};

/// `recv_user_data` of all endpoints; entries have other numbers.
pub const RECEIVED: u64 = 1 << 63;

/// Where the indices of a ring are: see struct dmaplane_ring.
const SQ_HEAD: usize = std::mem::offset_of!(dmaplane_ring, sq_head);
const SQ_TAIL: usize = std::mem::offset_of!(dmaplane_ring, sq_tail);
const CQ_HEAD: usize = std::mem::offset_of!(dmaplane_ring, cq_head);
const CQ_TAIL: usize = std::mem::offset_of!(dmaplane_ring, cq_tail);
const FLAGS: usize = std::mem::offset_of!(dmaplane_ring, flags);

/// Whether they are of something that is complete, in order.
fn are_right(times: &dmaplane_times, received: bool) -> bool {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes to `now` only.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    let now = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
    let dmaplane_times { submit_ns: submit, post_ns: post, complete_ns: complete, pad } = *times;
    let posted = post == 0 || (submit <= post && post <= complete);
    let begun = (submit == 0) == received && (post == 0 || !received);
    begun && posted && submit <= complete && 0 < complete && complete <= now && pad == 0
}

impl Worker {
    pub fn ring(&self, context: &Context, handle: u32) -> Option<Arc<Ring>> {
        lock(&context.objects).of(handle)?.ring.clone()
    }

    /// Whether it is known what must be in the ring.
    fn is_clean(&self, ring: &Ring) -> bool {
        !ring.vandalised.load(Ordering::Relaxed)
    }

    fn entry(&mut self, context: &Arc<Context>, entry: &Entry, number: u8) -> dmaplane_sqe {
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
        let region = self.pick(context, entry.region, &[Kind::Region]);
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
        if let Some((mmap_offset, len)) = place.filter(|(_, len)| *len < 4 << 20) {
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
            let region = self.pick(context, entry.region, &[Kind::Region]);
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

    /// Fills entries, publishes them, enters.
    pub fn push(&mut self, context: Where, channel: Pick, count: u8, entry: Entry, enter: bool) {
        let plain = Call::plain(context);
        let context = self.context(context);
        let handle = self.pick(&context, channel, &[Kind::Channel]);
        let Some(ring) = self.ring(&context, handle) else {
            return;
        };
        let clean = self.is_clean(&ring);
        let count = u32::from(count % 24) + 1;
        let mut pushed = 0;
        for number in 0..count {
            let sqe = self.entry(&context, &entry, number as u8);
            let mut model = lock(&ring.model);
            let head = match clean && !ring.polled {
                true => model.taken,
                false => ring.map.word(SQ_HEAD).load(Ordering::Acquire),
            };
            let tail =
                if clean { model.tail } else { ring.map.word(SQ_TAIL).load(Ordering::Relaxed) };
            if clean && tail.wrapping_sub(head) >= ring.sq_entries {
                break;
            }
            let mut bytes = sqe.bytes();
            // Not its user_data, by which it is known.
            entry.twist.sparing(8, 16).apply(&mut bytes, 0);
            let at =
                ring.sqes + (tail & (ring.sq_entries - 1)) as usize * size_of::<dmaplane_sqe>();
            ring.map.write(at, &bytes);
            if clean {
                let silent = u32::from(bytes[1]) & DMAPLANE_SQE_CQE_SKIP_SUCCESS != 0;
                match (ring.polled, silent) {
                    (false, _) => model.published.push_back((sqe.user_data, silent)),
                    (true, true) => drop(model.silent.insert(sqe.user_data)),
                    (true, false) => drop(model.pending.insert(sqe.user_data)),
                }
            }
            model.tail = tail.wrapping_add(1);
            ring.map.word(SQ_TAIL).store(tail.wrapping_add(1), Ordering::Release);
            pushed += 1;
        }
        if enter {
            self.enter(&context, &plain, handle, pushed, 0, 0);
            self.reap(&context, &ring, u32::MAX);
        }
    }

    pub fn enter(
        &self,
        context: &Context,
        call: &Call,
        channel: u32,
        to_submit: u32,
        min_complete: u32,
        timeout_ns: u64,
    ) {
        let polled = self.ring(context, channel).is_some_and(|ring| ring.polled);
        let arg = dmaplane_channel_enter {
            flags: if polled { DMAPLANE_ENTER_SQ_WAKEUP } else { 0 },
            channel,
            to_submit,
            min_complete,
            timeout_ns,
            ..Argument::sized()
        };
        let uses: fn(&dmaplane_channel_enter) -> Vec<Use> = |a| vec![(a.channel, &[Kind::Channel])];
        let Outcome { result, count: submitted, arg } =
            self.caller.call(context, Cmd::ChannelEnter, call, arg, uses);
        self.entered(context, result, submitted, arg);
    }

    /// A channel's file: ENTER without waiting, calls that make no sense, poll(), mmap().
    pub fn channel_file(&self, call: &Call, channel: Pick, offset: u64, whence: u8) {
        let context = self.context(call.context);
        let channel = self.pick(&context, channel, &[Kind::Channel]);
        // Where nobody else writes: else a descriptor would be lost.
        if !matches!(call.place(), Place::Own | Place::ReadOnly | Place::Null) {
            return;
        }
        let arg = dmaplane_channel_file { channel, ..Argument::sized() };
        let Outcome { result, arg, .. } =
            self.caller.call(&context, Cmd::ChannelFile, call, arg, |a| {
                vec![(a.channel, &[Kind::Channel])]
            });
        if result.is_err() {
            return;
        }
        // SAFETY: the command succeeded, so that it is a new descriptor.
        let file = unsafe { OwnedFd::from_raw_fd(arg.fd) };
        let fd = file.as_raw_fd();
        self.caller.log.busy(true);
        // What waits for completions, for nobody knows how long, is not called.
        let offset = if whence == 0 { offset | (1 << 40) } else { offset };
        // SAFETY: it touches no memory.
        let odd = unsafe { libc::lseek(fd, offset as i64, whence.into()) };
        let odd = if odd < 0 { errno() } else { 0 };
        // SAFETY: as above.
        let taken = u32::try_from(unsafe { libc::lseek(fd, 0, libc::SEEK_SET) });
        let result = taken.map_err(|_| errno());
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: it points to one.
        unsafe { libc::poll(&raw mut poll, 1, 0) };
        let flags = if whence & 1 == 0 { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let map = Map::new(fd, 0, PAGE, prot, flags).map(drop);
        self.caller.log.busy(false);
        self.caller.log.say(format!("    its file: {result:?}, {:#x}, {map:?}", poll.revents));
        if odd != libc::EINVAL {
            self.caller.violation(format!("lseek to {offset:#x}, {whence}: {}", name(odd)));
        }
        if let Err(errno) = result {
            if ![libc::EBUSY, libc::EBADFD, libc::ENOENT].contains(&errno) {
                self.caller.violation(format!("lseek failed with {}", name(errno)));
            }
        }
        if map.is_ok() && flags == libc::MAP_PRIVATE {
            self.caller.violation("a channel's file can be mapped privately".into());
        }
        let submitted = result.unwrap_or(0);
        let enter = dmaplane_channel_enter {
            channel: arg.channel,
            to_submit: u32::MAX,
            ..Argument::sized()
        };
        self.entered(&context, result.map(drop), submitted, enter);
    }

    /// An eventfd for a channel; how often it is signalled is not looked at.
    pub fn channel_eventfd(&self, call: &Call, channel: Pick, number: u8) {
        let context = self.context(call.context);
        let channel = self.pick(&context, channel, &[Kind::Channel]);
        // SAFETY: it touches no memory.
        let made = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        // SAFETY: it is a new descriptor.
        let event = (made >= 0).then(|| unsafe { OwnedFd::from_raw_fd(made) });
        let fd = match (number, &event) {
            (0..=159, Some(event)) => event.as_raw_fd(),
            (160..=199, _) => -1,
            _ => i32::from(number) - 220,
        };
        let arg = dmaplane_channel_eventfd { channel, fd, ..Argument::sized() };
        self.caller.call(&context, Cmd::ChannelEventfd, call, arg, |a| {
            vec![(a.channel, &[Kind::Channel])]
        });
    }

    /// What must hold after an ENTER.
    fn entered(
        &self,
        context: &Context,
        result: Result<(), i32>,
        submitted: u32,
        arg: dmaplane_channel_enter,
    ) {
        if !context.strict {
            return;
        }
        context.submitted.fetch_add(u64::from(submitted), Ordering::Relaxed);
        let Some(ring) = self.ring(context, arg.channel).filter(|ring| self.is_clean(ring)) else {
            return;
        };
        let mut model = lock(&ring.model);
        if ring.polled && submitted > 0 {
            self.caller.violation(format!("{arg:?} took {submitted} although a thread does"));
            return;
        }
        if submitted as usize > model.published.len() || submitted > arg.to_submit {
            self.caller.violation(format!(
                "{arg:?} took more than the {} there were",
                model.published.len()
            ));
            return;
        }
        for _ in 0..submitted {
            match model.published.pop_front() {
                Some((user_data, true)) => model.silent.insert(user_data),
                Some((user_data, false)) => model.pending.insert(user_data),
                None => break,
            };
        }
        model.taken = model.taken.wrapping_add(submitted);
        let head = ring.map.word(SQ_HEAD).load(Ordering::Acquire);
        if !ring.polled && head != model.taken {
            self.caller.violation(format!(
                "sq_head is {head} and not {} after ENTER {arg:?}",
                model.taken
            ));
        }
        // One that comes right after ENTER hides that it returned too early.
        let available = ring.map.word(CQ_TAIL).load(Ordering::Acquire).wrapping_sub(model.reaped);
        if result.is_ok() && submitted == 0 && available < arg.min_complete {
            self.caller.violation(format!("ENTER succeeded too early: {arg:?}"));
        }
        if result == Err(libc::EBADFD) {
            self.caller.violation("a channel that nobody wrote wrong things to is poisoned".into());
        }
    }

    /// Takes completions; where it is known which there can be, looks whether they are right.
    pub fn reap(&self, context: &Context, ring: &Ring, count: u32) {
        let clean = self.is_clean(ring) && context.strict;
        let tail = ring.map.word(CQ_TAIL).load(Ordering::Acquire);
        let mut model = lock(&ring.model);
        let head =
            if clean { model.reaped } else { ring.map.word(CQ_HEAD).load(Ordering::Relaxed) };
        let ready = tail.wrapping_sub(head);
        if clean && ready > ring.cq_entries {
            self.caller.violation(format!("cq_tail {tail} is too far from cq_head {head}"));
            return;
        }
        let end = head.wrapping_add(ready.min(count).min(ring.cq_entries));
        let mut at = head;
        while at != end {
            let mut bytes = [0; size_of::<dmaplane_cqe>()];
            let offset = (at & (ring.cq_entries - 1)) as usize * bytes.len();
            ring.map.read(ring.cqes + offset, &mut bytes);
            let cqe = dmaplane_cqe::from_bytes(&bytes);
            let times = ring.times.map(|times| {
                let mut bytes = [0; size_of::<dmaplane_times>()];
                ring.map.read(times + offset, &mut bytes);
                dmaplane_times::from_bytes(&bytes)
            });
            at = at.wrapping_add(1);
            if !clean {
                continue;
            }
            self.caller.log.say(format!("    {cqe:?}"));
            // Also what an entry was that said RECV itself.
            let received = u32::from(cqe.opcode) == DMAPLANE_OP_RECV && cqe.user_data == RECEIVED;
            let more = u32::from(cqe.flags) & DMAPLANE_CQE_F_MORE != 0;
            let right = match received {
                true => cqe.res >= 0,
                false if more => cqe.res >= 0 && model.pending.contains(&cqe.user_data),
                false => {
                    model.pending.remove(&cqe.user_data)
                        || (cqe.res < 0 && model.silent.remove(&cqe.user_data))
                }
            };
            let pads = cqe.flags & !7 == 0 && cqe.pad1 == 0;
            let reason = cqe.res >= 0 || ENTRY_ERRNOS.contains(&-cqe.res);
            if !(right && pads && reason) {
                self.caller.violation(format!(
                    "a completion is wrong, was there before, or is of no entry: {cqe:?} {}",
                    if reason { String::new() } else { name(-cqe.res) }
                ));
                return;
            }
            if let Some(times) = times.filter(|times| !are_right(times, received || more)) {
                self.caller.violation(format!("{cqe:?} has {times:?}"));
                return;
            }
        }
        model.reaped = end;
        ring.map.word(CQ_HEAD).store(end, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Anything into the memory of a ring.
    pub fn vandalise(&self, context: Where, channel: Pick, field: u8, value: Value, times: u8) {
        let context = self.context(context);
        let handle = self.pick(&context, channel, &[Kind::Channel]);
        let Some(ring) = self.ring(&context, handle) else {
            return;
        };
        // Most of a thread's own ones are left alone, since they can be checked.
        if context.strict && field < 192 {
            return;
        }
        ring.vandalised.store(true, Ordering::Relaxed);
        let word = |at: usize| ring.map.word(at.min(ring.map.len() - 4) & !3);
        let small = (value.0 % 8) as u32;
        for _ in 0..=times % 64 {
            match field % 12 {
                // Plausible ones, too: then something happens.
                0 | 1 => drop(word(SQ_TAIL).fetch_add(small, Ordering::Release)),
                2 => drop(word(CQ_HEAD).fetch_add(small, Ordering::Release)),
                3 => word(CQ_HEAD).store(word(CQ_TAIL).load(Ordering::Acquire), Ordering::Release),
                4 => word(SQ_TAIL).store(value.0 as u32, Ordering::Release),
                5 => word(CQ_HEAD).store(value.0 as u32, Ordering::Release),
                6 => word(SQ_HEAD).store(value.0 as u32, Ordering::Release),
                7 => word(CQ_TAIL).store(value.0 as u32, Ordering::Release),
                8 => word(FLAGS).store(value.0 as u32, Ordering::Release),
                9 => {
                    word(4 * (1 + usize::from(times % 2))).store(value.0 as u32, Ordering::Release)
                }
                // In the middle of an entry.
                10 => word(ring.sqes + usize::from(times) * 4)
                    .store(value.0 as u32, Ordering::Relaxed),
                _ => {
                    word(value.0 as usize % ring.map.len()).store(value.0 as u32, Ordering::Relaxed)
                }
            }
        }
    }

    /// Ends all that a context of ours has, and looks whether the sums are right.
    pub fn drain(&self, context: &Context) {
        let plain = Call::plain(Where(0));
        let of = |kinds: &[Kind]| -> Vec<u32> {
            let objects = lock(&context.objects);
            objects.live.iter().filter(|o| kinds.contains(&o.kind)).map(|o| o.handle).collect()
        };
        for handle in of(&[Kind::Endpoint, Kind::Listener]) {
            self.end_handle(context, &plain, handle, Cmd::EndpointClose);
        }
        // They hold their endpoints.
        for handle in of(&[Kind::Counter]) {
            self.end_handle(context, &plain, handle, Cmd::CounterDestroy);
        }
        let open = of(&[Kind::Channel])
            .into_iter()
            .filter_map(|handle| Some((handle, self.ring(context, handle)?)));
        let orphans: Vec<_> = lock(&context.orphans).drain(..).map(|ring| (0, ring)).collect();
        // Those of a worker may take a moment.
        let end = Instant::now() + Duration::from_secs(5) * self.shared().slow;
        for (handle, ring) in open.chain(orphans) {
            loop {
                self.reap(context, &ring, u32::MAX);
                let pending = lock(&ring.model).pending.len();
                // What a thread had not taken when its channel was closed never completes.
                let closed = ring.polled && handle == 0;
                if !self.is_clean(&ring) || pending == 0 || closed {
                    break;
                }
                if ring.polled {
                    self.enter(context, &plain, handle, 0, 0, 0);
                }
                if Instant::now() > end {
                    self.caller.violation(format!("{pending} entries were never completed"));
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let known = context.submitted.load(Ordering::Relaxed);
        let polled = context.polled.load(Ordering::Relaxed);
        loop {
            let none: fn(&dmaplane_stats) -> Vec<Use> = |_| Vec::new();
            let stats = self.caller.plain(context, Cmd::Stats, dmaplane_stats::sized(), none);
            let Ok(stats) = stats else {
                return self.caller.violation(format!("STATS is {stats:?}"));
            };
            let submitted = if polled { known.max(stats.submitted) } else { known };
            let complete = stats.completed == submitted;
            if stats.submitted != submitted || (!complete && Instant::now() > end) {
                return self
                    .caller
                    .violation(format!("{submitted} entries were taken, but {stats:?}"));
            }
            // The heartbeat may hold one for a moment.
            if complete && stats.endpoints == 0 {
                return;
            }
            if Instant::now() > end {
                return self.caller.violation(format!("endpoints are left: {stats:?}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What the header lets an entry complete with.
const ENTRY_ERRNOS: &[i32] = &[
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
