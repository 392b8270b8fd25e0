// SPDX-License-Identifier: GPL-2.0
/*
 * Buffers of which parts are registered move while peers use them: keys are others then, and no
 * entry, lease or view learns of it.
 */
#include "liar.h"
#include "harness.h"

#define PAGE	4096ULL
#define HUGE	((uint64_t)DMAPLANE_HUGE_SIZE)
#define LENGTH	(5 * HUGE / 2 + 3 * PAGE)	/* several keys, on each fabric */
#define PAGES	(LENGTH / PAGE)
#define ROUNDS	(instrumented() ? 6 : 24)

FIXTURE(numa_registered) {
	struct pair p;
	struct memory near, far;	/* a's, and b's, of which a has a lease */
	uint32_t lease;
	unsigned int nodes[2];
	bool reads;			/* What a peer may read can move, on this fabric. */
};

static int place(struct side *s, unsigned int node, uint32_t access, struct memory *m)
{
	int ret = buf_create_at(s->fd, LENGTH, node, DMAPLANE_BUF_NODE_STRICT, &m->buffer);

	m->length = LENGTH;
	m->at = ret ? MAP_FAILED : buf_map(s->fd, &m->buffer);
	if (m->at == MAP_FAILED)
		return ret ?: -errno;
	return region_register(s->fd, s->endpoint, m->buffer.handle, 0, LENGTH, access, &m->region);
}

FIXTURE_SETUP(numa_registered)
{
	struct dmaplane_lease_wait got;
	uint32_t granted;

	if (last_nodes(self->nodes, 2) < 2)
		SKIP(return, "one NUMA node only");
	self->p.a.send_depth = 16;
	self->p.entries = 128;
	ASSERT_EQ(0, pair_open(&self->p));
	/* Of both fabrics that there are here. */
	self->reads = can_write(&self->p.a);
	ASSERT_EQ(0, place(&self->p.a, self->nodes[0], LOCAL_WRITE, &self->near));
	ASSERT_EQ(0, place(&self->p.b, self->nodes[0], REMOTE_WRITE | (self->reads ? REMOTE_READ : 0),
			   &self->far));
	ASSERT_EQ(0, lease_grant(&self->p.b, self->far.region, 1, &granted));
	ASSERT_EQ(0, lease_wait(&self->p.a, PATIENCE, &got));
	self->lease = got.lease;
	fill(self->near.at, LENGTH, 1);
	memset(self->far.at, 0, LENGTH);
}

FIXTURE_TEARDOWN(numa_registered)
{
	munmap(self->near.at, LENGTH);
	munmap(self->far.at, LENGTH);
	pair_close(&self->p);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("regions"));
	EXPECT_EQ(0, live("buffers"));
	EXPECT_EQ(0, live("buffer_bytes"));
}

/* How many pages moved. */
static int64_t move(const struct side *s, const struct memory *m, unsigned int node, uint32_t flags)
{
	struct dmaplane_buf_migrate arg = ARG(buf_migrate, .flags = flags,
					      .handle = m->buffer.handle, .node = node);
	int ret = cmd(s->fd, DMAPLANE_IOC_BUF_MIGRATE, &arg);

	return ret ?: (int64_t)arg.moved;
}

static int64_t pages_on(const struct side *s, const struct memory *m, unsigned int node)
{
	uint64_t nodes[MAX_NODES] = { 0 };
	struct dmaplane_buf_query query;

	return buf_query(s->fd, m->buffer.handle, &query, nodes) ? -1 : (int64_t)nodes[node];
}

/* What an entry of @s says. */
static int done(struct side *s, struct dmaplane_sqe sqe)
{
	struct dmaplane_cqe cqe;
	int ret = channel_do(&s->ch, &sqe, &cqe);

	return ret ?: cqe.res;
}

static struct dmaplane_sqe write_all(FIXTURE_DATA(numa_registered) *self)
{
	return remote_sqe(&self->p.a, DMAPLANE_OP_WRITE, self->near.region, self->lease, 0, 0, LENGTH, 9);
}

/* That all a has gets to b, through the lease. */
#define EXPECT_ARRIVES(seed) do {							\
		fill(self->near.at, LENGTH, seed);					\
		EXPECT_EQ(LENGTH, done(&self->p.a, write_all(self)));			\
		EXPECT_EQ(0, fence(&self->p.a, &self->p.b));				\
		EXPECT_EQ(LENGTH, first_wrong(self->far.at, LENGTH, seed));		\
	} while (0)

