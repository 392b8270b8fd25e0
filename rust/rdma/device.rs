// SPDX-License-Identifier: GPL-2.0

//! One RDMA device while it is there, and the count of those who use it.
//!
//! C header: [`include/rdma/ib_verbs.h`](srctree/include/rdma/ib_verbs.h)
//!
//! Ownership: a [`Domain`] owns a protection domain and holds a [`DeviceUse`], which is an
//! `Arc<Device>` that is counted; what is made in a domain holds it.
//! Locking: `gate` is a leaf spinlock.
//! Teardown: [`client`](super::client) closes the gate and waits until the count is zero. The
//! `Arc` may live on; what it says was copied at the beginning.

use super::quirks::Quirks;
use crate::bindings;
use kernel::{
    error::{
        from_err_ptr, //
    },
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        SpinLock, //
    },
    types::Opaque, //
};

/// Longest page list that we register as one segment.
const MAX_SEGMENT_PAGES: u32 = 4096;

struct Gate {
    open: bool,
    users: usize,
}

/// An RDMA device.
///
/// # Invariants
///
/// `raw` is valid while the gate is open or has users.
#[pin_data]
pub struct Device {
    raw: *mut bindings::ib_device,
    info: bindings::dk_rdma_info,
    quirks: Quirks,
    #[pin]
    gate: SpinLock<Gate>,
    #[pin]
    idle: Opaque<bindings::completion>,
}

// SAFETY: the C objects are not bound to a task, and are only used behind the gate.
unsafe impl Send for Device {}
// SAFETY: verbs may be called concurrently; the rest is immutable or behind `gate`.
unsafe impl Sync for Device {}

