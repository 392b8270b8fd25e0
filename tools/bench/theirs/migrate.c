// SPDX-License-Identifier: GPL-2.0
/*
 * usage: migrate BYTES
 *
 * Moves BYTES of single pages to another NUMA node and, with the next block, back, as migratepages(8)
 * does it, with migrate_pages(2): that is less than move_pages(2), which is told of each page.
 */
#define _GNU_SOURCE
#include "arm.h"

#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint64_t pages;
static char *at;
static unsigned int node = 1;

static void look(void)
{
	for (uint64_t i = 0; i < pages; i++) {
		void *address = at + i * 4096;
		int where = -1;

		OR_DIE(!syscall(SYS_move_pages, 0, 1UL, &address, NULL, &where, 0));
		OR_DIE(where == (int)node);
		OR_DIE(*(uint64_t *)address == i);
	}
}

static struct block run(bool verify)
{
	struct block b = { 1, pages * 4096, 0 };
	unsigned long from = 1UL << node, to = 1UL << (3 - node);
	uint64_t begin = now_ns();

	OR_DIE(!syscall(SYS_migrate_pages, 0, 64UL, &from, &to));
	b.ns = now_ns() - begin;
	node = 3 - node;
	if (verify)
		look();
	return b;
}

int main(int argc, char **argv)
{
	unsigned long here = 1UL << node;

	OR_DIE(argc == 2);
	pages = number(argv[1]) / 4096;
	at = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	OR_DIE(at != MAP_FAILED);
	OR_DIE(!madvise(at, pages * 4096, MADV_NOHUGEPAGE));
	OR_DIE(!syscall(SYS_mbind, at, pages * 4096, MPOL_PREFERRED, &here, 64UL, 0));
	for (uint64_t i = 0; i < pages; i++)
		*(uint64_t *)(at + i * 4096) = i;
	OR_DIE(!syscall(SYS_mbind, at, pages * 4096, MPOL_DEFAULT, NULL, 0UL, 0));
	look();
	return serve(run);
}
