// SPDX-License-Identifier: GPL-2.0
//! The ABI as bindgen reads it from `include/uapi/dmaplane.h`, and the one
//! place that calls `ioctl()`.
//!
//! bindgen's layout tests assert size and offset of every struct at compile
//! time.

use std::{
    marker::PhantomData,
    os::fd::{AsFd, FromRawFd, OwnedFd},
};

use rustix::io::Errno;
use rustix::ioctl::{ioctl, Ioctl, IoctlOutput, Opcode};

use crate::{Error, Op, Result, Timeout};

#[allow(
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    unreachable_pub,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used
)]
pub(crate) mod uapi {
    include!(concat!(env!("OUT_DIR"), "/uapi_generated.rs"));
}

use uapi::*;

/// A struct of the ABI: plain integers, the first of which is its size.
pub(crate) trait Argument: Default {
    /// All zero but for the size.
    fn sized() -> Self;
}

macro_rules! arguments {
    ($($name:ident),* $(,)?) => {$(
        impl Argument for $name {
            fn sized() -> Self {
                Self { size: size_of::<Self>() as u32, ..Self::default() }
            }
        }
    )*};
}

arguments!(
    dmaplane_info,
    dmaplane_stats,
    dmaplane_buf_create,
    dmaplane_buf_query,
    dmaplane_buf_export,
    dmaplane_buf_pin,
    dmaplane_buf_import,
    dmaplane_buf_migrate,
    dmaplane_buf_share,
    dmaplane_buf_open,
    dmaplane_handle,
    dmaplane_fabric_list,
    dmaplane_region_register,
    dmaplane_view_create,
    dmaplane_view_destroy,
    dmaplane_lease_grant,
    dmaplane_lease_wait,
    dmaplane_endpoint_listen,
    dmaplane_endpoint_request,
    dmaplane_endpoint_address,
    dmaplane_endpoint_connect,
    dmaplane_endpoint_query,
    dmaplane_channel_create,
    dmaplane_channel_enter,
    dmaplane_channel_file,
    dmaplane_channel_eventfd,
    dmaplane_counter_create,
    dmaplane_counter_query,
);

/// A command, with the type of its argument.
#[derive(Debug)]
pub(crate) struct Command<T> {
    op: Op,
    opcode: u32,
    argument: PhantomData<fn(T)>,
}

macro_rules! commands {
    ($($name:ident $op:ident $opcode:ident $argument:ident;)*) => {$(
        pub(crate) const $name: Command<$argument> =
            Command { op: Op::$op, opcode: $opcode, argument: PhantomData };
    )*};
}

commands! {
    INFO Info DMAPLANE_IOC_INFO dmaplane_info;
    STATS Stats DMAPLANE_IOC_STATS dmaplane_stats;
    BUF_CREATE BufCreate DMAPLANE_IOC_BUF_CREATE dmaplane_buf_create;
    BUF_DESTROY BufDestroy DMAPLANE_IOC_BUF_DESTROY dmaplane_handle;
    BUF_PIN BufPin DMAPLANE_IOC_BUF_PIN dmaplane_buf_pin;
    BUF_IMPORT BufImport DMAPLANE_IOC_BUF_IMPORT dmaplane_buf_import;
    BUF_MIGRATE BufMigrate DMAPLANE_IOC_BUF_MIGRATE dmaplane_buf_migrate;
    BUF_OPEN BufOpen DMAPLANE_IOC_BUF_OPEN dmaplane_buf_open;
    REGION_REGISTER RegionRegister DMAPLANE_IOC_REGION_REGISTER dmaplane_region_register;
    REGION_DEREGISTER RegionDeregister DMAPLANE_IOC_REGION_DEREGISTER dmaplane_handle;
    LEASE_GRANT LeaseGrant DMAPLANE_IOC_LEASE_GRANT dmaplane_lease_grant;
    LEASE_WAIT LeaseWait DMAPLANE_IOC_LEASE_WAIT dmaplane_lease_wait;
    ENDPOINT_LISTEN EndpointListen DMAPLANE_IOC_ENDPOINT_LISTEN dmaplane_endpoint_listen;
    ENDPOINT_REQUEST EndpointRequest DMAPLANE_IOC_ENDPOINT_REQUEST dmaplane_endpoint_request;
    ENDPOINT_ACCEPT EndpointAccept DMAPLANE_IOC_ENDPOINT_ACCEPT dmaplane_endpoint_connect;
    ENDPOINT_ADDRESS EndpointAddress DMAPLANE_IOC_ENDPOINT_ADDRESS dmaplane_endpoint_address;
    ENDPOINT_CONNECT EndpointConnect DMAPLANE_IOC_ENDPOINT_CONNECT dmaplane_endpoint_connect;
    ENDPOINT_QUERY EndpointQuery DMAPLANE_IOC_ENDPOINT_QUERY dmaplane_endpoint_query;
    ENDPOINT_CLOSE EndpointClose DMAPLANE_IOC_ENDPOINT_CLOSE dmaplane_handle;
    CHANNEL_CREATE ChannelCreate DMAPLANE_IOC_CHANNEL_CREATE dmaplane_channel_create;
    CHANNEL_ENTER ChannelEnter DMAPLANE_IOC_CHANNEL_ENTER dmaplane_channel_enter;
    CHANNEL_CLOSE ChannelClose DMAPLANE_IOC_CHANNEL_CLOSE dmaplane_handle;
    CHANNEL_EVENTFD ChannelEventfd DMAPLANE_IOC_CHANNEL_EVENTFD dmaplane_channel_eventfd;
    COUNTER_CREATE CounterCreate DMAPLANE_IOC_COUNTER_CREATE dmaplane_counter_create;
    COUNTER_QUERY CounterQuery DMAPLANE_IOC_COUNTER_QUERY dmaplane_counter_query;
    COUNTER_DESTROY CounterDestroy DMAPLANE_IOC_COUNTER_DESTROY dmaplane_handle;
}

