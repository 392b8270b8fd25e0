// SPDX-License-Identifier: GPL-2.0
/*
 * Entries with lists of segments or pages: every byte against a model of what they say, however
 * many work requests they take and however few fit; lists that change, that are gone, that are
 * wrong; entries in parts whose end comes in the middle.
 */
#include "pair.h"
#include "harness.h"

#define PAGE	4096ULL
#define GUARD	0x5c	/* what memory holds before */

#define WRITE		DMAPLANE_OP_WRITE
#define READ		DMAPLANE_OP_READ
#define WRITE_IMM	DMAPLANE_OP_WRITE_IMM
#define LINK		DMAPLANE_SQE_LINK

#define MOST		DMAPLANE_LIST_MAX
/* Room for the longest list, and as much again. */
#define LIST_BYTES	(2 * MOST * sizeof(struct dmaplane_segment))

struct world {
	struct pair p;
	struct memory near, far;	/* a's, and b's that a may read and write */
	uint32_t lease;
	struct buffer list;		/* of a, not registered */
	uint8_t *at;			/* its mapping */
	uint64_t length, segment;
	uint8_t *model;			/* as what is written must be */
	uint64_t random;
};

/* A pair with @length bytes and, if @crosses, a segment's end in the middle of these. */
static int open_world(struct world *w, uint32_t send_depth, uint64_t length, bool crosses)
{
	struct dmaplane_fabric fabric;
	int ret;

	w->p.a.send_depth = send_depth;
	ret = pair_open(&w->p);
	ret = ret ?: fabric_of(&w->p.a, &fabric);
	if (ret)
		return ret;
	w->segment = fabric.max_segment;
	w->length = crosses ? w->segment + length / 2 : length;
	w->model = malloc(w->length);
	w->random = 1;
	ret = memory_make(&w->p.a, w->length, LOCAL_WRITE, &w->near);
	ret = ret ?: target_for(&w->p.b, &w->p.a, w->length, REMOTE_WRITE | REMOTE_READ, &w->far,
				&w->lease);
	ret = ret ?: buf_create(w->p.a.fd, LIST_BYTES, &w->list);
	if (ret)
		return ret;
	w->at = buf_map(w->p.a.fd, &w->list);
	return w->at == MAP_FAILED || !w->model ? -ENOMEM : 0;
}

static void close_world(struct world *w)
{
	free(w->model);
	pair_close(&w->p);
}

static uint32_t draw(struct world *w, uint32_t below)
{
	w->random = w->random * 6364136223846793005ULL + 1442695040888963407ULL;
	return (w->random >> 33) % below;
}

static struct dmaplane_segment *segments_of(struct world *w)
{
	return (void *)w->at;
}

static struct dmaplane_pages *pages_of(struct world *w)
{
	return (void *)w->at;
}

/* Both offsets are 0, as is the list's. */
static struct dmaplane_sqe segments(struct world *w, int opcode, uint32_t count,
				    uint64_t user_data)
{
	struct dmaplane_sqe sqe = remote_sqe(&w->p.a, opcode, w->near.region, w->lease, 0, 0, 0,
					     user_data);

	dmaplane_sqe_set_segments(&sqe, w->list.handle, 0, count);
	return sqe;
}

static struct dmaplane_sqe pages(struct world *w, int opcode, uint32_t count, uint32_t length,
				 uint64_t user_data)
{
	struct dmaplane_sqe sqe = remote_sqe(&w->p.a, opcode, w->near.region, w->lease, 0, 0,
					     length, user_data);

	dmaplane_sqe_set_pages(&sqe, w->list.handle, 0, count);
	return sqe;
}

static struct dmaplane_sqe with(struct dmaplane_sqe sqe, uint8_t flags)
{
	dmaplane_sqe_set_flags(&sqe, flags);
	return sqe;
}

/* Submits an entry, after which its list is written over. */
static int submit(struct world *w, const struct dmaplane_sqe *sqe)
{
	int ret = channel_submit(&w->p.a.ch, sqe);

	memset(w->at, 0xff, LIST_BYTES);
	return ret;
}

/* What was written before is there; over iWARP that of a WRITE says no more than that TCP has it. */
static int arrive(struct world *w)
{
	struct dmaplane_sqe sqe = remote_sqe(&w->p.a, READ, w->near.region, w->lease, 0, 0, 1, 99);
	struct dmaplane_cqe cqe;
	uint8_t first = w->near.at[0];
	int ret = channel_do(&w->p.a.ch, &sqe, &cqe);

	w->near.at[0] = first;
	return ret ?: cqe.res == 1 && cqe.user_data == 99 ? 0 : -EPROTO;
}

/* The first byte where two memories differ, or their length. */
static uint64_t differ(const uint8_t *a, const uint8_t *b, uint64_t length)
{
	uint64_t i = 0;

	if (!memcmp(a, b, length))
		return length;
	while (a[i] == b[i])
		i++;
	return i;
}

/* Memory as it is before an entry with this opcode; the model as it must be afterwards, @list done. */
static void prepare(struct world *w, int opcode, const struct dmaplane_segment *list,
		    uint32_t count)
{
	const uint8_t *from = opcode == READ ? w->far.at : w->near.at;

	fill(opcode == READ ? w->far.at : w->near.at, w->length, draw(w, 1000000));
	memset(opcode == READ ? w->near.at : w->far.at, GUARD, w->length);
	memset(w->model, GUARD, w->length);
	for (uint32_t i = 0; i < count; i++) {
		uint64_t source = opcode == READ ? list[i].remote_offset : list[i].local_offset;
		uint64_t sink = opcode == READ ? list[i].local_offset : list[i].remote_offset;

		memcpy(w->model + sink, from + source, list[i].length);
	}
}

/* The entry's end, and all memory. With an immediate, the receiver looks first. */
static void check(struct __test_metadata *_metadata, struct world *w, int opcode,
		  uint64_t user_data, uint32_t bytes)
{
	const uint8_t *sink = opcode == READ ? w->near.at : w->far.at;
	bool tells = opcode == WRITE_IMM && can_write(&w->p.a);
	struct dmaplane_cqe cqe;

	if (tells) {
		ASSERT_EQ(0, channel_next(&w->p.b.ch, &cqe));
		EXPECT_EQ(user_data, cqe.imm);
		EXPECT_EQ(w->length, differ(w->model, sink, w->length));
	}
	ASSERT_EQ(0, channel_next(&w->p.a.ch, &cqe));
	EXPECT_EQ(user_data, cqe.user_data);
	EXPECT_EQ(opcode, cqe.opcode);
	EXPECT_EQ(w->p.a.endpoint, cqe.endpoint);
	EXPECT_EQ(0, cqe.wc_status);
	if (opcode == WRITE_IMM && !tells) {
		EXPECT_EQ(-EOPNOTSUPP, cqe.res);
		EXPECT_EQ(w->length, first_not(sink, w->length, GUARD));
		return;
	}
	EXPECT_EQ(bytes, cqe.res);
	if (opcode == WRITE) {
		ASSERT_EQ(0, arrive(w));
	}
	EXPECT_EQ(w->length, differ(w->model, sink, w->length)) {
		TH_LOG("entry %lu", (long)user_data);
	}
	EXPECT_EQ(0, channel_available(&w->p.a.ch));
	EXPECT_EQ(0, channel_available(&w->p.b.ch));
}

