// SPDX-License-Identifier: GPL-2.0
/*
 * DMAPLANE_CHANNEL_TIMES: when entries were taken, posted and complete. All times are of one
 * clock, so they are compared with those that this program reads, and with each other.
 */
#include "pair.h"
#include "harness.h"

#define TIMES	DMAPLANE_CHANNEL_TIMES
#define LONG	(8 << 20)	/* a worker does it */
#define PAGE	4096ULL

FIXTURE(channel_times) {
	int fd;
	struct channel c;	/* 16 and 8 entries */
	struct buffer buffer;
};

FIXTURE_SETUP(channel_times)
{
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, channel_open_flags(self->fd, 16, 8, TIMES, &self->c));
	ASSERT_EQ(0, buf_create(self->fd, LONG, &self->buffer));
}

FIXTURE_TEARDOWN(channel_times)
{
	EXPECT_EQ(0, channel_close(&self->c));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("channels"));
	EXPECT_EQ(0, live("buffers"));
}

/* Takes the next completion and its times, waits for it if need be. */
static int next(struct channel *c, struct dmaplane_cqe *cqe, struct dmaplane_times *times)
{
	struct dmaplane_cqe *there;
	int ret = dmaplane_wait_cqe_timeout(c, &there, 0, PATIENCE);

	if (ret)
		return ret;
	*cqe = *there;
	*times = *dmaplane_channel_times(c, there);
	dmaplane_cqe_seen(c);
	return times->pad ? -EPROTO : 0;
}

enum kind { ENTRY, POSTED, RECEIVED };

/* Whether they are those of something that was begun and is complete since @begin. */
static bool right(const struct dmaplane_times *t, enum kind kind, uint64_t begin)
{
	uint64_t now = now_ns(), submit = t->submit_ns, post = t->post_ns, end = t->complete_ns;

	switch (kind) {
	case ENTRY:
		return begin <= submit && !post && submit <= end && end <= now;
	case POSTED:
		return begin <= submit && submit <= post && post <= end && end <= now;
	default:
		return !submit && !post && begin <= end && end <= now;
	}
}

#define EXPECT_RIGHT(t, kind, begin)							\
	EXPECT_TRUE(right(&(t), (kind), (begin))) {					\
		TH_LOG("%llu %llu %llu, not %s since %llu", (t).submit_ns, (t).post_ns,	\
		       (t).complete_ns, #kind, (unsigned long long)(begin));		\
	}

static const uint32_t sizes[][2] = {
	{ 1, 1 }, { 1, 8 }, { 64, 128 }, { 128, 128 }, { 1, 32768 }, { 32768, 1 }, { 32768, 32768 },
};

static uint64_t in_pages(uint64_t bytes)
{
	return (bytes + PAGE - 1) & ~(PAGE - 1);
}

TEST_F(channel_times, layout)
{
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct dmaplane_channel_create off = ARG(channel_create, .sq_entries = sizes[i][0],
							 .cq_entries = sizes[i][1]), on = off;
		uint64_t used = 256 + sizes[i][0] * sizeof(struct dmaplane_sqe) +
			       sizes[i][1] * sizeof(struct dmaplane_cqe);

		off.times_offset = 1;	/* is not looked at */
		ASSERT_EQ(0, cmd(self->fd, DMAPLANE_IOC_CHANNEL_CREATE, &off));
		EXPECT_EQ(0, off.times_offset);
		EXPECT_EQ(in_pages(used), off.mmap_length);
		on.flags = TIMES;
		ASSERT_EQ(0, cmd(self->fd, DMAPLANE_IOC_CHANNEL_CREATE, &on));
		EXPECT_EQ(used, on.times_offset);
		EXPECT_EQ(in_pages(used + sizes[i][1] * sizeof(struct dmaplane_times)), on.mmap_length);
		EXPECT_EQ(off.sqes_offset, on.sqes_offset);
		EXPECT_EQ(off.cqes_offset, on.cqes_offset);
		EXPECT_EQ(0, end(self->fd, DMAPLANE_IOC_CHANNEL_CLOSE, off.handle));
		EXPECT_EQ(0, end(self->fd, DMAPLANE_IOC_CHANNEL_CLOSE, on.handle));
	}
}

