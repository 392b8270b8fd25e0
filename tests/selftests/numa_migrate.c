// SPDX-License-Identifier: GPL-2.0
/*
 * MIGRATE on a machine with at least two nodes: pages are where they shall be, and all who
 * use the buffer meanwhile see the same bytes, at the same addresses; or it fails, and
 * says why.
 */
#include "ring.h"

#include <sys/uio.h>

#include "harness.h"

#define PAGE	4096ULL
#define PAGES	(3 * 512 + 17ULL)
#define LENGTH	(PAGES * PAGE)
#define ROUNDS	(instrumented() ? 6 : 20)

FIXTURE(numa_migrate) {
	int fd;
	struct channel c, other;
	struct buffer buffer;
	uint8_t *at;
	unsigned int nodes[2];
};

FIXTURE_SETUP(numa_migrate)
{
	if (last_nodes(self->nodes, 2) < 2)
		SKIP(return, "one NUMA node only");
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, channel_open(self->fd, 64, 64, &self->c));
	ASSERT_EQ(0, channel_open(self->fd, 8, 8, &self->other));
	ASSERT_EQ(0, buf_create_at(self->fd, LENGTH, self->nodes[0], DMAPLANE_BUF_NODE_STRICT,
				   &self->buffer));
	self->at = buf_map(self->fd, &self->buffer);
	ASSERT_NE(MAP_FAILED, self->at);
	fill(self->at, LENGTH, 1);
}

FIXTURE_TEARDOWN(numa_migrate)
{
	munmap(self->at, LENGTH);
	munmap(self->c.ring, self->c.length);
	munmap(self->other.ring, self->other.length);
	close(self->fd);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("buffers"));
	EXPECT_EQ(0, live("buffer_bytes"));
}

/* How many pages of a mapping are on @node, by the kernel; BUF_QUERY says the same. */
static int64_t pages_on(struct __test_metadata *_metadata, int fd, const struct buffer *buffer,
			uint8_t *at, unsigned int node)
{
	uint64_t said[MAX_NODES] = { 0 }, seen[MAX_NODES] = { 0 };
	struct dmaplane_buf_query query;

	ASSERT_EQ(0, buf_query(fd, buffer->handle, &query, said));
	for (uint64_t i = 0; i < query.pages; i++) {
		int status = node_of_page(at + i * PAGE);

		ASSERT_LE(0, status);
		ASSERT_GT(MAX_NODES, status);
		seen[status]++;
	}
	EXPECT_EQ(0, memcmp(said, seen, sizeof(said)));
	return seen[node];
}

static uint32_t moves_of(int fd, uint32_t handle)
{
	uint64_t nodes[MAX_NODES];
	struct dmaplane_buf_query query;

	return buf_query(fd, handle, &query, nodes) ? UINT32_MAX : query.moves;
}

static int node_of(int fd, uint32_t handle)
{
	uint64_t nodes[MAX_NODES];
	struct dmaplane_buf_query query;

	return buf_query(fd, handle, &query, nodes) ? -2 : query.node;
}

TEST_F(numa_migrate, moves)
{
	uint8_t *part = map_at(self->fd, 5 * PAGE, self->buffer.offset + 510 * PAGE);
	const uint32_t handle = self->buffer.handle;

	ASSERT_NE(MAP_FAILED, part);
	EXPECT_EQ(PAGES, pages_on(_metadata, self->fd, &self->buffer, self->at, self->nodes[0]));
	EXPECT_EQ(0, moves_of(self->fd, handle));
	for (unsigned int i = 1; i < 5; i++) {
		unsigned int node = self->nodes[i % 2];

		EXPECT_EQ(PAGES, channel_migrate(&self->c, handle, node, i & DMAPLANE_MIGRATE_STRICT));
		EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, i));
		EXPECT_EQ(PAGES, pages_on(_metadata, self->fd, &self->buffer, self->at, node));
		EXPECT_EQ(node, node_of(self->fd, handle));
		EXPECT_EQ(4 * i, moves_of(self->fd, handle));
		EXPECT_EQ(0, channel_migrate(&self->c, handle, node, 0));
		EXPECT_EQ(4 * i, moves_of(self->fd, handle));
		/* Both mappings show the same pages still. */
		fill(self->at, LENGTH, i + 1);
		EXPECT_EQ(0, memcmp(part, self->at + 510 * PAGE, 5 * PAGE));
	}
	EXPECT_EQ(0, munmap(part, 5 * PAGE));
}

