// SPDX-License-Identifier: GPL-2.0

//! Work that goes on behind the back of whoever asked for it.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)
//!
//! Ownership: a queued [`Worker`] holds itself until it has run. It may be the last to do so, and is
//! dropped by its own run then.
//! Locking: none; [`Job::run`] runs in process context, never twice at a time for one worker.
//! Teardown: [`Worker::finish`] waits for one; the queue of all of them is drained when the module
//! ends, by the [`Registration`](crate::rdma::client::Registration) that made it.

use crate::bindings;
use core::ops::Deref;
use kernel::{
    impl_has_work,
    prelude::*,
    static_lock_class,
    sync::{
        Arc,
        LockClassKey, //
    },
    workqueue::{
        RawWorkItem,
        Work,
        WorkItem, //
    }, //
};

/// The lock class of all work items. lockdep knows one by the addresses of its key and of its name,
/// and the name in a generic function is at another one in each crate that uses that.
fn lock_class() -> (&'static CStr, Pin<&'static LockClassKey>) {
    static NAME: &CStr = c"dmakit::Worker";
    (NAME, static_lock_class!())
}

/// What is done.
pub trait Job: Send + Sync + Sized + 'static {
    /// Does it once. May sleep.
    fn run(this: &Arc<Worker<Self>>);
}

/// Something that can be told to do its [`Job`].
#[pin_data]
pub struct Worker<J: Job> {
    #[pin]
    work: Work<Worker<J>>,
    #[pin]
    job: J,
}

impl_has_work! {
    impl{J: Job} HasWork<Worker<J>> for Worker<J> { self.work }
}

impl<J: Job> WorkItem for Worker<J> {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        J::run(&this);
    }
}

impl<J: Job> Worker<J> {
    /// Makes one that has nothing to do yet.
    pub fn new(job: impl PinInit<J>) -> Result<Arc<Self>> {
        let (name, key) = lock_class();
        Arc::pin_init(
            pin_init!(Self {
                work <- Work::new(name, key),
                job <- job,
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Has it run once from now on, near a NUMA node if one is named. May be called from anywhere.
    pub fn kick(this: &Arc<Self>, node: i32) {
        let node = match crate::mm::node_online(node) {
            true => node,
            false => bindings::NUMA_NO_NODE,
        };
        // SAFETY: the work item is initialised and what comes with it stays alive until it has run;
        // the queue is there as long as the module, which whoever has a worker keeps.
        let queued = unsafe { this.clone().__enqueue(|work| bindings::dk_work(node, work)) };
        // It is queued already, and has not begun.
        drop(queued);
    }

    /// Waits until a run that was asked for before has ended. Not to be called from one.
    pub fn finish(this: &Arc<Self>) {
        // SAFETY: the work item is initialised, and `this` keeps it.
        unsafe { bindings::flush_work(Work::raw_get(&raw const this.work)) };
    }
}

impl<J: Job> Deref for Worker<J> {
    type Target = J;

    fn deref(&self) -> &J {
        &self.job
    }
}

#[cfg(dmaplane_test)]
#[kunit_tests(dmakit_worker)]
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

    /// Counts its runs, each of which takes some time, and asks for so many more.
    struct Count {
        began: Atomic<u32>,
        ended: Atomic<u32>,
        more: u32,
    }

    impl Job for Count {
        fn run(this: &Arc<Worker<Self>>) {
            let began = this.began.load(Acquire) + 1;
            this.began.store(began, Release);
            fsleep(Delta::from_millis(20));
            if began <= this.more {
                Worker::kick(this, -1);
            }
            this.ended.store(began, Release);
        }
    }

    fn worker(more: u32) -> Result<Arc<Worker<Count>>> {
        Worker::new(Count {
            began: Atomic::new(0),
            ended: Atomic::new(0),
            more,
        })
    }

    #[test]
    fn only_when_told_to() -> Result {
        let worker = worker(0)?;
        Worker::finish(&worker);
        assert_eq!(worker.began.load(Acquire), 0);
        for n in 1..4 {
            // Whatever the node is called.
            Worker::kick(&worker, n - 2);
            Worker::finish(&worker);
            assert_eq!(worker.ended.load(Acquire), n as u32);
        }
        // Nobody else holds it any more.
        assert!(Arc::into_unique_or_drop(worker).is_some());
        Ok(())
    }

    #[test]
    fn once_if_told_twice_before_it_begins() -> Result {
        let worker = worker(0)?;
        // The first run may begin at once, the others have to wait for its end.
        for _ in 0..100 {
            Worker::kick(&worker, -1);
        }
        Worker::finish(&worker);
        Worker::finish(&worker);
        assert!((1..=2).contains(&worker.ended.load(Acquire)));
        assert_eq!(worker.began.load(Acquire), worker.ended.load(Acquire));
        Ok(())
    }

    #[test]
    fn from_its_own_run() -> Result {
        let worker = worker(2)?;
        Worker::kick(&worker, -1);
        for _ in 0..3 {
            Worker::finish(&worker);
        }
        assert_eq!(worker.ended.load(Acquire), 3);
        Ok(())
    }

    #[test]
    fn held_by_nobody_else() -> Result {
        struct Last(Arc<Atomic<u32>>);
        impl Job for Last {
            fn run(_: &Arc<Worker<Self>>) {
                fsleep(Delta::from_millis(20));
            }
        }
        impl Drop for Last {
            fn drop(&mut self) {
                self.0.store(1, Release);
            }
        }
        let dropped = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let worker = Worker::new(Last(dropped.clone()))?;
        Worker::kick(&worker, -1);
        drop(worker);
        for _ in 0..30_000 {
            if dropped.load(Acquire) == 1 {
                return Ok(());
            }
            fsleep(Delta::from_millis(1));
        }
        Err(ETIMEDOUT)
    }
}
