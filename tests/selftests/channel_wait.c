// SPDX-License-Identifier: GPL-2.0
/*
 * Waiting for a channel's completions, in ENTER, poll() and epoll_wait(), and what
 * ends it: a timeout, a signal, another thread's entry, the channel's end.
 */
#include "ring.h"

#include <sys/epoll.h>

#include "harness.h"

FIXTURE(channel_wait) {
	int fd;
	struct channel c;	/* 8 and 8 entries */
};

FIXTURE_SETUP(channel_wait)
{
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, channel_open(self->fd, 8, 8, &self->c));
}

FIXTURE_TEARDOWN(channel_wait)
{
	EXPECT_EQ(0, channel_close(&self->c));
	EXPECT_EQ(0, close(self->fd));
}

TEST_F(channel_wait, timeouts)
{
	uint64_t begin = now_ns();

	EXPECT_EQ(-ETIME, channel_enter(&self->c, 0, 1, 0));
	EXPECT_EQ(-ETIME, channel_enter(&self->c, 0, 8, 30 * MS));
	EXPECT_LE(30 * MS, now_ns() - begin);
	EXPECT_EQ(-EINVAL, channel_enter(&self->c, 0, 9, 0));
	EXPECT_EQ(-EINVAL, channel_enter(&self->c, 0, UINT32_MAX, DMAPLANE_FOREVER));
	/* What was taken is told, even when the wait for more ends early. */
	ASSERT_EQ(0, channel_push_nop(&self->c, 1));
	ASSERT_EQ(1, channel_enter(&self->c, 1, 2, 10 * MS));
	EXPECT_EQ(1, channel_available(&self->c));
	EXPECT_EQ(-ETIME, channel_enter(&self->c, 0, 2, 10 * MS));
	EXPECT_EQ(0, channel_enter(&self->c, 0, 1, 0));
}

static int enter_until(struct channel *c, uint32_t min_complete, uint64_t time_ns)
{
	return dmaplane_enter(c, 1, min_complete, DMAPLANE_ENTER_ABSTIME, time_ns);
}

TEST_F(channel_wait, until_a_time)
{
	uint64_t begin = now_ns(), end = begin + 50 * MS;
	int rounds = 0, ret;

	EXPECT_EQ(-ETIME, enter_until(&self->c, 1, 0));
	EXPECT_EQ(-ETIME, enter_until(&self->c, 1, begin));
	/* However often a signal comes, it is the same time. */
	alarm_every(5, 0);
	do {
		ret = enter_until(&self->c, 1, end);
		rounds++;
	} while (ret == -EINTR);
	alarm_stop();
	EXPECT_EQ(-ETIME, ret);
	EXPECT_LT(1, rounds);
	EXPECT_LE(end, now_ns());
	/* What is there needs no time. */
	ASSERT_EQ(0, channel_push_nop(&self->c, 1));
	EXPECT_EQ(1, enter_until(&self->c, 1, 0));
	EXPECT_EQ(0, enter_until(&self->c, 1, 1));
	alarm_every(20, 0);
	EXPECT_EQ(-EINTR, enter_until(&self->c, 2, DMAPLANE_FOREVER));
	EXPECT_EQ(-EINTR, enter_until(&self->c, 2, 1ULL << 63));
	alarm_stop();
}

TEST_F(channel_wait, signal_ends_wait)
{
	for (int restart = 0; restart < 2; restart++) {
		alarm_every(20, restart ? SA_RESTART : 0);
		EXPECT_EQ(-EINTR, channel_enter(&self->c, 0, 1, DMAPLANE_FOREVER));
		EXPECT_EQ(-EINTR, channel_enter(&self->c, 0, 1, DMAPLANE_FOREVER - 1));
		alarm_stop();
	}
}

/* A waiting task can be killed. */
TEST_F(channel_wait, kill_ends_wait)
{
	int status = 0;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(channel_enter(&self->c, 0, 1, DMAPLANE_FOREVER));
	sleep_ms(20);
	EXPECT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
}

TEST_F(channel_wait, poll)
{
	struct pollfd p = { .fd = self->fd, .events = POLLIN };
	struct dmaplane_cqe cqe;
	struct channel second;

	ASSERT_EQ(0, channel_open(self->fd, 1, 1, &second));
	EXPECT_EQ(0, poll(&p, 1, 0));
	EXPECT_EQ(0, poll(&p, 1, 20));
	ASSERT_EQ(0, channel_push_nop(&second, 1));
	ASSERT_EQ(1, channel_enter(&second, 1, 0, 0));
	EXPECT_EQ(POLLIN, poll_now(self->fd) & (POLLIN | POLLERR));
	ASSERT_TRUE(channel_reap(&second, &cqe));
	EXPECT_EQ(0, poll_now(self->fd) & (POLLIN | POLLERR));
	EXPECT_EQ(0, channel_close(&second));
	EXPECT_EQ(0, poll_now(self->fd) & (POLLIN | POLLERR));
}

struct waiter {
	struct channel *c;
	uint32_t min_complete;
	bool poll;
	int result;
};

