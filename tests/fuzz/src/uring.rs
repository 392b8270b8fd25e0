// SPDX-License-Identifier: GPL-2.0
//! Entries by io_uring: submitted to channels' files, cancelled, left in flight when a file or a
//! ring is closed. Each that a ring took is completed there once.

use std::collections::HashSet;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::abi::{name, uapi::*, Argument, Cmd, Plain};
use crate::action::Entry;
use crate::choice::{Pick, Twist, Where};
use crate::entries::ENTRY_ERRNOS;
use crate::exec::Worker;
use crate::memory::{errno, Map};
use crate::world::Kind;

const RINGS: usize = 3;
const FILES: usize = 4;
const ENTRIES: u32 = 32;
/// Descriptors from here on are channels' files that io_uring is given.
const OWN_NUMBERS: i32 = 512;

/// What `<linux/io_uring.h>` has, as little as is needed.
mod io {
    pub const OP_ASYNC_CANCEL: u8 = 14;
    pub const OP_LINK_TIMEOUT: u8 = 15;
    pub const OP_URING_CMD: u8 = 46;
    pub const SETUP_SQPOLL: u32 = 1 << 1;
    pub const SETUP_SQE128: u32 = 1 << 10;
    pub const SETUP_CQE32: u32 = 1 << 11;
    pub const SETUP_SINGLE_ISSUER: u32 = 1 << 12;
    pub const SETUP_DEFER_TASKRUN: u32 = 1 << 13;
    pub const ENTER_GETEVENTS: u32 = 1 << 0;
    pub const ENTER_SQ_WAKEUP: u32 = 1 << 1;
    pub const SQE_DRAIN: u8 = 1 << 1;
    pub const SQE_LINK: u8 = 1 << 2;
    pub const SQE_ASYNC: u8 = 1 << 4;
    pub const CANCEL_ALL: u32 = 1 << 0;
    pub const CANCEL_ANY: u32 = 1 << 2;
    pub const OFF_SQES: u64 = 0x1000_0000;
    /// Of struct io_uring_params.
    pub const PARAMS: usize = 120;
    /// Where in an entry the command's is, of `SQE` bytes.
    pub const CMD: usize = 48;
    pub const SQE: usize = 128;
}

/// A ring, and what it has to complete.
pub struct Uring {
    fd: OwnedFd,
    rings: Map,
    sqes: Map,
    flags: u32,
    /// Where head, tail and mask of either side are, then the completions.
    sq: [usize; 3],
    cq: [usize; 4],
    cq_entries: usize,
    pending: HashSet<u64>,
}

/// What a thread has of io_uring; the rings are the first to go.
#[derive(Default)]
pub struct Urings {
    rings: Vec<Uring>,
    files: Vec<OwnedFd>,
}

impl Uring {
    fn new(flags: u32) -> Result<Self, i32> {
        let mut params = [0u32; io::PARAMS / 4];
        params[2] = flags;
        params[4] = 20; // sq_thread_idle
                        // SAFETY: the structure is as large as the kernel has it.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, ENTRIES, params.as_mut_ptr()) };
        if fd < 0 {
            return Err(errno());
        }
        // SAFETY: it is a new descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        let (sq_entries, cq_entries) = (params[0] as usize, params[1] as usize);
        let (sq_off, cq_off) = (&params[10..20], &params[20..30]);
        let at = |word: u32| word as usize;
        let array = at(sq_off[6]);
        let cqe = if flags & io::SETUP_CQE32 != 0 { 32 } else { 16 };
        let len = (array + sq_entries * 4).max(at(cq_off[5]) + cq_entries * cqe);
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let rings = Map::new(fd.as_raw_fd(), 0, len, prot, libc::MAP_SHARED)?;
        let len = sq_entries * io::SQE;
        let sqes = Map::new(fd.as_raw_fd(), io::OFF_SQES, len, prot, libc::MAP_SHARED)?;
        for n in 0..sq_entries {
            rings.word(array + 4 * n).store(n as u32, Ordering::Relaxed);
        }
        Ok(Self {
            fd,
            rings,
            sqes,
            flags,
            sq: [at(sq_off[0]), at(sq_off[1]), at(sq_off[2])],
            cq: [at(cq_off[0]), at(cq_off[1]), at(cq_off[2]), at(cq_off[5])],
            cq_entries,
            pending: HashSet::new(),
        })
    }

