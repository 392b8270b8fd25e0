// SPDX-License-Identifier: GPL-2.0
/*
 * Views: parts of a region with handles of their own. What is done through them stays in them, to
 * the byte; they allow no more than what they are of; thousands are made at once, or none.
 */
#include "remote.h"

#define ALL_ACCESS (REMOTE_WRITE | REMOTE_READ | LOCAL_WRITE)

/* As op(), but of another region or lease. */
static struct dmaplane_sqe through(const FIXTURE_DATA(remote) *self, int opcode, uint32_t region,
				   uint32_t lease, uint64_t local, uint64_t there, uint32_t length)
{
	return remote_sqe(&self->p.a, opcode, region, lease, local, there, length, 7);
}

/* A lease of b's view. */
static int lease_of(FIXTURE_DATA(remote) *self, uint32_t view, struct dmaplane_lease_wait *got)
{
	uint32_t granted;
	int ret = lease_grant(&self->p.b, view, 99, &granted);

	ret = ret ? ret : lease_wait(&self->p.a, PATIENCE, got);
	return ret ? ret : got->lease == granted && got->tag == 99 ? 0 : -EPROTO;
}

/* ---- What is done through them ----------------------------------------------------- */

/* Bytes @from..@to of a memory are as fill() left them, all others GUARD. */
static void expect_only(struct __test_metadata *_metadata, const struct memory *m, uint64_t from,
			uint64_t length, uint64_t seed)
{
	uint64_t end = from + length;

	EXPECT_EQ(length, first_wrong(m->at + from, length, seed));
	EXPECT_EQ(from, first_not(m->at, from, GUARD));
	EXPECT_EQ(m->length - end, first_not(m->at + end, m->length - end, GUARD));
}

TEST_F(remote, offsets_are_counted_from_the_view)
{
	static const struct { uint64_t offset, length; } views[] = {
		{ 0, LENGTH }, { 0, 1 }, { LENGTH - 1, 1 }, { 4097, 3000 }, { PAGE, 20 * PAGE },
	};

	for (size_t i = 0; i < ARRAY_LEN(views); i++) {
		uint64_t offset = views[i].offset, length = views[i].length;
		uint32_t view, most = length, at = length / 3;

		ASSERT_EQ(0, view_make(self->p.a.fd, self->near.region, offset, length,
				       LOCAL_WRITE, &view));
		memset(self->near.at, GUARD, LENGTH);
		memset(self->far.at, GUARD, LENGTH);
		fill(self->near.at + offset, length, i);
		EXPECT_RES((int)most, through(self, WRITE, view, self->lease, 0, 0, most));
		EXPECT_ARRIVED();
		expect_only(_metadata, &self->far, 0, length, i);
		memset(self->near.at, GUARD, LENGTH);
		fill(self->far.at, length, i + 50);
		EXPECT_RES((int)most, through(self, READ, view, self->lease, 0, 0, most));
		expect_only(_metadata, &self->near, offset, length, i + 50);
		/* Not from its beginning. */
		EXPECT_RES((int)(most - at), through(self, READ, view, self->lease, at, at,
						     most - at));
		expect_only(_metadata, &self->near, offset, length, i + 50);
		EXPECT_EQ(0, view_end(self->p.a.fd, view));
	}
	still_works(_metadata, self);
}

TEST_F(remote, ends_to_the_byte)
{
	enum { OFFSET = 5000, ROOM = 7000 };
	uint32_t view;

	ASSERT_EQ(0, view_make(self->p.a.fd, self->near.region, OFFSET, ROOM, LOCAL_WRITE, &view));
	for (int opcode = WRITE; opcode <= READ; opcode++) {
		EXPECT_RES(ROOM, through(self, opcode, view, self->lease, 0, 0, ROOM));
		EXPECT_RES(1, through(self, opcode, view, self->lease, ROOM - 1, 0, 1));
		EXPECT_RES(0, through(self, opcode, view, self->lease, ROOM, 0, 0));
		EXPECT_RES(-ERANGE, through(self, opcode, view, self->lease, ROOM + 1, 0, 0));
		EXPECT_RES(-ERANGE, through(self, opcode, view, self->lease, 0, 0, ROOM + 1));
		EXPECT_RES(-ERANGE, through(self, opcode, view, self->lease, ROOM, 0, 1));
		EXPECT_RES(-ERANGE, through(self, opcode, view, self->lease, 1, 0, ROOM));
		EXPECT_RES(-ERANGE, through(self, opcode, view, self->lease, LENGTH, 0, 1));
		EXPECT_RES(-ERANGE, through(self, opcode, view, self->lease, -1ULL, 0, 0));
		/* What would be the byte before it. */
		EXPECT_RES(-EOVERFLOW, through(self, opcode, view, self->lease, -1ULL, 0, 1));
		EXPECT_RES(-EOVERFLOW, through(self, opcode, view, self->lease, -OFFSET, 0, OFFSET));
	}
	still_works(_metadata, self);
}