/* Some are there already, here and there. */
TEST_F(numa_migrate, what_is_elsewhere)
{
	struct buffer buffer;
	uint8_t *at;

	/* Spread over the nodes page by page. */
	unsigned long mask = 1UL << self->nodes[0] | 1UL << self->nodes[1];

	ASSERT_EQ(0, syscall(SYS_set_mempolicy, 3 /* MPOL_INTERLEAVE */, &mask, 64UL));
	EXPECT_EQ(0, buf_create(self->fd, LENGTH, &buffer));
	ASSERT_EQ(0, syscall(SYS_set_mempolicy, 0, NULL, 0UL));
	at = buf_map(self->fd, &buffer);
	ASSERT_NE(MAP_FAILED, at);
	fill(at, LENGTH, 3);
	for (int i = 0; i < 2; i++) {
		int64_t there = pages_on(_metadata, self->fd, &buffer, at, self->nodes[i]);

		EXPECT_EQ(PAGES - there, channel_migrate(&self->c, buffer.handle, self->nodes[i],
						 DMAPLANE_MIGRATE_STRICT));
		EXPECT_EQ(PAGES, pages_on(_metadata, self->fd, &buffer, at, self->nodes[i]));
		EXPECT_EQ(LENGTH, first_wrong(at, LENGTH, 3));
	}
	EXPECT_EQ(0, munmap(at, LENGTH));
}

struct counting {
	uint8_t *at;
	uint64_t passes;
	uint64_t word;
	bool stop;
};

static void *count_up(void *arg)
{
	struct counting *c = arg;

	while (!__atomic_load_n(&c->stop, __ATOMIC_RELAXED)) {
		for (uint64_t i = 0; i < PAGES; i++)
			++*(volatile uint64_t *)(c->at + i * PAGE + c->word);
		c->passes++;
	}
	return NULL;
}

/* Nothing that is written while it moves is lost. */
TEST_F(numa_migrate, written_meanwhile)
{
	/* Another mapping, and another word. */
	struct counting counting[2] = {
		{ .at = self->at, .word = 8 },
		{ .at = buf_map(self->fd, &self->buffer), .word = PAGE - 8 },
	};
	pthread_t threads[2];

	ASSERT_NE(MAP_FAILED, counting[1].at);
	memset(self->at, 0, LENGTH);
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, count_up, &counting[i]));
	for (int i = 1; i <= ROUNDS; i++) {
		ASSERT_EQ(PAGES, channel_migrate(&self->c, self->buffer.handle, self->nodes[i % 2], 0));
		EXPECT_EQ(self->nodes[i % 2], node_of(self->fd, self->buffer.handle));
	}
	for (int i = 0; i < 2; i++) {
		__atomic_store_n(&counting[i].stop, true, __ATOMIC_RELAXED);
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
		EXPECT_LT(0, counting[i].passes);
		for (uint64_t page = 0; page < PAGES; page++)
			ASSERT_EQ(counting[i].passes,
				  *(uint64_t *)(self->at + page * PAGE + counting[i].word));
	}
	EXPECT_EQ(0, munmap(counting[1].at, LENGTH));
}