    fn sq(&self, which: usize) -> &AtomicU32 {
        self.rings.word(self.sq[which])
    }

    fn cq(&self, which: usize) -> &AtomicU32 {
        self.rings.word(self.cq[which])
    }

    /// Puts an entry into the ring; `false` if there is no room for it, or for its completion.
    fn push(&mut self, sqe: &[u8; io::SQE], user_data: u64) -> bool {
        let [head, tail, mask] = [0, 1, 2].map(|n| self.sq(n).load(Ordering::Acquire));
        if tail.wrapping_sub(head) > mask || self.pending.len() >= self.cq_entries {
            return false;
        }
        let mut sqe = *sqe;
        sqe[32..40].copy_from_slice(&user_data.to_ne_bytes());
        self.sqes.write((tail & mask) as usize * io::SQE, &sqe);
        self.sq(1).store(tail.wrapping_add(1), Ordering::Release);
        self.pending.insert(user_data);
        true
    }

    /// Has the kernel take what there is, and put completions into the ring.
    fn enter(&self) -> Result<(), i32> {
        let waiting =
            self.sq(1).load(Ordering::Relaxed).wrapping_sub(self.sq(0).load(Ordering::Acquire));
        let flags = match self.flags & io::SETUP_SQPOLL {
            0 => io::ENTER_GETEVENTS,
            _ => io::ENTER_GETEVENTS | io::ENTER_SQ_WAKEUP,
        };
        // SAFETY: no argument points anywhere.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.fd.as_raw_fd(),
                waiting,
                0,
                flags,
                std::ptr::null::<u8>(),
                0usize,
            )
        };
        if ret < 0 {
            Err(errno())
        } else {
            Ok(())
        }
    }

    /// Takes a completion: what it is of, and its res.
    fn next(&self) -> Option<(u64, i32)> {
        let head = self.cq(0).load(Ordering::Relaxed);
        if head == self.cq(1).load(Ordering::Acquire) {
            return None;
        }
        let size = if self.flags & io::SETUP_CQE32 != 0 { 32 } else { 16 };
        let at = (head & self.cq(2).load(Ordering::Relaxed)) as usize * size;
        let (mut data, mut res) = ([0; 8], [0; 4]);
        self.rings.read(self.cq[3] + at, &mut data);
        self.rings.read(self.cq[3] + at + 8, &mut res);
        self.cq(0).store(head.wrapping_add(1), Ordering::Release);
        Some((u64::from_ne_bytes(data), i32::from_ne_bytes(res)))
    }
}

/// An entry of io_uring with one of ours.
fn command(file: RawFd, sqe: &dmaplane_sqe, twist: Twist, flags: u8) -> [u8; io::SQE] {
    let mut all = [0; io::SQE];
    all[0] = io::OP_URING_CMD;
    all[1] = flags;
    all[4..8].copy_from_slice(&file.to_ne_bytes());
    all[8..12].copy_from_slice(&DMAPLANE_URING_CMD_SUBMIT.to_ne_bytes());
    all[io::CMD..io::CMD + size_of::<dmaplane_sqe>()].copy_from_slice(&sqe.bytes());
    // Anything but the file, and what it is known by.
    match sqe.user_data % 2 {
        0 => twist.apply(&mut all[8..32], 0),
        _ => twist.apply(&mut all[io::CMD + 16..], 0),
    }
    all
}

