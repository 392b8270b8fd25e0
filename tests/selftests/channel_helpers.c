// SPDX-License-Identifier: GPL-2.0
/*
 * dmaplane/channel.h and entry.h, as far as other tests do not use them: channels with a
 * file and without, entries that are filled in place, calls that submit and wait.
 */
#include "ring.h"
#include "harness.h"

FIXTURE(helpers) {
	int fd;
	struct channel c;	/* 8 and 4 entries */
};

FIXTURE_VARIANT(helpers) {
	bool file;
};

FIXTURE_VARIANT_ADD(helpers, file) { .file = true };
FIXTURE_VARIANT_ADD(helpers, nofile) { .file = false };

FIXTURE_SETUP(helpers)
{
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, variant->file ? dmaplane_channel_open(self->fd, 8, 4, &self->c) :
				     dmaplane_channel_open_nofile(self->fd, 8, 4, &self->c));
	EXPECT_EQ(variant->file, self->c.file >= 0);
}

FIXTURE_TEARDOWN(helpers)
{
	EXPECT_EQ(0, dmaplane_channel_close(&self->c));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("channels"));
}

/* NOPs with user_data from @first on, filled in place: how many there was room for. */
static int get_nops(struct channel *c, int count, uint64_t first)
{
	struct dmaplane_sqe *sqe;
	int got = 0;

	while (got < count && (sqe = dmaplane_sqe_get(c))) {
		dmaplane_prep_nop(sqe);
		dmaplane_sqe_set_user_data(sqe, first + got++);
	}
	return got;
}

/* All completions there are, if they are those of @first and the following: how many. */
static int take_all(struct channel *c, uint64_t first)
{
	struct dmaplane_cqe *cqe;
	uint32_t head, count = 0;

	dmaplane_for_each_cqe(c, head, cqe) {
		if (cqe->user_data != first + count || cqe->res)
			return -EPROTO;
		count++;
	}
	dmaplane_cq_advance(c, count);
	return count;
}

TEST_F(helpers, get_and_submit)
{
	uint64_t next = 0;

	for (int round = 0; round < 50; round++) {
		int count = round % 5;

		ASSERT_EQ(count, get_nops(&self->c, count, next));
		EXPECT_EQ(count, dmaplane_channel_pending(&self->c));
		EXPECT_EQ(8 - count, dmaplane_channel_room(&self->c));
		/* The kernel does not see them before. */
		EXPECT_EQ(next, self->c.ring->sq_tail);
		EXPECT_EQ(0, dmaplane_enter(&self->c, 8, 0, 0, 0));
		EXPECT_EQ(count, dmaplane_submit(&self->c));
		EXPECT_EQ(0, dmaplane_channel_pending(&self->c));
		EXPECT_EQ(count, dmaplane_channel_available(&self->c));
		ASSERT_EQ(count, take_all(&self->c, next));
		next += count;
	}
	EXPECT_EQ(0, dmaplane_submit_and_wait(&self->c, 0));
}

/* Four completions have room. */
TEST_F(helpers, more_than_there_is_room_for)
{
	struct dmaplane_cqe *cqe;

	EXPECT_EQ(8, get_nops(&self->c, 100, 0));
	EXPECT_EQ(NULL, dmaplane_sqe_get(&self->c));
	EXPECT_EQ(-EAGAIN, channel_push_nop(&self->c, 8));
	EXPECT_EQ(4, dmaplane_submit_and_wait(&self->c, 4));
	EXPECT_EQ(4, dmaplane_channel_pending(&self->c));
	EXPECT_EQ(-EBUSY, dmaplane_submit(&self->c));
	EXPECT_EQ(-EBUSY, dmaplane_submit_and_wait_timeout(&self->c, 4, 0, PATIENCE));
	ASSERT_EQ(0, dmaplane_wait_cqe(&self->c, &cqe));
	EXPECT_EQ(0, cqe->user_data);
	dmaplane_cqe_seen(&self->c);
	EXPECT_EQ(1, dmaplane_submit(&self->c));
	EXPECT_EQ(4, take_all(&self->c, 1));
	/* Waiting takes none of those left. */
	EXPECT_EQ(-ETIME, dmaplane_wait_cqe_timeout(&self->c, &cqe, 0, MS));
	EXPECT_EQ(3, dmaplane_channel_pending(&self->c));
	EXPECT_EQ(3, dmaplane_submit_and_wait(&self->c, 3));
	EXPECT_EQ(3, take_all(&self->c, 5));
}

