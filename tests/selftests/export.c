// SPDX-License-Identifier: GPL-2.0
/*
 * BUF_EXPORT and what can be done with a dma-buf without another driver: mappings,
 * parts, read-only ones, DMA_BUF_IOCTL_SYNC and fences, other processes, what it
 * outlives, and that a mapped one stays where it is. importers.c has another driver.
 */
#include "ring.h"
#include "harness.h"

#include <sys/socket.h>

#define PAGE	4096ULL
#define PAGES	1025ULL		/* more than what is mapped in one go */
#define LENGTH	(PAGES * PAGE)
#define RDONLY	DMAPLANE_EXPORT_RDONLY

FIXTURE(export) {
	int fd;
	struct channel c;
	struct buffer buffer;
	uint8_t *at;
};

FIXTURE_SETUP(export)
{
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, channel_open(self->fd, 8, 8, &self->c));
	ASSERT_EQ(0, buf_create_at(self->fd, LENGTH, 0, DMAPLANE_BUF_NODE_STRICT,
				   &self->buffer));
	self->at = buf_map(self->fd, &self->buffer);
	ASSERT_NE(MAP_FAILED, self->at);
	fill(self->at, LENGTH, 1);
}

/* Closes the context, of which dma-bufs need nothing. */
static void close_all(FIXTURE_DATA(export) *self)
{
	if (self->fd < 0)
		return;
	munmap(self->at, LENGTH);
	munmap(self->c.ring, self->c.length);
	close(self->fd);
	self->fd = -1;
}

FIXTURE_TEARDOWN(export)
{
	close_all(self);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_TRUE(WAIT_FOR(live("buffers") == 0));
	EXPECT_EQ(0, live("buffer_bytes"));
}

static int export(FIXTURE_DATA(export) *self, uint64_t offset, uint64_t length, uint32_t flags)
{
	return buf_export(self->fd, self->buffer.handle, offset, length, flags);
}

static uint8_t *map(int dmabuf, uint64_t offset, uint64_t length, int prot)
{
	return mmap64(NULL, length, prot, MAP_SHARED, dmabuf, offset);
}

/* The errno of a mapping that must fail, 0 if it did not. */
static int map_errno(int dmabuf, uint64_t offset, uint64_t length, int prot, int flags)
{
	void *at = mmap64(NULL, length, prot, flags, dmabuf, offset);

	if (at == MAP_FAILED)
		return errno;
	munmap(at, length);
	return 0;
}

/* Bytes of the fixture's buffer from @offset on: the first that is wrong, or @length. */
static uint64_t first_other(const uint8_t *at, uint64_t offset, uint64_t length)
{
	uint64_t i = 0;

	while (i < length && at[i] == pattern(1, offset + i))
		i++;
	return i;
}

static int mappings(FIXTURE_DATA(export) *self)
{
	uint64_t nodes[MAX_NODES];
	struct dmaplane_buf_query query;
	int ret = buf_query(self->fd, self->buffer.handle, &query, nodes);

	return ret ?: (int)query.mappings;
}

/* Moves the buffer to where it is; its result. */
static int migrate(FIXTURE_DATA(export) *self)
{
	return channel_migrate(&self->c, self->buffer.handle, 0, 0);
}

TEST_F(export, same_memory)
{
	int dmabuf = export(self, 0, 0, 0);
	struct dmaplane_info info;
	uint8_t *at;

	ASSERT_EQ(0, get_info(self->fd, &info));
	EXPECT_TRUE(info.features & DMAPLANE_FEATURE_EXPORT);
	ASSERT_LE(0, dmabuf);
	EXPECT_EQ(FD_CLOEXEC, fcntl(dmabuf, F_GETFD));
	EXPECT_EQ(O_RDWR, fcntl(dmabuf, F_GETFL) & O_ACCMODE);
	EXPECT_EQ(LENGTH, lseek(dmabuf, 0, SEEK_END));
	EXPECT_EQ(0, lseek(dmabuf, 0, SEEK_SET));
	at = map(dmabuf, 0, LENGTH, PROT_READ | PROT_WRITE);
	ASSERT_NE(MAP_FAILED, at);
	EXPECT_EQ(LENGTH, first_wrong(at, LENGTH, 1));
	fill(at, LENGTH, 2);
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 2));
	fill(self->at, LENGTH, 3);
	EXPECT_EQ(LENGTH, first_wrong(at, LENGTH, 3));
	EXPECT_EQ(0, munmap(at, LENGTH));
	EXPECT_EQ(0, close(dmabuf));
}

