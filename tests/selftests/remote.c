// SPDX-License-Identifier: GPL-2.0
/*
 * WRITE, READ and FENCE: bytes go where they should, both ways, in order, as far as leases and
 * regions allow. Over iWARP, too: only what needs an immediate is left out there.
 */
#include "remote.h"

/* All of @m holds GUARD, but for @length bytes of contents @seed at @offset. */
static void expect_only(struct __test_metadata *_metadata, const struct memory *m, uint64_t offset,
			uint64_t length, uint64_t seed)
{
	uint64_t end = offset + length;

	EXPECT_EQ(length, first_wrong(m->at + offset, length, seed)) {
		TH_LOG("%lu bytes at %#lx", (long)length, (long)offset);
	}
	EXPECT_EQ(offset, first_not(m->at, offset, GUARD)) {
		TH_LOG("changed before them");
	}
	EXPECT_EQ(m->length - end, first_not(m->at + end, m->length - end, GUARD)) {
		TH_LOG("changed behind them");
	}
}

struct stretch {
	uint64_t local, remote;
	uint32_t length;
};

/* Writes a stretch and looks at all that this did; then reads it, likewise. */
static void there_and_back(struct __test_metadata *_metadata, FIXTURE_DATA(remote) *self,
			   struct stretch s)
{
	static uint64_t seed = 100;

	memset(self->near.at, GUARD, self->near.length);
	memset(self->far.at, GUARD, self->far.length);
	fill(self->near.at + s.local, s.length, ++seed);
	EXPECT_RES(s.length, op(self, WRITE, s.local, s.remote, s.length, seed));
	EXPECT_ARRIVED();
	expect_only(_metadata, &self->far, s.remote, s.length, seed);
	memset(self->near.at, GUARD, self->near.length);
	memset(self->far.at, GUARD, self->far.length);
	fill(self->far.at + s.remote, s.length, ++seed);
	EXPECT_RES(s.length, op(self, READ, s.local, s.remote, s.length, seed));
	expect_only(_metadata, &self->near, s.local, s.length, seed);
	expect_only(_metadata, &self->far, s.remote, s.length, seed);
	EXPECT_EQ(0, channel_available(&self->p.b.ch));
}

TEST_F(remote, sizes_and_offsets)
{
	static const struct stretch stretches[] = {
		{ 0, 0, 1 }, { 0, 0, 4095 }, { 0, 0, 4096 }, { 0, 0, 4097 }, { 1, 0, 1 },
		{ 0, 1, 1 }, { 4095, 4095, 2 }, { 4095, 1, 8193 }, { 3, 5, 65536 },
		{ 4097, 8191, 100000 }, { 77777, 33333, 12345 }, { LENGTH - 1, 0, 1 },
		{ 0, LENGTH - 1, 1 }, { 0, 0, LENGTH - 1 },
	};

	for (size_t i = 0; i < ARRAY_LEN(stretches); i++)
		there_and_back(_metadata, self, stretches[i]);
}

/* Regions of several memory keys, cut at either side. */
TEST_F(remote, segments)
{
	struct dmaplane_fabric fabric;
	struct pair *p = &self->p;

	ASSERT_EQ(0, fabric_of(&p->a, &fabric));
	{
		uint64_t segment = fabric.max_segment, length = 2 * segment + 3 * PAGE;
		const struct stretch stretches[] = {
			{ segment - 1, segment - 1, 1 },
			{ segment - 1, segment - 1, 2 },
			{ segment, segment, 1 },
			{ 0, segment - 4096, 8192 },
			{ segment - 4096, 0, 8192 },
			{ segment - 5000, segment - 77, 10000 },
			{ 1, 2, 2 * segment + PAGE },
			{ 0, 0, length - 1 },
			{ 2 * segment - 1, segment, 2 },
		};

		ASSERT_EQ(0, memory_make(&p->a, length, LOCAL_WRITE, &self->near));
		ASSERT_EQ(0, target_for(&p->b, &p->a, length, REMOTE_WRITE | REMOTE_READ,
					&self->far, &self->lease));
		for (size_t i = 0; i < ARRAY_LEN(stretches); i++)
			there_and_back(_metadata, self, stretches[i]);
	}
}

