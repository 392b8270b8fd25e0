/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Two connected endpoints in one process, each with a context and a channel of
 * its own, and what transfers between them need. The addresses are those that
 * one_host in tests/scenarios/lib.sh sets up.
 */
#ifndef DMAPLANE_TEST_PAIR_H
#define DMAPLANE_TEST_PAIR_H

#include "ring.h"

#define ADDRESS4	"10.77.0.1"	/* on an RDMA device */
#define ADDRESS6	"fd77::1"	/* on the same one */
#define ADDRESS_OTHER	"10.78.0.1"	/* on another RDMA device */
#define NO_NEIGHBOUR	"10.78.0.99"	/* on its network, and nobody there */
#define NO_RDMA		"10.79.0.1"	/* a local address without RDMA device */
#define NO_ROUTE	"198.51.100.1"

static inline struct dmaplane_addr address(const char *text, uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct dmaplane_addr addr = { 0 };

	if (inet_pton(AF_INET, text, &in.sin_addr) == 1) {
		addr.len = sizeof(in);
		memcpy(addr.data, &in, sizeof(in));
	} else if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1) {
		addr.len = sizeof(in6);
		memcpy(addr.data, &in6, sizeof(in6));
	}
	return addr;
}

static inline uint16_t port_of(const struct dmaplane_addr *addr)
{
	uint16_t port;

	/* At the same place in both families. */
	memcpy(&port, addr->data + offsetof(struct sockaddr_in, sin_port), sizeof(port));
	return ntohs(port);
}

/* Same family and address; ports aside. */
static inline bool same_host(const struct dmaplane_addr *a, const struct dmaplane_addr *b)
{
	size_t from = a->len == sizeof(struct sockaddr_in6) ?
		offsetof(struct sockaddr_in6, sin6_addr) : offsetof(struct sockaddr_in, sin_addr);
	size_t bytes = a->len == sizeof(struct sockaddr_in6) ? 16 : 4;

	return a->len == b->len && !memcmp(a->data, b->data, 2) &&
	       !memcmp(a->data + from, b->data + from, bytes);
}

static inline struct dmaplane_private private_data(const char *text)
{
	struct dmaplane_private private = { .len = strlen(text) };

	memcpy(private.data, text, private.len);
	return private;
}

static inline int listen_on(int fd, const char *host, uint16_t port, uint32_t backlog,
			    struct dmaplane_endpoint_listen *arg)
{
	*arg = ARG(endpoint_listen, .addr = address(host, port), .backlog = backlog);
	return cmd(fd, DMAPLANE_IOC_ENDPOINT_LISTEN, arg);
}

static inline int resolve(int fd, const struct dmaplane_addr *dst, uint32_t *endpoint)
{
	struct dmaplane_endpoint_address arg = ARG(endpoint_address, .dst = *dst,
						   .timeout_ns = PATIENCE);
	int ret = cmd(fd, DMAPLANE_IOC_ENDPOINT_ADDRESS, &arg);

	*endpoint = arg.handle;
	return ret;
}

static inline int take_request(int fd, uint32_t listener, uint64_t timeout_ns,
			       struct dmaplane_endpoint_request *arg)
{
	*arg = ARG(endpoint_request, .listener = listener, .timeout_ns = timeout_ns);
	return cmd(fd, DMAPLANE_IOC_ENDPOINT_REQUEST, arg);
}

static inline int query(int fd, uint32_t endpoint, struct dmaplane_endpoint_query *arg)
{
	*arg = ARG(endpoint_query, .endpoint = endpoint);
	return cmd(fd, DMAPLANE_IOC_ENDPOINT_QUERY, arg);
}

static inline int state_of(int fd, uint32_t endpoint)
{
	struct dmaplane_endpoint_query arg;
	int ret = query(fd, endpoint, &arg);

	return ret ? ret : (int)arg.state;
}

/* One end of a connection. */
struct side {
	int fd;
	struct channel ch;
	uint32_t endpoint;
	uint32_t send_depth, recv_depth, message_bytes;
	struct dmaplane_private says, heard;
	int result;		/* of CONNECT or ACCEPT */
};

#define RECV_DATA 0x4ecf000000000000ULL	/* recv_user_data of all sides */

static inline int side_open(struct side *s, uint32_t entries)
{
	s->fd = open_device();
	return s->fd < 0 ? s->fd : channel_open(s->fd, entries, entries, &s->ch);
}

static inline void side_close(struct side *s)
{
	munmap(s->ch.ring, s->ch.length);
	close(s->fd);
}

