// SPDX-License-Identifier: GPL-2.0
//! The error of every call: which command, which errno, what it means there
//! and what to do.

use std::fmt;

use rustix::io::Errno;

use crate::advice::advice;

/// What a call of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was being done when an error came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // named as the commands of the header are
#[non_exhaustive]
pub enum Op {
    /// Opening the device.
    Open,
    /// `mmap()` of a buffer or of a channel's rings.
    Mmap,
    /// `poll()` on the device.
    Poll,
    Info,
    Stats,
    BufCreate,
    BufQuery,
    BufDestroy,
    BufExport,
    BufPin,
    BufImport,
    BufMigrate,
    BufShare,
    BufOpen,
    FabricList,
    RegionRegister,
    RegionDeregister,
    ViewCreate,
    ViewDestroy,
    LeaseGrant,
    LeaseWait,
    EndpointListen,
    EndpointRequest,
    EndpointAccept,
    EndpointAddress,
    EndpointConnect,
    EndpointQuery,
    EndpointClose,
    ChannelCreate,
    ChannelEnter,
    ChannelClose,
    ChannelFile,
    ChannelEventfd,
    CounterCreate,
    CounterQuery,
    CounterDestroy,
    /// Putting an entry into the submission ring, and its list where the kernel finds it.
    Push,
    /// Keeping a connection, whose state holds the error.
    Connection,
    /// A submission entry, whose completion brought the error.
    Entry,
}

impl Op {
    /// What was attempted, as a phrase for people.
    pub fn phrase(self) -> &'static str {
        match self {
            Op::Open => "open the dmaplane device",
            Op::Mmap => "map memory of dmaplane",
            Op::Poll => "wait on the dmaplane device",
            Op::Info => "ask dmaplane for its limits",
            Op::Stats => "ask dmaplane for its counters",
            Op::BufCreate => "create a buffer",
            Op::BufQuery => "ask where a buffer's pages are",
            Op::BufDestroy => "destroy a buffer",
            Op::BufExport => "export a buffer as a dma-buf",
            Op::BufPin => "pin memory as a buffer",
            Op::BufImport => "import a dma-buf as a buffer",
            Op::BufMigrate => "move a buffer to another NUMA node",
            Op::BufShare => "share a buffer",
            Op::BufOpen => "open a buffer that is shared",
            Op::FabricList => "list RDMA devices",
            Op::RegionRegister => "register a region",
            Op::RegionDeregister => "deregister a region",
            Op::ViewCreate => "make views of a region",
            Op::ViewDestroy => "destroy views",
            Op::LeaseGrant => "grant the peer a lease",
            Op::LeaseWait => "wait for a lease from the peer",
            Op::EndpointListen => "listen for connections",
            Op::EndpointRequest => "wait for a connection",
            Op::EndpointAccept => "accept the connection",
            Op::EndpointAddress => "find a route to the peer",
            Op::EndpointConnect => "connect to the peer",
            Op::EndpointQuery => "ask for the state of a connection",
            Op::EndpointClose => "close a connection",
            Op::ChannelCreate => "create a channel",
            Op::ChannelEnter => "submit and wait on a channel",
            Op::ChannelClose => "close a channel",
            Op::ChannelFile => "make a file for a channel",
            Op::ChannelEventfd => "have an eventfd signalled for a channel",
            Op::CounterCreate => "have messages counted",
            Op::CounterQuery => "ask how many messages were counted",
            Op::CounterDestroy => "end a counter",
            Op::Push => "queue an entry on a channel",
            Op::Connection => "keep the connection",
            Op::Entry => "carry out an entry of the channel",
        }
    }
}

/// A call that failed. It has changed nothing, unless its own documentation
/// says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    op: Op,
    errno: Errno,
    wc_status: u8,
}

impl Error {
    #[inline]
    pub(crate) fn new(op: Op, errno: Errno) -> Self {
        Error {
            op,
            errno,
            wc_status: 0,
        }
    }

    #[inline]
    pub(crate) fn entry(errno: Errno, wc_status: u8) -> Self {
        Error {
            op: Op::Entry,
            errno,
            wc_status,
        }
    }

    /// What was being done.
    pub fn op(&self) -> Op {
        self.op
    }

    /// The errno that the kernel returned.
    #[inline]
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// The adapter's `ib_wc_status` if it reported this, else 0.
    pub fn wc_status(&self) -> u8 {
        self.wc_status
    }

