// SPDX-License-Identifier: GPL-2.0
/*
 * One side of a connection, for the scenarios:
 *
 *	peer serve HOST PORT [OPTION…]		peer connect HOST PORT [OPTION…]
 *
 * Each side leases memory to the other, sends --send messages of --size bytes
 * and expects --receive of them, checks them (see peer.h) when it sees their
 * completions, and that each entry of its own is completed exactly once.
 * Exit status: 0 if all of that went as it should.
 *
 * With --ends the connection must end before all messages are through (-1: there
 * is no last one), in some way that is not this program's doing. With --may-end
 * it may, if it was reset.
 *
 *	peer fabrics				number, name, MTU of the RDMA devices
 *	peer resolve HOST			the errno of ENDPOINT_ADDRESS
 *	peer listen HOST			the errno of ENDPOINT_LISTEN
 *	peer hold-file, peer hold-mapping, peer hold-dmabuf
 *						keep just that until killed
 */
#include "peer.h"

#include <getopt.h>

/* After the end: what was accepted gets its completion, and nothing else does. */
static void settle(void)
{
	struct dmaplane_stats stats;

	progress = "waiting for the last completions";
	while (pending()) {
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
	    pending() || stats.endpoints ||
	    (long)stats.received != (writes ? count.received : 0)) {
		printf("accepted %ld, done %ld, failed %ld, received %ld\n", count.accepted,
		       count.done, count.failed, count.received);
		printf("STATS: submitted %lld, completed %lld, received %lld, endpoints %u\n",
		       stats.submitted, stats.completed, stats.received, stats.endpoints);
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

static void know_fabric(void)
{
	struct dmaplane_fabric fabric;

	check("the endpoint's fabric", fabric_of(&side, &fabric));
	max_segment = fabric.max_segment;
	writes = fabric.flags & DMAPLANE_FABRIC_WRITE_IMM;
}

#define BYE 0xb1eb1eULL	/* tag of the last lease */

static void connect_sides(const char *role, const char *host, uint16_t port)
{
	struct dmaplane_endpoint_request request;
	struct dmaplane_endpoint_listen listen;
	struct dmaplane_addr dst = address(host, port);
	struct dmaplane_lease_wait got;
	uint32_t granted;

	check(DEVICE, side_open(&side, opt.entries));
	side.send_depth = side.recv_depth = opt.depth;
	if (opt.entries > MAX_ENTRIES)
		fail("--entries", EINVAL);
	progress = "connecting";
	if (!strcmp(role, "serve")) {
		check("LISTEN", listen_on(side.fd, host, port, 1, &listen));
		printf("listening\n");
		check("REQUEST", take_request(side.fd, listen.handle, DMAPLANE_FOREVER, &request));
		side.endpoint = request.handle;
		check("ACCEPT", side_join(&side, DMAPLANE_IOC_ENDPOINT_ACCEPT));
		check("closing the listener", endpoint_close(side.fd, listen.handle));
	} else {
		check("ADDRESS", resolve(side.fd, &dst, &side.endpoint));
		check("CONNECT", side_join(&side, DMAPLANE_IOC_ENDPOINT_CONNECT));
	}
	know_fabric();
	progress = "registering memory";
	check("memory", memory_make(&side, opt.entries * opt.size, 0, &from));
	check("memory", memory_make(&side, opt.entries * opt.size, DMAPLANE_ACCESS_REMOTE_WRITE,
				    &to));
	progress = "exchanging leases";
	check("LEASE_GRANT", lease_grant(&side, to.region, 1, &granted));
	check("LEASE_WAIT", lease_wait(&side, PATIENCE, &got));
	lease = got.lease;
	printf("connected\n");
}

/*
 * All is through here, but the other side may still wait for acknowledgements: it
 * connected, and closes when this one says that it does not, with a last lease.
 */
static void part(bool serves)
{
	struct dmaplane_lease_wait got;
	uint32_t granted;
	int ret;

	progress = "waiting for the other side to end";
	be_patient();
	if (!serves) {
		ret = lease_wait(&side, DMAPLANE_FOREVER, &got);
		if (ret != -ENOTCONN && (ret || got.tag != BYE))
			fail("parting", ret);
		return;
	}
	lease_grant(&side, to.region, BYE, &granted);
	while (state_of(side.fd, side.endpoint) == DMAPLANE_STATE_ESTABLISHED)
		sleep_ms(5);
}

static int run(const char *role, const char *host, uint16_t port)
{
	struct dmaplane_endpoint_query got;
	bool through;

	connect_sides(role, host, port);
	if (opt.idle) {
		alarm(0);
		for (;;)
			pause();
	}
	progress = "transferring";
	through = transfer();
	check("QUERY", query(side.fd, side.endpoint, &got));
	printf("%s: done %ld, failed %ld (%s), received %ld\n",
	       through ? "through" : strerror(got.error), count.done, count.failed,
	       strerror(count.error), count.received);
	if (through && !opt.ends)
		part(!strcmp(role, "serve"));
	settle();
	if (through)
		check_nothing_late();
	if (!through && opt.may_end) {
		if (got.error != ECONNRESET || (count.failed && count.error != ECONNRESET))
			fail("it ended, but not as one that was reset", got.error);
	} else if (through == opt.ends)
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

static int hold(bool mapping, bool dmabuf)
{
	int fd = check(DEVICE, open_device());
	struct buffer buffer;

	if (mapping) {
		check("BUF_CREATE", buf_create(fd, 65536, &buffer));
		if (buf_map(fd, &buffer) == MAP_FAILED)
			fail("mmap", errno);
		close(fd);
	}
	if (dmabuf) {
		check("BUF_CREATE", buf_create(fd, 65536, &buffer));
		check("BUF_EXPORT", buf_export(fd, buffer.handle, 0, 0, 0));
		close(fd);
	}
	printf("holding\n");
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
		{ "ends", no_argument, NULL, 'E' },
		{ "may-end", no_argument, NULL, 'M' },
		{ "idle", no_argument, NULL, 'I' },
		{ "register", no_argument, NULL, 'R' },
		{ NULL, 0, NULL, 0 },
	};
	const char *role;
	int c;

	/* Whoever reads waits for a line. */
	setlinebuf(stdout);
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's': opt.send = atol(optarg); break;
		case 'r': opt.receive = atol(optarg); break;
		case 'z': opt.size = atoi(optarg); break;
		case 'd': opt.depth = atoi(optarg); break;
		case 'e': opt.entries = atoi(optarg); break;
		case 'w': opt.slow = atoi(optarg); break;
		case 'E': opt.ends = true; break;
		case 'M': opt.may_end = true; break;
		case 'I': opt.idle = true; break;
		case 'R': opt.registers = true; break;
		default: return 2;
		}
	}
	argv += optind;
	argc -= optind;
	role = argc ? argv[0] : "";
	signal(SIGALRM, out_of_patience);
	if (argc == 3 && (!strcmp(role, "serve") || !strcmp(role, "connect"))) {
		be_patient();
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
		return hold(false, false);
	if (argc == 1 && !strcmp(role, "hold-mapping"))
		return hold(true, false);
	if (argc == 1 && !strcmp(role, "hold-dmabuf"))
		return hold(false, true);
	fprintf(stderr, "usage: peer serve|connect HOST PORT [OPTION…]; see peer.c\n");
	return 2;
}
