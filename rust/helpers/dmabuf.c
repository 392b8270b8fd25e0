// SPDX-License-Identifier: GPL-2.0
/* Scatterlists, mappings for devices and their caches: inline functions of dma-buf and the DMA API. */
#include <linux/dma-resv.h>

#include "../helpers.h"

/*
 * For the CPU to read or write, when those are done that are at it: the core waits for them, too, but
 * after the exporter had its turn. -ERESTARTSYS or -EINTR if a signal comes first.
 */
int dk_dmabuf_lock_idle(struct dma_buf *buf, enum dma_data_direction direction)
{
	enum dma_resv_usage usage = dma_resv_usage_rw(direction != DMA_FROM_DEVICE);
	long ret;

	for (;;) {
		ret = dma_resv_wait_timeout(buf->resv, usage, true, MAX_SCHEDULE_TIMEOUT);
		if (ret < 0)
			return ret;
		ret = dma_resv_lock_interruptible(buf->resv, NULL);
		/* None may have come before it was locked. */
		if (ret || dma_resv_test_signaled(buf->resv, usage))
			return ret;
		dma_resv_unlock(buf->resv);
	}
}

/* Not to be interrupted: who ends does not look whether that succeeds. */
void dk_dmabuf_lock(struct dma_buf *buf)
{
	dma_resv_lock(buf->resv, NULL);
}

void dk_dmabuf_unlock(struct dma_buf *buf)
{
	dma_resv_unlock(buf->resv);
}

/* Whether the device may write. */
bool dk_dmabuf_writes(enum dma_data_direction direction)
{
	return direction != DMA_TO_DEVICE;
}

/*
 * For what memory is mapped: a device that only writes may not write all of it, and what others wrote
 * must not be lost when a bounce buffer comes back.
 */
enum dma_data_direction dk_dmabuf_wider(enum dma_data_direction direction)
{
	return direction == DMA_FROM_DEVICE ? DMA_BIDIRECTIONAL : direction;
}

/*
 * The longest pieces that the device takes, and that bounce buffers hold if it needs these.
 *
 * What was written before is for the device to see, and when it is unmapped what that wrote is there, whoever
 * called begin_cpu_access() and end_cpu_access(): these have nothing to do for a device without a mapping.
 * It is synced for itself because mapping it otherwise for several devices at a time, which is what dma-bufs are
 * for, is a mistake to the DMA API's debugging.
 */
int dk_dmabuf_map(struct device *dev, struct sg_table *table, struct page **pages,
		  unsigned int count, enum dma_data_direction direction)
{
	size_t piece = dma_get_max_seg_size(dev);
	int ret;

	/* Some that attach are no devices that do DMA, and the DMA API would warn. */
	if (!dev->dma_mask)
		return -EOPNOTSUPP;
	piece = max(min(piece, dma_max_mapping_size(dev)), PAGE_SIZE);
	ret = sg_alloc_table_from_pages_segment(table, pages, count, 0,
						(unsigned long)count << PAGE_SHIFT, piece,
						GFP_KERNEL_ACCOUNT);
	if (ret)
		return ret;
	ret = dma_map_sgtable(dev, table, direction, DMA_ATTR_SKIP_CPU_SYNC);
	if (ret)
		sg_free_table(table);
	else
		dma_sync_sgtable_for_device(dev, table, direction);
	return ret;
}

void dk_dmabuf_unmap(struct device *dev, struct sg_table *table,
		     enum dma_data_direction direction)
{
	dma_sync_sgtable_for_cpu(dev, table, direction);
	dma_unmap_sgtable(dev, table, direction, DMA_ATTR_SKIP_CPU_SYNC);
	sg_free_table(table);
}

/*
 * All that the device wrote, even for who will only write: of what he leaves as it is nothing older may
 * go back to the device.
 */
void dk_dmabuf_for_cpu(struct device *dev, struct sg_table *table,
		       enum dma_data_direction mapped)
{
	dma_sync_sgtable_for_cpu(dev, table, mapped);
}

/* After the CPU has read, nothing goes to a device that may have written meanwhile. */
void dk_dmabuf_for_device(struct device *dev, struct sg_table *table,
			  enum dma_data_direction mapped, enum dma_data_direction touched)
{
	dma_sync_sgtable_for_device(dev, table,
				    mapped == DMA_BIDIRECTIONAL ? touched : mapped);
}

void dk_dmabuf_show(struct iosys_map *map, void *base)
{
	iosys_map_set_vaddr(map, base);
}

#ifdef DMAPLANE_TEST

#include <linux/device.h>
#include <linux/dma-direct.h>
#include <linux/file.h>
#include <linux/swiotlb.h>

