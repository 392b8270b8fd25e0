// SPDX-License-Identifier: GPL-2.0
/*
 * usage: fragment SECONDS
 *
 * Uses the machine's memory for so long, page by page: those of a program that come and go at random
 * places, and those of pipes, which the kernel cannot move. First that is all of it, then a third of the
 * program's and half of the pipes' are given back. Then it says "ready", and keeps what it has until its
 * input ends.
 */
#define _GNU_SOURCE
#include "arm.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PIPES	256
#define PAGES	256	/* of each */
/* Pages: for those, and what the kernel keeps free, by min_free_kbytes. */
#define SPARE	(PIPES * PAGES + (80 << 8))

static char page[4096];
static int pipes[PIPES][2];
static unsigned int filled[PIPES];
static uint64_t piped;

static uint64_t chance(void)
{
	static uint64_t x = 88172645463325252;

	x ^= x << 13;
	x ^= x >> 7;
	return x ^= x << 17;
}

static uint64_t free_pages(void)
{
	FILE *file = fopen("/proc/meminfo", "r");
	unsigned long long kib = 0;
	char line[128];

	OR_DIE(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "MemFree: %llu kB", &kib) == 1)
			break;
	fclose(file);
	OR_DIE(kib);
	return kib / 4;
}

static void to_pipe(unsigned int i)
{
	if (filled[i] == PAGES)
		return;
	OR_DIE(write(pipes[i][1], page, sizeof(page)) == sizeof(page));
	filled[i]++;
	piped++;
}

static void from_pipe(unsigned int i)
{
	if (!filled[i])
		return;
	OR_DIE(read(pipes[i][0], page, sizeof(page)) == sizeof(page));
	filled[i]--;
	piped--;
}

int main(int argc, char **argv)
{
	uint64_t end, all = free_pages() - SPARE, used = 0, most = all * 2 / 3;
	volatile char *at;
	uint8_t *has;

	OR_DIE(argc == 2);
	end = now_ns() + number(argv[1]) * 1000000000;
	OR_DIE(has = calloc(all, 1));
	at = mmap(NULL, all * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		  -1, 0);
	OR_DIE(at != MAP_FAILED);
	OR_DIE(!madvise((void *)at, all * 4096, MADV_NOHUGEPAGE));
	for (int i = 0; i < PIPES; i++) {
		OR_DIE(!pipe2(pipes[i], O_CLOEXEC));
		OR_DIE(fcntl(pipes[i][1], F_SETPIPE_SZ, PAGES * 4096) >= PAGES * 4096);
	}
	/* All of it first, so that what comes later comes out of what was used. */
	for (uint64_t i = 0; i < all; i++, used++) {
		at[i * 4096] = has[i] = 1;
		while (piped * all < i * PIPES * PAGES)
			to_pipe(piped % PIPES);
	}
	while (used > most || piped > PIPES * PAGES / 2 || now_ns() < end) {
		for (int i = 0; i < 16; i++) {
			uint64_t one = chance() % all;

			if (has[one]) {
				OR_DIE(!madvise((void *)(at + one * 4096), 4096, MADV_DONTNEED));
				has[one] = 0;
				used--;
			} else if (used < most) {
				at[one * 4096] = has[one] = 1;
				used++;
			}
		}
		/* Of a pipe the kernel keeps some pages in hand. */
		for (int i = 0; i < 8; i++) {
			from_pipe(chance() % PIPES);
			if (piped < PIPES * PAGES / 2)
				to_pipe(chance() % PIPES);
		}
	}
	puts("ready");
	fflush(stdout);
	while (read(0, page, sizeof(page)) > 0)
		;
	return 0;
}
