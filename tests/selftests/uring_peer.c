// SPDX-License-Identifier: GPL-2.0
/*
 * Entries that come by io_uring and need a peer: messages, what waits for them, and how
 * what waits ends when io_uring, its task or its connection does. Where immediates are refused
 * (see pair.h) nothing arrives, and the rest is the same.
 */
#include "pair.h"
#include "uring.h"
#include "harness.h"

FIXTURE(uring_peer) {
	struct pair p;		/* a sends; b has 16 places, 4 of them for receives */
	bool sends;
	uint32_t counter;	/* of b, for the immediate 1 */
	int file_a, file_b;
	struct uring u;
};

FIXTURE_SETUP(uring_peer)
{
	struct pair *p = &self->p;
	struct dmaplane_counter_create arg = ARG(counter_create, .imm = 1, .mask = UINT32_MAX);

	p->b.recv_depth = 4;
	ASSERT_EQ(0, side_open(&p->a, 16));
	ASSERT_EQ(0, side_open(&p->b, 16));
	ASSERT_EQ(0, pair_connect(p));
	self->sends = can_write(&p->a);
	arg.endpoint = p->b.endpoint;
	ASSERT_EQ(0, cmd(p->b.fd, DMAPLANE_IOC_COUNTER_CREATE, &arg));
	self->counter = arg.handle;
	self->file_a = channel_file(&p->a.ch);
	self->file_b = channel_file(&p->b.ch);
	ASSERT_LE(0, self->file_a);
	ASSERT_LE(0, self->file_b);
	/* Its completions do not interrupt other calls of this task. */
	ASSERT_EQ(0, uring_open(&self->u, 64, IORING_SETUP_SQE128 | IORING_SETUP_CQE32 |
				IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN));
}

/* Nothing is in flight, soon after the ring is gone at the latest. */
static bool all_complete(const struct side *s)
{
	struct dmaplane_stats stats;

	return WAIT_FOR(!get_stats(s->fd, &stats) && stats.submitted == stats.completed);
}

FIXTURE_TEARDOWN(uring_peer)
{
	if (self->u.fd >= 0)
		uring_close(&self->u);
	EXPECT_TRUE(all_complete(&self->p.b));
	EXPECT_EQ(0, close(self->file_a));
	EXPECT_EQ(0, close(self->file_b));
	pair_close(&self->p);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("counters"));
	EXPECT_TRUE(WAIT_FOR(live("endpoints") == 0));
	EXPECT_EQ(0, live("channels"));
}

static struct dmaplane_sqe await(const struct side *s, uint32_t counter, uint64_t value,
				 uint64_t user_data)
{
	struct dmaplane_sqe sqe;

	dmaplane_prep_counter_wait(&sqe, s->endpoint, counter, value);
	dmaplane_sqe_set_user_data(&sqe, user_data);
	return sqe;
}

static struct dmaplane_sqe message(const struct side *s, uint32_t imm)
{
	struct dmaplane_sqe sqe;

	dmaplane_prep_imm_only(&sqe, s->endpoint, imm);
	return sqe;
}

#define PUSH(file, entry, user_data) ({						\
	struct dmaplane_sqe __entry = (entry);					\
	uring_push(&self->u, file, &__entry, user_data);			\
})

#define SUBMIT() ASSERT_LE(0, uring_submit(&self->u))

#define EXPECT_DONE(expected_user_data, expected_res) ({			\
	struct io_uring_cqe __cqe = { 0 };					\
										\
	ASSERT_EQ(0, uring_next(&self->u, &__cqe));				\
	EXPECT_EQ(expected_user_data, __cqe.user_data);				\
	EXPECT_EQ(expected_res, __cqe.res);					\
})

/* Nothing is told that should not be. */
#define EXPECT_NOTHING() ({							\
	struct io_uring_cqe __cqe;						\
										\
	sleep_ms(20);								\
	uring_enter(&self->u, 0, 0, 0);						\
	EXPECT_FALSE(uring_peek(&self->u, &__cqe, NULL));			\
})

