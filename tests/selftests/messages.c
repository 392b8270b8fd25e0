// SPDX-License-Identifier: GPL-2.0
/*
 * SEND and RECV: messages that wait for entries and entries that wait for messages, one at
 * a time or many for one entry; what is too long, too many, cancelled or cut off.
 */
#include "pair.h"
#include "harness.h"

#define LENGTH	(64 * 1024)
#define DEPTH	8		/* of b's receives */

FIXTURE(messages) {
	struct pair p;
	struct memory from;	/* a region of a's */
	struct buffer to;	/* a buffer of b's */
	uint8_t *at;
};

FIXTURE_SETUP(messages)
{
	self->p.b.recv_depth = DEPTH;
	self->p.b.message_bytes = DMAPLANE_MESSAGE_MAX;
	ASSERT_EQ(0, pair_open(&self->p));
	ASSERT_EQ(0, memory_make(&self->p.a, LENGTH, 0, &self->from));
	ASSERT_EQ(0, buf_create(self->p.b.fd, LENGTH, &self->to));
	self->at = buf_map(self->p.b.fd, &self->to);
	ASSERT_NE(MAP_FAILED, self->at);
	for (int i = 0; i < LENGTH; i++)
		self->from.at[i] = i % 251;
}

FIXTURE_TEARDOWN(messages)
{
	struct dmaplane_stats stats;

	EXPECT_EQ(0, get_stats(self->p.b.fd, &stats));
	EXPECT_EQ(stats.submitted, stats.completed);
	munmap(self->at, LENGTH);
	munmap(self->from.at, LENGTH);
	pair_close(&self->p);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("buffers"));
}

static struct dmaplane_endpoint_query look(struct side *s)
{
	struct dmaplane_endpoint_query got;

	if (query(s->fd, s->endpoint, &got))
		memset(&got, 0xff, sizeof(got));
	return got;
}

/* Sends @length bytes from @offset on; its res. */
static int send_message(FIXTURE_DATA(messages) *self, uint64_t offset, uint32_t length)
{
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;
	int ret;

	dmaplane_prep_send(&sqe, self->p.a.endpoint, self->from.region, offset, length);
	ret = channel_do(&self->p.a.ch, &sqe, &cqe);
	return ret < 0 ? ret : cqe.res;
}

/* Submits a RECV. */
static int recv_message(FIXTURE_DATA(messages) *self, uint64_t offset, uint32_t length,
			uint64_t user_data, uint8_t flags)
{
	struct dmaplane_sqe sqe;

	dmaplane_prep_recv(&sqe, self->p.b.endpoint, self->to.handle, offset, length);
	sqe.user_data = user_data;
	sqe.flags = flags;
	return channel_submit(&self->p.b.ch, &sqe);
}

static bool equal(FIXTURE_DATA(messages) *self, uint64_t to, uint64_t from, uint32_t length)
{
	return !memcmp(self->at + to, self->from.at + from, length);
}

/* The next completion is that of a message. */
static void expect_message(struct __test_metadata *_metadata, FIXTURE_DATA(messages) *self,
			   uint64_t user_data, int32_t res, uint16_t flags, uint32_t imm)
{
	struct dmaplane_cqe cqe;

	ASSERT_EQ(0, channel_next(&self->p.b.ch, &cqe));
	EXPECT_EQ(user_data, cqe.user_data);
	EXPECT_EQ(res, cqe.res);
	EXPECT_EQ(flags | DMAPLANE_CQE_F_ENTRY, cqe.flags);
	EXPECT_EQ(imm, cqe.imm);
	EXPECT_EQ(DMAPLANE_OP_RECV, cqe.opcode);
	EXPECT_EQ(self->p.b.endpoint, cqe.endpoint);
}

TEST_F(messages, entry_before_message)
{
	ASSERT_EQ(1, recv_message(self, 100, 1000, 5, 0));
	EXPECT_EQ(0, channel_available(&self->p.b.ch));
	EXPECT_EQ(77, send_message(self, 3, 77));
	expect_message(_metadata, self, 5, 77, 0, 0);
	EXPECT_TRUE(equal(self, 100, 3, 77));
	EXPECT_EQ(0, self->at[99]);
	EXPECT_EQ(0, self->at[177]);
}

