// SPDX-License-Identifier: GPL-2.0
/*
 * Whoever waits in ENTER handles the completions of all endpoints that deliver to
 * its channel. That does not keep it beyond its time, nor others from what is theirs:
 * endpoints that end, submissions from other channels.
 */
#include "pair.h"
#include "harness.h"

#define SHORT	64U
#define ROOM	4096U

/* a writes to b without end; b's completions are reaped by another than who waits. */
struct traffic {
	struct pair p;
	struct memory from, to;
	uint32_t lease;
	pthread_t threads[2];
	bool stop, sent;	/* no more is to be sent, and was */
	uint64_t received;
	int result;
};

static bool stopped(struct traffic *t)
{
	return __atomic_load_n(&t->stop, __ATOMIC_RELAXED);
}

static void *send_in_thread(void *arg)
{
	struct traffic *t = arg;
	struct side *a = &t->p.a;

	for (uint32_t i = 0; !stopped(t) && !t->result; i++) {
		struct dmaplane_sqe sqe = write_imm(a, t->from.region, t->lease, 0, 0, SHORT, i);
		struct dmaplane_cqe cqe;
		int ret = channel_do(&a->ch, &sqe, &cqe);

		t->result = ret ?: cqe.res == (int)SHORT ? 0 : cqe.res;
	}
	return NULL;
}

static void *reap_in_thread(void *arg)
{
	struct traffic *t = arg;
	struct dmaplane_cqe cqe;

	while (!__atomic_load_n(&t->sent, __ATOMIC_ACQUIRE)) {
		while (channel_reap(&t->p.b.ch, &cqe))
			__atomic_fetch_add(&t->received, 1, __ATOMIC_RELAXED);
		if (load_acquire(&t->p.b.ch.ring->flags) & DMAPLANE_RING_NEED_ENTER)
			channel_enter(&t->p.b.ch, 0, 0, 0);
		sched_yield();
	}
	return NULL;
}

static void traffic_open(struct __test_metadata *_metadata, struct traffic *t)
{
	/* Enough that nobody finds the ring full because the one who reaps was held up. */
	t->p.entries = 1024;
	ASSERT_EQ(0, pair_open(&t->p));
	ASSERT_EQ(0, memory_make(&t->p.a, ROOM, 0, &t->from));
	ASSERT_EQ(0, target(&t->p.b, &t->p.a, ROOM, &t->to, &t->lease));
}

static void traffic_start(struct __test_metadata *_metadata, struct traffic *t)
{
	ASSERT_EQ(0, pthread_create(&t->threads[0], NULL, send_in_thread, t));
	ASSERT_EQ(0, pthread_create(&t->threads[1], NULL, reap_in_thread, t));
	ASSERT_TRUE(WAIT_FOR(__atomic_load_n(&t->received, __ATOMIC_RELAXED) > 10));
}

static void traffic_stop(struct __test_metadata *_metadata, struct traffic *t)
{
	__atomic_store_n(&t->stop, true, __ATOMIC_RELAXED);
	EXPECT_EQ(0, pthread_join(t->threads[0], NULL));
	__atomic_store_n(&t->sent, true, __ATOMIC_RELEASE);
	EXPECT_EQ(0, pthread_join(t->threads[1], NULL));
	EXPECT_EQ(0, t->result);
}

FIXTURE(waiters) {
	struct traffic t;
};

FIXTURE_SETUP(waiters)
{
	traffic_open(_metadata, &self->t);
}

FIXTURE_TEARDOWN(waiters)
{
	pair_close(&self->t.p);
}

/* Of what comes while it waits, and at once: not when its time is over. */
TEST_F(waiters, are_woken)
{
	struct traffic *t = &self->t;
	uint64_t begin = now_ns();
	struct dmaplane_cqe cqe;

	for (uint32_t i = 0; i < 5 && can_write(&t->p.a); i++) {
		struct dmaplane_sqe sqe = write_imm(&t->p.a, t->from.region, t->lease, 0, 0, SHORT, i);

		ASSERT_EQ(0, channel_do(&t->p.a.ch, &sqe, &cqe));
		EXPECT_EQ((int)SHORT, cqe.res);
	}
	EXPECT_GT(PATIENCE / 2, now_ns() - begin);
}

/* What ENTER says that waits for all of the ring, which others empty. */
static int wait_for_all(struct channel *c, uint64_t timeout_ns)
{
	uint64_t give_up = now_ns() + PATIENCE / 2;
	int ret;

	do
		ret = channel_enter(c, 0, c->cq_entries, timeout_ns);
	while (!ret && now_ns() < give_up);
	return now_ns() < give_up ? ret : -ETIMEDOUT;
}

