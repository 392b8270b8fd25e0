// SPDX-License-Identifier: GPL-2.0
/*
 * usage: poll_idle SECONDS
 *
 * A receiver to which nothing is sent for a while, and which looks again and again, as
 * those do that want to be quick.
 */
#include "qp.h"

static struct side from, to;
static uint64_t seconds;

static struct block run(bool verify)
{
	struct block b = { 1, 0, 0 };
	uint64_t begin = now_ns();
	struct ibv_wc wc;

	(void)verify;
	while (now_ns() - begin < seconds * 1000000000)
		OR_DIE(!ibv_poll_cq(to.cq, 1, &wc));
	b.ns = now_ns() - begin;
	return b;
}

int main(int argc, char **argv)
{
	OR_DIE(argc == 2);
	seconds = number(argv[1]);
	side_open(&from, 4096, 1, 1, 1);
	side_open(&to, 4096, 1, 1, 1);
	side_connect(&from, &to);
	side_connect(&to, &from);
	return serve(run);
}
