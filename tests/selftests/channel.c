// SPDX-License-Identifier: GPL-2.0
/*
 * Channels: creation, entries and their completions, threads. Waiting for them:
 * channel_wait.c. What a hostile user can do to the rings: channel_hostile.c.
 */
#include "ring.h"
#include "harness.h"

FIXTURE(channel) {
	int fd;
	struct dmaplane_info info;
	struct channel c;	/* 8 and 8 entries */
};

FIXTURE_SETUP(channel)
{
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, get_info(self->fd, &self->info));
	ASSERT_EQ(0, channel_open(self->fd, 8, 8, &self->c));
}

FIXTURE_TEARDOWN(channel)
{
	EXPECT_EQ(0, channel_close(&self->c));
	EXPECT_EQ(0, close(self->fd));
}

static int create(int fd, uint32_t sq, uint32_t cq)
{
	struct channel c;
	int ret = channel_open(fd, sq, cq, &c);

	return ret ? ret : channel_close(&c);
}

TEST_F(channel, create)
{
	uint32_t max = self->info.max_ring_entries;

	EXPECT_EQ(-EINVAL, create(self->fd, 0, 8));
	EXPECT_EQ(-EINVAL, create(self->fd, 8, 0));
	EXPECT_EQ(-EINVAL, create(self->fd, 3, 8));
	EXPECT_EQ(-EINVAL, create(self->fd, 8, max - 1));
	EXPECT_EQ(-EFBIG, create(self->fd, max * 2, 8));
	EXPECT_EQ(-EFBIG, create(self->fd, 8, max * 2));
	EXPECT_EQ(-EFBIG, create(self->fd, 1U << 31, 1U << 31));
	EXPECT_EQ(0, create(self->fd, 1, 1));
	EXPECT_EQ(0, create(self->fd, 1, max));
	EXPECT_EQ(0, create(self->fd, max, 1));
	EXPECT_EQ(0, create(self->fd, max, max));
}

TEST_F(channel, new_rings)
{
	struct dmaplane_channel_create arg = ARG(channel_create, .sq_entries = 16,
						 .cq_entries = 64);
	struct dmaplane_ring *ring;
	uint8_t *map;

	ASSERT_EQ(0, cmd(self->fd, DMAPLANE_IOC_CHANNEL_CREATE, &arg));
	EXPECT_LE(sizeof(*ring), arg.sqes_offset);
	EXPECT_EQ(0, arg.sqes_offset % 64);
	EXPECT_EQ(0, arg.cqes_offset % 32);
	EXPECT_LE(arg.sqes_offset + 16 * sizeof(struct dmaplane_sqe), arg.mmap_length);
	EXPECT_LE(arg.cqes_offset + 64 * sizeof(struct dmaplane_cqe), arg.mmap_length);
	EXPECT_EQ(0, arg.mmap_length % 4096);
	EXPECT_EQ(MAP_FAILED, map_at(self->fd, arg.mmap_length + 1, arg.mmap_offset));
	EXPECT_EQ(ENXIO, errno);
	EXPECT_EQ(MAP_FAILED, mmap64(NULL, arg.mmap_length, PROT_READ, MAP_PRIVATE, self->fd,
				     arg.mmap_offset));
	EXPECT_EQ(EINVAL, errno);
	map = map_at(self->fd, arg.mmap_length, arg.mmap_offset);
	ASSERT_NE(MAP_FAILED, map);
	ring = (void *)map;
	EXPECT_EQ(15, ring->sq_mask);
	EXPECT_EQ(63, ring->cq_mask);
	EXPECT_EQ(0, ring->flags);
	EXPECT_EQ(ring->sq_head, ring->sq_tail);
	EXPECT_EQ(ring->cq_head, ring->cq_tail);
	/* Nothing of earlier owners of the memory. */
	EXPECT_EQ(arg.mmap_length - 256, first_not(map + 256, arg.mmap_length - 256, 0));
	/* The mapping outlives the channel. */
	EXPECT_EQ(0, end(self->fd, DMAPLANE_IOC_CHANNEL_CLOSE, arg.handle));
	ring->sq_tail = 12345;
	EXPECT_EQ(12345, ring->sq_tail);
	EXPECT_EQ(0, munmap(map, arg.mmap_length));
}

