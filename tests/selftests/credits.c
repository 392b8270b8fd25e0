// SPDX-License-Identifier: GPL-2.0
/*
 * Flow control: a receiver that does not reap stops the sender, loses nothing,
 * and sets it going again; no adapter ever reports receiver-not-ready. And
 * what closing does to entries that wait. Where writes are refused (see pair.h)
 * none waits and no credit is used, and the rest is the same.
 */
#include "pair.h"
#include "harness.h"

#define PLACES		4	/* of b's completion ring, all of them for receives */
#define MESSAGES	20
#define BYTES		100

static const char *const rnr_counters[] = {
	"send_rnr_err", "rcvd_rnr_err", "retry_rnr_exceeded_err",
};

FIXTURE(credits) {
	struct pair p;
	struct memory from, to;
	uint32_t lease;
	int result;		/* of a write */
	int file;		/* of b's channel, in some */
	char device[64];
};

FIXTURE_SETUP(credits)
{
	struct dmaplane_fabric fabric;

	/* Who waits does so for credits and nothing else. */
	self->p.a.send_depth = MESSAGES;
	ASSERT_EQ(0, pair_open_narrow(&self->p, PLACES));
	ASSERT_EQ(0, memory_make(&self->p.a, MESSAGES * BYTES, 0, &self->from));
	ASSERT_EQ(0, target(&self->p.b, &self->p.a, MESSAGES * BYTES, &self->to, &self->lease));
	self->result = written(&self->p.a, BYTES);
	ASSERT_EQ(0, fabric_of(&self->p.a, &fabric));
	snprintf(self->device, sizeof(self->device), "%s", (char *)fabric.name);
	for (int i = 0; i < MESSAGES; i++)
		fill(self->from.at + i * BYTES, BYTES, i);
}

FIXTURE_TEARDOWN(credits)
{
	/* Over iWARP there is no such event: the connection would have ended. */
	for (size_t i = 0; i < ARRAY_LEN(rnr_counters); i++) {
		EXPECT_EQ(self->result < 0 ? -1 : 0, hw_counter(self->device, rnr_counters[i])) {
			TH_LOG("%s", rnr_counters[i]);
		}
	}
	pair_close(&self->p);
}

static struct dmaplane_endpoint_query look(struct side *s)
{
	struct dmaplane_endpoint_query got;

	if (query(s->fd, s->endpoint, &got))
		got.state = 0;
	return got;
}

/* Each message is refused, and leaves no trace. */
static void expect_refused(struct __test_metadata *_metadata, FIXTURE_DATA(credits) *self)
{
	struct pair *p = &self->p;
	struct dmaplane_endpoint_query got;
	struct dmaplane_cqe cqe;

	for (uint32_t i = 0; i < MESSAGES; i++) {
		ASSERT_TRUE(channel_reap(&p->a.ch, &cqe));
		EXPECT_EQ(i, cqe.user_data);
		EXPECT_EQ(-EOPNOTSUPP, cqe.res);
	}
	EXPECT_FALSE(channel_reap(&p->a.ch, &cqe));
	EXPECT_EQ(0, channel_available(&p->b.ch));
	got = look(&p->a);
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, got.state);
	EXPECT_EQ(PLACES, got.credits);
	EXPECT_EQ(0, got.in_flight + got.queued + got.stalls + got.sent);
}

/* Sends all messages; returns when those that have credits have arrived. */
static void send_all_and_stall(struct __test_metadata *_metadata, FIXTURE_DATA(credits) *self)
{
	struct pair *p = &self->p;
	struct dmaplane_endpoint_query got;
	struct dmaplane_cqe cqe;

	for (uint32_t i = 0; i < MESSAGES; i++) {
		struct dmaplane_sqe sqe = write_imm(&p->a, self->from.region, self->lease,
						    i * BYTES, i * BYTES, BYTES, i);

		ASSERT_EQ(0, channel_push(&p->a.ch, &sqe));
	}
	ASSERT_EQ(MESSAGES, channel_enter(&p->a.ch, MESSAGES, PLACES, PATIENCE));
	if (self->result < 0) {
		expect_refused(_metadata, self);
		return;
	}
	for (uint32_t i = 0; i < PLACES; i++) {
		ASSERT_TRUE(channel_reap(&p->a.ch, &cqe));
		EXPECT_EQ(i, cqe.user_data);
		EXPECT_EQ(BYTES, cqe.res);
	}
	EXPECT_TRUE(WAIT_FOR(channel_available(&p->b.ch) == PLACES));
	sleep_ms(50);
	EXPECT_EQ(PLACES, channel_available(&p->b.ch));
	EXPECT_FALSE(channel_reap(&p->a.ch, &cqe));
	got = look(&p->a);
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, got.state);
	EXPECT_EQ(0, got.credits);
	EXPECT_EQ(0, got.in_flight);
	EXPECT_EQ(MESSAGES - PLACES, got.queued);
	EXPECT_EQ(1, got.stalls);
	EXPECT_EQ(PLACES, got.sent);
	EXPECT_TRUE(load_acquire(&p->b.ch.ring->flags) & DMAPLANE_RING_NEED_ENTER);
}

