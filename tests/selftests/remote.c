// SPDX-License-Identifier: GPL-2.0
/*
 * WRITE, READ, FENCE and INVALIDATE: bytes go where they should, both ways, in order,
 * as far as leases and regions allow, and what is taken away is out of reach. Over
 * iWARP, too: only what needs an immediate is left out there.
 */
#include "pair.h"
#include "harness.h"

#define PAGE	4096ULL
#define LENGTH	(64 * PAGE)
#define GUARD	0x5c	/* what memory holds before */

#define WRITE	DMAPLANE_OP_WRITE
#define READ	DMAPLANE_OP_READ
#define LINK	DMAPLANE_SQE_LINK
#define FENCE	DMAPLANE_SQE_FENCE
#define DRAIN	DMAPLANE_SQE_DRAIN

FIXTURE(remote) {
	struct pair p;
	struct memory near, far;	/* a's, which may be read into; b's, which a may use */
	uint32_t lease;
};

FIXTURE_SETUP(remote)
{
	self->p.entries = 256;
	self->p.a.send_depth = 32;
	ASSERT_EQ(0, pair_open(&self->p));
	ASSERT_EQ(0, memory_make(&self->p.a, LENGTH, LOCAL_WRITE, &self->near));
	ASSERT_EQ(0, target_for(&self->p.b, &self->p.a, LENGTH, REMOTE_WRITE | REMOTE_READ,
				&self->far, &self->lease));
	memset(self->near.at, GUARD, LENGTH);
	memset(self->far.at, GUARD, LENGTH);
}

FIXTURE_TEARDOWN(remote)
{
	pair_close(&self->p);
}

static struct dmaplane_sqe op(const FIXTURE_DATA(remote) *self, int opcode, uint64_t local,
			      uint64_t there, uint32_t length, uint64_t user_data)
{
	return remote_sqe(&self->p.a, opcode, self->near.region, self->lease, local, there, length,
			  user_data);
}

static struct dmaplane_sqe with(struct dmaplane_sqe sqe, uint8_t flags)
{
	dmaplane_sqe_set_flags(&sqe, flags);
	return sqe;
}

static struct dmaplane_sqe invalidate(uint32_t region, uint64_t user_data, uint8_t flags)
{
	struct dmaplane_sqe sqe;

	dmaplane_prep_invalidate(&sqe, region);
	dmaplane_sqe_set_user_data(&sqe, user_data);
	dmaplane_sqe_set_flags(&sqe, flags);
	return sqe;
}

/* The next completion of a. */
#define EXPECT_NEXT(data, result) do {						\
		struct dmaplane_cqe next = { 0 };				\
										\
		ASSERT_EQ(0, channel_next(&self->p.a.ch, &next));		\
		EXPECT_EQ(data, next.user_data);				\
		EXPECT_EQ(result, next.res) {					\
			TH_LOG("entry %llu", next.user_data);			\
		}								\
	} while (0)

#define PUSH(...) do {								\
		struct dmaplane_sqe sqes[] = { __VA_ARGS__ };			\
										\
		for (size_t i = 0; i < ARRAY_LEN(sqes); i++)			\
			ASSERT_EQ(0, channel_push(&self->p.a.ch, &sqes[i]));	\
	} while (0)

#define ENTER() ASSERT_LT(0, channel_enter(&self->p.a.ch, 256, 0, 0))

/* All of them in one ENTER. */
#define SUBMIT(...) do {							\
		PUSH(__VA_ARGS__);						\
		ENTER();							\
	} while (0)

/* One entry, which must have this result. */
#define EXPECT_RES(result, ...) do {						\
		struct dmaplane_sqe one = __VA_ARGS__;				\
		struct dmaplane_cqe cqe;					\
										\
		ASSERT_EQ(0, channel_do(&self->p.a.ch, &one, &cqe));		\
		EXPECT_EQ(result, cqe.res) {					\
			TH_LOG("%s", #__VA_ARGS__);				\
		}								\
		EXPECT_EQ(one.user_data, cqe.user_data);			\
		EXPECT_EQ(one.opcode, cqe.opcode);				\
		EXPECT_EQ(one.endpoint, cqe.endpoint);				\
		EXPECT_EQ(0, cqe.imm);						\
		EXPECT_EQ(0, cqe.wc_status);					\
	} while (0)

/* What was written before is there when this is done, which over iWARP WRITE alone does not say. */
#define EXPECT_ARRIVED() EXPECT_RES(1, op(self, READ, LENGTH - 1, 0, 1, 999))

static void still_works(struct __test_metadata *_metadata, FIXTURE_DATA(remote) *self)
{
	fill(self->near.at, 100, 1);
	EXPECT_RES(100, op(self, WRITE, 0, 3, 100, 1));
	EXPECT_RES(100, op(self, READ, 200, 3, 100, 2));
	EXPECT_EQ(100, first_wrong(self->far.at + 3, 100, 1));
	EXPECT_EQ(100, first_wrong(self->near.at + 200, 100, 1));
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(self->p.a.fd, self->p.a.endpoint));
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(self->p.b.fd, self->p.b.endpoint));
	EXPECT_EQ(0, channel_available(&self->p.a.ch));
	EXPECT_EQ(0, channel_available(&self->p.b.ch));
}

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
	       with(op(self, WRITE, 0, 0, 9, 2), FENCE), with(op(self, WRITE, 0, 0, 9, 3), FENCE));
	EXPECT_NEXT(1, -ERANGE);
	EXPECT_NEXT(2, -ECANCELED);
	EXPECT_NEXT(3, 9);
	/* On what is not sent it means nothing. */
	EXPECT_RES(-EINVAL, with(nop(4, 0), FENCE));
	EXPECT_RES(-EINVAL, with(invalidate(self->near.region, 5, 0), FENCE));
	EXPECT_RES(-EINVAL, with(cancel(6, 0, 0, 0), FENCE));
	still_works(_metadata, self);
}

/* A counter at a, and an entry that waits for it, LINKed to what comes next. */
static void push_what_waits(struct __test_metadata *_metadata, FIXTURE_DATA(remote) *self,
			    uint64_t user_data)
{
	struct dmaplane_counter_create arg = ARG(counter_create, .endpoint = self->p.a.endpoint);
	struct dmaplane_sqe sqe;

	ASSERT_EQ(0, cmd(self->p.a.fd, DMAPLANE_IOC_COUNTER_CREATE, &arg));
	dmaplane_prep_counter_wait(&sqe, self->p.a.endpoint, arg.handle, 1);
	dmaplane_sqe_set_user_data(&sqe, user_data);
	dmaplane_sqe_set_flags(&sqe, LINK);
	ASSERT_EQ(0, channel_push(&self->p.a.ch, &sqe));
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

/* ---- What is taken away -------------------------------------------------- */

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
