// SPDX-License-Identifier: GPL-2.0
/*
 * dma-bufs of a buffer whose pages go to another NUMA node: what is mapped afterwards is
 * where they are then, and as long as something is mapped they do not go.
 */
#include "ring.h"
#include "harness.h"

#define PAGE	4096ULL
#define PAGES	(2 * 512 + 9ULL)
#define LENGTH	(PAGES * PAGE)
#define ROUNDS	(instrumented() ? 20 : 100)

FIXTURE(numa_export) {
	int fd, dmabuf;
	struct channel c;
	struct buffer buffer;
	unsigned int nodes[2];
};

FIXTURE_SETUP(numa_export)
{
	if (last_nodes(self->nodes, 2) < 2)
		SKIP(return, "one NUMA node only");
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, channel_open(self->fd, 8, 8, &self->c));
	ASSERT_EQ(0, buf_create_at(self->fd, LENGTH, self->nodes[0], DMAPLANE_BUF_NODE_STRICT,
				   &self->buffer));
	self->dmabuf = buf_export(self->fd, self->buffer.handle, 0, 0, 0);
	ASSERT_LE(0, self->dmabuf);
}

FIXTURE_TEARDOWN(numa_export)
{
	close(self->dmabuf);
	munmap(self->c.ring, self->c.length);
	close(self->fd);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("buffers"));
	EXPECT_EQ(0, live("buffer_bytes"));
}

static uint32_t moves_of(int fd, uint32_t handle)
{
	uint64_t nodes[MAX_NODES];
	struct dmaplane_buf_query query;

	return buf_query(fd, handle, &query, nodes) ? UINT32_MAX : query.moves;
}

static int go(FIXTURE_DATA(numa_export) *self, unsigned int to)
{
	return channel_migrate(&self->c, self->buffer.handle, self->nodes[to],
			       DMAPLANE_MIGRATE_STRICT);
}

TEST_F(numa_export, shows_where_they_are)
{
	uint8_t *own = buf_map(self->fd, &self->buffer), *at;

	ASSERT_NE(MAP_FAILED, own);
	fill(own, LENGTH, 1);
	for (unsigned int i = 1; i <= 4; i++) {
		uint32_t moves;

		ASSERT_EQ(PAGES, go(self, i % 2));
		at = map_at(self->dmabuf, LENGTH, 0);
		ASSERT_NE(MAP_FAILED, at);
		EXPECT_EQ(LENGTH, first_wrong(at, LENGTH, i));
		fill(at, LENGTH, i + 1);
		EXPECT_EQ(LENGTH, first_wrong(own, LENGTH, i + 1));
		moves = moves_of(self->fd, self->buffer.handle);
		EXPECT_EQ(-EBUSY, go(self, !(i % 2)));
		EXPECT_EQ(moves, moves_of(self->fd, self->buffer.handle));
		EXPECT_EQ(0, munmap(at, LENGTH));
	}
	EXPECT_EQ(0, munmap(own, LENGTH));
}

struct writer {
	int dmabuf;
	uint64_t passes;
	bool stop;
	int error;
};

static void *map_and_write(void *arg)
{
	struct writer *w = arg;

	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
		uint8_t *at = map_at(w->dmabuf, LENGTH, 0);

		if (at == MAP_FAILED) {
			w->error = errno;
			break;
		}
		for (uint64_t page = 0; page < PAGES; page++)
			++*(volatile uint64_t *)(at + page * PAGE + 8 * page % PAGE);
		w->passes++;
		munmap(at, LENGTH);
		/* Time for a move. */
		usleep(w->passes % 4 * 1000);
	}
	return NULL;
}

/* Mapped and written to while it goes to and fro: nothing is lost. */
TEST_F(numa_export, mapped_meanwhile)
{
	struct writer w = { .dmabuf = self->dmabuf };
	unsigned int moved = 0, refused = 0;
	pthread_t thread;
	uint8_t *at;

	ASSERT_EQ(0, pthread_create(&thread, NULL, map_and_write, &w));
	for (int i = 0; i < 100 * ROUNDS && (moved < ROUNDS || !refused); i++) {
		int ret = go(self, (moved + 1) % 2);

		/* In part, if it was mapped after the first batch. */
		if (ret == -EBUSY)
			refused++;
		else if (ret > 0)
			moved++;
		else
			EXPECT_EQ(0, ret);
	}
	__atomic_store_n(&w.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, w.error);
	EXPECT_LT(0, moved);
	EXPECT_LT(0, refused);
	EXPECT_LT(0, w.passes);
	at = map_at(self->dmabuf, LENGTH, 0);
	ASSERT_NE(MAP_FAILED, at);
	for (uint64_t page = 0; page < PAGES; page++)
		ASSERT_EQ(w.passes, *(uint64_t *)(at + page * PAGE + 8 * page % PAGE));
	EXPECT_EQ(0, munmap(at, LENGTH));
}

TEST_HARNESS_MAIN
