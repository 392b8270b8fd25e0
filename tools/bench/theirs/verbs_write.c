// SPDX-License-Identifier: GPL-2.0
/*
 * usage: verbs_write SIZE DEPTH COUNT
 *
 * RDMA WRITE WITH IMMEDIATE as a user-space program does it best without spinning:
 * COUNT messages of SIZE bytes, DEPTH of them in flight, each signalled, posted in
 * lists and reaped in batches. One thread sends; another one takes the immediates,
 * and posts a receive for each. There is a receive for every message of a block, so
 * none is ever missing.
 */
#include "qp.h"

#include <pthread.h>

#define BATCH 64

static struct side from, to;
static uint64_t size, depth, count;
static pthread_barrier_t begin_block, end_block;

static void post_receives(unsigned int n)
{
	struct ibv_recv_wr wrs[BATCH] = { 0 }, *bad;

	for (unsigned int i = 0; i + 1 < n; i++)
		wrs[i].next = &wrs[i + 1];
	OR_DIE(!n || !ibv_post_recv(to.qp, wrs, &bad));
}

static void *receive(void *arg)
{
	struct ibv_wc wc[BATCH];
	uint32_t next;

	(void)arg;
	for (uint64_t left = count; left;) {
		unsigned int n = left < BATCH ? left : BATCH;

		post_receives(n);
		left -= n;
	}
	for (;;) {
		pthread_barrier_wait(&begin_block);
		next = 0;
		while (next < count) {
			int n = side_wait(&to, wc, BATCH);

			for (int i = 0; i < n; i++) {
				OR_DIE(wc[i].status == IBV_WC_SUCCESS);
				OR_DIE(ntohl(wc[i].imm_data) == next);
				next++;
			}
			post_receives(n);
		}
		pthread_barrier_wait(&end_block);
	}
	return NULL;
}

static unsigned int post_sends(uint64_t done, unsigned int n)
{
	struct ibv_sge sge = { (uintptr_t)from.memory, size, from.mr->lkey };
	struct ibv_send_wr wrs[BATCH], *bad;

	for (unsigned int i = 0; i < n; i++)
		wrs[i] = (struct ibv_send_wr){
			.next = i + 1 < n ? &wrs[i + 1] : NULL,
			.sg_list = &sge, .num_sge = 1,
			.opcode = IBV_WR_RDMA_WRITE_WITH_IMM, .send_flags = IBV_SEND_SIGNALED,
			.imm_data = htonl(done + i),
			.wr.rdma = { (uintptr_t)to.memory, to.mr->rkey },
		};
	OR_DIE(!ibv_post_send(from.qp, wrs, &bad));
	return n;
}

static struct block run(bool verify)
{
	struct block b = { count, count * size, 0 };
	uint64_t posted = 0, done = 0, begin;
	struct ibv_wc wc[BATCH];

	if (verify) {
		for (uint64_t i = 0; i < size; i++)
			from.memory[i] = i * 7 + i / 4096 + 1;
		memset(to.memory, 0, size);
	}
	pthread_barrier_wait(&begin_block);
	begin = now_ns();
	while (done < count) {
		uint64_t room = depth - (posted - done), left = count - posted;
		int n;

		room = room < left ? room : left;
		while (room) {
			n = post_sends(posted, room < BATCH ? room : BATCH);
			posted += n;
			room -= n;
		}
		n = side_wait(&from, wc, BATCH);
		for (int i = 0; i < n; i++)
			OR_DIE(wc[i].status == IBV_WC_SUCCESS);
		done += n;
	}
	pthread_barrier_wait(&end_block);
	b.ns = now_ns() - begin;
	OR_DIE(!verify || !memcmp(from.memory, to.memory, size));
	return b;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	OR_DIE(argc == 4);
	size = number(argv[1]);
	depth = number(argv[2]);
	count = number(argv[3]);
	side_open(&from, size, depth, 1, depth);
	side_open(&to, size, 1, count, count);
	side_connect(&from, &to);
	side_connect(&to, &from);
	pthread_barrier_init(&begin_block, NULL, 2);
	pthread_barrier_init(&end_block, NULL, 2);
	OR_DIE(!pthread_create(&thread, NULL, receive, NULL));
	return serve(run);
}
