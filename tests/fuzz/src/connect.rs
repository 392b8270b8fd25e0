// SPDX-License-Identifier: GPL-2.0
//! Addresses, and the way to connections.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::abi::{uapi::*, Argument, Cmd};
use crate::action::Action;
use crate::call::{Caller, Outcome, Use};
use crate::choice::{Address, Call, Pick, Terms, Value, Wait, Where};
use crate::exec::Worker;
use crate::memory::{Probe, PAGE};
use crate::world::{lock, Context, Kind, Object, Shared};

/// The addresses that one_host makes (tests/scenarios/lib.sh).
const V4: &[Ipv4Addr] = &[Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 78, 0, 1)];
const V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
/// A neighbour that is not there, no RDMA device, no route, nobody, everybody.
const ODD: &[Ipv4Addr] = &[
    Ipv4Addr::new(10, 78, 0, 99),
    Ipv4Addr::new(10, 79, 0, 1),
    Ipv4Addr::new(198, 51, 100, 1),
    Ipv4Addr::UNSPECIFIED,
    Ipv4Addr::BROADCAST,
    Ipv4Addr::LOCALHOST,
    Ipv4Addr::new(224, 0, 0, 1),
];

fn v4(ip: Ipv4Addr, port: u16) -> dmaplane_addr {
    let mut data = [0; 28];
    data[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    data[2..4].copy_from_slice(&port.to_be_bytes());
    data[4..8].copy_from_slice(&ip.octets());
    dmaplane_addr { len: 16, data }
}

fn v6(ip: Ipv6Addr, port: u16) -> dmaplane_addr {
    let mut data = [0; 28];
    data[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
    data[2..4].copy_from_slice(&port.to_be_bytes());
    data[8..24].copy_from_slice(&ip.octets());
    dmaplane_addr { len: 28, data }
}

/// An address of this host.
pub fn local(address: Address) -> dmaplane_addr {
    let index = usize::from(address.index);
    let port = match index % 16 {
        0..=11 => 0,
        12 => 1,
        more => 7000 + more as u16,
    };
    match address.how % 16 {
        0..=8 => v4(V4[index / 16 % V4.len()], port),
        9..=12 => v6(V6, port),
        13 => v4(ODD[index % ODD.len()], port),
        14 => v6(Ipv6Addr::UNSPECIFIED, port),
        _ => dmaplane_addr { len: (index % 40) as u32, ..v4(V4[0], port) },
    }
}

/// An address where somebody may listen.
pub fn anywhere(shared: &Shared, address: Address) -> dmaplane_addr {
    let known = lock(&shared.addresses);
    if address.how < 224 && !known.is_empty() {
        return known[usize::from(address.index) % known.len()];
    }
    match address.how % 4 {
        0 => v4(ODD[usize::from(address.index) % ODD.len()], 7000),
        1 => v4(V4[0], 1),
        _ => local(address),
    }
}

impl Worker {
    pub fn listen(&self, call: &Call, addr: dmaplane_addr, backlog: u32) {
        let context = self.context(call.context);
        if !self.make_room(&context, Kind::Listener) {
            self.listen_at(&context, call, addr, backlog);
        }
    }

    fn listen_at(
        &self,
        context: &Context,
        call: &Call,
        addr: dmaplane_addr,
        backlog: u32,
    ) -> Option<(u32, dmaplane_addr)> {
        let arg = dmaplane_endpoint_listen { addr, backlog, ..Argument::sized() };
        let none: fn(&dmaplane_endpoint_listen) -> Vec<Use> = |_| Vec::new();
        let Outcome { result, arg, .. } =
            self.caller.call(context, Cmd::EndpointListen, call, arg, none);
        result.ok()?;
        self.add(context, Object::new(Kind::Listener, arg.handle));
        let mut addresses = lock(&self.shared().addresses);
        addresses.push_back(arg.addr);
        if addresses.len() > 16 {
            addresses.pop_front();
        }
        Some((arg.handle, arg.addr))
    }

    pub fn request(
        &self,
        context: &Context,
        call: &Call,
        listener: u32,
        timeout_ns: u64,
    ) -> Option<u32> {
        if self.make_room(context, Kind::Endpoint) {
            return None;
        }
        let arg = dmaplane_endpoint_request { listener, timeout_ns, ..Argument::sized() };
        let uses: fn(&dmaplane_endpoint_request) -> Vec<Use> =
            |a| vec![(a.listener, &[Kind::Listener])];
        let Outcome { result, arg, .. } =
            self.caller.call(context, Cmd::EndpointRequest, call, arg, uses);
        result.ok()?;
        self.add(context, Object::new(Kind::Endpoint, arg.handle));
        Some(arg.handle)
    }

    pub fn resolve(
        &self,
        context: &Context,
        call: &Call,
        dst: dmaplane_addr,
        src: dmaplane_addr,
        timeout_ns: u64,
    ) -> Option<u32> {
        if self.make_room(context, Kind::Endpoint) {
            return None;
        }
        let arg = dmaplane_endpoint_address { dst, src, timeout_ns, ..Argument::sized() };
        let none: fn(&dmaplane_endpoint_address) -> Vec<Use> = |_| Vec::new();
        let Outcome { result, arg, .. } =
            self.caller.call(context, Cmd::EndpointAddress, call, arg, none);
        result.ok()?;
        self.add(context, Object::new(Kind::Endpoint, arg.handle));
        Some(arg.handle)
    }

    /// CONNECT or ACCEPT.
    pub fn connect(
        &self,
        context: &Context,
        call: &Call,
        cmd: Cmd,
        (endpoint, channel): (u32, u32),
        terms: Terms,
    ) -> Result<(), i32> {
        let len = u32::from(terms.private % 40);
        let mut private_data = dmaplane_private { len, ..Default::default() };
        let filled = (len as usize).min(private_data.data.len());
        private_data.data[..filled].fill(0x5a);
        let depth = |n: u8| {
            if n < 240 {
                1 + u32::from(n % 32)
            } else {
                u32::from(n % 16) * 128
            }
        };
        let arg = dmaplane_endpoint_connect {
            endpoint,
            channel,
            send_depth: depth(terms.send_depth),
            recv_depth: depth(terms.recv_depth),
            recv_user_data: crate::rings::RECEIVED,
            message_bytes: u32::from(terms.private) * 16 + u32::from(terms.private % 2),
            timeout_ns: terms.wait.ns(),
            private_data,
            ..Argument::sized()
        };
        // What is received must be told from what was sent.
        let call = call.sparing(24, 32);
        let uses: fn(&dmaplane_endpoint_connect) -> Vec<Use> =
            |a| vec![(a.endpoint, &[Kind::Endpoint]), (a.channel, &[Kind::Channel])];
        self.caller.call(context, cmd, &call, arg, uses).result
    }

    /// A whole connection: one side is this thread's, the other a helper's.
    pub fn establish(
        &self,
        client: Where,
        server: Where,
        address: Address,
        terms: Terms,
        leases: u8,
    ) {
        let (client, server) = (self.context(client), self.context(server));
        let plain = Call::plain(Where(0));
        let terms = Terms { private: terms.private % 33, wait: Wait(255), ..terms };
        let room = |context: &Context| {
            while self.make_room(context, Kind::Endpoint) {
                if !context.strict {
                    break;
                }
            }
        };
        room(&client);
        room(&server);
        let channel = |context: &Arc<Context>| {
            let roomy = |o: &&Object| o.ring.as_ref().is_some_and(|ring| ring.cq_entries >= 32);
            let found = lock(&context.objects).live.iter().find(roomy).map(|o| o.handle);
            found.or_else(|| {
                self.make_room(context, Kind::Channel);
                self.create_channel(context, &plain, 64, 128, true, None)
            })
        };
        let (Some(near), Some(far)) = (channel(&client), channel(&server)) else {
            return;
        };
        let addr = match address.how % 16 {
            0..=8 => v4(V4[usize::from(address.index) % 2], 0),
            _ => v6(V6, 0),
        };
        let Some((listener, addr)) = self.listen_at(&server, &plain, addr, 4) else {
            return;
        };
        let patience = 15_000_000_000 * u64::from(self.shared().slow);
        let serve = |worker: &Self| {
            let endpoint = worker.request(&server, &plain, listener, patience)?;
            worker.connect(&server, &plain, Cmd::EndpointAccept, (endpoint, far), terms).ok()?;
            Some(endpoint)
        };
        let ask = |worker: &Self| {
            let endpoint =
                worker.resolve(&client, &plain, addr, dmaplane_addr::default(), patience)?;
            worker.connect(&client, &plain, Cmd::EndpointConnect, (endpoint, near), terms).ok()?;
            Some(endpoint)
        };
        // Made by its thread: signals go to whoever made it.
        let helper = || Self {
            caller: Caller::new(self.shared(), format!("helper of {}", self.caller.log.name)),
            own: self.own.clone(),
            probe: Probe::new(),
            kept: Vec::new(),
            urings: Default::default(),
            next_data: 0,
        };
        let pair = std::thread::scope(|scope| {
            if terms.private % 2 == 0 {
                let other = scope.spawn(|| serve(&helper()));
                (ask(self), other.join().unwrap_or_default())
            } else {
                let other = scope.spawn(|| ask(&helper()));
                let here = serve(self);
                (other.join().unwrap_or_default(), here)
            }
        });
        self.end_handle(&server, &plain, listener, Cmd::EndpointClose);
        if let (Some(near), Some(far)) = pair {
            if leases & 1 == 0 {
                self.lease(&server, far, &client, near);
            }
            if leases & 2 == 0 {
                self.lease(&client, near, &server, far);
            }
        }
    }

    /// Each command once as it should be: what comes then begins with something, and whatever chance
    /// says, no command goes without success.
    pub fn tour(&mut self) {
        let (own, any) = (Call::plain(Where(0)), Pick::nth(0));
        let terms = Terms { send_depth: 7, recv_depth: 7, private: 2, wait: Wait(255) };
        self.establish(Where(0), Where(0), Address { how: 0, index: 0 }, terms, 0);
        self.run(Action::Info(own));
        self.run(Action::Stats(own));
        self.run(Action::FabricList { call: own, room: 4 });
        self.run(Action::BufQuery { call: own, buffer: any, room: 255 });
        self.run(Action::BufExport { call: own, buffer: any, first: 0, pages: 0, how: 0 });
        self.run(Action::BufPin { call: own, first: 0, pages: 200, how: 0 });
        self.run(Action::BufImport { call: own, pages: 200, how: 0 });
        let to = Where(0);
        self.run(Action::BufShare { call: own, buffer: any, to, rights: 0xff, how: 0 });
        self.run(Action::EndpointQuery(own, any));
        self.run(Action::ChannelEnter {
            call: own,
            channel: any,
            submit: 0,
            complete: 0,
            wait: Wait(0),
        });
        // One that no lease is being sent of, and what nothing uses.
        for (endpoint, access) in [(0, 0), (1, 0)] {
            let (endpoint, buffer) = (Pick::nth(endpoint), any);
            let (first, length) = (0, 255);
            self.run(Action::RegionRegister { call: own, endpoint, buffer, first, length, access });
        }
        let (region, first, access) = (any, 0, 7);
        self.run(Action::ViewCreate {
            call: own,
            region,
            first,
            length: 9,
            access,
            count: 5,
            how: 0,
        });
        self.run(Action::ViewDestroy { call: own, view: any, count: 2, how: 0 });
        for index in 0..4 {
            self.run(Action::RegionDeregister(own, Pick::nth(3 - index)));
        }
        self.run(Action::ChannelCreate { call: own, sq: 3, cq: 3, polled: 255 });
        self.run(Action::ChannelEventfd { call: own, channel: any, number: 0 });
        self.uring_tour(any);
        self.run(Action::ChannelClose(own, Pick::nth(1)));
        self.run(Action::CounterCreate { call: own, endpoint: any, imm: 1, mask: 0 });
        self.run(Action::CounterQuery(own, any));
        self.run(Action::CounterDestroy(own, any));
        self.run(Action::BufDestroy(own, any));
        // One of them at least is not registered.
        self.run(Action::BufCreate { call: own, length: 255, node: 0, how: 255, odd: Value(0) });
        for index in 0..8 {
            let buffer = Pick::nth(index);
            self.run(Action::BufMigrate { call: own, buffer, node: 0, how: 0 });
        }
    }

    /// Lets `to` read and write memory of `from`, which may read into it as well.
    fn lease(&self, from: &Arc<Context>, granting: u32, to: &Arc<Context>, waiting: u32) {
        let plain = Call::plain(Where(0));
        let buffer = lock(&from.objects)
            .live
            .iter()
            .find(|o| o.kind == Kind::Buffer)
            .map(|o| (o.handle, o.length));
        let buffer = buffer.or_else(|| {
            let arg = dmaplane_buf_create {
                length: 4 * PAGE as u64,
                node: DMAPLANE_NODE_ANY,
                ..Argument::sized()
            };
            Some((self.make_buffer(from, &plain, arg)?, arg.length))
        });
        let Some((buffer, length)) = buffer else {
            return;
        };
        let arg = dmaplane_region_register {
            endpoint: granting,
            buffer,
            length,
            access: DMAPLANE_ACCESS_REMOTE_WRITE
                | DMAPLANE_ACCESS_REMOTE_READ
                | DMAPLANE_ACCESS_LOCAL_WRITE,
            ..Argument::sized()
        };
        let Some(region) = self.register(from, &plain, arg) else {
            return;
        };
        self.grant(from, &plain, granting, region);
        self.wait_lease(to, &plain, waiting, 200_000_000 * u64::from(self.shared().slow));
    }
}
