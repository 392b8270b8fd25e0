// SPDX-License-Identifier: GPL-2.0
/*
 * BUF_IMPORT: dma-bufs of other drivers (udmabuf, the system heap, vgem) are used like buffers,
 * as far as they allow it, and are given back.
 */
#include "drm.h"
#include "imported.h"
#include "owner.h"
#include "harness.h"

#include <sys/eventfd.h>

#define RDONLY	DMAPLANE_IMPORT_RDONLY

enum exporter { UDMABUF, HEAP, VGEM, EXPORTERS };

FIXTURE(import) {
	struct owner o;
	int drm, memfd;
};

#define LIMIT_MIB "/sys/module/dmaplane/parameters/max_context_mib"

static int set_limit(const char *mib)
{
	int fd = open(LIMIT_MIB, O_WRONLY | O_CLOEXEC);
	int ret = fd < 0 || write(fd, mib, strlen(mib)) < 0 ? -errno : 0;

	close(fd);
	return ret;
}

FIXTURE_SETUP(import)
{
	self->memfd = self->drm = -1;
	ASSERT_EQ(0, open_all(&self->o));
}

FIXTURE_TEARDOWN(import)
{
	EXPECT_EQ(0, set_limit("0"));
	close(self->memfd);
	close(self->drm);
	close_all(&self->o);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_TRUE(WAIT_FOR(live("buffers") == 0));
	EXPECT_EQ(0, live("imports"));
	EXPECT_EQ(0, live("memory_bytes"));
}

/* The result of an entry. */
static int result(struct owner *o, struct dmaplane_sqe sqe)
{
	struct dmaplane_cqe cqe;

	return channel_do(&o->c, &sqe, &cqe) ? -ETIME : cqe.res;
}

static int vgem_make(FIXTURE_DATA(import) *self, uint32_t flags)
{
	struct drm_mode_create_dumb made = { .width = 1024, .height = LENGTH / PAGE, .bpp = 32 };
	struct drm_prime_handle arg = { .flags = DRM_CLOEXEC | flags };

	if (self->drm < 0 && modprobe("vgem"))
		self->drm = open_drm("vgem");
	if (ioctl(self->drm, DRM_IOCTL_MODE_CREATE_DUMB, &made))
		return -errno;
	arg.handle = made.handle;
	return ioctl(self->drm, DRM_IOCTL_PRIME_HANDLE_TO_FD, &arg) ? -errno : arg.fd;
}

/* A dma-buf of LENGTH. */
static int make(FIXTURE_DATA(import) *self, enum exporter exporter)
{
	switch (exporter) {
	case UDMABUF:
		return udmabuf_make(LENGTH, &self->memfd);
	case HEAP:
		return heap_make(LENGTH, O_RDWR);
	default:
		return vgem_make(self, DRM_RDWR);
	}
}

static void like_any_buffer(struct __test_metadata *_metadata, FIXTURE_DATA(import) *self,
			    enum exporter exporter)
{
	struct owner *o = &self->o;
	int dmabuf = make(self, exporter);
	uint64_t nodes[MAX_NODES] = { 0 }, sum = 0;
	struct dmaplane_buf_import arg = ARG(buf_import, .fd = dmabuf);
	struct dmaplane_buf_query query;
	uint8_t *at;

	ASSERT_LE(0, dmabuf);
	at = map_at(dmabuf, LENGTH, 0);
	ASSERT_NE(MAP_FAILED, at);
	ASSERT_EQ(0, cmd(o->fd, DMAPLANE_IOC_BUF_IMPORT, &arg));
	EXPECT_NE(0, arg.handle);
	EXPECT_EQ(LENGTH, arg.length);
	EXPECT_EQ(DMAPLANE_VIA_VMAP, arg.via);
	EXPECT_EQ(1, live("imports"));
	EXPECT_EQ(1, fdinfo(o->fd, "imports"));

	ASSERT_EQ(0, buf_query(o->fd, arg.handle, &query, nodes));
	EXPECT_EQ(LENGTH, query.length);
	EXPECT_EQ(LENGTH / PAGE, query.pages);
	EXPECT_EQ(DMAPLANE_NODE_ANY, query.node);
	EXPECT_EQ(DMAPLANE_BUF_IMPORTED, query.create_flags);
	EXPECT_EQ(0, query.mappings);
	for (uint32_t node = 0; node < query.nr_nodes; node++)
		sum += nodes[node];
	EXPECT_EQ(query.pages, sum);