TEST_F(remote, messages)
{
	uint32_t view, outside;
	struct dmaplane_cqe cqe;
	struct dmaplane_sqe sqe;

	ASSERT_EQ(0, view_make(self->p.a.fd, self->near.region, 1001, 100, 0, &view));
	ASSERT_EQ(0, view_make(self->p.a.fd, self->near.region, LENGTH - 1, 1, 0, &outside));
	fill(self->near.at + 1001, 100, 3);
	dmaplane_prep_recv(&sqe, self->p.b.endpoint, self->far.buffer.handle, 0, 100);
	ASSERT_EQ(1, channel_submit(&self->p.b.ch, &sqe));
	dmaplane_prep_send(&sqe, self->p.a.endpoint, view, 1, 100);
	EXPECT_RES(-ERANGE, sqe);
	dmaplane_prep_send(&sqe, self->p.a.endpoint, outside, 0, 2);
	EXPECT_RES(-ERANGE, sqe);
	dmaplane_prep_send(&sqe, self->p.a.endpoint, view, 0, 100);
	EXPECT_RES(100, sqe);
	ASSERT_EQ(0, channel_next(&self->p.b.ch, &cqe));
	EXPECT_EQ(100, cqe.res);
	EXPECT_EQ(100, first_wrong(self->far.at, 100, 3));
	still_works(_metadata, self);
}

TEST_F(remote, immediates)
{
	struct dmaplane_cqe cqe;
	uint32_t view;

	ASSERT_EQ(0, view_make(self->p.a.fd, self->near.region, 333, 1000, 0, &view));
	fill(self->near.at + 333, 1000, 4);
	EXPECT_RES(-ERANGE, through(self, DMAPLANE_OP_WRITE_IMM, view, self->lease, 1, 0, 1000));
	EXPECT_RES(written(&self->p.a, 1000),
		   through(self, DMAPLANE_OP_WRITE_IMM, view, self->lease, 0, 5, 1000));
	if (can_write(&self->p.a)) {
		ASSERT_EQ(0, channel_next(&self->p.b.ch, &cqe));
		EXPECT_EQ(7, cqe.imm);
		EXPECT_EQ(1000, first_wrong(self->far.at + 5, 1000, 4));
	}
	still_works(_metadata, self);
}

/* All ranges of a list are the view's, also those that were joined. */
TEST_F(remote, lists)
{
	enum { OFFSET = 3 * PAGE + 17, ROOM = 2000 };
	const struct dmaplane_segment good[] = {
		{ 1500, 0, 500, 0 }, { 0, 500, 700, 0 }, { 700, 1200, 800, 0 }, { ROOM, 9, 0, 0 },
	};
	struct buffer buffer;
	struct dmaplane_segment *list;
	struct dmaplane_sqe sqe;
	uint32_t view;

	ASSERT_EQ(0, view_make(self->p.a.fd, self->near.region, OFFSET, ROOM, LOCAL_WRITE, &view));
	ASSERT_EQ(0, buf_create(self->p.a.fd, PAGE, &buffer));
	list = buf_map(self->p.a.fd, &buffer);
	ASSERT_NE(MAP_FAILED, list);
	fill(self->near.at + OFFSET, ROOM, 8);
	memcpy(list, good, sizeof(good));
	sqe = through(self, WRITE, view, self->lease, 0, 100, 0);
	dmaplane_sqe_set_segments(&sqe, buffer.handle, 0, ARRAY_LEN(good));
	EXPECT_RES(2000, sqe);
	EXPECT_ARRIVED();
	EXPECT_EQ(0, memcmp(self->far.at + 100, self->near.at + OFFSET + 1500, 500));
	EXPECT_EQ(0, memcmp(self->far.at + 600, self->near.at + OFFSET, 1500));
	EXPECT_EQ(100, first_not(self->far.at, 100, GUARD));
	EXPECT_EQ(LENGTH - 2100, first_not(self->far.at + 2100, LENGTH - 2100, GUARD));
	/* One of them a byte too far; offset and range together. */
	list[1] = (struct dmaplane_segment){ ROOM - 1, 500, 2, 0 };
	EXPECT_RES(-ERANGE, sqe);
	memcpy(list, good, sizeof(good));
	sqe.local_offset = 1;
	EXPECT_RES(-ERANGE, sqe);
	list[0].local_offset = -2ULL;
	list[0].length = 0;
	sqe.local_offset = 2;
	EXPECT_RES(-EOVERFLOW, sqe);
	still_works(_metadata, self);
}

