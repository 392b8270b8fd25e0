// SPDX-License-Identifier: GPL-2.0
/* The pages of dma-bufs of others: callbacks and inline functions of dma-buf and mm. */
#include <linux/dma-resv.h>
#include <linux/net.h>
#include <linux/version.h>
#include <linux/vmalloc.h>

#include "../helpers.h"

bool dk_dmabuf_readable(const struct dma_buf *buf)
{
	return buf->file->f_mode & FMODE_READ;
}

bool dk_dmabuf_writable(const struct dma_buf *buf)
{
	return buf->file->f_mode & FMODE_WRITE;
}

/*
 * The memory is pinned, so nobody has to be told that it moves; an exporter that wants to be able to
 * take it back refuses an importer like that. Nothing is reached that has no pages.
 */
static const struct dma_buf_attach_ops dk_import_ops = {
	.allow_peer2peer = false,
};

/*
 * dma_buf_vmap(), but for its warning: drivers that have the function for all their memory fail where
 * it cannot be shown, and that is for any program to try. dma_buf_vunmap() is its other half.
 */
static int show(struct dma_buf *buf, struct iosys_map *to)
{
	struct iosys_map map;
	int ret;

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 4, 0)
#error "see whether dma_buf_vmap() still does no more than this"
#endif
	if (!buf->vmapping_counter) {
		ret = dk_fault() ? -ENOMEM : buf->ops->vmap(buf, &map);
		if (ret)
			return ret;
		buf->vmap_ptr = map;
	}
	buf->vmapping_counter++;
	*to = buf->vmap_ptr;
	return 0;
}

/*
 * Has the memory stay where it is, and shows it to the kernel. Being attached, and nothing more, is all
 * that a device without DMA can be, but whoever asks for a pin has to be.
 */
int dk_import_begin(struct dk_import *import, struct device *dev)
{
	struct dma_buf *buf = import->buf;
	int ret;

	/* Of one that has none that would be EINVAL. */
	if (!buf->ops->vmap)
		return -EOPNOTSUPP;
	import->attachment = dma_buf_dynamic_attach(buf, dev, &dk_import_ops, NULL);
	if (IS_ERR(import->attachment))
		return PTR_ERR(import->attachment);
	ret = dma_resv_lock_interruptible(buf->resv, NULL);
	if (ret)
		goto detach;
	ret = dma_buf_pin(import->attachment);
	if (ret)
		goto unlock;
	ret = show(buf, &import->map);
	if (ret)
		dma_buf_unpin(import->attachment);
unlock:
	dma_resv_unlock(buf->resv);
detach:
	if (ret)
		dma_buf_detach(buf, import->attachment);
	/* Nothing that they say is success but that. */
	return ret > 0 ? -EIO : ret;
}

void dk_import_end(struct dk_import *import)
{
	struct dma_buf *buf = import->buf;

	dma_resv_lock(buf->resv, NULL);
	dma_buf_vunmap(buf, &import->map);
	dma_buf_unpin(import->attachment);
	dma_resv_unlock(buf->resv);
	dma_buf_detach(buf, import->attachment);
}

/*
 * The page behind an address of the kernel's, or NULL if it is no ordinary memory: nothing that the network
 * could not be given a reference to, for Soft-iWARP does that.
 */
static struct page *ordinary(const void *at)
{
	struct page *page;

	if (is_vmalloc_addr(at)) {
		page = vmalloc_to_page(at);
		if (!page || !pfn_valid(page_to_pfn(page)))
			return NULL;
	} else if (virt_addr_valid(at)) {
		page = virt_to_page(at);
	} else {
		return NULL;
	}
	if (PageReserved(page) || PageHWPoison(page) || is_zone_device_page(page) || !sendpage_ok(page))
		return NULL;
	return page;
}

/* Its pages from the @first on, if all of them are ordinary memory. */
bool dk_import_pages(const struct dk_import *import, unsigned long first, unsigned long count,
		     struct page **pages)
{
	const void *at = import->map.vaddr;

	if (import->map.is_iomem || offset_in_page(at))
		return false;
	for (at += first << PAGE_SHIFT; count--; at += PAGE_SIZE, pages++) {
		*pages = ordinary(at);
		if (!*pages)
			return false;
	}
	return true;
}
