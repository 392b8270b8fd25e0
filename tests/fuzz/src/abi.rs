// SPDX-License-Identifier: GPL-2.0
//! The ABI: bindings from `include/uapi/dmaplane.h`, and which errno each command
//! may return. The table is what that header says, nothing more: a command that
//! returns another one is a fault of the module or of the header.

use libc::{
    E2BIG, EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EBADF, EBADFD, EBUSY,
    ECANCELED, ECONNREFUSED, ECONNRESET, EDQUOT, EEXIST, EFAULT, EFBIG, EHOSTUNREACH, EINTR,
    EINVAL, EIO, EISCONN, EKEYREVOKED, ELOOP, EMFILE, EMSGSIZE, ENETUNREACH, ENFILE, ENOBUFS,
    ENODEV, ENOENT, ENOMEM, ENOSPC, ENOTCONN, ENXIO, EOPNOTSUPP, EOVERFLOW, EPROTO,
    EPROTONOSUPPORT, EPROTOTYPE, ERANGE, EREMOTEIO, ETIME, EXDEV,
};

#[allow(
    dead_code,
    non_camel_case_types,
    non_upper_case_globals,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
pub mod uapi {
    include!(concat!(env!("OUT_DIR"), "/uapi_generated.rs"));
}

use uapi::*;

/// A struct of the ABI.
///
/// # Safety
///
/// It is made of integers, without padding, so that every bit pattern is a value.
pub unsafe trait Plain: Copy + Default + std::fmt::Debug {
    /// Its bytes.
    fn bytes(&self) -> Vec<u8> {
        let first = (self as *const Self).cast::<u8>();
        // SAFETY: by the trait's requirement all bytes are initialised.
        unsafe { std::slice::from_raw_parts(first, size_of::<Self>()) }.to_vec()
    }

    /// The value of the first bytes.
    fn from_bytes(bytes: &[u8]) -> Self {
        assert!(bytes.len() >= size_of::<Self>());
        // SAFETY: there are enough bytes, and by the trait's requirement they are a value.
        unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() }
    }
}

/// A plain struct that is the argument of a command.
pub trait Argument: Plain {
    /// All zero but for the size.
    fn sized() -> Self;
}

macro_rules! plain {
    ($($name:ident),* $(,)?) => {$(
        // SAFETY: integers only; `make check` compiles the header with -Wpadded.
        unsafe impl Plain for $name {}
    )*};
}

plain!(
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
    dmaplane_sqe,
    dmaplane_cqe,
    dmaplane_times,
    dmaplane_segment,
    dmaplane_pages,
    dmaplane_view,
);

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

macro_rules! commands {
    ($($cmd:ident $ioc:ident [$($errno:ident)*])*) => {
        /// A command.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Cmd { $($cmd,)* }

        impl Cmd {
            /// All there are.
            pub const ALL: &[Cmd] = &[$(Cmd::$cmd,)*];

            /// The number for `ioctl()`.
            pub fn number(self) -> u32 {
                match self { $(Cmd::$cmd => $ioc,)* }
            }

            /// What the header names, without what holds for every command.
            fn errnos(self) -> &'static [i32] {
                match self { $(Cmd::$cmd => &[$($errno,)*],)* }
            }
        }
    };
}

