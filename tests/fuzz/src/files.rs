// SPDX-License-Identifier: GPL-2.0
//! Descriptors: dma-bufs, of ours and of others, and what is made of a channel besides its rings, files, an eventfd.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::abi::{name, uapi::*, Argument, Cmd};
use crate::call::Outcome;
use crate::choice::{Call, Pick, Place, Where};
use crate::exec::{no_use, Worker};
use crate::memory::{errno, Map, PAGE};
use crate::world::{lock, Kind, Object};

/// `DMA_BUF_IOCTL_SYNC`, an `_IOW('b', 0, __u64)`.
const SYNC: libc::c_ulong = 0x4008_6200;

/// `UDMABUF_CREATE`, an `_IOW('u', 0x42, struct udmabuf_create)`.
const UDMABUF_CREATE: libc::c_ulong = 0x4018_7542;

/// `struct udmabuf_create`
#[repr(C)]
struct NewUdmabuf {
    memfd: u32,
    flags: u32,
    offset: u64,
    size: u64,
}

/// A dma-buf of a new file's pages, unless there is no memory, or no such driver.
fn udmabuf(len: usize) -> Option<OwnedFd> {
    let owned = |fd: i32| {
        // SAFETY: a new descriptor, if it is one.
        (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
    };
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: both read a string.
    let (device, memfd) = unsafe {
        (
            libc::open(c"/dev/udmabuf".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC),
            libc::memfd_create(c"fuzz".as_ptr(), flags),
        )
    };
    let (device, memfd) = (owned(device), owned(memfd));
    let (device, memfd) = (device?, memfd?);
    let fd = memfd.as_raw_fd();
    // SAFETY: they touch no memory.
    let ready = unsafe {
        libc::ftruncate(fd, len as i64) == 0
            && libc::fcntl(fd, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) == 0
    };
    let arg = NewUdmabuf { memfd: fd as u32, flags: 1, offset: 0, size: len as u64 };
    if !ready {
        return None;
    }
    // SAFETY: it points to one.
    owned(unsafe { libc::ioctl(device.as_raw_fd(), UDMABUF_CREATE, &raw const arg) })
}

impl Worker {
    /// A dma-buf: its size, mappings, SYNC, poll().
    pub fn export_buffer(&mut self, call: &Call, buffer: Pick, (first, pages): (u8, u8), how: u8) {
        let context = self.context(call.context);
        let handle = self.pick(&context, buffer, &[Kind::Buffer]);
        // Where nobody else writes: else a descriptor would be lost.
        if !matches!(call.place(), Place::Own | Place::ReadOnly | Place::Null) {
            return;
        }
        let bytes = |pages: u8| match pages {
            0..=127 => 0,
            128..=249 => u64::from(pages % 8) * PAGE as u64,
            more => u64::MAX << (more % 16),
        };
        let arg = dmaplane_buf_export {
            flags: if how & 1 == 0 { 0 } else { DMAPLANE_EXPORT_RDONLY },
            handle,
            offset: bytes(first),
            length: bytes(pages),
            ..Argument::sized()
        };
        let Outcome { result, arg, .. } =
            self.caller
                .call(&context, Cmd::BufExport, call, arg, |a| vec![(a.handle, &[Kind::Buffer])]);
        if result.is_err() {
            return;
        }
        // SAFETY: the command succeeded, so that it is a new descriptor.
        let file = unsafe { OwnedFd::from_raw_fd(arg.fd) };
        let fd = file.as_raw_fd();
        let known = lock(&context.objects).of(arg.handle).map(|object| object.length);
        self.caller.log.busy(true);
        // SAFETY: it touches no memory.
        let size = unsafe { libc::lseek(fd, 0, libc::SEEK_END) };
        let flags = if how & 2 == 0 { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
        let prot = if how & 4 == 0 { libc::PROT_READ } else { libc::PROT_READ | libc::PROT_WRITE };
        let map = Map::new(fd, 0, PAGE, prot, flags);
        let writable = map.is_ok() && prot & libc::PROT_WRITE != 0;
        if let Ok(map) = &map {
            let word = map.long(usize::from(how) * 8);
            let value = word.load(std::sync::atomic::Ordering::Relaxed);
            if writable {
                word.store(!value, std::sync::atomic::Ordering::Relaxed);
            }
        }
        for sync in [u64::from(how >> 4), u64::from(how >> 4) | 4] {
            // SAFETY: it points to a number.
            unsafe { libc::ioctl(fd, SYNC, &raw const sync) };
        }
        let mut poll = libc::pollfd { fd, events: libc::POLLIN | libc::POLLOUT, revents: 0 };
        // SAFETY: it points to one.
        let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
        self.caller.log.busy(false);
        let said = map.as_ref().map(drop).map_err(|e| name(*e));
        self.caller.log.say(format!("    a dma-buf of {size:#x} bytes, {said:?}"));
        let wanted = match arg.length {
            0 => known.map(|length| length.wrapping_sub(arg.offset)),
            length => Some(length),
        };
        if context.strict && wanted != u64::try_from(size).ok() {
            self.caller.violation(format!("{arg:?} has {size:#x} bytes, not {wanted:x?}"));
        }
        if ready != 1 {
            self.caller.violation("a dma-buf has fences".into());
        }
        if map.is_ok() && flags == libc::MAP_PRIVATE {
            self.caller.violation("a dma-buf can be mapped privately".into());
        }
        if writable && arg.flags & DMAPLANE_EXPORT_RDONLY != 0 {
            self.caller.violation("a read-only dma-buf can be mapped writable".into());
        }
        if let (Ok(map), true) = (map, how & 8 != 0) {
            self.keep(vec![map]);
        }
        // It is ours, and is known as that.
        let own = dmaplane_buf_import { fd, flags: u32::from(how & 1), ..Argument::sized() };
        match self.caller.plain(&context, Cmd::BufImport, own, no_use) {
            Err(libc::ELOOP) => {}
            other => self.caller.violation(format!("a dma-buf of ours, imported: {other:?}")),
        }
    }

    /// BUF_SHARE, and BUF_OPEN of that in a context: with rights that are there, or more, or none.
    pub fn share_buffer(&self, call: &Call, buffer: Pick, to: Where, rights: u8, how: u8) {
        let context = self.context(call.context);
        let handle = self.pick(&context, buffer, &[Kind::Buffer]);
        // Where nobody else writes: else a descriptor would be lost.
        if !matches!(call.place(), Place::Own | Place::ReadOnly | Place::Null) {
            return;
        }
        let (given, taken) = (u32::from(rights & 7), u32::from((rights >> 3) & 7));
        let arg = dmaplane_buf_share { handle, rights: given, ..Argument::sized() };
        let Outcome { result, arg, .. } =
            self.caller
                .call(&context, Cmd::BufShare, call, arg, |a| vec![(a.handle, &[Kind::Buffer])]);
        if result.is_err() {
            return;
        }
        // SAFETY: the command succeeded, so that it is a new descriptor.
        let file = unsafe { OwnedFd::from_raw_fd(arg.fd) };
        let to = self.context(to);
        if self.make_room(&to, Kind::Buffer) {
            return;
        }
        let fd = if how < 240 { file.as_raw_fd() } else { i32::from(how) - 245 };
        let open = dmaplane_buf_open { fd, rights: taken, ..Argument::sized() };
        match self.caller.plain(&to, Cmd::BufOpen, open, no_use) {
            Ok(made) => {
                if taken & !arg.rights != 0 || taken & DMAPLANE_SHARE_READ == 0 {
                    self.caller.violation(format!("{made:?} by {arg:?}"));
                }
                let object = Object {
                    length: made.length,
                    mmap_offset: made.mmap_offset,
                    ..Object::new(Kind::Buffer, made.handle)
                };
                self.add(&to, object);
            }
            Err(libc::EACCES) if how < 240 && taken & !arg.rights == 0 => {
                self.caller.violation(format!("{open:?} is refused by {arg:?}"));
            }
            Err(_) => {}
        }
    }

    /// BUF_IMPORT, of pages that nothing else is in. The buffer outlives the descriptor.
    pub fn import_buffer(&mut self, call: &Call, pages: u8, how: u8) {
        let context = self.context(call.context);
        if self.make_room(&context, Kind::Buffer) {
            return;
        }
        let own = match how >> 2 {
            0..=3 => None,
            _ => udmabuf((usize::from(pages % 64) + 1) * PAGE),
        };
        let fd = match (&own, how >> 2) {
            (Some(dmabuf), _) => dmabuf.as_raw_fd(),
            (None, 0) => -1,
            (None, 1) => context.fd(),
            (None, _) => i32::from(pages),
        };
        let arg = dmaplane_buf_import {
            fd,
            flags: if how & 1 == 0 { 0 } else { DMAPLANE_IMPORT_RDONLY },
            via: if how & 2 == 0 { 0 } else { DMAPLANE_VIA_VMAP },
            ..Argument::sized()
        };
        if call.place().is_contended() {
            return;
        }
        let Outcome { result, arg, .. } =
            self.caller.call(&context, Cmd::BufImport, call, arg, no_use);
        if result.is_ok() {
            if context.strict && arg.via != DMAPLANE_VIA_VMAP {
                self.caller.violation(format!("{arg:?} is reached in an unknown way"));
            }
            let object = Object { length: arg.length, ..Object::new(Kind::Buffer, arg.handle) };
            self.add(&context, object);
        }
    }

    /// A channel's file: ENTER without waiting, calls that make no sense, poll(), mmap().
    pub fn channel_file(&self, call: &Call, channel: Pick, offset: u64, whence: u8) {
        let context = self.context(call.context);
        let channel = self.pick(&context, channel, &[Kind::Channel]);
        // Where nobody else writes: else a descriptor would be lost.
        if !matches!(call.place(), Place::Own | Place::ReadOnly | Place::Null) {
            return;
        }
        let arg = dmaplane_channel_file { channel, ..Argument::sized() };
        let Outcome { result, arg, .. } =
            self.caller.call(&context, Cmd::ChannelFile, call, arg, |a| {
                vec![(a.channel, &[Kind::Channel])]
            });
        if result.is_err() {
            return;
        }
        // SAFETY: the command succeeded, so that it is a new descriptor.
        let file = unsafe { OwnedFd::from_raw_fd(arg.fd) };
        let fd = file.as_raw_fd();
        self.caller.log.busy(true);
        // What waits for completions, for nobody knows how long, is not called.
        let offset = if whence == 0 { offset | (1 << 40) } else { offset };
        // SAFETY: it touches no memory.
        let odd = unsafe { libc::lseek(fd, offset as i64, whence.into()) };
        let odd = if odd < 0 { errno() } else { 0 };
        // SAFETY: as above.
        let taken = u32::try_from(unsafe { libc::lseek(fd, 0, libc::SEEK_SET) });
        let result = taken.map_err(|_| errno());
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: it points to one.
        unsafe { libc::poll(&raw mut poll, 1, 0) };
        let flags = if whence & 1 == 0 { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let map = Map::new(fd, 0, PAGE, prot, flags).map(drop);
        self.caller.log.busy(false);
        self.caller.log.say(format!("    its file: {result:?}, {:#x}, {map:?}", poll.revents));
        if odd != libc::EINVAL {
            self.caller.violation(format!("lseek to {offset:#x}, {whence}: {}", name(odd)));
        }
        if let Err(errno) = result {
            if ![libc::EBUSY, libc::EBADFD, libc::ENOENT].contains(&errno) {
                self.caller.violation(format!("lseek failed with {}", name(errno)));
            }
        }
        if map.is_ok() && flags == libc::MAP_PRIVATE {
            self.caller.violation("a channel's file can be mapped privately".into());
        }
        let submitted = result.unwrap_or(0);
        let enter = dmaplane_channel_enter {
            channel: arg.channel,
            to_submit: u32::MAX,
            ..Argument::sized()
        };
        self.entered(&context, result.map(drop), submitted, enter);
    }

    /// An eventfd for a channel; how often it is signalled is not looked at.
    pub fn channel_eventfd(&self, call: &Call, channel: Pick, number: u8) {
        let context = self.context(call.context);
        let channel = self.pick(&context, channel, &[Kind::Channel]);
        // SAFETY: it touches no memory.
        let made = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        // SAFETY: it is a new descriptor.
        let event = (made >= 0).then(|| unsafe { OwnedFd::from_raw_fd(made) });
        let fd = match (number, &event) {
            (0..=159, Some(event)) => event.as_raw_fd(),
            (160..=199, _) => -1,
            _ => i32::from(number) - 220,
        };
        let arg = dmaplane_channel_eventfd { channel, fd, ..Argument::sized() };
        self.caller.call(&context, Cmd::ChannelEventfd, call, arg, |a| {
            vec![(a.channel, &[Kind::Channel])]
        });
    }
}
