// SPDX-License-Identifier: GPL-2.0
/*
 * A shared buffer moves between nodes while several contexts and processes map it, whoever of
 * them moves it.
 */
#include "ring.h"

#include <pthread.h>

#include "harness.h"

#define PAGE	4096ULL
#define LENGTH	((3 * 512 + 17) * PAGE)
#define CONTEXTS 3

#define RW	(DMAPLANE_SHARE_READ | DMAPLANE_SHARE_WRITE)

FIXTURE(numa_sharing) {
	int fd[CONTEXTS], share;
	struct buffer buffer[CONTEXTS];
	uint8_t *at[CONTEXTS];
	unsigned int nodes[2];
};

FIXTURE_SETUP(numa_sharing)
{
	if (last_nodes(self->nodes, 2) < 2)
		SKIP(return, "one NUMA node only");
	for (int i = 0; i < CONTEXTS; i++) {
		self->fd[i] = open_device();
		ASSERT_LE(0, self->fd[i]);
		/* Offsets that differ. */
		for (int j = 0; j < i; j++)
			ASSERT_EQ(0, buf_create(self->fd[i], PAGE, &self->buffer[i]));
		if (i) {
			ASSERT_EQ(0, buf_open(self->fd[i], self->share, RW, &self->buffer[i]));
			ASSERT_NE(self->buffer[0].offset, self->buffer[i].offset);
		} else {
			ASSERT_EQ(0, buf_create_at(self->fd[i], LENGTH, self->nodes[0],
						   DMAPLANE_BUF_NODE_STRICT, &self->buffer[i]));
			self->share = buf_share(self->fd[i], self->buffer[i].handle, RW);
			ASSERT_LE(0, self->share);
		}
		self->at[i] = buf_map(self->fd[i], &self->buffer[i]);
		ASSERT_NE(MAP_FAILED, self->at[i]);
	}
	fill(self->at[0], LENGTH, 1);
}

FIXTURE_TEARDOWN(numa_sharing)
{
	for (int i = 0; i < CONTEXTS; i++) {
		munmap(self->at[i], LENGTH);
		close(self->fd[i]);
	}
	close(self->share);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_TRUE(WAIT_FOR(live("shares") == 0));
	EXPECT_EQ(0, live("buffers"));
	EXPECT_EQ(0, live("buffer_bytes"));
}

static int move(int fd, uint32_t handle, int node)
{
	struct dmaplane_buf_migrate arg = ARG(buf_migrate, .handle = handle, .node = node,
					      .flags = DMAPLANE_MIGRATE_STRICT);
	int ret = cmd(fd, DMAPLANE_IOC_BUF_MIGRATE, &arg);

	return ret ? ret : (int)arg.moved;
}

TEST_F(numa_sharing, moves_for_all)
{
	struct dmaplane_buf_query query;
	uint64_t nodes[MAX_NODES];

	for (int round = 1; round <= 6; round++) {
		int by = round % CONTEXTS, node = self->nodes[round % 2];

		/* All of them have all of it in their page tables. */
		for (int i = 0; i < CONTEXTS; i++)
			ASSERT_EQ(LENGTH, first_wrong(self->at[i], LENGTH, round));
		ASSERT_EQ((int)(LENGTH / PAGE), move(self->fd[by], self->buffer[by].handle, node));
		for (int i = 0; i < CONTEXTS; i++) {
			EXPECT_EQ(node, node_of_page(self->at[i]));
			EXPECT_EQ(node, node_of_page(self->at[i] + LENGTH - PAGE));
			ASSERT_EQ(0, buf_query(self->fd[i], self->buffer[i].handle, &query, nodes));
			EXPECT_EQ(node, query.node);
			EXPECT_EQ(LENGTH / PAGE, nodes[node]);
			EXPECT_EQ(LENGTH, first_wrong(self->at[i], LENGTH, round));
		}
		fill(self->at[(by + 1) % CONTEXTS], LENGTH, round + 1);
	}
}

/* Who has gone, or has it without a handle, is no hindrance. */
TEST_F(numa_sharing, some_gone)
{
	int node = self->nodes[1];

	EXPECT_EQ(0, buf_destroy(self->fd[1], self->buffer[1].handle));
	EXPECT_EQ(0, munmap(self->at[2], LENGTH));
	EXPECT_EQ(0, close(self->fd[2]));
	EXPECT_EQ((int)(LENGTH / PAGE), move(self->fd[0], self->buffer[0].handle, node));
	EXPECT_EQ(LENGTH, first_wrong(self->at[1], LENGTH, 1));
	EXPECT_EQ(node, node_of_page(self->at[1]));
	self->fd[2] = open_device();
	ASSERT_EQ(0, buf_open(self->fd[2], self->share, RW, &self->buffer[2]));
	self->at[2] = buf_map(self->fd[2], &self->buffer[2]);
	ASSERT_NE(MAP_FAILED, self->at[2]);
	/* The owner, too. */
	EXPECT_EQ(0, munmap(self->at[0], LENGTH));
	EXPECT_EQ(0, close(self->fd[0]));
	self->fd[0] = -1;
	self->at[0] = NULL;
	EXPECT_EQ((int)(LENGTH / PAGE), move(self->fd[2], self->buffer[2].handle, self->nodes[0]));
	EXPECT_EQ(LENGTH, first_wrong(self->at[1], LENGTH, 1));
	EXPECT_EQ(LENGTH, first_wrong(self->at[2], LENGTH, 1));
	EXPECT_EQ((int)self->nodes[0], node_of_page(self->at[1]));
}

struct writer {
	uint64_t *at;
	uint64_t written;
	bool enough;
};

/* One 64-bit word of each page is counted up. */
static void *writes(void *arg)
{
	struct writer *w = arg;

	while (!__atomic_load_n(&w->enough, __ATOMIC_RELAXED)) {
		for (uint64_t i = 0; i < LENGTH / 8; i += 512)
			__atomic_fetch_add(&w->at[i], 1, __ATOMIC_RELAXED);
		w->written++;
	}
	return NULL;
}

/* No write through any mapping is lost while it moves, and new mappings come meanwhile. */
TEST_F(numa_sharing, written_by_all)
{
	struct writer w[CONTEXTS] = { 0 };
	pthread_t threads[CONTEXTS];
	uint64_t wrong = 0, sum = 0;

	memset(self->at[0], 0, LENGTH);
	for (int i = 0; i < CONTEXTS; i++) {
		w[i].at = (uint64_t *)self->at[i];
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, writes, &w[i]));
	}
	for (int round = 1; round <= 20; round++) {
		int by = round % CONTEXTS;
		struct buffer b;
		uint8_t *at;

		EXPECT_EQ((int)(LENGTH / PAGE), move(self->fd[by], self->buffer[by].handle,
						     self->nodes[round % 2]));
		ASSERT_EQ(0, buf_open(self->fd[by], self->share, RW, &b));
		at = buf_map(self->fd[by], &b);
		ASSERT_NE(MAP_FAILED, at);
		EXPECT_EQ(0, buf_destroy(self->fd[by], b.handle));
		EXPECT_EQ(0, munmap(at, LENGTH));
	}
	for (int i = 0; i < CONTEXTS; i++) {
		__atomic_store_n(&w[i].enough, true, __ATOMIC_RELAXED);
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
		sum += w[i].written;
	}
	EXPECT_LT(0, sum);
	for (uint64_t i = 0; i < LENGTH / 8; i += 512)
		wrong += w[0].at[i] != sum;
	EXPECT_EQ(0, wrong);
}

TEST_HARNESS_MAIN