// An endpoint that failed says why to whoever asks it to connect: ECONNRESET to EIO there.
commands! {
    Info DMAPLANE_IOC_INFO []
    Stats DMAPLANE_IOC_STATS []
    BufCreate DMAPLANE_IOC_BUF_CREATE [EFBIG ENXIO ENOSPC ENOBUFS EDQUOT EMFILE ENOMEM EINTR]
    BufQuery DMAPLANE_IOC_BUF_QUERY [ENOENT EBADF ENOBUFS ENOMEM]
    BufDestroy DMAPLANE_IOC_BUF_DESTROY [ENOENT EBADF]
    BufExport DMAPLANE_IOC_BUF_EXPORT
        [ENOENT EBADF EACCES EOPNOTSUPP EOVERFLOW ERANGE EMFILE ENFILE ENOMEM]
    BufMigrate DMAPLANE_IOC_BUF_MIGRATE
        [ENOENT EBADF EOPNOTSUPP ENXIO EACCES EBUSY ENOSPC EIO ENOMEM EINTR]
    BufPin DMAPLANE_IOC_BUF_PIN [EFBIG EOVERFLOW EDQUOT EMFILE ENOMEM EINTR]
    BufImport DMAPLANE_IOC_BUF_IMPORT
        [EBADF ELOOP EFBIG EACCES EOPNOTSUPP EIO EDQUOT EMFILE ENOMEM EINTR]
    BufShare DMAPLANE_IOC_BUF_SHARE [ENOENT EBADF EACCES EMFILE ENFILE ENOMEM]
    BufOpen DMAPLANE_IOC_BUF_OPEN [EBADF EACCES EMFILE ENOMEM]
    FabricList DMAPLANE_IOC_FABRIC_LIST [ENOMEM]
    RegionRegister DMAPLANE_IOC_REGION_REGISTER
        [ENOENT EBADF EACCES EOPNOTSUPP EOVERFLOW ERANGE ENOTCONN ENODEV EINTR EMFILE ENOMEM]
    RegionDeregister DMAPLANE_IOC_REGION_DEREGISTER [ENOENT EBADF EBUSY]
    ViewCreate DMAPLANE_IOC_VIEW_CREATE
        [ENOENT EBADF EACCES EOVERFLOW ERANGE EMFILE ENOMEM EKEYREVOKED]
    ViewDestroy DMAPLANE_IOC_VIEW_DESTROY [ENOENT EBADF ENOMEM]
    LeaseGrant DMAPLANE_IOC_LEASE_GRANT
        [ENOENT EBADF EACCES EXDEV ENOTCONN EMFILE ENODEV ENOMEM EKEYREVOKED]
    LeaseWait DMAPLANE_IOC_LEASE_WAIT [ENOENT EBADF ETIME EINTR ENOTCONN]
    EndpointListen DMAPLANE_IOC_ENDPOINT_LISTEN
        [EADDRINUSE EADDRNOTAVAIL EACCES EAFNOSUPPORT EMFILE ENOMEM]
    EndpointRequest DMAPLANE_IOC_ENDPOINT_REQUEST
        [ENOENT EBADF ETIME EINTR ENODEV ECANCELED EMFILE ENOMEM]
    EndpointAccept DMAPLANE_IOC_ENDPOINT_ACCEPT
        [ENOENT EBADF EMSGSIZE EISCONN EBUSY ECONNREFUSED EACCES EPROTONOSUPPORT EHOSTUNREACH
         ENODEV EBADFD ETIME EINTR ENOMEM ECONNRESET ECANCELED EREMOTEIO EPROTO EIO]
    EndpointAddress DMAPLANE_IOC_ENDPOINT_ADDRESS
        [EAFNOSUPPORT ENETUNREACH EHOSTUNREACH EADDRNOTAVAIL EADDRINUSE EACCES ENODEV ETIME EINTR
         EMFILE ENOMEM]
    EndpointConnect DMAPLANE_IOC_ENDPOINT_CONNECT
        [ENOENT EBADF EMSGSIZE EISCONN EBUSY ECONNREFUSED EACCES EPROTONOSUPPORT EHOSTUNREACH
         ENODEV EBADFD ETIME EINTR ENOMEM ECONNRESET ECANCELED EREMOTEIO EPROTO EIO]
    EndpointQuery DMAPLANE_IOC_ENDPOINT_QUERY [ENOENT EBADF]
    EndpointClose DMAPLANE_IOC_ENDPOINT_CLOSE [ENOENT EBADF]
    ChannelCreate DMAPLANE_IOC_CHANNEL_CREATE [EFBIG EDQUOT EMFILE ENOMEM EAGAIN EINTR]
    ChannelEnter DMAPLANE_IOC_CHANNEL_ENTER [ENOENT EBADF EBUSY EBADFD ETIME EINTR]
    ChannelClose DMAPLANE_IOC_CHANNEL_CLOSE [ENOENT EBADF EBUSY]
    ChannelFile DMAPLANE_IOC_CHANNEL_FILE [ENOENT EBADF EMFILE ENFILE ENOMEM]
    ChannelEventfd DMAPLANE_IOC_CHANNEL_EVENTFD [ENOENT EBADF EPROTOTYPE EBADFD]
    CounterCreate DMAPLANE_IOC_COUNTER_CREATE [ENOENT EBADF EEXIST ENOSPC EMFILE ENOMEM]
    CounterQuery DMAPLANE_IOC_COUNTER_QUERY [ENOENT EBADF]
    CounterDestroy DMAPLANE_IOC_COUNTER_DESTROY [ENOENT EBADF]
}

impl Cmd {
    /// Whether the header lets the command fail with it.
    pub fn may_fail_with(self, errno: i32) -> bool {
        [EFAULT, EINVAL, E2BIG].contains(&errno) || self.errnos().contains(&errno)
    }
}

/// What mmap() of the device may fail with: what BUF_CREATE says, and the kernel's own.
pub const MMAP_ERRNOS: &[i32] =
    &[ENOENT, EBADF, ENXIO, EACCES, EINVAL, EOPNOTSUPP, ENOMEM, EOVERFLOW, libc::EAGAIN];

/// The name of an errno, for messages.
pub fn name(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned() + &format!(" ({errno})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_the_header_is_in_the_table() {
        let header = include_str!("../../../include/uapi/dmaplane.h");
        let named = header.lines().filter(|l| l.starts_with("#define DMAPLANE_IOC_"));
        assert_eq!(named.count() - 1, Cmd::ALL.len()); // less the magic number
    }

    #[test]
    fn only_what_is_said_is_allowed() {
        assert!(Cmd::Info.may_fail_with(EFAULT));
        assert!(!Cmd::Info.may_fail_with(ENOMEM));
        assert!(Cmd::ChannelEnter.may_fail_with(EBADFD));
        assert!(!Cmd::BufCreate.may_fail_with(EIO));
    }
}