TEST_F(remote, nothing)
{
	for (int opcode = WRITE; opcode <= READ; opcode++) {
		struct dmaplane_sqe sqe = op(self, opcode, 0, 0, 0, opcode);

		EXPECT_RES(0, sqe);
		EXPECT_RES(0, op(self, opcode, LENGTH, 0, 0, opcode));
		EXPECT_RES(0, op(self, opcode, 0, LENGTH, 0, opcode));
		EXPECT_RES(-ERANGE, op(self, opcode, LENGTH + 1, 0, 0, opcode));
		EXPECT_RES(-ERANGE, op(self, opcode, 0, LENGTH + 1, 0, opcode));
		sqe.region = 0;
		EXPECT_RES(-EINVAL, sqe);
		sqe.lease = 0;
		EXPECT_RES(0, sqe);
		sqe.local_offset = 1;
		EXPECT_RES(-EINVAL, sqe);
	}
	EXPECT_EQ(LENGTH, first_not(self->near.at, LENGTH, GUARD));
	EXPECT_EQ(LENGTH, first_not(self->far.at, LENGTH, GUARD));
	still_works(_metadata, self);
}

/* An entry without bytes is complete when those before it are, and not before. */
TEST_F(remote, nothing_after_a_read)
{
	for (int round = 1; round <= 30; round++) {
		uint32_t length = round % 2 ? 100 : LENGTH / 2;

		fill(self->far.at, length, round);
		memset(self->near.at, GUARD, LENGTH);
		SUBMIT(with(op(self, READ, 0, 0, length, 1), DMAPLANE_SQE_CQE_SKIP_SUCCESS),
		       op(self, round % 4 < 2 ? READ : WRITE, 0, 0, 0, 2));
		EXPECT_NEXT(2, 0);
		EXPECT_EQ(length, first_wrong(self->near.at, length, round)) {
			TH_LOG("round %d", round);
		}
	}
	still_works(_metadata, self);
}

/* What each may do with memory of every kind. */
TEST_F(remote, rights)
{
	struct pair *p = &self->p;
	struct memory both = self->near;
	uint32_t lease;

	for (uint32_t access = 0; access < 8; access++) {
		bool may_write = access & REMOTE_WRITE, may_read = access & REMOTE_READ;
		uint32_t with_both = self->lease, number;
		struct memory there, here;

		ASSERT_EQ(0, memory_make(&p->a, PAGE, access, &here));
		/* As the one that reads and writes here. */
		self->near = here;
		EXPECT_RES(PAGE, op(self, WRITE, 0, 0, PAGE, access));
		EXPECT_RES(access & LOCAL_WRITE ? (int)PAGE : -EACCES,
			   op(self, READ, 0, 0, PAGE, access));
		self->near = both;
		/* As the one that is read and written there. */
		if (!may_write && !may_read) {
			ASSERT_EQ(0, memory_make(&p->b, PAGE, access, &there));
			EXPECT_EQ(-EACCES, lease_grant(&p->b, there.region, 0, &number));
			continue;
		}
		ASSERT_EQ(0, target_for(&p->b, &p->a, PAGE, access, &there, &lease));
		self->lease = lease;
		EXPECT_RES(may_write ? (int)PAGE : -EACCES, op(self, WRITE, 0, 0, PAGE, access));
		EXPECT_RES(may_read ? (int)PAGE : -EACCES, op(self, READ, 0, 0, PAGE, access));
		EXPECT_RES(may_write ? written(&p->a, 0) : -EACCES,
			   op(self, DMAPLANE_OP_WRITE_IMM, 0, 0, 0, access));
		if (may_write && can_write(&p->a)) {
			struct dmaplane_cqe cqe;

			ASSERT_EQ(0, channel_next(&p->b.ch, &cqe));
		}
		self->lease = with_both;
	}
	still_works(_metadata, self);
}

