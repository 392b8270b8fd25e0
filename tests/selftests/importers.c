// SPDX-License-Identifier: GPL-2.0
/*
 * dma-bufs of buffers in other drivers of the kernel: vgem, which attaches and has fences,
 * and vivid, a camera that has the frames that it makes written to them, by the kernel's mapping
 * of one (its first device) or with one for the device as well (its second).
 */
#include "ring.h"
#include "harness.h"

#include <drm/drm.h>
#include <drm/vgem_drm.h>
#include <glob.h>
#include <linux/videodev2.h>

#define PAGE	4096ULL
#define LENGTH	(2ULL << 20)

/* Whose buffer it is. */
struct owner {
	int fd;
	struct channel c;
	struct buffer buffer;
	uint8_t *at;
};

static int open_all(struct owner *o)
{
	int ret;

	o->fd = open_device();
	if (o->fd < 0)
		return o->fd;
	ret = channel_open(o->fd, 8, 8, &o->c);
	if (!ret)
		ret = buf_create_at(o->fd, LENGTH, 0, 0, &o->buffer);
	if (ret)
		return ret;
	o->at = buf_map(o->fd, &o->buffer);
	if (o->at == MAP_FAILED)
		return -errno;
	fill(o->at, LENGTH, 1);
	return 0;
}

static void close_all(struct owner *o)
{
	if (o->fd < 0)
		return;
	munmap(o->at, LENGTH);
	munmap(o->c.ring, o->c.length);
	close(o->fd);
	o->fd = -1;
}

static int export(const struct owner *o, uint64_t offset, uint64_t length, uint32_t flags)
{
	return buf_export(o->fd, o->buffer.handle, offset, length, flags);
}

/* Moves the buffer to where it is; its result. */
static int migrate(struct owner *o)
{
	return channel_migrate(&o->c, o->buffer.handle, 0, 0);
}

static bool modprobe(const char *what)
{
	char command[256];

	snprintf(command, sizeof(command), "modprobe -q %s", what);
	return system(command) == 0;
}

/* ---- vgem ---------------------------------------------------------------------- */

static int open_drm(const char *driver)
{
	for (int minor = 0; minor < 8; minor++) {
		char path[64], name[32] = "";
		struct drm_version version = { .name = name, .name_len = sizeof(name) - 1 };
		int fd;

		snprintf(path, sizeof(path), "/dev/dri/card%d", minor);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (!ioctl(fd, DRM_IOCTL_VERSION, &version) && !strcmp(name, driver))
			return fd;
		close(fd);
	}
	return -ENODEV;
}

static int import(int drm, int dmabuf, uint32_t *handle)
{
	struct drm_prime_handle arg = { .fd = dmabuf };

	if (ioctl(drm, DRM_IOCTL_PRIME_FD_TO_HANDLE, &arg))
		return -errno;
	*handle = arg.handle;
	return 0;
}

static int export_again(int drm, uint32_t handle)
{
	struct drm_prime_handle arg = { .handle = handle, .flags = DRM_CLOEXEC | DRM_RDWR };

	return ioctl(drm, DRM_IOCTL_PRIME_HANDLE_TO_FD, &arg) ? -errno : arg.fd;
}

FIXTURE(vgem) {
	struct owner o;
	int drm;
};

FIXTURE_SETUP(vgem)
{
	if (modprobe("vgem"))
		self->drm = open_drm("vgem");
	else
		self->drm = -ENODEV;
	self->o.fd = -1;
	if (self->drm < 0)
		SKIP(return, "there is no vgem");
	ASSERT_EQ(0, open_all(&self->o));
}

FIXTURE_TEARDOWN(vgem)
{
	close_all(&self->o);
	if (self->drm >= 0)
		close(self->drm);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_TRUE(WAIT_FOR(live("buffers") == 0));
}

/* It keeps the memory when all others have gone, and gives back what it was given. */
TEST_F(vgem, keeps_the_memory)
{
	int dmabuf = export(&self->o, 3 * PAGE, 0, 0), again;
	uint32_t handle, same;
	uint8_t *at;

	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, import(self->drm, dmabuf, &handle));
	ASSERT_EQ(0, import(self->drm, dmabuf, &same));
	EXPECT_EQ(handle, same);
	/* Attached it may move. */
	EXPECT_EQ(0, migrate(&self->o));
	close(dmabuf);
	close_all(&self->o);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(1, live("buffers"));
	again = export_again(self->drm, handle);
	ASSERT_LE(0, again);
	EXPECT_EQ(LENGTH - 3 * PAGE, lseek(again, 0, SEEK_END));
	at = map_at(again, LENGTH - 3 * PAGE, 0);
	ASSERT_NE(MAP_FAILED, at);
	close(again);
	for (uint64_t i = 0; i < LENGTH - 3 * PAGE; i++)
		ASSERT_EQ(pattern(1, 3 * PAGE + i), at[i]);
	close(self->drm);
	self->drm = -1;
	EXPECT_EQ(1, live("buffers"));
	munmap(at, LENGTH - 3 * PAGE);
	EXPECT_TRUE(WAIT_FOR(live("buffers") == 0));
}

