/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A run on the mock fabric: a model of what a program with a pair of endpoints was
 * promised. See mock.c; mock_submit.h and mock_here.h have what it does, mock_reap.h
 * compares with what it sees.
 */
#ifndef DMAPLANE_TEST_MOCK_MODEL_H
#define DMAPLANE_TEST_MOCK_MODEL_H

#include "mock_fabric.h"

#define ENTRIES		320	/* of one side, at most */
#define SPARE		64	/* of these, for messages that are still there at the end */
#define SLOTS		16	/* places in the memory of both sides that messages go from and to */
#define SLOT_BYTES	5596	/* some messages touch two pages, some three */
#define LEASES		6	/* of one side, at most */
#define SLOTS_BYTES	(SLOTS * SLOT_BYTES)
#define PARTS		6	/* of a list, at most */
#define LIST_BYTES	(PARTS * sizeof(struct dmaplane_segment))
/* Memory messages go from: slots, as many that are read into, then a list for each entry. */
#define OUT_BYTES	(2 * SLOTS_BYTES + ENTRIES * LIST_BYTES)
/* Behind the slots of the memory that messages go to: what the peer may read. */
#define SOURCE_BYTES	(SLOTS_BYTES / 2)
/* At the beginning of that memory: what RECV takes, at most so many messages each. */
#define SHOTS		3
#define ROOM		4096
#define RECVS		16
/* Memory for COPY and FILL, which no peer sees: so many parts, longer than what is done at once. */
#define AREAS		4
#define AREA_BYTES	(96U << 10)
#define HERE_BYTES	(AREAS * AREA_BYTES)
/* Made before, as registering waits for steps. */
#define SPARES		3
/* Has an immediate counted rather than told. */
#define COUNTED		(1U << 31)

enum kind {
	ORDERLY,	/* completions are late, and nothing goes wrong */
	ENDING,		/* the connection fails, or one side ends it */
	HOSTILE,	/* completions come twice, or never: against the contract */
};

static const char *const kinds[] = { "orderly", "ending", "hostile" };

struct entry {
	uint8_t opcode;
	uint32_t slot;
	uint32_t length;
	uint64_t source;	/* of a READ, in the peer's memory; of COUNTER_WAIT, the value */
	uint32_t shots, room, taken;	/* of a RECV: messages at most, bytes of each, messages */
	uint64_t at;		/* where these go */
	uint8_t value;		/* of a FILL */
	uint32_t target;	/* entry that a CANCEL names */
	int wrong;		/* it must fail with that */
	bool split;	/* in more than one work request */
	bool spare;		/* from the region that is taken away */
	bool busy;		/* INVALIDATE may find the region in use */
	bool named;		/* by a CANCEL */
	bool cancelled;
	bool completed;
	bool arrived;
	int res;
};

/* One side as the program sees it. */
struct actor {
	const char *name;
	struct side *side;
	struct actor *peer;
	struct memory out, in;
	uint64_t in_base;	/* where slots begin in the memory written to */
	uint32_t leases[LEASES], known, granted;	/* of the peer's memory; of ours */
	bool gone;		/* the process that had it ended, so that nothing can be seen */
	bool closed;
	struct entry entries[ENTRIES];
	uint32_t pushed;
	int last;		/* entry completed last, but for those refused at once */
	uint32_t completed, succeeded, arrived;
	uint32_t messages, told, sent;	/* pushed; of those and of all that succeeded, but READs */
	uint32_t next;		/* the peer's message that must come next is this entry or a later one */
	uint32_t transfers;	/* pushed of all that is for the peer */
	uint32_t sends, sends_told, counted, counted_told;	/* pushed, and that succeeded */
	uint32_t next_send;	/* as next, of those that RECV takes */
	int last_recv;
	uint32_t recvs, recvs_left, most_recvs, taken;	/* RECVs; messages that they took */
	uint32_t waits_left, most_waits, counter;	/* COUNTER_WAITs */
	struct buffer here;	/* for COPY, FILL and MIGRATE */
	uint8_t *here_at;
	uint32_t spare[SPARES], spares;	/* other regions over @out, until INVALIDATE; how many are left */
	bool revoked;		/* @in was taken away */
	uint32_t cancels, at_work;	/* pushed and not complete: CANCELs, and what the worker does */
	bool stalled;
	uint64_t stalls;
};

/* What the fabric did, over all seeds. */
static const char *const happenings[] = {
	"steps", "executed", "delayed", "errors", "flushes", "duplicated", "lost",
};

struct run {
	enum kind kind;
	uint64_t seed, random;
	struct pair pair;
	struct actor a, b;
	uint64_t max_segment;
	bool messages;		/* there are SEND and RECV, and counters */
	uint64_t done[DMAPLANE_OP_MIGRATE + 1];	/* entries that succeeded, by opcode */
	uint64_t cancelled;
	bool closing;		/* all is done, and what waits for more is ended */
	uint64_t digest;	/* of what the program saw */
	uint64_t trace;		/* of what the fabric did */
	uint64_t happened[ARRAY_LEN(happenings)];
	char why[160];		/* it failed */
};

