// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings of buffers as any other memory is used: direct I/O to a disk, io_uring's registered buffers,
 * vmsplice, and regions of user-space verbs. All of them have references to the pages, of single ones
 * and of blocks. What becomes of them when the buffer is to be moved is in numa_direct_io.c.
 */
#include "pair.h"
#include "uring.h"
#include "disk.h"
#include "user.h"
#include "harness.h"

#define PAGE	4096ULL
#define HUGE	((uint64_t)DMAPLANE_HUGE_SIZE)
#define LENGTH	(2 * HUGE)
#define POISON	0xee

/* Places on the disk. */
#define HERE	(5 * SECTOR)
#define THERE	(16 * HUGE + 3 * SECTOR)

FIXTURE(direct_io) {
	int fd, disk;
	struct memory m;
	struct uring u;
	bool fixed;		/* the memory is registered there, and goes to the disk by that */
	uint8_t *bytes;		/* as much memory as all programs have it */
};

FIXTURE_VARIANT(direct_io) {
	uint32_t flags;		/* DMAPLANE_BUF_* */
};

FIXTURE_VARIANT_ADD(direct_io, pages) { .flags = DMAPLANE_BUF_NO_HUGE };
FIXTURE_VARIANT_ADD(direct_io, blocks) { .flags = DMAPLANE_BUF_HUGE };

/* A mapped buffer without a region. */
static int make(int fd, uint32_t flags, struct memory *m)
{
	int ret = buf_create_at(fd, LENGTH, DMAPLANE_NODE_ANY, flags, &m->buffer);

	if (ret)
		return ret;
	m->length = LENGTH;
	m->at = buf_map(fd, &m->buffer);
	return m->at == MAP_FAILED ? -errno : 0;
}

static void unmake(int fd, struct memory *m)
{
	if (m->at)
		munmap(m->at, LENGTH);
	m->at = NULL;
	buf_destroy(fd, m->buffer.handle);
}

FIXTURE_SETUP(direct_io)
{
	self->disk = disk_open();
	ASSERT_LE(0, self->disk);
	self->fd = open_device();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, make(self->fd, variant->flags, &self->m));
	self->bytes = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->bytes);
	fill(self->m.at, LENGTH, 1);
	if (huge_pages())
		EXPECT_EQ(variant->flags & DMAPLANE_BUF_HUGE ? LENGTH : 0, mapped_huge(self->m.at));
}

FIXTURE_TEARDOWN(direct_io)
{
	struct dmaplane_stats stats, zero = ARG(stats);

	unmake(self->fd, &self->m);
	/* Nobody has kept the buffer. */
	EXPECT_EQ(0, get_stats(self->fd, &stats));
	EXPECT_EQ(0, memcmp(&zero, &stats, sizeof(stats)));
	munmap(self->bytes, LENGTH);
	close(self->fd);
	close(self->disk);
}

/* From the mapping to the disk and back. */
static int64_t put(FIXTURE_DATA(direct_io) *self, uint8_t *at, uint64_t length, uint64_t offset)
{
	return self->fixed ? uring_fixed(&self->u, IORING_OP_WRITE_FIXED, self->disk, 0, at, length,
					 offset) :
			     disk_write(self->disk, at, length, offset);
}

static int64_t get(FIXTURE_DATA(direct_io) *self, uint8_t *at, uint64_t length, uint64_t offset)
{
	return self->fixed ? uring_fixed(&self->u, IORING_OP_READ_FIXED, self->disk, 0, at, length,
					 offset) :
			     disk_read(self->disk, at, length, offset);
}

