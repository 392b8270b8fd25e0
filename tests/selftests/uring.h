/* SPDX-License-Identifier: GPL-2.0 */
/* io_uring by its system calls, as little of it as the tests need. */
#ifndef DMAPLANE_TEST_URING_H
#define DMAPLANE_TEST_URING_H

#include "ring.h"

#include <sys/uio.h>

#include <dmaplane/uring.h>

struct uring {
	int fd;
	uint32_t flags;		/* IORING_SETUP_* */
	uint32_t entries;
	uint8_t *rings, *sqes;
	size_t rings_length, sqes_length;
	struct io_sqring_offsets sq;
	struct io_cqring_offsets cq;
	uint32_t pushed;	/* and not submitted */
};

static inline uint32_t *uring_word(const struct uring *u, uint32_t offset)
{
	return (uint32_t *)(u->rings + offset);
}

static inline size_t uring_sqe_size(const struct uring *u)
{
	return u->flags & IORING_SETUP_SQE128 ? 128 : 64;
}

static inline int uring_open(struct uring *u, uint32_t entries, uint32_t flags)
{
	struct io_uring_params p = { .flags = flags, .sq_thread_idle = 20 };
	size_t cqe = flags & IORING_SETUP_CQE32 ? 32 : 16;
	size_t sq_length, cq_length;

	*u = (struct uring){ .flags = flags };
	u->fd = syscall(__NR_io_uring_setup, entries, &p);
	if (u->fd < 0)
		return -errno;
	u->entries = p.sq_entries;
	u->sq = p.sq_off;
	u->cq = p.cq_off;
	sq_length = p.sq_off.array + p.sq_entries * sizeof(uint32_t);
	cq_length = p.cq_off.cqes + p.cq_entries * cqe;
	u->rings_length = sq_length > cq_length ? sq_length : cq_length;
	u->sqes_length = p.sq_entries * uring_sqe_size(u);
	u->rings = mmap(NULL, u->rings_length, PROT_READ | PROT_WRITE, MAP_SHARED, u->fd,
			IORING_OFF_SQ_RING);
	u->sqes = mmap(NULL, u->sqes_length, PROT_READ | PROT_WRITE, MAP_SHARED, u->fd,
		       IORING_OFF_SQES);
	if (u->rings == MAP_FAILED || u->sqes == MAP_FAILED)
		return -errno;
	for (uint32_t i = 0; i < p.sq_entries; i++)
		uring_word(u, p.sq_off.array)[i] = i;
	return 0;
}

static inline void uring_close(struct uring *u)
{
	munmap(u->rings, u->rings_length);
	munmap(u->sqes, u->sqes_length);
	close(u->fd);
}

/* A new entry, all zero, that goes with the next uring_submit(). */
static inline struct io_uring_sqe *uring_get(struct uring *u)
{
	uint32_t tail = *uring_word(u, u->sq.tail) + u->pushed++;
	size_t size = uring_sqe_size(u);

	return memset(u->sqes + (tail & (u->entries - 1)) * size, 0, size);
}

static inline int uring_enter(struct uring *u, uint32_t to_submit, uint32_t min_complete,
			      uint64_t timeout_ns)
{
	struct __kernel_timespec ts = { timeout_ns / SEC, timeout_ns % SEC };
	struct io_uring_getevents_arg arg = { .ts = (uintptr_t)&ts };
	uint32_t flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
	int ret;

	if (u->flags & IORING_SETUP_SQPOLL)
		flags |= IORING_ENTER_SQ_WAKEUP;
	ret = syscall(__NR_io_uring_enter, u->fd, to_submit, min_complete, flags, &arg,
		      sizeof(arg));
	return ret < 0 ? -errno : ret;
}

/* Submits what was got, and waits for @min completions: how many were taken, or -errno. */
static inline int uring_submit_and_wait(struct uring *u, uint32_t min, uint64_t timeout_ns)
{
	uint32_t *tail = uring_word(u, u->sq.tail);
	uint32_t count = u->pushed;

	store_release(tail, *tail + count);
	u->pushed = 0;
	return uring_enter(u, count, min, timeout_ns);
}

static inline int uring_submit(struct uring *u)
{
	return uring_submit_and_wait(u, 0, 0);
}

