// SPDX-License-Identifier: GPL-2.0
/* Pages, nodes, charges and mappings: inline functions and macros of mm. */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/highmem.h>
#include <linux/sched/signal.h>
#include <linux/vmalloc.h>

#include "../helpers.h"

/* The first of 1 << @order single pages that follow each other. */
struct page *dk_alloc_pages_node(int node, bool strict, unsigned int order)
{
	gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN;
	struct page *page;

	/* Too little memory is an answer for the caller, not a reason to kill others. */
	gfp |= strict ? __GFP_THISNODE | __GFP_NORETRY : __GFP_RETRY_MAYFAIL;

	/*
	 * Many at once only where single ones would come from, and only if they are there.
	 * With __GFP_THISNODE no policy is asked, and one says for each page.
	 */
	if (order) {
		gfp &= ~(__GFP_DIRECT_RECLAIM | __GFP_RETRY_MAYFAIL);
		gfp |= __GFP_THISNODE | __GFP_NORETRY | __GFP_NOMEMALLOC;
#ifdef CONFIG_NUMA
		if (node == NUMA_NO_NODE && current->mempolicy)
			return NULL;
#endif
	}

	/* Without a node the task's memory policy decides. */
	if (node == NUMA_NO_NODE)
		page = alloc_pages(gfp, order);
	else
		page = alloc_pages_node(node, gfp, order);
	if (page && order)
		split_page(page, order);
	return page;
}

/* Adds to @counts, of @nodes, how many pages are on each; whether all are on one of them. */
bool dk_count_nodes(struct page *const *pages, unsigned long count, u64 *counts,
		    unsigned int nodes)
{
	for (unsigned long i = 0; i < count; i++) {
		unsigned int node = page_to_nid(pages[i]);

		if (node >= nodes)
			return false;
		counts[node]++;
	}
	return true;
}

/* Offsets are those of bytes in the pages one after the other. */
void dk_copy_pages(struct page *const *to, size_t to_offset, struct page *const *from,
		   size_t from_offset, size_t length)
{
	while (length) {
		size_t to_part = offset_in_page(to_offset);
		size_t from_part = offset_in_page(from_offset);
		size_t part = min(length, PAGE_SIZE - max(to_part, from_part));

		memcpy_page(to[to_offset >> PAGE_SHIFT], to_part,
			    from[from_offset >> PAGE_SHIFT], from_part, part);
		flush_dcache_page(to[to_offset >> PAGE_SHIFT]);
		to_offset += part;
		from_offset += part;
		length -= part;
	}
}

void dk_read_pages(void *to, struct page *const *from, size_t offset, size_t length)
{
	while (length) {
		size_t inside = offset_in_page(offset);
		size_t part = min(length, PAGE_SIZE - inside);

		memcpy_from_page(to, from[offset >> PAGE_SHIFT], inside, part);
		to += part;
		offset += part;
		length -= part;
	}
}

void dk_write_pages(struct page *const *to, size_t offset, const void *from, size_t length)
{
	while (length) {
		size_t inside = offset_in_page(offset);
		size_t part = min(length, PAGE_SIZE - inside);

		memcpy_to_page(to[offset >> PAGE_SHIFT], inside, from, part);
		from += part;
		offset += part;
		length -= part;
	}
}

void dk_fill_pages(struct page *const *to, size_t offset, u8 value, size_t length)
{
	while (length) {
		size_t inside = offset_in_page(offset);
		size_t part = min(length, PAGE_SIZE - inside);

		memset_page(to[offset >> PAGE_SHIFT], inside, value, part);
		flush_dcache_page(to[offset >> PAGE_SHIFT]);
		offset += part;
		length -= part;
	}
}

bool dk_node_online(int node)
{
	return node >= 0 && node < MAX_NUMNODES && node_online(node) &&
	       node_state(node, N_MEMORY);
}

unsigned int dk_nr_node_ids(void)
{
	return nr_node_ids;
}

/*
 * The charge is per user and not per mm, as io_uring's: it can be dropped by
 * whoever drops the last reference, from any context, without mmap_lock.
 */
struct user_struct *dk_charge_pages(unsigned long pages)
{
	struct user_struct *user = get_uid(current_user());
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	unsigned long old = atomic_long_read(&user->locked_vm);
	bool unlimited = false;

	do {
		/* The capability is asked for only when it is needed: asking is audited. */
		if (!unlimited && (pages > limit || old > limit - pages)) {
			unlimited = capable(CAP_IPC_LOCK);
			if (!unlimited) {
				free_uid(user);
				return NULL;
			}
		}
	} while (!atomic_long_try_cmpxchg(&user->locked_vm, &old, old + pages));

	return user;
}

void dk_uncharge_pages(struct user_struct *user, unsigned long pages)
{
	atomic_long_sub(pages, &user->locked_vm);
	free_uid(user);
}

/*
 * Whether it makes sense to begin: taking page after page until there are no more
 * would let others feel it first.
 */
bool dk_pages_available(unsigned long pages)
{
	long available = si_mem_available();

	return available > 0 && pages <= (unsigned long)available;
}

bool dk_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

void dk_cond_resched(void)
{
	cond_resched();
}

void dk_smp_mb(void)
{
	smp_mb();
}

void *dk_vmap(struct page **pages, unsigned int count)
{
	return vmap(pages, count, VM_MAP, PAGE_KERNEL);
}

void dk_vunmap(const void *base)
{
	vunmap(base);
}

void dk_vma_set_shared_map(struct vm_area_struct *vma)
{
	vm_flags_set(vma, VM_MIXEDMAP | VM_DONTEXPAND | VM_DONTDUMP);
}

bool dk_vma_is_shared(const struct vm_area_struct *vma)
{
	/* VM_SHARED is off in shared mappings of files open for reading. */
	return vma->vm_flags & VM_MAYSHARE;
}
