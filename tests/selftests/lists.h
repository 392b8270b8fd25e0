/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Entries with lists: a pair with memory at both ends and a buffer for a list, what an entry says
 * that has one, and a model of what it must do, with which every byte is compared.
 */
#ifndef DMAPLANE_TEST_LISTS_H
#define DMAPLANE_TEST_LISTS_H

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
	bool in_pages;			/* ranges of a few bytes must not cross a page */
	uint8_t *model;			/* as what is written must be */
	uint64_t random;
};

/* A pair with @length bytes and, if @crosses, a segment's end in the middle of these. */
static inline int open_world(struct world *w, uint32_t send_depth, uint64_t length, bool crosses)
{
	struct dmaplane_fabric fabric;
	int ret;

	w->p.a.send_depth = send_depth;
	ret = pair_open(&w->p);
	ret = ret ?: fabric_of(&w->p.a, &fabric);
	if (ret)
		return ret;
	w->segment = fabric.max_segment;
	/* Soft-iWARP sends other bytes then: siw_try_1seg() has its two parts the wrong way round. */
	w->in_pages = !can_write(&w->p.a);
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

static inline void close_world(struct world *w)
{
	free(w->model);
	pair_close(&w->p);
}

static inline uint32_t draw(struct world *w, uint32_t below)
{
	w->random = w->random * 6364136223846793005ULL + 1442695040888963407ULL;
	return (w->random >> 33) % below;
}

static inline struct dmaplane_segment *segments_of(struct world *w)
{
	return (void *)w->at;
}

static inline struct dmaplane_pages *pages_of(struct world *w)
{
	return (void *)w->at;
}

/* Both offsets are 0, as is the list's. */
static inline struct dmaplane_sqe segments(struct world *w, int opcode, uint32_t count,
				    uint64_t user_data)
{
	struct dmaplane_sqe sqe = remote_sqe(&w->p.a, opcode, w->near.region, w->lease, 0, 0, 0,
					     user_data);

	dmaplane_sqe_set_segments(&sqe, w->list.handle, 0, count);
	return sqe;
}

static inline struct dmaplane_sqe pages(struct world *w, int opcode, uint32_t count, uint32_t length,
				 uint64_t user_data)
{
	struct dmaplane_sqe sqe = remote_sqe(&w->p.a, opcode, w->near.region, w->lease, 0, 0,
					     length, user_data);

	dmaplane_sqe_set_pages(&sqe, w->list.handle, 0, count);
	return sqe;
}

static inline struct dmaplane_sqe with(struct dmaplane_sqe sqe, uint8_t flags)
{
	dmaplane_sqe_set_flags(&sqe, flags);
	return sqe;
}

/* Submits an entry, after which its list is written over. */
static inline int submit(struct world *w, const struct dmaplane_sqe *sqe)
{
	int ret = channel_submit(&w->p.a.ch, sqe);

	memset(w->at, 0xff, LIST_BYTES);
	return ret;
}

/* What was written before is there; over iWARP that of a WRITE says no more than that TCP has it. */
static inline int arrive(struct world *w)
{
	struct dmaplane_sqe sqe = remote_sqe(&w->p.a, READ, w->near.region, w->lease, 0, 0, 1, 99);
	struct dmaplane_cqe cqe;
	uint8_t first = w->near.at[0];
	int ret = channel_do(&w->p.a.ch, &sqe, &cqe);

	w->near.at[0] = first;
	return ret ?: cqe.res == 1 && cqe.user_data == 99 ? 0 : -EPROTO;
}

/* The first byte where two memories differ, or their length. */
static inline uint64_t differ(const uint8_t *a, const uint8_t *b, uint64_t length)
{
	uint64_t i = 0;

	if (!memcmp(a, b, length))
		return length;
	while (a[i] == b[i])
		i++;
	return i;
}

/* Memory as it is before an entry with this opcode; the model as it must be afterwards, @list done. */
static inline void prepare(struct world *w, int opcode, const struct dmaplane_segment *list,
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
static inline void check(struct __test_metadata *_metadata, struct world *w, int opcode,
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

static inline void still_works(struct __test_metadata *_metadata, struct world *w)
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

/* Many segments, each apart from the others, so that it takes a while. */
static inline uint32_t scattered(struct world *w, uint32_t count)
{
	struct dmaplane_segment *list = segments_of(w);

	for (uint32_t i = 0; i < count; i++)
		list[i] = (struct dmaplane_segment){ 2 * i, 3 * i, 1, 0 };
	return count;
}

#endif /* DMAPLANE_TEST_LISTS_H */