/* A completion that is there; @more says the rest if the ring does. */
static inline bool uring_peek(struct uring *u, struct io_uring_cqe *cqe, struct dmaplane_cqe *more)
{
	uint32_t *head = uring_word(u, u->cq.head), at = *head;
	size_t size = u->flags & IORING_SETUP_CQE32 ? 32 : 16;
	const struct io_uring_cqe *next;

	if (at == load_acquire(uring_word(u, u->cq.tail)))
		return false;
	at &= *uring_word(u, u->cq.ring_mask);
	next = (const struct io_uring_cqe *)(u->rings + u->cq.cqes + at * size);
	memcpy(cqe, next, sizeof(*cqe));
	if (more && size == 32)
		dmaplane_uring_cqe(next, more);
	store_release(head, *head + 1);
	return true;
}

/* Takes a completion, waits for it if need be. */
static inline int uring_next_within(struct uring *u, struct io_uring_cqe *cqe,
				    struct dmaplane_cqe *more, uint64_t timeout_ns)
{
	uint64_t give_up = now_ns() + timeout_ns;
	int ret;

	while (!uring_peek(u, cqe, more)) {
		ret = uring_enter(u, 0, 1, timeout_ns);
		if (ret < 0 && ret != -EINTR && ret != -ETIME)
			return ret;
		if (now_ns() > give_up)
			return uring_peek(u, cqe, more) ? 0 : -ETIME;
	}
	return 0;
}

static inline int uring_next(struct uring *u, struct io_uring_cqe *cqe)
{
	return uring_next_within(u, cqe, NULL, PATIENCE);
}

/* Puts an entry for the channel of @file into the ring. */
static inline struct io_uring_sqe *uring_push(struct uring *u, int file,
					      const struct dmaplane_sqe *entry, uint64_t user_data)
{
	struct io_uring_sqe *sqe = uring_get(u);

	*dmaplane_uring_prep(sqe, file) = *entry;
	sqe->user_data = user_data;
	return sqe;
}

/* Submits an entry and takes the next completion: its res, or what went wrong. */
static inline int uring_do(struct uring *u, int file, const struct dmaplane_sqe *entry)
{
	struct io_uring_cqe cqe = { 0 };
	int ret;

	uring_push(u, file, entry, 0x1234);
	ret = uring_submit(u);
	ret = ret < 0 ? ret : uring_next(u, &cqe);
	return ret ?: cqe.user_data != 0x1234 ? -EBADMSG : cqe.res;
}

/* Registers memory, whose pages are the ring's as well then, until its end or uring_unregister(). */
static inline int uring_register(const struct uring *u, const struct iovec *memory, uint32_t count)
{
	return syscall(__NR_io_uring_register, u->fd, IORING_REGISTER_BUFFERS, memory, count) < 0 ?
		-errno : 0;
}

static inline int uring_unregister(const struct uring *u)
{
	return syscall(__NR_io_uring_register, u->fd, IORING_UNREGISTER_BUFFERS, NULL, 0) < 0 ?
		-errno : 0;
}

/* Puts READ_FIXED or WRITE_FIXED of such memory into the ring. */
static inline struct io_uring_sqe *uring_push_fixed(struct uring *u, uint8_t opcode, int file,
						    uint16_t index, const uint8_t *at,
						    uint32_t length, uint64_t offset,
						    uint64_t user_data)
{
	struct io_uring_sqe *sqe = uring_get(u);

	sqe->opcode = opcode;
	sqe->fd = file;
	sqe->buf_index = index;
	sqe->addr = (uintptr_t)at;
	sqe->len = length;
	sqe->off = offset;
	sqe->user_data = user_data;
	return sqe;
}

/* Does all of it: @length, or what went wrong. */
static inline int64_t uring_fixed(struct uring *u, uint8_t opcode, int file, uint16_t index,
				  const uint8_t *at, uint32_t length, uint64_t offset)
{
	uint32_t done = 0;

	while (done < length) {
		struct io_uring_cqe cqe = { 0 };
		int ret;

		uring_push_fixed(u, opcode, file, index, at + done, length - done, offset + done,
				 0x4321);
		ret = uring_submit(u);
		ret = ret < 0 ? ret : uring_next(u, &cqe);
		if (!ret && cqe.user_data != 0x4321)
			ret = -EBADMSG;
		if (ret || cqe.res <= 0)
			return ret ?: cqe.res ?: -ENODATA;
		done += cqe.res;
	}
	return done;
}

#endif /* DMAPLANE_TEST_URING_H */