static void still_works(struct __test_metadata *_metadata, struct world *w)
{
	struct dmaplane_segment list[2] = { { 5, 7, 1000, 0 }, { 2000, 1500, 1, 0 } };
	struct dmaplane_sqe sqe;

	memcpy(w->at, list, sizeof(list));
	prepare(w, WRITE, list, 2);
	sqe = segments(w, WRITE, 2, 4711);
	ASSERT_EQ(1, submit(w, &sqe));
	check(_metadata, w, WRITE, 4711, 1001);
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(w->p.a.fd, w->p.a.endpoint));
	EXPECT_EQ(DMAPLANE_STATE_ESTABLISHED, state_of(w->p.b.fd, w->p.b.endpoint));
}

/* ---- Random lists, on send queues of every kind ------------------------------- */

FIXTURE(random) {
	struct world w;
};

FIXTURE_VARIANT(random) {
	uint32_t depth;
};

FIXTURE_VARIANT_ADD(random, depth_1) { 1 };
FIXTURE_VARIANT_ADD(random, depth_2) { 2 };
FIXTURE_VARIANT_ADD(random, depth_64) { 64 };

#define SMALL	(256 * 1024)

FIXTURE_SETUP(random)
{
	ASSERT_EQ(0, open_world(&self->w, variant->depth, SMALL, true));
	self->w.random = variant->depth;
}

FIXTURE_TEARDOWN(random)
{
	close_world(&self->w);
}

/*
 * @count segments of @most bytes at most around the end of a memory segment, in any order. What
 * they write to does not overlap. Some go on where another ended, at one side or at both.
 */
static uint32_t draw_segments(struct world *w, int opcode, struct dmaplane_segment *list,
				uint32_t count, uint32_t most)
{
	uint64_t room = (uint64_t)count * most, begin = w->segment - room / 2, sink = begin;
	uint64_t source = begin;
	uint32_t bytes = 0;

	for (uint32_t i = 0; i < count; i++) {
		uint32_t length = draw(w, 8) ? 1 + draw(w, most) : 0;

		/* What is left over may be a gap. */
		if (draw(w, 2))
			sink = begin + (uint64_t)i * most + draw(w, most - length + 1);
		if (sink < begin + (uint64_t)i * most)
			sink = draw(w, 2) ? sink : begin + (uint64_t)i * most;
		if (sink + length > begin + (uint64_t)(i + 1) * most)
			length = begin + (uint64_t)(i + 1) * most - sink;
		if (draw(w, 2))
			source = draw(w, w->length - length);
		if (source + length > w->length)
			source = 0;
		list[i] = (struct dmaplane_segment){ source, sink, length, 0 };
		if (opcode == READ)
			list[i] = (struct dmaplane_segment){ sink, source, length, 0 };
		sink += length;
		source += length;
		bytes += length;
	}
	/* Neighbours stay neighbours half the time. */
	if (draw(w, 2)) {
		for (uint32_t i = count - 1; i; i--) {
			struct dmaplane_segment other = list[i];
			uint32_t j = draw(w, i + 1);

			list[i] = list[j];
			list[j] = other;
		}
	}
	return bytes;
}

/* Of long lists one opcode each is enough. */
static bool too_slow(uint32_t count, size_t number)
{
	return count >= 300 && number % 3;
}

TEST_F(random, segments)
{
	static const struct { uint32_t count, most; } sizes[] = {
		{ 1, 1 }, { 1, 200000 }, { 2, 100000 }, { 3, 70000 }, { 17, 10000 }, { 100, 2000 },
		{ 100, 7 }, { 400, 500 }, { MOST, 60 },
	};
	static const int opcodes[] = { WRITE, READ, WRITE_IMM };
	struct world *w = &self->w;

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		for (size_t k = 0; k < ARRAY_LEN(opcodes); k++) {
			struct dmaplane_segment *list = segments_of(w);
			struct dmaplane_sqe sqe = segments(w, opcodes[k], sizes[i].count, i * 10 + k);
			uint32_t bytes;

			if (too_slow(sizes[i].count, i + k + variant->depth))
				continue;
			bytes = draw_segments(w, opcodes[k], list, sizes[i].count, sizes[i].most);
			prepare(w, opcodes[k], list, sizes[i].count);
			ASSERT_EQ(1, submit(w, &sqe));
			check(_metadata, w, opcodes[k], i * 10 + k, bytes);
		}
	}
}

/* Both offsets and the list's place are what they are told to be. */
TEST_F(random, pages)
{
	static const struct { uint32_t count, length, stride; } sizes[] = {
		{ 1, 4096, 4096 }, { 1, 100000, 1 }, { 16, 4096, 4096 }, { 16, 4096, 12288 },
		{ 50, 1000, 1000 }, { 50, 1000, 3001 }, { 300, 64, 640 }, { MOST, 8, 16 },
		{ MOST, 1, 1 },
	};
	static const int opcodes[] = { WRITE, READ, WRITE_IMM };
	struct world *w = &self->w;

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint32_t count = sizes[i].count, length = sizes[i].length, stride = sizes[i].stride;

		for (size_t k = 0; k < ARRAY_LEN(opcodes); k++) {
			uint64_t offset = draw(w, 100) * 8, span = (uint64_t)(count - 1) * stride + length;
			uint64_t base = w->segment - span / 2;
			struct dmaplane_pages *list = (void *)(w->at + offset);
			struct dmaplane_sqe sqe = pages(w, opcodes[k], count, length, i * 10 + k);
			uint32_t *local = dmaplane_pages_local(list);
			uint32_t *there = dmaplane_pages_remote(list, count);
			struct dmaplane_segment *model = calloc(count, sizeof(*model));
			bool sorted = draw(w, 2);

			ASSERT_NE(NULL, model);
			if (too_slow(count, i + k + variant->depth)) {
				free(model);
				continue;
			}
			/* Both sides have other strides; there the pages come in another order. */
			list->local_stride = k == 1 ? stride : length;
			list->remote_stride = k == 1 ? length : stride;
			for (uint32_t n = 0; n < count; n++)
				local[n] = there[n] = n;
			for (uint32_t n = count - 1; n && !sorted; n--) {
				uint32_t other = draw(w, n + 1), number = there[n];

				there[n] = there[other];
				there[other] = number;
				other = draw(w, n + 1);
				number = local[n];
				local[n] = local[other];
				local[other] = number;
			}
			dmaplane_sqe_set_pages(&sqe, w->list.handle, offset, count);
			sqe.local_offset = k == 1 ? base : 3;
			sqe.remote_offset = k == 1 ? 3 : base;
			for (uint32_t n = 0; n < count; n++) {
				model[n].local_offset = sqe.local_offset +
							local[n] * list->local_stride;
				model[n].remote_offset = sqe.remote_offset +
							 there[n] * list->remote_stride;
				model[n].length = length;
			}
			prepare(w, opcodes[k], model, count);
			free(model);
			ASSERT_EQ(1, submit(w, &sqe));
			check(_metadata, w, opcodes[k], i * 10 + k, count * length);
		}
	}
}