/* A wait of b for a message that may never come, which has begun. */
#define AWAIT(value, user_data) ({						\
	PUSH(self->file_b, await(&self->p.b, self->counter, value, user_data), user_data); \
	SUBMIT();								\
})

TEST_F(uring_peer, writes)
{
	struct side *a = &self->p.a, *b = &self->p.b;
	int length = written(a, 1000);
	struct memory from, to;
	struct dmaplane_cqe cqe;
	uint32_t lease;

	ASSERT_EQ(0, memory_make(a, 1 << 16, 0, &from));
	ASSERT_EQ(0, target(b, a, 1 << 16, &to, &lease));
	fill(from.at, 1 << 16, 5);
	for (int i = 0; i < 20; i++) {
		PUSH(self->file_a, write_imm(a, from.region, lease, i * 1000, i * 1000, 1000, i + 2),
		     i);
		SUBMIT();
		if (i % 4 != 3)
			continue;
		for (int j = i - 3; j <= i; j++)
			EXPECT_DONE(j, length);
		for (int j = i - 3; j <= i && self->sends; j++) {
			ASSERT_EQ(0, channel_next(&b->ch, &cqe));
			EXPECT_EQ(DMAPLANE_OP_RECV, cqe.opcode);
			EXPECT_EQ(j + 2, cqe.imm);
		}
	}
	if (self->sends)
		EXPECT_EQ(20000, first_wrong(to.at, 20000, 5));
	EXPECT_EQ(0, load_acquire(&a->ch.ring->cq_tail));
	/* No key is in use any more. */
	EXPECT_EQ(0, region_deregister(a->fd, from.region));
	munmap(from.at, 1 << 16);
	munmap(to.at, 1 << 16);
}

TEST_F(uring_peer, wrong_writes)
{
	struct side *a = &self->p.a, *b = &self->p.b;
	struct dmaplane_cqe more = { 0 };
	struct memory from, to;
	struct io_uring_cqe cqe;
	uint32_t lease;
	struct { struct dmaplane_sqe sqe; int res; } wrong[7];

	ASSERT_EQ(0, memory_make(a, 4096, 0, &from));
	ASSERT_EQ(0, target(b, a, 4096, &to, &lease));
	wrong[0].sqe = write_imm(a, from.region, lease + 1, 0, 0, 1, 0);
	wrong[0].res = -ENOKEY;
	wrong[1].sqe = write_imm(a, from.region, lease, 4096, 0, 1, 0);
	wrong[1].res = -ERANGE;
	wrong[2].sqe = write_imm(a, from.region, lease, 0, UINT64_MAX, 1, 0);
	wrong[2].res = -EOVERFLOW;
	wrong[3].sqe = write_imm(a, from.buffer.handle, lease, 0, 0, 1, 0);
	wrong[3].res = -EBADF;
	wrong[4].sqe = write_imm(a, from.region, lease, 0, 0, UINT32_MAX, 0);
	wrong[4].res = -EFBIG;
	wrong[5].sqe = write_imm(a, 0, lease, 0, 0, 0, 0);
	wrong[5].res = -EINVAL;
	wrong[6].sqe = write_imm(a, from.region, lease, 0, 0, 4097, 0);
	wrong[6].res = -ERANGE;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		PUSH(self->file_a, wrong[i].sqe, i);
		SUBMIT();
		ASSERT_EQ(0, uring_next_within(&self->u, &cqe, &more, PATIENCE));
		EXPECT_EQ(wrong[i].res, cqe.res) TH_LOG("entry %zu", i);
		EXPECT_EQ(wrong[i].sqe.opcode, more.opcode);
	}
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(a->fd, a->endpoint));
	munmap(from.at, 4096);
	munmap(to.at, 4096);
}