TEST_F(numa_registered, the_target)
{
	EXPECT_ARRIVES(1);
	for (int i = 1; i <= 4; i++) {
		unsigned int node = self->nodes[i % 2];

		ASSERT_EQ(PAGES, move(&self->p.b, &self->far, node, i > 2));
		EXPECT_EQ(PAGES, pages_on(&self->p.b, &self->far, node));
		EXPECT_EQ((int)node, node_of_page(self->far.at + LENGTH - PAGE));
		/* What was there is, and nothing else gets there than through the new keys. */
		EXPECT_EQ(LENGTH, first_wrong(self->far.at, LENGTH, i));
		EXPECT_ARRIVES(i + 1);
		/* Nothing to do: nobody is asked. */
		EXPECT_EQ(0, move(&self->p.b, &self->far, node, 0));
	}
}

TEST_F(numa_registered, the_source)
{
	for (int i = 1; i <= 4; i++) {
		ASSERT_EQ(PAGES, move(&self->p.a, &self->near, self->nodes[i % 2], 0));
		EXPECT_EQ(PAGES, pages_on(&self->p.a, &self->near, self->nodes[i % 2]));
		EXPECT_ARRIVES(i);
	}
	/* Read into, and from. */
	for (int i = 1; self->reads && i <= 2; i++) {
		ASSERT_EQ(PAGES, move(&self->p.a, &self->near, self->nodes[i % 2], 0));
		ASSERT_EQ(PAGES, move(&self->p.b, &self->far, self->nodes[i % 2], 0));
		memset(self->near.at, 0, LENGTH);
		EXPECT_EQ(LENGTH, done(&self->p.a, remote_sqe(&self->p.a, DMAPLANE_OP_READ,
				self->near.region, self->lease, 0, 0, LENGTH, 1)));
		EXPECT_EQ(LENGTH, first_wrong(self->near.at, LENGTH, 4));
	}
}

/* By an entry, and one that is canceled leaves what works. */
TEST_F(numa_registered, by_entries)
{
	struct dmaplane_sqe go = migrate_buffer(self->far.buffer.handle, self->nodes[1], 0);
	struct dmaplane_sqe stop = cancel(2, 0, 1, 0);
	struct dmaplane_cqe cqe;
	int result[2] = { 1, 1 };

	EXPECT_EQ(PAGES, channel_migrate(&self->p.b.ch, self->far.buffer.handle, self->nodes[1], 0));
	EXPECT_ARRIVES(2);
	go.remote_offset = self->nodes[0];
	go.user_data = 1;
	ASSERT_EQ(0, channel_push(&self->p.b.ch, &go));
	ASSERT_EQ(0, channel_push(&self->p.b.ch, &stop));
	ASSERT_EQ(2, channel_enter(&self->p.b.ch, 2, 0, 0));
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, channel_next(&self->p.b.ch, &cqe));
		ASSERT_TRUE(cqe.user_data == 1 || cqe.user_data == 2);
		result[cqe.user_data - 1] = cqe.res;
	}
	EXPECT_TRUE(result[0] == -ECANCELED || result[0] == PAGES) TH_LOG("%d", result[0]);
	EXPECT_TRUE(result[1] == 1 || result[1] == -ENOENT) TH_LOG("%d", result[1]);
	EXPECT_ARRIVES(3);
}

