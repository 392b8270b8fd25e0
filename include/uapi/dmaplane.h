/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * dmaplane: the one ABI between /dev/dmaplane and its users.
 *
 * One open of /dev/dmaplane is one context. A context owns buffers, regions,
 * endpoints, listeners and channels; closing it ends all of them, in order. As
 * with any file, it is closed when the last descriptor and the last mapping are
 * gone: a program that keeps a mapping, or the file of a channel, keeps its
 * connections, too.
 *
 * Rules that hold for every command:
 *
 *  - The argument is a struct that begins with its own size in bytes. A size
 *    below that of the first version of the struct is EINVAL. A larger one is
 *    accepted when the part unknown to the kernel is zero, else E2BIG; so is
 *    one above 4096 bytes.
 *  - A command returns 0, but for CHANNEL_ENTER, or -1 and errno.
 *  - Unknown flags and non-zero padding are EINVAL.
 *  - A handle is 32 bits, never 0, and means something in its own context
 *    only. A stale, foreign or never issued handle is ENOENT; a live handle of
 *    another kind of object is EBADF. Those of views are issued again, after
 *    millions of others (VIEW_CREATE); no other ones are.
 *  - An unreadable argument is EFAULT. An unknown command is ENOTTY.
 *  - A command that fails has changed nothing, but for what ENDPOINT_QUERY says:
 *    when the adapter takes no work any more the connection ends; and BUF_MIGRATE:
 *    what was moved stays. Output members are written only on success.
 *  - An argument that could be written when the command began, and cannot be when
 *    it is done, is EFAULT, too, and the command is undone. Only what the peer was
 *    sent cannot be: a connection just made is in state ERROR, a lease stands; nor
 *    what was moved.
 *  - Every wait takes a timeout in nanoseconds (DMAPLANE_FOREVER: none), ends
 *    with ETIME when it has passed, and with EINTR when a signal arrives.
 *  - More objects than dmaplane_info allows is EMFILE; no memory is ENOMEM; memory
 *    beyond RLIMIT_MEMLOCK (without CAP_IPC_LOCK), or beyond what dmaplane_info
 *    allows, is EDQUOT.
 *
 * All integers are in host byte order, all sizes and offsets in bytes. The
 * layout is the same for 32-bit programs, but mmap offsets need 64 bits of
 * file offset, more than a 32-bit program can pass to mmap().
 */
#ifndef _UAPI_DMAPLANE_H
#define _UAPI_DMAPLANE_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* dmaplane_info.abi: raised when an existing program would need a change. */
#define DMAPLANE_ABI_VERSION	5

/* A timeout that never passes. */
#define DMAPLANE_FOREVER	0xffffffffffffffffULL

/* No preferred NUMA node. */
#define DMAPLANE_NODE_ANY	(-1)

#define DMAPLANE_IOC_MAGIC	0xDA

/* Command numbers; an ioctl carries no size, the struct does. */
enum dmaplane_cmd {
	DMAPLANE_CMD_INFO = 0x00,
	DMAPLANE_CMD_STATS = 0x01,
	DMAPLANE_CMD_BUF_CREATE = 0x10,
	DMAPLANE_CMD_BUF_QUERY = 0x11,
	DMAPLANE_CMD_BUF_DESTROY = 0x12,
	DMAPLANE_CMD_BUF_EXPORT = 0x13,
	DMAPLANE_CMD_BUF_PIN = 0x14,
	DMAPLANE_CMD_BUF_IMPORT = 0x15,
	DMAPLANE_CMD_BUF_MIGRATE = 0x16,
	DMAPLANE_CMD_VIEW_CREATE = 0x18,
	DMAPLANE_CMD_BUF_SHARE = 0x19,
	DMAPLANE_CMD_BUF_OPEN = 0x1a,
	DMAPLANE_CMD_VIEW_DESTROY = 0x1b,
	DMAPLANE_CMD_FABRIC_LIST = 0x20,
	DMAPLANE_CMD_REGION_REGISTER = 0x21,
	DMAPLANE_CMD_REGION_DEREGISTER = 0x22,
	DMAPLANE_CMD_LEASE_GRANT = 0x28,
	DMAPLANE_CMD_LEASE_WAIT = 0x29,
	DMAPLANE_CMD_ENDPOINT_LISTEN = 0x30,
	DMAPLANE_CMD_ENDPOINT_REQUEST = 0x31,
	DMAPLANE_CMD_ENDPOINT_ACCEPT = 0x32,
	DMAPLANE_CMD_ENDPOINT_ADDRESS = 0x33,
	DMAPLANE_CMD_ENDPOINT_CONNECT = 0x34,
	DMAPLANE_CMD_ENDPOINT_QUERY = 0x35,
	DMAPLANE_CMD_ENDPOINT_CLOSE = 0x36,
	DMAPLANE_CMD_CHANNEL_CREATE = 0x40,
	DMAPLANE_CMD_CHANNEL_ENTER = 0x41,
	DMAPLANE_CMD_CHANNEL_CLOSE = 0x42,
	DMAPLANE_CMD_CHANNEL_FILE = 0x43,
	DMAPLANE_CMD_CHANNEL_EVENTFD = 0x44,
	DMAPLANE_CMD_COUNTER_CREATE = 0x50,
	DMAPLANE_CMD_COUNTER_QUERY = 0x51,
	DMAPLANE_CMD_COUNTER_DESTROY = 0x52
};

#define DMAPLANE_IOC_INFO              _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_INFO)
#define DMAPLANE_IOC_STATS             _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_STATS)
#define DMAPLANE_IOC_BUF_CREATE        _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_BUF_CREATE)
#define DMAPLANE_IOC_BUF_QUERY         _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_BUF_QUERY)
#define DMAPLANE_IOC_BUF_DESTROY       _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_BUF_DESTROY)
#define DMAPLANE_IOC_BUF_EXPORT        _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_BUF_EXPORT)
#define DMAPLANE_IOC_BUF_PIN           _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_BUF_PIN)
#define DMAPLANE_IOC_BUF_IMPORT        _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_BUF_IMPORT)
#define DMAPLANE_IOC_BUF_MIGRATE       _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_BUF_MIGRATE)
#define DMAPLANE_IOC_BUF_SHARE         _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_BUF_SHARE)
#define DMAPLANE_IOC_BUF_OPEN          _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_BUF_OPEN)
#define DMAPLANE_IOC_VIEW_CREATE       _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_VIEW_CREATE)
#define DMAPLANE_IOC_VIEW_DESTROY      _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_VIEW_DESTROY)
#define DMAPLANE_IOC_FABRIC_LIST       _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_FABRIC_LIST)
#define DMAPLANE_IOC_REGION_REGISTER   _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_REGION_REGISTER)
#define DMAPLANE_IOC_REGION_DEREGISTER _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_REGION_DEREGISTER)
#define DMAPLANE_IOC_LEASE_GRANT       _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_LEASE_GRANT)
#define DMAPLANE_IOC_LEASE_WAIT        _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_LEASE_WAIT)
#define DMAPLANE_IOC_ENDPOINT_LISTEN   _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_ENDPOINT_LISTEN)
#define DMAPLANE_IOC_ENDPOINT_REQUEST  _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_ENDPOINT_REQUEST)
#define DMAPLANE_IOC_ENDPOINT_ACCEPT   _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_ENDPOINT_ACCEPT)
#define DMAPLANE_IOC_ENDPOINT_ADDRESS  _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_ENDPOINT_ADDRESS)
#define DMAPLANE_IOC_ENDPOINT_CONNECT  _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_ENDPOINT_CONNECT)
#define DMAPLANE_IOC_ENDPOINT_QUERY    _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_ENDPOINT_QUERY)
#define DMAPLANE_IOC_ENDPOINT_CLOSE    _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_ENDPOINT_CLOSE)
#define DMAPLANE_IOC_CHANNEL_CREATE    _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_CHANNEL_CREATE)
#define DMAPLANE_IOC_CHANNEL_ENTER     _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_CHANNEL_ENTER)
#define DMAPLANE_IOC_CHANNEL_CLOSE     _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_CHANNEL_CLOSE)
#define DMAPLANE_IOC_CHANNEL_FILE      _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_CHANNEL_FILE)
#define DMAPLANE_IOC_CHANNEL_EVENTFD   _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_CHANNEL_EVENTFD)
#define DMAPLANE_IOC_COUNTER_CREATE    _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_COUNTER_CREATE)
#define DMAPLANE_IOC_COUNTER_QUERY     _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_COUNTER_QUERY)
#define DMAPLANE_IOC_COUNTER_DESTROY   _IO(DMAPLANE_IOC_MAGIC, DMAPLANE_CMD_COUNTER_DESTROY)

/* ---- INFO, STATS ------------------------------------------------------- */

/* dmaplane_info.features */
#define DMAPLANE_FEATURE_WRITE_IMM	(1ULL << 0)
#define DMAPLANE_FEATURE_LEASE		(1ULL << 1)
#define DMAPLANE_FEATURE_COUNTER	(1ULL << 2)
#define DMAPLANE_FEATURE_SQPOLL		(1ULL << 3)
/* DMAPLANE_URING_CMD_SUBMIT */
#define DMAPLANE_FEATURE_URING		(1ULL << 4)
#define DMAPLANE_FEATURE_TIMES		(1ULL << 5)
#define DMAPLANE_FEATURE_READ		(1ULL << 6)
#define DMAPLANE_FEATURE_LIST		(1ULL << 7)
#define DMAPLANE_FEATURE_SEND		(1ULL << 8)
#define DMAPLANE_FEATURE_MIGRATE	(1ULL << 9)
/* BUF_EXPORT */
#define DMAPLANE_FEATURE_EXPORT		(1ULL << 10)
/* DMAPLANE_BUF_INTERLEAVE, DMAPLANE_BUF_HUGE, DMAPLANE_BUF_NO_HUGE, dmaplane_buf_query.blocks */
#define DMAPLANE_FEATURE_PLACEMENT	(1ULL << 11)
/* BUF_PIN */
#define DMAPLANE_FEATURE_PIN		(1ULL << 12)
/* BUF_IMPORT */
#define DMAPLANE_FEATURE_IMPORT		(1ULL << 13)
/* BUF_MIGRATE */
#define DMAPLANE_FEATURE_BUF_MIGRATE	(1ULL << 14)
/* VIEW_CREATE */
#define DMAPLANE_FEATURE_VIEW		(1ULL << 15)
/* BUF_SHARE, BUF_OPEN */
#define DMAPLANE_FEATURE_SHARE		(1ULL << 16)