/* ---- What they are for ---------------------------------------------------------- */

FIXTURE(lists) {
	struct world w;
};

#define LENGTH	(64 * PAGE)

FIXTURE_SETUP(lists)
{
	ASSERT_EQ(0, open_world(&self->w, 16, LENGTH, false));
}

FIXTURE_TEARDOWN(lists)
{
	close_world(&self->w);
}

/*
 * A paged KV cache: each block has a page of every layer. An entry moves a layer of a request's
 * blocks to blocks that are free at the peer, and says when it is there.
 */
TEST_F(lists, layers_of_a_paged_cache)
{
	enum { LAYERS = 8, BLOCKS = 32, BYTES = 1024, USED = 20 };
	struct world *w = &self->w;
	bool tells = can_write(&w->p.a);
	uint32_t local[USED], there[USED];
	struct dmaplane_cqe cqe;

	fill(w->near.at, LENGTH, 5);
	memset(w->far.at, GUARD, LENGTH);
	memset(w->model, GUARD, LENGTH);
	for (uint32_t i = 0; i < USED; i++) {
		local[i] = (i * 7 + 3) % BLOCKS;
		there[i] = (i * 11 + 1) % BLOCKS;
	}
	for (uint32_t layer = 0; layer < LAYERS; layer++) {
		struct dmaplane_pages *list = pages_of(w);
		struct dmaplane_sqe sqe = pages(w, tells ? WRITE_IMM : WRITE, USED, BYTES, layer);

		list->local_stride = list->remote_stride = LAYERS * BYTES;
		memcpy(dmaplane_pages_local(list), local, sizeof(local));
		memcpy(dmaplane_pages_remote(list, USED), there, sizeof(there));
		sqe.local_offset = sqe.remote_offset = layer * BYTES;
		ASSERT_EQ(1, submit(w, &sqe));
	}
	for (uint32_t layer = 0; layer < LAYERS; layer++) {
		if (tells) {
			ASSERT_EQ(0, channel_next(&w->p.b.ch, &cqe));
			EXPECT_EQ(layer, cqe.imm);
		} else {
			ASSERT_EQ(0, channel_next(&w->p.a.ch, &cqe));
			EXPECT_EQ(layer, cqe.user_data);
			EXPECT_EQ(USED * BYTES, cqe.res);
		}
		for (uint32_t i = 0; i < USED && tells; i++) {
			uint64_t from = (local[i] * LAYERS + layer) * BYTES;
			uint64_t to = (there[i] * LAYERS + layer) * BYTES;

			EXPECT_EQ(0, memcmp(w->near.at + from, w->far.at + to, BYTES));
		}
	}
	for (uint32_t layer = 0; layer < LAYERS && tells; layer++) {
		ASSERT_EQ(0, channel_next(&w->p.a.ch, &cqe));
		EXPECT_EQ(layer, cqe.user_data);
	}
	ASSERT_EQ(0, arrive(w));
	for (uint32_t i = 0; i < USED; i++)
		memcpy(w->model + there[i] * LAYERS * BYTES, w->near.at + local[i] * LAYERS * BYTES,
		       LAYERS * BYTES);
	EXPECT_EQ(LENGTH, differ(w->model, w->far.at, LENGTH));
	EXPECT_FALSE(channel_reap(&w->p.b.ch, &cqe));
	still_works(_metadata, w);
}

TEST_F(lists, that_overlap)
{
	struct world *w = &self->w;
	struct dmaplane_segment *list = segments_of(w);
	struct dmaplane_sqe sqe = segments(w, READ, 64, 1);
	struct dmaplane_cqe cqe;

	memset(w->near.at, GUARD, LENGTH);
	for (int i = 0; i < 64; i++) {
		memset(w->far.at + i * PAGE, 0x80 + i, PAGE);
		/* Each is read often, and written over by the next. */
		list[i] = (struct dmaplane_segment){ 100 * i, i * PAGE, 400, 0 };
	}
	ASSERT_EQ(1, submit(w, &sqe));
	ASSERT_EQ(0, channel_next(&w->p.a.ch, &cqe));
	EXPECT_EQ(64 * 400, cqe.res);
	for (int at = 0; at < 64 * 100 + 300; at++) {
		int last = at / 100, first = last - 3, is = w->near.at[at] - 0x80;

		ASSERT_LE(first, is);
		ASSERT_GE(last, is);
		ASSERT_LE(0, is);
		ASSERT_GE(63, is);
	}
	EXPECT_EQ(LENGTH - 6700, first_not(w->near.at + 6700, LENGTH - 6700, GUARD));
	still_works(_metadata, w);
}

/* Nothing at all, in many ranges. */
TEST_F(lists, without_bytes)
{
	struct world *w = &self->w;

	for (int opcode = WRITE; opcode <= READ; opcode++) {
		struct dmaplane_sqe sqe = segments(w, opcode, 100, opcode);

		prepare(w, opcode, NULL, 0);
		memset(w->at, 0, LIST_BYTES);
		ASSERT_EQ(1, submit(w, &sqe));
		check(_metadata, w, opcode, opcode, 0);
		sqe.region = sqe.lease = 0;
		memset(w->at, 0, LIST_BYTES);
		ASSERT_EQ(1, submit(w, &sqe));
		check(_metadata, w, opcode, opcode, 0);
		sqe = pages(w, opcode, MOST, 0, opcode);
		memset(w->at, 0, LIST_BYTES);
		ASSERT_EQ(1, submit(w, &sqe));
		check(_metadata, w, opcode, opcode, 0);
	}
	still_works(_metadata, w);
}

