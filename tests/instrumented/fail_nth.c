// SPDX-License-Identifier: GPL-2.0
/*
 * Every command that needs no peer, and the system calls of the file: each of their
 * faults, one by one. See sweep.h; fail_nth_cm.c and fail_nth_data.c have the others.
 */
#include "imported.h"
#include "sweep.h"
#include "harness.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#define PAGES	40

/* ---- INFO, STATS, FABRIC_LIST ----------------------------------------------- */

static int info(struct world *w)
{
	struct dmaplane_info arg;
	int ret = get_info(w->fd, &arg);

	return ret ?: arg.abi == DMAPLANE_ABI_VERSION ? 0 : -EDOM;
}

static int stats(struct world *w)
{
	struct dmaplane_stats arg;
	int ret = get_stats(w->fd, &arg);

	return ret ?: arg.buffers == 0 ? 0 : -EDOM;
}

static int fabric_list(struct world *w)
{
	struct dmaplane_fabric fabrics[8];
	struct dmaplane_fabric_list arg = ARG(fabric_list, .fabrics = (uintptr_t)fabrics,
					      .count = ARRAY_LEN(fabrics));
	int ret = cmd(w->fd, DMAPLANE_IOC_FABRIC_LIST, &arg);

	return ret ?: arg.count == 2 && fabrics[0].name[0] && fabrics[1].name[0] ? 0 : -EDOM;
}

/* ---- Buffers ----------------------------------------------------------------- */

static int create(struct world *w)
{
	return buf_create(w->fd, PAGES * 4096, &w->buffer);
}

static int create_strict(struct world *w)
{
	return buf_create_at(w->fd, 4096, 0, DMAPLANE_BUF_NODE_STRICT, &w->buffer);
}

static int create_huge(struct world *w)
{
	return buf_create_at(w->fd, DMAPLANE_HUGE_SIZE, DMAPLANE_NODE_ANY, DMAPLANE_BUF_HUGE,
			     &w->buffer);
}

static int open_with_buffer(struct world *w)
{
	CHECK_IS(0, open_context(w));
	CHECK_IS(0, create(w));
	return 0;
}

static int buffer_works(struct world *w)
{
	uint8_t *at = buf_map(w->fd, &w->buffer);

	CHECK(at != MAP_FAILED);
	CHECK(first_not(at, w->buffer.length, 0) == w->buffer.length);
	munmap(at, w->buffer.length);
	return 0;
}

static int buffer_gone(struct world *w)
{
	CHECK_IS(-ENOENT, buf_destroy(w->fd, w->buffer.handle));
	return 0;
}

static int ask(struct world *w)
{
	struct dmaplane_buf_query arg;
	uint64_t nodes[MAX_NODES];
	int ret = buf_query(w->fd, w->buffer.handle, &arg, nodes);

	return ret ?: arg.pages == PAGES && nodes[0] == PAGES ? 0 : -EDOM;
}

static int destroy(struct world *w)
{
	return buf_destroy(w->fd, w->buffer.handle);
}

/* ---- mmap(2) ------------------------------------------------------------------ */

static long mappings(struct world *w)
{
	struct dmaplane_buf_query arg;
	uint64_t nodes[MAX_NODES];
	int ret = buf_query(w->fd, w->buffer.handle, &arg, nodes);

	return ret ?: (long)arg.mappings;
}

static int map(struct world *w)
{
	w->at = buf_map(w->fd, &w->buffer);
	return w->at == MAP_FAILED ? -errno : 0;
}

static enum outcome map_failed(struct world *w, int error)
{
	(void)error;
	return mappings(w) == 0 ? REPEAT : WRONG;
}

static int map_works(struct world *w)
{
	CHECK_IS(1, mappings(w));
	CHECK(first_not(w->at, w->buffer.length, 0) == w->buffer.length);
	fill(w->at, w->buffer.length, 1);
	return 0;
}

static int unmap(struct world *w)
{
	CHECK_IS(0, munmap(w->at, w->buffer.length));
	CHECK_IS(0, mappings(w));
	return close_context(w);
}

/* ---- BUF_EXPORT and mmap(2) of a dma-buf ----------------------------------------- */

#define EXPORTED	((PAGES - 1) * 4096ULL)