/**
 * struct dmaplane_info - what this kernel module offers and its limits
 * @size:		in: sizeof(struct dmaplane_info)
 * @flags:		in: must be 0
 * @abi:		out: DMAPLANE_ABI_VERSION of the module
 * @page_size:		out: granularity of buffers and mappings
 * @features:		out: DMAPLANE_FEATURE_*
 * @max_buffer:		out: largest length of one buffer
 * @max_transfer:	out: largest length of one ring entry's transfer
 * @max_objects:	out: handles of all kinds that one context may hold
 * @max_ring_entries:	out: largest submission or completion ring
 * @max_depth:		out: largest send_depth or recv_depth of an endpoint
 * @nr_nodes:		out: NUMA node numbers are below this
 * @max_memory:		out: bytes that buffers and rings of all contexts together may
 *			have, or 0x7fffffffffffffff: the module's parameter
 *			max_memory_mib, which root may change at any time. A buffer
 *			counts for as long as BUF_DESTROY says;
 *			pages that others keep after that (a page of a pipe, a BIO) do not
 * @max_context_memory:	out: the same of one context: max_context_mib
 */
struct dmaplane_info {
	__u32 size;
	__u32 flags;
	__u32 abi;
	__u32 page_size;
	__aligned_u64 features;
	__aligned_u64 max_buffer;
	__aligned_u64 max_transfer;
	__u32 max_objects;
	__u32 max_ring_entries;
	__u32 max_depth;
	__u32 nr_nodes;
	__aligned_u64 max_memory;
	__aligned_u64 max_context_memory;
};

/**
 * struct dmaplane_stats - objects that this context holds now
 * @size:		in: sizeof(struct dmaplane_stats)
 * @flags:		in: must be 0
 * @buffers:		out: buffers alive, those without a handle that a
 *			mapping, a region or a dma-buf still holds included
 * @regions:		out: regions alive
 * @endpoints:		out: endpoints and listeners alive, those without a handle that a
 *			counter still holds included
 * @channels:		out: channels alive
 * @buffer_bytes:	out: memory of the buffers alive that were made here, and not by BUF_OPEN
 * @submitted:		out: entries accepted since open, of rings and of io_uring
 * @completed:		out: completions of those entries since open; equal to
 *			@submitted when nothing is in flight
 * @received:		out: receive completions since open
 *
 * /proc/PID/fdinfo/FD of the context's file says the same to others: lines "dmaplane-NAME:", a tab
 * and a number, where NAME is buffers, buffer-bytes, memory-bytes (that of rings included: what
 * max_context_memory limits), dmabufs, imports, shares, regions, views, endpoints, channels; mappings and nodeN-bytes, which are those
 * of buffers with a handle, the latter read from the pages, for each node that has some. Their order
 * may change, and others may be added.
 */
struct dmaplane_stats {
	__u32 size;
	__u32 flags;
	__u32 buffers;
	__u32 regions;
	__u32 endpoints;
	__u32 channels;
	__aligned_u64 buffer_bytes;
	__aligned_u64 submitted;
	__aligned_u64 completed;
	__aligned_u64 received;
};

/* ---- Buffers ----------------------------------------------------------- */

/* dmaplane_buf_create.flags */
/* Every page lies on @node, or that of @nodes whose turn it is, or the call fails with ENOSPC. */
#define DMAPLANE_BUF_NODE_STRICT	(1U << 0)
/*
 * The pages lie on the nodes of @nodes by turns, beginning with the lowest number: DMAPLANE_HUGE_SIZE
 * bytes at a time, with NO_HUGE one page. What has no room on its node lies elsewhere, unless STRICT.
 */
#define DMAPLANE_BUF_INTERLEAVE		(1U << 1)
/*
 * The memory is in blocks of DMAPLANE_HUGE_SIZE, each contiguous in memory and beginning at a multiple
 * of that, or the call fails with ENOBUFS. The kernel tries to make room for them, which may take
 * long. @length is rounded up to whole blocks. MIGRATE keeps to that.
 */
#define DMAPLANE_BUF_HUGE		(1U << 2)
/* It is not taken in blocks of that size. With neither it is as far as there are some at hand. */
#define DMAPLANE_BUF_NO_HUGE		(1U << 3)

/* BUF_QUERY alone says these: it was made by BUF_PIN, must not be written to here, was made by BUF_IMPORT. */
#define DMAPLANE_BUF_PINNED		(1U << 4)
#define DMAPLANE_BUF_RDONLY		(1U << 5)
#define DMAPLANE_BUF_IMPORTED		(1U << 6)

/* The largest block: 2 MiB, which is 1 << 9 pages. */
#define DMAPLANE_HUGE_SIZE	(2U << 20)
/* Sizes that a block may have: 1 page, 2, 4, and so on up to that. */
#define DMAPLANE_BLOCK_ORDERS	10

/**
 * struct dmaplane_buf_create - allocate zeroed pages near a NUMA node
 * @size:		in: sizeof(struct dmaplane_buf_create)
 * @flags:		in: DMAPLANE_BUF_*
 * @length:		in: bytes, rounded up to whole pages
 * @node:		in: preferred NUMA node, or DMAPLANE_NODE_ANY
 * @handle:		out: the buffer
 * @mmap_offset:	out: offset to mmap() the buffer at, MAP_SHARED only;
 *			add a page-aligned offset below 2 GiB to map a part
 * @nodes:		in: with INTERLEAVE, a bit for each node to use, 1 << 0 for node 0; else 0
 *
 * Without a node the memory policy and the cpuset of the caller decide where pages lie; a policy
 * is asked for each page, so that there are no larger blocks then, unless HUGE.
 *
 * Errors: EINVAL (@length is 0, unknown flag, STRICT with NODE_ANY and without INTERLEAVE, INTERLEAVE
 * with a @node or without @nodes, @nodes without INTERLEAVE, HUGE with NO_HUGE), EFBIG
 * (@length above max_buffer), ENXIO (@node, or one of @nodes, does not exist or is offline),
 * ENOSPC (STRICT and the node, or what the caller may have of it, has no
 * room), ENOBUFS (HUGE, and there are too few such blocks, with STRICT on the nodes), EDQUOT, EMFILE,
 * ENOMEM, EINTR (the caller is being killed).
 *
 * mmap() itself fails with ENOENT for a stale offset, EBADF for one of another
 * kind of object, ENXIO for a range beyond the end, EINVAL for a private
 * mapping, EACCES for a writable one of a buffer that was opened without SHARE_WRITE. When it returns all
 * pages are mapped, but for blocks of DMAPLANE_HUGE_SIZE which begin at a
 * multiple of that in the mapping's addresses, as they do where mmap() chooses these: each is mapped as
 * a whole at its first touch, by one fault, or at once with MAP_POPULATE. If transparent huge pages
 * are off (/sys/kernel/mm/transparent_hugepage/enabled, MADV_NOHUGEPAGE) it is as well, with entries of
 * single pages.
 *
 * What it shows is the memory itself, in a child of fork(), too, unless MADV_DONTFORK. munmap(),
 * mprotect() and mremap() may be of parts, but no mapping grows (EFAULT), nor leaves another behind
 * (MREMAP_DONTUNMAP, EINVAL). MADV_DONTNEED never loses a byte, and MADV_REMOVE and MADV_FREE fail. One
 * with PROT_READ can be made writable by mprotect(), unless the file was opened for reading only; of
 * such a file no mapping can be written to, though its commands do not ask.
 */
struct dmaplane_buf_create {
	__u32 size;
	__u32 flags;
	__aligned_u64 length;
	__s32 node;
	__u32 handle;
	__aligned_u64 mmap_offset;
	__aligned_u64 nodes;
};

/**
 * struct dmaplane_buf_query - where the pages of a buffer really are
 * @size:		in: sizeof(struct dmaplane_buf_query)
 * @flags:		in: must be 0
 * @handle:		in: the buffer
 * @nr_nodes:		in: entries that @node_pages has room for;
 *			out: entries written (dmaplane_info.nr_nodes)
 * @node_pages:		in: user pointer to __u64[@nr_nodes]: receives the
 *			number of pages on each node, read from the pages now
 * @length:		out: bytes, in whole pages
 * @pages:		out: pages in all, the sum over the nodes
 * @node:		out: the node asked for, last by a MIGRATE that
 *			succeeded, or DMAPLANE_NODE_ANY
 * @create_flags:	out: DMAPLANE_BUF_* it was made with
 * @mappings:		out: user mappings of the buffer alive now, those of its
 *			dma-bufs included, and not those of others that share its memory
 * @moves:		out: how often pages of it were moved, modulo 2^32: as long as
 *			it is the same, each page is where it was. @node_pages and @blocks
 *			are those of this number
 * @nodes:		out: those it was made with
 * @blocks:		out: how many blocks of 1 << i pages it consists of, read from the pages now:
 *			pages of the buffer that follow each other in memory, on one node, as large
 *			as is possible, beginning at a multiple of their size
 *
 * Errors: ENOENT, EBADF, ENOBUFS (@nr_nodes below dmaplane_info.nr_nodes),
 * EFAULT (@node_pages cannot be written).
 */
struct dmaplane_buf_query {
	__u32 size;
	__u32 flags;
	__u32 handle;
	__u32 nr_nodes;
	__aligned_u64 node_pages;
	__aligned_u64 length;
	__aligned_u64 pages;
	__s32 node;
	__u32 create_flags;
	__u32 mappings;
	__u32 moves;
	__aligned_u64 nodes;
	__u32 blocks[DMAPLANE_BLOCK_ORDERS];
};

/* dmaplane_buf_export.flags */
/* Whoever gets the dma-buf may read the memory, and not write to it. */
#define DMAPLANE_EXPORT_RDONLY		(1U << 0)

/**
 * struct dmaplane_buf_export - make a dma-buf of a buffer, or of a part of it
 * @size:	in: sizeof(struct dmaplane_buf_export)
 * @flags:	in: DMAPLANE_EXPORT_*
 * @handle:	in: the buffer
 * @fd:		out: a descriptor of the dma-buf, closed on exec
 * @offset:	in: first byte, a multiple of page_size
 * @length:	in: bytes, a multiple of page_size; 0: all from @offset on
 *
 * The dma-buf is the memory, not a copy: other drivers can import it, and any
 * process that has the descriptor can map it (MAP_SHARED), without /dev/dmaplane.
 * A buffer can be exported any number of times, and parts may overlap. The memory,
 * and its charge, live until the last descriptor, mapping and importer are gone,
 * whatever becomes of handle and context; the context itself does not. Pages that the
 * kernel has in hand for somebody who has mapped them (in a pipe, by a fixed buffer of
 * io_uring) live on after that, uncharged.
 *
 * lseek(fd, 0, SEEK_END) tells the size, poll() and the ioctls of linux/dma-buf.h
 * work as with any dma-buf. The module's own entries attach no fences: that they are
 * done is told by their completions. DMA_BUF_IOCTL_SYNC gives the memory to the CPU,
 * when fences of others are signalled, and back to all devices that have it mapped to read
 * it. Where devices need that (bounce buffers, no coherence), entries that touch the memory
 * belong between START and END, too, and only one of the devices that write may have it
 * mapped at a time: what each has is taken for new.
 *
 * With DMAPLANE_EXPORT_RDONLY a writable shared mapping is EACCES, as is mapping for a device
 * that would write; the kernel does not map it for importers. So drivers that always map
 * for both directions cannot import it. That holds for this dma-buf, not for the buffer.
 * mmap() of a dma-buf is EINVAL beyond its end, and with MAP_PRIVATE.
 *
 * As long as somebody maps a dma-buf of it, a process, a device or the kernel, a buffer
 * stays where it is: DMAPLANE_OP_MIGRATE and BUF_MIGRATE are EBUSY. Being only exported,
 * or attached to, it can be moved. So whoever was given a descriptor can keep it there.
 *
 * Errors: EINVAL (@offset or @length not a multiple of page_size), EOVERFLOW (@offset +
 * @length wraps), ERANGE (beyond the buffer's end, or nothing is left from @offset on),
 * EOPNOTSUPP (the buffer was made by BUF_PIN or BUF_IMPORT), EACCES (without RDONLY, of a buffer that was
 * opened without SHARE_WRITE), EMFILE (RLIMIT_NOFILE), ENFILE,
 * ENOMEM.
 */
