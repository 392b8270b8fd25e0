// SPDX-License-Identifier: GPL-2.0
/*
 * INVALIDATE, and what else takes memory away that a peer may read or write: it is out of reach
 * then, for whoever had a lease as for entries here. And entries that are wrong.
 */
#include "remote.h"

FIXTURE(revoked) {
	struct pair p;
	struct memory near, far;
	uint32_t lease;
};

FIXTURE_VARIANT(revoked) {
	int opcode;
	bool invalidates;
};

FIXTURE_VARIANT_ADD(revoked, write_deregistered) { .opcode = WRITE };
FIXTURE_VARIANT_ADD(revoked, read_deregistered) { .opcode = READ };
FIXTURE_VARIANT_ADD(revoked, write_invalidated) { .opcode = WRITE, .invalidates = true };
FIXTURE_VARIANT_ADD(revoked, read_invalidated) { .opcode = READ, .invalidates = true };

FIXTURE_SETUP(revoked)
{
	ASSERT_EQ(0, pair_open(&self->p));
	ASSERT_EQ(0, memory_make(&self->p.a, LENGTH, LOCAL_WRITE, &self->near));
	ASSERT_EQ(0, target_for(&self->p.b, &self->p.a, LENGTH, REMOTE_WRITE | REMOTE_READ,
				&self->far, &self->lease));
	memset(self->near.at, GUARD, LENGTH);
	memset(self->far.at, GUARD + 1, LENGTH);
}

FIXTURE_TEARDOWN(revoked)
{
	pair_close(&self->p);
}

/* It is used, taken away, used again: nothing moves then, and the connection ends. */
TEST_F(revoked, at_the_peer)
{
	struct pair *p = &self->p;
	struct dmaplane_endpoint_query got;
	struct dmaplane_cqe cqe;
	struct dmaplane_sqe sqe;
	uint8_t *untouched;

	sqe = remote_sqe(&p->a, READ, self->near.region, self->lease, 0, 0, 1, 1);
	ASSERT_EQ(0, channel_do(&p->a.ch, &sqe, &cqe));
	EXPECT_EQ(1, cqe.res);
	memset(self->near.at, GUARD, LENGTH);
	if (variant->invalidates) {
		sqe = invalidate(self->far.region, 2, 0);
		ASSERT_EQ(0, channel_do(&p->b.ch, &sqe, &cqe));
		EXPECT_EQ(0, cqe.res);
	} else {
		EXPECT_EQ(0, region_deregister(p->b.fd, self->far.region));
	}
	sqe = remote_sqe(&p->a, variant->opcode, self->near.region, self->lease, 0, 0, LENGTH, 3);
	ASSERT_EQ(0, channel_do(&p->a.ch, &sqe, &cqe));
	EXPECT_EQ(3, cqe.user_data);
	EXPECT_TRUE(WAIT_FOR(state_of(p->a.fd, p->a.endpoint) == DMAPLANE_STATE_ERROR));
	EXPECT_TRUE(WAIT_FOR(state_of(p->b.fd, p->b.endpoint) == DMAPLANE_STATE_ERROR));
	/* Over iWARP what TCP has taken is written. The refusal may be slower than the end. */
	if (cqe.res != -ECONNRESET && (variant->opcode == READ || can_write(&p->a))) {
		EXPECT_EQ(-EREMOTEIO, cqe.res);
		EXPECT_NE(0, cqe.wc_status);
	}
	ASSERT_EQ(0, query(p->a.fd, p->a.endpoint, &got));
	EXPECT_NE(0, got.error);
	untouched = variant->opcode == READ ? self->near.at : self->far.at;
	EXPECT_EQ(LENGTH, first_not(untouched, LENGTH, GUARD + (variant->opcode == WRITE)));
	/* Nothing holds what is left. */
	EXPECT_EQ(0, region_deregister(p->a.fd, self->near.region));
	EXPECT_EQ(variant->invalidates ? 0 : -ENOENT, region_deregister(p->b.fd, self->far.region));
}