TEST_F(messages, message_before_entry)
{
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(100 + i, send_message(self, 1000 * i, 100 + i));
	EXPECT_TRUE(WAIT_FOR(look(&self->p.b).unread == 3));
	EXPECT_EQ(0, channel_available(&self->p.b.ch));
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(1, recv_message(self, 4096 * i, 4096, i, 0));
		expect_message(_metadata, self, i, 100 + i, 0, 0);
		EXPECT_TRUE(equal(self, 4096 * i, 1000 * i, 100 + i));
		EXPECT_EQ(2 - i, look(&self->p.b).unread);
	}
	EXPECT_EQ(3, look(&self->p.b).received);
	EXPECT_EQ(3, look(&self->p.a).sent);
	EXPECT_EQ(303, look(&self->p.a).sent_bytes);
}

/* Up to what the peer takes, across pages and ends of segments, and nothing at all. */
TEST_F(messages, lengths)
{
	static const uint32_t lengths[] = { 1, 239, 240, 241, 4079, DMAPLANE_MESSAGE_MAX };
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;

	EXPECT_EQ(DMAPLANE_MESSAGE_MAX, look(&self->p.a).message_bytes);
	EXPECT_EQ(DMAPLANE_MESSAGE_MIN, look(&self->p.b).message_bytes);
	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		ASSERT_EQ(lengths[i], send_message(self, 4000 + i, lengths[i]));
		ASSERT_EQ(1, recv_message(self, 8000 * i, lengths[i], i, 0));
		expect_message(_metadata, self, i, lengths[i], 0, 0);
		EXPECT_TRUE(equal(self, 8000 * i, 4000 + i, lengths[i]));
		EXPECT_EQ(0, self->at[8000 * i + lengths[i]]);
	}
	EXPECT_EQ(-EMSGSIZE, send_message(self, 0, DMAPLANE_MESSAGE_MAX + 1));
	/* Nothing, from nowhere. */
	dmaplane_prep_send_imm(&sqe, self->p.a.endpoint, 0, 0, 0, 0);
	ASSERT_EQ(0, channel_do(&self->p.a.ch, &sqe, &cqe));
	EXPECT_EQ(0, cqe.res);
	ASSERT_EQ(1, recv_message(self, LENGTH, 0, 9, 0));
	expect_message(_metadata, self, 9, 0, DMAPLANE_CQE_F_IMM, 0);
}

TEST_F(messages, across_segments)
{
	struct dmaplane_fabric fabric;
	struct memory large;
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;

	ASSERT_EQ(0, fabric_of(&self->p.a, &fabric));
	ASSERT_EQ(0, memory_make(&self->p.a, fabric.max_segment + 8192, 0, &large));
	for (int i = 0; i < 4000; i++)
		large.at[fabric.max_segment - 2000 + i] = i % 249;
	dmaplane_prep_send(&sqe, self->p.a.endpoint, large.region, fabric.max_segment - 2000, 4000);
	ASSERT_EQ(0, channel_do(&self->p.a.ch, &sqe, &cqe));
	if (can_write(&self->p.a)) {
		EXPECT_EQ(4000, cqe.res);
		ASSERT_EQ(1, recv_message(self, 0, 4096, 1, 0));
		expect_message(_metadata, self, 1, 4000, 0, 0);
		EXPECT_EQ(0, memcmp(self->at, large.at + fabric.max_segment - 2000, 4000));
	} else {
		/* Soft-iWARP, which cannot gather. */
		EXPECT_EQ(-EMSGSIZE, cqe.res);
	}
	munmap(large.at, fabric.max_segment + 8192);
}

TEST_F(messages, immediates)
{
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;

	for (uint32_t i = 0; i < 3; i++) {
		dmaplane_prep_send_imm(&sqe, self->p.a.endpoint, self->from.region, i, 10,
				       i - 1);
		ASSERT_EQ(0, channel_do(&self->p.a.ch, &sqe, &cqe));
		ASSERT_EQ(10, cqe.res);
		ASSERT_EQ(1, recv_message(self, 0, 10, i, 0));
		expect_message(_metadata, self, i, 10, DMAPLANE_CQE_F_IMM, i - 1);
	}
}

