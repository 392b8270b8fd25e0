// SPDX-License-Identifier: GPL-2.0
/*
 * All opcodes, credits, counters and teardown on the mock fabric: a seed decides
 * what the program does, in which order completions come, and what goes wrong.
 * The program keeps a model of what was promised and compares.
 *
 * MOCK_SEEDS=N	seeds of each kind, from 1 on, but beyond the default's (of which it is
 *		known what they make happen) drawn anew each time; Nx is N times the default
 * MOCK_SEED=S	only this one, as a failure says it
 *
 * A seed decides everything because nothing happens but by this one thread: the
 * fabric makes a step only when it is asked to, and the program asks for one at
 * a time.
 */
#include "mock_submit.h"
#include "harness.h"

#include <sys/random.h>

#define SEEDS		40	/* of each kind, by default */
#define SOME_SEEDS	12	/* of the first: all but errors among the ends happens */
#define OPERATIONS	160	/* of one run */

/* ---- Ends ------------------------------------------------------------------ */

static void unmap(struct actor *x)
{
	munmap(x->out.at, x->out.buffer.length);
	munmap(x->in.at, x->in.buffer.length);
	munmap(x->here_at, HERE_BYTES);
	munmap(x->side->ch.ring, x->side->ch.length);
	close(x->side->fd);
	x->gone = true;
}

/* Its process is killed: a child has the file and the mappings, and nobody else. */
static void kill_process(struct run *r, struct actor *x)
{
	pid_t pid = fork();

	if (!pid)
		for (;;)
			pause();
	CHECK(r, pid > 0, "fork");
	unmap(x);
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}

static void close_endpoint(struct run *r, struct actor *x)
{
	if (x->gone || x->closed)
		return;
	CHECK(r, !endpoint_close(x->side->fd, x->side->endpoint), "%s", x->name);
	x->closed = true;
}

/* Something ends the connection; it may have ended before. */
static void end_it(struct run *r)
{
	struct actor *x = one_of(r);

	if (x->gone || x->closed)
		return;
	switch (between(r, 0, 5)) {
	case 0:
		close_endpoint(r, x);
		break;
	case 1:
		unmap(x);
		break;
	case 2:
		kill_process(r, x);
		break;
	case 3:
		CHECK(r, !mock("rate error %u", between(r, 100, 600)), "error");
		break;
	case 4:
		CHECK(r, !mock("rate flush %u", between(r, 20, 300)), "flush");
		break;
	case 5:
		take_away(r, x);
		break;
	}
	watch_both(r);
}

/* Goes on until nothing happens any more. */
static void settle(struct run *r)
{
	for (int quiet = 0, rounds = 0; quiet < 2 && good(r); rounds++) {
		bool busy = !mock_value("idle");

		for (struct actor *x = &r->a; x; x = x == &r->a ? &r->b : NULL) {
			uint32_t before;

			if (x->gone)
				continue;
			before = accepted(x);
			busy |= reap(r, x, UINT32_MAX);
			enter(r, x);
			busy |= accepted(x) != before;
			take_leases(r, x);
			busy |= take_messages(r, x);
		}
		step(r, 8);
		quiet = busy ? 0 : quiet + 1;
		CHECK(r, rounds < 5000, "it goes on and on");
	}
}

/* Every accepted entry has its one completion; what arrived agrees with them. */
static void compare(struct run *r, struct actor *x)
{
	if (!x->gone)
		CHECK(r, x->completed == accepted(x), "%s: %u, %u", x->name, x->completed,
		       accepted(x));
	if (r->kind == HOSTILE || x->gone || x->peer->gone)
		return;
	CHECK(r, x->peer->arrived >= x->told, "%s: %u, %u", x->name, x->peer->arrived, x->told);
	if (r->kind != ORDERLY)
		return;
	CHECK(r, accepted(x) == x->pushed, "%s: %u of %u", x->name, accepted(x), x->pushed);
	CHECK(r, x->succeeded == x->transfers, "%s: %u of %u", x->name, x->succeeded,
	       x->transfers);
	CHECK(r, x->peer->taken == x->sends, "%s: %u of %u", x->name, x->peer->taken, x->sends);
	CHECK(r, x->peer->arrived == x->messages, "%s: %u of %u", x->name, x->peer->arrived,
	       x->messages);
	CHECK(r, x->known == x->peer->granted, "%s: %u of %u", x->name, x->known,
	       x->peer->granted);
}

