// SPDX-License-Identifier: GPL-2.0
/*
 * Peers that are not dmaplane, or lie: user-space programs (librdmacm) that
 * connect, listen, and send what they like. Their requests never reach a
 * program; their answers are EPROTONOSUPPORT; what they send ends their own
 * connection and nothing else.
 */
#include "pair.h"
#include "liar.h"
#include "harness.h"

FIXTURE(foreign) {
	struct side side;
	struct rdma_event_channel *events;
};

FIXTURE_SETUP(foreign)
{
	ASSERT_EQ(0, side_open(&self->side, 64));
	self->side.send_depth = self->side.recv_depth = 4;
	self->events = rdma_create_event_channel();
	ASSERT_NE(NULL, self->events);
}

FIXTURE_TEARDOWN(foreign)
{
	side_close(&self->side);
}

/* ---- Requests that dmaplane must not take ------------------------------- */

TEST_F(foreign, requests)
{
	struct hello good = hello(VERSION), version = hello(LATER), old = hello(VERSION - 1),
		     header = good, length = good, none = good, many = good;
	const struct { const char *what; const void *data; size_t length; } cases[] = {
		{ "nothing", NULL, 0 },
		{ "one byte", "D", 1 },
		{ "text", "GET / HTTP/1.0", 14 },
		{ "zeros", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16 },
		{ "a later version", &version, HELLO_BYTES },
		{ "an earlier version", &old, HELLO_BYTES },
		{ "only half of it", &good, 7 },
		{ "a long header", &header, HELLO_BYTES },
		{ "more bytes than there can be", &length, HELLO_BYTES + 32 },
		{ "no credits", &none, HELLO_BYTES },
		{ "billions of credits", &many, HELLO_BYTES },
	};
	struct dmaplane_endpoint_request request;
	struct dmaplane_endpoint_listen listen;

	header.header = htons(17);
	length.length = htons(33);
	none.credits = 0;
	many.credits = htonl(1U << 31);
	ASSERT_EQ(0, listen_on(self->side.fd, ADDRESS4, 0, 4, &listen));
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct user u = { .events = self->events };

		EXPECT_EQ(RDMA_CM_EVENT_REJECTED,
			  user_connect(&u, &listen.addr, cases[i].data, cases[i].length)) {
			TH_LOG("%s", cases[i].what);
		}
		user_end(&u);
	}
	EXPECT_EQ(-ETIME, take_request(self->side.fd, listen.handle, 20 * MS, &request));
}

/* ---- Answers that are no answers ---------------------------------------- */

struct server {
	struct user u;
	struct sockaddr_in address;
	const void *data;
	size_t length;
	bool accept;
	int result;
};

static int serve_one(struct server *s)
{
	struct rdma_conn_param param = {
		.private_data = s->data, .private_data_len = s->length, .responder_resources = 1,
		.initiator_depth = 1, .rnr_retry_count = 7,
	};
	struct rdma_cm_id *request;
	int ret;

	if (next_event(&s->u) != RDMA_CM_EVENT_CONNECT_REQUEST)
		return -EPROTO;
	request = s->u.event->id;
	if (s->accept)
		ret = add_queue_pair(request) || rdma_accept(request, &param);
	else
		ret = rdma_reject(request, s->data, s->length);
	if (!ret && s->accept)
		next_event(&s->u); /* whatever becomes of it */
	if (s->u.event)
		rdma_ack_cm_event(s->u.event);
	s->u.event = NULL;
	if (request->qp)
		rdma_destroy_qp(request);
	rdma_destroy_id(request);
	return ret;
}

static void *serve_in_thread(void *arg)
{
	struct server *s = arg;

	s->result = serve_one(s);
	return NULL;
}