/* A message that is longer than the room for it waits for the next one. */
TEST_F(messages, too_long_for_the_entry)
{
	ASSERT_EQ(200, send_message(self, 0, 200));
	ASSERT_EQ(1, recv_message(self, 0, 199, 1, 0));
	expect_message(_metadata, self, 1, -EMSGSIZE, 0, 0);
	EXPECT_EQ(0, self->at[0] | self->at[1]);
	EXPECT_EQ(1, look(&self->p.b).unread);
	/* So does one for which an entry was there before. */
	ASSERT_EQ(1, recv_message(self, 0, 200, 2, 0));
	expect_message(_metadata, self, 2, 200, 0, 0);
	ASSERT_EQ(1, recv_message(self, 0, 10, 3, 0));
	ASSERT_EQ(1, recv_message(self, 1000, 11, 4, 0));
	ASSERT_EQ(11, send_message(self, 7, 11));
	expect_message(_metadata, self, 3, -EMSGSIZE, 0, 0);
	expect_message(_metadata, self, 4, 11, 0, 0);
	EXPECT_TRUE(equal(self, 1000, 7, 11));
}

/* As many as there are receives are taken in, and no more until they are wanted. */
TEST_F(messages, unread_ones_hold_back_the_peer)
{
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;

	for (int i = 0; i < 3 * DEPTH; i++) {
		dmaplane_prep_send_imm(&sqe, self->p.a.endpoint, self->from.region, i, 50, i);
		sqe.user_data = i;
		ASSERT_EQ(1, channel_submit(&self->p.a.ch, &sqe));
	}
	EXPECT_TRUE(WAIT_FOR(look(&self->p.b).unread == DEPTH));
	sleep_ms(50);
	EXPECT_EQ(DEPTH, look(&self->p.b).unread);
	EXPECT_EQ(2 * DEPTH, look(&self->p.a).queued);
	EXPECT_EQ(0, look(&self->p.a).credits);
	EXPECT_EQ(DEPTH, channel_available(&self->p.a.ch));
	for (int i = 0; i < 3 * DEPTH; i++) {
		ASSERT_EQ(1, recv_message(self, 100 * i, 100, i, 0));
		expect_message(_metadata, self, i, 50, DMAPLANE_CQE_F_IMM, i);
		EXPECT_TRUE(equal(self, 100 * i, i, 50));
		ASSERT_EQ(0, channel_next(&self->p.a.ch, &cqe));
		EXPECT_EQ(i, cqe.user_data);
		EXPECT_EQ(50, cqe.res);
	}
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(self->p.a.fd, self->p.a.endpoint));
}

TEST_F(messages, multishot)
{
	struct dmaplane_sqe sqe;
	int count = 2 * DEPTH + 1;

	dmaplane_prep_recv_multishot(&sqe, self->p.b.endpoint, self->to.handle, 512, 300, count);
	sqe.user_data = 0xa11;
	ASSERT_EQ(1, channel_submit(&self->p.b.ch, &sqe));
	for (int i = 0; i < count; i++) {
		ASSERT_EQ(100 + i, send_message(self, i, 100 + i));
		expect_message(_metadata, self, 0xa11, 100 + i,
			       i + 1 < count ? DMAPLANE_CQE_F_MORE : 0, 0);
		EXPECT_TRUE(equal(self, 512 + 300 * i, i, 100 + i));
		EXPECT_EQ(0, self->at[512 + 300 * i + 100 + i]);
	}
	/* It is over. */
	ASSERT_EQ(1, send_message(self, 0, 1));
	EXPECT_TRUE(WAIT_FOR(look(&self->p.b).unread == 1));
	EXPECT_EQ(0, channel_available(&self->p.b.ch));
}

