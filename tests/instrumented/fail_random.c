// SPDX-License-Identifier: GPL-2.0
/*
 * Faults wherever this module is on the stack, in workqueues and callbacks as well,
 * while connections are made, used and ended. Whatever fails: every call returns in
 * time, with an errno that it may return; every entry accepted completes once; when
 * both ends are closed nothing is left.
 *
 * When the faults happen is drawn from a seed, another one each time, which is printed,
 * and FAULT_SEED sets; which calls they meet depends on the machine's timing as well.
 */
#include "fault.h"
#include "harness.h"

#include <sys/random.h>

#define CYCLES		100
#define ENOUGH		(60 * SEC)	/* fewer cycles, if they take longer */
#define LENGTH		16384
#define MESSAGES	12

static uint64_t seed;

static unsigned int draw(unsigned int below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 20) % below;
}

/* The address where a section of the module begins; 0: unknown. */
static unsigned long section(const char *name)
{
	char path[96];
	unsigned long at = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/module/dmaplane/sections/%s", name);
	file = fopen(path, "re");
	if (file) {
		if (fscanf(file, "%lx", &at) != 1)
			at = 0;
		fclose(file);
	}
	return at;
}

/* Bytes of the module's code. */
static unsigned long code_bytes(void)
{
	unsigned long bytes = 0;
	FILE *file = fopen("/sys/module/dmaplane/coresize", "re");

	if (file) {
		if (fscanf(file, "%lu", &bytes) != 1)
			bytes = 0;
		fclose(file);
	}
	return bytes;
}

/* Only calls from this module. */
static int aim(void)
{
	unsigned long from = section(".text"), bytes = code_bytes();
	char text[32];
	int ret = from && bytes ? 0 : -ENOENT;

	for (unsigned int i = 0; i < ARRAY_LEN(fault_kinds); i++) {
		snprintf(text, sizeof(text), "0x%lx", from);
		ret = ret ?: fault_set(fault_kinds[i], "require-start", text);
		snprintf(text, sizeof(text), "0x%lx", from + bytes);
		ret = ret ?: fault_set(fault_kinds[i], "require-end", text);
		ret = ret ?: fault_set(fault_kinds[i], "stacktrace-depth", "32");
	}
	return ret;
}

static int aim_at_nothing(void)
{
	int ret = 0;

	for (unsigned int i = 0; i < ARRAY_LEN(fault_kinds); i++) {
		ret = ret ?: fault_set(fault_kinds[i], "probability", "0");
		ret = ret ?: fault_set(fault_kinds[i], "require-start", "0");
		ret = ret ?: fault_set(fault_kinds[i], "require-end", "0xffffffffffffffff");
	}
	return ret;
}

/* From now on every so many-th call fails, a few times. */
static int arm(const char *kind, unsigned int every, unsigned int times)
{
	char text[16];
	int ret;

	snprintf(text, sizeof(text), "%u", every);
	ret = fault_set(kind, "interval", text);
	snprintf(text, sizeof(text), "%u", times);
	ret = ret ?: fault_set(kind, "times", text);
	return ret ?: fault_set(kind, "probability", times ? "100" : "0");
}

/* Each kind at most so seldom. */
static int arm_all(unsigned int slab, unsigned int pages, unsigned int verbs)
{
	int ret = arm("failslab", 1 + draw(slab), draw(4));

	ret = ret ?: arm("fail_page_alloc", 1 + draw(pages), draw(3));
	return ret ?: arm("dmaplane/fail_verbs", 1 + draw(verbs), draw(3));
}

static bool known(int error)
{
	static const int errors[] = {
		0, ENOMEM, ETIME, ENOTCONN, ECONNREFUSED, ECONNRESET, ECANCELED,
		EHOSTUNREACH, ENETUNREACH, EACCES, EREMOTEIO, EPROTO, ENOENT, ENOKEY,
	};

	for (unsigned int i = 0; i < ARRAY_LEN(errors); i++)
		if (error == -errors[i])
			return true;
	return false;
}

