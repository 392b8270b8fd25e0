/* SPDX-License-Identifier: GPL-2.0 */
/* A channel as C programs have it, dmaplane/channel.h, by short names. */
#ifndef DMAPLANE_TEST_RING_H
#define DMAPLANE_TEST_RING_H

#include "dmaplane_test.h"

/* Its struct has a short name here as well. */
#define dmaplane_channel channel
#include <dmaplane/channel.h>
#undef dmaplane_channel

/* For those who look at the indices themselves, or ruin them. */
#define load_acquire(p)		__atomic_load_n((p), __ATOMIC_ACQUIRE)
#define store_release(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELEASE)

/* Without a file, which would keep the context when a test has closed all that it knows of. */
static inline int channel_open(int fd, uint32_t sq_entries, uint32_t cq_entries,
			       struct channel *c)
{
	return dmaplane_channel_open_nofile(fd, sq_entries, cq_entries, c);
}

/* With a file: for flags. */
static inline int channel_open_flags(int fd, uint32_t sq_entries, uint32_t cq_entries,
				     uint32_t flags, struct channel *c)
{
	return dmaplane_channel_open_flags(fd, sq_entries, cq_entries, flags, c);
}

static inline int channel_close(struct channel *c)
{
	return dmaplane_channel_close(c);
}

/* Puts an entry into the submission ring; -EAGAIN if that is full. */
static inline int channel_push(struct channel *c, const struct dmaplane_sqe *sqe)
{
	return dmaplane_sqe_push(c, sqe);
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
	return dmaplane_enter(c, to_submit, min_complete, 0, timeout_ns);
}

/* A descriptor of the channel's own file, or -errno. */
static inline int channel_file(const struct channel *c)
{
	return dmaplane_file_open(c);
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
	return dmaplane_file_enter(file, min_complete);
}

static inline uint32_t channel_available(const struct channel *c)
{
	return dmaplane_channel_available(c);
}

/* Takes a completion that is there; false if none is. */
static inline bool channel_reap(struct channel *c, struct dmaplane_cqe *cqe)
{
	struct dmaplane_cqe *next;

	if (dmaplane_peek_cqe(c, &next))
		return false;
	*cqe = *next;
	dmaplane_cqe_seen(c);
	return true;
}

/* Takes a completion, waits for it if need be. */
static inline int channel_next_within(struct channel *c, struct dmaplane_cqe *cqe,
				      uint64_t timeout_ns)
{
	struct dmaplane_cqe *next;
	int ret = dmaplane_wait_cqe_timeout(c, &next, 0, timeout_ns);

	if (ret)
		return ret;
	*cqe = *next;
	dmaplane_cqe_seen(c);
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
	struct dmaplane_sqe sqe;

	dmaplane_prep_nop(&sqe);
	dmaplane_sqe_set_user_data(&sqe, user_data);
	dmaplane_sqe_set_flags(&sqe, flags);
	return sqe;
}

static inline struct dmaplane_sqe copy_buffer(uint32_t from, uint64_t from_offset, uint32_t to,
					      uint64_t to_offset, uint32_t length)
{
	struct dmaplane_sqe sqe;

	dmaplane_prep_copy(&sqe, from, from_offset, to, to_offset, length);
	return sqe;
}

static inline struct dmaplane_sqe fill_buffer(uint32_t to, uint64_t offset, uint32_t length,
					      uint8_t value)
{
	struct dmaplane_sqe sqe;

	dmaplane_prep_fill(&sqe, to, offset, length, value);
	return sqe;
}

static inline struct dmaplane_sqe migrate_buffer(uint32_t handle, uint32_t node, uint32_t flags)
{
	struct dmaplane_sqe sqe;

	dmaplane_prep_migrate(&sqe, handle, node, flags);
	return sqe;
}

/* Moves a buffer: what MIGRATE says. */
static inline int channel_migrate(struct channel *c, uint32_t handle, uint32_t node, uint32_t flags)
{
	struct dmaplane_sqe sqe = migrate_buffer(handle, node, flags);
	struct dmaplane_cqe cqe;
	int ret = channel_push(c, &sqe);

	/* With SQPOLL it takes none. */
	ret = ret ? ret : dmaplane_submit(c);
	if (ret < 0 || channel_next(c, &cqe))
		return -ETIME;
	return cqe.res;
}

/* Of entries for @endpoint, or of those for none if that is 0. */
static inline struct dmaplane_sqe cancel(uint64_t user_data, uint32_t endpoint, uint64_t target,
					 uint32_t flags)
{
	struct dmaplane_sqe sqe;

	dmaplane_prep_cancel(&sqe, endpoint, target, flags);
	dmaplane_sqe_set_user_data(&sqe, user_data);
	return sqe;
}

static inline bool channel_poisoned(const struct channel *c)
{
	return dmaplane_channel_poisoned(c);
}

/* What poll() says at once. */
static inline int poll_now(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) < 0 ? -errno : p.revents;
}

#endif /* DMAPLANE_TEST_RING_H */
