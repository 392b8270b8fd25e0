// SPDX-License-Identifier: GPL-2.0
/*
 * What is held: each row says how holder and peer get there, and what must be
 * true as long as nothing has ended. A further one is a function or two and a
 * line of the table at the end.
 */
#include "matrix.h"

#define PAGE	4096U

static bool always(const struct choice *c)
{
	(void)c;
	return true;
}

static bool never(const struct choice *c)
{
	(void)c;
	return false;
}

static struct memory *add_memory(struct place *p, uint32_t length, uint32_t access)
{
	struct memory *m = &p->memory[p->memories++];

	must(p, "memory", memory_make(&p->side, length, access, m));
	return m;
}

static uint32_t a_length(struct place *p)
{
	/* Now and then more than one key covers. */
	return odds(&p->dice, 1, 10) ? (3U << 20) + PAGE : (1 + below(&p->dice, 40)) * PAGE;
}

static void must_be_established(struct place *p)
{
	int state = state_of(p->side.fd, p->side.endpoint);

	if (state != DMAPLANE_STATE_ESTABLISHED)
		wrong(p, "in state %d, not established", state);
}

/* ---- A mapping: with its file, or all that is left of it ------------------ */

static void reach_mapping(struct place *p)
{
	uint32_t count = 1 + below(&p->dice, MEMORIES);

	p->side.fd = open_device();
	must(p, DEVICE, p->side.fd);
	for (uint32_t i = 0; i < count; i++) {
		struct memory *m = &p->memory[p->memories++];

		must(p, "BUF_CREATE", buf_create(p->side.fd, a_length(p), &m->buffer));
		m->at = buf_map(p->side.fd, &m->buffer);
		if (m->at == MAP_FAILED)
			must(p, "mmap", -errno);
		fill(m->at, PAGE, i);
		if (odds(&p->dice, 1, 3)) {
			must(p, "BUF_DESTROY", buf_destroy(p->side.fd, m->buffer.handle));
			m->buffer.handle = 0;
		}
	}
	if (p->c->way == 1) {
		close(p->side.fd);
		p->side.fd = -1;
	}
}

static void check_mapping(struct place *p)
{
	for (uint32_t i = 0; i < p->memories; i++) {
		if (first_wrong(p->memory[i].at, PAGE, i) != PAGE)
			wrong(p, "the bytes of mapping %u changed", i);
		memset(p->memory[i].at + p->memory[i].buffer.length - PAGE, i, PAGE);
		fill(p->memory[i].at, PAGE, i);
	}
}

/* ---- A dma-buf: beside its context, without it, and only a mapping of it ---- */

static void reach_dmabuf(struct place *p)
{
	struct memory *m = &p->memory[p->memories++];
	uint32_t length = a_length(p);

	p->side.fd = open_device();
	must(p, DEVICE, p->side.fd);
	must(p, "BUF_CREATE", buf_create(p->side.fd, length, &m->buffer));
	p->file = buf_export(p->side.fd, m->buffer.handle, 0, 0, 0);
	must(p, "BUF_EXPORT", p->file);
	m->at = map_at(p->file, length, 0);
	if (m->at == MAP_FAILED)
		must(p, "mmap", -errno);
	fill(m->at, PAGE, 0);
	if (p->c->way >= 1) {
		close(p->side.fd);
		p->side.fd = -1;
	}
	if (p->c->way == 2) {
		close(p->file);
		p->file = -1;
	}
}

/* ---- Regions: with the endpoint they were made through, or without -------- */

static void reach_region(struct place *p)
{
	uint32_t granted, count = 1 + below(&p->dice, MEMORIES);
	struct dmaplane_lease_wait got;

	connect_places(p);
	if (!p->holder) {
		add_memory(p, PAGE, DMAPLANE_ACCESS_REMOTE_WRITE);
		must(p, "LEASE_GRANT", lease_grant(&p->side, p->memory[0].region, 1, &granted));
		return;
	}
	for (uint32_t i = 0; i < count; i++) {
		uint32_t access = odds(&p->dice, 1, 2) ? DMAPLANE_ACCESS_REMOTE_WRITE : 0;
		struct memory *m = add_memory(p, a_length(p), access);

		fill(m->at, PAGE, i);
	}
	if (p->c->way == 1) {
		/* The peer must be through with connecting. */
		must(p, "LEASE_WAIT", lease_wait(&p->side, limit_ns(), &got));
		must(p, "closing the endpoint", endpoint_close(p->side.fd, p->side.endpoint));
		p->side.endpoint = 0;
	}
}

