// SPDX-License-Identifier: GPL-2.0
/*
 * usage: ready heap|udmabuf|udmabuf-huge|memfd BYTES REGISTER
 *
 * BYTES of zeroed memory that others can be given as a file, from nothing to every
 * page touched, and its end. With REGISTER 1 it is an RDMA memory region as well.
 */
#define _GNU_SOURCE
#include "qp.h"

#include <fcntl.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *kind;
static uint64_t bytes;
static struct ibv_pd *pd;

static int from_heap(void)
{
	struct dma_heap_allocation_data data = { .len = bytes, .fd_flags = O_RDWR | O_CLOEXEC };
	static int heap;

	if (!heap)
		OR_DIE((heap = open("/dev/dma_heap/system", O_RDONLY | O_CLOEXEC)) > 0);
	OR_DIE(!ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &data));
	return data.fd;
}

static int from_memfd(bool huge, bool dmabuf)
{
	int fd = memfd_create("bench", MFD_CLOEXEC | MFD_ALLOW_SEALING | (huge ? MFD_HUGETLB : 0));
	struct udmabuf_create create = { .memfd = fd, .flags = UDMABUF_FLAGS_CLOEXEC, .size = bytes };
	static int device;
	int buf;

	OR_DIE(fd >= 0);
	OR_DIE(!ftruncate(fd, bytes));
	OR_DIE(!fallocate(fd, 0, 0, bytes));
	if (!dmabuf)
		return fd;
	if (!device)
		OR_DIE((device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC)) > 0);
	OR_DIE(!fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	OR_DIE((buf = ioctl(device, UDMABUF_CREATE, &create)) >= 0);
	close(fd);
	return buf;
}

static struct block run(bool verify)
{
	struct block b = { 1, bytes, 0 };
	uint64_t begin = now_ns();
	struct ibv_mr *mr = NULL;
	volatile char *at;
	int fd;

	if (!strcmp(kind, "heap"))
		fd = from_heap();
	else
		fd = from_memfd(!strcmp(kind, "udmabuf-huge"), strcmp(kind, "memfd"));
	at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	OR_DIE(at != MAP_FAILED);
	for (uint64_t i = 0; i < bytes; i += 4096)
		at[i] = 1;
	if (pd)
		OR_DIE(mr = ibv_reg_mr(pd, (void *)at, bytes,
				       IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE));
	b.ns = now_ns() - begin;
	if (verify)
		for (uint64_t i = 0; i < bytes; i++)
			OR_DIE(at[i] == !(i % 4096));
	if (mr)
		OR_DIE(!ibv_dereg_mr(mr));
	OR_DIE(!munmap((void *)at, bytes));
	close(fd);
	return b;
}

int main(int argc, char **argv)
{
	OR_DIE(argc == 4);
	kind = argv[1];
	bytes = number(argv[2]);
	if (number(argv[3])) {
		struct ibv_device **list = ibv_get_device_list(NULL);
		struct ibv_context *ctx;

		OR_DIE(list && list[0]);
		OR_DIE(ctx = ibv_open_device(list[0]));
		OR_DIE(pd = ibv_alloc_pd(ctx));
	}
	return serve(run);
}