TEST_F(channel, one_nop)
{
	struct dmaplane_cqe cqe;

	ASSERT_EQ(0, channel_push_nop(&self->c, 0xfeedfacecafebeefULL));
	ASSERT_EQ(1, channel_enter(&self->c, 1, 1, PATIENCE));
	EXPECT_EQ(1, channel_available(&self->c));
	ASSERT_TRUE(channel_reap(&self->c, &cqe));
	EXPECT_EQ(0xfeedfacecafebeefULL, cqe.user_data);
	EXPECT_EQ(0, cqe.res);
	EXPECT_EQ(0, cqe.endpoint);
	EXPECT_EQ(0, cqe.imm);
	EXPECT_EQ(DMAPLANE_OP_NOP, cqe.opcode);
	EXPECT_EQ(0, cqe.wc_status);
	EXPECT_EQ(0, cqe.flags);
	EXPECT_EQ(0, cqe.pad1);
	EXPECT_FALSE(channel_reap(&self->c, &cqe));
}

/* In order, each exactly once, in batches of all sizes, around the rings many times. */
TEST_F(channel, many_nops)
{
	uint64_t submitted = 0, reaped = 0;
	struct dmaplane_stats stats;
	struct dmaplane_cqe cqe;

	for (int round = 0; round < 2000; round++) {
		int batch = 1 + round % 8;

		for (int i = 0; i < batch; i++) {
			ASSERT_EQ(0, channel_push_nop(&self->c, submitted++));
		}
		ASSERT_EQ(batch, channel_enter(&self->c, batch, batch, PATIENCE));
		for (int i = 0; i < batch; i++) {
			ASSERT_TRUE(channel_reap(&self->c, &cqe));
			ASSERT_EQ(reaped++, cqe.user_data);
			ASSERT_EQ(0, cqe.res);
		}
		ASSERT_FALSE(channel_reap(&self->c, &cqe));
	}
	ASSERT_EQ(0, get_stats(self->fd, &stats));
	EXPECT_EQ(submitted, stats.submitted);
	EXPECT_EQ(submitted, stats.completed);
	EXPECT_EQ(0, stats.received);
	EXPECT_EQ(1, stats.channels);
}

/* A million of them, each once and in order; fewer where every access is checked. */
TEST_F_TIMEOUT(channel, million_nops, 600)
{
	uint64_t count = instrumented() ? 50000 : 1000000, submitted = 0, reaped = 0;
	struct dmaplane_stats stats;
	struct dmaplane_cqe cqe;

	while (reaped < count) {
		int batch = 0;

		while (submitted < count && batch < 8 && !channel_push_nop(&self->c, submitted)) {
			submitted++;
			batch++;
		}
		ASSERT_EQ(batch, channel_enter(&self->c, batch, batch, PATIENCE));
		while (channel_reap(&self->c, &cqe)) {
			ASSERT_EQ(reaped++, cqe.user_data);
			ASSERT_EQ(0, cqe.res);
		}
	}
	EXPECT_EQ(count, reaped);
	ASSERT_EQ(0, get_stats(self->fd, &stats));
	EXPECT_EQ(count, stats.submitted);
	EXPECT_EQ(count, stats.completed);
}

TEST_F(channel, takes_no_more_than_asked)
{
	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(0, channel_push_nop(&self->c, i));
	}
	EXPECT_EQ(0, channel_enter(&self->c, 0, 0, 0));
	EXPECT_EQ(2, channel_enter(&self->c, 2, 0, 0));
	EXPECT_EQ(2, self->c.ring->sq_head);
	EXPECT_EQ(3, channel_enter(&self->c, 1000, 0, 0));
	EXPECT_EQ(0, channel_enter(&self->c, UINT32_MAX, 0, 0));
	EXPECT_EQ(0, channel_enter(&self->c, 0, 0, 0));
	EXPECT_EQ(5, channel_available(&self->c));
}