/* From it, and to it, while it moves to and fro. */
TEST_F(numa_migrate, copied_meanwhile)
{
	struct dmaplane_sqe fills, copies, sqe;
	struct dmaplane_cqe cqe;
	struct buffer to;
	unsigned int n = 0;
	uint8_t *at;

	ASSERT_EQ(0, buf_create(self->fd, LENGTH, &to));
	at = buf_map(self->fd, &to);
	ASSERT_NE(MAP_FAILED, at);
	for (; n < 32; n++) {
		sqe = migrate_buffer(self->buffer.handle, self->nodes[!(n % 2)], 0);
		ASSERT_EQ(0, channel_push(&self->c, &sqe));
	}
	ASSERT_EQ(n, channel_enter(&self->c, n, 0, 0));
	for (int i = 0; i < 8; i++) {
		const uint64_t part = 100 * PAGE + 77;

		copies = copy_buffer(self->buffer.handle, 0, to.handle, 0, LENGTH);
		ASSERT_EQ(0, channel_do(&self->other, &copies, &cqe));
		ASSERT_EQ(LENGTH, cqe.res);
		EXPECT_EQ(0, memcmp(self->at, at, LENGTH));
		fills = fill_buffer(self->buffer.handle, part, 300 * PAGE, i);
		ASSERT_EQ(0, channel_do(&self->other, &fills, &cqe));
		ASSERT_EQ(300 * PAGE, cqe.res);
		EXPECT_EQ(300 * PAGE, first_not(self->at + part, 300 * PAGE, i));
		/* Within it, which locks it once. */
		sqe = copy_buffer(self->buffer.handle, part, self->buffer.handle, 900 * PAGE,
				  300 * PAGE);
		ASSERT_EQ(0, channel_do(&self->other, &sqe, &cqe));
		ASSERT_EQ(300 * PAGE, cqe.res);
		EXPECT_EQ(300 * PAGE, first_not(self->at + 900 * PAGE, 300 * PAGE, i));
		sqe = copy_buffer(to.handle, 0, self->buffer.handle, 0, 99 * PAGE);
		ASSERT_EQ(0, channel_do(&self->other, &sqe, &cqe));
		ASSERT_EQ(99 * PAGE, cqe.res);
	}
	while (n--) {
		ASSERT_EQ(0, channel_next(&self->c, &cqe));
		EXPECT_EQ(PAGES, cqe.res);
	}
	EXPECT_EQ(99 * PAGE, first_wrong(self->at, 99 * PAGE, 1));
	EXPECT_EQ(0, munmap(at, LENGTH));
}

/* Two channels want it at different places: each page is at one of them. */
TEST_F(numa_migrate, by_two_at_once)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct dmaplane_sqe one = migrate_buffer(self->buffer.handle, self->nodes[1], 0);
		struct dmaplane_sqe two = migrate_buffer(self->buffer.handle, self->nodes[0], 0);
		struct dmaplane_cqe cqe;

		ASSERT_EQ(1, channel_submit(&self->c, &one));
		ASSERT_EQ(1, channel_submit(&self->other, &two));
		ASSERT_EQ(0, channel_next(&self->c, &cqe));
		EXPECT_LE(0, cqe.res);
		ASSERT_EQ(0, channel_next(&self->other, &cqe));
		EXPECT_LE(0, cqe.res);
	}
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));
	EXPECT_EQ(PAGES, pages_on(_metadata, self->fd, &self->buffer, self->at, self->nodes[0]) +
		  pages_on(_metadata, self->fd, &self->buffer, self->at, self->nodes[1]));
}

static size_t first_wrong_from(const uint8_t *at, uint64_t offset, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (at[i] != pattern(1, offset + i))
			return i;
	return length;
}