TEST_F(remote, rights_only_shrink)
{
	int a = self->p.a.fd;

	for (uint32_t has = 0; has <= ALL_ACCESS; has++) {
		uint32_t region, view, part;

		ASSERT_EQ(0, region_register(a, self->p.a.endpoint, self->near.buffer.handle, 0,
					     LENGTH, has, &region));
		for (uint32_t wants = 0; wants <= ALL_ACCESS; wants++) {
			bool may = !(wants & ~has);

			EXPECT_EQ(may ? 0 : -EACCES, view_make(a, region, 0, PAGE, wants, &view)) {
				TH_LOG("%u of %u", wants, has);
			}
			if (!may)
				continue;
			EXPECT_RES(100, through(self, WRITE, view, self->lease, 0, 0, 100));
			EXPECT_RES(wants & LOCAL_WRITE ? 100 : -EACCES,
				   through(self, READ, view, self->lease, 0, 0, 100));
			for (uint32_t of = 0; of <= ALL_ACCESS; of++) {
				EXPECT_EQ(of & ~wants ? -EACCES : 0,
					  view_make(a, view, 1, 2, of, &part));
			}
		}
		ASSERT_EQ(0, region_deregister(a, region));
	}
	still_works(_metadata, self);
}

/* A view of a view, in which the other one has no part. */
TEST_F(remote, views_of_views)
{
	uint32_t outer, inner;
	int a = self->p.a.fd;

	ASSERT_EQ(0, view_make(a, self->near.region, 1000, 5000, LOCAL_WRITE, &outer));
	ASSERT_EQ(0, view_make(a, outer, 200, 300, LOCAL_WRITE, &inner));
	EXPECT_EQ(-ERANGE, view_make(a, outer, 4999, 2, 0, &(uint32_t){ 0 }));
	EXPECT_EQ(-EOVERFLOW, view_make(a, outer, -1000ULL, 1000, 0, &(uint32_t){ 0 }));
	EXPECT_EQ(0, view_end(a, outer));
	EXPECT_RES(-ENOENT, through(self, WRITE, outer, self->lease, 0, 0, 1));
	fill(self->near.at + 1200, 300, 5);
	EXPECT_RES(300, through(self, WRITE, inner, self->lease, 0, 0, 300));
	EXPECT_RES(-ERANGE, through(self, WRITE, inner, self->lease, 0, 0, 301));
	EXPECT_ARRIVED();
	EXPECT_EQ(300, first_wrong(self->far.at, 300, 5));
	EXPECT_EQ(LENGTH - 300, first_not(self->far.at + 300, LENGTH - 300, GUARD));
	still_works(_metadata, self);
}

/* ---- Leases on them --------------------------------------------------------------- */

/* What the peer of a lease on [@offset, @offset + @length) of @far gets to. */
static void try_lease(struct __test_metadata *_metadata, FIXTURE_DATA(remote) *self,
		      uint64_t offset, uint64_t length)
{
	struct dmaplane_lease_wait got;
	static uint64_t seed = 200;
	uint32_t view, most = length;

	ASSERT_EQ(0, view_make(self->p.b.fd, self->far.region, offset, length,
			       REMOTE_WRITE | REMOTE_READ, &view));
	ASSERT_EQ(0, lease_of(self, view, &got));
	EXPECT_EQ(length, got.length);
	EXPECT_EQ(REMOTE_WRITE | REMOTE_READ, got.access);
	/* The lease is what it was when it was granted. */
	EXPECT_EQ(0, view_end(self->p.b.fd, view));
	memset(self->far.at, GUARD, self->far.length);
	fill(self->near.at, length, ++seed);
	EXPECT_RES((int)most, through(self, WRITE, self->near.region, got.lease, 0, 0, most));
	/* What is read afterwards is behind it. */
	EXPECT_RES(1, through(self, READ, self->near.region, got.lease, self->near.length - 1,
			      length - 1, 1));
	expect_only(_metadata, &self->far, offset, length, seed);
	fill(self->far.at + offset, length, ++seed);
	EXPECT_RES((int)most, through(self, READ, self->near.region, got.lease, 0, 0, most));
	EXPECT_EQ(length, first_wrong(self->near.at, length, seed));
	EXPECT_RES(-ERANGE, through(self, WRITE, self->near.region, got.lease, 0, length, 1));
	EXPECT_RES(-ERANGE, through(self, READ, self->near.region, got.lease, 0, 1, most));
	EXPECT_RES(-EOVERFLOW, through(self, WRITE, self->near.region, got.lease, 0, -1ULL, 1));
}

