// SPDX-License-Identifier: GPL-2.0
/*
 * Every command on a connection, and every ring entry: each of their faults, one by
 * one. See sweep.h.
 *
 * When the adapter takes no work request the connection ends, as the header says;
 * what was accepted completes all the same. A new one is made then.
 */
#include "sweep.h"
#include "uring.h"
#include "harness.h"

/* Leases that a connection may have are 64, and some rounds need two. */
#define ROUNDS_PER_PAIR	40
#define SMALL		8192

static uint64_t segment;	/* bytes that one key covers */
static unsigned int rounds_left;

static void close_pair(struct world *w)
{
	if (w->p.a.fd <= 0)
		return;
	munmap(w->from.at, w->from.buffer.length);
	munmap(w->to.at, w->to.buffer.length);
	pair_close(&w->p);
	w->p = (struct pair){ 0 };
}

static bool broken(struct world *w)
{
	return state_of(w->p.a.fd, w->p.a.endpoint) != DMAPLANE_STATE_ESTABLISHED ||
	       state_of(w->p.b.fd, w->p.b.endpoint) != DMAPLANE_STATE_ESTABLISHED;
}

/* A connection with memory at both ends, two keys each. */
static int have_pair(struct world *w)
{
	w->serial++;
	if (w->p.a.fd <= 0 || !rounds_left-- || broken(w)) {
		close_pair(w);
		CHECK(WAIT_FOR(live("contexts") == 0));
		CHECK_IS(0, pair_open(&w->p));
		CHECK_IS(0, memory_make(&w->p.a, segment + SMALL, LOCAL_WRITE, &w->from));
		CHECK_IS(0, target_for(&w->p.b, &w->p.a, segment + SMALL,
				       REMOTE_WRITE | REMOTE_READ, &w->to, &w->lease));
		rounds_left = ROUNDS_PER_PAIR;
	}
	w->fds[0] = w->p.a.fd;
	w->fds[1] = w->p.b.fd;
	return 0;
}

/* The connection ended for want of memory, which it may. */
static enum outcome ended_or_same(struct world *w, int error)
{
	return !broken(w) ? REPEAT : error == -ENOMEM ? OVER : WRONG;
}

/* ---- REGION_REGISTER, REGION_DEREGISTER ---------------------------------------- */

static int register_it(struct world *w)
{
	return region_register(w->p.a.fd, w->p.a.endpoint, w->from.buffer.handle, 0,
			       segment + SMALL, 0, &w->handle);
}

/* A write that gathers from both keys. */
static int registered(struct world *w)
{
	struct dmaplane_sqe sqe = write_imm(&w->p.a, w->handle, w->lease, segment - 64, 0, 128,
					    w->serial);
	struct dmaplane_cqe cqe;

	CHECK(!broken(w));
	fill(w->from.at + segment - 64, 128, w->serial);
	CHECK_IS(0, channel_do(&w->p.a.ch, &sqe, &cqe));
	CHECK_IS(128, cqe.res);
	CHECK_IS(0, channel_next(&w->p.b.ch, &cqe));
	CHECK_IS(128, first_wrong(w->to.at, 128, w->serial));
	return 0;
}

static int deregister(struct world *w)
{
	return region_deregister(w->p.a.fd, w->handle);
}

static int pair_and_region(struct world *w)
{
	CHECK_IS(0, have_pair(w));
	CHECK_IS(0, register_it(w));
	return 0;
}

static int region_gone(struct world *w)
{
	CHECK_IS(-ENOENT, deregister(w));
	CHECK(!broken(w));
	return 0;
}

/* ---- VIEW_CREATE, VIEW_DESTROY ------------------------------------------------- */

/* More than a page of them. */
static struct dmaplane_view views[300];

static int make_views(struct world *w)
{
	for (uint32_t i = 0; i < ARRAY_LEN(views); i++)
		views[i] = (struct dmaplane_view){ .offset = segment - 64 + i, .length = 128 };
	return views_make(w->p.a.fd, w->from.region, views, ARRAY_LEN(views));
}

