// SPDX-License-Identifier: GPL-2.0
/*
 * BUF_PIN: memory that a program has already is used like a buffer's, stays what it was
 * whatever the program does to the addresses, and is not written to if it must not be.
 */
#include "pair.h"

#include <sys/mman.h>

#include <glob.h>
#include <inttypes.h>

#include "harness.h"

#define PAGE	4096ULL
#define LENGTH	(9 * PAGE)
#define HUGE	((uint64_t)DMAPLANE_HUGE_SIZE)

FIXTURE(pin) {
	int fd;
	struct channel c;
	struct buffer other;	/* the module's own */
	uint8_t *other_at, *at;
	int64_t pinned;
};

/* Pages pinned by anyone, which kernels count that have CONFIG_VMSTAT. */
static int64_t pins(void)
{
	int64_t acquired = 0, released = 0;
	int refresh = open("/proc/sys/vm/stat_refresh", O_WRONLY | O_CLOEXEC);
	char line[128];
	FILE *file;

	/* Processors keep a part for themselves. */
	if (refresh >= 0) {
		if (write(refresh, "1", 1) < 0)
			perror("stat_refresh");
		close(refresh);
	}
	file = fopen("/proc/vmstat", "re");

	while (file && fgets(line, sizeof(line), file)) {
		sscanf(line, "nr_foll_pin_acquired %" SCNd64, &acquired);
		sscanf(line, "nr_foll_pin_released %" SCNd64, &released);
	}
	if (file)
		fclose(file);
	return acquired - released;
}

static void *anonymous(uint64_t length)
{
	return mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

FIXTURE_SETUP(pin)
{
	self->pinned = pins();
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, channel_open(self->fd, 8, 8, &self->c));
	ASSERT_EQ(0, buf_create(self->fd, LENGTH, &self->other));
	self->other_at = buf_map(self->fd, &self->other);
	ASSERT_NE(MAP_FAILED, self->other_at);
	self->at = anonymous(LENGTH);
	ASSERT_NE(MAP_FAILED, self->at);
	fill(self->at, LENGTH, 1);
}

FIXTURE_TEARDOWN(pin)
{
	munmap(self->other_at, LENGTH);
	EXPECT_EQ(0, channel_close(&self->c));
	close(self->fd);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("buffers"));
	EXPECT_TRUE(WAIT_FOR(pins() == self->pinned));
}

static int pin(int fd, const void *at, uint64_t length, uint32_t flags, uint32_t *handle)
{
	struct dmaplane_buf_pin arg = ARG(buf_pin, .flags = flags, .addr = (uintptr_t)at,
					  .length = length);
	int ret = cmd(fd, DMAPLANE_IOC_BUF_PIN, &arg);

	*handle = arg.handle;
	return ret;
}

/* The result of an entry. */
static int result(struct channel *c, struct dmaplane_sqe sqe)
{
	struct dmaplane_cqe cqe;

	return channel_do(c, &sqe, &cqe) ? -ETIME : cqe.res;
}

TEST_F(pin, like_any_buffer)
{
	uint64_t nodes[MAX_NODES] = { 0 }, sum = 0;
	struct dmaplane_buf_query query;
	struct dmaplane_info info;
	uint32_t handle;

	ASSERT_EQ(0, get_info(self->fd, &info));
	EXPECT_TRUE(info.features & DMAPLANE_FEATURE_PIN);
	ASSERT_EQ(0, pin(self->fd, self->at, LENGTH, 0, &handle));
	EXPECT_EQ(self->pinned + (int64_t)(LENGTH / PAGE), pins());
	ASSERT_EQ(0, buf_query(self->fd, handle, &query, nodes));
	EXPECT_EQ(LENGTH, query.length);
	EXPECT_EQ(LENGTH / PAGE, query.pages);
	EXPECT_EQ(DMAPLANE_NODE_ANY, query.node);
	EXPECT_EQ(DMAPLANE_BUF_PINNED, query.create_flags);
	for (uint32_t node = 0; node < query.nr_nodes; node++)
		sum += nodes[node];
	EXPECT_EQ(query.pages, sum);

	EXPECT_EQ(LENGTH, result(&self->c, copy_buffer(handle, 0, self->other.handle, 0, LENGTH)));
	EXPECT_EQ(LENGTH, first_wrong(self->other_at, LENGTH, 1));
	fill(self->other_at, LENGTH, 2);
	EXPECT_EQ(LENGTH, result(&self->c, copy_buffer(self->other.handle, 0, handle, 0, LENGTH)));
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 2));
	EXPECT_EQ(3, result(&self->c, fill_buffer(handle, PAGE - 1, 3, 0x77)));
	EXPECT_EQ(3, first_not(self->at + PAGE - 1, 3, 0x77));
	EXPECT_EQ(0, buf_destroy(self->fd, handle));
	EXPECT_EQ(self->pinned, pins());
}

