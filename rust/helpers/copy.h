/* SPDX-License-Identifier: GPL-2.0 */
/* What copies pages: processors, and DMA channels of the machine's. */
#ifndef _DMAKIT_HELPERS_COPY_H
#define _DMAKIT_HELPERS_COPY_H

#include <linux/mm_types.h>

struct dk_dma;

int dk_copier_start(void);
void dk_copier_stop(void);
unsigned int dk_copy_by_threads(struct page *const *to, struct page *const *from,
				unsigned long count, int node, unsigned long *bad,
				unsigned long first);

struct dk_dma *dk_dma_get(void);
void dk_dma_put(struct dk_dma *dma);
int dk_dma_copy(struct dk_dma *dma, struct page *const *to, struct page *const *from,
		unsigned long count);

#ifdef DMAPLANE_TEST
void dk_soft_dma_stop(void);
#else
static inline void dk_soft_dma_stop(void)
{
}
#endif

#endif
