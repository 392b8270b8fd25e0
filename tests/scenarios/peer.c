// SPDX-License-Identifier: GPL-2.0
/*
 * One side of a connection, for the scenarios:
 *
 *	peer serve HOST PORT [OPTION…]		peer connect HOST PORT [OPTION…]
 *
 * Each side leases memory to the other, sends --send messages of --size bytes
 * and expects --receive of them, checks their bytes when it sees their
 * completions, and that each entry of its own is completed exactly once.
 * Exit status: 0 if all of that went as it should.
 *
 * With --ends the connection must end before all messages are through (-1: there
 * is no last one), in some way that is not this program's doing.
 *
 *	peer fabrics				number, name, MTU of the RDMA devices
 *	peer resolve HOST			the errno of ENDPOINT_ADDRESS
 *	peer listen HOST			the errno of ENDPOINT_LISTEN
 *	peer hold-file, peer hold-mapping	keep just that until killed
 */
#include "../selftests/pair.h"

#include <getopt.h>

static struct options {
	long send, receive;	/* -1: for ever */
	uint32_t size, depth, entries;
	unsigned int slow;	/* ms that a completion takes to be reaped */
	bool ends, idle;
} opt = { .size = 65536, .depth = 8, .entries = 32 };

static struct {
	long accepted, done, failed, received;
	int error;		/* of the first failed entry */
} count;

static const char *progress = "opening the device";

