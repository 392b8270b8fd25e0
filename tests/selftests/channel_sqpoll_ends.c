// SPDX-License-Identifier: GPL-2.0
/*
 * SQPOLL: the thread that takes entries is made as it was asked for, and ends with all that
 * it can end with. What it does: channel_sqpoll.c.
 */
#include "sqpoll.h"

#define MANY	32768	/* entries of the largest ring */

/* Submits without end, whatever the memory holds: zeros are NOPs. */
struct pump {
	struct channel c;
	bool stop;
};

static void *pump(void *arg)
{
	struct pump *p = arg;
	struct dmaplane_ring *ring = p->c.ring;

	while (!__atomic_load_n(&p->stop, __ATOMIC_RELAXED)) {
		store_release(&ring->cq_head, load_acquire(&ring->cq_tail));
		store_release(&ring->sq_tail, load_acquire(&ring->sq_head) + p->c.sq_entries);
		if (p->c.fd >= 0)
			wake_if_needed(&p->c);
	}
	return NULL;
}

TEST_F(sqpoll, closed_while_it_is_busy)
{
	for (int i = 0; i < times(20); i++) {
		struct pump p = { .stop = false };
		pthread_t thread;
		uint32_t head;

		ASSERT_EQ(0, open_polled(self->fd, 64, 64, SOME_IDLE, &p.c));
		ASSERT_EQ(0, pthread_create(&thread, NULL, pump, &p));
		ASSERT_TRUE(WAIT_FOR(load_acquire(&p.c.ring->sq_head) >= 64));
		sleep_ms(i % 4);
		EXPECT_EQ(0, end(self->fd, DMAPLANE_IOC_CHANNEL_CLOSE, p.c.handle));
		head = load_acquire(&p.c.ring->sq_head);
		sleep_ms(5);
		EXPECT_EQ(head, load_acquire(&p.c.ring->sq_head));
		__atomic_store_n(&p.stop, true, __ATOMIC_RELAXED);
		ASSERT_EQ(0, pthread_join(thread, NULL));
		EXPECT_FALSE(channel_poisoned(&p.c));
		munmap(p.c.ring, p.c.length);
	}
}

/* A lot of entries that take some time each, as many as fit. */
static int push_copies(int fd, struct channel *c)
{
	struct buffer buffer;
	struct dmaplane_sqe sqe;
	int ret = buf_create(fd, 128 << 10, &buffer);

	sqe = copy_buffer(buffer.handle, 0, buffer.handle, 64 << 10, 64 << 10);
	while (!ret)
		ret = channel_push(c, &sqe);
	return ret == -EAGAIN ? wake_if_needed(c) : ret;
}

/* With the last file it ends, whatever there is left to do. */
TEST_F(sqpoll, released_while_it_is_busy)
{
	struct channel c;

	ASSERT_EQ(0, open_polled(self->fd, MANY, MANY, SOME_IDLE, &c));
	ASSERT_EQ(0, push_copies(self->fd, &c));
	ASSERT_TRUE(WAIT_FOR(channel_available(&c) > 0));
	munmap(c.ring, c.length);
	EXPECT_EQ(0, close(self->fd));
	self->fd = -1;
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("channels"));
}

/* In a process of its own, which says when it is busy and then waits for its end. */
static int keep_busy(int ready)
{
	int fd = open_device();
	struct pump p = { .stop = false };
	pthread_t thread;

	if (fd < 0 || open_polled(fd, MANY, MANY, SOME_IDLE, &p.c) || push_copies(fd, &p.c) ||
	    open_polled(fd, 64, 64, SOME_IDLE, &p.c) ||
	    pthread_create(&thread, NULL, pump, &p) ||
	    !WAIT_FOR(load_acquire(&p.c.ring->sq_head) >= 64) || write(ready, "x", 1) != 1)
		return 1;
	for (;;)
		pause();
}

TEST_F(sqpoll, killed_while_it_is_busy)
{
	for (int i = 0; i < times(5); i++) {
		int ready[2], status;
		char byte;
		pid_t pid;

		ASSERT_EQ(0, pipe(ready));
		fflush(NULL);
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			_exit(keep_busy(ready[1]));
		close(ready[1]);
		EXPECT_EQ(1, read(ready[0], &byte, 1));
		EXPECT_LT(0, thread_of(pid));
		EXPECT_EQ(0, kill(pid, SIGKILL));
		EXPECT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
		EXPECT_TRUE(WAIT_FOR(live("contexts") == 1));
		EXPECT_TRUE(no_thread_of(pid));
		close(ready[0]);
	}
}

