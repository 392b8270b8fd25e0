// SPDX-License-Identifier: GPL-2.0
/*
 * The rules that hold for every command, checked for each of them: size, tail,
 * flags, padding, pointers, numbers. Also built as a 32-bit program.
 *
 * Each command is called with an argument that has a known result, which is an
 * errno of its own (not one of those under test) where it cannot succeed here.
 */
#include "dmaplane_test.h"
#include "harness.h"

/* Room for any argument and more than a page. */
#define ROOM 16384

struct command {
	const char *name;
	unsigned int nr;
	const void *argument;
	size_t size;
	uint32_t flags;		/* that it knows */
	size_t padding[2];	/* offsets of words that must be 0 */
	int result;
};

#define NO_HANDLE 0

static const struct dmaplane_info info = ARG(info);
static const struct dmaplane_stats stats = ARG(stats);
static const struct dmaplane_buf_create buf_create_arg =
	ARG(buf_create, .length = 1, .node = DMAPLANE_NODE_ANY);
static const struct dmaplane_buf_query buf_query_arg = ARG(buf_query, .handle = NO_HANDLE);
static const struct dmaplane_buf_export buf_export_arg = ARG(buf_export, .handle = NO_HANDLE);
static const struct dmaplane_buf_migrate buf_migrate_arg = ARG(buf_migrate);
static const struct dmaplane_buf_pin buf_pin_arg = ARG(buf_pin, .length = 4096);
static const struct dmaplane_buf_import buf_import_arg = ARG(buf_import, .fd = -1);
static const struct dmaplane_buf_share buf_share_arg =
	ARG(buf_share, .handle = NO_HANDLE, .rights = DMAPLANE_SHARE_READ);
static const struct dmaplane_buf_open buf_open_arg =
	ARG(buf_open, .fd = -1, .rights = DMAPLANE_SHARE_READ);
static const struct dmaplane_view_create view_create_arg = ARG(view_create, .count = 1);
static const struct dmaplane_view_destroy view_destroy_arg = ARG(view_destroy, .count = 1);
static const struct dmaplane_handle handle = ARG(handle, .handle = NO_HANDLE);
static const struct dmaplane_fabric_list fabric_list = ARG(fabric_list);
static const struct dmaplane_region_register region_register =
	ARG(region_register, .endpoint = NO_HANDLE, .length = 4096);
static const struct dmaplane_lease_grant lease_grant = ARG(lease_grant, .endpoint = NO_HANDLE);
static const struct dmaplane_lease_wait lease_wait = ARG(lease_wait, .endpoint = NO_HANDLE);
static const struct dmaplane_endpoint_listen endpoint_listen =
	ARG(endpoint_listen, .addr = { .len = 5 }, .backlog = 1);
static const struct dmaplane_endpoint_request endpoint_request =
	ARG(endpoint_request, .listener = NO_HANDLE);
static const struct dmaplane_endpoint_address endpoint_address =
	ARG(endpoint_address, .dst = { .len = 5 });
static const struct dmaplane_endpoint_connect endpoint_connect =
	ARG(endpoint_connect, .endpoint = NO_HANDLE, .send_depth = 1, .recv_depth = 1);
static const struct dmaplane_endpoint_query endpoint_query =
	ARG(endpoint_query, .endpoint = NO_HANDLE);
static const struct dmaplane_channel_create channel_create =
	ARG(channel_create, .sq_entries = 1, .cq_entries = 1);
static const struct dmaplane_channel_enter channel_enter =
	ARG(channel_enter, .channel = NO_HANDLE);
static const struct dmaplane_channel_file channel_file =
	ARG(channel_file, .channel = NO_HANDLE);
static const struct dmaplane_channel_eventfd channel_eventfd =
	ARG(channel_eventfd, .channel = NO_HANDLE, .fd = -1);
static const struct dmaplane_counter_create counter_create =
	ARG(counter_create, .endpoint = NO_HANDLE);
static const struct dmaplane_counter_query counter_query =
	ARG(counter_query, .counter = NO_HANDLE);