/* Completions that nobody reaps hold back the peer, and are not lost. */
TEST_F(messages, multishot_and_a_full_ring)
{
	struct dmaplane_sqe sqe;
	int count = 100;	/* there are 64 places */

	dmaplane_prep_recv_multishot(&sqe, self->p.b.endpoint, self->to.handle, 0, 4, count);
	ASSERT_EQ(1, channel_submit(&self->p.b.ch, &sqe));
	for (int i = 0; i < count; i++) {
		dmaplane_prep_send(&sqe, self->p.a.endpoint, self->from.region, i, 4);
		sqe.flags = DMAPLANE_SQE_CQE_SKIP_SUCCESS;
		ASSERT_EQ(0, channel_push(&self->p.a.ch, &sqe));
		EXPECT_TRUE(WAIT_FOR(channel_enter(&self->p.a.ch, 1, 0, 0) == 1));
	}
	/* Others were sent. */
	EXPECT_TRUE(WAIT_FOR(load_acquire(&self->p.b.ch.ring->flags) & DMAPLANE_RING_NEED_ENTER));
	EXPECT_LT(0, look(&self->p.a).queued);
	for (int i = 0; i < count; i++)
		expect_message(_metadata, self, 0, 4, i + 1 < count ? DMAPLANE_CQE_F_MORE : 0, 0);
	for (int i = 0; i < count; i++) {
		EXPECT_TRUE(equal(self, 4 * i, i, 4)) {
			TH_LOG("%d", i);
		}
	}
	EXPECT_TRUE(WAIT_FOR(look(&self->p.a).sent == 100));
	EXPECT_EQ(0, channel_available(&self->p.a.ch));
}

TEST_F(messages, linked_and_silent)
{
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;

	dmaplane_prep_recv(&sqe, self->p.b.endpoint, self->to.handle, 0, 100);
	sqe.flags = DMAPLANE_SQE_LINK | DMAPLANE_SQE_CQE_SKIP_SUCCESS;
	ASSERT_EQ(0, channel_push(&self->p.b.ch, &sqe));
	sqe = copy_buffer(self->to.handle, 0, self->to.handle, 1000, 100);
	sqe.user_data = 3;
	ASSERT_EQ(0, channel_push(&self->p.b.ch, &sqe));
	ASSERT_EQ(2, channel_enter(&self->p.b.ch, 2, 0, 0));
	sleep_ms(20);
	EXPECT_EQ(0, channel_available(&self->p.b.ch));
	ASSERT_EQ(100, send_message(self, 50, 100));
	ASSERT_EQ(0, channel_next(&self->p.b.ch, &cqe));
	EXPECT_EQ(3, cqe.user_data);
	EXPECT_EQ(100, cqe.res);
	EXPECT_TRUE(equal(self, 1000, 50, 100));
}

TEST_F(messages, cancelled)
{
	struct side *b = &self->p.b;
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;

	ASSERT_EQ(1, recv_message(self, 0, 10, 1, 0));
	ASSERT_EQ(1, recv_message(self, 10, 10, 2, 0));
	dmaplane_prep_recv_multishot(&sqe, b->endpoint, self->to.handle, 20, 10, 5);
	sqe.user_data = 3;
	ASSERT_EQ(1, channel_submit(&b->ch, &sqe));
	dmaplane_prep_cancel(&sqe, b->endpoint, 1, 0);
	sqe.user_data = 4;
	ASSERT_EQ(1, channel_submit(&b->ch, &sqe));
	expect_message(_metadata, self, 1, -ECANCELED, 0, 0);
	ASSERT_EQ(0, channel_next(&b->ch, &cqe));
	EXPECT_EQ(4, cqe.user_data);
	EXPECT_EQ(1, cqe.res);
	/* What it waited for goes to the next one. */
	ASSERT_EQ(10, send_message(self, 5, 10));
	expect_message(_metadata, self, 2, 10, 0, 0);
	EXPECT_TRUE(equal(self, 10, 5, 10));
	ASSERT_EQ(10, send_message(self, 6, 10));
	expect_message(_metadata, self, 3, 10, DMAPLANE_CQE_F_MORE, 0);
	dmaplane_prep_cancel(&sqe, b->endpoint, 0, DMAPLANE_CANCEL_ALL);
	sqe.user_data = 4;
	ASSERT_EQ(1, channel_submit(&b->ch, &sqe));
	expect_message(_metadata, self, 3, -ECANCELED, 0, 0);
	ASSERT_EQ(0, channel_next(&b->ch, &cqe));
	EXPECT_EQ(1, cqe.res);
	ASSERT_EQ(1, channel_submit(&b->ch, &sqe));
	ASSERT_EQ(0, channel_next(&b->ch, &cqe));
	EXPECT_EQ(-ENOENT, cqe.res);
}

