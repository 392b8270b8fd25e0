// SPDX-License-Identifier: GPL-2.0
/* Pages, nodes and charges: inline functions and macros of mm. */
#include <linux/capability.h>
#include <linux/cpuset.h>
#include <linux/cred.h>
#include <linux/highmem.h>
#include <linux/memcontrol.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/vmalloc.h>

#include "../helpers.h"

static struct page *alloc_on(int node, bool strict, unsigned int order, bool hard, gfp_t gfp)
{
	struct page *page;

	/* Too little memory is an answer for the caller, not a reason to kill others. */
	if (strict)
		gfp |= __GFP_THISNODE;
	gfp |= strict && !hard ? __GFP_NORETRY : __GFP_RETRY_MAYFAIL;

	/*
	 * Many at once only where single ones would come from, and only if they are there, unless
	 * nothing else will do: nobody is woken to make room for them at the cost of others. With
	 * __GFP_THISNODE no policy is asked, and one says for each page.
	 */
	if (order && !hard) {
		gfp &= ~(__GFP_RECLAIM | __GFP_RETRY_MAYFAIL);
		gfp |= __GFP_THISNODE | __GFP_NORETRY | __GFP_NOMEMALLOC;
#ifdef CONFIG_NUMA
		if (node == NUMA_NO_NODE && current->mempolicy)
			return NULL;
#endif
	}

	/* Not by folio_alloc(): the kernel would take it for one of its own huge pages. */
	if (order == DK_BLOCK_ORDER)
		gfp |= __GFP_COMP;
	/* Without a node the task's memory policy decides. */
	if (node == NUMA_NO_NODE)
		page = alloc_pages(gfp, order);
	else
		page = alloc_pages_node(node, gfp, order);
	/* A reference to each page. */
	if (page && order == DK_BLOCK_ORDER)
		page_ref_add(page, (1 << order) - 1);
	else if (page && order)
		split_page(page, order);
	return page;
}

/*
 * The first of 1 << @order pages that follow each other, zeroed, each with a reference. They are
 * one folio if that is DK_BLOCK_ORDER, else single pages. @hard: others make room.
 */
struct page *dk_alloc_pages_node(int node, bool strict, unsigned int order, bool hard)
{
	return alloc_on(node, strict, order, hard,
			GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN);
}

/* The same on this node or not at all, charged to @memcg if it is not NULL; not zeroed. */
struct page *dk_alloc_pages_for(void *memcg, int node, unsigned int order, bool hard)
{
	struct mem_cgroup *old = set_active_memcg(memcg);
	struct page *page = alloc_on(node, true, order, hard,
				     GFP_KERNEL_ACCOUNT | __GFP_NOWARN);

	set_active_memcg(old);
	return page;
}

/* Drops a reference to each. */
void dk_put_pages(struct page *const *pages, unsigned long count)
{
	for (unsigned long i = 0, run; i < count; i += run) {
		struct folio *folio = page_folio(pages[i]);

#ifdef CONFIG_CONTIG_ALLOC
		/* They come together as they are freed, instead of one by one. */
		run = dk_single_run(pages + i, count - i);
		if (run > 1) {
			free_contig_range(page_to_pfn(pages[i]), run);
			continue;
		}
#endif
		run = dk_folio_run(pages + i, count - i);
		/* Only single ones with bad memory would be kept back by the kernel. */
		if (folio_test_large(folio) && dk_are_bad(pages + i, run))
			folio_get(folio);
		folio_put_refs(folio, run);
	}
}

/*
 * Pins pages of the caller's memory for as long as it takes, from @address on. How many, at least one,
 * or an error.
 */
long dk_pin_pages(unsigned long address, unsigned int count, bool write, struct page **pages)
{
	long got = pin_user_pages_fast(address, count, FOLL_LONGTERM | (write ? FOLL_WRITE : 0), pages);

	return got ? got : -EFAULT;
}

/* If they could be written to, they were. */
void dk_unpin_pages(struct page **pages, unsigned long count, bool write)
{
	unpin_user_pages_dirty_lock(pages, count, write);
}

/* How many pages stay because these do: all of each folio. */
unsigned long dk_kept_pages(struct page *const *pages, unsigned long count)
{
	const struct folio *last = NULL;
	unsigned long kept = 0;

	for (unsigned long i = 0; i < count; i++) {
		const struct folio *folio = page_folio(pages[i]);

		if (folio != last)
			kept += folio_nr_pages(folio);
		last = folio;
	}
	return kept;
}

