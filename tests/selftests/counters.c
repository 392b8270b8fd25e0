// SPDX-License-Identifier: GPL-2.0
/*
 * Counters: which messages are counted, how they are waited for, and how waiting ends.
 * Where immediates are refused (see pair.h) nothing arrives, and the rest is the same.
 */
#include "pair.h"
#include "harness.h"

#define MANY	1024	/* chunks */

FIXTURE(counters) {
	struct pair p;		/* a sends; b has 16 places, 4 of them for receives */
	bool sends;
};

FIXTURE_SETUP(counters)
{
	struct pair *p = &self->p;

	p->a.send_depth = 32;
	p->b.recv_depth = 4;
	ASSERT_EQ(0, side_open(&p->a, 64));
	ASSERT_EQ(0, side_open(&p->b, 16));
	ASSERT_EQ(0, pair_connect(p));
	self->sends = can_write(&p->a);
}

FIXTURE_TEARDOWN(counters)
{
	pair_close(&self->p);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("counters"));
	EXPECT_TRUE(WAIT_FOR(live("endpoints") == 0));
}

static int counter_create(const struct side *s, uint32_t imm, uint32_t mask, uint32_t *counter)
{
	struct dmaplane_counter_create arg =
		ARG(counter_create, .endpoint = s->endpoint, .imm = imm, .mask = mask);
	int ret = cmd(s->fd, DMAPLANE_IOC_COUNTER_CREATE, &arg);

	*counter = arg.handle;
	return ret;
}

static int counter_destroy(const struct side *s, uint32_t counter)
{
	return end(s->fd, DMAPLANE_IOC_COUNTER_DESTROY, counter);
}

static int counter_query(const struct side *s, uint32_t counter,
			 struct dmaplane_counter_query *arg)
{
	*arg = ARG(counter_query, .counter = counter);
	return cmd(s->fd, DMAPLANE_IOC_COUNTER_QUERY, arg);
}

static long value_of(const struct side *s, uint32_t counter)
{
	struct dmaplane_counter_query arg;
	int ret = counter_query(s, counter, &arg);

	return ret ?: (long)arg.value;
}

static struct dmaplane_sqe await(const struct side *s, uint32_t counter, uint64_t value,
				 uint64_t user_data)
{
	struct dmaplane_sqe sqe;

	dmaplane_prep_counter_wait(&sqe, s->endpoint, counter, value);
	dmaplane_sqe_set_user_data(&sqe, user_data);
	return sqe;
}

/* Sends a message without bytes; 0 when the peer's adapter has it. */
static int send_imm(struct side *s, uint32_t imm)
{
	struct dmaplane_sqe sqe = { .opcode = DMAPLANE_OP_IMM_ONLY, .endpoint = s->endpoint,
				    .imm = imm, .user_data = imm };
	struct dmaplane_cqe cqe;
	int ret = channel_do(&s->ch, &sqe, &cqe);

	return ret ?: cqe.res;
}

#define SEND(imm) \
	ASSERT_EQ(self->sends ? 0 : -EOPNOTSUPP, send_imm(&self->p.a, imm))

#define EXPECT_VALUE(expected, counter) \
	EXPECT_TRUE(WAIT_FOR(value_of(&self->p.b, counter) == (self->sends ? (expected) : 0)))

/* The next completion of b, which is that of an entry. */
#define EXPECT_DONE(expected_user_data, expected_res) ({			\
	struct dmaplane_cqe __cqe = { 0 };					\
										\
	ASSERT_EQ(0, channel_next(&self->p.b.ch, &__cqe));			\
	EXPECT_EQ(expected_user_data, __cqe.user_data);				\
	EXPECT_EQ(expected_res, __cqe.res);					\
	EXPECT_EQ(DMAPLANE_OP_COUNTER_WAIT, __cqe.opcode);			\
	EXPECT_EQ(self->p.b.endpoint, __cqe.endpoint);				\
})

#define SUBMIT(sqe) ({								\
	struct dmaplane_sqe __sqe = (sqe);					\
	ASSERT_EQ(1, channel_submit(&self->p.b.ch, &__sqe));			\
})

