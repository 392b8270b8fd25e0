// SPDX-License-Identifier: GPL-2.0
/*
 * Connections that do not come about: unreachable, refused, not answered, no
 * RDMA device there. And what an endpoint that is not connected cannot do.
 */
#include "pair.h"
#include "harness.h"

FIXTURE(refused) {
	struct side a, b;
};

FIXTURE_SETUP(refused)
{
	ASSERT_EQ(0, side_open(&self->a, 64));
	ASSERT_EQ(0, side_open(&self->b, 64));
	self->a.send_depth = self->a.recv_depth = 4;
	self->b.send_depth = self->b.recv_depth = 4;
}

FIXTURE_TEARDOWN(refused)
{
	side_close(&self->a);
	side_close(&self->b);
}

static int error_of(struct side *s)
{
	struct dmaplane_endpoint_query got;
	int ret = query(s->fd, s->endpoint, &got);

	return ret ? ret : got.state == DMAPLANE_STATE_ERROR ? (int)got.error : -EPROTO;
}

static int address_to(int fd, const char *dst, const char *src, uint64_t timeout_ns)
{
	struct dmaplane_endpoint_address arg = ARG(endpoint_address, .timeout_ns = timeout_ns);

	if (dst)
		arg.dst = address(dst, 4711);
	if (src)
		arg.src = address(src, 0);
	return cmd(fd, DMAPLANE_IOC_ENDPOINT_ADDRESS, &arg);
}

TEST_F(refused, addresses)
{
	struct dmaplane_stats stats;
	int fd = self->a.fd, ret;

	EXPECT_EQ(-EINVAL, address_to(fd, NULL, NULL, PATIENCE));
	ret = address_to(fd, NO_ROUTE, NULL, PATIENCE);
	EXPECT_TRUE(ret == -ENETUNREACH || ret == -EHOSTUNREACH) {
		TH_LOG("no route: %d", ret);
	}
	ret = address_to(fd, "2001:db8::99", NULL, PATIENCE);
	EXPECT_TRUE(ret == -ENETUNREACH || ret == -EHOSTUNREACH) {
		TH_LOG("no IPv6 route: %d", ret);
	}
	EXPECT_EQ(-EADDRNOTAVAIL, address_to(fd, ADDRESS4, "192.0.2.1", PATIENCE));
	EXPECT_EQ(-ENODEV, address_to(fd, NO_RDMA, NULL, PATIENCE));
	ASSERT_EQ(0, get_stats(fd, &stats));
	EXPECT_EQ(0, stats.endpoints);
	EXPECT_EQ(0, address_to(fd, ADDRESS4, ADDRESS4, PATIENCE));
	EXPECT_EQ(0, address_to(fd, ADDRESS6, ADDRESS6, PATIENCE));
}

TEST_F(refused, no_neighbour)
{
	int ret;

	EXPECT_EQ(-ETIME, address_to(self->a.fd, NO_NEIGHBOUR, NULL, 1 * MS));
	alarm_every(10, 0);
	EXPECT_EQ(-EINTR, address_to(self->a.fd, NO_NEIGHBOUR, NULL, DMAPLANE_FOREVER));
	alarm_stop();
	ret = address_to(self->a.fd, NO_NEIGHBOUR, NULL, PATIENCE);
	EXPECT_TRUE(ret == -EHOSTUNREACH || ret == -ENETUNREACH) {
		TH_LOG("no neighbour: %d", ret);
	}
}

TEST_F(refused, nobody_listens)
{
	struct dmaplane_addr dst = address(ADDRESS4, 4711);

	ASSERT_EQ(0, resolve(self->a.fd, &dst, &self->a.endpoint));
	EXPECT_EQ(-ECONNREFUSED, side_join(&self->a, DMAPLANE_IOC_ENDPOINT_CONNECT));
	EXPECT_EQ(ECONNREFUSED, error_of(&self->a));
	EXPECT_EQ(-ECONNREFUSED, side_join(&self->a, DMAPLANE_IOC_ENDPOINT_CONNECT));
	EXPECT_EQ(0, endpoint_close(self->a.fd, self->a.endpoint));
}

TEST_F(refused, program_refuses)
{
	struct dmaplane_endpoint_request request;
	struct dmaplane_endpoint_listen listen;
	pthread_t thread;

	ASSERT_EQ(0, listen_on(self->b.fd, ADDRESS4, 0, 1, &listen));
	ASSERT_EQ(0, resolve(self->a.fd, &listen.addr, &self->a.endpoint));
	ASSERT_EQ(0, pthread_create(&thread, NULL, connect_in_thread, &self->a));
	ASSERT_EQ(0, take_request(self->b.fd, listen.handle, PATIENCE, &request));
	EXPECT_EQ(0, endpoint_close(self->b.fd, request.handle));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(-EACCES, self->a.result);
	EXPECT_EQ(EACCES, error_of(&self->a));
}

