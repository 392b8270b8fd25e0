// SPDX-License-Identifier: GPL-2.0
/*
 * Which nodes and blocks a buffer is made of, on a machine with at least two nodes: by turns,
 * where each page is checked with move_pages(2); blocks by contract, on nodes that have them, on
 * full ones and on one where there is room, but not in blocks; and both when a buffer moves.
 */
#include "ring.h"

#include "harness.h"

#define PAGE	4096ULL
#define HUGE	((uint64_t)DMAPLANE_HUGE_SIZE)

FIXTURE(numa_policy) {
	int fd;
	unsigned int count;
	unsigned int nodes[MAX_NODES];	/* that have memory, in order */
	uint64_t online;		/* as bits */
};

/* Of what a node has, in bytes. */
static uint64_t node_says(unsigned int node, const char *what)
{
	unsigned long kb = 0;
	char path[64], line[128], word[64];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/meminfo", node);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "Node %*u %63[^:]: %lu kB", word, &kb) == 2 && !strcmp(word, what))
			break;
		else
			kb = 0;
	if (file)
		fclose(file);
	return kb * 1024;
}

FIXTURE_SETUP(numa_policy)
{
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	for (unsigned int node = 0; node < MAX_NODES; node++)
		if (node_says(node, "MemTotal")) {
			self->nodes[self->count++] = node;
			self->online |= 1ULL << node;
		}
	if (self->count < 2)
		SKIP(return, "one NUMA node only");
}

FIXTURE_TEARDOWN(numa_policy)
{
	close(self->fd);
	EXPECT_TRUE(WAIT_FOR(live("memory_bytes") == 0));
}

static int create_by_turns(int fd, uint64_t length, uint64_t nodes, uint32_t flags,
			   struct buffer *buffer)
{
	struct dmaplane_buf_create arg =
		ARG(buf_create, .length = length, .node = DMAPLANE_NODE_ANY,
		    .flags = flags | DMAPLANE_BUF_INTERLEAVE, .nodes = nodes);
	int ret = cmd(fd, DMAPLANE_IOC_BUF_CREATE, &arg);

	if (!ret)
		*buffer = (struct buffer){ arg.handle, length, arg.mmap_offset };
	return ret;
}

/*
 * Has the kernel say where each page is, of which the sums are those of BUF_QUERY. Returns how many
 * are not on the node whose turn it is, of @nodes, each for @step pages.
 */
static int64_t out_of_turn(struct __test_metadata *_metadata, int fd, const struct buffer *buffer,
			   const unsigned int *nodes, unsigned int count, uint64_t step)
{
	uint64_t said[MAX_NODES] = { 0 }, seen[MAX_NODES] = { 0 };
	struct dmaplane_buf_query query;
	int64_t others = 0;
	uint8_t *at;

	ASSERT_EQ(0, buf_query(fd, buffer->handle, &query, said));
	at = map_at(fd, query.length, buffer->offset);
	ASSERT_NE(MAP_FAILED, at);
	for (uint64_t i = 0; i < query.pages; i++) {
		int status = node_of_page(at + i * PAGE);

		ASSERT_LE(0, status) TH_LOG("page %lu: %s", (long)i, strerror(-status));
		ASSERT_GT(MAX_NODES, status);
		seen[status]++;
		others += (unsigned int)status != nodes[i / step % count];
	}
	EXPECT_EQ(0, memcmp(said, seen, sizeof(said)));
	EXPECT_EQ(0, munmap(at, query.length));
	return others;
}

/* A block at a time, or a page; over all nodes, over some, over one. */
TEST_F(numa_policy, by_turns)
{
	const uint64_t lengths[] = { PAGE, 7 * PAGE, HUGE + PAGE, 9 * HUGE + 3 * PAGE };
	struct buffer buffer;

	for (size_t i = 0; i < ARRAY_LEN(lengths); i++)
		for (unsigned int first = 0; first < self->count; first++) {
			unsigned int count = self->count - first;
			uint64_t nodes = self->online & ~0ULL << self->nodes[first];

			ASSERT_EQ(0, create_by_turns(self->fd, lengths[i], nodes,
						     DMAPLANE_BUF_NODE_STRICT, &buffer));
			EXPECT_EQ(0, out_of_turn(_metadata, self->fd, &buffer, self->nodes + first,
						 count, HUGE / PAGE));
			ASSERT_EQ(0, buf_destroy(self->fd, buffer.handle));
			ASSERT_EQ(0, create_by_turns(self->fd, lengths[i], nodes,
						     DMAPLANE_BUF_NO_HUGE, &buffer));
			EXPECT_EQ(0, out_of_turn(_metadata, self->fd, &buffer, self->nodes + first,
						 count, 1));
			ASSERT_EQ(0, buf_destroy(self->fd, buffer.handle));
		}
}

