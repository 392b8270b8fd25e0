// SPDX-License-Identifier: GPL-2.0
/*
 * Rings in the hands of an enemy: impossible indices poison that one channel
 * and no other; what the kernel owns may be scribbled on without effect; every
 * garbage entry gets one completion with an errno of its own.
 */
#include "ring.h"
#include "harness.h"

FIXTURE(hostile) {
	int fd;
	struct channel c;	/* 8 and 8 entries */
	struct channel good;	/* which nothing may harm */
};

FIXTURE_SETUP(hostile)
{
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, channel_open(self->fd, 8, 8, &self->c));
	ASSERT_EQ(0, channel_open(self->fd, 8, 8, &self->good));
}

static bool works(struct channel *c)
{
	struct dmaplane_sqe sqe = { .opcode = DMAPLANE_OP_NOP, .user_data = 0x600d };
	struct dmaplane_cqe cqe;

	return !channel_do(c, &sqe, &cqe) && cqe.user_data == 0x600d && !cqe.res;
}

FIXTURE_TEARDOWN(hostile)
{
	EXPECT_TRUE(works(&self->good));
	EXPECT_EQ(0, channel_close(&self->good));
	EXPECT_EQ(0, close(self->fd));
}

/* After the indices were ruined: poisoned, and it stays so when they are mended. */
static void expect_poisoned(struct __test_metadata *_metadata, struct channel *c)
{
	struct dmaplane_ring saved = *c->ring;

	EXPECT_EQ(-EBADFD, channel_enter(c, 1, 0, 0));
	EXPECT_TRUE(channel_poisoned(c));
	EXPECT_TRUE(poll_now(c->fd) & POLLERR);
	c->ring->sq_tail = saved.sq_head;
	c->ring->cq_head = saved.cq_tail;
	c->ring->flags = 0;
	EXPECT_EQ(-EBADFD, channel_enter(c, 0, 0, 0));
	EXPECT_EQ(-EBADFD, channel_enter(c, 1, 0, 0));
	EXPECT_EQ(-EBADFD, channel_enter(c, 0, 1, DMAPLANE_FOREVER));
	EXPECT_TRUE(poll_now(c->fd) & POLLERR);
	EXPECT_EQ(0, channel_close(c));
	EXPECT_EQ(0, poll_now(c->fd) & POLLERR);
}

TEST_F(hostile, submission_tail)
{
	const int32_t jumps[] = { 9, 10, 1000, INT32_MAX, INT32_MIN, -1, -8, -9 };

	ASSERT_EQ(0, channel_close(&self->c));
	for (size_t i = 0; i < ARRAY_LEN(jumps); i++) {
		ASSERT_EQ(0, channel_open(self->fd, 8, 8, &self->c));
		ASSERT_TRUE(works(&self->c));
		self->c.ring->sq_tail += jumps[i];
		expect_poisoned(_metadata, &self->c);
	}
}

TEST_F(hostile, completion_head)
{
	const int32_t jumps[] = { 1, 2, 8, 1000, INT32_MAX, INT32_MIN, -9, -1000 };

	ASSERT_EQ(0, channel_close(&self->c));
	for (size_t i = 0; i < ARRAY_LEN(jumps); i++) {
		ASSERT_EQ(0, channel_open(self->fd, 8, 8, &self->c));
		ASSERT_TRUE(works(&self->c));
		ASSERT_EQ(0, channel_push_nop(&self->c, 0));
		self->c.ring->cq_head += jumps[i];
		expect_poisoned(_metadata, &self->c);
	}
}

/* The longest possible lies that cannot be told from the truth do no harm either. */
TEST_F(hostile, completions_reaped_twice)
{
	struct dmaplane_cqe cqe;

	for (int i = 0; i < 100; i++) {
		ASSERT_TRUE(works(&self->c));
		self->c.ring->cq_head -= i % 8;
		while (channel_reap(&self->c, &cqe))
			;
	}
	EXPECT_FALSE(channel_poisoned(&self->c));
}

TEST_F(hostile, waiting_while_poisoned)
{
	struct pollfd p = { .fd = self->fd, .events = POLLIN };

	self->c.ring->cq_head = 1000;
	EXPECT_EQ(-EBADFD, channel_enter(&self->c, 0, 1, DMAPLANE_FOREVER));
	EXPECT_EQ(1, poll(&p, 1, -1));
	EXPECT_TRUE(p.revents & POLLERR);
}

