// SPDX-License-Identifier: GPL-2.0
/*
 * Entries that change while the kernel takes them: a thread rewrites all bytes of the
 * submission ring, torn and never at rest, with what may mean something and what does not,
 * while another one submits. What is accepted is completed once, and nobody else notices.
 */
#include "pair.h"
#include "harness.h"

#define ROUNDS	4
#define BYTES	(64 * 1024)
#define SQ	64
#define CQ	256
#define MOST	(1 << 18)	/* entries of a round */

static const int known[] = {
	EINVAL, EOPNOTSUPP, ENOENT, EBADF, ENOKEY, EKEYREVOKED, EACCES, EOVERFLOW, ERANGE, EFBIG,
	E2BIG, EDQUOT, EMSGSIZE, EXDEV, ENOTCONN, EAGAIN, ENOMEM, EBUSY, EALREADY, ECANCELED,
	ECONNRESET, EREMOTEIO, EPROTO, ENODEV, EIO,
};

static bool is_known(int res)
{
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (res == -known[i])
			return true;
	return res >= 0;
}

/* What entries can name. */
struct names {
	uint32_t endpoint, region, buffer, counter, lease, channel;
};

struct rewriter {
	uint8_t *sqes;
	struct names names;
	bool all;		/* what entries are known by as well, and that they be silent */
	unsigned int seed;
	bool stop;
};

/* One that may succeed. */
static struct dmaplane_sqe good_entry(struct rewriter *w)
{
	static const uint32_t lengths[] = { 0, 1, 8, 200, 4096, 30000 };
	uint32_t x = rand_r(&w->seed), length = lengths[x / 16 % ARRAY_LEN(lengths)];
	uint64_t here = x / 256 % 4096, there = x / 65536 % 4096;
	const struct names *n = &w->names;
	struct dmaplane_sqe sqe;

	switch (x % 13) {
	case 0:
		dmaplane_prep_nop(&sqe);
		break;
	case 1:
		dmaplane_prep_write_imm(&sqe, n->endpoint, n->region, here, n->lease, there,
					length, x);
		break;
	case 2:
		dmaplane_prep_recv(&sqe, n->endpoint, n->buffer, here, 240);
		break;
	case 3:
		dmaplane_prep_copy(&sqe, n->buffer, here, n->buffer, 32768 + there, length);
		break;
	case 4:
		dmaplane_prep_fill(&sqe, n->buffer, there, length, x >> 24 & 1);
		break;
	case 5:
		dmaplane_prep_imm_only(&sqe, n->endpoint, x);
		break;
	case 6:
		dmaplane_prep_cancel(&sqe, x & 1024 ? n->endpoint : 0, x & 2048 ? 0 : x >> 16,
				     x & 2048 ? DMAPLANE_CANCEL_ALL : 0);
		break;
	case 7:
		dmaplane_prep_counter_wait(&sqe, n->endpoint, n->counter, x / 64 % 4);
		break;
	case 8:
		dmaplane_prep_write(&sqe, n->endpoint, n->region, here, n->lease, there, length);
		break;
	case 9:
		dmaplane_prep_read(&sqe, n->endpoint, n->region, here, n->lease, there, length);
		break;
	case 10:
		/* Else there soon is none. */
		dmaplane_prep_invalidate(&sqe, x / 64 % 64 ? n->counter : n->region);
		break;
	case 11:
		dmaplane_prep_send(&sqe, n->endpoint, n->region, here, length % 241);
		break;
	default:
		dmaplane_prep_recv_multishot(&sqe, n->endpoint, n->buffer, here, 240, 3);
		break;
	}
	return sqe;
}

/* One that may, or may not. */
static struct dmaplane_sqe any_entry(struct rewriter *w)
{
	struct dmaplane_sqe sqe = good_entry(w);
	uint32_t x = rand_r(&w->seed);

	if (x % 8 == 0)
		sqe.flags |= x >> 8;
	if (x % 8 == 1) {
		sqe.flags |= x & 64 ? DMAPLANE_SQE_SEGMENTS : DMAPLANE_SQE_PAGES;
		sqe.list = w->names.buffer;
		sqe.list_count = x / 128 % 20;
		sqe.list_offset = x / 4096 % 8 * 8;
		sqe.length = x & 64 ? 0 : 8;
	}
	if (x % 8 == 2)
		((uint32_t *)&sqe)[x / 8 % 16] = x & 1024 ? w->names.channel : x * 3;
	return sqe;
}