/* Parts of the mapping go to the disk, and from there to another part, and nowhere else. */
static void to_and_fro(struct __test_metadata *_metadata, FIXTURE_DATA(direct_io) *self)
{
	const struct { uint64_t from, to, length; } parts[] = {
		{ 0, HUGE, HUGE },
		{ HUGE, 0, HUGE },
		{ 3 * PAGE + 2 * SECTOR, HUGE + SECTOR, SECTOR },
		/* Across the end of a block. */
		{ HUGE - 3 * PAGE + SECTOR, 7 * PAGE + 2 * SECTOR, 6 * PAGE + SECTOR },
		{ 2 * PAGE + 2 * SECTOR, HUGE - SECTOR, 5 * PAGE },
		{ PAGE, HUGE / 2 + PAGE, HUGE },
		{ 0, 0, LENGTH },
	};
	uint8_t *at = self->m.at;

	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		uint64_t from = parts[i].from, to = parts[i].to, length = parts[i].length;

		fill(at, LENGTH, 2 + i);
		memcpy(self->bytes, at, LENGTH);
		ASSERT_EQ(length, put(self, at + from, length, HERE));
		EXPECT_EQ(0, memcmp(self->bytes, at, LENGTH));
		/* What is on the disk, as others see it, is what must be there in the end. */
		ASSERT_EQ(length, disk_read(self->disk, self->bytes + to, length, HERE));
		EXPECT_EQ(0, memcmp(self->bytes + to, at + from, length)) TH_LOG("part %zu", i);
		memset(at + to, POISON, length);
		/* The page tables are empty when its pages are wanted. */
		ASSERT_EQ(0, madvise(at, LENGTH, MADV_DONTNEED));
		ASSERT_EQ(length, get(self, at + to, length, HERE));
		EXPECT_EQ(0, memcmp(self->bytes, at, LENGTH)) TH_LOG("part %zu", i);
	}
}

/* Makes a ring in which the mapping is registered. */
static void use_ring(struct __test_metadata *_metadata, FIXTURE_DATA(direct_io) *self)
{
	struct iovec memory = { self->m.at, LENGTH };

	ASSERT_EQ(0, uring_open(&self->u, 8, 0));
	ASSERT_EQ(0, uring_register(&self->u, &memory, 1));
	self->fixed = true;
}

TEST_F(direct_io, read_and_write)
{
	to_and_fro(_metadata, self);
}

TEST_F(direct_io, registered)
{
	use_ring(_metadata, self);
	to_and_fro(_metadata, self);
	EXPECT_EQ(0, uring_unregister(&self->u));
	uring_close(&self->u);
}

/* Several parts, in the wrong order, at once, with other memory among them. */
TEST_F(direct_io, vectors)
{
	uint8_t *at = self->m.at;
	const struct iovec parts[] = {
		{ at + HUGE - PAGE, 2 * PAGE }, { self->bytes, SECTOR },
		{ at + 9 * PAGE + SECTOR, PAGE - SECTOR }, { at, PAGE },
	};
	uint64_t length = 0, offset = 0;

	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		length += parts[i].iov_len;
	memset(self->bytes, POISON, SECTOR);
	ASSERT_EQ(length, pwritev(self->disk, parts, ARRAY_LEN(parts), HERE));
	ASSERT_EQ(length, disk_read(self->disk, self->bytes + PAGE, length, HERE));
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		EXPECT_EQ(0, memcmp(self->bytes + PAGE + offset, parts[i].iov_base, parts[i].iov_len)) {
			TH_LOG("part %zu", i);
		}
		offset += parts[i].iov_len;
		memset(parts[i].iov_base, 0, parts[i].iov_len);
	}
	ASSERT_EQ(length, preadv(self->disk, parts, ARRAY_LEN(parts), HERE));
	EXPECT_EQ(SECTOR, first_not(self->bytes, SECTOR, POISON));
	EXPECT_EQ(LENGTH, first_wrong(at, LENGTH, 1));
}

/* Whoever has pages has them when the buffer is gone, and they are nobody else's. */
TEST_F(direct_io, registered_pages_outlive_the_buffer)
{
	struct dmaplane_stats stats;
	uint8_t *at = self->m.at;
	struct memory other;

	fill(self->bytes, LENGTH, 2);
	ASSERT_EQ(LENGTH, disk_write(self->disk, self->bytes, LENGTH, HERE));
	use_ring(_metadata, self);
	unmake(self->fd, &self->m);
	ASSERT_EQ(0, get_stats(self->fd, &stats));
	EXPECT_EQ(0, stats.buffers);
	ASSERT_EQ(0, make(self->fd, variant->flags, &other));
	memset(other.at, POISON, LENGTH);
	/* The address is how the ring calls them, whatever is there now. */
	ASSERT_EQ(LENGTH, put(self, at, LENGTH, THERE));
	ASSERT_EQ(LENGTH, disk_read(self->disk, self->bytes, LENGTH, THERE));
	EXPECT_EQ(LENGTH, first_wrong(self->bytes, LENGTH, 1));
	ASSERT_EQ(LENGTH, get(self, at, LENGTH, HERE));
	EXPECT_EQ(LENGTH, first_not(other.at, LENGTH, POISON));
	ASSERT_EQ(LENGTH, put(self, at, LENGTH, THERE));
	ASSERT_EQ(LENGTH, disk_read(self->disk, self->bytes, LENGTH, THERE));
	EXPECT_EQ(LENGTH, first_wrong(self->bytes, LENGTH, 2));
	/* They end with the ring. */
	uring_close(&self->u);
	unmake(self->fd, &other);
}

