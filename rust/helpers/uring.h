/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DMAKIT_HELPERS_URING_H
#define _DMAKIT_HELPERS_URING_H

/* It names struct io_uring_cmd. */
#include <linux/fs.h>

/* 64-bit words in the command area of a large submission entry. */
#define DK_URING_WORDS	10

bool dk_uring_is_cancel(unsigned int flags);
struct file *dk_uring_file(const struct io_uring_cmd *cmd);
u32 dk_uring_operation(const struct io_uring_cmd *cmd);
int dk_uring_entry(const struct io_uring_cmd *cmd, unsigned int flags, u64 *words);
void dk_uring_finish(struct io_uring_cmd *cmd, unsigned int flags, s32 res, u64 extra);
void dk_uring_keep(struct io_uring_cmd *cmd, unsigned int flags, u32 tag);
u32 dk_uring_tag(const struct io_uring_cmd *cmd);
void dk_uring_wait(struct io_uring_cmd *cmd);
void dk_uring_complete(struct io_uring_cmd *cmd, s32 res, u64 extra);

#endif
