// SPDX-License-Identifier: GPL-2.0
/*
 * usage: uring_nop BATCH OPS [unregistered]
 *
 * io_uring's NOP, BATCH entries for each system call, with the flags that make a
 * ring of one thread cheapest; its descriptor is registered as well, unless it shall not be.
 */
#include "arm.h"

#include <liburing.h>

static struct io_uring ring;
static unsigned int batch;
static uint64_t ops;

static struct block run(bool verify)
{
	uint64_t begin = now_ns(), next = 0, seen = 0;
	struct block b = { 0 };

	while (b.ops < ops) {
		struct io_uring_cqe *cqe;
		unsigned int head, count = 0;

		for (unsigned int i = 0; i < batch; i++) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

			io_uring_prep_nop(sqe);
			io_uring_sqe_set_data64(sqe, next++);
		}
		OR_DIE(io_uring_submit_and_wait(&ring, batch) == (int)batch);
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

int main(int argc, char **argv)
{
	OR_DIE(argc == 3 || (argc == 4 && !strcmp(argv[3], "unregistered")));
	batch = number(argv[1]);
	ops = number(argv[2]);
	errno = -io_uring_queue_init(batch < 4 ? 4 : batch, &ring,
				     IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	OR_DIE(!errno);
	OR_DIE(argc == 4 || io_uring_register_ring_fd(&ring) == 1);
	return serve(run);
}
