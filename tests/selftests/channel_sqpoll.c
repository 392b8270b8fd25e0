// SPDX-License-Identifier: GPL-2.0
/*
 * SQPOLL: a thread that takes entries. What it does by itself, when it sleeps, and what
 * wakes it. Its making and its end: channel_sqpoll_ends.c.
 */
#include "sqpoll.h"

#include <sys/eventfd.h>

/* A channel of 16 and 16 entries, whose thread sleeps whenever it can or does not. */
FIXTURE(sqpoll_ring) {
	int fd;
	struct channel c;
};

FIXTURE_VARIANT(sqpoll_ring) {
	uint32_t idle_ms;
};

FIXTURE_VARIANT_ADD(sqpoll_ring, awake) { .idle_ms = LONG_IDLE };
FIXTURE_VARIANT_ADD(sqpoll_ring, sleepy) { .idle_ms = SHORT_IDLE };

FIXTURE_SETUP(sqpoll_ring)
{
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, open_polled(self->fd, 16, 16, variant->idle_ms, &self->c));
}

FIXTURE_TEARDOWN(sqpoll_ring)
{
	munmap(self->c.ring, self->c.length);
	expect_nothing_left(_metadata, self->fd);
}

/* Nothing is called: memory is all that both sides touch. */
TEST_F(sqpoll, entries_complete_without_a_call)
{
	struct dmaplane_stats stats;
	struct channel c;
	int next = 0;

	ASSERT_EQ(0, open_polled(self->fd, 16, 16, LONG_IDLE, &c));
	for (int round = 0; round < times(100); round++) {
		int count = round % 16 + 1;

		ASSERT_EQ(0, push_nops(&c, next, count));
		ASSERT_TRUE(WAIT_FOR(channel_available(&c) == (uint32_t)count));
		ASSERT_EQ(count, take_nops(&c, next));
		next += count;
	}
	EXPECT_TRUE(WAIT_FOR(load_acquire(&c.ring->sq_head) == (uint32_t)next));
	EXPECT_EQ(0, flags(&c));
	ASSERT_EQ(0, get_stats(self->fd, &stats));
	EXPECT_EQ(next, stats.submitted);
	EXPECT_EQ(next, stats.completed);
	EXPECT_LT(0, thread_of(getpid()));
	EXPECT_EQ(0, channel_close(&c));
}

/* It sleeps, says so, and takes nothing until it is woken. */
TEST_F(sqpoll, sleeps_until_woken)
{
	struct channel c;

	ASSERT_EQ(0, open_polled(self->fd, 16, 16, SHORT_IDLE, &c));
	for (int round = 0; round < 10; round++) {
		ASSERT_TRUE(sleeps(&c));
		ASSERT_EQ(0, push_nops(&c, round, 1));
		/* That is not what wakes it, nor does it take anything. */
		EXPECT_EQ(0, channel_enter(&c, 1, 0, 0));
		EXPECT_EQ(-ETIME, channel_enter(&c, 1, 1, 20 * MS));
		EXPECT_EQ(0, channel_available(&c));
		EXPECT_EQ(round, load_acquire(&c.ring->sq_head));
		EXPECT_EQ(DMAPLANE_RING_NEED_WAKEUP, flags(&c));
		EXPECT_EQ(0, wake_if_needed(&c));
		ASSERT_TRUE(WAIT_FOR(channel_available(&c) == 1));
		ASSERT_EQ(1, take_nops(&c, round));
	}
	EXPECT_EQ(0, channel_close(&c));
}

/* By the header's rules no entry is left lying, whenever the thread falls asleep. */
TEST_F(sqpoll_ring, no_entry_is_forgotten)
{
	unsigned int seed = 1, calls = 0;

	for (int round = 0; round < times(500); round++) {
		uint64_t until = now_ns() + rand_r(&seed) % (3 * MS);

		while (now_ns() < until)
			;
		ASSERT_EQ(0, push_nops(&self->c, round, 1));
		calls += dmaplane_sq_needs_wakeup(&self->c);
		ASSERT_EQ(0, wake_if_needed(&self->c));
		ASSERT_EQ(0, channel_enter(&self->c, 0, 1, PATIENCE)) TH_LOG("entry %d", round);
		ASSERT_EQ(1, take_nops(&self->c, round));
	}
	TH_LOG("%u calls to wake the thread", calls);
	EXPECT_EQ(variant->idle_ms != LONG_IDLE, calls > 0);
}

