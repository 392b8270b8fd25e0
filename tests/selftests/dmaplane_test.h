/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the test programs share: opening the device, its commands as functions
 * that return 0 or -errno (CHANNEL_ENTER: a number), time, and the counters of live objects.
 *
 * A test never compares with an absolute time. A wait that must end has
 * PATIENCE, which only decides how soon a hang is reported; seconds of that name in
 * the environment are for those who expect one.
 */
#ifndef DMAPLANE_TEST_H
#define DMAPLANE_TEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <dmaplane.h>

#define DEVICE		"/dev/dmaplane"
#define OBJECTS		"/sys/kernel/debug/dmaplane/objects"

#define MS		1000000ULL
#define SEC		1000000000ULL
#define PATIENCE	patience()

/* An instrumented kernel takes its time. */
static inline bool instrumented(void)
{
	return !access("/sys/kernel/debug/kmemleak", F_OK);
}

static inline uint64_t patience(void)
{
	const char *wanted = getenv("PATIENCE");

	return (wanted ? strtoul(wanted, NULL, 0) : instrumented() ? 80 : 20) * SEC;
}

#define ARRAY_LEN(a)	(sizeof(a) / sizeof((a)[0]))

/* An argument struct that knows its size. */
#define ARG(type, ...) \
	((struct dmaplane_##type){ .size = sizeof(struct dmaplane_##type), ##__VA_ARGS__ })

static inline int open_device(void)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static inline int cmd(int fd, unsigned long request, void *arg)
{
	int ret = ioctl(fd, request, arg);

	return ret < 0 ? -errno : ret;
}

static inline int get_info(int fd, struct dmaplane_info *info)
{
	*info = ARG(info);
	return cmd(fd, DMAPLANE_IOC_INFO, info);
}

static inline int get_stats(int fd, struct dmaplane_stats *stats)
{
	*stats = ARG(stats);
	return cmd(fd, DMAPLANE_IOC_STATS, stats);
}

/* BUF_DESTROY, REGION_DEREGISTER, ENDPOINT_CLOSE, CHANNEL_CLOSE */
static inline int end(int fd, unsigned long request, uint32_t handle)
{
	struct dmaplane_handle arg = ARG(handle, .handle = handle);

	return cmd(fd, request, &arg);
}

static inline int buf_destroy(int fd, uint32_t handle)
{
	return end(fd, DMAPLANE_IOC_BUF_DESTROY, handle);
}

static inline int endpoint_close(int fd, uint32_t handle)
{
	return end(fd, DMAPLANE_IOC_ENDPOINT_CLOSE, handle);
}

struct buffer {
	uint32_t handle;
	uint64_t length;
	uint64_t offset;
};

static inline int buf_create_at(int fd, uint64_t length, int node, uint32_t flags,
				struct buffer *buffer)
{
	struct dmaplane_buf_create arg = ARG(buf_create, .length = length, .node = node,
					     .flags = flags);
	int ret = cmd(fd, DMAPLANE_IOC_BUF_CREATE, &arg);

	if (!ret)
		*buffer = (struct buffer){ arg.handle, length, arg.mmap_offset };
	return ret;
}

static inline int buf_create(int fd, uint64_t length, struct buffer *buffer)
{
	return buf_create_at(fd, length, DMAPLANE_NODE_ANY, 0, buffer);
}

/* The file offsets of large buffers do not fit into a 32-bit off_t. */
static inline void *map_at(int fd, uint64_t length, uint64_t offset)
{
	return mmap64(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
}

static inline void *buf_map(int fd, const struct buffer *buffer)
{
	return map_at(fd, buffer->length, buffer->offset);
}

#define MAX_NODES 64

static inline bool node_online(unsigned int node)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/meminfo", node);
	return !access(path, F_OK);
}

/* The last @count nodes, as the first has all that the kernel has: how many there are. */
static inline unsigned int last_nodes(unsigned int *nodes, unsigned int count)
{
	unsigned int found = 0;

	for (unsigned int node = MAX_NODES; node-- && found < count;)
		if (node_online(node))
			nodes[found++] = node;
	return found;
}

static inline int buf_query(int fd, uint32_t handle, struct dmaplane_buf_query *query,
			    uint64_t node_pages[MAX_NODES])
{
	*query = ARG(buf_query, .handle = handle, .nr_nodes = MAX_NODES,
		     .node_pages = (uintptr_t)node_pages);
	return cmd(fd, DMAPLANE_IOC_BUF_QUERY, query);
}

/* A dma-buf of a part of a buffer; 0: up to its end. */
static inline int buf_export(int fd, uint32_t handle, uint64_t offset, uint64_t length,
			     uint32_t flags)
{
	struct dmaplane_buf_export arg = ARG(buf_export, .handle = handle, .offset = offset,
					     .length = length, .flags = flags, .fd = -1);
	int ret = cmd(fd, DMAPLANE_IOC_BUF_EXPORT, &arg);

	return ret ? ret : arg.fd;
}

/* A descriptor by which a buffer can be opened, or -errno. */
static inline int buf_share(int fd, uint32_t handle, uint32_t rights)
{
	struct dmaplane_buf_share arg = ARG(buf_share, .handle = handle, .rights = rights, .fd = -1);
	int ret = cmd(fd, DMAPLANE_IOC_BUF_SHARE, &arg);

	return ret ? ret : arg.fd;
}

static inline int buf_open(int fd, int share, uint32_t rights, struct buffer *buffer)
{
	struct dmaplane_buf_open arg = ARG(buf_open, .fd = share, .rights = rights);
	int ret = cmd(fd, DMAPLANE_IOC_BUF_OPEN, &arg);

	if (!ret)
		*buffer = (struct buffer){ arg.handle, arg.length, arg.mmap_offset };
	return ret;
}

/* A buffer of another driver's dma-buf. */
static inline int buf_import(int fd, int dmabuf, uint32_t flags, uint32_t *handle)
{
	struct dmaplane_buf_import arg = ARG(buf_import, .fd = dmabuf, .flags = flags);
	int ret = cmd(fd, DMAPLANE_IOC_BUF_IMPORT, &arg);

	*handle = arg.handle;
	return ret;
}

/* Views of a region, or of a view: their handles are in @views. */
static inline int views_make(int fd, uint32_t region, struct dmaplane_view *views, uint32_t count)
{
	struct dmaplane_view_create arg = ARG(view_create, .region = region, .count = count,
					      .views = (uintptr_t)views);

	return cmd(fd, DMAPLANE_IOC_VIEW_CREATE, &arg);
}

static inline int views_end(int fd, const uint32_t *handles, uint32_t count)
{
	struct dmaplane_view_destroy arg = ARG(view_destroy, .count = count,
					       .handles = (uintptr_t)handles);

	return cmd(fd, DMAPLANE_IOC_VIEW_DESTROY, &arg);
}

/* One of them. */
static inline int view_make(int fd, uint32_t region, uint64_t offset, uint64_t length,
			    uint32_t access, uint32_t *handle)
{
	struct dmaplane_view view = { .offset = offset, .length = length, .access = access };
	int ret = views_make(fd, region, &view, 1);

	*handle = view.handle;
	return ret;
}

static inline int view_end(int fd, uint32_t handle)
{
	return views_end(fd, &handle, 1);
}

/* Memory of a dma-buf goes to the processor and back. */
static inline int sync_cpu(int dmabuf, uint64_t flags)
{
	struct dma_buf_sync sync = { .flags = flags };

	return ioctl(dmabuf, DMA_BUF_IOCTL_SYNC, &sync) ? -errno : 0;
}

/* Of how many blocks of DMAPLANE_HUGE_SIZE a buffer consists, or -errno. */
static inline int64_t huge_blocks(int fd, uint32_t handle)
{
	uint64_t nodes[MAX_NODES];
	struct dmaplane_buf_query query;
	int ret = buf_query(fd, handle, &query, nodes);

	return ret ? ret : (int64_t)query.blocks[DMAPLANE_BLOCK_ORDERS - 1];
}

/* What smaps says under @name of the mapping at @at, in bytes, or -1. */
static inline int64_t smaps(const void *at, const char *name)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	unsigned long from, to, kb;
	int64_t found = -1;
	bool here = false;
	char line[256];

	while (file && found < 0 && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = (uintptr_t)at >= from && (uintptr_t)at < to;
		else if (here && !strncmp(line, name, strlen(name)) &&
			 sscanf(line + strlen(name), ": %lu kB", &kb) == 1)
			found = kb << 10;
	}
	if (file)
		fclose(file);
	return found;
}

/* Bytes there that entries of DMAPLANE_HUGE_SIZE show: of a file's, and of other memory. */
static inline int64_t mapped_huge(const void *at)
{
	return smaps(at, "FilePmdMapped");
}

static inline int64_t anonymous_huge(const void *at)
{
	return smaps(at, "AnonHugePages");
}

/* Whether the kernel may make such entries. */
static inline bool huge_pages(void)
{
	char line[64] = "";
	FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");

	if (file && !fgets(line, sizeof(line), file))
		line[0] = 0;
	if (file)
		fclose(file);
	return line[0] && !strstr(line, "[never]");
}

/* What fdinfo says under that name of an open device, or -1. */
static inline int64_t fdinfo(int fd, const char *name)
{
	char path[64], line[128], word[64];
	long long value;
	int64_t found = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "dmaplane-%63[^:]:\t%lld", word, &value) == 2 && !strcmp(word, name))
			found = value;
	if (file)
		fclose(file);
	return found;
}