#define KNOWN(call) ({							\
	int __ret = (call);						\
									\
	if (!known(__ret)) {						\
		COMMENT("%s:%d: %s returned %d\n", __FILE__, __LINE__, #call, __ret); \
		odd++;							\
	}								\
	__ret;								\
})

static __thread unsigned int odd;

struct end {
	struct side side;
	struct memory m;
	struct dmaplane_addr addr;	/* of the listener */
	unsigned int odd;
	bool connects;
	bool arms;			/* the faults, once it is connected */
	int went;			/* how far it came */
	bool closed;			/* its endpoint, if it had one */
	bool over;
	struct end *other;
};

#define SOON (3 * SEC)

static bool is_over(struct end *e)
{
	return __atomic_load_n(&e->over, __ATOMIC_ACQUIRE);
}

/* Waits for the other end, unless that gave up. */
static int request(struct end *e, struct dmaplane_endpoint_request *arg)
{
	uint64_t give_up = now_ns() + SOON;
	int ret;

	do {
		ret = take_request(e->side.fd, e->side.endpoint, 50 * MS, arg);
	} while (ret == -ETIME && !is_over(e->other) && now_ns() < give_up);
	return ret;
}

static int join_peer(struct end *e)
{
	struct dmaplane_endpoint_address to = ARG(endpoint_address, .dst = e->addr,
						  .timeout_ns = SOON);
	struct dmaplane_endpoint_request from;
	struct dmaplane_endpoint_connect arg = ARG(endpoint_connect,
		.channel = e->side.ch.handle, .send_depth = 8, .recv_depth = 8,
		.timeout_ns = SOON);
	int ret = e->connects ? cmd(e->side.fd, DMAPLANE_IOC_ENDPOINT_ADDRESS, &to) :
				request(e, &from);

	if (KNOWN(ret))
		return ret;
	e->went = 1;
	e->side.endpoint = arg.endpoint = e->connects ? to.handle : from.handle;
	return KNOWN(cmd(e->side.fd, e->connects ? DMAPLANE_IOC_ENDPOINT_CONNECT :
				     DMAPLANE_IOC_ENDPOINT_ACCEPT, &arg));
}

/* Waits for completions until there are @count, or a while without one. */
static unsigned int reap(struct end *e, unsigned int count)
{
	struct dmaplane_cqe cqe;
	unsigned int reaped = 0;

	while (reaped < count) {
		while (channel_reap(&e->side.ch, &cqe)) {
			if (cqe.res < 0)
				KNOWN(cqe.res);
			reaped++;
		}
		if (reaped < count &&
		    KNOWN(channel_enter(&e->side.ch, 0, 1, SEC / 2)) == -ETIME)
			break;
	}
	return reaped;
}

static void transfer(struct end *e)
{
	struct dmaplane_lease_wait got;
	uint32_t lease;
	int ret;

	if (KNOWN(memory_make(&e->side, LENGTH, DMAPLANE_ACCESS_REMOTE_WRITE, &e->m)))
		return;
	e->went = 3;
	if (KNOWN(lease_grant(&e->side, e->m.region, 1, &lease)) ||
	    KNOWN(lease_wait(&e->side, SOON, &got)))
		return;
	e->went = 4;
	for (unsigned int i = 0; i < MESSAGES; i++) {
		struct dmaplane_sqe sqe = write_imm(&e->side, e->m.region, got.lease, 0, 0, LENGTH,
						    i);

		/* Whatever fails is in the completion; the rings have room for all. */
		ret = channel_submit(&e->side.ch, &sqe);
		if (KNOWN(ret == 1 ? 0 : ret))
			break;
	}
	if (reap(e, 2 * MESSAGES) == 2 * MESSAGES)
		e->went = 5;
}