TEST_F(remote, invalidate)
{
	struct pair *p = &self->p;
	struct dmaplane_lease_wait got;
	struct dmaplane_stats stats;
	struct memory m;
	uint32_t lease;

	ASSERT_EQ(0, target_for(&p->a, &p->b, PAGE, REMOTE_WRITE | REMOTE_READ | LOCAL_WRITE, &m,
				&lease));
	/* Not while an entry has it, begun or not. */
	push_what_waits(_metadata, self, 1);
	SUBMIT(remote_sqe(&p->a, WRITE, m.region, self->lease, 0, 0, 8, 2),
	       invalidate(m.region, 3, 0));
	EXPECT_NEXT(3, -EBUSY);
	EXPECT_EQ(-EBUSY, region_deregister(p->a.fd, m.region));
	SUBMIT(cancel(4, p->a.endpoint, 1, 0));
	for (int i = 0; i < 3; i++) {
		struct dmaplane_cqe cqe;

		ASSERT_EQ(0, channel_next(&p->a.ch, &cqe));
		EXPECT_EQ(cqe.user_data == 4 ? 1 : -ECANCELED, cqe.res);
	}
	EXPECT_RES(8, remote_sqe(&p->a, WRITE, m.region, self->lease, 0, 0, 8, 5));
	/* It fails as a part of a chain as well. */
	SUBMIT(with(remote_sqe(&p->a, READ, m.region, self->lease, 0, 0, 8, 6), LINK),
	       invalidate(m.region, 7, LINK), invalidate(m.region, 8, LINK), nop(9, 0));
	EXPECT_NEXT(6, 8);
	EXPECT_NEXT(7, 0);
	EXPECT_NEXT(8, -EKEYREVOKED);
	EXPECT_NEXT(9, -ECANCELED);

	EXPECT_RES(-EKEYREVOKED, invalidate(m.region, 10, 0));
	for (int opcode = WRITE; opcode <= READ; opcode++) {
		EXPECT_RES(-EKEYREVOKED, remote_sqe(&p->a, opcode, m.region, self->lease, 0, 0, 1,
						    11));
		EXPECT_RES(-EKEYREVOKED, remote_sqe(&p->a, opcode, m.region, self->lease, 0, 0, 0,
						    12));
	}
	EXPECT_EQ(-EKEYREVOKED, lease_grant(&p->a, m.region, 0, &lease));
	EXPECT_EQ(-ETIME, lease_wait(&p->b, 0, &got));
	ASSERT_EQ(0, get_stats(p->a.fd, &stats));
	EXPECT_EQ(2, stats.regions);
	EXPECT_EQ(0, region_deregister(p->a.fd, m.region));
	EXPECT_EQ(-ENOENT, region_deregister(p->a.fd, m.region));
	EXPECT_RES(-ENOENT, invalidate(m.region, 13, 0));
	ASSERT_EQ(0, get_stats(p->a.fd, &stats));
	EXPECT_EQ(1, stats.regions);
	still_works(_metadata, self);
}

/* As soon as those before it are done. */
TEST_F(remote, invalidate_with_drain)
{
	for (int i = 0; i < 20; i++)
		PUSH(op(self, i % 2 ? READ : WRITE, i * 1000, i * 1000, 1000, i));
	SUBMIT(invalidate(self->near.region, 20, DRAIN), op(self, READ, 0, 0, 1, 21));
	/* Handles are looked up when an entry is taken: this one has the region by then. */
	for (int i = 0; i < 20; i++)
		EXPECT_NEXT(i, 1000);
	EXPECT_NEXT(20, -EBUSY);
	EXPECT_NEXT(21, 1);
	SUBMIT(op(self, READ, 0, 0, 1000, 22), invalidate(self->near.region, 23, DRAIN));
	EXPECT_NEXT(22, 1000);
	EXPECT_NEXT(23, 0);
	EXPECT_RES(-EKEYREVOKED, op(self, READ, 0, 0, 1, 24));
	EXPECT_EQ(0, region_deregister(self->p.a.fd, self->near.region));
}

