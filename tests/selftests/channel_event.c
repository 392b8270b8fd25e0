// SPDX-License-Identifier: GPL-2.0
/*
 * An eventfd that a channel signals: when, how often, for whom, and which descriptors
 * are none.
 */
#include "ring.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "harness.h"

FIXTURE(channel_event) {
	int fd;
	int event;
	struct channel c;	/* 8 and 8 entries */
};

FIXTURE_SETUP(channel_event)
{
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, channel_open(self->fd, 8, 8, &self->c));
	self->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ASSERT_LE(0, self->event);
	ASSERT_EQ(0, channel_eventfd(&self->c, self->event));
}

FIXTURE_TEARDOWN(channel_event)
{
	if (self->c.ring)
		munmap(self->c.ring, self->c.length);
	if (self->event >= 0)
		EXPECT_EQ(0, close(self->event));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("channels"));
}

/* What was added since the last time, 0 for nothing. */
static uint64_t added(int event)
{
	uint64_t count = 0;

	return read(event, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static int complete(struct channel *c, int count)
{
	for (int i = 0; i < count; i++)
		if (channel_push_nop(c, i))
			return -EAGAIN;
	return channel_enter(c, count, 0, 0);
}

static void reap_all(struct channel *c)
{
	struct dmaplane_cqe cqe;

	while (channel_reap(c, &cqe))
		;
}

TEST_F(channel_event, signalled)
{
	EXPECT_EQ(0, added(self->event));
	for (int round = 0; round < 3; round++) {
		ASSERT_EQ(1, complete(&self->c, 1));
		EXPECT_EQ(1, added(self->event));
		EXPECT_EQ(0, added(self->event));
		ASSERT_EQ(4, complete(&self->c, 4));
		EXPECT_LE(1, added(self->event));
		reap_all(&self->c);
		EXPECT_EQ(0, channel_enter(&self->c, 0, 0, 0));
		EXPECT_EQ(0, added(self->event));
	}
}

/* What has no completion is not told. */
TEST_F(channel_event, silent)
{
	struct dmaplane_sqe sqe = nop(1, DMAPLANE_SQE_CQE_SKIP_SUCCESS);

	ASSERT_EQ(1, channel_submit(&self->c, &sqe));
	EXPECT_EQ(0, added(self->event));
	sqe.imm = 1;
	ASSERT_EQ(1, channel_submit(&self->c, &sqe));
	EXPECT_EQ(1, added(self->event));
}

/* Whoever asks late learns of what is there. */
TEST_F(channel_event, at_once)
{
	ASSERT_EQ(0, channel_eventfd(&self->c, -1));
	ASSERT_EQ(2, complete(&self->c, 2));
	EXPECT_EQ(0, added(self->event));
	ASSERT_EQ(0, channel_eventfd(&self->c, self->event));
	EXPECT_EQ(1, added(self->event));
	reap_all(&self->c);
	ASSERT_EQ(0, channel_eventfd(&self->c, self->event));
	EXPECT_EQ(0, added(self->event));
}

TEST_F(channel_event, replaced_and_removed)
{
	int second = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	ASSERT_LE(0, second);
	ASSERT_EQ(0, channel_eventfd(&self->c, second));
	ASSERT_EQ(1, complete(&self->c, 1));
	EXPECT_EQ(0, added(self->event));
	EXPECT_EQ(1, added(second));
	ASSERT_EQ(0, channel_eventfd(&self->c, -1));
	ASSERT_EQ(1, complete(&self->c, 1));
	EXPECT_EQ(0, added(second));
	ASSERT_EQ(0, channel_eventfd(&self->c, -1));
	EXPECT_EQ(0, close(second));
}

/* One for two channels, and one channel that is not concerned. */
TEST_F(channel_event, shared)
{
	struct channel second, third;

	ASSERT_EQ(0, channel_open(self->fd, 1, 1, &second));
	ASSERT_EQ(0, channel_open(self->fd, 1, 1, &third));
	ASSERT_EQ(0, channel_eventfd(&second, self->event));
	ASSERT_EQ(1, complete(&self->c, 1));
	ASSERT_EQ(1, complete(&second, 1));
	ASSERT_EQ(1, complete(&third, 1));
	EXPECT_EQ(2, added(self->event));
	EXPECT_EQ(0, channel_close(&second));
	EXPECT_EQ(0, channel_close(&third));
	EXPECT_EQ(1, added(self->event));
}

/* The program may close its descriptor, and keep another one of it. */
TEST_F(channel_event, descriptor_closed)
{
	int kept = fcntl(self->event, F_DUPFD_CLOEXEC, 0);

	ASSERT_LE(0, kept);
	EXPECT_EQ(0, close(self->event));
	self->event = kept;
	ASSERT_EQ(1, complete(&self->c, 1));
	EXPECT_EQ(1, added(kept));
	EXPECT_EQ(0, close(kept));
	self->event = -1;
	ASSERT_EQ(1, complete(&self->c, 1));
}

/* A counter that is full does not hold up anything. */
TEST_F(channel_event, full)
{
	uint64_t most = UINT64_MAX - 1;

	ASSERT_EQ(sizeof(most), write(self->event, &most, sizeof(most)));
	ASSERT_EQ(3, complete(&self->c, 3));
	reap_all(&self->c);
	ASSERT_EQ(3, complete(&self->c, 3));
	EXPECT_LE(most, added(self->event));
	reap_all(&self->c);
	ASSERT_EQ(1, complete(&self->c, 1));
	EXPECT_EQ(1, added(self->event));
}

TEST_F(channel_event, not_an_eventfd)
{
	int pair[2], closed = fcntl(self->event, F_DUPFD_CLOEXEC, 100);
	int file = channel_file(&self->c);
	const int none[] = { -2, INT32_MIN, INT32_MAX, closed, self->fd, file };

	ASSERT_LE(100, closed);
	ASSERT_LE(0, file);
	EXPECT_EQ(0, close(closed));
	for (size_t i = 0; i < ARRAY_LEN(none); i++) {
		EXPECT_EQ(-EPROTOTYPE, channel_eventfd(&self->c, none[i])) {
			TH_LOG("%d", none[i]);
		}
	}
	ASSERT_EQ(0, pipe2(pair, O_CLOEXEC));
	EXPECT_EQ(-EPROTOTYPE, channel_eventfd(&self->c, pair[1]));
	EXPECT_EQ(0, close(pair[0]) | close(pair[1]) | close(file));
	/* The one before is still there. */
	ASSERT_EQ(1, complete(&self->c, 1));
	EXPECT_EQ(1, added(self->event));
}

TEST_F(channel_event, poisoned)
{
	store_release(&self->c.ring->sq_tail, 100);
	EXPECT_EQ(-EBADFD, channel_enter(&self->c, 1, 0, 0));
	EXPECT_LE(1, added(self->event));
	EXPECT_EQ(-EBADFD, channel_eventfd(&self->c, self->event));
	EXPECT_EQ(-EBADFD, channel_eventfd(&self->c, -1));
}

/* The call that finds the rings corrupt has changed nothing. */
TEST_F(channel_event, found_poisoned)
{
	int second = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	ASSERT_LE(0, second);
	store_release(&self->c.ring->cq_head, 100);
	EXPECT_EQ(-EBADFD, channel_eventfd(&self->c, second));
	EXPECT_EQ(1, added(self->event));
	EXPECT_EQ(0, added(second));
	/* It is told once. */
	EXPECT_EQ(POLLIN | POLLERR, poll_now(self->fd));
	EXPECT_EQ(0, added(self->event));
	EXPECT_EQ(0, close(second));
}

TEST_F(channel_event, closed)
{
	EXPECT_EQ(0, channel_close(&self->c));
	EXPECT_EQ(1, added(self->event));
	EXPECT_EQ(-ENOENT, channel_eventfd(&self->c, self->event));
	self->c.ring = NULL;
}

struct sleeper {
	int epoll;
	int result;
};

static void *sleep_in_epoll(void *arg)
{
	struct sleeper *s = arg;
	struct epoll_event event;

	s->result = epoll_wait(s->epoll, &event, 1, PATIENCE / MS);
	return NULL;
}

/* By a worker as well, which is done with a long copy. */
TEST_F(channel_event, wakes_epoll)
{
	struct epoll_event want = { .events = EPOLLIN | EPOLLET };
	struct sleeper s = { epoll_create1(EPOLL_CLOEXEC), -1 };
	struct buffer buffer;
	struct dmaplane_sqe sqe;

	ASSERT_LE(0, s.epoll);
	ASSERT_EQ(0, epoll_ctl(s.epoll, EPOLL_CTL_ADD, self->event, &want));
	ASSERT_EQ(0, buf_create(self->fd, 4 << 20, &buffer));
	sqe = fill_buffer(buffer.handle, 0, 4 << 20, 7);
	for (int round = 0; round < 10; round++) {
		pthread_t thread;

		ASSERT_EQ(0, pthread_create(&thread, NULL, sleep_in_epoll, &s));
		if (round & 1)
			sleep_ms(5);
		ASSERT_EQ(1, channel_submit(&self->c, &sqe));
		ASSERT_EQ(0, pthread_join(thread, NULL));
		EXPECT_EQ(1, s.result);
		EXPECT_EQ(1, added(self->event));
		reap_all(&self->c);
	}
	EXPECT_EQ(0, close(s.epoll));
}

struct changer {
	struct channel *c;
	int event;
	bool stop;
};

static void *change(void *arg)
{
	struct changer *changer = arg;
	long wrong = 0;

	while (!load_acquire(&changer->stop)) {
		int event = eventfd(0, EFD_CLOEXEC);

		wrong += channel_eventfd(changer->c, event) != 0;
		close(event);
		wrong += channel_eventfd(changer->c, -1) != 0;
		wrong += channel_eventfd(changer->c, changer->event) != 0;
	}
	return (void *)wrong;
}

/* Changed while it is signalled. */
TEST_F(channel_event, changed_meanwhile)
{
	struct changer changer = { &self->c, self->event };
	pthread_t thread;
	void *wrong;

	ASSERT_EQ(0, pthread_create(&thread, NULL, change, &changer));
	for (int i = 0; i < 3000; i++) {
		ASSERT_EQ(2, complete(&self->c, 2));
		reap_all(&self->c);
	}
	store_release(&changer.stop, true);
	ASSERT_EQ(0, pthread_join(thread, &wrong));
	EXPECT_EQ(NULL, wrong);
	added(self->event);
	ASSERT_EQ(1, complete(&self->c, 1));
	EXPECT_EQ(1, added(self->event));
}

TEST_HARNESS_MAIN
