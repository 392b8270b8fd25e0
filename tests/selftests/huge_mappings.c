// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings of buffers that consist of blocks: how many faults there are, and what becomes of entries
 * that show a block when a part of it is to be something else.
 */
#include "touch.h"

#include <sys/uio.h>

#include "harness.h"

#define PAGE	4096ULL
#define HUGE	((uint64_t)DMAPLANE_HUGE_SIZE)
#define BLOCKS	4

/* A buffer of whole blocks. */
FIXTURE(huge_mappings) {
	int fd;
	struct buffer buffer;
	uint8_t *at;
};

FIXTURE_SETUP(huge_mappings)
{
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	if (!huge_pages())
		SKIP(return, "transparent huge pages are off");
	ASSERT_EQ(0, buf_create_at(self->fd, BLOCKS * HUGE, DMAPLANE_NODE_ANY, DMAPLANE_BUF_HUGE,
				   &self->buffer));
	self->at = buf_map(self->fd, &self->buffer);
	ASSERT_NE(MAP_FAILED, self->at);
}

FIXTURE_TEARDOWN(huge_mappings)
{
	struct dmaplane_stats stats, zero = ARG(stats);

	if (self->at) {
		munmap(self->at, BLOCKS * HUGE);
		buf_destroy(self->fd, self->buffer.handle);
		/* Nobody has kept a page. */
		EXPECT_EQ(0, get_stats(self->fd, &stats));
		EXPECT_EQ(0, memcmp(&zero, &stats, sizeof(stats)));
	}
	close(self->fd);
}

/* What a program may fault on of its own meanwhile. */
#define FEW	2

TEST_F(huge_mappings, one_fault_for_a_block)
{
	long before;

	EXPECT_EQ(0, (uintptr_t)self->at % HUGE);
	before = minor_faults();
	touch_all(self->at, BLOCKS * HUGE);
	EXPECT_GE(BLOCKS + FEW, minor_faults() - before);
	EXPECT_EQ(BLOCKS * HUGE, mapped_huge(self->at));
	before = minor_faults();
	touch_all(self->at, BLOCKS * HUGE);
	EXPECT_GE(FEW, minor_faults() - before);
}

TEST_F(huge_mappings, populated)
{
	uint8_t *at = mmap64(NULL, BLOCKS * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			     self->fd, self->buffer.offset);
	long before;

	ASSERT_NE(MAP_FAILED, at);
	EXPECT_EQ(BLOCKS * HUGE, mapped_huge(at));
	before = minor_faults();
	touch_all(at, BLOCKS * HUGE);
	EXPECT_GE(FEW, minor_faults() - before);
	EXPECT_EQ(0, munmap(at, BLOCKS * HUGE));
}

