// SPDX-License-Identifier: GPL-2.0
/*
 * The end of connections while data is on its way: every entry is completed
 * exactly once whoever closes, whatever waits is woken, nothing is left. Where
 * writes with an immediate are refused (see pair.h) it is leases that are on their way.
 */
#include "pair.h"
#include "harness.h"

#define MEGABYTE	(1U << 20)
#define ENTRIES		12

FIXTURE(closing) {
	struct pair p;
	struct memory from, to;
	uint32_t lease;
	bool writes;
};

static void open_all(struct __test_metadata *_metadata, FIXTURE_DATA(closing) *self)
{
	self->p = (struct pair){ 0 };
	ASSERT_EQ(0, pair_open(&self->p));
	ASSERT_EQ(0, memory_make(&self->p.a, MEGABYTE, 0, &self->from));
	ASSERT_EQ(0, target(&self->p.b, &self->p.a, MEGABYTE, &self->to, &self->lease));
	self->writes = can_write(&self->p.a);
}

static void close_all(FIXTURE_DATA(closing) *self)
{
	munmap(self->from.at, MEGABYTE);
	munmap(self->to.at, MEGABYTE);
	pair_close(&self->p);
}

FIXTURE_SETUP(closing)
{
	open_all(_metadata, self);
}

FIXTURE_TEARDOWN(closing)
{
	close_all(self);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("buffers"));
	EXPECT_EQ(0, live("regions"));
	/* A handler of the connection manager may still have one in hand. */
	EXPECT_TRUE(WAIT_FOR(live("endpoints") == 0));
	EXPECT_EQ(0, live("channels"));
}

static void start(struct __test_metadata *_metadata, FIXTURE_DATA(closing) *self)
{
	struct pair *p = &self->p;

	for (uint32_t i = 0; i < ENTRIES; i++) {
		struct dmaplane_sqe sqe = write_imm(&p->a, self->from.region, self->lease, 0, 0,
						    MEGABYTE, i);

		ASSERT_EQ(0, channel_push(&p->a.ch, &sqe));
	}
	ASSERT_EQ(ENTRIES, channel_enter(&p->a.ch, ENTRIES, 0, 0));
	for (uint32_t i = 0, lease; i < ENTRIES && !self->writes; i++) {
		ASSERT_EQ(0, lease_grant(&p->b, self->to.region, i, &lease));
	}
}

/* Each entry once and in order; after the first failed one none succeeds. */
static int reap_all(struct __test_metadata *_metadata, FIXTURE_DATA(closing) *self, int error)
{
	struct dmaplane_stats stats;
	struct dmaplane_cqe cqe;
	uint32_t good = 0;

	for (uint32_t i = 0; i < ENTRIES; i++) {
		ASSERT_EQ(0, channel_next(&self->p.a.ch, &cqe)) {
			TH_LOG("only %u of %u were completed", i, ENTRIES);
		}
		EXPECT_EQ(i, cqe.user_data);
		if (cqe.res == (int)MEGABYTE)
			good++;
		else
			EXPECT_EQ(self->writes ? error : -EOPNOTSUPP, cqe.res);
		EXPECT_TRUE(cqe.res < 0 || good == i + 1);
	}
	EXPECT_FALSE(channel_reap(&self->p.a.ch, &cqe));
	ASSERT_EQ(0, get_stats(self->p.a.fd, &stats));
	EXPECT_EQ(ENTRIES, stats.submitted);
	EXPECT_EQ(ENTRIES, stats.completed);
	return good;
}

TEST_F(closing, sender_closes_in_flight)
{
	struct dmaplane_cqe cqe;

	for (int ms = 0; ms <= 40; ms += 20) {
		start(_metadata, self);
		sleep_ms(ms);
		EXPECT_EQ(0, endpoint_close(self->p.a.fd, self->p.a.endpoint));
		EXPECT_EQ(ENTRIES, channel_available(&self->p.a.ch));
		reap_all(_metadata, self, -ECANCELED);
		EXPECT_TRUE(WAIT_FOR(state_of(self->p.b.fd, self->p.b.endpoint) ==
				     DMAPLANE_STATE_ERROR));
		while (channel_reap(&self->p.b.ch, &cqe))
			EXPECT_EQ(MEGABYTE, cqe.res);
		close_all(self);
		open_all(_metadata, self);
	}
}

