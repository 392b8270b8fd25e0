// SPDX-License-Identifier: GPL-2.0
/*
 * usage: reap_each SIZE COUNT CALLS
 *
 * COUNT writes with immediate of SIZE bytes to a thread that is told of each: it sleeps
 * at its completion channel and takes what is there, until all are. There is a receive
 * for every message of a block. With CALLS 1 its system calls are counted.
 */
#define _GNU_SOURCE
#include "qp.h"
#include "tally.h"

#include <pthread.h>

/* In flight. */
#define DEPTH 8

static struct side from, to;
static uint64_t size, count, slept;
static pid_t thread;
static pthread_barrier_t turn;

static void post_receives(uint64_t n)
{
	struct ibv_recv_wr wr = { 0 }, *bad;

	while (n--)
		OR_DIE(!ibv_post_recv(to.qp, &wr, &bad));
}

static void *receive(void *arg)
{
	int status = open("/proc/thread-self/status", O_RDONLY | O_CLOEXEC);
	struct ibv_wc wc[DEPTH];

	(void)arg;
	OR_DIE(status >= 0);
	thread = gettid();
	post_receives(count);
	pthread_barrier_wait(&turn);
	for (;;) {
		uint32_t next = 0;

		pthread_barrier_wait(&turn);
		slept = wakes(status);
		while (next < count) {
			int n = side_wait(&to, wc, DEPTH);

			for (int i = 0; i < n; i++) {
				OR_DIE(wc[i].status == IBV_WC_SUCCESS);
				OR_DIE(ntohl(wc[i].imm_data) == next);
				next++;
			}
			post_receives(n);
		}
		slept = wakes(status) - slept;
		pthread_barrier_wait(&turn);
	}
	return NULL;
}

static void post_send(uint32_t imm)
{
	struct ibv_sge sge = { (uintptr_t)from.memory, size, from.mr->lkey };
	struct ibv_send_wr wr = {
		.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE_WITH_IMM,
		.send_flags = IBV_SEND_SIGNALED, .imm_data = htonl(imm),
		.wr.rdma = { (uintptr_t)to.memory, to.mr->rkey },
	}, *bad;

	OR_DIE(!ibv_post_send(from.qp, &wr, &bad));
}

static struct block run(bool verify)
{
	const struct timespec asleep = { .tv_nsec = 2000000 };
	struct block b = { count, count * size, 0 };
	uint64_t posted = 0, done = 0, begin;
	struct ibv_wc wc[DEPTH];
	int length;

	if (verify) {
		for (uint64_t i = 0; i < size; i++)
			from.memory[i] = i * 7 + i / 4096 + 1;
		memset(to.memory, 0, size);
	}
	if (thread)
		calls_begin(thread);
	pthread_barrier_wait(&turn);
	nanosleep(&asleep, NULL);
	begin = now_ns();
	while (done < count) {
		int n;

		while (posted < count && posted - done < DEPTH)
			post_send(posted++);
		n = side_wait(&from, wc, DEPTH);
		for (int i = 0; i < n; i++)
			OR_DIE(wc[i].status == IBV_WC_SUCCESS);
		done += n;
	}
	pthread_barrier_wait(&turn);
	b.ns = now_ns() - begin;
	length = snprintf(more, sizeof(more), ",\"wakes\":%llu", (unsigned long long)slept);
	if (thread)
		snprintf(more + length, sizeof(more) - length, ",\"calls\":%llu",
			 (unsigned long long)calls_end(thread));
	OR_DIE(!verify || !memcmp(from.memory, to.memory, size));
	return b;
}

int main(int argc, char **argv)
{
	pthread_t receiver;

	OR_DIE(argc == 4);
	size = number(argv[1]);
	count = number(argv[2]);
	side_open(&from, size, DEPTH, 1, DEPTH);
	side_open(&to, size, 1, count, count);
	side_connect(&from, &to);
	side_connect(&to, &from);
	OR_DIE(!pthread_barrier_init(&turn, NULL, 2));
	OR_DIE(!pthread_create(&receiver, NULL, receive, NULL));
	pthread_barrier_wait(&turn);
	if (!number(argv[3]))
		thread = 0;
	return serve(run);
}