#define COMMAND(NAME, arg, res, ...)					\
	{ .name = #NAME, .nr = DMAPLANE_CMD_##NAME, .argument = &(arg),	\
	  .size = sizeof(arg), .result = (res), ##__VA_ARGS__ }
#define PAD(type, member)	offsetof(struct dmaplane_##type, member)
#define HANDLE_PAD		.padding = { PAD(handle, pad) }

static const struct command commands[] = {
	COMMAND(INFO, info, 0),
	COMMAND(STATS, stats, 0),
	COMMAND(BUF_CREATE, buf_create_arg, 0,
		.flags = DMAPLANE_BUF_NODE_STRICT | DMAPLANE_BUF_INTERLEAVE | DMAPLANE_BUF_HUGE |
			 DMAPLANE_BUF_NO_HUGE),
	COMMAND(BUF_QUERY, buf_query_arg, -ENOENT),
	COMMAND(BUF_DESTROY, handle, -ENOENT, HANDLE_PAD),
	COMMAND(BUF_EXPORT, buf_export_arg, -ENOENT, .flags = DMAPLANE_EXPORT_RDONLY),
	COMMAND(BUF_PIN, buf_pin_arg, -EFAULT, .flags = DMAPLANE_PIN_RDONLY,
		.padding = { PAD(buf_pin, pad) }),
	COMMAND(BUF_IMPORT, buf_import_arg, -EBADF, .flags = DMAPLANE_IMPORT_RDONLY,
		.padding = { PAD(buf_import, via), PAD(buf_import, pad) }),
	COMMAND(BUF_MIGRATE, buf_migrate_arg, -ENOENT, .flags = DMAPLANE_MIGRATE_STRICT),
	COMMAND(BUF_SHARE, buf_share_arg, -ENOENT, .padding = { PAD(buf_share, pad) }),
	COMMAND(BUF_OPEN, buf_open_arg, -EBADF, .padding = { PAD(buf_open, pad) }),
	COMMAND(FABRIC_LIST, fabric_list, 0, .padding = { PAD(fabric_list, pad) }),
	COMMAND(REGION_REGISTER, region_register, -ENOENT),
	COMMAND(REGION_DEREGISTER, handle, -ENOENT, HANDLE_PAD),
	COMMAND(VIEW_CREATE, view_create_arg, -EFAULT),
	COMMAND(VIEW_DESTROY, view_destroy_arg, -EFAULT, .padding = { PAD(view_destroy, pad) }),
	COMMAND(LEASE_GRANT, lease_grant, -ENOENT, .padding = { PAD(lease_grant, pad) }),
	COMMAND(LEASE_WAIT, lease_wait, -ENOENT, .padding = { PAD(lease_wait, pad) }),
	COMMAND(ENDPOINT_LISTEN, endpoint_listen, -EAFNOSUPPORT),
	COMMAND(ENDPOINT_REQUEST, endpoint_request, -ENOENT,
		.padding = { PAD(endpoint_request, pad[0]), PAD(endpoint_request, pad[1]) }),
	COMMAND(ENDPOINT_ACCEPT, endpoint_connect, -ENOENT),
	COMMAND(ENDPOINT_ADDRESS, endpoint_address, -EAFNOSUPPORT),
	COMMAND(ENDPOINT_CONNECT, endpoint_connect, -ENOENT),
	COMMAND(ENDPOINT_QUERY, endpoint_query, -ENOENT),
	COMMAND(ENDPOINT_CLOSE, handle, -ENOENT, HANDLE_PAD),
	COMMAND(CHANNEL_CREATE, channel_create, 0,
		.flags = DMAPLANE_CHANNEL_SQPOLL | DMAPLANE_CHANNEL_TIMES,
		.padding = { PAD(channel_create, sq_idle_ms), PAD(channel_create, pad2) }),
	COMMAND(CHANNEL_ENTER, channel_enter, -ENOENT,
		.flags = DMAPLANE_ENTER_ABSTIME | DMAPLANE_ENTER_SQ_WAKEUP,
		.padding = { PAD(channel_enter, pad) }),
	COMMAND(CHANNEL_CLOSE, handle, -ENOENT, HANDLE_PAD),
	COMMAND(CHANNEL_FILE, channel_file, -ENOENT),
	COMMAND(CHANNEL_EVENTFD, channel_eventfd, -ENOENT),
	COMMAND(COUNTER_CREATE, counter_create, -ENOENT),
	COMMAND(COUNTER_QUERY, counter_query, -ENOENT),
	COMMAND(COUNTER_DESTROY, handle, -ENOENT, HANDLE_PAD),
};

#define for_each_command(c) \
	for (const struct command *c = commands; c < commands + ARRAY_LEN(commands); c++)

FIXTURE(uapi) {
	int fd;
	uint8_t *arg;		/* ROOM bytes, then nothing */
	uint8_t before[ROOM];
};

FIXTURE_SETUP(uapi)
{
	self->fd = open_device();
	ASSERT_LE(0, self->fd) TH_LOG("%s: %s", DEVICE, strerror(-self->fd));
	self->arg = mmap(NULL, ROOM + 4096, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->arg);
	ASSERT_EQ(0, munmap(self->arg + ROOM, 4096));
}

FIXTURE_TEARDOWN(uapi)
{
	EXPECT_EQ(0, close(self->fd));
}

/* The command's argument at @at, zeros behind it. */
static void *prepare(FIXTURE_DATA(uapi) *self, const struct command *c, void *at)
{
	memset(self->arg, 0, ROOM);
	memcpy(at, c->argument, c->size);
	return at;
}

/* Calls the command; checks the result, and that a failed one wrote nothing. */
static void expect(struct __test_metadata *_metadata, FIXTURE_DATA(uapi) *self,
		   const struct command *c, void *at, int result, const char *what)
{
	struct dmaplane_stats before, after;
	int got;

	memcpy(self->before, self->arg, ROOM);
	EXPECT_EQ(0, get_stats(self->fd, &before));
	got = cmd(self->fd, _IO(DMAPLANE_IOC_MAGIC, c->nr), at);
	EXPECT_EQ(0, get_stats(self->fd, &after));
	EXPECT_EQ(result, got) TH_LOG("%s: %s", c->name, what);
	if (got) {
		EXPECT_EQ(0, memcmp(self->before, self->arg, ROOM))
			TH_LOG("%s: %s: it failed, but wrote something", c->name, what);
		EXPECT_EQ(0, memcmp(&before, &after, sizeof(after)))
			TH_LOG("%s: %s: it failed, but objects came or went", c->name, what);
	}
}

TEST_F(uapi, info)
{
	struct dmaplane_info got;

	memset(&got, 0xff, sizeof(got));
	got.size = sizeof(got);
	got.flags = 0;
	ASSERT_EQ(0, cmd(self->fd, DMAPLANE_IOC_INFO, &got));
	EXPECT_EQ(sizeof(got), got.size);
	EXPECT_EQ(0, got.flags);
	EXPECT_EQ(DMAPLANE_ABI_VERSION, got.abi);
	EXPECT_EQ(sysconf(_SC_PAGESIZE), got.page_size);
	EXPECT_EQ(DMAPLANE_FEATURE_WRITE_IMM | DMAPLANE_FEATURE_LEASE,
		  got.features & (DMAPLANE_FEATURE_WRITE_IMM | DMAPLANE_FEATURE_LEASE));
	EXPECT_TRUE(got.features & DMAPLANE_FEATURE_SQPOLL);
	EXPECT_TRUE(got.features & DMAPLANE_FEATURE_URING);
	EXPECT_TRUE(got.features & DMAPLANE_FEATURE_SHARE);
	EXPECT_LE(1ULL << 30, got.max_buffer);
	EXPECT_LT(0, got.max_transfer);
	EXPECT_LE(got.max_transfer, UINT32_MAX);
	EXPECT_LE(64, got.max_objects);
	EXPECT_LE(64, got.max_ring_entries);
	EXPECT_EQ(0, got.max_ring_entries & (got.max_ring_entries - 1));
	EXPECT_LT(0, got.max_depth);
	EXPECT_LT(0, got.nr_nodes);
}

TEST_F(uapi, stats_of_a_new_context_are_zero)
{
	struct dmaplane_stats got, zero = ARG(stats);

	memset(&got, 0xff, sizeof(got));
	got.size = sizeof(got);
	got.flags = 0;
	ASSERT_EQ(0, cmd(self->fd, DMAPLANE_IOC_STATS, &got));
	EXPECT_EQ(0, memcmp(&zero, &got, sizeof(got)));
}

TEST_F(uapi, exact_size)
{
	for_each_command(c)
		expect(_metadata, self, c, prepare(self, c, self->arg), c->result, "as it is");
}

TEST_F(uapi, size_too_small)
{
	for_each_command(c) {
		const uint32_t sizes[] = { 0, 1, 4, 8, c->size - 8, c->size - 1 };

		for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
			uint32_t *arg = prepare(self, c, self->arg);

			arg[0] = sizes[i];
			expect(_metadata, self, c, arg, -EINVAL, "size too small");
		}
	}
}