/* Many entries at once, each of which sees what those before it wrote. */
TEST_F(remote, in_order)
{
	enum { ROUNDS = 50 };

	for (int i = 0; i < ROUNDS; i++)
		fill(self->near.at + i * 64, 64, i);
	for (int i = 0; i < ROUNDS; i++)
		PUSH(op(self, WRITE, i * 64, 4, 64, 3 * i),
		     op(self, READ, 32768 + i * 64, 4, 64, 3 * i + 1),
		     op(self, i % 2 ? READ : WRITE, 0, 0, 0, 3 * i + 2));
	ENTER();
	for (int i = 0; i < 3 * ROUNDS; i++) {
		EXPECT_NEXT(i, i % 3 == 2 ? 0 : 64);
		if (i % 3 != 1)
			continue;
		EXPECT_EQ(64, first_wrong(self->near.at + 32768 + i / 3 * 64, 64, i / 3)) {
			TH_LOG("entry %d", i);
		}
	}
	still_works(_metadata, self);
}

/* More than any adapter does at a time. */
TEST_F(remote, many_reads)
{
	struct dmaplane_endpoint_query got;

	for (int round = 0; round < 3; round++) {
		uint32_t length = round == 2 ? 3000 : 1 + round * 500;

		memset(self->near.at, GUARD, LENGTH);
		for (int i = 0; i < 80; i++)
			fill(self->far.at + i * 3000, length, i + round);
		for (int i = 0; i < 80; i++)
			PUSH(op(self, READ, (79 - i) * 3000, i * 3000, length, i));
		ENTER();
		for (int i = 0; i < 80; i++) {
			EXPECT_NEXT(i, (int)length);
			EXPECT_EQ(length, first_wrong(self->near.at + (79 - i) * 3000, length,
						      i + round));
		}
	}
	ASSERT_EQ(0, query(self->p.a.fd, self->p.a.endpoint, &got));
	EXPECT_EQ(0, got.sent + got.sent_bytes + got.in_flight + got.queued);
	EXPECT_RES(77, op(self, WRITE, 0, 0, 77, 5));
	ASSERT_EQ(0, query(self->p.a.fd, self->p.a.endpoint, &got));
	EXPECT_EQ(1, got.sent);
	EXPECT_EQ(77, got.sent_bytes);
	ASSERT_EQ(0, query(self->p.b.fd, self->p.b.endpoint, &got));
	EXPECT_EQ(0, got.received);
}

/* Both sides read what the other one has, and write over what it does not read. */
TEST_F(remote, both_ways)
{
	struct side *sides[2] = { &self->p.a, &self->p.b };
	struct memory in[2], out[2];
	struct dmaplane_cqe cqe;
	uint32_t lease[2];

	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, memory_make(sides[i], LENGTH, LOCAL_WRITE, &in[i]));
		ASSERT_EQ(0, target_for(sides[!i], sides[i], LENGTH, REMOTE_WRITE | REMOTE_READ,
					&out[i], &lease[i]));
		fill(out[i].at, LENGTH / 2, i);
	}
	for (int n = 0; n < 20; n++) {
		for (int i = 0; i < 2; i++) {
			struct dmaplane_sqe read, write;

			read = remote_sqe(sides[i], READ, in[i].region, lease[i], n * 5000, n * 5000,
					  5000, 2 * n);
			write = remote_sqe(sides[i], WRITE, in[i].region, lease[i], 0,
					   LENGTH / 2 + n * 5000, 5000, 2 * n + 1);
			ASSERT_EQ(0, channel_push(&sides[i]->ch, &read));
			ASSERT_EQ(0, channel_push(&sides[i]->ch, &write));
			ASSERT_EQ(2, channel_enter(&sides[i]->ch, 2, 0, 0));
		}
	}
	for (int n = 0; n < 40; n++) {
		for (int i = 0; i < 2; i++) {
			ASSERT_EQ(0, channel_next(&sides[i]->ch, &cqe));
			EXPECT_EQ(5000, cqe.res);
			EXPECT_EQ(n, cqe.user_data);
		}
	}
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(20 * 5000, first_wrong(in[i].at, 20 * 5000, i));
}

