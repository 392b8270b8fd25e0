// SPDX-License-Identifier: GPL-2.0
/*
 * Every command that makes, shows or ends a listener or a connection: each of its
 * faults, one by one. See sweep.h.
 *
 * The peer is in this process, in a thread that meets no faults.
 */
#include "fault_cm.h"
#include "harness.h"

/* ---- A context of its own for each round: LISTEN, QUERY, CLOSE, ADDRESS ----- */

static int listen_here(struct world *w)
{
	struct dmaplane_endpoint_listen arg = ARG(endpoint_listen, .addr = w->addr, .backlog = 8);
	int ret = cmd(w->fd, DMAPLANE_IOC_ENDPOINT_LISTEN, &arg);

	w->handle = arg.handle;
	return ret;
}

static int listens(struct world *w)
{
	CHECK_IS(DMAPLANE_STATE_LISTENING, state_of(w->fd, w->handle));
	return 0;
}

static int open_with_listener(struct world *w)
{
	CHECK_IS(0, open_context(w));
	CHECK_IS(0, listen_here(w));
	w->seen[0].fd = w->fd;
	w->seen[0].handle = w->handle;
	return 0;
}

static int ask(struct world *w)
{
	struct dmaplane_endpoint_query arg;

	return query(w->fd, w->handle, &arg);
}

static int close_handle(struct world *w)
{
	return endpoint_close(w->fd, w->handle);
}

static int handle_gone(struct world *w)
{
	CHECK_IS(-ENOENT, state_of(w->fd, w->handle));
	return 0;
}

static int find_peer(struct world *w)
{
	return resolve(w->fd, &w->addr, &w->handle);
}

static int peer_found(struct world *w)
{
	CHECK_IS(DMAPLANE_STATE_RESOLVED, state_of(w->fd, w->handle));
	return 0;
}

static const struct op listening[] = {
	{ "ENDPOINT_LISTEN", open_context, listen_here, listens, close_context },
	{ "ENDPOINT_QUERY of a listener", open_with_listener, ask, NULL, close_context },
	{ "ENDPOINT_CLOSE of a listener", open_with_listener, close_handle, handle_gone,
	  close_context },
}, resolving = {
	"ENDPOINT_ADDRESS", open_context, find_peer, peer_found, close_context,
};

/* ---- REQUEST and ACCEPT in b, while a's thread connects ------------------------ */

static int refuse(struct world *w)
{
	CHECK_IS(0, endpoint_close(w->p.b.fd, w->p.b.endpoint));
	CHECK_IS(-EACCES, connecting_ended(w));
	CHECK_IS(0, endpoint_close(w->p.a.fd, w->p.a.endpoint));
	return 0;
}

/* The table of handles has no room yet for the request: it has to grow. */
static int open_and_start(struct world *w)
{
	CHECK_IS(0, open_both(w));
	return start_connecting(w);
}

static int refuse_and_close(struct world *w)
{
	CHECK_IS(0, refuse(w));
	pair_close(&w->p);
	return 0;
}

static enum outcome accept_failed(struct world *w, int error)
{
	int heard;

	if (state_of(w->p.b.fd, w->p.b.endpoint) == DMAPLANE_STATE_REQUESTED)
		return REPEAT;
	if (failed_for_good(&w->p.b, error) || end_both(w))
		return WRONG;
	/* a was refused, or had its answer already, or was closed just now. */
	heard = connecting_ended(w);
	switch (heard) {
	case 0:
	case -ECANCELED:
	case -ECONNREFUSED:
	case -ECONNRESET:
		return OVER;
	}
	COMMENT("CONNECT ended with %d\n", heard);
	return WRONG;
}

static const struct op requesting = {
	"ENDPOINT_REQUEST", open_and_start, request, requested, refuse_and_close,
}, accepting = {
	"ENDPOINT_ACCEPT", start_and_take, accept_it, accepted, end_both, accept_failed,
	.stride = 3,
};

/* ---- CONNECT in a, while b's thread accepts --------------------------------------- */

static pthread_t serving;
static bool serve_no_more;

