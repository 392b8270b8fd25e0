// SPDX-License-Identifier: GPL-2.0
/*
 * usage: verbs_read SIZE DEPTH COUNT
 *
 * RDMA READ as a user-space program does it best without spinning: COUNT reads of SIZE
 * bytes, DEPTH of them posted, as many under way as ours has, each signalled, posted in
 * lists and reaped in batches.
 */
#include "qp.h"

#define BATCH 64
/* What the module asks for at most. */
#define READS 16

static struct side here = { .reads = READS }, there = { .reads = READS };
static uint64_t size, depth, count;

static void post_reads(unsigned int n)
{
	struct ibv_sge sge = { (uintptr_t)here.memory, size, here.mr->lkey };
	struct ibv_send_wr wrs[BATCH], *bad;

	for (unsigned int i = 0; i < n; i++)
		wrs[i] = (struct ibv_send_wr){
			.next = i + 1 < n ? &wrs[i + 1] : NULL,
			.sg_list = &sge, .num_sge = 1,
			.opcode = IBV_WR_RDMA_READ, .send_flags = IBV_SEND_SIGNALED,
			.wr.rdma = { (uintptr_t)there.memory, there.mr->rkey },
		};
	OR_DIE(!ibv_post_send(here.qp, wrs, &bad));
}

static struct block run(bool verify)
{
	struct block b = { count, count * size, 0 };
	uint64_t posted = 0, done = 0, begin;
	struct ibv_wc wc[BATCH];

	if (verify) {
		for (uint64_t i = 0; i < size; i++)
			there.memory[i] = i * 7 + i / 4096 + (i >> 20) * 3 + 1;
		memset(here.memory, 0, size);
	}
	begin = now_ns();
	while (done < count) {
		uint64_t room = depth - (posted - done), left = count - posted;
		int n;

		room = room < left ? room : left;
		while (room) {
			n = room < BATCH ? room : BATCH;
			post_reads(n);
			posted += n;
			room -= n;
		}
		n = side_wait(&here, wc, BATCH);
		for (int i = 0; i < n; i++)
			OR_DIE(wc[i].status == IBV_WC_SUCCESS);
		done += n;
	}
	b.ns = now_ns() - begin;
	OR_DIE(!verify || !memcmp(here.memory, there.memory, size));
	return b;
}

int main(int argc, char **argv)
{
	OR_DIE(argc == 4);
	size = number(argv[1]);
	depth = number(argv[2]);
	count = number(argv[3]);
	side_open(&here, size, depth, 1, depth);
	side_open(&there, size, 1, 1, 1);
	side_connect(&here, &there);
	side_connect(&there, &here);
	return serve(run);
}
