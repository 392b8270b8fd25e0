// SPDX-License-Identifier: GPL-2.0
/*
 * Endpoints from listening to established: addresses, states, what the two
 * programs tell each other, and the errors on the way. Wants the network that
 * one_host in tests/scenarios/lib.sh sets up.
 */
#include "pair.h"
#include "harness.h"

FIXTURE(endpoint) {
	struct pair p;
};

FIXTURE_SETUP(endpoint)
{
	ASSERT_EQ(0, side_open(&self->p.a, 64));
	ASSERT_EQ(0, side_open(&self->p.b, 64));
}

FIXTURE_TEARDOWN(endpoint)
{
	pair_close(&self->p);
}

/* What the RDMA core says of it: "1: CA", or "4: RNIC", which is for iWARP. */
static bool is_iwarp(const char *name)
{
	char path[128], type[16] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/node_type", name);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (!fgets(type, sizeof(type), file))
		type[0] = 0;
	fclose(file);
	return type[0] == '4';
}

TEST_F(endpoint, fabrics)
{
	struct dmaplane_fabric fabrics[8] = { 0 };
	struct dmaplane_fabric_list list = ARG(fabric_list, .count = ARRAY_LEN(fabrics),
					       .fabrics = (uintptr_t)fabrics);

	ASSERT_EQ(0, cmd(self->p.a.fd, DMAPLANE_IOC_FABRIC_LIST, &list));
	ASSERT_EQ(2, list.count);
	for (uint32_t i = 0; i < list.count; i++) {
		EXPECT_NE(0, fabrics[i].fabric);
		ASSERT_NE(NULL, memchr(fabrics[i].name, 0, DMAPLANE_NAME_MAX));
		EXPECT_EQ(0, strncmp((char *)fabrics[i].name,
				     getenv("DMAPLANE_RDMA") ?: "rxe", 3));
		EXPECT_EQ(is_iwarp((char *)fabrics[i].name) ? 0 : DMAPLANE_FABRIC_WRITE_IMM,
			  fabrics[i].flags);
		EXPECT_LE(4096, fabrics[i].max_segment);
		EXPECT_EQ(4096, fabrics[i].active_mtu);
		EXPECT_LE(DMAPLANE_NODE_ANY, fabrics[i].node);
	}
	EXPECT_NE(fabrics[0].fabric, fabrics[1].fabric);
	/* Those beyond the room are counted and not written. */
	memset(fabrics, 0xee, sizeof(fabrics));
	list.count = 1;
	ASSERT_EQ(0, cmd(self->p.a.fd, DMAPLANE_IOC_FABRIC_LIST, &list));
	EXPECT_EQ(2, list.count);
	EXPECT_EQ(0xee, fabrics[1].name[0]);
	list.count = 2;
	list.fabrics = 16;
	EXPECT_EQ(-EFAULT, cmd(self->p.a.fd, DMAPLANE_IOC_FABRIC_LIST, &list));
}

TEST_F(endpoint, listen_errors)
{
	struct dmaplane_endpoint_listen arg, other;
	struct dmaplane_stats stats;
	int fd = self->p.a.fd;

	EXPECT_EQ(-EINVAL, listen_on(fd, ADDRESS4, 0, 0, &arg));
	EXPECT_EQ(-EINVAL, listen_on(fd, ADDRESS4, 0, 129, &arg));
	EXPECT_EQ(-EADDRNOTAVAIL, listen_on(fd, "192.0.2.7", 0, 1, &arg));
	EXPECT_EQ(-EADDRNOTAVAIL, listen_on(fd, "2001:db8::7", 0, 1, &arg));

	arg = ARG(endpoint_listen, .backlog = 1);
	EXPECT_EQ(-EINVAL, cmd(fd, DMAPLANE_IOC_ENDPOINT_LISTEN, &arg));
	arg.addr = address("::", 0);
	arg.addr.len = sizeof(struct sockaddr_in);
	EXPECT_EQ(-EAFNOSUPPORT, cmd(fd, DMAPLANE_IOC_ENDPOINT_LISTEN, &arg));
	arg.addr = address(ADDRESS4, 0);
	arg.addr.len = sizeof(struct sockaddr_in6);
	EXPECT_EQ(-EAFNOSUPPORT, cmd(fd, DMAPLANE_IOC_ENDPOINT_LISTEN, &arg));
	arg.addr.len = UINT32_MAX;
	EXPECT_EQ(-EAFNOSUPPORT, cmd(fd, DMAPLANE_IOC_ENDPOINT_LISTEN, &arg));
	arg.addr = address(ADDRESS4, 0);
	arg.addr.data[0] = AF_UNIX;
	EXPECT_EQ(-EAFNOSUPPORT, cmd(fd, DMAPLANE_IOC_ENDPOINT_LISTEN, &arg));
	ASSERT_EQ(0, get_stats(fd, &stats));
	EXPECT_EQ(0, stats.endpoints);

	ASSERT_EQ(0, listen_on(fd, ADDRESS4, 0, 1, &arg));
	EXPECT_NE(0, port_of(&arg.addr));
	EXPECT_EQ(-EADDRINUSE, listen_on(fd, ADDRESS4, port_of(&arg.addr), 1, &other));
	EXPECT_EQ(-EADDRINUSE, listen_on(self->p.b.fd, ADDRESS4, port_of(&arg.addr), 1, &other));
	EXPECT_EQ(0, endpoint_close(fd, arg.handle));
	EXPECT_EQ(0, listen_on(fd, ADDRESS4, port_of(&arg.addr), 128, &other));
	EXPECT_EQ(port_of(&arg.addr), port_of(&other.addr));
}