/* Those in flight have the room: what waits for them must not submit. */
TEST_F(helpers, waits_with_a_full_ring)
{
	struct dmaplane_cqe *cqe;
	struct buffer buffer;

	ASSERT_EQ(0, buf_create(self->fd, 8 << 20, &buffer));
	for (int i = 0; i < 4; i++) {
		struct dmaplane_sqe sqe = fill_buffer(buffer.handle, 0, 8 << 20, i);

		ASSERT_EQ(0, channel_push(&self->c, &sqe));
	}
	ASSERT_EQ(4, get_nops(&self->c, 4, 0));
	ASSERT_EQ(4, dmaplane_submit(&self->c));
	ASSERT_EQ(0, dmaplane_wait_cqe(&self->c, &cqe));
	EXPECT_EQ(8 << 20, cqe->res);
	EXPECT_EQ(4, dmaplane_channel_pending(&self->c));
}

TEST_F(helpers, times)
{
	uint64_t begin = now_ns();
	struct dmaplane_cqe *cqe;

	EXPECT_EQ(-EAGAIN, dmaplane_peek_cqe(&self->c, &cqe));
	EXPECT_EQ(NULL, cqe);
	EXPECT_EQ(-ETIME, dmaplane_wait_cqe_timeout(&self->c, &cqe, 0, 20 * MS));
	EXPECT_LE(begin + 20 * MS, now_ns());
	EXPECT_EQ(-ETIME, dmaplane_wait_cqe_timeout(&self->c, &cqe, DMAPLANE_ENTER_ABSTIME,
						    begin + 40 * MS));
	EXPECT_LE(begin + 40 * MS, now_ns());
	EXPECT_EQ(-ETIME, dmaplane_submit_and_wait_timeout(&self->c, 1, 0, 0));
	EXPECT_EQ(-ETIME, dmaplane_submit_and_wait_timeout(&self->c, 1, DMAPLANE_ENTER_ABSTIME,
							   begin + 60 * MS));
	EXPECT_LE(begin + 60 * MS, now_ns());
	EXPECT_EQ(-EINVAL, dmaplane_submit_and_wait(&self->c, 5));
	EXPECT_EQ(-EINVAL, dmaplane_submit_and_wait_timeout(&self->c, 1, 2, DMAPLANE_FOREVER));
	/* What was taken is told, although the wait ended early. */
	ASSERT_EQ(1, get_nops(&self->c, 1, 7));
	EXPECT_EQ(1, dmaplane_submit_and_wait_timeout(&self->c, 2, 0, MS));
	EXPECT_EQ(1, take_all(&self->c, 7));
	alarm_every(20, SA_RESTART);
	EXPECT_EQ(-EINTR, dmaplane_submit_and_wait(&self->c, 1));
	EXPECT_EQ(-EINTR, dmaplane_wait_cqe(&self->c, &cqe));
	alarm_stop();
}

TEST_F(helpers, poisoned)
{
	struct dmaplane_cqe *cqe;

	EXPECT_EQ(0, dmaplane_channel_poisoned(&self->c));
	EXPECT_EQ(0, dmaplane_channel_needs_enter(&self->c));
	self->c.ring->sq_tail = 100;
	EXPECT_EQ(-EBADFD, dmaplane_submit_and_wait(&self->c, 1));
	self->c.ring->sq_tail = 0;
	EXPECT_EQ(1, dmaplane_channel_poisoned(&self->c));
	/* It makes a call, which it does not with nothing to do else. */
	EXPECT_EQ(-EBADFD, dmaplane_submit(&self->c));
	EXPECT_EQ(-EBADFD, dmaplane_wait_cqe(&self->c, &cqe));
}

