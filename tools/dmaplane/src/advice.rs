// SPDX-License-Identifier: GPL-2.0
//! What each errno of each command means, and what to do: one table.

use rustix::io::Errno;

use crate::Op;

type Advice = (&'static str, &'static str);

/// What was wrong, and what to do, for `errno` from `op`.
pub(crate) fn advice(op: Op, errno: Errno) -> Advice {
    of_command(op, errno).unwrap_or_else(|| of_any(errno))
}

/// What an errno means in one command.
fn of_command(op: Op, errno: Errno) -> Option<Advice> {
    use Errno as E;
    use Op::*;
    Some(match (op, errno) {
        (Open, E::NOENT | E::NXIO | E::NODEV) => (
            "there is no such device",
            "load the module: insmod dmaplane.ko",
        ),
        (Open, E::ACCESS | E::PERM) => (
            "this user may not open the device",
            "run as root, or have the device's group changed to one of yours",
        ),
        (Open, E::PROTO) => (
            "the module that is loaded has another version of the interface",
            "load the module that belongs to this program",
        ),
        (Mmap, E::NOENT) => ("the object is gone", "create it again"),
        (Mmap, E::NXIO) => ("the range goes beyond the end", "map a smaller range"),
        (Mmap, E::AGAIN | E::NOMEM) => (
            "there is no address space or memory for a mapping",
            "unmap something, or raise RLIMIT_AS",
        ),

        (BufCreate, E::INVAL) => (
            "the length is 0, or a strict placement names no node, or the options exclude each other",
            "give a length above 0, a node or nodes by turns with a strict placement, and not both",
        ),
        (BufCreate, E::NOBUFS) => (
            "there are too few blocks of 2 MiB for a buffer that has to consist of them",
            "free memory, or write 1 to /proc/sys/vm/compact_memory, or take what blocks there are",
        ),
        (BufCreate | BufPin | BufImport, E::FBIG) => (
            "the length is above what one buffer may have",
            "see max_buffer in `dmaplane info`, and use several buffers",
        ),
        (BufCreate | BufMigrate, E::NXIO) => (
            "the NUMA node does not exist or is offline",
            "see `numactl --hardware` for those there are",
        ),
        (BufCreate | BufMigrate, E::NOSPC) => (
            "the NUMA node has no room for a strict placement",
            "free memory on that node, or ask for a preferred one instead",
        ),
        (BufMigrate, E::ACCESS) => (
            "this program may have no memory on that node, or has no right to write to the buffer",
            "see its cpuset, and the rights that the buffer was opened with",
        ),
        (BufMigrate, E::BUSY) => (
            "a region, another driver or a system call needs the pages where they are",
            "deregister regions of the buffer, and end what else uses its memory, then try again",
        ),
        (BufMigrate, E::IO) => (
            "the memory of some pages is bad",
            "create another buffer; see the kernel's log",
        ),
        (BufQuery, E::NOBUFS) => (
            "more NUMA nodes than there was room for",
            "ask for the limits again: nr_nodes has grown",
        ),
        (BufExport, E::INVAL) => (
            "the part to export does not begin or end at a page",
            "give an offset and a length that are multiples of page_size",
        ),
        (Mmap | BufExport, E::OPNOTSUPP) => (
            "the buffer is memory that the program, or another driver, had already",
            "use that memory itself, or create a buffer",
        ),
        (BufOpen, E::INVAL | E::BADF) => (
            "the descriptor is not one of a shared buffer",
            "give one that `Buffer::share()` made",
        ),
        (BufShare | BufOpen, E::ACCESS) => (
            "these are more rights than were given",
            "ask for fewer rights, or whoever shared the buffer to give more",
        ),
        (Mmap, E::ACCESS) => (
            "the buffer was opened without the right to write",
            "have it shared, and open it, with that right",
        ),
        (BufExport, E::ACCESS) => (
            "the buffer was opened without the right to write",
            "export it to be read only, or have it shared with that right",
        ),
        (BufImport, E::INVAL | E::BADF) => (
            "the descriptor is not one of a dma-buf of whole pages",
            "give one that a driver made to share its memory",
        ),
        (BufImport, E::LOOP) => (
            "the dma-buf is a buffer of this module",
            "use that buffer",
        ),
        (BufImport, E::ACCESS) => (
            "the dma-buf may only be read",
            "import it for reading only, or have its driver make a descriptor to write with",
        ),
        (BufImport, E::OPNOTSUPP) => (
            "its driver does not show the memory to the kernel, or it is memory of a device",
            "copy what is in it to a buffer",
        ),
        (RegionRegister, E::OPNOTSUPP) => (
            "the buffer is memory of another driver, which the adapter cannot reach",
            "copy what is in it to a buffer that was created",
        ),
        (BufPin, E::INVAL) => (
            "the memory does not begin or end at a page, or there is none",
            "give an address and a length that are multiples of page_size",
        ),
        (BufPin, E::FAULT) => (
            "the memory is not mapped, must not be written to, or cannot be kept where it is",
            "pin anonymous or shared memory, or for reading only what is only read",
        ),
        (BufPin, E::OVERFLOW) => (
            "address and length wrap around",
            "give memory that this program has",
        ),
        (RegionRegister, E::ACCESS) => (
            "the buffer is memory that may only be read, or that peers may not reach",
            "register it with less access, or pin, import or open it with more rights",
        ),
        (BufExport, E::OVERFLOW | E::RANGE) => (
            "the part to export is empty or goes beyond the end of the buffer",
            "give a range inside the buffer",
        ),

        (RegionRegister, E::INVAL) => (
            "the region is empty or does not begin at a page",
            "give a length above 0 and an offset that is a multiple of page_size",
        ),
        (RegionRegister, E::OVERFLOW) => (
            "offset and length of the region wrap around",
            "give a range inside the buffer",
        ),
        (RegionRegister, E::RANGE) => (
            "the region goes beyond the end of the buffer",
            "give a range inside the buffer",
        ),
        (RegionDeregister, E::BUSY) => (
            "entries that use the region are in flight",
            "wait for their completions or close their endpoint first",
        ),
        (ViewCreate, E::INVAL) => (
            "there are no parts, or one of them is empty",
            "give parts that begin before they end",
        ),
        (ViewCreate, E::OVERFLOW | E::RANGE) => (
            "a part goes beyond the end of the region",
            "give ranges inside the region",
        ),
        (ViewCreate, E::ACCESS) => (
            "a part would allow what the region does not",
            "ask for less, or register the region with more",
        ),
        (ViewCreate, E::MFILE | E::TOOBIG) => (
            "the context would have too many views",
            "drop those that are not used; 65536 is the limit",
        ),
        (LeaseGrant, E::ACCESS) => (
            "the region was registered for use at this side only",
            "register it with Access::REMOTE_WRITE or Access::REMOTE_READ",
        ),
        (LeaseGrant, E::XDEV) => (
            "region and endpoint belong to different RDMA devices",
            "register the region through this endpoint",
        ),
        (LeaseGrant, E::MFILE) => (
            "the peer holds as many leases as a connection allows",
            "grant one larger region instead of many small ones",
        ),
        (LeaseWait, E::TIME) => (
            "the peer granted no lease in time",
            "see what the peer's program prints, or allow more time",
        ),
        (LeaseWait | LeaseGrant | RegionRegister, E::NOTCONN) => (
            "the connection is not established, or has ended",
            "see what the peer's program prints, and connect again",
        ),

        (EndpointListen, E::ADDRINUSE) => (
            "another program listens at that address",
            "choose another port or end that program",
        ),
        (EndpointListen | EndpointAddress, E::ADDRNOTAVAIL) => (
            "the local address is not one of this host",
            "give an address that `ip addr` shows on an RDMA-capable interface",
        ),
        (EndpointListen, E::INVAL) => ("the backlog is out of range", "give one from 1 to 128"),
        (EndpointRequest, E::TIME) => (
            "nobody connected in time",
            "start the sender, or allow more time",
        ),
        (EndpointAddress, E::NETUNREACH | E::HOSTUNREACH) => (
            "there is no route to the peer, or it does not answer",
            "check the address, `ip route get`, and that the peer's interface is up",
        ),
        (EndpointAddress, E::NODEV) => (
            "there is no RDMA device on the interface that leads to the peer",
            "add one (`rdma link add rxe0 type rxe netdev IFACE`) or give --source",
        ),
        (EndpointAddress, E::INVAL) => ("no destination was given", "give an address and a port"),
        (EndpointAddress, E::TIME) => (
            "the peer's address could not be resolved in time",
            "check that the peer's host is up, or allow more time",
        ),
        (EndpointConnect | EndpointAccept, E::INVAL) => (
            "a queue depth is out of range",
            "see max_depth in `dmaplane info`",
        ),
        (EndpointConnect | EndpointAccept, E::BUSY) => (
            "the channel's completion ring has no room for the receives asked for",
            "create the channel with more completion entries, or ask for fewer receives",
        ),
        (EndpointConnect | EndpointAccept, E::ISCONN) => (
            "the endpoint is connected or failed already",
            "begin again with a new endpoint",
        ),
        (EndpointConnect, E::CONNREFUSED) => (
            "nobody listens there, or its queue of requests is full",
            "start the receiver, check address and port, or try again later",
        ),
        (EndpointConnect, E::ACCESS) => (
            "the peer's program refused the connection",
            "its own output says why",
        ),
        (EndpointConnect | EndpointAccept, E::PROTONOSUPPORT) => (
            "the peer speaks another protocol or another version of it",
            "load the same version of dmaplane on both hosts",
        ),
        (EndpointConnect | EndpointAccept, E::TIME) => (
            "the peer did not answer in time",
            "see what the peer's program prints, or allow more time",
        ),

        (ChannelCreate, E::INVAL) => (
            "a ring size is not a power of two, or entries are looked for too long",
            "give powers of two above 0, and a minute at most",
        ),
        (ChannelCreate, E::AGAIN) => (
            "the system has as many threads as it may",
            "make fewer channels that have one, or raise kernel.threads-max with sysctl",
        ),
        (ChannelCreate, E::FBIG) => (
            "a ring is larger than allowed",
            "see max_ring_entries in `dmaplane info`",
        ),
        (ChannelCreate, E::PROTO) => (
            "the module described rings that do not fit their mapping",
            "load the module that belongs to this program",
        ),
        (ChannelEnter, E::BUSY) => (
            "the completion ring has no room for another entry's completion",
            "take completions from the ring, then submit again",
        ),
        (CounterCreate, E::INVAL) => (
            "the immediate has bits that its mask has not",
            "clear the bits of the immediate where the mask has none",
        ),
        (CounterCreate, E::EXIST) => (
            "the endpoint has a counter of the same immediates",
            "use that one, or drop it first",
        ),
        (CounterCreate, E::NOSPC) => (
            "the endpoint's counters have as many different masks as it allows",
            "use fewer different masks, which are up to 16",
        ),
        (ChannelEventfd, E::PROTOTYPE) => (
            "the descriptor is not one of eventfd(2)",
            "make one with eventfd(), and keep it open until it was handed over",
        ),
        (ChannelEnter | ChannelEventfd, E::BADFD) => (
            "the rings were corrupted, and the channel is unusable for good",
            "some code wrote to the rings' memory: find it; then use a new channel",
        ),
        (ChannelEnter, E::INVAL) => (
            "more completions were waited for than the ring can hold",
            "wait for fewer",
        ),
        (ChannelFile | BufExport | BufShare, E::MFILE) => (
            "this process has as many files open as it may",
            "raise its limit: ulimit -n",
        ),
        (ChannelFile | BufExport | BufShare, E::NFILE) => (
            "the system has as many files open as it may",
            "raise fs.file-max with sysctl",
        ),
        (ChannelClose, E::BUSY) => (
            "an endpoint still delivers to the channel",
            "close its endpoints first",
        ),
        (Push, E::BUSY) => (
            "the submission ring is full, or there is no room for one more list",
            "submit, then queue the entry again",
        ),
        (Push, E::INVAL) => (
            "the list is empty, or has more pages at one side than at the other",
            "give at least one range, and as many pages at both sides",
        ),
        (Push, E::TOOBIG) => (
            "the list is longer than one entry may have",
            "use an entry for each 4096 ranges, linked if they belong together",
        ),

        (Entry, E::OPNOTSUPP) => (
            "the module does not know this operation",
            "see the features in `dmaplane info`; a newer module may have it",
        ),
        (Entry, E::NOENT | E::BADF) => (
            "the entry names an endpoint, a region or a list that is gone",
            "keep all of them alive until the completion arrived",
        ),
        (Entry, E::ACCESS) => (
            "the lease does not allow it, the region or the buffer must not be written to, or the cpuset lacks the node",
            "see Lease::access; read into a region with Access::LOCAL_WRITE",
        ),
        (Entry, E::KEYREVOKED) | (LeaseGrant, E::KEYREVOKED) => {
            ("the region was invalidated", "register the memory again")
        }
        (Entry, E::BUSY) => (
            "entries that use the region are in flight, or the buffer to move is registered or its dma-buf mapped",
            "link the entry to the last of them, or have it drain; deregister or unmap before moving",
        ),
        (Entry, E::NXIO) => ("the NUMA node does not exist", "see nr_nodes in `dmaplane info`"),
        (Entry, E::NOSPC) => (
            "the NUMA node has no room for all of the buffer",
            "free memory there, or let pages stay where they are",
        ),
        (Entry, E::ALREADY) => (
            "what was to be canceled has been sent",
            "wait for its completion",
        ),
        (Entry, E::TOOBIG) => (
            "the entry's list is longer than the kernel takes",
            "use an entry for each 4096 ranges, linked if they belong together",
        ),
        (Entry, E::NOKEY) => (
            "the peer has granted no such lease on this connection",
            "use the number that this endpoint's wait_lease() returned",
        ),
        (Entry, E::OVERFLOW | E::RANGE) => (
            "the entry goes beyond the end of the region, the lease or its list's buffer",
            "keep offset and length within both, of each range",
        ),
        (Entry, E::MSGSIZE) => (
            "the message is longer than what takes it",
            "see EndpointStatus::message_bytes of the sender, and give RecvMessage room",
        ),
        (Entry, E::FBIG) => (
            "the transfer is longer than one entry may carry",
            "see max_transfer in `dmaplane info`, and split it",
        ),
        (Entry, E::XDEV) => (
            "region and endpoint belong to different RDMA devices",
            "register the region through this endpoint",
        ),
        (Entry, E::CANCELED) => (
            "the connection was closed at this side first",
            "wait for completions before closing the endpoint",
        ),
        (Entry, E::REMOTEIO) => (
            "the peer's adapter refused the transfer",
            "the peer may have deregistered the region; see what its program prints",
        ),
        (Entry, E::IO) => (
            "the local adapter reported an error",
            "see the work completion status and the kernel's log",
        ),
        _ => return None,
    })
}

