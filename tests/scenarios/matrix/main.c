// SPDX-License-Identifier: GPL-2.0
/*
 * usage: matrix ROW [--cycles N] [--seed S] [--number K]
 *		[--column C [--from F]]
 *
 * Runs N cycles (100) of one row, each of its columns as often as the others, in
 * an order drawn from the seed, and prints one KTAP result for each column, from
 * number K + 1 on. Needs the network namespaces a and b, and the module.
 *
 * A failed cycle is named with its column and number; with the same seed,
 * --column C --from F --cycles N runs just that one, or its crowd, again.
 *
 *	matrix --names		the rows and the number of columns
 */
#include "matrix.h"

#include <getopt.h>
#include <sys/prctl.h>

struct cell {
	uint32_t cycles, failed;
	uint64_t slowest, all;	/* ends, cycles */
	char first[600];	/* what went wrong first; the log has all of it */
};

static struct options {
	uint64_t seed;
	uint32_t cycles, number, from;
	int column;
} opt = { .cycles = 100, .column = -1 };

static struct choice choose(const struct row *row, uint32_t column, uint32_t number)
{
	struct dice dice = { opt.seed ^ (uint64_t)(row - rows) << 56 ^ (uint64_t)column << 48 };
	struct choice c = { .row = row, .dies = columns[column].dies };

	dice.state += roll(&dice) * number;
	c.seed = roll(&dice);
	/* The ways in turn, so that even few cycles go all of them. */
	c.way = number % row->ways;
	c.has_peer = row->has_peer(&c);
	c.home = below(&dice, HOSTS);
	c.connects = odds(&dice, 1, 2) && row->connects;
	c.killed = odds(&dice, 1, 2);
	c.notices = odds(&dice, 1, 2);
	c.inherits = odds(&dice, 1, 2);
	c.rare = odds(&dice, 1, 8);
	c.delay_us = odds(&dice, 1, 3) ? 0 : below(&dice, 20000);
	c.victim = columns[column].takes_all ? HOSTS : (int)below(&dice, HOSTS + 1);
	return c;
}

/* Cycles of one cell that are run together. */
struct event {
	uint32_t column, number, count;
};

#define MAX_CROWD 20

/*
 * A device's end takes much longer than a process's, so many share one. Those that keep both sides
 * busy must not be so many that a peer is taken for dead.
 */
static uint32_t crowd(const struct row *row, const struct column *column)
{
	if (!column->strike)
		return 1;
	return !is_slow() ? 2 : row->pump ? 8 : MAX_CROWD;
}

static void run(struct cell *cell, const struct row *row, const struct event *e)
{
	const struct column *column = &columns[e->column];
	struct cycle cycles[MAX_CROWD];
	struct choice choices[MAX_CROWD];
	char text[sizeof(cell->first)];
	uint64_t begin = now_ns();

	for (uint32_t i = 0; i < e->count; i++) {
		choices[i] = choose(row, e->column, e->number + i);
		choices[i].victim = choices[0].victim;
		cycles[i] = (struct cycle){ .c = &choices[i] };
	}
	run_cycles(cycles, e->count, column);
	cell->all += now_ns() - begin;
	cell->cycles += e->count;
	for (uint32_t i = 0; i < e->count; i++) {
		if (cycles[i].slowest > cell->slowest)
			cell->slowest = cycles[i].slowest;
		if (cycles[i].good)
			continue;
		snprintf(text, sizeof(text), "cycle %u (--seed %lu --column %u --from %u --cycles %u): %s",
			 e->number + i, opt.seed, e->column, e->number, e->count,
			 *cycles[i].wrong ? cycles[i].wrong : "see the others");
		printf("# %s, %s: %s\n", row->name, column->name, text);
		fflush(stdout);
		if (!cell->failed++)
			memcpy(cell->first, text, sizeof(text));
	}
}

