// SPDX-License-Identifier: GPL-2.0
//! One command, and what must hold whatever it was: an errno that the header
//! names, nothing changed by a failure, the rules of sizes and of handles.

use std::os::fd::RawFd;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use libc::{E2BIG, EBADF, EFAULT, EINVAL, ENOENT};

use crate::abi::{name, Argument, Cmd};
use crate::choice::{Call, Place, Size};
use crate::memory::{errno, Map, Scratch, PAGE};
use crate::world::{lock, Context, Kind, Log, Shared};

/// A handle in an argument, and what it may be.
pub type Use = (u32, &'static [Kind]);

/// Makes calls for one thread.
pub struct Caller {
    pub shared: Arc<Shared>,
    pub log: Arc<Log>,
    scratch: Scratch,
}

/// What came of a call: the argument as the kernel saw and left it.
pub struct Outcome<T> {
    pub result: Result<(), i32>,
    /// What it returned.
    pub count: u32,
    pub arg: T,
}

impl Caller {
    pub fn new(shared: &Arc<Shared>, name: String) -> Self {
        Self { shared: shared.clone(), log: shared.log(name), scratch: Scratch::new() }
    }

    pub fn violation(&self, what: String) {
        self.shared.violation(&self.log, what);
    }

    /// ioctl() with anything: what it returned, or the errno.
    pub fn raw(&self, fd: RawFd, number: u64, argument: usize) -> Result<u32, i32> {
        self.log.busy(true);
        // SAFETY: the kernel checks the address; what may be written there is nobody's borrow:
        // scratch memory or a mapping, both only accessed by racing loads and stores.
        let ret = unsafe { libc::ioctl(fd, number, argument) };
        let result = u32::try_from(ret).map_err(|_| errno());
        self.log.busy(false);
        result
    }

    /// A command as it should be called, which must hold to the rules.
    pub fn plain<T: Argument>(
        &self,
        context: &Context,
        cmd: Cmd,
        arg: T,
        uses: fn(&T) -> Vec<Use>,
    ) -> Result<T, i32> {
        let call = Call::plain(crate::choice::Where(0));
        let outcome = self.call(context, cmd, &call, arg, uses);
        outcome.result.map(|()| outcome.arg)
    }

    /// A command, called in the way that `call` says.
    pub fn call<T: Argument>(
        &self,
        context: &Context,
        cmd: Cmd,
        call: &Call,
        arg: T,
        uses: fn(&T) -> Vec<Use>,
    ) -> Outcome<T> {
        let known = size_of::<T>();
        let mut bytes = arg.bytes();
        call.twist.apply(&mut bytes, 4);
        let size = call.size();
        resize(&mut bytes, size, call.extra);
        let mut place = call.place();
        // Only where nothing is expected may others write to the argument.
        if place == Place::Contended && context.strict {
            place = Place::Own;
        }
        let (address, map) = self.put(context, place, call.extra, &bytes);
        let before = lock_handles::<T>(context, &bytes, known, uses);

        let returned = self.raw(context.fd(), u64::from(cmd.number()), address);
        let count = returned.unwrap_or(0);
        let result = returned.map(drop);
        if count > 0 && !matches!(cmd, Cmd::ChannelEnter) {
            self.violation(format!("{cmd:?} returned {count}"));
        }

        let mut after = bytes.clone();
        if let Some((map, offset)) = map {
            map.read(offset, &mut after);
        }
        self.check(cmd, size, place, result, &bytes, &after);
        let mut padded = after;
        padded.resize(padded.len().max(known), 0);
        let left = T::from_bytes(&padded);
        let how = match (size, place) {
            (Size::Exact, Place::Own) => String::new(),
            _ => format!(" ({size:?}, {place:?})"),
        };
        let who = if context.strict { "own" } else { "shared" };
        let result_name = result.map_or_else(name, |()| "ok".into());
        self.log.say(format!("{who} {cmd:?}{how} {left:?} = {result_name}"));
        if context.strict {
            self.check_handles(cmd, result, &before);
        }
        let counts = if result.is_ok() { &self.shared.successes } else { &self.shared.failures };
        counts[cmd as usize].fetch_add(1, Ordering::Relaxed);
        Outcome { result, count, arg: left }
    }

    /// Puts an argument somewhere; where it can be read back, if it can.
    fn put(
        &self,
        context: &Context,
        place: Place,
        extra: u8,
        bytes: &[u8],
    ) -> (usize, Option<(&Map, usize)>) {
        let own = self.scratch.writable();
        let offset = usize::from(extra % 64) * 8;
        match place {
            Place::Own => {
                own.write(offset, bytes);
                (own.start() + offset, Some((own, offset)))
            }
            Place::ReadOnly => {
                own.write(offset, bytes);
                (self.scratch.read_only() + offset, Some((own, offset)))
            }
            Place::Straddling => {
                let there = usize::from(extra) % bytes.len().max(1);
                let start = Scratch::SIZE - there;
                own.write(start, &bytes[..there]);
                (own.start() + start, None)
            }
            Place::Null => (0, None),
            Place::Kernel => (0xffff_8880_0000_1000, None),
            Place::NonCanonical => (0x8000_dead_0000_0000, None),
            Place::Unmapped => (own.start() + Scratch::SIZE, None),
            Place::Contended => {
                let arena = self.shared.arena.writable();
                arena.write(offset, bytes);
                (arena.start() + offset, None)
            }
            Place::Ring => {
                let ring = lock(&context.objects).live.iter().find_map(|o| o.ring.clone());
                match ring.filter(|ring| !context.strict && ring.map.len() >= 2 * PAGE) {
                    // The rings of a channel that others submit to.
                    Some(ring) => {
                        let offset = ring.map.len() - PAGE;
                        ring.map.write(offset, &bytes[..bytes.len().min(PAGE)]);
                        (ring.map.start() + offset, None)
                    }
                    None => (own.start() + Scratch::SIZE, None),
                }
            }
        }
    }

    /// What holds for every command.
    fn check(
        &self,
        cmd: Cmd,
        size: Size,
        place: Place,
        result: Result<(), i32>,
        before: &[u8],
        after: &[u8],
    ) {
        if let Err(errno) = result {
            if !cmd.may_fail_with(errno) {
                self.violation(format!(
                    "{cmd:?} failed with {}, which the header does not name",
                    name(errno)
                ));
            }
            if before != after {
                self.violation(format!(
                    "{cmd:?} failed with {} and changed its argument",
                    name(errno)
                ));
            }
        }
        let certain = matches!(place, Place::Own | Place::ReadOnly);
        let written = before != after || certain && (size, result) == (Size::Exact, Err(EFAULT));
        if cmd == Cmd::ChannelEnter && written {
            self.violation(format!("{cmd:?} writes to its argument"));
        }
        let wanted = match size {
            _ if matches!(
                place,
                Place::Null | Place::Kernel | Place::NonCanonical | Place::Unmapped
            ) =>
            {
                Some(EFAULT)
            }
            Size::Smaller if certain => Some(EINVAL),
            Size::Garbage | Size::Beyond | Size::Huge if certain => Some(E2BIG),
            _ => None,
        };
        if let Some(wanted) = wanted {
            if result != Err(wanted) {
                self.violation(format!(
                    "{cmd:?} ({size:?}, {place:?}) is {result:?} and not {}",
                    name(wanted)
                ));
            }
        }
        let kept = before.get(..4) == after.get(..4);
        if !kept {
            self.violation(format!("{cmd:?} changed the size of its argument"));
        }
    }

    /// What a context that is used by this thread only must say to handles.
    fn check_handles(&self, cmd: Cmd, result: Result<(), i32>, uses: &[(u32, State)]) {
        let all = |state| uses.iter().all(|(_, s)| *s == state);
        let right = match result {
            Ok(()) => all(State::Right),
            // Of a descriptor; and of an array, at which its caller looks.
            Err(EBADF) if matches!(cmd, Cmd::BufImport | Cmd::BufOpen) => true,
            Err(_) if cmd == Cmd::ViewDestroy => true,
            Err(ENOENT) => uses.iter().any(|(_, s)| *s == State::Dead),
            Err(EBADF) => uses.iter().any(|(_, s)| *s == State::Other),
            Err(_) => true,
        };
        if !right {
            self.violation(format!("{cmd:?} is {result:?}, with handles {uses:x?}"));
        }
    }
}

/// What a handle is in a context that only one thread uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Right,
    Other,
    Dead,
}