static int open_to_export(struct world *w)
{
	w->other = -1;
	return open_with_buffer(w);
}

static int export_with(struct world *w, uint32_t flags)
{
	w->other = buf_export(w->fd, w->buffer.handle, 4096, 0, flags);
	return w->other < 0 ? w->other : 0;
}

static int export(struct world *w)
{
	return export_with(w, 0);
}

static int export_readable(struct world *w)
{
	return export_with(w, DMAPLANE_EXPORT_RDONLY);
}

static int export_works(struct world *w)
{
	void *at = mmap(NULL, EXPORTED, PROT_READ, MAP_SHARED, w->other, 0);

	CHECK(lseek(w->other, 0, SEEK_END) == EXPORTED);
	CHECK(at != MAP_FAILED);
	CHECK(first_not(at, EXPORTED, 0) == EXPORTED);
	munmap(at, EXPORTED);
	return 0;
}

static int open_exported(struct world *w)
{
	CHECK_IS(0, open_to_export(w));
	return export(w);
}

static int map_export(struct world *w)
{
	w->at = map_at(w->other, EXPORTED, 0);
	return w->at == MAP_FAILED ? -errno : 0;
}

static int map_export_works(struct world *w)
{
	CHECK_IS(1, mappings(w));
	CHECK(first_not(w->at, EXPORTED, 0) == EXPORTED);
	fill(w->at, EXPORTED, 1);
	CHECK_IS(0, munmap(w->at, EXPORTED));
	CHECK_IS(0, mappings(w));
	return 0;
}

static int close_exported(struct world *w)
{
	if (w->other >= 0)
		close(w->other);
	return close_context(w);
}

/* ---- BUF_SHARE and BUF_OPEN -------------------------------------------------------- */

#define ALL_RIGHTS	(DMAPLANE_SHARE_READ | DMAPLANE_SHARE_WRITE | DMAPLANE_SHARE_REMOTE)

static int share(struct world *w)
{
	w->other = buf_share(w->fd, w->buffer.handle, ALL_RIGHTS);
	return w->other < 0 ? w->other : 0;
}

static int share_works(struct world *w)
{
	struct buffer again;

	CHECK_IS(1, live("shares"));
	CHECK_IS(0, buf_open(w->fd, w->other, ALL_RIGHTS, &again));
	CHECK_IS(0, buf_destroy(w->fd, again.handle));
	return 0;
}

static int open_shared(struct world *w)
{
	CHECK_IS(0, open_to_export(w));
	return share(w);
}

static int open_share(struct world *w)
{
	struct buffer again;
	int ret = buf_open(w->fd, w->other, ALL_RIGHTS, &again);

	if (ret)
		return ret;
	w->at = buf_map(w->fd, &again);
	ret = w->at == MAP_FAILED ? -errno : 0;
	if (ret)
		buf_destroy(w->fd, again.handle);
	return ret;
}

static int open_share_works(struct world *w)
{
	CHECK(first_not(w->at, w->buffer.length, 0) == w->buffer.length);
	CHECK_IS(0, munmap(w->at, w->buffer.length));
	return 0;
}

/* ---- BUF_PIN ---------------------------------------------------------------------- */

#define PINNED	(PAGES * 4096ULL)