/* What had arrived can be had when the peer is gone; what waits for more ends. */
TEST_F(messages, peer_closes)
{
	struct dmaplane_sqe sqe;

	for (int i = 0; i < 3; i++)
		ASSERT_EQ(20 + i, send_message(self, 30 * i, 20 + i));
	EXPECT_TRUE(WAIT_FOR(look(&self->p.b).unread == 3));
	ASSERT_EQ(0, endpoint_close(self->p.a.fd, self->p.a.endpoint));
	EXPECT_TRUE(WAIT_FOR(state_of(self->p.b.fd, self->p.b.endpoint) == DMAPLANE_STATE_ERROR));
	ASSERT_EQ(1, recv_message(self, 0, 100, 1, 0));
	expect_message(_metadata, self, 1, 20, 0, 0);
	EXPECT_TRUE(equal(self, 0, 0, 20));
	dmaplane_prep_recv_multishot(&sqe, self->p.b.endpoint, self->to.handle, 1000, 100, 5);
	sqe.user_data = 2;
	ASSERT_EQ(1, channel_submit(&self->p.b.ch, &sqe));
	expect_message(_metadata, self, 2, 21, DMAPLANE_CQE_F_MORE, 0);
	expect_message(_metadata, self, 2, 22, DMAPLANE_CQE_F_MORE, 0);
	expect_message(_metadata, self, 2, -ECONNRESET, 0, 0);
	EXPECT_TRUE(equal(self, 1100, 60, 22));
	ASSERT_EQ(1, recv_message(self, 0, 100, 3, 0));
	expect_message(_metadata, self, 3, -ECONNRESET, 0, 0);
	EXPECT_EQ(0, look(&self->p.b).unread);
}

TEST_F(messages, peer_closes_while_an_entry_waits)
{
	ASSERT_EQ(1, recv_message(self, 0, 100, 1, 0));
	ASSERT_EQ(0, endpoint_close(self->p.a.fd, self->p.a.endpoint));
	expect_message(_metadata, self, 1, -ECONNRESET, 0, 0);
}

TEST_F(messages, closed_with_unread_ones_and_entries)
{
	struct dmaplane_cqe cqe;

	ASSERT_EQ(5, send_message(self, 0, 5));
	EXPECT_TRUE(WAIT_FOR(look(&self->p.b).unread == 1));
	ASSERT_EQ(0, endpoint_close(self->p.b.fd, self->p.b.endpoint));
	EXPECT_EQ(0, channel_available(&self->p.b.ch));
	ASSERT_EQ(1, recv_message(self, 0, 100, 1, 0));
	ASSERT_EQ(0, channel_next(&self->p.b.ch, &cqe));
	EXPECT_EQ(-ENOENT, cqe.res);
	/* All places are free again. */
	for (int i = 0; i < 64; i++)
		ASSERT_EQ(0, channel_push_nop(&self->p.b.ch, i));
	EXPECT_EQ(64, channel_enter(&self->p.b.ch, 64, 64, PATIENCE));
	EXPECT_EQ(64, channel_available(&self->p.b.ch));
}

TEST_F(messages, closed_while_an_entry_waits)
{
	ASSERT_EQ(1, recv_message(self, 0, 100, 1, 0));
	ASSERT_EQ(0, endpoint_close(self->p.b.fd, self->p.b.endpoint));
	expect_message(_metadata, self, 1, -ECANCELED, 0, 0);
}

