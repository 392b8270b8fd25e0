// SPDX-License-Identifier: GPL-2.0
/*
 * Lists that are wrong: where they are, how long, in each of their members. An entry with one of
 * these changes nothing. And what they cost: a user may have no more of them than memory.
 */
#include "lists.h"

FIXTURE(wrong) {
	struct world w;
};

#define LENGTH	(64 * PAGE)

FIXTURE_SETUP(wrong)
{
	ASSERT_EQ(0, open_world(&self->w, 1, LENGTH, false));
}

FIXTURE_TEARDOWN(wrong)
{
	close_world(&self->w);
}

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
TEST_F(wrong, in_the_entry)
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
TEST_F(wrong, beyond_the_end_of_its_buffer)
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
TEST_F(wrong, segments)
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

TEST_F(wrong, pages)
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
TEST_F(wrong, where_none_can_be)
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
	if (buf_destroy(w->p.a.fd, held[--count].handle))
		return 8;
	sqe = segments(w, READ, 300, 1);
	if (channel_submit(&w->p.a.ch, &sqe) != 1)
		return 9;
	if (buf_create(w->p.a.fd, 2 * PAGE, &buffer) != -EDQUOT)
		return 10;
	if (channel_next(&w->p.a.ch, &cqe) || cqe.res != 300)
		return 11;
	if (buf_create(w->p.a.fd, 2 * PAGE, &buffer))
		return 12;
	return 0;
}

TEST_F(wrong, beyond_the_limit)
{
	int status = in_child(spend_the_limit, &self->w);

	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	still_works(_metadata, &self->w);
}

TEST_HARNESS_MAIN