TEST_F(remote, the_peer_counts_from_the_view)
{
	try_lease(_metadata, self, 0, LENGTH / 2);
	try_lease(_metadata, self, PAGE, 3 * PAGE);
	try_lease(_metadata, self, 5001, 6000);
	try_lease(_metadata, self, LENGTH - 1, 1);
	still_works(_metadata, self);
}

/* Regions of several memory keys: a lease has those that the view touches, the first from its middle on. */
TEST_F(remote, leases_across_segments)
{
	struct dmaplane_fabric fabric;
	struct pair *p = &self->p;

	ASSERT_EQ(0, fabric_of(&p->a, &fabric));
	{
		uint64_t segment = fabric.max_segment, length = 3 * segment + 3 * PAGE;
		const struct { uint64_t offset, length; } views[] = {
			{ segment - 100, 200 },
			{ segment - 1, 2 },
			{ segment, segment },
			{ segment, 1 },
			{ segment + 64, 2 * segment },
			{ 3 * segment - 4096, 4096 },
			{ 3 * segment + 100, PAGE },
			{ 5000, 2 * segment },
		};

		ASSERT_EQ(0, memory_make(&p->a, length, LOCAL_WRITE, &self->near));
		ASSERT_EQ(0, target_for(&p->b, &p->a, length, REMOTE_WRITE | REMOTE_READ,
					&self->far, &self->lease));
		for (size_t i = 0; i < ARRAY_LEN(views); i++)
			try_lease(_metadata, self, views[i].offset, views[i].length);
	}
	still_works(_metadata, self);
}

TEST_F(remote, leases_have_the_rights_of_the_view)
{
	for (uint32_t access = 0; access <= (REMOTE_WRITE | REMOTE_READ); access++) {
		struct dmaplane_lease_wait got;
		uint32_t view, granted;

		ASSERT_EQ(0, view_make(self->p.b.fd, self->far.region, 100, 100, access, &view));
		if (!access) {
			EXPECT_EQ(-EACCES, lease_grant(&self->p.b, view, 0, &granted));
			continue;
		}
		ASSERT_EQ(0, lease_of(self, view, &got));
		EXPECT_EQ(access, got.access);
		EXPECT_RES(access & REMOTE_WRITE ? 9 : -EACCES,
			   through(self, WRITE, self->near.region, got.lease, 0, 0, 9));
		EXPECT_RES(access & REMOTE_READ ? 9 : -EACCES,
			   through(self, READ, self->near.region, got.lease, 0, 0, 9));
	}
	still_works(_metadata, self);
}

/* ---- How they end ------------------------------------------------------------------ */

TEST_F(remote, the_region_goes)
{
	uint32_t region, view, again;
	int a = self->p.a.fd;
	struct memory other;

	/* Deregistered: views say that it is not there, and its place in the table is used again. */
	ASSERT_EQ(0, region_register(a, self->p.a.endpoint, self->near.buffer.handle, 0, LENGTH,
				     LOCAL_WRITE, &region));
	ASSERT_EQ(0, view_make(a, region, 0, 100, LOCAL_WRITE, &view));
	ASSERT_EQ(0, region_deregister(a, region));
	ASSERT_EQ(0, memory_make(&self->p.a, PAGE, LOCAL_WRITE, &other));
	EXPECT_RES(-ENOENT, through(self, WRITE, view, self->lease, 0, 0, 1));
	EXPECT_EQ(-ENOENT, view_make(a, view, 0, 1, 0, &again));
	EXPECT_EQ(-ENOENT, lease_grant(&self->p.a, view, 0, &again));
	EXPECT_EQ(0, view_end(a, view));
	EXPECT_EQ(-ENOENT, view_end(a, view));
	/* Invalidated. */
	ASSERT_EQ(0, view_make(a, other.region, 0, 100, LOCAL_WRITE, &view));
	EXPECT_RES(0, invalidate(other.region, 1, 0));
	EXPECT_RES(-EKEYREVOKED, through(self, WRITE, view, self->lease, 0, 0, 1));
	EXPECT_EQ(-EKEYREVOKED, view_make(a, view, 0, 1, 0, &again));
	EXPECT_EQ(-EKEYREVOKED, view_make(a, other.region, 0, 1, 0, &again));
	EXPECT_EQ(-EKEYREVOKED, lease_grant(&self->p.a, view, 0, &again));
	EXPECT_EQ(0, view_end(a, view));
	still_works(_metadata, self);
}

