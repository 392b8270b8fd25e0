// SPDX-License-Identifier: GPL-2.0
/*
 * Entries with lists of segments or pages: every byte against a model of what they say, however
 * many work requests they take and however few fit; lists that change or are gone; entries in
 * parts whose end comes in the middle.
 */
#include "lists.h"

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
		if (w->in_pages && length < 64 && source % PAGE + length >= PAGE)
			source += 64;
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

/* Of long lists one opcode each is enough, and shorter ones if little is in flight, or over siw. */
static bool too_slow(const struct world *w, uint32_t *count, uint32_t depth, size_t number)
{
	bool is_long = *count >= 300;
	uint32_t most = (w->in_pages ? 32 : 400) * depth;

	if (*count > most)
		*count = most;
	return is_long && (number + depth) % 3;
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
			uint32_t count = sizes[i].count, bytes;
			struct dmaplane_sqe sqe;

			if (too_slow(w, &count, variant->depth, i + k))
				continue;
			sqe = segments(w, opcodes[k], count, i * 10 + k);
			bytes = draw_segments(w, opcodes[k], list, count, sizes[i].most);
			prepare(w, opcodes[k], list, count);
			ASSERT_EQ(1, submit(w, &sqe));
			check(_metadata, w, opcodes[k], i * 10 + k, bytes);
		}
	}
}

static void shuffle(struct world *w, uint32_t *numbers, uint32_t count)
{
	for (uint32_t n = count - 1; n; n--) {
		uint32_t other = draw(w, n + 1), number = numbers[n];

		numbers[n] = numbers[other];
		numbers[other] = number;
	}
}

/* Both offsets and the list's place are what they are told to be; both sides have other strides. */
static void try_pages(struct __test_metadata *_metadata, struct world *w, int opcode,
		      uint32_t count, uint32_t length, uint32_t stride, uint64_t user_data)
{
	uint64_t offset = draw(w, 100) * 8, span = (uint64_t)(count - 1) * stride + length;
	uint64_t base = w->segment - span / 2, other = w->in_pages ? 0 : 3;
	struct dmaplane_pages *list = (void *)(w->at + offset);
	struct dmaplane_sqe sqe = pages(w, opcode, count, length, user_data);
	uint32_t *local = dmaplane_pages_local(list);
	uint32_t *there = dmaplane_pages_remote(list, count);
	struct dmaplane_segment *model = calloc(count, sizeof(*model));
	bool reads = opcode == READ;

	ASSERT_NE(NULL, model);
	list->local_stride = reads ? stride : length;
	list->remote_stride = reads ? length : stride;
	for (uint32_t n = 0; n < count; n++)
		local[n] = there[n] = n;
	if (draw(w, 2)) {
		shuffle(w, local, count);
		shuffle(w, there, count);
	}
	dmaplane_sqe_set_pages(&sqe, w->list.handle, offset, count);
	sqe.local_offset = reads ? base : other;
	sqe.remote_offset = reads ? other : base;
	for (uint32_t n = 0; n < count; n++) {
		model[n].local_offset = sqe.local_offset + local[n] * list->local_stride;
		model[n].remote_offset = sqe.remote_offset + there[n] * list->remote_stride;
		model[n].length = length;
	}
	prepare(w, opcode, model, count);
	free(model);
	ASSERT_EQ(1, submit(w, &sqe));
	check(_metadata, w, opcode, user_data, count * length);
}

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
		for (size_t k = 0; k < ARRAY_LEN(opcodes); k++) {
			uint32_t count = sizes[i].count;

			if (!too_slow(w, &count, variant->depth, i + k))
				try_pages(_metadata, w, opcodes[k], count, sizes[i].length,
					  sizes[i].stride, i * 10 + k);
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

#define LONG	500

/* A long one under way, of which one range is moved at a time. */
static int begin_long(struct world *w, int opcode)
{
	struct dmaplane_sqe sqe = segments(w, opcode, scattered(w, LONG), 1);

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
	EXPECT_EQ(LONG, cqe.res);
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
	EXPECT_EQ(LONG, cqe.res);
	ASSERT_EQ(0, query(w->p.a.fd, w->p.a.endpoint, &got));
	EXPECT_EQ(0, got.in_flight + got.queued);
	EXPECT_EQ(1, got.sent);
	EXPECT_EQ(LONG, got.sent_bytes);
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
	EXPECT_EQ(LONG, cqe.res);
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
	if (cqe.res != LONG) {
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
		if (cqe.res != -ECONNRESET && cqe.res != LONG) {
			EXPECT_EQ(-EREMOTEIO, cqe.res);
		}
	}
	EXPECT_FALSE(channel_reap(&w->p.a.ch, &cqe));
	EXPECT_TRUE(WAIT_FOR(state_of(w->p.a.fd, w->p.a.endpoint) == DMAPLANE_STATE_ERROR));
	EXPECT_EQ(0, region_deregister(w->p.a.fd, w->near.region));
}

TEST_HARNESS_MAIN
