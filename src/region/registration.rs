// SPDX-License-Identifier: GPL-2.0

//! A region's keys, which are others after its pages were moved.
//!
//! Ownership: the region, its buffer, which has to know whom to ask when it moves, and offers of leases
//! hold a [`Registration`]; it holds the memory keys as long as there are some.
//! Locking: `keys` is inside of an endpoint's lock. The keys are dropped with it held, which may
//! sleep: only who revokes them as well, or is telling a peer of them again, waits for that.
//! Teardown: [`Registration::revoke`], for good.

use crate::fabric::Fabric;
use dmakit::{
    errno::EKEYREVOKED,
    rdma::mr, //
};
use kernel::{
    error::Error,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    }, //
};

/// Whether its keys can be used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    /// Not now: the pages are being moved.
    Held,
    /// Never again.
    Gone,
}

enum Keys {
    Live(Arc<mr::Region>),
    /// There will be others.
    Moving,
    /// Why.
    Gone(Error),
}

/// Keys for a part of a buffer.
#[pin_data]
pub(crate) struct Registration {
    number: u64,
    fabric: Arc<Fabric>,
    offset: u64,
    length: u64,
    access: mr::Access,
    segment_bytes: u64,
    /// What [`Self::readiness`] says, so that it costs nothing. It changes with `keys` locked.
    readiness: Atomic<u32>,
    #[pin]
    keys: Mutex<Keys>,
}

/// The last number given to one.
static LAST: Atomic<u64> = Atomic::new(0);

impl Registration {
    /// Of `keys`, which are registered: those of the bytes from `offset` on.
    pub(super) fn new(
        fabric: Arc<Fabric>,
        keys: Arc<mr::Region>,
        offset: u64,
        access: mr::Access,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                number: LAST.fetch_add(1, Relaxed).wrapping_add(1),
                fabric,
                offset,
                length: keys.length(),
                access,
                segment_bytes: keys.segment_bytes(),
                readiness: Atomic::new(READY),
                keys <- new_mutex!(Keys::Live(keys)),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Its number, which no other one has. None has 0.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The fabric that they are of.
    pub(crate) fn fabric(&self) -> &Arc<Fabric> {
        &self.fabric
    }

    /// First byte in the buffer.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// What the keys allow.
    pub(crate) fn access(&self) -> mr::Access {
        self.access
    }

    /// Bytes that each key but the last is for.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// The keys. `EAGAIN` while there will be others, `ENODEV` or `EKEYREVOKED` if they are gone.
    pub(crate) fn keys(&self) -> Result<Arc<mr::Region>> {
        match &*self.keys.lock() {
            Keys::Live(keys) => Ok(keys.clone()),
            Keys::Moving => Err(EAGAIN),
            Keys::Gone(error) => Err(*error),
        }
    }

    /// Whether there are keys.
    pub(crate) fn is_live(&self) -> bool {
        matches!(*self.keys.lock(), Keys::Live(_))
    }

    /// Whether there are keys, or will be others.
    pub(crate) fn is_there(&self) -> bool {
        self.readiness() != Readiness::Gone
    }

    /// Whether they can be used. Who has seen under an endpoint's lock that they can does so before
    /// that is released, which whoever holds them waits for.
    #[inline]
    pub(crate) fn readiness(&self) -> Readiness {
        match self.readiness.load(Relaxed) {
            READY => Readiness::Ready,
            HELD => Readiness::Held,
            _ => Readiness::Gone,
        }
    }

    /// Takes the keys away for good, for this reason. They are dead when this returns, whoever had begun to do so.
    pub(crate) fn revoke(&self, reason: Error) {
        let mut keys = self.keys.lock();
        if !matches!(*keys, Keys::Gone(_)) {
            self.readiness.store(GONE, Relaxed);
            *keys = Keys::Gone(reason);
        }
    }

    /// Has nobody begin to use the keys.
    pub(crate) fn hold(&self) {
        let keys = self.keys.lock();
        if matches!(*keys, Keys::Live(_)) {
            self.readiness.store(HELD, Relaxed);
        }
    }

    /// Takes the keys, which nobody uses, for others to come.
    pub(crate) fn take(&self) -> Option<Arc<mr::Region>> {
        let mut keys = self.keys.lock();
        match &*keys {
            Keys::Live(_) => match core::mem::replace(&mut *keys, Keys::Moving) {
                Keys::Live(keys) => Some(keys),
                _ => None,
            },
            _ => None,
        }
    }

    /// Gives it the others, or the reason why there are none. If it was revoked meanwhile they go again.
    pub(crate) fn renew(&self, others: Result<Arc<mr::Region>>) {
        let mut keys = self.keys.lock();
        if matches!(*keys, Keys::Moving) {
            *keys = match others {
                Ok(others) => Keys::Live(others),
                Err(error) => {
                    self.readiness.store(GONE, Relaxed);
                    Keys::Gone(match error {
                        ENODEV => ENODEV,
                        _ => EKEYREVOKED.into(),
                    })
                }
            };
        }
    }

    /// Whoever waited for that may use them.
    pub(crate) fn release(&self) {
        let keys = self.keys.lock();
        if matches!(*keys, Keys::Live(_)) {
            self.readiness.store(READY, Relaxed);
        }
    }
}

const READY: u32 = 0;
const HELD: u32 = 1;
const GONE: u32 = 2;
