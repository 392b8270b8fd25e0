// SPDX-License-Identifier: GPL-2.0
/* Pages that others take the place of: inline functions of mm. */
#include <linux/highmem.h>

#include "../helpers.h"

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
		run = dk_folio_run(pages + i, count - i);
		if (page_to_nid(pages[i]) == node)
			continue;
		if (room < run)
			break;
		room -= run;
	}
	return i;
}

/* How many pages from the first on are on @node, or, unless @there, are not. */
unsigned long dk_pages_run(struct page *const *pages, unsigned long count, int node, bool there)
{
	unsigned long run = 0;

	while (run < count && (page_to_nid(pages[run]) == node) == there)
		run++;
	return run;
}

/* Takes those that are not on @node out of all page tables. The first is at @index of the file. */
void dk_pages_unmap(struct address_space *space, unsigned long index,
		    struct page *const *pages, unsigned long count, int node)
{
	for (unsigned long i = 0, run; i < count; i += run + 1) {
		run = dk_pages_run(pages + i, count - i, node, false);
		if (run)
			unmap_mapping_range(space, (loff_t)(index + i) << PAGE_SHIFT,
					    (loff_t)run << PAGE_SHIFT, 1);
	}
}

/*
 * Whether nobody has a reference to those that are not on @node but who has the array. A page
 * table's goes after the processors have forgotten the page, so then nobody writes to it.
 * @blocks: there are others than single ones among them.
 */
bool dk_pages_ours(struct page *const *pages, unsigned long count, int node, bool *blocks)
{
	for (unsigned long i = 0, run; i < count; i += run) {
		struct page *page = pages[i];

		run = 1;
		if (page_to_nid(page) == node)
			continue;
		if (PageCompound(page)) {
			run = dk_folio_run(pages + i, count - i);
			*blocks = true;
		}
		if (folio_ref_count(page_folio(page)) != run)
			return false;
	}
	/* What was written before the reference went is read after this. */
	smp_mb();
	return true;
}

/*
 * Each that is not on @node changes places with the next one of @others, which has its bytes. Returns how
 * many. If the memory of one is @bad it stays, and so does its other; if there is a block on either
 * side, @blocks or in @others, so that it does not come apart, all stay.
 */
unsigned long dk_pages_replace(struct page **pages, unsigned long count, int node, bool blocks,
			       struct page **others, const unsigned long *bad, unsigned long max)
{
	bool any = find_first_bit(bad, max) < max;
	unsigned long next = 0, done = 0;

	/* Blocks are taken first. */
	if (any && (blocks || PageCompound(others[0])))
		return 0;
	for (unsigned long i = 0; i < count; i++) {
		struct page *page = pages[i];

		if (page_to_nid(page) == node)
			continue;
		if (!any || !test_bit(next, bad)) {
			flush_dcache_page(others[next]);
			pages[i] = others[next];
			others[next] = page;
			done++;
		}
		next++;
	}
	return done;
}