/* A destroyed buffer stays until the entry that fills it is done. */
TEST_F(messages, buffer_destroyed)
{
	struct dmaplane_stats stats;

	ASSERT_EQ(1, recv_message(self, 0, 100, 1, 0));
	ASSERT_EQ(0, buf_destroy(self->p.b.fd, self->to.handle));
	EXPECT_EQ(5, send_message(self, 40, 5));
	expect_message(_metadata, self, 1, 5, 0, 0);
	EXPECT_TRUE(equal(self, 0, 40, 5));
	ASSERT_EQ(0, munmap(self->at, LENGTH));
	ASSERT_EQ(0, get_stats(self->p.b.fd, &stats));
	EXPECT_EQ(0, stats.buffers);
}

TEST_F(messages, wrong_entries)
{
	struct side *a = &self->p.a, *b = &self->p.b;
	struct dmaplane_sqe good;
	struct dmaplane_cqe cqe;
	struct channel other;

#define EXPECT_RES(side, result, ...) do {					\
		struct dmaplane_sqe sqe = good;					\
										\
		__VA_ARGS__;							\
		ASSERT_EQ(0, channel_do(&(side)->ch, &sqe, &cqe));		\
		EXPECT_EQ(result, cqe.res) {					\
			TH_LOG("%s", #__VA_ARGS__);				\
		}								\
	} while (0)

	dmaplane_prep_send(&good, a->endpoint, self->from.region, 0, 10);
	EXPECT_RES(a, -EINVAL, sqe.imm = 1);
	EXPECT_RES(a, -EINVAL, sqe.lease = 1);
	EXPECT_RES(a, -EINVAL, sqe.remote_offset = 1);
	EXPECT_RES(a, -EINVAL, sqe.list = 1);
	EXPECT_RES(a, -EINVAL, sqe.list_count = 1);
	EXPECT_RES(a, -EINVAL, sqe.list_offset = 8);
	EXPECT_RES(a, -EINVAL, sqe.flags = DMAPLANE_SQE_SEGMENTS);
	EXPECT_RES(a, -EINVAL, sqe.flags = DMAPLANE_SQE_PAGES);
	EXPECT_RES(a, -EINVAL, sqe.flags = DMAPLANE_SQE_MULTISHOT);
	EXPECT_RES(a, -EINVAL, sqe.pad0 = 1);
	EXPECT_RES(a, -ENOENT, sqe.endpoint = 0);
	EXPECT_RES(a, -EBADF, sqe.endpoint = self->from.region);
	EXPECT_RES(a, -ENOENT, sqe.region = 0);
	EXPECT_RES(a, -EBADF, sqe.region = a->endpoint);
	EXPECT_RES(a, -EINVAL, sqe.region = 0, sqe.length = 0, sqe.local_offset = 1);
	EXPECT_RES(a, -ERANGE, sqe.local_offset = LENGTH - 9);
	EXPECT_RES(a, -EOVERFLOW, sqe.local_offset = UINT64_MAX);
	EXPECT_RES(a, -EMSGSIZE, sqe.length = DMAPLANE_MESSAGE_MAX + 1);
	EXPECT_RES(a, -EFBIG, sqe.length = UINT32_MAX);

	dmaplane_prep_recv(&good, b->endpoint, self->to.handle, 0, 10);
	EXPECT_RES(b, -EINVAL, sqe.imm = 1);
	EXPECT_RES(b, -EINVAL, sqe.region = 1);
	EXPECT_RES(b, -EINVAL, sqe.local_offset = 1);
	EXPECT_RES(b, -EINVAL, sqe.list = 1);
	EXPECT_RES(b, -EINVAL, sqe.flags = DMAPLANE_SQE_MULTISHOT);
	EXPECT_RES(b, -EINVAL, sqe.flags = DMAPLANE_SQE_MULTISHOT | DMAPLANE_SQE_CQE_SKIP_SUCCESS,
		   sqe.imm = 1);
	EXPECT_RES(b, -EINVAL, sqe.flags = DMAPLANE_SQE_FENCE);
	EXPECT_RES(b, -ENOENT, sqe.endpoint = 0);
	EXPECT_RES(b, -EBADF, sqe.endpoint = self->to.handle);
	EXPECT_RES(b, -ENOENT, sqe.lease = 0);
	EXPECT_RES(b, -EBADF, sqe.lease = b->endpoint);
	EXPECT_RES(b, -ERANGE, sqe.remote_offset = LENGTH - 9);
	EXPECT_RES(b, -EOVERFLOW, sqe.remote_offset = UINT64_MAX);
	EXPECT_RES(b, -ERANGE, sqe.flags = DMAPLANE_SQE_MULTISHOT, sqe.imm = UINT32_MAX);
	EXPECT_RES(b, -ERANGE, sqe.flags = DMAPLANE_SQE_MULTISHOT, sqe.imm = 3,
		   sqe.remote_offset = LENGTH - 29);
	EXPECT_RES(b, -EFBIG, sqe.length = UINT32_MAX);
	/* A channel that the endpoint does not deliver to. */
	ASSERT_EQ(0, channel_open(b->fd, 4, 4, &other));
	ASSERT_EQ(0, channel_do(&other, &good, &cqe));
	EXPECT_EQ(-EXDEV, cqe.res);
	ASSERT_EQ(0, channel_close(&other));
	/* None of it did anything. */
	ASSERT_EQ(1, recv_message(self, 0, 10, 1, 0));
	EXPECT_EQ(10, send_message(self, 0, 10));
	expect_message(_metadata, self, 1, 10, 0, 0);
}

