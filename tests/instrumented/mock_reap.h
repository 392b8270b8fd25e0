/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A run on the mock fabric: completions, compared with what was promised. See mock.c.
 */
#ifndef DMAPLANE_TEST_MOCK_REAP_H
#define DMAPLANE_TEST_MOCK_REAP_H

#include "mock_model.h"

/* What a WRITE or a READ that succeeded has moved is there. */
static inline void moved(struct run *r, struct actor *x, struct entry *e, uint32_t index)
{
	uint64_t at = e->length;

	e->arrived = true;
	if (r->kind == HOSTILE || x->peer->gone)
		return;
	if (e->opcode == DMAPLANE_OP_WRITE)
		at = first_wrong(x->peer->in.at + x->peer->in_base + e->slot * SLOT_BYTES,
				 e->length, contents(r, x, index));
	else if (memcmp(x->out.at + SLOTS_BYTES + e->slot * SLOT_BYTES,
			x->peer->in.at + e->source, e->length))
		at = 0;
	CHECK(r, at == e->length, "%s: entry %u, byte %llu of %u", x->name, index,
	      (unsigned long long)at, e->length);
}

/* Its one completion, or the last one. */
static inline void ended(struct run *r, struct actor *x, struct entry *e, int res)
{
	e->completed = true;
	e->res = res;
	x->completed++;
	r->done[e->opcode] += res >= 0;
	/* Else it may be for the end of its endpoint, and it was sent. */
	e->cancelled = e->named && res == -ECANCELED && !x->closed;
	if (!e->cancelled || is_at_work(e))
		return;
	r->cancelled++;
	x->transfers -= is_transfer(e);
	x->messages -= e->opcode == DMAPLANE_OP_WRITE_IMM;
	x->counted -= e->opcode == DMAPLANE_OP_IMM_ONLY;
	x->sends -= is_send(e);
}

/* Whether @length bytes are all the same. */
static inline bool is_all(const uint8_t *at, uint32_t length, uint8_t value)
{
	return !length || (at[0] == value && !memcmp(at, at + 1, length - 1));
}

/* What happens here, whatever the fabric does. */
static inline void was_done(struct run *r, struct actor *x, struct entry *e,
			    const struct dmaplane_cqe *cqe)
{
	const uint8_t *at = x->here_at + e->at;
	const struct entry *target;
	int want = e->wrong;

	CHECK(r, cqe->opcode == e->opcode, "%s: %u", x->name, cqe->opcode);
	x->at_work -= is_at_work(e);
	if (e->wrong && cqe->res == -ENOTCONN && r->kind != ORDERLY)
		want = -ENOTCONN;
	switch (e->opcode) {
	case DMAPLANE_OP_FILL:
		want = e->length;
		CHECK(r, is_all(at, e->length, e->value), "%s: %u", x->name, e->length);
		break;
	case DMAPLANE_OP_COPY:
		want = e->length;
		CHECK(r, !memcmp(at, x->here_at + e->source, e->length), "%s: %u", x->name,
		      e->length);
		break;
	case DMAPLANE_OP_INVALIDATE:
		/* What a lost completion belonged to is in use for ever. */
		if (cqe->res == -EBUSY && e->busy)
			want = -EBUSY;
		break;
	case DMAPLANE_OP_CANCEL:
		x->cancels--;
		target = &x->entries[e->target];
		/* What it finds is complete already: nothing of it was with the adapter. */
		if (cqe->res == 1) {
			want = 1;
			CHECK(r, target->cancelled, "%s: entry %u", x->name, e->target);
		} else if (cqe->res == -EALREADY) {
			want = -EALREADY;
			CHECK(r, is_transfer(target), "%s: entry %u", x->name, e->target);
		} else {
			want = -ENOENT;
			CHECK(r, target->completed || r->kind == HOSTILE, "%s: entry %u", x->name,
			      e->target);
		}
		break;
	}
	CHECK(r, cqe->res == want, "%s: opcode %u: %d, not %d", x->name, e->opcode, cqe->res, want);
}