/* What the core says of it to whoever looks. */
TEST_F(export, named)
{
	int dmabuf = export(self, PAGE, 3 * PAGE, 0);
	char path[64], text[1024] = "";
	int info;

	ASSERT_LE(0, dmabuf);
	EXPECT_EQ(0, ioctl(dmabuf, DMA_BUF_SET_NAME_B, "kv-cache"));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", dmabuf);
	info = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, info);
	ASSERT_LT(0, read(info, text, sizeof(text) - 1));
	EXPECT_NE(NULL, strstr(text, "size:\t12288\n"));
	EXPECT_NE(NULL, strstr(text, "exp_name:\tdmaplane\n"));
	EXPECT_NE(NULL, strstr(text, "name:\tkv-cache\n"));
	close(info);
	close(dmabuf);
}

static const struct {
	uint64_t first, count;
} parts[] = {
	{ 0, 1 }, { 1, 1 }, { PAGES - 1, 1 }, { 510, 4 }, { 3, 600 }, { 4, 700 }, { 0, PAGES },
};

TEST_F(export, parts)
{
	int dmabufs[ARRAY_LEN(parts)];

	/* All at a time: they overlap. */
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		dmabufs[i] = export(self, parts[i].first * PAGE, parts[i].count * PAGE, 0);
		ASSERT_LE(0, dmabufs[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		uint64_t begin = parts[i].first * PAGE, length = parts[i].count * PAGE;
		uint8_t *at = map(dmabufs[i], 0, length, PROT_READ | PROT_WRITE);

		EXPECT_EQ(length, lseek(dmabufs[i], 0, SEEK_END));
		ASSERT_NE(MAP_FAILED, at);
		EXPECT_EQ(length, first_other(at, begin, length)) TH_LOG("part %zu", i);
		/* What was taken out of page tables comes back at its place. */
		ASSERT_EQ(0, madvise(at, length, MADV_DONTNEED));
		EXPECT_EQ(length, first_other(at, begin, length)) TH_LOG("part %zu, again", i);
		ASSERT_EQ(0, munmap(at, length));
		at = map(dmabufs[i], length - PAGE, PAGE, PROT_READ);
		ASSERT_NE(MAP_FAILED, at);
		EXPECT_EQ(PAGE, first_other(at, begin + length - PAGE, PAGE));
		ASSERT_EQ(0, madvise(at, PAGE, MADV_DONTNEED));
		EXPECT_EQ(PAGE, first_other(at, begin + length - PAGE, PAGE));
		ASSERT_EQ(0, munmap(at, PAGE));
		/* Not a page beyond. */
		EXPECT_EQ(EINVAL, map_errno(dmabufs[i], length, PAGE, PROT_READ, MAP_SHARED));
		EXPECT_EQ(EINVAL, map_errno(dmabufs[i], 0, length + PAGE, PROT_READ, MAP_SHARED));
		EXPECT_EQ(EINVAL, map_errno(dmabufs[i], 0, length, PROT_READ, MAP_PRIVATE));
	}
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		EXPECT_EQ(0, close(dmabufs[i]));
	EXPECT_EQ(1, mappings(self));
}

/* A mapping that is cut, moved and inherited shows what it showed. */
TEST_F(export, mapping_cut_and_moved)
{
	int dmabuf = export(self, 5 * PAGE, 20 * PAGE, 0), status;
	uint8_t *at, *moved;
	pid_t pid;

	ASSERT_LE(0, dmabuf);
	at = map(dmabuf, 2 * PAGE, 18 * PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(MAP_FAILED, at);
	EXPECT_EQ(2, mappings(self));
	ASSERT_EQ(0, munmap(at + 4 * PAGE, PAGE));
	EXPECT_EQ(3, mappings(self));
	moved = mremap(at + 5 * PAGE, 3 * PAGE, 3 * PAGE, MREMAP_MAYMOVE);
	ASSERT_NE(MAP_FAILED, moved);
	ASSERT_EQ(0, madvise(moved, 3 * PAGE, MADV_DONTNEED));
	EXPECT_EQ(3 * PAGE, first_other(moved, 12 * PAGE, 3 * PAGE));
	EXPECT_EQ(MAP_FAILED, mremap(moved, 3 * PAGE, 4 * PAGE, MREMAP_MAYMOVE));
	pid = fork();
	if (!pid) {
		at[0] ^= 0xff;
		_exit(first_other(moved, 12 * PAGE, 3 * PAGE) != 3 * PAGE);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(7 * PAGE, first_wrong(self->at, LENGTH, 1));
	EXPECT_EQ(0, munmap(at, 18 * PAGE));
	EXPECT_EQ(0, munmap(moved, 3 * PAGE));
	EXPECT_EQ(1, mappings(self));
	close(dmabuf);
}

TEST_F(export, wrong)
{
	const struct {
		uint64_t offset, length;
		int result;
	} wrong[] = {
		{ 1, 0, -EINVAL }, { PAGE - 1, PAGE, -EINVAL }, { 0, 1, -EINVAL },
		{ 0, PAGE + 1, -EINVAL }, { UINT64_MAX, 0, -EINVAL }, { 0, UINT64_MAX, -EINVAL },
		{ LENGTH, 0, -ERANGE }, { LENGTH, PAGE, -ERANGE }, { LENGTH + PAGE, 0, -ERANGE },
		{ 0, LENGTH + PAGE, -ERANGE }, { PAGE, LENGTH, -ERANGE },
		{ -PAGE, 0, -ERANGE }, { 0, -PAGE, -ERANGE }, { -PAGE, PAGE, -EOVERFLOW },
		{ -PAGE, -PAGE, -EOVERFLOW }, { PAGE, -PAGE, -EOVERFLOW },
	};
	int next = dup(self->fd);

	ASSERT_LE(0, next);
	close(next);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		for (uint32_t flags = 0; flags <= RDONLY; flags++) {
			EXPECT_EQ(wrong[i].result,
				  export(self, wrong[i].offset, wrong[i].length, flags))
				TH_LOG("%zu", i);
		}
	EXPECT_EQ(-EINVAL, export(self, 0, 0, 2));
	EXPECT_EQ(-EINVAL, export(self, 0, 0, 1U << 31));
	EXPECT_EQ(-ENOENT, buf_export(self->fd, 0, 0, 0, 0));
	EXPECT_EQ(-EBADF, buf_export(self->fd, self->c.handle, 0, 0, 0));
	/* No descriptor was lost. */
	EXPECT_EQ(next, dup(self->fd));
	close(next);
}

TEST_F(export, too_many_files)
{
	struct rlimit limit, none;
	int next = dup(self->fd);

	ASSERT_LE(0, next);
	close(next);
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
	none = (struct rlimit){ next, limit.rlim_max };
	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
		EXPECT_EQ(-EMFILE, export(self, 0, 0, 0));
		ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
		ASSERT_EQ(next, export(self, 0, 0, 0));
		close(next);
	}
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));
}