static void check_region(struct place *p)
{
	struct dmaplane_stats stats;

	if (p->holder)
		check_mapping(p);
	must(p, "STATS", get_stats(p->side.fd, &stats));
	if (stats.regions != p->memories)
		wrong(p, "%u regions of %u", stats.regions, p->memories);
}

/* ---- Pinned memory: with a region or without, mapped or not ------------------ */

static void reach_pinned(struct place *p)
{
	struct dmaplane_buf_pin arg = ARG(buf_pin, .length = a_length(p));
	struct memory *m;

	connect_places(p);
	if (!p->holder)
		return;
	m = &p->memory[p->memories++];
	m->length = m->buffer.length = arg.length;
	m->at = mmap(NULL, arg.length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m->at == MAP_FAILED)
		must(p, "mmap", -errno);
	fill(m->at, PAGE, 0);
	arg.addr = (uintptr_t)m->at;
	must(p, "BUF_PIN", cmd(p->side.fd, DMAPLANE_IOC_BUF_PIN, &arg));
	m->buffer.handle = arg.handle;
	if (p->c->way & 1)
		must(p, "REGION_REGISTER",
		     region_register(p->side.fd, p->side.endpoint, arg.handle, 0, arg.length,
				     LOCAL_WRITE, &m->region));
	if (p->c->way & 2) {
		must(p, "munmap", munmap(m->at, arg.length) ? -errno : 0);
		m->at = NULL;
	}
}

static void check_pinned(struct place *p)
{
	struct dmaplane_stats stats;

	must_be_established(p);
	must(p, "STATS", get_stats(p->side.fd, &stats));
	if (stats.buffers != p->holder)
		wrong(p, "%u buffers", stats.buffers);
	if (p->holder && p->memory[0].at)
		check_mapping(p);
}

/* ---- Writes and reads in flight: by one side, the other, both ----------------- */

#define UNDER_WAY 6

static const uint32_t message_size[] = { 100, 4096, 65536, 262144 };

static uint32_t size_of_message(const struct place *p)
{
	return message_size[p->c->seed % ARRAY_LEN(message_size)] / (is_slow() ? 4 : 1);
}

static void submit_flow(struct place *p)
{
	while (p->flow->sends && p->flow->accepted - p->flow->completed < UNDER_WAY) {
		struct dmaplane_sqe sqe = remote_sqe(&p->side, p->flow->opcode, p->memory[0].region,
						     p->lease, 0, 0, size_of_message(p),
						     p->flow->accepted);
		int ret = channel_submit(&p->side.ch, &sqe);

		if (ret != 1) {
			if (ret != -EBUSY)
				must(p, "ENTER", ret);
			store_release(&p->side.ch.ring->sq_tail, p->side.ch.ring->sq_tail - 1);
			return;
		}
		p->flow->accepted++;
	}
}

static void reap_flow(struct place *p)
{
	struct dmaplane_cqe cqe;

	while (channel_reap(&p->side.ch, &cqe)) {
		if (cqe.opcode == DMAPLANE_OP_RECV)
			continue;
		p->flow->completed++;
		if (cqe.res >= 0 && p->flow->failed)
			wrong(p, "one succeeded after one had failed");
		if (cqe.res < 0)
			p->flow->sends = false;
		/* What came too late is refused at once, before what was sent is done. */
		if (cqe.res < 0 && cqe.res != -ENOTCONN)
			p->flow->failed = true;
	}
}

