// SPDX-License-Identifier: GPL-2.0
/*
 * usage: uring_nop BATCH OPS [unregistered|sqpoll|sqpoll-spin]
 *
 * io_uring's NOP, BATCH entries for each system call, with the flags that make a
 * ring of one thread cheapest; its descriptor is registered as well, unless it shall not be.
 * With "sqpoll" a kernel thread takes the entries, and this one sleeps until they are
 * complete, or looks again and again.
 */
#include "arm.h"

#include <liburing.h>

/* Milliseconds without entries after which the kernel's thread sleeps, which it never shall. */
#define SQ_IDLE 2000

static struct io_uring ring;
static unsigned int batch;
static uint64_t ops;

enum how { ALONE, SQPOLL, SQPOLL_SPIN };

/* One function for each way, so that none takes instructions to find out which it is. */
static inline __attribute__((always_inline)) struct block work(bool verify, enum how how)
{
	uint64_t begin = now_ns(), next = 0, seen = 0;
	struct block b = { 0 };

	while (b.ops < ops) {
		struct io_uring_cqe *cqe;
		unsigned int head, count = 0;
		int taken;

		for (unsigned int i = 0; i < batch; i++) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

			io_uring_prep_nop(sqe);
			io_uring_sqe_set_data64(sqe, next++);
		}
		taken = io_uring_submit_and_wait(&ring, how == SQPOLL_SPIN ? 0 : batch);
		/* A thread of the kernel's may have been faster than this one looked. */
		OR_DIE(how == ALONE ? taken == (int)batch : taken >= 0);
		while (how == SQPOLL_SPIN && io_uring_cq_ready(&ring) < batch)
			;
		io_uring_for_each_cqe(&ring, head, cqe) {
			OR_DIE(!cqe->res);
			OR_DIE(!verify || cqe->user_data == seen);
			seen++;
			count++;
		}
		io_uring_cq_advance(&ring, count);
		b.ops += count;
	}
	b.ns = now_ns() - begin;
	return b;
}

static struct block run(bool verify)
{
	return work(verify, ALONE);
}

static struct block run_sqpoll(bool verify)
{
	return work(verify, SQPOLL);
}

static struct block run_spin(bool verify)
{
	return work(verify, SQPOLL_SPIN);
}

int main(int argc, char **argv)
{
	const char *how = argc == 4 ? argv[3] : "";
	bool spin = !strcmp(how, "sqpoll-spin"), sqpoll = spin || !strcmp(how, "sqpoll");
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
	};
	unsigned int entries;

	OR_DIE(argc == 3 || argc == 4);
	OR_DIE(!*how || sqpoll || !strcmp(how, "unregistered"));
	batch = number(argv[1]);
	ops = number(argv[2]);
	entries = batch < 4 ? 4 : batch;
	if (sqpoll) {
		/* Its thread gives places back some time after it took what was there. */
		entries *= 2;
		params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_SQPOLL;
		params.sq_thread_idle = SQ_IDLE;
	}
	errno = -io_uring_queue_init_params(entries, &ring, &params);
	OR_DIE(!errno);
	OR_DIE(!strcmp(how, "unregistered") || io_uring_register_ring_fd(&ring) == 1);
	return serve(spin ? run_spin : sqpoll ? run_sqpoll : run);
}