/* What the kernel writes it does not read back. */
TEST_F(hostile, kernel_owned_words)
{
	const uint32_t garbage[] = { 0, 1, 7, 0x7fffffff, 0x80000000, 0xdeadbeef, UINT32_MAX };
	struct dmaplane_ring *ring = self->c.ring;
	uint32_t tail = 0;

	for (size_t i = 0; i < ARRAY_LEN(garbage); i++) {
		uint32_t *pads[] = { ring->pad0, ring->pad1, ring->pad2, ring->pad3 };
		uint32_t sq_tail = ring->sq_tail;

		ring->sq_head = garbage[i];
		ring->sq_mask = garbage[i];
		ring->cq_mask = garbage[i];
		ring->flags = garbage[i];
		ring->cq_tail = garbage[i];
		for (size_t pad = 0; pad < ARRAY_LEN(pads); pad++)
			pads[pad][3] = garbage[i];
		self->c.sqes[sq_tail & 7] =
			(struct dmaplane_sqe){ .opcode = DMAPLANE_OP_NOP, .user_data = i };
		store_release(&ring->sq_tail, sq_tail + 1);
		ASSERT_EQ(1, channel_enter(&self->c, 1, 1, PATIENCE));
		EXPECT_EQ(sq_tail + 1, ring->sq_head);
		EXPECT_EQ(tail + 1, ring->cq_tail);
		EXPECT_EQ(i, self->c.cqes[tail & 7].user_data);
		tail++;
		store_release(&ring->cq_head, tail);
	}
}

TEST_F(hostile, bad_entries)
{
	const struct { const char *what; struct dmaplane_sqe sqe; int res; } cases[] = {
		{ "RECV for nobody", { .opcode = DMAPLANE_OP_RECV }, -ENOENT },
		{ "opcode 64", { .opcode = 64 }, -EOPNOTSUPP },
		{ "opcode 255", { .opcode = 255 }, -EOPNOTSUPP },
		{ "NOP with flag", { .flags = 8 }, -EINVAL },
		{ "NOP that nobody is told of, with flag", { .flags = 4 + 16 }, -EINVAL },
		{ "NOP with flag 128", { .flags = 128 }, -EINVAL },
		{ "NOP with pad0", { .pad0 = 1 }, -EINVAL },
		{ "NOP with endpoint", { .endpoint = 1 }, -EINVAL },
		{ "NOP with region", { .region = 1 }, -EINVAL },
		{ "NOP with lease", { .lease = 1 }, -EINVAL },
		{ "NOP with local_offset", { .local_offset = 1ULL << 63 }, -EINVAL },
		{ "NOP with remote_offset", { .remote_offset = 1 }, -EINVAL },
		{ "NOP with length", { .length = 1 }, -EINVAL },
		{ "NOP with imm", { .imm = 1 }, -EINVAL },
		{ "NOP with list", { .list = 1 }, -EINVAL },
		{ "NOP with list_offset", { .list_offset = 1 }, -EINVAL },
		{ "WRITE_IMM with flag", { .opcode = DMAPLANE_OP_WRITE_IMM, .flags = 64 }, -EINVAL },
		{ "WRITE_IMM with pad0", { .opcode = DMAPLANE_OP_WRITE_IMM, .pad0 = 2 }, -EINVAL },
		{ "WRITE_IMM with list_offset", { .opcode = DMAPLANE_OP_WRITE_IMM, .list_offset = 2 },
		  -EINVAL },
		{ "WRITE_IMM of nothing", { .opcode = DMAPLANE_OP_WRITE_IMM }, -ENOENT },
		{ "WRITE_IMM to a channel", { .opcode = DMAPLANE_OP_WRITE_IMM,
		  .endpoint = self->good.handle }, -EBADF },
		{ "IMM_ONLY of nothing", { .opcode = DMAPLANE_OP_IMM_ONLY }, -ENOENT },
		{ "IMM_ONLY with region", { .opcode = DMAPLANE_OP_IMM_ONLY, .region = 1 }, -EINVAL },
		{ "IMM_ONLY with lease", { .opcode = DMAPLANE_OP_IMM_ONLY, .lease = 1 }, -EINVAL },
		{ "IMM_ONLY with length", { .opcode = DMAPLANE_OP_IMM_ONLY, .length = 1 }, -EINVAL },
		{ "IMM_ONLY with offset", { .opcode = DMAPLANE_OP_IMM_ONLY, .remote_offset = 1 },
		  -EINVAL },
		{ "IMM_ONLY to a channel", { .opcode = DMAPLANE_OP_IMM_ONLY,
		  .endpoint = self->good.handle }, -EBADF },
		{ "CANCEL with region", { .opcode = DMAPLANE_OP_CANCEL, .region = 1 }, -EINVAL },
		{ "CANCEL with lease", { .opcode = DMAPLANE_OP_CANCEL, .lease = 1 }, -EINVAL },
		{ "CANCEL with length", { .opcode = DMAPLANE_OP_CANCEL, .length = 1 }, -EINVAL },
		{ "CANCEL with remote_offset", { .opcode = DMAPLANE_OP_CANCEL, .remote_offset = 1 },
		  -EINVAL },
		{ "CANCEL with unknown bits", { .opcode = DMAPLANE_OP_CANCEL, .imm = 2 }, -EINVAL },
		{ "CANCEL of all and one", { .opcode = DMAPLANE_OP_CANCEL, .local_offset = 1,
		  .imm = DMAPLANE_CANCEL_ALL }, -EINVAL },
		{ "CANCEL of a channel", { .opcode = DMAPLANE_OP_CANCEL,
		  .endpoint = self->good.handle }, -EBADF },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct dmaplane_sqe sqe = cases[i].sqe;
		struct dmaplane_cqe cqe;

		sqe.user_data = ~i;
		ASSERT_EQ(0, channel_do(&self->c, &sqe, &cqe)) TH_LOG("%s", cases[i].what);
		EXPECT_EQ(~i, cqe.user_data);
		EXPECT_EQ(cases[i].res, cqe.res) TH_LOG("%s", cases[i].what);
		EXPECT_EQ(sqe.opcode, cqe.opcode);
		EXPECT_EQ(0, cqe.wc_status);
		EXPECT_EQ(0, cqe.imm);
	}
}

