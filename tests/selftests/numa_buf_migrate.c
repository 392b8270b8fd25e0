// SPDX-License-Identifier: GPL-2.0
/*
 * BUF_MIGRATE on a machine with at least two nodes: it moves what MIGRATE does, and says how
 * much and how fast; a signal ends it, and another call goes on.
 */
#include "ring.h"

#include <pthread.h>
#include <signal.h>

#include "harness.h"

#define PAGE	4096ULL
#define PAGES	(5 * 512 + 17ULL)
#define LENGTH	(PAGES * PAGE)

#define COPY_THREADS	"/sys/module/dmaplane/parameters/copy_threads"

static int set_limit(const char *path, unsigned int value)
{
	FILE *file = fopen(path, "w");
	int ret;

	if (!file)
		return -errno;
	ret = fprintf(file, "%u", value) < 0;
	return fclose(file) || ret ? -EIO : 0;
}

FIXTURE(numa_buf_migrate) {
	int fd;
	struct buffer buffer;
	uint8_t *at;
	unsigned int nodes[2];
};

FIXTURE_SETUP(numa_buf_migrate)
{
	if (last_nodes(self->nodes, 2) < 2)
		SKIP(return, "one NUMA node only");
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, buf_create_at(self->fd, LENGTH, self->nodes[0],
				   DMAPLANE_BUF_NODE_STRICT | DMAPLANE_BUF_NO_HUGE, &self->buffer));
	self->at = buf_map(self->fd, &self->buffer);
	ASSERT_NE(MAP_FAILED, self->at);
	fill(self->at, LENGTH, 1);
}

FIXTURE_TEARDOWN(numa_buf_migrate)
{
	EXPECT_EQ(0, set_limit(COPY_THREADS, 8));
	munmap(self->at, LENGTH);
	close(self->fd);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("buffers"));
	EXPECT_EQ(0, live("buffer_bytes"));
}

static int move(int fd, uint32_t handle, int node, uint32_t flags, struct dmaplane_buf_migrate *arg)
{
	*arg = ARG(buf_migrate, .flags = flags, .handle = handle, .node = node);
	return cmd(fd, DMAPLANE_IOC_BUF_MIGRATE, arg);
}

/* Pages on @node. */
static int64_t pages_on(int fd, uint32_t handle, unsigned int node)
{
	uint64_t nodes[MAX_NODES] = { 0 };
	struct dmaplane_buf_query query;

	return buf_query(fd, handle, &query, nodes) ? -1 : (int64_t)nodes[node];
}

TEST_F(numa_buf_migrate, all_at_once)
{
	struct dmaplane_buf_migrate arg;
	struct dmaplane_buf_query query;
	uint64_t nodes[MAX_NODES] = { 0 };
	struct dmaplane_info info;

	ASSERT_EQ(0, get_info(self->fd, &info));
	EXPECT_TRUE(info.features & DMAPLANE_FEATURE_BUF_MIGRATE);
	for (int i = 1; i <= 4; i++) {
		uint32_t flags = i < 3 ? 0 : DMAPLANE_MIGRATE_STRICT;
		unsigned int node = self->nodes[i % 2];

		ASSERT_EQ(0, move(self->fd, self->buffer.handle, node, flags, &arg));
		EXPECT_EQ(PAGES, arg.moved);
		EXPECT_LT(0, arg.first_ns);
		EXPECT_LT(arg.first_ns, arg.total_ns);
		EXPECT_NE(0, arg.engines);
		EXPECT_EQ(0, arg.engines & ~(DMAPLANE_ENGINE_CPU | DMAPLANE_ENGINE_DMA));
		EXPECT_EQ(!(arg.engines & DMAPLANE_ENGINE_CPU), !arg.threads);
		EXPECT_EQ(PAGES, pages_on(self->fd, self->buffer.handle, node));
		EXPECT_EQ((int)node, node_of_page(self->at + LENGTH - PAGE));
		EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));

		/* There is nothing to do any more. */
		ASSERT_EQ(0, move(self->fd, self->buffer.handle, node, flags, &arg));
		EXPECT_EQ(0, arg.moved);
		EXPECT_EQ(0, arg.first_ns);
		EXPECT_LT(0, arg.total_ns);
		EXPECT_EQ(0, arg.engines);
		EXPECT_EQ(0, arg.threads);
	}
	ASSERT_EQ(0, buf_query(self->fd, self->buffer.handle, &query, nodes));
	EXPECT_EQ((int)self->nodes[0], query.node);
}

static void heard(int signal)
{
	(void)signal;
}

