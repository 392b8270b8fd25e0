// SPDX-License-Identifier: GPL-2.0
/* A text file in debugfs; C, for the sake of THIS_MODULE as its owner. */
#include <linux/module.h>

#include "../helpers.h"

static int dk_text_show(struct seq_file *seq, void *unused)
{
	struct dk_text *text = seq->private;

	return text->show(seq, text->text);
}
DEFINE_SHOW_ATTRIBUTE(dk_text);

/* Returns the directory, or an error pointer. */
struct dentry *dk_debugfs_text(const char *dir, const char *file, struct dk_text *text)
{
	struct dentry *dentry = debugfs_create_dir(dir, NULL);

	if (!IS_ERR(dentry)) {
		debugfs_create_file(file, 0444, dentry, text, &dk_text_fops);
		dk_fault_debugfs(dentry);
	}
	return dentry;
}

/* Waits for readers. */
void dk_debugfs_remove(struct dentry *dir)
{
	debugfs_remove(dir);
	dk_fault_debugfs_end(dir);
}
