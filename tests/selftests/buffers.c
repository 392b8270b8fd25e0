// SPDX-License-Identifier: GPL-2.0
/*
 * Buffers: creation and its errors, zeroed memory, what QUERY says, blocks, limits, what
 * fdinfo says, and that nothing is left of a thousand contexts. Mappings: mappings.c.
 */
#include "dmaplane_test.h"
#include "harness.h"

#define PAGE 4096ULL

#define PARAMETER(name)	"/sys/module/dmaplane/parameters/" name

static int set_limit(const char *path, unsigned long mib)
{
	FILE *file = fopen(path, "we");
	int ret;

	if (!file)
		return -errno;
	ret = fprintf(file, "%lu", mib) < 0;
	return fclose(file) || ret ? -EIO : 0;
}

FIXTURE(buffers) {
	int fd;
	struct dmaplane_info info;
};

FIXTURE_SETUP(buffers)
{
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, get_info(self->fd, &self->info));
}

FIXTURE_TEARDOWN(buffers)
{
	/* What failed in the midst of it leaves none to others. */
	EXPECT_EQ(0, set_limit(PARAMETER("max_context_mib"), 0));
	EXPECT_EQ(0, set_limit(PARAMETER("max_memory_mib"), 0));
	EXPECT_EQ(0, close(self->fd));
}

TEST_F(buffers, create_errors)
{
	const struct { uint64_t length; int32_t node; uint32_t flags; int result; } cases[] = {
		{ 0, DMAPLANE_NODE_ANY, 0, -EINVAL },
		{ 1, DMAPLANE_NODE_ANY, DMAPLANE_BUF_NODE_STRICT, -EINVAL },
		{ self->info.max_buffer + 1, DMAPLANE_NODE_ANY, 0, -EFBIG },
		{ UINT64_MAX, DMAPLANE_NODE_ANY, 0, -EFBIG },
		{ UINT64_MAX - PAGE + 2, DMAPLANE_NODE_ANY, 0, -EFBIG },
		{ 1ULL << 63, DMAPLANE_NODE_ANY, 0, -EFBIG },
		{ PAGE, self->info.nr_nodes, 0, -ENXIO },
		{ PAGE, 99, 0, -ENXIO },
		{ PAGE, 99, DMAPLANE_BUF_NODE_STRICT, -ENXIO },
		{ PAGE, 1 << 20, 0, -ENXIO },
		{ PAGE, INT32_MAX, 0, -ENXIO },
		{ PAGE, INT32_MIN, 0, -ENXIO },
		{ PAGE, -2, 0, -ENXIO },
		{ PAGE, DMAPLANE_NODE_ANY, DMAPLANE_BUF_HUGE | DMAPLANE_BUF_NO_HUGE, -EINVAL },
		{ PAGE, DMAPLANE_NODE_ANY, DMAPLANE_BUF_INTERLEAVE, -EINVAL },
		{ PAGE, 0, DMAPLANE_BUF_INTERLEAVE, -EINVAL },
		{ PAGE, DMAPLANE_NODE_ANY, 1U << 4, -EINVAL },
		{ self->info.max_buffer + 1, 0, DMAPLANE_BUF_HUGE, -EFBIG },
		{ PAGE, 99, DMAPLANE_BUF_HUGE, -ENXIO },
	};
	struct dmaplane_stats stats;
	struct buffer buffer;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		EXPECT_EQ(cases[i].result, buf_create_at(self->fd, cases[i].length, cases[i].node,
							 cases[i].flags, &buffer))
			TH_LOG("case %zu", i);
	}
	ASSERT_EQ(0, get_stats(self->fd, &stats));
	EXPECT_EQ(0, stats.buffers);
	EXPECT_EQ(0, stats.buffer_bytes);
}

