// SPDX-License-Identifier: GPL-2.0
/*
 * Placement on NUMA nodes: what BUF_QUERY says is what move_pages(2) says,
 * page by page; strict buffers lie on their node or fail. For a machine with
 * at least two nodes, of which test.sh makes one.
 */
#include "dmaplane_test.h"

#include <linux/mempolicy.h>

#include "harness.h"

#define PAGE 4096ULL

FIXTURE(numa) {
	int fd;
	struct dmaplane_info info;
	unsigned int online;	/* as bits */
};

FIXTURE_SETUP(numa)
{
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, get_info(self->fd, &self->info));
	for (unsigned int node = 0; node < 32; node++)
		if (node_online(node))
			self->online |= 1U << node;
	if (!(self->online & (self->online - 1)))
		SKIP(return, "one NUMA node only");
}

FIXTURE_TEARDOWN(numa)
{
	close(self->fd);
}

/*
 * Compares QUERY with move_pages(); the pages that are not on @node, or -1. @asked is the
 * node that was asked for.
 */
static int64_t off_node(struct __test_metadata *_metadata, int fd, const struct buffer *buffer,
			int asked, int node)
{
	uint64_t said[MAX_NODES] = { 0 }, seen[MAX_NODES] = { 0 };
	struct dmaplane_buf_query query;
	uint8_t *at = buf_map(fd, buffer);
	int64_t others = 0;

	ASSERT_NE(MAP_FAILED, at);
	ASSERT_EQ(0, buf_query(fd, buffer->handle, &query, said));
	EXPECT_EQ(asked, query.node);
	for (uint64_t i = 0; i < query.pages; i++) {
		int status = node_of_page(at + i * PAGE);

		ASSERT_LE(0, status) TH_LOG("move_pages knows no node of page %lu: %s",
					    (long)i, strerror(-status));
		ASSERT_GT(MAX_NODES, status);
		seen[status]++;
		others += status != node;
	}
	EXPECT_EQ(0, memcmp(said, seen, sizeof(said))) {
		for (uint32_t i = 0; i < query.nr_nodes; i++)
			TH_LOG("node %u: QUERY says %lu, move_pages %lu", i, (long)said[i],
			       (long)seen[i]);
	}
	EXPECT_EQ(0, munmap(at, buffer->length));
	return others;
}

static int64_t elsewhere(struct __test_metadata *_metadata, int fd, const struct buffer *buffer,
			 int node)
{
	return off_node(_metadata, fd, buffer, node, node);
}

TEST_F(numa, nodes_known)
{
	EXPECT_LE(2, self->info.nr_nodes);
	EXPECT_EQ(0, self->online >> self->info.nr_nodes);
}

TEST_F(numa, preferred_node)
{
	struct buffer buffer;

	for (unsigned int node = 0; node < self->info.nr_nodes; node++) {
		if (!(self->online & (1U << node)))
			continue;
		ASSERT_EQ(0, buf_create_at(self->fd, 4 << 20, node, 0, &buffer));
		EXPECT_EQ(0, elsewhere(_metadata, self->fd, &buffer, node))
			TH_LOG("pages off node %u although it has room", node);
		ASSERT_EQ(0, buf_destroy(self->fd, buffer.handle));
	}
}

TEST_F(numa, strict)
{
	const uint64_t lengths[] = { 1, 3 * PAGE, (2 << 20) + PAGE, 8 << 20 };
	struct buffer buffer;

	for (unsigned int node = 0; node < self->info.nr_nodes; node++) {
		if (!(self->online & (1U << node)))
			continue;
		for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
			uint64_t length = (lengths[i] + PAGE - 1) & ~(PAGE - 1);

			ASSERT_EQ(0, buf_create_at(self->fd, length, node, DMAPLANE_BUF_NODE_STRICT,
						   &buffer));
			EXPECT_EQ(0, elsewhere(_metadata, self->fd, &buffer, node));
			ASSERT_EQ(0, buf_destroy(self->fd, buffer.handle));
		}
	}
}

TEST_F(numa, no_preference)
{
	struct buffer buffer;

	ASSERT_EQ(0, buf_create(self->fd, 4 << 20, &buffer));
	EXPECT_LE(0, elsewhere(_metadata, self->fd, &buffer, DMAPLANE_NODE_ANY));
}

/* Who names no node leaves it to the task's policy. */
TEST_F(numa, policy)
{
	struct buffer buffer;

	for (unsigned int node = 0; node < self->info.nr_nodes; node++) {
		unsigned long mask = 1UL << node;

		if (!(self->online & mask))
			continue;
		ASSERT_EQ(0, syscall(SYS_set_mempolicy, MPOL_BIND, &mask, 64UL));
		EXPECT_EQ(0, buf_create(self->fd, 4 << 20, &buffer));
		ASSERT_EQ(0, syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0UL));
		EXPECT_EQ(0, off_node(_metadata, self->fd, &buffer, DMAPLANE_NODE_ANY, node))
			TH_LOG("pages off node %u, which the policy binds to", node);
		ASSERT_EQ(0, buf_destroy(self->fd, buffer.handle));
	}
}

TEST_F(numa, no_such_node)
{
	struct buffer buffer;

	for (int node = 0; node < 40; node++) {
		int expected = node < 32 && self->online & (1U << node) ? 0 : -ENXIO;

		EXPECT_EQ(expected, buf_create_at(self->fd, 1, node, 0, &buffer));
		EXPECT_EQ(expected, buf_create_at(self->fd, 1, node, DMAPLANE_BUF_NODE_STRICT,
						  &buffer));
	}
}

/* A node that has no room: strict fails, preferred takes the rest elsewhere. */
TEST_F(numa, node_without_room)
{
	unsigned int node = 31 - __builtin_clz(self->online);
	uint64_t length = memory_of(node) + (16 << 20);
	struct dmaplane_stats stats;
	struct buffer buffer;

	ASSERT_LT(16 << 20, length);
	EXPECT_EQ(-ENOSPC, buf_create_at(self->fd, length, node, DMAPLANE_BUF_NODE_STRICT,
					 &buffer));
	ASSERT_EQ(0, get_stats(self->fd, &stats));
	EXPECT_EQ(0, stats.buffers);
	EXPECT_EQ(0, stats.buffer_bytes);
	ASSERT_EQ(0, buf_create_at(self->fd, length, node, 0, &buffer));
	EXPECT_LT(0, elsewhere(_metadata, self->fd, &buffer, node));
	EXPECT_EQ(0, buf_destroy(self->fd, buffer.handle));
	EXPECT_EQ(0, buf_create_at(self->fd, 4 << 20, node, DMAPLANE_BUF_NODE_STRICT, &buffer));
}

/* A node may have memory and no processor, and a task may be bound elsewhere. */
TEST_F(numa, from_every_processor)
{
	unsigned int node = 31 - __builtin_clz(self->online);

	for (int cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++) {
		struct buffer buffer;
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		ASSERT_EQ(0, sched_setaffinity(0, sizeof(set), &set));
		ASSERT_EQ(0, buf_create_at(self->fd, 64 * PAGE, node, DMAPLANE_BUF_NODE_STRICT,
					   &buffer));
		EXPECT_EQ(0, elsewhere(_metadata, self->fd, &buffer, node));
	}
}

TEST_HARNESS_MAIN
