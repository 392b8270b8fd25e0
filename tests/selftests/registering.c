// SPDX-License-Identifier: GPL-2.0
/*
 * Memory is registered on a connection that is in use: what is sent arrives, in
 * order, while threads register again and again, and both get on; a signal, a close
 * and a failure end the wait of who registers.
 */
#include "pair.h"
#include "harness.h"

#include <pthread.h>
#include <signal.h>

#define THREADS		2
#define MESSAGES	300
#define REGISTRATIONS	20
/* They take turns, so that some hundred messages are enough for all registrations. */
#define TOO_MANY	5000
#define WINDOW		24
#define SIZE		64
#define LENGTH		4096

struct registrant {
	pthread_t thread;
	struct side *side;
	uint32_t buffer;
	bool *stop;
	unsigned long count;
	int error;	/* the first */
};

static void *register_on_and_on(void *arg)
{
	struct registrant *r = arg;

	while (!r->error && !__atomic_load_n(r->stop, __ATOMIC_RELAXED)) {
		uint32_t region;

		r->error = region_register(r->side->fd, r->side->endpoint, r->buffer, 0, LENGTH, 0,
					   &region);
		r->error = r->error ?: region_deregister(r->side->fd, region);
		__atomic_fetch_add(&r->count, !r->error, __ATOMIC_RELAXED);
	}
	return NULL;
}

FIXTURE(registering) {
	struct pair p;
	struct memory from, to;
	uint32_t lease;
	struct registrant who[THREADS];
	bool stop;
};

FIXTURE_SETUP(registering)
{
	struct pair *p = &self->p;

	ASSERT_EQ(0, pair_open(p));
	ASSERT_EQ(0, memory_make(&p->a, LENGTH, 0, &self->from));
	ASSERT_EQ(0, target(&p->b, &p->a, LENGTH, &self->to, &self->lease));
	for (int i = 0; i < THREADS; i++) {
		self->who[i] = (struct registrant){
			.side = &p->a, .buffer = self->from.buffer.handle, .stop = &self->stop,
		};
		ASSERT_EQ(0, pthread_create(&self->who[i].thread, NULL, register_on_and_on,
					    &self->who[i]));
	}
}

FIXTURE_TEARDOWN(registering)
{
	pair_close(&self->p);
}

static unsigned long count_of(struct registrant *r)
{
	return __atomic_load_n(&r->count, __ATOMIC_RELAXED);
}

/* The least that one of them has done. */
static unsigned long least(struct registrant who[THREADS])
{
	unsigned long least = count_of(&who[0]);

	for (int i = 1; i < THREADS; i++)
		least = count_of(&who[i]) < least ? count_of(&who[i]) : least;
	return least;
}

/* There is always more to send than may be in flight. */
TEST_F(registering, and_sending_both_get_on)
{
	struct pair *p = &self->p;
	int good = written(&p->a, SIZE);
	uint32_t sent = 0, done = 0, received = 0;
	uint64_t give_up = now_ns() + PATIENCE;
	unsigned long before = 0, now;
	struct dmaplane_cqe cqe;

	while (done < MESSAGES || least(self->who) < REGISTRATIONS) {
		/* However slow: first the ones have to get on, and then the others. */
		now = done < MESSAGES ? done : MESSAGES + least(self->who);
		if (now != before)
			give_up = now_ns() + PATIENCE;
		before = now;
		ASSERT_TRUE(now_ns() < give_up && (good < 0 || done < TOO_MANY)) {
			TH_LOG("%u sent, %u done, %u received, %lu registered", sent, done,
			       received, least(self->who));
		}
		while (sent - done < WINDOW) {
			struct dmaplane_sqe sqe = write_imm(&p->a, self->from.region, self->lease,
							    0, 0, SIZE, sent);

			ASSERT_EQ(1, channel_submit(&p->a.ch, &sqe));
			sent++;
		}
		while (channel_reap(&p->a.ch, &cqe)) {
			ASSERT_EQ(done++, cqe.user_data);
			ASSERT_EQ(good, cqe.res);
		}
		while (channel_reap(&p->b.ch, &cqe))
			ASSERT_EQ(received++, cqe.imm);
		if (!channel_available(&p->a.ch))
			ASSERT_LE(0, channel_enter(&p->b.ch, 0, 0, 0));
		if (good >= 0 && sent - done == WINDOW && !channel_available(&p->b.ch))
			channel_enter(&p->a.ch, 0, 1, MS);
	}
	__atomic_store_n(&self->stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, pthread_join(self->who[i].thread, NULL));
		EXPECT_EQ(0, self->who[i].error);
	}
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(p->a.fd, p->a.endpoint));
}

