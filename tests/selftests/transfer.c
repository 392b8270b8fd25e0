// SPDX-License-Identifier: GPL-2.0
/*
 * WRITE_IMM: bytes arrive where they should, nothing else changes, they are
 * there when the receive completion is; all sizes, offsets and segment
 * boundaries; both directions; many messages with few credits.
 */
#include "pair.h"
#include "harness.h"

#define PAGE	4096ULL
#define GUARD	0x5c	/* what the target holds before */

FIXTURE(transfer) {
	struct pair p;
	uint64_t max_segment;
};

FIXTURE_SETUP(transfer)
{
	struct dmaplane_fabric fabric;

	ASSERT_EQ(0, pair_open(&self->p));
	ASSERT_EQ(0, fabric_of(&self->p.a, &fabric));
	self->max_segment = fabric.max_segment;
	ASSERT_LT(0, self->max_segment);
}

FIXTURE_TEARDOWN(transfer)
{
	pair_close(&self->p);
}

struct stretch {
	uint64_t local, remote;
	uint32_t length;
};

/* Without immediates: the entry ends at once, and nothing else happens. */
static void expect_refused(struct __test_metadata *_metadata, struct pair *p, struct memory *to,
			   uint32_t imm)
{
	struct dmaplane_cqe cqe;

	ASSERT_TRUE(channel_reap(&p->a.ch, &cqe));
	EXPECT_EQ(imm, cqe.user_data);
	EXPECT_EQ(-EOPNOTSUPP, cqe.res);
	EXPECT_EQ(p->a.endpoint, cqe.endpoint);
	EXPECT_EQ(DMAPLANE_OP_WRITE_IMM, cqe.opcode);
	EXPECT_EQ(0, cqe.wc_status);
	ASSERT_EQ(0, fence(&p->a, &p->b));
	EXPECT_EQ(0, channel_available(&p->b.ch));
	EXPECT_EQ(to->length, first_not(to->at, to->length, GUARD));
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(p->a.fd, p->a.endpoint));
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(p->b.fd, p->b.endpoint));
}

/* Sends one stretch and looks at everything that it did and did not do. */
static void send_and_check(struct __test_metadata *_metadata, struct pair *p,
			   struct memory *from, struct memory *to, uint32_t lease,
			   uint64_t max_segment, struct stretch s)
{
	uint64_t end = s.remote + s.length, last = end;
	struct dmaplane_cqe cqe;
	struct dmaplane_sqe sqe;
	static uint32_t imm = 0xfffffff0;

	imm++;
	fill(from->at + s.local, s.length, imm);
	memset(to->at, GUARD, to->length);
	sqe = write_imm(&p->a, from->region, lease, s.local, s.remote, s.length, imm);
	ASSERT_EQ(1, channel_submit(&p->a.ch, &sqe));
	if (!can_write(&p->a)) {
		expect_refused(_metadata, p, to, imm);
		return;
	}

	/* First the receiver: it must see the bytes whatever the sender knows. */
	ASSERT_EQ(0, channel_next(&p->b.ch, &cqe));
	EXPECT_EQ(s.length, first_wrong(to->at + s.remote, s.length, imm)) {
		TH_LOG("%u bytes from %#lx to %#lx: wrong at that one", s.length, (long)s.local,
		       (long)s.remote);
	}
	EXPECT_EQ(s.remote, first_not(to->at, s.remote, GUARD)) {
		TH_LOG("changed before the target");
	}
	EXPECT_EQ(to->length - end, first_not(to->at + end, to->length - end, GUARD)) {
		TH_LOG("changed behind the target");
	}
	if (s.length && (end - 1) / max_segment != s.remote / max_segment)
		last = (end - 1) % max_segment + 1;
	else
		last = s.length;
	EXPECT_EQ(last, cqe.res);
	EXPECT_EQ(RECV_DATA, cqe.user_data);
	EXPECT_EQ(p->b.endpoint, cqe.endpoint);
	EXPECT_EQ(imm, cqe.imm);
	EXPECT_EQ(DMAPLANE_OP_RECV, cqe.opcode);
	EXPECT_EQ(0, cqe.wc_status);

	ASSERT_EQ(0, channel_next(&p->a.ch, &cqe));
	EXPECT_EQ(imm, cqe.user_data);
	EXPECT_EQ(s.length, cqe.res);
	EXPECT_EQ(p->a.endpoint, cqe.endpoint);
	EXPECT_EQ(0, cqe.imm);
	EXPECT_EQ(DMAPLANE_OP_WRITE_IMM, cqe.opcode);
	EXPECT_EQ(0, cqe.wc_status);
}

