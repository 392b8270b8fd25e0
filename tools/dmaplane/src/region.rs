// SPDX-License-Identifier: GPL-2.0
//! Regions, and the leases that peers hold on them.

use std::ops::{BitOr, Range};

use crate::context::Object;
use crate::sys::uapi::*;
use crate::sys::{self, Argument};
use crate::{Buffer, Endpoint, Error, Result, Views};

/// What may be done with a region; add them up with `|`. The local side may always read it.
///
/// ```
/// # use dmaplane::Access;
/// let both = Access::REMOTE_READ | Access::REMOTE_WRITE;
/// assert!(both.contains(Access::REMOTE_READ) && !both.contains(Access::LOCAL_WRITE));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Access(u32);

impl Access {
    /// Nothing more: the source of local writes only.
    pub const LOCAL: Access = Access(0);
    /// A peer that holds a lease may write.
    pub const REMOTE_WRITE: Access = Access(DMAPLANE_ACCESS_REMOTE_WRITE);
    /// A peer that holds a lease may read.
    pub const REMOTE_READ: Access = Access(DMAPLANE_ACCESS_REMOTE_READ);
    /// What a [`Read`](crate::Read) of this side brings may be put there.
    pub const LOCAL_WRITE: Access = Access(DMAPLANE_ACCESS_LOCAL_WRITE);

    /// Whether it allows all that `other` does.
    pub const fn contains(self, other: Access) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    pub(crate) fn from_bits(bits: u32) -> Self {
        Access(bits)
    }
}

impl BitOr for Access {
    type Output = Access;

    fn bitor(self, other: Access) -> Access {
        Access(self.0 | other.0)
    }
}

/// Part of a buffer that an RDMA device may reach.
///
/// It serves every endpoint of its fabric and may outlive the one it was
/// registered through. Dropping it ends the access of peers that hold leases. If
/// entries that use it are in flight then, it stays registered until its context
/// ends: reap them or close their endpoint first.
#[derive(Debug)]
pub struct Region {
    object: Object,
    length: u64,
    // Dropped after the region.
    _buffer: Buffer,
}

impl Region {
    pub(crate) fn register(
        endpoint: &Endpoint,
        buffer: &Buffer,
        offset: u64,
        length: u64,
        access: Access,
    ) -> Result<Self> {
        let context = buffer.object().context();
        let mut register = dmaplane_region_register {
            endpoint: endpoint.id(),
            buffer: buffer.object().handle(),
            offset,
            length,
            access: access.0,
            ..Argument::sized()
        };
        sys::REGION_REGISTER.call(context, &mut register)?;
        Ok(Region {
            object: context.object(register.handle, &sys::REGION_DEREGISTER),
            length,
            _buffer: buffer.clone(),
        })
    }

    /// Its handle.
    pub fn id(&self) -> u32 {
        self.object.handle()
    }

    /// Bytes that it covers.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether it covers none, which no region does.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Parts of it with handles of their own, all by one call and without registering anything. They
    /// allow no more than the region does.
    ///
    /// ```no_run
    /// # use dmaplane::{Access, Endpoint, Lease, Region, Write};
    /// # fn send(endpoint: &Endpoint, region: &Region, lease: Lease) -> dmaplane::Result<()> {
    /// let blocks: Vec<_> = (0..1000).map(|n| n * 4096..(n + 1) * 4096).collect();
    /// let views = region.views(&blocks, Access::LOCAL)?;
    /// for (n, block) in views.iter().enumerate() {
    ///     let entry = Write::new(endpoint, &block, lease).range(0, 4096 * n as u64, 4096);
    /// #   let _ = entry;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn views(&self, parts: &[Range<u64>], access: Access) -> Result<Views> {
        Views::create(self.object.context(), self, parts, access)
    }

    /// Ends it now; the keys of peers are invalid when this returns. With
    /// entries in flight it fails and gives the region back.
    pub fn deregister(mut self) -> Result<(), (Region, Error)> {
        match self.object.close() {
            Ok(()) => Ok(()),
            Err(error) => Err((self, error)),
        }
    }
}

/// What a peer has permitted: to write to a region of its own, or to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The number for entries on the endpoint that it came by.
    pub number: u32,
    /// Bytes that may be used, from offset 0.
    pub length: u64,
    /// How: [`Access::REMOTE_WRITE`], [`Access::REMOTE_READ`] or both.
    pub access: Access,
    /// What the peer gave with it.
    pub tag: u64,
}
