/* SPDX-License-Identifier: GPL-2.0 */
/* dma-bufs of drivers that are not ours. */
#ifndef DMAPLANE_TEST_IMPORTED_H
#define DMAPLANE_TEST_IMPORTED_H

#include "dmaplane_test.h"

#include <linux/dma-heap.h>
#include <linux/udmabuf.h>

/* A dma-buf of a file's pages, of which @memfd is another way to them; or -errno. */
static inline int udmabuf_make(uint64_t length, int *memfd)
{
	int device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), ret;
	struct udmabuf_create arg = { .flags = UDMABUF_FLAGS_CLOEXEC, .size = length };

	if (device < 0)
		return -errno;
	*memfd = arg.memfd = memfd_create("imported", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*memfd < 0 || ftruncate(*memfd, length) || fcntl(*memfd, F_ADD_SEALS, F_SEAL_SHRINK))
		ret = -errno;
	else
		ret = ioctl(device, UDMABUF_CREATE, &arg);
	ret = ret == -1 ? -errno : ret;
	close(device);
	return ret;
}

/* One of the kernel's heap, which may be for reading only; or -errno. */
static inline int heap_make(uint64_t length, int mode)
{
	int heap = open("/dev/dma_heap/system", O_RDONLY | O_CLOEXEC), ret;
	struct dma_heap_allocation_data arg = { .len = length, .fd_flags = mode | O_CLOEXEC };

	if (heap < 0)
		return -errno;
	ret = ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &arg) ? -errno : (int)arg.fd;
	close(heap);
	return ret;
}

#endif /* DMAPLANE_TEST_IMPORTED_H */
