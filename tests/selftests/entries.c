// SPDX-License-Identifier: GPL-2.0
/*
 * What a WRITE_IMM, a registration and a lease may not be: bounds, access,
 * foreign fabrics. A wrong entry completes with its errno and harms nobody; a
 * write that the peer's adapter must refuse never lands.
 */
#include "pair.h"
#include "harness.h"

#define PAGE	4096ULL
#define LENGTH	(8 * PAGE)

FIXTURE(entries) {
	struct pair p;
	struct memory from, to;
	uint32_t lease;
};

FIXTURE_SETUP(entries)
{
	self->p.a.send_depth = 1;
	ASSERT_EQ(0, pair_open(&self->p));
	ASSERT_EQ(0, memory_make(&self->p.a, LENGTH, 0, &self->from));
	ASSERT_EQ(0, target(&self->p.b, &self->p.a, LENGTH, &self->to, &self->lease));
	memset(self->from.at, 0x33, LENGTH);
	memset(self->to.at, 0x77, LENGTH);
}

FIXTURE_TEARDOWN(entries)
{
	pair_close(&self->p);
}

/* The connection still works, and nothing has arrived meanwhile. */
static void still_works(struct __test_metadata *_metadata, FIXTURE_DATA(entries) *self)
{
	struct dmaplane_sqe sqe = write_imm(&self->p.a, self->from.region, self->lease, 0, 0,
					    100, 7);
	struct dmaplane_cqe cqe;

	ASSERT_EQ(0, fence(&self->p.a, &self->p.b));
	EXPECT_EQ(LENGTH, first_not(self->to.at, LENGTH, 0x77));
	EXPECT_EQ(0, channel_available(&self->p.b.ch));
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(self->p.a.fd, self->p.a.endpoint));
	ASSERT_EQ(0, channel_do(&self->p.a.ch, &sqe, &cqe));
	EXPECT_EQ(written(&self->p.a, 100), cqe.res);
	if (!can_write(&self->p.a)) {
		EXPECT_EQ(0, cqe.wc_status);
		ASSERT_EQ(0, fence(&self->p.a, &self->p.b));
		EXPECT_EQ(0, channel_available(&self->p.b.ch));
		EXPECT_EQ(LENGTH, first_not(self->to.at, LENGTH, 0x77));
		EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(self->p.a.fd, self->p.a.endpoint));
		return;
	}
	ASSERT_EQ(0, channel_next(&self->p.b.ch, &cqe));
	EXPECT_EQ(7, cqe.imm);
	EXPECT_EQ(100, first_not(self->to.at, 100, 0x33));
}

TEST_F(entries, wrong_in_themselves)
{
	struct dmaplane_sqe good = write_imm(&self->p.a, self->from.region, self->lease, 0, 0,
					     PAGE, 1);
	struct dmaplane_info info;
	struct dmaplane_cqe cqe;

	ASSERT_EQ(0, get_info(self->p.a.fd, &info));
#define EXPECT_RES(result, ...) do {						\
		struct dmaplane_sqe sqe = good;					\
										\
		__VA_ARGS__;							\
		ASSERT_EQ(0, channel_do(&self->p.a.ch, &sqe, &cqe));		\
		EXPECT_EQ(result, cqe.res) {					\
			TH_LOG("%s", #__VA_ARGS__);				\
		}								\
		EXPECT_EQ(1, cqe.user_data);					\
		EXPECT_EQ(0, cqe.wc_status);					\
	} while (0)

	EXPECT_RES(-EINVAL, sqe.flags = 64);
	EXPECT_RES(-EINVAL, sqe.pad0 = 1);
	EXPECT_RES(-EINVAL, sqe.list_offset = 1);
	EXPECT_RES(-EOPNOTSUPP, sqe.opcode = 77);
	EXPECT_RES(-ENOENT, sqe.endpoint = 0);
	EXPECT_RES(-ENOENT, sqe.endpoint = 0xdeadbeef);
	EXPECT_RES(-EBADF, sqe.endpoint = self->from.region);
	EXPECT_RES(-EBADF, sqe.endpoint = self->from.buffer.handle);
	EXPECT_RES(-ENOENT, sqe.region = 0);
	EXPECT_RES(-ENOENT, sqe.region = 0xdeadbeef);
	EXPECT_RES(-EBADF, sqe.region = self->p.a.endpoint);
	EXPECT_RES(-EBADF, sqe.region = self->from.buffer.handle);
	EXPECT_RES(-ENOKEY, sqe.lease = 0xdeadbeef);
	EXPECT_RES(-ENOKEY, sqe.lease = self->lease + 1);
	EXPECT_RES(-EOVERFLOW, sqe.local_offset = UINT64_MAX);
	EXPECT_RES(-EOVERFLOW, sqe.local_offset = UINT64_MAX - PAGE + 1);
	EXPECT_RES(-EOVERFLOW, sqe.remote_offset = UINT64_MAX);
	EXPECT_RES(-EOVERFLOW, sqe.remote_offset = UINT64_MAX - PAGE + 1);
	EXPECT_RES(-ERANGE, sqe.local_offset = UINT64_MAX - PAGE);
	EXPECT_RES(-ERANGE, sqe.local_offset = LENGTH - PAGE + 1);
	EXPECT_RES(-ERANGE, sqe.local_offset = LENGTH);
	EXPECT_RES(-ERANGE, sqe.local_offset = LENGTH + 1, sqe.length = 0);
	EXPECT_RES(-ERANGE, sqe.remote_offset = UINT64_MAX - PAGE);
	EXPECT_RES(-ERANGE, sqe.remote_offset = LENGTH - PAGE + 1);
	EXPECT_RES(-ERANGE, sqe.remote_offset = 1ULL << 63);
	EXPECT_RES(-ERANGE, sqe.length = LENGTH + 1);
	if (info.max_transfer < UINT32_MAX) {
		EXPECT_RES(-EFBIG, sqe.length = info.max_transfer + 1);
		EXPECT_RES(-EFBIG, sqe.length = UINT32_MAX);
	}
	still_works(_metadata, self);
}