	/* Both ways, and what is between pages; its own mapping shows the same. */
	EXPECT_EQ(LENGTH, result(o, copy_buffer(o->buffer.handle, 0, arg.handle, 0, LENGTH)));
	EXPECT_EQ(LENGTH, first_wrong(at, LENGTH, 1));
	fill(at, LENGTH, 2);
	EXPECT_EQ(LENGTH, result(o, copy_buffer(arg.handle, 0, o->buffer.handle, 0, LENGTH)));
	EXPECT_EQ(LENGTH, first_wrong(o->at, LENGTH, 2));
	EXPECT_EQ(3, result(o, fill_buffer(arg.handle, PAGE - 1, 3, 0x77)));
	EXPECT_EQ(3, first_not(at + PAGE - 1, 3, 0x77));
	EXPECT_EQ(pattern(2, PAGE - 2), at[PAGE - 2]);
	EXPECT_EQ(pattern(2, PAGE + 2), at[PAGE + 2]);
	EXPECT_EQ(-ERANGE, result(o, fill_buffer(arg.handle, LENGTH - 1, 2, 0)));

	/* It needs neither descriptor nor mapping. */
	close(dmabuf);
	EXPECT_EQ(0, munmap(at, LENGTH));
	EXPECT_EQ(LENGTH, result(o, fill_buffer(arg.handle, 0, LENGTH, 0x33)));
	EXPECT_EQ(LENGTH, result(o, copy_buffer(arg.handle, 0, o->buffer.handle, 0, LENGTH)));
	EXPECT_EQ(LENGTH, first_not(o->at, LENGTH, 0x33));
	EXPECT_EQ(0, buf_destroy(o->fd, arg.handle));
	EXPECT_EQ(0, live("imports"));
}

TEST_F(import, udmabuf)
{
	like_any_buffer(_metadata, self, UDMABUF);
}

TEST_F(import, heap)
{
	like_any_buffer(_metadata, self, HEAP);
}

TEST_F(import, vgem)
{
	like_any_buffer(_metadata, self, VGEM);
}

/* Several buffers of one dma-buf are the same memory, each counted. */
TEST_F(import, more_than_once)
{
	struct owner *o = &self->o;
	int dmabuf = make(self, UDMABUF);
	int64_t before = live("memory_bytes");
	uint32_t one, two;

	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, buf_import(o->fd, dmabuf, 0, &one));
	ASSERT_EQ(0, buf_import(o->fd, dmabuf, RDONLY, &two));
	EXPECT_NE(one, two);
	EXPECT_EQ(2, live("imports"));
	EXPECT_EQ(before + 2 * (int64_t)LENGTH, live("memory_bytes"));
	EXPECT_EQ(LENGTH, result(o, copy_buffer(o->buffer.handle, 0, one, 0, LENGTH)));
	memset(o->at, 0, LENGTH);
	EXPECT_EQ(0, buf_destroy(o->fd, one));
	EXPECT_EQ(LENGTH, result(o, copy_buffer(two, 0, o->buffer.handle, 0, LENGTH)));
	EXPECT_EQ(LENGTH, first_wrong(o->at, LENGTH, 1));
	EXPECT_EQ(0, buf_destroy(o->fd, two));
	EXPECT_EQ(before, live("memory_bytes"));
	close(dmabuf);
}

/* The bytes of a page that is in it several times. */
TEST_F(import, a_page_many_times)
{
	struct {
		struct udmabuf_create_list head;
		struct udmabuf_create_item items[64];
	} list = { .head = { .flags = UDMABUF_FLAGS_CLOEXEC, .count = 64 } };
	int device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), first, dmabuf;
	struct owner *o = &self->o;
	uint32_t handle;

	ASSERT_LE(0, device);
	first = udmabuf_make(2 * PAGE, &self->memfd);
	ASSERT_LE(0, first);
	for (int i = 0; i < 64; i++)
		list.items[i] = (struct udmabuf_create_item){ .memfd = self->memfd,
							      .offset = i % 2 * PAGE, .size = PAGE };
	dmabuf = ioctl(device, UDMABUF_CREATE_LIST, &list);
	ASSERT_LE(0, dmabuf);
	close(device);
	ASSERT_EQ(0, buf_import(o->fd, dmabuf, 0, &handle));
	EXPECT_EQ(64 * PAGE, result(o, copy_buffer(o->buffer.handle, 0, handle, 0, 64 * PAGE)));
	EXPECT_EQ(64 * PAGE, result(o, copy_buffer(handle, 0, o->buffer.handle, PAGE, 64 * PAGE)));
	for (uint64_t i = 0; i < 64 * PAGE; i++)
		ASSERT_EQ(pattern(1, 62 * PAGE + i % (2 * PAGE)), o->at[PAGE + i]);
	EXPECT_EQ(2 * PAGE, result(o, copy_buffer(handle, 0, handle, 2 * PAGE, 2 * PAGE)));
	EXPECT_EQ(0, buf_destroy(o->fd, handle));
	close(dmabuf);
	close(first);
}