/// What an errno means everywhere else.
fn of_any(errno: Errno) -> Advice {
    use Errno as E;
    match errno {
        E::NOTTY => (
            "the device does not know this command",
            "check that it is dmaplane's, and load a module at least as new as this program",
        ),
        E::TOOBIG => (
            "this program uses a feature that the module does not have",
            "load a module at least as new as this program",
        ),
        E::INVAL => (
            "an argument is wrong or from another version",
            "load the module that belongs to this program",
        ),
        E::NOENT => ("the object is gone", "create it again"),
        E::BADF => (
            "the object is of another kind",
            "pass the object that the call asks for",
        ),
        E::FAULT => (
            "the kernel could not read or write the argument",
            "this is a bug of the program: report it",
        ),
        E::MFILE => (
            "the context holds as many objects as it may",
            "drop some, or open another context",
        ),
        E::NOMEM => (
            "the kernel is out of memory",
            "free memory, or ask for less",
        ),
        E::DQUOT => (
            "this would exceed the locked memory that the user may have, or what the module allows",
            "raise RLIMIT_MEMLOCK (`ulimit -l`), or run with CAP_IPC_LOCK; or have root raise the module's limits, see `dmaplane info`",
        ),
        E::AFNOSUPPORT => (
            "the address is neither IPv4 nor IPv6",
            "give one of the two",
        ),
        E::MSGSIZE => (
            "the private data is longer than a connection carries",
            "send at most 32 bytes",
        ),
        E::TIME => ("it did not happen in time", "allow more time"),
        E::INTR => (
            "a signal arrived",
            "repeat the call if that was not meant to end it",
        ),
        E::NODEV => (
            "the RDMA device went away",
            "see `rdma link`; connect again when it is back",
        ),
        E::CONNRESET => (
            "the peer ended the connection",
            "see what the peer's program prints",
        ),
        E::NOTCONN => (
            "there is no connection",
            "see what the peer's program prints, and connect again",
        ),
        E::HOSTUNREACH | E::NETUNREACH => (
            "the peer cannot be reached",
            "check the link and that the peer's host is up",
        ),
        _ => ("an unexpected error", "see the kernel's log: dmesg"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_comes_before_common() {
        assert!(advice(Op::BufCreate, Errno::NXIO).0.contains("NUMA"));
        assert!(advice(Op::Stats, Errno::NOMEM).0.contains("memory"));
        assert_ne!(
            advice(Op::LeaseWait, Errno::TIME),
            advice(Op::ChannelEnter, Errno::TIME)
        );
    }
}
