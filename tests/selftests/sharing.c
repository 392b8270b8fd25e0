// SPDX-License-Identifier: GPL-2.0
/*
 * BUF_SHARE and BUF_OPEN: one memory in several contexts and processes, with rights that only
 * become fewer; who has it when its owner is gone; what it counts for.
 */
#include "pair.h"
#include "passing.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include "harness.h"

#define PAGE	4096ULL
#define LENGTH	(64 * PAGE)

#define R	DMAPLANE_SHARE_READ
#define W	DMAPLANE_SHARE_WRITE
#define REMOTE	DMAPLANE_SHARE_REMOTE
#define ALL	(R | W | REMOTE)

FIXTURE(sharing) {
	int fd, other;		/* two contexts */
	struct buffer buffer;	/* of the first */
	uint8_t *at;
};

FIXTURE_SETUP(sharing)
{
	self->fd = open_device();
	self->other = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_LE(0, self->other);
	ASSERT_EQ(0, buf_create(self->fd, LENGTH, &self->buffer));
	self->at = buf_map(self->fd, &self->buffer);
	ASSERT_NE(MAP_FAILED, self->at);
	fill(self->at, LENGTH, 1);
}

FIXTURE_TEARDOWN(sharing)
{
	munmap(self->at, LENGTH);
	close(self->fd);
	close(self->other);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_TRUE(WAIT_FOR(live("shares") == 0));
	EXPECT_EQ(0, live("buffers"));
	EXPECT_EQ(0, live("buffer_bytes"));
	EXPECT_EQ(0, live("memory_bytes"));
}

static int map_errno(int fd, const struct buffer *b, int prot)
{
	void *at = mmap64(NULL, b->length, prot, MAP_SHARED, fd, b->offset);

	if (at == MAP_FAILED)
		return errno;
	munmap(at, b->length);
	return 0;
}

TEST_F(sharing, same_memory)
{
	int share = buf_share(self->fd, self->buffer.handle, ALL);
	struct buffer opened, again;
	uint8_t *at;

	ASSERT_LE(0, share);
	EXPECT_EQ(FD_CLOEXEC, fcntl(share, F_GETFD));
	EXPECT_EQ(1, live("shares"));
	EXPECT_EQ(1, fdinfo(self->fd, "shares"));
	ASSERT_EQ(0, buf_open(self->other, share, ALL, &opened));
	ASSERT_EQ(0, buf_open(self->fd, share, ALL, &again));
	EXPECT_EQ(LENGTH, opened.length);
	EXPECT_NE(again.handle, self->buffer.handle);
	at = buf_map(self->other, &opened);
	ASSERT_NE(MAP_FAILED, at);
	EXPECT_EQ(LENGTH, first_wrong(at, LENGTH, 1));
	fill(at, LENGTH, 2);
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 2));
	EXPECT_EQ(0, munmap(at, LENGTH));
	EXPECT_EQ(0, close(share));
	EXPECT_EQ(0, live("shares"));
	at = buf_map(self->other, &opened);
	ASSERT_NE(MAP_FAILED, at);
	EXPECT_EQ(LENGTH, first_wrong(at, LENGTH, 2));
	EXPECT_EQ(0, munmap(at, LENGTH));
}

/* It is the memory of one context, however many have it, until nobody has. */
TEST_F(sharing, counts_once)
{
	int64_t bytes = live("memory_bytes");
	struct dmaplane_stats stats;
	struct buffer opened[3];
	int share = buf_share(self->fd, self->buffer.handle, ALL);

	ASSERT_LE(0, share);
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, buf_open(self->other, share, ALL, &opened[i]));
	EXPECT_EQ(bytes, live("memory_bytes"));
	EXPECT_EQ(LENGTH, (uint64_t)live("buffer_bytes"));
	EXPECT_EQ(4, live("buffers"));
	ASSERT_EQ(0, get_stats(self->other, &stats));
	EXPECT_EQ(3, stats.buffers);
	EXPECT_EQ(0, stats.buffer_bytes);
	EXPECT_EQ(0, fdinfo(self->other, "memory-bytes"));
	EXPECT_EQ((int64_t)LENGTH, fdinfo(self->fd, "memory-bytes"));
	EXPECT_EQ(0, munmap(self->at, LENGTH));
	EXPECT_EQ(0, buf_destroy(self->fd, self->buffer.handle));
	EXPECT_EQ((int64_t)LENGTH, fdinfo(self->fd, "memory-bytes"));
	EXPECT_EQ(0, close(share));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(bytes, live("memory_bytes"));
		EXPECT_EQ(0, buf_destroy(self->other, opened[i].handle));
	}
	EXPECT_EQ(0, live("memory_bytes"));
	EXPECT_EQ(0, fdinfo(self->fd, "memory-bytes"));
}

