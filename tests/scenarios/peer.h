/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What travels between two peers (peer.c), and how each of them checks it.
 *
 * Data: writes with immediate. The immediate counts the messages; the bytes are
 * those of that message and no other. A message's slot is used again when it was
 * completed here and reaped there; what is in it is wiped when it was checked, so
 * that at the end nothing may be there that came late or twice.
 *
 * Where writes are refused (iWARP), each one must be completed with EOPNOTSUPP,
 * and leases travel instead: as many as one may grant, their tags count them.
 */
#ifndef DMAPLANE_PEER_H
#define DMAPLANE_PEER_H

#include "../selftests/pair.h"

static struct options {
	long send, receive;	/* -1: for ever */
	uint32_t size, depth, entries;
	unsigned int slow;	/* ms that a completion takes to be reaped */
	bool ends;		/* it must end before all is through */
	bool may_end;		/* or may, of a connection that was reset */
	bool idle;
	bool registers;		/* memory, again and again, while data flows */
} opt = { .size = 65536, .depth = 8, .entries = 32 };

static struct {
	long accepted, done, failed, late, received, granted;
	int error;		/* of the first failed entry */
} count;

static const char *progress = "opening the device";

static struct side side;

static void __attribute__((noreturn)) fail(const char *what, int error)
{
	struct dmaplane_endpoint_query got;

	printf("failed: %s: %s\n", what, strerror(error < 0 ? -error : error));
	if (side.endpoint && !query(side.fd, side.endpoint, &got))
		printf("endpoint: state %u, error %s, wc_status %u, sent %llu, received %llu, "
		       "ctrl_sent %llu, ctrl_received %llu\n", got.state, strerror(got.error),
		       got.wc_status, got.sent, got.received, got.ctrl_sent, got.ctrl_received);
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
	_exit(3);
}

/* From now on there is so much time for something to happen: more than an adapter may take. */
static void be_patient(void)
{
	alarm(100);
}

/* ---- The transfer ------------------------------------------------------- */

static struct memory from, to;
static uint32_t lease;
static uint64_t max_segment;
static bool writes;	/* are not refused */

/* In flight at most, see slot(). */
#define MAX_ENTRIES 256
static bool in_flight[MAX_ENTRIES];

/* Leases beside the first one; a connection has 64. */
#define LEASES 60
/* Between two of those that have no end (ms). */
#define PACE 30

static long pending(void)
{
	return count.accepted - count.done - count.failed - count.late;
}

static bool flows_for_ever(void)
{
	return opt.send < 0 || opt.receive < 0;
}

/* As many as completions can be unreaped, so that no slot is written to before it was checked. */
static uint32_t slot(long message)
{
	return (uint32_t)(message % opt.entries) * opt.size;
}

/* The bytes of a message, eight at a time, as a large part of the time goes into them. */
static uint64_t word(long message, uint32_t at)
{
	return (message + 1) * 0x9e3779b97f4a7c15ULL + at;
}

static void stamp(uint8_t *to, long message)
{
	for (uint32_t at = 0; at < opt.size; at += 8) {
		uint64_t value = word(message, at);

		memcpy(to + at, &value, opt.size - at < 8 ? opt.size - at : 8);
	}
}

/* Where the bytes are not that message's, to within eight; opt.size: nowhere. */
static uint32_t wrong(const uint8_t *in, long message)
{
	for (uint32_t at = 0; at < opt.size; at += 8) {
		uint64_t value = word(message, at);

		if (memcmp(in + at, &value, opt.size - at < 8 ? opt.size - at : 8))
			return at;
	}
	return opt.size;
}

static void submit(void)
{
	int ret;

	while ((opt.send < 0 || count.accepted < opt.send) &&
	       pending() < (long)opt.entries) {
		struct dmaplane_sqe sqe = write_imm(&side, from.region, lease,
						    slot(count.accepted), slot(count.accepted),
						    opt.size, count.accepted);

		stamp(from.at + slot(count.accepted), count.accepted);
		check("push", channel_push(&side.ch, &sqe));
		ret = channel_enter(&side.ch, 1, 0, 0);
		if (ret != 1) {
			/* Not taken: take it back. */
			store_release(&side.ch.ring->sq_tail, side.ch.ring->sq_tail - 1);
			if (ret != -EBUSY)
				check("ENTER", ret);
			return;
		}
		in_flight[count.accepted++ % MAX_ENTRIES] = true;
		if (!writes && flows_for_ever())
			return;
	}
}

/* What the receive completion of the bytes from @at on reports. */
static uint32_t last_piece(uint32_t at)
{
	uint64_t end = at + opt.size;

	return (end - 1) / max_segment == at / max_segment ? opt.size : (end - 1) % max_segment + 1;
}

