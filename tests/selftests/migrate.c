// SPDX-License-Identifier: GPL-2.0
/*
 * MIGRATE where there is nowhere to go: what is there already, and what a wrong entry
 * says; and that mappings get pages back that were taken out of them. The rest is in
 * numa_migrate.c.
 */
#include "ring.h"
#include "harness.h"

#define PAGE	4096ULL
#define PAGES	1025ULL
#define LENGTH	(PAGES * PAGE)

FIXTURE(migrate) {
	int fd;
	struct channel c;
	struct buffer buffer;
	uint8_t *at;
};

FIXTURE_SETUP(migrate)
{
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, channel_open(self->fd, 8, 8, &self->c));
	ASSERT_EQ(0, buf_create_at(self->fd, LENGTH, 0, DMAPLANE_BUF_NODE_STRICT, &self->buffer));
	self->at = buf_map(self->fd, &self->buffer);
	ASSERT_NE(MAP_FAILED, self->at);
	fill(self->at, LENGTH, 1);
}

FIXTURE_TEARDOWN(migrate)
{
	munmap(self->at, LENGTH);
	munmap(self->c.ring, self->c.length);
	EXPECT_EQ(0, close(self->fd));
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("buffer_bytes"));
}

TEST_F(migrate, there_already)
{
	struct dmaplane_buf_query query;
	uint64_t nodes[MAX_NODES];
	struct dmaplane_info info;
	struct dmaplane_cqe cqe;

	ASSERT_EQ(0, get_info(self->fd, &info));
	EXPECT_TRUE(info.features & DMAPLANE_FEATURE_MIGRATE);
	for (uint32_t flags = 0; flags <= DMAPLANE_MIGRATE_STRICT; flags++) {
		struct dmaplane_sqe sqe = migrate_buffer(self->buffer.handle, 0, flags);

		sqe.user_data = 7;
		ASSERT_EQ(0, channel_do(&self->c, &sqe, &cqe));
		EXPECT_EQ(0, cqe.res);
		EXPECT_EQ(7, cqe.user_data);
		EXPECT_EQ(DMAPLANE_OP_MIGRATE, cqe.opcode);
		EXPECT_EQ(0, cqe.endpoint);
	}
	ASSERT_EQ(0, buf_query(self->fd, self->buffer.handle, &query, nodes));
	EXPECT_EQ(0, query.moves);
	EXPECT_EQ(0, query.node);
	EXPECT_EQ(PAGES, nodes[0]);
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));
}

TEST_F(migrate, wrong)
{
	struct dmaplane_cqe cqe;

#define EXPECT_RES(result, ...) do {						\
		struct dmaplane_sqe sqe = migrate_buffer(self->buffer.handle, 0, 0);	\
										\
		__VA_ARGS__;							\
		ASSERT_EQ(0, channel_do(&self->c, &sqe, &cqe));			\
		EXPECT_EQ(result, cqe.res) {					\
			TH_LOG("%s", #__VA_ARGS__);				\
		}								\
	} while (0)
	EXPECT_RES(-EINVAL, sqe.flags = DMAPLANE_SQE_FENCE);
	EXPECT_RES(-EINVAL, sqe.flags = 0x80);
	EXPECT_RES(-EINVAL, sqe.pad0 = 1);
	EXPECT_RES(-EINVAL, sqe.endpoint = 1);
	EXPECT_RES(-EINVAL, sqe.region = self->buffer.handle);
	EXPECT_RES(-EINVAL, sqe.local_offset = 1);
	EXPECT_RES(-EINVAL, sqe.length = 1);
	EXPECT_RES(-EINVAL, sqe.list = 1);
	EXPECT_RES(-EINVAL, sqe.list_count = 1);
	EXPECT_RES(-EINVAL, sqe.list_offset = 8);
	EXPECT_RES(-EINVAL, sqe.imm = 2);
	EXPECT_RES(-EINVAL, sqe.imm = UINT32_MAX);
	EXPECT_RES(-ENOENT, sqe.lease = 0);
	EXPECT_RES(-ENOENT, sqe.lease = 0xdeadbeef);
	EXPECT_RES(-EBADF, sqe.lease = self->c.handle);
	EXPECT_RES(-ENXIO, sqe.remote_offset = MAX_NODES - 1);
	EXPECT_RES(-ENXIO, sqe.remote_offset = INT32_MAX);
	EXPECT_RES(-ENXIO, sqe.remote_offset = UINT32_MAX);
	EXPECT_RES(-ENXIO, sqe.remote_offset = 1ULL << 32);
	EXPECT_RES(-ENXIO, sqe.remote_offset = UINT64_MAX);
	EXPECT_RES(0, sqe.imm = DMAPLANE_MIGRATE_STRICT);
#undef EXPECT_RES
}

/* Page tables are a cache of what is there. */
TEST_F(migrate, mappings_come_back)
{
	const struct { uint64_t first, count; } ranges[] = { { 0, 1 }, { 511, 2 }, { 0, PAGES } };
	uint8_t *other = map_at(self->fd, 3 * PAGE, self->buffer.offset + 600 * PAGE);

	ASSERT_NE(MAP_FAILED, other);
	for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
		ASSERT_EQ(0, madvise(self->at + ranges[i].first * PAGE, ranges[i].count * PAGE,
				     MADV_DONTNEED));
		EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));
	}
	ASSERT_EQ(0, madvise(other, 3 * PAGE, MADV_DONTNEED));
	other[2 * PAGE + 5] ^= 0xff;
	EXPECT_EQ(602 * PAGE + 5, first_wrong(self->at, LENGTH, 1));
	other[2 * PAGE + 5] ^= 0xff;
	/* Cut and moved, it shows what it showed. */
	ASSERT_EQ(0, madvise(self->at, LENGTH, MADV_DONTNEED));
	ASSERT_EQ(other, mremap(self->at + 700 * PAGE, 2 * PAGE, 2 * PAGE,
				MREMAP_MAYMOVE | MREMAP_FIXED, other));
	for (uint64_t i = 0; i < 2 * PAGE; i++)
		ASSERT_EQ(pattern(1, 700 * PAGE + i), other[i]);
	EXPECT_EQ(700 * PAGE, first_wrong(self->at, 700 * PAGE, 1));
	EXPECT_EQ(0, munmap(other, 3 * PAGE));
}

/* The system calls that fault pages in by themselves, and a mapping that may only be read. */
TEST_F(migrate, mappings_come_back_to_system_calls)
{
	uint8_t *readable = mmap64(NULL, LENGTH, PROT_READ, MAP_SHARED, self->fd,
				   self->buffer.offset);
	uint8_t bytes[PAGE];
	int fds[2];

	ASSERT_NE(MAP_FAILED, readable);
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, madvise(readable, LENGTH, MADV_DONTNEED));
	ASSERT_EQ(0, madvise(self->at, LENGTH, MADV_DONTNEED));
	ASSERT_EQ(PAGE, write(fds[1], readable + 3 * PAGE, PAGE));
	ASSERT_EQ(PAGE, read(fds[0], self->at + 9 * PAGE, PAGE));
	memcpy(bytes, readable + 9 * PAGE, PAGE);
	EXPECT_EQ(0, memcmp(bytes, readable + 3 * PAGE, PAGE));
	EXPECT_EQ(0, munmap(readable, LENGTH));
	close(fds[0]);
	close(fds[1]);
}

TEST_HARNESS_MAIN
