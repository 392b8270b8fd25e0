// SPDX-License-Identifier: GPL-2.0
/*
 * usage: cm_connect ADDRESS COUNT
 *
 * COUNT connections made with the RDMA connection manager, one after the other: from
 * the address to the peer's first immediate, which the accepting side sends alone, and
 * the end. A thread listens, accepts and sends.
 */
#include "arm.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <rdma/rdma_cma.h>
#include <rdma/rdma_verbs.h>

static struct sockaddr_in address = { .sin_family = AF_INET };
static uint64_t count;
static struct rdma_cm_id *listener;

static struct ibv_qp_init_attr caps(void)
{
	return (struct ibv_qp_init_attr){
		.cap = {
			.max_send_wr = 8, .max_recv_wr = 8, .max_send_sge = 1, .max_recv_sge = 1,
		},
		.qp_type = IBV_QPT_RC, .sq_sig_all = 1,
	};
}

static void *accept_all(void *arg)
{
	(void)arg;
	for (;;) {
		struct ibv_send_wr imm = { .opcode = IBV_WR_RDMA_WRITE_WITH_IMM,
					   .imm_data = htonl(7) }, *bad;
		struct ibv_qp_init_attr init = caps();
		struct rdma_cm_id *id;
		struct ibv_wc wc;

		OR_DIE(!rdma_get_request(listener, &id));
		OR_DIE(!rdma_create_qp(id, NULL, &init));
		OR_DIE(!rdma_accept(id, NULL));
		OR_DIE(!ibv_post_send(id->qp, &imm, &bad));
		OR_DIE(rdma_get_send_comp(id, &wc) == 1 && wc.status == IBV_WC_SUCCESS);
		rdma_disconnect(id);
		rdma_destroy_ep(id);
	}
	return NULL;
}

static void connect_once(void)
{
	struct rdma_conn_param param = { .retry_count = 5 };
	struct ibv_recv_wr receive = { 0 }, *bad;
	struct ibv_qp_init_attr init = caps();
	struct rdma_cm_id *id;
	struct ibv_wc wc;

	OR_DIE(!rdma_create_id(NULL, &id, NULL, RDMA_PS_TCP));
	OR_DIE(!rdma_resolve_addr(id, NULL, (struct sockaddr *)&address, 2000));
	OR_DIE(!rdma_resolve_route(id, 2000));
	OR_DIE(!rdma_create_qp(id, NULL, &init));
	OR_DIE(!ibv_post_recv(id->qp, &receive, &bad));
	OR_DIE(!rdma_connect(id, &param));
	OR_DIE(rdma_get_recv_comp(id, &wc) == 1 && wc.status == IBV_WC_SUCCESS &&
	       wc.imm_data == htonl(7));
	rdma_disconnect(id);
	rdma_destroy_ep(id);
}

static struct block run(bool verify)
{
	struct block b = { count, 0, 0 };
	uint64_t begin = now_ns();

	(void)verify;
	for (uint64_t i = 0; i < count; i++)
		connect_once();
	b.ns = now_ns() - begin;
	return b;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	OR_DIE(argc == 3);
	OR_DIE(inet_pton(AF_INET, argv[1], &address.sin_addr) == 1);
	count = number(argv[2]);
	OR_DIE(!rdma_create_id(NULL, &listener, NULL, RDMA_PS_TCP));
	OR_DIE(!rdma_bind_addr(listener, (struct sockaddr *)&address));
	address.sin_port = rdma_get_src_port(listener);
	OR_DIE(!rdma_listen(listener, 8));
	OR_DIE(!pthread_create(&thread, NULL, accept_all, NULL));
	return serve(run);
}
