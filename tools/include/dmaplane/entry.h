/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Submission entries: a function for each opcode of <dmaplane.h>, which says there what it
 * does and how it fails. Each sets all of the entry, so flags and user_data are set after it.
 * Offsets and lengths are in bytes.
 */
#ifndef DMAPLANE_ENTRY_H
#define DMAPLANE_ENTRY_H

#include <string.h>

#include <dmaplane.h>

/**
 * dmaplane_prep_nop() - an entry that does nothing but complete
 * @sqe: the entry
 */
static inline void dmaplane_prep_nop(struct dmaplane_sqe *sqe)
{
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = DMAPLANE_OP_NOP;
}

/**
 * dmaplane_prep_write_imm() - write to a peer's memory and deliver an immediate
 * @sqe: the entry
 * @endpoint: to send on
 * @region: where the bytes come from
 * @local_offset: first byte in @region
 * @lease: where they go to
 * @remote_offset: first byte in @lease
 * @length: how many
 * @imm: what the peer's completion has, in host order at both sides
 */
static inline void dmaplane_prep_write_imm(struct dmaplane_sqe *sqe, __u32 endpoint,
					   __u32 region, __u64 local_offset,
					   __u32 lease, __u64 remote_offset,
					   __u32 length, __u32 imm)
{
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = DMAPLANE_OP_WRITE_IMM;
	sqe->endpoint = endpoint;
	sqe->region = region;
	sqe->lease = lease;
	sqe->local_offset = local_offset;
	sqe->remote_offset = remote_offset;
	sqe->length = length;
	sqe->imm = imm;
}

/**
 * dmaplane_prep_write() - write to a peer's memory; its program is not told
 * @sqe: the entry
 * @endpoint: to send on
 * @region: where the bytes come from
 * @local_offset: first byte in @region
 * @lease: where they go to
 * @remote_offset: first byte in @lease
 * @length: how many
 */
static inline void dmaplane_prep_write(struct dmaplane_sqe *sqe, __u32 endpoint,
				       __u32 region, __u64 local_offset,
				       __u32 lease, __u64 remote_offset, __u32 length)
{
	dmaplane_prep_write_imm(sqe, endpoint, region, local_offset, lease, remote_offset, length,
				0);
	sqe->opcode = DMAPLANE_OP_WRITE;
}

/**
 * dmaplane_prep_read() - read a peer's memory
 * @sqe: the entry
 * @endpoint: to ask on
 * @region: where the bytes go to, with DMAPLANE_ACCESS_LOCAL_WRITE
 * @local_offset: first byte in @region
 * @lease: where they come from
 * @remote_offset: first byte in @lease
 * @length: how many
 */
static inline void dmaplane_prep_read(struct dmaplane_sqe *sqe, __u32 endpoint,
				      __u32 region, __u64 local_offset,
				      __u32 lease, __u64 remote_offset, __u32 length)
{
	dmaplane_prep_write_imm(sqe, endpoint, region, local_offset, lease, remote_offset, length,
				0);
	sqe->opcode = DMAPLANE_OP_READ;
}

/**
 * dmaplane_prep_invalidate() - take a region's keys away
 * @sqe: the entry
 * @region: the region, which no entry uses; its handle stays
 */
static inline void dmaplane_prep_invalidate(struct dmaplane_sqe *sqe, __u32 region)
{
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = DMAPLANE_OP_INVALIDATE;
	sqe->region = region;
}

/**
 * dmaplane_prep_imm_only() - deliver an immediate alone
 * @sqe: the entry
 * @endpoint: to send on
 * @imm: what the peer's completion has
 */
static inline void dmaplane_prep_imm_only(struct dmaplane_sqe *sqe, __u32 endpoint, __u32 imm)
{
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = DMAPLANE_OP_IMM_ONLY;
	sqe->endpoint = endpoint;
	sqe->imm = imm;
}

/**
 * dmaplane_prep_send() - send a message, to a RECV of the peer's
 * @sqe: the entry
 * @endpoint: to send on
 * @region: where the bytes come from, 0 if there are none
 * @offset: first byte in @region
 * @length: how many, at most as many as the peer takes
 */
static inline void dmaplane_prep_send(struct dmaplane_sqe *sqe, __u32 endpoint, __u32 region,
				      __u64 offset, __u32 length)
{
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = DMAPLANE_OP_SEND;
	sqe->endpoint = endpoint;
	sqe->region = region;
	sqe->local_offset = offset;
	sqe->length = length;
}