/* Many segments, each apart from the others, so that it takes a while. */
static uint32_t scattered(struct world *w, uint32_t count)
{
	struct dmaplane_segment *list = segments_of(w);

	for (uint32_t i = 0; i < count; i++)
		list[i] = (struct dmaplane_segment){ 2 * i, 3 * i, 1, 0 };
	return count;
}

/* A short entry that comes after a long one is not starved, nor does it overtake. */
TEST_F(lists, with_others_around)
{
	struct world *w = &self->w;
	struct dmaplane_cqe cqe;
	struct dmaplane_sqe sqe;
	int order[] = { 1, 2, 3, 4, 5 };

	scattered(w, 1000);
	sqe = remote_sqe(&w->p.a, WRITE, w->near.region, w->lease, 0, 0, 9, 1);
	ASSERT_EQ(0, channel_push(&w->p.a.ch, &sqe));
	sqe = segments(w, WRITE, 1000, 2);
	ASSERT_EQ(0, channel_push(&w->p.a.ch, &sqe));
	sqe = remote_sqe(&w->p.a, WRITE, w->near.region, w->lease, 0, 0, 9, 3);
	ASSERT_EQ(0, channel_push(&w->p.a.ch, &sqe));
	sqe = segments(w, READ, 1000, 4);
	ASSERT_EQ(0, channel_push(&w->p.a.ch, &sqe));
	sqe = remote_sqe(&w->p.a, READ, w->near.region, w->lease, 0, 0, 9, 5);
	ASSERT_EQ(0, channel_push(&w->p.a.ch, &sqe));
	ASSERT_EQ(5, channel_enter(&w->p.a.ch, 5, 0, 0));
	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		ASSERT_EQ(0, channel_next(&w->p.a.ch, &cqe));
		EXPECT_EQ(order[i], cqe.user_data);
		EXPECT_EQ(order[i] % 2 ? 9 : 1000, cqe.res);
	}
	still_works(_metadata, w);
}

/* As other entries: chains, fences, no completion if all is well. */
TEST_F(lists, with_flags)
{
	struct world *w = &self->w;
	struct dmaplane_cqe cqe;
	struct dmaplane_sqe sqe;

	fill(w->far.at, 3000, 8);
	memset(w->near.at, GUARD, LENGTH);
	scattered(w, 1000);
	sqe = with(segments(w, READ, 1000, 1), LINK | DMAPLANE_SQE_CQE_SKIP_SUCCESS);
	ASSERT_EQ(0, channel_push(&w->p.a.ch, &sqe));
	sqe = with(segments(w, WRITE, 1000, 2), DMAPLANE_SQE_FENCE);
	sqe.remote_offset = 8 * PAGE;
	ASSERT_EQ(0, channel_push(&w->p.a.ch, &sqe));
	sqe = with(segments(w, READ, 1000, 3), DMAPLANE_SQE_FENCE);
	sqe.remote_offset = 8 * PAGE;
	sqe.local_offset = 8 * PAGE;
	ASSERT_EQ(0, channel_push(&w->p.a.ch, &sqe));
	ASSERT_EQ(3, channel_enter(&w->p.a.ch, 3, 0, 0));
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, channel_next(&w->p.a.ch, &cqe));
		EXPECT_EQ(1000, cqe.res);
	}
	ASSERT_EQ(0, arrive(w));
	for (int i = 0; i < 1000; i++)
		ASSERT_EQ(w->far.at[3 * i], w->near.at[2 * i]);
	/* The second began behind the third. */
	for (int i = 0; i < 1000; i++)
		ASSERT_EQ(w->far.at[3 * i], w->far.at[8 * PAGE + 3 * i]);
	sqe = segments(w, WRITE, 1, 4);
	scattered(w, 1);
	sqe.local_offset = LENGTH;
	sqe.flags |= LINK;
	ASSERT_EQ(0, channel_push(&w->p.a.ch, &sqe));
	sqe = segments(w, WRITE, 1, 5);
	ASSERT_EQ(0, channel_push(&w->p.a.ch, &sqe));
	ASSERT_EQ(2, channel_enter(&w->p.a.ch, 2, 0, 0));
	ASSERT_EQ(0, channel_next(&w->p.a.ch, &cqe));
	EXPECT_EQ(-ERANGE, cqe.res);
	ASSERT_EQ(0, channel_next(&w->p.a.ch, &cqe));
	EXPECT_EQ(-ECANCELED, cqe.res);
	still_works(_metadata, w);
}

/* ---- Lists that change, or are gone --------------------------------------------- */

/* The mapping is not needed, nor is the handle once the entry is taken. */
TEST_F(lists, whose_buffer_goes)
{
	struct world *w = &self->w;
	struct dmaplane_segment *list = segments_of(w);
	struct dmaplane_sqe sqe = segments(w, READ, 1000, 1);
	struct dmaplane_stats stats;
	struct dmaplane_cqe cqe;

	scattered(w, 1000);
	prepare(w, READ, list, 1000);
	ASSERT_EQ(0, munmap(w->at, LIST_BYTES));
	ASSERT_EQ(1, channel_submit(&w->p.a.ch, &sqe));
	EXPECT_EQ(0, buf_destroy(w->p.a.fd, w->list.handle));
	ASSERT_EQ(0, get_stats(w->p.a.fd, &stats));
	EXPECT_EQ(1, stats.buffers);
	check(_metadata, w, READ, 1, 1000);
	ASSERT_EQ(0, channel_do(&w->p.a.ch, &sqe, &cqe));
	EXPECT_EQ(-ENOENT, cqe.res);
	ASSERT_EQ(0, buf_create(w->p.a.fd, LIST_BYTES, &w->list));
	w->at = buf_map(w->p.a.fd, &w->list);
	ASSERT_NE(MAP_FAILED, w->at);
	still_works(_metadata, w);
}