/* SEND, RECV and INVALIDATE, and what a completion has room for. */
TEST_F(uring_peer, messages)
{
	struct side *a = &self->p.a, *b = &self->p.b;
	struct dmaplane_cqe more = { 0 };
	struct memory from;
	struct dmaplane_sqe sqe;
	struct io_uring_cqe cqe;
	struct buffer buffer;
	uint8_t *at;

	ASSERT_EQ(0, memory_make(a, 4096, DMAPLANE_ACCESS_LOCAL_WRITE, &from));
	ASSERT_EQ(0, buf_create(b->fd, 4096, &buffer));
	at = buf_map(b->fd, &buffer);
	ASSERT_NE(MAP_FAILED, at);
	fill(from.at, 4096, 6);
	/* It waits for a message, is cancelled, and another one has it. */
	sqe = (struct dmaplane_sqe){ .opcode = DMAPLANE_OP_RECV, .endpoint = b->endpoint,
				     .user_data = 60, .lease = buffer.handle, .length = 100 };
	PUSH(self->file_b, sqe, 1);
	SUBMIT();
	EXPECT_NOTHING();
	PUSH(self->file_b, cancel(0, b->endpoint, 60, 0), 2);
	SUBMIT();
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, uring_next(&self->u, &cqe));
		EXPECT_EQ(cqe.user_data == 2 ? 1 : -ECANCELED, cqe.res);
	}
	PUSH(self->file_b, sqe, 3);
	PUSH(self->file_a, ((struct dmaplane_sqe){
		.opcode = DMAPLANE_OP_SEND_IMM, .endpoint = a->endpoint, .region = from.region,
		.length = 64, .imm = 0x5678 }), 4);
	SUBMIT();
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, uring_next_within(&self->u, &cqe, &more, PATIENCE));
		if (cqe.user_data == 3) {
			EXPECT_EQ(64, cqe.res);
			EXPECT_EQ(DMAPLANE_OP_RECV, more.opcode);
			EXPECT_EQ(0x5678, more.imm);
			EXPECT_EQ(DMAPLANE_CQE_F_IMM | DMAPLANE_CQE_F_ENTRY, more.flags);
		} else {
			EXPECT_EQ(4, cqe.user_data);
			EXPECT_EQ(64, cqe.res);
			EXPECT_EQ(DMAPLANE_OP_SEND_IMM, more.opcode);
		}
	}
	EXPECT_EQ(64, first_wrong(at, 64, 6));
	/* One entry has one completion. */
	sqe.flags = DMAPLANE_SQE_MULTISHOT;
	sqe.imm = 2;
	PUSH(self->file_b, sqe, 5);
	SUBMIT();
	ASSERT_EQ(0, uring_next_within(&self->u, &cqe, &more, PATIENCE));
	EXPECT_EQ(-EINVAL, cqe.res);
	EXPECT_EQ(DMAPLANE_CQE_F_ENTRY, more.flags);
	PUSH(self->file_a, ((struct dmaplane_sqe){ .opcode = DMAPLANE_OP_INVALIDATE,
						   .region = from.region }), 6);
	SUBMIT();
	EXPECT_DONE(6, 0);
	EXPECT_EQ(0, channel_available(&b->ch));
	munmap(from.at, 4096);
	munmap(at, 4096);
}

/* More than can be sent at once, in order, and cancelled before they are. */
TEST_F(uring_peer, queued)
{
	struct side *a = &self->p.a, *b = &self->p.b;
	int res = self->sends ? 0 : -EOPNOTSUPP;
	struct dmaplane_cqe cqe;

	for (int i = 0; i < 16; i++)
		PUSH(self->file_a, message(a, i + 2), i);
	SUBMIT();
	for (int i = 0; i < 16; i++)
		EXPECT_DONE(i, res);
	for (int i = 0; i < 16 && self->sends; i++) {
		ASSERT_EQ(0, channel_next(&b->ch, &cqe));
		EXPECT_EQ(i + 2, cqe.imm);
	}
	if (!self->sends)
		return;
	ASSERT_EQ(0, channel_enter(&b->ch, 0, 0, 0));
	/* All that b has room for. */
	for (int i = 0; i < 16; i++)
		PUSH(self->file_a, message(a, i + 2), i);
	SUBMIT();
	for (int i = 0; i < 16; i++)
		EXPECT_DONE(i, 0);
	for (int i = 0; i < 4; i++)
		PUSH(self->file_a, message(a, 100 + i), i);
	SUBMIT();
	EXPECT_NOTHING();
	PUSH(self->file_a, cancel(0, a->endpoint, 0, DMAPLANE_CANCEL_ALL), 50);
	SUBMIT();
	EXPECT_DONE(50, 4);
	for (int i = 0; i < 4; i++)
		EXPECT_DONE(i, -ECANCELED);
}

