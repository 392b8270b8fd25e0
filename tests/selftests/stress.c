// SPDX-License-Identifier: GPL-2.0
/*
 * Several threads do anything to the objects of one context at once, with
 * handles that others may just have ended. Every answer is one that the header
 * knows, and at the end nothing is left.
 */
#include "pair.h"
#include "harness.h"

#define THREADS	4
#define STEPS	400
#define POOL	16
#define PAGE	4096

enum pool { BUFFERS, REGIONS, ENDPOINTS, LISTENERS, CHANNELS, POOLS };

static struct {
	int fd;
	uint32_t handles[POOLS][POOL];
	struct dmaplane_addr listening;
	uint32_t listener;	/* at that address; not one of the handles */
	bool stop;
	int unexpected;		/* the first errno that should not be */
	const char *by;
	unsigned long done[32];
} all;

static uint32_t pick(enum pool pool, unsigned int *seed)
{
	uint32_t *place = &all.handles[pool][rand_r(seed) % POOL];

	/* Mostly one that is there, sometimes one that is gone or of another kind. */
	if (rand_r(seed) % 16 == 0)
		place = &all.handles[rand_r(seed) % POOLS][rand_r(seed) % POOL];
	return __atomic_load_n(place, __ATOMIC_RELAXED);
}

static void keep(enum pool pool, uint32_t handle, unsigned int *seed)
{
	__atomic_store_n(&all.handles[pool][rand_r(seed) % POOL], handle, __ATOMIC_RELAXED);
}

static bool allowed(int error)
{
	switch (-error) {
	case 0:
	case ENOENT:
	case EBADF:
	case EBUSY:
	case EISCONN:
	case ENOTCONN:
	case ECONNREFUSED:
	case ECONNRESET:
	case EHOSTUNREACH:
	case ECANCELED:
	case EACCES:
	case EMFILE:
	case ETIME:
	case EXDEV:
	case EADDRINUSE:
	case ENXIO:
		return true;
	default:
		return false;
	}
}

static int buffer_step(unsigned int *seed)
{
	uint64_t nodes[MAX_NODES];
	struct dmaplane_buf_query query;
	struct buffer buffer;
	uint8_t *at;
	int ret;

	switch (rand_r(seed) % 4) {
	case 0:
		return buf_destroy(all.fd, pick(BUFFERS, seed));
	case 1:
		return buf_query(all.fd, pick(BUFFERS, seed), &query, nodes);
	default:
		ret = buf_create(all.fd, 1 + rand_r(seed) % (16 * PAGE), &buffer);
		if (ret)
			return ret;
		keep(BUFFERS, buffer.handle, seed);
		/* Somebody else may be quicker to destroy it. */
		at = buf_map(all.fd, &buffer);
		if (at == MAP_FAILED)
			return -errno;
		memset(at, 1, buffer.length);
		munmap(at, buffer.length);
		return 0;
	}
}

static int region_step(unsigned int *seed)
{
	uint32_t handle;
	struct side side;
	int ret;

	if (rand_r(seed) % 2)
		return region_deregister(all.fd, pick(REGIONS, seed));
	side = (struct side){ .fd = all.fd, .endpoint = pick(ENDPOINTS, seed) };
	ret = region_register(all.fd, side.endpoint, pick(BUFFERS, seed), 0, 1,
			      DMAPLANE_ACCESS_REMOTE_WRITE, &handle);
	if (!ret) {
		keep(REGIONS, handle, seed);
		ret = lease_grant(&side, handle, 1, &handle);
	}
	return ret;
}

static int endpoint_step(unsigned int *seed)
{
	struct dmaplane_endpoint_query got;
	struct dmaplane_lease_wait wait;
	struct side side = { .fd = all.fd, .endpoint = pick(ENDPOINTS, seed) };

	switch (rand_r(seed) % 5) {
	case 0:
		return endpoint_close(all.fd, side.endpoint);
	case 1:
		return query(all.fd, side.endpoint, &got);
	default:
		return lease_wait(&side, rand_r(seed) % 3 * MS, &wait);
	}
}

static int listen_step(unsigned int *seed)
{
	struct dmaplane_endpoint_listen listen;
	int ret;

	if (rand_r(seed) % 4 == 0)
		return endpoint_close(all.fd, pick(LISTENERS, seed));
	ret = listen_on(all.fd, ADDRESS4, 0, 4, &listen);
	if (!ret)
		keep(LISTENERS, listen.handle, seed);
	return ret;
}