static int views_work(struct world *w)
{
	struct dmaplane_sqe sqe = write_imm(&w->p.a, views[299].handle, w->lease, 0, 0, 128,
					    w->serial);
	struct dmaplane_cqe cqe;

	CHECK_IS(ARRAY_LEN(views), fdinfo(w->p.a.fd, "views"));
	fill(w->from.at + segment - 64 + 299, 128, w->serial);
	CHECK_IS(0, channel_do(&w->p.a.ch, &sqe, &cqe));
	CHECK_IS(128, cqe.res);
	CHECK_IS(0, channel_next(&w->p.b.ch, &cqe));
	CHECK_IS(128, first_wrong(w->to.at, 128, w->serial));
	return 0;
}

static int end_views(struct world *w)
{
	uint32_t handles[ARRAY_LEN(views)];

	for (uint32_t i = 0; i < ARRAY_LEN(views); i++)
		handles[i] = views[i].handle;
	return views_end(w->p.a.fd, handles, ARRAY_LEN(views));
}

static int pair_and_views(struct world *w)
{
	CHECK_IS(0, have_pair(w));
	CHECK_IS(0, make_views(w));
	return 0;
}

static int views_gone(struct world *w)
{
	CHECK_IS(-ENOENT, end_views(w));
	CHECK_IS(0, fdinfo(w->p.a.fd, "views"));
	return 0;
}

/* ---- LEASE_GRANT, LEASE_WAIT ------------------------------------------------------ */

static int grant(struct world *w)
{
	uint32_t lease;

	return lease_grant(&w->p.b, w->to.region, w->serial, &lease);
}

static int wait_lease(struct world *w)
{
	struct dmaplane_lease_wait got;
	int ret = lease_wait(&w->p.a, PATIENCE, &got);

	return ret ?: got.tag == w->serial && got.length == segment + SMALL ? 0 : -EDOM;
}

static int granted(struct world *w)
{
	CHECK_IS(0, wait_lease(w));
	return 0;
}

/* If its number could not be written, a lease stands all the same, and precedes the next. */
static enum outcome grant_failed(struct world *w, int error)
{
	struct dmaplane_lease_wait got;
	const uint64_t next = ~w->serial;
	uint32_t lease;

	if (error != -EFAULT || broken(w))
		return ended_or_same(w, error);
	if (lease_grant(&w->p.b, w->to.region, next, &lease) ||
	    lease_wait(&w->p.a, PATIENCE, &got))
		return WRONG;
	if (got.tag == next)
		return REPEAT;
	if (got.tag != w->serial || lease_wait(&w->p.a, PATIENCE, &got))
		return WRONG;
	return got.tag == next ? OVER : WRONG;
}

static int pair_and_lease(struct world *w)
{
	CHECK_IS(0, have_pair(w));
	CHECK_IS(0, grant(w));
	return 0;
}

/* ---- CHANNEL_ENTER with WRITE_IMM --------------------------------------------------- */

static uint32_t length, local, remote;

static int push_write(struct world *w)
{
	struct dmaplane_sqe sqe;

	CHECK_IS(0, have_pair(w));
	sqe = write_imm(&w->p.a, length ? w->from.region : 0, length ? w->lease : 0, local, remote,
			length, w->serial);
	CHECK_IS(0, channel_push(&w->p.a.ch, &sqe));
	return 0;
}

static int enter(struct world *w)
{
	int ret = channel_enter(&w->p.a.ch, 1, 1, PATIENCE);

	return ret < 0 ? ret : ret == 1 ? 0 : -EDOM;
}