/* What was made before the failure is gone: channel, and file or mapping. */
TEST_F(helpers, open_fails)
{
	struct rlimit old, none;
	struct channel c;

	EXPECT_EQ(-EINVAL, dmaplane_channel_open(self->fd, 3, 4, &c));
	EXPECT_EQ(-EINVAL, dmaplane_channel_open_nofile(self->fd, 3, 4, &c));
	EXPECT_EQ(-EBADF, dmaplane_channel_open(-1, 4, 4, &c));
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &old));
	none = (struct rlimit){ 0, old.rlim_max };
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	EXPECT_EQ(-EMFILE, dmaplane_channel_open(self->fd, 4, 4, &c));
	EXPECT_EQ(0, dmaplane_channel_open_nofile(self->fd, 4, 4, &c));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &old));
	EXPECT_EQ(0, dmaplane_channel_close(&c));
	ASSERT_EQ(0, getrlimit(RLIMIT_AS, &old));
	none = (struct rlimit){ 0, old.rlim_max };
	ASSERT_EQ(0, setrlimit(RLIMIT_AS, &none));
	EXPECT_EQ(-ENOMEM, dmaplane_channel_open(self->fd, 4, 4, &c));
	EXPECT_EQ(-ENOMEM, dmaplane_channel_open_nofile(self->fd, 4, 4, &c));
	ASSERT_EQ(0, setrlimit(RLIMIT_AS, &old));
	EXPECT_EQ(1, live("channels"));
	EXPECT_EQ(-ENOENT, dmaplane_channel_close(&(struct channel){ .fd = self->fd, .file = -1 }));
}

#define EXPECT_ENTRY(...) do {							\
		struct dmaplane_sqe expected = { __VA_ARGS__ };			\
										\
		EXPECT_EQ(0, memcmp(&expected, &sqe, sizeof(sqe)));		\
		memset(&sqe, 0xff, sizeof(sqe));				\
	} while (0)

/* Whatever was in an entry, no more than this is in it. */
TEST(entries)
{
	struct dmaplane_sqe sqe;

	memset(&sqe, 0xff, sizeof(sqe));
	dmaplane_prep_nop(&sqe);
	EXPECT_ENTRY(.opcode = DMAPLANE_OP_NOP);
	dmaplane_prep_write_imm(&sqe, 1, 2, 3, 4, 5, 6, 7);
	dmaplane_sqe_set_flags(&sqe, DMAPLANE_SQE_DRAIN);
	dmaplane_sqe_set_user_data(&sqe, ~0ULL);
	EXPECT_ENTRY(.opcode = DMAPLANE_OP_WRITE_IMM, .endpoint = 1, .region = 2,
		     .local_offset = 3, .lease = 4, .remote_offset = 5, .length = 6, .imm = 7,
		     .flags = DMAPLANE_SQE_DRAIN, .user_data = ~0ULL);
	dmaplane_prep_imm_only(&sqe, 1, 2);
	EXPECT_ENTRY(.opcode = DMAPLANE_OP_IMM_ONLY, .endpoint = 1, .imm = 2);
	dmaplane_prep_copy(&sqe, 1, 2, 3, 4, 5);
	EXPECT_ENTRY(.opcode = DMAPLANE_OP_COPY, .region = 1, .local_offset = 2, .lease = 3,
		     .remote_offset = 4, .length = 5);
	dmaplane_prep_fill(&sqe, 1, 2, 3, 4);
	EXPECT_ENTRY(.opcode = DMAPLANE_OP_FILL, .lease = 1, .remote_offset = 2, .length = 3,
		     .imm = 4);
	dmaplane_prep_cancel(&sqe, 1, 2, DMAPLANE_CANCEL_ALL);
	EXPECT_ENTRY(.opcode = DMAPLANE_OP_CANCEL, .endpoint = 1, .local_offset = 2,
		     .imm = DMAPLANE_CANCEL_ALL);
}

TEST_HARNESS_MAIN
