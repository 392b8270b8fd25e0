// SPDX-License-Identifier: GPL-2.0
/*
 * Entries that come by io_uring, with those that need no peer: in rings of several kinds, what
 * is refused, what orders and ends them. uring_peer.c has the others.
 */
#include "uring.h"
#include "harness.h"

#define LENGTH	(8 << 20)
#define ENTRIES	8	/* of the channel */

FIXTURE(uring) {
	int fd, file;
	struct channel c;
	struct buffer from, to;
	uint8_t *at_from, *at_to;
	struct uring u;
};

FIXTURE_VARIANT(uring) {
	uint32_t flags;		/* of io_uring */
	uint8_t sqe_flags;
};

FIXTURE_VARIANT_ADD(uring, plain) { .flags = 0 };
FIXTURE_VARIANT_ADD(uring, large) { .flags = IORING_SETUP_CQE32 };
FIXTURE_VARIANT_ADD(uring, one_task) {
	.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
};
FIXTURE_VARIANT_ADD(uring, polled) { .flags = IORING_SETUP_SQPOLL };
/* By a task of io_uring's, without its lock. */
FIXTURE_VARIANT_ADD(uring, async) {
	.flags = IORING_SETUP_CQE32, .sqe_flags = IOSQE_ASYNC,
};

FIXTURE_SETUP(uring)
{
	ASSERT_EQ(0, uring_open(&self->u, 64, IORING_SETUP_SQE128 | variant->flags));
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, channel_open(self->fd, ENTRIES, ENTRIES, &self->c));
	self->file = channel_file(&self->c);
	ASSERT_LE(0, self->file);
	ASSERT_EQ(0, buf_create(self->fd, LENGTH, &self->from));
	ASSERT_EQ(0, buf_create(self->fd, LENGTH, &self->to));
	self->at_from = buf_map(self->fd, &self->from);
	self->at_to = buf_map(self->fd, &self->to);
	ASSERT_NE(MAP_FAILED, self->at_from);
	ASSERT_NE(MAP_FAILED, self->at_to);
}

/* Whatever was submitted is complete, also if nobody is told. */
FIXTURE_TEARDOWN(uring)
{
	struct dmaplane_stats stats;

	uring_close(&self->u);
	EXPECT_TRUE(WAIT_FOR(!get_stats(self->fd, &stats) &&
			     stats.submitted == stats.completed));
	munmap(self->at_from, LENGTH);
	munmap(self->at_to, LENGTH);
	munmap(self->c.ring, self->c.length);
	EXPECT_EQ(0, close(self->fd));
	if (self->file >= 0)
		EXPECT_EQ(0, close(self->file));
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("channels"));
	EXPECT_EQ(0, live("buffers"));
}

/* Puts an entry into io_uring, by which task ever it will be issued. */
#define PUSH(entry, user_data) ({						\
	struct dmaplane_sqe __entry = (entry);					\
	struct io_uring_sqe *__sqe =						\
		uring_push(&self->u, self->file, &__entry, user_data);		\
	__sqe->flags = variant->sqe_flags;					\
	__sqe;									\
})

#define SUBMIT() ASSERT_LE(0, uring_submit(&self->u))

/* The next completion: its user_data, or what went wrong. */
#define NEXT(res_) ({								\
	struct io_uring_cqe __cqe = { 0 };					\
	int __ret = uring_next(&self->u, &__cqe);				\
	*(res_) = __cqe.res;							\
	__ret ?: (long)__cqe.user_data;						\
})

#define EXPECT_DONE(expected_user_data, expected_res) ({			\
	int __res = 0;								\
	EXPECT_EQ(expected_user_data, NEXT(&__res));				\
	EXPECT_EQ(expected_res, __res);						\
})

/* Submits one and compares its res. */
#define EXPECT_RES(expected, entry) ({						\
	PUSH(entry, 77);							\
	SUBMIT();								\
	EXPECT_DONE(77, expected);						\
})

/* What takes some time, and what it is known by to CANCEL. */
static struct dmaplane_sqe slow(FIXTURE_DATA(uring) *self, uint64_t user_data)
{
	struct dmaplane_sqe sqe = fill_buffer(self->to.handle, 0, LENGTH, 1);

	sqe.user_data = user_data;
	return sqe;
}

static bool rings_untouched(const struct channel *c)
{
	return !load_acquire(&c->ring->sq_head) && !load_acquire(&c->ring->cq_tail) &&
	       !load_acquire(&c->ring->flags);
}