/* A thread does not end with the process that made its channel, if another one has that. */
TEST_F(sqpoll, maker_exits)
{
	int ready[2], status;
	pid_t pid;
	char byte = 0;

	ASSERT_EQ(0, pipe(ready));
	fflush(NULL);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct channel c;
		int fd = open_device();

		if (fd < 0 || open_polled(fd, 8, 8, SOME_IDLE, &c))
			_exit(1);
		if (fork())
			_exit(0);
		while (getppid() == pid)
			sleep_ms(1);
		sleep_ms(20);
		_exit(push_nops(&c, 0, 8) || wake_if_needed(&c) ||
		      !WAIT_FOR(channel_available(&c) == 8) || write(ready[1], "x", 1) != 1);
	}
	close(ready[1]);
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(1, read(ready[0], &byte, 1));
	EXPECT_EQ('x', byte);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 1));
	close(ready[0]);
}

/* The thread ends; what is left is to close the channel. */
TEST_F(sqpoll, poisoned)
{
	const int32_t jumps[] = { 17, 1000, INT32_MAX, INT32_MIN, -17 };

	for (size_t i = 0; i < 2 * ARRAY_LEN(jumps); i++) {
		struct pollfd p = { .fd = self->fd, .events = POLLIN };
		struct channel c;

		ASSERT_EQ(0, open_polled(self->fd, 16, 16, i % 2 ? LONG_IDLE : SHORT_IDLE, &c));
		ASSERT_TRUE(WAIT_FOR(thread_of(getpid())));
		if (i < ARRAY_LEN(jumps)) {
			store_release(&c.ring->sq_tail, jumps[i]);
		} else {
			store_release(&c.ring->cq_head, jumps[i - ARRAY_LEN(jumps)]);
			ASSERT_EQ(0, push_nops(&c, 0, 1));
		}
		ASSERT_LE(-EBADFD, wake_if_needed(&c));
		EXPECT_EQ(1, poll(&p, 1, PATIENCE / MS));
		EXPECT_TRUE(p.revents & POLLERR);
		EXPECT_TRUE(channel_poisoned(&c));
		EXPECT_TRUE(no_thread_of(getpid()));
		c.ring->sq_tail = c.ring->sq_head;
		c.ring->cq_head = c.ring->cq_tail;
		EXPECT_EQ(-EBADFD, channel_enter(&c, 0, 0, 0));
		EXPECT_EQ(-EBADFD, dmaplane_enter(&c, 1, 0, DMAPLANE_ENTER_SQ_WAKEUP, 0));
		EXPECT_EQ(-EBADFD, channel_enter(&c, 0, 1, DMAPLANE_FOREVER));
		EXPECT_EQ(0, channel_close(&c));
	}
}

/* One that is found to be broken by somebody else ends as well, at the latest when it is closed. */
TEST_F(sqpoll, poisoned_elsewhere)
{
	struct channel c;

	ASSERT_EQ(0, open_polled(self->fd, 4, 4, SOME_IDLE, &c));
	store_release(&c.ring->cq_head, 1000);
	EXPECT_EQ(-EBADFD, channel_enter(&c, 0, 1, DMAPLANE_FOREVER));
	EXPECT_EQ(-EBADFD, dmaplane_enter(&c, 0, 1, DMAPLANE_ENTER_SQ_WAKEUP, 0));
	EXPECT_TRUE(poll_now(self->fd) & POLLERR);
	munmap(c.ring, c.length);
}

/* A channel that is closed has a file still, which says so. */
TEST_F(sqpoll, file_of_a_closed_one)
{
	struct channel c;
	int file;

	ASSERT_EQ(0, open_polled(self->fd, 4, 4, SOME_IDLE, &c));
	file = channel_file(&c);
	ASSERT_LE(0, file);
	EXPECT_EQ(0, end(self->fd, DMAPLANE_IOC_CHANNEL_CLOSE, c.handle));
	EXPECT_TRUE(no_thread_of(getpid()));
	ASSERT_EQ(0, push_nops(&c, 0, 1));
	EXPECT_EQ(-ENOENT, file_enter(file, 0));
	EXPECT_EQ(-ENOENT, file_enter(file, 1));
	EXPECT_EQ(-ENOENT, channel_enter(&c, 0, 0, 0));
	/* Whoever only looks at flags calls, too. */
	EXPECT_TRUE(dmaplane_sq_needs_wakeup(&c));
	EXPECT_EQ(POLLHUP, poll_now(file));
	EXPECT_EQ(0, load_acquire(&c.ring->sq_head));
	EXPECT_EQ(0, close(file));
	munmap(c.ring, c.length);
}