static int join_step(unsigned int *seed)
{
	struct dmaplane_endpoint_connect arg = ARG(endpoint_connect, .send_depth = 2,
		.recv_depth = 2, .timeout_ns = PATIENCE / 40, .channel = pick(CHANNELS, seed));
	int ret = resolve(all.fd, &all.listening, &arg.endpoint);

	if (ret)
		return ret;
	keep(ENDPOINTS, arg.endpoint, seed);
	return cmd(all.fd, DMAPLANE_IOC_ENDPOINT_CONNECT, &arg);
}

/* One more thread takes what comes in. */
static void *accept_all(void *arg)
{
	struct dmaplane_endpoint_connect join = ARG(endpoint_connect, .send_depth = 2,
						    .recv_depth = 2, .timeout_ns = PATIENCE / 40);
	struct dmaplane_endpoint_request request;
	unsigned int seed = 99;

	(void)arg;
	while (!__atomic_load_n(&all.stop, __ATOMIC_RELAXED)) {
		if (take_request(all.fd, all.listener, 20 * MS, &request))
			continue;
		join.endpoint = request.handle;
		join.channel = pick(CHANNELS, &seed);
		keep(ENDPOINTS, request.handle, &seed);
		cmd(all.fd, DMAPLANE_IOC_ENDPOINT_ACCEPT, &join);
	}
	return NULL;
}

static int channel_step(unsigned int *seed)
{
	struct dmaplane_cqe cqe;
	struct channel c;
	int ret;

	if (rand_r(seed) % 4 == 0)
		return end(all.fd, DMAPLANE_IOC_CHANNEL_CLOSE, pick(CHANNELS, seed));
	ret = channel_open(all.fd, 8, 16, &c);
	if (ret)
		return ret;
	keep(CHANNELS, c.handle, seed);
	for (int i = 0; i < 8; i++) {
		struct side side = { .endpoint = pick(ENDPOINTS, seed) };
		struct dmaplane_sqe sqe = write_imm(&side, pick(REGIONS, seed), rand_r(seed) % 3,
						    0, 0, 1, i);

		channel_push(&c, &sqe);
	}
	ret = channel_enter(&c, 8, 1, 5 * MS);
	while (channel_reap(&c, &cqe))
		;
	/* It is closed by whoever picks it, or never; its mapping goes now. */
	munmap(c.ring, c.length);
	return ret < 0 ? ret : 0;
}

static const struct { const char *name; int (*step)(unsigned int *); } steps[] = {
	{ "buffer", buffer_step }, { "region", region_step }, { "endpoint", endpoint_step },
	{ "listen", listen_step }, { "join", join_step }, { "channel", channel_step },
};

static void *anything(void *arg)
{
	unsigned int seed = (uintptr_t)arg;

	for (int i = 0; i < STEPS; i++) {
		size_t which = rand_r(&seed) % ARRAY_LEN(steps);
		int ret = steps[which].step(&seed);

		if (!allowed(ret) && !__atomic_exchange_n(&all.unexpected, ret, __ATOMIC_RELAXED))
			all.by = steps[which].name;
		__atomic_fetch_add(&all.done[which * 2 + !!ret], 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

TEST(anything_at_once)
{
	struct dmaplane_endpoint_listen listen;
	pthread_t threads[THREADS], accepter;

	all.fd = open_device();
	ASSERT_LE(0, all.fd);
	ASSERT_EQ(0, listen_on(all.fd, ADDRESS4, 0, 128, &listen));
	all.listening = listen.addr;
	all.listener = listen.handle;
	ASSERT_EQ(0, pthread_create(&accepter, NULL, accept_all, NULL));
	for (uintptr_t i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, anything, (void *)(i + 1)));
	}
	for (int i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
	}
	__atomic_store_n(&all.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(accepter, NULL));
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		EXPECT_LT(0, all.done[2 * i]);
		TH_LOG("%s: %lu times good, %lu times an errno", steps[i].name, all.done[2 * i],
		       all.done[2 * i + 1]);
	}
	EXPECT_EQ(0, all.unexpected) {
		TH_LOG("an unexpected errno, by %s", all.by);
	}
	ASSERT_EQ(0, close(all.fd));
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(0, live("buffers"));
	EXPECT_EQ(0, live("buffer_bytes"));
	EXPECT_EQ(0, live("regions"));
	/* A handler of the connection manager may still have one in hand. */
	EXPECT_TRUE(WAIT_FOR(live("endpoints") == 0));
	EXPECT_EQ(0, live("channels"));
}

TEST_HARNESS_MAIN