/* Another driver, for tests. */
struct dk_importer {
	struct device *dev;
	struct device_dma_parameters parameters;
	struct dma_buf *buf;
	struct dma_buf_attachment *attachment;
	struct sg_table *table;
	enum dma_data_direction direction;
	struct iosys_map map;
};

/*
 * Of the dma-buf of @file, for a device that takes pieces as long as @longest, and does DMA or not.
 * It uses bounce buffers if it is told to, for which the machine must have been booted with
 * swiotlb=force.
 */
struct dk_importer *dk_importer_new(struct file *file, unsigned int longest, bool dma,
				    bool bounced)
{
	struct dk_importer *importer = kzalloc(sizeof(*importer), GFP_KERNEL);
	static atomic_t number;
	char name[32];
	int ret;

	if (!importer)
		return NULL;
	snprintf(name, sizeof(name), "dmakit-importer-%d", atomic_inc_return(&number));
	importer->dev = root_device_register(name);
	if (IS_ERR(importer->dev))
		goto free;
	importer->dev->dma_parms = &importer->parameters;
	dma_set_max_seg_size(importer->dev, longest);
	ret = dma ? dma_coerce_mask_and_coherent(importer->dev, DMA_BIT_MASK(64)) : 0;
	if (ret)
		goto unregister;
#ifdef CONFIG_SWIOTLB
	if (!bounced)
		importer->dev->dma_io_tlb_mem = NULL;
#endif
	if (bounced && !is_swiotlb_force_bounce(importer->dev))
		goto unregister;
	importer->buf = file->private_data;
	get_dma_buf(importer->buf);
	importer->attachment = dma_buf_attach(importer->buf, importer->dev);
	if (!IS_ERR(importer->attachment))
		return importer;
	dma_buf_put(importer->buf);
unregister:
	root_device_unregister(importer->dev);
free:
	kfree(importer);
	return NULL;
}

void dk_importer_end(struct dk_importer *importer)
{
	dk_importer_unmap(importer);
	dma_buf_detach(importer->buf, importer->attachment);
	dma_buf_put(importer->buf);
	root_device_unregister(importer->dev);
	kfree(importer);
}

int dk_importer_map(struct dk_importer *importer, int direction)
{
	struct sg_table *table;

	table = dma_buf_map_attachment_unlocked(importer->attachment, direction);
	if (IS_ERR(table))
		return PTR_ERR(table);
	importer->table = table;
	importer->direction = direction;
	return 0;
}

void dk_importer_unmap(struct dk_importer *importer)
{
	if (importer->table)
		dma_buf_unmap_attachment_unlocked(importer->attachment, importer->table,
						  importer->direction);
	importer->table = NULL;
}

/* How many pieces are mapped; 0 if they are not @pages, one after the other. */
unsigned int dk_importer_pieces(const struct dk_importer *importer, struct page *const *pages,
				unsigned int count)
{
	unsigned int i, at = 0;
	struct scatterlist *sg;

	for_each_sgtable_dma_sg(importer->table, sg, i)
		for (unsigned int in = 0; in < sg_dma_len(sg); in += PAGE_SIZE, at++)
			if (at >= count || sg_dma_address(sg) + in != page_to_phys(pages[at]))
				return 0;
	return at == count ? importer->table->nents : 0;
}

/* A byte as the device sees it, or NULL. */
u8 *dk_importer_byte(const struct dk_importer *importer, size_t offset)
{
	struct scatterlist *sg;
	unsigned int i;

	for_each_sgtable_dma_sg(importer->table, sg, i) {
		if (offset < sg_dma_len(sg))
			return phys_to_virt(dma_to_phys(importer->dev, sg_dma_address(sg))) + offset;
		offset -= sg_dma_len(sg);
	}
	return NULL;
}

int dk_importer_begin(struct dk_importer *importer, int direction)
{
	return dma_buf_begin_cpu_access(importer->buf, direction);
}

int dk_importer_done(struct dk_importer *importer, int direction)
{
	return dma_buf_end_cpu_access(importer->buf, direction);
}

/* Where the kernel sees it, or NULL. */
void *dk_importer_vmap(struct dk_importer *importer)
{
	return dma_buf_vmap_unlocked(importer->buf, &importer->map) ? NULL : importer->map.vaddr;
}

void dk_importer_vunmap(struct dk_importer *importer)
{
	dma_buf_vunmap_unlocked(importer->buf, &importer->map);
}

/* What kernel threads have closed is released. */
void dk_flush_files(void)
{
	flush_delayed_fput();
}

#endif
