/* SPDX-License-Identifier: GPL-2.0 */
/* A buffer that other drivers import. */
#ifndef DMAPLANE_TEST_OWNER_H
#define DMAPLANE_TEST_OWNER_H

#include "ring.h"

#define PAGE	4096ULL
#ifndef LENGTH
#define LENGTH	(2ULL << 20)
#endif

/* Whose buffer of LENGTH it is. */
struct owner {
	int fd;
	struct channel c;
	struct buffer buffer;
	uint8_t *at;
};

static inline int open_all(struct owner *o)
{
	int ret;

	o->fd = open_device();
	if (o->fd < 0)
		return o->fd;
	ret = channel_open(o->fd, 8, 8, &o->c);
	if (!ret)
		ret = buf_create_at(o->fd, LENGTH, 0, DMAPLANE_BUF_NODE_STRICT, &o->buffer);
	if (ret)
		return ret;
	o->at = buf_map(o->fd, &o->buffer);
	if (o->at == MAP_FAILED)
		return -errno;
	fill(o->at, LENGTH, 1);
	return 0;
}

static inline void close_all(struct owner *o)
{
	if (o->fd < 0)
		return;
	munmap(o->at, LENGTH);
	munmap(o->c.ring, o->c.length);
	close(o->fd);
	o->fd = -1;
}

static inline int export(const struct owner *o, uint64_t offset, uint64_t length, uint32_t flags)
{
	return buf_export(o->fd, o->buffer.handle, offset, length, flags);
}

/* Moves the buffer to where it is; its result. */
static inline int migrate(struct owner *o)
{
	return channel_migrate(&o->c, o->buffer.handle, 0, 0);
}

static inline bool modprobe(const char *what)
{
	char command[256];

	snprintf(command, sizeof(command), "modprobe -q %s", what);
	return system(command) == 0;
}

#endif /* DMAPLANE_TEST_OWNER_H */
