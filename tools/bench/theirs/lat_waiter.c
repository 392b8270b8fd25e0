// SPDX-License-Identifier: GPL-2.0
/*
 * usage: lat_waiter ADDRESS SECONDS
 *
 * perftest's ib_write_lat, waiting for the next message of its peer, which is stopped. So
 * is this one between blocks.
 */
#define _GNU_SOURCE
#include "arm.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t seconds;
static pid_t server;
static clockid_t clock_of_server;

static uint64_t own_ns(void)
{
	struct timespec t;

	OR_DIE(!clock_gettime(clock_of_server, &t));
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static pid_t start(char *address)
{
	char *argv[] = { "ib_write_lat", "-d", "rxe0", "-x", "1", "-F", "-s", "64",
			 "-n", "1000000", address, NULL };
	pid_t pid = fork();

	OR_DIE(pid >= 0);
	if (!pid) {
		int null = open("/dev/null", O_RDWR);

		OR_DIE(!prctl(PR_SET_PDEATHSIG, SIGKILL));
		OR_DIE(null >= 0 && dup2(null, 0) == 0 && dup2(null, 1) == 1);
		OR_DIE(!execvp(argv[0], argv));
	}
	return pid;
}

/* Whether somebody listens on a TCP port; connecting would be noticed. */
static bool listens(unsigned int port)
{
	static const char *const tables[] = { "/proc/net/tcp", "/proc/net/tcp6" };
	unsigned int local, state;
	bool found = false;
	char line[256];

	for (int i = 0; i < 2; i++) {
		FILE *table = fopen(tables[i], "r");

		while (table && fgets(line, sizeof(line), table))
			if (sscanf(line, "%*s %*[^:]:%x %*s %x", &local, &state) == 2)
				found |= local == port && state == 0x0a;
		if (table)
			fclose(table);
	}
	return found;
}

/* Waits until it takes more than @part tenths of a processor, for half a second. */
static void until_it_spins(uint64_t part)
{
	const struct timespec moment = { .tv_nsec = 100000000 };
	int tries = 0, in_a_row = 0;

	while (in_a_row < 5) {
		uint64_t before = own_ns(), begin = now_ns();

		OR_DIE(++tries < 100);
		nanosleep(&moment, NULL);
		in_a_row = (own_ns() - before) * 10 > (now_ns() - begin) * part ? in_a_row + 1 : 0;
	}
}

static struct block run(bool verify)
{
	const struct timespec time = { .tv_sec = seconds };
	uint64_t begin = now_ns(), before = own_ns();
	struct block b = { 1, 0, 0 };

	(void)verify;
	OR_DIE(!kill(server, SIGCONT));
	nanosleep(&time, NULL);
	OR_DIE(!kill(server, SIGSTOP));
	b.ns = now_ns() - begin;
	snprintf(more, sizeof(more), ",\"own_ns\":%llu", (unsigned long long)(own_ns() - before));
	return b;
}

int main(int argc, char **argv)
{
	const struct timespec moment = { .tv_nsec = 5000000 };
	pid_t client;
	int tries = 0;

	OR_DIE(argc == 3);
	seconds = number(argv[2]);
	server = start(NULL);
	OR_DIE(!clock_getcpuclockid(server, &clock_of_server));
	while (!listens(18515)) {
		OR_DIE(++tries < 1000);
		nanosleep(&moment, NULL);
	}
	client = start(argv[1]);
	/* Both may take turns on one processor. */
	until_it_spins(3);
	OR_DIE(!kill(client, SIGSTOP));
	until_it_spins(8);
	OR_DIE(!kill(server, SIGSTOP));
	OR_DIE(!waitpid(server, NULL, WNOHANG) && !waitpid(client, NULL, WNOHANG));
	return serve(run);
}