/* Whoever registers meanwhile learns that the endpoint is gone, or on its way. */
TEST_F(registering, ends_with_the_endpoint)
{
	EXPECT_TRUE(WAIT_FOR(count_of(&self->who[0]) > 3));
	EXPECT_EQ(0, endpoint_close(self->p.a.fd, self->p.a.endpoint));
	for (int i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, pthread_join(self->who[i].thread, NULL));
		EXPECT_TRUE(self->who[i].error == -ENOTCONN || self->who[i].error == -ENOENT);
	}
}

/* The peer's end reaches us by itself. */
TEST_F(registering, ends_with_the_peer)
{
	EXPECT_TRUE(WAIT_FOR(count_of(&self->who[0]) > 3));
	EXPECT_EQ(0, endpoint_close(self->p.b.fd, self->p.b.endpoint));
	for (int i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, pthread_join(self->who[i].thread, NULL));
		EXPECT_EQ(-ENOTCONN, self->who[i].error);
	}
}

/* Where they shall be already: nobody is held up. The rest is in numa_registered.c. */
TEST_F(registering, there_already)
{
	struct pair *p = &self->p;
	struct dmaplane_sqe sqe = migrate_buffer(self->from.buffer.handle, 0, 0);
	struct dmaplane_sqe ends = { .opcode = DMAPLANE_OP_INVALIDATE };
	struct dmaplane_cqe cqe;
	uint32_t part;

	__atomic_store_n(&self->stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_join(self->who[i].thread, NULL));
	ASSERT_EQ(0, channel_do(&p->a.ch, &sqe, &cqe));
	EXPECT_EQ(0, cqe.res);
	EXPECT_EQ(0, region_deregister(p->a.fd, self->from.region));
	ASSERT_EQ(0, channel_do(&p->a.ch, &sqe, &cqe));
	EXPECT_LE(0, cqe.res);
	ASSERT_EQ(0, region_register(p->a.fd, p->a.endpoint, self->from.buffer.handle, 0, LENGTH,
				     0, &part));
	ASSERT_EQ(0, channel_do(&p->a.ch, &sqe, &cqe));
	EXPECT_EQ(0, cqe.res);
	ends.region = part;
	ASSERT_EQ(0, channel_do(&p->a.ch, &ends, &cqe));
	EXPECT_EQ(0, cqe.res);
	ASSERT_EQ(0, channel_do(&p->a.ch, &sqe, &cqe));
	EXPECT_LE(0, cqe.res);
}

static void nothing(int signal)
{
	(void)signal;
}

/* A signal may end a registration, which is then no more; the connection goes on. */
TEST_F(registering, ends_with_a_signal)
{
	const struct sigaction action = { .sa_handler = nothing };
	struct pair *p = &self->p;
	struct memory more;

	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	for (int i = 0; i < THREADS; i++) {
		struct registrant *r = &self->who[i];

		/* Until one met it: most come when there is nothing to wait for. */
		while (!__atomic_load_n(&r->error, __ATOMIC_RELAXED)) {
			pthread_kill(r->thread, SIGUSR1);
			sleep_ms(1);
		}
		ASSERT_EQ(0, pthread_join(r->thread, NULL));
		EXPECT_EQ(-EINTR, r->error);
	}
	EXPECT_EQ(0, memory_make(&p->a, LENGTH, 0, &more));
	EXPECT_EQ(0, fence(&p->a, &p->b));
}

TEST_HARNESS_MAIN
