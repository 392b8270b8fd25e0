// SPDX-License-Identifier: GPL-2.0
/*
 * A connection on which nothing moves ends by itself, whatever the adapter does:
 * on the mock fabric, where nothing is carried out before it is asked for, and
 * any completion can be lost. One that moves, however slowly, does not end. And what
 * waits for another thing to move, does.
 */
#include "mock_fabric.h"
#include "uring.h"
#include "harness.h"

#include <pthread.h>
#include <sys/syscall.h>

#define ENTRIES_SENT	12		/* more than there are credits, and none too large */
#define LENGTH		(16U << 20)	/* of the memory on both sides */
#define SEND_DEPTH	32

FIXTURE(standstill) {
	struct pair p;
	struct memory from, to;
	uint32_t lease;
};

FIXTURE_SETUP(standstill)
{
	struct dmaplane_lease_wait got;
	uint32_t granted;

	self->p = (struct pair){ .a.send_depth = SEND_DEPTH };
	ASSERT_EQ(0, mock("off")) {
		TH_LOG("the module is no test build");
	}
	ASSERT_EQ(0, mock("seed 1"));
	ASSERT_EQ(0, mock("on"));
	ASSERT_EQ(0, pair_open(&self->p));
	ASSERT_EQ(0, memory_make(&self->p.a, LENGTH, 0, &self->from));
	ASSERT_EQ(0, memory_make(&self->p.b, LENGTH, DMAPLANE_ACCESS_REMOTE_WRITE, &self->to));
	ASSERT_EQ(0, lease_grant(&self->p.b, self->to.region, 0, &granted));
	ASSERT_EQ(0, mock("step 1000"));
	ASSERT_EQ(0, lease_wait(&self->p.a, 0, &got));
	self->lease = got.lease;
}

FIXTURE_TEARDOWN(standstill)
{
	munmap(self->from.at, LENGTH);
	munmap(self->to.at, LENGTH);
	pair_close(&self->p);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("buffers"));
	EXPECT_EQ(0, live("regions"));
	EXPECT_TRUE(WAIT_FOR(live("endpoints") == 0));
	EXPECT_EQ(0, live("channels"));
	EXPECT_EQ(0, mock_value("ports"));
	EXPECT_EQ(0, mock("off"));
	/* Nor has anybody less patience any more. */
	EXPECT_EQ(0, mock("seed 1"));
}

static void send_some(struct __test_metadata *_metadata, FIXTURE_DATA(standstill) *self)
{
	struct pair *p = &self->p;
	struct dmaplane_endpoint_query got;

	for (uint32_t i = 0; i < ENTRIES_SENT; i++) {
		struct dmaplane_sqe sqe = write_imm(&p->a, self->from.region, self->lease, 0, 0,
						    100, i);

		ASSERT_EQ(0, channel_push(&p->a.ch, &sqe));
	}
	ASSERT_EQ(ENTRIES_SENT, channel_enter(&p->a.ch, ENTRIES_SENT, 0, 0));
	ASSERT_EQ(0, query(p->a.fd, p->a.endpoint, &got));
	ASSERT_GT(got.in_flight, 0);
	ASSERT_GT(got.queued, 0);
}

static void has_failed(struct __test_metadata *_metadata, const struct side *s)
{
	struct dmaplane_endpoint_query got;

	ASSERT_TRUE(WAIT_FOR(state_of(s->fd, s->endpoint) == DMAPLANE_STATE_ERROR));
	ASSERT_EQ(0, query(s->fd, s->endpoint, &got));
	EXPECT_EQ(ECONNRESET, got.error);
}

/* As above, and its adapter was told: nothing is carried out any more. */
static void has_ended(struct __test_metadata *_metadata, const struct side *s)
{
	has_failed(_metadata, s);
	ASSERT_TRUE(WAIT_FOR(mock_value("ending") > 0));
}

