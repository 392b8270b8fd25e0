// SPDX-License-Identifier: GPL-2.0

//! The commands: one row each, and the rules that hold for all of their arguments.

use crate::{
    buffer,
    channel,
    context::Context,
    endpoint::{
        connect,
        count,
        lease,
        listen,
        query, //
    },
    fabric,
    info,
    region,
    view, //
};
use core::mem::size_of;
use dmakit::uapi::{
    self,
    AsBytes,
    FromBytes, //
};
use kernel::{
    fs::File,
    ioctl::{
        _IOC_DIR,
        _IOC_NR,
        _IOC_SIZE,
        _IOC_TYPE, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::ArcBorrow,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

/// Runs a command on a context's file; what it returns is for the program.
pub(crate) fn run(
    this: ArcBorrow<'_, Context>,
    file: &File,
    command: u32,
    arg: usize,
) -> Result<isize> {
    let context = &*this;
    if _IOC_TYPE(command) != uapi::DMAPLANE_IOC_MAGIC
        || _IOC_DIR(command) != 0
        || _IOC_SIZE(command) != 0
    {
        return Err(ENOTTY);
    }
    let done = match _IOC_NR(command) {
        uapi::DMAPLANE_CMD_INFO => call(context, arg, info::info),
        uapi::DMAPLANE_CMD_STATS => call(context, arg, info::stats),
        uapi::DMAPLANE_CMD_BUF_CREATE => call(context, arg, buffer::create),
        uapi::DMAPLANE_CMD_BUF_QUERY => call(context, arg, buffer::query),
        uapi::DMAPLANE_CMD_BUF_DESTROY => tell(context, arg, buffer::destroy),
        uapi::DMAPLANE_CMD_BUF_EXPORT => call(context, arg, buffer::export::export),
        uapi::DMAPLANE_CMD_BUF_PIN => call(context, arg, buffer::pin::pin),
        uapi::DMAPLANE_CMD_BUF_IMPORT => call(context, arg, buffer::import::import),
        uapi::DMAPLANE_CMD_BUF_MIGRATE => call(context, arg, buffer::migrate::migrate),
        uapi::DMAPLANE_CMD_BUF_SHARE => call(context, arg, buffer::share::share),
        uapi::DMAPLANE_CMD_BUF_OPEN => call(context, arg, buffer::share::open),
        uapi::DMAPLANE_CMD_FABRIC_LIST => call(context, arg, fabric::list),
        uapi::DMAPLANE_CMD_REGION_REGISTER => call(context, arg, region::register),
        uapi::DMAPLANE_CMD_REGION_DEREGISTER => tell(context, arg, region::deregister),
        uapi::DMAPLANE_CMD_VIEW_CREATE => tell(context, arg, view::create),
        uapi::DMAPLANE_CMD_VIEW_DESTROY => tell(context, arg, view::destroy),
        uapi::DMAPLANE_CMD_LEASE_GRANT => call(context, arg, lease::grant),
        uapi::DMAPLANE_CMD_LEASE_WAIT => call(context, arg, lease::wait),
        uapi::DMAPLANE_CMD_ENDPOINT_LISTEN => call(context, arg, listen::listen),
        uapi::DMAPLANE_CMD_ENDPOINT_REQUEST => call(context, arg, listen::request),
        uapi::DMAPLANE_CMD_ENDPOINT_ACCEPT => call(context, arg, connect::accept),
        uapi::DMAPLANE_CMD_ENDPOINT_ADDRESS => call(context, arg, connect::address),
        uapi::DMAPLANE_CMD_ENDPOINT_CONNECT => call(context, arg, connect::connect),
        uapi::DMAPLANE_CMD_ENDPOINT_QUERY => call(context, arg, query::query),
        uapi::DMAPLANE_CMD_ENDPOINT_CLOSE => tell(context, arg, query::close),
        uapi::DMAPLANE_CMD_CHANNEL_CREATE => {
            call(context, arg, |_, arg| channel::create(this, arg))
        }
        uapi::DMAPLANE_CMD_CHANNEL_ENTER => return tell(context, arg, channel::enter),
        uapi::DMAPLANE_CMD_CHANNEL_FILE => {
            call(context, arg, |_, arg| channel::file::make(this, file, arg))
        }
        uapi::DMAPLANE_CMD_CHANNEL_EVENTFD => tell(context, arg, channel::set_event),
        uapi::DMAPLANE_CMD_CHANNEL_CLOSE => tell(context, arg, channel::close),
        uapi::DMAPLANE_CMD_COUNTER_CREATE => call(context, arg, count::create),
        uapi::DMAPLANE_CMD_COUNTER_QUERY => call(context, arg, count::query),
        uapi::DMAPLANE_CMD_COUNTER_DESTROY => tell(context, arg, count::destroy),
        _ => Err(ENOTTY),
    };
    done.map(|()| 0)
}

/// What a command did that must be undone if its result cannot be delivered.
pub(crate) trait Outcome {
    /// Undoes it.
    fn undo(self, context: &Context);

    /// The program knows the result: completes what could not be undone.
    fn keep(self)
    where
        Self: Sized,
    {
    }
}

/// Nothing to undo.
impl Outcome for () {
    fn undo(self, _context: &Context) {}
}

/// An object was made and has this handle.
pub(crate) struct Created(pub(crate) u32);

impl Outcome for Created {
    fn undo(self, context: &Context) {
        context.discard(self.0);
    }
}

/// Copies the argument in, runs the command, copies the argument out.
fn call<T: FromBytes + AsBytes, O: Outcome>(
    context: &Context,
    arg: usize,
    command: impl FnOnce(&Context, &mut T) -> Result<O>,
) -> Result {
    let ptr = UserPtr::from_addr(arg);
    let mut value = read::<T>(ptr)?;
    // A result that cannot be written is found out before anything happens.
    write(ptr, &value)?;
    let outcome = command(context, &mut value)?;
    match write(ptr, &value) {
        Ok(()) => outcome.keep(),
        Err(error) => {
            outcome.undo(context);
            return Err(error);
        }
    }
    Ok(())
}

/// Copies the argument in and runs a command that has nothing to write there.
fn tell<T: FromBytes + AsBytes, R>(
    context: &Context,
    arg: usize,
    command: fn(&Context, &T) -> Result<R>,
) -> Result<R> {
    command(context, &read::<T>(UserPtr::from_addr(arg))?)
}

/// Reads an extensible structure: its first member is its size.
fn read<T: FromBytes + AsBytes>(ptr: UserPtr) -> Result<T> {
    let whole = UserSlice::new(ptr, size_of::<T>()).reader().read::<T>();
    let size = match &whole {
        Ok(value) => first_word(value)?,
        // It may be shorter than that and end with the memory.
        Err(_) => UserSlice::new(ptr, size_of::<u32>()).reader().read()?,
    };
    let size = usize::try_from(size)?;
    if size < size_of::<T>() {
        return Err(EINVAL);
    }
    if size > PAGE_SIZE {
        return Err(E2BIG);
    }
    let value = whole?;
    let mut reader = UserSlice::new(ptr, size).reader();
    reader.skip(size_of::<T>())?;
    while !reader.is_empty() {
        if reader.read::<u8>()? != 0 {
            return Err(E2BIG);
        }
    }
    Ok(value)
}

fn first_word<T: AsBytes>(value: &T) -> Result<u32> {
    let word = value.as_bytes().first_chunk().ok_or(EINVAL)?;
    Ok(u32::from_ne_bytes(*word))
}

fn write<T: AsBytes>(ptr: UserPtr, value: &T) -> Result {
    UserSlice::new(ptr, size_of::<T>()).writer().write(value)
}