static bool report(const struct cell *cells, const struct row *row)
{
	bool good = true;

	for (uint32_t i = 0; i < column_count; i++) {
		const struct cell *cell = &cells[i];
		bool fine = cell->cycles && !cell->failed;

		if (opt.column >= 0 && (uint32_t)opt.column != i)
			continue;
		printf("# %s, %s: %u cycles of %llu ms, %u failed, the slowest end took %llu ms\n",
		       row->name, columns[i].name, cell->cycles,
		       cell->all / MS / (cell->cycles ?: 1), cell->failed, cell->slowest / MS);
		/* Next to its result, where whoever reads only that finds it. */
		if (cell->failed)
			printf("# first: %s\n", cell->first);
		printf("%s %u %s, %s\n", fine ? "ok" : "not ok", ++opt.number, row->name,
		       columns[i].name);
		good &= fine;
	}
	return good;
}

static bool run_row(const struct row *row)
{
	uint32_t share = (opt.cycles + column_count - 1) / column_count, total = 0, done = 0;
	uint64_t begin = now_ns(), said = begin;
	struct cell cells[column_count];
	uint32_t count = 0, failed = 0;
	struct dice dice = { opt.seed };
	struct event *events;
	int *order;

	if (opt.column >= 0)
		share = opt.cycles;
	events = calloc(share * column_count, sizeof(*events));
	order = calloc(share * column_count, sizeof(*order));
	memset(cells, 0, sizeof(cells));
	for (uint32_t i = 0; i < column_count; i++) {
		uint32_t most = crowd(row, &columns[i]), size;

		if (opt.column >= 0 && (uint32_t)opt.column != i)
			continue;
		for (uint32_t at = 0; at < share; at += size, total += size) {
			size = share - at < most ? share - at : most;
			order[count] = count;
			events[count++] = (struct event){ i, opt.from + at, size };
		}
	}
	shuffle(&dice, order, count);
	for (uint32_t i = 0; i < count; i++) {
		const struct event *e = &events[order[i]];
		struct cell *cell = &cells[e->column];
		uint32_t before = cell->failed;

		run(cell, row, e);
		done += e->count;
		failed += cell->failed - before;
		if (cell->failed != before && !nothing_lives()) {
			printf("# what is left stays: no further cycles\n");
			break;
		}
		if (failed >= 20) {
			printf("# so many have failed: no further cycles\n");
			break;
		}
		if (now_ns() - said < 5 * SEC)
			continue;
		said = now_ns();
		printf("# %s: %u of %u cycles in %llu s\n", row->name, done, total,
		       (said - begin) / SEC);
		fflush(stdout);
	}
	printf("# %s: %u cycles in %llu ms\n", row->name, done, (now_ns() - begin) / MS);
	free(events);
	free(order);
	return report(cells, row);
}

static int names(void)
{
	for (uint32_t i = 0; i < row_count; i++)
		printf("%s\n", rows[i].name);
	printf("%u\n", column_count);
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: matrix ROW [--cycles N] [--seed S] [--number K] [--column C [--from F]]\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "cycles", required_argument, NULL, 'c' },
		{ "seed", required_argument, NULL, 's' },
		{ "number", required_argument, NULL, 'n' },
		{ "column", required_argument, NULL, 'l' },
		{ "from", required_argument, NULL, 'f' },
		{ "names", no_argument, NULL, 'N' },
		{ NULL, 0, NULL, 0 },
	};
	const struct row *row = NULL;
	const char *restored;
	int c;

	if (argc == 6 && !strcmp(argv[1], "--image"))
		return image(argv + 2);
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'c': opt.cycles = atoi(optarg); break;
		case 's': opt.seed = strtoull(optarg, NULL, 0); break;
		case 'n': opt.number = atoi(optarg); break;
		case 'l': opt.column = atoi(optarg); break;
		case 'f': opt.from = atoi(optarg); break;
		case 'N': return names();
		default: return usage();
		}
	}
	for (uint32_t i = 0; optind + 1 == argc && i < row_count; i++)
		if (!strcmp(rows[i].name, argv[optind]))
			row = &rows[i];
	if (!row || opt.column >= (int)column_count)
		return usage();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	watch_start();
	if (!net_open())
		return 1;
	restored = net_begin();
	if (restored) {
		printf("# %s: %m\n", restored);
		return 1;
	}
	return run_row(row) ? 0 : 1;
}