/* All waits of ENTER are as ever, but that it has taken nothing. */
TEST_F(sqpoll_ring, waits)
{
	const uint32_t wake = DMAPLANE_ENTER_SQ_WAKEUP;

	EXPECT_EQ(-ETIME, dmaplane_enter(&self->c, 0, 1, wake, 5 * MS));
	EXPECT_EQ(-ETIME, dmaplane_enter(&self->c, 0, 1, wake | DMAPLANE_ENTER_ABSTIME,
					 now_ns() + 5 * MS));
	EXPECT_EQ(-EINVAL, dmaplane_enter(&self->c, 0, 17, wake, 0));
	EXPECT_EQ(-EINVAL, dmaplane_enter(&self->c, 0, 0, 4, 0));
	for (int round = 0; round < times(20); round++) {
		ASSERT_EQ(0, push_nops(&self->c, 0, 3));
		ASSERT_EQ(0, dmaplane_enter(&self->c, 16, 3, wake, PATIENCE));
		ASSERT_EQ(3, channel_available(&self->c));
		ASSERT_EQ(3, take_nops(&self->c, 0));
	}
	ASSERT_EQ(0, push_nops(&self->c, 0, 1));
	alarm_every(20, 0);
	EXPECT_EQ(-EINTR, dmaplane_enter(&self->c, 16, 2, wake, DMAPLANE_FOREVER));
	alarm_stop();
	EXPECT_TRUE(WAIT_FOR(channel_available(&self->c) == 1));
}

/* lseek() wakes the thread and waits. */
TEST_F(sqpoll_ring, file)
{
	int file = channel_file(&self->c);

	ASSERT_LE(0, file);
	for (int round = 0; round < times(20); round++) {
		if (variant->idle_ms != LONG_IDLE && round % 2)
			ASSERT_TRUE(sleeps(&self->c));
		ASSERT_EQ(0, push_nops(&self->c, 0, 5));
		EXPECT_EQ(0, file_enter(file, 5));
		EXPECT_EQ(POLLIN, poll_now(file));
		ASSERT_EQ(5, take_nops(&self->c, 0));
		/* Without a wait as well. */
		if (variant->idle_ms != LONG_IDLE && round % 2)
			ASSERT_TRUE(sleeps(&self->c));
		ASSERT_EQ(0, push_nops(&self->c, 0, 1));
		EXPECT_EQ(0, file_enter(file, 0));
		ASSERT_TRUE(WAIT_FOR(channel_available(&self->c) == 1));
		ASSERT_EQ(1, take_nops(&self->c, 0));
	}
	EXPECT_EQ(0, close(file));
}

/* The functions of channel.h: calls are theirs to make. */
TEST_F(sqpoll, helpers)
{
	struct dmaplane_cqe *cqe;
	struct channel c;

	ASSERT_EQ(0, dmaplane_channel_open_sqpoll(self->fd, 8, 8, SOME_IDLE, &c));
	for (int round = 0; round < times(200); round++) {
		uint32_t head, count = 0, wanted = round % 8 + 1;
		struct dmaplane_sqe *sqe;

		if (round % 16 == 0)
			ASSERT_TRUE(sleeps(&c));
		ASSERT_TRUE(WAIT_FOR(dmaplane_channel_room(&c) == 8));
		for (uint32_t i = 0; i < wanted; i++) {
			ASSERT_NE(NULL, (sqe = dmaplane_sqe_get(&c)));
			dmaplane_prep_nop(sqe);
			dmaplane_sqe_set_user_data(sqe, i);
		}
		if (round % 3 == 0) {
			ASSERT_EQ(wanted, dmaplane_submit_and_wait(&c, wanted));
		} else if (round % 3 == 1) {
			ASSERT_EQ(wanted, dmaplane_submit_and_wait_timeout(&c, wanted, 0, PATIENCE));
		} else {
			ASSERT_EQ(wanted, dmaplane_submit(&c));
			ASSERT_EQ(0, dmaplane_wait_cqe(&c, &cqe));
			ASSERT_TRUE(WAIT_FOR(dmaplane_channel_available(&c) == wanted));
		}
		dmaplane_for_each_cqe(&c, head, cqe)
			ASSERT_EQ(count++, cqe->user_data);
		ASSERT_EQ(wanted, count);
		dmaplane_cq_advance(&c, count);
		EXPECT_EQ(0, dmaplane_submit(&c));
		EXPECT_EQ(-ETIME, dmaplane_submit_and_wait_timeout(&c, 1, 0, 0));
	}
	/* What was shown counts, although the wait failed. */
	ASSERT_TRUE(WAIT_FOR(dmaplane_channel_room(&c)));
	dmaplane_prep_nop(dmaplane_sqe_get(&c));
	EXPECT_EQ(1, dmaplane_submit_and_wait_timeout(&c, 2, 0, 20 * MS));
	EXPECT_EQ(0, dmaplane_channel_close(&c));
}

