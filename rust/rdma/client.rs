// SPDX-License-Identifier: GPL-2.0

//! Being told of RDMA devices that come and go.
//!
//! C header: [`include/rdma/ib_verbs.h`](srctree/include/rdma/ib_verbs.h)
//!
//! Ownership: the RDMA core holds one [`Entry`] per device, from `add` to `remove`.
//! Locking: `DEVICES` is a leaf mutex; no [`Client`] method is called under it.
//! Teardown: dropping [`Registration`] removes every device: its gate closes, the client
//! revokes until nobody uses it.

use super::{
    conn::wait_for_all,
    device::Device, //
};
use crate::bindings;
use core::{
    ffi::{
        c_int,
        c_void, //
    },
    pin::Pin,
    ptr, //
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        atomic::{
            ordering::{
                Acquire,
                Full,
                Release, //
            },
            Atomic, //
        },
        global_lock,
        Arc, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};

/// What is to be done about devices.
pub trait Client: Send + Sync + 'static {
    /// What the client keeps per device.
    type Data: Send + Sync + 'static;

    /// A device appeared. It can be used at once. May sleep.
    fn add(&self, device: &Arc<Device>) -> Result<Arc<Self::Data>>;

    /// The device is leaving: whoever uses it has to stop, and new users are refused.
    ///
    /// Called every tenth of a second until the last [`DeviceUse`](super::device::DeviceUse)
    /// is dropped, and once at least. May sleep.
    fn revoke(&self, data: &Arc<Self::Data>);
}

global_lock! {
    // SAFETY: initialized by `Registration::new` before a device is added or `READY` is set.
    unsafe(uninit) static DEVICES: Mutex<KVec<Arc<Device>>> = KVec::new();
}

/// Whether `DEVICES` is initialized.
static READY: Atomic<bool> = Atomic::new(false);

/// The one [`Context`], for the RDMA core's `add` has no argument for it.
static CONTEXT: Atomic<*mut c_void> = Atomic::new(ptr::null_mut());

/// The present device at that address.
pub(super) fn find(raw: *mut bindings::ib_device) -> Option<Arc<Device>> {
    if raw.is_null() || !READY.load(Acquire) {
        return None;
    }
    DEVICES.lock().iter().find(|d| d.is(raw)).cloned()
}

/// Adds to the list of present devices.
fn list(device: &Arc<Device>) -> Result {
    DEVICES.lock().push(device.clone(), GFP_KERNEL)?;
    Ok(())
}

/// Takes from the list of present devices.
fn unlist(device: &Arc<Device>) {
    DEVICES.lock().retain(|d| !Arc::ptr_eq(d, device));
}

struct Context<C> {
    raw: Opaque<bindings::ib_client>,
    client: C,
}

/// What the RDMA core keeps for us with a device.
struct Entry<C: Client> {
    device: Arc<Device>,
    data: Arc<C::Data>,
}

impl<C: Client> Entry<C> {
    /// Ends the use of the device.
    fn remove(self, client: &C) {
        unlist(&self.device);
        self.device.close();
        loop {
            client.revoke(&self.data);
            if self.device.wait_idle() {
                break;
            }
        }
    }
}

/// A registered [`Client`]; there can be one.
///
/// # Invariants
///
/// `context` is what `CONTEXT` points to, and is registered with the RDMA core.
pub struct Registration<C: Client> {
    context: Pin<KBox<Context<C>>>,
}

// SAFETY: registration is not bound to a task, and `C` is `Send + Sync`.
unsafe impl<C: Client> Send for Registration<C> {}
// SAFETY: there are no methods on a shared reference.
unsafe impl<C: Client> Sync for Registration<C> {}