/* A child that has it by fork sees what happens, and is forked while it moves. */
TEST_F(numa_migrate, forked_meanwhile)
{
	pid_t pids[4];
	int status;

	for (int i = 0; i < 4; i++) {
		struct dmaplane_sqe sqe = migrate_buffer(self->buffer.handle, self->nodes[!(i % 2)], 0);
		struct dmaplane_cqe cqe;

		ASSERT_EQ(1, channel_submit(&self->c, &sqe));
		fflush(NULL);
		pids[i] = fork();
		ASSERT_LE(0, pids[i]);
		if (!pids[i]) {
			close(self->fd);
			while (__atomic_load_n(&self->at[2], __ATOMIC_ACQUIRE) != 0x88)
				if (first_wrong_from(self->at + PAGE, PAGE, LENGTH - PAGE) !=
				    LENGTH - PAGE)
					_exit(1);
			_exit(self->at[3] != 0x99);
		}
		ASSERT_EQ(0, channel_next(&self->c, &cqe));
		/* fork(2) has references to pages for a moment. */
		EXPECT_TRUE(cqe.res == PAGES || cqe.res == -EBUSY) TH_LOG("%d", cqe.res);
	}
	self->at[3] = 0x99;
	EXPECT_LE(0, channel_migrate(&self->c, self->buffer.handle, self->nodes[1], 0));
	__atomic_store_n(&self->at[2], 0x88, __ATOMIC_RELEASE);
	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_EQ(0, status);
	}
}

/* Pieces of mappings, here and there, each show what they did. */
TEST_F(numa_migrate, cut_and_moved)
{
	uint8_t *room = mmap(NULL, 64 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, room);
	ASSERT_EQ(room, mremap(self->at + 600 * PAGE, 3 * PAGE, 3 * PAGE,
			       MREMAP_MAYMOVE | MREMAP_FIXED, room));
	ASSERT_EQ(0, munmap(self->at + 100 * PAGE, PAGE));
	ASSERT_EQ(0, mprotect(self->at + 200 * PAGE, PAGE, PROT_READ));
	EXPECT_EQ(PAGES, channel_migrate(&self->c, self->buffer.handle, self->nodes[1], 0));
	EXPECT_EQ(3 * PAGE, first_wrong_from(room, 600 * PAGE, 3 * PAGE));
	EXPECT_EQ(100 * PAGE, first_wrong(self->at, 100 * PAGE, 1));
	EXPECT_EQ(400 * PAGE, first_wrong_from(self->at + 101 * PAGE, 101 * PAGE, 400 * PAGE));
	EXPECT_EQ(0, munmap(room, 64 * PAGE));
}

static int vmsplice_page(int pipe, uint8_t *at)
{
	struct iovec page = { at, PAGE };

	return vmsplice(pipe, &page, 1, 0);
}

/* A pipe has a reference to a page: its batch stays, and those after it. */
TEST_F(numa_migrate, pinned_by_others)
{
	const uint32_t handle = self->buffer.handle;
	uint8_t bytes[PAGE];
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(PAGE, vmsplice_page(fds[1], self->at + 7 * PAGE));
	EXPECT_EQ(-EBUSY, channel_migrate(&self->c, handle, self->nodes[1], 0));
	EXPECT_EQ(-EBUSY, channel_migrate(&self->c, handle, self->nodes[1], DMAPLANE_MIGRATE_STRICT));
	EXPECT_EQ(0, moves_of(self->fd, handle));
	EXPECT_EQ(self->nodes[0], node_of(self->fd, handle));
	EXPECT_EQ(PAGES, pages_on(_metadata, self->fd, &self->buffer, self->at, self->nodes[0]));
	/* It is the same page still. */
	self->at[7 * PAGE] ^= 0xff;
	ASSERT_EQ(PAGE, read(fds[0], bytes, PAGE));
	EXPECT_EQ(0, memcmp(bytes, self->at + 7 * PAGE, PAGE));
	self->at[7 * PAGE] ^= 0xff;
	/* In the third batch. */
	ASSERT_EQ(PAGE, vmsplice_page(fds[1], self->at + 1100 * PAGE));
	EXPECT_EQ(-EBUSY, channel_migrate(&self->c, handle, self->nodes[1], 0));
	EXPECT_EQ(2, moves_of(self->fd, handle));
	EXPECT_EQ(1024, pages_on(_metadata, self->fd, &self->buffer, self->at, self->nodes[1]));
	EXPECT_EQ(self->nodes[0], node_of(self->fd, handle));
	ASSERT_EQ(PAGE, read(fds[0], bytes, PAGE));
	EXPECT_EQ(PAGES - 1024, channel_migrate(&self->c, handle, self->nodes[1], 0));
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));
	close(fds[0]);
	close(fds[1]);
}