/* A view keeps no memory, and no region in use; an entry does. */
TEST_F(remote, views_keep_nothing)
{
	long buffers = live("buffers"), regions = live("regions");
	struct memory other;
	uint32_t view;
	int a = self->p.a.fd;

	ASSERT_EQ(0, memory_make(&self->p.a, PAGE, LOCAL_WRITE, &other));
	ASSERT_EQ(0, view_make(a, other.region, 0, PAGE, LOCAL_WRITE, &view));
	push_what_waits(_metadata, self, 1);
	SUBMIT(through(self, READ, view, self->lease, 0, 0, 9));
	/* Not begun, and without its view. */
	EXPECT_EQ(0, view_end(a, view));
	EXPECT_EQ(-EBUSY, region_deregister(a, other.region));
	SUBMIT(cancel(3, self->p.a.endpoint, 7, 0), cancel(4, self->p.a.endpoint, 1, 0));
	for (int i = 0; i < 4; i++) {
		struct dmaplane_cqe cqe;

		ASSERT_EQ(0, channel_next(&self->p.a.ch, &cqe));
	}
	ASSERT_EQ(0, view_make(a, other.region, 0, PAGE, LOCAL_WRITE, &view));
	EXPECT_EQ(0, region_deregister(a, other.region));
	EXPECT_EQ(0, buf_destroy(a, other.buffer.handle));
	EXPECT_EQ(0, munmap(other.at, PAGE));
	EXPECT_EQ(buffers, live("buffers"));
	EXPECT_EQ(regions, live("regions"));
	still_works(_metadata, self);
}

/* ---- Many of them ------------------------------------------------------------------ */

#define MANY 10000

FIXTURE(views) {
	struct pair p;
	struct memory m;	/* a's */
	struct dmaplane_view *list;
	uint32_t *handles;
	long before;
};

FIXTURE_SETUP(views)
{
	self->before = live("views");
	ASSERT_EQ(0, pair_open(&self->p));
	ASSERT_EQ(0, memory_make(&self->p.a, MANY, ALL_ACCESS, &self->m));
	self->list = calloc(DMAPLANE_VIEW_MAX + 1, sizeof(*self->list));
	self->handles = calloc(DMAPLANE_VIEW_MAX + 1, sizeof(*self->handles));
	ASSERT_NE(NULL, self->list);
	ASSERT_NE(NULL, self->handles);
}

FIXTURE_TEARDOWN(views)
{
	EXPECT_EQ(0, munmap(self->m.at, MANY));
	pair_close(&self->p);
	/* However many were left. */
	EXPECT_EQ(self->before, live("views"));
	free(self->list);
	free(self->handles);
}

/* @count views of a byte each. */
static int make(FIXTURE_DATA(views) *self, uint32_t count)
{
	int ret;

	for (uint32_t i = 0; i < count; i++)
		self->list[i] = (struct dmaplane_view){ .offset = i % MANY, .length = 1 };
	ret = views_make(self->p.a.fd, self->m.region, self->list, count);
	for (uint32_t i = 0; i < count; i++)
		self->handles[i] = self->list[i].handle;
	return ret;
}

/* What a write from a view says: a lease is wrong, if nothing else is. */
static int use(FIXTURE_DATA(views) *self, uint32_t handle)
{
	struct dmaplane_sqe sqe = remote_sqe(&self->p.a, WRITE, handle, 1, 0, 0, 1, 7);
	struct dmaplane_cqe cqe;
	int ret = channel_do(&self->p.a.ch, &sqe, &cqe);

	return ret ? ret : cqe.res;
}

#define ALIVE (-ENOKEY)

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void expect_distinct(struct __test_metadata *_metadata, uint32_t *handles, uint32_t count)
{
	qsort(handles, count, sizeof(*handles), by_value);
	ASSERT_NE(0, handles[0]);
	for (uint32_t i = 1; i < count; i++)
		ASSERT_NE(handles[i - 1], handles[i]);
}

