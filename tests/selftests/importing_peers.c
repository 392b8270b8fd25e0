// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of other drivers as the source and the target of what peers move: by regions, leases,
 * messages and lists, and when what is in the way of its end goes first.
 */
#include "imported.h"
#include "pair.h"
#include "harness.h"

#define PAGE	4096ULL
#define LENGTH	(257 * PAGE)	/* more than a block */

/* One dma-buf, as its maker sees it and as a side does. */
struct foreign {
	int dmabuf, memfd;
	uint8_t *at;
	uint32_t handle, region;
};

FIXTURE(importing) {
	struct pair p;
	struct foreign near, far;	/* a's, of a file; b's, of the heap, which a may use */
	uint32_t lease;
};

static int import_for(struct side *s, int dmabuf, uint32_t access, struct foreign *f)
{
	int ret;

	f->dmabuf = dmabuf;
	if (dmabuf < 0)
		return dmabuf;
	f->at = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, dmabuf, 0);
	if (f->at == MAP_FAILED)
		return -errno;
	ret = buf_import(s->fd, dmabuf, 0, &f->handle);
	return ret ?: region_register(s->fd, s->endpoint, f->handle, 0, LENGTH, access, &f->region);
}

/* A lease for @a on @far's region. */
static int lend(struct pair *p, const struct foreign *far, uint32_t *lease)
{
	struct dmaplane_lease_wait got = { 0 };
	uint32_t granted;
	int ret = lease_grant(&p->b, far->region, 1, &granted);

	ret = ret ?: lease_wait(&p->a, PATIENCE, &got);
	*lease = got.lease;
	return ret;
}

/* What may be done with it: Soft-iWARP lets no peer read it. */
static uint32_t rights(const struct side *s)
{
	return REMOTE_WRITE | (can_write(s) ? REMOTE_READ : 0);
}

static int make_all(FIXTURE_DATA(importing) *self)
{
	struct pair *p = &self->p;
	int ret;

	p->b.message_bytes = DMAPLANE_MESSAGE_MAX;
	ret = pair_open(p);
	ret = ret ?: import_for(&p->a, udmabuf_make(LENGTH, &self->near.memfd), LOCAL_WRITE,
				&self->near);
	ret = ret ?: import_for(&p->b, heap_make(LENGTH, O_RDWR), rights(&p->b),
				&self->far);
	return ret ?: lend(p, &self->far, &self->lease);
}

FIXTURE_SETUP(importing)
{
	self->near.dmabuf = self->near.memfd = self->far.dmabuf = -1;
	self->near.at = self->far.at = MAP_FAILED;
	ASSERT_EQ(0, make_all(self));
	EXPECT_EQ(2, live("imports"));
}

FIXTURE_TEARDOWN(importing)
{
	pair_close(&self->p);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_TRUE(WAIT_FOR(live("buffers") == 0));
	EXPECT_EQ(0, live("regions"));
	EXPECT_EQ(0, live("imports"));
	EXPECT_EQ(0, live("memory_bytes"));
	close(self->near.dmabuf);
	close(self->near.memfd);
	close(self->far.dmabuf);
}

/* The result of an entry of a. */
static int result(struct pair *p, struct dmaplane_sqe sqe)
{
	struct dmaplane_cqe cqe;

	return channel_do(&p->a.ch, &sqe, &cqe) ? -ETIME : cqe.res;
}

static struct dmaplane_sqe all_of_it(FIXTURE_DATA(importing) *self, int opcode)
{
	return remote_sqe(&self->p.a, opcode, self->near.region, self->lease, 0, 0, LENGTH, opcode);
}