fn lock_handles<T: Argument>(
    context: &Context,
    bytes: &[u8],
    known: usize,
    uses: fn(&T) -> Vec<Use>,
) -> Vec<(u32, State)> {
    if !context.strict || bytes.len() < known {
        return Vec::new();
    }
    let objects = lock(&context.objects);
    let state = |(handle, kinds): Use| match objects.of(handle) {
        Some(object) if !kinds.contains(&object.kind) => (handle, State::Other),
        Some(object) if objects.is_orphan(object) => (handle, State::Dead),
        Some(_) => (handle, State::Right),
        None => (handle, State::Dead),
    };
    uses(&T::from_bytes(bytes)).into_iter().map(state).collect()
}

/// Makes the argument as large as it is to be, and say so.
fn resize(bytes: &mut Vec<u8>, size: Size, extra: u8) {
    let known = bytes.len();
    let extra = usize::from(extra);
    let (said, len) = match size {
        Size::Exact => (known, known),
        Size::Smaller => (extra % known, known),
        Size::Zeroes | Size::Garbage => (known + 1 + extra, known + 1 + extra),
        Size::Page => (PAGE, PAGE),
        Size::Beyond => (PAGE + 1 + extra, PAGE),
        Size::Huge => (u32::MAX as usize - extra, known),
    };
    bytes.resize(len, 0);
    if size == Size::Garbage {
        let at = known + extra % (len - known);
        bytes[at] = 1 + (extra as u8 >> 1);
    }
    bytes[..4].copy_from_slice(&(said as u32).to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for extra in 0..=255 {
            for size in [Size::Exact, Size::Smaller, Size::Zeroes, Size::Garbage, Size::Page] {
                let mut bytes = vec![0xff; 40];
                resize(&mut bytes, size, extra);
                let said = u32::from_ne_bytes(bytes[..4].try_into().unwrap()) as usize;
                assert!(said <= bytes.len());
                assert_eq!(said < 40, size == Size::Smaller);
                let tail = bytes[40..].iter().filter(|b| **b != 0).count();
                assert_eq!(tail, usize::from(size == Size::Garbage));
            }
        }
    }
}