/* The node that the kernel says a page is on, once it is touched, or -errno. */
static inline int node_of_page(const uint8_t *at)
{
	void *address = (void *)at;
	int status = -1;

	(void)*(const volatile uint8_t *)at;
	return syscall(SYS_move_pages, 0, 1UL, &address, NULL, &status, 0) ? -errno : status;
}

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * SEC + ts.tv_nsec;
}

static inline void sleep_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };

	nanosleep(&ts, NULL);
}

/* Tries a condition again and again until it holds or PATIENCE is over. */
#define WAIT_FOR(condition) ({						\
	uint64_t __give_up = now_ns() + PATIENCE;			\
	bool __holds;							\
									\
	while (!(__holds = (condition)) && now_ns() < __give_up)	\
		sleep_ms(2);						\
	__holds;							\
})

/*
 * The module's count of live objects of one kind, all contexts together; -1 if
 * it has none of that name.
 */
static inline long live(const char *name)
{
	char line[128], word[64];
	long count, found = -1;
	FILE *file = fopen(OBJECTS, "re");

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%63s %ld", word, &count) == 2 && !strcmp(word, name))
			found = count;
	fclose(file);
	return found;
}

/* Contents that say where they belong. */
static inline uint8_t pattern(uint64_t seed, uint64_t i)
{
	return (uint8_t)((seed * 0x9e3779b1u + (i >> 3) * 0x85ebca6bu) >> (8 * (i & 3))) + i;
}

