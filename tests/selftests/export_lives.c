// SPDX-License-Identifier: GPL-2.0
/*
 * dma-bufs of a buffer that are passed on to other processes: what they outlive, and that a mapped one
 * stays where it is.
 */
#include "exported.h"
#include "passing.h"

TEST_F(export, many)
{
	int dmabufs[200];

	for (size_t i = 0; i < ARRAY_LEN(dmabufs); i++) {
		dmabufs[i] = export(&self->o, i * PAGE, PAGE, i % 2 ? RDONLY : 0);
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
	int dmabuf = export(&self->o, 0, 0, 0);
	struct dmaplane_stats stats;
	uint8_t *at;

	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, buf_destroy(self->o.fd, self->o.buffer.handle));
	EXPECT_EQ(-ENOENT, export(&self->o, 0, 0, 0));
	munmap(self->o.at, LENGTH);
	ASSERT_EQ(0, get_stats(self->o.fd, &stats));
	EXPECT_EQ(1, stats.buffers);
	EXPECT_EQ(LENGTH, stats.buffer_bytes);
	munmap(self->o.c.ring, self->o.c.length);
	ASSERT_EQ(0, close(self->o.fd));
	self->o.fd = -1;
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

	close_all(&self->o);
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
	int sockets[2], dmabuf = export(&self->o, 0, 0, 0);

	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets));
	ASSERT_EQ(0, send_fd(sockets[0], dmabuf));
	close(dmabuf);
	close_all(&self->o);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(1, live("buffers"));
	close(sockets[0]);
	close(sockets[1]);
	EXPECT_TRUE(WAIT_FOR(live("buffers") == 0));
}