/* One immediate, some, all: the most exact one counts, and what none does is told of. */
TEST_F(counters, patterns)
{
	struct side *b = &self->p.b;
	uint32_t exact, low, high, any;
	struct dmaplane_cqe cqe;

	ASSERT_EQ(0, counter_create(b, 7, UINT32_MAX, &exact));
	ASSERT_EQ(0, counter_create(b, 0x07, 0x0f, &low));
	ASSERT_EQ(0, counter_create(b, 0x1000, 0xf000, &high));
	SEND(7);
	SEND(0x17);
	SEND(0x1017);	/* both: the least mask */
	SEND(0x1018);
	SEND(0x2008);	/* none */
	EXPECT_VALUE(1, exact);
	EXPECT_VALUE(2, low);
	EXPECT_VALUE(1, high);
	if (self->sends) {
		ASSERT_EQ(0, channel_next(&b->ch, &cqe));
		EXPECT_EQ(DMAPLANE_OP_RECV, cqe.opcode);
		EXPECT_EQ(0x2008, cqe.imm);
	}
	ASSERT_EQ(0, counter_create(b, 0, 0, &any));
	SEND(0x2008);
	SEND(7);
	EXPECT_VALUE(1, any);
	EXPECT_VALUE(2, exact);
	EXPECT_EQ(0, channel_available(&b->ch));
	/* Without the exact one the next best has it. */
	EXPECT_EQ(0, counter_destroy(b, exact));
	EXPECT_EQ(-ENOENT, value_of(b, exact));
	SEND(7);
	EXPECT_VALUE(3, low);
	EXPECT_EQ(0, counter_destroy(b, low));
	SEND(7);
	EXPECT_VALUE(2, any);
	EXPECT_EQ(0, counter_destroy(b, any));
	SEND(7);
	if (self->sends) {
		ASSERT_EQ(0, channel_next(&b->ch, &cqe));
		EXPECT_EQ(7, cqe.imm);
	}
	EXPECT_VALUE(1, high);
}

TEST_F(counters, wait)
{
	struct side *b = &self->p.b;
	uint32_t counter;

	ASSERT_EQ(0, counter_create(b, 1, UINT32_MAX, &counter));
	SUBMIT(await(b, counter, 0, 10));
	EXPECT_DONE(10, 0);
	if (!self->sends)
		return;
	SUBMIT(await(b, counter, 3, 13));
	SUBMIT(await(b, counter, 2, 12));
	SUBMIT(await(b, counter, UINT64_MAX, 99));
	SUBMIT(await(b, counter, 2, 22));
	SEND(1);
	EXPECT_VALUE(1, counter);
	EXPECT_EQ(0, channel_available(&b->ch));
	SUBMIT(await(b, counter, 1, 11));
	EXPECT_DONE(11, 0);
	SEND(1);
	EXPECT_DONE(12, 0);
	EXPECT_DONE(22, 0);
	SEND(1);
	EXPECT_DONE(13, 0);
	SEND(1);
	EXPECT_VALUE(4, counter);
	EXPECT_EQ(0, channel_available(&b->ch));
	/* Again, past what is there. */
	SUBMIT(await(b, counter, 4, 14));
	EXPECT_DONE(14, 0);
}

static void *send_many(void *arg)
{
	struct side *a = arg;
	struct dmaplane_sqe sqe = { .opcode = DMAPLANE_OP_IMM_ONLY, .endpoint = a->endpoint,
				    .imm = 5 };
	struct dmaplane_cqe cqe;
	long good = 0;

	for (int sent = 0; good < MANY;) {
		while (sent < MANY && sent - good < 32) {
			if (channel_push(&a->ch, &sqe))
				return (void *)good;
			sent++;
		}
		if (channel_enter(&a->ch, UINT32_MAX, 1, PATIENCE) < 0)
			break;
		while (channel_reap(&a->ch, &cqe)) {
			if (cqe.res)
				return (void *)good;
			good++;
		}
	}
	return (void *)good;
}

