// SPDX-License-Identifier: GPL-2.0
/*
 * usage: unmapped KIND BYTES
 *
 * The end of a mapping of BYTES that was written to, while another thread works on another
 * processor: how often that was interrupted to flush its TLB.
 */
#define _GNU_SOURCE
#include "memory.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

static struct memory memory;
static volatile bool working, stop;
static sem_t begun, ended;

static void stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	OR_DIE(!sched_setaffinity(0, sizeof(set), &set));
}

static void *work(void *unused)
{
	(void)unused;
	stay_on(1);
	for (;;) {
		sem_wait(&begun);
		working = true;
		while (!stop)
			__builtin_ia32_pause();
		working = false;
		sem_post(&ended);
	}
	return NULL;
}

/* Of all processors, so far. */
static uint64_t shootdowns(void)
{
	FILE *table = fopen("/proc/interrupts", "r");
	char line[1024], *at, *end;
	uint64_t sum = 0;

	OR_DIE(table);
	while (fgets(line, sizeof(line), table)) {
		at = strstr(line, "TLB:");
		if (!at)
			continue;
		for (at += 4;; at = end) {
			uint64_t count = strtoull(at, &end, 10);

			if (end == at)
				break;
			sum += count;
		}
		fclose(table);
		return sum;
	}
	OR_DIE(!"no line of /proc/interrupts says TLB");
	return 0;
}

static struct block run(bool verify)
{
	struct block b = { 1, memory.bytes, 0 };
	volatile char *at = memory_map(&memory);
	uint64_t before, begin;

	(void)verify;
	memory_touch(&memory, at);
	stop = false;
	sem_post(&begun);
	while (!working)
		usleep(1000);
	before = shootdowns();
	begin = now_ns();
	memory_unmap(&memory, at);
	b.ns = now_ns() - begin;
	snprintf(more, sizeof(more), ",\"flushes\":%llu",
		 (unsigned long long)(shootdowns() - before));
	stop = true;
	sem_wait(&ended);
	return b;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	OR_DIE(argc == 3);
	memory = memory_new(argv[1], number(argv[2]));
	stay_on(0);
	OR_DIE(!sem_init(&begun, 0, 0) && !sem_init(&ended, 0, 0));
	OR_DIE(!pthread_create(&thread, NULL, work, NULL));
	return serve(run);
}