/* Those who sleep elsewhere hear of what it completes. */
TEST_F(sqpoll, others_are_told)
{
	int event = eventfd(0, EFD_CLOEXEC);
	struct pollfd p = { .fd = self->fd, .events = POLLIN };
	uint64_t signalled = 0;
	struct channel c;

	ASSERT_LE(0, event);
	ASSERT_EQ(0, open_polled(self->fd, 4, 4, SOME_IDLE, &c));
	ASSERT_EQ(0, channel_eventfd(&c, event));
	ASSERT_EQ(0, push_nops(&c, 0, 1));
	ASSERT_EQ(0, wake_if_needed(&c));
	EXPECT_EQ(8, read(event, &signalled, 8));
	EXPECT_LT(0, signalled);
	EXPECT_EQ(1, take_nops(&c, 0));
	ASSERT_EQ(0, push_nops(&c, 0, 1));
	ASSERT_EQ(0, wake_if_needed(&c));
	EXPECT_EQ(1, poll(&p, 1, PATIENCE / MS));
	EXPECT_EQ(POLLIN, p.revents);
	close(event);
	EXPECT_EQ(0, channel_close(&c));
}

/* ---- A full completion ring ------------------------------------------------ */

/* What tells the thread of room. */
static int by_enter(struct channel *c, int file)
{
	(void)file;
	return channel_enter(c, 0, 0, 0);
}

static int by_wakeup(struct channel *c, int file)
{
	(void)file;
	return wake_if_needed(c);
}

static int by_wait(struct channel *c, int file)
{
	(void)file;
	return channel_enter(c, 0, 1, PATIENCE);
}

static int by_poll(struct channel *c, int file)
{
	int ret = poll_now(c->fd);

	(void)file;
	return ret < 0 ? ret : 0;
}

static int by_poll_of_file(struct channel *c, int file)
{
	int ret = poll_now(file);

	(void)c;
	return ret < 0 ? ret : 0;
}

static int by_file(struct channel *c, int file)
{
	(void)c;
	return file_enter(file, 1);
}

TEST_F(sqpoll, full_then_goes_on)
{
	static int (*const tells[])(struct channel *, int) = {
		by_enter, by_wakeup, by_wait, by_poll, by_poll_of_file, by_file,
	};
	const uint32_t both = DMAPLANE_RING_NEED_WAKEUP | DMAPLANE_RING_NEED_ENTER;
	struct channel c;

	for (size_t i = 0; i < ARRAY_LEN(tells); i++) {
		int file;

		ASSERT_EQ(0, open_polled(self->fd, 16, 4, LONG_IDLE, &c));
		file = channel_file(&c);
		ASSERT_LE(0, file);
		ASSERT_EQ(0, push_nops(&c, 0, 16));
		ASSERT_EQ(0, wake_if_needed(&c));
		for (int first = 0; first < 16; first += 4) {
			ASSERT_TRUE(WAIT_FOR(channel_available(&c) == 4));
			if (first == 12)
				break;
			/* It sleeps, although there are entries, and would long not. */
			ASSERT_TRUE(WAIT_FOR((flags(&c) & both) == both));
			EXPECT_EQ(first + 4, load_acquire(&c.ring->sq_head));
			/* Before it sleeps it looks once more, and may see this. */
			ASSERT_EQ(4, take_nops(&c, first));
			ASSERT_EQ(0, tells[i](&c, file)) TH_LOG("%zu", i);
		}
		ASSERT_EQ(4, take_nops(&c, 12));
		EXPECT_EQ(0, close(file));
		EXPECT_EQ(0, channel_close(&c));
	}
}

