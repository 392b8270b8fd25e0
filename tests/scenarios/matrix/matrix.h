/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The matrix of ends: everything that a program can hold × everything that can
 * end it. main.c draws the cycles and reports, columns.c has the ends, rows.c
 * what is held, place.c the life of a process that holds it, net.c the network
 * and its devices, watch.c processes, counters and the module.
 *
 * A cycle forks the holder, and a peer in the other network namespace if the
 * row has connections. Both follow orders that come over a socket each. All of
 * a cycle's choices are drawn from its seed before that, so all know them.
 */
#ifndef DMAPLANE_MATRIX_H
#define DMAPLANE_MATRIX_H

#include "../../selftests/pair.h"

/* ---- What is drawn ------------------------------------------------------ */

struct dice {
	uint64_t state;
};

static inline uint64_t roll(struct dice *d)
{
	uint64_t z = (d->state += 0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static inline uint32_t below(struct dice *d, uint32_t n)
{
	return roll(d) % n;
}

/* One of @n, which is likely @m times out of @of. */
static inline bool odds(struct dice *d, uint32_t m, uint32_t of)
{
	return below(d, of) < m;
}

static inline void shuffle(struct dice *d, int *list, uint32_t n)
{
	for (uint32_t i = n; i > 1; i--) {
		uint32_t j = below(d, i);
		int kept = list[i - 1];

		list[i - 1] = list[j];
		list[j] = kept;
	}
}

enum { HOST_A, HOST_B, HOSTS };

/* A cycle's choices. Not all mean something in each cell. */
struct choice {
	uint64_t seed;
	const struct row *row;
	bool has_peer;
	int home;		/* the holder's host */
	bool connects;		/* the holder does, and the peer listens */
	uint32_t way;		/* which of its ways the row takes */
	bool killed;		/* where a column ends the holder itself: not by close */
	bool notices;		/* whose device went waits until it knows */
	bool inherits;		/* the descriptor survives exec */
	bool dies;		/* the holder's threads end with their process, not by calls */
	bool rare;		/* one in eight, for what takes long: the other waits, too */
	uint32_t delay_us;	/* before the end */
	int victim;		/* host whose device goes; HOSTS: both */
};

/* ---- Orders and answers ------------------------------------------------- */

enum word {
	/* orders */
	CONNECT = 1, GO, CHECK, NOTICE, END, EXIT, EXEC, FORK_PARENT, FORK_CHILD,
	/* answers */
	LISTENING, READY, FINE, NOTICED, ENDED, FAILED,
};

struct note {
	enum word word;
	uint32_t value;
	char text[160];
};

/* ---- place.c: a process that holds something ---------------------------- */

#define MEMORIES 3

/* A transfer; like the rings, it is shared with a child. */
struct flow {
	bool sends, failed;
	uint8_t opcode;
	uint32_t accepted, completed;
};

struct place {
	const struct choice *c;
	bool holder;
	int host;
	int talk;
	struct dice dice;
	struct side side;
	uint32_t listener;
	struct memory memory[MEMORIES];
	uint32_t memories;
	uint32_t lease;
	int file;		/* of the channel */
	struct flow *flow;
	bool goes;		/* pumps while it waits for orders */
	/* a thread that waits */
	pthread_t thread;
	bool threaded;
	int (*wait)(struct place *p);
	int waited;		/* what its call returned */
};

void __attribute__((noreturn)) live_in(struct place *p);
int image(char **argv);
void __attribute__((noreturn, format(printf, 2, 3))) wrong(struct place *p, const char *format, ...);
void must(struct place *p, const char *what, int ret);
void say(struct place *p, enum word word, uint32_t value);
struct note take_order(struct place *p);
void connect_places(struct place *p);
void in_thread(struct place *p, int (*wait)(struct place *p));
void join_thread(struct place *p);

/* ---- rows.c: what is held ----------------------------------------------- */

struct row {
	const char *name;
	uint32_t ways;
	/* The holder can be the one who connects; else it listens. */
	bool connects;
	/* Whether a peer takes part. */
	bool (*has_peer)(const struct choice *c);
	/* Both processes: into the state. */
	void (*reach)(struct place *p);
	/* Nothing has happened to it. */
	void (*check)(struct place *p);
	/* From the order GO on, while others are waited for; NULL: nothing to do. */
	void (*pump)(struct place *p);
};

extern const struct row rows[];
extern const uint32_t row_count;

/* ---- columns.c: how it ends --------------------------------------------- */

struct cycle {
	const struct choice *c;
	bool crowded;		/* others are held at the same time */
	pid_t holder, peer;
	int to_holder, to_peer;
	uint64_t slowest;	/* end so far, in ns */
	bool good;
	char wrong[400];
};

struct column {
	const char *name;
	/* What ends all of a crowd at once; NULL: each is ended for itself. */
	int (*strike)(const struct choice *c);
	/* True if all went as it should; else cycle.wrong says what did not. */
	bool (*end)(struct cycle *y);
	bool dies;		/* see choice */
	bool takes_all;		/* both devices go */
	bool new_links;		/* those there are of no use after it */
};

extern const struct column columns[];
extern const uint32_t column_count;

void run_cycles(struct cycle *list, uint32_t count, const struct column *column);

/* ---- net.c -------------------------------------------------------------- */

extern const char *const host_address[HOSTS];

bool net_open(void);
const char *net_begin(void);
void enter_host(int host);
int rdma_link_del(int host);
int netdev_set(int host, bool up);
int netdev_del(void);
/* Everything as it was; NULL, or what could not be restored. */
const char *net_restore(bool new_links);

/* ---- watch.c ------------------------------------------------------------ */

uint64_t limit_ns(void);
bool is_slow(void);
bool nothing_lives(void);
void show_lives(void);
/* The exit or death of a child, as waitpid() gives it; -1 if it takes too long. */
int reap(pid_t pid);
bool reap_all(void);
void show_process(pid_t pid);
int module_unload(void);
int module_load(void);
/* Who is asked to be done soon; a thread complains if not. */
void watch_begin(const char *what);
void watch_end(void);
void watch_start(void);

#endif /* DMAPLANE_MATRIX_H */
