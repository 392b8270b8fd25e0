/* SPDX-License-Identifier: GPL-2.0 */
/* vgem: graphics drivers' way to share memory, without graphics. */
#ifndef DMAPLANE_TEST_DRM_H
#define DMAPLANE_TEST_DRM_H

#include "dmaplane_test.h"

#include <drm/drm.h>

static inline int open_drm(const char *driver)
{
	for (int minor = 0; minor < 8; minor++) {
		char path[64], name[32] = "";
		struct drm_version version = { .name = name, .name_len = sizeof(name) - 1 };
		int fd;

		snprintf(path, sizeof(path), "/dev/dri/card%d", minor);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (!ioctl(fd, DRM_IOCTL_VERSION, &version) && !strcmp(name, driver))
			return fd;
		close(fd);
	}
	return -ENODEV;
}

#endif /* DMAPLANE_TEST_DRM_H */