/* Told without there being room it finds none, and sleeps again. */
TEST_F(sqpoll, full_and_told_so_for_nothing)
{
	const uint32_t both = DMAPLANE_RING_NEED_WAKEUP | DMAPLANE_RING_NEED_ENTER;
	struct channel c;

	ASSERT_EQ(0, open_polled(self->fd, 8, 2, LONG_IDLE, &c));
	ASSERT_EQ(0, push_nops(&c, 0, 3));
	ASSERT_EQ(0, wake_if_needed(&c));
	for (int i = 0; i < 20; i++) {
		ASSERT_TRUE(WAIT_FOR((flags(&c) & both) == both));
		EXPECT_EQ(0, dmaplane_enter(&c, 0, 0, i % 2 ? DMAPLANE_ENTER_SQ_WAKEUP : 0, 0));
		EXPECT_EQ(2, channel_available(&c));
	}
	ASSERT_EQ(2, take_nops(&c, 0));
	ASSERT_EQ(0, channel_enter(&c, 0, 1, PATIENCE));
	EXPECT_EQ(1, take_nops(&c, 2));
	EXPECT_EQ(0, channel_close(&c));
}

/* A ring of one that always has entries to take: reaping by the header's rules is enough. */
TEST_F(sqpoll, full_again_and_again)
{
	struct dmaplane_cqe cqe;
	int pushed = 0, taken = 0;
	struct channel c;

	ASSERT_EQ(0, open_polled(self->fd, 4, 1, SOME_IDLE, &c));
	while (taken < times(300)) {
		while (!channel_push_nop(&c, pushed))
			pushed++;
		ASSERT_EQ(0, wake_if_needed(&c));
		ASSERT_TRUE(WAIT_FOR(channel_reap(&c, &cqe))) TH_LOG("entry %d", taken);
		ASSERT_EQ(taken++, cqe.user_data);
		/* What follows storing cq_head. */
		if (flags(&c) & DMAPLANE_RING_NEED_ENTER)
			ASSERT_EQ(0, channel_enter(&c, 0, 0, 0));
	}
	EXPECT_EQ(0, channel_close(&c));
}

/* Room that nobody can see, since a completion is not told, is seen by the thread itself. */
TEST_F(sqpoll, full_until_something_ends_silently)
{
	struct buffer buffer;
	struct dmaplane_sqe sqe;
	struct channel c;

	ASSERT_EQ(0, buf_create(self->fd, 32 << 20, &buffer));
	ASSERT_EQ(0, open_polled(self->fd, 4, 1, LONG_IDLE, &c));
	for (int i = 0; i < 3; i++) {
		sqe = fill_buffer(buffer.handle, 0, buffer.length, i);
		sqe.flags = DMAPLANE_SQE_CQE_SKIP_SUCCESS;
		ASSERT_EQ(0, channel_push(&c, &sqe));
		ASSERT_EQ(0, push_nops(&c, 7, 1));
		ASSERT_EQ(0, wake_if_needed(&c));
		ASSERT_TRUE(WAIT_FOR(channel_available(&c) == 1));
		ASSERT_EQ(1, take_nops(&c, 7));
	}
	EXPECT_EQ(0, channel_close(&c));
}

/* ---- What entries ask for --------------------------------------------------- */