/* One that begins in the midst of a block, or at an odd address, is mapped when mmap() returns. */
TEST_F(huge_mappings, odd_places)
{
	uint8_t *room = mmap(NULL, 8 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *odd, *part;
	long before;

	ASSERT_NE(MAP_FAILED, room);
	fill(self->at, BLOCKS * HUGE, 5);
	odd = room - (uintptr_t)room % HUGE + HUGE + PAGE;
	ASSERT_EQ(odd, mmap64(odd, BLOCKS * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			      self->fd, self->buffer.offset));
	before = minor_faults();
	EXPECT_EQ(BLOCKS * HUGE, first_wrong(odd, BLOCKS * HUGE, 5));
	EXPECT_GE(FEW, minor_faults() - before);
	EXPECT_EQ(0, mapped_huge(odd));
	EXPECT_EQ(0, munmap(room, 8 * HUGE));

	/* Half a block, two, and a page. */
	part = map_at(self->fd, 5 * HUGE / 2 + PAGE, self->buffer.offset + HUGE / 2);
	ASSERT_NE(MAP_FAILED, part);
	for (uint64_t i = 0; i < 5 * HUGE / 2 + PAGE; i += 997)
		ASSERT_EQ(pattern(5, HUGE / 2 + i), part[i]);
	EXPECT_EQ(2 * HUGE, mapped_huge(part));
	EXPECT_EQ(0, munmap(part, 5 * HUGE / 2 + PAGE));
}

/* A block of which a part is taken away, forbidden, moved or forgotten. */
TEST_F(huge_mappings, parts)
{
	uint8_t *room, *at = self->at;

	fill(at, BLOCKS * HUGE, 6);
	EXPECT_EQ(BLOCKS * HUGE, mapped_huge(at));
	EXPECT_EQ(0, mprotect(at + 3 * PAGE, PAGE, PROT_READ));
	EXPECT_EQ(0, dies_of(at + 4 * PAGE, true));
	EXPECT_EQ(SIGSEGV, dies_of(at + 3 * PAGE, true));
	EXPECT_EQ(0, mprotect(at + 3 * PAGE, PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, madvise(at + HUGE + 5 * PAGE, 7 * PAGE, MADV_DONTNEED));
	EXPECT_EQ(0, madvise(at + HUGE, HUGE, MADV_DONTNEED));
	madvise(at + HUGE + PAGE, PAGE, MADV_PAGEOUT);
	madvise(at + HUGE + PAGE, PAGE, MADV_COLD);
	EXPECT_EQ(BLOCKS * HUGE, first_wrong(at, BLOCKS * HUGE, 6));

	room = mmap(NULL, 3 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, room);
	ASSERT_EQ(room, mremap(at + 2 * HUGE, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, room));
	for (uint64_t i = 0; i < HUGE; i += 97)
		ASSERT_EQ(pattern(6, 2 * HUGE + i), room[i]);
	room[0] ^= 0xff;
	EXPECT_EQ(0, munmap(room, 3 * HUGE));

	EXPECT_EQ(0, munmap(at + 7 * PAGE, PAGE));
	EXPECT_EQ(7 * PAGE, first_wrong(at, 7 * PAGE, 6));
	EXPECT_EQ(pattern(6, 8 * PAGE), at[8 * PAGE]);
	EXPECT_EQ(pattern(6, 3 * HUGE + 17), at[3 * HUGE + 17]);
	EXPECT_EQ(SIGSEGV, dies_of(at + 7 * PAGE, false));
}

/* Two mappings of it, of which a child has one, see the same; the kernel gets at it, too. */
TEST_F(huge_mappings, shared)
{
	uint8_t *second = buf_map(self->fd, &self->buffer), *other = malloc(HUGE);
	struct iovec here = { other, HUGE }, there;
	int status, fds[2];
	pid_t pid;

	ASSERT_NE(MAP_FAILED, second);
	fill(self->at, BLOCKS * HUGE, 7);
	EXPECT_EQ(BLOCKS * HUGE, first_wrong(second, BLOCKS * HUGE, 7));
	fflush(NULL);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (first_wrong(second, BLOCKS * HUGE, 7) != BLOCKS * HUGE)
			_exit(1);
		fill(second, BLOCKS * HUGE, 8);
		_exit(mapped_huge(second) != BLOCKS * HUGE);
	}
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(BLOCKS * HUGE, first_wrong(self->at, BLOCKS * HUGE, 8));

	/* Pages of it are taken by reference, across blocks, and given back. */
	there = (struct iovec){ second + HUGE / 2, HUGE };
	ASSERT_EQ(HUGE, process_vm_readv(getpid(), &here, 1, &there, 1, 0));
	EXPECT_EQ(0, memcmp(other, self->at + HUGE / 2, HUGE));
	memset(other, 0x33, HUGE);
	ASSERT_EQ(HUGE, process_vm_writev(getpid(), &here, 1, &there, 1, 0));
	EXPECT_EQ(HUGE, first_not(self->at + HUGE / 2, HUGE, 0x33));
	ASSERT_EQ(0, pipe(fds));
	there = (struct iovec){ self->at + HUGE - PAGE, 2 * PAGE };
	ASSERT_EQ(2 * PAGE, vmsplice(fds[1], &there, 1, 0));
	EXPECT_EQ(0, munmap(second, BLOCKS * HUGE));
	ASSERT_EQ(2 * PAGE, read(fds[0], other, 2 * PAGE));
	EXPECT_EQ(0, memcmp(other, self->at + HUGE - PAGE, 2 * PAGE));
	close(fds[0]);
	close(fds[1]);
	free(other);
}

/* Whoever wants no large entries has none. */
TEST_F(huge_mappings, refused_by_advice)
{
	long before;

	fill(self->at, BLOCKS * HUGE, 9);
	ASSERT_EQ(0, madvise(self->at, BLOCKS * HUGE, MADV_NOHUGEPAGE));
	ASSERT_EQ(0, madvise(self->at, BLOCKS * HUGE, MADV_DONTNEED));
	EXPECT_EQ(BLOCKS * HUGE, first_wrong(self->at, BLOCKS * HUGE, 9));
	EXPECT_EQ(0, mapped_huge(self->at));
	/* Still a block at a time. */
	ASSERT_EQ(0, madvise(self->at, BLOCKS * HUGE, MADV_DONTNEED));
	before = minor_faults();
	touch_all(self->at, BLOCKS * HUGE);
	EXPECT_GE(BLOCKS + FEW, minor_faults() - before);
	EXPECT_EQ(0, mapped_huge(self->at));
	fill(self->at, BLOCKS * HUGE, 9);
	/* Another mapping has not refused them. */
	ASSERT_EQ(0, munmap(self->at, BLOCKS * HUGE));
	self->at = buf_map(self->fd, &self->buffer);
	ASSERT_NE(MAP_FAILED, self->at);
	EXPECT_EQ(BLOCKS * HUGE, first_wrong(self->at, BLOCKS * HUGE, 9));
	EXPECT_EQ(BLOCKS * HUGE, mapped_huge(self->at));
}

/*
 * A dma-buf of what begins in the midst of a block shows that and nothing before, wherever it is
 * mapped and moved to, and however its pages come back.
 */
TEST_F(huge_mappings, part_that_is_exported)
{
	uint64_t length = BLOCKS * HUGE - PAGE;
	int dmabuf = buf_export(self->fd, self->buffer.handle, PAGE, length, 0);
	uint8_t *room = mmap(NULL, 16 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *at;

	ASSERT_LE(0, dmabuf);
	ASSERT_NE(MAP_FAILED, room);
	fill(self->at, BLOCKS * HUGE, 4);
	at = room - (uintptr_t)room % HUGE + HUGE + PAGE;
	ASSERT_EQ(at, mmap64(at, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, dmabuf, 0));
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, madvise(at, length, MADV_DONTNEED));
		for (uint64_t page = 0; page < length; page += PAGE)
			ASSERT_EQ(pattern(4, PAGE + page), at[page]);
		EXPECT_EQ(0, mapped_huge(at));
		/* To where a block could be shown by one entry. */
		if (!i)
			ASSERT_EQ(at + 5 * HUGE - PAGE, mremap(at, length, length,
							      MREMAP_MAYMOVE | MREMAP_FIXED,
							      at + 5 * HUGE - PAGE));
		at += i ? 0 : 5 * HUGE - PAGE;
	}
	EXPECT_EQ(0, munmap(room, 16 * HUGE));
	EXPECT_EQ(0, close(dmabuf));
}

