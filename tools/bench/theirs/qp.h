/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A pair of connected RC queue pairs of one RDMA device, both in this process, with
 * completion channels: what a program has that does not want to spin.
 */
#ifndef DMAPLANE_BENCH_QP_H
#define DMAPLANE_BENCH_QP_H

#include "arm.h"

#include <arpa/inet.h>
#include <infiniband/verbs.h>

struct side {
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	struct ibv_comp_channel *events;
	struct ibv_cq *cq;
	struct ibv_qp *qp;
	struct ibv_mr *mr;
	char *memory;
	/* Reads at a time, of its own and of the peer; 0 if there are none. */
	uint8_t reads;
};

static inline int side_access(const struct side *s)
{
	return IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
	       (s->reads ? IBV_ACCESS_REMOTE_READ : 0);
}

/* The device's first GID that is an IPv4 address. */
static inline int ipv4_gid(struct ibv_context *ctx, union ibv_gid *gid)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	for (int i = 0; i < 16; i++)
		if (!ibv_query_gid(ctx, 1, i, gid) && !memcmp(gid->raw, mapped, 12))
			return i;
	return -1;
}

static inline void side_open(struct side *s, uint64_t size, uint32_t send_wr, uint32_t recv_wr,
			     uint32_t cqes)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_qp_init_attr init = {
		.cap = {
			.max_send_wr = send_wr, .max_recv_wr = recv_wr, .max_send_sge = 1,
			.max_recv_sge = 1,
		},
		.qp_type = IBV_QPT_RC,
	};

	OR_DIE(list && list[0]);
	OR_DIE(s->ctx = ibv_open_device(list[0]));
	ibv_free_device_list(list);
	OR_DIE(s->pd = ibv_alloc_pd(s->ctx));
	OR_DIE(s->events = ibv_create_comp_channel(s->ctx));
	OR_DIE(s->cq = ibv_create_cq(s->ctx, cqes, NULL, s->events, 0));
	init.send_cq = init.recv_cq = s->cq;
	OR_DIE(s->qp = ibv_create_qp(s->pd, &init));
	OR_DIE(s->memory = aligned_alloc(4096, (size + 4095) & ~4095ULL));
	memset(s->memory, 0, size);
	OR_DIE(s->mr = ibv_reg_mr(s->pd, s->memory, size, side_access(s)));
}

static inline void side_connect(struct side *s, const struct side *peer)
{
	struct ibv_port_attr port;
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT, .port_num = 1,
		.qp_access_flags = side_access(s),
	};
	uint8_t reads = s->reads ? s->reads : 1;
	union ibv_gid gid;
	int index = ipv4_gid(s->ctx, &gid);

	OR_DIE(index >= 0);
	OR_DIE(!ibv_query_port(s->ctx, 1, &port));
	OR_DIE(!ibv_modify_qp(s->qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
						    IBV_QP_ACCESS_FLAGS));
	attr = (struct ibv_qp_attr){
		.qp_state = IBV_QPS_RTR, .path_mtu = port.active_mtu,
		.dest_qp_num = peer->qp->qp_num, .max_dest_rd_atomic = reads,
		.min_rnr_timer = 12,
		.ah_attr = {
			.is_global = 1, .port_num = 1,
			.grh = { .dgid = gid, .sgid_index = index, .hop_limit = 64 },
		},
	};
	OR_DIE(!ibv_modify_qp(s->qp, &attr, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU |
						    IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
						    IBV_QP_MAX_DEST_RD_ATOMIC |
						    IBV_QP_MIN_RNR_TIMER));
	attr = (struct ibv_qp_attr){
		.qp_state = IBV_QPS_RTS, .timeout = 17, .retry_cnt = 5, .rnr_retry = 0,
		.max_rd_atomic = reads,
	};
	OR_DIE(!ibv_modify_qp(s->qp, &attr, IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT |
						    IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
						    IBV_QP_MAX_QP_RD_ATOMIC));
}

/* Sleeps until there are completions; returns how many, at most @max. */
static inline int side_wait(struct side *s, struct ibv_wc *wc, int max)
{
	for (;;) {
		struct ibv_cq *cq;
		void *context;
		int n = ibv_poll_cq(s->cq, max, wc);

		OR_DIE(n >= 0);
		if (n)
			return n;
		/* Asked first, looked again after. */
		OR_DIE(!ibv_req_notify_cq(s->cq, 0));
		n = ibv_poll_cq(s->cq, max, wc);
		OR_DIE(n >= 0);
		if (n)
			return n;
		OR_DIE(!ibv_get_cq_event(s->events, &cq, &context));
		ibv_ack_cq_events(cq, 1);
	}
}

#endif
