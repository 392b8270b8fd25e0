// SPDX-License-Identifier: GPL-2.0
//! Descriptors: dma-bufs, and what is made of a channel besides its rings, files, an eventfd.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::abi::{name, uapi::*, Argument, Cmd};
use crate::call::Outcome;
use crate::choice::{Call, Pick, Place};
use crate::exec::Worker;
use crate::memory::{errno, Map, PAGE};
use crate::world::{lock, Kind};

/// `DMA_BUF_IOCTL_SYNC`, an `_IOW('b', 0, __u64)`.
const SYNC: libc::c_ulong = 0x4008_6200;

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