/* What is read is sent on: with FENCE when it is there, with LINK as well. */
TEST_F(remote, read_and_send_on)
{
	uint64_t half = LENGTH / 2;
	bool tells = can_write(&self->p.a);

	for (int round = 1; round <= 40; round++) {
		uint8_t first = round % 2 ? LINK : 0, then = round % 2 ? 0 : FENCE;
		int opcode = tells && round % 4 < 2 ? DMAPLANE_OP_WRITE_IMM : WRITE;
		uint32_t length = round % 3 ? half : 1ULL + round;

		memset(self->near.at, GUARD, half);
		memset(self->far.at + half, GUARD, half);
		fill(self->far.at, length, round);
		SUBMIT(with(op(self, READ, 0, 0, length, 1), first),
		       with(op(self, opcode, 0, half, length, 2), then));
		EXPECT_NEXT(1, (int)length);
		EXPECT_NEXT(2, (int)length);
		if (opcode == WRITE) {
			EXPECT_ARRIVED();
		} else {
			struct dmaplane_cqe cqe;

			ASSERT_EQ(0, channel_next(&self->p.b.ch, &cqe));
			EXPECT_EQ(2, cqe.imm);
			EXPECT_EQ(length, cqe.res);
		}
		EXPECT_EQ(length, first_wrong(self->far.at + half, length, round)) {
			TH_LOG("round %d", round);
		}
	}
	still_works(_metadata, self);
}

TEST_F(remote, fences)
{
	/* There is nothing to wait for. */
	EXPECT_RES(9, with(op(self, WRITE, 0, 0, 9, 1), FENCE));
	EXPECT_RES(9, with(op(self, READ, 0, 0, 9, 2), FENCE));
	EXPECT_RES(0, with(op(self, READ, 0, 0, 0, 3), FENCE));
	/* Reads before, fences among them and behind. */
	for (int i = 0; i < 60; i++)
		PUSH(with(op(self, i % 5 == 4 ? WRITE : READ, i * 100, i * 100, 100, i),
			  i % 3 ? 0 : FENCE));
	ENTER();
	for (int i = 0; i < 60; i++)
		EXPECT_NEXT(i, 100);
	/* A failure that it would have waited for. */
	SUBMIT(with(op(self, READ, LENGTH, 0, 1, 1), LINK),
	       with(op(self, WRITE, 0, 0, 9, 2), FENCE));
	EXPECT_NEXT(1, -ERANGE);
	EXPECT_NEXT(2, -ECANCELED);
	EXPECT_RES(9, with(op(self, WRITE, 0, 0, 9, 3), FENCE));
	/* On what is not sent it means nothing. */
	EXPECT_RES(-EINVAL, with(nop(4, 0), FENCE));
	EXPECT_RES(-EINVAL, with(invalidate(self->near.region, 5, 0), FENCE));
	EXPECT_RES(-EINVAL, with(cancel(6, 0, 0, 0), FENCE));
	still_works(_metadata, self);
}

TEST_F(remote, canceled_before_they_begin)
{
	push_what_waits(_metadata, self, 1);
	SUBMIT(with(op(self, READ, 0, 0, 100, 2), LINK), op(self, WRITE, 0, 0, 100, 3));
	SUBMIT(cancel(4, self->p.a.endpoint, 3, 0), cancel(5, self->p.a.endpoint, 2, 0),
	       cancel(6, self->p.a.endpoint, 2, 0), cancel(7, self->p.a.endpoint, 1, 0));
	for (int i = 0; i < 7; i++) {
		static const int results[] = { -ECANCELED, -ECANCELED, -ECANCELED, 1, 1, -ENOENT, 1 };
		struct dmaplane_cqe cqe;

		ASSERT_EQ(0, channel_next(&self->p.a.ch, &cqe));
		ASSERT_LE(1, cqe.user_data);
		ASSERT_GE(7, cqe.user_data);
		EXPECT_EQ(results[cqe.user_data - 1], cqe.res) {
			TH_LOG("%llu", cqe.user_data);
		}
	}
	still_works(_metadata, self);
}