struct dmaplane_buf_export {
	__u32 size;
	__u32 flags;
	__u32 handle;
	__s32 fd;
	__aligned_u64 offset;
	__aligned_u64 length;
};

/* dmaplane_buf_pin.flags */
/* The memory is read, and not written to. */
#define DMAPLANE_PIN_RDONLY		(1U << 0)

/**
 * struct dmaplane_buf_pin - make a buffer of memory that the caller has
 * @size:	in: sizeof(struct dmaplane_buf_pin)
 * @flags:	in: DMAPLANE_PIN_*
 * @addr:	in: its first byte, a multiple of page_size
 * @length:	in: bytes, a multiple of page_size
 * @handle:	out: the buffer
 * @pad:	in: must be 0
 *
 * The buffer is the pages that are there now, and keeps them for as long as it lives, whatever is done
 * to the addresses. Of private memory the caller has other pages there after munmap(), MADV_DONTNEED
 * or exec(), and a child of fork() has copies; shared memory stays shared with whoever maps it. They
 * stay where they are: MIGRATE and BUF_MIGRATE are EBUSY. They are charged like those of other buffers; part of a huge
 * page keeps all of it, so all of it is charged, by each buffer, and again where other pages lie
 * between. What has to come from elsewhere first (a file, by userfaultfd) is waited for, which only a
 * fatal signal ends.
 *
 * It is used as any buffer, but has no mapping of the module's, and cannot be exported: mmap() and
 * BUF_EXPORT are EOPNOTSUPP. With PIN_RDONLY memory that the caller may only read can be pinned, and
 * what would write to it is EACCES: COPY, FILL and RECV to it, regions with LOCAL_WRITE or
 * REMOTE_WRITE. Of private memory it is the caller's own copy, which is made if need be: what a file
 * gets later is not shown.
 *
 * Errors: EINVAL (@length is 0, unknown flag, not a multiple of page_size), EFBIG (@length above
 * max_buffer), EOVERFLOW (@addr + @length wraps), EFAULT (not all of it is mapped, and, without
 * PIN_RDONLY, writable; or it cannot be kept: a writable shared mapping of a file in most file
 * systems, memory of devices), EDQUOT, EMFILE, ENOMEM, EINTR (the caller is being killed).
 */
struct dmaplane_buf_pin {
	__u32 size;
	__u32 flags;
	__aligned_u64 addr;
	__aligned_u64 length;
	__u32 handle;
	__u32 pad;
};

/* dmaplane_buf_import.flags */
/* The memory is read, and not written to. */
#define DMAPLANE_IMPORT_RDONLY		(1U << 0)

/* dmaplane_buf_import.via */
/* The exporter shows it to the kernel, and software moves the bytes. */
#define DMAPLANE_VIA_VMAP		1

/**
 * struct dmaplane_buf_import - make a buffer of another driver's dma-buf
 * @size:	in: sizeof(struct dmaplane_buf_import)
 * @flags:	in: DMAPLANE_IMPORT_*
 * @fd:		in: a descriptor of the dma-buf, which may be closed afterwards
 * @handle:	out: the buffer
 * @length:	out: bytes, all of the dma-buf
 * @via:	in: must be 0; out: how the memory is reached, DMAPLANE_VIA_*
 * @pad:	in: must be 0
 *
 * The buffer is the memory, not a copy, and holds the dma-buf for as long as it lives (see
 * BUF_DESTROY), attached and pinned: the exporter does not move it meanwhile. It can be imported any
 * number of times; these are different buffers, of the same bytes.
 *
 * With VIA_VMAP the pages are used that the exporter shows to the kernel. COPY, FILL, RECV and SEND can
 * use it, and regions over fabrics whose adapter is software (Soft-RoCE, and Soft-iWARP without
 * REMOTE_READ, as that may go on sending after a region has ended); else REGION_REGISTER is
 * EOPNOTSUPP. As of any dma-buf, entries that touch the memory belong between START
 * and END of DMA_BUF_IOCTL_SYNC where another device has it mapped that needs that, or has fences: the
 * module waits for none, and attaches none.
 *
 * It has no mapping of the module's, cannot be exported, nor moved: mmap(), BUF_EXPORT and MIGRATE are
 * EOPNOTSUPP. The dma-buf itself can be mapped. It counts as memory of the context and of the module
 * (max_context_memory, max_memory), and for RLIMIT_MEMLOCK, each time that it is imported, since it is
 * pinned. What a COPY between two buffers of the same bytes does, where its ranges overlap, is not said.
 *
 * To write to it the descriptor must allow that. With IMPORT_RDONLY it need not, and what would write
 * to the buffer is EACCES: COPY, FILL and RECV to it, regions with LOCAL_WRITE or REMOTE_WRITE.
 *
 * Errors: EINVAL (unknown flag, @via or @pad not 0, @fd is not of a dma-buf, whose size is 0 or not a
 * multiple of page_size), EBADF (@fd is closed), ELOOP (the dma-buf was made by BUF_EXPORT, of this
 * context or another), EFBIG (larger than max_buffer), EACCES (@fd is for writing only, or for reading
 * only without IMPORT_RDONLY), EOPNOTSUPP (its exporter cannot show it to the kernel, or only to who lets go of it
 * on demand, or it is no ordinary memory: registers, memory of devices, reserved pages), EIO (its
 * exporter failed, be it for lack of room), EDQUOT, EMFILE, ENOMEM, EINTR.
 */
struct dmaplane_buf_import {
	__u32 size;
	__u32 flags;
	__s32 fd;
	__u32 handle;
	__aligned_u64 length;
	__u32 via;
	__u32 pad;
};

/* dmaplane_buf_migrate.flags, and dmaplane_sqe.imm of MIGRATE */
/* If a page has no room on the node that is ENOSPC; else it stays where it is. */
#define DMAPLANE_MIGRATE_STRICT		(1U << 0)

/* dmaplane_buf_migrate.engines */
/* Processors near the pages; the module's parameter copy_threads says how many at most. */
#define DMAPLANE_ENGINE_CPU		(1U << 0)
/* A channel of a DMA engine, if the machine has one that is free, and unless the parameter copy_dma is 0. */
#define DMAPLANE_ENGINE_DMA		(1U << 1)

/**
 * struct dmaplane_buf_migrate - move a buffer's pages to another NUMA node
 * @size:	in: sizeof(struct dmaplane_buf_migrate)
 * @flags:	in: DMAPLANE_MIGRATE_*
 * @handle:	in: the buffer
 * @node:	in: the node that its pages go to
 * @moved:	out: pages that were elsewhere and were moved there
 * @first_ns:	out: until the first batch of them was there; 0 if there were none
 * @total_ns:	out: until all were
 * @engines:	out: DMAPLANE_ENGINE_*, what has copied them: one, or if it failed half-way others as well;
 *		0 if there were none
 * @threads:	out: most processors that copied at a time; 0 if only a DMA engine did
 *
 * What DMAPLANE_OP_MIGRATE does, by the caller itself: in batches, and all who use the buffer go on.
 * A signal, or work of io_uring's for the thread, ends it with EINTR when some were moved. Whatever it
 * fails with, what was moved stays, and another call goes on with the rest.
 *
 * Errors: EINVAL (unknown flag), ENOENT, EBADF (@handle), EINTR, and those of the entry: EOPNOTSUPP (the
 * buffer was made by BUF_IMPORT), ENXIO, EACCES, EBUSY, EKEYREVOKED, ENODEV, ENOSPC, EIO, ENOMEM.
 */
struct dmaplane_buf_migrate {
	__u32 size;
	__u32 flags;
	__u32 handle;
	__s32 node;
	__aligned_u64 moved;
	__aligned_u64 first_ns;
	__aligned_u64 total_ns;
	__u32 engines;
	__u32 threads;
};

/* dmaplane_buf_share.rights, dmaplane_buf_open.rights */
/* What everybody has who has anything. */
#define DMAPLANE_SHARE_READ		(1U << 0)
/* The memory may be written to, and moved. */
#define DMAPLANE_SHARE_WRITE		(1U << 1)
/* Peers may be let reach it: regions with REMOTE_READ or, if it may be written to, REMOTE_WRITE. */
#define DMAPLANE_SHARE_REMOTE		(1U << 2)

/**
 * struct dmaplane_buf_share - make a descriptor by which others can open a buffer
 * @size:	in: sizeof(struct dmaplane_buf_share)
 * @flags:	in: must be 0
 * @handle:	in: the buffer
 * @rights:	in: DMAPLANE_SHARE_*, READ among them: what may be opened by it
 * @fd:		out: the descriptor, closed on exec
 * @pad:	in: must be 0
 *
 * The descriptor can be passed to any process (SCM_RIGHTS, fork(), pidfd_getfd()), which opens it in a context
 * of its own, any number of times. Nothing else can be done with it but to close it. The memory, and its charge,
 * live until the last descriptor and the last buffer of it are gone (see BUF_DESTROY), whatever becomes of handle
 * and context; the context itself does not.
 *
 * Errors: EINVAL (unknown right, no READ), ENOENT, EBADF, EACCES (a right that the buffer was not opened with,
 * WRITE of what must not be written to), EMFILE (RLIMIT_NOFILE), ENFILE, ENOMEM.
 */
struct dmaplane_buf_share {
	__u32 size;
	__u32 flags;
	__u32 handle;
	__u32 rights;
	__s32 fd;
	__u32 pad;
};