TEST_F(importing, written_and_read)
{
	uint8_t *near = self->near.at, *far = self->far.at;

	fill(near, LENGTH, 1);
	EXPECT_EQ(LENGTH, result(&self->p, all_of_it(self, DMAPLANE_OP_WRITE)));
	ASSERT_EQ(0, fence(&self->p.a, &self->p.b));
	EXPECT_EQ(LENGTH, first_wrong(far, LENGTH, 1));
	if (can_write(&self->p.a)) {
		fill(far, LENGTH, 2);
		EXPECT_EQ(LENGTH, result(&self->p, all_of_it(self, DMAPLANE_OP_READ)));
		EXPECT_EQ(LENGTH, first_wrong(near, LENGTH, 2));
		EXPECT_EQ(-ERANGE, result(&self->p, remote_sqe(&self->p.a, DMAPLANE_OP_READ,
							       self->near.region, self->lease, 0,
							       LENGTH - 1, 2, 5)));
	} else {
		uint32_t region;

		EXPECT_EQ(-EOPNOTSUPP, region_register(self->p.b.fd, self->p.b.endpoint,
						       self->far.handle, 0, LENGTH, REMOTE_READ,
						       &region));
	}
	/* Across a page, and nothing beside it. */
	memset(far, 0, LENGTH);
	EXPECT_EQ(PAGE, result(&self->p, remote_sqe(&self->p.a, DMAPLANE_OP_WRITE, self->near.region,
						    self->lease, 5 * PAGE - 100, PAGE - 30, PAGE, 3)));
	ASSERT_EQ(0, fence(&self->p.a, &self->p.b));
	EXPECT_EQ(0, memcmp(far + PAGE - 30, near + 5 * PAGE - 100, PAGE));
	EXPECT_EQ(PAGE - 30, first_not(far, PAGE - 30, 0));
	EXPECT_EQ(PAGE, first_not(far + 2 * PAGE - 30, PAGE, 0));
	/* Not beyond its end. */
	EXPECT_EQ(-ERANGE, result(&self->p, remote_sqe(&self->p.a, DMAPLANE_OP_WRITE, self->near.region,
						       self->lease, LENGTH - 1, 0, 2, 4)));
}

TEST_F(importing, told_of)
{
	struct dmaplane_cqe cqe;

	fill(self->near.at, LENGTH, 3);
	EXPECT_EQ(written(&self->p.a, LENGTH), result(&self->p, all_of_it(self, DMAPLANE_OP_WRITE_IMM)));
	if (!can_write(&self->p.a)) {
		EXPECT_EQ(LENGTH, first_not(self->far.at, LENGTH, 0));
		return;
	}
	ASSERT_EQ(0, channel_next(&self->p.b.ch, &cqe));
	EXPECT_EQ(LENGTH, cqe.res);
	EXPECT_EQ(DMAPLANE_OP_WRITE_IMM, cqe.imm);
	EXPECT_EQ(LENGTH, first_wrong(self->far.at, LENGTH, 3));
}

/* Out of one and into another. */
TEST_F(importing, messages)
{
	struct dmaplane_sqe sqe;
	struct dmaplane_cqe cqe;

	fill(self->near.at, LENGTH, 4);
	dmaplane_prep_send(&sqe, self->p.a.endpoint, self->near.region, PAGE - 8, 1000);
	EXPECT_EQ(1000, result(&self->p, sqe));
	dmaplane_prep_recv(&sqe, self->p.b.endpoint, self->far.handle, 3 * PAGE - 500, 1000);
	ASSERT_EQ(1, channel_submit(&self->p.b.ch, &sqe));
	ASSERT_EQ(0, channel_next(&self->p.b.ch, &cqe));
	EXPECT_EQ(1000, cqe.res);
	EXPECT_EQ(0, memcmp(self->far.at + 3 * PAGE - 500, self->near.at + PAGE - 8, 1000));
}

/* What may only be read is not made to be written to. */
TEST_F(importing, read_only)
{
	struct side *a = &self->p.a;
	uint32_t handle, region;
	struct dmaplane_sqe sqe;

	ASSERT_EQ(0, buf_import(a->fd, self->near.dmabuf, DMAPLANE_IMPORT_RDONLY, &handle));
	EXPECT_EQ(-EACCES, region_register(a->fd, a->endpoint, handle, 0, LENGTH, LOCAL_WRITE, &region));
	EXPECT_EQ(-EACCES, region_register(a->fd, a->endpoint, handle, 0, LENGTH, REMOTE_WRITE,
					   &region));
	dmaplane_prep_recv(&sqe, a->endpoint, handle, 0, 64);
	EXPECT_EQ(-EACCES, result(&self->p, sqe));
	ASSERT_EQ(0, region_register(a->fd, a->endpoint, handle, 0, LENGTH, rights(a) & REMOTE_READ,
				     &region));
	fill(self->near.at, LENGTH, 5);
	EXPECT_EQ(LENGTH, result(&self->p, remote_sqe(a, DMAPLANE_OP_WRITE, region, self->lease, 0, 0,
						      LENGTH, 1)));
	ASSERT_EQ(0, fence(a, &self->p.b));
	EXPECT_EQ(LENGTH, first_wrong(self->far.at, LENGTH, 5));
	EXPECT_EQ(-EACCES, result(&self->p, remote_sqe(a, DMAPLANE_OP_READ, region, self->lease, 0, 0,
						       LENGTH, 2)));
	EXPECT_EQ(0, region_deregister(a->fd, region));
}