static void *rewrite(void *arg)
{
	struct rewriter *w = arg;

	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
		uint8_t *at = w->sqes + rand_r(&w->seed) % SQ * sizeof(struct dmaplane_sqe);
		struct dmaplane_sqe sqe = any_entry(w);
		const uint8_t *from = (const uint8_t *)&sqe;

		if (!w->all)
			sqe.flags &= ~DMAPLANE_SQE_CQE_SKIP_SUCCESS;
		for (size_t i = 0; i < sizeof(sqe); i++) {
			if (w->all || i < 8 || i >= 16)
				((volatile uint8_t *)at)[i] = from[i];
			/* Halves of two. */
			if (rand_r(&w->seed) % 256 == 0)
				break;
		}
		if (rand_r(&w->seed) % 32 == 0) {
			size_t i = rand_r(&w->seed) % sizeof(sqe);
			uint8_t value = rand_r(&w->seed);

			if (i == offsetof(struct dmaplane_sqe, flags) && !w->all)
				value &= ~DMAPLANE_SQE_CQE_SKIP_SUCCESS;
			if (w->all || i < 8 || i >= 16)
				((volatile uint8_t *)at)[i] = value;
		}
	}
	return NULL;
}

FIXTURE(rewritten) {
	int fd;			/* another context */
	struct channel other;
};

/* Whether what an entry is known by changes as well: then they can only be counted. */
FIXTURE_VARIANT(rewritten) {
	bool all;
};

FIXTURE_VARIANT_ADD(rewritten, but_user_data) { .all = false };
FIXTURE_VARIANT_ADD(rewritten, all_bytes) { .all = true };

FIXTURE_SETUP(rewritten)
{
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, channel_open(self->fd, 8, 8, &self->other));
}

static bool works(struct channel *c)
{
	struct dmaplane_sqe sqe = nop(0x600d, 0);
	struct dmaplane_cqe cqe;

	return !channel_do(c, &sqe, &cqe) && cqe.user_data == 0x600d && !cqe.res;
}

FIXTURE_TEARDOWN(rewritten)
{
	EXPECT_TRUE(works(&self->other));
	EXPECT_EQ(0, channel_close(&self->other));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("buffers"));
	EXPECT_EQ(0, live("regions"));
	EXPECT_TRUE(WAIT_FOR(live("endpoints") == 0));
}

/* One round: a's entries are rewritten. */
struct round {
	struct pair p;
	struct channel good;		/* a's, too */
	struct memory near, far, peers;	/* a's; b's, which a may use; b's own */
	uint32_t counter, lease;
	uint32_t pushed, done;
	bool completed[MOST];
	int results[256];		/* of completions by opcode, good ones */
};

/* The peer takes what comes, and sends something that entries may wait for. */
static void peer_goes_on(struct round *r)
{
	struct side *b = &r->p.b;
	struct dmaplane_endpoint_query got;
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;

	while (channel_reap(&b->ch, &cqe))
		;
	if (query(b->fd, b->endpoint, &got) || got.state != DMAPLANE_STATE_ESTABLISHED)
		return;
	for (uint32_t i = 0; i < got.unread; i++) {
		dmaplane_prep_recv(&sqe, b->endpoint, r->peers.buffer.handle, 0, 4096);
		channel_push(&b->ch, &sqe);
	}
	if (got.credits > 2 && got.queued == 0) {
		dmaplane_prep_send(&sqe, b->endpoint, r->peers.region, 0, 8);
		channel_push(&b->ch, &sqe);
		sqe = write_imm(b, 0, 0, 0, 0, 0, 1);
		channel_push(&b->ch, &sqe);
	}
	channel_enter(&b->ch, b->ch.sq_entries, 0, 0);
}

static void take(struct __test_metadata *_metadata, struct round *r, bool all)
{
	struct channel *c = &r->p.a.ch;
	uint32_t accepted = load_acquire(&c->ring->sq_head);
	struct dmaplane_cqe cqe;

	while (channel_reap(c, &cqe)) {
		/* What the peer sent, without an entry. */
		if (cqe.opcode == DMAPLANE_OP_RECV && cqe.user_data == RECV_DATA)
			continue;
		ASSERT_TRUE(is_known(cqe.res)) {
			TH_LOG("opcode %d: %d", cqe.opcode, cqe.res);
		}
		if (!all)
			ASSERT_LT(cqe.user_data, accepted);
		if (cqe.flags & DMAPLANE_CQE_F_MORE)
			continue;
		r->done++;
		r->results[cqe.opcode] += cqe.res >= 0;
		if (all)
			continue;
		ASSERT_FALSE(r->completed[cqe.user_data]) {
			TH_LOG("entry %d a second time", (int)cqe.user_data);
		}
		r->completed[cqe.user_data] = true;
	}
	ASSERT_LE(r->done, accepted);
}

static void begin(struct __test_metadata *_metadata, struct round *r)
{
	struct side *a = &r->p.a, *b = &r->p.b;
	struct dmaplane_counter_create arg;

	ASSERT_EQ(0, side_open(b, CQ));
	a->fd = open_device();
	ASSERT_LE(0, a->fd);
	ASSERT_EQ(0, channel_open(a->fd, SQ, CQ, &a->ch));
	ASSERT_EQ(0, channel_open(a->fd, 8, 8, &r->good));
	ASSERT_EQ(0, pair_connect(&r->p));
	ASSERT_EQ(0, memory_make(a, BYTES, LOCAL_WRITE, &r->near));
	ASSERT_EQ(0, memory_make(b, BYTES, 0, &r->peers));
	ASSERT_EQ(0, target_for(b, a, BYTES, REMOTE_WRITE | REMOTE_READ, &r->far, &r->lease));
	arg = ARG(counter_create, .endpoint = a->endpoint, .imm = 1, .mask = UINT32_MAX);
	ASSERT_EQ(0, cmd(a->fd, DMAPLANE_IOC_COUNTER_CREATE, &arg));
	r->counter = arg.handle;
}