TEST_F(uring, nops)
{
	struct dmaplane_stats stats;
	uint64_t seen = 0;
	int res;

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 32; i++)
			PUSH(nop(5, 0), i);
		SUBMIT();
		for (int i = 0; i < 32; i++) {
			seen |= 1ULL << NEXT(&res);
			EXPECT_EQ(0, res);
		}
		EXPECT_EQ(UINT32_MAX, seen);
	}
	ASSERT_EQ(0, get_stats(self->fd, &stats));
	EXPECT_EQ(96, stats.submitted);
	EXPECT_EQ(96, stats.completed);
	EXPECT_TRUE(rings_untouched(&self->c));
}

TEST_F(uring, copies)
{
	const uint32_t lengths[] = { 0, 1, 4096, 1 << 16, (1 << 16) + 1, LENGTH };

	fill(self->at_from, LENGTH, 1);
	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		uint32_t length = lengths[i];

		memset(self->at_to, 0, LENGTH);
		EXPECT_RES((int)length, copy_buffer(self->from.handle, 0, self->to.handle, 0,
						    length));
		EXPECT_EQ(length, first_wrong(self->at_to, length, 1));
		if (length < LENGTH)
			EXPECT_EQ(0, self->at_to[length]);
		EXPECT_RES((int)length, fill_buffer(self->to.handle, 0, length, 7));
		EXPECT_EQ(length, first_not(self->at_to, length, 7));
	}
	EXPECT_TRUE(rings_untouched(&self->c));
}

/* Many long ones are done one after the other. */
TEST_F(uring, several)
{
	uint32_t seen = 0;
	int res;

	for (int i = 0; i < ENTRIES; i++)
		PUSH(fill_buffer(self->to.handle, i << 18, 1 << 18, i + 1), i);
	SUBMIT();
	for (int i = 0; i < ENTRIES; i++) {
		seen |= 1 << NEXT(&res);
		EXPECT_EQ(1 << 18, res);
	}
	EXPECT_EQ((1 << ENTRIES) - 1, seen);
	for (int i = 0; i < ENTRIES; i++)
		EXPECT_EQ(1 << 18, first_not(self->at_to + (i << 18), 1 << 18, i + 1));
}

/* Other entries than these are wrong in the same way as in the channel's ring. */
TEST_F(uring, wrong_entries)
{
	uint32_t from = self->from.handle, to = self->to.handle;
	const struct dmaplane_sqe wrong[] = {
		{ .opcode = DMAPLANE_OP_RECV }, { .opcode = DMAPLANE_OP_WRITE }, { .opcode = 255 },
		{ .opcode = DMAPLANE_OP_INVALIDATE }, { .opcode = DMAPLANE_OP_SEND, .length = 1 },
		{ .imm = 1 }, { .pad0 = 1 }, { .list_offset = 1 }, { .flags = DMAPLANE_SQE_FENCE },
		{ .endpoint = 1 }, { .local_offset = 1 },
		{ .opcode = DMAPLANE_OP_IMM_ONLY }, { .opcode = DMAPLANE_OP_IMM_ONLY, .endpoint = to },
		{ .opcode = DMAPLANE_OP_WRITE_IMM, .endpoint = 99 },
		{ .opcode = DMAPLANE_OP_COUNTER_WAIT, .endpoint = to },
		{ .opcode = DMAPLANE_OP_COUNTER_WAIT, .length = 1 },
		{ .opcode = DMAPLANE_OP_CANCEL }, { .opcode = DMAPLANE_OP_CANCEL, .imm = 2 },
		{ .opcode = DMAPLANE_OP_CANCEL, .imm = 1, .local_offset = 1 },
		copy_buffer(from, 0, 99, 0, 1), copy_buffer(99, 0, to, 0, 1),
		copy_buffer(from, 0, self->c.handle, 0, 1), copy_buffer(from, LENGTH, to, 0, 1),
		copy_buffer(from, 0, to, LENGTH - 4, 5), copy_buffer(from, UINT64_MAX, to, 0, 5),
		copy_buffer(from, 0, from, 4, 5), copy_buffer(from, 0, to, 0, UINT32_MAX),
		{ .opcode = DMAPLANE_OP_FILL, .lease = to, .length = 1, .imm = 256 },
	};
	struct dmaplane_cqe cqe;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		ASSERT_EQ(0, channel_do(&self->c, &wrong[i], &cqe));
		EXPECT_GT(0, cqe.res);
		EXPECT_RES(cqe.res, wrong[i]);
	}
}