/* What is opened can do what it was opened for, whatever the share allows, and no more. */
TEST_F(sharing, rights)
{
	int share = buf_share(self->fd, self->buffer.handle, ALL), exported;
	struct dmaplane_buf_migrate move;
	struct dmaplane_buf_query query;
	uint64_t nodes[MAX_NODES];
	struct dmaplane_cqe cqe;
	struct channel c;
	uint8_t *at;

	ASSERT_LE(0, share);
	ASSERT_EQ(0, channel_open(self->other, 8, 8, &c));
	for (uint32_t rights = R; rights <= ALL; rights += 2) {
		int refused = rights & W ? 0 : -EACCES;
		struct dmaplane_sqe sqe;
		struct buffer b, mine;

		ASSERT_EQ(0, buf_open(self->other, share, rights, &b));
		ASSERT_EQ(0, buf_create(self->other, LENGTH, &mine));
		ASSERT_EQ(0, buf_query(self->other, b.handle, &query, nodes));
		EXPECT_EQ(rights & W ? 0 : DMAPLANE_BUF_RDONLY, query.create_flags);
		EXPECT_EQ(0, map_errno(self->other, &b, PROT_READ));
		EXPECT_EQ(-refused, map_errno(self->other, &b, PROT_READ | PROT_WRITE));
		at = mmap64(NULL, LENGTH, PROT_READ, MAP_SHARED, self->other, b.offset);
		ASSERT_NE(MAP_FAILED, at);
		EXPECT_EQ(refused, mprotect(at, LENGTH, PROT_READ | PROT_WRITE) ? -errno : 0);
		EXPECT_EQ(0, munmap(at, LENGTH));

		sqe = fill_buffer(b.handle, 0, 1, 7);
		ASSERT_EQ(0, channel_do(&c, &sqe, &cqe));
		EXPECT_EQ(refused ?: 1, cqe.res);
		sqe = copy_buffer(mine.handle, 0, b.handle, 0, 1);
		ASSERT_EQ(0, channel_do(&c, &sqe, &cqe));
		EXPECT_EQ(refused ?: 1, cqe.res);
		sqe = copy_buffer(b.handle, 0, mine.handle, 0, 1);
		ASSERT_EQ(0, channel_do(&c, &sqe, &cqe));
		EXPECT_EQ(1, cqe.res);

		exported = buf_export(self->other, b.handle, 0, 0, 0);
		EXPECT_EQ(refused, exported < 0 ? exported : close(exported));
		exported = buf_export(self->other, b.handle, 0, 0, DMAPLANE_EXPORT_RDONLY);
		EXPECT_LE(0, exported);
		EXPECT_EQ(0, close(exported));

		move = ARG(buf_migrate, .handle = b.handle);
		EXPECT_EQ(refused, cmd(self->other, DMAPLANE_IOC_BUF_MIGRATE, &move));
		EXPECT_EQ(refused, channel_migrate(&c, b.handle, 0, 0));
		EXPECT_EQ(0, buf_destroy(self->other, b.handle));
		EXPECT_EQ(0, buf_destroy(self->other, mine.handle));
	}
	munmap(c.ring, c.length);
	close(share);
}