/* A list may be part of the memory that its own entry reads, or writes. */
TEST_F(lists, in_what_is_moved)
{
	struct world *w = &self->w;
	struct dmaplane_segment *list = (void *)w->near.at;
	struct dmaplane_sqe sqe = segments(w, READ, 50, 1);

	memset(w->near.at, GUARD, LENGTH);
	fill(w->far.at, LENGTH, 3);
	for (uint32_t i = 0; i < 50; i++)
		list[i] = (struct dmaplane_segment){ (49 - i) * 100, i * 107, 100, 0 };
	memcpy(w->model, w->near.at, LENGTH);
	for (uint32_t i = 0; i < 50; i++)
		memcpy(w->model + (49 - i) * 100, w->far.at + i * 107, 100);
	dmaplane_sqe_set_segments(&sqe, w->near.buffer.handle, 0, 50);
	ASSERT_EQ(1, channel_submit(&w->p.a.ch, &sqe));
	check(_metadata, w, READ, 1, 5000);
}

static volatile bool over;

/* Changes a list all the time: good, of other bytes, wrong, nonsense. */
static void *scribble(void *arg)
{
	struct world *w = arg;

	for (uint64_t n = 0; !over; n++) {
		volatile struct dmaplane_segment *s = &segments_of(w)[n % 64];

		s->local_offset = n % 11 == 3 ? n << 40 : n * 64 % LENGTH;
		s->remote_offset = n % 13 == 5 ? UINT64_MAX - n : n * 192 % LENGTH;
		s->length = n % 17 == 7 ? UINT32_MAX : n % 64;
		s->pad = n % 101 == 9;
	}
	return NULL;
}

TEST_F(lists, that_change_meanwhile)
{
	struct world *w = &self->w;
	uint64_t end = now_ns() + SEC / 2;
	unsigned int good = 0, bad = 0;
	struct dmaplane_cqe cqe;
	struct dmaplane_sqe sqe;
	pthread_t thread;

	over = false;
	ASSERT_EQ(0, pthread_create(&thread, NULL, scribble, w));
	while (now_ns() < end || good + bad < 50) {
		sqe = segments(w, good % 2 ? READ : WRITE, 1 + (good + bad) % 64, 1);
		ASSERT_EQ(0, channel_do(&w->p.a.ch, &sqe, &cqe));
		good += cqe.res >= 0;
		bad += cqe.res < 0;
		if (cqe.res < 0 && cqe.res != -EOVERFLOW && cqe.res != -ERANGE &&
		    cqe.res != -EFBIG && cqe.res != -EINVAL) {
			EXPECT_EQ(0, cqe.res);
			break;
		}
		EXPECT_EQ(0, cqe.wc_status);
	}
	over = true;
	pthread_join(thread, NULL);
	EXPECT_LT(0, good);
	EXPECT_LT(0, bad);
	still_works(_metadata, w);
}

/* ---- Entries of which only a part was sent --------------------------------------- */

FIXTURE(parts) {
	struct world w;
};

FIXTURE_SETUP(parts)
{
	ASSERT_EQ(0, open_world(&self->w, 1, LENGTH, false));
}

FIXTURE_TEARDOWN(parts)
{
	close_world(&self->w);
}

/* A long one under way, of which one range is moved at a time. */
static int begin_long(struct world *w, int opcode)
{
	struct dmaplane_sqe sqe = segments(w, opcode, scattered(w, MOST), 1);

	return submit(w, &sqe);
}

TEST_F(parts, are_one_to_cancel)
{
	struct world *w = &self->w;
	struct dmaplane_cqe cqe;
	struct dmaplane_sqe sqe;

	ASSERT_EQ(1, begin_long(w, READ));
	sqe = remote_sqe(&w->p.a, READ, w->near.region, w->lease, 0, 0, 9, 2);
	ASSERT_EQ(1, channel_submit(&w->p.a.ch, &sqe));
	sqe = cancel(3, w->p.a.endpoint, 1, 0);
	ASSERT_EQ(0, channel_do(&w->p.a.ch, &sqe, &cqe));
	EXPECT_EQ(3, cqe.user_data);
	EXPECT_EQ(-EALREADY, cqe.res);
	sqe = cancel(4, w->p.a.endpoint, 0, DMAPLANE_CANCEL_ALL);
	ASSERT_EQ(0, channel_do(&w->p.a.ch, &sqe, &cqe));
	EXPECT_EQ(2, cqe.user_data);
	EXPECT_EQ(-ECANCELED, cqe.res);
	ASSERT_EQ(0, channel_next(&w->p.a.ch, &cqe));
	EXPECT_EQ(4, cqe.user_data);
	EXPECT_EQ(1, cqe.res);
	ASSERT_EQ(0, channel_next(&w->p.a.ch, &cqe));
	EXPECT_EQ(1, cqe.user_data);
	EXPECT_EQ(MOST, cqe.res);
	still_works(_metadata, w);
}

/* What is under way counts as one, and has the region. */
TEST_F(parts, are_one_to_count)
{
	struct world *w = &self->w;
	struct dmaplane_endpoint_query got;
	struct dmaplane_stats stats;
	struct dmaplane_cqe cqe;

	ASSERT_EQ(1, begin_long(w, WRITE));
	ASSERT_EQ(0, query(w->p.a.fd, w->p.a.endpoint, &got));
	EXPECT_EQ(1, got.in_flight + got.queued);
	EXPECT_EQ(0, got.sent);
	EXPECT_EQ(-EBUSY, region_deregister(w->p.a.fd, w->near.region));
	ASSERT_EQ(0, get_stats(w->p.a.fd, &stats));
	EXPECT_EQ(1, stats.submitted - stats.completed);
	ASSERT_EQ(0, channel_next(&w->p.a.ch, &cqe));
	EXPECT_EQ(MOST, cqe.res);
	ASSERT_EQ(0, query(w->p.a.fd, w->p.a.endpoint, &got));
	EXPECT_EQ(0, got.in_flight + got.queued);
	EXPECT_EQ(1, got.sent);
	EXPECT_EQ(MOST, got.sent_bytes);
	EXPECT_EQ(0, region_deregister(w->p.a.fd, w->near.region));
}

/* Leases, and memory being registered, come between parts. */
TEST_F(parts, leave_room_for_others)
{
	struct world *w = &self->w;
	struct dmaplane_lease_wait got;
	struct dmaplane_cqe cqe;
	struct memory m;
	uint32_t lease;

	ASSERT_EQ(1, begin_long(w, READ));
	ASSERT_EQ(0, memory_make(&w->p.a, PAGE, REMOTE_WRITE, &m));
	ASSERT_EQ(0, lease_grant(&w->p.a, m.region, 6, &lease));
	ASSERT_EQ(0, lease_wait(&w->p.b, PATIENCE, &got));
	EXPECT_EQ(6, got.tag);
	ASSERT_EQ(0, channel_next(&w->p.a.ch, &cqe));
	EXPECT_EQ(MOST, cqe.res);
	still_works(_metadata, w);
}

