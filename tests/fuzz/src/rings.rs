// SPDX-License-Identifier: GPL-2.0
//! Rings: entries of `entries`, memory that means nothing, and, where only we write, that each
//! entry taken is completed once.

use std::sync::atomic::{fence, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::abi::{name, uapi::*, Argument, Cmd, Plain};
use crate::action::Entry;
use crate::call::{Outcome, Use};
use crate::choice::{Call, Pick, Value, Where};
use crate::entries::{CONNECT_ERRNOS, ENTRY_ERRNOS};
use crate::exec::Worker;
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

    /// What must hold after an ENTER.
    pub fn entered(
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
            let receives =
                [DMAPLANE_OP_RECV, DMAPLANE_OP_COUNTER_WAIT].contains(&u32::from(cqe.opcode));
            let reason = cqe.res >= 0
                || ENTRY_ERRNOS.contains(&-cqe.res)
                || (receives && CONNECT_ERRNOS.contains(&-cqe.res));
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