/* What QUERY says of a side whose completions were all reaped. */
static void compare_counts(struct run *r, struct actor *x)
{
	struct dmaplane_counter_query count = ARG(counter_query, .counter = x->counter);
	struct dmaplane_endpoint_query got, other;

	if (x->gone || x->closed || r->kind == HOSTILE)
		return;
	got = look(r, x);
	CHECK(r, !cmd(x->side->fd, DMAPLANE_IOC_COUNTER_QUERY, &count), "%s", x->name);
	CHECK(r, got.sent == x->sent, "%s: %llu, %u", x->name, (unsigned long long)got.sent,
	       x->sent);
	CHECK(r, got.received == x->arrived + x->taken + got.unread + count.value,
	       "%s: %llu, %u, %u, %u, %llu", x->name, (unsigned long long)got.received,
	       x->arrived, x->taken, got.unread, (unsigned long long)count.value);
	CHECK(r, count.value >= x->peer->counted_told && count.value <= x->peer->counted,
	       "%s: %llu, %u to %u", x->name, (unsigned long long)count.value,
	       x->peer->counted_told, x->peer->counted);
	/* What it waits for still has not come. */
	for (uint32_t i = 0; i < accepted(x); i++)
		CHECK(r, x->entries[i].opcode != DMAPLANE_OP_COUNTER_WAIT ||
			  x->entries[i].completed || x->entries[i].source > count.value,
		       "%s: entry %u", x->name, i);
	CHECK(r, !got.unread && x->taken >= x->peer->sends_told, "%s: %u, %u of %u", x->name,
	       got.unread, x->taken, x->peer->sends_told);
	CHECK(r, !got.queued && !got.in_flight, "%s: %u, %u", x->name, got.queued, got.in_flight);
	if (r->kind == ORDERLY) {
		other = look(r, x->peer);
		CHECK(r, got.state == DMAPLANE_STATE_ESTABLISHED, "%s: %u", x->name, got.state);
		CHECK(r, got.ctrl_sent == other.ctrl_received, "%s: %llu, %llu", x->name,
		       (unsigned long long)got.ctrl_sent, (unsigned long long)other.ctrl_received);
	} else if (x->peer->gone || x->peer->closed) {
		CHECK(r, got.state == DMAPLANE_STATE_ERROR, "%s: %u", x->name, got.state);
		CHECK(r, got.error, "%s", x->name);
	}
}

static void compare_fabric(struct run *r)
{
	CHECK(r, !mock_value("rnr"), "a message found no receive");
	CHECK(r, !mock_value("refused") || r->a.revoked || r->b.revoked,
	      "a write may not touch its memory");
	CHECK(r, r->kind == HOSTILE || !mock_value("overdrawn"), "more posted than credits allow");
}

/* ---- One seed --------------------------------------------------------------- */

static void begin(struct run *r, enum kind kind, uint64_t seed)
{
	struct pair *p = &r->pair;
	struct dmaplane_fabric fabric;
	struct dmaplane_fabric_list list = ARG(fabric_list, .count = 1,
					       .fabrics = (uintptr_t)&fabric);

	*r = (struct run){ .kind = kind, .seed = seed, .random = seed << 8 | kind };
	r->a = (struct actor){ .name = "a", .side = &p->a, .peer = &r->b };
	r->b = (struct actor){ .name = "b", .side = &p->b, .peer = &r->a };
	CHECK(r, !mock("seed %llu", (unsigned long long)seed), "seed");
	CHECK(r, !mock("on"), "on");
	p->entries = 4 << between(r, 0, 3);
	r->messages = seed % 4;
	for (struct actor *x = &r->a; x; x = x == &r->a ? &r->b : NULL) {
		uint32_t left;

		x->last = x->last_recv = -1;
		x->side->send_depth = between(r, 1, 8);
		/* A place for what waits for messages, and one for what is sent meanwhile. */
		x->side->recv_depth = between(r, 1, p->entries - 1 - r->messages);
		if (r->messages && between(r, 0, 1))
			x->side->message_bytes = DMAPLANE_MESSAGE_MAX;
		left = p->entries - x->side->recv_depth - 1;
		x->most_recvs = left < 8 ? (left + 1) / 2 : 4;
		x->most_waits = left < 8 ? left / 2 : 4;
	}
	CHECK(r, !pair_open(p), "%d %d", p->a.result, p->b.result);
	CHECK(r, !cmd(p->a.fd, DMAPLANE_IOC_FABRIC_LIST, &list), "fabrics");
	r->max_segment = fabric.max_segment;
}