/* However it ends, there is one completion, and nothing has the region then. */
static void expect_one_end(struct __test_metadata *_metadata, struct world *w, int why)
{
	struct dmaplane_stats stats;
	struct dmaplane_cqe cqe;

	ASSERT_EQ(0, channel_next(&w->p.a.ch, &cqe));
	EXPECT_EQ(1, cqe.user_data);
	/* It may have been done. */
	if (cqe.res != MOST) {
		EXPECT_EQ(why, cqe.res);
	}
	ASSERT_EQ(0, channel_next(&w->p.a.ch, &cqe));
	EXPECT_EQ(2, cqe.user_data);
	if (cqe.res != 9) {
		EXPECT_EQ(why, cqe.res);
	}
	EXPECT_FALSE(channel_reap(&w->p.a.ch, &cqe));
	ASSERT_EQ(0, get_stats(w->p.a.fd, &stats));
	EXPECT_EQ(stats.submitted, stats.completed);
	EXPECT_EQ(0, region_deregister(w->p.a.fd, w->near.region));
}

TEST_F(parts, when_it_is_closed)
{
	struct world *w = &self->w;
	struct dmaplane_sqe sqe = remote_sqe(&w->p.a, WRITE, w->near.region, w->lease, 0, 0, 9, 2);

	ASSERT_EQ(1, begin_long(w, WRITE));
	ASSERT_EQ(1, channel_submit(&w->p.a.ch, &sqe));
	EXPECT_EQ(0, endpoint_close(w->p.a.fd, w->p.a.endpoint));
	EXPECT_EQ(2, channel_available(&w->p.a.ch));
	expect_one_end(_metadata, w, -ECANCELED);
}

TEST_F(parts, when_the_peer_closes)
{
	struct world *w = &self->w;
	struct dmaplane_sqe sqe = remote_sqe(&w->p.a, READ, w->near.region, w->lease, 0, 0, 9, 2);

	ASSERT_EQ(1, begin_long(w, READ));
	ASSERT_EQ(1, channel_submit(&w->p.a.ch, &sqe));
	EXPECT_EQ(0, endpoint_close(w->p.b.fd, w->p.b.endpoint));
	expect_one_end(_metadata, w, -ECONNRESET);
}

/* The peer takes the memory away in the middle. */
TEST_F(parts, when_the_lease_is_revoked)
{
	struct world *w = &self->w;
	struct dmaplane_sqe sqe = remote_sqe(&w->p.a, READ, w->near.region, w->lease, 0, 0, 9, 2);
	struct dmaplane_cqe cqe;

	ASSERT_EQ(1, begin_long(w, READ));
	ASSERT_EQ(1, channel_submit(&w->p.a.ch, &sqe));
	EXPECT_EQ(0, region_deregister(w->p.b.fd, w->far.region));
	for (int i = 1; i <= 2; i++) {
		ASSERT_EQ(0, channel_next(&w->p.a.ch, &cqe));
		EXPECT_EQ(i, cqe.user_data);
		if (cqe.res != -ECONNRESET && cqe.res != MOST) {
			EXPECT_EQ(-EREMOTEIO, cqe.res);
		}
	}
	EXPECT_FALSE(channel_reap(&w->p.a.ch, &cqe));
	EXPECT_TRUE(WAIT_FOR(state_of(w->p.a.fd, w->p.a.endpoint) == DMAPLANE_STATE_ERROR));
	EXPECT_EQ(0, region_deregister(w->p.a.fd, w->near.region));
}

/* ---- Lists that are wrong ----------------------------------------------------------- */

#define EXPECT_RES(result, ...) do {						\
		struct dmaplane_sqe sqe = good;					\
		struct dmaplane_cqe cqe;					\
										\
		__VA_ARGS__;							\
		ASSERT_EQ(0, channel_do(&w->p.a.ch, &sqe, &cqe));		\
		EXPECT_EQ(result, cqe.res) {					\
			TH_LOG("%s", #__VA_ARGS__);				\
		}								\
		EXPECT_EQ(good.user_data, cqe.user_data);			\
		EXPECT_EQ(0, cqe.wc_status);					\
	} while (0)

/* Of both kinds: which list, where, how long. */
TEST_F(lists, wrong_in_the_entry)
{
	struct world *w = &self->w;
	uint32_t stale;
	struct buffer short_lived;
	struct dmaplane_info info;

	ASSERT_EQ(0, get_info(w->p.a.fd, &info));
	EXPECT_EQ(DMAPLANE_FEATURE_LIST, info.features & DMAPLANE_FEATURE_LIST);
	ASSERT_EQ(0, buf_create(w->p.a.fd, PAGE, &short_lived));
	ASSERT_EQ(0, buf_destroy(w->p.a.fd, short_lived.handle));
	stale = short_lived.handle;
	prepare(w, WRITE, NULL, 0);
	memset(w->at, 0, LIST_BYTES);
	for (int kind = 0; kind < 2; kind++) {
		const struct dmaplane_sqe good = kind ? pages(w, WRITE, 8, 8, kind) :
							segments(w, WRITE, 8, kind);

		EXPECT_RES(-EINVAL, sqe.list_count = 0);
		EXPECT_RES(-E2BIG, sqe.list_count = MOST + 1);
		EXPECT_RES(-E2BIG, sqe.list_count = UINT32_MAX);
		EXPECT_RES(-EINVAL, sqe.list_offset = 4);
		EXPECT_RES(-EINVAL, sqe.list_offset = 1);
		EXPECT_RES(-ERANGE, sqe.list_offset = LIST_BYTES);
		EXPECT_RES(-ERANGE, sqe.list_offset = LIST_BYTES - 8);
		EXPECT_RES(-ERANGE, sqe.list_offset = 1ULL << 63);
		EXPECT_RES(-EOVERFLOW, sqe.list_offset = UINT64_MAX - 7);
		EXPECT_RES(-ENOENT, sqe.list = 0);
		EXPECT_RES(-ENOENT, sqe.list = 0xdeadbeef);
		EXPECT_RES(-ENOENT, sqe.list = stale);
		EXPECT_RES(-EBADF, sqe.list = w->near.region);
		EXPECT_RES(-EBADF, sqe.list = w->p.a.endpoint);
		EXPECT_RES(-EINVAL, sqe.flags |= DMAPLANE_SQE_SEGMENTS | DMAPLANE_SQE_PAGES);
		EXPECT_RES(-EINVAL, sqe.flags = 0);
		EXPECT_RES(-EINVAL, sqe.flags |= 64);
		EXPECT_RES(-EINVAL, sqe.imm = 1);
		EXPECT_RES(-EINVAL, sqe.pad0 = 1);
		EXPECT_RES(-ENOENT, sqe.endpoint = 0);
		EXPECT_RES(-EINVAL, sqe.flags = 0, sqe.list = 0, sqe.list_count = 0,
			   sqe.list_offset = 8);
		EXPECT_RES(-EINVAL, sqe.flags = 0, sqe.list = 0, sqe.list_offset = 0);
		EXPECT_RES(-EINVAL, sqe.flags = 0, sqe.list_count = 0, sqe.list_offset = 0);
	}
	EXPECT_EQ(LENGTH, first_not(w->far.at, LENGTH, GUARD));
	still_works(_metadata, w);
}