TEST_F(buffers, length_in_whole_pages)
{
	const uint64_t lengths[] = { 1, PAGE - 1, PAGE, PAGE + 1, 1000000, 4 << 20 };
	uint64_t total = 0, nodes[MAX_NODES];
	struct dmaplane_buf_query query;
	struct dmaplane_stats stats;
	struct buffer buffer;

	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		uint64_t rounded = (lengths[i] + PAGE - 1) & ~(PAGE - 1), pages = 0;

		ASSERT_EQ(0, buf_create(self->fd, lengths[i], &buffer));
		EXPECT_EQ(0, buffer.offset % PAGE);
		memset(nodes, 0, sizeof(nodes));
		ASSERT_EQ(0, buf_query(self->fd, buffer.handle, &query, nodes));
		EXPECT_EQ(rounded, query.length);
		EXPECT_EQ(rounded / PAGE, query.pages);
		EXPECT_EQ(self->info.nr_nodes, query.nr_nodes);
		EXPECT_EQ(DMAPLANE_NODE_ANY, query.node);
		EXPECT_EQ(0, query.create_flags);
		EXPECT_EQ(0, query.mappings);
		for (uint32_t node = 0; node < self->info.nr_nodes; node++)
			pages += nodes[node];
		EXPECT_EQ(query.pages, pages);
		total += rounded;
		ASSERT_EQ(0, get_stats(self->fd, &stats));
		EXPECT_EQ(i + 1, stats.buffers);
		EXPECT_EQ(total, stats.buffer_bytes);
	}
}

/* INTERLEAVE takes a set of nodes, and nothing else does. */
TEST_F(buffers, sets_of_nodes)
{
	const struct { uint64_t nodes; int32_t node; uint32_t flags; int result; } cases[] = {
		{ 1, DMAPLANE_NODE_ANY, DMAPLANE_BUF_INTERLEAVE, 0 },
		{ 1, DMAPLANE_NODE_ANY, DMAPLANE_BUF_INTERLEAVE | DMAPLANE_BUF_NODE_STRICT, 0 },
		{ 1, DMAPLANE_NODE_ANY, DMAPLANE_BUF_INTERLEAVE | DMAPLANE_BUF_NO_HUGE, 0 },
		{ 1, 0, DMAPLANE_BUF_INTERLEAVE, -EINVAL },
		{ 1, DMAPLANE_NODE_ANY, 0, -EINVAL },
		{ 1, 0, 0, -EINVAL },
		{ 1ULL << 63 | 1, DMAPLANE_NODE_ANY, DMAPLANE_BUF_INTERLEAVE, -ENXIO },
		{ UINT64_MAX, DMAPLANE_NODE_ANY, DMAPLANE_BUF_INTERLEAVE, -ENXIO },
	};
	struct dmaplane_buf_query query;
	uint64_t nodes[MAX_NODES];

	EXPECT_TRUE(self->info.features & DMAPLANE_FEATURE_PLACEMENT);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct dmaplane_buf_create arg =
			ARG(buf_create, .length = 5 * PAGE, .node = cases[i].node,
			    .flags = cases[i].flags, .nodes = cases[i].nodes);

		EXPECT_EQ(cases[i].result, cmd(self->fd, DMAPLANE_IOC_BUF_CREATE, &arg))
			TH_LOG("case %zu", i);
		if (cases[i].result)
			continue;
		ASSERT_EQ(0, buf_query(self->fd, arg.handle, &query, nodes));
		EXPECT_EQ(1, query.nodes);
		EXPECT_EQ(DMAPLANE_NODE_ANY, query.node);
		EXPECT_EQ(cases[i].flags, query.create_flags);
		EXPECT_EQ(5, nodes[0]);
	}
}

/* What is said of blocks is all of the buffer, whatever was asked for. */
TEST_F(buffers, blocks_are_all_of_it)
{
	const uint32_t flags[] = { 0, DMAPLANE_BUF_HUGE, DMAPLANE_BUF_NO_HUGE };
	const uint64_t lengths[] = { PAGE, 8 * PAGE, 511 * PAGE, 513 * PAGE, 9 << 20 };
	struct dmaplane_buf_query query;
	uint64_t nodes[MAX_NODES];
	struct buffer buffer;

	for (size_t i = 0; i < ARRAY_LEN(flags) * ARRAY_LEN(lengths); i++) {
		uint64_t length = lengths[i / ARRAY_LEN(flags)], pages = 0;
		uint32_t flag = flags[i % ARRAY_LEN(flags)];

		ASSERT_EQ(0, buf_create_at(self->fd, length, DMAPLANE_NODE_ANY, flag, &buffer));
		ASSERT_EQ(0, buf_query(self->fd, buffer.handle, &query, nodes));
		for (unsigned int order = 0; order < DMAPLANE_BLOCK_ORDERS; order++)
			pages += (uint64_t)query.blocks[order] << order;
		EXPECT_EQ(query.pages, pages);
		EXPECT_EQ(0, query.nodes);
		EXPECT_EQ(0, query.moves);
		if (flag == DMAPLANE_BUF_HUGE) {
			uint64_t blocks = (length + DMAPLANE_HUGE_SIZE - 1) / DMAPLANE_HUGE_SIZE;

			EXPECT_EQ(blocks * DMAPLANE_HUGE_SIZE, query.length);
			EXPECT_EQ(blocks, query.blocks[DMAPLANE_BLOCK_ORDERS - 1]);
		} else {
			EXPECT_EQ(length, query.length);
		}
		EXPECT_EQ(0, buf_destroy(self->fd, buffer.handle));
	}
}