/* Every block is one, on its node. */
TEST_F(numa_policy, blocks_by_turns)
{
	struct buffer buffer;

	ASSERT_EQ(0, create_by_turns(self->fd, 2 * self->count * HUGE - PAGE, self->online,
				     DMAPLANE_BUF_NODE_STRICT | DMAPLANE_BUF_HUGE, &buffer));
	EXPECT_EQ(2 * self->count, huge_blocks(self->fd, buffer.handle));
	EXPECT_EQ(0, out_of_turn(_metadata, self->fd, &buffer, self->nodes, self->count,
				 HUGE / PAGE));
}

TEST_F(numa_policy, nodes_that_are_not_there)
{
	struct dmaplane_stats stats;
	struct buffer buffer;

	for (unsigned int node = 0; node < 64; node++) {
		int expected = self->online & 1ULL << node ? 0 : -ENXIO;

		EXPECT_EQ(expected, create_by_turns(self->fd, 1, 1ULL << node, 0, &buffer));
		if (!expected) {
			EXPECT_EQ(0, buf_destroy(self->fd, buffer.handle));
		}
		EXPECT_EQ(expected, create_by_turns(self->fd, 1, self->online | 1ULL << node,
						    DMAPLANE_BUF_NODE_STRICT, &buffer));
		if (!expected) {
			EXPECT_EQ(0, buf_destroy(self->fd, buffer.handle));
		}
	}
	ASSERT_EQ(0, get_stats(self->fd, &stats));
	EXPECT_EQ(0, stats.buffer_bytes);
}

TEST_F(numa_policy, blocks_on_each_node)
{
	struct buffer buffer;

	for (unsigned int i = 0; i < self->count; i++) {
		ASSERT_EQ(0, buf_create_at(self->fd, 4 * HUGE, self->nodes[i],
					   DMAPLANE_BUF_NODE_STRICT | DMAPLANE_BUF_HUGE, &buffer));
		EXPECT_EQ(4, huge_blocks(self->fd, buffer.handle));
		EXPECT_EQ(0, out_of_turn(_metadata, self->fd, &buffer, self->nodes + i, 1, 1));
		ASSERT_EQ(0, buf_destroy(self->fd, buffer.handle));
	}
}

/* Blocks of a node that has not so many: nothing is taken, nor left; what is preferred goes on. */
TEST_F(numa_policy, blocks_without_room)
{
	unsigned int node = self->nodes[self->count - 1];
	uint64_t length = node_says(node, "MemTotal") + 8 * HUGE;
	struct dmaplane_stats stats;
	struct buffer buffer;

	length -= length % HUGE;
	EXPECT_EQ(-ENOBUFS, buf_create_at(self->fd, length, node,
					  DMAPLANE_BUF_NODE_STRICT | DMAPLANE_BUF_HUGE, &buffer));
	EXPECT_EQ(-ENOBUFS, create_by_turns(self->fd, length, 1ULL << node,
					    DMAPLANE_BUF_NODE_STRICT | DMAPLANE_BUF_HUGE, &buffer));
	EXPECT_EQ(-ENOSPC, create_by_turns(self->fd, length, 1ULL << node,
					   DMAPLANE_BUF_NODE_STRICT, &buffer));
	ASSERT_EQ(0, get_stats(self->fd, &stats));
	EXPECT_EQ(0, stats.buffers);
	EXPECT_EQ(0, stats.buffer_bytes);
	EXPECT_EQ(0, live("memory_bytes"));
	/* Only the memory of the whole machine limits this. */
	ASSERT_EQ(0, create_by_turns(self->fd, length, 1ULL << node, 0, &buffer));
	EXPECT_LT(0, out_of_turn(_metadata, self->fd, &buffer, &node, 1, 1));
	EXPECT_EQ(0, buf_destroy(self->fd, buffer.handle));
	EXPECT_EQ(0, buf_create_at(self->fd, 4 * HUGE, node,
				   DMAPLANE_BUF_NODE_STRICT | DMAPLANE_BUF_HUGE, &buffer));
}