/* CONNECT or ACCEPT. */
static inline int side_join(struct side *s, unsigned long request)
{
	struct dmaplane_endpoint_connect arg = ARG(endpoint_connect,
		.endpoint = s->endpoint, .channel = s->ch.handle,
		.send_depth = s->send_depth, .recv_depth = s->recv_depth,
		.recv_user_data = RECV_DATA, .timeout_ns = PATIENCE, .private_data = s->says,
		.message_bytes = s->message_bytes);

	s->result = cmd(s->fd, request, &arg);
	if (!s->result && request == DMAPLANE_IOC_ENDPOINT_CONNECT)
		s->heard = arg.private_data;
	return s->result;
}

static inline void *connect_in_thread(void *arg)
{
	side_join(arg, DMAPLANE_IOC_ENDPOINT_CONNECT);
	return NULL;
}

struct pair {
	const char *host;	/* ADDRESS4 if not set */
	uint32_t entries;	/* of all rings; 64 if 0 */
	struct side a;		/* connects */
	struct side b;		/* accepts */
	uint32_t listener;	/* in b's context */
};

static inline void *accept_in_thread(void *arg)
{
	struct pair *p = arg;
	struct dmaplane_endpoint_request request;

	p->b.result = take_request(p->b.fd, p->listener, PATIENCE, &request);
	if (p->b.result)
		return NULL;
	p->b.endpoint = request.handle;
	p->b.heard = request.private_data;
	side_join(&p->b, DMAPLANE_IOC_ENDPOINT_ACCEPT);
	return NULL;
}

/* Connects a and b, whose contexts and channels are there. */
static inline int pair_connect(struct pair *p)
{
	struct dmaplane_endpoint_listen listen;
	pthread_t thread;
	int ret;

	for (struct side *s = &p->a; s; s = s == &p->a ? &p->b : NULL) {
		s->send_depth = s->send_depth ?: 8;
		s->recv_depth = s->recv_depth ?: 8;
	}
	ret = listen_on(p->b.fd, p->host ?: ADDRESS4, 0, 8, &listen);
	if (ret)
		return ret;
	p->listener = listen.handle;
	ret = resolve(p->a.fd, &listen.addr, &p->a.endpoint);
	if (ret)
		return ret;
	pthread_create(&thread, NULL, accept_in_thread, p);
	ret = side_join(&p->a, DMAPLANE_IOC_ENDPOINT_CONNECT);
	pthread_join(thread, NULL);
	return ret ? ret : p->b.result;
}

static inline int pair_open(struct pair *p)
{
	int ret = side_open(&p->a, p->entries ?: 64);

	if (!ret)
		ret = side_open(&p->b, p->entries ?: 64);
	return ret ? ret : pair_connect(p);
}

/* As pair_open(), b's channel with @entries: few of them hold back its credits. */
static inline int pair_open_narrow(struct pair *p, uint32_t entries)
{
	int ret = side_open(&p->a, 64);

	if (!ret)
		ret = side_open(&p->b, entries);
	p->b.recv_depth = entries;
	return ret ? ret : pair_connect(p);
}

static inline void pair_close(struct pair *p)
{
	side_close(&p->a);
	side_close(&p->b);
}

/* A mapped buffer and a region over some of it. */
struct memory {
	struct buffer buffer;
	uint8_t *at;
	uint32_t region;
	uint64_t length;	/* of the region */
};

static inline int region_register(int fd, uint32_t endpoint, uint32_t buffer, uint64_t offset,
				  uint64_t length, uint32_t access, uint32_t *region)
{
	struct dmaplane_region_register arg = ARG(region_register, .endpoint = endpoint,
						  .buffer = buffer, .offset = offset,
						  .length = length, .access = access);
	int ret = cmd(fd, DMAPLANE_IOC_REGION_REGISTER, &arg);

	*region = arg.handle;
	return ret;
}

static inline int region_deregister(int fd, uint32_t region)
{
	return end(fd, DMAPLANE_IOC_REGION_DEREGISTER, region);
}

static inline int memory_make(struct side *s, uint64_t length, uint32_t access, struct memory *m)
{
	int ret = buf_create(s->fd, length, &m->buffer);

	if (ret)
		return ret;
	m->length = length;
	m->at = buf_map(s->fd, &m->buffer);
	if (m->at == MAP_FAILED)
		return -errno;
	return region_register(s->fd, s->endpoint, m->buffer.handle, 0, length, access,
			       &m->region);
}

static inline int lease_grant(struct side *s, uint32_t region, uint64_t tag, uint32_t *lease)
{
	struct dmaplane_lease_grant arg = ARG(lease_grant, .endpoint = s->endpoint,
					      .region = region, .tag = tag);
	int ret = cmd(s->fd, DMAPLANE_IOC_LEASE_GRANT, &arg);

	*lease = arg.lease;
	return ret;
}

static inline int lease_wait(struct side *s, uint64_t timeout_ns, struct dmaplane_lease_wait *arg)
{
	*arg = ARG(lease_wait, .endpoint = s->endpoint, .timeout_ns = timeout_ns);
	return cmd(s->fd, DMAPLANE_IOC_LEASE_WAIT, arg);
}

