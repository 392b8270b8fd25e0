/* SPDX-License-Identifier: GPL-2.0 */
/* A channel as its user sees it: the rings, with the ordering that the header asks for. */
#ifndef DMAPLANE_TEST_RING_H
#define DMAPLANE_TEST_RING_H

#include "dmaplane_test.h"

struct channel {
	int fd;
	uint32_t handle;
	uint32_t sq_entries;
	uint32_t cq_entries;
	size_t length;
	struct dmaplane_ring *ring;
	struct dmaplane_sqe *sqes;
	struct dmaplane_cqe *cqes;
};

#define load_acquire(p)		__atomic_load_n((p), __ATOMIC_ACQUIRE)
#define store_release(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELEASE)

static inline int channel_open(int fd, uint32_t sq_entries, uint32_t cq_entries,
			       struct channel *c)
{
	struct dmaplane_channel_create arg = ARG(channel_create, .sq_entries = sq_entries,
						 .cq_entries = cq_entries);
	int ret = cmd(fd, DMAPLANE_IOC_CHANNEL_CREATE, &arg);
	uint8_t *map;

	if (ret)
		return ret;
	map = map_at(fd, arg.mmap_length, arg.mmap_offset);
	if (map == MAP_FAILED)
		return -errno;
	*c = (struct channel){
		.fd = fd,
		.handle = arg.handle,
		.sq_entries = sq_entries,
		.cq_entries = cq_entries,
		.length = arg.mmap_length,
		.ring = (void *)map,
		.sqes = (void *)(map + arg.sqes_offset),
		.cqes = (void *)(map + arg.cqes_offset),
	};
	return 0;
}

static inline int channel_close(struct channel *c)
{
	munmap(c->ring, c->length);
	return end(c->fd, DMAPLANE_IOC_CHANNEL_CLOSE, c->handle);
}

/* Puts an entry into the submission ring; -EAGAIN if that is full. */
static inline int channel_push(struct channel *c, const struct dmaplane_sqe *sqe)
{
	uint32_t tail = c->ring->sq_tail;

	if (tail - load_acquire(&c->ring->sq_head) >= c->sq_entries)
		return -EAGAIN;
	c->sqes[tail & (c->sq_entries - 1)] = *sqe;
	store_release(&c->ring->sq_tail, tail + 1);
	return 0;
}

static inline int channel_push_nop(struct channel *c, uint64_t user_data)
{
	struct dmaplane_sqe sqe = { .opcode = DMAPLANE_OP_NOP, .user_data = user_data };

	return channel_push(c, &sqe);
}

/* Returns the number of entries taken, or -errno. */
static inline int channel_enter(struct channel *c, uint32_t to_submit, uint32_t min_complete,
				uint64_t timeout_ns)
{
	struct dmaplane_channel_enter arg =
		ARG(channel_enter, .channel = c->handle, .to_submit = to_submit,
		    .min_complete = min_complete, .timeout_ns = timeout_ns);

	return cmd(c->fd, DMAPLANE_IOC_CHANNEL_ENTER, &arg);
}

/* A descriptor of the channel's own file, or -errno. */
static inline int channel_file(const struct channel *c)
{
	struct dmaplane_channel_file arg = ARG(channel_file, .channel = c->handle, .fd = -1);
	int ret = cmd(c->fd, DMAPLANE_IOC_CHANNEL_FILE, &arg);

	return ret ? ret : arg.fd;
}

/* Has @event signalled, or nothing if it is -1. */
static inline int channel_eventfd(const struct channel *c, int event)
{
	struct dmaplane_channel_eventfd arg =
		ARG(channel_eventfd, .channel = c->handle, .fd = event);

	return cmd(c->fd, DMAPLANE_IOC_CHANNEL_EVENTFD, &arg);
}

/* ENTER by that file: the number of entries taken, or -errno. */
static inline int file_enter(int file, uint32_t min_complete)
{
	off_t ret = lseek(file, min_complete, SEEK_SET);

	return ret < 0 ? -errno : ret;
}

static inline uint32_t channel_available(const struct channel *c)
{
	return load_acquire(&c->ring->cq_tail) - c->ring->cq_head;
}

/* Takes a completion that is there; false if none is. */
static inline bool channel_reap(struct channel *c, struct dmaplane_cqe *cqe)
{
	uint32_t head = c->ring->cq_head;

	if (load_acquire(&c->ring->cq_tail) == head)
		return false;
	*cqe = c->cqes[head & (c->cq_entries - 1)];
	store_release(&c->ring->cq_head, head + 1);
	return true;
}

/* Takes a completion, waits for it if need be. */
static inline int channel_next_within(struct channel *c, struct dmaplane_cqe *cqe,
				      uint64_t timeout_ns)
{
	int ret = 0;

	while (!channel_reap(c, cqe)) {
		ret = channel_enter(c, 0, 1, timeout_ns);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static inline int channel_next(struct channel *c, struct dmaplane_cqe *cqe)
{
	return channel_next_within(c, cqe, PATIENCE);
}

/* Submits one entry: 1, or -errno. */
static inline int channel_submit(struct channel *c, const struct dmaplane_sqe *sqe)
{
	int ret = channel_push(c, sqe);

	return ret ? ret : channel_enter(c, 1, 0, 0);
}

/* Submits an entry and takes the next completion: its res, or what went wrong. */
static inline int channel_do(struct channel *c, const struct dmaplane_sqe *sqe,
			     struct dmaplane_cqe *cqe)
{
	int ret = channel_submit(c, sqe);

	if (ret == 1)
		ret = channel_next(c, cqe);
	return ret;
}

static inline struct dmaplane_sqe nop(uint64_t user_data, uint8_t flags)
{
	return (struct dmaplane_sqe){ .opcode = DMAPLANE_OP_NOP, .flags = flags,
				      .user_data = user_data };
}

static inline struct dmaplane_sqe copy_buffer(uint32_t from, uint64_t from_offset, uint32_t to,
				       uint64_t to_offset, uint32_t length)
{
	return (struct dmaplane_sqe){ .opcode = DMAPLANE_OP_COPY, .region = from, .lease = to,
				      .local_offset = from_offset, .remote_offset = to_offset,
				      .length = length };
}

static inline struct dmaplane_sqe fill_buffer(uint32_t to, uint64_t offset, uint32_t length, uint8_t value)
{
	return (struct dmaplane_sqe){ .opcode = DMAPLANE_OP_FILL, .lease = to,
				      .remote_offset = offset, .length = length, .imm = value };
}

/* Of entries for @endpoint, or of those for none if that is 0. */
static inline struct dmaplane_sqe cancel(uint64_t user_data, uint32_t endpoint, uint64_t target,
					 uint32_t flags)
{
	return (struct dmaplane_sqe){ .opcode = DMAPLANE_OP_CANCEL, .user_data = user_data,
				      .endpoint = endpoint, .local_offset = target, .imm = flags };
}

static inline bool channel_poisoned(const struct channel *c)
{
	return load_acquire(&c->ring->flags) & DMAPLANE_RING_POISONED;
}

/* What poll() says at once. */
static inline int poll_now(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) < 0 ? -errno : p.revents;
}

#endif /* DMAPLANE_TEST_RING_H */
