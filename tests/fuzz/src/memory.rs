// SPDX-License-Identifier: GPL-2.0
//! Memory that arguments are put in, and mappings. What a mapping holds may be
//! changed by other threads, by the module and by RDMA at any time, so it is
//! never borrowed; where an access may fault, the kernel is asked to do it.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicU8, Ordering};

pub const PAGE: usize = 4096;

/// The errno of the last call.
pub fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// A mapping, undone when dropped.
#[derive(Debug)]
pub struct Map {
    start: usize,
    len: usize,
}

impl Map {
    /// mmap(); where the kernel likes.
    pub fn new(fd: RawFd, offset: u64, len: usize, prot: i32, flags: i32) -> Result<Self, i32> {
        // SAFETY: a new mapping at an address that the kernel chooses touches no other.
        let start =
            unsafe { libc::mmap64(std::ptr::null_mut(), len, prot, flags, fd, offset as i64) };
        match start {
            libc::MAP_FAILED => Err(errno()),
            start => Ok(Self { start: start as usize, len }),
        }
    }

    pub fn start(&self) -> usize {
        self.start
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Copies out, with loads that may race.
    pub fn read(&self, offset: usize, to: &mut [u8]) {
        assert!(offset + to.len() <= self.len);
        for (at, byte) in to.iter_mut().enumerate() {
            // SAFETY: inside the mapping, which this user of it keeps whole.
            let from = unsafe { &*((self.start + offset + at) as *const AtomicU8) };
            *byte = from.load(Ordering::Relaxed);
        }
    }

    /// Copies in, with stores that may race.
    pub fn write(&self, offset: usize, from: &[u8]) {
        assert!(offset + from.len() <= self.len);
        for (at, byte) in from.iter().enumerate() {
            // SAFETY: inside the mapping, which this user of it keeps whole and writable.
            let to = unsafe { &*((self.start + offset + at) as *const AtomicU8) };
            to.store(*byte, Ordering::Relaxed);
        }
    }

    /// Unmaps a part, in pages; what is left.
    pub fn unmap(self, first: usize, count: usize) -> Vec<Map> {
        let pages = self.len.div_ceil(PAGE);
        let first = first.min(pages);
        let end = (first + count).min(pages);
        let left = [(0, first), (end, pages)]
            .map(|(from, to)| Map { start: self.start + from * PAGE, len: (to - from) * PAGE });
        if first < end {
            // SAFETY: a part of the range, which is ours; nothing is borrowed from it.
            let ret = unsafe {
                libc::munmap((self.start + first * PAGE) as *mut _, (end - first) * PAGE)
            };
            assert_eq!(ret, 0, "munmap: {}", errno());
        }
        std::mem::forget(self);
        let (full, empty): (Vec<_>, Vec<_>) = left.into_iter().partition(|map| map.len > 0);
        empty.into_iter().for_each(std::mem::forget);
        full
    }

    /// Moves and resizes it, if the kernel lets it be.
    pub fn resize(self, len: usize) -> Map {
        // SAFETY: the range is ours; nothing is borrowed from it.
        let start = unsafe {
            libc::mremap(self.start as *mut _, self.len, len.max(PAGE), libc::MREMAP_MAYMOVE)
        };
        if start == libc::MAP_FAILED {
            return self;
        }
        std::mem::forget(self);
        Map { start: start as usize, len: len.max(PAGE) }
    }

    /// An aligned word of it.
    pub fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset % 4 == 0 && offset + 4 <= self.len);
        // SAFETY: aligned, inside the mapping, which lives as long as the result.
        unsafe { &*((self.start + offset) as *const AtomicU32) }
    }

    /// An aligned word of 64 bits.
    pub fn long(&self, offset: usize) -> &AtomicU64 {
        assert!(offset % 8 == 0 && offset + 8 <= self.len);
        // SAFETY: as above.
        unsafe { &*((self.start + offset) as *const AtomicU64) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the range is ours, and nothing is borrowed from it.
        unsafe { libc::munmap(self.start as *mut _, self.len) };
    }
}

/// An anonymous file.
fn memfd(len: usize) -> OwnedFd {
    // SAFETY: the name is a C string.
    let fd = unsafe { libc::memfd_create(c"fuzz".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0, "memfd_create: {}", errno());
    // SAFETY: it is new and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: plain call.
    assert_eq!(unsafe { libc::ftruncate(fd.as_raw_fd(), len as i64) }, 0);
    fd
}

/// Where arguments are put: two pages that can be written, the same two that can
/// only be read, and a page after each that is not there.
pub struct Scratch {
    rw: Map,
    ro: Map,
}

impl Scratch {
    pub const SIZE: usize = 2 * PAGE;

    pub fn new() -> Self {
        let file = memfd(Self::SIZE);
        let map = |prot| {
            // Beyond the file's end an access is a bus error, which a system call sees as EFAULT.
            let len = Self::SIZE + PAGE;
            Map::new(file.as_raw_fd(), 0, len, prot, libc::MAP_SHARED).expect("no memory")
        };
        Self { rw: map(libc::PROT_READ | libc::PROT_WRITE), ro: map(libc::PROT_READ) }
    }

    pub fn writable(&self) -> &Map {
        &self.rw
    }

    pub fn read_only(&self) -> usize {
        self.ro.start()
    }
}

/// A pipe through which the kernel reads and writes memory that may not be there.
pub struct Probe {
    from: OwnedFd,
    to: OwnedFd,
}

impl Probe {
    pub fn new() -> Self {
        let mut fds = [0; 2];
        // SAFETY: room for two.
        let ret = unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) };
        assert_eq!(ret, 0, "pipe: {}", errno());
        // SAFETY: both are new and nobody else's.
        unsafe { Self { from: OwnedFd::from_raw_fd(fds[0]), to: OwnedFd::from_raw_fd(fds[1]) } }
    }

    /// Reads memory; true if all of it was there.
    pub fn load(&self, address: usize, len: usize) -> bool {
        let len = len.min(PAGE);
        let mut sink = [0u8; PAGE];
        // SAFETY: the kernel only reads there, and fails if it cannot.
        let n = unsafe { libc::write(self.to.as_raw_fd(), address as *const _, len) };
        if n > 0 {
            // SAFETY: room for that much.
            unsafe { libc::read(self.from.as_raw_fd(), sink.as_mut_ptr().cast(), n as usize) };
        }
        n == len as isize
    }

    /// Writes `value` to memory of a mapping that only racing accesses touch.
    pub fn store(&self, address: usize, len: usize, value: u8) -> bool {
        let len = len.min(PAGE);
        let source = [value; PAGE];
        // SAFETY: `len` is within the array.
        let n = unsafe { libc::write(self.to.as_raw_fd(), source.as_ptr().cast(), len) };
        assert_eq!(n, len as isize);
        // SAFETY: the address lies in a mapping of the caller's that nothing is borrowed from.
        let n = unsafe { libc::read(self.from.as_raw_fd(), address as *mut _, len) };
        if n != len as isize {
            let mut sink = [0u8; PAGE];
            // SAFETY: room for that much; empties the pipe.
            unsafe { libc::read(self.from.as_raw_fd(), sink.as_mut_ptr().cast(), PAGE) };
        }
        n == len as isize
    }
}
