// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings of buffers: two of one buffer, parts, what mmap() refuses, fork,
 * mremap, mprotect, split munmap, and memory that outlives its handle.
 */
#include "dmaplane_test.h"
#include "harness.h"

#define PAGE	4096ULL
#define LENGTH	(8 * PAGE)

FIXTURE(mappings) {
	int fd;
	struct buffer buffer;
	uint8_t *at;
};

FIXTURE_SETUP(mappings)
{
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, buf_create(self->fd, LENGTH, &self->buffer));
	self->at = buf_map(self->fd, &self->buffer);
	ASSERT_NE(MAP_FAILED, self->at);
	fill(self->at, LENGTH, 1);
}

FIXTURE_TEARDOWN(mappings)
{
	close(self->fd);
}

static int mappings_of(int fd, uint32_t handle)
{
	uint64_t nodes[MAX_NODES];
	struct dmaplane_buf_query query;
	int ret = buf_query(fd, handle, &query, nodes);

	return ret ? ret : (int)query.mappings;
}

static int buffers_of(int fd)
{
	struct dmaplane_stats stats;
	int ret = get_stats(fd, &stats);

	return ret ? ret : (int)stats.buffers;
}

/* The errno of a mapping that must fail, 0 if it did not. */
static int map_errno(int fd, uint64_t length, int flags, uint64_t offset)
{
	void *at = mmap64(NULL, length, PROT_READ, flags, fd, offset);

	if (at == MAP_FAILED)
		return errno;
	munmap(at, length);
	return 0;
}

/* What a child that touches this address dies of; 0: it lives. */
struct touch {
	volatile uint8_t *at;
	bool write;
};

static int touch(void *arg)
{
	struct touch *t = arg;
	uint8_t value = *t->at;

	if (t->write)
		*t->at = value;
	return 0;
}

static int dies_of(volatile uint8_t *at, bool write)
{
	struct touch t = { at, write };
	int status;

	fflush(NULL);
	status = in_child(touch, &t);
	return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

TEST_F(mappings, two_of_one_buffer)
{
	uint8_t *second = buf_map(self->fd, &self->buffer);

	ASSERT_NE(MAP_FAILED, second);
	EXPECT_NE(self->at, second);
	EXPECT_EQ(2, mappings_of(self->fd, self->buffer.handle));
	EXPECT_EQ(LENGTH, first_wrong(second, LENGTH, 1));
	second[5 * PAGE + 17] ^= 0xff;
	EXPECT_EQ(5 * PAGE + 17, first_wrong(self->at, LENGTH, 1));
	EXPECT_EQ(0, munmap(second, LENGTH));
	EXPECT_EQ(1, mappings_of(self->fd, self->buffer.handle));
}

TEST_F(mappings, buffers_are_separate)
{
	struct buffer buffer;
	uint8_t *other;

	ASSERT_EQ(0, buf_create(self->fd, LENGTH, &buffer));
	other = buf_map(self->fd, &buffer);
	ASSERT_NE(MAP_FAILED, other);
	memset(other, 0x11, LENGTH);
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));
}

TEST_F(mappings, parts)
{
	for (uint64_t page = 0; page < 8; page++) {
		uint8_t *part = map_at(self->fd, PAGE, self->buffer.offset + page * PAGE);

		ASSERT_NE(MAP_FAILED, part);
		EXPECT_EQ(0, memcmp(part, self->at + page * PAGE, PAGE));
		EXPECT_EQ(0, munmap(part, PAGE));
	}
	/* A length that is no multiple of the page size means whole pages. */
	EXPECT_EQ(0, map_errno(self->fd, LENGTH - 1, MAP_SHARED, self->buffer.offset));
}