/* Every way to pass rights on: more than one has are none. */
TEST_F(sharing, only_fewer)
{
	for (uint32_t given = 0; given <= ALL + 1; given++) {
		int share = buf_share(self->fd, self->buffer.handle, given);

		if (given > ALL || !(given & R)) {
			EXPECT_EQ(-EINVAL, share) TH_LOG("%u", given);
			continue;
		}
		ASSERT_LE(0, share);
		for (uint32_t taken = 0; taken <= ALL + 1; taken++) {
			int wanted = taken > ALL || !(taken & R) ? -EINVAL : taken & ~given ? -EACCES : 0;
			struct buffer b;

			EXPECT_EQ(wanted, buf_open(self->other, share, taken, &b))
				TH_LOG("%u of %u", taken, given);
			if (wanted)
				continue;
			for (uint32_t next = R; next <= ALL; next += 2) {
				int again = buf_share(self->other, b.handle, next);

				EXPECT_EQ(next & ~taken ? -EACCES : 0, again < 0 ? again : close(again))
					TH_LOG("%u of %u", next, taken);
			}
			EXPECT_EQ(0, buf_destroy(self->other, b.handle));
		}
		EXPECT_EQ(0, close(share));
	}
}

TEST_F(sharing, wrong_descriptors)
{
	int share = buf_share(self->fd, self->buffer.handle, ALL);
	int event = eventfd(0, 0), file = open("/dev/null", O_RDWR);
	int dmabuf = buf_export(self->fd, self->buffer.handle, 0, 0, 0), channel;
	struct channel c;
	struct buffer b;
	char byte = 0;

	ASSERT_LE(0, share);
	ASSERT_EQ(0, channel_open(self->fd, 1, 1, &c));
	channel = channel_file(&c);
	ASSERT_LE(0, channel);
	EXPECT_EQ(-EINVAL, buf_open(self->other, event, R, &b));
	EXPECT_EQ(-EINVAL, buf_open(self->other, file, R, &b));
	EXPECT_EQ(-EINVAL, buf_open(self->other, dmabuf, R, &b));
	EXPECT_EQ(-EINVAL, buf_open(self->other, channel, R, &b));
	EXPECT_EQ(-EINVAL, buf_open(self->other, self->fd, R, &b));
	EXPECT_EQ(-EBADF, buf_open(self->other, -1, R, &b));
	EXPECT_EQ(-EBADF, buf_open(self->other, INT32_MIN, R, &b));
	EXPECT_EQ(-EBADF, buf_open(self->other, 1 << 20, R, &b));

	/* Nothing else can be done with a share. */
	EXPECT_EQ(-1, read(share, &byte, 1));
	EXPECT_EQ(-1, write(share, &byte, 1));
	EXPECT_EQ(-1, lseek(share, 0, SEEK_SET));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, MAP_SHARED, share, 0));
	EXPECT_EQ(-ENOTTY, cmd(share, DMAPLANE_IOC_INFO, &byte));
	EXPECT_EQ(0, close(share));
	EXPECT_EQ(-EBADF, buf_open(self->other, share, R, &b));
	munmap(c.ring, c.length);
	close(channel);
	close(dmabuf);
	close(event);
	close(file);
}

TEST_F(sharing, too_many)
{
	struct dmaplane_info info;
	struct rlimit limit, old;
	struct buffer b;
	int share;

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &old));
	limit = old;
	limit.rlim_cur = self->other + 1;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	for (int i = 0; i < 100; i++) {
		share = buf_share(self->fd, self->buffer.handle, R);
		if (share >= 0 || share != -EMFILE)
			break;
	}
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &old));
	EXPECT_EQ(-EMFILE, share);
	EXPECT_EQ(0, live("shares"));

	ASSERT_EQ(0, get_info(self->fd, &info));
	share = buf_share(self->fd, self->buffer.handle, R);
	ASSERT_LE(0, share);
	for (uint32_t i = 0; i < info.max_objects; i++)
		ASSERT_EQ(0, buf_open(self->other, share, R, &b));
	EXPECT_EQ(-EMFILE, buf_open(self->other, share, R, &b));
	EXPECT_EQ(info.max_objects + 1, live("buffers"));
	EXPECT_EQ(0, buf_destroy(self->other, b.handle));
	EXPECT_EQ(0, buf_open(self->other, share, R, &b));
	EXPECT_EQ(0, close(share));
}