/* Accepts whatever comes, and ends what the peer has ended. */
static void *serve(void *arg)
{
	struct world *w = arg;
	struct dmaplane_endpoint_request request;
	uint32_t last = 0;

	while (!__atomic_load_n(&serve_no_more, __ATOMIC_ACQUIRE)) {
		if (last && state_of(w->p.b.fd, last) != DMAPLANE_STATE_ESTABLISHED) {
			endpoint_close(w->p.b.fd, last);
			last = 0;
		}
		if (take_request(w->p.b.fd, w->p.listener, last ? MS : 100 * MS, &request))
			continue;
		if (last)
			endpoint_close(w->p.b.fd, last);
		w->p.b.endpoint = last = request.handle;
		side_join(&w->p.b, DMAPLANE_IOC_ENDPOINT_ACCEPT);
	}
	if (last)
		endpoint_close(w->p.b.fd, last);
	return NULL;
}

/* With nothing but the listener at the other side. */
static int find_server(struct world *w)
{
	CHECK(WAIT_FOR(live("endpoints") == 1));
	CHECK_IS(0, resolve(w->p.a.fd, &w->addr, &w->p.a.endpoint));
	return settle(w, 2);
}

static int connect_it(struct world *w)
{
	return side_join(&w->p.a, DMAPLANE_IOC_ENDPOINT_CONNECT);
}

static int connected(struct world *w)
{
	CHECK_IS(DMAPLANE_STATE_ESTABLISHED, state_of(w->p.a.fd, w->p.a.endpoint));
	return 0;
}

static int end_a(struct world *w)
{
	CHECK_IS(0, endpoint_close(w->p.a.fd, w->p.a.endpoint));
	return 0;
}

static enum outcome connect_failed(struct world *w, int error)
{
	if (state_of(w->p.a.fd, w->p.a.endpoint) == DMAPLANE_STATE_RESOLVED)
		return REPEAT;
	return failed_for_good(&w->p.a, error) || end_a(w) ? WRONG : OVER;
}

static const struct op connecting_op = {
	"ENDPOINT_CONNECT", find_server, connect_it, connected, end_a, connect_failed,
	.stride = 3,
};

/* ---- QUERY and CLOSE of endpoints, close(2) ------------------------------------------ */

static int join_both(struct world *w)
{
	CHECK_IS(0, start_and_take(w));
	CHECK_IS(0, accept_it(w));
	CHECK_IS(0, connecting_ended(w));
	CHECK_IS(0, settle(w, 3));
	w->fd = w->p.a.fd;
	w->handle = w->p.a.endpoint;
	return 0;
}

static int a_gone(struct world *w)
{
	CHECK_IS(-ENOENT, state_of(w->p.a.fd, w->p.a.endpoint));
	CHECK(WAIT_FOR(state_of(w->p.b.fd, w->p.b.endpoint) == DMAPLANE_STATE_ERROR));
	return 0;
}

static int end_b(struct world *w)
{
	CHECK_IS(0, endpoint_close(w->p.b.fd, w->p.b.endpoint));
	return 0;
}

static int resolve_a(struct world *w)
{
	CHECK_IS(0, find_server(w));
	w->fd = w->p.a.fd;
	w->handle = w->p.a.endpoint;
	return 0;
}

/*
 * A request that is refused. Without memory for the reason, the peer learns that
 * it was; without memory for a message (cm_send_rej_locked(), which forgets the
 * request before it asks for that memory) the peer asks again after a few seconds.
 */
static int request_b(struct world *w)
{
	CHECK_IS(0, start_and_take(w));
	w->fd = w->p.b.fd;
	w->handle = w->p.b.endpoint;
	return 0;
}

static int refused(struct world *w)
{
	struct dmaplane_endpoint_request again;
	uint64_t give_up = now_ns() + PATIENCE;

	CHECK_IS(-ENOENT, state_of(w->fd, w->handle));
	while (pthread_tryjoin_np(connecting, NULL)) {
		CHECK(now_ns() < give_up);
		if (!take_request(w->p.b.fd, w->p.listener, 20 * MS, &again)) {
			CHECK(w->faulted);
			CHECK_IS(0, endpoint_close(w->p.b.fd, again.handle));
		}
	}
	CHECK(w->p.a.result == -EACCES || (w->faulted && w->p.a.result == -ECONNRESET));
	return 0;
}