/* One completion for each entry, in their order, and no more. */
static void all_failed(struct __test_metadata *_metadata, FIXTURE_DATA(standstill) *self)
{
	struct side *a = &self->p.a;
	struct dmaplane_stats stats = ARG(stats);
	struct dmaplane_cqe cqe;

	for (uint32_t i = 0; i < ENTRIES_SENT; i++) {
		ASSERT_EQ(0, channel_next(&a->ch, &cqe));
		EXPECT_EQ(i, cqe.user_data);
		EXPECT_EQ(-ECONNRESET, cqe.res);
	}
	/* Nothing holds the region any more, with the endpoint or without it. */
	EXPECT_EQ(0, region_deregister(a->fd, self->from.region));
	endpoint_close(a->fd, a->endpoint);
	EXPECT_FALSE(channel_reap(&a->ch, &cqe));
	ASSERT_EQ(0, cmd(a->fd, DMAPLANE_IOC_STATS, &stats));
	EXPECT_EQ(ENTRIES_SENT, stats.completed);
}

/* What was posted is not carried out: the end flushes it. */
TEST_F(standstill, nothing_is_carried_out)
{
	send_some(_metadata, self);
	ASSERT_EQ(0, mock("patience 1"));
	has_ended(_metadata, &self->p.a);
	ASSERT_EQ(0, mock("step 1000"));
	all_failed(_metadata, self);
	has_failed(_metadata, &self->p.b);
	EXPECT_EQ(0, channel_available(&self->p.b.ch));
}

/* All was carried out, and no completion is ever told, not even of the end. */
TEST_F(standstill, completions_are_lost)
{
	struct side *b = &self->p.b;
	struct dmaplane_counter_create counter = ARG(counter_create, .endpoint = b->endpoint,
						     .imm = 99, .mask = UINT32_MAX);
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;

	ASSERT_EQ(0, cmd(b->fd, DMAPLANE_IOC_COUNTER_CREATE, &counter));
	dmaplane_prep_counter_wait(&sqe, b->endpoint, counter.handle, 1);
	ASSERT_EQ(1, channel_submit(&b->ch, &sqe));
	ASSERT_EQ(0, mock("rate lose 1000"));
	send_some(_metadata, self);
	ASSERT_EQ(0, mock("patience 1"));
	ASSERT_EQ(0, mock("step 1000"));
	ASSERT_GT(mock_value("lost"), 0);
	has_ended(_metadata, &self->p.a);
	ASSERT_EQ(0, mock("step 1000"));
	has_failed(_metadata, b);
	/* Nor is any receive flushed: a counter waits no longer than that. */
	ASSERT_EQ(0, channel_next(&b->ch, &cqe));
	EXPECT_EQ(DMAPLANE_OP_COUNTER_WAIT, cqe.opcode);
	EXPECT_EQ(-ECONNRESET, cqe.res);
	/* Whoever waits for all of them waits in vain no more. */
	EXPECT_EQ(0, channel_enter(&self->p.a.ch, 0, ENTRIES_SENT, PATIENCE));
	all_failed(_metadata, self);
}

