// SPDX-License-Identifier: GPL-2.0

//! Threads of the kernel's own.
//!
//! C header: [`include/linux/kthread.h`](srctree/include/linux/kthread.h)
//!
//! A thread acts for the task that started it: with its credentials, its limit of locked memory and its
//! nice value, and memory that is to be accounted (`GFP_KERNEL_ACCOUNT`) is charged to its cgroup. Time
//! is not: that is the system's.
//!
//! Ownership: whoever started a thread has the [`Thread`]. The thread holds its [`Job`], until that
//! is done, and the module.
//! Locking: none.
//! Teardown: dropping a [`Thread`] tells it to stop and waits for its end. It does not if the thread
//! does that itself, which then ends when its job is done.

use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    error::from_err_ptr,
    prelude::*,
    sync::Arc,
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};

/// Whether there may be so many threads that spin, with the one that the caller wants: those without
/// `CAP_SYS_NICE` have a few for each processor, all of them together.
pub fn may_be(threads: u64) -> bool {
    // SAFETY: called in process context.
    unsafe { bindings::dk_threads_may_be(threads) }
}

/// What is done.
pub trait Job: Send + Sync + 'static {
    /// Does it once. May sleep. Returns soon after it [should](Me::should_stop).
    fn run(&self, me: &Me<'_>);
}

/// The thread that runs a [`Job`].
///
/// # Invariants
///
/// It is the current task, and was started with `base`.
pub struct Me<'a> {
    base: &'a bindings::dk_thread,
    _task: NotThreadSafe,
}

impl Me<'_> {
    /// Whether somebody waits for its end.
    pub fn should_stop(&self) -> bool {
        // SAFETY: there is a `Me` only in threads of this file, which are kthreads.
        unsafe { bindings::dk_thread_should_stop() }
    }

    /// Sleeps until somebody wakes it, has done so since it last slept, or waits for its end.
    pub fn sleep(&self, waker: &Waker) {
        // SAFETY: initialised; this is a kthread, as above.
        unsafe { bindings::dk_waker_sleep(waker.inner.get()) }
    }

    /// Has memory where its maker could when it was made: who adds or takes memory of the system
    /// resets that.
    pub fn renew_nodes(&self) {
        // SAFETY: this is the thread that was started with it.
        unsafe { bindings::dk_thread_renew_nodes(self.base) }
    }

    /// For one turn of a loop that looks for something: others may have the processor.
    pub fn relax(&self) {
        // SAFETY: has no conditions but that the caller may sleep.
        unsafe { bindings::dk_thread_relax() }
    }
}

/// What a thread sleeps on. It need not be there yet.
#[pin_data]
pub struct Waker {
    #[pin]
    inner: Opaque<bindings::dk_waker>,
}

// SAFETY: the C object is not bound to a task.
unsafe impl Send for Waker {}
// SAFETY: all of its functions may be called concurrently.
unsafe impl Sync for Waker {}

impl Waker {
    /// Makes one that nobody was woken by.
    pub fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                inner <- Opaque::ffi_init(|inner| {
                    // SAFETY: memory for one, and pinned.
                    unsafe { bindings::dk_waker_init(inner) }
                }),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Wakes the thread, or lets it not fall asleep the next time. May be called from anywhere.
    pub fn wake(&self) {
        // SAFETY: initialised.
        unsafe { bindings::dk_waker_wake(self.inner.get()) }
    }
}

/// What a thread is started with.
///
/// # Invariants
///
/// `base.run` is [`Start::run`] of the same `J`.
#[repr(C)]
struct Start<J: Job> {
    base: bindings::dk_thread,
    job: Arc<J>,
}

impl<J: Job> Start<J> {
    /// # Safety
    ///
    /// Called once by a new kthread, for the `base` of a `Start<J>` that is its own now.
    unsafe extern "C" fn run(base: *mut bindings::dk_thread) {
        // SAFETY: `base` is the first member of one that is ours, as the caller promises.
        let start = unsafe { KBox::from_raw(base.cast::<Self>()) };
        // INVARIANT: as the caller promises.
        start.job.run(&Me {
            base: &start.base,
            _task: NotThreadSafe,
        });
    }
}