/* io_uring has flags of its own. */
TEST_F(uring, flags)
{
	const uint8_t flags[] = { DMAPLANE_SQE_LINK, DMAPLANE_SQE_DRAIN,
				  DMAPLANE_SQE_CQE_SKIP_SUCCESS, DMAPLANE_SQE_MULTISHOT, 0xff };

	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		EXPECT_RES(-EINVAL, nop(1, flags[i]));
}

TEST_F(uring, misuse)
{
	struct dmaplane_stats stats;
	struct io_uring_sqe *sqe;

#define EXPECT_BAD(error, change) ({						\
	sqe = PUSH(nop(1, 0), 8);						\
	change;									\
	SUBMIT();								\
	EXPECT_DONE(8, error);							\
})
	EXPECT_BAD(-EOPNOTSUPP, sqe->cmd_op = 0);
	EXPECT_BAD(-EOPNOTSUPP, sqe->cmd_op = 2);
	EXPECT_BAD(-EOPNOTSUPP, sqe->cmd_op = DMAPLANE_IOC_CHANNEL_ENTER);
	EXPECT_BAD(-EINVAL, sqe->addr = 1);
	EXPECT_BAD(-EINVAL, sqe->len = 1);
	EXPECT_BAD(-EINVAL, sqe->file_index = 1);
	EXPECT_BAD(-EINVAL, sqe->uring_cmd_flags = IORING_URING_CMD_FIXED);
	EXPECT_BAD(-EINVAL, sqe->uring_cmd_flags = 1U << 30);
	EXPECT_BAD(-EINVAL, ((uint8_t *)sqe)[127] = 1);
	EXPECT_BAD(-EINVAL, ((uint8_t *)sqe)[112] = 1);
	EXPECT_BAD(-EBADF, sqe->fd = -1);
	/* The context's file takes none. */
	EXPECT_BAD(-EOPNOTSUPP, sqe->fd = self->fd);
	ASSERT_EQ(0, get_stats(self->fd, &stats));
	EXPECT_EQ(0, stats.submitted);
	EXPECT_RES(0, nop(1, 0));
}

/* Rings whose entries are too small, and those whose completions are polled for. */
TEST_F(uring, other_rings)
{
	const struct { uint32_t flags; int res; } rings[] = {
		{ 0, -EINVAL }, { IORING_SETUP_CQE32, -EINVAL },
		{ IORING_SETUP_SQE128 | IORING_SETUP_IOPOLL, -EOPNOTSUPP },
	};
	struct uring u;

	for (size_t i = 0; i < ARRAY_LEN(rings); i++) {
		struct io_uring_cqe cqe = { 0 };
		struct io_uring_sqe *sqe;

		ASSERT_EQ(0, uring_open(&u, 4, rings[i].flags));
		sqe = uring_get(&u);
		sqe->opcode = IORING_OP_URING_CMD;
		sqe->fd = self->file;
		sqe->cmd_op = DMAPLANE_URING_CMD_SUBMIT;
		ASSERT_EQ(1, uring_submit(&u));
		EXPECT_EQ(0, uring_next(&u, &cqe));
		EXPECT_EQ(rings[i].res, cqe.res) TH_LOG("ring %zu", i);
		uring_close(&u);
	}
}

/* What 32 bytes of a completion have room for. */
TEST_F(uring, more)
{
	struct dmaplane_cqe more;
	struct io_uring_cqe cqe;

	if (!(variant->flags & IORING_SETUP_CQE32))
		return;
	for (int round = 0; round < 3; round++) {
		const struct dmaplane_sqe entries[] = {
			nop(0, 0), slow(self, 1), { .opcode = 255, .endpoint = 0x01020304 },
		};

		memset(&more, 0xff, sizeof(more));
		PUSH(entries[round], 1);
		SUBMIT();
		ASSERT_EQ(0, uring_next_within(&self->u, &cqe, &more, PATIENCE));
		EXPECT_EQ(1, more.user_data);
		EXPECT_EQ(cqe.res, more.res);
		EXPECT_EQ(entries[round].opcode, more.opcode);
		EXPECT_EQ(0, more.endpoint);
		EXPECT_EQ(0, more.imm);
		EXPECT_EQ(0, more.wc_status);
		EXPECT_EQ(0, more.flags);
		EXPECT_EQ(0, more.pad1);
	}
}