static int open_joined(struct world *w)
{
	CHECK_IS(0, open_both(w));
	CHECK_IS(0, join_both(w));
	munmap(w->p.a.ch.ring, w->p.a.ch.length);
	return 0;
}

static int close_a(struct world *w)
{
	return close(w->p.a.fd) ? -errno : 0;
}

static int a_closed(struct world *w)
{
	CHECK(WAIT_FOR(live("contexts") == 1));
	CHECK(WAIT_FOR(state_of(w->p.b.fd, w->p.b.endpoint) == DMAPLANE_STATE_ERROR));
	return 0;
}

static int close_b(struct world *w)
{
	side_close(&w->p.b);
	CHECK(WAIT_FOR(live("endpoints") == 0));
	return 0;
}

static const struct op ending[] = {
	{ "ENDPOINT_QUERY", join_both, ask, NULL, end_both },
	{ "ENDPOINT_CLOSE", join_both, close_handle, a_gone, end_b },
	{ "ENDPOINT_CLOSE before CONNECT", resolve_a, close_handle, handle_gone, NULL },
	{ "ENDPOINT_CLOSE of a request", request_b, close_handle, refused, end_a },
}, closing = {
	"close with a connection", open_joined, close_a, a_closed, close_b,
};

/* ---- All ------------------------------------------------------------------------------- */

FIXTURE(faults) {
	struct world w;
};

FIXTURE_SETUP(faults)
{
	if (!faults_possible())
		SKIP(return, "this kernel has no fault injection");
	ASSERT_EQ(0, faults_ready());
}

FIXTURE_TEARDOWN(faults)
{
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_TRUE(WAIT_FOR(live("endpoints") == 0));
}

TEST_F(faults, of_listeners)
{
	static const char *const hosts[] = { ADDRESS4, ADDRESS6, "0.0.0.0" };

	for (unsigned int h = 0; h < ARRAY_LEN(hosts); h++) {
		self->w.addr = address(hosts[h], 0);
		for (unsigned int i = 0; i < ARRAY_LEN(listening); i++)
			EXPECT_EQ(0, sweep(&listening[i], &self->w));
	}
}

TEST_F(faults, of_addresses)
{
	static const char *const hosts[] = { ADDRESS4, ADDRESS6 };

	for (unsigned int h = 0; h < ARRAY_LEN(hosts); h++) {
		self->w.addr = address(hosts[h], 7000);
		EXPECT_EQ(0, sweep(&resolving, &self->w));
	}
}

TEST_F(faults, of_requests)
{
	EXPECT_EQ(0, sweep(&requesting, &self->w));
}

/* Some 140 connections each. */
TEST_F(faults, of_the_accepting_side)
{
	ASSERT_EQ(0, open_both(&self->w));
	ASSERT_EQ(0, spare(RXE_LOSES_RECEIVES));
	EXPECT_EQ(0, sweep(&accepting, &self->w));
	pair_close(&self->w.p);
}

TEST_F(faults, of_the_connecting_side)
{
	ASSERT_EQ(0, open_both(&self->w));
	serve_no_more = false;
	ASSERT_EQ(0, pthread_create(&serving, NULL, serve, &self->w));
	EXPECT_EQ(0, sweep(&connecting_op, &self->w));
	__atomic_store_n(&serve_no_more, true, __ATOMIC_RELEASE);
	pthread_join(serving, NULL);
	pair_close(&self->w.p);
}

TEST_F(faults, of_the_end)
{
	ASSERT_EQ(0, open_both(&self->w));
	for (unsigned int i = 0; i < ARRAY_LEN(ending); i++)
		EXPECT_EQ(0, sweep(&ending[i], &self->w));
	pair_close(&self->w.p);
	EXPECT_EQ(0, sweep(&closing, &self->w));
}

TEST_HARNESS_MAIN
