/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DMAKIT_HELPERS_MM_H
#define _DMAKIT_HELPERS_MM_H

#include <linux/mm.h>
#include <linux/sched/user.h>

struct page *dk_alloc_pages_node(int node, bool strict, unsigned int order);
bool dk_count_nodes(struct page *const *pages, unsigned long count, u64 *counts,
		    unsigned int nodes);
void dk_copy_pages(struct page *const *to, size_t to_offset, struct page *const *from,
		   size_t from_offset, size_t length);
void dk_read_pages(void *to, struct page *const *from, size_t offset, size_t length);
void dk_write_pages(struct page *const *to, size_t offset, const void *from, size_t length);
void dk_fill_pages(struct page *const *to, size_t offset, u8 value, size_t length);
bool dk_node_online(int node);
unsigned int dk_nr_node_ids(void);
struct user_struct *dk_charge_pages(unsigned long pages);
void dk_uncharge_pages(struct user_struct *user, unsigned long pages);
bool dk_pages_available(unsigned long pages);
bool dk_fatal_signal_pending(void);
void dk_cond_resched(void);
void dk_smp_mb(void);
void *dk_vmap(struct page **pages, unsigned int count);
void dk_vunmap(const void *base);
void dk_vma_set_shared_map(struct vm_area_struct *vma);
bool dk_vma_is_shared(const struct vm_area_struct *vma);

#endif
