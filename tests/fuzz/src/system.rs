// SPDX-License-Identifier: GPL-2.0
//! System calls other than the commands: mappings, poll, fork, closing.

use std::sync::atomic::Ordering;

use crate::abi::{name, Cmd, MMAP_ERRNOS};
use crate::action::MapOp;
use crate::choice::{Pick, Wait, Where};
use crate::exec::Worker;
use crate::memory::{errno, Map, PAGE};
use crate::world::{lock, Context, Kind};

const MAX_CHILDREN: usize = 8;

impl Worker {
    pub fn map(
        &mut self,
        context: Where,
        object: Pick,
        (first, pages): (u8, u8),
        mode: u8,
        ops: &[MapOp],
        keep: bool,
    ) {
        let context = self.context(context);
        let handle = self.pick(&context, object, &[Kind::Buffer, Kind::Channel]);
        let known = lock(&context.objects).of(handle).cloned();
        let first = if first < 200 { 0 } else { u64::from(first % 64) } * PAGE as u64;
        let len = match pages {
            0..=239 => usize::from(pages % 4 + 1) * PAGE,
            more => usize::from(more) * 64 * PAGE,
        };
        let prot = if mode & 3 == 0 { libc::PROT_READ } else { libc::PROT_READ | libc::PROT_WRITE };
        let shared = mode & 0x1c != 0;
        let mut flags = if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
        if mode & 0x60 == 0x60 {
            flags |= libc::MAP_POPULATE;
        }
        if mode & 0x60 == 0x20 {
            flags |= libc::MAP_NORESERVE;
        }
        // What has none cannot be mapped, which is tried.
        let known_offset = known.as_ref().map(|object| object.mmap_offset).filter(|at| *at != 0);
        let offset = known_offset.unwrap_or(u64::from(handle) << 31) + first;
        self.caller.log.busy(true);
        let made = Map::new(context.fd(), offset, len, prot, flags);
        self.caller.log.busy(false);
        let said = made.as_ref().map(Map::len).map_err(|e| name(*e));
        self.caller
            .log
            .say(format!("mmap of {handle:#x} at {offset:#x}, {len:#x} bytes = {said:?}"));
        let map = match made {
            Ok(map) => map,
            Err(e) => {
                let buffer =
                    known.as_ref().filter(|object| object.kind == Kind::Buffer && context.strict);
                let fits = buffer.is_some_and(|object| {
                    known_offset.is_some() && first + len as u64 <= object.length
                });
                if !MMAP_ERRNOS.contains(&e) || fits && shared && e != libc::ENOMEM {
                    self.caller.violation(format!("mmap of {handle:#x} failed: {}", name(e)));
                }
                return;
            }
        };
        if !shared {
            self.caller.violation(format!("{handle:#x} can be mapped privately"));
        }
        if let Some(ring) = known.and_then(|object| object.ring) {
            ring.vandalised.store(true, Ordering::Relaxed);
        }
        let mut left = vec![map];
        for op in ops {
            left = left.into_iter().flat_map(|map| self.map_op(map, *op)).collect();
        }
        if keep {
            self.keep(left);
        }
    }

    /// For a while.
    pub fn keep(&mut self, maps: Vec<Map>) {
        self.kept.extend(maps);
        let extra = self.kept.len().saturating_sub(8);
        self.kept.drain(..extra);
    }

    fn map_op(&self, map: Map, op: MapOp) -> Vec<Map> {
        let pages = map.len().div_ceil(PAGE);
        let at = |n: u8| map.start() + usize::from(n) % pages * PAGE;
        let start = map.start() as *mut libc::c_void;
        self.caller.log.busy(true);
        let left = match op {
            MapOp::Load(page) => {
                self.probe.load(at(page), PAGE);
                vec![map]
            }
            MapOp::Store(page, value) => {
                self.probe.store(at(page), PAGE, value);
                vec![map]
            }
            MapOp::Protect(how) => {
                let prot = i32::from(how % 8);
                // SAFETY: the range is ours; accesses to it go through the kernel.
                unsafe { libc::mprotect(start, map.len(), prot) };
                vec![map]
            }
            MapOp::Advise(how) => {
                let advice = [
                    libc::MADV_DONTNEED,
                    libc::MADV_DONTFORK,
                    libc::MADV_DOFORK,
                    libc::MADV_WILLNEED,
                    libc::MADV_COLD,
                    libc::MADV_PAGEOUT,
                    libc::MADV_REMOVE,
                    libc::MADV_HUGEPAGE,
                    libc::MADV_MERGEABLE,
                ];
                // SAFETY: as above.
                unsafe { libc::madvise(start, map.len(), advice[usize::from(how) % advice.len()]) };
                vec![map]
            }
            MapOp::Unmap(first, count) => map.unmap(usize::from(first % 4), usize::from(count % 3)),
            MapOp::Resize(pages) => vec![map.resize(usize::from(pages % 8 + 1) * PAGE)],
            MapOp::Lock => {
                // SAFETY: as above.
                unsafe { libc::mlock(start, map.len()) };
                vec![map]
            }
            MapOp::Sync => {
                // SAFETY: as above.
                unsafe { libc::msync(start, map.len(), libc::MS_SYNC) };
                vec![map]
            }
        };
        self.caller.log.busy(false);
        left
    }