TEST_F(closing, receiver_closes_in_flight)
{
	for (int ms = 0; ms <= 40; ms += 20) {
		start(_metadata, self);
		sleep_ms(ms);
		EXPECT_EQ(0, endpoint_close(self->p.b.fd, self->p.b.endpoint));
		reap_all(_metadata, self, -ECONNRESET);
		close_all(self);
		open_all(_metadata, self);
	}
}

/* As above, of what is read, by the one who reads and by the one whose memory it is. */
TEST_F_TIMEOUT(closing, reads_in_flight, 120)
{
	struct side *a = &self->p.a, *b = &self->p.b;
	int failed[2] = { 0 };
	struct memory from, to;
	uint32_t lease;

	self->writes = true;
	for (int i = 0; i < 6; i++) {
		struct side *closes = i % 2 ? b : a;

		ASSERT_EQ(0, memory_make(a, MEGABYTE, LOCAL_WRITE, &to));
		ASSERT_EQ(0, target_for(b, a, MEGABYTE, REMOTE_READ, &from, &lease));
		for (uint32_t e = 0; e < ENTRIES; e++) {
			struct dmaplane_sqe sqe = remote_sqe(a, DMAPLANE_OP_READ, to.region, lease, 0,
							     0, MEGABYTE, e);

			ASSERT_EQ(0, channel_push(&a->ch, &sqe));
		}
		ASSERT_EQ(ENTRIES, channel_enter(&a->ch, ENTRIES, 0, 0));
		sleep_ms(i / 2 * 4);
		EXPECT_EQ(0, endpoint_close(closes->fd, closes->endpoint));
		if (closes == a)
			EXPECT_EQ(ENTRIES, channel_available(&a->ch));
		failed[i % 2] += ENTRIES - reap_all(_metadata, self,
						    closes == a ? -ECANCELED : -ECONNRESET);
		munmap(to.at, MEGABYTE);
		munmap(from.at, MEGABYTE);
		close_all(self);
		open_all(_metadata, self);
		self->writes = true;
	}
	EXPECT_LT(0, failed[0]);
	EXPECT_LT(0, failed[1]);
}

/* A mapping keeps a context alive, so all of them go first. */
TEST_F(closing, receiver_context_ends_in_flight)
{
	start(_metadata, self);
	sleep_ms(10);
	munmap(self->to.at, MEGABYTE);
	side_close(&self->p.b);
	reap_all(_metadata, self, -ECONNRESET);
	self->p.b.fd = -1;
}

TEST_F(closing, sender_context_ends_in_flight)
{
	start(_metadata, self);
	sleep_ms(10);
	munmap(self->from.at, MEGABYTE);
	side_close(&self->p.a);
	EXPECT_TRUE(WAIT_FOR(state_of(self->p.b.fd, self->p.b.endpoint) ==
			     DMAPLANE_STATE_ERROR));
	self->p.a.fd = -1;
}

/* The buffer's handle and mapping end while its bytes travel. */
TEST_F(closing, buffer_destroyed_in_flight)
{
	struct dmaplane_cqe cqe;

	fill(self->from.at, MEGABYTE, 3);
	start(_metadata, self);
	EXPECT_EQ(0, buf_destroy(self->p.a.fd, self->from.buffer.handle));
	EXPECT_EQ(0, munmap(self->from.at, MEGABYTE));
	for (uint32_t i = 0; i < ENTRIES && self->writes; i++) {
		ASSERT_EQ(0, channel_next(&self->p.b.ch, &cqe));
		EXPECT_EQ(i, cqe.imm);
		EXPECT_EQ(0, channel_enter(&self->p.b.ch, 0, 0, 0));
	}
	EXPECT_EQ(self->writes ? ENTRIES : 0, reap_all(_metadata, self, 0));
	EXPECT_EQ(MEGABYTE, self->writes ? first_wrong(self->to.at, MEGABYTE, 3) :
					   first_not(self->to.at, MEGABYTE, 0));
}

