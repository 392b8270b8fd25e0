/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Faults on purpose: allocations, user copies, and calls of the RDMA core
 * (rust/helpers/fault.h) that fail.
 *
 * sweep() takes one call and lets its first fault happen, then its second, and so
 * on, until it passes without having met one. Each time the call must fail with an
 * errno that it may fail with, must have changed nothing, and succeed when it is
 * repeated; or it must have done what it should in spite of the fault.
 *
 * Only the call itself is touched: fail-nth is a task's own, and set just before.
 */
#ifndef DMAPLANE_TEST_FAULT_H
#define DMAPLANE_TEST_FAULT_H

#include "pair.h"

#include <dirent.h>

#define DEBUGFS		"/sys/kernel/debug/"
#define FAIL_NTH	"/proc/thread-self/fail-nth"

/* No call here meets as many; one that does never ends. */
#define MANY_FAULTS	1500

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

/* What the calls work with; each uses what it needs. */
struct world {
	struct pair p;
	uint32_t handle, lease;
	struct buffer buffer;
	struct memory from, to;
	struct channel ch;
	struct dmaplane_addr addr;
	void *at;
	int fd, other;
	/* Where a failure changes nothing; preparing says it, in each round. */
	int fds[3];		/* contexts */
	struct {
		int fd;
		uint32_t handle;
	} seen[3];		/* endpoints and listeners */
	bool faulted;		/* the call met a fault and succeeded */
	unsigned long serial;
};

enum outcome {
	REPEAT = 0,		/* as if it had never been called */
	OVER = 1,		/* undone; begin again with preparing */
	WRONG = -1,
};

/* One call. All but @step are done without faults, and return 0 for good. */
struct op {
	const char *name;
	int (*prepare)(struct world *w);
	int (*step)(struct world *w);		/* 0 or -errno */
	int (*verify)(struct world *w);		/* it did what it should */
	int (*undo)(struct world *w);
	/* What a failure means; without it, REPEAT. */
	enum outcome (*failed)(struct world *w, int error);
	int errors[8];				/* beside ENOMEM and EFAULT */
	bool infallible;			/* it may meet no fault */
};

/* What a call that failed must have left as it was. */
struct snapshot {
	char objects[256];	/* all that OBJECTS says */
	long files;		/* descriptors of this process */
	struct dmaplane_stats stats[3];
	int found[3];		/* or -errno, of these: */
	struct dmaplane_endpoint_query endpoints[3];
};

static inline int count_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

static inline int take_snapshot(struct world *w, struct snapshot *s)
{
	int fd = open(OBJECTS, O_RDONLY | O_CLOEXEC);

	memset(s, 0, sizeof(*s));
	CHECK(fd >= 0);
	CHECK(read(fd, s->objects, sizeof(s->objects) - 1) > 0);
	close(fd);
	s->files = count_files();
	CHECK(s->files > 0);
	for (unsigned int i = 0; i < ARRAY_LEN(w->fds); i++)
		if (w->fds[i] > 0)
			CHECK_IS(0, get_stats(w->fds[i], &s->stats[i]));
	for (unsigned int i = 0; i < ARRAY_LEN(w->seen); i++)
		if (w->seen[i].fd > 0)
			s->found[i] = query(w->seen[i].fd, w->seen[i].handle, &s->endpoints[i]);
	return 0;
}

static inline bool unchanged(struct world *w, const struct snapshot *before)
{
	struct snapshot now;

	return !take_snapshot(w, &now) && !memcmp(&now, before, sizeof(now));
}

static inline void show_change(struct world *w, const struct snapshot *before)
{
	struct snapshot now;

	take_snapshot(w, &now);
	if (strcmp(now.objects, before->objects))
		COMMENT("live objects, before and now:\n%s%s", before->objects, now.objects);
	if (now.files != before->files)
		COMMENT("%ld open files, were %ld\n", now.files, before->files);
	for (unsigned int i = 0; i < ARRAY_LEN(w->fds); i++)
		if (memcmp(&now.stats[i], &before->stats[i], sizeof(now.stats[i])))
			COMMENT("STATS of context %u changed\n", i);
	for (unsigned int i = 0; i < ARRAY_LEN(w->seen); i++)
		if (now.found[i] != before->found[i] ||
		    memcmp(&now.endpoints[i], &before->endpoints[i], sizeof(now.endpoints[i])))
			COMMENT("endpoint %u: QUERY %d, state %u, were %d and %u, or a counter\n", i,
				now.found[i], now.endpoints[i].state, before->found[i],
				before->endpoints[i].state);
}