#define PIECE		(16 * PAGE)
#define MOST_PIECES	16000

/* A node whose free memory is in pieces that cannot be moved: no block, though there is room. */
TEST_F(numa_policy, blocks_of_a_node_in_pieces)
{
	unsigned int node = self->nodes[self->count - 1];
	struct buffer *pieces = calloc(MOST_PIECES, sizeof(*pieces)), buffer;
	uint64_t freed = 0;
	int count = 0, ret;

	ASSERT_NE(NULL, pieces);
	while (count < MOST_PIECES &&
	       !(ret = buf_create_at(self->fd, PIECE, node,
				     DMAPLANE_BUF_NODE_STRICT | DMAPLANE_BUF_NO_HUGE,
				     &pieces[count])))
		count++;
	if (count == MOST_PIECES)
		SKIP(return, "node %u has too much memory", node);
	EXPECT_EQ(-ENOSPC, ret);
	for (int i = 0; i < count; i += 2) {
		ASSERT_EQ(0, buf_destroy(self->fd, pieces[i].handle));
		freed += PIECE;
	}
	ASSERT_LT(8 * HUGE, freed);
	freed -= freed / 4;
	freed -= freed % HUGE;
	EXPECT_EQ(-ENOBUFS, buf_create_at(self->fd, freed, node,
					  DMAPLANE_BUF_NODE_STRICT | DMAPLANE_BUF_HUGE, &buffer));
	/* As it may, or must not, consist of them there is enough. */
	EXPECT_EQ(0, buf_create_at(self->fd, freed, node, DMAPLANE_BUF_NODE_STRICT, &buffer));
	EXPECT_GT(freed / HUGE, huge_blocks(self->fd, buffer.handle));
	EXPECT_EQ(0, out_of_turn(_metadata, self->fd, &buffer, &node, 1, 1));
	EXPECT_EQ(0, buf_destroy(self->fd, buffer.handle));
	EXPECT_EQ(0, buf_create_at(self->fd, freed, node,
				   DMAPLANE_BUF_NODE_STRICT | DMAPLANE_BUF_NO_HUGE, &buffer));
	/* One that only prefers the node has its blocks elsewhere. */
	EXPECT_EQ(0, buf_create_at(self->fd, 4 * HUGE, node, DMAPLANE_BUF_HUGE, &buffer));
	EXPECT_EQ(4, huge_blocks(self->fd, buffer.handle));
	free(pieces);
}

/* What MIGRATE says. */
static int migrate(struct channel *c, uint32_t handle, unsigned int node, uint32_t flags)
{
	struct dmaplane_sqe sqe = migrate_buffer(handle, node, flags);
	struct dmaplane_cqe cqe;

	return channel_do(c, &sqe, &cqe) ? -ETIME : cqe.res;
}