TEST_F(entries, registrations)
{
	int fd = self->p.b.fd;
	uint32_t endpoint = self->p.b.endpoint, buffer = self->to.buffer.handle, region;
	struct dmaplane_stats before, after;

	ASSERT_EQ(0, get_stats(fd, &before));
	EXPECT_EQ(-EINVAL, region_register(fd, endpoint, buffer, 0, 0, 0, &region));
	EXPECT_EQ(-EINVAL, region_register(fd, endpoint, buffer, 1, 4096, 0, &region));
	EXPECT_EQ(-EINVAL, region_register(fd, endpoint, buffer, 2048, 1, 0, &region));
	EXPECT_EQ(-EINVAL, region_register(fd, endpoint, buffer, 0, 1, 8, &region));
	EXPECT_EQ(-EINVAL, region_register(fd, endpoint, buffer, 0, 1, 1U << 31, &region));
	EXPECT_EQ(-ERANGE, region_register(fd, endpoint, buffer, 0, LENGTH + 1, 0, &region));
	EXPECT_EQ(-ERANGE, region_register(fd, endpoint, buffer, LENGTH, 1, 0, &region));
	EXPECT_EQ(-ERANGE, region_register(fd, endpoint, buffer, LENGTH - PAGE, PAGE + 1, 0,
					   &region));
	EXPECT_EQ(-ERANGE, region_register(fd, endpoint, buffer, 1ULL << 62, PAGE, 0, &region));
	EXPECT_EQ(-ERANGE, region_register(fd, endpoint, buffer, 0, UINT64_MAX, 0, &region));
	EXPECT_EQ(-EOVERFLOW, region_register(fd, endpoint, buffer, PAGE, UINT64_MAX, 0, &region));
	EXPECT_EQ(-EOVERFLOW, region_register(fd, endpoint, buffer, -PAGE, PAGE, 0, &region));
	EXPECT_EQ(-ENOENT, region_register(fd, endpoint, 0, 0, PAGE, 0, &region));
	EXPECT_EQ(-ENOENT, region_register(fd, endpoint, 0xdeadbeef, 0, PAGE, 0, &region));
	EXPECT_EQ(-EBADF, region_register(fd, endpoint, self->to.region, 0, PAGE, 0, &region));
	EXPECT_EQ(-EBADF, region_register(fd, endpoint, endpoint, 0, PAGE, 0, &region));
	EXPECT_EQ(-EBADF, region_register(fd, buffer, buffer, 0, PAGE, 0, &region));
	ASSERT_EQ(0, get_stats(fd, &after));
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(after)));
	EXPECT_EQ(-EBADF, buf_destroy(fd, self->to.region));
	EXPECT_EQ(-EBADF, region_deregister(fd, buffer));
	EXPECT_EQ(0, region_register(fd, endpoint, buffer, LENGTH - PAGE, PAGE, 0, &region));
	EXPECT_EQ(0, region_deregister(fd, region));
	EXPECT_EQ(-ENOENT, region_deregister(fd, region));
	still_works(_metadata, self);
}