TEST_F(buffers, query_errors)
{
	uint64_t nodes[MAX_NODES + 1];
	struct dmaplane_buf_query query;
	struct buffer buffer;

	ASSERT_EQ(0, buf_create_at(self->fd, 3 * PAGE, 0, DMAPLANE_BUF_NODE_STRICT, &buffer));
	query = ARG(buf_query, .handle = buffer.handle, .node_pages = (uintptr_t)nodes);
	EXPECT_EQ(-ENOBUFS, cmd(self->fd, DMAPLANE_IOC_BUF_QUERY, &query));
	query.nr_nodes = self->info.nr_nodes - 1;
	EXPECT_EQ(-ENOBUFS, cmd(self->fd, DMAPLANE_IOC_BUF_QUERY, &query));
	query.nr_nodes = self->info.nr_nodes;
	query.node_pages = 16;
	EXPECT_EQ(-EFAULT, cmd(self->fd, DMAPLANE_IOC_BUF_QUERY, &query));
	query.node_pages = (uintptr_t)-8;
	EXPECT_EQ(-EFAULT, cmd(self->fd, DMAPLANE_IOC_BUF_QUERY, &query));
	EXPECT_EQ(0, query.length);

	/* It writes as many entries as there are nodes, whatever room there is. */
	memset(nodes, 0xee, sizeof(nodes));
	query.nr_nodes = UINT32_MAX;
	query.node_pages = (uintptr_t)nodes;
	ASSERT_EQ(0, cmd(self->fd, DMAPLANE_IOC_BUF_QUERY, &query));
	EXPECT_EQ(self->info.nr_nodes, query.nr_nodes);
	EXPECT_EQ(3, nodes[0]);
	EXPECT_EQ(0xeeeeeeeeeeeeeeeeULL, nodes[self->info.nr_nodes]);
	EXPECT_EQ(0, query.node);
	EXPECT_EQ(DMAPLANE_BUF_NODE_STRICT, query.create_flags);
}

/* Memory that others have written to comes back as zeros. */
TEST_F(buffers, zeroed)
{
	const uint64_t lengths[] = { PAGE, 3 * PAGE, (2 << 20) + PAGE, 16 << 20 };
	struct buffer buffer;

	for (int round = 0; round < 3; round++)
		for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
			uint8_t *at;

			ASSERT_EQ(0, buf_create(self->fd, lengths[i], &buffer));
			at = buf_map(self->fd, &buffer);
			ASSERT_NE(MAP_FAILED, at);
			ASSERT_EQ(lengths[i], first_not(at, lengths[i], 0));
			memset(at, 0xd7, lengths[i]);
			ASSERT_EQ(0, munmap(at, lengths[i]));
			ASSERT_EQ(0, buf_destroy(self->fd, buffer.handle));
		}
}

TEST_F(buffers, thousand_contexts)
{
	struct dmaplane_stats stats, zero = ARG(stats);
	struct buffer buffer;

	for (int i = 0; i < 1000; i++) {
		int fd = open_device();
		uint8_t *at;

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, buf_create(fd, 2 * PAGE, &buffer));
		at = buf_map(fd, &buffer);
		ASSERT_NE(MAP_FAILED, at);
		at[PAGE] = i;
		/* In several orders of the three ends. */
		if (i % 3 == 0) {
			ASSERT_EQ(0, munmap(at, 2 * PAGE));
		}
		if (i % 2) {
			ASSERT_EQ(0, buf_destroy(fd, buffer.handle));
		}
		ASSERT_EQ(0, close(fd));
		if (i % 3) {
			ASSERT_EQ(0, munmap(at, 2 * PAGE));
		}
	}
	ASSERT_EQ(0, get_stats(self->fd, &stats));
	EXPECT_EQ(0, memcmp(&zero, &stats, sizeof(stats)));
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 1)) TH_LOG("%ld contexts", live("contexts"));
	EXPECT_EQ(0, live("buffers"));
	EXPECT_EQ(0, live("buffer_bytes"));
}