static inline void completed(struct run *r, struct actor *x, const struct dmaplane_cqe *cqe)
{
	struct entry *e = &x->entries[cqe->user_data];

	if (cqe->user_data >= accepted(x)) {
		wrong(r, "%s: entry %llu was not accepted", x->name,
		      (unsigned long long)cqe->user_data);
		return;
	}
	CHECK(r, !e->completed, "%s: entry %llu", x->name, (unsigned long long)cqe->user_data);
	ended(r, x, e, cqe->res);
	x->waits_left -= e->opcode == DMAPLANE_OP_COUNTER_WAIT;
	if (!is_transfer(e) && e->opcode != DMAPLANE_OP_COUNTER_WAIT) {
		was_done(r, x, e, cqe);
		return;
	}
	if (cqe->res >= 0 && is_transfer(e)) {
		x->succeeded++;
		x->told += e->opcode == DMAPLANE_OP_WRITE_IMM;
		x->counted_told += e->opcode == DMAPLANE_OP_IMM_ONLY;
		x->sends_told += is_send(e);
		x->sent += e->opcode != DMAPLANE_OP_READ;
		if (!is_message(e))
			moved(r, x, e, cqe->user_data);
	}
	CHECK(r, cqe->opcode == e->opcode, "%s: %u", x->name, cqe->opcode);
	CHECK(r, cqe->res < 0 || (uint32_t)cqe->res == e->length, "%s: %d", x->name, cqe->res);
	CHECK(r, cqe->res >= 0 || r->kind != ORDERLY || e->cancelled ||
		  (r->closing && !is_transfer(e)), "%s: %d", x->name, cqe->res);
	if (e->opcode == DMAPLANE_OP_COUNTER_WAIT) {
		CHECK(r, cqe->res < 0 || r->kind == HOSTILE || e->source <= x->peer->counted,
		      "%s: %llu, %u", x->name, (unsigned long long)e->source, x->peer->counted);
		return;
	}
	/* What comes too late is refused at once, what is called back ends at once. */
	if (cqe->res == -ENOTCONN || e->cancelled || r->kind == HOSTILE)
		return;
	CHECK(r, x->last < (int)cqe->user_data, "%s: %d, %llu", x->name, x->last,
	       (unsigned long long)cqe->user_data);
	x->last = cqe->user_data;
}

static inline void arrived(struct run *r, struct actor *x, const struct dmaplane_cqe *cqe)
{
	struct entry *e = &x->peer->entries[cqe->imm];
	uint64_t at;

	if (cqe->imm >= x->peer->pushed) {
		wrong(r, "%s: message %u was not sent", x->name, cqe->imm);
		return;
	}
	e->arrived = true;
	if (r->kind != HOSTILE) {
		while (x->next < cqe->imm &&
		       (x->peer->entries[x->next].opcode != DMAPLANE_OP_WRITE_IMM ||
			x->peer->entries[x->next].cancelled))
			x->next++;
		CHECK(r, cqe->imm == x->next, "%s: %u, %u", x->name, cqe->imm, x->next);
		x->next++;
		CHECK(r, e->split || (uint32_t)cqe->res == e->length, "%s: %d", x->name, cqe->res);
		at = first_wrong(x->in.at + x->in_base + e->slot * SLOT_BYTES, e->length,
				 contents(r, x->peer, cqe->imm));
		CHECK(r, at == e->length, "%s: byte %llu of %u", x->name, (unsigned long long)at,
		       e->length);
	}
	x->arrived++;
}

/* The peer's message that RECV must take next. */
static inline const struct entry *next_message(struct run *r, struct actor *x)
{
	while (x->next_send < x->peer->pushed &&
	       (!is_send(&x->peer->entries[x->next_send]) ||
		x->peer->entries[x->next_send].cancelled))
		x->next_send++;
	CHECK(r, x->next_send < x->peer->pushed, "%s: no message was sent", x->name);
	return good(r) ? &x->peer->entries[x->next_send] : NULL;
}

