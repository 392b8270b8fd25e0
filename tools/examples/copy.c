// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Fills a buffer, copies it to another one, and looks at what came of it. To build it:
 *	cc -I include/uapi -I tools/include -o copy tools/examples/copy.c
 */
#include <fcntl.h>
#include <stdio.h>

#include <dmaplane/channel.h>

#define LENGTH		(1U << 20)
#define VALUE		'x'
#define PATIENCE	10000000000ULL	/* ns */

enum { FILL, COPY };

static int failed(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-error));
	return 1;
}

static int make_buffer(int fd, struct dmaplane_buf_create *buffer)
{
	memset(buffer, 0, sizeof(*buffer));
	buffer->size = sizeof(*buffer);
	buffer->length = LENGTH;
	buffer->node = DMAPLANE_NODE_ANY;
	return dmaplane_ioctl(fd, DMAPLANE_IOC_BUF_CREATE, buffer);
}

/* The copy begins when the fill has succeeded, and is canceled (ECANCELED) if it fails. */
static int fill_and_copy(struct dmaplane_channel *ch, __u32 from, __u32 to)
{
	struct dmaplane_sqe *sqe;
	struct dmaplane_cqe *cqe;
	__u32 head, count = 0;
	int ret;

	/* Neither is NULL: the ring has as many places. */
	sqe = dmaplane_sqe_get(ch);
	dmaplane_prep_fill(sqe, from, 0, LENGTH, VALUE);
	dmaplane_sqe_set_flags(sqe, DMAPLANE_SQE_LINK);
	dmaplane_sqe_set_user_data(sqe, FILL);
	sqe = dmaplane_sqe_get(ch);
	dmaplane_prep_copy(sqe, from, 0, to, 0, LENGTH);
	dmaplane_sqe_set_user_data(sqe, COPY);

	ret = dmaplane_submit_and_wait_timeout(ch, 2, 0, PATIENCE);
	if (ret < 0)
		return failed("submit", ret);
	ret = 0;
	dmaplane_for_each_cqe(ch, head, cqe) {
		const char *what = cqe->user_data == FILL ? "fill" : "copy";

		if (cqe->res < 0)
			ret = failed(what, cqe->res);
		else
			printf("%s: %d bytes\n", what, cqe->res);
		count++;
	}
	dmaplane_cq_advance(ch, count);
	return count < 2 ? failed("fill or copy", -ETIME) : ret;
}

/* Buffers are memory of the program's as well. */
static int look(int fd, const struct dmaplane_buf_create *buffer)
{
	void *map = mmap(NULL, LENGTH, PROT_READ, MAP_SHARED, fd, (off_t)buffer->mmap_offset);
	const char *bytes = (const char *)map;
	unsigned int i = 0;

	if (map == MAP_FAILED)
		return failed("mmap", -errno);
	while (i < LENGTH && bytes[i] == VALUE)
		i++;
	munmap(map, LENGTH);
	printf("copied: %u bytes of %u\n", i, LENGTH);
	return i < LENGTH;
}

int main(void)
{
	struct dmaplane_buf_create from, to;
	struct dmaplane_channel ch;
	int ret, fd = open("/dev/dmaplane", O_RDWR);

	if (fd < 0)
		return failed("/dev/dmaplane", -errno);
	ret = make_buffer(fd, &from);
	if (ret || (ret = make_buffer(fd, &to)))
		return failed("buffer", ret);
	ret = dmaplane_channel_open(fd, 2, 2, &ch);
	if (ret)
		return failed("channel", ret);
	ret = fill_and_copy(&ch, from.handle, to.handle) || look(fd, &to);
	dmaplane_channel_close(&ch);
	close(fd);	/* which ends the buffers */
	return ret;
}