static inline void fill(uint8_t *at, uint64_t length, uint64_t seed)
{
	for (uint64_t i = 0; i < length; i++)
		at[i] = pattern(seed, i);
}

/* The first byte that is not as fill() wrote it, or @length. */
static inline uint64_t first_wrong(const uint8_t *at, uint64_t length, uint64_t seed)
{
	uint64_t i = 0;

	while (i < length && at[i] == pattern(seed, i))
		i++;
	return i;
}

/* The first byte that is not @value, or @length. */
static inline uint64_t first_not(const uint8_t *at, uint64_t length, uint8_t value)
{
	if (!length || (at[0] == value && !memcmp(at, at + 1, length - 1)))
		return length;
	for (uint64_t i = 0; i < length; i++)
		if (at[i] != value)
			return i;
	return length;
}

/* Runs @function in a child; returns its wait status, or -1. */
static inline int in_child(int (*function)(void *), void *arg)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(function(arg));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return status;
}

static inline void on_alarm(int signal)
{
	(void)signal;
}

/* Sends this process SIGALRM, which is caught, in @ms and every @ms after. */
static inline void alarm_every(unsigned int ms, int flags)
{
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = flags };
	struct itimerval timer = {
		.it_value = { ms / 1000, ms % 1000 * 1000 },
		.it_interval = { ms / 1000, ms % 1000 * 1000 },
	};

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

static inline void alarm_stop(void)
{
	struct itimerval timer = { 0 };

	setitimer(ITIMER_REAL, &timer, NULL);
}

/* Bytes of memory that a node has. */
static inline uint64_t memory_of(unsigned int node)
{
	unsigned long kb = 0;
	char path[64], line[128];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/meminfo", node);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "Node %*u MemTotal: %lu kB", &kb) == 1)
			break;
	if (file)
		fclose(file);
	return kb * 1024;
}

#endif /* DMAPLANE_TEST_H */