/* It goes on without an error if they have one for a moment only. */
TEST_F(numa_migrate, used_by_system_calls)
{
	int status, fds[2];
	pid_t pid;

	ASSERT_EQ(0, pipe(fds));
	fflush(NULL);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		uint8_t bytes[PAGE];

		for (uint64_t i = 0; i < 20000; i++) {
			uint8_t *page = self->at + i % PAGES * PAGE;

			if (vmsplice_page(fds[1], page) != (int)PAGE ||
			    read(fds[0], bytes, PAGE) != (int)PAGE || memcmp(bytes, page, PAGE))
				_exit(1);
		}
		_exit(0);
	}
	for (int i = 1; i <= ROUNDS; i++) {
		int moved = channel_migrate(&self->c, self->buffer.handle, self->nodes[i % 2], 0);

		/* A child that does not run has it for longer. */
		EXPECT_TRUE(moved == -EBUSY || moved >= 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));
	close(fds[0]);
	close(fds[1]);
}

/* Other contexts have mappings at the same offsets. */
TEST_F(numa_migrate, of_one_context)
{
	int fd = open_device();
	struct channel c, d;
	struct buffer buffer;
	unsigned char resident[PAGES];
	uint8_t *at;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, channel_open(fd, 8, 8, &c));
	ASSERT_EQ(0, channel_open(fd, 8, 8, &d));
	ASSERT_EQ(0, buf_create_at(fd, LENGTH, self->nodes[0], DMAPLANE_BUF_NODE_STRICT,
				   &buffer));
	ASSERT_EQ(self->buffer.offset, buffer.offset);
	at = buf_map(fd, &buffer);
	ASSERT_NE(MAP_FAILED, at);
	fill(at, LENGTH, 9);
	EXPECT_EQ(PAGES, channel_migrate(&self->c, self->buffer.handle, self->nodes[1], 0));
	/* They are as they were: nothing of them was taken out of page tables. */
	ASSERT_EQ(0, mincore(at, LENGTH, resident));
	EXPECT_EQ(PAGES, first_not(resident, PAGES, 1));
	EXPECT_EQ(LENGTH, first_wrong(at, LENGTH, 9));
	EXPECT_EQ(PAGES, pages_on(_metadata, fd, &buffer, at, self->nodes[0]));
	EXPECT_EQ(0, munmap(at, LENGTH));
	munmap(c.ring, c.length);
	munmap(d.ring, d.length);
	close(fd);
}

#define LARGE	(32ULL << 20)

/* More than a worker does before it looks whether it shall go on. */
static int large_buffer(struct __test_metadata *_metadata, int fd, unsigned int node,
			struct buffer *buffer, uint8_t **at)
{
	ASSERT_EQ(0, buf_create_at(fd, LARGE, node, 0, buffer));
	*at = buf_map(fd, buffer);
	ASSERT_NE(MAP_FAILED, *at);
	for (uint64_t i = 0; i < LARGE; i += PAGE)
		*(uint64_t *)(*at + i) = i;
	return 0;
}

static uint64_t first_wrong_page(uint8_t *at)
{
	for (uint64_t i = 0; i < LARGE; i += PAGE)
		if (*(uint64_t *)(at + i) != i)
			return i;
	return LARGE;
}