/*
 * Where the device's file will show the next object of LENGTH bytes: where it showed one
 * that has gone. It says that of its own objects only.
 */
static uint64_t next_offset(int drm)
{
	struct drm_mode_create_dumb made = { .width = 1024, .height = LENGTH / PAGE, .bpp = 32 };
	struct drm_mode_map_dumb shown = { 0 };
	struct drm_mode_destroy_dumb gone = { 0 };

	if (ioctl(drm, DRM_IOCTL_MODE_CREATE_DUMB, &made))
		return 0;
	shown.handle = gone.handle = made.handle;
	if (ioctl(drm, DRM_IOCTL_MODE_MAP_DUMB, &shown) ||
	    ioctl(drm, DRM_IOCTL_MODE_DESTROY_DUMB, &gone))
		return 0;
	return shown.offset;
}

/* An importer may show it in a file of its own. */
TEST_F(vgem, shown_by_its_file)
{
	uint64_t offset = next_offset(self->drm);
	int dmabuf = export(&self->o, 0, 0, 0);
	uint32_t handle;
	uint8_t *at;

	ASSERT_NE(0, offset);
	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, import(self->drm, dmabuf, &handle));
	close(dmabuf);
	at = map_at(self->drm, LENGTH, offset);
	ASSERT_NE(MAP_FAILED, at);
	EXPECT_EQ(LENGTH, first_wrong(at, LENGTH, 1));
	fill(at, LENGTH, 2);
	EXPECT_EQ(LENGTH, first_wrong(self->o.at, LENGTH, 2));
	ASSERT_EQ(0, madvise(at, LENGTH, MADV_DONTNEED));
	EXPECT_EQ(LENGTH, first_wrong(at, LENGTH, 2));
	EXPECT_EQ(-EBUSY, migrate(&self->o));
	ASSERT_EQ(0, munmap(at, LENGTH));
	EXPECT_EQ(0, migrate(&self->o));
}

/* A read-only one can be attached to: it is the mapping that is refused. */
TEST_F(vgem, read_only)
{
	uint64_t offset = next_offset(self->drm);
	int dmabuf = export(&self->o, 0, 0, DMAPLANE_EXPORT_RDONLY), again, mem;
	uint32_t handle;
	uint8_t *at, byte = 0;

	ASSERT_NE(0, offset);
	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, import(self->drm, dmabuf, &handle));
	again = export_again(self->drm, handle);
	ASSERT_LE(0, again);
	/* An importer gives back the same file, which is open for reading only. */
	EXPECT_EQ(MAP_FAILED, map_at(again, PAGE, 0));
	EXPECT_EQ(EACCES, errno);
	close(again);
	close(dmabuf);
	/* The importer's own is open for writing, so that nobody but us has looked. */
	EXPECT_EQ(MAP_FAILED, map_at(self->drm, LENGTH, offset));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(0, migrate(&self->o));
	at = mmap64(NULL, LENGTH, PROT_READ, MAP_SHARED, self->drm, offset);
	ASSERT_NE(MAP_FAILED, at);
	EXPECT_EQ(LENGTH, first_wrong(at, LENGTH, 1));
	EXPECT_EQ(-1, mprotect(at, LENGTH, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	/* What a debugger writes with. */
	mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, mem);
	EXPECT_EQ(-1, pwrite(mem, &byte, 1, (uintptr_t)at));
	close(mem);
	EXPECT_EQ(LENGTH, first_wrong(self->o.at, LENGTH, 1));
	EXPECT_EQ(-EBUSY, migrate(&self->o));
	munmap(at, LENGTH);
}

struct wait {
	int dmabuf;
	uint64_t flags;
	int result;
	bool done;
};

