// SPDX-License-Identifier: GPL-2.0
/* Pages, nodes, charges and mappings: inline functions and macros of mm. */
#include <linux/capability.h>
#include <linux/cpuset.h>
#include <linux/cred.h>
#include <linux/highmem.h>
#include <linux/huge_mm.h>
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
	 * nothing else will do. With __GFP_THISNODE no policy is asked, and one says for each page.
	 */
	if (order && !hard) {
		gfp &= ~(__GFP_DIRECT_RECLAIM | __GFP_RETRY_MAYFAIL);
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

/* How many of the pages, from the first on, follow each other in its folio. */
static unsigned long folio_run(struct page *const *pages, unsigned long count)
{
	struct folio *folio = page_folio(pages[0]);
	unsigned long run = 1;

	count = min(count, folio_nr_pages(folio) - folio_page_idx(folio, pages[0]));
	while (run < count && pages[run] == pages[0] + run)
		run++;
	return run;
}

/* Whether the pages begin with all of a folio of DK_BLOCK_ORDER. */
static bool is_block(struct page *const *pages, unsigned long count)
{
	return folio_order(page_folio(pages[0])) == DK_BLOCK_ORDER &&
	       folio_run(pages, count) == 1UL << DK_BLOCK_ORDER;
}

static bool are_bad(struct page *const *pages, unsigned long count)
{
	for (unsigned long i = 0; i < count; i++)
		if (PageHWPoison(pages[i]))
			return true;
	return false;
}

/* Drops a reference to each. */
void dk_put_pages(struct page *const *pages, unsigned long count)
{
	for (unsigned long i = 0, run; i < count; i += run) {
		struct folio *folio = page_folio(pages[i]);

		run = folio_run(pages + i, count - i);
		/* Only single ones with bad memory would be kept back by the kernel. */
		if (run > 1 && are_bad(pages + i, run))
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

/*
 * Adds to @nodes, of @nr_nodes, how many pages are on each, and to @orders how many blocks there
 * are of each order up to @max; whether all are on one of the nodes. A block is on one node.
 */
bool dk_survey_pages(struct page *const *pages, unsigned long count, u64 *nodes,
		     unsigned int nr_nodes, u32 *orders, unsigned int max)
{
	unsigned long first = 0, length = 0;
	unsigned int last = nr_nodes;

	for (unsigned long i = 0, run; i < count; i += run) {
		unsigned long pfn = page_to_pfn(pages[i]);
		unsigned int node = page_to_nid(pages[i]);

		if (node >= nr_nodes)
			return false;
		/* Pages of a folio need not be looked at one by one. */
		run = folio_run(pages + i, count - i);
		nodes[node] += run;
		if (pfn != first + length || node != last) {
			count_blocks(first, length, orders, max);
			first = pfn;
			length = 0;
			last = node;
		}
		length += run;
	}
	count_blocks(first, length, orders, max);
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

/* Not by mprotect(2) either. */
bool dk_vma_forbid_writing(struct vm_area_struct *vma)
{
	if (vma->vm_flags & VM_WRITE)
		return false;
	vm_flags_clear(vma, VM_MAYWRITE);
	return true;
}

const void *dk_vmf_private(const struct vm_fault *vmf)
{
	return vmf->vma->vm_private_data;
}

/* The page of the file that is wanted. */
unsigned long dk_vmf_index(const struct vm_fault *vmf)
{
	return vmf->pgoff;
}

/*
 * Shows the page that is @wanted among these, and the others as well, as far as the vma reaches and
 * there is nothing yet: who touches one will touch more. The page tables get references of their own.
 * All are shown by one page table, and nobody shows a block there meanwhile.
 */
vm_fault_t dk_vmf_insert(struct vm_fault *vmf, struct page *const *pages, unsigned long count,
			 unsigned long wanted)
{
	const struct vm_area_struct *vma = vmf->vma;
	unsigned int tries = 3;
	vm_fault_t ret;

	if (PageHWPoison(pages[wanted]))
		return VM_FAULT_HWPOISON;
	/* Another thread has brought the block meanwhile, into which no page can go. */
	if (pmd_trans_huge(pmdp_get_lockless(vmf->pmd)))
		return VM_FAULT_NOPAGE;
	/* Not by vmf->page, of which the kernel would show the whole folio, wherever that begins. */
	do {
		/* That another thread had the page table freed is told like too little memory. */
		ret = vmf_insert_page_mkwrite(vmf, pages[wanted], false);
	} while (ret & VM_FAULT_OOM && --tries);
	for (unsigned long i = 0; i < count && ret == VM_FAULT_NOPAGE; i++) {
		unsigned long at = vmf->address + ((i - wanted) << PAGE_SHIFT);
		struct vm_fault other = { .vma = vmf->vma, .address = at };

		if (i == wanted || at < vma->vm_start || at >= vma->vm_end || PageHWPoison(pages[i]))
			continue;
		/* That nobody asked for. */
		if (vmf_insert_page_mkwrite(&other, pages[i], false) != VM_FAULT_NOPAGE)
			break;
	}
	return ret;
}

/* Which page of those that one page table shows is wanted. */
unsigned long dk_vmf_in_table(const struct vm_fault *vmf)
{
	return (vmf->address & ~PMD_MASK) >> PAGE_SHIFT;
}

#ifdef CONFIG_TRANSPARENT_HUGEPAGE

static_assert(DK_BLOCK_ORDER == PMD_ORDER);

/*
 * Shows a block, with which the pages begin, by one entry, which gets a reference to the folio.
 * The entry allows what the vma does, so that it is never changed: it is said to be for reading,
 * as one for writing must not meet another. Where there is one it is done page by page.
 */
vm_fault_t dk_vmf_insert_block(struct vm_fault *vmf, struct page *const *pages,
			       unsigned long count)
{
	struct vm_area_struct *vma = vmf->vma;

	if (vma->vm_flags & VM_MIXEDMAP || are_bad(pages, count) ||
	    !thp_vma_suitable_order(vma, vmf->address, PMD_ORDER) ||
	    !pmd_none(pmdp_get_lockless(vmf->pmd)) || !is_block(pages, count))
		return VM_FAULT_FALLBACK;
	return vmf_insert_folio_pmd(vmf, page_folio(pages[0]), false);
}

/* Whether the pages, at @address of a new vma, are a block that one entry can show. */
bool dk_vma_fits_block(struct vm_area_struct *vma, unsigned long address,
		       struct page *const *pages, unsigned long count)
{
	return IS_ALIGNED(address, PMD_SIZE) && is_block(pages, count) &&
	       thp_vma_suitable_order(vma, address, PMD_ORDER) &&
	       !mm_flags_test(MMF_DISABLE_THP_COMPLETELY, vma->vm_mm);
}

/* So that entries for reading and writing of all programs can be large. */
unsigned long dk_get_unmapped_area(struct file *file, unsigned long address, unsigned long length,
				   unsigned long pgoff, unsigned long flags)
{
	return thp_get_unmapped_area(file, address, length, pgoff, flags);
}

#else

vm_fault_t dk_vmf_insert_block(struct vm_fault *vmf, struct page *const *pages,
			       unsigned long count)
{
	return VM_FAULT_FALLBACK;
}

bool dk_vma_fits_block(struct vm_area_struct *vma, unsigned long address,
		       struct page *const *pages, unsigned long count)
{
	return false;
}

unsigned long dk_get_unmapped_area(struct file *file, unsigned long address, unsigned long length,
				   unsigned long pgoff, unsigned long flags)
{
	return mm_get_unmapped_area(file, address, length, pgoff, flags);
}

#endif

/*
 * A vma in which blocks are shown by one entry each. It must not be one of mixed things: the
 * kernel would take large entries for such without a reference, and forget it when it splits
 * them. There is nothing in it but pages with one. VM_HUGEPAGE, as of a DAX device: madvise(2)
 * is not needed, but can refuse.
 */
void dk_vma_set_huge(struct vm_area_struct *vma)
{
	vm_flags_mod(vma, VM_HUGEPAGE, VM_MIXEDMAP);
}

vm_fault_t dk_vmf_fallback(void)
{
	return VM_FAULT_FALLBACK;
}

vm_fault_t dk_vmf_refuse(void)
{
	return VM_FAULT_SIGBUS;
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

/*
 * What the kernel finds the mappings of a file by. That of a device's inode is shared by all who
 * have it open, so that each file gets its own, as those of gfs2's locks have.
 */
void dk_space_init(struct address_space *space)
{
	address_space_init_once(space);
	init_rwsem(&space->invalidate_lock);
	space->a_ops = &empty_aops;
	/*
	 * Nothing is allocated for it. That it would have to lie low is what NUMA balancing takes for
	 * a reason not to sample pages, which it could not move anyway.
	 */
	mapping_set_gfp_mask(space, GFP_USER | __GFP_DMA);
}

/* For a file being opened. */
void dk_space_attach(struct address_space *space, struct file *file)
{
	space->host = file_inode(file);
	file->f_mapping = space;
}

/* For a file being released, which has no mappings any more. */
struct address_space *dk_space_detach(struct file *file)
{
	struct address_space *space = file->f_mapping;

	file->f_mapping = file_inode(file)->i_mapping;
	space->host = NULL;
	return space;
}

/* How many pages are not on @node. */
unsigned long dk_pages_elsewhere(struct page *const *pages, unsigned long count, int node)
{
	unsigned long found = 0;

	for (unsigned long i = 0; i < count; i++)
		found += page_to_nid(pages[i]) != node;
	return found;
}

/*
 * How many pages from the first on have no more than @room among them that are not on @node. No
 * folio is cut.
 */
unsigned long dk_pages_fitting(struct page *const *pages, unsigned long count, int node,
			       unsigned long room)
{
	unsigned long i, run;

	for (i = 0; i < count; i += run) {
		run = folio_run(pages + i, count - i);
		if (page_to_nid(pages[i]) == node)
			continue;
		if (room < run)
			break;
		room -= run;
	}
	return i;
}

/* Takes those that are not on @node out of all page tables. The first is at @index of the file. */
void dk_pages_unmap(struct address_space *space, unsigned long index,
		    struct page *const *pages, unsigned long count, int node)
{
	for (unsigned long i = 0, end; i < count; i = end + 1) {
		for (end = i; end < count && page_to_nid(pages[end]) != node; end++)
			;
		if (end > i)
			unmap_mapping_range(space, (loff_t)(index + i) << PAGE_SHIFT,
					    (loff_t)(end - i) << PAGE_SHIFT, 1);
	}
}

/*
 * Whether nobody has a reference to those that are not on @node but who has the array. A page
 * table's goes after the processors have forgotten the page, so then nobody writes to it.
 */
bool dk_pages_ours(struct page *const *pages, unsigned long count, int node)
{
	for (unsigned long i = 0, run; i < count; i += run) {
		run = folio_run(pages + i, count - i);
		if (page_to_nid(pages[i]) != node && folio_ref_count(page_folio(pages[i])) != run)
			return false;
	}
	/* What was written before the reference went is read after this. */
	smp_mb();
	return true;
}

/*
 * Each that is not on @node is replaced by the next one of @others, which gets its bytes, and
 * takes its place there. Returns how many. One whose memory is bad stays, and @bad says so; if @others
 * are a block, so that it does not come apart, all stay.
 */
unsigned long dk_pages_replace(struct page **pages, unsigned long count, int node,
			       struct page **others, bool *bad)
{
	bool block = PageCompound(others[0]);
	unsigned long done = 0, copied = 0;

	for (unsigned long i = 0; block && i < count; i++) {
		if (page_to_nid(pages[i]) == node)
			continue;
		if (copy_mc_highpage(others[copied], pages[i])) {
			*bad = true;
			return 0;
		}
		copied++;
	}
	for (unsigned long i = 0; i < count; i++) {
		if (page_to_nid(pages[i]) == node)
			continue;
		if (!block && copy_mc_highpage(others[done], pages[i])) {
			*bad = true;
			continue;
		}
		flush_dcache_page(others[done]);
		swap(others[done], pages[i]);
		done++;
	}
	return done;
}