/* Views, two leases of one region, and two regions of one buffer. */
TEST_F(numa_registered, all_that_names_it)
{
	const uint64_t skip = HUGE + 5 * PAGE + 7, part = 9 * PAGE;
	struct side *a = &self->p.a, *b = &self->p.b;
	struct dmaplane_lease_wait got;
	uint32_t view, near_view, other, lease[2], granted;

	ASSERT_EQ(0, view_make(b->fd, self->far.region, skip, part, REMOTE_WRITE, &view));
	ASSERT_EQ(0, lease_grant(b, view, 2, &granted));
	ASSERT_EQ(0, lease_wait(a, PATIENCE, &got));
	lease[0] = got.lease;
	ASSERT_EQ(0, region_register(b->fd, b->endpoint, self->far.buffer.handle, PAGE, part,
				     REMOTE_WRITE, &other));
	ASSERT_EQ(0, lease_grant(b, other, 3, &granted));
	ASSERT_EQ(0, lease_wait(a, PATIENCE, &got));
	lease[1] = got.lease;
	ASSERT_EQ(0, view_make(a->fd, self->near.region, skip, part, 0, &near_view));
	for (int i = 1; i <= 2; i++) {
		ASSERT_EQ(PAGES, move(b, &self->far, self->nodes[i % 2], 0));
		ASSERT_EQ(PAGES, move(a, &self->near, self->nodes[i % 2], 0));
		memset(self->far.at, 0, LENGTH);
		EXPECT_EQ(part, done(a, remote_sqe(a, DMAPLANE_OP_WRITE, near_view, lease[0], 0, 0, part, 1)));
		EXPECT_EQ(part, done(a, remote_sqe(a, DMAPLANE_OP_WRITE, near_view, lease[1], 0, 0, part, 1)));
		EXPECT_EQ(0, fence(a, b));
		EXPECT_EQ(0, memcmp(self->far.at + skip, self->near.at + skip, part));
		EXPECT_EQ(0, memcmp(self->far.at + PAGE, self->near.at + skip, part));
		EXPECT_EQ(0, self->far.at[PAGE - 1]);
		EXPECT_EQ(0, self->far.at[PAGE + part]);
		EXPECT_EQ(0, self->far.at[skip - 1]);
		EXPECT_EQ(0, self->far.at[skip + part]);
		EXPECT_ARRIVES(i);
	}
	/* One that has gone is not made again. */
	ASSERT_EQ(0, region_deregister(b->fd, other));
	ASSERT_EQ(PAGES, move(b, &self->far, self->nodes[1], 0));
	EXPECT_EQ(1, fdinfo(b->fd, "regions"));
	EXPECT_ARRIVES(5);
	/* The peer is told of it by the adapter, as ever. */
	EXPECT_GT(0, done(a, remote_sqe(a, DMAPLANE_OP_WRITE, near_view, lease[1], 0, 0, part, 1)) +
		     (self->reads ? 0 : -(int)part - 1));
}

/* ---- While it is used -------------------------------------------------------------- */

struct mover {
	struct side *side;
	struct memory *memory;
	unsigned int *nodes;
	bool enough;
	int moves, busy, wrong;
};

static void *moves(void *arg)
{
	struct mover *m = arg;

	for (int i = 1; !__atomic_load_n(&m->enough, __ATOMIC_RELAXED); i++) {
		int64_t moved = move(m->side, m->memory, m->nodes[i % 2], 0);

		if (moved == -EBUSY)
			__atomic_add_fetch(&m->busy, 1, __ATOMIC_RELAXED);
		else if (moved == PAGES || (moved >= 0 && m->busy))
			/* Some, or none, may have moved before it was busy. */
			__atomic_add_fetch(&m->moves, 1, __ATOMIC_RELAXED);
		else
			__atomic_store_n(&m->wrong, moved ?: 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Both ends move, and each byte of each entry arrives. */
TEST_F(numa_registered, under_way)
{
	struct side *a = &self->p.a, *b = &self->p.b;
	struct mover movers[2] = {
		{ .side = b, .memory = &self->far, .nodes = self->nodes },
		{ .side = a, .memory = &self->near, .nodes = self->nodes },
	};
	const uint32_t piece = 37 * PAGE, pieces = LENGTH / piece;
	pthread_t threads[2];
	struct dmaplane_cqe cqe;
	int rounds = 0;

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, moves, &movers[i]));
	while (rounds < ROUNDS || __atomic_load_n(&movers[0].moves, __ATOMIC_RELAXED) < 4 ||
	       __atomic_load_n(&movers[1].moves, __ATOMIC_RELAXED) < 4) {
		int opcode = self->reads && rounds % 3 == 2 ? DMAPLANE_OP_READ :
			     self->reads && rounds % 3 ? DMAPLANE_OP_WRITE_IMM : DMAPLANE_OP_WRITE;
		struct memory *to = opcode == DMAPLANE_OP_READ ? &self->near : &self->far;
		struct memory *from = opcode == DMAPLANE_OP_READ ? &self->far : &self->near;

		fill(from->at, LENGTH, rounds);
		for (uint32_t i = 0, ahead = 0; i < pieces || ahead; ) {
			for (; i < pieces && ahead < 12; i++, ahead++) {
				struct dmaplane_sqe sqe = remote_sqe(a, opcode, self->near.region,
					self->lease, i * piece, i * piece, piece, i);

				ASSERT_EQ(0, channel_push(&a->ch, &sqe));
				ASSERT_EQ(1, channel_enter(&a->ch, 1, 0, 0));
			}
			ASSERT_EQ(0, channel_next(&a->ch, &cqe));
			ASSERT_EQ(piece, cqe.res) {
				TH_LOG("round %d, opcode %d, wc %u", rounds, opcode, cqe.wc_status);
			}
			ahead--;
			while (channel_available(&b->ch))
				channel_reap(&b->ch, &cqe);
		}
		if (opcode != DMAPLANE_OP_READ)
			ASSERT_EQ(0, fence(a, b));
		ASSERT_EQ(pieces * piece, first_wrong(to->at, pieces * piece, rounds));
		rounds++;
	}
	for (int i = 0; i < 2; i++) {
		__atomic_store_n(&movers[i].enough, true, __ATOMIC_RELAXED);
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, movers[i].wrong);
	}
	EXPECT_ARRIVES(77);
}