/* The answer could not be written: there is neither descriptor nor dma-buf. (fail_nth undoes one.) */
TEST_F(export, answer_lost)
{
	struct dmaplane_buf_export *arg = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
					       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int next = dup(self->fd);

	ASSERT_NE(MAP_FAILED, arg);
	close(next);
	*arg = ARG(buf_export, .handle = self->buffer.handle);
	ASSERT_EQ(0, mprotect(arg, PAGE, PROT_READ));
	EXPECT_EQ(-EFAULT, cmd(self->fd, DMAPLANE_IOC_BUF_EXPORT, arg));
	EXPECT_EQ(next, dup(self->fd));
	close(next);
	ASSERT_EQ(0, buf_destroy(self->fd, self->buffer.handle));
	munmap(self->at, LENGTH);
	EXPECT_TRUE(WAIT_FOR(live("buffers") == 0));
	self->at = mmap(NULL, LENGTH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

TEST_F(export, read_only)
{
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC), both, mem;
	int dmabuf = export(self, PAGE, 9 * PAGE, RDONLY);
	char byte = 1;
	uint8_t *at;

	ASSERT_LE(0, dmabuf);
	EXPECT_EQ(O_RDONLY, fcntl(dmabuf, F_GETFL) & O_ACCMODE);
	EXPECT_EQ(EACCES, map_errno(dmabuf, 0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED));
	EXPECT_EQ(EACCES, map_errno(dmabuf, 0, PAGE, PROT_WRITE, MAP_SHARED));
	EXPECT_EQ(EINVAL, map_errno(dmabuf, 0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE));
	at = map(dmabuf, 0, 9 * PAGE, PROT_READ);
	ASSERT_NE(MAP_FAILED, at);
	EXPECT_EQ(9 * PAGE, first_other(at, PAGE, 9 * PAGE));
	/* It cannot become writable, nor be written to by a system call. */
	EXPECT_EQ(-1, mprotect(at, PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-1, read(zero, at, PAGE));
	EXPECT_EQ(EFAULT, errno);
	close(zero);
	mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, mem);
	EXPECT_EQ(-1, pwrite(mem, &byte, 1, (uintptr_t)at));
	close(mem);
	ASSERT_EQ(0, madvise(at, 9 * PAGE, MADV_DONTNEED));
	EXPECT_EQ(9 * PAGE, first_other(at, PAGE, 9 * PAGE));
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));
	/* What others write there is seen: it is the dma-buf that is read-only. */
	both = export(self, PAGE, 9 * PAGE, 0);
	ASSERT_LE(0, both);
	EXPECT_EQ(0, map_errno(both, 0, 9 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED));
	self->at[PAGE] ^= 0xff;
	EXPECT_EQ(0, first_other(at, PAGE, 9 * PAGE));
	EXPECT_EQ(0, munmap(at, 9 * PAGE));
	close(both);
	close(dmabuf);
}