/* Two ask where there is room for one: whoever comes second is refused. */
TEST_F(refused, backlog_is_full)
{
	struct dmaplane_endpoint_listen listen;
	struct side second = { 0 };
	struct pair p = { .a = self->a, .b = self->b };
	struct side *sides[] = { &p.a, &second };
	pthread_t threads[2], accepter;

	ASSERT_EQ(0, side_open(&second, 64));
	second.send_depth = second.recv_depth = 4;
	ASSERT_EQ(0, listen_on(p.b.fd, ADDRESS4, 0, 1, &listen));
	p.listener = listen.handle;
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, resolve(sides[i]->fd, &listen.addr, &sides[i]->endpoint));
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, connect_in_thread, sides[i]));
	}
	EXPECT_TRUE(WAIT_FOR(error_of(&p.a) == ECONNREFUSED ||
			     error_of(&second) == ECONNREFUSED));
	ASSERT_EQ(0, pthread_create(&accepter, NULL, accept_in_thread, &p));
	ASSERT_EQ(0, pthread_join(accepter, NULL));
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
	}
	EXPECT_EQ(0, p.b.result);
	EXPECT_EQ(-ECONNREFUSED, p.a.result + second.result);
	EXPECT_TRUE(p.a.result == 0 || second.result == 0);
	side_close(&second);
}

/*
 * Nobody takes the request: the one who connects waits as long as it said, and others learn that
 * it gave up, not of its signal.
 */
TEST_F(refused, no_answer)
{
	struct dmaplane_endpoint_connect arg = ARG(endpoint_connect, .channel = self->a.ch.handle,
						   .send_depth = 1, .recv_depth = 1);
	struct dmaplane_counter_create counter = ARG(counter_create);
	struct dmaplane_endpoint_request request;
	struct dmaplane_endpoint_listen listen;
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;
	struct buffer buffer;

	ASSERT_EQ(0, listen_on(self->b.fd, ADDRESS4, 0, 8, &listen));
	ASSERT_EQ(0, buf_create(self->a.fd, 4096, &buffer));
	for (int signal = 0; signal < 2; signal++) {
		ASSERT_EQ(0, resolve(self->a.fd, &listen.addr, &self->a.endpoint));
		arg.endpoint = counter.endpoint = self->a.endpoint;
		ASSERT_EQ(0, cmd(self->a.fd, DMAPLANE_IOC_COUNTER_CREATE, &counter));
		dmaplane_prep_counter_wait(&sqe, self->a.endpoint, counter.handle, 1);
		ASSERT_EQ(1, channel_submit(&self->a.ch, &sqe));
		arg.timeout_ns = signal ? DMAPLANE_FOREVER : 30 * MS;
		if (signal)
			/* Not while the connection is being made: see rust/rdma/conn.rs on siw. */
			alarm_every(instrumented() ? 2000 : 300, 0);
		EXPECT_EQ(signal ? -EINTR : -ETIME,
			  cmd(self->a.fd, DMAPLANE_IOC_ENDPOINT_CONNECT, &arg));
		alarm_stop();
		EXPECT_EQ(ECANCELED, error_of(&self->a));
		EXPECT_EQ(-ECANCELED, cmd(self->a.fd, DMAPLANE_IOC_ENDPOINT_CONNECT, &arg));
		ASSERT_EQ(0, channel_next(&self->a.ch, &cqe));
		EXPECT_EQ(-ECANCELED, cqe.res);
		dmaplane_prep_recv(&sqe, self->a.endpoint, buffer.handle, 0, 4);
		ASSERT_EQ(0, channel_do(&self->a.ch, &sqe, &cqe));
		EXPECT_EQ(-ECANCELED, cqe.res);
		EXPECT_EQ(0, endpoint_close(self->a.fd, self->a.endpoint));
	}
	/* Requests of those who left can be taken or not; accepting them fails in time. */
	while (!take_request(self->b.fd, listen.handle, 100 * MS, &request)) {
		self->b.endpoint = request.handle;
		EXPECT_NE(0, side_join(&self->b, DMAPLANE_IOC_ENDPOINT_ACCEPT));
		EXPECT_EQ(0, endpoint_close(self->b.fd, request.handle));
	}
}

static void *close_in_thread(void *arg)
{
	struct side *s = arg;

	s->result = endpoint_close(s->fd, s->endpoint);
	return NULL;
}