TEST_F(endpoint, listener_query)
{
	const char *hosts[] = { ADDRESS4, ADDRESS6, "0.0.0.0", "::" };

	for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
		struct dmaplane_addr wanted = address(hosts[i], 0);
		struct dmaplane_endpoint_listen listen;
		struct dmaplane_endpoint_query got;

		ASSERT_EQ(0, listen_on(self->p.a.fd, hosts[i], 0, 1, &listen));
		EXPECT_TRUE(same_host(&wanted, &listen.addr));
		ASSERT_EQ(0, query(self->p.a.fd, listen.handle, &got));
		EXPECT_EQ(DMAPLANE_STATE_LISTENING, got.state);
		EXPECT_EQ(0, got.error);
		EXPECT_EQ(0, got.fabric);
		EXPECT_EQ(0, memcmp(&listen.addr, &got.peer, sizeof(got.peer)));
	}
}

static void connect_and_check(struct __test_metadata *_metadata, struct pair *p,
			      const char *host)
{
	struct dmaplane_addr wanted = address(host, 0);
	struct dmaplane_endpoint_query a, b;

	p->host = host;
	p->a.says = private_data("from a");
	p->b.says = private_data("thirty-two bytes are the limit..");
	p->a.recv_depth = 3;
	p->b.recv_depth = 5;
	ASSERT_EQ(0, pair_connect(p));
	ASSERT_EQ(0, memcmp(&p->a.says, &p->b.heard, sizeof(p->a.says)));
	ASSERT_EQ(0, memcmp(&p->b.says, &p->a.heard, sizeof(p->b.says)));
	ASSERT_EQ(0, query(p->a.fd, p->a.endpoint, &a));
	ASSERT_EQ(0, query(p->b.fd, p->b.endpoint, &b));
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, a.state);
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, b.state);
	EXPECT_EQ(5, a.credits);
	EXPECT_EQ(3, b.credits);
	EXPECT_EQ(a.fabric, b.fabric);
	EXPECT_NE(0, a.fabric);
	EXPECT_TRUE(same_host(&wanted, &a.peer));
	EXPECT_TRUE(same_host(&wanted, &b.peer));
	for (struct dmaplane_endpoint_query *q = &a; q; q = q == &a ? &b : NULL) {
		EXPECT_EQ(0, q->error);
		EXPECT_EQ(0, q->in_flight);
		EXPECT_EQ(0, q->queued);
		EXPECT_EQ(0, q->wc_status);
		EXPECT_EQ(0, q->stalls);
		EXPECT_EQ(0, q->stall_ns);
		EXPECT_EQ(0, q->sent);
		EXPECT_EQ(0, q->received);
	}
}

TEST_F(endpoint, connect_ipv4)
{
	connect_and_check(_metadata, &self->p, ADDRESS4);
}

TEST_F(endpoint, connect_ipv6)
{
	connect_and_check(_metadata, &self->p, ADDRESS6);
}

