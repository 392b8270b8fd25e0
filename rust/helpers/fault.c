// SPDX-License-Identifier: GPL-2.0
/* See fault.h. Built for tests only. */
#include <linux/fault-inject.h>

#include "../helpers.h"

#ifdef CONFIG_FAULT_INJECTION_DEBUG_FS

static DECLARE_FAULT_ATTR(dk_fault_attr);

bool dk_fault(void)
{
	return should_fail(&dk_fault_attr, 1);
}

/* The first directory is the module's; its own tests make others. */
static const struct dentry *dk_fault_dir;

void dk_fault_debugfs(struct dentry *dir)
{
	if (dk_fault_dir)
		return;
	dk_fault_dir = dir;
	fault_create_debugfs_attr("fail_verbs", dir, &dk_fault_attr);
}

void dk_fault_debugfs_end(const struct dentry *dir)
{
	if (dk_fault_dir == dir)
		dk_fault_dir = NULL;
}

#endif