/* One that may only be read is not written to by others either. */
TEST_F(direct_io, read_only)
{
	uint8_t *at = mmap64(NULL, LENGTH, PROT_READ, MAP_SHARED, self->fd, self->m.buffer.offset);
	struct iovec memory = { at, LENGTH };
	struct ibv_pd *pd = any_pd();
	struct ibv_mr *mr;
	struct uring u;

	ASSERT_NE(NULL, pd);
	ASSERT_NE(MAP_FAILED, at);
	ASSERT_EQ(LENGTH, disk_write(self->disk, at, LENGTH, HERE));
	ASSERT_EQ(LENGTH, disk_read(self->disk, self->bytes, LENGTH, HERE));
	EXPECT_EQ(LENGTH, first_wrong(self->bytes, LENGTH, 1));
	memset(self->bytes, POISON, LENGTH);
	ASSERT_EQ(LENGTH, disk_write(self->disk, self->bytes, LENGTH, HERE));
	EXPECT_EQ(-EFAULT, disk_read(self->disk, at, LENGTH, HERE));

	ASSERT_EQ(0, uring_open(&u, 8, 0));
	EXPECT_EQ(-EFAULT, uring_register(&u, &memory, 1));
	uring_close(&u);

	mr = ibv_reg_mr(pd, at, LENGTH, 0);
	EXPECT_NE(NULL, mr);
	if (mr)
		EXPECT_EQ(0, ibv_dereg_mr(mr));
	EXPECT_EQ(NULL, ibv_reg_mr(pd, at, LENGTH, IBV_ACCESS_LOCAL_WRITE));
	EXPECT_EQ(EFAULT, errno);
	pd_end(pd);

	EXPECT_EQ(LENGTH, first_wrong(self->m.at, LENGTH, 1));
	EXPECT_EQ(0, munmap(at, LENGTH));
}

/*
 * By one call a shard goes from the disk to a buffer, and as soon as it is there from that to a
 * peer, who keeps it on a disk: nothing in between copies it.
 */