TEST_F(channel_times, offered)
{
	struct dmaplane_info info;
	struct channel plain;

	ASSERT_EQ(0, get_info(self->fd, &info));
	EXPECT_NE(0, info.features & DMAPLANE_FEATURE_TIMES);
	ASSERT_EQ(0, channel_open(self->fd, 4, 4, &plain));
	EXPECT_EQ(NULL, dmaplane_channel_times(&plain, plain.cqes));
	EXPECT_EQ(0, channel_close(&plain));
}

/* Right ones and wrong ones; those of one ENTER were taken together. */
TEST_F(channel_times, nops)
{
	struct dmaplane_cqe cqe;
	struct dmaplane_times t, last = { 0 };
	uint64_t begin = now_ns();

	for (int i = 0; i < 8; i++) {
		struct dmaplane_sqe sqe = nop(i, 0);

		sqe.imm = i % 4 == 3;
		ASSERT_EQ(0, channel_push(&self->c, &sqe));
	}
	ASSERT_EQ(8, channel_enter(&self->c, 8, 8, PATIENCE));
	for (int i = 0; i < 8; i++) {
		ASSERT_EQ(0, next(&self->c, &cqe, &t));
		EXPECT_EQ(i, cqe.user_data);
		EXPECT_EQ(i % 4 == 3 ? -EINVAL : 0, cqe.res);
		EXPECT_RIGHT(t, ENTRY, begin);
		EXPECT_TRUE(!i || t.submit_ns == last.submit_ns);
		EXPECT_LE(last.complete_ns, t.complete_ns);
		last = t;
	}
	begin = now_ns();
	ASSERT_EQ(0, channel_push_nop(&self->c, 8));
	ASSERT_EQ(1, file_enter(self->c.file, 1));
	ASSERT_EQ(0, next(&self->c, &cqe, &t));
	EXPECT_RIGHT(t, ENTRY, begin);
	EXPECT_LT(last.submit_ns, t.submit_ns);
}

/* Each place has the times of what is there now, whatever anybody writes to it. */
TEST_F(channel_times, wraps_around)
{
	struct dmaplane_cqe cqe;
	struct dmaplane_times t;

	for (uint64_t round = 0; round < 100; round++) {
		uint64_t begin = now_ns();

		memset(self->c.times, 0xff, 8 * sizeof(*self->c.times));
		for (int i = 0; i < 5; i++)
			ASSERT_EQ(0, channel_push_nop(&self->c, round * 5 + i));
		ASSERT_EQ(5, channel_enter(&self->c, 5, 0, 0));
		/* That of the next one is as it was. */
		EXPECT_EQ(~0ULL, self->c.times[(round * 5 + 5) % 8].complete_ns);
		for (int i = 0; i < 5; i++) {
			ASSERT_EQ(0, next(&self->c, &cqe, &t));
			ASSERT_EQ(round * 5 + i, cqe.user_data);
			EXPECT_RIGHT(t, ENTRY, begin);
		}
	}
}

TEST_F(channel_times, full_rings)
{
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint32_t most = sizes[i][0] < sizes[i][1] ? sizes[i][0] : sizes[i][1];
		struct channel c;

		ASSERT_EQ(0, channel_open_flags(self->fd, sizes[i][0], sizes[i][1], TIMES, &c));
		for (int round = 0; round < 2; round++) {
			uint64_t begin = now_ns();
			struct dmaplane_cqe cqe;
			struct dmaplane_times t;
			uint32_t good = 0;

			for (uint32_t n = 0; n < most; n++)
				ASSERT_EQ(0, channel_push_nop(&c, n));
			ASSERT_EQ(most, channel_enter(&c, most, most, PATIENCE));
			for (uint32_t n = 0; n < most; n++)
				good += !next(&c, &cqe, &t) && cqe.user_data == n &&
					right(&t, ENTRY, begin);
			EXPECT_EQ(most, good);
		}
		EXPECT_EQ(0, channel_close(&c));
	}
}

