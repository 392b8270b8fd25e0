// SPDX-License-Identifier: GPL-2.0
/*
 * usage: verbs_write SIZE DEPTH COUNT [scattered | spin | send]
 *
 * RDMA WRITE WITH IMMEDIATE as a user-space program does it best without spinning:
 * COUNT messages of SIZE bytes, DEPTH of them in flight, each signalled, posted in
 * lists and reaped in batches. One thread sends; another one takes the immediates,
 * and posts a receive for each. There is a receive for every message of a block, so
 * none is ever missing. "scattered": each message of a block has memory of its own, and
 * is not at the same place there and here. "spin": instead of sleeping both look again
 * and again. "send": SEND WITH IMMEDIATE, each to a place of its own.
 */
#include "qp.h"

#include <pthread.h>

#define BATCH 64

static struct side from, to;
static uint64_t size, depth, count, slots = 1;
/* Places at the receiver, as many as slots but for sends. */
static uint64_t places = 1;
static bool spin, sends;
static pthread_barrier_t begin_block, end_block;

static int wait_for(struct side *s, struct ibv_wc *wc)
{
	int n;

	if (!spin)
		return side_wait(s, wc, BATCH);
	while (!(n = ibv_poll_cq(s->cq, BATCH, wc)))
		;
	OR_DIE(n > 0);
	return n;
}

static void post_receives(unsigned int n)
{
	struct ibv_recv_wr wrs[BATCH] = { 0 }, *bad;
	struct ibv_sge sges[BATCH];
	static uint64_t posted;

	for (unsigned int i = 0; i + 1 < n; i++)
		wrs[i].next = &wrs[i + 1];
	for (unsigned int i = 0; sends && i < n; i++) {
		sges[i] = (struct ibv_sge){ (uintptr_t)to.memory + posted++ % places * size, size,
					    to.mr->lkey };
		wrs[i].sg_list = &sges[i];
		wrs[i].num_sge = 1;
	}
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
			int n = wait_for(&to, wc);

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
	struct ibv_sge sges[BATCH];
	struct ibv_send_wr wrs[BATCH], *bad;

	for (unsigned int i = 0; i < n; i++) {
		uint64_t slot = (done + i) % slots;

		sges[i] = (struct ibv_sge){ (uintptr_t)from.memory + slot * size, size,
					    from.mr->lkey };
		wrs[i] = (struct ibv_send_wr){
			.next = i + 1 < n ? &wrs[i + 1] : NULL,
			.sg_list = &sges[i], .num_sge = 1,
			.opcode = sends ? IBV_WR_SEND_WITH_IMM : IBV_WR_RDMA_WRITE_WITH_IMM,
			.send_flags = IBV_SEND_SIGNALED,
			.imm_data = htonl(done + i),
			.wr.rdma = { (uintptr_t)to.memory + (slots - 1 - slot) * size,
				     to.mr->rkey },
		};
	}
	OR_DIE(!ibv_post_send(from.qp, wrs, &bad));
	return n;
}

static struct block run(bool verify)
{
	struct block b = { count, count * size, 0 };
	uint64_t posted = 0, done = 0, begin;
	struct ibv_wc wc[BATCH];

	if (verify) {
		for (uint64_t i = 0; i < size * slots; i++)
			from.memory[i] = i * 7 + i / 4096 + (i >> 20) * 3 + 1;
		memset(to.memory, 0, size * places);
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
		n = wait_for(&from, wc);
		for (int i = 0; i < n; i++)
			OR_DIE(wc[i].status == IBV_WC_SUCCESS);
		done += n;
	}
	pthread_barrier_wait(&end_block);
	b.ns = now_ns() - begin;
	for (uint64_t place = 0; verify && place < places; place++)
		OR_DIE(!memcmp(from.memory + (sends ? 0 : slots - 1 - place) * size,
			       to.memory + place * size, size));
	return b;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	OR_DIE(argc == 4 || argc == 5);
	size = number(argv[1]);
	depth = number(argv[2]);
	count = number(argv[3]);
	if (argc == 5) {
		spin = !strcmp(argv[4], "spin");
		sends = !strcmp(argv[4], "send");
		OR_DIE(spin || sends || !strcmp(argv[4], "scattered"));
		if (!spin)
			places = count;
		if (!spin && !sends)
			slots = count;
	}
	side_open(&from, size * slots, depth, 1, depth);
	side_open(&to, size * places, 1, count, count);
	side_connect(&from, &to);
	side_connect(&to, &from);
	pthread_barrier_init(&begin_block, NULL, 2);
	pthread_barrier_init(&end_block, NULL, 2);
	OR_DIE(!pthread_create(&thread, NULL, receive, NULL));
	return serve(run);
}