/* An entry's: once for each, and in order but for those that came after the end. */
static void completed(const struct dmaplane_cqe *cqe)
{
	bool *mine = &in_flight[cqe->user_data % MAX_ENTRIES];

	if (cqe->user_data >= (uint64_t)count.accepted || !*mine)
		fail("an entry was completed twice, or never made", 0);
	*mine = false;
	if (cqe->res == -ENOTCONN) {
		count.late++;
		return;
	}
	if (cqe->user_data != (uint64_t)(count.done + count.failed))
		fail("completions are not in order", 0);
	if (cqe->res == (writes ? (int)opt.size : -EOPNOTSUPP)) {
		if (count.failed)
			fail("one succeeded after one had failed", 0);
		count.done++;
	} else if (cqe->res < 0) {
		if (!count.failed++)
			count.error = -cqe->res;
	} else {
		fail("a part of the bytes was sent", 0);
	}
}

static void look_at(const struct dmaplane_cqe *cqe)
{
	if (cqe->opcode == DMAPLANE_OP_RECV) {
		uint32_t at = slot(count.received), good = wrong(to.at + at, count.received);

		if (!writes)
			fail("data came where no writes are", 0);
		if (cqe->imm != (uint32_t)count.received || cqe->res != (int)last_piece(at) ||
		    good != opt.size) {
			printf("failed: message %ld: imm %u, res %d, wrong from byte %u on\n",
			       count.received, cqe->imm, cqe->res, good);
			exit(1);
		}
		memset(to.at + at, 0, opt.size);
		count.received++;
	} else {
		completed(cqe);
	}
}

static void say_flowing(void)
{
	static bool said;

	if (said || count.done + count.received < 20)
		return;
	said = true;
	printf("flowing\n");
}

static void reap(void)
{
	struct channel *c = &side.ch;

	if (channel_available(c))
		be_patient();
	while (channel_available(c)) {
		if (opt.slow)
			sleep_ms(opt.slow);
		look_at(&c->cqes[c->ring->cq_head & (c->cq_entries - 1)]);
		store_release(&c->ring->cq_head, c->ring->cq_head + 1);
	}
}

/* How many leases a number of messages comes to. */
static long leases(long messages)
{
	return messages < 0 || messages > LEASES ? LEASES : messages;
}

/* Grants all leases, or if there is no hurry one, and waits for one. */
static void exchange_leases(void)
{
	struct dmaplane_lease_wait got;
	uint32_t lease;
	int ret;

	while (count.granted < leases(opt.send)) {
		ret = lease_grant(&side, to.region, count.granted, &lease);
		if (!ret)
			count.granted++;
		else if (ret != -ENOTCONN)
			fail("LEASE_GRANT", ret);
		if (ret || opt.slow || flows_for_ever())
			break;
	}
	if (opt.slow || flows_for_ever())
		sleep_ms(opt.slow ?: PACE);
	/* What comes after the last one is not for here. */
	if (count.received == leases(opt.receive))
		return;
	ret = lease_wait(&side, PACE * MS, &got);
	if (!ret) {
		if (got.tag != (uint64_t)count.received || got.length != to.length)
			fail("a wrong lease", 0);
		count.received++;
		be_patient();
	} else if (ret != -ETIME && ret != -EINTR && ret != -ENOTCONN) {
		fail("LEASE_WAIT", ret);
	}
}

static bool all_done(void)
{
	if (opt.send < 0 || opt.receive < 0 || count.done != opt.send)
		return false;
	return writes ? count.received == opt.receive :
			count.granted == leases(opt.send) && count.received == leases(opt.receive);
}

/* A region that nobody uses comes and goes. */
static void register_some(void)
{
	uint32_t region;
	int ret = region_register(side.fd, side.endpoint, from.buffer.handle, 0, 4096, 0, &region);

	if (!ret)
		check("REGION_DEREGISTER", region_deregister(side.fd, region));
	else if (ret != -ENOTCONN)
		fail("REGION_REGISTER", ret);
}

/* Until all is through (true) or the connection has ended (false). */
static bool transfer(void)
{
	while (!all_done()) {
		int ret;

		if (state_of(side.fd, side.endpoint) != DMAPLANE_STATE_ESTABLISHED)
			return false;
		if (!count.failed && !count.late)
			submit();
		if (!writes)
			exchange_leases();
		ret = channel_enter(&side.ch, 0, writes, 200 * MS);
		if (ret < 0 && ret != -ETIME && ret != -EINTR)
			fail("ENTER", ret);
		reap();
		if (opt.registers)
			register_some();
		say_flowing();
	}
	return true;
}

/* What was checked was wiped, so that whatever came late or twice shows. */
static void check_nothing_late(void)
{
	uint64_t at = first_not(to.at, to.length, 0);

	if (at == to.length)
		return;
	printf("failed: at byte %lu is what came late or twice\n", (long)at);
	exit(1);
}

#endif /* DMAPLANE_PEER_H */