TEST_F(direct_io, from_disk_to_peer_to_disk)
{
	struct dmaplane_lease_wait got;
	struct io_uring_cqe cqe = { 0 };
	struct memory from, to;
	struct iovec both[2];
	struct dmaplane_sqe sqe;
	struct pair p = { 0 };
	uint32_t lease;
	struct uring u;
	int file;

	ASSERT_EQ(0, pair_open(&p));
	ASSERT_EQ(0, make(p.a.fd, variant->flags, &from));
	ASSERT_EQ(0, make(p.b.fd, variant->flags, &to));
	both[0] = (struct iovec){ from.at, LENGTH };
	both[1] = (struct iovec){ to.at, LENGTH };
	ASSERT_EQ(0, uring_open(&u, 8, IORING_SETUP_SQE128));
	ASSERT_EQ(0, uring_register(&u, both, 2));
	ASSERT_EQ(0, region_register(p.a.fd, p.a.endpoint, from.buffer.handle, 0, LENGTH, 0,
				     &from.region));
	ASSERT_EQ(0, region_register(p.b.fd, p.b.endpoint, to.buffer.handle, 0, LENGTH,
				     REMOTE_WRITE, &to.region));
	ASSERT_EQ(0, lease_grant(&p.b, to.region, 1, &lease));
	ASSERT_EQ(0, lease_wait(&p.a, PATIENCE, &got));
	file = channel_file(&p.a.ch);
	ASSERT_LE(0, file);

	fill(self->bytes, LENGTH, 2);
	ASSERT_EQ(LENGTH, disk_write(self->disk, self->bytes, LENGTH, HERE));
	uring_push_fixed(&u, IORING_OP_READ_FIXED, self->disk, 0, from.at, LENGTH, HERE, 1)->flags =
		IOSQE_IO_LINK;
	sqe = remote_sqe(&p.a, can_write(&p.a) ? DMAPLANE_OP_WRITE_IMM : DMAPLANE_OP_WRITE,
			 from.region, got.lease, 0, 0, LENGTH, 77);
	uring_push(&u, file, &sqe, 2);
	ASSERT_EQ(2, uring_submit(&u));
	if (can_write(&p.a)) {
		struct dmaplane_cqe told = { 0 };
		int ret;

		/* The ring's own completions end waits in other calls. */
		do {
			ret = channel_next(&p.b.ch, &told);
		} while (ret == -EINTR);
		ASSERT_EQ(0, ret);
		EXPECT_EQ(DMAPLANE_OP_RECV, told.opcode);
		EXPECT_EQ(77, told.imm);
		EXPECT_EQ(LENGTH, first_wrong(to.at, LENGTH, 2));
	}
	for (unsigned int i = 1; i <= 2; i++) {
		ASSERT_EQ(0, uring_next(&u, &cqe));
		EXPECT_EQ(i, cqe.user_data);
		EXPECT_EQ(LENGTH, cqe.res);
	}
	ASSERT_EQ(0, fence(&p.a, &p.b));
	EXPECT_EQ(LENGTH, first_wrong(from.at, LENGTH, 2));
	EXPECT_EQ(LENGTH, first_wrong(to.at, LENGTH, 2));

	ASSERT_EQ(LENGTH, uring_fixed(&u, IORING_OP_WRITE_FIXED, self->disk, 1, to.at, LENGTH,
				      THERE));
	memset(self->bytes, POISON, LENGTH);
	ASSERT_EQ(LENGTH, disk_read(self->disk, self->bytes, LENGTH, THERE));
	EXPECT_EQ(LENGTH, first_wrong(self->bytes, LENGTH, 2));

	uring_close(&u);
	EXPECT_EQ(0, close(file));
	munmap(from.at, LENGTH);
	munmap(to.at, LENGTH);
	pair_close(&p);
}

/* All of it, or what went wrong. */
static int64_t splice_all(int from, loff_t *from_at, int to, loff_t *to_at, uint64_t length)
{
	uint64_t done = 0;

	while (done < length) {
		ssize_t part = splice(from, from_at, to, to_at, length - done, 0);

		if (part <= 0)
			return part ? -errno : -ENODATA;
		done += part;
	}
	return done;
}

TEST_F(direct_io, spliced)
{
	const uint64_t length = 5 * PAGE, from = HUGE - 2 * PAGE, to = 3 * PAGE + 7;
	uint8_t *at = self->m.at;
	struct iovec part = { at + from, length };
	loff_t offset = HERE;
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(length, vmsplice(fds[1], &part, 1, 0));
	/* The pipe has the pages, and not what was in them. */
	for (uint64_t i = 0; i < length; i += PAGE)
		at[from + i + 17] ^= 0xff;
	memcpy(self->bytes, at, LENGTH);
	ASSERT_EQ(length, splice_all(fds[0], NULL, self->disk, &offset, length));
	ASSERT_EQ(length, disk_read(self->disk, self->bytes + from, length, HERE));
	EXPECT_EQ(0, memcmp(self->bytes + from, at + from, length));

	/* And back to where no page begins. */
	offset = HERE;
	memcpy(self->bytes + to, at + from, length);
	ASSERT_EQ(length, splice_all(self->disk, &offset, fds[1], NULL, length));
	part.iov_base = at + to;
	ASSERT_EQ(length, vmsplice(fds[0], &part, 1, 0));
	EXPECT_EQ(0, memcmp(self->bytes, at, LENGTH));
	close(fds[0]);
	close(fds[1]);
}

/* ---- User-space verbs ------------------------------------------------------- */

enum { LISTENER, CLIENT, SERVER, IDS };

