// SPDX-License-Identifier: GPL-2.0
/*
 * Commands of io_uring: inline functions, and how one ends that was kept.
 *
 * Locking: io_uring issues commands with its uring_lock held, but from io-wq, and asks
 * with it held that they end. So whoever completes one has it done by the submitter's
 * task work, which takes that lock with nothing else held.
 */
#include "../helpers.h"

#include <linux/delay.h>
#include <linux/io_uring/cmd.h>

/* What a command brings with it while it is kept. */
struct dk_uring {
	u64 extra;
	s32 res;
	u32 tag;
	u32 asked;
};

/* So often io_uring may ask for the end of a command in vain before it is slowed down. */
#define DK_URING_HURRY	16

bool dk_uring_is_cancel(unsigned int flags)
{
	return flags & IO_URING_F_CANCEL;
}

struct file *dk_uring_file(const struct io_uring_cmd *cmd)
{
	return cmd->file;
}

u32 dk_uring_operation(const struct io_uring_cmd *cmd)
{
	return cmd->cmd_op;
}

/* A copy of the command area, which user space may change at any time. */
int dk_uring_entry(const struct io_uring_cmd *cmd, unsigned int flags, u64 *words)
{
	const struct io_uring_sqe *sqe = cmd->sqe;
	const u64 *area = (const u64 *)sqe->cmd;

	BUILD_BUG_ON(offsetof(struct io_uring_sqe, cmd) + DK_URING_WORDS * sizeof(u64) !=
		     2 * sizeof(struct io_uring_sqe));
	/* Nobody there polls for completions. */
	if (cmd_to_io_kiocb((void *)cmd)->ctx->flags & IORING_SETUP_IOPOLL)
		return -EOPNOTSUPP;
	if (!(flags & IO_URING_F_SQE128))
		return -EINVAL;
	if (cmd->flags & IORING_URING_CMD_MASK || READ_ONCE(sqe->addr) || READ_ONCE(sqe->len) ||
	    READ_ONCE(sqe->file_index))
		return -EINVAL;
	for (int i = 0; i < DK_URING_WORDS; i++)
		words[i] = READ_ONCE(area[i]);
	return 0;
}

/* With the @flags of where it ends. @extra is told where completions have room for it. */
void dk_uring_finish(struct io_uring_cmd *cmd, unsigned int flags, s32 res, u64 extra)
{
	const struct io_ring_ctx *ctx = cmd_to_io_kiocb(cmd)->ctx;
	bool large = ctx->flags & (IORING_SETUP_CQE32 | IORING_SETUP_CQE_MIXED);

	if (large)
		io_uring_cmd_done32(cmd, res, extra, flags);
	else
		io_uring_cmd_done(cmd, res, flags);
}

/* It may be complete, and gone, as soon as others know of it. */
void dk_uring_keep(struct io_uring_cmd *cmd, unsigned int flags, u32 tag)
{
	struct dk_uring *kept = io_uring_cmd_to_pdu(cmd, struct dk_uring);

	kept->tag = tag;
	kept->asked = 0;
	io_uring_cmd_mark_cancelable(cmd, flags);
}

u32 dk_uring_tag(const struct io_uring_cmd *cmd)
{
	return io_uring_cmd_to_pdu(cmd, struct dk_uring)->tag;
}

/*
 * It is complete, but its task has not done the rest, and does not as long as it is
 * stopped. io_uring asks again at once, as often as it takes.
 */
void dk_uring_wait(struct io_uring_cmd *cmd)
{
	struct dk_uring *kept = io_uring_cmd_to_pdu(cmd, struct dk_uring);

	if (kept->asked < DK_URING_HURRY)
		kept->asked++;
	else
		fsleep(USEC_PER_MSEC);
}

static void dk_uring_task_work(struct io_tw_req tw_req, io_tw_token_t tw)
{
	struct io_uring_cmd *cmd = io_uring_cmd_from_tw(tw_req);
	const struct dk_uring *kept = io_uring_cmd_to_pdu(cmd, struct dk_uring);

	dk_uring_finish(cmd, IO_URING_CMD_TASK_WORK_ISSUE_FLAGS, kept->res, kept->extra);
}

/* In any context. */
void dk_uring_complete(struct io_uring_cmd *cmd, s32 res, u64 extra)
{
	struct dk_uring *kept = io_uring_cmd_to_pdu(cmd, struct dk_uring);

	kept->res = res;
	kept->extra = extra;
	/* Not lazily: what makes up the number that is waited for may be drained until this is told. */
	io_uring_cmd_complete_in_task(cmd, dk_uring_task_work);
}