/* It is the pages, not the addresses. */
TEST_F(pin, keeps_the_pages)
{
	uint32_t handle;
	int status;
	pid_t pid;

	ASSERT_EQ(0, pin(self->fd, self->at, LENGTH, 0, &handle));
	/* A child's are copies, so that ours are still these. */
	fflush(NULL);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		fill(self->at, LENGTH, 3);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));
	fill(self->at, LENGTH, 4);
	EXPECT_EQ(LENGTH, result(&self->c, copy_buffer(handle, 0, self->other.handle, 0, LENGTH)));
	EXPECT_EQ(LENGTH, first_wrong(self->other_at, LENGTH, 4));

	ASSERT_EQ(0, madvise(self->at, LENGTH, MADV_DONTNEED));
	EXPECT_EQ(LENGTH, first_not(self->at, LENGTH, 0));
	ASSERT_EQ(0, munmap(self->at, LENGTH));
	memset(self->other_at, 0, LENGTH);
	EXPECT_EQ(LENGTH, result(&self->c, copy_buffer(handle, 0, self->other.handle, 0, LENGTH)));
	EXPECT_EQ(LENGTH, first_wrong(self->other_at, LENGTH, 4));
}

/* A program that may only read it does not write to it through us. */
TEST_F(pin, read_only)
{
	/* Of private memory it gets the copy that it would get by writing. */
	int self_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	uint8_t *text = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, self_fd, 0), before[PAGE];
	struct dmaplane_buf_query query;
	uint64_t nodes[MAX_NODES];
	uint32_t handle;

	ASSERT_NE(MAP_FAILED, text);
	memcpy(before, text, PAGE);
	EXPECT_EQ(-EFAULT, pin(self->fd, text, PAGE, 0, &handle));
	ASSERT_EQ(0, pin(self->fd, text, PAGE, DMAPLANE_PIN_RDONLY, &handle));
	ASSERT_EQ(0, buf_query(self->fd, handle, &query, nodes));
	EXPECT_EQ(DMAPLANE_BUF_PINNED | DMAPLANE_BUF_RDONLY, query.create_flags);
	EXPECT_EQ(PAGE, result(&self->c, copy_buffer(handle, 0, self->other.handle, 0, PAGE)));
	EXPECT_EQ(0, memcmp(self->other_at, before, PAGE));
	EXPECT_EQ(-EACCES, result(&self->c, copy_buffer(self->other.handle, 0, handle, 0, PAGE)));
	EXPECT_EQ(-EACCES, result(&self->c, fill_buffer(handle, 0, 1, 1)));
	EXPECT_EQ(0, memcmp(text, before, PAGE));
	/* Of one's own as well. */
	ASSERT_EQ(0, pin(self->fd, self->at, LENGTH, DMAPLANE_PIN_RDONLY, &handle));
	EXPECT_EQ(-EACCES, result(&self->c, fill_buffer(handle, 0, LENGTH, 1)));
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));
	munmap(text, PAGE);
	close(self_fd);
}