TEST_F(export, sync)
{
	int dmabuf = export(self, 0, 0, 0), readable = export(self, 0, 0, RDONLY);
	uint8_t *at = map(dmabuf, 0, PAGE, PROT_READ | PROT_WRITE);

	ASSERT_LE(0, dmabuf);
	ASSERT_LE(0, readable);
	ASSERT_NE(MAP_FAILED, at);
	for (uint64_t access = DMA_BUF_SYNC_READ; access <= DMA_BUF_SYNC_RW; access++) {
		EXPECT_EQ(0, sync_cpu(dmabuf, access | DMA_BUF_SYNC_START));
		EXPECT_EQ(0, sync_cpu(readable, access | DMA_BUF_SYNC_START));
		at[0]++;
		EXPECT_EQ(0, sync_cpu(readable, access | DMA_BUF_SYNC_END));
		EXPECT_EQ(0, sync_cpu(dmabuf, access | DMA_BUF_SYNC_END));
	}
	EXPECT_EQ(-EINVAL, sync_cpu(dmabuf, DMA_BUF_SYNC_START));
	EXPECT_EQ(-EINVAL, sync_cpu(dmabuf, DMA_BUF_SYNC_END));
	EXPECT_EQ(-EINVAL, sync_cpu(dmabuf, 8));
	EXPECT_EQ((uint8_t)(pattern(1, 0) + 3), self->at[0]);
	munmap(at, PAGE);
	close(readable);
	close(dmabuf);
}

