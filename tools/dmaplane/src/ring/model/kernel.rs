// SPDX-License-Identifier: GPL-2.0
//! The kernel's side: the real account of completions, around it what
//! `src/channel/ring.rs`, the files under it and `queue.rs` do, in their order. Functions have the
//! names that they have there.

use loom::sync::{
    atomic::{fence, AtomicU32, Ordering},
    Arc, Mutex, MutexGuard,
};

use super::{Words, CQ_HEAD, CQ_TAIL, FLAGS, SQ_HEAD, SQ_TAIL};
use crate::sys::uapi::{
    dmaplane_cqe, dmaplane_sqe, DMAPLANE_RING_NEED_ENTER, DMAPLANE_RING_NEED_WAKEUP,
};
use pure::{distance, Completions};

// The module's own, of which this needs but a part.
#[allow(dead_code, missing_docs, unreachable_pub)]
#[path = "../../../../../src/pure/ring.rs"]
mod pure;

/// `rust/mm/shared.rs`.
impl Words {
    fn load_acquire(&self, word: usize) -> u32 {
        self.words[word].load(Ordering::Acquire)
    }

    fn store_release(&self, word: usize, value: u32) {
        self.words[word].store(value, Ordering::Release);
    }

    fn order() {
        fence(Ordering::SeqCst);
    }
}

pub(super) struct Kernel {
    memory: Arc<Words>,
    state: Mutex<Completions>,
    flags: AtomicU32,
}

impl Kernel {
    pub(super) fn new(memory: Arc<Words>, origin: u32) -> Self {
        let cq_entries = memory.cqes.len() as u32;
        Kernel {
            memory,
            state: Mutex::new(Completions::with_origin(cq_entries, origin)),
            flags: AtomicU32::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Completions> {
        self.state.lock().unwrap()
    }

    /// Takes up to `most` entries and completes each at once; returns them.
    pub(super) fn submit(&self, head: &mut u32, most: u32) -> Vec<dmaplane_sqe> {
        let (accepted, mut state) = self.accept(*head, most);
        let mut taken = Vec::new();
        for _ in 0..accepted {
            let sqe = self.submission(*head);
            *head = head.wrapping_add(1);
            let cqe = dmaplane_cqe {
                user_data: sqe.user_data,
                ..Default::default()
            };
            self.fill(&mut state, &cqe);
            taken.push(sqe);
        }
        if accepted > 0 {
            self.tell(state);
        }
        self.publish_sq_head(*head);
        taken
    }

    fn accept(&self, head: u32, most: u32) -> (u32, MutexGuard<'_, Completions>) {
        let mut state = self.lock();
        let tail = self.memory.load_acquire(SQ_TAIL);
        let submitted = distance(head, tail, self.memory.sqes.len() as u32).unwrap();
        let accepted = self.reserve(&mut state, most.min(submitted));
        (accepted, state)
    }

    fn submission(&self, index: u32) -> dmaplane_sqe {
        let slot = index as usize & (self.memory.sqes.len() - 1);
        // SAFETY: read before loom lets others go on.
        self.memory.sqes[slot].with(|sqe| unsafe { *sqe })
    }

    fn publish_sq_head(&self, head: u32) {
        self.memory.store_release(SQ_HEAD, head);
    }

    pub(super) fn reserve_up_to(&self, n: u32) -> u32 {
        self.reserve(&mut self.lock(), n)
    }

    fn reserve(&self, state: &mut Completions, n: u32) -> u32 {
        let head = self.memory.load_acquire(CQ_HEAD);
        state.reserve_up_to(head, n).unwrap()
    }

    pub(super) fn reserve_receive(&self) -> bool {
        if self.reserve_up_to(1) == 1 {
            return true;
        }
        self.set_flag(DMAPLANE_RING_NEED_ENTER);
        Words::order();
        self.reserve_up_to(1) == 1
    }

    /// `ring/polled.rs`; whether the thread that takes entries falls asleep.
    pub(super) fn may_sleep(&self, head: u32, stuck: bool) -> bool {
        let flags = match stuck {
            true => DMAPLANE_RING_NEED_WAKEUP | DMAPLANE_RING_NEED_ENTER,
            false => DMAPLANE_RING_NEED_WAKEUP,
        };
        let state = self.lock();
        self.change_flag(flags);
        Words::order();
        if !stuck {
            return self.memory.load_acquire(SQ_TAIL) == head;
        }
        state.room(self.memory.load_acquire(CQ_HEAD)).unwrap() == 0
    }

    /// Whether there is a place for a message to fill, which another thread may have reserved.
    pub(super) fn has_reserved(&self) -> bool {
        self.lock().reserved() > 0
    }

    /// A message arrives.
    pub(super) fn receive(&self, user_data: u64) {
        let mut state = self.lock();
        let cqe = dmaplane_cqe {
            user_data,
            ..Default::default()
        };
        self.fill(&mut state, &cqe);
        self.tell(state);
    }

    fn fill(&self, state: &mut Completions, cqe: &dmaplane_cqe) {
        let slot = state.push() as usize;
        // SAFETY: written before loom lets others go on.
        self.memory.cqes[slot].with_mut(|place| unsafe { *place = *cqe });
    }

    fn tell(&self, state: MutexGuard<'_, Completions>) {
        self.memory.store_release(CQ_TAIL, state.tail());
        let head = self.memory.load_acquire(CQ_HEAD);
        state.available(head).unwrap();
    }

    /// Completes an entry that nothing is told of; whether who waits is woken.
    pub(super) fn withdraw(&self) -> bool {
        let mut state = self.lock();
        state.release(1);
        self.flags.load(Ordering::Relaxed) & DMAPLANE_RING_NEED_ENTER != 0
    }

    pub(super) fn is_starved(&self) -> bool {
        Words::order();
        self.flags.load(Ordering::Relaxed) & DMAPLANE_RING_NEED_ENTER != 0
    }

    fn set_flag(&self, flag: u32) {
        let _locked = self.lock();
        self.change_flag(flag);
    }

    fn change_flag(&self, flag: u32) {
        let flags = self.flags.load(Ordering::Relaxed) | flag;
        self.flags.store(flags, Ordering::Relaxed);
        self.memory.store_release(FLAGS, flags);
    }
}