impl<C: Client> Registration<C> {
    /// Registers; [`Client::add`] is called for the devices that are there before this returns.
    ///
    /// `EBUSY` if there is a registration already.
    pub fn new(name: &'static CStr, client: C) -> Result<Self> {
        let context = KBox::pin(
            Context {
                raw: Opaque::new(bindings::ib_client {
                    name: name.as_char_ptr(),
                    add: Some(add::<C>),
                    remove: Some(remove::<C>),
                    ..Default::default()
                }),
                client,
            },
            GFP_KERNEL,
        )?;
        let raw = context.raw.get();
        let this = ptr::from_ref::<Context<C>>(&context).cast_mut().cast();
        if CONTEXT.cmpxchg(ptr::null_mut(), this, Full).is_err() {
            return Err(EBUSY);
        }
        if !READY.load(Acquire) {
            // SAFETY: `READY` is set once, and we are alone between taking `CONTEXT` and giving
            // it back, so this is the only call.
            unsafe { DEVICES.init() };
            READY.store(true, Release);
        }
        // SAFETY: we are alone, as above.
        if let Err(error) = to_result(unsafe { bindings::dk_workers_start() }) {
            CONTEXT.store(ptr::null_mut(), Release);
            return Err(error);
        }
        // SAFETY: `raw` is pinned, and stays until it is unregistered.
        if let Err(error) = to_result(unsafe { bindings::ib_register_client(raw) }) {
            // SAFETY: started above.
            unsafe { bindings::dk_workers_stop() };
            CONTEXT.store(ptr::null_mut(), Release);
            return Err(error);
        }
        // INVARIANT: `CONTEXT` was set above.
        Ok(Self { context })
    }
}

impl<C: Client> Drop for Registration<C> {
    fn drop(&mut self) {
        // SAFETY: registered by the invariant. No callback runs after this.
        unsafe { bindings::ib_unregister_client(self.context.raw.get()) };
        wait_for_all();
        // SAFETY: started in `new`. It may still be freeing the last connection.
        unsafe { bindings::dk_workers_stop() };
        *DEVICES.lock() = KVec::new();
        CONTEXT.store(ptr::null_mut(), Release);
    }
}

/// The registration's context.
///
/// # Safety
///
/// To be called from a callback that was registered with this `C`.
unsafe fn context<'a, C: Client>() -> &'a Context<C> {
    // SAFETY: `CONTEXT` is set before callbacks are registered and reset after they are
    // unregistered, and points to a pinned `Context<C>` in between.
    unsafe { &*CONTEXT.load(Acquire).cast::<Context<C>>() }
}

/// # Safety
///
/// To be called by the RDMA core for a registered client.
unsafe extern "C" fn add<C: Client>(raw: *mut bindings::ib_device) -> c_int {
    // SAFETY: we are a callback.
    let context = unsafe { context::<C>() };
    // SAFETY: the device stays until `remove` returns, or `add` fails; it is released before.
    match unsafe { add_device(context, raw) } {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// # Safety
///
/// `raw` stays valid until [`remove`] returns, or this fails.
unsafe fn add_device<C: Client>(context: &Context<C>, raw: *mut bindings::ib_device) -> Result {
    let slot = KBox::<Entry<C>>::new_uninit(GFP_KERNEL)?;
    // SAFETY: it is released by `Entry::remove`, or below.
    let device = unsafe { Device::new(raw)? };
    let data = match context.client.add(&device) {
        Ok(data) => data,
        Err(error) => {
            device.close();
            while !device.wait_idle() {}
            return Err(error);
        }
    };
    let listed = list(&device);
    let entry = Entry::<C> { device, data };
    if let Err(error) = listed {
        entry.remove(&context.client);
        return Err(error);
    }
    let entry = KBox::write(slot, entry).into_foreign();
    // SAFETY: `raw` is valid, and the client is registered.
    unsafe { bindings::ib_set_client_data(raw, context.raw.get(), entry) };
    Ok(())
}

/// # Safety
///
/// To be called by the RDMA core for a device that [`add`] succeeded for.
unsafe extern "C" fn remove<C: Client>(_raw: *mut bindings::ib_device, data: *mut c_void) {
    if data.is_null() {
        return;
    }
    // SAFETY: we are a callback.
    let context = unsafe { context::<C>() };
    // SAFETY: `add` made it from a box of this type, and it is given back once.
    let entry = unsafe { KBox::<Entry<C>>::from_foreign(data.cast()) };
    KBox::into_inner(entry).remove(&context.client);
}
