/* SPDX-License-Identifier: GPL-2.0 */
/* User-space programs with verbs of their own: librdmacm and libibverbs. */
#ifndef DMAPLANE_TEST_USER_H
#define DMAPLANE_TEST_USER_H

#include "pair.h"

#include <rdma/rdma_cma.h>
#include <rdma/rdma_verbs.h>

struct user {
	struct rdma_event_channel *events;
	struct rdma_cm_id *id;
	struct rdma_cm_event *event;
};

/* The next event: its type, or -errno. It stays until the one after it is asked for. */
static inline int next_event(struct user *u)
{
	struct pollfd p = { .fd = u->events->fd, .events = POLLIN };

	if (u->event)
		rdma_ack_cm_event(u->event);
	u->event = NULL;
	if (poll(&p, 1, PATIENCE / MS) != 1)
		return -ETIME;
	return rdma_get_cm_event(u->events, &u->event) ? -errno : (int)u->event->event;
}

static inline int add_queue_pair(struct rdma_cm_id *id)
{
	struct ibv_qp_init_attr attr = {
		.cap = { .max_send_wr = 16, .max_recv_wr = 64, .max_send_sge = 1,
			 .max_recv_sge = 1 },
		.qp_type = IBV_QPT_RC, .sq_sig_all = 1,
	};

	return rdma_create_qp(id, NULL, &attr);
}

static inline void user_end(struct user *u)
{
	if (u->event)
		rdma_ack_cm_event(u->event);
	u->event = NULL;
	if (u->id->qp)
		rdma_destroy_qp(u->id);
	rdma_destroy_id(u->id);
}

/* What memory is registered with, without a connection; NULL if there is no device. */
static inline struct ibv_pd *any_pd(void)
{
	struct ibv_device **devices = ibv_get_device_list(NULL);
	struct ibv_context *context = devices && *devices ? ibv_open_device(*devices) : NULL;

	if (devices)
		ibv_free_device_list(devices);
	return context ? ibv_alloc_pd(context) : NULL;
}

static inline void pd_end(struct ibv_pd *pd)
{
	struct ibv_context *context = pd->context;

	ibv_dealloc_pd(pd);
	ibv_close_device(context);
}

#endif /* DMAPLANE_TEST_USER_H */