TEST_F(uring_peer, wait)
{
	struct side *a = &self->p.a;
	int res = self->sends ? 0 : -EOPNOTSUPP;

	AWAIT(0, 1);
	EXPECT_DONE(1, 0);
	AWAIT(2, 2);
	AWAIT(1, 3);
	EXPECT_NOTHING();
	PUSH(self->file_a, message(a, 1), 4);
	SUBMIT();
	if (self->sends) {
		uint64_t seen = 0;

		for (int i = 0; i < 2; i++) {
			struct io_uring_cqe cqe;

			ASSERT_EQ(0, uring_next(&self->u, &cqe));
			EXPECT_EQ(0, cqe.res);
			seen |= 1 << cqe.user_data;
		}
		EXPECT_EQ(1 << 3 | 1 << 4, seen);
	} else {
		EXPECT_DONE(4, res);
	}
	EXPECT_NOTHING();
}

/* As many as the ring has places may wait, and what does not wait is no more than that. */
TEST_F(uring_peer, most)
{
	for (int i = 0; i < 16; i++)
		AWAIT(1, i);
	AWAIT(1, 99);
	EXPECT_DONE(99, -EBUSY);
	PUSH(self->file_b, nop(0, 0), 98);
	SUBMIT();
	EXPECT_DONE(98, 0);
	PUSH(self->file_b, cancel(0, self->p.b.endpoint, 7, 0), 97);
	SUBMIT();
	for (int i = 0; i < 2; i++) {
		struct io_uring_cqe cqe;

		ASSERT_EQ(0, uring_next(&self->u, &cqe));
		EXPECT_EQ(cqe.user_data == 97 ? 1 : -ECANCELED, cqe.res);
		EXPECT_TRUE(cqe.user_data == 97 || cqe.user_data == 7);
	}
	AWAIT(1, 7);
	EXPECT_NOTHING();
	EXPECT_EQ(0, end(self->p.b.fd, DMAPLANE_IOC_COUNTER_DESTROY, self->counter));
	for (int i = 0; i < 16; i++) {
		struct io_uring_cqe cqe;

		ASSERT_EQ(0, uring_next(&self->u, &cqe));
		EXPECT_EQ(-ECANCELED, cqe.res);
	}
}

/* io_uring's own cancellation finds no command that was begun. */
TEST_F(uring_peer, async_cancel)
{
	struct io_uring_sqe *sqe;
	struct io_uring_cqe cqe;

	AWAIT(1, 5);
	sqe = uring_get(&self->u);
	sqe->opcode = IORING_OP_ASYNC_CANCEL;
	sqe->fd = -1;
	sqe->addr = 5;
	sqe->user_data = 6;
	SUBMIT();
	ASSERT_EQ(0, uring_next(&self->u, &cqe));
	EXPECT_EQ(6, cqe.user_data);
	EXPECT_EQ(-ENOENT, cqe.res);
	EXPECT_NOTHING();
}

