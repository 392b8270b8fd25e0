/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A run on the mock fabric: what a program asks for. See mock.c.
 */
#ifndef DMAPLANE_TEST_MOCK_SUBMIT_H
#define DMAPLANE_TEST_MOCK_SUBMIT_H

#include "mock_here.h"

/* Where the next message can lie: nowhere that another may still be read or written. */
static inline int free_slot(struct actor *x)
{
	bool busy[SLOTS] = { false };

	for (uint32_t i = 0; i < x->pushed; i++) {
		const struct entry *e = &x->entries[i];

		if (!is_transfer(e) || e->opcode == DMAPLANE_OP_IMM_ONLY)
			continue;
		if (!e->completed || (e->res >= 0 && !e->arrived && !is_send(e)))
			busy[e->slot] = true;
	}
	for (int i = 0; i < SLOTS; i++)
		if (!busy[i])
			return i;
	return -1;
}

/* Has an entry move its bytes part by part, in any order; those that stay neighbours are joined. */
static inline void split_up(struct run *r, struct actor *x, struct entry *e,
			    struct dmaplane_sqe *sqe)
{
	uint64_t at = 2 * SLOTS_BYTES + x->pushed * LIST_BYTES;
	uint32_t count = between(r, 1, PARTS), order[PARTS], done = 0;
	struct dmaplane_segment *segments = (void *)(x->out.at + at);
	struct dmaplane_pages *pages = (void *)(x->out.at + at);

	for (uint32_t i = 0; i < count; i++) {
		uint32_t other = between(r, 0, i);

		order[i] = i;
		order[i] = order[other];
		order[other] = i;
	}
	e->split = true;
	if (between(r, 0, 1) && e->length >= count) {
		uint32_t length = e->length / count;

		e->length = length * count;
		pages->local_stride = pages->remote_stride = length;
		memcpy(dmaplane_pages_local(pages), order, count * sizeof(order[0]));
		memcpy(dmaplane_pages_remote(pages, count), order, count * sizeof(order[0]));
		sqe->length = length;
		dmaplane_sqe_set_pages(sqe, x->out.buffer.handle, at, count);
		return;
	}
	for (uint32_t i = 0; i < count; i++) {
		uint32_t length = i + 1 < count ? between(r, 0, e->length - done) : e->length - done;

		segments[order[i]] = (struct dmaplane_segment){ done, done, length, 0 };
		done += length;
	}
	dmaplane_sqe_set_segments(sqe, x->out.buffer.handle, at, count);
}

/* An entry that moves bytes: a message, a WRITE or a READ, as a whole or in parts. */
static inline struct dmaplane_sqe transfer(struct run *r, struct actor *x, struct entry *e)
{
	static const uint8_t opcodes[] = { DMAPLANE_OP_WRITE_IMM, DMAPLANE_OP_WRITE_IMM,
					   DMAPLANE_OP_WRITE, DMAPLANE_OP_READ };
	uint64_t local = e->slot * SLOT_BYTES, there = x->peer->in_base + e->slot * SLOT_BYTES;
	uint64_t border = there / r->max_segment * r->max_segment + r->max_segment;
	uint32_t lease = x->leases[between(r, 0, x->known - 1)];
	struct dmaplane_sqe sqe;

	e->opcode = opcodes[between(r, 0, ARRAY_LEN(opcodes) - 1)];
	if (e->opcode == DMAPLANE_OP_READ) {
		local += SLOTS_BYTES;
		there = x->peer->in_base + SLOTS_BYTES +
			between(r, 0, SOURCE_BYTES - SLOT_BYTES);
		memset(x->out.at + local, 0x5c, SLOT_BYTES);
	}
	e->source = there;
	e->split = there + e->length > border;
	e->spare = x->spares && between(r, 0, 1);
	sqe = remote_sqe(x->side, e->opcode, e->spare ? spare(x) : x->out.region, lease, local, there,
			 e->length, x->pushed);
	if (!between(r, 0, 2))
		split_up(r, x, e, &sqe);
	if (e->opcode != DMAPLANE_OP_READ)
		fill(x->out.at + local, e->length, contents(r, x, x->pushed));
	if (!between(r, 0, 3))
		sqe.flags |= DMAPLANE_SQE_FENCE;
	return sqe;
}

/* A SEND of some bytes, or of none. */
static inline struct dmaplane_sqe message(struct run *r, struct actor *x, struct entry *e)
{
	uint64_t local = e->slot * SLOT_BYTES;
	struct dmaplane_sqe sqe;
	uint32_t region;

	e->length = between(r, 0, 7) ? between(r, 1, longest(x->peer)) : 0;
	region = e->length ? x->out.region : 0;
	local = e->length ? local : 0;
	fill(x->out.at + local, e->length, contents(r, x, x->pushed));
	if (between(r, 0, 1)) {
		e->opcode = DMAPLANE_OP_SEND;
		dmaplane_prep_send(&sqe, x->side->endpoint, region, local, e->length);
	} else {
		e->opcode = DMAPLANE_OP_SEND_IMM;
		dmaplane_prep_send_imm(&sqe, x->side->endpoint, region, local, e->length,
				       x->pushed);
	}
	if (!between(r, 0, 3))
		sqe.flags |= DMAPLANE_SQE_FENCE;
	return sqe;
}

