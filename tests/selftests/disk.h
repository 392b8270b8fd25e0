/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What direct I/O goes to: the test machine's NVMe disk or, where the kernel has no block devices, as
 * the instrumented one, a file of the host's. Both use the pages themselves. All numbers are multiples
 * of SECTOR.
 */
#ifndef DMAPLANE_TEST_DISK_H
#define DMAPLANE_TEST_DISK_H

#include "dmaplane_test.h"

#define DISK	"/dev/nvme0n1"
#define SECTOR	512ULL

/* A descriptor, or -errno. */
static inline int disk_open(void)
{
	char file[] = "/share/disk.XXXXXX";
	int fd = -1;

	/* The disk comes some time after its driver. */
	if (!system("modprobe -q nvme"))
		return WAIT_FOR((fd = open(DISK, O_RDWR | O_DIRECT | O_CLOEXEC)) >= 0) ? fd : -errno;
	fd = mkostemp(file, O_DIRECT | O_CLOEXEC);
	return fd < 0 || unlink(file) ? -errno : fd;
}

/* Both return @length, or what went wrong. */
static inline int64_t disk_read(int disk, uint8_t *at, uint64_t length, uint64_t offset)
{
	uint64_t done = 0;

	while (done < length) {
		ssize_t part = pread(disk, at + done, length - done, offset + done);

		if (part <= 0)
			return part ? -errno : -ENODATA;
		done += part;
	}
	return done;
}

static inline int64_t disk_write(int disk, const uint8_t *at, uint64_t length, uint64_t offset)
{
	uint64_t done = 0;

	while (done < length) {
		ssize_t part = pwrite(disk, at + done, length - done, offset + done);

		if (part <= 0)
			return part ? -errno : -ENODATA;
		done += part;
	}
	return done;
}

#endif /* DMAPLANE_TEST_DISK_H */
