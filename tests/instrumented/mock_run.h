/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A run on the mock fabric: what a program does with a pair of endpoints, and a
 * model of what it was promised, compared with what it sees. See mock.c.
 */
#ifndef DMAPLANE_TEST_MOCK_RUN_H
#define DMAPLANE_TEST_MOCK_RUN_H

#include "pair.h"

#include <inttypes.h>
#include <stdarg.h>

#define MOCK		"/sys/kernel/debug/dmaplane/mock"

#define ENTRIES		256	/* of one side, at most */
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
	uint64_t source;	/* of a READ, in the peer's memory */
	bool split;	/* in more than one work request */
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
	uint64_t digest;	/* of what the program saw */
	uint64_t trace;		/* of what the fabric did */
	uint64_t happened[ARRAY_LEN(happenings)];
	char why[160];		/* it failed */
};

/* ---- The mock fabric ----------------------------------------------------- */

static inline int mock(const char *format, ...)
{
	char text[64];
	va_list args;
	int fd, length, ret = 0;

	va_start(args, format);
	length = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fd = open(MOCK, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, length) != length)
		ret = -errno;
	close(fd);
	return ret;
}

static inline uint64_t mock_value(const char *name)
{
	char line[64], word[32];
	uint64_t value, found = UINT64_MAX;
	FILE *file = fopen(MOCK, "re");

	if (!file)
		return found;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%31s %" SCNu64, word, &value) == 2 && !strcmp(word, name))
			found = value;
	fclose(file);
	return found;
}

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