/* A RECV took a message, which must be the next one. */
static inline void took(struct run *r, struct actor *x, struct entry *e,
			const struct dmaplane_cqe *cqe)
{
	const struct entry *m = next_message(r, x);
	bool tells = m && m->opcode == DMAPLANE_OP_SEND_IMM;
	uint64_t at;

	if (!m)
		return;
	CHECK(r, (uint32_t)cqe->res == m->length && m->length <= e->room, "%s: %d, %u, %u",
	      x->name, cqe->res, m->length, e->room);
	CHECK(r, !!(cqe->flags & DMAPLANE_CQE_F_IMM) == tells, "%s: %x", x->name, cqe->flags);
	CHECK(r, cqe->imm == (tells ? x->next_send : 0), "%s: %u, not %u", x->name, cqe->imm,
	      x->next_send);
	at = first_wrong(x->in.at + e->at + (e->taken - 1) * e->room, m->length,
			 contents(r, x->peer, x->next_send));
	CHECK(r, at == m->length, "%s: byte %llu of %u", x->name, (unsigned long long)at,
	      m->length);
	x->next_send++;
}

/* A completion of a RECV. */
static inline void received(struct run *r, struct actor *x, const struct dmaplane_cqe *cqe)
{
	struct entry *e = &x->entries[cqe->user_data];
	bool more = cqe->flags & DMAPLANE_CQE_F_MORE;
	const struct entry *m;

	if (cqe->user_data >= accepted(x) || e->opcode != DMAPLANE_OP_RECV) {
		wrong(r, "%s: RECV %llu was not accepted", x->name,
		      (unsigned long long)cqe->user_data);
		return;
	}
	CHECK(r, !e->completed, "%s: RECV %llu", x->name, (unsigned long long)cqe->user_data);
	if (cqe->res >= 0) {
		e->taken++;
		CHECK(r, more == (e->taken < e->shots), "%s: %u of %u", x->name, e->taken,
		      e->shots);
		x->taken++;
		if (r->kind != HOSTILE)
			took(r, x, e, cqe);
	}
	if (more) {
		CHECK(r, cqe->res >= 0, "%s: %d", x->name, cqe->res);
		return;
	}
	ended(r, x, e, cqe->res);
	x->recvs_left--;
	if (r->kind == HOSTILE)
		return;
	if (cqe->res == -EMSGSIZE) {
		m = next_message(r, x);
		CHECK(r, !m || m->length > e->room, "%s: %u, %u", x->name, m->length, e->room);
	} else {
		CHECK(r, cqe->res >= 0 || r->kind != ORDERLY || r->closing || e->cancelled,
		      "%s: %d", x->name, cqe->res);
	}
	if (e->cancelled)
		return;
	CHECK(r, x->last_recv < (int)cqe->user_data, "%s: %d, %llu", x->name, x->last_recv,
	      (unsigned long long)cqe->user_data);
	x->last_recv = cqe->user_data;
}

static inline bool reap(struct run *r, struct actor *x, uint32_t most)
{
	struct dmaplane_cqe cqe;
	bool some = false;

	while (!x->gone && most-- && good(r) && channel_reap(&x->side->ch, &cqe)) {
		some = true;
		if (!is_at_work(&(struct entry){ .opcode = cqe.opcode }))
			note(r, (uint64_t)cqe.imm << 32 ^ (uint32_t)cqe.res ^ cqe.user_data << 8 ^
				cqe.opcode ^ (uint64_t)(x == &r->a) << 60);
		if (cqe.flags & DMAPLANE_CQE_F_ENTRY)
			received(r, x, &cqe);
		else if (cqe.opcode == DMAPLANE_OP_RECV)
			arrived(r, x, &cqe);
		else
			completed(r, x, &cqe);
	}
	CHECK(r, x->gone || !channel_poisoned(&x->side->ch), "%s", x->name);
	return some;
}

#endif /* DMAPLANE_TEST_MOCK_REAP_H */
