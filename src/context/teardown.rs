// SPDX-License-Identifier: GPL-2.0

//! The end of a context, in phases that cannot be skipped or reordered.
//!
//! Each phase returns a token that the next one takes, and only this file can make them. `Arc`s
//! keep memory safe in any order; the order here is what makes the end come in bounded time: a
//! queue pair is drained while everything it may touch is still there, keys die before the memory
//! behind them can be reused, and memory goes last.

use super::{
    Kind,
    Object,
    Objects, //
};
use crate::{
    channel::Channel,
    endpoint::{
        listen::Listener,
        Ending,
        Endpoint, //
    }, //
};
use dmakit::errno::ECANCELED;

/// Nobody submits any more: the file is gone, and with it every call and mapping. What threads are
/// in the midst of is waited for when their channels are stopped.
struct Quiet(Objects);

/// No queue pair is left, every entry accepted got its completion.
struct Drained(Objects);

/// No key is left.
struct Deregistered(Objects);

/// Ends the objects of a context whose file is gone.
pub(super) fn run(objects: Objects) {
    Quiet(objects).drain().deregister().free();
}

impl Quiet {
    fn drain(self) -> Drained {
        for (_, object) in self.0.iter() {
            if let Some(channel) = Channel::of(object) {
                channel.stop();
            }
        }
        for (_, object) in self.0.iter() {
            if let Some(listener) = Listener::of(object) {
                listener.end(ECANCELED.into());
            }
        }
        // All peers are told before any queue pair is waited for.
        for end in [Endpoint::hang_up, Ending::end] {
            for (_, object) in self.0.iter() {
                if let Some(endpoint) = Endpoint::of(object) {
                    end(endpoint, ECANCELED.into());
                }
            }
        }
        for (_, object) in self.0.iter() {
            if let Some(channel) = Channel::of(object) {
                channel.finish();
            }
        }
        Drained(self.0)
    }
}

impl Drained {
    fn deregister(self) -> Deregistered {
        for (_, object) in self.0.iter() {
            if let Object::Region(region) = object {
                region.revoke();
            }
        }
        Deregistered(self.0)
    }
}

impl Deregistered {
    fn free(mut self) {
        while let Some((_, object)) = self.0.take_any() {
            drop(object);
        }
    }
}
