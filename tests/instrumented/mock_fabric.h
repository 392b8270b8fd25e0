/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The mock fabric's file in debugfs: what it is told, and what it says it did.
 */
#ifndef DMAPLANE_TEST_MOCK_FABRIC_H
#define DMAPLANE_TEST_MOCK_FABRIC_H

#include "pair.h"

#include <inttypes.h>
#include <stdarg.h>

#define MOCK		"/sys/kernel/debug/dmaplane/mock"

static inline int mock(const char *format, ...)
{
	char text[64];
	va_list args;
	int fd, length, ret = 0;

	va_start(args, format);
	length = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fd = open(MOCK, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, length) != length)
		ret = -errno;
	close(fd);
	return ret;
}

static inline uint64_t mock_value(const char *name)
{
	char line[64], word[32];
	uint64_t value, found = UINT64_MAX;
	FILE *file = fopen(MOCK, "re");

	if (!file)
		return found;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%31s %" SCNu64, word, &value) == 2 && !strcmp(word, name))
			found = value;
	fclose(file);
	return found;
}

#endif /* DMAPLANE_TEST_MOCK_FABRIC_H */
