/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DMAKIT_HELPERS_DEBUGFS_H
#define _DMAKIT_HELPERS_DEBUGFS_H

#include <linux/debugfs.h>
#include <linux/seq_file.h>

/* What a text file shows. */
struct dk_text {
	int (*show)(struct seq_file *seq, void *text);
	void *text;
};

struct dentry *dk_debugfs_text(const char *dir, const char *file, struct dk_text *text);
void dk_debugfs_remove(struct dentry *dir);

#endif
