// SPDX-License-Identifier: GPL-2.0

//! Fabrics: RDMA devices as the module sees them come and go.
//!
//! Ownership: the registry in [`Device`] holds a [`Fabric`] while its device is there; endpoints
//! and regions hold an `Arc` for its number. What uses the RDMA device itself is held by `dmakit`
//! objects, which refuse to be made once the device is going.
//! Teardown: [`Client::revoke`] ends every endpoint, then every region on the device, and is called
//! until nothing uses it.

use crate::{
    context::Context,
    counters::{
        Counters,
        Live,
        Tally, //
    },
    device::Device, //
};
use dmakit::{
    mm,
    rdma::{
        self,
        client, //
    },
    uapi, //
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

/// One RDMA device.
pub(crate) struct Fabric {
    number: u32,
    rdma: Arc<rdma::device::Device>,
    _tally: Tally,
}

impl Fabric {
    /// Makes the fabric of `rdma`.
    pub(crate) fn new(
        number: u32,
        rdma: Arc<rdma::device::Device>,
        counters: &Arc<Counters>,
    ) -> Result<Arc<Self>> {
        let fabric = Self {
            number,
            rdma,
            _tally: Tally::one(counters, Live::Fabrics),
        };
        Ok(Arc::new(fabric, GFP_KERNEL)?)
    }

    /// Its number in the ABI.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// The RDMA device.
    pub(crate) fn rdma(&self) -> &Arc<rdma::device::Device> {
        &self.rdma
    }

    fn describe(&self) -> uapi::dmaplane_fabric {
        let mut out = uapi::dmaplane_fabric {
            fabric: self.number,
            node: match self.rdma.node() {
                node if mm::node_online(node) => node,
                _ => uapi::DMAPLANE_NODE_ANY,
            },
            max_segment: u64::from(self.rdma.max_segment_pages()).saturating_mul(PAGE_SIZE as u64),
            active_mtu: self.rdma.active_mtu().unwrap_or(0),
            flags: match self.rdma.write_imm() {
                true => uapi::DMAPLANE_FABRIC_WRITE_IMM,
                false => 0,
            },
            ..Default::default()
        };
        let room = out.name.len().saturating_sub(1);
        for (to, from) in out.name.iter_mut().zip(self.rdma.name().iter().take(room)) {
            *to = *from;
        }
        out
    }
}

/// Learns of RDMA devices.
pub(crate) struct Client {
    device: Arc<Device>,
}

impl Client {
    /// Makes the client that keeps the registry of `device`.
    pub(crate) fn new(device: Arc<Device>) -> Self {
        Self { device }
    }
}

impl client::Client for Client {
    type Data = Fabric;

    fn add(&self, rdma: &Arc<rdma::device::Device>) -> Result<Arc<Fabric>> {
        self.device.add_fabric(rdma)
    }

    fn revoke(&self, fabric: &Arc<Fabric>) {
        self.device.remove_fabric(fabric);
        // One whose end takes long keeps nobody from hearing of it.
        self.device
            .for_each_context(|context| context.hang_up(fabric));
        self.device
            .for_each_context(|context| context.revoke(fabric));
    }
}

/// `FABRIC_LIST`
pub(crate) fn list(context: &Context, arg: &mut uapi::dmaplane_fabric_list) -> Result {
    if arg.flags != 0 || arg.pad != 0 {
        return Err(EINVAL);
    }
    let entry = core::mem::size_of::<uapi::dmaplane_fabric>();
    let mut out = UserPtr::from_addr(usize::try_from(arg.fabrics)?);
    let mut found = 0u32;
    let mut after = 0u32;
    // In the order of their numbers, without the registry's lock around the copies.
    while let Some(fabric) = context
        .device()
        .find_fabric(|fabric| fabric.number() > after)
    {
        after = fabric.number();
        if !fabric.rdma().accessible() {
            continue;
        }
        if found < arg.count {
            UserSlice::new(out, entry)
                .writer()
                .write(&fabric.describe())?;
            out = out.wrapping_byte_add(entry);
        }
        found = found.saturating_add(1);
    }
    arg.count = found;
    Ok(())
}
