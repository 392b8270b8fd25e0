/* SPDX-License-Identifier: GPL-2.0 */
/* A user-space peer that begins as a dmaplane would. */
#ifndef DMAPLANE_TEST_LIAR_H
#define DMAPLANE_TEST_LIAR_H

#include "user.h"

/* What the two kernels say to each other: see src/pure/wire. Later ones have another version. */
#define VERSION 4
#define LATER	(VERSION + 1)

struct hello {
	uint8_t magic[4];
	uint16_t version, header;
	uint32_t credits;
	uint16_t length, message;
	uint8_t user[32];
} __attribute__((packed));

static inline struct hello hello(uint16_t version)
{
	return (struct hello){
		.magic = "DMAP", .version = htons(version), .header = htons(16),
		.credits = htonl(4),
	};
}

#define HELLO_BYTES 16

/* Connects; returns the last event's type, e.g. RDMA_CM_EVENT_REJECTED. */
static inline int user_connect(struct user *u, const struct dmaplane_addr *dst, const void *data,
			size_t length)
{
	struct rdma_conn_param param = {
		.private_data = data, .private_data_len = length, .responder_resources = 1,
		.initiator_depth = 1, .retry_count = 5, .rnr_retry_count = 0,
	};
	struct sockaddr_storage to = { 0 };

	memcpy(&to, dst->data, dst->len);
	if (rdma_create_id(u->events, &u->id, NULL, RDMA_PS_TCP) ||
	    rdma_resolve_addr(u->id, NULL, (struct sockaddr *)&to, PATIENCE / MS))
		return -errno;
	if (next_event(u) != RDMA_CM_EVENT_ADDR_RESOLVED || rdma_resolve_route(u->id, PATIENCE / MS) ||
	    next_event(u) != RDMA_CM_EVENT_ROUTE_RESOLVED || add_queue_pair(u->id) ||
	    rdma_connect(u->id, &param))
		return -EPROTO;
	return next_event(u);
}

/* Connects one to a listener of @side, which gets the endpoint. */
static inline int liar_connect(struct side *side, uint32_t listener, const struct dmaplane_addr *addr,
			       struct user *u)
{
	struct hello good = hello(VERSION);
	struct pair p = { .b = *side, .listener = listener };
	pthread_t thread;
	int ret;

	p.b.result = -EPROTO;
	ret = pthread_create(&thread, NULL, accept_in_thread, &p);
	if (ret)
		return -ret;
	ret = user_connect(u, addr, &good, HELLO_BYTES);
	pthread_join(thread, NULL);
	side->endpoint = p.b.endpoint;
	if (ret != RDMA_CM_EVENT_ESTABLISHED)
		return ret < 0 ? ret : -EPROTO;
	return p.b.result;
}

#endif
