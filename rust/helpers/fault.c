// SPDX-License-Identifier: GPL-2.0
/* See fault.h. Built for tests only. */
#include <linux/dcache.h>
#include <linux/fault-inject.h>

#include "../helpers.h"

#ifdef CONFIG_FAULT_INJECTION_DEBUG_FS

static DECLARE_FAULT_ATTR(dk_fault_attr);

bool dk_fault(void)
{
	return should_fail(&dk_fault_attr, 1);
}

void dk_fault_debugfs(struct dentry *dir)
{
	/* The first directory is the module's; its own tests make others. */
	if (!dk_fault_attr.dname)
		fault_create_debugfs_attr("fail_verbs", dir, &dk_fault_attr);
}

/*
 * After the directory is gone: what others leak, as they never go. The name's
 * entry holds its directory's, so that the address is not another's by now.
 */
void dk_fault_debugfs_end(const struct dentry *dir)
{
	if (!dk_fault_attr.dname || dk_fault_attr.dname->d_parent != dir)
		return;
	dput(dk_fault_attr.dname);
	dk_fault_attr.dname = NULL;
}

#endif
