// SPDX-License-Identifier: GPL-2.0
/*
 * usage: runs KIND BYTES
 *
 * A dma-buf of BYTES of memory, both made anew, and of how many pieces that follow each other in the machine's
 * memory it is: what a device without address translation has to be told, one by one. It is told of the
 * mapping of a buffer or a memfd, as the kernel keeps to itself where the pages of a udmabuf's are.
 */
#define _GNU_SOURCE
#include "memory.h"

#define PRESENT	(1ULL << 63)
#define FRAME	((1ULL << 55) - 1)

static const char *kind;
static uint64_t bytes;

static uint64_t runs_of(volatile char *at)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t frames[512], runs = 0, next = 0;

	OR_DIE(pagemap >= 0);
	for (uint64_t i = 0; i < bytes / 4096; i += 512) {
		OR_DIE(pread(pagemap, frames, sizeof(frames), ((uintptr_t)at / 4096 + i) * 8) ==
		       sizeof(frames));
		for (int j = 0; j < 512; j++) {
			OR_DIE(frames[j] & PRESENT && frames[j] & FRAME);
			runs += (frames[j] & FRAME) != next;
			next = (frames[j] & FRAME) + 1;
		}
	}
	close(pagemap);
	return runs;
}

static struct block run(bool verify)
{
	struct block b = { 1, bytes, 0 };
	uint64_t begin = now_ns();
	struct memory m = memory_new(kind, bytes);
	int dmabuf = memory_export(&m);
	volatile char *at = memory_map(&m);

	(void)verify;
	memory_touch(&m, at);
	b.ns = now_ns() - begin;
	snprintf(more, sizeof(more), ",\"runs\":%llu", (unsigned long long)runs_of(at));
	memory_unmap(&m, at);
	close(dmabuf);
	memory_end(&m);
	return b;
}

int main(int argc, char **argv)
{
	OR_DIE(argc == 3);
	kind = argv[1];
	bytes = number(argv[2]);
	OR_DIE(bytes % (512 * 4096) == 0);
	return serve(run);
}
