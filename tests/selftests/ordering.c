// SPDX-License-Identifier: GPL-2.0
/*
 * LINK, DRAIN, CQE_SKIP_SUCCESS and CANCEL, with entries that need no peer. A long FILL
 * is done by a worker, which begins after the ENTER that took it: until then it is
 * under way for certain, and whatever need not wait for it is complete.
 */
#include "ring.h"
#include "harness.h"

#define LINK	DMAPLANE_SQE_LINK
#define DRAIN	DMAPLANE_SQE_DRAIN
#define SILENT	DMAPLANE_SQE_CQE_SKIP_SUCCESS
#define ALL	DMAPLANE_CANCEL_ALL

#define ENTRIES	64
#define LENGTH	(8 << 20)

FIXTURE(ordering) {
	int fd;
	struct channel c;
	struct buffer buffer;
};

FIXTURE_SETUP(ordering)
{
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, channel_open(self->fd, ENTRIES, ENTRIES, &self->c));
	ASSERT_EQ(0, buf_create(self->fd, LENGTH, &self->buffer));
}

/* Whatever was submitted is complete, also if nobody was told. */
FIXTURE_TEARDOWN(ordering)
{
	struct dmaplane_stats stats;

	if (self->fd >= 0) {
		EXPECT_TRUE(WAIT_FOR(!get_stats(self->fd, &stats) &&
				     stats.submitted == stats.completed));
		munmap(self->c.ring, self->c.length);
		EXPECT_EQ(0, close(self->fd));
	}
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("channels"));
	EXPECT_EQ(0, live("buffers"));
}

/* What takes some time. */
static struct dmaplane_sqe slow(FIXTURE_DATA(ordering) *self, uint64_t user_data, uint8_t flags)
{
	struct dmaplane_sqe sqe = fill_buffer(self->buffer.handle, 0, LENGTH, user_data);

	sqe.user_data = user_data;
	sqe.flags = flags;
	return sqe;
}

/* What fails as soon as it begins. */
static struct dmaplane_sqe bad(uint64_t user_data, uint8_t flags)
{
	struct dmaplane_sqe sqe = copy_buffer(0xdead, 0, 0xdead, 0, 1);

	sqe.user_data = user_data;
	sqe.flags = flags;
	return sqe;
}

#define PUSH(...) do {								\
		struct dmaplane_sqe sqes[] = { __VA_ARGS__ };			\
										\
		for (size_t i = 0; i < ARRAY_LEN(sqes); i++)			\
			ASSERT_EQ(0, channel_push(&self->c, &sqes[i]));		\
	} while (0)

/* All of them in one ENTER. */
#define SUBMIT(...) do {							\
		PUSH(__VA_ARGS__);						\
		ASSERT_LT(0, channel_enter(&self->c, ENTRIES, 0, 0));		\
	} while (0)

/* The next completions, of which user_data and res are given. */
#define EXPECT_NEXT(...) do {							\
		struct { uint64_t user_data; int res; } next[] = { __VA_ARGS__ }; \
		struct dmaplane_cqe cqe;					\
										\
		for (size_t i = 0; i < ARRAY_LEN(next); i++) {			\
			ASSERT_EQ(0, channel_next(&self->c, &cqe));		\
			EXPECT_EQ(next[i].user_data, cqe.user_data) {		\
				TH_LOG("%zu", i);				\
			}							\
			EXPECT_EQ(next[i].res, cqe.res) {			\
				TH_LOG("%zu: %llu", i, cqe.user_data);		\
			}							\
		}								\
	} while (0)

#define EXPECT_NO_MORE() EXPECT_EQ(0, channel_available(&self->c))

TEST_F(ordering, none_without_flags)
{
	SUBMIT(slow(self, 1, 0), nop(2, 0), bad(3, 0));
	EXPECT_NEXT({ 2, 0 }, { 3, -ENOENT }, { 1, LENGTH });
}

TEST_F(ordering, linked_wait)
{
	SUBMIT(slow(self, 1, LINK), nop(2, LINK), slow(self, 3, LINK), nop(4, 0), nop(5, 0));
	EXPECT_NEXT({ 5, 0 }, { 1, LENGTH }, { 2, 0 }, { 3, LENGTH }, { 4, 0 });
	EXPECT_NO_MORE();
}