/* The step with its n-th fault; says whether it got that far. */
static inline int step_with_fault(const struct op *op, struct world *w, unsigned int n, bool *met)
{
	char text[16] = "";
	int fd = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	int length = snprintf(text, sizeof(text), "%u", n);
	int ret;

	if (fd < 0 || pwrite(fd, text, length, 0) != length)
		return -EDOM;
	ret = op->step(w);
	/* Reading is a user copy, and may meet the fault that the step did not. */
	memset(text, 0, sizeof(text));
	*met = pread(fd, text, sizeof(text) - 1, 0) > 0 && !atoi(text);
	while (pwrite(fd, "0", 1, 0) != 1 && errno == EFAULT)
		;
	close(fd);
	return ret;
}

static inline bool may_fail_with(const struct op *op, int error)
{
	bool may = error == -ENOMEM || error == -EFAULT;

	for (unsigned int i = 0; i < ARRAY_LEN(op->errors); i++)
		may |= op->errors[i] && error == -op->errors[i];
	return may;
}

static inline int finish(const struct op *op, struct world *w)
{
	if (op->verify)
		CHECK_IS(0, op->verify(w));
	if (op->undo)
		CHECK_IS(0, op->undo(w));
	return 0;
}

static inline int once(const struct op *op, struct world *w)
{
	if (op->prepare)
		CHECK_IS(0, op->prepare(w));
	CHECK_IS(0, op->step(w));
	return finish(op, w);
}

/* What a failed call has to leave behind. */
static inline int after_failure(const struct op *op, struct world *w,
				const struct snapshot *before, int error)
{
	enum outcome outcome;

	CHECK(may_fail_with(op, error));
	outcome = op->failed ? op->failed(w, error) : REPEAT;
	CHECK(outcome != WRONG);
	if (outcome == OVER)
		return 0;
	if (!WAIT_FOR(unchanged(w, before))) {
		show_change(w, before);
		return -1;
	}
	CHECK_IS(0, op->step(w));
	return finish(op, w);
}

/* One round; sets @met. */
static inline int round_with_fault(const struct op *op, struct world *w, unsigned int n, bool *met,
				   int *error)
{
	struct snapshot before;

	w->faulted = false;
	memset(w->fds, 0, sizeof(w->fds));
	memset(w->seen, 0, sizeof(w->seen));
	if (op->prepare)
		CHECK_IS(0, op->prepare(w));
	CHECK_IS(0, take_snapshot(w, &before));
	*error = step_with_fault(op, w, n, met);
	if (*error) {
		CHECK(*met);
		return after_failure(op, w, &before, *error);
	}
	w->faulted = *met;
	return finish(op, w);
}

/* 0 if every fault of the call is as it should be. */
static inline int sweep(const struct op *op, struct world *w)
{
	unsigned int borne = 0, counts[134] = { 0 };
	uint64_t begin = now_ns();
	bool met = true;

	/* What the first call ever makes is there afterwards. */
	CHECK_IS(0, once(op, w));
	for (unsigned int n = 1; n <= MANY_FAULTS; n++) {
		int error = 0;
		int ret = round_with_fault(op, w, n, &met, &error);

		if (ret) {
			COMMENT("%s: fault %u, the call returned %d\n", op->name, n, error);
			return ret;
		}
		if (met) {
			borne += !error;
			counts[error ? -error % (int)ARRAY_LEN(counts) : 0] += !!error;
			continue;
		}
		COMMENT("%s: %u faults, %u without consequence", op->name, n - 1, borne);
		for (unsigned int i = 1; i < ARRAY_LEN(counts); i++)
			if (counts[i])
				fprintf(stderr, ", %u %s", counts[i], strerrorname_np(i));
		fprintf(stderr, " (%llu ms)\n", (now_ns() - begin) / MS);
		CHECK(n > 1 || op->infallible);
		return 0;
	}
	COMMENT("%s: there are always more faults\n", op->name);
	return -1;
}

#endif /* DMAPLANE_TEST_FAULT_H */
