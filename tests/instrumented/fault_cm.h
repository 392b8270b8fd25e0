/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Steps on the way to a connection, for fail_nth_cm.c: side a connects, in a thread
 * of its own where the call under test is b's.
 */
#ifndef DMAPLANE_TEST_FAULT_CM_H
#define DMAPLANE_TEST_FAULT_CM_H

#include "sweep.h"

/* ---- Two contexts that stay, b with a listener ------------------------------- */

static inline int open_both(struct world *w)
{
	struct dmaplane_endpoint_listen listen;

	CHECK(WAIT_FOR(live("contexts") == 0));
	w->p = (struct pair){ 0 };
	CHECK_IS(0, side_open(&w->p.a, 64));
	CHECK_IS(0, side_open(&w->p.b, 64));
	w->p.a.send_depth = w->p.a.recv_depth = 8;
	w->p.b.send_depth = w->p.b.recv_depth = 8;
	CHECK_IS(0, listen_on(w->p.b.fd, ADDRESS4, 0, 8, &listen));
	w->p.listener = listen.handle;
	w->addr = listen.addr;
	return 0;
}

/*
 * From now on a failure changes nothing in both contexts and these endpoints, of
 * which there are so many, requests that wait included. Those of the round before
 * are gone first.
 */
static inline int settle(struct world *w, long count)
{
	CHECK(WAIT_FOR(live("endpoints") == count));
	w->fds[0] = w->p.a.fd;
	w->fds[1] = w->p.b.fd;
	w->seen[0].fd = w->p.b.fd;
	w->seen[0].handle = w->p.listener;
	w->seen[1].fd = w->p.a.fd;
	w->seen[1].handle = w->p.a.endpoint;
	w->seen[2].fd = w->p.b.fd;
	w->seen[2].handle = w->p.b.endpoint;
	return 0;
}

/* Ends both sides' endpoints; b's may be ended by its thread. */
static inline int end_both(struct world *w)
{
	CHECK_IS(0, endpoint_close(w->p.a.fd, w->p.a.endpoint));
	CHECK_IS(0, endpoint_close(w->p.b.fd, w->p.b.endpoint));
	return 0;
}

/* ---- REQUEST and ACCEPT in b, while a's thread connects ------------------------ */

static pthread_t connecting;

/* When it is done the listener has the request. */
static inline int start_connecting(struct world *w)
{
	CHECK(WAIT_FOR(live("endpoints") == 1));
	CHECK_IS(0, resolve(w->p.a.fd, &w->addr, &w->p.a.endpoint));
	CHECK_IS(0, pthread_create(&connecting, NULL, connect_in_thread, &w->p.a));
	CHECK(WAIT_FOR(state_of(w->p.a.fd, w->p.a.endpoint) == DMAPLANE_STATE_CONNECTING));
	return settle(w, 3);
}

static inline int connecting_ended(struct world *w)
{
	CHECK_IS(0, pthread_join(connecting, NULL));
	return w->p.a.result;
}

static inline int request(struct world *w)
{
	struct dmaplane_endpoint_request arg;
	int ret = take_request(w->p.b.fd, w->p.listener, PATIENCE, &arg);

	w->p.b.endpoint = arg.handle;
	return ret;
}

static inline int requested(struct world *w)
{
	CHECK_IS(DMAPLANE_STATE_REQUESTED, state_of(w->p.b.fd, w->p.b.endpoint));
	return 0;
}

static inline int start_and_take(struct world *w)
{
	CHECK_IS(0, start_connecting(w));
	CHECK_IS(0, request(w));
	return settle(w, 3);
}

static inline int accept_it(struct world *w)
{
	return side_join(&w->p.b, DMAPLANE_IOC_ENDPOINT_ACCEPT);
}

static inline int both_established(struct world *w)
{
	CHECK_IS(DMAPLANE_STATE_ESTABLISHED, state_of(w->p.a.fd, w->p.a.endpoint));
	CHECK_IS(DMAPLANE_STATE_ESTABLISHED, state_of(w->p.b.fd, w->p.b.endpoint));
	return 0;
}

static inline int accepted(struct world *w)
{
	CHECK_IS(0, connecting_ended(w));
	return both_established(w);
}

/* Whether the endpoint failed for that reason, and says so from now on. */
static inline int failed_for_good(struct side *s, int error)
{
	struct dmaplane_endpoint_query arg;

	CHECK_IS(0, query(s->fd, s->endpoint, &arg));
	CHECK_IS(DMAPLANE_STATE_ERROR, arg.state);
	CHECK_IS(-error, arg.error);
	return 0;
}

#endif /* DMAPLANE_TEST_FAULT_CM_H */
