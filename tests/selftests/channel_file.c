// SPDX-License-Identifier: GPL-2.0
/*
 * A channel's own file: lseek() as ENTER, poll() of one channel, its rings, and what
 * it keeps alive.
 */
#include "ring.h"

#include <sys/socket.h>

#include "harness.h"

FIXTURE(channel_file) {
	int fd;
	int file;
	struct channel c;	/* 8 and 8 entries */
};

FIXTURE_SETUP(channel_file)
{
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, channel_open(self->fd, 8, 8, &self->c));
	self->file = channel_file(&self->c);
	ASSERT_LE(0, self->file);
}

FIXTURE_TEARDOWN(channel_file)
{
	munmap(self->c.ring, self->c.length);
	if (self->file >= 0)
		EXPECT_EQ(0, close(self->file));
	if (self->fd >= 0)
		EXPECT_EQ(0, close(self->fd));
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("channels"));
}

static void reap_all(struct channel *c)
{
	struct dmaplane_cqe cqe;

	while (channel_reap(c, &cqe))
		;
}

TEST_F(channel_file, enter)
{
	struct dmaplane_cqe cqe;
	int next = 0;

	EXPECT_EQ(0, file_enter(self->file, 0));
	for (int count = 1; count <= 8; count++) {
		for (int i = 0; i < count; i++)
			ASSERT_EQ(0, channel_push_nop(&self->c, next + i));
		ASSERT_EQ(count, file_enter(self->file, count));
		EXPECT_EQ(0, file_enter(self->file, count));
		for (int i = 0; i < count; i++) {
			ASSERT_TRUE(channel_reap(&self->c, &cqe));
			EXPECT_EQ(next++, cqe.user_data);
		}
		EXPECT_FALSE(channel_reap(&self->c, &cqe));
	}
}

TEST_F(channel_file, bad_offsets)
{
	const struct { off_t offset; int whence; } bad[] = {
		{ -1, SEEK_SET }, { INT64_MIN, SEEK_SET }, { INT64_MAX, SEEK_SET },
		{ 9, SEEK_SET }, { UINT32_MAX, SEEK_SET }, { 1LL << 32, SEEK_SET },
		{ 0, SEEK_CUR }, { 0, SEEK_END }, { 0, SEEK_DATA }, { 0, SEEK_HOLE }, { 0, 5 },
	};

	ASSERT_EQ(0, channel_push_nop(&self->c, 1));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		EXPECT_EQ(-1, lseek(self->file, bad[i].offset, bad[i].whence));
		EXPECT_EQ(EINVAL, errno) TH_LOG("%zu", i);
	}
	EXPECT_EQ(0, channel_available(&self->c));
	EXPECT_EQ(1, file_enter(self->file, 1));
	EXPECT_EQ(1, channel_available(&self->c));
}

TEST_F(channel_file, other_calls)
{
	char byte = 0;

	EXPECT_EQ(-1, read(self->file, &byte, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, write(self->file, &byte, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ioctl(self->file, DMAPLANE_IOC_INFO, &ARG(info)));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(FD_CLOEXEC, fcntl(self->file, F_GETFD));
}

TEST_F(channel_file, no_room)
{
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 8; i++)
			ASSERT_EQ(0, channel_push_nop(&self->c, i));
		ASSERT_EQ(8, file_enter(self->file, 8));
		ASSERT_EQ(0, channel_push_nop(&self->c, 8));
		EXPECT_EQ(-EBUSY, file_enter(self->file, 0));
		EXPECT_EQ(-EBUSY, file_enter(self->file, 8));
		reap_all(&self->c);
		EXPECT_EQ(1, file_enter(self->file, 1));
		reap_all(&self->c);
	}
}

TEST_F(channel_file, signal_ends_wait)
{
	for (int restart = 0; restart < 2; restart++) {
		alarm_every(20, restart ? SA_RESTART : 0);
		EXPECT_EQ(-EINTR, file_enter(self->file, 1));
		ASSERT_EQ(0, channel_push_nop(&self->c, 1));
		/* What was taken is told. */
		EXPECT_EQ(1, file_enter(self->file, 2));
		alarm_stop();
		reap_all(&self->c);
	}
}