static int rdma_link(const char *action)
{
	char text[160];
	int status;

	snprintf(text, sizeof(text), "rdma link %s", action);
	status = system(text);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* An entry that waits for a counter, and one that waits for messages. */
static void wait_for_messages(struct __test_metadata *_metadata, struct side *s, uint32_t buffer)
{
	struct dmaplane_counter_create counter = ARG(counter_create, .endpoint = s->endpoint,
						     .imm = 99, .mask = UINT32_MAX);
	struct dmaplane_sqe sqe;

	ASSERT_EQ(0, cmd(s->fd, DMAPLANE_IOC_COUNTER_CREATE, &counter));
	dmaplane_prep_counter_wait(&sqe, s->endpoint, counter.handle, 1);
	dmaplane_sqe_set_user_data(&sqe, 0);
	ASSERT_EQ(1, channel_submit(&s->ch, &sqe));
	dmaplane_prep_recv_multishot(&sqe, s->endpoint, buffer, 0, 240, 4);
	dmaplane_sqe_set_user_data(&sqe, 1);
	ASSERT_EQ(1, channel_submit(&s->ch, &sqe));
}

/* Each of @count entries has ended, and nothing comes after that. */
static void all_ended(struct __test_metadata *_metadata, struct side *s, uint32_t count)
{
	struct dmaplane_stats stats;
	struct dmaplane_cqe cqe;
	uint64_t seen = 0;

	for (uint32_t i = 0; i < count; i++) {
		ASSERT_EQ(0, channel_next(&s->ch, &cqe));
		/* Word of the peer's end may be faster than that of the device's. */
		EXPECT_TRUE(cqe.res == -ENODEV || cqe.res == -ECONNRESET) {
			TH_LOG("entry %llu: %d", cqe.user_data, cqe.res);
		}
		EXPECT_EQ(0, cqe.flags & DMAPLANE_CQE_F_MORE);
		seen |= 1ULL << cqe.user_data;
	}
	EXPECT_EQ((1ULL << count) - 1, seen);
	EXPECT_EQ(0, endpoint_close(s->fd, s->endpoint));
	EXPECT_FALSE(channel_reap(&s->ch, &cqe));
	ASSERT_EQ(0, get_stats(s->fd, &stats));
	EXPECT_EQ(count, stats.submitted);
	EXPECT_EQ(count, stats.completed);
}

/*
 * The device goes while completions are lost, and entries wait for what will not come: for a
 * counter, for messages. All of them end, once.
 */
TEST_F(standstill, the_device_goes)
{
	struct pair p = { .host = ADDRESS_OTHER, .a.send_depth = SEND_DEPTH };
	struct dmaplane_fabric fabric;
	struct dmaplane_addr there;
	struct buffer buffer;
	char text[128];
	uint32_t again;

	ASSERT_EQ(0, pair_open(&p));
	ASSERT_EQ(0, fabric_of(&p.a, &fabric));
	for (struct side *s = &p.a; s; s = s == &p.a ? &p.b : NULL) {
		ASSERT_EQ(0, buf_create(s->fd, 4096, &buffer));
		wait_for_messages(_metadata, s, buffer.handle);
	}
	ASSERT_EQ(0, mock("rate lose 1000"));
	for (int i = 2; i < 5; i++) {
		struct dmaplane_sqe sqe = write_imm(&p.a, 0, 0, 0, 0, 0, i);

		ASSERT_EQ(1, channel_submit(&p.a.ch, &sqe));
	}
	ASSERT_EQ(0, mock("step 1000"));
	ASSERT_LT(0, mock_value("lost"));
	EXPECT_EQ(0, channel_available(&p.a.ch));
	EXPECT_EQ(0, channel_available(&p.b.ch));
	snprintf(text, sizeof(text), "del %s", (const char *)fabric.name);
	ASSERT_EQ(0, rdma_link(text));
	all_ended(_metadata, &p.a, 5);
	all_ended(_metadata, &p.b, 2);
	pair_close(&p);
	ASSERT_EQ(0, mock("rate lose 0"));
	snprintf(text, sizeof(text), "add %s type rxe netdev host1", (const char *)fabric.name);
	ASSERT_EQ(0, rdma_link(text));
	there = address(ADDRESS_OTHER, 1);
	EXPECT_TRUE(WAIT_FOR(!resolve(self->p.a.fd, &there, &again)));
}

/*
 * Those that came by io_uring: when the ring goes, nobody waits for them any more, but
 * those that were sent go on. None that were not are sent.
 */
TEST_F(standstill, uring_closed)
{
	struct side *a = &self->p.a;
	struct dmaplane_endpoint_query got;
	struct dmaplane_stats stats;
	int file = channel_file(&a->ch);
	struct dmaplane_sqe sqe;
	struct uring u;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, uring_open(&u, ENTRIES_SENT, IORING_SETUP_SQE128));
	for (uint32_t i = 0; i < ENTRIES_SENT; i++) {
		sqe = write_imm(a, self->from.region, self->lease, 0, 0, 100, i);
		uring_push(&u, file, &sqe, i);
	}
	ASSERT_EQ(ENTRIES_SENT, uring_submit(&u));
	ASSERT_EQ(0, query(a->fd, a->endpoint, &got));
	ASSERT_LT(0, got.queued);
	/* Nobody else has it open: it is closed when no command is left. */
	EXPECT_EQ(0, close(file));
	uring_close(&u);
	EXPECT_TRUE(WAIT_FOR(!query(a->fd, a->endpoint, &got) && !got.queued));
	EXPECT_LT(0, got.in_flight);
	ASSERT_EQ(0, get_stats(a->fd, &stats));
	EXPECT_EQ(got.in_flight, stats.submitted - stats.completed);
	EXPECT_EQ(-EBUSY, region_deregister(a->fd, self->from.region));
	ASSERT_EQ(0, mock("step 1000"));
	EXPECT_TRUE(WAIT_FOR(!get_stats(a->fd, &stats) && stats.submitted == stats.completed));
	EXPECT_TRUE(WAIT_FOR(channel_available(&self->p.b.ch) == got.in_flight));
	EXPECT_EQ(0, region_deregister(a->fd, self->from.region));
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(a->fd, a->endpoint));
}