TEST_F(numa_migrate, cancelled)
{
	struct dmaplane_sqe sqe, ends;
	struct dmaplane_cqe cqe;
	struct buffer buffer;
	int cancelled = 0;
	uint8_t *at;

	large_buffer(_metadata, self->fd, self->nodes[0], &buffer, &at);
	for (int i = 1; i <= 6; i++) {
		sqe = migrate_buffer(buffer.handle, self->nodes[i % 2], 0);
		sqe.user_data = 1;
		ASSERT_EQ(1, channel_submit(&self->c, &sqe));
		if (i > 2)
			sleep_ms(1);
		ends = cancel(2, 0, 1, 0);
		ASSERT_EQ(1, channel_submit(&self->c, &ends));
		for (int j = 0; j < 2; j++) {
			ASSERT_EQ(0, channel_next(&self->c, &cqe));
			if (cqe.user_data == 1)
				cancelled += cqe.res == -ECANCELED;
			else
				EXPECT_TRUE(cqe.res == 1 || cqe.res == -ENOENT);
		}
		EXPECT_EQ(LARGE, first_wrong_page(at));
	}
	EXPECT_LT(0, cancelled);
	EXPECT_LE(0, channel_migrate(&self->c, buffer.handle, self->nodes[0], 0));
	EXPECT_EQ(LARGE / PAGE, pages_on(_metadata, self->fd, &buffer, at, self->nodes[0]));
	EXPECT_EQ(0, munmap(at, LARGE));
}

/* The handle goes, then mappings, and the channel. */
TEST_F(numa_migrate, ended_meanwhile)
{
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;
	struct buffer buffer;
	uint8_t *at;

	large_buffer(_metadata, self->fd, self->nodes[0], &buffer, &at);
	sqe = migrate_buffer(buffer.handle, self->nodes[1], 0);
	ASSERT_EQ(1, channel_submit(&self->c, &sqe));
	EXPECT_EQ(0, buf_destroy(self->fd, buffer.handle));
	EXPECT_EQ(0, munmap(at + LARGE / 2, LARGE / 4));
	EXPECT_EQ(0, munmap(at, LARGE / 2));
	ASSERT_EQ(0, channel_next(&self->c, &cqe));
	/* munmap(2) has references for a moment. */
	EXPECT_TRUE(cqe.res == LARGE / PAGE || cqe.res == -EBUSY) TH_LOG("%d", cqe.res);
	for (uint64_t i = LARGE / 4 * 3; i < LARGE; i += PAGE)
		ASSERT_EQ(i, *(uint64_t *)(at + i));
	EXPECT_EQ(0, munmap(at + LARGE / 4 * 3, LARGE / 4));

	large_buffer(_metadata, self->fd, self->nodes[0], &buffer, &at);
	sqe = migrate_buffer(buffer.handle, self->nodes[1], 0);
	ASSERT_EQ(1, channel_submit(&self->other, &sqe));
	EXPECT_EQ(0, end(self->fd, DMAPLANE_IOC_CHANNEL_CLOSE, self->other.handle));
	ASSERT_TRUE(channel_reap(&self->other, &cqe));
	EXPECT_TRUE(cqe.res == -ECANCELED || cqe.res == LARGE / PAGE);
	EXPECT_EQ(LARGE, first_wrong_page(at));
	EXPECT_EQ(0, munmap(at, LARGE));
}

/* Whoever moved it is killed, in the midst of it or of a fault. */
TEST_F(numa_migrate, killed_meanwhile)
{
	for (int i = 0; i < 8; i++) {
		int status;
		pid_t pid;

		fflush(NULL);
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			int fd = open_device();
			struct buffer buffer;
			struct channel c;
			uint8_t *at;

			if (fd < 0 || channel_open(fd, 64, 64, &c) ||
			    buf_create_at(fd, LENGTH, self->nodes[0], 0, &buffer))
				_exit(1);
			at = buf_map(fd, &buffer);
			for (int j = 1; j <= 60; j++) {
				struct dmaplane_sqe sqe =
					migrate_buffer(buffer.handle, self->nodes[j % 2], 0);

				channel_push(&c, &sqe);
			}
			channel_enter(&c, 60, 0, 0);
			for (;;)
				memset(at, 5, LENGTH);
		}
		sleep_ms(5 + 13 * i);
		EXPECT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
		EXPECT_TRUE(WAIT_FOR(live("contexts") == 1));
	}
}

