// SPDX-License-Identifier: GPL-2.0
/*
 * usage: imported KIND BYTES COUNT
 *
 * COUNT times: a dma-buf of BYTES of memory that is there (a buffer, or a memfd), which another driver
 * attaches to and maps for its device, and its end. The driver is vivid, a camera, of which a frame is
 * half a page: it wants that to be contiguous, and maps all of the dma-buf.
 */
#define _GNU_SOURCE
#include "memory.h"

#include <linux/videodev2.h>

static struct memory memory;
static uint64_t count;
static int camera = -1;
static uint32_t frame;

static int find_camera(void)
{
	for (int minor = 0; minor < 8; minor++) {
		struct v4l2_capability capability = { 0 };
		char path[64];
		int fd;

		snprintf(path, sizeof(path), "/dev/video%d", minor);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (!ioctl(fd, VIDIOC_QUERYCAP, &capability) &&
		    !strcmp((char *)capability.driver, "vivid") &&
		    capability.device_caps & V4L2_CAP_VIDEO_CAPTURE)
			return fd;
		close(fd);
	}
	return -1;
}

static void request(unsigned int buffers)
{
	struct v4l2_requestbuffers arg = {
		.count = buffers, .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_DMABUF,
	};

	OR_DIE(!ioctl(camera, VIDIOC_REQBUFS, &arg));
}

static struct block run(bool verify)
{
	struct block b = { count, memory.bytes * count, 0 };
	uint64_t begin = now_ns();

	(void)verify;
	for (uint64_t i = 0; i < count; i++) {
		struct v4l2_buffer arg = {
			.type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_DMABUF,
			.m.fd = memory_export(&memory), .length = frame,
		};

		request(1);
		OR_DIE(!ioctl(camera, VIDIOC_PREPARE_BUF, &arg));
		request(0);
		close(arg.m.fd);
	}
	b.ns = now_ns() - begin;
	return b;
}

int main(int argc, char **argv)
{
	struct v4l2_format format = {
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.fmt.pix = { .width = 32, .height = 32, .pixelformat = V4L2_PIX_FMT_YUYV },
	};

	OR_DIE(argc == 4);
	memory = memory_new(argv[1], number(argv[2]));
	memory_touch(&memory, memory_map(&memory));
	count = number(argv[3]);
	/* With a device that maps (allocators), and any size of frames (the input is no webcam's). */
	OR_DIE(!system("modprobe vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=3 allocators=1"));
	OR_DIE((camera = find_camera()) >= 0);
	OR_DIE(!ioctl(camera, VIDIOC_S_FMT, &format));
	frame = format.fmt.pix.sizeimage;
	OR_DIE(frame && frame <= 4096);
	return serve(run);
}
