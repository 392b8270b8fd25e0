/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A run on the mock fabric: entries that no peer hears of, and the call that has all
 * entries taken. See mock.c.
 */
#ifndef DMAPLANE_TEST_MOCK_HERE_H
#define DMAPLANE_TEST_MOCK_HERE_H

#include "mock_reap.h"

/* Whether the worker has something of it. */
static inline bool is_working(const struct actor *x)
{
	for (uint32_t i = 0, count = accepted(x); x->at_work && i < count; i++)
		if (is_at_work(&x->entries[i]) && !x->entries[i].completed)
			return true;
	return false;
}

static inline void enter(struct run *r, struct actor *x)
{
	uint32_t count;
	int ret;

	if (x->gone)
		return;
	count = x->pushed - accepted(x);
	ret = channel_enter(&x->side->ch, count, 0, 0);
	CHECK(r, ret >= 0 || (ret == -EBUSY && count), "%s: %d", x->name, ret);
	/* The worker's time is not the seed's, and what was called back is told of to know the rest. */
	if (x->at_work || x->cancels)
		reap(r, x, UINT32_MAX);
	for (uint64_t until = now_ns() + PATIENCE; is_working(x) && good(r);) {
		CHECK(r, now_ns() < until, "%s: the worker does not end", x->name);
		usleep(100);
		reap(r, x, UINT32_MAX);
	}
	watch_both(r);
}

/* Puts what was made of @e into the ring; false if that is full. */
static inline bool push(struct actor *x, struct entry *e, struct dmaplane_sqe sqe)
{
	dmaplane_sqe_set_user_data(&sqe, x->pushed);
	if (channel_push(&x->side->ch, &sqe)) {
		x->recvs_left -= e->opcode == DMAPLANE_OP_RECV;
		x->waits_left -= e->opcode == DMAPLANE_OP_COUNTER_WAIT;
		return false;
	}
	x->transfers += is_transfer(e);
	x->messages += e->opcode == DMAPLANE_OP_WRITE_IMM;
	x->counted += e->opcode == DMAPLANE_OP_IMM_ONLY;
	x->sends += is_send(e);
	x->at_work += is_at_work(e);
	x->cancels += e->opcode == DMAPLANE_OP_CANCEL;
	x->pushed++;
	return true;
}

/* Whether nothing that is not complete has to do with an area. */
static inline bool is_free(const struct actor *x, uint64_t area)
{
	for (uint32_t i = 0; i < x->pushed; i++) {
		const struct entry *e = &x->entries[i];

		if (!e->completed && (e->opcode == DMAPLANE_OP_FILL || e->opcode == DMAPLANE_OP_COPY) &&
		    (e->at == area || e->source == area))
			return false;
	}
	return true;
}

/* INVALIDATE of a region; what goes from it now may still be with the adapter. */
static inline bool push_invalidate(struct actor *x, uint32_t region, bool busy)
{
	struct entry *e = &x->entries[x->pushed];
	struct dmaplane_sqe sqe;

	*e = (struct entry){ .opcode = DMAPLANE_OP_INVALIDATE, .busy = busy };
	dmaplane_prep_invalidate(&sqe, region);
	return push(x, e, sqe);
}

/* The peer may write there and read it; then no more. */
static inline void take_away(struct run *r, struct actor *x)
{
	uint32_t index = x->pushed;

	if (index == ENTRIES || !push_invalidate(x, x->in.region, true))
		return;
	enter(r, x);
	reap(r, x, UINT32_MAX);
	/* The ring may have no room for it as yet. */
	x->revoked = !x->entries[index].completed || !x->entries[index].res;
}

/*
 * Takes the region away that some transfers are from. If none of them is under way that
 * works, and it is of no use then.
 */
static inline void take_spare_away(struct run *r, struct actor *x)
{
	struct dmaplane_sqe sqe;
	struct entry *e;
	bool busy = false;
	uint32_t index;

	if (!x->spares)
		return;
	for (uint32_t i = 0; i < x->pushed; i++)
		busy |= x->entries[i].spare && !x->entries[i].completed;
	index = x->pushed;
	if (!push_invalidate(x, spare(x), busy))
		return;
	enter(r, x);
	reap(r, x, UINT32_MAX);
	/* The ring may have no room for it as yet: nothing more is sent from there until it has. */
	e = &x->entries[index];
	if (e->completed && e->res == -EBUSY)
		return;
	if (e->completed) {
		sqe = remote_sqe(x->side, DMAPLANE_OP_WRITE, spare(x), x->leases[0], 0, x->peer->in_base,
				 1, 0);
		e = &x->entries[x->pushed];
		*e = (struct entry){ .opcode = DMAPLANE_OP_WRITE, .wrong = -EKEYREVOKED };
		if (push(x, e, sqe))
			enter(r, x);
		CHECK(r, !region_deregister(x->side->fd, spare(x)), "%s", x->name);
	}
	x->spares--;
}

/* Calls an entry back that is not complete, whichever that is. */
static inline void call_back(struct run *r, struct actor *x)
{
	uint32_t count = 0, nth, i;
	struct dmaplane_sqe sqe;
	struct entry *e;

	enter(r, x);
	/* What is called back must have begun, and alone: else stalls come and go unseen. */
	if (accepted(x) != x->pushed)
		return;
	for (i = 0; i < x->pushed; i++)
		count += !x->entries[i].completed;
	if (!count)
		return;
	nth = between(r, 0, count - 1);
	for (i = 0; x->entries[i].completed || nth; i++)
		nth -= !x->entries[i].completed;
	e = &x->entries[x->pushed];
	*e = (struct entry){ .opcode = DMAPLANE_OP_CANCEL, .target = i };
	dmaplane_prep_cancel(&sqe, x->side->endpoint, i, 0);
	if (!push(x, e, sqe))
		return;
	x->entries[i].named = true;
	enter(r, x);
}

/* What happens here. */
static inline void submit_here(struct run *r, struct actor *x)
{
	uint64_t to = between(r, 0, AREAS - 1) * AREA_BYTES, from = between(r, 0, AREAS - 1) * AREA_BYTES;
	struct entry *e = &x->entries[x->pushed];
	struct dmaplane_sqe sqe;

	*e = (struct entry){ .at = to, .source = to };
	/* Some are done at once. */
	e->length = between(r, 0, 2) ? between(r, 1, 2000) : between(r, 60000, AREA_BYTES);
	switch (between(r, 0, 9)) {
	case 0:
		e->opcode = DMAPLANE_OP_NOP;
		dmaplane_prep_nop(&sqe);
		break;
	case 1 ... 2:
		if (!is_free(x, to))
			return;
		e->opcode = DMAPLANE_OP_FILL;
		e->value = between(r, 0, 255);
		dmaplane_prep_fill(&sqe, x->here.handle, to, e->length, e->value);
		break;
	case 3 ... 4:
		if (to == from || !is_free(x, to) || !is_free(x, from))
			return;
		e->opcode = DMAPLANE_OP_COPY;
		e->source = from;
		dmaplane_prep_copy(&sqe, x->here.handle, from, x->here.handle, to, e->length);
		break;
	case 5:
		/* It is there already; machines with more nodes have tests of their own. */
		e->opcode = DMAPLANE_OP_MIGRATE;
		dmaplane_prep_migrate(&sqe, x->here.handle, 0, 0);
		break;
	case 6:
		take_spare_away(r, x);
		return;
	default:
		call_back(r, x);
		return;
	}
	push(x, e, sqe);
}

#endif /* DMAPLANE_TEST_MOCK_HERE_H */