/* How b gives back places: by ENTER or by poll(), of the context's file or the channel's. */
enum way { BY_ENTER, BY_POLL, BY_FILE_ENTER, BY_FILE_POLL };

/* Takes the next message that arrives. */
static void take(struct __test_metadata *_metadata, FIXTURE_DATA(credits) *self, uint32_t i,
		 enum way way)
{
	struct pair *p = &self->p;
	struct dmaplane_cqe cqe;

	if (self->result < 0)
		return;
	if (way == BY_ENTER) {
		ASSERT_EQ(0, channel_next(&p->b.ch, &cqe));
	} else if (way == BY_FILE_ENTER) {
		ASSERT_EQ(0, file_enter(self->file, 1));
		ASSERT_TRUE(channel_reap(&p->b.ch, &cqe));
	} else {
		struct pollfd fd = { .fd = way == BY_POLL ? p->b.fd : self->file, .events = POLLIN };

		ASSERT_EQ(1, poll(&fd, 1, PATIENCE / MS));
		ASSERT_TRUE(channel_reap(&p->b.ch, &cqe));
	}
	EXPECT_EQ(DMAPLANE_OP_RECV, cqe.opcode);
	EXPECT_EQ(i, cqe.imm);
	EXPECT_EQ(BYTES, cqe.res);
	EXPECT_EQ(BYTES, first_wrong(self->to.at + i * BYTES, BYTES, i));
}

static void resume(struct __test_metadata *_metadata, FIXTURE_DATA(credits) *self, enum way way)
{
	struct pair *p = &self->p;
	struct dmaplane_endpoint_query got;
	struct dmaplane_cqe cqe;

	if (self->result < 0) {
		send_all_and_stall(_metadata, self);
		return;
	}
	for (uint32_t i = 0; i < MESSAGES; i++) {
		take(_metadata, self, i, way);
	}
	for (uint32_t i = PLACES; i < MESSAGES; i++) {
		ASSERT_EQ(0, channel_next(&p->a.ch, &cqe));
		EXPECT_EQ(i, cqe.user_data);
		EXPECT_EQ(BYTES, cqe.res);
	}
	got = look(&p->a);
	EXPECT_EQ(0, got.queued);
	EXPECT_EQ(0, got.in_flight);
	EXPECT_LE(1, got.stalls);
	EXPECT_GE(MESSAGES, got.stalls);
	EXPECT_LE(50 * MS, got.stall_ns);
	EXPECT_EQ(MESSAGES, got.sent);
	EXPECT_EQ(MESSAGES, look(&p->b).received);
	/* With everything reaped it is as at first; the last credits may wait for company. */
	EXPECT_EQ(0, channel_enter(&p->b.ch, 0, 0, 0));
	EXPECT_TRUE(WAIT_FOR(look(&p->a).credits > PLACES / 2));
	EXPECT_FALSE(load_acquire(&p->b.ch.ring->flags) & DMAPLANE_RING_NEED_ENTER);
}

TEST_F(credits, exhausted_and_resumed)
{
	send_all_and_stall(_metadata, self);
	resume(_metadata, self, BY_ENTER);
}

TEST_F(credits, resumed_by_poll)
{
	send_all_and_stall(_metadata, self);
	resume(_metadata, self, BY_POLL);
}

TEST_F(credits, resumed_by_file)
{
	self->file = channel_file(&self->p.b.ch);
	ASSERT_LE(0, self->file);
	send_all_and_stall(_metadata, self);
	resume(_metadata, self, BY_FILE_ENTER);
	EXPECT_EQ(0, close(self->file));
}

TEST_F(credits, resumed_by_poll_of_file)
{
	self->file = channel_file(&self->p.b.ch);
	ASSERT_LE(0, self->file);
	send_all_and_stall(_metadata, self);
	resume(_metadata, self, BY_FILE_POLL);
	EXPECT_EQ(0, close(self->file));
}