/* Two handles of the same memory in one context: bytes are not copied over each other. */
TEST_F(sharing, copies_within)
{
	int share = buf_share(self->fd, self->buffer.handle, ALL);
	struct dmaplane_cqe cqe;
	struct dmaplane_sqe sqe;
	struct channel c;
	struct buffer b;

	ASSERT_EQ(0, channel_open(self->fd, 1, 1, &c));
	ASSERT_EQ(0, buf_open(self->fd, share, ALL, &b));
	sqe = copy_buffer(self->buffer.handle, 0, b.handle, PAGE - 1, PAGE);
	ASSERT_EQ(0, channel_do(&c, &sqe, &cqe));
	EXPECT_EQ(-EINVAL, cqe.res);
	sqe = copy_buffer(self->buffer.handle, 0, b.handle, PAGE, PAGE);
	ASSERT_EQ(0, channel_do(&c, &sqe, &cqe));
	EXPECT_EQ((int)PAGE, cqe.res);
	EXPECT_EQ(PAGE, first_wrong(self->at + PAGE, PAGE, 1));
	munmap(c.ring, c.length);
	close(share);
}

/* Memory that the program had is shared as well, but for mappings. */
TEST_F(sharing, pinned)
{
	uint8_t *own = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct dmaplane_buf_pin pin = ARG(buf_pin, .addr = (uintptr_t)own, .length = LENGTH);
	struct dmaplane_cqe cqe;
	struct dmaplane_sqe sqe;
	struct channel c;
	struct buffer b;
	int share;

	ASSERT_NE(MAP_FAILED, own);
	fill(own, LENGTH, 5);
	ASSERT_EQ(0, cmd(self->fd, DMAPLANE_IOC_BUF_PIN, &pin));
	share = buf_share(self->fd, pin.handle, ALL);
	ASSERT_LE(0, share);
	ASSERT_EQ(0, buf_open(self->other, share, ALL, &b));
	EXPECT_EQ(0, b.offset);
	b.offset = (uint64_t)b.handle << 31;
	EXPECT_EQ(EOPNOTSUPP, map_errno(self->other, &b, PROT_READ));
	EXPECT_EQ(0, buf_destroy(self->fd, pin.handle));
	ASSERT_EQ(0, channel_open(self->other, 1, 1, &c));
	sqe = fill_buffer(b.handle, 0, LENGTH, 0x77);
	ASSERT_EQ(0, channel_do(&c, &sqe, &cqe));
	EXPECT_EQ((int)LENGTH, cqe.res);
	EXPECT_EQ(LENGTH, first_not(own, LENGTH, 0x77));
	close(share);

	pin.flags = DMAPLANE_PIN_RDONLY;
	ASSERT_EQ(0, cmd(self->fd, DMAPLANE_IOC_BUF_PIN, &pin));
	EXPECT_EQ(-EACCES, buf_share(self->fd, pin.handle, R | W));
	share = buf_share(self->fd, pin.handle, R | REMOTE);
	EXPECT_LE(0, share);
	close(share);
	munmap(c.ring, c.length);
	munmap(own, LENGTH);
}

/* What a child that was passed a descriptor finds, and leaves. */
static int child(int socket)
{
	int share = receive_fd(socket), fd = open_device();
	uint8_t *at;
	struct buffer b;
	char byte;

	if (share < 0 || fd < 0)
		return 1;
	if (buf_open(fd, share, R | REMOTE, &b) != -EACCES || buf_open(fd, share, R | W, &b))
		return 2;
	close(share);
	at = buf_map(fd, &b);
	if (at == MAP_FAILED || first_wrong(at, LENGTH, 1) != LENGTH)
		return 3;
	fill(at, LENGTH, 2);
	if (write(socket, "", 1) != 1 || read(socket, &byte, 1) != 1)
		return 4;
	/* Its owner has gone meanwhile. */
	if (first_wrong(at, LENGTH, 3) != LENGTH)
		return 5;
	munmap(at, LENGTH);
	at = buf_map(fd, &b);
	if (at == MAP_FAILED || first_wrong(at, LENGTH, 3) != LENGTH)
		return 6;
	return 0;
}