TEST_F(export, stays_while_mapped)
{
	int dmabuf = export(&self->o, 9 * PAGE, 2 * PAGE, 0), readable = export(&self->o, 0, 0, RDONLY);
	uint8_t *one, *other;

	ASSERT_LE(0, dmabuf);
	ASSERT_LE(0, readable);
	EXPECT_EQ(0, migrate(&self->o));
	one = map(dmabuf, 0, PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(MAP_FAILED, one);
	EXPECT_EQ(-EBUSY, migrate(&self->o));
	other = map(readable, 0, LENGTH, PROT_READ);
	ASSERT_NE(MAP_FAILED, other);
	ASSERT_EQ(0, munmap(one, PAGE));
	EXPECT_EQ(-EBUSY, migrate(&self->o));
	/* A part of a mapping is one, too, and needs no descriptor. */
	ASSERT_EQ(0, munmap(other, LENGTH - PAGE));
	close(readable);
	EXPECT_EQ(-EBUSY, migrate(&self->o));
	ASSERT_EQ(0, munmap(other + LENGTH - PAGE, PAGE));
	EXPECT_EQ(0, migrate(&self->o));
	/* One that was refused pins nothing. */
	EXPECT_EQ(EINVAL, map_errno(dmabuf, 0, PAGE, PROT_READ, MAP_PRIVATE));
	EXPECT_EQ(EINVAL, map_errno(dmabuf, PAGE, 2 * PAGE, PROT_READ, MAP_SHARED));
	EXPECT_EQ(0, migrate(&self->o));
	close(dmabuf);
}

/* Entries use the memory as they did. */
TEST_F(export, entries_see_it)
{
	int dmabuf = export(&self->o, 0, 0, 0);
	struct dmaplane_cqe cqe;
	struct buffer other;
	struct dmaplane_sqe sqe;
	uint8_t *at;

	ASSERT_LE(0, dmabuf);
	at = map(dmabuf, 0, LENGTH, PROT_READ | PROT_WRITE);
	ASSERT_NE(MAP_FAILED, at);
	ASSERT_EQ(0, buf_create(self->o.fd, LENGTH, &other));
	fill(at, LENGTH, 6);
	sqe = copy_buffer(self->o.buffer.handle, 0, other.handle, 0, LENGTH);
	ASSERT_EQ(0, channel_do(&self->o.c, &sqe, &cqe));
	EXPECT_EQ(LENGTH, cqe.res);
	memset(at, 0, LENGTH);
	sqe = copy_buffer(other.handle, 0, self->o.buffer.handle, 0, LENGTH);
	ASSERT_EQ(0, channel_do(&self->o.c, &sqe, &cqe));
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
		int dmabuf = export(&u->self->o, first * PAGE, count * PAGE, RDONLY);
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
		if (sync_cpu(i % 2 ? u->self->o.fd : dmabuf,
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
		int ret = migrate(&self->o);

		EXPECT_TRUE(ret == 0 || ret == -EBUSY) TH_LOG("%d", ret);
	}
	for (size_t i = 0; i < ARRAY_LEN(users); i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, users[i].wrong) TH_LOG("user %zu", i);
	}
	EXPECT_EQ(0, migrate(&self->o));
	EXPECT_EQ(1, mappings(&self->o));
	EXPECT_EQ(LENGTH, first_wrong(self->o.at, LENGTH, 1));
}

/* Each byte of a large one, both ways, by a mapping of all and by those of parts. */
TEST_F(export, large)
{
	const uint32_t kinds[] = { DMAPLANE_BUF_NO_HUGE, 0, DMAPLANE_BUF_HUGE };
	const uint64_t length = 16ULL << 20, part = 3 * (1ULL << 20) + PAGE;

	for (unsigned int i = 0; i < ARRAY_LEN(kinds); i++) {
		struct buffer buffer;
		uint8_t *own, *at;
		int dmabuf;

		ASSERT_EQ(0, buf_create_at(self->o.fd, length, DMAPLANE_NODE_ANY, kinds[i], &buffer));
		own = buf_map(self->o.fd, &buffer);
		ASSERT_NE(MAP_FAILED, own);
		fill(own, length, i);
		dmabuf = buf_export(self->o.fd, buffer.handle, 0, 0, 0);
		ASSERT_LE(0, dmabuf);
		at = map(dmabuf, 0, length, PROT_READ | PROT_WRITE);
		ASSERT_NE(MAP_FAILED, at);
		EXPECT_EQ(length, first_wrong(at, length, i));
		fill(at, length, i + 1);
		EXPECT_EQ(length, first_wrong(own, length, i + 1));
		munmap(at, length);
		for (uint64_t from = 0; from < length; from += part) {
			uint64_t size = length - from < part ? length - from : part;

			at = map(dmabuf, from, size, PROT_READ);
			ASSERT_NE(MAP_FAILED, at);
			EXPECT_EQ(0, memcmp(at, own + from, size));
			munmap(at, size);
		}
		close(dmabuf);
		munmap(own, length);
		EXPECT_EQ(0, buf_destroy(self->o.fd, buffer.handle));
	}
}

/* Each counts until the last who has it is gone. */
TEST_F(export, counted)
{
	int first = export(&self->o, 0, 0, 0), second = export(&self->o, PAGE, PAGE, RDONLY), again;
	uint8_t *at;

	ASSERT_LE(0, first);
	ASSERT_LE(0, second);
	EXPECT_EQ(2, live("dmabufs"));
	EXPECT_EQ(2, fdinfo(self->o.fd, "dmabufs"));
	again = dup(first);
	close(first);
	EXPECT_EQ(2, live("dmabufs"));
	at = map(again, 0, PAGE, PROT_READ);
	ASSERT_NE(MAP_FAILED, at);
	close(again);
	EXPECT_EQ(2, live("dmabufs"));
	munmap(at, PAGE);
	EXPECT_TRUE(WAIT_FOR(live("dmabufs") == 1));
	close_all(&self->o);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(1, live("dmabufs"));
	close(second);
	EXPECT_TRUE(WAIT_FOR(live("dmabufs") == 0));
}

struct racing {
	int fd;
	uint32_t handle;
	uint64_t exported;
	int error;
	bool stop;
};

static void *export_what_is_there(void *arg)
{
	struct racing *r = arg;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		uint32_t handle = __atomic_load_n(&r->handle, __ATOMIC_ACQUIRE);
		int dmabuf = buf_export(r->fd, handle, 0, 0, 0), error = 0;
		uint8_t *at;

		if (dmabuf == -ENOENT)
			continue;
		at = dmabuf < 0 ? MAP_FAILED : map(dmabuf, 0, PAGE, PROT_READ);
		/* The first bytes say whose they are. */
		if (at == MAP_FAILED)
			error = dmabuf < 0 ? dmabuf : -errno;
		else if (*(uint32_t *)at != handle)
			error = -EBADMSG;
		else
			__atomic_add_fetch(&r->exported, 1, __ATOMIC_RELAXED);
		if (at != MAP_FAILED)
			munmap(at, PAGE);
		if (dmabuf >= 0)
			close(dmabuf);
		if (error) {
			__atomic_store_n(&r->error, error, __ATOMIC_RELAXED);
			break;
		}
	}
	return NULL;
}

/* Whose handle another thread destroys: there is none, or it is of that very buffer. */
TEST_F(export, destroyed_meanwhile)
{
	struct racing r = { .fd = self->o.fd };
	pthread_t threads[2];
	int rounds = instrumented() ? 200 : 2000;

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, export_what_is_there, &r));
	for (int i = 0; i < rounds || (!__atomic_load_n(&r.exported, __ATOMIC_RELAXED) &&
				       !__atomic_load_n(&r.error, __ATOMIC_RELAXED) && i < 1000 * rounds); i++) {
		struct buffer buffer;
		uint8_t *at;

		ASSERT_EQ(0, buf_create(self->o.fd, PAGE, &buffer));
		at = buf_map(self->o.fd, &buffer);
		ASSERT_NE(MAP_FAILED, at);
		*(uint32_t *)at = buffer.handle;
		__atomic_store_n(&r.handle, buffer.handle, __ATOMIC_RELEASE);
		munmap(at, PAGE);
		if (i % 8 == 0)
			sched_yield();
		ASSERT_EQ(0, buf_destroy(self->o.fd, buffer.handle));
	}
	__atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
	EXPECT_EQ(0, r.error);
	EXPECT_LT(0, r.exported);
}

TEST_HARNESS_MAIN