TEST_F(endpoint, connect_to_listener_on_any_address)
{
	struct dmaplane_endpoint_listen listen;
	struct dmaplane_addr dst;
	pthread_t thread;
	struct pair *p = &self->p;

	ASSERT_EQ(0, listen_on(p->b.fd, "0.0.0.0", 0, 1, &listen));
	p->listener = listen.handle;
	dst = address(ADDRESS4, port_of(&listen.addr));
	ASSERT_EQ(0, resolve(p->a.fd, &dst, &p->a.endpoint));
	p->a.send_depth = p->a.recv_depth = p->b.send_depth = p->b.recv_depth = 1;
	ASSERT_EQ(0, pthread_create(&thread, NULL, accept_in_thread, p));
	EXPECT_EQ(0, side_join(&p->a, DMAPLANE_IOC_ENDPOINT_CONNECT));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, p->b.result);
}

TEST_F(endpoint, states)
{
	struct dmaplane_endpoint_request request;
	struct dmaplane_endpoint_listen listen;
	struct dmaplane_endpoint_query got;
	struct pair *p = &self->p;
	pthread_t thread;

	p->a.send_depth = p->a.recv_depth = p->b.send_depth = p->b.recv_depth = 4;
	ASSERT_EQ(0, listen_on(p->b.fd, ADDRESS4, 0, 1, &listen));
	ASSERT_EQ(0, resolve(p->a.fd, &listen.addr, &p->a.endpoint));
	ASSERT_EQ(0, query(p->a.fd, p->a.endpoint, &got));
	EXPECT_EQ(DMAPLANE_STATE_RESOLVED, got.state);
	EXPECT_TRUE(same_host(&listen.addr, &got.peer));
	EXPECT_NE(0, got.fabric);
	EXPECT_EQ(-EISCONN, side_join(&p->a, DMAPLANE_IOC_ENDPOINT_ACCEPT));

	p->listener = listen.handle;
	ASSERT_EQ(0, pthread_create(&thread, NULL, connect_in_thread, &p->a));
	ASSERT_EQ(0, take_request(p->b.fd, listen.handle, PATIENCE, &request));
	p->b.endpoint = request.handle;
	EXPECT_EQ(DMAPLANE_STATE_REQUESTED, state_of(p->b.fd, request.handle));
	EXPECT_EQ(DMAPLANE_STATE_CONNECTING, state_of(p->a.fd, p->a.endpoint));
	EXPECT_TRUE(same_host(&listen.addr, &request.peer));
	EXPECT_EQ(got.fabric, request.fabric);
	EXPECT_EQ(0, request.private_data.len);
	EXPECT_EQ(-EISCONN, side_join(&p->b, DMAPLANE_IOC_ENDPOINT_CONNECT));
	EXPECT_EQ(0, side_join(&p->b, DMAPLANE_IOC_ENDPOINT_ACCEPT));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, p->a.result);
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(p->a.fd, p->a.endpoint));
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(p->b.fd, p->b.endpoint));
	/* Twice is an error that harms nothing. */
	EXPECT_EQ(-EISCONN, side_join(&p->a, DMAPLANE_IOC_ENDPOINT_CONNECT));
	EXPECT_EQ(-EISCONN, side_join(&p->b, DMAPLANE_IOC_ENDPOINT_ACCEPT));
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(p->a.fd, p->a.endpoint));
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(p->b.fd, p->b.endpoint));

	/* The end of one is the end of the other. */
	EXPECT_EQ(0, endpoint_close(p->b.fd, p->b.endpoint));
	EXPECT_EQ(-ENOENT, state_of(p->b.fd, p->b.endpoint));
	EXPECT_TRUE(WAIT_FOR(state_of(p->a.fd, p->a.endpoint) == DMAPLANE_STATE_ERROR));
	ASSERT_EQ(0, query(p->a.fd, p->a.endpoint, &got));
	EXPECT_EQ(ECONNRESET, got.error);
	EXPECT_EQ(-ECONNRESET, side_join(&p->a, DMAPLANE_IOC_ENDPOINT_CONNECT));
	EXPECT_EQ(0, endpoint_close(p->a.fd, p->a.endpoint));
	EXPECT_EQ(0, endpoint_close(p->b.fd, listen.handle));
}

TEST_F(endpoint, request_waits)
{
	struct dmaplane_endpoint_request request;
	struct dmaplane_endpoint_listen listen;
	int fd = self->p.b.fd;

	ASSERT_EQ(0, listen_on(fd, ADDRESS4, 0, 1, &listen));
	EXPECT_EQ(-ETIME, take_request(fd, listen.handle, 0, &request));
	EXPECT_EQ(-ETIME, take_request(fd, listen.handle, 20 * MS, &request));
	alarm_every(20, SA_RESTART);
	EXPECT_EQ(-EINTR, take_request(fd, listen.handle, DMAPLANE_FOREVER, &request));
	alarm_stop();
}