/* io_uring's links: the next one begins when the one before has succeeded. */
TEST_F(uring, links)
{
	struct io_uring_sqe *sqe;

	fill(self->at_from, LENGTH, 3);
	sqe = PUSH(copy_buffer(self->from.handle, 0, self->to.handle, 0, LENGTH), 1);
	sqe->flags |= IOSQE_IO_LINK;
	sqe = PUSH(fill_buffer(self->to.handle, 0, LENGTH / 2, 9), 2);
	sqe->flags |= IOSQE_IO_LINK;
	PUSH(fill_buffer(self->to.handle, 0, 4, 10), 3);
	SUBMIT();
	EXPECT_DONE(1, LENGTH);
	EXPECT_DONE(2, LENGTH / 2);
	EXPECT_DONE(3, 4);
	EXPECT_EQ(4, first_not(self->at_to, 4, 10));
	EXPECT_EQ(LENGTH / 2 - 4, first_not(self->at_to + 4, LENGTH / 2 - 4, 9));
	EXPECT_EQ(pattern(3, LENGTH - 1), self->at_to[LENGTH - 1]);
	/* One that is wrong, and one that is cancelled. */
	sqe = PUSH(nop(1, DMAPLANE_SQE_LINK), 1);
	sqe->flags |= IOSQE_IO_LINK;
	PUSH(nop(2, 0), 2);
	SUBMIT();
	EXPECT_DONE(1, -EINVAL);
	EXPECT_DONE(2, -ECANCELED);
}

/* CANCEL finds entries of both kinds, by whichever way it comes. */
TEST_F(uring, cancel)
{
	struct dmaplane_sqe sqe, all = cancel(9, 0, 0, DMAPLANE_CANCEL_ALL);
	struct dmaplane_cqe cqe;
	int res;

	/* The worker may be done with some before it is told. */
	for (int i = 0; i < 4; i++)
		PUSH(slow(self, 100 + i), i);
	sqe = slow(self, 200);
	ASSERT_EQ(0, channel_push(&self->c, &sqe));
	SUBMIT();
	ASSERT_EQ(1, channel_enter(&self->c, 1, 0, 0));
	PUSH(all, 9);
	SUBMIT();
	for (int i = 0; i < 5; i++) {
		long user_data = NEXT(&res);

		EXPECT_TRUE(user_data == 9 ? res > 0 || res == -ENOENT :
					     res == LENGTH || res == -ECANCELED);
	}
	ASSERT_EQ(0, channel_next(&self->c, &cqe));
	EXPECT_EQ(200, cqe.user_data);
	/* By the channel's ring, one by what it calls itself; again if it was done, or nearly so. */
	for (int round = 0, found = -ENOENT; round < 20 && found != -ECANCELED; round++) {
		for (int i = 0; i < 4; i++)
			PUSH(slow(self, 300 + i), i);
		SUBMIT();
		sqe = cancel(10, 0, 303, 0);
		ASSERT_EQ(0, channel_do(&self->c, &sqe, &cqe));
		EXPECT_TRUE(cqe.res == 1 || cqe.res == -ENOENT);
		for (int i = 0; i < 4; i++) {
			long user_data = NEXT(&res);

			if (user_data == 3 && cqe.res == 1)
				found = res;
			else
				EXPECT_EQ(LENGTH, res);
		}
		EXPECT_TRUE(found == -ENOENT || found == -ECANCELED || found == LENGTH);
	}
}

/* Neither completions nobody takes nor ruined rings are in the way. */
TEST_F(uring, ring_full_or_poisoned)
{
	for (int i = 0; i < ENTRIES; i++)
		ASSERT_EQ(0, channel_push_nop(&self->c, i));
	ASSERT_EQ(ENTRIES, channel_enter(&self->c, ENTRIES, 0, 0));
	EXPECT_RES(0, nop(1, 0));
	EXPECT_RES(LENGTH, slow(self, 1));
	store_release(&self->c.ring->cq_head, 1000);
	EXPECT_EQ(-EBADFD, channel_enter(&self->c, 1, 0, 0));
	EXPECT_RES(0, nop(1, 0));
	EXPECT_RES(LENGTH, slow(self, 1));
}

/* DRAIN in the ring does not wait for them. */
TEST_F(uring, drain)
{
	struct dmaplane_sqe sqe = nop(1, DMAPLANE_SQE_DRAIN);
	struct dmaplane_cqe cqe;

	for (int i = 0; i < 4; i++)
		PUSH(slow(self, 1), i);
	SUBMIT();
	ASSERT_EQ(1, channel_submit(&self->c, &sqe));
	EXPECT_TRUE(channel_reap(&self->c, &cqe));
	for (int i = 0, res; i < 4; i++) {
		EXPECT_LE(0, NEXT(&res));
		EXPECT_EQ(LENGTH, res);
	}
}

