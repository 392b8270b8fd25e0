// SPDX-License-Identifier: GPL-2.0

//! One open of the device: the table of its objects, and their end.
//!
//! Ownership: the file holds the [`Context`], the registry in [`Device`] holds it until `release`.
//! The table holds each object with a handle; objects hold those that they need, never the context.
//! Locking: `objects` protects the table only. It is taken with anything held, `mmap_lock` as well,
//! and outside of nothing but completion rings and `views`: an endpoint's lock is held around calls of the RDMA
//! core, whose locks others hold around user copies.
//! Teardown: [`teardown`] ends the objects in order when the file is released.

mod fdinfo;
mod teardown;

use crate::{
    buffer::Buffer,
    channel::{
        Channel,
        CompletionRing,
        Pollers, //
    },
    counters::{
        Counters,
        Live,
        Tally, //
    },
    device::Device,
    endpoint::{
        count::Counter,
        listen::Listener,
        Ending,
        Endpoint,
        Owned, //
    },
    fabric::Fabric,
    info::MAX_OBJECTS,
    ioctl,
    pure::handle::{
        InsertError,
        Slot,
        Slots,
        Table, //
    },
    region::{
        Region,
        RegionUse, //
    },
    view::{
        is_view,
        Views, //
    }, //
};
use dmakit::{
    chardev::{
        CharDevice,
        Events, //
    },
    device::DeviceRef,
    mm::{
        map::NewMapping,
        space::Space, //
    },
    rdma::device::Domain, //
};
use kernel::{
    error::Error,
    fs::File,
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    seq_file::SeqFile,
    sync::{
        poll::PollTable,
        Arc,
        ArcBorrow,
        Mutex, //
    }, //
};

/// mmap offsets of different handles are so far apart (as powers of two).
const MMAP_SHIFT: u32 = 31;

/// What a handle can mean.
pub(crate) enum Object {
    Buffer(Arc<Buffer>),
    Region(Arc<Region>),
    Channel(Arc<Channel>),
    Listener(Owned<Listener>),
    Endpoint(Owned<Endpoint>),
    Counter(Owned<Counter>),
}

/// A kind of object that handles can be resolved to.
pub(crate) trait Kind {
    /// The object, if it is of this kind.
    fn of(object: &Object) -> Option<&Arc<Self>>;
}

macro_rules! kinds {
    ($($kind:ident => |$object:ident| $arc:expr),* $(,)?) => {
        $(
            impl Kind for $kind {
                fn of(object: &Object) -> Option<&Arc<Self>> {
                    match object {
                        Object::$kind($object) => Some($arc),
                        _ => None,
                    }
                }
            }
        )*
    };
}

kinds! {
    Buffer => |object| object,
    Region => |object| object,
    Channel => |object| object,
    Listener => |object| object.shared(),
    Endpoint => |object| object.shared(),
    Counter => |object| object.shared(),
}

/// The slots of a table.
pub(crate) struct Memory<T>(pub(crate) KVVec<Slot<T>>);

impl<T> Slots<T> for Memory<T> {
    fn slots(&self) -> &[Slot<T>] {
        &self.0
    }

    fn slots_mut(&mut self) -> &mut [Slot<T>] {
        &mut self.0
    }

    fn push(&mut self, slot: Slot<T>) -> Result<(), Slot<T>> {
        match self.0.reserve(1, GFP_KERNEL_ACCOUNT) {
            Ok(()) => self.0.push_within_capacity(slot).map_err(|error| error.0),
            Err(_) => Err(slot),
        }
    }
}

type Objects = Table<Object, Memory<Object>>;

/// One open of `/dev/dmaplane`.
#[pin_data]
pub(crate) struct Context {
    device: Arc<Device>,
    counters: Arc<Counters>,
    pollers: Arc<Pollers>,
    /// Mappings of the file.
    space: Arc<Space>,
    /// That of the file.
    node: DeviceRef,
    /// A protection domain for each fabric in use, so that the keys of one user are worth nothing
    /// on the connections of another.
    #[pin]
    domains: Mutex<KVec<Arc<Domain>>>,
    #[pin]
    objects: Mutex<Objects>,
    #[pin]
    views: Mutex<Views>,
    _tally: Tally,
}

impl Context {
    /// The module's state.
    pub(crate) fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Counters of this context.
    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Who polls this context's file.
    pub(crate) fn pollers(&self) -> &Arc<Pollers> {
        &self.pollers
    }

    /// What mappings of the file are found by.
    pub(crate) fn space(&self) -> &Arc<Space> {
        &self.space
    }

    /// The device that was opened.
    pub(crate) fn node(&self) -> &DeviceRef {
        &self.node
    }

    /// Parts of regions.
    pub(crate) fn views(&self) -> &Mutex<Views> {
        &self.views
    }