/* The list as long as its buffer, to the last byte. */
TEST_F(lists, at_the_end_of_their_buffer)
{
	struct world *w = &self->w;
	uint64_t last = LIST_BYTES - sizeof(struct dmaplane_segment);
	struct dmaplane_segment *list = (void *)(w->at + last);
	struct dmaplane_sqe good = segments(w, WRITE, 1, 1);
	struct dmaplane_pages *end;

	good.list_offset = last;
	*list = (struct dmaplane_segment){ 1, 2, 3, 0 };
	prepare(w, WRITE, list, 1);
	ASSERT_EQ(1, channel_submit(&w->p.a.ch, &good));
	check(_metadata, w, WRITE, 1, 3);
	EXPECT_RES(-ERANGE, sqe.list_offset = last + 8);
	EXPECT_RES(-ERANGE, sqe.list_count = 2);

	good = pages(w, WRITE, 1, 3, 2);
	good.list_offset = LIST_BYTES - 24;
	prepare(w, WRITE, &(struct dmaplane_segment){ 1, 2, 3, 0 }, 1);
	end = (void *)(w->at + good.list_offset);
	end->local_stride = end->remote_stride = 1;
	*dmaplane_pages_local(end) = 1;
	*dmaplane_pages_remote(end, 1) = 2;
	ASSERT_EQ(1, channel_submit(&w->p.a.ch, &good));
	check(_metadata, w, WRITE, 2, 3);
	EXPECT_RES(-ERANGE, sqe.list_offset = LIST_BYTES - 16);
	EXPECT_RES(-ERANGE, sqe.list_count = 2);
	still_works(_metadata, w);
}

/* One bad segment among good ones. */
TEST_F(lists, wrong_segments)
{
	struct world *w = &self->w;
	struct dmaplane_segment *list = segments_of(w), s;
	struct dmaplane_info info;

	ASSERT_EQ(0, get_info(w->p.a.fd, &info));
	prepare(w, WRITE, NULL, 0);
	for (int place = 0; place < 100; place += 33) {
		const struct dmaplane_sqe good = segments(w, WRITE, 100, place);

#define EXPECT_SEGMENT(result, ...) do {					\
		for (int i = 0; i < 100; i++)					\
			list[i] = (struct dmaplane_segment){ 8 * i, 16 * i, 8, 0 }; \
		s = list[place];						\
		__VA_ARGS__;							\
		list[place] = s;						\
		EXPECT_RES(result, (void)#__VA_ARGS__);				\
	} while (0)
		EXPECT_SEGMENT(-EINVAL, s.pad = 1);
		EXPECT_SEGMENT(-EINVAL, s.pad = 1U << 31);
		EXPECT_SEGMENT(-ERANGE, s.local_offset = LENGTH - 7);
		EXPECT_SEGMENT(-ERANGE, s.remote_offset = LENGTH - 7);
		EXPECT_SEGMENT(-ERANGE, s.remote_offset = LENGTH + 1, s.length = 0);
		EXPECT_SEGMENT(-ERANGE, s.length = LENGTH + 1);
		EXPECT_SEGMENT(-EOVERFLOW, s.local_offset = UINT64_MAX);
		EXPECT_SEGMENT(-EOVERFLOW, s.remote_offset = UINT64_MAX - 7);
		EXPECT_SEGMENT(-EFBIG, s.length = info.max_transfer - 99 * 8 + 1);
		EXPECT_SEGMENT(-EFBIG, s.length = UINT32_MAX);
	}
	{
		struct dmaplane_sqe good = segments(w, WRITE, 1, 1);

		list[0] = (struct dmaplane_segment){ 8, 16, 8, 0 };
		EXPECT_RES(-EOVERFLOW, sqe.local_offset = UINT64_MAX);
		EXPECT_RES(-EOVERFLOW, sqe.remote_offset = UINT64_MAX - 15);
		EXPECT_RES(-EOVERFLOW, sqe.remote_offset = UINT64_MAX - 16);
		EXPECT_RES(-ERANGE, sqe.remote_offset = UINT64_MAX - 24);
		EXPECT_RES(-ERANGE, sqe.local_offset = LENGTH - 15);
		EXPECT_RES(-EINVAL, sqe.length = 8);
		EXPECT_RES(-ENOENT, sqe.region = 0);
		EXPECT_RES(-ENOKEY, sqe.lease = 0);
		EXPECT_RES(-ENOKEY, sqe.lease = w->lease + 1);
	}
	EXPECT_EQ(LENGTH, first_not(w->far.at, LENGTH, GUARD));
	still_works(_metadata, w);
}

TEST_F(lists, wrong_pages)
{
	struct world *w = &self->w;
	struct dmaplane_pages *list = pages_of(w);
	uint32_t *local = dmaplane_pages_local(list), *there = dmaplane_pages_remote(list, 100);
	const struct dmaplane_sqe good = pages(w, WRITE, 100, 64, 7);
	struct dmaplane_info info;

	ASSERT_EQ(0, get_info(w->p.a.fd, &info));
	prepare(w, WRITE, NULL, 0);
#define EXPECT_PAGES(result, ...) do {						\
		list->local_stride = 128;					\
		list->remote_stride = 64;					\
		for (int i = 0; i < 100; i++)					\
			local[i] = there[i] = i;				\
		EXPECT_RES(result, __VA_ARGS__);				\
	} while (0)
	for (int place = 0; place < 100; place += 33) {
		EXPECT_PAGES(-ERANGE, local[place] = UINT32_MAX);
		EXPECT_PAGES(-ERANGE, there[place] = UINT32_MAX);
		EXPECT_PAGES(-ERANGE, local[place] = LENGTH / 128);
		EXPECT_PAGES(-ERANGE, there[place] = LENGTH / 64);
		EXPECT_PAGES(-EOVERFLOW, list->local_stride = 1ULL << 63, local[place] = 2);
		EXPECT_PAGES(-EOVERFLOW, list->remote_stride = 1ULL << 32,
			     there[place] = UINT32_MAX, sqe.remote_offset = 1ULL << 32);
	}
	EXPECT_PAGES(-EOVERFLOW, list->remote_stride = UINT64_MAX);
	EXPECT_PAGES(-EOVERFLOW, sqe.local_offset = UINT64_MAX - 99 * 128 + 1);
	EXPECT_PAGES(-ERANGE, sqe.local_offset = UINT64_MAX - 99 * 128 - 64);
	EXPECT_PAGES(-ERANGE, sqe.remote_offset = LENGTH - 6399);
	EXPECT_PAGES(-ERANGE, sqe.length = LENGTH + 1);
	EXPECT_PAGES(-EFBIG, sqe.length = info.max_transfer / 100 + 1);
	EXPECT_PAGES(-EFBIG, sqe.length = UINT32_MAX);
	EXPECT_PAGES(-ENOENT, sqe.region = 0);
	EXPECT_PAGES(-ENOKEY, sqe.lease = 0);
	EXPECT_EQ(LENGTH, first_not(w->far.at, LENGTH, GUARD));
	still_works(_metadata, w);
}