#define REMOTE_WRITE	DMAPLANE_ACCESS_REMOTE_WRITE
#define REMOTE_READ	DMAPLANE_ACCESS_REMOTE_READ
#define LOCAL_WRITE	DMAPLANE_ACCESS_LOCAL_WRITE

/* Memory at @to, of which @from gets a lease: returns 0 and the lease's number. */
static inline int target_for(struct side *to, struct side *from, uint64_t length, uint32_t access,
			     struct memory *m, uint32_t *lease)
{
	struct dmaplane_lease_wait got;
	uint32_t granted;
	int ret = memory_make(to, length, access, m);

	ret = ret ? ret : lease_grant(to, m->region, length, &granted);
	ret = ret ? ret : lease_wait(from, PATIENCE, &got);
	if (ret)
		return ret;
	*lease = got.lease;
	return got.lease == granted && got.length == length && got.tag == length &&
	       got.access == (access & (REMOTE_WRITE | REMOTE_READ)) ? 0 : -EPROTO;
}

/* As above: memory that @from may write to. */
static inline int target(struct side *to, struct side *from, uint64_t length, struct memory *m,
			 uint32_t *lease)
{
	return target_for(to, from, length, REMOTE_WRITE, m, lease);
}

/*
 * What @from has sent before has arrived at @to when this returns 0: they end with a
 * lease, and a connection keeps the order.
 */
static inline int fence(struct side *from, struct side *to)
{
	struct memory m;
	uint32_t lease;
	int ret = target(from, to, 4096, &m, &lease);

	if (!ret && munmap(m.at, 4096))
		ret = -errno;
	return ret;
}

static inline struct dmaplane_sqe write_imm(const struct side *s, uint32_t region, uint32_t lease,
					    uint64_t local, uint64_t remote, uint32_t length,
					    uint32_t imm)
{
	return (struct dmaplane_sqe){
		.opcode = DMAPLANE_OP_WRITE_IMM, .endpoint = s->endpoint, .user_data = imm,
		.region = region, .lease = lease, .local_offset = local,
		.remote_offset = remote, .length = length, .imm = imm,
	};
}

/* READ, WRITE or WRITE_IMM, which has @user_data as its immediate as well. */
static inline struct dmaplane_sqe remote_sqe(const struct side *s, int opcode, uint32_t region,
					     uint32_t lease, uint64_t local, uint64_t there,
					     uint32_t length, uint64_t user_data)
{
	struct dmaplane_sqe sqe;

	switch (opcode) {
	case DMAPLANE_OP_READ:
		dmaplane_prep_read(&sqe, s->endpoint, region, local, lease, there, length);
		break;
	case DMAPLANE_OP_WRITE:
		dmaplane_prep_write(&sqe, s->endpoint, region, local, lease, there, length);
		break;
	default:
		dmaplane_prep_write_imm(&sqe, s->endpoint, region, local, lease, there, length,
					user_data);
		break;
	}
	dmaplane_sqe_set_user_data(&sqe, user_data);
	return sqe;
}

/* The RDMA device that an endpoint uses. */
static inline int fabric_of(const struct side *s, struct dmaplane_fabric *fabric)
{
	struct dmaplane_fabric all[16];
	struct dmaplane_fabric_list list = ARG(fabric_list, .count = 16,
					       .fabrics = (uintptr_t)all);
	struct dmaplane_endpoint_query got;
	int ret = query(s->fd, s->endpoint, &got);

	ret = ret ? ret : cmd(s->fd, DMAPLANE_IOC_FABRIC_LIST, &list);
	for (uint32_t i = 0; !ret && i < list.count && i < 16; i++) {
		if (all[i].fabric == got.fabric) {
			*fabric = all[i];
			return 0;
		}
	}
	return ret ? ret : -ENODEV;
}

/*
 * Whether WRITE_IMM works there. Over iWARP it does not: tests of what follows
 * from writes then have another form, which asserts that each one is completed
 * with EOPNOTSUPP and changes nothing else.
 */
static inline bool can_write(const struct side *s)
{
	struct dmaplane_fabric fabric = { 0 };

	return !fabric_of(s, &fabric) && fabric.flags & DMAPLANE_FABRIC_WRITE_IMM;
}

/* The result of a good write of @length bytes. */
static inline int written(const struct side *s, uint32_t length)
{
	return can_write(s) ? (int)length : -EOPNOTSUPP;
}

/* A counter of an RDMA device's port, e.g. "rcvd_rnr_err"; -1: it has none. */
static inline long hw_counter(const char *device, const char *name)
{
	char path[160];
	long value = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/1/hw_counters/%s", device,
		 name);
	file = fopen(path, "re");
	if (file) {
		if (fscanf(file, "%ld", &value) != 1)
			value = -1;
		fclose(file);
	}
	return value;
}

#endif /* DMAPLANE_TEST_PAIR_H */