/* Of a file that others write to, its very pages, and of a dma-buf that may only be read. */
TEST_F(pin, read_only_and_shared)
{
	int file = memfd_create("pinned", MFD_CLOEXEC), dmabuf;
	uint8_t *shown, page[PAGE];
	uint32_t handle;
	char path[64];
	int readable;

	ASSERT_LE(0, file);
	fill(page, PAGE, 1);
	ASSERT_EQ(PAGE, pwrite(file, page, PAGE, 0));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	readable = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, readable);
	shown = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, readable, 0);
	ASSERT_NE(MAP_FAILED, shown);
	EXPECT_EQ(-EFAULT, pin(self->fd, shown, PAGE, 0, &handle));
	ASSERT_EQ(0, pin(self->fd, shown, PAGE, DMAPLANE_PIN_RDONLY, &handle));
	EXPECT_EQ(-EACCES, result(&self->c, copy_buffer(self->other.handle, 0, handle, 0, PAGE)));
	EXPECT_EQ(-EACCES, result(&self->c, fill_buffer(handle, 0, PAGE, 9)));
	ASSERT_EQ(PAGE, pread(file, page, PAGE, 0));
	EXPECT_EQ(PAGE, first_wrong(page, PAGE, 1));
	/* It is what the file has. */
	fill(page, PAGE, 2);
	ASSERT_EQ(PAGE, pwrite(file, page, PAGE, 0));
	EXPECT_EQ(PAGE, result(&self->c, copy_buffer(handle, 0, self->other.handle, 0, PAGE)));
	EXPECT_EQ(PAGE, first_wrong(self->other_at, PAGE, 2));
	EXPECT_EQ(0, buf_destroy(self->fd, handle));
	munmap(shown, PAGE);
	close(readable);
	close(file);

	dmabuf = buf_export(self->fd, self->other.handle, 0, 0, DMAPLANE_EXPORT_RDONLY);
	ASSERT_LE(0, dmabuf);
	shown = mmap(NULL, LENGTH, PROT_READ, MAP_SHARED, dmabuf, 0);
	ASSERT_NE(MAP_FAILED, shown);
	EXPECT_EQ(-EFAULT, pin(self->fd, shown, LENGTH, 0, &handle));
	ASSERT_EQ(0, pin(self->fd, shown, LENGTH, DMAPLANE_PIN_RDONLY, &handle));
	EXPECT_EQ(-EACCES, result(&self->c, fill_buffer(handle, 0, PAGE, 9)));
	EXPECT_EQ(PAGE, first_wrong(self->other_at, PAGE, 2));
	EXPECT_EQ(0, buf_destroy(self->fd, handle));
	munmap(shown, LENGTH);
	close(dmabuf);
}

/* As many as several calls of the kernel's pin, and holes in each. */
TEST_F(pin, many_pages)
{
	const unsigned int counts[] = { 63, 64, 65, 128, 199 }, holes[] = { 200, 128, 66 };
	const uint64_t room = 256 * PAGE;
	uint8_t *at = anonymous(room), *copy_at;
	struct buffer copy;
	uint32_t handle;

	ASSERT_NE(MAP_FAILED, at);
	/* Of a kernel that has them. */
	madvise(at, room, MADV_NOHUGEPAGE);
	ASSERT_EQ(0, buf_create(self->fd, room, &copy));
	copy_at = buf_map(self->fd, &copy);
	ASSERT_NE(MAP_FAILED, copy_at);
	for (unsigned int i = 0; i < ARRAY_LEN(counts); i++) {
		uint64_t length = counts[i] * PAGE;

		fill(at, length, i);
		memset(copy_at, 0, room);
		ASSERT_EQ(0, pin(self->fd, at, length, 0, &handle));
		EXPECT_EQ(length, result(&self->c, copy_buffer(handle, 0, copy.handle, 0, length)));
		EXPECT_EQ(length, first_wrong(copy_at, length, i));
		EXPECT_EQ(0, buf_destroy(self->fd, handle));
		EXPECT_EQ(self->pinned, pins());
	}
	for (unsigned int i = 0; i < ARRAY_LEN(holes); i++) {
		ASSERT_EQ(0, munmap(at + holes[i] * PAGE, PAGE));
		EXPECT_EQ(-EFAULT, pin(self->fd, at, room, 0, &handle));
		EXPECT_EQ(self->pinned, pins());
	}
	munmap(at, room);
	munmap(copy_at, room);
}