struct waiter {
	int file;
	uint32_t min_complete;
	bool poll;
	int result;
};

static void *wait_in_thread(void *arg)
{
	struct waiter *w = arg;
	struct pollfd p = { .fd = w->file, .events = POLLIN };

	if (!w->poll)
		w->result = file_enter(w->file, w->min_complete);
	else
		w->result = poll(&p, 1, PATIENCE / MS) == 1 ? p.revents : -ETIME;
	return NULL;
}

TEST_F(channel_file, waiter_is_woken)
{
	for (int poll = 0; poll < 2; poll++) {
		struct waiter w = { self->file, 3, poll, -1 };
		pthread_t thread;

		ASSERT_EQ(0, pthread_create(&thread, NULL, wait_in_thread, &w));
		for (int i = 0; i < 3; i++) {
			sleep_ms(10);
			ASSERT_EQ(0, channel_push_nop(&self->c, i));
			ASSERT_EQ(1, channel_enter(&self->c, 1, 0, 0));
		}
		ASSERT_EQ(0, pthread_join(thread, NULL));
		EXPECT_EQ(poll ? POLLIN : 0, w.result);
		reap_all(&self->c);
	}
}

/* poll() of a channel's file tells of that channel only. */
TEST_F(channel_file, poll)
{
	struct channel second;
	int file;

	ASSERT_EQ(0, channel_open(self->fd, 1, 1, &second));
	file = channel_file(&second);
	ASSERT_LE(0, file);
	EXPECT_EQ(0, poll_now(self->file));
	EXPECT_EQ(0, poll_now(file));
	ASSERT_EQ(0, channel_push_nop(&second, 1));
	ASSERT_EQ(1, file_enter(file, 1));
	EXPECT_EQ(POLLIN, poll_now(file));
	EXPECT_EQ(POLLIN, poll_now(self->fd));
	EXPECT_EQ(0, poll_now(self->file));
	reap_all(&second);
	EXPECT_EQ(0, poll_now(file));
	EXPECT_EQ(0, channel_close(&second));
	EXPECT_EQ(POLLHUP, poll_now(file));
	EXPECT_EQ(-ENOENT, file_enter(file, 1));
	EXPECT_EQ(0, close(file));
}

static void *complete_another(void *arg)
{
	struct channel *c = arg;

	sleep_ms(20);
	return (void *)(intptr_t)(channel_push_nop(c, 2) ?: channel_enter(c, 1, 0, 0));
}

/* It returns when all are there, although it took an entry and that one is done. */
TEST_F(channel_file, waits_for_all)
{
	pthread_t thread;
	void *ret;

	ASSERT_EQ(0, channel_push_nop(&self->c, 1));
	ASSERT_EQ(0, pthread_create(&thread, NULL, complete_another, &self->c));
	EXPECT_EQ(1, file_enter(self->file, 2));
	EXPECT_EQ(2, channel_available(&self->c));
	ASSERT_EQ(0, pthread_join(thread, &ret));
	EXPECT_EQ(1, (intptr_t)ret);
}

TEST_F(channel_file, poisoning_wakes)
{
	struct waiter enter = { self->file, 1, false, 1 }, poll = { self->file, 0, true, -1 };
	pthread_t threads[2];

	ASSERT_EQ(0, pthread_create(&threads[0], NULL, wait_in_thread, &enter));
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, wait_in_thread, &poll));
	sleep_ms(20);
	store_release(&self->c.ring->sq_tail, 100);
	EXPECT_EQ(-EBADFD, channel_enter(&self->c, 1, 0, 0));
	ASSERT_EQ(0, pthread_join(threads[0], NULL));
	ASSERT_EQ(0, pthread_join(threads[1], NULL));
	EXPECT_EQ(-EBADFD, enter.result);
	EXPECT_EQ(POLLIN | POLLERR, poll.result);
}