/* A timeout that is linked cannot end it either, and is no harm. */
TEST_F(uring_peer, link_timeout)
{
	struct __kernel_timespec ts = { .tv_nsec = 10 * MS };
	struct io_uring_sqe *sqe;
	struct io_uring_cqe cqe;

	PUSH(self->file_b, await(&self->p.b, self->counter, 1, 1), 1)->flags = IOSQE_IO_LINK;
	sqe = uring_get(&self->u);
	sqe->opcode = IORING_OP_LINK_TIMEOUT;
	sqe->addr = (uintptr_t)&ts;
	sqe->len = 1;
	sqe->user_data = 2;
	SUBMIT();
	ASSERT_EQ(0, uring_next(&self->u, &cqe));
	EXPECT_EQ(2, cqe.user_data);
	EXPECT_NOTHING();
	PUSH(self->file_b, cancel(0, self->p.b.endpoint, 1, 0), 3);
	SUBMIT();
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, uring_next(&self->u, &cqe));
		EXPECT_EQ(cqe.user_data == 3 ? 1 : -ECANCELED, cqe.res);
	}
}

TEST_F(uring_peer, endpoint_closed)
{
	AWAIT(1, 1);
	EXPECT_EQ(0, endpoint_close(self->p.b.fd, self->p.b.endpoint));
	EXPECT_DONE(1, -ECANCELED);
	AWAIT(1, 2);
	EXPECT_DONE(2, -ENOENT);
}

/* What ends there is the peer. */
TEST_F(uring_peer, peer_closed)
{
	AWAIT(1, 1);
	EXPECT_EQ(0, endpoint_close(self->p.a.fd, self->p.a.endpoint));
	EXPECT_DONE(1, -ECONNRESET);
}

/* A wait outlives its channel, as one in its ring does, and is counted or ended all the same. */
TEST_F(uring_peer, channel_closed)
{
	struct side *a = &self->p.a, *b = &self->p.b;
	struct channel other;
	struct dmaplane_sqe sqe;
	int file;

	ASSERT_EQ(0, channel_open(b->fd, 8, 8, &other));
	file = channel_file(&other);
	ASSERT_LE(0, file);
	PUSH(file, await(b, self->counter, 1, 1), 1);
	PUSH(file, await(b, self->counter, 2, 2), 2);
	SUBMIT();
	ASSERT_EQ(0, end(b->fd, DMAPLANE_IOC_CHANNEL_CLOSE, other.handle));
	munmap(other.ring, other.length);
	EXPECT_EQ(0, close(file));
	EXPECT_NOTHING();
	if (self->sends) {
		sqe = message(a, 1);
		ASSERT_EQ(1, channel_submit(&a->ch, &sqe));
		EXPECT_DONE(1, 0);
	}
}

static long waits_of(const struct side *s)
{
	struct dmaplane_stats stats;
	int ret = get_stats(s->fd, &stats);

	return ret ?: (long)(stats.submitted - stats.completed);
}

/* Without anybody who could be told. */
TEST_F(uring_peer, uring_closed)
{
	for (int i = 0; i < 8; i++)
		AWAIT(i + 1, i);
	EXPECT_EQ(8, waits_of(&self->p.b));
	uring_close(&self->u);
	self->u.fd = -1;
	EXPECT_TRUE(all_complete(&self->p.b));
	/* The rest goes on. */
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(self->p.b.fd, self->p.b.endpoint));
}

/* A child with four entries that wait. How it goes on is up to @end. */
static pid_t child_with(int file, const struct dmaplane_sqe *sqe, uint32_t flags,
			void (*end)(struct uring *))
{
	struct uring u;
	int ready[2];
	char byte;
	pid_t pid;

	if (pipe(ready))
		return -1;
	pid = fork();
	if (!pid) {
		close(ready[0]);
		if (uring_open(&u, 8, IORING_SETUP_SQE128 | flags))
			_exit(1);
		for (int i = 0; i < 4; i++)
			uring_push(&u, file, sqe, i);
		if (uring_submit(&u) < 0)
			_exit(2);
		close(ready[1]);
		end(&u);
		_exit(0);
	}
	close(ready[1]);
	if (pid > 0 && read(ready[0], &byte, 1))
		pid = -1;
	close(ready[0]);
	return pid;
}