struct caller {
	pthread_t who;
	bool enough;
};

static void *calls(void *arg)
{
	struct caller *c = arg;

	while (!__atomic_load_n(&c->enough, __ATOMIC_RELAXED)) {
		pthread_kill(c->who, SIGUSR1);
		usleep(100);
	}
	return NULL;
}

/* However often it is interrupted, each call gets on. */
TEST_F(numa_buf_migrate, signals)
{
	struct sigaction action = { .sa_handler = heard, .sa_flags = SA_RESTART };
	struct caller c = { .who = pthread_self() };
	struct dmaplane_buf_migrate arg;
	uint32_t interrupted = 0;
	int64_t before = 0;
	pthread_t thread;
	int ret;

	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	ASSERT_EQ(0, pthread_create(&thread, NULL, calls, &c));
	for (int round = 1; round <= 100 && !interrupted; round++) {
		unsigned int node = self->nodes[round % 2];

		for (before = 0;;) {
			int64_t there;

			ret = move(self->fd, self->buffer.handle, node, 0, &arg);
			there = pages_on(self->fd, self->buffer.handle, node);
			if (ret != -EINTR)
				break;
			interrupted++;
			ASSERT_LT(before, there);
			ASSERT_GE((int64_t)PAGES, there);
			before = there;
		}
		EXPECT_EQ(0, ret);
		EXPECT_EQ(PAGES, pages_on(self->fd, self->buffer.handle, node));
	}
	__atomic_store_n(&c.enough, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_LT(0, interrupted);
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));
}

/* Nodes without processors are copied between by all there are; and each page by one of them. */
TEST_F(numa_buf_migrate, threads)
{
	unsigned int most = 0, round;
	struct dmaplane_buf_migrate arg;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "one processor only");
	for (round = 1; round <= 2; round++) {
		ASSERT_EQ(0, set_limit(COPY_THREADS, 1));
		ASSERT_EQ(0, move(self->fd, self->buffer.handle, self->nodes[round % 2], 0, &arg));
		EXPECT_EQ(PAGES, arg.moved);
		if (arg.engines & DMAPLANE_ENGINE_DMA)
			SKIP(return, "this machine has a DMA engine");
		EXPECT_EQ(1, arg.threads);
	}
	EXPECT_EQ(0, set_limit(COPY_THREADS, 8));
	for (round = 1; round <= 200 && most < 2; round++) {
		fill(self->at, LENGTH, round);
		ASSERT_EQ(0, move(self->fd, self->buffer.handle, self->nodes[round % 2], 0, &arg));
		EXPECT_EQ(DMAPLANE_ENGINE_CPU, arg.engines);
		EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, round));
		if (arg.threads > most)
			most = arg.threads;
	}
	/* Unless these nodes have one each. */
	EXPECT_LT(1, most);
	EXPECT_GE(8, most);
}

TEST_F(numa_buf_migrate, refused)
{
	uint32_t handle = self->buffer.handle;
	struct dmaplane_buf_migrate arg;
	struct dmaplane_buf_pin pin;
	uint8_t *own;
	int file;

	EXPECT_EQ(-EINVAL, move(self->fd, handle, self->nodes[1], 2, &arg));
	EXPECT_EQ(-ENOENT, move(self->fd, handle + 1, self->nodes[1], 0, &arg));
	EXPECT_EQ(-ENXIO, move(self->fd, handle, -1, 0, &arg));
	EXPECT_EQ(-ENXIO, move(self->fd, handle, INT32_MIN, 0, &arg));
	EXPECT_EQ(-ENXIO, move(self->fd, handle, MAX_NODES, 0, &arg));
	EXPECT_EQ(PAGES, pages_on(self->fd, handle, self->nodes[0]));

	/* Who only has a dma-buf of it has nothing against that. */
	file = buf_export(self->fd, handle, 0, 0, 0);
	ASSERT_LE(0, file);
	EXPECT_EQ(0, move(self->fd, handle, self->nodes[1], 0, &arg));
	close(file);

	own = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, own);
	pin = ARG(buf_pin, .addr = (uintptr_t)own, .length = PAGE);
	ASSERT_EQ(0, cmd(self->fd, DMAPLANE_IOC_BUF_PIN, &pin));
	EXPECT_EQ(-EBUSY, move(self->fd, pin.handle, self->nodes[0], 0, &arg));
	EXPECT_EQ(-EBUSY, move(self->fd, pin.handle, self->nodes[1], 0, &arg));
	EXPECT_EQ(0, munmap(own, PAGE));
}

TEST_HARNESS_MAIN