TEST_F(foreign, answers)
{
	struct hello good = hello(VERSION), version = hello(LATER), malformed = good, many = good;
	uint8_t reject[8] = { 'D', 'M', 'A', 'P', 0, LATER, 0, 3 },
		unknown_reject[8] = { 'D', 'M', 'A', 'P', 0, VERSION, 0, 077 };
	const struct {
		const char *what; bool accept; const void *data; size_t length; int error;
	} cases[] = {
		{ "accepted without a word", true, NULL, 0 },
		{ "accepted with text", true, "220 ready", 9 },
		{ "accepted by a later version", true, &version, HELLO_BYTES },
		{ "accepted with half of it, without the credits", true, &good, 9 },
		{ "accepted with billions of credits", true, &many, HELLO_BYTES },
		{ "accepted with a malformed one", true, &malformed, HELLO_BYTES },
		/* So does the kernel for a program that died. */
		{ "rejected without a word", false, NULL, 0, ECONNRESET },
		{ "rejected with text", false, "421 no", 6 },
		{ "rejected by a later version", false, reject, 8 },
		{ "rejected for no known reason", false, unknown_reject, 8 },
	};
	struct sockaddr_in any = { .sin_family = AF_INET };
	struct server s = { .u = { .events = self->events } };
	struct dmaplane_addr dst;

	malformed.header = htons(17);
	many.credits = htonl(1U << 31);
	inet_pton(AF_INET, ADDRESS4, &any.sin_addr);
	ASSERT_EQ(0, rdma_create_id(self->events, &s.u.id, NULL, RDMA_PS_TCP));
	ASSERT_EQ(0, rdma_bind_addr(s.u.id, (struct sockaddr *)&any));
	ASSERT_EQ(0, rdma_listen(s.u.id, 4));
	dst = address(ADDRESS4, ntohs(rdma_get_src_port(s.u.id)));
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int error = cases[i].error ?: EPROTONOSUPPORT;
		struct dmaplane_endpoint_query got;
		pthread_t thread;

		s.accept = cases[i].accept;
		s.data = cases[i].data;
		s.length = cases[i].length;
		ASSERT_EQ(0, pthread_create(&thread, NULL, serve_in_thread, &s));
		ASSERT_EQ(0, resolve(self->side.fd, &dst, &self->side.endpoint));
		EXPECT_EQ(-error,
			  side_join(&self->side, DMAPLANE_IOC_ENDPOINT_CONNECT)) {
			TH_LOG("%s", cases[i].what);
		}
		ASSERT_EQ(0, query(self->side.fd, self->side.endpoint, &got));
		EXPECT_EQ(DMAPLANE_STATE_ERROR, got.state);
		EXPECT_EQ(error, got.error);
		EXPECT_EQ(0, endpoint_close(self->side.fd, self->side.endpoint));
		ASSERT_EQ(0, pthread_join(thread, NULL));
		EXPECT_EQ(0, s.result);
	}
}

/* ---- A peer that knows how to begin, and then sends what it likes ------- */

struct garbage {
	const char *what;
	enum ibv_wr_opcode opcode;
	uint32_t length, imm;
	uint8_t first[8];
	int times;
};

/* Connects a user-space peer. */
static int connect_liar(struct __test_metadata *_metadata, FIXTURE_DATA(foreign) *self,
			uint32_t listener, const struct dmaplane_addr *addr, struct user *u)
{
	int ret = liar_connect(&self->side, listener, addr, u);

	EXPECT_EQ(0, ret);
	return ret;
}

