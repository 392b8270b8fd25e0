// SPDX-License-Identifier: GPL-2.0
/*
 * Two hosts, network namespaces with an interface and an RDMA device each, by
 * netlink: a cycle has no time for programs. Its parts go and come back here.
 *
 * After an interface was down the connection manager's own queue pair of a Soft-RoCE device is
 * dead, so the RDMA devices of both sides are made anew then. A device is deleted before its
 * interface is: rxe drops its socket twice if both ends meet (rxe_net_del(), called by rxe_notify()
 * and rxe_dellink() without a common lock); only the column where the interface goes does
 * not, and there nobody deletes the devices as well.
 */
#include "matrix.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <rdma/rdma_netlink.h>

const char *const host_address[HOSTS] = { "10.9.0.1", "10.9.0.2" };
static const char *const host_name[HOSTS] = { "a", "b" };
static const char *const netdev[HOSTS] = { "va", "vb" };
static const char *const rdma[HOSTS] = { "rxe_a", "rxe_b" };
static const char *const gid[HOSTS] = {
	"0000:0000:0000:0000:0000:ffff:0a09:0001", "0000:0000:0000:0000:0000:ffff:0a09:0002",
};
static const uint8_t mac[HOSTS][6] = { { 2, 0, 0, 0, 9, 1 }, { 2, 0, 0, 0, 9, 2 } };

static int space[HOSTS], rt[HOSTS], rd[HOSTS];

/* ---- Messages ----------------------------------------------------------- */

struct message {
	struct nlmsghdr h;
	char data[1024];
};

static void *extend(struct message *m, size_t length)
{
	void *at = (char *)m + NLMSG_ALIGN(m->h.nlmsg_len);

	memset(at, 0, NLMSG_ALIGN(length));
	m->h.nlmsg_len = NLMSG_ALIGN(m->h.nlmsg_len) + length;
	return at;
}

static struct message message(uint16_t type, uint16_t flags)
{
	return (struct message){ .h = {
		.nlmsg_len = NLMSG_HDRLEN, .nlmsg_type = type,
		.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags,
	} };
}

static struct nlattr *put(struct message *m, uint16_t type, const void *value, size_t length)
{
	struct nlattr *a = extend(m, NLA_HDRLEN + length);

	a->nla_type = type;
	a->nla_len = NLA_HDRLEN + length;
	memcpy((char *)a + NLA_HDRLEN, value, length);
	return a;
}

static void put_text(struct message *m, uint16_t type, const char *text)
{
	put(m, type, text, strlen(text) + 1);
}

static void put_u32(struct message *m, uint16_t type, uint32_t value)
{
	put(m, type, &value, sizeof(value));
}

static struct nlattr *nest(struct message *m, uint16_t type)
{
	return put(m, type, "", 0);
}

static void nest_end(struct message *m, struct nlattr *a)
{
	a->nla_len = (char *)m + m->h.nlmsg_len - (char *)a;
}

/* Sends a message and hands the answers to @each; the result is that of the acknowledgement. */
static int do_transact(int fd, struct message *m, void (*each)(struct nlmsghdr *h, void *arg),
		       void *arg)
{
	static uint32_t sequence;
	char buffer[16384];

	m->h.nlmsg_seq = ++sequence;
	if (send(fd, m, m->h.nlmsg_len, 0) < 0)
		return -errno;
	for (;;) {
		ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
		struct nlmsghdr *h = (void *)buffer;

		if (got < 0)
			return -errno;
		for (; NLMSG_OK(h, got); h = NLMSG_NEXT(h, got)) {
			if (h->nlmsg_seq != m->h.nlmsg_seq)
				continue;
			if (h->nlmsg_type == NLMSG_ERROR)
				return ((struct nlmsgerr *)NLMSG_DATA(h))->error;
			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (each)
				each(h, arg);
		}
	}
}

static int transact(int fd, struct message *m, void (*each)(struct nlmsghdr *h, void *arg),
		    void *arg)
{
	int ret;

	watch_begin("a change of the network");
	ret = do_transact(fd, m, each, arg);
	watch_end();
	return ret;
}

/* ---- Hosts -------------------------------------------------------------- */

void enter_host(int host)
{
	if (setns(space[host], CLONE_NEWNET)) {
		perror("setns");
		exit(1);
	}
}

