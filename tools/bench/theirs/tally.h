/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a thread has of the kernel: calls and wake-ups; src/arm/tally.rs is the same for
 * our side.
 */
#ifndef DMAPLANE_BENCH_TALLY_H
#define DMAPLANE_BENCH_TALLY_H

#include "arm.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SYS_ENTER "/sys/kernel/tracing/events/raw_syscalls/sys_enter/"

/* How often the calling thread has slept, with one call; "/proc/thread-self/status" is @status. */
static inline uint64_t wakes(int status)
{
	static const char line[] = "\nvoluntary_ctxt_switches:";
	char text[8192];
	ssize_t length = pread(status, text, sizeof(text) - 1, 0);
	char *at;

	OR_DIE(length > 0);
	text[length] = 0;
	OR_DIE(at = strstr(text, line));
	return strtoull(at + strlen(line), NULL, 10);
}

static inline void calls_set(const char *remove, pid_t thread)
{
	FILE *trigger = fopen(SYS_ENTER "trigger", "w");

	OR_DIE(trigger);
	fprintf(trigger, "%shist:keys=id if common_pid==%d", remove, thread);
	OR_DIE(!fclose(trigger));
}

static inline void calls_begin(pid_t thread)
{
	calls_set("", thread);
}

/* How many there were, but for those of whoever measures. */
static inline uint64_t calls_end(pid_t thread)
{
	FILE *hist = fopen(SYS_ENTER "hist", "r");
	unsigned long long id, count;
	uint64_t calls = 0;
	char line[256];

	OR_DIE(hist);
	while (fgets(line, sizeof(line), hist))
		if (sscanf(line, "{ id: %llu } hitcount: %llu", &id, &count) == 2 &&
		    id != SYS_pread64 && id != SYS_futex)
			calls += count;
	fclose(hist);
	calls_set("!", thread);
	return calls;
}

#endif