/* A page of a huge one keeps all of it, and all of it is charged. */
TEST_F(pin, part_of_a_huge_page)
{
	uint8_t *room = anonymous(4 * HUGE), *at;
	int64_t before = live("memory_bytes");
	uint32_t handle, whole;

	ASSERT_NE(MAP_FAILED, room);
	at = room - (uintptr_t)room % HUGE + HUGE;
	madvise(at, 2 * HUGE, MADV_HUGEPAGE);
	fill(at, 2 * HUGE, 1);
	if (anonymous_huge(at) < (int64_t)(2 * HUGE))
		SKIP(return, "the kernel gave no huge pages");
	ASSERT_EQ(0, pin(self->fd, at + 5 * PAGE, PAGE, 0, &handle));
	EXPECT_EQ(before + (int64_t)HUGE, live("memory_bytes"));
	ASSERT_EQ(0, pin(self->fd, at, 2 * HUGE, 0, &whole));
	EXPECT_EQ(before + (int64_t)(3 * HUGE), live("memory_bytes"));
	EXPECT_EQ(PAGE, result(&self->c, copy_buffer(handle, 0, self->other.handle, 0, PAGE)));
	for (uint64_t i = 0; i < PAGE; i++)
		ASSERT_EQ(pattern(1, 5 * PAGE + i), self->other_at[i]);
	EXPECT_EQ(PAGE, result(&self->c, copy_buffer(whole, 2 * HUGE - PAGE, self->other.handle, 0,
						     PAGE)));
	for (uint64_t i = 0; i < PAGE; i++)
		ASSERT_EQ(pattern(1, 2 * HUGE - PAGE + i), self->other_at[i]);
	EXPECT_EQ(0, buf_destroy(self->fd, whole));
	EXPECT_EQ(0, buf_destroy(self->fd, handle));
	EXPECT_EQ(before, live("memory_bytes"));
	munmap(room, 4 * HUGE);
}

/* Registers of a device are no memory. */
TEST_F(pin, of_a_device)
{
	uint8_t *at = MAP_FAILED;
	uint32_t handle;
	glob_t found;

	ASSERT_EQ(0, glob("/sys/bus/pci/devices/*/resource[0-9]", 0, NULL, &found));
	for (size_t i = 0; i < found.gl_pathc && at == MAP_FAILED; i++) {
		int file = open(found.gl_pathv[i], O_RDWR | O_CLOEXEC);

		at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
		close(file);
	}
	globfree(&found);
	ASSERT_NE(MAP_FAILED, at);
	EXPECT_EQ(-EFAULT, pin(self->fd, at, PAGE, 0, &handle));
	EXPECT_EQ(-EFAULT, pin(self->fd, at, PAGE, DMAPLANE_PIN_RDONLY, &handle));
	munmap(at, PAGE);
}

/* It is not the module's to show, give away or move. */
TEST_F(pin, not_for_others)
{
	uint64_t offset = self->other.offset / self->other.handle;
	uint32_t handle;

	ASSERT_EQ(0, pin(self->fd, self->at, LENGTH, 0, &handle));
	EXPECT_EQ(MAP_FAILED, map_at(self->fd, PAGE, handle * offset));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(-EOPNOTSUPP, buf_export(self->fd, handle, 0, 0, 0));
	EXPECT_EQ(-EBUSY, channel_migrate(&self->c, handle, 0, 0));
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));
}