static void *wait_in_thread(void *arg)
{
	struct waiter *w = arg;
	struct pollfd p = { .fd = w->c->fd, .events = POLLIN };

	w->result = w->poll ? poll(&p, 1, PATIENCE / MS) :
			      channel_enter(w->c, 0, w->min_complete, PATIENCE);
	return NULL;
}

/* One thread waits, in ENTER or in poll(), another one submits. */
TEST_F(channel_wait, waiter_is_woken)
{
	for (int poll = 0; poll < 2; poll++) {
		struct waiter w = { &self->c, 3, poll, -1 };
		struct dmaplane_cqe cqe;
		pthread_t thread;

		ASSERT_EQ(0, pthread_create(&thread, NULL, wait_in_thread, &w));
		for (int i = 0; i < 3; i++) {
			sleep_ms(10);
			ASSERT_EQ(0, channel_push_nop(&self->c, i));
			ASSERT_EQ(1, channel_enter(&self->c, 1, 0, 0));
		}
		ASSERT_EQ(0, pthread_join(thread, NULL));
		EXPECT_EQ(poll, w.result);
		while (channel_reap(&self->c, &cqe))
			;
	}
}

/* Who waits for little is woken for little, whoever else waits for more. */
TEST_F(channel_wait, each_is_woken_for_what_it_waits)
{
	for (int first = 0; first < 2; first++) {
		struct waiter little = { &self->c, 2, false, -1 }, much = { &self->c, 8, false, -1 };
		struct waiter *order[] = { first ? &much : &little, first ? &little : &much };
		struct dmaplane_cqe cqe;
		pthread_t threads[2];

		for (int i = 0; i < 2; i++) {
			ASSERT_EQ(0, pthread_create(&threads[i], NULL, wait_in_thread, order[i]));
			sleep_ms(50);
		}
		for (int i = 0; i < 8; i++) {
			ASSERT_EQ(0, channel_push_nop(&self->c, i));
			ASSERT_EQ(1, channel_enter(&self->c, 1, 0, 0));
			if (i == 1)
				ASSERT_EQ(0, pthread_join(threads[first], NULL));
		}
		ASSERT_EQ(0, pthread_join(threads[!first], NULL));
		EXPECT_EQ(0, little.result);
		EXPECT_EQ(0, much.result);
		while (channel_reap(&self->c, &cqe))
			;
	}
}

/* A channel that is closed ends the waits for it; poll() goes on with the others. */
TEST_F(channel_wait, close_ends_wait)
{
	for (int i = 0; i < 20; i++) {
		struct waiter enter, poll;
		struct channel second;
		struct dmaplane_cqe cqe;
		pthread_t threads[2];

		ASSERT_EQ(0, channel_open(self->fd, 4, 4, &second));
		enter = (struct waiter){ &second, 1, false, 1 };
		poll = (struct waiter){ &second, 0, true, -1 };
		ASSERT_EQ(0, pthread_create(&threads[0], NULL, wait_in_thread, &enter));
		ASSERT_EQ(0, pthread_create(&threads[1], NULL, wait_in_thread, &poll));
		sleep_ms(i);
		EXPECT_EQ(0, channel_close(&second));
		ASSERT_EQ(0, pthread_join(threads[0], NULL));
		EXPECT_EQ(-ENOENT, enter.result);
		ASSERT_EQ(0, channel_push_nop(&self->c, i));
		ASSERT_EQ(1, channel_enter(&self->c, 1, 0, 0));
		ASSERT_EQ(0, pthread_join(threads[1], NULL));
		EXPECT_EQ(1, poll.result);
		EXPECT_TRUE(channel_reap(&self->c, &cqe));
	}
}

/* Whoever asked before there was a channel hears of it all the same. */
TEST_F(channel_wait, epoll_before_create)
{
	for (int edge = 0; edge < 2; edge++) {
		struct epoll_event event = { .events = EPOLLIN | (edge ? EPOLLET : 0) };
		int fd = open_device(), epoll = epoll_create1(0);
		struct dmaplane_cqe cqe;
		struct channel c;

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
		EXPECT_EQ(0, epoll_wait(epoll, &event, 1, 0));
		for (int again = 0; again < 2; again++) {
			ASSERT_EQ(0, channel_open(fd, 4, 4, &c));
			EXPECT_EQ(0, epoll_wait(epoll, &event, 1, 0) && !edge);
			ASSERT_EQ(0, channel_push_nop(&c, 1));
			ASSERT_EQ(1, channel_enter(&c, 1, 0, 0));
			EXPECT_EQ(1, epoll_wait(epoll, &event, 1, PATIENCE / MS));
			EXPECT_TRUE(event.events & EPOLLIN);
			ASSERT_TRUE(channel_reap(&c, &cqe));
			EXPECT_EQ(0, epoll_wait(epoll, &event, 1, 0));
			EXPECT_EQ(0, channel_close(&c));
		}
		EXPECT_EQ(0, close(fd));
		EXPECT_EQ(0, close(epoll));
	}
}

TEST_HARNESS_MAIN
