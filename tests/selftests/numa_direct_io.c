// SPDX-License-Identifier: GPL-2.0
/*
 * MIGRATE of a buffer whose pages others have by its mapping: as long as they keep them it stays,
 * and says so; those who have them for a moment lose no byte.
 */
#include "uring.h"
#include "disk.h"
#include "user.h"
#include "harness.h"

#define PAGE	4096ULL
#define HUGE	((uint64_t)DMAPLANE_HUGE_SIZE)
#define LENGTH	(2 * HUGE)
#define PAGES	(LENGTH / PAGE)
#define POISON	0xee
#define ROUNDS	(instrumented() ? 6 : 20)

#define HERE	(5 * SECTOR)	/* on the disk */

FIXTURE(numa_direct_io) {
	int fd, disk;
	struct channel c;
	struct buffer buffer;
	uint8_t *at;
	unsigned int nodes[2];
};

FIXTURE_VARIANT(numa_direct_io) {
	uint32_t flags;		/* DMAPLANE_BUF_* */
};

FIXTURE_VARIANT_ADD(numa_direct_io, pages) { .flags = DMAPLANE_BUF_NO_HUGE };
FIXTURE_VARIANT_ADD(numa_direct_io, blocks) { .flags = DMAPLANE_BUF_HUGE };

FIXTURE_SETUP(numa_direct_io)
{
	if (last_nodes(self->nodes, 2) < 2)
		SKIP(return, "one NUMA node only");
	self->disk = disk_open();
	ASSERT_LE(0, self->disk);
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, channel_open(self->fd, 8, 8, &self->c));
	ASSERT_EQ(0, buf_create_at(self->fd, LENGTH, self->nodes[0],
				   DMAPLANE_BUF_NODE_STRICT | variant->flags, &self->buffer));
	self->at = buf_map(self->fd, &self->buffer);
	ASSERT_NE(MAP_FAILED, self->at);
	/* What is on the disk has seed 2. */
	fill(self->at, LENGTH, 2);
	ASSERT_EQ(LENGTH, disk_write(self->disk, self->at, LENGTH, HERE));
	fill(self->at, LENGTH, 1);
}

FIXTURE_TEARDOWN(numa_direct_io)
{
	munmap(self->at, LENGTH);
	munmap(self->c.ring, self->c.length);
	close(self->fd);
	close(self->disk);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("buffers"));
	EXPECT_EQ(0, live("buffer_bytes"));
}

static int go(FIXTURE_DATA(numa_direct_io) *self, unsigned int to)
{
	return channel_migrate(&self->c, self->buffer.handle, self->nodes[to],
			       DMAPLANE_MIGRATE_STRICT);
}

/* How many pages are there. */
static int64_t pages_on(FIXTURE_DATA(numa_direct_io) *self, unsigned int index)
{
	uint64_t nodes[MAX_NODES] = { 0 };
	struct dmaplane_buf_query query;
	int ret = buf_query(self->fd, self->buffer.handle, &query, nodes);

	return ret ? ret : (int64_t)nodes[self->nodes[index]];
}

TEST_F(numa_direct_io, registered_in_io_uring)
{
	struct iovec memory = { self->at, LENGTH };
	struct uring u;

	ASSERT_EQ(0, uring_open(&u, 8, 0));
	for (unsigned int i = 0; i < 2; i++) {
		ASSERT_EQ(0, uring_register(&u, &memory, 1));
		EXPECT_EQ(-EBUSY, go(self, !i));
		EXPECT_EQ(-EBUSY, go(self, !i));
		EXPECT_EQ(PAGES, pages_on(self, i));
		/* They are the same pages still, here and there. */
		memset(self->at, POISON, LENGTH);
		ASSERT_EQ(LENGTH, uring_fixed(&u, IORING_OP_READ_FIXED, self->disk, 0, self->at, LENGTH,
					      HERE));
		EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 2));
		/* The ring may have the pages of what it has done for a moment longer. */
		ASSERT_EQ(0, uring_unregister(&u));
		ASSERT_TRUE(WAIT_FOR(go(self, !i) >= 0));
		EXPECT_EQ(PAGES, pages_on(self, !i));
		EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 2));
	}
	uring_close(&u);
}

/* Only a page: what is moved before it stays moved. */
TEST_F(numa_direct_io, registered_by_verbs)
{
	struct ibv_pd *pd = any_pd();
	struct ibv_mr *mr;

	ASSERT_NE(NULL, pd);
	mr = ibv_reg_mr(pd, self->at + HUGE + 7 * PAGE, PAGE, IBV_ACCESS_LOCAL_WRITE);
	ASSERT_NE(NULL, mr);
	EXPECT_EQ(-EBUSY, go(self, 1));
	EXPECT_EQ(PAGES / 2, pages_on(self, 1));
	EXPECT_EQ(PAGES / 2, pages_on(self, 0));
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));
	ASSERT_EQ(0, ibv_dereg_mr(mr));
	EXPECT_EQ(PAGES / 2, go(self, 1));
	EXPECT_EQ(PAGES, pages_on(self, 1));
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));
	pd_end(pd);
}

struct reader {
	int disk;
	uint8_t *at;
	uint64_t passes;
	bool stop, wrong;
};

#define PART	(16 * PAGE)

static void *read_again(void *arg)
{
	struct reader *r = arg;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED) && !r->wrong) {
		memset(r->at, POISON, PART);
		r->wrong = disk_read(r->disk, r->at, PART, HERE) != (int64_t)PART ||
			   first_wrong(r->at, PART, 2) != PART;
		__atomic_add_fetch(&r->passes, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Direct I/O has pages for a moment, at the end of one block and the beginning of another. */
TEST_F(numa_direct_io, read_meanwhile)
{
	struct reader r = { .disk = self->disk, .at = self->at + HUGE - PART / 2 };
	uint64_t before = HUGE - PART / 2;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, read_again, &r));
	for (int i = 1; i <= ROUNDS; i++) {
		int moved = go(self, i % 2);

		EXPECT_TRUE(moved >= 0 || moved == -EBUSY) TH_LOG("%d", moved);
	}
	EXPECT_TRUE(WAIT_FOR(__atomic_load_n(&r.passes, __ATOMIC_RELAXED) > 2));
	__atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_FALSE(r.wrong);
	EXPECT_EQ(before, first_wrong(self->at, before, 1));
	for (uint64_t i = before + PART; i < LENGTH; i++)
		ASSERT_EQ(pattern(1, i), self->at[i]);
	/* Nobody has them any more. */
	EXPECT_LE(0, go(self, 1));
	EXPECT_EQ(PAGES, pages_on(self, 1));
}

TEST_HARNESS_MAIN