// What their arguments carry, pointers or a descriptor, is understood by `buf_query()`,
// `buf_export()`, `buf_share()`, `fabric_list()`, `view_create()`, `view_destroy()` and `channel_file()` below only.
const BUF_QUERY: Command<dmaplane_buf_query> = Command {
    op: Op::BufQuery,
    opcode: DMAPLANE_IOC_BUF_QUERY,
    argument: PhantomData,
};
const BUF_EXPORT: Command<dmaplane_buf_export> = Command {
    op: Op::BufExport,
    opcode: DMAPLANE_IOC_BUF_EXPORT,
    argument: PhantomData,
};
const BUF_SHARE: Command<dmaplane_buf_share> = Command {
    op: Op::BufShare,
    opcode: DMAPLANE_IOC_BUF_SHARE,
    argument: PhantomData,
};
const FABRIC_LIST: Command<dmaplane_fabric_list> = Command {
    op: Op::FabricList,
    opcode: DMAPLANE_IOC_FABRIC_LIST,
    argument: PhantomData,
};
const VIEW_CREATE: Command<dmaplane_view_create> = Command {
    op: Op::ViewCreate,
    opcode: DMAPLANE_IOC_VIEW_CREATE,
    argument: PhantomData,
};
const VIEW_DESTROY: Command<dmaplane_view_destroy> = Command {
    op: Op::ViewDestroy,
    opcode: DMAPLANE_IOC_VIEW_DESTROY,
    argument: PhantomData,
};
const CHANNEL_FILE: Command<dmaplane_channel_file> = Command {
    op: Op::ChannelFile,
    opcode: DMAPLANE_IOC_CHANNEL_FILE,
    argument: PhantomData,
};

struct Call<'a, T> {
    opcode: u32,
    argument: &'a mut T,
}

// SAFETY: `as_ptr` is a valid, exclusive pointer to a `T`, which is the struct
// that the header gives the command and begins with its size; the kernel writes
// nothing beyond it but where pointers inside say, for which see `Command::call`.
unsafe impl<T> Ioctl for Call<'_, T> {
    type Output = u32;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode as Opcode
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        (self.argument as *mut T).cast()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut std::ffi::c_void) -> Result<u32, Errno> {
        u32::try_from(out).map_err(|_| Errno::PROTO)
    }
}

impl<T: Argument> Command<T> {
    /// Runs the command on an open device, and tells what it returned. `T` has no
    /// pointers, or its maker below has made them point to memory that outlives the call.
    pub(crate) fn call(&self, fd: impl AsFd, argument: &mut T) -> Result<u32> {
        let opcode = self.opcode;
        // SAFETY: `opcode` expects a `T`, by the table above.
        unsafe { ioctl(fd, Call { opcode, argument }) }.map_err(|e| Error::new(self.op, e))
    }
}