TEST_F(transfer, sizes_and_offsets)
{
	static const struct stretch stretches[] = {
		{ 0, 0, 0 }, { 0, 0, 1 }, { 0, 0, 4095 }, { 0, 0, 4096 }, { 0, 0, 4097 },
		{ 1, 0, 1 }, { 0, 1, 1 }, { 4095, 4095, 2 }, { 4095, 1, 8193 },
		{ 3, 5, 65536 }, { 4097, 8191, 100000 }, { 77777, 33333, 12345 },
		{ 262143, 0, 1 }, { 0, 262143, 1 }, { 0, 0, 262144 },
		{ 262144, 262144, 0 }, { 262144, 0, 0 },
	};
	struct memory from, to;
	struct pair *p = &self->p;
	uint32_t lease;

	ASSERT_EQ(0, memory_make(&p->a, 262144, 0, &from));
	ASSERT_EQ(0, target(&p->b, &p->a, 262144, &to, &lease));
	for (size_t i = 0; i < ARRAY_LEN(stretches); i++)
		send_and_check(_metadata, p, &from, &to, lease, self->max_segment, stretches[i]);
}

/* Regions of several memory keys, which both sides cut at the same multiples. */
TEST_F(transfer, segments)
{
	uint64_t segment = self->max_segment, length = 2 * segment + 3 * PAGE;
	const struct stretch stretches[] = {
		{ segment - 1, segment - 1, 1 },
		{ segment - 1, segment - 1, 2 },
		{ segment, segment, 1 },
		{ 0, segment - 4096, 8192 },
		{ segment - 4096, 0, 8192 },
		{ segment - 5000, segment - 77, 10000 },
		{ 1, 2, 2 * segment + PAGE },
		{ 0, 0, length },
		{ 2 * segment - 1, segment, 2 },
		{ length, 2 * segment, 0 },
	};
	struct memory from, to;
	struct pair *p = &self->p;
	uint32_t lease;

	ASSERT_GE(64 << 20, segment);
	ASSERT_EQ(0, memory_make(&p->a, length, 0, &from));
	ASSERT_EQ(0, target(&p->b, &p->a, length, &to, &lease));
	for (size_t i = 0; i < ARRAY_LEN(stretches); i++)
		send_and_check(_metadata, p, &from, &to, lease, segment, stretches[i]);
}

/* A region may begin at any page of its buffer and end at any byte. */
TEST_F(transfer, part_of_a_buffer)
{
	struct dmaplane_region_register arg = ARG(region_register,
		.access = DMAPLANE_ACCESS_REMOTE_WRITE, .offset = 2 * PAGE, .length = 5000);
	struct pair *p = &self->p;
	struct dmaplane_lease_wait got;
	struct memory from, to, view;
	uint32_t lease;

	ASSERT_EQ(0, memory_make(&p->a, 16 * PAGE, 0, &from));
	ASSERT_EQ(0, memory_make(&p->b, 16 * PAGE, 0, &to));
	arg.endpoint = p->b.endpoint;
	arg.buffer = to.buffer.handle;
	ASSERT_EQ(0, cmd(p->b.fd, DMAPLANE_IOC_REGION_REGISTER, &arg));
	ASSERT_EQ(0, lease_grant(&p->b, arg.handle, 0xfedcba9876543210ULL, &lease));
	ASSERT_EQ(0, lease_wait(&p->a, PATIENCE, &got));
	EXPECT_EQ(lease, got.lease);
	EXPECT_EQ(5000, got.length);
	EXPECT_EQ(0xfedcba9876543210ULL, got.tag);
	memset(to.at, GUARD, to.length);
	view = (struct memory){ .at = to.at + 2 * PAGE, .length = 5000 };
	send_and_check(_metadata, p, &from, &view, lease, self->max_segment,
		       (struct stretch){ 100, 0, 5000 });
	send_and_check(_metadata, p, &from, &view, lease, self->max_segment,
		       (struct stretch){ 100, 4999, 1 });
	EXPECT_EQ(2 * PAGE, first_not(to.at, 2 * PAGE, GUARD));
	EXPECT_EQ(13 * PAGE, first_not(to.at + 3 * PAGE + 904, 13 * PAGE - 904, GUARD) + 904);
}