/**
 * dmaplane_prep_send_imm() - as dmaplane_prep_send(), with an immediate
 * @sqe: the entry
 * @endpoint: to send on
 * @region: where the bytes come from, 0 if there are none
 * @offset: first byte in @region
 * @length: how many
 * @imm: what the completion of the peer's RECV has
 */
static inline void dmaplane_prep_send_imm(struct dmaplane_sqe *sqe, __u32 endpoint,
					  __u32 region, __u64 offset, __u32 length, __u32 imm)
{
	dmaplane_prep_send(sqe, endpoint, region, offset, length);
	sqe->opcode = DMAPLANE_OP_SEND_IMM;
	sqe->imm = imm;
}

/**
 * dmaplane_prep_recv() - take a message
 * @sqe: the entry
 * @endpoint: that receives it, and delivers to this channel
 * @to: a buffer
 * @offset: first byte in @to
 * @length: how many there is room for
 */
static inline void dmaplane_prep_recv(struct dmaplane_sqe *sqe, __u32 endpoint, __u32 to,
				      __u64 offset, __u32 length)
{
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = DMAPLANE_OP_RECV;
	sqe->endpoint = endpoint;
	sqe->lease = to;
	sqe->remote_offset = offset;
	sqe->length = length;
}

/**
 * dmaplane_prep_recv_multishot() - take messages, with one completion for each
 * @sqe: the entry
 * @endpoint: that receives them, and delivers to this channel
 * @to: a buffer
 * @offset: first byte of the first one in @to; that of the next is @length further
 * @length: how many bytes there is room for, for each
 * @count: how many messages; the last completion is without DMAPLANE_CQE_F_MORE
 */
static inline void dmaplane_prep_recv_multishot(struct dmaplane_sqe *sqe, __u32 endpoint,
						__u32 to, __u64 offset, __u32 length, __u32 count)
{
	dmaplane_prep_recv(sqe, endpoint, to, offset, length);
	sqe->flags = DMAPLANE_SQE_MULTISHOT;
	sqe->imm = count;
}

/**
 * dmaplane_prep_copy() - copy from one buffer to another, or within one
 * @sqe: the entry
 * @from: a buffer
 * @from_offset: first byte in @from
 * @to: a buffer, or @from if the ranges do not overlap
 * @to_offset: first byte in @to
 * @length: how many
 */
static inline void dmaplane_prep_copy(struct dmaplane_sqe *sqe, __u32 from, __u64 from_offset,
				      __u32 to, __u64 to_offset, __u32 length)
{
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = DMAPLANE_OP_COPY;
	sqe->region = from;
	sqe->lease = to;
	sqe->local_offset = from_offset;
	sqe->remote_offset = to_offset;
	sqe->length = length;
}

/**
 * dmaplane_prep_fill() - set bytes of a buffer
 * @sqe: the entry
 * @to: the buffer
 * @offset: first byte in @to
 * @length: how many
 * @value: of each
 */
static inline void dmaplane_prep_fill(struct dmaplane_sqe *sqe, __u32 to, __u64 offset,
				      __u32 length, __u8 value)
{
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = DMAPLANE_OP_FILL;
	sqe->lease = to;
	sqe->remote_offset = offset;
	sqe->length = length;
	sqe->imm = value;
}

/**
 * dmaplane_prep_migrate() - move the pages of a buffer to another NUMA node
 * @sqe: the entry
 * @buffer: the buffer, which may be in use meanwhile, but not registered
 * @node: where to
 * @flags: DMAPLANE_MIGRATE_*
 *
 * res: how many pages were moved, or the reason why the rest was not.
 */
static inline void dmaplane_prep_migrate(struct dmaplane_sqe *sqe, __u32 buffer, __u32 node,
					 __u32 flags)
{
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = DMAPLANE_OP_MIGRATE;
	sqe->lease = buffer;
	sqe->remote_offset = node;
	sqe->imm = flags;
}

/**
 * dmaplane_prep_cancel() - end entries that are not done
 * @sqe: this entry
 * @endpoint: that of the entries to end, 0 if they have none
 * @user_data: that of the one to end, 0 with DMAPLANE_CANCEL_ALL
 * @flags: DMAPLANE_CANCEL_*
 */
