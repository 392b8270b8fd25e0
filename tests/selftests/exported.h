/* SPDX-License-Identifier: GPL-2.0 */
/* A buffer, and what is done with dma-bufs of it without another driver. */
#ifndef DMAPLANE_TEST_EXPORTED_H
#define DMAPLANE_TEST_EXPORTED_H

#define PAGES	1025ULL		/* more than what is mapped in one go */
#define LENGTH	(PAGES * 4096)
#include "owner.h"
#include "harness.h"

#define RDONLY	DMAPLANE_EXPORT_RDONLY

FIXTURE(export) {
	struct owner o;
};

FIXTURE_SETUP(export)
{
	ASSERT_EQ(0, open_all(&self->o));
}

FIXTURE_TEARDOWN(export)
{
	close_all(&self->o);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_TRUE(WAIT_FOR(live("buffers") == 0));
	EXPECT_EQ(0, live("buffer_bytes"));
}

static inline uint8_t *map(int dmabuf, uint64_t offset, uint64_t length, int prot)
{
	return mmap64(NULL, length, prot, MAP_SHARED, dmabuf, offset);
}

/* The errno of a mapping that must fail, 0 if it did not. */
static inline int map_errno(int dmabuf, uint64_t offset, uint64_t length, int prot, int flags)
{
	void *at = mmap64(NULL, length, prot, flags, dmabuf, offset);

	if (at == MAP_FAILED)
		return errno;
	munmap(at, length);
	return 0;
}

/* Bytes of the fixture's buffer from @offset on: the first that is wrong, or @length. */
static inline uint64_t first_other(const uint8_t *at, uint64_t offset, uint64_t length)
{
	uint64_t i = 0;

	while (i < length && at[i] == pattern(1, offset + i))
		i++;
	return i;
}

static inline int mappings(const struct owner *o)
{
	uint64_t nodes[MAX_NODES];
	struct dmaplane_buf_query query;
	int ret = buf_query(o->fd, o->buffer.handle, &query, nodes);

	return ret ?: (int)query.mappings;
}

#endif /* DMAPLANE_TEST_EXPORTED_H */