/* Who may only read a dma-buf does not write to it through us. */
static void read_only(struct __test_metadata *_metadata, FIXTURE_DATA(import) *self, int dmabuf)
{
	struct owner *o = &self->o;
	struct dmaplane_buf_query query;
	uint64_t nodes[MAX_NODES];
	uint32_t handle;
	uint8_t *at;

	ASSERT_LE(0, dmabuf);
	at = mmap(NULL, LENGTH, PROT_READ, MAP_SHARED, dmabuf, 0);
	ASSERT_NE(MAP_FAILED, at);
	EXPECT_EQ(-EACCES, buf_import(o->fd, dmabuf, 0, &handle));
	EXPECT_EQ(0, live("imports"));
	ASSERT_EQ(0, buf_import(o->fd, dmabuf, RDONLY, &handle));
	ASSERT_EQ(0, buf_query(o->fd, handle, &query, nodes));
	EXPECT_EQ(DMAPLANE_BUF_IMPORTED | DMAPLANE_BUF_RDONLY, query.create_flags);
	EXPECT_EQ(-EACCES, result(o, copy_buffer(o->buffer.handle, 0, handle, 0, PAGE)));
	EXPECT_EQ(-EACCES, result(o, fill_buffer(handle, 0, 1, 1)));
	EXPECT_EQ(LENGTH, first_not(at, LENGTH, 0));
	EXPECT_EQ(LENGTH, result(o, copy_buffer(handle, 0, o->buffer.handle, 0, LENGTH)));
	EXPECT_EQ(LENGTH, first_not(o->at, LENGTH, 0));
	EXPECT_EQ(0, buf_destroy(o->fd, handle));
	munmap(at, LENGTH);
	close(dmabuf);
}

/* What cannot be mapped, as it may not be read, is not imported either. */
TEST_F(import, write_only)
{
	int dmabuf = heap_make(LENGTH, O_WRONLY);
	uint32_t handle;

	ASSERT_LE(0, dmabuf);
	EXPECT_EQ(-EACCES, buf_import(self->o.fd, dmabuf, 0, &handle));
	EXPECT_EQ(-EACCES, buf_import(self->o.fd, dmabuf, RDONLY, &handle));
	EXPECT_EQ(0, live("imports"));
	close(dmabuf);
}

TEST_F(import, read_only_heap)
{
	read_only(_metadata, self, heap_make(LENGTH, O_RDONLY));
}

TEST_F(import, read_only_vgem)
{
	read_only(_metadata, self, vgem_make(self, 0));
}

/* Who may write can promise not to. */
TEST_F(import, read_only_by_choice)
{
	struct owner *o = &self->o;
	int dmabuf = make(self, UDMABUF);
	uint32_t handle;

	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, buf_import(o->fd, dmabuf, RDONLY, &handle));
	EXPECT_EQ(-EACCES, result(o, fill_buffer(handle, 0, 1, 1)));
	EXPECT_EQ(-EACCES, result(o, copy_buffer(o->buffer.handle, 0, handle, 0, 1)));
	EXPECT_EQ(LENGTH, result(o, copy_buffer(handle, 0, o->buffer.handle, 0, LENGTH)));
	EXPECT_EQ(LENGTH, first_not(o->at, LENGTH, 0));
	close(dmabuf);
}

/* It is not the module's to show, give away or move. */
TEST_F(import, not_for_others)
{
	struct owner *o = &self->o;
	uint64_t offset = o->buffer.offset / o->buffer.handle;
	int dmabuf = make(self, UDMABUF);
	uint32_t handle;

	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, buf_import(o->fd, dmabuf, 0, &handle));
	EXPECT_EQ(MAP_FAILED, map_at(o->fd, PAGE, handle * offset));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(-EOPNOTSUPP, buf_export(o->fd, handle, 0, 0, 0));
	EXPECT_EQ(-EOPNOTSUPP, channel_migrate(&o->c, handle, 0, 0));
	EXPECT_EQ(LENGTH, result(o, fill_buffer(handle, 0, LENGTH, 1)));
	close(dmabuf);
}