static pid_t waiting_child(FIXTURE_DATA(uring_peer) *self, uint32_t flags,
			   void (*end)(struct uring *))
{
	struct dmaplane_sqe sqe = await(&self->p.b, self->counter, 1, 1);

	return child_with(self->file_b, &sqe, flags, end);
}

static void sleeps(struct uring *u)
{
	for (;;)
		uring_enter(u, 0, 1, SEC);
}

static void exits(struct uring *u)
{
	(void)u;
}

static void executes(struct uring *u)
{
	(void)u;
	execlp("true", "true", NULL);
	_exit(3);
}

/* Closed, and then without a task that could do what is left. */
static void stops(struct uring *u)
{
	uring_close(u);
	raise(SIGSTOP);
}

static void ends_with(struct __test_metadata *_metadata, FIXTURE_DATA(uring_peer) *self,
		      void (*end)(struct uring *), int signal)
{
	const uint32_t flags[] = { 0, IORING_SETUP_SQPOLL,
				   IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN };

	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		pid_t pid = waiting_child(self, flags[i], end);
		int status = 0;

		ASSERT_LT(0, pid);
		if (signal) {
			EXPECT_TRUE(WAIT_FOR(waits_of(&self->p.b) == 4));
			EXPECT_EQ(0, kill(pid, signal));
		}
		EXPECT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(signal, status);
		ASSERT_TRUE(all_complete(&self->p.b));
	}
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(self->p.b.fd, self->p.b.endpoint));
}

TEST_F(uring_peer, killed)
{
	ends_with(_metadata, self, sleeps, SIGKILL);
}

/* With messages that wait for credits: none of them is sent afterwards. */
TEST_F(uring_peer, killed_queued)
{
	struct side *a = &self->p.a, *b = &self->p.b;
	struct dmaplane_sqe sqe = message(a, 3);
	struct dmaplane_cqe cqe;
	pid_t pid;
	int taken = 0;

	if (!self->sends)
		return;
	/* All that b has room for. */
	for (int i = 0; i < 16; i++)
		PUSH(self->file_a, message(a, 2), i);
	SUBMIT();
	for (int i = 0; i < 16; i++)
		EXPECT_DONE(i, 0);
	pid = child_with(self->file_a, &sqe, 0, sleeps);
	ASSERT_LT(0, pid);
	EXPECT_EQ(4, waits_of(a));
	EXPECT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(pid, waitpid(pid, NULL, 0));
	EXPECT_TRUE(all_complete(a));
	while (taken < 16 && !channel_next(&b->ch, &cqe)) {
		EXPECT_EQ(2, cqe.imm);
		taken++;
	}
	EXPECT_EQ(16, taken);
	EXPECT_EQ(0, fence(a, b));
	EXPECT_EQ(0, channel_available(&b->ch));
}

TEST_F(uring_peer, exited)
{
	ends_with(_metadata, self, exits, 0);
}

TEST_F(uring_peer, executed)
{
	ends_with(_metadata, self, executes, 0);
}

TEST_F(uring_peer, stopped)
{
	pid_t pid = waiting_child(self, 0, stops);
	int status;

	ASSERT_LT(0, pid);
	ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
	EXPECT_TRUE(WIFSTOPPED(status));
	EXPECT_TRUE(all_complete(&self->p.b));
	sleep_ms(300);
	EXPECT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
}

/* A context that only an entry under way keeps, until the ring goes as well. */
TEST_F(uring_peer, last_holder)
{
	struct buffer buffer;
	struct side c;
	int file;

	ASSERT_EQ(0, side_open(&c, 8));
	file = channel_file(&c.ch);
	ASSERT_LE(0, file);
	ASSERT_EQ(0, buf_create(c.fd, 64 << 20, &buffer));
	PUSH(file, fill_buffer(buffer.handle, 0, 64 << 20, 1), 1);
	SUBMIT();
	side_close(&c);
	EXPECT_EQ(0, close(file));
	uring_close(&self->u);
	self->u.fd = -1;
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 2));
}

TEST_HARNESS_MAIN