/* Without one, an entry's time is lost, and the next one has the place. */
TEST_F(channel_times, of_those_with_a_completion)
{
	struct dmaplane_sqe silent = nop(1, DMAPLANE_SQE_CQE_SKIP_SUCCESS);
	struct dmaplane_cqe cqe;
	struct dmaplane_times t;
	uint64_t begin;

	ASSERT_EQ(1, channel_submit(&self->c, &silent));
	sleep_ms(2);
	begin = now_ns();
	ASSERT_EQ(0, channel_push_nop(&self->c, 2));
	ASSERT_EQ(1, channel_enter(&self->c, 1, 1, PATIENCE));
	ASSERT_EQ(0, next(&self->c, &cqe, &t));
	EXPECT_EQ(2, cqe.user_data);
	EXPECT_RIGHT(t, ENTRY, begin);
	EXPECT_EQ(0, channel_available(&self->c));
}

static struct dmaplane_sqe slow(FIXTURE_DATA(channel_times) *self, uint64_t user_data, uint8_t flags)
{
	struct dmaplane_sqe sqe = fill_buffer(self->buffer.handle, 0, LONG, user_data);

	sqe.user_data = user_data;
	sqe.flags = flags;
	return sqe;
}

/* A short one is done at once; of long ones the worker begins the next when one is complete. */
TEST_F(channel_times, copies)
{
	struct dmaplane_sqe sqes[] = {
		fill_buffer(self->buffer.handle, 0, 4096, 1), slow(self, 2, 0), slow(self, 3, 0),
	};
	struct dmaplane_cqe cqe;
	struct dmaplane_times t[3];
	uint64_t begin = now_ns();

	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, channel_push(&self->c, &sqes[i]));
	ASSERT_EQ(3, channel_enter(&self->c, 3, 3, PATIENCE));
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, next(&self->c, &cqe, &t[i]));
		EXPECT_EQ(sqes[i].user_data, cqe.user_data);
		EXPECT_EQ(sqes[i].length, cqe.res);
		EXPECT_RIGHT(t[i], i ? POSTED : ENTRY, begin);
		EXPECT_EQ(t[0].submit_ns, t[i].submit_ns);
	}
	EXPECT_LE(t[1].complete_ns, t[2].post_ns);
}

/* What never began has no second time, and what took it back no third before. */
TEST_F(channel_times, canceled)
{
	struct dmaplane_sqe sqes[] = {
		slow(self, 1, DMAPLANE_SQE_LINK), slow(self, 2, 0), slow(self, 3, 0),
		cancel(4, 0, 2, 0), cancel(5, 0, 3, 0),
	};
	static const uint64_t order[] = { 2, 4, 3, 5, 1 };
	struct dmaplane_cqe cqe;
	struct dmaplane_times t;
	uint64_t begin = now_ns();

	for (size_t i = 0; i < ARRAY_LEN(sqes); i++)
		ASSERT_EQ(0, channel_push(&self->c, &sqes[i]));
	ASSERT_EQ(5, channel_enter(&self->c, 5, 5, PATIENCE));
	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		uint64_t n = order[i];

		ASSERT_EQ(0, next(&self->c, &cqe, &t));
		EXPECT_EQ(n, cqe.user_data);
		EXPECT_EQ(n == 1 ? LONG : n < 4 ? -ECANCELED : 1, cqe.res);
		EXPECT_RIGHT(t, n == 1 ? POSTED : ENTRY, begin);
	}
}