static void finish(struct __test_metadata *_metadata, struct round *r, bool all)
{
	struct side *a = &r->p.a;
	uint32_t accepted = load_acquire(&a->ch.ring->sq_head);
	struct dmaplane_stats stats;

	EXPECT_FALSE(channel_poisoned(&a->ch));
	EXPECT_TRUE(works(&r->good));
	/* What waits for the peer or for a counter ends, and what waits for that. */
	ASSERT_EQ(0, endpoint_close(a->fd, a->endpoint));
	EXPECT_TRUE(WAIT_FOR((take(_metadata, r, all), !get_stats(a->fd, &stats) &&
			      stats.submitted == stats.completed)));
	take(_metadata, r, all);
	/* Those of the other channel as well. */
	EXPECT_EQ(accepted + 1, stats.submitted);
	if (!all)
		EXPECT_EQ(accepted, r->done);
	EXPECT_EQ(0, channel_available(&a->ch));
	EXPECT_TRUE(works(&r->good));
	EXPECT_EQ(0, channel_close(&a->ch));
	EXPECT_EQ(0, channel_close(&r->good));
	EXPECT_EQ(0, close(a->fd));
	munmap(r->near.at, BYTES);
	munmap(r->far.at, BYTES);
	munmap(r->peers.at, BYTES);
	side_close(&r->p.b);
}

static void one_round(struct __test_metadata *_metadata, struct round *r, bool all,
		      unsigned int seed)
{
	struct channel *c = &r->p.a.ch;
	struct rewriter w = { .all = all, .seed = seed };
	uint64_t until = now_ns() + (instrumented() ? 4 : 1) * SEC, moved = now_ns();
	pthread_t thread;

	w.sqes = (uint8_t *)c->sqes;
	w.names = (struct names){
		.endpoint = r->p.a.endpoint, .region = r->near.region,
		.buffer = r->near.buffer.handle, .counter = r->counter, .lease = r->lease,
		.channel = c->handle,
	};
	ASSERT_EQ(0, pthread_create(&thread, NULL, rewrite, &w));
	while (now_ns() < until && r->pushed < MOST) {
		uint32_t head = load_acquire(&c->ring->sq_head), done = r->done;
		uint32_t count = SQ - (r->pushed - head);
		int ret;

		count = count < MOST - r->pushed ? count : MOST - r->pushed;
		for (uint32_t i = 0; i < count; i++, r->pushed++)
			if (!all)
				((volatile struct dmaplane_sqe *)c->sqes)[r->pushed % SQ].user_data =
					r->pushed;
		store_release(&c->ring->sq_tail, r->pushed);
		ret = channel_enter(c, 1 + rand_r(&seed) % SQ, 0, 0);
		ASSERT_TRUE(ret >= 0 || ret == -EBUSY) {
			TH_LOG("ENTER: %d", ret);
		}
		take(_metadata, r, all);
		peer_goes_on(r);
		if (ret > 0 || r->done != done)
			moved = now_ns();
		/* All that there is waits for what does not come. */
		if (now_ns() - moved > 200 * MS)
			break;
	}
	__atomic_store_n(&w.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(thread, NULL));
}

TEST_F_TIMEOUT(rewritten, while_they_are_taken, 300)
{
	struct round *r;
	int good[16] = { 0 };
	uint32_t done = 0;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		r = calloc(1, sizeof(*r));
		ASSERT_NE(NULL, r);
		begin(_metadata, r);
		one_round(_metadata, r, variant->all, i);
		finish(_metadata, r, variant->all);
		done += r->done;
		for (int op = 0; op < 16; op++)
			good[op] += r->results[op];
		free(r);
		ASSERT_TRUE(works(&self->other));
	}
	TH_LOG("%u completions; NOP %d, WRITE_IMM %d, RECV %d, COPY %d, FILL %d, WRITE %d, READ %d, SEND %d",
	       done, good[0], good[1], good[2], good[3], good[4], good[8], good[9], good[11]);
	/* Else it shows nothing. */
	EXPECT_LT(100, done);
	EXPECT_LT(0, good[DMAPLANE_OP_NOP] + good[DMAPLANE_OP_COPY] + good[DMAPLANE_OP_FILL]);
	EXPECT_LT(0, good[DMAPLANE_OP_WRITE] + good[DMAPLANE_OP_READ]);
}

TEST_HARNESS_MAIN