/* Exactly one completion; if it says success the message is there. */
static int write_done(struct world *w)
{
	struct dmaplane_stats stats;
	struct dmaplane_cqe cqe, more;

	CHECK_IS(0, channel_next(&w->p.a.ch, &cqe));
	CHECK_IS(w->serial, cqe.user_data);
	if (cqe.res < 0) {
		CHECK(w->faulted);
		CHECK_IS(-ENOMEM, cqe.res);
		CHECK_IS(DMAPLANE_STATE_ERROR, state_of(w->p.a.fd, w->p.a.endpoint));
	} else {
		CHECK_IS(length, cqe.res);
		CHECK_IS(0, channel_next(&w->p.b.ch, &cqe));
		CHECK_IS(w->serial, cqe.imm);
	}
	CHECK(!channel_reap(&w->p.a.ch, &more));
	CHECK(!channel_reap(&w->p.b.ch, &more));
	CHECK_IS(0, get_stats(w->p.a.fd, &stats));
	CHECK_IS(stats.submitted, stats.completed);
	return 0;
}

static enum outcome write_failed(struct world *w, int error)
{
	struct dmaplane_ring *ring = w->p.a.ch.ring;

	(void)error;
	return load_acquire(&ring->sq_head) != ring->sq_tail ? REPEAT : WRONG;
}

/* ---- CHANNEL_ENTER with READ and WRITE, by lists ---------------------------------------- */

#define RANGES	3

static int opcode;
static unsigned int survived;	/* there was no memory for the list: that ends no connection */

/* Ranges apart from each other, the last across the end of a key at both sides. */
static uint64_t range_at(uint32_t i)
{
	return segment - 50 - i * 200;
}

static int push_list(struct world *w)
{
	struct dmaplane_segment *list;
	struct dmaplane_sqe sqe;

	CHECK_IS(0, have_pair(w));
	list = (void *)w->from.at;
	for (uint32_t i = 0; i < RANGES; i++) {
		list[i] = (struct dmaplane_segment){ range_at(i), range_at(i), 100, 0 };
		fill((opcode == DMAPLANE_OP_READ ? w->to : w->from).at + range_at(i), 100,
		     w->serial + i);
	}
	sqe = remote_sqe(&w->p.a, opcode, w->from.region, w->lease, 0, 0, 0, w->serial);
	dmaplane_sqe_set_segments(&sqe, w->from.buffer.handle, 0, RANGES);
	CHECK_IS(0, channel_push(&w->p.a.ch, &sqe));
	return 0;
}

static int list_done(struct world *w)
{
	struct dmaplane_stats stats;
	struct dmaplane_cqe cqe, more;

	CHECK_IS(0, channel_next(&w->p.a.ch, &cqe));
	CHECK_IS(w->serial, cqe.user_data);
	if (cqe.res < 0) {
		CHECK(w->faulted);
		CHECK_IS(-ENOMEM, cqe.res);
		survived += !broken(w);
	} else {
		CHECK_IS(RANGES * 100, cqe.res);
		for (uint32_t i = 0; i < RANGES; i++)
			CHECK_IS(100, first_wrong((opcode == DMAPLANE_OP_READ ? w->from : w->to).at +
						  range_at(i), 100, w->serial + i));
	}
	CHECK(!channel_reap(&w->p.a.ch, &more));
	CHECK(!channel_reap(&w->p.b.ch, &more));
	CHECK_IS(0, get_stats(w->p.a.fd, &stats));
	CHECK_IS(stats.submitted, stats.completed);
	/* Nothing has the region. */
	CHECK_IS(0, region_deregister(w->p.a.fd, w->from.region));
	if (!broken(w))
		CHECK_IS(0, region_register(w->p.a.fd, w->p.a.endpoint, w->from.buffer.handle, 0,
					    segment + SMALL, LOCAL_WRITE, &w->from.region));
	return 0;
}

/* ---- CHANNEL_ENTER with INVALIDATE ------------------------------------------------------- */

static int push_invalidate(struct world *w)
{
	struct dmaplane_sqe sqe;

	CHECK_IS(0, pair_and_region(w));
	dmaplane_prep_invalidate(&sqe, w->handle);
	dmaplane_sqe_set_user_data(&sqe, w->serial);
	CHECK_IS(0, channel_push(&w->p.a.ch, &sqe));
	return 0;
}