TEST_F(pin, wrong_memory)
{
	uint8_t *room = anonymous(4 * PAGE);
	struct dmaplane_buf_pin arg;
	int64_t buffers = live("buffers");
	uint32_t handle;

	ASSERT_NE(MAP_FAILED, room);
	EXPECT_EQ(-EINVAL, pin(self->fd, self->at, 0, 0, &handle));
	EXPECT_EQ(-EINVAL, pin(self->fd, self->at + 1, PAGE, 0, &handle));
	EXPECT_EQ(-EINVAL, pin(self->fd, self->at, PAGE + 1, 0, &handle));
	EXPECT_EQ(-EINVAL, pin(self->fd, self->at, PAGE, 2, &handle));
	arg = ARG(buf_pin, .addr = (uintptr_t)self->at, .length = PAGE, .pad = 1);
	EXPECT_EQ(-EINVAL, cmd(self->fd, DMAPLANE_IOC_BUF_PIN, &arg));
	EXPECT_EQ(-EFBIG, pin(self->fd, self->at, 1ULL << 60, 0, &handle));
	EXPECT_EQ(-EOVERFLOW, pin(self->fd, (void *)-PAGE, 2 * PAGE, 0, &handle));
	EXPECT_EQ(-EFAULT, pin(self->fd, (void *)(UINT64_MAX - 63 * PAGE + 1), PAGE, 0, &handle));
	EXPECT_EQ(-EFAULT, pin(self->fd, NULL, PAGE, 0, &handle));
	/* A hole in it, at its end, and what cannot be touched. */
	ASSERT_EQ(0, munmap(room + 2 * PAGE, PAGE));
	EXPECT_EQ(-EFAULT, pin(self->fd, room, 4 * PAGE, 0, &handle));
	EXPECT_EQ(-EFAULT, pin(self->fd, room, 3 * PAGE, DMAPLANE_PIN_RDONLY, &handle));
	ASSERT_EQ(0, mprotect(room + PAGE, PAGE, PROT_NONE));
	EXPECT_EQ(-EFAULT, pin(self->fd, room, 2 * PAGE, DMAPLANE_PIN_RDONLY, &handle));
	EXPECT_EQ(self->pinned, pins());
	EXPECT_EQ(buffers, live("buffers"));
	munmap(room, 4 * PAGE);
}

/* A buffer's own mapping can be pinned; then that one stays where it is, too. */
TEST_F(pin, of_a_buffer)
{
	uint32_t handle;

	ASSERT_EQ(0, pin(self->fd, self->other_at, LENGTH, 0, &handle));
	EXPECT_EQ(LENGTH, result(&self->c, fill_buffer(handle, 0, LENGTH, 5)));
	EXPECT_EQ(LENGTH, first_not(self->other_at, LENGTH, 5));
	EXPECT_EQ(0, buf_destroy(self->fd, self->other.handle));
	EXPECT_EQ(0, munmap(self->other_at, LENGTH));
	EXPECT_EQ(LENGTH, result(&self->c, fill_buffer(handle, 0, LENGTH, 6)));
	EXPECT_EQ(0, buf_destroy(self->fd, handle));
}

/* Beyond RLIMIT_MEMLOCK, for who may not ignore it. */
static int over_the_limit(void *arg)
{
	const struct rlimit limit = { 4 * PAGE, 4 * PAGE };
	uint8_t *at = anonymous(8 * PAGE);
	uint32_t handle, other;
	int fd;

	(void)arg;
	fd = open_device();
	if (fd < 0)
		return 1;
	if (setrlimit(RLIMIT_MEMLOCK, &limit) || setuid(12345))
		return 2;
	if (pin(fd, at, 5 * PAGE, 0, &handle) != -EDQUOT)
		return 3;
	if (pin(fd, at, 4 * PAGE, 0, &handle) || pin(fd, at + 4 * PAGE, PAGE, 0, &other) != -EDQUOT)
		return 4;
	/* What was charged is given back to him, whoever he is now. */
	if (buf_destroy(fd, handle) || pin(fd, at + 4 * PAGE, 4 * PAGE, 0, &other))
		return 5;
	return 0;
}

TEST_F(pin, charged)
{
	fflush(NULL);
	EXPECT_EQ(0, in_child(over_the_limit, NULL));
}

FIXTURE(pinned_pair) {
	struct pair p;
};

FIXTURE_SETUP(pinned_pair)
{
	ASSERT_EQ(0, pair_open(&self->p));
}

FIXTURE_TEARDOWN(pinned_pair)
{
	pair_close(&self->p);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("regions"));
	EXPECT_EQ(0, live("buffers"));
}