/* What begins, ends and connects meanwhile. */
TEST_F(numa_registered, among_others)
{
	struct side *b = &self->p.b;
	struct mover m = { .side = b, .memory = &self->far, .nodes = self->nodes };
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, moves, &m));
	for (int i = 0; i < ROUNDS || __atomic_load_n(&m.moves, __ATOMIC_RELAXED) < 4; i++) {
		struct dmaplane_lease_wait got;
		uint32_t region, granted;
		int ret;

		ret = region_register(b->fd, b->endpoint, self->far.buffer.handle, i % 64 * PAGE, 7 * PAGE,
				      REMOTE_WRITE, &region);
		ASSERT_EQ(0, ret);
		if (i < 32) {
			ASSERT_EQ(0, lease_grant(b, region, 5, &granted));
			ASSERT_EQ(0, lease_wait(&self->p.a, PATIENCE, &got));
			EXPECT_EQ(7 * PAGE, done(&self->p.a, remote_sqe(&self->p.a, DMAPLANE_OP_WRITE,
					self->near.region, got.lease, i * PAGE, 0, 7 * PAGE, 1)));
			ASSERT_EQ(0, fence(&self->p.a, b));
			EXPECT_EQ(0, memcmp(self->far.at + i * PAGE, self->near.at + i * PAGE, 7 * PAGE));
		}
		ret = region_deregister(b->fd, region);
		EXPECT_TRUE(ret == 0 || ret == -EBUSY);
	}
	__atomic_store_n(&m.enough, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, m.wrong);
	EXPECT_ARRIVES(3);
}

/* The other end goes while it moves. */
TEST_F(numa_registered, peer_goes)
{
	struct mover m = { .side = &self->p.b, .memory = &self->far, .nodes = self->nodes };
	struct dmaplane_cqe cqe;
	pthread_t thread;
	int64_t moved;

	ASSERT_EQ(0, pthread_create(&thread, NULL, moves, &m));
	EXPECT_TRUE(WAIT_FOR(__atomic_load_n(&m.moves, __ATOMIC_RELAXED) > 1));
	for (int i = 0; i < 4; i++) {
		struct dmaplane_sqe sqe = write_all(self);

		ASSERT_EQ(0, channel_push(&self->p.a.ch, &sqe));
	}
	ASSERT_EQ(4, channel_enter(&self->p.a.ch, 4, 0, 0));
	ASSERT_EQ(0, endpoint_close(self->p.a.fd, self->p.a.endpoint));
	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, channel_next(&self->p.a.ch, &cqe));
		EXPECT_TRUE(cqe.res == LENGTH || cqe.res < 0) TH_LOG("%d", cqe.res);
	}
	EXPECT_TRUE(WAIT_FOR(state_of(self->p.b.fd, self->p.b.endpoint) == DMAPLANE_STATE_ERROR));
	__atomic_store_n(&m.enough, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_TRUE(m.wrong == 0 || m.wrong == -EKEYREVOKED) TH_LOG("%d", m.wrong);
	/* There is nothing to register new keys through: those that are left stay. */
	moved = move(&self->p.b, &self->far, self->nodes[0], 0);
	moved += move(&self->p.b, &self->far, self->nodes[1], 0);
	EXPECT_TRUE(moved == -EBUSY || moved == 2 * -EBUSY || m.wrong) TH_LOG("%ld", (long)moved);
	EXPECT_EQ(0, region_deregister(self->p.b.fd, self->far.region));
	EXPECT_LE(0, move(&self->p.b, &self->far, self->nodes[0], DMAPLANE_MIGRATE_STRICT));
	EXPECT_EQ(PAGES, pages_on(&self->p.b, &self->far, self->nodes[0]));
}

