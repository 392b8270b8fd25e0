/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The measured side of a pair: sets itself up, says "ready", then carries out one
 * block for each line "go" and answers with a line of JSON. "verify" asks for the
 * same work with a look at the data. It ends with its input.
 */
#ifndef DMAPLANE_BENCH_ARM_H
#define DMAPLANE_BENCH_ARM_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Ends the program with what failed. */
#define OR_DIE(condition)							\
	do {									\
		if (!(condition)) {						\
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__,	\
				#condition, strerror(errno));			\
			exit(1);						\
		}								\
	} while (0)

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct block {
	uint64_t ops, bytes, ns;
};

/* What else a block says: more members. */
static char more[128];

/* Calls @run for each block. */
static inline int serve(struct block (*run)(bool verify))
{
	char line[16];

	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		struct block b = run(!strcmp(line, "verify\n"));

		printf("{\"ops\":%llu,\"bytes\":%llu,\"ns\":%llu%s}\n", (unsigned long long)b.ops,
		       (unsigned long long)b.bytes, (unsigned long long)b.ns, more);
		fflush(stdout);
	}
	return 0;
}

static inline uint64_t number(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 0);

	OR_DIE(*text && !*end);
	return value;
}

#endif