/* Connects this program to itself. */
static int connect_users(struct user *u, struct rdma_cm_id *ids[IDS])
{
	struct rdma_conn_param param = {
		.responder_resources = 1, .initiator_depth = 1, .retry_count = 5,
		.rnr_retry_count = 7,
	};
	struct sockaddr_in to = { .sin_family = AF_INET };
	int established = 0;

	u->events = rdma_create_event_channel();
	inet_pton(AF_INET, ADDRESS4, &to.sin_addr);
	if (!u->events || rdma_create_id(u->events, &ids[LISTENER], NULL, RDMA_PS_TCP) ||
	    rdma_create_id(u->events, &ids[CLIENT], NULL, RDMA_PS_TCP) ||
	    rdma_bind_addr(ids[LISTENER], (struct sockaddr *)&to) || rdma_listen(ids[LISTENER], 1))
		return -errno;
	to.sin_port = rdma_get_src_port(ids[LISTENER]);
	if (rdma_resolve_addr(ids[CLIENT], NULL, (struct sockaddr *)&to, PATIENCE / MS))
		return -errno;
	while (established < 2) {
		int bad = 0;

		switch (next_event(u)) {
		case RDMA_CM_EVENT_ADDR_RESOLVED:
			bad = rdma_resolve_route(ids[CLIENT], PATIENCE / MS);
			break;
		case RDMA_CM_EVENT_ROUTE_RESOLVED:
			bad = add_queue_pair(ids[CLIENT]) || rdma_connect(ids[CLIENT], &param);
			break;
		case RDMA_CM_EVENT_CONNECT_REQUEST:
			ids[SERVER] = u->event->id;
			bad = add_queue_pair(ids[SERVER]) || rdma_accept(ids[SERVER], &param);
			break;
		case RDMA_CM_EVENT_ESTABLISHED:
			established++;
			break;
		default:
			bad = 1;
		}
		if (bad)
			return -EPROTO;
	}
	return 0;
}

static void disconnect_users(struct user *u, struct rdma_cm_id *ids[IDS])
{
	for (int i = IDS; i--;) {
		u->id = ids[i];
		user_end(u);
	}
	rdma_destroy_event_channel(u->events);
}

/* Within the region, from one place to another. */
static int carry(struct rdma_cm_id *id, struct ibv_mr *mr, enum ibv_wr_opcode opcode,
		 const uint8_t *from, const uint8_t *to, uint32_t length)
{
	bool reads = opcode == IBV_WR_RDMA_READ;
	struct ibv_sge sge = { (uintptr_t)(reads ? to : from), length, mr->lkey };
	struct ibv_send_wr *bad, wr = {
		.opcode = opcode, .sg_list = &sge, .num_sge = 1,
		.wr.rdma = { .remote_addr = (uintptr_t)(reads ? from : to), .rkey = mr->rkey },
	};
	struct ibv_wc wc = { .status = IBV_WC_GENERAL_ERR };

	if (ibv_post_send(id->qp, &wr, &bad))
		return -EIO;
	if (!WAIT_FOR(ibv_poll_cq(id->send_cq, 1, &wc)))
		return -ETIME;
	return wc.status;
}

TEST_F(direct_io, registered_by_verbs)
{
	const enum ibv_wr_opcode opcodes[] = { IBV_WR_RDMA_READ, IBV_WR_RDMA_WRITE };
	const uint64_t length = HUGE / 2, from = HUGE - 3 * PAGE + 5, to = 7 * PAGE + 13;
	uint8_t *at = self->m.at;
	struct rdma_cm_id *ids[IDS];
	struct user u = { 0 };
	struct ibv_mr *mr;

	ASSERT_EQ(0, connect_users(&u, ids));
	mr = ibv_reg_mr(ids[CLIENT]->pd, at, LENGTH, IBV_ACCESS_LOCAL_WRITE |
			IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ);
	ASSERT_NE(NULL, mr);
	for (size_t i = 0; i < ARRAY_LEN(opcodes); i++) {
		/* What is written now is in the pages that the region has. */
		ASSERT_EQ(0, madvise(at, LENGTH, MADV_DONTNEED));
		fill(at, LENGTH, 2 + i);
		memcpy(self->bytes, at, LENGTH);
		memcpy(self->bytes + to, at + from, length);
		EXPECT_EQ(IBV_WC_SUCCESS, carry(ids[CLIENT], mr, opcodes[i], at + from, at + to, length));
		/* Over iWARP a write is complete when it is sent. */
		EXPECT_TRUE(WAIT_FOR(!memcmp(self->bytes, at, LENGTH))) TH_LOG("opcode %zu", i);
	}
	EXPECT_EQ(0, ibv_dereg_mr(mr));
	disconnect_users(&u, ids);
}

TEST_HARNESS_MAIN
