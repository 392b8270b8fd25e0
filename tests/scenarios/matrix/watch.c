// SPDX-License-Identifier: GPL-2.0
/*
 * What must be true after an end: no process left, no object left; and the module's
 * comings and goings. What takes too long is shown with its stack.
 */
#include "matrix.h"

#include <dirent.h>
#include <sys/prctl.h>
#include <sys/utsname.h>

/* An instrumented kernel is slow. */
bool is_slow(void)
{
	static int slow = -1;

	if (slow < 0)
		slow = !access("/sys/kernel/debug/kmemleak", F_OK);
	return slow;
}

/* Whatever must end in bounded time has this much of it. */
uint64_t limit_ns(void)
{
	return (is_slow() ? 80 : 20) * SEC;
}

#define WITHIN_LIMIT(condition, pause_ms) ({				\
	uint64_t __give_up = now_ns() + limit_ns();			\
	bool __holds;							\
									\
	while (!(__holds = (condition)) && now_ns() < __give_up)	\
		sleep_ms(pause_ms);					\
	__holds;							\
})

/* ---- Objects ------------------------------------------------------------ */

/* Calls @each for every kind; false if the module is not there. */
static bool each_count(void (*each)(const char *name, long count, void *arg), void *arg)
{
	char text[1024], name[64];
	int fd = open(OBJECTS, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	char *line = text;
	long count;

	if (fd >= 0)
		close(fd);
	if (length <= 0)
		return false;
	text[length] = 0;
	while (line && sscanf(line, "%63s %ld", name, &count) == 2) {
		each(name, count, arg);
		line = strchr(line, '\n');
		line = line && line[1] ? line + 1 : NULL;
	}
	return true;
}

static void add_up(const char *name, long count, void *arg)
{
	if (strcmp(name, "fabrics"))
		*(long *)arg |= count;
}

static bool all_zero(void)
{
	long sum = 0;

	return each_count(add_up, &sum) && !sum;
}

bool nothing_lives(void)
{
	return WITHIN_LIMIT(all_zero(), 1);
}

static void show_count(const char *name, long count, void *arg)
{
	(void)arg;
	if (count)
		printf("# left: %s %ld\n", name, count);
}

void show_lives(void)
{
	each_count(show_count, NULL);
}

/* ---- Processes ---------------------------------------------------------- */

static void show_file(const char *what, pid_t pid, pid_t task, const char *name)
{
	char path[96], text[4096];
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", pid, task, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (length <= 0)
		return;
	text[length] = 0;
	for (char *save, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		printf("# %s %d: %s\n", what, task, line);
}

/* What all threads of a process are doing in the kernel. */
void show_process(pid_t pid)
{
	char path[64];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		pid_t task = atoi(entry->d_name);

		if (task) {
			show_file("state", pid, task, "stat");
			show_file("stack", pid, task, "stack");
		}
	}
	if (dir)
		closedir(dir);
	fflush(stdout);
}

static bool is_child(pid_t pid, int *status, int flags, pid_t *got)
{
	*got = waitpid(pid, status, flags);
	return *got;
}

int reap(pid_t pid)
{
	int status = -1;
	pid_t got;

	if (WITHIN_LIMIT(is_child(pid, &status, WNOHANG, &got), 1) && got > 0)
		return status;
	printf("# process %d does not end\n", pid);
	show_process(pid);
	return -1;
}

/* Whoever is left, grandchildren too: this process is their reaper. */
bool reap_all(void)
{
	pid_t pid = -1;

	while (WITHIN_LIMIT(is_child(-1, NULL, WNOHANG, &pid), 1) && pid > 0)
		;
	return pid < 0 && errno == ECHILD;
}

/* ---- The module --------------------------------------------------------- */

/* As rmmod(8) does: 0 or -errno. */
int module_unload(void)
{
	int ret;

	watch_begin("unloading the module");
	ret = syscall(SYS_delete_module, "dmaplane", O_NONBLOCK) ? -errno : 0;
	watch_end();
	return ret;
}

int module_load(void)
{
	struct utsname name;
	char path[256];
	int fd, ret;

	uname(&name);
	snprintf(path, sizeof(path), "/lib/modules/%s/updates/dmaplane.ko", name.release);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	watch_begin("loading the module");
	ret = syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
	watch_end();
	close(fd);
	return ret;
}

/* ---- The watch ---------------------------------------------------------- */

static _Atomic uint64_t watch_until;
static const char *_Atomic watch_what;
static pid_t watched;

/* Something is about to happen that cannot be interrupted. */
void watch_begin(const char *what)
{
	watch_what = what;
	watch_until = now_ns() + limit_ns();
}

void watch_end(void)
{
	watch_until = 0;
}

static void *watch(void *arg)
{
	(void)arg;
	for (;;) {
		uint64_t until = watch_until;

		sleep_ms(500);
		if (!until || until != watch_until || now_ns() < until)
			continue;
		printf("# hangs: %s\n", watch_what);
		show_process(watched);
		printf("Bail out! %s does not end\n", watch_what);
		fflush(stdout);
		_exit(3);
	}
	return NULL;
}

void watch_start(void)
{
	pthread_t thread;

	watched = getpid();
	pthread_create(&thread, NULL, watch, NULL);
}
