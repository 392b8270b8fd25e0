// SPDX-License-Identifier: GPL-2.0
//! Does actions: the commands here, the rest in `rings`, `uring`, `connect` and `system`.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use crate::abi::{uapi::*, Argument, Cmd};
use crate::action::Action;
use crate::call::{Caller, Outcome, Use};
use crate::choice::{Address, Call, Pick, Terms, Where};
use crate::memory::{Map, Probe, PAGE};
use crate::uring::Urings;
use crate::world::{lock, Context, Kind, Object, Shared, SPANS};

const ENDPOINTS: &[Kind] = &[Kind::Endpoint, Kind::Listener];

/// Does the actions of one thread.
pub struct Worker {
    pub caller: Caller,
    pub own: Arc<Context>,
    pub probe: Probe,
    /// Mappings that outlive the action that made them.
    pub kept: Vec<Map>,
    pub urings: Urings,
    pub next_data: u64,
}

/// Of commands without handles.
pub fn no_use<T>(_: &T) -> Vec<Use> {
    Vec::new()
}

impl Worker {
    pub fn new(shared: &Arc<Shared>, name: String) -> std::io::Result<Self> {
        Ok(Self {
            caller: Caller::new(shared, name),
            own: Context::open(true)?,
            probe: Probe::new(),
            kept: Vec::new(),
            urings: Urings::default(),
            next_data: 0,
        })
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.caller.shared
    }

    pub fn context(&self, which: Where) -> Arc<Context> {
        match which.shared() {
            None => self.own.clone(),
            Some(number) => {
                let all = &self.shared().contexts;
                lock(&all[number % all.len()]).clone()
            }
        }
    }

    /// The handle that is meant.
    pub fn pick(&self, context: &Arc<Context>, pick: Pick, kinds: &[Kind]) -> u32 {
        let other = self.context(Where(if context.strict { 255 } else { 0 }));
        context.pick(pick, kinds, &other)
    }

    /// Takes note of an object that a command made.
    pub fn add(&self, context: &Context, object: Object) {
        let mut objects = lock(&context.objects);
        let known = objects.of(object.handle).is_some();
        if context.strict && (known || object.handle == 0) {
            drop(objects);
            let handle = object.handle;
            return self
                .caller
                .violation(format!("the handle {handle:#x} was given for a new object"));
        }
        if !known {
            objects.live.push(object);
        }
    }

    /// If there are enough objects of the kind, ends one instead of making another.
    pub fn make_room(&self, context: &Context, kind: Kind) -> bool {
        let (max, cmd) = match kind {
            Kind::Channel => (8, Cmd::ChannelClose),
            Kind::Buffer => (40, Cmd::BufDestroy),
            Kind::Region => (40, Cmd::RegionDeregister),
            Kind::View => (80, Cmd::ViewDestroy),
            Kind::Listener => (6, Cmd::EndpointClose),
            Kind::Endpoint => (24, Cmd::EndpointClose),
            Kind::Counter => (24, Cmd::CounterDestroy),
        };
        let oldest = {
            let objects = lock(&context.objects);
            let mut all = objects.live.iter().filter(|object| object.kind == kind);
            if objects.count(kind) < max {
                return false;
            }
            // Not the same one again, if it is busy.
            let skip = self.caller.log.calls.load(Ordering::Relaxed) as usize % 4;
            all.nth(skip).map(|object| object.handle)
        };
        match (oldest, kind) {
            (None, _) => {}
            (Some(handle), Kind::View) => {
                self.end_views(context, &Call::plain(Where(0)), &[handle], 0);
            }
            (Some(handle), _) => self.end_handle(context, &Call::plain(Where(0)), handle, cmd),
        }
        true
    }

    fn end(&self, call: &Call, pick: Pick, cmd: Cmd, kinds: &'static [Kind]) {
        let context = self.context(call.context);
        let handle = self.pick(&context, pick, kinds);
        self.end_handle(&context, call, handle, cmd);
    }

    /// BUF_DESTROY, REGION_DEREGISTER, ENDPOINT_CLOSE, CHANNEL_CLOSE, COUNTER_DESTROY.
    pub fn end_handle(&self, context: &Context, call: &Call, handle: u32, cmd: Cmd) {
        let arg = dmaplane_handle { handle, ..Argument::sized() };
        let uses: fn(&dmaplane_handle) -> Vec<Use> = match cmd {
            Cmd::BufDestroy => |a| vec![(a.handle, &[Kind::Buffer])],
            Cmd::RegionDeregister => |a| vec![(a.handle, &[Kind::Region])],
            Cmd::EndpointClose => |a| vec![(a.handle, ENDPOINTS)],
            Cmd::CounterDestroy => |a| vec![(a.handle, &[Kind::Counter])],
            _ => |a| vec![(a.handle, &[Kind::Channel])],
        };
        let Outcome { result, arg, .. } = self.caller.call(context, cmd, call, arg, uses);
        if result.is_ok() {
            let mut objects = lock(&context.objects);
            let gone = objects.of(arg.handle).cloned();
            objects.remove(arg.handle);
            drop(objects);
            // Entries for endpoints of other channels may still be in flight.
            if let Some(ring) = gone.and_then(|object| object.ring).filter(|_| context.strict) {
                lock(&context.orphans).push(ring);
            }
        }
    }