static void prepare(struct run *r, struct actor *x)
{
	struct dmaplane_counter_create counter =
		ARG(counter_create, .endpoint = x->side->endpoint, .imm = COUNTED, .mask = COUNTED);
	uint64_t border = r->max_segment;

	/* One slot lies across the border of two segments. */
	x->in_base = border - SLOTS_BYTES / 2 - 2000;
	CHECK(r, !memory_make(x->side, OUT_BYTES, LOCAL_WRITE, &x->out), "%s", x->name);
	CHECK(r, !memory_make(x->side, border + SLOTS_BYTES, REMOTE_WRITE | REMOTE_READ, &x->in),
	       "%s", x->name);
	CHECK(r, !cmd(x->side->fd, DMAPLANE_IOC_COUNTER_CREATE, &counter), "%s", x->name);
	x->counter = counter.handle;
	for (; x->spares < SPARES && good(r); x->spares++)
		CHECK(r, !region_register(x->side->fd, x->side->endpoint, x->out.buffer.handle, 0,
					  OUT_BYTES, LOCAL_WRITE, &x->spare[x->spares]), "%s",
		      x->name);
	CHECK(r, !buf_create_at(x->side->fd, HERE_BYTES, 0, DMAPLANE_BUF_NODE_STRICT, &x->here), "%s",
	      x->name);
	x->here_at = buf_map(x->side->fd, &x->here);
	CHECK(r, x->here_at != MAP_FAILED, "%s", x->name);
	CHECK(r, x->in_base >= RECVS * SHOTS * ROOM, "%llu", (unsigned long long)x->in_base);
	if (!good(r))
		return;
	fill(x->in.at + x->in_base + SLOTS_BYTES, SOURCE_BYTES, draw(r));
	grant(r, x);
}

static void operate(struct run *r)
{
	uint32_t end = r->kind == ENDING ? between(r, 10, OPERATIONS - 1) : UINT32_MAX;

	for (uint32_t i = 0; i < OPERATIONS && good(r); i++) {
		struct actor *x = one_of(r);

		if (i == end)
			end_it(r);
		switch (between(r, 0, 9)) {
		case 0 ... 2:
			submit(r, x);
			break;
		case 3 ... 6:
			step(r, between(r, 1, 12));
			break;
		case 7:
			reap(r, x, between(r, 1, 4));
			break;
		case 8:
			enter(r, x);
			break;
		case 9:
			if (!between(r, 0, 3))
				grant(r, x);
			take_leases(r, x);
			break;
		}
	}
}

/* Runs a seed; what went wrong is in the result. */
static void run(struct run *r, enum kind kind, uint64_t seed)
{
	begin(r, kind, seed);
	if (good(r)) {
		prepare(r, &r->a);
		prepare(r, &r->b);
		settle(r);
		CHECK(r, r->a.known && r->b.known, "no leases");
	}
	if (good(r)) {
		CHECK(r, !mock("rate delay %u", between(r, 0, 300)), "delay");
		if (kind == HOSTILE) {
			CHECK(r, !mock("rate duplicate %u", between(r, 0, 100)), "duplicate");
			CHECK(r, !mock("rate lose %u", between(r, 0, 50)), "lose");
			CHECK(r, !mock("rate error %u", between(r, 0, 20)), "error");
		}
		operate(r);
		settle(r);
		compare_counts(r, &r->a);
		compare_counts(r, &r->b);
		r->closing = true;
		for (struct actor *x = &r->a; x; x = x == &r->a ? &r->b : NULL) {
			close_endpoint(r, x);
			reap(r, x, UINT32_MAX);
		}
		settle(r);
		compare(r, &r->a);
		compare(r, &r->b);
	}
	compare_fabric(r);
	r->trace = mock_value("trace");
	for (size_t i = 0; i < ARRAY_LEN(happenings); i++)
		r->happened[i] = mock_value(happenings[i]);
	for (struct actor *x = &r->a; x; x = x == &r->a ? &r->b : NULL)
		if (!x->gone && x->side->fd > 0)
			unmap(x);
	CHECK(r, WAIT_FOR(!live("contexts") && !live("endpoints") && !live("regions") &&
			   !live("channels") && !live("buffers")), "something is left");
	CHECK(r, !mock_value("ports"), "a port is left");
	CHECK(r, !mock("off"), "off");
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	char *end;
	uint64_t value;

	if (!text || !*text)
		return otherwise;
	value = strtoull(text, &end, 10);
	return *end == 'x' ? value * otherwise : value;
}