/* Those that move nothing to or from a peer have no lists. */
TEST_F(lists, where_none_can_be)
{
	struct world *w = &self->w;
	struct dmaplane_sqe others[6];

	memset(w->at, 0, LIST_BYTES);
	others[0] = nop(0, 0);
	others[1] = copy_buffer(w->list.handle, 0, w->list.handle, 64, 8);
	others[2] = fill_buffer(w->list.handle, 0, 8, 0);
	dmaplane_prep_imm_only(&others[3], w->p.a.endpoint, 1);
	others[4] = cancel(0, w->p.a.endpoint, 7, 0);
	dmaplane_prep_invalidate(&others[5], w->near.region);
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		const struct dmaplane_sqe good = others[i];

		EXPECT_RES(-EINVAL, sqe.flags = DMAPLANE_SQE_SEGMENTS);
		EXPECT_RES(-EINVAL, sqe.flags = DMAPLANE_SQE_PAGES);
		EXPECT_RES(-EINVAL, dmaplane_sqe_set_segments(&sqe, w->list.handle, 0, 1));
		EXPECT_RES(-EINVAL, sqe.list = w->list.handle);
		EXPECT_RES(-EINVAL, sqe.list_count = 1);
		EXPECT_RES(-EINVAL, sqe.list_offset = 8);
	}
	EXPECT_FALSE(channel_available(&w->p.b.ch));
	still_works(_metadata, w);
}

/* ---- What a list costs ---------------------------------------------------------------- */

#define USER	65534

/* One entry by a thread of the channel's: its res, or what went wrong. */
static int done_by_thread(struct channel *c, const struct dmaplane_sqe *sqe)
{
	struct dmaplane_cqe cqe;
	int ret = channel_push(c, sqe);

	ret = ret ?: dmaplane_enter(c, 0, 1, DMAPLANE_ENTER_SQ_WAKEUP, PATIENCE);
	return ret ?: channel_reap(c, &cqe) ? cqe.res : -EPROTO;
}

/* A number other than 0 says what was not as it should be. */
static int spend_the_limit(void *arg)
{
	struct world *w = arg;
	struct rlimit limit = { 256 * 1024, 256 * 1024 };
	struct dmaplane_channel_create create =
		ARG(channel_create, .flags = DMAPLANE_CHANNEL_SQPOLL, .sq_entries = 4,
		    .cq_entries = 4, .sq_idle_ms = 1);
	struct channel polled;
	struct buffer buffer, held[80];
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;
	int count = 0, ret = 0;

	scattered(w, MOST);
	if (setrlimit(RLIMIT_MEMLOCK, &limit) || setgid(USER) || setuid(USER))
		return 1;
	if (dmaplane_channel_make(w->p.a.fd, &create, 0, &polled))
		return 13;
	while (count < 80 && !(ret = buf_create(w->p.a.fd, PAGE, &held[count])))
		count++;
	if (ret != -EDQUOT || count < 30)
		return 2;
	/* There is room for none, however short. */
	for (uint32_t entries = 1; entries <= MOST; entries *= 64) {
		sqe = segments(w, READ, entries, entries);
		ret = channel_do(&w->p.a.ch, &sqe, &cqe);
		if (ret || cqe.user_data != entries || cqe.res != -EDQUOT)
			return 3;
		sqe = pages(w, READ, entries, 0, entries);
		if (channel_do(&w->p.a.ch, &sqe, &cqe) || cqe.res != -EDQUOT)
			return 4;
		/* Nor if who submits it is a thread. */
		if (done_by_thread(&polled, &sqe) != -EDQUOT)
			return 14;
	}
	/* One without a list needs none. */
	sqe = remote_sqe(&w->p.a, READ, w->near.region, w->lease, 0, 0, 9, 1);
	if (channel_do(&w->p.a.ch, &sqe, &cqe) || cqe.res != 9)
		return 5;
	/* A page is room for a short one, and free again when it is done, or found to be wrong. */
	if (buf_destroy(w->p.a.fd, held[--count].handle))
		return 6;
	for (int i = 0; i < 40; i++) {
		sqe = segments(w, READ, 64, i);
		if (i % 2)
			sqe.local_offset = LENGTH;
		ret = channel_do(&w->p.a.ch, &sqe, &cqe);
		if (ret || cqe.res != (i % 2 ? -ERANGE : 64))
			return 7;
	}
	sqe = segments(w, READ, 64, 0);
	if (done_by_thread(&polled, &sqe) != 64 || channel_close(&polled))
		return 15;
	/* As long as it is under way it counts. */
	for (int i = 0; i < 24; i++)
		if (buf_destroy(w->p.a.fd, held[--count].handle))
			return 8;
	sqe = segments(w, READ, MOST, 1);
	if (channel_submit(&w->p.a.ch, &sqe) != 1)
		return 9;
	if (buf_create(w->p.a.fd, 8 * PAGE, &buffer) != -EDQUOT)
		return 10;
	if (channel_next(&w->p.a.ch, &cqe) || cqe.res != MOST)
		return 11;
	if (buf_create(w->p.a.fd, 8 * PAGE, &buffer))
		return 12;
	return 0;
}

TEST_F(parts, count_against_the_limit)
{
	int status = in_child(spend_the_limit, &self->w);

	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	still_works(_metadata, &self->w);
}

TEST_HARNESS_MAIN