/// A thread.
///
/// # Invariants
///
/// `task` is a reference to the task that was started with `start`, which is the thread's once it
/// runs.
pub struct Thread<J: Job> {
    task: NonNull<bindings::task_struct>,
    start: NonNull<Start<J>>,
}

// SAFETY: any task may stop one, and its job may be dropped by any.
unsafe impl<J: Job> Send for Thread<J> {}
// SAFETY: there are no methods on a shared reference.
unsafe impl<J: Job> Sync for Thread<J> {}

impl<J: Job> Thread<J> {
    /// Starts one, which is called `name` and the number of the calling process. `EINTR` if that is
    /// being killed.
    pub fn new(name: &CStr, job: Arc<J>) -> Result<Self> {
        // INVARIANT: it is.
        let start = Start {
            base: bindings::dk_thread {
                run: Some(Start::<J>::run),
                ..Default::default()
            },
            job,
        };
        let start = KBox::into_raw(KBox::new(start, GFP_KERNEL_ACCOUNT)?);
        // SAFETY: `base` is its first member, and it is the thread's from here on, or ours again if
        // there is none.
        let task = unsafe { bindings::dk_thread_start(start.cast(), name.as_char_ptr()) };
        let pointers = from_err_ptr(task).and_then(|task| {
            let start = NonNull::new(start).ok_or(ENOMEM)?;
            Ok((NonNull::new(task).ok_or(ENOMEM)?, start))
        });
        let (task, start) = pointers.inspect_err(|_| {
            // SAFETY: there is no thread.
            drop(unsafe { KBox::from_raw(start) });
        })?;
        // INVARIANT: it was just started.
        Ok(Self { task, start })
    }
}

impl<J: Job> Drop for Thread<J> {
    fn drop(&mut self) {
        let start = self.start.as_ptr();
        // SAFETY: by the invariant; this gives up the reference, and happens once.
        if !unsafe { bindings::dk_thread_stop(self.task.as_ptr(), start.cast()) } {
            // SAFETY: by the invariant it is ours, as the thread has not run and never will.
            drop(unsafe { KBox::from_raw(start) });
        }
    }
}

#[cfg(dmaplane_test)]
#[kunit_tests(dmakit_kthread)]
mod tests {
    use super::*;
    use kernel::{
        new_mutex,
        sync::{
            atomic::{
                ordering::{
                    Acquire,
                    Release, //
                },
                Atomic, //
            },
            Mutex, //
        },
        time::{
            delay::fsleep,
            Delta, //
        }, //
    };

    const NAME: &CStr = c"dmaplane-test";

    /// Counts how often it began, went on after a sleep, and ended.
    struct Sleeper {
        began: Atomic<u32>,
        woken: Atomic<u32>,
        ended: Atomic<u32>,
        /// It ends by itself after so many sleeps.
        most: u32,
        waker: Arc<Waker>,
    }

    impl Job for Sleeper {
        fn run(&self, me: &Me<'_>) {
            add(&self.began);
            while !me.should_stop() && self.woken.load(Acquire) < self.most {
                me.sleep(&self.waker);
                add(&self.woken);
            }
            add(&self.ended);
        }
    }

    fn add(count: &Atomic<u32>) {
        count.store(count.load(Acquire) + 1, Release);
    }

    fn sleeper(most: u32) -> Result<Arc<Sleeper>> {
        let sleeper = Sleeper {
            began: Atomic::new(0),
            woken: Atomic::new(0),
            ended: Atomic::new(0),
            most,
            waker: Waker::new()?,
        };
        Ok(Arc::new(sleeper, GFP_KERNEL)?)
    }

    /// Waits, half a minute at most.
    fn reaches(count: &Atomic<u32>, value: u32) -> bool {
        for _ in 0..300_000 {
            if count.load(Acquire) >= value {
                return true;
            }
            fsleep(Delta::from_micros(100));
        }
        false
    }

