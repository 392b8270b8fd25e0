// SPDX-License-Identifier: GPL-2.0
/*
 * usage: sweep KIND BYTES
 *
 * A new mapping of BYTES of memory that is there, and the first time that all of it is read,
 * a word of each cache line.
 */
#define _GNU_SOURCE
#include "memory.h"

#include <sys/resource.h>

static struct memory memory;

static uint64_t faults(void)
{
	struct rusage usage;

	OR_DIE(!getrusage(RUSAGE_SELF, &usage));
	return usage.ru_minflt + usage.ru_majflt;
}

static struct block run(bool verify)
{
	struct block b = { 1, memory.bytes, 0 };
	uint64_t before = faults(), begin = now_ns(), sum = 0;
	volatile char *at = memory_map(&memory);

	for (uint64_t i = 0; i < memory.bytes; i += 64)
		sum += *(volatile uint64_t *)(at + i);
	b.ns = now_ns() - begin;
	snprintf(more, sizeof(more), ",\"faults\":%llu", (unsigned long long)(faults() - before));
	OR_DIE(!verify || sum == memory.bytes / 4096);
	memory_unmap(&memory, at);
	return b;
}

int main(int argc, char **argv)
{
	volatile char *at;

	OR_DIE(argc == 3);
	memory = memory_new(argv[1], number(argv[2]));
	at = memory_map(&memory);
	memory_touch(&memory, at);
	memory_unmap(&memory, at);
	return serve(run);
}