/* Its own comes back as what it is, by whichever way. */
TEST_F(import, of_our_own)
{
	struct owner *o = &self->o;
	struct drm_prime_handle arg = { .flags = DRM_CLOEXEC | DRM_RDWR };
	int64_t before = live("memory_bytes");
	int dmabuf = export(o, 0, 0, 0), readable, again, other;
	uint32_t handle;

	ASSERT_LE(0, dmabuf);
	readable = export(o, 0, PAGE, DMAPLANE_EXPORT_RDONLY);
	ASSERT_LE(0, readable);
	EXPECT_EQ(-ELOOP, buf_import(o->fd, dmabuf, 0, &handle));
	EXPECT_EQ(-ELOOP, buf_import(o->fd, readable, 0, &handle));
	EXPECT_EQ(-ELOOP, buf_import(o->fd, readable, RDONLY, &handle));
	other = open_device();
	ASSERT_LE(0, other);
	EXPECT_EQ(-ELOOP, buf_import(other, dmabuf, 0, &handle));
	close(other);
	/* Through another driver. */
	ASSERT_TRUE(modprobe("vgem"));
	self->drm = open_drm("vgem");
	ASSERT_LE(0, self->drm);
	arg.fd = dmabuf;
	ASSERT_EQ(0, ioctl(self->drm, DRM_IOCTL_PRIME_FD_TO_HANDLE, &arg));
	ASSERT_EQ(0, ioctl(self->drm, DRM_IOCTL_PRIME_HANDLE_TO_FD, &arg));
	again = arg.fd;
	EXPECT_EQ(-ELOOP, buf_import(o->fd, again, 0, &handle));
	EXPECT_EQ(before, live("memory_bytes"));
	EXPECT_EQ(0, live("imports"));
	close(again);
	close(readable);
	close(dmabuf);
}

TEST_F(import, wrong)
{
	struct owner *o = &self->o;
	int dmabuf = make(self, UDMABUF), event = eventfd(0, EFD_CLOEXEC), path, copy;
	int64_t before = live("memory_bytes");
	struct dmaplane_buf_import arg;
	uint32_t handle;

	ASSERT_LE(0, dmabuf);
	ASSERT_LE(0, event);
	path = open("/", O_PATH | O_CLOEXEC);
	ASSERT_LE(0, path);
	/* No file, not to be used, and other files. */
	EXPECT_EQ(-EBADF, buf_import(o->fd, -1, 0, &handle));
	EXPECT_EQ(-EBADF, buf_import(o->fd, INT32_MAX, 0, &handle));
	EXPECT_EQ(-EBADF, buf_import(o->fd, path, 0, &handle));
	copy = dup(dmabuf);
	ASSERT_LE(0, copy);
	close(copy);
	EXPECT_EQ(-EBADF, buf_import(o->fd, copy, 0, &handle));
	EXPECT_EQ(-EINVAL, buf_import(o->fd, event, 0, &handle));
	EXPECT_EQ(-EINVAL, buf_import(o->fd, o->fd, 0, &handle));
	EXPECT_EQ(-EINVAL, buf_import(o->fd, self->memfd, 0, &handle));

	EXPECT_EQ(-EINVAL, buf_import(o->fd, dmabuf, 2, &handle));
	EXPECT_EQ(-EINVAL, buf_import(o->fd, dmabuf, 1U << 31, &handle));
	arg = ARG(buf_import, .fd = dmabuf, .via = DMAPLANE_VIA_VMAP);
	EXPECT_EQ(-EINVAL, cmd(o->fd, DMAPLANE_IOC_BUF_IMPORT, &arg));
	arg = ARG(buf_import, .fd = dmabuf, .pad = 1);
	EXPECT_EQ(-EINVAL, cmd(o->fd, DMAPLANE_IOC_BUF_IMPORT, &arg));
	EXPECT_EQ(dmabuf, arg.fd);
	EXPECT_EQ(0, arg.handle);
	EXPECT_EQ(0, arg.length);

	EXPECT_EQ(before, live("memory_bytes"));
	EXPECT_EQ(1, live("buffers"));
	EXPECT_EQ(0, live("imports"));
	/* What is out is not looked at before. */
	arg = ARG(buf_import, .fd = dmabuf, .handle = 77, .length = 1);
	EXPECT_EQ(0, cmd(o->fd, DMAPLANE_IOC_BUF_IMPORT, &arg));
	EXPECT_EQ(LENGTH, arg.length);
	close(path);
	close(event);
	close(dmabuf);
}

