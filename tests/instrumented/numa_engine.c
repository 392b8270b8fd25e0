// SPDX-License-Identifier: GPL-2.0
/*
 * BUF_MIGRATE by a DMA engine, which is rust/helpers/softdma.c here: it copies all or, where it fails, some
 * of the pages, processors copy the others, and each byte is there. Of those that fail no channel is kept.
 */
#include "ring.h"

#include "harness.h"

#define PAGE	4096ULL
#define PAGES	(3 * 512 + 80ULL)
#define LENGTH	(PAGES * PAGE)

#define PARAMETER(name)	"/sys/module/dmaplane/parameters/" name

/* As there. */
enum { NONE, WORKS, SMALL, NO_CHANNEL, NO_PREP, NO_SUBMIT, FAILS, SAYS_FAILED, SLEEPS, HANGS };

static int set_parameter(const char *path, unsigned int value)
{
	FILE *file = fopen(path, "w");
	int ret;

	if (!file)
		return -errno;
	ret = fprintf(file, "%u", value) < 0;
	return fclose(file) || ret ? -EIO : 0;
}

/* Pages that it has copied. */
static long copied(void)
{
	FILE *file = fopen(PARAMETER("soft_dma_pages"), "r");
	long pages = -1;

	if (!file)
		return -errno;
	if (fscanf(file, "%ld", &pages) != 1)
		pages = -1;
	fclose(file);
	return pages;
}

FIXTURE(numa_engine) {
	int fd;
	struct buffer buffer;
	uint8_t *at;
	unsigned int nodes[2];
	unsigned int here;
};

FIXTURE_VARIANT(numa_engine) {
	uint32_t flags;
};

FIXTURE_VARIANT_ADD(numa_engine, pages) { .flags = DMAPLANE_BUF_NO_HUGE };
FIXTURE_VARIANT_ADD(numa_engine, blocks) { .flags = 0 };

FIXTURE_SETUP(numa_engine)
{
	if (access(PARAMETER("soft_dma"), F_OK))
		SKIP(return, "no test build, or a kernel without DMA engines");
	if (last_nodes(self->nodes, 2) < 2)
		SKIP(return, "one NUMA node only");
	ASSERT_EQ(0, set_parameter(PARAMETER("copy_dma"), 1));
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, buf_create_at(self->fd, LENGTH, self->nodes[0],
				   DMAPLANE_BUF_NODE_STRICT | variant->flags, &self->buffer));
	self->at = buf_map(self->fd, &self->buffer);
	ASSERT_NE(MAP_FAILED, self->at);
}

FIXTURE_TEARDOWN(numa_engine)
{
	EXPECT_EQ(0, set_parameter(PARAMETER("copy_dma"), 0));
	munmap(self->at, LENGTH);
	close(self->fd);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("buffers"));
	EXPECT_EQ(0, live("buffer_bytes"));
}

/* Moves it to the other node by a DMA engine of a kind, which copies some pages; -errno, or engines. */
static int move_by(struct __test_metadata *_metadata, FIXTURE_DATA(numa_engine) *self,
		   unsigned int kind, long *pages)
{
	struct dmaplane_buf_migrate arg = ARG(buf_migrate, .handle = self->buffer.handle);
	uint64_t nodes[MAX_NODES] = { 0 };
	struct dmaplane_buf_query query;
	long before = copied();
	int ret;

	arg.node = self->nodes[self->here = !self->here];
	fill(self->at, LENGTH, kind + 1);
	EXPECT_EQ(0, set_parameter(PARAMETER("soft_dma"), kind));
	ret = cmd(self->fd, DMAPLANE_IOC_BUF_MIGRATE, &arg);
	if (kind != HANGS)
		EXPECT_EQ(0, set_parameter(PARAMETER("soft_dma"), NONE));
	*pages = copied() - before;
	EXPECT_EQ(PAGES, arg.moved);
	EXPECT_EQ(!(arg.engines & DMAPLANE_ENGINE_CPU), !arg.threads);
	EXPECT_EQ(LENGTH, first_wrong(self->at, LENGTH, kind + 1));
	EXPECT_EQ(0, buf_query(self->fd, self->buffer.handle, &query, nodes));
	EXPECT_EQ(PAGES, nodes[arg.node]);
	return ret ? ret : (int)arg.engines;
}

TEST_F(numa_engine, copies)
{
	long pages;

	EXPECT_EQ(DMAPLANE_ENGINE_DMA, move_by(_metadata, self, WORKS, &pages));
	EXPECT_EQ((long)PAGES, pages);
	EXPECT_EQ(DMAPLANE_ENGINE_DMA, move_by(_metadata, self, SMALL, &pages));
	EXPECT_EQ((long)PAGES, pages);
}

TEST_F(numa_engine, not_asked_for)
{
	long pages;

	EXPECT_EQ(0, set_parameter(PARAMETER("copy_dma"), 0));
	EXPECT_EQ(DMAPLANE_ENGINE_CPU, move_by(_metadata, self, WORKS, &pages));
	EXPECT_EQ(0, pages);
	EXPECT_EQ(0, set_parameter(PARAMETER("copy_dma"), 1));
	EXPECT_EQ(DMAPLANE_ENGINE_CPU, move_by(_metadata, self, NONE, &pages));
	EXPECT_EQ(DMAPLANE_ENGINE_CPU, move_by(_metadata, self, NO_CHANNEL, &pages));
	EXPECT_EQ(0, pages);
}

/* Processors copy what it has not, and that again which it may have. */
TEST_F(numa_engine, fails)
{
	const unsigned int kinds[] = { NO_PREP, NO_SUBMIT, FAILS, SAYS_FAILED, SLEEPS };

	for (unsigned int i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		long pages;

		EXPECT_EQ(DMAPLANE_ENGINE_CPU, move_by(_metadata, self, kinds[i], &pages)) {
			TH_LOG("kind %u", kinds[i]);
		}
		EXPECT_LT(0, pages);
		EXPECT_GE(512, pages);
	}
	/* Another call has another channel. */
	long pages;

	EXPECT_EQ(DMAPLANE_ENGINE_DMA, move_by(_metadata, self, WORKS, &pages));
	EXPECT_EQ((long)PAGES, pages);
}

/*
 * It may write to the pages that it was told for ever: nobody has them. That is done in the last test, as the
 * channel is lost.
 */
TEST_F(numa_engine, hangs)
{
	long pages;

	if (variant->flags)
		return;
	EXPECT_EQ(DMAPLANE_ENGINE_CPU, move_by(_metadata, self, HANGS, &pages));
	EXPECT_GT(512, pages);
	EXPECT_EQ(DMAPLANE_ENGINE_CPU, move_by(_metadata, self, HANGS, &pages));
	EXPECT_EQ(0, pages);
}

TEST_HARNESS_MAIN