TEST_F(entries, leases)
{
	struct dmaplane_lease_wait got;
	struct pair *p = &self->p;
	struct memory local;
	uint32_t lease;
	int ret, granted = 1; /* that of the fixture */

	ASSERT_EQ(0, memory_make(&p->b, PAGE, 0, &local));
	EXPECT_EQ(-EACCES, lease_grant(&p->b, local.region, 0, &lease));
	EXPECT_EQ(-ENOENT, lease_grant(&p->b, 0, 0, &lease));
	EXPECT_EQ(-ENOENT, lease_grant(&p->b, 0xdeadbeef, 0, &lease));
	EXPECT_EQ(-EBADF, lease_grant(&p->b, self->to.buffer.handle, 0, &lease));
	EXPECT_EQ(-EBADF, lease_grant(&p->b, p->b.endpoint, 0, &lease));
	EXPECT_EQ(-ETIME, lease_wait(&p->a, 0, &got));
	EXPECT_EQ(-ETIME, lease_wait(&p->a, 20 * MS, &got));
	alarm_every(20, SA_RESTART);
	EXPECT_EQ(-EINTR, lease_wait(&p->a, DMAPLANE_FOREVER, &got));
	alarm_stop();
	/* The same region may be leased often; each is reported once, in order. */
	while (!(ret = lease_grant(&p->b, self->to.region, granted, &lease))) {
		ASSERT_EQ(0, lease_wait(&p->a, PATIENCE, &got));
		EXPECT_EQ(lease, got.lease);
		EXPECT_EQ(granted, got.tag);
		EXPECT_EQ(LENGTH, got.length);
		granted++;
		ASSERT_GE(64, granted);
	}
	EXPECT_EQ(-EMFILE, ret);
	EXPECT_EQ(64, granted);
	EXPECT_EQ(-ETIME, lease_wait(&p->a, 0, &got));
	still_works(_metadata, self);
}

/* One context with an endpoint on each of two devices. */
TEST_F(entries, two_fabrics)
{
	struct pair other = { .host = ADDRESS_OTHER, .a = self->p.a, .b = self->p.b };
	struct dmaplane_cqe cqe;
	struct dmaplane_sqe sqe;
	struct memory from, to;
	uint32_t lease;

	ASSERT_EQ(0, pair_connect(&other));
	ASSERT_EQ(0, memory_make(&other.a, PAGE, 0, &from));
	ASSERT_EQ(0, target(&other.b, &other.a, PAGE, &to, &lease));
	EXPECT_EQ(-EXDEV, lease_grant(&self->p.b, to.region, 0, &lease));
	sqe = write_imm(&self->p.a, from.region, self->lease, 0, 0, 1, 0);
	ASSERT_EQ(0, channel_do(&self->p.a.ch, &sqe, &cqe));
	EXPECT_EQ(-EXDEV, cqe.res);
	sqe = write_imm(&other.a, self->from.region, lease, 0, 0, 1, 0);
	ASSERT_EQ(0, channel_do(&self->p.a.ch, &sqe, &cqe));
	EXPECT_EQ(-EXDEV, cqe.res);
	still_works(_metadata, self);
}

/* More pieces than send_depth, which is 1 here: they are sent one after the other. */
TEST_F(entries, more_pieces_than_depth)
{
	struct dmaplane_fabric fabric;
	struct pair *p = &self->p;
	struct dmaplane_cqe cqe;
	struct dmaplane_sqe sqe;
	struct memory from, to;
	uint32_t lease;

	ASSERT_EQ(0, fabric_of(&p->a, &fabric));
	ASSERT_EQ(0, memory_make(&p->a, fabric.max_segment + PAGE, 0, &from));
	ASSERT_EQ(0, target(&p->b, &p->a, fabric.max_segment + PAGE, &to, &lease));
	sqe = write_imm(&p->a, from.region, lease, 0, fabric.max_segment - 1, 2, 1);
	ASSERT_EQ(0, channel_do(&p->a.ch, &sqe, &cqe));
	EXPECT_EQ(written(&p->a, 2), cqe.res);
	if (!can_write(&p->a))
		return;
	ASSERT_EQ(0, channel_next(&p->b.ch, &cqe));
	EXPECT_EQ(1, cqe.imm);
	EXPECT_EQ(1, cqe.res);
	still_works(_metadata, self);
}

