/* SPDX-License-Identifier: GPL-2.0 */
/*
 * sweep() takes one call and lets its first fault happen, then its second, and so
 * on, until it passes without having met one; then, because who has another way to
 * get memory takes it, the same with everything failing from there on. Each time the
 * call must fail with an errno that it may fail with, must have changed nothing, and
 * succeed when it is repeated; or it must have done what it should in spite of it.
 *
 * Only the call itself is touched: fail-nth and make-it-fail are a task's own, and
 * set just before.
 */
#ifndef DMAPLANE_TEST_SWEEP_H
#define DMAPLANE_TEST_SWEEP_H

#include "fault.h"

#include <dirent.h>

#define MAKE_IT_FAIL	"/proc/thread-self/make-it-fail"

/* No call here meets as many; one that does never ends. */
#define MANY_FAULTS	1500

/* How many a call meets is not the same each time: so often none before it is over. */
#define UNTOUCHED	3

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
	unsigned int stride;			/* FROM_THERE_ON, where each takes long */
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
	int fd = open(FAIL_NTH, O_RDWR | O_CLOEXEC), fail = open(MAKE_IT_FAIL, O_WRONLY | O_CLOEXEC);
	int length = snprintf(text, sizeof(text), "%u", n);
	int ret;

	/* From the first on nothing fails before the n-th, and all after it. */
	if (pwrite(fail, "1", 1, 0) != 1 || pwrite(fd, text, length, 0) != length)
		return -EDOM;
	ret = op->step(w);
	/* Reading is a user copy, and may meet the fault that the step did not. */
	memset(text, 0, sizeof(text));
	*met = pread(fd, text, sizeof(text) - 1, 0) > 0 && !atoi(text);
	while (pwrite(fd, "0", 1, 0) != 1 && errno == EFAULT)
		;
	if (pwrite(fail, "0", 1, 0) != 1)
		ret = -EDOM;
	close(fail);
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

static inline int sweep_mode(const struct op *op, struct world *w, enum mode mode)
{
	unsigned int borne = 0, faults = 0, untouched = 0, counts[134] = { 0 };
	unsigned int stride = mode == ONE ? 1 : op->stride ?: 1;
	/* Another third of them each time. */
	unsigned int first = 1 + now_ns() / 1000 % stride;
	uint64_t begin = now_ns();
	bool met;

	for (unsigned int n = first; n <= MANY_FAULTS && untouched < UNTOUCHED; n += stride) {
		int error = 0;
		int ret = round_with_fault(op, w, n, &met, &error);

		if (ret) {
			COMMENT("%s: fault %u%s, the call returned %d\n", op->name, n,
				mode == ONE ? "" : " and all after it", error);
			return ret;
		}
		untouched = met ? 0 : untouched + 1;
		faults += met;
		borne += met && !error;
		counts[error ? -error % (int)ARRAY_LEN(counts) : 0] += !!error;
	}
	if (untouched < UNTOUCHED) {
		COMMENT("%s: there are always more faults\n", op->name);
		return -1;
	}
	COMMENT("%s%s: %u faults, %u without consequence", op->name,
		mode == ONE ? "" : ", all from one on", faults, borne);
	for (unsigned int i = 1; i < ARRAY_LEN(counts); i++)
		if (counts[i])
			fprintf(stderr, ", %u %s", counts[i], strerrorname_np(i));
	fprintf(stderr, " (%llu ms)\n", (now_ns() - begin) / MS);
	CHECK(faults || op->infallible);
	return 0;
}

/* 0 if every fault of the call is as it should be. */
static inline int sweep(const struct op *op, struct world *w)
{
	/* What the first call ever makes is there afterwards. */
	int ret = once(op, w);

	for (enum mode mode = ONE; mode < MODES && !ret; mode++)
		ret = fault_mode(mode) ?: sweep_mode(op, w, mode);
	return fault_mode(ONE) ?: ret;
}

/* ---- A context of its own for each round ------------------------------------ */

static inline int open_context(struct world *w)
{
	w->fd = open_device();
	CHECK(w->fd >= 0);
	w->fds[0] = w->fd;
	return 0;
}

static inline int close_context(struct world *w)
{
	CHECK_IS(0, close(w->fd));
	/* Whoever looks after all contexts may have this one in hand. */
	CHECK(WAIT_FOR(live("contexts") == 0));
	return 0;
}

#endif /* DMAPLANE_TEST_SWEEP_H */
