/* SPDX-License-Identifier: GPL-2.0 */
/* Another driver that exports dma-bufs, for tests. */
#ifndef _DMAKIT_HELPERS_EXPORTER_H
#define _DMAKIT_HELPERS_EXPORTER_H

#include <linux/dma-buf.h>

/* How it shows its memory to the kernel. */
enum dk_shows {
	DK_SHOWS_MAPPED,	/* mapped for that */
	DK_SHOWS_LINEAR,	/* where all memory is */
	DK_SHOWS_SLAB,		/* of a cache, whose pages nobody may hold */
	DK_SHOWS_ZEROES,	/* the kernel's page of them, which is reserved */
	DK_SHOWS_DEVICE,	/* as if it were registers */
	DK_SHOWS_ODDLY,		/* not from a page on */
	DK_SHOWS_NOTHING,
};

#define DK_EXPORTER_PAGES 3

struct dk_exporter {
	struct dma_buf *buf;
	struct device *dev;
	struct dma_buf_ops ops;
	enum dk_shows shows;
	int attach, pin;	/* what these return */
	struct page *pages[DK_EXPORTER_PAGES];
	void *memory;
	char done[16];		/* a letter for each call, that of an end is a capital */
};

struct dk_exporter *dk_exporter_new(enum dk_shows shows, int attach, int pin);
void dk_exporter_free(struct dk_exporter *exporter);

#endif