static void *wait_in_thread(void *arg)
{
	struct wait *w = arg;

	w->result = sync_cpu(w->dmabuf, w->flags);
	__atomic_store_n(&w->done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Fences of others are waited for by poll(), by SYNC, and in a sync_file. */
TEST_F(vgem, fences)
{
	int dmabuf = export(&self->o, 0, 0, 0);
	struct drm_vgem_fence_attach attach = { .flags = VGEM_FENCE_WRITE };
	struct drm_vgem_fence_signal signalled = { 0 };
	struct dma_buf_export_sync_file out = { .flags = DMA_BUF_SYNC_READ, .fd = -1 };
	struct pollfd polled[2];
	struct wait w;
	pthread_t thread;

	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, import(self->drm, dmabuf, &attach.handle));
	ASSERT_EQ(0, ioctl(self->drm, DRM_IOCTL_VGEM_FENCE_ATTACH, &attach));
	signalled.fence = attach.out_fence;
	ASSERT_EQ(0, ioctl(dmabuf, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, &out));
	polled[0] = (struct pollfd){ .fd = dmabuf, .events = POLLIN };
	polled[1] = (struct pollfd){ .fd = out.fd, .events = POLLIN };
	EXPECT_EQ(0, poll(polled, 2, 50));
	w = (struct wait){ dmabuf, DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ, -1, false };
	ASSERT_EQ(0, pthread_create(&thread, NULL, wait_in_thread, &w));
	sleep_ms(50);
	EXPECT_FALSE(__atomic_load_n(&w.done, __ATOMIC_ACQUIRE));
	ASSERT_EQ(0, ioctl(self->drm, DRM_IOCTL_VGEM_FENCE_SIGNAL, &signalled));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, w.result);
	EXPECT_EQ(2, poll(polled, 2, PATIENCE / MS));
	EXPECT_EQ(0, sync_cpu(dmabuf, DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ));
	close(out.fd);
	close(dmabuf);
}

/* ---- vivid --------------------------------------------------------------------- */

#define FRAMES	2
#define POISON	0xa5

struct camera {
	int fd;
	uint32_t length;	/* of a frame */
};

/* The one with this number, with small frames. */
static int open_camera(unsigned int number, struct camera *camera)
{
	char wanted[32];

	snprintf(wanted, sizeof(wanted), "platform:vivid-%03u", number);
	for (int minor = 0; minor < 8; minor++) {
		struct v4l2_format format = {
			.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
			.fmt.pix = { .width = 320, .height = 180,
				     .pixelformat = V4L2_PIX_FMT_YUYV },
		};
		struct v4l2_capability capability = { 0 };
		char path[64];
		int fd;

		snprintf(path, sizeof(path), "/dev/video%d", minor);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (!ioctl(fd, VIDIOC_QUERYCAP, &capability) &&
		    !strcmp((char *)capability.bus_info, wanted) &&
		    capability.device_caps & V4L2_CAP_VIDEO_CAPTURE &&
		    !ioctl(fd, VIDIOC_S_FMT, &format)) {
			*camera = (struct camera){ fd, format.fmt.pix.sizeimage };
			return 0;
		}
		close(fd);
	}
	return -ENODEV;
}

static int request(const struct camera *camera, unsigned int count)
{
	struct v4l2_requestbuffers arg = {
		.count = count, .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_DMABUF,
	};

	return ioctl(camera->fd, VIDIOC_REQBUFS, &arg) ? -errno : (int)arg.count;
}

static int queue(const struct camera *camera, unsigned int index, int dmabuf)
{
	struct v4l2_buffer arg = {
		.index = index, .type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.memory = V4L2_MEMORY_DMABUF, .m.fd = dmabuf,
	};

	return ioctl(camera->fd, VIDIOC_QBUF, &arg) ? -errno : 0;
}

static int dequeue(const struct camera *camera)
{
	struct v4l2_buffer arg = {
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_DMABUF,
	};

	return ioctl(camera->fd, VIDIOC_DQBUF, &arg) ? -errno : (int)arg.index;
}

static int stream(const struct camera *camera, bool on)
{
	int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;

	return ioctl(camera->fd, on ? VIDIOC_STREAMON : VIDIOC_STREAMOFF, &type) ? -errno : 0;
}

FIXTURE(camera) {
	struct owner o;
	struct camera camera;
};

FIXTURE_VARIANT(camera) {
	unsigned int number;
};

FIXTURE_VARIANT_ADD(camera, vmap) { .number = 0 };
FIXTURE_VARIANT_ADD(camera, device) { .number = 1 };

FIXTURE_SETUP(camera)
{
	self->o.fd = self->camera.fd = -1;
	if (!modprobe("vivid n_devs=2 node_types=0x1,0x1 allocators=0,1") ||
	    open_camera(variant->number, &self->camera))
		SKIP(return, "there is no vivid");
	ASSERT_EQ(0, open_all(&self->o));
}