    /// The protection domain of this context on `fabric`.
    pub(crate) fn domain(&self, fabric: &Fabric) -> Result<Arc<Domain>> {
        let mut domains = self.domains.lock();
        let known = domains
            .iter()
            .find(|domain| Arc::ptr_eq(domain.device(), fabric.rdma()));
        if let Some(domain) = known {
            return Ok(domain.clone());
        }
        let domain = Domain::new(fabric.rdma())?;
        domains.push(domain.clone(), GFP_KERNEL_ACCOUNT)?;
        Ok(domain)
    }

    /// Where to mmap the object of a handle.
    pub(crate) fn mmap_offset(handle: u32) -> u64 {
        u64::from(handle) << MMAP_SHIFT
    }

    /// Gives an object a handle. `EMFILE` if there are too many.
    pub(crate) fn insert(&self, object: Object) -> Result<u32> {
        self.try_insert(object).map_err(|(error, object)| {
            drop(object);
            error
        })
    }

    /// Like [`Context::insert`], but gives the object back if it fails.
    pub(crate) fn try_insert(&self, object: Object) -> Result<u32, (Error, Object)> {
        let inserted = self.objects.lock().insert(object);
        inserted.map_err(|(error, object)| match error {
            InsertError::Full => (EMFILE, object),
            InsertError::NoMemory => (ENOMEM, object),
        })
    }

    /// The object of a handle. `ENOENT` if there is none, `EBADF` if it is of another kind.
    pub(crate) fn get<K: Kind>(&self, handle: u32) -> Result<Arc<K>> {
        let objects = self.objects.lock();
        let object = self.look_up(&objects, handle)?;
        Ok(K::of(object).ok_or(EBADF)?.clone())
    }

    /// The object of a handle. `ENOENT` if there is none, `EBADF` if it is a view.
    #[inline]
    fn look_up<'a>(&self, objects: &'a Objects, handle: u32) -> Result<&'a Object> {
        objects.get(handle).ok_or_else(|| self.no_object(handle))
    }

    #[cold]
    fn no_object(&self, handle: u32) -> Error {
        match is_view(handle) && self.views.lock().has(handle) {
            true => EBADF,
            false => ENOENT,
        }
    }

    /// Why a handle is that of no view.
    pub(crate) fn no_view(&self, handle: u32) -> Error {
        match self.objects.lock().get(handle) {
            Some(_) => EBADF,
            None => ENOENT,
        }
    }

    /// A region for an entry in flight; it cannot be deregistered meanwhile.
    pub(crate) fn use_region(&self, handle: u32) -> Result<RegionUse> {
        let objects = self.objects.lock();
        let object = self.look_up(&objects, handle)?;
        Region::enter(Region::of(object).ok_or(EBADF)?)
    }

    /// Takes an object out of the table.
    pub(crate) fn remove<K: Kind>(&self, handle: u32) -> Result<Object> {
        self.remove_if::<K>(handle, |_| Ok(()))
    }

    /// Takes an object out of the table if `check`, called under the table's lock, agrees.
    pub(crate) fn remove_if<K: Kind>(
        &self,
        handle: u32,
        check: impl FnOnce(&K) -> Result,
    ) -> Result<Object> {
        let mut objects = self.objects.lock();
        let object = self.look_up(&objects, handle)?;
        check(K::of(object).ok_or(EBADF)?)?;
        objects.remove(handle).ok_or(ENOENT)
    }

    /// Takes an object that user space never learnt of out of the table, and ends it.
    pub(crate) fn discard(&self, handle: u32) {
        let object = self.objects.lock().remove(handle);
        drop(object);
    }

    /// Has the end of whatever uses a fabric begin, as far as nothing has to be waited for.
    pub(crate) fn hang_up(&self, fabric: &Arc<Fabric>) {
        self.for_each_endpoint(|endpoint| {
            if endpoint.is_live_on(fabric) {
                endpoint.hang_up(ENODEV);
            }
        });
    }

    /// Ends whatever uses a fabric; the handles stay.
    pub(crate) fn revoke(&self, fabric: &Arc<Fabric>) {
        while let Some(endpoint) = self.find::<Endpoint>(|endpoint| endpoint.is_live_on(fabric)) {
            endpoint.end(ENODEV);
        }
        while let Some(region) = self.find::<Region>(|region| region.is_live_on(fabric)) {
            region.revoke();
        }
        self.domains
            .lock()
            .retain(|domain| !Arc::ptr_eq(domain.device(), fabric.rdma()));
    }

    /// Lets endpoints post the receives that they had no room for in `ring`.
    pub(crate) fn replenish(&self, ring: &Arc<CompletionRing>) {
        ring.unstarve();
        self.for_each_endpoint(|endpoint| endpoint.replenish(ring));
    }

    /// Looks after the connections.
    pub(crate) fn tick(&self) {
        self.for_each_endpoint(|endpoint| endpoint.tick());
    }

    /// Whether its objects are being ended, or have been.
    pub(crate) fn is_released(&self) -> bool {
        self.objects.lock().is_closed()
    }

    /// Whether it has this protection domain.
    pub(crate) fn has(&self, domain: &Arc<Domain>) -> bool {
        let domains = self.domains.lock();
        domains.iter().any(|own| Arc::ptr_eq(own, domain))
    }

    /// Calls `f` for each endpoint, without holding the table.
    pub(crate) fn for_each_endpoint(&self, mut f: impl FnMut(&Arc<Endpoint>)) {
        let mut slot = 0usize;
        while let Some((found, endpoint)) = self.next::<Endpoint>(slot) {
            f(&endpoint);
            slot = found.saturating_add(1);
        }
    }

    fn find<K: Kind>(&self, wanted: impl Fn(&K) -> bool) -> Option<Arc<K>> {
        let mut slot = 0usize;
        while let Some((found, object)) = self.next::<K>(slot) {
            if wanted(&object) {
                return Some(object);
            }
            slot = found.saturating_add(1);
        }
        None
    }

    /// The first object of a kind from `slot` on, and its slot. The table is not locked when this
    /// returns.
    fn next<K: Kind>(&self, slot: usize) -> Option<(usize, Arc<K>)> {
        let objects = self.objects.lock();
        let mut slot = slot;
        while let Some((found, object)) = objects.next(slot) {
            match K::of(object) {
                Some(object) => return Some((found, object.clone())),
                None => slot = found.saturating_add(1),
            }
        }
        None
    }
}