/* There are no fences unless others add some, so nothing is to be waited for. */
TEST_F(export, fences)
{
	int dmabuf = export(self, 0, 0, 0);
	struct pollfd p = { .fd = dmabuf, .events = POLLIN | POLLOUT };
	struct dma_buf_export_sync_file out = { .flags = DMA_BUF_SYNC_RW, .fd = -1 };
	struct dma_buf_import_sync_file in = { .flags = DMA_BUF_SYNC_WRITE };

	ASSERT_LE(0, dmabuf);
	EXPECT_EQ(1, poll(&p, 1, 0));
	EXPECT_EQ(POLLIN | POLLOUT, p.revents);
	ASSERT_EQ(0, ioctl(dmabuf, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, &out));
	p = (struct pollfd){ .fd = out.fd, .events = POLLIN };
	EXPECT_EQ(1, poll(&p, 1, 0));
	in.fd = out.fd;
	EXPECT_EQ(0, ioctl(dmabuf, DMA_BUF_IOCTL_IMPORT_SYNC_FILE, &in));
	EXPECT_EQ(0, sync_cpu(dmabuf, DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW));
	EXPECT_EQ(0, sync_cpu(dmabuf, DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW));
	close(out.fd);
	close(dmabuf);
}

TEST_F(export, other_calls)
{
	int dmabuf = export(self, 0, 0, 0);
	char path[64], byte = 0;
	int other;

	ASSERT_LE(0, dmabuf);
	EXPECT_EQ(-1, read(dmabuf, &byte, 1));
	EXPECT_EQ(-1, write(dmabuf, &byte, 1));
	EXPECT_EQ(-1, ftruncate(dmabuf, PAGE));
	EXPECT_EQ(-1, lseek(dmabuf, 1, SEEK_SET));
	EXPECT_EQ(-1, lseek(dmabuf, 0, SEEK_CUR));
	EXPECT_EQ(-ENOTTY, cmd(dmabuf, DMAPLANE_IOC_INFO, &ARG(info)));
	posix_fadvise(dmabuf, 0, 0, POSIX_FADV_WILLNEED);
	readahead(dmabuf, 0, LENGTH);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", dmabuf);
	EXPECT_EQ(-1, open(path, O_RDWR | O_CLOEXEC));
	/* A path to it outlives the file, and so its dentry, whose end is the dma-buf's. */
	other = open(path, O_PATH | O_CLOEXEC);
	ASSERT_LE(0, other);
	close(dmabuf);
	close_all(self);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(1, live("buffers"));
	close(other);
	EXPECT_TRUE(WAIT_FOR(live("buffers") == 0));
}

