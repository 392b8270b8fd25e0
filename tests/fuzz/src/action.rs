// SPDX-License-Identifier: GPL-2.0
//! What a thread can do next. Actions are made of bytes by `arbitrary`; they say
//! what to use ("the third live region"), not which handle that is, so that they
//! mean something in any state.

use arbitrary::{Arbitrary, Unstructured};

use crate::choice::*;

/// A submission entry.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub struct Entry {
    pub opcode: u8,
    pub flags: u8,
    pub endpoint: Pick,
    pub region: Pick,
    pub lease: u8,
    pub local: u8,
    pub remote: u8,
    pub length: u8,
    pub imm: u32,
    pub twist: Twist,
}

/// What is done to a mapping.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub enum MapOp {
    Load(u8),
    Store(u8, u8),
    Protect(u8),
    Advise(u8),
    Unmap(u8, u8),
    Resize(u8),
    Lock,
    Sync,
}

/// One thing to do.
#[derive(Clone, Debug, Arbitrary)]
pub enum Action {
    Info(Call),
    Stats(Call),
    BufCreate {
        call: Call,
        length: u8,
        node: u8,
        how: u8,
        odd: Value,
    },
    BufQuery {
        call: Call,
        buffer: Pick,
        room: u8,
    },
    BufDestroy(Call, Pick),
    /// A dma-buf, and what can be done with it.
    BufExport {
        call: Call,
        buffer: Pick,
        first: u8,
        pages: u8,
        how: u8,
    },
    /// A buffer of the program's own memory.
    BufPin {
        call: Call,
        first: u8,
        pages: u8,
        how: u8,
    },
    /// A buffer of another driver's dma-buf, or of what is none.
    BufImport {
        call: Call,
        pages: u8,
        how: u8,
    },
    BufMigrate {
        call: Call,
        buffer: Pick,
        node: u8,
        how: u8,
    },
    /// A descriptor of a buffer, and what is opened by it, there or elsewhere.
    BufShare {
        call: Call,
        buffer: Pick,
        to: Where,
        rights: u8,
        how: u8,
    },
    FabricList {
        call: Call,
        room: u8,
    },
    RegionRegister {
        call: Call,
        endpoint: Pick,
        buffer: Pick,
        first: u8,
        length: u8,
        access: u8,
    },
    RegionDeregister(Call, Pick),
    /// Parts of a region, or of a view.
    ViewCreate {
        call: Call,
        region: Pick,
        first: u8,
        length: u8,
        access: u8,
        count: u8,
        how: u8,
    },
    ViewDestroy {
        call: Call,
        view: Pick,
        count: u8,
        how: u8,
    },
    LeaseGrant {
        call: Call,
        endpoint: Pick,
        region: Pick,
    },
    LeaseWait {
        call: Call,
        endpoint: Pick,
        wait: Wait,
    },
    EndpointListen {
        call: Call,
        address: Address,
        backlog: u8,
    },
    EndpointRequest {
        call: Call,
        listener: Pick,
        wait: Wait,
    },
    EndpointAccept {
        call: Call,
        endpoint: Pick,
        channel: Pick,
        terms: Terms,
    },
    EndpointAddress {
        call: Call,
        to: Address,
        from: Address,
        wait: Wait,
    },
    EndpointConnect {
        call: Call,
        endpoint: Pick,
        channel: Pick,
        terms: Terms,
    },
    EndpointQuery(Call, Pick),
    EndpointClose(Call, Pick),
    ChannelCreate {
        call: Call,
        sq: u8,
        cq: u8,
        polled: u8,
    },
    ChannelEnter {
        call: Call,
        channel: Pick,
        submit: u8,
        complete: u8,
        wait: Wait,
    },
    ChannelClose(Call, Pick),
    /// A file of a channel, what can be done with it, and its end.
    ChannelFile {
        call: Call,
        channel: Pick,
        offset: Value,
        whence: u8,
    },
    /// An eventfd, or a number that is none, for a channel to signal.
    ChannelEventfd {
        call: Call,
        channel: Pick,
        number: u8,
    },
    CounterCreate {
        call: Call,
        endpoint: Pick,
        imm: u8,
        mask: u8,
    },
    CounterQuery(Call, Pick),
    CounterDestroy(Call, Pick),
    /// A whole connection, and leases on it.
    Establish {
        client: Where,
        server: Where,
        address: Address,
        terms: Terms,
        leases: u8,
    },
    /// Entries into a submission ring, then ENTER.
    Push {
        context: Where,
        channel: Pick,
        count: u8,
        entry: Entry,
        enter: bool,
    },
    /// As above: most of what happens should be transfers.
    Send {
        context: Where,
        channel: Pick,
        count: u8,
        entry: Entry,
    },
    /// Entries for a channel's file by io_uring.
    UringSubmit {
        context: Where,
        channel: Pick,
        ring: u8,
        how: u8,
        count: u8,
        entry: Entry,
    },
    /// What becomes of them: completions, cancelling, the end of the ring or of a file.
    UringEnd {
        ring: u8,
        how: u8,
        which: u8,
    },
    Reap {
        context: Where,
        channel: Pick,
        count: u8,
    },
    /// Anything into a ring's memory.
    Vandalise {
        context: Where,
        channel: Pick,
        field: u8,
        value: Value,
        times: u8,
    },
    Map {
        context: Where,
        object: Pick,
        first: u8,
        pages: u8,
        mode: u8,
        ops: [MapOp; 4],
        keep: bool,
    },
    Poll {
        context: Where,
        how: u8,
        wait: Wait,
    },
    /// A command that there is not, or another system call.
    Foreign {
        context: Where,
        how: u8,
        number: u8,
        value: Value,
    },
    Fork {
        context: Where,
        how: u8,
    },
    /// Closes a context and opens another.
    Renew {
        context: Where,
        how: u8,
    },
    /// Changes memory in which arguments of other threads are.
    Scribble {
        at: u8,
        value: Value,
        times: u8,
    },
}

/// The actions that an input means.
pub fn parse(input: &[u8]) -> Vec<Action> {
    const MAX: usize = 32;
    let mut u = Unstructured::new(input);
    let mut actions = Vec::new();
    while !u.is_empty() && actions.len() < MAX {
        actions.extend(Action::arbitrary(&mut u));
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::fresh;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::collections::HashSet;

    #[test]
    fn bytes_make_every_kind_of_action() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut kinds = HashSet::new();
        for _ in 0..2000 {
            kinds.extend(parse(&fresh(&mut rng)).iter().map(std::mem::discriminant));
        }
        assert_eq!(kinds.len(), 45);
    }
}