/* Many at a time, and all of their threads get something done. */
TEST_F(sqpoll, many)
{
	struct channel c[24];

	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		ASSERT_EQ(0, open_polled(self->fd, 4, 4, 1 + i, &c[i]));
	for (int round = 0; round < 5; round++) {
		for (size_t i = 0; i < ARRAY_LEN(c); i++) {
			ASSERT_EQ(0, push_nops(&c[i], i, 2));
			ASSERT_EQ(0, wake_if_needed(&c[i]));
		}
		for (size_t i = 0; i < ARRAY_LEN(c); i++) {
			ASSERT_EQ(0, channel_enter(&c[i], 0, 2, PATIENCE));
			ASSERT_EQ(2, take_nops(&c[i], i));
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		munmap(c[i].ring, c[i].length);
}

/* ---- Creation --------------------------------------------------------------- */

TEST_F(sqpoll, arguments)
{
	const struct { uint32_t flags, idle_ms; int result; } cases[] = {
		{ 0, 0, 0 }, { 0, 1, -EINVAL }, { 0, UINT32_MAX, -EINVAL },
		{ DMAPLANE_CHANNEL_SQPOLL, 0, 0 }, { DMAPLANE_CHANNEL_SQPOLL, 1, 0 },
		{ DMAPLANE_CHANNEL_SQPOLL, DMAPLANE_SQ_IDLE_MAX, 0 },
		{ DMAPLANE_CHANNEL_SQPOLL, DMAPLANE_SQ_IDLE_MAX + 1, -EINVAL },
		{ DMAPLANE_CHANNEL_SQPOLL, UINT32_MAX, -EINVAL },
		{ 1U << 31, 0, -EINVAL }, { DMAPLANE_CHANNEL_SQPOLL | 1U << 31, 1, -EINVAL },
	};
	struct dmaplane_info info;

	ASSERT_EQ(0, get_info(self->fd, &info));
	EXPECT_TRUE(info.features & DMAPLANE_FEATURE_SQPOLL);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct dmaplane_channel_create arg =
			ARG(channel_create, .flags = cases[i].flags, .sq_entries = 1,
			    .cq_entries = 1, .sq_idle_ms = cases[i].idle_ms);

		EXPECT_EQ(cases[i].result, cmd(self->fd, DMAPLANE_IOC_CHANNEL_CREATE, &arg))
			TH_LOG("%zu", i);
		if (cases[i].result) {
			EXPECT_TRUE(no_thread_of(getpid()));
		} else {
			EXPECT_EQ(0, end(self->fd, DMAPLANE_IOC_CHANNEL_CLOSE, arg.handle));
		}
	}
}

/* Without a thread there is none to wake. */
TEST_F(sqpoll, wakeup_without_a_thread)
{
	struct channel c;

	ASSERT_EQ(0, channel_open(self->fd, 4, 4, &c));
	ASSERT_EQ(0, channel_push_nop(&c, 1));
	EXPECT_EQ(-EINVAL, dmaplane_enter(&c, 1, 0, DMAPLANE_ENTER_SQ_WAKEUP, 0));
	EXPECT_EQ(-EINVAL, dmaplane_enter(&c, 1, 1,
					  DMAPLANE_ENTER_SQ_WAKEUP | DMAPLANE_ENTER_ABSTIME, 0));
	EXPECT_EQ(0, channel_available(&c));
	EXPECT_EQ(0, flags(&c));
	EXPECT_EQ(1, channel_enter(&c, 1, 1, PATIENCE));
	EXPECT_TRUE(no_thread_of(getpid()));
	EXPECT_EQ(0, channel_close(&c));
}

/* Threads are few for those who may not take all processors, and the channels of others go on. */
TEST_F(sqpoll, too_many)
{
	const int most = 4 * (int)sysconf(_SC_NPROCESSORS_ONLN);
	struct channel mine, c;
	pid_t child;
	int status;

	ASSERT_EQ(0, open_polled(self->fd, 4, 4, 1, &mine));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		int made = 0, ret = 0;

		if (setresuid(65534, 65534, 65534))
			_exit(1);
		while (!ret && made <= most) {
			ret = open_polled(self->fd, 1, 1, 1, &c);
			made += !ret;
		}
		_exit(ret == -EAGAIN && made < most ? 0 : 2);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	/* Who may has more. */
	EXPECT_EQ(0, open_polled(self->fd, 1, 1, 1, &c));
	ASSERT_EQ(0, push_nops(&mine, 0, 2));
	ASSERT_EQ(0, wake_if_needed(&mine));
	EXPECT_EQ(0, channel_enter(&mine, 0, 2, PATIENCE));
	munmap(mine.ring, mine.length);
	munmap(c.ring, c.length);
}

/* Whoever is nice has a thread that is. */
TEST_F(sqpoll, nice)
{
	struct channel c;

	ASSERT_EQ(0, setpriority(PRIO_PROCESS, 0, 7));
	ASSERT_EQ(0, open_polled(self->fd, 4, 4, 1, &c));
	ASSERT_TRUE(WAIT_FOR(thread_of(getpid())));
	EXPECT_EQ(7, getpriority(PRIO_PROCESS, thread_of(getpid())));
	EXPECT_EQ(0, channel_close(&c));
}

TEST_HARNESS_MAIN