/* Those that waited were taken when they were, and began later. */
TEST_F(channel_times, chains_and_drains)
{
	struct dmaplane_sqe sqes[] = {
		slow(self, 1, DMAPLANE_SQE_LINK), slow(self, 2, 0), nop(3, DMAPLANE_SQE_DRAIN),
	};
	struct dmaplane_cqe cqe;
	struct dmaplane_times t[4];
	uint64_t begin = now_ns();

	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, channel_push(&self->c, &sqes[i]));
	ASSERT_EQ(3, channel_enter(&self->c, 3, 0, 0));
	ASSERT_EQ(0, channel_push_nop(&self->c, 4));
	ASSERT_EQ(1, channel_enter(&self->c, 1, 4, PATIENCE));
	for (uint64_t i = 0; i < 4; i++) {
		ASSERT_EQ(0, next(&self->c, &cqe, &t[i]));
		EXPECT_EQ(i + 1, cqe.user_data);
		EXPECT_RIGHT(t[i], i < 2 ? POSTED : ENTRY, begin);
	}
	EXPECT_EQ(t[0].submit_ns, t[2].submit_ns);
	EXPECT_LT(t[2].submit_ns, t[3].submit_ns);
	EXPECT_LE(t[0].complete_ns, t[1].post_ns);
	EXPECT_LE(t[1].complete_ns, t[2].complete_ns);
	EXPECT_LE(t[2].complete_ns, t[3].complete_ns);
}

/* Two endpoints, both of whose channels say when. */
FIXTURE(times_pair) {
	struct pair p;
	struct memory from, to;
	uint32_t lease;
};

#define ROOM	16	/* in b's ring: for so many messages, until some are reaped */

FIXTURE_SETUP(times_pair)
{
	struct pair *p = &self->p;

	for (struct side *s = &p->a; s; s = s == &p->a ? &p->b : NULL) {
		s->fd = open_device();
		ASSERT_LE(0, s->fd);
		ASSERT_EQ(0, channel_open_flags(s->fd, 64, s == &p->a ? 64 : ROOM, TIMES, &s->ch));
	}
	p->b.recv_depth = 4;
	ASSERT_EQ(0, pair_connect(p));
	ASSERT_EQ(0, memory_make(&p->a, 65536, 0, &self->from));
	ASSERT_EQ(0, target(&p->b, &p->a, 65536, &self->to, &self->lease));
}

FIXTURE_TEARDOWN(times_pair)
{
	close(self->p.a.ch.file);
	close(self->p.b.ch.file);
	munmap(self->from.at, 65536);
	munmap(self->to.at, 65536);
	pair_close(&self->p);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
}

static struct dmaplane_sqe write_some(FIXTURE_DATA(times_pair) *self, uint32_t imm)
{
	return write_imm(&self->p.a, self->from.region, self->lease, 0, 0, 4096, imm);
}

/* Where no write can be (see pair.h) none is posted. */
static void expect_refused(struct __test_metadata *_metadata, FIXTURE_DATA(times_pair) *self)
{
	struct dmaplane_sqe sqe = write_some(self, 1);
	struct dmaplane_cqe cqe;
	struct dmaplane_times t;
	uint64_t begin = now_ns();

	ASSERT_EQ(1, channel_submit(&self->p.a.ch, &sqe));
	ASSERT_EQ(0, next(&self->p.a.ch, &cqe, &t));
	EXPECT_EQ(-EOPNOTSUPP, cqe.res);
	EXPECT_RIGHT(t, ENTRY, begin);
}

TEST_F(times_pair, writes_and_receives)
{
	struct side *a = &self->p.a, *b = &self->p.b;

	if (!can_write(a))
		return expect_refused(_metadata, self);
	for (uint32_t i = 0; i < 20; i++) {
		struct dmaplane_sqe sqe = write_some(self, i);
		struct dmaplane_cqe cqe;
		struct dmaplane_times t, received;
		uint64_t begin = now_ns();

		if (i % 2)
			dmaplane_prep_imm_only(&sqe, a->endpoint, i);
		ASSERT_EQ(1, channel_submit(&a->ch, &sqe));
		ASSERT_EQ(0, next(&a->ch, &cqe, &t));
		EXPECT_EQ(sqe.length, cqe.res);
		EXPECT_RIGHT(t, POSTED, begin);
		ASSERT_EQ(0, next(&b->ch, &cqe, &received));
		EXPECT_EQ(DMAPLANE_OP_RECV, cqe.opcode);
		EXPECT_EQ(i, cqe.imm);
		EXPECT_RIGHT(received, RECEIVED, t.submit_ns);
	}
}