TEST_F(export, many)
{
	int dmabufs[200];

	for (size_t i = 0; i < ARRAY_LEN(dmabufs); i++) {
		dmabufs[i] = export(self, i * PAGE, PAGE, i % 2 ? RDONLY : 0);
		ASSERT_LE(0, dmabufs[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(dmabufs); i++) {
		size_t which = i * 37 % ARRAY_LEN(dmabufs);
		uint8_t *at = map(dmabufs[which], 0, PAGE, PROT_READ);

		ASSERT_NE(MAP_FAILED, at);
		EXPECT_EQ(PAGE, first_other(at, which * PAGE, PAGE));
		close(dmabufs[which]);
		EXPECT_EQ(PAGE, first_other(at, which * PAGE, PAGE));
		munmap(at, PAGE);
	}
}

/* Handle, context, descriptor: whatever goes, what is left shows the memory. */
TEST_F(export, outlives_all)
{
	int dmabuf = export(self, 0, 0, 0);
	struct dmaplane_stats stats;
	uint8_t *at;

	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, buf_destroy(self->fd, self->buffer.handle));
	EXPECT_EQ(-ENOENT, export(self, 0, 0, 0));
	munmap(self->at, LENGTH);
	ASSERT_EQ(0, get_stats(self->fd, &stats));
	EXPECT_EQ(1, stats.buffers);
	EXPECT_EQ(LENGTH, stats.buffer_bytes);
	munmap(self->c.ring, self->c.length);
	ASSERT_EQ(0, close(self->fd));
	self->fd = -1;
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(LENGTH, live("buffer_bytes"));
	at = map(dmabuf, 0, LENGTH, PROT_READ | PROT_WRITE);
	ASSERT_NE(MAP_FAILED, at);
	EXPECT_EQ(LENGTH, first_wrong(at, LENGTH, 1));
	ASSERT_EQ(0, close(dmabuf));
	ASSERT_EQ(0, madvise(at, LENGTH, MADV_DONTNEED));
	EXPECT_EQ(LENGTH, first_wrong(at, LENGTH, 1));
	EXPECT_EQ(LENGTH, live("buffer_bytes"));
	EXPECT_EQ(0, munmap(at, LENGTH));
	EXPECT_TRUE(WAIT_FOR(live("buffer_bytes") == 0));
}

static int send_fd(int socket, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	*c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET,
			       .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	return sendmsg(socket, &msg, 0) == 1 ? 0 : -errno;
}

static int receive_fd(int socket)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	int fd = -1;

	if (recvmsg(socket, &msg, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&msg))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

/* Another process opens the device, sends a dma-buf, waits for a byte and looks for it. */
static int exporter(int socket)
{
	int fd = open_device(), dmabuf;
	struct buffer buffer;
	uint8_t *at, byte;

	if (fd < 0 || buf_create(fd, LENGTH, &buffer))
		return 1;
	at = buf_map(fd, &buffer);
	if (at == MAP_FAILED)
		return 2;
	fill(at, LENGTH, 5);
	dmabuf = buf_export(fd, buffer.handle, 0, 0, 0);
	if (dmabuf < 0 || send_fd(socket, dmabuf))
		return 3;
	if (read(socket, &byte, 1) != 1 || at[7 * PAGE] != byte)
		return 4;
	if (write(socket, &byte, 1) != 1)
		return 5;
	/* Until it is killed, or the other one has gone. */
	while (read(socket, &byte, 1) > 0)
		;
	return 6;
}

/* It can be given away; who made it can be killed. */
TEST_F(export, passed_on_and_killed)
{
	int sockets[2], dmabuf, status;
	uint8_t *at, byte = 0xa7;
	pid_t pid;

	close_all(self);
	ASSERT_TRUE(WAIT_FOR(live("buffers") == 0));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets));
	pid = fork();
	if (!pid) {
		close(sockets[0]);
		_exit(exporter(sockets[1]));
	}
	close(sockets[1]);
	dmabuf = receive_fd(sockets[0]);
	ASSERT_LE(0, dmabuf);
	at = map(dmabuf, 0, LENGTH, PROT_READ | PROT_WRITE);
	ASSERT_NE(MAP_FAILED, at);
	EXPECT_EQ(LENGTH, first_wrong(at, LENGTH, 5));
	at[7 * PAGE] = byte;
	ASSERT_EQ(1, write(sockets[0], &byte, 1));
	ASSERT_EQ(1, read(sockets[0], &byte, 1));
	EXPECT_EQ(1, live("contexts"));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(LENGTH, live("buffer_bytes"));
	at[7 * PAGE] = pattern(5, 7 * PAGE);
	ASSERT_EQ(0, madvise(at, LENGTH, MADV_DONTNEED));
	EXPECT_EQ(LENGTH, first_wrong(at, LENGTH, 5));
	EXPECT_EQ(0, munmap(at, LENGTH));
	EXPECT_EQ(1, live("buffers"));
	close(dmabuf);
	close(sockets[0]);
}

/* A dma-buf on its way to nobody, in a socket that is closed. */
TEST_F(export, lost_on_its_way)
{
	int sockets[2], dmabuf = export(self, 0, 0, 0);

	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets));
	ASSERT_EQ(0, send_fd(sockets[0], dmabuf));
	close(dmabuf);
	close_all(self);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(1, live("buffers"));
	close(sockets[0]);
	close(sockets[1]);
	EXPECT_TRUE(WAIT_FOR(live("buffers") == 0));
}