struct waiter {
	struct side *side;
	int result;
};

static void *wait_for_lease(void *arg)
{
	struct waiter *w = arg;
	struct dmaplane_lease_wait got;

	w->result = lease_wait(w->side, DMAPLANE_FOREVER, &got);
	return NULL;
}

TEST_F(closing, lease_wait_is_woken)
{
	struct pair *p = &self->p;
	struct waiter w[2] = { { .side = &p->a }, { .side = &p->b } };
	pthread_t thread[2];

	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, wait_for_lease, &w[i]));
	}
	sleep_ms(30);
	EXPECT_EQ(0, endpoint_close(p->b.fd, p->b.endpoint));
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(thread[i], NULL));
	}
	EXPECT_EQ(-ENOTCONN, w[0].result);
	EXPECT_TRUE(w[1].result == -ENOTCONN || w[1].result == -ENOENT);
}

static void *wait_for_request(void *arg)
{
	struct pair *p = arg;
	struct dmaplane_endpoint_request got;

	p->b.result = take_request(p->b.fd, p->listener, DMAPLANE_FOREVER, &got);
	return NULL;
}

TEST_F(closing, request_is_woken)
{
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, wait_for_request, &self->p));
	sleep_ms(30);
	EXPECT_EQ(0, endpoint_close(self->p.b.fd, self->p.listener));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_GT(0, self->p.b.result);
}

/* Two threads close the same endpoint: one of them does. */
static void *close_in_thread(void *arg)
{
	struct waiter *w = arg;

	w->result = endpoint_close(w->side->fd, w->side->endpoint);
	return NULL;
}

TEST_F(closing, closed_twice_at_once)
{
	struct waiter w[2] = { { .side = &self->p.a }, { .side = &self->p.a } };
	pthread_t thread[2];

	start(_metadata, self);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, close_in_thread, &w[i]));
	}
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(thread[i], NULL));
	}
	EXPECT_EQ(-ENOENT, w[0].result + w[1].result);
	reap_all(_metadata, self, -ECANCELED);
}

/* A process that dies takes all its things with it, wherever it was. */
TEST_F(closing, killed)
{
	for (int i = 0; i < 4; i++) {
		int status;
		pid_t pid;

		close_all(self);
		fflush(NULL);
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			setpgrp();
			open_all(_metadata, self);
			start(_metadata, self);
			for (;;)
				pause();
		}
		sleep_ms(30 + 40 * i);
		EXPECT_EQ(0, kill(pid, SIGKILL));
		EXPECT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
		EXPECT_EQ(0, live("buffers"));
		EXPECT_TRUE(WAIT_FOR(live("endpoints") == 0));
		open_all(_metadata, self);
	}
}

/* Nothing of a connection is left to disturb or starve the next one. */
TEST_F(closing, again_and_again)
{
	struct dmaplane_cqe cqe;

	for (int i = 0; i < 25; i++) {
		struct dmaplane_sqe sqe = write_imm(&self->p.a, self->from.region, self->lease, 0,
						    0, 1000, i);

		ASSERT_EQ(0, channel_do(&self->p.a.ch, &sqe, &cqe));
		ASSERT_EQ(written(&self->p.a, 1000), cqe.res);
		if (self->writes) {
			ASSERT_EQ(0, channel_next(&self->p.b.ch, &cqe));
			ASSERT_EQ(i, cqe.imm);
		}
		close_all(self);
		open_all(_metadata, self);
	}
}

TEST_HARNESS_MAIN