TEST_F(credits, stalls_are_episodes)
{
	send_all_and_stall(_metadata, self);
	resume(_metadata, self, BY_ENTER);
	EXPECT_EQ(self->result < 0 ? 0 : 1, look(&self->p.a).stalls);
}

/* No place of b's ring is left for anything else, and none is taken away from receives. */
TEST_F(credits, ring_full_of_receives)
{
	EXPECT_EQ(0, channel_push_nop(&self->p.b.ch, 1));
	EXPECT_EQ(-EBUSY, channel_enter(&self->p.b.ch, 1, 0, 0));
	send_all_and_stall(_metadata, self);
	EXPECT_EQ(-EBUSY, channel_enter(&self->p.b.ch, 1, 0, 0));
}

TEST_F(credits, region_in_use)
{
	struct dmaplane_stats stats;

	send_all_and_stall(_metadata, self);
	if (self->result > 0) {
		EXPECT_EQ(-EBUSY, region_deregister(self->p.a.fd, self->from.region));
	}
	ASSERT_EQ(0, get_stats(self->p.a.fd, &stats));
	EXPECT_EQ(1, stats.regions);
	resume(_metadata, self, BY_ENTER);
	EXPECT_EQ(0, region_deregister(self->p.a.fd, self->from.region));
	EXPECT_EQ(0, region_deregister(self->p.b.fd, self->to.region));
}

/* Ends entries that wait, and says how many there were. */
static int call_back(struct side *s, uint64_t user_data, uint32_t flags, int *ended)
{
	struct dmaplane_sqe sqe = cancel(1000, s->endpoint, user_data, flags);
	struct dmaplane_cqe cqe;
	int ret = channel_submit(&s->ch, &sqe);

	*ended = 0;
	while (ret == 1) {
		ret = channel_next(&s->ch, &cqe) ?: 1;
		if (cqe.user_data == 1000)
			return cqe.res;
		*ended += cqe.res == -ECANCELED;
	}
	return ret;
}

/* What has no credit yet can be called back; the others arrive. */
TEST_F(credits, cancelled)
{
	struct pair *p = &self->p;
	struct dmaplane_cqe cqe;
	int ended;

	send_all_and_stall(_metadata, self);
	EXPECT_EQ(-ENOENT, call_back(&p->a, 1, 0, &ended));
	EXPECT_EQ(-ENOENT, call_back(&p->a, 77, 0, &ended));
	if (self->result < 0) {
		EXPECT_EQ(-ENOENT, call_back(&p->a, 0, DMAPLANE_CANCEL_ALL, &ended));
		return;
	}
	EXPECT_EQ(1, call_back(&p->a, 10, 0, &ended));
	EXPECT_EQ(1, ended);
	EXPECT_EQ(-ENOENT, call_back(&p->a, 10, 0, &ended));
	EXPECT_EQ(MESSAGES - PLACES - 1, look(&p->a).queued);
	/* The one that is next keeps no other from going. */
	EXPECT_EQ(1, call_back(&p->a, PLACES, 0, &ended));
	EXPECT_EQ(1, ended);
	for (uint32_t i = 0; i < MESSAGES; i++) {
		if (i == PLACES || i == 10)
			continue;
		take(_metadata, self, i, BY_ENTER);
		if (i >= PLACES) {
			ASSERT_EQ(0, channel_next(&p->a.ch, &cqe));
			EXPECT_EQ(i, cqe.user_data);
			EXPECT_EQ(BYTES, cqe.res);
		}
	}
	EXPECT_FALSE(channel_reap(&p->b.ch, &cqe));
	EXPECT_EQ(MESSAGES - 2, look(&p->a).sent);
	EXPECT_EQ(-ENOENT, call_back(&p->a, 0, DMAPLANE_CANCEL_ALL, &ended));
}

TEST_F(credits, all_cancelled)
{
	struct pair *p = &self->p;
	int ended;

	send_all_and_stall(_metadata, self);
	if (self->result < 0)
		return;
	EXPECT_EQ(MESSAGES - PLACES, call_back(&p->a, 0, DMAPLANE_CANCEL_ALL, &ended));
	EXPECT_EQ(MESSAGES - PLACES, ended);
	EXPECT_EQ(0, look(&p->a).queued);
	EXPECT_EQ(0, region_deregister(p->a.fd, self->from.region));
	for (uint32_t i = 0; i < PLACES; i++) {
		take(_metadata, self, i, BY_ENTER);
	}
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, look(&p->a).state);
}