bool net_open(void)
{
	struct timeval patience = { .tv_sec = limit_ns() / SEC };
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	for (int host = 0; host < HOSTS; host++) {
		char path[64];

		snprintf(path, sizeof(path), "/run/netns/%s", host_name[host]);
		space[host] = open(path, O_RDONLY | O_CLOEXEC);
		if (space[host] < 0) {
			perror(path);
			return false;
		}
		enter_host(host);
		rt[host] = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
		rd[host] = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_RDMA);
		setsockopt(rt[host], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		setsockopt(rd[host], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	}
	return !setns(home, CLONE_NEWNET) && !close(home);
}

/* ---- RDMA devices ------------------------------------------------------- */

struct search {
	const char *name;
	uint32_t index;
	bool found;
};

static void look_for(struct nlmsghdr *h, void *arg)
{
	struct search *s = arg;
	struct nlattr *a = NLMSG_DATA(h), *end = (void *)((char *)h + h->nlmsg_len);
	uint32_t index = 0;
	bool same = false;

	for (; a < end && a->nla_len; a = (void *)((char *)a + NLA_ALIGN(a->nla_len))) {
		if (a->nla_type == RDMA_NLDEV_ATTR_DEV_INDEX)
			memcpy(&index, a + 1, sizeof(index));
		if (a->nla_type == RDMA_NLDEV_ATTR_DEV_NAME)
			same = !strcmp((char *)(a + 1), s->name);
	}
	if (same) {
		s->index = index;
		s->found = true;
	}
}

static bool rdma_link_find(int host, uint32_t *index)
{
	struct message m = message(RDMA_NL_GET_TYPE(RDMA_NL_NLDEV, RDMA_NLDEV_CMD_GET), NLM_F_DUMP);
	struct search s = { .name = rdma[host] };

	transact(rd[host], &m, look_for, &s);
	*index = s.index;
	return s.found;
}

int rdma_link_del(int host)
{
	struct message m = message(RDMA_NL_GET_TYPE(RDMA_NL_NLDEV, RDMA_NLDEV_CMD_DELLINK), 0);
	uint32_t index;

	if (!rdma_link_find(host, &index))
		return -ENODEV;
	put_u32(&m, RDMA_NLDEV_ATTR_DEV_INDEX, index);
	return transact(rd[host], &m, NULL, NULL);
}

static int rdma_link_add(int host)
{
	struct message m = message(RDMA_NL_GET_TYPE(RDMA_NL_NLDEV, RDMA_NLDEV_CMD_NEWLINK), 0);
	int ret;

	put_text(&m, RDMA_NLDEV_ATTR_DEV_NAME, rdma[host]);
	put_text(&m, RDMA_NLDEV_ATTR_LINK_TYPE, "rxe");
	put_text(&m, RDMA_NLDEV_ATTR_NDEV_NAME, netdev[host]);
	/* One of that name can still be going. */
	WAIT_FOR((ret = transact(rd[host], &m, NULL, NULL)) != -ENFILE);
	return ret;
}

/* Addresses come to a device a moment after itself. */
static bool has_gid(int host)
{
	char path[96], line[64];

	for (int i = 0; i < 8; i++) {
		FILE *file;
		bool same;

		snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/1/gids/%d",
			 rdma[host], i);
		file = fopen(path, "re");
		if (!file)
			return false;
		same = fgets(line, sizeof(line), file) && !strncmp(line, gid[host], 39);
		fclose(file);
		if (same)
			return true;
	}
	return false;
}

/* ---- Interfaces --------------------------------------------------------- */

static struct message about(int host, uint16_t type, uint16_t flags, uint32_t set)
{
	struct message m = message(type, flags);
	struct ifinfomsg *info = extend(&m, sizeof(*info));

	info->ifi_flags = set;
	info->ifi_change = set ? IFF_UP : 0;
	put_text(&m, IFLA_IFNAME, netdev[host]);
	return m;
}

int netdev_set(int host, bool up)
{
	struct message m = about(host, RTM_NEWLINK, 0, IFF_UP);

	((struct ifinfomsg *)m.data)->ifi_flags = up ? IFF_UP : 0;
	return transact(rt[host], &m, NULL, NULL);
}

/* Both interfaces: they are a pair. */
int netdev_del(void)
{
	struct message m = about(HOST_A, RTM_DELLINK, 0, 0);

	return transact(rt[HOST_A], &m, NULL, NULL);
}

struct state {
	uint32_t index;
	bool there, running;
};