/* Those that wait behind a message for which there is no credit. */
TEST_F(remote, canceled_before_they_are_sent)
{
	struct pair narrow = { .a.send_depth = 8 };
	struct memory near = { 0 }, far;
	struct dmaplane_cqe cqe;
	struct dmaplane_sqe sqe;
	uint32_t lease;

	if (!can_write(&self->p.a))
		return;
	ASSERT_EQ(0, pair_open_narrow(&narrow, 2));
	ASSERT_EQ(0, memory_make(&narrow.a, PAGE, LOCAL_WRITE, &near));
	ASSERT_EQ(0, target_for(&narrow.b, &narrow.a, PAGE, REMOTE_READ, &far, &lease));
	for (int i = 0; i < 3; i++) {
		sqe = write_imm(&narrow.a, 0, 0, 0, 0, 0, i);
		ASSERT_EQ(1, channel_submit(&narrow.a.ch, &sqe));
	}
	for (int i = 3; i < 6; i++) {
		sqe = remote_sqe(&narrow.a, READ, near.region, lease, 0, 0, 100, i);
		ASSERT_EQ(1, channel_submit(&narrow.a.ch, &sqe));
	}
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, channel_next(&narrow.a.ch, &cqe));
		EXPECT_EQ(0, cqe.res);
	}
	sqe = cancel(10, narrow.a.endpoint, 4, 0);
	ASSERT_EQ(1, channel_submit(&narrow.a.ch, &sqe));
	ASSERT_EQ(0, channel_next(&narrow.a.ch, &cqe));
	EXPECT_EQ(4, cqe.user_data);
	EXPECT_EQ(-ECANCELED, cqe.res);
	ASSERT_EQ(0, channel_next(&narrow.a.ch, &cqe));
	EXPECT_EQ(1, cqe.res);
	/* The others go when the peer has reaped. */
	EXPECT_EQ(0, channel_available(&narrow.a.ch));
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, channel_next(&narrow.b.ch, &cqe));
	for (int i = 2; i < 6; i++) {
		if (i == 4)
			continue;
		ASSERT_EQ(0, channel_next(&narrow.a.ch, &cqe));
		EXPECT_EQ(i, cqe.user_data);
		EXPECT_EQ(i == 2 ? 0 : 100, cqe.res);
	}
	pair_close(&narrow);
}

/* Each number is of its own connection and device. */
TEST_F(remote, two_fabrics)
{
	struct pair other = { .host = ADDRESS_OTHER, .a = self->p.a, .b = self->p.b };
	struct memory from, to;
	struct dmaplane_cqe cqe;
	struct dmaplane_sqe sqe;
	uint32_t lease;

	ASSERT_EQ(0, pair_connect(&other));
	ASSERT_EQ(0, memory_make(&other.a, PAGE, LOCAL_WRITE, &from));
	ASSERT_EQ(0, target_for(&other.b, &other.a, PAGE, REMOTE_READ, &to, &lease));
	sqe = remote_sqe(&self->p.a, READ, from.region, self->lease, 0, 0, 1, 1);
	EXPECT_RES(-EXDEV, sqe);
	sqe = remote_sqe(&other.a, READ, self->near.region, lease, 0, 0, 1, 2);
	EXPECT_RES(-EXDEV, sqe);
	fill(to.at, PAGE, 6);
	sqe = remote_sqe(&other.a, READ, from.region, lease, 0, 0, PAGE, 3);
	ASSERT_EQ(0, channel_do(&self->p.a.ch, &sqe, &cqe));
	EXPECT_EQ(PAGE, cqe.res);
	EXPECT_EQ(PAGE, first_wrong(from.at, PAGE, 6));
	still_works(_metadata, self);
}

TEST_HARNESS_MAIN