static int invalidated(struct world *w)
{
	struct dmaplane_cqe cqe;

	CHECK_IS(0, channel_next(&w->p.a.ch, &cqe));
	CHECK_IS(w->serial, cqe.user_data);
	CHECK_IS(0, cqe.res);
	CHECK(!broken(w));
	return 0;
}

/* ---- COUNTER_CREATE, CHANNEL_ENTER with COUNTER_WAIT -------------------------------- */

static int counter_make(struct world *w)
{
	struct dmaplane_counter_create arg = ARG(counter_create, .endpoint = w->p.b.endpoint);
	int ret = cmd(w->p.b.fd, DMAPLANE_IOC_COUNTER_CREATE, &arg);

	w->handle = arg.handle;
	return ret;
}

static int counter_end(struct world *w)
{
	return end(w->p.b.fd, DMAPLANE_IOC_COUNTER_DESTROY, w->handle);
}

static int send_one(struct world *w)
{
	struct dmaplane_sqe sqe = write_imm(&w->p.a, 0, 0, 0, 0, 0, 1);
	struct dmaplane_cqe cqe;

	CHECK_IS(0, channel_do(&w->p.a.ch, &sqe, &cqe));
	CHECK_IS(0, cqe.res);
	return 0;
}

static long counted_so_far(struct world *w)
{
	struct dmaplane_counter_query arg = ARG(counter_query, .counter = w->handle);

	return cmd(w->p.b.fd, DMAPLANE_IOC_COUNTER_QUERY, &arg) ?: (long)arg.value;
}

static int counts(struct world *w)
{
	CHECK_IS(0, send_one(w));
	CHECK(WAIT_FOR(counted_so_far(w) == 1));
	CHECK_IS(0, channel_available(&w->p.b.ch));
	return 0;
}

static int push_wait(struct world *w)
{
	struct dmaplane_sqe sqe;

	CHECK_IS(0, have_pair(w));
	CHECK_IS(0, counter_make(w));
	dmaplane_prep_counter_wait(&sqe, w->p.b.endpoint, w->handle, 1);
	dmaplane_sqe_set_user_data(&sqe, w->serial);
	CHECK_IS(0, channel_push(&w->p.b.ch, &sqe));
	return 0;
}

static int enter_wait(struct world *w)
{
	int ret = channel_enter(&w->p.b.ch, 1, 0, 0);

	return ret < 0 ? ret : ret == 1 ? 0 : -EDOM;
}

/* What there was no memory to keep says so; else it waits for one message. */
static int wait_done(struct world *w)
{
	struct dmaplane_cqe cqe, more;

	if (!w->faulted || !channel_available(&w->p.b.ch))
		CHECK_IS(0, send_one(w));
	CHECK_IS(0, channel_next(&w->p.b.ch, &cqe));
	CHECK_IS(w->serial, cqe.user_data);
	CHECK_IS(cqe.res < 0 ? -ENOMEM : 0, cqe.res);
	CHECK(cqe.res == 0 || w->faulted);
	CHECK(!channel_reap(&w->p.b.ch, &more));
	return 0;
}

static enum outcome wait_failed(struct world *w, int error)
{
	struct dmaplane_ring *ring = w->p.b.ch.ring;

	(void)error;
	return load_acquire(&ring->sq_head) != ring->sq_tail ? REPEAT : WRONG;
}

/* ---- io_uring with COUNTER_WAIT ----------------------------------------------------- */

static struct uring uring;
static int file;

static int prepare_command(struct world *w)
{
	struct dmaplane_sqe sqe;

	CHECK_IS(0, have_pair(w));
	CHECK_IS(0, counter_make(w));
	file = channel_file(&w->p.b.ch);
	CHECK(file >= 0);
	dmaplane_prep_counter_wait(&sqe, w->p.b.endpoint, w->handle, 1);
	uring_push(&uring, file, &sqe, w->serial);
	return 0;
}