/* The same while a process that has all of it is killed: its peer learns of that at once. */
TEST_F(standstill, uring_killed)
{
	struct side *b = &self->p.b;
	struct dmaplane_sqe sqe = write_imm(&self->p.a, self->from.region, self->lease, 0, 0, 100,
					    1);
	int file = channel_file(&self->p.a.ch), ready[2];
	struct uring u;
	char byte;
	pid_t pid;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	if (!pid) {
		close(ready[0]);
		if (uring_open(&u, 4, IORING_SETUP_SQE128))
			_exit(1);
		uring_push(&u, file, &sqe, 1);
		if (uring_submit(&u) != 1)
			_exit(2);
		close(ready[1]);
		pause();
	}
	close(ready[1]);
	ASSERT_EQ(0, read(ready[0], &byte, 1));
	close(ready[0]);
	/* The context is the child's alone. */
	EXPECT_EQ(0, close(file));
	munmap(self->from.at, LENGTH);
	side_close(&self->p.a);
	EXPECT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(pid, waitpid(pid, NULL, 0));
	/* Its adapter was told, before anything that was sent is complete. */
	EXPECT_TRUE(WAIT_FOR(mock_value("ending") > 0));
	EXPECT_TRUE(WAIT_FOR(!mock("step 1000") && live("contexts") == 1));
	EXPECT_TRUE(WAIT_FOR(state_of(b->fd, b->endpoint) == DMAPLANE_STATE_ERROR));
	/* So that the fixture has something to close. */
	ASSERT_EQ(0, side_open(&self->p.a, 4));
}

/* As completions_are_lost, and the program does not wait for what is lost. */
TEST_F(standstill, completions_are_lost_and_the_end_comes_first)
{
	struct side *a = &self->p.a;

	ASSERT_EQ(0, mock("rate lose 1000"));
	send_some(_metadata, self);
	ASSERT_EQ(0, mock("patience 1"));
	ASSERT_EQ(0, mock("step 1000"));
	has_failed(_metadata, a);
	ASSERT_EQ(0, mock("patience 1000"));
	/* Unless this was too late, on a machine that stood still for seconds. */
	if (channel_available(&a->ch))
		EXPECT_EQ(ENTRIES_SENT, channel_available(&a->ch));
	EXPECT_EQ(0, endpoint_close(a->fd, a->endpoint));
	EXPECT_EQ(ENTRIES_SENT, channel_available(&a->ch));
	all_failed(_metadata, self);
	ASSERT_EQ(0, mock("step 1000"));
	has_failed(_metadata, &self->p.b);
}