/* So few and short that no target crosses a multiple of max_segment. */
#define EACH 120

/*
 * Messages of @length bytes from one side to the other and back at the same
 * time, as fast as credits and rings allow; each target slot belongs to one.
 */
static void both_ways(struct __test_metadata *_metadata, struct pair *p, uint32_t length)
{
	struct side *sides[2] = { &p->a, &p->b };
	uint32_t lease[2], sent[2] = { 0 }, done[2] = { 0 }, received[2] = { 0 };
	int result = written(&p->a, length);
	uint32_t all = result < 0 ? 2 * EACH : 4 * EACH;
	uint32_t before = 0, now;
	uint64_t give_up = 0;
	struct memory from[2], to[2];

	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, memory_make(sides[i], EACH * length, 0, &from[i]));
		ASSERT_EQ(0, target(sides[!i], sides[i], EACH * length, &to[i], &lease[i]));
		memset(to[i].at, GUARD, to[i].length);
		for (uint32_t n = 0; n < EACH; n++)
			fill(from[i].at + n * length, length, n + i * 1000);
	}
	while ((now = done[0] + done[1] + received[0] + received[1]) < all) {
		if (!give_up || now != before)
			give_up = now_ns() + PATIENCE;
		before = now;
		for (int i = 0; i < 2; i++) {
			struct channel *c = &sides[i]->ch;
			struct dmaplane_cqe cqe;
			int ret;

			while (sent[i] < EACH) {
				struct dmaplane_sqe sqe = write_imm(sides[i], from[i].region, lease[i],
								    sent[i] * length,
								    sent[i] * length, length, sent[i]);

				if (channel_push(c, &sqe))
					break;
				sent[i]++;
			}
			ret = channel_enter(c, EACH, 0, 0);
			ASSERT_TRUE(ret >= 0 || ret == -EBUSY) {
				TH_LOG("ENTER: %d", ret);
			}
			while (channel_reap(c, &cqe)) {
				ASSERT_EQ(result, cqe.res);
				if (cqe.opcode == DMAPLANE_OP_WRITE_IMM) {
					ASSERT_EQ(done[i], cqe.user_data);
					done[i]++;
					continue;
				}
				ASSERT_EQ(received[i], cqe.imm);
				ASSERT_EQ(length, first_wrong(to[!i].at + cqe.imm * length, length,
							      cqe.imm + !i * 1000));
				received[i]++;
			}
		}
		ASSERT_GT(give_up, now_ns()) {
			TH_LOG("it hangs: sent %u %u, done %u %u, received %u %u", sent[0], sent[1],
			       done[0], done[1], received[0], received[1]);
		}
		sched_yield();
	}
}

FIXTURE(depths) {
	struct pair p;
};

FIXTURE_VARIANT(depths) {
	uint32_t send_depth, recv_depth, entries, length;
};

#define DEPTHS(send, recv, entries, length)					\
	FIXTURE_VARIANT_ADD(depths, send##_##recv##_##entries##_##length) {	\
		send, recv, entries, length }