FIXTURE(mock) {
	struct run run;
};

FIXTURE_SETUP(mock)
{
	ASSERT_EQ(0, mock("off")) {
		TH_LOG("the module is no test build");
	}
}

FIXTURE_TEARDOWN(mock)
{
	mock("off");
}

/* Whether runs of a kind have that happen, sooner or later. */
static bool happens(enum kind kind, const char *name)
{
	if (!strcmp(name, "flushes"))
		return kind == ENDING;
	if (!strcmp(name, "errors"))
		return kind != ORDERLY;
	if (!strcmp(name, "duplicated") || !strcmp(name, "lost"))
		return kind == HOSTILE;
	return true;
}

static void all_seeds(struct __test_metadata *_metadata, FIXTURE_DATA(mock) *self, enum kind kind)
{
	uint64_t only = from_environment("MOCK_SEED", 0);
	uint64_t count = only ? 1 : from_environment("MOCK_SEEDS", SEEDS);
	/* For each opcode to succeed before the connection ends. */
	uint64_t enough = kind == ORDERLY ? SOME_SEEDS : SEEDS;
	uint64_t happened[ARRAY_LEN(happenings)] = { 0 }, stalls = 0, failed = 0, messages = 0;
	uint64_t taken = 0, counted = 0, cancelled = 0, done[DMAPLANE_OP_MIGRATE + 1] = { 0 };
	struct run *r = &self->run;
	char text[256] = "";
	uint32_t drawn;

	ASSERT_EQ(sizeof(drawn), getrandom(&drawn, sizeof(drawn), 0));
	if (count > SEEDS)
		TH_LOG("%s: seeds drawn from %u on", kinds[kind], drawn);
	for (uint64_t i = 1; i <= count && failed < 3; i++) {
		uint64_t seed = only ?: i <= SEEDS ? i : drawn + i;

		/* Whatever becomes of the machine. */
		if (i > SEEDS)
			TH_LOG("%s: MOCK_SEED=%" PRIu64, kinds[kind], seed);
		run(r, kind, seed);
		EXPECT_TRUE(good(r)) {
			TH_LOG("%s: %s: again with MOCK_SEED=%" PRIu64, kinds[kind], r->why, seed);
			failed++;
		}
		for (size_t i = 0; i < ARRAY_LEN(happenings); i++)
			happened[i] += r->happened[i];
		stalls += r->a.stalls + r->b.stalls;
		messages += r->a.arrived + r->b.arrived;
		taken += r->a.taken + r->b.taken;
		counted += r->a.counted_told + r->b.counted_told;
		cancelled += r->cancelled;
		for (size_t op = 0; op < ARRAY_LEN(done); op++)
			done[op] += r->done[op];
	}
	for (size_t op = 0; op < ARRAY_LEN(done) && count >= enough; op++) {
		EXPECT_LT(0, done[op]) {
			TH_LOG("%s: no entry with opcode %zu succeeded", kinds[kind], op);
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(happenings); i++) {
		snprintf(text + strlen(text), sizeof(text) - strlen(text), ", %s %" PRIu64,
			 happenings[i], happened[i]);
		if (count < (kind == ENDING && !strcmp(happenings[i], "errors") ? SEEDS : SOME_SEEDS))
			continue;
		EXPECT_EQ(happens(kind, happenings[i]), !!happened[i]) {
			TH_LOG("%s: %s", kinds[kind], happenings[i]);
		}
	}
	TH_LOG("%s: messages %" PRIu64 ", of SEND %" PRIu64 ", counted %" PRIu64 ", stalls %" PRIu64 ", called back %" PRIu64 "%s",
	       kinds[kind], messages, taken, counted, stalls, cancelled, text);
	EXPECT_TRUE(cancelled || count < enough);
	EXPECT_TRUE(only || (messages && counted && taken && (stalls || kind == HOSTILE)));
}

TEST_F_TIMEOUT(mock, orderly, 3600)
{
	all_seeds(_metadata, self, ORDERLY);
}

TEST_F_TIMEOUT(mock, ending, 3600)
{
	all_seeds(_metadata, self, ENDING);
}

TEST_F_TIMEOUT(mock, hostile, 3600)
{
	all_seeds(_metadata, self, HOSTILE);
}

/* How many work requests a list takes of so many ranges with gaps here and there. */
static uint64_t requests_of(struct run *r, int opcode, uint32_t count, uint32_t gap,
			    uint32_t gap_there)
{
	struct actor *a = &r->a;
	uint64_t before = mock_value("executed"), at = 2 * SLOTS_BYTES;
	struct dmaplane_segment *list = (void *)(a->out.at + at);
	struct dmaplane_sqe sqe = remote_sqe(a->side, opcode, a->out.region, a->leases[0], 0,
					     r->b.in_base, 0, 1);
	struct dmaplane_cqe cqe;

	for (uint32_t i = 0; i < count; i++)
		list[i] = (struct dmaplane_segment){ i * (8 + gap), i * (8 + gap_there), 8, 0 };
	dmaplane_sqe_set_segments(&sqe, a->out.buffer.handle, at, count);
	CHECK(r, channel_submit(&a->side->ch, &sqe) == 1, "ENTER");
	for (int i = 0; i < 10000 && !channel_available(&a->side->ch); i++)
		CHECK(r, !mock("step 1"), "step");
	CHECK(r, channel_reap(&a->side->ch, &cqe) && cqe.res == (int)(8 * count), "%d", cqe.res);
	return mock_value("executed") - before;
}

/* As few as the device allows; 9 pieces fit into each. */
TEST_F_TIMEOUT(mock, joined, 600)
{
	struct run *r = &self->run;

	begin(r, ORDERLY, 5);
	prepare(r, &r->a);
	prepare(r, &r->b);
	settle(r);
	ASSERT_TRUE(good(r)) { TH_LOG("%s", r->why); }
	for (int opcode = DMAPLANE_OP_WRITE; opcode <= DMAPLANE_OP_READ; opcode++) {
		EXPECT_EQ(1, requests_of(r, opcode, 1, 0, 0));
		EXPECT_EQ(1, requests_of(r, opcode, 1000, 0, 0));
		EXPECT_EQ(1, requests_of(r, opcode, 9, 1, 0));
		EXPECT_EQ(2, requests_of(r, opcode, 10, 1, 0));
		EXPECT_EQ(10, requests_of(r, opcode, 90, 8, 0));
		EXPECT_EQ(90, requests_of(r, opcode, 90, 0, 8));
		EXPECT_EQ(90, requests_of(r, opcode, 90, 8, 8));
	}
	EXPECT_TRUE(good(r)) { TH_LOG("%s", r->why); }
	compare_fabric(r);
	unmap(&r->a);
	unmap(&r->b);
	EXPECT_TRUE(WAIT_FOR(!mock_value("ports")));
}

/* What @opcode sends on of what is read just before: old bytes, or those. */
static void send_on(struct __test_metadata *_metadata, struct run *r, int opcode, bool fence,
		    uint64_t seed)
{
	struct actor *a = &r->a, *b = &r->b;
	uint64_t from = SLOTS_BYTES, to = b->in_base, source = b->in_base + SLOTS_BYTES;
	uint32_t length = opcode == DMAPLANE_OP_SEND ? longest(b) : SLOT_BYTES;
	struct dmaplane_endpoint_query got;
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;

	fill(a->out.at + from, length, seed);
	fill(b->in.at + source, length, seed + 1);
	memset(b->in.at + to, 0, length);
	if (opcode == DMAPLANE_OP_SEND) {
		dmaplane_prep_recv(&sqe, b->side->endpoint, b->in.buffer.handle, to, length);
		ASSERT_EQ(1, channel_submit(&b->side->ch, &sqe));
	}
	sqe = remote_sqe(a->side, DMAPLANE_OP_READ, a->out.region, a->leases[0], from, source,
			 length, 1);
	ASSERT_EQ(0, channel_push(&a->side->ch, &sqe));
	sqe = remote_sqe(a->side, opcode, a->out.region, a->leases[0], from, to, length, 2);
	if (opcode == DMAPLANE_OP_SEND)
		dmaplane_prep_send(&sqe, a->side->endpoint, a->out.region, from, length);
	sqe.flags = fence ? DMAPLANE_SQE_FENCE : 0;
	ASSERT_EQ(0, channel_push(&a->side->ch, &sqe));
	ASSERT_EQ(2, channel_enter(&a->side->ch, 2, 0, 0));
	ASSERT_EQ(0, query(a->side->fd, a->side->endpoint, &got));
	EXPECT_EQ(fence ? 1 : 2, got.in_flight);
	EXPECT_EQ(fence ? 1 : 0, got.queued);
	for (int i = 0; i < 1000 && channel_available(&a->side->ch) < 2; i++)
		ASSERT_EQ(0, mock("step 1"));
	for (int i = 0; i < 2; i++) {
		ASSERT_TRUE(channel_reap(&a->side->ch, &cqe));
		EXPECT_EQ(length, cqe.res);
	}
	ASSERT_EQ(0, mock("step 100"));
	if (opcode != DMAPLANE_OP_WRITE) {
		ASSERT_TRUE(channel_reap(&b->side->ch, &cqe));
		EXPECT_EQ(length, cqe.res);
	}
	EXPECT_EQ(length, first_wrong(a->out.at + from, length, seed + 1));
	EXPECT_EQ(length, first_wrong(b->in.at + to, length, fence ? seed + 1 : seed)) {
		TH_LOG("opcode %d, %s FENCE", opcode, fence ? "with" : "without");
	}
	ASSERT_LE(0, channel_enter(&b->side->ch, 0, 0, 0));
}

/*
 * An adapter may send what was in memory before a read that was posted earlier has brought
 * something else. This one always does: FENCE is what prevents it.
 */
TEST_F_TIMEOUT(mock, fenced, 600)
{
	static const int opcodes[] = { DMAPLANE_OP_WRITE, DMAPLANE_OP_WRITE_IMM,
				       DMAPLANE_OP_SEND };
	struct run *r = &self->run;

	begin(r, ORDERLY, 5);
	prepare(r, &r->a);
	prepare(r, &r->b);
	settle(r);
	ASSERT_TRUE(good(r)) { TH_LOG("%s", r->why); }
	ASSERT_LT(1, r->a.side->send_depth);
	for (size_t i = 0; i < 2 * ARRAY_LEN(opcodes); i++)
		send_on(_metadata, r, opcodes[i / 2], i % 2, 1000 * i);
	compare_fabric(r);
	EXPECT_TRUE(good(r)) { TH_LOG("%s", r->why); }
	unmap(&r->a);
	unmap(&r->b);
	EXPECT_TRUE(WAIT_FOR(!mock_value("ports")));
}

/* The same seed has the same effects, another has others: a failure can be replayed. */
TEST_F_TIMEOUT(mock, replay, 600)
{
	struct run *r = &self->run;

	for (enum kind kind = ORDERLY; kind <= HOSTILE; kind++) {
		uint64_t trace, digest;

		run(r, kind, 77);
		ASSERT_TRUE(good(r)) { TH_LOG("%s: %s", kinds[kind], r->why); }
		trace = r->trace;
		digest = r->digest;
		run(r, kind, 77);
		EXPECT_EQ(trace, r->trace);
		EXPECT_EQ(digest, r->digest);
		run(r, kind, 78);
		EXPECT_NE(trace, r->trace);
	}
}

TEST_HARNESS_MAIN