TEST_F(ordering, two_chains)
{
	SUBMIT(slow(self, 1, LINK), nop(2, 0), nop(3, LINK), nop(4, 0), bad(5, LINK), nop(6, 0));
	EXPECT_NEXT({ 3, 0 }, { 5, -ENOENT }, { 4, 0 }, { 6, -ECANCELED }, { 1, LENGTH }, { 2, 0 });
	EXPECT_NO_MORE();
}

TEST_F(ordering, failure_cancels_the_rest)
{
	SUBMIT(nop(1, LINK), bad(2, LINK), nop(3, LINK), slow(self, 4, 0), nop(5, 0));
	EXPECT_NEXT({ 1, 0 }, { 5, 0 }, { 2, -ENOENT }, { 3, -ECANCELED }, { 4, -ECANCELED });
	SUBMIT(slow(self, 1, LINK), bad(2, LINK), nop(3, 0));
	EXPECT_NEXT({ 1, LENGTH }, { 2, -ENOENT }, { 3, -ECANCELED });
	EXPECT_NO_MORE();
}

/* Also an entry that could never have begun, and the last one. */
TEST_F(ordering, failures_of_all_kinds)
{
	struct dmaplane_sqe unknown = nop(1, LINK), flags = nop(2, LINK | 0x40);

	unknown.opcode = 200;
	SUBMIT(unknown, nop(9, 0));
	EXPECT_NEXT({ 1, -EOPNOTSUPP }, { 9, -ECANCELED });
	SUBMIT(flags, nop(9, 0));
	EXPECT_NEXT({ 2, -EINVAL }, { 9, -ECANCELED });
	SUBMIT(cancel(3, 0, 77, 0));
	EXPECT_NEXT({ 3, -ENOENT });
	SUBMIT(nop(4, LINK), bad(5, 0), nop(6, 0));
	EXPECT_NEXT({ 4, 0 }, { 6, 0 }, { 5, -ENOENT });
	EXPECT_NO_MORE();
}

/* ENTER is no end of a chain. */
TEST_F(ordering, chains_over_several_calls)
{
	SUBMIT(slow(self, 1, LINK));
	SUBMIT(nop(2, LINK));
	EXPECT_NEXT({ 1, LENGTH }, { 2, 0 });
	SUBMIT(nop(3, LINK));
	EXPECT_NEXT({ 3, 0 });
	SUBMIT(bad(4, LINK));
	EXPECT_NEXT({ 4, -ENOENT });
	SUBMIT(nop(5, LINK), nop(6, LINK));
	EXPECT_NEXT({ 5, -ECANCELED }, { 6, -ECANCELED });
	SUBMIT(nop(7, 0), nop(8, 0));
	EXPECT_NEXT({ 7, -ECANCELED }, { 8, 0 });
	EXPECT_NO_MORE();
}

TEST_F(ordering, as_long_as_the_ring)
{
	struct dmaplane_cqe cqe;

	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < ENTRIES; i++) {
			struct dmaplane_sqe sqe = nop(i, i < ENTRIES - 1 ? LINK : 0);

			ASSERT_EQ(0, channel_push(&self->c, &sqe));
		}
		ASSERT_EQ(ENTRIES, channel_enter(&self->c, ENTRIES, ENTRIES, PATIENCE));
		for (int i = 0; i < ENTRIES; i++) {
			ASSERT_TRUE(channel_reap(&self->c, &cqe));
			ASSERT_EQ(i, cqe.user_data);
			ASSERT_EQ(0, cqe.res);
		}
	}
}

/* A chain that the completion ring has no room for goes on when it has. */
TEST_F(ordering, link_across_a_full_ring)
{
	SUBMIT(slow(self, 1, LINK), nop(2, LINK));
	for (int i = 2; i < ENTRIES; i++)
		SUBMIT(nop(100 + i, LINK));
	PUSH(nop(3, 0));
	EXPECT_EQ(-EBUSY, channel_enter(&self->c, 1, 0, 0));
	EXPECT_NEXT({ 1, LENGTH }, { 2, 0 });
	for (int i = 2; i < ENTRIES; i++)
		EXPECT_NEXT({ 100 + i, 0 });
	ASSERT_EQ(1, channel_enter(&self->c, 1, 0, 0));
	EXPECT_NEXT({ 3, 0 });
	EXPECT_NO_MORE();
}