impl Device {
    /// Opens the gate of a device that has just appeared.
    ///
    /// # Safety
    ///
    /// `raw` stays valid until [`Self::release`] was called on the result.
    pub(super) unsafe fn new(raw: *mut bindings::ib_device) -> Result<Arc<Self>> {
        let mut info = bindings::dk_rdma_info::default();
        // SAFETY: `raw` is valid by the caller's promise.
        unsafe { bindings::dk_rdma_device_info(raw, &mut info) };
        if !info.fast_reg || info.max_fast_reg == 0 {
            return Err(crate::errno::EOPNOTSUPP.into());
        }
        // INVARIANT: valid, and stays so until the gate is closed and nobody is inside.
        Arc::pin_init(
            pin_init!(Self {
                raw,
                quirks: Quirks::of(&info),
                info,
                gate <- new_spinlock!(Gate { open: true, users: 0 }, "Device::gate"),
                idle <- Opaque::ffi_init(|slot: *mut bindings::completion| {
                    // SAFETY: `slot` is valid memory for a completion.
                    unsafe { bindings::init_completion(slot) }
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// Refuses new users.
    pub(super) fn close(&self) {
        let mut gate = self.gate.lock();
        gate.open = false;
        if gate.users == 0 {
            // SAFETY: initialized in `new`.
            unsafe { bindings::complete_all(self.idle.get()) };
        }
    }

    /// After [`Self::close`]: waits for the last user to leave, or for about a tenth of a second.
    pub(super) fn wait_idle(&self) -> bool {
        let timeout = kernel::time::msecs_to_jiffies(100);
        // SAFETY: initialized in `new`; the callers are in process context.
        unsafe { bindings::wait_for_completion_timeout(self.idle.get(), timeout) != 0 }
    }

    /// Keeps the device from going away. `ENODEV` if it is going or gone.
    pub fn enter(self: &Arc<Self>) -> Result<DeviceUse> {
        let mut gate = self.gate.lock();
        if !gate.open {
            return Err(ENODEV);
        }
        gate.users = gate.users.checked_add(1).ok_or(EOVERFLOW)?;
        // INVARIANT: counted above.
        Ok(DeviceUse(self.clone()))
    }

    /// Whether this is that device. Compares addresses only.
    pub(super) fn is(&self, raw: *mut bindings::ib_device) -> bool {
        core::ptr::eq(self.raw, raw)
    }

    /// The device's name.
    pub fn name(&self) -> &[u8] {
        let name = &self.info.name;
        let len = name.iter().position(|c| *c == 0).unwrap_or(name.len());
        name.get(..len).unwrap_or(name)
    }

    /// The number that the RDMA core knows the device by.
    pub fn index(&self) -> u32 {
        self.info.index
    }

    /// The NUMA node that the device is attached to, or -1.
    pub fn node(&self) -> i32 {
        self.info.node
    }

    /// Pages that fit one segment of a [`Region`](super::mr::Region): a power of two.
    pub fn max_segment_pages(&self) -> u32 {
        1 << self
            .info
            .max_fast_reg
            .min(MAX_SEGMENT_PAGES)
            .checked_ilog2()
            .unwrap_or(0)
    }

    /// Pieces that one work request can gather.
    pub fn max_sge(&self) -> u32 {
        self.info.max_sge
    }

    /// Pieces of registered memory that one work request can gather: not as many as
    /// [`Self::max_sge`] where it gets lost in them.
    pub fn max_pieces(&self) -> u32 {
        match self.quirks.one_piece {
            true => 1,
            false => self.max_sge(),
        }
    }

    /// Pieces that one read can scatter to. Some devices leave it out.
    pub fn max_sge_read(&self) -> u32 {
        self.info.max_sge_rd.clamp(1, self.max_pieces().max(1))
    }

    /// What it does otherwise than verbs have it.
    pub fn quirks(&self) -> &Quirks {
        &self.quirks
    }

    /// Reads that may be posted at a time, if more would hold up what the peer reads here.
    pub fn max_reads(&self) -> u32 {
        match self.quirks.reads_block_reads {
            true => u32::from(self.read_depth().1).max(1),
            false => u32::MAX,
        }
    }

    /// Entries of a send or receive queue.
    pub fn max_qp_wr(&self) -> u32 {
        self.info.max_qp_wr
    }

    /// Entries of a completion queue.
    pub fn max_cqe(&self) -> u32 {
        self.info.max_cqe
    }

    /// Whether its driver reads and writes memory itself, as any code of the kernel does.
    pub fn is_software(&self) -> bool {
        self.info.software
    }

    /// Whether a write can carry an immediate value (not over iWARP).
    pub fn write_imm(&self) -> bool {
        !self.info.iwarp
    }

    /// Whether the side that connects must be the first to send (over iWARP).
    pub fn connector_sends_first(&self) -> bool {
        self.info.iwarp
    }

    /// How many reads and atomics a queue pair can have coming in, and going out.
    pub(super) fn read_depth(&self) -> (u8, u8) {
        let clamp = |n: u32| n.min(16) as u8;
        (clamp(self.info.rd_atom), clamp(self.info.init_rd_atom))
    }

    /// The path MTU of the first port in bytes. `ENODEV` after removal.
    pub fn active_mtu(self: &Arc<Self>) -> Result<u32> {
        let inside = self.enter()?;
        // SAFETY: `inside` keeps the device.
        match unsafe { bindings::dk_rdma_active_mtu(inside.raw()) } {
            0 => Err(EIO),
            mtu => Ok(mtu),
        }
    }

    /// Whether the current task's network namespace may use the device; not after removal.
    pub fn accessible(self: &Arc<Self>) -> bool {
        self.enter()
            // SAFETY: `inside` keeps the device.
            .is_ok_and(|inside| unsafe { bindings::dk_rdma_accessible(inside.raw()) })
    }
}

/// Keeps a device there. Dropping it may be what removal waits for.
///
/// # Invariants
///
/// Counted in the gate of the device.
pub struct DeviceUse(Arc<Device>);

impl DeviceUse {
    /// The device.
    pub fn device(&self) -> &Arc<Device> {
        &self.0
    }

    /// The device for C; valid as long as `self`.
    pub(super) fn raw(&self) -> *mut bindings::ib_device {
        self.0.raw
    }
}

impl Clone for DeviceUse {
    fn clone(&self) -> Self {
        let mut gate = self.0.gate.lock();
        // Cannot overflow: each one takes memory.
        gate.users = gate.users.saturating_add(1);
        // INVARIANT: counted above, while `self` kept the count from being zero.
        Self(self.0.clone())
    }
}

impl Drop for DeviceUse {
    fn drop(&mut self) {
        let mut gate = self.0.gate.lock();
        gate.users = gate.users.saturating_sub(1);
        if gate.users == 0 && !gate.open {
            // SAFETY: initialized in `Device::new`; `self.0` keeps it.
            unsafe { bindings::complete_all(self.0.idle.get()) };
        }
    }
}

/// A protection domain: keys and queue pairs of one work together, and with those of no other.
///
/// # Invariants
///
/// `pd` is ours, of the device that `inside` keeps.
pub struct Domain {
    pd: *mut bindings::ib_pd,
    inside: DeviceUse,
}

// SAFETY: the C object is not bound to a task.
unsafe impl Send for Domain {}
// SAFETY: immutable, and verbs may be called concurrently.
unsafe impl Sync for Domain {}

impl Domain {
    /// Makes a domain. `ENODEV` after removal of the device.
    pub fn new(device: &Arc<Device>) -> Result<Arc<Self>> {
        let inside = device.enter()?;
        // SAFETY: `inside` keeps the device.
        let pd = from_err_ptr(unsafe { bindings::dk_ib_alloc_pd(inside.raw()) })?;
        // INVARIANT: just made.
        Ok(Arc::new(Self { pd, inside }, GFP_KERNEL_ACCOUNT)?)
    }

    /// The device.
    pub fn device(&self) -> &Arc<Device> {
        self.inside.device()
    }

    /// The device for C; valid as long as `self`.
    pub(super) fn raw(&self) -> *mut bindings::ib_device {
        self.inside.raw()
    }

    /// The domain for C; valid as long as `self`.
    pub(super) fn pd(&self) -> *mut bindings::ib_pd {
        self.pd
    }

    /// The key of the memory that we map ourselves.
    pub(super) fn local_key(&self) -> u32 {
        // SAFETY: by the invariant the domain is valid.
        unsafe { (*self.pd).local_dma_lkey }
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        // SAFETY: ours by the invariant; what was made in it holds it, so nothing is left.
        unsafe { bindings::dk_ib_dealloc_pd(self.pd) };
    }
}