TEST_F(hostile, random_entries)
{
	struct dmaplane_stats stats;

	srand(4711);
	for (uint64_t i = 0; i < 3000; i++) {
		struct dmaplane_sqe sqe;
		struct dmaplane_cqe cqe;

		for (size_t byte = 0; byte < sizeof(sqe); byte++)
			((uint8_t *)&sqe)[byte] = rand() & rand();
		sqe.opcode %= 16;
		sqe.user_data = i;
		if (i % 3 == 0)
			sqe.endpoint = i % 2 ? self->c.handle : self->good.handle;
		if (i % 4)
			sqe.flags = sqe.pad0 = sqe.list = sqe.list_count = sqe.list_offset = 0;
		/* Each is told of before the next one is made. */
		sqe.flags &= ~(DMAPLANE_SQE_LINK | DMAPLANE_SQE_CQE_SKIP_SUCCESS);
		ASSERT_EQ(0, channel_do(&self->c, &sqe, &cqe));
		ASSERT_EQ(i, cqe.user_data);
		ASSERT_TRUE(cqe.res == -EINVAL || cqe.res == -EOPNOTSUPP || cqe.res == -ENOENT ||
			    cqe.res == -EBADF || cqe.res == -EFBIG) {
			TH_LOG("entry %lu: %d", (long)i, cqe.res);
		}
	}
	ASSERT_EQ(0, get_stats(self->fd, &stats));
	EXPECT_EQ(3000, stats.submitted);
	EXPECT_EQ(3000, stats.completed);
}

TEST_F(hostile, random_indices)
{
	ASSERT_EQ(0, channel_close(&self->c));
	srand(815);
	for (int i = 0; i < 300; i++) {
		ASSERT_EQ(0, channel_open(self->fd, 4, 4, &self->c));
		for (int step = 0; step < 6; step++) {
			uint32_t *words = (uint32_t *)self->c.ring;
			int ret;

			words[rand() % (sizeof(struct dmaplane_ring) / 4)] =
				rand() % 2 ? (uint32_t)rand() % 16 : (uint32_t)rand() * 3;
			ret = channel_enter(&self->c, rand() % 8, rand() % 3, 0);
			ASSERT_TRUE(ret >= 0 || ret == -EBADFD || ret == -ETIME || ret == -EBUSY)
				TH_LOG("ENTER: %d", ret);
		}
		ASSERT_EQ(0, channel_close(&self->c));
	}
}

struct scribbler {
	struct dmaplane_ring *ring;
	bool stop;
};

static void *scribble(void *arg)
{
	struct scribbler *s = arg;
	unsigned int seed = 42;

	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		s->ring->sq_tail = rand_r(&seed) % 10;
		s->ring->cq_head = rand_r(&seed) % 10;
		s->ring->cq_tail = rand_r(&seed);
	}
	return NULL;
}

/* Indices that change while the kernel reads them. */
TEST_F(hostile, racing_indices)
{
	struct scribbler s;
	pthread_t thread;

	for (int i = 0; i < 50; i++) {
		ASSERT_EQ(0, channel_open(self->fd, 8, 8, &self->c));
		s = (struct scribbler){ self->c.ring, false };
		ASSERT_EQ(0, pthread_create(&thread, NULL, scribble, &s));
		for (int step = 0; step < 20; step++)
			if (channel_enter(&self->c, 8, 0, 0) == -EBADFD)
				break;
		__atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
		ASSERT_EQ(0, pthread_join(thread, NULL));
		ASSERT_EQ(0, channel_close(&self->c));
	}
}

TEST_HARNESS_MAIN
