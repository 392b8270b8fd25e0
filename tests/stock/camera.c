// SPDX-License-Identifier: GPL-2.0
/*
 * dma-bufs of buffers for vivid, a camera that has the frames that it makes written to them,
 * by the kernel's mapping of one (its first device) or with one for the device as well (its
 * second). The instrumented kernel is built without it.
 */
#include "owner.h"
#include "harness.h"

#include <linux/videodev2.h>

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
	ASSERT_TRUE(modprobe("vivid n_devs=2 node_types=0x1,0x1 allocators=0,1"));
	ASSERT_EQ(0, open_camera(variant->number, &self->camera));
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