DEPTHS(1, 1, 4, 64);
DEPTHS(1, 2, 4, 64);
DEPTHS(2, 1, 4, 64);
DEPTHS(3, 3, 4, 64);
DEPTHS(8, 1, 64, 4097);
DEPTHS(1, 8, 64, 1000);
DEPTHS(5, 7, 8, 3);
DEPTHS(64, 64, 256, 512);
DEPTHS(16, 16, 32, 16000);

FIXTURE_SETUP(depths)
{
	struct pair *p = &self->p;

	p->entries = variant->entries;
	p->a.send_depth = p->b.send_depth = variant->send_depth;
	p->a.recv_depth = p->b.recv_depth = variant->recv_depth;
	ASSERT_EQ(0, pair_open(p));
}

FIXTURE_TEARDOWN(depths)
{
	pair_close(&self->p);
}

TEST_F(depths, both_ways)
{
	uint32_t through = can_write(&self->p.a) ? EACH : 0;
	struct dmaplane_endpoint_query a, b;
	struct dmaplane_stats stats;

	both_ways(_metadata, &self->p, variant->length);
	ASSERT_EQ(0, query(self->p.a.fd, self->p.a.endpoint, &a));
	ASSERT_EQ(0, query(self->p.b.fd, self->p.b.endpoint, &b));
	EXPECT_EQ(through, a.sent);
	EXPECT_EQ(through, b.sent);
	EXPECT_EQ(through, a.received);
	EXPECT_EQ(through, b.received);
	EXPECT_EQ(through * variant->length, a.sent_bytes);
	EXPECT_EQ(through * variant->length, b.sent_bytes);
	EXPECT_EQ(0, a.in_flight + b.in_flight + a.queued + b.queued);
	EXPECT_LT(0, a.ctrl_sent);
	EXPECT_LT(0, a.ctrl_received);
	ASSERT_EQ(0, get_stats(self->p.a.fd, &stats));
	EXPECT_EQ(EACH, stats.submitted);
	EXPECT_EQ(EACH, stats.completed);
	EXPECT_EQ(through, stats.received);
	EXPECT_EQ(2, stats.regions);
	EXPECT_EQ(1, stats.endpoints);
}

TEST_F(transfer, ipv6)
{
	struct pair p = { .host = ADDRESS6 };

	ASSERT_EQ(0, pair_open(&p));
	both_ways(_metadata, &p, 5000);
	pair_close(&p);
}

/* Both ends in one context and on one channel. */
TEST_F(transfer, one_channel_for_both_ends)
{
	struct pair p = { 0 };
	struct dmaplane_cqe cqe;
	struct memory from, to;
	struct dmaplane_sqe sqe;
	uint32_t lease;
	int recvs = 0, result, each;

	ASSERT_EQ(0, side_open(&p.a, 64));
	p.b.fd = p.a.fd;
	p.b.ch = p.a.ch;
	ASSERT_EQ(0, pair_connect(&p));
	ASSERT_EQ(0, memory_make(&p.a, 8192, 0, &from));
	ASSERT_EQ(0, target(&p.b, &p.a, 8192, &to, &lease));
	result = written(&p.a, 8192);
	each = result < 0 ? 1 : 2;
	for (int i = 0; i < 20; i++) {
		fill(from.at, 8192, i);
		sqe = write_imm(&p.a, from.region, lease, 0, 0, 8192, i);
		ASSERT_EQ(1, channel_submit(&p.a.ch, &sqe));
		for (int k = 0; k < each; k++) {
			ASSERT_EQ(0, channel_next(&p.a.ch, &cqe));
			ASSERT_EQ(result, cqe.res);
			recvs += cqe.opcode == DMAPLANE_OP_RECV;
		}
		EXPECT_EQ(8192, result < 0 ? first_not(to.at, 8192, 0) :
					     first_wrong(to.at, 8192, i));
	}
	EXPECT_EQ(result < 0 ? 0 : 20, recvs);
	side_close(&p.a);
}

TEST_HARNESS_MAIN