/* Four entries are sent, of whose first nothing is ever told. */
static void forget_first(struct __test_metadata *_metadata, FIXTURE_DATA(standstill) *self)
{
	struct side *a = &self->p.a;
	struct dmaplane_endpoint_query got;

	ASSERT_EQ(0, mock("rate lose 1000"));
	for (uint32_t i = 0; i < 4; i++) {
		struct dmaplane_sqe sqe = write_imm(a, self->from.region, self->lease, 0, 0, 100, i);

		ASSERT_EQ(1, channel_submit(&a->ch, &sqe));
		if (i == 0) {
			ASSERT_EQ(0, mock("step 1000"));
			ASSERT_LT(0, mock_value("lost"));
			ASSERT_EQ(0, mock("rate lose 0"));
		}
	}
	ASSERT_EQ(0, query(a->fd, a->endpoint, &got));
	ASSERT_EQ(4, got.in_flight);
}

static void four_failed(struct __test_metadata *_metadata, FIXTURE_DATA(standstill) *self, int error)
{
	struct dmaplane_cqe cqe;

	for (uint32_t i = 0; i < 4; i++) {
		ASSERT_EQ(0, channel_next(&self->p.a.ch, &cqe));
		EXPECT_EQ(i, cqe.user_data);
		EXPECT_EQ(error, cqe.res);
	}
	EXPECT_FALSE(channel_reap(&self->p.a.ch, &cqe));
	ASSERT_EQ(0, mock("step 1000"));
}

/* That the others failed is told at once: they wait for it, until the end. */
TEST_F(standstill, the_first_is_forgotten)
{
	forget_first(_metadata, self);
	EXPECT_EQ(0, endpoint_close(self->p.a.fd, self->p.a.endpoint));
	four_failed(_metadata, self, -ECANCELED);
}

/* Without one, they do not wait for long. */
TEST_F(standstill, the_first_is_forgotten_and_nobody_closes)
{
	struct dmaplane_endpoint_query got;

	ASSERT_EQ(0, mock("patience 1000"));
	forget_first(_metadata, self);
	EXPECT_EQ(0, endpoint_close(self->p.b.fd, self->p.b.endpoint));
	ASSERT_EQ(0, mock("step 1000"));
	four_failed(_metadata, self, -ECONNRESET);
	ASSERT_EQ(0, query(self->p.a.fd, self->p.a.endpoint, &got));
	EXPECT_EQ(0, got.in_flight);
	EXPECT_EQ(DMAPLANE_STATE_ERROR, got.state);
}

/*
 * What is done after something whose completion was lost does not hide that: @x sends
 * entries like @sqe, all of which complete, until the connection has failed.
 */
static void busy_until_it_fails(struct __test_metadata *_metadata, FIXTURE_DATA(standstill) *self,
				struct side *x, struct dmaplane_sqe sqe, uint32_t sent)
{
	struct side *other = x == &self->p.a ? &self->p.b : &self->p.a;
	uint64_t give_up = now_ns() + PATIENCE;
	uint32_t done = 0, good = 0;
	struct dmaplane_cqe cqe;

	ASSERT_GT(mock_value("lost"), 0);
	ASSERT_EQ(0, mock("rate lose 0"));
	ASSERT_EQ(0, mock("patience 3"));
	while (state_of(x->fd, x->endpoint) == DMAPLANE_STATE_ESTABLISHED) {
		ASSERT_LT(now_ns(), give_up);
		if (sent < done + 4) {
			ASSERT_EQ(1, channel_submit(&x->ch, &sqe));
			sent++;
		}
		ASSERT_EQ(0, mock("step 3"));
		for (; channel_reap(&x->ch, &cqe); done++)
			good += cqe.res >= 0;
		while (channel_reap(&other->ch, &cqe))
			;
		sleep_ms(10);
	}
	EXPECT_LT(3, good);
	has_failed(_metadata, x);
	ASSERT_EQ(0, mock("step 1000"));
	EXPECT_EQ(0, endpoint_close(x->fd, x->endpoint));
	while (channel_reap(&x->ch, &cqe))
		done++;
	EXPECT_EQ(sent, done);
}

