/* SPDX-License-Identifier: GPL-2.0 */
/* A pair with memory at both ends that one of them may read and write, and entries that do. */
#ifndef DMAPLANE_TEST_REMOTE_H
#define DMAPLANE_TEST_REMOTE_H

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

static inline struct dmaplane_sqe op(const FIXTURE_DATA(remote) *self, int opcode, uint64_t local,
			      uint64_t there, uint32_t length, uint64_t user_data)
{
	return remote_sqe(&self->p.a, opcode, self->near.region, self->lease, local, there, length,
			  user_data);
}

static inline struct dmaplane_sqe with(struct dmaplane_sqe sqe, uint8_t flags)
{
	dmaplane_sqe_set_flags(&sqe, flags);
	return sqe;
}

static inline struct dmaplane_sqe invalidate(uint32_t region, uint64_t user_data, uint8_t flags)
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

static inline void still_works(struct __test_metadata *_metadata, FIXTURE_DATA(remote) *self)
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

/* A counter at a, and an entry that waits for it, LINKed to what comes next. */
static inline void push_what_waits(struct __test_metadata *_metadata, FIXTURE_DATA(remote) *self,
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

#endif /* DMAPLANE_TEST_REMOTE_H */