static void *run_end(void *arg)
{
	struct end *e = arg;

	odd = 0;
	e->went = 0;
	e->m.at = MAP_FAILED;
	if (!join_peer(e)) {
		e->went = 2;
		if (e->arms && arm_all(40, 10, 60))
			odd++;
		transfer(e);
	}
	/* So that the other end need not wait for what will not come. */
	if (e->went && e->went < 5) {
		KNOWN(endpoint_close(e->side.fd, e->side.endpoint));
		e->closed = true;
	}
	e->odd = odd;
	__atomic_store_n(&e->over, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Closes the endpoint: then nothing is in flight. */
static int settle(struct end *e)
{
	struct dmaplane_stats stats;

	if (e->went && !e->closed)
		CHECK_IS(0, endpoint_close(e->side.fd, e->side.endpoint));
	CHECK_IS(0, get_stats(e->side.fd, &stats));
	CHECK_IS(stats.submitted, stats.completed);
	if (e->m.at != MAP_FAILED && e->m.at)
		munmap(e->m.at, LENGTH);
	side_close(&e->side);
	return 0;
}

static int cycle(unsigned int reached[6])
{
	struct end a = { .connects = true }, b = { .other = &a };
	struct dmaplane_endpoint_listen listen;
	pthread_t thread;

	CHECK_IS(0, side_open(&a.side, 64));
	CHECK_IS(0, side_open(&b.side, 64));
	CHECK_IS(0, listen_on(b.side.fd, ADDRESS4, 0, 8, &listen));
	b.side.endpoint = listen.handle;
	a.addr = listen.addr;

	if (draw(3) == 0)
		CHECK_IS(0, arm_all(150, 40, 80));
	else
		a.arms = true;
	CHECK_IS(0, pthread_create(&thread, NULL, run_end, &b));
	run_end(&a);
	CHECK_IS(0, pthread_join(thread, NULL));
	CHECK_IS(0, settle(&a));
	CHECK_IS(0, settle(&b));
	for (unsigned int i = 0; i < ARRAY_LEN(fault_kinds); i++)
		CHECK_IS(0, fault_set(fault_kinds[i], "probability", "0"));
	reached[a.went < b.went ? a.went : b.went]++;
	CHECK_IS(0, a.odd);
	CHECK_IS(0, b.odd);
	CHECK(WAIT_FOR(live("contexts") == 0 && live("endpoints") == 0));
	CHECK_IS(0, live("regions"));
	CHECK_IS(0, live("channels"));
	CHECK_IS(0, live("buffer_bytes"));
	return 0;
}

TEST(cycles)
{
	unsigned int reached[6] = { 0 }, i;
	const char *given = getenv("FAULT_SEED");
	uint64_t enough = now_ns() + ENOUGH;

	if (!faults_possible())
		SKIP(return, "this kernel has no fault injection");
	if (given)
		seed = strtoull(given, NULL, 0);
	else
		ASSERT_EQ(sizeof(seed), getrandom(&seed, sizeof(seed), 0));
	seed = seed ?: 1;
	COMMENT("FAULT_SEED=%llu\n", (unsigned long long)seed);
	ASSERT_EQ(0, faults_ready());
	ASSERT_EQ(0, spare(RXE_LOSES_RECEIVES));
	ASSERT_EQ(0, aim());
	/* Both happen: faults that end a connection, and transfers to the end. */
	for (i = 0; i < CYCLES; i++) {
		int ret = cycle(reached);

		if (ret) {
			aim_at_nothing();
			COMMENT("in cycle %u\n", i);
		}
		ASSERT_EQ(0, ret);
		if (now_ns() > enough && reached[5] && reached[5] <= i) {
			i++;
			break;
		}
	}
	COMMENT("%u cycles; ended before an endpoint %u, before a connection %u, before memory %u, before a lease %u, while transferring %u, not at all %u\n",
		i, reached[0], reached[1], reached[2], reached[3], reached[4], reached[5]);
	ASSERT_EQ(0, aim_at_nothing());
	EXPECT_GT(i, reached[5]);
	EXPECT_LT(0, reached[5]);
}

TEST_HARNESS_MAIN
