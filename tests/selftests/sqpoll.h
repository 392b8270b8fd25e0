/* SPDX-License-Identifier: GPL-2.0 */
/* Channels whose entries a thread takes (SQPOLL), that thread, and entries for it. */
#ifndef DMAPLANE_TEST_SQPOLL_H
#define DMAPLANE_TEST_SQPOLL_H

#include "ring.h"

#include <ctype.h>
#include <dirent.h>

#include "harness.h"

#define LONG_IDLE	DMAPLANE_SQ_IDLE_MAX	/* it does not sleep */
#define SHORT_IDLE	1			/* it soon does */
#define SOME_IDLE	20

/* Without a file; the thread looks for entries for @idle_ms before it sleeps. */
static inline int open_polled(int fd, uint32_t sq_entries, uint32_t cq_entries, uint32_t idle_ms,
			      struct channel *c)
{
	struct dmaplane_channel_create arg =
		ARG(channel_create, .flags = DMAPLANE_CHANNEL_SQPOLL, .sq_entries = sq_entries,
		    .cq_entries = cq_entries, .sq_idle_ms = idle_ms);

	return dmaplane_channel_make(fd, &arg, 0, c);
}

/* The first number of a task whose name is @name, or 0. */
static inline int find_task(const char *name)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int found = 0;

	while (!found && proc && (entry = readdir(proc))) {
		char path[sizeof(entry->d_name) + 16], line[64] = "";
		FILE *file;

		if (!isdigit(entry->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		file = fopen(path, "re");
		if (!file)
			continue;
		if (fgets(line, sizeof(line), file) && !strcmp(strtok(line, "\n") ?: "", name))
			found = atoi(entry->d_name);
		fclose(file);
	}
	if (proc)
		closedir(proc);
	return found;
}

/* The thread of a channel that @pid made, or 0. */
static inline int thread_of(pid_t pid)
{
	char name[32];

	snprintf(name, sizeof(name), "dmaplane-sq-%d", pid);
	return find_task(name);
}

/* What has ended may be seen for a moment longer. */
static inline bool no_thread_of(pid_t pid)
{
	return WAIT_FOR(!thread_of(pid));
}

static inline uint32_t flags(struct channel *c)
{
	return dmaplane_channel_flags(c);
}

static inline bool is_idle(int task)
{
	char path[64], stat[256] = "", *state;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", task);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (!fgets(stat, sizeof(stat), file))
		stat[0] = 0;
	fclose(file);
	state = strrchr(stat, ')');
	return state && !strncmp(state, ") I", 3);
}

/* It says so first, and looks once more. */
static inline bool sleeps(struct channel *c)
{
	return WAIT_FOR(flags(c) & DMAPLANE_RING_NEED_WAKEUP) &&
	       WAIT_FOR(is_idle(thread_of(getpid())));
}

/* An instrumented kernel does everything for longer, and finds more. */
static inline int times(int count)
{
	return instrumented() ? (count + 4) / 5 : count;
}

/* What a program does that has pushed something. */
static inline int wake_if_needed(struct channel *c)
{
	if (!dmaplane_sq_needs_wakeup(c))
		return 0;
	return dmaplane_enter(c, 0, 0, DMAPLANE_ENTER_SQ_WAKEUP, 0);
}

/* An entry may be complete a moment before its place is free. */
static inline int push_nops(struct channel *c, uint64_t first, int count)
{
	int ret = 0;

	for (int i = 0; !ret && i < count; i++) {
		if (!WAIT_FOR(dmaplane_channel_room(c)))
			return -EAGAIN;
		ret = channel_push_nop(c, first + i);
	}
	return ret;
}

/* Takes what is there, if it is the completions of NOPs from @first on: how many, or -EPROTO. */
static inline int take_nops(struct channel *c, uint64_t first)
{
	struct dmaplane_cqe cqe;
	int count = 0;

	while (channel_reap(c, &cqe))
		if (cqe.res || cqe.user_data != first + count++)
			return -EPROTO;
	return count;
}

FIXTURE(sqpoll) {
	int fd;
};

FIXTURE_SETUP(sqpoll)
{
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
}

static inline void expect_nothing_left(struct __test_metadata *_metadata, int fd)
{
	if (fd >= 0)
		EXPECT_EQ(0, close(fd));
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("channels"));
	EXPECT_EQ(0, live("buffers"));
	EXPECT_TRUE(no_thread_of(getpid()));
}

FIXTURE_TEARDOWN(sqpoll)
{
	expect_nothing_left(_metadata, self->fd);
}

#endif /* DMAPLANE_TEST_SQPOLL_H */
