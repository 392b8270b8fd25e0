// SPDX-License-Identifier: GPL-2.0
/*
 * usage: ready KIND BYTES REGISTER [EXPORT]
 *
 * BYTES of zeroed memory that others can be given as a file, from nothing to every
 * page touched, and its end. With REGISTER 1 it is an RDMA memory region as well, with EXPORT 1 there
 * is another dma-buf of it.
 */
#define _GNU_SOURCE
#include "memory.h"
#include "qp.h"

static const char *kind;
static uint64_t bytes;
static struct ibv_pd *pd;
static bool export;

static struct block run(bool verify)
{
	struct block b = { 1, bytes, 0 };
	uint64_t begin = now_ns();
	struct memory m = memory_new(kind, bytes);
	volatile char *at = memory_map(&m);
	struct ibv_mr *mr = NULL;
	int dmabuf = -1;

	memory_touch(&m, at);
	if (pd)
		OR_DIE(mr = ibv_reg_mr(pd, (void *)at, bytes,
				       IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE));
	if (export)
		dmabuf = memory_export(&m);
	b.ns = now_ns() - begin;
	if (verify)
		for (uint64_t i = 0; i < bytes; i++)
			OR_DIE(at[i] == !(i % 4096));
	if (mr)
		OR_DIE(!ibv_dereg_mr(mr));
	if (export)
		close(dmabuf);
	memory_unmap(&m, at);
	memory_end(&m);
	return b;
}

int main(int argc, char **argv)
{
	OR_DIE(argc == 4 || argc == 5);
	kind = argv[1];
	bytes = number(argv[2]);
	export = argc == 5 && number(argv[4]);
	if (number(argv[3])) {
		struct ibv_device **list = ibv_get_device_list(NULL);
		struct ibv_context *ctx;

		OR_DIE(list && list[0]);
		OR_DIE(ctx = ibv_open_device(list[0]));
		OR_DIE(pd = ibv_alloc_pd(ctx));
	}
	return serve(run);
}