/* A chain goes on when it is there, and does not when it is not. */
TEST_F(numa_migrate, linked)
{
	struct dmaplane_sqe sqes[3];
	struct dmaplane_cqe cqe;
	int fds[2];

	sqes[0] = fill_buffer(self->buffer.handle, 0, LENGTH, 0x42);
	sqes[1] = migrate_buffer(self->buffer.handle, self->nodes[1], DMAPLANE_MIGRATE_STRICT);
	sqes[2] = fill_buffer(self->buffer.handle, 0, PAGE, 0x43);
	for (int i = 0; i < 3; i++) {
		sqes[i].user_data = i;
		sqes[i].flags = i < 2 ? DMAPLANE_SQE_LINK : 0;
		ASSERT_EQ(0, channel_push(&self->c, &sqes[i]));
	}
	ASSERT_EQ(3, channel_enter(&self->c, 3, 3, PATIENCE));
	for (uint64_t i = 0; i < 3; i++) {
		const int expected[] = { LENGTH, PAGES, PAGE };

		ASSERT_TRUE(channel_reap(&self->c, &cqe));
		EXPECT_EQ(i, cqe.user_data);
		EXPECT_EQ(expected[i], cqe.res);
	}
	EXPECT_EQ(PAGE, first_not(self->at, LENGTH, 0x43));
	EXPECT_EQ(LENGTH - PAGE, first_not(self->at + PAGE, LENGTH - PAGE, 0x42));

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(PAGE, vmsplice_page(fds[1], self->at));
	sqes[1].remote_offset = self->nodes[0];
	for (int i = 1; i < 3; i++)
		ASSERT_EQ(0, channel_push(&self->c, &sqes[i]));
	ASSERT_EQ(2, channel_enter(&self->c, 2, 2, PATIENCE));
	ASSERT_TRUE(channel_reap(&self->c, &cqe));
	EXPECT_EQ(-EBUSY, cqe.res);
	ASSERT_TRUE(channel_reap(&self->c, &cqe));
	EXPECT_EQ(-ECANCELED, cqe.res);
	close(fds[0]);
	close(fds[1]);
}

/* There is less memory on the node than it has pages. */
TEST_F(numa_migrate, node_without_room)
{
	unsigned int node = self->nodes[1];
	uint64_t length = memory_of(node) + (16 << 20), there;
	struct buffer buffer;
	uint8_t *at;
	int moved;

	ASSERT_LT(16 << 20, length);
	ASSERT_EQ(0, buf_create_at(self->fd, length, self->nodes[0], 0, &buffer));
	at = buf_map(self->fd, &buffer);
	ASSERT_NE(MAP_FAILED, at);
	for (uint64_t i = 0; i < length; i += PAGE)
		*(uint64_t *)(at + i) = ~i;
	EXPECT_EQ(-ENOSPC, channel_migrate(&self->c, buffer.handle, node, DMAPLANE_MIGRATE_STRICT));
	EXPECT_EQ(self->nodes[0], node_of(self->fd, buffer.handle));
	there = pages_on(_metadata, self->fd, &buffer, at, node);
	moved = channel_migrate(&self->c, buffer.handle, node, 0);
	EXPECT_LE(0, moved);
	EXPECT_EQ(there + moved, pages_on(_metadata, self->fd, &buffer, at, node));
	EXPECT_GT(length / PAGE, there + moved);
	EXPECT_EQ(node, node_of(self->fd, buffer.handle));
	for (uint64_t i = 0; i < length; i += PAGE)
		ASSERT_EQ(~i, *(uint64_t *)(at + i));
	EXPECT_EQ(0, munmap(at, length));
	EXPECT_EQ(0, buf_destroy(self->fd, buffer.handle));
}

/* ---- Control groups --------------------------------------------------------- */

#define CGROUPS	"/sys/fs/cgroup"
#define GROUP	CGROUPS "/dmaplane-migrate"