TEST_F(ordering, drain_waits_and_holds)
{
	SUBMIT(slow(self, 1, 0), nop(2, 0), nop(3, DRAIN), nop(4, 0), slow(self, 5, 0), nop(6, 0));
	EXPECT_NEXT({ 2, 0 }, { 1, LENGTH }, { 3, 0 }, { 4, 0 }, { 6, 0 }, { 5, LENGTH });
	/* With nothing before it, it holds up what comes after it none the less. */
	SUBMIT(slow(self, 7, DRAIN), nop(8, 0));
	SUBMIT(nop(9, 0));
	EXPECT_NEXT({ 7, LENGTH }, { 8, 0 }, { 9, 0 });
	SUBMIT(nop(10, DRAIN), nop(11, DRAIN), nop(12, 0));
	EXPECT_NEXT({ 10, 0 }, { 11, 0 }, { 12, 0 });
	EXPECT_NO_MORE();
}

TEST_F(ordering, drain_after_drain)
{
	SUBMIT(slow(self, 1, 0), slow(self, 2, DRAIN), nop(3, DRAIN), slow(self, 4, 0),
	       nop(5, DRAIN | SILENT), slow(self, 6, 0), bad(7, DRAIN), nop(8, 0));
	EXPECT_NEXT({ 1, LENGTH }, { 2, LENGTH }, { 3, 0 }, { 4, LENGTH }, { 6, LENGTH },
		    { 7, -ENOENT }, { 8, 0 });
	EXPECT_NO_MORE();
}

TEST_F(ordering, drain_and_chains)
{
	/* The whole of a chain before it is waited for, and one after it is held. */
	SUBMIT(slow(self, 1, LINK), slow(self, 2, 0), nop(3, DRAIN | LINK), nop(4, 0), nop(5, 0));
	EXPECT_NEXT({ 1, LENGTH }, { 2, LENGTH }, { 3, 0 }, { 5, 0 }, { 4, 0 });
	/* In the middle of a chain, that goes on, or does not. */
	SUBMIT(slow(self, 1, LINK), nop(2, LINK | DRAIN), nop(3, 0), nop(4, 0));
	EXPECT_NEXT({ 1, LENGTH }, { 2, 0 }, { 4, 0 }, { 3, 0 });
	SUBMIT(slow(self, 1, 0), bad(2, LINK), nop(3, LINK | DRAIN), nop(4, 0), nop(5, 0));
	EXPECT_NEXT({ 2, -ENOENT }, { 1, LENGTH }, { 3, -ECANCELED }, { 4, -ECANCELED }, { 5, 0 });
	EXPECT_NO_MORE();
}

TEST_F(ordering, success_not_told)
{
	SUBMIT(nop(1, SILENT), nop(2, 0), bad(3, SILENT), slow(self, 4, SILENT), slow(self, 5, SILENT | LINK),
	       nop(6, LINK | SILENT), nop(7, 0));
	EXPECT_NEXT({ 2, 0 }, { 3, -ENOENT }, { 7, 0 });
	EXPECT_NO_MORE();
}

/* What is not told takes no place. */
TEST_F(ordering, success_not_told_leaves_room)
{
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < ENTRIES; i++) {
			struct dmaplane_sqe sqe = nop(i, SILENT);

			ASSERT_EQ(0, channel_push(&self->c, &sqe));
		}
		ASSERT_EQ(ENTRIES, channel_enter(&self->c, ENTRIES, 0, 0));
	}
	EXPECT_EQ(-ETIME, channel_enter(&self->c, 0, 1, 0));
	EXPECT_NO_MORE();
}