/* It says nothing of where the region is registered or who closed what. */
TEST_F(remote, invalidate_after_the_end)
{
	struct pair *p = &self->p;
	struct dmaplane_sqe sqe = invalidate(self->far.region, 1, 0);
	struct dmaplane_cqe cqe;

	EXPECT_EQ(0, endpoint_close(p->a.fd, p->a.endpoint));
	EXPECT_EQ(0, endpoint_close(p->b.fd, p->b.endpoint));
	ASSERT_EQ(0, channel_do(&p->b.ch, &sqe, &cqe));
	EXPECT_EQ(0, cqe.res);
	ASSERT_EQ(0, channel_do(&p->b.ch, &sqe, &cqe));
	EXPECT_EQ(-EKEYREVOKED, cqe.res);
	EXPECT_EQ(0, buf_destroy(p->b.fd, self->far.buffer.handle));
	EXPECT_EQ(0, region_deregister(p->b.fd, self->far.region));
}

/* Over iWARP the adapter may go on with what the peer reads, until the connection has ended. */
TEST_F(remote, moved_when_nobody_reads_it)
{
	struct pair *p = &self->p;
	struct dmaplane_sqe ends = invalidate(self->far.region, 1, 0);
	struct dmaplane_sqe moves = migrate_buffer(self->far.buffer.handle, 0, 0);
	struct dmaplane_fabric fabric;
	struct dmaplane_cqe cqe;

	ASSERT_EQ(0, fabric_of(&p->b, &fabric));
	ASSERT_EQ(0, channel_do(&p->b.ch, &moves, &cqe));
	EXPECT_EQ(fabric.flags & DMAPLANE_FABRIC_WRITE_IMM ? 0 : -EBUSY, cqe.res);
	ASSERT_EQ(0, channel_do(&p->b.ch, &ends, &cqe));
	EXPECT_EQ(0, cqe.res);
	ASSERT_EQ(0, channel_do(&p->b.ch, &moves, &cqe));
	EXPECT_EQ(fabric.flags & DMAPLANE_FABRIC_WRITE_IMM ? 0 : -EBUSY, cqe.res);
	EXPECT_EQ(0, endpoint_close(p->b.fd, p->b.endpoint));
	EXPECT_TRUE(WAIT_FOR(!channel_do(&p->b.ch, &moves, &cqe) && cqe.res == 0));
}

/* ---- What is wrong ---------------------------------------------------------- */

