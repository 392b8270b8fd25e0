/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Faults on purpose: allocations, user copies, and calls of the RDMA core
 * (rust/helpers/fault.h) that fail. How they are set, and checks that say what is
 * wrong. sweep.h takes the calls one by one.
 */
#ifndef DMAPLANE_TEST_FAULT_H
#define DMAPLANE_TEST_FAULT_H

#include "pair.h"

#define DEBUGFS		"/sys/kernel/debug/"
#define FAIL_NTH	"/proc/thread-self/fail-nth"

static const char *const fault_kinds[] = {
	"failslab", "fail_page_alloc", "fail_usercopy", "dmaplane/fail_verbs",
};

#define COMMENT(...) fprintf(stderr, "# " __VA_ARGS__)

/* In a function that returns 0 for good. */
#define CHECK(condition) do {							\
	if (!(condition)) {							\
		COMMENT("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);	\
		return -1;							\
	}									\
} while (0)

/* As CHECK(), with both numbers. */
#define CHECK_IS(wanted, is) do {						\
	long __wanted = (wanted), __is = (is);					\
										\
	if (__wanted != __is) {							\
		COMMENT("%s:%d: %s is %ld, not %ld\n", __FILE__, __LINE__, #is,	\
			__is, __wanted);					\
		return -1;							\
	}									\
} while (0)

static inline int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int ret = fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return ret;
}

/* One setting of one kind of fault. */
static inline int fault_set(const char *kind, const char *name, const char *value)
{
	char path[128];
	int ret;

	snprintf(path, sizeof(path), DEBUGFS "%s/%s", kind, name);
	ret = write_file(path, value);
	if (ret)
		COMMENT("%s: %s\n", path, strerror(-ret));
	return ret;
}

/* The stock kernel has none of this; on an instrumented one it must not be missing. */
static inline bool faults_possible(void)
{
	return !access(FAIL_NTH, F_OK) || instrumented();
}

/* No allocation fails under this function of the kernel. */
static inline int spare(const char *function)
{
	static const char *const kinds[] = { "failslab", "fail_page_alloc" };
	unsigned long at, from = 0, to = 0;
	char line[256], name[128], text[32];
	FILE *file = fopen("/proc/kallsyms", "re");
	int ret = 0;

	if (!file)
		return -errno;
	while (!to && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx %*c %127s", &at, name) != 2)
			continue;
		if (from && at > from)
			to = at;
		else if (!strcmp(name, function))
			from = at;
	}
	fclose(file);
	if (!to)
		return -ENOENT;
	for (unsigned int i = 0; i < ARRAY_LEN(kinds); i++) {
		snprintf(text, sizeof(text), "0x%lx", from);
		ret = ret ?: fault_set(kinds[i], "reject-start", text);
		snprintf(text, sizeof(text), "0x%lx", to);
		ret = ret ?: fault_set(kinds[i], "reject-end", text);
	}
	return ret;
}

/*
 * kmemleak allocates a record for each allocation, and has a pool for when it
 * cannot: these faults prove nothing, and would be half of all.
 */
#define KMEMLEAK_RECORDS "__alloc_object"

/*
 * Soft-RoCE: when there is no memory for the responder's resources on the way to
 * RTR (in ACCEPT), rxe_qp_from_attr() returns with the queue pair's receiving task
 * disabled, and nothing enables it again. The receives posted are never flushed, in
 * state ERR neither: ib_drain_qp() waits for ever, and whoever closes with it.
 */
#define RXE_LOSES_RECEIVES "rxe_qp_from_attr"

/* All kinds take part, silently, and none happens unless it is asked for. */
static inline int faults_ready(void)
{
	int ret = spare(KMEMLEAK_RECORDS);

	for (unsigned int i = 0; i < ARRAY_LEN(fault_kinds); i++) {
		ret = ret ?: fault_set(fault_kinds[i], "probability", "0");
		ret = ret ?: fault_set(fault_kinds[i], "verbose", "0");
		ret = ret ?: fault_set(fault_kinds[i], "task-filter", "N");
	}
	ret = ret ?: fault_set("failslab", "ignore-gfp-wait", "N");
	ret = ret ?: fault_set("failslab", "cache-filter", "N");
	ret = ret ?: fault_set("fail_page_alloc", "ignore-gfp-wait", "N");
	return ret ?: fault_set("fail_page_alloc", "min-order", "0");
}

/* What fails: one, or with that one everything after it but user copies. */
enum mode { ONE, FROM_THERE_ON, MODES };

/* What comes after it fails in tasks that have set their make-it-fail. */
static inline int fault_mode(enum mode mode)
{
	int ret = 0;

	for (unsigned int i = 0; i < ARRAY_LEN(fault_kinds); i++) {
		bool all = mode == FROM_THERE_ON && strcmp(fault_kinds[i], "fail_usercopy");

		/* In this order, or it would be everybody's for a moment. */
		ret = ret ?: fault_set(fault_kinds[i], "probability", "0");
		ret = ret ?: fault_set(fault_kinds[i], "task-filter", all ? "Y" : "N");
		ret = ret ?: fault_set(fault_kinds[i], "times", all ? "-1" : "1");
		if (all)
			ret = ret ?: fault_set(fault_kinds[i], "probability", "100");
	}
	return ret;
}

#endif /* DMAPLANE_TEST_FAULT_H */
