// SPDX-License-Identifier: GPL-2.0
/*
 * Handles: 0, garbage, stale, foreign, of another kind, for every command that
 * takes one; never issued twice; as many as the limit says.
 */
#include "pair.h"
#include "harness.h"

enum kind { BUFFER, REGION, ENDPOINT, LISTENER, CHANNEL, COUNTER, KINDS };

static const char *const kind_name[] = { "buffer", "region", "endpoint", "listener", "channel",
					"counter" };

union argument {
	uint32_t word[32];
	struct dmaplane_buf_query buf_query;
	struct dmaplane_buf_export buf_export;
	struct dmaplane_buf_migrate buf_migrate;
	struct dmaplane_buf_share buf_share;
	struct dmaplane_handle handle;
	struct dmaplane_region_register region_register;
	struct dmaplane_view_create view_create;
	struct dmaplane_lease_grant lease_grant;
	struct dmaplane_lease_wait lease_wait;
	struct dmaplane_endpoint_request request;
	struct dmaplane_endpoint_connect connect;
	struct dmaplane_endpoint_query query;
	struct dmaplane_channel_enter enter;
	struct dmaplane_channel_file file;
	struct dmaplane_channel_eventfd eventfd;
	struct dmaplane_counter_create counter_create;
	struct dmaplane_counter_query counter_query;
};

static struct dmaplane_view a_view = { .length = 1 };