struct faulting {
	uint8_t *at;
	uint32_t added;
	bool stop;
};

static void *fault_and_forget(void *arg)
{
	struct faulting *f = arg;

	for (unsigned int i = 0; !__atomic_load_n(&f->stop, __ATOMIC_RELAXED); i++) {
		__atomic_add_fetch((uint32_t *)(f->at + i % 512 * PAGE), 1, __ATOMIC_RELAXED);
		__atomic_add_fetch(&f->added, 1, __ATOMIC_RELAXED);
		if (i % 7 == 0)
			madvise(f->at, HUGE, MADV_DONTNEED);
	}
	return NULL;
}

/* Threads bring pages and the block to the same place, as advice comes and goes. */
TEST_F(huge_mappings, at_once)
{
	struct faulting f = { .at = self->at };
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, fault_and_forget, &f));
	for (int i = 0; i < 200; i++) {
		ASSERT_EQ(0, madvise(self->at, HUGE, i % 2 ? MADV_NOHUGEPAGE : MADV_HUGEPAGE));
		sleep_ms(1);
	}
	__atomic_store_n(&f.stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
	for (uint64_t page = 0; page < 512; page++)
		f.added -= *(uint32_t *)(self->at + page * PAGE);
	EXPECT_EQ(0, f.added);
}

TEST_HARNESS_MAIN