static void pump_flow(struct place *p)
{
	int ret;

	/* Where it has all been closed, there is nothing to do but wait for orders. */
	if (p->side.fd < 0 || !p->side.ch.ring) {
		sleep_ms(1);
		return;
	}
	submit_flow(p);
	ret = channel_enter(&p->side.ch, 0, 1, 5 * MS);
	if (ret < 0 && ret != -ETIME && ret != -EBUSY)
		must(p, "ENTER", ret);
	reap_flow(p);
}

static void exchange(struct place *p)
{
	struct dmaplane_lease_wait got;
	uint32_t granted;

	add_memory(p, message_size[ARRAY_LEN(message_size) - 1], LOCAL_WRITE);
	add_memory(p, message_size[ARRAY_LEN(message_size) - 1], REMOTE_WRITE | REMOTE_READ);
	fill(p->memory[1].at, p->memory[1].length, 1);
	must(p, "LEASE_GRANT", lease_grant(&p->side, p->memory[1].region, 1, &granted));
	must(p, "LEASE_WAIT", lease_wait(&p->side, limit_ns(), &got));
	p->lease = got.lease;
}

static void reach_flow(struct place *p, uint8_t opcode)
{
	p->flow = mmap(NULL, sizeof(*p->flow), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (p->flow == MAP_FAILED)
		must(p, "mmap", -errno);
	p->flow->opcode = opcode;
	connect_places(p);
	exchange(p);
	p->flow->sends = p->c->way == 2 || p->holder == (p->c->way == 1);
	while (p->flow->sends && p->flow->completed < UNDER_WAY)
		pump_flow(p);
	if (p->flow->accepted && p->flow->accepted == p->flow->completed)
		submit_flow(p);
}

static void reach_write(struct place *p)
{
	reach_flow(p, DMAPLANE_OP_WRITE_IMM);
}

static void reach_read(struct place *p)
{
	reach_flow(p, DMAPLANE_OP_READ);
}

static void check_flow(struct place *p)
{
	uint64_t give_up = now_ns() + limit_ns();
	uint32_t before = p->flow->completed;

	must_be_established(p);
	while (p->flow->sends && p->flow->completed < before + UNDER_WAY) {
		pump_flow(p);
		if (now_ns() > give_up)
			wrong(p, "the transfer stands still");
	}
	must_be_established(p);
}

static void check_read(struct place *p)
{
	check_flow(p);
	if (p->flow->sends && first_wrong(p->memory[0].at, size_of_message(p), 1) != size_of_message(p))
		wrong(p, "what was read is not what is there");
}

/* ---- A lease: granted or held, known or on its way ------------------------- */

static void reach_lease(struct place *p)
{
	struct dmaplane_lease_wait got;
	struct memory *m;
	uint32_t granted;

	connect_places(p);
	if (p->holder == (p->c->way & 1)) {
		m = add_memory(p, a_length(p), DMAPLANE_ACCESS_REMOTE_WRITE);
		must(p, "LEASE_GRANT", lease_grant(&p->side, m->region, 7, &granted));
	} else {
		add_memory(p, PAGE, 0);
		if (p->c->way & 2) {
			must(p, "LEASE_WAIT", lease_wait(&p->side, limit_ns(), &got));
			p->lease = got.lease;
		}
	}
}

/* It can be used. */
static void check_lease(struct place *p)
{
	struct dmaplane_sqe sqe = write_imm(&p->side, p->memory[0].region, p->lease, 0, 0, 64, 0);
	struct dmaplane_cqe cqe;

	must_be_established(p);
	if (!p->lease)
		return;
	must(p, "a write", channel_do(&p->side.ch, &sqe, &cqe));
	if (cqe.res != 64)
		wrong(p, "a write to the lease completed with %d", cqe.res);
}

/* ---- A listener: idle, waited for, with a request waiting or taken --------- */

enum { IDLE, WAITED_FOR, PENDING, TAKEN };

static bool has_caller(const struct choice *c)
{
	return c->way >= PENDING;
}

static int wait_for_request(struct place *p)
{
	struct dmaplane_endpoint_request got;

	return take_request(p->side.fd, p->listener, DMAPLANE_FOREVER, &got);
}

static int call(struct place *p)
{
	return side_join(&p->side, DMAPLANE_IOC_ENDPOINT_CONNECT);
}

static void reach_listener(struct place *p)
{
	struct dmaplane_endpoint_request request;
	struct dmaplane_endpoint_listen listen;
	struct dmaplane_addr dst;

	must(p, DEVICE, side_open(&p->side, 64));
	p->side.send_depth = p->side.recv_depth = 8;
	if (!p->holder) {
		dst = address(host_address[!p->host], take_order(p).value);
		must(p, "ADDRESS", resolve(p->side.fd, &dst, &p->side.endpoint));
		in_thread(p, call);
		return;
	}
	must(p, "LISTEN", listen_on(p->side.fd, host_address[p->host], 0, 4, &listen));
	p->listener = listen.handle;
	if (has_caller(p->c))
		say(p, LISTENING, port_of(&listen.addr));
	if (p->c->way == WAITED_FOR)
		in_thread(p, wait_for_request);
	if (p->c->way == TAKEN)
		must(p, "REQUEST",
		     take_request(p->side.fd, p->listener, limit_ns(), &request));
}

static void check_listener(struct place *p)
{
	int state = state_of(p->side.fd, p->holder ? p->listener : p->side.endpoint);

	if (state != (p->holder ? DMAPLANE_STATE_LISTENING : DMAPLANE_STATE_CONNECTING))
		wrong(p, "in state %d", state);
}

/* ---- A connection that nothing moves on ------------------------------------ */

static int wait_for_lease(struct place *p)
{
	struct dmaplane_lease_wait got;

	return lease_wait(&p->side, DMAPLANE_FOREVER, &got);
}

static int wait_for_completion(struct place *p)
{
	return channel_enter(&p->side.ch, 0, 1, DMAPLANE_FOREVER);
}

static void reach_peer(struct place *p)
{
	connect_places(p);
	if (p->c->way == 1)
		in_thread(p, wait_for_lease);
	/* Only its death ends that. */
	if (p->c->way == 2 && p->holder && p->c->dies)
		in_thread(p, wait_for_completion);
}

/* ---- A channel's file: beside the context's, alone, waited in ---------------- */

static int wait_in_file(struct place *p)
{
	return file_enter(p->file, 1);
}

static void reach_file(struct place *p)
{
	connect_places(p);
	if (!p->holder)
		return;
	p->file = channel_file(&p->side.ch);
	must(p, "CHANNEL_FILE", p->file);
	if (p->c->way == 1) {
		close(p->side.fd);
		p->side.fd = -1;
	}
	/* Only its death ends that. */
	if (p->c->way == 2 && p->c->dies)
		in_thread(p, wait_in_file);
}

/* It is connected, as far as one can ask, and its channel works. */
static void check_file(struct place *p)
{
	struct dmaplane_cqe cqe;

	if (p->side.fd >= 0)
		must_be_established(p);
	if (!p->holder || p->c->way == 2)
		return;
	must(p, "an entry", channel_push_nop(&p->side.ch, 7));
	must(p, "lseek", file_enter(p->file, 1));
	if (!channel_reap(&p->side.ch, &cqe) || cqe.user_data != 7)
		wrong(p, "the entry was not completed");
}

/* ---- All of them ------------------------------------------------------------ */

const struct row rows[] = {
	{ "mapping", 2, false, never, reach_mapping, check_mapping, NULL },
	{ "region", 2, true, always, reach_region, check_region, NULL },
	{ "pinned", 4, true, always, reach_pinned, check_pinned, NULL },
	{ "write", 3, true, always, reach_write, check_flow, pump_flow },
	{ "read", 3, true, always, reach_read, check_read, pump_flow },
	{ "lease", 4, true, always, reach_lease, check_lease, NULL },
	{ "listener", 4, false, has_caller, reach_listener, check_listener, NULL },
	{ "file", 3, true, always, reach_file, check_file, NULL },
	{ "peer", 3, true, always, reach_peer, must_be_established, NULL },
	{ "dmabuf", 3, false, never, reach_dmabuf, check_mapping, NULL },
};
const uint32_t row_count = ARRAY_LEN(rows);