/* Looks at a side that is open, as often as something could have changed. */
static inline void watch(struct run *r, struct actor *x)
{
	struct dmaplane_endpoint_query got;
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
	stalled = !got.credits && got.queued && got.queued <= accepted(x) &&
		  x->entries[accepted(x) - got.queued].opcode == DMAPLANE_OP_WRITE_IMM;
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

static inline void enter(struct run *r, struct actor *x)
{
	uint32_t count;
	int ret;

	if (x->gone)
		return;
	count = x->pushed - accepted(x);
	ret = channel_enter(&x->side->ch, count, 0, 0);
	CHECK(r, ret >= 0 || (ret == -EBUSY && count), "%s: %d", x->name, ret);
	watch_both(r);
}

/* Where the next message can lie: nowhere that another may still be read or written. */
static inline int free_slot(struct actor *x)
{
	bool busy[SLOTS] = { false };

	for (uint32_t i = 0; i < x->pushed; i++) {
		const struct entry *e = &x->entries[i];

		if (!e->completed || (e->res >= 0 && !e->arrived))
			busy[e->slot] = true;
	}
	for (int i = 0; i < SLOTS; i++)
		if (!busy[i])
			return i;
	return -1;
}

/* Has an entry move its bytes part by part, in any order; those that stay neighbours are joined. */
static inline void split_up(struct run *r, struct actor *x, struct entry *e,
			    struct dmaplane_sqe *sqe)
{
	uint64_t at = 2 * SLOTS_BYTES + x->pushed * LIST_BYTES;
	uint32_t count = between(r, 1, PARTS), order[PARTS], done = 0;
	struct dmaplane_segment *segments = (void *)(x->out.at + at);
	struct dmaplane_pages *pages = (void *)(x->out.at + at);

	for (uint32_t i = 0; i < count; i++) {
		uint32_t other = between(r, 0, i);

		order[i] = i;
		order[i] = order[other];
		order[other] = i;
	}
	e->split = true;
	if (between(r, 0, 1) && e->length >= count) {
		uint32_t length = e->length / count;

		e->length = length * count;
		pages->local_stride = pages->remote_stride = length;
		memcpy(dmaplane_pages_local(pages), order, count * sizeof(order[0]));
		memcpy(dmaplane_pages_remote(pages, count), order, count * sizeof(order[0]));
		sqe->length = length;
		dmaplane_sqe_set_pages(sqe, x->out.buffer.handle, at, count);
		return;
	}
	for (uint32_t i = 0; i < count; i++) {
		uint32_t length = i + 1 < count ? between(r, 0, e->length - done) : e->length - done;

		segments[order[i]] = (struct dmaplane_segment){ done, done, length, 0 };
		done += length;
	}
	dmaplane_sqe_set_segments(sqe, x->out.buffer.handle, at, count);
}

/* An entry that moves bytes: a message, a WRITE or a READ, as a whole or in parts. */
static inline struct dmaplane_sqe transfer(struct run *r, struct actor *x, struct entry *e)
{
	static const uint8_t opcodes[] = { DMAPLANE_OP_WRITE_IMM, DMAPLANE_OP_WRITE_IMM,
					   DMAPLANE_OP_WRITE, DMAPLANE_OP_READ };
	uint64_t local = e->slot * SLOT_BYTES, there = x->peer->in_base + e->slot * SLOT_BYTES;
	uint64_t border = there / r->max_segment * r->max_segment + r->max_segment;
	uint32_t lease = x->leases[between(r, 0, x->known - 1)];
	struct dmaplane_sqe sqe;

	e->opcode = opcodes[between(r, 0, ARRAY_LEN(opcodes) - 1)];
	if (e->opcode == DMAPLANE_OP_READ) {
		local += SLOTS_BYTES;
		there = x->peer->in_base + SLOTS_BYTES +
			between(r, 0, SOURCE_BYTES - SLOT_BYTES);
		memset(x->out.at + local, 0x5c, SLOT_BYTES);
	}
	e->source = there;
	e->split = there + e->length > border;
	sqe = remote_sqe(x->side, e->opcode, x->out.region, lease, local, there, e->length,
			 x->pushed);
	if (!between(r, 0, 2))
		split_up(r, x, e, &sqe);
	if (e->opcode != DMAPLANE_OP_READ)
		fill(x->out.at + local, e->length, contents(r, x, x->pushed));
	if (!between(r, 0, 3))
		sqe.flags |= DMAPLANE_SQE_FENCE;
	return sqe;
}

static inline void submit(struct run *r, struct actor *x)
{
	uint32_t count = between(r, 1, 4);

	if (x->gone || x->closed)
		return;
	while (count-- && x->pushed < ENTRIES) {
		int slot = free_slot(x);
		struct entry *e = &x->entries[x->pushed];
		struct dmaplane_sqe sqe;

		if (slot < 0)
			break;
		*e = (struct entry){ .slot = slot, .opcode = DMAPLANE_OP_WRITE_IMM };
		if (x->known && between(r, 0, 7))
			e->length = between(r, 1, SLOT_BYTES);
		sqe = write_imm(x->side, 0, 0, 0, 0, 0, x->pushed);
		if (e->length)
			sqe = transfer(r, x, e);
		if (channel_push(&x->side->ch, &sqe))
			break;
		x->messages += e->opcode == DMAPLANE_OP_WRITE_IMM;
		x->pushed++;
	}
	enter(r, x);
}

/* What a WRITE or a READ that succeeded has moved is there. */
static inline void moved(struct run *r, struct actor *x, struct entry *e, uint32_t index)
{
	uint64_t at = e->length;

	e->arrived = true;
	if (r->kind == HOSTILE || x->peer->gone)
		return;
	if (e->opcode == DMAPLANE_OP_WRITE)
		at = first_wrong(x->peer->in.at + x->peer->in_base + e->slot * SLOT_BYTES,
				 e->length, contents(r, x, index));
	else if (memcmp(x->out.at + SLOTS_BYTES + e->slot * SLOT_BYTES,
			x->peer->in.at + e->source, e->length))
		at = 0;
	CHECK(r, at == e->length, "%s: entry %u, byte %llu of %u", x->name, index,
	      (unsigned long long)at, e->length);
}

static inline void completed(struct run *r, struct actor *x, const struct dmaplane_cqe *cqe)
{
	struct entry *e = &x->entries[cqe->user_data];

	if (cqe->user_data >= accepted(x)) {
		wrong(r, "%s: entry %llu was not accepted", x->name,
		      (unsigned long long)cqe->user_data);
		return;
	}
	CHECK(r, !e->completed, "%s: entry %llu", x->name, (unsigned long long)cqe->user_data);
	e->completed = true;
	e->res = cqe->res;
	x->completed++;
	if (cqe->res >= 0) {
		x->succeeded++;
		x->told += e->opcode == DMAPLANE_OP_WRITE_IMM;
		x->sent += e->opcode != DMAPLANE_OP_READ;
		if (e->opcode != DMAPLANE_OP_WRITE_IMM)
			moved(r, x, e, cqe->user_data);
	}
	CHECK(r, cqe->opcode == e->opcode, "%s: %u", x->name, cqe->opcode);
	CHECK(r, cqe->res < 0 || (uint32_t)cqe->res == e->length, "%s: %d", x->name, cqe->res);
	CHECK(r, cqe->res >= 0 || r->kind != ORDERLY, "%s: %d", x->name, cqe->res);
	/* What comes too late is refused at once. */
	if (cqe->res == -ENOTCONN || r->kind == HOSTILE)
		return;
	CHECK(r, x->last < (int)cqe->user_data, "%s: %d, %llu", x->name, x->last,
	       (unsigned long long)cqe->user_data);
	x->last = cqe->user_data;
}

static inline void arrived(struct run *r, struct actor *x, const struct dmaplane_cqe *cqe)
{
	struct entry *e = &x->peer->entries[cqe->imm];
	uint64_t at;

	if (cqe->imm >= x->peer->pushed) {
		wrong(r, "%s: message %u was not sent", x->name, cqe->imm);
		return;
	}
	e->arrived = true;
	if (r->kind != HOSTILE) {
		while (x->peer->entries[x->next].opcode != DMAPLANE_OP_WRITE_IMM &&
		       x->next < cqe->imm)
			x->next++;
		CHECK(r, cqe->imm == x->next, "%s: %u, %u", x->name, cqe->imm, x->next);
		x->next++;
		CHECK(r, e->split || (uint32_t)cqe->res == e->length, "%s: %d", x->name, cqe->res);
		at = first_wrong(x->in.at + x->in_base + e->slot * SLOT_BYTES, e->length,
				 contents(r, x->peer, cqe->imm));
		CHECK(r, at == e->length, "%s: byte %llu of %u", x->name, (unsigned long long)at,
		       e->length);
	}
	x->arrived++;
}

static inline bool reap(struct run *r, struct actor *x, uint32_t most)
{
	struct dmaplane_cqe cqe;
	bool some = false;

	while (!x->gone && most-- && good(r) && channel_reap(&x->side->ch, &cqe)) {
		some = true;
		note(r, (uint64_t)cqe.imm << 32 ^ (uint32_t)cqe.res ^ cqe.user_data << 8 ^
			cqe.opcode ^ (uint64_t)(x == &r->a) << 60);
		if (cqe.opcode == DMAPLANE_OP_RECV)
			arrived(r, x, &cqe);
		else
			completed(r, x, &cqe);
	}
	CHECK(r, x->gone || !channel_poisoned(&x->side->ch), "%s", x->name);
	return some;
}

static inline void grant(struct run *r, struct actor *x)
{
	uint32_t lease;
	int ret;

	if (x->gone || x->closed || x->granted == LEASES)
		return;
	ret = lease_grant(x->side, x->in.region, 0, &lease);
	CHECK(r, !ret || (ret == -ENOTCONN && r->kind != ORDERLY), "%s: %d", x->name, ret);
	x->granted += !ret;
	watch_both(r);
}

/* Takes the leases that came. */
static inline void take_leases(struct run *r, struct actor *x)
{
	struct dmaplane_lease_wait got;

	while (!x->gone && !x->closed && x->known < x->peer->granted &&
	       !lease_wait(x->side, 0, &got)) {
		CHECK(r, got.length == x->peer->in.length, "%s", x->name);
		x->leases[x->known++] = got.lease;
	}
}

static inline struct actor *one_of(struct run *r)
{
	return between(r, 0, 1) ? &r->a : &r->b;
}

#endif /* DMAPLANE_TEST_MOCK_RUN_H */