TEST_F(views, ten_thousand_in_one_call)
{
	int fd = self->p.a.fd;

	ASSERT_EQ(0, make(self, MANY));
	EXPECT_EQ(MANY, fdinfo(fd, "views"));
	EXPECT_EQ(self->before + MANY, live("views"));
	for (uint32_t i = 0; i < MANY; i += 999) {
		EXPECT_EQ(ALIVE, use(self, self->handles[i]));
		/* Each has its own place: the last byte has none behind it. */
		EXPECT_EQ(i == MANY - 1 ? -ERANGE : 0,
			  view_make(fd, self->handles[i], 0, 1, 0, &(uint32_t){ 0 }));
	}
	EXPECT_EQ(0, views_end(fd, self->handles, MANY));
	EXPECT_EQ(MANY / 999 + 1, fdinfo(fd, "views"));
	EXPECT_EQ(-ENOENT, use(self, self->handles[5]));
	expect_distinct(_metadata, self->handles, MANY);
}

TEST_F(views, as_many_as_the_limit)
{
	uint32_t one;
	int fd = self->p.a.fd;

	ASSERT_EQ(0, view_make(fd, self->m.region, 0, 1, 0, &one));
	EXPECT_EQ(-E2BIG, make(self, DMAPLANE_VIEW_MAX + 1));
	EXPECT_EQ(-EMFILE, make(self, DMAPLANE_VIEW_MAX));
	EXPECT_EQ(1, fdinfo(fd, "views"));
	ASSERT_EQ(0, make(self, DMAPLANE_VIEW_MAX - 1));
	EXPECT_EQ(-EMFILE, view_make(fd, self->m.region, 0, 1, 0, &(uint32_t){ 0 }));
	EXPECT_EQ(0, view_end(fd, one));
	EXPECT_EQ(0, view_make(fd, self->m.region, 0, 1, 0, &self->handles[DMAPLANE_VIEW_MAX - 1]));
	EXPECT_EQ(-E2BIG, views_end(fd, self->handles, DMAPLANE_VIEW_MAX + 1));
	EXPECT_EQ(DMAPLANE_VIEW_MAX, fdinfo(fd, "views"));
	EXPECT_EQ(0, views_end(fd, self->handles, DMAPLANE_VIEW_MAX));
	EXPECT_EQ(0, fdinfo(fd, "views"));
	/* The context is closed with them. */
	ASSERT_EQ(0, make(self, DMAPLANE_VIEW_MAX));
	expect_distinct(_metadata, self->handles, DMAPLANE_VIEW_MAX);
}

/* Places are used again, handles are not. */
TEST_F(views, a_stale_handle_stays_stale)
{
	unsigned int rounds = instrumented() ? 40000 : 200000;
	int fd = self->p.a.fd;
	uint32_t stale;

	ASSERT_EQ(0, view_make(fd, self->m.region, 0, 1, 0, &stale));
	ASSERT_EQ(0, view_end(fd, stale));
	for (unsigned int i = 0; i < rounds; i++) {
		uint32_t view;

		ASSERT_EQ(0, view_make(fd, self->m.region, 0, 1, 0, &view));
		ASSERT_NE(stale, view) {
			TH_LOG("after %u", i);
		}
		if (i % 4096 == 0) {
			EXPECT_EQ(-ENOENT, use(self, stale));
			EXPECT_EQ(-ENOENT, view_end(fd, stale));
			EXPECT_EQ(-ENOENT, buf_destroy(fd, stale));
		}
		ASSERT_EQ(0, view_end(fd, view));
	}
}

/* ---- Bad arguments: nothing is made, nothing destroyed ----------------------------- */

TEST_F(views, wrong_ranges)
{
	const struct { struct dmaplane_view view; int result; } cases[] = {
		{ { 0, 0, 0, 0 }, -EINVAL },
		{ { 0, 1, ALL_ACCESS + 1, 0 }, -EINVAL },
		{ { 0, 1, 1U << 31, 0 }, -EINVAL },
		{ { 0, MANY + 1, 0, 0 }, -ERANGE },
		{ { MANY, 1, 0, 0 }, -ERANGE },
		{ { 1ULL << 63, 1, 0, 0 }, -ERANGE },
		{ { -1ULL, 1, 0, 0 }, -EOVERFLOW },
		{ { 1, -1ULL, 0, 0 }, -EOVERFLOW },
	};
	int fd = self->p.a.fd;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		for (uint32_t place = 0; place < 100; place += 33) {
			for (uint32_t n = 0; n < 100; n++)
				self->list[n] = (struct dmaplane_view){ 0, MANY, ALL_ACCESS, 5 };
			self->list[place] = cases[i].view;
			self->list[place].handle = 5;
			EXPECT_EQ(cases[i].result, views_make(fd, self->m.region, self->list, 100)) {
				TH_LOG("case %zu at %u", i, place);
			}
			EXPECT_EQ(5, self->list[0].handle);
		}
	}
	EXPECT_EQ(0, fdinfo(fd, "views"));
}