static int write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

static long number_of(const char *path)
{
	FILE *file = fopen(path, "re");
	long number = -1;

	if (!file || fscanf(file, "%ld", &number) != 1)
		number = -1;
	if (file)
		fclose(file);
	return number;
}

struct grouped {
	unsigned int nodes[2];
	uint32_t channel_flags;
};

#define CHECK(what) do { if (!(what)) return __LINE__ % 128 + 1; } while (0)

/* In a group of its own, which may have memory of the first node only. */
static int in_cpuset(void *arg)
{
	struct grouped *g = arg;
	struct channel c;
	struct buffer buffer;
	char node[16];
	int fd;

	snprintf(node, sizeof(node), "%u", g->nodes[0]);
	CHECK(!write_to(GROUP "/cpuset.mems", node));
	CHECK(!write_to(GROUP "/cgroup.procs", "0"));
	fd = open_device();
	CHECK(fd >= 0);
	CHECK(!channel_open_flags(fd, 8, 8, g->channel_flags, &c));
	CHECK(!buf_create_at(fd, LENGTH, g->nodes[0], 0, &buffer));
	CHECK(channel_migrate(&c, buffer.handle, g->nodes[1], 0) == -EACCES);
	CHECK(channel_migrate(&c, buffer.handle, g->nodes[0], 0) == 0);
	CHECK(moves_of(fd, buffer.handle) == 0);
	return 0;
}

/* It is charged where it was, whoever allocates. */
static int in_memcg(void *arg)
{
	struct grouped *g = arg;
	struct channel c;
	struct buffer buffer;
	int fd;

	CHECK(!write_to(GROUP "/cgroup.procs", "0"));
	fd = open_device();
	CHECK(fd >= 0);
	CHECK(!channel_open_flags(fd, 8, 8, g->channel_flags, &c));
	CHECK(!buf_create_at(fd, LARGE, g->nodes[0], 0, &buffer));
	CHECK(number_of(GROUP "/memory.current") >= (long)LARGE);
	for (int i = 1; i < 4; i++) {
		CHECK(channel_migrate(&c, buffer.handle, g->nodes[i % 2], 0) == LARGE / PAGE);
		CHECK(number_of(GROUP "/memory.current") >= (long)LARGE);
		CHECK(number_of(GROUP "/memory.current") < (long)LARGE * 3 / 2);
	}
	CHECK(!buf_destroy(fd, buffer.handle));
	CHECK(number_of(GROUP "/memory.current") < (long)LARGE / 2);
	return 0;
}

static int with_group(const char *controller, int (*function)(void *), struct grouped *g)
{
	int status;

	if (write_to(CGROUPS "/cgroup.subtree_control", controller))
		return -1;
	mkdir(GROUP, 0755);
	fflush(NULL);
	status = in_child(function, g);
	/* Its processes are gone, and their files may be a moment later. */
	if (!WAIT_FOR(!rmdir(GROUP) || errno == ENOENT))
		return -1;
	return status;
}

TEST_F(numa_migrate, cpuset)
{
	struct grouped g = { { self->nodes[0], self->nodes[1] } };
	int status;

	for (int polled = 0; polled < 2; polled++) {
		g.channel_flags = polled ? DMAPLANE_CHANNEL_SQPOLL : 0;
		status = with_group("+cpuset", in_cpuset, &g);
		if (status == -1)
			SKIP(return, "no control groups with cpuset");
		EXPECT_EQ(0, status) TH_LOG("line %d or so, %d", WEXITSTATUS(status) - 1, polled);
	}
}

TEST_F(numa_migrate, memory_cgroup)
{
	struct grouped g = { { self->nodes[0], self->nodes[1] } };
	int status = with_group("+memory", in_memcg, &g);

	if (status == -1)
		SKIP(return, "no control groups with memory");
	EXPECT_EQ(0, status) TH_LOG("line %d or so", WEXITSTATUS(status) - 1);
}

TEST_HARNESS_MAIN
