// SPDX-License-Identifier: GPL-2.0

//! Something done again and again, until it is dropped.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)
//!
//! Ownership: [`Periodic`] owns the work item and holds what is done.
//! Locking: none; [`Tick::tick`] runs in process context, never twice at a time.
//! Teardown: dropping waits for a run that is under way; none begins after.

use crate::bindings;
use core::marker::PhantomPinned;
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
    types::Opaque, //
};

/// What is done.
pub trait Tick: Send + Sync + 'static {
    /// Does it once. May sleep.
    fn tick(&self);
}

/// # Invariants
///
/// `work` is initialised with [`Inner::run`] and embedded here.
#[pin_data]
struct Inner<T: Tick> {
    #[pin]
    work: Opaque<bindings::delayed_work>,
    interval: Jiffies,
    tick: Arc<T>,
    #[pin]
    _pin: PhantomPinned,
}

/// Does something every so often.
pub struct Periodic<T: Tick> {
    inner: Pin<KBox<Inner<T>>>,
}

// SAFETY: a work item is not bound to a task, and `T` is `Send + Sync`.
unsafe impl<T: Tick> Send for Periodic<T> {}
// SAFETY: there are no methods on a shared reference.
unsafe impl<T: Tick> Sync for Periodic<T> {}

impl<T: Tick> Periodic<T> {
    /// Begins; the first time comes after `interval_ms`.
    pub fn new(tick: Arc<T>, interval_ms: u32) -> Result<Self> {
        let inner = KBox::pin_init(
            pin_init!(Inner {
                work <- Opaque::ffi_init(|work| {
                    // SAFETY: `work` is memory for a delayed work item, and pinned.
                    // INVARIANT: initialised here.
                    unsafe { bindings::dk_init_delayed_work(work, Some(Inner::<T>::run)) }
                }),
                interval: msecs_to_jiffies(interval_ms),
                tick,
                _pin: PhantomPinned,
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: initialised above, and pinned until it is cancelled.
        unsafe { bindings::dk_schedule_delayed_work(inner.work.get(), inner.interval) };
        Ok(Self { inner })
    }
}

impl<T: Tick> Drop for Periodic<T> {
    fn drop(&mut self) {
        // SAFETY: initialised by the invariant. This also stops a run from scheduling the next.
        unsafe { bindings::cancel_delayed_work_sync(self.inner.work.get()) };
    }
}

impl<T: Tick> Inner<T> {
    /// # Safety
    ///
    /// Called by the workqueue for the work of an `Inner<T>`.
    unsafe extern "C" fn run(work: *mut bindings::work_struct) {
        // SAFETY: the work item is the first member of a delayed one, see the C type.
        let delayed = unsafe { bindings::dk_to_delayed_work(work) };
        // SAFETY: by the invariant it is embedded in an `Inner`, which cancelling waits for us to
        // let go of.
        let inner = unsafe { &*kernel::container_of!(Opaque::cast_from(delayed), Self, work) };
        inner.tick.tick();
        // SAFETY: as above.
        unsafe { bindings::dk_schedule_delayed_work(inner.work.get(), inner.interval) };
    }
}

#[cfg(dmaplane_test)]
#[kunit_tests(dmakit_periodic)]
mod tests {
    use super::*;
    use kernel::{
        sync::atomic::{
            ordering::{
                Acquire,
                Release, //
            },
            Atomic, //
        },
        time::{
            delay::fsleep,
            Delta, //
        }, //
    };

    /// Counts how often it began and ended, and takes some time in between.
    struct Count {
        began: Atomic<u32>,
        ended: Atomic<u32>,
        takes_ms: i64,
    }

    impl Tick for Count {
        fn tick(&self) {
            self.began.store(self.began.load(Acquire) + 1, Release);
            fsleep(Delta::from_millis(self.takes_ms));
            self.ended.store(self.ended.load(Acquire) + 1, Release);
        }
    }

    impl Count {
        fn new(takes_ms: i64) -> Result<Arc<Self>> {
            let count = Self {
                began: Atomic::new(0),
                ended: Atomic::new(0),
                takes_ms,
            };
            Ok(Arc::new(count, GFP_KERNEL)?)
        }

        /// Waits, half a minute at most.
        fn has_begun(&self, times: u32) -> bool {
            for _ in 0..30_000 {
                if self.began.load(Acquire) >= times {
                    return true;
                }
                fsleep(Delta::from_millis(1));
            }
            false
        }
    }

    #[test]
    fn again_and_again_until_it_is_dropped() -> Result {
        let count = Count::new(0)?;
        let periodic = Periodic::new(count.clone(), 1)?;
        assert!(count.has_begun(5));
        drop(periodic);
        let ended = count.ended.load(Acquire);
        fsleep(Delta::from_millis(50));
        assert_eq!(count.began.load(Acquire), ended);
        // Nobody else holds it any more.
        assert!(Arc::into_unique_or_drop(count).is_some());
        Ok(())
    }

    #[test]
    fn not_before_its_time() -> Result {
        let count = Count::new(0)?;
        let periodic = Periodic::new(count.clone(), 3_600_000)?;
        fsleep(Delta::from_millis(50));
        drop(periodic);
        assert_eq!(count.began.load(Acquire), 0);
        assert!(Arc::into_unique_or_drop(count).is_some());
        Ok(())
    }

    #[test]
    fn dropping_waits_for_the_one_under_way() -> Result {
        let count = Count::new(50)?;
        let periodic = Periodic::new(count.clone(), 0)?;
        assert!(count.has_begun(1));
        drop(periodic);
        let began = count.began.load(Acquire);
        assert_eq!(count.ended.load(Acquire), began);
        fsleep(Delta::from_millis(100));
        assert_eq!(count.began.load(Acquire), began);
        Ok(())
    }
}