TEST_F(foreign, garbage_after_the_hello)
{
	static const struct garbage cases[] = {
		{ "empty message", IBV_WR_SEND, 0, 0, { 0 }, 1 },
		{ "one byte", IBV_WR_SEND, 1, 0, { 'D' }, 1 },
		{ "short message", IBV_WR_SEND, 16, 0, { 'D', 'M', 'A', 'P', 0, VERSION }, 1 },
		{ "zeros", IBV_WR_SEND, 64, 0, { 0 }, 1 },
		{ "later version", IBV_WR_SEND, 64, 0, { 'D', 'M', 'A', 'P', 0, LATER }, 1 },
		{ "unknown kind", IBV_WR_SEND, 64, 0, { 'D', 'M', 'A', 'P', 0, VERSION, 99, 99 }, 1 },
		{ "message too long", IBV_WR_SEND, 65536, 0, { 'D', 'M', 'A', 'P', 0, VERSION }, 1 },
		{ "message of a program that is cut", IBV_WR_SEND, 15, 0,
		  { 'D', 'M', 'A', 'P', 0, VERSION, 0, 3 }, 1 },
		{ "message of a program that is longer than it says", IBV_WR_SEND, 64, 0,
		  { 'D', 'M', 'A', 'P', 0, VERSION, 0, 3 }, 1 },
		{ "a hold of no lease", IBV_WR_SEND, 24, 0, { 'D', 'M', 'A', 'P', 0, VERSION, 0, 4 }, 1 },
		{ "no lease is held", IBV_WR_SEND, 24, 0, { 'D', 'M', 'A', 'P', 0, VERSION, 0, 5 }, 1 },
		{ "the end of no lease", IBV_WR_SEND, 24, 0, { 'D', 'M', 'A', 'P', 0, VERSION, 0, 6 }, 1 },
		{ "message with immediate", IBV_WR_SEND_WITH_IMM, 64, 5, { 0 }, 1 },
		{ "more messages than places", IBV_WR_SEND, 24, 0, { 'D', 'M', 'A', 'P', 0, VERSION }, 16 },
		{ "more data than credits", IBV_WR_RDMA_WRITE_WITH_IMM, 0, 7, { 0 }, 16 },
		{ "write to nowhere", IBV_WR_RDMA_WRITE, 64, 0, { 0 }, 1 },
		{ "read from nowhere", IBV_WR_RDMA_READ, 64, 0, { 0 }, 1 },
	};
	struct dmaplane_endpoint_listen listen;
	static uint8_t memory[65536];

	ASSERT_EQ(0, listen_on(self->side.fd, ADDRESS4, 0, 4, &listen));
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct garbage *g = &cases[i];
		struct user u = { .events = self->events };
		struct dmaplane_endpoint_query got;
		struct dmaplane_cqe cqe;
		struct ibv_send_wr *bad;
		struct ibv_mr *mr;

		ASSERT_EQ(0, connect_liar(_metadata, self, listen.handle, &listen.addr, &u)) {
			TH_LOG("%s", g->what);
		}
		memset(memory, 0, sizeof(memory));
		memcpy(memory, g->first, sizeof(g->first));
		mr = ibv_reg_mr(u.id->pd, memory, sizeof(memory), IBV_ACCESS_LOCAL_WRITE);
		ASSERT_NE(NULL, mr);
		for (int n = 0; n < g->times; n++) {
			struct ibv_sge sge = { (uintptr_t)memory, g->length, mr->lkey };
			struct ibv_send_wr wr = {
				.opcode = g->opcode, .sg_list = &sge, .num_sge = g->length ? 1 : 0,
				.imm_data = htonl(g->imm),
				.wr.rdma = { .remote_addr = 4096, .rkey = 0x1234 },
			};

			if (!ibv_post_send(u.id->qp, &wr, &bad))
				continue;
			/* Over iWARP its own adapter refuses immediates, and it leaves. */
			EXPECT_TRUE(g->imm && !can_write(&self->side)) {
				TH_LOG("%s: not sent", g->what);
			}
			rdma_disconnect(u.id);
			break;
		}
		EXPECT_TRUE(WAIT_FOR(state_of(self->side.fd, self->side.endpoint) ==
				     DMAPLANE_STATE_ERROR)) {
			TH_LOG("%s: the connection still lives", g->what);
		}
		ASSERT_EQ(0, query(self->side.fd, self->side.endpoint, &got));
		EXPECT_NE(0, got.error);
		/* What came with a credit and an immediate is a message like any other. */
		while (channel_reap(&self->side.ch, &cqe))
			EXPECT_EQ(DMAPLANE_OP_RECV, cqe.opcode);
		EXPECT_EQ(0, endpoint_close(self->side.fd, self->side.endpoint));
		ibv_dereg_mr(mr);
		user_end(&u);
	}
}

/* It goes away without a word. */
TEST_F(foreign, liar_leaves)
{
	struct dmaplane_endpoint_listen listen;
	struct user u = { .events = self->events };

	ASSERT_EQ(0, listen_on(self->side.fd, ADDRESS4, 0, 4, &listen));
	ASSERT_EQ(0, connect_liar(_metadata, self, listen.handle, &listen.addr, &u));
	user_end(&u);
	EXPECT_TRUE(WAIT_FOR(state_of(self->side.fd, self->side.endpoint) ==
			     DMAPLANE_STATE_ERROR));
}

TEST_HARNESS_MAIN