FIXTURE_TEARDOWN(camera)
{
	close_all(&self->o);
	if (self->camera.fd >= 0)
		close(self->camera.fd);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_TRUE(WAIT_FOR(live("buffers") == 0));
}

/* Frames come into parts of a buffer, and nowhere else. */
TEST_F(camera, frames)
{
	const struct camera *camera = &self->camera;
	/* At least a page between them. */
	uint64_t part = (camera->length + 2 * PAGE - 1) / PAGE * PAGE;
	int dmabufs[FRAMES];

	ASSERT_LE((FRAMES + 1) * part, LENGTH);
	memset(self->o.at, POISON, LENGTH);
	ASSERT_LE(FRAMES, request(camera, FRAMES));
	for (int i = 0; i < FRAMES; i++) {
		dmabufs[i] = export(&self->o, (i + 1) * part, part, 0);
		ASSERT_LE(0, dmabufs[i]);
		ASSERT_EQ(0, queue(camera, i, dmabufs[i]));
	}
	EXPECT_EQ(-EBUSY, migrate(&self->o));
	ASSERT_EQ(0, stream(camera, true));
	for (int i = 0; i < 3 * FRAMES; i++) {
		int index = dequeue(camera);
		const uint8_t *frame;

		ASSERT_LE(0, index);
		ASSERT_GT(FRAMES, index);
		frame = self->o.at + (index + 1) * part;
		ASSERT_EQ(0, sync_cpu(dmabufs[index], DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW));
		/* Something was painted everywhere. */
		for (uint64_t at = 0; at + 256 <= camera->length; at += 256)
			ASSERT_GT(256, first_not(frame + at, 256, POISON));
		EXPECT_EQ(part - camera->length,
			  first_not(frame + camera->length, part - camera->length, POISON));
		memset((uint8_t *)frame, POISON, camera->length);
		ASSERT_EQ(0, sync_cpu(dmabufs[index], DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW));
		EXPECT_EQ(-EBUSY, migrate(&self->o));
		ASSERT_EQ(0, queue(camera, index, dmabufs[index]));
	}
	EXPECT_EQ(part, first_not(self->o.at, part, POISON));
	EXPECT_EQ(LENGTH - (FRAMES + 1) * part,
		  first_not(self->o.at + (FRAMES + 1) * part, LENGTH - (FRAMES + 1) * part, POISON));
	ASSERT_EQ(0, stream(camera, false));
	EXPECT_EQ(0, request(camera, 0));
	EXPECT_EQ(0, migrate(&self->o));
	for (int i = 0; i < FRAMES; i++)
		close(dmabufs[i]);
}

/* All is closed but the camera, which goes on. */
TEST_F(camera, goes_on)
{
	const struct camera *camera = &self->camera;
	int dmabuf;

	ASSERT_LE(1, request(camera, 1));
	dmabuf = export(&self->o, 0, LENGTH / 2, 0);
	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, queue(camera, 0, dmabuf));
	ASSERT_EQ(0, stream(camera, true));
	ASSERT_EQ(0, buf_destroy(self->o.fd, self->o.buffer.handle));
	close_all(&self->o);
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_EQ(1, live("buffers"));
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, dequeue(camera));
		ASSERT_EQ(0, queue(camera, 0, dmabuf));
	}
	close(dmabuf);
	EXPECT_EQ(1, live("buffers"));
	close(self->camera.fd);
	self->camera.fd = -1;
	EXPECT_TRUE(WAIT_FOR(live("buffers") == 0));
}

/* What it would write to may only be read; what is too short. */
TEST_F(camera, refused)
{
	const struct camera *camera = &self->camera;
	int dmabuf;

	ASSERT_LE(1, request(camera, 1));
	dmabuf = export(&self->o, 0, 0, DMAPLANE_EXPORT_RDONLY);
	ASSERT_LE(0, dmabuf);
	EXPECT_GT(0, queue(camera, 0, dmabuf));
	EXPECT_EQ(0, migrate(&self->o));
	close(dmabuf);
	dmabuf = export(&self->o, 0, PAGE, 0);
	ASSERT_LE(0, dmabuf);
	EXPECT_GT(0, queue(camera, 0, dmabuf));
	EXPECT_EQ(0, migrate(&self->o));
	close(dmabuf);
	EXPECT_EQ(LENGTH, first_wrong(self->o.at, LENGTH, 1));
}

TEST_HARNESS_MAIN
