// SPDX-License-Identifier: GPL-2.0

//! Moving a buffer of which parts are registered: their keys are taken away and made anew.
//!
//! 1. Nobody begins to use the keys any more ([`Registration::hold`]); entries wait.
//! 2. All connections that could have used them have nothing under way there, at either end
//!    ([`Endpoint::is_free_of`]).
//! 3. The keys are deregistered, so that no adapter reaches the pages, whatever a peer says.
//! 4. Batches of pages move.
//! 5. New keys are registered, peers are told of them, and all go on ([`Hold`]'s drop).
//!
//! Steps 1 to 5 take place within one call, for some batches at a time, so that what is canceled or
//! killed in between leaves keys that work.
//!
//! Ownership: a [`Hold`] has the registrations, and those connections.
//! Locking: the buffer's `moving` is outside of everything but registries and a worker's turn; nothing is locked
//! while it waits for a peer. Teardown: none.

use super::{
    migrate::Move,
    Buffer, //
};
use crate::{
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
const BATCHES: u32 = 32;

/// How long to wait for entries under way and for peers to say that they hold their leases.
const QUIET: Delta = Delta::from_millis(2000);

/// How long to wait for those who had keys at hand for a moment.
const MOMENT: Delta = Delta::from_millis(100);

/// How often to look.
const LOOK: Delta = Delta::from_micros(100);

/// Moves the next batches; whether there are more. `EBUSY` if somebody else needs the pages where they are,
/// a peer does not hold its leases or there is no connection to register new keys through;
/// `EKEYREVOKED` if that failed, and there are no keys now.
pub(super) fn step(moving: &mut Move, parts: KVec<Arc<Registration>>) -> Result<bool> {
    let buffer = moving.buffer().clone();
    let _turn = buffer.memory.moving.lock();
    if buffer.pages().pins() != pins(&parts) {
        return Err(EBUSY);
    }
    if !moving.is_wanted()? {
        return Ok(false);
    }
    let hold = Hold::new(moving.device().clone(), parts)?;
    hold.quiesce()?;
    let keys = hold.take_keys()?;
    let mut moved = wait_for_pins(&buffer);
    for _ in 0..BATCHES {
        if moved != Ok(true) {
            break;
        }
        moved = moving.batch();
    }
    // In any case.
    hold.renew(&buffer, keys)?;
    moved
}

/// The registered parts of a buffer that is moved.
pub(super) fn parts(buffer: &Buffer) -> Result<KVec<Arc<Registration>>> {
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

/// Waits for those who had keys at hand for a moment.
fn wait_for_pins(buffer: &Buffer) -> Result<bool> {
    let began = Instant::<Monotonic>::now();
    while buffer.pages().pins() != 0 {
        if began.elapsed() > MOMENT {
            return Err(EBUSY);
        }
        fsleep(LOOK);
    }
    Ok(true)
}

/// Where keys were.
struct Taken {
    part: Arc<Registration>,
    domain: Arc<Domain>,
}

/// Registrations that nobody begins to use, until it is dropped.
struct Hold {
    device: Arc<Device>,
    parts: KVec<Arc<Registration>>,
    endpoints: KVec<Arc<Endpoint>>,
}

impl Hold {
    fn new(device: Arc<Device>, parts: KVec<Arc<Registration>>) -> Result<Self> {
        let mut hold = Self {
            device,
            parts,
            endpoints: KVec::new(),
        };
        let mut domains = KVec::<Arc<Domain>>::new();
        for part in &hold.parts {
            let Ok(keys) = part.keys() else { continue };
            let known = domains
                .iter()
                .any(|known| Arc::ptr_eq(known, keys.domain()));
            if !known {
                domains.push(keys.domain().clone(), GFP_KERNEL_ACCOUNT)?;
            }
        }
        for part in &hold.parts {
            part.hold();
        }
        for context in &hold.device.contexts()? {
            let (mut added, endpoints) = (Ok(()), &mut hold.endpoints);
            context.for_each_endpoint(|endpoint| {
                if domains.iter().any(|domain| endpoint.is_in(domain)) && added.is_ok() {
                    added = endpoints.push(endpoint.clone(), GFP_KERNEL_ACCOUNT);
                }
            });
            added?;
        }
        let has_one = |domain| {
            let mut endpoints = hold.endpoints.iter();
            endpoints.any(|endpoint| endpoint.is_in(domain) && endpoint.can_register())
        };
        match domains.iter().all(has_one) {
            true => Ok(hold),
            false => Err(EBUSY),
        }
    }

    /// Waits until they are not used.
    fn quiesce(&self) -> Result {
        let began = Instant::<Monotonic>::now();
        loop {
            let mut busy = false;
            for endpoint in &self.endpoints {
                // All are asked at once.
                busy |= !endpoint.is_free_of(&self.parts);
            }
            if !busy {
                return Ok(());
            }
            if mm::is_being_killed() {
                return Err(EINTR);
            }
            if began.elapsed() > QUIET {
                return Err(EBUSY);
            }
            fsleep(LOOK);
        }
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
        Ok(taken)
    }

    /// Makes and registers others; the first error.
    fn renew(&self, buffer: &Buffer, taken: KVec<Taken>) -> Result {
        let mut result = Ok(());
        for Taken { part, domain } in taken {
            let others = self.register(buffer, &part, &domain);
            let failed = others.as_ref().err().copied();
            part.renew(others);
            if let Some(error) = failed {
                result = result.and(Err(match error {
                    ENODEV => ENODEV,
                    _ => EKEYREVOKED.into(),
                }));
            }
        }
        result
    }

    fn register(
        &self,
        buffer: &Buffer,
        part: &Registration,
        domain: &Arc<Domain>,
    ) -> Result<Arc<mr::Region>> {
        let pages = buffer.pages().clone();
        let keys = mr::Region::new(domain, pages, part.offset(), part.length())?;
        let mut result = Err(EBUSY);
        // Those that have nothing to do first.
        for any in [false, true] {
            for endpoint in &self.endpoints {
                if endpoint.is_in(domain) && (any || endpoint.is_idle()) {
                    result = endpoint.register_again(&keys, part.access());
                    if result.is_ok() {
                        return Ok(keys);
                    }
                }
            }
        }
        result.map(|()| keys)
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
        self.device.for_each_context(|context| {
            context.for_each_endpoint(|endpoint| endpoint.resume(&self.parts));
        });
    }
}