    pub fn poll(&self, context: Where, how: u8, wait: Wait) {
        let context = self.context(context);
        // A clean ring with completions, if there is one.
        let ready = lock(&context.objects).live.iter().any(|object| {
            object.ring.as_ref().is_some_and(|ring| {
                let tail = std::mem::offset_of!(crate::abi::uapi::dmaplane_ring, cq_tail);
                !ring.vandalised.load(Ordering::Relaxed)
                    && ring.map.word(tail).load(Ordering::Acquire) != lock(&ring.model).reaped
            })
        });
        let timeout = (wait.ns().min(100_000_000) / 1_000_000) as i32;
        let events = if how % 8 == 7 { libc::POLLOUT } else { libc::POLLIN };
        if how >= 192 {
            return self.epoll(&context, timeout);
        }
        let mut fds = libc::pollfd { fd: context.fd(), events, revents: 0 };
        self.caller.log.busy(true);
        // SAFETY: one entry.
        let ret = unsafe { libc::poll(&mut fds, 1, timeout) };
        self.caller.log.busy(false);
        self.caller.log.say(format!("poll {events:#x} = {ret}, {:#x}", fds.revents));
        let readable = fds.revents & libc::POLLIN != 0;
        if context.strict && ret >= 0 && events == libc::POLLIN && ready && !readable {
            self.caller.violation(format!("poll does not see completions: {:#x}", fds.revents));
        }
    }

