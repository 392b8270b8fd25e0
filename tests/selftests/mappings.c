// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings of buffers: two of one buffer, parts, what mmap() refuses, fork,
 * mremap, mprotect, madvise, split munmap, read-only files, and memory that outlives its handle.
 */
#include "touch.h"

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
	/* It cannot grow, nor leave another mapping behind. */
	grown = mremap(moved, 6 * PAGE, 16 * PAGE, MREMAP_MAYMOVE);
	EXPECT_EQ(MAP_FAILED, grown);
	EXPECT_EQ(EFAULT, errno);
	grown = mremap(moved, 6 * PAGE, 6 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
	EXPECT_EQ(MAP_FAILED, grown);
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, munmap(room, 4 * LENGTH));
	EXPECT_TRUE(WAIT_FOR(buffers_of(self->fd) == 0));
}

/* Advice takes no byte away. */
TEST_F(mappings, madvise)
{
	const int advice[] = {
		MADV_DONTNEED, MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED, MADV_NOHUGEPAGE,
		MADV_HUGEPAGE, MADV_MERGEABLE,
	};
	int status;
	pid_t pid;

	for (size_t i = 0; i < ARRAY_LEN(advice); i++) {
		madvise(self->at + PAGE, 5 * PAGE, advice[i]);
		EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1)) TH_LOG("after %d", advice[i]);
	}
	EXPECT_EQ(0, madvise(self->at, LENGTH, MADV_DONTNEED));
	EXPECT_EQ(-1, madvise(self->at, LENGTH, MADV_FREE));
	EXPECT_EQ(-1, madvise(self->at, LENGTH, MADV_REMOVE));
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));
	/* A child has it unless that is refused. */
	ASSERT_EQ(0, madvise(self->at, LENGTH, MADV_DONTFORK));
	fflush(NULL);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(*(volatile uint8_t *)self->at);
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));
}

/* A mapping to read may become one to write, but not of a file that is only read. */
TEST_F(mappings, read_only)
{
	int fd = open(DEVICE, O_RDONLY | O_CLOEXEC);
	struct buffer buffer;
	uint8_t *at;

	ASSERT_LE(0, fd);
	at = mmap64(NULL, LENGTH, PROT_READ, MAP_SHARED, self->fd, self->buffer.offset);
	ASSERT_NE(MAP_FAILED, at);
	EXPECT_EQ(LENGTH, first_wrong(at, LENGTH, 1));
	EXPECT_EQ(SIGSEGV, dies_of(at + PAGE, true));
	self->at[PAGE] ^= 0xff;
	EXPECT_EQ(PAGE, first_wrong(at, LENGTH, 1));
	ASSERT_EQ(0, mprotect(at, LENGTH, PROT_READ | PROT_WRITE));
	at[PAGE] ^= 0xff;
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));
	EXPECT_EQ(0, munmap(at, LENGTH));

	/* Whole blocks and pages. */
	for (uint64_t length = LENGTH; length <= 2 * DMAPLANE_HUGE_SIZE;
	     length += 2 * DMAPLANE_HUGE_SIZE - LENGTH) {
		ASSERT_EQ(0, buf_create(fd, length, &buffer));
		EXPECT_EQ(MAP_FAILED, buf_map(fd, &buffer));
		EXPECT_EQ(EACCES, errno);
		at = mmap64(NULL, length, PROT_READ, MAP_SHARED, fd, buffer.offset);
		ASSERT_NE(MAP_FAILED, at);
		EXPECT_EQ(length, first_not(at, length, 0));
		EXPECT_EQ(SIGSEGV, dies_of(at, true));
		EXPECT_EQ(-1, mprotect(at, length, PROT_READ | PROT_WRITE));
		EXPECT_EQ(EACCES, errno);
		EXPECT_EQ(length, first_not(at, length, 0));
		EXPECT_EQ(0, munmap(at, length));
	}
	EXPECT_EQ(0, close(fd));
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

/* Each byte of a large one, however its memory is taken, by two mappings and after it was forgotten. */
TEST_F(mappings, large)
{
	const uint32_t kinds[] = { DMAPLANE_BUF_NO_HUGE, 0, DMAPLANE_BUF_HUGE };

	for (unsigned int i = 0; i < ARRAY_LEN(kinds); i++) {
		const uint64_t length = 16ULL << 20;
		struct buffer buffer;
		uint8_t *at, *other;

		ASSERT_EQ(0, buf_create_at(self->fd, length, DMAPLANE_NODE_ANY, kinds[i], &buffer));
		at = buf_map(self->fd, &buffer);
		other = buf_map(self->fd, &buffer);
		ASSERT_NE(MAP_FAILED, at);
		ASSERT_NE(MAP_FAILED, other);
		fill(at, length, i);
		EXPECT_EQ(length, first_wrong(other, length, i));
		ASSERT_EQ(0, madvise(at, length, MADV_DONTNEED));
		EXPECT_EQ(length, first_wrong(at, length, i));
		munmap(at, length);
		munmap(other, length);
		EXPECT_EQ(0, buf_destroy(self->fd, buffer.handle));
	}
}

TEST_HARNESS_MAIN
