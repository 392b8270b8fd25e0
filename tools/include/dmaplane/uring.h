/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Entries that go to a channel's file by io_uring and complete there: see
 * DMAPLANE_URING_CMD_SUBMIT in <dmaplane.h>. Needs nothing of liburing, and goes with it:
 *
 *	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);	// IORING_SETUP_SQE128
 *
 *	dmaplane_prep_copy(dmaplane_uring_prep(sqe, file), from, 0, to, 0, length);
 *	io_uring_sqe_set_data64(sqe, 1);
 */
#ifndef DMAPLANE_URING_H
#define DMAPLANE_URING_H

#include <stddef.h>

#include <linux/io_uring.h>

#include <dmaplane/entry.h>

/**
 * dmaplane_uring_prep() - prepare a submission entry of io_uring, but for what it asks for
 * @sqe: all 128 bytes of the entry are set, so its flags and user_data are set after it
 * @file: the channel's, as dmaplane_file_open() returns it
 *
 * Returns: the entry of dmaplane in it, to be filled in
 */
static inline struct dmaplane_sqe *dmaplane_uring_prep(struct io_uring_sqe *sqe, int file)
{
	memset((void *)sqe, 0, 2 * sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = file;
	sqe->cmd_op = DMAPLANE_URING_CMD_SUBMIT;
	return (struct dmaplane_sqe *)((char *)sqe + offsetof(struct io_uring_sqe, cmd));
}

/**
 * dmaplane_uring_cqe() - all that a completion says; its endpoint is not told
 * @cqe: of a ring with IORING_SETUP_CQE32
 * @to: receives it
 */
static inline void dmaplane_uring_cqe(const struct io_uring_cqe *cqe, struct dmaplane_cqe *to)
{
	memcpy(to, (const void *)cqe, sizeof(*to));
	to->endpoint = 0;
}

#endif /* DMAPLANE_URING_H */