    /// What was wrong, as a sentence.
    pub fn what(&self) -> &'static str {
        advice(self.op, self.errno).0
    }

    /// What to do about it, as a sentence.
    pub fn what_to_do(&self) -> &'static str {
        advice(self.op, self.errno).1
    }

    /// The time allowed has passed; the call can be repeated, except after
    /// [`Op::EndpointConnect`] and [`Op::EndpointAccept`].
    pub fn is_timeout(&self) -> bool {
        self.errno == Errno::TIME
    }

    /// A signal arrived; like a timeout otherwise.
    pub fn is_interrupted(&self) -> bool {
        self.errno == Errno::INTR
    }

    /// The peer or the way to it failed, not this side.
    pub fn is_connection(&self) -> bool {
        matches!(
            self.errno,
            Errno::CONNREFUSED
                | Errno::CONNRESET
                | Errno::NOTCONN
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH
                | Errno::REMOTEIO
                | Errno::PROTONOSUPPORT
                | Errno::CANCELED
                | Errno::TIME
        ) || (self.op == Op::EndpointConnect && self.errno == Errno::ACCESS)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = name(self.errno);
        write!(f, "could not {} ({name}", self.op.phrase())?;
        if self.wc_status != 0 {
            write!(f, ", work completion status {}", self.wc_status)?;
        }
        write!(f, "): {}; {}", self.what(), self.what_to_do())
    }
}

impl std::error::Error for Error {}

macro_rules! names {
    ($($errno:ident $name:literal),* $(,)?) => {
        /// The symbol of an errno, or its number.
        fn name(errno: Errno) -> String {
            match errno {
                $(Errno::$errno => $name.to_owned(),)*
                other => format!("errno {}", other.raw_os_error()),
            }
        }
    };
}

names!(
    TOOBIG "E2BIG", ACCESS "EACCES", ADDRINUSE "EADDRINUSE", ADDRNOTAVAIL "EADDRNOTAVAIL",
    AFNOSUPPORT "EAFNOSUPPORT", AGAIN "EAGAIN", ALREADY "EALREADY", BADF "EBADF", BADFD "EBADFD", BUSY "EBUSY",
    CANCELED "ECANCELED", CONNREFUSED "ECONNREFUSED", CONNRESET "ECONNRESET", DQUOT "EDQUOT", EXIST "EEXIST",
    FAULT "EFAULT", FBIG "EFBIG", HOSTUNREACH "EHOSTUNREACH", INTR "EINTR", INVAL "EINVAL",
    IO "EIO", ISCONN "EISCONN", KEYREVOKED "EKEYREVOKED", MFILE "EMFILE", MSGSIZE "EMSGSIZE", NETUNREACH "ENETUNREACH",
    NOBUFS "ENOBUFS", NODEV "ENODEV", NOENT "ENOENT", NOKEY "ENOKEY", NOMEM "ENOMEM",
    NOSPC "ENOSPC", NOTCONN "ENOTCONN", NOTTY "ENOTTY", NXIO "ENXIO", OPNOTSUPP "EOPNOTSUPP",
    OVERFLOW "EOVERFLOW", PERM "EPERM", PROTO "EPROTO", PROTONOSUPPORT "EPROTONOSUPPORT",
    PROTOTYPE "EPROTOTYPE", RANGE "ERANGE",
    REMOTEIO "EREMOTEIO", TIME "ETIME", XDEV "EXDEV",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_and_what_to_do() {
        let text = Error::new(Op::EndpointConnect, Errno::CONNREFUSED).to_string();
        assert!(
            text.contains("connect to the peer (ECONNREFUSED)"),
            "{text}"
        );
        assert!(text.contains("nobody listens"), "{text}");
        let text = Error::entry(Errno::REMOTEIO, 10).to_string();
        assert!(text.contains("status 10"), "{text}");
        let text = Error::entry(Errno::KEYREVOKED, 0).to_string();
        assert!(
            text.contains("EKEYREVOKED") && text.contains("invalidated"),
            "{text}"
        );
    }

    #[test]
    fn unknown_errnos_still_read_well() {
        let text = Error::new(Op::Info, Errno::XFULL).to_string();
        assert!(text.contains("errno 54"), "{text}");
    }

    #[test]
    fn connection_errors_are_told_apart() {
        assert!(Error::new(Op::EndpointConnect, Errno::ACCESS).is_connection());
        assert!(!Error::new(Op::Open, Errno::ACCESS).is_connection());
    }
}