TEST_F(views, wrong_arrays)
{
	size_t page = 4096, fits = page / sizeof(*self->list);
	int fd = self->p.a.fd;
	uint8_t *at = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);
	struct dmaplane_view *list = (void *)at;

	ASSERT_NE(MAP_FAILED, at);
	ASSERT_EQ(0, munmap(at + 2 * page, page));
	for (size_t i = 0; i < 2 * fits; i++)
		list[i] = (struct dmaplane_view){ .length = 1 };
	/* Its end is not there; none of it is. */
	EXPECT_EQ(-EFAULT, views_make(fd, self->m.region, list, 2 * fits + 2));
	EXPECT_EQ(-EFAULT, views_make(fd, self->m.region, (void *)(at + 2 * page), 1));
	EXPECT_EQ(-EFAULT, views_make(fd, self->m.region, NULL, 1));
	EXPECT_EQ(-EFAULT, views_make(fd, self->m.region, (void *)-8UL, 1));
	EXPECT_EQ(-EFAULT, views_make(fd, self->m.region, (void *)(1UL << 63), 1));
	/* It can be read, and the second half not be written. */
	ASSERT_EQ(0, mprotect(at + page, page, PROT_READ));
	EXPECT_EQ(-EFAULT, views_make(fd, self->m.region, list, 2 * fits));
	EXPECT_EQ(0, fdinfo(fd, "views"));
	EXPECT_EQ(0, list[0].handle);
	ASSERT_EQ(0, mprotect(at + page, page, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, views_make(fd, self->m.region, list, 2 * fits));
	EXPECT_EQ(2 * fits, fdinfo(fd, "views"));

	ASSERT_EQ(0, make(self, 2048));
	memcpy(at, self->handles, 2048 * sizeof(uint32_t));
	EXPECT_EQ(-EFAULT, views_end(fd, (uint32_t *)at, 2049));
	EXPECT_EQ(-EFAULT, views_end(fd, NULL, 1));
	EXPECT_EQ(-EFAULT, views_end(fd, (void *)(1UL << 63), 1));
	EXPECT_EQ(2 * fits + 2048, fdinfo(fd, "views"));
	EXPECT_EQ(ALIVE, use(self, self->handles[0]));
	EXPECT_EQ(0, views_end(fd, (uint32_t *)at, 2048));
}

TEST_F(views, wrong_arguments)
{
	struct dmaplane_view view = { .length = 1 };
	struct dmaplane_view_create make = ARG(view_create, .region = self->m.region, .count = 1,
					       .views = (uintptr_t)&view);
	struct dmaplane_view_destroy end = ARG(view_destroy, .count = 1,
					       .handles = (uintptr_t)&view.handle);
	int fd = self->p.a.fd;

	for (int bit = 0; bit < 32; bit++) {
		make.flags = end.flags = 1U << bit;
		EXPECT_EQ(-EINVAL, cmd(fd, DMAPLANE_IOC_VIEW_CREATE, &make));
		EXPECT_EQ(-EINVAL, cmd(fd, DMAPLANE_IOC_VIEW_DESTROY, &end));
	}
	make.flags = end.flags = 0;
	end.pad = 1;
	EXPECT_EQ(-EINVAL, cmd(fd, DMAPLANE_IOC_VIEW_DESTROY, &end));
	end.pad = 0;
	make.count = end.count = 0;
	EXPECT_EQ(-EINVAL, cmd(fd, DMAPLANE_IOC_VIEW_CREATE, &make));
	EXPECT_EQ(-EINVAL, cmd(fd, DMAPLANE_IOC_VIEW_DESTROY, &end));
	make.count = end.count = UINT32_MAX;
	EXPECT_EQ(-E2BIG, cmd(fd, DMAPLANE_IOC_VIEW_CREATE, &make));
	EXPECT_EQ(-E2BIG, cmd(fd, DMAPLANE_IOC_VIEW_DESTROY, &end));
	EXPECT_EQ(0, fdinfo(fd, "views"));
}