TEST_F(channel_file, poisoned)
{
	store_release(&self->c.ring->sq_tail, 100);
	EXPECT_EQ(-EBADFD, file_enter(self->file, 0));
	EXPECT_EQ(POLLIN | POLLERR, poll_now(self->file));
	EXPECT_EQ(-EBADFD, file_enter(self->file, 1));
}

/* Nothing is taken any more from a channel that is closed, whoever has its file. */
TEST_F(channel_file, closed)
{
	struct dmaplane_stats before, after;
	struct dmaplane_ring *ring;
	struct channel second;
	int file;

	ASSERT_EQ(0, channel_open(self->fd, 4, 4, &second));
	file = channel_file(&second);
	ASSERT_LE(0, file);
	ring = map_at(file, second.length, 0);
	ASSERT_NE(MAP_FAILED, (void *)ring);
	ASSERT_EQ(0, channel_push_nop(&second, 1));
	EXPECT_EQ(0, channel_close(&second));
	ASSERT_EQ(0, get_stats(self->fd, &before));
	EXPECT_EQ(-ENOENT, file_enter(file, 0));
	EXPECT_EQ(-ENOENT, file_enter(file, 1));
	ASSERT_EQ(0, get_stats(self->fd, &after));
	EXPECT_EQ(before.submitted, after.submitted);
	EXPECT_EQ(0, load_acquire(&ring->sq_head));
	EXPECT_EQ(0, load_acquire(&ring->cq_tail));
	EXPECT_EQ(0, munmap(ring, second.length));
	EXPECT_EQ(0, close(file));
}

/* A channel that is closed ends the waits in its file. */
TEST_F(channel_file, close_ends_wait)
{
	for (int i = 0; i < 20; i++) {
		struct channel second;
		struct waiter enter, poll;
		pthread_t threads[2];
		int file;

		ASSERT_EQ(0, channel_open(self->fd, 4, 4, &second));
		file = channel_file(&second);
		ASSERT_LE(0, file);
		enter = (struct waiter){ file, 1, false, 1 };
		poll = (struct waiter){ file, 0, true, -1 };
		ASSERT_EQ(0, pthread_create(&threads[0], NULL, wait_in_thread, &enter));
		ASSERT_EQ(0, pthread_create(&threads[1], NULL, wait_in_thread, &poll));
		sleep_ms(i);
		EXPECT_EQ(0, channel_close(&second));
		ASSERT_EQ(0, pthread_join(threads[0], NULL));
		ASSERT_EQ(0, pthread_join(threads[1], NULL));
		EXPECT_EQ(-ENOENT, enter.result);
		EXPECT_EQ(POLLHUP, poll.result);
		EXPECT_EQ(0, close(file));
	}
}

TEST_F(channel_file, rings)
{
	struct dmaplane_ring *ring = map_at(self->file, self->c.length, 0);

	ASSERT_NE(MAP_FAILED, (void *)ring);
	EXPECT_EQ(7, ring->sq_mask);
	ASSERT_EQ(0, channel_push_nop(&self->c, 1));
	EXPECT_EQ(1, load_acquire(&ring->sq_tail));
	ASSERT_EQ(1, file_enter(self->file, 1));
	EXPECT_EQ(1, load_acquire(&ring->cq_tail));
	EXPECT_EQ(0, munmap(ring, self->c.length));
	EXPECT_EQ(MAP_FAILED, map_at(self->file, self->c.length + 4096, 0));
	EXPECT_EQ(ENXIO, errno);
	EXPECT_EQ(MAP_FAILED, map_at(self->file, 4096, self->c.length));
	EXPECT_EQ(ENXIO, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, self->file, 0));
	EXPECT_EQ(EINVAL, errno);
}