/* A region serves every endpoint of its fabric, and outlives the one it was made with. */
TEST_F(entries, region_of_a_closed_endpoint)
{
	struct pair second = { .a = self->p.a, .b = self->p.b };
	struct dmaplane_lease_wait got;
	struct dmaplane_cqe cqe;
	struct dmaplane_sqe sqe;

	ASSERT_EQ(0, pair_connect(&second));
	EXPECT_EQ(0, endpoint_close(self->p.a.fd, self->p.a.endpoint));
	EXPECT_EQ(0, endpoint_close(self->p.b.fd, self->p.b.endpoint));
	ASSERT_EQ(0, lease_grant(&second.b, self->to.region, 5, &self->lease));
	ASSERT_EQ(0, lease_wait(&second.a, PATIENCE, &got));
	sqe = write_imm(&second.a, self->from.region, got.lease, 1, 2, 3000, 9);
	ASSERT_EQ(0, channel_do(&self->p.a.ch, &sqe, &cqe));
	EXPECT_EQ(written(&second.a, 3000), cqe.res);
	if (!can_write(&second.a))
		return;
	ASSERT_EQ(0, channel_next(&self->p.b.ch, &cqe));
	EXPECT_EQ(second.b.endpoint, cqe.endpoint);
	EXPECT_EQ(3000, first_not(self->to.at + 2, 3000, 0x33));
}

/* The memory of a destroyed buffer stays where a region holds it. */
TEST_F(entries, buffer_destroyed_under_a_region)
{
	struct dmaplane_stats stats;

	EXPECT_EQ(0, buf_destroy(self->p.a.fd, self->from.buffer.handle));
	EXPECT_EQ(0, buf_destroy(self->p.b.fd, self->to.buffer.handle));
	still_works(_metadata, self);
	EXPECT_EQ(0, munmap(self->to.at, LENGTH));
	ASSERT_EQ(0, get_stats(self->p.b.fd, &stats));
	EXPECT_EQ(1, stats.buffers);
	EXPECT_EQ(0, region_deregister(self->p.b.fd, self->to.region));
	ASSERT_EQ(0, get_stats(self->p.b.fd, &stats));
	EXPECT_EQ(0, stats.buffers);
	EXPECT_EQ(0, stats.buffer_bytes);
}

/* A late write: the region is gone, its memory belongs to others. */
TEST_F(entries, write_to_a_deregistered_region)
{
	struct dmaplane_endpoint_query got;
	struct pair *p = &self->p;
	struct buffer others[32];
	uint8_t *at[32];
	struct dmaplane_cqe cqe;
	struct dmaplane_sqe sqe;

	EXPECT_EQ(0, region_deregister(p->b.fd, self->to.region));
	EXPECT_EQ(0, munmap(self->to.at, LENGTH));
	EXPECT_EQ(0, buf_destroy(p->b.fd, self->to.buffer.handle));
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		ASSERT_EQ(0, buf_create(p->b.fd, LENGTH, &others[i]));
		at[i] = buf_map(p->b.fd, &others[i]);
		ASSERT_NE(MAP_FAILED, at[i]);
		memset(at[i], 0x99, LENGTH);
	}
	sqe = write_imm(&p->a, self->from.region, self->lease, 0, 0, LENGTH, 1);
	ASSERT_EQ(0, channel_do(&p->a.ch, &sqe, &cqe));
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		EXPECT_EQ(LENGTH, first_not(at[i], LENGTH, 0x99));
	}
	if (!can_write(&p->a)) {
		EXPECT_EQ(-EOPNOTSUPP, cqe.res);
		EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(p->a.fd, p->a.endpoint));
		return;
	}
	/* The refusal and the end of the connection that it causes travel separately. */
	if (cqe.res != -ECONNRESET) {
		EXPECT_EQ(-EREMOTEIO, cqe.res);
	}
	EXPECT_NE(0, cqe.wc_status);
	EXPECT_TRUE(WAIT_FOR(state_of(p->a.fd, p->a.endpoint) == DMAPLANE_STATE_ERROR));
	ASSERT_EQ(0, query(p->a.fd, p->a.endpoint, &got));
	EXPECT_EQ(cqe.res == -ECONNRESET ? 0 : cqe.wc_status, got.wc_status);
	EXPECT_NE(0, got.error);
	EXPECT_TRUE(WAIT_FOR(state_of(p->b.fd, p->b.endpoint) == DMAPLANE_STATE_ERROR));
	EXPECT_FALSE(channel_reap(&p->b.ch, &cqe));
}

TEST_HARNESS_MAIN