    pub fn run(&mut self, action: Action) {
        use Action as A;
        match action {
            A::Info(call) => {
                let arg = dmaplane_info::sized();
                let made =
                    self.caller.call(&self.context(call.context), Cmd::Info, &call, arg, no_use);
                if made.result.is_ok()
                    && call.context.shared().is_none()
                    && made.arg.abi != DMAPLANE_ABI_VERSION
                {
                    self.caller.violation(format!("INFO says {:?}", made.arg));
                }
            }
            A::Stats(call) => {
                let context = self.context(call.context);
                self.caller.call(&context, Cmd::Stats, &call, dmaplane_stats::sized(), no_use);
            }
            A::BufCreate { call, length, node, how, odd } => {
                let length = match length {
                    0..=15 => odd.0,
                    16..=63 => u64::from(length) * 8 * PAGE as u64 - 5,
                    _ => u64::from(length % 8 + 1) * PAGE as u64,
                };
                self.create_buffer(&call, length, node, how);
            }
            A::BufQuery { call, buffer, room } => self.query_buffer(&call, buffer, room),
            A::BufDestroy(call, pick) => self.end(&call, pick, Cmd::BufDestroy, &[Kind::Buffer]),
            A::BufExport { call, buffer, first, pages, how } => {
                self.export_buffer(&call, buffer, (first, pages), how);
            }
            A::BufMigrate { call, buffer, node, how } => {
                self.migrate_buffer(&call, buffer, node, how);
            }
            A::BufPin { call, first, pages, how } => self.pin_buffer(&call, first, pages, how),
            A::BufImport { call, pages, how } => self.import_buffer(&call, pages, how),
            A::BufShare { call, buffer, to, rights, how } => {
                self.share_buffer(&call, buffer, to, rights, how);
            }
            A::FabricList { call, room } => {
                let room = u32::from(room % 8);
                let mut found = vec![dmaplane_fabric::default(); room as usize];
                let fabrics = found.as_mut_ptr() as u64;
                let arg = dmaplane_fabric_list { fabrics, count: room, ..Argument::sized() };
                // What is written through the pointer must stay in `found`.
                let call = call.sparing(8, 20);
                if !call.place().is_contended() {
                    self.caller.call(
                        &self.context(call.context),
                        Cmd::FabricList,
                        &call,
                        arg,
                        no_use,
                    );
                }
            }
            A::RegionRegister { call, endpoint, buffer, first, length, access } => {
                let context = self.context(call.context);
                let arg = dmaplane_region_register {
                    endpoint: self.pick(&context, endpoint, &[Kind::Endpoint]),
                    buffer: self.pick(&context, buffer, &[Kind::Buffer]),
                    offset: u64::from(first.saturating_sub(200)) * PAGE as u64,
                    length: 1 + u64::from(length) * 32,
                    access: match access {
                        0..=40 => 0,
                        41..=249 => u32::from(access % 8),
                        more => u32::from(more),
                    },
                    ..Argument::sized()
                };
                self.register(&context, &call, arg);
            }
            A::RegionDeregister(call, pick) => {
                self.end(&call, pick, Cmd::RegionDeregister, &[Kind::Region]);
            }
            A::ViewCreate { call, region, first, length, access, count, how } => {
                self.create_views(&call, region, (first, length), access, count, how);
            }
            A::ViewDestroy { call, view, count, how } => {
                self.destroy_views(&call, view, count, how);
            }
            A::LeaseGrant { call, endpoint, region } => {
                let context = self.context(call.context);
                let endpoint = self.pick(&context, endpoint, &[Kind::Endpoint]);
                let region = self.pick(&context, region, SPANS);
                self.grant(&context, &call, endpoint, region);
            }
            A::LeaseWait { call, endpoint, wait } => {
                let context = self.context(call.context);
                let endpoint = self.pick(&context, endpoint, &[Kind::Endpoint]);
                self.wait_lease(&context, &call, endpoint, wait.ns());
            }
            A::EndpointListen { call, address, backlog } => {
                let addr = self.local(address);
                self.listen(&call, addr, 1 + u32::from(backlog % 8));
            }
            A::EndpointRequest { call, listener, wait } => {
                let context = self.context(call.context);
                let listener = self.pick(&context, listener, &[Kind::Listener]);
                self.request(&context, &call, listener, wait.ns());
            }
            A::EndpointAddress { call, to, from, wait } => {
                let context = self.context(call.context);
                let dst = self.anywhere(to);
                let src = if from.how < 192 { dmaplane_addr::default() } else { self.local(from) };
                self.resolve(&context, &call, dst, src, wait.ns());
            }
            A::EndpointAccept { call, endpoint, channel, terms } => {
                self.connect_any(Cmd::EndpointAccept, &call, endpoint, channel, terms);
            }
            A::EndpointConnect { call, endpoint, channel, terms } => {
                self.connect_any(Cmd::EndpointConnect, &call, endpoint, channel, terms);
            }
            A::EndpointQuery(call, pick) => {
                let context = self.context(call.context);
                let endpoint = self.pick(&context, pick, ENDPOINTS);
                let arg = dmaplane_endpoint_query { endpoint, ..Argument::sized() };
                self.caller.call(&context, Cmd::EndpointQuery, &call, arg, |a| {
                    vec![(a.endpoint, ENDPOINTS)]
                });
            }
            A::EndpointClose(call, pick) => self.end(&call, pick, Cmd::EndpointClose, ENDPOINTS),
            A::ChannelCreate { call, sq, cq, polled } => {
                let context = self.context(call.context);
                let entries = |n: u8| if n < 240 { 1 << (n % 8) } else { 1 << (n % 20) };
                // There are few processors, so that few have a thread, which soon sleeps.
                let idle_ms = (polled >= 224).then_some(u32::from(polled % 16));
                // A bit that no size of those takes.
                let times = sq & 8 != 0;
                self.create_channel(&context, &call, entries(sq), entries(cq), times, idle_ms);
            }
            A::ChannelEnter { call, channel, submit, complete, wait } => {
                let context = self.context(call.context);
                let channel = self.pick(&context, channel, &[Kind::Channel]);
                let submit = if submit == 255 { u32::MAX } else { u32::from(submit % 64) };
                let complete = if complete < 192 { 0 } else { u32::from(complete % 4) };
                self.enter(&context, &call, channel, submit, complete, wait.ns());
            }
            A::ChannelClose(call, pick) => {
                self.end(&call, pick, Cmd::ChannelClose, &[Kind::Channel])
            }
            A::ChannelFile { call, channel, offset, whence } => {
                self.channel_file(&call, channel, offset.0, whence);
            }
            A::ChannelEventfd { call, channel, number } => {
                self.channel_eventfd(&call, channel, number);
            }
            A::CounterCreate { call, endpoint, imm, mask } => {
                let context = self.context(call.context);
                let endpoint = self.pick(&context, endpoint, &[Kind::Endpoint]);
                let mask = [u32::MAX, 0, 1, 3, 7, 0xffff, 0xf0, 1 << 31][usize::from(mask % 8)];
                // Now and then with bits that the mask has not.
                let imm = if imm < 240 { u32::from(imm) & mask } else { u32::from(imm) };
                self.create_counter(&context, &call, endpoint, imm, mask);
            }
            A::CounterQuery(call, pick) => {
                let context = self.context(call.context);
                let counter = self.pick(&context, pick, &[Kind::Counter]);
                let arg = dmaplane_counter_query { counter, ..Argument::sized() };
                self.caller.call(&context, Cmd::CounterQuery, &call, arg, |a| {
                    vec![(a.counter, &[Kind::Counter])]
                });
            }
            A::CounterDestroy(call, pick) => {
                self.end(&call, pick, Cmd::CounterDestroy, &[Kind::Counter])
            }
            A::Establish { client, server, address, terms, leases } => {
                self.establish(client, server, address, terms, leases);
            }
            A::Push { context, channel, count, entry, enter } => {
                self.push(context, channel, count, entry, enter)
            }
            A::Send { context, channel, count, entry } => {
                self.push(context, channel, count, entry, true)
            }
            A::UringSubmit { context, channel, ring, how, count, entry } => {
                self.uring_submit(context, channel, (ring, how), count, entry)
            }
            A::UringEnd { ring, how, which } => self.uring_end(ring, how, which),
            A::Reap { context, channel, count } => {
                let context = self.context(context);
                let handle = self.pick(&context, channel, &[Kind::Channel]);
                if let Some(ring) = self.ring(&context, handle) {
                    self.reap(&context, &ring, u32::from(count));
                }
            }
            A::Vandalise { context, channel, field, value, times } => {
                self.vandalise(context, channel, field, value, times);
            }
            A::Map { context, object, first, pages, mode, ops, keep } => {
                self.map(context, object, (first, pages), mode, &ops, keep);
            }
            A::Poll { context, how, wait } => self.poll(context, how, wait),
            A::Foreign { context, how, number, value } => {
                self.foreign(context, how, number, value.0)
            }
            A::Fork { context, how } => self.fork(context, how),
            A::Renew { context, how } => self.renew(context, how),
            A::Scribble { at, value, times } => self.scribble(at, value.0, times),
        }
    }

    fn connect_any(&self, cmd: Cmd, call: &Call, endpoint: Pick, channel: Pick, terms: Terms) {
        let context = self.context(call.context);
        let endpoint = self.pick(&context, endpoint, &[Kind::Endpoint]);
        let channel = self.pick(&context, channel, &[Kind::Channel]);
        let _ = self.connect(&context, call, cmd, (endpoint, channel), terms);
    }

    fn local(&self, address: Address) -> dmaplane_addr {
        crate::connect::local(address)
    }

    fn anywhere(&self, address: Address) -> dmaplane_addr {
        crate::connect::anywhere(self.shared(), address)
    }
}
