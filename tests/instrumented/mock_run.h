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
	uint32_t transfers;	/* pushed of all that is for the peer */
	uint32_t sends, sends_told, counted, counted_told;	/* pushed, and that succeeded */
	uint32_t next_send;	/* as next, of those that RECV takes */
	int last_recv;
	uint32_t recvs, recvs_left, most_recvs, taken;	/* RECVs; messages that they took */
	uint32_t waits_left, most_waits, counter;	/* COUNTER_WAITs */
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
	bool closing;		/* all is done, and what waits for more is ended */
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

static inline bool is_send(const struct entry *e)
{
	return e->opcode == DMAPLANE_OP_SEND || e->opcode == DMAPLANE_OP_SEND_IMM;
}

/* Whether it goes to the peer; others wait for what it sends. */
static inline bool is_transfer(const struct entry *e)
{
	return e->opcode != DMAPLANE_OP_RECV && e->opcode != DMAPLANE_OP_COUNTER_WAIT;
}

static inline bool is_message(const struct entry *e)
{
	return e->opcode == DMAPLANE_OP_WRITE_IMM || e->opcode == DMAPLANE_OP_IMM_ONLY ||
	       is_send(e);
}

/* The first of the last @count transfers that were accepted, if there are as many. */
static inline const struct entry *first_of_the_last(const struct actor *x, uint32_t count)
{
	for (uint32_t i = accepted(x); i-- && count;)
		if (is_transfer(&x->entries[i]) && !--count)
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

		if (!is_transfer(e) || e->opcode == DMAPLANE_OP_IMM_ONLY)
			continue;
		if (!e->completed || (e->res >= 0 && !e->arrived && !is_send(e)))
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

/* A SEND of some bytes, or of none. */
static inline struct dmaplane_sqe message(struct run *r, struct actor *x, struct entry *e)
{
	uint64_t local = e->slot * SLOT_BYTES;
	struct dmaplane_sqe sqe;
	uint32_t region;

	e->length = between(r, 0, 7) ? between(r, 1, longest(x->peer)) : 0;
	region = e->length ? x->out.region : 0;
	local = e->length ? local : 0;
	fill(x->out.at + local, e->length, contents(r, x, x->pushed));
	if (between(r, 0, 1)) {
		e->opcode = DMAPLANE_OP_SEND;
		dmaplane_prep_send(&sqe, x->side->endpoint, region, local, e->length);
	} else {
		e->opcode = DMAPLANE_OP_SEND_IMM;
		dmaplane_prep_send_imm(&sqe, x->side->endpoint, region, local, e->length,
				       x->pushed);
	}
	if (!between(r, 0, 3))
		sqe.flags |= DMAPLANE_SQE_FENCE;
	return sqe;
}

/* A RECV of one message or of several, each of up to @room bytes. */
static inline struct dmaplane_sqe receive(struct run *r, struct actor *x, struct entry *e,
					  uint32_t room)
{
	struct dmaplane_sqe sqe;

	e->opcode = DMAPLANE_OP_RECV;
	e->room = room;
	e->shots = between(r, 1, SHOTS);
	e->at = x->recvs++ % RECVS * SHOTS * ROOM;
	dmaplane_prep_recv(&sqe, x->side->endpoint, x->in.buffer.handle, e->at, room);
	if (e->shots > 1 || between(r, 0, 1)) {
		sqe.flags |= DMAPLANE_SQE_MULTISHOT;
		sqe.imm = e->shots;
	}
	x->recvs_left++;
	return sqe;
}

/* Puts what was made of @e into the ring; false if that is full. */
static inline bool push(struct actor *x, struct entry *e, struct dmaplane_sqe sqe)
{
	dmaplane_sqe_set_user_data(&sqe, x->pushed);
	if (channel_push(&x->side->ch, &sqe)) {
		x->recvs_left -= e->opcode == DMAPLANE_OP_RECV;
		x->waits_left -= e->opcode == DMAPLANE_OP_COUNTER_WAIT;
		return false;
	}
	x->transfers += is_transfer(e);
	x->messages += e->opcode == DMAPLANE_OP_WRITE_IMM;
	x->counted += e->opcode == DMAPLANE_OP_IMM_ONLY;
	x->sends += is_send(e);
	x->pushed++;
	return true;
}

/* What takes or counts messages; false if it is none of that this time. */
static inline bool push_other(struct run *r, struct actor *x)
{
	struct entry *e = &x->entries[x->pushed];
	struct dmaplane_sqe sqe;

	*e = (struct entry){ 0 };
	switch (between(r, 0, 9)) {
	case 0:
		if (x->recvs_left == x->most_recvs)
			return false;
		sqe = receive(r, x, e, between(r, 0, 3) ? ROOM : between(r, 0, 300));
		break;
	case 1:
		if (x->waits_left == x->most_waits)
			return false;
		e->opcode = DMAPLANE_OP_COUNTER_WAIT;
		e->source = between(r, 0, x->peer->counted + 2);
		dmaplane_prep_counter_wait(&sqe, x->side->endpoint, x->counter, e->source);
		x->waits_left++;
		break;
	case 2:
		e->opcode = DMAPLANE_OP_IMM_ONLY;
		dmaplane_prep_imm_only(&sqe, x->side->endpoint, COUNTED | x->pushed);
		break;
	default:
		return false;
	}
	push(x, e, sqe);
	return true;
}

/* Takes messages that nobody waits for; whether there were any. */
static inline bool take_messages(struct run *r, struct actor *x)
{
	struct entry *e = &x->entries[x->pushed];

	if (x->gone || x->closed || x->recvs_left == x->most_recvs || x->pushed == ENTRIES ||
	    !look(r, x).unread)
		return false;
	*e = (struct entry){ 0 };
	return push(x, e, receive(r, x, e, ROOM));
}

/* Whether what is not complete leaves but one place, that of a RECV which others may wait for. */
static inline bool is_busy(const struct run *r, const struct actor *x)
{
	uint32_t places = x->side->ch.cq_entries - x->side->recv_depth;

	return r->messages && x->pushed - x->completed + 1 >= places;
}

static inline void submit(struct run *r, struct actor *x)
{
	uint32_t count = between(r, 1, 4);

	if (x->gone || x->closed)
		return;
	while (count-- && x->pushed < ENTRIES - SPARE && !is_busy(r, x)) {
		int slot = free_slot(x);
		struct entry *e = &x->entries[x->pushed];
		struct dmaplane_sqe sqe;

		if (r->messages && push_other(r, x))
			continue;
		if (slot < 0)
			break;
		*e = (struct entry){ .slot = slot, .opcode = DMAPLANE_OP_WRITE_IMM };
		if (x->known && between(r, 0, 7))
			e->length = between(r, 1, SLOT_BYTES);
		sqe = write_imm(x->side, 0, 0, 0, 0, 0, x->pushed);
		if (r->messages && !between(r, 0, 4))
			sqe = message(r, x, e);
		else if (e->length)
			sqe = transfer(r, x, e);
		if (!push(x, e, sqe))
			break;
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
	x->waits_left -= e->opcode == DMAPLANE_OP_COUNTER_WAIT;
	if (cqe->res >= 0 && is_transfer(e)) {
		x->succeeded++;
		x->told += e->opcode == DMAPLANE_OP_WRITE_IMM;
		x->counted_told += e->opcode == DMAPLANE_OP_IMM_ONLY;
		x->sends_told += is_send(e);
		x->sent += e->opcode != DMAPLANE_OP_READ;
		if (!is_message(e))
			moved(r, x, e, cqe->user_data);
	}
	CHECK(r, cqe->opcode == e->opcode, "%s: %u", x->name, cqe->opcode);
	CHECK(r, cqe->res < 0 || (uint32_t)cqe->res == e->length, "%s: %d", x->name, cqe->res);
	CHECK(r, cqe->res >= 0 || r->kind != ORDERLY || (r->closing && !is_transfer(e)),
	      "%s: %d", x->name, cqe->res);
	if (e->opcode == DMAPLANE_OP_COUNTER_WAIT) {
		CHECK(r, cqe->res < 0 || r->kind == HOSTILE || e->source <= x->peer->counted,
		      "%s: %llu, %u", x->name, (unsigned long long)e->source, x->peer->counted);
		return;
	}
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

/* The peer's message that RECV must take next. */
static inline const struct entry *next_message(struct run *r, struct actor *x)
{
	while (x->next_send < x->peer->pushed && !is_send(&x->peer->entries[x->next_send]))
		x->next_send++;
	CHECK(r, x->next_send < x->peer->pushed, "%s: no message was sent", x->name);
	return good(r) ? &x->peer->entries[x->next_send] : NULL;
}

/* A RECV took a message, which must be the next one. */
static inline void took(struct run *r, struct actor *x, struct entry *e,
			const struct dmaplane_cqe *cqe)
{
	const struct entry *m = next_message(r, x);
	bool tells = m && m->opcode == DMAPLANE_OP_SEND_IMM;
	uint64_t at;

	if (!m)
		return;
	CHECK(r, (uint32_t)cqe->res == m->length && m->length <= e->room, "%s: %d, %u, %u",
	      x->name, cqe->res, m->length, e->room);
	CHECK(r, !!(cqe->flags & DMAPLANE_CQE_F_IMM) == tells, "%s: %x", x->name, cqe->flags);
	CHECK(r, cqe->imm == (tells ? x->next_send : 0), "%s: %u, not %u", x->name, cqe->imm,
	      x->next_send);
	at = first_wrong(x->in.at + e->at + (e->taken - 1) * e->room, m->length,
			 contents(r, x->peer, x->next_send));
	CHECK(r, at == m->length, "%s: byte %llu of %u", x->name, (unsigned long long)at,
	      m->length);
	x->next_send++;
}

/* A completion of a RECV. */
static inline void received(struct run *r, struct actor *x, const struct dmaplane_cqe *cqe)
{
	struct entry *e = &x->entries[cqe->user_data];
	bool more = cqe->flags & DMAPLANE_CQE_F_MORE;
	const struct entry *m;

	if (cqe->user_data >= accepted(x) || e->opcode != DMAPLANE_OP_RECV) {
		wrong(r, "%s: RECV %llu was not accepted", x->name,
		      (unsigned long long)cqe->user_data);
		return;
	}
	CHECK(r, !e->completed, "%s: RECV %llu", x->name, (unsigned long long)cqe->user_data);
	if (cqe->res >= 0) {
		e->taken++;
		CHECK(r, more == (e->taken < e->shots), "%s: %u of %u", x->name, e->taken,
		      e->shots);
		x->taken++;
		if (r->kind != HOSTILE)
			took(r, x, e, cqe);
	}
	if (more) {
		CHECK(r, cqe->res >= 0, "%s: %d", x->name, cqe->res);
		return;
	}
	e->completed = true;
	e->res = cqe->res;
	x->completed++;
	x->recvs_left--;
	if (r->kind == HOSTILE)
		return;
	if (cqe->res == -EMSGSIZE) {
		m = next_message(r, x);
		CHECK(r, !m || m->length > e->room, "%s: %u, %u", x->name, m->length, e->room);
	} else {
		CHECK(r, cqe->res >= 0 || r->kind != ORDERLY || r->closing, "%s: %d", x->name,
		      cqe->res);
	}
	CHECK(r, x->last_recv < (int)cqe->user_data, "%s: %d, %llu", x->name, x->last_recv,
	      (unsigned long long)cqe->user_data);
	x->last_recv = cqe->user_data;
}

static inline bool reap(struct run *r, struct actor *x, uint32_t most)
{
	struct dmaplane_cqe cqe;
	bool some = false;

	while (!x->gone && most-- && good(r) && channel_reap(&x->side->ch, &cqe)) {
		some = true;
		note(r, (uint64_t)cqe.imm << 32 ^ (uint32_t)cqe.res ^ cqe.user_data << 8 ^
			cqe.opcode ^ (uint64_t)(x == &r->a) << 60);
		if (cqe.flags & DMAPLANE_CQE_F_ENTRY)
			received(r, x, &cqe);
		else if (cqe.opcode == DMAPLANE_OP_RECV)
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