TEST_F(sqpoll_ring, link_drain_copy)
{
	const struct { uint8_t flags; bool wrong; int res; } chain[] = {
		{ DMAPLANE_SQE_LINK, false, 0 }, { DMAPLANE_SQE_LINK, true, -EINVAL },
		{ DMAPLANE_SQE_LINK, false, -ECANCELED }, { 0, false, -ECANCELED }, { 0, false, 0 },
	};
	const uint64_t length = 4 << 20;
	struct buffer from, to;
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;
	uint8_t *src, *dst;

	for (size_t i = 0; i < ARRAY_LEN(chain); i++) {
		sqe = nop(i, chain[i].flags);
		sqe.length = chain[i].wrong;
		ASSERT_EQ(0, channel_push(&self->c, &sqe));
		/* A chain is one whenever its parts come. */
		if (i == 2)
			sleep_ms(10);
	}
	ASSERT_EQ(0, wake_if_needed(&self->c));
	ASSERT_EQ(0, channel_enter(&self->c, 0, ARRAY_LEN(chain), PATIENCE));
	while (channel_reap(&self->c, &cqe))
		EXPECT_EQ(chain[cqe.user_data].res, cqe.res) TH_LOG("entry %d", (int)cqe.user_data);

	ASSERT_EQ(0, buf_create(self->fd, length, &from));
	ASSERT_EQ(0, buf_create(self->fd, length, &to));
	src = buf_map(self->fd, &from);
	dst = buf_map(self->fd, &to);
	ASSERT_NE(MAP_FAILED, src);
	ASSERT_NE(MAP_FAILED, dst);
	fill(src, length, 3);
	/* A long copy, one of the copy that waits for it, a short one after both. */
	sqe = copy_buffer(from.handle, 0, to.handle, 0, length);
	sqe.user_data = 10;
	sqe.flags = DMAPLANE_SQE_LINK;
	ASSERT_EQ(0, channel_push(&self->c, &sqe));
	sqe = copy_buffer(to.handle, 0, from.handle, length / 2, length / 2);
	sqe.user_data = 11;
	ASSERT_EQ(0, channel_push(&self->c, &sqe));
	sqe = nop(12, DMAPLANE_SQE_DRAIN);
	ASSERT_EQ(0, channel_push(&self->c, &sqe));
	sqe = fill_buffer(to.handle, 0, 4096, 0xa5);
	sqe.user_data = 13;
	ASSERT_EQ(0, channel_push(&self->c, &sqe));
	ASSERT_EQ(0, wake_if_needed(&self->c));
	for (int i = 10; i < 14; i++) {
		ASSERT_EQ(0, channel_next(&self->c, &cqe));
		EXPECT_EQ(i, cqe.user_data);
		EXPECT_EQ(i == 10 ? length : i == 11 ? length / 2 : i == 12 ? 0 : 4096, cqe.res);
	}
	EXPECT_EQ(4096, first_not(dst, 4096, 0xa5));
	EXPECT_EQ(0, memcmp(src + length / 2 + 4096, dst + 4096, length / 2 - 4096));
	munmap(src, length);
	munmap(dst, length);
}

/* The handles that entries name are those of the context, until they are closed. */
TEST_F(sqpoll, handles)
{
	struct buffer buffer;
	struct channel c;
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;

	ASSERT_EQ(0, open_polled(self->fd, 8, 8, SOME_IDLE, &c));
	ASSERT_EQ(0, buf_create(self->fd, 4096, &buffer));
	for (int i = 0; i < 2; i++) {
		sqe = fill_buffer(buffer.handle, 0, 4096, 1);
		ASSERT_EQ(0, channel_push(&c, &sqe));
		ASSERT_EQ(0, wake_if_needed(&c));
		ASSERT_EQ(0, channel_next(&c, &cqe));
		EXPECT_EQ(i ? -ENOENT : 4096, cqe.res);
		if (!i)
			ASSERT_EQ(0, buf_destroy(self->fd, buffer.handle));
	}
	sqe = fill_buffer(c.handle, 0, 4096, 1);
	ASSERT_EQ(0, channel_push(&c, &sqe));
	ASSERT_EQ(0, wake_if_needed(&c));
	ASSERT_EQ(0, channel_next(&c, &cqe));
	EXPECT_EQ(-EBADF, cqe.res);
	EXPECT_EQ(0, channel_close(&c));
}

/* CANCEL finds what has not begun. */
TEST_F(sqpoll, cancel)
{
	struct buffer buffer;
	struct channel c;
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;
	int canceled = 0;

	ASSERT_EQ(0, open_polled(self->fd, 8, 8, SOME_IDLE, &c));
	ASSERT_EQ(0, buf_create(self->fd, 32 << 20, &buffer));
	for (int i = 0; i < 4; i++) {
		sqe = fill_buffer(buffer.handle, 0, buffer.length, i);
		sqe.user_data = i;
		ASSERT_EQ(0, channel_push(&c, &sqe));
	}
	sqe = cancel(9, 0, 3, 0);
	ASSERT_EQ(0, channel_push(&c, &sqe));
	ASSERT_EQ(0, wake_if_needed(&c));
	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(0, channel_next(&c, &cqe));
		if (cqe.user_data == 9)
			EXPECT_EQ(1, cqe.res);
		canceled += cqe.res == -ECANCELED && cqe.user_data == 3;
	}
	EXPECT_EQ(1, canceled);
	EXPECT_EQ(0, channel_close(&c));
}

TEST_HARNESS_MAIN
