/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DMAKIT_HELPERS_DMABUF_H
#define _DMAKIT_HELPERS_DMABUF_H

#include <linux/dma-buf.h>

#if !IS_ENABLED(CONFIG_DMA_SHARED_BUFFER)
#error "dmaplane exports dma-bufs: the kernel needs CONFIG_DMA_SHARED_BUFFER"
#endif

int dk_dmabuf_lock_idle(struct dma_buf *buf, enum dma_data_direction direction);
void dk_dmabuf_lock(struct dma_buf *buf);
void dk_dmabuf_unlock(struct dma_buf *buf);

bool dk_dmabuf_writes(enum dma_data_direction direction);
enum dma_data_direction dk_dmabuf_wider(enum dma_data_direction direction);
int dk_dmabuf_map(struct device *dev, struct sg_table *table, struct page **pages,
		  unsigned int count, enum dma_data_direction direction);
void dk_dmabuf_unmap(struct device *dev, struct sg_table *table,
		     enum dma_data_direction direction);
void dk_dmabuf_for_cpu(struct device *dev, struct sg_table *table,
		       enum dma_data_direction mapped);
void dk_dmabuf_for_device(struct device *dev, struct sg_table *table,
			  enum dma_data_direction mapped, enum dma_data_direction touched);

void dk_dmabuf_show(struct iosys_map *map, void *base);

#ifdef DMAPLANE_TEST
struct dk_importer;

struct dk_importer *dk_importer_new(struct file *file, unsigned int longest, bool dma,
				    bool bounced);
void dk_importer_end(struct dk_importer *importer);
int dk_importer_map(struct dk_importer *importer, int direction);
void dk_importer_unmap(struct dk_importer *importer);
unsigned int dk_importer_pieces(const struct dk_importer *importer, struct page *const *pages,
				unsigned int count);
u8 *dk_importer_byte(const struct dk_importer *importer, size_t offset);
int dk_importer_begin(struct dk_importer *importer, int direction);
int dk_importer_done(struct dk_importer *importer, int direction);
void *dk_importer_vmap(struct dk_importer *importer);
void dk_importer_vunmap(struct dk_importer *importer);
void dk_flush_files(void);
#endif

#endif
