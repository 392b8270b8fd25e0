// SPDX-License-Identifier: GPL-2.0
/*
 * Short writes that are submitted together travel together, and the adapter tells
 * once of all of them. None of that shows: each entry has its own completion, in
 * its order, and when one fails those before it have succeeded.
 */
#include "pair.h"
#include "harness.h"

#define ROOM	(1U << 20)
#define SHORT	64U
#define COUNT	8U

struct ends {
	struct pair p;
	struct memory from, to;
	uint32_t lease;
};

static void open_ends(struct __test_metadata *_metadata, struct ends *e)
{
	e->p.a.send_depth = 16;
	e->p.b.recv_depth = 16;
	ASSERT_EQ(0, pair_open(&e->p));
	ASSERT_EQ(0, memory_make(&e->p.a, ROOM, 0, &e->from));
	ASSERT_EQ(0, target(&e->p.b, &e->p.a, ROOM, &e->to, &e->lease));
	fill(e->from.at, ROOM, 5);
	memset(e->to.at, 0x77, ROOM);
}

FIXTURE(batches) {
	struct ends e;
};

FIXTURE_SETUP(batches)
{
	open_ends(_metadata, &self->e);
}

FIXTURE_TEARDOWN(batches)
{
	pair_close(&self->e.p);
}

FIXTURE(failing) {
	struct ends e;
};

FIXTURE_VARIANT(failing) {
	uint32_t bad;	/* the one of COUNT that fails */
};

FIXTURE_VARIANT_ADD(failing, first) { .bad = 0 };
FIXTURE_VARIANT_ADD(failing, second) { .bad = 1 };
FIXTURE_VARIANT_ADD(failing, fifth) { .bad = 4 };
FIXTURE_VARIANT_ADD(failing, last) { .bad = COUNT - 1 };

FIXTURE_SETUP(failing)
{
}

FIXTURE_TEARDOWN(failing)
{
}

/* Returns whether it is told precisely: those before it are good, and it is the cause. */
static bool fail_once(struct __test_metadata *_metadata, struct ends *e, uint32_t bad)
{
	uint32_t good = 0, arrived = 0, dead;
	struct memory gone = { 0 };
	struct pair *p = &e->p;
	struct dmaplane_cqe cqe;
	int cause = 0;

	memset(e, 0, sizeof(*e));
	open_ends(_metadata, e);
	ASSERT_EQ(0, target(&p->b, &p->a, 4096, &gone, &dead));
	ASSERT_EQ(0, region_deregister(p->b.fd, gone.region));
	for (uint32_t i = 0; i < COUNT; i++) {
		struct dmaplane_sqe sqe = write_imm(&p->a, e->from.region,
						    i == bad ? dead : e->lease, i * SHORT,
						    i == bad ? 0 : i * SHORT, SHORT, i);

		ASSERT_EQ(0, channel_push(&p->a.ch, &sqe));
	}
	ASSERT_EQ(COUNT, channel_enter(&p->a.ch, COUNT, 0, 0));
	for (uint32_t i = 0; i < COUNT; i++) {
		ASSERT_EQ(0, channel_next(&p->a.ch, &cqe));
		EXPECT_EQ(i, cqe.user_data);
		if (i == bad)
			cause = cqe.res;
		if (!can_write(&p->a)) {
			EXPECT_EQ(-EOPNOTSUPP, cqe.res);
		} else if (cqe.res == (int)SHORT) {
			EXPECT_EQ(good, i);
			good++;
		} else if (cqe.res != -ECONNRESET) {
			/* The cause is told of one; word of the connection's end may be faster. */
			EXPECT_EQ(-EREMOTEIO, cqe.res);
		}
	}
	EXPECT_FALSE(channel_reap(&p->a.ch, &cqe));
	if (!can_write(&p->a)) {
		EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(p->a.fd, p->a.endpoint));
		pair_close(p);
		return true;
	}
	EXPECT_LE(good, bad);
	EXPECT_TRUE(WAIT_FOR(state_of(p->a.fd, p->a.endpoint) == DMAPLANE_STATE_ERROR));
	EXPECT_TRUE(WAIT_FOR(state_of(p->b.fd, p->b.endpoint) == DMAPLANE_STATE_ERROR));
	/* What succeeded is there, and nothing that came after the failure. */
	EXPECT_TRUE(WAIT_FOR(channel_available(&p->b.ch) >= good));
	while (channel_reap(&p->b.ch, &cqe))
		EXPECT_EQ(arrived++, cqe.imm);
	EXPECT_LE(arrived, bad);
	EXPECT_FALSE(memcmp(e->from.at, e->to.at, arrived * SHORT));
	EXPECT_EQ(ROOM - bad * SHORT,
		  first_not(e->to.at + bad * SHORT, ROOM - bad * SHORT, 0x77));
	munmap(e->from.at, ROOM);
	munmap(e->to.at, ROOM);
	munmap(gone.at, 4096);
	pair_close(p);
	return good == bad && cause == -EREMOTEIO;
}

TEST_F(failing, one_of_several)
{
	uint64_t give_up = now_ns() + PATIENCE;
	bool precise;

	do
		precise = fail_once(_metadata, &self->e, variant->bad);
	while (!precise && now_ns() < give_up);
	EXPECT_TRUE(precise);
}

/* Short and long ones, which travel alone, keep their order. */
TEST_F(batches, all_sizes)
{
	struct ends *e = &self->e;
	static const uint32_t sizes[] = { 64, 0, 4096, 1, 16384, 16385, 3, 65536, 64, 64, 64, 8000,
					  8000, 8000, 2 };
	struct pair *p = &e->p;
	struct dmaplane_cqe cqe;
	uint32_t at = 0, i;

	for (uint32_t round = 0; round < 4; round++) {
		for (i = 0; i < ARRAY_LEN(sizes); i++, at += sizes[i - 1]) {
			struct dmaplane_sqe sqe = write_imm(&p->a, e->from.region, e->lease,
							    at, at, sizes[i], i);

			ASSERT_EQ(0, channel_push(&p->a.ch, &sqe));
		}
		ASSERT_EQ((int)i, channel_enter(&p->a.ch, i, 0, 0));
		for (i = 0; i < ARRAY_LEN(sizes); i++) {
			ASSERT_EQ(0, channel_next(&p->a.ch, &cqe));
			EXPECT_EQ(i, cqe.user_data);
			EXPECT_EQ(written(&p->a, sizes[i]), cqe.res);
		}
		for (i = 0; i < ARRAY_LEN(sizes) && can_write(&p->a); i++) {
			ASSERT_EQ(0, channel_next(&p->b.ch, &cqe));
			EXPECT_EQ(i, cqe.imm);
			EXPECT_EQ((int)sizes[i], cqe.res);
		}
	}
	if (can_write(&p->a))
		EXPECT_FALSE(memcmp(e->from.at, e->to.at, at));
}

TEST_HARNESS_MAIN
