// SPDX-License-Identifier: GPL-2.0
/* Mappings of pages into user space, and what faults do: inline functions and macros of mm. */
#include <linux/pagemap.h>

#include "../helpers.h"

/* Whether the pages begin with all of a folio of DK_BLOCK_ORDER. */
static bool is_block(struct page *const *pages, unsigned long count)
{
	return folio_order(page_folio(pages[0])) == DK_BLOCK_ORDER &&
	       dk_folio_run(pages, count) == 1UL << DK_BLOCK_ORDER;
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

/* Whether one entry may show a block there. */
bool dk_vmf_may_be_large(const struct vm_fault *vmf)
{
	return !(vmf->vma->vm_flags & VM_MIXEDMAP);
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

	if (vma->vm_flags & VM_MIXEDMAP || dk_are_bad(pages, count) ||
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

/* An address as far from a multiple of 2 MiB as its place in the file, so that entries can be large. */
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
	 * NUMA balancing takes pages away to see who wants them, which would be for nothing, as it cannot
	 * move ours. It spares mappings of files whose memory must be in a low zone, if there is such a
	 * zone (CONFIG_ZONE_DMA). For this mask nothing is ever allocated.
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