/* A buffer of blocks that moves consists of blocks, mapped as such, or does not move. */
TEST_F(numa_policy, blocks_that_move)
{
	unsigned int here = self->nodes[0], there = self->nodes[self->count - 1];
	const uint64_t length = 3 * HUGE;
	struct dmaplane_buf_query query;
	uint64_t nodes[MAX_NODES];
	struct buffer buffer, all;
	struct channel c;
	uint8_t *at;

	ASSERT_EQ(0, channel_open(self->fd, 8, 8, &c));
	ASSERT_EQ(0, buf_create_at(self->fd, length, here,
				   DMAPLANE_BUF_NODE_STRICT | DMAPLANE_BUF_HUGE, &buffer));
	at = buf_map(self->fd, &buffer);
	ASSERT_NE(MAP_FAILED, at);
	fill(at, length, 1);
	for (int i = 0; i < 4; i++) {
		EXPECT_EQ(length / PAGE, migrate(&c, buffer.handle, i % 2 ? here : there,
						 i & DMAPLANE_MIGRATE_STRICT));
		EXPECT_EQ(3, huge_blocks(self->fd, buffer.handle));
		EXPECT_EQ(length, first_wrong(at, length, 1));
		if (huge_pages()) {
			EXPECT_EQ(length, mapped_huge(at));
		}
	}
	/* Next to nothing is free there. */
	ASSERT_EQ(0, buf_create_at(self->fd, node_says(there, "MemFree") / HUGE * HUGE, there, 0,
				   &all));
	ASSERT_EQ(0, buf_query(self->fd, buffer.handle, &query, nodes));
	if (node_says(there, "MemFree") < length) {
		EXPECT_EQ(-ENOSPC, migrate(&c, buffer.handle, there, DMAPLANE_MIGRATE_STRICT));
		EXPECT_LE(0, migrate(&c, buffer.handle, there, 0));
	}
	EXPECT_EQ(3, huge_blocks(self->fd, buffer.handle));
	EXPECT_EQ(length, first_wrong(at, length, 1));
	EXPECT_EQ(0, munmap(at, length));
	munmap(c.ring, c.length);
}

/* A task's policy counts for blocks that must be, and for pages that are not named a node. */
TEST_F(numa_policy, policy_of_the_task)
{
	struct buffer buffer;

	for (unsigned int i = 0; i < self->count; i++) {
		unsigned long mask = 1UL << self->nodes[i];
		int ret;

		ASSERT_EQ(0, syscall(SYS_set_mempolicy, 2 /* MPOL_BIND */, &mask, 64UL));
		ret = buf_create_at(self->fd, 3 * HUGE, DMAPLANE_NODE_ANY, DMAPLANE_BUF_HUGE,
				    &buffer);
		ASSERT_EQ(0, syscall(SYS_set_mempolicy, 0, NULL, 0UL));
		ASSERT_EQ(0, ret);
		EXPECT_EQ(3, huge_blocks(self->fd, buffer.handle));
		EXPECT_EQ(0, out_of_turn(_metadata, self->fd, &buffer, self->nodes + i, 1, 1));
		ASSERT_EQ(0, buf_destroy(self->fd, buffer.handle));
	}
}

/* Bytes of all buffers on each node, as BUF_QUERY adds up, also after one has moved. */
TEST_F(numa_policy, fdinfo)
{
	struct buffer buffers[MAX_NODES + 1];
	unsigned int count = 0;
	struct channel c;

	for (unsigned int i = 0; i < self->count; i++)
		ASSERT_EQ(0, buf_create_at(self->fd, (i + 3) * PAGE, self->nodes[i],
					   DMAPLANE_BUF_NODE_STRICT, &buffers[count++]));
	ASSERT_EQ(0, create_by_turns(self->fd, 64 * PAGE, self->online, DMAPLANE_BUF_NO_HUGE,
				     &buffers[count++]));
	ASSERT_EQ(0, channel_open(self->fd, 8, 8, &c));
	for (int moved = 0; moved < 2; moved++) {
		uint64_t sums[MAX_NODES] = { 0 };

		for (unsigned int i = 0; i < count; i++) {
			struct dmaplane_buf_query query;
			uint64_t nodes[MAX_NODES];

			ASSERT_EQ(0, buf_query(self->fd, buffers[i].handle, &query, nodes));
			for (uint32_t node = 0; node < query.nr_nodes; node++)
				sums[node] += nodes[node] * PAGE;
		}
		for (unsigned int i = 0; i < self->count; i++) {
			char name[32];

			snprintf(name, sizeof(name), "node%u-bytes", self->nodes[i]);
			EXPECT_LT(0, sums[self->nodes[i]]);
			EXPECT_EQ(sums[self->nodes[i]], (uint64_t)fdinfo(self->fd, name));
		}
		if (!moved)
			ASSERT_LT(0, channel_migrate(&c, buffers[count - 1].handle,
						     self->nodes[self->count - 1],
						     DMAPLANE_MIGRATE_STRICT));
	}
	EXPECT_EQ(0, channel_close(&c));
}

TEST_HARNESS_MAIN
