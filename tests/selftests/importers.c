// SPDX-License-Identifier: GPL-2.0
/*
 * dma-bufs of buffers in another driver of the kernel, vgem, which attaches, shows them in
 * its own file, and has fences.
 */
#include "drm.h"
#include "owner.h"
#include "passing.h"
#include "harness.h"

#include <drm/vgem_drm.h>

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
	self->o.fd = self->drm = -1;
	ASSERT_TRUE(modprobe("vgem"));
	self->drm = open_drm("vgem");
	ASSERT_LE(0, self->drm);
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

/* Whose exporter is killed while it copies into it, and who keeps no descriptor. */
TEST_F(vgem, exporter_killed)
{
	uint64_t offset = next_offset(self->drm);
	int sockets[2], dmabuf, status;
	uint32_t handle;
	pid_t pid;
	uint8_t *at;

	ASSERT_NE(0, offset);
	close_all(&self->o);
	ASSERT_TRUE(WAIT_FOR(live("contexts") == 0));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct owner o = { .fd = -1 };
		struct dmaplane_sqe sqe;
		struct dmaplane_cqe cqe;
		struct buffer from;

		if (open_all(&o) || buf_create(o.fd, LENGTH, &from) ||
		    send_fd(sockets[1], export(&o, 0, 0, 0)))
			_exit(1);
		for (;;) {
			sqe = copy_buffer(o.buffer.handle, 0, from.handle, 0, LENGTH);
			if (channel_do(&o.c, &sqe, &cqe) || cqe.res != (int)LENGTH)
				_exit(2);
			sqe = copy_buffer(from.handle, 0, o.buffer.handle, 0, LENGTH);
			if (channel_do(&o.c, &sqe, &cqe) || cqe.res != (int)LENGTH)
				_exit(3);
		}
	}
	close(sockets[1]);
	dmabuf = receive_fd(sockets[0]);
	ASSERT_LE(0, dmabuf);
	ASSERT_EQ(0, import(self->drm, dmabuf, &handle));
	close(dmabuf);
	at = map_at(self->drm, LENGTH, offset);
	ASSERT_NE(MAP_FAILED, at);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	EXPECT_TRUE(WAIT_FOR(live("contexts") == 0));
	EXPECT_TRUE(WAIT_FOR(live("buffers") == 1));
	EXPECT_EQ(LENGTH, first_wrong(at, LENGTH, 1));
	ASSERT_EQ(0, madvise(at, LENGTH, MADV_DONTNEED));
	EXPECT_EQ(LENGTH, first_wrong(at, LENGTH, 1));
	munmap(at, LENGTH);
	close(sockets[0]);
	close(self->drm);
	self->drm = -1;
	EXPECT_TRUE(WAIT_FOR(live("buffers") == 0));
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

TEST_HARNESS_MAIN