/**
 * struct dmaplane_buf_open - make a buffer of memory that another context shares
 * @size:	in: sizeof(struct dmaplane_buf_open)
 * @flags:	in: must be 0
 * @fd:		in: a descriptor made by BUF_SHARE, which may be closed afterwards
 * @rights:	in: DMAPLANE_SHARE_*, READ among them, and none that the descriptor has not
 * @handle:	out: the buffer
 * @pad:	in: must be 0
 * @length:	out: bytes, in whole pages
 * @mmap_offset: out: as of BUF_CREATE, or 0 if it cannot be mapped: it was made by BUF_PIN or BUF_IMPORT
 *
 * The buffer is the memory, not a copy. It is used as the one that was shared, with these rights, and can be shared
 * again, with no more of them. Without WRITE, what would write to it is EACCES: a writable mapping (which mprotect()
 * does not make either), COPY, FILL and RECV to it, regions with LOCAL_WRITE or REMOTE_WRITE, BUF_EXPORT without
 * RDONLY, and so are MIGRATE and BUF_MIGRATE. Without REMOTE regions with REMOTE_READ or REMOTE_WRITE are.
 *
 * The memory counts once, as that of the context that made it, for as long as anybody has it, and not as that of
 * those who open it; they have one handle less to make (max_objects). BUF_MIGRATE moves it for all of them.
 * At most 1024 buffers of it can be mapped; mmap() of more is ENOMEM.
 *
 * Errors: EINVAL (unknown right, no READ, @fd was not made by BUF_SHARE), EBADF (@fd is closed), EACCES (a right that
 * @fd does not have), EMFILE, ENOMEM.
 */
struct dmaplane_buf_open {
	__u32 size;
	__u32 flags;
	__s32 fd;
	__u32 rights;
	__u32 handle;
	__u32 pad;
	__aligned_u64 length;
	__aligned_u64 mmap_offset;
};

/**
 * struct dmaplane_handle - BUF_DESTROY, REGION_DEREGISTER, ENDPOINT_CLOSE,
 *			    CHANNEL_CLOSE, COUNTER_DESTROY
 * @size:	in: sizeof(struct dmaplane_handle)
 * @flags:	in: must be 0
 * @handle:	in: the object; the handle is stale from now on
 * @pad:	in: must be 0
 *
 * BUF_DESTROY: the memory lives on until the last mapping, the last region
 * over it, the last dma-buf of it, the last share of it and what was opened by that are gone, and over iWARP the endpoints whose peers were
 * leased it for reading; it is never reused before.
 * REGION_DEREGISTER: the peer's key is invalid when the call returns, unless
 * entries that use the region are in flight or a lease on it is being sent:
 * EBUSY then, and nothing changes. The endpoint that it was registered through
 * may be closed before.
 * ENDPOINT_CLOSE (endpoints and listeners): ends the connection, or rejects a request not yet
 * accepted. Every entry that has begun is completed, as a rule with ECANCELED, before the call
 * returns; one that waits for others (DMAPLANE_SQE_LINK, DMAPLANE_SQE_DRAIN) is when its turn
 * comes, with ENOTCONN, or by CANCEL. That of an endpoint which is connecting over iWARP waits,
 * against signals too, until TCP has connected or given up.
 * CHANNEL_CLOSE: EBUSY while an endpoint delivers to it. Entries that have not
 * begun, and copies and moves under way, are completed with ECANCELED before it returns.
 * Those for endpoints that do not deliver to it, COUNTER_WAIT included, go on.
 * COUNTER_DESTROY: entries that wait for it complete with ECANCELED, and messages
 * that it would have counted are told of again.
 */
struct dmaplane_handle {
	__u32 size;
	__u32 flags;
	__u32 handle;
	__u32 pad;
};

/* ---- Fabrics, regions, leases ------------------------------------------ */

#define DMAPLANE_NAME_MAX	64

/* dmaplane_fabric.flags */
/* Writes can carry an immediate; without it (iWARP) WRITE_IMM is EOPNOTSUPP. */
#define DMAPLANE_FABRIC_WRITE_IMM	(1U << 0)

/**
 * struct dmaplane_fabric - one RDMA device that this process may use
 * @fabric:		number of the device, not reused while the module lives
 * @node:		NUMA node of the device, or DMAPLANE_NODE_ANY
 * @name:		name of the device, NUL-terminated, e.g. "rxe0"
 * @max_segment:	bytes that one memory key can cover on this device;
 *			larger regions use several
 * @active_mtu:		path MTU of port 1 in bytes, 0 when the port is down
 * @flags:		DMAPLANE_FABRIC_*
 */
struct dmaplane_fabric {
	__u32 fabric;
	__s32 node;
	__u8 name[DMAPLANE_NAME_MAX];
	__aligned_u64 max_segment;
	__u32 active_mtu;
	__u32 flags;
};

/**
 * struct dmaplane_fabric_list - RDMA devices in the caller's network namespace
 * @size:	in: sizeof(struct dmaplane_fabric_list)
 * @flags:	in: must be 0
 * @fabrics:	in: user pointer to struct dmaplane_fabric[@count]
 * @count:	in: entries that @fabrics has room for; out: entries there are
 *		(those beyond the room are not written)
 * @pad:	in: must be 0
 */
struct dmaplane_fabric_list {
	__u32 size;
	__u32 flags;
	__aligned_u64 fabrics;
	__u32 count;
	__u32 pad;
};

/* dmaplane_region_register.access, dmaplane_lease_wait.access */
/* A peer that holds a lease on the region may write to it. */
#define DMAPLANE_ACCESS_REMOTE_WRITE	(1U << 0)
/* A peer that holds a lease on the region may read it. */
#define DMAPLANE_ACCESS_REMOTE_READ	(1U << 1)
/* READ may write to it. */
#define DMAPLANE_ACCESS_LOCAL_WRITE	(1U << 2)

/**
 * struct dmaplane_region_register - make part of a buffer known to a fabric
 * @size:	in: sizeof(struct dmaplane_region_register)
 * @flags:	in: must be 0
 * @endpoint:	in: an established endpoint; its queue pair carries the fast
 *		registration, and the region belongs to its fabric. The region
 *		outlives the endpoint and serves all endpoints of the fabric.
 * @buffer:	in: the buffer
 * @offset:	in: first byte, a multiple of page_size
 * @length:	in: bytes; the keys cover exactly these
 * @access:	in: DMAPLANE_ACCESS_*; the local side may always read
 * @handle:	out: the region
 *
 * Errors: EINVAL (@length is 0, unknown access, @offset not page-aligned),
 * EOVERFLOW (@offset + @length wraps), ERANGE (beyond the buffer's end), EACCES (@access
 * would have a buffer written to that must not be, or peers reach one that was opened without SHARE_REMOTE), EOPNOTSUPP (the buffer was made by BUF_IMPORT, and
 * the adapter cannot reach it like that),
 * ENOTCONN (@endpoint is not established), ENODEV (the fabric is gone), EINTR.
 */
struct dmaplane_region_register {
	__u32 size;
	__u32 flags;
	__u32 endpoint;
	__u32 buffer;
	__aligned_u64 offset;
	__aligned_u64 length;
	__u32 access;
	__u32 handle;
};

/* Views that a context may have, and that one call makes or destroys. */
#define DMAPLANE_VIEW_MAX		65536

/**
 * struct dmaplane_view - a part of a region with a handle of its own
 * @offset:	in: first byte, counted from where the region, or the view, begins
 * @length:	in: bytes
 * @access:	in: DMAPLANE_ACCESS_*, of those that the region, or the view, has
 * @handle:	out: the view; what is there before is not read
 */
struct dmaplane_view {
	__aligned_u64 offset;
	__aligned_u64 length;
	__u32 access;
	__u32 handle;
};

/**
 * struct dmaplane_view_create - make views of a region
 * @size:	in: sizeof(struct dmaplane_view_create)
 * @flags:	in: must be 0
 * @region:	in: a region, or a view, of which parts are taken
 * @count:	in: views, 1 to DMAPLANE_VIEW_MAX
 * @views:	in: user pointer to struct dmaplane_view[@count]; receives their handles
 *
 * All are made, or none. A view costs an entry in a table: nothing is registered, and no adapter
 * asked. It is used in place of a region: as @region of WRITE_IMM, WRITE, READ, SEND and SEND_IMM, as
 * that of LEASE_GRANT, and to make views of. Offsets are then counted from where it begins, and end
 * where it ends; READ needs LOCAL_WRITE in its @access, a lease has that of it. What regions
 * alone are for (REGION_DEREGISTER, INVALIDATE) is EBADF.
 *
 * Views keep nothing alive. Of a region that was deregistered their use is ENOENT, of one that was
 * invalidated EKEYREVOKED; they stay until VIEW_DESTROY, also when the view is gone that they were
 * made of. They do not count against dmaplane_info.max_objects; their memory is the memory cgroup's, and is
 * kept for further ones. A handle of a view is issued again, but not before 2^22 others were.
 *
 * Errors: EINVAL (@count or a length is 0, unknown access), E2BIG (@count), EFAULT (@views),
 * ENOENT or EBADF (@region), EKEYREVOKED (it was invalidated), EACCES (an access that it has not),
 * EOVERFLOW (offset + length wraps), ERANGE (beyond its end), EMFILE (the context would have more than
 * DMAPLANE_VIEW_MAX), ENOMEM. If several views are wrong, the first one decides.
 */
struct dmaplane_view_create {
	__u32 size;
	__u32 flags;
	__u32 region;
	__u32 count;
	__aligned_u64 views;
};

/**
 * struct dmaplane_view_destroy - give views back
 * @size:	in: sizeof(struct dmaplane_view_destroy)
 * @flags:	in: must be 0
 * @count:	in: views, 1 to DMAPLANE_VIEW_MAX
 * @pad:	in: must be 0
 * @handles:	in: user pointer to __u32[@count]
 *
 * All are destroyed, or none. Entries that were taken, and leases, go on.
 *
 * Errors: EINVAL (@count is 0), E2BIG (@count), EFAULT (@handles), ENOENT (one is stale, or occurs
 * twice), EBADF (one is of another kind), ENOMEM.
 */
struct dmaplane_view_destroy {
	__u32 size;
	__u32 flags;
	__u32 count;
	__u32 pad;
	__aligned_u64 handles;
};

/**
 * struct dmaplane_lease_grant - let the peer of an endpoint use a region
 * @size:	in: sizeof(struct dmaplane_lease_grant)
 * @flags:	in: must be 0
 * @endpoint:	in: an established endpoint
 * @region:	in: a region on its fabric, or a view of one; the peer may do with it what its access says
 * @tag:	in: delivered to the peer with the lease, unread by the kernel
 * @lease:	out: the lease's number as the peer sees it
 * @pad:	in: must be 0
 *
 * The keys travel between the kernels and are not shown to either program. They are of the context,
 * for all of its endpoints on a fabric: what is leased to one peer is not to be kept from another.
 * They are those of the region: it is the peer's kernel that keeps its program to a view, its bounds and its
 * access, and not the adapter. So over iWARP the region's access says whether a peer may read.
 *
 * Errors: EACCES (the region, or the view, has neither remote write nor remote read), EXDEV (region and endpoint
 * are on different fabrics), ENOTCONN, EMFILE (the peer holds 64 leases, or
 * 16384 segments in all of them).
 */