/* The answer comes when the one who asked is closing: neither waits for the other. */
TEST_F(refused, answered_too_late)
{
	struct dmaplane_endpoint_connect arg = ARG(endpoint_connect, .channel = self->a.ch.handle,
						   .send_depth = 1, .recv_depth = 1,
						   .timeout_ns = 30 * MS);
	struct dmaplane_endpoint_request request;
	struct dmaplane_endpoint_listen listen;
	pthread_t thread;

	ASSERT_EQ(0, listen_on(self->b.fd, ADDRESS4, 0, 8, &listen));
	for (int ms = 0; ms <= 100; ms += 50) {
		ASSERT_EQ(0, resolve(self->a.fd, &listen.addr, &self->a.endpoint));
		arg.endpoint = self->a.endpoint;
		EXPECT_EQ(-ETIME, cmd(self->a.fd, DMAPLANE_IOC_ENDPOINT_CONNECT, &arg));
		ASSERT_EQ(0, pthread_create(&thread, NULL, close_in_thread, &self->a));
		sleep_ms(ms);
		/* It may have been withdrawn. */
		if (!take_request(self->b.fd, listen.handle, 100 * MS, &request)) {
			self->b.endpoint = request.handle;
			side_join(&self->b, DMAPLANE_IOC_ENDPOINT_ACCEPT);
			EXPECT_TRUE(WAIT_FOR(state_of(self->b.fd, self->b.endpoint) ==
					     DMAPLANE_STATE_ERROR));
			EXPECT_EQ(0, endpoint_close(self->b.fd, self->b.endpoint));
		}
		ASSERT_EQ(0, pthread_join(thread, NULL));
		EXPECT_EQ(0, self->a.result);
	}
}

TEST_F(refused, listener_closed_with_requests)
{
	struct dmaplane_endpoint_listen listen;
	pthread_t thread;

	ASSERT_EQ(0, listen_on(self->b.fd, ADDRESS4, 0, 1, &listen));
	ASSERT_EQ(0, resolve(self->a.fd, &listen.addr, &self->a.endpoint));
	ASSERT_EQ(0, pthread_create(&thread, NULL, connect_in_thread, &self->a));
	EXPECT_TRUE(WAIT_FOR(state_of(self->a.fd, self->a.endpoint) ==
			     DMAPLANE_STATE_CONNECTING));
	/* If that is not enough for the request to arrive, it may be half way. */
	sleep_ms(100);
	EXPECT_EQ(0, endpoint_close(self->b.fd, listen.handle));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_TRUE(self->a.result == -EACCES || self->a.result == -ECONNREFUSED ||
		    self->a.result == -ECONNRESET) {
		TH_LOG("%d", self->a.result);
	}
}

/* A context that ends with everything half way. */
TEST_F(refused, close_half_way)
{
	struct dmaplane_endpoint_request request;
	struct dmaplane_endpoint_listen listen;
	pthread_t thread;
	int fd;

	for (int way = 0; way < 3; way++) {
		fd = open_device();
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, listen_on(fd, ADDRESS4, 0, 4, &listen));
		ASSERT_EQ(0, resolve(self->a.fd, &listen.addr, &self->a.endpoint));
		ASSERT_EQ(0, pthread_create(&thread, NULL, connect_in_thread, &self->a));
		if (way == 0) {
			ASSERT_EQ(0, take_request(fd, listen.handle, PATIENCE, &request));
		} else if (way == 1) {
			sleep_ms(100);
		}
		ASSERT_EQ(0, close(fd));
		ASSERT_EQ(0, pthread_join(thread, NULL));
		EXPECT_NE(0, self->a.result);
		EXPECT_NE(-ETIME, self->a.result);
		EXPECT_EQ(0, endpoint_close(self->a.fd, self->a.endpoint));
	}
}

TEST_F(refused, what_needs_a_connection)
{
	struct dmaplane_addr dst = address(ADDRESS4, 4711);
	struct dmaplane_lease_wait wait;
	struct dmaplane_cqe cqe;
	struct dmaplane_sqe sqe;
	struct pair p = { 0 };
	struct memory m;
	uint32_t region, lease;

	/* A region that is good, of another connection. */
	ASSERT_EQ(0, pair_open(&p));
	ASSERT_EQ(0, memory_make(&p.a, 4096, DMAPLANE_ACCESS_REMOTE_WRITE, &m));
	ASSERT_EQ(0, resolve(p.a.fd, &dst, &p.a.endpoint));
	for (int failed = 0; failed < 2; failed++) {
		EXPECT_EQ(-ENOTCONN, region_register(p.a.fd, p.a.endpoint, m.buffer.handle, 0, 4096,
						     0, &region));
		EXPECT_EQ(-ENOTCONN, lease_grant(&p.a, m.region, 0, &lease));
		EXPECT_EQ(-ENOTCONN, lease_wait(&p.a, PATIENCE, &wait));
		sqe = write_imm(&p.a, m.region, 1, 0, 0, 1, 0);
		ASSERT_EQ(0, channel_do(&p.a.ch, &sqe, &cqe));
		EXPECT_EQ(-ENOTCONN, cqe.res);
		if (!failed) {
			EXPECT_EQ(-ECONNREFUSED, side_join(&p.a, DMAPLANE_IOC_ENDPOINT_CONNECT));
		}
	}
	pair_close(&p);
}

TEST_HARNESS_MAIN