/* Views are no other objects, and others no views. */
TEST_F(views, wrong_kinds)
{
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;
	uint32_t view, made, others[] = {
		self->m.region, self->m.buffer.handle, self->p.a.endpoint, self->p.a.ch.handle,
	};
	int fd = self->p.a.fd;

	ASSERT_EQ(0, view_make(fd, self->m.region, 0, 1, ALL_ACCESS, &view));
	EXPECT_EQ(-EBADF, buf_destroy(fd, view));
	EXPECT_EQ(-EBADF, region_deregister(fd, view));
	EXPECT_EQ(-EBADF, endpoint_close(fd, view));
	EXPECT_EQ(-EBADF, end(fd, DMAPLANE_IOC_CHANNEL_CLOSE, view));
	EXPECT_EQ(-EBADF, region_register(fd, self->p.a.endpoint, view, 0, 1, 0, &made));
	EXPECT_EQ(MAP_FAILED, map_at(fd, 4096, (uint64_t)view << 31));
	EXPECT_EQ(EBADF, errno);
	dmaplane_prep_invalidate(&sqe, view);
	ASSERT_EQ(0, channel_do(&self->p.a.ch, &sqe, &cqe));
	EXPECT_EQ(-EBADF, cqe.res);
	dmaplane_prep_fill(&sqe, view, 0, 1, 0);
	ASSERT_EQ(0, channel_do(&self->p.a.ch, &sqe, &cqe));
	EXPECT_EQ(-EBADF, cqe.res);
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		EXPECT_EQ(-EBADF, view_end(fd, others[i]));
		if (i) {
			EXPECT_EQ(-EBADF, view_make(fd, others[i], 0, 1, 0, &made));
		}
	}
	EXPECT_EQ(-ENOENT, view_end(fd, 0));
	EXPECT_EQ(-ENOENT, view_make(fd, 0, 0, 1, 0, &made));
	EXPECT_EQ(-ENOENT, view_make(fd, view + 1, 0, 1, 0, &made));
	/* Of another context. */
	EXPECT_EQ(-ENOENT, view_end(self->p.b.fd, view));
	EXPECT_EQ(-ENOENT, view_make(self->p.b.fd, view, 0, 1, 0, &made));
	EXPECT_EQ(ALIVE, use(self, view));
}

/* Of several handles one is wrong, or there twice. */
TEST_F(views, destroyed_all_or_none)
{
	const struct { uint32_t handle; int result; } cases[] = {
		{ 0, -ENOENT }, { 0x80000000 + 65000, -ENOENT }, { UINT32_MAX, -ENOENT },
		{ self->m.region, -EBADF },
	};
	int fd = self->p.a.fd;
	uint32_t kept;

	ASSERT_EQ(0, make(self, 100));
	for (size_t i = 0; i < ARRAY_LEN(cases) + 1; i++) {
		for (uint32_t place = 1; place < 100; place += 49) {
			bool twice = i == ARRAY_LEN(cases);

			kept = self->handles[place];
			self->handles[place] = twice ? self->handles[0] : cases[i].handle;
			EXPECT_EQ(twice ? -ENOENT : cases[i].result,
				  views_end(fd, self->handles, 100));
			self->handles[place] = kept;
			EXPECT_EQ(100, fdinfo(fd, "views"));
		}
	}
	for (uint32_t i = 0; i < 100; i++) {
		EXPECT_EQ(ALIVE, use(self, self->handles[i]));
	}
	EXPECT_EQ(0, views_end(fd, self->handles, 100));
	EXPECT_EQ(-ENOENT, views_end(fd, self->handles, 1));
}

/*
 * The keys of a lease on a view are the region's. Where the adapter may go on with what a peer reads
 * although they have ended, it could be that of a view that is only for writing.
 */
TEST_F(remote, kept_although_none_should_read_it)
{
	struct pair *p = &self->p;
	struct dmaplane_lease_wait got;
	struct dmaplane_sqe moves;
	struct dmaplane_cqe cqe;
	struct memory m;
	uint32_t view;

	ASSERT_EQ(0, memory_make(&p->b, 4 * PAGE, REMOTE_WRITE | REMOTE_READ, &m));
	ASSERT_EQ(0, view_make(p->b.fd, m.region, PAGE, PAGE, REMOTE_WRITE, &view));
	ASSERT_EQ(0, lease_of(self, view, &got));
	EXPECT_EQ(REMOTE_WRITE, got.access);
	EXPECT_EQ(0, munmap(m.at, 4 * PAGE));
	EXPECT_EQ(0, region_deregister(p->b.fd, m.region));
	moves = migrate_buffer(m.buffer.handle, 0, 0);
	ASSERT_EQ(0, channel_do(&p->b.ch, &moves, &cqe));
	EXPECT_EQ(can_write(&p->b) ? 0 : -EBUSY, cqe.res);
	EXPECT_EQ(0, endpoint_close(p->b.fd, p->b.endpoint));
	EXPECT_TRUE(WAIT_FOR(!channel_do(&p->b.ch, &moves, &cqe) && cqe.res == 0));
}

TEST_HARNESS_MAIN