/* What others need where it is stays, and nobody is worse off. */
TEST_F(numa_registered, needed_by_others)
{
	struct side *a = &self->p.a, *b = &self->p.b;
	struct dmaplane_lease_wait got;
	struct memory read;
	uint32_t granted;

	if (!self->reads) {
		/* Soft-iWARP may still send what a peer has begun to read. */
		ASSERT_EQ(0, place(b, self->nodes[0], REMOTE_READ, &read));
		EXPECT_EQ(PAGES, move(b, &read, self->nodes[1], 0));
		ASSERT_EQ(0, lease_grant(b, read.region, 5, &granted));
		ASSERT_EQ(0, lease_wait(a, PATIENCE, &got));
		EXPECT_EQ(-EBUSY, move(b, &read, self->nodes[0], 0));
		munmap(read.at, LENGTH);
	}
	EXPECT_EQ(-ENXIO, move(b, &self->far, MAX_NODES - 1, 0));
	EXPECT_ARRIVES(2);
	EXPECT_EQ(PAGES, move(b, &self->far, self->nodes[1], 0));
	EXPECT_ARRIVES(3);
}

/* A peer that says nothing keeps what it was leased in its place, for as long as it is there. */
TEST_F(numa_registered, silent_peer)
{
	struct user u = { .events = rdma_create_event_channel() };
	struct dmaplane_endpoint_listen listen;
	struct side side = self->p.b;
	static uint8_t messages[9][4096];
	struct ibv_mr *mr;
	uint32_t granted;

	ASSERT_NE(NULL, u.events);
	ASSERT_EQ(0, listen_on(side.fd, ADDRESS4, 0, 4, &listen));
	ASSERT_EQ(0, liar_connect(&side, listen.handle, &listen.addr, &u));
	mr = ibv_reg_mr(u.id->pd, messages, sizeof(messages), IBV_ACCESS_LOCAL_WRITE);
	ASSERT_NE(NULL, mr);
	for (int i = 0; i < 8; i++)
		ASSERT_EQ(0, rdma_post_recv(u.id, NULL, messages[i], sizeof(messages[i]), mr));
	/* Who connects over iWARP speaks first: an acknowledgement with what it granted. */
	memcpy(messages[8], (uint8_t[]){ 'D', 'M', 'A', 'P', 0, VERSION, 0, 1, 0, 0, 0, 4 }, 12);
	ASSERT_EQ(0, rdma_post_send(u.id, NULL, messages[8], 16, mr, 0));
	/* It has none of it yet. */
	EXPECT_EQ(PAGES, move(&side, &self->far, self->nodes[1], 0));
	ASSERT_EQ(0, lease_grant(&side, self->far.region, 1, &granted));
	/* More often than there are places for messages. */
	for (int i = 0; i < 5; i++) {
		EXPECT_EQ(-EBUSY, move(&side, &self->far, self->nodes[0], 0));
		EXPECT_EQ(PAGES, pages_on(&side, &self->far, self->nodes[1]));
		EXPECT_ARRIVES(5 + i);
	}
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(side.fd, side.endpoint));
	ibv_dereg_mr(mr);
	user_end(&u);
	rdma_destroy_event_channel(u.events);
	EXPECT_TRUE(WAIT_FOR(state_of(side.fd, side.endpoint) == DMAPLANE_STATE_ERROR));
	EXPECT_EQ(PAGES, move(&side, &self->far, self->nodes[0], 0));
	EXPECT_ARRIVES(7);
}

TEST_HARNESS_MAIN