/* One that waits for a credit is posted when there is one. */
TEST_F(times_pair, waits_for_credits)
{
	struct side *a = &self->p.a, *b = &self->p.b;
	struct dmaplane_cqe cqe;
	struct dmaplane_times t;
	uint64_t begin = now_ns(), reaped;

	if (!can_write(a))
		return expect_refused(_metadata, self);
	for (uint32_t i = 0; i <= ROOM; i++) {
		struct dmaplane_sqe sqe = write_some(self, i);

		ASSERT_EQ(0, channel_push(&a->ch, &sqe));
	}
	ASSERT_EQ(ROOM + 1, channel_enter(&a->ch, ROOM + 1, ROOM, PATIENCE));
	for (uint32_t i = 0; i < ROOM; i++) {
		ASSERT_EQ(0, next(&a->ch, &cqe, &t));
		EXPECT_RIGHT(t, POSTED, begin);
	}
	ASSERT_TRUE(WAIT_FOR(channel_available(&b->ch) == ROOM));
	reaped = now_ns();
	while (channel_available(&b->ch)) {
		ASSERT_EQ(0, next(&b->ch, &cqe, &t));
		EXPECT_RIGHT(t, RECEIVED, begin);
	}
	ASSERT_EQ(0, channel_enter(&b->ch, 0, 1, PATIENCE));
	ASSERT_EQ(0, next(&a->ch, &cqe, &t));
	EXPECT_EQ(ROOM, cqe.user_data);
	EXPECT_RIGHT(t, POSTED, begin);
	EXPECT_LT(t.submit_ns, reaped);
	EXPECT_LT(reaped, t.post_ns);
}

/* What was not sent when the connection ended was not posted. */
TEST_F(times_pair, ends_unsent)
{
	struct side *a = &self->p.a;
	struct dmaplane_cqe cqe;
	struct dmaplane_times t;
	uint64_t begin = now_ns();

	if (!can_write(a))
		return expect_refused(_metadata, self);
	for (uint32_t i = 0; i < 2 * ROOM; i++) {
		struct dmaplane_sqe sqe = write_some(self, i);

		ASSERT_EQ(0, channel_push(&a->ch, &sqe));
	}
	ASSERT_EQ(2 * ROOM, channel_enter(&a->ch, 2 * ROOM, ROOM, PATIENCE));
	ASSERT_EQ(0, endpoint_close(a->fd, a->endpoint));
	for (uint32_t i = 0; i < 2 * ROOM; i++) {
		ASSERT_EQ(0, next(&a->ch, &cqe, &t));
		EXPECT_EQ(i, cqe.user_data);
		EXPECT_EQ(i < ROOM ? 4096 : -ECANCELED, cqe.res);
		EXPECT_RIGHT(t, i < ROOM ? POSTED : ENTRY, begin);
	}
}

/* A wait for a counter is none of the adapter's business. */
TEST_F(times_pair, counter)
{
	struct side *a = &self->p.a, *b = &self->p.b;
	struct dmaplane_counter_create make = ARG(counter_create, .endpoint = b->endpoint, .imm = 7,
						  .mask = 0xffffffff);
	struct dmaplane_sqe wait = { .opcode = DMAPLANE_OP_COUNTER_WAIT, .endpoint = b->endpoint,
				     .local_offset = 1 };
	struct dmaplane_sqe sqe = write_some(self, 7);
	struct dmaplane_cqe cqe;
	struct dmaplane_times t;
	uint64_t begin = now_ns(), sent;

	if (!can_write(a))
		return expect_refused(_metadata, self);
	ASSERT_EQ(0, cmd(b->fd, DMAPLANE_IOC_COUNTER_CREATE, &make));
	wait.region = make.handle;
	ASSERT_EQ(1, channel_submit(&b->ch, &wait));
	sent = now_ns();
	ASSERT_EQ(1, channel_submit(&a->ch, &sqe));
	ASSERT_EQ(0, next(&b->ch, &cqe, &t));
	EXPECT_EQ(DMAPLANE_OP_COUNTER_WAIT, cqe.opcode);
	EXPECT_EQ(0, cqe.res);
	EXPECT_RIGHT(t, ENTRY, begin);
	EXPECT_LT(t.submit_ns, sent);
	EXPECT_LT(sent, t.complete_ns);
}

TEST_HARNESS_MAIN