TEST_F(messages, not_connected)
{
	struct dmaplane_endpoint_connect arg = ARG(endpoint_connect,
		.endpoint = self->p.a.endpoint, .channel = self->p.a.ch.handle,
		.send_depth = 1, .recv_depth = 1, .message_bytes = DMAPLANE_MESSAGE_MAX + 1);
	struct dmaplane_endpoint_listen listen;
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;
	uint32_t endpoint;

	EXPECT_EQ(-EINVAL, cmd(self->p.a.fd, DMAPLANE_IOC_ENDPOINT_CONNECT, &arg));
	ASSERT_EQ(0, listen_on(self->p.b.fd, ADDRESS4, 0, 8, &listen));
	ASSERT_EQ(0, resolve(self->p.b.fd, &listen.addr, &endpoint));
	dmaplane_prep_recv(&sqe, endpoint, self->to.handle, 0, 10);
	ASSERT_EQ(0, channel_do(&self->p.b.ch, &sqe, &cqe));
	EXPECT_EQ(-ENOTCONN, cqe.res);
	dmaplane_prep_send(&sqe, endpoint, 0, 0, 0);
	ASSERT_EQ(0, channel_do(&self->p.b.ch, &sqe, &cqe));
	EXPECT_EQ(-ENOTCONN, cqe.res);
}

/* Messages and writes with immediate share receives, and are told apart. */
TEST_F(messages, among_writes)
{
	struct pair *p = &self->p;
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;
	struct memory to;
	uint32_t lease;

	if (!can_write(&p->a))
		return;
	ASSERT_EQ(0, target(&p->b, &p->a, 4096, &to, &lease));
	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(1, recv_message(self, 0, 100, 1000 + i, 0));
		sqe = write_imm(&p->a, self->from.region, lease, 0, 0, 8, i);
		sqe.flags = DMAPLANE_SQE_CQE_SKIP_SUCCESS;
		ASSERT_EQ(1, channel_submit(&p->a.ch, &sqe));
		EXPECT_EQ(9, send_message(self, i, 9));
		ASSERT_EQ(0, channel_next(&p->b.ch, &cqe));
		EXPECT_EQ(RECV_DATA, cqe.user_data);
		EXPECT_EQ(i, cqe.imm);
		EXPECT_EQ(DMAPLANE_CQE_F_IMM, cqe.flags);
		expect_message(_metadata, self, 1000 + i, 9, 0, 0);
		EXPECT_TRUE(equal(self, 0, i, 9));
	}
	munmap(to.at, 4096);
}

TEST_HARNESS_MAIN