static void note_state(struct nlmsghdr *h, void *arg)
{
	struct ifinfomsg *info = NLMSG_DATA(h);

	*(struct state *)arg = (struct state){
		info->ifi_index, true, !(~info->ifi_flags & (IFF_UP | IFF_RUNNING))
	};
}

static struct state netdev_state(int host)
{
	struct message m = about(host, RTM_GETLINK, 0, 0);
	struct state state = { 0 };

	transact(rt[host], &m, note_state, &state);
	return state;
}

static int netdev_add(void)
{
	struct message m = about(HOST_A, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0);
	struct nlattr *link, *data, *peer;
	uint32_t mtu = 4200;

	put_u32(&m, IFLA_MTU, mtu);
	put(&m, IFLA_ADDRESS, mac[HOST_A], sizeof(mac[HOST_A]));
	link = nest(&m, IFLA_LINKINFO);
	put_text(&m, IFLA_INFO_KIND, "veth");
	data = nest(&m, IFLA_INFO_DATA);
	peer = nest(&m, VETH_INFO_PEER);
	extend(&m, sizeof(struct ifinfomsg));
	put_text(&m, IFLA_IFNAME, netdev[HOST_B]);
	put_u32(&m, IFLA_MTU, mtu);
	put(&m, IFLA_ADDRESS, mac[HOST_B], sizeof(mac[HOST_B]));
	put_u32(&m, IFLA_NET_NS_FD, space[HOST_B]);
	nest_end(&m, peer);
	nest_end(&m, data);
	nest_end(&m, link);
	return transact(rt[HOST_A], &m, NULL, NULL);
}

static int address_add(int host, uint32_t index)
{
	struct message m = message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
	struct ifaddrmsg *info = extend(&m, sizeof(*info));
	struct in_addr in;

	*info = (struct ifaddrmsg){ .ifa_family = AF_INET, .ifa_prefixlen = 24, .ifa_index = index };
	inet_pton(AF_INET, host_address[host], &in);
	put(&m, IFA_LOCAL, &in, sizeof(in));
	put(&m, IFA_ADDRESS, &in, sizeof(in));
	return transact(rt[host], &m, NULL, NULL);
}

/* The connection manager takes its whole timeout for a neighbour not yet known. */
static int neighbour_add(int host, uint32_t index)
{
	struct message m = message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
	struct ndmsg *info = extend(&m, sizeof(*info));
	struct in_addr in;

	*info = (struct ndmsg){ .ndm_family = AF_INET, .ndm_ifindex = index,
				.ndm_state = NUD_PERMANENT };
	inet_pton(AF_INET, host_address[!host], &in);
	put(&m, NDA_DST, &in, sizeof(in));
	put(&m, NDA_LLADDR, mac[!host], sizeof(mac[!host]));
	return transact(rt[host], &m, NULL, NULL);
}

/* ---- All as it was ------------------------------------------------------ */

static bool links_gone(void)
{
	uint32_t index;

	return !rdma_link_find(HOST_A, &index) && !rdma_link_find(HOST_B, &index);
}

#define TRY(step) do { int __ret = (step); if (__ret) { errno = -__ret; return #step; } } while (0)

const char *net_restore(bool new_links)
{
	uint32_t index;
	int host;

	if (!netdev_state(HOST_A).there) {
		/* The devices go a little later than their interfaces. */
		if (!WAIT_FOR(links_gone()))
			return "the RDMA devices stay when their interfaces went";
		TRY(netdev_add());
	}
	for (host = 0; host < HOSTS; host++) {
		TRY(netdev_set(host, true));
		if (new_links && rdma_link_find(host, &index))
			TRY(rdma_link_del(host));
	}
	for (host = 0; host < HOSTS; host++) {
		struct state state;

		if (!WAIT_FOR(netdev_state(host).running))
			return "no carrier";
		state = netdev_state(host);
		TRY(address_add(host, state.index));
		TRY(neighbour_add(host, state.index));
		if (!rdma_link_find(host, &index))
			TRY(rdma_link_add(host));
	}
	if (!WAIT_FOR(has_gid(HOST_A) && has_gid(HOST_B)))
		return "the RDMA devices get no addresses";
	return NULL;
}

/* From whatever is there, with hardware addresses that are known here. */
const char *net_begin(void)
{
	uint32_t index;

	for (int host = 0; host < HOSTS; host++)
		if (rdma_link_find(host, &index))
			TRY(rdma_link_del(host));
	if (netdev_state(HOST_A).there)
		TRY(netdev_del());
	return net_restore(false);
}
