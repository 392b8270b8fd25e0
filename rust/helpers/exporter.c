// SPDX-License-Identifier: GPL-2.0
/* See exporter.h. Built for tests only. */
#include <linux/device.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "../helpers.h"

#define BYTES (DK_EXPORTER_PAGES * PAGE_SIZE)
#define ORDER get_order(BYTES)

static void note(struct dma_buf *buf, char what)
{
	struct dk_exporter *exporter = buf->priv;
	size_t length = strlen(exporter->done);

	if (length < sizeof(exporter->done) - 1)
		exporter->done[length] = what;
}

static int attach(struct dma_buf *buf, struct dma_buf_attachment *attachment)
{
	note(buf, 'a');
	return ((struct dk_exporter *)buf->priv)->attach;
}

static void detach(struct dma_buf *buf, struct dma_buf_attachment *attachment)
{
	note(buf, 'A');
}

static int pin(struct dma_buf_attachment *attachment)
{
	note(attachment->dmabuf, 'p');
	return ((struct dk_exporter *)attachment->dmabuf->priv)->pin;
}

static void unpin(struct dma_buf_attachment *attachment)
{
	note(attachment->dmabuf, 'P');
}

static struct sg_table *map(struct dma_buf_attachment *attachment, enum dma_data_direction direction)
{
	note(attachment->dmabuf, 'm');
	return ERR_PTR(-EIO);
}

static void unmap(struct dma_buf_attachment *attachment, struct sg_table *table,
		  enum dma_data_direction direction)
{
}

static int show(struct dma_buf *buf, struct iosys_map *to)
{
	struct dk_exporter *exporter = buf->priv;

	note(buf, 'v');
	if (exporter->shows == DK_SHOWS_DEVICE)
		iosys_map_set_vaddr_iomem(to, (void __iomem *)exporter->memory);
	else
		iosys_map_set_vaddr(to, exporter->memory + (exporter->shows == DK_SHOWS_ODDLY) * 8);
	return 0;
}

static void hide(struct dma_buf *buf, struct iosys_map *from)
{
	note(buf, 'V');
}

static void release(struct dma_buf *buf)
{
	note(buf, 'R');
}

static void *take(struct dk_exporter *exporter)
{
	struct page *first;

	if (exporter->shows == DK_SHOWS_SLAB)
		return kzalloc(PAGE_SIZE, GFP_KERNEL);
	if (exporter->shows == DK_SHOWS_ZEROES)
		return page_address(ZERO_PAGE(0));
	first = alloc_pages(GFP_KERNEL | __GFP_ZERO, ORDER);
	if (!first)
		return NULL;
	split_page(first, ORDER);
	/* The other way round, where that can be. */
	for (unsigned int i = 0; i < DK_EXPORTER_PAGES; i++)
		exporter->pages[i] = exporter->shows == DK_SHOWS_MAPPED ?
			first + DK_EXPORTER_PAGES - 1 - i : first + i;
	/* The power of two has some more. */
	for (unsigned int i = DK_EXPORTER_PAGES; i < 1U << ORDER; i++)
		__free_page(first + i);
	if (exporter->shows == DK_SHOWS_MAPPED)
		return vmap(exporter->pages, DK_EXPORTER_PAGES, VM_MAP, PAGE_KERNEL);
	return page_address(first);
}

/* With one reference to the dma-buf; or NULL. */
struct dk_exporter *dk_exporter_new(enum dk_shows shows, int attached, int pinned)
{
	struct dk_exporter *exporter = kzalloc(sizeof(*exporter), GFP_KERNEL);
	struct dma_buf_export_info info = {
		.exp_name = "dmakit-exporter", .ops = &exporter->ops, .flags = O_RDWR, .priv = exporter,
	};

	if (!exporter)
		return NULL;
	exporter->ops = (struct dma_buf_ops){
		.attach = attach, .detach = detach, .pin = pin, .unpin = unpin, .map_dma_buf = map,
		.unmap_dma_buf = unmap, .release = release,
		.vmap = shows == DK_SHOWS_NOTHING ? NULL : show, .vunmap = hide,
	};
	exporter->shows = shows;
	exporter->attach = attached;
	exporter->pin = pinned;
	exporter->dev = root_device_register("dmakit-exporter");
	exporter->memory = take(exporter);
	info.size = exporter->pages[0] ? BYTES : PAGE_SIZE;
	if (IS_ERR(exporter->dev) || !exporter->memory)
		goto free;
	exporter->buf = dma_buf_export(&info);
	if (!IS_ERR(exporter->buf))
		return exporter;
free:
	dk_exporter_free(exporter);
	return NULL;
}

/* Whose dma-buf was released, or never made. */
void dk_exporter_free(struct dk_exporter *exporter)
{
	if (exporter->shows == DK_SHOWS_MAPPED)
		vunmap(exporter->memory);
	if (exporter->shows == DK_SHOWS_SLAB)
		kfree(exporter->memory);
	for (unsigned int i = 0; i < DK_EXPORTER_PAGES; i++)
		if (exporter->pages[i])
			__free_page(exporter->pages[i]);
	if (!IS_ERR(exporter->dev))
		root_device_unregister(exporter->dev);
	kfree(exporter);
}