/* A thousand chunks, more than the ring has places for: one call, one completion. */
TEST_F(counters, one_call_for_many)
{
	struct side *b = &self->p.b;
	struct dmaplane_stats before, after;
	struct dmaplane_sqe sqe;
	pthread_t thread;
	uint32_t counter;
	void *good;

	if (!self->sends)
		return;
	ASSERT_EQ(0, counter_create(b, 5, UINT32_MAX, &counter));
	sqe = await(b, counter, MANY, 1);
	ASSERT_EQ(0, get_stats(b->fd, &before));
	ASSERT_EQ(0, pthread_create(&thread, NULL, send_many, &self->p.a));
	ASSERT_EQ(0, channel_push(&b->ch, &sqe));
	ASSERT_EQ(1, channel_enter(&b->ch, 1, 1, PATIENCE));
	EXPECT_EQ(1, channel_available(&b->ch));
	EXPECT_DONE(1, 0);
	EXPECT_EQ(MANY, value_of(b, counter));
	ASSERT_EQ(0, pthread_join(thread, &good));
	EXPECT_EQ(MANY, (long)good);
	ASSERT_EQ(0, get_stats(b->fd, &after));
	EXPECT_EQ(before.received, after.received);
	EXPECT_EQ(0, load_acquire(&b->ch.ring->flags));
}

/* By poll() of the channel's file, and by what is linked to it. */
TEST_F(counters, poll_and_link)
{
	struct side *b = &self->p.b;
	struct dmaplane_sqe chain[2];
	struct dmaplane_cqe cqe;
	struct pollfd p = { .events = POLLIN };
	struct buffer buffer;
	uint32_t counter;
	uint8_t *at;

	if (!self->sends)
		return;
	ASSERT_EQ(0, counter_create(b, 0, 0, &counter));
	ASSERT_EQ(0, buf_create(b->fd, 4096, &buffer));
	at = buf_map(b->fd, &buffer);
	ASSERT_NE(MAP_FAILED, (void *)at);
	p.fd = channel_file(&b->ch);
	ASSERT_LE(0, p.fd);
	chain[0] = await(b, counter, 2, 1);
	chain[0].flags = DMAPLANE_SQE_LINK | DMAPLANE_SQE_CQE_SKIP_SUCCESS;
	chain[1] = fill_buffer(buffer.handle, 0, 4096, 9);
	chain[1].user_data = 2;
	ASSERT_EQ(0, channel_push(&b->ch, &chain[0]));
	ASSERT_EQ(0, channel_push(&b->ch, &chain[1]));
	ASSERT_EQ(2, channel_enter(&b->ch, 2, 0, 0));
	SEND(1);
	EXPECT_VALUE(1, counter);
	EXPECT_EQ(0, poll_now(p.fd));
	EXPECT_EQ(0, at[0]);
	SEND(2);
	EXPECT_EQ(1, poll(&p, 1, PATIENCE / MS));
	ASSERT_EQ(0, channel_next(&b->ch, &cqe));
	EXPECT_EQ(2, cqe.user_data);
	EXPECT_EQ(4096, cqe.res);
	EXPECT_EQ(4096, first_not(at, 4096, 9));
	EXPECT_EQ(0, close(p.fd));
	EXPECT_EQ(0, munmap(at, 4096));
}

TEST_F(counters, canceled)
{
	struct side *b = &self->p.b;
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;
	uint32_t counter;

	ASSERT_EQ(0, counter_create(b, 1, UINT32_MAX, &counter));
	SUBMIT(await(b, counter, 1, 1));
	SUBMIT(await(b, counter, 1, 2));
	SUBMIT(await(b, counter, 2, 1));
	SUBMIT(cancel(8, b->endpoint, 1, 0));
	EXPECT_DONE(1, -ECANCELED);
	ASSERT_EQ(0, channel_next(&b->ch, &cqe));
	EXPECT_EQ(8, cqe.user_data);
	EXPECT_EQ(1, cqe.res);
	SUBMIT(cancel(9, b->endpoint, 0, DMAPLANE_CANCEL_ALL));
	EXPECT_DONE(2, -ECANCELED);
	EXPECT_DONE(1, -ECANCELED);
	ASSERT_EQ(0, channel_next(&b->ch, &cqe));
	EXPECT_EQ(2, cqe.res);
	sqe = cancel(9, b->endpoint, 1, 0);
	EXPECT_EQ(0, channel_do(&b->ch, &sqe, &cqe));
	EXPECT_EQ(-ENOENT, cqe.res);
	SEND(1);
	EXPECT_VALUE(1, counter);
	EXPECT_EQ(0, channel_available(&b->ch));
}

