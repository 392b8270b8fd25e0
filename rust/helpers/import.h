/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DMAKIT_HELPERS_IMPORT_H
#define _DMAKIT_HELPERS_IMPORT_H

#include <linux/device.h>
#include <linux/dma-buf.h>

/* A dma-buf of somebody else, where the kernel sees it. */
struct dk_import {
	struct dma_buf *buf;
	struct dma_buf_attachment *attachment;
	struct iosys_map map;
};

bool dk_dmabuf_readable(const struct dma_buf *buf);
bool dk_dmabuf_writable(const struct dma_buf *buf);
int dk_import_begin(struct dk_import *import, struct device *dev);
void dk_import_end(struct dk_import *import);
bool dk_import_pages(const struct dk_import *import, unsigned long first, unsigned long count,
		     struct page **pages);

#endif