TEST_F(mappings, refused)
{
	uint64_t offset = self->buffer.offset;

	EXPECT_EQ(EINVAL, map_errno(self->fd, LENGTH, MAP_PRIVATE, offset));
	EXPECT_EQ(EINVAL, map_errno(self->fd, PAGE, MAP_PRIVATE, offset));
	EXPECT_EQ(ENXIO, map_errno(self->fd, LENGTH + 1, MAP_SHARED, offset));
	EXPECT_EQ(ENXIO, map_errno(self->fd, LENGTH * 1000, MAP_SHARED, offset));
	EXPECT_EQ(ENXIO, map_errno(self->fd, PAGE, MAP_SHARED, offset + LENGTH));
	EXPECT_EQ(ENXIO, map_errno(self->fd, 2 * PAGE, MAP_SHARED, offset + LENGTH - PAGE));
	EXPECT_EQ(ENXIO, map_errno(self->fd, PAGE, MAP_SHARED, offset + (2ULL << 30) - PAGE));
	EXPECT_EQ(ENOENT, map_errno(self->fd, PAGE, MAP_SHARED, 0));
	EXPECT_EQ(ENOENT, map_errno(self->fd, PAGE, MAP_SHARED, offset ^ (1ULL << 40)));
	EXPECT_EQ(0, buf_destroy(self->fd, self->buffer.handle));
	EXPECT_EQ(ENOENT, map_errno(self->fd, PAGE, MAP_SHARED, offset));
	/* The mapping from before is not concerned. */
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));
}

TEST_F(mappings, outlive_the_handle)
{
	struct buffer others[16];

	EXPECT_EQ(0, buf_destroy(self->fd, self->buffer.handle));
	EXPECT_EQ(1, buffers_of(self->fd));
	EXPECT_EQ(-ENOENT, mappings_of(self->fd, self->buffer.handle));
	/* Its pages are not given to others. */
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		void *at;

		ASSERT_EQ(0, buf_create(self->fd, LENGTH, &others[i]));
		at = buf_map(self->fd, &others[i]);
		ASSERT_NE(MAP_FAILED, at);
		memset(at, 0xee, LENGTH);
	}
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));
	EXPECT_EQ(17, buffers_of(self->fd));
	EXPECT_EQ(0, munmap(self->at, LENGTH));
	EXPECT_EQ(16, buffers_of(self->fd));
}

TEST_F(mappings, outlive_the_context)
{
	ASSERT_EQ(0, close(self->fd));
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));
	fill(self->at, LENGTH, 2);
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 2));
	EXPECT_EQ(1, live("buffers"));
	ASSERT_EQ(0, munmap(self->at, LENGTH));
	EXPECT_TRUE(WAIT_FOR(live("buffers") == 0));
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
}

TEST_F(mappings, split_munmap)
{
	ASSERT_EQ(0, munmap(self->at + 3 * PAGE, PAGE));
	EXPECT_EQ(2, mappings_of(self->fd, self->buffer.handle));
	EXPECT_EQ(3 * PAGE, first_wrong(self->at, 3 * PAGE, 1));
	EXPECT_EQ(pattern(1, 4 * PAGE), self->at[4 * PAGE]);
	EXPECT_EQ(SIGSEGV, dies_of(self->at + 3 * PAGE, false));
	ASSERT_EQ(0, munmap(self->at, 3 * PAGE));
	EXPECT_EQ(1, mappings_of(self->fd, self->buffer.handle));
	EXPECT_EQ(0, buf_destroy(self->fd, self->buffer.handle));
	EXPECT_EQ(1, buffers_of(self->fd));
	EXPECT_EQ(pattern(1, 7 * PAGE), self->at[7 * PAGE]);
	ASSERT_EQ(0, munmap(self->at + 4 * PAGE, 4 * PAGE));
	EXPECT_EQ(0, buffers_of(self->fd));
}

