// SPDX-License-Identifier: GPL-2.0
/*
 * usage: where BYTES
 *
 * Asks move_pages(2) for the node of every page of BYTES of memory that is there.
 */
#include "arm.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint64_t pages;
static void **addresses;
static int *nodes;

static struct block run(bool verify)
{
	struct block b = { 1, pages * 4096, 0 };
	uint64_t begin = now_ns();

	OR_DIE(!syscall(SYS_move_pages, 0, pages, addresses, NULL, nodes, 0));
	b.ns = now_ns() - begin;
	for (uint64_t i = 0; verify && i < pages; i++)
		OR_DIE(nodes[i] >= 0);
	return b;
}

int main(int argc, char **argv)
{
	char *at;

	OR_DIE(argc == 2);
	pages = number(argv[1]) / 4096;
	at = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	OR_DIE(at != MAP_FAILED);
	OR_DIE(addresses = calloc(pages, sizeof(*addresses)));
	OR_DIE(nodes = calloc(pages, sizeof(*nodes)));
	for (uint64_t i = 0; i < pages; i++)
		addresses[i] = at + i * 4096;
	return serve(run);
}