/* io_uring has no memory for requests either: it says EAGAIN, and the entry stays. */
static int submit_command(struct world *w)
{
	uint32_t *tail = uring_word(&uring, uring.sq.tail);
	int ret;

	(void)w;
	store_release(tail, *tail + uring.pushed);
	uring.pushed = 0;
	ret = uring_enter(&uring, 1, 0, 0);
	return ret < 0 ? ret : ret == 1 ? 0 : -EDOM;
}

static int command_done(struct world *w)
{
	struct dmaplane_stats stats;
	struct io_uring_cqe cqe;

	if (!w->faulted || !uring_peek(&uring, &cqe, NULL)) {
		CHECK_IS(0, send_one(w));
		CHECK_IS(0, uring_next(&uring, &cqe));
	}
	CHECK_IS(w->serial, cqe.user_data);
	CHECK_IS(cqe.res < 0 ? -ENOMEM : 0, cqe.res);
	CHECK(cqe.res == 0 || w->faulted);
	CHECK(!uring_peek(&uring, &cqe, NULL));
	CHECK_IS(0, get_stats(w->p.b.fd, &stats));
	CHECK_IS(stats.submitted, stats.completed);
	return 0;
}

static int end_command(struct world *w)
{
	CHECK_IS(0, close(file));
	CHECK_IS(0, counter_end(w));
	return 0;
}

/* ---- CHANNEL_ENTER that posts receives ------------------------------------------------ */

#define NARROW 4

static int send_empty(struct world *w, uint32_t count)
{
	struct dmaplane_cqe cqe;

	for (uint32_t i = 0; i < count; i++) {
		struct dmaplane_sqe sqe = write_imm(&w->p.a, 0, 0, 0, 0, 0, i);

		CHECK_IS(0, channel_do(&w->p.a.ch, &sqe, &cqe));
		CHECK_IS(0, cqe.res);
	}
	return 0;
}

static int starve(struct world *w)
{
	struct dmaplane_cqe cqe;

	w->p = (struct pair){ 0 };
	CHECK_IS(0, pair_open_narrow(&w->p, NARROW));
	CHECK_IS(0, send_empty(w, NARROW));
	CHECK(WAIT_FOR(load_acquire(&w->p.b.ch.ring->flags) & DMAPLANE_RING_NEED_ENTER));
	for (int i = 0; i < NARROW; i++)
		CHECK_IS(0, channel_next(&w->p.b.ch, &cqe));
	return 0;
}

static int come_back(struct world *w)
{
	return channel_enter(&w->p.b.ch, 0, 0, 0);
}

static int fed(struct world *w)
{
	struct dmaplane_cqe cqe;

	if (w->faulted && state_of(w->p.b.fd, w->p.b.endpoint) == DMAPLANE_STATE_ERROR) {
		CHECK(WAIT_FOR(state_of(w->p.a.fd, w->p.a.endpoint) == DMAPLANE_STATE_ERROR));
		return 0;
	}
	CHECK_IS(0, send_empty(w, 1));
	CHECK_IS(0, channel_next(&w->p.b.ch, &cqe));
	return 0;
}

static int close_narrow(struct world *w)
{
	pair_close(&w->p);
	w->p = (struct pair){ 0 };
	CHECK(WAIT_FOR(live("contexts") == 0));
	return 0;
}