/* What waits for all before it begins although its task waits for both, and is told of neither. */
TEST_F(uring, drained_by_io_uring)
{
	struct io_uring_sqe *second;

	PUSH(slow(self, 1), 1);
	second = PUSH(nop(2, 0), 2);
	second->flags |= IOSQE_IO_DRAIN;
	ASSERT_LE(0, uring_submit_and_wait(&self->u, 2, PATIENCE));
	EXPECT_DONE(1, LENGTH);
	EXPECT_DONE(2, 0);
}

struct quitter {
	struct uring *u;
	int result;
};

static void *submit_and_quit(void *arg)
{
	struct quitter *q = arg;

	q->result = uring_submit(q->u);
	return NULL;
}

/* A task that submitted ends before its entries do: they go on, and are told of. */
TEST_F(uring, task_ends)
{
	struct quitter q = { &self->u, 0 };
	pthread_t thread;

	/* Only who made such a ring may submit. */
	if (variant->flags & IORING_SETUP_SINGLE_ISSUER)
		return;
	for (int i = 0; i < 4; i++)
		PUSH(slow(self, 1), i);
	ASSERT_EQ(0, pthread_create(&thread, NULL, submit_and_quit, &q));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_LE(0, q.result);
	for (int i = 0, res; i < 4; i++) {
		EXPECT_LE(0, NEXT(&res));
		EXPECT_EQ(LENGTH, res);
	}
}

/* Entries under way when the channel is closed are complete then, and later ones are refused. */
TEST_F(uring, channel_closed)
{
	int res;

	for (int i = 0; i < 4; i++)
		PUSH(slow(self, 1), i);
	SUBMIT();
	ASSERT_EQ(0, end(self->fd, DMAPLANE_IOC_CHANNEL_CLOSE, self->c.handle));
	for (int i = 0; i < 4; i++) {
		EXPECT_LE(0, NEXT(&res));
		EXPECT_TRUE(res == -ECANCELED || res == LENGTH ||
			    (variant->sqe_flags | variant->flags && res == -ENOENT)) {
			TH_LOG("%d", res);
		}
	}
	EXPECT_RES(-ENOENT, nop(1, 0));
	EXPECT_RES(-ENOENT, slow(self, 1));
}

/* An entry keeps the file, and that the context, but not for longer than it takes. */
TEST_F(uring, files_closed)
{
	int res;

	for (int i = 0; i < 4; i++)
		PUSH(slow(self, 1), i);
	SUBMIT();
	if (!(variant->sqe_flags | (variant->flags & IORING_SETUP_SQPOLL))) {
		ASSERT_EQ(0, close(self->file));
		self->file = -1;
	}
	for (int i = 0; i < 4; i++) {
		EXPECT_LE(0, NEXT(&res));
		EXPECT_EQ(LENGTH, res);
	}
}

/* The ring is closed with entries under way. The fixture waits until they are complete. */
TEST_F(uring, uring_closed)
{
	for (int i = 0; i < ENTRIES; i++)
		PUSH(slow(self, 1), i);
	SUBMIT();
}

struct submitter {
	int file, buffer;
	int wrong;
};

static void *submit_many(void *arg)
{
	struct submitter *s = arg;
	struct dmaplane_sqe sqe;
	struct io_uring_cqe cqe;
	struct uring u;

	s->wrong = uring_open(&u, 8, IORING_SETUP_SQE128);
	for (int i = 0; i < 100 && !s->wrong; i++) {
		for (int j = 0; j < 2; j++) {
			sqe = fill_buffer(s->buffer, 0, j ? 1 << 17 : 1 << 10, i);
			uring_push(&u, s->file, &sqe, j);
		}
		sqe = cancel(0, 0, 0, i & 1 ? DMAPLANE_CANCEL_ALL : 0);
		uring_push(&u, s->file, &sqe, 2);
		s->wrong = uring_submit(&u) != 3;
		for (int j = 0; j < 3 && !s->wrong; j++) {
			s->wrong = uring_next(&u, &cqe);
			if (cqe.res < 0 && cqe.res != -ECANCELED && cqe.res != -EBUSY &&
			    !(cqe.user_data == 2 && cqe.res == -ENOENT))
				s->wrong = cqe.res;
		}
	}
	uring_close(&u);
	return NULL;
}

/* Several rings, one channel, all of which cancel what they find. */
TEST_F(uring, threads)
{
	struct submitter all[4];
	pthread_t threads[4];

	for (int i = 0; i < 4; i++) {
		all[i] = (struct submitter){ self->file, self->to.handle };
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, submit_many, &all[i]));
	}
	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
		EXPECT_EQ(0, all[i].wrong);
	}
}

TEST_HARNESS_MAIN
