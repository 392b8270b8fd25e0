/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Zeroed memory that others can be given as a file, of the kind that a name says:
 *
 *	dmaplane	a buffer
 *	dmaplane-huge	a buffer in blocks of 2 MiB, or as large ones as there are
 *	heap		a dma-buf of the system's heap
 *	memfd		a memfd, of which there can be a udmabuf
 *	memfd-lazy	that, of which pages are allocated when they are touched
 *	udmabuf		that
 *	udmabuf-huge	that, of a memfd of huge pages
 */
#ifndef DMAPLANE_BENCH_MEMORY_H
#define DMAPLANE_BENCH_MEMORY_H

#include "arm.h"

#include <dmaplane.h>
#include <fcntl.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

struct memory {
	uint64_t bytes, offset;
	int fd;			/* of what is mapped, at @offset */
	uint32_t handle;	/* of a buffer */
};

/* Opened once. */
static inline int device(int *fd, const char *path, int flags)
{
	if (!*fd)
		OR_DIE((*fd = open(path, flags | O_CLOEXEC)) > 0);
	return *fd;
}

static inline int dmaplane(void)
{
	static int fd;

	return device(&fd, "/dev/dmaplane", O_RDWR);
}

static inline void buffer_new(struct memory *m, bool huge)
{
	struct dmaplane_buf_create arg = {
		.size = sizeof(arg), .length = m->bytes, .node = DMAPLANE_NODE_ANY,
		.flags = huge ? DMAPLANE_BUF_HUGE : 0,
	};
	int ret = ioctl(dmaplane(), DMAPLANE_IOC_BUF_CREATE, &arg);

	if (ret && huge && errno == ENOBUFS) {
		fprintf(stderr, "bench: there are no blocks of 2 MiB: smaller ones\n");
		arg.flags = 0;
		ret = ioctl(dmaplane(), DMAPLANE_IOC_BUF_CREATE, &arg);
	}
	OR_DIE(!ret);
	m->fd = dmaplane();
	m->offset = arg.mmap_offset;
	m->handle = arg.handle;
}

static inline int heap_new(uint64_t bytes)
{
	struct dma_heap_allocation_data arg = { .len = bytes, .fd_flags = O_RDWR | O_CLOEXEC };
	static int heap;

	OR_DIE(!ioctl(device(&heap, "/dev/dma_heap/system", O_RDONLY), DMA_HEAP_IOCTL_ALLOC, &arg));
	return arg.fd;
}

static inline int memfd_new(uint64_t bytes, bool huge, bool lazy)
{
	int fd = memfd_create("bench", MFD_CLOEXEC | MFD_ALLOW_SEALING | (huge ? MFD_HUGETLB : 0));

	OR_DIE(fd >= 0);
	OR_DIE(!ftruncate(fd, bytes));
	if (!lazy)
		OR_DIE(!fallocate(fd, 0, 0, bytes));
	OR_DIE(!fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	return fd;
}

static inline int udmabuf_of(int memfd, uint64_t bytes)
{
	struct udmabuf_create arg = { .memfd = memfd, .flags = UDMABUF_FLAGS_CLOEXEC, .size = bytes };
	static int driver;
	int fd = ioctl(device(&driver, "/dev/udmabuf", O_RDWR), UDMABUF_CREATE, &arg);

	OR_DIE(fd >= 0);
	return fd;
}

static inline struct memory memory_new(const char *kind, uint64_t bytes)
{
	bool huge = strstr(kind, "-huge");
	struct memory m = { .bytes = bytes };

	if (!strncmp(kind, "dmaplane", 8)) {
		buffer_new(&m, huge);
	} else if (!strcmp(kind, "heap")) {
		m.fd = heap_new(bytes);
	} else {
		m.fd = memfd_new(bytes, huge, strstr(kind, "-lazy"));
		if (strncmp(kind, "memfd", 5)) {
			int memfd = m.fd;

			OR_DIE(!strncmp(kind, "udmabuf", 7));
			m.fd = udmabuf_of(memfd, bytes);
			close(memfd);
		}
	}
	return m;
}

/* Another dma-buf of it, of a buffer or a memfd. */
static inline int memory_export(const struct memory *m)
{
	struct dmaplane_buf_export arg = { .size = sizeof(arg), .handle = m->handle };

	if (!m->handle)
		return udmabuf_of(m->fd, m->bytes);
	OR_DIE(!ioctl(m->fd, DMAPLANE_IOC_BUF_EXPORT, &arg));
	return arg.fd;
}

static inline volatile char *memory_map(const struct memory *m)
{
	void *at = mmap(NULL, m->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, m->offset);

	OR_DIE(at != MAP_FAILED);
	return at;
}

static inline void memory_unmap(const struct memory *m, volatile char *at)
{
	OR_DIE(!munmap((void *)at, m->bytes));
}

static inline void memory_touch(const struct memory *m, volatile char *at)
{
	for (uint64_t i = 0; i < m->bytes; i += 4096)
		at[i] = 1;
}

static inline void memory_end(const struct memory *m)
{
	struct dmaplane_handle arg = { .size = sizeof(arg), .handle = m->handle };

	if (m->handle)
		OR_DIE(!ioctl(m->fd, DMAPLANE_IOC_BUF_DESTROY, &arg));
	else
		close(m->fd);
}

#endif