struct dmaplane_lease_grant {
	__u32 size;
	__u32 flags;
	__u32 endpoint;
	__u32 region;
	__aligned_u64 tag;
	__u32 lease;
	__u32 pad;
};

/**
 * struct dmaplane_lease_wait - wait for the next lease that the peer grants
 * @size:	in: sizeof(struct dmaplane_lease_wait)
 * @flags:	in: must be 0
 * @endpoint:	in: the endpoint
 * @lease:	out: number to put into ring entries
 * @timeout_ns:	in: how long to wait
 * @length:	out: bytes that may be used, from offset 0
 * @tag:	out: what the peer gave with it
 * @access:	out: DMAPLANE_ACCESS_REMOTE_*
 * @pad:	in: must be 0
 *
 * Each lease is reported once. Errors: ETIME, EINTR, ENOTCONN (the connection
 * ended, or never was).
 */
struct dmaplane_lease_wait {
	__u32 size;
	__u32 flags;
	__u32 endpoint;
	__u32 lease;
	__aligned_u64 timeout_ns;
	__aligned_u64 length;
	__aligned_u64 tag;
	__u32 access;
	__u32 pad;
};

/* ---- Endpoints --------------------------------------------------------- */

/* Room for a struct sockaddr_in or sockaddr_in6. */
#define DMAPLANE_ADDR_MAX	28
/* Bytes of the longest SEND that an endpoint takes, if it says nothing, and if it asks for most. */
#define DMAPLANE_MESSAGE_MIN	240
#define DMAPLANE_MESSAGE_MAX	4080
/* Bytes a program can send along with a connection request or its answer. */
#define DMAPLANE_PRIVATE_MAX	32

/**
 * struct dmaplane_addr - an IPv4 or IPv6 socket address
 * @len:	bytes used in @data: sizeof(struct sockaddr_in) or
 *		sizeof(struct sockaddr_in6); 0: no address
 * @data:	the sockaddr
 *
 * Another length or family is EAFNOSUPPORT.
 */
struct dmaplane_addr {
	__u32 len;
	__u8 data[DMAPLANE_ADDR_MAX];
};

/**
 * struct dmaplane_private - bytes for the program at the other side
 * @len:	bytes used in @data, at most DMAPLANE_PRIVATE_MAX, else EMSGSIZE
 * @data:	the bytes; those past @len must be 0
 */
struct dmaplane_private {
	__u32 len;
	__u8 data[DMAPLANE_PRIVATE_MAX];
};

/**
 * struct dmaplane_endpoint_listen - wait for connections at an address
 * @size:	in: sizeof(struct dmaplane_endpoint_listen)
 * @flags:	in: must be 0
 * @addr:	in: local address; port 0 chooses one; out: the address bound
 * @backlog:	in: requests kept until ENDPOINT_REQUEST takes them, 1 to 128;
 *		further ones are rejected
 * @handle:	out: the listener; end it with ENDPOINT_CLOSE
 *
 * In the network namespace of the caller. Errors: EADDRINUSE, EADDRNOTAVAIL,
 * EACCES (a port below 1024 without CAP_NET_BIND_SERVICE),
 * EAFNOSUPPORT, EINVAL (backlog, no address).
 */
struct dmaplane_endpoint_listen {
	__u32 size;
	__u32 flags;
	struct dmaplane_addr addr;
	__u32 backlog;
	__u32 handle;
};

/**
 * struct dmaplane_endpoint_request - take the next connection request
 * @size:	in: sizeof(struct dmaplane_endpoint_request)
 * @flags:	in: must be 0
 * @listener:	in: the listener
 * @handle:	out: an endpoint in state REQUESTED: pass it to ENDPOINT_ACCEPT
 *		or refuse it with ENDPOINT_CLOSE
 * @timeout_ns:	in: how long to wait
 * @fabric:	out: the fabric that it came in on
 * @peer:	out: address of the peer
 * @private_data: out: what the peer's program sent
 * @pad:	in: must be 0
 *
 * Errors: ETIME, EINTR, ENODEV (the listener's fabric went away), ECANCELED
 * (another thread closed the listener meanwhile).
 */
struct dmaplane_endpoint_request {
	__u32 size;
	__u32 flags;
	__u32 listener;
	__u32 handle;
	__aligned_u64 timeout_ns;
	__u32 fabric;
	struct dmaplane_addr peer;
	struct dmaplane_private private_data;
	__u32 pad[2];
};

/**
 * struct dmaplane_endpoint_address - find the fabric and route to a peer
 * @size:	in: sizeof(struct dmaplane_endpoint_address)
 * @flags:	in: must be 0
 * @dst:	in: address and port of the peer's listener
 * @src:	in: local address to use, or len 0
 * @timeout_ns:	in: how long to wait
 * @handle:	out: an endpoint in state RESOLVED
 * @fabric:	out: its fabric
 *
 * In the network namespace of the caller. Errors: EAFNOSUPPORT, EINVAL (no
 * destination), ENETUNREACH or EHOSTUNREACH (no route, no neighbour),
 * EADDRNOTAVAIL (@src is not local), EADDRINUSE (the port in @src is taken),
 * EACCES (it is below 1024, without CAP_NET_BIND_SERVICE), ENODEV (no RDMA device
 * at that address), ETIME, EINTR.
 */
struct dmaplane_endpoint_address {
	__u32 size;
	__u32 flags;
	struct dmaplane_addr dst;
	struct dmaplane_addr src;
	__aligned_u64 timeout_ns;
	__u32 handle;
	__u32 fabric;
};

/**
 * struct dmaplane_endpoint_connect - ENDPOINT_CONNECT and ENDPOINT_ACCEPT
 * @size:	in: sizeof(struct dmaplane_endpoint_connect)
 * @flags:	in: must be 0
 * @endpoint:	in: an endpoint in state RESOLVED (CONNECT) or REQUESTED (ACCEPT)
 * @channel:	in: the channel that receives its completions
 * @send_depth:	in: work requests in flight, 1 to max_depth
 * @recv_depth:	in: messages, with immediate or of SEND, that the peer may have under way,
 *		1 to max_depth; each holds one place in the completion ring,
 *		so that a received message can always be reported
 * @recv_user_data: in: user_data of the receive completions
 * @timeout_ns:	in: how long to wait for the peer's answer
 * @private_data: in: for the peer's program; out (CONNECT): its answer
 * @message_bytes: in: longest SEND that the peer may send, up to DMAPLANE_MESSAGE_MAX; less
 *		than DMAPLANE_MESSAGE_MIN is that. That much and 16 bytes, rounded up to a power
 *		of two, is allocated for each of recv_depth and 8 more; what is above 256 bytes
 *		counts against RLIMIT_MEMLOCK.
 *
 * After a failure the endpoint stays in its state if the peer was not asked
 * yet (bad arguments, EBUSY), and is in state ERROR otherwise; after ETIME and
 * EINTR because of ECANCELED.
 *
 * Over iWARP the TCP connection is made first, for as long as TCP tries or until
 * a signal arrives; @timeout_ns begins then. An endpoint whose peer has not
 * answered yet is closed when it answers, or the adapter gives up.
 *
 * Errors: EINVAL (a depth out of range, message_bytes), EMSGSIZE (private_data.len), EISCONN
 * (wrong state; in state ERROR, what dmaplane_endpoint_query.error says instead),
 * EBUSY (the completion ring has no room for recv_depth),
 * ECONNREFUSED (nobody listens there, or the listener's backlog is full),
 * EACCES (the peer's program refused), EPROTONOSUPPORT (the peer speaks
 * another version of the protocol, or another protocol), EHOSTUNREACH,
 * ENETUNREACH, EADDRINUSE, EADDRNOTAVAIL (over iWARP, what TCP says of our end),
 * ECONNRESET, ENODEV (the fabric went away), EBADFD (the channel is poisoned),
 * ECANCELED (another thread closed the endpoint meanwhile), ETIME, EINTR.
 */
struct dmaplane_endpoint_connect {
	__u32 size;
	__u32 flags;
	__u32 endpoint;
	__u32 channel;
	__u32 send_depth;
	__u32 recv_depth;
	__aligned_u64 recv_user_data;
	__aligned_u64 timeout_ns;
	struct dmaplane_private private_data;
	__u32 message_bytes;
};

/* dmaplane_endpoint_query.state */
#define DMAPLANE_STATE_RESOLVED		1
#define DMAPLANE_STATE_REQUESTED	2
#define DMAPLANE_STATE_CONNECTING	3
#define DMAPLANE_STATE_ESTABLISHED	4
#define DMAPLANE_STATE_ERROR		5
#define DMAPLANE_STATE_LISTENING	6

/**
 * struct dmaplane_endpoint_query - state and counters of an endpoint
 * @size:		in: sizeof(struct dmaplane_endpoint_query)
 * @flags:		in: must be 0
 * @endpoint:		in: the endpoint or listener
 * @state:		out: DMAPLANE_STATE_*
 * @error:		out: in state ERROR, the errno that says why; else 0
 * @fabric:		out: its fabric, 0 for a listener
 * @credits:		out: messages that the peer can take now
 * @in_flight:		out: entries posted and not completed
 * @queued:		out: entries accepted that wait for credits or depth
 * @wc_status:		out: ib_wc_status of the first failed work request
 * @stalls:		out: times that an entry began to wait for credits when
 *			none was waiting
 * @stall_ns:		out: time during which entries waited for credits
 * @sent:		out: messages and WRITEs sent with success
 * @sent_bytes:		out: their bytes
 * @received:		out: messages received
 * @ctrl_sent:		out: messages between the kernels sent
 * @ctrl_received:	out: messages between the kernels received
 * @peer:		out: address of the peer; of the listener for a listener
 * @message_bytes:	out: longest SEND that the peer takes, 0 before it said so
 * @unread:		out: messages of SEND that no RECV has taken yet
 */
struct dmaplane_endpoint_query {
	__u32 size;
	__u32 flags;
	__u32 endpoint;
	__u32 state;
	__u32 error;
	__u32 fabric;
	__u32 credits;
	__u32 in_flight;
	__u32 queued;
	__u32 wc_status;
	__aligned_u64 stalls;
	__aligned_u64 stall_ns;
	__aligned_u64 sent;
	__aligned_u64 sent_bytes;
	__aligned_u64 received;
	__aligned_u64 ctrl_sent;
	__aligned_u64 ctrl_received;
	struct dmaplane_addr peer;
	__u32 message_bytes;
	__u32 unread;
};