TEST_F(waiters, keep_their_time_under_traffic)
{
	if (!can_write(&self->t.p.a))
		return;
	traffic_start(_metadata, &self->t);
	for (int i = 0; i < 5; i++) {
		uint64_t begin = now_ns();

		EXPECT_EQ(-ETIME, wait_for_all(&self->t.p.b.ch, 50 * MS));
		EXPECT_LE(50 * MS, now_ns() - begin);
		EXPECT_EQ(-ETIME, wait_for_all(&self->t.p.b.ch, 0));
	}
	traffic_stop(_metadata, &self->t);
}

static void *wait_in_thread(void *arg)
{
	struct traffic *t = arg;

	while (!stopped(t))
		channel_enter(&t->p.b.ch, 0, t->p.b.ch.cq_entries, 20 * MS);
	return NULL;
}

/* Several wait, and handle what is for the endpoints that come and go beside them. */
TEST_F(waiters, let_neighbours_end)
{
	struct traffic *t = &self->t;
	pthread_t waiting[2];
	uint64_t before;

	if (!can_write(&t->p.a))
		return;
	traffic_start(_metadata, t);
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&waiting[i], NULL, wait_in_thread, t));
	for (uint32_t i = 0; i < 8; i++) {
		struct pair q = { 0 };
		struct memory from, to;
		uint32_t lease;

		ASSERT_EQ(0, side_open(&q.a, 64));
		q.b.fd = t->p.b.fd;
		q.b.ch = t->p.b.ch;
		ASSERT_EQ(0, pair_connect(&q));
		ASSERT_EQ(0, memory_make(&q.a, ROOM, 0, &from));
		ASSERT_EQ(0, target(&q.b, &q.a, ROOM, &to, &lease));
		for (uint32_t n = 0; n < 20; n++) {
			struct dmaplane_sqe sqe = write_imm(&q.a, from.region, lease, 0, 0, SHORT, n);

			ASSERT_EQ(0, channel_push(&q.a.ch, &sqe));
		}
		/* Under way, or done, when it ends on either side. */
		ASSERT_EQ(20, channel_enter(&q.a.ch, 20, i % 2 ? 20 : 0, PATIENCE));
		if (i % 4 < 2)
			EXPECT_EQ(0, endpoint_close(q.b.fd, q.b.endpoint));
		side_close(&q.a);
		if (i % 4 >= 2)
			EXPECT_EQ(0, endpoint_close(q.b.fd, q.b.endpoint));
		EXPECT_EQ(0, region_deregister(q.b.fd, to.region));
		EXPECT_EQ(0, endpoint_close(q.b.fd, q.listener));
	}
	before = __atomic_load_n(&t->received, __ATOMIC_RELAXED);
	EXPECT_TRUE(WAIT_FOR(__atomic_load_n(&t->received, __ATOMIC_RELAXED) > before + 10));
	traffic_stop(_metadata, t);
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(0, pthread_join(waiting[i], NULL));
}

/* More at a time than the endpoint's own channel has completions. */
TEST(entries_of_another_channel)
{
	struct pair p = { .a.recv_depth = 2, .b.recv_depth = 16 };
	struct dmaplane_cqe cqe;
	struct memory from, to;
	struct channel other;
	uint32_t lease;

	ASSERT_EQ(0, side_open(&p.a, 4));
	ASSERT_EQ(0, side_open(&p.b, 64));
	ASSERT_EQ(0, pair_connect(&p));
	ASSERT_EQ(0, channel_open(p.a.fd, 16, 16, &other));
	ASSERT_EQ(0, memory_make(&p.a, ROOM, 0, &from));
	ASSERT_EQ(0, target(&p.b, &p.a, ROOM, &to, &lease));
	for (uint32_t i = 0; i < 8; i++) {
		struct dmaplane_sqe sqe = write_imm(&p.a, from.region, lease, 0, 0, SHORT, i);

		ASSERT_EQ(0, channel_push(&other, &sqe));
	}
	ASSERT_EQ(8, channel_enter(&other, 8, 8, PATIENCE));
	for (uint32_t i = 0; i < 8; i++) {
		ASSERT_TRUE(channel_reap(&other, &cqe));
		EXPECT_EQ(i, cqe.user_data);
		EXPECT_EQ(written(&p.a, SHORT), cqe.res);
	}
	pair_close(&p);
}

TEST_HARNESS_MAIN
