/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DMAKIT_HELPERS_MM_H
#define _DMAKIT_HELPERS_MM_H

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/rwsem.h>
#include <linux/sched/user.h>

/* Memory comes in folios of this order, or in single pages. */
#define DK_BLOCK_ORDER 9

/* How many pages its folio has from @page on, and no more than @count. */
static inline unsigned long dk_folio_rest(struct page *page, unsigned long count)
{
	struct folio *folio = page_folio(page);

	return min(count, folio_nr_pages(folio) - folio_page_idx(folio, page));
}

/* How many of the pages, from the first on, follow each other in its folio. */
static inline unsigned long dk_folio_run(struct page *const *pages, unsigned long count)
{
	unsigned long run = 1;

	count = dk_folio_rest(pages[0], count);
	while (run < count && pages[run] == pages[0] + run)
		run++;
	return run;
}

/*
 * How many of the pages, from the first on, follow each other in memory and are single ones. Their
 * numbers then do, too.
 */
static inline unsigned long dk_single_run(struct page *const *pages, unsigned long count)
{
	unsigned long run = 0;

	static_assert(!IS_ENABLED(CONFIG_SPARSEMEM) || IS_ENABLED(CONFIG_SPARSEMEM_VMEMMAP));
	while (run < count && pages[run] == pages[0] + run && !PageCompound(pages[run]))
		run++;
	return run;
}

static inline bool dk_are_bad(struct page *const *pages, unsigned long count)
{
	for (unsigned long i = 0; i < count; i++)
		if (PageHWPoison(pages[i]))
			return true;
	return false;
}

struct page *dk_alloc_pages_node(int node, bool strict, unsigned int order, bool hard);
struct page *dk_alloc_pages_for(void *memcg, int node, unsigned int order, bool hard);
void dk_put_pages(struct page *const *pages, unsigned long count);
long dk_pin_pages(unsigned long address, unsigned int count, bool write, struct page **pages);
unsigned long dk_kept_pages(struct page *const *pages, unsigned long count);
void dk_unpin_pages(struct page **pages, unsigned long count, bool write);
void *dk_page_memcg(struct page *page);
void dk_memcg_put(void *memcg);
bool dk_survey_pages(struct page *const *pages, unsigned long count, bool whole, u64 *nodes,
		     unsigned int nr_nodes, u32 *orders, unsigned int max);
void dk_copy_pages(struct page *const *to, size_t to_offset, struct page *const *from,
		   size_t from_offset, size_t length);
void dk_read_pages(void *to, struct page *const *from, size_t offset, size_t length);
void dk_write_pages(struct page *const *to, size_t offset, const void *from, size_t length);
void dk_fill_pages(struct page *const *to, size_t offset, u8 value, size_t length);
bool dk_node_online(int node);
bool dk_node_allowed(int node);
unsigned int dk_nr_node_ids(void);
struct user_struct *dk_charge_pages(unsigned long pages);
bool dk_charge_more(struct user_struct *user, unsigned long pages);
void dk_uncharge_pages(struct user_struct *user, unsigned long pages);
bool dk_pages_available(unsigned long pages);
bool dk_fatal_signal_pending(void);
void dk_cond_resched(void);
void dk_smp_mb(void);
void dk_synchronize_rcu(void);
void *dk_vmap(struct page **pages, unsigned int count);
void dk_vunmap(const void *base);
void dk_vma_set_shared_map(struct vm_area_struct *vma);
bool dk_vma_is_shared(const struct vm_area_struct *vma);
bool dk_vma_forbid_writing(struct vm_area_struct *vma);
const void *dk_vmf_private(const struct vm_fault *vmf);
unsigned long dk_vmf_index(const struct vm_fault *vmf);
vm_fault_t dk_vmf_insert(struct vm_fault *vmf, struct page *const *pages, unsigned long count,
			 unsigned long wanted);
bool dk_vmf_may_be_large(const struct vm_fault *vmf);
unsigned long dk_vmf_in_table(const struct vm_fault *vmf);
vm_fault_t dk_vmf_insert_block(struct vm_fault *vmf, struct page *const *pages,
			       unsigned long count);
bool dk_vma_fits_block(struct vm_area_struct *vma, unsigned long address,
		       struct page *const *pages, unsigned long count);
void dk_vma_set_huge(struct vm_area_struct *vma);
unsigned long dk_get_unmapped_area(struct file *file, unsigned long address, unsigned long length,
				   unsigned long pgoff, unsigned long flags);
vm_fault_t dk_vmf_fallback(void);
vm_fault_t dk_vmf_refuse(void);

void dk_rwsem_init(struct rw_semaphore *sem);
void dk_down_read_second(struct rw_semaphore *sem);

void dk_space_init(struct address_space *space);
void dk_space_attach(struct address_space *space, struct file *file);
struct address_space *dk_space_detach(struct file *file);

unsigned long dk_pages_elsewhere(struct page *const *pages, unsigned long count, int node);
unsigned long dk_pages_fitting(struct page *const *pages, unsigned long count, int node,
			       unsigned long room);
unsigned long dk_pages_run(struct page *const *pages, unsigned long count, int node, bool there);
void dk_pages_unmap(struct address_space *space, unsigned long index,
		    struct page *const *pages, unsigned long count, int node);
bool dk_pages_ours(struct page *const *pages, unsigned long count, int node, bool *blocks);
unsigned long dk_pages_replace(struct page **pages, unsigned long count, int node, bool blocks,
			       struct page **others, const unsigned long *bad, unsigned long max);

#endif