/* The memory cgroup that a page is charged to, with a reference, or NULL. */
void *dk_page_memcg(struct page *page)
{
#ifdef CONFIG_MEMCG
	struct obj_cgroup *objcg = folio_objcg(page_folio(page));

	if (objcg)
		return get_mem_cgroup_from_objcg(objcg);
#endif
	return NULL;
}

void dk_memcg_put(void *memcg)
{
	mem_cgroup_put(memcg);
}

/* Adds to @orders the blocks of @count pages from @pfn on, each at a multiple of its size. */
static void count_blocks(unsigned long pfn, unsigned long count, u32 *orders, unsigned int max)
{
	while (count) {
		unsigned int order = min_t(unsigned int, ilog2(count), max);

		if (pfn)
			order = min_t(unsigned int, order, __ffs(pfn));
		orders[order]++;
		pfn += 1UL << order;
		count -= 1UL << order;
	}
}

/* Pages that are looked at without counting in between. */
enum { STRIDE = 8 };

static inline bool is_on_node(const struct page *page, const struct page *wanted, int node)
{
	return page == wanted && page_to_nid(wanted) == node;
}

static inline bool are_on_node(struct page *const *pages, const struct page *wanted, int node)
{
#pragma GCC unroll 8
	for (unsigned int i = 0; i < STRIDE; i++)
		if (!is_on_node(pages[i], wanted + i, node))
			return false;
	return true;
}

/*
 * How many pages, from the first on, follow each other in memory, on one node. @whole: of each
 * folio all pages from the first one on follow it, so that they need not be looked at.
 */
static unsigned long run_on_node(struct page *const *pages, unsigned long count, bool whole)
{
	struct page *first = pages[0];
	int node = page_to_nid(first);
	unsigned long run = 0;

	while (run < count && is_on_node(pages[run], first + run, node)) {
		if (whole && PageHead(pages[run]))
			run += dk_folio_rest(pages[run], count - run);
		else if (count - run >= STRIDE && are_on_node(pages + run, first + run, node))
			run += STRIDE;
		else
			run++;
	}
	return run;
}

/*
 * Adds to @nodes, of @nr_nodes, how many pages are on each, and to @orders how many blocks there
 * are of each order up to @max; whether all are on one of the nodes. A block is on one node.
 */
bool dk_survey_pages(struct page *const *pages, unsigned long count, bool whole, u64 *nodes,
		     unsigned int nr_nodes, u32 *orders, unsigned int max)
{
	for (unsigned long i = 0, run; i < count; i += run) {
		unsigned int node = page_to_nid(pages[i]);

		if (node >= nr_nodes)
			return false;
		run = run_on_node(pages + i, count - i, whole);
		nodes[node] += run;
		count_blocks(page_to_pfn(pages[i]), run, orders, max);
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

/* Whether the caller's cpuset lets it have memory there. */
bool dk_node_allowed(int node)
{
	return node_isset(node, cpuset_current_mems_allowed);
}

unsigned int dk_nr_node_ids(void)
{
	return nr_node_ids;
}

/* Whether the user may have as many more; they are charged then. */
static bool charge(struct user_struct *user, unsigned long pages)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	unsigned long old = atomic_long_read(&user->locked_vm);
	bool unlimited = false;

	do {
		/* The capability is asked for only when it is needed: asking is audited. */
		if (!unlimited && (pages > limit || old > limit - pages)) {
			unlimited = capable(CAP_IPC_LOCK);
			if (!unlimited)
				return false;
		}
	} while (!atomic_long_try_cmpxchg(&user->locked_vm, &old, old + pages));
	return true;
}

/*
 * The charge is per user and not per mm, as io_uring's: it can be dropped by
 * whoever drops the last reference, from any context, without mmap_lock.
 */
struct user_struct *dk_charge_pages(unsigned long pages)
{
	struct user_struct *user = get_uid(current_user());

	if (charge(user, pages))
		return user;
	free_uid(user);
	return NULL;
}

/* By the same caller. */
bool dk_charge_more(struct user_struct *user, unsigned long pages)
{
	return charge(user, pages);
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

void dk_synchronize_rcu(void)
{
	synchronize_rcu();
}

void *dk_vmap(struct page **pages, unsigned int count)
{
	return vmap(pages, count, VM_MAP, PAGE_KERNEL);
}

void dk_vunmap(const void *base)
{
	vunmap(base);
}

void dk_rwsem_init(struct rw_semaphore *sem)
{
	init_rwsem(sem);
}

/* For who has one of these already. */
void dk_down_read_second(struct rw_semaphore *sem)
{
	down_read_nested(sem, SINGLE_DEPTH_NESTING);
}