/* ---- A run ----------------------------------------------------------------- */

static inline bool good(const struct run *r)
{
	return !r->why[0];
}

/* What is not as promised ends the run; the first word stands. */
__attribute__((format(printf, 2, 3)))
static inline void wrong(struct run *r, const char *format, ...)
{
	va_list args;

	if (!good(r))
		return;
	va_start(args, format);
	vsnprintf(r->why, sizeof(r->why), format, args);
	va_end(args);
}

#define CHECK(r, condition, format, ...) do {				\
	if (!(condition))						\
		wrong(r, "%s: " format, #condition, ##__VA_ARGS__);	\
} while (0)

/* SplitMix64, as the fabric has it, but with a state of its own. */
static inline uint64_t draw(struct run *r)
{
	uint64_t z = (r->random += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* A number from @from to @to. */
static inline uint32_t between(struct run *r, uint32_t from, uint32_t to)
{
	return from + (uint32_t)(draw(r) >> 33) % (to - from + 1);
}

static inline void note(struct run *r, uint64_t what)
{
	r->digest = (r->digest ^ what) * 0x100000001b3ULL;
}

static inline uint64_t contents(const struct run *r, const struct actor *from, uint32_t index)
{
	return r->seed * 1000 + index * 2 + (from == &r->a);
}

static inline struct dmaplane_endpoint_query look(struct run *r, struct actor *x)
{
	struct dmaplane_endpoint_query got = { 0 };

	CHECK(r, !query(x->side->fd, x->side->endpoint, &got), "%s", x->name);
	return got;
}

/* Entries that the kernel has taken, each of which gets one completion. */
static inline uint32_t accepted(const struct actor *x)
{
	return load_acquire(&x->side->ch.ring->sq_head);
}

static inline bool is_send(const struct entry *e)
{
	return e->opcode == DMAPLANE_OP_SEND || e->opcode == DMAPLANE_OP_SEND_IMM;
}

/* The region that is taken away next. */
static inline uint32_t spare(const struct actor *x)
{
	return x->spare[x->spares - 1];
}

/* Whether it goes to the peer; others wait for what it sends, or happen here. */
static inline bool is_transfer(const struct entry *e)
{
	switch (e->opcode) {
	case DMAPLANE_OP_WRITE_IMM:
	case DMAPLANE_OP_IMM_ONLY:
	case DMAPLANE_OP_WRITE:
	case DMAPLANE_OP_READ:
		return !e->wrong;
	default:
		return is_send(e);
	}
}

/* Whether a worker does it, at a time of its own. */
static inline bool is_at_work(const struct entry *e)
{
	return e->opcode == DMAPLANE_OP_COPY || e->opcode == DMAPLANE_OP_FILL ||
	       e->opcode == DMAPLANE_OP_MIGRATE;
}

static inline bool is_message(const struct entry *e)
{
	return e->opcode == DMAPLANE_OP_WRITE_IMM || e->opcode == DMAPLANE_OP_IMM_ONLY ||
	       is_send(e);
}

/* The first of the last @count transfers that were accepted and not called back, if there are as many. */
static inline const struct entry *first_of_the_last(const struct actor *x, uint32_t count)
{
	for (uint32_t i = accepted(x); i-- && count;)
		if (is_transfer(&x->entries[i]) && !x->entries[i].cancelled && !--count)
			return &x->entries[i];
	return NULL;
}

/* The longest SEND that a side takes. */
static inline uint32_t longest(const struct actor *x)
{
	return x->side->message_bytes ?: DMAPLANE_MESSAGE_MIN;
}

/* Looks at a side that is open, as often as something could have changed. */
static inline void watch(struct run *r, struct actor *x)
{
	struct dmaplane_endpoint_query got;
	const struct entry *first;
	bool stalled;

	if (x->gone || x->closed)
		return;
	got = look(r, x);
	CHECK(r, got.in_flight <= x->side->send_depth, "%s: %u", x->name, got.in_flight);
	if (r->kind == HOSTILE)
		return;
	CHECK(r, got.credits <= x->peer->side->recv_depth, "%s: %u", x->name, got.credits);
	if (got.state != DMAPLANE_STATE_ESTABLISHED)
		return;
	/* Only messages wait for credits: is the first of those that wait one? */
	first = first_of_the_last(x, got.queued);
	stalled = !got.credits && first && is_message(first);
	x->stalls += stalled && !x->stalled;
	x->stalled = stalled;
	CHECK(r, got.stalls == x->stalls, "%s: %llu, not %llu", x->name,
	       (unsigned long long)got.stalls, (unsigned long long)x->stalls);
}

static inline void watch_both(struct run *r)
{
	watch(r, &r->a);
	watch(r, &r->b);
}

static inline void step(struct run *r, uint32_t count)
{
	for (uint32_t i = 0; i < count && good(r); i++) {
		CHECK(r, !mock("step 1"), "%d", errno);
		watch_both(r);
	}
}

static inline struct actor *one_of(struct run *r)
{
	return between(r, 0, 1) ? &r->a : &r->b;
}

#endif /* DMAPLANE_TEST_MOCK_MODEL_H */