TEST_F(mappings, mprotect)
{
	ASSERT_EQ(0, mprotect(self->at + 2 * PAGE, PAGE, PROT_READ));
	EXPECT_EQ(0, dies_of(self->at + 2 * PAGE, false));
	EXPECT_EQ(SIGSEGV, dies_of(self->at + 2 * PAGE, true));
	EXPECT_EQ(0, dies_of(self->at + PAGE, true));
	ASSERT_EQ(0, mprotect(self->at, LENGTH, PROT_NONE));
	EXPECT_EQ(SIGSEGV, dies_of(self->at, false));
	ASSERT_EQ(0, mprotect(self->at, LENGTH, PROT_READ | PROT_WRITE));
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));
	EXPECT_EQ(0, munmap(self->at, LENGTH));
	EXPECT_EQ(0, mappings_of(self->fd, self->buffer.handle));
}

TEST_F(mappings, mremap)
{
	uint8_t *moved, *room, *grown;

	room = mmap(NULL, 4 * LENGTH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, room);
	moved = mremap(self->at, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED, room);
	ASSERT_EQ(room, moved);
	EXPECT_EQ(LENGTH, first_wrong(moved, LENGTH, 1));
	EXPECT_EQ(1, mappings_of(self->fd, self->buffer.handle));
	/* A part of it can move, too. */
	ASSERT_EQ(room + 2 * LENGTH, mremap(moved + 6 * PAGE, PAGE, PAGE,
					    MREMAP_MAYMOVE | MREMAP_FIXED, room + 2 * LENGTH));
	EXPECT_EQ(pattern(1, 6 * PAGE), room[2 * LENGTH]);
	EXPECT_EQ(3, mappings_of(self->fd, self->buffer.handle));
	EXPECT_EQ(0, buf_destroy(self->fd, self->buffer.handle));
	EXPECT_EQ(6 * PAGE, first_wrong(moved, 6 * PAGE, 1));
	/* It cannot grow beyond what was mapped: that shows nothing, at least. */
	grown = mremap(moved, 6 * PAGE, 16 * PAGE, MREMAP_MAYMOVE);
	if (grown != MAP_FAILED) {
		EXPECT_NE(0, dies_of(grown + LENGTH, false));
		munmap(grown, 16 * PAGE);
	}
	EXPECT_EQ(0, munmap(room, 4 * LENGTH));
	EXPECT_TRUE(WAIT_FOR(buffers_of(self->fd) == 0));
}

static int child_with_mapping(void *arg)
{
	uint8_t *at = arg;

	if (first_wrong(at, LENGTH, 1) != LENGTH)
		return 1;
	at[0] = 0x77;
	/* Until the parent has given up everything. */
	while (__atomic_load_n(&at[1], __ATOMIC_ACQUIRE) != 0x88)
		sleep_ms(1);
	return 0;
}

TEST_F(mappings, fork)
{
	int status = -1;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(self->fd); /* only the mapping is inherited */
		_exit(child_with_mapping(self->at));
	}
	EXPECT_TRUE(WAIT_FOR(__atomic_load_n(&self->at[0], __ATOMIC_ACQUIRE) == 0x77));
	EXPECT_EQ(2, mappings_of(self->fd, self->buffer.handle));
	EXPECT_EQ(0, buf_destroy(self->fd, self->buffer.handle));
	__atomic_store_n(&self->at[1], 0x88, __ATOMIC_RELEASE);
	EXPECT_EQ(0, munmap(self->at, LENGTH));
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(WAIT_FOR(buffers_of(self->fd) == 0));
}

TEST_F(mappings, fork_and_kill)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		for (;;)
			pause();
	EXPECT_EQ(2, mappings_of(self->fd, self->buffer.handle));
	EXPECT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(1, mappings_of(self->fd, self->buffer.handle));
}

/* The kernel can read and write the memory for the program: a pipe through it. */
TEST_F(mappings, system_calls_use_the_memory)
{
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(PAGE, write(fds[1], self->at + PAGE, PAGE));
	ASSERT_EQ(PAGE, read(fds[0], self->at + 4 * PAGE, PAGE));
	EXPECT_EQ(0, memcmp(self->at + PAGE, self->at + 4 * PAGE, PAGE));
}

TEST_HARNESS_MAIN