TEST_F(counters, destroyed)
{
	struct side *b = &self->p.b;
	struct dmaplane_sqe chain[2];
	uint32_t counter, second;

	ASSERT_EQ(0, counter_create(b, 1, UINT32_MAX, &counter));
	SUBMIT(await(b, counter, 1, 1));
	/* One that has not begun, in a chain. */
	chain[0] = await(b, counter, 1, 2);
	chain[0].flags = DMAPLANE_SQE_LINK;
	chain[1] = await(b, counter, 0, 3);
	ASSERT_EQ(0, channel_push(&b->ch, &chain[0]));
	ASSERT_EQ(0, channel_push(&b->ch, &chain[1]));
	ASSERT_EQ(2, channel_enter(&b->ch, 2, 0, 0));
	EXPECT_EQ(0, counter_destroy(b, counter));
	EXPECT_DONE(1, -ECANCELED);
	EXPECT_DONE(2, -ECANCELED);
	EXPECT_DONE(3, -ECANCELED);
	EXPECT_EQ(-ENOENT, counter_destroy(b, counter));
	/* One of the same kind is another one. */
	ASSERT_EQ(0, counter_create(b, 1, UINT32_MAX, &second));
	EXPECT_NE(counter, second);
	EXPECT_EQ(0, value_of(b, second));
	SEND(1);
	EXPECT_VALUE(1, second);
}

TEST_F(counters, endpoint_closed)
{
	struct side *b = &self->p.b;
	struct dmaplane_counter_query got;
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;
	uint32_t counter;

	ASSERT_EQ(0, counter_create(b, 1, UINT32_MAX, &counter));
	SEND(1);
	EXPECT_VALUE(1, counter);
	SUBMIT(await(b, counter, 2, 1));
	EXPECT_EQ(0, endpoint_close(b->fd, b->endpoint));
	EXPECT_EQ(1, channel_available(&b->ch));
	EXPECT_DONE(1, -ECANCELED);
	ASSERT_EQ(0, counter_query(b, counter, &got));
	EXPECT_EQ(ECANCELED, got.error);
	EXPECT_EQ(self->sends, got.value);
	sqe = await(b, counter, 1, 2);
	ASSERT_EQ(0, channel_do(&b->ch, &sqe, &cqe));
	EXPECT_EQ(-ENOENT, cqe.res);
	EXPECT_EQ(0, counter_destroy(b, counter));
}

/* The peer ends when all is sent: what has arrived is counted before anybody hears of that. */
TEST_F(counters, peer_closes)
{
	struct side *a = &self->p.a, *b = &self->p.b;
	struct dmaplane_counter_query got;
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;
	const int count = self->sends ? 20 : 0;
	uint32_t counter;

	ASSERT_EQ(0, counter_create(b, 0, 0, &counter));
	SUBMIT(await(b, counter, count, 1));
	SUBMIT(await(b, counter, count + 1, 2));
	for (int i = 0; i < count; i++)
		SEND(i);
	EXPECT_EQ(0, endpoint_close(a->fd, a->endpoint));
	EXPECT_DONE(1, 0);
	EXPECT_DONE(2, -ECONNRESET);
	ASSERT_EQ(0, counter_query(b, counter, &got));
	EXPECT_EQ(ECONNRESET, got.error);
	EXPECT_EQ(count, got.value);
	/* What was counted can still be waited for. */
	SUBMIT(await(b, counter, count, 3));
	EXPECT_DONE(3, 0);
	sqe = await(b, counter, count + 1, 4);
	ASSERT_EQ(0, channel_do(&b->ch, &sqe, &cqe));
	EXPECT_EQ(-ECONNRESET, cqe.res);
}

/* An endpoint that was never connected, whose counter ends with it. */
TEST_F(counters, not_connected)
{
	struct dmaplane_endpoint_listen listen;
	struct side s = self->p.b;
	struct dmaplane_cqe cqe;
	uint32_t counter;

	ASSERT_EQ(0, listen_on(s.fd, ADDRESS4, 0, 1, &listen));
	ASSERT_EQ(0, resolve(s.fd, &listen.addr, &s.endpoint));
	ASSERT_EQ(0, counter_create(&s, 0, 0, &counter));
	SUBMIT(await(&s, counter, 1, 1));
	EXPECT_EQ(0, channel_available(&s.ch));
	EXPECT_EQ(0, endpoint_close(s.fd, s.endpoint));
	ASSERT_EQ(0, channel_next(&self->p.b.ch, &cqe));
	EXPECT_EQ(-ECANCELED, cqe.res);
	EXPECT_EQ(s.endpoint, cqe.endpoint);
}