/* A RECV of one message or of several, each of up to @room bytes. */
static inline struct dmaplane_sqe receive(struct run *r, struct actor *x, struct entry *e,
					  uint32_t room)
{
	struct dmaplane_sqe sqe;

	e->opcode = DMAPLANE_OP_RECV;
	e->room = room;
	e->shots = between(r, 1, SHOTS);
	e->at = x->recvs++ % RECVS * SHOTS * ROOM;
	dmaplane_prep_recv(&sqe, x->side->endpoint, x->in.buffer.handle, e->at, room);
	if (e->shots > 1 || between(r, 0, 1)) {
		sqe.flags |= DMAPLANE_SQE_MULTISHOT;
		sqe.imm = e->shots;
	}
	x->recvs_left++;
	return sqe;
}

/* What takes or counts messages; false if it is none of that this time. */
static inline bool push_other(struct run *r, struct actor *x)
{
	struct entry *e = &x->entries[x->pushed];
	struct dmaplane_sqe sqe;

	*e = (struct entry){ 0 };
	switch (between(r, 0, 9)) {
	case 0:
		if (x->recvs_left == x->most_recvs)
			return false;
		sqe = receive(r, x, e, between(r, 0, 3) ? ROOM : between(r, 0, 300));
		break;
	case 1:
		if (x->waits_left == x->most_waits)
			return false;
		e->opcode = DMAPLANE_OP_COUNTER_WAIT;
		e->source = between(r, 0, x->peer->counted + 2);
		dmaplane_prep_counter_wait(&sqe, x->side->endpoint, x->counter, e->source);
		x->waits_left++;
		break;
	case 2:
		e->opcode = DMAPLANE_OP_IMM_ONLY;
		dmaplane_prep_imm_only(&sqe, x->side->endpoint, COUNTED | x->pushed);
		break;
	default:
		return false;
	}
	push(x, e, sqe);
	return true;
}

/* Takes messages that nobody waits for; whether there were any. */
static inline bool take_messages(struct run *r, struct actor *x)
{
	struct entry *e = &x->entries[x->pushed];

	if (x->gone || x->closed || x->recvs_left == x->most_recvs || x->pushed == ENTRIES ||
	    !look(r, x).unread)
		return false;
	*e = (struct entry){ 0 };
	return push(x, e, receive(r, x, e, ROOM));
}

/* Whether what is not complete leaves but one place, that of a RECV which others may wait for. */
static inline bool is_busy(const struct run *r, const struct actor *x)
{
	uint32_t places = x->side->ch.cq_entries - x->side->recv_depth;

	return r->messages && x->pushed - x->completed + 1 >= places;
}

static inline void submit(struct run *r, struct actor *x)
{
	uint32_t count = between(r, 1, 4);

	if (x->gone || x->closed)
		return;
	/* One that the ring had no room for must be taken alone, too. */
	if (x->cancels)
		enter(r, x);
	if (x->cancels)
		return;
	while (count-- && x->pushed < ENTRIES - SPARE && !is_busy(r, x)) {
		int slot = free_slot(x);
		struct entry *e = &x->entries[x->pushed];
		struct dmaplane_sqe sqe;

		if (r->messages && push_other(r, x))
			continue;
		if (r->messages && !between(r, 0, 4)) {
			submit_here(r, x);
			if (x->cancels)
				return;
			continue;
		}
		if (slot < 0)
			break;
		*e = (struct entry){ .slot = slot, .opcode = DMAPLANE_OP_WRITE_IMM };
		if (x->known && between(r, 0, 7))
			e->length = between(r, 1, SLOT_BYTES);
		sqe = write_imm(x->side, 0, 0, 0, 0, 0, x->pushed);
		if (r->messages && !between(r, 0, 4))
			sqe = message(r, x, e);
		else if (e->length)
			sqe = transfer(r, x, e);
		if (!push(x, e, sqe))
			break;
	}
	enter(r, x);
}

static inline void grant(struct run *r, struct actor *x)
{
	uint32_t lease;
	int ret;

	if (x->gone || x->closed || x->granted == LEASES)
		return;
	ret = lease_grant(x->side, x->in.region, 0, &lease);
	/* A message that completes twice leaves its place before the adapter does. */
	CHECK(r, !ret || (ret == -ENOTCONN && r->kind != ORDERLY) ||
		  (ret == -EBUSY && r->kind == HOSTILE) ||
		  (ret == -EKEYREVOKED && x->revoked), "%s: %d", x->name, ret);
	x->granted += !ret;
	watch_both(r);
}

/* Takes the leases that came. */
static inline void take_leases(struct run *r, struct actor *x)
{
	struct dmaplane_lease_wait got;

	while (!x->gone && !x->closed && x->known < x->peer->granted &&
	       !lease_wait(x->side, 0, &got)) {
		CHECK(r, got.length == x->peer->in.length, "%s", x->name);
		x->leases[x->known++] = got.lease;
	}
}

#endif /* DMAPLANE_TEST_MOCK_SUBMIT_H */