/// BUF_QUERY with room for the counts in `nodes`.
pub(crate) fn buf_query(
    fd: impl AsFd,
    handle: u32,
    nodes: &mut [u64],
) -> Result<dmaplane_buf_query> {
    let mut query = dmaplane_buf_query {
        handle,
        nr_nodes: nodes.len() as u32,
        node_pages: nodes.as_mut_ptr() as u64,
        ..Argument::sized()
    };
    BUF_QUERY.call(fd, &mut query)?;
    Ok(query)
}

/// BUF_EXPORT: a dma-buf.
pub(crate) fn buf_export(fd: impl AsFd, mut export: dmaplane_buf_export) -> Result<OwnedFd> {
    export.fd = -1;
    BUF_EXPORT.call(fd, &mut export)?;
    // SAFETY: the command succeeded, so this is a new descriptor, which is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(export.fd) })
}

/// BUF_SHARE: a descriptor to open it by.
pub(crate) fn buf_share(fd: impl AsFd, handle: u32, rights: u32) -> Result<OwnedFd> {
    let mut share = dmaplane_buf_share {
        handle,
        rights,
        fd: -1,
        ..Argument::sized()
    };
    BUF_SHARE.call(fd, &mut share)?;
    // SAFETY: the command succeeded, so this is a new descriptor, which is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(share.fd) })
}

/// FABRIC_LIST into `fabrics`; returns how many there are, which may be more.
pub(crate) fn fabric_list(fd: impl AsFd, fabrics: &mut [dmaplane_fabric]) -> Result<usize> {
    let mut list = dmaplane_fabric_list {
        fabrics: fabrics.as_mut_ptr() as u64,
        count: fabrics.len() as u32,
        ..Argument::sized()
    };
    FABRIC_LIST.call(fd, &mut list)?;
    Ok(list.count as usize)
}

/// VIEW_CREATE: writes the handles to `views`.
pub(crate) fn view_create(fd: impl AsFd, region: u32, views: &mut [dmaplane_view]) -> Result<()> {
    let mut create = dmaplane_view_create {
        region,
        // More than that are too many, whatever their number.
        count: u32::try_from(views.len()).unwrap_or(u32::MAX),
        views: views.as_mut_ptr() as u64,
        ..Argument::sized()
    };
    VIEW_CREATE.call(fd, &mut create).map(drop)
}

/// VIEW_DESTROY, which writes nothing there.
pub(crate) fn view_destroy(fd: impl AsFd, handles: &mut [u32]) -> Result<()> {
    let mut destroy = dmaplane_view_destroy {
        count: u32::try_from(handles.len()).unwrap_or(u32::MAX),
        handles: handles.as_mut_ptr() as u64,
        ..Argument::sized()
    };
    VIEW_DESTROY.call(fd, &mut destroy).map(drop)
}

/// CHANNEL_FILE: a file of a channel's own.
pub(crate) fn channel_file(fd: impl AsFd, channel: u32) -> Result<OwnedFd> {
    let mut file = dmaplane_channel_file {
        channel,
        fd: -1,
        ..Argument::sized()
    };
    CHANNEL_FILE.call(fd, &mut file)?;
    // SAFETY: the command succeeded, so this is a new descriptor, which is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(file.fd) })
}

/// A timeout as the ABI has it; one too long to express is for ever.
pub(crate) fn timeout_ns(timeout: Timeout) -> u64 {
    const FOREVER: u64 = DMAPLANE_FOREVER as u64;
    timeout.map_or(FOREVER, |t| u64::try_from(t.as_nanos()).unwrap_or(FOREVER))
}

/// The argument of the commands that end an object.
pub(crate) fn handle(handle: u32) -> dmaplane_handle {
    dmaplane_handle {
        handle,
        ..Argument::sized()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn timeouts() {
        assert_eq!(timeout_ns(None), u64::MAX);
        assert_eq!(timeout_ns(Some(Duration::ZERO)), 0);
        assert_eq!(timeout_ns(Some(Duration::from_secs(2))), 2_000_000_000);
        assert_eq!(timeout_ns(Some(Duration::MAX)), u64::MAX);
    }

    #[test]
    fn numbers_of_commands_come_from_the_header() {
        assert_eq!(INFO.opcode, 0xda00);
        assert_eq!(CHANNEL_CLOSE.opcode, 0xda42);
        assert_eq!(dmaplane_info::sized().size, 72);
    }

    #[test]
    fn a_device_that_is_none_is_told_apart() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let error = INFO.call(&file, &mut Argument::sized()).unwrap_err();
        assert_eq!(error.errno(), Errno::NOTTY);
    }
}