/* What is linked to a message waits until that was sent, and fails if it fails. */
TEST_F(credits, linked)
{
	struct pair *p = &self->p;
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;
	int ended;

	send_all_and_stall(_metadata, self);
	if (self->result < 0)
		return;
	EXPECT_EQ(MESSAGES - PLACES, call_back(&p->a, 0, DMAPLANE_CANCEL_ALL, &ended));
	for (int round = 0; round < 2; round++) {
		struct dmaplane_sqe chain[] = {
			write_imm(&p->a, self->from.region, self->lease, 0, 0, BYTES, 100),
			nop(101, DMAPLANE_SQE_LINK),
			write_imm(&p->a, self->from.region, self->lease, BYTES, BYTES, BYTES, 102),
		};

		chain[0].flags = DMAPLANE_SQE_LINK;
		for (int i = 0; i < 3; i++)
			ASSERT_EQ(0, channel_push(&p->a.ch, &chain[i]));
		ASSERT_EQ(3, channel_enter(&p->a.ch, 3, 0, 0));
		sqe = nop(103, DMAPLANE_SQE_DRAIN);
		ASSERT_EQ(1, channel_submit(&p->a.ch, &sqe));
		sleep_ms(20);
		EXPECT_EQ(0, channel_available(&p->a.ch));
		EXPECT_EQ(1, look(&p->a).queued);
		if (round)
			break;
		for (uint32_t i = 0; i < PLACES; i++) {
			take(_metadata, self, i, BY_ENTER);
		}
		EXPECT_EQ(0, channel_enter(&p->b.ch, 0, 0, 0));
		for (int i = 100; i < 104; i++) {
			ASSERT_EQ(0, channel_next(&p->a.ch, &cqe));
			EXPECT_EQ(i, cqe.user_data);
			EXPECT_EQ(i % 2 ? 0 : BYTES, cqe.res);
		}
		/* Those two, and what fills the receiver's places again. */
		for (int i = 0; i < 2; i++) {
			ASSERT_EQ(0, channel_next(&p->b.ch, &cqe));
			EXPECT_EQ(100 + 2 * i, cqe.imm);
		}
		EXPECT_EQ(0, channel_enter(&p->b.ch, 0, 0, 0));
		ASSERT_TRUE(WAIT_FOR(look(&p->a).credits > PLACES / 2));
		for (int i = look(&p->a).credits; i > 0; i--) {
			sqe = write_imm(&p->a, 0, 0, 0, 0, 0, 7);
			sqe.opcode = DMAPLANE_OP_IMM_ONLY;
			ASSERT_EQ(0, channel_do(&p->a.ch, &sqe, &cqe));
			EXPECT_EQ(0, cqe.res);
			EXPECT_EQ(DMAPLANE_OP_IMM_ONLY, cqe.opcode);
		}
	}
	EXPECT_EQ(0, endpoint_close(p->a.fd, p->a.endpoint));
	for (int i = 100; i < 104; i++) {
		ASSERT_EQ(0, channel_next(&p->a.ch, &cqe));
		EXPECT_EQ(i, cqe.user_data);
		EXPECT_EQ(i == 103 ? 0 : -ECANCELED, cqe.res);
	}
}

/* The entries that wait, each completed once with @res; none is left. */
static void expect_ends(struct __test_metadata *_metadata, FIXTURE_DATA(credits) *self, int res)
{
	struct dmaplane_stats stats;
	struct dmaplane_cqe cqe;

	for (uint32_t i = PLACES; i < MESSAGES && self->result > 0; i++) {
		ASSERT_EQ(0, channel_next(&self->p.a.ch, &cqe));
		EXPECT_EQ(i, cqe.user_data);
		EXPECT_EQ(res, cqe.res);
		EXPECT_EQ(DMAPLANE_OP_WRITE_IMM, cqe.opcode);
	}
	EXPECT_FALSE(channel_reap(&self->p.a.ch, &cqe));
	ASSERT_EQ(0, get_stats(self->p.a.fd, &stats));
	EXPECT_EQ(MESSAGES, stats.submitted);
	EXPECT_EQ(MESSAGES, stats.completed);
}

