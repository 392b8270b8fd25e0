// SPDX-License-Identifier: GPL-2.0

//! Commands that a program gives to a file by io_uring (`IORING_OP_URING_CMD`).
//!
//! C header: [`include/linux/io_uring/cmd.h`](srctree/include/linux/io_uring/cmd.h)
//!
//! Ownership: io_uring has a command until it is issued, as an [`Issue`]. That ends where it is issued,
//! or becomes a [`Command`], which whoever has it completes, once. A command that is not complete keeps
//! its file.
//! Locking: a command is issued, and its end asked for, with io_uring's `uring_lock` held as a rule.
//! [`Command::complete`] takes none and may be called with anything held: the submitter's task does the
//! rest.
//! Teardown: when the ring ends or the task executes another program, io_uring asks again and again
//! for the end of each [`Command`] that is left, by its [`Key`], and waits.

use crate::{
    bindings,
    uapi::SqeWords, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    ffi,
    prelude::*, //
};

/// Of one call, so that what comes out of it belongs to what went in.
type Brand<'a> = PhantomData<fn(&'a ()) -> &'a ()>;

/// A command that is being issued.
///
/// # Invariants
///
/// The command is valid, not complete and nobody else's; `flags` are those that it is issued with.
pub struct Issue<'a> {
    cmd: NonNull<bindings::io_uring_cmd>,
    flags: ffi::c_uint,
    brand: Brand<'a>,
}

/// It is complete, or somebody else's now.
pub struct Issued<'a>(Brand<'a>);

impl Issued<'_> {
    /// What io_uring is told: nothing yet.
    pub(crate) fn code(self) -> ffi::c_int {
        EIOCBQUEUED.to_errno()
    }
}

impl<'a> Issue<'a> {
    /// # Safety
    ///
    /// io_uring issues `cmd` with `flags`, in the call that `'a` stands for, and for no other purpose.
    pub(crate) unsafe fn from_raw(
        cmd: NonNull<bindings::io_uring_cmd>,
        flags: ffi::c_uint,
    ) -> Self {
        // INVARIANT: as the caller promises.
        Self {
            cmd,
            flags,
            brand: PhantomData,
        }
    }

    /// The `cmd_op` of the entry.
    pub fn operation(&self) -> u32 {
        // SAFETY: valid by the type invariant.
        unsafe { bindings::dk_uring_operation(self.cmd.as_ptr()) }
    }

    /// A copy of the command in the entry. `EINVAL` if the entry is not a large one, or has something
    /// in members that are not used, the end of the command included; `EOPNOTSUPP` if the ring is for
    /// polling.
    pub fn entry(&self) -> Result<SqeWords> {
        let mut words = [0u64; bindings::DK_URING_WORDS as usize];
        // SAFETY: valid by the type invariant, and there is room for as many.
        to_result(unsafe {
            bindings::dk_uring_entry(self.cmd.as_ptr(), self.flags, words.as_mut_ptr())
        })?;
        let [entry @ .., 0, 0] = words else {
            return Err(EINVAL);
        };
        Ok(SqeWords::new(entry))
    }

    /// Completes it at once. `extra` is told by rings that have room for it.
    pub fn finish(self, result: Result<u32>, extra: [u8; 8]) -> Issued<'a> {
        let res = match result {
            Ok(value) => i32::try_from(value).unwrap_or(i32::MAX),
            Err(error) => error.to_errno(),
        };
        let extra = u64::from_ne_bytes(extra);
        // SAFETY: by the type invariant it is ours to complete, where it is issued and with the flags
        // of that. It is not used after this.
        unsafe { bindings::dk_uring_finish(self.cmd.as_ptr(), self.flags, res, extra) };
        Issued(PhantomData)
    }

    /// Keeps it, to be completed later. Whoever is asked for its end is told the `tag`, too.
    pub fn keep(self, tag: u32) -> (Command, Issued<'a>) {
        // SAFETY: valid by the type invariant, and issued with these flags.
        unsafe { bindings::dk_uring_keep(self.cmd.as_ptr(), self.flags, tag) };
        // INVARIANT: io_uring keeps it until it is completed, which is left to the command from
        // here on.
        (Command(self.cmd), Issued(PhantomData))
    }
}

/// A command that was issued and is not complete.
///
/// # Invariants
///
/// The pointer is valid, and to complete it is ours alone.
pub struct Command(NonNull<bindings::io_uring_cmd>);

// SAFETY: it may be completed in any context.
unsafe impl Send for Command {}
// SAFETY: what can be done with a reference does not look at what it points to.
unsafe impl Sync for Command {}

impl Command {
    /// Completes it with a value or an errno below zero. May be called from anywhere.
    pub fn complete(self, res: i32, extra: [u8; 8]) {
        ManuallyDrop::new(self).end(res, extra);
    }

    /// To be called once, as the last use.
    fn end(&mut self, res: i32, extra: [u8; 8]) {
        // SAFETY: valid and ours to complete by the type invariant; it is not used after this.
        unsafe {
            bindings::dk_uring_complete(self.0.as_ptr(), res, u64::from_ne_bytes(extra));
        }
    }

    /// Whether it is the one that is asked for.
    pub fn is(&self, key: &Key) -> bool {
        self.0 == key.cmd
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        self.end(EIO.to_errno(), [0; 8]);
    }
}

/// Which command is to end: one that was kept. Its [`Command`] may have been completed already.
///
/// # Invariants
///
/// The command was kept and is valid, but whose it is to complete nobody knows.
pub struct Key {
    cmd: NonNull<bindings::io_uring_cmd>,
    tag: u32,
}

// SAFETY: what can be done with a reference does not look at what it points to.
unsafe impl Sync for Key {}

impl Key {
    /// # Safety
    ///
    /// io_uring asks for the end of `cmd`, which was kept and is valid as long as that takes.
    pub(crate) unsafe fn from_raw(cmd: NonNull<bindings::io_uring_cmd>) -> Self {
        // SAFETY: as the caller promises.
        let tag = unsafe { bindings::dk_uring_tag(cmd.as_ptr()) };
        // INVARIANT: as the caller promises.
        Self { cmd, tag }
    }

    /// Nobody had it any more. Waits a moment if that was said often.
    pub(crate) fn in_vain(self) {
        // SAFETY: kept and valid by the type invariant; asked for by one task at a time.
        unsafe { bindings::dk_uring_wait(self.cmd.as_ptr()) };
    }

    /// What it was kept with.
    pub fn tag(&self) -> u32 {
        self.tag
    }
}

/// Whether io_uring asks for a command's end, and does not issue it.
pub(crate) fn is_cancel(flags: ffi::c_uint) -> bool {
    // SAFETY: it only looks at the flags.
    unsafe { bindings::dk_uring_is_cancel(flags) }
}

/// # Safety
///
/// `cmd` is valid.
pub(crate) unsafe fn file_of(cmd: NonNull<bindings::io_uring_cmd>) -> *mut bindings::file {
    // SAFETY: as the caller promises.
    unsafe { bindings::dk_uring_file(cmd.as_ptr()) }
}
