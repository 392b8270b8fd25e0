// SPDX-License-Identifier: GPL-2.0

//! Regions: parts of buffers that an RDMA device can reach, through keys with exact bounds.
//!
//! Ownership: the handle and each entry in flight ([`RegionUse`]) hold an `Arc` of the [`Region`],
//! which holds the buffer and, in its [`Registration`] until it is revoked, the memory keys.
//! Locking: none of its own.
//! Teardown: revoking drops the keys; the device can reach nothing after that. Deregistering
//! revokes, as invalidating does, and both are refused while entries are in flight.

mod registration;

pub(crate) use self::registration::{
    Readiness,
    Registration, //
};
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
    errno::{
        EKEYREVOKED,
        EOPNOTSUPP, //
    },
    rdma::{
        device::Device,
        mr, //
    },
    uapi, //
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// Part of a buffer registered with a fabric.
pub(crate) struct Region {
    registration: Arc<Registration>,
    access: u32,
    /// Entries that use it, or [`INVALID`] and no more.
    users: Atomic<i32>,
    // Note: the buffer stays until after the keys are gone.
    buffer: Arc<Buffer>,
    _tally: Tally,
}

impl Region {
    /// The fabric it is registered with.
    pub(crate) fn fabric(&self) -> &Arc<Fabric> {
        self.registration.fabric()
    }

    /// Its keys.
    pub(crate) fn registration(&self) -> &Arc<Registration> {
        &self.registration
    }

    /// Bytes.
    pub(crate) fn length(&self) -> u64 {
        self.registration.length()
    }

    /// What it is a part of.
    pub(crate) fn buffer(&self) -> &Arc<Buffer> {
        &self.buffer
    }

    /// What it may be used for: `DMAPLANE_ACCESS_*`.
    pub(crate) fn access(&self) -> u32 {
        self.access
    }

    /// Whether it may be used like that: one of `DMAPLANE_ACCESS_*`.
    pub(crate) fn allows(&self, access: u32) -> bool {
        self.access & access != 0
    }

    /// Whether it has keys on `fabric`.
    pub(crate) fn is_live_on(&self, fabric: &Arc<Fabric>) -> bool {
        Arc::ptr_eq(self.fabric(), fabric) && self.registration.is_live()
    }

    /// Takes the keys away, as the fabric goes.
    pub(crate) fn revoke(&self) {
        self.registration.revoke(ENODEV);
    }

    /// Uses it for an entry. The caller holds the context table's lock. `EKEYREVOKED` if it was
    /// invalidated.
    pub(crate) fn enter(this: &Arc<Self>) -> Result<RegionUse> {
        let region = RegionUse(this.clone());
        match this.users.fetch_add(1, Relaxed) {
            // It is counted out when this is dropped.
            users if users < 0 => Err(EKEYREVOKED.into()),
            _ => Ok(region),
        }
    }

    /// Takes the keys away, for good, while the handle stays. `EBUSY` while entries use it.
    pub(crate) fn invalidate(&self) -> Result {
        match self.users.cmpxchg(0, INVALID, Relaxed) {
            Ok(_) => {
                self.registration.revoke(EKEYREVOKED.into());
                Ok(())
            }
            Err(users) if users < 0 => Err(EKEYREVOKED.into()),
            Err(_) => Err(EBUSY),
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.revoke();
    }
}

/// So many users that those who come for a moment do not make it zero.
const INVALID: i32 = i32::MIN / 2;

/// A region that an entry in flight uses.
pub(crate) struct RegionUse(Arc<Region>);

impl core::ops::Deref for RegionUse {
    type Target = Region;

    fn deref(&self) -> &Region {
        &self.0
    }
}

impl Drop for RegionUse {
    fn drop(&mut self) {
        self.0.users.add(-1, Relaxed);
    }
}

/// The errno of a range that does not fit.
pub(crate) fn check_range(offset: u64, length: u64, limit: u64) -> Result {
    carve::check(offset, length, limit).map_err(|error| match error {
        RangeError::Overflow => EOVERFLOW,
        RangeError::Beyond => ERANGE,
    })
}

/// All there is.
pub(crate) const ACCESS: u32 = uapi::DMAPLANE_ACCESS_REMOTE_WRITE
    | uapi::DMAPLANE_ACCESS_REMOTE_READ
    | uapi::DMAPLANE_ACCESS_LOCAL_WRITE;

/// What has the memory written to.
const WRITES: u32 = uapi::DMAPLANE_ACCESS_REMOTE_WRITE | uapi::DMAPLANE_ACCESS_LOCAL_WRITE;

/// What peers do.
const REMOTE: u32 = uapi::DMAPLANE_ACCESS_REMOTE_WRITE | uapi::DMAPLANE_ACCESS_REMOTE_READ;

/// What its keys allow.
fn key_access(access: u32) -> mr::Access {
    let bits = [
        (uapi::DMAPLANE_ACCESS_REMOTE_WRITE, mr::Access::REMOTE_WRITE),
        (uapi::DMAPLANE_ACCESS_REMOTE_READ, mr::Access::REMOTE_READ),
        (uapi::DMAPLANE_ACCESS_LOCAL_WRITE, mr::Access::LOCAL_WRITE),
    ];
    let wanted = bits.into_iter().filter(|(bit, _)| access & bit != 0);
    wanted.fold(mr::Access::NONE, |all, (_, one)| all | one)
}

/// Whether a device may reach memory of another driver like that. Devices with DMA would have to have it mapped
/// for them; and what is sent after its key has gone, when nobody knows, must be pages that live for as long.
fn can_reach(device: &Device, access: u32) -> bool {
    let peers_read = access & uapi::DMAPLANE_ACCESS_REMOTE_READ != 0;
    device.is_software() && !(peers_read && device.quirks().sends_after_key)
}

/// `REGION_REGISTER`
pub(crate) fn register(
    context: &Context,
    arg: &mut uapi::dmaplane_region_register,
) -> Result<Created> {
    if arg.flags != 0
        || arg.length == 0
        || arg.offset % (PAGE_SIZE as u64) != 0
        || arg.access & !ACCESS != 0
    {
        return Err(EINVAL);
    }
    let endpoint = context.get::<Endpoint>(arg.endpoint)?;
    let buffer = context.get::<Buffer>(arg.buffer)?;
    check_range(arg.offset, arg.length, buffer.pages().len())?;
    if arg.access & WRITES != 0 {
        buffer.check_writable()?;
    }
    if arg.access & REMOTE != 0 {
        buffer.check_rights(uapi::DMAPLANE_SHARE_REMOTE)?;
    }

    let fabric = endpoint.fabric()?;
    if buffer.is_imported() && !can_reach(fabric.rdma(), arg.access) {
        return Err(EOPNOTSUPP.into());
    }
    let keys = mr::Region::new(
        &context.domain(&fabric)?,
        buffer.pages().clone(),
        arg.offset,
        arg.length,
    )?;
    endpoint.register(&keys, key_access(arg.access))?;

    let registration = Registration::new(fabric, keys, arg.offset, key_access(arg.access))?;
    let region = Region {
        registration,
        access: arg.access,
        users: Atomic::new(0),
        buffer,
        _tally: Tally::one(context.counters(), Live::Regions),
    };
    let region = Arc::new(region, GFP_KERNEL_ACCOUNT)?;
    region.buffer.register(region.registration.clone())?;
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
        context.remove_if::<Region>(arg.handle, |region| match region.users.load(Relaxed) {
            1.. => Err(EBUSY),
            _ => Ok(()),
        })?;
    if let Object::Region(region) = &object {
        region.revoke();
    }
    drop(object);
    Ok(())
}
