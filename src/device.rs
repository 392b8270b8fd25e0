// SPDX-License-Identifier: GPL-2.0

//! What the module holds for all contexts: the registry of contexts and that of fabrics.
//!
//! Ownership: the module and each context hold an `Arc` of the [`Device`]. The registry of contexts
//! holds them strongly so that a fabric that goes away can find its users; a context leaves it
//! when its file is released, which breaks the cycle.
//! Locking: `contexts` and `fabrics` are outermost and never held together.

use crate::{
    context::Context,
    counters::Counters,
    fabric::Fabric, //
};
use dmakit::{
    periodic::Tick,
    rdma, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// The state of the module.
#[pin_data]
pub(crate) struct Device {
    counters: Arc<Counters>,
    #[pin]
    contexts: Mutex<KVec<Arc<Context>>>,
    #[pin]
    fabrics: Mutex<Fabrics>,
}

struct Fabrics {
    list: KVec<Arc<Fabric>>,
    last: u32,
}

impl Tick for Device {
    fn tick(&self) {
        self.for_each_context(Context::tick);
    }
}

impl Device {
    /// Makes the state of a module without contexts and fabrics.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let counters = Counters::new(None)?;
        Arc::pin_init(
            pin_init!(Self {
                counters,
                contexts <- new_mutex!(KVec::new()),
                fabrics <- new_mutex!(Fabrics { list: KVec::new(), last: 0 }),
            }),
            GFP_KERNEL,
        )
    }

    /// Counters over all contexts.
    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Adds a context to the registry.
    pub(crate) fn enlist(&self, context: Arc<Context>) -> Result {
        Ok(self.contexts.lock().push(context, GFP_KERNEL)?)
    }

    /// Takes a context out of the registry.
    pub(crate) fn delist(&self, context: &Arc<Context>) {
        let mut contexts = self.contexts.lock();
        let position = contexts
            .iter()
            .position(|other| Arc::ptr_eq(other, context));
        let removed = position.map(|position| contexts.remove(position));
        drop(contexts);
        drop(removed);
    }

    /// All contexts there are.
    pub(crate) fn contexts(&self) -> Result<KVec<Arc<Context>>> {
        let mut all = KVec::new();
        loop {
            let contexts = self.contexts.lock();
            if contexts.len() <= all.capacity() {
                for context in contexts.iter() {
                    all.push_within_capacity(context.clone()).map_err(|_| EIO)?;
                }
                return Ok(all);
            }
            let wanted = contexts.len();
            drop(contexts);
            all.reserve(wanted, GFP_KERNEL_ACCOUNT)?;
        }
    }

    /// Calls `f` for each context, without holding the registry.
    pub(crate) fn for_each_context(&self, f: impl Fn(&Context)) {
        let mut position = 0usize;
        loop {
            let Some(context) = self.contexts.lock().get(position).cloned() else {
                return;
            };
            f(&context);
            // A context that left meanwhile moves others forward, so that one may be missed;
            // whoever needs all of them calls again until nothing is left.
            position = position.saturating_add(1);
        }
    }

    /// Adds a fabric, with a number never used before.
    pub(crate) fn add_fabric(&self, rdma: &Arc<rdma::device::Device>) -> Result<Arc<Fabric>> {
        let mut fabrics = self.fabrics.lock();
        let number = fabrics.last.checked_add(1).ok_or(EOVERFLOW)?;
        let fabric = Fabric::new(number, rdma.clone(), &self.counters)?;
        fabrics.list.push(fabric.clone(), GFP_KERNEL)?;
        fabrics.last = number;
        Ok(fabric)
    }

    /// Removes a fabric.
    pub(crate) fn remove_fabric(&self, fabric: &Arc<Fabric>) {
        self.fabrics
            .lock()
            .list
            .retain(|other| !Arc::ptr_eq(other, fabric));
    }

    /// The fabric of an RDMA device; `ENODEV` if it is gone.
    pub(crate) fn fabric_of(&self, rdma: &Arc<rdma::device::Device>) -> Result<Arc<Fabric>> {
        self.find_fabric(|fabric| Arc::ptr_eq(fabric.rdma(), rdma))
            .ok_or(ENODEV)
    }

    /// The first fabric that `wanted` holds for.
    pub(crate) fn find_fabric(&self, wanted: impl Fn(&Fabric) -> bool) -> Option<Arc<Fabric>> {
        let fabrics = self.fabrics.lock();
        fabrics.list.iter().find(|fabric| wanted(fabric)).cloned()
    }
}
