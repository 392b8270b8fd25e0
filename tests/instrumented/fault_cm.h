/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Steps on the way to a connection, for fail_nth_cm.c: side a connects, in a thread
 * of its own where the call under test is b's.
 */
#ifndef DMAPLANE_TEST_FAULT_CM_H
#define DMAPLANE_TEST_FAULT_CM_H

#include "fault.h"

/* ---- Two contexts that stay, b with a listener ------------------------------- */

static inline int open_both(struct world *w)
{
	struct dmaplane_endpoint_listen listen;

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

/* Ends both sides' endpoints; b's may be ended by its thread. */
static inline int end_both(struct world *w)
{
	CHECK_IS(0, endpoint_close(w->p.a.fd, w->p.a.endpoint));
	CHECK_IS(0, endpoint_close(w->p.b.fd, w->p.b.endpoint));
	return 0;
}

/* ---- REQUEST and ACCEPT in b, while a's thread connects ------------------------ */

static pthread_t connecting;

static inline int start_connecting(struct world *w)
{
	CHECK_IS(0, resolve(w->p.a.fd, &w->addr, &w->p.a.endpoint));
	CHECK_IS(0, pthread_create(&connecting, NULL, connect_in_thread, &w->p.a));
	return 0;
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
	return 0;
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