TEST_F(ordering, cancelled)
{
	/* In the worker's queue; one of those of that name, and its chain. */
	SUBMIT(slow(self, 1, 0), slow(self, 1, LINK), nop(2, 0), cancel(3, 0, 1, 0));
	EXPECT_NEXT({ 1, -ECANCELED }, { 3, 1 }, { 1, LENGTH }, { 2, 0 });
	SUBMIT(slow(self, 1, LINK), nop(2, 0), cancel(3, 0, 1, 0));
	EXPECT_NEXT({ 1, -ECANCELED }, { 3, 1 }, { 2, -ECANCELED });
	/* Waiting in a chain, and what comes after it there. */
	SUBMIT(slow(self, 1, LINK), nop(2, LINK), nop(3, LINK), nop(4, 0), cancel(5, 0, 3, 0));
	EXPECT_NEXT({ 3, -ECANCELED }, { 4, -ECANCELED }, { 5, 1 }, { 1, LENGTH }, { 2, 0 });
	/* And what is added to that later. */
	SUBMIT(slow(self, 1, LINK), nop(2, LINK));
	SUBMIT(nop(3, LINK | DRAIN));
	EXPECT_NEXT({ 1, LENGTH }, { 2, 0 }, { 3, 0 });
	SUBMIT(nop(4, 0));
	EXPECT_NEXT({ 4, 0 });
	EXPECT_NO_MORE();
}

TEST_F(ordering, cancelled_while_held)
{
	SUBMIT(slow(self, 1, 0), nop(2, DRAIN), nop(3, 0), nop(4, 0), cancel(5, 0, 3, 0));
	EXPECT_NEXT({ 3, -ECANCELED }, { 5, 1 }, { 1, LENGTH }, { 2, 0 }, { 4, 0 });
	/* One that others wait for. */
	SUBMIT(slow(self, 1, 0), nop(2, DRAIN), nop(3, 0), cancel(4, 0, 2, 0), cancel(5, 0, 1, 0));
	EXPECT_NEXT({ 2, -ECANCELED }, { 4, 1 }, { 1, -ECANCELED }, { 5, 1 }, { 3, 0 });
	/* One of a chain keeps its place, so that the rest of that fails. */
	SUBMIT(slow(self, 1, 0), nop(2, DRAIN | LINK), nop(3, LINK), nop(4, 0), nop(5, 0),
	       cancel(6, 0, 3, 0));
	EXPECT_NEXT({ 6, 1 }, { 1, LENGTH }, { 2, 0 }, { 5, 0 }, { 3, -ECANCELED }, { 4, -ECANCELED });
	/* A CANCEL of a chain is part of it, and waits with it. */
	SUBMIT(slow(self, 1, 0), nop(2, DRAIN | LINK), cancel(3, 0, 1, 0));
	EXPECT_NEXT({ 1, LENGTH }, { 2, 0 }, { 3, -ENOENT });
	EXPECT_NO_MORE();
}

TEST_F(ordering, all_cancelled)
{
	struct dmaplane_cqe cqe;
	unsigned int cancelled = 0;

	SUBMIT(slow(self, 1, 0), slow(self, 2, LINK), nop(3, 0), slow(self, 4, 0), nop(5, DRAIN),
	       nop(6, 0), cancel(7, 0, 0, ALL));
	for (int i = 0; i < 7; i++) {
		ASSERT_EQ(0, channel_next(&self->c, &cqe));
		if (cqe.user_data == 7) {
			EXPECT_EQ(6, cqe.res);
		} else if (cqe.res == -ECANCELED) {
			cancelled++;
		}
	}
	EXPECT_EQ(6, cancelled);
	EXPECT_NO_MORE();
	SUBMIT(cancel(7, 0, 0, ALL));
	EXPECT_NEXT({ 7, -ENOENT });
}

TEST_F(ordering, nothing_to_cancel)
{
	SUBMIT(cancel(1, 0, 1, 0), slow(self, 2, 0), cancel(3, 0, 3, 0), cancel(4, 0xdead, 2, 0),
	       cancel(5, self->buffer.handle, 2, 0), cancel(6, 0, 2, 2), cancel(7, 0, 2, ALL));
	EXPECT_NEXT({ 1, -ENOENT }, { 3, -ENOENT }, { 4, -ENOENT }, { 5, -EBADF }, { 6, -EINVAL },
		    { 7, -EINVAL }, { 2, LENGTH });
	SUBMIT(cancel(8, 0, 2, 0));
	EXPECT_NEXT({ 8, -ENOENT });
	EXPECT_NO_MORE();
}