/* The file, or a mapping of it, keeps the context when all else is closed. */
TEST_F(channel_file, keeps_the_context)
{
	struct dmaplane_ring *ring = map_at(self->file, 4096, 0);

	ASSERT_NE(MAP_FAILED, (void *)ring);
	EXPECT_EQ(0, munmap(self->c.ring, self->c.length));
	EXPECT_EQ(0, close(self->fd));
	self->fd = -1;
	sleep_ms(20);
	EXPECT_EQ(1, live("contexts"));
	self->c.ring = ring;
	self->c.length = 4096;
	self->c.sqes = (void *)(ring + 1);
	self->c.cqes = (void *)(self->c.sqes + 8);
	ASSERT_EQ(0, channel_push_nop(&self->c, 5));
	EXPECT_EQ(1, file_enter(self->file, 1));
	EXPECT_EQ(POLLIN, poll_now(self->file));
	EXPECT_EQ(0, close(self->file));
	self->file = -1;
	sleep_ms(20);
	EXPECT_EQ(1, live("contexts"));
	EXPECT_EQ(1, channel_available(&self->c));
}

/* Closed in one thread while another one waits in it: the call has the file. */
TEST_F(channel_file, closed_meanwhile)
{
	struct waiter w = { self->file, 1, false, -1 };
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, wait_in_thread, &w));
	sleep_ms(20);
	EXPECT_EQ(0, close(self->file));
	self->file = -1;
	ASSERT_EQ(0, channel_push_nop(&self->c, 1));
	ASSERT_EQ(1, channel_enter(&self->c, 1, 0, 0));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, w.result);
}

/* Whoever is given the descriptor can use the channel. */
TEST_F(channel_file, another_process)
{
	int status = 0;
	pid_t pid;

	ASSERT_EQ(0, channel_push_nop(&self->c, 1));
	fflush(NULL);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(self->fd);
		_exit(file_enter(self->file, 1));
	}
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(1, WEXITSTATUS(status));
	EXPECT_EQ(1, channel_available(&self->c));
}

/* A file in its own socket's queue is collected like any other. */
TEST_F(channel_file, sent_in_a_circle)
{
	union {
		char bytes[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec iov = { "x", 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int pair[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair));
	*c = (struct cmsghdr){ CMSG_LEN(2 * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(c), (int[]){ self->file, pair[1] }, 2 * sizeof(int));
	ASSERT_EQ(1, sendmsg(pair[0], &msg, 0));
	EXPECT_EQ(0, close(self->file));
	self->file = -1;
	EXPECT_EQ(0, close(pair[1]));
	EXPECT_EQ(0, close(pair[0]));
}

static int descriptors(void)
{
	int count = 0;

	for (int fd = 0; fd < 64; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* What fails leaves no descriptor behind. */
TEST_F(channel_file, failures)
{
	struct dmaplane_channel_file arg, *readonly;
	struct rlimit old, none;
	struct buffer buffer;
	int before;

	ASSERT_EQ(0, buf_create(self->fd, 1, &buffer));
	before = descriptors();
	arg = ARG(channel_file, .channel = buffer.handle);
	EXPECT_EQ(-EBADF, cmd(self->fd, DMAPLANE_IOC_CHANNEL_FILE, &arg));
	arg = ARG(channel_file, .channel = self->c.handle, .flags = 1);
	EXPECT_EQ(-EINVAL, cmd(self->fd, DMAPLANE_IOC_CHANNEL_FILE, &arg));
	arg = ARG(channel_file, .channel = 0);
	EXPECT_EQ(-ENOENT, cmd(self->fd, DMAPLANE_IOC_CHANNEL_FILE, &arg));
	readonly = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)readonly);
	*readonly = ARG(channel_file, .channel = self->c.handle);
	ASSERT_EQ(0, mprotect(readonly, 4096, PROT_READ));
	EXPECT_EQ(-EFAULT, cmd(self->fd, DMAPLANE_IOC_CHANNEL_FILE, readonly));
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &old));
	none = (struct rlimit){ 0, old.rlim_max };
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	EXPECT_EQ(-EMFILE, channel_file(&self->c));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &old));
	EXPECT_EQ(before, descriptors());
	EXPECT_EQ(0, munmap(readonly, 4096));
}

TEST_HARNESS_MAIN