/* ---- Channels ---------------------------------------------------------- */

/* dmaplane_channel_create.flags */
/* A thread of the kernel's takes entries as soon as they are in the ring. */
#define DMAPLANE_CHANNEL_SQPOLL		(1U << 0)
/* Each completion says when: see struct dmaplane_times. */
#define DMAPLANE_CHANNEL_TIMES		(1U << 1)

/* The largest sq_idle_ms. */
#define DMAPLANE_SQ_IDLE_MAX		60000

/**
 * struct dmaplane_channel_create - submission and completion ring
 * @size:		in: sizeof(struct dmaplane_channel_create)
 * @flags:		in: DMAPLANE_CHANNEL_*
 * @sq_entries:		in: submission entries, a power of two up to
 *			max_ring_entries
 * @cq_entries:		in: completion entries, likewise; entries in flight,
 *			receives outstanding and completions not yet reaped
 *			are never more than this
 * @handle:		out: the channel
 * @sqes_offset:	out: where in the mapping the submission entries begin
 * @cqes_offset:	out: where in the mapping the completion entries begin
 * @sq_idle_ms:		in: with SQPOLL, for how long the thread looks for entries
 *			when there are none, before it sleeps; 0: a second. Must
 *			be 0 without
 * @mmap_offset:	out: offset to mmap() the rings at, MAP_SHARED only
 * @mmap_length:	out: length of that mapping
 * @times_offset:	out: where in the mapping the times begin; 0 without
 *			DMAPLANE_CHANNEL_TIMES
 * @pad2:		in: must be 0
 *
 * With DMAPLANE_CHANNEL_SQPOLL, submitting is to store sq_tail, and then to see that the thread
 * is awake: a full memory barrier, and if dmaplane_ring.flags has DMAPLANE_RING_NEED_WAKEUP,
 * ENTER with DMAPLANE_ENTER_SQ_WAKEUP. sq_head moves when it has taken some, in any number.
 * An entry that has no room for its completion waits in the ring. Then the thread sleeps, and
 * flags have DMAPLANE_RING_NEED_ENTER as well: reap, then ENTER (or poll). Room that
 * comes without reaping it sees itself. The thread ends with the channel, or when that is
 * poisoned. Until it sleeps it takes a processor's time, which is the system's and not
 * that of the caller or its cgroup; it has the caller's nice value.
 *
 * Errors: EINVAL (a ring size is 0 or not a power of two, an unknown flag, @sq_idle_ms is above
 * DMAPLANE_SQ_IDLE_MAX, or not 0 without SQPOLL), EFBIG (above the limit), EDQUOT,
 * EMFILE, ENOMEM; for the thread, EAGAIN (there are too many: more than four for each
 * processor, of all users, need CAP_SYS_NICE), EINTR (the caller is
 * being killed).
 */
struct dmaplane_channel_create {
	__u32 size;
	__u32 flags;
	__u32 sq_entries;
	__u32 cq_entries;
	__u32 handle;
	__u32 sqes_offset;
	__u32 cqes_offset;
	__u32 sq_idle_ms;
	__aligned_u64 mmap_offset;
	__aligned_u64 mmap_length;
	__u32 times_offset;
	__u32 pad2;
};

/* dmaplane_ring.flags */
/*
 * Receives wait for places in the completion ring: reap, then ENTER (or poll)
 * so that the peer is granted credits again. Whoever does not do so anyway
 * needs a full memory barrier between storing cq_head and loading this flag.
 * With SQPOLL entries may be waiting for places, too.
 */
#define DMAPLANE_RING_NEED_ENTER	(1U << 0)
/* The rings were corrupted by user space; ENTER fails with EBADFD for good. */
#define DMAPLANE_RING_POISONED		(1U << 1)
/*
 * The thread of a channel with SQPOLL sleeps: ENTER with DMAPLANE_ENTER_SQ_WAKEUP. Whoever
 * submits without a call needs a full memory barrier between storing sq_tail and loading
 * this flag.
 */
#define DMAPLANE_RING_NEED_WAKEUP	(1U << 2)

/**
 * struct dmaplane_ring - first bytes of a channel's mapping
 * @sq_head:	next entry that the kernel takes; written by the kernel, for all
 *		entries of an ENTER when it has taken them: some may be complete
 *		before
 * @sq_mask:	sq_entries - 1
 * @cq_mask:	cq_entries - 1
 * @flags:	DMAPLANE_RING_*; written by the kernel
 * @pad0:	reserved
 * @sq_tail:	one past the last entry to submit; written by the user
 * @pad1:	reserved
 * @cq_head:	next completion that the user takes; written by the user
 * @pad2:	reserved
 * @cq_tail:	one past the last completion; written by the kernel
 * @pad3:	reserved
 *
 * The four indices count without bound, modulo 2^32; an index is masked when
 * an entry is looked up. Ordering: the user fills an entry, then stores
 * sq_tail with release semantics, then calls ENTER, but for SQPOLL. The user loads cq_tail
 * with acquire semantics, reads the completions below it, then stores cq_head
 * with release semantics. Nothing the user writes is trusted: an impossible
 * sq_tail or cq_head poisons the channel.
 */
struct dmaplane_ring {
	__u32 sq_head;
	__u32 sq_mask;
	__u32 cq_mask;
	__u32 flags;
	__u32 pad0[12];
	__u32 sq_tail;
	__u32 pad1[15];
	__u32 cq_head;
	__u32 pad2[15];
	__u32 cq_tail;
	__u32 pad3[15];
};

/* dmaplane_sqe.opcode */
#define DMAPLANE_OP_NOP		0
#define DMAPLANE_OP_WRITE_IMM	1
/* A message of SEND, into a buffer; in dmaplane_cqe also that of an immediate, without an entry */
#define DMAPLANE_OP_RECV	2
/* From one buffer to another, or within one */
#define DMAPLANE_OP_COPY	3
/* Sets bytes of a buffer */
#define DMAPLANE_OP_FILL	4
/* WRITE_IMM without bytes */
#define DMAPLANE_OP_IMM_ONLY	5
/* Ends entries that are not done */
#define DMAPLANE_OP_CANCEL	6
/* Waits until a counter has a value */
#define DMAPLANE_OP_COUNTER_WAIT	7
/* From a region to a lease; the peer's program is not told */
#define DMAPLANE_OP_WRITE	8
/* From a lease to a region */
#define DMAPLANE_OP_READ	9
/* Takes a region's keys away */
#define DMAPLANE_OP_INVALIDATE	10
/* To an entry with RECV of the peer's */
#define DMAPLANE_OP_SEND	11
#define DMAPLANE_OP_SEND_IMM	12
/* Moves the pages of a buffer to another NUMA node */
#define DMAPLANE_OP_MIGRATE	13

/* dmaplane_sqe.flags */
/* The next entry begins when this one has succeeded; ECANCELED if it fails. */
#define DMAPLANE_SQE_LINK		(1U << 0)
/* Begins when all entries before it are complete; those after it wait for it. */
#define DMAPLANE_SQE_DRAIN		(1U << 1)
/* No completion if it succeeds. */
#define DMAPLANE_SQE_CQE_SKIP_SUCCESS	(1U << 2)
/* Is sent when all READs for its endpoint before it are complete. */
#define DMAPLANE_SQE_FENCE		(1U << 3)
/* What is moved is told by a list of struct dmaplane_segment, or by struct dmaplane_pages. */
#define DMAPLANE_SQE_SEGMENTS		(1U << 4)
#define DMAPLANE_SQE_PAGES		(1U << 5)
/* RECV of several messages */
#define DMAPLANE_SQE_MULTISHOT		(1U << 6)

/* Segments or pages of one entry at most. */
#define DMAPLANE_LIST_MAX		4096

/**
 * struct dmaplane_segment - one of the ranges that an entry with SEGMENTS moves
 * @local_offset:	first byte, counted from dmaplane_sqe.local_offset
 * @remote_offset:	first byte, counted from dmaplane_sqe.remote_offset
 * @length:		bytes
 * @pad:		must be 0
 */
struct dmaplane_segment {
	__aligned_u64 local_offset;
	__aligned_u64 remote_offset;
	__u32 length;
	__u32 pad;
};

/**
 * struct dmaplane_pages - the pages that an entry with PAGES moves
 * @local_stride:	from one page to the next in the region
 * @remote_stride:	from one page to the next in the lease
 *
 * Followed by __u32 local[list_count], then __u32 remote[list_count]: page local[i] is at
 * dmaplane_sqe.local_offset + local[i] * @local_stride, page remote[i] likewise, and
 * dmaplane_sqe.length bytes are moved between these two, for each i. So one entry moves a layer of
 * a paged KV cache.
 */
struct dmaplane_pages {
	__aligned_u64 local_stride;
	__aligned_u64 remote_stride;
};

/* dmaplane_sqe.imm of CANCEL */
/* All entries of the endpoint, whatever their user_data. */
#define DMAPLANE_CANCEL_ALL		(1U << 0)

