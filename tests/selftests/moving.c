// SPDX-License-Identifier: GPL-2.0
/*
 * COPY and FILL: what is moved and what is not, short and long, and what a wrong
 * entry says.
 */
#include "ring.h"
#include "harness.h"

#define PAGE	4096ULL
#define LENGTH	(4 << 20)
#define LONG	(1 << 20)	/* done by a worker, in pieces */

FIXTURE(moving) {
	int fd;
	struct channel c;
	struct buffer from, to;
	uint8_t *src, *dst;
};

FIXTURE_SETUP(moving)
{
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, channel_open(self->fd, 8, 8, &self->c));
	ASSERT_EQ(0, buf_create(self->fd, LENGTH, &self->from));
	ASSERT_EQ(0, buf_create(self->fd, LENGTH, &self->to));
	self->src = map_at(self->fd, LENGTH, self->from.offset);
	self->dst = map_at(self->fd, LENGTH, self->to.offset);
	ASSERT_NE(MAP_FAILED, self->src);
	ASSERT_NE(MAP_FAILED, self->dst);
	for (size_t i = 0; i < LENGTH; i++)
		self->src[i] = i * 7 + i / 251;
}

FIXTURE_TEARDOWN(moving)
{
	munmap(self->src, LENGTH);
	munmap(self->dst, LENGTH);
	munmap(self->c.ring, self->c.length);
	EXPECT_EQ(0, close(self->fd));
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("buffers"));
	EXPECT_EQ(0, live("buffer_bytes"));
}

static const size_t lengths[] = { 0, 1, 7, 4095, 4096, 4097, 65535, 65536, 65537,
				  LONG, LONG + 1, 3 * LONG + 4097 };
static const size_t offsets[] = { 0, 1, 4095, 4096, 70001 };

TEST_F(moving, copies)
{
	for (size_t i = 0; i < ARRAY_LEN(lengths); i++)
		for (size_t j = 0; j < ARRAY_LEN(offsets) * ARRAY_LEN(offsets); j++) {
			size_t length = lengths[i], from = offsets[j % ARRAY_LEN(offsets)];
			size_t to = offsets[j / ARRAY_LEN(offsets)];
			struct dmaplane_sqe sqe = copy_buffer(self->from.handle, from, self->to.handle, to,
						       length);
			struct dmaplane_cqe cqe;

			memset(self->dst, 0xee, LENGTH);
			sqe.user_data = i;
			ASSERT_EQ(0, channel_do(&self->c, &sqe, &cqe));
			ASSERT_EQ(length, cqe.res);
			EXPECT_EQ(i, cqe.user_data);
			EXPECT_EQ(DMAPLANE_OP_COPY, cqe.opcode);
			EXPECT_EQ(0, cqe.endpoint);
			EXPECT_EQ(0, memcmp(self->src + from, self->dst + to, length));
			EXPECT_EQ(to, first_not(self->dst, to, 0xee));
			EXPECT_EQ(LENGTH - to - length,
				  first_not(self->dst + to + length, LENGTH - to - length, 0xee));
		}
}

TEST_F(moving, fills)
{
	for (size_t i = 0; i < ARRAY_LEN(lengths); i++)
		for (size_t j = 0; j < ARRAY_LEN(offsets); j++) {
			struct dmaplane_sqe sqe = fill_buffer(self->to.handle, offsets[j], lengths[i], 0xa5);
			size_t end = offsets[j] + lengths[i];
			struct dmaplane_cqe cqe;

			memset(self->dst, 0xee, LENGTH);
			ASSERT_EQ(0, channel_do(&self->c, &sqe, &cqe));
			ASSERT_EQ(lengths[i], cqe.res);
			EXPECT_EQ(DMAPLANE_OP_FILL, cqe.opcode);
			EXPECT_EQ(offsets[j], first_not(self->dst, offsets[j], 0xee));
			EXPECT_EQ(lengths[i], first_not(self->dst + offsets[j], lengths[i], 0xa5));
			EXPECT_EQ(LENGTH - end, first_not(self->dst + end, LENGTH - end, 0xee));
		}
}

TEST_F(moving, within_a_buffer)
{
	const struct { size_t from, to, length; int res; } cases[] = {
		{ 0, 4096, 4096, 4096 }, { 4096, 0, 4096, 4096 }, { 1, 101, 100, 100 },
		{ 0, LONG, LONG, LONG }, { 0, 0, 0, 0 }, { 5, 5, 0, 0 },
		{ 0, 0, 1, -EINVAL }, { 0, 4095, 4096, -EINVAL }, { 4095, 0, 4096, -EINVAL },
		{ 0, LONG - 1, LONG, -EINVAL }, { 1, 100, 100, -EINVAL },
	};
	uint8_t *before = malloc(LENGTH);

	ASSERT_NE(NULL, before);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct dmaplane_sqe sqe = copy_buffer(self->from.handle, cases[i].from, self->from.handle,
					       cases[i].to, cases[i].length);
		struct dmaplane_cqe cqe;

		memcpy(before, self->src, LENGTH);
		ASSERT_EQ(0, channel_do(&self->c, &sqe, &cqe));
		EXPECT_EQ(cases[i].res, cqe.res) TH_LOG("%zu", i);
		if (cqe.res > 0)
			memcpy(before + cases[i].to, before + cases[i].from, cases[i].length);
		EXPECT_EQ(0, memcmp(before, self->src, LENGTH));
	}
	free(before);
}

