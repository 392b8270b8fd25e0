// SPDX-License-Identifier: GPL-2.0
/*
 * What takes long is done by a worker on the NUMA node of the memory that is written to,
 * whatever CPU asks for it: by what the kernel's own tracepoint says of the queue. For a
 * machine where two nodes have CPUs.
 */
#include "ring.h"

#include <sched.h>
#include <sys/mount.h>

#include "harness.h"

/* More than what is done at once; an instrumented kernel leaves little room on the first node. */
#define LENGTH	(256ULL << 10)
#define TRACING	"/sys/kernel/tracing"
#define OURS	TRACING "/instances/dmaplane"
#define QUEUED	OURS "/events/workqueue/workqueue_queue_work"

struct place {
	int node, cpu;		/* one of its CPUs */
};

FIXTURE(numa_worker) {
	int fd;
	struct channel c;
	struct place places[2];
	struct buffer buffers[2];	/* on these */
};

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	close(fd);
	return done;
}

/* The first CPU of a node, or -1. */
static int first_cpu(int node)
{
	char path[64];
	FILE *file;
	int cpu;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpulist", node);
	file = fopen(path, "re");
	if (!file)
		return -1;
	if (fscanf(file, "%d", &cpu) != 1)
		cpu = -1;
	fclose(file);
	return cpu;
}

static bool run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

FIXTURE_SETUP(numa_worker)
{
	unsigned int found = 0;

	for (int node = 0; node < (int)MAX_NODES && found < 2; node++) {
		int cpu = first_cpu(node);

		if (cpu >= 0)
			self->places[found++] = (struct place){ node, cpu };
	}
	if (found < 2)
		SKIP(return, "one NUMA node with CPUs only");
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, channel_open(self->fd, 8, 8, &self->c));
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, buf_create_at(self->fd, LENGTH, self->places[i].node,
					   DMAPLANE_BUF_NODE_STRICT, &self->buffers[i]));
	if (mount("tracefs", TRACING, "tracefs", 0, NULL))
		ASSERT_EQ(EBUSY, errno);
	/* One that was killed may have left it. */
	rmdir(OURS);
	ASSERT_EQ(0, mkdir(OURS, 0700));
	ASSERT_TRUE(put(QUEUED "/filter", "workqueue == \"dmaplane\""));
	ASSERT_TRUE(put(QUEUED "/enable", "1"));
}

FIXTURE_TEARDOWN(numa_worker)
{
	EXPECT_EQ(0, rmdir(OURS));
	EXPECT_EQ(0, channel_close(&self->c));
	close(self->fd);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
}

/* Whether a CPU is on a node. */
static bool is_on(int cpu, int node)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpu%d", node, cpu);
	return !access(path, F_OK);
}

/* How often the worker was queued since the last time, and of these for a CPU of @node. */
static unsigned int queued(int node, unsigned int *there)
{
	unsigned int count = 0;
	char line[512], *at;
	FILE *file = fopen(OURS "/trace", "re");

	*there = 0;
	while (file && fgets(line, sizeof(line), file)) {
		at = strstr(line, " req_cpu=");
		if (!at)
			continue;
		count++;
		*there += is_on(atoi(at + strlen(" req_cpu=")), node);
	}
	if (file)
		fclose(file);
	put(OURS "/trace", "");
	return count;
}

static void check(struct __test_metadata *_metadata, FIXTURE_DATA(numa_worker) *self,
		  struct dmaplane_sqe sqe, int res, int asker, int node)
{
	struct dmaplane_cqe cqe;
	unsigned int count, there;

	ASSERT_TRUE(run_on(self->places[asker].cpu));
	ASSERT_EQ(0, channel_do(&self->c, &sqe, &cqe));
	EXPECT_LE(res, cqe.res);
	count = queued(self->places[node].node, &there);
	EXPECT_LT(0, count);
	EXPECT_EQ(count, there) {
		TH_LOG("opcode %d, asked for on node %d, queued %u times, %u on node %d",
		       sqe.opcode, self->places[asker].node, count, there,
		       self->places[node].node);
	}
}

TEST_F(numa_worker, where_it_is_written)
{
	struct dmaplane_sqe sqe;
	uint32_t of[2] = { self->buffers[0].handle, self->buffers[1].handle };

	for (int asker = 0; asker < 2; asker++) {
		for (int to = 0; to < 2; to++) {
			dmaplane_prep_fill(&sqe, of[to], 0, LENGTH, 7);
			check(_metadata, self, sqe, LENGTH, asker, to);
			dmaplane_prep_copy(&sqe, of[!to], 0, of[to], 0, LENGTH);
			check(_metadata, self, sqe, LENGTH, asker, to);
		}
		for (int to = 1; to >= 0; to--) {
			/* The first one is on the first node, or where there was room. */
			dmaplane_prep_migrate(&sqe, of[0], self->places[to].node, 0);
			check(_metadata, self, sqe, 0, asker, to);
		}
	}
}

TEST_HARNESS_MAIN