/* Whoever waits on a channel that nothing is delivered to, when that or all is closed. */
TEST_F(counters, closed_with_waiters)
{
	struct side *b = &self->p.b;
	struct dmaplane_sqe sqe;
	struct channel second, third;
	struct dmaplane_stats stats;
	uint32_t counter;

	ASSERT_EQ(0, channel_open(b->fd, 4, 4, &second));
	ASSERT_EQ(0, channel_open(b->fd, 4, 4, &third));
	ASSERT_EQ(0, counter_create(b, 0, 0, &counter));
	sqe = await(b, counter, 1, 1);
	ASSERT_EQ(1, channel_submit(&second, &sqe));
	ASSERT_EQ(1, channel_submit(&third, &sqe));
	EXPECT_EQ(0, channel_close(&second));
	SEND(1);
	EXPECT_VALUE(1, counter);
	if (self->sends) {
		EXPECT_TRUE(WAIT_FOR(channel_available(&third) == 1));
		EXPECT_EQ(0, third.cqes[0].res);
		/* Also the one that nobody can be told of. */
		EXPECT_TRUE(WAIT_FOR(!get_stats(b->fd, &stats) &&
				     stats.submitted == stats.completed));
	}
	sqe = await(b, counter, 9, 1);
	ASSERT_EQ(1, channel_submit(&third, &sqe));
	SUBMIT(await(b, counter, 9, 1));
	munmap(third.ring, third.length);
}

/* From the first message on, which is there as soon as the connection is. */
TEST_F(counters, made_before_accepting)
{
	struct side a = self->p.a, b = self->p.b;
	struct dmaplane_endpoint_listen listen;
	struct dmaplane_endpoint_request request;
	pthread_t thread;
	uint32_t counter;

	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, listen_on(b.fd, ADDRESS4, 0, 1, &listen));
		ASSERT_EQ(0, resolve(a.fd, &listen.addr, &a.endpoint));
		ASSERT_EQ(0, pthread_create(&thread, NULL, connect_in_thread, &a));
		ASSERT_EQ(0, take_request(b.fd, listen.handle, PATIENCE, &request));
		b.endpoint = request.handle;
		ASSERT_EQ(0, counter_create(&b, 0, 0, &counter));
		ASSERT_EQ(0, side_join(&b, DMAPLANE_IOC_ENDPOINT_ACCEPT));
		ASSERT_EQ(0, pthread_join(thread, NULL));
		ASSERT_EQ(0, a.result);
		EXPECT_EQ(self->sends ? 0 : -EOPNOTSUPP, send_imm(&a, 1));
		EXPECT_TRUE(WAIT_FOR(value_of(&b, counter) == self->sends));
		EXPECT_EQ(0, channel_available(&b.ch));
		EXPECT_EQ(0, endpoint_close(a.fd, a.endpoint));
		EXPECT_EQ(0, endpoint_close(b.fd, b.endpoint));
		EXPECT_EQ(0, endpoint_close(b.fd, listen.handle));
		EXPECT_EQ(0, counter_destroy(&b, counter));
	}
}