static void __attribute__((noreturn)) fail(const char *what, int error)
{
	printf("failed: %s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

static int check(const char *what, int ret)
{
	if (ret < 0)
		fail(what, ret);
	return ret;
}

static void out_of_patience(int signal)
{
	(void)signal;
	printf("failed: hangs while %s: accepted %ld, done %ld, failed %ld, received %ld\n",
	       progress, count.accepted, count.done, count.failed, count.received);
	fflush(stdout);
	_exit(3);
}

/* ---- The transfer ------------------------------------------------------- */

static struct side side;
static struct memory from, to;
static uint32_t lease;
static uint64_t max_segment;

/* As many as completions can be unreaped, so that no slot is written to before it was checked. */
static uint32_t slot(long message)
{
	return (uint32_t)(message % opt.entries) * opt.size;
}

static void submit(void)
{
	int ret;

	while (opt.send < 0 || count.accepted < opt.send) {
		struct dmaplane_sqe sqe = write_imm(&side, from.region, lease,
						    slot(count.accepted), slot(count.accepted),
						    opt.size, count.accepted);

		/* The contents of a slot are the same each time, so it can be sent again. */
		check("push", channel_push(&side.ch, &sqe));
		ret = channel_enter(&side.ch, 1, 0, 0);
		if (ret != 1) {
			/* Not taken: take it back. */
			store_release(&side.ch.ring->sq_tail, side.ch.ring->sq_tail - 1);
			if (ret != -EBUSY)
				check("ENTER", ret);
			return;
		}
		count.accepted++;
	}
}

/* What the receive completion of the bytes from @at on reports. */
static uint32_t last_piece(uint32_t at)
{
	uint64_t end = at + opt.size;

	return (end - 1) / max_segment == at / max_segment ? opt.size : (end - 1) % max_segment + 1;
}

static void look_at(const struct dmaplane_cqe *cqe)
{
	if (cqe->opcode == DMAPLANE_OP_RECV) {
		uint32_t at = slot(count.received);

		if (cqe->imm != (uint32_t)count.received || cqe->res != (int)last_piece(at) ||
		    first_wrong(to.at + at, opt.size, at) != opt.size) {
			printf("failed: message %ld: imm %u, res %d, first wrong byte %lu\n",
			       count.received, cqe->imm, cqe->res,
			       (long)first_wrong(to.at + at, opt.size, at));
			exit(1);
		}
		memset(to.at + at, 0, opt.size);
		count.received++;
	} else if (cqe->user_data != (uint64_t)(count.done + count.failed)) {
		fail("completions are not in order", 0);
	} else if (cqe->res < 0) {
		if (!count.failed++)
			count.error = -cqe->res;
	} else if (count.failed) {
		fail("one succeeded after one had failed", 0);
	} else {
		count.done++;
	}
	if (count.done + count.received == 20) {
		printf("flowing\n");
		fflush(stdout);
	}
}

static void reap(void)
{
	struct channel *c = &side.ch;

	while (channel_available(c)) {
		if (opt.slow)
			sleep_ms(opt.slow);
		look_at(&c->cqes[c->ring->cq_head & (c->cq_entries - 1)]);
		store_release(&c->ring->cq_head, c->ring->cq_head + 1);
	}
}

static bool all_done(void)
{
	return opt.send >= 0 && opt.receive >= 0 && count.done == opt.send &&
	       count.received == opt.receive;
}

/* Until all is through (true) or the connection has ended (false). */
static bool transfer(void)
{
	while (!all_done()) {
		int ret, state = state_of(side.fd, side.endpoint);

		if (state != DMAPLANE_STATE_ESTABLISHED)
			return false;
		if (!count.failed)
			submit();
		ret = channel_enter(&side.ch, 0, 1, 200 * MS);
		if (ret < 0 && ret != -ETIME)
			fail("ENTER", ret);
		reap();
	}
	return true;
}

/* After the end: what was accepted gets its completion, and nothing else does. */
static void settle(void)
{
	struct dmaplane_stats stats;

	progress = "waiting for the last completions";
	while (count.done + count.failed < count.accepted) {
		int ret = channel_enter(&side.ch, 0, 1, PATIENCE);

		if (ret < 0)
			fail("an entry was never completed", ret);
		reap();
	}
	progress = "closing";
	check("ENDPOINT_CLOSE", endpoint_close(side.fd, side.endpoint));
	reap();
	WAIT_FOR(!get_stats(side.fd, &stats) && !stats.endpoints);
	if (stats.submitted != stats.completed || (long)stats.submitted != count.accepted ||
	    count.done + count.failed != count.accepted || stats.endpoints) {
		printf("accepted %ld, done %ld, failed %ld\n", count.accepted, count.done,
		       count.failed);
		printf("STATS: submitted %lld, completed %lld, endpoints %u\n", stats.submitted,
		       stats.completed, stats.endpoints);
		fail("the numbers of entries, completions, endpoints are wrong", 0);
	}
	check("REGION_DEREGISTER", region_deregister(side.fd, from.region));
	check("REGION_DEREGISTER", region_deregister(side.fd, to.region));
	check("CHANNEL_CLOSE", channel_close(&side.ch));
}

static void list_fabrics(int fd, struct dmaplane_fabric_list *list,
			 struct dmaplane_fabric fabrics[16])
{
	*list = ARG(fabric_list, .count = 16, .fabrics = (uintptr_t)fabrics);
	check("FABRIC_LIST", cmd(fd, DMAPLANE_IOC_FABRIC_LIST, list));
}

static void find_max_segment(void)
{
	struct dmaplane_fabric fabrics[16];
	struct dmaplane_fabric_list list;
	struct dmaplane_endpoint_query got;

	check("QUERY", query(side.fd, side.endpoint, &got));
	list_fabrics(side.fd, &list, fabrics);
	for (uint32_t i = 0; i < list.count; i++)
		if (fabrics[i].fabric == got.fabric)
			max_segment = fabrics[i].max_segment;
	if (!max_segment)
		fail("the endpoint's fabric is not in the list", 0);
}

static void connect_sides(const char *role, const char *host, uint16_t port)
{
	struct dmaplane_endpoint_request request;
	struct dmaplane_endpoint_listen listen;
	struct dmaplane_addr dst = address(host, port);
	struct dmaplane_lease_wait got;
	uint32_t granted;

	check(DEVICE, side_open(&side, opt.entries));
	side.send_depth = side.recv_depth = opt.depth;
	progress = "connecting";
	if (!strcmp(role, "serve")) {
		check("LISTEN", listen_on(side.fd, host, port, 1, &listen));
		printf("listening\n");
		fflush(stdout);
		check("REQUEST", take_request(side.fd, listen.handle, DMAPLANE_FOREVER, &request));
		side.endpoint = request.handle;
		check("ACCEPT", side_join(&side, DMAPLANE_IOC_ENDPOINT_ACCEPT));
		check("closing the listener", endpoint_close(side.fd, listen.handle));
	} else {
		check("ADDRESS", resolve(side.fd, &dst, &side.endpoint));
		check("CONNECT", side_join(&side, DMAPLANE_IOC_ENDPOINT_CONNECT));
	}
	find_max_segment();
	progress = "registering memory";
	check("memory", memory_make(&side, opt.entries * opt.size, 0, &from));
	check("memory", memory_make(&side, opt.entries * opt.size, DMAPLANE_ACCESS_REMOTE_WRITE,
				    &to));
	for (uint32_t i = 0; i < opt.entries; i++)
		fill(from.at + i * opt.size, opt.size, i * opt.size);
	progress = "exchanging leases";
	check("LEASE_GRANT", lease_grant(&side, to.region, 1, &granted));
	check("LEASE_WAIT", lease_wait(&side, PATIENCE, &got));
	lease = got.lease;
	printf("connected\n");
	fflush(stdout);
}

static int run(const char *role, const char *host, uint16_t port)
{
	bool through;

	connect_sides(role, host, port);
	if (opt.idle) {
		alarm(0);
		for (;;)
			pause();
	}
	progress = "transferring";
	through = transfer();
	printf("done %ld, failed %ld (%s), received %ld\n", count.done, count.failed,
	       strerror(count.error), count.received);
	if (through && !opt.ends) {
		/* The other side may still wait for the acknowledgement of its last message. */
		progress = "waiting for the other side to end";
		if (!strcmp(role, "serve"))
			while (state_of(side.fd, side.endpoint) == DMAPLANE_STATE_ESTABLISHED)
				sleep_ms(5);
		else
			sleep_ms(300);
	}
	settle();
	if (through == opt.ends)
		fail(through ? "it went through, but should have ended" : "it ended early",
		     count.error);
	return 0;
}

/* ---- The small ones ----------------------------------------------------- */

static int fabrics(void)
{
	struct dmaplane_fabric fabrics[16];
	struct dmaplane_fabric_list list;

	list_fabrics(check(DEVICE, open_device()), &list, fabrics);
	for (uint32_t i = 0; i < list.count; i++)
		printf("%u %s %u\n", fabrics[i].fabric, (char *)fabrics[i].name,
		       fabrics[i].active_mtu);
	return 0;
}

static int say_errno(int ret)
{
	printf("%s\n", ret ? strerrorname_np(-ret) : "0");
	return 0;
}

static int hold(bool mapping)
{
	int fd = check(DEVICE, open_device());
	struct buffer buffer;

	if (mapping) {
		check("BUF_CREATE", buf_create(fd, 65536, &buffer));
		if (buf_map(fd, &buffer) == MAP_FAILED)
			fail("mmap", errno);
		close(fd);
	}
	printf("holding\n");
	fflush(stdout);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "send", required_argument, NULL, 's' },
		{ "receive", required_argument, NULL, 'r' },
		{ "size", required_argument, NULL, 'z' },
		{ "depth", required_argument, NULL, 'd' },
		{ "entries", required_argument, NULL, 'e' },
		{ "slow", required_argument, NULL, 'w' },
		{ "patience", required_argument, NULL, 'p' },
		{ "ends", no_argument, NULL, 'E' },
		{ "idle", no_argument, NULL, 'I' },
		{ NULL, 0, NULL, 0 },
	};
	const char *role;
	int c, patience = 25;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's': opt.send = atol(optarg); break;
		case 'r': opt.receive = atol(optarg); break;
		case 'z': opt.size = atoi(optarg); break;
		case 'd': opt.depth = atoi(optarg); break;
		case 'e': opt.entries = atoi(optarg); break;
		case 'w': opt.slow = atoi(optarg); break;
		case 'p': patience = atoi(optarg); break;
		case 'E': opt.ends = true; break;
		case 'I': opt.idle = true; break;
		default: return 2;
		}
	}
	argv += optind;
	argc -= optind;
	role = argc ? argv[0] : "";
	signal(SIGALRM, out_of_patience);
	if (argc == 3 && (!strcmp(role, "serve") || !strcmp(role, "connect"))) {
		alarm(patience);
		return run(role, argv[1], atoi(argv[2]));
	}
	if (argc == 1 && !strcmp(role, "fabrics"))
		return fabrics();
	if (argc == 2 && !strcmp(role, "resolve")) {
		struct dmaplane_addr dst = address(argv[1], 4711);
		uint32_t endpoint;

		return say_errno(resolve(check(DEVICE, open_device()), &dst, &endpoint));
	}
	if (argc == 2 && !strcmp(role, "listen")) {
		struct dmaplane_endpoint_listen arg;

		return say_errno(listen_on(check(DEVICE, open_device()), argv[1], 0, 1, &arg));
	}
	if (argc == 1 && !strcmp(role, "hold-file"))
		return hold(false);
	if (argc == 1 && !strcmp(role, "hold-mapping"))
		return hold(true);
	fprintf(stderr, "usage: peer serve|connect HOST PORT [OPTION…]; see peer.c\n");
	return 2;
}