/* More than there is: an error, no harm to others. */
TEST_F(buffers, more_than_the_machine_has)
{
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * PAGE;
	struct dmaplane_stats stats;
	struct buffer buffer;

	if (self->info.max_buffer < memory * 2)
		memory = self->info.max_buffer / 2;
	EXPECT_EQ(-ENOMEM, buf_create(self->fd, memory * 2, &buffer));
	ASSERT_EQ(0, get_stats(self->fd, &stats));
	EXPECT_EQ(0, stats.buffer_bytes);
	EXPECT_EQ(0, buf_create(self->fd, PAGE, &buffer));
}

/* Limits of one context and of all, for root as well: the rest of a refusal is nothing. */
TEST_F(buffers, limits)
{
	const char *const paths[] = { PARAMETER("max_context_mib"), PARAMETER("max_memory_mib") };
	struct dmaplane_channel_create channel = ARG(channel_create, .sq_entries = 4,
						     .cq_entries = 4);
	int other = open_device();

	ASSERT_LE(0, other);
	EXPECT_EQ(INT64_MAX, self->info.max_memory);
	EXPECT_EQ(INT64_MAX, self->info.max_context_memory);
	for (int all = 0; all < 2; all++) {
		struct buffer first, buffer;
		struct dmaplane_info info;
		struct dmaplane_stats stats;

		ASSERT_EQ(0, set_limit(paths[all], 4));
		EXPECT_EQ(0, get_info(self->fd, &info));
		EXPECT_EQ(all ? INT64_MAX : 4 << 20, info.max_context_memory);
		EXPECT_EQ(all ? 4 << 20 : INT64_MAX, info.max_memory);
		EXPECT_EQ(-EDQUOT, buf_create(self->fd, (4 << 20) + 1, &buffer));
		EXPECT_EQ(-EDQUOT, buf_create_at(self->fd, (4 << 20) + 1, DMAPLANE_NODE_ANY,
						 DMAPLANE_BUF_HUGE, &buffer));
		EXPECT_EQ(0, live("memory_bytes"));
		EXPECT_EQ(0, buf_create(self->fd, 3 << 20, &first));
		EXPECT_EQ(-EDQUOT, buf_create(self->fd, (1 << 20) + 1, &buffer));
		EXPECT_EQ(0, buf_create(self->fd, 1 << 20, &buffer));
		EXPECT_EQ(4 << 20, live("memory_bytes"));
		/* Rings count, and another context does or does not. */
		EXPECT_EQ(-EDQUOT, cmd(self->fd, DMAPLANE_IOC_CHANNEL_CREATE, &channel));
		EXPECT_EQ(all ? -EDQUOT : 0, buf_create(other, 4 << 20, &buffer));
		if (!all) {
			EXPECT_EQ(0, buf_destroy(other, buffer.handle));
		}
		/* One that is lowered refuses what comes, and takes nothing away. */
		EXPECT_EQ(0, set_limit(paths[all], 1));
		EXPECT_EQ(0, buf_destroy(self->fd, first.handle));
		EXPECT_EQ(-EDQUOT, buf_create(self->fd, PAGE, &first));
		ASSERT_EQ(0, get_stats(self->fd, &stats));
		EXPECT_EQ(1, stats.buffers);
		EXPECT_EQ(1 << 20, stats.buffer_bytes);
		EXPECT_EQ(0, set_limit(paths[all], 0));
		EXPECT_EQ(0, buf_create(self->fd, 8 << 20, &first));
		EXPECT_EQ(0, close(self->fd));
		self->fd = open_device();
		ASSERT_LE(0, self->fd);
		EXPECT_TRUE(WAIT_FOR(live("memory_bytes") == 0));
	}
	EXPECT_EQ(0, close(other));
}