TEST_F(counters, bad)
{
	struct side *b = &self->p.b;
	struct dmaplane_counter_create create;
	uint32_t counters[17], counter;
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;

	EXPECT_EQ(-EINVAL, counter_create(b, 2, 1, &counter));
	EXPECT_EQ(-EINVAL, counter_create(b, 1, 0, &counter));
	create = ARG(counter_create, .endpoint = b->ch.handle);
	EXPECT_EQ(-EBADF, cmd(b->fd, DMAPLANE_IOC_COUNTER_CREATE, &create));
	for (int i = 0; i < 16; i++)
		ASSERT_EQ(0, counter_create(b, 0, 1U << i, &counters[i]));
	EXPECT_EQ(-EEXIST, counter_create(b, 0, 1, &counter));
	EXPECT_EQ(-ENOSPC, counter_create(b, 0, 1U << 16, &counter));
	ASSERT_EQ(0, counter_create(b, 1, 1, &counters[16]));
	EXPECT_EQ(0, counter_destroy(b, counters[0]));
	EXPECT_EQ(-ENOSPC, counter_create(b, 0, 1U << 16, &counter));
	EXPECT_EQ(0, counter_destroy(b, counters[16]));
	EXPECT_EQ(0, counter_create(b, 0, 1U << 16, &counter));

	const struct { struct dmaplane_sqe sqe; int res; } bad[] = {
		{ { .endpoint = b->endpoint }, -ENOENT },
		{ { .region = counter }, -ENOENT },
		{ { .endpoint = b->endpoint, .region = b->endpoint }, -EBADF },
		{ { .endpoint = counter, .region = counter }, -EBADF },
		{ { .endpoint = b->endpoint, .region = counter, .lease = 1 }, -EINVAL },
		{ { .endpoint = b->endpoint, .region = counter, .length = 1 }, -EINVAL },
		{ { .endpoint = b->endpoint, .region = counter, .imm = 1 }, -EINVAL },
		{ { .endpoint = b->endpoint, .region = counter, .remote_offset = 1 }, -EINVAL },
		{ { .endpoint = b->endpoint, .region = counter, .pad0 = 1 }, -EINVAL },
		{ { .endpoint = b->endpoint, .region = counter, .list_offset = 1 }, -EINVAL },
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		sqe = bad[i].sqe;
		sqe.opcode = DMAPLANE_OP_COUNTER_WAIT;
		ASSERT_EQ(0, channel_do(&b->ch, &sqe, &cqe));
		EXPECT_EQ(bad[i].res, cqe.res) {
			TH_LOG("%zu", i);
		}
	}
}

/* A counter is no good for another endpoint. */
TEST_F(counters, of_another_endpoint)
{
	struct dmaplane_endpoint_listen listen;
	struct side *b = &self->p.b, other = *b;
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;
	uint32_t counter;

	ASSERT_EQ(0, listen_on(b->fd, ADDRESS4, 0, 1, &listen));
	ASSERT_EQ(0, resolve(b->fd, &listen.addr, &other.endpoint));
	ASSERT_EQ(0, counter_create(b, 0, 0, &counter));
	sqe = await(&other, counter, 0, 1);
	ASSERT_EQ(0, channel_do(&b->ch, &sqe, &cqe));
	EXPECT_EQ(-EXDEV, cqe.res);
}

struct churn {
	struct side *s;
	bool stop;
};

static void *make_and_destroy(void *arg)
{
	struct churn *churn = arg;
	uint32_t counter;
	long wrong = 0;

	for (uint32_t i = 0; !load_acquire(&churn->stop); i++) {
		if (counter_create(churn->s, i % 8, 7, &counter))
			wrong++;
		else
			wrong += counter_destroy(churn->s, counter) != 0;
	}
	return (void *)wrong;
}

/* A counter misses nothing while others come and go. */
TEST_F(counters, made_meanwhile)
{
	struct side *b = &self->p.b;
	struct churn churn = { b };
	struct dmaplane_endpoint_query got;
	struct dmaplane_cqe cqe;
	uint32_t counter;
	pthread_t thread;
	void *wrong;

	if (!self->sends)
		return;
	ASSERT_EQ(0, counter_create(b, 3, UINT32_MAX, &counter));
	ASSERT_EQ(0, pthread_create(&thread, NULL, make_and_destroy, &churn));
	for (int i = 0; i < 200; i++) {
		SEND(3);
		SEND(1);
		while (channel_reap(&b->ch, &cqe))
			EXPECT_EQ(1, cqe.imm);
		if (load_acquire(&b->ch.ring->flags))
			channel_enter(&b->ch, 0, 0, 0);
	}
	store_release(&churn.stop, true);
	ASSERT_EQ(0, pthread_join(thread, &wrong));
	EXPECT_EQ(NULL, wrong);
	EXPECT_TRUE(WAIT_FOR(!query(b->fd, b->endpoint, &got) && got.received == 400));
	EXPECT_EQ(200, value_of(b, counter));
}

TEST_HARNESS_MAIN