TEST_F(uapi, size_larger)
{
	for_each_command(c) {
		const uint32_t sizes[] = { c->size + 1, c->size + 8, 4096 };

		for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
			uint32_t *arg = prepare(self, c, self->arg);

			arg[0] = sizes[i];
			self->arg[sizes[i]] = 1; /* not part of it any more */
			expect(_metadata, self, c, arg, c->result, "larger, zero tail");
			arg = prepare(self, c, self->arg);
			arg[0] = sizes[i];
			self->arg[sizes[i] - 1] = 1;
			expect(_metadata, self, c, arg, -E2BIG, "larger, last byte not zero");
			self->arg[sizes[i] - 1] = 0;
			self->arg[c->size] = 0x80;
			expect(_metadata, self, c, arg, -E2BIG, "larger, first byte not zero");
		}
	}
}

TEST_F(uapi, size_beyond_a_page)
{
	for_each_command(c) {
		uint32_t *arg = prepare(self, c, self->arg);
		int ret;

		memset(self->arg + c->size, 0xa5, ROOM - c->size);
		arg[0] = 2 * 4096 + 1;
		expect(_metadata, self, c, arg, -E2BIG, "garbage of two pages");
		arg[0] = UINT32_MAX;
		expect(_metadata, self, c, arg, -E2BIG, "garbage of 4 GiB");
		arg = prepare(self, c, self->arg);
		arg[0] = UINT32_MAX;
		ret = cmd(self->fd, _IO(DMAPLANE_IOC_MAGIC, c->nr), arg);
		EXPECT_TRUE(ret == -E2BIG || ret == -EFAULT)
			TH_LOG("%s: zeros, then nothing: %d", c->name, ret);
	}
}

