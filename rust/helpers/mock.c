// SPDX-License-Identifier: GPL-2.0
/* For rust/rdma/mock: see mock.h. */
#include <linux/debugfs.h>
#include <linux/highmem.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "../helpers.h"

static int dk_control_open(struct inode *inode, struct file *file)
{
	const struct dk_control *control = inode->i_private;

	return single_open(file, control->show, NULL);
}

static ssize_t dk_control_write(struct file *file, const char __user *from, size_t len,
				loff_t *pos)
{
	const struct dk_control *control = file_inode(file)->i_private;
	u8 text[DK_CONTROL_BYTES];
	int ret;

	if (len > sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, from, len))
		return -EFAULT;
	ret = control->command(text, len);
	return ret ? ret : len;
}

static const struct file_operations dk_control_fops = {
	.owner = THIS_MODULE,
	.open = dk_control_open,
	.read = seq_read,
	.write = dk_control_write,
	.llseek = seq_lseek,
	.release = single_release,
};

/* In a directory that is there; without debugfs there is none. */
void dk_control_create(const char *dir, const char *file, const struct dk_control *control)
{
	struct dentry *parent = debugfs_lookup(dir, NULL);

	if (!parent)
		return;
	debugfs_create_file(file, 0600, parent, (void *)control, &dk_control_fops);
	dput(parent);
}

void dk_control_remove(const char *dir, const char *file)
{
	struct dentry *parent = debugfs_lookup(dir, NULL);

	if (!parent)
		return;
	debugfs_lookup_and_remove(file, parent);
	dput(parent);
}

/* A program may well write to memory that it writes from. */
void dk_copy_page(struct page *to, size_t to_offset, struct page *from, size_t from_offset,
		  size_t len)
{
	char *source = kmap_local_page(from), *target = kmap_local_page(to);

	memmove(target + to_offset, source + from_offset, len);
	kunmap_local(target);
	kunmap_local(source);
}