TEST_F(buffers, fdinfo)
{
	struct dmaplane_channel_create channel = ARG(channel_create, .sq_entries = 4,
						     .cq_entries = 4);
	struct buffer buffers[2];
	uint8_t *at;

	EXPECT_EQ(0, fdinfo(self->fd, "buffers"));
	EXPECT_EQ(0, fdinfo(self->fd, "memory-bytes"));
	EXPECT_EQ(0, fdinfo(self->fd, "mappings"));
	EXPECT_EQ(-1, fdinfo(self->fd, "node0-bytes"));
	ASSERT_EQ(0, buf_create_at(self->fd, 3 * PAGE, 0, DMAPLANE_BUF_NODE_STRICT, &buffers[0]));
	ASSERT_EQ(0, buf_create_at(self->fd, 4 << 20, 0, DMAPLANE_BUF_NODE_STRICT, &buffers[1]));
	ASSERT_EQ(0, cmd(self->fd, DMAPLANE_IOC_CHANNEL_CREATE, &channel));
	at = buf_map(self->fd, &buffers[1]);
	ASSERT_NE(MAP_FAILED, at);
	EXPECT_EQ(2, fdinfo(self->fd, "buffers"));
	EXPECT_EQ(3 * PAGE + (4 << 20), fdinfo(self->fd, "buffer-bytes"));
	EXPECT_EQ(3 * PAGE + (4 << 20) + channel.mmap_length, fdinfo(self->fd, "memory-bytes"));
	EXPECT_EQ(3 * PAGE + (4 << 20), fdinfo(self->fd, "node0-bytes"));
	EXPECT_EQ(0, fdinfo(self->fd, "regions"));
	EXPECT_EQ(0, fdinfo(self->fd, "endpoints"));
	EXPECT_EQ(1, fdinfo(self->fd, "channels"));
	EXPECT_EQ(1, fdinfo(self->fd, "mappings"));
	/* What has no handle is alive, and no longer found. */
	EXPECT_EQ(0, buf_destroy(self->fd, buffers[1].handle));
	EXPECT_EQ(2, fdinfo(self->fd, "buffers"));
	EXPECT_EQ(0, fdinfo(self->fd, "mappings"));
	EXPECT_EQ(3 * PAGE, fdinfo(self->fd, "node0-bytes"));
	EXPECT_EQ(0, munmap(at, 4 << 20));
	EXPECT_EQ(1, fdinfo(self->fd, "buffers"));
}

#define LIMIT	(1 << 20)
#define USER	65534

/* Becomes a user without capabilities who may lock LIMIT bytes. */
static int open_as_user(void)
{
	struct rlimit limit = { LIMIT, LIMIT };

	if (setrlimit(RLIMIT_MEMLOCK, &limit) || setgid(USER) || setuid(USER))
		return -errno;
	return open_device();
}

/* The counts of successes tell what the limit allows; each step's number is the failed one. */
static int spend_the_limit(void *arg)
{
	struct dmaplane_channel_create channel = ARG(channel_create, .sq_entries = 4,
						     .cq_entries = 4);
	struct buffer first, buffer;
	int fd = open_as_user(), other, ret, count = 0;
	uint8_t *at;

	(void)arg;
	if (fd < 0)
		return 1;
	if (buf_create(fd, LIMIT + 1, &buffer) != -EDQUOT)
		return 2;
	if (buf_create(fd, LIMIT, &buffer) || buf_destroy(fd, buffer.handle))
		return 3;
	if (buf_create(fd, 16 * PAGE, &first))
		return 4;
	while (!(ret = buf_create(fd, 16 * PAGE, &buffer)))
		count++;
	if (ret != -EDQUOT || count != LIMIT / (16 * PAGE) - 1)
		return 5;
	/* The limit is the user's, not the context's; rings count too. */
	other = open_device();
	if (other < 0 || buf_create(other, 1, &buffer) != -EDQUOT)
		return 6;
	if (cmd(fd, DMAPLANE_IOC_CHANNEL_CREATE, &channel) != -EDQUOT)
		return 7;
	/* What lives counts, whether it has a handle or not. */
	at = buf_map(fd, &first);
	if (at == MAP_FAILED || buf_destroy(fd, first.handle))
		return 8;
	if (buf_create(fd, 16 * PAGE, &buffer) != -EDQUOT)
		return 9;
	if (munmap(at, 16 * PAGE) || buf_create(fd, 16 * PAGE, &buffer))
		return 10;
	if (buf_create(fd, 1, &buffer) != -EDQUOT)
		return 11;
	close(fd);
	if (buf_create(other, LIMIT, &buffer))
		return 12;
	return 0;
}

TEST_F(buffers, memory_is_charged_to_the_user)
{
	struct stat before;
	int status;

	ASSERT_EQ(0, stat(DEVICE, &before));
	ASSERT_EQ(0, chmod(DEVICE, 0666));
	for (int again = 0; again < 2; again++) {
		status = in_child(spend_the_limit, NULL);
		EXPECT_TRUE(WIFEXITED(status));
		EXPECT_EQ(0, WEXITSTATUS(status)) TH_LOG("at that step of spend_the_limit()");
	}
	EXPECT_EQ(0, chmod(DEVICE, before.st_mode & 07777));
}

TEST_HARNESS_MAIN