impl CharDevice for Context {
    type Shared = Device;

    fn open(device: &Arc<Device>, node: DeviceRef, space: Arc<Space>) -> Result<Arc<Self>> {
        let counters = Counters::new(Some(device.counters().clone()))?;
        let pollers = Pollers::new()?;
        let tally = Tally::one(&counters, Live::Contexts);
        let no_views = Views::new(&counters);
        let context = Arc::pin_init(
            pin_init!(Self {
                device: device.clone(),
                counters,
                pollers,
                space,
                node,
                domains <- new_mutex!(KVec::new()),
                objects <- new_mutex!(Table::new(Memory(KVVec::new()), MAX_OBJECTS)),
                views <- new_mutex!(no_views),
                _tally: tally,
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        device.enlist(context.clone())?;
        Ok(context)
    }

    fn release(this: Arc<Self>) {
        this.device.delist(&this);
        let all = core::mem::replace(
            &mut *this.objects.lock(),
            Table::new(Memory(KVVec::new()), 0),
        );
        teardown::run(all);
        let views = core::mem::replace(&mut *this.views.lock(), Views::new(&this.counters));
        drop(views);
        // Somebody may be looking at the context for a moment longer, but it uses no device.
        let domains = core::mem::take(&mut *this.domains.lock());
        drop(domains);
    }

    fn ioctl(this: ArcBorrow<'_, Self>, file: &File, command: u32, arg: usize) -> Result<isize> {
        ioctl::run(this, file, command, arg)
    }

    fn poll(&self, file: &File, table: &PollTable<'_>) -> Events {
        let mut events = Events::default();
        self.pollers.register(file, table);
        let mut slot = 0usize;
        while let Some((found, channel)) = self.next::<Channel>(slot) {
            let ring = channel.ring();
            let status = ring.status();
            events.readable |= status.available || status.poisoned;
            events.error |= status.poisoned;
            if status.starved {
                self.replenish(ring);
            }
            slot = found.saturating_add(1);
        }
        events
    }

    fn show_fdinfo(&self, seq: &SeqFile) {
        fdinfo::show(self, seq);
    }

    fn mmap(&self, mapping: NewMapping<'_>) -> Result {
        if !mapping.is_shared() {
            return Err(EINVAL);
        }
        let handle = u32::try_from(mapping.offset() >> MMAP_SHIFT).map_err(|_| ENOENT)?;
        let inside = mapping.offset() & ((1 << MMAP_SHIFT) - 1);
        let first = usize::try_from(inside)? / PAGE_SIZE;
        enum Shown {
            Buffer(Arc<Buffer>),
            Rings(Arc<CompletionRing>),
        }
        let shown = match self.look_up(&self.objects.lock(), handle)? {
            Object::Buffer(buffer) => Shown::Buffer(buffer.clone()),
            // Not the channel: it would be ended here, under `mmap_lock`, if it is closed meanwhile.
            Object::Channel(channel) => Shown::Rings(channel.ring().clone()),
            _ => return Err(EBADF),
        };
        match shown {
            Shown::Buffer(buffer) => {
                Buffer::show(buffer, mapping, Self::mmap_offset(handle), first)
            }
            Shown::Rings(ring) => mapping.show(ring, first),
        }
    }
}
