// SPDX-License-Identifier: GPL-2.0
/*
 * usage: reg_mr BYTES COUNT
 *
 * COUNT registrations and deregistrations of BYTES of memory that is there, on huge
 * pages where the system gives them.
 */
#include "qp.h"

#include <sys/mman.h>

static struct ibv_pd *pd;
static uint64_t bytes, count;
static char *at;

static struct block run(bool verify)
{
	struct block b = { count, bytes * count, 0 };
	uint64_t begin = now_ns();

	(void)verify;
	for (uint64_t i = 0; i < count; i++) {
		struct ibv_mr *mr = ibv_reg_mr(pd, at, bytes,
					       IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);

		OR_DIE(mr);
		OR_DIE(!ibv_dereg_mr(mr));
	}
	b.ns = now_ns() - begin;
	return b;
}

int main(int argc, char **argv)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_context *ctx;

	OR_DIE(argc == 3);
	bytes = number(argv[1]);
	count = number(argv[2]);
	OR_DIE(list && list[0]);
	OR_DIE(ctx = ibv_open_device(list[0]));
	OR_DIE(pd = ibv_alloc_pd(ctx));
	OR_DIE(at = aligned_alloc(2 << 20, bytes));
	madvise(at, bytes, MADV_HUGEPAGE);
	memset(at, 1, bytes);
	return serve(run);
}