/* It counts where root limits a context's memory. */
TEST_F(import, counted)
{
	struct owner *o = &self->o;
	int dmabuf = make(self, HEAP);
	int64_t before = live("memory_bytes");
	uint32_t handle, other;

	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, set_limit("5"));
	EXPECT_EQ(0, buf_import(o->fd, dmabuf, 0, &handle));
	EXPECT_EQ(-EDQUOT, buf_import(o->fd, dmabuf, 0, &other));
	EXPECT_EQ(before + (int64_t)LENGTH, live("memory_bytes"));
	EXPECT_EQ(1, live("imports"));
	EXPECT_EQ(0, buf_destroy(o->fd, handle));
	EXPECT_EQ(0, buf_import(o->fd, dmabuf, 0, &handle));
	close(dmabuf);
}

static int without_memory(void *arg)
{
	const struct rlimit limit = { 0, 0 };
	int fd = open_device(), dmabuf = *(int *)arg;
	struct buffer buffer;
	uint32_t handle;

	if (fd < 0)
		return 1;
	if (setrlimit(RLIMIT_MEMLOCK, &limit) || setuid(12345))
		return 2;
	if (buf_create(fd, PAGE, &buffer) != -EDQUOT)
		return 3;
	return buf_import(fd, dmabuf, 0, &handle) == -EDQUOT ? 0 : 4;
}

/* It stays where it is, and so does memory that is made. */
TEST_F(import, charged)
{
	int dmabuf = make(self, UDMABUF);

	ASSERT_LE(0, dmabuf);
	fflush(NULL);
	EXPECT_EQ(0, in_child(without_memory, &dmabuf));
	EXPECT_TRUE(WAIT_FOR(live("imports") == 0));
	close(dmabuf);
}

/* The handles run out: what was begun is ended. */
TEST_F(import, no_handle_left)
{
	struct owner *o = &self->o;
	int dmabuf = make(self, UDMABUF);
	struct dmaplane_info info;
	struct buffer buffer;
	uint32_t handle;

	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, get_info(o->fd, &info));
	EXPECT_TRUE(info.features & DMAPLANE_FEATURE_IMPORT);
	/* The fixture has a buffer and a channel. */
	for (uint32_t i = 2; i < info.max_objects; i++)
		ASSERT_EQ(0, buf_create(o->fd, PAGE, &buffer));
	EXPECT_EQ(-EMFILE, buf_import(o->fd, dmabuf, 0, &handle));
	EXPECT_EQ(0, live("imports"));
	EXPECT_EQ(0, buf_destroy(o->fd, buffer.handle));
	EXPECT_EQ(0, buf_import(o->fd, dmabuf, 0, &handle));
	close(dmabuf);
}

/* The end of a context, and of its process, ends it; the dma-buf is its maker's. */
static int killed(void *arg)
{
	int fd = open_device(), dmabuf = *(int *)arg;
	uint32_t handle;
	struct channel c;
	struct dmaplane_cqe cqe;
	struct dmaplane_sqe sqe;

	if (fd < 0 || channel_open(fd, 8, 8, &c) || buf_import(fd, dmabuf, 0, &handle))
		return 1;
	close(dmabuf);
	sqe = fill_buffer(handle, 0, LENGTH, 0x44);
	if (channel_do(&c, &sqe, &cqe) || cqe.res != (int)LENGTH)
		return 2;
	raise(SIGKILL);
	return 3;
}

TEST_F(import, importer_killed)
{
	int dmabuf = make(self, HEAP), status;
	uint8_t *at;

	ASSERT_LE(0, dmabuf);
	fflush(NULL);
	status = in_child(killed, &dmabuf);
	ASSERT_TRUE(WIFSIGNALED(status)) {
		TH_LOG("status %x", status);
	}
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	EXPECT_TRUE(WAIT_FOR(live("imports") == 0));
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 1));
	at = map_at(dmabuf, LENGTH, 0);
	ASSERT_NE(MAP_FAILED, at);
	EXPECT_EQ(LENGTH, first_not(at, LENGTH, 0x44));
	munmap(at, LENGTH);
	close(dmabuf);
}

TEST_HARNESS_MAIN
