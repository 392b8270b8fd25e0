/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What touching memory costs, and what it leads to.
 */
#ifndef DMAPLANE_TEST_TOUCH_H
#define DMAPLANE_TEST_TOUCH_H

#include "dmaplane_test.h"

/* What a child that touches this address dies of; 0: it lives. */
struct touch {
	volatile uint8_t *at;
	bool write;
};

static inline int touch(void *arg)
{
	struct touch *t = arg;
	uint8_t value = *t->at;

	if (t->write)
		*t->at = value;
	return 0;
}

static inline int dies_of(volatile uint8_t *at, bool write)
{
	struct touch t = { at, write };
	int status;

	fflush(NULL);
	status = in_child(touch, &t);
	return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

static inline long minor_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

static inline void touch_all(volatile uint8_t *at, uint64_t length)
{
	for (uint64_t i = 0; i < length; i += 4096)
		at[i]++;
}

#endif /* DMAPLANE_TEST_TOUCH_H */