TEST_F(uapi, unknown_flags)
{
	for_each_command(c)
		for (unsigned int bit = 0; bit < 32; bit++) {
			uint32_t *arg = prepare(self, c, self->arg);

			if (c->flags & (1U << bit))
				continue;
			arg[1] = 1U << bit;
			expect(_metadata, self, c, arg, -EINVAL, "unknown flag");
		}
}

TEST_F(uapi, padding)
{
	for_each_command(c)
		for (size_t i = 0; i < ARRAY_LEN(c->padding) && c->padding[i]; i++)
			for (size_t byte = 0; byte < 4; byte++) {
				uint8_t *arg = prepare(self, c, self->arg);

				arg[c->padding[i] + byte] = 0x40;
				expect(_metadata, self, c, arg, -EINVAL, "padding");
			}
}

TEST_F(uapi, bad_pointer)
{
	uint8_t *end = self->arg + ROOM;

	for_each_command(c) {
		prepare(self, c, self->arg);
		expect(_metadata, self, c, NULL, -EFAULT, "null");
		expect(_metadata, self, c, (void *)16, -EFAULT, "a small number");
		expect(_metadata, self, c, (void *)(uintptr_t)-64, -EFAULT, "kernel memory");
		expect(_metadata, self, c, end - 2, -EFAULT, "only half a size");
		expect(_metadata, self, c, prepare(self, c, end - c->size), c->result,
		       "just fits");
		prepare(self, c, self->arg);
		memcpy(end - c->size + 4, c->argument, c->size - 4);
		expect(_metadata, self, c, end - c->size + 4, -EFAULT, "four bytes short");
	}
}

/*
 * The kernel can read the argument and cannot write its answer. Whether it sees
 * that before or after another error is its own business; that nothing has
 * changed is not.
 */
TEST_F(uapi, read_only_argument)
{
	for_each_command(c) {
		struct dmaplane_stats before, after;
		int got;

		prepare(self, c, self->arg);
		ASSERT_EQ(0, mprotect(self->arg, ROOM, PROT_READ));
		ASSERT_EQ(0, get_stats(self->fd, &before));
		got = cmd(self->fd, _IO(DMAPLANE_IOC_MAGIC, c->nr), self->arg);
		ASSERT_EQ(0, get_stats(self->fd, &after));
		EXPECT_TRUE(got == -EFAULT || (c->result && got == c->result))
			TH_LOG("%s: %d", c->name, got);
		EXPECT_EQ(0, memcmp(&before, &after, sizeof(after)))
			TH_LOG("%s: it failed, but objects came or went", c->name);
		ASSERT_EQ(0, mprotect(self->arg, ROOM, PROT_READ | PROT_WRITE));
	}
}

static bool known(unsigned int nr)
{
	for_each_command(c)
		if (c->nr == nr)
			return true;
	return false;
}

TEST_F(uapi, unknown_commands)
{
	for (unsigned int nr = 0; nr < 256; nr++) {
		if (!known(nr)) {
			EXPECT_EQ(-ENOTTY, cmd(self->fd, _IO(DMAPLANE_IOC_MAGIC, nr), self->arg))
				TH_LOG("command %#x", nr);
		}
		EXPECT_EQ(-ENOTTY, cmd(self->fd, _IO(0xDB, nr), self->arg));
	}
	/* A command's number does not say its size or direction. */
	for_each_command(c) {
		void *arg = prepare(self, c, self->arg);

		EXPECT_EQ(-ENOTTY, cmd(self->fd, _IOC(_IOC_READ | _IOC_WRITE, DMAPLANE_IOC_MAGIC,
						      c->nr, c->size), arg));
		EXPECT_EQ(-ENOTTY, cmd(self->fd, _IOC(_IOC_NONE, DMAPLANE_IOC_MAGIC, c->nr,
						      c->size), arg));
	}
}

TEST_F(uapi, no_read_write)
{
	char byte = 0;

	EXPECT_EQ(-1, read(self->fd, &byte, 1));
	EXPECT_EQ(-1, write(self->fd, &byte, 1));
	EXPECT_EQ(0, poll(&(struct pollfd){ .fd = self->fd, .events = POLLIN }, 1, 0));
}

TEST_HARNESS_MAIN