/* Handle, mapping and descriptor go while it is written from: the peer gets what was there. */
TEST_F(importing, destroyed_in_flight)
{
	struct side *a = &self->p.a, *b = &self->p.b;
	struct dmaplane_sqe sqe = all_of_it(self, DMAPLANE_OP_WRITE);
	struct dmaplane_cqe cqe;

	fill(self->near.at, LENGTH, 6);
	ASSERT_EQ(1, channel_submit(&a->ch, &sqe));
	EXPECT_EQ(0, munmap(self->near.at, LENGTH));
	EXPECT_EQ(0, close(self->near.dmabuf));
	EXPECT_EQ(0, close(self->near.memfd));
	self->near.dmabuf = self->near.memfd = -1;
	EXPECT_EQ(0, buf_destroy(a->fd, self->near.handle));
	ASSERT_EQ(0, channel_next(&a->ch, &cqe));
	EXPECT_EQ(LENGTH, cqe.res);
	ASSERT_EQ(0, fence(a, b));
	EXPECT_EQ(LENGTH, first_wrong(self->far.at, LENGTH, 6));
	/* And again, from memory that only the region has. */
	memset(self->far.at, 0, LENGTH);
	EXPECT_EQ(LENGTH, result(&self->p, sqe));
	ASSERT_EQ(0, fence(a, b));
	EXPECT_EQ(LENGTH, first_wrong(self->far.at, LENGTH, 6));
	EXPECT_EQ(2, live("imports"));
	EXPECT_EQ(0, region_deregister(a->fd, self->near.region));
	EXPECT_TRUE(WAIT_FOR(live("imports") == 1));
}

/* A program that is killed with both sides under way; @arg is what its peer writes to. */
static int killed(void *arg)
{
	FIXTURE_DATA(importing) own = { .near.memfd = -1 }, *given = arg;
	struct dmaplane_sqe sqe;
	int ret;

	ret = pair_open(&own.p);
	ret = ret ?: import_for(&own.p.a, udmabuf_make(LENGTH, &own.near.memfd), LOCAL_WRITE, &own.near);
	ret = ret ?: import_for(&own.p.b, given->far.dmabuf, rights(&own.p.b), &own.far);
	ret = ret ?: lend(&own.p, &own.far, &own.lease);
	if (ret)
		return 1;
	memset(own.near.at, 0x66, LENGTH);
	sqe = all_of_it(&own, DMAPLANE_OP_WRITE);
	for (int i = 0; i < 8; i++)
		if (channel_push(&own.p.a.ch, &sqe))
			return 2;
	if (channel_enter(&own.p.a.ch, 8, 1, PATIENCE) != 8)
		return 3;
	raise(SIGKILL);
	return 4;
}

TEST_F(importing, killed_in_flight)
{
	int status;

	fflush(NULL);
	status = in_child(killed, self);
	ASSERT_TRUE(WIFSIGNALED(status)) {
		TH_LOG("status %x", status);
	}
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 2));
	EXPECT_TRUE(WAIT_FOR(live("imports") == 2));
	/* What was complete is there, and the dma-buf is as good as before. */
	EXPECT_EQ(LENGTH, first_not(self->far.at, LENGTH, 0x66));
	fill(self->near.at, LENGTH, 7);
	EXPECT_EQ(LENGTH, result(&self->p, all_of_it(self, DMAPLANE_OP_WRITE)));
	ASSERT_EQ(0, fence(&self->p.a, &self->p.b));
	EXPECT_EQ(LENGTH, first_wrong(self->far.at, LENGTH, 7));
}

TEST_HARNESS_MAIN