TEST_F(moving, wrong)
{
	struct dmaplane_sqe good = copy_buffer(self->from.handle, 0, self->to.handle, 0, PAGE);
	struct dmaplane_info info;
	struct dmaplane_cqe cqe;

	ASSERT_EQ(0, get_info(self->fd, &info));
#define EXPECT_RES(result, ...) do {						\
		struct dmaplane_sqe sqe = good;					\
										\
		__VA_ARGS__;							\
		ASSERT_EQ(0, channel_do(&self->c, &sqe, &cqe));			\
		EXPECT_EQ(result, cqe.res) {					\
			TH_LOG("%s", #__VA_ARGS__);				\
		}								\
	} while (0)
	for (int op = 0; op < 2; op++) {
		if (op)
			good = fill_buffer(self->to.handle, 0, PAGE, 1);
		EXPECT_RES(-EINVAL, sqe.flags = 8);
		EXPECT_RES(-EINVAL, sqe.flags = 0x80);
		EXPECT_RES(-EINVAL, sqe.pad0 = 1);
		EXPECT_RES(-EINVAL, sqe.list_offset = 1);
		EXPECT_RES(-EINVAL, sqe.endpoint = 1);
		EXPECT_RES(-ENOENT, sqe.lease = 0);
		EXPECT_RES(-ENOENT, sqe.lease = 0xdeadbeef);
		EXPECT_RES(-EBADF, sqe.lease = self->c.handle);
		EXPECT_RES(-EOVERFLOW, sqe.remote_offset = UINT64_MAX);
		EXPECT_RES(-EOVERFLOW, sqe.remote_offset = UINT64_MAX - PAGE + 1);
		EXPECT_RES(-ERANGE, sqe.remote_offset = UINT64_MAX - PAGE);
		EXPECT_RES(-ERANGE, sqe.remote_offset = LENGTH - PAGE + 1);
		EXPECT_RES(-ERANGE, sqe.remote_offset = LENGTH + 1, sqe.length = 0);
		EXPECT_RES(-ERANGE, sqe.length = LENGTH + 1);
		EXPECT_RES(-EFBIG, sqe.length = info.max_transfer + 1);
		EXPECT_RES(-EFBIG, sqe.length = UINT32_MAX);
		EXPECT_RES(op ? 4 : -EINVAL, sqe.imm = 255, sqe.length = 4);
	}
	EXPECT_RES(-EINVAL, sqe.imm = 256);
	EXPECT_RES(-EINVAL, sqe.imm = UINT32_MAX);
	EXPECT_RES(-EINVAL, sqe.region = self->from.handle);
	EXPECT_RES(-EINVAL, sqe.local_offset = 1);
	good = copy_buffer(self->from.handle, 0, self->to.handle, 0, PAGE);
	EXPECT_RES(-ENOENT, sqe.region = 0);
	EXPECT_RES(-ENOENT, sqe.region = 0xdeadbeef);
	EXPECT_RES(-EBADF, sqe.region = self->c.handle);
	EXPECT_RES(-EOVERFLOW, sqe.local_offset = UINT64_MAX);
	EXPECT_RES(-ERANGE, sqe.local_offset = LENGTH - PAGE + 1);
#undef EXPECT_RES
	/* Only what was asked for once above was done. */
	EXPECT_EQ(0, memcmp("\xff\xff\xff\xff\0", self->dst, 5));
	EXPECT_EQ(LENGTH - 4, first_not(self->dst + 4, LENGTH - 4, 0));
}

/* Both buffers are destroyed as soon as they were named. */
TEST_F(moving, memory_lives_meanwhile)
{
	struct dmaplane_sqe sqe = copy_buffer(self->from.handle, 0, self->to.handle, 0, LENGTH);
	struct dmaplane_stats stats;
	struct dmaplane_cqe cqe;

	ASSERT_EQ(1, channel_submit(&self->c, &sqe));
	EXPECT_EQ(0, buf_destroy(self->fd, self->from.handle));
	EXPECT_EQ(0, buf_destroy(self->fd, self->to.handle));
	ASSERT_EQ(0, channel_next(&self->c, &cqe));
	EXPECT_EQ(LENGTH, cqe.res);
	EXPECT_EQ(0, memcmp(self->src, self->dst, LENGTH));
	munmap(self->src, LENGTH);
	munmap(self->dst, LENGTH);
	self->src = self->dst = NULL;
	ASSERT_EQ(0, get_stats(self->fd, &stats));
	EXPECT_EQ(0, stats.buffers);
	EXPECT_EQ(0, stats.buffer_bytes);
	ASSERT_EQ(0, channel_do(&self->c, &sqe, &cqe));
	EXPECT_EQ(-ENOENT, cqe.res);
}

/* Many at a time: a channel's go one after the other, and all of them do. */
TEST_F(moving, many)
{
	struct dmaplane_cqe cqe;
	uint64_t seen = 0;

	for (int i = 0; i < 8; i++) {
		struct dmaplane_sqe sqe = fill_buffer(self->to.handle, i * (LENGTH / 8), LENGTH / 8, i + 1);

		sqe.user_data = i;
		ASSERT_EQ(0, channel_push(&self->c, &sqe));
	}
	ASSERT_EQ(8, channel_enter(&self->c, 8, 8, PATIENCE));
	for (int i = 0; i < 8; i++) {
		ASSERT_TRUE(channel_reap(&self->c, &cqe));
		EXPECT_EQ(LENGTH / 8, cqe.res);
		seen |= 1ULL << cqe.user_data;
		EXPECT_EQ(LENGTH / 8, first_not(self->dst + i * (LENGTH / 8), LENGTH / 8, i + 1));
	}
	EXPECT_EQ(0xff, seen);
}

TEST_HARNESS_MAIN