/* A copy that is under way, if it is: then it is done, or cancelled, and not both. */
TEST_F(ordering, cancelled_at_any_time)
{
	struct dmaplane_cqe cqe;
	int cancelled = 0;

	for (int i = 0; i < 50; i++) {
		int found = 0, res = 1;

		SUBMIT(slow(self, 1, LINK), nop(2, 0));
		usleep(i * 40);
		SUBMIT(cancel(3, 0, 1, 0));
		for (int n = 0; n < 3; n++) {
			ASSERT_EQ(0, channel_next(&self->c, &cqe));
			if (cqe.user_data == 1) {
				res = cqe.res;
			} else if (cqe.user_data == 2) {
				EXPECT_EQ(res == LENGTH ? 0 : -ECANCELED, cqe.res);
			} else {
				found = cqe.res;
			}
		}
		EXPECT_TRUE(res == LENGTH || (res == -ECANCELED && found == 1));
		EXPECT_TRUE(found == 1 || found == -ENOENT);
		cancelled += res == -ECANCELED;
		EXPECT_NO_MORE();
	}
	TH_LOG("%d of 50 were cancelled", cancelled);
}

/* The channel of another is not meant. */
TEST_F(ordering, another_channel)
{
	struct dmaplane_sqe sqe = cancel(9, 0, 1, 0);
	struct dmaplane_cqe cqe;
	struct channel other;

	ASSERT_EQ(0, channel_open(self->fd, 8, 8, &other));
	SUBMIT(slow(self, 1, 0), nop(2, DRAIN));
	ASSERT_EQ(0, channel_do(&other, &sqe, &cqe));
	EXPECT_EQ(-ENOENT, cqe.res);
	EXPECT_NEXT({ 1, LENGTH }, { 2, 0 });
	EXPECT_EQ(0, channel_close(&other));
}

/* Closing completes all: nothing is left waiting, and the rings still tell. */
TEST_F(ordering, closing)
{
	struct dmaplane_cqe cqe;
	int done = 0, res[8] = { 0 };

	SUBMIT(slow(self, 1, LINK), nop(2, 0), slow(self, 3, 0), nop(4, DRAIN), nop(5, LINK),
	       nop(6, 0), nop(7, LINK));
	EXPECT_EQ(0, end(self->fd, DMAPLANE_IOC_CHANNEL_CLOSE, self->c.handle));
	EXPECT_EQ(7, channel_available(&self->c));
	while (channel_reap(&self->c, &cqe)) {
		ASSERT_GE(7, cqe.user_data);
		res[cqe.user_data] = cqe.res;
		EXPECT_TRUE(cqe.res == -ECANCELED || cqe.res == LENGTH || cqe.res == 0);
		done++;
	}
	/* What waits for the copies has not begun, unless these were done before on a busy machine. */
	for (int i = 4; i < 8 && res[3] == -ECANCELED; i++) {
		EXPECT_EQ(-ECANCELED, res[i]) {
			TH_LOG("%d", i);
		}
	}
	EXPECT_EQ(7, done);
}

/* As does the end of the process, with a chain that never ends. */
TEST_F(ordering, dying)
{
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();

		ASSERT_LE(0, pid);
		if (!pid) {
			struct dmaplane_sqe sqe;
			struct channel c;
			struct buffer buffer;
			int fd = open_device();

			if (fd < 0 || channel_open(fd, 64, 64, &c) || buf_create(fd, LENGTH, &buffer))
				_exit(1);
			for (int n = 0; n < 60; n++) {
				sqe = fill_buffer(buffer.handle, 0, LENGTH, n);
				sqe.flags = n % 7 == 3 ? DRAIN : n % 3 ? LINK : 0;
				if (channel_push(&c, &sqe))
					_exit(1);
			}
			if (channel_enter(&c, 60, i % 4, PATIENCE) != 60)
				_exit(1);
			kill(getpid(), SIGKILL);
		}
		int status;

		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
	}
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 1));
	EXPECT_EQ(1, live("buffers"));
	EXPECT_EQ(1, live("channels"));
}

TEST_HARNESS_MAIN
