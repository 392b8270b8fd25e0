// SPDX-License-Identifier: GPL-2.0

//! Regions: parts of buffers that an RDMA device can reach, through keys with exact bounds.
//!
//! Ownership: the handle and each entry in flight ([`RegionUse`]) hold an `Arc` of the [`Region`],
//! which holds the buffer and, until it is revoked, the memory keys.
//! Locking: `keys` is a leaf; dropping the keys happens outside it.
//! Teardown: revoking drops the keys; the device can reach nothing after that. Deregistering
//! revokes, and is refused while entries are in flight.

use crate::{
    buffer::Buffer,
    context::{
        Context,
        Object, //
    },
    counters::{
        Live,
        Tally, //
    },
    endpoint::Endpoint,
    fabric::Fabric,
    ioctl::Created,
    pure::carve::{
        self,
        RangeError, //
    }, //
};
use dmakit::{
    rdma::mr,
    uapi, //
};
use kernel::{
    new_mutex,
    page::PAGE_SIZE,
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

/// Part of a buffer registered with a fabric.
#[pin_data]
pub(crate) struct Region {
    fabric: Arc<Fabric>,
    length: u64,
    remote_write: bool,
    in_flight: Atomic<i32>,
    #[pin]
    keys: Mutex<Option<Arc<mr::Region>>>,
    // Note: the buffer stays until after the keys are gone.
    _buffer: Arc<Buffer>,
    _tally: Tally,
}

impl Region {
    /// The fabric it is registered with.
    pub(crate) fn fabric(&self) -> &Arc<Fabric> {
        &self.fabric
    }

    /// Bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Whether a peer may be allowed to write.
    pub(crate) fn remote_write(&self) -> bool {
        self.remote_write
    }

    /// The keys; `ENODEV` if they are gone with the fabric.
    pub(crate) fn keys(&self) -> Result<Arc<mr::Region>> {
        self.keys.lock().clone().ok_or(ENODEV)
    }

    /// Whether it has keys on `fabric`.
    pub(crate) fn is_live_on(&self, fabric: &Arc<Fabric>) -> bool {
        Arc::ptr_eq(&self.fabric, fabric) && self.keys.lock().is_some()
    }

    /// Takes the keys away.
    pub(crate) fn revoke(&self) {
        let keys = self.keys.lock().take();
        drop(keys);
    }

    /// Uses it for an entry. The caller holds the context table's lock.
    pub(crate) fn enter(this: &Arc<Self>) -> RegionUse {
        this.in_flight.add(1, Relaxed);
        RegionUse(this.clone())
    }
}

/// A region that an entry in flight reads from.
pub(crate) struct RegionUse(Arc<Region>);

impl core::ops::Deref for RegionUse {
    type Target = Region;

    fn deref(&self) -> &Region {
        &self.0
    }
}

impl Drop for RegionUse {
    fn drop(&mut self) {
        self.0.in_flight.add(-1, Relaxed);
    }
}

/// The errno of a range that does not fit.
pub(crate) fn check_range(offset: u64, length: u64, limit: u64) -> Result {
    carve::check(offset, length, limit).map_err(|error| match error {
        RangeError::Overflow => EOVERFLOW,
        RangeError::Beyond => ERANGE,
    })
}

/// `REGION_REGISTER`
pub(crate) fn register(
    context: &Context,
    arg: &mut uapi::dmaplane_region_register,
) -> Result<Created> {
    if arg.flags != 0
        || arg.length == 0
        || arg.offset % (PAGE_SIZE as u64) != 0
        || arg.access & !uapi::DMAPLANE_ACCESS_REMOTE_WRITE != 0
    {
        return Err(EINVAL);
    }
    let endpoint = context.get::<Endpoint>(arg.endpoint)?;
    let buffer = context.get::<Buffer>(arg.buffer)?;
    check_range(arg.offset, arg.length, buffer.pages().len())?;

    let remote_write = arg.access & uapi::DMAPLANE_ACCESS_REMOTE_WRITE != 0;
    let fabric = endpoint.fabric()?;
    let keys = mr::Region::new(
        &context.domain(&fabric)?,
        buffer.pages().clone(),
        arg.offset,
        arg.length,
    )?;
    endpoint.register(&keys, remote_write)?;

    let length = arg.length;
    let region = Arc::pin_init(
        pin_init!(Region {
            fabric,
            length,
            remote_write,
            in_flight: Atomic::new(0),
            keys <- new_mutex!(Some(keys)),
            _buffer: buffer,
            _tally: Tally::one(context.counters(), Live::Regions),
        }),
        GFP_KERNEL_ACCOUNT,
    )?;
    arg.handle = context.insert(Object::Region(region))?;
    Ok(Created(arg.handle))
}

/// `REGION_DEREGISTER`
pub(crate) fn deregister(context: &Context, arg: &uapi::dmaplane_handle) -> Result {
    if arg.flags != 0 || arg.pad != 0 {
        return Err(EINVAL);
    }
    // Entries take the region under the table's lock, so that none comes after this check.
    let object =
        context.remove_if::<Region>(arg.handle, |region| match region.in_flight.load(Relaxed) {
            0 => Ok(()),
            _ => Err(EBUSY),
        })?;
    if let Object::Region(region) = &object {
        region.revoke();
    }
    drop(object);
    Ok(())
}