/* Every command that takes a handle (VIEW_DESTROY takes an array: views.c), which is the third word of all of them. */
static const struct taker {
	const char *name;
	unsigned long request;
	union argument argument;
	unsigned int takes;	/* kinds, as bits */
} takers[] = {
#define TAKER(NAME, member, type, kinds, ...)			\
	{ #NAME, DMAPLANE_IOC_##NAME,				\
	  { .member = ARG(type, ##__VA_ARGS__) }, (kinds) }
#define BIT(kind) (1U << (kind))
	TAKER(BUF_QUERY, buf_query, buf_query, BIT(BUFFER)),
	TAKER(BUF_DESTROY, handle, handle, BIT(BUFFER)),
	TAKER(BUF_EXPORT, buf_export, buf_export, BIT(BUFFER)),
	TAKER(BUF_MIGRATE, buf_migrate, buf_migrate, BIT(BUFFER)),
	TAKER(BUF_SHARE, buf_share, buf_share, BIT(BUFFER), .rights = DMAPLANE_SHARE_READ),
	TAKER(REGION_REGISTER, region_register, region_register, BIT(ENDPOINT), .length = 4096),
	TAKER(REGION_DEREGISTER, handle, handle, BIT(REGION)),
	TAKER(VIEW_CREATE, view_create, view_create, BIT(REGION), .count = 1,
	      .views = (uintptr_t)&a_view),
	TAKER(LEASE_GRANT, lease_grant, lease_grant, BIT(ENDPOINT)),
	TAKER(LEASE_WAIT, lease_wait, lease_wait, BIT(ENDPOINT)),
	TAKER(ENDPOINT_REQUEST, request, endpoint_request, BIT(LISTENER)),
	TAKER(ENDPOINT_ACCEPT, connect, endpoint_connect, BIT(ENDPOINT),
	      .send_depth = 1, .recv_depth = 1),
	TAKER(ENDPOINT_CONNECT, connect, endpoint_connect, BIT(ENDPOINT),
	      .send_depth = 1, .recv_depth = 1),
	TAKER(ENDPOINT_QUERY, query, endpoint_query, BIT(ENDPOINT) | BIT(LISTENER)),
	TAKER(ENDPOINT_CLOSE, handle, handle, BIT(ENDPOINT) | BIT(LISTENER)),
	TAKER(CHANNEL_ENTER, enter, channel_enter, BIT(CHANNEL)),
	TAKER(CHANNEL_CLOSE, handle, handle, BIT(CHANNEL)),
	TAKER(CHANNEL_FILE, file, channel_file, BIT(CHANNEL)),
	TAKER(CHANNEL_EVENTFD, eventfd, channel_eventfd, BIT(CHANNEL), .fd = -1),
	TAKER(COUNTER_CREATE, counter_create, counter_create, BIT(ENDPOINT)),
	TAKER(COUNTER_QUERY, counter_query, counter_query, BIT(COUNTER)),
	TAKER(COUNTER_DESTROY, handle, handle, BIT(COUNTER)),
};

#define for_each_taker(t) \
	for (const struct taker *t = takers; t < takers + ARRAY_LEN(takers); t++)

static int call(int fd, const struct taker *t, uint32_t handle)
{
	union argument argument = t->argument;

	argument.word[2] = handle;
	return cmd(fd, t->request, &argument);
}

static int channel_create(int fd, uint32_t *handle)
{
	struct dmaplane_channel_create arg = ARG(channel_create, .sq_entries = 1,
						 .cq_entries = 1);
	int ret = cmd(fd, DMAPLANE_IOC_CHANNEL_CREATE, &arg);

	*handle = arg.handle;
	return ret;
}

/* A listener wants no RDMA device as long as nobody connects. */
static int listen_any(int fd, uint32_t *handle)
{
	struct dmaplane_endpoint_listen arg = ARG(endpoint_listen, .backlog = 1);
	struct sockaddr_in any = { .sin_family = AF_INET };
	int ret;

	arg.addr.len = sizeof(any);
	memcpy(arg.addr.data, &any, sizeof(any));
	ret = cmd(fd, DMAPLANE_IOC_ENDPOINT_LISTEN, &arg);
	*handle = arg.handle;
	return ret;
}

FIXTURE(handles) {
	struct pair p;
	int fd;			/* of its a */
	int other;		/* another context */
	struct memory memory;
	uint32_t handle[KINDS];
};

/* What a has: its channel, buffer and endpoint, and one of each kind. */
#define CHANNELS	2
#define BUFFERS		2
#define ENDPOINTS	2
#define OBJECTS_MADE	(CHANNELS + BUFFERS + ENDPOINTS + 2)

FIXTURE_SETUP(handles)
{
	struct dmaplane_counter_create counter = ARG(counter_create);
	struct buffer buffer;

	ASSERT_EQ(0, pair_open(&self->p));
	self->fd = self->p.a.fd;
	self->other = open_device();
	ASSERT_LE(0, self->other);
	ASSERT_EQ(0, buf_create(self->fd, 1, &buffer));
	self->handle[BUFFER] = buffer.handle;
	ASSERT_EQ(0, channel_create(self->fd, &self->handle[CHANNEL]));
	ASSERT_EQ(0, listen_any(self->fd, &self->handle[LISTENER]));
	ASSERT_EQ(0, memory_make(&self->p.a, 4096, 0, &self->memory));
	self->handle[REGION] = self->memory.region;
	self->handle[ENDPOINT] = counter.endpoint = self->p.a.endpoint;
	ASSERT_EQ(0, cmd(self->fd, DMAPLANE_IOC_COUNTER_CREATE, &counter));
	self->handle[COUNTER] = counter.handle;
}

FIXTURE_TEARDOWN(handles)
{
	EXPECT_EQ(0, munmap(self->memory.at, 4096));
	pair_close(&self->p);
	EXPECT_EQ(0, close(self->other));
}

TEST_F(handles, zero_and_garbage)
{
	const uint32_t garbage[] = {
		0, 77, 0xffff, 0x10000, 0xffff0000, 0x7fffffff, 0x80000001, 0xdeadbeef, UINT32_MAX,
	};

	for_each_taker(t)
		for (size_t i = 0; i < ARRAY_LEN(garbage); i++) {
			EXPECT_EQ(-ENOENT, call(self->fd, t, garbage[i]))
				TH_LOG("%s of %#x", t->name, garbage[i]);
		}
}

TEST_F(handles, other_kind)
{
	for_each_taker(t)
		for (int kind = 0; kind < KINDS; kind++) {
			if (t->takes & BIT(kind))
				continue;
			EXPECT_EQ(-EBADF, call(self->fd, t, self->handle[kind]))
				TH_LOG("%s of a %s", t->name, kind_name[kind]);
		}
}

/* A second context has issued nothing, so that every handle is foreign to it. */
TEST_F(handles, foreign)
{
	for_each_taker(t)
		for (int kind = 0; kind < KINDS; kind++) {
			EXPECT_EQ(-ENOENT, call(self->other, t, self->handle[kind]))
				TH_LOG("%s of a foreign %s", t->name, kind_name[kind]);
		}
}

TEST_F(handles, stale)
{
	uint32_t stale[KINDS];

	memcpy(stale, self->handle, sizeof(stale));
	EXPECT_EQ(0, buf_destroy(self->fd, stale[BUFFER]));
	EXPECT_EQ(0, end(self->fd, DMAPLANE_IOC_CHANNEL_CLOSE, stale[CHANNEL]));
	EXPECT_EQ(0, endpoint_close(self->fd, stale[LISTENER]));
	EXPECT_EQ(0, end(self->fd, DMAPLANE_IOC_COUNTER_DESTROY, stale[COUNTER]));
	EXPECT_EQ(0, region_deregister(self->fd, stale[REGION]));
	EXPECT_EQ(0, endpoint_close(self->fd, stale[ENDPOINT]));
	for (int again = 0; again < 2; again++) {
		struct buffer buffer;

		for_each_taker(t)
			for (int kind = 0; kind < KINDS; kind++) {
				EXPECT_EQ(-ENOENT, call(self->fd, t, stale[kind]))
					TH_LOG("%s of a stale %s", t->name, kind_name[kind]);
			}
		/* The places in the table are used again, the handles are not. */
		for (int i = 0; i < KINDS; i++) {
			ASSERT_EQ(0, buf_create(self->fd, 1, &buffer));
			for (int kind = 0; kind < KINDS; kind++) {
				EXPECT_NE(stale[kind], buffer.handle);
			}
		}
	}
}

/* Members of entries that are handles, and the kinds that each takes. */
enum member { ENDPOINT_OF, REGION_OF, LEASE_OF, LIST_OF, MEMBERS };

static const char *const member_name[] = { "endpoint", "region", "lease", "list" };

static const struct entry {
	const char *name;
	struct dmaplane_sqe sqe;
	unsigned int takes[MEMBERS];
} entries[] = {
#define ENTRY(op, endpoint, region, lease, list, ...) \
	{ #op, { .opcode = DMAPLANE_OP_##op, ##__VA_ARGS__ }, { endpoint, region, lease, list } }
	ENTRY(WRITE, BIT(ENDPOINT), BIT(REGION), 0, 0, .length = 64),
	ENTRY(WRITE_IMM, BIT(ENDPOINT), BIT(REGION), 0, 0, .length = 64),
	ENTRY(READ, BIT(ENDPOINT), BIT(REGION), 0, 0, .length = 64),
	ENTRY(WRITE, BIT(ENDPOINT), 0, 0, BIT(BUFFER),	/* a list of nothing */
	      .flags = DMAPLANE_SQE_SEGMENTS, .list_count = 1),
	ENTRY(SEND, BIT(ENDPOINT), BIT(REGION), 0, 0, .length = 64),
	ENTRY(RECV, BIT(ENDPOINT), 0, BIT(BUFFER), 0, .length = 64),
	ENTRY(COPY, 0, BIT(BUFFER), BIT(BUFFER), 0, .remote_offset = 64, .length = 64),
	ENTRY(FILL, 0, 0, BIT(BUFFER), 0, .length = 64),
	ENTRY(MIGRATE, 0, 0, BIT(BUFFER), 0),
	ENTRY(INVALIDATE, 0, BIT(REGION), 0, 0),
	ENTRY(COUNTER_WAIT, BIT(ENDPOINT), BIT(COUNTER), 0, 0, .local_offset = 1),
};

static int entry_res(struct channel *c, struct dmaplane_sqe sqe)
{
	struct dmaplane_cqe cqe;

	return channel_do(c, &sqe, &cqe) ? -ETIME : cqe.res;
}

/* With this one, where all others are right. */
static int res_of(struct channel *c, const uint32_t *right, const struct entry *e,
		  enum member member, uint32_t handle)
{
	struct dmaplane_sqe sqe = e->sqe;
	uint32_t *const members[] = { &sqe.endpoint, &sqe.region, &sqe.lease, &sqe.list };

	for (int m = 0; m < MEMBERS; m++)
		for (int kind = 0; kind < KINDS; kind++)
			if (e->takes[m] & BIT(kind))
				*members[m] = right[kind];
	*members[member] = handle;
	return entry_res(c, sqe);
}

/* An entry's handles are checked like those of commands. */
TEST_F(handles, in_ring_entries)
{
	struct channel *c = &self->p.a.ch;

	for (const struct entry *e = entries; e < entries + ARRAY_LEN(entries); e++)
		for (int m = 0; m < MEMBERS; m++) {
			if (!e->takes[m])
				continue;
			EXPECT_EQ(-ENOENT, res_of(c, self->handle, e, m, 0)) {
				TH_LOG("%s without %s", e->name, member_name[m]);
			}
			EXPECT_EQ(-ENOENT, res_of(c, self->handle, e, m, 0xdeadbeef)) {
				TH_LOG("%s, garbage as %s", e->name, member_name[m]);
			}
			for (int kind = 0; kind < KINDS; kind++) {
				if (e->takes[m] & BIT(kind))
					continue;
				EXPECT_EQ(-EBADF, res_of(c, self->handle, e, m,
							 self->handle[kind])) {
					TH_LOG("%s, a %s as %s", e->name, kind_name[kind],
					       member_name[m]);
				}
			}
		}
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/*
 * More than the 2^16 that a table of 32-bit handles could be tempted to reuse; an
 * instrumented kernel, where that takes minutes, looks for other faults.
 */
#define MANY 70000

TEST_F(handles, never_issued_twice)
{
	const unsigned int many = instrumented() ? MANY / 20 : MANY;
	uint32_t *seen = calloc(many, sizeof(*seen));
	uint32_t last = 0;

	ASSERT_NE(NULL, seen);
	for (unsigned int i = 0; i < many; i++) {
		struct buffer buffer;

		ASSERT_EQ(0, buf_create(self->fd, 1, &buffer));
		ASSERT_NE(0, buffer.handle);
		seen[i] = buffer.handle;
		ASSERT_EQ(0, buf_destroy(self->fd, buffer.handle));
	}
	qsort(seen, many, sizeof(*seen), by_value);
	for (unsigned int i = 0; i < many; i++) {
		ASSERT_NE(last, seen[i]) TH_LOG("%#x was issued twice", last);
		last = seen[i];
	}
	free(seen);
}

TEST_F(handles, as_many_as_the_limit)
{
	struct dmaplane_info info;
	struct dmaplane_stats stats;
	struct buffer buffer, extra;
	uint32_t count = OBJECTS_MADE;
	int ret;

	ASSERT_EQ(0, get_info(self->fd, &info));
	while (!(ret = buf_create(self->fd, 1, &buffer)))
		count++;
	EXPECT_EQ(-EMFILE, ret);
	EXPECT_EQ(info.max_objects, count);
	EXPECT_EQ(-EMFILE, channel_create(self->fd, &extra.handle));
	EXPECT_EQ(-EMFILE, listen_any(self->fd, &extra.handle));
	ASSERT_EQ(0, get_stats(self->fd, &stats));
	EXPECT_EQ(count - OBJECTS_MADE + BUFFERS, stats.buffers);
	EXPECT_EQ(CHANNELS, stats.channels);
	EXPECT_EQ(ENDPOINTS, stats.endpoints);
	/* Another context has a limit of its own. */
	EXPECT_EQ(0, buf_create(self->other, 1, &extra));
	EXPECT_EQ(0, buf_destroy(self->fd, self->handle[BUFFER]));
	EXPECT_EQ(0, buf_create(self->fd, 1, &extra));
	EXPECT_EQ(-EMFILE, buf_create(self->fd, 1, &extra));
}

/* Whatever a context still holds ends with it. */
TEST_F(handles, closing_ends_everything)
{
	long buffers = live("buffers"), channels = live("channels"), endpoints = live("endpoints");
	struct buffer buffer;
	uint32_t handle;
	int fd;

	ASSERT_LE(0, buffers) TH_LOG("%s has no line \"buffers\"", OBJECTS);
	fd = open_device();
	ASSERT_LE(0, fd);
	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, buf_create(fd, 10000, &buffer));
		ASSERT_EQ(0, channel_create(fd, &handle));
		ASSERT_EQ(0, listen_any(fd, &handle));
	}
	EXPECT_EQ(buffers + 20, live("buffers"));
	EXPECT_EQ(channels + 20, live("channels"));
	EXPECT_EQ(endpoints + 20, live("endpoints"));
	ASSERT_EQ(0, close(fd));
	EXPECT_TRUE(WAIT_FOR(live("buffers") == buffers));
	EXPECT_TRUE(WAIT_FOR(live("channels") == channels));
	EXPECT_TRUE(WAIT_FOR(live("endpoints") == endpoints));
}

TEST_HARNESS_MAIN