/**
 * struct dmaplane_sqe - submission entry
 * @opcode:	DMAPLANE_OP_*; an unknown one completes with EOPNOTSUPP
 * @flags:	DMAPLANE_SQE_*
 * @pad0:	must be 0
 * @endpoint:	endpoint to send on, or that receives what is counted
 * @user_data:	returned in the completion
 * @region:	local region, or view of one, that the bytes come from, or go to
 * @lease:	peer's lease that they go to, or come from
 * @local_offset: first byte in @region
 * @remote_offset: first byte in @lease
 * @length:	bytes, 0 to max_transfer
 * @imm:	immediate delivered to the peer, in host order at both sides
 * @list:	with SEGMENTS or PAGES: buffer that the list is in
 * @list_count:	segments or pages, 1 to DMAPLANE_LIST_MAX
 * @list_offset: first byte of the list in @list, a multiple of 8
 *
 * An accepted entry gets exactly one completion, none if it succeeds and has CQE_SKIP_SUCCESS, or
 * several with MULTISHOT, of which the last is without DMAPLANE_CQE_F_MORE. Members that an opcode
 * does not use must be 0; all use @opcode, @flags and @user_data.
 *
 * -- To and from the peer's memory: WRITE_IMM, WRITE, READ, IMM_ONLY
 *
 * WRITE_IMM uses all members. With @length 0, @region, @lease and both offsets may be 0: the
 * immediate travels alone. IMM_ONLY uses @endpoint and @imm and is the same. WRITE is like
 * WRITE_IMM without @imm: the peer's program is not told, and no message counted. READ moves bytes
 * the other way, to a @region with DMAPLANE_ACCESS_LOCAL_WRITE. The lease must allow it (its access).
 * All but IMM_ONLY may have FENCE, and one of:
 *
 * SEGMENTS: @length is 0, @list names a buffer that has an array of @list_count struct
 * dmaplane_segment at @list_offset.
 * PAGES: a struct dmaplane_pages and its indices are there.
 *
 * Both offsets are added to those of each range. The list is read once, when the entry is taken, and
 * counts against RLIMIT_MEMLOCK until all of it is sent. Ranges may overlap; where what is written
 * does, it is that of any of them. The entry is complete, and its immediate told, when all of them
 * are. Adjacent ranges are joined; each of what remains takes a work request, but those that go on
 * where the one before ended in the lease. What takes more work requests than half of send_depth is
 * sent in parts.
 *
 * -- Messages: SEND, SEND_IMM, RECV
 *
 * SEND and SEND_IMM use @endpoint, @region, @local_offset, @length, and @imm with SEND_IMM; with
 * @length 0, @region and @local_offset may be 0. They may have FENCE. At most as much as the peer
 * takes (dmaplane_endpoint_query.message_bytes), else EMSGSIZE; so are bytes at both sides of a
 * multiple of max_segment where the adapter cannot gather them (Soft-iWARP).
 * RECV uses @endpoint, which delivers to this channel, @lease, a buffer, @remote_offset and @length,
 * the room there. A message waits for the next RECV, and keeps one of recv_depth, and its place in
 * the completion ring, until then: a ring with places for receives only has none for that RECV. One
 * that has too little room completes with EMSGSIZE and leaves the message. What came before the
 * connection ended can be had after it. With MULTISHOT, @imm is how many messages it takes, each with
 * @length bytes of its own, one after the other; not with CQE_SKIP_SUCCESS. Counters do not count
 * these messages.
 *
 * -- Here: COPY, FILL, INVALIDATE, MIGRATE
 *
 * COPY uses @region and @lease, which name the buffers that bytes come from and go to, both offsets
 * and @length. FILL uses @lease, a buffer, @remote_offset, @length and @imm, the value of each byte.
 * Short ones are done at once, others by a worker near the memory that is written to, one after the
 * other for each channel.
 * INVALIDATE uses @region. Nothing that a peer sends reaches it any more when this is complete, as by
 * REGION_DEREGISTER, but the handle stays (until that), and uses of it are EKEYREVOKED. EBUSY while
 * entries use it, in which LINK and DRAIN help, or a lease on it is being sent. Over Soft-iWARP a READ
 * of the peer that is under way may go on with what it had found.
 *
 * MIGRATE uses @lease, a buffer, @remote_offset, the NUMA node that its pages go to, and @imm
 * (DMAPLANE_MIGRATE_*). It is done by the worker that does long copies, in batches of 2 MiB at
 * most. All who use the buffer go on meanwhile: its mappings stay valid and show the same bytes,
 * though whoever touches what is being moved waits for that; COPY, FILL, RECV and lists do. It
 * completes with the number of pages moved, 0 if all were there.
 * Of a registered buffer up to 64 MiB go at a time: entries that use its regions, here and at peers with leases of them,
 * wait, those under way are waited for, the regions get new keys, and all go on; no program sees any of that
 * but by the time. It fails with EBUSY, and changes nothing, if they are not done or a peer does not
 * hold its leases for 2 seconds, if no connection is left to register anew through, or some part is being
 * registered. It fails with EKEYREVOKED
 * if that was refused then, or ENODEV: regions have no keys any more, as after INVALIDATE.
 * An entry for a lease that its owner is moving waits for as long as that says; CANCEL ends one of which
 * nothing was sent yet, and ENDPOINT_CLOSE any.
 * It fails with EBUSY if the buffer was leased for reading over iWARP (until the connections have ended),
 * a dma-buf of it is mapped, or another driver or a system call has
 * references to its pages (direct I/O, vmsplice(2), memory registered by others), and keeps them;
 * ENOSPC with STRICT (the node, or what the buffer's memory cgroup may have, has no room); EIO (the
 * memory of a page is bad, which stays, with its block); ECANCELED, and ENOMEM. Batches moved before that stay moved:
 * BUF_QUERY says where pages are.
 *
 * -- Others: CANCEL, COUNTER_WAIT, NOP
 *
 * CANCEL uses @endpoint, @local_offset and @imm (DMAPLANE_CANCEL_*): entries of this channel that
 * have this @endpoint (0: those without one) and @local_offset as their @user_data, and are not done.
 * One of them, or all with CANCEL_ALL, with which @local_offset must be 0. They complete with
 * ECANCELED, but for a copy that is done before it learns of it. CANCEL itself waits for none, not
 * behind a DRAIN either, unless it is part of a chain or has DRAIN; its completion says how many it
 * found. If there were none, ENOENT, or EALREADY for what was sent already, be it in part.
 * COUNTER_WAIT uses @endpoint, @region, which names a counter of that endpoint, and @local_offset.
 * It completes with 0 when that many messages were counted, at once if they are already; with the
 * reason if the connection ended before, ECANCELED if the counter or the endpoint did here.
 *
 * -- Order
 *
 * Entries begin in the order of the ring, and may complete in any. Those that are sent to one
 * endpoint complete in order, RECVs of one endpoint, too; COUNTER_WAIT does when its number is
 * reached, and one that is wrong in itself, or cancelled, at once. LINK and DRAIN say more: entries
 * with LINK and the one after the last of them are a chain, which may go on in a later ENTER. Handles
 * are looked up, and offsets into buffers checked, when an entry is taken, even if it begins later.
 *
 * -- Errors
 *
 * An entry that is wrong completes with: EINVAL (flag, padding, member not used, COPY whose two
 * ranges of one memory overlap, FILL with an @imm above 255), EOPNOTSUPP, ENOENT or EBADF (@endpoint, @region,
 * @lease of COPY, FILL, MIGRATE and RECV, @list; EOPNOTSUPP: MIGRATE of what BUF_IMPORT made), ENXIO (MIGRATE: the node does not exist or is
 * offline), ENOKEY (@lease), EKEYREVOKED (@region was invalidated, or it or @lease lost its
 * keys in a move, also of entries that waited for that), EACCES (the lease does not
 * allow it, or @region or a buffer to be written or moved, or the caller's cpuset that node), EOVERFLOW (offset + length
 * wraps), ERANGE (beyond the end of the region, lease or buffer, also of @list), EFBIG (above
 * max_transfer, in all), E2BIG (@list_count), EDQUOT (the list), EMSGSIZE (SEND, RECV), EOPNOTSUPP
 * (nothing else is wrong, but the fabric lacks DMAPLANE_FABRIC_WRITE_IMM), EXDEV (@region is on
 * another fabric, a counter of another endpoint, an endpoint delivers to another channel than that
 * of RECV), ENOTCONN (the endpoint is not established), EAGAIN (entries of other channels, or of
 * io_uring, fill the endpoint's queue), ENOMEM (there is none to keep it until it can begin). Once
 * sent: ECANCELED (the connection was closed here), ECONNRESET (it ended there, or the oldest of
 * what was sent was not done for 30 seconds and another 4 for each MiB of it; without any sign of
 * the adapter 30 more), EREMOTEIO (the peer's adapter refused; see wc_status. The connection ends
 * with that, and if word of its end is faster, ECONNRESET is the answer), EPROTO (the peer broke
 * the protocol), ENODEV (the fabric went away), EIO (any other). RECV and COUNTER_WAIT of an
 * endpoint in state ERROR: what dmaplane_endpoint_query.error says; RECV of one that had not begun
 * to connect, ENOTCONN.
 */
struct dmaplane_sqe {
	__u8 opcode;
	__u8 flags;
	__u16 pad0;
	__u32 endpoint;
	__aligned_u64 user_data;
	__u32 region;
	__u32 lease;
	__aligned_u64 local_offset;
	__aligned_u64 remote_offset;
	__u32 length;
	__u32 imm;
	__u32 list;
	__u32 list_count;
	__aligned_u64 list_offset;
};

/* dmaplane_cqe.flags */
/* The entry has further completions. */
#define DMAPLANE_CQE_F_MORE		(1U << 0)
/* @imm is an immediate that the peer sent. */
#define DMAPLANE_CQE_F_IMM		(1U << 1)
/* It is that of an entry with RECV, rather than of an immediate that came by itself. */
#define DMAPLANE_CQE_F_ENTRY		(1U << 2)

/**
 * struct dmaplane_cqe - completion entry
 * @user_data:	from the submission, or the endpoint's recv_user_data
 * @res:	bytes transferred, of CANCEL entries found, of MIGRATE pages moved, or
 *		-errno; of an immediate that came by itself: bytes in the work request
 *		that carried it, which is the whole transfer
 *		unless it crosses a multiple of max_segment in the lease, or is a list
 * @endpoint:	endpoint concerned, 0 if none
 * @imm:	immediate received, in host order; 0 if none (DMAPLANE_CQE_F_IMM tells)
 * @opcode:	DMAPLANE_OP_* of the submission, or DMAPLANE_OP_RECV
 * @wc_status:	ib_wc_status when an adapter reported the result, else 0
 * @flags:	DMAPLANE_CQE_F_*
 * @pad1:	0
 */
struct dmaplane_cqe {
	__aligned_u64 user_data;
	__s32 res;
	__u32 endpoint;
	__u32 imm;
	__u8 opcode;
	__u8 wc_status;
	__u16 flags;
	__aligned_u64 pad1;
};

/**
 * struct dmaplane_times - when an entry was taken, posted and complete
 * @submit_ns:		when ENTER took it: the same for all entries that one call takes.
 *			Of a receive, and of completions with MORE, 0
 * @post_ns:		when its first work request had been given to the adapter, or when
 *			the worker began it (a long COPY or FILL, a MIGRATE). 0 if it is neither, or
 *			ended before
 * @complete_ns:	when its completion was written
 * @pad:		0
 *
 * In the mapping of a channel made with DMAPLANE_CHANNEL_TIMES, cq_entries of them: those of
 * the completion in the same place of the completion ring, to be read by the same rules. Times
 * are those of CLOCK_MONOTONIC in nanoseconds, as it is outside of time namespaces, and as
 * near to what they are of as one clock read by several processors is.
 */
struct dmaplane_times {
	__aligned_u64 submit_ns;
	__aligned_u64 post_ns;
	__aligned_u64 complete_ns;
	__aligned_u64 pad;
};

/* dmaplane_channel_enter.flags */
/* @timeout_ns is a time of CLOCK_MONOTONIC, as it is outside of time namespaces. */
#define DMAPLANE_ENTER_ABSTIME		(1U << 0)
/* Wakes the thread of a channel with SQPOLL, if it sleeps; EINVAL without SQPOLL. */
#define DMAPLANE_ENTER_SQ_WAKEUP	(1U << 1)

