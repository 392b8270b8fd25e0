// SPDX-License-Identifier: GPL-2.0
/*
 * usage: killed BYTES
 *
 * A process with that much memory registered and 128 writes of 1 MiB in flight, from
 * when it is killed until it is gone.
 */
#include "qp.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define IN_FLIGHT 128

static uint64_t bytes;

static void hold(int tell)
{
	struct side from = { 0 }, to = { 0 };
	struct ibv_sge sge;
	struct ibv_send_wr wrs[IN_FLIGHT], *bad;

	side_open(&from, bytes, IN_FLIGHT, 1, IN_FLIGHT);
	side_open(&to, 1 << 20, 1, 1, 1);
	side_connect(&from, &to);
	side_connect(&to, &from);
	sge = (struct ibv_sge){ (uintptr_t)from.memory, 1 << 20, from.mr->lkey };
	for (unsigned int i = 0; i < IN_FLIGHT; i++)
		wrs[i] = (struct ibv_send_wr){
			.next = i + 1 < IN_FLIGHT ? &wrs[i + 1] : NULL,
			.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE,
			.send_flags = IBV_SEND_SIGNALED,
			.wr.rdma = { (uintptr_t)to.memory, to.mr->rkey },
		};
	OR_DIE(!ibv_post_send(from.qp, wrs, &bad));
	OR_DIE(write(tell, "x", 1) == 1);
	for (;;)
		pause();
}

static struct block run(bool verify)
{
	struct block b = { 1, bytes, 0 };
	int pipes[2], status;
	uint64_t begin;
	char byte;
	pid_t pid;

	(void)verify;
	OR_DIE(!pipe(pipes));
	OR_DIE((pid = fork()) >= 0);
	if (!pid)
		hold(pipes[1]);
	close(pipes[1]);
	OR_DIE(read(pipes[0], &byte, 1) == 1);
	begin = now_ns();
	OR_DIE(!kill(pid, SIGKILL));
	OR_DIE(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
	b.ns = now_ns() - begin;
	close(pipes[0]);
	return b;
}

int main(int argc, char **argv)
{
	OR_DIE(argc == 2);
	bytes = number(argv[1]);
	return serve(run);
}