TEST_F(sharing, another_process)
{
	int socket[2], share, status;
	char byte;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socket));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(socket[0]);
		munmap(self->at, LENGTH);
		close(self->fd);
		close(self->other);
		_exit(child(socket[1]));
	}
	share = buf_share(self->fd, self->buffer.handle, R | W);
	ASSERT_LE(0, share);
	ASSERT_EQ(0, send_fd(socket[0], share));
	EXPECT_EQ(0, close(share));
	EXPECT_EQ(1, read(socket[0], &byte, 1));
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, 2));
	fill(self->at, LENGTH, 3);
	EXPECT_EQ(0, munmap(self->at, LENGTH));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, close(self->other));
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 1));
	EXPECT_EQ(1, live("buffers"));
	EXPECT_EQ((int64_t)LENGTH, live("buffer_bytes"));
	EXPECT_EQ((int64_t)LENGTH, live("memory_bytes"));
	EXPECT_EQ(1, write(socket[0], "", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	close(socket[0]);
	close(socket[1]);
}

struct crowd {
	int fd, share, wrong;
	uint32_t handle;
	bool enough;
};

static void *opens(void *arg)
{
	struct crowd *c = arg;

	while (!__atomic_load_n(&c->enough, __ATOMIC_RELAXED)) {
		struct buffer b;
		uint8_t *at;
		int again;

		if (buf_open(c->fd, c->share, ALL, &b)) {
			__atomic_fetch_add(&c->wrong, 1, __ATOMIC_RELAXED);
			continue;
		}
		at = buf_map(c->fd, &b);
		again = buf_share(c->fd, b.handle, R);
		if (at == MAP_FAILED || again < 0 || buf_destroy(c->fd, b.handle))
			__atomic_fetch_add(&c->wrong, 1, __ATOMIC_RELAXED);
		if (at != MAP_FAILED) {
			at[PAGE] = 1;
			munmap(at, LENGTH);
		}
		if (again >= 0)
			close(again);
	}
	return NULL;
}

TEST_F(sharing, by_everybody_at_once)
{
	struct crowd c = { .fd = self->other };
	struct dmaplane_buf_migrate move;
	pthread_t threads[4];

	c.share = buf_share(self->fd, self->buffer.handle, ALL);
	ASSERT_LE(0, c.share);
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, opens, &c));
	for (int i = 0; i < 200; i++) {
		int share = buf_share(self->fd, self->buffer.handle, R);

		move = ARG(buf_migrate, .handle = self->buffer.handle);
		EXPECT_EQ(0, cmd(self->fd, DMAPLANE_IOC_BUF_MIGRATE, &move));
		EXPECT_LE(0, share);
		close(share);
	}
	__atomic_store_n(&c.enough, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
	EXPECT_EQ(0, c.wrong);
	close(c.share);
}

/* Regions of what was opened: peers reach it only with REMOTE, and write only with WRITE, too. */
TEST(sharing_regions)
{
	const uint32_t remote_write = DMAPLANE_ACCESS_REMOTE_WRITE | DMAPLANE_ACCESS_LOCAL_WRITE;
	int other = open_device(), share;
	struct buffer theirs, b;
	struct pair p = { 0 };

	ASSERT_LE(0, other);
	ASSERT_EQ(0, buf_create(other, LENGTH, &theirs));
	share = buf_share(other, theirs.handle, ALL);
	ASSERT_LE(0, share);
	ASSERT_EQ(0, pair_open(&p));
	for (uint32_t rights = R; rights <= ALL; rights += 2) {
		const struct { uint32_t access, needs; } cases[] = {
			{ 0, R }, { DMAPLANE_ACCESS_LOCAL_WRITE, W },
			{ DMAPLANE_ACCESS_REMOTE_READ, REMOTE }, { remote_write, W | REMOTE },
		};

		ASSERT_EQ(0, buf_open(p.a.fd, share, rights, &b));
		for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
			int wanted = cases[i].needs & ~rights ? -EACCES : 0;
			uint32_t region;

			EXPECT_EQ(wanted, region_register(p.a.fd, p.a.endpoint, b.handle, 0, LENGTH,
							  cases[i].access, &region))
				TH_LOG("%u with %u", cases[i].access, rights);
			if (!wanted) {
				EXPECT_EQ(0, region_deregister(p.a.fd, region));
			}
		}
		EXPECT_EQ(0, buf_destroy(p.a.fd, b.handle));
	}
	pair_close(&p);
	close(share);
	close(other);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("buffers"));
}

TEST_HARNESS_MAIN