/**
 * struct dmaplane_channel_enter - submit entries, wait for completions
 * @size:		in: sizeof(struct dmaplane_channel_enter)
 * @flags:		in: DMAPLANE_ENTER_*
 * @channel:		in: the channel
 * @to_submit:		in: entries to take from the submission ring at most; with
 *			SQPOLL it means nothing
 * @min_complete:	in: completions to wait for until they can be reaped;
 *			more than cq_entries is EINVAL
 * @pad:		in: must be 0
 * @timeout_ns:		in: how long to wait, or until when
 *
 * Returns how many entries were taken, and writes nothing to the argument. With SQPOLL that
 * is 0, as the thread takes them: all that a call can do is wake it, and wait.
 *
 * An entry is taken only if the completion ring has room for its completion;
 * if none could be taken for that reason: EBUSY (reap first; if there is nothing to
 * reap, those in flight have the room, and give it back with their completions, or
 * without one if that is skipped). If entries were
 * taken, the call succeeds even when the wait ended early: dmaplane_ring.cq_tail
 * tells what there is.
 * poll() on the context's file reports EPOLLIN while a channel of it has
 * completions to reap, and EPOLLIN and EPOLLERR while one is poisoned.
 *
 * Errors: EBUSY, EBADFD (poisoned), ETIME, EINTR.
 */
struct dmaplane_channel_enter {
	__u32 size;
	__u32 flags;
	__u32 channel;
	__u32 to_submit;
	__u32 min_complete;
	__u32 pad;
	__aligned_u64 timeout_ns;
};

/**
 * struct dmaplane_channel_file - make a file for one channel
 * @size:	in: sizeof(struct dmaplane_channel_file)
 * @flags:	in: must be 0
 * @channel:	in: the channel
 * @fd:		out: a descriptor of it, closed on exec
 *
 * lseek(fd, min_complete, SEEK_SET) is CHANNEL_ENTER for all entries submitted,
 * with DMAPLANE_FOREVER as the timeout: it returns how many were taken, and
 * fails as that does. With SQPOLL it is one with DMAPLANE_ENTER_SQ_WAKEUP. It is the
 * cheapest call into a file that Linux has: an ioctl() costs more than a short
 * entry. Another position or origin is EINVAL.
 * poll() reports EPOLLIN while the channel has completions to reap, EPOLLIN and EPOLLERR
 * when it is poisoned, EPOLLHUP when it is closed; then lseek() fails with
 * ENOENT. mmap() shows the rings at offset 0.
 *
 * An open file of a channel keeps the context, as a mapping does.
 *
 * Errors: EMFILE (RLIMIT_NOFILE), ENFILE, ENOMEM.
 */
struct dmaplane_channel_file {
	__u32 size;
	__u32 flags;
	__u32 channel;
	__s32 fd;
};

/*
 * cmd_op of an IORING_OP_URING_CMD to a channel's file: a number, as it is no ioctl. It takes one
 * entry and completes it in the io_uring that it came by.
 *
 * The command area of the large submission entry (IORING_SETUP_SQE128) has a struct dmaplane_sqe,
 * which asks for the same as in the channel's ring, and 16 bytes that are 0. The completion has
 * io_uring's own user_data and flags, and as its res that of struct dmaplane_cqe. A completion of
 * 32 bytes (IORING_SETUP_CQE32) is a struct dmaplane_cqe but for @endpoint, which is where io_uring
 * has its flags; all but @res is 0 if the entry was not looked at.
 *
 * Such an entry is in none of the channel's rings: those may be as small as they can, and a full or
 * poisoned one does not matter. Of its flags only FENCE, SEGMENTS and PAGES may be set; io_uring
 * has its own, and for DRAIN in the ring it does not exist. Its @user_data is what CANCEL knows it
 * by, which finds entries of both kinds, by whichever way it comes itself. io_uring's own
 * cancellation (IORING_OP_ASYNC_CANCEL, IORING_OP_LINK_TIMEOUT) finds none that has begun. Entries
 * begin in the order in which io_uring issues them, which is that of its ring for those without
 * IOSQE_ASYNC and links. Of those that do not complete at once as many as the channel has
 * cq_entries may be under way; one more is EBUSY.
 *
 * When the ring is closed, or the task that submitted executes another program, entries under way
 * complete with ECANCELED; when that task ends and the ring does not, they go on. What was sent by
 * then goes on: its region is in use until it is done. Until an entry is complete it keeps the
 * channel's file open, and so the context. A completion that comes while the task that submitted
 * waits in another call ends that with EINTR, as a signal does, unless the ring has
 * IORING_SETUP_DEFER_TASKRUN; the end of any ring does.
 *
 * Errors: EOPNOTSUPP (another cmd_op, a ring with IORING_SETUP_IOPOLL), EINVAL (the entry is not large;
 * addr, len, file_index, uring_cmd_flags or the 16 bytes are not 0; a flag that is not allowed), ENOENT
 * (the channel is closed), EBUSY, and those of struct dmaplane_sqe.
 */
#define DMAPLANE_URING_CMD_SUBMIT	1

/**
 * struct dmaplane_channel_eventfd - have an eventfd signalled for a channel
 * @size:	in: sizeof(struct dmaplane_channel_eventfd)
 * @flags:	in: must be 0
 * @channel:	in: the channel
 * @fd:		in: a descriptor of eventfd(2), or -1: none any more
 *
 * One is added to it whenever completions are published, one or several at a time; when
 * the channel is poisoned, or closed by CHANNEL_CLOSE; and at once if there is something
 * to reap, so that nothing is missed. It takes the place of the one before, and the program
 * may close its descriptor. Reading it is no call into the channel: whoever does nothing
 * else has to look for DMAPLANE_RING_NEED_ENTER after reaping.
 *
 * Errors: EPROTOTYPE (@fd is not of eventfd(2), or closed), EBADFD (poisoned).
 */
struct dmaplane_channel_eventfd {
	__u32 size;
	__u32 flags;
	__u32 channel;
	__s32 fd;
};

/* ---- Counters ---------------------------------------------------------- */

/**
 * struct dmaplane_counter_create - count messages instead of telling of each
 * @size:	in: sizeof(struct dmaplane_counter_create)
 * @flags:	in: must be 0
 * @endpoint:	in: the endpoint that receives them, in any state
 * @imm:	in: the immediate of those that are counted ...
 * @mask:	in: ... where this has bits: 0xffffffff is one immediate, 0 all
 * @handle:	out: the counter; end it with COUNTER_DESTROY
 *
 * A message that is counted has no completion, and takes no place in the completion
 * ring for longer than it is under way: a receiver of any number of them can sleep
 * until the last one is there (DMAPLANE_OP_COUNTER_WAIT), and their bytes are then
 * readable. One that fits several counters is counted by that with the most bits in
 * its mask (of these, with the least mask), and by no other. Values begin at 0 and
 * only grow.
 *
 * Errors: EINVAL (@imm has bits that @mask has not), EEXIST (the endpoint has one with
 * this @imm and @mask), ENOSPC (its counters have 16 different masks), EMFILE, ENOMEM.
 */
struct dmaplane_counter_create {
	__u32 size;
	__u32 flags;
	__u32 endpoint;
	__u32 imm;
	__u32 mask;
	__u32 handle;
};

/**
 * struct dmaplane_counter_query - what was counted
 * @size:	in: sizeof(struct dmaplane_counter_query)
 * @flags:	in: must be 0
 * @counter:	in: the counter
 * @error:	out: the errno that says why no more will be counted; else 0
 * @value:	out: messages counted
 */
struct dmaplane_counter_query {
	__u32 size;
	__u32 flags;
	__u32 counter;
	__u32 error;
	__aligned_u64 value;
};

/* ---- Layout ------------------------------------------------------------ */

#if defined(__cplusplus)
#define DMAPLANE_LAYOUT(type, bytes) \
	static_assert(sizeof(struct type) == (bytes), #type)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define DMAPLANE_LAYOUT(type, bytes) \
	_Static_assert(sizeof(struct type) == (bytes), #type)
#else
#define DMAPLANE_LAYOUT(type, bytes) \
	extern char type##_layout[sizeof(struct type) == (bytes) ? 1 : -1]
#endif
DMAPLANE_LAYOUT(dmaplane_info, 72);
DMAPLANE_LAYOUT(dmaplane_stats, 56);
DMAPLANE_LAYOUT(dmaplane_buf_create, 40);
DMAPLANE_LAYOUT(dmaplane_buf_query, 104);
DMAPLANE_LAYOUT(dmaplane_buf_export, 32);
DMAPLANE_LAYOUT(dmaplane_buf_pin, 32);
DMAPLANE_LAYOUT(dmaplane_buf_import, 32);
DMAPLANE_LAYOUT(dmaplane_buf_migrate, 48);
DMAPLANE_LAYOUT(dmaplane_buf_share, 24);
DMAPLANE_LAYOUT(dmaplane_buf_open, 40);
DMAPLANE_LAYOUT(dmaplane_handle, 16);
DMAPLANE_LAYOUT(dmaplane_fabric, 88);
DMAPLANE_LAYOUT(dmaplane_fabric_list, 24);
DMAPLANE_LAYOUT(dmaplane_region_register, 40);
DMAPLANE_LAYOUT(dmaplane_view, 24);
DMAPLANE_LAYOUT(dmaplane_view_create, 24);
DMAPLANE_LAYOUT(dmaplane_view_destroy, 24);
DMAPLANE_LAYOUT(dmaplane_lease_grant, 32);
DMAPLANE_LAYOUT(dmaplane_lease_wait, 48);
DMAPLANE_LAYOUT(dmaplane_addr, 32);
DMAPLANE_LAYOUT(dmaplane_private, 36);
DMAPLANE_LAYOUT(dmaplane_endpoint_listen, 48);
DMAPLANE_LAYOUT(dmaplane_endpoint_request, 104);
DMAPLANE_LAYOUT(dmaplane_endpoint_address, 88);
DMAPLANE_LAYOUT(dmaplane_endpoint_connect, 80);
DMAPLANE_LAYOUT(dmaplane_endpoint_query, 136);
DMAPLANE_LAYOUT(dmaplane_channel_create, 56);
DMAPLANE_LAYOUT(dmaplane_ring, 256);
DMAPLANE_LAYOUT(dmaplane_segment, 24);
DMAPLANE_LAYOUT(dmaplane_pages, 16);
DMAPLANE_LAYOUT(dmaplane_sqe, 64);
DMAPLANE_LAYOUT(dmaplane_cqe, 32);
DMAPLANE_LAYOUT(dmaplane_times, 32);
DMAPLANE_LAYOUT(dmaplane_channel_enter, 32);
DMAPLANE_LAYOUT(dmaplane_channel_file, 16);
DMAPLANE_LAYOUT(dmaplane_channel_eventfd, 16);
DMAPLANE_LAYOUT(dmaplane_counter_create, 24);
DMAPLANE_LAYOUT(dmaplane_counter_query, 24);
#undef DMAPLANE_LAYOUT

#endif /* _UAPI_DMAPLANE_H */