impl Worker {
    /// The ring of that number, made if there is none; `None` if it cannot be.
    fn uring(&mut self, ring: u8) -> Option<usize> {
        let index = usize::from(ring) % RINGS;
        while self.urings.rings.len() <= index {
            let flags = match (ring >> 4) % 5 {
                0 => 0,
                1 => io::SETUP_CQE32,
                2 => io::SETUP_SQPOLL,
                3 => io::SETUP_SINGLE_ISSUER | io::SETUP_DEFER_TASKRUN,
                _ => io::SETUP_SINGLE_ISSUER | io::SETUP_DEFER_TASKRUN | io::SETUP_CQE32,
            };
            match Uring::new(flags | io::SETUP_SQE128) {
                Ok(made) => self.urings.rings.push(made),
                Err(e) => {
                    // There is little memory, now and then.
                    self.caller.log.say(format!("io_uring_setup: {}", name(e)));
                    return None;
                }
            }
        }
        Some(index)
    }

    /// A new file of a channel, among those that are open.
    fn uring_file(&mut self, context: Where, channel: Pick) -> Option<RawFd> {
        let context = self.context(context);
        let channel = self.pick(&context, channel, &[Kind::Channel]);
        let arg = dmaplane_channel_file { channel, ..Argument::sized() };
        let made = self
            .caller
            .plain(&context, Cmd::ChannelFile, arg, |a| vec![(a.channel, &[Kind::Channel])]);
        // SAFETY: the command succeeded, so that it is a new descriptor.
        let file = made.ok().map(|arg| unsafe { OwnedFd::from_raw_fd(arg.fd) })?;
        // An entry that a ring takes late goes to whatever has the number then: not to a file of
        // a context that counts.
        // SAFETY: it touches no memory.
        let fd = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, OWN_NUMBERS) };
        if fd < 0 {
            return None;
        }
        // SAFETY: as above.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        self.urings.files.truncate(FILES - 1);
        self.urings.files.insert(0, file);
        // It is not known any more how many entries the context takes, nor when.
        context.polled.store(true, Ordering::Relaxed);
        Some(fd)
    }

    pub fn uring_submit(
        &mut self,
        context: Where,
        channel: Pick,
        (ring, how): (u8, u8),
        count: u8,
        entry: Entry,
    ) {
        let (Some(index), Some(file)) = (self.uring(ring), self.uring_file(context, channel))
        else {
            return;
        };
        let context = self.context(context);
        for number in 0..=count % 12 {
            let sqe = self.entry(&context, &entry, number);
            // Those that it has not are refused.
            let allowed = DMAPLANE_SQE_FENCE | DMAPLANE_SQE_SEGMENTS | DMAPLANE_SQE_PAGES;
            let keep = if how < 240 { allowed as u8 } else { u8::MAX };
            let user_data = sqe.user_data;
            let sqe = dmaplane_sqe { flags: sqe.flags & keep, ..sqe };
            let flags = match how % 16 {
                0 => io::SQE_ASYNC,
                1 => io::SQE_LINK,
                2 if number % 4 == 3 => io::SQE_DRAIN,
                _ => 0,
            };
            let bytes = command(file, &sqe, entry.twist, flags);
            if !self.urings.rings[index].push(&bytes, user_data) {
                break;
            }
            if how % 16 == 1 && number % 3 == 2 {
                self.uring_timeout(index);
            }
        }
        self.uring_enter(index);
        if how & 16 != 0 {
            // What is under way has it open.
            self.urings.files.remove(0);
        }
        self.uring_reap(index);
    }

    /// A time that what is before it in a chain has.
    fn uring_timeout(&mut self, index: usize) {
        // Read when it is taken, by a thread of the kernel's perhaps.
        static TIME: [i64; 2] = [0, 2_000_000];
        self.next_data += 1;
        let mut sqe = [0; io::SQE];
        sqe[0] = io::OP_LINK_TIMEOUT;
        sqe[16..24].copy_from_slice(&(TIME.as_ptr() as u64).to_ne_bytes());
        sqe[24] = 1;
        self.urings.rings[index].push(&sqe, self.next_data);
    }

    fn uring_enter(&self, index: usize) {
        self.caller.log.busy(true);
        let result = self.urings.rings[index].enter();
        self.caller.log.busy(false);
        self.caller.log.say(format!("io_uring {index}: {result:?}"));
        match result {
            Ok(()) | Err(libc::EINTR | libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => {}
            Err(e) => self.caller.violation(format!("io_uring_enter: {}", name(e))),
        }
    }

    /// Takes the completions that there are, each of which must be of an entry that has had none.
    fn uring_reap(&mut self, index: usize) {
        let Some(ring) = self.urings.rings.get_mut(index) else {
            return;
        };
        while let Some((user_data, res)) = ring.next() {
            self.caller.log.say(format!("    {user_data:#x} by io_uring: {res}"));
            // Of io_uring itself: a timeout, and a signal while it began.
            let own = [libc::ETIME, libc::EINTR, libc::EFAULT];
            let reason = res >= 0 || ENTRY_ERRNOS.contains(&-res) || own.contains(&-res);
            if !ring.pending.remove(&user_data) || !reason {
                self.caller.violation(format!(
                    "a completion of io_uring is wrong, or was there before: {user_data:#x}, {res}"
                ));
            }
        }
    }

    /// Something that ends entries, or takes note of their end.
    pub fn uring_end(&mut self, ring: u8, how: u8, which: u8) {
        let count = self.urings.rings.len();
        if count == 0 {
            return;
        }
        let index = usize::from(ring) % count;
        match how % 8 {
            0..=2 => self.uring_enter(index),
            3 | 4 => {
                // One of the last ones, or all.
                let all = which % 4 == 0;
                let target = self.next_data.saturating_sub(u64::from(which % 16));
                self.next_data += 1;
                let mut sqe = [0; io::SQE];
                sqe[0] = io::OP_ASYNC_CANCEL;
                sqe[16..24].copy_from_slice(&target.to_ne_bytes());
                let flags = if all { io::CANCEL_ALL | io::CANCEL_ANY } else { 0 };
                sqe[28..32].copy_from_slice(&flags.to_ne_bytes());
                self.urings.rings[index].push(&sqe, self.next_data);
                self.uring_enter(index);
            }
            5 if !self.urings.files.is_empty() => {
                let file = usize::from(which) % self.urings.files.len();
                self.urings.files.remove(file);
            }
            6 => {
                self.caller.log.say(format!("closes io_uring {index}"));
                self.caller.log.busy(true);
                drop(self.urings.rings.remove(index));
                self.caller.log.busy(false);
                return;
            }
            _ => {}
        }
        self.uring_reap(index);
    }

    /// An entry that must succeed, in the way of each ring.
    pub fn uring_tour(&mut self, channel: Pick) {
        for kind in 0..5 {
            let Some(index) = self.uring(kind << 4) else {
                return self.caller.violation("there is no io_uring".into());
            };
            let Some(file) = self.uring_file(Where(0), channel) else {
                return self.caller.violation("there is no file for io_uring".into());
            };
            self.next_data += 1;
            let user_data = self.next_data;
            let nop = dmaplane_sqe { opcode: DMAPLANE_OP_NOP as u8, ..Default::default() };
            let bytes = command(file, &nop, Twist::NONE, 0);
            self.urings.rings[index].push(&bytes, user_data);
            let end = Instant::now() + Duration::from_secs(5) * self.shared().slow;
            let done = loop {
                self.uring_enter(index);
                if let Some(done) = self.urings.rings[index].next() {
                    break Some(done);
                }
                if Instant::now() > end {
                    break None;
                }
                std::thread::sleep(Duration::from_millis(1));
            };
            if done != Some((user_data, 0)) {
                self.caller.violation(format!("a NOP by io_uring ({kind}) is {done:?}"));
            }
            self.urings = Urings::default();
        }
    }
}
