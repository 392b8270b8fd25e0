// SPDX-License-Identifier: GPL-2.0
/*
 * BUF_EXPORT and what can be done with a dma-buf without another driver: mappings, parts,
 * read-only ones, DMA_BUF_IOCTL_SYNC and fences. export_lives.c: for how long; importers.c:
 * another driver.
 */
#include "exported.h"

TEST_F(export, same_memory)
{
	int dmabuf = export(&self->o, 0, 0, 0);
	struct dmaplane_info info;
	uint8_t *at;

	ASSERT_EQ(0, get_info(self->o.fd, &info));
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
	EXPECT_EQ(LENGTH, first_wrong(self->o.at, LENGTH, 2));
	fill(self->o.at, LENGTH, 3);
	EXPECT_EQ(LENGTH, first_wrong(at, LENGTH, 3));
	EXPECT_EQ(0, munmap(at, LENGTH));
	EXPECT_EQ(0, close(dmabuf));
}

/* What the core says of it to whoever looks. */
TEST_F(export, named)
{
	int dmabuf = export(&self->o, PAGE, 3 * PAGE, 0);
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
		dmabufs[i] = export(&self->o, parts[i].first * PAGE, parts[i].count * PAGE, 0);
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
	EXPECT_EQ(1, mappings(&self->o));
}

/* A mapping that is cut, moved and inherited shows what it showed. */
TEST_F(export, mapping_cut_and_moved)
{
	int dmabuf = export(&self->o, 5 * PAGE, 20 * PAGE, 0), status;
	uint8_t *at, *moved;
	pid_t pid;

	ASSERT_LE(0, dmabuf);
	at = map(dmabuf, 2 * PAGE, 18 * PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(MAP_FAILED, at);
	EXPECT_EQ(2, mappings(&self->o));
	ASSERT_EQ(0, munmap(at + 4 * PAGE, PAGE));
	EXPECT_EQ(3, mappings(&self->o));
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
	EXPECT_EQ(7 * PAGE, first_wrong(self->o.at, LENGTH, 1));
	EXPECT_EQ(0, munmap(at, 18 * PAGE));
	EXPECT_EQ(0, munmap(moved, 3 * PAGE));
	EXPECT_EQ(1, mappings(&self->o));
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
	int next = dup(self->o.fd);

	ASSERT_LE(0, next);
	close(next);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		for (uint32_t flags = 0; flags <= RDONLY; flags++) {
			EXPECT_EQ(wrong[i].result,
				  export(&self->o, wrong[i].offset, wrong[i].length, flags))
				TH_LOG("%zu", i);
		}
	EXPECT_EQ(-EINVAL, export(&self->o, 0, 0, 2));
	EXPECT_EQ(-EINVAL, export(&self->o, 0, 0, 1U << 31));
	EXPECT_EQ(-ENOENT, buf_export(self->o.fd, 0, 0, 0, 0));
	EXPECT_EQ(-EBADF, buf_export(self->o.fd, self->o.c.handle, 0, 0, 0));
	/* No descriptor was lost. */
	EXPECT_EQ(next, dup(self->o.fd));
	close(next);
}

TEST_F(export, too_many_files)
{
	struct rlimit limit, none;
	int next = dup(self->o.fd);

	ASSERT_LE(0, next);
	close(next);
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
	none = (struct rlimit){ next, limit.rlim_max };
	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
		EXPECT_EQ(-EMFILE, export(&self->o, 0, 0, 0));
		ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
		ASSERT_EQ(next, export(&self->o, 0, 0, 0));
		close(next);
	}
	EXPECT_EQ(LENGTH, first_wrong(self->o.at, LENGTH, 1));
}

/* The answer could not be written: there is neither descriptor nor dma-buf. (fail_nth undoes one.) */
TEST_F(export, answer_lost)
{
	struct dmaplane_buf_export *arg = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
					       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int next = dup(self->o.fd);

	ASSERT_NE(MAP_FAILED, arg);
	close(next);
	*arg = ARG(buf_export, .handle = self->o.buffer.handle);
	ASSERT_EQ(0, mprotect(arg, PAGE, PROT_READ));
	EXPECT_EQ(-EFAULT, cmd(self->o.fd, DMAPLANE_IOC_BUF_EXPORT, arg));
	EXPECT_EQ(next, dup(self->o.fd));
	close(next);
	ASSERT_EQ(0, buf_destroy(self->o.fd, self->o.buffer.handle));
	munmap(self->o.at, LENGTH);
	EXPECT_TRUE(WAIT_FOR(live("buffers") == 0));
	self->o.at = mmap(NULL, LENGTH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

TEST_F(export, read_only)
{
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC), both, mem;
	int dmabuf = export(&self->o, PAGE, 9 * PAGE, RDONLY);
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
	EXPECT_EQ(LENGTH, first_wrong(self->o.at, LENGTH, 1));
	/* What others write there is seen: it is the dma-buf that is read-only. */
	both = export(&self->o, PAGE, 9 * PAGE, 0);
	ASSERT_LE(0, both);
	EXPECT_EQ(0, map_errno(both, 0, 9 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED));
	self->o.at[PAGE] ^= 0xff;
	EXPECT_EQ(0, first_other(at, PAGE, 9 * PAGE));
	EXPECT_EQ(0, munmap(at, 9 * PAGE));
	close(both);
	close(dmabuf);
}

TEST_F(export, sync)
{
	int dmabuf = export(&self->o, 0, 0, 0), readable = export(&self->o, 0, 0, RDONLY);
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
	EXPECT_EQ((uint8_t)(pattern(1, 0) + 3), self->o.at[0]);
	munmap(at, PAGE);
	close(readable);
	close(dmabuf);
}

/* There are no fences unless others add some, so nothing is to be waited for. */
TEST_F(export, fences)
{
	int dmabuf = export(&self->o, 0, 0, 0);
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
	int dmabuf = export(&self->o, 0, 0, 0);
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
	close_all(&self->o);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(1, live("buffers"));
	close(other);
	EXPECT_TRUE(WAIT_FOR(live("buffers") == 0));
}

TEST_HARNESS_MAIN