/* Peers write from it and read into it, or not into it. */
TEST_F(pinned_pair, transfers)
{
	struct side *a = &self->p.a, *b = &self->p.b;
	uint32_t handle, locked, near, lease;
	struct memory far;
	uint8_t *at = anonymous(LENGTH);

	ASSERT_NE(MAP_FAILED, at);
	fill(at, LENGTH, 1);
	ASSERT_EQ(0, pin(a->fd, at, LENGTH, 0, &handle));
	ASSERT_EQ(0, region_register(a->fd, a->endpoint, handle, 0, LENGTH, LOCAL_WRITE, &near));
	ASSERT_EQ(0, target_for(b, a, LENGTH, REMOTE_WRITE | REMOTE_READ, &far, &lease));
	EXPECT_EQ(LENGTH, result(&a->ch, remote_sqe(a, DMAPLANE_OP_WRITE, near, lease, 0, 0, LENGTH,
						    1)));
	ASSERT_EQ(0, fence(a, b));
	EXPECT_EQ(LENGTH, first_wrong(far.at, LENGTH, 1));
	fill(far.at, LENGTH, 2);
	EXPECT_EQ(LENGTH, result(&a->ch, remote_sqe(a, DMAPLANE_OP_READ, near, lease, 0, 0, LENGTH,
						    2)));
	EXPECT_EQ(LENGTH, first_wrong(at, LENGTH, 2));

	ASSERT_EQ(0, pin(a->fd, at, LENGTH, DMAPLANE_PIN_RDONLY, &locked));
	EXPECT_EQ(-EACCES, region_register(a->fd, a->endpoint, locked, 0, LENGTH, LOCAL_WRITE, &near));
	EXPECT_EQ(-EACCES, region_register(a->fd, a->endpoint, locked, 0, LENGTH, REMOTE_WRITE,
					   &near));
	ASSERT_EQ(0, region_register(a->fd, a->endpoint, locked, 0, LENGTH, REMOTE_READ, &near));
	fill(at, LENGTH, 3);
	EXPECT_EQ(LENGTH, result(&a->ch, remote_sqe(a, DMAPLANE_OP_WRITE, near, lease, 0, 0, LENGTH,
						    3)));
	ASSERT_EQ(0, fence(a, b));
	EXPECT_EQ(LENGTH, first_wrong(far.at, LENGTH, 3));
	EXPECT_EQ(-EACCES, result(&a->ch, ({
		struct dmaplane_sqe sqe;

		dmaplane_prep_recv(&sqe, a->endpoint, locked, 0, 64);
		sqe;
	})));
	munmap(far.at, LENGTH);
	munmap(at, LENGTH);
}

/* Handle and mapping go while it is written from: the peer gets what was there. */
TEST_F(pinned_pair, destroyed_under_a_region)
{
	struct side *a = &self->p.a, *b = &self->p.b;
	const uint64_t length = 1 << 20;
	uint32_t handle, near, lease;
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;
	struct memory far;
	uint8_t *at = anonymous(length);

	ASSERT_NE(MAP_FAILED, at);
	fill(at, length, 1);
	ASSERT_EQ(0, pin(a->fd, at, length, 0, &handle));
	ASSERT_EQ(0, region_register(a->fd, a->endpoint, handle, 0, length, 0, &near));
	ASSERT_EQ(0, target_for(b, a, length, REMOTE_WRITE, &far, &lease));
	sqe = remote_sqe(a, DMAPLANE_OP_WRITE, near, lease, 0, 0, length, 1);
	ASSERT_EQ(1, channel_submit(&a->ch, &sqe));
	EXPECT_EQ(0, munmap(at, length));
	EXPECT_EQ(0, buf_destroy(a->fd, handle));
	ASSERT_EQ(0, channel_next(&a->ch, &cqe));
	EXPECT_EQ(length, cqe.res);
	ASSERT_EQ(0, fence(a, b));
	EXPECT_EQ(length, first_wrong(far.at, length, 1));
	/* And again, from memory that only the region has. */
	memset(far.at, 0, length);
	EXPECT_EQ(length, result(&a->ch, sqe));
	ASSERT_EQ(0, fence(a, b));
	EXPECT_EQ(length, first_wrong(far.at, length, 1));
	EXPECT_EQ(0, region_deregister(a->fd, near));
	munmap(far.at, length);
}

TEST_HARNESS_MAIN
