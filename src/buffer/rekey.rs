// SPDX-License-Identifier: GPL-2.0

//! Moving a buffer of which parts are registered: their keys are taken away and made anew.
//!
//! 1. Nobody begins to use the keys any more ([`Registration::hold`]); entries wait.
//! 2. All connections that could have used them have nothing under way there, at either end
//!    ([`Endpoint::is_free_of`]).
//! 3. The keys are deregistered, so that no adapter reaches the pages, whatever a peer says.
//! 4. Batches of pages move.
//! 5. New keys are registered, through a connection that was kept idle for that, peers are told of them, and all go on ([`Hold`]'s drop).
//!
//! Steps 1 to 5 take place within one call, for some batches at a time, so that what is canceled or
//! killed in between leaves keys that work.
//!
//! Ownership: a [`Hold`] has the registrations, and those connections.
//! Locking: the memory's `moving` is outside of everything; nothing else is locked while it waits for a peer.
//! Teardown: none.

use super::{
    migrate::Move,
    Buffer, //
};
use crate::{
    context::Context,
    device::Device,
    endpoint::Endpoint,
    region::Registration, //
};
use dmakit::{
    errno::EKEYREVOKED,
    mm,
    rdma::{
        device::Domain,
        mr, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// Batches while the keys are away: 64 MiB, so that peers do not wait long.
const BATCHES: usize = 32;

/// Or one for so many keys, so that most of the time is not theirs.
const KEYS_PER_BATCH: usize = 16;

/// How long to wait for entries under way and for peers to say that they hold their leases.
const QUIET: Delta = Delta::from_millis(2000);

/// How long to wait for those who had keys at hand, or are registering, for a moment.
const MOMENT: Delta = Delta::from_millis(100);

/// How often to look.
const LOOK: Delta = Delta::from_micros(100);

/// Moves the next batches; whether there are more. `EBUSY` if somebody else needs the pages where they are,
/// a peer does not hold its leases or there is no connection to register new keys through;
/// `EKEYREVOKED` if that failed, and there are no keys now.
pub(super) fn step(moving: &mut Move) -> Result<bool> {
    let buffer = moving.buffer().clone();
    let _turn = buffer.memory.moving.lock();
    let mut parts = KVec::new();
    wait_for(MOMENT, || {
        parts = registered(&buffer)?;
        Ok(buffer.pages().pins() == pins(&parts))
    })?;
    if !moving.is_wanted()? {
        return Ok(false);
    }
    let batches = BATCHES.max(pins(&parts) / KEYS_PER_BATCH);
    let hold = Hold::new(moving.device(), parts)?;
    hold.quiesce()?;
    let reserved = hold.reserve()?;
    let keys = hold.take_keys()?;
    let mut moved = wait_for(MOMENT, || Ok(buffer.pages().pins() == 0)).map(|()| true);
    for _ in 0..batches {
        if moved != Ok(true) {
            break;
        }
        moved = moving.batch();
    }
    // In any case.
    hold.renew(&buffer, keys, &reserved)?;
    moved
}

/// Whether parts of a buffer are registered, or were a moment ago.
pub(super) fn has_parts(buffer: &Buffer) -> bool {
    let parts = buffer.memory.registrations.lock();
    parts.iter().any(|part| part.is_there())
}

/// The registered parts of a buffer.
fn registered(buffer: &Buffer) -> Result<KVec<Arc<Registration>>> {
    let mut parts = KVec::new();
    loop {
        let all = buffer.memory.registrations.lock();
        if all.len() <= parts.capacity() {
            for part in all.iter().filter(|part| part.is_there()) {
                parts.push_within_capacity(part.clone()).map_err(|_| EIO)?;
            }
            return Ok(parts);
        }
        let wanted = all.len();
        drop(all);
        parts.reserve(wanted, GFP_KERNEL_ACCOUNT)?;
    }
}

/// How often the keys of these pin pages: what else does so needs them where they are.
fn pins(parts: &[Arc<Registration>]) -> usize {
    let keys = parts.iter().filter_map(|part| part.keys().ok());
    keys.map(|keys| keys.segments()).sum()
}

/// Waits until `ready` says so. `EBUSY` if it does not within `time`, `EINTR` if the caller is being killed.
fn wait_for(time: Delta, mut ready: impl FnMut() -> Result<bool>) -> Result {
    let began = Instant::<Monotonic>::now();
    while !ready()? {
        if mm::is_being_killed() {
            return Err(EINTR);
        }
        if began.elapsed() > time {
            return Err(EBUSY);
        }
        fsleep(LOOK);
    }
    Ok(())
}

/// Where keys were.
struct Taken {
    part: Arc<Registration>,
    domain: Arc<Domain>,
}

/// An endpoint that sends nothing, so that keys can be registered through it.
struct Reserved(Arc<Endpoint>);

impl Drop for Reserved {
    fn drop(&mut self) {
        self.0.unreserve();
    }
}

/// Registrations that nobody begins to use, until it is dropped.
struct Hold {
    parts: KVec<Arc<Registration>>,
    domains: KVec<Arc<Domain>>,
    /// Those who have them.
    contexts: KVec<Arc<Context>>,
    endpoints: KVec<Arc<Endpoint>>,
}

impl Hold {
    fn new(device: &Device, parts: KVec<Arc<Registration>>) -> Result<Self> {
        let mut hold = Self {
            parts,
            domains: KVec::new(),
            contexts: device.contexts()?,
            endpoints: KVec::new(),
        };
        for part in &hold.parts {
            let Ok(keys) = part.keys() else { continue };
            let mut known = hold.domains.iter();
            if !known.any(|known| Arc::ptr_eq(known, keys.domain())) {
                hold.domains
                    .push(keys.domain().clone(), GFP_KERNEL_ACCOUNT)?;
            }
        }
        let domains = &hold.domains;
        hold.contexts
            .retain(|context| domains.iter().any(|domain| context.has(domain)));
        for part in &hold.parts {
            part.hold();
        }
        for context in &hold.contexts {
            let (mut added, endpoints) = (Ok(()), &mut hold.endpoints);
            context.for_each_endpoint(|endpoint| {
                if domains.iter().any(|domain| endpoint.is_in(domain)) && added.is_ok() {
                    added = endpoints.push(endpoint.clone(), GFP_KERNEL_ACCOUNT);
                }
            });
            added?;
            // Some may have been taken away before they were seen.
            if context.is_released() {
                return Err(EBUSY);
            }
        }
        Ok(hold)
    }

    /// Waits until they are not used.
    fn quiesce(&self) -> Result {
        wait_for(QUIET, || {
            let mut free = true;
            for endpoint in &self.endpoints {
                // All are asked at once.
                free &= endpoint.is_free_of(&self.parts);
                mm::cond_resched();
            }
            Ok(free)
        })
    }

    /// Sees to it that new keys can be registered without waiting for what others send.
    fn reserve(&self) -> Result<KVec<Reserved>> {
        let mut reserved = KVec::with_capacity(self.domains.len(), GFP_KERNEL_ACCOUNT)?;
        for domain in &self.domains {
            // Those that have nothing to do first.
            let all = || self.endpoints.iter().filter(|one| one.is_in(domain));
            let idle = all().find(|one| one.is_idle() && one.reserve());
            let one = idle
                .or_else(|| all().find(|one| one.reserve()))
                .ok_or(EBUSY)?;
            reserved.push(Reserved(one.clone()), GFP_KERNEL_ACCOUNT)?;
        }
        wait_for(QUIET, || Ok(reserved.iter().all(|one| one.0.is_idle())))?;
        Ok(reserved)
    }

    /// Deregisters all keys.
    fn take_keys(&self) -> Result<KVec<Taken>> {
        let mut taken = KVec::with_capacity(self.parts.len(), GFP_KERNEL_ACCOUNT)?;
        for part in &self.parts {
            let Some(keys) = part.take() else { continue };
            let domain = keys.domain().clone();
            let part = part.clone();
            taken
                .push_within_capacity(Taken { part, domain })
                .map_err(|_| EIO)?;
        }
        let mut domains = self.domains.iter();
        if domains.any(|domain| domain.device().quirks().writes_after_key) {
            mm::synchronize();
        }
        Ok(taken)
    }

    /// Makes and registers others; the first error.
    fn renew(&self, buffer: &Buffer, taken: KVec<Taken>, reserved: &[Reserved]) -> Result {
        let mut result = Ok(());
        for Taken { part, domain } in taken {
            let others = register(buffer, &part, &domain, reserved);
            let failed = others.as_ref().err().copied();
            part.renew(others);
            if let Some(error) = failed {
                result = result.and(Err(match error {
                    ENODEV => ENODEV,
                    _ => EKEYREVOKED.into(),
                }));
            }
            mm::cond_resched();
        }
        result
    }
}

/// Makes keys for a part of a buffer. `ENODEV` if the adapter goes away.
fn register(
    buffer: &Buffer,
    part: &Registration,
    domain: &Arc<Domain>,
    reserved: &[Reserved],
) -> Result<Arc<mr::Region>> {
    let mut endpoints = reserved.iter().filter(|one| one.0.is_in(domain));
    let Some(Reserved(endpoint)) = endpoints.next() else {
        return domain.device().enter().and(Err(EBUSY));
    };
    let pages = buffer.pages().clone();
    let keys = mr::Region::new(domain, pages, part.offset(), part.length())?;
    match endpoint.register_again(&keys, part.access()) {
        Ok(()) => Ok(keys),
        Err(error) => domain.device().enter().and(Err(error)),
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        for part in &self.parts {
            part.release();
        }
        for endpoint in &self.endpoints {
            endpoint.resume(&self.parts);
        }
        // Others may have come meanwhile, and have entries that wait.
        for context in &self.contexts {
            context.for_each_endpoint(|endpoint| endpoint.resume(&self.parts));
        }
    }
}