static inline void dmaplane_prep_cancel(struct dmaplane_sqe *sqe, __u32 endpoint,
					__u64 user_data, __u32 flags)
{
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = DMAPLANE_OP_CANCEL;
	sqe->endpoint = endpoint;
	sqe->local_offset = user_data;
	sqe->imm = flags;
}

/**
 * dmaplane_prep_counter_wait() - wait until messages were counted
 * @sqe: the entry
 * @endpoint: the endpoint that receives them
 * @counter: a counter of it
 * @value: how many in all
 *
 * res: 0, or the reason if so many cannot come any more.
 */
static inline void dmaplane_prep_counter_wait(struct dmaplane_sqe *sqe, __u32 endpoint,
					      __u32 counter, __u64 value)
{
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = DMAPLANE_OP_COUNTER_WAIT;
	sqe->endpoint = endpoint;
	sqe->region = counter;
	sqe->local_offset = value;
}

/* What says that an entry has a list. */
#define DMAPLANE_SQE_LISTS	(DMAPLANE_SQE_SEGMENTS | DMAPLANE_SQE_PAGES)

/**
 * dmaplane_sqe_set_flags() - say how others wait for an entry, and who is told of it
 * @sqe: the entry, prepared
 * @flags: DMAPLANE_SQE_*; a list that it has already stays
 */
static inline void dmaplane_sqe_set_flags(struct dmaplane_sqe *sqe, unsigned int flags)
{
	sqe->flags = (__u8)((sqe->flags & DMAPLANE_SQE_LISTS) | flags);
}

/* A list in a buffer, of one of both kinds. */
static inline void dmaplane_sqe_set_list(struct dmaplane_sqe *sqe, unsigned int kind,
					 __u32 buffer, __u64 offset, __u32 count)
{
	sqe->flags = (__u8)((sqe->flags & ~DMAPLANE_SQE_LISTS) | kind);
	sqe->list = buffer;
	sqe->list_offset = offset;
	sqe->list_count = count;
}

/**
 * dmaplane_sqe_set_segments() - have an entry move several ranges
 * @sqe: a read or write, prepared, whose length is not used
 * @buffer: a buffer that has an array of struct dmaplane_segment
 * @offset: where in it, a multiple of 8
 * @count: of how many, up to DMAPLANE_LIST_MAX
 *
 * The list may be used again when dmaplane_submit() or dmaplane_enter() has taken the entry.
 */
static inline void dmaplane_sqe_set_segments(struct dmaplane_sqe *sqe, __u32 buffer,
					     __u64 offset, __u32 count)
{
	dmaplane_sqe_set_list(sqe, DMAPLANE_SQE_SEGMENTS, buffer, offset, count);
	sqe->length = 0;
}

/**
 * dmaplane_sqe_set_pages() - have an entry move several pages
 * @sqe: a read or write, prepared; its length is that of each page
 * @buffer: a buffer that has a struct dmaplane_pages, and the indices behind it
 * @offset: where in it, a multiple of 8
 * @count: how many pages, up to DMAPLANE_LIST_MAX
 *
 * As for dmaplane_sqe_set_segments().
 */
static inline void dmaplane_sqe_set_pages(struct dmaplane_sqe *sqe, __u32 buffer,
					  __u64 offset, __u32 count)
{
	dmaplane_sqe_set_list(sqe, DMAPLANE_SQE_PAGES, buffer, offset, count);
}

/**
 * dmaplane_pages_local() - where the indices of the pages in the region are
 * @pages: the list's beginning
 */
static inline __u32 *dmaplane_pages_local(struct dmaplane_pages *pages)
{
	return (__u32 *)(pages + 1);
}

/**
 * dmaplane_pages_remote() - where the indices of the pages in the lease are
 * @pages: the list's beginning
 * @count: how many it has
 */
static inline __u32 *dmaplane_pages_remote(struct dmaplane_pages *pages, __u32 count)
{
	return (__u32 *)(pages + 1) + count;
}

/**
 * dmaplane_sqe_set_user_data() - say what an entry's completion has
 * @sqe: the entry, prepared
 * @user_data: the same in its completion
 */
static inline void dmaplane_sqe_set_user_data(struct dmaplane_sqe *sqe, __u64 user_data)
{
	sqe->user_data = user_data;
}

#endif /* DMAPLANE_ENTRY_H */