/* Bad arguments leave the endpoint as it was: the last attempt succeeds. */
TEST_F(endpoint, connect_errors_before_the_peer_is_asked)
{
	struct dmaplane_endpoint_connect good = ARG(endpoint_connect, .send_depth = 1,
						    .recv_depth = 1, .timeout_ns = PATIENCE), bad;
	struct dmaplane_endpoint_listen listen;
	struct pair *p = &self->p;
	struct dmaplane_info info;
	struct channel small, poisoned;
	pthread_t thread;
	int fd = p->a.fd;

#define EXPECT_BAD(result, change) do {						\
		bad = good;							\
		bad.change;							\
		EXPECT_EQ(result, cmd(fd, DMAPLANE_IOC_ENDPOINT_CONNECT, &bad))	\
			TH_LOG("%s", #change);					\
		EXPECT_EQ(DMAPLANE_STATE_RESOLVED, state_of(fd, good.endpoint));	\
	} while (0)

	ASSERT_EQ(0, get_info(fd, &info));
	ASSERT_EQ(0, listen_on(p->b.fd, ADDRESS4, 0, 1, &listen));
	ASSERT_EQ(0, resolve(fd, &listen.addr, &good.endpoint));
	ASSERT_EQ(0, channel_open(fd, 4, 4, &small));
	good.channel = small.handle;
	EXPECT_BAD(-EINVAL, send_depth = 0);
	EXPECT_BAD(-EINVAL, recv_depth = 0);
	EXPECT_BAD(-EINVAL, send_depth = info.max_depth + 1);
	EXPECT_BAD(-EINVAL, recv_depth = info.max_depth + 1);
	EXPECT_BAD(-EINVAL, recv_depth = UINT32_MAX);
	EXPECT_BAD(-EMSGSIZE, private_data.len = DMAPLANE_PRIVATE_MAX + 1);
	EXPECT_BAD(-EMSGSIZE, private_data.len = UINT32_MAX);
	EXPECT_BAD(-EINVAL, private_data.data[31] = 1);
	EXPECT_BAD(-EBUSY, recv_depth = 5);
	EXPECT_BAD(-ENOENT, channel = 0);
	EXPECT_BAD(-ENOENT, channel = 0xdead);
	EXPECT_BAD(-EBADF, channel = good.endpoint);
	ASSERT_EQ(0, channel_open(fd, 4, 4, &poisoned));
	poisoned.ring->cq_head = 77;
	EXPECT_BAD(-EBADFD, channel = poisoned.handle);

	p->listener = listen.handle;
	p->b.send_depth = p->b.recv_depth = 1;
	ASSERT_EQ(0, pthread_create(&thread, NULL, accept_in_thread, p));
	good.recv_depth = 4;
	EXPECT_EQ(0, cmd(fd, DMAPLANE_IOC_ENDPOINT_CONNECT, &good));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, p->b.result);
	EXPECT_EQ(-EBUSY, end(fd, DMAPLANE_IOC_CHANNEL_CLOSE, small.handle));
	EXPECT_EQ(0, endpoint_close(fd, good.endpoint));
	EXPECT_EQ(0, end(fd, DMAPLANE_IOC_CHANNEL_CLOSE, small.handle));
}

TEST_F(endpoint, many_connections)
{
	struct dmaplane_endpoint_query got;
	struct side more[8];
	struct pair *p = &self->p;

	p->a.send_depth = p->a.recv_depth = p->b.send_depth = p->b.recv_depth = 4;
	for (size_t i = 0; i < ARRAY_LEN(more); i++) {
		more[i] = p->a;
		ASSERT_EQ(0, pair_connect(p)) TH_LOG("connection %zu", i);
		more[i].endpoint = p->a.endpoint;
		EXPECT_EQ(0, endpoint_close(p->b.fd, p->listener));
	}
	for (size_t i = 0; i < ARRAY_LEN(more); i++) {
		ASSERT_EQ(0, query(p->a.fd, more[i].endpoint, &got));
		EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, got.state);
		if (i % 2) {
			EXPECT_EQ(0, endpoint_close(p->a.fd, more[i].endpoint));
		}
	}
}

TEST_HARNESS_MAIN