TEST_F(export, stays_while_mapped)
{
	int dmabuf = export(self, 9 * PAGE, 2 * PAGE, 0), readable = export(self, 0, 0, RDONLY);
	uint8_t *one, *other;

	ASSERT_LE(0, dmabuf);
	ASSERT_LE(0, readable);
	EXPECT_EQ(0, migrate(self));
	one = map(dmabuf, 0, PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(MAP_FAILED, one);
	EXPECT_EQ(-EBUSY, migrate(self));
	other = map(readable, 0, LENGTH, PROT_READ);
	ASSERT_NE(MAP_FAILED, other);
	ASSERT_EQ(0, munmap(one, PAGE));
	EXPECT_EQ(-EBUSY, migrate(self));
	/* A part of a mapping is one, too, and needs no descriptor. */
	ASSERT_EQ(0, munmap(other, LENGTH - PAGE));
	close(readable);
	EXPECT_EQ(-EBUSY, migrate(self));
	ASSERT_EQ(0, munmap(other + LENGTH - PAGE, PAGE));
	EXPECT_EQ(0, migrate(self));
	/* One that was refused pins nothing. */
	EXPECT_EQ(EINVAL, map_errno(dmabuf, 0, PAGE, PROT_READ, MAP_PRIVATE));
	EXPECT_EQ(EINVAL, map_errno(dmabuf, PAGE, 2 * PAGE, PROT_READ, MAP_SHARED));
	EXPECT_EQ(0, migrate(self));
	close(dmabuf);
}

/* Entries use the memory as they did. */
TEST_F(export, entries_see_it)
{
	int dmabuf = export(self, 0, 0, 0);
	struct dmaplane_cqe cqe;
	struct buffer other;
	struct dmaplane_sqe sqe;
	uint8_t *at;

	ASSERT_LE(0, dmabuf);
	at = map(dmabuf, 0, LENGTH, PROT_READ | PROT_WRITE);
	ASSERT_NE(MAP_FAILED, at);
	ASSERT_EQ(0, buf_create(self->fd, LENGTH, &other));
	fill(at, LENGTH, 6);
	sqe = copy_buffer(self->buffer.handle, 0, other.handle, 0, LENGTH);
	ASSERT_EQ(0, channel_do(&self->c, &sqe, &cqe));
	EXPECT_EQ(LENGTH, cqe.res);
	memset(at, 0, LENGTH);
	sqe = copy_buffer(other.handle, 0, self->buffer.handle, 0, LENGTH);
	ASSERT_EQ(0, channel_do(&self->c, &sqe, &cqe));
	EXPECT_EQ(LENGTH, cqe.res);
	EXPECT_EQ(LENGTH, first_wrong(at, LENGTH, 6));
	munmap(at, LENGTH);
	close(dmabuf);
}

struct user {
	FIXTURE_DATA(export) *self;
	unsigned int seed;
	int wrong;
};

static void *use_parts(void *arg)
{
	struct user *u = arg;

	for (int i = 0; i < 300 && !u->wrong; i++) {
		uint64_t first = rand_r(&u->seed) % PAGES;
		uint64_t count = 1 + rand_r(&u->seed) % (PAGES - first);
		int dmabuf = export(u->self, first * PAGE, count * PAGE, RDONLY);
		uint8_t *at;

		if (dmabuf < 0) {
			u->wrong = -dmabuf;
			break;
		}
		at = map(dmabuf, 0, count * PAGE, PROT_READ);
		if (i % 2)
			close(dmabuf);
		if (at == MAP_FAILED) {
			u->wrong = errno;
			break;
		}
		for (uint64_t page = 0; page < count; page += 1 + count / 8)
			if (first_other(at + page * PAGE, (first + page) * PAGE, PAGE) != PAGE)
				u->wrong = EIO;
		if (sync_cpu(i % 2 ? u->self->fd : dmabuf,
			     DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ) != (i % 2 ? -ENOTTY : 0))
			u->wrong = EPROTO;
		munmap(at, count * PAGE);
		if (!(i % 2))
			close(dmabuf);
	}
	return NULL;
}

TEST_F(export, by_everybody_at_once)
{
	struct user users[4];
	pthread_t threads[ARRAY_LEN(users)];

	for (size_t i = 0; i < ARRAY_LEN(users); i++) {
		users[i] = (struct user){ self, i + 1, 0 };
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, use_parts, &users[i]));
	}
	for (int i = 0; i < 200; i++) {
		int ret = migrate(self);

		EXPECT_TRUE(ret == 0 || ret == -EBUSY) TH_LOG("%d", ret);
	}
	for (size_t i = 0; i < ARRAY_LEN(users); i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, users[i].wrong) TH_LOG("user %zu", i);
	}
	EXPECT_EQ(0, migrate(self));
	EXPECT_EQ(1, mappings(self));
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 1));
}

TEST_HARNESS_MAIN