TEST_F(channel, full_completion_ring)
{
	struct dmaplane_cqe cqe;
	struct channel c;

	ASSERT_EQ(0, channel_open(self->fd, 8, 4, &c));
	for (int i = 0; i < 8; i++) {
		ASSERT_EQ(0, channel_push_nop(&c, i));
	}
	EXPECT_EQ(-EAGAIN, channel_push_nop(&c, 8));
	/* Four have room, the others wait in the submission ring. */
	ASSERT_EQ(4, channel_enter(&c, 8, 0, 0));
	EXPECT_EQ(4, channel_available(&c));
	EXPECT_EQ(-EBUSY, channel_enter(&c, 8, 0, 0));
	EXPECT_EQ(-EBUSY, channel_enter(&c, 1, 4, PATIENCE));
	EXPECT_EQ(0, channel_enter(&c, 0, 4, PATIENCE));
	for (int i = 0; i < 8; i++) {
		ASSERT_TRUE(channel_reap(&c, &cqe)) TH_LOG("completion %d", i);
		EXPECT_EQ(i, cqe.user_data);
		if (i < 4) {
			EXPECT_EQ(1, channel_enter(&c, 1, 0, 0));
		}
	}
	EXPECT_FALSE(channel_reap(&c, &cqe));
	EXPECT_EQ(0, channel_close(&c));
}

/* Nothing is written to the argument, which may be anybody's. */
TEST_F(channel, the_argument_is_only_read)
{
	struct dmaplane_channel_enter *arg, before;

	arg = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, arg);
	*arg = ARG(channel_enter, .channel = self->c.handle, .to_submit = 2, .min_complete = 1,
		   .timeout_ns = PATIENCE);
	before = *arg;
	for (int writable = 1; writable >= 0; writable--) {
		ASSERT_EQ(0, mprotect(arg, 4096, PROT_READ | (writable ? PROT_WRITE : 0)));
		ASSERT_EQ(0, channel_push_nop(&self->c, 1));
		EXPECT_EQ(1, cmd(self->fd, DMAPLANE_IOC_CHANNEL_ENTER, arg));
		EXPECT_EQ(0, memcmp(&before, arg, sizeof(before)));
	}
	EXPECT_EQ(2, channel_available(&self->c));
	EXPECT_EQ(0, munmap(arg, 4096));
}

/* A command that fails has changed nothing: no entry was taken. */
TEST_F(channel, bad_wait_takes_nothing)
{
	ASSERT_EQ(0, channel_push_nop(&self->c, 1));
	EXPECT_EQ(-EINVAL, channel_enter(&self->c, 1, 9, 0));
	EXPECT_EQ(0, self->c.ring->sq_head);
	EXPECT_EQ(1, channel_enter(&self->c, 1, 1, PATIENCE));
}

#define THREADS	4
#define ENTRIES	4000

struct crowd {
	struct channel c;
	int failed;	/* the first errno that no thread should see */
	int reaped;
};

static void *enter_in_thread(void *arg)
{
	struct crowd *crowd = arg;

	while (__atomic_load_n(&crowd->reaped, __ATOMIC_ACQUIRE) < ENTRIES) {
		int ret = channel_enter(&crowd->c, 3, 0, 0);

		if (ret < 0 && ret != -EBUSY) {
			__atomic_store_n(&crowd->failed, ret, __ATOMIC_RELAXED);
			break;
		}
		if (ret <= 0)
			sched_yield();
	}
	return NULL;
}

/* One thread fills and reaps, four enter: each entry is taken once, and in order. */
TEST_F(channel, threads)
{
	struct crowd crowd = { .failed = 0 };
	pthread_t threads[THREADS];
	uint64_t next = 0, give_up = now_ns() + PATIENCE;
	struct dmaplane_cqe cqe;

	ASSERT_EQ(0, channel_open(self->fd, 16, 8, &crowd.c));
	for (int i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, enter_in_thread, &crowd));
	}
	for (uint64_t reaped = 0; reaped < ENTRIES;) {
		while (next < ENTRIES && !channel_push_nop(&crowd.c, next))
			next++;
		while (channel_reap(&crowd.c, &cqe)) {
			EXPECT_EQ(reaped, cqe.user_data);
			reaped++;
			give_up = now_ns() + PATIENCE;
			__atomic_store_n(&crowd.reaped, reaped, __ATOMIC_RELEASE);
		}
		ASSERT_GT(give_up, now_ns()) TH_LOG("hangs with %lu reaped", (long)reaped);
		ASSERT_EQ(0, __atomic_load_n(&crowd.failed, __ATOMIC_RELAXED));
		sched_yield();
	}
	for (int i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
	}
	EXPECT_FALSE(channel_reap(&crowd.c, &cqe));
	EXPECT_EQ(0, channel_close(&crowd.c));
}

TEST_HARNESS_MAIN