TEST_F(credits, sender_closes)
{
	send_all_and_stall(_metadata, self);
	EXPECT_EQ(-EBUSY, end(self->p.a.fd, DMAPLANE_IOC_CHANNEL_CLOSE, self->p.a.ch.handle));
	EXPECT_EQ(0, endpoint_close(self->p.a.fd, self->p.a.endpoint));
	EXPECT_EQ(self->result < 0 ? 0 : MESSAGES - PLACES, channel_available(&self->p.a.ch));
	expect_ends(_metadata, self, -ECANCELED);
	EXPECT_EQ(0, region_deregister(self->p.a.fd, self->from.region));
	EXPECT_EQ(0, end(self->p.a.fd, DMAPLANE_IOC_CHANNEL_CLOSE, self->p.a.ch.handle));
	/* What had arrived stays to be reaped. */
	EXPECT_TRUE(WAIT_FOR(look(&self->p.b).state == DMAPLANE_STATE_ERROR));
	for (uint32_t i = 0; i < PLACES; i++) {
		take(_metadata, self, i, false);
	}
	EXPECT_EQ(ECONNRESET, look(&self->p.b).error);
}

static void expect_reset(struct __test_metadata *_metadata, FIXTURE_DATA(credits) *self)
{
	struct dmaplane_endpoint_query got;
	struct dmaplane_lease_wait wait;
	struct dmaplane_cqe cqe;
	struct dmaplane_sqe sqe;

	/* Those that wait tell when it has happened. */
	EXPECT_TRUE(self->result > 0 ||
		    WAIT_FOR(look(&self->p.a).state == DMAPLANE_STATE_ERROR));
	expect_ends(_metadata, self, -ECONNRESET);
	got = look(&self->p.a);
	EXPECT_EQ(DMAPLANE_STATE_ERROR, got.state);
	EXPECT_EQ(ECONNRESET, got.error);
	EXPECT_EQ(0, got.queued);
	EXPECT_EQ(0, got.in_flight);
	EXPECT_EQ(-ENOTCONN, lease_wait(&self->p.a, PATIENCE, &wait));
	sqe = write_imm(&self->p.a, self->from.region, self->lease, 0, 0, 1, 0);
	ASSERT_EQ(0, channel_do(&self->p.a.ch, &sqe, &cqe));
	EXPECT_EQ(-ENOTCONN, cqe.res);
	EXPECT_EQ(0, endpoint_close(self->p.a.fd, self->p.a.endpoint));
	EXPECT_EQ(0, end(self->p.a.fd, DMAPLANE_IOC_CHANNEL_CLOSE, self->p.a.ch.handle));
}

TEST_F(credits, receiver_closes)
{
	send_all_and_stall(_metadata, self);
	EXPECT_EQ(0, endpoint_close(self->p.b.fd, self->p.b.endpoint));
	expect_reset(_metadata, self);
}

TEST_F(credits, receiver_context_ends)
{
	send_all_and_stall(_metadata, self);
	/* The mappings stay, so that only the file's end does it. */
	EXPECT_EQ(0, close(self->p.b.fd));
	munmap(self->p.b.ch.ring, self->p.b.ch.length);
	munmap(self->to.at, self->to.length);
	expect_reset(_metadata, self);
	self->p.b.fd = -1;
}

TEST_F(credits, sender_context_ends)
{
	send_all_and_stall(_metadata, self);
	munmap(self->p.a.ch.ring, self->p.a.ch.length);
	munmap(self->from.at, self->from.length);
	EXPECT_EQ(0, close(self->p.a.fd));
	EXPECT_TRUE(WAIT_FOR(look(&self->p.b).state == DMAPLANE_STATE_ERROR));
	self->p.a.fd = -1;
}

/* A poisoned channel holds up nobody else: its connection ends or stalls, closing works. */
TEST_F(credits, receiver_poisons_its_channel)
{
	self->p.b.ch.ring->cq_head += 1000;
	for (uint32_t i = 0; i < MESSAGES; i++) {
		struct dmaplane_sqe sqe = write_imm(&self->p.a, self->from.region, self->lease, 0,
						    0, BYTES, i);

		ASSERT_EQ(1, channel_submit(&self->p.a.ch, &sqe));
	}
	EXPECT_EQ(-EBADFD, channel_enter(&self->p.b.ch, 0, 1, DMAPLANE_FOREVER));
	EXPECT_EQ(0, endpoint_close(self->p.b.fd, self->p.b.endpoint));
	for (uint32_t i = 0; i < MESSAGES; i++) {
		struct dmaplane_cqe cqe;

		ASSERT_EQ(0, channel_next(&self->p.a.ch, &cqe));
		EXPECT_EQ(i, cqe.user_data);
		EXPECT_TRUE(cqe.res == self->result || (cqe.res == -ECONNRESET && self->result > 0)) {
			TH_LOG("%d", cqe.res);
		}
	}
}

TEST_HARNESS_MAIN