static const struct op regions[] = {
	{ "REGION_REGISTER", have_pair, register_it, registered, deregister },
	{ "REGION_DEREGISTER", pair_and_region, deregister, region_gone },
	{ "VIEW_CREATE", have_pair, make_views, views_work, end_views },
	{ "VIEW_DESTROY", pair_and_views, end_views, views_gone },
}, leases[] = {
	{ "LEASE_GRANT", have_pair, grant, granted, .failed = grant_failed },
	{ "LEASE_WAIT", pair_and_lease, wait_lease },
}, counters[] = {
	{ "COUNTER_CREATE", have_pair, counter_make, counts, counter_end },
	{ "CHANNEL_ENTER, COUNTER_WAIT", push_wait, enter_wait, wait_done, counter_end,
	  .failed = wait_failed },
}, commands = {
	"io_uring, COUNTER_WAIT", prepare_command, submit_command, command_done, end_command,
	.errors = { EAGAIN },
}, writing = {
	"CHANNEL_ENTER, WRITE_IMM", push_write, enter, write_done, .failed = write_failed,
}, listed = {
	"CHANNEL_ENTER, a list", push_list, enter, list_done, .failed = write_failed,
}, invalidating = {
	"CHANNEL_ENTER, INVALIDATE", push_invalidate, enter, invalidated, deregister,
	.failed = write_failed,
}, replenishing = {
	"CHANNEL_ENTER that posts receives", starve, come_back, fed, close_narrow,
};

FIXTURE(faults) {
	struct world w;
};

FIXTURE_SETUP(faults)
{
	struct dmaplane_fabric fabric;
	struct dmaplane_fabric_list arg = ARG(fabric_list, .fabrics = (uintptr_t)&fabric,
					      .count = 1);
	int fd;

	if (!faults_possible())
		SKIP(return, "this kernel has no fault injection");
	ASSERT_EQ(0, faults_ready());
	fd = open_device();
	ASSERT_EQ(0, cmd(fd, DMAPLANE_IOC_FABRIC_LIST, &arg));
	close(fd);
	segment = fabric.max_segment;
}

FIXTURE_TEARDOWN(faults)
{
	close_pair(&self->w);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_TRUE(WAIT_FOR(live("endpoints") == 0));
	EXPECT_EQ(0, live("regions"));
	EXPECT_EQ(0, live("views"));
	EXPECT_EQ(0, live("buffer_bytes"));
}

TEST_F(faults, of_regions)
{
	for (unsigned int i = 0; i < ARRAY_LEN(regions); i++)
		EXPECT_EQ(0, sweep(&regions[i], &self->w));
}

TEST_F(faults, of_leases)
{
	for (unsigned int i = 0; i < ARRAY_LEN(leases); i++)
		EXPECT_EQ(0, sweep(&leases[i], &self->w));
}

TEST_F(faults, of_counters)
{
	for (unsigned int i = 0; i < ARRAY_LEN(counters); i++)
		EXPECT_EQ(0, sweep(&counters[i], &self->w));
}

TEST_F(faults, of_commands)
{
	ASSERT_EQ(0, uring_open(&uring, 4, IORING_SETUP_SQE128 | IORING_SETUP_SINGLE_ISSUER |
				IORING_SETUP_DEFER_TASKRUN));
	EXPECT_EQ(0, sweep(&commands, &self->w));
	uring_close(&uring);
}

TEST_F(faults, of_writes)
{
	/* An immediate alone; one write; two, for the end of the peer's first key. */
	EXPECT_EQ(0, sweep(&writing, &self->w));
	length = 100;
	EXPECT_EQ(0, sweep(&writing, &self->w));
	local = segment - 50;
	remote = segment - 20;
	EXPECT_EQ(0, sweep(&writing, &self->w));
}

TEST_F(faults, of_lists)
{
	for (opcode = DMAPLANE_OP_WRITE; opcode <= DMAPLANE_OP_READ; opcode++) {
		survived = 0;
		EXPECT_EQ(0, sweep(&listed, &self->w));
		EXPECT_LT(0, survived);
	}
}

TEST_F(faults, of_invalidation)
{
	EXPECT_EQ(0, sweep(&invalidating, &self->w));
}

TEST_F(faults, of_receives)
{
	EXPECT_EQ(0, sweep(&replenishing, &self->w));
}

TEST_HARNESS_MAIN