    fn epoll(&self, context: &Context, timeout: i32) {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
        self.caller.log.busy(true);
        // SAFETY: the structures are ours; the descriptor is closed here and nobody else's.
        unsafe {
            let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, context.fd(), &mut event);
            libc::epoll_wait(epoll, &mut event, 1, timeout);
            libc::close(epoll);
        }
        self.caller.log.busy(false);
    }

    /// Commands that there are not; calls that the device does not have.
    pub fn foreign(&self, context: Where, how: u8, number: u8, value: u64) {
        let context = self.context(context);
        let fd = context.fd();
        let ours = u64::from(crate::abi::uapi::DMAPLANE_IOC_MAGIC) << 8;
        let number = u64::from(number);
        match how % 8 {
            0..=3 => {
                // A direction, a size or a number that no command has.
                let wrong = match how % 4 {
                    0 => ours | number | ((1 + value % 3) << 30),
                    1 => ours | number | ((1 + value % 0x3fff) << 16),
                    2 => (ours ^ ((1 + value % 255) << 8)) | 0x80 | number,
                    _ => ours | number,
                };
                // Others than ours may mean something to the kernel.
                let exists = Cmd::ALL.iter().any(|cmd| u64::from(cmd.number()) == wrong);
                if exists || how % 4 == 2 && (wrong >> 8) & 0xff < 0xa0 {
                    return;
                }
                let result = self.caller.raw(fd, wrong, 0);
                self.caller.log.say(format!("ioctl {wrong:#x} = {result:?}"));
                if result != Err(libc::ENOTTY) {
                    self.caller.violation(format!("ioctl {wrong:#x} is {result:?}"));
                }
            }
            4 => {
                let scratch = [0u8; 64];
                // SAFETY: the buffer is ours and constant.
                let n = unsafe { libc::write(fd, scratch.as_ptr().cast(), scratch.len()) };
                if n >= 0 {
                    self.caller.violation(format!("write() is {n}"));
                }
            }
            5 => {
                let mut scratch = [0u8; 64];
                // SAFETY: the buffer is ours.
                let n = unsafe { libc::read(fd, scratch.as_mut_ptr().cast(), scratch.len()) };
                if n >= 0 {
                    self.caller.violation(format!("read() is {n}"));
                }
            }
            6 => {
                // SAFETY: plain calls.
                unsafe {
                    libc::lseek64(fd, value as i64, libc::SEEK_SET);
                    libc::fcntl(fd, libc::F_SETFL, (value as i32) & libc::O_NONBLOCK);
                    libc::fsync(fd);
                    libc::ftruncate(fd, 4096);
                }
            }
            _ => {
                let mut duplicates = lock(&context.duplicates);
                if duplicates.len() >= 4 {
                    duplicates.clear();
                } else {
                    duplicates.extend(context.duplicate());
                }
            }
        }
    }

    /// A child with all that we have, for a moment.
    pub fn fork(&self, context: Where, how: u8) {
        let context = self.context(context);
        let mut children = lock(&self.shared().children);
        if children.len() >= MAX_CHILDREN {
            return;
        }
        let fd = context.fd();
        let maps: Vec<_> = self.kept.iter().map(|map| (map.start(), map.len())).collect();
        let stats = u64::from(Cmd::Stats.number());
        let mut arg = [0u32; 16];
        arg[0] = size_of::<crate::abi::uapi::dmaplane_stats>() as u32;
        self.caller.log.say(format!("fork {how}"));
        // SAFETY: the child makes system calls only, on its own copies, and never returns.
        unsafe {
            let pid = libc::fork();
            if pid == 0 {
                libc::alarm(3);
                match how % 8 {
                    0 => {}
                    1 => drop(libc::usleep(20_000)),
                    2 => drop(libc::ioctl(fd, stats, arg.as_mut_ptr())),
                    3 => {
                        for (start, len) in &maps {
                            libc::munmap(*start as *mut _, *len);
                        }
                        libc::usleep(5_000);
                    }
                    4 => drop(libc::close(fd)),
                    5 => {
                        let args = [c"true".as_ptr(), std::ptr::null()];
                        libc::execve(c"/bin/true".as_ptr(), args.as_ptr(), args[1..].as_ptr());
                    }
                    6 => {
                        libc::usleep(2_000);
                        libc::kill(libc::getpid(), libc::SIGKILL);
                    }
                    _ => {
                        let mut fds = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
                        libc::poll(&mut fds, 1, 10);
                    }
                }
                libc::_exit(0);
            }
            if pid > 0 {
                children.push(pid);
            } else {
                self.caller.log.say(format!("fork: {}", name(errno())));
            }
        }
    }

    pub fn renew(&mut self, context: Where, how: u8) {
        let Some(number) = context.shared() else {
            if how % 4 != 0 {
                self.drain(&self.own);
            }
            // What came by io_uring keeps a context, and ends with its ring.
            if how % 8 < 4 {
                self.urings = Default::default();
            }
            // Sometimes first with a thread that is late.
            let late = (how % 4 == 1).then(|| self.own.duplicate());
            match Context::open(true) {
                Ok(new) => self.own = new,
                Err(e) => self.caller.violation(format!("open: {e}")),
            }
            drop(late);
            return;
        };
        match Context::open(false) {
            Ok(new) => {
                let all = &self.shared().contexts;
                // The lock is not held while the old one is closed.
                let old = std::mem::replace(&mut *lock(&all[number % all.len()]), new);
                self.caller.log.say(format!("closes a shared context, fd {}", old.fd()));
                self.caller.log.busy(true);
                drop(old);
                self.caller.log.busy(false);
            }
            Err(e) => self.caller.violation(format!("open: {e}")),
        }
    }

    /// Changes arguments of others.
    pub fn scribble(&self, at: u8, value: u64, times: u8) {
        let arena = self.shared().arena.writable();
        for n in 0..=usize::from(times) * 8 {
            let word = arena.word((usize::from(at) * 4 + n % 32 * 4) % PAGE);
            // The members and what they were, in turns.
            match n % 4 {
                0 => word.store(value as u32, Ordering::Relaxed),
                1 => drop(word.fetch_xor(value as u32, Ordering::Relaxed)),
                2 => word.store((value >> 32) as u32, Ordering::Relaxed),
                _ => drop(word.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }
}