TEST_F(standstill, one_completion_is_lost)
{
	struct side *a = &self->p.a;
	struct dmaplane_sqe sqe = write_imm(a, self->from.region, self->lease, 0, 0, 100, 1);

	ASSERT_EQ(0, mock("rate lose 1000"));
	ASSERT_EQ(1, channel_submit(&a->ch, &sqe));
	ASSERT_EQ(0, mock("step 3"));
	busy_until_it_fails(_metadata, self, a, sqe, 1);
}

/* Of a message between the kernels, too, whose slot nobody would miss for long. */
TEST_F(standstill, one_message_s_completion_is_lost)
{
	struct side *b = &self->p.b;
	struct dmaplane_sqe sqe = write_imm(b, 0, 0, 0, 0, 0, 1);
	uint32_t lease;

	ASSERT_EQ(0, mock("rate lose 1000"));
	ASSERT_EQ(0, lease_grant(b, self->to.region, 0, &lease));
	ASSERT_EQ(0, mock("step 3"));
	busy_until_it_fails(_metadata, self, b, sqe, 0);
}

/* A long entry behind it gives it no more time. */
TEST_F(standstill, the_oldest_counts)
{
	struct side *a = &self->p.a;
	struct dmaplane_sqe sqe = write_imm(a, self->from.region, self->lease, 0, 0, 100, 1);
	uint64_t give_up = now_ns() + 40 * SEC;

	ASSERT_EQ(0, mock("patience 1"));
	ASSERT_EQ(1, channel_submit(&a->ch, &sqe));
	sqe = write_imm(a, self->from.region, self->lease, 0, 0, LENGTH, 2);
	ASSERT_EQ(1, channel_submit(&a->ch, &sqe));
	/* With the time of the long one it would take 65 seconds. */
	while (state_of(a->fd, a->endpoint) != DMAPLANE_STATE_ERROR && now_ns() < give_up)
		sleep_ms(10);
	EXPECT_EQ(DMAPLANE_STATE_ERROR, state_of(a->fd, a->endpoint));
	ASSERT_EQ(0, mock("step 1000"));
}

/* A message between the kernels stands still as well as an entry. */
TEST_F(standstill, nobody_is_told_of_a_lease)
{
	struct side *b = &self->p.b;
	uint32_t lease;

	ASSERT_EQ(0, mock("patience 1"));
	ASSERT_EQ(0, lease_grant(b, self->to.region, 0, &lease));
	has_ended(_metadata, b);
	ASSERT_EQ(0, mock("step 1000"));
	has_failed(_metadata, &self->p.a);
	EXPECT_EQ(0, region_deregister(b->fd, self->to.region));
}

/* It does nothing for long, and then a little at a time, always with more to do. */
TEST_F(standstill, the_slow_live)
{
	struct side *a = &self->p.a, *b = &self->p.b;
	uint64_t until;
	uint32_t sent = 0, done = 0, arrived = 0;
	struct dmaplane_cqe cqe;

	ASSERT_EQ(0, mock("patience 5"));
	sleep_ms(7000);
	for (until = now_ns() + 8 * SEC; now_ns() < until || done < 11 || done < sent;) {
		if ((now_ns() < until || done < 11) && sent < done + 6) {
			struct dmaplane_sqe sqe = write_imm(a, self->from.region, self->lease, 0,
							    0, 100, sent);

			ASSERT_EQ(1, channel_submit(&a->ch, &sqe));
			sent++;
		}
		ASSERT_EQ(0, mock("step 3"));
		ASSERT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(a->fd, a->endpoint));
		ASSERT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(b->fd, b->endpoint));
		for (; channel_reap(&a->ch, &cqe); done++)
			ASSERT_EQ(100, cqe.res);
		for (; channel_reap(&b->ch, &cqe); arrived++)
			ASSERT_EQ(100, cqe.res);
		ASSERT_EQ(0, channel_enter(&b->ch, 0, 0, 0));
		sleep_ms(20);
	}
	ASSERT_EQ(0, mock("step 1000"));
	for (; channel_reap(&b->ch, &cqe); arrived++)
		ASSERT_EQ(100, cqe.res);
	EXPECT_EQ(done, arrived);
}