static int open_to_pin(struct world *w)
{
	CHECK_IS(0, open_context(w));
	w->at = mmap(NULL, PINNED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(w->at != MAP_FAILED);
	return 0;
}

/* Memory that is not there yet. */
static int pin(struct world *w)
{
	struct dmaplane_buf_pin arg = ARG(buf_pin, .addr = (uintptr_t)w->at, .length = PINNED);
	int ret = cmd(w->fd, DMAPLANE_IOC_BUF_PIN, &arg);

	w->buffer.handle = arg.handle;
	return ret;
}

static int pin_works(struct world *w)
{
	CHECK(first_not(w->at, PINNED, 0) == PINNED);
	CHECK_IS(0, buf_destroy(w->fd, w->buffer.handle));
	return 0;
}

static int close_pinned(struct world *w)
{
	munmap(w->at, PINNED);
	return close_context(w);
}

/* ---- BUF_IMPORT -------------------------------------------------------------------- */

#define IMPORTED	(PAGES * 4096ULL)

static int open_to_import(struct world *w)
{
	CHECK_IS(0, open_context(w));
	CHECK_IS(0, channel_open(w->fd, 8, 8, &w->ch));
	w->other = heap_make(IMPORTED, O_RDWR);
	CHECK(w->other >= 0);
	return 0;
}

static int import(struct world *w)
{
	return buf_import(w->fd, w->other, 0, &w->buffer.handle);
}

static int import_works(struct world *w)
{
	struct dmaplane_sqe sqe = fill_buffer(w->buffer.handle, 0, IMPORTED, 0x5a);
	struct dmaplane_cqe cqe;
	void *at = map_at(w->other, IMPORTED, 0);

	CHECK(at != MAP_FAILED);
	CHECK_IS(1, live("imports"));
	CHECK_IS(0, channel_do(&w->ch, &sqe, &cqe));
	CHECK_IS(IMPORTED, cqe.res);
	CHECK(first_not(at, IMPORTED, 0x5a) == IMPORTED);
	CHECK_IS(0, munmap(at, IMPORTED));
	CHECK_IS(0, buf_destroy(w->fd, w->buffer.handle));
	CHECK_IS(0, live("imports"));
	return 0;
}

static int close_imported(struct world *w)
{
	close(w->other);
	CHECK_IS(0, channel_close(&w->ch));
	return close_context(w);
}

/* ---- BUF_MIGRATE ------------------------------------------------------------------ */

/* To the node where all of it is: a machine with faults has one. */
static int migrate(struct world *w)
{
	struct dmaplane_buf_migrate arg = ARG(buf_migrate, .handle = w->buffer.handle);
	int ret = cmd(w->fd, DMAPLANE_IOC_BUF_MIGRATE, &arg);

	if (!ret)
		CHECK_IS(0, arg.moved);
	return ret;
}

/* ---- Channels ------------------------------------------------------------------- */

static int channel_make_with(struct world *w, uint32_t flags)
{
	struct dmaplane_channel_create arg = ARG(channel_create, .flags = flags,
						 .sq_entries = 256, .cq_entries = 256);
	int ret = cmd(w->fd, DMAPLANE_IOC_CHANNEL_CREATE, &arg);

	w->handle = arg.handle;
	w->buffer = (struct buffer){ arg.handle, arg.mmap_length, arg.mmap_offset };
	return ret;
}

static int channel_make(struct world *w)
{
	return channel_make_with(w, 0);
}

/* With a thread, which is not left behind by one that cannot be made. */
static int channel_make_polled(struct world *w)
{
	return channel_make_with(w, DMAPLANE_CHANNEL_SQPOLL);
}

static int polled_ring_works(struct world *w)
{
	struct dmaplane_ring *ring = buf_map(w->fd, &w->buffer);

	CHECK((void *)ring != MAP_FAILED);
	/* Zeros are NOPs. */
	__atomic_store_n(&ring->sq_tail, 3, __ATOMIC_RELEASE);
	CHECK(WAIT_FOR(__atomic_load_n(&ring->cq_tail, __ATOMIC_ACQUIRE) == 3));
	CHECK_IS(0, munmap(ring, w->buffer.length));
	return 0;
}

static int ring_works(struct world *w)
{
	struct dmaplane_ring *ring = buf_map(w->fd, &w->buffer);

	CHECK((void *)ring != MAP_FAILED);
	CHECK_IS(255, ring->sq_mask);
	CHECK_IS(0, munmap(ring, w->buffer.length));
	return 0;
}

static int open_with_ring(struct world *w)
{
	CHECK_IS(0, open_context(w));
	CHECK_IS(0, channel_make(w));
	return 0;
}

static int ring_map_works(struct world *w)
{
	struct dmaplane_ring *ring = w->at;

	CHECK_IS(255, ring->cq_mask);
	CHECK_IS(0, munmap(ring, w->buffer.length));
	return 0;
}

static int channel_end(struct world *w)
{
	return end(w->fd, DMAPLANE_IOC_CHANNEL_CLOSE, w->handle);
}

static int channel_gone(struct world *w)
{
	CHECK_IS(-ENOENT, channel_end(w));
	return 0;
}

/* ---- CHANNEL_ENTER with NOP ------------------------------------------------------ */

#define NOPS 3

static int open_with_entries(struct world *w)
{
	CHECK_IS(0, open_context(w));
	CHECK_IS(0, channel_open(w->fd, 8, 8, &w->ch));
	for (int i = 0; i < NOPS; i++)
		CHECK_IS(0, channel_push_nop(&w->ch, i));
	return 0;
}

static int enter(struct world *w)
{
	int ret = channel_enter(&w->ch, NOPS, NOPS, PATIENCE);

	return ret < 0 ? ret : ret == NOPS ? 0 : -EDOM;
}

static int nops_done(struct world *w)
{
	struct dmaplane_stats stats;
	struct dmaplane_cqe cqe;

	for (int i = 0; i < NOPS; i++) {
		CHECK(channel_reap(&w->ch, &cqe));
		CHECK_IS(i, cqe.user_data);
		CHECK_IS(0, cqe.res);
	}
	CHECK(!channel_reap(&w->ch, &cqe));
	CHECK_IS(0, get_stats(w->fd, &stats));
	CHECK_IS(NOPS, stats.submitted);
	CHECK_IS(NOPS, stats.completed);
	return 0;
}

static int close_with_channel(struct world *w)
{
	munmap(w->ch.ring, w->ch.length);
	return close_context(w);
}

static enum outcome enter_failed(struct world *w, int error)
{
	(void)error;
	return load_acquire(&w->ch.ring->sq_head) == 0 ? REPEAT : WRONG;
}

/* ---- Entries that are kept until they can begin ------------------------------------- */

#define KEPT	6
#define FILLED	(1 << 20)

static int open_with_chain(struct world *w)
{
	struct dmaplane_sqe sqes[KEPT];

	CHECK_IS(0, open_context(w));
	CHECK_IS(0, buf_create(w->fd, FILLED, &w->buffer));
	CHECK_IS(0, channel_open(w->fd, 8, 8, &w->ch));
	sqes[0] = fill_buffer(w->buffer.handle, 0, FILLED, 1);
	sqes[0].flags = DMAPLANE_SQE_LINK;
	sqes[1] = nop(1, DMAPLANE_SQE_LINK);
	sqes[2] = nop(2, 0);
	sqes[3] = nop(3, DMAPLANE_SQE_DRAIN | DMAPLANE_SQE_LINK);
	sqes[4] = nop(4, 0);
	sqes[5] = nop(5, 0);
	for (int i = 0; i < KEPT; i++)
		CHECK_IS(0, channel_push(&w->ch, &sqes[i]));
	return 0;
}

static int enter_chain(struct world *w)
{
	int ret = channel_enter(&w->ch, KEPT, KEPT, PATIENCE);

	return ret < 0 ? ret : ret == KEPT ? 0 : -EDOM;
}

/* Each is complete. One that there was no memory for takes with it what depends on it. */
static int chain_done(struct world *w)
{
	struct dmaplane_stats stats;
	struct dmaplane_cqe cqe;
	int res[KEPT], seen = 0;

	for (int i = 0; i < KEPT; i++) {
		CHECK(channel_reap(&w->ch, &cqe));
		CHECK(cqe.user_data < KEPT);
		CHECK(!(seen & 1 << cqe.user_data));
		seen |= 1 << cqe.user_data;
		res[cqe.user_data] = cqe.res;
		CHECK(cqe.res == (cqe.user_data ? 0 : FILLED) || cqe.res == -ENOMEM ||
		      cqe.res == -ECANCELED);
	}
	CHECK(!channel_reap(&w->ch, &cqe));
	CHECK(res[0] >= 0 || res[1] < 0);
	CHECK(res[1] >= 0 || res[2] < 0);
	CHECK(res[3] >= 0 || res[4] < 0);
	CHECK(res[5] != -ECANCELED);
	CHECK_IS(0, get_stats(w->fd, &stats));
	CHECK_IS(KEPT, stats.submitted);
	CHECK_IS(KEPT, stats.completed);
	return 0;
}

/* ---- MIGRATE ---------------------------------------------------------------------- */

static int open_with_migrate(struct world *w)
{
	struct dmaplane_sqe sqe;

	CHECK_IS(0, open_context(w));
	CHECK_IS(0, buf_create(w->fd, FILLED, &w->buffer));
	CHECK_IS(0, channel_open(w->fd, 8, 8, &w->ch));
	sqe = migrate_buffer(w->buffer.handle, 0, 0);
	return channel_push(&w->ch, &sqe);
}

static int enter_migrate(struct world *w)
{
	int ret = channel_enter(&w->ch, 1, 1, PATIENCE);

	return ret < 0 ? ret : ret == 1 ? 0 : -EDOM;
}

static int migrate_done(struct world *w)
{
	struct dmaplane_cqe cqe;

	CHECK(channel_reap(&w->ch, &cqe));
	CHECK(cqe.res >= 0 || cqe.res == -ENOMEM);
	CHECK(!channel_reap(&w->ch, &cqe));
	return 0;
}

/* ---- CHANNEL_FILE and what its file does ------------------------------------------- */

static int open_with_nops(struct world *w)
{
	w->other = -1;
	return open_with_entries(w);
}

static int file_make(struct world *w)
{
	w->other = channel_file(&w->ch);
	return w->other < 0 ? w->other : 0;
}

static int file_works(struct world *w)
{
	CHECK_IS(NOPS, file_enter(w->other, NOPS));
	return nops_done(w);
}

static int open_with_file(struct world *w)
{
	CHECK_IS(0, open_with_nops(w));
	return file_make(w);
}

static int seek(struct world *w)
{
	int ret = file_enter(w->other, NOPS);

	return ret < 0 ? ret : ret == NOPS ? 0 : -EDOM;
}

static int poll_file(struct world *w)
{
	int events = poll_now(w->other);

	return events < 0 ? events : events ? -EDOM : 0;
}

static int map_file(struct world *w)
{
	w->at = map_at(w->other, 4096, 0);
	return w->at == MAP_FAILED ? -errno : 0;
}

static int file_map_works(struct world *w)
{
	CHECK_IS(7, ((struct dmaplane_ring *)w->at)->sq_mask);
	munmap(w->at, 4096);
	return file_works(w);
}

static int close_with_file(struct world *w)
{
	if (w->other >= 0)
		close(w->other);
	return close_with_channel(w);
}

/* ---- CHANNEL_EVENTFD --------------------------------------------------------------- */

static int open_with_event(struct world *w)
{
	CHECK_IS(0, open_with_nops(w));
	w->other = eventfd(0, EFD_CLOEXEC);
	return w->other < 0 ? -errno : 0;
}

static int event_set(struct world *w)
{
	return channel_eventfd(&w->ch, w->other);
}

static int event_works(struct world *w)
{
	uint64_t count = 0;

	CHECK_IS(NOPS, channel_enter(&w->ch, NOPS, NOPS, 0));
	CHECK_IS(sizeof(count), read(w->other, &count, sizeof(count)));
	return nops_done(w);
}

/* ---- poll(2), epoll_ctl(2) --------------------------------------------------------- */

static int open_with_completion(struct world *w)
{
	CHECK_IS(0, open_context(w));
	CHECK_IS(0, channel_open(w->fd, 8, 8, &w->ch));
	CHECK_IS(0, channel_push_nop(&w->ch, 1));
	CHECK_IS(1, channel_enter(&w->ch, 1, 0, 0));
	return 0;
}

static int poll_once(struct world *w)
{
	int events = poll_now(w->fd);

	return events < 0 ? events : events == POLLIN ? 0 : -EDOM;
}

static int open_with_epoll(struct world *w)
{
	CHECK_IS(0, open_context(w));
	CHECK_IS(0, channel_open(w->fd, 8, 8, &w->ch));
	w->other = epoll_create1(EPOLL_CLOEXEC);
	CHECK(w->other >= 0);
	return 0;
}

static int epoll_add(struct world *w)
{
	struct epoll_event event = { .events = EPOLLIN };

	return epoll_ctl(w->other, EPOLL_CTL_ADD, w->fd, &event) ? -errno : 0;
}

/* It is told of what happens later. */
static int epoll_works(struct world *w)
{
	struct epoll_event event;

	CHECK_IS(0, epoll_wait(w->other, &event, 1, 0));
	CHECK_IS(0, channel_push_nop(&w->ch, 1));
	CHECK_IS(1, channel_enter(&w->ch, 1, 0, 0));
	CHECK_IS(1, epoll_wait(w->other, &event, 1, 0));
	CHECK_IS(EPOLLIN, event.events);
	return 0;
}

static int close_with_epoll(struct world *w)
{
	close(w->other);
	return close_with_channel(w);
}

/* ---- open(2), close(2) -------------------------------------------------------------------- */

static int open_it(struct world *w)
{
	w->fd = open_device();
	return w->fd < 0 ? w->fd : 0;
}

static int close_it(struct world *w)
{
	return close(w->fd) ? -errno : 0;
}

static int nothing_open(struct world *w)
{
	(void)w;
	CHECK(WAIT_FOR(live("contexts") == 0));
	return 0;
}

static const struct op ops[] = {
	{ "INFO", open_context, info, NULL, close_context },
	{ "STATS", open_context, stats, NULL, close_context },
	{ "FABRIC_LIST", open_context, fabric_list, NULL, close_context },
	{ "BUF_CREATE", open_context, create, buffer_works, close_context },
	{ "BUF_CREATE strict", open_context, create_strict, buffer_works, close_context,
	  .errors = { ENOSPC } },
	{ "BUF_CREATE of blocks", open_context, create_huge, buffer_works, close_context,
	  .errors = { ENOBUFS } },
	{ "BUF_QUERY", open_with_buffer, ask, NULL, close_context },
	{ "BUF_DESTROY", open_with_buffer, destroy, buffer_gone, close_context },
	{ "mmap of a buffer", open_with_buffer, map, map_works, unmap, map_failed },
	{ "BUF_EXPORT", open_to_export, export, export_works, close_exported },
	{ "BUF_EXPORT, RDONLY", open_to_export, export_readable, export_works, close_exported },
	{ "mmap of a dma-buf", open_exported, map_export, map_export_works, close_exported,
	  map_failed },
	{ "BUF_SHARE", open_to_export, share, share_works, close_exported },
	{ "BUF_OPEN", open_shared, open_share, open_share_works, close_exported },
	{ "BUF_PIN", open_to_pin, pin, pin_works, close_pinned },
	{ "BUF_IMPORT", open_to_import, import, import_works, close_imported },
	{ "BUF_MIGRATE", open_with_buffer, migrate, NULL, close_context },
	{ "CHANNEL_CREATE", open_context, channel_make, ring_works, close_context },
	{ "CHANNEL_CREATE, SQPOLL", open_context, channel_make_polled, polled_ring_works,
	  close_context },
	{ "CHANNEL_CLOSE", open_with_ring, channel_end, channel_gone, close_context },
	{ "mmap of a channel", open_with_ring, map, ring_map_works, close_context },
	{ "CHANNEL_ENTER, NOP", open_with_entries, enter, nops_done, close_with_channel,
	  enter_failed },
	{ "CHANNEL_ENTER, LINK and DRAIN", open_with_chain, enter_chain, chain_done,
	  close_with_channel, enter_failed },
	{ "CHANNEL_ENTER, MIGRATE", open_with_migrate, enter_migrate, migrate_done,
	  close_with_channel, enter_failed },
	{ "CHANNEL_FILE", open_with_nops, file_make, file_works, close_with_file },
	{ "lseek of a channel's file", open_with_file, seek, nops_done, close_with_file,
	  .infallible = true },
	{ "poll of a channel's file", open_with_file, poll_file, file_works, close_with_file },
	{ "mmap of a channel's file", open_with_file, map_file, file_map_works, close_with_file },
	{ "CHANNEL_EVENTFD", open_with_event, event_set, event_works, close_with_file,
	  .infallible = true },
	{ "poll", open_with_completion, poll_once, NULL, close_with_channel },
	{ "epoll_ctl", open_with_epoll, epoll_add, epoll_works, close_with_epoll },
	{ "open", NULL, open_it, NULL, close_context },
	{ "close", open_with_buffer, close_it, nothing_open, .infallible = true },
};

TEST(objects_and_files)
{
	struct world w = { 0 };

	if (!faults_possible())
		SKIP(return, "this kernel has no fault injection");
	ASSERT_EQ(0, faults_ready());
	for (unsigned int i = 0; i < ARRAY_LEN(ops); i++)
		EXPECT_EQ(0, sweep(&ops[i], &w));
}

TEST_HARNESS_MAIN