TEST_F(remote, wrong)
{
	struct dmaplane_info info;

	ASSERT_EQ(0, get_info(self->p.a.fd, &info));
	EXPECT_EQ(DMAPLANE_FEATURE_READ, info.features & DMAPLANE_FEATURE_READ);
#define EXPECT_WRONG(result, ...) do {						\
		struct dmaplane_sqe sqe = good;					\
										\
		__VA_ARGS__;							\
		EXPECT_RES(result, sqe);					\
	} while (0)
	for (int opcode = WRITE; opcode <= READ; opcode++) {
		struct dmaplane_sqe good = op(self, opcode, 0, 0, PAGE, opcode);

		EXPECT_WRONG(-EINVAL, sqe.imm = 1);
		EXPECT_WRONG(-EINVAL, sqe.flags = 64);
		EXPECT_WRONG(-EINVAL, sqe.flags = 128);
		EXPECT_WRONG(-EINVAL, sqe.pad0 = 1);
		EXPECT_WRONG(-EINVAL, sqe.list = self->near.buffer.handle);
		EXPECT_WRONG(-EINVAL, sqe.list_count = 1);
		EXPECT_WRONG(-EINVAL, sqe.list_offset = 8);
		EXPECT_WRONG(-ENOENT, sqe.endpoint = 0);
		EXPECT_WRONG(-EBADF, sqe.endpoint = self->near.region);
		EXPECT_WRONG(-ENOENT, sqe.region = 0);
		EXPECT_WRONG(-ENOENT, sqe.region = 0xdeadbeef);
		EXPECT_WRONG(-EBADF, sqe.region = self->near.buffer.handle);
		EXPECT_WRONG(-ENOKEY, sqe.lease = 0);
		EXPECT_WRONG(-ENOKEY, sqe.lease = self->lease + 1);
		EXPECT_WRONG(-EOVERFLOW, sqe.local_offset = UINT64_MAX);
		EXPECT_WRONG(-EOVERFLOW, sqe.remote_offset = UINT64_MAX - PAGE + 1);
		EXPECT_WRONG(-ERANGE, sqe.local_offset = LENGTH - PAGE + 1);
		EXPECT_WRONG(-ERANGE, sqe.remote_offset = LENGTH - PAGE + 1);
		EXPECT_WRONG(-ERANGE, sqe.remote_offset = 1ULL << 63);
		EXPECT_WRONG(-ERANGE, sqe.length = LENGTH + 1);
		EXPECT_WRONG(-EFBIG, sqe.length = info.max_transfer + 1);
	}
	{
		struct dmaplane_sqe good = invalidate(self->near.region, 7, 0);

		EXPECT_WRONG(-EINVAL, sqe.endpoint = self->p.a.endpoint);
		EXPECT_WRONG(-EINVAL, sqe.lease = self->lease);
		EXPECT_WRONG(-EINVAL, sqe.local_offset = 1);
		EXPECT_WRONG(-EINVAL, sqe.remote_offset = 1);
		EXPECT_WRONG(-EINVAL, sqe.length = 1);
		EXPECT_WRONG(-EINVAL, sqe.imm = 1);
		EXPECT_WRONG(-EINVAL, sqe.pad0 = 1);
		EXPECT_WRONG(-EINVAL, sqe.list = self->near.buffer.handle);
		EXPECT_WRONG(-EINVAL, sqe.list_count = 1);
		EXPECT_WRONG(-EINVAL, sqe.list_offset = 8);
		EXPECT_WRONG(-EINVAL, sqe.flags = DMAPLANE_SQE_SEGMENTS);
		EXPECT_WRONG(-EINVAL, sqe.flags = DMAPLANE_SQE_PAGES);
		EXPECT_WRONG(-EINVAL, sqe.flags = 64);
		EXPECT_WRONG(-ENOENT, sqe.region = 0);
		EXPECT_WRONG(-ENOENT, sqe.region = 0xdeadbeef);
		EXPECT_WRONG(-EBADF, sqe.region = self->near.buffer.handle);
		EXPECT_WRONG(-EBADF, sqe.region = self->p.a.endpoint);
	}
	EXPECT_EQ(LENGTH, first_not(self->near.at, LENGTH, GUARD));
	EXPECT_EQ(LENGTH, first_not(self->far.at, LENGTH, GUARD));
	still_works(_metadata, self);
}

/* Memory that Soft-iWARP may still read is there, and counts, until its connection ends. */
TEST_F(revoked, counted_as_long_as_it_is_there)
{
	struct pair *p = &self->p;
	/* Where messages are told of by an immediate the adapter forgets memory with its key. */
	bool kept = !can_write(&p->a);
	int64_t before = live("memory_bytes");

	EXPECT_EQ(0, munmap(self->far.at, LENGTH));
	EXPECT_EQ(0, region_deregister(p->b.fd, self->far.region));
	EXPECT_EQ(0, buf_destroy(p->b.fd, self->far.buffer.handle));
	EXPECT_EQ(before - (kept ? 0 : (int64_t)self->far.buffer.length), live("memory_bytes"));
	EXPECT_EQ(0, endpoint_close(p->b.fd, p->b.endpoint));
	EXPECT_EQ(before - (int64_t)self->far.buffer.length, live("memory_bytes"));
}

TEST_HARNESS_MAIN