/* So do those that have nothing to do, as heartbeats are answered: on the real fabric. */
TEST_F(standstill, the_idle_live)
{
	struct pair p = { 0 };

	ASSERT_EQ(0, mock("off"));
	ASSERT_EQ(0, mock("patience 8"));
	ASSERT_EQ(0, pair_open(&p));
	sleep_ms(20000);
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(p.a.fd, p.a.endpoint));
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(p.b.fd, p.b.endpoint));
	pair_close(&p);
}

struct registrant {
	pthread_t thread;
	struct side *side;
	uint32_t buffer, region;
	pid_t tid;
	bool done;
	int result;
};

static void *register_in_thread(void *arg)
{
	struct registrant *r = arg;

	__atomic_store_n(&r->tid, gettid(), __ATOMIC_RELAXED);
	r->result = region_register(r->side->fd, r->side->endpoint, r->buffer, 0, 4096, 0,
				    &r->region);
	__atomic_store_n(&r->done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Reads what a file of a thread has in a place, if it can. */
static bool thread_file(pid_t tid, const char *name, const char *format, void *place)
{
	char path[64];
	FILE *file;
	int got;

	snprintf(path, sizeof(path), "/proc/self/task/%d/%s", tid, name);
	file = fopen(path, "re");
	if (!file)
		return false;
	got = fscanf(file, format, place);
	fclose(file);
	return got == 1;
}

/* It sleeps in an ioctl, until something happens or a signal comes. */
static bool waits(struct registrant *r)
{
	pid_t tid = __atomic_load_n(&r->tid, __ATOMIC_RELAXED);
	char state;
	int number;

	return thread_file(tid, "stat", "%*d (%*[^)]) %c", &state) && state == 'S' &&
	       thread_file(tid, "syscall", "%d", &number) && number == SYS_ioctl;
}

/*
 * Memory is registered when nothing is in flight, and nothing that is submitted meanwhile
 * goes before it: else it would wait for as long as others send.
 */
TEST_F(standstill, who_registers_is_waited_for)
{
	struct side *a = &self->p.a;
	struct dmaplane_sqe sqe = write_imm(a, self->from.region, self->lease, 0, 0, 100, 1);
	struct registrant r = { .side = a, .buffer = self->from.buffer.handle };
	struct dmaplane_endpoint_query got;

	ASSERT_EQ(1, channel_submit(&a->ch, &sqe));
	ASSERT_EQ(0, pthread_create(&r.thread, NULL, register_in_thread, &r));
	ASSERT_TRUE(WAIT_FOR(waits(&r)));
	ASSERT_EQ(1, channel_submit(&a->ch, &sqe));
	ASSERT_EQ(0, query(a->fd, a->endpoint, &got));
	EXPECT_EQ(1, got.in_flight);
	EXPECT_EQ(1, got.queued);
	EXPECT_TRUE(WAIT_FOR(!mock("step 1000") && __atomic_load_n(&r.done, __ATOMIC_ACQUIRE) &&
			     channel_available(&a->ch) == 2));
	ASSERT_EQ(0, pthread_join(r.thread, NULL));
	EXPECT_EQ(0, r.result);
}

/* How far a long entry is cannot be seen, so it has more time. */
TEST_F(standstill, the_long_live)
{
	struct side *a = &self->p.a;
	struct dmaplane_sqe sqe = write_imm(a, self->from.region, self->lease, 0, 0, LENGTH, 7);
	struct dmaplane_cqe cqe;

	ASSERT_EQ(0, mock("patience 1"));
	ASSERT_EQ(1, channel_submit(&a->ch, &sqe));
	sleep_ms(4500);
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(a->fd, a->endpoint));
	ASSERT_EQ(0, mock("step 1000"));
	ASSERT_EQ(0, channel_next(&a->ch, &cqe));
	EXPECT_EQ(LENGTH, cqe.res);
}

TEST_HARNESS_MAIN