    #[test]
    fn stopped_in_its_sleep() -> Result {
        let sleeper = sleeper(100)?;
        let thread = Thread::new(NAME, sleeper.clone())?;
        assert!(reaches(&sleeper.began, 1));
        fsleep(Delta::from_millis(20));
        assert_eq!(sleeper.woken.load(Acquire), 0);
        drop(thread);
        assert_eq!(sleeper.ended.load(Acquire), 1);
        assert!(sleeper.woken.load(Acquire) <= 1);
        // Nobody else holds it any more.
        assert!(Arc::into_unique_or_drop(sleeper).is_some());
        Ok(())
    }

    #[test]
    fn stopped_before_it_begins() -> Result {
        for _ in 0..200 {
            let sleeper = sleeper(100)?;
            drop(Thread::new(NAME, sleeper.clone())?);
            assert_eq!(sleeper.began.load(Acquire), sleeper.ended.load(Acquire));
            assert!(Arc::into_unique_or_drop(sleeper).is_some());
        }
        Ok(())
    }

    #[test]
    fn each_wake_ends_a_sleep() -> Result {
        let sleeper = sleeper(u32::MAX)?;
        let thread = Thread::new(NAME, sleeper.clone())?;
        for n in 1..=500 {
            // On the way to its sleep, or in it.
            sleeper.waker.wake();
            assert!(reaches(&sleeper.woken, n));
            assert_eq!(sleeper.woken.load(Acquire), n);
        }
        drop(thread);
        assert!(sleeper.woken.load(Acquire) <= 501);
        Ok(())
    }

    #[test]
    fn woken_before_it_sleeps() -> Result {
        let sleeper = sleeper(1)?;
        // That is one.
        sleeper.waker.wake();
        sleeper.waker.wake();
        let thread = Thread::new(NAME, sleeper.clone())?;
        assert!(reaches(&sleeper.ended, 1));
        fsleep(Delta::from_millis(20));
        drop(thread);
        assert_eq!(sleeper.woken.load(Acquire), 1);
        assert!(Arc::into_unique_or_drop(sleeper).is_some());
        Ok(())
    }

    #[test]
    fn stopped_while_it_is_busy() -> Result {
        struct Busy(Atomic<u32>);
        impl Job for Busy {
            fn run(&self, me: &Me<'_>) {
                self.0.store(1, Release);
                while !me.should_stop() {
                    me.relax();
                }
                fsleep(Delta::from_millis(20));
                self.0.store(2, Release);
            }
        }
        let busy = Arc::new(Busy(Atomic::new(0)), GFP_KERNEL)?;
        let thread = Thread::new(NAME, busy.clone())?;
        assert!(reaches(&busy.0, 1));
        drop(thread);
        assert_eq!(busy.0.load(Acquire), 2);
        Ok(())
    }

    #[test]
    fn dropped_by_itself() -> Result {
        #[pin_data]
        struct Own {
            #[pin]
            thread: Mutex<Option<Thread<Own>>>,
            state: Arc<Atomic<u32>>,
            last: Last,
        }
        struct Last(Arc<Atomic<u32>>);
        impl Drop for Last {
            fn drop(&mut self) {
                self.0.store(2, Release);
            }
        }
        impl Job for Own {
            fn run(&self, _: &Me<'_>) {
                if reaches(&self.state, 1) {
                    let thread = self.thread.lock().take();
                    drop(thread);
                }
            }
        }
        let state = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let (seen, last) = (state.clone(), Last(state.clone()));
        let own = Arc::pin_init(
            pin_init!(Own {
                thread <- new_mutex!(None),
                state: seen,
                last,
            }),
            GFP_KERNEL,
        )?;
        *own.thread.lock() = Some(Thread::new(NAME, own.clone())?);
        drop(own);
        state.store(1, Release);
        assert!(reaches(&state, 2));
        Ok(())
    }
}
